/* src/run/engine.c - the public C API of include/ws.h on top of the rooms. */
#include "ws.h"
#include "base/parallel.h"
#include "generate/generate.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "steer/steer.h"
#include "text/think.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ws_engine {
    ws_checkpoint *checkpoint;
    ws_tokenizer *tokenizer;
    ws_model *model;
    ws_chat *chat; /* opened at first use: a base model without template can still be used with raw text */
    ws_steering steering;
    char *template_file;
    int force, thinking; /* thinking as in ws_render */
};

static int failed(const ws_err *e, ws_error *out) {
    if (out) {
        out->code = (int)e->code;
        snprintf(out->message, sizeof out->message, "%s", e->msg);
    }
    return -(int)e->code;
}

ws_engine *ws_engine_open(const char *model, const ws_engine_options *options, ws_error *error) {
    ws_err err = {0};
    ws_engine *e = ws_xcalloc(1, sizeof *e);
    e->thinking = -1;
    if (options) {
        if (options->threads > 0) ws_threads_set(options->threads);
        if (options->template_file) e->template_file = ws_xstrdup(options->template_file);
        e->force = options->force;
        e->thinking = options->thinking ? options->thinking > 0 : -1;
    }
    if (!model) ws_fail(&err, WS_EUSAGE, "no model is named");
    if (!model || ws_kernels_init(&err) || ws_compute_choose(options ? options->compute : NULL, &err) ||
        ws_checkpoint_open(&e->checkpoint, model, &err) || ws_tokenizer_open(&e->tokenizer, e->checkpoint, &err) ||
        ws_model_open(&e->model, e->checkpoint, &err)) {
        failed(&err, error);
        ws_engine_close(e);
        return NULL;
    }
    return e;
}

void ws_engine_close(ws_engine *e) {
    if (!e) return;
    ws_steering_free(&e->steering);
    ws_chat_free(e->chat);
    ws_model_free(e->model);
    ws_tokenizer_free(e->tokenizer);
    ws_checkpoint_close(e->checkpoint);
    free(e->template_file);
    free(e);
}

int ws_engine_load_steering(ws_engine *e, const char *path, ws_error *error) {
    ws_err err = {0};
    /* the strength is not used: requests bring theirs */
    return ws_steering_hang(&e->steering, e->model, path, 1, e->force, &err) ? failed(&err, error) : e->steering.n - 1;
}

int ws_engine_steering_count(const ws_engine *e) { return e->steering.n; }

static ws_status render(ws_engine *e, const char *system, const char *user, ws_str *out, ws_err *err) {
    ws_think_form form;
    if (!e->chat && ws_chat_open(&e->chat, e->checkpoint, e->tokenizer, e->template_file, err)) return err->code;
    if (e->thinking >= 0 && ws_think_form_of(&form, e->chat, e->thinking, err)) return err->code;
    ws_render how = {.generation_prompt = 1, .thinking = e->thinking};
    return ws_chat_render_plain(e->chat, system, user, NULL, &how, out, err);
}

int ws_engine_render(ws_engine *e, const char *system, const char *user, char **text, ws_error *error) {
    ws_err err = {0};
    ws_str s = {0};
    *text = NULL;
    if (render(e, system, user, &s, &err)) {
        ws_str_free(&s);
        return failed(&err, error);
    }
    *text = ws_str_take(&s);
    return 0;
}

typedef struct delivery {
    ws_engine *e;
    ws_text_fn fn;
    void *arg;
} delivery;

static ws_status deliver(void *arg, int index, const ws_gen_result *r, ws_err *err) {
    delivery *d = arg;
    ws_str text = {0};
    ws_status st = ws_think_decode(d->e->tokenizer, r->ids, r->n, &text, err);
    if (!st && d->fn(d->arg, index, text.p ? text.p : "", text.n, r->finish == WS_FINISH_STOP ? "stop" : "length"))
        st = ws_fail(err, WS_EINTERRUPTED, "stopped by the caller");
    ws_str_free(&text);
    return st;
}

/* One request as the generator wants it; `ids` receives the prompt and must outlive the run. */
static ws_status prepare(ws_engine *e, const ws_request *r, const float *zeros, ws_ids *ids, ws_sampling *how,
                         ws_gen_request *out, ws_err *err) {
    if (!r->user == !r->raw) return ws_fail(err, WS_EUSAGE, "a request needs either user or raw text");
    if (r->max_new_tokens <= 0)
        return ws_fail(err, WS_EUSAGE, "max_new_tokens is %d; it must be positive", r->max_new_tokens);
    ws_str text = {0};
    if (r->raw)
        ws_str_adds(&text, r->raw);
    else if (render(e, r->system, r->user, &text, err))
        goto out;
    if (ws_tokenizer_encode(e->tokenizer, text.p, text.n, r->raw ? WS_TOK_ADD_SPECIAL : 0, ids, err)) goto out;
    if (!ids->n) {
        ws_fail(err, WS_EUSAGE, "the prompt is empty");
        goto out;
    }
    *how = (ws_sampling){r->temperature, r->top_k, r->top_p > 0 ? r->top_p : 1, r->min_p};
    *out = (ws_gen_request){.prompt = ids->id,
                            .n_prompt = ids->n,
                            .max_new = r->max_new_tokens,
                            .seed = r->seed,
                            .sampling = how,
                            .alpha = r->strength ? r->strength : zeros};
out:
    ws_str_free(&text);
    return err->code;
}

int ws_engine_generate(ws_engine *e, const ws_request *request, int n, ws_text_fn on_text, void *arg, ws_error *error) {
    ws_err err = {0};
    size_t count = n > 0 ? (size_t)n : 0;
    ws_ids *ids = ws_xcalloc(count, sizeof *ids);
    ws_sampling *how = ws_xcalloc(count, sizeof *how);
    ws_gen_request *req = ws_xcalloc(count, sizeof *req);
    float *zeros = ws_xcalloc((size_t)e->steering.n, sizeof *zeros);
    for (int i = 0; i < n && !err.code; i++)
        if (prepare(e, &request[i], zeros, &ids[i], &how[i], &req[i], &err)) ws_fail_prefix(&err, "request %d", i);
    if (!err.code) {
        delivery d = {e, on_text, arg};
        ws_gen_options o = {.stream = "engine",
                            .sampling = {.top_p = 1}, /* every request brings its own */
                            .n_patches = e->steering.n,
                            .patch = e->steering.patch,
                            .vocab_limit = ws_tokenizer_size(e->tokenizer)};
        o.stops = ws_tokenizer_stops(e->tokenizer, &o.n_stops);
        ws_generate(e->model, req, n, &o, deliver, NULL, &d, &err);
    }
    for (int i = 0; i < n; i++) ws_ids_free(&ids[i]);
    free(ids), free(how), free(req), free(zeros);
    return err.code ? failed(&err, error) : 0;
}

int ws_engine_logprob(ws_engine *e, const char *prompt, const char *completion, const float *strength, double *logprob,
                      int *n_tokens, ws_error *error) {
    ws_err err = {0};
    ws_ids ids = {0};
    ws_state *state = NULL;
    float *hidden = NULL, *logp = NULL;
    float zero = 0;
    const float **alpha = ws_xcalloc((size_t)e->steering.n, sizeof *alpha);
    for (int i = 0; i < e->steering.n; i++) alpha[i] = strength ? &strength[i] : &zero;

    if (ws_tokenizer_encode(e->tokenizer, prompt, strlen(prompt), WS_TOK_ADD_SPECIAL, &ids, &err)) goto out;
    int first = ids.n;
    if (ws_tokenizer_encode(e->tokenizer, completion, strlen(completion), 0, &ids, &err)) goto out;
    int n = ids.n - first;
    if (first < 1 || n < 1) {
        ws_fail(&err, WS_EUSAGE, "%s is empty", first < 1 ? "the prompt" : "the completion");
        goto out;
    }
    hidden = ws_try_alloc((size_t)n * (size_t)ws_model_dims(e->model)->hidden, sizeof *hidden);
    logp = ws_try_alloc((size_t)n, sizeof *logp);
    if (!hidden || !logp) {
        ws_fail(&err, WS_ENOMEM, "out of memory for %d tokens", n);
        goto out;
    }
    ws_row row = {.seq = -1, .ids = ids.id, .n = ids.n - 1, .n_out = n};
    ws_batch batch = {1, &row, e->steering.n, e->steering.patch, alpha};
    if (ws_state_new(&state, e->model, &err) || ws_forward(e->model, state, &batch, hidden, &err) ||
        ws_logprob(e->model, hidden, n, ids.id + first, logp, &err))
        goto out;
    *logprob = 0;
    for (int i = 0; i < n; i++) *logprob += (double)logp[i];
    *n_tokens = n;
out:
    ws_state_free(state);
    ws_ids_free(&ids);
    free(alpha), free(hidden), free(logp);
    return err.code ? failed(&err, error) : 0;
}
