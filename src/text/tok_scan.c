#include "text/tok_scan.h"
#include "text/utf8.h"
#include <string.h>

static const char *space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}
/* Behind the character c and white space around it; NULL: something else stands there. */
static const char *after(const char *p, const char *end, char c) {
    p = space(p, end);
    return p < end && *p == c ? space(p + 1, end) : NULL;
}

/* ---------- finding the lists ---------- */

static const char *skip_string(const char *p, const char *end) { /* p at the quote; behind the closing one, or NULL */
    for (p++; p < end; p++) {
        if (*p == '"') return p + 1;
        if (*p == '\\') p++;
    }
    return NULL;
}

/* Behind a value; for a list or an object *n is the number of its entries (only right when it is well-formed). */
static const char *skip_value(const char *p, const char *end, size_t *n) {
    size_t depth = 0, commas = 0;
    const char *first = space(p + 1, end);
    int empty = p < end && first < end && (*first == ']' || *first == '}');
    while (p < end) {
        char c = *p;
        if (c == '"') {
            if (!(p = skip_string(p, end))) return NULL;
            if (!depth) break;
            continue;
        }
        if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']') {
            if (!depth) break;
            if (!--depth) {
                p++;
                break;
            }
        } else if (c == ',') {
            if (!depth) break;
            commas += depth == 1;
        }
        p++;
    }
    *n = empty ? 0 : commas + 1;
    return p;
}

/* Where the value of `key` in the object at p begins; NULL when it is not there or the object is not understood.  Keys
 * are compared as they are written. */
static const char *member(const char *p, const char *end, const char *key) {
    size_t len = strlen(key), n;
    p = after(p, end, '{');
    while (p && p < end && *p == '"') {
        const char *name = p + 1;
        if (!(p = skip_string(p, end))) return NULL;
        int found = (size_t)(p - 1 - name) == len && !memcmp(name, key, len);
        if (!(p = after(p, end, ':')) || p == end) return NULL;
        if (found) return p;
        if ((p = skip_value(p, end, &n))) p = after(p, end, ',');
    }
    return NULL;
}

int ws_tok_scan(const char *text, size_t n, ws_tok_lists *l, ws_str *rest) {
    const char *end = text + n, *model;
    size_t count, bad;
    if (n < 2 || !ws_utf8_valid(text, n, &bad) || !(model = member(text, end, "model")) ||
        !(l->vocab = member(model, end, "vocab")) || *l->vocab != '{' || !(l->merges = member(model, end, "merges")) ||
        *l->merges != '[' || !(l->vocab_end = skip_value(l->vocab, end, &count)) ||
        !(l->merges_end = skip_value(l->merges, end, &l->n_merges)))
        return 0;
    int vocab_first = l->vocab < l->merges;
    const char *a = vocab_first ? l->vocab : l->merges, *a_end = vocab_first ? l->vocab_end : l->merges_end;
    const char *b = vocab_first ? l->merges : l->vocab, *b_end = vocab_first ? l->merges_end : l->vocab_end;
    if (b < a_end) return 0;
    ws_str_add(rest, text, (size_t)(a - text));
    ws_str_adds(rest, vocab_first ? "{}" : "[]");
    ws_str_add(rest, a_end, (size_t)(b - a_end));
    ws_str_adds(rest, vocab_first ? "[]" : "{}");
    ws_str_add(rest, b_end, (size_t)(end - b_end));
    return 1;
}

/* ---------- reading them ---------- */

static int hex4(const char *p, const char *end, uint32_t *v) {
    if (end - p < 4) return 0;
    *v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return 0;
        *v = *v << 4 | (uint32_t)d;
    }
    return 1;
}

/* One escape at p (behind the backslash): behind it, or NULL. */
static const char *escape(const char *p, const char *end, ws_str *s) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t c, low;
    if (p == end) return NULL;
    const char *at = *p ? strchr(from, *p) : NULL;
    if (at) {
        ws_str_addc(s, to[at - from]);
        return p + 1;
    }
    if (*p != 'u' || !hex4(p + 1, end, &c) || !c || (c >= 0xDC00 && c < 0xE000)) return NULL;
    p += 5;
    if (c >= 0xD800 && c < 0xDC00) { /* the first half of a pair */
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || !hex4(p + 2, end, &low) || low < 0xDC00 || low >= 0xE000)
            return NULL;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        p += 6;
    }
    ws_utf8_add(s, c);
    return p;
}

/* A string at p, appended to s; behind it, or NULL. */
static const char *string(const char *p, const char *end, ws_str *s) {
    if (p == end || *p != '"') return NULL;
    for (p++; p < end;) {
        const char *run = p;
        while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
        ws_str_add(s, run, (size_t)(p - run));
        if (p == end || (unsigned char)*p < 0x20) return NULL;
        if (*p == '"') return p + 1;
        if (!(p = escape(p + 1, end, s))) return NULL;
    }
    return NULL;
}

static const char *number(const char *p, const char *end, int64_t *v) { /* 0 or digits that do not begin with 0 */
    const char *first = p;
    *v = 0;
    while (p < end && *p >= '0' && *p <= '9' && p - first < 10) *v = *v * 10 + (*p++ - '0');
    return p == first || (*first == '0' && p - first > 1) ? NULL : p;
}

int ws_tok_scan_vocab(const ws_tok_lists *l, ws_tok_vocab_fn fn, void *arg) {
    const char *end = l->vocab_end, *p = after(l->vocab, end, '{');
    ws_str s = {0};
    while (p) {
        int64_t id;
        ws_str_clear(&s);
        if (!(p = string(p, end, &s)) || !(p = after(p, end, ':')) || !(p = number(p, end, &id)) ||
            fn(arg, s.p ? s.p : "", s.n, id))
            p = NULL;
        if (p && (p = space(p, end)) < end && *p == '}') break;
        if (p) p = after(p, end, ',');
    }
    ws_str_free(&s);
    return p && p + 1 == end;
}

int ws_tok_scan_merges(const ws_tok_lists *l, ws_tok_merge_fn fn, void *arg) {
    const char *end = l->merges_end, *p = after(l->merges, end, '[');
    ws_str s = {0};
    size_t n = 0;
    if (p && p < end && *p == ']') return p + 1 == end;
    while (p) {
        size_t cut = 0, skip = 0;
        ws_str_clear(&s);
        if (p < end && *p == '[') {
            if ((p = after(p, end, '[')) && (p = string(p, end, &s)) && (p = after(p, end, ','))) {
                cut = s.n;
                if ((p = string(p, end, &s))) p = after(p, end, ']');
            }
        } else if ((p = string(p, end, &s))) {
            const char *blank = s.n > 2 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
            if (blank)
                cut = (size_t)(blank - s.p), skip = 1;
            else
                p = NULL;
        }
        if (p && fn(arg, n++, s.p ? s.p : "", cut, s.p ? s.p + cut + skip : "", s.n - cut - skip)) p = NULL;
        if (p && (p = space(p, end)) < end && *p == ']') break;
        if (p) p = after(p, end, ',');
    }
    ws_str_free(&s);
    return p && p + 1 == end && n == l->n_merges;
}
