#include "run/compare.h"
#include "run/paired.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const json_t *at(const json_t *o, const char *key) { return json_object_get(o, key); }
static const json_t *moral(const ws_results *r) {
    for (int i = 0; i < r->n; i++)
        if (json_is_object(at(r->m[i].eval, "vignettes"))) return at(r->m[i].eval, "vignettes");
    return NULL;
}

static void value(ws_str *s, const json_t *v) {
    if (!v || json_is_null(v))
        ws_str_adds(s, "-");
    else if (json_is_string(v))
        ws_str_adds(s, json_string_value(v));
    else
        ws_json_dump(v, s, 1);
}

static int equal(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return a == b || (a && b && json_equal((json_t *)a, (json_t *)b));
}

/* ---- what differs in how they were made ---- */

typedef struct facts { /* one of a run: what it is called and its text */
    ws_results *const *run;
    int n;
    ws_table *t;
} facts;

static void fact(const facts *f, const char *name, const json_t *const *v) {
    int same = 1;
    for (int i = 1; i < f->n; i++) same &= equal(v[0], v[i]);
    if (same) return;
    ws_table_row(f->t), ws_table_text(f->t, name);
    for (int i = 0; i < f->n; i++) {
        ws_str s = {0};
        value(&s, v[i]);
        if (s.n == 64 && strspn(s.p, "0123456789abcdef") == 64) s.p[12] = 0; /* a SHA-256: its beginning tells it */
        ws_table_text(f->t, s.p);
        ws_str_free(&s);
    }
}

static void facts_below(const facts *f, const char *part, const char *key, const char *called) {
    const json_t **v = ws_xcalloc((size_t)f->n, sizeof *v);
    for (int i = 0; i < f->n; i++) v[i] = key ? at(at(f->run[i]->manifest, part), key) : at(f->run[i]->manifest, part);
    fact(f, called, v);
    free(v);
}

static int known_before(const facts *f, int run, const char *key) {
    for (int i = 0; i < run; i++)
        if (at(at(f->run[i]->manifest, "options"), key)) return 1;
    return 0;
}

/* The contents that the pairs were: outputs of the stage data. */
static void data_facts(const facts *f) {
    const json_t **v = ws_xcalloc((size_t)f->n, sizeof *v);
    static const char *const tail[] = {"/pairs.jsonl", "/heldout.jsonl"};
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < f->n; i++) {
            const char *path;
            json_t *hash;
            v[i] = NULL;
            json_object_foreach((json_t *)at(at(at(f->run[i]->manifest, "stages"), "data"), "outputs"), path, hash) {
                size_t n = strlen(path), t = strlen(tail[k]);
                if (n > t && !strcmp(path + n - t, tail[k])) v[i] = hash;
            }
        }
        fact(f, k ? "held-out pairs" : "training pairs", v);
    }
    free(v);
}

static ws_table *differs(ws_results *const *run, int n) {
    facts f = {run, n, ws_table_new("differs", "What differs in how the runs were made")};
    ws_table_column(f.t, "what", "what", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    for (int i = 0; i < n; i++) {
        char *key = ws_sprintf("run%d", i + 1);
        ws_table_column(f.t, key, run[i]->dir, WS_CELL_TEXT, NULL, WS_BEST_NONE);
        free(key);
    }
    facts_below(&f, "model", "name", "base model"), facts_below(&f, "model", "hash", "base model's weights");
    facts_below(&f, "tokenizer", "hash", "tokenizer");
    facts_below(&f, "behavior", "name", "behaviour"), facts_below(&f, "behavior", "hash", "behaviour's file");
    data_facts(&f);
    for (int i = 0; i < n; i++) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)at(run[i]->manifest, "options"), key, v) {
            if (known_before(&f, i, key)) continue;
            char *called = ws_sprintf("--%s", key);
            facts_below(&f, "options", key, called);
            free(called);
        }
    }
    facts_below(&f, "program", "code_sha256", "program");
    facts_below(&f, "kernels", NULL, "kernels"), facts_below(&f, "compute", NULL, "arithmetic");
    for (int i = 0; i < n; i++)
        if (!run[i]->manifest) ws_table_note(f.t, "%s has no manifest.json: it was made by single verbs.", run[i]->dir);
    if (!ws_table_rows(f.t)) {
        ws_table_row(f.t), ws_table_text(f.t, "nothing that a manifest tells");
        for (int i = 0; i < n; i++) ws_table_text(f.t, "");
    }
    return f.t;
}

/* ---- may they be compared? ---- */

static double budget_of(const ws_results *r) {
    return r->summary.csv.rows ? ws_sheet_num(&r->summary, 0, "target_p95") : (double)NAN;
}

/* What can be waived with --mark: the reason, or nothing. */
static void waivable(const ws_results *a, const ws_results *b, ws_str *s) {
    static const char *const key[][2] = {{"protocol", "protocol"},          {"max_think", "budget of thought"},
                                         {"k", "price k of a broken cell"}, {"loading_weighted", "weighting"},
                                         {"floor", "probability floor"},    {"frames_hash", "questions"}};
    if (!strcmp(ws_results_model_hash(a), "?") || !strcmp(ws_results_model_hash(b), "?"))
        ws_str_addf(s, "a base model that is not recorded (%s, %s)", ws_results_model(b), ws_results_model(a));
    else if (strcmp(ws_results_model_hash(a), ws_results_model_hash(b)) != 0)
        ws_str_addf(s, "another base model (%s, %s)", ws_results_model(b), ws_results_model(a));
    double x = budget_of(a), y = budget_of(b);
    if (!isnan(x) && !isnan(y) && x != y) ws_str_addf(s, "%sanother KL budget (%g, %g nat)", s->n ? "; " : "", y, x);
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        const json_t *v = at(moral(a), key[i][0]), *w = at(moral(b), key[i][0]);
        if (!moral(a) || !moral(b) || ((!v || !w) && strcmp(key[i][0], "protocol"))) continue;
        static const char ours[] = "ours"; /* an evaluation that says nothing is of today's default */
        const char *p = v ? json_string_value(v) : ours, *q = w ? json_string_value(w) : ours;
        if (p && q ? !strcmp(p, q) : equal(v, w)) continue;
        ws_str_addf(s, "%sanother %s", s->n ? "; " : "", key[i][1]);
    }
}

/* What nothing waives: other items. */
static char *other_items(const ws_results *a, const ws_results *b) {
    const json_t *v = at(moral(a), "vignettes_hash"), *w = at(moral(b), "vignettes_hash");
    if (v && w && !json_equal((json_t *)v, (json_t *)w)) return ws_xstrdup("the vignettes are others");
    return NULL;
}

/* ---- the differences ---- */

static const ws_method_results *named(const ws_results *r, const char *name) {
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->m[i].name, name)) return &r->m[i];
    return NULL;
}

static int listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *s = list; s && *s; s += strcspn(s, ","), s += *s == ',')
        if (!strncmp(s, name, n) && (!s[n] || s[n] == ',')) return 1;
    return !list;
}

static int steered(const ws_method_results *m) {
    return m->dlogit.csv.rows || m->margin.csv.rows > 1 || m->dose.csv.rows > 1;
}

typedef struct work {
    const ws_compare_runs_options *o;
    ws_table *t, *left_out;
    int pairs;
} work;

static void leave_out(work *w, const ws_results *r, const char *method, const char *what, const char *why) {
    ws_table_row(w->left_out);
    ws_table_text(w->left_out, r->dir), ws_table_text(w->left_out, method);
    ws_table_text(w->left_out, what), ws_table_text(w->left_out, why);
}

static ws_status pair(work *w, const ws_results *a, const ws_method_results *ma, const ws_results *b,
                      const ws_method_results *mb, const char *mark, ws_err *err) {
    ws_items x, y;
    if (ws_items_load(&x, a, ma, err)) return err->code;
    if (ws_items_load(&y, b, mb, err)) {
        ws_items_free(&x);
        return err->code;
    }
    ws_paired m[WS_MEASURES];
    ws_paired_of(&y, &x, m); /* the further run minus the first */
    const struct {
        int has, same;
        const char *what, *why;
    } part[] = {{x.grid.n && y.grid.n, ws_same_vignettes(&x, &y), "vignettes",
                 "other vignettes, foundations or another target of the behaviour"},
                {x.n_rows && y.n_rows, ws_same_rows(&x, &y), "margin", "other held-out pairs"},
                {x.n_dose_topics && y.n_dose_topics, ws_same_texts(&x, &y), "free answers",
                 "other topics or another number of texts"}};
    for (int i = 0; i < 3; i++)
        if (part[i].has && !part[i].same) leave_out(w, b, mb->name, part[i].what, part[i].why);
    for (int k = 0; k < WS_MEASURES; k++) {
        const ws_paired *p = &m[k];
        int si = k == WS_M_SI || k == WS_M_SI_RAW;
        if (isnan(p->diff)) continue;
        if (si && !ws_paired_defined(p)) {
            leave_out(w, b, mb->name, ws_measure_title((ws_measure)k),
                      "fewer than 10 cells with which the base agrees, or disagrees");
            continue;
        }
        ws_table_row(w->t);
        ws_table_text(w->t, ma == mb || !strcmp(ma->name, mb->name) ? ma->name : mb->name);
        ws_table_text(w->t, b->dir), ws_table_text(w->t, a->dir);
        ws_table_text(w->t, ws_measure_title((ws_measure)k));
        ws_table_num(w->t, p->a), ws_table_num(w->t, p->b), ws_table_ci(w->t, p->diff, p->lo, p->hi);
        ws_table_num(w->t, p->n);
        if (si)
            ws_table_num(w->t, p->n_cho), ws_table_num(w->t, p->n_rej);
        else
            ws_table_none(w->t, ""), ws_table_none(w->t, "");
        ws_table_text(w->t, mark);
        ws_table_text(w->t, isnan(p->lo) ? "-" : p->lo > 0 ? "more" : p->hi < 0 ? "less" : "undecided");
        w->pairs++;
    }
    ws_items_free(&x), ws_items_free(&y);
    return WS_OK;
}

static ws_status against_first(work *w, ws_results *const *run, int i, ws_err *err) {
    const ws_results *a = run[0], *b = run[i];
    ws_str mark = {0};
    ws_status st = WS_OK;
    char *items = other_items(a, b);
    waivable(a, b, &mark);
    if (items)
        st = ws_fail(err, WS_ESTATE, "%s cannot be compared with %s: %s; runs are compared on the same items", b->dir,
                     a->dir, items);
    else if (mark.n && !w->o->mark)
        st = ws_fail(err, WS_ESTATE,
                     "%s cannot be compared with %s: it has %s; --mark compares nevertheless and marks the rows",
                     b->dir, a->dir, mark.p);
    int shared = 0;
    const ws_method_results *only[2] = {NULL, NULL};
    int count[2] = {0};
    for (int s = 0; s < 2; s++)
        for (int k = 0; k < run[s ? i : 0]->n; k++)
            if (steered(&run[s ? i : 0]->m[k])) only[s] = &run[s ? i : 0]->m[k], count[s]++;
    for (int k = 0; k < b->n && !st; k++) {
        const ws_method_results *m = named(a, b->m[k].name);
        if (!m || !steered(m) || !steered(&b->m[k]) || !listed(w->o->rows, m->name)) continue;
        shared++;
        st = pair(w, a, m, b, &b->m[k], mark.n ? mark.p : "", err);
    }
    if (!st && !shared && count[0] == 1 && count[1] == 1 && !w->o->rows) /* one method each: those two */
        shared++, st = pair(w, a, only[0], b, only[1], mark.n ? mark.p : "", err);
    if (!st && !shared)
        st = ws_fail(err, WS_EUSAGE, "%s and %s have no evaluated method of the same name%s%s", a->dir, b->dir,
                     w->o->rows ? " among " : "", w->o->rows ? w->o->rows : "");
    free(items);
    ws_str_free(&mark);
    return st;
}

ws_status ws_compare_runs(ws_results *const *run, int n, const ws_compare_runs_options *o, ws_tables *all,
                          ws_err *err) {
    static const struct {
        const char *key, *title;
        ws_cell_kind kind;
        const char *format;
    } c[] = {{"method", "method", WS_CELL_TEXT, NULL},
             {"run", "run", WS_CELL_TEXT, NULL},
             {"against", "against", WS_CELL_TEXT, NULL},
             {"measure", "measure", WS_CELL_TEXT, NULL},
             {"here", "value", WS_CELL_NUM, "%+.3f"},
             {"there", "the other's", WS_CELL_NUM, "%+.3f"},
             {"difference", "difference [95%]", WS_CELL_CI, "%+.3f"},
             {"n", "n", WS_CELL_NUM, "%.0f"},
             {"n_cho", "n_cho", WS_CELL_NUM, "%.0f"},
             {"n_rej", "n_rej", WS_CELL_NUM, "%.0f"},
             {"mark", "mark", WS_CELL_TEXT, NULL},
             {"says", "says", WS_CELL_TEXT, NULL}};
    work w = {o, ws_table_new("compare", "Every run against the first, on the same items"),
              ws_table_new("not_compared", "What cannot be compared"), 0};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        ws_table_column(w.t, c[i].key, c[i].title, c[i].kind, c[i].format, WS_BEST_NONE);
    static const char *const left[] = {"run", "method", "what", "why"};
    for (int i = 0; i < 4; i++) ws_table_column(w.left_out, left[i], left[i], WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_status st = WS_OK;
    for (int i = 1; i < n && !st; i++) st = against_first(&w, run, i, err);
    if (!st && !w.pairs)
        st = ws_fail(err, WS_ESTATE,
                     "the runs share no item that both answered: other vignettes, held-out pairs and topics, or "
                     "raw answers (vignettes_raw.jsonl, margin_raw.jsonl, samples.jsonl) are not there");
    if (st) {
        ws_table_free(w.t), ws_table_free(w.left_out);
        return st;
    }
    ws_table_note(w.t,
                  "Difference: run minus the one it is set against, with the same bootstrap draws over the same "
                  "items. Effects, margins and scores are oriented (positive is what was meant); of a spread, less "
                  "is steadier. says: on which side of 0 the whole interval lies.");
    for (int i = 0; i < n; i++)
        if (json_is_false(at(moral(run[i]), "target_meant"))) {
            ws_table_note(w.t, "%s: the behaviour names no target foundation; %s stands there for comparison.",
                          run[i]->dir, json_string_value(at(moral(run[i]), "target")));
            break;
        }
    ws_tables_whose(run, n, w.t);
    ws_tables_add(all, w.t);
    ws_tables_add(all, differs(run, n));
    if (ws_table_rows(w.left_out))
        ws_tables_add(all, w.left_out);
    else
        ws_table_free(w.left_out);
    return WS_OK;
}
