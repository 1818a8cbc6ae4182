/* src/linalg/operator.c - truncated SVD of a map that is known by its products alone.
 * Halko, Martinsson and Tropp 2011, "Finding structure with randomness", algorithms 4.4 and 5.1.
 *     X random [k + extra, cols];  Y = X A' orthonormal;  power rounds: X = Y A, Y = X A', both orthonormal
 *     B = Y A [k + extra, cols] = z diag(s) vt,  A ~ Y' B = (Y' z) diag(s) vt */
#include "base/rng.h"
#include "linalg/blas.h"
#include "linalg/linalg.h"
#include "linalg/sign.h"
#include <stdlib.h>
#include <string.h>

static void to_double(double *out, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (double)x[i];
}
static void to_float(float *out, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)x[i];
}

ws_status ws_operator_svd(const ws_operator *a, int64_t k, int64_t extra, int power, uint64_t seed, double *u,
                          double *s, double *vt, ws_err *err) {
    int64_t m = a->rows, n = a->cols, d = m < n ? m : n, l = k + extra < d ? k + extra : d;
    WS_ASSERT(k > 0 && k <= d && extra >= 0 && power >= 0);
    float *x32 = ws_try_alloc((size_t)(l * n), sizeof *x32), *y32 = ws_try_alloc((size_t)(l * m), sizeof *y32);
    double *x = ws_try_alloc((size_t)(l * n), sizeof *x), *y = ws_try_alloc((size_t)(l * m), sizeof *y),
           *z = ws_try_alloc((size_t)(l * l), sizeof *z), *all = ws_try_alloc((size_t)(l * n), sizeof *all),
           *values = ws_try_alloc((size_t)l, sizeof *values);
    ws_status st = WS_OK;
    if (!x32 || !y32 || !x || !y || !z || !all || !values)
        st = ws_fail(err, WS_ENOMEM, "out of memory for %lld singular vectors of a map [%lld, %lld]", (long long)l,
                     (long long)m, (long long)n);
    if (!st) ws_counter_bell(x32, l * n, ws_counter_u64(seed, "svd", (uint64_t)m, (uint64_t)n), 0);
    for (int round = 0; !st && round <= power; round++) {
        a->apply(a->arg, x32, l, y32);
        to_double(y, y32, l * m);
        if ((st = ws_orthonormal_rows(y, l, m, err))) break;
        to_float(y32, y, l * m);
        a->apply_t(a->arg, y32, l, x32);
        to_double(x, x32, l * n);
        if (round == power) break;
        if ((st = ws_orthonormal_rows(x, l, n, err))) break;
        to_float(x32, x, l * n);
    }
    if (!st) st = ws_svd(x, l, n, z, values, all, err);
    if (!st) {
        ws_dgemm(1, 0, m, k, l, y, m, z, l, 0, u, k);
        memcpy(s, values, (size_t)k * sizeof *s);
        memcpy(vt, all, (size_t)(k * n) * sizeof *vt);
        ws_fix_signs(u, m, vt, n, k);
    }
    free(x32), free(y32), free(x), free(y), free(z), free(all), free(values);
    return st;
}
