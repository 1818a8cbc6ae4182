/* src/kernel/simd_avx512bf16.h - what AVX-512 BF16 adds to simd_avx512.h: vectors of 32 numbers in bf16, or 16 pairs. */
#ifndef WS_KERNEL_SIMD_BF16_H
#define WS_KERNEL_SIMD_BF16_H
#include "kernel/simd_avx512.h"

typedef __m512bh vb;
WS_INLINE vb vb_load(const void *p) { return (vb)_mm512_loadu_si512(p); }
/* n < 32 numbers, 0 after them. */
WS_INLINE vb vb_load_n(const void *p, int64_t n) { return (vb)_mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), p); }
WS_INLINE void vb_store(void *p, vb a) { _mm512_storeu_si512(p, (__m512i)a); }
WS_INLINE vb vb_zero(void) { return (vb)_mm512_setzero_si512(); }
/* The pair at p in every lane. */
WS_INLINE vb vb_pair(const void *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (vb)_mm512_set1_epi32(pair);
}
/* Rounded to nearest even: numbers 0 .. 15 from lo, 16 .. 31 from hi. */
WS_INLINE vb vb_round(vf lo, vf hi) { return (vb)_mm512_cvtne2ps_pbh(hi, lo); }
/* A table of 16 numbers, rounded. */
WS_INLINE vb vb_levels(vf a) { return (vb)_mm512_castsi256_si512((__m256i)_mm512_cvtneps_pbh(a)); }
/* The low nibbles of 16 bytes, then the high ones. */
WS_INLINE __m512i vb_nibbles(const void *p) {
    const __m512i words = _mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(_mm_loadu_si128(p)));
    const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    return _mm512_and_si512(_mm512_srlv_epi16(words, shift), _mm512_set1_epi16(15));
}
/* 32 numbers by them from such a table. */
WS_INLINE vb vb_pick_nibbles(vb table, const void *p) {
    return (vb)_mm512_permutexvar_epi16(vb_nibbles(p), (__m512i)table);
}
/* The same from 32 numbers, bit i of the word being the fifth bit of number i. */
WS_INLINE vb vb_pick_nibbles5(vb table, const void *p, uint32_t word) {
    const __m512i four = vb_nibbles(p);
    return (vb)_mm512_permutexvar_epi16(_mm512_mask_add_epi16(four, (__mmask32)word, four, _mm512_set1_epi16(16)),
                                        (__m512i)table);
}
/* 32 numbers by 32 bytes, each below 32. */
WS_INLINE vb vb_pick_bytes(vb table, const void *p) {
    return (vb)_mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(_mm256_loadu_si256(p)), (__m512i)table);
}
/* Lane l: acc + a[2l+1] b[2l+1], rounded, then + a[2l] b[2l]. */
WS_INLINE vf vb_dot(vf acc, vb a, vb b) { return _mm512_dpbf16_ps(acc, a, b); }
/* out[0] = a0 b0 a1 b1 ... a15 b15, out[1] = a16 b16 ... */
WS_INLINE void vb_interleave(vb a, vb b, vb out[2]) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    out[0] = (vb)_mm512_permutex2var_epi16((__m512i)a, low, (__m512i)b);
    out[1] = (vb)_mm512_permutex2var_epi16((__m512i)a, high, (__m512i)b);
}
#endif
