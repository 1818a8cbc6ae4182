/* src/io/hub_get.c - one file of the hub into blobs/<etag>: begun in <etag>.incomplete, gone on with after a broken
 * connection or a killed process, verified, renamed, linked. */
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "io/file.h"
#include "io/hub_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct transfer {
    ws_hub_net *net;
    const ws_hub_store *store;
    ws_hub_file *f;
    ws_hub_bar *bar;
    char *part; /* path of the .incomplete file */
    int fd;
    int64_t have;  /* bytes in it that have been hashed */
    ws_hash *hash; /* NULL: nothing to compare with */
    int ranged;    /* the sink has seen where this answer begins */
} transfer;

void ws_hub_bar_add(ws_hub_bar *b, int64_t bytes, const char *file) {
    char extra[48];
    const char *slash = strrchr(file, '/');
    b->done += bytes;
    snprintf(extra, sizeof extra, "%s", slash ? slash + 1 : file);
    b->p.total = (b->total + (1 << 20) - 1) >> 20;
    ws_progress_update(&b->p, b->done >> 20, extra);
}

/* ---- hashing ---- */

/* SHA-256 for what the hub keeps in LFS, git's SHA-1 of a blob for the rest; the list's word counts before the headers'. */
static const char *expected(const ws_hub_file *f) {
    const char *d = f->digest ? f->digest : f->etag;
    size_t n = strlen(d);
    return (n == 64 || (n == 40 && f->size >= 0)) && strspn(d, "0123456789abcdef") == n ? d : NULL;
}

static void hash_afresh(transfer *t) {
    char old[65];
    const char *d = expected(t->f);
    if (t->hash) ws_hash_done(t->hash, old);
    t->hash = !d ? NULL : strlen(d) == 64 ? ws_hash_new() : ws_hash_new_git((uint64_t)t->f->size);
    t->have = 0;
}

/* What an earlier try left is hashed before more is added. */
static ws_status hash_begun(transfer *t, ws_err *err) {
    enum { CHUNK = 1 << 18 };
    char *buf = ws_xmalloc(CHUNK);
    ws_status rc = WS_OK;
    for (ssize_t n; !(rc = ws_interrupt_check(err)) && (n = pread(t->fd, buf, CHUNK, t->have)) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            rc = ws_fail(err, WS_EIO, "%s: reading failed: %s", t->part, strerror(errno));
            break;
        }
        if (t->hash) ws_hash_add(t->hash, buf, (size_t)n);
        t->have += n;
        ws_hub_bar_add(t->bar, 0, "looking at what is there");
    }
    free(buf);
    return rc;
}

/* From the first byte: the bytes that are lost have to come again. */
static ws_status start_over(transfer *t, ws_err *err) {
    t->bar->total += t->have;
    hash_afresh(t);
    if (ftruncate(t->fd, 0)) return ws_fail(err, WS_EIO, "%s: emptying failed: %s", t->part, strerror(errno));
    return WS_OK;
}

/* ---- bytes ---- */

static ws_status take(void *arg, const ws_http_answer *a, const void *bytes, size_t n, ws_err *err) {
    transfer *t = arg;
    if (!t->ranged && t->have > 0 && a->status == 200) { /* the server sends all of it, whatever was asked */
        ws_detail("%s: the server cannot resume; from the beginning", t->f->name);
        ws_status rc = start_over(t, err);
        if (rc) return rc;
    }
    if (!t->ranged && a->status == 206 && a->range_at != t->have)
        return ws_fail(err, WS_EFORMAT, "%s: bytes from %lld on were asked for, and the server sends some from %lld on",
                       t->f->name, (long long)t->have, (long long)a->range_at);
    t->ranged = 1;
    if (t->f->size >= 0 && (int64_t)n > t->f->size - t->have)
        return ws_fail(err, WS_EFORMAT, "%s: the server sends more than the %lld bytes that it announced", t->f->name,
                       (long long)t->f->size);
    for (const char *p = bytes; n;) {
        ssize_t k = pwrite(t->fd, p, n, t->have);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0)
            return ws_fail(err, WS_EIO,
                           "%s: writing to %s failed: %s; make room%s and give the same command, which goes on "
                           "from there",
                           t->f->name, t->part, k ? strerror(errno) : "disk full",
                           errno == ENOSPC || errno == EDQUOT ? " (or set HF_HUB_CACHE to another disk)" : "");
        if (t->hash) ws_hash_add(t->hash, p, (size_t)k);
        p += k, n -= (size_t)k, t->have += k;
        ws_hub_bar_add(t->bar, k, t->f->name);
    }
    return WS_OK;
}

/* A signed link that has run out, or one that its host does not know: a fresh one may do. */
static int stale(const transfer *t, const ws_http_answer *a) {
    return (a->status == 400 || a->status == 401 || a->status == 403 || a->status == 404 || a->status == 410) &&
           !ws_http_same_origin(t->f->url, t->net->endpoint);
}

/* One answer's worth of bytes.  `*fruitless` counts the tries that brought nothing. */
static ws_status some_bytes(transfer *t, ws_http_answer *a, int *fruitless, int *hops, ws_err *err) {
    int64_t before = t->have;
    ws_http_request r = {.url = t->f->url,
                         .token = ws_hub_net_token(t->net, t->f->url),
                         .from = t->have,
                         .patience = t->net->data_patience,
                         .sink = take,
                         .arg = t};
    t->ranged = 0;
    ws_status rc = ws_http_do(t->net->http, &r, a, err);
    if (rc) return rc;
    char *shown = ws_http_shown(t->f->url);
    ws_detail("GET %s from %lld: %ld, %lld bytes%s", shown, (long long)before, a->status, (long long)(t->have - before),
              a->broken ? ", then the connection broke" : "");
    free(shown);
    if (t->have > before) *fruitless = 0, *hops = 0;
    if ((a->status == 200 || a->status == 206) && !a->broken) {
        if (t->f->size < 0) t->f->size = t->have; /* nobody had said; this was an answer with a proper end */
        if (t->have >= t->f->size) return WS_OK;
        a->broken = 1; /* ended properly, but too early */
        snprintf(a->why, sizeof a->why, "the server ends the file after %lld of %lld bytes", (long long)t->have,
                 (long long)t->f->size);
    }
    if (ws_hub_net_transient(a)) return ws_hub_net_wait(t->net, (*fruitless)++, a, t->f->name, err);
    if (a->status / 100 == 3 && a->redirect && ++*hops <= 8) {
        free(t->f->url);
        t->f->url = a->redirect, a->redirect = NULL;
        return WS_OK;
    }
    if (a->status == 416 &&
        t->have > 0) { /* nothing lies beyond what we have, says the server, and yet it is not all */
        if (t->f->size < 0 && a->range_of == t->have) return t->f->size = t->have, WS_OK;
        if (++*fruitless < t->net->tries) return start_over(t, err);
        return ws_fail(err, WS_EFORMAT, "%s: the server does not send what it announced", t->f->name);
    }
    if (stale(t, a)) {
        if (++*fruitless < t->net->tries) {
            ws_detail("%s: the link has expired (%ld); asking for another", t->f->name, a->status);
            return ws_hub_net_locate(t->net, t->store->name, t->store->commit, t->f, err);
        }
        shown = ws_http_shown(t->f->url);
        rc = ws_fail(err, WS_EIO, "%s: %s answers with status %ld, to a fresh link too", t->f->name, shown, a->status);
        free(shown);
        return rc;
    }
    return ws_hub_net_refused(t->net, a, t->store->name, t->store->commit, t->f->name, err);
}

static ws_status all_bytes(transfer *t, ws_err *err) {
    ws_http_answer a = {0};
    ws_status rc = WS_OK;
    int fruitless = 0, hops = 0;
    while (!rc && (t->f->size < 0 || t->have < t->f->size)) rc = some_bytes(t, &a, &fruitless, &hops, err);
    ws_http_answer_free(&a);
    return rc;
}

/* ---- verifying ---- */

static ws_status verify(transfer *t, ws_err *err) {
    const char *want = expected(t->f);
    char got[65];
    if (!want) {
        ws_detail("%s: its ETag is no hash that could be verified; the size is right", t->f->name);
        return WS_OK;
    }
    if (!t->hash) { /* git's hash begins with the size, which only the end of the transfer told */
        hash_afresh(t);
        ws_status rc = hash_begun(t, err);
        if (rc) return rc;
    }
    ws_hash_done(t->hash, got);
    t->hash = NULL;
    if (!strcmp(got, want)) return WS_OK;
    return ws_fail(err, WS_EFORMAT, "%s: its %s is %s, and the hub promises %s; nothing of it is kept", t->f->name,
                   strlen(want) == 64 ? "SHA-256" : "git hash", got, want);
}

/* Bytes, then the hash.  What another process began may have been damaged: then all of it comes once more. */
static ws_status fill(transfer *t, ws_err *err) {
    int64_t announced = t->f->size;
    hash_afresh(t);
    ws_status rc = hash_begun(t, err);
    if (!rc && t->f->size >= 0 && t->have > t->f->size) rc = start_over(t, err);
    for (int again = 0; !rc; again++) {
        rc = all_bytes(t, err);
        if (!rc && !(rc = verify(t, err))) return WS_OK;
        if (rc != WS_EFORMAT) return rc;
        ws_err first = *err;
        t->f->size = announced; /* -1: the end of a broken transfer told a wrong one */
        if (start_over(t, err)) return err->code;
        if (again) {
            unlink(t->part);
            *err = first;
            return rc;
        }
        ws_warn("%s; fetching it once more", first.msg);
        rc = ws_hub_net_locate(t->net, t->store->name, t->store->commit, t->f, err);
    }
    return rc;
}

static ws_status fetch_blob(transfer *t, const char *blob, ws_err *err) {
    t->part = ws_sprintf("%s.incomplete", blob);
    t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (t->fd < 0) return ws_fail(err, WS_EIO, "cannot write %s: %s", t->part, strerror(errno));
    ws_status rc = fill(t, err);
    int bad = !rc && fsync(t->fd) ? errno : 0;
    if (close(t->fd) && !rc && !bad) bad = errno;
    if (!rc && !bad && rename(t->part, blob)) bad = errno;
    return bad ? ws_fail(err, WS_EIO, "%s: cannot be finished: %s", blob, strerror(bad)) : rc;
}

ws_status ws_hub_get(ws_hub_net *n, const ws_hub_store *s, ws_hub_file *f, ws_hub_bar *bar, ws_err *err) {
    transfer t = {.net = n, .store = s, .f = f, .bar = bar, .fd = -1};
    char unused[65], *blobs = ws_path_join(s->repo, "blobs"), *blob = NULL;
    int64_t begun = f->begun, counted = bar->done;
    int lock = -1, fresh = 0;
    ws_status rc = ws_mkdirs(blobs, err);
    if (!rc) rc = ws_hub_net_locate(n, s->name, s->commit, f, err);
    if (!rc) rc = ws_hub_store_lock(s, f, &lock, err);
    if (!rc) {
        struct stat st;
        blob = ws_hub_store_blob(s, f->etag);
        /* another model, or another process while we waited, may have brought it */
        if (stat(blob, &st) || !S_ISREG(st.st_mode) || (f->size >= 0 && (int64_t)st.st_size != f->size))
            rc = fetch_blob(&t, blob, err), fresh = 1;
        else
            f->size = (int64_t)st.st_size;
    }
    if (!rc) rc = ws_hub_store_link(s, f->name, f->etag, fresh, err);
    if (!rc) { /* the bar counts what was to come, whoever brought it */
        f->there = 1;
        int64_t rest = f->size - begun - (bar->done - counted);
        if (rest > 0) ws_hub_bar_add(bar, rest, f->name);
    }
    if (t.hash) ws_hash_done(t.hash, unused);
    if (lock >= 0) close(lock);
    free(t.part), free(blob), free(blobs);
    return rc;
}
