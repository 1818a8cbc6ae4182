/* src/kernel/lanes_bf16.h - products of bf16 pairs in 16 lanes; orders of summation in compute.h.
 * nt: the lanes along K, so a stored row of BF16 is multiplied as it lies; few rows read W once, more rows multiply panels
 * [step][BNT_COLS][32], other types being rounded while they are packed.  nn: the lanes along N; rows k and k + 1 of W are
 * interleaved into panels [pair][NN columns], A is packed [tile][pair][BNN_ROWS]. */
#ifndef WS_KERNEL_LANES_BF16_H
#define WS_KERNEL_LANES_BF16_H
#include "kernel/gemm.h"
#include "kernel/lanes_round.h"

enum { BNT_COLS = 4, BNT_ROWS = 6, BNT_GROUP = 2 * BNT_ROWS, BNT_FEW = 4 };

/* As long as nt_block's in bytes. */
WS_INLINE int64_t bnt_block(int64_t K) {
    int64_t blocks = (K + 1279) / 1280;
    return blocks ? ((K + blocks - 1) / blocks + STEP - 1) / STEP * STEP : STEP;
}

/* ---- y = x W^T ---- */
WS_INLINE void bnt_put(int64_t cols, float *to, v4 sum, int add) {
    if (cols == BNT_COLS) {
        v4_store(to, add ? v4_add(v4_load(to), sum) : sum);
        return;
    }
    float t[BNT_COLS];
    v4_store(t, sum);
    for (int64_t j = 0; j < cols; j++) to[j] = add ? to[j] + t[j] : t[j];
}

/* `rows` rows of x and one panel over a block of K, a whole number of steps. */
WS_INLINE void bnt_tile(int rows, const uint16_t *x, int64_t ldx, int64_t K, const uint16_t *panel, float *y,
                        int64_t ldy, int64_t cols, int add) {
    vf acc[BNT_ROWS][BNT_COLS];
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < BNT_COLS; j++) acc[i][j] = v_zero();
    for (int64_t k = 0; k < K; k += STEP, panel += BNT_COLS * STEP) {
        vb xv[BNT_ROWS];
        WS_UNROLL for (int i = 0; i < rows; i++) xv[i] = vb_load(x + i * ldx + k);
        WS_UNROLL for (int j = 0; j < BNT_COLS; j++) {
            const vb w = vb_load(panel + j * STEP);
            WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] = vb_dot(acc[i][j], xv[i], w);
        }
    }
    WS_UNROLL for (int i = 0; i < rows; i += 2) {
        v4 sum[2];
        v_sum8(acc[i], acc[i + 1 < rows ? i + 1 : i], sum);
        bnt_put(cols, y + i * ldy, sum[0], add);
        if (i + 1 < rows) bnt_put(cols, y + (i + 1) * ldy, sum[1], add);
    }
}
static void bnt_rows(int rows, const uint16_t *x, int64_t ldx, int64_t K, const uint16_t *panel, float *y, int64_t ldy,
                     int64_t cols, int add) {
    switch (rows) {
#define X(R)                                                                                                           \
    case R: bnt_tile(R, x, ldx, K, panel, y, ldy, cols, add); return;
        /* clang-format off */
        X(1) X(2) X(3) X(4) X(5) X(6)
#undef X
    default: return;
    }
    /* clang-format on */
}

static void bnt_many(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                     int64_t n1, int accumulate) {
    const int64_t K = w->cols, block = bnt_block(K), N = n1 - n0, panels = (N + BNT_COLS - 1) / BNT_COLS;
    const int64_t size = block * BNT_COLS;     /* numbers of a panel */
    const int apart = accumulate && K > block; /* the sum over several blocks is finished before it is added */
    float *scratch = ws_gemm_scratch((size_t)(size * panels) / 2 + (apart ? (size_t)(M * N) : 0));
    uint16_t *panel = (uint16_t *)(void *)scratch;
    float *sum = scratch + size * panels / 2, *out = apart ? sum : y + n0;
    const int64_t ldo = apart ? N : ldy;
    for (int64_t k0 = 0; k0 < K; k0 += block) {
        const int64_t kn = K - k0 < block ? K - k0 : block, whole = (kn + STEP - 1) / STEP * STEP;
        for (int64_t n = 0; n < N; n++)
            b_spread(w->type, ws_weight_row(w, n0 + n), k0, kn, panel + n / BNT_COLS * size + n % BNT_COLS * STEP,
                     BNT_COLS * STEP);
        for (int64_t n = N; n < panels * BNT_COLS; n++) /* rows that are not there */
            for (int64_t k = 0; k < whole; k += STEP)
                vb_store(panel + (panels - 1) * size + k * BNT_COLS + n % BNT_COLS * STEP, vb_zero());
        const int add = k0 > 0 || (accumulate && !apart);
        for (int64_t g = 0; g < M; g += BNT_GROUP) {
            const int64_t end = g + BNT_GROUP < M ? g + BNT_GROUP : M;
            for (int64_t p = 0; p < panels; p++) {
                const int64_t cols = N - p * BNT_COLS < BNT_COLS ? N - p * BNT_COLS : BNT_COLS;
                for (int64_t m = g; m < end; m += BNT_ROWS)
                    bnt_rows((int)(end - m < BNT_ROWS ? end - m : BNT_ROWS), x + m * ldx + k0, ldx, whole,
                             panel + p * size, out + m * ldo + p * BNT_COLS, ldo, cols, add);
            }
        }
    }
    for (int64_t m = 0; apart && m < M; m++)
        for (int64_t n = 0; n < N; n++) y[m * ldy + n0 + n] += sum[m * N + n];
}

/* `cols` rows of W from row[], all of K, against `rows` rows of x. */
WS_INLINE void bnt_few(ws_dtype t, int rows, int cols, const uint16_t *x, int64_t ldx, int64_t K,
                       const char *const *row, v4 total[BNT_FEW]) {
    const int64_t block = bnt_block(K);
    w_super s[BNT_COLS];
    WS_UNROLL for (int i = 0; i < rows; i++) total[i] = v4_zero();
    for (int64_t k0 = 0; k0 < K; k0 += block) {
        const int64_t end = k0 + block < K ? k0 + block : K;
        vf acc[BNT_FEW][BNT_COLS];
        WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < BNT_COLS; j++) acc[i][j] = v_zero();
        int64_t k = k0;
        while (k + STEP <= end) {
            /* A block of 256 stays open over the blocks of K. */
            if (w_is_super(t) && k % 256 == 0)
                WS_UNROLL for (int j = 0; j < cols; j++) w_open(t, w_at(t, row[j], k), &s[j]);
            const int64_t stop = w_is_super(t) && (k | 255) < end ? (k | 255) + 1 : end;
            for (; k + STEP <= stop; k += STEP) WS_UNROLL for (int j = 0; j < cols; j++) {
                    const vb w = b_32(t, row[j], k, &s[j]);
                    WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] = vb_dot(acc[i][j], vb_load(x + i * ldx + k), w);
                }
        }
        if (k < end && t < WS_Q8_0) WS_UNROLL for (int j = 0; j < cols; j++) {
                const vb w = b_tail(t, w_at(t, row[j], k), end - k);
                WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] = vb_dot(acc[i][j], vb_load(x + i * ldx + k), w);
            }
        WS_UNROLL for (int i = 0; i < rows; i++) {
            const v4 sum = v_sum4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
            total[i] = k0 ? v4_add(total[i], sum) : sum;
        }
    }
}
WS_INLINE void bnt_few_all(ws_dtype t, int rows, float *y, int64_t ldy, const uint16_t *x, int64_t ldx,
                           const ws_weight *w, int64_t n0, int64_t n1, int accumulate) {
    v4 total[BNT_FEW];
    const char *row[BNT_COLS];
    int64_t n = n0;
    for (; n + BNT_COLS <= n1; n += BNT_COLS) {
        WS_UNROLL for (int j = 0; j < BNT_COLS; j++) row[j] = ws_weight_row(w, n + j);
        bnt_few(t, rows, BNT_COLS, x, ldx, w->cols, row, total);
        WS_UNROLL for (int i = 0; i < rows; i++) bnt_put(BNT_COLS, y + i * ldy + n, total[i], accumulate);
    }
    for (; n < n1; n++) {
        row[0] = ws_weight_row(w, n);
        bnt_few(t, rows, 1, x, ldx, w->cols, row, total);
        WS_UNROLL for (int i = 0; i < rows; i++) bnt_put(1, y + i * ldy + n, total[i], accumulate);
    }
}

static void bf16_nt(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate, const ws_along *along) {
    WS_ASSERT(!along->n);
    if (w->cols == 0) {
        for (int64_t m = 0; m < M && !accumulate; m++) memset(y + m * ldy + n0, 0, (size_t)(n1 - n0) * sizeof *y);
        return;
    }
    if (M > BNT_FEW) {
        bnt_many(y, ldy, x, ldx, M, w, n0, n1, accumulate);
        return;
    }
    switch ((int)w->type * 8 + (int)M) {
#define X(T)                                                                                                           \
    case T * 8 + 1: bnt_few_all(T, 1, y, ldy, x, ldx, w, n0, n1, accumulate); return;                                  \
    case T * 8 + 2: bnt_few_all(T, 2, y, ldy, x, ldx, w, n0, n1, accumulate); return;                                  \
    case T * 8 + 3: bnt_few_all(T, 3, y, ldy, x, ldx, w, n0, n1, accumulate); return;                                  \
    case T * 8 + 4: bnt_few_all(T, 4, y, ldy, x, ldx, w, n0, n1, accumulate); return;
        WS_EACH_TYPE(X)
#undef X
    default: return;
    }
}

/* ---- y = A W ---- */
enum { BNN_COLS = 2 * LANES, BNN_ROWS = 12, BNN_PAIRS = 256, BNN_M = 12 * 10 };

/* c[rows, 32], of which `cols` columns are there. */
WS_INLINE void bnn_tile(int rows, int64_t cols, float *c, int64_t ldc, const uint16_t *a, const uint16_t *b,
                        int64_t pairs, int load) {
    vf acc[BNN_ROWS][2];
    const int64_t n0 = cols < LANES ? cols : LANES, n1 = cols - n0;
    const int whole = cols == BNN_COLS;
    WS_UNROLL for (int i = 0; i < rows; i++) {
        const float *p = c + i * ldc;
        acc[i][0] = !load ? v_zero() : whole ? v_load(p) : v_load_n(p, n0);
        acc[i][1] = !load ? v_zero() : whole ? v_load(p + LANES) : n1 ? v_load_n(p + LANES, n1) : v_zero();
    }
    for (int64_t k = 0; k < pairs; k++, a += 2 * BNN_ROWS, b += 2 * BNN_COLS) {
        const vb b0 = vb_load(b), b1 = vb_load(b + 2 * LANES);
        WS_UNROLL for (int i = 0; i < rows; i++) {
            const vb av = vb_pair(a + 2 * i);
            acc[i][0] = vb_dot(acc[i][0], av, b0);
            acc[i][1] = vb_dot(acc[i][1], av, b1);
        }
    }
    WS_UNROLL for (int i = 0; i < rows; i++) {
        float *p = c + i * ldc;
        if (whole) {
            v_store(p, acc[i][0]), v_store(p + LANES, acc[i][1]);
        } else {
            v_store_n(p, acc[i][0], n0);
            if (n1) v_store_n(p + LANES, acc[i][1], n1);
        }
    }
}
static void bnn_rows(int rows, int64_t cols, float *c, int64_t ldc, const uint16_t *a, const uint16_t *b, int64_t pairs,
                     int load) {
    switch (rows) {
#define X(R)                                                                                                           \
    case R: bnn_tile(R, cols, c, ldc, a, b, pairs, load); return;
        /* clang-format off */
        X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#undef X
    default: return;
    }
    /* clang-format on */
}

/* to [tile][pair][BNN_ROWS]; rows that are not there are not written and not read. */
static void bnn_pack(uint16_t *to, const uint16_t *a, int64_t lda, int64_t M, int64_t pairs) {
    for (int64_t m = 0; m < M; m += BNN_ROWS, to += 2 * pairs * BNN_ROWS) {
        const int64_t rows = M - m < BNN_ROWS ? M - m : BNN_ROWS;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t k = 0; k < pairs; k++)
                memcpy(to + 2 * (k * BNN_ROWS + i), a + (m + i) * lda + 2 * k, 2 * sizeof *to);
    }
}

static void bf16_nn(float *y, int64_t ldy, const uint16_t *a, int64_t lda, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate) {
    const int64_t K = w->rows, N = n1 - n0, panels = (N + BNN_COLS - 1) / BNN_COLS;
    const int64_t size = 2 * BNN_PAIRS * BNN_COLS; /* numbers of a panel */
    float *scratch = ws_gemm_scratch((size_t)(size * panels) / 2 + (size_t)BNN_PAIRS * BNN_M);
    uint16_t *panel = (uint16_t *)(void *)scratch, *pack = (uint16_t *)(void *)(scratch + size * panels / 2);
    if (K == 0)
        for (int64_t m = 0; m < M && !accumulate; m++) memset(y + m * ldy + n0, 0, (size_t)N * sizeof *y);
    for (int64_t k0 = 0; k0 < K; k0 += 2 * BNN_PAIRS) {
        const int64_t kn = K - k0 < 2 * BNN_PAIRS ? K - k0 : 2 * BNN_PAIRS, pairs = (kn + 1) / 2;
        for (int64_t k = 0; k < kn; k += 2)
            b_spread_pair(w->type, ws_weight_row(w, k0 + k), k + 1 < kn ? ws_weight_row(w, k0 + k + 1) : NULL, n0, N,
                          panel + k * BNN_COLS, size);
        for (int64_t m0 = 0; m0 < M; m0 += BNN_M) {
            const int64_t mn = M - m0 < BNN_M ? M - m0 : BNN_M;
            bnn_pack(pack, a + m0 * lda + k0, lda, mn, pairs);
            for (int64_t p = 0; p < panels; p++)
                for (int64_t m = 0; m < mn; m += BNN_ROWS)
                    bnn_rows((int)(mn - m < BNN_ROWS ? mn - m : BNN_ROWS),
                             N - p * BNN_COLS < BNN_COLS ? N - p * BNN_COLS : BNN_COLS,
                             y + (m0 + m) * ldy + n0 + p * BNN_COLS, ldy, pack + m * 2 * pairs, panel + p * size, pairs,
                             k0 > 0 || accumulate);
        }
    }
}

static int64_t bf16_spin(int64_t rounds, float *sink) {
    enum { CHAINS = 24 };
    vf a[CHAINS];
    const vb x = vb_round(v_set(0.5f), v_set(0.5f)), y = vb_round(v_set(0.0078125f), v_set(0.0078125f));
    WS_UNROLL for (int i = 0; i < CHAINS; i++) a[i] = v_set((float)i);
    for (int64_t r = 0; r < rounds; r++) WS_UNROLL for (int i = 0; i < CHAINS; i++) a[i] = vb_dot(a[i], x, y);
    WS_UNROLL for (int i = 1; i < CHAINS; i++) a[0] = v_add(a[0], a[i]);
    *sink += v_first_lane(a[0]);
    return 4 * CHAINS * LANES;
}

#define WS_BF16_TABLE(CAN, FAST)                                                                                       \
    { .usable = CAN, .fast = FAST, .round = bf16_round, .nt = bf16_nt, .nn = bf16_nn, .spin = bf16_spin }
#endif
