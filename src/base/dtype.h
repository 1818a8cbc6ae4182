/* src/base/dtype.h - the number types that weights are stored in.
 * F32, F16, BF16 are plain; the GGUF block types hold 32 weights in a block with one fp16 scale d (and minimum m):
 *     Q8_0: d, 32 x int8              w = d q              Q4_0: d, 16 bytes of nibbles       w = d (q - 8)
 *     Q4_1: d, m, 16 bytes            w = d q + m          Q5_0: d, 4 bytes high bits, 16 b.  w = d (q - 16)
 *     Q5_1: d, m, 4 bytes, 16 bytes   w = d q + m
 * The low nibble of byte j is weight j, its high nibble weight j + 16.
 * The K types hold 256 weights in a block, with small whole-number scales s (and minima m) for parts of it:
 *     Q4_K: d, dmin, 12 bytes, 128 bytes of nibbles             8 parts of 32: w = (d s) q - (dmin m)
 *     Q5_K: d, dmin, 12 bytes, 32 bytes of high bits, 128 bytes 8 parts of 32: w = (d s) q - (dmin m)
 *     Q6_K: 128 bytes of nibbles, 64 bytes of high bits, 16 x int8 s, d       16 parts of 16: w = (d s) (q - 32)
 * Source: the `gguf` package's quants module. */
#ifndef WS_BASE_DTYPE_H
#define WS_BASE_DTYPE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum ws_dtype {
    WS_F32,
    WS_F16,
    WS_BF16,
    WS_Q8_0,
    WS_Q4_0,
    WS_Q4_1,
    WS_Q5_0,
    WS_Q5_1,
    WS_Q4_K,
    WS_Q5_K,
    WS_Q6_K,
    WS_F64,
    WS_I64,
    WS_I32,
    WS_I16,
    WS_I8,
    WS_U8,
    WS_BOOL, /* may stand in files; never multiplied */
    WS_DTYPE_COUNT
} ws_dtype;

typedef struct ws_dtype_info {
    const char *name; /* "BF16" */
    int block;        /* weights in a block: 1, 32 or 256 */
    int bytes;        /* bytes of a block */
    int is_weight;    /* kernels can read it */
} ws_dtype_info;
extern const ws_dtype_info ws_dtypes[WS_DTYPE_COUNT];

static inline float ws_bf16_f32(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
/* Round to nearest even; NaN stays a quiet NaN. */
static inline uint16_t ws_f32_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
float ws_f16_f32(uint16_t h);
const float *ws_f16_all(void); /* [1 << 16], the value of each, for loops that meet one every few cycles */
uint16_t ws_f32_f16(float f);  /* nearest even */

/* Bytes of `n` consecutive weights; n must be a multiple of the block (checked by readers of files). */
static inline size_t ws_dtype_bytes(ws_dtype t, int64_t n) {
    return (size_t)(n / ws_dtypes[t].block) * (size_t)ws_dtypes[t].bytes;
}
/* dst[n] = the n weights at src, widened to fp32 (scalar; the kernels have faster ones). */
void ws_dtype_to_f32(float *dst, const void *src, ws_dtype t, int64_t n);
/* dst[n] = weights first .. first + n - 1 of what starts at src; they may begin and end inside blocks. */
void ws_dtype_part_f32(float *dst, const void *src, ws_dtype t, int64_t first, int64_t n);
/* The scales of a Q4_K or Q5_K block: 12 bytes hold 8 scales and 8 minima of 6 bits; out = scales, then minima. */
static inline void ws_dtype_k_scales(const void *twelve, uint8_t out[16]) {
    uint32_t a, b, c, four[4]; /* four bytes at a time: a scales 0-3, b minima 0-3, c low halves of the others */
    memcpy(&a, twelve, 4), memcpy(&b, (const char *)twelve + 4, 4), memcpy(&c, (const char *)twelve + 8, 4);
    four[0] = a & 0x3f3f3f3f, four[2] = b & 0x3f3f3f3f;
    four[1] = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), four[3] = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    memcpy(out, four, 16);
}
#endif
