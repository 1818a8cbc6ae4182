/* src/ops/embed.h - rows of the embedding matrix, widened to fp32 (models.md 8.2). */
#ifndef WS_OPS_EMBED_H
#define WS_OPS_EMBED_H
#include "kernel/weight.h"
/* x [n, cols of W] = W[ids[i]]; ids are in range. */
void ws_embed_forward(float *x, const int32_t *ids, int64_t n, const ws_weight *w);
#endif
