/* src/run/config.c - a run's options as JSON: what the manifest records, and what each stage's fingerprint covers. */
#include "base/hash.h"
#include "kernel/compute.h"
#include "run/pipeline_impl.h"
#include <string.h>

static void put_int(json_t *o, const char *key, int64_t v) { json_object_set_new(o, key, json_integer((json_int_t)v)); }
static void put_num(json_t *o, const char *key, double v) { json_object_set_new(o, key, json_real(v)); }
static void put_str(json_t *o, const char *key, const char *v) {
    json_object_set_new(o, key, v ? json_string(v) : json_null());
}

static void template_hash(const ws_pipeline *p, json_t *o) {
    char hex[65];
    const char *text = ws_chat_template(p->in->chat);
    ws_hash_bytes(text, strlen(text), hex);
    put_str(o, "template", hex);
}

/* A user's own pairs are an input of the data stage, so their content is not among the options. */
static void data_options(const ws_run_options *r, json_t *o) {
    const ws_contrast_options *d = &r->data;
    if (r->pairs) {
        put_str(o, "pairs", "own");
        if (r->pairs_held >= 0) put_int(o, "heldout", r->pairs_held);
    } else {
        put_int(o, "topics", d->topics), put_int(o, "personas", d->personas), put_int(o, "samples", d->samples);
        put_int(o, "heldout", d->heldout);
        put_int(o, "max-new-tokens", d->max_new), put_int(o, "min-new-tokens", d->min_new);
    }
    put_num(o, "temperature", d->sampling.temperature), put_int(o, "top-k", d->sampling.top_k);
    put_num(o, "top-p", d->sampling.top_p), put_num(o, "min-p", d->sampling.min_p);
    put_int(o, "thinking", d->thinking);
}

/* Of training with the adapter `a`; of a whole sweep, whose adapters are not among its options, kind is NULL. */
static void train_options(const ws_run_options *r, const ws_adapter_config *a, const char *kind, json_t *o) {
    const ws_train_options *t = &r->train;
    if (kind) put_str(o, "adapter", kind);
    unsigned reads = kind ? ws_adapter_reads(kind) : ~0u; /* what an adapter does not read makes no other run */
    if (reads & WS_READS_RANK) put_int(o, "rank", a->rank);
    if (reads & WS_READS_ALPHA) put_num(o, "lora-alpha", a->alpha);
    if (reads & WS_READS_BLOCK) put_int(o, "block-size", a->block ? a->block : WS_ADAPTER_BLOCK);
    if (reads & WS_READS_LAMBDA) put_num(o, "delora-lambda", a->lambda != 0 ? a->lambda : WS_ADAPTER_LAMBDA);
    put_str(o, "targets", a->targets);
    if (reads & WS_READS_LAYERS) json_object_set_new(o, "layers", json_pack("[i,i]", a->layer_begin, a->layer_end));
    put_num(o, "epochs", t->epochs), put_int(o, "max-steps", t->max_steps);
    put_int(o, "batch", t->batch), put_int(o, "accum", t->accum);
    put_num(o, "lr", t->lr), put_int(o, "warmup", t->warmup), put_num(o, "weight-decay", t->weight_decay);
    put_num(o, "clip", t->clip), put_num(o, "holdout", t->holdout), put_int(o, "eval-every", t->eval_every);
    put_str(o, "order", t->shuffled ? "shuffled" : "file");
    put_int(o, "max-len", r->max_len), put_int(o, "keep-end", r->keep_end);
}

static void calibrate_options(const ws_run_options *r, json_t *o) {
    const ws_calibrate_options *c = &r->calibrate;
    put_num(o, "target-kl", c->target), put_int(o, "kl-prompts", c->n), put_int(o, "kl-tokens", c->tokens);
    put_int(o, "kl-audit", c->audit);
    json_object_set_new(o, "bracket", json_pack("[f,f]", c->lo, c->hi));
    if (c->steps != WS_ROOT_MAX_STEPS) put_int(o, "kl-steps", c->steps); /* what a protocol alone changes */
    if (c->first_fits) put_int(o, "kl-first-fits", 1);
    if (c->mirrored) put_int(o, "kl-mirrored", 1);
    if (c->messages) put_int(o, "kl-messages", 1);
}

/* `parts`: of strengths; the base has none. */
static void eval_options(const ws_run_options *r, int parts, json_t *o) {
    const ws_eval_options *e = &r->eval;
    put_str(o, "readout", e->readouts);
    put_num(o, "floor", e->floor), put_num(o, "k", e->k), put_int(o, "loading-weighted", e->loading_weighted);
    if (e->protocol && strcmp(e->protocol->name, "ours")) put_str(o, "protocol", e->protocol->name);
    if (e->max_think) put_int(o, "max-think", e->max_think); /* a run without it is the same as before there was one */
    put_int(o, "bootstrap", e->bootstrap);
    if (e->n_parts && parts) {
        json_t *list = json_array();
        for (int i = 0; i < e->n_parts; i++) json_array_append_new(list, json_real(e->part[i]));
        json_object_set_new(o, "alphas", list);
    }
    put_int(o, "dose-topics", e->dose_topics), put_int(o, "dose-samples", e->dose_samples);
    put_int(o, "dose-tokens", e->dose_tokens), put_int(o, "dose-min-tokens", e->dose_min_tokens);
    if (ws_eval_asked(e, "canaries")) put_int(o, "canary-prompts", e->canary_prompts);
    json_object_set_new(
        o, "dose-sampling",
        json_pack("[f,i,f,f]", e->sampling.temperature, e->sampling.top_k, e->sampling.top_p, e->sampling.min_p));
}

static void extract_options(const ws_pipeline *p, json_t *o) {
    const ws_extract_options *x = &p->o.extract;
    json_t *methods = json_array();
    for (int i = 0; i < p->n_rows; i++)
        if (ws_row_is_vector(p->row[i].spec.kind)) json_array_append_new(methods, json_string(p->row[i].spec.name));
    json_object_set_new(o, "methods", methods);
    put_str(o, "behavior_hash", p->in->behavior->hash);
    put_int(o, "pairs", x->n), put_int(o, "max-len", x->max_len), put_str(o, "linears", x->linears);
    json_object_set_new(o, "layers", json_pack("[i,i]", x->first, x->last));
}

json_t *ws_run_options_json(const ws_pipeline *p) {
    json_t *o = json_object();
    data_options(&p->o, o);
    train_options(&p->o, &p->o.train.adapter, ws_is_sweep(p) ? NULL : p->o.train.adapter.kind, o);
    put_str(o, "mode", p->o.mode == WS_CONTRAST_DW ? "dw" : "bisector");
    calibrate_options(&p->o, o);
    eval_options(&p->o, 1, o);
    put_int(o, "seed", (int64_t)p->o.seed);
    put_str(o, "compute", ws_compute_name());
    template_hash(p, o);
    return o;
}

json_t *ws_run_identity(const ws_pipeline *p) {
    const ws_checkpoint *c = ws_model_checkpoint(p->in->model);
    const ws_behavior *b = p->in->behavior;
    char tokenizer[65];
    ws_tokenizer_hash(p->in->tokenizer, tokenizer);
    return json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s, s:s}, s:o}", "tokenizer", "name",
                     ws_checkpoint_name(c), "path", ws_checkpoint_path(c), "hash", tokenizer, "model", "name",
                     ws_checkpoint_name(c), "path", ws_checkpoint_path(c), "hash", ws_checkpoint_hash(c), "weights",
                     ws_dtypes[ws_checkpoint_main_type(c)].name, "behavior", "name", b->name, "path", b->path, "hash",
                     b->hash, "options", ws_run_options_json(p));
}

json_t *ws_stage_options_json(const ws_task *t) {
    const ws_pipeline *p = t->p;
    const ws_run_row *row = ws_task_row(t);
    json_t *o = json_object();
    put_str(o, "model_hash", ws_checkpoint_hash(ws_model_checkpoint(p->in->model)));
    if (t->kind == STAGE_TABLE) { /* its inputs are all it depends on, and in a sweep which rows there are */
        json_t *rows = ws_is_sweep(p) ? json_object() : NULL;
        for (int i = 0; rows && i < p->n_rows; i++)
            json_object_set_new(rows, p->row[i].spec.name, json_string(ws_row_kind_name(p->row[i].spec.kind)));
        if (rows) json_object_set_new(o, "rows", rows);
        return o;
    }
    if (ws_compute_type() != WS_COMPUTE_F32) put_str(o, "compute", ws_compute_name());
    int training = t->kind == STAGE_POS || t->kind == STAGE_NEG || t->kind == STAGE_DIFF;
    put_int(o, "seed", (int64_t)(training ? row->spec.seed : p->o.seed));
    if (t->kind != STAGE_DIFF) template_hash(p, o);
    switch (t->kind) {
    case STAGE_DATA:
        put_str(o, "behavior_hash", p->in->behavior->hash);
        data_options(&p->o, o);
        break;
    case STAGE_EXTRACT: extract_options(p, o); break;
    case STAGE_POS:
    case STAGE_NEG:
        put_str(o, "side", t->kind == STAGE_POS ? "pos" : "neg");
        train_options(&p->o, &row->spec.adapter, row->spec.adapter.kind, o);
        if (row->spec.kind == WS_ROW_SHUFFLED) put_int(o, "mixed", 1);
        break;
    case STAGE_DIFF:
        if (row->spec.kind == WS_ROW_RANDOM)
            put_str(o, "mode", "random");
        else if (row->spec.kind == WS_ROW_PROMPT)
            put_str(o, "mode", "prompt"), put_str(o, "behavior_hash", p->in->behavior->hash);
        else
            put_str(o, "mode", p->o.mode == WS_CONTRAST_DW ? "dw" : "bisector");
        break;
    case STAGE_CALIBRATE:
        calibrate_options(&p->o, o);
        if (ws_task_folds(t)) put_int(o, "prompt-in-user", 1);
        put_int(o, "kl-bootstrap", p->o.calibrate.bootstrap);
        if (ws_chat_has(p->in->chat, WS_THINK_BEGIN) && !p->o.calibrate.messages)
            put_int(o, "thinking", p->o.calibrate.thinking);
        break;
    case STAGE_BASE:
    case STAGE_EVAL:
        put_str(o, "behavior_hash", p->in->behavior->hash);
        eval_options(&p->o, t->kind == STAGE_EVAL, o);
        if (ws_chat_has(p->in->chat, WS_THINK_BEGIN)) put_int(o, "thinking", p->o.eval.thinking);
        break;
    case STAGE_TABLE: break;
    }
    return o;
}

json_t *ws_rows_json(const ws_pipeline *p) {
    json_t *list = json_array();
    for (int i = 0; i < p->n_rows; i++) {
        const ws_row_spec *r = &p->row[i].spec;
        json_t *stages = json_array();
        for (int k = 0; k < p->n_stages; k++)
            if (p->task[k].row == i) json_array_append_new(stages, json_string(p->stage[k].name));
        json_t *j = json_pack("{s:s, s:s, s:I, s:o}", "name", r->name, "kind", ws_row_kind_name(r->kind), "seed",
                              (json_int_t)r->seed, "stages", stages);
        if (ws_row_trains(r->kind)) json_object_set_new(j, "adapter", json_string(r->adapter.kind));
        if (r->of >= 0) json_object_set_new(j, "norms_of", json_string(p->row[r->of].spec.name));
        json_array_append_new(list, j);
    }
    return list;
}
