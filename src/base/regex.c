/* src/base/regex.c - PCRE2 with UTF, Unicode classes and JIT; one match-data block per thread. */
#include "base/regex.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct ws_regex {
    pcre2_code *code;
};

/* Match data is scratch memory of one call, so a thread keeps one and the destructor of the key gives it back. */
typedef struct scratch {
    pcre2_match_data *data;
    pcre2_match_context *ctx;
} scratch;
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_free(void *p) {
    scratch *s = p;
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->ctx);
    free(s);
}
static void scratch_key_make(void) {
    if (pthread_key_create(&scratch_key, scratch_free)) BUG("no pthread key left for regular expressions");
}
static scratch *scratch_get(void) {
    pthread_once(&scratch_once, scratch_key_make);
    scratch *s = pthread_getspecific(scratch_key);
    if (s) return s;
    s = ws_xcalloc(1, sizeof *s);
    s->data = pcre2_match_data_create(1, NULL);
    s->ctx = pcre2_match_context_create(NULL);
    if (!s->data || !s->ctx || pthread_setspecific(scratch_key, s)) BUG("out of memory for regular expressions");
    pcre2_set_match_limit(s->ctx, 10000000); /* a hostile pattern ends with an error, not with a hang */
    pcre2_set_heap_limit(s->ctx, 65536);     /* KiB */
    return s;
}

ws_status ws_regex_new(ws_regex **out, const char *pattern, const char *flags, ws_err *err) {
    uint32_t opt = PCRE2_UTF | PCRE2_UCP;
    for (const char *f = flags ? flags : ""; *f; f++) {
        if (*f != 'i')
            return ws_fail(err, WS_EUSAGE, "regular expression flag '%c' is unknown; only i (caseless) exists", *f);
        opt |= PCRE2_CASELESS;
    }
    int code;
    PCRE2_SIZE at;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, opt, &code, &at, NULL);
    if (!c) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(code, why, sizeof why);
        return ws_fail(err, WS_EFORMAT, "regular expression '%.200s' is wrong at byte %zu: %s", pattern, (size_t)at,
                       (char *)why);
    }
    pcre2_jit_compile(c, PCRE2_JIT_COMPLETE); /* a machine without JIT interprets: same result, slower */
    *out = ws_xcalloc(1, sizeof **out);
    (*out)->code = c;
    return WS_OK;
}

void ws_regex_free(ws_regex *r) {
    if (!r) return;
    pcre2_code_free(r->code);
    free(r);
}

int ws_regex_next(const ws_regex *r, const char *text, size_t n, size_t from, size_t *begin, size_t *end, ws_err *err) {
    if (from > n) return 0;
    scratch *s = scratch_get();
    if (!text) text = ""; /* an empty subject may come as NULL */
    /* The whole subject is checked at its beginning only: checking it at every call would make a scan quadratic. */
    uint32_t opt = from ? PCRE2_NO_UTF_CHECK : 0;
    int rc = pcre2_match(r->code, (PCRE2_SPTR)text, n, from, opt, s->data, s->ctx);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(r->code, (PCRE2_SPTR)text, n, from, opt | PCRE2_NO_JIT, s->data, s->ctx);
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(rc, why, sizeof why);
        ws_fail(err, WS_EFORMAT, "a regular expression could not be matched: %s", (char *)why);
        return -1;
    }
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(s->data);
    *begin = v[0] < v[1] ? v[0] : v[1]; /* \K in a look-ahead can swap them */
    *end = v[1] > v[0] ? v[1] : v[0];
    return 1;
}

static size_t next_char(const char *text, size_t n, size_t i) {
    i++;
    while (i < n && ((unsigned char)text[i] & 0xC0) == 0x80) i++;
    return i;
}

long ws_regex_count(const ws_regex *r, const char *text, size_t n, ws_err *err) {
    long count = 0;
    for (size_t at = 0, b, e; at <= n;) {
        int rc = ws_regex_next(r, text, n, at, &b, &e, err);
        if (rc < 0) return -1;
        if (!rc) break;
        if (e > b) count++;
        at = e > at && e > b ? e : next_char(text, n, e > at ? e : at);
    }
    return count;
}
