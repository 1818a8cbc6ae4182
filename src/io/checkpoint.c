#include "io/checkpoint.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/gguf_config.h"
#include "io/hub.h"
#include "io/json.h"
#include "io/names.h"
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct ws_checkpoint {
    char *path, *name, *id; /* id: "org/name" when it lies in the Hugging Face cache */
    json_t *top, *decoder, *generation, *tokenizer;
    ws_gguf *gguf;
    ws_safetensors **shard;
    char **shard_file; /* their names in the directory */
    size_t n_shards;
    ws_tensor *t;
    size_t n_t, cap;
    const ws_tensor **by_name;
    size_t ignored;
    char hash[65];
};

static int ends(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}

/* ---- tensors ---- */

static ws_tensor *add(ws_checkpoint *c, const ws_tensor *t, char *canonical) {
    if (c->n_t == c->cap) c->t = ws_xrealloc(c->t, (c->cap = c->cap * 2 + 64) * sizeof *c->t);
    c->t[c->n_t] = *t;
    c->t[c->n_t].name = canonical;
    return &c->t[c->n_t++];
}

static int by_tensor_name(const void *a, const void *b) {
    return strcmp((*(const ws_tensor *const *)a)->name, (*(const ws_tensor *const *)b)->name);
}

static ws_status finish(ws_checkpoint *c, ws_err *err) {
    if (!c->n_t) return ws_fail(err, WS_EFORMAT, "%s: holds no tensor of a language model's decoder", c->path);
    c->by_name = ws_xmalloc(c->n_t * sizeof *c->by_name);
    for (size_t i = 0; i < c->n_t; i++) c->by_name[i] = &c->t[i];
    qsort(c->by_name, c->n_t, sizeof *c->by_name, by_tensor_name);
    for (size_t i = 1; i < c->n_t; i++)
        if (!strcmp(c->by_name[i]->name, c->by_name[i - 1]->name))
            return ws_fail(err, WS_EFORMAT, "%s: %s stands twice (in two shards, or under two prefixes)", c->path,
                           c->by_name[i]->name);
    return WS_OK;
}

/* ---- Hugging Face directories ---- */

static ws_status add_shard(ws_checkpoint *c, const char *file, ws_err *err) {
    char *path = ws_path_join(c->path, file);
    ws_safetensors *s = NULL;
    ws_status rc = ws_safetensors_open(&s, path, err);
    if (!rc) {
        c->shard = ws_xrealloc(c->shard, (c->n_shards + 1) * sizeof *c->shard);
        c->shard_file = ws_xrealloc(c->shard_file, (c->n_shards + 1) * sizeof *c->shard_file);
        c->shard_file[c->n_shards] = ws_xstrdup(file);
        c->shard[c->n_shards++] = s;
        size_t unknown = 0;
        for (size_t i = 0; i < ws_safetensors_count(s); i++) {
            const ws_tensor *t = ws_safetensors_at(s, i);
            char *canonical;
            ws_name_kind kind = ws_name_canonical(t->name, &canonical);
            if (kind == WS_NAME_DECODER) {
                add(c, t, canonical);
                continue;
            }
            c->ignored++;
            if (kind == WS_NAME_UNKNOWN && !unknown++)
                ws_warn("%s: %s is no tensor of a known model and is ignored", path, t->name);
        }
        if (unknown > 1) ws_warn("%s: %zu tensors of unknown names are ignored in all", path, unknown);
    }
    free(path);
    return rc;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

typedef struct names {
    char **v;
    size_t n;
} names;

static void names_add(names *l, const char *s) {
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->v[i], s)) return;
    l->v = ws_xrealloc(l->v, (l->n + 1) * sizeof *l->v);
    l->v[l->n++] = ws_xstrdup(s);
}

static void names_free(names *l) {
    for (size_t i = 0; i < l->n; i++) free(l->v[i]);
    free(l->v);
    *l = (names){0};
}

/* Files of the directory that end in `suffix`, sorted. */
static ws_status list(const char *dir, const char *suffix, names *out, ws_err *err) {
    DIR *d = opendir(dir);
    if (!d) return ws_fail(err, WS_EIO, "cannot list %s", dir);
    for (struct dirent *e; (e = readdir(d));)
        if (ends(e->d_name, suffix) && e->d_name[0] != '.' && strcmp(e->d_name, "adapter_model.safetensors"))
            names_add(out, e->d_name);
    closedir(d);
    if (out->n) qsort(out->v, out->n, sizeof *out->v, by_text);
    return WS_OK;
}

/* model.safetensors.index.json: its shards, and every tensor must be in the shard that it names. */
static ws_status open_index(ws_checkpoint *c, const char *path, ws_err *err) {
    json_t *index = NULL, *file;
    names shards = {0};
    const char *tensor;
    ws_status rc = ws_json_load(&index, path, err);
    json_t *map = rc ? NULL : json_object_get(index, "weight_map");
    if (!rc && !json_is_object(map)) rc = ws_fail(err, WS_EFORMAT, "%s: \"weight_map\" is missing or no object", path);
    if (!rc) json_object_foreach(map, tensor, file) {
            const char *f = json_string_value(file);
            if (!f || !*f || strchr(f, '/') || *f == '.') {
                rc = ws_fail(err, WS_EFORMAT, "%s: %s: \"%.80s\" is no file name of this directory", path, tensor,
                             f ? f : "");
                break;
            }
            if (!shards.n || strcmp(shards.v[shards.n - 1], f)) names_add(&shards, f);
            if (shards.n > 4096) {
                rc = ws_fail(err, WS_EFORMAT, "%s: names more than 4096 shards", path);
                break;
            }
        }
    if (shards.n) qsort(shards.v, shards.n, sizeof *shards.v, by_text);
    for (size_t i = 0; !rc && i < shards.n; i++) {
        char *shard = ws_path_join(c->path, shards.v[i]);
        if (!ws_file_exists(shard))
            rc = ws_fail(err, WS_EIO, "%s: lists %s, which is missing; %s%s%s", path, shards.v[i],
                         c->id ? "`ws pull " : "copy it there", c->id ? c->id : "",
                         c->id ? "` completes the model" : "");
        free(shard);
        if (!rc) rc = add_shard(c, shards.v[i], err);
    }
    if (!rc) json_object_foreach(map, tensor, file) {
            char **at = bsearch(&(char *){(char *)(uintptr_t)json_string_value(file)}, shards.v, shards.n,
                                sizeof *shards.v, by_text);
            if (!ws_safetensors_find(c->shard[at - shards.v], tensor)) {
                rc = ws_fail(err, WS_EFORMAT, "%s: %s is not in %s", path, tensor, *at);
                break;
            }
        }
    names_free(&shards);
    json_decref(index);
    return rc;
}

static ws_status open_weights(ws_checkpoint *c, ws_err *err) {
    names found = {0};
    char *index = ws_checkpoint_file(c, "model.safetensors.index.json"),
         *single = ws_checkpoint_file(c, "model.safetensors");
    ws_status rc = WS_OK;
    if (index)
        rc = open_index(c, index, err);
    else if (single)
        rc = add_shard(c, "model.safetensors", err);
    else if (!(rc = list(c->path, ".safetensors", &found, err))) {
        for (size_t i = 0; !rc && i < found.n; i++) rc = add_shard(c, found.v[i], err);
        if (!found.n) {
            char *bin = ws_checkpoint_file(c, "pytorch_model.bin");
            rc = ws_fail(
                err, WS_EFORMAT, "%s: has no *.safetensors%s%s%s%s", c->path,
                bin ? "; pytorch_model.bin is not read, because unpickling runs code: convert it to safetensors" : "",
                c->id && !bin ? "; `ws pull " : "", c->id && !bin ? c->id : "",
                c->id && !bin ? "` completes the model" : "");
            free(bin);
        }
    }
    names_free(&found);
    free(index), free(single);
    return rc;
}

static ws_status load_optional(const ws_checkpoint *c, const char *name, json_t **out, ws_err *err) {
    char *path = ws_checkpoint_file(c, name);
    ws_status rc = WS_OK;
    if (path && !(rc = ws_json_load(out, path, err)) && !json_is_object(*out))
        rc = ws_fail(err, WS_EFORMAT, "%s: is no JSON object", path);
    free(path);
    return rc;
}

static ws_status open_directory(ws_checkpoint *c, ws_err *err) {
    ws_status rc = load_optional(c, "config.json", &c->top, err);
    if (rc) return rc;
    json_t *nested = json_object_get(c->top, "text_config");
    c->decoder = json_incref(json_is_object(nested) ? nested : c->top);
    const json_t *type = json_object_get(c->decoder, "model_type");
    if (!type || json_is_null(type)) type = json_object_get(c->top, "model_type"); /* a wrapper's type may tell it */
    if (!json_is_string(type))
        return ws_fail(err, WS_EFORMAT, "%s/config.json: \"model_type\" must be a string", c->path);
    if ((rc = load_optional(c, "generation_config.json", &c->generation, err))) return rc;
    if ((rc = load_optional(c, "tokenizer_config.json", &c->tokenizer, err))) return rc;
    return open_weights(c, err);
}

/* ---- GGUF ---- */

static ws_status open_gguf(ws_checkpoint *c, ws_err *err) {
    ws_status rc = ws_gguf_open(&c->gguf, c->path, err);
    if (rc || (rc = ws_gguf_config(c->gguf, c->path, &c->top, err))) return rc;
    c->decoder = json_incref(c->top);
    for (size_t i = 0; i < ws_gguf_count(c->gguf); i++) {
        ws_tensor t;
        if ((rc = ws_gguf_tensor(c->gguf, i, c->top, c->path, &t, err))) return rc;
        if (t.name)
            add(c, &t, t.name);
        else if (strcmp(ws_gguf_at(c->gguf, i)->name, "rope_freqs.weight")) /* that one is in the config */
            c->ignored++;
    }
    return WS_OK;
}

/* ---- opening ---- */

static void set_name(ws_checkpoint *c) {
    char *real = c->gguf ? NULL : realpath(c->path, NULL); /* in the cache a file's true name is a hash */
    if (!c->id) c->id = ws_hub_id_of(real ? real : c->path);
    const char *from = c->id && !c->gguf ? c->id : real ? real : c->path, *slash = strrchr(from, '/');
    c->name = ws_xstrdup(slash ? slash + 1 : from);
    size_t n = strlen(c->name), stem;
    if (ws_name_parts(c->name, &stem))
        c->name[stem] = 0;
    else if (ends(c->name, ".gguf") && n > 5)
        c->name[n - 5] = 0;
    for (char *p = c->name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p)) *p = '_';
    free(real);
}

/* Repositories of GGUF files may have a config.json too, without weights of its own. */
static int ggufs_alone(const ws_checkpoint *c) {
    names weights = {0}, ggufs = {0};
    ws_err none;
    int alone = !list(c->path, ".safetensors", &weights, &none) && !weights.n &&
                !list(c->path, ".gguf", &ggufs, &none) && ggufs.n;
    names_free(&weights), names_free(&ggufs);
    return alone;
}

/* A directory without config.json that holds exactly one GGUF file, or the parts of one, stands for that file. */
static ws_status only_gguf(ws_checkpoint *c, char **found, ws_err *err) {
    names l = {0};
    ws_status rc = list(c->path, ".gguf", &l, err);
    *found = NULL;
    size_t stem, parts = rc || !l.n ? 0 : ws_name_parts(l.v[0], &stem);
    for (size_t i = 1; parts && i < l.n; i++)
        if (strncmp(l.v[0], l.v[i], stem + 1)) parts = 0;
    if (!rc && l.n && (l.n == 1 || parts == l.n)) *found = ws_path_join(c->path, l.v[0]);
    if (!rc && l.n > 1 && !*found)
        rc = ws_fail(err, WS_EUSAGE, "%s: holds %zu GGUF files; name one of them%s%s%s (%s, %s%s)", c->path, l.n,
                     c->id ? ", `" : "", c->id ? c->id : "", c->id ? ":FILE.gguf`" : "", l.v[0], l.v[1],
                     l.n > 2 ? ", ..." : "");
    if (!rc && !l.n) {
        char *adapter = ws_checkpoint_file(c, "adapter_config.json");
        rc = adapter ? ws_fail(err, WS_EUSAGE, "%s: is an adapter, not a model; --model takes its base", c->path)
                     : ws_fail(err, WS_EIO, "%s: has no config.json and no .gguf file, so it is no model", c->path);
        free(adapter);
    }
    names_free(&l);
    return rc;
}

ws_status ws_checkpoint_open(ws_checkpoint **out, const char *where, ws_err *err) {
    ws_checkpoint *c = ws_xcalloc(1, sizeof *c);
    ws_status rc = WS_OK;
    *out = NULL;
    if (ws_file_exists(where))
        c->path = ws_xstrdup(where);
    else if (!ws_hub_is_id(where) || (ends(where, ".gguf") && !strchr(where, ':'))) {
        rc = ws_fail(err, WS_EIO, "%s: no such file or directory", where);
        goto fail;
    } else if ((rc = ws_hub_find(&c->path, where, err)))
        goto fail;
    else
        c->id = ws_xstrndup(where, strcspn(where, "@:"));

    int dir = ws_is_dir(c->path);
    if (dir) {
        char *config = ws_checkpoint_file(c, "config.json"), *gguf = NULL;
        if ((!config || ggufs_alone(c)) && !(rc = only_gguf(c, &gguf, err))) free(c->path), c->path = gguf, dir = 0;
        free(config);
        if (rc) goto fail;
    }
    if (!dir && ends(c->path, ".safetensors")) {
        rc = ws_fail(err, WS_EUSAGE, "%s: is one file of a model; --model takes its directory, where config.json is",
                     c->path);
        goto fail;
    }
    rc = dir ? open_directory(c, err) : open_gguf(c, err);
    if (!rc) rc = finish(c, err);
    if (rc) goto fail;
    set_name(c);
    *out = c;
    return WS_OK;
fail:
    ws_checkpoint_close(c);
    return rc;
}

void ws_checkpoint_close(ws_checkpoint *c) {
    if (!c) return;
    for (size_t i = 0; i < c->n_t; i++) free(c->t[i].name);
    for (size_t i = 0; i < c->n_shards; i++) ws_safetensors_close(c->shard[i]), free(c->shard_file[i]);
    ws_gguf_close(c->gguf);
    json_decref(c->top), json_decref(c->decoder), json_decref(c->generation), json_decref(c->tokenizer);
    free(c->t), free(c->by_name), free(c->shard), free(c->shard_file), free(c->path), free(c->name), free(c->id);
    free(c);
}

/* ---- looking ---- */

const char *ws_checkpoint_path(const ws_checkpoint *c) { return c->path; }
const char *ws_checkpoint_name(const ws_checkpoint *c) { return c->name; }
const json_t *ws_checkpoint_config(const ws_checkpoint *c) { return c->decoder; }
const json_t *ws_checkpoint_config_top(const ws_checkpoint *c) { return c->top; }
const json_t *ws_checkpoint_generation_config(const ws_checkpoint *c) { return c->generation; }
const json_t *ws_checkpoint_tokenizer_config(const ws_checkpoint *c) { return c->tokenizer; }
const ws_gguf *ws_checkpoint_gguf(const ws_checkpoint *c) { return c->gguf; }
size_t ws_checkpoint_count(const ws_checkpoint *c) { return c->n_t; }
const ws_tensor *ws_checkpoint_at(const ws_checkpoint *c, size_t i) { return &c->t[i]; }
size_t ws_checkpoint_shards(const ws_checkpoint *c) { return c->n_shards; }
const ws_safetensors *ws_checkpoint_shard(const ws_checkpoint *c, size_t i, const char **file) {
    if (file) *file = c->shard_file[i];
    return c->shard[i];
}
size_t ws_checkpoint_ignored(const ws_checkpoint *c) { return c->ignored; }

char *ws_checkpoint_file(const ws_checkpoint *c, const char *name) {
    char *path = c->gguf ? NULL : ws_path_join(c->path, name);
    if (path && ws_file_exists(path)) return path;
    free(path);
    return NULL;
}

const ws_tensor *ws_checkpoint_find(const ws_checkpoint *c, const char *canonical_name) {
    const ws_tensor key = {.name = (char *)(uintptr_t)canonical_name}, *k = &key;
    const ws_tensor *const *f = bsearch(&k, c->by_name, c->n_t, sizeof *c->by_name, by_tensor_name);
    return f ? *f : NULL;
}

ws_dtype ws_checkpoint_main_type(const ws_checkpoint *c) {
    int64_t weights[WS_DTYPE_COUNT] = {0};
    int best = 0;
    for (size_t i = 0; i < c->n_t; i++) weights[c->t[i].type] += ws_tensor_numel(&c->t[i]);
    for (int i = 1; i < WS_DTYPE_COUNT; i++)
        if (weights[i] > weights[best]) best = i;
    return (ws_dtype)best;
}

/* ---- identity ---- */

static void add_number(ws_hash *h, uint64_t v) {
    uint8_t le[8];
    for (int i = 0; i < 8; i++) le[i] = (uint8_t)(v >> (8 * i));
    ws_hash_add(h, le, 8);
}

static void hash_tensor(ws_hash *h, const ws_tensor *t) {
    enum { PAGES = 16, PAGE = 4096 };
    ws_hash_adds(h, t->name);
    ws_hash_adds(h, ws_dtypes[t->type].name);
    /* Interleaved halves alone are written as the size of the head. */
    if (!t->stored && !t->col_order.a && !t->row_order.from && t->row_order.unit <= 1)
        add_number(h, (uint64_t)(t->row_order.a * t->row_order.b));
    else {
        const ws_order o[2] = {t->row_order, t->col_order};
        add_number(h, UINT64_MAX - (uint64_t)t->stored);
        for (int i = 0; i < 2; i++)
            add_number(h, (uint64_t)o[i].from), add_number(h, (uint64_t)o[i].a), add_number(h, (uint64_t)o[i].b),
                add_number(h, (uint64_t)o[i].unit);
    }
    add_number(h, (uint64_t)t->dims);
    for (int i = 0; i < t->dims; i++) add_number(h, (uint64_t)t->dim[i]);
    if (t->bytes <= (size_t)PAGES * PAGE) {
        ws_hash_add(h, t->data, t->bytes);
        return;
    }
    /* evenly spread from the first page to the last, in 4 KiB of the tensor, wherever it lies in its file */
    for (size_t k = 0; k < PAGES; k++)
        ws_hash_add(h, (const char *)t->data + (t->bytes - PAGE) / (PAGES - 1) * k, PAGE);
}

static pthread_mutex_t hashing = PTHREAD_MUTEX_INITIALIZER;

const char *ws_checkpoint_hash(const ws_checkpoint *c) {
    char *hex = ((ws_checkpoint *)(uintptr_t)c)->hash; /* computed once, by whoever asks first */
    pthread_mutex_lock(&hashing);
    if (!*hex) {
        char done[65];
        ws_hash *h = ws_hash_new();
        json_t *config = json_copy((json_t *)(uintptr_t)c->decoder);
        ws_str text = {0};
        json_object_del(config, "_name_or_path"); /* where it lay, and who saved it, is not what it is */
        json_object_del(config, "transformers_version");
        ws_json_dump_sorted(config, &text, 1);
        ws_hash_adds(h, "ws checkpoint 1");
        ws_hash_adds(h, text.p);
        for (size_t i = 0; i < c->n_t; i++) hash_tensor(h, c->by_name[i]);
        ws_hash_done(h, done);
        memcpy(hex, done, sizeof done);
        ws_str_free(&text);
        json_decref(config);
    }
    pthread_mutex_unlock(&hashing);
    return hex;
}
