/* By what the rows of a sweep are compared: which effect, how it is turned, what beats a control, what is not compared, and
 * what is said.  The rows are invented; every expectation follows from headline.h by hand. */
#include "run/headline.h"
#include "io/file.h"
#include "run/tables.h"
#include "run/tree.h"
#include "golden.h"
#include <math.h>
#include <unistd.h>

static char dir[64];

static void put(const char *row, const char *file, const char *text) {
    ws_err err = {0};
    char path[256], folder[256];
    snprintf(folder, sizeof folder, "%s/%s%s", dir, row, strchr(file, '/') ? "/kl_calibration" : "");
    snprintf(path, sizeof path, "%s/%s/%s", dir, row, file);
    if (ws_mkdirs(folder, &err) || ws_file_write(path, text, strlen(text), &err)) fail_msg("%s", err.msg);
}

typedef struct invented {
    const char *name, *kind, *status;
    double p95;                        /* at -alpha */
    double plus[3], minus[3], dose[3]; /* change of the margin; score at -1, 0, 1 */
} invented;

static void write_row(const invented *r) {
    char text[2048];
    put(r->name, "eval.json", "{\"seed\": 1}\n");
    snprintf(text, sizeof text,
             "method,alpha,arm,margin,lo,hi,delta,delta_lo,delta_hi,n_rows,n_topics\n"
             "base,0,base,0,0,0,0,0,0,9,9\n%s,2,plus,0,0,0,%g,%g,%g,9,9\n%s,-2,minus,0,0,0,%g,%g,%g,9,9\n",
             r->name, r->plus[0], r->plus[1], r->plus[2], r->name, r->minus[0], r->minus[1], r->minus[2]);
    put(r->name, "margin.csv", text);
    ws_str dose = {0};
    ws_str_adds(&dose, "method,alpha,dose,score,score_lo,score_hi,tokens,distinct3,base_ppl,cut,n,n_topics\n");
    for (int i = -1; i <= 1; i++)
        ws_str_addf(&dose, "%s,%d,%d,%g,%g,%g,9,1,2,0,9,9\n", i ? r->name : "base", 2 * i, i, r->dose[i + 1],
                    r->dose[i + 1] - 0.5, r->dose[i + 1] + 0.25);
    put(r->name, "dose.csv", dose.p);
    ws_str_free(&dose);
    snprintf(text, sizeof text,
             "method,unit,target_p95,alpha_pos,alpha_neg,status_pos,status_neg,p95_at_pos,p95_at_neg,p95_lo_pos,p95_hi_"
             "pos,p95_lo_neg,p95_hi_neg,iterations_pos,iterations_neg,audit_ratio_pos,audit_ratio_neg,rel_norm_pos,rel_"
             "norm_neg,n_prompts,n_tokens,n_audit,note\n%s,dW,1,2,2,ok,%s,1,%g,1,1,1,1,5,5,1,1,1,1,9,9,9,\n",
             r->name, r->status, r->p95);
    put(r->name, "kl_calibration/summary.csv", text);
}

static const invented rows[] = {
    {"lora", "adapter", "ok", 1, {0.5, 0.4, 0.6}, {-0.5, -0.6, -0.4}, {-4, 1, 4}},
    {"weak", "adapter", "ok", 1, {0.5, 0.4, 0.6}, {-0.1, -0.25, -0.05}, {0, 1, 2}},
    {"near", "adapter", "not_converged", 1.07, {0.9, 0.8, 1}, {-0.9, -1, -0.8}, {-4, 1, 4}},
    {"far", "adapter", "not_converged", 1.2, {0.9, 0.8, 1}, {-0.9, -1, -0.8}, {-4, 1, 4}},
    {"random", "random", "ok", 1, {0, -0.1, 0.1}, {0, -0.1, 0.1}, {1, 1, 1}},
    {"shuffled", "shuffled", "ok", 1, {0.1, 0, 0.2}, {-0.1, -0.2, 0}, {1, 1, 1}},
};
enum { N = sizeof rows / sizeof *rows };

static ws_results *load(void) {
    ws_results *r = NULL;
    ws_err err = {0};
    if (ws_results_load(&r, dir, &err)) fail_msg("%s", err.msg);
    assert_int_equal(r->n_rows, N + 1);
    return r;
}

static int make(void **state) {
    (void)state;
    ws_str m = {0};
    snprintf(dir, sizeof dir, "/tmp/ws-headline-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    for (int i = 0; i < N; i++) write_row(&rows[i]);
    ws_str_adds(&m,
                "{\"stages\": {\"lost: train pos\": {\"state\": \"begun\", \"failed\": \"lost: train pos\", \"error\": "
                "\"it diverged\"}}, \"rows\": [");
    for (int i = 0; i < N; i++)
        ws_str_addf(&m, "{\"name\": \"%s\", \"kind\": \"%s\", \"adapter\": \"lora\", \"seed\": 1, \"stages\": []}, ",
                    rows[i].name, rows[i].kind);
    ws_str_adds(&m,
                "{\"name\": \"lost\", \"kind\": \"adapter\", \"adapter\": \"lora\", \"seed\": 1, \"stages\": [\"lost: "
                "train pos\"]}]}\n");
    put(".", "manifest.json", m.p);
    ws_str_free(&m);
    return 0;
}

static int forget(void **state) {
    (void)state;
    ws_err err = {0};
    return ws_tree_remove(dir, &err) ? -1 : 0;
}

static void near(double a, double b) {
    if (!(fabs(a - b) < 1e-12)) fail_msg("%.12g, expected %.12g", a, b);
}

static void effects_are_turned_to_what_was_meant(void **state) {
    (void)state;
    ws_results *r = load();
    assert_int_equal(ws_headline_of(r), WS_HEADLINE_MARGIN);
    ws_effect e = ws_headline_effect(WS_HEADLINE_MARGIN, &r->m[1], 1); /* weak at -alpha: -0.1 [-0.25, -0.05] */
    near(e.v, 0.1), near(e.lo, 0.05), near(e.hi, 0.25);
    e = ws_headline_effect(WS_HEADLINE_DOSE, &r->m[0], 0); /* 4 [3.5, 4.25] less the base's 1 */
    near(e.v, 3), near(e.lo, 2.5), near(e.hi, 3.25);
    e = ws_headline_effect(WS_HEADLINE_DOSE, &r->m[0], 1); /* -4 [-4.5, -3.75]: 5 words down */
    near(e.v, 5), near(e.lo, 4.75), near(e.hi, 5.5);
    e = ws_headline_effect(WS_HEADLINE_DOSE, &r->m[1], 1); /* 0 [-0.5, 0.25], from 1 */
    near(e.v, 1), near(e.lo, 0.75), near(e.hi, 1.5);
    assert_true(isnan(ws_headline_effect(WS_HEADLINE_SPECIFIC, &r->m[0], 0).v));
    ws_results_free(r);
}

static void a_row_beats_a_control_where_its_interval_lies_above(void **state) {
    (void)state;
    ws_results *r = load();
    static const ws_beats random[] = {WS_BEATS_BOTH, WS_BEATS_PLUS, WS_BEATS_BOTH, WS_BEATS_UNKNOWN};
    for (int i = 0; i < 4; i++) /* weak at -: from 0.05, the random one up to 0.1 */
        assert_int_equal(ws_row_beats(WS_HEADLINE_MARGIN, r, &r->row[i], "random"), random[i]);
    assert_int_equal(ws_row_beats(WS_HEADLINE_MARGIN, r, &r->row[0], "shuffled"), WS_BEATS_BOTH);
    assert_int_equal(ws_row_beats(WS_HEADLINE_MARGIN, r, &r->row[1], "shuffled"), WS_BEATS_PLUS);
    assert_int_equal(ws_row_beats(WS_HEADLINE_MARGIN, r, &r->row[N], "random"), WS_BEATS_UNKNOWN);
    ws_results_free(r);
}

static void off_the_budget_is_a_tenth_away(void **state) {
    (void)state;
    ws_results *r = load();
    for (int i = 0; i < N; i++) assert_int_equal(ws_row_off_budget(r, &r->row[i]), !strcmp(rows[i].name, "far"));
    assert_string_equal(ws_row_status(r, &r->row[2], 1), "not_converged");
    assert_string_equal(ws_row_status(r, &r->row[N], 0), "");
    ws_results_free(r);
}

static void rows_are_told_in_words_and_in_a_table(void **state) {
    (void)state;
    ws_results *r = load();
    ws_str s = {0};
    assert_int_equal(ws_headline_sweep(r, &s), 2);
    assert_non_null(strstr(s.p, "on both sides: lora, near; not shown: weak, far; failed: lost"));
    ws_str_clear(&s);
    ws_tables t = ws_tables_build(&r, 1);
    assert_string_equal(ws_table_name(t.t[0]), "rows");
    ws_table_print(t.t[0], &s, 0);
    assert_non_null(strstr(s.p, "Failed at lost: train pos: lost. it diverged"));
    assert_non_null(strstr(s.p, "Not shown to be more than a control on both sides: weak, far."));
    const char *best =
        strstr(s.p, "+0.900*"); /* of near, the best on the budget; far is as high and does not compete */
    assert_non_null(best);
    const char *line = best;
    while (line > s.p && line[-1] != '\n') line--;
    assert_memory_equal(line, "near ", 5);
    const char *far = strstr(s.p, "\nfar ");
    assert_non_null(far);
    assert_true(!memchr(far + 1, '*', strcspn(far + 1, "\n")));
    ws_tables_free(&t);
    ws_str_free(&s);
    ws_results_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(effects_are_turned_to_what_was_meant),
        cmocka_unit_test(a_row_beats_a_control_where_its_interval_lies_above),
        cmocka_unit_test(off_the_budget_is_a_tenth_away),
        cmocka_unit_test(rows_are_told_in_words_and_in_a_table),
    };
    return cmocka_run_group_tests(tests, make, forget);
}
