/* The vector functions of every kernel set against libm in double; and "a value does not depend on its position". */
#include "kernel_sets.h"
#include "kernel/sets.h"

static const int sizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 576, 1031};
enum { N_SIZES = sizeof sizes / sizeof *sizes, LONGEST = 1031 };

static double ulps(float got, double want) { /* error in units of the last place of fp32 at `want` */
    if (isnan(want)) return isnan(got) ? 0 : INFINITY;
    if (fabs(want) > FLT_MAX * (1 + 0x1p-25)) return got == (want > 0 ? INFINITY : -INFINITY) ? 0 : INFINITY;
    int e;
    frexp(want, &e);
    return fabs(got - want) / ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

static void check_exp(const ws_kernels *k, const float *x, int n, double bound) {
    float y[64];
    k->exp(y, x, n);
    for (int i = 0; i < n; i++)
        if (!(ulps(y[i], exp((double)x[i])) <= bound))
            fail_msg("%s exp(%.9g) = %.9g, want %.9g", k->name, (double)x[i], (double)y[i], exp((double)x[i]));
}

static void exp_is_within_2_ulp_everywhere(void **state) {
    (void)state;
    static const float edge[] = {0,         -0.0f,    1,        -1,       INFINITY, -INFINITY,  NAN,
                                 88.72283f, 88.7229f, 89,       1e30f,    -1e30f,   -87.33654f, -87.4f,
                                 -95,       -100,     -103.2f,  -103.9f,  -103.97f, -104,       -104.5f,
                                 1e-38f,    -1e-45f,  0.34657f, -0.34658f};
    EACH_SET(k) {
        check_exp(k, edge, sizeof edge / sizeof *edge, 2);
        for (uint32_t u = 0; u < 0x43000000u; u += 61 * 64) { /* floats up to 128 of both signs */
            float x[64];
            for (uint32_t i = 0; i < 64; i++) {
                uint32_t b = (u + 61 * i) | (i % 2 ? 0x80000000u : 0);
                memcpy(&x[i], &b, 4);
            }
            check_exp(k, x, 64, 2);
            if (slow(k)) u += 61 * 64 * 50;
        }
    }
}

/* softmax32, exp_sum, silu: a few roundings on top of exp's 2 ulp. */
static void functions_of_exp_are_close(void **state) {
    (void)state;
    float *x = floats(LONGEST, -30, 20), *u = floats(LONGEST, -2, 2), *gy = floats(LONGEST, -2, 2);
    float *y = floats(LONGEST, 0, 0), *z = floats(LONGEST, 0, 0);
    EACH_SET(k)
    for (int s = 0; s < N_SIZES; s++) {
        int n = sizes[s];
        double sum = 0, got = k->exp_sum(y, x, 3.5f, n);
        for (int i = 0; i < n; i++) {
            double e = exp((double)(x[i] - 3.5f));
            sum += e;
            assert_true(ulps(y[i], e) <= 2);
        }
        assert_true(fabs(got - sum) <= 3e-7 * sum);
        assert_true(k->exp_sum(NULL, x, 3.5f, n) == got);
        k->silu_mul(y, x, u, n);
        for (int i = 0; i < n; i++) {
            double want = x[i] / (1 + exp(-(double)x[i])) * u[i];
            assert_true(fabs(y[i] - want) <= 6e-7 * fabs(want) + 1e-37);
        }
        k->silu_mul_backward(y, z, gy, x, u, n);
        for (int i = 0; i < n; i++) {
            double sg = 1 / (1 + exp(-(double)x[i])), slope = sg * (1 + x[i] * (1 - sg)), silu = x[i] * sg;
            assert_true(fabs(z[i] - gy[i] * silu) <= 6e-7 * fabs(gy[i] * silu) + 1e-37);
            /* 1 + g (1 - s) cancels for negative g: the error is relative to its terms */
            double terms = sg * (1 + fabs(x[i]) * (1 - sg));
            assert_true(fabs(y[i] - gy[i] * u[i] * slope) <= 1e-6 * fabs(gy[i] * u[i]) * terms + 1e-37);
        }
    }
    free(x), free(u), free(gy), free(y), free(z);
}

static void gates_are_close(void **state) {
    (void)state;
    float *x = floats(LONGEST, -30, 20), *u = floats(LONGEST, -2, 2), *gy = floats(LONGEST, -2, 2);
    float *y = floats(LONGEST, 0, 0), *z = floats(LONGEST, 0, 0);
    EACH_SET(k)
    for (int s = 0; s < N_SIZES; s++) {
        int n = sizes[s];
        k->silu(y, x, n);
        k->silu_backward(z, gy, x, n);
        for (int i = 0; i < n; i++) {
            /* 1 - s is rounded to 6e-8 */
            double sg = 1 / (1 + exp(-(double)x[i])), terms = sg * (1 + fabs(x[i]) * (1 - sg));
            assert_true(fabs(y[i] - x[i] * sg) <= 6e-7 * fabs(x[i] * sg) + 1e-37);
            double bound = fabs(gy[i]) * (1e-6 * terms + 1.2e-7 * sg * fabs(x[i]));
            assert_true(fabs(z[i] - gy[i] * sg * (1 + x[i] * (1 - sg))) <= bound + 1e-37);
        }
        k->sigmoid_mul(y, x, u, n);
        for (int i = 0; i < n; i++) {
            double want = u[i] / (1 + exp(-(double)x[i]));
            assert_true(fabs(y[i] - want) <= 6e-7 * fabs(want) + 1e-37);
        }
        memcpy(z, gy, (size_t)n * sizeof *z); /* in place */
        k->sigmoid_mul_backward(y, z, z, x, u, n);
        for (int i = 0; i < n; i++) {
            double sg = 1 / (1 + exp(-(double)x[i]));
            assert_true(fabs(z[i] - gy[i] * sg) <= 6e-7 * fabs(gy[i] * sg) + 1e-37);
            /* 1 - s is rounded to 6e-8 */
            assert_true(fabs(y[i] - gy[i] * u[i] * sg * (1 - sg)) <=
                        fabs(gy[i] * u[i]) * sg * (1e-6 * (1 - sg) + 1.2e-7));
        }
        for (int i = 0; i < n; i += 1 + n / 3) {
            float keep = x[i];
            x[i] = NAN;
            k->silu(y, x, n);
            k->sigmoid_mul(z, x, u, n);
            assert_true(isnan(y[i]) && isnan(z[i]));
            x[i] = keep;
        }
    }
    free(x), free(u), free(gy), free(y), free(z);
}

/* Sums of K products, whatever K, the position and the row it is stored over. */
static void taps_sum_in_order(void **state) {
    (void)state;
    EACH_SET(k)
    for (int s = 0; s < N_SIZES; s++)
        for (int K = 0; K <= 5; K++) {
            int n = sizes[s], ldw = n + 3;
            float *w = floats(5 * (LONGEST + 3), -1, 1), *y = floats(LONGEST, 0, 0), *row[5];
            for (int j = 0; j < 5; j++) row[j] = floats(LONGEST, -2, 2);
            const float *x[5] = {row[0], row[1], row[2], row[3], row[4]};
            k->taps(y, x, w, ldw, K, n);
            for (int i = 0; i < n; i++) {
                double sum = 0, mag = 0;
                for (int j = 0; j < K; j++) {
                    double p = (double)w[j * ldw + i] * x[j][i];
                    sum += p, mag += fabs(p);
                }
                assert_true(fabs(y[i] - sum) <= ((double)K + 1) * (FLT_EPSILON / 2) * mag);
            }
            for (int i = 0; K && i < n; i += 7) { /* alone: the same bits */
                float one;
                const float *xi[5] = {x[0] + i, x[1] + i, x[2] + i, x[3] + i, x[4] + i};
                k->taps(&one, xi, w + i, ldw, K, 1);
                assert_memory_equal(&one, y + i, sizeof one);
            }
            if (K > 1) {
                k->taps(row[1], x, w, ldw, K, n);
                assert_memory_equal(row[1], y, (size_t)n * sizeof *y);
            }
            for (int j = 0; j < 5; j++) free(row[j]);
            free(w), free(y);
        }
}

static void transposes_move_every_number(void **state) {
    (void)state;
    EACH_SET(k)
    for (int rows = 0; rows <= 35; rows++)
        for (int cols = 0; cols <= 35; cols += 1 + rows % 4) {
            int lds = cols + 2, ldt = rows + 3;
            float *s = floats(40 * 40, -1, 1), *t = floats(40 * 40, 9, 9);
            k->transpose(t, ldt, s, lds, rows, cols);
            for (int j = 0; j < cols; j++)
                for (int i = 0; i < ldt; i++) assert_true(t[j * ldt + i] == (i < rows ? s[i * lds + j] : 9));
            free(s), free(t);
        }
}

/* Each output of `tile` is one chain of fused multiply-adds over k, however many rows and columns are asked for; the
 * reference sums in double. */
static void tiles_are_one_chain_for_each_output(void **state) {
    (void)state;
    static const int rows[] = {1, 2, 3, 4, 5, 6, 7, 13}, cols[] = {1, 5, 8, 16, 31, 32, 33, 64, 70, 128},
                     ks[] = {0, 1, 3, 17}, bytes[] = {0, 1, 500, 900};
    enum { R = 13, COLS = 128, KS = 17, LD = COLS + 3 };
    float *a = floats(R * (KS + 2), -1, 1), *b = floats(KS * LD, -1, 1), *c = floats(R * LD, 0, 0),
          *c0 = floats(R * LD, -1, 1), *c1 = floats(R * LD, 0, 0);
    EACH_SET(k)
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof cols / sizeof *cols; j++)
            for (size_t l = 0; l < sizeof ks / sizeof *ks; l++)
                for (int way = 0; way < 4; way++) { /* accumulate or not, A as it is or transposed */
                    const int M = rows[i], N = cols[j], K = ks[l], add = way & 1;
                    const int rs = way & 2 ? 1 : KS + 2, cs = way & 2 ? R : 1;
                    memcpy(c, c0, R * LD * sizeof *c);
                    k->tile(c, LD, a, rs, cs, M, b, LD, K, N, add);
                    /* what is fetched meanwhile changes nothing */
                    for (size_t f = 0; f < sizeof bytes / sizeof *bytes; f++) {
                        memcpy(c1, c0, R * LD * sizeof *c1);
                        k->tile_fetch(c1, LD, a, rs, cs, M, b, LD, K, N, add, bytes[f] ? a : NULL, bytes[f]);
                        assert_memory_equal(c1, c, R * LD * sizeof *c);
                    }
                    for (int m = 0; m < R; m++)
                        for (int n = 0; n < LD; n++) {
                            float want = c0[m * LD + n];
                            if (m < M && n < N) {
                                double sum = add ? want : 0, mag = fabs(sum);
                                want = add ? want : 0;
                                for (int x = 0; x < K; x++) {
                                    want = fmaf(a[m * rs + x * cs], b[x * LD + n], want);
                                    sum += (double)a[m * rs + x * cs] * b[x * LD + n];
                                    mag += fabs((double)a[m * rs + x * cs] * b[x * LD + n]);
                                }
                                if (!strcmp(k->name, "ref")) {
                                    assert_true(fabs(c[m * LD + n] - sum) <= FLT_EPSILON * mag);
                                    continue;
                                }
                            }
                            if (!(c[m * LD + n] == want))
                                fail_msg("%s tile M=%d N=%d K=%d way %d: [%d, %d] = %.9g, want %.9g", k->name, M, N, K,
                                         way, m, n, (double)c[m * LD + n], (double)want);
                        }
                }
    free(a), free(b), free(c), free(c0), free(c1);
}

static void softmax_steps_equal_a_softmax(void **state) {
    (void)state;
    enum { ROWS = 5, KEYS = 70 };
    EACH_SET(k) {
        float s[ROWS][96], m[ROWS], l[ROWS], shrink[ROWS];
        double p[ROWS][96];
        for (int r = 0; r < ROWS; r++) {
            m[r] = -INFINITY, l[r] = 0;
            for (int j = 0; j < 96; j++) s[r][j] = j < KEYS - r ? uniform(-9, 9) : NAN; /* behind the keys: anything */
        }
        for (int b = 0; b < 96; b += 32) {
            float block[ROWS][32];
            int32_t valid[ROWS];
            for (int r = 0; r < ROWS; r++) {
                memcpy(block[r], s[r] + b, sizeof block[r]);
                valid[r] = KEYS - r - b > 32 ? 32 : KEYS - r - b;
            }
            k->softmax32(&block[0][0], ROWS, valid, m, l, shrink);
            for (int r = 0; r < ROWS; r++) {
                for (int j = 0; j < b; j++) p[r][j] *= shrink[r];
                for (int j = 0; j < 32; j++) p[r][b + j] = block[r][j];
            }
        }
        for (int r = 0; r < ROWS; r++) {
            double top = -INFINITY, sum = 0;
            for (int j = 0; j < KEYS - r; j++) top = fmax(top, s[r][j]);
            for (int j = 0; j < KEYS - r; j++) sum += exp(s[r][j] - top);
            assert_true(m[r] == (float)top);
            assert_true(fabs(l[r] - sum) <= 2e-6 * sum);
            for (int j = 0; j < 96; j++) {
                double want = j < KEYS - r ? exp(s[r][j] - top) : 0;
                /* s - m is rounded: at most 18 * 2^-24 = 1.1e-6 in each of up to three factors, and 2 ulp of exp each */
                assert_true(fabs(p[r][j] - want) <= 4e-6 * want);
            }
        }
    }
}

static void reductions_are_close_and_keep_nan(void **state) {
    (void)state;
    float *x = floats(LONGEST + 1, -2, 2), *y = floats(LONGEST + 1, -2, 2);
    EACH_SET(k)
    for (int s = 0; s < N_SIZES; s++)
        for (int off = 0; off < 2; off++) {
            int n = sizes[s];
            double dot = 0, mag = 0, sq = 0;
            float top = -INFINITY;
            for (int i = 0; i < n; i++) {
                dot += (double)x[off + i] * y[off + i];
                mag += fabs((double)x[off + i] * y[off + i]);
                sq += (double)x[off + i] * x[off + i];
                top = x[off + i] > top ? x[off + i] : top;
            }
            assert_true(fabs(k->dot(x + off, y + off, n) - dot) <= ((double)n + 1) * (FLT_EPSILON / 2) * mag);
            assert_true(fabs(k->sum_sq(x + off, n) - sq) <= 1e-13 * sq);
            assert_true(k->max(x + off, n) == top);
            for (int i = 0; i < n; i += 1 + n / 5) {
                float keep = x[off + i];
                x[off + i] = NAN;
                assert_true(isnan(k->max(x + off, n)) && isnan(k->dot(x + off, y + off, n)) &&
                            isnan(k->sum_sq(x + off, n)));
                x[off + i] = keep;
            }
        }
    free(x), free(y);
}

static void rmsnorm_and_its_gradient(void **state) {
    (void)state;
    float *x = floats(LONGEST, -2, 2), *w = floats(LONGEST, 0, 2), *gy = floats(LONGEST, -1, 1);
    float *y = floats(LONGEST, 0, 0), *gx = floats(LONGEST, 0, 0);
    EACH_SET(k)
    for (int s = 1; s < N_SIZES; s++) {
        int n = sizes[s];
        float r;
        double sq = 0, mean = 0;
        for (int i = 0; i < n; i++) sq += (double)x[i] * x[i];
        double want_r = 1 / sqrt(sq / n + 1e-5);
        k->rmsnorm(y, x, w, 1e-5f, n, &r);
        assert_true(ulps(r, want_r) <= 1);
        for (int i = 0; i < n; i++) assert_true(fabs(y[i] - x[i] * want_r * w[i]) <= 3e-7 * fabs(x[i] * want_r * w[i]));
        for (int i = 0; i < n; i++) mean += x[i] * want_r * gy[i] * w[i] / n;
        for (int i = 0; i < n; i++) gx[i] = (float)i;
        k->rmsnorm_backward(gx, gy, x, w, r, n);
        for (int i = 0; i < n; i++) {
            double dn = (double)gy[i] * w[i], want = i + want_r * (dn - x[i] * want_r * mean);
            assert_true(fabs((double)gx[i] - want) <=
                        2e-6 * (fabs(want_r * dn) + fabs(want_r * want_r * x[i] * mean)) + 1e-7 * (double)i);
        }
    }
    free(x), free(w), free(gy), free(y), free(gx);
}

static void rope_turns_and_turns_back(void **state) {
    (void)state;
    EACH_SET(k)
    for (int s = 0; s < N_SIZES && sizes[s] <= 255; s++) {
        int half = sizes[s];
        float *x = floats(2 * half, -1, 1), *y = floats(2 * half, 0, 0), *c = floats(half, 0, 0),
              *sn = floats(half, 0, 0);
        for (int j = 0; j < half; j++) {
            float a = uniform(-3, 3);
            c[j] = cosf(a), sn[j] = sinf(a);
        }
        memcpy(y, x, (size_t)(2 * half) * sizeof *x);
        k->rope(y, c, sn, half, 1);
        for (int j = 0; j < half; j++) {
            assert_true(fabs(y[j] - ((double)x[j] * c[j] - (double)x[j + half] * sn[j])) <= 3e-7);
            assert_true(fabs(y[j + half] - ((double)x[j + half] * c[j] + (double)x[j] * sn[j])) <= 3e-7);
        }
        k->rope(y, c, sn, half, -1);
        for (int j = 0; j < 2 * half; j++) assert_true(fabs(y[j] - x[j]) <= 1e-6);
        free(x), free(y), free(c), free(sn);
    }
}

/* Widening and the steps that are one IEEE operation for each rounding in the formula: the same bits in every set. */
static void exact_entries_equal_the_reference_bit_for_bit(void **state) {
    (void)state;
    const ws_kernels *ref = &ws_kernels_ref;
    EACH_SET(k)
    for (int s = 0; s < N_SIZES; s++) {
        int n = sizes[s];
        float *a[4], *b[4];
        for (int i = 0; i < 4; i++) {
            a[i] = floats(n + 1, i == 2 ? 0 : -1, 1), b[i] = floats(n + 1, 0, 0);
            memcpy(b[i], a[i], (size_t)(n + 1) * sizeof(float));
        }
#define SAME(i) assert_memory_equal(a[i], b[i], (size_t)(n + 1) * sizeof(float))
        k->adamw(a[0], a[1], a[2], a[3], n, 0.7f, 0.999f, 1e-3f, 0.3f, 1e-8f);
        ref->adamw(b[0], b[1], b[2], b[3], n, 0.7f, 0.999f, 1e-3f, 0.3f, 1e-8f);
        SAME(0), SAME(1), SAME(2);
        k->axpy(a[0], 0.37f, a[1], n), ref->axpy(b[0], 0.37f, b[1], n);
        k->add(a[0], a[2], n), ref->add(b[0], b[2], n);
        k->scale(a[0], 1.7f, n), ref->scale(b[0], 1.7f, n);
        k->mul(a[3], a[0], a[1], n), ref->mul(b[3], b[0], b[1], n);
        k->scaled(a[2], -0.3f, a[1], n), ref->scaled(b[2], -0.3f, b[1], n);
        SAME(0), SAME(2), SAME(3);
        for (int i = 0; i < 4; i++) free(a[i]), free(b[i]);
        for (int t = 0; t < N_TYPES; t++) {
            int64_t count = n / ws_dtypes[weight_types[t]].block * ws_dtypes[weight_types[t]].block;
            ws_weight w = weights(weight_types[t], 1, count);
            float *x = floats(count, 0, 0), *y = floats(count, 0, 0);
            k->widen(x, w.data, w.type, count);
            ws_dtype_to_f32(y, w.data, w.type, count);
            assert_memory_equal(x, y, (size_t)count * sizeof *x);
            free(x), free(y), free((void *)w.data);
        }
    }
}

static void values_do_not_depend_on_their_position(void **state) {
    (void)state;
    enum { N = 67 };
    float *x = floats(N, -3, 3), *u = floats(N, -1, 1), *whole = floats(N, 0, 0), *part = floats(N, 0, 0),
          *gu = floats(N, 0, 0);
    EACH_SET(k)
    for (int fn = 0; fn < 4; fn++) {
        for (int from = 0; from <= 1; from++) { /* 0: all at once, 1: one by one */
            float *y = from ? part : whole;
            for (int i = 0; i < N; i += from ? 1 : N) {
                int n = from ? 1 : N;
                if (fn == 0) k->exp(y + i, x + i, n);
                if (fn == 1) k->silu_mul(y + i, x + i, u + i, n);
                if (fn == 2) k->silu_mul_backward(y + i, gu + i, u + i, x + i, u + i, n);
                if (fn == 3) k->exp_sum(y + i, x + i, 0.25f, n);
            }
        }
        assert_memory_equal(whole, part, N * sizeof(float));
    }
    free(x), free(u), free(whole), free(part), free(gu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_2_ulp_everywhere),
        cmocka_unit_test(functions_of_exp_are_close),
        cmocka_unit_test(gates_are_close),
        cmocka_unit_test(taps_sum_in_order),
        cmocka_unit_test(tiles_are_one_chain_for_each_output),
        cmocka_unit_test(transposes_move_every_number),
        cmocka_unit_test(softmax_steps_equal_a_softmax),
        cmocka_unit_test(reductions_are_close_and_keep_nan),
        cmocka_unit_test(rmsnorm_and_its_gradient),
        cmocka_unit_test(rope_turns_and_turns_back),
        cmocka_unit_test(exact_entries_equal_the_reference_bit_for_bit),
        cmocka_unit_test(values_do_not_depend_on_their_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
