/* Paired differences of the rows of a run, and of two runs (tools/reference/make_pairs.py, numpy): values on the items that
 * both answered, intervals against draws made here one readout at a time, and what the three questions say.
 * Tolerance 1e-9: both sides add the same few dozen doubles, in another order. */
#include "run/compare.h"
#include "run/questions.h"
#include "base/stats.h"
#include "golden.h"
#include <math.h>

#define AT "tests/fixtures/pairs/"

static ws_results *load(const char *dir) {
    ws_results *r = NULL;
    ws_err err = {0};
    if (ws_results_load(&r, dir, &err)) fail_msg("%s", err.msg);
    return r;
}
static const ws_method_results *method(const ws_results *r, const char *name) {
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->m[i].name, name)) return &r->m[i];
    fail_msg("no method %s", name);
    return NULL;
}
static ws_items items(const ws_results *r, const char *name) {
    ws_items x;
    ws_err err = {0};
    if (ws_items_load(&x, r, method(r, name), &err)) fail_msg("%s", err.msg);
    return x;
}

static void test_differences_are_those_of_numpy(void **state) {
    (void)state;
    ws_results *r[2] = {load(AT "one"), load(AT "two")};
    json_t *e = NULL, *p;
    ws_err err = {0};
    assert_int_equal(ws_json_load(&e, AT "expected.json", &err), WS_OK);
    size_t i;
    int checked = 0;
    json_array_foreach(json_object_get(e, "pairs"), i, p) {
        ws_items a = items(r[i == 3], json_string_value(json_object_get(p, "a"))),
                 b = items(r[0], json_string_value(json_object_get(p, "b")));
        ws_paired m[WS_MEASURES];
        ws_paired_of(&a, &b, m);
        for (int k = 0; k < WS_MEASURES; k++) {
            const json_t *want = json_object_get(json_object_get(p, "diff"), ws_measure_key((ws_measure)k));
            if (!want) {
                assert_true(isnan(m[k].diff) && isnan(m[k].lo)); /* a prompt has no - side */
                continue;
            }
            if (fabs(m[k].diff - json_number_value(want)) > 1e-9)
                fail_msg("pair %zu, %s: %.12g, numpy %.12g", i, ws_measure_key((ws_measure)k), m[k].diff,
                         json_number_value(want));
            assert_true(m[k].lo <= m[k].hi);
            checked++;
        }
        assert_int_equal(m[WS_M_SPECIFIC].n, json_integer_value(json_object_get(p, "n")));
        assert_true(m[WS_M_SI].n_cho == json_number_value(json_object_get(p, "n_cho")));
        assert_true(m[WS_M_SI].n_rej == json_number_value(json_object_get(p, "n_rej")));
        ws_items_free(&a), ws_items_free(&b);
    }
    assert_int_equal(checked, 13 * 3 + 9);
    json_decref(e);
    ws_results_free(r[0]), ws_results_free(r[1]);
}

/* The draws of ws_readout_draw, each row's effect by ws_readout_effect on cells that both have. */
static void test_intervals_are_of_the_same_draws(void **state) {
    (void)state;
    ws_results *r = load(AT "one");
    ws_items x[2] = {items(r, "mean_diff"), items(r, "lora")};
    ws_paired m[WS_MEASURES];
    ws_paired_of(&x[0], &x[1], m);
    enum { DRAWS = 200 }; /* eval.json */
    double diff[DRAWS], margin[DRAWS];
    int *times = calloc((size_t)x[0].grid.n, sizeof *times), N = 2 * x[0].grid.n;
    ws_answers a[2] = {x[0].arm[1], x[1].arm[1]};
    for (int s = 0; s < 2; s++) {
        a[s].logit = malloc((size_t)N * sizeof(double));
        for (int i = 0; i < N; i++) a[s].logit[i] = isnan(x[1 - s].arm[1].logit[i]) ? NAN : x[s].arm[1].logit[i];
    }
    for (int d = 0; d < DRAWS; d++) {
        ws_readout_draw(&x[0].grid, 3, d, times);
        double of[2], sum[2] = {0};
        int n = 0;
        for (int s = 0; s < 2; s++)
            of[s] = -ws_readout_effect(&x[s].grid, &x[s].arm[0], &a[s], &x[s].target, &x[s].sign, 1, times).specific;
        diff[d] = of[0] - of[1];
        for (int t = 0; t < x[0].n_topics; t++) {
            int64_t k = ws_boot_index(3, "eval.margin", d, t, x[0].n_topics);
            for (int i = 0; i < x[0].n_rows; i++)
                for (int s = 0; s < 2 && x[0].topic[i] == k; s++) sum[s] += x[s].delta[0][i], n += !s;
        }
        margin[d] = (sum[0] - sum[1]) / n;
    }
    ws_interval v = ws_interval_of(diff, DRAWS), w = ws_interval_of(margin, DRAWS);
    assert_true(fabs(m[WS_M_SPECIFIC].lo - v.lo) < 1e-9 && fabs(m[WS_M_SPECIFIC].hi - v.hi) < 1e-9);
    assert_true(fabs(m[WS_M_MARGIN].lo - w.lo) < 1e-9 && fabs(m[WS_M_MARGIN].hi - w.hi) < 1e-9);
    for (int s = 0; s < 2; s++) free(a[s].logit), ws_items_free(&x[s]);
    free(times);
    ws_results_free(r);
}

static void test_laws(void **state) {
    (void)state;
    ws_results *r = load(AT "one");
    ws_items a = items(r, "random"), b = items(r, "lora");
    ws_paired ab[WS_MEASURES], ba[WS_MEASURES], aa[WS_MEASURES];
    ws_paired_of(&a, &b, ab), ws_paired_of(&b, &a, ba), ws_paired_of(&a, &a, aa);
    for (int k = 0; k < WS_MEASURES; k++) {
        assert_true(ab[k].diff == -ba[k].diff && fabs(ab[k].lo + ba[k].hi) < 1e-12 && ab[k].n == ba[k].n);
        assert_true(aa[k].diff == 0 && aa[k].lo == 0 && aa[k].hi == 0);
    }
    ws_items_free(&a), ws_items_free(&b);
    ws_results_free(r);
}

static void test_three_questions(void **state) {
    (void)state;
    ws_results *r = load(AT "one");
    ws_questions q = ws_questions_of(r);
    ws_str s = {0};
    assert_string_equal(r->row[q.reference].name, "lora");
    assert_string_equal(r->row[q.prompt].name, "prompt_only");
    assert_int_equal(q.n, 6);
    ws_questions_answer(&q, &s);
    golden("questions.exp", s.p);
    ws_questions_free(&q);
    /* a strength that does not stand for the budget answers nothing */
    for (int i = 0; i < r->summary.csv.rows; i++) {
        if (strcmp(ws_sheet_text(&r->summary, i, "method"), "mean_diff")) continue;
        char **cell = &r->summary.csv.cell[i * r->summary.csv.cols + ws_csv_col(&r->summary.csv, "status_pos")];
        free(*cell);
        *cell = strdup("above_range");
    }
    q = ws_questions_of(r);
    ws_str_clear(&s);
    ws_questions_answer(&q, &s);
    assert_non_null(strstr(s.p, "Does it move it more than hidden-state steering? not measured."));
    assert_non_null(strstr(s.p, "Left out: mean_diff (not at the budget)"));
    ws_questions_free(&q);
    ws_str_free(&s);
    ws_results_free(r);
}

static void set(ws_results *r, const char *key, json_t *v) {
    for (int i = 0; i < r->n; i++) json_object_set(json_object_get(r->m[i].eval, "vignettes"), key, v);
    json_decref(v);
}

/* What may not be compared is refused with the reason; what --mark waives is marked in every row. */
static void test_refusals(void **state) {
    (void)state;
    ws_results *r[2] = {load(AT "one"), load(AT "two")};
    ws_compare_runs_options o = {0};
    ws_tables t = {0};
    ws_err err = {0};
    ws_str s = {0};
    assert_int_equal(ws_compare_runs(r, 2, &o, &t, &err), WS_OK);
    assert_int_equal(t.n, 3);
    assert_string_equal(ws_table_name(t.t[2]), "not_compared"); /* SI: nine cells with which the base agrees */
    ws_table_csv(t.t[1], &s);
    assert_non_null(strstr(s.p, "--lr,0.001,0.01"));
    ws_tables_free(&t);

    set(r[1], "k", json_integer(1));
    assert_int_equal(ws_compare_runs(r, 2, &o, &t, &err), WS_ESTATE);
    assert_non_null(strstr(err.msg, "another price k of a broken cell"));
    o.mark = 1;
    assert_int_equal(ws_compare_runs(r, 2, &o, &t, &err), WS_OK);
    ws_str_clear(&s);
    ws_table_csv(t.t[0], &s);
    int rows = 0, marked = 0;
    for (const char *c = s.p; (c = strchr(c, '\n')); c++) rows++;
    for (const char *c = s.p; (c = strstr(c, "another price k")); c++) marked++;
    assert_int_equal(marked, rows - 1); /* but the header */
    ws_tables_free(&t);

    set(r[1], "vignettes_hash", json_string("other"));
    assert_int_equal(ws_compare_runs(r, 2, &o, &t, &err), WS_ESTATE); /* --mark or not */
    assert_non_null(strstr(err.msg, "the vignettes are others"));
    o.rows = "mean_diff";
    set(r[1], "vignettes_hash", json_string("vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"));
    assert_int_equal(ws_compare_runs(r, 2, &o, &t, &err), WS_EUSAGE);
    ws_str_free(&s);
    ws_results_free(r[0]), ws_results_free(r[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences_are_those_of_numpy), cmocka_unit_test(test_intervals_are_of_the_same_draws),
        cmocka_unit_test(test_laws), cmocka_unit_test(test_three_questions), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
