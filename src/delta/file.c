/* src/delta/file.c - dW files (design.md, Files; docs/formats.md): safetensors with <site>.U and <site>.V. */
#include "base/log.h"
#include "delta/impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

ws_status ws_delta_save(const ws_delta *d, const char *path, ws_err *err) {
    ws_tensor *t = ws_xcalloc(2 * (size_t)d->n, sizeof *t);
    size_t n = 0;
    ws_status st = WS_OK;
    for (int i = 0; i < d->n && !st; i++) {
        const ws_edit *e = &d->edit[i];
        const char *site = ws_model_site(d->model, d->site[i])->name;
        t[n++] = (ws_tensor){.name = ws_sprintf("%s.U", site),
                             .type = WS_F32,
                             .dims = 2,
                             .dim = {e->d_out, e->k},
                             .data = e->u,
                             .bytes = (size_t)(e->d_out * e->k) * sizeof(float)};
        t[n++] = (ws_tensor){.name = ws_sprintf("%s.V", site),
                             .type = WS_F32,
                             .dims = 2,
                             .dim = {e->k, e->d_in},
                             .data = e->v,
                             .bytes = (size_t)(e->k * e->d_in) * sizeof(float)};
        for (size_t j = n - 2; j < n && !st; j++)
            for (size_t k = 0; k < t[j].bytes / sizeof(float) && !st; k++)
                if (!isfinite(((const float *)t[j].data)[k]))
                    st = ws_fail(err, WS_ENONFINITE, "%s holds NaN or infinity; dW is not saved", t[j].name);
    }
    if (!st) {
        const ws_checkpoint *c = ws_model_checkpoint(d->model);
        json_t *meta = json_deep_copy(d->meta);
        json_object_set_new(meta, "format", json_string("ws-dw"));
        json_object_set_new(meta, "version", json_string("1"));
        json_object_set_new(meta, "base_hash", json_string(ws_checkpoint_hash(c)));
        json_object_set_new(meta, "base_name", json_string(ws_checkpoint_name(c)));
        st = ws_safetensors_write(path, t, n, meta, err);
        json_decref(meta);
    }
    for (size_t i = 0; i < n; i++) free(t[i].name);
    free(t);
    return st;
}

static ws_status check_head(const ws_model *m, const json_t *meta, const char *path, int force, ws_err *err) {
    const char *format = json_string_value(json_object_get(meta, "format")),
               *version = json_string_value(json_object_get(meta, "version"));
    const char *hash = json_string_value(json_object_get(meta, "base_hash")),
               *name = json_string_value(json_object_get(meta, "base_name"));
    const ws_checkpoint *c = ws_model_checkpoint(m);
    if (!format || strcmp(format, "ws-dw"))
        return ws_fail(err, WS_EFORMAT, "%s: not a dW file (metadata format is %s, not ws-dw)", path,
                       format ? format : "missing");
    if (!version || strcmp(version, "1"))
        return ws_fail(err, WS_EUNSUPPORTED, "%s: dW file of version %s; this build reads version 1", path,
                       version ? version : "?");
    if (!hash) return ws_fail(err, WS_EFORMAT, "%s: metadata base_hash is missing", path);
    if (!strcmp(hash, ws_checkpoint_hash(c))) return WS_OK;
    if (!force)
        return ws_fail(err, WS_ESTATE,
                       "%s was made on %s (hash %.12s), this base is %s (hash %.12s); --force takes it all the same",
                       path, name ? name : "another base", hash, ws_checkpoint_name(c), ws_checkpoint_hash(c));
    ws_warn("%s was made on another base (%s)", path, name ? name : hash);
    return WS_OK;
}

static ws_status read_factor(float **out, const ws_tensor *t, int64_t rows, int64_t cols, const char *path,
                             ws_err *err) {
    if (t->dims != 2 || t->dim[0] != rows || t->dim[1] != cols || t->type != WS_F32)
        return ws_fail(err, WS_ESHAPE, "%s: %s must be F32 [%lld, %lld] on this base", path, t->name, (long long)rows,
                       (long long)cols);
    if (!(*out = ws_tensor_f32(t))) return ws_fail(err, WS_ENOMEM, "%s: out of memory for %s", path, t->name);
    for (int64_t i = 0; i < rows * cols; i++)
        if (!isfinite((*out)[i]))
            return ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %lld)", path, t->name,
                           (long long)i);
    return WS_OK;
}

/* The tensor's site when its name is "<linear site>" + suffix; -1: it is something else. */
static int site_of(const ws_model *m, const char *name, const char *suffix) {
    size_t n = strlen(name), k = strlen(suffix);
    if (n <= k || strcmp(name + n - k, suffix)) return -1;
    char *site = ws_xstrndup(name, n - k);
    int i = ws_model_find_site(m, site);
    free(site);
    return i >= 0 && ws_model_site(m, i)->kind == WS_SITE_LINEAR ? i : -1;
}

ws_status ws_delta_load(ws_delta **out, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_safetensors *s = NULL;
    ws_delta *d = NULL;
    ws_edit e = {0};
    *out = NULL;
    if (ws_safetensors_open(&s, path, err)) return err->code;
    const json_t *meta = ws_safetensors_meta(s);
    if (check_head(m, meta, path, force, err)) goto cleanup;
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        const char *name = ws_safetensors_at(s, i)->name;
        if (site_of(m, name, ".U") >= 0 || site_of(m, name, ".V") >= 0) continue;
        ws_fail(err, WS_EUNSUPPORTED, "%s: tensor %s is no factor (.U, .V) of a linear layer of this model", path,
                name);
        goto cleanup;
    }
    d = ws_delta_alloc(m);
    for (int site = 0; site < ws_model_n_sites(m); site++) {
        const ws_site *at = ws_model_site(m, site);
        char *un = ws_sprintf("%s.U", at->name), *vn = ws_sprintf("%s.V", at->name);
        const ws_tensor *u = ws_safetensors_find(s, un), *v = ws_safetensors_find(s, vn);
        free(un), free(vn);
        if (at->kind != WS_SITE_LINEAR || (!u && !v)) continue;
        if (!u || !v) {
            ws_fail(err, WS_EFORMAT, "%s: %s stands without its partner", path, u ? u->name : v->name);
            goto cleanup;
        }
        e = (ws_edit){.d_out = at->d_out, .d_in = at->d_in, .k = v->dims == 2 ? v->dim[0] : 0};
        if (e.k < 1) {
            ws_fail(err, WS_ESHAPE, "%s: %s is no matrix of at least one row", path, v->name);
            goto cleanup;
        }
        if (read_factor(&e.u, u, e.d_out, e.k, path, err) || read_factor(&e.v, v, e.k, e.d_in, path, err) ||
            ws_delta_add(d, site, &e, err))
            goto cleanup;
    }
    if (!d->n) {
        ws_fail(err, WS_EFORMAT, "%s: holds no edit", path);
        goto cleanup;
    }
    for (void *it = json_object_iter((json_t *)meta); it; it = json_object_iter_next((json_t *)meta, it)) {
        const char *key = json_object_iter_key(it);
        if (strcmp(key, "format") && strcmp(key, "version") && strcmp(key, "base_hash") && strcmp(key, "base_name"))
            json_object_set(d->meta, key, json_object_iter_value(it));
    }
    *out = d, d = NULL;
cleanup:
    ws_edit_release(&e);
    ws_delta_free(d);
    ws_safetensors_close(s);
    return *out ? WS_OK : err->code;
}
