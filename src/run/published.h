/* src/run/published.h - the figures that others have published, beside ours (docs/formats.md, data/published.csv).
 * They are of another program, another model or another protocol, so nothing is ranked between them. */
#ifndef WS_RUN_PUBLISHED_H
#define WS_RUN_PUBLISHED_H
#include "report/table.h"
#include "run/results.h"

/* The table `published`: a row for every cited one and, behind it, one for every method of the runs that has its name.
 * `path` NULL: the program's own data/published.csv. */
ws_status ws_published_table(ws_table **out, ws_results *const *run, int n_runs, const char *path, ws_err *err);
#endif
