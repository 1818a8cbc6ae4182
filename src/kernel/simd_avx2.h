/* src/kernel/simd_avx2.h - the vocabulary of the lanes_*.h files for 8 lanes: AVX2, FMA, F16C.
 * vf: a vector of floats.  _n: the first n lanes (1 <= n < LANES) from memory, the others 0 or left alone.
 * v_max and v_min return their SECOND operand where one of the two is NaN. */
#ifndef WS_KERNEL_SIMD_H
#define WS_KERNEL_SIMD_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#define LANES     8
#define WS_INLINE static inline __attribute__((always_inline, unused))

typedef __m256 vf;
typedef struct vd { /* the same lanes in double */
    __m256d lo, hi;
} vd;
typedef __m256 vmask;

WS_INLINE __m256i v_first(int64_t n) { /* all ones in the first n lanes */
    static const int32_t edge[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(edge + 8 - n));
}
WS_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
WS_INLINE vf v_set(float a) { return _mm256_set1_ps(a); }
WS_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
WS_INLINE vf v_load_n(const float *p, int64_t n) { return _mm256_maskload_ps(p, v_first(n)); }
WS_INLINE void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
WS_INLINE void v_store_n(float *p, vf a, int64_t n) { _mm256_maskstore_ps(p, v_first(n), a); }
WS_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
WS_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
WS_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
WS_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
WS_INLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
WS_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
WS_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
WS_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }   /* a b + c */
WS_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); } /* c - a b */
WS_INLINE vf v_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
WS_INLINE vf v_pow2(vf a) { /* 2^a for whole a in [-126, 127] */
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127)), 23));
}
/* a 2^k, rounded once, for whole k in [-151, 129] and a in [0.5, 2]: in two factors, since 2^k alone may not be normal. */
WS_INLINE vf v_times_pow2(vf a, vf k) {
    vf half = v_round(v_mul(k, v_set(0.5f)));
    return v_mul(v_mul(a, v_pow2(half)), v_pow2(v_sub(k, half)));
}
/* Lanes < n keep a, the others become `fill`; n may be anything. */
WS_INLINE vf v_keep(vf a, int n, vf fill) {
    __m256i in = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_blendv_ps(fill, a, _mm256_castsi256_ps(in));
}
WS_INLINE vmask v_no_nan(void) { return _mm256_setzero_ps(); }
WS_INLINE vmask v_or_nan(vmask m, vf a) { return _mm256_or_ps(m, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
WS_INLINE int v_any_nan(vmask m) { return _mm256_movemask_ps(m) != 0; }
WS_INLINE float v_first_lane(vf a) { return _mm256_cvtss_f32(a); }

/* LANES vectors as the rows of a square: its transpose. */
WS_INLINE void v_transpose(vf a[LANES]) {
    vf b[LANES];
    for (int i = 0; i < 8; i += 2) { /* pairs of rows, interleaved inside halves */
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) { /* four rows */
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) { /* the halves */
        vf low = a[i], high = a[i + 4];
        a[i] = _mm256_permute2f128_ps(low, high, 0x20);
        a[i + 4] = _mm256_permute2f128_ps(low, high, 0x31);
    }
}

/* ---- over lanes: one fixed tree, ((0+2)+(1+3)) + ((4+6)+(5+7)) ---- */
typedef __m128 v4; /* four floats */
WS_INLINE v4 v_sum4(vf a, vf b, vf c, vf d) {
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)); /* a0+a2 b0+b2 a1+a3 b1+b3 */
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
WS_INLINE float v_sum(vf a) { return _mm_cvtss_f32(v_sum4(a, a, a, a)); }
WS_INLINE float v_top(vf a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
WS_INLINE v4 v_top4(vf a, vf b, vf c, vf d) {
    __m256 ab = _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_max_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256 m = _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
}
WS_INLINE v4 v4_zero(void) { return _mm_setzero_ps(); }
WS_INLINE v4 v4_load(const float *p) { return _mm_loadu_ps(p); }
WS_INLINE void v4_store(float *p, v4 a) { _mm_storeu_ps(p, a); }
WS_INLINE vf v_of4(v4 a) { return _mm256_castps128_ps256(a); } /* the other lanes: anything */
WS_INLINE v4 v4_of(vf a) { return _mm256_castps256_ps128(a); } /* the first four lanes */
WS_INLINE v4 v4_add(v4 a, v4 b) { return _mm_add_ps(a, b); }

/* ---- double sums ---- */
WS_INLINE vd vd_zero(void) { return (vd){_mm256_setzero_pd(), _mm256_setzero_pd()}; }
WS_INLINE vd vd_of(vf a) {
    return (vd){_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1))};
}
WS_INLINE vd vd_add(vd a, vd b) { return (vd){_mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi)}; }
WS_INLINE vd vd_fma(vd a, vd b, vd c) {
    return (vd){_mm256_fmadd_pd(a.lo, b.lo, c.lo), _mm256_fmadd_pd(a.hi, b.hi, c.hi)};
}
WS_INLINE double vd_sum(vd a) {
    double t[4];
    _mm256_storeu_pd(t, _mm256_add_pd(a.lo, a.hi));
    return (t[0] + t[2]) + (t[1] + t[3]);
}

/* ---- stored numbers, LANES of them ---- */
WS_INLINE vf v_bf16(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
WS_INLINE vf v_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
WS_INLINE vf v_i8(const void *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p))); }
WS_INLINE __m256i v_nibble_bits(const void *p, int high) {
    __m256i b = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
    return high ? _mm256_srli_epi32(b, 4) : _mm256_and_si256(b, _mm256_set1_epi32(15));
}
WS_INLINE vf v_nibble(const void *p, int high) { return _mm256_cvtepi32_ps(v_nibble_bits(p, high)); }
/* A nibble with bit (first + lane) of `word` above it. */
WS_INLINE vf v_nibble5(const void *p, int high, uint32_t word, int first) {
    __m256i at = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
    __m256i bit = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)word), at), _mm256_set1_epi32(1));
    return _mm256_cvtepi32_ps(_mm256_or_si256(v_nibble_bits(p, high), _mm256_slli_epi32(bit, 4)));
}
/* One fp16 in all lanes; two that stand side by side. */
WS_INLINE vf v_half(const void *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)h));
}
WS_INLINE void v_halves(const void *p, vf *first, vf *second) {
    vf both = _mm256_cvtph_ps(_mm_castps_si128(_mm_broadcast_ss(p)));
    *first = _mm256_moveldup_ps(both), *second = _mm256_movehdup_ps(both);
}
#endif
