/* src/run/tables_shape.c - rows and columns of a table from sheets. */
#include "calibrate/calibrate.h"
#include "run/tables_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ws_tables_add(ws_tables *all, ws_table *t) {
    all->t = ws_xrealloc(all->t, (size_t)(all->n + 1) * sizeof *all->t);
    all->t[all->n++] = t;
}

void ws_tab_keep(ws_tables *all, ws_table *t) {
    if (!ws_table_rows(t)) {
        ws_table_free(t);
        return;
    }
    ws_tables_add(all, t);
}

void ws_tab_begin(const ws_show *s, ws_table *t, const char *first_key, const char *first_title) {
    if (s->n > 1) ws_table_column(t, "run", "run", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, first_key, first_title, WS_CELL_TEXT, NULL, WS_BEST_NONE);
}
void ws_tab_row(const ws_show *s, ws_table *t, const ws_results *r, const char *first) {
    ws_table_row(t);
    if (s->n > 1) ws_table_text(t, r->name);
    size_t name = strcspn(first, " "); /* "lora at +4.10" */
    char *method = ws_xstrndup(first, name);
    double budget = ws_results_budget(r, method);
    if (!isnan(budget) && !isnan(s->budget) && budget != s->budget) {
        char *marked = ws_sprintf("%s (KL budget %g)", first, budget);
        ws_table_text(t, marked);
        ws_table_unranked(t);
        free(marked);
    } else
        ws_table_text(t, first);
    free(method);
}
void ws_tab_ci(ws_table *t, const ws_sheet *s, int r, const char *v, const char *lo, const char *hi) {
    ws_table_ci(t, ws_sheet_num(s, r, v), ws_sheet_num(s, r, lo), ws_sheet_num(s, r, hi));
}
void ws_tab_num(ws_table *t, const ws_sheet *s, int r, const char *v) { ws_table_num(t, ws_sheet_num(s, r, v)); }

void ws_tab_columns(ws_table *t, const ws_column *c, int n) {
    for (int i = 0; i < n; i++) ws_table_column(t, c[i].key, c[i].title, c[i].kind, c[i].format, c[i].best);
}

void ws_tab_cells(ws_table *t, const ws_column *c, int n, const ws_sheet *s, int r) {
    for (; n; n--, c++) {
        char lo[64], hi[64];
        snprintf(lo, sizeof lo, "%s_%s", c->key, c->kind == WS_CELL_SD ? "std" : "lo");
        snprintf(hi, sizeof hi, "%s_hi", c->key);
        if (c->steered && ws_sheet_num(s, r, "alpha") == 0)
            ws_table_none(t, "");
        else if (c->kind == WS_CELL_CI)
            ws_tab_ci(t, s, r, c->key, c->lo ? c->lo : lo, c->hi ? c->hi : hi);
        else if (c->kind == WS_CELL_SD)
            ws_table_sd(t, ws_sheet_num(s, r, c->key), ws_sheet_num(s, r, c->lo ? c->lo : lo));
        else if (c->optional && ws_csv_col(&s->csv, c->key) < 0)
            ws_table_num(t, (double)NAN);
        else if (c->kind == WS_CELL_NUM)
            ws_tab_num(t, s, r, c->key);
        else
            ws_table_text(t, ws_sheet_text(s, r, c->key));
    }
}

void ws_tab_mirrored(const ws_show *s, ws_table *t) {
    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < s->run[i]->summary.csv.rows; k++)
            if (!strcmp(ws_sheet_text(&s->run[i]->summary, k, "status_neg"), WS_CALIBRATE_MIRRORED)) {
                ws_table_note(
                    t, "mirrored: by this protocol +alpha alone is calibrated and -alpha taken at the same size, "
                       "so its p95 is what it is.");
                return;
            }
}

char *ws_tab_setting(const ws_sheet *s, int r) {
    double a = ws_sheet_num(s, r, "alpha");
    if (a == 0) return ws_xstrdup("base");
    return ws_sprintf("%s at %+.3g", ws_sheet_text(s, r, "method"), a);
}

/* Row numbers by ascending alpha: from the NEG end over the base to the POS end; the caller frees. */
static int *by_alpha(const ws_sheet *s) {
    int *order = ws_xcalloc((size_t)s->csv.rows + 1, sizeof *order);
    for (int i = 0; i < s->csv.rows; i++) {
        int j = i;
        for (; j > 0 && ws_sheet_num(s, order[j - 1], "alpha") > ws_sheet_num(s, i, "alpha"); j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    return order;
}

void ws_tab_settings(const ws_show *s, ws_table *t, const ws_results *r, const ws_sheet *from, const ws_column *c,
                     int n) {
    int *order = by_alpha(from);
    /* the rows of a sweep share the base's answers: they stand in the first row's lines alone */
    int shared = r->n_rows && (const char *)from >= (const char *)&r->m[1];
    for (int k = 0; k < from->csv.rows; k++) {
        if (shared && ws_sheet_num(from, order[k], "alpha") == 0) continue;
        char *name = ws_tab_setting(from, order[k]);
        ws_tab_row(s, t, r, name);
        free(name);
        ws_tab_cells(t, c, n, from, order[k]);
    }
    free(order);
}
