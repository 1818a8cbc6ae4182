/* src/family/bind.c - tensors by name, with their shapes checked; what is missing or wrong is collected and told at
 * once. */
#include "base/log.h"
#include "family/family.h"
#include "ops/conv.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LISTED = 6 };

static void collect(ws_str *list, int *n, const char *text) {
    if ((*n)++ < MAX_LISTED)
        ws_str_addf(list, "%s%s", list->n ? ", " : "", text);
    else if (*n == MAX_LISTED + 1)
        ws_str_adds(list, ", ...");
}

static void shape_text(char *out, size_t size, const int64_t *dim, int dims) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < dims && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? ", " : "", (long long)dim[i]);
    if (n < size) snprintf(out + n, size - n, "]");
}

/* The tensor when it is there with exactly this shape, else NULL and a line in one of the lists. */
static const ws_tensor *take(ws_binder *b, const char *name, const int64_t *dim, int dims) {
    const ws_tensor *t = ws_checkpoint_find(b->c, name);
    if (!t) {
        collect(&b->missing, &b->n_missing, name);
        return NULL;
    }
    b->used = ws_xrealloc(b->used, (b->n_used + 1) * sizeof *b->used);
    b->used[b->n_used++] = t;
    int same = t->dims == dims;
    for (int i = 0; same && i < dims; i++) same = t->dim[i] == dim[i];
    if (!same || !ws_dtypes[t->type].is_weight) {
        char want[96], have[96], text[512];
        shape_text(want, sizeof want, dim, dims);
        shape_text(have, sizeof have, t->dim, t->dims);
        if (!same)
            snprintf(text, sizeof text, "%s is %s, the config asks for %s", name, have, want);
        else
            snprintf(text, sizeof text, "%s is stored as %s, which is no weight type", name, ws_dtypes[t->type].name);
        collect(&b->wrong, &b->n_wrong, text);
        return NULL;
    }
    b->params += ws_tensor_numel(t);
    return t;
}

static int matrix(ws_binder *b, ws_weight *w, const char *name, int64_t rows, int64_t cols) {
    const ws_tensor *t = take(b, name, (int64_t[]){rows, cols}, 2);
    ws_err err;
    if (!t) return 0;
    if (!ws_weight_from_tensor(w, t, &err)) return 1;
    collect(&b->wrong, &b->n_wrong, err.msg);
    return 0;
}

float *ws_bind_vector(ws_binder *b, const char *name, int64_t n, float add) {
    const ws_tensor *t = take(b, name, (int64_t[]){n}, 1);
    float *v = t ? ws_tensor_f32(t) : NULL;
    if (t && !v) collect(&b->wrong, &b->n_wrong, "out of memory");
    for (int64_t i = 0; v && add != 0 && i < n; i++) v[i] += add;
    return v;
}

float *ws_bind_conv(ws_binder *b, const char *name, int64_t channels, int taps) {
    const ws_tensor *t = ws_checkpoint_find(b->c, name);
    int flat = t && t->dims == 2; /* without the 1 of "one input channel a group" */
    const int64_t flat_shape[] = {channels, taps}, shape[] = {channels, 1, taps};
    if (!(t = take(b, name, flat ? flat_shape : shape, flat ? 2 : 3))) return NULL;
    float *file = ws_tensor_f32(t), *w = file ? ws_try_alloc((size_t)(channels * taps), sizeof *w) : NULL;
    if (w)
        ws_conv_weights(w, file, channels, taps);
    else
        collect(&b->wrong, &b->n_wrong, "out of memory");
    free(file);
    return w;
}

void ws_bind_linear(ws_binder *b, ws_linear *l, const char *name, int64_t rows, int64_t cols, int bias) {
    char full[256];
    l->name = ws_xstrdup(name);
    snprintf(full, sizeof full, "%s.weight", name);
    matrix(b, &l->w, full, rows, cols);
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias) l->bias = ws_bind_vector(b, full, rows, 0);
}

static int same_values(const ws_tensor *x, const ws_tensor *y) {
    if (x->dims != y->dims) return 0;
    for (int i = 0; i < x->dims; i++)
        if (x->dim[i] != y->dim[i]) return 0;
    if (x->type == y->type) return x->bytes == y->bytes && !memcmp(x->data, y->data, x->bytes);
    ws_weight a, b;
    ws_err err;
    if (ws_weight_from_tensor(&a, x, &err) || ws_weight_from_tensor(&b, y, &err)) return 0;
    float *row = ws_xmalloc((size_t)a.cols * 2 * sizeof *row);
    int same = 1;
    for (int64_t r = 0; same && r < a.rows; r++) {
        ws_weight_rows_f32(&a, r, 1, row);
        ws_weight_rows_f32(&b, r, 1, row + a.cols);
        same = !memcmp(row, row + a.cols, (size_t)a.cols * sizeof *row);
    }
    free(row);
    return same;
}

ws_status ws_bind_ends(ws_arch *a, ws_binder *b, float norm_add, ws_err *err) {
    static const char embed[] = "model.embed_tokens.weight", head[] = "lm_head.weight";
    const json_t *at = json_object_get(b->config, "tie_word_embeddings");
    if (!at) at = json_object_get(b->top, "tie_word_embeddings");
    if (at && !json_is_boolean(at) && !json_is_null(at))
        return ws_fail(err, WS_EFORMAT, "%s: tie_word_embeddings is neither true nor false", b->where);
    a->tied = json_is_true(at);
    const ws_tensor *e = ws_checkpoint_find(b->c, embed), *h = ws_checkpoint_find(b->c, head);
    if (!a->tied) {
        matrix(b, &a->embed, embed, a->vocab, a->hidden);
        matrix(b, &a->head, head, a->vocab, a->hidden);
    } else if (e && h && !same_values(e, h)) {
        /* transformers does not tie then either: the stored head is what was trained. */
        ws_warn(
            "%s: tie_word_embeddings is true, but lm_head.weight differs from the embedding: the stored head is used",
            b->where);
        a->tied = 0;
        matrix(b, &a->embed, embed, a->vocab, a->hidden);
        matrix(b, &a->head, head, a->vocab, a->hidden);
    } else {
        matrix(b, &a->embed, e || !h ? embed : head, a->vocab, a->hidden);
        a->head = a->embed;
        if (e && h) { /* known, and not a second matrix */
            b->used = ws_xrealloc(b->used, (b->n_used + 1) * sizeof *b->used);
            b->used[b->n_used++] = h;
        }
    }
    a->norm = ws_bind_vector(b, "model.norm.weight", a->hidden, norm_add);
    return WS_OK;
}

#define NAME(what) (snprintf(name, sizeof name, "model.layers.%d." what, i), name)
void ws_bind_attention(ws_arch *a, ws_binder *b, int i, const ws_block_parts *parts) {
    int64_t h = a->hidden, q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    ws_block *k = &a->block[i];
    char name[128];
    k->mixer = WS_MIXER_ATTENTION;
    k->nth = a->n_attention++;
    ws_bind_linear(b, &k->attn.q, NAME("self_attn.q_proj"), a->output_gate ? 2 * q : q, h, parts->qkv_bias);
    ws_bind_linear(b, &k->attn.k, NAME("self_attn.k_proj"), kv, h, parts->qkv_bias);
    ws_bind_linear(b, &k->attn.v, NAME("self_attn.v_proj"), kv, h, parts->qkv_bias);
    ws_bind_linear(b, &k->attn.o, NAME("self_attn.o_proj"), h, q, parts->o_bias);
    if (!parts->qk_norm) return;
    k->attn.q_norm = ws_bind_vector(b, NAME("self_attn.q_norm.weight"), a->head_dim, parts->norm_add);
    k->attn.k_norm = ws_bind_vector(b, NAME("self_attn.k_norm.weight"), a->head_dim, parts->norm_add);
}

void ws_bind_mlp(ws_arch *a, ws_binder *b, int i, const ws_block_parts *parts) {
    int64_t h = a->hidden, f = a->ffn;
    ws_block *k = &a->block[i];
    char name[128];
    k->norm1 = ws_bind_vector(b, NAME("input_layernorm.weight"), h, parts->norm_add);
    k->norm2 = ws_bind_vector(b, NAME("post_attention_layernorm.weight"), h, parts->norm_add);
    ws_bind_linear(b, &k->mlp.gate, NAME("mlp.gate_proj"), f, h, parts->mlp_bias);
    ws_bind_linear(b, &k->mlp.up, NAME("mlp.up_proj"), f, h, parts->mlp_bias);
    ws_bind_linear(b, &k->mlp.down, NAME("mlp.down_proj"), h, f, parts->mlp_bias);
}
#undef NAME

void ws_bind_blocks(ws_arch *a, ws_binder *b, const ws_block_parts *parts) {
    a->block = ws_xcalloc((size_t)a->layers, sizeof *a->block);
    for (int i = 0; i < a->layers; i++) {
        ws_bind_attention(a, b, i, parts);
        ws_bind_mlp(a, b, i, parts);
    }
}
