/* src/ops/l2norm.h - the L2 norm of queries and keys in the gated delta rule (models.md 5.2.4, 8.6):
 *     y = scale x r,  r = rsqrt(sum x^2 + 1e-6)     (sum, not mean; eps is this constant)
 * One vector at a time: it runs inside the delta rule's tasks. */
#ifndef WS_OPS_L2NORM_H
#define WS_OPS_L2NORM_H
#include <stdint.h>
/* y, x [d]; y may be x.  Returns r. */
float ws_l2norm_forward(float *y, const float *x, float scale, int64_t d);
/* gx [d] written: the gradient of x from gy, for y and r of the forward pass with the same scale; gx may be gy. */
void ws_l2norm_backward(float *gx, const float *gy, const float *y, float r, float scale, int64_t d);
#endif
