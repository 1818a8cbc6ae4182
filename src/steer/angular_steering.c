/* src/steer/angular_steering.c - in the plane of mean D and of the first principal direction of the unit differences the state
 * is set to the angle C; what lies outside the plane, and the length inside, stay (Vu and Nguyen 2025, arXiv:2510.26243).
 * The angle is absolute: C = 0 is the direction b1, not where the state was. */
#include "steer/room.h"
#include <math.h>
#include <stdlib.h>

WS_ROOM(angular_steering)

static ws_status extract(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    (void)v;
    int64_t d = s->d;
    double *mean = ws_xmalloc((size_t)d * sizeof *mean), *r = ws_differences(e, i),
           *p = ws_xmalloc((size_t)d * sizeof *p);
    ws_mean_diff(mean, e, i);
    s->t[0] = ws_xmalloc((size_t)d * sizeof(float)), s->t[1] = ws_xmalloc((size_t)d * sizeof(float));
    ws_status st = ws_unit(s->t[0], mean, d, e, i, err);
    for (int64_t t = 0; t < e->n; t++) {
        double sq = 0, scale;
        for (int64_t j = 0; j < d; j++) sq += r[t * d + j] * r[t * d + j];
        scale = 1 / (sqrt(sq) + WS_UNIT_EPS);
        for (int64_t j = 0; j < d; j++) r[t * d + j] *= scale;
    }
    if (!st && (st = ws_first_direction(p, r, e->n, d, err)))
        ws_fail_prefix(err, "angular_steering at %s", ws_extract_where(e, i));
    double along = 0, sq = 0, largest = 0;
    for (int64_t j = 0; j < d && !st; j++) along += p[j] * (double)s->t[0][j];
    for (int64_t j = 0; j < d && !st; j++) {
        p[j] -= along * (double)s->t[0][j], sq += p[j] * p[j];
        if (fabs(p[j]) > fabs(largest)) largest = p[j]; /* b2 has no sign of its own: its largest number is positive */
    }
    if (!st && !(sq > 1e-24))
        st = ws_fail(err, WS_EFORMAT,
                     "angular_steering at %s: the differences vary along their own mean alone, so they span no plane",
                     ws_extract_where(e, i));
    double scale = (largest < 0 ? -1 : 1) / (sqrt(sq) + WS_UNIT_EPS);
    for (int64_t j = 0; j < d && !st; j++) s->t[1][j] = (float)(p[j] * scale);
    free(mean), free(r), free(p);
    return st;
}

static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    (void)v;
    const float *b1 = s->t[0], *b2 = s->t[1];
    double p = ws_dot(y, b1, s->d), q = ws_dot(y, b2, s->d), length = hypot(p, q);
    double to1 = length * cos(c) - p, to2 = length * sin(c) - q;
    for (int64_t i = 0; i < s->d; i++) y[i] = (float)((double)y[i] + to1 * (double)b1[i] + to2 * (double)b2[i]);
}

static const ws_hidden_ops hidden = {
    .site = WS_SITE_BLOCK, .key = {{"b1", "d", 0}, {"b2", "d", 0}}, .extract = extract, .token = token, .nominal = 0.5};

#define PI 3.14159265358979323846
const ws_steer_ops ws_steer_angular_steering = {.name = "angular_steering",
                                                .title = "y set to the angle C in the plane of two directions",
                                                .unit = "radians",
                                                .bracket_lo = PI / 1024,
                                                .bracket_hi = PI,
                                                .ends = 1,
                                                .two_sided = 1,
                                                .hidden = &hidden};
