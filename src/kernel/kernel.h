/* src/kernel/kernel.h - one table of primitives per instruction set; `ws_k` starts as the scalar reference and is
 * overwritten once, at ws_kernels_init, by the best set that this CPU has (WS_KERNELS=ref|avx2|avx512|avx512bf16|amx
 * forces one).
 * Vector functions state their error bound against libm in double; all keep NaN. */
#ifndef WS_KERNEL_KERNEL_H
#define WS_KERNEL_KERNEL_H
#include "kernel/weight.h"

/* Products of bf16 pairs summed in fp32, on a CPU that has an instruction for them: each does fused multiply-adds rounded to
 * nearest even, subnormal inputs and results 0.  Bounds and orders of summation: compute.h. */
enum { WS_TILE_NT_BLOCK = 1536, WS_TILE_NN_BLOCK = 768 }; /* inputs (K) that tiles go through at a time */
/* More inputs of nt with `tiles`: for rows from .. to - 1 (multiples of 32, counted as `row` is) the sums go on over U H. */
typedef struct ws_more {
    const uint16_t *h;  /* panels of 16 rows as x has them, of these rows alone */
    const ws_weight *u; /* [columns of y, K of H], BF16 in its own order */
    int64_t from, to;
} ws_more;
typedef struct ws_along {
    const ws_more *more;
    int n;
    int64_t row; /* the number of x's first row */
} ws_along;
typedef struct ws_bf16_kernels {
    int (*usable)(void);
    int (*fast)(int64_t rows); /* on this CPU faster than fp32 in products of so many rows of x */
    int tiles;                 /* sums in tiles of 16 x 16: nt takes x as panels, and orders differ (compute.h) */
    void (*round)(uint16_t *dst, const float *src, int64_t n); /* as ws_bf16_round */
    /* Only where `tiles`: 16 rows of x (NULL: a row of zeros), rounded, to [K / 32, up][16 pairs][16 rows][2]. */
    void (*panel)(uint16_t *dst, const float *const row[16], int64_t K);
    /* Columns n0 .. n1-1 of ws_base_nt and ws_base_nn.  x, a: rounded rows, 0 from K up to a multiple of 32, or for nt with
     * `tiles` panels of 16 rows, ldx then being K up to a multiple of 32; with `tiles`, rows up to a multiple of 32 may be
     * read.  n0 is a multiple of 32 for nn.  along: of none without `tiles`. */
    void (*nt)(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
               int64_t n1, int accumulate, const ws_along *along);
    void (*nn)(float *y, int64_t ldy, const uint16_t *a, int64_t lda, int64_t M, const ws_weight *w, int64_t n0,
               int64_t n1, int accumulate);
    int64_t (*spin)(int64_t rounds, float *sink); /* as fma_spin, of such pairs */
} ws_bf16_kernels;

typedef struct ws_kernels {
    const char *name;
    int (*usable)(void); /* asks this CPU, not the compiler */

    /* ---- elementwise and reductions, n >= 0, any alignment; a value does not depend on its position ---- */
    float (*dot)(const float *x, const float *y, int64_t n);          /* canonical lane order */
    double (*sum_sq)(const float *x, int64_t n);                      /* sum of x^2 */
    float (*max)(const float *x, int64_t n);                          /* -inf for n = 0; NaN if any is NaN */
    void (*axpy)(float *y, float a, const float *x, int64_t n);       /* y += a x */
    void (*scale)(float *y, float a, int64_t n);                      /* y *= a */
    void (*scaled)(float *y, float a, const float *x, int64_t n);     /* y = a x */
    void (*add)(float *y, const float *x, int64_t n);                 /* y += x */
    void (*mul)(float *y, const float *a, const float *b, int64_t n); /* y = a b */
    void (*exp)(float *y, const float *x, int64_t n);                 /* <= 2 ulp */
    double (*exp_sum)(float *y, const float *x, float shift,
                      int64_t n); /* y = exp(x - shift) (y may be NULL), returns the sum */
    void (*silu_mul)(float *y, const float *g, const float *u, int64_t n); /* y = silu(g) u */
    /* gg = gy u silu'(g), gu = gy silu(g); gg may be g's own storage's twin but not overlap inputs */
    void (*silu_mul_backward)(float *gg, float *gu, const float *gy, const float *g, const float *u, int64_t n);
    void (*silu)(float *y, const float *x, int64_t n);                            /* y = x sigmoid(x) */
    void (*silu_backward)(float *gx, const float *gy, const float *x, int64_t n); /* gx = gy silu'(x) */
    void (*sigmoid_mul)(float *y, const float *g, const float *u, int64_t n);     /* y = sigmoid(g) u */
    /* gg = gy u sigmoid'(g), gu = gy sigmoid(g); outputs may be gy */
    void (*sigmoid_mul_backward)(float *gg, float *gu, const float *gy, const float *g, const float *u, int64_t n);
    /* y[i] = sum_k w[k * ldw + i] x[k][i], one chain of fused multiply-adds over k < K; y may be one of the x */
    void (*taps)(float *y, const float *const *x, const float *w, int64_t ldw, int K, int64_t n);
    /* t[j * ldt + i] = s[i * lds + j] for i < rows, j < cols */
    void (*transpose)(float *t, int64_t ldt, const float *s, int64_t lds, int64_t rows, int64_t cols);
    void (*rmsnorm)(float *y, const float *x, const float *w, float eps, int64_t n,
                    float *r_out); /* y = w x r, r = rsqrt(mean x^2 + eps); r_out may be NULL */
    void (*rmsnorm_backward)(float *gx, const float *gy, const float *x, const float *w, float r,
                             int64_t n); /* gx += */
    void (*rope)(float *x, const float *cos, const float *sin, int64_t half,
                 float sign); /* half-split pairs (x_j, x_{j+half}); sign -1: backward */
    void (*adamw)(float *p, float *m, float *v, const float *g, int64_t n, float gscale, float decay, float step_size,
                  float bias2_sqrt, float eps);                        /* adapters.md 4.4 */
    void (*widen)(float *dst, const void *src, ws_dtype t, int64_t n); /* as ws_dtype_to_f32, fast */

    /* ---- matrix products, serial, one chunk of the output; callers use gemm.h, which threads them ---- */
    /* c[M, N] (+)= a[M, K] b[K, N], all fp32 and small; a[m, k] = a[m*rs + k*cs].  One chain of fused multiply-adds over
     * k = 0, 1, 2 ... for each output, starting at 0, or at c where `accumulate`. */
    void (*tile)(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, int64_t M, const float *b, int64_t ldb,
                 int64_t K, int64_t N, int accumulate);
    /* The same; while b is read the `bytes` bytes at `soon` (NULL: none) are on their way to the cache: what the caller
     * needs next, and the hardware could not know. */
    void (*tile_fetch)(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, int64_t M, const float *b,
                       int64_t ldb, int64_t K, int64_t N, int accumulate, const void *soon, int64_t bytes);
    /* One step of an online softmax over 32 keys: s [rows, 32], of which the first valid[r] count (0: none; the others may
     * hold anything).  m = running maximum (-inf before the first key), l = running sum, both [rows]:
     *     m' = max(m, s);  shrink = exp(m - m');  s := exp(s - m'), 0 where not valid;  l := l shrink + sum s;  m := m' */
    void (*softmax32)(float *s, int64_t rows, const int32_t *valid, float *m, float *l, float *shrink);
    /* Columns n0 .. n1-1 of ws_gemm_nt and ws_gemm_nn; for nn n0 is a multiple of 32. */
    void (*gemm_nt)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate);
    void (*gemm_nn)(float *y, int64_t ldy, const float *a, int64_t rs, int64_t cs, int64_t M, const ws_weight *w,
                    int64_t n0, int64_t n1, int accumulate);

    /* `rounds` rounds of independent fused multiply-adds in registers, as many as hide their latency; returns the
     * floating-point operations of ONE round.  For measuring the machine (peak.h). */
    int64_t (*fma_spin)(int64_t rounds, float *sink);

    const ws_bf16_kernels *bf16; /* NULL: this set rounds to bf16 and multiplies in fp32 (compute.h) */
} ws_kernels;

extern ws_kernels ws_k;
/* Every set that was compiled in, best first, the reference last; NULL ends the list. */
extern const ws_kernels *const ws_kernels_all[];
/* Idempotent; call before threads start.  WS_EUSAGE when WS_KERNELS names a set that this machine lacks. */
ws_status ws_kernels_init(ws_err *err);
#endif
