/* src/run/rows.h - the rows of a run: what is calibrated and evaluated as one line of the tables.
 * `ws run` has one, an adapter.  `ws sweep`, and `ws run --methods`, have one for every adapter and seed, for hidden-state
 * methods and prompts, and controls. */
#ifndef WS_RUN_ROWS_H
#define WS_RUN_ROWS_H
#include "adapter/adapter.h"

typedef enum ws_row_kind {
    WS_ROW_ADAPTER,
    WS_ROW_SHUFFLED,      /* an adapter trained on pairs whose sides were mixed by a coin */
    WS_ROW_RANDOM,        /* no training: random factors, at every site as long as another row's dW */
    WS_ROW_VECTOR,        /* a hidden-state method */
    WS_ROW_RANDOM_VECTOR, /* the one among them whose direction is random: their control */
    WS_ROW_PROMPT         /* a system prompt, at strength 1 */
} ws_row_kind;
const char *ws_row_kind_name(ws_row_kind k); /* "adapter", "shuffled", "random", "vector", "random_vector", "prompt" */
static inline int ws_row_trains(ws_row_kind k) { return k == WS_ROW_ADAPTER || k == WS_ROW_SHUFFLED; }
static inline int ws_row_is_vector(ws_row_kind k) { return k == WS_ROW_VECTOR || k == WS_ROW_RANDOM_VECTOR; }

/* The row that others are set against: first of the adapters, length of the random dW, subject of the three questions. */
#define WS_ROW_REFERENCE "lora"

typedef struct ws_row_spec {
    char *name; /* its folder, and what tables call it: "lora", "lora-seed1", "random", "mean_diff"; owned */
    ws_row_kind kind;
    ws_adapter_config adapter;
    uint64_t seed; /* of initial values and of the order of training; of the coin or the factors of a control */
    int of;        /* WS_ROW_RANDOM: the row whose norms it takes; else -1 */
} ws_row_spec;

typedef struct ws_rows {
    int n;
    ws_row_spec *row;
} ws_rows;

typedef struct ws_rows_options {
    const char *adapters; /* "lora,ia3"; NULL: all rooms; "": none but those among the methods */
    const char *methods;  /* hidden-state methods, prompts and adapters, "all" of them; NULL: none */
    const char *controls; /* "random,shuffled", "none"; NULL: both where an adapter is trained */
    int n_seeds;          /* of every adapter; the further ones are called NAME-seed1, ... */
    uint64_t seed;
    const ws_adapter_config *base; /* options that all adapters share */
} ws_rows_options;
/* The controls take after lora where it is among the rows, else after the first adapter.  WS_EUSAGE: an unknown or repeated
 * name. */
ws_status ws_rows_make(ws_rows *out, const ws_rows_options *o, ws_err *err);
void ws_rows_free(ws_rows *r);
#endif
