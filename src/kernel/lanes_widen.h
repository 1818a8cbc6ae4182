/* src/kernel/lanes_widen.h - stored weights to fp32 in registers, 32 at a time, equal to ws_dtype_to_f32 bit for bit.
 * d q has at most 11 + 8 significant bits, so it is exact and fma(d, q, m) rounds like d q + m; so has (d s) q of the
 * K types, with 11 + 6 + 5 or 11 + 8 + 5.  A block of a K type is first taken apart into bytes, 32 at a time, and
 * scales: then its parts of 32 are as cheap as a block of Q4_1. */
#ifndef WS_KERNEL_LANES_WIDEN_H
#define WS_KERNEL_LANES_WIDEN_H
#include "base/dtype.h"

#if defined(__clang__)
#define WS_UNROLL _Pragma("unroll")
#else
#define WS_UNROLL _Pragma("GCC unroll 32")
#endif
enum { V32 = 32 / LANES }; /* vectors in 32 weights */

WS_INLINE int w_is_super(ws_dtype t) { return t >= WS_Q4_K; } /* blocks of 256 */

/* The block of a row that weight k stands in. */
WS_INLINE const char *w_at(ws_dtype t, const void *row, int64_t k) {
    switch (t) {
    case WS_F32: return (const char *)row + 4 * k;
    case WS_F16:
    case WS_BF16: return (const char *)row + 2 * k;
    case WS_Q8_0: return (const char *)row + k / 32 * 34;
    case WS_Q4_0: return (const char *)row + k / 32 * 18;
    case WS_Q4_1: return (const char *)row + k / 32 * 20;
    case WS_Q5_0: return (const char *)row + k / 32 * 22;
    case WS_Q5_1: return (const char *)row + k / 32 * 24;
    case WS_Q4_K: return (const char *)row + k / 256 * 144;
    case WS_Q5_K: return (const char *)row + k / 256 * 176;
    default: return (const char *)row + k / 256 * 210; /* WS_Q6_K */
    }
}

/* Bytes of 32 weights, rounded up. */
WS_INLINE int w_bytes_32(ws_dtype t) {
    static const uint8_t n[] = {
        [WS_F32] = 128, [WS_F16] = 64,  [WS_BF16] = 64, [WS_Q8_0] = 34, [WS_Q4_0] = 18, [WS_Q4_1] = 20,
        [WS_Q5_0] = 22, [WS_Q5_1] = 24, [WS_Q4_K] = 18, [WS_Q5_K] = 22, [WS_Q6_K] = 27};
    return n[t];
}

/* A block of a K type taken apart. */
typedef struct w_super {
    _Alignas(64) int8_t q[256];
    float d[16], m[16]; /* what multiplies part p: d[p]; what is added to it: m[8 + p] */
} w_super;

typedef uint64_t w_bytes __attribute__((vector_size(32))); /* 32 bytes; shifts must not carry into a neighbour */
WS_INLINE w_bytes w_bytes_at(const char *p) {
    w_bytes b;
    memcpy(&b, p, 32);
    return b;
}

WS_INLINE void w_open(ws_dtype t, const char *p, w_super *s) {
    const uint64_t nibble = 0x0f0f0f0f0f0f0f0f, one = nibble / 15, top = one << 7;
    if (t == WS_Q6_K) {
        const vf d = v_half(p + 208);
        WS_UNROLL for (int i = 0; i < 8; i++) {
            const int half = i / 4, part = i % 4;
            w_bytes low = w_bytes_at(p + 64 * half + 32 * (part % 2)) >> (part / 2 * 4) & nibble;
            w_bytes q = low | (w_bytes_at(p + 128 + 32 * half) >> (2 * part) & one * 3) << 4;
            q = ((q | top) - (one << 5)) ^ top; /* q - 32 in each byte: the top bit keeps borrows inside */
            memcpy(s->q + 32 * i, &q, 32);
        }
        WS_UNROLL for (int v = 0; v < 16 / LANES; v++) v_store(s->d + v * LANES, v_mul(d, v_i8(p + 192 + v * LANES)));
        return;
    }
    vf d, m;
    v_halves(p, &d, &m);
    m = v_mul(v_set(-1), m);
    uint8_t scale[16];
    ws_dtype_k_scales(p + 4, scale);
    WS_UNROLL for (int v = 0; v < 16 / LANES; v++) {
        vf x = v_i8(scale + v * LANES);
        v_store(s->d + v * LANES, v_mul(d, x));
        v_store(s->m + v * LANES, v_mul(m, x));
    }
    WS_UNROLL for (int i = 0; i < 4; i++) {
        w_bytes b = w_bytes_at(p + (t == WS_Q5_K ? 48 : 16) + 32 * i), low = b & nibble, high = b >> 4 & nibble;
        if (t == WS_Q5_K) {
            w_bytes fifth = w_bytes_at(p + 16) >> (2 * i);
            low |= (fifth & one) << 4, high |= (fifth >> 1 & one) << 4;
        }
        memcpy(s->q + 64 * i, &low, 32);
        memcpy(s->q + 64 * i + 32, &high, 32);
    }
}

/* fp16 numbers at the beginning of a block of 32: what multiplies, what is added. */
WS_INLINE int w_scales(ws_dtype t) {
    return t == WS_Q4_1 || t == WS_Q5_1 ? 2 : t == WS_Q8_0 || t == WS_Q4_0 || t == WS_Q5_0;
}

/* The 32 weights at p of a type without larger blocks; d and m: its scales in all lanes. */
WS_INLINE void w_scaled(ws_dtype t, const char *p, vf d, vf m, vf out[V32]) {
    uint32_t word = 0;
    if (t == WS_Q5_0) memcpy(&word, p + 2, 4);
    if (t == WS_Q5_1) memcpy(&word, p + 4, 4);
#if LANES == 16 /* the 16 values that a block can take fit a register */
    if (t == WS_Q4_0 || t == WS_Q4_1) {
        const vf table = t == WS_Q4_0 ? v_mul(d, v_sub(v_iota(), v_set(8))) : v_fma(d, v_iota(), m);
        WS_UNROLL for (int v = 0; v < V32; v++) out[v] = v_pick_nibble(table, p + 2 * w_scales(t), v);
        return;
    }
#endif
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

/* Weights k .. k + 31 of a row, k a multiple of 32; s: the opened block where the type has one. */
WS_INLINE void w_32(ws_dtype t, const void *row, int64_t k, const w_super *s, vf out[V32]) {
    if (w_is_super(t)) {
        const int64_t part = k / 32 % 8;
        WS_UNROLL for (int v = 0; v < V32; v++) {
            vf q = v_i8(s->q + 32 * part + v * LANES);
            out[v] = t == WS_Q6_K ? v_mul(v_set(s->d[2 * part + v * LANES / 16]), q)
                                  : v_fma(v_set(s->d[part]), q, v_set(s->m[8 + part]));
        }
        return;
    }
    const char *p = w_at(t, row, k);
    vf d = v_zero(), m = d;
    if (w_scales(t) == 1) d = v_half(p);
    if (w_scales(t) == 2) v_halves(p, &d, &m);
    w_scaled(t, p, d, m, out);
}

/* The n < 32 weights at the end of a row, 0 after them: only types without blocks end like this. */
WS_INLINE void w_tail(ws_dtype t, const char *p, int64_t n, vf out[V32]) {
    char stored[32 * 4];
    memset(stored, 0, sizeof stored);
    memcpy(stored, p, (size_t)(t == WS_F32 ? 4 * n : 2 * n));
    w_32(t, stored, 0, NULL, out);
}

/* Opens the block of weight k where a walk over a row that began at `begin` enters it. */
WS_INLINE void w_enter(ws_dtype t, const void *row, int64_t k, int64_t begin, w_super *s) {
    if (w_is_super(t) && (k % 256 == 0 || k == begin)) w_open(t, w_at(t, row, k), s);
}

/* Weights k0 .. k0 + n - 1 of a row, vector i to dst + i * stride; the last vector is filled up with zeros. */
WS_INLINE void w_spread(ws_dtype t, const void *row, int64_t k0, int64_t n, float *dst, int64_t stride) {
    vf v[V32];
    w_super s;
    int64_t k = k0;
    for (; k + 32 <= k0 + n; k += 32, dst += V32 * stride) {
        w_enter(t, row, k, k0, &s);
        w_32(t, row, k, &s, v);
        WS_UNROLL for (int i = 0; i < V32; i++) v_store(dst + i * stride, v[i]);
    }
    if (t < WS_Q8_0 && k < k0 + n) {
        w_tail(t, w_at(t, row, k), k0 + n - k, v);
        WS_UNROLL for (int i = 0; i < V32; i++) if (k + i * LANES < k0 + n) v_store(dst + i * stride, v[i]);
    }
}

/* One call for each type, so that the type is a constant inside. */
#define WS_EACH_TYPE(X)                                                                                                \
    X(WS_F32)                                                                                                          \
    X(WS_F16) X(WS_BF16) X(WS_Q8_0) X(WS_Q4_0) X(WS_Q4_1) X(WS_Q5_0) X(WS_Q5_1) X(WS_Q4_K) X(WS_Q5_K) X(WS_Q6_K)

static void spread(ws_dtype t, const void *row, int64_t k0, int64_t n, float *dst, int64_t stride) {
    switch (t) {
#define X(T)                                                                                                           \
    case T: w_spread(T, row, k0, n, dst, stride); return;
        WS_EACH_TYPE(X)
#undef X
    default: return; /* kernel/weight.c refuses other types */
    }
}

static __attribute__((unused)) void widen(float *dst, const void *src, ws_dtype t, int64_t n) {
    int64_t whole = n / 32 * 32;
    spread(t, src, 0, whole, dst, LANES);
    if (whole < n) ws_dtype_to_f32(dst + whole, w_at(t, src, whole), t, n - whole);
}
#endif
