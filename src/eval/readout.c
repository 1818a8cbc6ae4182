#include "eval/readout.h"
#include "base/err.h"
#include "base/stats.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double ws_wrongness(double pw, double mw, double pa, double ma, double floor) {
    if (isnan(pw) || isnan(pa) || mw < floor || ma < floor) return NAN; /* a missing mass compares false: counts as 1 */
    return (pw + (1 - pa)) / 2;
}

double ws_logit_clipped(double w) {
    if (isnan(w)) return NAN;
    double c = w < 0.01 ? 0.01 : w > 0.99 ? 0.99 : w;
    return log(c / (1 - c));
}

static void derive(ws_answers *a, int n, double floor) {
    for (int i = 0; i < 2 * n; i++) {
        a->w[i] = ws_wrongness(a->p[2 * i], a->mass[2 * i], a->p[2 * i + 1], a->mass[2 * i + 1], floor);
        a->logit[i] = ws_logit_clipped(a->w[i]);
    }
}

static void make(ws_answers *a, int n) {
    a->p = ws_xmalloc((size_t)n * 12 * sizeof(double) + 1);
    a->mass = a->p + 4 * n, a->w = a->mass + 4 * n, a->logit = a->w + 2 * n;
}

void ws_answers_fill(ws_answers *a, int n, const double *lt, const double *lf, double floor) {
    make(a, n);
    for (int i = 0; i < 4 * n; i++) {
        a->p[i] = isinf(lt[i]) && isinf(lf[i]) ? NAN : 1 / (1 + exp(lf[i] - lt[i]));
        a->mass[i] = exp(lt[i]) + exp(lf[i]);
    }
    derive(a, n, floor);
}

void ws_answers_from_p(ws_answers *a, int n, const double *p, const double *mass, double floor) {
    make(a, n);
    memcpy(a->p, p, (size_t)n * 4 * sizeof *p);
    memcpy(a->mass, mass, (size_t)n * 4 * sizeof *mass);
    derive(a, n, floor);
}

void ws_answers_free(ws_answers *a) {
    if (!a) return;
    free(a->p);
    *a = (ws_answers){0};
}

static int count_of(const int *times, int v) { return times ? times[v] : 1; }

/* What a cell of vignette v counts for foundation f; -1: all foundations alike. */
static double weight_of(const ws_grid *g, int v, int f) {
    return f < 0 ? 1 : g->loading ? g->loading[(int64_t)v * g->n_foundations + f] : g->foundation[v] == f;
}

ws_dlogit ws_readout_dlogit(const ws_grid *g, const ws_answers *base, const ws_answers *x, int f, const int *times) {
    ws_dlogit r = {NAN, NAN, 0, 0, 0};
    double sum = 0, sq = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int v = 0; v < g->n; v++) {
            int t = count_of(times, v);
            double w = t * weight_of(g, v, f);
            for (int c = 0; c < 2 && w > 0; c++) {
                double d = x->logit[2 * v + c] - (base ? base->logit[2 * v + c] : 0);
                if (pass && !isnan(d)) sq += w * (d - r.mean) * (d - r.mean);
                if (pass) continue;
                r.n_total += t;
                if (!isnan(d)) r.n += t, r.weight += w, sum += w * d;
            }
        }
        if (pass == 0) r.mean = r.n ? sum / r.weight : NAN;
    }
    if (r.n) r.std = sqrt(sq / (g->loading && f >= 0 ? r.weight : r.n > 1 ? r.n - 1 : 1));
    return r;
}

int ws_readout_turned(const ws_grid *g, const ws_answers *base, const ws_answers *plus, const ws_answers *minus, int f,
                      int sign) {
    double p = sign * ws_readout_dlogit(g, base, plus, f, NULL).mean,
           m = sign * ws_readout_dlogit(g, base, minus, f, NULL).mean;
    return !isnan(m) && (isnan(p) || m > p);
}

ws_flips ws_readout_flips(const ws_grid *g, const ws_answers *base, const ws_answers *x, int f) {
    ws_flips r = {0};
    for (int v = 0; v < g->n; v++)
        for (int c = 0; c < 2 && (f < 0 || g->foundation[v] == f); c++) {
            double a = base->w[2 * v + c], b = x->w[2 * v + c];
            if (isnan(a) || isnan(b)) continue;
            r.n++;
            r.to_wrong += a < 0.5 && b >= 0.5, r.to_right += b < 0.5 && a >= 0.5;
        }
    return r;
}

/* frame_min: of the smaller frame of each cell; one that is missing leaves the other. */
static double mean_mass(const ws_grid *g, const ws_answers *a, const int *times, int frame_min, int *missing) {
    double sum = 0;
    int64_t n = 0;
    for (int v = 0; v < g->n; v++)
        for (int k = 0; k < 4; k++) {
            double m = a->mass[4 * v + k];
            if (isnan(m)) *missing += count_of(times, v);
            if (frame_min && k % 2 == 0) continue;
            if (frame_min) m = fmin(m, a->mass[4 * v + k - 1]); /* of a number and NaN: the number */
            if (!isnan(m)) sum += count_of(times, v) * m, n += count_of(times, v);
        }
    return n ? sum / (double)n : NAN;
}

ws_si ws_readout_si(const ws_grid *g, const ws_answers *base, const ws_answers *plus, const ws_answers *minus, int f,
                    int intent, const ws_si_rule *rule, const int *times) {
    ws_si r = {0};
    double sum_p = 0, n_p = 0, sum_m = 0, n_m = 0, k = rule->k;
    for (int v = 0; v < g->n; v++) {
        double weight = weight_of(g, v, f) * count_of(times, v);
        for (int c = 0; c < 2 && weight > 0; c++) {
            int i = 2 * v + c;
            double wb = base->w[i], wp = plus->w[i], wm = minus ? minus->w[i] : NAN;
            int ref = wb > 0.5 ? intent : -intent, pos = wp > 0.5 ? intent : -intent, neg = wm > 0.5 ? intent : -intent;
            int at_plus = !isnan(wb) && !isnan(wp), at_minus = !isnan(wb) && !isnan(wm) && (at_plus || rule->own_cells);
            if (at_plus) {
                *(ref > 0 ? &r.n_cho : &r.n_rej) += weight;
                if (ref < 0 && pos > 0) r.fix += weight;
                if (ref > 0 && pos < 0) r.broke += weight;
                sum_p += weight * plus->logit[i], n_p += weight;
            }
            if (!at_minus) continue;
            *(ref > 0 ? &r.n_cho_minus : &r.n_rej_minus) += weight;
            if (ref > 0 && neg < 0) r.flip_rev += weight;
            if (ref < 0 && neg > 0) r.counter += weight;
            sum_m += weight * minus->logit[i], n_m += weight;
        }
    }
    if (!rule->own_cells) r.n_cho_minus = r.n_cho, r.n_rej_minus = r.n_rej;
    r.fwd = r.n_cho > 0 && r.n_rej > 0 ? r.fix / r.n_rej - k * r.broke / r.n_cho : NAN;
    r.rev = minus && r.n_cho_minus > 0 && r.n_rej_minus > 0 ? r.flip_rev / r.n_cho_minus - k * r.counter / r.n_rej_minus
                                                            : NAN;
    double arms[2] = {r.fwd, r.rev};
    r.raw = ws_mean(arms, 2);
    r.pmass_plus = mean_mass(g, plus, times, rule->frame_min, &r.pmass_nan);
    r.pmass_minus = minus ? mean_mass(g, minus, times, rule->frame_min, &r.pmass_nan) : NAN;
    double low = r.pmass_minus < r.pmass_plus ? r.pmass_minus : r.pmass_plus;
    r.pmass_scale = 100 * low * low;
    r.si = r.raw * r.pmass_scale;
    r.separation = n_p > 0 && n_m > 0 ? intent * (sum_p / n_p - sum_m / n_m) : NAN;
    return r;
}

int ws_si_defined(const ws_si *s, int has_minus) {
    enum { FEW = 10 };
    return s->n_cho >= FEW && s->n_rej >= FEW && (!has_minus || (s->n_cho_minus >= FEW && s->n_rej_minus >= FEW));
}

ws_vig_effect ws_readout_effect(const ws_grid *g, const ws_answers *base, const ws_answers *x, const int *target,
                                const int *sign, int n_targets, const int *times) {
    ws_vig_effect r = {NAN, NAN, NAN, NAN, 0};
    double others = 0, sizes = 0;
    int n = 0;
    for (int f = 0; f < g->n_foundations; f++) {
        double mean = ws_readout_dlogit(g, base, x, f, times).mean;
        for (int t = 0; t < n_targets; t++)
            if (target[t] == f) r.axis += sign[t] * mean;
        if (n_targets && target[0] == f)
            r.target = mean;
        else
            others += mean, sizes += fabs(mean), n++;
    }
    if (n) r.others = others / n, r.abs_others = sizes / n;
    for (int t = 0; t < n_targets; t++)
        if (target[t] < 0) r.axis = NAN; /* a foundation that no vignette has */
    if (!n_targets) r.axis = NAN;
    r.specific = r.target - r.others;
    return r;
}

/* Pearson over pairs that count `times`; two passes, as ws_pearson. */
typedef struct pairs {
    double *x, *y;
    int *t;
    int n;
} pairs;
static double pearson(const pairs *p, int *used) {
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    int64_t n = 0;
    *used = 0;
    for (int i = 0; i < p->n; i++) mx += p->t[i] * p->x[i], my += p->t[i] * p->y[i], n += p->t[i];
    *used = (int)n;
    if (n < 2) return NAN;
    mx /= (double)n, my /= (double)n;
    for (int i = 0; i < p->n; i++) {
        double dx = p->x[i] - mx, dy = p->y[i] - my;
        xx += p->t[i] * dx * dx, yy += p->t[i] * dy * dy, xy += p->t[i] * dx * dy;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}
static void pair(pairs *p, double x, double y, int t) {
    if (isnan(x) || isnan(y) || !t) return;
    p->x[p->n] = x, p->y[p->n] = y, p->t[p->n++] = t;
}

typedef struct total {
    double sum;
    int64_t n;
} total;
static void count(total *t, double x, int times) {
    if (!isnan(x)) t->sum += times * x, t->n += times;
}
static double mean(total t) { return t.n ? t.sum / (double)t.n : NAN; }

ws_vig_headline ws_readout_headline(const ws_grid *g, const ws_answers *a, const int *times) {
    ws_vig_headline h = {0};
    size_t room = (size_t)g->n * 2 + 1;
    pairs frames = {ws_xmalloc(room * sizeof(double)), ws_xmalloc(room * sizeof(double)),
                    ws_xmalloc(room * sizeof(int)), 0};
    total other = {0}, gap = {0}, pw = {0}, pa = {0};
    for (int v = 0; v < g->n; v++) {
        int t = count_of(times, v);
        double s_other = 2 * a->w[2 * v] - 1, s_self = 2 * a->w[2 * v + 1] - 1;
        count(&other, s_other, t), count(&gap, s_other - s_self, t);
        for (int c = 0; c < 2; c++) {
            const double *p = a->p + 4 * v + 2 * c;
            pair(&frames, p[0], 1 - p[1], t);
            count(&pw, p[0], t), count(&pa, p[1], t);
            h.n_cells += t, h.n_valid += isnan(a->w[2 * v + c]) ? 0 : t;
        }
    }
    int used;
    h.agreement = pearson(&frames, &used);
    frames.n = 0;
    for (int v = 0; v < g->n; v++) pair(&frames, g->human[v], 2 * a->w[2 * v] - 1, count_of(times, v));
    h.human_r = pearson(&frames, &h.n_human);
    free(frames.x), free(frames.y), free(frames.t);
    h.s_other_vig = mean(other), h.gap_vig = mean(gap), h.p_wrong = mean(pw), h.p_accept = mean(pa);
    h.pmass = mean_mass(g, a, times, 0, &h.pmass_nan);
    total by_f = {0}, gap_f = {0};
    for (int f = 0; f < g->n_foundations; f++) {
        ws_foundation_row r = ws_readout_foundation(g, a, f, times);
        count(&by_f, r.s_other, 1), count(&gap_f, r.gap, 1);
    }
    h.s_other = mean(by_f), h.gap = mean(gap_f);
    return h;
}

ws_foundation_row ws_readout_foundation(const ws_grid *g, const ws_answers *a, int f, const int *times) {
    total w = {0}, other = {0}, self = {0}, gap = {0}, mass = {0};
    for (int v = 0; v < g->n; v++) {
        if (g->foundation[v] != f) continue;
        int t = count_of(times, v);
        double o = a->w[2 * v], s = a->w[2 * v + 1];
        count(&w, o, t), count(&w, s, t);
        count(&other, 2 * o - 1, t), count(&self, 2 * s - 1, t), count(&gap, 2 * o - 2 * s, t);
        for (int k = 0; k < 4; k++) count(&mass, a->mass[4 * v + k], t);
    }
    return (ws_foundation_row){mean(w), mean(other), mean(self), mean(gap), mean(mass)};
}

void ws_readout_draw(const ws_grid *g, uint64_t seed, int64_t draw, int *times) {
    int *of = ws_xmalloc((size_t)g->n * sizeof *of + 1);
    memset(times, 0, (size_t)g->n * sizeof *times);
    for (int f = 0; f < g->n_foundations; f++) {
        int n = 0;
        for (int v = 0; v < g->n; v++)
            if (g->foundation[v] == f) of[n++] = v;
        for (int v = 0; v < g->n; v++)
            if (g->foundation[v] == f) times[of[ws_boot_index(seed, "eval.vignettes", draw, v, n)]]++;
    }
    free(of);
}

int ws_readout_signal(const ws_vig_headline *h, double agreement_lo, double human_lo, char why[256]) {
    double coverage = h->n_cells ? (double)h->n_valid / h->n_cells : 0;
    if (!(h->pmass >= 0.5))
        snprintf(why, 256, "only %.0f%% of the base model's probability falls on true or false", 100 * h->pmass);
    else if (coverage < 0.5)
        snprintf(why, 256, "only %d of %d cells are above the probability floor at the base", h->n_valid, h->n_cells);
    else if (!(h->agreement >= 0.3) || !(agreement_lo > 0))
        snprintf(why, 256,
                 "the two frames do not agree at the base (r = %.2f, lower end %.2f): it answers true or false "
                 "whatever is asked",
                 h->agreement, agreement_lo);
    else if (h->n_human >= 10 && !(human_lo > 0))
        snprintf(why, 256, "the base model's answers do not follow the human ratings (r = %.2f, lower end %.2f)",
                 h->human_r, human_lo);
    else {
        snprintf(why, 256, "the two frames agree at the base (r = %.2f)", h->agreement);
        if (h->n_human >= 10)
            snprintf(why + strlen(why), 256 - strlen(why), ", and the answers follow the human ratings (r = %.2f)",
                     h->human_r);
        return 1;
    }
    return 0;
}
