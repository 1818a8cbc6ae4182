/* src/kernel/ref.c - what every kernel means.  Scalar, in double where a sum or a function is meant, rounded once; the
 * other sets may only reorder sums and approximate functions within the bounds that kernel.h states. */
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <string.h>

static int usable(void) { return 1; }

static float dot(const float *x, const float *y, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * y[i];
    return (float)s;
}

static double sum_sq(const float *x, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * x[i];
    return s;
}

static float max(const float *x, int64_t n) {
    float m = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i])) return NAN;
        if (x[i] > m) m = x[i];
    }
    return m;
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}
static void scale(float *y, float a, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] *= a;
}
static void scaled(float *y, float a, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}
static void add(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}
static void mul(float *y, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[i];
}

static void vexp(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = (float)exp((double)x[i]);
}
static double exp_sum(float *y, const float *x, float shift, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        float e = (float)exp((double)(x[i] - shift));
        if (y) y[i] = e;
        s += e;
    }
    return s;
}

/* silu(g) = g s, silu'(g) = s (1 + g (1 - s)), s = 1 / (1 + exp(-g)): models.md 8.5. */
static double sigmoid(double g) { return 1 / (1 + exp(-g)); }
static void silu_mul(float *y, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = (float)(g[i] * sigmoid(g[i])) * u[i];
}
static void silu_mul_backward(float *gg, float *gu, const float *gy, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double s = sigmoid(g[i]);
        float slope = (float)(s * (1 + g[i] * (1 - s))), silu = (float)(g[i] * s), y = gy[i];
        gg[i] = y * u[i] * slope;
        gu[i] = y * silu;
    }
}

static void silu(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = (float)(x[i] * sigmoid(x[i]));
}
static void silu_backward(float *gx, const float *gy, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double s = sigmoid(x[i]);
        gx[i] = gy[i] * (float)(s * (1 + x[i] * (1 - s)));
    }
}
static void sigmoid_mul(float *y, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = (float)sigmoid(g[i]) * u[i];
}
static void sigmoid_mul_backward(float *gg, float *gu, const float *gy, const float *g, const float *u, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double s = sigmoid(g[i]);
        float y = gy[i];
        gg[i] = y * u[i] * (float)(s * (1 - s));
        gu[i] = y * (float)s;
    }
}
static void taps(float *y, const float *const *x, const float *w, int64_t ldw, int K, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double s = 0;
        for (int k = 0; k < K; k++) s += (double)w[k * ldw + i] * x[k][i];
        y[i] = (float)s;
    }
}

static void transpose(float *t, int64_t ldt, const float *s, int64_t lds, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) t[j * ldt + i] = s[i * lds + j];
}

static void rmsnorm(float *y, const float *x, const float *w, float eps, int64_t n, float *r_out) {
    float r = (float)(1 / sqrt(sum_sq(x, n) / (double)n + (double)eps));
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
    if (r_out) *r_out = r;
}
/* dn = gy w, nrm = x r: gx += r (dn - nrm mean(nrm dn)), models.md 8.4 */
static void rmsnorm_backward(float *gx, const float *gy, const float *x, const float *w, float r, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)gy[i] * w[i] * x[i];
    float c = (float)(s * r * r / (double)n);
    for (int64_t i = 0; i < n; i++) gx[i] += r * (gy[i] * w[i] - x[i] * c);
}

static void rope(float *x, const float *c, const float *s, int64_t half, float sign) {
    for (int64_t j = 0; j < half; j++) {
        float a = x[j], b = x[j + half], t = sign * s[j];
        x[j] = a * c[j] - b * t;
        x[j + half] = b * c[j] + a * t;
    }
}

/* adapters.md 4.4: every product and sum rounded on its own, in this order. */
static void adamw(float *p, float *m, float *v, const float *g, int64_t n, float gscale, float decay, float step_size,
                  float bias2_sqrt, float eps) {
    const float b1 = 0.9f, c1 = (float)(1 - 0.9), b2 = 0.999f, c2 = (float)(1 - 0.999);
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * gscale, q = p[i] * decay;
        float mi = b1 * m[i] + c1 * gi, vi = b2 * v[i] + c2 * gi * gi;
        m[i] = mi, v[i] = vi;
        p[i] = q - step_size * (mi / (sqrtf(vi) / bias2_sqrt + eps));
    }
}

static void tile(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, int64_t M, const float *b, int64_t ldb,
                 int64_t K, int64_t N, int accumulate) {
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double s = accumulate ? c[m * ldc + n] : 0;
            for (int64_t k = 0; k < K; k++) s += (double)a[m * rs + k * cs] * b[k * ldb + n];
            c[m * ldc + n] = (float)s;
        }
}

static void tile_fetch(float *c, int64_t ldc, const float *a, int64_t rs, int64_t cs, int64_t M, const float *b,
                       int64_t ldb, int64_t K, int64_t N, int accumulate, const void *soon, int64_t bytes) {
    (void)soon, (void)bytes;
    tile(c, ldc, a, rs, cs, M, b, ldb, K, N, accumulate);
}

static void softmax32(float *s, int64_t rows, const int32_t *valid, float *m, float *l, float *shrink) {
    for (int64_t r = 0; r < rows; r++, s += 32) {
        float top = m[r];
        double sum = 0;
        for (int j = 0; j < valid[r]; j++)
            if (s[j] > top) top = s[j];
        shrink[r] = m[r] == top ? 1 : (float)exp((double)(m[r] - top));
        for (int j = 0; j < 32; j++) {
            s[j] = j < valid[r] ? (float)exp((double)(s[j] - top)) : 0;
            sum += s[j];
        }
        l[r] = l[r] * shrink[r] + (float)sum;
        m[r] = top;
    }
}

static void gemm_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate) {
    float *row = ws_gemm_scratch((size_t)w->cols);
    for (int64_t n = n0; n < n1; n++) {
        ws_dtype_to_f32(row, ws_weight_row(w, n), w->type, w->cols);
        for (int64_t m = 0; m < M; m++) {
            float s = dot(x + m * ldx, row, w->cols), *out = y + m * ldy + n;
            *out = accumulate ? *out + s : s;
        }
    }
}

static void gemm_nn(float *y, int64_t ldy, const float *a, int64_t rs, int64_t cs, int64_t M, const ws_weight *w,
                    int64_t n0, int64_t n1, int accumulate) {
    const int64_t COLS = ws_dtypes[w->type].block > 32 ? 256 : 32; /* columns of W, widened: a block's */
    float *panel = ws_gemm_scratch((size_t)(w->rows * COLS));
    for (int64_t n = n0; n < n1; n += COLS) {
        int64_t cols = n1 - n < COLS ? n1 - n : COLS;
        for (int64_t k = 0; k < w->rows; k++)
            ws_dtype_part_f32(panel + k * COLS, ws_weight_row(w, k), w->type, n, cols);
        tile(y + n, ldy, a, rs, cs, M, panel, COLS, w->rows, cols, accumulate);
    }
}

static int64_t fma_spin(int64_t rounds, float *sink) {
    float a = 0, b = 1, c = 2, d = 3;
    for (int64_t r = 0; r < rounds; r++) {
        a = a * 0.5f + 1, b = b * 0.5f + 1;
        c = c * 0.5f + 1, d = d * 0.5f + 1;
    }
    *sink += a + b + c + d;
    return 8;
}

#define REF_TABLE                                                                                                      \
    {                                                                                                                  \
        .name = "ref", .usable = usable, .dot = dot, .sum_sq = sum_sq, .max = max, .axpy = axpy, .scale = scale,       \
        .scaled = scaled, .add = add, .mul = mul, .exp = vexp, .exp_sum = exp_sum, .silu_mul = silu_mul,               \
        .silu_mul_backward = silu_mul_backward, .silu = silu, .silu_backward = silu_backward,                          \
        .sigmoid_mul = sigmoid_mul, .sigmoid_mul_backward = sigmoid_mul_backward, .taps = taps,                        \
        .transpose = transpose, .rmsnorm = rmsnorm, .rmsnorm_backward = rmsnorm_backward, .rope = rope,                \
        .adamw = adamw, .widen = ws_dtype_to_f32, .tile = tile, .tile_fetch = tile_fetch, .softmax32 = softmax32,      \
        .gemm_nt = gemm_nt, .gemm_nn = gemm_nn, .fma_spin = fma_spin,                                                  \
    }
const ws_kernels ws_kernels_ref = REF_TABLE;
/* Until ws_kernels_init picks a better set: the reference, so no entry is ever missing. */
ws_kernels ws_k = REF_TABLE;
