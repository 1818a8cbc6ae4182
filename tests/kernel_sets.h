/* tests/kernel_sets.h - for tests of kernels: walk every set that this machine can run, and numbers to feed them. */
#ifndef WS_TESTS_KERNEL_SETS_H
#define WS_TESTS_KERNEL_SETS_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rng_state = 88172645463325252ULL;
static inline uint64_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}
static inline float uniform(float lo, float hi) { return lo + (hi - lo) * (float)(rnd() >> 40) * 0x1p-24f; }
static inline float *floats(int64_t n, float lo, float hi) {
    float *p = malloc((size_t)(n ? n : 1) * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) p[i] = uniform(lo, hi);
    return p;
}

/* Random weights [rows, cols] in any stored type: random bits for the quants, sane scales. */
static inline ws_weight weights(ws_dtype t, int64_t rows, int64_t cols) {
    size_t bytes = ws_dtype_bytes(t, rows * cols);
    uint8_t *p = malloc(bytes ? bytes : 1);
    assert_non_null(p);
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)rnd();
    int64_t blocks = rows * cols / ws_dtypes[t].block;
    for (int64_t i = 0; i < blocks; i++) {
        uint8_t *b = p + (size_t)i * (size_t)ws_dtypes[t].bytes;
        float f = uniform(-1, 1), size = t < WS_Q8_0 ? 1 : t < WS_Q4_K ? 16 : 1024;
        uint16_t h = ws_f32_f16(f / size), m = ws_f32_f16(uniform(-1, 1) / (t < WS_Q4_K ? 1 : 64));
        if (t == WS_F32)
            memcpy(b, &f, 4);
        else if (t == WS_BF16)
            h = ws_f32_bf16(f), memcpy(b, &h, 2);
        else
            memcpy(b + (t == WS_Q6_K ? 208 : 0), &h, 2);
        if (t == WS_Q4_1 || t == WS_Q5_1 || t == WS_Q4_K || t == WS_Q5_K) memcpy(b + 2, &m, 2);
    }
    return (ws_weight){.data = p, .type = t, .rows = rows, .cols = cols, .row_bytes = ws_dtype_bytes(t, cols)};
}

static const ws_dtype weight_types[] = {WS_F32,  WS_F16,  WS_BF16, WS_Q8_0, WS_Q4_0, WS_Q4_1,
                                        WS_Q5_0, WS_Q5_1, WS_Q4_K, WS_Q5_K, WS_Q6_K};
enum { N_TYPES = sizeof weight_types / sizeof *weight_types };

/* Sets in plain C: slow, so a test may try fewer numbers on them. */
static inline int slow(const ws_kernels *k) { return !strcmp(k->name, "ref") || !strcmp(k->name, "plain16"); }

/* The sets to test: those compiled in that this CPU can run, or what the test defines before it includes this file. */
#ifndef KERNEL_SETS
#define KERNEL_SETS ws_kernels_all
#endif
#define EACH_SET(k)                                                                                                    \
    for (int set_ = 0; KERNEL_SETS[set_]; set_++)                                                                      \
        for (const ws_kernels *k = KERNEL_SETS[set_]; k && k->usable() && (ws_k = *k, 1); k = NULL)
#endif
