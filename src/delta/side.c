/* src/delta/side.c - opening the sides of a contrast, and their rows. */
#include "delta/side.h"
#include "base/hash.h"
#include "base/log.h"
#include "delta/gguf_lora.h"
#include "delta/impl.h"
#include "family/family.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int has_file(const char *dir, const char *name) {
    char *p = ws_path_join(dir, name);
    int there = ws_file_exists(p);
    free(p);
    return there;
}

int ws_is_edits(const char *path) {
    if (!ws_file_exists(path)) return 0; /* a hub id */
    if (ws_is_dir(path)) {
        ws_peft_dir d;
        ws_err none;
        if (has_file(path, "adapter_config.json")) return 1;
        if (has_file(path, "config.json")) return 0;
        if (ws_peft_open(&d, path, &none)) return none.code == WS_EUSAGE; /* several: the refusal names them */
        ws_peft_close(&d);
        return 1;
    }
    if (!ws_is_gguf(path)) return 1; /* one file: a dW */
    ws_gguf *g;
    ws_err none;
    if (ws_gguf_open(&g, path, &none)) return 0;
    const char *type = ws_gguf_str(g, "general.type", NULL);
    int adapter = type && !strcmp(type, "adapter");
    ws_gguf_close(g);
    return adapter;
}

ws_status ws_delta_open(ws_delta **out, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_adapter *a = NULL;
    *out = NULL;
    if (!ws_is_dir(path))
        return ws_is_gguf(path) ? ws_delta_load_gguf(out, m, path, err) : ws_delta_load(out, m, path, force, err);
    ws_status st = ws_adapter_check_base(m, path, force, err);
    if (!st) st = ws_adapter_load(&a, m, path, err);
    if (!st) st = ws_delta_from_adapter(out, m, a, err);
    ws_adapter_free(a);
    return st;
}

ws_status ws_side_from_edits(ws_side *s, const ws_model *base, const char *path, int force, ws_err *err) {
    *s = (ws_side){.base = base, .path = ws_xstrdup(path)};
    ws_status st = ws_is_dir(path) ? ws_adapter_dir_hash(path, s->hash, err) : ws_hash_file(path, s->hash, err);
    if (!st) st = ws_delta_open(&s->edits, base, path, force, err);
    if (st) ws_side_close(s);
    return st;
}

/* ---------- checkpoints ---------- */

static ws_status same_sizes(const ws_side *s, ws_err *err) {
    const ws_arch *a = ws_model_arch(s->base), *b = ws_model_arch(s->m);
    const struct {
        const char *key;
        int64_t base, is;
    } size[] = {{"num_hidden_layers", a->layers, b->layers},
                {"hidden_size", a->hidden, b->hidden},
                {"intermediate_size", a->ffn, b->ffn},
                {"num_attention_heads", a->heads, b->heads},
                {"num_key_value_heads", a->kv_heads, b->kv_heads},
                {"head_dim", a->head_dim, b->head_dim},
                {"linear_num_key_heads", a->delta.key_heads, b->delta.key_heads},
                {"linear_num_value_heads", a->delta.value_heads, b->delta.value_heads},
                {"linear_key_head_dim", a->delta.dk, b->delta.dk},
                {"linear_value_head_dim", a->delta.dv, b->delta.dv}};
    if (strcmp(a->family, b->family))
        return ws_fail(err, WS_ESHAPE, "%s: is a %s model, the base %s is a %s: theta - base needs one architecture",
                       s->path, b->family, ws_checkpoint_path(ws_model_checkpoint(s->base)), a->family);
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].base != size[i].is)
            return ws_fail(err, WS_ESHAPE, "%s: %s is %lld, the base %s has %lld", s->path, size[i].key,
                           (long long)size[i].is, ws_checkpoint_path(ws_model_checkpoint(s->base)),
                           (long long)size[i].base);
    return WS_OK;
}

/* Every linear of the base, in its shape. */
static ws_status same_linears(const ws_side *s, ws_err *err) {
    for (int i = 0; i < ws_model_n_sites(s->base); i++) {
        const ws_site *a = ws_model_site(s->base, i);
        int j = ws_model_find_site(s->m, a->name);
        const ws_site *b = j < 0 ? NULL : ws_model_site(s->m, j);
        if (!b || b->kind != a->kind)
            return ws_fail(err, WS_ESHAPE, "%s: %s is missing, which the base has", s->path, a->name);
        if (b->d_out != a->d_out || b->d_in != a->d_in)
            return ws_fail(err, WS_ESHAPE, "%s: %s is [%lld, %lld], in the base it is [%lld, %lld]", s->path, a->name,
                           (long long)b->d_out, (long long)b->d_in, (long long)a->d_out, (long long)a->d_in);
        if (!a->bias != !b->bias)
            return ws_fail(err, WS_ESHAPE, "%s: %s has %s bias, in the base it has %s", s->path, a->name,
                           b->bias ? "a" : "no", a->bias ? "one" : "none");
    }
    return WS_OK;
}

static void tell_what_dw_does_not_carry(const ws_side *s) {
    const ws_arch *a = ws_model_arch(s->base), *b = ws_model_arch(s->m);
    int rope = a->rope.dim != b->rope.dim || a->rope.attention_factor != b->rope.attention_factor;
    for (int i = 0; !rope && i < a->rope.dim / 2; i++)
        rope = fabsf(a->rope.inv_freq[i] - b->rope.inv_freq[i]) > 1e-5f * a->rope.inv_freq[i];
    if (rope)
        ws_warn("%s: its rotary embedding (rope_theta, scaling) is another one than the base's; dW does not carry that",
                s->path);
    if (fabsf(a->eps - b->eps) > 1e-3f * a->eps)
        ws_warn("%s: its rms_norm_eps is %g, the base's is %g; dW does not carry that", s->path, (double)b->eps,
                (double)a->eps);
    ws_dtype ta = ws_checkpoint_main_type(ws_model_checkpoint(s->base)), tb = ws_checkpoint_main_type(s->c);
    if (ta != tb)
        ws_warn("%s is stored as %s, the base as %s: theta - base holds the rounding of both; take files of one type "
                "where there are some",
                s->path, ws_dtypes[tb].name, ws_dtypes[ta].name);
    if (!strcmp(s->hash, ws_checkpoint_hash(ws_model_checkpoint(s->base)))) ws_warn("%s is the base itself", s->path);
}

ws_status ws_side_from_checkpoint(ws_side *s, const ws_model *base, ws_checkpoint *c, ws_err *err) {
    *s = (ws_side){.base = base, .c = c, .path = ws_xstrdup(ws_checkpoint_path(c))};
    memcpy(s->hash, ws_checkpoint_hash(c), sizeof s->hash);
    ws_status st = ws_model_open(&s->m, c, err);
    if (!st) st = same_sizes(s, err);
    if (!st) st = same_linears(s, err);
    if (!st)
        tell_what_dw_does_not_carry(s);
    else
        ws_side_close(s);
    return st;
}

void ws_side_close(ws_side *s) {
    ws_delta_free(s->edits);
    ws_model_free(s->m);
    ws_checkpoint_close(s->c);
    free(s->path);
    memset(s, 0, sizeof *s);
}

/* ---------- what it holds ---------- */

static const ws_site *theirs(const ws_side *s, int site) {
    return ws_model_site(s->m, ws_model_find_site(s->m, ws_model_site(s->base, site)->name));
}

int ws_side_touches(const ws_side *s, int site) { return s->edits ? s->edits->at_site[site] >= 0 : 1; }

void ws_side_rows(const ws_side *s, int site, int64_t r0, int64_t r1, double scale, double *out) {
    const ws_site *at = ws_model_site(s->base, site);
    const int64_t n = (r1 - r0) * at->d_in;
    if (!ws_side_touches(s, site)) return;
    float *x = ws_xmalloc((size_t)n * sizeof *x), *w = NULL;
    if (s->edits)
        ws_edit_rows(&s->edits->edit[s->edits->at_site[site]], at->w, r0, r1, x);
    else {
        w = ws_xmalloc((size_t)n * sizeof *w);
        ws_weight_rows_f32(theirs(s, site)->w, r0, r1 - r0, x);
        ws_weight_rows_f32(at->w, r0, r1 - r0, w);
    }
    for (int64_t i = 0; i < n; i++) out[i] += scale * ((double)x[i] - (w ? (double)w[i] : 0));
    free(x), free(w);
}

int ws_side_bias(const ws_side *s, int site, double scale, double *out) {
    const ws_site *at = ws_model_site(s->base, site);
    if (!ws_side_touches(s, site)) return 0;
    const float *db = s->edits ? s->edits->edit[s->edits->at_site[site]].db : NULL,
                *b = s->edits ? NULL : theirs(s, site)->bias;
    int changed = db != NULL;
    for (int64_t i = 0; i < at->d_out; i++) {
        double change = db ? (double)db[i] : b ? (double)b[i] - (double)at->bias[i] : 0;
        changed |= change != 0;
        out[i] += scale * change;
    }
    return changed;
}

const ws_tensor *ws_side_tensor(const ws_side *s, const char *name) {
    return s->edits ? NULL : ws_checkpoint_find(s->c, name);
}

static void forget(const ws_weight *w) { ws_map_forget(w->data, (size_t)w->rows * w->row_bytes); }

void ws_side_forget(const ws_side *s, int site) {
    if (!s->edits)
        forget(theirs(s, site)->w);
    else if (s->edits->file && ws_side_touches(s, site)) {
        const ws_edit *e = &s->edits->edit[s->edits->at_site[site]];
        if (e->dense.data && !e->dense_memory) forget(&e->dense);
    }
}
