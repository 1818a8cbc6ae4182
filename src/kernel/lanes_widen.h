/* src/kernel/lanes_widen.h - stored weights to fp32 in registers, 32 at a time, equal to ws_dtype_to_f32 bit for bit.
 * d q has at most 11 + 8 significant bits, so it is exact and fma(d, q, m) rounds like d q + m. */
#ifndef WS_KERNEL_LANES_WIDEN_H
#define WS_KERNEL_LANES_WIDEN_H
#include "base/dtype.h"

#if defined(__clang__)
#define WS_UNROLL _Pragma("unroll")
#else
#define WS_UNROLL _Pragma("GCC unroll 32")
#endif
enum { V32 = 32 / LANES }; /* vectors in 32 weights */

/* Where weight k of a row stands; k is a multiple of the type's block. */
WS_INLINE const char *w_at(ws_dtype t, const void *row, int64_t k) {
    switch (t) {
    case WS_F32: return (const char *)row + 4 * k;
    case WS_F16:
    case WS_BF16: return (const char *)row + 2 * k;
    case WS_Q8_0: return (const char *)row + k / 32 * 34;
    case WS_Q4_0: return (const char *)row + k / 32 * 18;
    case WS_Q4_1: return (const char *)row + k / 32 * 20;
    case WS_Q5_0: return (const char *)row + k / 32 * 22;
    default: return (const char *)row + k / 32 * 24; /* WS_Q5_1 */
    }
}

WS_INLINE void w_32(ws_dtype t, const char *p, vf out[V32]) {
    vf d = v_zero(), m = d;
    uint32_t word = 0;
    if (t >= WS_Q8_0) d = v_set(v_half(p));
    if (t == WS_Q4_1 || t == WS_Q5_1) m = v_set(v_half(p + 2));
    if (t == WS_Q5_0) memcpy(&word, p + 2, 4);
    if (t == WS_Q5_1) memcpy(&word, p + 4, 4);
    WS_UNROLL for (int v = 0; v < V32; v++) {
        const int at = v * LANES, high = at >= 16, q = at - 16 * high;
        switch (t) {
        case WS_F32: out[v] = v_load((const float *)(const void *)(p + 4 * at)); break;
        case WS_F16: out[v] = v_f16(p + 2 * at); break;
        case WS_BF16: out[v] = v_bf16(p + 2 * at); break;
        case WS_Q8_0: out[v] = v_mul(d, v_i8(p + 2 + at)); break;
        case WS_Q4_0: out[v] = v_mul(d, v_sub(v_nibble(p + 2 + q, high), v_set(8))); break;
        case WS_Q4_1: out[v] = v_fma(d, v_nibble(p + 4 + q, high), m); break;
        case WS_Q5_0: out[v] = v_mul(d, v_sub(v_nibble5(p + 6 + q, high, word, at), v_set(16))); break;
        default: out[v] = v_fma(d, v_nibble5(p + 8 + q, high, word, at), m); break; /* WS_Q5_1 */
        }
    }
}

/* The n < 32 weights at the end of a row, 0 after them: only types without blocks end like this. */
WS_INLINE void w_tail(ws_dtype t, const char *p, int64_t n, vf out[V32]) {
    char stored[32 * 4];
    memset(stored, 0, sizeof stored);
    memcpy(stored, p, (size_t)(t == WS_F32 ? 4 * n : 2 * n));
    w_32(t, stored, out);
}

/* n weights from p on, vector i to dst + i * stride; the last vector is filled up with zeros. */
WS_INLINE void w_spread(ws_dtype t, const char *p, int64_t n, float *dst, int64_t stride) {
    vf v[V32];
    int64_t k = 0;
    for (; k + 32 <= n; k += 32, dst += V32 * stride) {
        w_32(t, w_at(t, p, k), v);
        WS_UNROLL for (int i = 0; i < V32; i++) v_store(dst + i * stride, v[i]);
    }
    if (k < n) {
        w_tail(t, w_at(t, p, k), n - k, v);
        WS_UNROLL for (int i = 0; i < V32; i++) if (k + i * LANES < n) v_store(dst + i * stride, v[i]);
    }
}

/* One call for each type, so that the type is a constant inside. */
#define WS_EACH_TYPE(X) X(WS_F32) X(WS_F16) X(WS_BF16) X(WS_Q8_0) X(WS_Q4_0) X(WS_Q4_1) X(WS_Q5_0) X(WS_Q5_1)

static void spread(ws_dtype t, const char *p, int64_t n, float *dst, int64_t stride) {
    switch (t) {
#define X(T)                                                                                                           \
    case T: w_spread(T, p, n, dst, stride); return;
        WS_EACH_TYPE(X)
#undef X
    default: return; /* kernel/weight.c refuses other types */
    }
}

static void widen(float *dst, const void *src, ws_dtype t, int64_t n) {
    int64_t whole = n / 32 * 32;
    spread(t, src, whole, dst, LANES);
    if (whole < n) ws_dtype_to_f32(dst + whole, w_at(t, src, whole), t, n - whole);
}
#endif
