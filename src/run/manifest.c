#include "run/manifest.h"
#include "base/hash.h"
#include "io/file.h"
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };

struct ws_manifest {
    char *dir, *path;
    json_t *root;
};

static json_t *empty(void) { return json_pack("{s:s, s:i, s:{}}", "format", "ws-run", "version", VERSION, "stages"); }

void ws_manifest_free(ws_manifest *m) {
    if (!m) return;
    json_decref(m->root);
    free(m->dir);
    free(m->path);
    free(m);
}

static ws_manifest *nothing_yet(const char *dir) {
    ws_manifest *m = ws_xcalloc(1, sizeof *m);
    m->dir = ws_xstrdup(dir);
    m->path = ws_path_join(dir, "manifest.json");
    return m;
}

ws_manifest *ws_manifest_new(const char *dir) {
    ws_manifest *m = nothing_yet(dir);
    m->root = empty();
    return m;
}

/* A relative path without a step upwards. */
static int lies_below(const char *path) {
    for (const char *s = path;; s += strcspn(s, "/")) {
        s += s > path;
        if (!*s || *s == '/' || (s[0] == '.' && s[1] == '.' && (!s[2] || s[2] == '/'))) return 0;
        if (!strchr(s, '/')) return 1;
    }
}

/* Records are read in many places, which rely on this. */
static ws_status check_records(const ws_manifest *m, ws_err *err) {
    const char *name, *key;
    json_t *stage, *hash;
    json_object_foreach(json_object_get(m->root, "stages"), name, stage) {
        const json_t *out = json_object_get(stage, "outputs");
        if (!json_is_object(stage) || (out && !json_is_object(out)))
            return ws_fail(err, WS_EFORMAT, "%s: the record of stage \"%s\" is damaged; start over with --fresh",
                           m->path, name);
        json_object_foreach((json_t *)out, key, hash) {
            if (json_is_string(hash) && lies_below(key)) continue;
            return ws_fail(err, WS_EFORMAT, "%s: stage \"%s\": \"%s\" is no file of this run; start over with --fresh",
                           m->path, name, key);
        }
    }
    return WS_OK;
}

ws_status ws_manifest_open(ws_manifest **out, const char *dir, ws_err *err) {
    ws_manifest *m = nothing_yet(dir);
    const char *format;
    int64_t version;
    *out = NULL;
    if (!ws_file_exists(m->path))
        m->root = empty();
    else {
        if (ws_json_load(&m->root, m->path, err)) goto fail;
        if (ws_json_str(m->root, "format", &format, m->path, err) ||
            ws_json_int(m->root, "version", &version, m->path, err))
            goto fail;
        if (strcmp(format, "ws-run") || !json_is_object(json_object_get(m->root, "stages"))) {
            ws_fail(err, WS_EFORMAT, "%s: not the manifest of a run (format \"%s\")", m->path, format);
            goto fail;
        }
        if (version != VERSION) {
            ws_fail(err, WS_EFORMAT,
                    "%s: manifest version %lld, this program writes version %d; choose another --out or "
                    "start over with --fresh",
                    m->path, (long long)version, VERSION);
            goto fail;
        }
        if (check_records(m, err)) goto fail;
    }
    *out = m;
    return WS_OK;
fail:
    ws_manifest_free(m);
    return err ? err->code : WS_EFORMAT;
}

ws_status ws_manifest_save(const ws_manifest *m, ws_err *err) { return ws_json_save(m->root, m->path, err); }
const json_t *ws_manifest_root(const ws_manifest *m) { return m->root; }
const char *ws_manifest_dir(const ws_manifest *m) { return m->dir; }

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "?";
}

/* A model or behaviour is the same when its content is; its place may change. */
static ws_status same_thing(const ws_manifest *m, const json_t *identity, const char *what, ws_err *err) {
    const json_t *old = json_object_get(m->root, what), *new = json_object_get(identity, what);
    if (!strcmp(text_of(old, "hash"), text_of(new, "hash"))) return WS_OK;
    return ws_fail(err, WS_ESTATE,
                   "%s already holds a run with another %s: %s (%s, sha256 %.12s...), this one is %s (%s, sha256 "
                   "%.12s...); choose another --out, or start over with --fresh",
                   m->dir, what, text_of(old, "name"), text_of(old, "path"), text_of(old, "hash"), text_of(new, "name"),
                   text_of(new, "path"), text_of(new, "hash"));
}

static void value_text(ws_str *s, const json_t *v) {
    if (!v)
        ws_str_adds(s, "(not set)");
    else
        ws_json_dump(v, s, 1);
}

ws_status ws_manifest_claim(ws_manifest *m, const json_t *identity, ws_err *err) {
    const json_t *old = json_object_get(m->root, "options"), *new = json_object_get(identity, "options");
    WS_ASSERT(json_is_object(new));
    if (!old) {
        json_object_update(m->root, (json_t *)identity);
        return WS_OK;
    }
    if (same_thing(m, identity, "model", err) || same_thing(m, identity, "behavior", err)) return err->code;
    json_t *tokenizer = json_object_get(identity, "tokenizer"); /* a run of before may not have noted its own */
    if (tokenizer && !json_object_get(m->root, "tokenizer")) json_object_set(m->root, "tokenizer", tokenizer);
    if (tokenizer && same_thing(m, identity, "tokenizer", err)) return err->code;
    if (json_object_get(new, "compute") &&
        !json_object_get(old, "compute")) /* all was computed so before it was noted */
        json_object_set_new((json_t *)old, "compute", json_string("f32"));
    ws_str diff = {0};
    const char *key;
    json_t *v;
    /* the new options against the old ones, then those that only the old run has */
    for (int side = 0; side < 2; side++) json_object_foreach((json_t *)(side ? old : new), key, v) {
            const json_t *other = json_object_get(side ? new : old, key);
            if (side ? other != NULL : other && json_equal(v, (json_t *)other)) continue;
            ws_str_addf(&diff, "%s--%s was ", diff.n ? "; " : "", key);
            value_text(&diff, side ? v : other);
            ws_str_adds(&diff, ", now ");
            value_text(&diff, side ? NULL : v);
        }
    if (diff.n)
        ws_fail(err, WS_ESTATE,
                "%s already holds a run with other options (%s); choose another --out, or start over with --fresh",
                m->dir, diff.p);
    int changed = diff.n != 0;
    ws_str_free(&diff);
    return changed ? WS_ESTATE : WS_OK;
}

void ws_manifest_note(ws_manifest *m, const char *key, json_t *value) { json_object_set_new(m->root, key, value); }

const json_t *ws_manifest_stage(const ws_manifest *m, const char *name) {
    return json_object_get(json_object_get(m->root, "stages"), name);
}

void ws_manifest_set_stage(ws_manifest *m, const char *name, json_t *record) {
    json_t *stages = json_object_get(m->root, "stages");
    if (record)
        json_object_set_new(stages, name, record);
    else
        json_object_del(stages, name);
}

void ws_code_hash(char hex[65]) {
    ws_err ignored;
    if (ws_hash_file("/proc/self/exe", hex, &ignored)) hex[0] = 0;
}
