/* src/kernel/simd_avx512.h - the vocabulary of simd_avx2.h for 16 lanes: AVX-512 F, BW, DQ, VL. */
#ifndef WS_KERNEL_SIMD_H
#define WS_KERNEL_SIMD_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#define LANES     16
#define WS_INLINE static inline __attribute__((always_inline, unused))

typedef __m512 vf;
typedef struct vd {
    __m512d lo, hi;
} vd;
typedef __mmask16 vmask;

WS_INLINE __mmask16 v_first(int64_t n) { return (__mmask16)((1u << n) - 1); } /* 0 <= n <= 16 */
WS_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
WS_INLINE vf v_set(float a) { return _mm512_set1_ps(a); }
WS_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
WS_INLINE vf v_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
WS_INLINE void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
WS_INLINE void v_store_n(float *p, vf a, int64_t n) { _mm512_mask_storeu_ps(p, v_first(n), a); }
WS_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
WS_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
WS_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
WS_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
WS_INLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
WS_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
WS_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
WS_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
WS_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
WS_INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
WS_INLINE vf v_pow2(vf a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127)), 23));
}
WS_INLINE vf v_times_pow2(vf a, vf k) { return _mm512_scalef_ps(a, k); }
WS_INLINE vf v_keep(vf a, int n, vf fill) { return _mm512_mask_mov_ps(fill, v_first(n < 0 ? 0 : n > 16 ? 16 : n), a); }
WS_INLINE vmask v_no_nan(void) { return 0; }
WS_INLINE vmask v_or_nan(vmask m, vf a) { return (vmask)(m | _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q)); }
WS_INLINE int v_any_nan(vmask m) { return m != 0; }
WS_INLINE float v_first_lane(vf a) { return _mm512_cvtss_f32(a); }

/* As in simd_avx2.h. */
WS_INLINE void v_transpose(vf a[LANES]) {
    vf b[LANES];
    for (int i = 0; i < 16; i += 2) { /* pairs of rows, interleaved inside quarters */
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* four rows: a[i + j] has columns 4 q + j in quarter q */
        a[i] = _mm512_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm512_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int j = 0; j < 4; j++) { /* quarters of the four groups of rows */
        vf lo01 = _mm512_shuffle_f32x4(a[j], a[j + 4], 0x44), hi01 = _mm512_shuffle_f32x4(a[j], a[j + 4], 0xee);
        vf lo23 = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0x44),
           hi23 = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0xee);
        b[j] = _mm512_shuffle_f32x4(lo01, lo23, 0x88);
        b[j + 4] = _mm512_shuffle_f32x4(lo01, lo23, 0xdd);
        b[j + 8] = _mm512_shuffle_f32x4(hi01, hi23, 0x88);
        b[j + 12] = _mm512_shuffle_f32x4(hi01, hi23, 0xdd);
    }
    for (int i = 0; i < 16; i++) a[i] = b[i];
}

/* ---- over lanes: first 0+8, 1+9 ..., then the tree of simd_avx2.h ---- */
typedef __m128 v4;
WS_INLINE __m256 v_fold(vf a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
WS_INLINE v4 v_sum4(vf a, vf b, vf c, vf d) {
    __m256 a8 = v_fold(a), b8 = v_fold(b), c8 = v_fold(c), d8 = v_fold(d);
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a8, b8), _mm256_unpackhi_ps(a8, b8));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c8, d8), _mm256_unpackhi_ps(c8, d8));
    __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
/* out[0] = v_sum4(a[0], ..., a[3]), out[1] = v_sum4(b[0], ..., b[3]), the same sums in fewer instructions: one port of the
 * CPU shuffles wide registers, a blend goes through two. */
WS_INLINE void v_sum8(const vf a[4], const vf b[4], v4 out[2]) {
    vf s[4];
    for (int i = 0; i < 4; i++) /* a's eight sums in the lower half, b's in the upper one */
        s[i] = _mm512_add_ps(_mm512_mask_blend_ps(0xff00, a[i], b[i]), _mm512_shuffle_f32x4(a[i], b[i], 0x4e));
    vf ab = _mm512_add_ps(_mm512_unpacklo_ps(s[0], s[1]), _mm512_unpackhi_ps(s[0], s[1]));
    vf cd = _mm512_add_ps(_mm512_unpacklo_ps(s[2], s[3]), _mm512_unpackhi_ps(s[2], s[3]));
    vf t = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    t = _mm512_add_ps(t, _mm512_shuffle_f32x4(t, t, 0xb1)); /* quarters 0 + 1 and 2 + 3 */
    out[0] = _mm512_castps512_ps128(t), out[1] = _mm512_extractf32x4_ps(t, 2);
}
WS_INLINE float v_sum(vf a) { return _mm_cvtss_f32(v_sum4(a, a, a, a)); }
WS_INLINE float v_top(vf a) {
    __m256 m8 = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
WS_INLINE __m256 v_fold_top(vf a) { return _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
WS_INLINE v4 v_top4(vf a, vf b, vf c, vf d) {
    __m256 a8 = v_fold_top(a), b8 = v_fold_top(b), c8 = v_fold_top(c), d8 = v_fold_top(d);
    __m256 ab = _mm256_max_ps(_mm256_unpacklo_ps(a8, b8), _mm256_unpackhi_ps(a8, b8));
    __m256 cd = _mm256_max_ps(_mm256_unpacklo_ps(c8, d8), _mm256_unpackhi_ps(c8, d8));
    __m256 m = _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
}
WS_INLINE v4 v4_zero(void) { return _mm_setzero_ps(); }
WS_INLINE v4 v4_load(const float *p) { return _mm_loadu_ps(p); }
WS_INLINE void v4_store(float *p, v4 a) { _mm_storeu_ps(p, a); }
WS_INLINE vf v_of4(v4 a) { return _mm512_castps128_ps512(a); }
WS_INLINE v4 v4_of(vf a) { return _mm512_castps512_ps128(a); }
WS_INLINE v4 v4_add(v4 a, v4 b) { return _mm_add_ps(a, b); }

/* ---- double sums ---- */
WS_INLINE vd vd_zero(void) { return (vd){_mm512_setzero_pd(), _mm512_setzero_pd()}; }
WS_INLINE vd vd_of(vf a) {
    return (vd){_mm512_cvtps_pd(_mm512_castps512_ps256(a)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1))};
}
WS_INLINE vd vd_add(vd a, vd b) { return (vd){_mm512_add_pd(a.lo, b.lo), _mm512_add_pd(a.hi, b.hi)}; }
WS_INLINE vd vd_fma(vd a, vd b, vd c) {
    return (vd){_mm512_fmadd_pd(a.lo, b.lo, c.lo), _mm512_fmadd_pd(a.hi, b.hi, c.hi)};
}
WS_INLINE double vd_sum(vd a) {
    double t[8];
    _mm512_storeu_pd(t, _mm512_add_pd(a.lo, a.hi));
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

/* ---- stored numbers, LANES of them ---- */
WS_INLINE vf v_bf16(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
WS_INLINE vf v_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
WS_INLINE vf v_i8(const void *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p))); }
WS_INLINE __m512i v_nibble_bits(const void *p, int high) {
    __m512i b = _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
    return high ? _mm512_srli_epi32(b, 4) : _mm512_and_si512(b, _mm512_set1_epi32(15));
}
WS_INLINE vf v_nibble(const void *p, int high) { return _mm512_cvtepi32_ps(v_nibble_bits(p, high)); }
/* Of 16 numbers those that the low or the high nibbles of 16 bytes say; no other bits of a lane are looked at. */
WS_INLINE vf v_iota(void) { return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }
WS_INLINE vf v_pick_nibble(vf table, const void *p, int high) {
    __m512i b = _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
    return _mm512_permutexvar_ps(high ? _mm512_srli_epi32(b, 4) : b, table);
}
WS_INLINE vf v_nibble5(const void *p, int high, uint32_t word, int first) {
    __mmask16 set = (__mmask16)(word >> first);
    __m512i b = v_nibble_bits(p, high);
    return _mm512_cvtepi32_ps(_mm512_mask_or_epi32(b, set, b, _mm512_set1_epi32(16)));
}
/* One fp16 in all lanes; two that stand side by side. */
WS_INLINE vf v_half(const void *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)h));
}
WS_INLINE void v_halves(const void *p, vf *first, vf *second) {
    uint32_t h;
    memcpy(&h, p, 4);
    vf both = _mm512_cvtph_ps(_mm256_set1_epi32((int)h));
    *first = _mm512_moveldup_ps(both), *second = _mm512_movehdup_ps(both);
}
#endif
