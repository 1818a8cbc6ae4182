/* src/run/measure.h - how fast this machine does a model's work, in the shapes of the stages, and in how much memory.
 * Model FLOPs: two for each weight of a product and token, attention's products at their true length, nothing that is
 * computed twice (recomputed blocks); training adds the way back through the blocks above the lowest adapted one. */
#ifndef WS_RUN_MEASURE_H
#define WS_RUN_MEASURE_H
#include "adapter/adapter.h"
#include "model/model.h"

typedef struct ws_measured {
    double seconds, first; /* of the fastest round, and of the first one, which reads weights and takes memory */
    int64_t tokens;        /* of a round */
    double flops;          /* model FLOPs of a round */
    double peak;           /* FLOP/s of the machine, measured before and after: the better of the two */
    int rounds;
    int rows;      /* sequences that ran at once */
    int recompute; /* training recomputed blocks */
    double bytes;  /* decode: weights that a step reads */
    double read;   /* decode: bytes/s that memory gives, measured before and after: the better of the two */
} ws_measured;

/* Bytes of this process: the most that was ever resident, and what is now, shared with files or its own. */
typedef struct ws_resident {
    int64_t most, file, own;
} ws_resident;
ws_resident ws_resident_now(void);

double ws_flops_token(const ws_model *m, int from_layer);          /* linears of the layers >= from_layer, one token */
double ws_flops_head(const ws_model *m);                           /* one row of logits */
double ws_bytes_step(const ws_model *m);                           /* of the linears and the head, as stored */
double ws_flops_mix(const ws_model *m, int from_layer, int64_t n); /* what mixes tokens, over a whole row of n */

/* Whole optimiser steps of one micro-batch: forward, loss on the last three quarters of each row, backward, AdamW. */
ws_status ws_measure_train(ws_measured *out, ws_model *m, const ws_adapter_config *a, int rows, int tokens, int rounds,
                           int64_t memory, ws_err *err);
/* Prompts read from the start, one row of logits each. */
ws_status ws_measure_prefill(ws_measured *out, ws_model *m, int rows, int tokens, int rounds, ws_err *err);
/* `tokens` answers' tokens for each of `rows` prompts of `context` tokens, through the continuous batch of ws_generate;
 * the time counts from the moment when every row speaks.  `prompts`: the reading before it.  Every row is steered by `patch`
 * (NULL: none) at a small strength of its own. */
ws_status ws_measure_decode(ws_measured *out, ws_measured *prompts, ws_model *m, int rows, int context, int tokens,
                            int rounds, ws_patch *patch, ws_err *err);
#endif
