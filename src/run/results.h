/* src/run/results.h - what one run directory holds, read for the report: manifest, calibration, training logs, and the
 * evaluation of every method (each folder below it with an eval.json).  docs/formats.md has the columns.
 *     RUN/manifest.json  RUN/kl_calibration/  RUN/<method>/{eval.json, *.csv, samples.jsonl}
 *     RUN/<method>/kl_calibration/     of a sweep, whose rows are calibrated one by one
 *     RUN/<adapter>/{pos,neg}/log.csv
 * Columns that a table needs are checked here, so an incomplete file is an error that
 * names file and column. */
#ifndef WS_RUN_RESULTS_H
#define WS_RUN_RESULTS_H
#include "io/csv.h"
#include "io/json.h"

typedef struct ws_sheet { /* a CSV file; csv.rows is 0 where the file is missing */
    char *path;
    ws_csv csv;
} ws_sheet;
double ws_sheet_num(const ws_sheet *s, int row, const char *col); /* NaN where the field is empty or no number */
const char *ws_sheet_text(const ws_sheet *s, int row, const char *col);

typedef struct ws_answer { /* one text of the dose readout */
    char *prompt, *text;
    int topic, sample;
    double alpha, dose, score;
} ws_answer;

typedef struct ws_method_results {
    char *name, *dir;
    json_t *eval; /* eval.json */
    ws_sheet readout, foundations, dlogit, si, effect, thinking, margin, dose, canaries;
    ws_sheet log[2]; /* training of the POS and the NEG side */
    int n_samples;
    ws_answer *sample;
} ws_method_results;

/* A row of a sweep as the manifest tells it: also one that failed before it could be evaluated. */
typedef struct ws_row_results {
    char *name, *kind, *adapter; /* kind: "adapter", "shuffled", "random"; adapter NULL: none was trained */
    int64_t seed;
    char *failed, *error;          /* stage and message; NULL: it did not fail */
    double train, calibrate, eval; /* seconds of its stages; NaN: not done */
    double peak;                   /* bytes, while it was trained */
    double parameters, length;     /* numbers trained on each side; ||dW|| / ||W||; NaN: not known */
    int method;                    /* index into m; -1: not evaluated */
    int n_layers;                  /* of dW; 0: none, or an earlier version wrote diff.json */
    int *layer;                    /* [n_layers] */
    double *layer_share;           /* [n_layers] of ||dW||^2 */
} ws_row_results;

typedef struct ws_results {
    char *dir, *name;
    json_t *manifest; /* NULL: none */
    json_t *data;     /* report.json of the pairs, beside the run: ../data/<model>/<behavior>/; NULL: none */
    ws_sheet summary, audit, history;
    int n;
    ws_method_results *m;
    ws_str notes; /* what the tables should say of this run, a line each */
    int n_rows;   /* of a sweep; 0: a run */
    ws_row_results *row;
} ws_results;
/* WS_EIO when `dir` is no folder, WS_EFORMAT when nothing in it can be reported. */
ws_status ws_results_load(ws_results **out, const char *dir, ws_err *err);
/* steering-lite's folder (bare.json, <method>.json; pipeline.md 7) as a run: dlogit, bare model and strengths from its
 * figures, and, where `vignettes` says which (NULL: not), SI from its raw answers.  What is refused stands in r->notes.
 * (results_sl.c) */
int ws_results_is_sl(const char *dir);
ws_status ws_results_load_sl(ws_results **out, const char *dir, const char *vignettes, ws_err *err);
void ws_results_free(ws_results *r);

/* From the manifest, else from the first eval.json, else "?" (behaviour: the folder's name). */
const char *ws_results_model(const ws_results *r);
const char *ws_results_model_hash(const ws_results *r);
const char *ws_results_weights(const ws_results *r);  /* type of most weights, "BF16"; "?" where it was not recorded */
const char *ws_results_protocol(const ws_results *r); /* "ours" where nothing else was asked for */
/* The KL budget that a method was calibrated to; NaN: unknown.  method NULL: of the first one. */
double ws_results_budget(const ws_results *r, const char *method);
const char *ws_results_behavior(const ws_results *r);
/* Fills row from the manifest (results_rows.c). */
ws_status ws_results_rows(ws_results *r, ws_err *err);
void ws_results_rows_free(ws_results *r);

/* The row of `arm` (plus, minus, base) in a sheet with an `arm` column; -1: none.  method NULL: any. */
int ws_sheet_arm(const ws_sheet *s, const char *method, const char *arm);
#endif
