/* src/cmd/score.c - ws score: the log-probability of given completions, token by token, steered or not. */
#include "base/interrupt.h"
#include "base/progress.h"
#include "cmd/hang.h"
#include "io/json.h"
#include "model/model.h"
#include "text/think.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(score)

enum { BATCH_ROWS = 64, BATCH_TOKENS = 4096 };

typedef struct opts {
    const char *file;
    int thinking;
    ws_hang hang;
} opts;
enum { K_FILE = 1, K_THINKING };
static const struct argp_option options[] = {
    {"file", K_FILE, "F", 0,
     "an array (or JSON lines) of {\"prompt_ids\": [..], \"completion_ids\": "
     "[..]} or {\"messages\": [..], \"completion\": \"..\"}",
     1},
    {"thinking", K_THINKING, "on|off", 0, "enable_thinking of the chat template (default: the template's own)", 1},
    WS_HANG_OPTIONS,
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    ws_err err;
    switch (key) {
    case K_FILE: o->file = arg; return 0;
    case K_THINKING:
        if (ws_opt_on_off("--thinking", arg, &o->thinking, &err)) argp_error(state, "%s", err.msg);
        return 0;
    case ARGP_KEY_ARG: argp_error(state, "'%s': give the file with --file", arg); return 0;
    case ARGP_KEY_END:
        if (!o->file) argp_error(state, "--file is missing");
        break;
    default: break;
    }
    return ws_hang_parse(&o->hang, key, arg, state);
}

/* Prompt and completion as one list of ids; the last n_completion of them are scored. */
typedef struct item {
    ws_ids ids;
    int n_completion;
    long line;
} item;
typedef struct work {
    const char *path;
    const opts *opts;
    const ws_common *common;
    ws_session session;
    ws_hang *hang;
    item *item;
    int n, cap;
} work;

static ws_status add_ids(const work *w, const char *where, const json_t *list, const char *key, ws_ids *out,
                         ws_err *err) {
    const json_t *v;
    size_t i;
    int64_t vocab = ws_model_dims(w->session.model)->vocab;
    if (!json_is_array(list)) return ws_fail(err, WS_EFORMAT, "%s: '%s' is no array of token ids", where, key);
    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id > INT32_MAX)
            return ws_fail(err, WS_EFORMAT, "%s: '%s': element %zu is no token id", where, key, i);
        if (id >= vocab)
            return ws_fail(err, WS_EFORMAT, "%s: '%s': element %zu is %lld, outside the model's ids 0..%lld", where,
                           key, i, (long long)id, (long long)vocab - 1);
        ws_ids_add(out, (int32_t)id);
    }
    return WS_OK;
}

/* The prompt is the rendered messages with the generation prompt; the completion is tokenised apart, as in training. */
static ws_status add_text(work *w, const char *where, const json_t *v, item *it, int *n_prompt, ws_err *err) {
    const json_t *messages = json_object_get(v, "messages"), *completion = json_object_get(v, "completion");
    ws_str text = {0};
    ws_status st;
    if (!json_is_array(messages)) return ws_fail(err, WS_EFORMAT, "%s: 'messages' is no array of messages", where);
    if (!json_is_string(completion)) return ws_fail(err, WS_EFORMAT, "%s: 'completion' is no string", where);
    ws_think_form form;
    int thinking = w->opts->thinking;
    if ((!w->session.chat && ((st = ws_session_chat(&w->session, w->common, err)) ||
                              (st = ws_think_form_of(&form, w->session.chat, thinking, err)))) ||
        (st = ws_chat_render(w->session.chat, messages, &(ws_render){.generation_prompt = 1, .thinking = thinking},
                             &text, err)) ||
        (st = ws_tokenizer_encode(w->session.tokenizer, text.p ? text.p : "", text.n, 0, &it->ids, err)))
        goto out;
    *n_prompt = it->ids.n;
    st = ws_tokenizer_encode(w->session.tokenizer, json_string_value(completion), json_string_length(completion), 0,
                             &it->ids, err);
out:
    ws_str_free(&text);
    return st ? ws_fail_prefix(err, "%s", where) : WS_OK;
}

static ws_status add_row(work *w, const json_t *v, item *it, const char *where, ws_err *err) {
    int n_prompt = 0;
    if (!json_is_object(v)) return ws_fail(err, WS_EFORMAT, "%s: expected an object", where);
    if (json_object_get(v, "prompt_ids")) {
        if (add_ids(w, where, json_object_get(v, "prompt_ids"), "prompt_ids", &it->ids, err)) return err->code;
        n_prompt = it->ids.n;
        if (add_ids(w, where, json_object_get(v, "completion_ids"), "completion_ids", &it->ids, err)) return err->code;
    } else if (json_object_get(v, "messages")) {
        if (add_text(w, where, v, it, &n_prompt, err)) return err->code;
    } else {
        return ws_fail(err, WS_EFORMAT,
                       "%s: neither 'prompt_ids' with 'completion_ids' nor 'messages' with 'completion'", where);
    }
    it->n_completion = it->ids.n - n_prompt;
    if (!n_prompt)
        return ws_fail(err, WS_EFORMAT, "%s: the prompt is empty, so nothing predicts the first token", where);
    return WS_OK;
}

static ws_status add(void *arg, json_t *v, long line, ws_err *err) {
    work *w = arg;
    if (w->n == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 64;
        w->item = ws_xrealloc(w->item, (size_t)w->cap * sizeof *w->item);
    }
    item *it = &w->item[w->n++];
    *it = (item){.line = line};
    char *where = ws_json_where(w->path, line);
    ws_status st = add_row(w, v, it, where, err);
    free(where);
    return st;
}

static void print(const float *lp, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)lp[i];
    printf("{\"n_tokens\": %d, \"logprob\": %.10g, \"per_token\": [", n, sum);
    for (int i = 0; i < n; i++) printf("%s%.9g", i ? ", " : "", (double)lp[i]);
    fputs("]}\n", stdout);
}

/* Items i .. i+k-1 in one batch. */
static ws_status score(work *w, int first, int k, ws_err *err) {
    ws_row row[BATCH_ROWS];
    int64_t out = 0, d = ws_model_dims(w->session.model)->hidden;
    for (int i = 0; i < k; i++) {
        const item *it = &w->item[first + i];
        row[i] = (ws_row){-1, it->ids.id, it->ids.n - 1, it->n_completion};
        if (!it->n_completion) row[i].n = 0; /* nothing to ask */
        out += it->n_completion;
    }
    float *hidden = ws_try_alloc((size_t)out, (size_t)d * sizeof *hidden), *lp = ws_xmalloc((size_t)out * sizeof *lp);
    int32_t *target = ws_xmalloc((size_t)out * sizeof *target);
    const ws_steering *s = &w->hang->steering;
    const ws_batch b = {k, row, s->n, s->patch, (const float *const *)w->hang->row_alpha};
    int64_t at = 0;
    for (int i = 0; i < k; i++) {
        const item *it = &w->item[first + i];
        if (it->n_completion)
            memcpy(target + at, it->ids.id + it->ids.n - it->n_completion, (size_t)it->n_completion * sizeof *target);
        at += it->n_completion;
    }
    ws_status st = hidden ? WS_OK : ws_fail(err, WS_ENOMEM, "no memory for %lld positions", (long long)out);
    if (!st) st = ws_forward(w->session.model, NULL, &b, hidden, err);
    if (!st) st = ws_logprob(w->session.model, hidden, out, target, lp, err);
    if (st && hidden) {
        char *from = ws_json_where(w->path, w->item[first].line);
        ws_fail_prefix(err, "%s and the %d rows behind it", from, k - 1);
        free(from);
    }
    at = 0;
    for (int i = 0; i < k && !st; i++) {
        print(lp + at, w->item[first + i].n_completion);
        at += w->item[first + i].n_completion;
    }
    free(hidden), free(lp), free(target);
    return st;
}

static ws_status score_all(work *w, ws_err *err) {
    ws_progress bar;
    ws_status st = WS_OK;
    ws_progress_start(&bar, "score", "rows", w->n);
    for (int i = 0; i < w->n && !st;) {
        int k = 0, tokens = 0;
        while (i + k < w->n && k < BATCH_ROWS && (!k || tokens + w->item[i + k].ids.n <= BATCH_TOKENS))
            tokens += w->item[i + k++].ids.n;
        st = score(w, i, k, err);
        ws_progress_update(&bar, i += k, NULL);
        if (!st) st = ws_interrupt_check(err);
    }
    ws_progress_end(&bar);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    opts o = {.thinking = -1};
    ws_common c;
    ws_sink sink;
    ws_common_init(&c);
    ws_interrupt_says(WS_STARTS_OVER);
    ws_status st = ws_cmd_parse(
        argc, argv, options, parse, "--model M --file F.json",
        "Print the log-probability of completions as JSON lines: n_tokens, logprob (their sum, nats), per_token.\n\n"
        "  ws score --model M.gguf --file rows.json\n"
        "  ws score --model M.gguf --file rows.json --steer dw.safetensors:2.5\n"
        "  ws score --model M.gguf --file rows.json --adapter out/pos\n\n"
        "A row gives prompt_ids and completion_ids, or messages (rendered with the generation prompt) and a "
        "completion.",
        &o, &c, err);
    if (st) return st;
    work w = {.path = o.file, .opts = &o, .common = &c, .hang = &o.hang};
    /* the tokenizer is opened by the first row of text: a model without one will do for ids */
    if ((st = ws_session_open_weights(&w.session, &c, err)) || (st = ws_jsonl_each(o.file, add, &w, err))) goto out;
    if (!w.n) st = ws_fail(err, WS_EFORMAT, "%s: no rows", o.file);
    if (!st && o.thinking >= 0 && !w.session.chat)
        st = ws_fail(err, WS_EUSAGE, "--thinking is for rows of messages, and %s has none", o.file);
    if (!st) st = ws_hang_open(&o.hang, w.session.model, &c, BATCH_ROWS, err);
    if (st || (st = ws_sink_open(&sink, c.out, err))) goto out;
    st = score_all(&w, err);
    st = ws_sink_close(&sink, st, err);
out:
    for (int i = 0; i < w.n; i++) ws_ids_free(&w.item[i].ids);
    free(w.item);
    ws_hang_close(&o.hang);
    ws_session_close(&w.session);
    return st;
}

const ws_cmd ws_cmd_score = {105, "score", "prompts with completions -> log-probability of every token, as JSON lines",
                             run};
