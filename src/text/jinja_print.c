/* src/text/jinja_print.c - values as text: Python's str(), repr() and json.dumps(). */
#include "text/jinja_impl.h"
#include "text/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void wj_put(wj_ctx *c, wj_buf *b, const char *p, size_t n) {
    if (n > WJ_MAX_BYTES - b->n) wj_fail(c, "the text grows beyond %d MiB", WJ_MAX_BYTES >> 20);
    if (b->n + n + 1 > b->cap) {
        size_t cap = (b->n + n) * 2 + 64;
        char *q = wj_alloc(c, cap);
        if (b->n) memcpy(q, b->p, b->n);
        b->p = q, b->cap = cap;
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->p[b->n += n] = 0;
}
void wj_puts(wj_ctx *c, wj_buf *b, const char *s) { wj_put(c, b, s, strlen(s)); }

/* Python's repr(float): the shortest digits that read back, an exponent below 1e-4 and from 1e16 on. */
static void put_float(wj_ctx *c, wj_buf *b, double f) {
    char e[40], out[64];
    int n = 1;
    if (isnan(f) || isinf(f)) {
        wj_puts(c, b, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    do snprintf(e, sizeof e, "%.*e", n - 1, f);
    while (strtod(e, NULL) != f && n++ < 17);
    int x = atoi(strchr(e, 'e') + 1);
    if (x >= -4 && x < 16) {
        snprintf(out, sizeof out, "%.*f", n - 1 - x > 1 ? n - 1 - x : 1, f);
        wj_puts(c, b, out);
        return;
    }
    *strchr(e, 'e') = 0;
    snprintf(out, sizeof out, "%se%c%02d", e, x < 0 ? '-' : '+', abs(x));
    wj_puts(c, b, out);
}

static void put_int(wj_ctx *c, wj_buf *b, int64_t i) {
    char s[32];
    snprintf(s, sizeof s, "%" PRId64, i);
    wj_puts(c, b, s);
}

static int printable(uint32_t cp) { /* Python's str.isprintable: not Other, not Separator, but the space is */
    if (cp == ' ') return 1;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return 0;
    default: return 1;
    }
}

static void repr_str(wj_ctx *c, wj_buf *b, const char *p, size_t n) {
    char quote = memchr(p, '\'', n) && !memchr(p, '"', n) ? '"' : '\'', s[16];
    wj_put(c, b, &quote, 1);
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int k = ws_utf8_next(p + i, n - i, &cp);
        if (!k) BUG("text that is not UTF-8 inside a template");
        if (cp == '\\' || cp == (unsigned char)quote)
            snprintf(s, sizeof s, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            snprintf(s, sizeof s, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        else if (printable(cp))
            snprintf(s, sizeof s, "%.*s", k, p + i);
        else
            snprintf(s, sizeof s, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        wj_puts(c, b, s);
        i += (size_t)k;
    }
    wj_put(c, b, &quote, 1);
}

static void enter(wj_ctx *c) {
    wj_step(c, 1);
    if (++c->depth > WJ_MAX_EVAL) wj_fail(c, "values are nested too deeply to print");
}

void wj_repr(wj_ctx *c, wj_buf *b, const wj_value *v) {
    switch (v->type) {
    case WJ_STR: repr_str(c, b, v->u.s.p, v->u.s.n); return;
    case WJ_UNDEFINED: wj_puts(c, b, "Undefined"); return;
    case WJ_NONE: wj_puts(c, b, "None"); return;
    case WJ_BOOL: wj_puts(c, b, v->u.b ? "True" : "False"); return;
    case WJ_INT: put_int(c, b, v->u.i); return;
    case WJ_FLOAT: put_float(c, b, v->u.f); return;
    case WJ_LIST:
    case WJ_TUPLE:
        enter(c);
        wj_puts(c, b, v->type == WJ_LIST ? "[" : "(");
        for (size_t i = 0; i < v->u.list->n; i++) {
            if (i) wj_puts(c, b, ", ");
            wj_repr(c, b, &v->u.list->v[i]);
        }
        wj_puts(c, b, v->type == WJ_LIST ? "]" : v->u.list->n == 1 ? ",)" : ")");
        c->depth--;
        return;
    case WJ_DICT:
        enter(c);
        wj_puts(c, b, "{");
        for (size_t i = 0; i < v->u.dict->n; i++) {
            if (i) wj_puts(c, b, ", ");
            wj_repr(c, b, &v->u.dict->key[i]);
            wj_puts(c, b, ": ");
            wj_repr(c, b, &v->u.dict->v[i]);
        }
        wj_puts(c, b, "}");
        c->depth--;
        return;
    default: wj_fail(c, "a %s has no text", wj_type_name(v)); /* Python would print an address */
    }
}

void wj_print(wj_ctx *c, wj_buf *b, const wj_value *v) {
    if (v->type == WJ_STR)
        wj_put(c, b, v->u.s.p, v->u.s.n);
    else if (v->type != WJ_UNDEFINED)
        wj_repr(c, b, v);
}

wj_value wj_to_str(wj_ctx *c, const wj_value *v) {
    if (v->type == WJ_STR) return *v;
    wj_buf b = {0};
    wj_print(c, &b, v);
    return wj_buf_str(&b);
}

/* ---------- JSON ---------- */

static void json_str(wj_ctx *c, wj_buf *b, const char *p, size_t n, int ascii) {
    char s[16];
    wj_puts(c, b, "\"");
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int k = ws_utf8_next(p + i, n - i, &cp);
        if (!k) BUG("text that is not UTF-8 inside a template");
        static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
        const char *e = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
        if (e)
            snprintf(s, sizeof s, "\\%c", to[e - from]);
        else if (cp < 0x20 || (ascii && cp >= 0x7F && cp < 0x10000))
            snprintf(s, sizeof s, "\\u%04x", (unsigned)cp);
        else if (ascii && cp >= 0x10000)
            snprintf(s, sizeof s, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (cp >> 10)), (unsigned)(0xDC00 | (cp & 0x3FF)));
        else
            snprintf(s, sizeof s, "%.*s", k, p + i);
        wj_puts(c, b, s);
        i += (size_t)k;
    }
    wj_puts(c, b, "\"");
}

static void newline(wj_ctx *c, wj_buf *b, const wj_json_style *s, int level) {
    if (s->indent < 0) return;
    wj_puts(c, b, "\n");
    for (int i = 0; i < level; i++) {
        wj_step(c, 1);
        if (s->indent_text)
            wj_puts(c, b, s->indent_text);
        else
            for (int k = 0; k < s->indent; k++) wj_puts(c, b, " ");
    }
}

static void json_key(wj_ctx *c, wj_buf *b, const wj_value *k, const wj_json_style *s) {
    if (k->type == WJ_STR) {
        json_str(c, b, k->u.s.p, k->u.s.n, s->ascii);
        return;
    }
    if (!wj_is_number(k) && k->type != WJ_NONE) wj_fail(c, "tojson: a %s cannot be a key in JSON", wj_type_name(k));
    wj_puts(c, b, "\"");
    wj_json(c, b, k, s, 0);
    wj_puts(c, b, "\"");
}

static int by_key(const void *x, const void *y) {
    const wj_value *a = *(const wj_value *const *)x, *b = *(const wj_value *const *)y;
    size_t n = a->u.s.n < b->u.s.n ? a->u.s.n : b->u.s.n;
    int d = memcmp(a->u.s.p, b->u.s.p, n);
    return d ? d : (a->u.s.n > b->u.s.n) - (a->u.s.n < b->u.s.n);
}

static void json_dict(wj_ctx *c, wj_buf *b, const wj_dict *d, const wj_json_style *s, int level) {
    const wj_value **order = wj_alloc(c, (d->n + 1) * sizeof *order);
    for (size_t i = 0; i < d->n; i++) {
        order[i] = &d->key[i];
        if (s->sort && d->key[i].type != WJ_STR) wj_fail(c, "tojson: sort_keys needs string keys");
    }
    if (s->sort) qsort(order, d->n, sizeof *order, by_key);
    wj_puts(c, b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i) wj_puts(c, b, s->item);
        newline(c, b, s, level + 1);
        json_key(c, b, order[i], s);
        wj_puts(c, b, s->key);
        wj_json(c, b, &d->v[order[i] - d->key], s, level + 1);
    }
    if (d->n) newline(c, b, s, level);
    wj_puts(c, b, "}");
}

void wj_json(wj_ctx *c, wj_buf *b, const wj_value *v, const wj_json_style *s, int level) {
    enter(c);
    switch (v->type) {
    case WJ_NONE: wj_puts(c, b, "null"); break;
    case WJ_BOOL: wj_puts(c, b, v->u.b ? "true" : "false"); break;
    case WJ_INT: put_int(c, b, v->u.i); break;
    case WJ_FLOAT:
        if (isnan(v->u.f) || isinf(v->u.f))
            wj_puts(c, b, isnan(v->u.f) ? "NaN" : v->u.f > 0 ? "Infinity" : "-Infinity");
        else
            put_float(c, b, v->u.f);
        break;
    case WJ_STR: json_str(c, b, v->u.s.p, v->u.s.n, s->ascii); break;
    case WJ_LIST:
    case WJ_TUPLE:
        wj_puts(c, b, "[");
        for (size_t i = 0; i < v->u.list->n; i++) {
            if (i) wj_puts(c, b, s->item);
            newline(c, b, s, level + 1);
            wj_json(c, b, &v->u.list->v[i], s, level + 1);
        }
        if (v->u.list->n) newline(c, b, s, level);
        wj_puts(c, b, "]");
        break;
    case WJ_DICT: json_dict(c, b, v->u.dict, s, level); break;
    default: wj_fail(c, "tojson: a %s has no form in JSON", wj_type_name(v));
    }
    c->depth--;
}
