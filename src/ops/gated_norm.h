/* src/ops/gated_norm.h - RMSNorm of every value head, times silu of a gate (models.md 4.5, 8.5):
 *     y = w x r silu(z),  r = rsqrt(mean x^2 + eps)     the plain weight, no 1 + w, in Qwen3.5 too */
#ifndef WS_OPS_GATED_NORM_H
#define WS_OPS_GATED_NORM_H
#include <stdint.h>
/* y, x, z [n, heads, d], w [d]; r [n, heads] receives the scales (may be NULL); y may be x.  Returns the first token whose
 * x is not finite, or -1. */
int64_t ws_gated_norm_forward(float *y, const float *x, const float *z, const float *w, float eps, int64_t n, int heads,
                              int64_t d, float *r);
/* gx, gz [n, heads, d] written; r from the forward pass; gx may be gy.  The frozen w gets no gradient. */
void ws_gated_norm_backward(float *gx, float *gz, const float *gy, const float *x, const float *z, const float *w,
                            const float *r, int64_t n, int heads, int64_t d);
#endif
