/* src/cmd/figures.h - what a verb that measures leaves: tables on stdout or as JSON, and with --out DIR a CSV and JSON file a
 * table and a PNG and SVG file a plot. */
#ifndef WS_CMD_FIGURES_H
#define WS_CMD_FIGURES_H
#include "report/plot.h"
#include "report/table.h"

/* Tables one after the other, for people or as one JSON array. */
void ws_figures_print(ws_table *const *t, int n, int json);
/* DIR/<name>.csv and .json of each table. */
ws_status ws_figures_tables(const char *dir, ws_table *const *t, int n, ws_err *err);
/* DIR/<name>.png and .svg; nothing where no point is finite. */
ws_status ws_figures_plot(const char *dir, const char *name, const ws_plot *p, ws_err *err);
#endif
