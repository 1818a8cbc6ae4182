/* src/family/qwen35.c - Qwen3.5 dense, the text part (models.md 2.2, 3.1, 5): Gated DeltaNet layers with one full-attention
 * layer after every few.  Norms are zero-centred (1 + w) except the one behind the delta rule; full attention has a gate
 * per head inside q_proj and turns a quarter of each head.
 * The decoder of a multimodal checkpoint and a text-only export are the same thing here: the checkpoint has chosen the
 * nested text_config, taken off `language_model.` and set vision and MTP tensors aside.
 * A GGUF file keeps -exp(A_log), norms with the 1 added, and value heads in tiled order: the checkpoint has undone that. */
#include "family/family.h"
#include "io/json.h"
#include "ops/conv.h"
#include "ops/decay.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(qwen35)

enum { MAX_HEADS = 1024, MAX_HEAD_DIM = 1024 };

/* 1 for full attention, 0 for DeltaNet, of every layer: an explicit list wins over the interval. */
static ws_status read_layer_types(const ws_arch *a, const ws_binder *b, char *full, ws_err *err) {
    const json_t *list = json_object_get(b->config, "layer_types");
    int64_t interval;
    if (!list || json_is_null(list)) {
        if (ws_config_size(b, "full_attention_interval", 4, 1 << 20, &interval, err)) return err->code;
        for (int i = 0; i < a->layers; i++) full[i] = (i + 1) % interval == 0;
        return WS_OK;
    }
    if (!json_is_array(list) || json_array_size(list) != (size_t)a->layers)
        return ws_fail(err, WS_EFORMAT, "%s: layer_types must be a list of %d names, one a layer", b->where, a->layers);
    for (int i = 0; i < a->layers; i++) {
        const char *type = json_string_value(json_array_get(list, (size_t)i));
        if (!type || (strcmp(type, "full_attention") && strcmp(type, "linear_attention")))
            return ws_fail(err, WS_EUNSUPPORTED,
                           "%s: layer_types[%d] is %s%s%s; full_attention and linear_attention are computed", b->where,
                           i, type ? "'" : "", type ? type : "no string", type ? "'" : "");
        full[i] = !strcmp(type, "full_attention");
    }
    return WS_OK;
}

/* The tensors must tell the same story, or the list of missing ones would hide what is wrong. */
static ws_status check_layer_types(const ws_arch *a, const ws_binder *b, const char *full, ws_err *err) {
    for (int i = 0; i < a->layers; i++) {
        char name[2][96];
        snprintf(name[0], sizeof name[0], "model.layers.%d.linear_attn.in_proj_qkv.weight", i);
        snprintf(name[1], sizeof name[1], "model.layers.%d.self_attn.q_proj.weight", i);
        if (!ws_checkpoint_find(b->c, name[!full[i]]) || ws_checkpoint_find(b->c, name[(int)full[i]])) continue;
        return ws_fail(err, WS_EFORMAT, "%s: the config says that layer %d is %s, but the file has %s", b->where, i,
                       full[i] ? "full_attention" : "linear_attention", name[!full[i]]);
    }
    return WS_OK;
}

static ws_status read_delta(ws_arch *a, const ws_binder *b, ws_err *err) {
    int64_t hk, hv, dk, dv, taps;
    if (ws_config_size(b, "linear_num_key_heads", 16, MAX_HEADS, &hk, err) ||
        ws_config_size(b, "linear_num_value_heads", 32, MAX_HEADS, &hv, err) ||
        ws_config_size(b, "linear_key_head_dim", 128, MAX_HEAD_DIM, &dk, err) ||
        ws_config_size(b, "linear_value_head_dim", 128, MAX_HEAD_DIM, &dv, err) ||
        ws_config_size(b, "linear_conv_kernel_dim", 4, WS_CONV_TAPS, &taps, err))
        return err->code;
    if (hv % hk)
        return ws_fail(err, WS_EFORMAT, "%s: %lld value heads of linear attention cannot share %lld key heads",
                       b->where, (long long)hv, (long long)hk);
    if (taps < 2) return ws_fail(err, WS_EUNSUPPORTED, "%s: linear_conv_kernel_dim 1 is no convolution", b->where);
    a->delta = (ws_delta_shape){.key_heads = (int)hk, .value_heads = (int)hv, .dk = (int)dk, .dv = (int)dv};
    a->conv_taps = (int)taps;
    return WS_OK;
}

static void bind_delta(ws_arch *a, ws_binder *b, int i) {
    ws_block *k = &a->block[i];
    ws_delta_block *t = &k->delta;
    const ws_delta_shape *s = &a->delta;
    int64_t h = a->hidden, value_dim = (int64_t)s->value_heads * s->dv, channels = ws_delta_channels(s);
    char name[128];
#define NAME(what) (snprintf(name, sizeof name, "model.layers.%d.linear_attn." what, i), name)
    k->mixer = WS_MIXER_DELTA;
    k->nth = a->n_delta++;
    ws_bind_linear(b, &t->qkv, NAME("in_proj_qkv"), channels, h, 0);
    ws_bind_linear(b, &t->z, NAME("in_proj_z"), value_dim, h, 0);
    ws_bind_linear(b, &t->b, NAME("in_proj_b"), s->value_heads, h, 0);
    ws_bind_linear(b, &t->a, NAME("in_proj_a"), s->value_heads, h, 0);
    ws_bind_linear(b, &t->out, NAME("out_proj"), h, value_dim, 0);
    t->conv = ws_bind_conv(b, NAME("conv1d.weight"), channels, a->conv_taps);
    t->neg_a = ws_bind_vector(b, NAME("A_log"), s->value_heads, 0);
    t->dt_bias = ws_bind_vector(b, NAME("dt_bias"), s->value_heads, 0);
    t->norm = ws_bind_vector(b, NAME("norm.weight"), s->dv, 0);
    if (t->neg_a) ws_decay_rate(t->neg_a, t->neg_a, s->value_heads);
#undef NAME
}

static ws_status bind_qwen35(ws_arch *a, ws_binder *b, ws_err *err) {
    const ws_config_rules rules = {.head_dim = 256, .kv_heads = 4, .rotary = 0.25};
    int bias = 0;
    if (ws_config_read(a, b, &rules, err) || ws_config_flag(b, "attention_bias", 0, &bias, err) ||
        read_delta(a, b, err))
        return err->code;
    char *full = ws_xcalloc((size_t)a->layers, 1);
    ws_status st = read_layer_types(a, b, full, err);
    if (!st) st = check_layer_types(a, b, full, err);
    if (!st) st = ws_bind_ends(a, b, 1, err);
    if (!st) {
        const ws_block_parts parts = {.qkv_bias = bias, .o_bias = bias, .qk_norm = 1, .norm_add = 1};
        a->output_gate = 1;
        a->block = ws_xcalloc((size_t)a->layers, sizeof *a->block);
        for (int i = 0; i < a->layers; i++) {
            if (full[i])
                ws_bind_attention(a, b, i, &parts);
            else
                bind_delta(a, b, i);
            ws_bind_mlp(a, b, i, &parts);
        }
    }
    free(full);
    return st;
}

static const char *const types[] = {"qwen3_5", "qwen3_5_text", NULL};
const ws_family ws_family_qwen35 = {"qwen35", types, bind_qwen35};
