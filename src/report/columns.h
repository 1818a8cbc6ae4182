/* src/report/columns.h - texts side by side, wrapped into columns: what a model says at several strengths. */
#ifndef WS_REPORT_COLUMNS_H
#define WS_REPORT_COLUMNS_H
#include "base/str.h"
/* Append `n` texts as columns of equal width in `total` terminal columns, two spaces apart, under their headings (NULL:
 * no headings).  Lines break at spaces; a longer word is split between characters; line ends in a text are kept;
 * control characters become spaces. */
void ws_columns_print(ws_str *out, const char *const *heading, const char *const *text, int n, int total);
/* Append `text` wrapped to `width`, every line after `indent` spaces. */
void ws_wrap(ws_str *out, const char *text, int width, int indent);
#endif
