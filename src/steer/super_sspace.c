/* src/steer/super_sspace.c - sspace on the residual, in one frame for all layers: the eigenvectors of what the linears of the
 * chosen layers read from it and write into it.  At full rank the layers share U and sqrt S. */
#include "steer/frame.h"
#include <stdlib.h>
#include <string.h>

WS_ROOM(super_sspace)

static ws_status prepare(ws_extraction *x, ws_vector *v, ws_err *err) {
    if (ws_frame_residual(x, err)) return err->code;
    const ws_frame *f = x->super;
    if (!v || (v->cfg.rank > 0 && v->cfg.rank < f->r)) return WS_OK;
    float *u = ws_try_alloc((size_t)(f->d * f->r), sizeof *u), *root = ws_try_alloc((size_t)f->r, sizeof *root);
    v->shared[WS_FRAME_U] = u, v->shared[WS_FRAME_SQRT_S] = root;
    if (!u || !root) return ws_fail(err, WS_ENOMEM, "out of memory for the residual's S-space");
    memcpy(u, f->u, (size_t)(f->d * f->r) * sizeof *u), memcpy(root, f->sqrt_s, (size_t)f->r * sizeof *root);
    return WS_OK;
}
static ws_status extract(const ws_extraction *x, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    return ws_frame_extract(x, i, x->super, v, 0, s, err);
}

static const ws_hidden_ops hidden = {.site = WS_SITE_BLOCK,
                                     .key = {WS_FRAME_KEYS},
                                     .prepare = prepare,
                                     .extract = extract,
                                     .make = ws_frame_make,
                                     .unmake = ws_frame_unmake,
                                     .apply = ws_frame_steer,
                                     .nominal = 0.1};

const ws_steer_ops ws_steer_super_sspace = {.name = "super_sspace",
                                            .title = "sspace on the residual, one frame for all layers",
                                            .unit = "length in S-space, times a cosine",
                                            .bracket_lo = 1 / 128.0,
                                            .bracket_hi = 128,
                                            .of_norm = 1,
                                            .identity_at_zero = 1,
                                            .two_sided = 1,
                                            .hidden = &hidden};
