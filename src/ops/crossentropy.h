/* src/ops/crossentropy.h - LM head and cross entropy fused (models.md 8.3): the logits of a few hundred tokens at a
 * time, the vocabulary in chunks, sums in double.
 *     logits = h W'    nll_i = lse_i - logits_i[target_i]    gh_i = weight_i (softmax_i - onehot_i) W */
#ifndef WS_OPS_CROSSENTROPY_H
#define WS_OPS_CROSSENTROPY_H
#include "base/arena.h"
#include "kernel/weight.h"
/* h [n, d], target [n] in range.  nll [n] in nats.  gh [n, d] (NULL: forward only), weight [n] (NULL without gh).
 * Returns the first token whose loss is not finite, or -1. */
int64_t ws_crossentropy(const float *h, int64_t n, const ws_weight *head, const int32_t *target, const float *weight,
                        double *nll, float *gh, ws_arena *scratch);
/* Scratch bytes of a call with many tokens. */
int64_t ws_crossentropy_scratch(const ws_weight *head);
#endif
