/* src/text/jinja_filters.c - filters (x|name) and tests (x is name). */
#include "text/jinja_impl.h"
#include "text/utf8.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int given(const wj_value *v) { return v->type != WJ_MISSING; }

static int64_t int_arg(wj_ctx *c, const char *what, const wj_value *v, int64_t dflt) {
    if (!given(v)) return dflt;
    if (v->type == WJ_BOOL) return v->u.b;
    if (v->type != WJ_INT) wj_fail(c, "%s needs a whole number, not a %s", what, wj_type_name(v));
    return v->u.i;
}

/* ---------- tests ---------- */

typedef enum test_id { /* same order as test_names */
                       IS_BOOLEAN,
                       IS_CALLABLE,
                       IS_DEFINED,
                       IS_DIVISIBLEBY,
                       IS_EQ,
                       IS_EQUALTO,
                       IS_EVEN,
                       IS_FALSE,
                       IS_FILTER,
                       IS_FLOAT,
                       IS_GE,
                       IS_GREATERTHAN,
                       IS_GT,
                       IS_IN,
                       IS_INTEGER,
                       IS_ITERABLE,
                       IS_LE,
                       IS_LESSTHAN,
                       IS_LOWER,
                       IS_LT,
                       IS_MAPPING,
                       IS_NE,
                       IS_NONE,
                       IS_NUMBER,
                       IS_ODD,
                       IS_SAMEAS,
                       IS_SEQUENCE,
                       IS_STRING,
                       IS_TRUE,
                       IS_UNDEFINED,
                       IS_UPPER,
                       N_TESTS
} test_id;
static const char *const test_names[N_TESTS] = {
    "boolean", "callable", "defined",  "divisibleby", "eq",      "equalto",   "even",    "false",
    "filter",  "float",    "ge",       "greaterthan", "gt",      "in",        "integer", "iterable",
    "le",      "lessthan", "lower",    "lt",          "mapping", "ne",        "none",    "number",
    "odd",     "sameas",   "sequence", "string",      "true",    "undefined", "upper"};

static int test_find(const char *name) {
    for (int i = 0; i < N_TESTS; i++)
        if (!strcmp(name, test_names[i])) return i;
    return -1;
}
int wj_test_known(const char *name) { return test_find(name) >= 0; }

static int cased(wj_ctx *c, const wj_value *x, char how) { /* str.isupper / islower of the text form */
    wj_value s = wj_to_str(c, x), same = wj_case(c, &s, how), other = wj_case(c, &s, how == 'u' ? 'l' : 'u');
    return wj_equal(c, &s, &same) && !wj_equal(c, &s, &other);
}

int wj_test(wj_ctx *c, const char *name, const wj_value *x, const wj_args *args) {
    int id = test_find(name);
    wj_value a = {.type = WJ_MISSING};
    static const char binary[N_TESTS] = {
        [IS_DIVISIBLEBY] = 1, [IS_EQ] = 1, [IS_EQUALTO] = 1,  [IS_GE] = 1, [IS_GREATERTHAN] = 1, [IS_GT] = 1,
        [IS_IN] = 1,          [IS_LE] = 1, [IS_LESSTHAN] = 1, [IS_LT] = 1, [IS_NE] = 1,          [IS_SAMEAS] = 1};
    if (id < 0) wj_fail(c, "the test '%.40s' is not supported", name);
    if (binary[id])
        wj_bind(c, name, args, 1, "other", &a);
    else
        wj_bind(c, name, args, 0, "", &a);
    wj_type t = x->type;
    switch ((test_id)id) {
    case IS_BOOLEAN: return t == WJ_BOOL;
    case IS_CALLABLE: return t == WJ_MACRO || t == WJ_FUNC || t == WJ_METHOD || t == WJ_JOINER || t == WJ_UNDEFINED;
    case IS_DEFINED: return t != WJ_UNDEFINED;
    case IS_UNDEFINED: return t == WJ_UNDEFINED;
    case IS_NONE: return t == WJ_NONE;
    case IS_TRUE: return t == WJ_BOOL && x->u.b;
    case IS_FALSE: return t == WJ_BOOL && !x->u.b;
    case IS_FLOAT: return t == WJ_FLOAT;
    case IS_INTEGER: return t == WJ_INT;
    case IS_NUMBER: return wj_is_number(x);
    case IS_STRING: return t == WJ_STR;
    case IS_MAPPING: return t == WJ_DICT;
    case IS_SEQUENCE:
        return t == WJ_STR || t == WJ_LIST || t == WJ_TUPLE || t == WJ_DICT ||
               t == WJ_UNDEFINED; /* len() and [] work */
    case IS_ITERABLE:
        return t == WJ_STR || t == WJ_LIST || t == WJ_TUPLE || t == WJ_ITER || t == WJ_DICT || t == WJ_UNDEFINED ||
               t == WJ_LOOP;
    case IS_DIVISIBLEBY: {
        wj_value r = wj_math(c, OP_MOD, x, &a);
        return wj_is_number(&r) && wj_number(&r) == 0;
    }
    case IS_EVEN:
    case IS_ODD: {
        wj_value two = wj_int(2), r = wj_math(c, OP_MOD, x, &two);
        return wj_number(&r) == (id == IS_ODD);
    }
    case IS_EQ:
    case IS_EQUALTO: return wj_equal(c, x, &a);
    case IS_NE: return !wj_equal(c, x, &a);
    case IS_SAMEAS:
        if (t == WJ_STR || t == WJ_FLOAT || t == WJ_INT)
            wj_fail(c, "sameas on a %s depends on Python's memory and is not supported", wj_type_name(x));
        return t == a.type && wj_equal(c, x, &a) && (t < WJ_LIST || x->u.list == a.u.list);
    case IS_IN: return wj_contains(c, &a, x);
    case IS_LT:
    case IS_LESSTHAN: return wj_compare(c, x, &a) < 0;
    case IS_LE: return wj_compare(c, x, &a) <= 0;
    case IS_GT:
    case IS_GREATERTHAN: return wj_compare(c, x, &a) > 0;
    case IS_GE: return wj_compare(c, x, &a) >= 0;
    case IS_UPPER: return cased(c, x, 'u');
    case IS_LOWER: return cased(c, x, 'l');
    case IS_FILTER: return t == WJ_STR && wj_filter_known(wj_cstr(c, x));
    case N_TESTS: break;
    }
    BUG("test %d", id);
}

/* ---------- filters ---------- */

typedef wj_value (*filter_fn)(wj_ctx *c, const wj_value *x, const wj_args *args);

static wj_value f_tojson(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[5]; /* Hugging Face's own: Python's json.dumps, not Jinja's filter for HTML */
    wj_json_style s = {.indent = -1, .item = ", ", .key = ": "};
    wj_bind(c, "tojson", args, 0, "ensure_ascii indent separators sort_keys", a);
    s.ascii = given(&a[0]) && wj_truth(&a[0]);
    s.sort = given(&a[3]) && wj_truth(&a[3]);
    if (given(&a[1]) && a[1].type == WJ_STR)
        s.indent = 0, s.indent_text = wj_cstr(c, &a[1]);
    else if (given(&a[1]) && a[1].type != WJ_NONE) {
        int64_t k = int_arg(c, "tojson: indent", &a[1], 0);
        if (k > 64) wj_fail(c, "tojson: an indent above 64");
        s.indent = k < 0 ? 0 : (int)k;
    }
    if (s.indent >= 0) s.item = ",";
    if (given(&a[2]) && a[2].type != WJ_NONE) {
        const wj_list *l = wj_items(c, &a[2], "separators");
        if (l->n != 2 || l->v[0].type != WJ_STR || l->v[1].type != WJ_STR)
            wj_fail(c, "tojson: separators must be two strings");
        s.item = wj_cstr(c, &l->v[0]), s.key = wj_cstr(c, &l->v[1]);
    }
    wj_buf b = {0};
    wj_json(c, &b, x, &s, 0);
    return wj_buf_str(&b);
}

static wj_value f_length(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "length", args, 0, "", NULL);
    return wj_int(wj_length(c, x));
}
static wj_value f_string(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "string", args, 0, "", NULL);
    return wj_to_str(c, x);
}
static wj_value f_trim(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[1], s = wj_to_str(c, x);
    wj_bind(c, "trim", args, 0, "chars", a);
    return wj_strip(c, &s, &a[0], 1, 1);
}
static wj_value cases(wj_ctx *c, const wj_value *x, const wj_args *args, char how) {
    wj_value s = wj_to_str(c, x);
    wj_bind(c, "this filter", args, 0, "", NULL);
    return wj_case(c, &s, how);
}
static wj_value f_upper(wj_ctx *c, const wj_value *x, const wj_args *args) { return cases(c, x, args, 'u'); }
static wj_value f_lower(wj_ctx *c, const wj_value *x, const wj_args *args) { return cases(c, x, args, 'l'); }
static wj_value f_capitalize(wj_ctx *c, const wj_value *x, const wj_args *args) { return cases(c, x, args, 'c'); }
static wj_value f_title(wj_ctx *c, const wj_value *x, const wj_args *args) { return cases(c, x, args, 'T'); }

static wj_value f_items(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "items", args, 0, "", NULL);
    wj_value out = wj_list_new(c, WJ_ITER, 0);
    if (x->type == WJ_UNDEFINED) return out;
    if (x->type != WJ_DICT) wj_fail(c, "items needs a dict, not a %s", wj_type_name(x));
    for (size_t i = 0; i < x->u.dict->n; i++) {
        wj_value pair = wj_list_new(c, WJ_TUPLE, 2);
        wj_list_add(c, pair.u.list, x->u.dict->key[i]);
        wj_list_add(c, pair.u.list, x->u.dict->v[i]);
        wj_list_add(c, out.u.list, pair);
    }
    return out;
}
static wj_value f_list(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "list", args, 0, "", NULL);
    const wj_list *l = wj_items(c, x, "list");
    wj_value out = wj_list_new(c, WJ_LIST, l->n);
    for (size_t i = 0; i < l->n; i++) wj_list_add(c, out.u.list, l->v[i]);
    return out;
}
static wj_value f_first(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "first", args, 0, "", NULL);
    const wj_list *l = wj_items(c, x, "first");
    return l->n ? l->v[0] : wj_undefined("the first of nothing");
}
static wj_value f_last(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "last", args, 0, "", NULL);
    if (x->type == WJ_ITER) wj_fail(c, "last does not work on an iterator");
    const wj_list *l = wj_items(c, x, "last");
    return l->n ? l->v[l->n - 1] : wj_undefined("the last of nothing");
}
static wj_value f_default(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[2];
    wj_bind(c, "default", args, 0, "default_value boolean", a);
    if (x->type == WJ_UNDEFINED || (given(&a[1]) && wj_truth(&a[1]) && !wj_truth(x)))
        return given(&a[0]) ? a[0] : wj_str("", 0);
    return *x;
}
static wj_value f_replace(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[3], s = wj_to_str(c, x);
    wj_bind(c, "replace", args, 2, "old new count", a);
    if (given(&a[2]) && a[2].type == WJ_NONE) a[2].type = WJ_MISSING;
    return wj_replace(c, &s, &a[0], &a[1], int_arg(c, "replace", &a[2], -1));
}

/* x.a.b or x.0 for attribute= arguments. */
static wj_value path(wj_ctx *c, const wj_value *x, const wj_value *attribute) {
    wj_value v = *x, key;
    if (attribute->type != WJ_STR) return wj_get_item(c, x, attribute);
    const char *p = wj_cstr(c, attribute);
    for (;;) {
        size_t n = strcspn(p, ".");
        key = n && strspn(p, "0123456789") >= n ? wj_int(atoll(p)) : wj_str(p, n);
        v = wj_get_item(c, &v, &key);
        if (!p[n]) return v;
        p += n + 1;
    }
}

static wj_value f_join(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[2];
    wj_bind(c, "join", args, 0, "d attribute", a);
    wj_value d = given(&a[0]) ? wj_to_str(c, &a[0]) : wj_str("", 0);
    const wj_list *l = wj_items(c, x, "join");
    wj_buf b = {0};
    for (size_t i = 0; i < l->n; i++) {
        wj_value v = given(&a[1]) && a[1].type != WJ_NONE ? path(c, &l->v[i], &a[1]) : l->v[i];
        if (i) wj_put(c, &b, d.u.s.p, d.u.s.n);
        wj_print(c, &b, &v);
    }
    return wj_buf_str(&b);
}

static wj_value f_reverse(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "reverse", args, 0, "", NULL);
    wj_value none = wj_none(), back = wj_int(-1);
    if (x->type == WJ_STR) return wj_slice(c, x, &none, &none, &back);
    const wj_list *l = wj_items(c, x, "reverse");
    wj_value out = wj_list_new(c, WJ_ITER, l->n);
    for (size_t i = l->n; i-- > 0;) wj_list_add(c, out.u.list, l->v[i]);
    return out;
}

/* select, reject: test(item); selectattr, rejectattr: test(item.attr).  Without a test: truth. */
static wj_value choose(wj_ctx *c, const wj_value *x, const wj_args *args, int with_attr, int keep) {
    wj_args rest = {.n = 0};
    const wj_list none = {0}, *l = wj_truth(x) ? wj_items(c, x, "this filter") : &none; /* as in Jinja: none is empty */
    wj_value out = wj_list_new(c, WJ_ITER, 0);
    int skip = with_attr + 1;
    if (args->n_kw) wj_fail(c, "keyword arguments are not supported here");
    if (args->n < with_attr) wj_fail(c, "the attribute's name is missing");
    const char *name = NULL;
    if (args->n >= skip) {
        if (args->v[with_attr].type != WJ_STR) wj_fail(c, "the test's name must be a string");
        name = wj_cstr(c, &args->v[with_attr]);
        if (!wj_test_known(name)) wj_fail(c, "the test '%.40s' is not supported", name);
        for (int i = skip; i < args->n; i++) rest.v[rest.n++] = args->v[i];
    }
    for (size_t i = 0; i < l->n; i++) {
        wj_value v = with_attr ? path(c, &l->v[i], &args->v[0]) : l->v[i];
        if ((name ? wj_test(c, name, &v, &rest) : wj_truth(&v)) == keep) wj_list_add(c, out.u.list, l->v[i]);
    }
    return out;
}
static wj_value f_select(wj_ctx *c, const wj_value *x, const wj_args *args) { return choose(c, x, args, 0, 1); }
static wj_value f_reject(wj_ctx *c, const wj_value *x, const wj_args *args) { return choose(c, x, args, 0, 0); }
static wj_value f_selectattr(wj_ctx *c, const wj_value *x, const wj_args *args) { return choose(c, x, args, 1, 1); }
static wj_value f_rejectattr(wj_ctx *c, const wj_value *x, const wj_args *args) { return choose(c, x, args, 1, 0); }

static wj_value f_map(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value out = wj_list_new(c, WJ_ITER, 0), a[2];
    const wj_list none = {0}, *l = wj_truth(x) ? wj_items(c, x, "map") : &none;
    if (!args->n) {
        wj_bind(c, "map", args, 0, "attribute default", a);
        if (!given(&a[0])) wj_fail(c, "map needs attribute= or the name of a filter");
        for (size_t i = 0; i < l->n; i++) {
            wj_value v = path(c, &l->v[i], &a[0]);
            wj_list_add(c, out.u.list, v.type == WJ_UNDEFINED && given(&a[1]) ? a[1] : v);
        }
        return out;
    }
    if (args->v[0].type != WJ_STR || !wj_filter_known(wj_cstr(c, &args->v[0])))
        wj_fail(c, "map needs the name of a filter that exists");
    wj_args rest = *args;
    rest.n--;
    memmove(rest.v, rest.v + 1, (size_t)rest.n * sizeof *rest.v);
    if (++c->depth > WJ_MAX_EVAL) wj_fail(c, "map is nested too deeply");
    for (size_t i = 0; i < l->n; i++)
        wj_list_add(c, out.u.list, wj_filter(c, wj_cstr(c, &args->v[0]), &l->v[i], &rest));
    c->depth--;
    return out;
}

static wj_value f_indent(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[3], s = wj_to_str(c, x);
    wj_bind(c, "indent", args, 0, "width first blank", a);
    int64_t k = given(&a[0]) && a[0].type == WJ_STR ? 0 : int_arg(c, "indent", &a[0], 4);
    if (k < 0 || k > 1000) wj_fail(c, "indent: a width outside 0..1000");
    wj_buf pad = {0}, b = {0};
    if (given(&a[0]) && a[0].type == WJ_STR)
        pad.p = (char *)(uintptr_t)a[0].u.s.p, pad.n = a[0].u.s.n;
    else
        while (k--) wj_puts(c, &pad, " ");
    int blank = given(&a[2]) && wj_truth(&a[2]), first = given(&a[1]) && wj_truth(&a[1]);
    for (size_t at = 0, line = 0; at <= s.u.s.n;
         line++) { /* Jinja adds a newline for splitlines and takes it off again */
        const char *p = s.u.s.p + at, *nl = memchr(p, '\n', s.u.s.n - at);
        size_t n = nl ? (size_t)(nl - p) : s.u.s.n - at;
        if (line) wj_puts(c, &b, "\n");
        if (line ? (n || blank) : first) wj_put(c, &b, pad.p, pad.n);
        wj_put(c, &b, p, n);
        at += n + 1;
    }
    return wj_buf_str(&b);
}

static wj_value f_int(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[2];
    wj_bind(c, "int", args, 0, "default base", a);
    if (given(&a[1])) wj_fail(c, "int: another base is not supported");
    if (x->type == WJ_UNDEFINED) wj_fail(c, "an undefined value is no number");
    wj_value dflt = given(&a[0]) ? a[0] : wj_int(0);
    if (x->type == WJ_INT || x->type == WJ_BOOL) return wj_int(x->type == WJ_BOOL ? x->u.b : x->u.i);
    if (x->type == WJ_FLOAT) {
        if (isnan(x->u.f) || isinf(x->u.f)) return dflt;
        if (fabs(x->u.f) >= 9.2e18) wj_fail(c, "whole numbers beyond 64 bits are not supported");
        return wj_int((int64_t)x->u.f);
    }
    if (x->type != WJ_STR) return dflt;
    wj_value none = {.type = WJ_MISSING}, s = wj_strip(c, x, &none, 1, 1);
    const char *p = wj_cstr(c, &s);
    char *end;
    long long i = strtoll(p, &end, 10);
    if (*p && !*end && strlen(p) < 18) return wj_int(i);
    double f = strtod(p, &end);
    if (!*p || *end || strpbrk(p, "xXpPnN") || fabs(f) >= 9.2e18) return dflt;
    return wj_int((int64_t)f);
}
static wj_value f_float(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[1];
    wj_bind(c, "float", args, 0, "default", a);
    if (x->type == WJ_UNDEFINED) wj_fail(c, "an undefined value is no number");
    if (wj_is_number(x)) return wj_float(wj_number(x));
    wj_value none = {.type = WJ_MISSING}, s = x->type == WJ_STR ? wj_strip(c, x, &none, 1, 1) : wj_str("", 0);
    const char *p = wj_cstr(c, &s);
    char *end;
    double f = strtod(p, &end);
    return *p && !*end && !strpbrk(p, "xXpP") ? wj_float(f) : given(&a[0]) ? a[0] : wj_float(0);
}
static wj_value f_abs(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "abs", args, 0, "", NULL);
    if (x->type == WJ_FLOAT) return wj_float(fabs(x->u.f));
    wj_value zero = wj_int(0);
    if (!wj_is_number(x)) wj_fail(c, "abs needs a number, not a %s", wj_type_name(x));
    return wj_compare(c, x, &zero) < 0 ? wj_math(c, OP_SUB, &zero, x) : wj_math(c, OP_ADD, x, &zero);
}
static wj_value f_sum(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[2];
    wj_bind(c, "sum", args, 0, "attribute start", a);
    wj_value total = given(&a[1]) ? a[1] : wj_int(0);
    const wj_list *l = wj_items(c, x, "sum");
    for (size_t i = 0; i < l->n; i++) {
        wj_value v = given(&a[0]) && a[0].type != WJ_NONE ? path(c, &l->v[i], &a[0]) : l->v[i];
        total = wj_math(c, OP_ADD, &total, &v);
    }
    return total;
}
static wj_value extreme(wj_ctx *c, const wj_value *x, const wj_args *args, int sign) {
    wj_bind(c, sign < 0 ? "min" : "max", args, 0, "", NULL); /* compares letters without case, as Jinja does */
    const wj_list *l = wj_items(c, x, "min and max");
    if (!l->n) return wj_undefined("the extreme of nothing");
    wj_value best = l->v[0];
    for (size_t i = 1; i < l->n; i++) {
        wj_value p = l->v[i].type == WJ_STR ? wj_case(c, &l->v[i], 'l') : l->v[i],
                 q = best.type == WJ_STR ? wj_case(c, &best, 'l') : best;
        if (wj_compare(c, &p, &q) * sign > 0) best = l->v[i];
    }
    return best;
}
static wj_value f_min(wj_ctx *c, const wj_value *x, const wj_args *args) { return extreme(c, x, args, -1); }
static wj_value f_max(wj_ctx *c, const wj_value *x, const wj_args *args) { return extreme(c, x, args, 1); }

/* Stable, as Python's sort is; qsort() is not. */
static void merge_sort(wj_ctx *c, wj_value *key, wj_value *v, size_t n, wj_value *tk, wj_value *tv, int sign) {
    if (n < 2) return;
    size_t h = n / 2, i = 0, j = h, k = 0;
    merge_sort(c, key, v, h, tk, tv, sign);
    merge_sort(c, key + h, v + h, n - h, tk, tv, sign);
    wj_step(c, n);
    while (i < h || j < n) {
        int left = j == n || (i < h && wj_compare(c, &key[j], &key[i]) * sign >= 0);
        tk[k] = key[left ? i : j];
        tv[k++] = v[left ? i++ : j++];
    }
    memcpy(key, tk, n * sizeof *key);
    memcpy(v, tv, n * sizeof *v);
}
static wj_value sorted(wj_ctx *c, const wj_list *l, const wj_value *attribute, int keep_case, int reverse) {
    wj_value out = wj_list_new(c, WJ_LIST, l->n);
    wj_value *key = wj_alloc(c, (l->n + 1) * sizeof *key), *tk = wj_alloc(c, (l->n + 1) * sizeof *key),
             *tv = wj_alloc(c, (l->n + 1) * sizeof *key);
    for (size_t i = 0; i < l->n; i++) {
        wj_list_add(c, out.u.list, l->v[i]);
        key[i] = given(attribute) && attribute->type != WJ_NONE ? path(c, &l->v[i], attribute) : l->v[i];
        if (key[i].type == WJ_STR && !keep_case) key[i] = wj_case(c, &key[i], 'l');
    }
    merge_sort(c, key, out.u.list->v, l->n, tk, tv, reverse ? -1 : 1);
    return out;
}
static wj_value f_sort(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[3];
    wj_bind(c, "sort", args, 0, "reverse case_sensitive attribute", a);
    return sorted(c, wj_items(c, x, "sort"), &a[2], given(&a[1]) && wj_truth(&a[1]), given(&a[0]) && wj_truth(&a[0]));
}
static wj_value f_dictsort(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[3];
    wj_bind(c, "dictsort", args, 0, "case_sensitive by reverse", a);
    wj_args no = {.n = 0};
    wj_value pairs = f_items(c, x, &no), by = wj_int(0);
    if (given(&a[1]) && a[1].type == WJ_STR && a[1].u.s.n == 5) by = wj_int(1); /* "value" */
    return sorted(c, pairs.u.list, &by, given(&a[0]) && wj_truth(&a[0]), given(&a[2]) && wj_truth(&a[2]));
}
static wj_value f_unique(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_bind(c, "unique", args, 0, "", NULL);
    const wj_list *l = wj_items(c, x, "unique");
    wj_value out = wj_list_new(c, WJ_ITER, 0), seen = wj_list_new(c, WJ_LIST, 0);
    for (size_t i = 0; i < l->n; i++) {
        wj_value key = l->v[i].type == WJ_STR ? wj_case(c, &l->v[i], 'l') : l->v[i];
        if (wj_contains(c, &seen, &key)) continue;
        wj_list_add(c, seen.u.list, key);
        wj_list_add(c, out.u.list, l->v[i]);
    }
    return out;
}
static wj_value f_escape(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value s = wj_to_str(c, x);
    wj_buf b = {0};
    wj_bind(c, "escape", args, 0, "", NULL);
    for (size_t i = 0; i < s.u.s.n; i++) {
        const char *e = s.u.s.p[i] == '&'    ? "&amp;"
                        : s.u.s.p[i] == '<'  ? "&lt;"
                        : s.u.s.p[i] == '>'  ? "&gt;"
                        : s.u.s.p[i] == '"'  ? "&#34;"
                        : s.u.s.p[i] == '\'' ? "&#39;"
                                             : NULL;
        if (e)
            wj_puts(c, &b, e);
        else
            wj_put(c, &b, s.u.s.p + i, 1);
    }
    return wj_buf_str(&b);
}
static wj_value f_attr(wj_ctx *c, const wj_value *x, const wj_args *args) {
    wj_value a[1];
    wj_bind(c, "attr", args, 1, "name", a);
    if (a[0].type != WJ_STR) wj_fail(c, "attr needs a name");
    if (x->type == WJ_DICT && !wj_has_method(x, wj_cstr(c, &a[0]))) return wj_undefined("an attribute of a dict");
    return wj_get_attr(c, x, wj_cstr(c, &a[0]));
}

static const struct {
    const char *name;
    filter_fn fn;
} filters[] = {{"abs", f_abs},
               {"attr", f_attr},
               {"capitalize", f_capitalize},
               {"count", f_length},
               {"d", f_default},
               {"default", f_default},
               {"dictsort", f_dictsort},
               {"e", f_escape},
               {"escape", f_escape},
               {"first", f_first},
               {"float", f_float},
               {"indent", f_indent},
               {"int", f_int},
               {"items", f_items},
               {"join", f_join},
               {"last", f_last},
               {"length", f_length},
               {"list", f_list},
               {"lower", f_lower},
               {"map", f_map},
               {"max", f_max},
               {"min", f_min},
               {"reject", f_reject},
               {"rejectattr", f_rejectattr},
               {"replace", f_replace},
               {"reverse", f_reverse},
               {"safe", f_string},
               {"select", f_select},
               {"selectattr", f_selectattr},
               {"sort", f_sort},
               {"string", f_string},
               {"sum", f_sum},
               {"title", f_title},
               {"tojson", f_tojson},
               {"trim", f_trim},
               {"unique", f_unique},
               {"upper", f_upper}};
enum { N_FILTERS = sizeof filters / sizeof *filters };

static filter_fn find(const char *name) {
    for (int i = 0; i < N_FILTERS; i++)
        if (!strcmp(name, filters[i].name)) return filters[i].fn;
    return NULL;
}
int wj_filter_known(const char *name) { return find(name) != NULL; }
wj_value wj_filter(wj_ctx *c, const char *name, const wj_value *x, const wj_args *args) {
    filter_fn f = find(name);
    if (!f) wj_fail(c, "the filter '%.40s' is not supported", name);
    wj_step(c, 1 + (x->type == WJ_STR ? x->u.s.n / 64 : 0));
    return f(c, x, args);
}
