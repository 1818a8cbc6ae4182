/* src/text/jinja_eval.c - the value of an expression. */
#include "text/jinja_impl.h"
#include "text/utf8.h"
#include <math.h>
#include <string.h>

/* ---------- attributes and items ---------- */

static _Noreturn void of_undefined(wj_ctx *c, const wj_value *v, const char *what) {
    wj_fail(c, "'%.*s' is undefined, so it has no %.60s", v->u.s.n > 60 ? 60 : (int)v->u.s.n, v->u.s.p, what);
}

static wj_value loop_attr(wj_ctx *c, const wj_value *v, const char *name) {
    const wj_loop *l = v->u.loop;
    int64_t i = (int64_t)l->index0, n = (int64_t)l->n;
    if (!strcmp(name, "index0")) return wj_int(i);
    if (!strcmp(name, "index")) return wj_int(i + 1);
    if (!strcmp(name, "first")) return wj_bool(i == 0);
    if (!strcmp(name, "last")) return wj_bool(i + 1 == n);
    if (!strcmp(name, "length")) return wj_int(n);
    if (!strcmp(name, "revindex")) return wj_int(n - i);
    if (!strcmp(name, "revindex0")) return wj_int(n - i - 1);
    if (!strcmp(name, "depth")) return wj_int(l->depth0 + 1);
    if (!strcmp(name, "depth0")) return wj_int(l->depth0);
    if (!strcmp(name, "previtem")) return i > 0 ? l->items->v[i - 1] : wj_undefined("there is no previous item");
    if (!strcmp(name, "nextitem")) return i + 1 < n ? l->items->v[i + 1] : wj_undefined("there is no next item");
    if (!strcmp(name, "cycle") || !strcmp(name, "changed")) {
        wj_method *m = wj_alloc(c, sizeof *m);
        *m = (wj_method){*v, name};
        return (wj_value){.type = WJ_METHOD, .u.method = m};
    }
    return wj_undefined(name);
}

/* x.name: a method or attribute first, then an item, as Jinja's getattr. */
wj_value wj_get_attr(wj_ctx *c, const wj_value *v, const char *name) {
    if (v->type == WJ_UNDEFINED) of_undefined(c, v, name);
    if (v->type == WJ_LOOP) return loop_attr(c, v, name);
    if (v->type == WJ_NAMESPACE) {
        const wj_value *x = wj_dict_gets(v->u.dict, name);
        return x ? *x : wj_undefined(name);
    }
    if (v->type == WJ_CYCLER && !strcmp(name, "current")) return v->u.cycler->items->v[v->u.cycler->at];
    if (wj_has_method(v, name)) {
        wj_method *m = wj_alloc(c, sizeof *m);
        *m = (wj_method){*v, name};
        return (wj_value){.type = WJ_METHOD, .u.method = m};
    }
    if (v->type == WJ_DICT) {
        const wj_value *x = wj_dict_gets(v->u.dict, name);
        if (x) return *x;
    }
    if (v->type == WJ_MACRO && !strcmp(name, "name")) return wj_strz(v->u.macro->node->name);
    return wj_undefined(name);
}

/* Byte position of code point k of a string (k <= number of code points). */
static size_t offset(const wj_value *s, int64_t k) {
    size_t i = 0;
    while (k > 0 && i < s->u.s.n) {
        i++;
        while (i < s->u.s.n && ((unsigned char)s->u.s.p[i] & 0xC0) == 0x80) i++;
        k--;
    }
    return i;
}

/* x[key]: an item first, then an attribute. */
wj_value wj_get_item(wj_ctx *c, const wj_value *v, const wj_value *key) {
    if (v->type == WJ_UNDEFINED) of_undefined(c, v, "items");
    if (v->type == WJ_DICT) {
        if (key->type == WJ_LIST || key->type == WJ_DICT) wj_fail(c, "a %s cannot be a key", wj_type_name(key));
        const wj_value *x = wj_dict_get(c, v->u.dict, *key);
        if (x) return *x;
    }
    if ((key->type == WJ_INT || key->type == WJ_BOOL) &&
        (v->type == WJ_LIST || v->type == WJ_TUPLE || v->type == WJ_STR)) {
        int64_t n = wj_length(c, v), i = key->type == WJ_BOOL ? key->u.b : key->u.i;
        wj_step(c, v->type == WJ_STR ? (size_t)n / 64 : 0);
        if (i < 0) i += n;
        if (i < 0 || i >= n) return wj_undefined("an index outside the list");
        if (v->type != WJ_STR) return v->u.list->v[i];
        size_t at = offset(v, i);
        return wj_str(v->u.s.p + at, (size_t)ws_utf8_next(v->u.s.p + at, v->u.s.n - at, NULL));
    }
    if (key->type == WJ_STR) {
        const char *name = wj_cstr(c, key);
        if (v->type != WJ_LOOP && v->type != WJ_DICT) return wj_get_attr(c, v, name);
        if (v->type == WJ_DICT && wj_has_method(v, name)) return wj_get_attr(c, v, name);
        return wj_undefined(name);
    }
    return wj_undefined("an item");
}

static int64_t bound(wj_ctx *c, const wj_value *v, int64_t dflt) {
    if (v->type == WJ_MISSING || v->type == WJ_NONE) return dflt;
    if (v->type == WJ_BOOL) return v->u.b;
    if (v->type != WJ_INT) wj_fail(c, "a slice needs whole numbers, not a %s", wj_type_name(v));
    return v->u.i;
}
static int64_t clamp(int64_t i, int64_t lo, int64_t hi) { return i < lo ? lo : i > hi ? hi : i; }

/* Python's slice indices. */
wj_value wj_slice(wj_ctx *c, const wj_value *v, const wj_value *start, const wj_value *stop, const wj_value *step) {
    if (v->type == WJ_UNDEFINED) of_undefined(c, v, "items");
    if (v->type != WJ_LIST && v->type != WJ_TUPLE && v->type != WJ_STR)
        wj_fail(c, "a %s cannot be sliced", wj_type_name(v));
    int64_t n = wj_length(c, v), by = bound(c, step, 1);
    if (by == 0) wj_fail(c, "a slice with step 0");
    if (by < -INT32_MAX) by = -INT32_MAX;
    if (by > INT32_MAX) by = INT32_MAX;
    int64_t lo = by > 0 ? 0 : -1, hi = by > 0 ? n : n - 1;
    int64_t a = bound(c, start, by > 0 ? lo : hi), b = bound(c, stop, by > 0 ? hi : lo);
    int given_a = start->type == WJ_INT || start->type == WJ_BOOL,
        given_b = stop->type == WJ_INT || stop->type == WJ_BOOL;
    if (given_a) a = clamp(a < 0 ? a + n : a, lo, hi);
    if (given_b) b = clamp(b < 0 ? b + n : b, lo, hi);
    if (v->type == WJ_STR && by == 1) {
        if (a >= b) return wj_str("", 0);
        size_t x = offset(v, a), y = offset(v, b);
        wj_step(c, v->u.s.n / 64);
        return wj_str(v->u.s.p + x, y - x);
    }
    const wj_list *items = wj_items(c, v, "a slice");
    wj_value out = wj_list_new(c, v->type == WJ_TUPLE ? WJ_TUPLE : WJ_LIST, 0);
    for (int64_t i = a; by > 0 ? i < b : i > b; i += by) wj_list_add(c, out.u.list, items->v[i]);
    if (v->type != WJ_STR) return out;
    wj_buf s = {0};
    for (size_t i = 0; i < out.u.list->n; i++) wj_put(c, &s, out.u.list->v[i].u.s.p, out.u.list->v[i].u.s.n);
    return wj_buf_str(&s);
}

/* ---------- arithmetic ---------- */

static int64_t whole(const wj_value *v) { return v->type == WJ_BOOL ? v->u.b : v->u.i; }

static wj_value int_math(wj_ctx *c, wj_op op, int64_t x, int64_t y) {
    int64_t r = 0;
    int over = 0;
    switch (op) {
    case OP_ADD: over = __builtin_add_overflow(x, y, &r); break;
    case OP_SUB: over = __builtin_sub_overflow(x, y, &r); break;
    case OP_MUL: over = __builtin_mul_overflow(x, y, &r); break;
    case OP_POW:
        if (y < 0) {
            if (!x) wj_fail(c, "0 to a negative power");
            return wj_float(pow((double)x, (double)y));
        }
        for (r = 1; y > 0 && !over; y--) {
            wj_step(c, 1);
            over = __builtin_mul_overflow(r, x, &r);
            if (x == 1 || x == 0) break;
            if (x == -1) {
                r = y & 1 ? -1 : 1;
                break;
            }
        }
        break;
    case OP_FLOORDIV:
    case OP_MOD: /* rounds towards minus infinity */
        if (!y) wj_fail(c, "division by zero");
        if (x == INT64_MIN && y == -1) {
            over = op == OP_FLOORDIV;
            break;
        }
        r = x % y;
        if (r && (r < 0) != (y < 0)) r += y;
        if (op == OP_FLOORDIV) r = (x - r) / y;
        break;
    default: BUG("operator %d", (int)op);
    }
    if (over) wj_fail(c, "whole numbers beyond 64 bits are not supported");
    return wj_int(r);
}

static wj_value float_math(wj_ctx *c, wj_op op, double x, double y) {
    switch (op) {
    case OP_ADD: return wj_float(x + y);
    case OP_SUB: return wj_float(x - y);
    case OP_MUL: return wj_float(x * y);
    case OP_POW:
        if (x < 0 && y != floor(y)) wj_fail(c, "a complex power is not supported");
        if (x == 0 && y < 0) wj_fail(c, "0 to a negative power");
        return wj_float(pow(x, y));
    default: break;
    }
    if (y == 0) wj_fail(c, "division by zero");
    if (op == OP_DIV) return wj_float(x / y);
    double m = fmod(x, y);
    if (m != 0 && (m < 0) != (y < 0))
        m += y;
    else if (m == 0)
        m = copysign(0, y);
    if (op == OP_MOD) return wj_float(m);
    double q = (x - m) / y, f = floor(q);
    return wj_float(q - f > 0.5 ? f + 1 : f);
}

static wj_value repeat(wj_ctx *c, const wj_value *v, int64_t k) {
    if (k < 0) k = 0;
    if (v->type == WJ_STR) {
        if (v->u.s.n && k > (int64_t)(WJ_MAX_BYTES / v->u.s.n))
            wj_fail(c, "a repeated string of more than %d MiB", WJ_MAX_BYTES >> 20);
        wj_buf b = {0};
        for (int64_t i = 0; i < k && v->u.s.n; i++) wj_put(c, &b, v->u.s.p, v->u.s.n);
        return wj_buf_str(&b);
    }
    wj_value out = wj_list_new(c, v->type, 0);
    for (int64_t i = 0; i < k && v->u.list->n; i++)
        for (size_t j = 0, n = v->u.list->n; j < n; j++) wj_list_add(c, out.u.list, v->u.list->v[j]);
    return out;
}

static int is_list(const wj_value *v) { return v->type == WJ_LIST || v->type == WJ_TUPLE; }

wj_value wj_math(wj_ctx *c, wj_op op, const wj_value *x, const wj_value *y) {
    if (wj_is_number(x) && wj_is_number(y)) {
        if (x->type == WJ_FLOAT || y->type == WJ_FLOAT || op == OP_DIV)
            return float_math(c, op, wj_number(x), wj_number(y));
        return int_math(c, op, whole(x), whole(y));
    }
    if (op == OP_ADD && x->type == WJ_STR && y->type == WJ_STR) {
        wj_buf b = {0};
        wj_put(c, &b, x->u.s.p, x->u.s.n);
        wj_put(c, &b, y->u.s.p, y->u.s.n);
        return wj_buf_str(&b);
    }
    if (op == OP_ADD && is_list(x) && x->type == y->type) {
        wj_value out = wj_list_new(c, x->type, x->u.list->n + y->u.list->n);
        for (size_t i = 0; i < x->u.list->n; i++) wj_list_add(c, out.u.list, x->u.list->v[i]);
        for (size_t i = 0; i < y->u.list->n; i++) wj_list_add(c, out.u.list, y->u.list->v[i]);
        return out;
    }
    if (op == OP_MUL && (x->type == WJ_STR || is_list(x)) && (y->type == WJ_INT || y->type == WJ_BOOL))
        return repeat(c, x, whole(y));
    if (op == OP_MUL && (y->type == WJ_STR || is_list(y)) && (x->type == WJ_INT || x->type == WJ_BOOL))
        return repeat(c, y, whole(x));
    static const char *const sign[] = {"", "+", "-", "*", "/", "//", "%", "**"};
    if (op == OP_MOD && x->type == WJ_STR) wj_fail(c, "formatting a string with %% is not supported");
    if (x->type == WJ_UNDEFINED || y->type == WJ_UNDEFINED) {
        const wj_value *u = x->type == WJ_UNDEFINED ? x : y;
        wj_fail(c, "'%.*s' is undefined, so %s cannot use it", u->u.s.n > 60 ? 60 : (int)u->u.s.n, u->u.s.p, sign[op]);
    }
    wj_fail(c, "%s does not work on a %s and a %s", sign[op], wj_type_name(x), wj_type_name(y));
}

static wj_value negate(wj_ctx *c, const wj_value *v, int minus) {
    if (!wj_is_number(v)) wj_fail(c, "a %s has no sign", wj_type_name(v));
    if (v->type == WJ_FLOAT) return wj_float(minus ? -v->u.f : v->u.f);
    return minus ? int_math(c, OP_SUB, 0, whole(v)) : wj_int(whole(v));
}

/* ---------- expressions ---------- */

static int compare(wj_ctx *c, wj_op op, const wj_value *x, const wj_value *y) {
    switch (op) {
    case OP_EQ: return wj_equal(c, x, y);
    case OP_NE: return !wj_equal(c, x, y);
    case OP_IN: return wj_contains(c, y, x);
    case OP_NOT_IN: return !wj_contains(c, y, x);
    case OP_LT: return wj_compare(c, x, y) < 0;
    case OP_LE: return wj_compare(c, x, y) <= 0;
    case OP_GT: return wj_compare(c, x, y) > 0;
    default: return wj_compare(c, x, y) >= 0;
    }
}

void wj_eval_args(wj_ctx *c, wj_scope *s, const wj_node *list, wj_args *out) {
    out->n = out->n_kw = 0;
    for (; list; list = list->next) {
        if (list->kind == E_KEYWORD) {
            out->kw_name[out->n_kw] = list->name;
            out->kw[out->n_kw++] = wj_eval(c, s, list->a);
        } else
            out->v[out->n++] = wj_eval(c, s, list);
    }
}

void wj_bind(wj_ctx *c, const char *function, const wj_args *args, int required, const char *names, wj_value *out) {
    int n = 0;
    for (const char *p = names; *p; n++) {
        size_t len = strcspn(p, " ");
        out[n] = n < args->n ? args->v[n] : (wj_value){.type = WJ_MISSING};
        for (int k = 0; k < args->n_kw; k++)
            if (strlen(args->kw_name[k]) == len && !strncmp(args->kw_name[k], p, len)) {
                if (out[n].type != WJ_MISSING) wj_fail(c, "%s: '%.*s' is given twice", function, (int)len, p);
                out[n] = args->kw[k];
            }
        if (n < required && out[n].type == WJ_MISSING)
            wj_fail(c, "%s: the argument '%.*s' is missing", function, (int)len, p);
        p += len + (p[len] == ' ');
    }
    if (args->n > n) wj_fail(c, "%s takes at most %d arguments, not %d", function, n, args->n);
    for (int k = 0; k < args->n_kw; k++) {
        size_t len = strlen(args->kw_name[k]);
        const char *p = names;
        while (*p && !(strcspn(p, " ") == len && !strncmp(p, args->kw_name[k], len)))
            p += strcspn(p, " "), p += *p == ' ';
        if (!*p) wj_fail(c, "%s has no argument '%.40s'", function, args->kw_name[k]);
    }
}

wj_value wj_call(wj_ctx *c, const wj_value *f, const wj_args *args) {
    switch (f->type) {
    case WJ_MACRO: return wj_call_macro(c, f->u.macro, args);
    case WJ_METHOD: return wj_call_method(c, f->u.method, args);
    case WJ_FUNC: return wj_call_func(c, f->u.func, args);
    case WJ_JOINER: {
        wj_cycler *j = f->u.cycler;
        return j->at++ ? j->items->v[0] : wj_str("", 0);
    }
    case WJ_UNDEFINED:
        wj_fail(c, "'%.*s' is undefined, so it cannot be called", f->u.s.n > 60 ? 60 : (int)f->u.s.n, f->u.s.p);
    default: wj_fail(c, "a %s cannot be called", wj_type_name(f));
    }
}

static wj_value name(wj_scope *s, const wj_node *e) {
    const wj_value *v = wj_scope_find(s, e->name);
    if (!v) v = wj_global(e->name);
    return v ? *v : wj_undefined(e->name);
}

/* Kept apart so that wj_eval's own frame stays small: it is what recursion stacks up. */
static __attribute__((noinline)) wj_value eval_call(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_args args;
    wj_value f = wj_eval(c, s, e->a);
    wj_eval_args(c, s, e->list, &args);
    c->line = e->line;
    return wj_call(c, &f, &args);
}
static __attribute__((noinline)) wj_value eval_filter(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_args args;
    wj_value x = wj_eval(c, s, e->a);
    wj_eval_args(c, s, e->list, &args);
    c->line = e->line;
    if (e->kind == E_TEST) return wj_bool(wj_test(c, e->name, &x, &args));
    return wj_filter(c, e->name, &x, &args);
}
static wj_value eval_list(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_value out = wj_list_new(c, e->kind == E_LIST ? WJ_LIST : WJ_TUPLE, 0);
    for (const wj_node *x = e->list; x; x = x->next) wj_list_add(c, out.u.list, wj_eval(c, s, x));
    return out;
}
static wj_value eval_dict(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_value out = wj_dict_new(c, WJ_DICT);
    for (const wj_node *x = e->list; x; x = x->next->next) {
        wj_value key = wj_eval(c, s, x);
        wj_dict_set(c, out.u.dict, key, wj_eval(c, s, x->next));
    }
    return out;
}
static wj_value eval_compare(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_value x = wj_eval(c, s, e->a);
    for (const wj_node *k = e->list; k; k = k->next) {
        wj_value y = wj_eval(c, s, k->a);
        c->line = e->line;
        if (!compare(c, k->op, &x, &y)) return wj_bool(0);
        x = y;
    }
    return wj_bool(1);
}
static wj_value eval_concat(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_buf b = {0};
    for (const wj_node *x = e->list; x; x = x->next) {
        wj_value v = wj_eval(c, s, x);
        wj_print(c, &b, &v);
    }
    return wj_buf_str(&b);
}
static wj_value eval_slice(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_value x = wj_eval(c, s, e->a), k[3];
    const wj_node *part[3] = {e->b, e->c, e->other};
    for (int i = 0; i < 3; i++) k[i] = part[i] ? wj_eval(c, s, part[i]) : (wj_value){.type = WJ_MISSING};
    c->line = e->line;
    return wj_slice(c, &x, &k[0], &k[1], &k[2]);
}

wj_value wj_eval(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_value x, y;
    wj_step(c, 1);
    if (++c->depth > WJ_MAX_EVAL) wj_fail(c, "nested more than %d levels deep", WJ_MAX_EVAL);
    switch (e->kind) {
    case E_CONST: x = e->v; break;
    case E_NAME: x = name(s, e); break;
    case E_LIST:
    case E_TUPLE: x = eval_list(c, s, e); break;
    case E_DICT: x = eval_dict(c, s, e); break;
    case E_ATTR:
        x = wj_eval(c, s, e->a);
        c->line = e->line;
        x = wj_get_attr(c, &x, e->name);
        break;
    case E_ITEM:
        x = wj_eval(c, s, e->a);
        y = wj_eval(c, s, e->b);
        c->line = e->line;
        x = wj_get_item(c, &x, &y);
        break;
    case E_SLICE: x = eval_slice(c, s, e); break;
    case E_CALL: x = eval_call(c, s, e); break;
    case E_FILTER:
    case E_TEST: x = eval_filter(c, s, e); break;
    case E_NOT:
        x = wj_eval(c, s, e->a);
        x = wj_bool(!wj_truth(&x));
        break;
    case E_NEG:
    case E_POS:
        x = wj_eval(c, s, e->a);
        c->line = e->line;
        x = negate(c, &x, e->kind == E_NEG);
        break;
    case E_MATH:
        x = wj_eval(c, s, e->a);
        y = wj_eval(c, s, e->b);
        c->line = e->line;
        x = wj_math(c, e->op, &x, &y);
        break;
    case E_AND:
        x = wj_eval(c, s, e->a);
        if (wj_truth(&x)) x = wj_eval(c, s, e->b);
        break;
    case E_OR:
        x = wj_eval(c, s, e->a);
        if (!wj_truth(&x)) x = wj_eval(c, s, e->b);
        break;
    case E_IF:
        y = wj_eval(c, s, e->b);
        x = wj_truth(&y) ? wj_eval(c, s, e->a) : e->c ? wj_eval(c, s, e->c) : wj_undefined("an 'if' without 'else'");
        break;
    case E_COMPARE: x = eval_compare(c, s, e); break;
    case E_CONCAT: x = eval_concat(c, s, e); break;
    default: BUG("node %d is no expression", (int)e->kind);
    }
    c->depth--;
    return x;
}
