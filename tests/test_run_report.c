/* The report of two invented runs (tools/reference/make_run.py): what is printed, what the verdict says and why, and that
 * the same results give the same files. */
#include "run/report.h"
#include "base/hash.h"
#include "io/file.h"
#include "run/plots.h"
#include "run/samples.h"
#include "run/tables.h"
#include "run/tree.h"
#include "run/verdict.h"
#include "golden.h"
#include <math.h>
#include <unistd.h>

#define RUN "tests/fixtures/run/"

static ws_results *load(const char *dir) {
    ws_results *r = NULL;
    ws_err err = {0};
    if (ws_results_load(&r, dir, &err)) fail_msg("%s", err.msg);
    return r;
}

static void test_printed_report(void **state) {
    (void)state;
    ws_results *r = load(RUN "works");
    ws_str s = {0};
    ws_report_print(r, 90, 0, &s);
    golden("report.exp", s.p);
    ws_str_free(&s);
    ws_results_free(r);
}

static void test_several_runs_and_no_signal(void **state) {
    (void)state;
    ws_results *r[2] = {load(RUN "works"), load(RUN "silent")};
    ws_tables t = ws_tables_build(r, 2);
    ws_str s = {0};
    for (int i = 0; i < t.n; i++) {
        ws_str_clear(&s);
        ws_table_print(t.t[i], &s, 0);
        if (!strcmp(ws_table_name(t.t[i]), "dlogit")) golden("two_runs.exp", s.p);
        assert_null(strchr(s.p, '*')); /* other models, and a readout without signal: nothing is best */
    }
    ws_tables_free(&t);
    t = ws_tables_build(&r[1], 1);
    int said = 0;
    for (int i = 0; i < t.n; i++) {
        ws_str_clear(&s);
        ws_table_print(t.t[i], &s, 0);
        if (strstr(s.p,
                   "Nothing is marked as best: the vignette readout carries no signal on this model, because the two"))
            said++;
    }
    assert_int_equal(said, 5); /* effect, dlogit, dlogit of all foundations, si, bare */
    ws_tables_free(&t);
    ws_str_free(&s);
    ws_results_free(r[0]);
    ws_results_free(r[1]);
}

static void test_verdict(void **state) {
    (void)state;
    ws_results *r = load(RUN "works");
    ws_str s = {0};
    ws_verdict v = ws_verdict_of(&r->m[0]);
    assert_true(v.works && v.margin_pos && v.margin_neg && v.monotone);
    ws_verdict_line(&r->m[0], &s);
    assert_string_equal(
        s.p, "steering works: margin separated on both sides (-0.300 [-0.340, -0.260] at -3.4, +0.300 [+0.260, "
             "+0.340] at +4.1), dose monotone (score -1.27 at -3.4, +0.31 at 0, +3.02 at +4.1)");
    ws_str_clear(&s);
    ws_verdict_honest(r, &r->m[0], &s);
    assert_non_null(strstr(s.p, "works in both directions"));
    assert_non_null(strstr(s.p, "carries signal"));
    ws_results_free(r);

    r = load(RUN "silent");
    v = ws_verdict_of(&r->m[0]);
    assert_true(!v.works && !v.margin_pos && !v.margin_neg && !v.monotone && v.has_margin && v.has_dose);
    ws_str_clear(&s);
    ws_verdict_line(&r->m[0], &s);
    assert_memory_equal(s.p, "no effect shown: margin not separated on either side", 51);
    ws_str_clear(&s);
    ws_verdict_honest(r, &r->m[0], &s);
    assert_non_null(strstr(s.p, "is not shown to work"));
    assert_non_null(strstr(s.p, "It shows nothing about moral judgement"));
    ws_str_free(&s);
    ws_results_free(r);
}

/* Every condition of the rule is needed. */
static void test_each_part_of_the_rule(void **state) {
    (void)state;
    static const struct {
        int sheet; /* 0 margin, 1 dose */
        const char *column;
        int row;
        const char *value;
    } spoil[] = {{0, "delta_lo", 1, "-0.001"}, {0, "delta_hi", 2, "0.001"}, {1, "score", 3, "3.03"},
                 {1, "score", 1, "-0.2"},      {1, "score_lo", 4, "-0.9"},  {1, "score", 4, "nan"},
                 {0, "delta_lo", 1, "nan"}};
    for (size_t i = 0; i < sizeof spoil / sizeof *spoil; i++) {
        ws_results *r = load(RUN "works");
        ws_sheet *s = spoil[i].sheet ? &r->m[0].dose : &r->m[0].margin;
        char **cell = &s->csv.cell[spoil[i].row * s->csv.cols + ws_csv_col(&s->csv, spoil[i].column)];
        char *was = *cell, now[16];
        strcpy(now, spoil[i].value);
        *cell = now;
        ws_verdict v = ws_verdict_of(&r->m[0]);
        if (v.works) fail_msg("the rule does not look at %s of row %d", spoil[i].column, spoil[i].row);
        *cell = was;
        assert_true(ws_verdict_of(&r->m[0]).works);
        ws_results_free(r);
    }
}

static void set_cell(ws_sheet *s, int row, const char *column, const char *value) {
    char **cell = &s->csv.cell[row * s->csv.cols + ws_csv_col(&s->csv, column)];
    free(*cell);
    *cell = strdup(value);
}
/* All tables of two runs as text; the number of marks for the best. */
static int marks_of(ws_results *const *r, ws_str *s) {
    ws_tables t = ws_tables_build(r, 2);
    int n = 0;
    ws_str_clear(s);
    for (int i = 0; i < t.n; i++) ws_table_print(t.t[i], s, 0);
    for (char *c = s->p; *c; c++) n += *c == '*', *c = *c == '\n' ? ' ' : *c; /* notes are wrapped: unwrap them */
    ws_tables_free(&t);
    return n;
}

/* Best is only said of figures that can be compared: one set of questions, one price k, strengths at the budget, and a
 * behaviour that means to move Authority. */
static void test_marks_need_comparable_runs(void **state) {
    (void)state;
    static const struct {
        const char *key;
        json_type type;
        const char *says;
    } spoil[] = {{"k", JSON_INTEGER, "differ in the price k"},
                 {"vignettes_hash", JSON_STRING, "differ in the vignettes"},
                 {"frames_hash", JSON_STRING, "differ in the questions"},
                 {"loading_weighted", JSON_TRUE, "differ in the weighting"}};
    ws_str s = {0};
    ws_results *r[2] = {load(RUN "works"), load(RUN "works")};
    set_cell(&r[1]->m[0].dlogit, 2, "mean", "-1.9"); /* the two differ, so there is a best */
    int all = marks_of(r, &s);
    assert_true(all > 0);
    json_t *v[2] = {json_object_get(r[0]->m[0].eval, "vignettes"), json_object_get(r[1]->m[0].eval, "vignettes")};
    for (size_t i = 0; i < sizeof spoil / sizeof *spoil; i++) {
        json_t *was = json_deep_copy(v[1]);
        for (int k = 0; k < 2; k++)
            json_object_set_new(v[k], spoil[i].key,
                                spoil[i].type == JSON_INTEGER  ? json_integer(2 - k)
                                : spoil[i].type == JSON_STRING ? json_string(k ? "b" : "a")
                                                               : json_boolean(k));
        assert_int_equal(marks_of(r, &s), 0);
        if (!strstr(s.p, spoil[i].says)) fail_msg("not said: %s", spoil[i].says);
        json_object_clear(v[1]), json_object_update(v[1], was);
        json_object_clear(v[0]), json_object_update(v[0], was);
        json_decref(was);
    }
    assert_int_equal(marks_of(r, &s), all);
    assert_null(strstr(s.p, "no aim"));
    set_cell(&r[1]->m[0].si, 2, "k", "1"), set_cell(&r[1]->m[0].si, 2, "weighting", "loading");
    marks_of(r, &s);
    assert_non_null(
        strstr(s.p, "k = 2; cells weighted by foundation; from works on: k = 1; cells weighted by loading"));
    set_cell(&r[1]->m[0].dlogit, 9, "n", "31");
    marks_of(r, &s);
    assert_non_null(strstr(s.p, "31..39 of 40"));
    set_cell(&r[1]->summary, 0, "status_neg", "above_range");
    assert_int_equal(marks_of(r, &s), 0);
    assert_non_null(strstr(s.p, "lora at alpha < 0 was not calibrated to the KL budget (above_range)"));
    ws_str_clear(&s);
    ws_verdict_honest(r[1], &r[1]->m[0], &s);
    assert_non_null(
        strstr(s.p, "The strength at alpha < 0 does not stand for the KL budget: its search ended above_range."));
    set_cell(&r[1]->summary, 0, "status_neg", "ok");
    json_object_set_new(v[1], "target_meant", json_false());
    marks_of(r, &s);
    const char *at = strstr(s.p, "dlogit: change");
    assert_non_null(strstr(s.p, "Authority (no aim)"));
    assert_non_null(strstr(s.p, "names no target foundation"));
    assert_non_null(at);
    const char *end = strstr(at, "dlogit for every"), *mark = strchr(at, '*');
    assert_true(end && (!mark || mark > end));
    ws_str_free(&s);
    ws_results_free(r[0]), ws_results_free(r[1]);
}

/* A thought before the answer makes another readout: its figures stand in tables of their own. */
static void test_modes_never_share_a_table(void **state) {
    (void)state;
    static const char *const moral[] = {"effect", "dlogit", "dlogit_foundations", "si", "bare"};
    ws_results *r[2] = {load(RUN "works"), load(RUN "silent")};
    ws_str s = {0};
    json_object_set_new(json_object_get(r[1]->m[0].eval, "vignettes"), "max_think", json_integer(64));
    ws_tables t = ws_tables_build(r, 2);
    int seen = 0;
    for (int i = 0; i < t.n; i++)
        for (int k = 0; k < 10; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s", moral[k / 2], k % 2 ? "_think64" : "");
            if (strcmp(ws_table_name(t.t[i]), name)) continue;
            ws_str_clear(&s);
            ws_table_csv(t.t[i], &s);
            assert_true(strstr(s.p, k % 2 ? "silent" : "works") && !strstr(s.p, k % 2 ? "works" : "silent"));
            ws_str_clear(&s);
            ws_table_print(t.t[i], &s, 0);
            assert_non_null(
                strstr(s.p, k % 2 ? "Mode B: answers after a thought of at most 64 tokens" : "Mode A: answers"));
            seen++;
        }
    assert_int_equal(seen, 10);
    ws_tables_free(&t);
    t = ws_tables_build(&r[1], 1); /* one mode: the plain names */
    for (seen = 0; seen < t.n && strcmp(ws_table_name(t.t[seen]), "effect");) seen++;
    assert_true(seen < t.n);
    ws_tables_free(&t);
    ws_str_free(&s);
    ws_results_free(r[0]), ws_results_free(r[1]);
}

static void test_samples_are_chosen_by_the_seed(void **state) {
    (void)state;
    ws_results *r = load(RUN "works");
    ws_triple a[3], b[3];
    int differs = 0;
    assert_int_equal(ws_triples_choose(&r->m[0], 3, 3, a), 3);
    for (int i = 0; i < 3; i++) {
        assert_true(a[i].alpha[0] < 0 && a[i].alpha[1] == 0 && a[i].alpha[2] > 0);
        assert_non_null(strstr(a[i].text[0], "Answer 0 "));
        for (int j = 0; j < i; j++) assert_ptr_not_equal(a[i].prompt, a[j].prompt);
    }
    for (uint64_t seed = 0; seed < 8; seed++) {
        assert_int_equal(ws_triples_choose(&r->m[0], seed, 3, b), 3);
        differs |= strcmp(a[0].prompt, b[0].prompt) != 0;
    }
    assert_true(differs);
    assert_int_equal(ws_triples_choose(&r->m[0], 3, 10, (ws_triple[10]){{0}}), 5);
    ws_results_free(r);
}

typedef struct files {
    int n;
    char *path[64];
} files;
static void note(void *arg, const char *path) {
    files *f = arg;
    f->path[f->n++] = strdup(path);
}

static void test_same_results_same_files(void **state) {
    (void)state;
    char dir[2][64] = {"/tmp/ws_report_a.XXXXXX", "/tmp/ws_report_b.XXXXXX"}, hex[2][65];
    ws_results *r = load(RUN "works");
    ws_err err = {0};
    files f[2] = {{0}};
    for (int k = 0; k < 2; k++) {
        assert_non_null(mkdtemp(dir[k]));
        assert_int_equal(ws_report_write(r, dir[k], &err), WS_OK);
        ws_report_files(r, dir[k], note, &f[k]);
    }
    assert_int_equal(f[0].n, f[1].n);
    assert_int_equal(f[0].n, 9 * 2 + 5 * 2 + 3); /* tables, plots, pages */
    for (int i = 0; i < f[0].n; i++) {
        assert_int_equal(ws_hash_file(f[0].path[i], hex[0], &err), WS_OK);
        assert_int_equal(ws_hash_file(f[1].path[i], hex[1], &err), WS_OK);
        assert_string_equal(hex[0], hex[1]);
        free(f[0].path[i]), free(f[1].path[i]);
    }
    ws_str s = {0};
    char *path = ws_path_join(dir[0], "report.md");
    assert_int_equal(ws_file_read(path, &s, &err), WS_OK);
    golden("report_md.exp", s.p);
    free(path);
    ws_str_free(&s);
    for (int k = 0; k < 2; k++) assert_int_equal(ws_tree_remove(dir[k], &err), WS_OK);
    ws_results_free(r);
}

/* Single verbs leave no manifest: the evaluation tells what model it was. */
static void test_without_a_manifest(void **state) {
    (void)state;
    char dir[64] = "/tmp/ws_report_d.XXXXXX", cmd[256];
    ws_err err;
    assert_non_null(mkdtemp(dir));
    snprintf(cmd, sizeof cmd, "cp -r " RUN "works/. %s && rm %s/manifest.json", dir, dir);
    assert_int_equal(system(cmd), 0);
    ws_results *r = load(dir);
    assert_string_equal(ws_results_model(r), "tiny-model");
    assert_int_equal(ws_results_model_hash(r)[0], 'a');
    assert_string_equal(ws_results_behavior(r), "enthusiasm");
    ws_results_free(r);
    assert_int_equal(ws_tree_remove(dir, &err), WS_OK);
}

/* A run of five rows and one that failed, from copies of the invented run. */
static ws_results *rows_run(const char *dir) {
    static const struct {
        const char *name, *kind;
    } row[] = {{"random", "random"}, {"lora", "adapter"},      {"pca", "vector"},
               {"ask", "prompt"},    {"rnd", "random_vector"}, {"oft", "adapter"}};
    char cmd[1024];
    json_t *list = json_array(), *m, *stages;
    ws_err err = {0};
    for (int i = 0; i < 6; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s: train pos", row[i].name);
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:[s]}", "name", row[i].name, "kind", row[i].kind,
                                              "seed", 0, "stages", key));
        if (i == 5) continue; /* oft failed */
        snprintf(cmd, sizeof cmd,
                 "mkdir -p %s/%s && cp -r " RUN "works/lora/. %s/%s && cp -r " RUN
                 "works/kl_calibration %s/%s/ && sed -i "
                 "'s/^lora,/%s,/' %s/%s/*.csv %s/%s/*/*.csv",
                 dir, row[i].name, dir, row[i].name, dir, row[i].name, row[i].name, dir, row[i].name, dir, row[i].name);
        assert_int_equal(system(cmd), 0);
    }
    snprintf(cmd, sizeof cmd, "%s/manifest.json", dir);
    assert_int_equal(ws_json_load(&m, RUN "works/manifest.json", &err), WS_OK);
    stages = json_pack("{s:{s:s, s:s}}", "oft: train pos", "failed", "oft: train pos", "error", "it diverged");
    json_object_set_new(m, "rows", list), json_object_set_new(m, "stages", stages);
    assert_int_equal(ws_json_save(m, cmd, &err), WS_OK);
    json_decref(m);
    m = json_pack("{s:f, s:f, s:[{s:i, s:f}, {s:i, s:f}, {s:i, s:f}]}", "norm", 5.0, "norm_w", 50.0, "layers", "layer",
                  -1, "norm", 1.0, "layer", 3, "norm", 2.0, "layer", 4, "norm", 4.0);
    snprintf(cmd, sizeof cmd, "%s/lora/diff.json", dir);
    assert_int_equal(ws_json_save(m, cmd, &err), WS_OK);
    json_decref(m);
    snprintf(cmd, sizeof cmd,
             "echo lora,2.05,other,Authority,-1,-.5,-.6,-.4,.05,-.02,.12,-.55,-.7,-.4,280 >>%s/lora/effect.csv", dir);
    assert_int_equal(system(cmd), 0);
    return load(dir);
}

static const ws_plot *picture(const ws_pictures *p, const char *name) {
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->p[i].name, name)) return &p->p[i].plot;
    fail_msg("no picture %s", name);
    return NULL;
}
#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-12)

static void off_budget(ws_results *r, const char *row) {
    for (int i = 0; i < r->summary.csv.rows; i++)
        if (!strcmp(ws_sheet_text(&r->summary, i, "method"), row))
            set_cell(&r->summary, i, "status_neg", "above_range"), set_cell(&r->summary, i, "p95_at_neg", "0.5");
}

/* What the pictures of rows show: every row in its place, effects oriented, the controls behind those that they control. */
static void test_pictures_of_rows(void **state) {
    (void)state;
    static const char *const category[] = {"lora", "oft (failed)", "pca", "ask *", "random (control)", "rnd (control)"};
    char dir[64] = "/tmp/ws_report_e.XXXXXX";
    ws_err err = {0};
    assert_non_null(mkdtemp(dir));
    ws_results *r = rows_run(dir);
    assert_int_equal(r->n_rows, 6);
    off_budget(r, "ask");
    ws_pictures p = ws_pictures_build(r);
    static const char *const names[] = {"rows",
                                        "foundations",
                                        "selectivity_plus",
                                        "selectivity_minus",
                                        "dose_adapters",
                                        "dose_vectors",
                                        "calibration_adapters",
                                        "calibration_vectors",
                                        "effect_kl_adapters",
                                        "effect_kl_vectors",
                                        "layers_adapters",
                                        "dlogit",
                                        "training"};
    int known = 0;
    for (int i = 0; i < p.n; i++) {
        assert_true(p.p[i].alt && strlen(p.p[i].alt) > 20);
        while (known < 13 && strcmp(names[known], p.p[i].name)) known++;
        if (known == 13) fail_msg("%s stands at no place that it should", p.p[i].name);
    }
    const ws_plot *f = picture(&p, "rows");
    assert_int_equal(f->n_categories, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(f->category[i], category[i]);
    assert_memory_equal(f->line_above, "\0\0\1\1\1\0", 6);
    assert_int_equal(f->n_bands, 4); /* adapters and vectors, at + and at - */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f->band[i].panel, i / 2);
        assert_int_equal(f->band[i].first, i % 2 ? 2 : 0), assert_int_equal(f->band[i].last, i % 2 ? 2 : 1);
        NEAR(f->band[i].lo, (i < 2 ? 0.95 : 0.76) - 0.33), NEAR(f->band[i].hi, (i < 2 ? 0.95 : 0.76) + 0.33);
    }
    for (int s = 0; s < 4; s++) {
        const ws_series *q = &f->series[s];
        assert_int_equal(q->panel, s / 2);
        for (int i = 0; i < 6; i++) {
            assert_true(isfinite(q->x[i]) == (i != 1 && (i >= 4) == s % 2));
            if (isfinite(q->x[i]))
                NEAR(q->x[i], s < 2 ? 0.95 : 0.76), assert_true(q->lo[i] < q->x[i] && q->x[i] < q->hi[i]);
        }
    }
    f = picture(&p, "foundations");
    assert_string_equal(f->panel[0], "Authority: + is meant to go down");
    assert_string_equal(f->panel[1], "Care: not meant to move");
    NEAR(f->series[0].x[0], -0.9), NEAR(f->series[1].x[0], 0.72), NEAR(f->series[2].x[0], -0.1);
    f = picture(&p, "selectivity_minus");
    int points = 0;
    for (int s = 0; s < 4; s++)
        for (int i = 0; i < f->series[s].n; i++, points++) {
            NEAR(f->series[s].x[i], 0.72); /* up is meant at -alpha */
            NEAR(f->series[s].y[i], 0.8 * (0.1 + 0.05 + 0.05 + 0.1 + 0.15 + 0.2) / 6);
            assert_non_null(f->series[s].label[i]);
        }
    assert_int_equal(points, 5);
    assert_string_equal(f->series[0].label[0], "lora"), assert_string_equal(f->series[2].label[0], "ask *");
    f = picture(&p, "calibration_vectors");
    assert_int_equal(f->n_series, 4); /* pca and its control, two sides */
    assert_string_equal(f->series[0].name, "pca"), assert_null(f->series[1].name);
    assert_string_equal(f->series[2].name, "rnd (control)");
    NEAR(f->series[0].x[0], 0.894 / 4.1), NEAR(f->series[0].y[0], 0.08), NEAR(f->series[1].x[2], 1);
    assert_non_null(strstr(picture(&p, "dlogit")->title, "row random"));
    f = picture(&p, "dose_adapters");
    assert_int_equal(f->n_series, 2); /* random is lora's control */
    assert_string_equal(f->series[0].name, "lora"), assert_true(f->series[1].dashed && !f->series[0].dashed);
    NEAR(f->series[0].x[0], -1), NEAR(f->series[0].y[0], -1.27), NEAR(f->series[0].y[4], 3.02);
    f = picture(&p, "effect_kl_adapters");
    assert_int_equal(f->n_series, 4), assert_int_equal(f->series[0].n, 2);
    NEAR(f->series[0].x[0], 0.3637571629762155); /* between (1.789, .3) and (3.578, .8), on logarithmic axes */
    NEAR(f->series[0].y[0], 0.55), NEAR(f->series[0].x[1], 1.01), NEAR(f->series[0].y[1], 0.95);
    assert_int_equal(f->series[1].n, 1), NEAR(f->series[1].x[0], 0.98), NEAR(f->series[1].y[0], 0.76);
    f = picture(&p, "layers_adapters");
    assert_int_equal(f->n_series, 1), assert_int_equal(f->series[0].n, 2);
    assert_int_equal((int)f->series[0].x[0], 3), NEAR(f->series[0].y[0], 4.0 / 21), NEAR(f->series[0].y[1], 16.0 / 21);
    ws_pictures_free(&p);
    off_budget(r, "rnd");
    p = ws_pictures_build(r);
    assert_int_equal(picture(&p, "rows")->n_bands, 2); /* a control at another budget is none */
    ws_pictures_free(&p);
    json_object_set_new(json_object_get(r->m[0].eval, "vignettes"), "target_meant", json_false());
    p = ws_pictures_build(r); /* no target: nothing to be selective about, and the margin is the headline */
    for (int i = 0; i < p.n; i++)
        assert_true(strncmp(p.p[i].name, "selectivity", 11) && strcmp(p.p[i].name, "foundations"));
    assert_memory_equal(picture(&p, "rows")->title, "Margin of each row", 18);
    ws_pictures_free(&p);
    char out[128];
    snprintf(out, sizeof out, "%s/report", dir);
    assert_int_equal(ws_mkdirs(out, &err), WS_OK);
    assert_int_equal(ws_report_write(r, out, &err), WS_OK); /* all of them can be drawn */
    ws_results_free(r);
    snprintf(out, sizeof out, "echo '{\"layers\": [{\"layer\": 1}]}' >%s/lora/diff.json", dir);
    assert_int_equal(system(out), 0);
    assert_int_equal(ws_results_load(&r, dir, &err), WS_EFORMAT);
    assert_non_null(strstr(err.msg, "lora/diff.json: layers[0] is no {layer, norm}"));
    assert_int_equal(ws_tree_remove(dir, &err), WS_OK);
}

/* More than eight curves go to several pictures of like sizes. */
static void test_many_curves_are_split(void **state) {
    (void)state;
    char dir[64] = "/tmp/ws_report_f.XXXXXX", cmd[256];
    ws_err err = {0};
    assert_non_null(mkdtemp(dir));
    json_t *m, *list = json_array();
    for (int i = 0; i < 19; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%02d", i);
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "kind", "vector"));
        snprintf(cmd, sizeof cmd, "mkdir %s/%s && cp -r " RUN "works/kl_calibration " RUN "works/lora/eval.json %s/%s/",
                 dir, name, dir, name);
        assert_int_equal(system(cmd), 0);
        snprintf(cmd, sizeof cmd, "sed -i 's/^lora,/%s,/' %s/%s/kl_calibration/*.csv", name, dir, name);
        assert_int_equal(system(cmd), 0);
    }
    assert_int_equal(ws_json_load(&m, RUN "works/manifest.json", &err), WS_OK);
    json_object_set_new(m, "rows", list);
    snprintf(cmd, sizeof cmd, "%s/manifest.json", dir);
    assert_int_equal(ws_json_save(m, cmd, &err), WS_OK);
    json_decref(m);
    ws_results *r = load(dir);
    ws_pictures p = ws_pictures_build(r);
    assert_int_equal(p.n, 3);
    int series = 0;
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "calibration_vectors_%d", i + 1);
        const ws_plot *f = picture(&p, name);
        assert_in_range(f->n_series, 12, 14);
        series += f->n_series;
        for (int s = 0; s < f->n_series; s++) assert_int_equal(f->series[s].marker, s / 2 + 1);
    }
    assert_int_equal(series, 38);
    ws_pictures_free(&p);
    ws_results_free(r);
    assert_int_equal(ws_tree_remove(dir, &err), WS_OK);
}

static void test_bad_folders(void **state) {
    (void)state;
    ws_results *r;
    ws_err err;
    assert_int_equal(ws_results_load(&r, "tests/fixtures/no-such", &err), WS_EIO);
    assert_non_null(strstr(err.msg, "no such folder"));
    assert_int_equal(ws_results_load(&r, "tests/golden", &err), WS_EFORMAT);
    assert_non_null(strstr(err.msg, "neither a calibration nor an evaluation"));
    char dir[64] = "/tmp/ws_report_c.XXXXXX", cmd[256];
    assert_non_null(mkdtemp(dir));
    snprintf(cmd, sizeof cmd, "cp -r " RUN "works/. %s && sed -i s/score_lo/score_low/ %s/lora/dose.csv", dir, dir);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(ws_results_load(&r, dir, &err), WS_EFORMAT);
    assert_non_null(strstr(err.msg, "lora/dose.csv: column \"score_lo\" is missing"));
    assert_int_equal(ws_tree_remove(dir, &err), WS_OK);
}

static void test_the_runs_own_method_comes_first(void **state) {
    (void)state;
    char dir[64] = "/tmp/ws_report_d.XXXXXX", cmd[256];
    assert_non_null(mkdtemp(dir));
    snprintf(cmd, sizeof cmd, "cp -r " RUN "works/. %s && cp -r " RUN "silent/lora %s/extra", dir, dir);
    assert_int_equal(system(cmd), 0);
    ws_results *r = load(dir);
    assert_int_equal(r->n, 2);
    assert_string_equal(r->m[0].name, "lora"); /* "extra" stands before it in the alphabet */
    assert_string_equal(r->m[1].name, "extra");
    assert_true(ws_verdict_of(&r->m[0]).works && !ws_verdict_of(&r->m[1]).works);
    ws_results_free(r);
    ws_err err;
    assert_int_equal(ws_tree_remove(dir, &err), WS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printed_report),
        cmocka_unit_test(test_several_runs_and_no_signal),
        cmocka_unit_test(test_verdict),
        cmocka_unit_test(test_each_part_of_the_rule),
        cmocka_unit_test(test_marks_need_comparable_runs),
        cmocka_unit_test(test_modes_never_share_a_table),
        cmocka_unit_test(test_samples_are_chosen_by_the_seed),
        cmocka_unit_test(test_same_results_same_files),
        cmocka_unit_test(test_pictures_of_rows),
        cmocka_unit_test(test_many_curves_are_split),
        cmocka_unit_test(test_bad_folders),
        cmocka_unit_test(test_the_runs_own_method_comes_first),
        cmocka_unit_test(test_without_a_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
