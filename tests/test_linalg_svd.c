/* tests/test_linalg_svd.c - decompositions: numpy's values, reconstruction, orthogonality, the same bits however threaded.
 * Everything is in double, so products of factors must meet the matrix to 1e-13 of its norm times a small factor for the
 * sizes here (limit 1e-12).  The Gram way to the largest triplets squares the matrix: a singular value s is off by about
 * 2e-16 s1^2 / s, which is 1e-12 s1 for those that are worth keeping (limit 1e-9) and never more than the root of 2e-16
 * (limit 1.5e-8, for the part of a matrix of rank 3 that only the rounding to fp32 made).  The random method must come within 1 % of the best rank-k
 * error and meet an operator of low rank to the fp32 of its products (1e-6). */
#include "base/parallel.h"
#include "base/rng.h"
#include "fixtures/linalg.h"
#include "kernel/kernel.h"
#include "linalg/linalg.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)

static double *doubles(int64_t n) { return calloc((size_t)n, sizeof(double)); }

/* As make_linalg.py's noise(). */
static double *noise(int64_t rows, int64_t cols) {
    double *a = doubles(rows * cols);
    for (int64_t i = 0; i < rows * cols; i++) {
        uint32_t h = (uint32_t)(i + 1) * 2654435761u;
        h ^= h >> 15;
        h *= 2246822519u;
        h ^= h >> 13;
        a[i] = (double)(h >> 8) / 16777216.0 - 0.5;
    }
    return a;
}

static double norm(const double *a, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * a[i];
    return sqrt(s);
}

/* || a - u diag(s) vt ||_F with k factors */
static double rest(const double *a, int64_t m, int64_t n, const double *u, const double *s, const double *vt,
                   int64_t k) {
    double sum = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double x = a[i * n + j];
            for (int64_t l = 0; l < k; l++) x -= u[i * k + l] * s[l] * vt[l * n + j];
            sum += x * x;
        }
    return sqrt(sum);
}

/* Largest deviation of q q' (rows) or q' q (columns) from the identity. */
static double skew(const double *q, int64_t rows, int64_t cols, int by_rows) {
    int64_t k = by_rows ? rows : cols, d = by_rows ? cols : rows;
    double worst = 0;
    for (int64_t a = 0; a < k; a++)
        for (int64_t b = 0; b < k; b++) {
            double x = a == b ? -1 : 0;
            for (int64_t i = 0; i < d; i++)
                x += by_rows ? q[a * cols + i] * q[b * cols + i] : q[i * cols + a] * q[i * cols + b];
            worst = fabs(x) > worst ? fabs(x) : worst;
        }
    return worst;
}

static void singular_values_are_numpys(void **state) {
    (void)state;
    ws_err err = {0};
    double *a = noise(40, 24), u[40 * 24], s[24], vt[24 * 24];
    OK(ws_svd(a, 40, 24, u, s, vt, &err));
    for (int i = 0; i < 24; i++) assert_true(fabs(s[i] - linalg_singular_40x24[i]) < 1e-13 * s[0]);
    free(a);
}

static void factors_multiply_back(void **state) {
    (void)state;
    static const int shape[][2] = {{40, 24}, {24, 40}, {17, 17}, {1, 9}, {9, 1}, {1, 1}};
    for (size_t c = 0; c < sizeof shape / sizeof *shape; c++) {
        ws_err err = {0};
        int64_t m = shape[c][0], n = shape[c][1], k = m < n ? m : n;
        double *a = noise(m, n), *copy = noise(m, n), *u = doubles(m * k), *s = doubles(k), *vt = doubles(k * n);
        OK(ws_svd(copy, m, n, u, s, vt, &err));
        assert_true(rest(a, m, n, u, s, vt, k) < 1e-12 * norm(a, m * n));
        assert_true(skew(u, m, k, 0) < 1e-12 && skew(vt, k, n, 1) < 1e-12);
        for (int64_t i = 1; i < k; i++) assert_true(s[i] <= s[i - 1] && s[i] >= 0);
        free(a), free(copy), free(u), free(s), free(vt);
    }
}

static void eigenvectors_all_and_some(void **state) {
    (void)state;
    enum { N = 24 };
    double *a = noise(40, N), g[N * N] = {0}, half[N * N], value[N], vector[N * N];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            for (int t = 0; t < 40; t++) g[i * N + j] += a[t * N + i] * a[t * N + j];
            g[i * N + j] -= i == j;
        }
    static const int some[] = {N, 5, 1};
    for (size_t c = 0; c < 3; c++) {
        ws_err err = {0};
        int r = some[c];
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) half[i * N + j] = j <= i ? g[i * N + j] : (double)NAN; /* not read */
        OK(ws_eigen(half, N, r, value, vector, &err));
        assert_true(skew(vector, r, N, 1) < 1e-12);
        for (int k = 0; k < r; k++) {
            assert_true(fabs(value[k] - linalg_eigen_24[k]) < 1e-13 * linalg_eigen_24[0]);
            for (int i = 0; i < N; i++) {
                double x = -value[k] * vector[k * N + i];
                for (int j = 0; j < N; j++) x += g[i * N + j] * vector[k * N + j];
                assert_true(fabs(x) < 1e-12 * linalg_eigen_24[0]);
            }
        }
    }
    free(a);
}

static void qr_of_columns_and_of_rows(void **state) {
    (void)state;
    enum { M = 40, N = 24 };
    ws_err err = {0};
    double *a = noise(M, N), *q = noise(M, N), r[N * N], rows[N * M];
    OK(ws_qr(q, M, N, r, &err));
    assert_true(skew(q, M, N, 0) < 1e-12);
    for (int i = 0; i < N; i++) {
        assert_true(fabs(fabs(r[i * N + i]) - linalg_qr_diagonal[i]) < 1e-12);
        for (int j = 0; j < i; j++) assert_true(r[i * N + j] == 0);
    }
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double x = -a[i * N + j];
            for (int k = 0; k < N; k++) x += q[i * N + k] * r[k * N + j];
            assert_true(fabs(x) < 1e-12);
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < M; j++) rows[i * M + j] = a[j * N + i];
    OK(ws_orthonormal_rows(rows, N, M, &err));
    assert_true(skew(rows, N, M, 1) < 1e-12);
    for (int j = 0; j < N; j++) { /* every row of the old matrix lies in the new one's span */
        double sum = 0, in = 0;
        for (int i = 0; i < M; i++) sum += a[i * N + j] * a[i * N + j];
        for (int k = 0; k < N; k++) {
            double x = 0;
            for (int i = 0; i < M; i++) x += rows[k * M + i] * a[i * N + j];
            in += x * x;
        }
        assert_true(fabs(in - sum) < 1e-12 * sum);
    }
    free(a), free(q);
}

/* ---------- stored weights ---------- */

typedef struct stored {
    ws_weight w;
    void *data;
    double *a; /* what it holds, [rows, cols] */
} stored;

/* `full`: noise, whose spectrum is flat; else of rank 3. */
static stored make(int64_t m, int64_t n, ws_dtype type, int full) {
    stored s = {.a = noise(m, n)};
    if (!full) {
        double *u = noise(m, 3), *v = noise(3, n);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                s.a[i * n + j] = u[i * 3] * v[j] + u[i * 3 + 1] * v[n + j] + u[i * 3 + 2] * v[2 * n + j];
        free(u), free(v);
    }
    size_t bytes = ws_dtype_bytes(type, n);
    s.data = calloc((size_t)m, bytes);
    s.w = (ws_weight){.data = s.data, .type = type, .rows = m, .cols = n, .row_bytes = bytes};
    for (int64_t i = 0; i < m * n; i++)
        if (type == WS_BF16)
            ((uint16_t *)s.data)[i] = ws_f32_bf16((float)s.a[i]), s.a[i] = (double)ws_bf16_f32(((uint16_t *)s.data)[i]);
        else
            ((float *)s.data)[i] = (float)s.a[i], s.a[i] = (double)((float *)s.data)[i];
    return s;
}
static void drop(stored *s) { free(s->data), free(s->a); }

static void gram_matrices(void **state) {
    (void)state;
    static const int shape[][2] = {{700, 300}, {300, 700}, {5, 3}};
    for (size_t c = 0; c < 3; c++) {
        ws_err err = {0};
        int64_t m = shape[c][0], n = shape[c][1];
        stored s = make(m, n, WS_BF16, 1);
        double *g = doubles(n * n), *h = doubles(m * m), worst = 0;
        OK(ws_gram_cols(&s.w, g, &err));
        OK(ws_gram_rows(&s.w, h, &err));
        for (int64_t i = 0; i < n; i += 7)
            for (int64_t j = 0; j <= i; j++) {
                double x = -g[i * n + j];
                for (int64_t t = 0; t < m; t++) x += s.a[t * n + i] * s.a[t * n + j];
                worst = fabs(x) > worst ? fabs(x) : worst;
            }
        for (int64_t i = 0; i < m; i += 7)
            for (int64_t j = 0; j <= i; j++) {
                double x = -h[i * m + j];
                for (int64_t t = 0; t < n; t++) x += s.a[i * n + t] * s.a[j * n + t];
                worst = fabs(x) > worst ? fabs(x) : worst;
            }
        assert_true(worst < 1e-12);
        free(g), free(h), drop(&s);
    }
}

static void largest_triplets_of_a_weight(void **state) {
    (void)state;
    static const struct {
        int64_t m, n, r;
        ws_dtype type;
        int full;
    } t[] = {{600, 290, 16, WS_F32, 1}, {290, 600, 16, WS_BF16, 1}, {64, 64, 64, WS_F32, 1},
             {90, 40, 8, WS_F32, 0},    {40, 90, 8, WS_F32, 0},     {7, 5, 1, WS_F32, 1}};
    for (size_t c = 0; c < sizeof t / sizeof *t; c++) {
        ws_err err = {0};
        int64_t m = t[c].m, n = t[c].n, r = t[c].r, k = m < n ? m : n;
        stored w = make(m, n, t[c].type, t[c].full);
        const double limit = t[c].full ? 1e-9 : 1.5e-8;
        double *u = doubles(m * r), *s = doubles(r), *vt = doubles(r * n), *copy = doubles(m * n), *uf = doubles(m * k),
               *sf = doubles(k), *vf = doubles(k * n), *have = doubles(m * n), size = norm(w.a, m * n);
        OK(ws_weight_svd(&w.w, r, u, s, vt, &err));
        memcpy(copy, w.a, (size_t)(m * n) * sizeof *copy);
        OK(ws_svd(copy, m, n, uf, sf, vf, &err));
        assert_true(skew(u, m, r, 0) < 1e-12 && skew(vt, r, n, 1) < 1e-12);
        for (int64_t i = 0; i < r; i++) {
            assert_true(fabs(s[i] - sf[i]) < limit * sf[0]);
            double largest = 0;
            for (int64_t j = 0; j < n; j++)
                if (fabs(vt[i * n + j]) > fabs(largest)) largest = vt[i * n + j];
            assert_true(largest > 0);
        }
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                for (int64_t l = 0; l < r; l++) have[i * n + j] += uf[i * k + l] * sf[l] * vf[l * n + j];
        assert_true(rest(have, m, n, u, s, vt, r) < limit * size); /* the same rank-r part */
        free(u), free(s), free(vt), free(copy), free(uf), free(sf), free(vf), free(have), drop(&w);
    }
}

enum { SIDE = 16, MM = 320, NN = 530, RR = 6 };
static void one_of_many(void *arg, int64_t begin, int64_t end) {
    double *out = arg;
    int64_t size = RR * (MM + NN + 1);
    for (int64_t i = begin; i < end; i++) {
        ws_err err = {0};
        double *u = out + i * size, *vt = u + RR * MM, *s = vt + RR * NN;
        stored w = i % 2 ? make(MM, NN, WS_F32, 1) : make(NN, MM, WS_F32, 1);
        if (ws_weight_svd(&w.w, RR, i % 2 ? u : vt, s, i % 2 ? vt : u, &err)) s[0] = NAN;
        drop(&w);
    }
}

/* Serial, with threads inside, and side by side inside a parallel region. */
static void bits_do_not_depend_on_threads(void **state) {
    (void)state;
    int64_t size = RR * (MM + NN + 1);
    double *a = doubles(SIDE * size), *b = doubles(SIDE * size), *c = doubles(SIDE * size);
    ws_threads_set(1);
    one_of_many(a, 0, SIDE);
    ws_threads_set(3);
    one_of_many(b, 0, SIDE);
    assert_true(a[size - RR] > 0);
    assert_memory_equal(a, b, (size_t)(SIDE * size) * sizeof *a);
    ws_threads_set(7);
    for (int round = 0; round < 8; round++) { /* a library that locks nothing fails within a few */
        ws_parallel_for(SIDE, 1, one_of_many, c);
        assert_memory_equal(a, c, (size_t)(SIDE * size) * sizeof *a);
    }
    ws_threads_set(0);
    free(a), free(b), free(c);
}

static void what_is_not_finite_is_refused(void **state) {
    (void)state;
    ws_err err = {0};
    stored w = make(6, 4, WS_F32, 1);
    double u[24], s[4], vt[16];
    ((float *)w.data)[7] = NAN;
    assert_int_equal(ws_weight_svd(&w.w, 2, u, s, vt, &err), WS_ENONFINITE);
    assert_non_null(strstr(err.msg, "NaN"));
    w.a[3] = INFINITY;
    assert_int_equal(ws_svd(w.a, 6, 4, u, s, vt, &err), WS_ENONFINITE);
    assert_int_equal(ws_qr(w.a, 6, 4, NULL, &err), WS_ENONFINITE);
    assert_int_equal(ws_orthonormal_rows(w.a, 4, 6, &err), WS_ENONFINITE);
    drop(&w);
}

/* ---------- operators ---------- */

typedef struct dense {
    const double *a;
    int64_t m, n;
} dense;
static void apply(void *arg, const float *x, int64_t k, float *y) {
    const dense *d = arg;
    for (int64_t t = 0; t < k; t++)
        for (int64_t i = 0; i < d->m; i++) {
            double s = 0;
            for (int64_t j = 0; j < d->n; j++) s += d->a[i * d->n + j] * (double)x[t * d->n + j];
            y[t * d->m + i] = (float)s;
        }
}
static void apply_t(void *arg, const float *y, int64_t k, float *x) {
    const dense *d = arg;
    for (int64_t t = 0; t < k; t++)
        for (int64_t j = 0; j < d->n; j++) {
            double s = 0;
            for (int64_t i = 0; i < d->m; i++) s += d->a[i * d->n + j] * (double)y[t * d->m + i];
            x[t * d->n + j] = (float)s;
        }
}

static void an_operator_known_by_its_products(void **state) {
    (void)state;
    for (int full = 0; full < 2; full++)
        for (int wide = 0; wide < 2; wide++) {
            ws_err err = {0};
            int64_t m = wide ? 50 : 80, n = wide ? 80 : 50, k = 6, d = 50;
            stored w = make(m, n, WS_F32, full);
            double *u = doubles(m * k), *s = doubles(k), *vt = doubles(k * n), *again = doubles(k * n),
                   *copy = doubles(m * n), *uf = doubles(m * d), *sf = doubles(d), *vf = doubles(d * n), best = 0;
            ws_operator op = {m, n, apply, apply_t, &(dense){w.a, m, n}};
            OK(ws_operator_svd(&op, k, 16, 4, 7, u, s, vt, &err));
            memcpy(copy, w.a, (size_t)(m * n) * sizeof *copy);
            OK(ws_svd(copy, m, n, uf, sf, vf, &err));
            for (int64_t i = k; i < d; i++) best += sf[i] * sf[i];
            double r = rest(w.a, m, n, u, s, vt, k);
            assert_true(r < 1.01 * sqrt(best) + 1e-6 * norm(w.a, m * n));
            assert_true(skew(u, m, k, 0) < 1e-6 && skew(vt, k, n, 1) < 1e-12);
            OK(ws_operator_svd(&op, k, 16, 4, 7, u, s, again, &err));
            assert_memory_equal(vt, again, (size_t)(k * n) * sizeof *vt);
            free(u), free(s), free(vt), free(again), free(copy), free(uf), free(sf), free(vf), drop(&w);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(singular_values_are_numpys),
        cmocka_unit_test(factors_multiply_back),
        cmocka_unit_test(eigenvectors_all_and_some),
        cmocka_unit_test(qr_of_columns_and_of_rows),
        cmocka_unit_test(gram_matrices),
        cmocka_unit_test(largest_triplets_of_a_weight),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(what_is_not_finite_is_refused),
        cmocka_unit_test(an_operator_known_by_its_products),
    };
    ws_kernels_init(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
