/* src/steer/mean_centred.c - the mean state of POS, centred: v = unit(mean H+ - centre).
 * Centred by the mean of all rows, as published, it is mean_diff's vector for equally many rows of both sides: mean H+ - (mean
 * H+ + mean H-) / 2 is half of the difference.  Centred by a neutral corpus it is another one. */
#include "steer/room.h"
#include <stdlib.h>

WS_ROOM(mean_centred)

static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    if (!v->cfg.neutral) return ws_extract_mean_diff(e, i, v, s, err);
    const ws_states *h = &e->at[i];
    if (!h->neutral)
        return ws_fail(err, WS_EUSAGE, "mean_centred: there are no states of a neutral corpus (--neutral FILE)");
    double *x = ws_xmalloc((size_t)s->d * sizeof *x), *centre = ws_xmalloc((size_t)s->d * sizeof *centre);
    ws_mean_rows(x, h->pos, e->n, s->d);
    ws_mean_rows(centre, h->neutral, e->n_neutral, s->d);
    for (int64_t j = 0; j < s->d; j++) x[j] -= centre[j];
    s->t[0] = ws_xmalloc((size_t)s->d * sizeof(float));
    ws_status st = ws_unit(s->t[0], x, s->d, e, i, err);
    free(x), free(centre);
    return st;
}

static const char *same_as(const ws_vector_cfg *cfg, const char **why) {
    *why = "for equally many rows of both sides the two are one vector; --neutral FILE makes another of it";
    return cfg->neutral ? NULL : "mean_diff";
}

static const ws_hidden_ops hidden = {.site = WS_SITE_BLOCK,
                                     .key = {{"v", "d", 0}},
                                     .extract = extract,
                                     .token = ws_token_add,
                                     .adds_up = 1,
                                     .nominal = 0.1,
                                     .same_as = same_as};

const ws_steer_ops ws_steer_mean_centred = {.name = "mean_centred",
                                            .title = "y + C v, v = unit(mean H+ - mean of all, or of a neutral corpus)",
                                            WS_STEER_ADDITIVE,
                                            .hidden = &hidden};
