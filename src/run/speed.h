/* src/run/speed.h - how long the stages will take: model FLOPs divided by a rate that is measured in a second. */
#ifndef WS_RUN_SPEED_H
#define WS_RUN_SPEED_H
#include "model/model.h"

typedef struct ws_speed {
    double flops_token; /* of one token through the blocks: 2 x weights of the linears */
    double flops_head;  /* of one row of logits */
    double prefill;     /* FLOP/s of long rows */
    double decode;      /* FLOP/s of many rows of one token, logits included */
} ws_speed;
/* At most a second or two even on large models: fewer tokens are timed there. */
ws_status ws_speed_measure(ws_speed *s, ws_model *m, ws_err *err);
double ws_speed_prefill(const ws_speed *s, double tokens, double logits); /* seconds */
double ws_speed_decode(const ws_speed *s, double tokens);                 /* seconds; a row of logits each */
#endif
