/* src/ops/blockdiag.h - x' = x diag(B_1 ... B_m): every run of `bs` columns of a row is multiplied by its own bs x bs block
 * (a diagonal for bs = 1), forward beside backward (adapters.md 2.5).  Each value is one chain over the block's rows
 * (gradients: over the tokens), so its bits do not depend on threads or on how tokens are grouped. */
#ifndef WS_OPS_BLOCKDIAG_H
#define WS_OPS_BLOCKDIAG_H
#include <stdint.h>
/* y [n, d] = x [n, d] B; b [d / bs, bs, bs]; y must not be x, except for bs = 1. */
void ws_blockdiag_forward(float *y, const float *x, int64_t n, int64_t d, const float *b, int bs);
/* y [n, d] = x B': the row form of "E times column x". */
void ws_blockdiag_forward_t(float *y, const float *x, int64_t n, int64_t d, const float *b, int bs);
/* gb [d / bs, bs, bs] += x' gy by blocks: the gradient of B in y = x B.  (Of x it is ws_blockdiag_forward_t.) */
void ws_blockdiag_backward(float *gb, const float *x, const float *gy, int64_t n, int64_t d, int bs);
#endif
