/* src/eval/batch.h - many texts under many settings in shared batches, beginnings computed once. */
#ifndef WS_EVAL_BATCH_H
#define WS_EVAL_BATCH_H
#include "eval/eval.h"

typedef struct ws_eval_row {
    int setting;
    const int32_t *ids; /* [n] */
    int n, n_out;       /* hidden states of the last n_out tokens are returned, n_out >= 1 */
} ws_eval_row;
/* Sequences that may stand at once: few where a sequence is dear by itself, whatever its length. */
int64_t ws_eval_sequences(const ws_eval *e);
/* Strength of e->patch[p] in a row of `method` (-1: base) at alpha. */
float ws_eval_alpha(const ws_eval *e, int method, double alpha, int p);
/* hidden [sum of n_out, d], rows in order.  Rows of one setting that begin alike share that beginning's keys and values;
 * no value depends on what else is in the call. */
ws_status ws_eval_rows(const ws_eval *e, const ws_eval_row *row, int n, float *hidden, ws_err *err);

/* The same where row i goes on from the tokens that seq[i] of `state` holds (-1: begins anew); the sequences are used up. */
ws_status ws_eval_rows_from(const ws_eval *e, ws_state *state, const ws_eval_row *row, const int *seq, int n,
                            float *hidden, ws_err *err);

/* Rows of fp32 logits -> log of the summed probability of each id set, [n] each. */
void ws_eval_answer(const ws_eval *e, const float *hidden, int64_t n, const int32_t *yes, int n_yes, const int32_t *no,
                    int n_no, double *logp_yes, double *logp_no);
#endif
