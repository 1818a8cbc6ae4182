/* src/steer/sspace_ablate.c - the coordinate along dS in S-space is set to C.  At C = 0 it is the ablation, not the identity. */
#include "base/parallel.h"
#include "steer/frame.h"

WS_ROOM(sspace_ablate)

static ws_status prepare(ws_extraction *x, ws_vector *v, ws_err *err) {
    (void)v;
    return ws_frame_linears(x, err);
}
static ws_status extract(const ws_extraction *x, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    return ws_frame_extract(x, i, x->frame[i], v, 0, s, err);
}

/* x_S . dS = (y - b) . probe, so no product with U is needed. */
static void token(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    (void)v;
    const ws_framed *f = s->made;
    double along = ws_dot(y, f->probe, s->d) - (s->t[WS_FRAME_B] ? ws_dot(s->t[WS_FRAME_B], f->probe, s->d) : 0);
    ws_add_scaled(y, c - along, f->towards, s->d);
}

static const ws_hidden_ops hidden = {.site = WS_SITE_LINEAR,
                                     .key = {WS_FRAME_KEYS, {"b", "d", 1}},
                                     .prepare = prepare,
                                     .extract = extract,
                                     .make = ws_frame_make,
                                     .unmake = ws_frame_unmake,
                                     .token = token,
                                     .nominal = 0.1};

const ws_steer_ops ws_steer_sspace_ablate = {.name = "sspace_ablate",
                                             .title = "y + ((C - x_S.dS) dS sqrt S) U', in W's singular vectors",
                                             .unit = "coordinate along dS in S-space",
                                             .bracket_lo = 1 / 1024.0,
                                             .bracket_hi = 4,
                                             .of_norm = 1,
                                             .two_sided = 1,
                                             .hidden = &hidden};
