/* src/train/plan.h - what a training run will cost, told before it starts. */
#ifndef WS_TRAIN_PLAN_H
#define WS_TRAIN_PLAN_H
#include "train/examples.h"
#include "train/optimiser.h"
#include "train/schedule.h"

typedef struct ws_train_cost {
    int64_t tokens, supervised; /* over all steps still to do, evaluations left out */
    int64_t run;                /* of these tokens, that are computed: beginnings that rows of a step share, once */
    int64_t eval_tokens;        /* of one evaluation */
    int64_t pack, largest;      /* tokens that may run at once, and the most that do where memory allows */
    int64_t shared;             /* most tokens of the beginnings that the rows of one step share */
    ws_train_plan memory;       /* how they run, and what the largest part holds */
    int64_t rows, parts;        /* rows with labels, and the parts that they run in */
    int64_t part_tokens;        /* of the largest part */
    int64_t state;              /* bytes: adapter, gradients, moments, and the copy that checkpoints are written from */
    double seconds;             /* estimate from a measured matrix product; 0: not measured */
} ws_train_cost;

/* Bytes that this process may still take: MemAvailable and the cgroup's limit. */
int64_t ws_memory_free(void);
/* Of tensors, as they stand in the files: what the mapped model takes when all of it has been read. */
int64_t ws_weights_bytes(const ws_model *m);
/* What activations may take unless somebody says otherwise: half of the memory that is free beside the whole model, so that
 * its pages stay where they are and others have room too. */
int64_t ws_train_budget(const ws_model *m);
/* Tokens of a step's rows that run at once: those of a micro-batch, and more where it is small, because the products reach
 * the machine's rate from here on.  Gradients are sums in the order of the rows, so no bit hangs on it. */
int64_t ws_train_pack(int64_t micro_batch);
/* Rows of `row` (indices into `d`) with labels, as the model takes them; returns their number. */
int ws_train_rows(ws_train_row *out, const ws_examples *d, const int64_t *row, int64_t n, float weight);
/* `from`: first step still to do.  budget 0: ws_train_budget. */
ws_train_cost ws_train_cost_of(const ws_model *m, ws_adapter *a, const ws_examples *data, ws_schedule *s, int64_t from,
                               int64_t eval_every, int64_t budget);
#endif
