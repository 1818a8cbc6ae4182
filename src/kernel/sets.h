/* src/kernel/sets.h - the kernel sets that exist; for kernel.c and the tests. */
#ifndef WS_KERNEL_SETS_H
#define WS_KERNEL_SETS_H
#include "kernel/kernel.h"
extern const ws_kernels ws_kernels_ref;
#if defined(__x86_64__)
extern const ws_kernels ws_kernels_avx2, ws_kernels_avx512, ws_kernels_avx512bf16, ws_kernels_amx;
extern const ws_bf16_kernels ws_bf16_avx512, ws_bf16_amx;
#endif
#endif
