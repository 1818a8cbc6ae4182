#include "report/axis.h"
#include "base/err.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The smallest of 1, 2, 5 x 10^k that is not below `raw`. */
static double nice_step(double raw) {
    double p = pow(10, floor(log10(raw))), f = raw / p;
    return p * (f <= 1.0000001 ? 1 : f <= 2.0000001 ? 2 : f <= 5.0000001 ? 5 : 10);
}

static void tick(ws_axis *a, double v, int decimals) {
    if (a->n >= WS_AXIS_TICKS) return;
    a->tick[a->n] = v;
    if (decimals >= 0)
        snprintf(a->label[a->n], sizeof a->label[0], "%.*f", decimals, v == 0 ? 0.0 : v);
    else
        snprintf(a->label[a->n], sizeof a->label[0], "%g", v);
    a->n++;
}

static void fit_linear(ws_axis *a, double lo, double hi, int want, int tight) {
    if (hi - lo <= 1e-9 * fmax(fabs(lo), fabs(hi)) || hi == lo) {
        double w = lo == 0 ? 1 : fabs(lo) * 0.5;
        lo -= w, hi += w;
    }
    double step = nice_step((hi - lo) / want);
    double first = floor(lo / step + 1e-9), last = ceil(hi / step - 1e-9);
    if (tight) {
        double m = 0.04 * (hi - lo);
        a->lo = lo - m, a->hi = hi + m;
        first = ceil(a->lo / step - 1e-9), last = floor(a->hi / step + 1e-9);
    } else
        a->lo = first * step, a->hi = last * step;
    int decimals = step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
    if (decimals > 6 || fabs(a->lo) >= 1e6 || fabs(a->hi) >= 1e6) decimals = -1;
    int n = (int)(last - first + 0.5);
    for (int k = 0; k <= n; k++) tick(a, (first + k) * step, decimals);
}

static void fit_log(ws_axis *a, double lo, double hi) {
    WS_ASSERT(lo > 0 && hi > 0);
    if (hi / lo < 2) lo /= 1.5, hi *= 1.5;
    double m = pow(hi / lo, 0.05);
    a->lo = lo / m, a->hi = hi * m;
    double decades = log10(a->hi / a->lo);
    static const double some[] = {1, 2, 5}, many[] = {1, 1.5, 2, 3, 4, 5, 7};
    const double *mult = decades <= 1.2 ? many : some;
    int kinds = decades <= 1.2 ? 7 : decades <= 3.2 ? 3 : 1, every = decades > 12 ? (int)ceil(decades / 8) : 1;
    for (int e = (int)floor(log10(a->lo)); e <= (int)ceil(log10(a->hi)); e++)
        for (int i = 0; i < kinds; i++) {
            double v = mult[i] * pow(10, e);
            if (e % every == 0 && v >= a->lo * (1 - 1e-9) && v <= a->hi * (1 + 1e-9)) tick(a, v, -1);
        }
}

void ws_axis_fit(ws_axis *a, double lo, double hi, int log, int want, int tight) {
    memset(a, 0, sizeof *a);
    WS_ASSERT(isfinite(lo) && isfinite(hi) && lo <= hi && want > 0);
    a->log = log;
    if (log)
        fit_log(a, lo, hi);
    else
        fit_linear(a, lo, hi, want, tight);
}

double ws_axis_at(const ws_axis *a, double v) {
    if (a->log) return (log(v) - log(a->lo)) / (log(a->hi) - log(a->lo));
    return (v - a->lo) / (a->hi - a->lo);
}
