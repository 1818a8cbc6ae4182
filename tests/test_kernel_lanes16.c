/* The 16-lane bodies of the kernels, on any machine: compiled over a plain C vocabulary, they pass the tests of the kernel
 * sets (test_kernel_gemm, test_kernel_vector, test_ops_attention). */
#include "simd_plain16.h"
#include "kernel/kernel.h"
#include "kernel/lanes_few.h"
#include "kernel/lanes_nn.h"
#include "kernel/lanes_vector.h"
#include "kernel/sets.h"

static int usable(void) { return ws_kernels_avx2.usable(); } /* the Makefile compiles this file for AVX2 */
static const ws_kernels sixteen = WS_LANES_TABLE("plain16");
static const ws_kernels *const only_sixteen[] = {&sixteen, NULL};
#define KERNEL_SETS only_sixteen

int gemm_main(void);
int vector_main(void);
int attention_main(void);
#define main gemm_main
#include "test_kernel_gemm.c"
#undef main
#define main vector_main
#include "test_kernel_vector.c"
#undef main
#define main attention_main
#include "test_ops_attention.c"
#undef main

int main(void) { return gemm_main() | vector_main() | attention_main(); }
