#include "io/http.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

struct ws_http {
    CURL *curl;
    char why[CURL_ERROR_SIZE];
};

typedef struct flight {
    ws_http *h;
    const ws_http_request *r;
    ws_http_answer *a;
    ws_err *err;
    ws_status rc;       /* the sink's */
    curl_off_t arrived; /* when the last byte came, and how many there were then */
    double at;
    int stalled;
} flight;

/* A listing of a large repository has a few hundred kilobytes; an error page is of no interest beyond its beginning. */
enum { MOST_BODY = 64 << 20 };

/* ---- headers ---- */

static void forget(ws_http_answer *a) {
    free(a->redirect), free(a->etag), free(a->linked_etag), free(a->commit), free(a->error_code);
    free(a->error_message), ws_str_free(&a->body);
    *a = (ws_http_answer){.length = -1, .linked_size = -1, .range_at = -1, .range_of = -1, .retry_after = -1};
}

void ws_http_answer_free(ws_http_answer *a) { forget(a); }

static int64_t whole_number(const char *s, const char **end) {
    char *stop;
    if (!isdigit((unsigned char)*s)) return -1;
    long long v = strtoll(s, &stop, 10);
    if (end) *end = stop;
    return v < INT64_MAX ? v : -1;
}

/* "bytes 100-199/200", "bytes 100-199" with a star for the size, or "bytes", star, "/200" */
static void content_range(ws_http_answer *a, const char *v) {
    if (strncasecmp(v, "bytes ", 6)) return;
    const char *p = v + 6;
    if (*p != '*') a->range_at = whole_number(p, NULL);
    if ((p = strchr(p, '/'))) a->range_of = whole_number(p + 1, NULL);
}

/* Seconds, or a date. */
static double retry_after(const char *v) {
    int64_t n = whole_number(v, NULL);
    if (n >= 0) return (double)n;
    time_t at = curl_getdate(v, NULL);
    if (at < 0) return -1;
    double left = difftime(at, time(NULL));
    return left > 0 ? left : 0;
}

/* The hub's own form, "api";r=0;t=55: r requests are left for t seconds. */
static double rate_limit(const char *v) {
    const char *r = strstr(v, "r="), *t = strstr(v, "t=");
    return r && t && whole_number(r + 2, NULL) == 0 ? (double)whole_number(t + 2, NULL) : -1;
}

static void keep(char **slot, const char *v) {
    free(*slot);
    *slot = ws_xstrdup(v);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg) {
    flight *f = arg;
    ws_http_answer *a = f->a;
    size_t n = size * count, end = n;
    if (n > 5 && !memcmp(line, "HTTP/", 5)) { /* a 100 came before, or this is the first */
        forget(a);
        return n;
    }
    const char *colon = memchr(line, ':', n);
    if (!colon) return n;
    size_t name = (size_t)(colon - line), at = name + 1;
    while (at < end && (line[at] == ' ' || line[at] == '\t')) at++;
    while (end > at && isspace((unsigned char)line[end - 1])) end--;
    char *v = ws_xstrndup(line + at, end - at);
#define IS(text) (name == sizeof text - 1 && !strncasecmp(line, text, name))
    if (IS("etag"))
        keep(&a->etag, v);
    else if (IS("x-linked-etag"))
        keep(&a->linked_etag, v);
    else if (IS("x-repo-commit"))
        keep(&a->commit, v);
    else if (IS("x-error-code"))
        keep(&a->error_code, v);
    else if (IS("x-error-message"))
        keep(&a->error_message, v);
    else if (IS("content-length"))
        a->length = whole_number(v, NULL);
    else if (IS("x-linked-size"))
        a->linked_size = whole_number(v, NULL);
    else if (IS("content-range"))
        content_range(a, v);
    else if (IS("retry-after"))
        a->retry_after = retry_after(v);
    else if (IS("ratelimit") && a->retry_after < 0)
        a->retry_after = rate_limit(v);
#undef IS
    free(v);
    return n;
}

/* ---- body ---- */

static size_t on_body(char *bytes, size_t size, size_t count, void *arg) {
    flight *f = arg;
    size_t n = size * count;
    curl_easy_getinfo(f->h->curl, CURLINFO_RESPONSE_CODE, &f->a->status);
    int wanted = f->a->status == 200 || f->a->status == 206;
    if (wanted && f->r->sink)
        f->rc = f->r->sink(f->r->arg, f->a, bytes, n, f->err);
    else if (n <= MOST_BODY - f->a->body.n)
        ws_str_add(&f->a->body, bytes, n);
    else if (wanted)
        f->rc = ws_fail(f->err, WS_EFORMAT, "the answer is longer than %d MiB", MOST_BODY >> 20);
    return f->rc ? CURL_WRITEFUNC_ERROR : n;
}

/* Called at least once a second.  (libcurl's own low-speed limit looks at an average over five seconds and more.) */
static int on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up) {
    flight *f = arg;
    (void)total, (void)up_total, (void)up;
    if (now != f->arrived) f->arrived = now, f->at = ws_now();
    f->stalled = ws_now() - f->at > f->r->patience;
    return f->stalled || ws_interrupted();
}

/* ---- requests ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode ready;
static void start(void) { ready = curl_global_init(CURL_GLOBAL_DEFAULT); }

ws_status ws_http_open(ws_http **out, ws_err *err) {
    pthread_once(&once, start);
    *out = ws_xcalloc(1, sizeof **out);
    if (ready || !((*out)->curl = curl_easy_init())) {
        free(*out), *out = NULL;
        return ws_fail(err, WS_EIO, "libcurl does not start: %s", curl_easy_strerror(ready));
    }
    return WS_OK;
}

void ws_http_close(ws_http *h) {
    if (!h) return;
    curl_easy_cleanup(h->curl);
    free(h);
}

/* What another try may heal; the rest (certificates, addresses, proxies that refuse) stays as it is. */
static int may_heal(CURLcode e) {
    switch (e) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: return 1;
    default: return 0;
    }
}

static struct curl_slist *header(struct curl_slist *list, const char *text) {
    struct curl_slist *longer = curl_slist_append(list, text);
    if (!longer) BUG("out of memory in a list of headers");
    return longer;
}

static const char *env(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static void set_up(flight *f, struct curl_slist *headers) {
    CURL *c = f->h->curl;
    long patience = (long)(f->r->patience * 1000);
    const char *ca = env("CURL_CA_BUNDLE") ? env("CURL_CA_BUNDLE") : env("SSL_CERT_FILE");
    curl_easy_reset(c); /* options only: connections are kept */
    curl_easy_setopt(c, CURLOPT_URL, f->r->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOBODY, (long)f->r->head);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, patience);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "ws");
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, f);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->h->why);
    if (ca) curl_easy_setopt(c, CURLOPT_CAINFO, ca);
    f->h->why[0] = 0;
}

ws_status ws_http_do(ws_http *h, const ws_http_request *r, ws_http_answer *a, ws_err *err) {
    flight f = {.h = h, .r = r, .a = a, .err = err, .at = ws_now()};
    char *redirect = NULL;
    forget(a);
    ws_status rc = ws_interrupt_check(err);
    if (rc) return rc;
    struct curl_slist *headers =
        header(NULL, "Accept-Encoding: identity"); /* sizes and hashes are of the file itself */
    if (r->token) {
        char *line = ws_sprintf("Authorization: Bearer %s", r->token);
        headers = header(headers, line);
        explicit_bzero(line, strlen(line));
        free(line);
    }
    if (r->from > 0) {
        char *line = ws_sprintf("Range: bytes=%lld-", (long long)r->from);
        headers = header(headers, line);
        free(line);
    }
    set_up(&f, headers);
    CURLcode e = curl_easy_perform(h->curl);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &a->status);
    if (!curl_easy_getinfo(h->curl, CURLINFO_REDIRECT_URL, &redirect) && redirect) keep(&a->redirect, redirect);
    if (r->token) explicit_bzero(headers->next->data, strlen(headers->next->data));
    curl_slist_free_all(headers);
    if (f.rc) return f.rc;
    if (!e) return WS_OK;
    if ((rc = ws_interrupt_check(err))) return rc;
    const char *why = h->why[0] ? h->why : curl_easy_strerror(e);
    if (f.stalled || may_heal(e)) {
        a->broken = 1;
        if (f.stalled)
            snprintf(a->why, sizeof a->why, "not a byte for %g s", r->patience);
        else
            snprintf(a->why, sizeof a->why, "%s", why);
        return WS_OK;
    }
    char *shown = ws_http_shown(r->url);
    int certificate = e == CURLE_PEER_FAILED_VERIFICATION || e == CURLE_SSL_CACERT_BADFILE;
    rc =
        ws_fail(err, WS_EIO, "%s: %s%s", shown, why,
                certificate ? "; is ca-certificates installed?  CURL_CA_BUNDLE names another file of authorities" : "");
    free(shown);
    return rc;
}

/* ---- addresses ---- */

static char *part(const char *url, CURLUPart what, unsigned flags) {
    CURLU *u = curl_url();
    char *v = NULL, *copy = NULL;
    if (u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, what, &v, flags)) copy = ws_xstrdup(v);
    curl_free(v);
    curl_url_cleanup(u);
    return copy;
}

int ws_http_same_origin(const char *a, const char *b) {
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    int same = 1;
    for (int i = 0; i < 3; i++) {
        char *x = part(a, parts[i], CURLU_DEFAULT_PORT), *y = part(b, parts[i], CURLU_DEFAULT_PORT);
        if (!x || !y || strcasecmp(x, y)) same = 0;
        free(x), free(y);
    }
    return same;
}

int ws_http_is_loopback(const char *url) {
    char *host = part(url, CURLUPART_HOST, 0);
    int yes = host && (!strcasecmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "[::1]"));
    free(host);
    return yes;
}

char *ws_http_shown(const char *url) {
    CURLU *u = curl_url();
    char *v = NULL, *copy = NULL;
    if (u && !curl_url_set(u, CURLUPART_URL, url, 0)) {
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        curl_url_set(u, CURLUPART_QUERY, NULL, 0);
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        if (!curl_url_get(u, CURLUPART_URL, &v, 0)) copy = ws_xstrdup(v);
    }
    curl_free(v);
    curl_url_cleanup(u);
    return copy ? copy : ws_xstrdup("(an address that is none)");
}

char *ws_http_escape(const char *text, int keep_slash) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    ws_str s = {0};
    for (const char *p = text; *p; p++)
        if (strchr(plain, *p) || (keep_slash && *p == '/'))
            ws_str_addc(&s, *p);
        else
            ws_str_addf(&s, "%%%02X", (unsigned char)*p);
    return ws_str_take(&s);
}
