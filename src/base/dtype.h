/* src/base/dtype.h - the number types that weights are stored in.
 * F32, F16, BF16 are plain; the GGUF block types hold 32 weights in a block with one fp16 scale d (and minimum m):
 *     Q8_0: d, 32 x int8              w = d q              Q4_0: d, 16 bytes of nibbles       w = d (q - 8)
 *     Q4_1: d, m, 16 bytes            w = d q + m          Q5_0: d, 4 bytes high bits, 16 b.  w = d (q - 16)
 *     Q5_1: d, m, 4 bytes, 16 bytes   w = d q + m
 * The low nibble of byte j is weight j, its high nibble weight j + 16.  Source: the `gguf` package's quants module. */
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
    int block;        /* weights in a block: 1 or 32 */
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
uint16_t ws_f32_f16(float f); /* nearest even */

/* Bytes of `n` consecutive weights; n must be a multiple of the block (checked by readers of files). */
static inline size_t ws_dtype_bytes(ws_dtype t, int64_t n) {
    return (size_t)(n / ws_dtypes[t].block) * (size_t)ws_dtypes[t].bytes;
}
/* dst[n] = the n weights at src, widened to fp32 (scalar; the kernels have faster ones). */
void ws_dtype_to_f32(float *dst, const void *src, ws_dtype t, int64_t n);
#endif
