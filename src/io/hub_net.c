/* src/io/hub_net.c - what the hub says: listings, where a file lies, and why not (conventions.md 3.3).
 *   - the token goes to the endpoint's own scheme, host and port, and nowhere else: redirects are followed by hand;
 *   - a redirect to another host ends the search: its address is a signed link, its headers tell hash and size;
 *   - 429, 5xx and broken connections are tried again, with a pause that doubles or that the hub asks for. */
#include "base/interrupt.h"
#include "base/log.h"
#include "io/file.h"
#include "io/hub_impl.h"
#include "io/json.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PUBLIC_HUB "https://huggingface.co"
enum { HOPS = 8 };
static const double longest_wait = 600; /* seconds that a Retry-After may ask for */

static const char *env(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* ---- opening ---- */

static ws_status seconds_of(const char *variable, double dflt, double lo, double *out, ws_err *err) {
    const char *v = env(variable);
    char *end;
    *out = dflt;
    if (!v) return WS_OK;
    *out = strtod(v, &end);
    if (*end || !(*out >= lo) || !(*out <= 86400))
        return ws_fail(err, WS_EUSAGE, "%s='%s' is no number of seconds from %g to 86400", variable, v, lo);
    return WS_OK;
}

static ws_status take_token(ws_hub_net *n, ws_err *err) {
    const char *v = env("HF_TOKEN"), *name = "HF_TOKEN";
    ws_str file = {0};
    ws_status rc = WS_OK;
    if (!v) v = env("HUGGING_FACE_HUB_TOKEN"), name = "HUGGING_FACE_HUB_TOKEN";
    char *path = ws_hub_token_path();
    if (!v && ws_file_exists(path)) {
        if (ws_file_read(path, &file, NULL))
            ws_warn("the token in %s cannot be read: %s; going on without it", path, strerror(errno));
        else
            v = file.p, name = path;
    }
    n->token_from = ws_xstrdup(v ? name : path);
    if (v) {
        while (isspace((unsigned char)*v)) v++;
        size_t k = strcspn(v, " \t\r\n");
        for (size_t i = 0; i < k && !rc; i++)
            if (!isgraph((unsigned char)v[i]) || (unsigned char)v[i] > 0x7e)
                rc = ws_fail(err, WS_EUSAGE, "the token in %s has a character that no token has", name);
        if (!rc && v[k + strspn(v + k, " \t\r\n")])
            rc = ws_fail(err, WS_EUSAGE, "the token in %s is more than one word", name);
        if (!rc && k) n->token = ws_xstrndup(v, k);
    }
    if (file.p) explicit_bzero(file.p, file.n);
    ws_str_free(&file);
    free(path);
    return rc;
}

ws_status ws_hub_net_open(ws_hub_net *n, const char *endpoint, ws_err *err) {
    *n = (ws_hub_net){.tries = WS_HUB_TRIES, .withhold = ws_hub_flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")};
    const char *at = endpoint ? endpoint : env("HF_ENDPOINT") ? env("HF_ENDPOINT") : PUBLIC_HUB;
    n->endpoint = ws_xstrdup(at);
    for (size_t k = strlen(n->endpoint); k && n->endpoint[k - 1] == '/';) n->endpoint[--k] = 0;
    ws_status rc = WS_OK;
    if ((strncmp(at, "https://", 8) && strncmp(at, "http://", 7)) || !ws_http_same_origin(at, at))
        rc = ws_fail(err, WS_EUSAGE, "%s is no address of a hub: it must be http:// or https:// and a host",
                     endpoint ? "--endpoint" : "HF_ENDPOINT");
    if (!rc) rc = take_token(n, err);
    if (!rc) rc = seconds_of("HF_HUB_ETAG_TIMEOUT", 10, 1, &n->meta_patience, err);
    if (!rc) rc = seconds_of("HF_HUB_DOWNLOAD_TIMEOUT", 10, 1, &n->data_patience, err);
    if (!rc) rc = seconds_of("WS_RETRY_UNIT", 1, 0, &n->unit, err);
    if (!rc) rc = ws_http_open(&n->http, err);
    if (!rc && n->token && !strncmp(at, "http://", 7) && !ws_http_is_loopback(at)) {
        char *shown = ws_http_shown(at);
        ws_warn("the token goes to %s unencrypted", shown);
        free(shown);
    }
    if (rc) ws_hub_net_close(n);
    return rc;
}

void ws_hub_net_close(ws_hub_net *n) {
    if (n->token) explicit_bzero(n->token, strlen(n->token));
    free(n->token), free(n->token_from), free(n->endpoint);
    ws_http_close(n->http);
    *n = (ws_hub_net){0};
}

const char *ws_hub_net_token(const ws_hub_net *n, const char *url) {
    return n->token && !n->withhold && ws_http_same_origin(url, n->endpoint) ? n->token : NULL;
}

/* ---- trying again ---- */

int ws_hub_net_transient(const ws_http_answer *a) {
    return a->broken || a->status == 408 || a->status == 429 || a->status >= 500;
}

static ws_status sleep_for(double s, ws_err *err) {
    double until = ws_now() + s;
    for (double left; (left = until - ws_now()) > 0;) {
        ws_status rc = ws_interrupt_check(err);
        if (rc) return rc;
        left = left < 0.1 ? left : 0.1;
        nanosleep(&(struct timespec){0, (long)(left * 1e9)}, NULL);
    }
    return ws_interrupt_check(err);
}

ws_status ws_hub_net_wait(ws_hub_net *n, int k, const ws_http_answer *a, const char *what, ws_err *err) {
    char *shown = ws_http_shown(n->endpoint),
         *why = a->broken ? ws_xstrdup(a->why) : ws_sprintf("status %ld", a->status);
    if (a->status > 0) n->answered = 1;
    int tries = n->answered || n->tries < WS_HUB_FIRST_TRIES ? n->tries : WS_HUB_FIRST_TRIES;
    double pause = n->unit * ldexp(1, k < 10 ? k : 10);
    ws_status rc = WS_OK;
    if (a->retry_after > pause) pause = a->retry_after;
    n->unreachable = 1;
    if (a->retry_after > longest_wait)
        rc = ws_fail(err, WS_EIO, "%s: %s asks to come back in %.0f s; the same command goes on then", what, shown,
                     a->retry_after);
    else if (k + 1 >= tries)
        rc = ws_fail(err, WS_EIO, "%s: %s (%s, tried %d time%s); %s", what, why, shown, tries, tries == 1 ? "" : "s",
                     n->answered ? "the same command goes on from what has arrived"
                                 : "is there a network?  HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy");
    else {
        if (pause >= 1)
            ws_note("%s: %s; trying again in %.0f s", what, why, pause);
        else
            ws_detail("%s: %s; trying again", what, why);
        if (!(rc = sleep_for(pause, err))) n->unreachable = 0;
    }
    free(shown), free(why);
    return rc;
}

/* ---- refusals ---- */

/* What the hub says in its own words: short, in one line, never with the token in it. */
static void add_words(const ws_hub_net *n, const ws_http_answer *a, ws_str *s) {
    if (!a->error_message || !*a->error_message) return;
    ws_str_adds(s, "; the hub says: ");
    size_t k = n->token ? strlen(n->token) : 0, left = 200;
    for (const char *p = a->error_message; *p && left; left--)
        if (k && !strncmp(p, n->token, k))
            ws_str_adds(s, "***"), p += k;
        else
            ws_str_addc(s, *p++);
}

ws_status ws_hub_net_refused(const ws_hub_net *n, const ws_http_answer *a, const char *name, const char *revision,
                             const char *file, ws_err *err) {
    const char *code = a->error_code ? a->error_code : "", *key = n->token_from;
    char *hub = ws_http_shown(n->endpoint);
    int sent = n->token && !n->withhold, gated = !strcmp(code, "GatedRepo");
    ws_str s = {0};
    if (hub[strlen(hub) - 1] == '/') hub[strlen(hub) - 1] = 0;
    if (gated && !sent)
        ws_str_addf(
            &s,
            "%s is gated: accept its conditions at %s/%s, then set HF_TOKEN to a token of that account, or put it "
            "into %s",
            name, hub, name, key);
    else if (gated)
        ws_str_addf(&s, "%s is gated, and the account of the token in %s has no access yet: ask for it at %s/%s", name,
                    key, hub, name);
    else if (a->status == 401 && sent)
        ws_str_addf(&s, "%s does not accept the token in %s for %s: it may have expired, or belong to another hub", hub,
                    key, name);
    else if (!strcmp(code, "RevisionNotFound"))
        ws_str_addf(&s, "%s has no revision '%s' (a branch, a tag or a whole commit)", name, revision);
    else if (!strcmp(code, "EntryNotFound"))
        ws_str_addf(&s, "%s has no file %s", name, file ? file : "of that name");
    else if (a->status == 401)
        ws_str_addf(
            &s,
            "%s shows %s to nobody without a token: the name is wrong, or the model is private or gated; for those "
            "set HF_TOKEN, or put the token into %s",
            hub, name, key);
    else if (a->status == 403)
        ws_str_addf(
            &s, "%s refuses %s%s%s: %s", hub, name, file ? "/" : "", file ? file : "",
            sent ? "the token may not read it (a fine-grained token needs the permission to read gated repositories)"
                 : "a token may be needed; set HF_TOKEN");
    else if (a->status == 404)
        ws_str_addf(&s, "%s has no model %s%s%s%s", hub, name, file ? " with the file " : "", file ? file : "",
                    sent ? ", or none that the token may see" : "; for a private one set HF_TOKEN");
    else
        ws_str_addf(&s, "%s answers with status %ld to the question for %s%s%s", hub, a->status, name, file ? "/" : "",
                    file ? file : "");
    add_words(n, a, &s);
    ws_status rc = ws_fail(err, WS_EIO, "%s", s.p);
    ws_str_free(&s);
    free(hub);
    return rc;
}

/* ---- asking the endpoint ---- */

/* What the answers on the way said: a redirect may carry the hash and size of what it leads to. */
typedef struct found {
    char *etag, *commit;
    int64_t size;
} found;

static void move(char **to, char **from) {
    if (!*from) return;
    free(*to);
    *to = *from, *from = NULL;
}

/* One request to an address of the endpoint and on within it.  `*url` becomes the last address, or the foreign one that the
 * endpoint points to, which a HEAD does not ask. */
static ws_status ask(ws_hub_net *n, char **url, int head, const char *what, ws_http_answer *a, found *out,
                     ws_err *err) {
    for (int hop = 0, k = 0; hop < HOPS;) {
        ws_http_request r = {
            .url = *url, .head = head, .token = ws_hub_net_token(n, *url), .patience = n->meta_patience};
        ws_status rc = ws_http_do(n->http, &r, a, err);
        if (rc) return rc;
        char *shown = ws_http_shown(*url);
        ws_detail("%s %s: %ld%s", head ? "HEAD" : "GET", shown, a->status, a->broken ? " (broken)" : "");
        free(shown);
        if (ws_hub_net_transient(a)) {
            if ((rc = ws_hub_net_wait(n, k++, a, what, err))) return rc;
            continue;
        }
        n->answered = 1;
        if ((a->status == 401 || a->status == 403) && n->withhold && n->token) {
            n->withhold = 0;
            continue;
        }
        if (out) {
            move(&out->etag, &a->linked_etag);
            move(&out->commit, &a->commit);
            if (a->linked_size >= 0) out->size = a->linked_size;
        }
        if (a->status / 100 != 3 || !a->redirect) return WS_OK;
        move(url, &a->redirect);
        if (head && !ws_http_same_origin(*url, n->endpoint)) return WS_OK;
        hop++, k = 0;
    }
    return ws_fail(err, WS_EIO, "%s: redirected more than %d times", what, HOPS);
}

/* ---- listing ---- */

static int is_hex(const char *s, size_t n) { return s && strlen(s) == n && strspn(s, "0123456789abcdef") == n; }

static ws_status read_file(ws_hub_file *f, const json_t *o, const char *name, ws_err *err) {
    const char *file = json_string_value(json_object_get(o, "rfilename"));
    const json_t *lfs = json_object_get(o, "lfs"), *size = json_object_get(o, "size");
    if (!file) return ws_fail(err, WS_EFORMAT, "%s: the hub's list has an entry without \"rfilename\"", name);
    if (!ws_hub_file_ok(file))
        return ws_fail(err, WS_EFORMAT,
                       "%s: the hub's list has a file '%.200s', which would lead out of the cache; nothing is "
                       "fetched",
                       name, file);
    const char *sha = json_string_value(json_object_get(lfs, "sha256")),
               *blob = json_string_value(json_object_get(o, "blobId"));
    if (!json_is_integer(size)) size = json_object_get(lfs, "size");
    *f = (ws_hub_file){.name = ws_xstrdup(file), .size = json_is_integer(size) ? json_integer_value(size) : -1};
    if (f->size < -1) f->size = -1;
    if (json_is_object(lfs) ? is_hex(sha, 64) : is_hex(blob, 40))
        f->digest = ws_xstrdup(json_is_object(lfs) ? sha : blob);
    return WS_OK;
}

ws_status ws_hub_net_list(ws_hub_net *n, const char *name, const char *revision, ws_hub_listing *out, ws_err *err) {
    char *rev = ws_http_escape(revision, 0),
         *url = ws_sprintf("%s/api/models/%s/revision/%s?blobs=true", n->endpoint, name, rev);
    ws_http_answer a = {0};
    json_t *j = NULL;
    *out = (ws_hub_listing){0};
    ws_status rc = ask(n, &url, 0, name, &a, NULL, err);
    if (!rc && a.status != 200) rc = ws_hub_net_refused(n, &a, name, revision, NULL, err);
    if (!rc) rc = ws_json_parse(&j, a.body.p ? a.body.p : "", a.body.n, "the hub's list of files", err);
    if (!rc) {
        const char *sha = json_string_value(json_object_get(j, "sha"));
        json_t *list = json_object_get(j, "siblings"), *o;
        size_t i;
        if (!is_hex(sha, 40) && !is_hex(sha, 64))
            rc = ws_fail(err, WS_EFORMAT, "%s: the hub's list of files names no commit; is the endpoint a hub?", name);
        else if (!json_is_array(list))
            rc = ws_fail(err, WS_EFORMAT, "%s: the hub's answer has no list of files", name);
        if (!rc) strcpy(out->commit, sha);
        out->file = ws_xcalloc(rc ? 1 : json_array_size(list) + 1, sizeof *out->file);
        if (!rc) json_array_foreach(list, i, o) {
                if ((rc = read_file(&out->file[out->n], o, name, err))) break;
                out->n++;
            }
    }
    if (rc) ws_hub_listing_free(out);
    json_decref(j);
    ws_http_answer_free(&a);
    free(rev), free(url);
    return rc;
}

void ws_hub_listing_free(ws_hub_listing *l) {
    for (size_t i = 0; i < l->n; i++)
        free(l->file[i].name), free(l->file[i].digest), free(l->file[i].etag), free(l->file[i].url);
    free(l->file);
    *l = (ws_hub_listing){0};
}

/* ---- where a file lies ---- */

/* W/"abc" -> abc, when that is fit to be the name of a file. */
static char *plain_etag(const char *v) {
    if (!v) return NULL;
    if (v[0] == 'W' && v[1] == '/') v += 2;
    size_t n = strlen(v);
    if (n >= 2 && v[0] == '"' && v[n - 1] == '"') v++, n -= 2;
    if (!n || n > 128 || v[0] == '.') return NULL;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)v[i]) && !strchr("-_.", v[i])) return NULL;
    return ws_xstrndup(v, n);
}

ws_status ws_hub_net_locate(ws_hub_net *n, const char *name, const char *commit, ws_hub_file *f, ws_err *err) {
    char *path = ws_http_escape(f->name, 1), *url = ws_sprintf("%s/%s/resolve/%s/%s", n->endpoint, name, commit, path),
         *etag = NULL;
    ws_http_answer a = {0};
    found at = {.size = -1};
    ws_status rc = ask(n, &url, 1, f->name, &a, &at, err);
    if (!rc && a.status / 100 != 2 && a.status / 100 != 3) rc = ws_hub_net_refused(n, &a, name, commit, f->name, err);
    if (!rc && at.commit && strcmp(at.commit, commit))
        rc = ws_fail(err, WS_EFORMAT, "%s: the hub gives commit %.64s of it, and %s was asked for", f->name, at.commit,
                     commit);
    if (!rc) {
        int64_t size = at.size >= 0 ? at.size : a.status / 100 == 2 ? a.length : -1;
        etag = plain_etag(at.etag ? at.etag : a.etag);
        if (!etag && (at.etag || a.etag))
            rc = ws_fail(err, WS_EFORMAT, "%s: its ETag is no name that a file may have", f->name);
        else if (!etag && !f->digest)
            rc = ws_fail(err, WS_EFORMAT, "%s: the endpoint gives no ETag, so it could not be verified; is it a hub?",
                         f->name);
        else if (size >= 0 && f->size >= 0 && size != f->size)
            rc = ws_fail(err, WS_EFORMAT, "%s: the hub's list says %lld bytes, the file's own headers %lld", f->name,
                         (long long)f->size, (long long)size);
        if (!rc && f->size < 0) f->size = size;
    }
    if (!rc) {
        free(f->etag), free(f->url);
        f->etag = etag ? etag : ws_xstrdup(f->digest), etag = NULL;
        f->url = url, url = NULL;
    }
    free(path), free(url), free(etag);
    free(at.etag), free(at.commit);
    ws_http_answer_free(&a);
    return rc;
}
