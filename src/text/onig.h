/* src/text/onig.h - the regular expressions of tokenizer.json, written for Oniguruma, rewritten for PCRE2. */
#ifndef WS_TEXT_ONIG_H
#define WS_TEXT_ONIG_H
#include "base/err.h"
#include "base/str.h"
/* Appends a PCRE2 pattern that matches the same (models.md 9.2: \s is exactly the 25 White_Space code points).  What
 * the two engines understand differently and we do not rewrite is refused by name. */
ws_status ws_onig_to_pcre2(const char *pattern, ws_str *out, ws_err *err);
void ws_onig_quote(const char *literal, ws_str *out); /* a pattern that matches this text */
#endif
