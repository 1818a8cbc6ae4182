/* src/text/jinja_value.c - values as Python has them: making, truth, equality, order, membership, iteration. */
#include "text/jinja_impl.h"
#include "text/utf8.h"
#include <math.h>
#include <string.h>

wj_value wj_undefined(const char *what) {
    wj_value v = {.type = WJ_UNDEFINED};
    v.u.s.p = what, v.u.s.n = strlen(what);
    return v;
}
wj_value wj_none(void) { return (wj_value){.type = WJ_NONE}; }
wj_value wj_bool(int b) { return (wj_value){.type = WJ_BOOL, .u.b = b != 0}; }
wj_value wj_int(int64_t i) { return (wj_value){.type = WJ_INT, .u.i = i}; }
wj_value wj_float(double f) { return (wj_value){.type = WJ_FLOAT, .u.f = f}; }
wj_value wj_str(const char *p, size_t n) {
    wj_value v = {.type = WJ_STR};
    v.u.s.p = p ? p : "", v.u.s.n = n;
    return v;
}
wj_value wj_strz(const char *s) { return wj_str(s, strlen(s)); }
wj_value wj_buf_str(const wj_buf *b) { return wj_str(b->p, b->n); }

const char *wj_cstr(wj_ctx *c, const wj_value *s) {
    char *p = wj_alloc(c, s->u.s.n + 1);
    memcpy(p, s->u.s.p, s->u.s.n);
    p[s->u.s.n] = 0;
    return p;
}

wj_value wj_list_new(wj_ctx *c, wj_type type, size_t cap) {
    wj_list *l = wj_alloc(c, sizeof *l);
    *l = (wj_list){cap ? wj_alloc(c, cap * sizeof(wj_value)) : NULL, 0, cap};
    return (wj_value){.type = type, .u.list = l};
}
void wj_list_add(wj_ctx *c, wj_list *l, wj_value v) {
    wj_step(c, 1);
    if (l->n == l->cap) {
        size_t cap = l->cap * 2 + 8;
        wj_value *p = wj_alloc(c, cap * sizeof *p);
        if (l->n) memcpy(p, l->v, l->n * sizeof *p);
        l->v = p, l->cap = cap;
    }
    l->v[l->n++] = v;
}

wj_value wj_dict_new(wj_ctx *c, wj_type type) {
    wj_dict *d = wj_alloc(c, sizeof *d);
    *d = (wj_dict){0};
    return (wj_value){.type = type, .u.dict = d};
}
const wj_value *wj_dict_get(wj_ctx *c, const wj_dict *d, wj_value key) {
    wj_step(c, d->n / 16 + 1);
    for (size_t i = 0; i < d->n; i++)
        if (wj_equal(c, &d->key[i], &key)) return &d->v[i];
    return NULL;
}
const wj_value *wj_dict_gets(const wj_dict *d, const char *key) {
    size_t n = strlen(key);
    for (size_t i = 0; i < d->n; i++)
        if (d->key[i].type == WJ_STR && d->key[i].u.s.n == n && !memcmp(d->key[i].u.s.p, key, n)) return &d->v[i];
    return NULL;
}
void wj_dict_set(wj_ctx *c, wj_dict *d, wj_value key, wj_value v) {
    if (key.type == WJ_LIST || key.type == WJ_DICT) wj_fail(c, "a %s cannot be a key", wj_type_name(&key));
    wj_value *old = (wj_value *)(uintptr_t)wj_dict_get(c, d, key);
    if (old) {
        *old = v;
        return;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap * 2 + 8;
        wj_value *k = wj_alloc(c, cap * sizeof *k), *x = wj_alloc(c, cap * sizeof *x);
        if (d->n) memcpy(k, d->key, d->n * sizeof *k), memcpy(x, d->v, d->n * sizeof *x);
        d->key = k, d->v = x, d->cap = cap;
    }
    d->key[d->n] = key;
    d->v[d->n++] = v;
}

wj_value wj_from_json(wj_ctx *c, const json_t *j, int depth) {
    if (depth > WJ_MAX_DEPTH) wj_fail(c, "the messages are nested more than %d levels deep", WJ_MAX_DEPTH);
    wj_step(c, 1);
    switch (json_typeof(j)) {
    case JSON_NULL: return wj_none();
    case JSON_TRUE:
    case JSON_FALSE: return wj_bool(json_is_true(j));
    case JSON_INTEGER: return wj_int(json_integer_value(j));
    case JSON_REAL: return wj_float(json_real_value(j));
    case JSON_STRING:
        return wj_str(json_string_value(j), json_string_length(j)); /* the caller's JSON outlives the rendering */
    case JSON_ARRAY: {
        wj_value v = wj_list_new(c, WJ_LIST, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j); i++)
            wj_list_add(c, v.u.list, wj_from_json(c, json_array_get(j, i), depth + 1));
        return v;
    }
    default: break;
    }
    wj_value v = wj_dict_new(c, WJ_DICT);
    wj_dict *d = v.u.dict;
    size_t n = json_object_size(j);
    d->cap = n;
    d->key = wj_alloc(c, (n + 1) * sizeof *d->key);
    d->v = wj_alloc(c, (n + 1) * sizeof *d->v);
    const char *key;
    json_t *x;
    json_object_foreach((json_t *)(uintptr_t)j, key, x) { /* keys of an object are distinct already */
        d->key[d->n] = wj_strz(key);
        d->v[d->n++] = wj_from_json(c, x, depth + 1);
    }
    return v;
}

const char *wj_type_name(const wj_value *v) {
    static const char *const names[] = {"missing value", "undefined value", "none",  "boolean", "integer",
                                        "float",         "string",          "list",  "tuple",   "iterator",
                                        "dict",          "namespace",       "loop",  "macro",   "function",
                                        "method",        "cycler",          "joiner"};
    return names[v->type];
}

int wj_truth(const wj_value *v) {
    switch (v->type) {
    case WJ_MISSING:
    case WJ_UNDEFINED:
    case WJ_NONE: return 0;
    case WJ_BOOL: return v->u.b;
    case WJ_INT: return v->u.i != 0;
    case WJ_FLOAT: return v->u.f != 0;
    case WJ_STR: return v->u.s.n != 0;
    case WJ_LIST:
    case WJ_TUPLE: return v->u.list->n != 0;
    case WJ_DICT: return v->u.dict->n != 0;
    case WJ_LOOP: return v->u.loop->n != 0;
    default: return 1;
    }
}

int wj_is_number(const wj_value *v) { return v->type == WJ_INT || v->type == WJ_FLOAT || v->type == WJ_BOOL; }
double wj_number(const wj_value *v) {
    return v->type == WJ_FLOAT ? v->u.f : v->type == WJ_BOOL ? v->u.b : (double)v->u.i;
}
static int64_t whole(const wj_value *v) { return v->type == WJ_BOOL ? v->u.b : v->u.i; }

static int cmp_str(const wj_value *x, const wj_value *y) { /* order of bytes in UTF-8 = order of code points */
    size_t n = x->u.s.n < y->u.s.n ? x->u.s.n : y->u.s.n;
    int d = n ? memcmp(x->u.s.p, y->u.s.p, n) : 0;
    return d ? (d > 0) - (d < 0) : (x->u.s.n > y->u.s.n) - (x->u.s.n < y->u.s.n);
}

static void enter(wj_ctx *c) {
    wj_step(c, 1);
    if (++c->depth > WJ_MAX_EVAL) wj_fail(c, "values are nested too deeply");
}

int wj_equal(wj_ctx *c, const wj_value *x, const wj_value *y) {
    if (wj_is_number(x) && wj_is_number(y))
        return x->type == WJ_FLOAT || y->type == WJ_FLOAT ? wj_number(x) == wj_number(y) : whole(x) == whole(y);
    if (x->type != y->type) return 0;
    int same = 1;
    switch (x->type) {
    case WJ_UNDEFINED:
    case WJ_NONE: return 1;
    case WJ_STR: return x->u.s.n == y->u.s.n && !cmp_str(x, y);
    case WJ_LIST:
    case WJ_TUPLE:
        if (x->u.list->n != y->u.list->n) return 0;
        enter(c);
        for (size_t i = 0; i < x->u.list->n && same; i++) same = wj_equal(c, &x->u.list->v[i], &y->u.list->v[i]);
        c->depth--;
        return same;
    case WJ_DICT:
        if (x->u.dict->n != y->u.dict->n) return 0;
        enter(c);
        for (size_t i = 0; i < x->u.dict->n && same; i++) {
            const wj_value *v = wj_dict_get(c, y->u.dict, x->u.dict->key[i]);
            same = v && wj_equal(c, &x->u.dict->v[i], v);
        }
        c->depth--;
        return same;
    case WJ_FUNC: return x->u.func == y->u.func;
    default: return x->u.list == y->u.list; /* the same object */
    }
}

int wj_compare(wj_ctx *c, const wj_value *x, const wj_value *y) {
    if (wj_is_number(x) && wj_is_number(y)) {
        if (x->type == WJ_FLOAT || y->type == WJ_FLOAT) {
            double a = wj_number(x), b = wj_number(y);
            if (isnan(a) || isnan(b)) wj_fail(c, "a comparison with NaN");
            return (a > b) - (a < b);
        }
        return (whole(x) > whole(y)) - (whole(x) < whole(y));
    }
    if (x->type == WJ_STR && y->type == WJ_STR) return cmp_str(x, y);
    if (x->type == y->type && (x->type == WJ_LIST || x->type == WJ_TUPLE)) {
        enter(c);
        size_t n = x->u.list->n < y->u.list->n ? x->u.list->n : y->u.list->n;
        int d = 0;
        for (size_t i = 0; i < n && !d; i++)
            if (!wj_equal(c, &x->u.list->v[i], &y->u.list->v[i])) d = wj_compare(c, &x->u.list->v[i], &y->u.list->v[i]);
        c->depth--;
        return d ? d : (x->u.list->n > y->u.list->n) - (x->u.list->n < y->u.list->n);
    }
    wj_fail(c, "a %s and a %s have no order", wj_type_name(x), wj_type_name(y));
}

const char *wj_find(const char *p, size_t n, const char *q, size_t m) { return m ? memmem(p, n, q, m) : p; }

int wj_contains(wj_ctx *c, const wj_value *in, const wj_value *x) {
    switch (in->type) {
    case WJ_UNDEFINED: return 0;
    case WJ_STR:
        if (x->type != WJ_STR) wj_fail(c, "'in' a string needs a string, not a %s", wj_type_name(x));
        wj_step(c, in->u.s.n / 64 + 1);
        return wj_find(in->u.s.p, in->u.s.n, x->u.s.p, x->u.s.n) != NULL;
    case WJ_DICT: return wj_dict_get(c, in->u.dict, *x) != NULL;
    case WJ_LIST:
    case WJ_TUPLE:
    case WJ_ITER:
        for (size_t i = 0; i < in->u.list->n; i++) {
            wj_step(c, 1);
            if (wj_equal(c, &in->u.list->v[i], x)) return 1;
        }
        return 0;
    default: wj_fail(c, "'in' does not work on a %s", wj_type_name(in));
    }
}

const wj_list *wj_items(wj_ctx *c, const wj_value *v, const char *what) {
    wj_value l;
    switch (v->type) {
    case WJ_LIST:
    case WJ_TUPLE:
    case WJ_ITER: return v->u.list;
    case WJ_UNDEFINED: return wj_list_new(c, WJ_LIST, 0).u.list;
    case WJ_DICT:
        l = wj_list_new(c, WJ_LIST, v->u.dict->n);
        for (size_t i = 0; i < v->u.dict->n; i++) wj_list_add(c, l.u.list, v->u.dict->key[i]);
        return l.u.list;
    case WJ_STR:
        l = wj_list_new(c, WJ_LIST, 0);
        for (size_t i = 0; i < v->u.s.n;) {
            int k = ws_utf8_next(v->u.s.p + i, v->u.s.n - i, NULL);
            if (!k) k = 1; /* does not happen: all text was checked */
            wj_list_add(c, l.u.list, wj_str(v->u.s.p + i, (size_t)k));
            i += (size_t)k;
        }
        return l.u.list;
    default: wj_fail(c, "%s cannot go through a %s", what, wj_type_name(v));
    }
}

int64_t wj_length(wj_ctx *c, const wj_value *v) {
    switch (v->type) {
    case WJ_UNDEFINED: return 0;
    case WJ_STR: return (int64_t)ws_utf8_count(v->u.s.p, v->u.s.n);
    case WJ_LIST:
    case WJ_TUPLE: return (int64_t)v->u.list->n;
    case WJ_DICT: return (int64_t)v->u.dict->n;
    case WJ_LOOP: return (int64_t)v->u.loop->n;
    default: wj_fail(c, "a %s has no length", wj_type_name(v));
    }
}
