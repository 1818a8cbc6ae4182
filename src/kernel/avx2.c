/* src/kernel/avx2.c - the kernels in 8 lanes; the only file compiled with -mavx2 -mfma -mf16c. */
#if defined(__x86_64__)
#include "kernel/kernel.h"
#include "kernel/simd_avx2.h"
#include "kernel/lanes_few.h"
#include "kernel/lanes_nn.h"
#include "kernel/lanes_vector.h"
#include "kernel/sets.h"
#include <cpuid.h>

/* __builtin_cpu_supports also asks whether the operating system saves the wide registers. */
static int usable(void) {
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) &&
           (c & bit_F16C);
}

const ws_kernels ws_kernels_avx2 = WS_LANES_TABLE("avx2", usable, NULL);
#else
typedef int ws_not_x86;
#endif
