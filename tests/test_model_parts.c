/* tests/test_model_parts.c - a training batch in parts of whole rows is the packed batch: loss, every row's loss, the
 * gradient of the embeddings and every gradient of every kind of adapter, the same bits for any size of the parts, with
 * blocks kept or recomputed, on one thread or two.  That the bits hang on the order of the rows at all is shown with the
 * rows turned round. */
#include "adapter/adapter.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "model/parts.h"
#include "tiny.h"

enum { ROWS = 5 };
static const int length[ROWS] = {40, 17, 2, 70, 33}, supervised[ROWS] = {9, 1, 1, 60, 30};

typedef struct result {
    ws_train_out out;
    double nll[ROWS];
    float *grads, *embed;
} result;

static void run(result *r, tiny *t, ws_adapter *a, const ws_train_row *rows) {
    ws_err err = {0};
    ws_patch *patch = ws_adapter_patch(a);
    int64_t tokens = 0;
    for (int i = 0; i < ROWS; i++) tokens += rows[i].n;
    r->grads = calloc((size_t)ws_adapter_size(a), sizeof *r->grads);
    r->embed = calloc((size_t)(tokens * ws_model_dims(t->m)->hidden), sizeof *r->embed);
    ws_model_probe(t->m, r->embed);
    ws_adapter_zero_grad(a);
    OK(ws_train_pass(t->m, rows, ROWS, &patch, 1, 0, &r->out, r->nll, &err));
    ws_adapter_finish_grad(a);
    ws_model_probe(t->m, NULL);
    memcpy(r->grads, ws_adapter_grads(a), (size_t)ws_adapter_size(a) * sizeof *r->grads);
}
static void drop(result *r) { free(r->grads), free(r->embed); }

static ws_adapter *adapter(const tiny *t, const char *kind) {
    ws_err err = {0};
    ws_adapter *a;
    ws_mt stream;
    ws_adapter_config cfg = {
        .kind = kind, .rank = 4, .alpha = 8, .layer_end = ws_model_dims(t->m)->layers, .targets = "all-linear"};
    if (ws_adapter_new(&a, t->m, &cfg, &err)) { /* some kinds choose their layers and modules themselves */
        cfg.layer_begin = cfg.layer_end = -1, cfg.targets = NULL;
        OK(ws_adapter_new(&a, t->m, &cfg, &err));
    }
    ws_adapter_init(a, 3);
    ws_mt_seed(&stream, 4);
    float *v = ws_adapter_values(a), *noise = malloc((size_t)ws_adapter_size(a) * sizeof *noise);
    ws_mt_kaiming(&stream, noise, ws_adapter_size(a), 300); /* nothing is zero, so every gradient counts */
    for (int64_t i = 0; i < ws_adapter_size(a); i++) v[i] += noise[i];
    ws_adapter_refresh(a);
    free(noise);
    return a;
}

static void one_kind(tiny *t, const char *name, const char *kind) {
    ws_adapter *a = adapter(t, kind);
    ws_train_row rows[ROWS], turned[ROWS];
    result packed, other;
    int64_t tokens = 0, part;
    int parts = 0;
    int32_t ids[128];
    for (int i = 0; i < 128; i++) ids[i] = i * i % 61 % (int32_t)ws_model_dims(t->m)->vocab;
    for (int i = 0; i < ROWS; i++) {
        rows[i] = turned[ROWS - 1 - i] = (ws_train_row){ids + 7 * i, length[i], supervised[i], 0.01f * (float)(i + 1)};
        tokens += length[i];
    }
    const size_t n = (size_t)ws_adapter_size(a), d = (size_t)(tokens * ws_model_dims(t->m)->hidden);
    run(&packed, t, a, rows);
    const int64_t sizes[] = {1, 40, 59, tokens - 1, tokens};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int mode = 0; mode < 4; mode++) {
            parts = 0;
            for (int r = 0; r < ROWS; parts++) r += ws_train_part(rows + r, ROWS - r, sizes[s], &part);
            ws_model_set_part(t->m, sizes[s]);
            ws_model_set_recompute(t->m, mode & 1);
            ws_threads_set(1 + mode / 2);
            run(&other, t, a, rows);
            if (s == 0) assert_int_equal(parts, ROWS);
            if (s == 3) assert_true(parts > 1);
            assert_true(other.out.loss == packed.out.loss && other.out.nll == packed.out.nll);
            assert_int_equal(other.out.n, packed.out.n);
            assert_memory_equal(other.nll, packed.nll, (size_t)ROWS * sizeof *packed.nll);
            if (memcmp(other.grads, packed.grads, n * sizeof *packed.grads))
                fail_msg("%s, %s: gradients in %d parts of %lld tokens, recompute %d, have other bits", name, kind,
                         parts, (long long)sizes[s], mode & 1);
            if (memcmp(other.embed, packed.embed, d * sizeof *packed.embed))
                fail_msg("%s, %s: the embeddings' gradient in %d parts has other bits", name, kind, parts);
            drop(&other);
        }
    ws_model_set_part(t->m, 0);
    ws_model_set_recompute(t->m, 0);
    ws_threads_set(0);
    run(&other, t, a, turned);
    assert_memory_not_equal(other.grads, packed.grads, n * sizeof *packed.grads);
    drop(&other), drop(&packed);
    ws_adapter_free(a);
}

static void parts_change_no_bit(void **state) {
    (void)state;
    int n;
    const char *const *kind = ws_adapter_kinds(&n);
    for (int i = 0; i < TINY_MODELS; i++) {
        tiny t;
        tiny_open(&t, tiny_names[i]);
        for (int k = 0; k < n; k++) one_kind(&t, tiny_names[i], kind[k]);
        tiny_close(&t);
    }
}

typedef struct poison {
    ws_patch patch;
    int64_t left; /* tokens until the one that is spoilt */
} poison;
static int first_site(const ws_patch *p, int site) {
    (void)p;
    return site == 0;
}
static void spoil(ws_patch *p, const ws_patch_call *c) {
    poison *q = (poison *)p;
    if (q->left >= 0 && q->left < c->n) c->y[q->left * c->at->d_out] = NAN;
    q->left -= c->n;
}

/* A value that is not finite is told with the row's place in the batch, whichever part it ran in. */
static void the_row_is_named_in_any_part(void **state) {
    (void)state;
    static const ws_patch_ops ops = {.name = "poison", .hangs_at = first_site, .linear = spoil};
    const int32_t ids[4] = {1, 2, 3, 4};
    tiny t;
    ws_err err = {0};
    ws_train_row rows[ROWS];
    ws_train_out out;
    tiny_open(&t, "llama");
    for (int i = 0; i < ROWS; i++) rows[i] = (ws_train_row){ids, 4, 1, 1};
    for (int part = 0; part < 12; part += 4) {
        poison p = {{&ops}, 3 * 3 + 1}; /* the last token of a row does not run */
        ws_patch *patch = &p.patch;
        ws_model_set_part(t.m, part);
        assert_int_equal(ws_train_pass(t.m, rows, ROWS, &patch, 1, -1, &out, NULL, &err), WS_ENONFINITE);
        assert_non_null(strstr(err.msg, "in row 3 at position 1"));
    }
    tiny_close(&t);
}

/* Budgets between one row and the whole: what the plan says of parts is what the pass does, and fits. */
static void the_plan_cuts_no_more_than_it_must(void **state) {
    (void)state;
    for (int i = 0; i < TINY_MODELS; i++) {
        tiny t;
        tiny_open(&t, tiny_names[i]);
        ws_adapter *a = adapter(&t, "lora");
        ws_patch *patch = ws_adapter_patch(a);
        const ws_train_plan all = ws_train_plan_for(t.m, 4 * 100, 100, &patch, 1, 0, INT64_MAX),
                            one = ws_train_plan_for(t.m, 100, 100, &patch, 1, 0, INT64_MAX);
        const int64_t whole = all.activations + all.scratch, row = one.activations + one.scratch;
        assert_true(all.part == 0 && !all.recompute);
        for (int64_t budget = whole; budget > row / 2; budget -= whole / 40) {
            const ws_train_plan p = ws_train_plan_for(t.m, 4 * 100, 100, &patch, 1, 0, budget);
            assert_int_equal(p.part != 0, budget < whole);
            assert_int_equal(p.recompute, budget < row);
            if (budget < row) continue;
            assert_true(p.activations + p.scratch <= budget);
            if (!p.part) continue;
            assert_true(p.part >= 100);
            const ws_train_plan more = ws_train_plan_for(t.m, p.part + 1, 100, &patch, 1, 0, INT64_MAX);
            assert_true(more.activations + more.scratch > budget);
        }
        ws_adapter_free(a);
        tiny_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_change_no_bit),
                                       cmocka_unit_test(the_row_is_named_in_any_part),
                                       cmocka_unit_test(the_plan_cuts_no_more_than_it_must)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
