/* src/steer/sspace.c - a linear's output is pushed along dS in S-space, as far as it already points that way. */
#include "steer/frame.h"

WS_ROOM(sspace)

static ws_status prepare(ws_extraction *x, ws_vector *v, ws_err *err) {
    (void)v;
    return ws_frame_linears(x, err);
}
static ws_status extract(const ws_extraction *x, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    return ws_frame_extract(x, i, x->frame[i], v, 0, s, err);
}

static const ws_hidden_ops hidden = {.site = WS_SITE_LINEAR,
                                     .key = {WS_FRAME_KEYS, {"b", "d", 1}},
                                     .prepare = prepare,
                                     .extract = extract,
                                     .make = ws_frame_make,
                                     .unmake = ws_frame_unmake,
                                     .apply = ws_frame_steer,
                                     .nominal = 0.1};

const ws_steer_ops ws_steer_sspace = {.name = "sspace",
                                      .title = "y + (C |cos(x_S, dS)| dS sqrt S) U', in W's singular vectors",
                                      .unit = "length in S-space, times a cosine",
                                      .bracket_lo = 1 / 128.0,
                                      .bracket_hi = 128,
                                      .of_norm = 1,
                                      .identity_at_zero = 1,
                                      .two_sided = 1,
                                      .hidden = &hidden};
