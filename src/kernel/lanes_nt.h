/* src/kernel/lanes_nt.h - y = x W^T, the lanes along K.
 * K is cut into nt_block(K) equal blocks.  Inside a block every output has ONE vector accumulator: lane l sums
 * k = l mod LANES in increasing order, then the lanes are summed by v_sum4's tree, and block sums are added in order.
 * Few rows (decode): W is widened in registers and read once.  More rows: NT_COLS rows of W at a time are widened into
 * a panel [step][NT_COLS][LANES]; the panels of a chunk lie in the second-level cache, NT_GROUP rows of x in the first.
 * Both ways do the same arithmetic. */
#ifndef WS_KERNEL_LANES_NT_H
#define WS_KERNEL_LANES_NT_H
#include "kernel/gemm.h"
#include "kernel/lanes_widen.h"

enum { NT_COLS = 4, NT_ROWS = LANES == 8 ? 3 : 6, NT_GROUP = 2 * NT_ROWS, NT_FEW = 4 };

/* Length of the blocks of K: a multiple of 32, at most 640 (a panel and a group of rows then fit the first-level
 * cache). */
WS_INLINE int64_t nt_block(int64_t K) {
    int64_t blocks = (K + 639) / 640;
    return blocks ? ((K + blocks - 1) / blocks + 31) / 32 * 32 : 32;
}

/* ---- many rows ---- */
/* out[rows][4] = sums over one block of K for `rows` rows of x and one panel. */
WS_INLINE void nt_tile(int rows, const float *x, int64_t ldx, int64_t K, const float *panel, v4 out[NT_ROWS]) {
    vf acc[NT_ROWS][NT_COLS], xv[NT_ROWS];
    int64_t k = 0;
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < NT_COLS; j++) acc[i][j] = v_zero();
    for (; k + LANES <= K; k += LANES, panel += NT_COLS * LANES) {
        WS_UNROLL for (int i = 0; i < rows; i++) xv[i] = v_load(x + i * ldx + k);
        WS_UNROLL for (int j = 0; j < NT_COLS; j++) {
            vf w = v_load(panel + j * LANES);
            WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] = v_fma(xv[i], w, acc[i][j]);
        }
    }
    if (k < K) {
        WS_UNROLL for (int i = 0; i < rows; i++) xv[i] = v_load_n(x + i * ldx + k, K - k);
        WS_UNROLL for (int j = 0; j < NT_COLS; j++) {
            vf w = v_load(panel + j * LANES);
            WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] = v_fma(xv[i], w, acc[i][j]);
        }
    }
    WS_UNROLL for (int i = 0; i < rows; i++) out[i] = v_sum4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
}

WS_INLINE void nt_put(int rows, int64_t cols, float *y, int64_t ldy, const v4 *sum, int add) {
    WS_UNROLL for (int i = 0; i < rows; i++) {
        float *to = y + i * ldy;
        if (cols == NT_COLS)
            v4_store(to, add ? v4_add(v4_load(to), sum[i]) : sum[i]);
        else {
            float t[NT_COLS];
            v4_store(t, sum[i]);
            for (int64_t j = 0; j < cols; j++) to[j] = add ? to[j] + t[j] : t[j];
        }
    }
}

static void nt_rows(int rows, const float *x, int64_t ldx, int64_t K, const float *panel, float *y, int64_t ldy,
                    int64_t cols, int add) {
    v4 sum[NT_ROWS];
    switch (rows) {
#define X(R)                                                                                                           \
    case R:                                                                                                            \
        nt_tile(R, x, ldx, K, panel, sum);                                                                             \
        nt_put(R, cols, y, ldy, sum, add);                                                                             \
        return;
        X(1)
        X(2)
        X(3)
#if LANES == 16
        X(4)
        X(5)
        X(6)
#endif
#undef X
    default: return;
    }
}

static void nt_many(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate) {
    const int64_t K = w->cols, block = nt_block(K), panels = (n1 - n0 + NT_COLS - 1) / NT_COLS, N = n1 - n0;
    const size_t panel_floats = (size_t)block * NT_COLS;
    const int apart = accumulate && K > block; /* the sum over several blocks is finished before it is added */
    float *panel = ws_gemm_scratch(panel_floats * (size_t)panels + (apart ? (size_t)(M * N) : 0));
    float *sum = apart ? panel + panel_floats * (size_t)panels : y;
    const int64_t lds = apart ? N : ldy;
    float *out = apart ? sum : y + n0;
    for (int64_t k0 = 0; k0 < K; k0 += block) {
        const int64_t kn = K - k0 < block ? K - k0 : block;
        for (int64_t n = n0; n < n1; n++) {
            float *to = panel + (size_t)((n - n0) / NT_COLS) * panel_floats + (n - n0) % NT_COLS * LANES;
            spread(w->type, ws_weight_row(w, n), k0, kn, to, NT_COLS * LANES);
        }
        for (int64_t n = N; n < panels * NT_COLS; n++) /* rows that are not there */
            for (int64_t i = 0; i < kn; i += LANES)
                v_store(panel + (size_t)(panels - 1) * panel_floats + i * NT_COLS + n % NT_COLS * LANES, v_zero());
        const int add = k0 > 0 || (accumulate && !apart);
        for (int64_t g = 0; g < M; g += NT_GROUP) {
            const int64_t end = g + NT_GROUP < M ? g + NT_GROUP : M;
            for (int64_t p = 0; p < panels; p++) {
                const int64_t cols = N - p * NT_COLS < NT_COLS ? N - p * NT_COLS : NT_COLS;
                for (int64_t m = g; m < end; m += NT_ROWS)
                    nt_rows((int)(end - m < NT_ROWS ? end - m : NT_ROWS), x + m * ldx + k0, ldx, kn,
                            panel + (size_t)p * panel_floats, out + m * lds + p * NT_COLS, lds, cols, add);
            }
        }
    }
    if (apart)
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) y[m * ldy + n0 + n] += sum[m * N + n];
}

/* ---- few rows ---- */
/* sum[rows][4] of `cols` rows of W from row[], all of K. */
WS_INLINE void nt_few(ws_dtype t, int rows, int cols, const float *x, int64_t ldx, int64_t K, const char *const *row,
                      v4 total[NT_FEW]) {
    const int64_t block = nt_block(K);
    w_super s[NT_COLS];
    WS_UNROLL for (int i = 0; i < rows; i++) total[i] = v4_zero();
    for (int64_t k0 = 0; k0 < K; k0 += block) {
        const int64_t end = k0 + block < K ? k0 + block : K;
        vf acc[NT_FEW][NT_COLS];
        WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < NT_COLS; j++) acc[i][j] = v_zero();
        int64_t k = k0;
        while (k + 32 <= end) {
            /* A block of 256 stays open over the blocks of K. */
            if (w_is_super(t) && k % 256 == 0)
                WS_UNROLL for (int j = 0; j < cols; j++) w_open(t, w_at(t, row[j], k), &s[j]);
            const int64_t stop = w_is_super(t) && (k | 255) < end ? (k | 255) + 1 : end;
            for (; k + 32 <= stop; k += 32) WS_UNROLL for (int j = 0; j < cols; j++) {
                    vf w[V32];
                    w_32(t, row[j], k, &s[j], w);
                    WS_UNROLL for (int v = 0; v < V32; v++) WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] =
                        v_fma(v_load(x + i * ldx + k + v * LANES), w[v], acc[i][j]);
                }
        }
        if (k < end && t < WS_Q8_0) {
            float xt[NT_FEW][32];
            memset(xt, 0, sizeof xt);
            WS_UNROLL for (int i = 0; i < rows; i++) memcpy(xt[i], x + i * ldx + k, (size_t)(end - k) * sizeof *x);
            WS_UNROLL for (int j = 0; j < cols; j++) {
                vf w[V32];
                w_tail(t, w_at(t, row[j], k), end - k, w);
                WS_UNROLL for (int v = 0; v < V32; v++) WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] =
                    v_fma(v_load(xt[i] + v * LANES), w[v], acc[i][j]);
            }
        }
        WS_UNROLL for (int i = 0; i < rows; i++) {
            v4 sum = v_sum4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
            total[i] = k0 ? v4_add(total[i], sum) : sum;
        }
    }
}

WS_INLINE void nt_few_all(ws_dtype t, int rows, int cols, float *y, int64_t ldy, const float *x, int64_t ldx,
                          const ws_weight *w, int64_t n0, int64_t n1, int accumulate) {
    v4 total[NT_FEW];
    const char *row[NT_COLS];
    int64_t n = n0;
    for (; n + cols <= n1; n += cols) {
        WS_UNROLL for (int j = 0; j < cols; j++) row[j] = ws_weight_row(w, n + j);
        nt_few(t, rows, cols, x, ldx, w->cols, row, total);
        nt_put(rows, cols, y + n, ldy, total, accumulate);
    }
    for (; n < n1; n++) {
        row[0] = ws_weight_row(w, n);
        nt_few(t, rows, 1, x, ldx, w->cols, row, total);
        nt_put(rows, 1, y + n, ldy, total, accumulate);
    }
}

static void gemm_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate) {
    if (w->cols == 0) {
        for (int64_t m = 0; m < M && !accumulate; m++) memset(y + m * ldy + n0, 0, (size_t)(n1 - n0) * sizeof *y);
        return;
    }
    if (M > NT_FEW) {
        nt_many(y, ldy, x, ldx, M, w, n0, n1, accumulate);
        return;
    }
    switch ((int)w->type * 8 + (int)M) {
#define X(T)                                                                                                           \
    case T * 8 + 1: nt_few_all(T, 1, 4, y, ldy, x, ldx, w, n0, n1, accumulate); return;                                \
    case T * 8 + 2: nt_few_all(T, 2, 4, y, ldy, x, ldx, w, n0, n1, accumulate); return;                                \
    case T * 8 + 3: nt_few_all(T, 3, 2, y, ldy, x, ldx, w, n0, n1, accumulate); return;                                \
    case T * 8 + 4: nt_few_all(T, 4, 2, y, ldy, x, ldx, w, n0, n1, accumulate); return;
        WS_EACH_TYPE(X)
#undef X
    default: return;
    }
}
#endif
