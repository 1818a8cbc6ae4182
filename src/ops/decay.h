/* src/ops/decay.h - the two gates of the gated delta rule, one number each for a token and value head
 * (models.md 5.2.6, 8.12):
 *     g = -exp(A_log) softplus(a + dt_bias)   (<= 0, the logarithm of the decay)     beta = sigmoid(b)
 * neg_a = -exp(A_log) comes from ws_decay_rate, or from a GGUF file, which stores it like that. */
#ifndef WS_OPS_DECAY_H
#define WS_OPS_DECAY_H
#include <stdint.h>
/* neg_a [heads] = -exp(a_log); may be in place. */
void ws_decay_rate(float *neg_a, const float *a_log, int heads);
/* g, beta, a, b [n, heads]; beta may be b, g may be a. */
void ws_decay_forward(float *g, float *beta, const float *a, const float *b, const float *neg_a, const float *dt_bias,
                      int64_t n, int heads);
/* ga, gb [n, heads] from gg, gbeta [n, heads], a before the gate and beta after it; may be in place.  The frozen
 * A_log and dt_bias get no gradient. */
void ws_decay_backward(float *ga, float *gb, const float *gg, const float *gbeta, const float *a, const float *beta,
                       const float *neg_a, const float *dt_bias, int64_t n, int heads);
#endif
