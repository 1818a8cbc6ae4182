/* src/ops/linear.h - y = x W' + b and its input gradient (models.md 8.1).  W is frozen: it gets no gradient.
 * The products are of the compute type, and keep the order of summation that kernel/compute.h promises, so a row's bits do not depend on the batch. */
#ifndef WS_OPS_LINEAR_H
#define WS_OPS_LINEAR_H
#include "kernel/compute.h"
/* y [n, rows of W] = x [n, cols of W] W' + bias (NULL: none) */
void ws_linear_forward(float *y, const float *x, int64_t n, const ws_weight *w, const float *bias);
void ws_linear_add_bias(float *y, int64_t n, int64_t d, const float *bias); /* y [n, d] += bias [d] */
/* gx [n, cols of W] (+)= gy [n, rows of W] W */
void ws_linear_backward(float *gx, const float *gy, int64_t n, const ws_weight *w, int accumulate);
/* The same without bias, and with thin products beside it (compute.h). */
void ws_linear_forward_beside(float *y, const float *x, int64_t n, const ws_weight *w, const ws_beside *b,
                              int n_beside);
void ws_linear_backward_beside(float *gx, const float *gy, int64_t n, const ws_weight *w, int accumulate,
                               const ws_beside *b, int n_beside);
#endif
