#include "io/hub.h"
#include "io/file.h"
#include "io/hub_impl.h"
#include "io/json.h"
#include "io/names.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- environment ---- */

static const char *env(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* A value that no shell has expanded may begin with ~. */
static char *expanded(const char *path) {
    const char *home = env("HOME");
    return home && path[0] == '~' && path[1] == '/' ? ws_path_join(home, path + 2) : ws_xstrdup(path);
}

static char *joined(char *dir, const char *name) {
    char *path = ws_path_join(dir, name);
    free(dir);
    return path;
}

static char *hf_home(void) {
    const char *v;
    if ((v = env("HF_HOME"))) return expanded(v);
    if ((v = env("XDG_CACHE_HOME"))) return joined(expanded(v), "huggingface");
    if ((v = env("HOME"))) return ws_path_join(v, ".cache/huggingface");
    return ws_xstrdup(".cache/huggingface");
}

char *ws_hub_cache(void) {
    const char *v;
    if ((v = env("HF_HUB_CACHE")) || (v = env("HUGGINGFACE_HUB_CACHE"))) return expanded(v);
    return joined(hf_home(), "hub");
}

char *ws_hub_token_path(void) {
    const char *v = env("HF_TOKEN_PATH");
    return v ? expanded(v) : joined(hf_home(), "token");
}

int ws_hub_flag(const char *variable) {
    const char *v = env(variable);
    return v && (!strcmp(v, "1") || !strcasecmp(v, "on") || !strcasecmp(v, "yes") || !strcasecmp(v, "true"));
}

int ws_hub_offline(void) { return ws_hub_flag(env("HF_HUB_OFFLINE") ? "HF_HUB_OFFLINE" : "TRANSFORMERS_OFFLINE"); }

/* ---- ids ---- */

#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static size_t word(const char *s) {
    size_t n = strspn(s, WORD);
    return n && *s != '.' && *s != '-' && n <= 96 ? n : 0;
}

/* Revisions may be branches with slashes (refs/pr/1), but never lead out of the cache. */
int ws_hub_revision_ok(const char *r) {
    size_t n = strlen(r);
    return n && n <= 200 && *r != '/' && *r != '-' && !strstr(r, "..") && !strstr(r, "//") && r[n - 1] != '/' &&
           strspn(r, WORD "/") == n;
}

int ws_hub_file_ok(const char *f) {
    size_t n = strlen(f);
    if (!n || n > 1000) return 0;
    for (const char *p = f;; p++) {
        size_t k = strcspn(p, "/");
        if (!k || k > 250 || (p[0] == '.' && (k == 1 || (k == 2 && p[1] == '.')))) return 0;
        for (size_t i = 0; i < k; i++)
            if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f || p[i] == '\\') return 0;
        p += k;
        if (!*p) return 1;
    }
}

int ws_hub_id_parse(ws_hub_id *id, const char *text) {
    size_t n = word(text), m;
    *id = (ws_hub_id){0};
    if (n && text[n] == '/') n = (m = word(text + n + 1)) ? n + 1 + m : 0;
    if (!n) return 0;
    for (size_t i = 0; i + 1 < n; i++) /* the hub allows neither, and the folder's name would be ambiguous */
        if ((text[i] == '-' && text[i + 1] == '-') || (text[i] == '.' && text[i + 1] == '.')) return 0;
    const char *at = text + n, *colon = strchr(at, ':');
    size_t rev = 0;
    if (*at == '@') rev = colon ? (size_t)(colon - at - 1) : strlen(at + 1);
    char *revision = *at == '@' ? ws_xstrndup(at + 1, rev) : NULL;
    int ok = *at == '@' ? ws_hub_revision_ok(revision) : !*at || at == colon;
    if (colon) { /* one file, which must be a model by itself */
        size_t k = strlen(colon + 1);
        ok = ok && ws_hub_file_ok(colon + 1) && k > 5 && !strcmp(colon + 1 + k - 5, ".gguf");
    }
    if (!ok) {
        free(revision);
        return 0;
    }
    id->name = ws_xstrndup(text, n);
    id->revision = revision;
    id->file = colon ? ws_xstrdup(colon + 1) : NULL;
    return 1;
}

void ws_hub_id_free(ws_hub_id *id) {
    free(id->name), free(id->revision), free(id->file);
    *id = (ws_hub_id){0};
}

int ws_hub_is_id(const char *text) {
    ws_hub_id id;
    int yes = ws_hub_id_parse(&id, text);
    if (yes) ws_hub_id_free(&id);
    return yes;
}

char *ws_hub_folder(const char *name) {
    ws_str s = {0};
    ws_str_adds(&s, "models--");
    for (const char *c = name; *c; c++) *c == '/' ? ws_str_adds(&s, "--") : ws_str_addc(&s, *c);
    return ws_str_take(&s);
}

char *ws_hub_id_of(const char *path) {
    const char *p = strstr(path, "models--"), *next;
    while (p && (next = strstr(p + 1, "/models--"))) p = next + 1;
    if (!p || (p != path && p[-1] != '/')) return NULL;
    p += strlen("models--");
    size_t n = strcspn(p, "/");
    if (!n || strncmp(p + n, "/snapshots/", 11)) return NULL;
    char *id = ws_xstrndup(p, n), *dash = strstr(id, "--");
    if (dash) *dash = '/', memmove(dash + 1, dash + 2, strlen(dash + 2) + 1);
    return id;
}

/* ---- looking ---- */

/* The text of refs/<revision>, when it is a plain commit name. */
static char *commit_of(const char *repo, const char *revision) {
    char *path = joined(ws_path_join(repo, "refs"), revision), *commit = NULL;
    ws_str s = {0};
    if (!ws_file_read(path, &s, NULL)) {
        size_t n = strspn(s.p, "0123456789abcdef");
        if (n && n <= 64 && strspn(s.p + n, " \r\n") == s.n - n) commit = ws_xstrndup(s.p, n);
    }
    ws_str_free(&s);
    free(path);
    return commit;
}

/* The snapshot's directory, whether it is there or not. */
static char *snapshot_of(const ws_hub_id *id) {
    char *folder = ws_hub_folder(id->name), *repo = joined(ws_hub_cache(), folder);
    const char *revision = id->revision ? id->revision : "main";
    char *commit = commit_of(repo, revision), *dir = joined(joined(repo, "snapshots"), commit ? commit : revision);
    free(folder), free(commit);
    return dir;
}

ws_status ws_hub_find(char **path, const char *text, ws_err *err) {
    ws_hub_id id;
    *path = NULL;
    if (!ws_hub_id_parse(&id, text))
        return ws_fail(err, WS_EUSAGE, "'%s' is no model id (org/name, org/name@revision, org/name:file.gguf)", text);
    char *dir = snapshot_of(&id), *found = id.file ? ws_path_join(dir, id.file) : ws_xstrdup(dir);
    ws_status rc = WS_OK;
    if (id.file ? ws_file_exists(found) : ws_is_dir(found))
        *path = found, found = NULL;
    else {
        char *cache = ws_hub_cache(), *folder = ws_hub_folder(id.name), *repo = joined(cache, folder);
        char *root = ws_hub_cache();
        rc = ws_fail(err, WS_EIO,
                     "'%s' is neither a file or directory here nor %s in the Hugging Face cache %s; `ws pull %s` "
                     "fetches it",
                     text, ws_is_dir(repo) ? "whole" : "a model", root, text);
        free(folder), free(repo), free(root);
    }
    free(found), free(dir);
    ws_hub_id_free(&id);
    return rc;
}

static int has(const char *dir, const char *name) {
    char *path = ws_path_join(dir, name);
    int there = ws_file_exists(path); /* a link whose blob is gone does not count */
    free(path);
    return there;
}

/* A file and, where it is the first of several parts, the others. */
static int has_parts(const char *dir, const char *name) {
    const size_t parts = ws_name_parts(name, NULL);
    int there = has(dir, name);
    for (size_t i = 2; there && i <= parts; i++) {
        char *part = ws_name_part(name, i);
        there = has(dir, part);
        free(part);
    }
    return there;
}

static int has_any(const char *dir, const char *suffix) {
    DIR *d = opendir(dir);
    size_t k = strlen(suffix);
    int there = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > k && !strcmp(e->d_name + n - k, suffix) && has_parts(dir, e->d_name)) there = 1;
    }
    if (d) closedir(d);
    return there;
}

static int all_shards(const char *dir, const char *index) {
    json_t *j = NULL, *file;
    const char *tensor;
    char *path = ws_path_join(dir, index);
    int whole = !ws_json_load(&j, path, NULL) && json_is_object(json_object_get(j, "weight_map"));
    const char *last = ""; /* tensors of a shard stand together */
    json_object_foreach(json_object_get(j, "weight_map"), tensor, file) {
        const char *name = json_string_value(file);
        if (name && !strcmp(name, last)) continue;
        if (!whole || !name || !ws_hub_file_ok(name) || !has(dir, name)) {
            whole = 0;
            break;
        }
        last = name;
    }
    json_decref(j);
    free(path);
    return whole;
}

/* A tokenizer is there, or it is remembered that the repository has none (.no_exist). */
static int tokenizer_settled(const char *dir) {
    if (has(dir, "tokenizer.json") || has(dir, "tokenizer_config.json")) return 1;
    const char *commit = strrchr(dir, '/');
    char *none = ws_sprintf("%s/../../.no_exist/%s/tokenizer.json", dir, commit ? commit + 1 : dir);
    int known = ws_file_exists(none);
    free(none);
    return known;
}

int ws_hub_whole(const char *text) {
    ws_hub_id id;
    if (!ws_hub_id_parse(&id, text)) return 0;
    char *dir = snapshot_of(&id);
    int whole;
    if (id.file)
        whole = has_parts(dir, id.file);
    else if (!has(dir, "config.json"))
        whole = has_any(dir, ".gguf");
    else if (has(dir, WS_HUB_INDEX))
        whole = all_shards(dir, WS_HUB_INDEX) && tokenizer_settled(dir);
    else
        whole = has_any(dir, ".safetensors") && tokenizer_settled(dir);
    free(dir);
    ws_hub_id_free(&id);
    return whole;
}
