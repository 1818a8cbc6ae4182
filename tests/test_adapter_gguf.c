/* tests/test_adapter_gguf.c - every adapter on a GGUF, whose rows and columns stand in llama.cpp's order (value heads of the delta
 * rule are tiled, rotary pairs are interleaved), means what it means on the directory that the GGUF was made from: in training
 * and as a dW.
 * Tolerance: both bases hold the same numbers and add them up in another order, which the hybrid's norms of nearly nothing
 * magnify: logits 5e-5 of the largest, gradients 1e-3 of the largest of their tensor.  One row in another's place is off by
 * tenths. */
#include "adapter_help.h"
#include "delta/delta.h"

static const char *const models[] = {"qwen35", "qwen35_3x"};
enum { MODELS = 2, N = 19 };

typedef struct base {
    ws_checkpoint *c;
    ws_model *m;
} base;
static base open_base(const char *name, const char *ending) {
    ws_err err = {0};
    base b;
    char path[128];
    OK(ws_kernels_init(&err));
    snprintf(path, sizeof path, "tests/fixtures/models/%s%s", name, ending);
    OK(ws_checkpoint_open(&b.c, path, &err));
    OK(ws_model_open(&b.m, b.c, &err));
    return b;
}
static void close_base(base *b) {
    ws_model_free(b->m);
    ws_checkpoint_close(b->c);
}

static uint32_t seed;
static float noise(void) { return seed = seed * 1664525u + 1013904223u, (float)(seed >> 8) / 8388608.0f - 1; }

/* All linears, every trained number away from where it starts. */
static ws_adapter *perturbed(const ws_model *m, const char *kind) {
    ws_err err = {0};
    ws_adapter *a;
    const int all = !strcmp(kind, "ia3");
    ws_adapter_config c = {kind, 3, 6, all ? -1 : 0, all ? -1 : ws_model_dims(m)->layers, "all-linear", 4, 1};
    OK(ws_adapter_new(&a, m, &c, &err));
    ws_adapter_init(a, 5);
    for (int64_t i = 0; i < ws_adapter_size(a); i++) ws_adapter_values(a)[i] += 0.05f * noise();
    ws_adapter_refresh(a);
    return a;
}
/* The same adapter on the other base. */
static ws_adapter *carried(const ws_model *m, const ws_adapter *from, const char *kind) {
    ws_adapter *a = perturbed(m, kind);
    assert_int_equal(ws_adapter_n_params(a), ws_adapter_n_params(from));
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i), *q = ws_adapter_param(from, i);
        assert_true(p->site == q->site && p->rows == q->rows && p->cols == q->cols);
        memcpy(p->value, q->value, (size_t)(p->rows * p->cols) * sizeof(float));
    }
    ws_adapter_refresh(a);
    return a;
}

static void some_ids(const ws_model *m, int32_t ids[N]) {
    for (int i = 0; i < N; i++) ids[i] = (int32_t)((i * 37 + 5) % ws_model_dims(m)->vocab);
}
static float *logits(ws_model *m, ws_patch *patch, float alpha) {
    ws_err err = {0};
    int32_t ids[N];
    const ws_dims *d = ws_model_dims(m);
    float *h = malloc((size_t)(N * d->hidden) * sizeof *h), *out = malloc((size_t)(N * d->vocab) * sizeof *out);
    const float *strength = &alpha;
    some_ids(m, ids);
    ws_row row = {-1, ids, N, N};
    ws_batch b = {1, &row, 1, &patch, &strength};
    OK(ws_forward(m, NULL, &b, h, &err));
    ws_head(m, h, N, out);
    free(h);
    return out;
}
static void train_step(ws_model *m, ws_adapter *a) {
    ws_err err = {0};
    int32_t ids[N];
    some_ids(m, ids);
    ws_train_row row = {ids, N, 4, 0.1f};
    ws_train_out out;
    ws_patch *patch = ws_adapter_patch(a);
    ws_adapter_zero_grad(a);
    OK(ws_train_pass(m, &row, 1, &patch, 1, 0, &out, NULL, &err));
    ws_adapter_finish_grad(a);
}

static void a_gguf_is_the_directory(void **state) {
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        base dir = open_base(models[i], ""), gguf = open_base(models[i], ".gguf");
        int reordered = 0;
        for (int s = 0; s < ws_model_n_sites(gguf.m); s++) {
            const ws_weight *w = ws_model_site(gguf.m, s)->w;
            reordered += w && (w->row_order.a || w->col_order.a);
        }
        assert_true(reordered > 0); /* or nothing is shown here */
        for (int k = 0; k < ALL_KINDS; k++) {
            ws_err err = {0};
            const char *kind = all_kinds[k];
            const int64_t n = N * ws_model_dims(dir.m)->vocab;
            seed = 7 + (uint32_t)k;
            ws_adapter *a = perturbed(dir.m, kind), *b = carried(gguf.m, a, kind);
            float *x = logits(dir.m, ws_adapter_patch(a), 1), *y = logits(gguf.m, ws_adapter_patch(b), 1);
            double trained = relative_error(y, x, n), steered = 0, grads = 0;
            free(x), free(y);
            ws_delta *p, *q;
            OK(ws_delta_from_adapter(&p, dir.m, a, &err));
            OK(ws_delta_from_adapter(&q, gguf.m, b, &err));
            double norm = ws_delta_norm(p), off = fabs(ws_delta_norm(q) - norm) / norm;
            x = logits(dir.m, ws_delta_patch(p), -1.5f), y = logits(gguf.m, ws_delta_patch(q), -1.5f);
            steered = relative_error(y, x, n);
            free(x), free(y);
            train_step(dir.m, a), train_step(gguf.m, b);
            for (int j = 0; j < ws_adapter_n_params(a); j++) {
                const ws_param *u = ws_adapter_param(a, j), *v = ws_adapter_param(b, j);
                if (u->grad) keep_worst(&grads, relative_error(v->grad, u->grad, u->rows * u->cols));
            }
            printf("  %-9s %-6s logits %.1e, steered %.1e, norm %.1e, gradients %.1e\n", models[i], kind, trained,
                   steered, off, grads);
            if (!(trained < 5e-5 && steered < 5e-5 && off < 1e-6 && grads < 1e-3))
                fail_msg("%s differs on %s.gguf", kind, models[i]);
            ws_delta_free(p), ws_delta_free(q);
            ws_adapter_free(a), ws_adapter_free(b);
        }
        close_base(&dir), close_base(&gguf);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_gguf_is_the_directory)};
    return cmocka_run_group_tests_name("adapter/gguf", tests, NULL, NULL);
}
