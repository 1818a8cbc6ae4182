#include "io/gguf_config.h"
#include "base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct source {
    const ws_gguf *g;
    const char *path, *arch;
    ws_err *err;
    ws_status rc; /* the first failure; later reads do nothing */
    char key[160];
} source;

static const char *key(source *s, const char *rest) {
    snprintf(s->key, sizeof s->key, "%s.%s", s->arch, rest);
    return s->key;
}

static void refuse(source *s, ws_status code, const char *what) {
    if (!s->rc) s->rc = ws_fail(s->err, code, "%s: %s: %s", s->path, s->key, what);
}

/* A whole number in 1..2^31; `dflt` < 0: the key must be there. */
static int64_t count(source *s, const char *rest, int64_t dflt) {
    int64_t v = dflt;
    const int64_t *each;
    const char *k = key(s, rest);
    if (s->rc) return 1;
    if (!ws_gguf_has(s->g, k)) {
        if (dflt < 0) refuse(s, WS_EFORMAT, "this metadata key is missing");
    } else if (!ws_gguf_int(s->g, k, &v)) {
        size_t n = ws_gguf_ints(s->g, k, &each); /* one number a layer: fine while all are equal */
        for (size_t i = 1; i < n; i++)
            if (each[i] != each[0])
                n = 0, refuse(s, WS_EUNSUPPORTED, "differs from layer to layer, which no family here computes");
        if (n)
            v = each[0];
        else
            refuse(s, WS_EFORMAT, "is no whole number");
    }
    if (!s->rc && (v < 1 || v > INT32_MAX)) refuse(s, WS_EFORMAT, "is outside 1..2^31");
    return s->rc ? 1 : v;
}

/* The shortest decimal that is the same fp32 number: 9.999999747378752e-06 was 1e-05 in the config.json it came from. */
static double shortest(double v) {
    char text[32];
    if ((double)(float)v != v) return v;
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtof(text, NULL) == (float)v) break;
    }
    return strtod(text, NULL);
}

static double positive(source *s, const char *rest, double dflt) {
    double v = dflt;
    const char *k = key(s, rest);
    if (s->rc) return 1;
    if (!ws_gguf_has(s->g, k)) {
        if (dflt < 0) refuse(s, WS_EFORMAT, "this metadata key is missing");
    } else if (!ws_gguf_num(s->g, k, &v) || !isfinite(v) || v <= 0)
        refuse(s, WS_EFORMAT, "is no positive number");
    return s->rc ? 1 : shortest(v);
}

/* Metadata that changes what the model computes, beyond what the families do. */
static void refuse_foreign(source *s) {
    static const struct {
        const char *rest;
        double harmless;
    } foreign[] = {{"expert_count", 0},           {"attention.scale", 0},
                   {"attention.clamp_kqv", 0},    {"attention.max_alibi_bias", 0},
                   {"attention.causal", 1},       {"logit_scale", 0},
                   {"residual_scale", 0},         {"embedding_scale", 0},
                   {"attn_logit_softcapping", 0}, {"final_logit_softcapping", 0},
                   {"use_parallel_residual", 0},  {"attention.sliding_window", 0},
                   {"rope.scaling.alpha", 0},     {"attention.temperature_scale", 0}};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        double v = foreign[i].harmless;
        const char *k = key(s, foreign[i].rest);
        if (ws_gguf_has(s->g, k) && (!ws_gguf_num(s->g, k, &v) || v != foreign[i].harmless))
            refuse(s, WS_EUNSUPPORTED, "asks for arithmetic that this architecture does not have here");
    }
}

/* llama.cpp stores Llama-3's frequency scaling as one divisor per rotary frequency. */
static json_t *factors(source *s, int64_t head_dim) {
    const ws_tensor *t = ws_gguf_find(s->g, "rope_freqs.weight");
    if (!t || s->rc) return NULL;
    snprintf(s->key, sizeof s->key, "rope_freqs.weight");
    if (t->type != WS_F32 || ws_tensor_numel(t) != head_dim / 2) {
        refuse(s, WS_ESHAPE, "must hold one F32 divisor for each pair of a head's dimensions");
        return NULL;
    }
    json_t *list = json_array();
    for (int64_t i = 0; i < head_dim / 2; i++) {
        float f;
        memcpy(&f, (const char *)t->data + 4 * i, 4);
        if (!isfinite(f) || f <= 0) refuse(s, WS_EFORMAT, "holds a divisor that is not positive");
        json_array_append_new(list, json_real(isfinite(f) ? (double)f : 0));
    }
    return json_pack("{s:s, s:o}", "rope_type", "factors", "factors", list);
}

static json_t *scaling(source *s, int64_t head_dim, int64_t context) {
    json_t *o = factors(s, head_dim);
    const char *k = key(s, "rope.scaling.type"), *type = ws_gguf_str(s->g, k, NULL);
    if (!type && ws_gguf_has(s->g, k)) refuse(s, WS_EFORMAT, "is no string");
    if (!type && ws_gguf_has(s->g, key(s, "rope.scale_linear"))) { /* the key of older files */
        double f = positive(s, "rope.scale_linear", -1);
        if (f != 1) o = o ? o : json_pack("{s:s, s:f}", "rope_type", "linear", "factor", f);
        return o;
    }
    if (!type || !strcmp(type, "none") || s->rc) return o;
    if (o) {
        refuse(s, WS_EUNSUPPORTED, "stands beside rope_freqs.weight; one or the other is computed");
        return o;
    }
    double f = positive(s, "rope.scaling.factor", 1);
    if (!strcmp(type, "linear")) return f == 1 ? NULL : json_pack("{s:s, s:f}", "rope_type", "linear", "factor", f);
    if (strcmp(type, "yarn")) {
        key(s, "rope.scaling.type");
        refuse(s, WS_EUNSUPPORTED, "names a rotary scaling other than none, linear or yarn");
        return NULL;
    }
    /* llama.cpp multiplies its own 0.1 ln(factor) + 1 by attn_factor; Hugging Face's attention_factor is the product. */
    o = json_pack("{s:s, s:f, s:I}", "rope_type", "yarn", "factor", f, "original_max_position_embeddings",
                  (json_int_t)count(s, "rope.scaling.original_context_length", context));
    const char *attn = ws_gguf_has(s->g, key(s, "rope.scaling.attn_factor")) ? "rope.scaling.attn_factor"
                                                                             : "rope.scaling.yarn_attn_factor";
    double a = positive(s, attn, 1);
    if (a != 1) json_object_set_new(o, "attention_factor", json_real(a * (0.1 * log(f > 1 ? f : 1) + 1)));
    json_object_set_new(o, "beta_fast", json_real(positive(s, "rope.scaling.yarn_beta_fast", 32)));
    json_object_set_new(o, "beta_slow", json_real(positive(s, "rope.scaling.yarn_beta_slow", 1)));
    if (ws_gguf_has(s->g, key(s, "rope.scaling.yarn_log_multiplier"))) refuse(s, WS_EUNSUPPORTED, "is not computed");
    return o;
}

/* The token that ends a turn may differ from the one that ends a text; both stop a generation. */
static json_t *stops(const ws_gguf *g) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int64_t id[3], v;
    size_t n = 0;
    for (size_t i = 0; i < 3; i++)
        if (ws_gguf_int(g, keys[i], &v) && v >= 0 && v <= INT32_MAX && !(n > 0 && id[0] == v) && !(n > 1 && id[1] == v))
            id[n++] = v;
    if (!n) return json_null();
    if (n == 1) return json_integer(id[0]);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(id[i]));
    return list;
}

static json_t *token(const ws_gguf *g, const char *k) {
    int64_t v;
    return ws_gguf_int(g, k, &v) && v >= 0 && v <= INT32_MAX ? json_integer(v) : json_null();
}

static void set(json_t *o, const char *k, int64_t v) { json_object_set_new(o, k, json_integer(v)); }

/* A bias that only some layers might have is looked for in all of them. */
static json_t *has_bias(const ws_gguf *g, const char *part, int64_t layers) {
    char name[64];
    for (int64_t i = 0; i < layers; i++) {
        snprintf(name, sizeof name, "blk.%lld.%s.bias", (long long)i, part);
        if (ws_gguf_find(g, name)) return json_true();
    }
    return json_false();
}

/* ---- Qwen3.5: what llama.cpp's converter writes of its linear attention ---- */

/* Which layers are recurrent: a list in newer files, else every layer but each n-th. */
static json_t *layer_types(source *s, int64_t layers) {
    json_t *list = json_array();
    const int64_t *each = NULL;
    int64_t interval = count(s, "full_attention_interval", 4), all = 0;
    const char *k = key(s, "attention.recurrent_layers");
    size_t n = ws_gguf_ints(s->g, k, &each);
    int uniform = ws_gguf_int(s->g, k, &all);
    if (ws_gguf_has(s->g, k) && !uniform && n < (size_t)layers)
        refuse(s, WS_EFORMAT, "does not say of each layer whether it is recurrent");
    for (int64_t i = 0; !s->rc && i < layers; i++) {
        int recurrent = each ? each[i] != 0 : uniform ? all != 0 : (i + 1) % interval != 0;
        json_array_append_new(list, json_string(recurrent ? "linear_attention" : "full_attention"));
    }
    return list;
}

/* A size whose products with two others still fit. */
static int64_t width(source *s, const char *rest) {
    int64_t v = count(s, rest, -1);
    if (!s->rc && v > 1 << 20) refuse(s, WS_EFORMAT, "is above 2^20");
    return s->rc ? 1 : v;
}

static void add_qwen35(source *s, json_t *o, int64_t layers, int64_t head_dim, int64_t rotated) {
    int64_t keys = width(s, "ssm.group_count"), values = width(s, "ssm.time_step_rank");
    int64_t key_dim = width(s, "ssm.state_size"), kernel = width(s, "ssm.conv_kernel"),
            inner = width(s, "ssm.inner_size");
    if (!s->rc && inner % values) refuse(s, WS_EFORMAT, "is no multiple of the number of value heads");
    key(s, "ssm.time_step_rank");
    if (!s->rc && values % keys) refuse(s, WS_EFORMAT, "value heads cannot be shared out among the key heads");
    key(s, "rope.dimension_count");
    if (!s->rc && (rotated > head_dim || rotated % 2)) refuse(s, WS_EFORMAT, "is no even part of a head");
    set(o, "linear_num_key_heads", keys), set(o, "linear_num_value_heads", values);
    set(o, "linear_key_head_dim", key_dim), set(o, "linear_value_head_dim", inner / values);
    set(o, "linear_conv_kernel_dim", kernel);
    json_object_set_new(o, "layer_types", layer_types(s, layers));
    json_object_set_new(o, "partial_rotary_factor", json_real((double)rotated / (double)head_dim));
}

ws_status ws_gguf_config(const ws_gguf *g, const char *path, json_t **out, ws_err *err) {
    static const struct {
        const char *arch, *class, *model_type;
    } known[] = {{"llama", "LlamaForCausalLM", "llama"},
                 {"qwen2", "Qwen2ForCausalLM", "qwen2"},
                 {"qwen3", "Qwen3ForCausalLM", "qwen3"},
                 {"qwen35", "Qwen3_5ForCausalLM", "qwen3_5_text"}};
    source s = {.g = g, .path = path, .arch = ws_gguf_str(g, "general.architecture", NULL), .err = err};
    const char *class = NULL, *model_type = NULL;
    *out = NULL;
    const char *type = ws_gguf_str(g, "general.type", NULL);
    if (type && !strcmp(type, "adapter"))
        return ws_fail(err, WS_EUSAGE, "%s: is an adapter, not a model; --steer takes it, --model takes its base",
                       path);
    if (!s.arch) return ws_fail(err, WS_EFORMAT, "%s: general.architecture is missing or no string", path);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].arch, s.arch)) class = known[i].class, model_type = known[i].model_type;
    if (!class)
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: the architecture \"%.64s\" is not supported (llama, qwen2, qwen3 and qwen35 are)", path,
                       s.arch);
    const int qwen35 = !strcmp(s.arch, "qwen35");
    const ws_tensor *embed = ws_gguf_find(g, "token_embd.weight");
    if (!embed || embed->dims != 2)
        return ws_fail(err, WS_EFORMAT, "%s: token_embd.weight is missing or no matrix", path);
    refuse_foreign(&s);

    int64_t hidden = count(&s, "embedding_length", -1), layers = count(&s, "block_count", -1), extra = 0;
    int64_t inner = count(&s, "feed_forward_length", -1), heads = count(&s, "attention.head_count", -1);
    int64_t kv = count(&s, "attention.head_count_kv", heads), context = count(&s, "context_length", -1);
    int64_t head_dim = count(&s, "attention.key_length", hidden / heads > 0 ? hidden / heads : 1);
    if (count(&s, "attention.value_length", head_dim) != head_dim)
        refuse(&s, WS_EUNSUPPORTED, "differs from the key length");
    int64_t rotated = count(&s, "rope.dimension_count", head_dim);
    if (!qwen35 && rotated != head_dim) refuse(&s, WS_EUNSUPPORTED, "rotates a part of each head only");
    if (!s.rc && head_dim % 2) refuse(&s, WS_EFORMAT, "heads of an odd size cannot be rotated");
    if (!s.rc && layers > 4096) key(&s, "block_count"), refuse(&s, WS_EFORMAT, "is above 4096");
    if (qwen35 && ws_gguf_int(g, key(&s, "nextn_predict_layers"), &extra)) {
        if (!s.rc && (extra < 0 || extra >= layers)) refuse(&s, WS_EFORMAT, "leaves no layer of the model itself");
        layers -= extra; /* the last blocks predict tokens further ahead */
    }
    double eps = positive(&s, "attention.layer_norm_rms_epsilon", -1), theta = positive(&s, "rope.freq_base", 10000);
    json_t *rope = scaling(&s, rotated, context);
    json_t *o = json_object();
    if (qwen35) add_qwen35(&s, o, layers, head_dim, rotated);
    if (s.rc) {
        json_decref(rope), json_decref(o);
        return s.rc;
    }
    json_object_set_new(o, "architectures", json_pack("[s]", class));
    json_object_set_new(o, "model_type", json_string(model_type));
    set(o, "hidden_size", hidden), set(o, "num_hidden_layers", layers), set(o, "intermediate_size", inner);
    set(o, "num_attention_heads", heads), set(o, "num_key_value_heads", kv), set(o, "head_dim", head_dim);
    set(o, "max_position_embeddings", context), set(o, "vocab_size", embed->dim[0]);
    json_object_set_new(o, "rms_norm_eps", json_real(eps));
    json_object_set_new(o, "rope_theta", json_real(theta));
    json_object_set_new(o, "rope_scaling", rope ? rope : json_null());
    json_object_set_new(o, "hidden_act", json_string("silu"));
    json_object_set_new(o, "attention_bias", has_bias(g, "attn_q", layers));
    json_object_set_new(o, "mlp_bias", has_bias(g, "ffn_gate", layers));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(ws_gguf_find(g, "output.weight") == NULL));
    json_object_set_new(o, "bos_token_id", token(g, "tokenizer.ggml.bos_token_id"));
    json_object_set_new(o, "eos_token_id", stops(g));
    json_object_set_new(o, "pad_token_id", token(g, "tokenizer.ggml.padding_token_id"));
    *out = o;
    return WS_OK;
}
