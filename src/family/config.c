/* src/family/config.c - the keys of config.json that all families share (models.md 2.1), in the v4 and the v5 style. */
#include "family/family.h"
#include "io/json.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 4096, MAX_WIDTH = 1 << 20, MAX_HEADS = 4096, MAX_HEAD_DIM = 1024 };

ws_status ws_config_flag(const ws_binder *b, const char *key, int dflt, int *out, ws_err *err) {
    return ws_json_bool_or(b->config, key, dflt, out, b->where, err);
}

ws_status ws_config_size(const ws_binder *b, const char *key, int64_t dflt, int64_t hi, int64_t *out, ws_err *err) {
    const json_t *v = json_object_get(b->config, key);
    if (dflt && (!v || json_is_null(v))) {
        *out = dflt;
    } else if (ws_json_int(b->config, key, out, b->where, err)) {
        return err->code;
    }
    if (*out < 1 || *out > hi)
        return ws_fail(err, WS_EFORMAT, "%s: %s is %lld, outside 1..%lld", b->where, key, (long long)*out,
                       (long long)hi);
    return WS_OK;
}

static ws_status refuse(const ws_binder *b, ws_err *err) {
    const json_t *c = b->config;
    const json_t *quantised = json_object_get(c, "quantization_config");
    if (!quantised) quantised = json_object_get(b->top, "quantization_config");
    if (quantised && !json_is_null(quantised))
        return ws_fail(err, WS_EUNSUPPORTED, "%s: has a quantization_config; give the unquantised model or a GGUF file",
                       b->where);
    const char *act = json_string_value(json_object_get(c, "hidden_act"));
    if (act && strcmp(act, "silu"))
        return ws_fail(err, WS_EUNSUPPORTED, "%s: hidden_act '%s'; this family is computed with silu only", b->where,
                       act);
    if (json_is_false(json_object_get(c, "attn_output_gate")))
        return ws_fail(err, WS_EUNSUPPORTED, "%s: attn_output_gate false describes no model that we can compute",
                       b->where);
    return WS_OK;
}

ws_status ws_config_no_window(const ws_binder *b, ws_err *err) {
    int on = 0;
    if (ws_config_flag(b, "use_sliding_window", 0, &on, err)) return err->code;
    if (!on || json_is_null(json_object_get(b->config, "sliding_window"))) return WS_OK;
    return ws_fail(
        err, WS_EUNSUPPORTED,
        "%s: use_sliding_window is true; attention here sees the whole context, which would not be this model",
        b->where);
}

static ws_status rope_number(const json_t *dict, const char *key, double dflt, double *out, const ws_binder *b,
                             ws_err *err) {
    return ws_json_num_or(dict, key, dflt, out, b->where, err);
}

static ws_status need(const json_t *dict, const char *key, double *out, const ws_binder *b, ws_err *err) {
    if (ws_json_num(dict, key, out, b->where, err)) return ws_fail_prefix(err, "RoPE scaling");
    return WS_OK;
}

static ws_status read_factors(const json_t *dict, ws_rope_params *p, double **store, const ws_binder *b, ws_err *err) {
    const json_t *list = json_object_get(dict, "factors");
    size_t n = (size_t)p->dim / 2;
    if (!json_is_array(list) || json_array_size(list) != n)
        return ws_fail(err, WS_EFORMAT, "%s: RoPE factors: %zu numbers are needed, one per frequency", b->where, n);
    *store = ws_xmalloc(n * sizeof **store);
    for (size_t i = 0; i < n; i++) {
        (*store)[i] = json_number_value(json_array_get(list, i));
        if (!((*store)[i] > 0))
            return ws_fail(err, WS_EFORMAT, "%s: RoPE factor %zu is not a positive number", b->where, i);
    }
    p->factors = *store;
    return WS_OK;
}

/* R of a family that turns only part of each head: an even number in 2..head_dim. */
static ws_status read_partial(const json_t *dict, const ws_arch *a, const ws_binder *b, double dflt, int *dim,
                              ws_err *err) {
    double part;
    if (rope_number(b->config, "partial_rotary_factor", dflt, &dflt, b, err) ||
        rope_number(dict, "partial_rotary_factor", dflt, &part, b, err))
        return err->code;
    *dim = part > 0 && part <= 1 ? (int)(a->head_dim * part) : 0;
    if (*dim < 2 || *dim % 2)
        return ws_fail(err, WS_EFORMAT, "%s: partial_rotary_factor %g of head_dim %d is no even number of dimensions",
                       b->where, part, a->head_dim);
    return WS_OK;
}

static ws_status read_rope(ws_arch *a, const ws_binder *b, const ws_config_rules *rules, ws_err *err) {
    const json_t *c = b->config, *scaling = json_object_get(c, "rope_scaling"),
                 *dict = json_object_get(c, "rope_parameters");
    double *factors = NULL, top_theta = 10000, fallback = a->max_pos;
    /* rope_scaling, where it is not null, is the whole dictionary. */
    if (scaling && !json_is_null(scaling)) dict = scaling;
    if (json_is_null(dict)) dict = NULL;
    if (dict && !json_is_object(dict)) return ws_fail(err, WS_EFORMAT, "%s: RoPE parameters are no object", b->where);
    const char *type = json_string_value(json_object_get(dict, "rope_type"));
    if (!type) type = json_string_value(json_object_get(dict, "type"));
    if (!type) type = "default";
    ws_rope_params p = {.dim = a->head_dim, .factor = 1};
    ws_status st = rope_number(c, "rope_theta", 10000, &top_theta, b, err);
    if (st || (st = rope_number(dict, "rope_theta", top_theta, &p.theta, b, err))) return st;
    if (rules->rotary > 0 && read_partial(dict, a, b, rules->rotary, &p.dim, err)) return err->code;
    if (rope_number(c, "max_position_embeddings", fallback, &fallback, b, err) ||
        rope_number(dict, "original_max_position_embeddings", fallback, &p.original_max, b, err) ||
        rope_number(c, "original_max_position_embeddings", p.original_max, &p.original_max, b, err))
        return err->code;
    if (!strcmp(type, "default")) {
        p.kind = WS_ROPE_DEFAULT;
    } else if (!strcmp(type, "linear")) {
        p.kind = WS_ROPE_LINEAR;
        st = need(dict, "factor", &p.factor, b, err);
    } else if (!strcmp(type, "llama3")) {
        p.kind = WS_ROPE_LLAMA3;
        if ((st = need(dict, "factor", &p.factor, b, err)) || (st = need(dict, "low_freq_factor", &p.low_freq, b, err)))
            return st;
        st = need(dict, "high_freq_factor", &p.high_freq, b, err);
    } else if (!strcmp(type, "yarn")) {
        p.kind = WS_ROPE_YARN;
        p.no_truncate = json_is_false(json_object_get(dict, "truncate"));
        if ((st = need(dict, "factor", &p.factor, b, err)) ||
            (st = rope_number(dict, "beta_fast", 32, &p.beta_fast, b, err)) ||
            (st = rope_number(dict, "beta_slow", 1, &p.beta_slow, b, err)) ||
            (st = rope_number(dict, "mscale", 0, &p.mscale, b, err)) ||
            (st = rope_number(dict, "mscale_all_dim", 0, &p.mscale_all_dim, b, err)))
            return st;
        st = rope_number(dict, "attention_factor", 0, &p.attention_factor, b, err);
    } else if (!strcmp(type, "factors")) {
        p.kind = WS_ROPE_FACTORS;
        st = read_factors(dict, &p, &factors, b, err); /* also on failure there may be something to free */
    } else {
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: RoPE type '%s'; default, linear, llama3 and yarn are computed ('dynamic' and 'longrope' "
                       "change with the "
                       "length of the text, so a cached prefix would be wrong)",
                       b->where, type);
    }
    if (!st && (st = ws_rope_init(&a->rope, &p, err))) ws_fail_prefix(err, "%s", b->where);
    free(factors);
    return st;
}

ws_status ws_config_read(ws_arch *a, const ws_binder *b, const ws_config_rules *rules, ws_err *err) {
    int64_t layers, hidden, ffn, heads, kv, dim, max_pos;
    double eps;
    if (refuse(b, err) || ws_config_size(b, "num_hidden_layers", 0, MAX_LAYERS, &layers, err) ||
        ws_config_size(b, "hidden_size", 0, MAX_WIDTH, &hidden, err) ||
        ws_config_size(b, "intermediate_size", 0, MAX_WIDTH, &ffn, err) ||
        ws_config_size(b, "num_attention_heads", 0, MAX_HEADS, &heads, err) ||
        ws_config_size(b, "vocab_size", 0, 1 << 24, &a->vocab, err) ||
        ws_config_size(b, "max_position_embeddings", 2048, 1 << 28, &max_pos, err) ||
        ws_json_num_or(b->config, "rms_norm_eps", 1e-6, &eps, b->where, err))
        return err->code;
    /* A null num_key_value_heads means one per query head; a missing key has the default of the family's class. */
    const json_t *kv_key = json_object_get(b->config, "num_key_value_heads");
    int64_t kv_default = !kv_key && rules->kv_heads ? rules->kv_heads : heads;
    if (ws_config_size(b, "num_key_value_heads", kv_default, MAX_HEADS, &kv, err)) return err->code;
    if (heads % kv)
        return ws_fail(err, WS_EFORMAT, "%s: %lld query heads cannot share %lld key-value heads", b->where,
                       (long long)heads, (long long)kv);
    int64_t dim_default = rules->head_dim ? rules->head_dim : hidden / heads;
    if (ws_config_size(b, "head_dim", dim_default ? dim_default : 1, MAX_HEAD_DIM, &dim, err)) return err->code;
    if (!(eps > 0 && eps < 1))
        return ws_fail(err, WS_EFORMAT, "%s: rms_norm_eps %g is not a small positive number", b->where, eps);
    a->layers = (int)layers, a->hidden = (int)hidden, a->ffn = (int)ffn, a->heads = (int)heads, a->kv_heads = (int)kv;
    a->head_dim = (int)dim, a->max_pos = (int)max_pos, a->eps = (float)eps;
    return read_rope(a, b, rules, err);
}
