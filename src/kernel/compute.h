/* src/kernel/compute.h - the arithmetic of products with a model's own weights.
 *   f32   both sides as they are: ws_gemm_nt and ws_gemm_nn
 *   bf16  both sides rounded to bf16 first (ws_bf16_round); products, sums and all else fp32.  Products with the factors of a
 *         dW that steers are taken likewise (ws_beside); those of adapters in training are fp32
 * Where the kernel set multiplies pairs of bf16 (`ws_kernels.bf16`) this can be twice as fast as f32, with tiles of them many
 * times; elsewhere rounded numbers go through the fp32 kernels, which is slower than f32 and gives the same results up to
 * the order of sums.
 *
 * Order of summation with bf16 pairs (fixed for a kernel set, whatever M, N, threads or path; s: fp32):
 *   ws_base_nt  K is cut into equal blocks of at most 1280.  Inside a block lane l of 16 takes the pairs k = 32 j + 2 l and
 *               k + 1 for j = 0, 1, 2 ...; the lanes are summed by v_sum4's tree, block sums are added in order.
 *               accumulate: the finished sum is added once to y.
 *   ws_base_nn  one chain over the pairs k = 0 and 1, 2 and 3 ...; it starts at 0, or at y where `accumulate`.
 * A pair (a0, b0), (a1, b1) in a lane: s = fma(a1, b1, s), then s = fma(a0, b0, s).
 * Order with tiles: for k = 0, 32, 64 ... the 32 products from k are summed (TDPBF16PS, below), and that sum is added to s;
 * s starts at 0, for ws_base_nn at y where `accumulate`; ws_base_nt then adds the finished s once to y.
 *   TDPBF16PS   a chain over the even k and one over the odd k, each from 0; then (even + odd) is added to s.  (Read off the
 *               processor; Intel's manual leaves open how the 32 products are joined.) */
#ifndef WS_KERNEL_COMPUTE_H
#define WS_KERNEL_COMPUTE_H
#include "base/err.h"
#include "kernel/weight.h"

typedef enum ws_compute { WS_COMPUTE_F32, WS_COMPUTE_BF16 } ws_compute;

/* "f32", "bf16", or "auto": bf16 where the kernel set in use is faster so.  NULL: what WS_COMPUTE says, else auto.  Call it
 * after ws_kernels_init and before threads start; until then products are f32. */
ws_status ws_compute_choose(const char *name, ws_err *err);
/* For auto: the work is `rows` texts, written side by side, and its products have no more rows than that but for the prompts'.
 * Without this call, many.  Of the whole work, not of how it is cut: the cut must change no bits.  Before its first product. */
void ws_compute_for(int64_t rows);
/* auto took f32 because of so few rows. */
int ws_compute_few(void);
ws_compute ws_compute_type(void);
const char *ws_compute_name(void); /* "f32" or "bf16" */
const char *ws_compute_why(void);  /* a phrase: who chose it, and for what reason */
int ws_compute_is_auto(void);      /* nobody asked for this type by name */
/* The kernel set, and " bf16" behind it where that is the compute type: bits are the same where this is the same. */
const char *ws_arithmetic(void);

/* Nearest even; a NaN stays one; a subnormal becomes 0 of its sign, as the instructions have it. */
static inline uint16_t ws_bf16_round(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u & 0x7f800000u ? ws_f32_bf16(f) : (uint16_t)(u >> 16 & 0x8000u);
}

/* As ws_gemm_nt: y[M, N] (+)= x[M, K] W[N, K]^T, in the compute type. */
void ws_base_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int accumulate);
/* A low-rank product beside one with base weights, for rows first .. first + n - 1.  Where `a` is NULL
 *     y += H V            fp32 in every compute type, as ws_gemm_nn with `accumulate`
 * else, of ws_base_nt alone, in the compute type,
 *     y += alpha (x A^T) U^T: ws_base_nt, the rows times alpha, ws_base_nn with `accumulate` */
typedef struct ws_beside {
    int64_t first, n;
    const float *h, *v; /* [n, k] and [k, columns of y], rows without gaps */
    int64_t k;
    const ws_weight *a, *u, *ut; /* [k, columns of x]; [columns of y, k], and transposed; with bf16 tiles all BF16 */
    const float *alpha;          /* [n] */
} ws_beside;
/* As ws_base_nt and ws_base_nn, then each of the n in order: the same bits, but y is added to while it lies in the cache, or
 * in the very sums. */
void ws_base_nt_beside(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w,
                       int accumulate, const ws_beside *beside, int n);
void ws_base_nn_beside(float *y, int64_t ldy, const float *a, int64_t lda, int64_t M, const ws_weight *w,
                       int accumulate, const ws_beside *beside, int n);
/* Until ws_base_share(NULL), what stands at x does not change: the calling thread's products ws_base_nt with this x, in one
 * piece of rows each, round it once (q, k and v of a block; gate and up).  Changes no bits. */
void ws_base_share(const float *x);
/* As ws_gemm_nn with row-major A: y[M, N] (+)= A[M, K] W[K, N], in the compute type. */
void ws_base_nn(float *y, int64_t ldy, const float *a, int64_t lda, int64_t M, const ws_weight *w, int accumulate);
#endif
