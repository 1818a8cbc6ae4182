/* src/kernel/gemm.h - matrix products over any weight type, fp32 in and out.
 *
 * Order of summation (the contract behind "batch = single, 1 thread = N threads, prefill = decode, bit for bit"):
 *   ws_gemm_nt  each y[m,n] is summed over k in the one order that the kernel set defines for this K (lanes inside blocks
 *               of K, block sums added in order), whatever M, N, threads or path (few rows / many rows).
 *               accumulate: the finished sum is added once to y.
 *   ws_gemm_nn  each y[m,n] is one chain of fused multiply-adds over k = 0, 1, 2 ...; it starts at 0, or at y[m,n] where
 *               `accumulate`.
 * Parallel inside when called outside a parallel region; serial when called inside one.  No allocation after warm-up
 * (per-thread packing buffers).  x, y need no alignment; y must not overlap inputs.  K = 0 is a sum of nothing. */
#ifndef WS_KERNEL_GEMM_H
#define WS_KERNEL_GEMM_H
#include "kernel/weight.h"

/* y[M, N] (+)= x[M, K] W[N, K]^T.  N = w->rows, K = w->cols; ldx >= K, ldy >= N in floats. */
void ws_gemm_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int accumulate);

/* The same, and then(arg, m0, m, n0, n1) as soon as rows m0 .. m0 + m - 1 of the columns n0 .. n1 - 1 are there: on whichever
 * thread made them, while they lie in its cache. */
typedef void ws_gemm_then(void *arg, int64_t m0, int64_t m, int64_t n0, int64_t n1);
void ws_gemm_nt_then(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int accumulate,
                     ws_gemm_then *then, void *arg);

/* y[M, N] (+)= A[M, K] W[K, N].  K = w->rows, N = w->cols; A[m, k] = a[m*rs + k*cs] (rs = 1, cs = lda: A is transposed).
 * gx = gy W is this with the same row-major W; weight gradients are this with W a view of activations. */
void ws_gemm_nn(float *y, int64_t ldy, const float *a, int64_t rs, int64_t cs, int64_t M, const ws_weight *w,
                int accumulate);

/* `floats` floats of the calling thread's packing buffer, 64-byte aligned; valid until its next call. */
float *ws_gemm_scratch(size_t floats);
#endif
