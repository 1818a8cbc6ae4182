#include "run/questions.h"
#include "run/rows.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is(const ws_row_results *row, const char *kind) { return !strcmp(row->kind, kind); }

/* ---- who is set against whom ---- */

static int reference_of(const ws_results *r) {
    int adapter = -1, any = -1;
    for (int i = 0; i < r->n_rows; i++) {
        const ws_row_results *row = &r->row[i];
        if (row->method < 0) continue;
        if (!strcmp(row->name, WS_ROW_REFERENCE) && is(row, "adapter")) return i;
        if (adapter < 0 && is(row, "adapter")) adapter = i;
        if (any < 0 && !is(row, "prompt") && !is(row, "random") && !is(row, "shuffled") && !is(row, "random_vector"))
            any = i;
    }
    return adapter >= 0 ? adapter : any;
}

static int best_prompt(const ws_results *r, ws_headline h) {
    int best = -1;
    double most = -INFINITY;
    for (int i = 0; i < r->n_rows; i++) {
        if (!is(&r->row[i], "prompt") || r->row[i].method < 0) continue;
        double e = ws_headline_effect(h, &r->m[r->row[i].method], 0).v;
        if (best < 0 || e > most) best = i, most = isnan(e) ? -INFINITY : e;
    }
    return best;
}

ws_questions ws_questions_of(const ws_results *r) {
    ws_questions q = {.run = r, .reference = -1, .prompt = -1};
    if (r->n_rows < 2) return q;
    q.headline = ws_headline_of(r);
    q.reference = reference_of(r), q.prompt = best_prompt(r, q.headline);
    ws_items *x = ws_xcalloc((size_t)r->n_rows, sizeof *x);
    ws_err err = {0};
    ws_status st = WS_OK;
    for (int i = 0; i < r->n_rows && !st; i++)
        if (r->row[i].method >= 0) st = ws_items_load(&x[i], r, &r->m[r->row[i].method], &err);
    if (st) q.why = ws_xstrdup(err.msg);
    q.v = ws_xcalloc(2 * (size_t)r->n_rows, sizeof *q.v);
    for (int against = 0; against < 2 && !st; against++) {
        int other = against ? q.prompt : q.reference;
        for (int i = 0; i < r->n_rows && other >= 0; i++) {
            if (i == other || r->row[i].method < 0 || (against && is(&r->row[i], "prompt"))) continue;
            q.v[q.n] = (ws_versus){.row = i, .other = other};
            ws_paired_of(&x[i], &x[other], q.v[q.n++].m);
        }
    }
    for (int i = 0; i < r->n_rows; i++) ws_items_free(&x[i]);
    free(x);
    return q;
}

void ws_questions_free(ws_questions *q) {
    free(q->v), free(q->why);
    *q = (ws_questions){0};
}

/* ---- tables ---- */

typedef struct column {
    ws_measure m;
    const char *title, *format;
} column;

static void table(const ws_questions *q, ws_tables *all, const char *name, const char *caption, const column *c, int n,
                  const ws_measure *counted, const char *const *count_title, int n_counted, int si) {
    ws_table *t = ws_table_new(name, caption);
    int any = 0;
    ws_table_column(t, "row", "row", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "against", "against", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    for (int k = 0; k < n; k++)
        ws_table_column(t, ws_measure_key(c[k].m), c[k].title, WS_CELL_CI, c[k].format, WS_BEST_NONE);
    for (int k = 0; k < n_counted; k++) {
        char key[40];
        snprintf(key, sizeof key, "n_%s", ws_measure_key(counted[k]));
        ws_table_column(t, key, count_title[k], WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    }
    if (si) {
        ws_table_column(t, "n_cho", "n_cho", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
        ws_table_column(t, "n_rej", "n_rej", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    }
    for (int i = 0; i < q->n; i++) {
        const ws_versus *v = &q->v[i];
        int has = 0;
        for (int k = 0; k < n; k++) has |= !isnan(v->m[c[k].m].diff);
        if (!has) continue;
        any = 1;
        ws_table_row(t);
        ws_table_text(t, q->run->row[v->row].name), ws_table_text(t, q->run->row[v->other].name);
        for (int k = 0; k < n; k++) {
            const ws_paired *p = &v->m[c[k].m];
            int few = (c[k].m == WS_M_SI || c[k].m == WS_M_SI_RAW) && !ws_paired_defined(p);
            if (isnan(p->diff))
                ws_table_none(t, "-");
            else if (few)
                ws_table_none(t, "n < 10");
            else
                ws_table_ci(t, p->diff, p->lo, p->hi);
        }
        for (int k = 0; k < n_counted; k++) ws_table_num(t, v->m[counted[k]].n);
        if (si) ws_table_num(t, v->m[WS_M_SI].n_cho), ws_table_num(t, v->m[WS_M_SI].n_rej);
    }
    if (!any) {
        ws_table_free(t);
        return;
    }
    ws_table_note(t, "Row minus the other row on the items that both answered, with the same bootstrap draws [95%%]. "
                     "Effects, margins and scores are oriented: above 0 the row moves more of what was meant; of a "
                     "spread, below 0 is the steadier row. An interval that holds 0 decides nothing.");
    if (q->prompt >= 0)
        ws_table_note(t, "%s is the prompt with the largest effect at +, chosen after the fact, which favours it.",
                      q->run->row[q->prompt].name);
    ws_results *one = (ws_results *)(uintptr_t)q->run;
    ws_tables_whose(&one, 1, t);
    ws_tables_add(all, t);
}

void ws_questions_tables(const ws_questions *q, ws_tables *all) {
    static const column moral[] = {{WS_M_SPECIFIC, "specific at +", "%+.3f"},
                                   {WS_M_SPECIFIC_MINUS, "at -", "%+.3f"},
                                   {WS_M_TARGET, "target at +", "%+.3f"},
                                   {WS_M_SPREAD, "spread at +", "%+.3f"},
                                   {WS_M_SI, "SI", "%+.1f"},
                                   {WS_M_SI_RAW, "SI without pmass", "%+.2f"}};
    static const column said[] = {{WS_M_MARGIN, "margin at +", "%+.3f"},
                                  {WS_M_MARGIN_MINUS, "at -", "%+.3f"},
                                  {WS_M_MARGIN_SPREAD, "spread at +", "%+.3f"},
                                  {WS_M_SCORE, "score at +", "%+.2f"},
                                  {WS_M_SCORE_MINUS, "at -", "%+.2f"}};
    static const ws_measure cells[] = {WS_M_TARGET}, items[] = {WS_M_MARGIN, WS_M_SCORE};
    static const char *const cell_title[] = {"n"}, *const item_title[] = {"rows", "texts"};
    table(q, all, "pairs", "Pairs: how the rows differ on the same vignettes", moral, sizeof moral / sizeof *moral,
          cells, cell_title, 1, 1);
    table(q, all, "pairs_answers", "Pairs: how the rows differ on the same held-out rows and topics", said,
          sizeof said / sizeof *said, items, item_title, 2, 0);
}

/* ---- answers ---- */

/* Rows that cannot answer: the canaries say that they break the model, or no strength stands for the budget. */
static const char *excluded(const ws_results *r, const ws_row_results *row) {
    if (row->method < 0) return "not evaluated";
    const ws_sheet *s = &r->m[row->method].canaries, *q = &r->summary;
    for (int i = 0; i < s->csv.rows; i++)
        if (strcmp(ws_sheet_text(s, i, "arm"), "base") && ws_sheet_num(s, i, "broken") > 0) return "broken";
    for (int i = 0; i < q->csv.rows; i++) {
        if (strcmp(ws_sheet_text(q, i, "method"), row->name)) continue;
        const char *status = ws_sheet_text(q, i, "status_pos");
        if (strcmp(status, "ok") && strcmp(status, "reference")) return "not at the budget";
    }
    return NULL;
}

static void add(ws_str *s, const char *name) { ws_str_addf(s, "%s%s", s->n ? ", " : "", name); }

/* The reference against every row of a kind, by one measure at +; better: the reference is above (sign 1) or below (-1). */
typedef struct count {
    ws_str better, worse, open, out;
    int n_better, n_worse, n_open;
} count;
static void against(const ws_questions *q, const char *kind, ws_measure m, int sign, count *c) {
    const ws_results *r = q->run;
    *c = (count){.n_better = 0};
    for (int i = 0; i < q->n; i++) {
        const ws_versus *v = &q->v[i];
        const ws_row_results *row = &r->row[v->row];
        if (v->other != q->reference || !is(row, kind)) continue;
        const char *why = excluded(r, row);
        const ws_paired *p = &v->m[m];
        if (why || isnan(p->lo)) {
            ws_str_addf(&c->out, "%s%s (%s)", c->out.n ? ", " : "", row->name, why ? why : "not measured");
            continue;
        }
        if (sign * p->lo < 0 && sign * p->hi < 0)
            add(&c->better, row->name), c->n_better++;
        else if (sign * p->lo > 0 && sign * p->hi > 0)
            add(&c->worse, row->name), c->n_worse++;
        else
            add(&c->open, row->name), c->n_open++;
    }
}
static void release(count *c) {
    ws_str_free(&c->better), ws_str_free(&c->worse), ws_str_free(&c->open), ws_str_free(&c->out);
}
static int compared(const count *c) { return c->n_better + c->n_worse + c->n_open; }
static const char *verdict(const count *c) {
    return !compared(c)                ? "not measured"
           : c->n_worse                ? "no"
           : c->n_better && !c->n_open ? "yes"
           : c->n_better               ? "in part"
                                       : "not shown";
}
static void told(ws_str *out, const char *of, const count *c, const char *better, const char *worse) {
    ws_str_addf(out, " Of %d %s: %s %d%s%s%s, %s %d%s%s%s, undecided %d%s%s%s.", compared(c), of, better, c->n_better,
                c->better.n ? " (" : "", c->better.n ? c->better.p : "", c->better.n ? ")" : "", worse, c->n_worse,
                c->worse.n ? " (" : "", c->worse.n ? c->worse.p : "", c->worse.n ? ")" : "", c->n_open,
                c->open.n ? " (" : "", c->open.n ? c->open.p : "", c->open.n ? ")" : "");
    if (c->out.n) ws_str_addf(out, " Left out: %s.", c->out.p);
}

static void direction(const ws_questions *q, const ws_method_results *m, ws_str *out) {
    ws_effect e[2] = {ws_headline_effect(q->headline, m, 0), ws_headline_effect(q->headline, m, 1)};
    double base = 0; /* a score is no change: the base's own is its zero */
    if (q->headline == WS_HEADLINE_DOSE)
        for (int i = 0; i < m->dose.csv.rows; i++)
            if (ws_sheet_num(&m->dose, i, "dose") == 0) base = ws_sheet_num(&m->dose, i, "score");
    const char *says[2];
    for (int k = 0; k < 2; k++) {
        double zero = k ? -base : base;
        says[k] = isnan(e[k].lo)   ? "not measured"
                  : e[k].lo > zero ? "yes"
                  : e[k].hi < zero ? "no, the opposite"
                                   : "not shown";
    }
    ws_str_addf(out,
                "1. Does dW move what is meant, in the right direction? At +: %s (%s %+.3f [%+.3f, %+.3f]); at -: ",
                says[0], ws_headline_title(q->headline), e[0].v, e[0].lo, e[0].hi);
    ws_str_addf(out, "%s (%+.3f [%+.3f, %+.3f], oriented).\n", says[1], e[1].v, e[1].lo, e[1].hi);
}

void ws_questions_answer(const ws_questions *q, ws_str *out) {
    if (q->why) {
        ws_str_addf(out, "The rows cannot be set against one another: %s\n", q->why);
        return;
    }
    if (q->reference < 0 || q->headline == WS_HEADLINE_NONE) return;
    const ws_results *r = q->run;
    const ws_row_results *ref = &r->row[q->reference];
    const char *why = excluded(r, ref);
    count vectors, prompts;
    ws_str_addf(out, "Three questions of %s, at + and by paired 95%% intervals on the same items (%s%s%s):\n",
                ref->name, ws_headline_title(q->headline), why ? "; the row itself is " : "", why ? why : "");
    if (!is(ref, "adapter")) ws_str_addf(out, "No adapter is among the rows: %s stands in dW's place.\n", ref->name);
    direction(q, &r->m[ref->method], out);
    against(q, "vector", ws_measure_of(q->headline, 0), 1, &vectors);
    against(q, "prompt", ws_measure_of(q->headline, 0), 1, &prompts);
    ws_str_addf(out, "2. Does it move it more than hidden-state steering? %s.", verdict(&vectors));
    if (compared(&vectors) || vectors.out.n)
        told(out, "hidden-state rows", &vectors, "it moves more than", "less than");
    ws_str_addf(out, " Than prompting? %s.", verdict(&prompts));
    if (compared(&prompts) || prompts.out.n) told(out, "prompts", &prompts, "it moves more than", "less than");
    release(&vectors), release(&prompts);
    against(q, "vector", ws_measure_spread(q->headline), -1, &vectors);
    against(q, "prompt", ws_measure_spread(q->headline), -1, &prompts);
    ws_str_addf(out,
                "\n3. With less uncertainty (standard deviation of the change over the items)? Than hidden-state "
                "steering: %s.",
                verdict(&vectors));
    if (compared(&vectors) || vectors.out.n)
        told(out, "hidden-state rows", &vectors, "steadier than", "less steady than");
    ws_str_addf(out, " Than prompting: %s.", verdict(&prompts));
    if (compared(&prompts) || prompts.out.n) told(out, "prompts", &prompts, "steadier than", "less steady than");
    ws_str_adds(out, " A row that moves nothing is steady: read this with the first answer.\n");
    release(&vectors), release(&prompts);
}
