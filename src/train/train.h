/* src/train/train.h - one side's training run in a directory: starts, resumes, or finds itself finished.
 *     examples -> micro-batches -> gradients -> AdamW -> adapter       adapters.md 4
 * DIR/ adapter_config.json, adapter_model.safetensors   the result (PEFT)
 *      log.csv, train.json                              a row per optimiser step; configuration and result
 *      checkpoint.safetensors                           while unfinished: values, moments, log
 * The rows of a micro-batch run packed in one pass, or in parts of whole rows where memory is short, and micro-batches are
 * added up in order: neither threads nor memory change a bit, and recomputing blocks does not either. */
#ifndef WS_TRAIN_TRAIN_H
#define WS_TRAIN_TRAIN_H
#include "train/plan.h"

typedef struct ws_train_options {
    ws_adapter_config adapter;
    const char *init;          /* PEFT directory to start from instead of fresh values; NULL: none */
    int batch, accum;          /* 4 sequences a micro-batch, 4 micro-batches a step */
    double epochs;             /* 1 */
    int64_t max_steps;         /* 0: from epochs */
    double lr;                 /* 2e-4 */
    int warmup;                /* 5 steps */
    double weight_decay, clip; /* 0.01, 1 */
    double holdout;            /* 0.1 */
    int shuffled;              /* 1; 0: rows in file order */
    uint64_t seed;
    int64_t eval_every, save_every; /* steps: 10, 10; 0: only at the end / by time */
    double save_seconds;            /* a checkpoint at least this often: 30 */
    int64_t memory;                 /* bytes for activations, 0: ws_train_budget */
    int force;                      /* --init of another base */
    int fresh;                      /* forget what is in `out` */
    const char *out;
} ws_train_options;

typedef struct ws_train_result {
    int up_to_date;         /* nothing was done: the finished run is there */
    int64_t resumed;        /* steps taken over from a checkpoint */
    int64_t steps, tokens;  /* of the whole run */
    double loss, eval_loss; /* mean over all steps; last evaluation (NaN: none) */
    double seconds;         /* of this call's training loop */
    int64_t seconds_tokens; /* tokens trained on in that time */
} ws_train_result;

void ws_train_defaults(ws_train_options *o);
/* WS_EINTERRUPTED after SIGINT or SIGTERM: everything finished is in the checkpoint, the same call goes on from there.
 * WS_ESTATE: another configuration lives in `out`.  WS_ENONFINITE names step and tensor; the last checkpoint stays. */
ws_status ws_train(ws_model *m, const ws_examples *data, const ws_train_options *o, ws_train_result *r, ws_err *err);

/* Mean of a micro-batch's token losses, weighted by its number of sequences (adapters.md 4.6): the Trainer's eval_loss over
 * rows[0..n) in micro-batches of `batch`.  NaN when no row has a supervised token. */
ws_status ws_train_evaluate(ws_model *m, const ws_examples *data, const int64_t *rows, int64_t n, int batch,
                            ws_patch *const *patch, int n_patches, double *loss, ws_err *err);
#endif
