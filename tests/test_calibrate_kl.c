/* Per-token KL along the steered continuation against transformers (tools/reference/make_kl.py): the adapter from PEFT, merged
 * densely there, a per-row side product here. */
#include "base/stats.h"
#include "calibrate/kl_impl.h"
#include "steer/steer.h"
#include "tiny.h"

typedef struct world {
    tiny t;
    ws_method *method;
    json_t *want;
    int n, n_tokens;
    int32_t eos, ids[32][64];
    ws_kl_prompt prompt[32];
} world;

static void world_open(world *w) {
    ws_err err = {0};
    memset(w, 0, sizeof *w);
    tiny_open(&w->t, "llama");
    OK(ws_method_load(&w->method, w->t.m, "tests/fixtures/kl/adapter", 1, &err));
    OK(ws_json_load(&w->want, "tests/fixtures/kl/kl.json", &err));
    const json_t *p = json_object_get(w->want, "prompts");
    w->n = (int)json_array_size(p);
    w->n_tokens = (int)json_integer_value(json_object_get(w->want, "n_tokens"));
    w->eos = (int32_t)json_integer_value(json_object_get(w->want, "eos"));
    for (int i = 0; i < w->n; i++) {
        const json_t *q = json_array_get(p, (size_t)i);
        int n = (int)json_array_size(q);
        for (int k = 0; k < n; k++) w->ids[i][k] = (int32_t)json_integer_value(json_array_get(q, (size_t)k));
        w->prompt[i] = (ws_kl_prompt){w->ids[i], w->ids[i], n, n};
    }
}
static void world_close(world *w) {
    ws_method_free(w->method);
    json_decref(w->want);
    tiny_close(&w->t);
}
static double get(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static void agrees_with_a_dense_merge_in_transformers(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    const json_t *arms = json_object_get(w.want, "arms");
    int n_arms = (int)json_array_size(arms), ended = 0, checked = 0;
    ws_kl *k;
    ws_kl_arm arm[8];
    ws_kl_result r[8];
    OK(ws_kl_new(&k, w.t.m, w.prompt, w.n, w.n_tokens, w.eos, 0, &err));
    for (int a = 0; a < n_arms; a++)
        arm[a] = (ws_kl_arm){w.method->patch, get(json_array_get(arms, (size_t)a), "alpha")};
    OK(ws_kl_run(k, arm, n_arms, NULL, r, &err));
    for (int a = 0; a < n_arms; a++) {
        const json_t *one = json_array_get(arms, (size_t)a), *rows = json_object_get(one, "rows");
        for (int p = 0; p < w.n; p++) {
            const json_t *row = json_array_get(rows, (size_t)p), *kl = json_object_get(row, "kl"),
                         *ids = json_object_get(row, "ids");
            assert_int_equal(r[a].n[p], json_array_size(kl));
            ended += r[a].n[p] < w.n_tokens;
            for (int t = 0; t < r[a].n[p]; t++, checked++) {
                assert_int_equal(r[a].ids[p * w.n_tokens + t], json_integer_value(json_array_get(ids, (size_t)t)));
                double want = json_number_value(json_array_get(kl, (size_t)t)), got = r[a].kl[p * w.n_tokens + t];
                /* fp32 logits of size about 5 carry an error of about 1e-5 on both sides; KL's derivative in a logit is a
                 * probability times a log-ratio of a few nats */
                if (!(fabs(got - want) <= 5e-5))
                    fail_msg("alpha %g prompt %d position %d: %.9g is not %.9g", arm[a].alpha, p, t, got, want);
            }
        }
        ws_kl_stats s = ws_kl_summary(&r[a]);
        assert_int_equal(s.n, (int64_t)get(one, "n"));
        assert_true(fabs(s.p95 - get(one, "p95")) <= 5e-5 && fabs(s.mean - get(one, "mean")) <= 5e-5 &&
                    fabs(s.max - get(one, "max")) <= 5e-5);
        assert_true(fabs(s.p50 - get(one, "p50")) <= 5e-5 && fabs(s.p99 - get(one, "p99")) <= 5e-5);
    }
    assert_true(ended > 0 && checked > 500);
    for (int a = 0; a < n_arms; a++) ws_kl_result_free(&r[a]);
    ws_kl_free(k);
    world_close(&w);
}

static void same_bits(const ws_kl_result *a, const ws_kl_result *b) {
    assert_int_equal(a->n_prompts, b->n_prompts);
    for (int p = 0; p < a->n_prompts; p++) {
        assert_int_equal(a->n[p], b->n[p]);
        assert_memory_equal(a->kl + p * a->n_tokens, b->kl + p * b->n_tokens, (size_t)a->n[p] * sizeof(double));
        assert_memory_equal(a->ids + p * a->n_tokens, b->ids + p * b->n_tokens, (size_t)a->n[p] * sizeof(int32_t));
    }
}

static void no_bit_depends_on_the_company_or_the_memory(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    const double alpha[] = {0.4, -0.4, 1.5, -2, 0.4};
    ws_kl_arm arm[5];
    ws_kl_result all[5], one;
    ws_kl *k, *tight;
    for (int a = 0; a < 5; a++) arm[a] = (ws_kl_arm){w.method->patch, alpha[a]};
    OK(ws_kl_new(&k, w.t.m, w.prompt, w.n, w.n_tokens, w.eos, 0, &err));
    OK(ws_kl_new(&tight, w.t.m, w.prompt, w.n, w.n_tokens, w.eos, 1,
                 &err)); /* a byte: one prompt at a time, nothing kept */
    OK(ws_kl_run(k, arm, 5, NULL, all, &err));
    same_bits(&all[0], &all[4]);
    for (int a = 0; a < 4; a++) {
        OK(ws_kl_run(k, &arm[a], 1, NULL, &one, &err)); /* alone, on the kept base prefills */
        same_bits(&all[a], &one);
        ws_kl_result_free(&one);
        OK(ws_kl_run(tight, &arm[a], 1, NULL, &one, &err));
        same_bits(&all[a], &one);
        ws_kl_result_free(&one);
    }
    for (int a = 0; a < 5; a++) ws_kl_result_free(&all[a]);
    ws_kl_free(k), ws_kl_free(tight);
    world_close(&w);
}

/* Answers that are expected, right ones, ones that part at every place, end early or late, or are noise: the answers and
 * their KL are those of a runner that expects nothing; only the work differs. */
enum { RIGHT, PART, NOISE, SHORT, LONG, END, EXPECTATIONS };
static void expect(const world *w, ws_kl_heard *h, int what, int turn) {
    for (int p = 0; p < w->n; p++) {
        int32_t *ids = h->ids + p * w->n_tokens;
        const int place = (turn + 3 * p) % w->n_tokens;
        if (what == PART && place < h->n[p]) ids[place] = (ids[place] + 1) % 60;
        if (what == NOISE)
            for (int t = 0; t < w->n_tokens; t++) ids[t] = (ids[t] * 7 + t + turn) % 60, h->n[p] = w->n_tokens;
        if (what == SHORT) h->n[p] = place;
        if (what == LONG)
            for (; h->n[p] < w->n_tokens; h->n[p]++) ids[h->n[p]] = 5; /* behind the end of text */
        if (what == END && place < h->n[p]) ids[place] = w->eos, h->n[p] = place + 1;
    }
}

static void what_is_expected_changes_nothing(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    const ws_kl_arm arm[2] = {{w.method->patch, 1.5}, {w.method->patch, -2}};
    ws_kl_result want[2], got[2];
    ws_kl *k;
    OK(ws_kl_new(&k, w.t.m, w.prompt, w.n, w.n_tokens, w.eos, 0, &err));
    OK(ws_kl_run(k, arm, 2, NULL, want, &err));
    assert_int_equal(k->n_heard, 2);
    const int64_t alone = k->forwards;
    OK(ws_kl_run(k, arm, 2, NULL, got, &err));
    for (int a = 0; a < 2; a++) same_bits(&want[a], &got[a]), ws_kl_result_free(&got[a]);
    assert_true(k->forwards - alone < alone / 2);
    for (int what = 0; what < EXPECTATIONS; what++)
        for (int turn = 0; turn < w.n_tokens; turn += what == PART || what == END ? 1 : 5) {
            for (int a = 0; a < 2; a++) expect(&w, &k->heard[k->n_heard - 2 + a], what, turn);
            OK(ws_kl_run(k, arm, 2, NULL, got, &err));
            for (int a = 0; a < 2; a++) same_bits(&want[a], &got[a]), ws_kl_result_free(&got[a]);
        }
    for (int a = 0; a < 2; a++) ws_kl_result_free(&want[a]);
    ws_kl_free(k);
    world_close(&w);
}

static void strength_zero_is_the_base_exactly(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    ws_kl *k;
    ws_kl_arm arm[2] = {{w.method->patch, 0}, {w.method->patch, -1}};
    ws_kl_result r[2];
    OK(ws_kl_new(&k, w.t.m, w.prompt, w.n, w.n_tokens, w.eos, 0, &err));
    OK(ws_kl_run(k, arm, 2, NULL, r, &err));
    ws_kl_stats s = ws_kl_summary(&r[0]);
    assert_true(s.max == 0 && s.mean == 0 && s.n > 0);
    assert_true(ws_kl_summary(&r[1]).mean > 0);
    ws_kl_result_free(&r[0]), ws_kl_result_free(&r[1]);
    ws_kl_free(k);
    world_close(&w);
}

static void an_overflow_names_its_strength_and_leaves_the_runner_usable(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    ws_kl *k;
    ws_kl_arm arm[2] = {{w.method->patch, 0.4}, {w.method->patch, 3e38}};
    ws_kl_result r[2], again, first;
    OK(ws_kl_new(&k, w.t.m, w.prompt, w.n, w.n_tokens, w.eos, 0, &err));
    OK(ws_kl_run(k, arm, 1, NULL, &first, &err));
    assert_int_equal(ws_kl_run(k, arm, 2, NULL, r, &err), WS_ENONFINITE);
    assert_non_null(strstr(err.msg, "3e+38"));
    assert_null(r[0].kl);
    OK(ws_kl_run(k, arm, 1, NULL, &again, &err));
    same_bits(&first, &again);
    ws_kl_result_free(&first), ws_kl_result_free(&again);
    ws_kl_free(k);
    world_close(&w);
}

static void a_row_of_logits(void **state) {
    (void)state;
    enum { V = 1003 };
    float s[V], b[V], scratch[V];
    for (int trial = 0; trial < 20; trial++) {
        uint32_t x = 77u + (uint32_t)trial;
        double zs = 0, zb = 0, kl = 0;
        for (int v = 0; v < V; v++) {
            x = x * 1664525u + 1013904223u, s[v] = (float)(x >> 8) / (1 << 24) * 20 - 10;
            x = x * 1664525u + 1013904223u, b[v] = trial < 10 ? s[v] + ((float)(x >> 8) / (1 << 24) - 0.5f) * 0.01f
                                                              : (float)(x >> 8) / (1 << 24) * 20 - 10;
            zs += exp((double)s[v]), zb += exp((double)b[v]);
        }
        for (int v = 0; v < V; v++)
            kl += exp((double)s[v]) / zs * (((double)s[v] - log(zs)) - ((double)b[v] - log(zb)));
        double got = ws_kl_row(s, b, V, scratch, NULL);
        /* exp of the kernels is within 2 ulp, so the logarithm of each sum is within 2.4e-7, and their difference enters as it is */
        if (!(fabs(got - kl) <= 1e-6 * kl + 5e-7)) fail_msg("trial %d: %.12g is not %.12g", trial, got, kl);
        assert_true(ws_kl_row(s, s, V, scratch, NULL) == 0);
    }
    int32_t top;
    s[700] = s[12] = 50;
    ws_kl_row(s, b, V, scratch, &top);
    assert_int_equal(top, 12); /* the lowest of equals */
    s[3] = NAN;
    assert_true(isnan(ws_kl_row(s, b, V, scratch, &top)));
    s[3] = 0, b[9] = INFINITY;
    assert_true(isnan(ws_kl_row(s, b, V, scratch, &top)));
    b[9] = -INFINITY;
    assert_true(isnan(ws_kl_row(s, b, V, scratch, &top)));
}

/* The interval of p95 from counted weights equals the interval from pools that are built and sorted anew. */
static void the_interval_is_that_of_resampled_pools(void **state) {
    (void)state;
    enum { P = 9, T = 7, D = 60 };
    double kl[P * T], lo, hi;
    int n[P];
    uint32_t x = 5;
    for (int i = 0; i < P * T; i++) x = x * 1664525u + 1013904223u, kl[i] = (double)(x >> 8) / (1 << 24);
    for (int p = 0; p < P; p++) n[p] = 1 + (p * 3) % T;
    ws_kl_result r = {P, T, n, kl, NULL};
    ws_kl_p95_interval(&r, D, 3, &lo, &hi);
    double p95[D];
    for (int d = 0; d < D; d++) {
        double pool[P * T];
        int m = 0;
        for (int i = 0; i < P; i++) {
            int p = (int)ws_boot_index(3, "calibrate.bootstrap", d, i, P);
            for (int t = 0; t < n[p]; t++) pool[m++] = kl[p * T + t];
        }
        ws_sort(pool, m);
        p95[d] = ws_quantile(pool, m, 0.95);
    }
    ws_interval want = ws_interval_of(p95, D);
    assert_true(fabs(lo - want.lo) < 1e-15 && fabs(hi - want.hi) < 1e-15 && lo < hi);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_of_logits),
        cmocka_unit_test(agrees_with_a_dense_merge_in_transformers),
        cmocka_unit_test(no_bit_depends_on_the_company_or_the_memory),
        cmocka_unit_test(what_is_expected_changes_nothing),
        cmocka_unit_test(strength_zero_is_the_base_exactly),
        cmocka_unit_test(an_overflow_names_its_strength_and_leaves_the_runner_usable),
        cmocka_unit_test(the_interval_is_that_of_resampled_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
