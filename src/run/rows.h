/* src/run/rows.h - the rows of a run: what is trained, calibrated and evaluated as one line of the tables.
 * `ws run` has one, an adapter.  `ws sweep` has one for every adapter and seed, and controls. */
#ifndef WS_RUN_ROWS_H
#define WS_RUN_ROWS_H
#include "adapter/adapter.h"

typedef enum ws_row_kind {
    WS_ROW_ADAPTER,
    WS_ROW_SHUFFLED, /* an adapter trained on pairs whose sides were mixed by a coin */
    WS_ROW_RANDOM    /* no training: random factors, at every site as long as another row's dW */
} ws_row_kind;
const char *ws_row_kind_name(ws_row_kind k); /* "adapter", "shuffled", "random" */

typedef struct ws_row_spec {
    char *name; /* its folder, and what tables call it: "lora", "lora-seed1", "random"; owned */
    ws_row_kind kind;
    ws_adapter_config adapter;
    uint64_t seed; /* of initial values and of the order of training; of the coin or the factors of a control */
    int of;        /* WS_ROW_RANDOM: the row whose norms it takes; else -1 */
} ws_row_spec;

typedef struct ws_rows {
    int n;
    ws_row_spec *row;
} ws_rows;
/* One row for every name in `adapters` ("lora,ia3"; NULL: all rooms) and every one of n_seeds seeds from `seed` on (the
 * further ones are called NAME-seed1, ...), then the `controls` ("random,shuffled", "none"; NULL: both), which take after
 * lora where it is among them, else after the first.  `base` has the options that all share.  WS_EUSAGE: an unknown or
 * repeated name. */
ws_status ws_rows_make(ws_rows *out, const char *adapters, const char *controls, int n_seeds, uint64_t seed,
                       const ws_adapter_config *base, ws_err *err);
void ws_rows_free(ws_rows *r);
#endif
