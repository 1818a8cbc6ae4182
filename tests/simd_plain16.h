/* tests/simd_plain16.h - the vocabulary of src/kernel/simd_*.h for 16 lanes in plain C, so that the 16-lane kernels run and
 * are tested on machines without AVX-512.  Each word has the meaning of the instruction that simd_avx512.h wraps. */
#ifndef WS_KERNEL_SIMD_H
#define WS_KERNEL_SIMD_H
#include "base/dtype.h"
#include <math.h>
#include <stdint.h>
#include <string.h>
#define LANES     16
#define WS_INLINE static inline __attribute__((unused))
#define EACH_LANE for (int i = 0; i < 16; i++)

typedef struct vf {
    float f[16];
} vf;
typedef struct vd {
    double d[16];
} vd;
typedef struct v4 {
    float f[4];
} v4;
typedef int vmask;

#define PLAIN(name, args, expression)                                                                                  \
    WS_INLINE vf name args {                                                                                           \
        vf r;                                                                                                          \
        EACH_LANE r.f[i] = expression;                                                                                 \
        return r;                                                                                                      \
    }
PLAIN(v_zero, (void), 0)
PLAIN(v_set, (float a), a)
PLAIN(v_load, (const float *p), p[i])
PLAIN(v_load_n, (const float *p, int64_t n), i < n ? p[i] : 0)
WS_INLINE void v_store(float *p, vf a) { memcpy(p, a.f, sizeof a.f); }
WS_INLINE void v_store_n(float *p, vf a, int64_t n) { memcpy(p, a.f, (size_t)n * sizeof *p); }
PLAIN(v_add, (vf a, vf b), a.f[i] + b.f[i])
PLAIN(v_sub, (vf a, vf b), a.f[i] - b.f[i])
PLAIN(v_mul, (vf a, vf b), a.f[i] * b.f[i])
PLAIN(v_div, (vf a, vf b), a.f[i] / b.f[i])
PLAIN(v_sqrt, (vf a), sqrtf(a.f[i]))
PLAIN(v_max, (vf a, vf b), a.f[i] > b.f[i] ? a.f[i] : b.f[i])
PLAIN(v_min, (vf a, vf b), a.f[i] < b.f[i] ? a.f[i] : b.f[i])
PLAIN(v_fma, (vf a, vf b, vf c), fmaf(a.f[i], b.f[i], c.f[i]))
PLAIN(v_fnma, (vf a, vf b, vf c), fmaf(-a.f[i], b.f[i], c.f[i]))
PLAIN(v_round, (vf a), nearbyintf(a.f[i]))
/* cvtps2dq gives INT_MIN for NaN; the factor is then of no account, since the other one is NaN */
PLAIN(v_pow2, (vf a), a.f[i] >= -126 && a.f[i] <= 127 ? ldexpf(1, (int)a.f[i]) : 0)
PLAIN(v_times_pow2, (vf a, vf k), isnan(k.f[i]) ? a.f[i] + k.f[i] : ldexpf(a.f[i], (int)k.f[i]))
PLAIN(v_keep, (vf a, int n, vf fill), i < n ? a.f[i] : fill.f[i])
WS_INLINE vmask v_no_nan(void) { return 0; }
WS_INLINE vmask v_or_nan(vmask m, vf a) {
    EACH_LANE m |= isnan(a.f[i]);
    return m;
}
WS_INLINE int v_any_nan(vmask m) { return m; }
WS_INLINE float v_first_lane(vf a) { return a.f[0]; }
WS_INLINE void v_transpose(vf a[LANES]) {
    vf b[LANES];
    memcpy(b, a, sizeof b);
    for (int j = 0; j < 16; j++) EACH_LANE a[j].f[i] = b[i].f[j];
}
WS_INLINE float v_sum(vf a) {
    float t[8];
    for (int i = 0; i < 8; i++) t[i] = a.f[i] + a.f[i + 8];
    return ((t[0] + t[2]) + (t[1] + t[3])) + ((t[4] + t[6]) + (t[5] + t[7]));
}
WS_INLINE v4 v_sum4(vf a, vf b, vf c, vf d) { return (v4){{v_sum(a), v_sum(b), v_sum(c), v_sum(d)}}; }
WS_INLINE float v_top(vf a) {
    float m = a.f[0];
    EACH_LANE m = m > a.f[i] ? m : a.f[i];
    return m;
}
WS_INLINE v4 v_top4(vf a, vf b, vf c, vf d) { return (v4){{v_top(a), v_top(b), v_top(c), v_top(d)}}; }
WS_INLINE v4 v4_zero(void) { return (v4){{0, 0, 0, 0}}; }
WS_INLINE v4 v4_load(const float *p) { return (v4){{p[0], p[1], p[2], p[3]}}; }
WS_INLINE void v4_store(float *p, v4 a) { memcpy(p, a.f, sizeof a.f); }
PLAIN(v_of4, (v4 a), i < 4 ? a.f[i] : NAN)
WS_INLINE v4 v4_of(vf a) { return v4_load(a.f); }
WS_INLINE v4 v4_add(v4 a, v4 b) { return (v4){{a.f[0] + b.f[0], a.f[1] + b.f[1], a.f[2] + b.f[2], a.f[3] + b.f[3]}}; }

#define PLAIN_D(name, args, expression)                                                                                \
    WS_INLINE vd name args {                                                                                           \
        vd r;                                                                                                          \
        EACH_LANE r.d[i] = expression;                                                                                 \
        return r;                                                                                                      \
    }
PLAIN_D(vd_zero, (void), 0)
PLAIN_D(vd_of, (vf a), a.f[i])
PLAIN_D(vd_add, (vd a, vd b), a.d[i] + b.d[i])
PLAIN_D(vd_fma, (vd a, vd b, vd c), fma(a.d[i], b.d[i], c.d[i]))
WS_INLINE double vd_sum(vd a) {
    double s = 0;
    EACH_LANE s += a.d[i];
    return s;
}

WS_INLINE uint16_t u16_at(const void *p, int i) {
    uint16_t h;
    memcpy(&h, (const char *)p + 2 * i, 2);
    return h;
}
WS_INLINE int nibble_at(const void *p, int high, int i) {
    int b = ((const uint8_t *)p)[i];
    return high ? b >> 4 : b & 15;
}
PLAIN(v_bf16, (const void *p), ws_bf16_f32(u16_at(p, i)))
PLAIN(v_f16, (const void *p), ws_f16_f32(u16_at(p, i)))
PLAIN(v_i8, (const void *p), (float)((const int8_t *)p)[i])
PLAIN(v_nibble, (const void *p, int high), (float)nibble_at(p, high, i))
PLAIN(v_iota, (void), (float)i)
PLAIN(v_pick_nibble, (vf table, const void *p, int high), table.f[nibble_at(p, high, i)])
PLAIN(v_nibble5, (const void *p, int high, uint32_t word, int first),
      (float)(nibble_at(p, high, i) | (int)(word >> (first + i) & 1) << 4))
PLAIN(v_half, (const void *p), ws_f16_f32(u16_at(p, 0)))
WS_INLINE void v_halves(const void *p, vf *first, vf *second) {
    *first = v_half(p), *second = v_half((const char *)p + 2);
}

/* ---- what AVX-512 BF16 adds (simd_avx512bf16.h), from the pseudocode of Intel's manual: VCVTNE2PS2BF16 and VDPBF16PS ---- */
#include "kernel/compute.h"
typedef struct vb {
    uint16_t h[32];
} vb;
WS_INLINE vb vb_load_n(const void *p, int64_t n) {
    vb r = {{0}};
    memcpy(r.h, p, (size_t)n * 2);
    return r;
}
WS_INLINE vb vb_load(const void *p) { return vb_load_n(p, 32); }
WS_INLINE void vb_store(void *p, vb a) { memcpy(p, a.h, sizeof a.h); }
WS_INLINE vb vb_zero(void) { return (vb){{0}}; }
WS_INLINE vb vb_pair(const void *p) {
    vb r;
    EACH_LANE memcpy(r.h + 2 * i, p, 4);
    return r;
}
WS_INLINE vb vb_round(vf lo, vf hi) {
    vb r;
    EACH_LANE r.h[i] = ws_bf16_round(lo.f[i]), r.h[16 + i] = ws_bf16_round(hi.f[i]);
    return r;
}
WS_INLINE vb vb_levels(vf a) { return vb_round(a, a); }
WS_INLINE vb vb_pick_nibbles5(vb table, const void *p, uint32_t word) {
    vb r;
    for (int i = 0; i < 32; i++) r.h[i] = table.h[nibble_at(p, i / 16, i % 16) | (int)(word >> i & 1) << 4];
    return r;
}
WS_INLINE vb vb_pick_nibbles(vb table, const void *p) { return vb_pick_nibbles5(table, p, 0); }
WS_INLINE vb vb_pick_bytes(vb table, const void *p) {
    vb r;
    for (int i = 0; i < 32; i++) r.h[i] = table.h[((const uint8_t *)p)[i]];
    return r;
}
WS_INLINE float no_subnormal(float f) { return fabsf(f) < 0x1p-126f ? copysignf(0, f) : f; }
/* One lane: the odd pair first; inputs and results below the normal range are 0, every step is rounded to nearest even. */
WS_INLINE float dot_of_pairs(float acc, const uint16_t *a, const uint16_t *b) {
    for (int i = 1; i >= 0; i--)
        acc = no_subnormal(fmaf(no_subnormal(ws_bf16_f32(a[i])), no_subnormal(ws_bf16_f32(b[i])), no_subnormal(acc)));
    return acc;
}
PLAIN(vb_dot, (vf acc, vb a, vb b), dot_of_pairs(acc.f[i], a.h + 2 * i, b.h + 2 * i))
WS_INLINE void vb_interleave(vb a, vb b, vb out[2]) {
    for (int i = 0; i < 32; i++) out[i / 16].h[i % 16 * 2] = a.h[i], out[i / 16].h[i % 16 * 2 + 1] = b.h[i];
}
WS_INLINE void v_sum8(const vf a[4], const vf b[4], v4 out[2]) {
    out[0] = v_sum4(a[0], a[1], a[2], a[3]), out[1] = v_sum4(b[0], b[1], b[2], b[3]);
}

/* ---- what AMX adds (simd_amx.h): tiles, with TDPBF16PS as this test found it on the processor: the products of even k and
 * those of odd k each form a chain that starts at 0; both chains are added, then the tile ---- */
static _Thread_local struct { _Alignas(4) char row[16][64]; } plain_tile[8];
WS_INLINE void t_begin(void) { memset(plain_tile, 0, sizeof plain_tile); }
WS_INLINE void t_end(void) { memset(plain_tile, 0xff, sizeof plain_tile); }
WS_INLINE void t_zero(int t) { memset(&plain_tile[t], 0, sizeof plain_tile[t]); }
WS_INLINE void t_load(int t, const void *p, int64_t bytes_apart) {
    EACH_LANE memcpy(plain_tile[t].row[i], (const char *)p + i * bytes_apart, 64);
}
WS_INLINE void t_store(int t, void *p, int64_t bytes_apart) {
    EACH_LANE memcpy((char *)p + i * bytes_apart, plain_tile[t].row[i], 64);
}
WS_INLINE void t_dot(int c, int a, int b) {
    EACH_LANE for (int n = 0; n < 16; n++) {
        float chain[2] = {0}, *sum = (float *)(void *)plain_tile[c].row[i] + n;
        for (int k = 0; k < 32; k++) {
            const float x = no_subnormal(ws_bf16_f32(u16_at(plain_tile[a].row[i], k)));
            const float y = no_subnormal(ws_bf16_f32(u16_at(plain_tile[b].row[k / 2], 2 * n + k % 2)));
            chain[k % 2] = no_subnormal(fmaf(x, y, chain[k % 2]));
        }
        *sum = no_subnormal(no_subnormal(*sum) + no_subnormal(chain[0] + chain[1]));
    }
}
PLAIN(v_column, (const float *p), p[16 * i])
#endif
