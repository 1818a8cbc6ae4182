/* src/base/background.h - one job beside the main thread: a file is written while the next step computes.
 * A job that cannot get a thread runs at once, in the caller's. */
#ifndef WS_BASE_BACKGROUND_H
#define WS_BASE_BACKGROUND_H
#include "base/err.h"
#include <pthread.h>

typedef ws_status (*ws_background_fn)(void *arg, ws_err *err);
typedef struct ws_background { /* a zeroed one is idle */
    pthread_t thread;
    int running;
    ws_background_fn fn;
    void *arg;
    ws_err err; /* of the last job, until somebody has heard of it */
} ws_background;

/* Only when idle: after ws_background_wait, or never started. */
void ws_background_start(ws_background *b, ws_background_fn fn, void *arg);
/* Waits for the job, if there is one; its error is returned once. */
ws_status ws_background_wait(ws_background *b, ws_err *err);
#endif
