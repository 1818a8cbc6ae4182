#include "run/plots.h"
#include "base/arena.h"
#include "run/headline.h"
#include "run/tables.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY };

static ws_picture *add(ws_pictures *all, const char *name, const char *alt) {
    all->p = ws_xrealloc(all->p, (size_t)(all->n + 1) * sizeof *all->p);
    ws_picture *p = &all->p[all->n++];
    memset(p, 0, sizeof *p);
    p->name = name, p->alt = alt, p->memory = ws_arena_new();
    return p;
}

void ws_pictures_free(ws_pictures *p) {
    for (int i = 0; i < p->n; i++) ws_arena_free(p->p[i].memory);
    free(p->p);
    *p = (ws_pictures){0};
}

static double *numbers(ws_picture *p, int n) { return ws_arena_get(p->memory, (size_t)(n + 1) * sizeof(double)); }

static char *text(ws_picture *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static char *text(ws_picture *p, const char *fmt, ...) {
    char buf[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    char *s = ws_arena_get(p->memory, strlen(buf) + 1);
    return strcpy(s, buf);
}

static ws_series *series(ws_picture *p, int most) {
    ws_series *s = ws_arena_get(p->memory, (size_t)most * sizeof *s);
    memset(s, 0, (size_t)most * sizeof *s);
    p->plot.series = s;
    return s;
}
static void rules(ws_picture *p, int n, const ws_rule *r) {
    ws_rule *mine = ws_arena_get(p->memory, (size_t)n * sizeof *mine);
    memcpy(mine, r, (size_t)n * sizeof *mine);
    p->plot.rule = mine, p->plot.n_rules = n;
}

static double *column(ws_picture *p, const ws_sheet *s, const char *col) {
    double *v = numbers(p, s->csv.rows);
    for (int i = 0; i < s->csv.rows; i++) v[i] = ws_sheet_num(s, i, col);
    return v;
}

/* Points in ascending x, so that a joining line reads as a curve. */
static void sort_points(int n, double *x, double *y, double *lo, double *hi) {
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && x[j - 1] > x[j]; j--) {
            double *v[] = {x, y, lo, hi};
            for (int k = 0; k < 4; k++) {
                if (!v[k]) continue;
                double t = v[k][j];
                v[k][j] = v[k][j - 1], v[k][j - 1] = t;
            }
        }
}

static void by_alpha(ws_picture *p, const ws_sheet *s, const char *y, const char *lo, const char *hi,
                     const char *name) {
    ws_series *q = series(p, 1);
    double *x = column(p, s, "alpha"), *v = column(p, s, y), *l = column(p, s, lo), *h = column(p, s, hi);
    sort_points(s->csv.rows, x, v, l, h);
    *q = (ws_series){name, s->csv.rows, x, v, l, h, 1, 0, 0, 0, BLUE};
    p->plot.n_series = 1;
    p->plot.xlabel = "alpha: strength of the steering; + is towards the POS persona";
    rules(p, 1, (ws_rule[]){{0, 1, "base"}});
}

static void dose(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    const ws_sheet *s = &m->dose;
    if (!s->csv.rows || r->n_rows) return; /* of a sweep: dose_rows() */
    ws_picture *p = add(all, "dose", "Score of free answers against the strength of the steering, with intervals");
    p->plot.title = text(p, "Dose response of %s: what free answers show", ws_results_behavior(r));
    p->plot.subtitle = text(p,
                            "%s. %s answers to %s held-out prompts at each strength, no system prompt; bars: 95%% "
                            "intervals by bootstrap over prompts.",
                            ws_results_model(r), ws_sheet_text(s, 0, "n"), ws_sheet_text(s, 0, "n_topics"));
    p->plot.ylabel = "score: weighted words per answer";
    by_alpha(p, s, "score", "score_lo", "score_hi", NULL);
}

/* ---------- the rows of a sweep ---------- */
/* The effect by which rows are compared, a line each. */
static void rows(ws_pictures *all, const ws_results *r) {
    ws_headline h = ws_headline_of(r);
    int n = 0;
    for (int i = 0; i < r->n_rows; i++) n += r->row[i].method >= 0;
    if (!n || h == WS_HEADLINE_NONE) return;
    ws_picture *p = add(all, "rows", "Headline effect of every row at both calibrated strengths, with intervals");
    p->plot.title = text(p, "What each row moves at one KL budget: %s", ws_headline_title(h));
    p->plot.subtitle =
        text(p,
             "%s, %s. Positive is what was meant, on both sides; bars: 95%% bootstrap intervals within one "
             "training.",
             ws_results_model(r), ws_results_behavior(r));
    p->plot.xlabel = h == WS_HEADLINE_MARGIN     ? "change of the margin against the base model, nats per token"
                     : h == WS_HEADLINE_SPECIFIC ? "specific effect on the target foundation, nats"
                                                 : "change of the score against the base model, words per answer";
    const char **cat = ws_arena_get(p->memory, (size_t)n * sizeof *cat);
    ws_series *q = series(p, 2);
    for (int minus = 0; minus < 2; minus++) {
        double *x = numbers(p, n), *y = numbers(p, n), *lo = numbers(p, n), *hi = numbers(p, n);
        int k = 0;
        for (int i = 0; i < r->n_rows; i++) {
            const ws_row_results *row = &r->row[i];
            if (row->method < 0) continue;
            ws_effect e = ws_headline_effect(h, &r->m[row->method], minus);
            cat[k] = text(p, "%s%s", row->name, ws_row_off_budget(r, row) ? " (off budget)" : "");
            x[k] = e.v, lo[k] = e.lo, hi[k] = e.hi, y[k] = k + (minus ? 0.15 : -0.15);
            k++;
        }
        q[p->plot.n_series++] =
            (ws_series){minus ? "at -alpha" : "at +alpha", n, x, y, lo, hi, 0, 0, 0, 0, minus ? BLUE : VERMILION};
    }
    p->plot.category = cat, p->plot.n_categories = n;
    rules(p, 1, (ws_rule[]){{0, 1, NULL}});
}

/* Dose curves on one axis: each strength as a share of the row's own calibrated one. */
static void dose_rows(ws_pictures *all, const ws_results *r) {
    enum { MOST_CURVES = 10, COLOURS = 8 };
    int n = 0, left_out = 0;
    for (int i = 0; i < r->n_rows; i++) n += r->row[i].method >= 0 && r->m[r->row[i].method].dose.csv.rows;
    if (!n) return;
    if (n > MOST_CURVES) left_out = n - MOST_CURVES;
    ws_picture *p = add(all, "dose", "Score of free answers against the share of each row's calibrated strength");
    p->plot.title = text(p, "Dose response of %s, every row at its own strengths", ws_results_behavior(r));
    ws_series *q = series(p, MOST_CURVES);
    for (int i = 0; i < r->n_rows && p->plot.n_series < MOST_CURVES; i++) {
        const ws_row_results *row = &r->row[i];
        if (row->method < 0) continue;
        const ws_sheet *s = &r->m[row->method].dose;
        if (!s->csv.rows) continue;
        double *x = column(p, s, "dose"), *y = column(p, s, "score");
        sort_points(s->csv.rows, x, y, NULL, NULL);
        int control = strcmp(row->kind, "adapter") && strcmp(row->kind, "vector"), at = p->plot.n_series;
        if (!at)
            p->plot.subtitle = text(p,
                                    "%s. %s answers to %s held-out prompts at each strength, no system prompt; dashed: "
                                    "controls. Intervals: table row_answers.%s",
                                    ws_results_model(r), ws_sheet_text(s, 0, "n"), ws_sheet_text(s, 0, "n_topics"),
                                    left_out ? text(p, " %d further rows are left out.", left_out) : "");
        q[p->plot.n_series++] =
            (ws_series){text(p, "%s", row->name), s->csv.rows, x, y, NULL, NULL, 1, 0, 0, control, at % COLOURS};
    }
    p->plot.xlabel = "share of the calibrated strength; + is towards the POS persona";
    p->plot.ylabel = "score: weighted words per answer";
    rules(p, 1, (ws_rule[]){{0, 1, "base"}});
}

static void margin(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    const ws_sheet *s = &m->margin;
    if (!s->csv.rows || r->n_rows) return; /* of a sweep: rows() */
    ws_picture *p = add(all, "margin", "Log-probability margin of held-out POS over NEG answers against the strength");
    p->plot.title = "Margin: does the model prefer the POS persona's answers?";
    p->plot.subtitle = text(p,
                            "%s, %s. %s held-out pairs on %s topics that training never saw, no system prompt; bars: "
                            "95%% intervals by bootstrap over topics.",
                            ws_results_model(r), ws_results_behavior(r), ws_sheet_text(s, 0, "n_rows"),
                            ws_sheet_text(s, 0, "n_topics"));
    p->plot.ylabel = "log p(POS) - log p(NEG), nats per token";
    by_alpha(p, s, "margin", "lo", "hi", NULL);
}

static void dlogit(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    static const char *const arm[] = {"plus", "minus"};
    const ws_sheet *s = &m->dlogit;
    const char *sentence, *name[32];
    int n = 0;
    for (int i = 0; i < s->csv.rows; i++) {
        const char *f = ws_sheet_text(s, i, "foundation");
        int k = 0;
        while (k < n && strcmp(name[k], f)) k++;
        if (k == n && n < 32) name[n++] = f;
    }
    if (!n) return;
    ws_picture *p =
        add(all, "dlogit", "Change of moral judgement for each foundation at +alpha and -alpha, with intervals");
    p->plot.title = text(p, "Moral vignettes: change of \"is wrong\" by foundation%s%s", r->n_rows ? ", row " : "",
                         r->n_rows ? m->name : "");
    const char *warning = ws_vignette_signal(m, &sentence) == 0 ? " The readout carries no signal on this model." : "";
    int think = (int)json_integer_value(json_object_get(json_object_get(m->eval, "vignettes"), "max_think"));
    const char *mode = think ? text(p, "after a thought of at most %d tokens", think) : "without thinking";
    p->plot.subtitle = text(p,
                            "%s, %s. Answers %s. Bars: 95%% bootstrap intervals over vignettes; n per foundation: %s "
                            "(vignettes x conditions).%s",
                            ws_results_model(r), ws_results_behavior(r), mode, ws_sheet_text(s, 0, "n_total"), warning);
    p->plot.xlabel = "change of logit(is wrong) against the base model, nats";
    const char **cat = ws_arena_get(p->memory, (size_t)n * sizeof *cat);
    for (int i = 0; i < n; i++) cat[i] = text(p, "%s", name[i]);
    p->plot.category = cat, p->plot.n_categories = n;
    ws_series *q = series(p, 2);
    for (int a = 0; a < 2; a++) {
        double *x = numbers(p, n), *y = numbers(p, n), *lo = numbers(p, n), *hi = numbers(p, n), alpha = NAN;
        int any = 0;
        for (int i = 0; i < n; i++) {
            x[i] = lo[i] = hi[i] = NAN, y[i] = i + (a ? 0.15 : -0.15);
            for (int k = 0; k < s->csv.rows; k++) {
                if (strcmp(ws_sheet_text(s, k, "arm"), arm[a]) || strcmp(ws_sheet_text(s, k, "foundation"), name[i]))
                    continue;
                x[i] = ws_sheet_num(s, k, "mean"), lo[i] = ws_sheet_num(s, k, "lo"), hi[i] = ws_sheet_num(s, k, "hi");
                alpha = ws_sheet_num(s, k, "alpha");
                any = 1;
            }
        }
        if (!any) continue;
        q[p->plot.n_series++] =
            (ws_series){text(p, "alpha = %+.3g", alpha), n, x, y, lo, hi, 0, 0, 0, 0, a ? BLUE : VERMILION};
    }
    rules(p, 1, (ws_rule[]){{0, 1, NULL}});
}

/* Every probe of the root finder, both signs; the audit as single points. */
static void calibration(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    static const char *const side[] = {"pos", "neg"};
    const ws_sheet *h = &r->history, *a = &r->audit, *s = &r->summary;
    if (!h->csv.rows || !s->csv.rows) return;
    ws_picture *p = add(all, "calibration", "95th percentile of the KL per token against the strength, for both signs");
    double target = ws_sheet_num(s, 0, "target_p95");
    const char *only = r->n_rows && m ? m->name : NULL; /* of many rows the first */
    p->plot.title =
        text(p, "Calibration: how far each strength moves the model%s%s", only ? ", row " : "", only ? only : "");
    p->plot.subtitle = text(p,
                            "%s, %s. p95 over the tokens of greedy answers: search on %s prompts x %s tokens, audit on "
                            "%s other prompts.",
                            ws_results_model(r), ws_results_behavior(r), ws_sheet_text(s, 0, "n_prompts"),
                            ws_sheet_text(s, 0, "n_tokens"), ws_sheet_text(s, 0, "n_audit"));
    p->plot.xlabel = "|alpha|", p->plot.ylabel = "95th percentile of KL, nats per token";
    p->plot.xlog = p->plot.ylog = 1;
    ws_series *q = series(p, 4);
    for (int k = 0; k < 4; k++) {
        const ws_sheet *from = k < 2 ? h : a;
        double *x = numbers(p, from->csv.rows), *y = numbers(p, from->csv.rows);
        int n = 0;
        for (int i = 0; i < from->csv.rows; i++) {
            if (strcmp(ws_sheet_text(from, i, "side"), side[k % 2])) continue;
            if (only && strcmp(ws_sheet_text(from, i, "method"), only)) continue;
            x[n] = fabs(ws_sheet_num(from, i, "alpha"));
            y[n++] = ws_sheet_num(from, i, k < 2 ? "p95" : "p95_audit");
        }
        if (!n) continue;
        sort_points(n, x, y, NULL, NULL);
        const char *name = text(p, "%calpha%s", k % 2 ? '-' : '+', k < 2 ? "" : ", audit");
        int colour = k == 0 ? VERMILION : k == 1 ? BLUE : k == 2 ? ORANGE : GREEN;
        q[p->plot.n_series++] = (ws_series){name, n, x, y, NULL, NULL, k < 2, 0, 0, k % 2, colour};
    }
    rules(p, 1, (ws_rule[]){{target, 0, text(p, "target %g nat", target)}});
}

static void training(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    static const char *const side[] = {"POS", "NEG"};
    if (!m->log[0].csv.rows && !m->log[1].csv.rows) return;
    ws_picture *p = add(all, "training", "Training loss of the POS and the NEG adapter over the optimiser steps");
    p->plot.title = text(p, "Training of %s on both sides' answers", m->name);
    p->plot.subtitle =
        text(p,
             "%s, %s. Mean cross entropy of the answers' tokens at each optimiser step; points: held-out "
             "rows.",
             ws_results_model(r), ws_results_behavior(r));
    p->plot.xlabel = "optimiser step", p->plot.ylabel = "loss, nats per token";
    ws_series *q = series(p, 4);
    for (int k = 0; k < 2; k++) {
        const ws_sheet *s = &m->log[k];
        if (!s->csv.rows) continue;
        double *x = column(p, s, "step"), *y = column(p, s, "loss"), *e = column(p, s, "eval_loss");
        int colour = k ? BLUE : VERMILION, any = 0;
        for (int i = 0; i < s->csv.rows; i++) any |= isfinite(e[i]) != 0;
        q[p->plot.n_series++] = (ws_series){side[k], s->csv.rows, x, y, NULL, NULL, 1, 1, 0, k, colour};
        if (any)
            q[p->plot.n_series++] =
                (ws_series){text(p, "%s, held out", side[k]), s->csv.rows, x, e, NULL, NULL, 0, 0, 0, 0, colour};
    }
}

ws_pictures ws_pictures_build(const ws_results *r) {
    ws_pictures all = {0};
    const ws_method_results *m = r->n ? &r->m[0] : NULL;
    if (r->n_rows) rows(&all, r), dose_rows(&all, r);
    if (m) dose(&all, r, m), margin(&all, r, m), dlogit(&all, r, m);
    calibration(&all, r, m);
    if (m) training(&all, r, m);
    int n = 0;
    for (int i = 0; i < all.n;
         i++) /* a readout whose every value is NaN (no answer counts) has a table but no picture */
        if (ws_plot_drawable(&all.p[i].plot))
            all.p[n++] = all.p[i];
        else
            ws_arena_free(all.p[i].memory);
    all.n = n;
    return all;
}
