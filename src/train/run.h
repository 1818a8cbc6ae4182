/* src/train/run.h - the directory of a training run: what stands in it, and how it is taken up again. */
#ifndef WS_TRAIN_RUN_H
#define WS_TRAIN_RUN_H
#include "train/train.h"
#include <jansson.h>

enum { WS_LOG_COLUMNS = 7 }; /* step, epoch, loss, grad_norm, lr, tokens, eval_loss (NaN: not evaluated) */

typedef struct ws_train_run {
    const char *dir;
    json_t *config;
    char hash[65]; /* of config */
    int64_t step;  /* steps done */
    double *log;   /* [step, WS_LOG_COLUMNS] */
} ws_train_run;

typedef enum ws_run_state { WS_RUN_NEW, WS_RUN_RESUMES, WS_RUN_DONE } ws_run_state;

json_t *ws_train_config(const ws_model *m, const ws_examples *data, const ws_train_options *o, const char *init_hash);
/* Looks into dir; config is stolen.  WS_ESTATE when another configuration is there and fresh is not set. */
ws_status ws_run_open(ws_train_run *r, const char *dir, json_t *config, int fresh, ws_run_state *state,
                      ws_train_result *done, ws_err *err);
void ws_run_release(ws_train_run *r);
/* Loads values, moments and log of the checkpoint. */
ws_status ws_run_restore(ws_train_run *r, ws_adapter *a, ws_adamw *o, ws_err *err);
/* checkpoint.safetensors: values and moments [n], log [step, WS_LOG_COLUMNS].  saver.h calls it. */
ws_status ws_run_write_checkpoint(const char *dir, const char hash[65], int64_t step, const double *log,
                                  const float *values, const float *m, const float *v, int64_t n, ws_err *err);
void ws_run_log(ws_train_run *r, const double row[WS_LOG_COLUMNS]); /* adds a row and counts the step */
void ws_run_log_line(const double row[WS_LOG_COLUMNS], ws_str *out);
ws_status ws_run_write_log(const ws_train_run *r, ws_err *err); /* log.csv as far as `log` goes */
/* train.json, with the modules that `a` is on; result NULL: running. */
ws_status ws_run_note(const ws_train_run *r, const ws_adapter *a, const ws_train_result *result, ws_err *err);
void ws_run_drop_checkpoint(const ws_train_run *r);
#endif
