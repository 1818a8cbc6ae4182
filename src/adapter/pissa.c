/* src/adapter/pissa.c - PiSSA: LoRA that starts from the largest singular vectors of the weight, which are taken out of it.
 * Meng et al. 2024, arXiv:2404.02948; arithmetic of PEFT (adapters.md 2.3), checked against PEFT 0.21.2.
 *     W ~ U_r S_r V_r^T       B0 = U_r sqrt(S_r / s)   A0 = sqrt(S_r / s) V_r^T
 *     W_res = W - s B0 A0     Y = X W_res^T + b + s (X A^T) B^T     A = A0, B = B0 at the start
 * The base weights stay as they are: W_res is a product of rank r beside them, like the adapter itself,
 *     Y = X W^T + b + s X [A ; A0]^T [B , -B0]^T.
 * A 16-bit base rounds A and B but not A0 and B0, as in PEFT; PEFT rounds W_res to the base's type besides, which is noise
 * that we leave out.  The file holds A and B only; A0 and B0 are made again from the base it is loaded on. */
#include "adapter/lowrank.h"
#include "linalg/linalg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(pissa)

enum { A = WS_LOWRANK_A, B };

static int claims(const json_t *c) { return ws_lowrank_is_pissa(c) && !ws_lowrank_is_dora(c); }

static ws_status check(const json_t *c, const char *where, ws_err *err) {
    const char *init = json_string_value(json_object_get(c, "init_lora_weights"));
    if (strcmp(init, "pissa"))
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "%s: init_lora_weights \"%s\": what was taken out of the base weights came from singular vectors "
            "found with random numbers, and no load finds the same again; convert the adapter to a plain LoRA "
            "with PEFT when it is saved",
            where, init);
    return ws_lowrank_check(c, where, err);
}

static ws_status site(ws_adapted *s, const json_t *c, const char *key, const char *where, ws_err *err) {
    if (ws_lowrank_site(s, c, key, where, err)) return err->code;
    int64_t most = s->at->d_in < s->at->d_out ? s->at->d_in : s->at->d_out;
    if (s->rank > most)
        return ws_fail(err, WS_EUSAGE, "%s: the rank of %s is %d, and its weight has only %lld singular vectors", where,
                       key, s->rank, (long long)most);
    if (!(s->scale > 0))
        return ws_fail(err, WS_EUSAGE, "%s: lora_alpha of %s is %g; PiSSA takes the root of it, so it must be above 0",
                       where, key, s->alpha);
    return WS_OK;
}

/* derived: [A ; A0] [2r, d_in], [B' ; -B0'] [2r, d_out] */
static int64_t derived_floats(const ws_adapted *s) { return 2 * s->rank * (s->at->d_in + s->at->d_out); }
static ws_lowrank factors(const ws_adapted *s) {
    return (ws_lowrank){2 * s->rank, s->derived, s->derived + 2 * s->rank * s->at->d_in};
}
static float *a0(const ws_adapted *s) { return s->derived + s->rank * s->at->d_in; }
static float *minus_b0(const ws_adapted *s) { return s->derived + s->rank * (2 * s->at->d_in + s->at->d_out); }

static ws_status prepare(ws_adapted *s, ws_err *err) {
    int64_t r = s->rank, m = s->at->d_out, n = s->at->d_in;
    double *u = ws_try_alloc((size_t)(m * r), sizeof *u), *v = ws_try_alloc((size_t)(r * n), sizeof *v),
           *value = ws_try_alloc((size_t)r, sizeof *value);
    ws_status st = WS_OK;
    if (!u || !v || !value)
        st = ws_fail(err, WS_ENOMEM, "out of memory for the singular vectors of %s", s->at->name);
    else if (ws_weight_svd(s->at->w, r, u, value, v, err))
        st = ws_fail_prefix(err, "%s", s->at->name);
    for (int64_t j = 0; j < r && !st; j++) {
        const double root = sqrt(value[j] / (double)s->scale);
        for (int64_t i = 0; i < n; i++) a0(s)[j * n + i] = (float)(root * v[j * n + i]);
        for (int64_t i = 0; i < m; i++) minus_b0(s)[j * m + i] = (float)(-root * u[i * r + j]);
    }
    free(u), free(v), free(value);
    return st;
}

/* PEFT's constructors draw as always before the singular vectors take their place. */
static void init(ws_adapted *s, ws_mt *rng) {
    int64_t r = s->rank, d = s->at->d_out;
    ws_mt_skip(rng, (uint64_t)(r * (s->at->d_in + d)));
    memcpy(s->p[A].value, a0(s), (size_t)(r * s->at->d_in) * sizeof(float));
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < r; j++) s->p[B].value[i * r + j] = -minus_b0(s)[j * d + i];
}

static void refresh(ws_adapted *s) {
    memcpy(s->derived, s->p[A].value, (size_t)(s->rank * s->at->d_in) * sizeof(float));
    ws_lowrank_turn(s->derived + 2 * s->rank * s->at->d_in, s->p[B].value, s->at->d_out, s->rank);
}

static int64_t saved_floats(const ws_adapted *s, int64_t n) { return n * 2 * s->rank; }
static void forward(const ws_adapted *s, const ws_patch_call *c) { ws_lowrank_forward(s, factors(s), c); }
static void backward(const ws_adapted *s, const ws_patch_grad *g) { ws_lowrank_backward(s, factors(s), g); }
static void beside(const ws_adapted *s, const ws_patch_call *c, ws_beside *out) {
    ws_lowrank_beside(s, factors(s), c, out);
}
static void beside_gx(const ws_adapted *s, const ws_patch_grad *g, ws_beside *out) {
    ws_lowrank_beside_gx(s, factors(s), g, out);
}

/* s (B A - B0 A0) = s (B - B0) A + s B0 (A - A0): two products of small numbers, not the difference of two large ones. */
static ws_status edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    int64_t r = s->rank, m = s->at->d_out, n = s->at->d_in;
    const float *a = s->p[A].value, *b = s->p[B].value, *start_a = a0(s), *start_b = minus_b0(s);
    if (ws_edit_alloc(out, m, n, 2 * r, err)) return err->code;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < r; j++) {
            out->u[i * 2 * r + j] = s->scale * (b[i * r + j] + start_b[j * m + i]);
            out->u[i * 2 * r + r + j] = -s->scale * start_b[j * m + i];
        }
    memcpy(out->v, a, (size_t)(r * n) * sizeof *a);
    for (int64_t i = 0; i < r * n; i++) out->v[r * n + i] = a[i] - start_a[i];
    return WS_OK;
}

const ws_adapter_ops ws_adapter_pissa = {
    .name = "pissa",
    .peft_type = "LORA",
    .targets = WS_LOWRANK_TARGETS,
    .honours_layers = WS_LAYERS,
    .config = WS_LOWRANK_CONFIG("\"pissa\"", "false"),
    .rank_key = "r",
    .alpha_key = "lora_alpha",
    .claims = claims,
    .check = check,
    .site = site,
    .tensors = ws_lowrank_tensors,
    .derived_floats = derived_floats,
    .prepare = prepare,
    .init = init,
    .refresh = refresh,
    .saved_floats = saved_floats,
    .forward = forward,
    .beside = beside,
    .beside_gx = beside_gx,
    .backward = backward,
    .edit = edit,
    .contrast_edit = ws_lowrank_edit, /* two adapters of one rank on one base share W_res */
};
