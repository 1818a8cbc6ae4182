/* src/text/utf8.h - UTF-8 by hand: strict checking, one code point at a time, and the repair that Rust and Python do. */
#ifndef WS_TEXT_UTF8_H
#define WS_TEXT_UTF8_H
#include "base/str.h"
#include <stddef.h>
#include <stdint.h>
/* Length of the valid character at p (1..4), or 0 when p[0..n) does not begin with one; *cp may be NULL. */
int ws_utf8_next(const char *p, size_t n, uint32_t *cp);
int ws_utf8_valid(const char *p, size_t n, size_t *bad); /* 1: all valid; else *bad is the first wrong byte */
int ws_utf8_put(char out[4], uint32_t cp);               /* bytes written */
void ws_utf8_add(ws_str *s, uint32_t cp);
size_t ws_utf8_count(const char *p, size_t n); /* code points of valid text */
/* Appends p[0..n); each maximal ill-formed part becomes one U+FFFD (Unicode 3.9, as Rust's from_utf8_lossy).  With
 * `hold`, an incomplete but so far valid character at the end is not appended; returns how many bytes were held (0..3). */
int ws_utf8_add_lossy(ws_str *s, const char *p, size_t n, int hold);
int ws_is_space(uint32_t cp);    /* the 25 code points with Unicode property White_Space */
int ws_is_py_space(uint32_t cp); /* Python's str.isspace: those and U+001C..1F */
#endif
