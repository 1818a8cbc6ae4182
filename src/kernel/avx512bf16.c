/* src/kernel/avx512bf16.c - products of bf16 pairs; the only file compiled with -mavx512bf16.  The table of the set stands
 * in avx512.c: all else is that set's. */
#if defined(__x86_64__)
#include "kernel/kernel.h"
#include "kernel/simd_avx512bf16.h"
#include "kernel/lanes_bf16.h"
#include "kernel/sets.h"
#include <cpuid.h>

/* AVX512_BF16: leaf 7, subleaf 1, EAX bit 5; the registers are asked for by the set. */
static int usable(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}

/* Intel's cores start one VDPBF16PS every second cycle and two fp32 multiply-adds in each, so pairs are the slower way. */
static int fast(int64_t rows) {
    (void)rows;
    return !__builtin_cpu_is("intel");
}

const ws_bf16_kernels ws_bf16_avx512 = WS_BF16_TABLE(usable, fast);
#else
typedef int ws_not_x86;
#endif
