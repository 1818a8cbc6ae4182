/* src/linalg/dense.c - SVD, eigenvectors and QR of dense matrices.
 * LAPACK thinks in columns: our row-major [m, n] is its [n, m], so each routine is called on the transposed problem and
 * nothing is copied around. */
#include "linalg/blas.h"
#include "linalg/linalg.h"
#include <lapacke.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

static ws_status all_finite(const double *a, int64_t n, const char *what, ws_err *err) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(a[i]))
            return ws_fail(err, WS_ENONFINITE, "%s: the matrix holds NaN or infinity (element %lld)", what,
                           (long long)i);
    return WS_OK;
}

static ws_status outcome(lapack_int info, const char *what, int64_t m, int64_t n, ws_err *err) {
    if (!info) return WS_OK;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return ws_fail(err, WS_ENOMEM, "out of memory for the %s of a matrix [%lld, %lld]", what, (long long)m,
                       (long long)n);
    WS_ASSERT(info > 0);
    return ws_fail(err, WS_ENONFINITE, "the %s of a matrix [%lld, %lld] does not converge", what, (long long)m,
                   (long long)n);
}

ws_status ws_svd(double *a, int64_t m, int64_t n, double *u, double *s, double *vt, ws_err *err) {
    WS_ASSERT(m > 0 && n > 0 && m <= INT_MAX && n <= INT_MAX);
    if (all_finite(a, m * n, "singular value decomposition", err)) return err->code;
    int64_t k = m < n ? m : n;
    int was = ws_blas_alone();
    /* a' = vt' diag(s) u' */
    lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'S', (lapack_int)n, (lapack_int)m, a, (lapack_int)n, s, vt,
                                     (lapack_int)n, u, (lapack_int)k);
    ws_blas_done(was);
    return outcome(info, "singular value decomposition", m, n, err);
}

ws_status ws_eigen(double *a, int64_t n, int64_t r, double *values, double *vectors, ws_err *err) {
    WS_ASSERT(r > 0 && r <= n && n <= INT_MAX);
    for (int64_t i = 0; i < n; i++)
        if (all_finite(a + i * n, i + 1, "eigenvectors", err)) return err->code;
    double *w = ws_try_alloc((size_t)n, sizeof *w);
    lapack_int *support = ws_try_alloc(2 * (size_t)r, sizeof *support), found = 0;
    if (!w || !support) {
        free(w), free(support);
        return ws_fail(err, WS_ENOMEM, "out of memory for the eigenvectors of a matrix [%lld, %lld]", (long long)n,
                       (long long)n);
    }
    int was = ws_blas_alone();
    /* The lower half by rows is the upper half by columns. */
    lapack_int info =
        LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', r == n ? 'A' : 'I', 'U', (lapack_int)n, a, (lapack_int)n, 0, 0,
                       (lapack_int)(n - r + 1), (lapack_int)n, 0, &found, w, vectors, (lapack_int)n, support);
    ws_blas_done(was);
    ws_status st = outcome(info, "eigenvectors", n, n, err);
    if (!st) {
        WS_ASSERT(found == r);
        for (int64_t i = 0; i < r; i++) values[i] = w[r - 1 - i];
        for (int64_t i = 0; i < r / 2; i++)
            for (int64_t j = 0; j < n; j++) {
                double *x = vectors + i * n + j, *y = vectors + (r - 1 - i) * n + j, t = *x;
                *x = *y, *y = t;
            }
    }
    free(w), free(support);
    return st;
}

ws_status ws_qr(double *a, int64_t m, int64_t n, double *r, ws_err *err) {
    WS_ASSERT(n > 0 && n <= m && m <= INT_MAX);
    if (all_finite(a, m * n, "QR", err)) return err->code;
    double *tau = ws_xmalloc((size_t)n * sizeof *tau);
    int was = ws_blas_alone();
    /* a' = r' q' with r' lower triangular */
    lapack_int info = LAPACKE_dgelqf(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)m, a, (lapack_int)n, tau);
    for (int64_t i = 0; r && !info && i < n; i++)
        for (int64_t j = 0; j < n; j++) r[i * n + j] = j >= i ? a[i * n + j] : 0;
    if (!info)
        info = LAPACKE_dorglq(LAPACK_COL_MAJOR, (lapack_int)n, (lapack_int)m, (lapack_int)n, a, (lapack_int)n, tau);
    ws_blas_done(was);
    free(tau);
    return outcome(info, "QR", m, n, err);
}

ws_status ws_orthonormal_rows(double *a, int64_t n, int64_t d, ws_err *err) {
    WS_ASSERT(n > 0 && n <= d && d <= INT_MAX);
    if (all_finite(a, n * d, "QR", err)) return err->code;
    double *tau = ws_xmalloc((size_t)n * sizeof *tau);
    int was = ws_blas_alone();
    lapack_int info = LAPACKE_dgeqrf(LAPACK_COL_MAJOR, (lapack_int)d, (lapack_int)n, a, (lapack_int)d, tau);
    if (!info)
        info = LAPACKE_dorgqr(LAPACK_COL_MAJOR, (lapack_int)d, (lapack_int)n, (lapack_int)n, a, (lapack_int)d, tau);
    ws_blas_done(was);
    free(tau);
    return outcome(info, "QR", n, d, err);
}
