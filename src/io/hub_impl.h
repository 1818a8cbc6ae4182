/* src/io/hub_impl.h - between the files of the hub: names (hub.c), the network (hub_net.c), one file into the cache
 * (hub_get.c), the choice of files (hub_pull.c). */
#ifndef WS_IO_HUB_IMPL_H
#define WS_IO_HUB_IMPL_H
#include "base/progress.h"
#include "io/http.h"
#include "io/hub.h"
#include <stddef.h>

#define WS_HUB_INDEX "model.safetensors.index.json"

int ws_hub_revision_ok(const char *revision);
/* A relative path whose parts are plain names: nothing that could lead out of the snapshot. */
int ws_hub_file_ok(const char *name);
char *ws_hub_folder(const char *name); /* "models--org--name"; caller frees */

/* ---- the network ---- */

enum { WS_HUB_TRIES = 6, WS_HUB_FIRST_TRIES = 3 };

typedef struct ws_hub_net {
    ws_http *http;
    char *endpoint, *token; /* token NULL: none */
    char *token_from;       /* "HF_TOKEN", or the file: for messages */
    int withhold;           /* HF_HUB_DISABLE_IMPLICIT_TOKEN: no token until the hub asks for one */
    int tries;              /* of a request that brings nothing */
    double unit;            /* seconds before the second try; doubled each time */
    double meta_patience, data_patience;
    int unreachable; /* the last request was given up because no (useful) answer came */
    int answered;    /* somebody has answered: before that, patience is short */
} ws_hub_net;

typedef struct ws_hub_file {
    char *name;
    int64_t size;  /* -1: not known yet */
    char *digest;  /* by the listing: sha256 (LFS) or git's sha1 of the blob, in hex; NULL: it did not say */
    char *etag;    /* by the file's own headers: the blob's name; NULL: not asked yet */
    char *url;     /* where it lies; NULL: not asked yet */
    int64_t begun; /* bytes that are in the cache already */
    int there;     /* whole, in the snapshot */
} ws_hub_file;

typedef struct ws_hub_listing {
    char commit[65];
    ws_hub_file *file;
    size_t n;
} ws_hub_listing;

ws_status ws_hub_net_open(ws_hub_net *n, const char *endpoint, ws_err *err);
void ws_hub_net_close(ws_hub_net *n);
/* The files of a revision, which becomes a commit here and nowhere else. */
ws_status ws_hub_net_list(ws_hub_net *n, const char *name, const char *revision, ws_hub_listing *out, ws_err *err);
void ws_hub_listing_free(ws_hub_listing *l);
/* Fills size, etag and url of one file; also when a signed link has expired. */
ws_status ws_hub_net_locate(ws_hub_net *n, const char *name, const char *commit, ws_hub_file *f, ws_err *err);
/* After try number k (from 0): waits and returns WS_OK, or gives up with a sentence.  `what` names what was asked for. */
ws_status ws_hub_net_wait(ws_hub_net *n, int k, const ws_http_answer *a, const char *what, ws_err *err);
int ws_hub_net_transient(const ws_http_answer *a); /* broken, 408, 429, 5xx */
/* The token, where `url` is the endpoint's own and it may be sent; else NULL. */
const char *ws_hub_net_token(const ws_hub_net *n, const char *url);
/* The sentence for an answer that no other try will change. */
ws_status ws_hub_net_refused(const ws_hub_net *n, const ws_http_answer *a, const char *name, const char *revision,
                             const char *file, ws_err *err);

/* ---- one file ---- */

typedef struct ws_hub_store { /* where things go */
    char *cache, *repo, *locks, *snapshot;
    const char *name, *commit;
} ws_hub_store;
void ws_hub_store_open(ws_hub_store *s, const char *name, const char *commit);
void ws_hub_store_close(ws_hub_store *s);
char *ws_hub_store_blob(const ws_hub_store *s, const char *etag);
/* Fills `there` and `begun`. */
void ws_hub_store_look(const ws_hub_store *s, ws_hub_file *f);
ws_status ws_hub_store_tag(const ws_hub_store *s, ws_err *err); /* CACHEDIR.TAG */
ws_status ws_hub_store_ref(const ws_hub_store *s, const char *revision, ws_err *err);
void ws_hub_store_none(const ws_hub_store *s, const char *file); /* .no_exist */
/* The file of the snapshot becomes the blob; `fresh`: the blob was written just now, so nobody else names it. */
ws_status ws_hub_store_link(const ws_hub_store *s, const char *file, const char *etag, int fresh, ws_err *err);
/* Waits for another process that fetches the same blob.  -1 in *fd: the file system knows no locks. */
ws_status ws_hub_store_lock(const ws_hub_store *s, const ws_hub_file *f, int *fd, ws_err *err);

typedef struct ws_hub_bar { /* one bar over all files, in MiB */
    ws_progress p;
    int64_t done, total;
} ws_hub_bar;
void ws_hub_bar_add(ws_hub_bar *b, int64_t bytes, const char *file);
/* Fetches a file that is not `there`, verifies it and links it. */
ws_status ws_hub_get(ws_hub_net *n, const ws_hub_store *s, ws_hub_file *f, ws_hub_bar *bar, ws_err *err);
#endif
