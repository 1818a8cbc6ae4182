/* src/kernel/lanes_nt.h - y = x W^T, the lanes along K.
 * K is cut into nt_block(K) equal blocks.  Inside a block every output has ONE vector accumulator: lane l sums
 * k = l mod LANES in increasing order, then the lanes are summed by v_sum4's tree, and block sums are added in order.
 * Few rows: lanes_few.h.  More rows: NT_COLS rows of W at a time are widened into a panel [step][NT_COLS][LANES].  Up to
 * NT_BAND rows of x meet a panel while it lies in the first-level cache; of more rows NT_ROWS at a time lie there, and the
 * panels of the whole chunk in the second.  All ways do the same arithmetic. */
#ifndef WS_KERNEL_LANES_NT_H
#define WS_KERNEL_LANES_NT_H
#include "kernel/gemm.h"
#include "kernel/lanes_widen.h"

enum { NT_COLS = 4, NT_ROWS = LANES == 8 ? 3 : 6, NT_BAND = 64 };

/* Length of the blocks of K: a multiple of 32, at most 640 (a panel and a group of rows then fit the first-level
 * cache). */
WS_INLINE int64_t nt_block(int64_t K) {
    int64_t blocks = (K + 639) / 640;
    return blocks ? ((K + blocks - 1) / blocks + 31) / 32 * 32 : 32;
}

/* ---- many rows ---- */
WS_INLINE void nt_step(int rows, const float *x, int64_t ldx, const float *panel, vf acc[NT_ROWS][NT_COLS]) {
    vf xv[NT_ROWS];
    WS_UNROLL for (int i = 0; i < rows; i++) xv[i] = v_load(x + i * ldx);
    WS_UNROLL for (int j = 0; j < NT_COLS; j++) {
        vf w = v_load(panel + j * LANES);
        WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] = v_fma(xv[i], w, acc[i][j]);
    }
}

/* out[rows][4] = sums over one block of K for `rows` rows of x and one panel. */
WS_INLINE void nt_tile(int rows, const float *x, int64_t ldx, int64_t K, const float *panel, v4 out[NT_ROWS]) {
    enum { STEP = NT_COLS * LANES };
    vf acc[NT_ROWS][NT_COLS];
    int64_t k = 0;
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < NT_COLS; j++) acc[i][j] = v_zero();
    for (; k + 4 * LANES <= K; k += 4 * LANES, panel += 4 * STEP)
        WS_UNROLL for (int u = 0; u < 4; u++) nt_step(rows, x + k + u * LANES, ldx, panel + u * STEP, acc);
    for (; k + LANES <= K; k += LANES, panel += STEP) nt_step(rows, x + k, ldx, panel, acc);
    if (k < K) {
        float last[NT_ROWS * LANES];
        WS_UNROLL for (int i = 0; i < rows; i++) v_store(last + i * LANES, v_load_n(x + i * ldx + k, K - k));
        nt_step(rows, last, LANES, panel, acc);
    }
#if LANES == 16
    WS_UNROLL for (int i = 0; i + 1 < rows; i += 2) v_sum8(acc[i], acc[i + 1], out + i);
    WS_UNROLL for (int i = rows - rows % 2; i < rows; i++)
#else
    WS_UNROLL for (int i = 0; i < rows; i++)
#endif
        out[i] = v_sum4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
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

/* `count` tiles of `rows` rows and `cols` columns; from one to the next x, the panel and y go on by these floats.
 * soon: the rows of x after these, of which the second-level cache is told `share` floats a tile, or NULL: every chunk of
 * columns reads all of x, and where that is more than the cache holds each group of rows would wait for the next level. */
typedef struct nt_go {
    int64_t count, x, panel, y;
    const float *soon;
    int64_t share;
} nt_go;
WS_INLINE void nt_run(int rows, nt_go go, const float *x, int64_t ldx, int64_t K, const float *panel, float *y,
                      int64_t ldy, int64_t cols, int add) {
    for (int64_t c = 0; c < go.count; c++, x += go.x, panel += go.panel, y += go.y) {
        v4 sum[NT_ROWS];
        for (int64_t k = c * go.share; go.soon && k < (c + 1) * go.share && k < K; k += 16)
            WS_UNROLL for (int i = 0; i < NT_ROWS; i++) __builtin_prefetch(go.soon + i * ldx + k, 0, 2);
        nt_tile(rows, x, ldx, K, panel, sum);
        nt_put(rows, cols, y, ldy, sum, add);
    }
}
static void nt_rows(int rows, nt_go go, const float *x, int64_t ldx, int64_t K, const float *panel, float *y,
                    int64_t ldy, int64_t cols, int add) {
    if (rows == NT_ROWS && cols == NT_COLS) {
        nt_run(NT_ROWS, go, x, ldx, K, panel, y, ldy, NT_COLS, add);
        return;
    }
    switch (rows) {
#define X(R)                                                                                                           \
    case R: nt_run(R, go, x, ldx, K, panel, y, ldy, cols, add); return;
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

/* Weights k0 .. k0 + n - 1 of four rows of W into a panel, zeros after them; `ahead` bytes on stand those of the next
 * panel, of which the cache is told. */
WS_INLINE void nt_spread(ws_dtype t, const char *const *row, size_t ahead, int64_t k0, int64_t n, float *panel) {
    vf w[V32];
    w_super s[NT_COLS];
    int64_t k = k0;
    for (; k + 32 <= k0 + n; k += 32, panel += 32 * NT_COLS) WS_UNROLL for (int j = 0; j < NT_COLS; j++) {
            WS_UNROLL for (int b = 0; b < w_bytes_32(t); b += 64) __builtin_prefetch(w_at(t, row[j], k) + ahead + b);
            w_enter(t, row[j], k, k0, &s[j]);
            w_32(t, row[j], k, &s[j], w);
            WS_UNROLL for (int v = 0; v < V32; v++) v_store(panel + (v * NT_COLS + j) * LANES, w[v]);
        }
    if (t < WS_Q8_0 && k < k0 + n) WS_UNROLL for (int j = 0; j < NT_COLS; j++) {
            w_tail(t, w_at(t, row[j], k), k0 + n - k, w);
            WS_UNROLL for (int v = 0; v < V32; v++) v_store(panel + (v * NT_COLS + j) * LANES, w[v]);
        }
}

/* The panel of rows r .. r + cols - 1 of W; what stands for rows that are not there is of no account. */
static void nt_fill(const ws_weight *w, int64_t r, int64_t cols, int64_t k0, int64_t n, float *panel) {
    const char *row[NT_COLS];
    for (int j = 0; j < NT_COLS; j++) row[j] = ws_weight_row(w, r + (j < cols ? j : 0));
    switch (w->type) {
#define X(T)                                                                                                           \
    case T: nt_spread(T, row, NT_COLS * w->row_bytes, k0, n, panel); return;
        WS_EACH_TYPE(X)
#undef X
    default: return; /* kernel/weight.c refuses other types */
    }
}

/* Rows of the next tile; never one alone at the end, which would wait for its own sums. */
WS_INLINE int64_t nt_take(int64_t left) { return left == NT_ROWS + 1 ? NT_ROWS - 1 : left < NT_ROWS ? left : NT_ROWS; }

static void nt_many(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate) {
    const int64_t K = w->cols, block = nt_block(K), N = n1 - n0, whole = N / NT_COLS, over = N % NT_COLS;
    const int64_t size = block * NT_COLS, panels = whole + (over > 0), one = M <= NT_BAND;
    const int64_t tiles = (M % NT_ROWS == 1 ? M - NT_ROWS - 1 : M) / NT_ROWS; /* of NT_ROWS rows */
    const int apart = accumulate && K > block; /* the sum over several blocks is finished before it is added */
    float *panel = ws_gemm_scratch((size_t)((one ? 1 : panels) * size + (apart ? M * N : 0)));
    float *out = apart ? panel + (one ? 1 : panels) * size : y + n0;
    const int64_t lds = apart ? N : ldy;
    for (int64_t k0 = 0; k0 < K; k0 += block, x += block) {
        const int64_t kn = K - k0 < block ? K - k0 : block;
        const int add = k0 > 0 || (accumulate && !apart);
        const int64_t share = whole ? ((kn + whole - 1) / whole + 15) / 16 * 16 : 0;
        for (int64_t p = 0; p < panels; p++) {
            const int64_t cols = p < whole ? NT_COLS : over;
            float *to = out + p * NT_COLS;
            nt_fill(w, n0 + p * NT_COLS, cols, k0, kn, panel + (one ? 0 : p * size));
            if (!one) continue;
            nt_rows(NT_ROWS, (nt_go){tiles, NT_ROWS * ldx, 0, NT_ROWS * lds, NULL, 0}, x, ldx, kn, panel, to, lds, cols,
                    add);
            for (int64_t m = tiles * NT_ROWS, rows; m < M; m += rows) {
                rows = nt_take(M - m);
                nt_rows((int)rows, (nt_go){1, 0, 0, 0, NULL, 0}, x + m * ldx, ldx, kn, panel, to + m * lds, lds, cols,
                        add);
            }
        }
        for (int64_t m = 0, rows; m < M && !one; m += rows) {
            rows = nt_take(M - m);
            const float *soon = m + rows + NT_ROWS <= M ? x + (m + rows) * ldx : NULL;
            nt_rows((int)rows, (nt_go){whole, 0, size, NT_COLS, soon, share}, x + m * ldx, ldx, kn, panel,
                    out + m * lds, lds, NT_COLS, add);
            if (over)
                nt_rows((int)rows, (nt_go){1, 0, 0, 0, NULL, 0}, x + m * ldx, ldx, kn, panel + whole * size,
                        out + m * lds + whole * NT_COLS, lds, over, add);
        }
    }
    if (apart)
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) y[m * ldy + n0 + n] += out[m * N + n];
}
#endif
