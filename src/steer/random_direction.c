/* src/steer/random_direction.c - a control: a random unit vector in every layer, a function of the seed alone.  What it does at
 * the same KL is what any push of that size does. */
#include "base/rng.h"
#include "steer/room.h"
#include <stdlib.h>

WS_ROOM(random_direction)

static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    float *bell = ws_xmalloc((size_t)s->d * sizeof *bell);
    double *x = ws_xmalloc((size_t)s->d * sizeof *x);
    ws_counter_bell(bell, s->d,
                    ws_counter_u64(v->cfg.seed, "steer.random", (uint64_t)ws_model_site(e->m, s->site)->layer, 0), 0);
    for (int64_t j = 0; j < s->d; j++) x[j] = (double)bell[j];
    s->t[0] = ws_xmalloc((size_t)s->d * sizeof(float));
    ws_status st = ws_unit(s->t[0], x, s->d, e, i, err);
    free(bell), free(x);
    return st;
}

static const ws_hidden_ops hidden = {.site = WS_SITE_BLOCK,
                                     .key = {{"v", "d", 0}},
                                     .extract = extract,
                                     .token = ws_token_add,
                                     .adds_up = 1,
                                     .nominal = 0.1};

const ws_steer_ops ws_steer_random_direction = {.name = "random_direction",
                                                .title = "y + C v, v random: the control",
                                                .control = 1,
                                                WS_STEER_ADDITIVE,
                                                .hidden = &hidden};
