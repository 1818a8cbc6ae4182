/* src/adapter/lowrank.c - configuration, tensors and products of PEFT's LoRA family.
 *     H = X A^T  [n, k]        Y += s H B^T                      s = lora_alpha / r  (rslora: lora_alpha / sqrt(r))
 *     dB = s G^T H [d_out, r]  dA = s (G B)^T X [r, d_in]        dX += s (G B) A
 * Dropout is the identity: ws does not train with it. */
#include "adapter/lowrank.h"
#include "adapter/refuse.h"
#include "io/json.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------- configuration ---------- */

int ws_lowrank_is_dora(const json_t *c) { return json_is_true(json_object_get(c, "use_dora")); }

int ws_lowrank_is_pissa(const json_t *c) {
    const char *init = json_string_value(json_object_get(c, "init_lora_weights"));
    return init && !strncmp(init, "pissa", 5);
}

ws_status ws_lowrank_check(const json_t *c, const char *where, ws_err *err) {
    static const ws_refused_key refused[] = {
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
        {"velora_config", "compresses activations in training"},
        {0}};
    if (ws_refuse_keys(c, refused, "lora_dropout", where, err)) return err->code;
    const char *init = json_string_value(json_object_get(c, "init_lora_weights"));
    if (init && !ws_lowrank_is_pissa(c) && strcmp(init, "gaussian") && strcmp(init, "orthogonal") &&
        strcmp(init, "eva"))
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "%s: init_lora_weights \"%s\" changes the base weights; convert the adapter to a plain LoRA with "
            "PEFT first",
            where, init);
    return WS_OK;
}

ws_status ws_lowrank_site(ws_adapted *s, const json_t *c, const char *key, const char *where, ws_err *err) {
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

/* ---------- tensors ---------- */

int ws_lowrank_tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]) {
    spec[WS_LOWRANK_A] = (ws_tensor_spec){"lora_A.weight", 2, {s->rank, s->at->d_in}, 1};
    spec[WS_LOWRANK_B] = (ws_tensor_spec){"lora_B.weight", 2, {s->at->d_out, s->rank}, 1};
    return 2;
}

/* The constructors of A and B draw first, then come the values that A keeps (adapters.md 1.5). */
void ws_lowrank_init(ws_adapted *s, ws_mt *r) {
    int64_t n = s->rank * s->at->d_in;
    ws_mt_skip(r, (uint64_t)(n + s->at->d_out * s->rank));
    ws_mt_kaiming(r, s->p[WS_LOWRANK_A].value, n, s->at->d_in);
    memset(s->p[WS_LOWRANK_B].value, 0, (size_t)(s->at->d_out * s->rank) * sizeof(float));
}

void ws_lowrank_turn(float *bt, const float *b, int64_t d_out, int64_t r) {
    for (int64_t i = 0; i < d_out; i++)
        for (int64_t j = 0; j < r; j++) bt[j * d_out + i] = b[i * r + j];
}

/* ---------- products ---------- */

void ws_lowrank_beside(const ws_adapted *s, ws_lowrank f, const ws_patch_call *c, ws_beside *out) {
    int64_t k = f.k, d_in = s->at->d_in;
    float *h = c->saved ? c->saved : ws_arena_floats(c->scratch, c->n * k);
    ws_weight a = ws_weight_f32(f.a, k, d_in, d_in);
    ws_gemm_nt(h, k, c->x, d_in, c->n, &a, 0);
    for (int64_t i = 0; i < c->n; i++) ws_k.scale(h + i * k, s->scale * c->alpha[i], k);
    *out = (ws_beside){.h = h, .v = f.bt, .k = k};
}

void ws_lowrank_forward(const ws_adapted *s, ws_lowrank f, const ws_patch_call *c) {
    int64_t d_out = s->at->d_out;
    ws_weight bt = ws_weight_f32(f.bt, f.k, d_out, d_out);
    ws_beside b;
    ws_lowrank_beside(s, f, c, &b);
    ws_gemm_nn(c->y, d_out, b.h, b.k, 1, c->n, &bt, 1);
}

void ws_lowrank_beside_gx(const ws_adapted *s, ws_lowrank f, const ws_patch_grad *g, ws_beside *out) {
    int64_t k = f.k, d_out = s->at->d_out;
    float *gh = ws_arena_floats(g->scratch, g->n * k); /* s G B */
    ws_weight bt = ws_weight_f32(f.bt, k, d_out, d_out);
    ws_gemm_nt(gh, k, g->gy, d_out, g->n, &bt, 0);
    ws_k.scale(gh, s->scale, g->n * k);
    *out = (ws_beside){.h = gh, .v = f.a, .k = k};
}

void ws_lowrank_backward(const ws_adapted *s, ws_lowrank f, const ws_patch_grad *g) {
    int64_t k = f.k, r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    ws_weight a = ws_weight_f32(f.a, k, d_in, d_in);
    ws_weight x = ws_weight_f32(g->x, g->n, d_in, d_in), h = ws_weight_f32(g->saved, g->n, r, k);
    ws_beside b = {.h = g->beside, .v = f.a, .k = k};
    if (!b.h) ws_lowrank_beside_gx(s, f, g, &b);
    ws_gemm_nn(s->p[WS_LOWRANK_B].grad, r, g->gy, 1, d_out, d_out, &h, 1);
    ws_gemm_nn(s->p[WS_LOWRANK_A].grad, d_in, b.h, 1, k, r, &x, 1);
    if (g->gx && !g->beside) ws_gemm_nn(g->gx, d_in, b.h, k, 1, g->n, &a, 1);
}

ws_status ws_lowrank_edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    if (ws_edit_alloc(out, s->at->d_out, s->at->d_in, s->rank, err)) return err->code;
    for (int64_t i = 0; i < out->d_out * out->k; i++) out->u[i] = s->scale * s->p[WS_LOWRANK_B].value[i];
    memcpy(out->v, s->p[WS_LOWRANK_A].value, (size_t)(out->k * out->d_in) * sizeof *out->v);
    return WS_OK;
}
