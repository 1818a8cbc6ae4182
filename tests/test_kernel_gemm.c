/* Matrix products of every kernel set against sums in double, for every weight type; and the contract of bits: batch =
 * single, one thread = more threads, chunked = whole. */
#include "kernel_sets.h"
#include "base/parallel.h"

typedef struct shape {
    int M, N, K;
} shape;

/* |got - want| <= (K + 2) u sum |x w| + one rounding of y holds for ANY order of summation (Higham, 3.5). */
static void near(float got, double want, double magnitude, int64_t K, const char *what, const ws_kernels *k, shape s,
                 ws_dtype t) {
    double bound = ((double)K + 2) * (FLT_EPSILON / 2) * magnitude + FLT_EPSILON * fabs(want) + 1e-37;
    if (!(fabs(got - want) <= bound)) {
        fail_msg("%s %s %s M=%d N=%d K=%d: got %.9g, want %.9g, bound %.3g", k->name, what, ws_dtypes[t].name, s.M, s.N,
                 s.K, (double)got, want, bound);
    }
}

static const ws_order as_stored;

static void check_nt(const ws_kernels *k, shape s, ws_dtype t, int accumulate, ws_order rows, ws_order cols) {
    int64_t ldx = s.K + 3, ldy = s.N + 5;
    ws_weight w = weights(t, s.N, s.K);
    w.row_order = rows, w.col_order = cols;
    float *x = floats(s.M * ldx + 1, -1, 1), *y = floats(s.M * ldy + 1, -1, 1), *wf = floats(s.N * s.K, 0, 0);
    float *before = floats(s.M * ldy + 1, 0, 0);
    memcpy(before, y, (size_t)(s.M * ldy + 1) * sizeof *y);
    for (int i = 0; i < s.M; i++)
        for (int j = 0; j < 3; j++) x[1 + i * ldx + s.K + j] = NAN; /* beside the rows: must not be touched */
    ws_weight_rows_f32(&w, 0, s.N, wf);
    ws_gemm_nt(y + 1, ldy, x + 1, ldx, s.M, &w, accumulate);
    for (int m = 0; m < s.M; m++) {
        for (int n = 0; n < s.N; n++) {
            double sum = 0, mag = 0;
            for (int i = 0; i < s.K; i++) {
                double p = (double)x[1 + m * ldx + i] * wf[(int64_t)n * s.K + i];
                sum += p, mag += fabs(p);
            }
            double y0 = accumulate ? before[1 + m * ldy + n] : 0;
            near(y[1 + m * ldy + n], y0 + sum, mag, s.K, "nt", k, s, t);
        }
        for (int64_t n = s.N; n < ldy; n++) assert_true(y[1 + m * ldy + n] == before[1 + m * ldy + n]);
    }
    free(before), free(x), free(y), free(wf), free((void *)w.data);
}

static void check_nn(const ws_kernels *k, shape s, ws_dtype t, int accumulate, int transposed, ws_order cols) {
    int64_t lda = (transposed ? s.M : s.K) + 3, ldy = s.N + 5, rs = transposed ? 1 : lda, cs = transposed ? lda : 1;
    ws_weight w = weights(t, s.K, s.N);
    w.col_order = cols;
    float *a = floats((transposed ? s.K : s.M) * lda + 1, -1, 1), *y = floats(s.M * ldy + 1, -1, 1);
    float *before = floats(s.M * ldy + 1, 0, 0), *wf = floats((int64_t)s.N * s.K, 0, 0);
    memcpy(before, y, (size_t)(s.M * ldy + 1) * sizeof *y);
    ws_weight_rows_f32(&w, 0, s.K, wf);
    ws_gemm_nn(y + 1, ldy, a + 1, rs, cs, s.M, &w, accumulate);
    for (int m = 0; m < s.M; m++) {
        for (int n = 0; n < s.N; n++) {
            double sum = 0, mag = 0;
            for (int i = 0; i < s.K; i++) {
                double p = (double)a[1 + m * rs + i * cs] * wf[(int64_t)i * s.N + n];
                sum += p, mag += fabs(p);
            }
            double y0 = accumulate ? before[1 + m * ldy + n] : 0;
            near(y[1 + m * ldy + n], y0 + sum, mag + fabs(y0), s.K, "nn", k, s, t);
        }
        for (int64_t n = s.N; n < ldy; n++) assert_true(y[1 + m * ldy + n] == before[1 + m * ldy + n]);
    }
    free(before), free(a), free(y), free(wf), free((void *)w.data);
}

static void gemm_equals_sums_in_double(void **state) {
    (void)state;
    static const shape any[] = {{1, 1, 1},     {0, 3, 5},    {3, 0, 5},    {3, 4, 0},     {1, 7, 3},    {2, 5, 31},
                                {3, 9, 33},    {4, 4, 64},   {5, 13, 70},  {6, 3, 17},    {7, 101, 8},  {13, 6, 41},
                                {17, 33, 700}, {1, 9, 1303}, {4, 6, 1303}, {25, 530, 40}, {131, 18, 35}};
    static const shape whole[] = {{1, 32, 32},   {2, 64, 96},   {3, 96, 32},   {5, 32, 64},
                                  {7, 160, 672}, {4, 32, 1312}, {19, 544, 288}};
    /* nt: rows of K, in blocks of K that cut the blocks of 256; nn: rows of N, in chunks that do */
    static const shape super_nt[] = {{1, 33, 256}, {2, 7, 1280}, {3, 5, 768}, {4, 18, 2304}, {6, 101, 1280}},
                       super_nn[] = {{1, 256, 33}, {3, 1536, 40}, {20, 768, 300}};
    EACH_SET(k)
    for (int i = 0; i < N_TYPES; i++)
        for (int acc = 0; acc < 2; acc++) {
            const ws_dtype t = weight_types[i];
            const int block = ws_dtypes[t].block;
            for (size_t j = 0; block < 256 && j < sizeof whole / sizeof *whole; j++) {
                check_nt(k, whole[j], t, acc, as_stored, as_stored);
                check_nn(k, whole[j], t, acc, (int)j % 2, as_stored);
            }
            for (size_t j = 0; block == 1 && j < sizeof any / sizeof *any; j++) {
                check_nt(k, any[j], t, acc, as_stored, as_stored);
                check_nn(k, any[j], t, acc, (int)j % 2, as_stored);
            }
            for (size_t j = 0; block == 256 && j < sizeof super_nt / sizeof *super_nt; j++)
                check_nt(k, super_nt[j], t, acc, as_stored, as_stored);
            for (size_t j = 0; block == 256 && j < sizeof super_nn / sizeof *super_nn; j++)
                check_nn(k, super_nn[j], t, acc, (int)j % 2, as_stored);
        }
}

/* The halves of every head interleaved; and value heads behind 32 other rows in tiled order. */
static void permuted_rows_are_read_in_order(void **state) {
    (void)state;
    const ws_order rope16 = {0, 2, 8, 1}, rope32 = {0, 2, 16, 1}, tiled = {32, 2, 3, 16};
    EACH_SET(k) {
        check_nt(k, (shape){3, 64, 96}, WS_Q4_1, 0, rope16, as_stored);
        check_nt(k, (shape){9, 64, 96}, WS_BF16, 0, rope32, as_stored);
        check_nt(k, (shape){9, 128, 64}, WS_F32, 1, tiled, as_stored);
        check_nt(k, (shape){2, 128, 256}, WS_Q6_K, 1, tiled, as_stored);
    }
}

/* Heads of columns that are parts of a block, and more rows than are put in order at a time. */
static void permuted_columns_meet_the_right_inputs(void **state) {
    (void)state;
    const ws_order heads = {0, 4, 2, 64}, late = {128, 2, 3, 64};
    static const ws_dtype types[] = {WS_F32, WS_BF16, WS_Q8_0, WS_Q4_K, WS_Q5_K, WS_Q6_K};
    EACH_SET(k)
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int acc = 0; acc < 2; acc++) {
            check_nt(k, (shape){1, 7, 512}, types[i], acc, as_stored, heads);
            check_nt(k, (shape){9, 40, 512}, types[i], acc, as_stored, late);
            check_nn(k, (shape){2, 512, 40}, types[i], acc, 0, heads);
            check_nn(k, (shape){9, 512, 33}, types[i], acc, 1, late);
        }
    const ws_order qwen35_4b = {0, 16, 2, 128}; /* out_proj: two heads in each block of 256 */
    EACH_SET(k) if (!slow(k)) {
        check_nt(k, (shape){1, 5, 4096}, WS_Q4_K, 0, as_stored, qwen35_4b);
        check_nt(k, (shape){9, 5, 4096}, WS_Q6_K, 0, as_stored, qwen35_4b);
        check_nn(k, (shape){3, 4096, 24}, WS_Q5_K, 0, 0, qwen35_4b);
        check_nt(k, (shape){1100, 40, 512}, WS_Q4_K, 1, as_stored, heads);
        check_nn(k, (shape){1100, 512, 40}, WS_Q4_K, 1, 0, heads);
    }
}

/* Each row of a product computed alone, in batches of several sizes, and by one, two or five threads, has the same
 * bits. */
static void rows_have_the_same_bits_in_any_batch(void **state) {
    (void)state;
    static const int batch[] = {1, 2, 3, 5, 17, 64, 257};
    enum { M = 257 };
    static const int dims[][2] = {{72, 96}, {13, 1312}, {200, 32}};
    EACH_SET(k)
    for (int t = 0; t < N_TYPES; t++)
        for (size_t d = 0; d < 3; d++) {
            int64_t block = ws_dtypes[weight_types[t]].block;
            if (d && slow(k) && (t % 3 || block > 32)) continue;
            int64_t unit = block > 32 ? block : 1;
            int64_t N = dims[d][0], K = (dims[d][1] + unit - 1) / unit * unit;
            int64_t nn = block > 32 ? (N + 255) / 256 * 256 : (N + 31) / 32 * 32;
            ws_weight w = weights(weight_types[t], N, K), v = weights(weight_types[t], K, nn);
            float *x = floats(M * K, -1, 1), *all = floats(M * N, 0, 0), *part = floats(M * N, 0, 0);
            float *alln = floats(M * nn, 0, 0), *partn = floats(M * nn, 0, 0);
            for (int acc = 0; acc < 2; acc++) {
                for (int64_t i = 0; i < M * N; i++) all[i] = (float)i * 1e-3f;
                for (int64_t i = 0; i < M * nn; i++) alln[i] = (float)i * 1e-3f;
                ws_threads_set(2);
                ws_gemm_nt(all, N, x, K, M, &w, acc);
                ws_gemm_nn(alln, nn, x, K, 1, M, &v, acc);
                for (size_t b = 0; b < sizeof batch / sizeof *batch; b++) {
                    ws_threads_set(b % 2 ? 5 : 1); /* products are cut as the threads need */
                    for (int64_t i = 0; i < M * N; i++) part[i] = (float)i * 1e-3f;
                    for (int64_t i = 0; i < M * nn; i++) partn[i] = (float)i * 1e-3f;
                    for (int64_t m = 0; m < M; m += batch[b]) {
                        int64_t n = M - m < batch[b] ? M - m : batch[b];
                        ws_gemm_nt(part + m * N, N, x + m * K, K, n, &w, acc);
                        ws_gemm_nn(partn + m * nn, nn, x + m * K, K, 1, n, &v, acc);
                    }
                    if (memcmp(all, part, (size_t)(M * N) * sizeof *all))
                        fail_msg("%s nt %s N=%d K=%d: batches of %d differ", k->name, ws_dtypes[weight_types[t]].name,
                                 (int)N, (int)K, batch[b]);
                    if (memcmp(alln, partn, (size_t)(M * nn) * sizeof *alln))
                        fail_msg("%s nn %s N=%d K=%d: batches of %d differ", k->name, ws_dtypes[weight_types[t]].name,
                                 (int)nn, (int)K, batch[b]);
                }
                ws_threads_set(0);
            }
            free(x), free(all), free(part), free(alln), free(partn), free((void *)w.data), free((void *)v.data);
        }
}

/* A NaN or infinity in an input reaches every output that it belongs to, and no other. */
static void nan_stays_in_its_row(void **state) {
    (void)state;
    EACH_SET(k)
    for (int M = 1; M <= 9; M += 4) {
        ws_weight w = weights(WS_BF16, 40, 70), v = weights(WS_BF16, 70, 40);
        float *x = floats(M * 70, -1, 1), *y = floats(M * 40, 0, 0), *z = floats(M * 40, 0, 0);
        x[69] = NAN;
        ws_gemm_nt(y, 40, x, 70, M, &w, 0);
        ws_gemm_nn(z, 40, x, 70, 1, M, &v, 0);
        for (int i = 0; i < M * 40; i++) {
            assert_int_equal(isnan(y[i]), i < 40);
            assert_int_equal(isnan(z[i]), i < 40);
        }
        free(x), free(y), free(z), free((void *)w.data), free((void *)v.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_equals_sums_in_double),
        cmocka_unit_test(permuted_rows_are_read_in_order),
        cmocka_unit_test(permuted_columns_meet_the_right_inputs),
        cmocka_unit_test(rows_have_the_same_bits_in_any_batch),
        cmocka_unit_test(nan_stays_in_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
