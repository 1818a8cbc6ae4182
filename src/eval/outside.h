/* src/eval/outside.h - the vignette tables from answers that were computed elsewhere: no model, no text, only numbers. */
#ifndef WS_EVAL_OUTSIDE_H
#define WS_EVAL_OUTSIDE_H
#include "eval/answers.h"
#include "eval/eval.h"
#include "eval/vigset.h"

typedef struct ws_outside {
    const ws_vigset *set;
    const ws_behavior *behavior; /* NULL: Authority -1 */
    const char *model;           /* what the answers are said to be of; NULL: "unknown" */
    const char *method;          /* this method alone; NULL: all of them */
} ws_outside;
/* Tables of every method of the file against its base, with the options floor, k, loading_weighted, bootstrap, seed and
 * protocol.  o->out NULL: nothing is written; else the files of the readout vignettes (docs/formats.md) and the answers as
 * vignettes_raw.jsonl.  `report` and `json` as of ws_eval_run, either may be NULL. */
ws_status ws_outside_tables(const ws_answer_file *f, const ws_outside *w, const ws_eval_options *o, ws_str *report,
                            json_t **json, ws_err *err);
/* Reads one of steering-lite's <method>.json with the bare.json beside it (pipeline.md 7): the base, and C at plus and -C at
 * minus, where the file has them; without raw_pmass (its first sweeps, and where it is empty) no answer has a mass.
 * WS_EUNSUPPORTED: its sweep scored another probe (raw_logratios). */
ws_status ws_answer_file_sl(ws_answer_file *f, const char *path, ws_err *err);
/* The strength, above 0, of an arm (`pos`, `neg`, or the whole): its coeff, else calibrated_C, coeff_calibrated (the first
 * sweeps) or coeff_raw (repeng, uncalibrated) of the whole; NaN: the file has none (a prompt). */
double ws_sl_strength(const json_t *arm, const json_t *whole);
/* Loads a JSON as Python writes it: NaN and Infinity, which JSON does not have, are null. */
ws_status ws_sl_load(json_t **out, const char *path, ws_err *err);
/* The same names everywhere: "mean_diff" of DIR/mean_diff.json; the caller frees. */
char *ws_sl_method(const char *path);
#endif
