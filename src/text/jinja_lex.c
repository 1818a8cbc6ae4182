/* src/text/jinja_lex.c - template text to tokens, with Jinja2's rules for white space:
 *   {%- and -%} (also {{- {#-) eat all white space on their side; %} and #} eat one newline (trim_blocks);
 *   spaces between the beginning of a line and {% or {# go away (lstrip_blocks) unless it is {%+;
 *   one newline at the template's end is dropped. */
#include "text/jinja_impl.h"
#include "text/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    wj_ctx *c;
    const char *s;
    size_t n, at, counted; /* lines are counted up to `counted` */
    int line, line_starting;
    wj_tok *tok;
    size_t n_tok, cap;
} lexer;

static int line_at(lexer *x, size_t pos) {
    for (; x->counted < pos; x->counted++) x->line += x->s[x->counted] == '\n';
    return x->line;
}

static wj_tok *emit(lexer *x, wj_tok_type type, size_t pos, const char *p, size_t n) {
    if (x->n_tok == x->cap) {
        size_t cap = x->cap * 2 + 64;
        wj_tok *t = wj_alloc(x->c, cap * sizeof *t);
        if (x->n_tok) memcpy(t, x->tok, x->n_tok * sizeof *t);
        x->tok = t, x->cap = cap;
    }
    x->tok[x->n_tok] = (wj_tok){type, line_at(x, pos), p, n, 0, 0};
    return &x->tok[x->n_tok++];
}

static char peek(const lexer *x, size_t k) { return x->at + k < x->n ? x->s[x->at + k] : 0; }
static int starts(const lexer *x, size_t at, const char *what) {
    size_t n = strlen(what);
    return at + n <= x->n && !memcmp(x->s + at, what, n);
}

static size_t skip_space(const lexer *x, size_t at) {
    uint32_t cp;
    int k;
    while ((k = ws_utf8_next(x->s + at, x->n - at, &cp)) && ws_is_py_space(cp)) at += (size_t)k;
    return at;
}
static size_t rstrip(const char *p, size_t n) {
    while (n) {
        size_t b = n - 1;
        uint32_t cp;
        while (b && ((unsigned char)p[b] & 0xC0) == 0x80) b--;
        if (!ws_utf8_next(p + b, n - b, &cp) || !ws_is_py_space(cp)) break;
        n = b;
    }
    return n;
}

/* The text [from, to) before a tag that opens at `to` with sign '-', '+' or 0. */
static void text(lexer *x, size_t from, size_t to, char sign, int is_print) {
    size_t n = to - from;
    const char *p = x->s + from;
    if (sign == '-')
        n = rstrip(p, n);
    else if (sign != '+' && !is_print) {
        size_t bol = n;
        while (bol && p[bol - 1] != '\n') bol--;
        if ((bol || x->line_starting) && rstrip(p + bol, n - bol) == 0) n = bol;
    }
    if (n) emit(x, T_TEXT, from, p, n);
}

/* Behind a closing "%}" or "#}" that ends at `at`. */
static size_t after_close(lexer *x, size_t at, char sign) {
    if (sign == '-')
        at = skip_space(x, at);
    else if (sign != '+' && at < x->n && x->s[at] == '\n')
        at++;
    x->line_starting = at && x->s[at - 1] == '\n';
    return at;
}

static void fail_at(lexer *x, size_t pos, const char *what) {
    x->c->line = line_at(x, pos);
    wj_fail(x->c, "%s", what);
}

/* If "{%" at `open` begins {% word %}, the position behind it; else 0.  *sign: the closing tag's sign. */
static size_t bare_tag(const lexer *x, size_t open, const char *word, char *sign) {
    size_t at = open + 2;
    if (at < x->n && (x->s[at] == '-' || x->s[at] == '+')) at++;
    at = skip_space(x, at);
    if (!starts(x, at, word)) return 0;
    at = skip_space(x, at + strlen(word));
    *sign = 0;
    if (at < x->n && (x->s[at] == '-' || x->s[at] == '+')) *sign = x->s[at++];
    return starts(x, at, "%}") ? at + 2 : 0;
}

static void raw(lexer *x, size_t open, size_t body, char sign) {
    if (sign == '-') body = skip_space(x, body);
    x->line_starting = body && x->s[body - 1] == '\n';
    for (size_t i = body; i + 1 < x->n; i++) {
        size_t end;
        if (x->s[i] != '{' || x->s[i + 1] != '%' || !(end = bare_tag(x, i, "endraw", &sign))) continue;
        char before = i + 2 < x->n && (x->s[i + 2] == '-' || x->s[i + 2] == '+') ? x->s[i + 2] : 0;
        text(x, body, i, before, 0);
        x->at = after_close(x, end, sign);
        return;
    }
    fail_at(x, open, "{% raw %} without {% endraw %}");
}

static void comment(lexer *x, size_t open) {
    for (size_t i = x->at; i + 1 < x->n; i++)
        if (x->s[i] == '#' && x->s[i + 1] == '}') {
            x->at = after_close(x, i + 2, i > x->at ? x->s[i - 1] : 0);
            return;
        }
    fail_at(x, open, "{# without #}");
}

/* ---------- inside {{ }} and {% %} ---------- */

static int name_char(char ch) {
    unsigned char u = (unsigned char)ch;
    return ((u | 0x20) >= 'a' && (u | 0x20) <= 'z') || (u >= '0' && u <= '9') || u == '_' || u >= 0x80;
}

/* Python's string escapes; what it does not know it leaves alone. */
static void string(lexer *x) {
    size_t start = x->at++, n = 0;
    char quote = x->s[start];
    wj_buf b = {0};
    for (;; x->at++) {
        if (x->at >= x->n) fail_at(x, start, "a string without end");
        char ch = x->s[x->at];
        if (ch == quote) break;
        if (ch != '\\') {
            wj_put(x->c, &b, &ch, 1);
            continue;
        }
        char e = peek(x, 1);
        static const char from[] = "ntr\\'\"abfv", to[] = "\n\t\r\\'\"\a\b\f\v";
        const char *k = e ? strchr(from, e) : NULL;
        x->at++;
        if (k)
            wj_put(x->c, &b, &to[k - from], 1);
        else if (e == '\n')
            continue;
        else if (e == 'x' || e == 'u' || e == 'U') {
            uint32_t v = 0;
            n = e == 'x' ? 2 : e == 'u' ? 4 : 8;
            for (size_t i = 1; i <= n; i++) {
                const char *digits = "0123456789abcdef",
                           *d = peek(x, i) ? strchr(digits, peek(x, i) | (peek(x, i) >= 'A' ? 0x20 : 0)) : NULL;
                if (!d) fail_at(x, x->at, "a wrong \\x, \\u or \\U escape in a string");
                v = v << 4 | (uint32_t)(d - digits);
            }
            char utf8[4];
            if (v > 0x10FFFF || (v >= 0xD800 && v < 0xE000))
                fail_at(x, x->at, "an escape in a string is no Unicode character");
            wj_put(x->c, &b, utf8, (size_t)ws_utf8_put(utf8, v));
            x->at += n;
        } else if ((e >= '0' && e <= '7') || e == 'N')
            fail_at(x, x->at, "octal and \\N escapes in strings are not supported");
        else {
            wj_put(x->c, &b, "\\", 1);
            if (!e) fail_at(x, start, "a string without end");
            wj_put(x->c, &b, &e, 1);
        }
    }
    x->at++;
    emit(x, T_STR, start, b.p ? b.p : "", b.n);
}

static void number(lexer *x) {
    size_t start = x->at;
    char buf[64];
    size_t n = 0;
    int real = 0;
    if (peek(x, 0) == '0' && peek(x, 1) && strchr("xXoObB", peek(x, 1)))
        fail_at(x, start, "numbers in hexadecimal, octal or binary are not supported");
    for (;; x->at++) {
        char ch = peek(x, 0), nx = peek(x, 1);
        int digit = ch >= '0' && ch <= '9', next_digit = nx >= '0' && nx <= '9';
        if (ch == '_' && next_digit) continue;
        if (ch == '.' && next_digit && !real)
            real = 1;
        else if ((ch == 'e' || ch == 'E') && real < 2 &&
                 (next_digit || ((nx == '+' || nx == '-') && peek(x, 2) >= '0' && peek(x, 2) <= '9'))) {
            real = 2;
            if (n < sizeof buf - 3) buf[n++] = ch;
            ch = nx, x->at++;
        } else if (!digit)
            break;
        if (n >= sizeof buf - 2) fail_at(x, start, "a number is too long");
        buf[n++] = ch;
    }
    buf[n] = 0;
    wj_tok *t = emit(x, real ? T_FLOAT : T_INT, start, x->s + start, x->at - start);
    errno = 0;
    if (real)
        t->f = strtod(buf, NULL);
    else
        t->i = strtoll(buf, NULL, 10);
    if (errno && !real) fail_at(x, start, "a whole number above 2^63 is not supported");
    if (!real && n > 1 && buf[0] == '0' && strspn(buf, "0") != n) fail_at(x, start, "a number may not begin with 0");
}

static void expression(lexer *x, size_t open, int is_print) {
    static const char *const ops[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const char *close = is_print ? "}}" : "%}";
    int balance = 0;
    for (;;) {
        x->at = skip_space(x, x->at);
        if (x->at >= x->n) fail_at(x, open, is_print ? "{{ without }}" : "{% without %}");
        char ch = x->s[x->at], sign = ch == '-' || (ch == '+' && !is_print) ? ch : 0;
        if (!balance && starts(x, x->at + (sign != 0), close)) {
            emit(x, is_print ? T_PRINT_END : T_BLOCK_END, x->at, close, 2);
            x->at += 2 + (sign != 0);
            if (!is_print)
                x->at = after_close(x, x->at, sign);
            else {
                if (sign) x->at = skip_space(x, x->at);
                x->line_starting = x->s[x->at - 1] == '\n';
            }
            return;
        }
        size_t start = x->at;
        if (ch == '\'' || ch == '"')
            string(x);
        else if (ch >= '0' && ch <= '9')
            number(x);
        else if (name_char(ch)) {
            while (x->at < x->n && name_char(x->s[x->at])) x->at++;
            char *name = wj_alloc(x->c, x->at - start + 1);
            memcpy(name, x->s + start, x->at - start);
            name[x->at - start] = 0;
            emit(x, T_NAME, start, name, x->at - start);
        } else {
            const char *op = NULL;
            for (size_t i = 0; i < sizeof ops / sizeof *ops && !op; i++)
                if (starts(x, x->at, ops[i])) op = ops[i];
            if (!op) fail_at(x, x->at, "an unexpected character in a tag");
            if (strchr("([{", *op)) balance++;
            if (strchr(")]}", *op) && balance-- == 0) fail_at(x, x->at, "a closing bracket that nothing opened");
            emit(x, T_OP, start, op, strlen(op));
            x->at += strlen(op);
        }
    }
}

/* Newlines become \n, and one at the end is dropped. */
static const char *normalise(wj_ctx *c, const char *p, size_t n, size_t *out) {
    char *s = wj_alloc(c, n + 1);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n') continue;
        s[m++] = p[i] == '\r' ? '\n' : p[i];
    }
    if (m && s[m - 1] == '\n') m--;
    s[m] = 0;
    *out = m;
    return s;
}

wj_tok *wj_lex(wj_ctx *c, const char *p, size_t n) {
    lexer x = {.c = c, .line = 1, .line_starting = 1};
    x.s = normalise(c, p, n, &x.n);
    while (x.at < x.n) {
        size_t from = x.at, open = from, end;
        while (open < x.n && !(x.s[open] == '{' && open + 1 < x.n && strchr("{%#", x.s[open + 1]) && x.s[open + 1]))
            open++;
        if (open >= x.n) {
            emit(&x, T_TEXT, from, x.s + from, x.n - from);
            break;
        }
        char kind = x.s[open + 1],
             sign = open + 2 < x.n && (x.s[open + 2] == '-' || x.s[open + 2] == '+') ? x.s[open + 2] : 0;
        text(&x, from, open, sign, kind == '{');
        x.at = open + 2 + (sign != 0);
        char close_sign;
        if (kind == '#')
            comment(&x, open);
        else if (kind == '%' && (end = bare_tag(&x, open, "raw", &close_sign)))
            raw(&x, open, end, close_sign);
        else {
            emit(&x, kind == '{' ? T_PRINT : T_BLOCK, open, x.s + open, 2);
            expression(&x, open, kind == '{');
        }
    }
    emit(&x, T_EOF, x.n, "", 0);
    return x.tok;
}
