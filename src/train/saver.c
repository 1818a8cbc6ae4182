#include "train/saver.h"
#include <stdlib.h>
#include <string.h>

static ws_status write_copy(void *arg, ws_err *err) {
    const ws_saver *s = arg;
    return ws_run_write_checkpoint(s->dir, s->hash, s->step, s->log, s->copy, s->copy + s->size, s->copy + 2 * s->size,
                                   s->size, err);
}

static ws_status room(ws_saver *s, const ws_train_run *r, int64_t size, ws_err *err) {
    if (!s->copy && !(s->copy = ws_try_alloc((size_t)size * 3, sizeof(float))))
        return ws_fail(err, WS_ENOMEM, "out of memory for the copy of %lld numbers that a checkpoint is written from",
                       (long long)size * 3);
    s->size = size;
    if (s->log_room < r->step) {
        s->log_room = 2 * r->step;
        s->log = ws_xrealloc(s->log, (size_t)s->log_room * WS_LOG_COLUMNS * sizeof *s->log);
    }
    return WS_OK;
}

ws_status ws_saver_start(ws_saver *s, const ws_train_run *r, ws_adapter *a, const ws_adamw *o, ws_err *err) {
    const size_t bytes = (size_t)o->size * sizeof(float);
    if (ws_saver_wait(s, err) || room(s, r, o->size, err)) return err->code;
    memcpy(s->copy, ws_adapter_values(a), bytes);
    memcpy(s->copy + o->size, o->m, bytes);
    memcpy(s->copy + 2 * o->size, o->v, bytes);
    if (r->step) memcpy(s->log, r->log, (size_t)r->step * WS_LOG_COLUMNS * sizeof *s->log);
    memcpy(s->hash, r->hash, sizeof s->hash);
    s->dir = r->dir, s->step = r->step;
    ws_background_start(&s->job, write_copy, s);
    return WS_OK;
}

ws_status ws_saver_wait(ws_saver *s, ws_err *err) { return ws_background_wait(&s->job, err); }

void ws_saver_release(ws_saver *s) {
    ws_saver_wait(s, NULL);
    free(s->copy);
    free(s->log);
    memset(s, 0, sizeof *s);
}
