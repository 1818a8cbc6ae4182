/* src/adapter/lora.c - LoRA: a product of two thin matrices beside each adapted linear.
 * Hu et al. 2021, arXiv:2106.09685; arithmetic of PEFT (adapters.md 2.1), checked against PEFT 0.21.2.
 *     H = X A^T  [n, r]        Y = X W^T + b + s H B^T           s = lora_alpha / r  (rslora: lora_alpha / sqrt(r))
 *     dB = s G^T H [d_out, r]  dA = s (G B)^T X [r, d_in]        dX = G W + s (G B) A
 * A starts as kaiming uniform noise and B as zeros, so a fresh adapter is the base model.
 * Dropout is the identity: ws does not train with it. */
#include "adapter/room.h"
#include "base/log.h"
#include "io/json.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(lora)

/* The key set that PEFT 0.21.2 writes for LoRA. */
static const char config[] =
    "{\"alora_invocation_tokens\":null,\"alpha_pattern\":{},\"arrow_config\":null,\"auto_mapping\":null,"
    "\"base_model_name_or_path\":null,\"bias\":\"none\",\"corda_config\":null,\"ensure_weight_tying\":false,"
    "\"eva_config\":null,\"exclude_modules\":null,\"fan_in_fan_out\":false,\"inference_mode\":true,"
    "\"init_lora_weights\":true,\"kasa_config\":null,\"layer_replication\":null,\"layers_pattern\":null,"
    "\"layers_to_transform\":null,\"loftq_config\":{},\"lora_alpha\":8,\"lora_bias\":false,\"lora_dropout\":0.0,"
    "\"lora_ga_config\":null,\"megatron_config\":null,\"megatron_core\":\"megatron.core\",\"modules_to_save\":null,"
    "\"monteclora_config\":null,\"peft_type\":\"LORA\",\"peft_version\":\"0.21.2\",\"qalora_group_size\":16,\"r\":8,"
    "\"rank_pattern\":{},\"revision\":null,\"target_modules\":null,\"target_parameters\":null,\"task_type\":\"CAUSAL_"
    "LM\","
    "\"trainable_token_indices\":null,\"use_bdlora\":null,\"use_dora\":false,\"use_qalora\":false,\"use_rslora\":false,"
    "\"velora_config\":null}";

enum { A, B };

static int claims(const json_t *c) {
    const char *init = json_string_value(json_object_get(c, "init_lora_weights"));
    return !json_is_true(json_object_get(c, "use_dora")) && !(init && !strncmp(init, "pissa", 5));
}

/* null, false, "", [], {} and a missing key all mean "not used". */
static int is_set(const json_t *v) {
    if (!v || json_is_null(v) || json_is_false(v)) return 0;
    if (json_is_string(v)) return *json_string_value(v) != 0;
    if (json_is_array(v)) return json_array_size(v) > 0;
    if (json_is_object(v)) return json_object_size(v) > 0;
    return 1;
}

static ws_status check(const json_t *c, const char *where, ws_err *err) {
    static const struct {
        const char *key, *why;
    } refused[] = {{"use_dora", "is a DoRA adapter, which this build has no room for"},
                   {"modules_to_save", "replaces whole modules of the base model"},
                   {"lora_bias", "adds a trained bias to lora_B"},
                   {"layer_replication", "changes the layers of the base model"},
                   {"target_parameters", "adapts parameters that are no linear layers"},
                   {"trainable_token_indices", "changes embeddings"},
                   {"alora_invocation_tokens", "makes the adapter depend on tokens of the prompt"},
                   {"use_qalora", "pools the input in groups"},
                   {"use_bdlora", "makes the factors block-diagonal"},
                   {"arrow_config", "mixes several adapters by a router"},
                   {"kasa_config", "adds a trained diagonal"},
                   {"monteclora_config", "draws the weights at random"},
                   {"velora_config", "compresses activations in training"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_set(json_object_get(c, refused[i].key)))
            return ws_fail(err, WS_EUNSUPPORTED, "%s: %s %s: not supported", where, refused[i].key, refused[i].why);
    const json_t *v = json_object_get(c, "bias");
    if (v && !json_is_null(v) && (!json_is_string(v) || strcmp(json_string_value(v), "none")))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: bias is not \"none\": trained biases of the base model are not supported", where);
    if ((v = json_object_get(c, "init_lora_weights")) && json_is_string(v)) {
        const char *s = json_string_value(v);
        if (strcmp(s, "gaussian") && strcmp(s, "orthogonal") && strcmp(s, "eva"))
            return ws_fail(err, WS_EUNSUPPORTED,
                           "%s: init_lora_weights \"%s\" changes the base weights; convert the adapter to a plain LoRA "
                           "with PEFT first",
                           where, s);
    }
    if (json_is_true(json_object_get(c, "fan_in_fan_out")))
        ws_warn("%s: fan_in_fan_out is ignored: every adapted module here is a plain linear layer, as in PEFT", where);
    if ((v = json_object_get(c, "lora_dropout")) && json_is_number(v) && json_number_value(v) > 0)
        ws_warn("%s: lora_dropout %g is not applied if this adapter is trained further", where, json_number_value(v));
    return WS_OK;
}

static ws_status site(ws_adapted *s, const json_t *c, const char *key, const char *where, ws_err *err) {
    double rank = 8, alpha = 8;
    int rslora = 0;
    if (ws_json_num_or(c, "r", 8, &rank, where, err) || ws_json_num_or(c, "lora_alpha", 8, &alpha, where, err) ||
        ws_json_bool_or(c, "use_rslora", 0, &rslora, where, err) ||
        ws_target_pattern(json_object_get(c, "rank_pattern"), key, rank, &rank, where, err) ||
        ws_target_pattern(json_object_get(c, "alpha_pattern"), key, alpha, &alpha, where, err))
        return err->code;
    if (!(rank >= 1 && rank <= 1 << 20) || rank != floor(rank))
        return ws_fail(err, WS_EFORMAT, "%s: the rank of %s is %g, it must be a whole number from 1", where, key, rank);
    s->rank = (int)rank, s->alpha = alpha;
    s->scale = (float)(rslora ? alpha / sqrt(rank) : alpha / rank);
    if (!isfinite(s->scale)) return ws_fail(err, WS_EFORMAT, "%s: lora_alpha %g makes no finite scale", where, alpha);
    return WS_OK;
}

static int tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]) {
    spec[A] = (ws_tensor_spec){"lora_A.weight", 2, {s->rank, s->at->d_in}, 1};
    spec[B] = (ws_tensor_spec){"lora_B.weight", 2, {s->at->d_out, s->rank}, 1};
    return 2;
}

/* B is kept transposed as well, [r, d_out], for the forward product. */
static int64_t derived_floats(const ws_adapted *s) { return s->at->d_out * s->rank; }

static void refresh(ws_adapted *s) {
    const float *b = s->p[B].value;
    int64_t r = s->rank, d = s->at->d_out;
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < r; j++) s->derived[j * d + i] = b[i * r + j];
}

/* torch's stream: the constructors of A and B draw first, then come the values that A keeps (adapters.md 1.5). */
static void init(ws_adapted *s, ws_mt *r) {
    int64_t n = s->rank * s->at->d_in;
    ws_mt_skip(r, (uint64_t)(n + s->at->d_out * s->rank));
    ws_mt_kaiming(r, s->p[A].value, n, s->at->d_in);
    memset(s->p[B].value, 0, (size_t)(s->at->d_out * s->rank) * sizeof(float));
}

static int64_t saved_floats(const ws_adapted *s, int64_t n) { return n * s->rank; }

/* saved: s H [n, r], which is all that backward needs of the forward pass (alpha is 1 there). */
static void forward(const ws_adapted *s, const ws_patch_call *c) {
    int64_t r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    float *h = c->saved ? c->saved : ws_arena_floats(c->scratch, c->n * r);
    ws_weight a = ws_weight_f32(s->p[A].value, r, d_in, d_in), bt = ws_weight_f32(s->derived, r, d_out, d_out);
    ws_gemm_nt(h, r, c->x, d_in, c->n, &a, 0);
    for (int64_t i = 0; i < c->n; i++) ws_k.scale(h + i * r, s->scale * c->alpha[i], r);
    ws_gemm_nn(c->y, d_out, h, r, 1, c->n, &bt, 1);
}

static void backward(const ws_adapted *s, const ws_patch_grad *g) {
    int64_t r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    float *gh = ws_arena_floats(g->scratch, g->n * r); /* s G B */
    ws_weight a = ws_weight_f32(s->p[A].value, r, d_in, d_in), b = ws_weight_f32(s->p[B].value, d_out, r, r);
    ws_weight x = ws_weight_f32(g->x, g->n, d_in, d_in), h = ws_weight_f32(g->saved, g->n, r, r);
    ws_gemm_nn(s->p[B].grad, r, g->gy, 1, d_out, d_out, &h, 1);
    ws_gemm_nn(gh, r, g->gy, d_out, 1, g->n, &b, 0);
    ws_k.scale(gh, s->scale, g->n * r);
    ws_gemm_nn(s->p[A].grad, d_in, gh, 1, r, r, &x, 1);
    if (g->gx) ws_gemm_nn(g->gx, d_in, gh, r, 1, g->n, &a, 1);
}

static ws_status edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    int64_t nu = s->at->d_out * s->rank, nv = s->rank * s->at->d_in;
    *out = (ws_edit){.d_out = s->at->d_out, .d_in = s->at->d_in, .k = s->rank};
    out->u = ws_try_alloc((size_t)nu, sizeof(float)), out->v = ws_try_alloc((size_t)nv, sizeof(float));
    if (!out->u || !out->v) {
        ws_edit_release(out);
        return ws_fail(err, WS_ENOMEM, "out of memory for the edit of %s", s->at->name);
    }
    for (int64_t i = 0; i < nu; i++) out->u[i] = s->scale * s->p[B].value[i];
    memcpy(out->v, s->p[A].value, (size_t)nv * sizeof(float));
    return WS_OK;
}

const ws_adapter_ops ws_adapter_lora = {
    .name = "lora",
    .peft_type = "LORA",
    .targets = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
    .honours_layers = 1,
    .config = config,
    .rank_key = "r",
    .alpha_key = "lora_alpha",
    .claims = claims,
    .check = check,
    .site = site,
    .tensors = tensors,
    .derived_floats = derived_floats,
    .init = init,
    .refresh = refresh,
    .saved_floats = saved_floats,
    .forward = forward,
    .backward = backward,
    .edit = edit,
};
