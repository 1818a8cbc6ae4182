/* src/ops/norm.h - RMSNorm over the last axis (models.md 4.1, 8.4).
 *     y = w x r,  r = rsqrt(mean x^2 + eps)
 * A family whose norms are zero-centred hands in 1 + w, so there is one formula.  Rows are tokens or heads of tokens. */
#ifndef WS_OPS_NORM_H
#define WS_OPS_NORM_H
#include <stdint.h>

/* y [n, ldy], x [n, ldx], w [d]; r [n] receives the scale of every row (may be NULL).  y may be x.  Returns the first
 * row whose sum of squares is not finite, or -1: the cheap place to notice a NaN or an infinity in a residual stream. */
int64_t ws_norm_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, float eps, int64_t n,
                        int64_t d, float *r);
/* gx [n, ldg] += r (gn - n mean(n gn)) with gn = gy w, n = x r; the frozen w gets no gradient.  r from the forward
 * pass. */
void ws_norm_backward(float *gx, int64_t ldg, const float *gy, int64_t ldy, const float *x, int64_t ldx, const float *w,
                      const float *r, int64_t n, int64_t d);
/* The same over `heads` heads of d numbers inside each token: x [n, ld], r [n, heads]. */
int64_t ws_head_norm_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, float eps, int64_t n,
                             int heads, int64_t d, float *r);
/* gx [n, ldg] = (not +=) the gradient through the head norm; gy may be gx. */
void ws_head_norm_backward(float *gx, int64_t ldg, const float *gy, int64_t ldy, const float *x, int64_t ldx,
                           const float *w, const float *r, int64_t n, int heads, int64_t d);
#endif
