/* tests/test_model_share.c - rows of a step that begin alike run their common beginnings once.  Every row's loss has the
 * bits that it has alone; every gradient of every kind of adapter is the one without sharing, and its bits are the same for
 * any cut of the rows into passes and parts, with blocks kept or recomputed, on one thread or two.
 *
 * Tolerance: both ways sum the same products in another order.  Each of up to 300 tokens passes a few hundred rounded
 * operations of 6e-8; 1e-5 of the largest gradient among the tensors of a kind is above that and far below what a lost or doubled token makes
 * (the smallest weight of a row is a tenth of the largest, so a few per cent). */
#include "adapter/adapter.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "model/parts.h"
#include "tiny.h"
#include <math.h>

/* A header of 11 tokens that all but the last row have, then questions of 5 to 8 tokens, then answers. */
enum { ROWS = 9 };
static const struct {
    int question, answer;
} of[ROWS] = {{0, 9}, {1, 4}, {0, 40}, {2, 1}, {1, 17}, {0, 9}, {3, 30}, {1, 2}, {-1, 12}};

typedef struct set {
    ws_train_row row[ROWS];
    int32_t ids[ROWS][80];
    double nll[ROWS]; /* of the last run */
    float *grads;
    ws_train_out out;
} set;

static void make(set *s, int64_t vocab) {
    for (int r = 0; r < ROWS; r++) {
        int n = 0, q = of[r].question;
        for (int i = 0; i < 11; i++) s->ids[r][n++] = q < 0 ? 40 + i : 3 + i * i % 17;
        if (q == 2) n -= 4; /* its question begins within the header */
        for (int i = 0; q >= 0 && i < 5 + q; i++) s->ids[r][n++] = i < 2 ? 50 : 20 + 7 * q + i;
        s->row[r] = (ws_train_row){s->ids[r], 0, n, 0.01f * (float)(r + 1)};
        for (int i = 0; i < of[r].answer; i++) s->ids[r][n++] = 1 + (r * 13 + i * 5) % 57;
        s->row[r].n = n;
        for (int i = 0; i < n; i++) s->ids[r][i] %= (int32_t)vocab;
    }
}

static ws_adapter *adapter(const tiny *t, const char *kind, int begin, const char *targets) {
    ws_err err = {0};
    ws_adapter *a;
    ws_mt stream;
    ws_adapter_config cfg = {.kind = kind,
                             .rank = 4,
                             .alpha = 8,
                             .layer_begin = begin,
                             .layer_end = ws_model_dims(t->m)->layers,
                             .targets = targets};
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

/* step: rows in one pass; 0: no share is opened. */
static void run(set *s, const tiny *t, ws_adapter *a, int step, int trainable) {
    ws_err err = {0};
    ws_patch *patch = ws_adapter_patch(a);
    ws_share *share = step ? ws_share_new(t->m, s->row, ROWS) : NULL;
    ws_adapter_zero_grad(a);
    if (share) OK(ws_share_open(t->m, share, &patch, 1, trainable, &err));
    for (int r = 0, n = step ? step : ROWS; r < ROWS; r += n)
        OK(ws_train_pass(t->m, s->row + r, r + n < ROWS ? n : ROWS - r, &patch, 1, trainable, &s->out, s->nll + r,
                         &err));
    if (share) OK(ws_share_close(t->m, share, &err));
    ws_share_free(share);
    ws_adapter_finish_grad(a);
    s->grads = realloc(s->grads, (size_t)ws_adapter_size(a) * sizeof *s->grads);
    memcpy(s->grads, ws_adapter_grads(a), (size_t)ws_adapter_size(a) * sizeof *s->grads);
}

/* Of the gradients of this kind of tensor: one of them may be a single number, whose terms cancel. */
static double largest(const ws_adapter *a, const char *suffix, const float *grads) {
    double most = 0;
    for (int p = 0; p < ws_adapter_n_params(a); p++) {
        const ws_param *q = ws_adapter_param(a, p);
        const int64_t at = q->grad ? q->grad - ws_adapter_grads((ws_adapter *)(uintptr_t)a) : 0;
        if (!q->grad || strcmp(q->suffix, suffix)) continue;
        for (int64_t i = at; i < at + q->rows * q->cols; i++) most = fmax(most, fabs((double)grads[i]));
    }
    return most;
}

static void one_kind(const tiny *t, const char *name, const char *kind, int begin, const char *targets) {
    ws_adapter *a = adapter(t, kind, begin, targets);
    set apart = {.grads = NULL}, shared = {.grads = NULL}, other = {.grads = NULL};
    make(&apart, ws_model_dims(t->m)->vocab), make(&shared, ws_model_dims(t->m)->vocab);
    make(&other, ws_model_dims(t->m)->vocab);
    const size_t bytes = (size_t)ws_adapter_size(a) * sizeof(float);
    run(&apart, t, a, 0, 0);
    run(&shared, t, a, ROWS, 0);
    assert_memory_equal(apart.nll, shared.nll, sizeof apart.nll);
    const float *base = ws_adapter_grads(a);
    double worst = 0;
    for (int p = 0; p < ws_adapter_n_params(a); p++) {
        const ws_param *q = ws_adapter_param(a, p);
        double off = 0;
        for (int64_t i = q->grad - base; q->grad && i < q->grad - base + q->rows * q->cols; i++)
            off = fmax(off, fabs((double)apart.grads[i] - (double)shared.grads[i]));
        const double most = largest(a, q->suffix, apart.grads);
        worst = fmax(worst, most > 0 ? off / most : off);
        if (off > 1e-5 * most)
            fail_msg("%s, %s: the gradient of %s.%s is off by %g of %g", name, kind, ws_model_site(t->m, q->site)->name,
                     q->suffix, off, most);
    }
    if (ws_model_dims(t->m)->n_delta) assert_memory_equal(apart.grads, shared.grads, bytes);
    printf("  %s, %s from layer %d: gradients within %.1e\n", name, kind, begin, worst);
    for (int mode = 0; mode < 24; mode++) {
        static const int step[] = {1, 2, 5}, part[] = {1, 30};
        ws_model_set_recompute(t->m, mode & 1), ws_threads_set(1 + (mode >> 1 & 1));
        ws_model_set_part(t->m, part[mode >> 2 & 1]);
        run(&other, t, a, step[mode >> 3], 0);
        assert_memory_equal(other.nll, shared.nll, sizeof other.nll);
        if (memcmp(other.grads, shared.grads, bytes))
            fail_msg("%s, %s: %d rows a pass, parts of %d tokens, recompute %d, %d threads: other bits", name, kind,
                     step[mode >> 3], part[mode >> 2 & 1], mode & 1, 1 + (mode >> 1 & 1));
    }
    ws_model_set_recompute(t->m, 0), ws_threads_set(0), ws_model_set_part(t->m, 0);
    run(&other, t, a, 4, -1); /* nothing trained: losses alone */
    assert_memory_equal(other.nll, shared.nll, sizeof other.nll);
    free(apart.grads), free(shared.grads), free(other.grads);
    ws_adapter_free(a);
}

static void sharing_changes_no_loss_and_no_gradient(void **state) {
    (void)state;
    int n;
    const char *const *kind = ws_adapter_kinds(&n);
    for (int i = 0; i < TINY_MODELS; i++) {
        tiny t;
        tiny_open(&t, tiny_names[i]);
        for (int k = 0; k < n; k++) one_kind(&t, tiny_names[i], kind[k], 0, "all-linear");
        int last = ws_model_dims(t.m)->layers - 1; /* where backward ends in the middle of a block, or before it */
        one_kind(&t, tiny_names[i], "lora", last, "all-linear");
        one_kind(&t, tiny_names[i], "lora", last, "down_proj");
        one_kind(&t, tiny_names[i], "lora", last - 1, "gate_proj,up_proj");
        if (!ws_model_dims(t.m)->n_delta) {
            one_kind(&t, tiny_names[i], "lora", last, "v_proj");
            one_kind(&t, tiny_names[i], "lora", last, "o_proj");
            one_kind(&t, tiny_names[i], "lora", last - 1, "q_proj");
        }
        tiny_close(&t);
    }
}

/* Tokens that run, counted by hand: the last token of each row never does. */
static void what_is_shared_runs_once(void **state) {
    (void)state;
    tiny t;
    set s = {.grads = NULL};
    tiny_open(&t, "llama");
    make(&s, 64);
    ws_share *share = ws_share_new(t.m, s.row, ROWS);
    /* The header's first 7 tokens (question 2 leaves it there), the other 4 with the two tokens that questions 0, 1 and 3
     * begin with, then the rest of questions 0 and 1 but for the token that predicts the answer. */
    assert_int_equal(ws_share_tokens(share), 7 + 6 + 2 + 3);
    const int rest[ROWS] = {1, 1, 1, 7, 1, 1, 6, 1, 11};
    for (int r = 0; r < ROWS; r++) assert_int_equal(ws_share_own(share, r), rest[r] + of[r].answer - 1);
    ws_share_free(share);
    tiny_close(&t);
}

/* The plan of a step is never below what it takes, and when all is kept no more than a quarter above. */
static void the_plan_covers_what_is_shared(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        tiny t;
        set s = {.grads = NULL};
        tiny_open(&t, "llama");
        make(&s, 64);
        ws_adapter *a = adapter(&t, "lora", 0, "all-linear");
        ws_patch *patch = ws_adapter_patch(a);
        ws_share *share = ws_share_new(t.m, s.row, ROWS);
        int64_t own = 0, longest = 0, shared = ws_share_tokens(share);
        for (int r = 0; r < ROWS; r++) {
            own += ws_share_own(share, r);
            if (ws_share_own(share, r) > longest) longest = ws_share_own(share, r);
        }
        ws_share_free(share);
        ws_train_plan p = ws_train_plan_sharing(t.m, own, longest, shared, &patch, 1, 0, INT64_MAX);
        assert_int_equal(p.part, 0);
        if (how) {
            p = ws_train_plan_sharing(t.m, own, longest, shared, &patch, 1, 0,
                                      how == 1 ? p.activations + p.scratch - 1 : 1);
            assert_true(p.part > 0 && (how == 1 || p.recompute));
        }
        ws_model_set_part(t.m, p.part);
        run(&s, &t, a, ROWS, 0);
        double took =
                   (double)(ws_arena_peak(t.m->tape) + ws_arena_peak(t.m->scratch) + ws_arena_peak(t.m->patch_scratch)),
               said = (double)(p.activations + p.scratch);
        printf("  planned %.0f, took %.0f KiB (%.2f)\n", said / 1024, took / 1024, said / took);
        assert_true(said >= took * 0.99);
        if (!how) assert_true(said <= took * 1.25);
        free(s.grads);
        ws_adapter_free(a);
        tiny_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sharing_changes_no_loss_and_no_gradient),
                                       cmocka_unit_test(what_is_shared_runs_once),
                                       cmocka_unit_test(the_plan_covers_what_is_shared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
