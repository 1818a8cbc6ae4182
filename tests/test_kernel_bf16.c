/* Products with both sides rounded to bf16 (kernel/compute.h): torch's rounding and products (tools/reference/make_bf16.py),
 * every kernel set and weight type against sums in double of the rounded numbers, the contract of bits, and the arithmetic
 * of pairs against a scalar model of VDPBF16PS and TDPBF16PS.
 * Tolerance of products: |got - want| <= (K + 2) u sum |x w| + one rounding of y holds for ANY order of fp32 sums (Higham,
 * 3.5); 1e-37 stands for results below the normal range, which pairs make 0. */
#include "kernel_sets.h"
#include "base/parallel.h"
#include "fixtures/bf16.h"
#include "kernel/compute.h"

static void in_bf16(void) {
    ws_err err = {0};
    assert_int_equal(ws_compute_choose("bf16", &err), WS_OK);
    assert_int_equal(ws_compute_type(), WS_COMPUTE_BF16);
}
static void in_f32(void) {
    ws_err err = {0};
    assert_int_equal(ws_compute_choose("f32", &err), WS_OK);
}

static float to_bf16(float f) { return ws_bf16_f32(ws_bf16_round(f)); }
static float of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static void rounding_is_torchs(void **state) {
    (void)state;
    enum { N = sizeof bf16_rounded / sizeof *bf16_rounded };
    float x[N], one = 1, y[N];
    uint16_t h[N];
    for (int i = 0; i < N; i++) {
        x[i] = of_bits(bf16_rounded[i][0]);
        const uint16_t mine = ws_bf16_round(x[i]), want = (uint16_t)bf16_rounded[i][1];
        if (isnan(x[i]) ? !isnan(ws_bf16_f32(mine)) : mine != want)
            fail_msg("%08x becomes %04x, torch makes %04x", bf16_rounded[i][0], mine, want);
    }
    /* torch keeps numbers below the normal range; these instructions make them 0 */
    assert_int_equal(ws_bf16_round(of_bits(0x007fffff)), 0);
    assert_int_equal(ws_bf16_round(of_bits(0x80400000)), 0x8000);
    in_bf16();
    EACH_SET(k) {
        const ws_weight w = ws_weight_f32(x, N, 1, 1), unit = ws_weight_f32(&one, 1, 1, 1);
        if (k->bf16) {
            k->bf16->round(h, x, N);
            for (int i = 0; i < N; i++)
                if (isnan(x[i]) ? !isnan(ws_bf16_f32(h[i])) : h[i] != ws_bf16_round(x[i]))
                    fail_msg("%s rounds %08x to %04x", k->name, bf16_rounded[i][0], h[i]);
        }
        for (int side = 0; side < 2; side++) { /* times 1 each number is what its side was rounded to */
            if (side)
                ws_base_nt(y, 1, x, 1, N, &unit, 0);
            else
                ws_base_nt(y, N, &one, 1, 1, &w, 0);
            for (int i = 0; i < N; i++)
                if (isnan(x[i]) ? !isnan(y[i]) : y[i] != to_bf16(x[i]))
                    fail_msg("%s, side %d: %08x times 1 is %.9g", k->name, side, bf16_rounded[i][0], (double)y[i]);
        }
    }
    in_f32();
}

/* As make_bf16.py's noise(). */
static float *bf16_noise(int64_t n, uint64_t seed) {
    float *a = floats(n, 0, 0);
    for (int64_t i = 0; i < n; i++) {
        uint64_t h = ((uint64_t)i + 1 + seed) * 2654435761u % 4294967296u;
        h ^= h >> 15;
        h = h * 2246822519u % 4294967296u;
        h ^= h >> 13;
        a[i] = (float)(h >> 8) * 0x1p-24f - 0.5f;
    }
    return a;
}

static void products_are_torchs(void **state) {
    (void)state;
    enum { M = BF16_M, N = BF16_N, K = BF16_K };
    float *x = bf16_noise(M * K, 0), *w = bf16_noise(N * K, 100000), *v = bf16_noise(K * N, 200000), y[M * N];
    const ws_weight wt = ws_weight_f32(w, N, K, K), wn = ws_weight_f32(v, K, N, N);
    in_bf16();
    EACH_SET(k)
    for (int way = 0; way < 3; way++) { /* many rows at once, each alone, the other product */
        if (way == 2)
            ws_base_nn(y, N, x, K, M, &wn, 0);
        else
            for (int m = 0; m < M; m += way ? 1 : M) ws_base_nt(y + m * N, N, x + m * K, K, way ? 1 : M, &wt, 0);
        for (int i = 0; i < M * N; i++) {
            double mag = 0, want = way == 2 ? torch_nn[i] : torch_nt[i];
            for (int j = 0; j < K; j++)
                mag +=
                    fabs((double)to_bf16(x[i / N * K + j]) * to_bf16(way == 2 ? v[j * N + i % N] : w[i % N * K + j]));
            const double bound = (K + 2) * (FLT_EPSILON / 2) * mag + FLT_EPSILON * fabs(want);
            if (!(fabs(y[i] - want) <= bound))
                fail_msg("%s way %d, number %d: %.9g, torch has %.9g, bound %.3g", k->name, way, i, (double)y[i], want,
                         bound);
        }
    }
    in_f32();
    free(x), free(w), free(v);
}

/* One product against sums in double of rounded numbers; NaN stands beside what may be read. */
static void against_double(const ws_kernels *k, ws_dtype t, int M, int N, int K, int nn, int acc, ws_order order) {
    const int64_t rows = nn ? K : N, cols = nn ? N : K, ldx = K + 3, ldy = N + 5;
    ws_weight w = weights(t, rows, cols);
    w.col_order = order;
    float *x = floats(M * ldx + 1, -1, 1), *y = floats(M * ldy + 1, -1, 1), *wf = floats(rows * cols, 0, 0);
    float *before = floats(M * ldy + 1, 0, 0);
    memcpy(before, y, (size_t)(M * ldy + 1) * sizeof *y);
    ws_weight_rows_f32(&w, 0, rows, wf);
    for (int64_t i = 0; i < rows * cols; i++) wf[i] = to_bf16(wf[i]);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < 3; j++) x[1 + i * ldx + K + j] = NAN;
    if (nn)
        ws_base_nn(y + 1, ldy, x + 1, ldx, M, &w, acc);
    else
        ws_base_nt(y + 1, ldy, x + 1, ldx, M, &w, acc);
    for (int m = 0; m < M; m++) {
        for (int n = 0; n < N; n++) {
            double y0 = acc ? before[1 + m * ldy + n] : 0, sum = 0, mag = 0;
            for (int i = 0; i < K; i++) {
                const double p = (double)to_bf16(x[1 + m * ldx + i]) * wf[nn ? (int64_t)i * N + n : (int64_t)n * K + i];
                sum += p, mag += fabs(p);
            }
            const double got = y[1 + m * ldy + n], want = y0 + sum;
            const double bound =
                ((double)K + 2) * (FLT_EPSILON / 2) * (mag + (nn ? fabs(y0) : 0)) + FLT_EPSILON * fabs(want) + 1e-37;
            if (!(fabs(got - want) <= bound))
                fail_msg("%s %s %s M=%d N=%d K=%d acc=%d: got %.9g, want %.9g, bound %.3g", k->name, nn ? "nn" : "nt",
                         ws_dtypes[t].name, M, N, K, acc, got, want, bound);
        }
        for (int64_t n = N; n < ldy; n++) assert_true(y[1 + m * ldy + n] == before[1 + m * ldy + n]);
    }
    free(x), free(y), free(wf), free(before), free((void *)w.data);
}

static void products_equal_sums_in_double_of_rounded_numbers(void **state) {
    (void)state;
    static const int any[][3] = {{1, 1, 1},     {0, 3, 5},    {3, 4, 0},    {2, 5, 31},    {3, 9, 33},
                                 {4, 4, 64},    {5, 13, 70},  {6, 3, 17},   {7, 101, 8},   {13, 6, 41},
                                 {17, 33, 700}, {1, 9, 1303}, {4, 6, 2603}, {25, 530, 40}, {131, 18, 35}},
                     whole[][3] = {{1, 32, 32}, {2, 64, 96}, {5, 32, 64}, {7, 160, 672}, {4, 32, 1312}, {19, 544, 288}},
                     super_nt[][3] = {{1, 33, 256}, {2, 7, 1280}, {4, 18, 2816}, {6, 101, 1536}},
                     super_nn[][3] = {{1, 256, 33}, {3, 1536, 40}, {20, 768, 301}};
    const ws_order none = {0}, heads = {0, 4, 2, 64}, late = {128, 2, 3, 64};
    in_bf16();
    EACH_SET(k)
    for (int i = 0; i < N_TYPES; i++)
        for (int acc = 0; acc < 2; acc++) {
            const ws_dtype t = weight_types[i];
            const int block = ws_dtypes[t].block;
#define ALL(list, nn)                                                                                                  \
    for (size_t j = 0; j < sizeof list / sizeof *list; j++)                                                            \
        against_double(k, t, list[j][0], list[j][1], list[j][2], nn, acc, none);
            if (block == 1) {
                ALL(any, 0)
                ALL(any, 1)
            }
            if (block < 256) {
                ALL(whole, 0)
                ALL(whole, 1)
            } else {
                ALL(super_nt, 0)
                ALL(super_nn, 1)
            }
            if (t != WS_Q8_0 && t != WS_Q5_K) continue;
            against_double(k, t, 1, 7, 512, 0, acc, heads);
            against_double(k, t, 9, 40, 512, 0, acc, late);
            against_double(k, t, 2, 512, 40, 1, acc, heads);
            against_double(k, t, 9, 512, 33, 1, acc, late);
            if (!slow(k)) against_double(k, t, 1100, 512, 40, 1, acc, heads);
        }
    in_f32();
}

/* Each row alone, in batches of several sizes, with one thread and with two: the same bits. */
static void rows_in_bf16_have_the_same_bits_in_any_batch(void **state) {
    (void)state;
    static const int batch[] = {1, 2, 3, 5, 17, 64, 257};
    static const int dims[][2] = {{72, 96}, {13, 1312}, {200, 32}, {70, 1664}}; /* the last: blocks of K in tiles */
    in_bf16();
    EACH_SET(k)
    for (int t = 0; t < N_TYPES; t++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
            const int64_t block = ws_dtypes[weight_types[t]].block;
            if (d && slow(k) && (t % 3 || block > 32)) continue;
            const int64_t M = slow(k) ? 67 : 257; /* more than two tiles' rows, and not a whole number of them */
            const int64_t unit = block > 32 ? block : 1, N = dims[d][0], K = (dims[d][1] + unit - 1) / unit * unit;
            const int64_t nn = block > 32 ? (N + 255) / 256 * 256 : (N + 31) / 32 * 32;
            ws_weight w = weights(weight_types[t], N, K), v = weights(weight_types[t], K, nn);
            float *x = floats(M * K, -1, 1), *all = floats(M * N, 0, 0), *part = floats(M * N, 0, 0);
            float *alln = floats(M * nn, 0, 0), *partn = floats(M * nn, 0, 0);
            for (int acc = 0; acc < 2; acc++) {
                for (int64_t i = 0; i < M * N; i++) all[i] = (float)i * 1e-3f;
                for (int64_t i = 0; i < M * nn; i++) alln[i] = (float)i * 1e-3f;
                ws_threads_set(2);
                ws_base_nt(all, N, x, K, M, &w, acc);
                ws_base_nn(alln, nn, x, K, M, &v, acc);
                ws_threads_set(1);
                for (size_t b = 0; b < sizeof batch / sizeof *batch; b++) {
                    for (int64_t i = 0; i < M * N; i++) part[i] = (float)i * 1e-3f;
                    for (int64_t i = 0; i < M * nn; i++) partn[i] = (float)i * 1e-3f;
                    for (int64_t m = 0; m < M; m += batch[b]) {
                        const int64_t n = M - m < batch[b] ? M - m : batch[b];
                        ws_base_nt(part + m * N, N, x + m * K, K, n, &w, acc);
                        ws_base_nn(partn + m * nn, nn, x + m * K, K, n, &v, acc);
                    }
                    if (memcmp(all, part, (size_t)(M * N) * sizeof *all) ||
                        memcmp(alln, partn, (size_t)(M * nn) * sizeof *alln))
                        fail_msg("%s %s N=%d K=%d: batches of %d differ", k->name, ws_dtypes[weight_types[t]].name,
                                 (int)N, (int)K, batch[b]);
                }
                ws_threads_set(0);
            }
            free(x), free(all), free(part), free(alln), free(partn), free((void *)w.data), free((void *)v.data);
        }
    in_f32();
}

/* Rows of W that stand in another order, as llama.cpp stores some heads. */
static void permuted_rows_are_multiplied_in_order(void **state) {
    (void)state;
    enum { N = 256, K = 64, MOST = 70 };
    const ws_order heads = {0, 4, 2, 32};
    in_bf16();
    EACH_SET(k)
    for (int t = 0; t < N_TYPES; t++)
        for (int M = 1; M <= MOST; M += 23) {
            if (ws_dtypes[weight_types[t]].block > 64) continue;
            ws_weight w = weights(weight_types[t], N, K), moved = w;
            float *x = floats(M * K, -1, 1), *y = floats(M * N, 0, 0), *z = floats(M * N, 0, 0);
            moved.row_order = heads;
            ws_base_nt(y, N, x, K, M, &w, 0);
            ws_base_nt(z, N, x, K, M, &moved, 0);
            for (int64_t m = 0; m < M; m++)
                for (int64_t n = 0; n < N; n++)
                    if (memcmp(&z[m * N + n], &y[m * N + ws_order_at(heads, n)], sizeof *y))
                        fail_msg("%s %s M=%d: row %d", k->name, ws_dtypes[weight_types[t]].name, M, (int)n);
            free(x), free(y), free(z), free((void *)w.data);
        }
    in_f32();
}

/* x rounded once for several products: the same bits, whatever products with other x stand between. */
static void a_shared_x_changes_no_bits(void **state) {
    (void)state;
    in_bf16();
    EACH_SET(k)
    for (int M = 1; M <= 40; M += 13) {
        enum { N = 48, K = 70 };
        const ws_weight w = weights(WS_BF16, N, K), v = weights(WS_F32, N, K);
        float *x = floats(M * K, -1, 1), *other = floats(M * K, -1, 1);
        float *y = floats(M * N, 0, 0), *want = floats(2 * M * N, 0, 0);
        ws_base_nt(want, N, x, K, M, &w, 0);
        ws_base_nt(want + M * N, N, x, K, M, &v, 0);
        for (int between = 0; between < 2; between++) {
            ws_base_share(x);
            for (int i = 0; i < 4; i++) {
                ws_base_nt(y, N, x, K, M, i % 2 ? &v : &w, 0);
                assert_memory_equal(y, want + i % 2 * M * N, (size_t)(M * N) * sizeof *y);
                if (between) ws_base_nt(y, N, other, K, M, &w, 0);
            }
            ws_base_nt(y, N, x, K, M - 1, &w, 0);
            assert_memory_equal(y, want, (size_t)((M - 1) * N) * sizeof *y);
            ws_base_share(NULL);
        }
        x[0] += 1; /* not shared any more */
        ws_base_nt(y, N, x, K, M, &w, 0);
        assert_memory_not_equal(y, want, N * sizeof *y);
        free(x), free(other), free(y), free(want), free((void *)w.data), free((void *)v.data);
    }
    in_f32();
}

/* Thin products taken along: the bits of those that come after, in every compute type, over slabs and permuted columns. */
static void what_goes_beside_changes_no_bits(void **state) {
    (void)state;
    static const int rows[] = {1, 7, 40, 1100};
    for (int bf16 = 0; bf16 < 2; bf16++) {
        EACH_SET(k) {
            if (bf16) in_bf16();
            for (int t = 0; t < 3; t++)
                for (int i = 0; i < 4; i++) {
                    enum { N = 128, K = 64, R = 5 };
                    const int M = rows[i];
                    if (M > 1000 && t != 1) continue;
                    ws_weight w = weights((ws_dtype[]){WS_BF16, WS_F32, WS_Q4_1}[t], N, K);
                    if (t == 1) w.col_order = (ws_order){0, 4, 2, 8};
                    float *x = floats(M * N, -1, 1), *y = floats(M * N, 0, 0), *z = floats(M * N, 0, 0);
                    float *h = floats(2 * M * R, -1, 1), *v = floats(2 * R * N, -1, 1);
                    /* the second beside some of the rows */
                    const ws_beside b[2] = {
                        {.h = h, .v = v, .k = R, .first = 0, .n = M},
                        {.h = h + M * R, .v = v + R * N, .k = R, .first = M / 3, .n = M - M / 3 - M / 7}};
                    for (int nn = 0; nn < 2; nn++) {
                        const int64_t from = nn ? N : K, to = nn ? K : N;
                        for (int64_t j = 0; j < M * to; j++) y[j] = z[j] = (float)j;
                        (nn ? ws_base_nn : ws_base_nt)(y, to, x, from, M, &w, 1);
                        for (int j = 0; j < 2; j++) {
                            const ws_weight thin = ws_weight_f32(b[j].v, R, to, to);
                            ws_gemm_nn(y + b[j].first * to, to, b[j].h, R, 1, b[j].n, &thin, 1);
                        }
                        (nn ? ws_base_nn_beside : ws_base_nt_beside)(z, to, x, from, M, &w, 1, b, 2);
                        assert_memory_equal(y, z, (size_t)(M * to) * sizeof *y);
                    }
                    free(x), free(y), free(z), free(h), free(v), free((void *)w.data);
                }
            in_f32();
        }
    }
}

/* Low-rank products in the compute type: the bits of x A', the rows times alpha, and y += H U' in three steps, whether they
 * go into the sums of the large product or come after it; rows without them keep theirs. */
static void low_rank_products_beside_change_no_bits(void **state) {
    (void)state;
    static const int rows[] = {1, 16, 20, 33, 100, 1100};
    for (int bf16 = 0; bf16 < 2; bf16++) EACH_SET(k) {
            if (bf16) in_bf16();
            const ws_dtype narrow = bf16 ? WS_BF16 : WS_F32;
            for (int t = 0; t < 4; t++)
                for (int i = 0; i < 6; i++) {
                    const int M = rows[i], N = 75, K = t == 3 ? 1700 : 64, R[2] = {70, 5};
                    if ((M > 1000 && t != 0) || (t == 3 && M != 33)) continue;
                    ws_weight w = weights((ws_dtype[]){WS_BF16, WS_F32, WS_Q4_1, WS_F16}[t], N, K);
                    if (t == 1) w.col_order = (ws_order){0, 4, 2, 8};
                    float *x = floats(M * K, -1, 1), *y = floats(M * N, 0, 0), *z = floats(M * N, 0, 0);
                    float *alpha = floats(2 * M, -3, 3);
                    ws_weight a[2], u[2], ut[2];
                    ws_beside b[2];
                    for (int j = 0; j < 2; j++) {
                        a[j] = weights(narrow, R[j], K), u[j] = weights(narrow, N, R[j]),
                        ut[j] = weights(narrow, R[j], N);
                        const size_t size = bf16 ? 2 : 4;
                        for (int r = 0; r < R[j]; r++)
                            for (int n = 0; n < N; n++)
                                memcpy((char *)(uintptr_t)ut[j].data + (size_t)(r * N + n) * size,
                                       (const char *)u[j].data + (size_t)(n * R[j] + r) * size, size);
                        const int first = j ? M / 2 : M / 3; /* one beside some of the rows of the other */
                        b[j] =
                            (ws_beside){.a = &a[j], .u = &u[j], .ut = &ut[j], .alpha = alpha + j * M, .first = first};
                        b[j].n = M - first - M / 7;
                    }
                    for (int accumulate = 0; accumulate < 2; accumulate++) {
                        for (int64_t j = 0; j < M * N; j++) y[j] = z[j] = (float)j;
                        ws_base_nt(y, N, x, K, M, &w, accumulate);
                        for (int j = 0; j < 2; j++) {
                            float *h = floats(M * R[j], 0, 0);
                            ws_base_nt(h, R[j], x + b[j].first * K, K, b[j].n, &a[j], 0);
                            for (int64_t r = 0; r < b[j].n; r++) ws_k.scale(h + r * R[j], b[j].alpha[r], R[j]);
                            ws_base_nn(y + b[j].first * N, N, h, R[j], b[j].n, &ut[j], 1);
                            free(h);
                        }
                        ws_base_nt_beside(z, N, x, K, M, &w, accumulate, b, 2);
                        assert_memory_equal(y, z, (size_t)(M * N) * sizeof *y);
                    }
                    for (int j = 0; j < 2; j++)
                        free((void *)a[j].data), free((void *)u[j].data), free((void *)ut[j].data);
                    free(x), free(y), free(z), free(alpha), free((void *)w.data);
                }
            in_f32();
        }
}

static void a_nan_stays_in_its_row(void **state) {
    (void)state;
    in_bf16();
    EACH_SET(k)
    for (int M = 1; M <= 9; M += 4) {
        ws_weight w = weights(WS_BF16, 40, 70), v = weights(WS_Q8_0, 70, 64);
        float *x = floats(M * 70, -1, 1), *y = floats(M * 40, 0, 0), *z = floats(M * 64, 0, 0);
        x[69] = NAN;
        ws_base_nt(y, 40, x, 70, M, &w, 0);
        ws_base_nn(z, 64, x, 70, M, &v, 0);
        for (int i = 0; i < M * 40; i++) assert_int_equal(isnan(y[i]), i < 40);
        for (int i = 0; i < M * 64; i++) assert_int_equal(isnan(z[i]), i < 64);
        free(x), free(y), free(z), free((void *)w.data), free((void *)v.data);
    }
    in_f32();
}

/* ---- pairs: the orders that compute.h promises, in scalars ---- */

static float normal(float f) { return fabsf(f) < FLT_MIN ? copysignf(0, f) : f; }
static float pair(float s, const float *a, const float *b) { /* numbers in bf16; the odd one first */
    s = normal(fmaf(normal(a[1]), normal(b[1]), normal(s)));
    return normal(fmaf(normal(a[0]), normal(b[0]), s));
}
static float nt_in_order(const float *x, const float *w, int64_t K) {
    const int64_t blocks = (K + 1279) / 1280, block = ((K + blocks - 1) / blocks + 31) / 32 * 32;
    float total = 0;
    for (int64_t k0 = 0; k0 < K; k0 += block) {
        float lane[16] = {0}, t[8];
        for (int64_t k = k0; k < K && k < k0 + block; k += 2) {
            const float a[2] = {x[k], k + 1 < K ? x[k + 1] : 0}, b[2] = {w[k], k + 1 < K ? w[k + 1] : 0};
            float *s = &lane[(k - k0) / 2 % 16];
            *s = pair(*s, a, b);
        }
        for (int i = 0; i < 8; i++) t[i] = lane[i] + lane[i + 8];
        const float sum = ((t[0] + t[2]) + (t[1] + t[3])) + ((t[4] + t[6]) + (t[5] + t[7]));
        total = k0 ? total + sum : sum;
    }
    return total;
}

/* s + the sum of 32 products from k, the end filled up with zeros. */
static float tiles_in_order(float s, const float *x, const float *w, int64_t apart, int64_t K) {
    for (int64_t k0 = 0; k0 < K; k0 += 32) {
        float chain[2] = {0};
        for (int64_t k = k0; k < K && k < k0 + 32; k++)
            chain[k % 2] = normal(fmaf(normal(x[k]), normal(w[k * apart]), chain[k % 2]));
        s = normal(normal(s) + normal(chain[0] + chain[1]));
    }
    return s;
}

static void pairs_are_summed_as_documented(void **state) {
    (void)state;
    enum { M = 7, N = 37, K = 1303 };
    float *x = floats(M * K, -1, 1), *w = floats(N * K, -1, 1), *v = floats(K * N, -1, 1), y[M * N], z[M * N];
    for (int i = 0; i < M * K; i++) x[i] = to_bf16(x[i]);
    for (int i = 0; i < N * K; i++) w[i] = to_bf16(w[i]), v[i] = to_bf16(v[i]);
    /* cancellation down to what a lane makes 0, and sums that start below the normal range */
    x[0] = 0x1p-70f, x[2] = -0x1p-66f, w[0] = 0x1p-60f, w[2] = 0x1p-64f;
    for (int k = 3; k < K; k++) x[k] = k % 3 ? 0x1p-66f * x[k] : x[k], w[k] = k % 3 ? 0x1p-62f * w[k] : 0;
    const ws_weight wt = ws_weight_f32(w, N, K, K), wn = ws_weight_f32(v, K, N, N);
    in_bf16();
    EACH_SET(k) {
        int64_t other = 0;
        if (!k->bf16) continue;
        ws_base_nt(y, N, x, K, M, &wt, 0);
        ws_base_nn(z, N, x, K, M, &wn, 0);
        for (int i = 0; i < M * N; i++) {
            float chain = 0;
            for (int j = 0; j < K; j += 2) {
                const float a[2] = {x[i / N * K + j], j + 1 < K ? x[i / N * K + j + 1] : 0};
                const float b[2] = {v[j * N + i % N], j + 1 < K ? v[(j + 1) * N + i % N] : 0};
                chain = pair(chain, a, b);
            }
            float want = nt_in_order(x + i / N * K, w + i % N * K, K);
            if (k->bf16->tiles) {
                want = tiles_in_order(0, x + i / N * K, w + i % N * K, 1, K);
                chain = tiles_in_order(0, x + i / N * K, v + i % N, N, K);
            }
            other += memcmp(&y[i], &want, 4) != 0, other += memcmp(&z[i], &chain, 4) != 0;
        }
        if (!other) continue;
        /* what a processor makes of it is within the bound of the tests above; the plain model must be exact */
        print_message("%s: %d of %d sums differ from the manual's arithmetic\n", k->name, (int)other, 2 * M * N);
        if (slow(k)) fail();
    }
    in_f32();
    free(x), free(w), free(v);
}

static void auto_takes_bf16_only_where_it_is_faster(void **state) {
    (void)state;
    ws_err err = {0};
    EACH_SET(k) {
        char both[64];
        snprintf(both, sizeof both, "%s bf16", k->name);
        assert_int_equal(ws_compute_choose("auto", &err), WS_OK);
        const int takes = k->bf16 && k->bf16->fast(INT64_MAX);
        assert_int_equal(ws_compute_type(), takes ? WS_COMPUTE_BF16 : WS_COMPUTE_F32);
        assert_string_equal(ws_arithmetic(), takes ? both : k->name);
        assert_true(ws_compute_is_auto());
        int before = 0; /* more rows never speak for fp32 */
        for (int64_t rows = 1; rows <= 64; rows++) {
            const int bf16 = k->bf16 && k->bf16->fast(rows);
            ws_compute_for(rows);
            assert_int_equal(ws_compute_type(), bf16 ? WS_COMPUTE_BF16 : WS_COMPUTE_F32);
            assert_int_equal(ws_compute_few(), takes && !bf16);
            assert_true(!ws_compute_few() == !strstr(ws_compute_why(), rows == 1 ? " 1 row faster" : " rows faster"));
            assert_true(bf16 >= before && (rows < 64 || bf16 == takes));
            before = bf16;
        }
        if (!strcmp(k->name, "amx")) { /* tiles of one row are mostly empty */
            ws_compute_for(1);
            assert_int_equal(ws_compute_type(), WS_COMPUTE_F32);
            assert_string_equal(ws_compute_why(), "auto; the amx kernels multiply 1 row faster than in bf16");
        }
        in_f32(); /* who asks by name gets it for any work */
        ws_compute_for(64);
        assert_int_equal(ws_compute_type(), WS_COMPUTE_F32);
        in_bf16();
        ws_compute_for(1);
        assert_int_equal(ws_compute_type(), WS_COMPUTE_BF16);
        assert_false(ws_compute_few());
        assert_string_equal(ws_arithmetic(), both);
        assert_false(ws_compute_is_auto());
        in_f32();
        assert_string_equal(ws_arithmetic(), k->name);
    }
    assert_int_equal(ws_compute_choose("fp16", &err), WS_EUSAGE);
    assert_non_null(strstr(err.msg, "--compute fp16: there are f32, bf16 and auto"));
    setenv("WS_COMPUTE", "half", 1);
    assert_int_equal(ws_compute_choose(NULL, &err), WS_EUSAGE);
    assert_non_null(strstr(err.msg, "WS_COMPUTE half"));
    setenv("WS_COMPUTE", "bf16", 1);
    assert_int_equal(ws_compute_choose(NULL, &err), WS_OK);
    assert_int_equal(ws_compute_type(), WS_COMPUTE_BF16);
    unsetenv("WS_COMPUTE");
    in_f32();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_torchs),
        cmocka_unit_test(products_are_torchs),
        cmocka_unit_test(products_equal_sums_in_double_of_rounded_numbers),
        cmocka_unit_test(rows_in_bf16_have_the_same_bits_in_any_batch),
        cmocka_unit_test(permuted_rows_are_multiplied_in_order),
        cmocka_unit_test(a_shared_x_changes_no_bits),
        cmocka_unit_test(what_goes_beside_changes_no_bits),
        cmocka_unit_test(low_rank_products_beside_change_no_bits),
        cmocka_unit_test(a_nan_stays_in_its_row),
        cmocka_unit_test(pairs_are_summed_as_documented),
        cmocka_unit_test(auto_takes_bf16_only_where_it_is_faster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
