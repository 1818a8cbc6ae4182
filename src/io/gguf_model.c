/* src/io/gguf_model.c - the tensors of a GGUF in Hugging Face's terms.
 * llama.cpp's converter renames them, and changes some: it interleaves the rows of q and k of the llama architecture;
 * of qwen35 it stores w + 1 for the zero-centred norms, -exp(A_log), and the value heads in tiled order (models.md 12,
 * trap 6).  The layer's number is what tells the blocks that predict further tokens from the model's own. */
#include "base/str.h"
#include "io/gguf_config.h"
#include "io/names.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ends(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}
static int64_t number(const json_t *config, const char *key) {
    return json_integer_value(json_object_get(config, key));
}

/* Tensors that no decoder has: they are left out, not refused. */
static int foreign(const char *name, int qwen35, int64_t layers) {
    static const char *const starts[] = {"mtp.", "v.", "mm."};
    if (!strcmp(name, "rope_freqs.weight")) return 1; /* spoken of in the config */
    if (ends(name, ".attn_rot_embd.weight") || ends(name, ".rope_freqs.weight")) return 1;
    if (!qwen35) return 0;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (!strncmp(name, starts[i], strlen(starts[i]))) return 1;
    return !strncmp(name, "blk.", 4) && (strtoll(name + 4, NULL, 10) >= layers || strstr(name, ".nextn."));
}

/* `size` places, all in `o`: whole blocks, counted in numbers that fit. */
static ws_status set_order(ws_order *to, int64_t size, int64_t from, int64_t a, int64_t b, int64_t unit,
                           const ws_tensor *t, const char *path, ws_err *err) {
    const int64_t block = a * b * unit;
    if (from + block > INT32_MAX || block < 1 || size < from || (size - from) % block)
        return ws_fail(err, WS_ESHAPE, "%s: %s: has %lld rows or columns, the model's heads make %lld", path, t->name,
                       (long long)size, (long long)(from + block));
    *to = (ws_order){(int32_t)from, (int32_t)a, (int32_t)b, (int32_t)unit};
    return WS_OK;
}

/* The rows of q and k: a head's two halves, interleaved. */
static ws_status llama(ws_tensor *t, const json_t *config, const char *path, ws_err *err) {
    const int64_t head_dim = number(config, "head_dim");
    if (!strstr(t->name, ".q_proj.") && !strstr(t->name, ".k_proj.")) return WS_OK;
    if (t->dims < 1 || t->dim[0] % head_dim)
        return ws_fail(err, WS_ESHAPE, "%s: %s: its rows are no whole heads of %lld", path, t->name,
                       (long long)head_dim);
    return set_order(&t->row_order, t->dim[0], 0, 2, head_dim / 2, 1, t, path, err);
}

static ws_status check_decay(const ws_tensor *t, const char *path, ws_err *err) {
    float v;
    if (ws_dtypes[t->type].block != 1 || !ws_dtypes[t->type].is_weight)
        return ws_fail(err, WS_EUNSUPPORTED, "%s: %s: is stored as %s, F32 is what it should be", path, t->name,
                       ws_dtypes[t->type].name);
    for (int64_t i = 0; i < ws_tensor_numel(t); i++) {
        ws_dtype_to_f32(&v, (const char *)t->data + ws_dtype_bytes(t->type, i), t->type, 1);
        if (!(v < 0) || isinf(v))
            return ws_fail(err, WS_EFORMAT, "%s: %s: number %lld is %g, but -exp(A_log) is what should stand there",
                           path, t->name, (long long)i, (double)v);
    }
    return WS_OK;
}

static ws_status qwen35(ws_tensor *t, const json_t *config, const char *path, ws_err *err) {
    const int64_t keys = number(config, "linear_num_key_heads"), values = number(config, "linear_num_value_heads");
    const int64_t dv = number(config, "linear_value_head_dim"), each = values / keys;
    const int64_t mixed = 2 * keys * number(config, "linear_key_head_dim"); /* rows of q and k before those of v */
    const char *part = strstr(t->name, ".linear_attn.");
    part = part ? part + strlen(".linear_attn.") : "";
    if (ends(t->name, "norm.weight") && strcmp(part, "norm.weight")) t->stored = WS_STORED_PLUS_ONE;
    if (!strcmp(part, "A_log")) {
        t->stored = WS_STORED_NEG_EXP;
        if (check_decay(t, path, err)) return err->code;
    }
    if (!strcmp(part, "conv1d.weight") && t->dims == 2) /* [channels, taps] of [channels, 1, taps] */
        t->dims = 3, t->dim[2] = t->dim[1], t->dim[1] = 1;
    if (each == 1 || !*part) return WS_OK; /* tiled is grouped then */

    /* Value head j of key head i, i * each + j in Hugging Face's order, stands at j * keys + i. */
    static const struct {
        const char *part;
        int after_mixed, one; /* behind the rows of q and k; one row a head */
    } rows[] = {
        {"in_proj_qkv.weight", 1, 0}, {"conv1d.weight", 1, 0}, {"in_proj_z.weight", 0, 0}, {"in_proj_a.weight", 0, 1},
        {"in_proj_b.weight", 0, 1},   {"A_log", 0, 1},         {"dt_bias", 0, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(part, rows[i].part) && t->dims > 0)
            return set_order(&t->row_order, t->dim[0], rows[i].after_mixed ? mixed : 0, keys, each,
                             rows[i].one ? 1 : dv, t, path, err);
    if (!strcmp(part, "out_proj.weight") && t->dims == 2)
        return set_order(&t->col_order, t->dim[1], 0, keys, each, dv, t, path, err);
    return WS_OK;
}

ws_status ws_gguf_stored(const char *arch, const json_t *config, const char *path, ws_tensor *t, ws_err *err) {
    if (!strcmp(arch, "llama")) return llama(t, config, path, err);
    if (!strcmp(arch, "qwen35")) return qwen35(t, config, path, err);
    return WS_OK;
}

ws_status ws_gguf_tensor(const ws_gguf *g, size_t i, const json_t *config, const char *path, ws_tensor *out,
                         ws_err *err) {
    const ws_tensor *t = ws_gguf_at(g, i);
    const char *arch = ws_gguf_str(g, "general.architecture", NULL);
    const int is_qwen35 = !strcmp(arch, "qwen35");
    *out = *t;
    out->name = NULL;
    if (foreign(t->name, is_qwen35, number(config, "num_hidden_layers"))) return WS_OK;
    if (!(out->name = ws_name_from_gguf(arch, t->name)))
        return ws_fail(err, WS_EUNSUPPORTED, "%s: %s: no tensor of the %s architecture has this name", path, t->name,
                       arch);
    ws_status rc = ws_gguf_stored(arch, config, path, out, err);
    if (!rc && out->dims == 1 && (out->row_order.a || out->stored) && ws_dtypes[out->type].block != 1)
        rc = ws_fail(err, WS_EUNSUPPORTED, "%s: %s: a vector that is stored as %s cannot be put in order", path,
                     t->name, ws_dtypes[out->type].name);
    if (rc) free(out->name), out->name = NULL;
    return rc;
}
