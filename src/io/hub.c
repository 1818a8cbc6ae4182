#include "io/hub.h"
#include "io/file.h"
#include <stdlib.h>
#include <string.h>

static const char *env(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

char *ws_hub_cache(void) {
    const char *v;
    if ((v = env("HF_HUB_CACHE")) || (v = env("HUGGINGFACE_HUB_CACHE"))) return ws_xstrdup(v);
    if ((v = env("HF_HOME"))) return ws_path_join(v, "hub");
    if ((v = env("XDG_CACHE_HOME"))) return ws_path_join(v, "huggingface/hub");
    if ((v = env("HOME"))) return ws_path_join(v, ".cache/huggingface/hub");
    return ws_xstrdup(".cache/huggingface/hub");
}

static size_t word(const char *s) {
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n && *s != '.' && *s != '-' && n <= 96 ? n : 0;
}

/* Lengths of the repository's name and of the revision (0: none); 0 when the text is no id. */
static size_t split(const char *text, size_t *revision) {
    size_t n = word(text), m;
    *revision = 0;
    if (n && text[n] == '/') n = (m = word(text + n + 1)) ? n + 1 + m : 0;
    if (!n) return 0;
    if (!text[n]) return n;
    if (text[n] != '@') return 0;
    /* revisions may be branches with slashes (refs/pr/1), but never lead out of the cache */
    const char *r = text + n + 1;
    *revision = strlen(r);
    return *revision && *r != '/' && !strstr(r, "..") &&
                   strspn(r, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == *revision
               ? n
               : 0;
}

int ws_hub_is_id(const char *text) {
    size_t rev;
    return split(text, &rev) != 0;
}

/* The text of refs/<revision>, when it is a plain commit name. */
static char *commit_of(const char *repo, const char *revision) {
    char *refs = ws_path_join(repo, "refs"), *path = ws_path_join(refs, revision), *commit = NULL;
    ws_str s = {0};
    if (!ws_file_read(path, &s, NULL)) {
        size_t n = strspn(s.p, "0123456789abcdef");
        if (n && n <= 64 && strspn(s.p + n, " \r\n") == s.n - n) commit = ws_xstrndup(s.p, n);
    }
    ws_str_free(&s);
    free(path), free(refs);
    return commit;
}

ws_status ws_hub_find(char **dir, const char *id, ws_err *err) {
    size_t rev, n = split(id, &rev);
    *dir = NULL;
    if (!n) return ws_fail(err, WS_EUSAGE, "'%s' is no model id (org/name or org/name@revision)", id);
    char *name = ws_xstrndup(id, n), *cache = ws_hub_cache();
    const char *revision = rev ? id + n + 1 : "main";
    ws_str folder = {0};
    ws_str_adds(&folder, "models--");
    for (const char *c = name; *c; c++) *c == '/' ? ws_str_adds(&folder, "--") : ws_str_addc(&folder, *c);
    char *repo = ws_path_join(cache, folder.p), *snapshots = ws_path_join(repo, "snapshots");
    char *commit = commit_of(repo, revision), *found = ws_path_join(snapshots, commit ? commit : revision);
    ws_status rc = WS_OK;
    if (ws_is_dir(found))
        *dir = found, found = NULL;
    else {
        char *flag = rev ? ws_sprintf(" --revision %s", revision) : ws_xstrdup("");
        rc = ws_fail(err, WS_EIO,
                     "'%s' is neither a file or directory here nor %s in the Hugging Face cache %s; `hf download %s%s` "
                     "fetches it",
                     id, ws_is_dir(repo) ? "whole" : "a model", cache, name, flag);
        free(flag);
    }
    free(found), free(commit), free(snapshots), free(repo), free(cache), free(name);
    ws_str_free(&folder);
    return rc;
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
