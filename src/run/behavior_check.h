/* src/run/behavior_check.h - a few answers of both personas, looked at before an hour is spent on training.
 *     behaviour x model -> a few pairs -> [told apart? equally long? refusals? leaks? which way?] -> words
 * Every answer is scored under its own persona, under the other side's, and without a system prompt, by the base model. */
#ifndef WS_RUN_BEHAVIOR_CHECK_H
#define WS_RUN_BEHAVIOR_CHECK_H
#include "base/stats.h"
#include "generate/contrast.h"

enum { WS_UNDER_OWN, WS_UNDER_OTHER, WS_UNDER_NONE, WS_UNDERS };
enum { WS_CHECK_RUN = 3, WS_CHECK_DRAWS = 1000 }; /* words of a run that leaks; bootstrap draws */

typedef struct ws_check_cell { /* one pair; index 0 POS, 1 NEG */
    double lp[2][WS_UNDERS];   /* mean log-probability per token, nats */
    int tokens[2], cut[2];     /* length; reached the limit */
    int refused[2], leaked[2]; /* opens like a refusal; has a run of words of its own persona */
    int leaked_other[2];       /* of the other side's: what chance gives */
    int same;                  /* both answers are the same */
} ws_check_cell;

typedef struct ws_check_side {
    double own, other, none; /* means of lp */
    double tokens;
    int told, cut, refused, leaked, leaked_other; /* of n answers */
    double gain;                                  /* own - none: what the persona adds */
    ws_interval gain_ci;
} ws_check_side;

typedef struct ws_check_warning {
    char *what, *advice;
} ws_check_warning;
enum { WS_CHECK_WARNINGS = 16 };

typedef struct ws_check { /* begin with {0} */
    int n, same;
    ws_check_side side[2];
    double told; /* share of the 2 n answers that are likelier under their own persona; Wilson */
    ws_interval told_ci;
    double gap, ratio,
        lean; /* own - other; tokens POS / NEG; without a persona, POS - NEG; intervals by bootstrap over pairs */
    ws_interval gap_ci, ratio_ci, lean_ci;
    char *direction; /* what to expect of the dial, a sentence */
    int n_warnings;  /* 0: ok */
    ws_check_warning warning[WS_CHECK_WARNINGS];
    /* set by ws_check_behavior */
    ws_pairs *pairs;
    ws_check_cell *cell; /* [n] */
    char *leak[2];       /* the first run that leaked; NULL: none */
} ws_check;
/* Everything above `pairs` from the cells.  `max_new` goes into words. */
void ws_check_measure(ws_check *c, const ws_check_cell *cell, int n, int max_new, uint64_t seed);
/* Generates o->rows pairs (`ws data`'s own code, in a temporary folder) and measures them. */
ws_status ws_check_behavior(ws_check *c, ws_model *m, const ws_tokenizer *t, const ws_chat *chat, const ws_behavior *b,
                            const ws_contrast_options *o, ws_err *err);
void ws_check_free(ws_check *c);
/* Samples, table, direction and verdict; the same as JSON, whose caller decrefs. */
void ws_check_print(const ws_check *c, const char *model, const ws_behavior *b, const ws_contrast_options *o,
                    ws_str *out);
json_t *ws_check_json(const ws_check *c, const char *model, const char *model_hash, const ws_behavior *b,
                      const ws_contrast_options *o);
#endif
