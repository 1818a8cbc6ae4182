/* src/run/compare.h - runs against one another: the paired differences of the methods that they share, what differs in how
 * they were made, and what cannot be compared, with the reason (docs/formats.md, section Comparison). */
#ifndef WS_RUN_COMPARE_H
#define WS_RUN_COMPARE_H
#include "run/tables.h"

typedef struct ws_compare_runs_options {
    int mark;         /* 1: another base, protocol or KL budget is marked instead of refused */
    const char *rows; /* "lora,mean_diff": these methods alone; NULL: all that two runs share */
} ws_compare_runs_options;
/* Appends the tables `compare` (every further run against the first), `differs` and, where something was left out,
 * `not_compared`.  WS_ESTATE: the runs cannot be compared at all; WS_EUSAGE: they share no method. */
ws_status ws_compare_runs(ws_results *const *run, int n, const ws_compare_runs_options *o, ws_tables *all, ws_err *err);
#endif
