#include "run/plots_impl.h"
#include "base/arena.h"
#include "run/headline.h"
#include "run/tables.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ws_picture *ws_pic_add(ws_pictures *all, const char *name, const char *alt) {
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

void *ws_pic_get(ws_picture *p, int n, size_t size) {
    void *v = ws_arena_get(p->memory, (size_t)(n + 1) * size);
    return memset(v, 0, (size_t)(n + 1) * size);
}
double *ws_pic_numbers(ws_picture *p, int n) { return ws_arena_get(p->memory, (size_t)(n + 1) * sizeof(double)); }

char *ws_pic_text(ws_picture *p, const char *fmt, ...) {
    char buf[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    char *s = ws_arena_get(p->memory, strlen(buf) + 1);
    return strcpy(s, buf);
}

ws_series *ws_pic_series(ws_picture *p, int most) {
    ws_series *s = ws_arena_get(p->memory, (size_t)most * sizeof *s);
    memset(s, 0, (size_t)most * sizeof *s);
    p->plot.series = s;
    return s;
}
void ws_pic_rules(ws_picture *p, int n, const ws_rule *r) {
    ws_rule *mine = ws_arena_get(p->memory, (size_t)n * sizeof *mine);
    memcpy(mine, r, (size_t)n * sizeof *mine);
    p->plot.rule = mine, p->plot.n_rules = n;
}

static double *column(ws_picture *p, const ws_sheet *s, const char *col) {
    double *v = ws_pic_numbers(p, s->csv.rows);
    for (int i = 0; i < s->csv.rows; i++) v[i] = ws_sheet_num(s, i, col);
    return v;
}

void ws_pic_sort(int n, double *x, double *y, double *lo, double *hi) {
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
    ws_series *q = ws_pic_series(p, 1);
    double *x = column(p, s, "alpha"), *v = column(p, s, y), *l = column(p, s, lo), *h = column(p, s, hi);
    ws_pic_sort(s->csv.rows, x, v, l, h);
    *q = (ws_series){.name = name, .n = s->csv.rows, .x = x, .y = v, .lo = l, .hi = h, .line = 1, .colour = WS_BLUE};
    p->plot.n_series = 1;
    p->plot.xlabel = "alpha: strength of the steering; + is towards the POS persona";
    ws_pic_rules(p, 1, (ws_rule[]){{0, 1, "base"}});
}

static void dose(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    const ws_sheet *s = &m->dose;
    if (!s->csv.rows || r->n_rows) return; /* of a run with rows: plots_rows.c */
    ws_picture *p =
        ws_pic_add(all, "dose", "Score of free answers against the strength of the steering, with intervals");
    p->plot.title = ws_pic_text(p, "Dose response of %s: what free answers show", ws_results_behavior(r));
    p->plot.subtitle =
        ws_pic_text(p,
                    "%s. %s answers to %s held-out prompts at each strength, no system prompt; bars: 95%% "
                    "intervals by bootstrap over prompts.",
                    ws_results_model(r), ws_sheet_text(s, 0, "n"), ws_sheet_text(s, 0, "n_topics"));
    p->plot.ylabel = "score: weighted words per answer";
    by_alpha(p, s, "score", "score_lo", "score_hi", NULL);
}

static void margin(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    const ws_sheet *s = &m->margin;
    if (!s->csv.rows || r->n_rows) return; /* as above */
    ws_picture *p =
        ws_pic_add(all, "margin", "Log-probability margin of held-out POS over NEG answers against the strength");
    p->plot.title = "Margin: does the model prefer the POS persona's answers?";
    p->plot.subtitle = ws_pic_text(
        p,
        "%s, %s. %s held-out pairs on %s topics that training never saw, no system prompt; bars: "
        "95%% intervals by bootstrap over topics.",
        ws_results_model(r), ws_results_behavior(r), ws_sheet_text(s, 0, "n_rows"), ws_sheet_text(s, 0, "n_topics"));
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
        ws_pic_add(all, "dlogit", "Change of moral judgement for each foundation at +alpha and -alpha, with intervals");
    p->plot.title = ws_pic_text(p, "Moral vignettes: change of \"is wrong\" by foundation%s%s",
                                r->n_rows ? ", row " : "", r->n_rows ? m->name : "");
    const char *warning = ws_vignette_signal(m, &sentence) == 0 ? " The readout carries no signal on this model." : "";
    int think = (int)json_integer_value(json_object_get(json_object_get(m->eval, "vignettes"), "max_think"));
    const char *mode = think ? ws_pic_text(p, "after a thought of at most %d tokens", think) : "without thinking";
    p->plot.subtitle =
        ws_pic_text(p,
                    "%s, %s. Answers %s. Bars: 95%% bootstrap intervals over vignettes; n per foundation: %s "
                    "(vignettes x conditions).%s",
                    ws_results_model(r), ws_results_behavior(r), mode, ws_sheet_text(s, 0, "n_total"), warning);
    p->plot.xlabel = "change of logit(is wrong) against the base model, nats";
    const char **cat = ws_arena_get(p->memory, (size_t)n * sizeof *cat);
    for (int i = 0; i < n; i++) cat[i] = ws_pic_text(p, "%s", name[i]);
    p->plot.category = cat, p->plot.n_categories = n;
    ws_series *q = ws_pic_series(p, 2);
    for (int a = 0; a < 2; a++) {
        double *x = ws_pic_numbers(p, n), *y = ws_pic_numbers(p, n), *lo = ws_pic_numbers(p, n),
               *hi = ws_pic_numbers(p, n), alpha = NAN;
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
        q[p->plot.n_series++] = (ws_series){.name = ws_pic_text(p, "alpha = %+.3g", alpha),
                                            .n = n,
                                            .x = x,
                                            .y = y,
                                            .lo = lo,
                                            .hi = hi,
                                            .colour = a ? WS_BLUE : WS_VERMILION};
    }
    ws_pic_rules(p, 1, (ws_rule[]){{0, 1, NULL}});
}

/* Every probe of the root finder, both signs; the audit as single points. */
static void calibration(ws_pictures *all, const ws_results *r) {
    static const char *const side[] = {"pos", "neg"};
    const ws_sheet *h = &r->history, *a = &r->audit, *s = &r->summary;
    if (!h->csv.rows || !s->csv.rows) return;
    ws_picture *p =
        ws_pic_add(all, "calibration", "95th percentile of the KL per token against the strength, for both signs");
    double target = ws_sheet_num(s, 0, "target_p95");
    p->plot.title = "Calibration: how far each strength moves the model";
    p->plot.subtitle =
        ws_pic_text(p,
                    "%s, %s. p95 over the tokens of greedy answers: search on %s prompts x %s tokens, audit on "
                    "%s other prompts.",
                    ws_results_model(r), ws_results_behavior(r), ws_sheet_text(s, 0, "n_prompts"),
                    ws_sheet_text(s, 0, "n_tokens"), ws_sheet_text(s, 0, "n_audit"));
    p->plot.xlabel = "|alpha|", p->plot.ylabel = "95th percentile of KL, nats per token";
    p->plot.xlog = p->plot.ylog = 1;
    ws_series *q = ws_pic_series(p, 4);
    for (int k = 0; k < 4; k++) {
        const ws_sheet *from = k < 2 ? h : a;
        double *x = ws_pic_numbers(p, from->csv.rows), *y = ws_pic_numbers(p, from->csv.rows);
        int n = 0;
        for (int i = 0; i < from->csv.rows; i++) {
            if (strcmp(ws_sheet_text(from, i, "side"), side[k % 2])) continue;
            x[n] = fabs(ws_sheet_num(from, i, "alpha"));
            y[n++] = ws_sheet_num(from, i, k < 2 ? "p95" : "p95_audit");
        }
        if (!n) continue;
        ws_pic_sort(n, x, y, NULL, NULL);
        const char *name = ws_pic_text(p, "%calpha%s", k % 2 ? '-' : '+', k < 2 ? "" : ", audit");
        int colour = k == 0 ? WS_VERMILION : k == 1 ? WS_BLUE : k == 2 ? WS_ORANGE : WS_GREEN;
        q[p->plot.n_series++] =
            (ws_series){.name = name, .n = n, .x = x, .y = y, .line = k < 2, .dashed = k % 2, .colour = colour};
    }
    ws_pic_rules(p, 1, (ws_rule[]){{target, 0, ws_pic_text(p, "target %g nat", target)}});
}

static void training(ws_pictures *all, const ws_results *r, const ws_method_results *m) {
    static const char *const side[] = {"POS", "NEG"};
    if (!m->log[0].csv.rows && !m->log[1].csv.rows) return;
    ws_picture *p =
        ws_pic_add(all, "training", "Training loss of the POS and the NEG adapter over the optimiser steps");
    p->plot.title = ws_pic_text(p, "Training of %s on both sides' answers", m->name);
    p->plot.subtitle =
        ws_pic_text(p,
                    "%s, %s. Mean cross entropy of the answers' tokens at each optimiser step; points: held-out "
                    "rows.",
                    ws_results_model(r), ws_results_behavior(r));
    p->plot.xlabel = "optimiser step", p->plot.ylabel = "loss, nats per token";
    ws_series *q = ws_pic_series(p, 4);
    for (int k = 0; k < 2; k++) {
        const ws_sheet *s = &m->log[k];
        if (!s->csv.rows) continue;
        double *x = column(p, s, "step"), *y = column(p, s, "loss"), *e = column(p, s, "eval_loss");
        int colour = k ? WS_BLUE : WS_VERMILION, any = 0;
        for (int i = 0; i < s->csv.rows; i++) any |= isfinite(e[i]) != 0;
        q[p->plot.n_series++] = (ws_series){.name = side[k],
                                            .n = s->csv.rows,
                                            .x = x,
                                            .y = y,
                                            .line = 1,
                                            .no_marker = 1,
                                            .dashed = k,
                                            .colour = colour};
        if (any)
            q[p->plot.n_series++] = (ws_series){
                .name = ws_pic_text(p, "%s, held out", side[k]), .n = s->csv.rows, .x = x, .y = e, .colour = colour};
    }
}

ws_pictures ws_pictures_build(const ws_results *r) {
    ws_pictures all = {0};
    const ws_method_results *m = r->n ? &r->m[0] : NULL;
    if (r->n_rows) ws_pic_rows(&all, r);
    if (m) dose(&all, r, m), margin(&all, r, m), dlogit(&all, r, m);
    if (!r->n_rows) calibration(&all, r);
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
