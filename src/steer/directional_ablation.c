/* src/steer/directional_ablation.c - the coordinate along v is set to C (Arditi et al. 2024, arXiv:2406.11717, and back in at
 * C).  At C = 0 it is the ablation, not the identity. */
#include "steer/room.h"

WS_ROOM(directional_ablation)

static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    (void)v;
    ws_add_scaled(y, c - ws_dot(y, s->t[0], s->d), s->t[0], s->d);
}

static const ws_hidden_ops hidden = {
    .site = WS_SITE_BLOCK, .key = {{"v", "d", 0}}, .extract = ws_extract_mean_diff, .token = token, .nominal = 0.1};

const ws_steer_ops ws_steer_directional_ablation = {.name = "directional_ablation",
                                                    .title = "y - (y.v) v + C v",
                                                    .unit = "coordinate along a unit vector",
                                                    .bracket_lo = 1 / 1024.0,
                                                    .bracket_hi = 4,
                                                    .of_norm = 1,
                                                    .two_sided = 1,
                                                    .hidden = &hidden};
