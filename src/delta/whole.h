/* src/delta/whole.h - dW of whole checkpoints (or of anything beside one): theta_pos - theta_neg tensor by tensor, kept at a
 * rank or dense, written as a dW file.  Holds one matrix at a time, whatever the size of the models. */
#ifndef WS_DELTA_WHOLE_H
#define WS_DELTA_WHOLE_H
#include "delta/side.h"

typedef struct ws_whole_options {
    int64_t rank;   /* factors kept of every matrix, the best; 0: dense */
    ws_dtype dtype; /* of dense tensors: F32, BF16, F16 */
    ws_contrast_mode mode;
    const char *only; /* [model sites] 0: left out; NULL: every linear */
} ws_whole_options;

/* Squares of a kind of parameter: energy is the share of a sum of squares. */
typedef struct ws_whole_part {
    char *kind; /* "mlp.up_proj", "input_layernorm.weight" */
    int n;      /* matrices or vectors */
    int64_t ranks;
    double full, lost; /* ||change||^2, and what the file leaves out of it */
} ws_whole_part;
typedef struct ws_whole_report {
    ws_delta_info info;
    int n_kinds, n_left;
    ws_whole_part *kind, *left; /* of the linears and biases that dW holds; of what has no place in it */
    int64_t bytes;              /* of the file's tensors */
} ws_whole_report;
void ws_whole_report_free(ws_whole_report *r);
/* Share of all squares of the change that the file leaves out: of the kept linears, of everything. */
double ws_whole_lost(const ws_whole_report *r);
double ws_whole_left_out(const ws_whole_report *r);
/* {"rank", "dtype", "energy_lost", "energy_left_out", "kinds": [...], "left_out": [...]} */
json_t *ws_whole_json(const ws_whole_report *r, const ws_whole_options *o);

/* neg NULL: theta_pos - base.  `sources`: string -> string, into the metadata.  What the file cannot carry and what the rank
 * loses go into the metadata too ("rank", "energy_lost", "energy_left_out", "whole"). */
ws_status ws_whole_save(const ws_side *pos, const ws_side *neg, const ws_whole_options *o, const json_t *sources,
                        const char *path, ws_whole_report *r, ws_err *err);
#endif
