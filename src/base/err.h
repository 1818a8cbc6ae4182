/* src/base/err.h - how functions fail.
 * A function that the outside world can make fail returns a ws_status and fills `err` ONCE, completely: what happened,
 * which file / line / tensor, what to do.  Callers pass it on unchanged.  Our own mistakes abort with BUG(). */
#ifndef WS_BASE_ERR_H
#define WS_BASE_ERR_H
#include <stddef.h>

typedef enum ws_status {
    WS_OK = 0,
    WS_EIO,          /* the operating system refused: open, read, write, rename, lock */
    WS_EFORMAT,      /* a file or text is not what it claims to be */
    WS_ESHAPE,       /* a tensor has another shape or type than needed */
    WS_ENOMEM,       /* out of memory */
    WS_EUSAGE,       /* an option or argument is wrong: exit status 2 */
    WS_ENONFINITE,   /* NaN or infinity in a loss, gradient, logit or KL */
    WS_EUNSUPPORTED, /* understood, but not something we can do; the message says why */
    WS_EINTERRUPTED, /* SIGINT or SIGTERM; everything finished so far is on disk */
    WS_ESTATE        /* another run, model or configuration is in the way */
} ws_status;

typedef struct ws_err {
    ws_status code;
    char msg[1024];
} ws_err;

/* Fill `err` (may be NULL) and return `code`, so that `return ws_fail(err, WS_EIO, "%s: %s", path, strerror(errno));`
 * is one line. */
ws_status ws_fail(ws_err *err, ws_status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Put "prefix: " before the message already in `err`; returns err->code. */
ws_status ws_fail_prefix(ws_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A bug of ours, never of the user's: prints file, line and message, then aborts. */
_Noreturn void ws_bug(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define BUG(...) ws_bug(__FILE__, __LINE__, __VA_ARGS__)
#define WS_ASSERT(cond)                                                                                                \
    do {                                                                                                               \
        if (!(cond)) BUG("assertion failed: %s", #cond);                                                               \
    } while (0)

/* malloc family that aborts with a clear sentence instead of returning NULL, for small bookkeeping allocations whose
 * failure nobody can handle; large, data-sized allocations use ws_try_alloc and return WS_ENOMEM. */
void *ws_xmalloc(size_t n);
void *ws_xcalloc(size_t n, size_t size);
void *ws_xrealloc(void *p, size_t n);
char *ws_xstrdup(const char *s);
char *ws_xstrndup(const char *s, size_t n);
/* `n * size` bytes, 64-byte aligned, zeroed; NULL on overflow or when out of memory.  free() releases it. */
void *ws_try_alloc(size_t n, size_t size);
/* For much that is written before it is read: not zeroed, and in huge pages where the system gives them.  free() releases it. */
void *ws_try_huge(size_t bytes);
#endif
