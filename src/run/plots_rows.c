/* src/run/plots_rows.c - the pictures of a run with rows: what each row moves beside the controls, on the target and beside
 * it; how it was calibrated; in which layers its dW lies. */
#include "run/headline.h"
#include "run/plots_impl.h"
#include "run/tables.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 8 }; /* curves in one picture, each with a colour and a marker of its own */

typedef enum kind { ADAPTER, VECTOR, PROMPT, CONTROL, KINDS } kind;

static kind kind_of(const ws_row_results *row) {
    return !strcmp(row->kind, "adapter")  ? ADAPTER
           : !strcmp(row->kind, "vector") ? VECTOR
           : !strcmp(row->kind, "prompt") ? PROMPT
                                          : CONTROL;
}

/* The row of a method in a sheet with one row a method; -1: none. */
static int row_of(const ws_sheet *s, const char *method) {
    for (int i = 0; i < s->csv.rows; i++)
        if (!strcmp(ws_sheet_text(s, i, "method"), method)) return i;
    return -1;
}

static int broken(const ws_results *r, const ws_row_results *row) { return *ws_row_broken(r, row) == 'a'; }

/* What stands beside a row, and what its marks mean, told once where some row has them. */
static const char *marked(ws_picture *p, const ws_results *r, const ws_row_results *row) {
    return ws_pic_text(p, "%s%s%s%s", row->name, kind_of(row) == CONTROL ? " (control)" : "",
                       ws_row_off_budget(r, row) ? " *" : "", broken(r, row) ? " \u2020" : "");
}
static const char *marks(ws_picture *p, const ws_results *r) {
    int off = 0, bad = 0;
    for (int i = 0; i < r->n_rows; i++) {
        if (r->row[i].method < 0) continue;
        off |= ws_row_off_budget(r, &r->row[i]), bad |= broken(r, &r->row[i]);
    }
    return ws_pic_text(p, "%s%s", off ? " *: off the KL budget, and not compared." : "",
                       bad ? " \u2020: breaks the model (canaries)." : "");
}

static const char *capital(ws_picture *p, const char *s) {
    char *t = ws_pic_text(p, "%s", s);
    *t = (char)toupper((unsigned char)*t);
    return t;
}

/* Rows that have something to show, in the order of a forest: controls last. */
typedef struct order {
    int n;
    const ws_row_results **row;
} order;
static order in_order(ws_picture *p, const ws_results *r) {
    order o = {0, ws_pic_get(p, r->n_rows, sizeof *o.row)};
    for (kind k = ADAPTER; k < KINDS; k++)
        for (int i = 0; i < r->n_rows; i++)
            if (kind_of(&r->row[i]) == k && (r->row[i].method >= 0 || r->row[i].error)) o.row[o.n++] = &r->row[i];
    return o;
}

static void categories(ws_picture *p, const ws_results *r, const order *o) {
    const char **name = ws_pic_get(p, o->n, sizeof *name);
    char *line = ws_pic_get(p, o->n, 1);
    for (int i = 0; i < o->n; i++) {
        name[i] = o->row[i]->method < 0 ? ws_pic_text(p, "%s (failed)", o->row[i]->name) : marked(p, r, o->row[i]);
        line[i] = i && kind_of(o->row[i]) != kind_of(o->row[i - 1]);
    }
    p->plot.category = name, p->plot.n_categories = o->n, p->plot.line_above = line;
}

static ws_series *forest_series(ws_picture *p, const order *o, int panel, double shift) {
    ws_series *q = (ws_series *)&p->plot.series[p->plot.n_series++];
    double *y = ws_pic_numbers(p, o->n), *v[3];
    for (int i = 0; i < 3; i++) v[i] = ws_pic_numbers(p, o->n);
    for (int i = 0; i < o->n; i++) y[i] = i + shift, v[0][i] = v[1][i] = v[2][i] = NAN;
    *q = (ws_series){.n = o->n, .x = v[0], .y = y, .lo = v[1], .hi = v[2], .panel = panel};
    return q;
}
static void set(ws_series *q, int i, ws_effect e) {
    ((double *)q->x)[i] = e.v, ((double *)q->lo)[i] = e.lo, ((double *)q->hi)[i] = e.hi;
}

/* From the lowest to the highest end of the intervals of all controls that a row is compared with. */
static ws_effect controls_of(const ws_results *r, const ws_row_results *row, ws_headline h, int minus) {
    static const char *const kinds[] = {"random", "shuffled"};
    ws_effect all = {NAN, NAN, NAN};
    for (int k = 0; k < 2; k++) {
        const ws_row_results *c = ws_results_control_of(r, row, kinds[k]);
        if (!c || ws_row_off_budget(r, c)) continue;
        ws_effect e = ws_headline_effect(h, &r->m[c->method], minus);
        all.lo = fmin(all.lo, e.lo), all.hi = fmax(all.hi, e.hi); /* of a number and a NaN: the number */
    }
    return all;
}

static void bands(ws_picture *p, const ws_results *r, const order *o, ws_headline h) {
    ws_band *b = ws_pic_get(p, 2 * KINDS, sizeof *b);
    int n = 0;
    for (int minus = 0; minus < 2; minus++)
        for (int i = 0, end; i < o->n; i = end) {
            for (end = i + 1; end < o->n && kind_of(o->row[end]) == kind_of(o->row[i]);) end++;
            ws_effect e = controls_of(r, o->row[i], h, minus);
            if (isfinite(e.lo) && isfinite(e.hi)) b[n++] = (ws_band){e.lo, e.hi, i, end - 1, minus};
        }
    p->plot.band = b, p->plot.n_bands = n;
}

static const char *unit_of(ws_headline h) {
    static const char *const unit[] = {"", "change of logit(is wrong), the target's minus the mean of the others, nats",
                                       "change of log p(POS) - log p(NEG) against the base model, nats per token",
                                       "weighted words per answer"};
    return unit[h];
}

/* Both arms are oriented, so that right of 0 is what was meant in both panels. */
static void headline(ws_pictures *all, const ws_results *r) {
    static const char *const panel[] = {"at +alpha", "at -alpha, turned round"};
    ws_headline h = ws_headline_of(r);
    if (!h) return;
    ws_picture *p =
        ws_pic_add(all, "rows", "Effect of every row at +alpha and -alpha with intervals, beside the controls'");
    order o = in_order(p, r);
    p->plot.title = ws_pic_text(p, "%s of each row, all calibrated to one KL budget", capital(p, ws_headline_title(h)));
    categories(p, r, &o), bands(p, r, &o, h);
    p->plot.subtitle = ws_pic_text(
        p,
        "%s, %s. Right of 0 is what was meant, in both panels. Bars: 95%% bootstrap "
        "intervals.%s%s",
        ws_results_model(r), ws_results_behavior(r),
        p->plot.n_bands ? " Shaded: the controls' intervals, which a row must lie beyond." : "", marks(p, r));
    p->plot.xlabel = unit_of(h);
    p->plot.n_panels = 2, p->plot.panel = panel;
    ws_pic_series(p, 4);
    for (int minus = 0; minus < 2; minus++) {
        ws_series *q = forest_series(p, &o, minus, 0), *c = forest_series(p, &o, minus, 0);
        q->colour = minus ? WS_BLUE : WS_VERMILION, q->hollow = minus;
        c->colour = WS_GREY, c->marker = q->marker = minus ? 1 : 2, c->hollow = minus;
        for (int i = 0; i < o.n; i++)
            if (o.row[i]->method >= 0)
                set(kind_of(o.row[i]) == CONTROL ? c : q, i, ws_headline_effect(h, &r->m[o.row[i]->method], minus));
    }
    ws_pic_rules(p, 1, (ws_rule[]){{0, 1, NULL}});
}

/* ---------- moral foundations ---------- */
static const json_t *vignettes_of(const ws_results *r) {
    return r->n ? json_object_get(r->m[0].eval, "vignettes") : NULL;
}

/* What the behaviour means to move; NULL: nothing, or no vignettes were asked. */
static const char *target_of(const ws_results *r, double *sign) {
    const ws_sheet *s = r->n ? &r->m[0].effect : NULL;
    if (!s || !s->csv.rows || json_is_false(json_object_get(vignettes_of(r), "target_meant"))) return NULL;
    *sign = ws_sheet_num(s, 0, "sign");
    return ws_sheet_text(s, 0, "target");
}

/* The first of the vignettes' foundations that is not meant to move; NULL: none. */
static const char *other_of(const ws_results *r, const char *target) {
    const ws_sheet *s = &r->m[0].dlogit;
    for (int i = 0; i < s->csv.rows; i++)
        if (strcmp(ws_sheet_text(s, i, "foundation"), target)) return ws_sheet_text(s, i, "foundation");
    return NULL;
}

/* How they were asked, and whether the answers mean anything. */
static const char *asked(ws_picture *p, const ws_results *r) {
    const char *why;
    int think = (int)json_integer_value(json_object_get(vignettes_of(r), "max_think"));
    const char *mode = think ? ws_pic_text(p, "after a thought of at most %d tokens", think) : "without thinking";
    return ws_pic_text(p, "%s, %s. Answers %s.%s", ws_results_model(r), ws_results_behavior(r), mode,
                       ws_vignette_signal(&r->m[0], &why) == 0 ? " The readout carries no signal on this model." : "");
}

static ws_effect dlogit_of(const ws_method_results *m, const char *arm, const char *foundation) {
    const ws_sheet *s = &m->dlogit;
    for (int i = 0; i < s->csv.rows; i++)
        if (!strcmp(ws_sheet_text(s, i, "arm"), arm) && !strcmp(ws_sheet_text(s, i, "foundation"), foundation))
            return (ws_effect){ws_sheet_num(s, i, "mean"), ws_sheet_num(s, i, "lo"), ws_sheet_num(s, i, "hi")};
    return (ws_effect){NAN, NAN, NAN};
}

static void foundations(ws_pictures *all, const ws_results *r) {
    double sign;
    const char *target = target_of(r, &sign), *other = target ? other_of(r, target) : NULL;
    if (!other) return;
    ws_picture *p = ws_pic_add(
        all, "foundations", "Change of moral judgement of the target and of another foundation by row, with intervals");
    order o = in_order(p, r);
    categories(p, r, &o);
    const char **panel = ws_pic_get(p, 2, sizeof *panel);
    panel[0] = ws_pic_text(p, "%s: + is meant to go %s", target, sign < 0 ? "down" : "up");
    panel[1] = ws_pic_text(p, "%s: not meant to move", other);
    p->plot.n_panels = 2, p->plot.panel = panel;
    p->plot.title = ws_pic_text(p, "Moral vignettes: change of \"is wrong\" for %s and %s", target, other);
    p->plot.subtitle = ws_pic_text(p, "%s Bars: 95%% bootstrap intervals over vignettes.%s", asked(p, r), marks(p, r));
    p->plot.xlabel = "change of logit(is wrong) against the base model, nats";
    ws_pic_series(p, 4);
    for (int k = 0; k < 4; k++) {
        int minus = k % 2;
        ws_series *q = forest_series(p, &o, k / 2, minus ? 0.19 : -0.19);
        q->colour = minus ? WS_BLUE : WS_VERMILION, q->hollow = minus, q->marker = minus ? 1 : 2;
        if (k < 2) q->name = minus ? "at -alpha" : "at +alpha";
        for (int i = 0; i < o.n; i++)
            if (o.row[i]->method >= 0)
                set(q, i, dlogit_of(&r->m[o.row[i]->method], minus ? "minus" : "plus", k / 2 ? other : target));
    }
    ws_pic_rules(p, 1, (ws_rule[]){{0, 1, NULL}});
}

/* Mean over the other foundations of the change's size, with its interval where the evaluation wrote one. */
static ws_effect spill(const ws_method_results *m, const char *arm, const char *target) {
    const ws_sheet *s = &m->dlogit, *x = &m->effect;
    ws_effect e = {0, NAN, NAN};
    int n = 0, row = ws_sheet_arm(x, NULL, arm);
    for (int i = 0; i < s->csv.rows; i++)
        if (!strcmp(ws_sheet_text(s, i, "arm"), arm) && strcmp(ws_sheet_text(s, i, "foundation"), target))
            e.v += fabs(ws_sheet_num(s, i, "mean")), n++;
    e.v /= n;
    if (row >= 0 && ws_csv_col(&x->csv, "abs_others_lo") >= 0)
        e.lo = ws_sheet_num(x, row, "abs_others_lo"), e.hi = ws_sheet_num(x, row, "abs_others_hi");
    return e;
}

typedef struct plane {
    ws_series *q;
    double *v[6]; /* x, y, xlo, xhi, lo, hi */
    const char **label;
} plane;

static void selectivity(ws_pictures *all, const ws_results *r, int minus) {
    static const char *const name[] = {"adapters", "hidden-state methods", "prompts", "controls"};
    static const int colour[] = {WS_VERMILION, WS_BLUE, WS_GREEN, WS_GREY};
    const char *arm = minus ? "minus" : "plus";
    double sign, most[2] = {0, 0};
    const char *target = target_of(r, &sign);
    if (!target || !other_of(r, target)) return;
    ws_picture *p =
        ws_pic_add(all, minus ? "selectivity_minus" : "selectivity_plus",
                   minus ? "Change of the target foundation against that of the others at -alpha, a point a row"
                         : "Change of the target foundation against that of the others at +alpha, a point a row");
    if (minus) sign = -sign;
    plane of[KINDS] = {0};
    ws_pic_series(p, KINDS + 1);
    for (int k = 0; k < KINDS; k++) {
        plane *f = &of[k];
        f->q = (ws_series *)&p->plot.series[p->plot.n_series++];
        for (int i = 0; i < 6; i++) f->v[i] = ws_pic_numbers(p, r->n_rows);
        f->label = ws_pic_get(p, r->n_rows, sizeof *f->label);
        *f->q = (ws_series){.x = f->v[0], .y = f->v[1], .xlo = f->v[2], .xhi = f->v[3], .lo = f->v[4], .hi = f->v[5]};
        f->q->label = f->label, f->q->colour = colour[k], f->q->marker = k + 1, f->q->faint = 1;
        f->q->hollow = k == CONTROL;
    }
    for (int i = 0; i < r->n_rows; i++) {
        const ws_row_results *row = &r->row[i];
        if (row->method < 0) continue;
        const ws_method_results *m = &r->m[row->method];
        ws_effect x = dlogit_of(m, arm, target), y = spill(m, arm, target);
        if (!isfinite(x.v) || !isfinite(y.v)) continue;
        plane *f = &of[kind_of(row)];
        int n = f->q->n++;
        double v[6] = {sign * x.v, y.v, sign > 0 ? x.lo : -x.hi, sign > 0 ? x.hi : -x.lo, y.lo, y.hi};
        for (int k = 0; k < 6; k++) f->v[k][n] = v[k];
        f->label[n] =
            ws_pic_text(p, "%s%s%s", row->name, ws_row_off_budget(r, row) ? " *" : "", broken(r, row) ? " \u2020" : "");
        f->q->name = name[kind_of(row)];
        most[0] = fmax(most[0], fmax(v[0], v[3])), most[1] = fmax(most[1], fmax(v[1], v[5]));
    }
    double end = fmin(most[0], most[1]), *d = ws_pic_numbers(p, 2);
    d[0] = 0, d[1] = end;
    if (end > 0)
        ((ws_series *)p->plot.series)[p->plot.n_series++] = (ws_series){.name = "target = others",
                                                                        .n = 2,
                                                                        .x = d,
                                                                        .y = d,
                                                                        .line = 1,
                                                                        .no_marker = 1,
                                                                        .dashed = 1,
                                                                        .colour = WS_GREY};
    p->plot.title =
        ws_pic_text(p, "Selectivity at %calpha: %s against the other foundations", minus ? '-' : '+', target);
    p->plot.subtitle = ws_pic_text(p,
                                   "%s Selective is far right and low. Bars: 95%% bootstrap intervals over vignettes; "
                                   "the height is a mean of sizes, so chance alone lifts it above 0.%s",
                                   asked(p, r), marks(p, r));
    p->plot.xlabel =
        ws_pic_text(p, "change of logit(is wrong) of %s, %s is right, nats", target, sign < 0 ? "down" : "up");
    p->plot.ylabel = "mean size of the others' change, nats";
    p->plot.height = 480;
    ws_pic_rules(p, 1, (ws_rule[]){{0, 1, NULL}});
}

/* ---------- curves ---------- */
/* One picture for each AT_ONCE rows of a kind: "calibration_vectors_2". */
static ws_picture *part(ws_pictures *all, const char *what, const char *alt, kind k, int nth, int parts) {
    static const char *const name[] = {"adapters", "vectors", "prompts", "controls"};
    ws_picture *p = ws_pic_add(all, NULL, NULL);
    p->name = parts > 1 ? ws_pic_text(p, "%s_%s_%d", what, name[k], nth + 1) : ws_pic_text(p, "%s_%s", what, name[k]);
    p->alt = alt;
    ws_pic_series(p, 2 * AT_ONCE);
    return p;
}

/* Rows of a kind, and behind them those controls that they are compared with. */
static int members(const ws_results *r, kind k, const ws_row_results **list) {
    int n = 0;
    for (int control = 0; control < 2; control++)
        for (int i = 0; i < r->n_rows; i++) {
            const ws_row_results *row = &r->row[i];
            kind is = kind_of(row) != CONTROL ? kind_of(row) : !strcmp(row->kind, "random_vector") ? VECTOR : ADAPTER;
            if (is == k && (kind_of(row) == CONTROL) == control) list[n++] = row;
        }
    return n;
}

/* The search's probes of one side, by ascending magnitude of the strength. */
static int probes_of(ws_picture *p, const ws_results *r, const ws_row_results *row, int minus, double **alpha,
                     double **p95) {
    const ws_sheet *h = &r->history;
    int n = 0;
    *alpha = ws_pic_numbers(p, h->csv.rows), *p95 = ws_pic_numbers(p, h->csv.rows);
    for (int i = 0; i < h->csv.rows; i++) {
        if (strcmp(ws_sheet_text(h, i, "method"), row->name) ||
            strcmp(ws_sheet_text(h, i, "side"), minus ? "neg" : "pos"))
            continue;
        (*alpha)[n] = fabs(ws_sheet_num(h, i, "alpha")), (*p95)[n++] = ws_sheet_num(h, i, "p95");
    }
    ws_pic_sort(n, *alpha, *p95, NULL, NULL);
    return n;
}

/* The same with the strength in parts of the calibrated one. */
static void probes(ws_picture *p, const ws_results *r, const ws_row_results *row, int minus, int nth) {
    double *x, *y;
    int at = row_of(&r->summary, row->name), n = probes_of(p, r, row, minus, &x, &y);
    double full = at < 0 ? (double)NAN : fabs(ws_sheet_num(&r->summary, at, minus ? "alpha_neg" : "alpha_pos"));
    if (!n || !(full > 0)) return;
    for (int i = 0; i < n; i++) x[i] /= full;
    ((ws_series *)p->plot.series)[p->plot.n_series++] = (ws_series){.name = minus ? NULL : marked(p, r, row),
                                                                    .n = n,
                                                                    .x = x,
                                                                    .y = y,
                                                                    .line = 1,
                                                                    .dashed = minus,
                                                                    .hollow = minus,
                                                                    .colour = nth,
                                                                    .marker = nth + 1};
}

static void calibration(ws_pictures *all, const ws_results *r, kind k) {
    static const char *const what[] = {"adapters", "hidden-state methods"};
    const ws_row_results **list = ws_xcalloc((size_t)r->n_rows + 1, sizeof *list);
    int n = members(r, k, list), parts = (n + AT_ONCE - 1) / AT_ONCE;
    for (int b = 0; b < parts && r->summary.csv.rows; b++) {
        ws_picture *p = part(all, "calibration",
                             "95th percentile of the KL per token against the strength, a curve a row", k, b, parts);
        int some = 0;
        for (int i = b * n / parts; i < (b + 1) * n / parts; i++, some++) /* parts of like sizes */
            for (int minus = 0; minus < 2; minus++) probes(p, r, list[i], minus, some);
        double target = ws_sheet_num(&r->summary, 0, "target_p95");
        p->plot.title = ws_pic_text(p, "Calibration of the %s%s", what[k],
                                    parts > 1 ? ws_pic_text(p, ", %d of %d", b + 1, parts) : "");
        p->plot.subtitle =
            ws_pic_text(p,
                        "%s, %s. p95 over the tokens of greedy answers to %s prompts x %s tokens, at every "
                        "strength that the search tried; filled and solid: +alpha, hollow and dashed: -alpha.%s",
                        ws_results_model(r), ws_results_behavior(r), ws_sheet_text(&r->summary, 0, "n_prompts"),
                        ws_sheet_text(&r->summary, 0, "n_tokens"), marks(p, r));
        p->plot.xlabel = "|alpha| in parts of the strength that was chosen",
        p->plot.ylabel = "95th percentile of KL, nats per token";
        p->plot.xlog = p->plot.ylog = 1;
        ws_pic_rules(p, 2, (ws_rule[]){{target, 0, ws_pic_text(p, "target %g nat", target)}, {1, 1, NULL}});
    }
    free(list);
}

/* p95 of the KL at a strength, between the search's probes, on logarithmic axes; NaN outside of them. */
static double kl_at(int n, const double *alpha, const double *p95, double at) {
    for (int i = 0; i < n; i++) {
        if (fabs(alpha[i] / at - 1) < 1e-9) return p95[i];
        if (!i || !(alpha[i - 1] < at && at < alpha[i])) continue;
        double t = log(at / alpha[i - 1]) / log(alpha[i] / alpha[i - 1]);
        return p95[i - 1] > 0 && p95[i] > 0 ? exp((1 - t) * log(p95[i - 1]) + t * log(p95[i])) : (double)NAN;
    }
    return NAN;
}

/* The effect at all strengths of a row's side that were evaluated, against the KL there.  Returns how many there are. */
static int effect_curve(ws_picture *p, const ws_results *r, const ws_row_results *row, ws_headline h, int minus,
                        ws_series *q) {
    const ws_method_results *m = &r->m[row->method];
    const ws_sheet *s = ws_headline_sheet(h, m);
    double *x = ws_pic_numbers(p, s->csv.rows), *y = ws_pic_numbers(p, s->csv.rows), *alpha, *p95;
    int n = 0, probes = probes_of(p, r, row, minus, &alpha, &p95);
    for (int i = 0; i < s->csv.rows; i++) {
        double a = ws_sheet_num(s, i, "alpha");
        if (!(minus ? a < 0 : a > 0)) continue;
        x[n] = kl_at(probes, alpha, p95, fabs(a)), y[n] = ws_headline_at(h, m, i, minus).v;
        n += isfinite(x[n]) && isfinite(y[n]);
    }
    ws_pic_sort(n, x, y, NULL, NULL);
    *q = (ws_series){.n = n, .x = x, .y = y, .line = 1, .dashed = minus, .hollow = minus};
    return n;
}

/* Some row was evaluated at parts of its strength. */
static int has_parts(const ws_results *r, ws_headline h) {
    for (int i = 0; i < r->n && ws_headline_sheet(h, &r->m[i]); i++)
        if (ws_sheet_arm(ws_headline_sheet(h, &r->m[i]), NULL, "other") >= 0) return 1;
    return 0;
}

static void effect_kl(ws_pictures *all, const ws_results *r, kind k) {
    ws_headline h = ws_headline_of(r);
    if (!has_parts(r, h)) return;
    const ws_row_results **list = ws_xcalloc((size_t)r->n_rows + 1, sizeof *list);
    int n = 0;
    for (int i = 0, most = members(r, k, list); i < most; i++)
        if (list[i]->method >= 0) list[n++] = list[i];
    int parts = (n + AT_ONCE - 1) / AT_ONCE;
    for (int b = 0; b < parts; b++) {
        ws_picture *p = part(all, "effect_kl",
                             "Effect against the KL at parts of the calibrated strength, a curve a row", k, b, parts);
        for (int i = b * n / parts, some = 0; i < (b + 1) * n / parts; i++, some++)
            for (int minus = 0; minus < 2; minus++) {
                ws_series *q = (ws_series *)&p->plot.series[p->plot.n_series];
                if (!effect_curve(p, r, list[i], h, minus, q)) continue;
                q->name = minus ? NULL : marked(p, r, list[i]);
                q->colour = some, q->marker = some + 1;
                p->plot.n_series++;
            }
        p->plot.title = ws_pic_text(p, "What each nat of KL buys: %s", ws_headline_title(h));
        p->plot.subtitle = ws_pic_text(p,
                                       "%s, %s. Above 0 is what was meant, on both sides; the KL at a strength is read "
                                       "between the probes of the search. Filled and solid: +alpha, hollow and dashed: "
                                       "-alpha.%s",
                                       ws_results_model(r), ws_results_behavior(r), marks(p, r));
        p->plot.xlabel = "95th percentile of KL, nats per token", p->plot.xlog = 1;
        p->plot.ylabel = h == WS_HEADLINE_SPECIFIC ? "specific effect, nats" : "change of the margin, nats per token";
        if (r->summary.csv.rows)
            ws_pic_rules(p, 2, (ws_rule[]){{ws_sheet_num(&r->summary, 0, "target_p95"), 1, "budget"}, {0, 0, NULL}});
    }
    free(list);
}

/* Dose curves on one axis: each strength in parts of the row's own calibrated one. */
static void dose(ws_pictures *all, const ws_results *r, kind k) {
    const ws_row_results **list = ws_xcalloc((size_t)r->n_rows + 1, sizeof *list);
    int n = 0;
    for (int i = 0, most = members(r, k, list); i < most; i++)
        if (list[i]->method >= 0 && r->m[list[i]->method].dose.csv.rows) list[n++] = list[i];
    int parts = (n + AT_ONCE - 1) / AT_ONCE;
    for (int b = 0; b < parts; b++) {
        ws_picture *p = part(all, "dose", "Score of free answers against the strength, a curve a row", k, b, parts);
        const ws_sheet *s = NULL;
        for (int i = b * n / parts, some = 0; i < (b + 1) * n / parts; i++, some++) {
            s = &r->m[list[i]->method].dose;
            double *x = ws_pic_numbers(p, s->csv.rows), *y = ws_pic_numbers(p, s->csv.rows);
            for (int l = 0; l < s->csv.rows; l++) x[l] = ws_sheet_num(s, l, "dose"), y[l] = ws_sheet_num(s, l, "score");
            ws_pic_sort(s->csv.rows, x, y, NULL, NULL);
            ((ws_series *)p->plot.series)[p->plot.n_series++] = (ws_series){.name = marked(p, r, list[i]),
                                                                            .n = s->csv.rows,
                                                                            .x = x,
                                                                            .y = y,
                                                                            .line = 1,
                                                                            .dashed = kind_of(list[i]) == CONTROL,
                                                                            .colour = some,
                                                                            .marker = some + 1};
        }
        p->plot.title = ws_pic_text(p, "Dose response of %s, every row at its own strengths", ws_results_behavior(r));
        p->plot.subtitle =
            ws_pic_text(p,
                        "%s. %s answers to %s held-out prompts at each strength, no system prompt; dashed: "
                        "controls. Intervals: table row_answers.%s",
                        ws_results_model(r), ws_sheet_text(s, 0, "n"), ws_sheet_text(s, 0, "n_topics"), marks(p, r));
        p->plot.xlabel = "share of the calibrated strength; + is towards the POS persona";
        p->plot.ylabel = "score: weighted words per answer";
        ws_pic_rules(p, 1, (ws_rule[]){{0, 1, "base"}});
    }
    free(list);
}

static void layers(ws_pictures *all, const ws_results *r) {
    const ws_row_results **list = ws_xcalloc((size_t)r->n_rows + 1, sizeof *list);
    int n = 0;
    for (int i = 0; i < r->n_rows; i++) /* the random control has its model's profile by construction */
        if (r->row[i].n_layers > 1 && strcmp(r->row[i].kind, "random")) list[n++] = &r->row[i];
    int parts = (n + AT_ONCE - 1) / AT_ONCE;
    for (int b = 0; b < parts; b++) {
        ws_picture *p = part(all, "layers", "Share of each layer in the square of the length of dW, a curve a row",
                             ADAPTER, b, parts);
        int some = 0;
        for (int i = b * n / parts; i < (b + 1) * n / parts; i++, some++) {
            double *x = ws_pic_numbers(p, list[i]->n_layers);
            for (int l = 0; l < list[i]->n_layers; l++) x[l] = list[i]->layer[l];
            ((ws_series *)p->plot.series)[p->plot.n_series++] = (ws_series){.name = marked(p, r, list[i]),
                                                                            .n = list[i]->n_layers,
                                                                            .x = x,
                                                                            .y = list[i]->layer_share,
                                                                            .line = 1,
                                                                            .colour = some,
                                                                            .marker = some + 1};
        }
        p->plot.title = "Where dW lies: share of each layer";
        p->plot.subtitle = ws_pic_text(p, "%s, %s. Shares of ||dW||^2; a layer that a row does not touch has no point.",
                                       ws_results_model(r), ws_results_behavior(r));
        p->plot.xwhole = 1, p->plot.xlabel = "layer, from the input", p->plot.ylabel = "share of ||dW||^2";
    }
    free(list);
}

void ws_pic_rows(ws_pictures *all, const ws_results *r) {
    headline(all, r);
    foundations(all, r);
    selectivity(all, r, 0), selectivity(all, r, 1);
    dose(all, r, ADAPTER), dose(all, r, VECTOR);
    calibration(all, r, ADAPTER), calibration(all, r, VECTOR);
    effect_kl(all, r, ADAPTER), effect_kl(all, r, VECTOR);
    layers(all, r);
}
