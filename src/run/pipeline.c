#include "run/pipeline.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "calibrate/prompts.h"
#include "data/quality.h"
#include "eval/vigset.h"
#include "io/file.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "run/pipeline_impl.h"
#include "run/report.h"
#include "run/tree.h"
#include "train/schedule.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- setting up ---------- */
static void input_below(ws_stage *s, const char *dir, const char *file) {
    char *path = ws_path_join(dir, file);
    ws_stage_input_of(s, path, 0);
    free(path);
}
static void output_below(ws_stage *s, const char *dir, const char *file) {
    char *path = ws_path_join(dir, file);
    ws_stage_output(s, path);
    free(path);
}
static void scratch_below(ws_stage *s, const char *dir, const char *file) {
    char *path = ws_path_join(dir, file);
    ws_stage_scratch(s, path);
    free(path);
}
/* An output of a row's stage that the tables are made of. */
static void shown(ws_stage *s, ws_stage *table, const char *dir, const char *file) {
    char *path = ws_path_join(dir, file);
    ws_stage_output(s, path);
    ws_stage_input_of(table, path, s->group);
    free(path);
}

static const char *const vignette_files[] = {"readout.csv", "foundations.csv", "vignettes.csv",
                                             "dlogit.csv",  "si.csv",          "effect.csv"};

/* Readouts, and where each keeps its raw answers. */
enum { N_RAW = 4 };
static const char *const raw_files[N_RAW][2] = {{"vignettes", "vignettes_raw.jsonl"},
                                                {"margin", "margin_raw.jsonl"},
                                                {"dose", "samples.jsonl"},
                                                {"canaries", "canaries_raw.jsonl"}};

static void eval_files(const ws_pipeline *p, ws_stage *s, ws_stage *table, const char *dir) {
    int vignettes = ws_eval_asked(&p->o.eval, "vignettes"), dose = ws_eval_asked(&p->o.eval, "dose");
    shown(s, table, dir, "eval.json");
    for (size_t i = 0; vignettes && i < sizeof vignette_files / sizeof *vignette_files; i++)
        shown(s, table, dir, vignette_files[i]);
    if (vignettes && p->o.eval.max_think) shown(s, table, dir, "thinking.csv");
    if (ws_eval_asked(&p->o.eval, "margin")) shown(s, table, dir, "margin.csv");
    if (dose) shown(s, table, dir, "dose.csv"), shown(s, table, dir, "samples.jsonl");
    if (ws_eval_asked(&p->o.eval, "canaries")) shown(s, table, dir, "canaries.csv");
    for (int i = 0; i < N_RAW; i++) scratch_below(s, dir, raw_files[i][1]);
}

/* The outside files that answers depend on. */
static void eval_inputs(const ws_pipeline *p, ws_stage *s) {
    if (p->heldout && ws_eval_asked(&p->o.eval, "margin")) ws_stage_input(s, p->heldout);
    for (int i = 0; i < 3; i++)
        if (p->vignettes[i]) ws_stage_input(s, p->vignettes[i]);
}

/* What a row's evaluation takes over from the base's. */
static void base_inputs(const ws_pipeline *p, ws_stage *s) {
    for (int i = 0; i < N_RAW; i++)
        if (ws_eval_asked(&p->o.eval, raw_files[i][0])) input_below(s, p->base, raw_files[i][1]);
}

static void base_outputs(const ws_pipeline *p, ws_stage *s) {
    output_below(s, p->base, "eval.json");
    for (int i = 0; i < N_RAW; i++)
        if (ws_eval_asked(&p->o.eval, raw_files[i][0])) output_below(s, p->base, raw_files[i][1]);
    ws_stage_scratch(s, p->base);
}

static ws_stage *stage(ws_pipeline *p, ws_stage_kind kind, int row) {
    static const char *const name[] = {"data", "base",      "extract", "train pos", "train neg",
                                       "diff", "calibrate", "eval",    "table"};
    ws_stage *s = &p->stage[p->n_stages];
    ws_task *t = &p->task[p->n_stages++];
    *t = (ws_task){p, kind, row};
    s->name =
        row >= 0 && ws_is_sweep(p) ? ws_sprintf("%s: %s", p->row[row].spec.name, name[kind]) : ws_xstrdup(name[kind]);
    s->format = 1, s->run = ws_task_run, s->arg = t, s->options = ws_stage_options_json(t);
    s->group = ws_is_sweep(p) ? row + 1 : 0;
    return s;
}

static void training(ws_pipeline *p, int i, ws_stage *table) {
    ws_run_row *r = &p->row[i];
    ws_stage *side[2] = {stage(p, STAGE_POS, i), stage(p, STAGE_NEG, i)}, *diff = stage(p, STAGE_DIFF, i);
    for (int k = 0; k < 2; k++) {
        side[k]->one_bar = 1;
        ws_stage_input(side[k], p->pairs);
        output_below(side[k], r->side[k], "adapter_config.json");
        output_below(side[k], r->side[k], "adapter_model.safetensors");
        shown(side[k], table, r->side[k], "log.csv");
        ws_stage_scratch(side[k], r->side[k]);
        input_below(diff, r->side[k], "adapter_config.json");
        input_below(diff, r->side[k], "adapter_model.safetensors");
    }
    ws_stage_output(diff, r->dw);
    ws_stage_output(diff, r->geometry);
    if (ws_is_sweep(p)) ws_stage_input_of(table, r->geometry, diff->group);
}

static void drawing(ws_pipeline *p, int i, ws_stage *table) {
    ws_run_row *r = &p->row[i];
    ws_stage *s = stage(p, STAGE_DIFF, i);
    s->needs = r->spec.of + 1;
    ws_stage_input(s, p->row[r->spec.of].dw);
    ws_stage_output(s, r->dw);
    shown(s, table, r->dir, "diff.json");
}

static void extracting(ws_pipeline *p) {
    ws_stage *s = stage(p, STAGE_EXTRACT, -1);
    s->group = p->n_rows + 1; /* adapters do without it */
    s->same_kernels = 1;
    ws_stage_input(s, p->suffixes);
    output_below(s, p->vectors, "extract.json");
    for (int i = 0; i < p->n_rows; i++)
        if (ws_row_is_vector(p->row[i].spec.kind)) ws_stage_output(s, p->row[i].dw);
    ws_stage_scratch(s, p->vectors);
}

static void writing_prompt(ws_pipeline *p, int i) { ws_stage_output(stage(p, STAGE_DIFF, i), p->row[i].dw); }

static void calibrating(ws_pipeline *p, int i, ws_stage *table) {
    static const char *const kl[] = {"summary.csv", "audit.csv", "root_history.csv"};
    ws_run_row *r = &p->row[i];
    ws_stage *s = stage(p, STAGE_CALIBRATE, i);
    if (ws_row_is_vector(r->spec.kind)) s->needs = p->n_rows + 1; /* the group of the extraction */
    ws_stage_input(s, r->dw);
    ws_stage_input(s, p->prompts);
    for (int k = 0; k < 3; k++) shown(s, table, r->calibration, kl[k]);
    ws_stage_scratch(s, r->calibration);
}

static void evaluating(ws_pipeline *p, int i, ws_stage *table) {
    ws_run_row *r = &p->row[i];
    ws_stage *s = stage(p, STAGE_EVAL, i);
    s->same_kernels = 1;
    ws_stage_input(s, r->dw);
    input_below(s, r->calibration, "summary.csv");
    eval_inputs(p, s);
    if (ws_is_sweep(p)) base_inputs(p, s);
    eval_files(p, s, table, r->dir);
}

/* All rows are trained, then all calibrated, then all evaluated, so that what they share is held in memory once. */
static void set_stages(ws_pipeline *p) {
    int most = 4 + 5 * p->n_rows;
    p->stage = ws_xcalloc((size_t)most, sizeof *p->stage);
    p->task = ws_xcalloc((size_t)most, sizeof *p->task);
    ws_stage table = {0}; /* its inputs are gathered on the way */
    ws_stage *s = stage(p, STAGE_DATA, -1);
    s->one_bar = 1;
    if (p->own.path) ws_stage_input(s, p->own.path);
    ws_stage_output(s, p->pairs);
    shown(s, &table, p->data, "report.json");
    if (p->heldout) ws_stage_output(s, p->heldout);
    ws_stage_scratch(s, p->data);
    if (ws_is_sweep(p)) {
        s = stage(p, STAGE_BASE, -1);
        s->same_kernels = 1;
        eval_inputs(p, s);
        base_outputs(p, s);
    }
    if (p->suffixes) extracting(p);
    for (int i = 0; i < p->n_rows; i++) {
        ws_row_kind k = p->row[i].spec.kind;
        if (ws_row_trains(k)) training(p, i, &table);
        if (k == WS_ROW_RANDOM) drawing(p, i, &table);
        if (k == WS_ROW_PROMPT) writing_prompt(p, i);
    }
    for (int i = 0; i < p->n_rows; i++) calibrating(p, i, &table);
    for (int i = 0; i < p->n_rows; i++) evaluating(p, i, &table);
    s = stage(p, STAGE_TABLE, -1);
    s->format = 4; /* raise it when the report of an unchanged run would read differently */
    s->input = table.input, s->input_group = table.input_group, s->n_inputs = table.n_inputs;
    output_below(s, p->report, "report.md");
    output_below(s, p->report, "report.html");
    ws_stage_scratch(s, p->report);
}

/* Files from outside the run whose contents matter, found as the stages will find them. */
static ws_status outside_files(ws_pipeline *p, ws_err *err) {
    ws_vigset set;
    int vectors = 0;
    for (int i = 0; i < p->n_rows; i++) vectors |= ws_row_is_vector(p->row[i].spec.kind);
    if (vectors) {
        int first, last;
        if (ws_extract_layers(p->in->model, &p->o.extract, &first, &last, err)) return err->code;
        p->suffixes = p->o.extract.suffixes ? ws_xstrdup(p->o.extract.suffixes) : ws_data_path("suffixes.jsonl", err);
        if (!p->suffixes) return err->code;
    }
    const ws_calibrate_options *c = &p->o.calibrate;
    p->prompts = c->prompts ? ws_xstrdup(c->prompts) : ws_data_path(ws_pool_own(c->messages), err);
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
            if (!p->own.path && !p->in->behavior->n_heldout)
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
                       "pairs%s, more --epochs, or a smaller --batch or --accum",
                       (long long)rows, (long long)steps, t->accum, t->batch, p->own.path ? "" : " (--samples)");
    return WS_OK;
}

static ws_status check(const ws_pipeline *p, ws_err *err) {
    const ws_calibrate_options *c = &p->o.calibrate;
    ws_adapter *a = NULL;
    ws_pool pool = {0};
    ws_status st = WS_OK;
    if (p->o.train.init) return ws_fail(err, WS_EUSAGE, "--init: a run starts both sides from the same fresh adapter");
    /* A sweep finds out row by row; a run would find out after an hour of data. */
    if (!ws_is_sweep(p)) st = ws_adapter_outline(&a, p->in->model, &p->o.train.adapter, err);
    ws_adapter_free(a);
    for (int i = 0; i < p->n_rows && !st; i++)
        if (p->row[i].spec.kind == WS_ROW_PROMPT && !strcmp(p->row[i].spec.name, WS_PROMPT_ENGINEERED) &&
            !p->in->behavior->engineered_pos)
            st = ws_fail(err, WS_EUSAGE, "%s has no \"engineered\" prompts, which the row engineered_prompt needs",
                         p->in->behavior->path);
    if (!st) st = ws_contrast_check(&p->o.data, err);
    for (int i = 0, checked = 0; i < p->n_rows && !st && !checked; i++)
        if (ws_row_trains(p->row[i].spec.kind)) st = check_steps(p, err), checked = 1;
    if (!st) st = check_readouts(p, err);
    int most = ws_model_dims(p->in->model)->max_pos;
    if (!st && most > 0 && c->tokens >= most)
        st = ws_fail(err, WS_EUSAGE, "--kl-tokens %d: this model has %d positions", c->tokens, most);
    if (!st) st = ws_pool_open(&pool, p->prompts, c->messages, p->o.seed, err);
    if (!st && pool.n < c->n + (c->audit ? 1 : 0))
        st = ws_fail(err, WS_EUSAGE, "%s has %d prompts; --kl-prompts %d and the audit need more", p->prompts, pool.n,
                     c->n);
    ws_pool_free(&pool);
    return st;
}

/* The rows with their places.  A run has one, whose calibration lies beside it; in a sweep it lies inside each row. */
static void set_rows(ws_pipeline *p) {
    ws_row_spec only = {
        .name = (char *)(uintptr_t)p->o.train.adapter.kind, .adapter = p->o.train.adapter, .seed = p->o.seed, .of = -1};
    p->n_rows = ws_is_sweep(p) ? p->o.rows->n : 1;
    p->row = ws_xcalloc((size_t)p->n_rows, sizeof *p->row);
    for (int i = 0; i < p->n_rows; i++) {
        ws_run_row *r = &p->row[i];
        r->spec = ws_is_sweep(p) ? p->o.rows->row[i] : only;
        r->dir = ws_path_join(p->run, r->spec.name);
        r->side[0] = ws_path_join(r->dir, "pos"), r->side[1] = ws_path_join(r->dir, "neg");
        r->dw = ws_row_is_vector(r->spec.kind)  ? ws_sprintf("%s/%s.safetensors", p->vectors, r->spec.name)
                : r->spec.kind == WS_ROW_PROMPT ? ws_path_join(r->dir, "prompt.json")
                                                : ws_path_join(r->dir, "dw.safetensors");
        r->geometry = ws_path_join(r->dir, "diff.json");
        r->calibration = ws_path_join(ws_is_sweep(p) ? r->dir : p->run, "kl_calibration");
    }
}

ws_status ws_pipeline_new(ws_pipeline **out, const ws_run_input *in, const ws_run_options *o, ws_err *err) {
    ws_pipeline *p = ws_xcalloc(1, sizeof *p);
    json_t *identity = NULL;
    *out = NULL;
    err->code = WS_OK;
    p->in = in, p->o = *o, p->lock = -1;
    if (!o->pairs) p->o.data = ws_contrast_clamp(in->behavior, &o->data, 1);
    if (o->pairs && ws_own_open(p, err)) goto fail;
    const char *root = o->out ? o->out : "out";
    p->run = ws_sprintf("%s/%s", root, in->behavior->name);
    p->data = ws_sprintf("%s/data/%s/%s", root, ws_checkpoint_name(ws_model_checkpoint(in->model)), in->behavior->name);
    p->pairs = ws_path_join(p->data, "pairs.jsonl");
    if (p->o.data.heldout) p->heldout = ws_path_join(p->data, "heldout.jsonl");
    p->base = ws_path_join(p->run, "base"), p->vectors = ws_path_join(p->run, "vectors"),
    p->report = ws_path_join(p->run, "report");
    set_rows(p);
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
    for (int i = 0; i < p->n_stages; i++) free((char *)(uintptr_t)p->stage[i].name);
    ws_stages_free(p->stage, p->n_stages);
    ws_cal_keep_free(p->kept);
    ws_manifest_free(p->manifest);
    if (p->lock >= 0) ws_unlock(p->lock);
    for (int i = 0; i < p->n_rows; i++) {
        ws_run_row *r = &p->row[i];
        free(r->dir), free(r->side[0]), free(r->side[1]), free(r->dw), free(r->geometry), free(r->calibration);
    }
    char *s[] = {p->run,      p->data,    p->base,    p->vectors,      p->report,       p->pairs,
                 p->suffixes, p->heldout, p->prompts, p->vignettes[0], p->vignettes[1], p->vignettes[2]};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) free(s[i]);
    free(p->stage), free(p->task), free(p->row);
    free(p);
}

const char *ws_pipeline_dir(const ws_pipeline *p) { return p->run; }
const char *ws_pipeline_report(const ws_pipeline *p) { return p->report; }

ws_status ws_pipeline_run(ws_pipeline *p, ws_stages_result *r, ws_err *err) {
    char hex[65];
    int work = 0;
    err->code = WS_OK;
    for (int i = 0; i < p->n_stages; i++) work |= !ws_stage_current(&p->stage[i], p->manifest, NULL);
    if (ws_pipeline_estimate(p, work, err)) return err->code;
    ws_code_hash(hex);
    ws_manifest_note(p->manifest, "program", json_pack("{s:s, s:s}", "name", "ws", "code_sha256", hex));
    ws_manifest_note(p->manifest, "kernels", json_string(ws_k.name));
    ws_manifest_note(p->manifest, "compute", json_string(ws_compute_name()));
    ws_manifest_note(p->manifest, "compute_why", json_string(ws_compute_why()));
    ws_manifest_note(p->manifest, "threads", json_integer(ws_threads()));
    if (ws_is_sweep(p)) ws_manifest_note(p->manifest, "rows", ws_rows_json(p));
    if (p->own.path)
        ws_manifest_note(p->manifest, "pairs",
                         json_pack("{s:s, s:s, s:i, s:i}", "path", p->own.path, "sha256", p->own.hash, "rows",
                                   p->o.data.topics, "heldout", p->o.data.heldout));
    if (ws_manifest_save(p->manifest, err)) return err->code;
    if (p->o.fresh) /* nothing of another run may be taken up again */
        for (int i = 0; i < p->n_stages; i++)
            if (ws_stage_clear(&p->stage[i], err)) return err->code;
    ws_status st = ws_stages_run(p->stage, p->n_stages, p->manifest, r, err);
    if (!strcmp(r->gave_up, "extract")) r->n_failures--; /* not a row itself */
    return st;
}
