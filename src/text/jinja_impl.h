/* src/text/jinja_impl.h - what the files of the Jinja interpreter share.
 * All memory of a template (tree) or of a rendering (values, text) lies in one arena and goes away with it; errors
 * leave by longjmp to the entry function, so nothing needs cleaning up in between.  Templates come from strangers:
 * depth, steps and memory are limited. */
#ifndef WS_TEXT_JINJA_IMPL_H
#define WS_TEXT_JINJA_IMPL_H
#include "base/arena.h"
#include "text/jinja.h"
#include <setjmp.h>
#include <stdint.h>

enum {
    WJ_MAX_DEPTH = 120,          /* nesting of expressions and statements while parsing */
    WJ_MAX_EVAL = 400,           /* nesting while running, macros included */
    WJ_MAX_STEPS = 20 * 1000000, /* tree nodes visited, list elements made */
    WJ_MAX_BYTES = 256 << 20,    /* memory of one rendering */
    WJ_MAX_RANGE = 100000,       /* as Jinja's sandbox */
    WJ_MAX_ARGS = 16
};

/* ---------- values ---------- */
typedef enum wj_type {
    WJ_MISSING, /* an argument that was not given; never a value of the template */
    WJ_UNDEFINED,
    WJ_NONE,
    WJ_BOOL,
    WJ_INT,
    WJ_FLOAT,
    WJ_STR,
    WJ_LIST,
    WJ_TUPLE,
    WJ_ITER, /* ITER: what Python has as views and generators; a list that has no length or index */
    WJ_DICT,
    WJ_NAMESPACE,
    WJ_LOOP,
    WJ_MACRO,
    WJ_FUNC,
    WJ_METHOD,
    WJ_CYCLER,
    WJ_JOINER
} wj_type;

typedef struct wj_value {
    wj_type type;
    union {
        int b;
        int64_t i;
        double f;
        struct {
            const char *p;
            size_t n;
        } s; /* STR; UNDEFINED: what was looked up, for messages */
        struct wj_list *list;
        struct wj_dict *dict;
        struct wj_loop *loop;
        struct wj_macro *macro;
        struct wj_method *method;
        struct wj_cycler *cycler;
        int func;
    } u;
} wj_value;

typedef struct wj_list {
    wj_value *v;
    size_t n, cap;
} wj_list;
typedef struct wj_dict { /* insertion order, as in Python */
    wj_value *key, *v;
    size_t n, cap;
} wj_dict;
typedef struct wj_loop {
    size_t index0, n;
    int depth0;
    const wj_list *items;
    wj_value changed;
} wj_loop;
typedef struct wj_method {
    wj_value self;
    const char *name;
} wj_method;
typedef struct wj_cycler { /* joiner too: item 0 is its separator */
    wj_list *items;
    size_t at;
} wj_cycler;

/* ---------- tree ---------- */
typedef enum wj_kind {
    E_CONST,
    E_NAME,
    E_LIST,
    E_TUPLE,
    E_DICT,
    E_ATTR,
    E_ITEM,
    E_SLICE,
    E_CALL,
    E_KEYWORD,
    E_FILTER,
    E_TEST,
    E_NOT,
    E_NEG,
    E_POS,
    E_MATH,
    E_AND,
    E_OR,
    E_IF,
    E_COMPARE,
    E_OPERAND,
    E_CONCAT,
    S_TEXT,
    S_PRINT,
    S_IF,
    S_BRANCH,
    S_FOR,
    S_SET,
    S_SET_BLOCK,
    S_MACRO,
    S_PARAM,
    S_BREAK,
    S_CONTINUE,
    S_SCOPE,
    S_FILTER,
    S_CALL,
    S_WITH
} wj_kind;
typedef enum wj_op {
    OP_NONE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
} wj_op;
typedef struct wj_node {
    wj_kind kind;
    wj_op op;
    int line;
    const char *name;          /* NAME, ATTR, FILTER, TEST, KEYWORD, MACRO, PARAM */
    wj_value v;                /* CONST, TEXT */
    struct wj_node *a, *b, *c; /* operands; IF a if b else c; FOR target a in b if c; SET target a = b */
    struct wj_node *list;      /* elements, arguments, body */
    struct wj_node *other;     /* FOR: else body; MACRO, CALL: parameters */
    struct wj_node *next;
} wj_node;

/* ---------- context ---------- */
typedef struct wj_ctx {
    ws_arena *arena;
    char *chunk;
    size_t left, bytes;
    const char *name; /* of the template */
    int line;         /* where we are, for errors */
    int depth;
    long steps;
    ws_err *err;
    jmp_buf fail;
    const char *date;
    struct wj_buf *out;
} wj_ctx;
void *wj_alloc(wj_ctx *c, size_t n);
_Noreturn void wj_fail(wj_ctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void wj_step(wj_ctx *c, size_t n);

typedef struct wj_buf { /* text under construction */
    char *p;
    size_t n, cap;
} wj_buf;
void wj_put(wj_ctx *c, wj_buf *b, const char *p, size_t n);
void wj_puts(wj_ctx *c, wj_buf *b, const char *s);

/* ---------- lexer ---------- */
typedef enum wj_tok_type {
    T_TEXT,
    T_BLOCK,
    T_BLOCK_END,
    T_PRINT,
    T_PRINT_END,
    T_NAME,
    T_INT,
    T_FLOAT,
    T_STR,
    T_OP,
    T_EOF
} wj_tok_type;
typedef struct wj_tok {
    wj_tok_type type;
    int line;
    const char *p; /* NAME, OP: NUL-terminated */
    size_t n;
    int64_t i;
    double f;
} wj_tok;
wj_tok *wj_lex(wj_ctx *c, const char *text, size_t n); /* ends with T_EOF */

/* ---------- parser ---------- */
typedef struct wj_parser {
    wj_ctx *c;
    wj_tok *t;
    int in_loop;
} wj_parser;
wj_node *wj_parse(wj_ctx *c, wj_tok *t); /* the body */
wj_node *wj_node_new(wj_parser *p, wj_kind kind);
int wj_is_op(const wj_parser *p, const char *op);
int wj_is_name(const wj_parser *p, const char *name);
int wj_skip_op(wj_parser *p, const char *op);
int wj_skip_name(wj_parser *p, const char *name);
void wj_expect_op(wj_parser *p, const char *op);
const char *wj_expect_name(wj_parser *p);
_Noreturn void wj_unexpected(wj_parser *p, const char *wanted);
wj_node *wj_parse_expr(wj_parser *p);
/* a, b, c: a tuple when there is a comma.  `conditional` = 0: no "x if y else z" at the top; stops before the name
 * `stop`. */
wj_node *wj_parse_tuple(wj_parser *p, int conditional, const char *stop);
wj_node *wj_parse_call_args(wj_parser *p);
wj_node *wj_parse_filters(wj_parser *p, wj_node *x); /* |a|b(...) is c, calls */
void wj_enter(wj_parser *p);
void wj_leave(wj_parser *p);

typedef struct wj_json_style {
    int indent;              /* < 0: one line */
    const char *indent_text; /* NULL: `indent` spaces */
    const char *item, *key;  /* separators */
    int ascii, sort;
} wj_json_style;

/* ---------- values: making, asking ---------- */
wj_value wj_undefined(const char *what);
wj_value wj_none(void);
wj_value wj_bool(int b);
wj_value wj_int(int64_t i);
wj_value wj_float(double f);
wj_value wj_str(const char *p, size_t n); /* no copy */
wj_value wj_strz(const char *s);
wj_value wj_list_new(wj_ctx *c, wj_type type, size_t cap);
void wj_list_add(wj_ctx *c, wj_list *l, wj_value v);
wj_value wj_dict_new(wj_ctx *c, wj_type type);
void wj_dict_set(wj_ctx *c, wj_dict *d, wj_value key, wj_value v);
const wj_value *wj_dict_get(wj_ctx *c, const wj_dict *d, wj_value key);
const wj_value *wj_dict_gets(const wj_dict *d, const char *key);
wj_value wj_from_json(wj_ctx *c, const json_t *j, int depth);
const char *wj_type_name(const wj_value *v);
int wj_truth(const wj_value *v);
int wj_is_number(const wj_value *v); /* bool counts, as in Python */
double wj_number(const wj_value *v);
int wj_equal(wj_ctx *c, const wj_value *x, const wj_value *y);
int wj_compare(wj_ctx *c, const wj_value *x, const wj_value *y); /* -1 0 1; refuses what Python cannot order */
int wj_contains(wj_ctx *c, const wj_value *container, const wj_value *x);
const wj_list *wj_items(wj_ctx *c, const wj_value *v, const char *what); /* what iterating gives; refuses the rest */
int64_t wj_length(wj_ctx *c, const wj_value *v);
void wj_print(wj_ctx *c, wj_buf *b, const wj_value *v); /* Python's str() */
void wj_repr(wj_ctx *c, wj_buf *b, const wj_value *v);  /* Python's repr() */
void wj_json(wj_ctx *c, wj_buf *b, const wj_value *v, const wj_json_style *style, int level);
wj_value wj_to_str(wj_ctx *c, const wj_value *v);
wj_value wj_buf_str(const wj_buf *b);
const char *wj_cstr(wj_ctx *c, const wj_value *s); /* NUL-terminated copy of a string value */

/* ---------- running ---------- */
typedef struct wj_args {
    wj_value v[WJ_MAX_ARGS];
    int n;
    const char *kw_name[WJ_MAX_ARGS];
    wj_value kw[WJ_MAX_ARGS];
    int n_kw;
} wj_args;
/* Puts arguments into out[] in the order of `names` ("a b c"); what is not given is WJ_MISSING; surplus is an error. */
void wj_bind(wj_ctx *c, const char *function, const wj_args *args, int required, const char *names, wj_value *out);

typedef struct wj_var {
    const char *name;
    wj_value v;
} wj_var;
typedef struct wj_scope {
    struct wj_scope *parent;
    wj_var *var;
    int n, cap;
} wj_scope;
typedef struct wj_macro {
    const wj_node *node;
    wj_scope *scope; /* where it was defined */
} wj_macro;
typedef enum wj_signal { WJ_GO, WJ_BREAK, WJ_CONTINUE } wj_signal;

void wj_scope_set(wj_ctx *c, wj_scope *s, const char *name, wj_value v);
const wj_value *wj_scope_find(const wj_scope *s, const char *name);
wj_value wj_eval(wj_ctx *c, wj_scope *s, const wj_node *e);
void wj_eval_args(wj_ctx *c, wj_scope *s, const wj_node *list, wj_args *out);
wj_signal wj_exec(wj_ctx *c, wj_scope *s, const wj_node *body);
wj_value wj_call(wj_ctx *c, const wj_value *f, const wj_args *args);
wj_value wj_call_macro(wj_ctx *c, const wj_macro *m, const wj_args *args);
wj_value wj_get_attr(wj_ctx *c, const wj_value *v, const char *name);
wj_value wj_get_item(wj_ctx *c, const wj_value *v, const wj_value *key);
wj_value wj_slice(wj_ctx *c, const wj_value *v, const wj_value *start, const wj_value *stop, const wj_value *step);
wj_value wj_math(wj_ctx *c, wj_op op, const wj_value *x, const wj_value *y);
wj_value wj_filter(wj_ctx *c, const char *name, const wj_value *x, const wj_args *args);
int wj_filter_known(const char *name);
int wj_test(wj_ctx *c, const char *name, const wj_value *x, const wj_args *args);
int wj_test_known(const char *name);
int wj_has_method(const wj_value *v, const char *name);
wj_value wj_call_method(wj_ctx *c, const wj_method *m, const wj_args *args);
const wj_value *wj_global(const char *name); /* NULL: no such global */
wj_value wj_call_func(wj_ctx *c, int func, const wj_args *args);
/* String helpers shared by filters and methods. */
wj_value wj_strip(wj_ctx *c, const wj_value *s, const wj_value *chars, int left, int right);
wj_value wj_replace(wj_ctx *c, const wj_value *s, const wj_value *from, const wj_value *to, int64_t count);
wj_value wj_case(wj_ctx *c, const wj_value *s,
                 char how); /* u upper, l lower, c capitalize, t title (method), T title (filter) */
const char *wj_find(const char *p, size_t n, const char *q, size_t m); /* memmem with m = 0 found at once */
#endif
