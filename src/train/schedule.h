/* src/train/schedule.h - which rows stand in which optimiser step, and its learning rate (adapters.md 4.2, 4.4, 4.5). */
#ifndef WS_TRAIN_SCHEDULE_H
#define WS_TRAIN_SCHEDULE_H
#include "base/err.h"
#include <stdint.h>

typedef struct ws_schedule {
    int64_t n_train, n_test;
    int64_t *train, *test; /* row numbers of the data set; the split keeps numpy's order */
    int batch, accum;
    int64_t batches;   /* micro-batches an epoch, the last one may be short */
    int64_t per_epoch; /* optimiser steps an epoch; groups never cross an epoch */
    int64_t total;     /* optimiser steps */
    int warmup;
    double lr;
    int shuffled;
    uint64_t seed;
    int64_t epoch, *order; /* the epoch that `order` is the permutation of */
} ws_schedule;

/* holdout: share of the n rows that is held out (0: none).  max_steps > 0 goes before epochs. */
ws_status ws_schedule_new(ws_schedule *s, int64_t n, double holdout, int shuffled, int batch, int accum, double epochs,
                          int64_t max_steps, double lr, int warmup, uint64_t seed, ws_err *err);
void ws_schedule_release(ws_schedule *s);
/* Rows of step k = 0, 1, ...: rows[0 .. returned), in micro-batches of `batch`.  Valid until the next call. */
int64_t ws_schedule_rows(ws_schedule *s, int64_t k, const int64_t **rows);
/* lr * k / warmup, then linear to 0 at `total`: step 0 has learning rate 0. */
double ws_schedule_lr(const ws_schedule *s, int64_t k);
#endif
