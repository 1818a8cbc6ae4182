/* The 16-lane bodies of the kernels, on any machine: compiled over a plain C vocabulary, they pass the tests of the kernel
 * sets (test_kernel_gemm, test_kernel_vector, test_kernel_bf16, test_ops_attention). */
#include "simd_plain16.h"
#include "kernel/kernel.h"
#include "kernel/lanes_few.h"
#include "kernel/lanes_nn.h"
#include "kernel/lanes_vector.h"
#include "kernel/lanes_bf16.h"
#include "kernel/sets.h"

static int usable(void) { return ws_kernels_avx2.usable(); } /* the Makefile compiles this file for AVX2 */
static const ws_bf16_kernels pairs = WS_BF16_TABLE(usable);
static const ws_kernels sixteen = WS_LANES_TABLE("plain16", usable, &pairs);
static const ws_kernels *const only_sixteen[] = {&sixteen, NULL};
#define KERNEL_SETS only_sixteen

int gemm_main(void);
int vector_main(void);
int attention_main(void);
int bf16_main(void);
#define main gemm_main
#include "test_kernel_gemm.c"
#undef main
#define main vector_main
#include "test_kernel_vector.c"
#undef main
#define main bf16_main
#include "test_kernel_bf16.c"
#undef main
#define main attention_main
#include "test_ops_attention.c"
#undef main

int main(void) { return gemm_main() | vector_main() | bf16_main() | attention_main(); }
