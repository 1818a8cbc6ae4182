/* What stands around the gated delta rule in a linear layer of Qwen3.5, and the output gate of its full attention: every op
 * against its formula in double and central differences of it (step 1e-5: their own error is about 1e-9), then the chain of all of
 * them against transformers' functions (tests/fixtures/gdn.json). */
#include "kernel_sets.h"
#include "base/parallel.h"
#include "io/json.h"
#include "ops/conv.h"
#include "ops/decay.h"
#include "ops/delta.h"
#include "ops/gate.h"
#include "ops/gated_norm.h"
#include "ops/l2norm.h"

typedef void (*formula)(const double *x, double *y, const void *arg);

/* fp32 values to `tolerance` of the largest one */
static void close_to(const char *what, const float *got, const double *want, int64_t n, double tolerance) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fabs(want[i]) > most ? fabs(want[i]) : most;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * most))
            fail_msg("%s %s[%lld] = %.9g, want %.9g", ws_k.name, what, (long long)i, (double)got[i], want[i]);
}
static void in_double(formula f, const void *arg, const float *x, int64_t nx, double *y) {
    double *xd = malloc((size_t)nx * sizeof *xd);
    for (int64_t i = 0; i < nx; i++) xd[i] = x[i];
    f(xd, y, arg);
    free(xd);
}
/* want [nx] = gradient of sum c y(x) */
static void differences(formula f, const void *arg, const float *x, int64_t nx, const float *c, int64_t ny,
                        double *want) {
    double *xd = malloc((size_t)nx * sizeof *xd), *y = malloc((size_t)ny * sizeof *y);
    for (int64_t i = 0; i < nx; i++) xd[i] = x[i];
    for (int64_t i = 0; i < nx; i++) {
        double side[2], keep = xd[i];
        for (int up = 0; up < 2; up++) {
            xd[i] = keep + (up ? 1e-5 : -1e-5), side[up] = 0;
            f(xd, y, arg);
            for (int64_t k = 0; k < ny; k++) side[up] += (double)c[k] * y[k];
        }
        xd[i] = keep, want[i] = (side[1] - side[0]) / 2e-5;
    }
    free(xd), free(y);
}

/* ---------- convolution ---------- */
typedef struct conv_case {
    int n, channels, taps;
    const float *w; /* [channels, taps] as in a checkpoint */
} conv_case;
static void conv_formula(const double *m, double *c, const void *arg) {
    const conv_case *k = arg;
    for (int t = 0; t < k->n; t++)
        for (int i = 0; i < k->channels; i++) {
            double u = 0;
            for (int j = 0; j < k->taps; j++) {
                int s = t - (k->taps - 1) + j;
                if (s >= 0) u += (double)k->w[i * k->taps + j] * m[s * k->channels + i];
            }
            c[t * k->channels + i] = u / (1 + exp(-u));
        }
}
/* P4 of models.md 13: T = 1 .. 5; and more channels than one task takes. */
static void convolution_and_its_gradient(void **state) {
    (void)state;
    static const conv_case cases[] = {{1, 9, 4, 0}, {2, 9, 4, 0}, {3, 9, 4, 0},   {4, 9, 4, 0},  {5, 9, 4, 0},
                                      {7, 3, 1, 0}, {6, 5, 2, 0}, {5, 530, 4, 0}, {20, 4, 16, 0}};
    EACH_SET(k)
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        conv_case c = cases[i];
        const int64_t N = (int64_t)c.n * c.channels;
        float *file = floats(c.channels * c.taps, -1, 1), *w = floats(c.channels * c.taps, 0, 0);
        float *m = floats(N, -2, 2), *out = floats(N, 9, 9), *gc = floats(N, -1, 1), *gm = floats(N, 9, 9);
        double *want = malloc((size_t)N * sizeof *want);
        c.w = file;
        ws_conv_weights(w, file, c.channels, c.taps);
        const ws_conv_shape s = {.channels = c.channels, .taps = c.taps, .slots = 0, .w = w};
        const ws_conv_row row = {.n = c.n, .m = m, .c = out};
        ws_conv_forward(&s, &row, 1);
        in_double(conv_formula, &c, m, N, want);
        close_to("c", out, want, N, 2e-6);
        if (c.channels < 100) {
            ws_conv_grad grad = {c.n, m, gc, gm};
            ws_conv_backward(&s, &grad, 1);
            differences(conv_formula, &c, m, N, gc, N, want);
            close_to("gm", gm, want, N, 2e-5);
            grad.gm = gc; /* in place */
            ws_conv_backward(&s, &grad, 1);
            assert_memory_equal(gc, gm, (size_t)N * sizeof *gm);
        }
        free(file), free(w), free(m), free(out), free(gc), free(gm), free(want);
    }
}

/* Prefill in any split, rows in a batch, one thread or two, small and large rings; tokens taken back. */
static void convolution_bits_depend_on_no_split(void **state) {
    (void)state;
    enum { N = 23, C = 300, K = 4 };
    static const int pieces[] = {1, 2, 3, 5, 22, 23};
    EACH_SET(k) {
        float *w = floats(K * C, -1, 1), *m = floats(N * C, -2, 2), *whole = floats(N * C, 0, 0);
        float *out = floats(N * C, 0, 0), *other = floats(N * C, 0, 0);
        for (int slots = K - 1; slots <= 9; slots += 3) {
            const ws_conv_shape s = {C, K, slots, w};
            ws_conv_row row = {.n = N, .m = m, .c = whole};
            ws_threads_set(1);
            ws_conv_forward(&s, &row, 1);
            ws_threads_set(2);
            assert_int_equal(ws_conv_ring_floats(&s), (size_t)slots * C);
            for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
                float *ring = floats(slots * C, NAN, NAN), *ring2 = floats(slots * C, NAN, NAN);
                memset(out, 0, N * C * sizeof *out), memset(other, 0, N * C * sizeof *other);
                for (int at = 0; at < N; at += pieces[p]) {
                    int n = N - at < pieces[p] ? N - at : pieces[p];
                    ws_conv_row rows[2] = {{n, at, m + at * C, out + at * C, ring},
                                           {n, at, m + at * C, other + at * C, ring2}};
                    ws_conv_forward(&s, rows, 2);
                }
                assert_memory_equal(out, whole, N * C * sizeof *out);
                assert_memory_equal(other, whole, N * C * sizeof *out);
                const int back = slots - (K - 1), at = N - back; /* that many can be done again */
                if (back) {
                    row = (ws_conv_row){back, at, m + at * C, other, ring};
                    ws_conv_forward(&s, &row, 1);
                    assert_memory_equal(other, whole + at * C, (size_t)(back * C) * sizeof *out);
                }
                free(ring), free(ring2);
            }
            ws_threads_set(0);
        }
        free(w), free(m), free(whole), free(out), free(other);
    }
}

/* ---------- decay and beta ---------- */
enum { T = 4, H = 3 };
static const float a_log[H] = {-2, 0.5f, 2.7f}, dt_bias[H] = {1, -0.4f, 3};
static void decay_formula(const double *x, double *y, const void *arg) { /* x = a, b; y = g, beta */
    (void)arg;
    for (int i = 0; i < T * H; i++) {
        y[i] = -exp((double)a_log[i % H]) * log1p(exp(x[i] + dt_bias[i % H]));
        y[T * H + i] = 1 / (1 + exp(-x[T * H + i]));
    }
}
static void decay_and_its_gradient(void **state) {
    (void)state;
    enum { M = T * H };
    float *x = floats(2 * M, -4, 4), *gy = floats(2 * M, -1, 1), y[2 * M], gx[2 * M], rate[H];
    double want[2 * M];
    ws_decay_rate(rate, a_log, H);
    ws_decay_forward(y, y + M, x, x + M, rate, dt_bias, T, H);
    in_double(decay_formula, NULL, x, 2 * M, want);
    for (int i = 0; i < 2 * M; i++)
        assert_true(fabs(y[i] - want[i]) <= 3e-7 * fabs(want[i])); /* relative: small ones too */
    ws_decay_backward(gx, gx + M, gy, gy + M, x, y + M, rate, dt_bias, T, H);
    differences(decay_formula, NULL, x, 2 * M, gy, 2 * M, want);
    close_to("ga", gx, want, M, 2e-6);
    close_to("gb", gx + M, want + M, M, 2e-6);
    /* far out: softplus is the number itself or nothing, never an infinity */
    const float far[2] = {200, -200}, zero[2] = {0, 0}, one[2] = {-1, -1};
    float g[2], beta[2];
    ws_decay_forward(g, beta, far, far, one, zero, 1, 2);
    assert_true(g[0] == -200 && g[1] <= 0 && g[1] > -1e-30f && beta[0] == 1 && beta[1] >= 0 && beta[1] < 1e-30f);
    free(x), free(gy);
}

/* ---------- gated norm ---------- */
enum { D = 20 };
static float norm_w[D];
static const float eps = 1e-6f;
static void gated_norm_formula(const double *x, double *y, const void *arg) { /* x = x, z */
    (void)arg;
    for (int i = 0; i < T * H; i++) {
        const double *u = x + i * D, *z = x + (T * H + i) * D;
        double s = 0;
        for (int j = 0; j < D; j++) s += u[j] * u[j];
        for (int j = 0; j < D; j++) y[i * D + j] = norm_w[j] * u[j] / sqrt(s / D + 1e-6) * z[j] / (1 + exp(-z[j]));
    }
}
static void gated_norm_and_its_gradient(void **state) {
    (void)state;
    enum { M = T * H * D };
    EACH_SET(k) {
        float *x = floats(2 * M, -3, 3), *gy = floats(M, -1, 1), y[M], gx[M], gz[M], r[T * H];
        double want[2 * M];
        for (int j = 0; j < D; j++) norm_w[j] = uniform(0.3f, 2);
        assert_int_equal(ws_gated_norm_forward(y, x, x + M, norm_w, eps, T, H, D, r), -1);
        in_double(gated_norm_formula, NULL, x, 2 * M, want);
        close_to("y", y, want, M, 2e-6);
        ws_gated_norm_backward(gx, gz, gy, x, x + M, norm_w, r, T, H, D);
        differences(gated_norm_formula, NULL, x, 2 * M, gy, M, want);
        close_to("gx", gx, want, M, 2e-5);
        close_to("gz", gz, want + M, M, 2e-5);
        ws_gated_norm_backward(gy, gz, gy, x, x + M, norm_w, r, T, H, D); /* in place */
        assert_memory_equal(gy, gx, sizeof gx);
        float *in = floats(M, 0, 0);
        memcpy(in, x, M * sizeof *x);
        assert_int_equal(ws_gated_norm_forward(in, in, x + M, norm_w, eps, T, H, D, NULL), -1);
        assert_memory_equal(in, y, sizeof y);
        x[2 * H * D + 5] = NAN; /* token 2 */
        assert_int_equal(ws_gated_norm_forward(y, x, x + M, norm_w, eps, T, H, D, NULL), 2);
        free(x), free(gy), free(in);
    }
}

/* ---------- L2 norm ---------- */
static float l2_scale;
static void l2_formula(const double *x, double *y, const void *arg) {
    double s = 0;
    (void)arg;
    for (int j = 0; j < D; j++) s += x[j] * x[j];
    for (int j = 0; j < D; j++) y[j] = l2_scale * x[j] / sqrt(s + 1e-6);
}
static void l2norm_and_its_gradient(void **state) {
    (void)state;
    static const float size[] = {2, 1e-3f, 1e-6f}; /* where eps is nothing, as large as x, all */
    EACH_SET(k)
    for (int i = 0; i < 3; i++)
        for (int scaled = 0; scaled < 2; scaled++) {
            float *x = floats(D, -size[i], size[i]), *gy = floats(D, -1, 1), y[D], gx[D];
            double want[D], wide[D], step = 1e-5 * (size[i] < 1 ? 1e-3 : 1);
            l2_scale = scaled ? 1 / sqrtf(D) : 1;
            float r = ws_l2norm_forward(y, x, l2_scale, D);
            in_double(l2_formula, NULL, x, D, want);
            close_to("y", y, want, D, 1e-6);
            ws_l2norm_backward(gx, gy, y, r, l2_scale, D);
            for (int j = 0; j < D; j++) { /* the slope is steep near 0: a smaller step */
                double side[2];
                for (int up = 0; up < 2; up++) {
                    double xd[D];
                    for (int q = 0; q < D; q++) xd[q] = x[q];
                    xd[j] += up ? step : -step, side[up] = 0;
                    l2_formula(xd, wide, NULL);
                    for (int q = 0; q < D; q++) side[up] += (double)gy[q] * wide[q];
                }
                want[j] = (side[1] - side[0]) / (2 * step);
            }
            close_to("gx", gx, want, D, 2e-5);
            free(x), free(gy);
        }
}

/* ---------- output gate ---------- */
enum { HD = 11, G = T * H * HD };
static void gate_formula(const double *qc, double *y, const void *arg) { /* y = o sigmoid(c) with o in the place of q */
    (void)arg;
    for (int i = 0; i < T * H; i++)
        for (int j = 0; j < HD; j++) y[i * HD + j] = qc[2 * i * HD + j] / (1 + exp(-qc[(2 * i + 1) * HD + j]));
}
static void output_gate_and_its_gradient(void **state) {
    (void)state;
    EACH_SET(k) {
        float *qc = floats(2 * G, -4, 4), *gy = floats(G, -1, 1), o[G], c[G], y[G], go[G], gc[G], gqc[2 * G];
        double want[2 * G];
        ws_gate_split(o, c, qc, T, H, HD);
        ws_gate_forward(y, o, c, T * H, HD);
        in_double(gate_formula, NULL, qc, 2 * G, want);
        close_to("y", y, want, G, 1e-6);
        ws_gate_backward(go, gc, gy, o, c, T * H, HD);
        ws_gate_join(gqc, go, gc, T, H, HD);
        differences(gate_formula, NULL, qc, 2 * G, gy, G, want);
        close_to("gqc", gqc, want, 2 * G, 2e-6);
        ws_gate_backward(gy, gc, gy, o, c, T * H, HD); /* in place */
        assert_memory_equal(gy, go, sizeof go);
        ws_gate_forward(o, o, c, T * H, HD);
        assert_memory_equal(o, y, sizeof y);
        free(qc), free(gy);
    }
}

/* ---------- the chain, against transformers ---------- */
static float *wave(int64_t n, double phase, double size, double shift) { /* as in tools/reference/make_gdn.py */
    float *p = floats(n, 0, 0);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(shift + size * sin(1.7 * (double)i + 0.013 * (double)i * (double)i + phase));
    return p;
}
static int64_t number(const json_t *o, const char *key) { return json_integer_value(json_object_get(o, key)); }
/* Largest |difference| as a share of the largest |value|. */
static void as_stored(const json_t *o, const char *key, const float *got, int64_t n, double tolerance) {
    const json_t *a = json_object_get(o, key);
    double *want = malloc((size_t)n * sizeof *want);
    assert_int_equal(json_array_size(a), n);
    for (int64_t i = 0; i < n; i++) want[i] = json_number_value(json_array_get(a, (size_t)i));
    close_to(key, got, want, n, tolerance);
    free(want);
}

/* fp32 through the whole chain: values to 1e-5 of the largest (P4), gradients to 5e-5, since the gated norm divides by
 * sizes of o that can be a tenth of the usual one. */
static void the_chain_equals_transformers(void **state) {
    (void)state;
    ws_err err = {0};
    json_t *file, *one;
    size_t i;
    if (ws_json_load(&file, "tests/fixtures/gdn.json", &err)) fail_msg("%s", err.msg);
    assert_true(json_array_size(json_object_get(file, "cases")) >= 4);
    EACH_SET(k)
    json_array_foreach(json_object_get(file, "cases"), i, one) {
        const int64_t n = number(one, "T"), Hv = number(one, "Hv"), K = number(one, "K");
        const ws_delta_shape s = {.key_heads = (int)number(one, "Hk"),
                                  .value_heads = (int)Hv,
                                  .dk = (int)number(one, "dk"),
                                  .dv = (int)number(one, "dv")};
        const int64_t ld = ws_delta_channels(&s), nm = n * ld, nh = n * Hv, no = nh * s.dv;
        float *m = wave(nm, 0.1, 1.5, 0), *file_w = wave(ld * K, 0.7, 1, 0), *w = floats(ld * K, 0, 0);
        float *a = wave(nh, 1.3, 2, 0), *b = wave(nh, 1.9, 2, 0), *z = wave(no, 2.3, 2, 0);
        float *rate = wave(Hv, 0.2, 1, 0), *bias = wave(Hv, 0.4, 1, 0), *nw = wave(s.dv, 0.6, 0.3, 1);
        float *gy = wave(no, 2.9, 1, 0), *c = floats(nm, 0, 0), *g = floats(nh, 0, 0), *beta = floats(nh, 0, 0);
        float *o = floats(no, 0, 0), *y = floats(no, 0, 0), *r = floats(nh, 0, 0), *go = floats(no, 0, 0);
        float *gz = floats(no, 0, 0), *gc = floats(nm, 0, 0), *gg = floats(nh, 0, 0), *gbeta = floats(nh, 0, 0);
        float *S = floats((int64_t)ws_delta_s_floats(&s), NAN, NAN),
              *now = floats((int64_t)ws_delta_s_floats(&s), 0, 0);
        float *open = floats((int64_t)ws_delta_open_floats(&s), NAN, NAN);
        const ws_conv_shape conv = {ld, (int)K, (int)K - 1, w};
        ws_conv_weights(w, file_w, ld, (int)K);
        ws_decay_rate(rate, rate, (int)Hv);
        const ws_conv_row crow = {.n = n, .m = m, .c = c};
        ws_conv_forward(&conv, &crow, 1);
        ws_decay_forward(g, beta, a, b, rate, bias, n, (int)Hv);
        const ws_delta_row drow = {n, 0, c, g, beta, o, S, S, open};
        ws_delta_forward(&s, &drow, 1);
        ws_delta_s_now(&s, S, open, n, now);
        assert_int_equal(ws_gated_norm_forward(y, o, z, nw, 1e-6f, n, (int)Hv, s.dv, r), -1);
        as_stored(one, "c_first", c, (n < 5 ? n : 5) * ld, 1e-6);
        as_stored(one, "o", o, no, 1e-5);
        as_stored(one, "S", now, (int64_t)ws_delta_s_floats(&s), 1e-5);
        as_stored(one, "y", y, no, 1e-5);
        ws_gated_norm_backward(go, gz, gy, o, z, nw, r, n, (int)Hv, s.dv);
        const ws_delta_grad dgrad = {n, c, g, beta, go, gc, gg, gbeta};
        ws_delta_backward(&s, &dgrad, 1);
        ws_decay_backward(gg, gbeta, gg, gbeta, a, beta, rate, bias, n, (int)Hv);
        const ws_conv_grad cgrad = {n, m, gc, gc};
        ws_conv_backward(&conv, &cgrad, 1);
        as_stored(one, "gz", gz, no, 1e-5);
        as_stored(one, "ga", gg, nh, 5e-5);
        as_stored(one, "gb", gbeta, nh, 5e-5);
        as_stored(one, "gm", gc, nm, 5e-5);
        float *all[] = {m,    file_w, w, a, b,  z,  rate, bias, nw,    gy, c,   g,
                        beta, o,      y, r, go, gz, gc,   gg,   gbeta, S,  now, open};
        for (size_t q = 0; q < sizeof all / sizeof *all; q++) free(all[q]);
    }
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_and_its_gradient),  cmocka_unit_test(convolution_bits_depend_on_no_split),
        cmocka_unit_test(decay_and_its_gradient),        cmocka_unit_test(gated_norm_and_its_gradient),
        cmocka_unit_test(l2norm_and_its_gradient),       cmocka_unit_test(output_gate_and_its_gradient),
        cmocka_unit_test(the_chain_equals_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
