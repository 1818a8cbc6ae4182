/* src/kernel/lanes_round.h - stored weights and fp32 rounded to bf16 in registers, 32 numbers at a time. */
#ifndef WS_KERNEL_LANES_ROUND_H
#define WS_KERNEL_LANES_ROUND_H
#include "kernel/lanes_widen.h"

enum { STEP = 32 };

/* 32 stored weights, and the n < 32 at the end of a row. */
WS_INLINE vb b_32(ws_dtype t, const void *row, int64_t k, const w_super *s) {
    if (t == WS_BF16) return vb_load(w_at(t, row, k));
    vf v[V32];
    w_32(t, row, k, s, v);
    return vb_round(v[0], v[1]);
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
static void b_spread(ws_dtype t, const void *row, int64_t k0, int64_t n, uint16_t *to, int64_t stride) {
    switch (t) {
#define X(T)                                                                                                           \
    case T: b_spread_as(T, row, k0, n, to, stride); return;
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
