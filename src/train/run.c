/* src/train/run.c - train.json, log.csv, checkpoint.safetensors. */
#include "train/run.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/csv.h"
#include "io/json.h"
#include "kernel/compute.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char log_head[] = "step,epoch,loss,grad_norm,lr,tokens,eval_loss";

json_t *ws_train_config(const ws_model *m, const ws_examples *data, const ws_train_options *o, const char *init_hash) {
    const ws_checkpoint *c = ws_model_checkpoint(m);
    const ws_adapter_config *a = &o->adapter;
    json_t *j = json_object();
    json_object_set_new(j, "base_name", json_string(ws_checkpoint_name(c)));
    json_object_set_new(j, "base_hash", json_string(ws_checkpoint_hash(c)));
    json_object_set_new(j, "side", json_string(data->side == WS_POS ? "pos" : "neg"));
    json_object_set_new(j, "pairs", json_string(data->pairs_path));
    json_object_set_new(j, "pairs_hash", json_string(data->pairs_hash));
    json_object_set_new(j, "examples_hash", json_string(data->hash));
    json_object_set_new(j, "max_len", json_integer(data->max_len));
    json_object_set_new(j, "keep_end", json_boolean(data->keep_end));
    if (init_hash)
        json_object_set_new(j, "init", json_string(init_hash));
    else {
        int layers = ws_model_dims(m)->layers, whole = a->layer_begin == -1 && a->layer_end == -1;
        char *range = ws_sprintf("%d:%d", whole ? (int)rint(0.3 * layers) : a->layer_begin,
                                 whole ? (int)rint(0.8 * layers) : a->layer_end);
        unsigned reads = ws_adapter_reads(a->kind);
        json_object_set_new(j, "adapter", json_string(a->kind));
        if (reads & WS_READS_RANK) json_object_set_new(j, "rank", json_integer(a->rank));
        if (reads & WS_READS_ALPHA) json_object_set_new(j, "lora_alpha", json_real(a->alpha));
        if (reads & WS_READS_BLOCK)
            json_object_set_new(j, "block_size", json_integer(a->block ? a->block : WS_ADAPTER_BLOCK));
        if (reads & WS_READS_LAMBDA)
            json_object_set_new(j, "delora_lambda", json_real(a->lambda != 0 ? a->lambda : WS_ADAPTER_LAMBDA));
        if (reads & WS_READS_LAYERS) json_object_set_new(j, "layers", json_string(range));
        json_object_set_new(j, "targets", a->targets ? json_string(a->targets) : json_null());
        free(range);
    }
    json_object_set_new(j, "order", json_string(o->shuffled ? "shuffled" : "file"));
    json_object_set_new(j, "holdout", json_real(o->holdout));
    json_object_set_new(j, "batch", json_integer(o->batch));
    json_object_set_new(j, "accum", json_integer(o->accum));
    json_object_set_new(j, "epochs", o->max_steps > 0 ? json_null() : json_real(o->epochs));
    json_object_set_new(j, "max_steps", json_integer(o->max_steps));
    json_object_set_new(j, "lr", json_real(o->lr));
    json_object_set_new(j, "warmup", json_integer(o->warmup));
    json_object_set_new(j, "weight_decay", json_real(o->weight_decay));
    json_object_set_new(j, "clip", json_real(o->clip));
    json_object_set_new(j, "seed", json_integer((json_int_t)o->seed));
    json_object_set_new(j, "eval_every", json_integer(o->eval_every));
    if (ws_compute_type() != WS_COMPUTE_F32) json_object_set_new(j, "compute", json_string(ws_compute_name()));
    return j;
}

/* Where a file lies is told, but does not make another configuration. */
static int only_told(const char *key) { return !strcmp(key, "pairs") || !strcmp(key, "base_name"); }

static void config_hash(const json_t *config, char hex[65]) {
    json_t *c = json_copy((json_t *)config);
    ws_str text = {0};
    for (void *it = json_object_iter((json_t *)config); it; it = json_object_iter_next((json_t *)config, it))
        if (only_told(json_object_iter_key(it))) json_object_del(c, json_object_iter_key(it));
    ws_json_dump(c, &text, 1);
    ws_hash_bytes(text.p, text.n, hex);
    ws_str_free(&text);
    json_decref(c);
}

static void tell(ws_str *s, const json_t *v) {
    if (json_is_string(v))
        ws_str_addf(s, "%.80s", json_string_value(v));
    else if (v)
        ws_json_dump(v, s, 1);
    else
        ws_str_adds(s, "none");
}

static void difference(ws_str *s, const json_t *there, const json_t *here, const char *key) {
    const json_t *a = json_object_get(there, key), *b = json_object_get(here, key);
    if (only_told(key) || (a && b && json_equal(a, b)) || (!a && !b)) return;
    /* a hash says nothing to a person: name what it is the hash of */
    const char *name = !strcmp(key, "base_hash") ? "base_name" : !strcmp(key, "pairs_hash") ? "pairs" : key;
    if (!strcmp(key, "examples_hash") && s->n) return; /* follows from another difference */
    if (s->n) ws_str_adds(s, "; ");
    if (!strcmp(key, "examples_hash")) {
        ws_str_adds(s, "the pairs' tokens differ (another tokenizer or chat template)");
        return;
    }
    ws_str_addf(s, "%s ", !strcmp(name, "base_name") ? "base model" : name);
    tell(s, json_object_get(there, name)), ws_str_adds(s, " there, ");
    tell(s, json_object_get(here, name)), ws_str_adds(s, " here");
    if (name != key)
        ws_str_addf(s, " (contents %.8s and %.8s)", json_string_value(a) ? json_string_value(a) : "?",
                    json_string_value(b) ? json_string_value(b) : "?");
}

static void read_done(const json_t *j, const ws_train_run *r, ws_run_state *state, ws_train_result *done) {
    const json_t *res = json_object_get(j, "result"), *eval = json_object_get(res, "eval_loss");
    const char *want = json_string_value(json_object_get(res, "adapter_hash"));
    char have[65];
    ws_err err = {0};
    if (!want) return;
    if (ws_adapter_dir_hash(r->dir, have, &err) || strcmp(want, have)) {
        ws_warn("%s: the finished adapter has changed or is gone; training runs again", r->dir);
        return;
    }
    *state = WS_RUN_DONE;
    done->up_to_date = 1;
    done->steps = json_integer_value(json_object_get(res, "steps")),
    done->tokens = json_integer_value(json_object_get(res, "tokens"));
    done->loss = json_number_value(json_object_get(res, "loss"));
    done->eval_loss = json_is_number(eval) ? json_number_value(eval) : (double)NAN;
}

static void forget(const ws_train_run *r) {
    static const char *const file[] = {"train.json", "checkpoint.safetensors", "log.csv"};
    for (int i = 0; i < 3; i++) {
        char *p = ws_path_join(r->dir, file[i]);
        unlink(p);
        free(p);
    }
}

ws_status ws_run_open(ws_train_run *r, const char *dir, json_t *config, int fresh, ws_run_state *state,
                      ws_train_result *done, ws_err *err) {
    char *path = ws_path_join(dir, "train.json"), *model = ws_path_join(dir, "adapter_model.safetensors"),
         *ck = ws_path_join(dir, "checkpoint.safetensors");
    json_t *j = NULL;
    ws_str diff = {0};
    ws_status st = WS_OK;
    *r = (ws_train_run){.dir = dir, .config = config};
    *state = WS_RUN_NEW;
    config_hash(config, r->hash);
    if (fresh) {
        forget(r);
        goto cleanup;
    }
    if (!ws_file_exists(path)) {
        if (ws_file_exists(model))
            st = ws_fail(
                err, WS_ESTATE,
                "%s holds an adapter that no `ws train` left there; give another --out, or --fresh to replace it", dir);
        goto cleanup;
    }
    if ((st = ws_json_load(&j, path, err))) goto cleanup;
    const char *format = json_string_value(json_object_get(j, "format"));
    json_t *there = json_object_get(j, "config");
    if (!format || strcmp(format, "ws-train") || json_integer_value(json_object_get(j, "version")) != 1 ||
        !json_is_object(there)) {
        st = ws_fail(err, WS_EFORMAT, "%s: not a training record of version 1; --fresh starts over", path);
        goto cleanup;
    }
    for (void *it = json_object_iter(config); it; it = json_object_iter_next(config, it))
        difference(&diff, there, config, json_object_iter_key(it));
    for (void *it = json_object_iter(there); it; it = json_object_iter_next(there, it))
        if (!json_object_get(config, json_object_iter_key(it)))
            difference(&diff, there, config, json_object_iter_key(it));
    if (diff.n) {
        st = ws_fail(err, WS_ESTATE, "%s holds another training run: %s. Give another --out, or --fresh to start over",
                     dir, diff.p);
        goto cleanup;
    }
    read_done(j, r, state, done);
    if (*state == WS_RUN_NEW && ws_file_exists(ck)) *state = WS_RUN_RESUMES;
    if (*state == WS_RUN_DONE) unlink(ck); /* it was killed between its last note and this */
cleanup:
    ws_str_free(&diff);
    json_decref(j);
    free(path), free(model), free(ck);
    return st;
}

void ws_run_release(ws_train_run *r) {
    json_decref(r->config);
    free(r->log);
    memset(r, 0, sizeof *r);
}

void ws_run_log(ws_train_run *r, const double row[WS_LOG_COLUMNS]) {
    r->log = ws_xrealloc(r->log, (size_t)(r->step + 1) * WS_LOG_COLUMNS * sizeof *r->log);
    memcpy(r->log + r->step * WS_LOG_COLUMNS, row, WS_LOG_COLUMNS * sizeof *row);
    r->step++;
}

void ws_run_log_line(const double row[WS_LOG_COLUMNS], ws_str *out) {
    for (int c = 0; c < WS_LOG_COLUMNS; c++) {
        if (c) ws_str_addc(out, ',');
        if (c < WS_LOG_COLUMNS - 1 || !isnan(row[c])) ws_csv_num(out, row[c]);
    }
}

ws_status ws_run_write_log(const ws_train_run *r, ws_err *err) {
    ws_str s = {0};
    ws_str_addf(&s, "%s\n", log_head);
    for (int64_t i = 0; i < r->step; i++) ws_run_log_line(r->log + i * WS_LOG_COLUMNS, &s), ws_str_addc(&s, '\n');
    char *path = ws_path_join(r->dir, "log.csv");
    ws_status st = ws_file_write(path, s.p, s.n, err);
    free(path);
    ws_str_free(&s);
    return st;
}

ws_status ws_run_note(const ws_train_run *r, const ws_adapter *a, const ws_train_result *result, ws_err *err) {
    json_t *modules = json_array();
    for (int i = 0; i < ws_adapter_n_sites(a); i++)
        json_array_append_new(modules, json_string(ws_adapter_site_name(a, i)));
    json_t *j = json_pack("{s:s, s:i, s:s, s:O, s:o}", "format", "ws-train", "version", 1, "state",
                          result ? "done" : "running", "config", r->config, "modules", modules);
    WS_ASSERT(j);
    if (result) {
        char hash[65];
        json_t *res = json_object();
        json_object_set_new(j, "result", res);
        if (ws_adapter_dir_hash(r->dir, hash, err)) {
            json_decref(j);
            return err->code;
        }
        json_object_set_new(res, "steps", json_integer(result->steps));
        json_object_set_new(res, "tokens", json_integer(result->tokens));
        json_object_set_new(res, "loss", json_real(result->loss));
        json_object_set_new(res, "eval_loss", isnan(result->eval_loss) ? json_null() : json_real(result->eval_loss));
        json_object_set_new(res, "adapter_hash", json_string(hash));
    }
    char *path = ws_path_join(r->dir, "train.json");
    ws_status st = ws_json_save(j, path, err);
    free(path);
    json_decref(j);
    return st;
}

/* ---------- checkpoint ----------
 * Its version also counts the arithmetic of a step: 2 sums gradients over shared beginnings, and adds a patch's part of gx to
 * what is there already.  Going on from another version would give the bits of no unbroken run. */
#define CHECKPOINT_VERSION "2"

ws_status ws_run_write_checkpoint(const char *dir, const char hash[65], int64_t step, const double *log,
                                  const float *values, const float *m, const float *v, int64_t n, ws_err *err) {
    size_t bytes = (size_t)n * sizeof(float);
    ws_tensor t[4] = {{.name = "values", .type = WS_F32, .dims = 1, .dim = {n}, .data = values, .bytes = bytes},
                      {.name = "m", .type = WS_F32, .dims = 1, .dim = {n}, .data = m, .bytes = bytes},
                      {.name = "v", .type = WS_F32, .dims = 1, .dim = {n}, .data = v, .bytes = bytes},
                      {.name = "log",
                       .type = WS_F64,
                       .dims = 2,
                       .dim = {step, WS_LOG_COLUMNS},
                       .data = log,
                       .bytes = (size_t)step * WS_LOG_COLUMNS * sizeof(double)}};
    char number[32];
    snprintf(number, sizeof number, "%lld", (long long)step);
    json_t *meta = json_pack("{s:s, s:s, s:s, s:s, s:s}", "format", "ws-train-checkpoint", "version",
                             CHECKPOINT_VERSION, "step", number, "config_hash", hash, "kernels", ws_arithmetic());
    char *path = ws_path_join(dir, "checkpoint.safetensors");
    ws_status st = ws_safetensors_write(path, t, 4, meta, err);
    free(path);
    json_decref(meta);
    return st;
}

static ws_status restore(ws_train_run *r, ws_adapter *a, ws_adamw *o, const ws_safetensors *s, const char *path,
                         ws_err *err) {
    const json_t *meta = ws_safetensors_meta(s);
    const char *format = json_string_value(json_object_get(meta, "format")),
               *version = json_string_value(json_object_get(meta, "version"));
    const char *hash = json_string_value(json_object_get(meta, "config_hash")),
               *set = json_string_value(json_object_get(meta, "kernels"));
    const ws_tensor *log = ws_safetensors_find(s, "log");
    if (!format || strcmp(format, "ws-train-checkpoint") || !version || !hash)
        return ws_fail(err, WS_EFORMAT, "%s: not a training checkpoint; --fresh starts over", path);
    if (strcmp(version, CHECKPOINT_VERSION))
        return ws_fail(err, WS_ESTATE,
                       "%s was written by a ws that rounds sums in another order (version %.20s of the format, this "
                       "is " CHECKPOINT_VERSION "): gone on with, it would become no unbroken run; --fresh starts over",
                       path, version);
    if (strcmp(hash, r->hash))
        return ws_fail(err, WS_ESTATE, "%s belongs to another configuration; --fresh starts over", path);
    if (!log || log->type != WS_F64 || log->dims != 2 || log->dim[1] != WS_LOG_COLUMNS || log->dim[0] < 1)
        return ws_fail(err, WS_EFORMAT, "%s: its log is damaged; --fresh starts over", path);
    const struct {
        const char *name;
        float *to;
    } part[] = {{"values", ws_adapter_values(a)}, {"m", o->m}, {"v", o->v}};
    for (int i = 0; i < 3; i++) {
        const ws_tensor *t = ws_safetensors_find(s, part[i].name);
        if (!t || t->type != WS_F32 || t->dims != 1 || t->dim[0] != o->size)
            return ws_fail(err, WS_EFORMAT, "%s: its tensor %s does not fit; --fresh starts over", path, part[i].name);
        memcpy(part[i].to, t->data, (size_t)o->size * sizeof(float));
        for (int64_t k = 0; k < o->size; k++)
            if (!isfinite(part[i].to[k]))
                return ws_fail(err, WS_EFORMAT, "%s: value %lld of its tensor %s is not finite; --fresh starts over",
                               path, (long long)k, part[i].name);
    }
    r->step = log->dim[0];
    r->log = ws_xrealloc(r->log, log->bytes);
    memcpy(r->log, log->data, log->bytes);
    for (int64_t i = 0; i < r->step * WS_LOG_COLUMNS; i++) {
        const int evaluation = i % WS_LOG_COLUMNS == WS_LOG_COLUMNS - 1; /* NaN where there was none */
        if (!isfinite(r->log[i]) && !(evaluation && isnan(r->log[i])))
            return ws_fail(err, WS_EFORMAT,
                           "%s: row %lld of its log has a value that is not finite; --fresh starts over", path,
                           (long long)(i / WS_LOG_COLUMNS + 1));
    }
    if (set && strcmp(set, ws_arithmetic()))
        ws_note("%s was written with the %s kernels, these are %s: the result may differ in the last bits", path, set,
                ws_arithmetic());
    ws_adapter_refresh(a);
    return WS_OK;
}

ws_status ws_run_restore(ws_train_run *r, ws_adapter *a, ws_adamw *o, ws_err *err) {
    char *path = ws_path_join(r->dir, "checkpoint.safetensors");
    ws_safetensors *s = NULL;
    ws_status st = ws_safetensors_open(&s, path, err);
    if (!st) st = restore(r, a, o, s, path, err);
    ws_safetensors_close(s);
    free(path);
    return st;
}

void ws_run_drop_checkpoint(const ws_train_run *r) {
    char *path = ws_path_join(r->dir, "checkpoint.safetensors");
    unlink(path);
    free(path);
}
