/* src/run/plan_memory.c - the memory of every stage: the model's file, the program, and what the stage itself holds at
 * most.  Stages give their scratch back (ws_model_rest), so nothing is carried over.  A room that a stage may fill with
 * sequences counts no further than its texts could fill it. */
#include "base/parallel.h"
#include "kernel/compute.h"
#include "run/measure.h"
#include "run/pipeline_impl.h"

enum {
    LIBRARIES = 48 << 20,      /* code mapped beside the model, and what the report draws with */
    CALIBRATION_ROWS = 384,    /* of one decode step */
    CALIBRATION_ARMS = 2,      /* both signs at once */
    CALIBRATION_TOKENS = 4096, /* of one forward */
    REPORT_ROW = 256 << 10,    /* results and lines of a row in the tables */
    EVAL_TOKENS = 4096,        /* of one forward of texts */
    VIGNETTES_AT_ONCE = 192    /* texts, all settings together */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* What n sequences of so many tokens take; keys and values come in whole pages. */
static int64_t sequences(const ws_model *m, int64_t n, double tokens) {
    return n * (((int64_t)tokens + 32) * ws_model_token_bytes(m) + ws_model_seq_bytes(m));
}

static int64_t logits(const ws_model *m, int64_t rows) {
    return rows * ws_model_dims(m)->vocab * (int64_t)sizeof(float);
}

/* Answers in flight, and prompts' beginnings that wait for answers not yet in flight. */
static int64_t data(const ws_pipeline *p) {
    const ws_model *m = p->in->model;
    if (p->own.path)
        return (int64_t)(32.0 * (ws_plan_pairs(p) + p->o.data.heldout) * p->own.row); /* the texts, twice */
    const double prompt = p->lengths.prompt + p->lengths.system;
    const int64_t answers = 2LL * (ws_plan_pairs(p) + p->o.data.heldout), rows = least(answers, ws_plan_in_flight(p));
    return sequences(m, rows, prompt + p->o.data.max_new) + logits(m, rows) +
           least(ws_gen_prefix_bytes(m), sequences(m, answers - rows, prompt));
}

/* Kept readings of the prompts, and rows with the base sequences beside them and the states of both. */
static int64_t calibrate(const ws_pipeline *p) {
    const ws_model *m = p->in->model;
    const ws_calibrate_options *c = &p->o.calibrate;
    const int64_t n = most(c->n, c->audit), room = c->budget > 0 ? c->budget : ws_kl_budget(m);
    const int64_t rows = 2 * least(n * CALIBRATION_ARMS, CALIBRATION_ROWS), d = ws_model_dims(m)->hidden * 4LL;
    return least(room, sequences(m, n, p->lengths.question) + sequences(m, rows, p->lengths.question + c->tokens) +
                           rows * c->tokens * d) +
           logits(m, 2 * WS_GEN_ROWS + ws_threads()) + CALIBRATION_TOKENS * d;
}

/* The readouts run one after another. */
static int64_t eval(const ws_pipeline *p) {
    const ws_model *m = p->in->model;
    const ws_eval_options *e = &p->o.eval;
    const int64_t room = 2 * (e->budget > 0 ? e->budget : ws_eval_budget(m)), row = ws_model_dims(m)->hidden * 4LL;
    int64_t bytes = 0;
    const int settings = 1 + ws_plan_strengths(p), prompts = 4 * settings; /* the base is one */
    if (ws_eval_asked(e, "vignettes")) {
        const int64_t asked = least((int64_t)prompts * p->lengths.vignettes, VIGNETTES_AT_ONCE);
        const int64_t rows = e->max_think ? least(ws_plan_in_flight(p), (int64_t)prompts * p->lengths.vignettes) : 0;
        bytes = least(room, sequences(m, 2 * asked, p->lengths.vignette)) +
                sequences(m, rows, p->lengths.vignette + e->max_think) + logits(m, rows);
    }
    if (ws_eval_asked(e, "margin")) {
        const int64_t texts = 2LL * settings * p->o.data.heldout;
        const double tokens = p->own.path ? p->own.longest : p->lengths.prompt + p->o.data.max_new;
        bytes =
            most(bytes, least(room, sequences(m, texts, tokens)) +
                            least(EVAL_TOKENS, (int64_t)((double)texts * tokens)) * (ws_model_token_bytes(m) + row));
    }
    if (ws_eval_asked(e, "dose")) {
        const int64_t texts = 5LL * ws_plan_dose_topics(p) * e->dose_samples, rows = least(ws_plan_in_flight(p), texts);
        bytes = most(bytes, sequences(m, rows, p->lengths.prompt + e->dose_tokens) + logits(m, rows));
    }
    return bytes + logits(m, WS_GEN_ROWS);
}

int64_t ws_task_memory(const ws_task *t) {
    const ws_pipeline *p = t->p;
    const ws_model *m = p->in->model;
    const ws_run_row *r = ws_task_row(t);
    const int64_t adapter = r ? r->adapter_floats * (int64_t)sizeof(float) : 0, work = ws_model_scratch_bytes(m);
    const int64_t always = ws_weights_bytes(m) + LIBRARIES + ws_resident_now().own;
    /* the factors of a dW, those of both sides, one of them transposed too; and all three in bf16 where that is the compute
     * type */
    const int64_t dw = (ws_compute_type() == WS_COMPUTE_BF16 ? 5 : 3) * adapter;
    switch (t->kind) {
    case STAGE_DATA: return always + work + data(p);
    /* adapter, gradients, two moments, the copy that checkpoints are written from; transposed B */
    case STAGE_POS:
    case STAGE_NEG: return always + r->train.activations + r->train.scratch + 7 * adapter + adapter / 2;
    /* two adapters with room for gradients, both sides' edits, and dW */
    case STAGE_DIFF: return always + 12 * adapter;
    case STAGE_CALIBRATE: return always + work + dw + calibrate(p);
    /* H+ and H- of the chosen blocks and linears, and the pass over the prompts */
    case STAGE_EXTRACT:
        return always + work +
               2LL * p->o.extract.n * 3 * ws_model_dims(m)->layers * ws_model_dims(m)->hidden * (int64_t)sizeof(float);
    case STAGE_BASE:
    case STAGE_EVAL: return always + work + dw + eval(p);
    case STAGE_TABLE: return always + p->n_rows * (int64_t)REPORT_ROW;
    }
    return always;
}
