/* src/kernel/lanes_few.h - y = x W^T for few rows of x, as in decode: W is widened in registers and read once, `cols`
 * rows of W side by side, so that enough sums are under way to hide the latency of a fused multiply-add.  The arithmetic
 * of each output is that of lanes_nt.h.
 * What limits it is reading W.  The hardware fetches ahead along each of a handful of long streams, but begins anew with
 * every short one: so the rows that are read side by side stand far from each other, and each stream is a piece of the chunk
 * from end to end.  It stops at the end of a page; there the kernel itself asks for what comes next. */
#ifndef WS_KERNEL_LANES_FEW_H
#define WS_KERNEL_LANES_FEW_H
#include "kernel/lanes_nt.h"

enum { FEW_ROWS = 4, FEW_COLS = 8, FEW_AHEAD = 512 }; /* bytes that a stream is asked for ahead of its use */

/* out[rows][cols] = sums over the weights k0 .. k1 - 1, one block of K; `half`: ws_f16_all(). */
WS_INLINE void few_block(ws_dtype t, int rows, int cols, const float *x, int64_t ldx, const char *const *row,
                         int64_t k0, int64_t k1, const float *half, float *out) {
    vf acc[FEW_ROWS * FEW_COLS];
    w_super s[FEW_COLS];
    int64_t k = k0;
    WS_UNROLL for (int i = 0; i < rows * cols; i++) acc[i] = v_zero();
    for (; k + 32 <= k1; k += 32) {
        WS_UNROLL for (int j = 0; j < cols; j++) {
            const char *p = w_at(t, row[j], k), *next = row[j] + k / 32 * w_bytes_32(t) + FEW_AHEAD;
            vf w[V32];
            WS_UNROLL for (int i = 0; i < w_bytes_32(t); i += 64) __builtin_prefetch(next + i);
            if (w_scales(t)) { /* a load each, where converting would take the units that multiply */
                uint16_t s16[2];
                memcpy(s16, p, (size_t)w_scales(t) * sizeof *s16);
                w_scaled(t, p, v_set(half[s16[0]]), v_set(half[s16[w_scales(t) - 1]]), w);
            } else {
                w_enter(t, row[j], k, k0, &s[j]);
                w_32(t, row[j], k, &s[j], w);
            }
            WS_UNROLL for (int v = 0; v < V32; v++) WS_UNROLL for (int i = 0; i < rows; i++) acc[i * cols + j] =
                v_fma(v_load(x + i * ldx + k + v * LANES), w[v], acc[i * cols + j]);
        }
    }
    if (k < k1 && t < WS_Q8_0) {
        float xt[FEW_ROWS][32];
        memset(xt, 0, sizeof xt);
        WS_UNROLL for (int i = 0; i < rows; i++) memcpy(xt[i], x + i * ldx + k, (size_t)(k1 - k) * sizeof *x);
        WS_UNROLL for (int j = 0; j < cols; j++) {
            vf w[V32];
            w_tail(t, w_at(t, row[j], k), k1 - k, w);
            WS_UNROLL for (int v = 0; v < V32; v++) WS_UNROLL for (int i = 0; i < rows; i++) acc[i * cols + j] =
                v_fma(v_load(xt[i] + v * LANES), w[v], acc[i * cols + j]);
        }
    }
    WS_UNROLL for (int i = 0; i < rows; i++) WS_UNROLL for (int j = 0; j < cols; j += 4) {
        const vf *a = acc + i * cols + j;
        v4 sum = cols - j >= 4 ? v_sum4(a[0], a[1], a[2], a[3]) : v_sum4(a[0], a[cols - j > 1], a[0], a[0]);
        if (cols - j >= 4)
            v4_store(out + i * cols + j, sum);
        else {
            float f[4];
            v4_store(f, sum);
            memcpy(out + i * cols + j, f, (size_t)(cols - j) * sizeof *out);
        }
    }
}

/* `cols` columns of y, n and every `step`th after it. */
WS_INLINE void few_cols(ws_dtype t, int rows, int cols, float *y, int64_t ldy, const float *x, int64_t ldx,
                        const ws_weight *w, int64_t n, int64_t step, const float *half, int accumulate) {
    const int64_t K = w->cols, block = nt_block(K);
    float total[FEW_ROWS * FEW_COLS], more[FEW_ROWS * FEW_COLS];
    const char *row[FEW_COLS];
    WS_UNROLL for (int j = 0; j < cols; j++) row[j] = ws_weight_row(w, n + j * step);
    few_block(t, rows, cols, x, ldx, row, 0, K < block ? K : block, half, total);
    for (int64_t k = block; k < K; k += block) {
        few_block(t, rows, cols, x, ldx, row, k, k + block < K ? k + block : K, half, more);
        for (int i = 0; i < rows * cols; i++) total[i] += more[i];
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            float *to = y + i * ldy + n + j * step;
            *to = accumulate ? *to + total[i * cols + j] : total[i * cols + j];
        }
}

WS_INLINE void few(ws_dtype t, int rows, int cols, float *y, int64_t ldy, const float *x, int64_t ldx,
                   const ws_weight *w, int64_t n0, int64_t n1, int accumulate) {
    const float *half = w_scales(t) ? ws_f16_all() : NULL;
    const int64_t step = (n1 - n0) / cols;
    for (int64_t n = n0; n < n0 + step; n++) few_cols(t, rows, cols, y, ldy, x, ldx, w, n, step, half, accumulate);
    for (int64_t n = n0 + step * cols; n < n1; n++) few_cols(t, rows, 1, y, ldy, x, ldx, w, n, 0, half, accumulate);
}

/* One function for each type and number of rows, so that both are constants inside. */
#define FEW_ARGS                                                                                                       \
    (float *y, int64_t ldy, const float *x, int64_t ldx, const ws_weight *w, int64_t n0, int64_t n1, int accumulate)
#define FEW(T, ROWS, COLS)                                                                                             \
    static void few_##ROWS##_##T FEW_ARGS { few(T, ROWS, COLS, y, ldy, x, ldx, w, n0, n1, accumulate); }
#if LANES == 16 /* 32 registers; types with scales need more of them */
#define FEW_MORE(T) (T < WS_Q8_0 ? 8 : 4)
#define FEW_TYPE(T) FEW(T, 1, 8) FEW(T, 2, FEW_MORE(T)) FEW(T, 3, FEW_MORE(T)) FEW(T, 4, 4)
#else
#define FEW_TYPE(T) FEW(T, 1, 8) FEW(T, 2, 4) FEW(T, 3, 4) FEW(T, 4, 2)
#endif
WS_EACH_TYPE(FEW_TYPE)
static void(*const few_of[][FEW_ROWS]) FEW_ARGS = {
#define X(T) [T] = {few_1_##T, few_2_##T, few_3_##T, few_4_##T},
    WS_EACH_TYPE(X)
#undef X
};
#undef FEW_ARGS
#undef FEW
#undef FEW_TYPE
#undef FEW_MORE

static void gemm_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate) {
    if (w->cols == 0)
        for (int64_t m = 0; m < M && !accumulate; m++) memset(y + m * ldy + n0, 0, (size_t)(n1 - n0) * sizeof *y);
    else if (M > FEW_ROWS)
        nt_many(y, ldy, x, ldx, M, w, n0, n1, accumulate);
    else if (M > 0)
        few_of[w->type][M - 1](y, ldy, x, ldx, w, n0, n1, accumulate);
}
#endif
