/* src/cmd/chain.h - what `ws run` and `ws sweep` have in common: the options of all stages, the plan, the run, the report. */
#ifndef WS_CMD_CHAIN_H
#define WS_CMD_CHAIN_H
#include "cmd/cmd.h"
#include "cmd/stages.h"
#include "run/rows.h"

typedef struct ws_chain_verb {
    const char *doc;
    const struct argp *own; /* options of this verb alone, or NULL; `input` is theirs */
    void *input;
    const char *const *not_train; /* training options that this verb does not have */
    /* Makes the rows from `input` and the training options; NULL, or no rows made: one row, the training options' adapter. */
    ws_status (*rows)(void *input, const ws_train_args *train, uint64_t seed, ws_rows *out, ws_err *err);
    /* Of the extraction, set while options are parsed: persona pairs, layers [2]; 0: as `ws extract`. */
    const int *pairs, *layers;
} ws_chain_verb;
/* Parses, runs and shows.  WS_ESTATE when rows of a sweep failed: the report of the others stands. */
ws_status ws_chain(int argc, char **argv, const ws_chain_verb *v, ws_err *err);
#endif
