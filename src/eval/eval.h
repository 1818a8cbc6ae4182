/* src/eval/eval.h - what steering changed: readouts on any method, base once for all.
 *     ... -> dW -> alpha -> [eval] -> table
 * This file is the corridor; every room exports `const ws_eval_ops ws_eval_<name>` and has a WS_ROOM line.  A room runs
 * all settings (base, +alpha, -alpha, ... of every method) in shared batches, appends raw results as they finish, and
 * writes its tables (docs/formats.md).  Started again after a kill it goes on from the raw results, to the same bytes. */
#ifndef WS_EVAL_EVAL_H
#define WS_EVAL_EVAL_H
#include "data/behavior.h"
#include "data/pairs.h"
#include "eval/protocol.h"
#include "generate/sample.h"
#include "steer/steer.h"
#include "text/think.h"
#define WS_ROOM(name) /* the Makefile looks for this word */

typedef struct ws_eval_options {
    const char *out;         /* folder */
    const char *readouts;    /* "vignettes,margin,dose" */
    const char *vignettes;   /* folder or prefix; NULL: the program's own data/vignettes */
    const char *pairs;       /* heldout.jsonl for margin */
    const char *calibration; /* folder with summary.csv; used when n_alpha is 0 */
    const double *alpha;     /* [n_alpha] strengths for every method; 0 is the base and always there */
    int n_alpha;
    const double *part; /* [n_parts] in (0, 1]: also these parts of every calibrated strength */
    int n_parts;
    const ws_protocol *protocol; /* NULL: ours */
    double floor;                /* pmass below which a cell is NaN: 0.5 */
    double k;                    /* SI's price of a broken cell: 2 */
    int loading_weighted;        /* SI and separation weighted by loading shares instead of the foundation */
    int max_think; /* vignettes: 0: the answer at once (mode A); else after at most so many tokens of thought (B) */
    int bootstrap; /* draws: 1000 */
    int dose_topics, dose_samples, dose_tokens, dose_min_tokens; /* topics 0: all held-out ones */
    int canary_prompts;                                          /* of canaries: 20 */
    ws_sampling sampling;                                        /* of dose */
    int thinking; /* of dose: -1: as the chat template has it, 0, 1: enable_thinking */
    uint64_t seed;
    int64_t budget; /* bytes for what shared beginnings remember; 0: ws_eval_budget */
    int max_rows;   /* texts that are spoken at once; 0: WS_GEN_ROWS */
    int fresh;      /* forget recorded results */
    /* Folder of an evaluation of the base alone with the same options and files: its answers are taken over instead of
     * being computed again.  NULL: none.  The caller vouches for the options; model, seed and every answer's place are
     * checked; answers of other kernels are not taken. */
    const char *base;
} ws_eval_options;
enum { WS_DOSE_ANSWER = 60, WS_DOSE_THINK = 1280 };
ws_eval_options ws_eval_defaults(void);
/* 512 MiB, and more where a sequence is dear by itself. */
int64_t ws_eval_budget(const ws_model *m);
/* Dose's defaults for texts that are rendered with `thinking`: sampling as in pipeline.md 2, and room for reasoning where
 * the responses begin with it.  WS_EUSAGE: the model cannot do that. */
ws_status ws_eval_thinking(ws_eval_options *o, const ws_chat *c, int thinking, ws_err *err);

enum ws_arm { WS_ARM_BASE, WS_ARM_PLUS, WS_ARM_MINUS, WS_ARM_OTHER };
typedef struct ws_setting {
    int method;       /* index into ws_eval.method; -1: base */
    const char *name; /* method's name, "base" */
    double alpha;
    enum ws_arm arm;    /* plus, minus: the strongest of its sign */
    const char *system; /* system prompt of a prompt method, else NULL */
} ws_setting;

typedef struct ws_eval {
    ws_model *model;
    const ws_tokenizer *tok;
    const ws_chat *chat;
    const ws_behavior *behavior; /* NULL: none given */
    ws_method *const *method;
    int n_methods;
    const ws_eval_options *o;
    int n_settings; /* [0] is the base */
    ws_setting *setting;
    int n_patches;
    ws_patch **patch;
    ws_state **state; /* pages that the next call of a room takes over, empty; NULL: not kept */
    json_t *json;     /* eval.json as it grows */
    ws_str *report;   /* the plain tables for stdout */
} ws_eval;

typedef struct ws_eval_ops {
    const char *name;
    const char *title;
    /* Checks what it needs before anything runs: WS_EUSAGE when an option is missing. */
    ws_status (*check)(const ws_eval *e, ws_err *err);
    ws_status (*run)(ws_eval *e, ws_err *err);
} ws_eval_ops;
const ws_eval_ops *ws_eval_find(const char *name); /* NULL: none */
int ws_eval_asked(const ws_eval_options *o, const char *readout);
const char *ws_eval_names(void); /* "dose, margin, vignettes" */
enum { WS_EVAL_MOST = 16 };
/* The rooms of "vignettes,margin" in that order, each once; out [WS_EVAL_MOST].  WS_EUSAGE: an unknown name, or none. */
ws_status ws_eval_choose(const char *names, const ws_eval_ops **out, int *n, ws_err *err);

/* Runs the readouts in o->readouts.  `report` (may be NULL) gets the tables as text, *json (may be NULL) the content of
 * eval.json, owned by the caller. */
ws_status ws_eval_run(ws_model *m, const ws_tokenizer *t, const ws_chat *chat, const ws_behavior *behavior,
                      ws_method *const *method, int n_methods, const ws_eval_options *o, ws_str *report, json_t **json,
                      ws_err *err);
const char *ws_arm_name(enum ws_arm a); /* "base", "plus", "minus", "other" */
#endif
