#include "run/published.h"
#include "data/behavior.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const needed[] = {"method",          "program",    "model",       "target_p95", "d_Authority",
                                     "d_Authority_std", "d_Care",     "d_Care_std",  "si",         "si_fwd",
                                     "si_rev",          "separation", "pmass_scale", "source"};

static ws_status load(ws_sheet *s, const char *path, ws_err *err) {
    s->path = path ? ws_xstrdup(path) : ws_data_path("published.csv", err);
    if (!s->path || ws_csv_load(&s->csv, s->path, err)) return err->code;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (ws_csv_col(&s->csv, needed[i]) < 0)
            return ws_fail(err, WS_EFORMAT, "%s: column \"%s\" is missing", s->path, needed[i]);
    return WS_OK;
}

/* What a source does not give. */
static void num(ws_table *t, double v) {
    if (isnan(v))
        ws_table_none(t, "-");
    else
        ws_table_num(t, v);
}
static void spread(ws_table *t, double v, double sd) {
    if (isnan(v))
        ws_table_none(t, "-");
    else
        ws_table_sd(t, v, sd);
}

static void cited(ws_table *t, const ws_sheet *s, int r) {
    static const char *const number[] = {"si", "si_fwd", "si_rev", "separation", "pmass_scale"};
    ws_table_row(t);
    ws_table_text(t, ws_sheet_text(s, r, "method"));
    ws_table_text(t, ws_sheet_text(s, r, "program")), ws_table_text(t, ws_sheet_text(s, r, "model"));
    ws_table_num(t, ws_sheet_num(s, r, "target_p95"));
    spread(t, ws_sheet_num(s, r, "d_Authority"), ws_sheet_num(s, r, "d_Authority_std"));
    spread(t, ws_sheet_num(s, r, "d_Care"), ws_sheet_num(s, r, "d_Care_std"));
    for (int k = 0; k < 5; k++) num(t, ws_sheet_num(s, r, number[k]));
}

static int plus_row(const ws_sheet *s, const char *foundation) {
    for (int i = 0; i < s->csv.rows; i++)
        if (!strcmp(ws_sheet_text(s, i, "foundation"), foundation) && !strcmp(ws_sheet_text(s, i, "arm"), "plus"))
            return i;
    return -1;
}

static void ours(ws_table *t, const ws_results *r, const ws_method_results *m) {
    static const char *const foundation[] = {"Authority", "Care"};
    int si = -1, cal = -1;
    for (int i = 0; i < m->si.csv.rows; i++)
        if (!strcmp(ws_sheet_text(&m->si, i, "foundation"), foundation[0])) si = i;
    for (int i = 0; i < r->summary.csv.rows; i++)
        if (!strcmp(ws_sheet_text(&r->summary, i, "method"), m->name)) cal = i;
    char *by = ws_sprintf("ours (%s)", r->name);
    ws_table_row(t);
    ws_table_text(t, m->name), ws_table_text(t, by), ws_table_text(t, ws_results_model(r));
    ws_table_num(t, cal < 0 ? (double)NAN : ws_sheet_num(&r->summary, cal, "target_p95"));
    for (int k = 0; k < 2; k++) {
        int i = plus_row(&m->dlogit, foundation[k]);
        ws_table_sd(t, i < 0 ? (double)NAN : ws_sheet_num(&m->dlogit, i, "mean"),
                    i < 0 ? (double)NAN : ws_sheet_num(&m->dlogit, i, "std"));
    }
    static const char *const number[] = {"si", "si_fwd", "si_rev", "separation", "pmass_scale"};
    int defined = si >= 0 && ws_sheet_num(&m->si, si, "defined") > 0;
    for (int k = 0; k < 5; k++) {
        if (si >= 0 && k < 3 && !defined)
            ws_table_none(t, "n < 10");
        else
            ws_table_num(t, si < 0 ? (double)NAN : ws_sheet_num(&m->si, si, number[k]));
    }
    free(by);
}

static void source(ws_table *t, const ws_sheet *s) {
    for (int r = 0; r < s->csv.rows; r++) {
        int first = 1;
        for (int k = 0; k < r; k++) first &= strcmp(ws_sheet_text(s, k, "source"), ws_sheet_text(s, r, "source")) != 0;
        if (first) ws_table_note(t, "Source of the published rows: %s", ws_sheet_text(s, r, "source"));
    }
}

ws_status ws_published_table(ws_table **out, ws_results *const *run, int n_runs, const char *path, ws_err *err) {
    ws_sheet s = {0};
    *out = NULL;
    ws_status st = load(&s, path, err);
    if (!st) {
        ws_table *t = *out = ws_table_new("published", "Published figures, and ours of the same name below each");
        static const struct {
            const char *key, *title;
            ws_cell_kind kind;
            const char *format;
        } c[] = {{"method", "method", WS_CELL_TEXT, NULL},
                 {"program", "program", WS_CELL_TEXT, NULL},
                 {"model", "base model", WS_CELL_TEXT, NULL},
                 {"target_p95", "KL budget", WS_CELL_NUM, "%.2f"},
                 {"d_Authority", "dAuthority", WS_CELL_SD, "%+.2f"},
                 {"d_Care", "dCare", WS_CELL_SD, "%+.2f"},
                 {"si", "SI(Auth)", WS_CELL_NUM, "%+.1f"},
                 {"si_fwd", "SI fwd", WS_CELL_NUM, "%+.2f"},
                 {"si_rev", "SI rev", WS_CELL_NUM, "%+.2f"},
                 {"separation", "separation", WS_CELL_NUM, "%+.2f"},
                 {"pmass_scale", "pmass² x 100", WS_CELL_NUM, "%.1f"}};
        for (size_t i = 0; i < sizeof c / sizeof *c; i++)
            ws_table_column(t, c[i].key, c[i].title, c[i].kind, c[i].format, WS_BEST_NONE);
        int beside = 0;
        for (int r = 0; r < s.csv.rows; r++) {
            cited(t, &s, r);
            for (int i = 0; i < n_runs; i++)
                for (int k = 0; k < run[i]->n; k++) {
                    if (strcmp(run[i]->m[k].name, ws_sheet_text(&s, r, "method")) || !run[i]->m[k].dlogit.csv.rows)
                        continue;
                    ours(t, run[i], &run[i]->m[k]), beside++;
                }
        }
        ws_table_note(t, "The published rows are of another program, with its own vignettes, questions, personas and "
                         "training data, and mostly of another model: a difference to ours is not a difference of "
                         "methods. Change of logit(is wrong) at +alpha, mean ± std over the vignettes; nothing is "
                         "marked as best.");
        int budgets = 0;
        for (int r = 1; r < s.csv.rows; r++)
            budgets |= ws_sheet_num(&s, r, "target_p95") != ws_sheet_num(&s, 0, "target_p95");
        if (budgets) ws_table_note(t, "The published rows do not share one KL budget: see its column.");
        if (!beside)
            ws_table_note(t, "No method of these runs has the name of a published one and answered vignettes.");
        source(t, &s);
    }
    ws_csv_free(&s.csv), free(s.path);
    return st;
}
