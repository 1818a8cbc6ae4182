/* src/report/html.h - one self-contained HTML page: headings, text, tables, inline SVG, texts side by side.
 * No script, nothing loaded from elsewhere. */
#ifndef WS_REPORT_HTML_H
#define WS_REPORT_HTML_H
#include "report/table.h"
void ws_html_open(ws_str *out, const char *title);
void ws_html_heading(ws_str *out, int level, const char *text);
void ws_html_paragraph(ws_str *out, const char *text);
void ws_html_note(ws_str *out, const char *text); /* set apart: what a reader must not miss */
/* The picture becomes part of the page; its ids get the prefix `p<number>-`, because several pictures share one page. */
void ws_html_svg(ws_str *out, const char *svg, size_t n, int number, const char *alt);
void ws_html_columns(ws_str *out, const char *const *heading, const char *const *text, int n);
void ws_html_close(ws_str *out);
#endif
