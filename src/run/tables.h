/* src/run/tables.h - the tables of one or several runs (pipeline.md 7): what the numbers in their files say. */
#ifndef WS_RUN_TABLES_H
#define WS_RUN_TABLES_H
#include "report/table.h"
#include "run/results.h"

typedef struct ws_tables {
    int n;
    ws_table **t;
} ws_tables;
/* Those for which at least one run has figures, in reading order: dose, margin, headline effect, dlogit, dlogit of all
 * foundations, SI, bare model, calibration, data.  With several runs every row names its run.  Nothing is marked as best
 * where the vignette readout carries no signal, or where the runs differ in model or KL budget. */
ws_tables ws_tables_build(ws_results *const *run, int n_runs);
void ws_tables_add(ws_tables *all, ws_table *t); /* takes it */
/* A note under the table: protocol, base model and type of weights of the runs. */
void ws_tables_whose(ws_results *const *run, int n, ws_table *t);
void ws_tables_free(ws_tables *t);
/* 1: the readout carries signal in this evaluation; 0: it does not, and *sentence says why (a phrase without its full stop); -1: no vignettes were
 * asked. */
int ws_vignette_signal(const ws_method_results *m, const char **sentence);
#endif
