/* src/report/table_impl.h - the inside of ws_table, for the files that print one. */
#ifndef WS_REPORT_TABLE_IMPL_H
#define WS_REPORT_TABLE_IMPL_H
#include "report/table.h"

typedef struct ws_col {
    char *key, *title, *format;
    ws_cell_kind kind;
    ws_best best;
} ws_col;
typedef struct ws_cell {
    char *text; /* of a text cell, or why there is no value */
    int has;    /* a number stands here */
    double v, lo, hi;
} ws_cell;
struct ws_table {
    char *name, *caption;
    int cols, rows, filled; /* filled: cells given so far */
    ws_col *col;
    ws_cell *cell; /* [rows, cols] */
    unsigned char *unranked;
    int no_best;
    char **note;
    int notes;
};
int ws_table_is_best(const ws_table *t, int row, int col, int part); /* part 0: the value, 1: the spread */
#endif
