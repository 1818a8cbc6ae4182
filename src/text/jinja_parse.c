/* src/text/jinja_parse.c - expressions, from loosest to tightest:
 *   a if b else c,  or,  and,  not,  == != < <= > >= in (chains),  + -,  ~,  * / // %,  **,  unary - +,
 *   .x  [x]  (x)  |filter  is test */
#include "text/jinja_impl.h"
#include <string.h>

wj_node *wj_node_new(wj_parser *p, wj_kind kind) {
    wj_node *e = wj_alloc(p->c, sizeof *e);
    memset(e, 0, sizeof *e);
    e->kind = kind;
    e->line = p->t->line;
    return e;
}

void wj_enter(wj_parser *p) {
    p->c->line = p->t->line;
    if (++p->c->depth > WJ_MAX_DEPTH) wj_fail(p->c, "nested more than %d levels deep", WJ_MAX_DEPTH);
}
void wj_leave(wj_parser *p) { p->c->depth--; }

int wj_is_op(const wj_parser *p, const char *op) { return p->t->type == T_OP && !strcmp(p->t->p, op); }
int wj_is_name(const wj_parser *p, const char *name) { return p->t->type == T_NAME && !strcmp(p->t->p, name); }
int wj_skip_op(wj_parser *p, const char *op) { return wj_is_op(p, op) ? p->t++, 1 : 0; }
int wj_skip_name(wj_parser *p, const char *name) { return wj_is_name(p, name) ? p->t++, 1 : 0; }

void wj_unexpected(wj_parser *p, const char *wanted) {
    p->c->line = p->t->line;
    switch (p->t->type) {
    case T_NAME:
    case T_OP: wj_fail(p->c, "expected %s, found '%.40s'", wanted, p->t->p);
    case T_STR: wj_fail(p->c, "expected %s, found a string", wanted);
    case T_INT:
    case T_FLOAT: wj_fail(p->c, "expected %s, found a number", wanted);
    case T_EOF: wj_fail(p->c, "expected %s, found the end of the template", wanted);
    default: wj_fail(p->c, "expected %s, found the end of the tag", wanted);
    }
}
void wj_expect_op(wj_parser *p, const char *op) {
    if (!wj_skip_op(p, op)) wj_unexpected(p, op);
}
const char *wj_expect_name(wj_parser *p) {
    if (p->t->type != T_NAME) wj_unexpected(p, "a name");
    return (p->t++)->p;
}

static wj_node *binary(wj_parser *p, wj_kind kind, wj_op op, wj_node *a, wj_node *b) {
    wj_node *e = wj_node_new(p, kind);
    e->op = op, e->a = a, e->b = b, e->line = a->line;
    return e;
}

static wj_node *constant(wj_parser *p, wj_value v) {
    wj_node *e = wj_node_new(p, E_CONST);
    e->v = v;
    return e;
}

static wj_node *dict(wj_parser *p) {
    wj_node *e = wj_node_new(p, E_DICT), **tail = &e->list;
    while (!wj_is_op(p, "}")) {
        if (e->list) wj_expect_op(p, ",");
        if (wj_is_op(p, "}")) break;
        *tail = wj_parse_expr(p);
        wj_expect_op(p, ":");
        (*tail)->next = wj_parse_expr(p);
        tail = &(*tail)->next->next;
    }
    p->t++;
    return e;
}

static wj_node *list(wj_parser *p) {
    wj_node *e = wj_node_new(p, E_LIST), **tail = &e->list;
    while (!wj_is_op(p, "]")) {
        if (e->list) wj_expect_op(p, ",");
        if (wj_is_op(p, "]")) break;
        *tail = wj_parse_expr(p);
        tail = &(*tail)->next;
    }
    p->t++;
    return e;
}

static wj_node *primary(wj_parser *p) {
    wj_node *e;
    wj_tok *t = p->t;
    switch (t->type) {
    case T_NAME:
        if (!strcmp(t->p, "true") || !strcmp(t->p, "True"))
            e = constant(p, wj_bool(1));
        else if (!strcmp(t->p, "false") || !strcmp(t->p, "False"))
            e = constant(p, wj_bool(0));
        else if (!strcmp(t->p, "none") || !strcmp(t->p, "None"))
            e = constant(p, wj_none());
        else
            (e = wj_node_new(p, E_NAME))->name = t->p;
        p->t++;
        return e;
    case T_STR: {
        wj_buf b = {0}; /* neighbouring strings are one string */
        e = wj_node_new(p, E_CONST);
        for (; p->t->type == T_STR; p->t++) wj_put(p->c, &b, p->t->p, p->t->n);
        e->v = wj_buf_str(&b);
        return e;
    }
    case T_INT: e = constant(p, wj_int(t->i)); break;
    case T_FLOAT: e = constant(p, wj_float(t->f)); break;
    case T_OP:
        p->t++;
        if (!strcmp(t->p, "(")) {
            if (wj_skip_op(p, ")")) return wj_node_new(p, E_TUPLE);
            e = wj_parse_tuple(p, 1, NULL);
            wj_expect_op(p, ")");
            return e;
        }
        if (!strcmp(t->p, "[")) return list(p);
        if (!strcmp(t->p, "{")) return dict(p);
        p->t--;
        wj_unexpected(p, "an expression");
    default: wj_unexpected(p, "an expression");
    }
    p->t++;
    return e;
}

wj_node *wj_parse_call_args(wj_parser *p) {
    wj_node *first = NULL, **tail = &first;
    int keywords = 0, n = 0;
    wj_expect_op(p, "(");
    while (!wj_is_op(p, ")")) {
        if (first) wj_expect_op(p, ",");
        if (wj_is_op(p, ")")) break;
        if (wj_is_op(p, "*") || wj_is_op(p, "**")) wj_fail(p->c, "* and ** in a call are not supported");
        if (++n > WJ_MAX_ARGS) wj_fail(p->c, "a call has more than %d arguments", WJ_MAX_ARGS);
        if (p->t->type == T_NAME && p->t[1].type == T_OP && !strcmp(p->t[1].p, "=")) {
            wj_node *e = wj_node_new(p, E_KEYWORD);
            e->name = p->t->p;
            p->t += 2;
            e->a = wj_parse_expr(p);
            *tail = e;
            keywords = 1;
        } else {
            if (keywords) wj_unexpected(p, "a keyword argument (name=value) after the first one");
            *tail = wj_parse_expr(p);
        }
        tail = &(*tail)->next;
    }
    p->t++;
    return first;
}

static wj_node *subscript(wj_parser *p, wj_node *x) {
    wj_node *part[3] = {0}, *e;
    int k = 0, colon = 0;
    if (wj_is_op(p, "]")) wj_unexpected(p, "an index");
    while (!wj_is_op(p, "]")) {
        if (wj_skip_op(p, ":")) {
            colon = 1;
            if (++k > 2) wj_unexpected(p, "]");
        } else if (!part[k])
            part[k] = wj_parse_expr(p);
        else
            wj_unexpected(p, "]");
    }
    if (colon) {
        e = wj_node_new(p, E_SLICE);
        e->a = x, e->b = part[0], e->c = part[1], e->other = part[2];
    } else
        e = binary(p, E_ITEM, OP_NONE, x, part[0]);
    p->t++;
    return e;
}

static wj_node *call(wj_parser *p, wj_node *x) {
    wj_node *e = wj_node_new(p, E_CALL);
    e->a = x;
    e->list = wj_parse_call_args(p);
    return e;
}

static wj_node *postfix(wj_parser *p, wj_node *x) {
    for (;;) {
        if (wj_is_op(p, "("))
            x = call(p, x);
        else if (wj_skip_op(p, "["))
            x = subscript(p, x);
        else if (wj_skip_op(p, ".")) {
            if (p->t->type == T_INT) {
                wj_node *k = constant(p, wj_int(p->t->i));
                p->t++;
                x = binary(p, E_ITEM, OP_NONE, x, k);
            } else {
                wj_node *e = wj_node_new(p, E_ATTR);
                e->name = wj_expect_name(p);
                e->a = x;
                x = e;
            }
        } else
            return x;
    }
}

static wj_node *test(wj_parser *p, wj_node *x) {
    wj_node *e = wj_node_new(p, E_TEST);
    int negated = wj_skip_name(p, "not");
    e->name = wj_expect_name(p);
    e->a = x;
    if (!wj_test_known(e->name)) wj_fail(p->c, "the test '%.40s' is not supported", e->name);
    int starts_value = p->t->type == T_NAME || p->t->type == T_STR || p->t->type == T_INT || p->t->type == T_FLOAT ||
                       wj_is_op(p, "[") || wj_is_op(p, "{");
    if (wj_is_op(p, "("))
        e->list = wj_parse_call_args(p);
    else if (starts_value && !wj_is_name(p, "else") && !wj_is_name(p, "or") && !wj_is_name(p, "and")) {
        if (wj_is_name(p, "is")) wj_unexpected(p, "something else (tests cannot be chained)");
        e->list = postfix(p, primary(p));
    }
    if (!negated) return e;
    wj_node *n = wj_node_new(p, E_NOT);
    n->a = e;
    return n;
}

wj_node *wj_parse_filters(wj_parser *p, wj_node *x) {
    for (;;) {
        if (wj_skip_op(p, "|")) {
            wj_node *e = wj_node_new(p, E_FILTER);
            p->c->line = e->line;
            e->name = wj_expect_name(p);
            e->a = x;
            if (!wj_filter_known(e->name)) wj_fail(p->c, "the filter '%.40s' is not supported", e->name);
            if (wj_is_op(p, "(")) e->list = wj_parse_call_args(p);
            x = e;
        } else if (x && wj_skip_name(p, "is"))
            x = test(p, x);
        else if (x && wj_is_op(p, "("))
            x = call(p, x);
        else
            return x;
    }
}

static wj_node *unary(wj_parser *p, int filters) {
    wj_node *e;
    wj_enter(p);
    if (wj_is_op(p, "-") || wj_is_op(p, "+")) {
        e = wj_node_new(p, wj_is_op(p, "-") ? E_NEG : E_POS);
        p->t++;
        e->a = unary(p, 0);
    } else
        e = primary(p);
    e = postfix(p, e);
    if (filters) e = wj_parse_filters(p, e);
    wj_leave(p);
    return e;
}

static wj_op math_op(const wj_parser *p, int level) {
    static const struct {
        const char *text;
        int level;
        wj_op op;
    } ops[] = {{"+", 0, OP_ADD},       {"-", 0, OP_SUB}, {"*", 2, OP_MUL}, {"/", 2, OP_DIV},
               {"//", 2, OP_FLOORDIV}, {"%", 2, OP_MOD}, {"**", 3, OP_POW}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].level == level && wj_is_op(p, ops[i].text)) return ops[i].op;
    return OP_NONE;
}

/* level 0: + -   1: ~   2: * / // %   3: **   (all from the left) */
static wj_node *math(wj_parser *p, int level) {
    if (level == 4) return unary(p, 1);
    wj_node *a = math(p, level + 1);
    if (level == 1) {
        if (!wj_is_op(p, "~")) return a;
        wj_node *e = wj_node_new(p, E_CONCAT), *last = e->list = a;
        while (wj_skip_op(p, "~")) last = last->next = math(p, 2);
        return e;
    }
    for (wj_op op; (op = math_op(p, level)) != OP_NONE;) {
        p->t++;
        a = binary(p, E_MATH, op, a, math(p, level + 1));
    }
    return a;
}

static wj_op compare_op(wj_parser *p) {
    static const char *const text[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (wj_skip_op(p, text[i])) return (wj_op)(OP_EQ + i);
    if (wj_skip_name(p, "in")) return OP_IN;
    if (wj_is_name(p, "not") && p->t[1].type == T_NAME && !strcmp(p->t[1].p, "in")) return p->t += 2, OP_NOT_IN;
    return OP_NONE;
}

static wj_node *compare(wj_parser *p) {
    wj_node *a = math(p, 0), *e = NULL, **tail = NULL;
    for (wj_op op; (op = compare_op(p)) != OP_NONE;) {
        if (!e) {
            e = wj_node_new(p, E_COMPARE);
            e->a = a;
            tail = &e->list;
        }
        *tail = wj_node_new(p, E_OPERAND);
        (*tail)->op = op;
        (*tail)->a = math(p, 0);
        tail = &(*tail)->next;
    }
    return e ? e : a;
}

static wj_node *not_expr(wj_parser *p) {
    if (!wj_skip_name(p, "not")) return compare(p);
    wj_enter(p);
    wj_node *e = wj_node_new(p, E_NOT);
    e->a = not_expr(p);
    wj_leave(p);
    return e;
}
static wj_node *and_expr(wj_parser *p) {
    wj_node *a = not_expr(p);
    while (wj_skip_name(p, "and")) a = binary(p, E_AND, OP_NONE, a, not_expr(p));
    return a;
}
static wj_node *or_expr(wj_parser *p) {
    wj_node *a = and_expr(p);
    while (wj_skip_name(p, "or")) a = binary(p, E_OR, OP_NONE, a, and_expr(p));
    return a;
}

wj_node *wj_parse_expr(wj_parser *p) {
    wj_enter(p);
    wj_node *a = or_expr(p);
    while (wj_skip_name(p, "if")) {
        wj_node *e = wj_node_new(p, E_IF);
        e->a = a;
        e->b = or_expr(p);
        if (wj_skip_name(p, "else")) e->c = wj_parse_expr(p);
        a = e;
    }
    wj_leave(p);
    return a;
}

wj_node *wj_parse_tuple(wj_parser *p, int conditional, const char *stop) {
    wj_enter(p);
    wj_node *first = conditional ? wj_parse_expr(p) : or_expr(p), *e = NULL, *last = first;
    while (wj_skip_op(p, ",")) {
        if (!e) {
            e = wj_node_new(p, E_TUPLE);
            e->list = first;
        }
        if (p->t->type == T_PRINT_END || p->t->type == T_BLOCK_END || wj_is_op(p, ")") || (stop && wj_is_name(p, stop)))
            break;
        last = last->next = conditional ? wj_parse_expr(p) : or_expr(p);
    }
    wj_leave(p);
    return e ? e : first;
}
