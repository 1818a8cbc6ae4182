/* src/io/http.h - one HTTP request at a time over a connection that is kept; the only room that knows libcurl.
 * Redirects are never followed here: who asks decides where a token may go (hub_net.c). */
#ifndef WS_IO_HTTP_H
#define WS_IO_HTTP_H
#include "base/err.h"
#include "base/str.h"
#include <stdint.h>

typedef struct ws_http ws_http;

typedef struct ws_http_answer {
    long status;                /* 0: none came */
    int broken;                 /* the connection failed, before or inside the body; another try may help */
    char why[256];              /* broken: what the network said */
    char *redirect;             /* absolute address of a 3xx; NULL: none */
    char *etag, *linked_etag;   /* as sent, quotes and W/ still on */
    char *commit;               /* X-Repo-Commit */
    char *error_code;           /* X-Error-Code */
    char *error_message;        /* X-Error-Message */
    int64_t length;             /* Content-Length; -1: not given, as the next three */
    int64_t linked_size;        /* X-Linked-Size */
    int64_t range_at, range_of; /* Content-Range: first byte, size of the whole */
    double retry_after;         /* seconds; -1: not given */
    ws_str body;                /* where the request has no sink, and of answers that are not 200 or 206 */
} ws_http_answer;

typedef struct ws_http_request {
    const char *url;
    int head;          /* no body wanted */
    const char *token; /* sent as bearer; NULL: none */
    int64_t from;      /* > 0: asks for the bytes from here on */
    double patience;   /* seconds to connect, and without a byte, before it counts as broken */
    /* The body of a 200 or 206, in pieces; `a` has the headers.  An error ends the transfer and is returned. */
    ws_status (*sink)(void *arg, const ws_http_answer *a, const void *bytes, size_t n, ws_err *err);
    void *arg;
} ws_http_request;

ws_status ws_http_open(ws_http **out, ws_err *err);
void ws_http_close(ws_http *h);
/* WS_OK whenever the answer tells the rest (also 404, and a broken connection).  Errors: the sink's own, an interrupt,
 * and what no second try will heal (a certificate, an address that is none).  `*a` is reset before use. */
ws_status ws_http_do(ws_http *h, const ws_http_request *r, ws_http_answer *a, ws_err *err);
void ws_http_answer_free(ws_http_answer *a);

/* 1 when both addresses have the same scheme, host and port. */
int ws_http_same_origin(const char *a, const char *b);
int ws_http_is_loopback(const char *url);
/* For messages: no user, no password, no query (signed links carry secrets there); caller frees. */
char *ws_http_shown(const char *url);
/* %-escapes what cannot stand in a path; '/' stays when `keep_slash`; caller frees. */
char *ws_http_escape(const char *text, int keep_slash);
#endif
