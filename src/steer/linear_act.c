/* src/steer/linear_act.c - each coordinate is transported from NEG's distribution to POS's by a line (Linear-AcT: Rodriguez et
 * al. 2024, arXiv:2410.23054) and blended in. */
#include "steer/room.h"
#include <math.h>
#include <stdlib.h>

WS_ROOM(linear_act)

enum { OMEGA, BETA };

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* w = sum(a b) / sum(a^2) of the sorted, centred values.  A coordinate that NEG leaves constant has no slope: it is moved as it
 * is, w = 1. */
static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    (void)v;
    const ws_states *h = &e->at[i];
    float *a = ws_xmalloc((size_t)e->n * sizeof *a), *b = ws_xmalloc((size_t)e->n * sizeof *b);
    s->t[OMEGA] = ws_xmalloc((size_t)s->d * sizeof(float)), s->t[BETA] = ws_xmalloc((size_t)s->d * sizeof(float));
    ws_status st = WS_OK;
    for (int64_t j = 0; j < s->d && !st; j++) {
        double ma = 0, mb = 0, ab = 0, aa = 0, largest = 0;
        for (int64_t t = 0; t < e->n; t++) {
            a[t] = h->neg[t * s->d + j], b[t] = h->pos[t * s->d + j];
            ma += (double)a[t] / (double)e->n, mb += (double)b[t] / (double)e->n;
            if (fabs((double)a[t]) > largest) largest = fabs((double)a[t]);
        }
        qsort(a, (size_t)e->n, sizeof *a, ascending), qsort(b, (size_t)e->n, sizeof *b, ascending);
        for (int64_t t = 0; t < e->n; t++)
            ab += ((double)a[t] - ma) * ((double)b[t] - mb), aa += ((double)a[t] - ma) * ((double)a[t] - ma);
        double w = sqrt(aa / (double)e->n) > 1e-6 * largest ? ab / aa : 1, beta = mb - w * ma;
        if (!isfinite(w) || !isfinite(beta))
            st = ws_fail(err, WS_ENONFINITE, "linear_act at %s: coordinate %lld is NaN or infinite",
                         ws_extract_where(e, i), (long long)j);
        s->t[OMEGA][j] = (float)w, s->t[BETA][j] = (float)beta;
    }
    free(a), free(b);
    return st;
}

static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    (void)v;
    const float *w = s->t[OMEGA], *beta = s->t[BETA];
    for (int64_t i = 0; i < s->d; i++) {
        double x = (double)y[i];
        y[i] = (float)((1 - c) * x + c * ((double)w[i] * x + (double)beta[i]));
    }
}

static const ws_hidden_ops hidden = {.site = WS_SITE_BLOCK,
                                     .key = {{"omega", "d", 0}, {"beta", "d", 0}},
                                     .extract = extract,
                                     .token = token,
                                     .nominal = 0.25};

const ws_steer_ops ws_steer_linear_act = {.name = "linear_act",
                                          .title = "(1 - C) y + C (omega y + beta), a line a coordinate",
                                          .unit = "share of the transported state",
                                          .bracket_lo = 1 / 1024.0,
                                          .bracket_hi = 1,
                                          .ends = 1,
                                          .identity_at_zero = 1,
                                          .two_sided = 1,
                                          .hidden = &hidden};
