/* src/text/onig.c - see onig.h.  Differences that matter here (Oniguruma's Ruby syntax against PCRE2 with UCP):
 *   \s        PCRE2 also takes U+180E; Oniguruma the 25 code points of White_Space       -> spelled out
 *   \w        PCRE2: L N and _; Oniguruma: L M Nd Pc                                     -> spelled out
 *   \h        hexadecimal digit there, horizontal space here                             -> spelled out
 *   \uXXXX    unknown to PCRE2                                                            -> \x{XXXX}
 *   {n,m}+    greedy repeat of a repeat there, possessive here; [a[b]] and && are set operations there; ^ $ match at
 *             every line there; \b \G \K \R \X differ in corners                          -> refused */
#include "text/onig.h"
#include <stdlib.h>
#include <string.h>

#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACES                                                                                                     \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"

static ws_status refuse(const char *pattern, const char *at, const char *what, ws_err *err) {
    return ws_fail(err, WS_EUNSUPPORTED, "pre-tokenizer pattern '%.200s', byte %zu: %s is not supported", pattern,
                   (size_t)(at - pattern), what);
}

static int hex(const char *p, int n, unsigned *out) {
    *out = 0;
    for (int i = 0; i < n; i++) {
        const char *digits = "0123456789abcdef", *d = p[i] ? strchr(digits, p[i] | (p[i] >= 'A' ? 0x20 : 0)) : NULL;
        if (!d) return 0;
        *out = *out << 4 | (unsigned)(d - digits);
    }
    return 1;
}

/* One escape, p at the backslash; returns how many bytes it took, 0 after an error. */
static size_t escape(const char *pattern, const char *p, int in_class, ws_str *out, ws_err *err) {
    unsigned v;
    switch (p[1]) {
    case 's': ws_str_adds(out, in_class ? SPACES : "[" SPACES "]"); return 2;
    case 'S': ws_str_adds(out, in_class ? NOT_SPACES : "[^" SPACES "]"); return 2;
    case 'w': ws_str_adds(out, in_class ? WORD : "[" WORD "]"); return 2;
    case 'W':
        if (in_class) return refuse(pattern, p, "\\W inside a class", err), 0;
        ws_str_adds(out, "[^" WORD "]");
        return 2;
    case 'h': ws_str_adds(out, in_class ? "0-9a-fA-F" : "[0-9a-fA-F]"); return 2;
    case 'd':
    case 'D':
    case 'n':
    case 'r':
    case 't':
    case 'f':
    case 'e':
    case 'A':
    case 'z': ws_str_add(out, p, 2); return 2;
    case 'v': ws_str_adds(out, "\\x{b}"); return 2;
    case 'p':
    case 'P': {
        const char *end = p[2] == '{' ? strchr(p, '}') : NULL;
        if (!end) return refuse(pattern, p, "\\p without {...}", err), 0;
        ws_str_add(out, p, (size_t)(end + 1 - p));
        return (size_t)(end + 1 - p);
    }
    case 'u':
        if (!hex(p + 2, 4, &v)) return refuse(pattern, p, "\\u without four hexadecimal digits", err), 0;
        ws_str_addf(out, "\\x{%x}", v);
        return 6;
    case 'x':
        if (p[2] == '{') {
            const char *end = strchr(p, '}');
            if (!end) return refuse(pattern, p, "\\x{ without }", err), 0;
            ws_str_add(out, p, (size_t)(end + 1 - p));
            return (size_t)(end + 1 - p);
        }
        if (!hex(p + 2, 2, &v) || v >= 0x80) return refuse(pattern, p, "this \\x escape", err), 0;
        ws_str_addf(out, "\\x{%x}", v);
        return 4;
    default: break;
    }
    char name[] = {'\\', p[1], 0};
    if (!p[1] || (p[1] >= '0' && p[1] <= '9') || ((p[1] | 0x20) >= 'a' && (p[1] | 0x20) <= 'z'))
        return refuse(pattern, p, name, err), 0;
    ws_str_add(out, p, 2); /* an escaped punctuation mark */
    return 2;
}

static size_t class(const char *pattern, const char *p, ws_str *out, ws_err *err) {
    const char *start = p++;
    ws_str_addc(out, '[');
    if (*p == '^') ws_str_addc(out, *p++);
    if (*p == ']') ws_str_adds(out, "\\]"), p++;
    while (*p != ']') {
        if (!*p) return refuse(pattern, start, "a class without end", err), 0;
        if (*p == '[') return refuse(pattern, p, "a class inside a class", err), 0;
        if (p[0] == '&' && p[1] == '&') return refuse(pattern, p, "&& in a class", err), 0;
        if (*p == '\\') {
            size_t k = escape(pattern, p, 1, out, err);
            if (!k) return 0;
            p += k;
        } else
            ws_str_addc(out, *p++);
    }
    ws_str_addc(out, ']');
    return (size_t)(p + 1 - start);
}

ws_status ws_onig_to_pcre2(const char *pattern, ws_str *out, ws_err *err) {
    for (const char *p = pattern; *p;) {
        size_t k;
        switch (*p) {
        case '\\':
        case '[':
            k = *p == '[' ? class(pattern, p, out, err) : escape(pattern, p, 0, out, err);
            if (!k) return err ? err->code : WS_EUNSUPPORTED;
            p += k;
            break;
        case '^':
        case '$': return refuse(pattern, p, *p == '^' ? "the anchor ^" : "the anchor $", err);
        case '(':
            if (p[1] == '?' && !strchr(":=!<>i", p[2] ? p[2] : 'x'))
                return refuse(pattern, p, "this kind of group", err);
            if (p[1] == '*') return refuse(pattern, p, "(*", err);
            ws_str_addc(out, *p++);
            break;
        case '}':
            if (p[1] == '+') return refuse(pattern, p, "a possessive {n,m}+", err);
            ws_str_addc(out, *p++);
            break;
        default: ws_str_addc(out, *p++);
        }
    }
    ws_str_add(out, "", 0);
    return WS_OK;
}

void ws_onig_quote(const char *literal, ws_str *out) {
    for (; *literal; literal++) {
        unsigned char c = (unsigned char)*literal;
        if (c < 0x80 && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && !(c >= '0' && c <= '9'))
            ws_str_addf(out, "\\x{%x}", c);
        else
            ws_str_addc(out, *literal);
    }
    ws_str_add(out, "", 0);
}
