/* src/run/speed.h - how long the stages will take: model FLOPs over rates that are measured in a few seconds. */
#ifndef WS_RUN_SPEED_H
#define WS_RUN_SPEED_H
#include "model/model.h"

/* One step of R rows that each write one token takes `step` + R * `row` seconds: the weights are read once, whatever R is,
 * and every row has its products. */
typedef struct ws_speed {
    double flops_token; /* of one token through the blocks: 2 x weights of the linears */
    double flops_head;  /* of one row of logits */
    double prefill;     /* FLOP/s of long rows */
    double step, row;   /* seconds, logits included */
    double peak;        /* FLOP/s of fused multiply-adds, all threads; 0: not measured */
} ws_speed;
/* Some seconds even on large models: fewer tokens are timed there. */
ws_status ws_speed_measure(ws_speed *s, ws_model *m, ws_err *err);
/* Nothing takes any time: where only sizes are wanted. */
ws_speed ws_speed_none(const ws_model *m);
/* The same model where arithmetic is `compute` times and reading memory `memory` times as fast. */
ws_speed ws_speed_scaled(const ws_speed *s, double compute, double memory);

double ws_speed_prefill(const ws_speed *s, double tokens, double logits); /* seconds */
/* Seconds of `tokens` new tokens with `rows` being written at once. */
double ws_speed_decode(const ws_speed *s, double tokens, double rows);
/* A training pass over `tokens`, `supervised` of them in the loss: forward, backward through the share `above` of the
 * blocks, those once more forward where they are recomputed, and an adapter of `floats` numbers beside them. */
double ws_speed_train(const ws_speed *s, double tokens, double supervised, double above, int recompute, double floats);
#endif
