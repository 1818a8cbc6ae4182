/* src/eval/protocol.h - protocols: which readout mode, thought, floor, price, weighting, sign rule and calibration figures are
 * made with, so that they can stand beside those of the published programs (pipeline.md 5 and 6). */
#ifndef WS_EVAL_PROTOCOL_H
#define WS_EVAL_PROTOCOL_H
#include "base/err.h"
#include "base/str.h"

typedef struct ws_protocol {
    const char *name, *title; /* "ws", "weight-steering" */
    /* vignettes and SI */
    int max_think; /* 0: the answer at once (mode A) */
    double floor, k;
    int loading_weighted;
    int sign_after;      /* 1: SI's + is whichever side moves the target further, chosen on the evaluated effect */
    const char *preface; /* put before the question where the model thinks; "" */
    int prompt_in_user;  /* 1: the row prompt_only stands before the user's message instead of in the system's */
    /* calibration; bracket 0, 0: the method's own */
    int kl_prompts, kl_tokens;
    double lo, hi;
    const char *not_followed; /* under every table: what is done otherwise here; "" */
} ws_protocol;
/* NULL: none of that name; "ours" for NULL. */
const ws_protocol *ws_protocol_find(const char *name);
const char *ws_protocol_names(void); /* "ours, ws, sl" */
/* The name with what was asked otherwise: "ours (k = 1)". */
void ws_protocol_label(const char *name, int max_think, double floor, double k, int loading_weighted, ws_str *out);
#endif
