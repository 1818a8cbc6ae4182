/* src/io/csv.h - RFC 4180, header required, UTF-8, LF on output. */
#ifndef WS_IO_CSV_H
#define WS_IO_CSV_H
#include "io/file.h"
typedef struct ws_csv {
    int cols, rows;
    char **head; /* [cols] */
    char **cell; /* [rows * cols] */
    long *line;  /* [rows] where each begins in its file, from 1 */
} ws_csv;
/* Every row must have `cols` fields: the error names the line. */
ws_status ws_csv_load(ws_csv *c, const char *path, ws_err *err);
/* The same of a text; `name` stands for the path in errors. */
ws_status ws_csv_parse(ws_csv *c, const char *text, size_t n, const char *name, ws_err *err);
void ws_csv_free(ws_csv *c);
/* Moves the rows of `from` behind those of `to`; 0, and nothing is moved, where their columns differ. */
int ws_csv_append(ws_csv *to, ws_csv *from);
int ws_csv_col(const ws_csv *c, const char *name); /* -1: none */
void ws_csv_field(ws_str *out, const char *text);  /* quoted when needed */
void ws_csv_num(ws_str *out, double v);            /* shortest text that reads back; NaN is "nan", like Python */
#endif
