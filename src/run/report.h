/* src/run/report.h - the report of a run: tables, plots, samples, verdict; into a folder and as text.
 *     DIR/report.md report.html samples.md   DIR/<table>.csv .json   DIR/<plot>.png .svg
 * The same results give the same bytes. */
#ifndef WS_RUN_REPORT_H
#define WS_RUN_REPORT_H
#include "base/str.h"
#include "run/results.h"
ws_status ws_report_write(const ws_results *r, const char *dir, ws_err *err);
/* Names of the files that ws_report_write makes for these results, appended with `add(arg, path)`. */
void ws_report_files(const ws_results *r, const char *dir, void (*add)(void *arg, const char *path), void *arg);
/* What a terminal shows at the end of a run: samples side by side, tables, where the plots are. */
void ws_report_print(const ws_results *r, int width, int bold, ws_str *out);
#endif
