/* src/kernel/lanes_vector.h - elementwise functions and reductions.  The last vector of an array is loaded and stored
 * by lane masks and computed like any other, so a value does not depend on its position. */
#ifndef WS_KERNEL_LANES_VECTOR_H
#define WS_KERNEL_LANES_VECTOR_H
#include "kernel/lanes_widen.h"
#include <math.h>

WS_INLINE vf ld(const float *p, int64_t left) { return left >= LANES ? v_load(p) : v_load_n(p, left); }
WS_INLINE void st(float *p, vf a, int64_t left) {
    if (left >= LANES)
        v_store(p, a);
    else
        v_store_n(p, a, left);
}
#define EACH(i, n) for (int64_t i = 0; i < (n); i += LANES)

/* exp(x) = 2^k exp(r), k = round(x / ln 2), |r| <= ln 2 / 2: the polynomial of Cephes' expf (S. Moshier), whose error
 * is below 1 ulp.  2^k is multiplied so that results in the subnormal range and near the top come out right; x is cut to
 * [-104, 89], beyond which the result is 0 or infinite anyway.  NaN passes through. */
WS_INLINE vf v_exp_to_89(vf x) { /* x <= 89 or NaN */
    x = v_max(v_set(-104), x);
    vf k = v_round(v_mul(x, v_set(1.44269504088896341f)));
    vf r = v_fnma(k, v_set(0.693359375f), x);
    r = v_fnma(k, v_set(-2.12194440e-4f), r);
    vf p = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_add(v_fma(p, v_mul(r, r), r), v_set(1));
    return v_times_pow2(p, k);
}
WS_INLINE vf v_exp(vf x) { return v_exp_to_89(v_min(v_set(89), x)); }
WS_INLINE vf v_sigmoid(vf x) { return v_div(v_set(1), v_add(v_set(1), v_exp(v_sub(v_zero(), x)))); }

static float dot(const float *x, const float *y, int64_t n) {
    vf a = v_zero(), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        a = v_fma(v_load(x + i), v_load(y + i), a);
        b = v_fma(v_load(x + i + LANES), v_load(y + i + LANES), b);
        c = v_fma(v_load(x + i + 2 * LANES), v_load(y + i + 2 * LANES), c);
        d = v_fma(v_load(x + i + 3 * LANES), v_load(y + i + 3 * LANES), d);
    }
    for (; i < n; i += LANES) a = v_fma(ld(x + i, n - i), ld(y + i, n - i), a);
    return v_sum(v_add(v_add(a, b), v_add(c, d)));
}
static double sum_sq(const float *x, int64_t n) {
    vd s = vd_zero();
    EACH(i, n) {
        vd v = vd_of(ld(x + i, n - i));
        s = vd_fma(v, v, s);
    }
    return vd_sum(s);
}
static float max(const float *x, int64_t n) {
    vf m = v_set(-INFINITY);
    vmask nan = v_no_nan();
    EACH(i, n) {
        vf v = v_keep(ld(x + i, n - i), n - i < LANES ? (int)(n - i) : LANES, v_set(-INFINITY));
        m = v_max(m, v);
        nan = v_or_nan(nan, v);
    }
    return v_any_nan(nan) ? NAN : v_top(m);
}

static void axpy(float *y, float a, const float *x, int64_t n) {
    EACH(i, n) st(y + i, v_fma(v_set(a), ld(x + i, n - i), ld(y + i, n - i)), n - i);
}
static void scale(float *y, float a, int64_t n) { EACH(i, n) st(y + i, v_mul(v_set(a), ld(y + i, n - i)), n - i); }
static void scaled(float *y, float a, const float *x, int64_t n) {
    EACH(i, n) st(y + i, v_mul(v_set(a), ld(x + i, n - i)), n - i);
}
static void add(float *y, const float *x, int64_t n) {
    EACH(i, n) st(y + i, v_add(ld(y + i, n - i), ld(x + i, n - i)), n - i);
}
static void mul(float *y, const float *a, const float *b, int64_t n) {
    EACH(i, n) st(y + i, v_mul(ld(a + i, n - i), ld(b + i, n - i)), n - i);
}
static void vexp(float *y, const float *x, int64_t n) { EACH(i, n) st(y + i, v_exp(ld(x + i, n - i)), n - i); }
static double exp_sum(float *y, const float *x, float shift, int64_t n) {
    vd s = vd_zero();
    EACH(i, n) {
        vf e = v_exp(v_sub(ld(x + i, n - i), v_set(shift)));
        if (n - i < LANES) e = v_keep(e, (int)(n - i), v_zero());
        if (y) st(y + i, e, n - i);
        s = vd_add(s, vd_of(e));
    }
    return vd_sum(s);
}

static void silu_mul(float *y, const float *g, const float *u, int64_t n) {
    EACH(i, n) {
        vf a = ld(g + i, n - i);
        st(y + i, v_mul(v_mul(a, v_sigmoid(a)), ld(u + i, n - i)), n - i);
    }
}
static void silu_mul_backward(float *gg, float *gu, const float *gy, const float *g, const float *u, int64_t n) {
    EACH(i, n) {
        vf a = ld(g + i, n - i), s = v_sigmoid(a), y = ld(gy + i, n - i), b = ld(u + i, n - i);
        vf slope = v_mul(s, v_fma(a, v_sub(v_set(1), s), v_set(1)));
        st(gg + i, v_mul(v_mul(y, b), slope), n - i);
        st(gu + i, v_mul(y, v_mul(a, s)), n - i);
    }
}

static void silu(float *y, const float *x, int64_t n) {
    EACH(i, n) {
        vf a = ld(x + i, n - i);
        st(y + i, v_mul(a, v_sigmoid(a)), n - i);
    }
}
static void silu_backward(float *gx, const float *gy, const float *x, int64_t n) {
    EACH(i, n) {
        vf a = ld(x + i, n - i), s = v_sigmoid(a);
        st(gx + i, v_mul(ld(gy + i, n - i), v_mul(s, v_fma(a, v_sub(v_set(1), s), v_set(1)))), n - i);
    }
}
static void sigmoid_mul(float *y, const float *g, const float *u, int64_t n) {
    EACH(i, n) st(y + i, v_mul(v_sigmoid(ld(g + i, n - i)), ld(u + i, n - i)), n - i);
}
static void sigmoid_mul_backward(float *gg, float *gu, const float *gy, const float *g, const float *u, int64_t n) {
    EACH(i, n) {
        vf s = v_sigmoid(ld(g + i, n - i)), y = ld(gy + i, n - i), b = ld(u + i, n - i);
        st(gg + i, v_mul(v_mul(y, b), v_mul(s, v_sub(v_set(1), s))), n - i);
        st(gu + i, v_mul(y, s), n - i);
    }
}
static void taps(float *y, const float *const *x, const float *w, int64_t ldw, int K, int64_t n) {
    EACH(i, n) {
        vf s = v_zero();
        for (int k = 0; k < K; k++) s = v_fma(ld(w + k * ldw + i, n - i), ld(x[k] + i, n - i), s);
        st(y + i, s, n - i);
    }
}

static void transpose(float *t, int64_t ldt, const float *s, int64_t lds, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t j = 0; j < cols; j += LANES) {
            const int64_t down = rows - i < LANES ? rows - i : LANES, across = cols - j < LANES ? cols - j : LANES;
            if (down < LANES || across < LANES) {
                for (int64_t r = 0; r < down; r++)
                    for (int64_t c = 0; c < across; c++) t[(j + c) * ldt + i + r] = s[(i + r) * lds + j + c];
                continue;
            }
            vf a[LANES];
            WS_UNROLL for (int r = 0; r < LANES; r++) a[r] = v_load(s + (i + r) * lds + j);
            v_transpose(a);
            WS_UNROLL for (int c = 0; c < LANES; c++) v_store(t + (j + c) * ldt + i, a[c]);
        }
}

static void rmsnorm(float *y, const float *x, const float *w, float eps, int64_t n, float *r_out) {
    float r = (float)(1 / sqrt(sum_sq(x, n) / (double)n + (double)eps));
    EACH(i, n) st(y + i, v_mul(v_mul(ld(x + i, n - i), v_set(r)), ld(w + i, n - i)), n - i);
    if (r_out) *r_out = r;
}
static void rmsnorm_backward(float *gx, const float *gy, const float *x, const float *w, float r, int64_t n) {
    vd s = vd_zero();
    EACH(i, n) s = vd_fma(vd_of(v_mul(ld(gy + i, n - i), ld(w + i, n - i))), vd_of(ld(x + i, n - i)), s);
    vf c = v_set((float)(vd_sum(s) * r * r / (double)n)), rv = v_set(r);
    EACH(i, n) {
        vf dn = v_mul(ld(gy + i, n - i), ld(w + i, n - i));
        st(gx + i, v_fma(rv, v_fnma(ld(x + i, n - i), c, dn), ld(gx + i, n - i)), n - i);
    }
}

static void rope(float *x, const float *c, const float *s, int64_t half, float sign) {
    EACH(j, half) {
        const int64_t left = half - j;
        vf a = ld(x + j, left), b = ld(x + half + j, left), cv = ld(c + j, left),
           t = v_mul(v_set(sign), ld(s + j, left));
        st(x + j, v_fnma(b, t, v_mul(a, cv)), left);
        st(x + half + j, v_fma(a, t, v_mul(b, cv)), left);
    }
}

static void adamw(float *p, float *m, float *v, const float *g, int64_t n, float gscale, float decay, float step_size,
                  float bias2_sqrt, float eps) {
    const vf b1 = v_set(0.9f), c1 = v_set((float)(1 - 0.9)), b2 = v_set(0.999f), c2 = v_set((float)(1 - 0.999));
    EACH(i, n) {
        const int64_t left = n - i;
        vf gi = v_mul(ld(g + i, left), v_set(gscale)), q = v_mul(ld(p + i, left), v_set(decay));
        vf mi = v_add(v_mul(b1, ld(m + i, left)), v_mul(c1, gi));
        vf vi = v_add(v_mul(b2, ld(v + i, left)), v_mul(v_mul(c2, gi), gi));
        vf below = v_add(v_div(v_sqrt(vi), v_set(bias2_sqrt)), v_set(eps));
        st(m + i, mi, left);
        st(v + i, vi, left);
        st(p + i, v_sub(q, v_mul(v_set(step_size), v_div(mi, below))), left);
    }
}

/* The first n <= 4 lanes: without masks where it can be, since a masked store holds up loads of what is beside it. */
WS_INLINE vf ld4(const float *p, int n) { return n == 4 ? v_of4(v4_load(p)) : v_load_n(p, n); }
WS_INLINE void st4(float *p, vf a, int n) {
    if (n == 4)
        v4_store(p, v4_of(a));
    else
        v_store_n(p, a, n);
}
/* Up to four rows of softmax32, whose sums and maxima over lanes are taken together; `whole`: all keys count. */
WS_INLINE void softmax_rows(int rows, int whole, float *s, const int32_t *valid, float *m, float *l, float *shrink) {
    vf v[4][V32], x[4];
    float t[4];
    WS_UNROLL for (int r = 0; r < rows; r++) {
        x[r] = v_set(m[r]);
        WS_UNROLL for (int i = 0; i < V32; i++) {
            v[r][i] = v_load(s + r * 32 + i * LANES);
            if (!whole) v[r][i] = v_keep(v[r][i], valid[r] - i * LANES, v_set(-INFINITY));
            x[r] = v_max(v[r][i], x[r]); /* never NaN */
        }
    }
    WS_UNROLL for (int r = rows; r < 4; r++) x[r] = x[0];
    const v4 t4 = v_top4(x[0], x[1], x[2], x[3]);
    v4_store(t, t4);
    WS_UNROLL for (int r = 0; r < rows; r++) {
        x[r] = v_zero();
        WS_UNROLL for (int i = 0; i < V32; i++) {
            vf e = v_exp_to_89(v_sub(v[r][i], v_set(t[r])));
            if (!whole) e = v_keep(e, valid[r] - i * LANES, v_zero());
            v_store(s + r * 32 + i * LANES, e);
            x[r] = v_add(x[r], e);
        }
    }
    WS_UNROLL for (int r = rows; r < 4; r++) x[r] = x[0];
    const vf sum = v_of4(v_sum4(x[0], x[1], x[2], x[3])), top = v_of4(t4);
    /* -inf - -inf, before the first key, counts as 0 */
    const vf by = v_exp_to_89(v_min(v_sub(ld4(m, rows), top), v_zero())), now = v_fma(ld4(l, rows), by, sum);
    st4(m, top, rows), st4(l, now, rows), st4(shrink, by, rows);
}
static void softmax32(float *s, int64_t rows, const int32_t *valid, float *m, float *l, float *shrink) {
    for (int64_t r = 0; r < rows; r += 4, s += 4 * 32, valid += 4, m += 4, l += 4, shrink += 4) {
        const int n = rows - r < 4 ? (int)(rows - r) : 4;
        int whole = 1;
        for (int i = 0; i < n; i++) whole &= valid[i] >= 32;
        switch (2 * n + whole) {
#define X(R)                                                                                                           \
    case 2 * R: softmax_rows(R, 0, s, valid, m, l, shrink); break;                                                     \
    case 2 * R + 1: softmax_rows(R, 1, s, valid, m, l, shrink); break;
            X(1) X(2) X(3) X(4)
#undef X
        }
    }
}

static int64_t fma_spin(int64_t rounds, float *sink) {
    enum { CHAINS = 12 };
    vf a[CHAINS], x = v_set(0.5f), y = v_set(1); /* tends to 2: no overflow, no subnormals */
    WS_UNROLL for (int i = 0; i < CHAINS; i++) a[i] = v_set((float)i);
    for (int64_t r = 0; r < rounds; r++) WS_UNROLL for (int i = 0; i < CHAINS; i++) a[i] = v_fma(a[i], x, y);
    WS_UNROLL for (int i = 1; i < CHAINS; i++) a[0] = v_add(a[0], a[i]);
    *sink += v_first_lane(a[0]);
    return 2 * CHAINS * LANES;
}

/* CAN: asks the CPU; BF16: its ws_bf16_kernels, or NULL. */
#define WS_LANES_TABLE(NAME, CAN, BF16)                                                                                \
    {                                                                                                                  \
        .name = NAME, .usable = CAN, .dot = dot, .sum_sq = sum_sq, .max = max, .axpy = axpy, .scale = scale,           \
        .scaled = scaled, .add = add, .mul = mul, .exp = vexp, .exp_sum = exp_sum, .silu_mul = silu_mul,               \
        .silu_mul_backward = silu_mul_backward, .silu = silu, .silu_backward = silu_backward,                          \
        .sigmoid_mul = sigmoid_mul, .sigmoid_mul_backward = sigmoid_mul_backward, .taps = taps,                        \
        .transpose = transpose, .rmsnorm = rmsnorm, .rmsnorm_backward = rmsnorm_backward, .rope = rope,                \
        .adamw = adamw, .widen = widen, .tile = tile, .tile_fetch = tile_fetch, .softmax32 = softmax32,                \
        .gemm_nt = gemm_nt, .gemm_nn = gemm_nn, .fma_spin = fma_spin, .bf16 = BF16,                                    \
    }
#endif
