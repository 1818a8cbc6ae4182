/* src/report/table.c - building a table, ranking its columns, and the two machine-readable forms. */
#include "report/table_impl.h"
#include "base/err.h"
#include "io/csv.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ws_table *ws_table_new(const char *name, const char *caption) {
    ws_table *t = ws_xcalloc(1, sizeof *t);
    t->name = ws_xstrdup(name);
    t->caption = ws_xstrdup(caption);
    return t;
}

void ws_table_free(ws_table *t) {
    if (!t) return;
    for (int c = 0; c < t->cols; c++) {
        free(t->col[c].key);
        free(t->col[c].title);
        free(t->col[c].format);
    }
    for (int i = 0; i < t->rows * t->cols; i++) free(t->cell[i].text);
    for (int i = 0; i < t->notes; i++) free(t->note[i]);
    free(t->col);
    free(t->cell);
    free(t->unranked);
    free(t->note);
    free(t->name);
    free(t->caption);
    free(t);
}

void ws_table_column(ws_table *t, const char *key, const char *title, ws_cell_kind kind, const char *format,
                     ws_best best) {
    WS_ASSERT(t->rows == 0 && (kind == WS_CELL_TEXT) == (format == NULL));
    t->col = ws_xrealloc(t->col, (size_t)(t->cols + 1) * sizeof *t->col);
    t->col[t->cols++] = (ws_col){ws_xstrdup(key), ws_xstrdup(title), format ? ws_xstrdup(format) : NULL, kind, best};
}

void ws_table_row(ws_table *t) {
    WS_ASSERT(t->cols > 0 && t->filled % t->cols == 0);
    size_t n = (size_t)++t->rows;
    t->cell = ws_xrealloc(t->cell, n * (size_t)t->cols * sizeof *t->cell);
    memset(t->cell + (n - 1) * (size_t)t->cols, 0, (size_t)t->cols * sizeof *t->cell);
    t->unranked = ws_xrealloc(t->unranked, n);
    t->unranked[n - 1] = 0;
}

static ws_cell *next(ws_table *t, ws_cell_kind kind, int any) {
    if (t->filled >= t->rows * t->cols) BUG("table %s: more cells than columns", t->name);
    const ws_col *c = &t->col[t->filled % t->cols];
    if (!any && c->kind != kind) BUG("table %s: column %s is of another kind", t->name, c->key);
    return &t->cell[t->filled++];
}

void ws_table_text(ws_table *t, const char *text) { next(t, WS_CELL_TEXT, 0)->text = ws_xstrdup(text); }
void ws_table_none(ws_table *t, const char *why) { next(t, WS_CELL_TEXT, 1)->text = ws_xstrdup(why); }
void ws_table_num(ws_table *t, double v) {
    ws_cell *c = next(t, WS_CELL_NUM, 0);
    c->has = 1, c->v = v;
}
void ws_table_sd(ws_table *t, double v, double sd) {
    ws_cell *c = next(t, WS_CELL_SD, 0);
    c->has = 1, c->v = v, c->lo = sd;
}
void ws_table_ci(ws_table *t, double v, double lo, double hi) {
    ws_cell *c = next(t, WS_CELL_CI, 0);
    c->has = 1, c->v = v, c->lo = lo, c->hi = hi;
}

void ws_table_unranked(ws_table *t) {
    WS_ASSERT(t->rows > 0);
    t->unranked[t->rows - 1] = 1;
}

void ws_table_note(ws_table *t, const char *fmt, ...) {
    va_list ap;
    char *s = NULL;
    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0) BUG("out of memory");
    va_end(ap);
    for (int i = 0; i < t->notes; i++) { /* said once is enough */
        if (strcmp(t->note[i], s)) continue;
        free(s);
        return;
    }
    t->note = ws_xrealloc(t->note, (size_t)(t->notes + 1) * sizeof *t->note);
    t->note[t->notes++] = s;
}

void ws_table_no_best(ws_table *t, const char *why) {
    t->no_best = 1;
    ws_table_note(t, "Nothing is marked as best: %s", why);
}

const char *ws_table_name(const ws_table *t) { return t->name; }
const char *ws_table_caption(const ws_table *t) { return t->caption; }
int ws_table_rows(const ws_table *t) { return t->rows; }

static double key_of(ws_best rule, double v) {
    return rule == WS_BEST_MAX ? -v : rule == WS_BEST_NEAR_ZERO ? fabs(v) : v;
}

/* 1 when part 0 (the value) or part 1 (the spread) of a cell is the smallest of its column by the rule. */
int ws_table_is_best(const ws_table *t, int row, int col, int part) {
    const ws_col *c = &t->col[col];
    if (t->no_best || c->best == WS_BEST_NONE || c->kind == WS_CELL_TEXT || (part && c->kind != WS_CELL_SD)) return 0;
    ws_best rule = part ? WS_BEST_MIN : c->best;
    int rivals = 0;
    double least = INFINITY;
    for (int r = 0; r < t->rows; r++) {
        const ws_cell *e = &t->cell[r * t->cols + col];
        double v = part ? e->lo : e->v;
        if (t->unranked[r] || !e->has || !isfinite(v)) continue;
        rivals++;
        least = fmin(least, key_of(rule, v));
    }
    const ws_cell *e = &t->cell[row * t->cols + col];
    double v = part ? e->lo : e->v;
    return rivals >= 2 && !t->unranked[row] && e->has && isfinite(v) && key_of(rule, v) <= least;
}

static const char *const suffix[][3] = {
    [WS_CELL_TEXT] = {""}, [WS_CELL_NUM] = {""}, [WS_CELL_SD] = {"", "_std"}, [WS_CELL_CI] = {"", "_lo", "_hi"}};
static const int parts[] = {[WS_CELL_TEXT] = 1, [WS_CELL_NUM] = 1, [WS_CELL_SD] = 2, [WS_CELL_CI] = 3};

static double part_of(const ws_cell *c, int p) { return p == 0 ? c->v : p == 1 ? c->lo : c->hi; }

void ws_table_csv(const ws_table *t, ws_str *out) {
    for (int c = 0; c < t->cols; c++)
        for (int p = 0; p < parts[t->col[c].kind]; p++) {
            char *head = ws_sprintf("%s%s", t->col[c].key, suffix[t->col[c].kind][p]);
            if (c || p) ws_str_addc(out, ',');
            ws_csv_field(out, head);
            free(head);
        }
    ws_str_addc(out, '\n');
    for (int r = 0; r < t->rows; r++) {
        for (int c = 0; c < t->cols; c++) {
            const ws_cell *e = &t->cell[r * t->cols + c];
            for (int p = 0; p < parts[t->col[c].kind]; p++) {
                if (c || p) ws_str_addc(out, ',');
                if (t->col[c].kind == WS_CELL_TEXT)
                    ws_csv_field(out, e->text ? e->text : "");
                else if (e->has)
                    ws_csv_num(out, part_of(e, p));
            }
        }
        ws_str_addc(out, '\n');
    }
}

json_t *ws_table_json(const ws_table *t) {
    json_t *rows = json_array(), *notes = json_array();
    for (int r = 0; r < t->rows; r++) {
        json_t *o = json_object();
        for (int c = 0; c < t->cols; c++) {
            const ws_cell *e = &t->cell[r * t->cols + c];
            const ws_col *k = &t->col[c];
            for (int p = 0; p < parts[k->kind]; p++) {
                char *key = ws_sprintf("%s%s", k->key, suffix[k->kind][p]);
                double v = part_of(e, p);
                json_t *j = k->kind == WS_CELL_TEXT ? json_string(e->text ? e->text : "")
                            : e->has && isfinite(v) ? json_real(v)
                                                    : json_null();
                if (json_object_set_new(o, key, j)) BUG("table %s: %s is not UTF-8", t->name, key);
                free(key);
            }
        }
        json_array_append_new(rows, o);
    }
    for (int i = 0; i < t->notes; i++) json_array_append_new(notes, json_string(t->note[i]));
    return json_pack("{s:s, s:s, s:o, s:o}", "name", t->name, "caption", t->caption, "notes", notes, "rows", rows);
}
