/* src/adapter/files.c - adapters as PEFT directories (adapters.md 1.6, 1.7).
 * Stricter than PEFT on purpose: PEFT leaves a module whose tensor is missing at its fresh initial values and drops a
 * tensor that matches no module; here both are errors that name the key. */
#include "adapter/room.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "base_model.model.";

/* Names of the multimodal classes, whose text model lies deeper. */
static char *inner_language_model(const char *name) {
    return ws_sprintf("model.language_model.%s", strncmp(name, "model.", 6) ? name : name + 6);
}
static char *outer_language_model(const char *name) { return ws_sprintf("language_model.%s", name); }
/* And of the classes without a head (embedding models). */
static char *without_head(const char *name) { return ws_xstrdup(strncmp(name, "model.", 6) ? name : name + 6); }

static char *param_key(const ws_adapter *a, const ws_param *p) {
    const char *site = ws_model_site(a->model, p->site)->name;
    char *name = a->name_of ? a->name_of(site) : ws_xstrdup(site),
         *key = ws_sprintf("%s%s.%s", prefix, name, p->suffix);
    free(name);
    return key;
}

/* The room whose configuration this is, and the complete configuration: the room's keys, overwritten by the file's. */
static ws_status read_config(const json_t *file, const char *where, const ws_adapter_ops **ops, json_t **config,
                             ws_err *err) {
    const char *type = json_string_value(json_object_get(file, "peft_type"));
    int known = 0;
    if (!type) return ws_fail(err, WS_EFORMAT, "%s: peft_type is missing", where);
    *ops = NULL;
    for (int i = 0; ws_adapter_rooms[i]; i++) {
        if (strcmp(ws_adapter_rooms[i]->peft_type, type)) continue;
        known = 1;
        if (!ws_adapter_rooms[i]->claims || ws_adapter_rooms[i]->claims(file)) *ops = ws_adapter_rooms[i];
    }
    if (!*ops && known)
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: no adapter of this build reads a %s with these settings of use_dora and init_lora_weights",
                       where, type);
    if (!*ops) return ws_fail(err, WS_EUNSUPPORTED, "%s: peft_type %s: this build has no such adapter", where, type);
    if ((*ops)->check && (*ops)->check(file, where, err)) return err->code;

    *config = json_loads((*ops)->config, 0, NULL);
    WS_ASSERT(*config);
    for (void *it = json_object_iter((json_t *)file); it; it = json_object_iter_next((json_t *)file, it)) {
        const char *key = json_object_iter_key(it);
        if (json_object_get(*config, key))
            json_object_set(*config, key, json_object_iter_value(it));
        else
            ws_warn("%s: key '%s' is not known and ignored", where, key);
    }
    json_object_set_new(*config, "inference_mode", json_true());
    return WS_OK;
}

/* ---------- tensors ---------- */

/* The words after a tensor's name that say why it cannot be taken, when it belongs to no adapted module. */
static const char *why_surplus(const char *key) {
    static const char *const ends[] = {"embed_tokens.", "lm_head."};
    if (strstr(key, ".modules_to_save."))
        return "is a whole module that was trained beside the adapter (modules_to_save), which is not supported";
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strstr(key, ends[i]))
            return "changes the embedding or the head, which no dW here has a place for (PEFT saves them when the "
                   "vocabulary was resized, or when they are adapted)";
    if (strstr(key, "lora_embedding_")) return "adapts an embedding, which no dW here has a place for";
    return "belongs to no module that adapter_config.json adapts in this model";
}

static ws_status check_shape(const ws_tensor_spec *want, const ws_tensor *t, const char *where, ws_err *err) {
    int same = t->dims == want->dims;
    for (int d = 0; same && d < want->dims; d++) same = t->dim[d] == want->dim[d];
    if (!same) {
        ws_str s = {0};
        for (int d = 0; d < t->dims; d++) ws_str_addf(&s, "%s%lld", d ? ", " : "", (long long)t->dim[d]);
        ws_str_adds(&s, "], needed is [");
        for (int d = 0; d < want->dims; d++) ws_str_addf(&s, "%s%lld", d ? ", " : "", (long long)want->dim[d]);
        ws_fail(err, WS_ESHAPE, "%s: %s has shape [%s]; rank or base model do not fit", where, t->name, s.p);
        ws_str_free(&s);
        return err->code;
    }
    if (t->type != WS_F32 && t->type != WS_BF16 && t->type != WS_F16)
        return ws_fail(err, WS_ESHAPE, "%s: %s is stored as %s; F32, BF16 and F16 are read", where, t->name,
                       ws_dtypes[t->type].name);
    return WS_OK;
}

/* Every tensor that the sites ask for is there in its shape, and there is no other: told before memory of sizes that only
 * the configuration names is asked for. */
static ws_status check_tensors(const ws_adapter *a, const void *arg, ws_err *err) {
    const ws_peft_dir *d = arg;
    size_t n = ws_safetensors_count(d->tensors);
    char *used = ws_xcalloc(n, 1);
    ws_status st = WS_OK;
    for (int i = 0; i < a->n_sites && !st; i++) {
        ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS];
        for (int j = 0, k = a->ops->tensors(&a->site[i], spec); j < k && !st; j++) {
            const ws_param p = {.site = a->site[i].site, .suffix = spec[j].suffix};
            char *key = param_key(a, &p);
            const ws_tensor *t = ws_safetensors_find(d->tensors, key);
            st = t ? check_shape(&spec[j], t, d->path, err)
                   : ws_fail(err, WS_EFORMAT, "%s: tensor %s is missing, though adapter_config.json adapts that module",
                             d->path, key);
            for (size_t x = 0; x < n && t; x++)
                if (ws_safetensors_at(d->tensors, x) == t) used[x] = 1;
            free(key);
        }
    }
    for (size_t i = 0; i < n && !st; i++) {
        const char *key = ws_safetensors_at(d->tensors, i)->name;
        if (!used[i]) st = ws_fail(err, WS_EFORMAT, "%s: tensor %s %s", d->path, key, why_surplus(key));
    }
    free(used);
    return st;
}

static ws_status fill(const ws_param *p, const ws_tensor *t, const char *where, ws_err *err) {
    int64_t n = p->rows * p->cols;
    float *v = ws_tensor_f32(t);
    if (!v) return ws_fail(err, WS_ENOMEM, "%s: out of memory for %s", where, t->name);
    int64_t bad = -1;
    for (int64_t i = 0; i < n && bad < 0; i++)
        if (!isfinite(v[i])) bad = i;
    memcpy(p->value, v, (size_t)n * sizeof(float));
    free(v);
    return bad < 0 ? WS_OK
                   : ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %lld)", where, t->name,
                             (long long)bad);
}

static ws_status read_tensors(ws_adapter *a, const ws_peft_dir *d, ws_err *err) {
    ws_status st = WS_OK;
    for (int i = 0; i < a->n_params && !st; i++) {
        char *key = param_key(a, &a->param[i]);
        st = fill(&a->param[i], ws_safetensors_find(d->tensors, key), d->path, err);
        free(key);
    }
    return st;
}

/* ---------- which names the file uses ---------- */

typedef char *(*name_fn)(const char *site_name);

/* How the class that the adapter was trained on names its modules, by the first tensor that tells. */
static name_fn naming(const ws_safetensors *t) {
    static const struct {
        const char *starts;
        name_fn fn;
    } known[] = {{"model.language_model.", inner_language_model},
                 {"language_model.model.", outer_language_model},
                 {"layers.", without_head}};
    for (size_t i = 0; i < ws_safetensors_count(t); i++) {
        const char *name = ws_safetensors_at(t, i)->name;
        if (strncmp(name, prefix, sizeof prefix - 1)) continue;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (!strncmp(name + sizeof prefix - 1, known[k].starts, strlen(known[k].starts))) return known[k].fn;
    }
    return NULL;
}

/* Some programs leave target_modules out.  PEFT would take the defaults of the model's type; the tensors tell what was
 * really trained. */
static ws_status find_targets(json_t *config, const ws_model *m, name_fn name_of, const ws_safetensors *t,
                              const char *where, ws_err *err) {
    const json_t *given = json_object_get(config, "target_modules");
    if (given && !json_is_null(given)) return WS_OK;
    json_t *list = json_array();
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *at = ws_model_site(m, i);
        if (at->kind != WS_SITE_LINEAR) continue;
        char *name = name_of ? name_of(at->name) : ws_xstrdup(at->name), *key = ws_sprintf("%s%s.", prefix, name);
        for (size_t k = 0; k < ws_safetensors_count(t); k++)
            if (!strncmp(ws_safetensors_at(t, k)->name, key, strlen(key))) {
                json_array_append_new(list, json_string(name));
                break;
            }
        free(name), free(key);
    }
    if (!json_array_size(list)) {
        const char *first = ws_safetensors_count(t) ? ws_safetensors_at(t, 0)->name : "none";
        json_decref(list);
        return ws_fail(
            err, WS_EFORMAT,
            "%s: target_modules is missing, and no tensor is named for a linear layer of this model (the first "
            "is %s)",
            where, first);
    }
    ws_note("%s: target_modules is missing; the %zu modules that have tensors are taken", where, json_array_size(list));
    json_object_set_new(config, "target_modules", list);
    return WS_OK;
}

/* ws_base.json, which only we write: without it nothing can be checked. */
ws_status ws_adapter_check_base(const ws_model *m, const char *dir, int force, ws_err *err) {
    char *path = ws_path_join(dir, "ws_base.json");
    json_t *j = NULL;
    ws_status st = WS_OK;
    if (ws_file_exists(path) && !(st = ws_json_load(&j, path, err))) {
        const char *hash = NULL, *ours = ws_checkpoint_hash(ws_model_checkpoint(m)),
                   *name = json_string_value(json_object_get(j, "base_name"));
        if (!(st = ws_json_str(j, "base_hash", &hash, path, err)) && strcmp(hash, ours)) {
            if (force)
                ws_warn("%s was trained on another base model (%s)", dir, name ? name : hash);
            else
                st = ws_fail(err, WS_ESTATE,
                             "%s was trained on %s (hash %.12s), this base is %s (hash %.12s); if that is the same "
                             "model in another file (a GGUF and the directory it was made from), --force is right",
                             dir, name ? name : "another base", hash, ws_checkpoint_name(ws_model_checkpoint(m)), ours);
        }
    }
    json_decref(j);
    free(path);
    return st;
}

ws_status ws_adapter_load(ws_adapter **out, const ws_model *m, const char *dir, ws_err *err) {
    ws_peft_dir d = {0};
    const ws_adapter_ops *ops = NULL;
    json_t *config = NULL;
    char *where = NULL;
    *out = NULL;
    if (ws_peft_open(&d, dir, err)) return err->code;
    where = ws_path_join(d.path, "adapter_config.json");
    name_fn name_of = naming(d.tensors);
    ws_status st = read_config(d.config, where, &ops, &config, err);
    if (!st && name_of)
        ws_note("%s: its tensors are named for the %s; the names are mapped", dir,
                name_of == without_head ? "class without a head" : "multimodal class, with 'language_model.'");
    if (!st && ops->adopt) st = ops->adopt(config, d.tensors, where, err);
    if (!st) st = find_targets(config, m, name_of, d.tensors, where, err);
    if (!st) {
        st = ws_adapter_build_checked(out, m, ops, config, name_of, check_tensors, &d, where, err);
        config = NULL; /* stolen */
    }
    if (!st) st = read_tensors(*out, &d, err);
    if (!st)
        ws_adapter_refresh(*out);
    else
        ws_adapter_free(*out), *out = NULL;
    json_decref(config);
    free(where);
    ws_peft_close(&d);
    return st;
}

ws_status ws_adapter_write_base(const ws_model *m, const char *dir, ws_err *err) {
    const ws_checkpoint *c = ws_model_checkpoint(m);
    json_t *base = json_pack("{s:s, s:i, s:s, s:s}", "format", "ws-adapter-base", "version", 1, "base_name",
                             ws_checkpoint_name(c), "base_hash", ws_checkpoint_hash(c));
    char *path = ws_path_join(dir, "ws_base.json");
    ws_status st = ws_json_save(base, path, err);
    json_decref(base);
    free(path);
    return st;
}

ws_status ws_adapter_save(const ws_adapter *a, const char *dir, ws_err *err) {
    ws_tensor *t = ws_xcalloc((size_t)a->n_params, sizeof *t);
    ws_status st = WS_OK;
    for (int i = 0; i < a->n_params && !st; i++) {
        const ws_param *p = &a->param[i];
        t[i] = (ws_tensor){.name = param_key(a, p), .type = WS_F32, .dims = p->dims, .data = p->value};
        memcpy(t[i].dim, p->dim, sizeof t[i].dim);
        t[i].bytes = (size_t)(p->rows * p->cols) * sizeof(float);
        for (int64_t k = 0; k < p->rows * p->cols && !st; k++)
            if (!isfinite(p->value[k]))
                st = ws_fail(err, WS_ENONFINITE, "%s holds NaN or infinity; the adapter is not saved", t[i].name);
    }
    if (!st) st = ws_mkdirs(dir, err);
    if (!st) st = ws_adapter_write_base(a->model, dir, err);
    if (!st) st = ws_peft_write(dir, a->config, t, (size_t)a->n_params, err);
    for (int i = 0; i < a->n_params; i++) free(t[i].name);
    free(t);
    return st;
}

ws_status ws_adapter_dir_hash(const char *dir, char hex[65], ws_err *err) {
    static const char *const file[] = {"adapter_config.json", "adapter_model.safetensors"};
    ws_peft_dir d = {0};
    ws_hash *h = ws_hash_new();
    ws_status st = ws_peft_open(&d, dir, err);
    for (int i = 0; i < 2 && !st; i++) {
        char one[65] = "", *path = ws_path_join(d.path, file[i]);
        st = ws_hash_file(path, one, err);
        ws_hash_adds(h, one);
        free(path);
    }
    ws_hash_done(h, hex);
    if (!st || d.path) ws_peft_close(&d);
    return st;
}
