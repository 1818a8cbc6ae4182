/* src/delta/gguf_lora.c - reading LoRA GGUFs.  Rules of llama.cpp's loader (conventions.md 3.5): both halves of a pair,
 * shapes of the base, any other suffix is an error, the scale is alpha / r, or 1 where alpha is 0. */
#include "delta/gguf_lora.h"
#include "base/log.h"
#include "delta/impl.h"
#include "family/family.h"
#include "io/gguf_config.h"
#include "io/names.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char suffix_a[] = ".lora_a", suffix_b[] = ".lora_b";

const char *ws_gguf_arch(const ws_model *m) { return ws_model_family(m); } /* families are called as in GGUFs */

static json_t *heads_of(const ws_model *m) {
    const ws_arch *a = ws_model_arch(m);
    return json_pack("{s:i, s:i, s:i, s:i, s:i}", "head_dim", a->head_dim, "linear_num_key_heads", a->delta.key_heads,
                     "linear_num_value_heads", a->delta.value_heads, "linear_key_head_dim", a->delta.dk,
                     "linear_value_head_dim", a->delta.dv);
}

ws_status ws_gguf_site(const ws_model *m, int site, char **name, ws_order *rows, ws_order *cols, ws_err *err) {
    const ws_site *at = ws_model_site(m, site);
    char *weight = ws_sprintf("%s.weight", at->name);
    ws_tensor t = {.name = weight, .type = WS_F32, .dims = 2, .dim = {at->d_out, at->d_in}};
    json_t *heads = heads_of(m);
    ws_status st = ws_gguf_stored(ws_gguf_arch(m), heads, "the model", &t, err);
    *name = NULL;
    if (!st && !(*name = ws_name_to_gguf(ws_gguf_arch(m), weight)))
        st =
            ws_fail(err, WS_EUNSUPPORTED, "%s has no name in a GGUF of the %s architecture", at->name, ws_gguf_arch(m));
    *rows = t.row_order, *cols = t.col_order;
    json_decref(heads);
    free(weight);
    return st;
}

static int ends(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n > k && !strcmp(s + n - k, suffix);
}

static ws_status check_head(const ws_model *m, const ws_gguf *g, const char *path, double *alpha, ws_err *err) {
    static const char *const want[][2] = {{"general.type", "adapter"}, {"adapter.type", "lora"}};
    for (size_t i = 0; i < 2; i++) {
        const char *is = ws_gguf_str(g, want[i][0], NULL);
        if (!is || strcmp(is, want[i][1]))
            return ws_fail(err, WS_EFORMAT, "%s: is no LoRA adapter: %s is %s%.64s%s, not \"%s\"", path, want[i][0],
                           is ? "\"" : "", is ? is : "missing", is ? "\"" : "", want[i][1]);
    }
    const char *arch = ws_gguf_str(g, "general.architecture", NULL);
    if (!arch || strcmp(arch, ws_gguf_arch(m)))
        return ws_fail(err, WS_ESHAPE, "%s: is an adapter for the architecture %.64s, this model's is %s", path,
                       arch ? arch : "that it does not name", ws_gguf_arch(m));
    if (ws_gguf_has(g, "adapter.alora.invocation_tokens"))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: adapter.alora.invocation_tokens makes the adapter depend on tokens of the prompt: not "
                       "supported",
                       path);
    *alpha = 0;
    if (ws_gguf_has(g, "adapter.lora.alpha") && (!ws_gguf_num(g, "adapter.lora.alpha", alpha) || !isfinite(*alpha)))
        return ws_fail(err, WS_EFORMAT, "%s: adapter.lora.alpha is no finite number", path);
    return WS_OK;
}

/* The site that a half belongs to: >= 0; -1: an error; -2: nothing to hang. */
static int site_of(const ws_model *m, const ws_tensor *t, const char *path, ws_err *err) {
    const int half = ends(t->name, suffix_a) || ends(t->name, suffix_b);
    if (!half && ends(t->name, "_norm.weight")) {
        ws_warn("%s: %s is ignored, as llama.cpp does", path, t->name);
        return -2;
    }
    char *base = half ? ws_xstrndup(t->name, strlen(t->name) - strlen(suffix_a)) : NULL;
    char *hf = base ? ws_name_from_gguf(ws_gguf_arch(m), base) : NULL;
    int site = -1;
    if (hf && ends(hf, ".weight")) {
        hf[strlen(hf) - strlen(".weight")] = 0;
        site = ws_model_find_site(m, hf);
        if (site >= 0 && ws_model_site(m, site)->kind != WS_SITE_LINEAR) site = -1;
    }
    if (site < 0 && half)
        ws_fail(err, WS_EUNSUPPORTED,
                "%s: %s: %s is no linear layer of this model that an adapter can hang at (embeddings and the head are "
                "not among them)",
                path, t->name, base);
    else if (site < 0)
        ws_fail(err, WS_EFORMAT, "%s: %s ends in neither .lora_a nor .lora_b", path, t->name);
    free(base), free(hf);
    return site;
}

static float *half_of(ws_tensor t, ws_order rows, ws_order cols, int64_t want_rows, int64_t want_cols, const char *path,
                      ws_err *err) {
    char shape[96];
    ws_tensor_shape(&t, shape);
    if (t.dims != 2 || t.dim[0] != want_rows || t.dim[1] != want_cols || !ws_dtypes[t.type].is_weight) {
        ws_fail(err, WS_ESHAPE, "%s: %s is %s %s, [%lld, %lld] is needed (another base model?)", path, t.name,
                ws_dtypes[t.type].name, shape, (long long)want_rows, (long long)want_cols);
        return NULL;
    }
    t.row_order = rows, t.col_order = cols;
    float *v = ws_tensor_f32(&t);
    if (!v) {
        ws_fail(err, WS_ENOMEM, "%s: out of memory for %s", path, t.name);
        return NULL;
    }
    for (int64_t i = 0; i < ws_tensor_numel(&t); i++)
        if (!isfinite(v[i])) {
            ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %lld)", path, t.name, (long long)i);
            free(v);
            return NULL;
        }
    return v;
}

static ws_status add_pair(ws_delta *d, int site, const ws_tensor *a, const ws_tensor *b, double alpha, const char *path,
                          ws_err *err) {
    const ws_site *at = ws_model_site(d->model, site);
    ws_order rows, cols, none = {0};
    char *name;
    if (ws_gguf_site(d->model, site, &name, &rows, &cols, err)) return err->code;
    free(name);
    if (a->dims != 2 || a->dim[0] < 1)
        return ws_fail(err, WS_ESHAPE, "%s: %s is no matrix of at least one row", path, a->name);
    const int64_t r = a->dim[0];
    ws_edit e = {.d_out = at->d_out, .d_in = at->d_in, .k = r};
    if (!(e.v = half_of(*a, none, cols, r, at->d_in, path, err)) ||
        !(e.u = half_of(*b, rows, none, at->d_out, r, path, err))) {
        ws_edit_release(&e);
        return err->code;
    }
    const float scale = (float)(alpha != 0 ? alpha / (double)r : 1);
    for (int64_t i = 0; i < at->d_out * r; i++) {
        e.u[i] *= scale;
        if (isfinite(e.u[i])) continue;
        ws_edit_release(&e);
        return ws_fail(err, WS_ENONFINITE, "%s: %s times adapter.lora.alpha / %lld is no finite number", path, b->name,
                       (long long)r);
    }
    return ws_delta_add(d, site, &e, err);
}

ws_status ws_delta_from_gguf(ws_delta **out, const ws_model *m, const ws_gguf *g, const char *path, ws_err *err) {
    double alpha;
    const int n_sites = ws_model_n_sites(m);
    *out = NULL;
    if (check_head(m, g, path, &alpha, err)) return err->code;
    const ws_tensor **half = ws_xcalloc(2 * (size_t)n_sites, sizeof *half); /* [site][a, b] */
    ws_delta *d = ws_delta_alloc(m);
    ws_status st = WS_OK;
    for (size_t i = 0; i < ws_gguf_count(g) && !st; i++) {
        const ws_tensor *t = ws_gguf_at(g, i);
        int site = site_of(m, t, path, err);
        if (site == -1) st = err->code;
        if (site >= 0) half[2 * site + ends(t->name, suffix_b)] = t;
    }
    for (int s = 0; s < n_sites && !st; s++) {
        const ws_tensor *a = half[2 * s], *b = half[2 * s + 1];
        if (!a && !b) continue;
        if (!a || !b)
            st = ws_fail(err, WS_EFORMAT, "%s: %s stands without its partner", path, a ? a->name : b->name);
        else
            st = add_pair(d, s, a, b, alpha, path, err);
    }
    if (!st && !d->n) st = ws_fail(err, WS_EFORMAT, "%s: holds no pair of lora_a and lora_b", path);
    free(half);
    if (st)
        ws_delta_free(d);
    else {
        ws_delta_set_source(d, "mode", "delta");
        *out = d;
    }
    return st;
}

ws_status ws_delta_load_gguf(ws_delta **out, const ws_model *m, const char *path, ws_err *err) {
    ws_gguf *g = NULL;
    *out = NULL;
    if (ws_gguf_open(&g, path, err)) return err->code;
    ws_status st = ws_delta_from_gguf(out, m, g, path, err);
    ws_gguf_close(g);
    return st;
}
