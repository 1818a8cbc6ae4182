/* Tiny random models of every family against transformers: logits, losses, the gradient of the embedding output, the
 * gradients of LoRA-like probes on all linears of every layer. Tolerances (models.md 13): logits 1e-4 absolute at a size
 * of 5, 1e-3 for Qwen3.5, where the gated norm makes rounding errors of tiny outputs large (its reference is in double);
 * gradients 1e-4 of their norm, per tensor. */
#include "model/parts.h"
#include "tiny.h"

static void logits_of(const tiny *t, double tolerance) {
    int64_t d = ws_model_dims(t->m)->hidden, vocab = ws_model_dims(t->m)->vocab;
    ws_row rows[TINY_MAX_ROWS];
    for (int r = 0; r < t->n_rows; r++) rows[r] = (ws_row){-1, t->ids[r], t->n[r], t->n[r]};
    float *h = tiny_forward(t->m, NULL, rows, t->n_rows, 0, NULL, NULL), *at = h,
          *logits = malloc((size_t)vocab * sizeof *logits);
    double worst = 0;
    for (int r = 0; r < t->n_rows; r++) {
        char name[32];
        snprintf(name, sizeof name, "logits.%d", r);
        const float *want = tiny_want(t, name)->data;
        for (int i = 0; i < t->n[r]; i++, at += d) {
            if (i % t->step) continue;
            ws_head(t->m, at, 1, logits);
            for (int64_t v = 0; v < vocab; v++, want++) {
                double e = fabs((double)logits[v] - *want);
                worst = e > worst || isnan(e) ? e : worst;
            }
        }
    }
    printf("  largest logit error %.2e\n", worst);
    assert_true(worst < tolerance);
    free(logits);
    free(h);
}

static void rows_of(const tiny *t, ws_train_row *rows) {
    for (int r = 0; r < t->n_rows; r++) rows[r] = (ws_train_row){t->ids[r], t->n[r], t->first[r], t->weight[r]};
}

static void check_losses(const tiny *t, const char *key, const ws_train_out *out, const double *nll) {
    double loss = 0, sum = 0;
    int64_t n = 0;
    for (int r = 0; r < t->n_rows; r++) {
        double want = json_real_value(json_array_get(json_object_get(t->info, key), (size_t)r));
        assert_true(fabs(nll[r] - want) < 2e-6 * want + 1e-4);
        loss += want * t->weight[r], sum += want;
        n += t->n[r] - t->first[r];
    }
    assert_true(fabs(out->loss - loss) < 2e-5 * loss);
    assert_true(fabs(out->nll - sum) < 2e-5 * sum);
    assert_int_equal(out->n, n);
}

/* No adapter: the gradient that reaches the embedding passes through every op of every block. */
static void embedding_gradient(const tiny *t, int recompute) {
    ws_err err = {0};
    ws_train_row rows[TINY_MAX_ROWS];
    ws_train_out out;
    double nll[TINY_MAX_ROWS];
    int64_t n = (int64_t)tiny_tokens(t) * ws_model_dims(t->m)->hidden;
    float *gx = calloc((size_t)n, sizeof *gx);
    rows_of(t, rows);
    ws_model_set_recompute(t->m, recompute);
    ws_model_probe(t->m, gx);
    OK(ws_train_pass(t->m, rows, t->n_rows, NULL, 0, -1, &out, nll, &err));
    ws_model_probe(t->m, NULL);
    check_losses(t, "nll", &out, nll);
    double e = relative_f(gx, tiny_floats(t, "embed_grad", ""), n);
    printf("  embedding gradient, relative error %.2e\n", e);
    assert_true(e < 1e-4);
    free(gx);
}

static void probe_gradients(const tiny *t, int recompute, int lowest) {
    ws_err err = {0};
    ws_train_row rows[TINY_MAX_ROWS];
    ws_train_out out;
    double nll[TINY_MAX_ROWS], worst = 0;
    probe trained, below;
    rows_of(t, rows);
    /* Layers under `lowest` have their probes in a second, frozen patch: the losses stay the same, backward ends early. */
    probe_from_fixture(&trained, t, lowest);
    probe_from_fixture(&below, t, 0);
    for (int i = 0; i < ws_model_n_sites(t->m); i++)
        if (trained.a[i]) below.a[i] = below.b[i] = NULL;
    ws_patch *patches[] = {&trained.patch, &below.patch};
    ws_model_set_recompute(t->m, recompute);
    OK(ws_train_pass(t->m, rows, t->n_rows, patches, 2, 0, &out, nll, &err));
    check_losses(t, "probe_nll", &out, nll);
    for (int i = 0; i < ws_model_n_sites(t->m); i++) {
        const ws_site *s = ws_model_site(t->m, i);
        if (!trained.a[i]) continue;
        double ea = relative(trained.ga[i], tiny_floats(t, "gA.", s->name), 2 * s->d_in);
        double eb = relative(trained.gb[i], tiny_floats(t, "gB.", s->name), 2 * s->d_out);
        if (!(ea < 1e-4 && eb < 1e-4)) printf("  %s: gA %.2e gB %.2e\n", s->name, ea, eb);
        worst = ea > worst || isnan(ea) ? ea : worst, worst = eb > worst || isnan(eb) ? eb : worst;
    }
    printf("  probe gradients from layer %d, largest relative error %.2e\n", lowest, worst);
    assert_true(worst < 1e-4);
    probe_close(&trained);
    probe_close(&below);
}

static void logits_of_each(const char *const *names, int n) {
    for (int i = 0; i < n; i++) {
        tiny t;
        printf("%s\n", names[i]);
        tiny_open(&t, names[i]);
        logits_of(&t, strncmp(names[i], "qwen35", 6) ? 1e-4 : 1e-3);
        tiny_close(&t);
    }
}
static void gradients_of_each(const char *const *names, int n) {
    for (int i = 0; i < n; i++) {
        tiny t;
        printf("%s\n", names[i]);
        tiny_open(&t, names[i]);
        for (int recompute = 0; recompute < 2; recompute++) {
            embedding_gradient(&t, recompute);
            for (int lowest = 0; lowest < ws_model_dims(t.m)->layers; lowest++) probe_gradients(&t, recompute, lowest);
        }
        tiny_close(&t);
    }
}

static void test_logits(void **state) {
    (void)state;
    logits_of_each(tiny_names, TINY_MODELS);
}
static void test_gradients(void **state) {
    (void)state;
    gradients_of_each(tiny_names, TINY_MODELS);
}
/* The probes have Hugging Face's names and order, whatever order the file's heads have. */
static void test_gguf_logits(void **state) {
    (void)state;
    logits_of_each(tiny_ggufs, TINY_GGUFS);
}
static void test_gguf_gradients(void **state) {
    (void)state;
    gradients_of_each(tiny_ggufs, TINY_GGUFS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logits), cmocka_unit_test(test_gradients),
                                       cmocka_unit_test(test_gguf_logits), cmocka_unit_test(test_gguf_gradients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
