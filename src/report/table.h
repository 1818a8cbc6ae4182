/* src/report/table.h - a table of results: columns, rows, notes, and which cell is best by a rule given per column.
 *     ... -> eval -> [table]
 * Knows no method and no foundation.  One table is printed on a terminal, as Markdown, HTML, CSV and JSON; the last two
 * carry every number in full, with mean and spread (or value and interval) as columns of their own. */
#ifndef WS_REPORT_TABLE_H
#define WS_REPORT_TABLE_H
#include "base/str.h"
#include <jansson.h>

typedef enum ws_cell_kind {
    WS_CELL_TEXT,
    WS_CELL_NUM, /* v */
    WS_CELL_SD,  /* v ± spread;      CSV: key, key_std */
    WS_CELL_CI   /* v [lo, hi];      CSV: key, key_lo, key_hi */
} ws_cell_kind;

/* What counts as best in a column.  A mark needs at least two competing rows; equal values share it. */
typedef enum ws_best { WS_BEST_NONE, WS_BEST_MAX, WS_BEST_MIN, WS_BEST_NEAR_ZERO } ws_best;

typedef struct ws_table ws_table;
ws_table *ws_table_new(const char *name, const char *caption); /* name: of its files, [a-z0-9_] */
void ws_table_free(ws_table *t);
/* `format`: printf format of one double ("%+.2f"); NULL for text.  `best` ranks the value; with WS_CELL_SD the smallest
 * spread is marked too unless best is WS_BEST_NONE. */
void ws_table_column(ws_table *t, const char *key, const char *title, ws_cell_kind kind, const char *format,
                     ws_best best);
void ws_table_row(ws_table *t); /* begins a row; its cells follow from left to right */
void ws_table_text(ws_table *t, const char *text);
void ws_table_num(ws_table *t, double v); /* NaN is printed as nan and never best */
void ws_table_sd(ws_table *t, double v, double sd);
void ws_table_ci(ws_table *t, double v, double lo, double hi);
void ws_table_none(ws_table *t, const char *why); /* no value: printed as `why`; empty in CSV, null in JSON */
void ws_table_unranked(ws_table *t);              /* the row begun last never competes (another protocol, a baseline) */
void ws_table_note(ws_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* a line below, once */
/* Marks nothing as best, and says why in a note. */
void ws_table_no_best(ws_table *t, const char *why);

const char *ws_table_name(const ws_table *t);
const char *ws_table_caption(const ws_table *t);
int ws_table_rows(const ws_table *t);

/* Append the table.  `bold`: the best stand in terminal bold; without it they carry a star. */
void ws_table_print(const ws_table *t, ws_str *out, int bold);
void ws_table_markdown(const ws_table *t, ws_str *out); /* caption as bold line, best in ** ** */
void ws_table_html(const ws_table *t, ws_str *out);
void ws_table_csv(const ws_table *t, ws_str *out);
json_t *ws_table_json(const ws_table *t); /* {"name","caption","notes":[],"rows":[{key: value}]}; NaN is null */

/* Columns that a UTF-8 text takes on a terminal. */
int ws_text_width(const char *s, size_t n);
/* Append with & < > " escaped. */
void ws_html_escape(ws_str *out, const char *s, size_t n);
#endif
