/* src/calibrate/calibrate.h - the strength at which a method moves the model by a given KL (pipeline.md 5).
 *     ... -> dW -> [alpha] -> eval -> table
 * Writes DIR/{summary,audit,root_history,prompt_refs,prompts,timing}.csv and keeps every finished probe in
 * DIR/probes.jsonl, so that the same command goes on where it was killed, to the same bytes (docs/formats.md). */
#ifndef WS_CALIBRATE_CALIBRATE_H
#define WS_CALIBRATE_CALIBRATE_H
#include "calibrate/kl.h"
#include "calibrate/root.h"
#include "steer/steer.h"
#include "text/chat.h"

typedef struct ws_calibrate_options {
    const char *prompts; /* JSONL {"category","text"}; NULL: the program's own data/prompts.jsonl */
    int messages;    /* 1: prompts is a suffix pool (NULL: data/suffixes.jsonl), its distinct user messages are asked
                            as the template leaves the assistant's turn open, and `thinking` has no say */
    const char *out; /* folder */
    double target;   /* p95 in nats */
    double lo, hi;   /* bracket; 0, 0: the method's own */
    int steps;       /* interpolation steps of a search: WS_ROOT_MAX_STEPS */
    int first_fits;  /* 1: the very first strength is taken where it fits */
    int mirrored;    /* 1: alpha > 0 alone is searched, alpha < 0 measured at the same size */
    int n, tokens, audit;
    int thinking;  /* -1, 1: inside an open think block where the template writes one; 0: behind an empty one */
    int bootstrap; /* draws for the interval of p95 */
    uint64_t seed;
    int64_t budget;       /* bytes, see ws_kl_new */
    int fresh;            /* forget recorded probes */
    const char *protocol; /* its name, which settles the others here (eval/protocol.h); NULL: none was asked for */
    unsigned given; /* bits of what the command line asked for: 1 the number of prompts, 2 of tokens, 4 the bracket */
    /* Where what the base model reads of the prompts is handed from one call to the next with the same prompts (free with
     * ws_cal_keep_free); NULL: it is not kept. */
    struct ws_cal_keep **kept;
} ws_calibrate_options;
typedef struct ws_cal_keep ws_cal_keep;
void ws_cal_keep_free(ws_cal_keep *k);
ws_calibrate_options ws_calibrate_defaults(void);

#define WS_CALIBRATE_MIRRORED "mirrored" /* status of a side taken at the other's strength */
/* 1: a side of this status was found at the budget, or makes no claim to it: a prompt, a side that there is not, a mirrored one. */
int ws_calibration_stands(const char *status);

typedef struct ws_calibration_side {
    int searched; /* 0: a prompt method, measured at strength 1, or the - side of a mirrored calibration */
    char status[16];
    double alpha; /* positive magnitude */
    ws_kl_stats at, audit;
    double p95_lo, p95_hi, audit_lo, audit_hi;
    double rel_norm; /* ||alpha dW|| / ||W||; NaN without dW */
    ws_root root;
} ws_calibration_side;
typedef struct ws_calibration_row {
    char *method, *kind, *unit, *file, *note;
    char hash[65];               /* of the file */
    int n_sides;                 /* 2; 1: plus side only */
    ws_calibration_side side[2]; /* [0] alpha > 0, [1] alpha < 0 */
} ws_calibration_row;
typedef struct ws_calibration {
    int n, inside; /* inside: the tokens that were scored stand in an open think block */
    ws_calibration_row *row;
} ws_calibration;
ws_status ws_calibrate(ws_model *m, const ws_tokenizer *t, const ws_chat *chat, ws_method *const *method, int n_methods,
                       const ws_calibrate_options *o, ws_calibration *out, ws_err *err);
void ws_calibration_free(ws_calibration *c);
/* alpha_pos and alpha_neg (positive) of `method` from DIR/summary.csv; a side that has none gives NaN.  WS_ESTATE when they
 * were found for a file of that name with other content than `hash`; a search that did not end ok is a warning. */
ws_status ws_calibration_alphas(const char *dir, const char *method, const char *hash, double *alpha_pos,
                                double *alpha_neg, ws_err *err);
#endif
