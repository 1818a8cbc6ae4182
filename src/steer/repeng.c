/* src/steer/repeng.c - repeng's control vector: the first principal direction of the differences, turned so that more pairs
 * have h+.v > h-.v than less; added at strength 0.75 there, calibrated like every other row here. */
#include "steer/room.h"
#include <stdlib.h>

WS_ROOM(repeng)

static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    (void)v;
    double *x = ws_differences(e, i), *dir = ws_xmalloc((size_t)s->d * sizeof *dir), along = 0;
    ws_status st = ws_first_direction(dir, x, e->n, s->d, err);
    if (st) ws_fail_prefix(err, "repeng at %s", ws_extract_where(e, i));
    free(x), x = ws_differences(e, i);
    int64_t votes = 0;
    for (int64_t r = 0; r < e->n && !st; r++) {
        double p = 0;
        for (int64_t j = 0; j < s->d; j++) p += dir[j] * x[r * s->d + j];
        votes += (p > 0) - (p < 0), along += p;
    }
    double sign = votes < 0 || (votes == 0 && along < 0) ? -1 : 1;
    s->t[0] = ws_xmalloc((size_t)s->d * sizeof(float));
    for (int64_t j = 0; j < s->d && !st; j++) s->t[0][j] = (float)(sign * dir[j]);
    free(x), free(dir);
    return st;
}

static const char *same_as(const ws_vector_cfg *cfg, const char **why) {
    (void)cfg;
    *why = "the same principal direction up to its sign, which each decides by its own rule in every layer";
    return "pca";
}

static const ws_hidden_ops hidden = {.site = WS_SITE_BLOCK,
                                     .key = {{"v", "d", 0}},
                                     .extract = extract,
                                     .token = ws_token_add,
                                     .adds_up = 1,
                                     .nominal = 0.1,
                                     .same_as = same_as};

const ws_steer_ops ws_steer_repeng = {.name = "repeng",
                                      .title = "y + C v, repeng's PCA of H+ - H-, its sign by the pairs",
                                      WS_STEER_ADDITIVE,
                                      .hidden = &hidden};
