/* src/eval/protocol.h - protocols: which readout mode, thought, floor, price, weighting, sign rule and calibration figures are
 * made with, so that they can stand beside those of the published programs (pipeline.md 5 and 6). */
#ifndef WS_EVAL_PROTOCOL_H
#define WS_EVAL_PROTOCOL_H
#include "base/err.h"
#include "base/str.h"
#include "eval/readout.h"

typedef struct ws_protocol {
    const char *name, *title; /* "ws", "weight-steering" */
    /* vignettes and SI */
    int max_think;      /* 0: the answer at once (mode A) */
    int max_think_most; /* budgets of thought up to this one are of the protocol too; 0: max_think alone */
    int tag_anyway;     /* 1: <think> is written as text where the template knows no such tag */
    double floor, k;
    int loading_weighted;
    int dlogit_weighted; /* 1: so is dlogit, and its std is that of the weights */
    int own_cells;       /* 1: each arm of SI is a share of its own valid cells */
    int frame_min;       /* 1: SI's pmass is of the smaller of a cell's two frames */
    int care_axis;       /* 1: where Authority alone is meant to fall, the axis is dlogit(Care) - dlogit(Authority) */
    int sign_after;      /* 1: SI's + is whichever side moves the target further, chosen on the evaluated effect */
    const char *preface; /* put before the question where the model thinks; "" */
    int prompt_in_user;  /* 1: the row prompt_only stands before the user's message instead of in the system's */
    /* calibration; bracket 0, 0: the method's own */
    int kl_prompts, kl_tokens, kl_steps;
    double lo, hi;
    int first_fits; /* 1: the very first strength is taken where it fits */
    int mirrored;   /* 1: alpha > 0 alone is searched, alpha < 0 taken at the same size */
    int messages;   /* 1: the prompts are distinct user messages of the suffix pool, as the template leaves them open */
    const char *not_followed; /* under every table: what is done otherwise here; "" */
} ws_protocol;
/* NULL: none of that name; "ours" for NULL. */
const ws_protocol *ws_protocol_find(const char *name);
const char *ws_protocol_names(void); /* "ours, ws, sl" */
/* How SI is taken at this price; p NULL: ours. */
ws_si_rule ws_protocol_si(const ws_protocol *p, double k);
/* The name with what was asked otherwise: "ours (k = 1)". */
void ws_protocol_label(const char *name, int max_think, double floor, double k, int loading_weighted, ws_str *out);
#endif
