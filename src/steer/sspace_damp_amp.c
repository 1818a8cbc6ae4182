/* src/steer/sspace_damp_amp.c - every mode of a linear's output is amplified or damped by exp(C dS_i), at most e^4 and e^-4.
 * exp is not odd, so the sign of a mode matters here; where the pairs leave it open, dS_i >= 0. */
#include "kernel/gemm.h"
#include "steer/frame.h"
#include <math.h>
#include <stdlib.h>

WS_ROOM(sspace_damp_amp)

static ws_status prepare(ws_extraction *x, ws_vector *v, ws_err *err) {
    (void)v;
    return ws_frame_linears(x, err);
}
static ws_status extract(const ws_extraction *x, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    return ws_frame_extract(x, i, x->frame[i], v, 1, s, err);
}

/* U' [r, d] */
static ws_status make(ws_vector *v, ws_vector_site *s, ws_err *err) {
    float *t = ws_try_alloc((size_t)(s->k * s->d), sizeof *t);
    if (!t) return ws_fail(err, WS_ENOMEM, "out of memory for the S-space of %s", ws_model_site(v->m, s->site)->name);
    for (int64_t i = 0; i < s->d; i++)
        for (int64_t j = 0; j < s->k; j++) t[j * s->d + i] = s->t[WS_FRAME_U][i * s->k + j];
    s->made = t;
    return WS_OK;
}
static void unmake(ws_vector_site *s) { free(s->made), s->made = NULL; }

static void apply(const ws_vector *v, const ws_vector_site *s, int64_t n, float *y, const float *c, ws_arena *a) {
    (void)v;
    const float *ds = s->t[WS_FRAME_DS];
    float *x = ws_arena_floats(a, n * s->d), *z = ws_arena_floats(a, n * s->k);
    const ws_weight in = ws_weight_f32(s->made, s->k, s->d, s->d),
                    out = ws_weight_f32(s->t[WS_FRAME_U], s->d, s->k, s->k);
    ws_frame_centre(x, s, n, y);
    ws_gemm_nt(z, s->k, x, s->d, n, &in, 0);
    for (int64_t t = 0; t < n; t++)
        for (int64_t j = 0; j < s->k; j++) {
            double e = (double)c[t] * (double)ds[j];
            z[t * s->k + j] = (float)((double)z[t * s->k + j] * expm1(e > 4 ? 4 : e < -4 ? -4 : e));
        }
    ws_gemm_nt(y, s->d, z, s->k, n, &out, 1);
}

static const ws_hidden_ops hidden = {.site = WS_SITE_LINEAR,
                                     .key = {WS_FRAME_KEYS, {"b", "d", 1}},
                                     .prepare = prepare,
                                     .extract = extract,
                                     .make = make,
                                     .unmake = unmake,
                                     .apply = apply,
                                     .nominal = 1};

const ws_steer_ops ws_steer_sspace_damp_amp = {.name = "sspace_damp_amp",
                                               .title = "every mode of a linear's output times exp(C dS_i)",
                                               .unit = "log gain times dS",
                                               .bracket_lo = 1 / 64.0,
                                               .bracket_hi = 256,
                                               .identity_at_zero = 1,
                                               .two_sided = 1,
                                               .hidden = &hidden};
