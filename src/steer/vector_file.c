/* src/steer/vector_file.c - ws-vector files (docs/formats.md, Vectors), which are steering-lite's with a few words more:
 *     layer<l>.<key>                      at a block        shared.<key>     one for all sites
 *     sub::layers.<l>.<path>::<key>       at a linear       metadata cfg     the method's configuration, JSON in a string */
#include "base/log.h"
#include "io/json.h"
#include "steer/control_vector.h"
#include "steer/states.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static json_t *cfg_json(const ws_vector *v) {
    const ws_vector_cfg *c = &v->cfg;
    json_t *layers = json_array();
    for (int i = 0; i < v->n; i++) {
        int l = ws_model_site(v->m, v->site[i].site)->layer;
        size_t n = json_array_size(layers);
        if (!n || json_integer_value(json_array_get(layers, n - 1)) != l)
            json_array_append_new(layers, json_integer(l));
    }
    return json_pack("{s:s, s:o, s:i, s:i, s:f, s:f, s:s, s:s, s:b, s:I}", "method", v->ops->name, "layers", layers,
                     "clusters", c->clusters, "rank", c->rank, "tau", c->tau, "sigma", c->sigma, "chars",
                     c->chars_clamp ? "clamp" : "log", "pca_sign", c->pca_vote ? "vote" : "mean", "neutral", c->neutral,
                     "seed", (json_int_t)c->seed);
}

static void shape_of(const ws_key *key, const ws_vector_site *s, ws_tensor *t) {
    t->dims = (int)strlen(key->shape);
    for (int i = 0; i < t->dims; i++) t->dim[i] = key->shape[i] == 'd' ? s->d : s->k;
    if (!t->dims) t->dims = 1, t->dim[0] = 1;
    t->type = WS_F32, t->bytes = (size_t)ws_key_size(key, s) * sizeof(float);
}

ws_status ws_vector_save(const ws_vector *v, const char *path, ws_err *err) {
    const ws_key *key = v->ops->hidden->key;
    ws_tensor *t = ws_xcalloc((size_t)(v->n + 1) * WS_MAX_KEYS, sizeof *t);
    size_t n = 0;
    ws_status st = WS_OK;
    for (int i = 0; i < v->n; i++)
        for (int k = 0; key[k].name; k++) {
            const ws_vector_site *s = &v->site[i];
            if (!s->t[k] || (v->shared[k] && i)) continue;
            t[n].name =
                v->shared[k] ? ws_sprintf("shared.%s", key[k].name) : ws_state_tensor(v->m, s->site, key[k].name);
            t[n].data = s->t[k];
            shape_of(&key[k], s, &t[n++]);
        }
    for (size_t i = 0; i < n && !st; i++)
        for (size_t k = 0; k < t[i].bytes / sizeof(float) && !st; k++)
            if (!isfinite(((const float *)t[i].data)[k]))
                st = ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity; the vector is not saved", v->ops->name,
                             t[i].name);
    if (!st) {
        const ws_checkpoint *c = ws_model_checkpoint(v->m);
        json_t *meta = json_deep_copy(v->meta), *cfg = cfg_json(v);
        ws_str text = {0};
        char norm[32];
        ws_num_text(norm, ws_vector_norm(v));
        ws_json_dump(cfg, &text, 1);
        json_object_set_new(meta, "format", json_string("ws-vector"));
        json_object_set_new(meta, "version", json_string("1"));
        json_object_set_new(meta, "base_hash", json_string(ws_checkpoint_hash(c)));
        json_object_set_new(meta, "base_name", json_string(ws_checkpoint_name(c)));
        json_object_set_new(meta, "state_norm", json_string(norm));
        json_object_set_new(meta, "cfg", json_stringn(text.p, text.n));
        st = ws_safetensors_write(path, t, n, meta, err);
        json_decref(meta), json_decref(cfg);
        ws_str_free(&text);
    }
    for (size_t i = 0; i < n; i++) free(t[i].name);
    free(t);
    return st;
}

/* ---- reading ---- */

static ws_status check_base(const ws_model *m, const json_t *meta, const char *path, int force, ws_err *err) {
    const char *format = json_string_value(json_object_get(meta, "format")),
               *version = json_string_value(json_object_get(meta, "version"));
    if (!format || strcmp(format, "ws-vector")) { /* steering-lite's names no base */
        ws_detail("%s: a steering-lite file; it does not tell its base model", path);
        return WS_OK;
    }
    if (!version || strcmp(version, "1"))
        return ws_fail(err, WS_EUNSUPPORTED, "%s: vector file of version %s; this build reads version 1", path,
                       version ? version : "?");
    return ws_state_base(m, meta, path, force, err);
}

static ws_status read_cfg(const json_t *meta, const char *path, ws_vector_cfg *c, const ws_steer_ops **ops,
                          ws_err *err) {
    const char *text = json_string_value(json_object_get(meta, "cfg")), *method, *word;
    json_t *cfg = NULL;
    int64_t n;
    if (!text) return ws_fail(err, WS_EFORMAT, "%s: metadata cfg, the method's configuration, is missing", path);
    char *where = ws_sprintf("%s: metadata cfg", path);
    ws_status st = ws_json_parse(&cfg, text, strlen(text), where, err);
    if (!st && !json_is_object(cfg)) st = ws_fail(err, WS_EFORMAT, "%s is no JSON object", where);
    if (!st) st = ws_json_str(cfg, "method", &method, where, err);
    *c = ws_vector_defaults();
    if (!st && !(*ops = ws_steer_named(method)))
        st = ws_fail(err, WS_EUNSUPPORTED, "%s: '%s' is no method of this build", where, method);
    if (!st) st = ws_json_int_or(cfg, "clusters", 4, &n, where, err);
    if (!st) c->clusters = (int)n, st = ws_json_int_or(cfg, "rank", 0, &n, where, err);
    if (!st) c->rank = (int)n, st = ws_json_num_or(cfg, "tau", 0, &c->tau, where, err);
    if (!st) st = ws_json_num_or(cfg, "sigma", 0, &c->sigma, where, err);
    if (!st && !(isfinite(c->tau) && isfinite(c->sigma) && c->sigma >= 0))
        st = ws_fail(err, WS_EFORMAT, "%s: tau and sigma must be finite numbers, sigma not negative", where);
    if (!st) {
        word = json_string_value(json_object_get(cfg, "chars")), c->chars_clamp = word && !strcmp(word, "clamp");
        word = json_string_value(json_object_get(cfg, "pca_sign")), c->pca_vote = word && !strcmp(word, "vote");
        c->neutral = json_is_true(json_object_get(cfg, "neutral"));
        c->seed = (uint64_t)json_integer_value(json_object_get(cfg, "seed"));
    }
    json_decref(cfg);
    free(where);
    return st;
}

static int key_of(const ws_hidden_ops *h, const char *name) {
    for (int k = 0; h->key[k].name; k++)
        if (!strcmp(h->key[k].name, name)) return k;
    return -1;
}

/* Sizes of the tensor's dimensions fit the key; the free letter is set by the first tensor that has it. */
static int fits(const ws_key *key, const ws_tensor *t, ws_vector_site *s, int most) {
    int dims = (int)strlen(key->shape);
    if (!dims) return ws_tensor_numel(t) == 1;
    if (t->dims != dims) return 0;
    for (int i = 0; i < dims; i++) {
        if (key->shape[i] == 'd' && t->dim[i] != s->d) return 0;
        if (key->shape[i] == 'd') continue;
        if (!s->k) s->k = t->dim[i];
        if (t->dim[i] != s->k || t->dim[i] < 1 || (most && t->dim[i] > most)) return 0;
    }
    return 1;
}

static ws_status read_tensor(float **out, const ws_key *key, const ws_tensor *t, ws_vector_site *s, int most,
                             const char *path, ws_err *err) {
    char shape[96];
    ws_tensor_shape(t, shape);
    if (!ws_dtypes[t->type].is_weight || !fits(key, t, s, most))
        return ws_fail(err, WS_ESHAPE,
                       "%s: %s is %s %s; it must hold numbers of the shape [%s], d = %lld, the other letters alike in "
                       "all tensors of a layer%s",
                       path, t->name, ws_dtypes[t->type].name, shape, *key->shape ? key->shape : "1", (long long)s->d,
                       most ? " and at most 64" : "");
    if (!(*out = ws_tensor_f32(t))) return ws_fail(err, WS_ENOMEM, "%s: out of memory for %s", path, t->name);
    for (int64_t i = 0, n = ws_tensor_numel(t); i < n; i++)
        if (!isfinite((*out)[i]))
            return ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %lld)", path, t->name,
                           (long long)i);
    return WS_OK;
}

/* steering-lite leaves the right singular vectors in the file, which no map reads. */
static int passed_over(const char *key) { return !strcmp(key, "Vh_r"); }

/* Every tensor is a known key of a known site; [sites of the model][keys] -> tensor. */
static ws_status sort_in(const ws_vector *v, const ws_safetensors *s, const ws_tensor **of, const ws_tensor **shared,
                         const char *path, ws_err *err) {
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        const ws_tensor *t = ws_safetensors_at(s, i);
        const char *key = NULL;
        int site = ws_state_place(v->m, t->name, &key), k = key ? key_of(v->ops->hidden, key) : -1;
        if (key && passed_over(key)) continue;
        if (site == -2 || k < 0 || (site >= 0 && ws_model_site(v->m, site)->kind != v->ops->hidden->site))
            return ws_fail(err, WS_EUNSUPPORTED, "%s: tensor %s is no part of a vector of %s for this model", path,
                           t->name, v->ops->name);
        if (site < 0)
            shared[k] = t;
        else
            of[site * WS_MAX_KEYS + k] = t;
    }
    return WS_OK;
}

static ws_status read_site(ws_vector *v, ws_vector_site *s, const ws_tensor *const *of, const ws_tensor *const *shared,
                           const char *path, ws_err *err) {
    const ws_hidden_ops *h = v->ops->hidden;
    s->k = 0;
    for (int k = 0; h->key[k].name; k++) {
        const ws_tensor *t = of[k] ? of[k] : shared[k];
        if (!t) {
            if (h->key[k].optional) continue;
            return ws_fail(err, WS_EFORMAT, "%s: %s of %s is missing", path, h->key[k].name,
                           ws_model_site(v->m, s->site)->name);
        }
        if (t == of[k]) {
            if (read_tensor(&s->t[k], &h->key[k], t, s, h->most, path, err)) return err->code;
        } else if (v->shared[k]) { /* read for an earlier site */
            if (!fits(&h->key[k], t, s, h->most))
                return ws_fail(err, WS_ESHAPE, "%s: %s does not fit %s", path, t->name,
                               ws_model_site(v->m, s->site)->name);
            s->t[k] = v->shared[k];
        } else {
            ws_status st = read_tensor(&v->shared[k], &h->key[k], t, s, h->most, path, err);
            s->t[k] = v->shared[k];
            if (st) return st;
        }
    }
    if (!s->k) s->k = 1;
    return WS_OK;
}

ws_status ws_vector_load(ws_vector **out, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_safetensors *s = NULL;
    const ws_steer_ops *ops = NULL;
    ws_vector_cfg cfg;
    ws_vector *v = NULL;
    int sites = ws_model_n_sites(m);
    *out = NULL;
    if (ws_is_control_vector(path)) return ws_control_vector_load(out, m, path, force, err);
    const ws_tensor **of = ws_xcalloc((size_t)sites * WS_MAX_KEYS, sizeof *of), *shared[WS_MAX_KEYS] = {0};
    ws_status st = ws_safetensors_open(&s, path, err);
    const json_t *meta = st ? NULL : ws_safetensors_meta(s);
    if (!st) st = check_base(m, meta, path, force, err);
    if (!st) st = read_cfg(meta, path, &cfg, &ops, err);
    if (!st) {
        v = ws_vector_new(m, ops, &cfg);
        st = sort_in(v, s, of, shared, path, err);
    }
    const char *text = st ? NULL : json_string_value(json_object_get(meta, "state_norm"));
    double norm = text ? strtod(text, NULL) : 0;
    for (int i = 0; i < sites && !st; i++) {
        int any = 0;
        for (int k = 0; k < WS_MAX_KEYS; k++) any |= of[i * WS_MAX_KEYS + k] != NULL;
        if (!any) continue;
        ws_vector_site *at = ws_vector_site_add(v, i);
        at->norm = isfinite(norm) && norm > 0 ? norm : 0;
        st = read_site(v, at, of + i * WS_MAX_KEYS, shared, path, err);
    }
    if (!st && !v->n) st = ws_fail(err, WS_EFORMAT, "%s: holds no vector", path);
    if (!st) st = ws_vector_ready(v, err);
    const char *key;
    json_t *value;
    static const char *const ours[] = {"format", "version", "base_hash", "base_name", "state_norm", "cfg", NULL};
    json_object_foreach((json_t *)(uintptr_t)(st ? NULL : meta), key, value) {
        int own = 0;
        for (int i = 0; ours[i]; i++) own |= !strcmp(key, ours[i]);
        if (!own) json_object_set(v->meta, key, value);
    }
    free(of);
    ws_safetensors_close(s);
    if (st)
        ws_vector_free(v);
    else
        *out = v;
    return st;
}
