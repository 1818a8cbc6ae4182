/* src/report/table_print.c - a table for people: terminal, Markdown, HTML. */
#include "report/table_impl.h"
#include "base/err.h"
#include "report/columns.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { NOTE_WIDTH = 100 };

int ws_text_width(const char *s, size_t n) {
    int w = 0;
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t cp;
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &cp);
        if (k <= 0)
            i++, w++;
        else
            i += (size_t)k, w += utf8proc_charwidth(cp);
    }
    return w;
}

void ws_html_escape(ws_str *out, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) switch (s[i]) {
        case '&': ws_str_adds(out, "&amp;"); break;
        case '<': ws_str_adds(out, "&lt;"); break;
        case '>': ws_str_adds(out, "&gt;"); break;
        case '"': ws_str_adds(out, "&quot;"); break;
        default: ws_str_addc(out, s[i]);
        }
}

/* How a best number is wrapped, and what stands behind one that is not (so that digits stay under digits). */
typedef struct marks {
    const char *on, *off, *plain;
} marks;

/* The format is the table's own, given by our code through ws_table_column. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void number(ws_str *out, const char *format, double v) {
    if (isnan(v))
        ws_str_adds(out, "nan");
    else if (isinf(v))
        ws_str_adds(out, v > 0 ? "inf" : "-inf");
    else {
        char buf[64];
        snprintf(buf, sizeof buf, format, v);
        /* -0.00 says nothing that 0.00 does not */
        if (buf[0] == '-' && strspn(buf + 1, "0.") == strlen(buf + 1)) buf[0] = strchr(format, '+') ? '+' : ' ';
        ws_str_adds(out, buf[0] == ' ' ? buf + 1 : buf);
    }
}
#pragma GCC diagnostic pop

static void cell_text(const ws_table *t, int r, int c, marks m, int starred[2], ws_str *out) {
    const ws_cell *e = &t->cell[r * t->cols + c];
    const ws_col *k = &t->col[c];
    if (!e->has) {
        ws_str_adds(out, e->text ? e->text : "");
        return;
    }
    int best = ws_table_is_best(t, r, c, 0);
    ws_str_adds(out, best ? m.on : "");
    number(out, k->format, e->v);
    ws_str_adds(out, best ? m.off : starred[0] ? m.plain : "");
    if (k->kind == WS_CELL_SD) {
        int low = ws_table_is_best(t, r, c, 1);
        const char *f = *k->format == '%' && k->format[1] == '+' ? k->format + 1 : NULL; /* a spread has no sign */
        char *plain = f ? ws_sprintf("%%%s", f + 1) : ws_xstrdup(k->format);
        ws_str_adds(out, " ± ");
        ws_str_adds(out, low ? m.on : "");
        number(out, plain, e->lo);
        ws_str_adds(out, low ? m.off : starred[1] ? m.plain : "");
        free(plain);
    } else if (k->kind == WS_CELL_CI) {
        ws_str_adds(out, " [");
        number(out, k->format, e->lo);
        ws_str_adds(out, ", ");
        number(out, k->format, e->hi);
        ws_str_adds(out, "]");
    }
}

/* Does a column carry a mark on its value / its spread anywhere? */
static void starred_columns(const ws_table *t, int c, int starred[2]) {
    starred[0] = starred[1] = 0;
    for (int r = 0; r < t->rows; r++)
        for (int p = 0; p < 2; p++) starred[p] |= ws_table_is_best(t, r, c, p);
}

static void pad(ws_str *out, int n) {
    while (n-- > 0) ws_str_addc(out, ' ');
}

/* Left-aligned text columns, right-aligned numbers, two spaces between; escape codes take no width. */
void ws_table_print(const ws_table *t, ws_str *out, int bold) {
    marks m = bold ? (marks){"\033[1m", "\033[0m", ""} : (marks){"", "*", " "};
    ws_str *cell = ws_xcalloc((size_t)(t->rows + 1) * (size_t)t->cols, sizeof *cell);
    int *width = ws_xcalloc((size_t)(t->rows + 1) * (size_t)t->cols, sizeof *width);
    int *col = ws_xcalloc((size_t)t->cols, sizeof *col), any = 0;
    for (int c = 0; c < t->cols; c++) {
        int starred[2];
        starred_columns(t, c, starred);
        any |= starred[0] | starred[1];
        for (int r = -1; r < t->rows; r++) {
            int i = (r + 1) * t->cols + c;
            if (r < 0)
                ws_str_adds(&cell[i], t->col[c].title);
            else
                cell_text(t, r, c, m, starred, &cell[i]);
            width[i] = ws_text_width(cell[i].p, cell[i].n);
            if (bold && r >= 0) /* ESC is of width 0, the rest of "[1m" "[0m" is not */
                width[i] -= 6 * (ws_table_is_best(t, r, c, 0) + ws_table_is_best(t, r, c, 1));
            if (width[i] > col[c]) col[c] = width[i];
        }
    }
    ws_str_addf(out, "%s\n\n", t->caption);
    for (int r = -1; r < t->rows; r++) {
        size_t begin = out->n;
        for (int c = 0; c < t->cols; c++) {
            int i = (r + 1) * t->cols + c, gap = col[c] - width[i], left = t->col[c].kind == WS_CELL_TEXT;
            pad(out, c ? 2 : 0);
            if (!left) pad(out, gap);
            ws_str_add(out, cell[i].p ? cell[i].p : "", cell[i].n);
            if (left) pad(out, gap);
        }
        while (out->n > begin && out->p[out->n - 1] == ' ') out->p[--out->n] = 0;
        ws_str_addc(out, '\n');
        if (r >= 0) continue;
        for (int c = 0; c < t->cols; c++) {
            if (c) ws_str_adds(out, "  ");
            for (int i = 0; i < col[c]; i++) ws_str_addc(out, '-');
        }
        ws_str_addc(out, '\n');
    }
    if (t->notes || (any && !bold)) ws_str_addc(out, '\n');
    if (any && !bold) ws_str_adds(out, "* best of its column\n");
    for (int i = 0; i < t->notes; i++) ws_wrap(out, t->note[i], NOTE_WIDTH, 0);
    for (int i = 0; i < (t->rows + 1) * t->cols; i++) ws_str_free(&cell[i]);
    free(cell);
    free(width);
    free(col);
}

/* In a cell of a Markdown table only | and line ends would break it; what looks like markup is escaped too. */
static void markdown_escape(ws_str *out, const char *s) {
    for (; *s; s++) {
        if (strchr("|\\`*_<", *s)) ws_str_addc(out, '\\');
        ws_str_addc(out, *s == '\n' ? ' ' : *s);
    }
}

void ws_table_markdown(const ws_table *t, ws_str *out) {
    ws_str s = {0};
    ws_str_addf(out, "**%s**\n\n", t->caption);
    for (int r = -2; r < t->rows; r++) {
        for (int c = 0; c < t->cols; c++) {
            int text = t->col[c].kind == WS_CELL_TEXT, starred[2] = {0, 0};
            ws_str_adds(out, c ? " " : "| ");
            if (r == -2)
                markdown_escape(out, t->col[c].title);
            else if (r == -1)
                ws_str_adds(out, text ? "---" : "---:");
            else if (!t->cell[r * t->cols + c].has) {
                const char *why = t->cell[r * t->cols + c].text;
                markdown_escape(out, why ? why : "");
            } else {
                ws_str_clear(&s);
                cell_text(t, r, c, (marks){"**", "**", ""}, starred, &s);
                ws_str_add(out, s.p, s.n);
            }
            ws_str_adds(out, " |");
        }
        ws_str_addc(out, '\n');
    }
    for (int i = 0; i < t->notes; i++) ws_str_addf(out, "\n%s\n", t->note[i]);
    ws_str_free(&s);
}

void ws_table_html(const ws_table *t, ws_str *out) {
    ws_str s = {0};
    ws_str_adds(out, "<table>\n<caption>");
    ws_html_escape(out, t->caption, strlen(t->caption));
    ws_str_adds(out, "</caption>\n<thead><tr>");
    for (int c = 0; c < t->cols; c++) {
        ws_str_adds(out, t->col[c].kind == WS_CELL_TEXT ? "<th>" : "<th class=\"num\">");
        ws_html_escape(out, t->col[c].title, strlen(t->col[c].title));
        ws_str_adds(out, "</th>");
    }
    ws_str_adds(out, "</tr></thead>\n<tbody>\n");
    for (int r = 0; r < t->rows; r++) {
        ws_str_adds(out, "<tr>");
        for (int c = 0; c < t->cols; c++) {
            int starred[2] = {0, 0};
            const ws_cell *e = &t->cell[r * t->cols + c];
            ws_str_adds(out, t->col[c].kind == WS_CELL_TEXT ? "<td>" : "<td class=\"num\">");
            ws_str_clear(&s);
            cell_text(t, r, c, (marks){"<b>", "</b>", ""}, starred, &s);
            if (e->has)
                ws_str_add(out, s.p, s.n); /* numbers and our own marks only */
            else
                ws_html_escape(out, s.p ? s.p : "", s.n);
            ws_str_adds(out, "</td>");
        }
        ws_str_adds(out, "</tr>\n");
    }
    ws_str_adds(out, "</tbody>\n</table>\n");
    for (int i = 0; i < t->notes; i++) {
        ws_str_adds(out, "<p class=\"note\">");
        ws_html_escape(out, t->note[i], strlen(t->note[i]));
        ws_str_adds(out, "</p>\n");
    }
    ws_str_free(&s);
}
