#include "run/pipeline.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "calibrate/prompts.h"
#include "data/quality.h"
#include "eval/vigset.h"
#include "io/file.h"
#include "kernel/kernel.h"
#include "run/pipeline_impl.h"
#include "run/report.h"
#include "run/tree.h"
#include "train/schedule.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- what each stage does ---------- */
static ws_status run_data(void *arg, ws_err *err) {
    ws_pipeline *p = arg;
    ws_contrast_options o = p->o.data;
    ws_contrast_result r = {0};
    ws_pairs *pairs = NULL, *held = NULL;
    ws_pairs_quality q = {0};
    ws_str s = {0};
    char *path = ws_path_join(p->data, "report.json");
    o.dir = p->data, o.seed = p->o.seed, o.fresh = p->o.fresh;
    ws_status st = ws_contrast_run(p->in->model, p->in->tokenizer, p->in->chat, p->in->behavior, &o, &r, err);
    if (!st) st = ws_pairs_load(&pairs, p->pairs, err);
    if (!st) st = ws_pairs_check(pairs, err);
    if (!st && r.heldout) st = ws_pairs_load(&held, p->heldout, err);
    if (!st && r.heldout) st = ws_pairs_check(held, err);
    if (!st) st = ws_pairs_quality_of(&q, pairs, p->in->behavior, err);
    if (!st) {
        json_t *j = ws_pairs_quality_json(&q);
        st = ws_json_save(j, path, err);
        json_decref(j);
        ws_pairs_quality_print(&q, &s);
        if (s.n && s.p[s.n - 1] == '\n') s.p[--s.n] = 0;
        ws_note("%s: %s", p->pairs, s.p);
    }
    ws_model_rest(p->in->model); /* the stages need other sizes, and none pays for what the one before it took */
    free(path);
    ws_str_free(&s);
    ws_pairs_quality_free(&q);
    ws_pairs_free(pairs);
    ws_pairs_free(held);
    return st;
}

static ws_status train(ws_pipeline *p, int side, ws_err *err) {
    ws_train_options o = p->o.train;
    ws_train_result r = {0};
    ws_pairs *pairs = NULL;
    ws_examples *data = NULL;
    o.out = p->side[side], o.seed = p->o.seed, o.fresh = p->o.fresh;
    ws_status st = ws_pairs_load(&pairs, p->pairs, err);
    if (!st)
        st = ws_examples_build(&data, pairs, side ? WS_NEG : WS_POS, p->in->tokenizer, p->in->chat, p->o.max_len,
                               p->o.keep_end, err);
    if (!st) st = ws_train(p->in->model, data, &o, &r, err);
    ws_model_rest(p->in->model);
    ws_examples_free(data);
    ws_pairs_free(pairs);
    return st;
}
static ws_status run_pos(void *arg, ws_err *err) { return train(arg, 0, err); }
static ws_status run_neg(void *arg, ws_err *err) { return train(arg, 1, err); }

static ws_status run_diff(void *arg, ws_err *err) {
    ws_pipeline *p = arg;
    ws_adapter *a[2] = {NULL, NULL};
    ws_delta *d = NULL;
    ws_delta_info i;
    ws_status st = ws_adapter_load(&a[0], p->in->model, p->side[0], err);
    if (!st) st = ws_adapter_load(&a[1], p->in->model, p->side[1], err);
    if (!st) st = ws_delta_contrast(&d, p->in->model, a[0], a[1], p->o.mode, &i, err);
    if (!st) {
        ws_delta_set_source(d, "name", p->o.train.adapter.kind);
        ws_delta_set_source(d, "behavior", p->in->behavior->name);
        json_t *j = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i}", "norm", i.norm, "norm_pos",
                              i.norm_pos, "norm_neg", i.norm_neg, "norm_w", i.norm_w, "cos_pos_minus_neg",
                              i.cos_pos_neg_flipped, "asymmetry", i.asymmetry, "drift_ratio", i.drift_ratio,
                              "cos_drift", i.cos_drift, "sites", i.sites, "sites_one_sided", i.sites_one_sided);
        if (i.norm == 0)
            st = ws_fail(
                err, WS_EUNSUPPORTED,
                "dW is 0: both adapters are the same, so there is nothing to steer with; train for more steps (the "
                "first one has learning rate 0) or look at %s",
                p->pairs);
        else if (!j)
            st = ws_fail(err, WS_ENONFINITE, "the norms of dW are not finite: did the training diverge?");
        if (!st) st = ws_json_save(j, p->geometry, err);
        if (!st) st = ws_delta_save(d, p->dw, err);
        if (!st)
            ws_note("||dW|| %.4g (POS %.4g, NEG %.4g; %.3g of ||W||), cos(POS, -NEG) %.3f, drift ratio %.3f", i.norm,
                    i.norm_pos, i.norm_neg, i.norm / i.norm_w, i.cos_pos_neg_flipped, i.drift_ratio);
        json_decref(j);
    }
    ws_delta_free(d);
    ws_adapter_free(a[0]);
    ws_adapter_free(a[1]);
    ws_model_rest(p->in->model);
    return st;
}

static ws_status run_calibrate(void *arg, ws_err *err) {
    ws_pipeline *p = arg;
    ws_method *m = NULL;
    ws_calibration c = {0};
    ws_calibrate_options o = p->o.calibrate;
    o.out = p->calibration, o.seed = p->o.seed;
    ws_status st = ws_method_load(&m, p->in->model, p->dw, 0, err);
    if (!st) st = ws_calibrate(p->in->model, p->in->tokenizer, p->in->chat, &m, 1, &o, &c, err);
    for (int i = 0; !st && i < c.n; i++)
        for (int k = 0; k < c.row[i].n_sides; k++) {
            const ws_calibration_side *s = &c.row[i].side[k];
            ws_note("%s: alpha %+.4g, p95 KL %.3f nat (audit %.3f), %s", c.row[i].method, k ? -s->alpha : s->alpha,
                    s->at.p95, s->audit.p95, s->status);
        }
    ws_calibration_free(&c);
    ws_method_free(m);
    ws_model_rest(p->in->model);
    return st;
}

static ws_status run_eval(void *arg, ws_err *err) {
    ws_pipeline *p = arg;
    ws_method *m = NULL;
    ws_eval_options o = p->o.eval;
    o.out = p->adapter, o.calibration = p->calibration, o.pairs = p->heldout, o.seed = p->o.seed;
    ws_status st = ws_method_load(&m, p->in->model, p->dw, 0, err);
    if (!st) st = ws_eval_run(p->in->model, p->in->tokenizer, p->in->chat, p->in->behavior, &m, 1, &o, NULL, NULL, err);
    ws_method_free(m);
    ws_model_rest(p->in->model);
    return st;
}

static void add_output(void *arg, const char *path) { ws_stage_output(arg, path); }

static ws_status run_table(void *arg, ws_err *err) {
    ws_pipeline *p = arg;
    ws_results *r = NULL;
    ws_status st = ws_results_load(&r, p->run, err);
    if (!st) st = ws_report_write(r, p->report, err);
    if (!st) ws_report_files(r, p->report, add_output, &p->stage[STAGE_TABLE]);
    ws_results_free(r);
    return st;
}

/* ---------- setting up ---------- */
static void input_below(ws_stage *s, const char *dir, const char *file) {
    char *path = ws_path_join(dir, file);
    ws_stage_input(s, path);
    free(path);
}
static void output_below(ws_stage *s, const char *dir, const char *file) {
    char *path = ws_path_join(dir, file);
    ws_stage_output(s, path);
    free(path);
}

static const char *const vignette_files[] = {"readout.csv", "foundations.csv", "vignettes.csv",
                                             "dlogit.csv",  "si.csv",          "effect.csv"};

static void eval_files(ws_pipeline *p, ws_stage *s, void (*add)(ws_stage *, const char *, const char *)) {
    add(s, p->adapter, "eval.json");
    for (size_t i = 0; ws_eval_asked(&p->o.eval, "vignettes") && i < sizeof vignette_files / sizeof *vignette_files;
         i++)
        add(s, p->adapter, vignette_files[i]);
    if (ws_eval_asked(&p->o.eval, "vignettes") && p->o.eval.max_think) add(s, p->adapter, "thinking.csv");
    if (ws_eval_asked(&p->o.eval, "margin")) add(s, p->adapter, "margin.csv");
    if (ws_eval_asked(&p->o.eval, "dose")) add(s, p->adapter, "dose.csv"), add(s, p->adapter, "samples.jsonl");
}

static void set_stages(ws_pipeline *p) {
    static const char *const name[] = {"data", "train pos", "train neg", "diff", "calibrate", "eval", "table"};
    static ws_status (*const fn[])(void *, ws_err *) = {run_data,      run_pos,  run_neg,  run_diff,
                                                        run_calibrate, run_eval, run_table};
    ws_stage *s = p->stage;
    for (int i = 0; i < N_STAGES; i++)
        s[i].name = name[i], s[i].format = 1, s[i].run = fn[i], s[i].arg = p,
        s[i].options = ws_stage_options_json(p, i);
    s[STAGE_DATA].one_bar = s[STAGE_POS].one_bar = s[STAGE_NEG].one_bar = 1;
    s[STAGE_EVAL].same_kernels = 1;
    s[STAGE_TABLE].format = 3;
    ws_stage_output(&s[STAGE_DATA], p->pairs);
    output_below(&s[STAGE_DATA], p->data, "report.json");
    input_below(&s[STAGE_TABLE], p->data, "report.json");
    if (p->heldout) ws_stage_output(&s[STAGE_DATA], p->heldout);
    ws_stage_scratch(&s[STAGE_DATA], p->data);
    for (int k = 0; k < 2; k++) {
        ws_stage *t = &s[STAGE_POS + k];
        ws_stage_input(t, p->pairs);
        output_below(t, p->side[k], "adapter_config.json");
        output_below(t, p->side[k], "adapter_model.safetensors");
        output_below(t, p->side[k], "log.csv");
        ws_stage_scratch(t, p->side[k]);
        input_below(&s[STAGE_DIFF], p->side[k], "adapter_config.json");
        input_below(&s[STAGE_DIFF], p->side[k], "adapter_model.safetensors");
        input_below(&s[STAGE_TABLE], p->side[k], "log.csv");
    }
    ws_stage_output(&s[STAGE_DIFF], p->dw);
    ws_stage_output(&s[STAGE_DIFF], p->geometry);
    ws_stage_input(&s[STAGE_CALIBRATE], p->dw);
    ws_stage_input(&s[STAGE_CALIBRATE], p->prompts);
    static const char *const kl[] = {"summary.csv", "audit.csv", "root_history.csv"};
    for (int i = 0; i < 3; i++) {
        output_below(&s[STAGE_CALIBRATE], p->calibration, kl[i]);
        input_below(&s[STAGE_TABLE], p->calibration, kl[i]);
    }
    ws_stage_scratch(&s[STAGE_CALIBRATE], p->calibration);
    ws_stage_input(&s[STAGE_EVAL], p->dw);
    input_below(&s[STAGE_EVAL], p->calibration, "summary.csv");
    if (p->heldout && ws_eval_asked(&p->o.eval, "margin")) ws_stage_input(&s[STAGE_EVAL], p->heldout);
    for (int i = 0; i < 3; i++)
        if (p->vignettes[i]) ws_stage_input(&s[STAGE_EVAL], p->vignettes[i]);
    eval_files(p, &s[STAGE_EVAL], output_below);
    eval_files(p, &s[STAGE_TABLE], input_below);
    static const char *const raw[] = {"vignettes_raw.jsonl", "margin_raw.jsonl", "samples.jsonl"};
    for (int i = 0; i < 3; i++) {
        char *path = ws_path_join(p->adapter, raw[i]);
        ws_stage_scratch(&s[STAGE_EVAL], path);
        free(path);
    }
    output_below(&s[STAGE_TABLE], p->report, "report.md");
    output_below(&s[STAGE_TABLE], p->report, "report.html");
    ws_stage_scratch(&s[STAGE_TABLE], p->report);
}

/* Files from outside the run whose contents matter, found as the stages will find them. */
static ws_status outside_files(ws_pipeline *p, ws_err *err) {
    ws_vigset set;
    p->prompts = p->o.calibrate.prompts ? ws_xstrdup(p->o.calibrate.prompts) : ws_data_path("prompts.jsonl", err);
    if (!p->prompts) return err->code;
    if (!ws_eval_asked(&p->o.eval, "vignettes")) return WS_OK;
    if (ws_vigset_load(&set, p->o.eval.vignettes, err)) return err->code;
    for (int i = 0; i < 3; i++) p->vignettes[i] = ws_xstrdup(set.path[i]);
    ws_vigset_free(&set);
    return WS_OK;
}

/* What a later stage would refuse is refused now, not after an hour of training. */
static ws_status check_readouts(const ws_pipeline *p, ws_err *err) {
    const ws_eval e = {.model = p->in->model,
                       .tok = p->in->tokenizer,
                       .chat = p->in->chat,
                       .behavior = p->in->behavior,
                       .o = &p->o.eval};
    for (const char *r = p->o.eval.readouts;; r++) {
        char name[64];
        size_t n = strcspn(r, ",");
        snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), r);
        const ws_eval_ops *ops = ws_eval_find(name);
        if (!ops)
            return ws_fail(err, WS_EUSAGE, "--readout: there is no readout \"%s\"; there are: %s", name,
                           ws_eval_names());
        if (!strcmp(name, "margin")) { /* its pairs are made by this run */
            if (!p->in->behavior->n_heldout)
                return ws_fail(err, WS_EUSAGE, "%s has no \"heldout_topics\", which the readout margin needs",
                               p->in->behavior->path);
            if (p->o.data.heldout < 1)
                return ws_fail(err, WS_EUSAGE, "--readout margin needs held-out pairs: give --heldout 1 or more");
        } else if (ops->check(&e, err))
            return err->code;
        r += n;
        if (!*r) return WS_OK;
    }
}

/* Enough rows, and enough steps for an adapter to move at all. */
static ws_status check_steps(const ws_pipeline *p, ws_err *err) {
    const ws_contrast_options *d = &p->o.data;
    const ws_train_options *t = &p->o.train;
    ws_schedule s;
    int64_t rows = (int64_t)d->topics * d->personas * d->samples, steps;
    if (ws_schedule_new(&s, rows, t->holdout, t->shuffled, t->batch, t->accum, t->epochs, t->max_steps, t->lr,
                        t->warmup, p->o.seed, err))
        return err->code;
    steps = s.total;
    ws_schedule_release(&s);
    if (steps < 2 && t->warmup > 0)
        return ws_fail(err, WS_EUSAGE,
                       "%lld pairs make %lld step of %d x %d rows, and the first step has learning rate 0; take more "
                       "pairs (--samples), more --epochs, or a smaller --batch or --accum",
                       (long long)rows, (long long)steps, t->accum, t->batch);
    return WS_OK;
}

static ws_status check(const ws_pipeline *p, ws_err *err) {
    const ws_calibrate_options *c = &p->o.calibrate;
    ws_adapter *a = NULL;
    ws_pool pool = {0};
    ws_status st = WS_OK;
    if (p->o.train.init) return ws_fail(err, WS_EUSAGE, "--init: a run starts both sides from the same fresh adapter");
    st = ws_adapter_outline(&a, p->in->model, &p->o.train.adapter, err);
    ws_adapter_free(a);
    if (!st) st = ws_contrast_check(&p->o.data, err);
    if (!st) st = check_steps(p, err);
    if (!st) st = check_readouts(p, err);
    int most = ws_model_dims(p->in->model)->max_pos;
    if (!st && most > 0 && c->tokens >= most)
        st = ws_fail(err, WS_EUSAGE, "--kl-tokens %d: this model has %d positions", c->tokens, most);
    if (!st) st = ws_pool_load(&pool, p->prompts, err);
    if (!st && pool.n < c->n + (c->audit ? 1 : 0))
        st = ws_fail(err, WS_EUSAGE, "%s has %d prompts; --kl-prompts %d and the audit need more", p->prompts, pool.n,
                     c->n);
    ws_pool_free(&pool);
    return st;
}

ws_status ws_pipeline_new(ws_pipeline **out, const ws_run_input *in, const ws_run_options *o, ws_err *err) {
    ws_pipeline *p = ws_xcalloc(1, sizeof *p);
    *out = NULL;
    err->code = WS_OK;
    p->in = in, p->o = *o, p->lock = -1;
    p->o.data = ws_contrast_clamp(in->behavior, &o->data, 1);
    const char *root = o->out ? o->out : "out";
    p->run = ws_sprintf("%s/%s", root, in->behavior->name);
    p->data = ws_sprintf("%s/data/%s/%s", root, ws_checkpoint_name(ws_model_checkpoint(in->model)), in->behavior->name);
    p->pairs = ws_path_join(p->data, "pairs.jsonl");
    if (p->o.data.heldout) p->heldout = ws_path_join(p->data, "heldout.jsonl");
    p->adapter = ws_path_join(p->run, o->train.adapter.kind);
    p->side[0] = ws_path_join(p->adapter, "pos"), p->side[1] = ws_path_join(p->adapter, "neg");
    p->dw = ws_path_join(p->adapter, "dw.safetensors"), p->geometry = ws_path_join(p->adapter, "diff.json");
    p->calibration = ws_path_join(p->run, "kl_calibration"), p->report = ws_path_join(p->run, "report");
    json_t *identity = NULL;
    if (outside_files(p, err) || check(p, err)) goto fail;
    if (!o->look && (ws_mkdirs(p->run, err) || ws_lock(&p->lock, p->run, o->wait, err) || ws_tree_sweep(p->run, err) ||
                     ws_tree_sweep(p->data, err)))
        goto fail;
    if (o->fresh)
        p->manifest = ws_manifest_new(p->run);
    else if (ws_manifest_open(&p->manifest, p->run, err))
        goto fail;
    identity = ws_run_identity(p);
    WS_ASSERT(identity);
    if (ws_manifest_claim(p->manifest, identity, err)) goto fail;
    set_stages(p);
    *out = p;
    p = NULL;
fail:
    json_decref(identity);
    ws_pipeline_free(p);
    return err->code;
}

void ws_pipeline_free(ws_pipeline *p) {
    if (!p) return;
    ws_stages_free(p->stage, N_STAGES);
    ws_manifest_free(p->manifest);
    if (p->lock >= 0) ws_unlock(p->lock);
    char *s[] = {p->run,     p->data,     p->adapter,      p->side[0],      p->side[1],
                 p->dw,      p->geometry, p->calibration,  p->report,       p->pairs,
                 p->heldout, p->prompts,  p->vignettes[0], p->vignettes[1], p->vignettes[2]};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) free(s[i]);
    free(p);
}

const char *ws_pipeline_dir(const ws_pipeline *p) { return p->run; }
const char *ws_pipeline_report(const ws_pipeline *p) { return p->report; }

ws_status ws_pipeline_run(ws_pipeline *p, ws_stages_result *r, ws_err *err) {
    char hex[65];
    int work = 0;
    err->code = WS_OK;
    for (int i = 0; i < N_STAGES; i++) work |= !ws_stage_current(&p->stage[i], p->manifest, NULL);
    if (ws_pipeline_estimate(p, work, err)) return err->code;
    ws_code_hash(hex);
    ws_manifest_note(p->manifest, "program", json_pack("{s:s, s:s}", "name", "ws", "code_sha256", hex));
    ws_manifest_note(p->manifest, "kernels", json_string(ws_k.name));
    ws_manifest_note(p->manifest, "compute", json_string("f32"));
    ws_manifest_note(p->manifest, "threads", json_integer(ws_threads()));
    if (ws_manifest_save(p->manifest, err)) return err->code;
    if (p->o.fresh) /* nothing of another run may be taken up again */
        for (int i = 0; i < N_STAGES; i++)
            if (ws_stage_clear(&p->stage[i], err)) return err->code;
    return ws_stages_run(p->stage, N_STAGES, p->manifest, r, err);
}
