/* src/base/regex.h - PCRE2 with UTF and Unicode classes (UCP), JIT where available. */
#ifndef WS_BASE_REGEX_H
#define WS_BASE_REGEX_H
#include "base/err.h"
#include <stddef.h>
typedef struct ws_regex ws_regex;
/* `flags`: "i" caseless, "" none.  The error names the pattern and the offset. */
ws_status ws_regex_new(ws_regex **out, const char *pattern, const char *flags, ws_err *err);
void ws_regex_free(ws_regex *r);
/* Next match in text[from, n): 1 and [*begin, *end), 0 no match, -1 a limit was hit (err filled).  Text must be UTF-8.
 * Thread-safe: match data is per call site inside the library (one per thread). */
int ws_regex_next(const ws_regex *r, const char *text, size_t n, size_t from, size_t *begin, size_t *end, ws_err *err);
long ws_regex_count(const ws_regex *r, const char *text, size_t n,
                    ws_err *err); /* non-overlapping, empty ones skipped; -1: err */
#endif
