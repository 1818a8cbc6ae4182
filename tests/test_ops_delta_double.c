/* The formulas of the gated delta rule compiled in double: chunks of any length equal the recurrence to 1e-12, gradients
 * equal central differences, and every digit of the golden numbers of models.md 14.1 comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "delta_plain.h"
#include <string.h>

#define WS_DELTA_REAL
typedef double real;
static void d_tile(real *c, int64_t ldc, const real *a, int64_t rs, int64_t cs, int64_t M, const real *b, int64_t ldb,
                   int64_t K, int64_t N, int add) {
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            real s = add ? c[m * ldc + n] : 0;
            for (int64_t k = 0; k < K; k++) s += a[m * rs + k * cs] * b[k * ldb + n];
            c[m * ldc + n] = s;
        }
}
static void d_transpose(real *t, int64_t ldt, const real *s, int64_t lds, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) t[j * ldt + i] = s[i * lds + j];
}
static void d_exp(real *y, const real *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = exp(x[i]);
}
static void d_axpy(real *y, real a, const real *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}
static void d_scale(real *y, real a, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] *= a;
}
static void d_scaled(real *y, real a, const real *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}
static real d_dot(const real *x, const real *y, int64_t n) {
    real s = 0;
    for (int64_t i = 0; i < n; i++) s += x[i] * y[i];
    return s;
}
static real d_l2norm(real *y, const real *x, real scale, int64_t n) {
    const real r = 1 / sqrt(d_dot(x, x, n) + 1e-6);
    for (int64_t i = 0; i < n; i++) y[i] = scale * r * x[i];
    return r;
}
/* Written the other way round than ops/l2norm.c: from n = y / scale. */
static void d_l2norm_backward(real *gx, const real *gy, const real *y, real r, real scale, int64_t n) {
    const real along = d_dot(gy, y, n) / scale;
    for (int64_t i = 0; i < n; i++) gx[i] = r * (scale * gy[i] - y[i] / scale * along * scale);
}
#define TILE(...)            d_tile(__VA_ARGS__)
#define EXP(...)             d_exp(__VA_ARGS__)
#define AXPY(...)            d_axpy(__VA_ARGS__)
#define SCALE(...)           d_scale(__VA_ARGS__)
#define SCALED(...)          d_scaled(__VA_ARGS__)
#define DOT(...)             d_dot(__VA_ARGS__)
#define TRANSPOSE(...)       d_transpose(__VA_ARGS__)
#define L2NORM(...)          d_l2norm(__VA_ARGS__)
#define L2NORM_BACKWARD(...) d_l2norm_backward(__VA_ARGS__)
#define RSQRT(x)             (1 / sqrt((double)(x)))
#include "ops/delta_rule_backward.h"

static uint64_t seed = 88172645463325252ULL;
static double uniform(double lo, double hi) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return lo + (hi - lo) * (double)(seed >> 11) * 0x1p-53;
}
static double *numbers(int64_t n, double lo, double hi) {
    double *p = malloc((size_t)(n ? n : 1) * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) p[i] = uniform(lo, hi);
    return p;
}
/* Decays of all sizes: mostly mild, some that forget nearly everything. */
static double *decays(int64_t n) {
    double *g = numbers(n, -1.5, 0);
    for (int64_t i = 0; i < n; i++)
        if (uniform(0, 1) < 0.1) g[i] *= 30;
    return g;
}

static void forward(const ws_delta_shape *s, const rule_row *row) {
    for (int h = 0; h < s->key_heads; h++) {
        real *room = numbers(rule_forward_room(s), NAN, NAN);
        rule_forward(s, h, row, room);
        free(room);
    }
}
/* to and from panels of one state */
static void panels(const ws_delta_shape *s, double *state, double *plain, int out) {
    for (int64_t j = 0; j < s->value_heads; j++)
        for (int64_t x = 0; x < s->dk; x++)
            for (int64_t y = 0; y < s->dv; y++) {
                const int64_t n = y / PANEL * PANEL, w = s->dv - n < PANEL ? s->dv - n : PANEL;
                double *a = plain + (j * s->dk + x) * s->dv + y,
                       *b = state + j * s->dk * s->dv + n * s->dk + x * w + y - n;
                if (out)
                    *a = *b;
                else
                    *b = *a;
            }
}

static double gap(const double *a, const double *b, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs(a[i] - b[i]);
        if (isnan(d)) return NAN;
        most = fmax(most, d);
    }
    return most;
}

/* P5 of models.md 13.  The initial state stands at position 3 C: chunks lie at absolute positions. */
static void chunks_of_any_length_equal_the_recurrence(void **state) {
    (void)state;
    static const int lengths[] = {1, 2, 3, 63, 64, 65, 127, 128, 130}, chunk[] = {1, 4, 16, 32, 64};
    ws_delta_shape shapes[] = {{.key_heads = 2, .value_heads = 4, .dk = 16, .dv = 16},
                               {.key_heads = 2, .value_heads = 4, .dk = 7, .dv = 5},
                               {.key_heads = 1, .value_heads = 3, .dk = 8, .dv = 40},
                               {.key_heads = 2, .value_heads = 2, .dk = 33, .dv = 12}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (int with_state = 0; with_state < 2; with_state++) {
                ws_delta_shape *s = &shapes[i];
                const int64_t n = lengths[l], ld = ws_delta_channels(s), Hv = s->value_heads;
                const int64_t size = Hv * s->dk * s->dv;
                double *c = numbers(n * ld, -1.5, 1.5), *g = decays(n * Hv), *beta = numbers(n * Hv, 0, 1);
                double *first = numbers(size, with_state ? -1 : 0, with_state ? 1 : 0), *S = numbers(size, 0, 0);
                double *want = numbers(n * Hv * s->dv, 0, 0), *o = numbers(n * Hv * s->dv, 0, 0);
                memcpy(S, first, (size_t)size * sizeof *S);
                delta_plain(s, n, c, g, beta, S, want);
                for (size_t k = 0; k < sizeof chunk / sizeof *chunk; k++) {
                    s->chunk = chunk[k];
                    double *from = numbers(size, NAN, NAN), *to = numbers(size, NAN, NAN), *now = numbers(size, 0, 0);
                    double *open = numbers(rule_open_g(s) + Hv * s->chunk, NAN, NAN);
                    if (with_state) panels(s, from, first, 0);
                    rule_row row = {n, with_state ? 3 * s->chunk : 0, c,  g,   beta,
                                    o, with_state ? from : NULL,      to, open};
                    forward(s, &row);
                    if (!(gap(o, want, n * Hv * s->dv) <= 1e-12))
                        fail_msg("shape %zu, T %d, C %d, state %d: o differs by %g", i, (int)n, s->chunk, with_state,
                                 gap(o, want, n * Hv * s->dv));
                    if (n % s->chunk == 0) {
                        panels(s, to, now, 1);
                        assert_true(gap(now, S, size) <= 1e-12);
                    }
                    free(from), free(to), free(now), free(open);
                }
                free(c), free(g), free(beta), free(first), free(S), free(want), free(o);
            }
}

static void what_is_forgotten_is_nothing(void **state) {
    (void)state;
    enum { C = 16 };
    double g[C], x[C * (C + 1)];
    int none = 0, some = 0;
    for (int t = 0; t < C; t++) g[t] = -0.7 - 2.3 * t;
    rule_decay(x, g, C, 0, C);
    for (int i = 0; i < C; i++)
        for (int j = -1; j <= i; j++) { /* e_i, then G_i0 .. G_ii */
            double sum = 0, got = x[i * (C + 1) + 1 + j];
            for (int t = j + 1; t <= i; t++) sum += g[t];
            none += sum < -60, some += sum >= -60;
            if (!(sum < -60 ? got == 0 : fabs(got - exp(sum)) <= 1e-15 * exp(sum) * (2 - sum)))
                fail_msg("row %d, column %d: %g, where exp(%g) is %g", i, j, got, sum, exp(sum));
        }
    assert_true(none > C && some > C);
}

static double loss(const ws_delta_shape *s, int64_t n, const double *c, const double *g, const double *beta,
                   const double *go) {
    const int64_t no = n * s->value_heads * s->dv, size = (int64_t)s->value_heads * s->dk * s->dv;
    double *o = numbers(no, 0, 0), *S = numbers(size, 0, 0), sum = 0;
    delta_plain(s, n, c, g, beta, S, o);
    for (int64_t i = 0; i < no; i++) sum += o[i] * go[i];
    free(o), free(S);
    return sum;
}

/* Central differences of the recurrence: with step 1e-5 their own error is below 1e-9 of the largest gradient. */
static void differences_agree(const char *what, const ws_delta_shape *s, int64_t n, double *c, double *g, double *beta,
                              const double *go, double *x, int64_t nx, const double *got) {
    const double step = 1e-5;
    double most = 0;
    for (int64_t i = 0; i < nx; i++) most = fmax(most, fabs(got[i]));
    for (int64_t i = 0; i < nx; i++) {
        const double keep = x[i];
        x[i] = keep + step;
        double up = loss(s, n, c, g, beta, go);
        x[i] = keep - step;
        double down = loss(s, n, c, g, beta, go), want = (up - down) / (2 * step);
        x[i] = keep;
        if (!(fabs(got[i] - want) <= 1e-8 * most + 1e-9))
            fail_msg("%s[%d] of T %d, C %d: %.12g, differences say %.12g", what, (int)i, (int)n, s->chunk, got[i],
                     want);
    }
}

static void gradients_equal_central_differences(void **state) {
    (void)state;
    static const struct {
        ws_delta_shape s;
        int n;
    } cases[] = {{{.key_heads = 1, .value_heads = 1, .dk = 4, .dv = 3, .chunk = 4}, 1},
                 {{.key_heads = 1, .value_heads = 1, .dk = 4, .dv = 3, .chunk = 4}, 7},
                 {{.key_heads = 1, .value_heads = 1, .dk = 3, .dv = 5, .chunk = 1}, 4},
                 {{.key_heads = 1, .value_heads = 2, .dk = 5, .dv = 4, .chunk = 16}, 37},
                 {{.key_heads = 2, .value_heads = 4, .dk = 3, .dv = 4, .chunk = 8}, 19},
                 {{.key_heads = 1, .value_heads = 3, .dk = 4, .dv = 35, .chunk = 4}, 9},
                 {{.key_heads = 2, .value_heads = 2, .dk = 36, .dv = 2, .chunk = 2}, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ws_delta_shape *s = &cases[i].s;
        const int64_t n = cases[i].n, ld = ws_delta_channels(s), Hv = s->value_heads;
        double *c = numbers(n * ld, -1.5, 1.5), *g = decays(n * Hv), *beta = numbers(n * Hv, 0, 1);
        double *go = numbers(n * Hv * s->dv, -1, 1);
        double *gc = numbers(n * ld, NAN, NAN), *gg = numbers(n * Hv, NAN, NAN), *gbeta = numbers(n * Hv, NAN, NAN);
        const rule_grad row = {n, c, g, beta, go, gc, gg, gbeta};
        for (int h = 0; h < s->key_heads; h++) {
            real *room = numbers(rule_backward_room(s, n), NAN, NAN);
            rule_backward(s, h, &row, room);
            free(room);
        }
        differences_agree("gc", s, n, c, g, beta, go, c, n * ld, gc);
        differences_agree("gg", s, n, c, g, beta, go, g, n * Hv, gg);
        differences_agree("gbeta", s, n, c, g, beta, go, beta, n * Hv, gbeta);
        free(c), free(g), free(beta), free(go), free(gc), free(gg), free(gbeta);
    }
}

static void every_digit(const char *what, const double *got, int ld, const double *want, int rows, int cols) {
    for (int i = 0; i < rows * cols; i++)
        if (!(fabs(got[i / cols * ld + i % cols] - want[i]) <= 5.001e-9))
            fail_msg("%s[%d] = %.10f, golden %.8f", what, i, got[i / cols * ld + i % cols], want[i]);
}

static void golden_numbers(void **state) {
    (void)state;
    for (int C = 1; C <= 8; C *= 2) {
        ws_delta_shape s = gold_shape;
        s.chunk = C;
        double c[GOLD_T * GOLD_C], a[GOLD_T], b[GOLD_T], go[GOLD_T * GOLD_V], g[GOLD_T], beta[GOLD_T];
        double o[GOLD_T * GOLD_V], S[GOLD_K * GOLD_V], open[GOLD_C * 8 + 8], gc[GOLD_T * GOLD_C], gg[GOLD_T],
            gb[GOLD_T];
        double sum = 0, ga_log = 0, gdt_bias = 0;
        gold_inputs(c, a, b, go);
        for (int t = 0; t < GOLD_T; t++) {
            g[t] = -exp(gold_a_log) * log1p(exp(a[t] + gold_dt_bias));
            beta[t] = 1 / (1 + exp(-b[t]));
        }
        rule_row row = {GOLD_T, 0, c, g, beta, o, NULL, S, open};
        forward(&s, &row);
        every_digit("O", o, GOLD_V, gold_o, GOLD_T, GOLD_V);
        if (GOLD_T % C == 0) every_digit("S_T", S, GOLD_V, gold_s, GOLD_K, GOLD_V);
        for (int i = 0; i < GOLD_T * GOLD_V; i++) sum += o[i] * go[i];
        every_digit("L", &sum, 1, &gold_loss, 1, 1);
        rule_grad grad = {GOLD_T, c, g, beta, go, gc, gg, gb};
        double *room = numbers(rule_backward_room(&s, GOLD_T), NAN, NAN);
        rule_backward(&s, 0, &grad, room);
        free(room);
        every_digit("dq", gc, GOLD_C, gold_gq, GOLD_T, GOLD_K);
        every_digit("dk", gc + GOLD_K, GOLD_C, gold_gk, GOLD_T, GOLD_K);
        every_digit("dv", gc + 2 * GOLD_K, GOLD_C, gold_gv, GOLD_T, GOLD_V);
        for (int t = 0; t < GOLD_T; t++) {
            ga_log += gg[t] * g[t];
            gg[t] *= -exp(gold_a_log) / (1 + exp(-a[t] - gold_dt_bias));
            gdt_bias += gg[t];
            gb[t] *= beta[t] * (1 - beta[t]);
        }
        every_digit("da", gg, 1, gold_ga, GOLD_T, 1);
        every_digit("db", gb, 1, gold_gb, GOLD_T, 1);
        every_digit("dA_log", &ga_log, 1, &gold_ga_log, 1, 1);
        every_digit("ddt_bias", &gdt_bias, 1, &gold_gdt_bias, 1, 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_numbers),
        cmocka_unit_test(chunks_of_any_length_equal_the_recurrence),
        cmocka_unit_test(what_is_forgotten_is_nothing),
        cmocka_unit_test(gradients_equal_central_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
