/* Models with delta layers in what shares beginnings: the calibration's tree of continuations and the evaluation's tree of
 * texts give, bit for bit, what every row gives when it is computed alone from its first token; with much memory and with
 * hardly any.  (That a row alone is right, test_model_parity.c shows.) */
#include "calibrate/kl_impl.h"
#include "eval/batch.h"
#include "tiny.h"

enum { PROMPTS = 7, TOKENS = 18 };

typedef struct world {
    tiny t;
    probe p;
    int32_t ids[PROMPTS][96];
    int n[PROMPTS];
} world;

/* Prompts with nested beginnings of 19 and 40 tokens, lengths around the chunk of the delta rule (16) and the page (32). */
/* The patch hangs in the layers from `lowest` on, so settings share what lies below. */
static void open_world(world *w, const char *model, int lowest) {
    static const int length[PROMPTS] = {20, 32, 33, 41, 48, 49, 64};
    tiny_open(&w->t, model);
    probe_from_fixture(&w->p, &w->t, lowest);
    uint64_t seed = 5;
    for (int i = 0; i < PROMPTS; i++) {
        w->n[i] = length[i];
        for (int j = 0; j < length[i]; j++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            int32_t own = (int32_t)((seed >> 33) % 60);
            w->ids[i][j] = j < 19 ? j * 5 % 60 : j < 40 && i > 2 ? j * 7 % 60 : own;
        }
    }
}
static void close_world(world *w) {
    probe_close(&w->p);
    tiny_close(&w->t);
}

/* Logits after the last of n tokens, computed from nothing. */
static void alone(world *w, const int32_t *ids, int n, float alpha, float *hidden, float *logits) {
    ws_patch *patch = &w->p.patch;
    const float *strength = &alpha;
    float *h = tiny_forward(w->t.m, NULL, &(ws_row){-1, ids, n, 1}, 1, 1, &patch, &strength);
    if (hidden) memcpy(hidden, h, (size_t)ws_model_dims(w->t.m)->hidden * sizeof *h);
    if (logits) ws_head(w->t.m, h, 1, logits);
    free(h);
}

static void continuations(const char *model, int lowest, int64_t budget) {
    world w;
    ws_err err = {0};
    open_world(&w, model, lowest);
    static const double alpha[] = {0.3, -0.4, 0.3, 0};
    ws_kl_prompt prompt[PROMPTS];
    ws_kl_arm arm[4];
    ws_kl_result out[4];
    ws_kl *k;
    for (int i = 0; i < PROMPTS; i++) prompt[i] = (ws_kl_prompt){w.ids[i], w.ids[i], w.n[i], w.n[i]};
    for (int a = 0; a < 4; a++) arm[a] = (ws_kl_arm){&w.p.patch, alpha[a]};
    OK(ws_kl_new(&k, w.t.m, prompt, PROMPTS, TOKENS, 2, budget, &err));
    float steered[128], base[128], scratch[128];
    const int64_t vocab = ws_model_dims(w.t.m)->vocab;
    assert_true(vocab <= 128);
    /* a run that fails leaves nothing behind that the next one would read */
    const ws_kl_arm wild[] = {{&w.p.patch, 0.3}, {&w.p.patch, 3e38}};
    assert_int_equal(ws_kl_run(k, wild, 2, NULL, out, &err), WS_ENONFINITE);
    err = (ws_err){0};
    for (int again = 0; again < 3; again++) { /* then from what the base has read, and with answers that are expected */
        for (int h = 0; again == 2 && h < k->n_heard; h++) /* of which some turn out otherwise */
            for (int i = 0; i < PROMPTS * TOKENS; i += 11 + h) k->heard[h].ids[i] = (k->heard[h].ids[i] + 1) % 60;
        OK(ws_kl_run(k, arm, 4, NULL, out, &err));
        for (int a = 0; a < 4; a++)
            for (int i = 0; i < PROMPTS; i++) {
                int32_t text[128];
                memcpy(text, w.ids[i], (size_t)w.n[i] * sizeof *text);
                for (int t = 0; t < out[a].n[i]; t++) {
                    int32_t best;
                    alone(&w, text, w.n[i] + t, (float)alpha[a], NULL, steered);
                    alone(&w, text, w.n[i] + t, 0, NULL, base);
                    double kl = ws_kl_row(steered, base, vocab, scratch, &best);
                    assert_int_equal(out[a].ids[i * TOKENS + t], best);
                    if (kl != out[a].kl[i * TOKENS + t])
                        fail_msg("strength %g, prompt %d, position %d: KL %.17g, alone %.17g", alpha[a], i, t,
                                 out[a].kl[i * TOKENS + t], kl);
                    text[w.n[i] + t] = best;
                }
            }
        for (int a = 0; a < 4; a++) ws_kl_result_free(&out[a]);
    }
    ws_kl_free(k);
    close_world(&w);
}
static void the_tree_of_continuations_is_each_row_alone(void **state) {
    (void)state;
    continuations("qwen35", 0, 0);
    continuations("qwen35", 2, 0);
    continuations("qwen35_1x", 0, 1); /* a byte: one prompt at a time, nothing kept */
    continuations("qwen35_1x", 1, 1);
    continuations("qwen3", 1, 0);
    continuations("qwen3", 1, 1);
}

static void texts(const char *model, int lowest, int64_t budget) {
    world w;
    ws_err err = {0};
    open_world(&w, model, lowest);
    int64_t d = ws_model_dims(w.t.m)->hidden;
    ws_method method = {.name = (char[]){"probe"}, .patch = &w.p.patch}, *methods[] = {&method};
    ws_eval_options o = ws_eval_defaults();
    o.budget = budget;
    ws_setting set[] = {{-1, "base", 0, WS_ARM_BASE, NULL},
                        {0, "probe", 0.3, WS_ARM_PLUS, NULL},
                        {0, "probe", -0.4, WS_ARM_MINUS, NULL}};
    ws_patch *patch = &w.p.patch;
    const ws_eval e = {.model = w.t.m,
                       .method = methods,
                       .n_methods = 1,
                       .o = &o,
                       .n_settings = 3,
                       .setting = set,
                       .n_patches = 1,
                       .patch = &patch};
    ws_eval_row row[3 * PROMPTS];
    float *hidden = malloc((size_t)(3 * PROMPTS * d) * sizeof *hidden), *one = malloc((size_t)d * sizeof *one);
    for (int i = 0; i < 3 * PROMPTS; i++) row[i] = (ws_eval_row){i % 3, w.ids[i / 3], w.n[i / 3], 1};
    OK(ws_eval_rows(&e, row, 3 * PROMPTS, hidden, &err));
    for (int i = 0; i < 3 * PROMPTS; i++) {
        alone(&w, row[i].ids, row[i].n, (float)set[i % 3].alpha, one, NULL);
        assert_memory_equal(one, hidden + i * d, (size_t)d * sizeof *one);
    }
    free(hidden), free(one);
    close_world(&w);
}
static void texts_that_begin_alike_are_each_row_alone(void **state) {
    (void)state;
    for (int lowest = 0; lowest < 3; lowest++) {
        texts("qwen35", lowest, 0);
        texts("qwen35", lowest, 1);
        texts("qwen35_3x", lowest, 64 << 10); /* a few beginnings at a time */
        texts("qwen35_1x", lowest, 1);
        if (lowest < 2) texts("qwen3", lowest, 0), texts("qwen3", lowest, 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_tree_of_continuations_is_each_row_alone),
                                       cmocka_unit_test(texts_that_begin_alike_are_each_row_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
