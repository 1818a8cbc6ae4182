/* Every op against its formula in double: the forward value, and the backward pass against central differences of that double
 * formula (step 1e-5: their own error is about 1e-9).  The ops run in fp32, so values are compared to 2e-6 of the largest one and
 * gradients to 2e-5 of their largest entry. */
#include "kernel_sets.h"
#include "ops/crossentropy.h"
#include "ops/embed.h"
#include "ops/linear.h"
#include "ops/mlp.h"
#include "ops/norm.h"
#include "ops/rope.h"

/* loss = sum_i c_i y_i(x) for random c: one number whose gradient is the backward pass of gy = c. */
typedef void (*formula)(const double *x, double *y, const void *arg);

static void close_to(const char *what, const float *got, const double *want, int64_t n, double tolerance) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fabs(want[i]) > most ? fabs(want[i]) : most;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * most))
            fail_msg("%s[%lld] = %.9g, double says %.9g", what, (long long)i, got[i], want[i]);
}
static void differences(formula f, const void *arg, const float *x, int64_t nx, const float *c, int64_t ny, double *g) {
    double *xd = malloc((size_t)nx * sizeof *xd), *y = malloc((size_t)ny * sizeof *y);
    const double step = 1e-5;
    for (int64_t i = 0; i < nx; i++) xd[i] = x[i];
    for (int64_t i = 0; i < nx; i++) {
        double side[2];
        for (int s = 0; s < 2; s++) {
            xd[i] = (double)x[i] + (s ? step : -step);
            f(xd, y, arg);
            side[s] = 0;
            for (int64_t k = 0; k < ny; k++) side[s] += (double)c[k] * y[k];
        }
        xd[i] = x[i];
        g[i] = (side[1] - side[0]) / (2 * step);
    }
    free(xd), free(y);
}
static void in_double(formula f, const void *arg, const float *x, int64_t nx, double *y) {
    double *xd = malloc((size_t)nx * sizeof *xd);
    for (int64_t i = 0; i < nx; i++) xd[i] = x[i];
    f(xd, y, arg);
    free(xd);
}
static void numbers(float *x, int64_t n, float size) {
    for (int64_t i = 0; i < n; i++) x[i] = size * (float)((double)(rnd() >> 11) / 4503599627370496.0 - 1);
}

enum { N = 5, HEADS = 3, D = 24 };
static float w[D];
static const double eps = 1e-5;

static void norm_formula(const double *x, double *y, const void *arg) {
    int rows = *(const int *)arg;
    for (int t = 0; t < rows; t++) {
        double s = 0;
        for (int i = 0; i < D; i++) s += x[t * D + i] * x[t * D + i];
        for (int i = 0; i < D; i++) y[t * D + i] = w[i] * x[t * D + i] / sqrt(s / D + eps);
    }
}
static void test_norm(void **state) {
    (void)state;
    enum { M = N * HEADS };
    float x[M * D], y[M * D], gy[M * D], gx[M * D], r[M];
    double want[M * D];
    int rows = M;
    numbers(x, M * D, 2), numbers(w, D, 1.5f), numbers(gy, M * D, 1);
    assert_int_equal(ws_norm_forward(y, D, x, D, w, (float)eps, M, D, r), -1);
    in_double(norm_formula, &rows, x, M * D, want);
    close_to("y", y, want, M * D, 2e-6);
    differences(norm_formula, &rows, x, M * D, gy, M * D, want);
    memset(gx, 0, sizeof gx);
    ws_norm_backward(gx, D, gy, D, x, D, w, r, M, D);
    close_to("gx", gx, want, M * D, 2e-5);
    /* it adds: the residual path's gradient is there already */
    for (int i = 0; i < M * D; i++) gx[i] = 1, want[i] += 1;
    ws_norm_backward(gx, D, gy, D, x, D, w, r, M, D);
    close_to("gx + 1", gx, want, M * D, 2e-5);
    /* heads of tokens, with room between tokens, in place */
    enum { LD = HEADS * D + 7 };
    float z[N * LD], g[N * LD];
    for (int t = 0; t < N; t++)
        for (int i = 0; i < HEADS * D; i++) z[t * LD + i] = x[t * HEADS * D + i], g[t * LD + i] = gy[t * HEADS * D + i];
    differences(norm_formula, &rows, x, M * D, gy, M * D, want);
    ws_head_norm_backward(g, LD, g, LD, z, LD, w, r, N, HEADS, D);
    for (int t = 0; t < N; t++) close_to("gx of heads", g + t * LD, want + t * HEADS * D, HEADS * D, 2e-5);
    float again[M];
    assert_int_equal(ws_head_norm_forward(z, LD, z, LD, w, (float)eps, N, HEADS, D, again), -1);
    for (int t = 0; t < N; t++) assert_memory_equal(z + t * LD, y + t * HEADS * D, HEADS * D * sizeof *y);
    assert_memory_equal(again, r, sizeof r);
}
static void test_norm_notices(void **state) {
    (void)state;
    float x[N * D], y[N * D];
    for (int kind = 0; kind < 3; kind++) {
        numbers(x, N * D, 1), numbers(w, D, 1);
        x[3 * D + 5] = kind == 0 ? NAN : kind == 1 ? INFINITY : -INFINITY;
        x[4 * D] = NAN;
        assert_int_equal(ws_norm_forward(y, D, x, D, w, 1e-6f, N, D, NULL), 3);
    }
    numbers(x, N * D, 1e18f); /* squares beyond fp32 are no error */
    assert_int_equal(ws_norm_forward(y, D, x, D, w, 1e-6f, N, D, NULL), -1);
}

static const int32_t positions[N] = {0, 3, 4, 17, 200};
enum { HALF = 8 }; /* 16 of 24 dims rotate */
static void rope_formula(const double *x, double *y, const void *arg) {
    const ws_rope *r = arg;
    for (int t = 0; t < N; t++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < D; i++) {
                const double *v = x + (t * HEADS + h) * D;
                double *to = y + (t * HEADS + h) * D;
                int j = i % HALF;
                double a = (double)(float)((float)positions[t] * r->inv_freq[j]), f = r->attention_factor;
                to[i] = i < HALF       ? f * (v[j] * cos(a) - v[j + HALF] * sin(a))
                        : i < 2 * HALF ? f * (v[j + HALF] * cos(a) + v[j] * sin(a))
                                       : v[i];
            }
}
static void test_rope(void **state) {
    (void)state;
    ws_err err = {0};
    ws_rope r;
    const ws_rope_params p = {.kind = WS_ROPE_YARN,
                              .dim = 2 * HALF,
                              .theta = 10000,
                              .factor = 4,
                              .original_max = 64,
                              .beta_fast = 32,
                              .beta_slow = 1};
    enum { M = N * HEADS * D };
    float x[M], y[M], gy[M];
    double want[M];
    assert_int_equal(ws_rope_init(&r, &p, &err), WS_OK);
    assert_true(r.attention_factor > 1.1f);
    ws_rope_reserve(&r, 201);
    numbers(x, M, 2), numbers(gy, M, 1);
    memcpy(y, x, sizeof y);
    ws_rope_forward(&r, y, HEADS * D, N, HEADS, D, positions);
    in_double(rope_formula, &r, x, M, want);
    close_to("y", y, want, M, 2e-6);
    differences(rope_formula, &r, x, M, gy, M, want);
    ws_rope_backward(&r, gy, HEADS * D, N, HEADS, D, positions);
    close_to("gx", gy, want, M, 2e-5);
    ws_rope_release(&r);
    ws_rope_params bad = p;
    bad.factor = 0;
    assert_int_equal(ws_rope_init(&r, &bad, &err), WS_EFORMAT);
    bad = p, bad.dim = 7;
    assert_int_equal(ws_rope_init(&r, &bad, &err), WS_EFORMAT);
    bad = p, bad.theta = NAN;
    assert_int_equal(ws_rope_init(&r, &bad, &err), WS_EFORMAT);
}

enum { FF = 4 * D };
static void swiglu_formula(const double *x, double *y, const void *arg) {
    (void)arg;
    for (int i = 0; i < FF; i++) y[i] = x[i] / (1 + exp(-x[i])) * x[FF + i];
}
static void test_swiglu(void **state) {
    (void)state;
    float x[2 * FF], y[FF], gy[FF], g[2 * FF];
    double want[2 * FF];
    numbers(x, 2 * FF, 6), numbers(gy, FF, 1);
    ws_swiglu_forward(y, x, x + FF, 4, D);
    in_double(swiglu_formula, NULL, x, 2 * FF, want);
    close_to("y", y, want, FF, 2e-6);
    differences(swiglu_formula, NULL, x, 2 * FF, gy, FF, want);
    ws_swiglu_backward(g, g + FF, gy, x, x + FF, 4, D);
    close_to("gg, gu", g, want, 2 * FF, 2e-5);
    ws_swiglu_forward(x, x, x + FF, 4, D); /* over its own input */
    assert_memory_equal(x, y, sizeof y);
}

enum { OUT = 37 };
static float matrix[OUT * D], bias[OUT];
static void linear_formula(const double *x, double *y, const void *arg) {
    (void)arg;
    for (int t = 0; t < N; t++)
        for (int o = 0; o < OUT; o++) {
            double s = bias[o];
            for (int i = 0; i < D; i++) s += x[t * D + i] * matrix[o * D + i];
            y[t * OUT + o] = s;
        }
}
static void test_linear_and_embedding(void **state) {
    (void)state;
    float x[N * D], y[N * OUT], gy[N * OUT], gx[N * D], again[N * D];
    double want[N * OUT], g[N * D];
    numbers(x, N * D, 1), numbers(matrix, OUT * D, 1), numbers(bias, OUT, 1), numbers(gy, N * OUT, 1);
    const ws_weight weight = ws_weight_f32(matrix, OUT, D, D);
    ws_linear_forward(y, x, N, &weight, bias);
    in_double(linear_formula, NULL, x, N * D, want);
    close_to("y", y, want, N * OUT, 2e-6);
    differences(linear_formula, NULL, x, N * D, gy, N * OUT, g);
    ws_linear_backward(gx, gy, N, &weight, 0);
    close_to("gx", gx, g, N * D, 2e-5);
    memcpy(again, gx, sizeof gx);
    ws_linear_backward(again, gy, N, &weight, 1);
    for (int i = 0; i < N * D; i++) g[i] *= 2;
    close_to("gx + gx", again, g, N * D, 2e-5);

    uint16_t half[OUT * D];
    for (int i = 0; i < OUT * D; i++) half[i] = ws_f32_bf16(matrix[i]);
    const ws_weight table = {.data = half, .type = WS_BF16, .rows = OUT, .cols = D, .row_bytes = D * 2};
    const int32_t id[] = {36, 0, 7, 7, 35};
    float rows[5 * D];
    ws_embed_forward(rows, id, 5, &table);
    for (int t = 0; t < 5; t++)
        for (int i = 0; i < D; i++) assert_true(rows[t * D + i] == ws_bf16_f32(half[id[t] * D + i]));
}

/* A vocabulary of more than one chunk (8192), ids at the edges of chunks. */
enum { VOCAB = 8200, HD = 6 };
static float *head;
static const int32_t target[N] = {0, 8191, 8192, 8199, 4000};
static float weight_of[N] = {0.5f, 1, 0.25f, 0, 2};
static void ce_formula(const double *x, double *y, const void *arg) {
    (void)arg;
    double *l = malloc(VOCAB * sizeof *l);
    for (int t = 0; t < N; t++) {
        double max = -INFINITY, sum = 0;
        for (int v = 0; v < VOCAB; v++) {
            l[v] = 0;
            for (int i = 0; i < HD; i++) l[v] += x[t * HD + i] * head[v * HD + i];
            max = l[v] > max ? l[v] : max;
        }
        for (int v = 0; v < VOCAB; v++) sum += exp(l[v] - max);
        y[t] = max + log(sum) - l[target[t]];
    }
    free(l);
}
static void test_crossentropy(void **state) {
    (void)state;
    head = malloc(VOCAB * HD * sizeof *head);
    float h[N * HD], gh[N * HD];
    double nll[N], want[N * HD], again[N];
    ws_arena *a = ws_arena_new();
    numbers(head, VOCAB * HD, 2), numbers(h, N * HD, 3);
    const ws_weight hw = ws_weight_f32(head, VOCAB, HD, HD);
    assert_int_equal(ws_crossentropy(h, N, &hw, target, weight_of, nll, gh, a), -1);
    in_double(ce_formula, NULL, h, N * HD, want);
    for (int t = 0; t < N; t++) assert_true(fabs(nll[t] - want[t]) < 1e-5);
    differences(ce_formula, NULL, h, N * HD, weight_of, N, want);
    close_to("gh", gh, want, N * HD, 2e-5);
    /* without a gradient, and each token by itself: the same losses */
    assert_int_equal(ws_crossentropy(h, N, &hw, target, NULL, again, NULL, a), -1);
    assert_memory_equal(again, nll, sizeof nll);
    for (int t = 0; t < N; t++) {
        assert_int_equal(ws_crossentropy(h + t * HD, 1, &hw, target + t, NULL, again, NULL, a), -1);
        assert_true(again[0] == nll[t]);
    }
    h[2 * HD] = NAN;
    assert_int_equal(ws_crossentropy(h, N, &hw, target, weight_of, nll, gh, a), 2);
    assert_int_equal(ws_crossentropy(h, 0, &hw, target, weight_of, nll, gh, a), -1);
    ws_arena_free(a);
    free(head);
}

int main(void) {
    ws_err err = {0};
    if (ws_kernels_init(&err)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_norm),
                                       cmocka_unit_test(test_norm_notices),
                                       cmocka_unit_test(test_rope),
                                       cmocka_unit_test(test_swiglu),
                                       cmocka_unit_test(test_linear_and_embedding),
                                       cmocka_unit_test(test_crossentropy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
