/* src/run/likeness.c - the tables, their config.json and their tensors. */
#include "run/likeness.h"
#include "base/str.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ws_likeness table[] = {
    {.name = "qwen3.5-4b",
     .family = WS_LIKE_QWEN35,
     .hidden = 2560,
     .layers = 32,
     .ffn = 9216,
     .heads = 16,
     .kv_heads = 4,
     .head_dim = 256,
     .linear_k = 16,
     .linear_v = 32,
     .linear_dim = 128,
     .conv = 4,
     .vocab = 248320,
     .base = 248044,
     .tied = 1,
     .max_pos = 262144,
     .thinks = 1,
     .theta = 1e7,
     .eps = 1e-6,
     .vision = {.depth = 24, .hidden = 1024, .ffn = 4096, .patch = 16, .positions = 2304},
     .shard = 5329398688},
    {.name = "qwen3.5-2b",
     .family = WS_LIKE_QWEN35,
     .hidden = 2048,
     .layers = 24,
     .ffn = 6144,
     .heads = 8,
     .kv_heads = 2,
     .head_dim = 256,
     .linear_k = 16,
     .linear_v = 16,
     .linear_dim = 128,
     .conv = 4,
     .vocab = 248320,
     .base = 248044,
     .tied = 1,
     .max_pos = 262144,
     .theta = 1e7,
     .eps = 1e-6,
     .vision = {.depth = 24, .hidden = 1024, .ffn = 4096, .patch = 16, .positions = 2304},
     .shard = 5329398688},
    {.name = "qwen3.5-0.8b",
     .family = WS_LIKE_QWEN35,
     .hidden = 1024,
     .layers = 24,
     .ffn = 3584,
     .heads = 8,
     .kv_heads = 2,
     .head_dim = 256,
     .linear_k = 16,
     .linear_v = 16,
     .linear_dim = 128,
     .conv = 4,
     .vocab = 248320,
     .base = 248044,
     .tied = 1,
     .max_pos = 262144,
     .theta = 1e7,
     .eps = 1e-6,
     .vision = {.depth = 12, .hidden = 768, .ffn = 3072, .patch = 16, .positions = 2304},
     .shard = 5329398688},
    {.name = "qwen3-0.6b",
     .family = WS_LIKE_QWEN3,
     .hidden = 1024,
     .layers = 28,
     .ffn = 3072,
     .heads = 16,
     .kv_heads = 8,
     .head_dim = 128,
     .vocab = 151936,
     .base = 151643,
     .tied = 1,
     .max_pos = 40960,
     .thinks = 1,
     .theta = 1e6,
     .eps = 1e-6},
    {.name = "smollm2-135m",
     .family = WS_LIKE_LLAMA,
     .hidden = 576,
     .layers = 30,
     .ffn = 1536,
     .heads = 9,
     .kv_heads = 3,
     .head_dim = 64,
     .vocab = 49152,
     .base = 49152,
     .tied = 1,
     .max_pos = 8192,
     .theta = 1e5,
     .eps = 1e-5},
    {.name = "tiny",
     .family = WS_LIKE_QWEN35,
     .hidden = 64,
     .layers = 4,
     .ffn = 128,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 32,
     .linear_k = 2,
     .linear_v = 4,
     .linear_dim = 16,
     .conv = 4,
     .vocab = 512,
     .base = 448,
     .tied = 1,
     .max_pos = 8192,
     .thinks = 1,
     .theta = 1e7,
     .eps = 1e-6,
     .vision = {.depth = 2, .hidden = 32, .ffn = 64, .patch = 4, .positions = 16},
     .shard = 300000},
    {.name = "tiny-qwen3",
     .family = WS_LIKE_QWEN3,
     .hidden = 64,
     .layers = 4,
     .ffn = 128,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 32,
     .vocab = 512,
     .base = 448,
     .tied = 1,
     .max_pos = 8192,
     .thinks = 1,
     .theta = 1e6,
     .eps = 1e-6},
};
enum { N = sizeof table / sizeof *table };

const ws_likeness *ws_likeness_find(const char *name) {
    for (int i = 0; i < N; i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

const char *ws_likeness_names(void) {
    static char text[256];
    if (!*text)
        for (int i = 0; i < N; i++) {
            if (i) strncat(text, ", ", sizeof text - strlen(text) - 1);
            strncat(text, table[i].name, sizeof text - strlen(text) - 1);
        }
    return text;
}

/* ---------- tensors ---------- */
typedef struct list {
    ws_like_tensors a;
    size_t cap;
    ws_dtype type;
} list;

/* "prefix.name", or with prefix NULL "name". */
static void add(list *l, ws_fill fill, ws_dtype type, int dims, const int64_t *dim, const char *prefix,
                const char *name) {
    if (l->a.n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 256;
        l->a.t = ws_xrealloc(l->a.t, l->cap * sizeof *l->a.t);
        l->a.fill = ws_xrealloc(l->a.fill, l->cap * sizeof *l->a.fill);
    }
    ws_tensor *t = &l->a.t[l->a.n];
    *t = (ws_tensor){
        .name = ws_sprintf("%s%s%s", prefix ? prefix : "", prefix ? "." : "", name), .type = type, .dims = dims};
    for (int i = 0; i < dims; i++) t->dim[i] = dim[i];
    t->bytes = ws_dtype_bytes(type, ws_tensor_numel(t));
    l->a.fill[l->a.n++] = fill;
}

static void tensor(list *l, ws_fill fill, int dims, const int64_t *dim, const char *prefix, const char *name) {
    add(l, fill, l->type, dims, dim, prefix, name);
}
static void vector(list *l, ws_fill fill, int64_t n, const char *prefix, const char *name) {
    add(l, fill, l->type, 1, &n, prefix, name);
}
/* Stored in F32 whatever the rest is (models.md 3.1). */
static void exact(list *l, ws_fill fill, int64_t n, const char *prefix, const char *name) {
    add(l, fill, WS_F32, 1, &n, prefix, name);
}
static void matrix(list *l, int64_t rows, int64_t cols, const char *prefix, const char *name) {
    add(l, WS_FILL_FAN, l->type, 2, (const int64_t[]){rows, cols}, prefix, name);
}

/* Layer `p` ("model.layers.3"): norms, attention or linear mixer, MLP. */
static void layer(list *l, const ws_likeness *k, const char *p, int linear) {
    const int64_t h = k->hidden, q = (int64_t)k->heads * k->head_dim, kv = (int64_t)k->kv_heads * k->head_dim;
    const ws_fill norm = k->family == WS_LIKE_QWEN35 ? WS_FILL_ZEROS : WS_FILL_ONES;
    vector(l, norm, h, p, "input_layernorm.weight");
    if (linear) {
        const int64_t key = (int64_t)k->linear_k * k->linear_dim, value = (int64_t)k->linear_v * k->linear_dim;
        const int64_t taps[] = {2 * key + value, 1, k->conv};
        matrix(l, 2 * key + value, h, p, "linear_attn.in_proj_qkv.weight");
        matrix(l, value, h, p, "linear_attn.in_proj_z.weight");
        matrix(l, k->linear_v, h, p, "linear_attn.in_proj_b.weight");
        matrix(l, k->linear_v, h, p, "linear_attn.in_proj_a.weight");
        tensor(l, WS_FILL_CONV, 3, taps, p, "linear_attn.conv1d.weight");
        exact(l, WS_FILL_ALOG, k->linear_v, p, "linear_attn.A_log");
        vector(l, WS_FILL_ONE, k->linear_v, p, "linear_attn.dt_bias");
        exact(l, WS_FILL_ONES, k->linear_dim, p, "linear_attn.norm.weight");
        matrix(l, h, value, p, "linear_attn.out_proj.weight");
    } else {
        matrix(l, k->family == WS_LIKE_QWEN35 ? 2 * q : q, h, p, "self_attn.q_proj.weight"); /* its gate beside */
        matrix(l, kv, h, p, "self_attn.k_proj.weight");
        matrix(l, kv, h, p, "self_attn.v_proj.weight");
        matrix(l, h, q, p, "self_attn.o_proj.weight");
        if (k->family != WS_LIKE_LLAMA) {
            vector(l, norm, k->head_dim, p, "self_attn.q_norm.weight");
            vector(l, norm, k->head_dim, p, "self_attn.k_norm.weight");
        }
    }
    vector(l, norm, h, p, "post_attention_layernorm.weight");
    matrix(l, k->ffn, h, p, "mlp.gate_proj.weight");
    matrix(l, k->ffn, h, p, "mlp.up_proj.weight");
    matrix(l, h, k->ffn, p, "mlp.down_proj.weight");
}

static int is_linear(const ws_likeness *k, int i) { return k->family == WS_LIKE_QWEN35 && (i + 1) % 4; }

static void vision(list *l, const ws_likeness *k) {
    const char *p = "model.visual";
    const int64_t h = k->vision.hidden, f = k->vision.ffn, four = 4 * h;
    const int64_t patch[] = {h, 3, 2, k->vision.patch, k->vision.patch};
    tensor(l, WS_FILL_FAN, 5, patch, p, "patch_embed.proj.weight");
    vector(l, WS_FILL_NONE, h, p, "patch_embed.proj.bias");
    matrix(l, k->vision.positions, h, p, "pos_embed.weight");
    for (int i = 0; i < k->vision.depth; i++) {
        char block[64];
        snprintf(block, sizeof block, "%s.blocks.%d", p, i);
        for (int n = 1; n < 3; n++) {
            vector(l, WS_FILL_ONES, h, block, n == 1 ? "norm1.weight" : "norm2.weight");
            vector(l, WS_FILL_NONE, h, block, n == 1 ? "norm1.bias" : "norm2.bias");
        }
        matrix(l, 3 * h, h, block, "attn.qkv.weight");
        vector(l, WS_FILL_NONE, 3 * h, block, "attn.qkv.bias");
        matrix(l, h, h, block, "attn.proj.weight");
        vector(l, WS_FILL_NONE, h, block, "attn.proj.bias");
        matrix(l, f, h, block, "mlp.linear_fc1.weight");
        vector(l, WS_FILL_NONE, f, block, "mlp.linear_fc1.bias");
        matrix(l, h, f, block, "mlp.linear_fc2.weight");
        vector(l, WS_FILL_NONE, h, block, "mlp.linear_fc2.bias");
    }
    vector(l, WS_FILL_ONES, h, p, "merger.norm.weight");
    vector(l, WS_FILL_NONE, h, p, "merger.norm.bias");
    matrix(l, four, four, p, "merger.linear_fc1.weight"); /* four patches become one token */
    vector(l, WS_FILL_NONE, four, p, "merger.linear_fc1.bias");
    matrix(l, k->hidden, four, p, "merger.linear_fc2.weight");
    vector(l, WS_FILL_NONE, k->hidden, p, "merger.linear_fc2.bias");
}

static void multi_token(list *l, const ws_likeness *k) {
    const int64_t h = k->hidden;
    matrix(l, h, 2 * h, "mtp", "fc.weight");
    layer(l, k, "mtp.layers.0", 0);
    vector(l, WS_FILL_ZEROS, h, "mtp", "norm.weight");
    vector(l, WS_FILL_ZEROS, h, "mtp", "pre_fc_norm_embedding.weight");
    vector(l, WS_FILL_ZEROS, h, "mtp", "pre_fc_norm_hidden.weight");
}

ws_like_tensors ws_likeness_tensors(const ws_likeness *k, int f32, int text_only) {
    const char *prefix = k->family == WS_LIKE_QWEN35 ? "model.language_model" : "model";
    const int64_t embed[] = {k->vocab, k->hidden};
    list l = {.type = f32 ? WS_F32 : WS_BF16};
    tensor(&l, WS_FILL_EMBED, 2, embed, prefix, "embed_tokens.weight");
    for (int i = 0; i < k->layers; i++) {
        char p[64];
        snprintf(p, sizeof p, "%s.layers.%d", prefix, i);
        layer(&l, k, p, is_linear(k, i));
    }
    vector(&l, k->family == WS_LIKE_QWEN35 ? WS_FILL_ZEROS : WS_FILL_ONES, k->hidden, prefix, "norm.weight");
    if (!k->tied) tensor(&l, WS_FILL_EMBED, 2, embed, NULL, "lm_head.weight");
    if (k->vision.depth && !text_only) vision(&l, k), multi_token(&l, k);
    return l.a;
}

void ws_like_tensors_free(ws_like_tensors *t) {
    for (size_t i = 0; i < t->n; i++) free(t->t[i].name);
    free(t->t);
    free(t->fill);
    memset(t, 0, sizeof *t);
}

/* ---------- config.json ---------- */
static json_t *decoder(const ws_likeness *k) {
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:b, s:f, s:i, s:s, s:b, s:f, s:b}", "hidden_size", k->hidden,
                     "num_hidden_layers", k->layers, "intermediate_size", k->ffn, "num_attention_heads", k->heads,
                     "num_key_value_heads", k->kv_heads, "head_dim", k->head_dim, "vocab_size", (json_int_t)k->vocab,
                     "tie_word_embeddings", k->tied, "rms_norm_eps", k->eps, "max_position_embeddings", k->max_pos,
                     "hidden_act", "silu", "attention_bias", 0, "initializer_range", 0.02, "use_cache", 1);
}

static json_t *qwen35(const ws_likeness *k, const char *type) {
    json_t *text = decoder(k), *layers = json_array();
    const int half = k->head_dim / 8; /* frequencies of the rotated quarter, dealt to time, height and width */
    for (int i = 0; i < k->layers; i++)
        json_array_append_new(layers, json_string(is_linear(k, i) ? "linear_attention" : "full_attention"));
    json_object_update_new(
        text,
        json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:s, s:b, s:i, s:b, s:n, s:I, s:{s:s, s:f, s:f, "
                  "s:[i,i,i], s:b}}",
                  "model_type", "qwen3_5_text", "dtype", type, "linear_num_key_heads", k->linear_k,
                  "linear_num_value_heads", k->linear_v, "linear_key_head_dim", k->linear_dim, "linear_value_head_dim",
                  k->linear_dim, "linear_conv_kernel_dim", k->conv, "full_attention_interval", 4, "layer_types", layers,
                  "mamba_ssm_dtype", "float32", "attn_output_gate", 1, "mtp_num_hidden_layers", 1,
                  "mtp_use_dedicated_embeddings", 0, "bos_token_id", "eos_token_id", (json_int_t)k->base,
                  "rope_parameters", "rope_type", "default", "rope_theta", k->theta, "partial_rotary_factor", 0.25,
                  "mrope_section", (half + 2) / 3, (half + 1) / 3, half / 3, "mrope_interleaved", 1));
    json_t *tower =
        json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "model_type", "qwen3_5", "depth",
                  k->vision.depth, "hidden_size", k->vision.hidden, "intermediate_size", k->vision.ffn, "num_heads",
                  k->vision.hidden / (k->vision.hidden >= 64 ? 64 : 16), "patch_size", k->vision.patch,
                  "temporal_patch_size", 2, "spatial_merge_size", 2, "in_channels", 3, "out_hidden_size", k->hidden,
                  "num_position_embeddings", k->vision.positions, "hidden_act", "gelu_pytorch_tanh");
    return json_pack("{s:[s], s:s, s:b, s:I, s:I, s:I, s:I, s:o, s:o}", "architectures",
                     "Qwen3_5ForConditionalGeneration", "model_type", "qwen3_5", "tie_word_embeddings", k->tied,
                     "vision_start_token_id", (json_int_t)k->base + 9, "vision_end_token_id", (json_int_t)k->base + 10,
                     "image_token_id", (json_int_t)k->base + 12, "video_token_id", (json_int_t)k->base + 13,
                     "text_config", text, "vision_config", tower);
}

json_t *ws_likeness_config(const ws_likeness *k, int f32) {
    const char *type = f32 ? "float32" : "bfloat16";
    json_t *j;
    if (k->family == WS_LIKE_QWEN35) {
        j = qwen35(k, type);
    } else {
        const int llama = k->family == WS_LIKE_LLAMA;
        j = decoder(k);
        json_object_update_new(j, json_pack("{s:[s], s:s, s:s, s:f, s:n, s:I, s:I}", "architectures",
                                            llama ? "LlamaForCausalLM" : "Qwen3ForCausalLM", "model_type",
                                            llama ? "llama" : "qwen3", "torch_dtype", type, "rope_theta", k->theta,
                                            "rope_scaling", "bos_token_id", (json_int_t)(llama ? 1 : k->base),
                                            "eos_token_id", (json_int_t)(llama ? 2 : k->base + 2)));
        if (llama)
            json_object_update_new(j, json_pack("{s:i, s:b}", "pad_token_id", 2, "mlp_bias", 0));
        else
            json_object_update_new(j, json_pack("{s:b, s:n}", "use_sliding_window", 0, "sliding_window"));
    }
    WS_ASSERT(j);
    return j;
}

json_t *ws_likeness_generation(const ws_likeness *k) {
    if (k->family == WS_LIKE_QWEN35) return NULL;
    if (k->family == WS_LIKE_LLAMA)
        return json_pack("{s:i, s:i, s:i}", "bos_token_id", 1, "eos_token_id", 2, "pad_token_id", 2);
    return json_pack("{s:b, s:f, s:f, s:i, s:I, s:[I,I], s:I}", "do_sample", 1, "temperature", 0.6, "top_p", 0.95,
                     "top_k", 20, "bos_token_id", (json_int_t)k->base, "eos_token_id", (json_int_t)k->base + 2,
                     (json_int_t)k->base, "pad_token_id", (json_int_t)k->base);
}
