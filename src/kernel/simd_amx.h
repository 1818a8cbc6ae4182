/* src/kernel/simd_amx.h - tiles of 16 rows of 64 bytes (AMX-TILE, AMX-BF16), beside the vectors of simd_avx512bf16.h.  A
 * tile's number is a constant 0 .. 7; every tile always has its full size. */
#ifndef WS_KERNEL_SIMD_AMX_H
#define WS_KERNEL_SIMD_AMX_H
#include "kernel/simd_avx512bf16.h"

/* Before the first use in a piece of work, and after its last: tiles that hold something slow down every switch of
 * threads. */
WS_INLINE void t_begin(void) {
    static const struct {
        uint8_t palette, start, zero[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } all = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _Static_assert(sizeof all == 64, "as the instruction reads it");
    _tile_loadconfig(&all);
}
#define t_end()   _tile_release()
#define t_zero(T) _tile_zero(T)
/* gcc's own forms do not say that they read and write memory. */
#define t_load(T, p, bytes_apart)                                                                                      \
    do {                                                                                                               \
        __asm__ volatile("" ::: "memory");                                                                             \
        _tile_loadd(T, p, bytes_apart);                                                                                \
    } while (0)
#define t_store(T, p, bytes_apart)                                                                                     \
    do {                                                                                                               \
        _tile_stored(T, p, bytes_apart);                                                                               \
        __asm__ volatile("" ::: "memory");                                                                             \
    } while (0)
/* C [16, 16] of fp32 += A [16, 32] B, B as [16 pairs of k][16 columns][2]; order of summation in compute.h. */
#define t_dot(C, A, B) _tile_dpbf16ps(C, A, B)

/* The first number of each of 16 rows of 64 bytes. */
WS_INLINE vf v_column(const float *p) {
    const __m512i at = _mm512_slli_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), 4);
    return _mm512_i32gather_ps(at, p, 4);
}
#endif
