/* src/run/plan.c - what a run will cost: counted from its options, and from rates that were just measured.  Generation is
 * counted as if every answer reached its limit, so the truth is below. */
#include "run/pipeline_impl.h"
#include <math.h>
#include <stdlib.h>

enum {
    CLOSING_TOKENS = 20, /* a thought's forced closing and the prefill */
    KL_PROBES = 8,       /* of the root finder, a side */
    BASE_ROWS = 2        /* a steered and a base row for every token of the calibration */
};

/* What training one side holds, and how much of the model it goes back through. */
static ws_status train_plan(ws_pipeline *p, int64_t row, ws_err *err) {
    const ws_model *m = p->in->model;
    ws_adapter *a;
    double all = 0, above = 0;
    if (ws_adapter_outline(&a, m, &p->o.train.adapter, err)) return err->code;
    p->train = ws_train_plan_for(m, row * p->o.train.batch, row, (ws_patch *const[]){ws_adapter_patch(a)}, 1, 0,
                                 p->o.train.memory ? p->o.train.memory : ws_train_budget(m));
    p->train_rows = p->train.part ? (int)(p->train.part / row) : p->o.train.batch;
    if (p->train_rows < 1) p->train_rows = 1;
    p->adapter_floats = ws_adapter_size(a);
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        if (s->kind != WS_SITE_LINEAR) continue;
        double n = (double)s->d_in * (double)s->d_out;
        all += n, above += s->layer >= ws_adapter_lowest_layer(a) ? n : 0;
    }
    p->above = all > 0 ? above / all : 0;
    ws_adapter_free(a);
    return WS_OK;
}

/* ---------- sizes that several stages go by ---------- */
int ws_plan_pairs(const ws_pipeline *p) { return p->o.data.topics * p->o.data.personas * p->o.data.samples; }
int ws_plan_in_flight(const ws_pipeline *p) { return p->o.data.max_rows ? p->o.data.max_rows : WS_GEN_ROWS; }
/* A row of training or of the margin: the prompt and an answer, cut at --max-len where `cut`. */
static double row_tokens(const ws_pipeline *p, int cut) {
    double n = p->lengths.prompt + p->o.data.max_new;
    return cut && n > p->o.max_len ? p->o.max_len : n;
}
static double train_rows(const ws_pipeline *p) {
    const int n = ws_plan_pairs(p);
    return n - ceil(n * p->o.train.holdout);
}
static double train_steps(const ws_pipeline *p) {
    const ws_train_options *t = &p->o.train;
    return t->max_steps ? (double)t->max_steps : ceil(train_rows(p) / (t->batch * t->accum)) * t->epochs;
}
int ws_plan_dose_topics(const ws_pipeline *p) {
    return p->o.eval.dose_topics ? p->o.eval.dose_topics : p->in->behavior->n_heldout;
}

/* ---------- seconds ---------- */
static double data_seconds(const ws_pipeline *p, const ws_speed *v) {
    const ws_contrast_options *d = &p->o.data;
    double answers = 2.0 * (ws_plan_pairs(p) + d->heldout);
    return ws_speed_decode(v, answers * d->max_new, fmin(ws_plan_in_flight(p), answers)) +
           ws_speed_prefill(v, answers * (p->lengths.prompt + p->lengths.system), 0);
}

static double train_seconds(const ws_pipeline *p, const ws_speed *v) {
    const ws_train_options *t = &p->o.train;
    double row = row_tokens(p, 1), answer = fmax(row - p->lengths.prompt, 1), steps = train_steps(p);
    double rows = t->max_steps ? steps * t->batch * t->accum : train_rows(p) * t->epochs;
    double held = ws_plan_pairs(p) - train_rows(p),
           evals = t->eval_every > 0 ? floor(steps / (double)t->eval_every) + 1 : 1;
    return ws_speed_train(v, rows * row, rows * answer, p->above, p->train.recompute, (double)p->adapter_floats) +
           ws_speed_prefill(v, held * row, held * answer) * evals;
}

static double calibrate_seconds(const ws_pipeline *p, const ws_speed *v) {
    const ws_calibrate_options *c = &p->o.calibrate;
    double probe = ws_speed_decode(v, BASE_ROWS * (double)c->n * c->tokens, fmin(BASE_ROWS * c->n, WS_GEN_ROWS)) +
                   ws_speed_prefill(v, c->n * p->lengths.question, 0);
    double audit =
        ws_speed_decode(v, BASE_ROWS * (double)c->audit * c->tokens, fmin(BASE_ROWS * c->audit, WS_GEN_ROWS));
    return 2 * (KL_PROBES * probe + audit);
}

static double eval_seconds(const ws_pipeline *p, const ws_speed *v) {
    const ws_eval_options *e = &p->o.eval;
    double seconds = 0, row = row_tokens(p, 0), answer = p->o.data.max_new;
    if (ws_eval_asked(e, "vignettes")) {
        double asked = 12.0 * p->lengths.vignettes, thought = asked * e->max_think;
        seconds += ws_speed_prefill(v, asked * p->lengths.vignette, asked);
        if (e->max_think) /* the answer is scored behind what has been read: closing and prefill are new */
            seconds +=
                ws_speed_decode(v, thought, ws_plan_in_flight(p)) + ws_speed_prefill(v, asked * CLOSING_TOKENS, asked);
    }
    if (ws_eval_asked(e, "margin"))
        seconds += ws_speed_prefill(v, 6.0 * p->o.data.heldout * row, 6.0 * p->o.data.heldout * answer);
    if (ws_eval_asked(e, "dose")) {
        double n = 5.0 * ws_plan_dose_topics(p) * e->dose_samples;
        seconds += ws_speed_decode(v, n * e->dose_tokens, fmin(ws_plan_in_flight(p), n)) +
                   ws_speed_prefill(v, n * e->dose_tokens, n * e->dose_tokens);
    }
    return seconds;
}

void ws_pipeline_times(const ws_pipeline *p, const ws_speed *v, double seconds[N_STAGES]) {
    seconds[STAGE_DATA] = data_seconds(p, v);
    seconds[STAGE_POS] = seconds[STAGE_NEG] = train_seconds(p, v);
    seconds[STAGE_DIFF] = 0.3 + (double)ws_model_params(p->in->model) / 0.7e9; /* norms read every weight */
    seconds[STAGE_CALIBRATE] = calibrate_seconds(p, v);
    seconds[STAGE_EVAL] = eval_seconds(p, v);
    seconds[STAGE_TABLE] = 2;
}

/* ---------- the stages ---------- */
static char *eval_does(const ws_pipeline *p) {
    const ws_eval_options *e = &p->o.eval;
    ws_str s = {0};
    if (ws_eval_asked(e, "vignettes")) {
        int n = p->lengths.vignettes;
        ws_str_addf(&s, "%d vignettes x 4 prompts x 3 strengths", n);
        if (e->max_think)
            ws_str_addf(&s, ", thoughts of at most %d tokens (%.0f in all)", e->max_think, 12.0 * n * e->max_think);
    }
    if (ws_eval_asked(e, "margin"))
        ws_str_addf(&s, "%smargin of %d held-out pairs", s.n ? "; " : "", p->o.data.heldout);
    if (ws_eval_asked(e, "dose"))
        ws_str_addf(&s, "%sdose: %d topics x %d samples of %d tokens at 5 strengths", s.n ? "; " : "",
                    ws_plan_dose_topics(p), e->dose_samples, e->dose_tokens);
    return ws_str_take(&s);
}

static char *train_does(const ws_pipeline *p, int neg) {
    const ws_train_options *t = &p->o.train;
    ws_str s = {0};
    ws_adapter_config_text(&t->adapter, &s);
    ws_str_addf(&s, " on the %s answers, %.0f steps of %d rows", neg ? "NEG" : "POS", train_steps(p),
                t->batch * t->accum);
    if (p->train.part)
        ws_str_addf(&s, ", %d of them packed at once%s", p->train_rows,
                    p->train.recompute ? ", blocks recomputed" : "");
    return ws_str_take(&s);
}

static void set(ws_stage *s, char *does, double seconds, int64_t memory, int64_t disk) {
    free(s->does);
    s->does = does, s->seconds = seconds, s->memory = memory, s->disk = disk;
}

ws_status ws_pipeline_estimate(ws_pipeline *p, int measure, ws_err *err) {
    const ws_run_options *o = &p->o;
    const ws_contrast_options *d = &o->data;
    const ws_calibrate_options *c = &o->calibrate;
    ws_model *m = p->in->model;
    ws_stage *s = p->stage;
    double t[N_STAGES];
    ws_think_form form;
    if (ws_think_form_of(&form, p->in->chat, d->thinking, err)) return err->code;
    if (ws_lengths_of(&p->lengths, p->in, o, p->prompts, err)) return err->code;
    p->speed = ws_speed_none(m);
    if (measure && ws_speed_measure(&p->speed, m, err)) return err->code;
    ws_model_rest(m);
    if (train_plan(p, (int64_t)ceil(row_tokens(p, 1)), err)) return err->code;
    ws_pipeline_times(p, &p->speed, t);
    const int64_t adapter = p->adapter_floats * 4, answers = 2LL * (ws_plan_pairs(p) + d->heldout);
    int64_t memory[N_STAGES];
    ws_pipeline_memory(p, memory);
    set(&s[STAGE_DATA],
        ws_sprintf("%d pairs (%d topics x %d personas x %d samples) and %d held-out ones, %s of at most %d tokens",
                   ws_plan_pairs(p), d->topics, d->personas, d->samples, d->heldout,
                   ws_think_expected(form, p->in->chat, d->thinking) ? "reasoning and answer" : "answers", d->max_new),
        t[STAGE_DATA], memory[STAGE_DATA], answers * d->max_new * 5);
    for (int k = 0; k < 2; k++) set(&s[STAGE_POS + k], train_does(p, k), t[STAGE_POS], memory[STAGE_POS], adapter);
    const int factors = (ws_adapter_reads(o->train.adapter.kind) & WS_READS_RANK) != 0;
    set(&s[STAGE_DIFF],
        factors ? ws_sprintf("dW = theta_pos - theta_neg, in factors of rank %d", 2 * o->train.adapter.rank)
                : ws_sprintf("dW = theta_pos - theta_neg, in closed form"),
        t[STAGE_DIFF], memory[STAGE_DIFF], 2 * adapter);
    set(&s[STAGE_CALIBRATE],
        ws_sprintf("alpha at p95 KL = %g nat for both signs: %d prompts x %d tokens a probe, audit on %d", c->target,
                   c->n, c->tokens, c->audit),
        t[STAGE_CALIBRATE], memory[STAGE_CALIBRATE], (int64_t)c->n * c->tokens * 400);
    set(&s[STAGE_EVAL], eval_does(p), t[STAGE_EVAL], memory[STAGE_EVAL], 2 << 20);
    set(&s[STAGE_TABLE], ws_xstrdup("tables, plots, samples, report.html"), t[STAGE_TABLE], memory[STAGE_TABLE],
        2 << 20);
    return WS_OK;
}
