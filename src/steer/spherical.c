/* src/steer/spherical.c - the state is turned towards v along the great circle; its length stays.
 * The angle comes from atan2, which keeps its digits where y is nearly parallel to v.  A state that is zero, or points exactly
 * along v or against it, has no great circle to v and stays. */
#include "steer/room.h"
#include <math.h>

WS_ROOM(spherical)

static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    (void)v;
    const float *u = s->t[0];
    double length = ws_length(y, s->d), unit = ws_length(u, s->d);
    if (length == 0) return;
    double cosine = ws_dot(y, u, s->d) / (length * unit), across = 0;
    for (int64_t i = 0; i < s->d; i++) {
        double x = (double)y[i] / length - cosine * (double)u[i] / unit;
        across += x * x;
    }
    double sine = sqrt(across), angle = atan2(sine, cosine);
    if (sine < 1e-9) return;
    double keep = sin((1 - c) * angle) / sine, turn = length * sin(c * angle) / (sine * unit);
    for (int64_t i = 0; i < s->d; i++) y[i] = (float)(keep * (double)y[i] + turn * (double)u[i]);
}

static const ws_hidden_ops hidden = {
    .site = WS_SITE_BLOCK, .key = {{"v", "d", 0}}, .extract = ws_extract_mean_diff, .token = token, .nominal = 0.25};

const ws_steer_ops ws_steer_spherical = {.name = "spherical",
                                         .title = "y turned by the share C of its angle to v",
                                         .unit = "share of the angle to v",
                                         .bracket_lo = 1 / 1024.0,
                                         .bracket_hi = 1,
                                         .ends = 1,
                                         .identity_at_zero = 1,
                                         .two_sided = 1,
                                         .hidden = &hidden};
