/* src/cmd/table.c - `ws table`: runs -> tables on stdout, and the whole report into a folder. */
#include "cmd/cmd.h"
#include "cmd/stages.h"
#include "cmd/tables_out.h"
#include "base/log.h"
#include "io/file.h"
#include "run/headline.h"
#include "run/published.h"
#include "run/questions.h"
#include "run/report.h"
#include "run/tables.h"
#include "run/verdict.h"
#include <stdlib.h>
#include <string.h>

WS_ROOM(table)

enum { K_FORMAT = 1, K_TABLE, K_PUBLISHED, K_PROTOCOL, K_VIGNETTES };

static const struct argp_option options[] = {
    {"format", K_FORMAT, "F", 0, "text, markdown, csv or json (text; --json is the same as json)", 0},
    {"table", K_TABLE, "NAME", 0,
     "this table alone, by its name: dose, margin, effect, dlogit, si, bare, calibration ...", 0},
    {"protocol", K_PROTOCOL, "P", 0, "refuse runs of another protocol than P (ours, ws, sl)", 0},
    {"vignettes", K_VIGNETTES, "DIR", 0, "vignettes of a folder of steering-lite: with them SI is computed too", 0},
    {"published", K_PUBLISHED, "FILE", OPTION_ARG_OPTIONAL,
     "the figures that others have published beside ours (the program's own data/published.csv)", 0},
    {0}};

static const char doc[] =
    "Tables of one or several runs, from the files that `ws run` (or calibrate and eval) left.\n\n"
    "  ws table out/enthusiasm                            every table, for people\n"
    "  ws table out/enthusiasm out2/enthusiasm            two runs in the same tables\n"
    "  ws table out/authority --table si --format csv     one table for a program\n"
    "  ws table out/authority sl/sweep --vignettes V      a folder of steering-lite's JSON beside ours\n"
    "  ws table out/authority --published                 published figures with ours of the same name below each\n"
    "  ws table out/enthusiasm --out report               report.md, report.html, plots and tables into a folder\v"
    "With --out and one RUN_DIR the whole report is written; nothing is read but the run's own files.";

typedef struct args {
    const char *format, *table, *published, *vignettes;
    const ws_protocol *protocol;
    int with_published;
    const char **run;
    int n;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_err err = {0};
    switch (key) {
    case K_FORMAT:
        if (!ws_tables_format(arg)) argp_error(state, "--format %s: text, markdown, csv or json", arg);
        a->format = arg;
        break;
    case K_TABLE: a->table = arg; break;
    case K_VIGNETTES: a->vignettes = arg; break;
    case K_PROTOCOL:
        if (ws_opt_protocol(arg, &a->protocol, &err)) argp_error(state, "%s", err.msg);
        break;
    case K_PUBLISHED: a->with_published = 1, a->published = arg; break;
    case ARGP_KEY_ARG:
        a->run = ws_xrealloc(a->run, (size_t)(a->n + 1) * sizeof *a->run);
        a->run[a->n++] = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    args a = {.format = "text"};
    ws_common c;
    ws_results **r = NULL;
    ws_tables all = {0};
    ws_questions q = {0};
    static const char *const without[] = {"model", "offline", "steer", "force", "template", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "RUN_DIR...", doc, &a, &c, err);
    if (!st && !a.n) st = ws_fail(err, WS_EUSAGE, "which run? give its folder, out/<behavior>");
    if (!st && c.out && a.n > 1) st = ws_fail(err, WS_EUSAGE, "--out writes the report of one run; %d were given", a.n);
    if (st) goto out;
    if (c.json) a.format = "json";
    int any_sl = 0;
    r = ws_xcalloc((size_t)a.n, sizeof *r);
    for (int i = 0; i < a.n && !st; i++) {
        int sl = ws_results_is_sl(a.run[i]);
        any_sl |= sl;
        st = sl ? ws_results_load_sl(&r[i], a.run[i], a.vignettes, err) : ws_results_load(&r[i], a.run[i], err);
        if (!st && a.protocol && strcmp(ws_results_protocol(r[i]), a.protocol->name) != 0)
            st = ws_fail(err, WS_ESTATE, "%s was evaluated by protocol %s, not %s", a.run[i], ws_results_protocol(r[i]),
                         a.protocol->name);
    }
    if (!st && a.vignettes && !any_sl)
        st = ws_fail(err, WS_EUSAGE, "--vignettes is for folders of steering-lite (bare.json), and none was given");
    if (st) goto out;
    all = ws_tables_build(r, a.n);
    if (a.n == 1) {
        q = ws_questions_of(r[0]);
        ws_questions_tables(&q, &all);
    }
    if (a.with_published) {
        ws_table *t;
        if ((st = ws_published_table(&t, r, a.n, a.published, err))) goto out;
        ws_tables_add(&all, t);
        if (!a.table) a.table = ws_table_name(t);
    }
    st = ws_tables_out(&all, a.table, a.format, err);
    if (!st && c.out) st = ws_report_write(r[0], c.out, err);
    if (!st && c.out) ws_note("report in %s", c.out);
    for (int i = 0; i < a.n && !st; i++)
        for (int k = 0; k < (r[i]->n_rows ? 1 : r[i]->n); k++) { /* the rows of a sweep have one verdict together */
            const ws_method_results *m = &r[i]->m[k];
            ws_str s = {0};
            if (!r[i]->n_rows && !m->margin.csv.rows && !m->dose.csv.rows) continue; /* nothing to judge by */
            if (r[i]->n_rows)
                ws_headline_sweep(r[i], &s);
            else
                ws_verdict_line(m, &s);
            ws_note("%s%s%s: %s", a.n > 1 ? r[i]->name : "", a.n > 1 ? "/" : "", r[i]->n_rows ? "rows" : m->name, s.p);
            ws_str_free(&s);
        }
    if (!st && a.n == 1) {
        ws_str s = {0};
        ws_questions_answer(&q, &s);
        for (const char *l = s.p; l && *l; l += strcspn(l, "\n"), l += *l == '\n')
            ws_note("%.*s", (int)strcspn(l, "\n"), l);
        ws_str_free(&s);
    }
out:
    ws_questions_free(&q);
    ws_tables_free(&all);
    for (int i = 0; r && i < a.n; i++) ws_results_free(r[i]);
    free(r);
    free(a.run);
    return st;
}

const ws_cmd ws_cmd_table = {70, "table", "runs -> tables, plots, HTML report", run};
