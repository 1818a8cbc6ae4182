/* src/cmd/stages.h - option tables of the single stages, shared with the verbs that run several of them.
 * Each has an argp with its options and an input struct with defaults; a verb that embeds one may rename or leave out
 * options (ws_options_pick), the parser goes by their keys. */
#ifndef WS_CMD_STAGES_H
#define WS_CMD_STAGES_H
#include "calibrate/calibrate.h"
#include "cmd/cmd.h"
#include "cmd/sampling.h"
#include "eval/eval.h"
#include "generate/contrast.h"
#include "train/train.h"

enum { WS_DATA_KEYS = 16 };
typedef struct ws_data_args { /* cmd/data.c */
    const char *behavior;
    long long n[WS_DATA_KEYS]; /* whole numbers by key, where given */
    char given[WS_DATA_KEYS];
    ws_sampling_args sampling;
    int fresh;
} ws_data_args;
extern const struct argp ws_data_argp;
void ws_data_args_init(ws_data_args *a);
void ws_data_args_take(const ws_data_args *a, ws_contrast_options *o); /* what was given, over the defaults in *o */
/* In a verb that takes a user's own pairs: WS_EUSAGE where options of generation were given, or no behaviour.  *heldout: as
 * given; -1: not given. */
ws_status ws_data_args_own(const ws_data_args *a, int *heldout, ws_err *err);

typedef struct ws_train_args { /* cmd/train.c */
    const char *pairs, *side;
    ws_train_options o;
    int max_len, keep_end, shapes; /* shapes: an option was given that --init already decides */
    unsigned given;                /* WS_READS_ bits of the adapter's options that were given */
} ws_train_args;
extern const struct argp ws_train_argp;
void ws_train_args_init(ws_train_args *a);
/* WS_EUSAGE: no such adapter, or an option was given that means nothing to it. */
ws_status ws_train_args_check(const ws_train_args *a, ws_err *err);

extern const struct argp ws_calibrate_argp; /* cmd/calibrate.c; its input is a ws_calibrate_options */

typedef struct ws_eval_args { /* cmd/eval.c */
    ws_eval_options o;
    double *alpha, *part; /* owned; o.alpha, o.part point to them */
    const char *behavior;
    ws_sampling_args sampling;
    int dose_tokens; /* 0: not given */
    int given_readouts;
    uint64_t given; /* bits of the options' keys */
} ws_eval_args;
extern const struct argp ws_eval_argp;
void ws_eval_args_init(ws_eval_args *a);
/* What was given of sampling and lengths, over the defaults for this model and `thinking`. */
ws_status ws_eval_args_take(const ws_eval_args *a, const ws_chat *c, int thinking, ws_eval_options *o, ws_err *err);
/* WS_EUSAGE: an option was given that only readouts which are not asked for would use. */
ws_status ws_eval_args_check(const ws_eval_args *a, ws_err *err);

/* --protocol: settles what it fixes.  WS_EUSAGE: an option was given that says otherwise. */
ws_status ws_eval_args_protocol(ws_eval_args *a, ws_err *err);
ws_status ws_opt_protocol(const char *arg, const ws_protocol **out, ws_err *err);
ws_status ws_protocol_fix(const ws_protocol *p, ws_eval_options *o, int given_floor, int given_k, int given_loading,
                          int given_think, ws_err *err);
/* The same for calibration. */
ws_status ws_protocol_fix_calibration(const ws_protocol *p, ws_calibrate_options *o, ws_err *err);

/* Where prompts of the methods stand, as the protocol has it; NULL: ours. */
ws_status ws_session_fold(ws_session *s, const ws_protocol *p, ws_method *const *m, int n, ws_err *err);

/* A copy of an option table without the options (or headings) in `leave_out`, those in `rename` ("old=new") renamed; both
 * are lists that end with NULL.  The caller frees. */
struct argp_option *ws_options_pick(const struct argp_option *o, const char *const *leave_out,
                                    const char *const *rename);
#endif
