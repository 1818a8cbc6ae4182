/* src/eval/answers.h - answers to the vignettes that stand in a file: our own vignettes_raw.jsonl, or what another program
 * computed (docs/formats.md, section Answers). */
#ifndef WS_EVAL_ANSWERS_H
#define WS_EVAL_ANSWERS_H
#include "io/json.h"

typedef struct ws_answered { /* of one setting; [0] of a file is the base */
    char *method;            /* "base" for the base */
    double alpha;            /* where the file gives an arm alone: 1 for plus, -1 for minus */
    double *p, *mass;        /* [4 * n_ids] p_true and answer mass, NaN where the file has none */
    int n;                   /* answers that it has */
} ws_answered;
typedef struct ws_answer_file {
    int n_ids, n;
    char *const *id; /* [n_ids] the caller's */
    ws_answered *s;
    json_t *at; /* id -> its place */
} ws_answer_file;

/* Begins a file without answers for these vignettes, which must outlive it; its base is there already. */
void ws_answer_file_begin(ws_answer_file *f, char *const *id, int n_ids);
/* Adds what a JSONL or CSV (by the file's name) says.  `frame`: the names of the two frames, of polarity +1 and -1.  An
 * unknown id, condition or frame, a number that is no probability, a cell answered twice: an error with the line. */
ws_status ws_answer_file_read(ws_answer_file *f, const char *path, const char *const frame[2], ws_err *err);
/* One answer; cell (vignette * 2 + condition) * 2 + frame.  1: it was not there before. */
int ws_answer_file_put(ws_answer_file *f, const char *method, double alpha, int cell, double p, double mass);
/* The place of a vignette; -1: unknown. */
int ws_answer_file_id(const ws_answer_file *f, const char *id);
/* other_violate is 0, self_violate 1; wrong or is_wrong 0, accept or is_acceptable 1; -1: neither. */
int ws_answer_cond(const char *text);
int ws_answer_frame(const char *text, const char *const frame[2]);
void ws_answer_file_free(ws_answer_file *f);
#endif
