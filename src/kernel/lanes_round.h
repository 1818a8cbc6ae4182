/* src/kernel/lanes_round.h - stored weights and fp32 rounded to bf16 in registers, 32 numbers at a time. */
#ifndef WS_KERNEL_LANES_ROUND_H
#define WS_KERNEL_LANES_ROUND_H
#include "kernel/lanes_widen.h"

enum { STEP = 32 };

/* The 16 or 32 values that a block of 4 or 5 bits can take are computed as w_32 computes them, rounded once, and looked up. */
WS_INLINE vb b_table(ws_dtype t, const void *p, const w_super *s, int64_t part) {
    const vf i = v_iota(), i16 = v_add(i, v_set(16));
    vf d, m;
    switch (t) {
    case WS_Q4_0: return vb_levels(v_mul(v_half(p), v_sub(i, v_set(8))));
    case WS_Q4_1: v_halves(p, &d, &m); return vb_levels(v_fma(d, i, m));
    case WS_Q5_0: d = v_half(p); return vb_round(v_mul(d, v_sub(i, v_set(16))), v_mul(d, i));
    case WS_Q5_1: v_halves(p, &d, &m); return vb_round(v_fma(d, i, m), v_fma(d, i16, m));
    case WS_Q4_K: return vb_levels(v_fma(v_set(s->d[part]), i, v_set(s->m[8 + part])));
    default: /* WS_Q5_K */
        d = v_set(s->d[part]), m = v_set(s->m[8 + part]);
        return vb_round(v_fma(d, i, m), v_fma(d, i16, m));
    }
}

/* 32 stored weights, and the n < 32 at the end of a row. */
WS_INLINE vb b_32(ws_dtype t, const void *row, int64_t k, const w_super *s) {
    const char *p = w_at(t, row, k);
    const int64_t part = k / 32 % 8;
    uint32_t word;
    vf v[V32];
    switch (t) {
    case WS_BF16: return vb_load(p);
    case WS_Q4_0: return vb_pick_nibbles(b_table(t, p, s, 0), p + 2);
    case WS_Q4_1: return vb_pick_nibbles(b_table(t, p, s, 0), p + 4);
    case WS_Q5_0: memcpy(&word, p + 2, 4); return vb_pick_nibbles5(b_table(t, p, s, 0), p + 6, word);
    case WS_Q5_1: memcpy(&word, p + 4, 4); return vb_pick_nibbles5(b_table(t, p, s, 0), p + 8, word);
    case WS_Q4_K:
    case WS_Q5_K: return vb_pick_bytes(b_table(t, p, s, part), s->q + 32 * part);
    default: w_32(t, row, k, s, v); return vb_round(v[0], v[1]);
    }
}
WS_INLINE vb b_tail(ws_dtype t, const char *p, int64_t n) {
    if (t == WS_BF16) return vb_load_n(p, n);
    vf v[V32];
    w_tail(t, p, n, v);
    return vb_round(v[0], v[1]);
}

WS_INLINE void b_spread_as(ws_dtype t, const void *row, int64_t k0, int64_t n, uint16_t *to, int64_t stride) {
    w_super s;
    int64_t k = k0;
    for (; k + STEP <= k0 + n; k += STEP, to += stride) {
        w_enter(t, row, k, k0, &s);
        vb_store(to, b_32(t, row, k, &s));
    }
    if (t < WS_Q8_0 && k < k0 + n) vb_store(to, b_tail(t, w_at(t, row, k), k0 + n - k));
}
static __attribute__((unused)) void b_spread(ws_dtype t, const void *row, int64_t k0, int64_t n, uint16_t *to,
                                             int64_t stride) {
    switch (t) {
#define X(T)                                                                                                           \
    case T: b_spread_as(T, row, k0, n, to, stride); return;
        WS_EACH_TYPE(X)
#undef X
    default: return; /* kernel/weight.c refuses other types */
    }
}

/* Columns n0 .. n0 + N - 1 of a row and the next one (NULL: zeros), interleaved: 32 columns are 32 pairs at `to`, the next 32
 * stand `stride` numbers on. */
WS_INLINE void b_spread_pair_as(ws_dtype t, const void *row, const void *next, int64_t n0, int64_t N, uint16_t *to,
                                int64_t stride) {
    w_super s, s2;
    for (int64_t n = 0; n < N; n += STEP, to += stride) {
        const int tail = t < WS_Q8_0 && N - n < STEP;
        vb a, b = vb_zero(), out[2];
        w_enter(t, row, n0 + n, n0, &s);
        a = tail ? b_tail(t, w_at(t, row, n0 + n), N - n) : b_32(t, row, n0 + n, &s);
        if (next) {
            w_enter(t, next, n0 + n, n0, &s2);
            b = tail ? b_tail(t, w_at(t, next, n0 + n), N - n) : b_32(t, next, n0 + n, &s2);
        }
        vb_interleave(a, b, out);
        vb_store(to, out[0]), vb_store(to + STEP, out[1]);
    }
}
static void b_spread_pair(ws_dtype t, const void *row, const void *next, int64_t n0, int64_t N, uint16_t *to,
                          int64_t stride) {
    switch (t) {
#define X(T)                                                                                                           \
    case T: b_spread_pair_as(T, row, next, n0, N, to, stride); return;
        WS_EACH_TYPE(X)
#undef X
    default: return; /* kernel/weight.c refuses other types */
    }
}

static void bf16_round(uint16_t *dst, const float *src, int64_t n) {
    int64_t i = 0;
    for (; i + STEP <= n; i += STEP) vb_store(dst + i, vb_round(v_load(src + i), v_load(src + i + LANES)));
    if (i < n) {
        float rest[STEP] = {0};
        uint16_t t[STEP];
        memcpy(rest, src + i, (size_t)(n - i) * sizeof *rest);
        vb_store(t, vb_round(v_load(rest), v_load(rest + LANES)));
        memcpy(dst + i, t, (size_t)(n - i) * sizeof *t);
    }
}
#endif
