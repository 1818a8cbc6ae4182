/* src/steer/chars.c - clusters of NEG are coupled to clusters of POS by optimal transport; a token moves along the coupling of
 * the clusters that it is near (CHaRS).
 *     P = Sinkhorn(|a_i - b_j|^2, p, q, lambda 0.1, 50 rounds)
 *     y + C sum_ij P_ij k_i (b_j - a_i) / max(sum_ij P_ij k_i, 1e-8),  k_i = exp(l_i - max l), l_i = -|y - a_i|^2 / (2 m)
 * In the log domain P has mass 1.  The reference works with exp(-cost / lambda) in fp32, which is 0 where a cost is above about
 * 10: on real states that is everywhere, and its map is the identity for every C (cfg.chars_clamp: that form). */
#include "base/log.h"
#include "linalg/kmeans.h"
#include "steer/room.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(chars)

enum { A, B, P, SHARE, SIGMA, SINKHORN = 50 };
static const double lambda = 0.1, floor_mass = 1e-8;

/* log sum_i exp(x[i * step]) */
static double log_sum(const double *x, int n, int step) {
    double top = -INFINITY, s = 0;
    for (int i = 0; i < n; i++) top = x[i * step] > top ? x[i * step] : top;
    if (top == -INFINITY) return top;
    for (int i = 0; i < n; i++) s += exp(x[i * step] - top);
    return top + log(s);
}

static void sinkhorn_log(double *out, const double *cost, const double *p, const double *q, int k) {
    double *u = ws_xcalloc((size_t)k, sizeof *u), *v = ws_xcalloc((size_t)k, sizeof *v),
           *x = ws_xmalloc((size_t)k * sizeof *x);
    for (int round = 0; round < SINKHORN; round++) {
        for (int j = 0; j < k; j++) {
            for (int i = 0; i < k; i++) x[i] = u[i] - cost[i * k + j] / lambda;
            v[j] = log(q[j]) - log_sum(x, k, 1);
        }
        for (int i = 0; i < k; i++) {
            for (int j = 0; j < k; j++) x[j] = v[j] - cost[i * k + j] / lambda;
            u[i] = log(p[i]) - log_sum(x, k, 1);
        }
    }
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) out[i * k + j] = exp(u[i] - cost[i * k + j] / lambda + v[j]);
    free(u), free(v), free(x);
}

static void sinkhorn_clamped(double *out, const double *cost, const double *p, const double *q, int k) {
    double *u = ws_xmalloc((size_t)k * sizeof *u), *v = ws_xmalloc((size_t)k * sizeof *v);
    for (int i = 0; i < k * k; i++) out[i] = (double)(float)exp(-cost[i] / lambda); /* fp32 makes the zeros */
    for (int i = 0; i < k; i++) u[i] = 1;
    for (int round = 0; round < SINKHORN; round++) {
        for (int j = 0; j < k; j++) {
            double s = 0;
            for (int i = 0; i < k; i++) s += out[i * k + j] * u[i];
            v[j] = q[j] / fmax(s, floor_mass);
        }
        for (int i = 0; i < k; i++) {
            double s = 0;
            for (int j = 0; j < k; j++) s += out[i * k + j] * v[j];
            u[i] = p[i] / fmax(s, floor_mass);
        }
    }
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) out[i * k + j] *= u[i] * v[j];
    free(u), free(v);
}

/* Clusters of one side: centroids c [k, d] and their shares [k]. */
static ws_status clusters(const float *h, int64_t n, int64_t d, int k, uint64_t seed, double *c, double *share,
                          ws_err *err) {
    double *x = ws_xmalloc((size_t)(n * d) * sizeof *x);
    int *of = ws_xmalloc((size_t)n * sizeof *of);
    for (int64_t i = 0; i < n * d; i++) x[i] = (double)h[i];
    ws_status st = ws_kmeans(x, n, d, k, seed, WS_KMEANS_TAKE_NEW, c, of, NULL, err);
    memset(share, 0, (size_t)k * sizeof *share);
    for (int64_t i = 0; i < n && !st; i++) share[of[i]] += 1 / (double)n;
    free(x), free(of);
    return st;
}

static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    int k = v->cfg.clusters;
    int64_t d = s->d;
    double *a = ws_xmalloc((size_t)(k * d) * sizeof *a), *b = ws_xmalloc((size_t)(k * d) * sizeof *b),
           *p = ws_xmalloc((size_t)k * sizeof *p), *q = ws_xmalloc((size_t)k * sizeof *q),
           *cost = ws_xcalloc((size_t)(k * k), sizeof *cost), *plan = ws_xmalloc((size_t)(k * k) * sizeof *plan);
    ws_status st = clusters(e->at[i].neg, e->n, d, k, v->cfg.seed, a, p, err);
    if (!st) st = clusters(e->at[i].pos, e->n, d, k, v->cfg.seed + 1, b, q, err);
    if (st) ws_fail_prefix(err, "chars at %s", ws_extract_where(e, i));
    if (!st) {
        for (int r = 0; r < k * k; r++)
            for (int64_t j = 0; j < d; j++) {
                double x = a[r / k * d + j] - b[r % k * d + j];
                cost[r] += x * x;
            }
        (v->cfg.chars_clamp ? sinkhorn_clamped : sinkhorn_log)(plan, cost, p, q, k);
        s->k = k;
        s->t[A] = ws_xmalloc((size_t)(k * d) * sizeof(float)), s->t[B] = ws_xmalloc((size_t)(k * d) * sizeof(float));
        s->t[P] = ws_xmalloc((size_t)(k * k) * sizeof(float)), s->t[SHARE] = ws_xmalloc((size_t)k * sizeof(float));
        for (int64_t j = 0; j < k * d; j++) s->t[A][j] = (float)a[j], s->t[B][j] = (float)b[j];
        for (int j = 0; j < k * k; j++) s->t[P][j] = (float)plan[j];
        for (int j = 0; j < k; j++) s->t[SHARE][j] = (float)p[j];
        if (v->cfg.sigma > 0) s->t[SIGMA] = ws_xmalloc(sizeof(float)), s->t[SIGMA][0] = (float)v->cfg.sigma;
    }
    free(a), free(b), free(p), free(q), free(cost), free(plan);
    return st;
}

static void report(const ws_vector *v) {
    int empty = 0;
    double most = 0;
    for (int i = 0; i < v->n; i++) {
        double mass = 0;
        for (int64_t j = 0; j < v->site[i].k * v->site[i].k; j++) mass += (double)v->site[i].t[P][j];
        empty += mass<0.5, most = mass> most ? mass : most;
    }
    if (empty)
        ws_warn("chars: at %d of %d layers the coupling has no mass (at most %.3g of 1), so there the map is the "
                "identity for "
                "every strength, or nearly; --chars log keeps the mass",
                empty, v->n, most);
}

/* What cluster i contributes: sum_j P_ij (b_j - a_i) [k, d], and its mass [k] behind them. */
static ws_status make(ws_vector *v, ws_vector_site *s, ws_err *err) {
    (void)v, (void)err;
    int64_t k = s->k, d = s->d;
    double *move = ws_xcalloc((size_t)(k * d + k), sizeof *move);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) {
            double w = (double)s->t[P][i * k + j];
            move[k * d + i] += w;
            for (int64_t t = 0; t < d; t++)
                move[i * d + t] += w * ((double)s->t[B][j * d + t] - (double)s->t[A][i * d + t]);
        }
    s->made = move;
    return WS_OK;
}
static void unmake(ws_vector_site *s) { free(s->made), s->made = NULL; }

enum { MOST = 64 }; /* clusters */

static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    const double *move = s->made, *mass = move + s->k * s->d;
    double far[MOST], sorted[MOST], near = INFINITY, total = 0, width;
    int64_t k = s->k, d = s->d;
    for (int64_t i = 0; i < k; i++) {
        double sum[4] = {0};
        for (int64_t t = 0; t < d; t++) {
            double x = (double)y[t] - (double)s->t[A][i * d + t];
            sum[t & 3] += x * x;
        }
        double x = far[i] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        int64_t at = i;
        for (; at > 0 && sorted[at - 1] > x; at--) sorted[at] = sorted[at - 1];
        sorted[at] = x, near = x < near ? x : near;
    }
    width = v->cfg.sigma > 0 ? v->cfg.sigma * v->cfg.sigma : fmax(sorted[(k - 1) / 2], 1e-8);
    for (int64_t i = 0; i < k; i++) far[i] = exp((near - far[i]) / (2 * width)), total += far[i] * mass[i];
    double scale = c / fmax(total, floor_mass);
    for (int64_t t = 0; t < d; t++) {
        double x = 0;
        for (int64_t i = 0; i < k; i++) x += far[i] * move[i * d + t];
        y[t] = (float)((double)y[t] + scale * x);
    }
}

static const ws_hidden_ops hidden = {
    .site = WS_SITE_BLOCK,
    .key = {{"a", "kd", 0}, {"b", "kd", 0}, {"P", "kk", 0}, {"p", "k", 0}, {"sigma", "", 1}},
    .most = MOST,
    .extract = extract,
    .make = make,
    .unmake = unmake,
    .token = token,
    .report = report,
    .nominal = 0.25};

const ws_steer_ops ws_steer_chars = {.name = "chars",
                                     .title = "y + C times the transport of the clusters that y is near",
                                     .unit = "share of the transport",
                                     .bracket_lo = 1 / 256.0,
                                     .bracket_hi = 4,
                                     .identity_at_zero = 1,
                                     .two_sided = 1,
                                     .hidden = &hidden};
