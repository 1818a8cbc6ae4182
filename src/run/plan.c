/* src/run/plan.c - what a run will cost: counted from its options, and from rates that were just measured.  Generation is
 * counted as if every answer reached its limit, so the truth is below. */
#include "run/pipeline_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLOSING_TOKENS = 20, /* a thought's forced closing and the prefill */
    KL_PROBES = 8,       /* of the root finder, a side */
    BASE_ROWS = 2        /* a steered and a base row for every token of the calibration */
};

/* What training one side holds, and how much of the model it goes back through. */
static ws_status train_plan(const ws_pipeline *p, ws_run_row *r, int64_t row, ws_err *err) {
    const ws_model *m = p->in->model;
    ws_adapter *a;
    double all = 0, above = 0;
    if (ws_adapter_outline(&a, m, &r->spec.adapter, err)) { /* in a sweep the row itself will say so */
        r->train = (ws_train_plan){0}, r->train_rows = 1, r->adapter_floats = 0, r->above = 0;
        return ws_is_sweep(p) ? WS_OK : err->code;
    }
    ws_patch *const patch[] = {ws_adapter_patch(a)};
    /* Rows of a step that share a beginning are two at least, and of one topic where they share a whole prompt. */
    const int64_t step = (int64_t)p->o.train.batch * p->o.train.accum, pack = ws_train_pack(row * p->o.train.batch);
    const int64_t tokens = row * step < pack ? row * step : pack;
    const int64_t alike = step / 2 < p->o.data.topics || p->own.path ? step / 2 : p->o.data.topics;
    const int64_t shared = ws_model_dims(m)->n_delta ? 0 : alike * (p->own.path ? row / 2 : (int64_t)p->lengths.prompt);
    r->train = ws_train_plan_sharing(m, tokens, row, shared, patch, 1, 0,
                                     p->o.train.memory ? p->o.train.memory : ws_train_budget(m));
    r->train_rows = r->train.part ? (int)(r->train.part / row) : (int)((tokens + row - 1) / row);
    if (r->train_rows < 1) r->train_rows = 1;
    if (r->train.part >= shared && r->train.part && !r->train.recompute) { /* whole rows may be fewer tokens */
        const int64_t part = r->train.part, whole = r->train_rows * row;
        r->train = ws_train_plan_sharing(m, whole, whole, shared, patch, 1, 0, INT64_MAX);
        r->train.part = part;
    }
    r->adapter_floats = ws_adapter_size(a);
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        if (s->kind != WS_SITE_LINEAR) continue;
        double n = (double)s->d_in * (double)s->d_out;
        all += n, above += s->layer >= ws_adapter_lowest_layer(a) ? n : 0;
    }
    r->above = all > 0 ? above / all : 0;
    ws_adapter_free(a);
    return WS_OK;
}

/* ---------- sizes that several stages go by ---------- */
int ws_plan_pairs(const ws_pipeline *p) { return p->o.data.topics * p->o.data.personas * p->o.data.samples; }
int ws_plan_in_flight(const ws_pipeline *p) { return p->o.data.max_rows ? p->o.data.max_rows : WS_GEN_ROWS; }
/* A row of training or of the margin: the prompt and an answer, cut at --max-len where `cut`. */
static double row_tokens(const ws_pipeline *p, int cut) {
    double n = p->own.path ? p->own.row : p->lengths.prompt + p->o.data.max_new;
    return cut && n > p->o.max_len ? p->o.max_len : n;
}
static double longest_row(const ws_pipeline *p) {
    return !p->own.path ? row_tokens(p, 1) : p->own.longest < p->o.max_len ? p->own.longest : p->o.max_len;
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
    if (p->own.path) return 0.1; /* read and written again */
    double answers = 2.0 * (ws_plan_pairs(p) + d->heldout);
    return ws_speed_decode(v, answers * d->max_new, fmin(ws_plan_in_flight(p), answers)) +
           ws_speed_prefill(v, answers * (p->lengths.prompt + p->lengths.system), 0);
}

static double train_seconds(const ws_pipeline *p, const ws_run_row *r, const ws_speed *v) {
    const ws_train_options *t = &p->o.train;
    double row = row_tokens(p, 1), steps = train_steps(p);
    double rows = t->max_steps ? steps * t->batch * t->accum : train_rows(p) * t->epochs;
    double answer = p->own.path ? fmin(p->own.answer, row) : fmax(row - p->lengths.prompt, 1);
    double held = ws_plan_pairs(p) - train_rows(p),
           evals = t->eval_every > 0 ? floor(steps / (double)t->eval_every) + 1 : 1;
    return ws_speed_train(v, rows * row, rows * answer, r->above, r->train.recompute, (double)r->adapter_floats) +
           ws_speed_prefill(v, held * row, held * answer) * evals;
}

static double calibrate_seconds(const ws_pipeline *p, const ws_speed *v) {
    const ws_calibrate_options *c = &p->o.calibrate;
    double probe = ws_speed_decode(v, BASE_ROWS * (double)c->n * c->tokens, fmin(BASE_ROWS * c->n, WS_GEN_ROWS)) +
                   ws_speed_prefill(v, c->n * p->lengths.question, 0);
    double audit =
        ws_speed_decode(v, BASE_ROWS * (double)c->audit * c->tokens, fmin(BASE_ROWS * c->audit, WS_GEN_ROWS));
    return 2 * audit + (c->mirrored ? KL_PROBES + 1 : 2 * KL_PROBES) * probe; /* of both sides */
}

int ws_plan_strengths(const ws_pipeline *p) {
    const ws_eval_options *e = &p->o.eval;
    int n = 1;
    for (int i = 0; i < e->n_parts; i++) {
        int again = e->part[i] == 1;
        for (int k = 0; k < i; k++) again |= e->part[k] == e->part[i];
        n += !again;
    }
    return 2 * n;
}

/* `strengths` of the vignettes' and the margin's, `doses` of the dose's. */
static double eval_seconds(const ws_pipeline *p, const ws_speed *v, int strengths, int doses) {
    const ws_eval_options *e = &p->o.eval;
    double seconds = 0, row = row_tokens(p, 0), answer = p->own.path ? p->own.answer : p->o.data.max_new;
    if (ws_eval_asked(e, "vignettes")) {
        double asked = 4.0 * strengths * p->lengths.vignettes, thought = asked * e->max_think;
        seconds += ws_speed_prefill(v, asked * p->lengths.vignette, asked);
        if (e->max_think) /* the answer is scored behind what has been read: closing and prefill are new */
            seconds +=
                ws_speed_decode(v, thought, ws_plan_in_flight(p)) + ws_speed_prefill(v, asked * CLOSING_TOKENS, asked);
    }
    if (ws_eval_asked(e, "margin"))
        seconds += ws_speed_prefill(v, 2.0 * strengths * p->o.data.heldout * row,
                                    2.0 * strengths * p->o.data.heldout * answer);
    if (ws_eval_asked(e, "canaries")) { /* two answers and a prompt with a prefill */
        double n = (double)strengths * e->canary_prompts, longest = 130;
        seconds += ws_speed_decode(v, n * longest, fmin(ws_plan_in_flight(p), 2 * n)) +
                   ws_speed_prefill(v, 3 * n * p->lengths.question, n);
    }
    if (ws_eval_asked(e, "dose")) {
        double n = (double)doses * ws_plan_dose_topics(p) * e->dose_samples;
        seconds += ws_speed_decode(v, n * e->dose_tokens, fmin(ws_plan_in_flight(p), n)) +
                   ws_speed_prefill(v, n * e->dose_tokens, n * e->dose_tokens);
    }
    return seconds;
}

static double stage_seconds(const ws_task *t, const ws_speed *v) {
    const ws_pipeline *p = t->p;
    switch (t->kind) {
    case STAGE_DATA: return data_seconds(p, v);
    case STAGE_BASE: return eval_seconds(p, v, 1, 1);
    case STAGE_EXTRACT: return ws_speed_prefill(v, 2.0 * p->o.extract.n * (p->lengths.prompt + p->lengths.system), 0);
    case STAGE_POS:
    case STAGE_NEG: return train_seconds(p, ws_task_row(t), v);
    case STAGE_DIFF: return 0.3 + (double)ws_model_params(p->in->model) / 0.7e9; /* norms read every weight */
    case STAGE_CALIBRATE: return calibrate_seconds(p, v) / (ws_task_row(t)->spec.kind == WS_ROW_PROMPT ? KL_PROBES : 1);
    case STAGE_EVAL:
        return ws_is_sweep(p) ? eval_seconds(p, v, ws_plan_strengths(p), 4)
                              : eval_seconds(p, v, 1 + ws_plan_strengths(p), 5);
    case STAGE_TABLE: return 2;
    }
    return 0;
}

void ws_pipeline_times(const ws_pipeline *p, const ws_speed *v, double *seconds) {
    for (int i = 0; i < p->n_stages; i++) seconds[i] = stage_seconds(&p->task[i], v);
}

/* ---------- the stages ---------- */
static char *eval_does(const ws_pipeline *p, int strengths, int doses) {
    const ws_eval_options *e = &p->o.eval;
    ws_str s = {0};
    if (ws_eval_asked(e, "vignettes")) {
        int n = p->lengths.vignettes;
        ws_str_addf(&s, "%d vignettes x 4 prompts x %d strength%s", n, strengths, strengths > 1 ? "s" : "");
        if (e->max_think)
            ws_str_addf(&s, ", thoughts of at most %d tokens (%d in all)", e->max_think,
                        4 * strengths * n * e->max_think);
    }
    if (ws_eval_asked(e, "margin"))
        ws_str_addf(&s, "%smargin of %d held-out pairs", s.n ? "; " : "", p->o.data.heldout);
    if (ws_eval_asked(e, "canaries")) ws_str_addf(&s, "%scanaries on %d prompts", s.n ? "; " : "", e->canary_prompts);
    if (ws_eval_asked(e, "dose"))
        ws_str_addf(&s, "%sdose: %d topics x %d samples of %d tokens at %d strength%s", s.n ? "; " : "",
                    ws_plan_dose_topics(p), e->dose_samples, e->dose_tokens, doses, doses > 1 ? "s" : "");
    return ws_str_take(&s);
}

static char *train_does(const ws_pipeline *p, const ws_run_row *r, int neg) {
    const ws_train_options *t = &p->o.train;
    ws_str s = {0};
    ws_adapter_config_text(&r->spec.adapter, &s);
    ws_str_addf(&s, " on the %s answers%s, %.0f steps of %d rows", neg ? "NEG" : "POS",
                r->spec.kind == WS_ROW_SHUFFLED ? " mixed by a coin with the others" : "", train_steps(p),
                t->batch * t->accum);
    if (r->train.part)
        ws_str_addf(&s, ", in parts of %d sequence%s%s", r->train_rows, r->train_rows > 1 ? "s" : "",
                    r->train.recompute ? ", blocks recomputed" : "");
    return ws_str_take(&s);
}

static char *diff_does(const ws_pipeline *p, const ws_run_row *r) {
    if (r->spec.kind == WS_ROW_PROMPT) return ws_xstrdup("its prompt as a file");
    if (r->spec.kind == WS_ROW_RANDOM)
        return ws_sprintf("random factors, at every module as long as the dW of %s", p->row[r->spec.of].spec.name);
    if (ws_adapter_reads(r->spec.adapter.kind) & WS_READS_RANK)
        return ws_sprintf("dW = theta_pos - theta_neg, in factors of rank %d", 2 * r->spec.adapter.rank);
    return ws_xstrdup("dW = theta_pos - theta_neg, in closed form");
}

static void describe(const ws_task *t, ws_stage *s, int reasons) {
    const ws_pipeline *p = t->p;
    const ws_contrast_options *d = &p->o.data;
    const ws_calibrate_options *c = &p->o.calibrate;
    const ws_run_row *r = ws_task_row(t);
    const int64_t adapter = r ? r->adapter_floats * 4 : 0;
    char *does = NULL;
    switch (t->kind) {
    case STAGE_DATA:
        if (p->own.path) {
            does = ws_sprintf("%d pairs of %s, and %d of it that are never trained on", d->topics, p->own.path,
                              d->heldout);
            s->disk = (int64_t)(2.0 * (d->topics + d->heldout) * p->own.row * 5);
            break;
        }
        does =
            ws_sprintf("%d pairs (%d topics x %d personas x %d samples) and %d held-out ones, %s of at most %d tokens",
                       ws_plan_pairs(p), d->topics, d->personas, d->samples, d->heldout,
                       reasons ? "reasoning and answer" : "answers", d->max_new);
        s->disk = 2LL * (ws_plan_pairs(p) + d->heldout) * d->max_new * 5;
        break;
    case STAGE_POS:
    case STAGE_NEG: does = train_does(p, r, t->kind == STAGE_NEG), s->disk = adapter; break;
    case STAGE_DIFF: does = diff_does(p, r), s->disk = 2 * adapter; break;
    case STAGE_CALIBRATE:
        does = r->spec.kind == WS_ROW_PROMPT
                   ? ws_sprintf("KL of the prompt as it is: %d prompts x %d tokens, audit on %d", c->n, c->tokens,
                                c->audit)
                   : ws_sprintf("alpha at p95 KL = %g nat for both signs: %d prompts x %d tokens a probe, audit on %d",
                                c->target, c->n, c->tokens, c->audit);
        s->disk = (int64_t)c->n * c->tokens * 400;
        break;
    case STAGE_BASE: does = eval_does(p, 1, 1), s->disk = 1 << 20; break;
    case STAGE_EXTRACT:
        does = ws_sprintf("vectors of the hidden-state methods from the states of %d persona pairs", p->o.extract.n);
        s->disk = 64 << 20;
        break;
    case STAGE_EVAL:
        does = ws_is_sweep(p) ? eval_does(p, ws_plan_strengths(p), 4) : eval_does(p, 1 + ws_plan_strengths(p), 5);
        s->disk = 2 << 20;
        break;
    case STAGE_TABLE: does = ws_xstrdup("tables, plots, samples, report.html"), s->disk = 2 << 20; break;
    }
    free(s->does);
    s->does = does;
}

ws_status ws_pipeline_estimate(ws_pipeline *p, int measure, ws_err *err) {
    ws_model *m = p->in->model;
    int thinking = p->o.data.thinking;
    ws_think_form form;
    if (ws_think_form_of(&form, p->in->chat, thinking, err)) return err->code;
    if (ws_lengths_of(&p->lengths, p->in, &p->o, p->prompts, err)) return err->code;
    p->speed = ws_speed_none(m);
    if (measure && ws_speed_measure(&p->speed, m, err)) return err->code;
    ws_model_rest(m);
    for (int i = 0; i < p->n_rows; i++)
        if (ws_row_trains(p->row[i].spec.kind) && train_plan(p, &p->row[i], (int64_t)ceil(longest_row(p)), err))
            return err->code;
    int reasons = ws_think_expected(form, p->in->chat, thinking);
    for (int i = 0; i < p->n_stages; i++) {
        ws_stage *s = &p->stage[i];
        s->seconds = stage_seconds(&p->task[i], &p->speed);
        s->memory = ws_task_memory(&p->task[i]);
        describe(&p->task[i], s, reasons);
    }
    return WS_OK;
}
