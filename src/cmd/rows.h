/* src/cmd/rows.h - the options that make several rows of one run: adapters, methods, controls, seeds. */
#ifndef WS_CMD_ROWS_H
#define WS_CMD_ROWS_H
#include "cmd/chain.h"

typedef struct ws_rows_args {
    const char *adapters, *methods, *controls;
    int seeds, pairs; /* 0: not given */
    int layers[2];    /* of the vectors; 0, 0: not given */
} ws_rows_args;
extern const struct argp ws_rows_argp;
/* The rows that were asked for, `adapters` where --adapters was not given (NULL: all).  WS_EUSAGE: an option of training means
 * nothing to any of them. */
ws_status ws_rows_args_make(const ws_rows_args *a, const char *adapters, const ws_train_args *train, uint64_t seed,
                            ws_rows *out, ws_err *err);
#endif
