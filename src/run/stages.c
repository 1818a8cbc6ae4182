/* src/run/stages.c - what each stage of a run does. */
#include "base/log.h"
#include "data/quality.h"
#include "io/file.h"
#include "run/pipeline_impl.h"
#include "run/report.h"
#include "steer/prompt.h"
#include <math.h>
#include <stdlib.h>

static ws_status run_data(const ws_task *t, ws_err *err) {
    const ws_pipeline *p = t->p;
    ws_contrast_options o = p->o.data;
    ws_contrast_result r = {0};
    ws_pairs *pairs = NULL, *held = NULL;
    ws_pairs_quality q = {0};
    ws_str s = {0};
    char *path = ws_path_join(p->data, "report.json");
    o.dir = p->data, o.seed = p->o.seed, o.fresh = p->o.fresh;
    ws_status st = p->own.path
                       ? ws_own_write(p, err)
                       : ws_contrast_run(p->in->model, p->in->tokenizer, p->in->chat, p->in->behavior, &o, &r, err);
    if (p->own.path) r.heldout = o.heldout;
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

static ws_status run_train(const ws_task *t, ws_err *err) {
    const ws_pipeline *p = t->p;
    const ws_run_row *row = ws_task_row(t);
    int side = t->kind == STAGE_NEG;
    ws_train_options o = p->o.train;
    ws_train_result r = {0};
    ws_pairs *pairs = NULL;
    ws_examples *data = NULL;
    o.adapter = row->spec.adapter, o.out = row->side[side], o.seed = row->spec.seed, o.fresh = p->o.fresh;
    ws_status st = ws_pairs_load(&pairs, p->pairs, err);
    if (!st && row->spec.kind == WS_ROW_SHUFFLED) ws_pairs_mix(pairs, row->spec.seed);
    if (!st)
        st = ws_examples_build(&data, pairs, side ? WS_NEG : WS_POS, p->in->tokenizer, p->in->chat, p->o.max_len,
                               p->o.keep_end, err);
    if (!st) st = ws_train(p->in->model, data, &o, &r, err);
    ws_examples_free(data);
    ws_pairs_free(pairs);
    ws_model_rest(p->in->model);
    return st;
}

/* Frobenius norm of dW in each layer that it touches, in their order; -1: outside the layers. */
static json_t *layer_norms(const ws_delta *d, const ws_model *m) {
    json_t *list = json_array();
    for (int layer = -1; layer < ws_model_dims(m)->layers; layer++) {
        double square = 0;
        int any = 0;
        for (int i = 0; i < ws_delta_n_sites(d); i++) {
            if (ws_model_site(m, ws_delta_site(d, i))->layer != layer) continue;
            double norm = ws_delta_site_norm(d, i);
            square += norm * norm, any = 1;
        }
        if (any) json_array_append_new(list, json_pack("{s:i, s:f}", "layer", layer, "norm", sqrt(square)));
    }
    return list;
}

static ws_status run_diff(const ws_task *t, ws_err *err) {
    const ws_pipeline *p = t->p;
    const ws_run_row *row = ws_task_row(t);
    ws_adapter *a[2] = {NULL, NULL};
    ws_delta *d = NULL;
    ws_delta_info i;
    ws_status st = ws_adapter_load(&a[0], p->in->model, row->side[0], err);
    if (!st) st = ws_adapter_load(&a[1], p->in->model, row->side[1], err);
    if (!st) st = ws_delta_contrast(&d, p->in->model, a[0], a[1], p->o.mode, &i, err);
    if (!st) {
        ws_delta_set_source(d, "name", row->spec.name);
        ws_delta_set_source(d, "behavior", p->in->behavior->name);
        json_t *j = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i}", "norm", i.norm, "norm_pos",
                              i.norm_pos, "norm_neg", i.norm_neg, "norm_w", i.norm_w, "cos_pos_minus_neg",
                              i.cos_pos_neg_flipped, "asymmetry", i.asymmetry, "drift_ratio", i.drift_ratio,
                              "cos_drift", i.cos_drift, "sites", i.sites, "sites_one_sided", i.sites_one_sided);
        if (j) json_object_set_new(j, "parameters", json_integer((json_int_t)ws_adapter_size(a[0])));
        if (j) json_object_set_new(j, "layers", layer_norms(d, p->in->model));
        if (i.norm == 0)
            st = ws_fail(
                err, WS_EUNSUPPORTED,
                "dW is 0: both adapters are the same, so there is nothing to steer with; train for more steps (the "
                "first one has learning rate 0) or look at %s",
                p->pairs);
        else if (!j)
            st = ws_fail(err, WS_ENONFINITE, "the norms of dW are not finite: did the training diverge?");
        if (!st) st = ws_json_save(j, row->geometry, err);
        if (!st) st = ws_delta_save(d, row->dw, err);
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

/* The control: as long as another row's dW at every site, and nothing else in common with it. */
static ws_status draw_random(const ws_task *t, ws_err *err) {
    const ws_pipeline *p = t->p;
    const ws_run_row *row = ws_task_row(t), *of = &p->row[row->spec.of];
    ws_delta *like = NULL, *d = NULL;
    json_t *j = NULL;
    ws_status st = ws_delta_load(&like, p->in->model, of->dw, 0, err);
    if (!st) st = ws_delta_random(&d, like, row->spec.seed, err);
    if (!st) {
        double norm = ws_delta_norm(d), norm_w = ws_delta_weight_norm(d);
        ws_delta_set_source(d, "name", row->spec.name);
        ws_delta_set_source(d, "norms_of", of->spec.name);
        ws_delta_set_source(d, "behavior", p->in->behavior->name);
        j = json_pack("{s:f, s:f, s:i, s:s}", "norm", norm, "norm_w", norm_w, "sites", ws_delta_n_sites(d), "norms_of",
                      of->spec.name);
        if (j)
            json_object_set_new(j, "layers", layer_norms(d, p->in->model));
        else
            st = ws_fail(err, WS_ENONFINITE, "the norms of %s are not finite", of->dw);
    }
    if (!st) st = ws_json_save(j, row->geometry, err);
    if (!st) st = ws_delta_save(d, row->dw, err);
    json_decref(j);
    ws_delta_free(like), ws_delta_free(d);
    return st;
}

/* The vectors of all rows, from one pass over the prompts. */
static ws_status run_extract(const ws_task *t, ws_err *err) {
    const ws_pipeline *p = t->p;
    ws_extract_options o = p->o.extract;
    ws_extract_result r = {0};
    ws_str list = {0};
    for (int i = 0; i < p->n_rows; i++)
        if (ws_row_is_vector(p->row[i].spec.kind)) ws_str_addf(&list, "%s%s", list.n ? "," : "", p->row[i].spec.name);
    o.methods = list.p, o.out = p->vectors, o.seed = p->o.seed, o.suffixes = p->suffixes;
    ws_status st = ws_extract_run(p->in->model, p->in->tokenizer, p->in->chat, p->in->behavior, &o, &r, err);
    ws_extract_result_free(&r);
    ws_str_free(&list);
    ws_model_rest(p->in->model);
    return st;
}

static ws_status write_prompt(const ws_task *t, ws_err *err) {
    const ws_run_row *row = ws_task_row(t);
    ws_status st = ws_mkdirs(row->dir, err);
    return st ? st : ws_prompt_write(row->dw, row->spec.name, t->p->in->behavior, err);
}

/* The sl protocol puts this row's text in front of the user's (pipeline.md 6). */
static void fold(const ws_task *t, int begin) {
    if (ws_task_folds(t)) ws_chat_fold(t->p->in->chat, begin);
}

static ws_status run_calibrate(const ws_task *t, ws_err *err) {
    ws_pipeline *p = t->p;
    const ws_run_row *row = ws_task_row(t);
    ws_method *m = NULL;
    ws_calibration c = {0};
    ws_calibrate_options o = p->o.calibrate;
    o.out = row->calibration, o.seed = p->o.seed;
    if (ws_is_sweep(p)) o.kept = &p->kept;
    ws_status st = ws_method_load(&m, p->in->model, row->dw, 0, err);
    fold(t, 1);
    if (!st) st = ws_calibrate(p->in->model, p->in->tokenizer, p->in->chat, &m, 1, &o, &c, err);
    fold(t, 0);
    for (int i = 0; !st && i < c.n; i++)
        for (int k = 0; k < c.row[i].n_sides; k++) {
            const ws_calibration_side *s = &c.row[i].side[k];
            ws_note("%s: alpha %+.4g, p95 KL %.3f nat (audit %.3f), %s", c.row[i].method, k ? -s->alpha : s->alpha,
                    s->at.p95, s->audit.p95, s->status);
        }
    ws_calibration_free(&c);
    ws_method_free(m);
    if (!p->kept) ws_model_rest(p->in->model);
    return st;
}

/* Of a row, or of the base model alone, whose answers all rows of a sweep share. */
static ws_status run_eval(const ws_task *t, ws_err *err) {
    ws_pipeline *p = t->p;
    const ws_run_row *row = ws_task_row(t);
    ws_method *m = NULL;
    ws_eval_options o = p->o.eval;
    ws_cal_keep_free(p->kept), p->kept = NULL; /* calibration is over */
    o.out = row ? row->dir : p->base, o.calibration = row ? row->calibration : NULL;
    o.base = row && ws_is_sweep(p) ? p->base : NULL;
    o.pairs = p->heldout, o.seed = p->o.seed;
    ws_status st = row ? ws_method_load(&m, p->in->model, row->dw, 0, err) : WS_OK;
    fold(t, 1);
    if (!st)
        st = ws_eval_run(p->in->model, p->in->tokenizer, p->in->chat, p->in->behavior, &m, row ? 1 : 0, &o, NULL, NULL,
                         err);
    fold(t, 0);
    ws_method_free(m);
    ws_model_rest(p->in->model);
    return st;
}

static void add_output(void *arg, const char *path) { ws_stage_output(arg, path); }

static ws_status run_table(const ws_task *t, ws_err *err) {
    ws_pipeline *p = t->p;
    ws_results *r = NULL;
    ws_status st = ws_results_load(&r, p->run, err);
    if (!st) st = ws_report_write(r, p->report, err);
    if (!st) ws_report_files(r, p->report, add_output, &p->stage[t - p->task]);
    ws_results_free(r);
    return st;
}

static ws_status run_task(const ws_task *t, ws_err *err) {
    const ws_run_row *row = ws_task_row(t);
    switch (t->kind) {
    case STAGE_DATA: return run_data(t, err);
    case STAGE_BASE: return run_eval(t, err);
    case STAGE_POS:
    case STAGE_NEG: return run_train(t, err);
    case STAGE_EXTRACT: return run_extract(t, err);
    case STAGE_DIFF:
        return row->spec.kind == WS_ROW_RANDOM   ? draw_random(t, err)
               : row->spec.kind == WS_ROW_PROMPT ? write_prompt(t, err)
                                                 : run_diff(t, err);
    case STAGE_CALIBRATE: return run_calibrate(t, err);
    case STAGE_EVAL: return run_eval(t, err);
    case STAGE_TABLE: return run_table(t, err);
    }
    BUG("stage of kind %d", (int)t->kind);
}

/* What a stage leaves besides the files that other stages read: what it was made of, how it went, raw answers.  They are
 * recorded as far as they are there, so that damage to them is noticed too. */
static void record(ws_stage *s, const char *path) {
    if (ws_file_exists(path) && !ws_is_dir(path)) ws_stage_output(s, path);
}
static void record_further(const ws_task *t) {
    static const char *const data[] = {"data.json", NULL}, *const train[] = {"train.json", NULL},
                             *const calibrate[] = {"prompts.csv", "prompt_refs.csv", "timing.csv", "probes.jsonl",
                                                   NULL},
                             *const none[] = {NULL};
    const ws_pipeline *p = t->p;
    const ws_run_row *row = ws_task_row(t);
    ws_stage *s = &p->stage[t - p->task];
    const char *dir = "", *const *file = none;
    if (t->kind == STAGE_DATA) dir = p->data, file = data;
    if (t->kind == STAGE_POS || t->kind == STAGE_NEG) dir = row->side[t->kind == STAGE_NEG], file = train;
    if (t->kind == STAGE_CALIBRATE) dir = row->calibration, file = calibrate;
    for (; *file; file++) {
        char *path = ws_path_join(dir, *file);
        record(s, path);
        free(path);
    }
    for (int i = 0; i < s->n_scratch; i++) record(s, s->scratch[i]); /* raw answers */
}

ws_status ws_task_run(void *arg, ws_err *err) {
    const ws_task *t = arg;
    ws_status st = run_task(t, err);
    if (!st) record_further(t);
    return st;
}
