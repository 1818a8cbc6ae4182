/* src/linalg/linalg.h - decompositions in double, by LAPACK (LAPACKE and OpenBLAS).
 * Matrices are row-major and dense.  Serial inside a parallel region, so that sites run side by side; the large products
 * are parallel outside one; the bits are the same either way.  WS_ENONFINITE where NaN or infinity comes in. */
#ifndef WS_LINALG_LINALG_H
#define WS_LINALG_LINALG_H
#include "base/err.h"
#include "kernel/weight.h"

/* a [m, n] = u diag(s) vt with k = min(m, n): u [m, k], s [k] from large to small, vt [k, n].  a is used up. */
ws_status ws_svd(double *a, int64_t m, int64_t n, double *u, double *s, double *vt, ws_err *err);
/* Symmetric a [n, n], of which one half suffices (a[i, j], j <= i): the r largest eigenvalues [r] from large to small and
 * their vectors as rows [r, n].  a is used up. */
ws_status ws_eigen(double *a, int64_t n, int64_t r, double *values, double *vectors, ws_err *err);
/* a [m, n], m >= n, becomes Q with orthonormal columns; R [n, n] upper triangular (NULL: not wanted), a = Q R. */
ws_status ws_qr(double *a, int64_t m, int64_t n, double *r, ws_err *err);
/* a [n, d], n <= d: its rows become an orthonormal basis of what they span. */
ws_status ws_orthonormal_rows(double *a, int64_t n, int64_t d, ws_err *err);

/* W' W [cols, cols], and W W' [rows, rows]; only a[i, j] with j <= i is written. */
ws_status ws_gram_cols(const ws_weight *w, double *g, ws_err *err);
ws_status ws_gram_rows(const ws_weight *w, double *g, ws_err *err);

/* The r largest singular triplets of W [rows, cols], r <= min(rows, cols): u [rows, r], s [r], vt [r, cols].  By the
 * eigenvectors of the smaller Gram matrix and an SVD of what W makes of them, so u and vt are orthonormal also where W
 * has a lower rank.  The largest number of each row of vt is positive: the same signs on every machine. */
ws_status ws_weight_svd(const ws_weight *w, int64_t r, double *u, double *s, double *vt, ws_err *err);

/* A linear map known by its products: apply: y [n, rows] = x [n, cols] A';  apply_t: x [n, cols] = y [n, rows] A. */
typedef struct ws_operator {
    int64_t rows, cols;
    void (*apply)(void *arg, const float *x, int64_t n, float *y);
    void (*apply_t)(void *arg, const float *y, int64_t n, float *x);
    void *arg;
} ws_operator;
/* Its k largest triplets, approximately: k + extra random directions (a function of the seed alone), `power` rounds of A'
 * and A with QR between, SVD of what is left (Halko, Martinsson and Tropp 2011).  u [rows, k], s [k], vt [k, cols];
 * k <= min(rows, cols).  Signs as above. */
ws_status ws_operator_svd(const ws_operator *a, int64_t k, int64_t extra, int power, uint64_t seed, double *u,
                          double *s, double *vt, ws_err *err);
#endif
