/* src/train/plan.h - what a training run will cost, told before it starts. */
#ifndef WS_TRAIN_PLAN_H
#define WS_TRAIN_PLAN_H
#include "train/examples.h"
#include "train/optimiser.h"
#include "train/schedule.h"

typedef struct ws_train_cost {
    int64_t tokens, supervised; /* over all steps still to do, evaluations left out */
    int64_t eval_tokens;        /* of one evaluation */
    int64_t largest;            /* tokens of the largest micro-batch */
    ws_train_plan memory;       /* of that micro-batch */
    int64_t state;              /* bytes: adapter, gradients, moments, and the copy that checkpoints are written from */
    double seconds;             /* estimate from a measured matrix product; 0: not measured */
} ws_train_cost;

/* Bytes that this process may still take: MemAvailable and the cgroup's limit. */
int64_t ws_memory_free(void);
/* `from`: first step still to do.  budget 0: 3/5 of the free memory. */
ws_train_cost ws_train_cost_of(const ws_model *m, ws_adapter *a, const ws_examples *data, ws_schedule *s, int64_t from,
                               int64_t eval_every, int64_t budget);
#endif
