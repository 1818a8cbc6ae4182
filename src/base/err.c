#include "base/err.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

ws_status ws_fail(ws_err *err, ws_status code, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        err->code = code;
    }
    return code;
}

ws_status ws_fail_prefix(ws_err *err, const char *fmt, ...) {
    char old[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    int room = (int)sizeof err->msg - 3 - n; /* what does not fit is cut off at the end */
    if (n >= 0 && room > 0) snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %.*s", room, old);
    return err->code;
}

void ws_bug(const char *file, int line, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "ws: BUG at %s:%d: ", file, line);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

static void *nonnull(void *p) {
    if (!p) {
        fputs("ws: out of memory\n", stderr);
        abort();
    }
    return p;
}
void *ws_xmalloc(size_t n) { return nonnull(malloc(n ? n : 1)); }
void *ws_xcalloc(size_t n, size_t size) { return nonnull(calloc(n ? n : 1, size ? size : 1)); }
void *ws_xrealloc(void *p, size_t n) { return nonnull(realloc(p, n ? n : 1)); }
char *ws_xstrdup(const char *s) { return nonnull(strdup(s)); }
char *ws_xstrndup(const char *s, size_t n) { return nonnull(strndup(s, n)); }

void *ws_try_alloc(size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - 64) return NULL;
    bytes = (bytes + 63) & ~(size_t)63;
    void *p = aligned_alloc(64, bytes ? bytes : 64);
    if (p) memset(p, 0, bytes);
    return p;
}

void *ws_try_huge(size_t bytes) {
    const size_t huge = (size_t)2 << 20;
    if (bytes > SIZE_MAX - huge) return NULL;
    bytes = bytes ? (bytes + huge - 1) / huge * huge : huge;
    void *p = aligned_alloc(huge, bytes);
    if (p) madvise(p, bytes, MADV_HUGEPAGE); /* a wish */
    return p;
}
