#include "base/dtype.h"
#include "base/err.h"
#include <pthread.h>

const ws_dtype_info ws_dtypes[WS_DTYPE_COUNT] = {
    [WS_F32] = {"F32", 1, 4, 1},       [WS_F16] = {"F16", 1, 2, 1},       [WS_BF16] = {"BF16", 1, 2, 1},
    [WS_Q8_0] = {"Q8_0", 32, 34, 1},   [WS_Q4_0] = {"Q4_0", 32, 18, 1},   [WS_Q4_1] = {"Q4_1", 32, 20, 1},
    [WS_Q5_0] = {"Q5_0", 32, 22, 1},   [WS_Q5_1] = {"Q5_1", 32, 24, 1},   [WS_Q4_K] = {"Q4_K", 256, 144, 1},
    [WS_Q5_K] = {"Q5_K", 256, 176, 1}, [WS_Q6_K] = {"Q6_K", 256, 210, 1}, [WS_F64] = {"F64", 1, 8, 0},
    [WS_I64] = {"I64", 1, 8, 0},       [WS_I32] = {"I32", 1, 4, 0},       [WS_I16] = {"I16", 1, 2, 0},
    [WS_I8] = {"I8", 1, 1, 0},         [WS_U8] = {"U8", 1, 1, 0},         [WS_BOOL] = {"BOOL", 1, 1, 0},
};

float ws_f16_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 1023, u;
    if (e == 31)
        u = sign | 0x7f800000u | (m << 13);
    else if (e)
        u = sign | ((e + 112) << 23) | (m << 13);
    else { /* subnormal: m * 2^-24 is exact in fp32 */
        float f = (float)m * 0x1p-24f;
        memcpy(&u, &f, 4);
        u |= sign;
    }
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static float f16_all[1 << 16];
static void fill_f16(void) {
    for (int h = 0; h < 1 << 16; h++) f16_all[h] = ws_f16_f32((uint16_t)h);
}
const float *ws_f16_all(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_f16);
    return f16_all;
}

uint16_t ws_f32_f16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)((u >> 16) & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to 65536 or more */
    if (u < 0x38800000) {                                  /* below 2^-14: subnormal, in units of 2^-24 */
        float a;
        memcpy(&a, &u, 4);
        a += 0.5f; /* 0.5 has ulp 2^-24: the addition rounds to nearest even there */
        memcpy(&u, &a, 4);
        return (uint16_t)(sign | (u - 0x3f000000));
    }
    u += 0xfff + ((u >> 13) & 1);
    return (uint16_t)(sign | ((u - 0x38000000) >> 13));
}

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

/* Blocks of 256.  The products d s and (d s) q are exact in fp32, so each weight is rounded at most once. */
static void k_block(float *dst, const uint8_t *p, ws_dtype t) {
    if (t == WS_Q6_K) {
        float d = ws_f16_f32(u16(p + 208));
        for (int i = 0; i < 256; i++) {
            int half = i / 128, at = i % 128, low = p[64 * half + at % 64] >> (at / 64 * 4) & 15,
                high = p[128 + 32 * half + at % 32] >> (at / 32 * 2) & 3;
            dst[i] = d * (float)(int8_t)p[192 + i / 16] * (float)((low | high << 4) - 32);
        }
        return;
    }
    uint8_t s[16];
    float d = ws_f16_f32(u16(p)), m = ws_f16_f32(u16(p + 2));
    const uint8_t *q = p + (t == WS_Q5_K ? 48 : 16);
    ws_dtype_k_scales(p + 4, s);
    for (int i = 0; i < 256; i++) {
        int part = i / 32, v = q[i / 64 * 32 + i % 32] >> (part % 2 * 4) & 15;
        if (t == WS_Q5_K) v |= (p[16 + i % 32] >> part & 1) << 4;
        dst[i] = d * (float)s[part] * (float)v - m * (float)s[8 + part];
    }
}

void ws_dtype_to_f32(float *dst, const void *src, ws_dtype t, int64_t n) {
    const uint8_t *p = src;
    switch (t) {
    case WS_F32: memcpy(dst, src, (size_t)n * 4); return;
    case WS_F16:
        for (int64_t i = 0; i < n; i++) dst[i] = ws_f16_f32(u16(p + 2 * i));
        return;
    case WS_BF16:
        for (int64_t i = 0; i < n; i++) dst[i] = ws_bf16_f32(u16(p + 2 * i));
        return;
    case WS_F64:
        for (int64_t i = 0; i < n; i++) {
            double d;
            memcpy(&d, p + 8 * i, 8);
            dst[i] = (float)d;
        }
        return;
    case WS_Q8_0:
    case WS_Q4_0:
    case WS_Q4_1:
    case WS_Q5_0:
    case WS_Q5_1: break;
    case WS_Q4_K:
    case WS_Q5_K:
    case WS_Q6_K:
        for (int64_t b = 0; b < n / 256; b++) k_block(dst + 256 * b, p + (size_t)b * (size_t)ws_dtypes[t].bytes, t);
        return;
    default: BUG("type %s is not a weight type", ws_dtypes[t].name);
    }
    for (int64_t b = 0; b < n / 32; b++, p += ws_dtypes[t].bytes, dst += 32) {
        float d = ws_f16_f32(u16(p)), m = t == WS_Q4_1 || t == WS_Q5_1 ? ws_f16_f32(u16(p + 2)) : 0;
        if (t == WS_Q8_0) {
            for (int i = 0; i < 32; i++) dst[i] = d * (float)(int8_t)p[2 + i];
            continue;
        }
        int five = t == WS_Q5_0 || t == WS_Q5_1;
        const uint8_t *high = p + (t == WS_Q5_1 ? 4 : 2), *q = p + (t == WS_Q4_0   ? 2
                                                                    : t == WS_Q4_1 ? 4
                                                                    : t == WS_Q5_0 ? 6
                                                                                   : 8);
        for (int i = 0; i < 32; i++) {
            int v = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
            if (five) v |= (high[i / 8] >> (i % 8) & 1) << 4;
            if (t == WS_Q4_0)
                dst[i] = d * (float)(v - 8);
            else if (t == WS_Q5_0)
                dst[i] = d * (float)(v - 16);
            else
                dst[i] = d * (float)v + m;
        }
    }
}

void ws_dtype_part_f32(float *dst, const void *src, ws_dtype t, int64_t first, int64_t n) {
    const int64_t size = ws_dtypes[t].block;
    const char *p = src;
    float block[256];
    for (int64_t at = first, end = first + n; at < end;) {
        const int64_t begin = at / size * size, stop = begin + size < end ? begin + size : end;
        if (at == begin && end - at >= size) { /* whole blocks from here */
            const int64_t whole = (end - at) / size * size;
            ws_dtype_to_f32(dst + (at - first), p + ws_dtype_bytes(t, at), t, whole);
            at += whole;
            continue;
        }
        ws_dtype_to_f32(block, p + ws_dtype_bytes(t, begin), t, size);
        memcpy(dst + (at - first), block + (at - begin), (size_t)(stop - at) * sizeof *dst);
        at = stop;
    }
}
