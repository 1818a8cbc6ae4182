#include "base/background.h"
#include <signal.h>

static void *run(void *arg) {
    ws_background *b = arg;
    b->err.code = WS_OK;
    b->fn(b->arg, &b->err);
    return NULL;
}

void ws_background_start(ws_background *b, ws_background_fn fn, void *arg) {
    WS_ASSERT(!b->running && !b->err.code);
    b->fn = fn, b->arg = arg;
    /* signals are for the main thread: a write here is not cut short by Ctrl-C */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    b->running = !pthread_create(&b->thread, NULL, run, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!b->running) run(b);
}

ws_status ws_background_wait(ws_background *b, ws_err *err) {
    if (b->running) pthread_join(b->thread, NULL);
    b->running = 0;
    ws_status st = b->err.code;
    if (st && err) *err = b->err;
    b->err.code = WS_OK;
    return st;
}
