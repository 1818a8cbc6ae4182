/* src/train/schedule.c - split, order, groups, learning rate. */
#include "train/schedule.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

ws_status ws_schedule_new(ws_schedule *s, int64_t n, double holdout, int shuffled, int batch, int accum, double epochs,
                          int64_t max_steps, double lr, int warmup, uint64_t seed, ws_err *err) {
    memset(s, 0, sizeof *s);
    if (n < 1) return ws_fail(err, WS_EUSAGE, "there are no rows to train on");
    if (!(holdout >= 0 && holdout < 1))
        return ws_fail(err, WS_EUSAGE, "--holdout %g: must be from 0 to below 1", holdout);
    if (batch < 1 || accum < 1) return ws_fail(err, WS_EUSAGE, "--batch and --accum must be from 1");
    if (warmup < 0) return ws_fail(err, WS_EUSAGE, "--warmup %d: must not be negative", warmup);
    if (max_steps <= 0 && !(epochs > 0 && epochs < 1e6))
        return ws_fail(err, WS_EUSAGE, "--epochs %g: must be above 0", epochs);
    int64_t n_test = (int64_t)ceil(holdout * (double)n), n_train = n - n_test;
    if (n_train < 1)
        return ws_fail(err, WS_EUSAGE, "--holdout %g leaves none of the %lld rows to train on", holdout, (long long)n);
    int64_t *p = ws_xmalloc((size_t)n * sizeof *p);
    if (n_test)
        ws_numpy_permutation(p, n, seed);
    else
        for (int64_t i = 0; i < n; i++) p[i] = i;
    s->test = ws_xmalloc((size_t)n_test * sizeof *p), s->train = ws_xmalloc((size_t)n_train * sizeof *p);
    s->order = ws_xmalloc((size_t)n_train * sizeof *p);
    memcpy(s->test, p, (size_t)n_test * sizeof *p);
    memcpy(s->train, p + n_test, (size_t)n_train * sizeof *p);
    free(p);
    s->n_train = n_train, s->n_test = n_test, s->batch = batch, s->accum = accum;
    s->batches = (n_train + batch - 1) / batch;
    s->per_epoch = (s->batches + accum - 1) / accum;
    s->total = max_steps > 0 ? max_steps : (int64_t)ceil(epochs * (double)s->per_epoch);
    s->warmup = warmup, s->lr = lr, s->shuffled = shuffled, s->seed = seed, s->epoch = -1;
    return WS_OK;
}

void ws_schedule_release(ws_schedule *s) {
    free(s->train), free(s->test), free(s->order);
    memset(s, 0, sizeof *s);
}

int64_t ws_schedule_rows(ws_schedule *s, int64_t k, const int64_t **rows) {
    int64_t epoch = k / s->per_epoch, from = k % s->per_epoch * s->accum * s->batch,
            to = from + (int64_t)s->accum * s->batch;
    if (epoch != s->epoch) {
        if (s->shuffled) ws_torch_randperm(s->order, s->n_train, s->seed + (uint64_t)epoch);
        for (int64_t i = 0; i < s->n_train; i++) s->order[i] = s->train[s->shuffled ? s->order[i] : i];
        s->epoch = epoch;
    }
    *rows = s->order + from;
    return (to < s->n_train ? to : s->n_train) - from;
}

double ws_schedule_lr(const ws_schedule *s, int64_t k) {
    if (k < s->warmup) return s->lr * ((double)k / (double)s->warmup);
    double left = (double)(s->total - k), span = (double)(s->total - s->warmup > 1 ? s->total - s->warmup : 1);
    return s->lr * (left > 0 ? left / span : 0);
}
