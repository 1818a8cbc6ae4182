/* src/text/jinja_exec.c - statements, scopes, macros; the entry points; memory and limits. */
#include "text/jinja_impl.h"
#include "text/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- memory, limits, errors ---------- */

void wj_fail(wj_ctx *c, const char *fmt, ...) {
    char msg[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    ws_fail(c->err, WS_EFORMAT, "chat template%s%s, line %d: %s", *c->name ? " " : "", c->name, c->line, msg);
    longjmp(c->fail, 1);
}

void wj_step(wj_ctx *c, size_t n) {
    if (n > WJ_MAX_STEPS || (c->steps += (long)n) > WJ_MAX_STEPS)
        wj_fail(c, "it takes more than %d steps; is there a loop that grows?", WJ_MAX_STEPS);
}

void *wj_alloc(wj_ctx *c, size_t n) {
    n = (n + 15) & ~(size_t)15;
    if (n > WJ_MAX_BYTES || c->bytes + n > WJ_MAX_BYTES) wj_fail(c, "it needs more than %d MiB", WJ_MAX_BYTES >> 20);
    c->bytes += n;
    if (n > 4096) return ws_arena_get(c->arena, n);
    if (n > c->left) {
        c->left = 16384;
        c->chunk = ws_arena_get(c->arena, c->left);
    }
    void *p = c->chunk;
    c->chunk += n, c->left -= n;
    return p;
}

/* ---------- scopes ---------- */

void wj_scope_set(wj_ctx *c, wj_scope *s, const char *name, wj_value v) {
    for (int i = 0; i < s->n; i++)
        if (s->var[i].name == name || !strcmp(s->var[i].name, name)) {
            s->var[i].v = v;
            return;
        }
    if (s->n == s->cap) {
        int cap = s->cap * 2 + 4;
        wj_var *p = wj_alloc(c, (size_t)cap * sizeof *p);
        if (s->n) memcpy(p, s->var, (size_t)s->n * sizeof *p);
        s->var = p, s->cap = cap;
    }
    s->var[s->n++] = (wj_var){name, v};
}

const wj_value *wj_scope_find(const wj_scope *s, const char *name) {
    for (; s; s = s->parent)
        for (int i = 0; i < s->n; i++)
            if (s->var[i].name == name || !strcmp(s->var[i].name, name)) return &s->var[i].v;
    return NULL;
}

static wj_scope *scope_new(wj_ctx *c, wj_scope *parent) { /* on the heap: a macro may keep it */
    wj_scope *s = wj_alloc(c, sizeof *s);
    *s = (wj_scope){parent, NULL, 0, 0};
    return s;
}

static void assign(wj_ctx *c, wj_scope *s, const wj_node *target, wj_value v) {
    c->line = target->line;
    if (target->kind == E_NAME) {
        wj_scope_set(c, s, target->name, v);
        return;
    }
    if (target->kind == E_ATTR) {
        const wj_value *ns = wj_scope_find(s, target->a->name);
        if (!ns || ns->type != WJ_NAMESPACE)
            wj_fail(c, "'%.40s' is no namespace, so its attributes cannot be set", target->a->name);
        wj_dict_set(c, ns->u.dict, wj_strz(target->name), v);
        return;
    }
    const wj_list *items = wj_items(c, &v, "unpacking");
    size_t n = 0;
    for (const wj_node *t = target->list; t; t = t->next) n++;
    if (v.type == WJ_UNDEFINED || items->n != n)
        wj_fail(c, "cannot unpack a %s of %zu values into %zu names", wj_type_name(&v), items->n, n);
    n = 0;
    for (const wj_node *t = target->list; t; t = t->next) assign(c, s, t, items->v[n++]);
}

/* ---------- statements ---------- */

/* Runs a body with its output caught. */
static wj_value capture(wj_ctx *c, wj_scope *s, const wj_node *body) {
    wj_buf b = {0}, *out = c->out;
    c->out = &b;
    wj_exec(c, s, body);
    c->out = out;
    return wj_buf_str(&b);
}

/* x|filters where the tree has no x: it is the block's text. */
static wj_value filtered(wj_ctx *c, wj_scope *s, const wj_node *chain, wj_value x) {
    if (!chain) return x;
    if (chain->kind != E_FILTER) wj_fail(c, "only filters can follow here");
    x = filtered(c, s, chain->a, x);
    wj_args args;
    wj_eval_args(c, s, chain->list, &args);
    c->line = chain->line;
    return wj_filter(c, chain->name, &x, &args);
}

static wj_signal for_stmt(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_value source = wj_eval(c, s, e->b);
    c->line = e->line;
    const wj_list *items = wj_items(c, &source, "a loop");
    if (e->c) { /* the condition sees the loop's names but not `loop` */
        wj_value kept = wj_list_new(c, WJ_LIST, 0);
        for (size_t i = 0; i < items->n; i++) {
            wj_scope *in = scope_new(c, s);
            assign(c, in, e->a, items->v[i]);
            wj_value yes = wj_eval(c, in, e->c);
            if (wj_truth(&yes)) wj_list_add(c, kept.u.list, items->v[i]);
        }
        items = kept.u.list;
    }
    if (!items->n) return e->other ? wj_exec(c, scope_new(c, s), e->other) : WJ_GO;
    wj_loop *loop = wj_alloc(c, sizeof *loop);
    *loop = (wj_loop){0, items->n, 0, items, {.type = WJ_MISSING}};
    for (; loop->index0 < loop->n; loop->index0++) {
        wj_scope *in = scope_new(c, s);
        wj_scope_set(c, in, "loop", (wj_value){.type = WJ_LOOP, .u.loop = loop});
        assign(c, in, e->a, items->v[loop->index0]);
        if (wj_exec(c, in, e->list) == WJ_BREAK) break;
    }
    return WJ_GO;
}

static wj_value macro_value(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_macro *m = wj_alloc(c, sizeof *m);
    *m = (wj_macro){e, s};
    return (wj_value){.type = WJ_MACRO, .u.macro = m};
}

static __attribute__((noinline)) void call_block(wj_ctx *c, wj_scope *s, const wj_node *e) {
    wj_args args;
    wj_value f = wj_eval(c, s, e->a->a);
    wj_eval_args(c, s, e->a->list, &args);
    if (args.n_kw == WJ_MAX_ARGS) wj_fail(c, "too many arguments");
    args.kw_name[args.n_kw] = "caller";
    args.kw[args.n_kw++] = macro_value(c, s, e);
    c->line = e->line;
    wj_value text = wj_call(c, &f, &args);
    wj_print(c, c->out, &text);
}

wj_value wj_call_macro(wj_ctx *c, const wj_macro *m, const wj_args *args) {
    wj_scope *in = scope_new(c, m->scope);
    int n = 0, used = 0;
    if (++c->depth > WJ_MAX_EVAL)
        wj_fail(c, "nested more than %d levels deep; does the macro call itself?", WJ_MAX_EVAL);
    for (const wj_node *p = m->node->other; p; p = p->next, n++) {
        wj_value v = {.type = WJ_MISSING};
        if (n < args->n) v = args->v[n];
        for (int k = 0; k < args->n_kw; k++)
            if (!strcmp(args->kw_name[k], p->name)) {
                if (v.type != WJ_MISSING) wj_fail(c, "macro %.40s: '%.40s' is given twice", m->node->name, p->name);
                v = args->kw[k];
                used++;
            }
        if (v.type == WJ_MISSING) v = p->a ? wj_eval(c, in, p->a) : wj_undefined(p->name);
        wj_scope_set(c, in, p->name, v);
    }
    if (args->n > n) wj_fail(c, "macro %.40s takes %d arguments, not %d", m->node->name, n, args->n);
    for (int k = 0; k < args->n_kw; k++)
        if (!strcmp(args->kw_name[k], "caller")) wj_scope_set(c, in, "caller", args->kw[k]), used++;
    if (used < args->n_kw) wj_fail(c, "macro %.40s has no such keyword argument", m->node->name);
    wj_value text = capture(c, in, m->node->list);
    c->depth--;
    return text;
}

wj_signal wj_exec(wj_ctx *c, wj_scope *s, const wj_node *body) {
    if (++c->depth > WJ_MAX_EVAL) wj_fail(c, "nested more than %d levels deep", WJ_MAX_EVAL);
    wj_signal sig = WJ_GO;
    for (const wj_node *e = body; e && sig == WJ_GO; e = e->next) {
        wj_value v;
        c->line = e->line;
        wj_step(c, 1);
        switch (e->kind) {
        case S_TEXT: wj_put(c, c->out, e->v.u.s.p, e->v.u.s.n); break;
        case S_PRINT:
            v = wj_eval(c, s, e->a);
            wj_print(c, c->out, &v);
            break;
        case S_IF:
            for (const wj_node *b = e->list; b; b = b->next) {
                if (b->a) {
                    v = wj_eval(c, s, b->a);
                    if (!wj_truth(&v)) continue;
                }
                sig = wj_exec(c, s, b->list);
                break;
            }
            break;
        case S_FOR: sig = for_stmt(c, s, e); break;
        case S_SET: assign(c, s, e->a, wj_eval(c, s, e->b)); break;
        case S_SET_BLOCK: assign(c, s, e->a, filtered(c, s, e->b, capture(c, scope_new(c, s), e->list))); break;
        case S_MACRO: wj_scope_set(c, s, e->name, macro_value(c, s, e)); break;
        case S_CALL: call_block(c, s, e); break;
        case S_BREAK: sig = WJ_BREAK; break;
        case S_CONTINUE: sig = WJ_CONTINUE; break;
        case S_SCOPE: sig = wj_exec(c, scope_new(c, s), e->list); break;
        case S_FILTER:
            v = filtered(c, s, e->b, capture(c, scope_new(c, s), e->list));
            wj_print(c, c->out, &v);
            break;
        case S_WITH: {
            wj_scope *in = scope_new(c, s);
            for (const wj_node *p = e->other; p; p = p->next) assign(c, in, p->a, wj_eval(c, s, p->b));
            sig = wj_exec(c, in, e->list);
            break;
        }
        default: BUG("node %d is no statement", (int)e->kind);
        }
    }
    c->depth--;
    return sig;
}

/* ---------- entry points ---------- */

struct ws_jinja {
    ws_arena *arena;
    char *name;
    const wj_node *body;
};

ws_status ws_jinja_new(ws_jinja **out, const char *text, size_t n, const char *name, ws_err *err) {
    ws_err local;
    size_t bad;
    if (!err) err = &local;
    if (n > 4 << 20) return ws_fail(err, WS_EUNSUPPORTED, "chat template %s is larger than 4 MiB", name);
    if (!ws_utf8_valid(text, n, &bad))
        return ws_fail(err, WS_EFORMAT, "chat template %s is not UTF-8 at byte %zu", name, bad);
    ws_jinja *j = ws_xcalloc(1, sizeof *j);
    j->arena = ws_arena_new();
    j->name = ws_xstrdup(name);
    wj_ctx c = {.arena = j->arena, .name = j->name, .line = 1, .err = err};
    if (setjmp(c.fail)) {
        ws_jinja_free(j);
        return WS_EFORMAT;
    }
    j->body = wj_parse(&c, wj_lex(&c, text, n));
    *out = j;
    return WS_OK;
}

void ws_jinja_free(ws_jinja *j) {
    if (!j) return;
    ws_arena_free(j->arena);
    free(j->name);
    free(j);
}

ws_status ws_jinja_render(const ws_jinja *j, const json_t *vars, const char *date, ws_str *out, ws_err *err) {
    ws_err local;
    if (!err) err = &local;
    wj_buf text = {0};
    wj_ctx c = {.arena = ws_arena_new(), .name = j->name, .line = 1, .err = err, .date = date, .out = &text};
    if (setjmp(c.fail)) {
        ws_arena_free(c.arena);
        return WS_EFORMAT;
    }
    wj_scope *root = scope_new(&c, NULL), *top = scope_new(&c, root);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)vars, key, v) wj_scope_set(&c, root, key, wj_from_json(&c, v, 0));
    wj_exec(&c, top, j->body);
    ws_str_add(out, text.p, text.n);
    ws_arena_free(c.arena);
    return WS_OK;
}
