/* src/io/hub_pull.c - which files of a repository a model is, and all of them into the cache. */
#include "base/interrupt.h"
#include "base/log.h"
#include "io/file.h"
#include "io/hub_impl.h"
#include "io/json.h"
#include "io/names.h"
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* What stands beside the weights: read by us or, of the last ones, by programs that share the cache. */
static const char *const usual[] = {
    "config.json",         "generation_config.json", "tokenizer.json",          "tokenizer_config.json",
    "chat_template.jinja", "chat_template.json",     "special_tokens_map.json", "added_tokens.json"};
enum { N_USUAL = sizeof usual / sizeof *usual };

typedef struct pull {
    const ws_pull_options *o;
    ws_hub_id id;
    const char *revision; /* never NULL */
    ws_hub_net net;
    ws_hub_listing list;
    ws_hub_store store;
    ws_hub_bar bar;
    ws_hub_file **want; /* into list.file */
    size_t n;
    const char *single; /* the one GGUF that is the model; NULL: a directory */
    int early;          /* the index was fetched before the rest was looked at */
} pull;

/* ---- the choice ---- */

static ws_hub_file *listed(const pull *p, const char *name) {
    for (size_t i = 0; i < p->list.n; i++)
        if (!strcmp(p->list.file[i].name, name)) return &p->list.file[i];
    return NULL;
}

static void want(pull *p, ws_hub_file *f) {
    for (size_t i = 0; i < p->n; i++)
        if (p->want[i] == f) return;
    if (f) p->want[p->n++] = f;
}

static int ends(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n > k && !strcmp(s + n - k, suffix);
}

/* "a, b, c, ..." of the files that end in `suffix`; returns how many there are. */
static size_t names(const pull *p, const char *suffix, ws_str *out) {
    size_t n = 0;
    ws_str_adds(out, "");
    for (size_t i = 0; i < p->list.n; i++) {
        if (!ends(p->list.file[i].name, suffix)) continue;
        if (n < 12) ws_str_addf(out, "%s%s", n ? ", " : "", p->list.file[i].name);
        if (n++ == 12) ws_str_adds(out, ", ...");
    }
    return n;
}

/* The parts that belong to the chosen file, where it is the first of several. */
static ws_status want_parts(pull *p, ws_err *err) {
    ws_status rc = WS_OK;
    const size_t parts = ws_name_parts(p->single, NULL);
    for (size_t i = 2; !rc && i <= parts; i++) {
        char *name = ws_name_part(p->single, i);
        ws_hub_file *f = listed(p, name);
        if (!f) rc = ws_fail(err, WS_EIO, "%s has %s, but not %s", p->id.name, p->single, name);
        want(p, f);
        free(name);
    }
    return rc;
}

static ws_status want_gguf(pull *p, ws_err *err) {
    ws_str s = {0};
    size_t n = names(p, ".gguf", &s);
    ws_status rc = WS_OK;
    const char *only = p->id.file; /* else the single one, or the first of the parts of a single one */
    for (size_t i = 0; i < p->list.n && !only; i++) {
        const char *name = p->list.file[i].name;
        if (ends(name, ".gguf") && (n == 1 || ws_name_parts(name, NULL) == n)) only = name;
    }
    if (!only)
        rc = ws_fail(err, WS_EUSAGE, "%s has %zu GGUF files; name one of them, `%s:FILE.gguf`: %s", p->id.name, n,
                     p->id.name, s.p);
    else if (!listed(p, only))
        rc = ws_fail(err, WS_EIO, "%s has no file %s%s%s", p->id.name, only, n ? "; its GGUF files are " : "", s.p);
    else {
        want(p, listed(p, only)), p->single = listed(p, only)->name;
        rc = want_parts(p, err);
    }
    ws_str_free(&s);
    return rc;
}

static ws_status get_now(pull *p, ws_hub_file *f, ws_err *err) {
    ws_hub_store_look(&p->store, f);
    if (f->there) return WS_OK;
    p->early = 1;
    return ws_hub_get(&p->net, &p->store, f, &p->bar, err);
}

/* The index says which shards there are; it is small, and needed to say how large the whole is. */
static ws_status want_shards(pull *p, ws_hub_file *index, ws_err *err) {
    json_t *j = NULL, *file;
    const char *tensor, *last = "";
    ws_status rc = get_now(p, index, err);
    if (rc) return rc;
    char *path = ws_path_join(p->store.snapshot, index->name);
    rc = ws_json_load(&j, path, err);
    json_t *map = rc ? NULL : json_object_get(j, "weight_map");
    if (!rc && !json_is_object(map)) rc = ws_fail(err, WS_EFORMAT, "%s: \"weight_map\" is missing or no object", path);
    if (!rc) json_object_foreach(map, tensor, file) {
            const char *name = json_string_value(file);
            if (name && !strcmp(name, last)) continue;
            ws_hub_file *f = name && !strchr(name, '/') ? listed(p, name) : NULL;
            if (!f) {
                rc = ws_fail(err, WS_EFORMAT, "%s: %s is said to be in \"%.200s\", which %s does not have", path,
                             tensor, name ? name : "", p->id.name);
                break;
            }
            want(p, f), last = name;
        }
    json_decref(j);
    free(path);
    return rc;
}

static ws_status want_adapter_or_nothing(pull *p, ws_err *err) {
    ws_hub_file *config = listed(p, "adapter_config.json"), *weights = listed(p, "adapter_model.safetensors");
    if (config && weights) {
        want(p, config), want(p, weights);
        return WS_OK;
    }
    ws_str bins = {0};
    size_t n = names(p, ".bin", &bins);
    ws_status rc = ws_fail(
        err, WS_EUNSUPPORTED, "%s has neither safetensors nor GGUF files%s; --include fetches any file by its name",
        p->id.name,
        n ? ", and .bin files are not read, because unpickling runs code: look for a converted copy of the model" : "");
    ws_str_free(&bins);
    return rc;
}

static ws_status choose(pull *p, ws_err *err) {
    p->want = ws_xcalloc(p->list.n + 1, sizeof *p->want);
    if (p->o->n_include) {
        for (size_t i = 0; i < p->list.n; i++)
            for (int k = 0; k < p->o->n_include; k++)
                if (!fnmatch(p->o->include[k], p->list.file[i].name, 0)) want(p, &p->list.file[i]);
        return p->n ? WS_OK
                    : ws_fail(err, WS_EUSAGE, "--include: none of the %zu files of %s matches '%s'", p->list.n,
                              p->id.name, p->o->include[0]);
    }
    if (p->id.file) return want_gguf(p, err);
    ws_hub_file *index = listed(p, WS_HUB_INDEX), *whole = listed(p, "model.safetensors");
    ws_status rc = WS_OK;
    for (int i = 0; i < N_USUAL; i++) want(p, listed(p, usual[i]));
    size_t beside = p->n;
    if (index) {
        want(p, index);
        rc = want_shards(p, index, err);
    } else if (whole)
        want(p, whole);
    else
        for (size_t i = 0; i < p->list.n; i++) { /* other names, in the top folder; copies in another layout left out */
            const char *name = p->list.file[i].name;
            if (ends(name, ".safetensors") && !strchr(name, '/') && strcmp(name, "adapter_model.safetensors") &&
                strncmp(name, "consolidated", 12))
                want(p, &p->list.file[i]);
        }
    if (rc || p->n > beside) return rc;
    ws_str s = {0};
    size_t ggufs = names(p, ".gguf", &s);
    ws_str_free(&s);
    if (!ggufs) return want_adapter_or_nothing(p, err);
    p->n = 0; /* a GGUF has its own configuration and tokenizer */
    return want_gguf(p, err);
}

/* ---- what is to come ---- */

/* The free bytes where the cache is; -1: not known. */
static int64_t room(const char *dir) {
    struct statvfs v;
    if (statvfs(dir, &v)) return -1;
    unsigned long long n = (unsigned long long)v.f_bavail * v.f_frsize;
    return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

static ws_status look(pull *p, ws_pull_result *out, ws_err *err) {
    char whole[32], rest[32], free_bytes[32];
    ws_status rc = WS_OK;
    int64_t missing = 0;
    int unknown = 0;
    for (size_t i = 0; i < p->n && !rc; i++) {
        ws_hub_file *f = p->want[i];
        if (f->size < 0) rc = ws_hub_net_locate(&p->net, p->id.name, p->list.commit, f, err);
        ws_hub_store_look(&p->store, f);
        int64_t size = f->size >= 0 ? f->size : 0;
        unknown += f->size < 0;
        if (size > INT64_MAX / 2 - out->bytes)
            return ws_fail(err, WS_EFORMAT, "%s: the hub's list has sizes that cannot be", p->id.name);
        out->bytes += size;
        if (!f->there) missing += size > f->begun ? size - f->begun : 0;
        if (!f->there) out->files_fetched++;
    }
    out->files = (int)p->n;
    out->files_fetched += p->early;
    out->bytes_fetched = missing;
    if (rc) return rc;
    if (out->files_fetched == p->early) {
        ws_note("%s at %s (commit %.12s): %zu file%s, %s, all in the cache", p->id.name, p->revision, p->list.commit,
                p->n, p->n == 1 ? "" : "s", ws_format_bytes(whole, (double)out->bytes));
        return WS_OK;
    }
    ws_note("%s at %s (commit %.12s): %zu file%s, %s; to fetch: %s%s, into %s", p->id.name, p->revision, p->list.commit,
            p->n, p->n == 1 ? "" : "s", ws_format_bytes(whole, (double)out->bytes),
            ws_format_bytes(rest, (double)missing), unknown ? " and files of unknown size" : "", p->store.cache);
    char *blobs = ws_path_join(p->store.repo, "blobs");
    if (!(rc = ws_mkdirs(blobs, err)) && room(blobs) >= 0 && room(blobs) < missing)
        rc = ws_fail(err, WS_EIO,
                     "%s: %s are to be fetched, and %s are free in %s: make room, or set HF_HUB_CACHE to another disk",
                     p->id.name, rest, ws_format_bytes(free_bytes, (double)room(blobs)), p->store.cache);
    free(blobs);
    return rc;
}

static int later(const ws_hub_file *f) { return ends(f->name, ".safetensors") || ends(f->name, ".gguf"); }

/* What is small comes first, so that a broken pull leaves a snapshot whose missing part is a weight file. */
static int in_order(const void *a, const void *b) {
    const ws_hub_file *x = *(ws_hub_file *const *)a, *y = *(ws_hub_file *const *)b;
    return later(x) != later(y) ? later(x) - later(y) : strcmp(x->name, y->name);
}

static ws_status fetch(pull *p, const ws_pull_result *out, ws_err *err) {
    ws_status rc = ws_hub_store_tag(&p->store, err);
    if (p->n) qsort(p->want, p->n, sizeof *p->want, in_order);
    p->bar.done = 0, p->bar.total = out->bytes_fetched;
    ws_progress_start(&p->bar.p, "pull", "MiB", (p->bar.total + (1 << 20) - 1) >> 20);
    if (ws_hub_flag("HF_HUB_DISABLE_PROGRESS_BARS")) p->bar.p.live = 0;
    for (size_t i = 0; i < p->n && !rc; i++)
        if (!p->want[i]->there) rc = ws_hub_get(&p->net, &p->store, p->want[i], &p->bar, err);
    ws_progress_end(&p->bar.p);
    if (rc == WS_EINTERRUPTED) {
        char got[32], of[32];
        rc = ws_fail(
            err, WS_EINTERRUPTED,
            "interrupted by signal %d; %s of the %s that were to come have arrived and stay, the same command goes on "
            "from there",
            ws_interrupted(), ws_format_bytes(got, (double)p->bar.done), ws_format_bytes(of, (double)p->bar.total));
    }
    return rc;
}

/* ---- the whole ---- */

static char *text_of(const pull *p) {
    return ws_sprintf("%s@%s%s%s", p->id.name, p->revision, p->id.file ? ":" : "", p->id.file ? p->id.file : "");
}

/* The result of a look into the cache alone. */
static ws_status from_cache(pull *p, ws_pull_result *out, ws_err *err) {
    char *text = text_of(p), *snapshot;
    ws_status rc = ws_hub_find(&out->path, text, err);
    if (!rc && (snapshot = strstr(out->path, "/snapshots/"))) {
        snapshot += strlen("/snapshots/");
        out->commit = ws_xstrndup(snapshot, strcspn(snapshot, "/"));
    }
    free(text);
    return rc;
}

static ws_status online(pull *p, ws_pull_result *out, int whole, ws_err *err) {
    ws_status rc = ws_hub_net_open(&p->net, p->o->endpoint, err);
    if (rc) return rc;
    if (whole) p->net.tries = 1; /* there is something to fall back on */
    rc = ws_hub_net_list(&p->net, p->id.name, p->revision, &p->list, err);
    if (rc == WS_EIO && whole && p->net.unreachable) {
        ws_warn("%s; going on with what the cache has of %s", err->msg, p->id.name);
        return from_cache(p, out, err);
    }
    if (rc) return rc;
    p->net.tries = WS_HUB_TRIES;
    ws_hub_store_open(&p->store, p->id.name, p->list.commit);
    if ((rc = choose(p, err)) || (rc = look(p, out, err))) return rc;
    if (out->files_fetched > p->early && (rc = fetch(p, out, err))) return rc;
    if (!p->o->n_include && !p->single)
        for (int i = 0; i < N_USUAL; i++)
            if (!listed(p, usual[i])) ws_hub_store_none(&p->store, usual[i]);
    if ((rc = ws_hub_store_ref(&p->store, p->revision, err))) return rc; /* only now: what it names is whole */
    out->commit = ws_xstrdup(p->list.commit);
    out->path = p->single ? ws_path_join(p->store.snapshot, p->single) : ws_xstrdup(p->store.snapshot);
    return WS_OK;
}

static int is_commit(const char *s) { return strlen(s) == 40 && strspn(s, "0123456789abcdef") == 40; }

ws_status ws_hub_pull(ws_pull_result *out, const ws_pull_options *o, ws_err *err) {
    pull p = {.o = o};
    *out = (ws_pull_result){0};
    if (!ws_hub_id_parse(&p.id, o->id))
        return ws_fail(err, WS_EUSAGE, "'%s' is no model id (org/name, org/name@revision, org/name:file.gguf)", o->id);
    ws_status rc = WS_OK;
    if (o->revision && p.id.revision && strcmp(o->revision, p.id.revision))
        rc = ws_fail(err, WS_EUSAGE, "'%s' and --revision %s name two revisions", o->id, o->revision);
    else if (o->revision && !ws_hub_revision_ok(o->revision))
        rc = ws_fail(err, WS_EUSAGE, "--revision '%s' is no branch, tag or commit", o->revision);
    else if (o->n_include && p.id.file)
        rc = ws_fail(err, WS_EUSAGE, "--include chooses files, and '%s' names one already", o->id);
    p.revision = o->revision ? o->revision : p.id.revision ? p.id.revision : "main";
    if (!rc) {
        char *text = text_of(&p);
        int whole = !o->n_include && ws_hub_whole(text);
        if (o->offline && o->n_include)
            rc = ws_fail(err, WS_EUSAGE, "--include needs the hub's list of files, which --offline forbids to ask for");
        else if (o->offline && whole)
            rc = from_cache(&p, out, err);
        else if (o->offline)
            rc = ws_fail(
                err, WS_EIO,
                "%s is not whole in the Hugging Face cache, and --offline (or HF_HUB_OFFLINE) forbids the network; "
                "`ws pull %s` without it fetches the model",
                o->id, o->id);
        else if (whole && is_commit(p.revision)) /* a commit never changes: nothing to ask */
            rc = from_cache(&p, out, err);
        else
            rc = online(&p, out, whole, err);
        free(text);
    }
    out->name = ws_xstrdup(p.id.name), out->revision = ws_xstrdup(p.revision);
    if (rc) ws_pull_result_free(out);
    ws_hub_listing_free(&p.list);
    ws_hub_store_close(&p.store);
    if (p.net.http) ws_hub_net_close(&p.net);
    ws_hub_id_free(&p.id);
    free(p.want);
    return rc;
}

void ws_pull_result_free(ws_pull_result *r) {
    free(r->name), free(r->revision), free(r->commit), free(r->path);
    *r = (ws_pull_result){0};
}
