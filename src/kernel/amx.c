/* src/kernel/amx.c - products of bf16 pairs in tiles; the only file compiled with -mamx-tile and -mamx-bf16.  All else of
 * the set is avx512.c's. */
#if defined(__x86_64__)
#include "kernel/kernel.h"
#include "kernel/simd_amx.h"
#include "kernel/lanes_tile.h"
#include "kernel/sets.h"
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* AMX-BF16 and AMX-TILE: leaf 7, EDX bits 22 and 24.  The eight kilobytes of tile registers are saved only for a process
 * that has asked Linux for them (5.16 and later); threads inherit it. */
static int usable(void) {
#if defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;
    return ws_bf16_avx512.usable() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 0;
#endif
}

/* Of few rows a tile is mostly empty: whole decode steps of SmolLM2, the better of two, tokens/s in fp32 and in tiles, at 3, 4,
 * 5, 6, 8 rows with Q4_1 weights 317 212, 329 166, 258 245, 341 420, 370 369; Q8_0 184 116, 217 121, 185 182, 180 202, 181 435;
 * BF16 146 90, 142 121, 126 151, 142 159, 118 232; F32 74 53, 95 73, 87 80, 81 87, 94 134. */
static int fast(int64_t rows) { return rows > 4; }

const ws_bf16_kernels ws_bf16_amx = WS_TILE_TABLE(usable, fast);
#else
typedef int ws_not_x86;
#endif
