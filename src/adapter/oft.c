/* src/adapter/oft.c - OFT: every run of `block` inputs of a linear is turned by its own rotation.
 * Qiu et al. 2023, arXiv:2306.07280, with the Cayley-Neumann series of Qiu et al. 2025, arXiv:2506.19847; arithmetic of PEFT
 * (adapters.md 2.5), checked against PEFT 0.21.2.
 *     x' = x R (by blocks)  [n, d_in]     Y = x' W^T + b       i.e. W_eff = W R^T
 *     dR = sum_t x_t^T dX'_t, dX' = G W   dX = dX' R^T
 * R = R(Q) (rotation.h), Q skew from the trained v.  The series and the exact form turn opposite ways, and the series is not
 * quite a rotation: R R^T = (I - Q^4)^2 with five terms.
 * module_dropout is the identity: PEFT's linear layers do not apply it either. */
#include "adapter/refuse.h"
#include "adapter/room.h"
#include "adapter/rotation.h"
#include "base/log.h"
#include "io/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(oft)

/* The key set that PEFT 0.21.2 writes for OFT. */
static const char config[] =
    "{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"bias\":\"none\",\"block_share\":false,\"coft\":false,"
    "\"eps\":6e-05,\"exclude_modules\":null,\"fan_in_fan_out\":false,\"inference_mode\":true,\"init_weights\":true,"
    "\"layers_pattern\":null,\"layers_to_transform\":null,\"module_dropout\":0.0,\"modules_to_save\":null,"
    "\"num_cayley_neumann_terms\":5,\"oft_block_size\":32,\"peft_type\":\"OFT\",\"peft_version\":\"0.21.2\",\"r\":0,"
    "\"revision\":null,\"target_modules\":null,\"task_type\":\"CAUSAL_LM\",\"use_cayley_neumann\":true}";

enum { V };

/* Below 0.18.0, where the series was another one. */
static int older_series(const json_t *c) {
    const char *version = json_string_value(json_object_get(c, "peft_version"));
    int major, minor, read = 0;
    if (!version || sscanf(version, "%d.%d%n", &major, &minor, &read) != 2) return 1;
    return major == 0 && (minor < 18 || (minor == 18 && !strncmp(version + read, ".0.dev", 6)));
}

static ws_status check(const json_t *c, const char *where, ws_err *err) {
    if (!json_object_get(c, "oft_block_size"))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: oft_block_size is missing: PEFT before 0.14 wrote this, its OFT was another one and has to "
                       "be trained again",
                       where);
    if (!json_is_false(json_object_get(c, "use_cayley_neumann")) && older_series(c))
        ws_warn("%s: written by PEFT before 0.18.0 (or by one that left peft_version out), where the Cayley-Neumann "
                "series was slightly another one; it is read as today's",
                where);
    return ws_refuse_keys(c, NULL, "module_dropout", where, err);
}

static ws_status adopt(json_t *c, const ws_safetensors *tensors, const char *where, ws_err *err) {
    (void)c;
    for (size_t i = 0; i < ws_safetensors_count(tensors); i++) {
        const char *name = ws_safetensors_at(tensors, i)->name;
        if (strstr(name, ".oft_r."))
            return ws_fail(err, WS_EUNSUPPORTED,
                           "%s: %s: tensors oft_r are of PEFT before 0.14, whose OFT was another one; it has to be "
                           "trained again",
                           where, name);
    }
    return WS_OK;
}

static ws_status site(ws_adapted *s, const json_t *c, const char *key, const char *where, ws_err *err) {
    int64_t terms;
    int series, coft;
    double eps;
    if (ws_rotation_block(&s->block, c, "oft_block_size", "r", s->at->d_in, 1, key, where, err) ||
        ws_json_int_or(c, "num_cayley_neumann_terms", 5, &terms, where, err) ||
        ws_json_bool_or(c, "use_cayley_neumann", 1, &series, where, err) ||
        ws_json_bool_or(c, "block_share", 0, &s->shared, where, err) ||
        ws_json_bool_or(c, "coft", 0, &coft, where, err) || ws_json_num_or(c, "eps", 6e-5, &eps, where, err))
        return err->code;
    if (series && (terms < 2 || terms > 1000))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: num_cayley_neumann_terms is %lld: from 2 to 1000 terms make a rotation that can be trained",
                       where, (long long)terms);
    if (coft && !(eps > 0 && isfinite(eps)))
        return ws_fail(err, WS_EFORMAT, "%s: eps is %g: with coft it must be above 0", where, eps);
    s->terms = series ? (int)terms : WS_CAYLEY;
    s->bound = coft ? eps : 0;
    return WS_OK;
}

static int64_t blocks(const ws_adapted *s) { return s->at->d_in / s->block; }
static int64_t packed(const ws_adapted *s) { return (int64_t)s->block * (s->block - 1) / 2; }

static int tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]) {
    spec[V] = (ws_tensor_spec){"oft_R.weight", 2, {s->shared ? 1 : blocks(s), packed(s)}, 1};
    return 1;
}

/* derived: R, sums: dR, both [d_in / block, block, block]; a shared block stands there again and again. */
static int64_t all_blocks(const ws_adapted *s) { return s->at->d_in * s->block; }

static void init(ws_adapted *s, ws_mt *r) {
    (void)r; /* draws nothing */
    memset(s->p[V].value, 0, (size_t)(s->p[V].rows * s->p[V].cols) * sizeof(float));
}

/* coft: PEFT pulls the parameters of a block back in place before every forward pass. */
static void constrain(ws_adapted *s) {
    const double most = s->bound / sqrt((double)s->p[V].rows);
    for (int64_t k = 0; k < s->p[V].rows; k++) {
        float *v = s->p[V].value + k * s->p[V].cols;
        double sum = 0;
        for (int64_t i = 0; i < s->p[V].cols; i++) sum += 2 * (double)v[i] * (double)v[i]; /* both triangles */
        const double norm = sqrt(sum);
        for (int64_t i = 0; norm > most && i < s->p[V].cols; i++) v[i] = (float)(most * ((double)v[i] / norm));
    }
}

/* Room in double for one block: Q, another matrix and the scratch of rotation.h. */
static double *workspace(const ws_adapted *s) {
    const int64_t n = (int64_t)s->block * s->block;
    return ws_xmalloc((size_t)(3 * n + ws_rotation_scratch(s->terms, s->block)) * sizeof(double));
}

static void each_block(const ws_adapted *s, float *out, void (*store)(float *, const double *, int)) {
    const int64_t n = (int64_t)s->block * s->block, own = s->shared ? 1 : blocks(s);
    double *q = workspace(s), *e = q + n;
    for (int64_t k = 0; k < own; k++) {
        ws_skew_from_upper(q, s->p[V].value + k * packed(s), s->block);
        ws_rotation(e, q, s->terms, s->block, e + n);
        store(out + k * n, e, s->block);
    }
    for (int64_t k = own; k < blocks(s); k++) memcpy(out + k * n, out, (size_t)n * sizeof *out);
    free(q);
}

static void refresh(ws_adapted *s) {
    if (s->bound > 0) constrain(s);
    each_block(s, s->derived, ws_rotation_store);
}

static void finish_grad(ws_adapted *s) {
    const int64_t n = (int64_t)s->block * s->block, own = s->shared ? 1 : blocks(s), each = blocks(s) / own;
    double *q = workspace(s), *gr = q + n, *gq = gr + n;
    for (int64_t k = 0; k < own; k++) {
        memset(gr, 0, (size_t)n * sizeof *gr);
        for (int64_t j = 0; j < each; j++)
            for (int64_t i = 0; i < n; i++) gr[i] += (double)s->sums[(k + j) * n + i];
        ws_skew_from_upper(q, s->p[V].value + k * packed(s), s->block);
        ws_rotation_grad(gq, gr, q, s->terms, s->block, gq + n);
        ws_skew_from_upper_grad(s->p[V].grad + k * packed(s), gq, s->block);
    }
    free(q);
}

static void input(const ws_adapted *s, const ws_patch_call *c, float *x) {
    ws_rotate_input(c, x, s->derived, s->block);
}
static void backward(const ws_adapted *s, const ws_patch_grad *g) { ws_rotate_grad(g, s->derived, s->sums, s->block); }
static int needs_gx(const ws_adapted *s) { return s != NULL; }

/* W (R - I)^T: one term on the input side. */
static ws_status edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    float *e = ws_try_alloc((size_t)all_blocks(s), sizeof *e);
    if (!e || ws_edit_alloc(out, s->at->d_out, s->at->d_in, 0, err)) {
        free(e);
        return ws_fail(err, WS_ENOMEM, "out of memory for the edit of %s", s->at->name);
    }
    each_block(s, e, ws_rotation_store_edit);
    ws_edit_add_term(out, NULL, e, s->block);
    return WS_OK;
}

const ws_adapter_ops ws_adapter_oft = {
    .name = "oft",
    .peft_type = "OFT",
    .targets = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
    .honours_layers = WS_LAYERS_OF_LIST,
    .config = config,
    .block_key = "oft_block_size",
    .check = check,
    .adopt = adopt,
    .site = site,
    .tensors = tensors,
    .derived_floats = all_blocks,
    .sum_floats = all_blocks,
    .init = init,
    .refresh = refresh,
    .finish_grad = finish_grad,
    .input = input,
    .backward = backward,
    .needs_gx = needs_gx,
    .edit = edit,
};
