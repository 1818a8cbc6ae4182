/* src/run/pipeline_impl.h - the inside of ws_pipeline. */
#ifndef WS_RUN_PIPELINE_IMPL_H
#define WS_RUN_PIPELINE_IMPL_H
#include "run/lengths.h"
#include "run/speed.h"
#include "steer/prompt.h"
#include <string.h>

typedef enum ws_stage_kind {
    STAGE_DATA,
    STAGE_BASE,    /* of a sweep: the base model's answers, which all rows share */
    STAGE_EXTRACT, /* of a sweep with hidden-state methods: the vectors of all of them */
    STAGE_POS,
    STAGE_NEG,
    STAGE_DIFF, /* of a random control its factors are drawn, of a prompt its file is written */
    STAGE_CALIBRATE,
    STAGE_EVAL,
    STAGE_TABLE
} ws_stage_kind;

typedef struct ws_own { /* a user's own pairs */
    const char *path;   /* NULL: the pairs are generated */
    char hash[65];
    double row, answer; /* mean tokens of a rendered pair's side, and of what is learnt of it */
    int longest;        /* rendered side, in tokens */
} ws_own;

typedef struct ws_run_row {
    ws_row_spec spec;
    char *dir, *side[2], *geometry, *calibration;
    char *dw; /* the file that it steers with */
    /* set by ws_pipeline_estimate */
    ws_train_plan train;    /* of a micro-batch */
    int train_rows;         /* packed rows at once */
    int64_t adapter_floats; /* of one side */
    double above;           /* share of the linears that training goes back through */
} ws_run_row;

typedef struct ws_task { /* what a stage is called with */
    ws_pipeline *p;
    ws_stage_kind kind;
    int row; /* -1: none */
} ws_task;

struct ws_pipeline {
    const ws_run_input *in;
    ws_run_options o;
    ws_manifest *manifest;
    int lock;
    char *run, *data, *base, *vectors, *report;
    char *suffixes;                                 /* from outside: prompts of the extraction; NULL: not needed */
    char *pairs, *heldout, *prompts, *vignettes[3]; /* files that come from elsewhere: NULL where not needed */
    ws_own own;
    int n_rows;
    ws_run_row *row;
    int n_stages;
    ws_stage *stage;   /* [n_stages] in order */
    ws_task *task;     /* [n_stages] */
    ws_cal_keep *kept; /* the base model's calibration prefill, from one row to the next */
    /* set by ws_pipeline_estimate */
    ws_lengths lengths;
    ws_speed speed;
};
static inline int ws_is_sweep(const ws_pipeline *p) { return p->o.rows != NULL; }
static inline ws_run_row *ws_task_row(const ws_task *t) { return t->row < 0 ? NULL : &t->p->row[t->row]; }

static inline int ws_task_folds(const ws_task *t) {
    const ws_run_row *row = ws_task_row(t);
    const ws_protocol *p = t->p->o.eval.protocol;
    return row && p && p->prompt_in_user && row->spec.kind == WS_ROW_PROMPT && !strcmp(row->spec.name, WS_PROMPT_PLAIN);
}

/* run/stages.c: does the work of one stage; `arg` is its ws_task. */
ws_status ws_task_run(void *arg, ws_err *err);

/* run/own.c: reads the user's pairs, and sets .own and the sizes in .o.data; what the data stage then does. */
ws_status ws_own_open(ws_pipeline *p, ws_err *err);
ws_status ws_own_write(const ws_pipeline *p, ws_err *err);

/* What the whole run was asked for, as `ws run` spells its options; caller decrefs. */
json_t *ws_run_options_json(const ws_pipeline *p);
/* {"model":..,"behavior":..,"options":..} */
json_t *ws_run_identity(const ws_pipeline *p);
/* What one stage depends on besides its input files; caller decrefs. */
json_t *ws_stage_options_json(const ws_task *t);
/* The rows of a sweep for the manifest: name, kind, adapter, seed, and the names of their stages; caller decrefs. */
json_t *ws_rows_json(const ws_pipeline *p);
/* Fills .does, .seconds, .memory, .disk of every stage; without `measure` all times are 0. */
ws_status ws_pipeline_estimate(ws_pipeline *p, int measure, ws_err *err);
int64_t ws_task_memory(const ws_task *t); /* bytes of a stage, at most */
/* Sizes that times and memory go by. */
int ws_plan_pairs(const ws_pipeline *p);
int ws_plan_in_flight(const ws_pipeline *p); /* answers at once */
int ws_plan_dose_topics(const ws_pipeline *p);
int ws_plan_strengths(const ws_pipeline *p); /* of a row, both signs, without the base */
/* Seconds of every stage at such rates, [n_stages]. */
void ws_pipeline_times(const ws_pipeline *p, const ws_speed *v, double *seconds);
#endif
