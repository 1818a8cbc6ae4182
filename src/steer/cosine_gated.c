/* src/steer/cosine_gated.c - mean_diff's vector, added as far as the token already speaks of it (in the manner of CAST: Lee et
 * al. 2024, arXiv:2409.05907). */
#include "steer/room.h"
#include <math.h>

WS_ROOM(cosine_gated)

static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    double gate = fabs(ws_cosine(y, s->t[0], s->d)) - v->cfg.tau;
    if (gate > 0) ws_add_scaled(y, c * gate, s->t[0], s->d);
}

static const ws_hidden_ops hidden = {
    .site = WS_SITE_BLOCK, .key = {{"v", "d", 0}}, .extract = ws_extract_mean_diff, .token = token, .nominal = 0.1};

/* The gate is a cosine, a few hundredths in a wide residual, so the strengths are larger. */
const ws_steer_ops ws_steer_cosine_gated = {.name = "cosine_gated",
                                            .title = "y + C max(0, |cos(y, v)| - tau) v",
                                            .unit = "multiple of a unit vector, times a cosine",
                                            .bracket_lo = 1 / 128.0,
                                            .bracket_hi = 128,
                                            .of_norm = 1,
                                            .identity_at_zero = 1,
                                            .two_sided = 1,
                                            .hidden = &hidden};
