/* src/kernel/avx512.c - the kernels in 16 lanes; the only file compiled with -mavx512f and its companions. */
#if defined(__x86_64__)
#include "kernel/kernel.h"
#include "kernel/simd_avx512.h"
#include "kernel/lanes_few.h"
#include "kernel/lanes_nn.h"
#include "kernel/lanes_vector.h"
#include "kernel/sets.h"

/* __builtin_cpu_supports also asks whether the operating system saves the wide registers. */
static int usable(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("fma");
}

static int usable_bf16(void) { return usable() && ws_bf16_avx512.usable(); }
static int usable_amx(void) { return usable() && ws_bf16_amx.usable(); }

const ws_kernels ws_kernels_avx512 = WS_LANES_TABLE("avx512", usable, NULL);
const ws_kernels ws_kernels_avx512bf16 = WS_LANES_TABLE("avx512bf16", usable_bf16, &ws_bf16_avx512);
const ws_kernels ws_kernels_amx = WS_LANES_TABLE("amx", usable_amx, &ws_bf16_amx);
#else
typedef int ws_not_x86;
#endif
