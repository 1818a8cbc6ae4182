#include "report/columns.h"
#include "base/err.h"
#include "report/table.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct lines {
    char **line;
    int n;
} lines;

static void add_line(lines *l, ws_str *s) {
    l->line = ws_xrealloc(l->line, (size_t)(l->n + 1) * sizeof *l->line);
    l->line[l->n++] = ws_str_take(s);
}

static void lines_free(lines *l) {
    for (int i = 0; i < l->n; i++) free(l->line[i]);
    free(l->line);
    *l = (lines){0};
}

/* Bytes of the character at s (never 0 before the end) and its width; a byte that is no UTF-8 counts as one column. */
static size_t character(const char *s, size_t n, int *width) {
    utf8proc_int32_t cp;
    utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &cp);
    *width = k > 0 ? utf8proc_charwidth(cp) : 1;
    return k > 0 ? (size_t)k : 1;
}

static void add_word(ws_str *line, const char *w, size_t n) {
    for (size_t i = 0; i < n; i++) ws_str_addc(line, (unsigned char)w[i] < 32 || w[i] == 127 ? ' ' : w[i]);
}

static lines wrap(const char *text, int width) {
    lines l = {0};
    ws_str cur = {0};
    int used = 0;
    for (const char *s = text;; s++) {
        size_t n = strcspn(s, " \n");
        int w = ws_text_width(s, n);
        if (n && used && used + 1 + w > width) add_line(&l, &cur), used = 0;
        if (n && used) ws_str_addc(&cur, ' '), used++;
        while (w > width) { /* longer than a line: split between characters */
            int part = 0, cw;
            size_t take = 0, k;
            while (take < n && (k = character(s + take, n - take, &cw), part + cw <= width)) take += k, part += cw;
            if (!take) take = character(s, n, &cw), part = cw;
            add_word(&cur, s, take);
            add_line(&l, &cur);
            s += take, n -= take, w -= part;
        }
        add_word(&cur, s, n);
        used += w;
        s += n;
        if (*s == '\n') add_line(&l, &cur), used = 0;
        if (!*s) break;
    }
    if (cur.n || !l.n) add_line(&l, &cur);
    ws_str_free(&cur);
    return l;
}

static void pad(ws_str *out, int n) {
    while (n-- > 0) ws_str_addc(out, ' ');
}

void ws_columns_print(ws_str *out, const char *const *heading, const char *const *text, int n, int total) {
    WS_ASSERT(n > 0);
    int width = (total - 2 * (n - 1)) / n, tallest = 0;
    if (width < 8) width = 8;
    lines *l = ws_xcalloc((size_t)n, sizeof *l);
    for (int i = 0; i < n; i++) {
        if (heading) {
            l[i] = wrap(heading[i], width);
            ws_str rule = {0};
            for (int k = 0; k < width; k++) ws_str_addc(&rule, '-');
            add_line(&l[i], &rule);
        }
        lines body = wrap(text[i], width);
        for (int k = 0; k < body.n; k++) {
            ws_str s = {0};
            ws_str_adds(&s, body.line[k]);
            add_line(&l[i], &s);
        }
        lines_free(&body);
        if (l[i].n > tallest) tallest = l[i].n;
    }
    for (int r = 0; r < tallest; r++) {
        size_t begin = out->n;
        for (int i = 0; i < n; i++) {
            const char *s = r < l[i].n ? l[i].line[r] : "";
            ws_str_adds(out, s);
            if (i < n - 1) pad(out, width - ws_text_width(s, strlen(s)) + 2);
        }
        while (out->n > begin && out->p[out->n - 1] == ' ') out->p[--out->n] = 0;
        ws_str_addc(out, '\n');
    }
    for (int i = 0; i < n; i++) lines_free(&l[i]);
    free(l);
}

void ws_wrap(ws_str *out, const char *text, int width, int indent) {
    lines l = wrap(text, width - indent < 8 ? 8 : width - indent);
    for (int i = 0; i < l.n; i++) {
        pad(out, *l.line[i] ? indent : 0);
        ws_str_addf(out, "%s\n", l.line[i]);
    }
    lines_free(&l);
}
