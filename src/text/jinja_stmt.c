/* src/text/jinja_stmt.c - statements: the tags between {% and %}. */
#include "text/jinja_impl.h"
#include <string.h>

static wj_node *body(wj_parser *p, const char *end1, const char *end2, const char *end3);

static void block_end(wj_parser *p) {
    if (p->t->type != T_BLOCK_END) wj_unexpected(p, "%}");
    p->t++;
}
/* Body up to {% end %}, which is taken. */
static wj_node *body_until(wj_parser *p, const char *end) {
    block_end(p);
    wj_node *b = body(p, end, NULL, NULL);
    p->t++;
    block_end(p);
    return b;
}

/* name, (a, b) or a, b: what for, set and with assign to. */
static wj_node *target(wj_parser *p, int attribute) {
    wj_node *first = NULL, *last = NULL, *tuple = NULL;
    wj_enter(p);
    do {
        wj_node *e;
        if (last && (wj_is_name(p, "in") || wj_is_op(p, "=") || wj_is_op(p, ")"))) break;
        if (wj_skip_op(p, "(")) {
            e = target(p, 0);
            wj_expect_op(p, ")");
        } else {
            e = wj_node_new(p, E_NAME);
            e->name = wj_expect_name(p);
            if (attribute && !last && wj_skip_op(p, ".")) {
                wj_node *ns = e;
                e = wj_node_new(p, E_ATTR);
                e->a = ns;
                e->name = wj_expect_name(p);
                if (*e->name == '_') wj_fail(p->c, "a namespace attribute may not begin with _: '%.40s'", e->name);
                first = e;
                break;
            }
        }
        if (!first) first = e;
        if (last) last->next = e;
        last = e;
        if (wj_is_op(p, ",") && !tuple) tuple = wj_node_new(p, E_TUPLE);
    } while (wj_skip_op(p, ","));
    wj_leave(p);
    if (!tuple) return first;
    tuple->list = first;
    return tuple;
}

static wj_node *if_stmt(wj_parser *p) {
    wj_node *e = wj_node_new(p, S_IF), **tail = &e->list;
    for (int more = 1; more;) {
        wj_node *b = wj_node_new(p, S_BRANCH);
        b->a = wj_parse_tuple(p, 0, NULL);
        block_end(p);
        b->list = body(p, "elif", "else", "endif");
        *tail = b;
        tail = &b->next;
        more = wj_skip_name(p, "elif");
    }
    if (wj_skip_name(p, "else")) {
        block_end(p);
        wj_node *b = *tail = wj_node_new(p, S_BRANCH);
        b->list = body(p, "endif", NULL, NULL);
    }
    p->t++;
    block_end(p);
    return e;
}

static wj_node *for_stmt(wj_parser *p) {
    wj_node *e = wj_node_new(p, S_FOR);
    e->a = target(p, 0);
    if (!wj_skip_name(p, "in")) wj_unexpected(p, "in");
    e->b = wj_parse_tuple(p, 0, "recursive");
    if (wj_skip_name(p, "if")) e->c = wj_parse_expr(p);
    if (wj_is_name(p, "recursive")) wj_fail(p->c, "recursive loops are not supported");
    block_end(p);
    p->in_loop++;
    e->list = body(p, "else", "endfor", NULL);
    p->in_loop--;
    if (wj_skip_name(p, "else")) {
        block_end(p);
        e->other = body(p, "endfor", NULL, NULL);
    }
    p->t++;
    block_end(p);
    return e;
}

static wj_node *set_stmt(wj_parser *p) {
    wj_node *e = wj_node_new(p, S_SET);
    e->a = target(p, 1);
    if (wj_skip_op(p, "=")) {
        e->b = wj_parse_tuple(p, 1, NULL);
        block_end(p);
        return e;
    }
    e->kind = S_SET_BLOCK;
    e->b = wj_parse_filters(p, NULL);
    e->list = body_until(p, "endset");
    return e;
}

static wj_node *parameters(wj_parser *p) {
    wj_node *first = NULL, **tail = &first;
    int n = 0;
    wj_expect_op(p, "(");
    while (!wj_is_op(p, ")")) {
        if (first) wj_expect_op(p, ",");
        if (wj_is_op(p, ")")) break;
        if (++n > WJ_MAX_ARGS) wj_fail(p->c, "a macro has more than %d parameters", WJ_MAX_ARGS);
        wj_node *e = *tail = wj_node_new(p, S_PARAM);
        e->name = wj_expect_name(p);
        if (wj_skip_op(p, "=")) e->a = wj_parse_expr(p);
        tail = &e->next;
    }
    p->t++;
    return first;
}

static wj_node *macro_stmt(wj_parser *p) {
    wj_node *e = wj_node_new(p, S_MACRO);
    int in_loop = p->in_loop;
    e->name = wj_expect_name(p);
    e->other = parameters(p);
    p->in_loop = 0;
    e->list = body_until(p, "endmacro");
    p->in_loop = in_loop;
    return e;
}

static wj_node *call_stmt(wj_parser *p) {
    wj_node *e = wj_node_new(p, S_CALL);
    int in_loop = p->in_loop;
    e->name = "caller";
    if (wj_is_op(p, "(")) e->other = parameters(p);
    e->a = wj_parse_expr(p);
    if (e->a->kind != E_CALL) wj_fail(p->c, "expected a call of a macro after 'call'");
    p->in_loop = 0;
    e->list = body_until(p, "endcall");
    p->in_loop = in_loop;
    return e;
}

static wj_node *with_stmt(wj_parser *p) {
    wj_node *e = wj_node_new(p, S_WITH), **tail = &e->other;
    while (p->t->type != T_BLOCK_END) {
        if (e->other) wj_expect_op(p, ",");
        wj_node *s = *tail = wj_node_new(p, S_SET);
        s->a = wj_node_new(p, E_NAME);
        s->a->name = wj_expect_name(p);
        wj_expect_op(p, "=");
        s->b = wj_parse_expr(p);
        tail = &s->next;
    }
    e->list = body_until(p, "endwith");
    return e;
}

static wj_node *statement(wj_parser *p) {
    p->c->line = p->t->line;
    const char *tag = wj_expect_name(p);
    wj_node *e;
    if (!strcmp(tag, "if")) return if_stmt(p);
    if (!strcmp(tag, "for")) return for_stmt(p);
    if (!strcmp(tag, "set")) return set_stmt(p);
    if (!strcmp(tag, "macro")) return macro_stmt(p);
    if (!strcmp(tag, "call")) return call_stmt(p);
    if (!strcmp(tag, "with")) return with_stmt(p);
    if (!strcmp(tag, "break") || !strcmp(tag, "continue")) {
        if (!p->in_loop) wj_fail(p->c, "'%s' outside a loop", tag);
        e = wj_node_new(p, *tag == 'b' ? S_BREAK : S_CONTINUE);
        block_end(p);
        return e;
    }
    if (!strcmp(tag, "generation")) { /* marks what the model writes; it changes nothing in the text */
        e = wj_node_new(p, S_SCOPE);
        int in_loop = p->in_loop;
        p->in_loop = 0;
        e->list = body_until(p, "endgeneration");
        p->in_loop = in_loop;
        return e;
    }
    if (!strcmp(tag, "filter")) {
        e = wj_node_new(p, S_FILTER);
        p->t--; /* "filter x|y" reads like "|x|y" */
        p->t->type = T_OP, p->t->p = "|";
        e->b = wj_parse_filters(p, NULL);
        e->list = body_until(p, "endfilter");
        return e;
    }
    if (!strncmp(tag, "end", 3) || !strcmp(tag, "else") || !strcmp(tag, "elif"))
        wj_fail(p->c, "'%.40s' without its beginning", tag);
    wj_fail(p->c, "the tag '%.40s' is not supported", tag);
}

static int ends(const wj_parser *p, const char *end) { return end && !strcmp(p->t[1].p, end); }

/* Statements up to one of the end tags; stops at that tag's name. */
static wj_node *body(wj_parser *p, const char *end1, const char *end2, const char *end3) {
    wj_node *first = NULL, **tail = &first;
    int line = end1 ? p->t[-1].line : 1; /* where the block begins */
    wj_enter(p);
    for (;;) {
        wj_node *e;
        if (p->t->type == T_EOF) {
            if (!end1) break;
            p->c->line = line;
            wj_fail(p->c, "this block has no {%% %s %%}", end3 ? end3 : end2 ? end2 : end1);
        } else if (p->t->type == T_TEXT) {
            e = wj_node_new(p, S_TEXT);
            e->v = wj_str(p->t->p, p->t->n);
            p->t++;
        } else if (p->t->type == T_PRINT) {
            e = wj_node_new(p, S_PRINT);
            p->t++;
            e->a = wj_parse_tuple(p, 1, NULL);
            if (p->t->type != T_PRINT_END) wj_unexpected(p, "}}");
            p->t++;
        } else { /* T_BLOCK */
            if (p->t[1].type == T_NAME && (ends(p, end1) || ends(p, end2) || ends(p, end3))) {
                p->t++;
                break;
            }
            p->t++;
            e = statement(p);
        }
        *tail = e;
        tail = &e->next;
    }
    wj_leave(p);
    return first;
}

wj_node *wj_parse(wj_ctx *c, wj_tok *t) {
    wj_parser p = {c, t, 0};
    return body(&p, NULL, NULL, NULL);
}
