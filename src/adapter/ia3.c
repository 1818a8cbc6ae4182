/* src/adapter/ia3.c - (IA)^3: one learned scale per output of a linear, or per input of a feed-forward one.
 * Liu et al. 2022, arXiv:2205.05638; arithmetic of PEFT (adapters.md 2.7), checked against PEFT 0.21.2.
 *     feed-forward  Y = (X .* l) W^T + b      dl = colsum(X .* G W)           dX = (G W) .* l
 *     otherwise     Y = l .* (X W^T + b)      dl = colsum(G .* (X W^T + b))   dX = (G .* l) W
 * A module is feed-forward when its name ends with an entry of feedforward_modules.  PEFT's IA3 knows no
 * layers_to_transform: its modules are adapted in every layer. */
#include "adapter/refuse.h"
#include "adapter/room.h"
#include "ops/blockdiag.h"
#include <stdlib.h>
#include <string.h>

WS_ROOM(ia3)

/* The key set that PEFT 0.21.2 writes for IA3. */
static const char config[] =
    "{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"exclude_modules\":null,\"fan_in_fan_out\":false,"
    "\"feedforward_modules\":null,\"inference_mode\":true,\"init_ia3_weights\":true,\"modules_to_save\":null,"
    "\"peft_type\":\"IA3\",\"peft_version\":\"0.21.2\",\"revision\":null,\"target_modules\":null,"
    "\"task_type\":\"CAUSAL_LM\"}";

enum { L };

static int ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return k <= n && !strcmp(s + n - k, end);
}

static ws_status check(const json_t *c, const char *where, ws_err *err) {
    const json_t *targets = json_object_get(c, "target_modules"), *ff = json_object_get(c, "feedforward_modules");
    for (size_t i = 0; json_is_array(targets) && json_is_array(ff) && i < json_array_size(ff); i++) {
        const char *name = json_string_value(json_array_get(ff, i));
        int found = 0;
        for (size_t j = 0; name && j < json_array_size(targets) && !found; j++) {
            const char *target = json_string_value(json_array_get(targets, j));
            found = target && !strcmp(name, target);
        }
        if (!found)
            return ws_fail(err, WS_EFORMAT, "%s: feedforward_modules[%zu] %s is not in target_modules", where, i,
                           name ? name : "(no string)");
    }
    return ws_refuse_keys(c, NULL, NULL, where, err);
}

/* The down projections among the targets, as in the paper and in PEFT's defaults. */
static void configure(json_t *c) {
    const json_t *targets = json_object_get(c, "target_modules");
    json_t *ff = json_array();
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *name = json_string_value(json_array_get(targets, i));
        if (ends_with(name, "down_proj")) json_array_append_new(ff, json_string(name));
    }
    json_object_set_new(c, "feedforward_modules", ff);
}

static ws_status site(ws_adapted *s, const json_t *c, const char *key, const char *where, ws_err *err) {
    const json_t *ff = json_object_get(c, "feedforward_modules");
    if (json_is_string(ff)) {
        ws_regex *re = NULL;
        size_t b, e;
        char *p = ws_sprintf("^(?:%s)\\z", json_string_value(ff));
        ws_status st = ws_regex_new(&re, p, "", err);
        free(p);
        if (st) return ws_fail_prefix(err, "%s: feedforward_modules", where);
        s->on_input = ws_regex_next(re, key, strlen(key), 0, &b, &e, err);
        ws_regex_free(re);
        return s->on_input < 0 ? err->code : WS_OK;
    }
    if (!json_is_array(ff))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: feedforward_modules is neither a list nor a string; PEFT's defaults by model type are not "
                       "known here, name the modules whose input is scaled ([] for none)",
                       where);
    for (size_t i = 0; i < json_array_size(ff); i++) {
        const char *name = json_string_value(json_array_get(ff, i));
        if (!name) return ws_fail(err, WS_EFORMAT, "%s: feedforward_modules[%zu] is no string", where, i);
        s->on_input |= ends_with(key, name);
    }
    return WS_OK;
}

static int64_t length(const ws_adapted *s) { return s->on_input ? s->at->d_in : s->at->d_out; }

static int tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]) {
    spec[L] = s->on_input ? (ws_tensor_spec){"ia3_l", 2, {1, s->at->d_in}, 1}
                          : (ws_tensor_spec){"ia3_l", 2, {s->at->d_out, 1}, 1};
    return 1;
}

/* PEFT draws normals and overwrites them with ones; nothing later in the stream is ours. */
static void init(ws_adapted *s, ws_mt *r) {
    (void)r;
    for (int64_t i = 0; i < length(s); i++) s->p[L].value[i] = 1;
}

static void scale(const ws_adapted *s, float *x, int64_t n) {
    ws_blockdiag_forward(x, x, n, length(s), s->p[L].value, 1);
}

static void input(const ws_adapted *s, const ws_patch_call *c, float *x) {
    if (s->on_input) scale(s, x, c->n);
}

/* saved: X W^T + b [n, d_out], where that is what l scales. */
static int64_t saved_floats(const ws_adapted *s, int64_t n) { return s->on_input ? 0 : n * s->at->d_out; }

static void forward(const ws_adapted *s, const ws_patch_call *c) {
    if (s->on_input) return;
    for (int64_t t = 0; t < c->n; t++) WS_ASSERT(c->alpha[t] == 1);
    if (c->saved) memcpy(c->saved, c->y, (size_t)(c->n * s->at->d_out) * sizeof *c->y);
    scale(s, c->y, c->n);
}

static void backward_gy(const ws_adapted *s, const ws_patch_grad *g) {
    if (s->on_input) return;
    ws_blockdiag_backward(s->p[L].grad, g->saved, g->gy, g->n, s->at->d_out, 1);
    scale(s, g->gy, g->n);
}

static void backward(const ws_adapted *s, const ws_patch_grad *g) {
    if (!s->on_input) return;
    ws_blockdiag_backward(s->p[L].grad, g->x, g->gx, g->n, s->at->d_in, 1);
    scale(s, g->gx, g->n);
}
static int needs_gx(const ws_adapted *s) { return s->on_input; }

/* W diag(l - 1), or diag(l - 1) W and (l - 1) b. */
static ws_status edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    const float *l = s->p[L].value, *b = s->at->bias;
    float *less = ws_try_alloc((size_t)length(s), sizeof *less), *db = NULL;
    if (b && !s->on_input) db = ws_try_alloc((size_t)s->at->d_out, sizeof *db);
    if (!less || (b && !s->on_input && !db) || ws_edit_alloc(out, s->at->d_out, s->at->d_in, 0, err)) {
        free(less), free(db);
        return ws_fail(err, WS_ENOMEM, "out of memory for the edit of %s", s->at->name);
    }
    for (int64_t i = 0; i < length(s); i++) less[i] = l[i] - 1;
    for (int64_t i = 0; db && i < s->at->d_out; i++) db[i] = less[i] * b[i];
    if (s->on_input)
        ws_edit_add_term(out, NULL, less, 1);
    else
        ws_edit_add_term(out, less, NULL, 0);
    out->db = db;
    return WS_OK;
}

const ws_adapter_ops ws_adapter_ia3 = {
    .name = "ia3",
    .peft_type = "IA3",
    .targets = "k_proj,v_proj,down_proj",
    .honours_layers = 0,
    .config = config,
    .check = check,
    .configure = configure,
    .site = site,
    .tensors = tensors,
    .init = init,
    .saved_floats = saved_floats,
    .input = input,
    .forward = forward,
    .backward_gy = backward_gy,
    .backward = backward,
    .needs_gx = needs_gx,
    .edit = edit,
};
