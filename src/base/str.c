#include "base/str.h"
#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void room(ws_str *s, size_t more) {
    if (more > (size_t)-1 / 2 - s->n - 1) BUG("string of absurd size");
    size_t need = s->n + more + 1;
    if (need <= s->cap) return;
    s->cap = need < 64 ? 64 : need + need / 2;
    s->p = ws_xrealloc(s->p, s->cap);
}

void ws_str_add(ws_str *s, const void *bytes, size_t n) {
    room(s, n);
    if (n) memcpy(s->p + s->n, bytes, n);
    s->p[s->n += n] = 0;
}
void ws_str_adds(ws_str *s, const char *text) { ws_str_add(s, text, strlen(text)); }
void ws_str_addc(ws_str *s, char c) { ws_str_add(s, &c, 1); }

void ws_str_addf(ws_str *s, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) BUG("bad format %s", fmt);
    room(s, (size_t)n);
    vsnprintf(s->p + s->n, (size_t)n + 1, fmt, again);
    va_end(again);
    s->n += (size_t)n;
}

void ws_str_clear(ws_str *s) {
    s->n = 0;
    if (s->p) *s->p = 0;
}
void ws_str_free(ws_str *s) {
    free(s->p);
    *s = (ws_str){0};
}
char *ws_str_take(ws_str *s) {
    room(s, 0);
    s->p[s->n] = 0;
    char *p = s->p;
    *s = (ws_str){0};
    return p;
}

char *ws_sprintf(const char *fmt, ...) {
    va_list ap;
    char *p = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    if (n < 0) BUG("bad format or out of memory: %s", fmt);
    return p;
}

void ws_ids_addn(ws_ids *v, const int32_t *id, int n) {
    if (n <= 0) return;
    if (v->n + n > v->cap) {
        v->cap = (v->n + n) * 3 / 2 + 16;
        v->id = ws_xrealloc(v->id, (size_t)v->cap * sizeof *v->id);
    }
    memcpy(v->id + v->n, id, (size_t)n * sizeof *id);
    v->n += n;
}
void ws_ids_add(ws_ids *v, int32_t id) { ws_ids_addn(v, &id, 1); }
void ws_ids_free(ws_ids *v) {
    free(v->id);
    *v = (ws_ids){0};
}
