/* src/steer/pca.c - the first principal direction of the differences (RepE: Zou et al. 2023, arXiv:2310.01405).
 * A principal direction has no sign of its own.  Ours points along mean D, so that plus is towards POS; the reference votes
 * by the centred projections, which look away from the mean (cfg.pca_vote). */
#include "steer/room.h"
#include <math.h>
#include <stdlib.h>

WS_ROOM(pca)

static double project(const double *v, const double *x, int64_t d) {
    double s = 0;
    for (int64_t j = 0; j < d; j++) s += v[j] * x[j];
    return s;
}

/* x [n, d] centred: + if more than half of the projections are above 0, - if fewer; at half the largest decides. */
static double vote(const double *v, const double *x, int64_t n, int64_t d) {
    int64_t above = 0;
    double largest = 0;
    for (int64_t r = 0; r < n; r++) {
        double p = project(v, x + r * d, d);
        above += p > 0;
        if (fabs(p) > fabs(largest)) largest = p;
    }
    return 2 * above > n ? 1 : 2 * above < n ? -1 : largest < 0 ? -1 : 1;
}

static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    double *x = ws_differences(e, i), *mean = ws_xcalloc((size_t)s->d, sizeof *mean),
           *dir = ws_xmalloc((size_t)s->d * sizeof *dir), sign = 1;
    ws_mean_diff(mean, e, i);
    ws_status st = ws_first_direction(dir, x, e->n, s->d, err);
    if (st) ws_fail_prefix(err, "pca at %s", ws_extract_where(e, i));
    if (!st && v->cfg.pca_vote) {
        free(x), x = ws_differences(e, i); /* the decomposition used it up */
        for (int64_t r = 0; r < e->n; r++)
            for (int64_t j = 0; j < s->d; j++) x[r * s->d + j] -= mean[j];
        sign = vote(dir, x, e->n, s->d);
    } else if (!st && project(dir, mean, s->d) < 0)
        sign = -1;
    s->t[0] = ws_xmalloc((size_t)s->d * sizeof(float));
    for (int64_t j = 0; j < s->d && !st; j++) s->t[0][j] = (float)(sign * dir[j]);
    free(x), free(mean), free(dir);
    return st;
}

static const ws_hidden_ops hidden = {.site = WS_SITE_BLOCK,
                                     .key = {{"v", "d", 0}},
                                     .extract = extract,
                                     .token = ws_token_add,
                                     .adds_up = 1,
                                     .nominal = 0.1};

const ws_steer_ops ws_steer_pca = {
    .name = "pca", .title = "y + C v, v = first principal direction of H+ - H-", WS_STEER_ADDITIVE, .hidden = &hidden};
