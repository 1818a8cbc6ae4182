/* src/run/likeness.c - the tables, their config.json and their tensors. */
#include "run/likeness.h"
#include "base/str.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const ws_likeness table[] = {
    {"qwen3.5-4b",
     WS_LIKE_QWEN35,
     2560,
     32,
     9216,
     16,
     4,
     256,
     16,
     32,
     128,
     4,
     248320,
     248044,
     1,
     262144,
     1,
     1e7,
     1e-6,
     {24, 1024, 4096, 16, 2304},
     5329398688},
    {"qwen3.5-2b",
     WS_LIKE_QWEN35,
     2048,
     24,
     6144,
     8,
     2,
     256,
     16,
     16,
     128,
     4,
     248320,
     248044,
     1,
     262144,
     0,
     1e7,
     1e-6,
     {24, 1024, 4096, 16, 2304},
     5329398688},
    {"qwen3.5-0.8b",
     WS_LIKE_QWEN35,
     1024,
     24,
     3584,
     8,
     2,
     256,
     16,
     16,
     128,
     4,
     248320,
     248044,
     1,
     262144,
     0,
     1e7,
     1e-6,
     {12, 768, 3072, 16, 2304},
     5329398688},
    {"qwen3-0.6b", WS_LIKE_QWEN3, 1024, 28,    3072, 16,  8,    128, 0, 0, 0, 0,
     151936,       151643,        1,    40960, 1,    1e6, 1e-6, {0}, 0},
    {"smollm2-135m", WS_LIKE_LLAMA, 576, 30, 1536, 9, 3, 64, 0, 0, 0, 0, 49152, 49152, 1, 8192, 0, 1e5, 1e-5, {0}, 0},
    {"tiny", WS_LIKE_QWEN35,     64,    4, 128, 4, 2, 32, 2, 4, 16, 4, 512, 448, 1, 8192, 1, 1e7,
     1e-6,   {2, 32, 64, 4, 16}, 300000},
    {"tiny-qwen3", WS_LIKE_QWEN3, 64, 4, 128, 4, 2, 32, 0, 0, 0, 0, 512, 448, 1, 8192, 1, 1e6, 1e-6, {0}, 0},
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

static void add(list *l, ws_fill fill, ws_dtype type, int dims, const int64_t *dim, const char *fmt, va_list ap) {
    if (l->a.n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 256;
        l->a.t = ws_xrealloc(l->a.t, l->cap * sizeof *l->a.t);
        l->a.fill = ws_xrealloc(l->a.fill, l->cap * sizeof *l->a.fill);
    }
    ws_tensor *t = &l->a.t[l->a.n];
    char name[256];
    vsnprintf(name, sizeof name, fmt, ap);
    *t = (ws_tensor){.name = ws_xstrdup(name), .type = type, .dims = dims};
    for (int i = 0; i < dims; i++) t->dim[i] = dim[i];
    t->bytes = ws_dtype_bytes(type, ws_tensor_numel(t));
    l->a.fill[l->a.n++] = fill;
}

__attribute__((format(printf, 4, 5))) static void vector(list *l, ws_fill fill, int64_t n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    add(l, fill, l->type, 1, &n, fmt, ap);
    va_end(ap);
}

/* Stored in F32 whatever the rest is (models.md 3.1). */
__attribute__((format(printf, 4, 5))) static void exact(list *l, ws_fill fill, int64_t n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    add(l, fill, WS_F32, 1, &n, fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 4, 5))) static void matrix(list *l, int64_t rows, int64_t cols, const char *fmt, ...) {
    va_list ap;
    const int64_t dim[] = {rows, cols};
    va_start(ap, fmt);
    add(l, WS_FILL_FAN, l->type, 2, dim, fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 5, 6))) static void tensor(list *l, ws_fill fill, int dims, const int64_t *dim,
                                                         const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    add(l, fill, l->type, dims, dim, fmt, ap);
    va_end(ap);
}

/* Layer `p` ("model.layers.3"): norms, attention or linear mixer, MLP. */
static void layer(list *l, const ws_likeness *k, const char *p, int linear) {
    const int64_t h = k->hidden, q = (int64_t)k->heads * k->head_dim, kv = (int64_t)k->kv_heads * k->head_dim;
    const ws_fill norm = k->family == WS_LIKE_QWEN35 ? WS_FILL_ZEROS : WS_FILL_ONES;
    vector(l, norm, h, "%s.input_layernorm.weight", p);
    if (linear) {
        const int64_t key = (int64_t)k->linear_k * k->linear_dim, value = (int64_t)k->linear_v * k->linear_dim;
        const int64_t taps[] = {2 * key + value, 1, k->conv};
        matrix(l, 2 * key + value, h, "%s.linear_attn.in_proj_qkv.weight", p);
        matrix(l, value, h, "%s.linear_attn.in_proj_z.weight", p);
        matrix(l, k->linear_v, h, "%s.linear_attn.in_proj_b.weight", p);
        matrix(l, k->linear_v, h, "%s.linear_attn.in_proj_a.weight", p);
        tensor(l, WS_FILL_CONV, 3, taps, "%s.linear_attn.conv1d.weight", p);
        exact(l, WS_FILL_ALOG, k->linear_v, "%s.linear_attn.A_log", p);
        vector(l, WS_FILL_ONE, k->linear_v, "%s.linear_attn.dt_bias", p);
        exact(l, WS_FILL_ONES, k->linear_dim, "%s.linear_attn.norm.weight", p);
        matrix(l, h, value, "%s.linear_attn.out_proj.weight", p);
    } else {
        matrix(l, k->family == WS_LIKE_QWEN35 ? 2 * q : q, h, "%s.self_attn.q_proj.weight", p); /* its gate beside */
        matrix(l, kv, h, "%s.self_attn.k_proj.weight", p);
        matrix(l, kv, h, "%s.self_attn.v_proj.weight", p);
        matrix(l, h, q, "%s.self_attn.o_proj.weight", p);
        if (k->family != WS_LIKE_LLAMA) {
            vector(l, norm, k->head_dim, "%s.self_attn.q_norm.weight", p);
            vector(l, norm, k->head_dim, "%s.self_attn.k_norm.weight", p);
        }
    }
    vector(l, norm, h, "%s.post_attention_layernorm.weight", p);
    matrix(l, k->ffn, h, "%s.mlp.gate_proj.weight", p);
    matrix(l, k->ffn, h, "%s.mlp.up_proj.weight", p);
    matrix(l, h, k->ffn, "%s.mlp.down_proj.weight", p);
}

static int is_linear(const ws_likeness *k, int i) { return k->family == WS_LIKE_QWEN35 && (i + 1) % 4; }

static void vision(list *l, const ws_likeness *k) {
    const char *p = "model.visual";
    const int64_t h = k->vision.hidden, f = k->vision.ffn, four = 4 * h;
    const int64_t patch[] = {h, 3, 2, k->vision.patch, k->vision.patch};
    tensor(l, WS_FILL_FAN, 5, patch, "%s.patch_embed.proj.weight", p);
    vector(l, WS_FILL_NONE, h, "%s.patch_embed.proj.bias", p);
    matrix(l, k->vision.positions, h, "%s.pos_embed.weight", p);
    for (int i = 0; i < k->vision.depth; i++) {
        for (int n = 1; n < 3; n++) {
            vector(l, WS_FILL_ONES, h, "%s.blocks.%d.norm%d.weight", p, i, n);
            vector(l, WS_FILL_NONE, h, "%s.blocks.%d.norm%d.bias", p, i, n);
        }
        matrix(l, 3 * h, h, "%s.blocks.%d.attn.qkv.weight", p, i);
        vector(l, WS_FILL_NONE, 3 * h, "%s.blocks.%d.attn.qkv.bias", p, i);
        matrix(l, h, h, "%s.blocks.%d.attn.proj.weight", p, i);
        vector(l, WS_FILL_NONE, h, "%s.blocks.%d.attn.proj.bias", p, i);
        matrix(l, f, h, "%s.blocks.%d.mlp.linear_fc1.weight", p, i);
        vector(l, WS_FILL_NONE, f, "%s.blocks.%d.mlp.linear_fc1.bias", p, i);
        matrix(l, h, f, "%s.blocks.%d.mlp.linear_fc2.weight", p, i);
        vector(l, WS_FILL_NONE, h, "%s.blocks.%d.mlp.linear_fc2.bias", p, i);
    }
    vector(l, WS_FILL_ONES, h, "%s.merger.norm.weight", p);
    vector(l, WS_FILL_NONE, h, "%s.merger.norm.bias", p);
    matrix(l, four, four, "%s.merger.linear_fc1.weight", p); /* four patches become one token */
    vector(l, WS_FILL_NONE, four, "%s.merger.linear_fc1.bias", p);
    matrix(l, k->hidden, four, "%s.merger.linear_fc2.weight", p);
    vector(l, WS_FILL_NONE, k->hidden, "%s.merger.linear_fc2.bias", p);
}

static void multi_token(list *l, const ws_likeness *k) {
    const int64_t h = k->hidden;
    matrix(l, h, 2 * h, "mtp.fc.weight");
    layer(l, k, "mtp.layers.0", 0);
    vector(l, WS_FILL_ZEROS, h, "mtp.norm.weight");
    vector(l, WS_FILL_ZEROS, h, "mtp.pre_fc_norm_embedding.weight");
    vector(l, WS_FILL_ZEROS, h, "mtp.pre_fc_norm_hidden.weight");
}

ws_like_tensors ws_likeness_tensors(const ws_likeness *k, int f32, int text_only) {
    const char *prefix = k->family == WS_LIKE_QWEN35 ? "model.language_model" : "model";
    const int64_t embed[] = {k->vocab, k->hidden};
    list l = {.type = f32 ? WS_F32 : WS_BF16};
    tensor(&l, WS_FILL_EMBED, 2, embed, "%s.embed_tokens.weight", prefix);
    for (int i = 0; i < k->layers; i++) {
        char p[64];
        snprintf(p, sizeof p, "%s.layers.%d", prefix, i);
        layer(&l, k, p, is_linear(k, i));
    }
    vector(&l, k->family == WS_LIKE_QWEN35 ? WS_FILL_ZEROS : WS_FILL_ONES, k->hidden, "%s.norm.weight", prefix);
    if (!k->tied) tensor(&l, WS_FILL_EMBED, 2, embed, "lm_head.weight");
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
