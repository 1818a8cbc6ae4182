/* src/train/saver.h - checkpoints written while the next step computes.
 *     step k done -> copy of values, moments, log -> [thread: tmp, fsync, rename]   step k+1: gradients, wait, optimiser
 * The wait stands before the next step counts as done, so a step that is done is never more than one interval away from
 * a checkpoint on disk.  A failed write is an error of that next step, or of the end. */
#ifndef WS_TRAIN_SAVER_H
#define WS_TRAIN_SAVER_H
#include "base/background.h"
#include "train/run.h"

typedef struct ws_saver { /* a zeroed one is idle */
    ws_background job;
    const char *dir;
    int64_t size; /* numbers in each of the three arrays */
    float *copy;  /* [3, size] values, m, v */
    double *log;  /* [step, WS_LOG_COLUMNS] */
    int64_t step, log_room;
    char hash[65];
} ws_saver;

/* Waits for the write before (whose error is returned), copies, and starts to write. */
ws_status ws_saver_start(ws_saver *s, const ws_train_run *r, ws_adapter *a, const ws_adamw *o, ws_err *err);
ws_status ws_saver_wait(ws_saver *s, ws_err *err); /* until nothing is being written */
void ws_saver_release(ws_saver *s);                /* waits too */
#endif
