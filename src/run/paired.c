#include "run/paired.h"
#include "base/parallel.h"
#include "base/stats.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key, *title;
} names[WS_MEASURES] = {{"specific_pos", "specific effect at +"},
                        {"specific_neg", "specific effect at -"},
                        {"target_pos", "change of the target at +"},
                        {"target_neg", "change of the target at -"},
                        {"spread", "spread of the target's change at +"},
                        {"si", "SI"},
                        {"si_raw", "SI without pmass"},
                        {"margin_pos", "margin at +"},
                        {"margin_neg", "margin at -"},
                        {"margin_spread", "spread of the margin's change at +"},
                        {"score_pos", "score of free answers at +"},
                        {"score_neg", "score of free answers at -"},
                        {"score_spread", "spread of the score at +"}};
const char *ws_measure_key(ws_measure m) { return names[m].key; }
const char *ws_measure_title(ws_measure m) { return names[m].title; }

ws_measure ws_measure_of(ws_headline h, int minus) {
    static const ws_measure of[][2] = {{WS_MEASURES, WS_MEASURES},
                                       {WS_M_SPECIFIC, WS_M_SPECIFIC_MINUS},
                                       {WS_M_MARGIN, WS_M_MARGIN_MINUS},
                                       {WS_M_SCORE, WS_M_SCORE_MINUS}};
    return of[h][minus != 0];
}
ws_measure ws_measure_spread(ws_headline h) {
    static const ws_measure of[] = {WS_MEASURES, WS_M_SPREAD, WS_M_MARGIN_SPREAD, WS_M_SCORE_SPREAD};
    return of[h];
}

int ws_same_vignettes(const ws_items *a, const ws_items *b) {
    int same = a->grid.n && a->grid.n == b->grid.n && a->grid.n_foundations == b->grid.n_foundations &&
               a->n_targets == b->n_targets && a->target == b->target && a->sign == b->sign;
    for (int v = 0; v < a->grid.n && same; v++)
        same = !strcmp(a->id[v], b->id[v]) && a->grid.foundation[v] == b->grid.foundation[v];
    for (int f = 0; f < a->grid.n_foundations && same; f++) same = !strcmp(a->foundation[f], b->foundation[f]);
    return same;
}
int ws_same_rows(const ws_items *a, const ws_items *b) {
    int same = a->n_rows && a->n_rows == b->n_rows && !memcmp(a->topic, b->topic, (size_t)a->n_rows * sizeof *a->topic);
    int base = !strcmp(ws_results_model_hash(a->run), ws_results_model_hash(b->run));
    for (int i = 0; i < a->n_rows && same;
         i++) /* of one base the same answers have the same log p, up to the kernels */
        same = a->mark[0][i] == b->mark[0][i] &&
               (!base || fabs(a->mark[1][i] - b->mark[1][i]) <= 1e-3 * (1 + fabs(a->mark[1][i])));
    return same;
}

static const char *prompt_of(const ws_items *x, int topic) {
    for (int i = 0; i < x->method->n_samples; i++)
        if (x->method->sample[i].topic == topic) return x->method->sample[i].prompt;
    return "";
}
int ws_same_texts(const ws_items *a, const ws_items *b) {
    int same = a->n_dose_topics && a->n_dose_topics == b->n_dose_topics && a->n_samples == b->n_samples;
    for (int t = 0; t < a->n_dose_topics && same; t++) same = !strcmp(prompt_of(a, t), prompt_of(b, t));
    return same;
}

/* The items of the two sides, each missing where the other is. */
typedef struct pair {
    const ws_items *of[2];
    int vignettes, rows, texts, draws;
    uint64_t seed;
    double *d[2][2];      /* [side][arm]: dlogit [2V] */
    ws_answers a[2][3];   /* [side]: base, plus, minus with w masked for SI; pointers into `store` but p, mass, logit */
    double *margin[2][2]; /* [side][arm] */
    double *score[2][2];
    int has[2];      /* vignettes at plus, at minus */
    double *draw[2]; /* [side]: [WS_MEASURES, draws] */
} pair;

static double *masked(const double *x, const double *y, int n) {
    double *out = ws_xmalloc((size_t)n * sizeof *out + 1);
    for (int i = 0; i < n; i++) out[i] = isnan(y[i]) ? NAN : x[i];
    return out;
}

/* SI on the items of both; 0: it cannot be had. */
static int informed(const pair *p, int side, const int *times, ws_si *si) {
    const ws_items *x = p->of[side];
    const ws_answers *a = p->a[side];
    int plus = x->turned ? 2 : 1, minus = 3 - plus;
    if (!p->has[plus - 1] || x->target < 0 || (x->loading_weighted && !x->loading)) return 0;
    ws_grid g = x->grid;
    g.loading = x->loading;
    *si = ws_readout_si(&g, &a[0], &a[plus], p->has[minus - 1] ? &a[minus] : NULL, x->target, x->sign, &x->rule, times);
    return 1;
}

static void moral(const pair *p, int side, const int *times, double *out) {
    const ws_items *x = p->of[side];
    ws_grid g = x->grid;
    ws_si si;
    if (x->dlogit_weighted) g.loading = x->loading;
    for (int arm = 0; arm < 2; arm++) {
        if (!p->has[arm] || x->target < 0 || (x->dlogit_weighted && !x->loading)) continue;
        const ws_answers d = {.logit = p->d[side][arm]}; /* changes already, so no base is taken off */
        const ws_vig_effect e = ws_readout_effect(&g, NULL, &d, &x->target, &x->sign, 1, times);
        int sign = arm ? -x->sign : x->sign;
        out[WS_M_TARGET + arm] = sign * e.target, out[WS_M_SPECIFIC + arm] = sign * e.specific;
        if (!arm) out[WS_M_SPREAD] = ws_readout_dlogit(&g, NULL, &d, x->target, times).std;
    }
    if (informed(p, side, times, &si)) out[WS_M_SI] = si.si, out[WS_M_SI_RAW] = si.raw;
}

/* Mean, and standard deviation over single values, of topics that count `times`. */
static void mean_of(const double *v, const int *topic, int per, int n, const int *times, double *mean, double *sd) {
    double sum = 0, count = 0, sq = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < n; i++) {
            int t = times ? times[topic ? topic[i] : i / per] : 1;
            if (isnan(v[i]) || !t) continue;
            if (pass)
                sq += t * (v[i] - *mean) * (v[i] - *mean);
            else
                sum += t * v[i], count += t;
            *mean = sum / count;
        }
    if (count > 0) *sd = sqrt(sq / fmax(count - 1, 1));
}

static void statistics(const pair *p, int side, const int *times, const int *rows, const int *texts, double *out) {
    const ws_items *x = p->of[side];
    for (int m = 0; m < WS_MEASURES; m++) out[m] = NAN;
    if (p->vignettes) moral(p, side, times, out);
    for (int arm = 0; arm < 2; arm++) {
        double mean = NAN, sd = NAN, sign = arm ? -1 : 1;
        if (p->rows && p->margin[side][arm]) mean_of(p->margin[side][arm], x->topic, 1, x->n_rows, rows, &mean, &sd);
        out[WS_M_MARGIN + arm] = sign * mean;
        if (!arm) out[WS_M_MARGIN_SPREAD] = sd;
        mean = sd = NAN;
        if (p->texts && p->score[side][arm])
            mean_of(p->score[side][arm], NULL, x->n_samples, x->n_dose_topics * x->n_samples, texts, &mean, &sd);
        out[WS_M_SCORE + arm] = sign * mean;
        if (!arm) out[WS_M_SCORE_SPREAD] = sd;
    }
}

static void draw_topics(uint64_t seed, const char *stream, int64_t d, int n, int *times) {
    memset(times, 0, (size_t)n * sizeof *times);
    for (int t = 0; t < n; t++) times[ws_boot_index(seed, stream, d, t, n)]++;
}

static void draw_some(void *arg, int64_t begin, int64_t end) {
    const pair *p = arg;
    const ws_items *x = p->of[0];
    int *times = ws_xcalloc((size_t)x->grid.n + 1, sizeof *times),
        *rows = ws_xcalloc((size_t)x->n_topics + 1, sizeof *rows),
        *texts = ws_xcalloc((size_t)x->n_dose_topics + 1, sizeof *texts);
    double out[WS_MEASURES];
    for (int64_t d = begin; d < end; d++) {
        if (p->vignettes) ws_readout_draw(&x->grid, p->seed, d, times);
        draw_topics(p->seed, "eval.margin", d, x->n_topics, rows);
        draw_topics(p->seed, "eval.dose.topics", d, x->n_dose_topics, texts);
        for (int side = 0; side < 2; side++) {
            statistics(p, side, times, rows, texts, out);
            for (int m = 0; m < WS_MEASURES; m++) p->draw[side][(int64_t)m * p->draws + d] = out[m];
        }
    }
    free(times), free(rows), free(texts);
}

/* ---- setting up ---- */

static void take_vignettes(pair *p) {
    const int N = 2 * p->of[0]->grid.n;
    for (int arm = 0; arm < 2; arm++) {
        p->has[arm] = p->of[0]->arm[1 + arm].p && p->of[1]->arm[1 + arm].p;
        double *own[2] = {NULL, NULL};
        for (int s = 0; s < 2 && p->has[arm]; s++) {
            own[s] = ws_xmalloc((size_t)N * sizeof(double) + 1);
            for (int i = 0; i < N; i++) own[s][i] = p->of[s]->arm[1 + arm].logit[i] - p->of[s]->arm[0].logit[i];
        }
        for (int s = 0; s < 2 && p->has[arm]; s++) p->d[s][arm] = masked(own[s], own[1 - s], N);
        free(own[0]), free(own[1]);
    }
    for (int s = 0; s < 2; s++)
        for (int k = 0; k < 3; k++) {
            p->a[s][k] = p->of[s]->arm[k];
            if (p->a[s][k].p && p->of[1 - s]->arm[k].p)
                p->a[s][k].w = masked(p->of[s]->arm[k].w, p->of[1 - s]->arm[k].w, N);
            else
                p->a[s][k].w = NULL;
        }
}

static void take_values(double *out[2][2], double *const a[2], double *const b[2], int n) {
    for (int arm = 0; arm < 2; arm++) {
        if (!a[arm] || !b[arm]) continue;
        out[0][arm] = masked(a[arm], b[arm], n), out[1][arm] = masked(b[arm], a[arm], n);
    }
}

static int items_of(const pair *p, ws_measure m) {
    const ws_items *x = p->of[0];
    const double *v = NULL;
    int n = 0, N = 0, of = -1;
    switch (m) {
    case WS_M_SPECIFIC:
    case WS_M_TARGET:
    case WS_M_SPREAD: v = p->d[0][0], N = 2 * x->grid.n, of = x->target; break;
    case WS_M_SPECIFIC_MINUS:
    case WS_M_TARGET_MINUS: v = p->d[0][1], N = 2 * x->grid.n, of = x->target; break;
    case WS_M_SI:
    case WS_M_SI_RAW: v = p->d[0][0], N = 2 * x->grid.n, of = x->loading ? -1 : x->target; break;
    case WS_M_MARGIN:
    case WS_M_MARGIN_SPREAD: v = p->margin[0][0], N = x->n_rows; break;
    case WS_M_MARGIN_MINUS: v = p->margin[0][1], N = x->n_rows; break;
    case WS_M_SCORE:
    case WS_M_SCORE_SPREAD: v = p->score[0][0], N = x->n_dose_topics * x->n_samples; break;
    case WS_M_SCORE_MINUS: v = p->score[0][1], N = x->n_dose_topics * x->n_samples; break;
    case WS_MEASURES: break;
    }
    for (int i = 0; v && i < N; i++) n += !isnan(v[i]) && (of < 0 || x->grid.foundation[i / 2] == of);
    return n;
}

/* As in the method's own table. */
static void settings_of(const ws_items *x, pair *p) {
    const json_t *eval = x->method->eval;
    p->seed = (uint64_t)json_integer_value(json_object_get(eval, "seed"));
    int64_t draws = json_integer_value(json_object_get(eval, "bootstrap"));
    p->draws = draws > 0 && draws <= 1000000 ? (int)draws : 1000;
}

void ws_paired_of(const ws_items *a, const ws_items *b, ws_paired *out) {
    pair p = {.of = {a, b}};
    p.vignettes = ws_same_vignettes(a, b), p.rows = ws_same_rows(a, b), p.texts = ws_same_texts(a, b);
    settings_of(a, &p);
    if (p.vignettes) take_vignettes(&p);
    if (p.rows) take_values(p.margin, a->delta, b->delta, a->n_rows);
    if (p.texts) take_values(p.score, a->score, b->score, a->n_dose_topics * a->n_samples);
    double point[2][WS_MEASURES], *diff = ws_xmalloc((size_t)p.draws * sizeof *diff);
    for (int s = 0; s < 2; s++) {
        p.draw[s] = ws_xmalloc((size_t)WS_MEASURES * (size_t)p.draws * sizeof(double));
        statistics(&p, s, NULL, NULL, NULL, point[s]);
    }
    ws_parallel_for(p.draws, 32, draw_some, &p);
    for (int m = 0; m < WS_MEASURES; m++) {
        for (int d = 0; d < p.draws; d++)
            diff[d] = p.draw[0][(int64_t)m * p.draws + d] - p.draw[1][(int64_t)m * p.draws + d];
        ws_interval v = ws_interval_of(diff, p.draws);
        double x = point[0][m] - point[1][m];
        if (isnan(x)) v = (ws_interval){NAN, NAN};
        out[m] = (ws_paired){point[0][m], point[1][m], x, v.lo, v.hi, items_of(&p, (ws_measure)m), NAN, NAN};
    }
    ws_si si;
    if (p.vignettes && informed(&p, 0, NULL, &si))
        for (int m = WS_M_SI; m <= WS_M_SI_RAW; m++) out[m].n_cho = si.n_cho, out[m].n_rej = si.n_rej;
    for (int s = 0; s < 2; s++) {
        for (int k = 0; k < 2; k++) free(p.d[s][k]), free(p.margin[s][k]), free(p.score[s][k]);
        for (int k = 0; p.vignettes && k < 3; k++) free(p.a[s][k].w);
        free(p.draw[s]);
    }
    free(diff);
}
