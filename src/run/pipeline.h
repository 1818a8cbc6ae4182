/* src/run/pipeline.h - the whole chain as one call.
 *     data -> train pos -> train neg -> diff -> calibrate -> eval -> table
 *     OUT/data/<model>/<behavior>/{pairs,heldout}.jsonl
 *     OUT/<behavior>/<adapter>/{pos,neg}/  dw.safetensors  diff.json  and the evaluation's files
 *     OUT/<behavior>/kl_calibration/       OUT/<behavior>/report/     OUT/<behavior>/manifest.json
 * A sweep does this for several rows: the data, the base model's answers and its calibration prefill are made once,
 *     data -> base -> extract -> (train pos -> train neg -> diff) x rows -> calibrate x rows -> eval x rows -> table
 *     OUT/<behavior>/base/  OUT/<behavior>/vectors/  OUT/<behavior>/<row>/ and its kl_calibration/
 * and a row that fails does not stop the others.
 * With a user's own pairs the data stage takes them over instead of generating some.
 * An embedding program can call it; `ws run` does nothing else. */
#ifndef WS_RUN_PIPELINE_H
#define WS_RUN_PIPELINE_H
#include "calibrate/calibrate.h"
#include "eval/eval.h"
#include "generate/contrast.h"
#include "run/rows.h"
#include "run/stage.h"
#include "steer/extract.h"
#include "train/train.h"

typedef struct ws_run_options {
    const char *out;                /* root folder: "out" */
    ws_contrast_options data;       /* .dir is set by the pipeline */
    ws_train_options train;         /* .out is set by the pipeline */
    int max_len, keep_end;          /* of training examples: 512, 0 */
    ws_contrast_mode mode;          /* of dW */
    ws_calibrate_options calibrate; /* .out is set by the pipeline */
    ws_eval_options eval;           /* .out, .pairs, .calibration are set by the pipeline */
    uint64_t seed;                  /* of every stage */
    int fresh;                      /* forget what another configuration left */
    int wait;                       /* for another run in the same place; 0: refuse */
    const char *pairs;              /* a user's own pairs stand for generated ones (data/own_pairs.h); NULL: none */
    int pairs_held;                 /* of these, set aside for the evaluation; -1: a tenth, at most WS_OWN_HELD */
    int look;                       /* only the plan is wanted: nothing is made or locked */
    const ws_rows *rows;            /* of a sweep; NULL: the one adapter of .train */
    ws_extract_options
        extract; /* of a sweep's hidden-state methods; .methods, .out and .seed are set by the pipeline */
} ws_run_options;

typedef struct ws_run_input {
    ws_model *model;
    const ws_tokenizer *tokenizer;
    ws_chat *chat; /* a stage may change how it folds a system text, and puts it back */
    const ws_behavior *behavior;
} ws_run_input;

typedef struct ws_pipeline ws_pipeline;
/* Sets up the stages and, unless `look`, takes the lock of the run directory.  WS_ESTATE: another model, behaviour or configuration is
 * there, or (wait 0) another process works there.  `in` and what it points to must outlive the pipeline. */
ws_status ws_pipeline_new(ws_pipeline **out, const ws_run_input *in, const ws_run_options *o, ws_err *err);
void ws_pipeline_free(ws_pipeline *p);
/* Stages, sizes, estimated time and memory, what is up to date and what that took; appended as text or (`json`) one object.
 * `cores` > 0: also the time on a machine with so many cores like the ones used here. */
ws_status ws_pipeline_plan(ws_pipeline *p, int cores, int json, ws_str *out, ws_err *err);
/* WS_OK also where rows of a sweep were given up: r->n_failures. */
ws_status ws_pipeline_run(ws_pipeline *p, ws_stages_result *r, ws_err *err);
const char *ws_pipeline_dir(const ws_pipeline *p);    /* OUT/<behavior> */
const char *ws_pipeline_report(const ws_pipeline *p); /* OUT/<behavior>/report */
#endif
