/* src/kernel/lanes_nn.h - y = A W, the lanes along N.  Every output is one chain of fused multiply-adds over k: a block
 * of K continues from what the last one stored.  A is packed [tile][k][NN_ROWS], W is widened while it is packed into
 * panels [k][NN_COLS]; a panel's block lies in the first-level cache, the block of A in the second. */
#ifndef WS_KERNEL_LANES_NN_H
#define WS_KERNEL_LANES_NN_H
#include "kernel/gemm.h"
#include "kernel/lanes_widen.h"

enum {
    NN_VECS = 2,
    NN_COLS = NN_VECS * LANES,
    NN_ROWS = LANES == 8 ? 6 : 12,
    NN_K = LANES == 8 ? 384 : 256,
    NN_M = 24 * 5
};
enum { NN_PANEL = NN_K * NN_COLS + NN_COLS }; /* a row of W goes to all panels: not to the same lines of a cache */

/* c[rows, vecs * LANES] (+)= a b; `left` columns count in the last vector. */
WS_INLINE void nn_tile(int rows, int vecs, int64_t left, float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,
                       const float *b, int64_t ldb, int64_t K, int load) {
    vf acc[NN_ROWS][NN_VECS], bv[NN_VECS];
    const int whole = left == LANES, last = vecs - 1;
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < vecs; j++) {
        const float *p = c + i * ldc + j * LANES;
        acc[i][j] = !load ? v_zero() : j < last || whole ? v_load(p) : v_load_n(p, left);
    }
    for (int64_t k = 0; k < K; k++, a += cs, b += ldb) {
        WS_UNROLL for (int j = 0; j < vecs; j++) bv[j] =
            j < last || whole ? v_load(b + j * LANES) : v_load_n(b + j * LANES, left);
        WS_UNROLL for (int i = 0; i < rows; i++) {
            vf av = v_set(a[i * rs]);
            WS_UNROLL for (int j = 0; j < vecs; j++) acc[i][j] = v_fma(av, bv[j], acc[i][j]);
        }
    }
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < vecs; j++) {
        float *p = c + i * ldc + j * LANES;
        if (j < last || whole)
            v_store(p, acc[i][j]);
        else
            v_store_n(p, acc[i][j], left);
    }
}

/* rows <= NN_ROWS, cols <= NN_COLS */
static void nn_edge(int rows, int64_t cols, float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,
                    const float *b, int64_t ldb, int64_t K, int load) {
    const int two = cols > LANES;
    const int64_t left = two ? cols - LANES : cols;
    switch (rows * 2 + two) {
#define X(R)                                                                                                           \
    case R * 2: nn_tile(R, 1, left, c, ldc, a, rs, cs, b, ldb, K, load); return;                                       \
    case R * 2 + 1:                                                                                                    \
        if (left == LANES)                                                                                             \
            nn_tile(R, 2, LANES, c, ldc, a, rs, cs, b, ldb, K, load);                                                  \
        else                                                                                                           \
            nn_tile(R, 2, left, c, ldc, a, rs, cs, b, ldb, K, load);                                                   \
        return;
        /* clang-format off */
        X(1) X(2) X(3) X(4) X(5) X(6)
#if LANES == 16
        X(7) X(8) X(9) X(10) X(11) X(12)
#endif
#undef X
    default: return;
    }
    /* clang-format on */
}

/* A few rows: more columns at a time, so that enough sums run side by side and b is read in longer pieces.  While it is read
 * the cache is told of what comes then, a line for each line of b: from `soon` on, `step` bytes from one k to the next, for
 * the first `told` of them; `far`: it is wanted only later, so the second level will do. */
enum { NN_WIDE = 2 * NN_VECS, NN_WIDEST = 12, NN_WIDE_ROWS = 6, NN_FEW = 2 };
WS_INLINE void nn_wide(int rows, int vecs, float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,
                       const float *b, int64_t ldb, int64_t K, int load, int far, const char *soon, int64_t step,
                       int64_t told) {
    vf acc[NN_WIDE_ROWS][NN_WIDEST];
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < vecs; j++) acc[i][j] =
        load ? v_load(c + i * ldc + j * LANES) : v_zero();
    for (int64_t k = 0; k < K; k++, a += cs, b += ldb, soon += step) {
        vf av[NN_WIDE_ROWS];
        if (k < told) WS_UNROLL for (int j = 0; j < vecs; j += 16 / LANES) {
                if (far)
                    __builtin_prefetch(soon + 4 * j * LANES, 0, 2);
                else
                    __builtin_prefetch(soon + 4 * j * LANES);
            }
        WS_UNROLL for (int i = 0; i < rows; i++) av[i] = v_set(a[i * rs]);
        WS_UNROLL for (int j = 0; j < vecs; j++) {
            vf bv = v_load(b + j * LANES);
            WS_UNROLL for (int i = 0; i < rows; i++) acc[i][j] = v_fma(av[i], bv, acc[i][j]);
        }
    }
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < vecs; j++)
        v_store(c + i * ldc + j * LANES, acc[i][j]);
}

/* nn_wide on as many whole groups of `vecs` vectors as N columns have; returns the number of columns done.  end NULL: the
 * cache is told of the rows of b that come next; else of what is left from *soon to end. */
WS_INLINE int64_t nn_wides(int rows, int vecs, float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs,
                           const float *b, int64_t ldb, int64_t K, int64_t N, int load, const char **soon,
                           const char *end) {
    const int64_t width = vecs * LANES, bytes = width * (int64_t)sizeof *b;
    int64_t n = 0;
    for (; n + width <= N; n += width) {
        if (!end) {
            nn_wide(rows, vecs, c + n, ldc, a, rs, cs, b + n, ldb, K, load, 0, (const char *)(b + n + 8 * ldb),
                    ldb * (int64_t)sizeof *b, K);
            continue;
        }
        const int64_t left = end - *soon, lines = (left + bytes - 1) / bytes, told = lines < K ? lines : K;
        nn_wide(rows, vecs, c + n, ldc, a, rs, cs, b + n, ldb, K, load, 1, *soon, bytes, told);
        *soon = told * bytes < left ? *soon + told * bytes : end;
    }
    return n;
}
#define NN_WIDES(R, VECS) n += nn_wides(R, VECS, c + n, ldc, a, rs, cs, b + n, ldb, K, N - n, accumulate, &soon, end)

/* Columns n .. N - 1. */
static void nn_tiles(int64_t n, float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, int64_t M,
                     const float *b, int64_t ldb, int64_t K, int64_t N, int accumulate) {
    for (; n < N; n += NN_COLS)
        for (int64_t m = 0; m < M; m += NN_ROWS)
            nn_edge((int)(M - m < NN_ROWS ? M - m : NN_ROWS), N - n < NN_COLS ? N - n : NN_COLS, c + m * ldc + n, ldc,
                    a + m * rs, rs, cs, b + n, ldb, K, accumulate);
}

static void tile(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, int64_t M, const float *b, int64_t ldb,
                 int64_t K, int64_t N, int accumulate) {
    const char *soon = NULL, *const end = NULL;
    int64_t n = 0;
    switch (M) {
    case 1: NN_WIDES(1, NN_WIDEST), NN_WIDES(1, NN_WIDE); break;
    case 2: NN_WIDES(2, NN_WIDE); break;
    case 3: NN_WIDES(3, NN_WIDE); break;
    default: break;
    }
    nn_tiles(n, c, ldc, a, rs, cs, M, b, ldb, K, N, accumulate);
}

static void tile_fetch(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, int64_t M, const float *b,
                       int64_t ldb, int64_t K, int64_t N, int accumulate, const void *from, int64_t bytes) {
    const char *soon = from, *const end = from ? soon + bytes : NULL;
    int64_t n = 0;
    switch (M) {
    case 1: NN_WIDES(1, NN_WIDE), NN_WIDES(1, NN_VECS); break;
    case 2: NN_WIDES(2, NN_WIDE), NN_WIDES(2, NN_VECS); break;
    case 3: NN_WIDES(3, NN_WIDE), NN_WIDES(3, NN_VECS); break;
    case 4: NN_WIDES(4, NN_VECS); break;
    case 5: NN_WIDES(5, NN_VECS); break;
    case 6: NN_WIDES(6, NN_VECS); break;
    default: break;
    }
    nn_tiles(n, c, ldc, a, rs, cs, M, b, ldb, K, N, accumulate);
    for (; soon < end; soon += 64) __builtin_prefetch(soon, 0, 2);
}
#undef NN_WIDES

/* Rows of the next tile: NN_ROWS, but the last two share what is left, since a tile of a row or two waits for its own sums. */
static int64_t nn_take(int64_t left) {
    return left <= NN_ROWS ? left : left < NN_ROWS + NN_ROWS / 2 + 1 ? (left + 1) / 2 : NN_ROWS;
}

/* To [tile][k][NN_ROWS].  Rows that are not there are not read; every vector is stored whole, and what it has too many
 * lies where the next one is stored. */
static void nn_pack(float *to, const float *a, int64_t rs, int64_t cs, int64_t M, int64_t K) {
    for (int64_t m = 0, rows; m < M; m += rows, to += K * NN_ROWS) {
        const float *from = a + m * rs;
        int64_t k = 0;
        rows = nn_take(M - m);
        if (rs == 1) {
            for (; k < K; k++) v_store(to + k * NN_ROWS, v_load_n(from + k * cs, rows));
        } else if (cs == 1) {
            for (; k + LANES <= K; k += LANES) {
                vf v[LANES];
                WS_UNROLL for (int i = 0; i < NN_ROWS; i++) __builtin_prefetch(from + (2 * NN_ROWS + i) * rs + k);
                WS_UNROLL for (int i = 0; i < LANES; i++) v[i] =
                    i < NN_ROWS ? v_load(from + (i < rows ? i : 0) * rs + k) : v_zero();
                v_transpose(v);
                WS_UNROLL for (int i = 0; i < LANES; i++) v_store(to + (k + i) * NN_ROWS, v[i]);
            }
        }
        for (; k < K; k++)
            for (int64_t i = 0; i < rows; i++) to[k * NN_ROWS + i] = from[i * rs + k * cs];
    }
}

/* Columns n0 .. n0 + N - 1 of one row of W into all panels, 32 at a time; the cache is told of the row `ahead` bytes on,
 * since the hardware's own prefetching does not follow such short pieces. */
WS_INLINE void nn_spread(ws_dtype t, const void *row, size_t ahead, int64_t n0, int64_t N, float *panel) {
    vf v[V32];
    w_super s;
    for (int64_t n = 0; n < N; n += 32) {
        WS_UNROLL for (int b = 0; b < w_bytes_32(t); b += 64) __builtin_prefetch(w_at(t, row, n0 + n) + ahead + b);
        w_enter(t, row, n0 + n, n0, &s);
        if (t >= WS_Q8_0 || N - n >= 32)
            w_32(t, row, n0 + n, &s, v);
        else
            w_tail(t, w_at(t, row, n0 + n), N - n, v);
        WS_UNROLL for (int i = 0; i < V32; i++) {
            const int64_t at = n + i * LANES;
            v_store(panel + at / NN_COLS * NN_PANEL + at % NN_COLS, v[i]);
        }
    }
}
static void nn_widen(ws_dtype t, const void *row, size_t ahead, int64_t n0, int64_t N, float *panel) {
    switch (t) {
#define X(T)                                                                                                           \
    case T: nn_spread(T, row, ahead, n0, N, panel); return;
        WS_EACH_TYPE(X)
#undef X
    default: return;
    }
}

static void gemm_nn(float *y, int64_t ldy, const float *a, int64_t rs, int64_t cs, int64_t M, const ws_weight *w,
                    int64_t n0, int64_t n1, int accumulate) {
    const int64_t N = n1 - n0, panels = (N + NN_COLS - 1) / NN_COLS, pieces = (N + 31) / 32;
    if (M <= NN_FEW && w->type == WS_F32 && w->rows && !w->row_order.a) { /* read once as it lies: nothing to copy */
        tile(y + n0, ldy, a, rs, cs, M, (const float *)w->data + n0, (int64_t)(w->row_bytes / 4), w->rows, N,
             accumulate);
        return;
    }
    float *panel = ws_gemm_scratch((size_t)(pieces * (32 / NN_COLS) * NN_PANEL + NN_K * (NN_M + NN_ROWS)));
    float *pack = panel + pieces * (32 / NN_COLS) * NN_PANEL;
    if (w->rows == 0)
        for (int64_t m = 0; m < M && !accumulate; m++) memset(y + m * ldy + n0, 0, (size_t)N * sizeof *y);
    for (int64_t k0 = 0; k0 < w->rows; k0 += NN_K) {
        const int64_t kn = w->rows - k0 < NN_K ? w->rows - k0 : NN_K;
        for (int64_t k = 0; k < kn; k++)
            nn_widen(w->type, ws_weight_row(w, k0 + k), 4 * w->row_bytes, n0, N, panel + k * NN_COLS);
        for (int64_t m0 = 0; m0 < M; m0 += NN_M) {
            const int64_t mn = M - m0 < NN_M ? M - m0 : NN_M;
            nn_pack(pack, a + m0 * rs + k0 * cs, rs, cs, mn, kn);
            for (int64_t p = 0; p < panels; p++) {
                const float *tile_a = pack;
                for (int64_t m = 0, rows; m < mn; m += rows, tile_a += kn * NN_ROWS) {
                    rows = nn_take(mn - m);
                    /* the cache is told of what the next tile goes on from, or its first sums would wait for it */
                    const int64_t right = m + rows < mn ? p : p + 1, down = m + rows < mn ? m + rows : 0;
                    for (int64_t i = down; i < down + NN_ROWS && i < mn && right < panels; i++)
                        for (int64_t j = 0; j < NN_COLS; j += 16)
                            __builtin_prefetch(y + (m0 + i) * ldy + n0 + right * NN_COLS + j, 1);
                    nn_edge((int)rows, N - p * NN_COLS < NN_COLS ? N - p * NN_COLS : NN_COLS,
                            y + (m0 + m) * ldy + n0 + p * NN_COLS, ldy, tile_a, 1, NN_ROWS, panel + p * NN_PANEL,
                            NN_COLS, kn, k0 > 0 || accumulate);
                }
            }
        }
    }
}
#endif
