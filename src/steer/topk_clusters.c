/* src/steer/topk_clusters.c - k directions instead of one: cosine k-means of the differences; a token is pushed along the one
 * that it is most like. */
#include "linalg/kmeans.h"
#include "steer/room.h"
#include <stdlib.h>

WS_ROOM(topk_clusters)

static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    int k = v->cfg.clusters, *of = ws_xmalloc((size_t)e->n * sizeof *of);
    double *x = ws_differences(e, i), *c = ws_xmalloc((size_t)(k * s->d) * sizeof *c),
           *mean = ws_xmalloc((size_t)s->d * sizeof *mean);
    ws_mean_diff(mean, e, i);
    ws_status st = ws_kmeans(x, e->n, s->d, k, v->cfg.seed, WS_KMEANS_KEEP_OLD, c, of, NULL, err);
    s->k = k, s->t[0] = ws_xmalloc((size_t)(k * s->d) * sizeof(float));
    for (int j = 0; j < k && !st; j++) {
        double *to = c + j * s->d, along = 0;
        for (int64_t t = 0; t < s->d; t++) along += to[t] * mean[t];
        for (int64_t t = 0; along < 0 && t < s->d; t++) to[t] = -to[t];
        st = ws_unit(s->t[0] + j * s->d, to, s->d, e, i, err);
    }
    if (st) ws_fail_prefix(err, "topk_clusters at %s", ws_extract_where(e, i));
    free(of), free(x), free(c), free(mean);
    return st;
}

/* The length of y is the same for all of them, so it is left out of the cosine. */
static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    (void)v;
    const float *best = s->t[0];
    double most = 0;
    for (int64_t j = 0; j < s->k; j++) {
        const float *x = s->t[0] + j * s->d;
        double cosine = ws_dot(y, x, s->d) / (ws_length(x, s->d) + WS_UNIT_EPS);
        if (!j || cosine > most) most = cosine, best = x;
    }
    ws_add_scaled(y, c, best, s->d);
}

static const ws_hidden_ops hidden = {
    .site = WS_SITE_BLOCK, .key = {{"C", "kd", 0}}, .extract = extract, .token = token, .nominal = 0.1};

const ws_steer_ops ws_steer_topk_clusters = {.name = "topk_clusters",
                                             .title = "y + C c_j, the cluster of H+ - H- that y is most like",
                                             WS_STEER_ADDITIVE,
                                             .hidden = &hidden};
