/* src/run/pipeline_impl.h - the inside of ws_pipeline. */
#ifndef WS_RUN_PIPELINE_IMPL_H
#define WS_RUN_PIPELINE_IMPL_H
#include "run/lengths.h"
#include "run/speed.h"

enum { STAGE_DATA, STAGE_POS, STAGE_NEG, STAGE_DIFF, STAGE_CALIBRATE, STAGE_EVAL, STAGE_TABLE, N_STAGES };

struct ws_pipeline {
    const ws_run_input *in;
    ws_run_options o;
    ws_manifest *manifest;
    int lock;
    char *run, *data, *adapter, *side[2], *dw, *geometry, *calibration, *report;
    char *pairs, *heldout, *prompts, *vignettes[3]; /* files that come from elsewhere: NULL where not needed */
    ws_stage stage[N_STAGES];
    /* set by ws_pipeline_estimate */
    ws_lengths lengths;
    ws_speed speed;
    ws_train_plan train;    /* of a micro-batch */
    int train_rows;         /* rows of it that run at once */
    int64_t adapter_floats; /* of one side */
    double above;           /* share of the linears that training goes back through */
};

/* What the whole run was asked for, as `ws run` spells its options; caller decrefs. */
json_t *ws_run_options_json(const ws_pipeline *p);
/* {"model":..,"behavior":..,"options":..} */
json_t *ws_run_identity(const ws_pipeline *p);
/* What one stage depends on besides its input files; caller decrefs. */
json_t *ws_stage_options_json(const ws_pipeline *p, int stage);
/* Fills .does, .seconds, .memory, .disk of every stage; without `measure` all times are 0. */
ws_status ws_pipeline_estimate(ws_pipeline *p, int measure, ws_err *err);
/* Bytes of every stage, at most. */
void ws_pipeline_memory(const ws_pipeline *p, int64_t bytes[N_STAGES]);
/* Sizes that times and memory go by. */
int ws_plan_pairs(const ws_pipeline *p);
int ws_plan_in_flight(const ws_pipeline *p); /* answers at once */
int ws_plan_dose_topics(const ws_pipeline *p);
/* Seconds of every stage at such rates. */
void ws_pipeline_times(const ws_pipeline *p, const ws_speed *v, double seconds[N_STAGES]);
#endif
