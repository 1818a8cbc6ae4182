/* The 16-lane bodies of the kernels, on any machine: compiled over a plain C vocabulary, they pass the tests of the kernel
 * sets (test_kernel_gemm, test_kernel_vector, test_kernel_bf16, test_ops_attention). */
#include "simd_plain16.h"
#include "kernel/kernel.h"
#include "kernel/lanes_few.h"
#include "kernel/lanes_nn.h"
#include "kernel/lanes_vector.h"
#include "kernel/lanes_bf16.h"
#include "kernel/lanes_tile.h"
#include "kernel/sets.h"

static int usable(void) { return ws_kernels_avx2.usable(); } /* the Makefile compiles this file for AVX2 */
static int fast(int64_t rows) { return rows > 2; }
static const ws_bf16_kernels pairs = WS_BF16_TABLE(usable, fast);
static const ws_kernels sixteen = WS_LANES_TABLE("plain16", usable, &pairs);
static const ws_bf16_kernels tiles = WS_TILE_TABLE(usable, fast);
static const ws_kernels with_tiles = WS_LANES_TABLE("plain16", usable, &tiles);
/* The sets differ in bf16 alone; the others' tests take the last one. */
static const ws_kernels *const plain_sets[] = {&with_tiles, &sixteen, NULL};
static int first_set = 1;
#define KERNEL_SETS (plain_sets + first_set)

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

int main(void) {
    int failed = gemm_main() | vector_main() | attention_main();
    first_set = 0;
    return failed | bf16_main();
}
