/* src/kernel/lanes_nt.h - y = x W^T, the lanes along K.
 * K is cut into nt_block(K) equal blocks.  Inside a block every output has ONE vector accumulator: lane l sums
 * k = l mod LANES in increasing order, then the lanes are summed by v_sum4's tree, and block sums are added in order.
 * Few rows: lanes_few.h.  More rows: NT_COLS rows of W at a time are widened into a panel [step][NT_COLS][LANES]; the
 * panels of a chunk lie in the second-level cache, NT_GROUP rows of x in the first.  Both ways do the same arithmetic. */
#ifndef WS_KERNEL_LANES_NT_H
#define WS_KERNEL_LANES_NT_H
#include "kernel/gemm.h"
#include "kernel/lanes_widen.h"

enum { NT_COLS = 4, NT_ROWS = LANES == 8 ? 3 : 6, NT_GROUP = 2 * NT_ROWS };

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
#endif
