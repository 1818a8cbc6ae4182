/* src/run/plan.c - what a run will cost, told before it starts.  Times are model FLOPs over a rate that was just measured;
 * generation is counted as if every answer reached its limit, so the truth is below. */
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "io/file.h"
#include "run/pipeline_impl.h"
#include "run/speed.h"
#include "run/tree.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT_TOKENS = 45,    /* a topic with the chat template around it */
    SYSTEM_TOKENS = 30,    /* the persona's part */
    VIGNETTE_TOKENS = 110, /* scenario, question and prefill */
    CLOSING_TOKENS = 20,   /* the end of a thought, and the prefill */
    KL_PROBES = 8,         /* of the root finder, a side */
    BASE_ROWS = 2          /* a steered and a base row for every token of the calibration */
};

/* What the stages' own defaults hold: shared beginnings of generation, beginnings of an evaluation. */
static const int64_t PREFIX_BYTES = 256 << 20, EVAL_BYTES = 512 << 20;

static int lines_of(const char *path) {
    ws_map m;
    ws_err err;
    int n = 0;
    if (!path || ws_map_open(&m, path, &err)) return 140; /* as many as the program's own */
    for (size_t i = 0; i < m.n; i++) n += m.p[i] == '\n';
    ws_map_close(&m);
    return n;
}

static int64_t weights_bytes(const ws_model *m) {
    const ws_checkpoint *c = ws_model_checkpoint(m);
    int64_t n = 0;
    for (size_t i = 0; i < ws_checkpoint_count(c); i++) n += (int64_t)ws_checkpoint_at(c, i)->bytes;
    return n;
}

/* What a sequence of so many tokens takes while it is in flight. */
static int64_t seq_bytes(const ws_model *m, int64_t tokens) {
    return (tokens + 32) * ws_model_token_bytes(m) + ws_model_seq_bytes(m);
}

static void set(ws_stage *s, char *does, double seconds, int64_t memory, int64_t disk) {
    free(s->does);
    s->does = does, s->seconds = seconds, s->memory = memory, s->disk = disk;
}

/* What training one side holds, and the adapter's size in bytes: the plan of the adapter that the options describe. */
static ws_status train_memory(const ws_pipeline *p, int64_t tokens, ws_train_plan *plan, int64_t *bytes, ws_err *err) {
    ws_adapter *a;
    if (ws_adapter_new(&a, p->in->model, &p->o.train.adapter, err)) return err->code;
    *plan = ws_train_plan_for(p->in->model, tokens, (ws_patch *const[]){ws_adapter_patch(a)}, 1, 0,
                              ws_memory_free() / 5 * 3);
    *bytes = ws_adapter_size(a) * (int64_t)sizeof(float);
    ws_adapter_free(a);
    return WS_OK;
}

ws_status ws_pipeline_estimate(ws_pipeline *p, int measure, ws_err *err) {
    const ws_run_options *o = &p->o;
    ws_model *m = p->in->model;
    ws_stage *s = p->stage;
    ws_speed v = {1, 1, INFINITY, INFINITY};
    int64_t weights = weights_bytes(m), adapter = 0, work = ws_model_scratch_bytes(m);
    ws_think_form form;
    if (ws_think_form_of(&form, p->in->chat, o->data.thinking, err)) return err->code;
    if (measure && ws_speed_measure(&v, m, err)) return err->code;

    int grid = o->data.topics * o->data.personas * o->data.samples, rows = grid + o->data.heldout;
    double answers = 2.0 * rows, answer = o->data.max_new, row_tokens = PROMPT_TOKENS + answer;
    int in_flight = o->data.max_rows ? o->data.max_rows : 64;
    double kept = fmin(row_tokens, o->max_len), learned = fmax(kept - PROMPT_TOKENS, 1); /* --max-len cuts long rows */
    int64_t micro = (int64_t)(o->train.batch * kept), logits = ws_model_dims(m)->vocab * 4;
    ws_train_plan t;
    if (train_memory(p, micro, &t, &adapter, err)) return err->code;
    set(&s[STAGE_DATA],
        ws_sprintf("%d pairs (%d topics x %d personas x %d samples) and %d held-out ones, %s of at most %d tokens",
                   grid, o->data.topics, o->data.personas, o->data.samples, o->data.heldout,
                   ws_think_expected(form, p->in->chat, o->data.thinking) ? "reasoning and answer" : "answers",
                   o->data.max_new),
        ws_speed_decode(&v, answers * answer) + ws_speed_prefill(&v, answers * (PROMPT_TOKENS + SYSTEM_TOKENS), 0),
        weights + work + in_flight * (seq_bytes(m, (int64_t)row_tokens + SYSTEM_TOKENS) + logits) + PREFIX_BYTES,
        (int64_t)(answers * answer * 5));

    /* forward, and backward through the blocks above the lowest adapted one without weight gradients: about as much
     * again for 0.7 of the depth, and a recomputed forward where activations are not kept */
    double train_rows = grid - ceil(grid * o->train.holdout), epochs = o->train.epochs;
    double steps =
        o->train.max_steps ? (double)o->train.max_steps : ceil(train_rows / (o->train.batch * o->train.accum)) * epochs;
    double tokens = o->train.max_steps ? steps * o->train.batch * o->train.accum * kept : train_rows * epochs * kept;
    double pass = ws_speed_prefill(&v, tokens, tokens * learned / kept);
    double evals = o->train.eval_every > 0 ? floor(steps / (double)o->train.eval_every) + 1 : 1;
    double held = ws_speed_prefill(&v, (grid - train_rows) * kept, (grid - train_rows) * learned) * evals;
    for (int k = 0; k < 2; k++)
        set(&s[STAGE_POS + k],
            ws_sprintf("%s rank %d on the %s answers, %.0f steps of %d rows", o->train.adapter.kind,
                       o->train.adapter.rank, k ? "NEG" : "POS", steps, o->train.batch * o->train.accum),
            (2.4 + t.recompute) * pass + held, weights + t.activations + t.scratch + 4 * adapter, adapter);

    set(&s[STAGE_DIFF], ws_sprintf("dW = theta_pos - theta_neg, in factors of rank %d", 2 * o->train.adapter.rank), 0.5,
        weights + 4 * adapter, 2 * adapter);

    const ws_calibrate_options *c = &o->calibrate;
    double probe =
        ws_speed_decode(&v, BASE_ROWS * (double)c->n * c->tokens) + ws_speed_prefill(&v, c->n * PROMPT_TOKENS, 0);
    double audit = ws_speed_decode(&v, BASE_ROWS * (double)c->audit * c->tokens);
    set(&s[STAGE_CALIBRATE],
        ws_sprintf("alpha at p95 KL = %g nat for both signs: %d prompts x %d tokens a probe, audit on %d", c->target,
                   c->n, c->tokens, c->audit),
        2 * (KL_PROBES * probe + audit),
        weights + work + 2 * adapter + 64 * logits + (c->budget > 0 ? c->budget : ws_kl_budget(m)),
        (int64_t)c->n * c->tokens * 400);

    const ws_eval_options *e = &o->eval;
    ws_str does = {0};
    double seconds = 0;
    int64_t thinking = 0; /* what the thoughts in flight remember, and their logits */
    if (ws_eval_asked(e, "vignettes")) {
        int n = lines_of(p->vignettes[0]);
        double asked = 12.0 * n, thought = asked * e->max_think;
        ws_str_addf(&does, "%d vignettes x 4 prompts x 3 strengths", n);
        seconds += ws_speed_prefill(&v, asked * VIGNETTE_TOKENS, asked);
        if (e->max_think) { /* the answer is scored behind what has been read: closing and prefill are new */
            ws_str_addf(&does, ", thoughts of at most %d tokens (%.0f in all)", e->max_think, thought);
            seconds += ws_speed_decode(&v, thought) + ws_speed_prefill(&v, asked * CLOSING_TOKENS, asked);
            thinking = in_flight * (seq_bytes(m, VIGNETTE_TOKENS + e->max_think) + logits);
        }
    }
    if (ws_eval_asked(e, "margin")) {
        ws_str_addf(&does, "%smargin of %d held-out pairs", does.n ? "; " : "", o->data.heldout);
        seconds += ws_speed_prefill(&v, 6.0 * o->data.heldout * row_tokens, 6.0 * o->data.heldout * answer);
    }
    if (ws_eval_asked(e, "dose")) {
        int topics = e->dose_topics ? e->dose_topics : p->in->behavior->n_heldout;
        double n = 5.0 * topics * e->dose_samples;
        ws_str_addf(&does, "%sdose: %d topics x %d samples of %d tokens at 5 strengths", does.n ? "; " : "", topics,
                    e->dose_samples, e->dose_tokens);
        seconds +=
            ws_speed_decode(&v, n * e->dose_tokens) + ws_speed_prefill(&v, n * e->dose_tokens, n * e->dose_tokens);
    }
    set(&s[STAGE_EVAL], ws_str_take(&does), seconds,
        weights + work + 2 * adapter + thinking + 64 * logits + 2 * (e->budget > 0 ? e->budget : EVAL_BYTES), 2 << 20);
    set(&s[STAGE_TABLE], ws_xstrdup("tables, plots, samples, report.html"), 2, weights, 2 << 20);
    return WS_OK;
}

ws_status ws_pipeline_plan(ws_pipeline *p, ws_str *out, ws_err *err) {
    char a[32], b[32], c[32];
    double seconds = 0;
    int64_t memory = 0, disk = 0;
    const ws_checkpoint *k = ws_model_checkpoint(p->in->model);
    if (ws_pipeline_estimate(p, 1, err)) return err->code;
    ws_str_addf(out, "%s (%s, %.1f M parameters), behaviour %s, %d threads; results in %s\n\n", ws_checkpoint_name(k),
                ws_model_family(p->in->model), (double)ws_model_params(p->in->model) / 1e6, p->in->behavior->name,
                ws_threads(), p->run);
    ws_str_addf(out, "%-10s %9s %11s %11s  %s\n", "stage", "time", "memory", "disk", "what");
    for (int i = 0; i < N_STAGES; i++) {
        ws_stage *s = &p->stage[i];
        int current = ws_stage_current(s, p->manifest, NULL);
        ws_str_addf(out, "%-10s %9s %11s %11s  %s%s\n", s->name, current ? "-" : ws_format_seconds(a, s->seconds),
                    ws_format_bytes(b, (double)s->memory), ws_format_bytes(c, (double)s->disk), s->does,
                    current ? " (up to date)" : "");
        if (!current) seconds += s->seconds;
        if (!current && s->memory > memory) memory = s->memory;
        disk += s->disk;
    }
    ws_str_addf(out, "\n%s at most, %s at the peak, %s on disk; %s of memory are free\n", ws_format_seconds(a, seconds),
                ws_format_bytes(b, (double)memory), ws_format_bytes(c, (double)disk),
                ws_format_bytes((char[32]){0}, (double)ws_memory_free()));
    return WS_OK;
}
