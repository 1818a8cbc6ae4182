/* src/cmd/generate.c - ws generate: what a model says, steered or not. */
#include "base/interrupt.h"
#include "generate/generate.h"
#include "cmd/sampling.h"
#include "kernel/compute.h"
#include "steer/steer.h"
#include "text/think.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(generate)

enum { K_PROMPTS = 1, K_MAX_NEW, K_MIN_NEW, K_MAX_ROWS };

static const struct argp_option options[] = {
    {"prompts", K_PROMPTS, "F.jsonl", 0,
     "a prompt a line: {\"messages\": [{\"role\", \"content\"}, ...]} or {\"text\": \"...\"}", 0},
    {"max-new-tokens", K_MAX_NEW, "N", 0, "longest answer (64)", 0},
    {"min-new-tokens", K_MIN_NEW, "N", 0, "an answer may not end before (0)", 0},
    WS_SAMPLING_OPTIONS(0, "0", "0", "1"),
    {"max-rows", K_MAX_ROWS, "N", 0, "answers written at the same time (64); changes speed and memory, not the result",
     0},
    {0}};

typedef struct args {
    const char *prompts;
    long long max_new, min_new, max_rows;
    ws_sampling_args sampling;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_err err = {0};
    ws_status st = WS_OK;
    switch (key) {
    case K_PROMPTS: a->prompts = arg; break;
    case K_MAX_NEW: st = ws_opt_int("--max-new-tokens", arg, 0, 1000000, &a->max_new, &err); break;
    case K_MIN_NEW: st = ws_opt_int("--min-new-tokens", arg, 0, 1000000, &a->min_new, &err); break;
    case K_MAX_ROWS: st = ws_opt_int("--max-rows", arg, 1, 4096, &a->max_rows, &err); break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", arg); break;
    default: return ws_sampling_parse(&a->sampling, key, arg, state);
    }
    if (st) argp_error(state, "%s", err.msg);
    return 0;
}

typedef struct work {
    const args *a;
    const ws_common *common;
    ws_session *s;
    ws_ids *prompt; /* [n] */
    char *chatted;  /* [n] 1: a prompt of messages, so that the template's think form holds */
    int n, cap;
    ws_think_form form;
    char **line; /* [n] finished answers that wait for those before them */
    int next;    /* answers printed */
} work;

static ws_status with_where(ws_status st, const char *where, ws_err *err) {
    return st ? ws_fail_prefix(err, "%s", where) : WS_OK;
}

static ws_status one_prompt(work *w, const json_t *value, const char *where, ws_ids *ids, ws_err *err) {
    const json_t *messages = json_object_get(value, "messages"), *text = json_object_get(value, "text");
    if (!json_is_object(value) || !messages == !text)
        return ws_fail(err, WS_EFORMAT, "%s: a prompt is {\"messages\": [...]} or {\"text\": \"...\"}", where);
    if (text) {
        if (!json_is_string(text) || !json_string_length(text))
            return ws_fail(err, WS_EFORMAT, "%s: 'text' must be a string that is not empty", where);
        return with_where(ws_tokenizer_encode(w->s->tokenizer, json_string_value(text), json_string_length(text),
                                              WS_TOK_ADD_SPECIAL, ids, err),
                          where, err);
    }
    if (!json_is_array(messages) || !json_array_size(messages))
        return ws_fail(err, WS_EFORMAT, "%s: 'messages' must be a list with at least one message", where);
    int thinking = w->a->sampling.thinking;
    if (!w->s->chat && (ws_session_chat(w->s, w->common, err) || ws_think_form_of(&w->form, w->s->chat, thinking, err)))
        return err->code;
    ws_render how = {.generation_prompt = 1, .thinking = thinking};
    ws_str s = {0};
    ws_status st = ws_chat_render(w->s->chat, messages, &how, &s, err);
    if (!st) st = ws_tokenizer_encode(w->s->tokenizer, s.p, s.n, 0, ids, err);
    ws_str_free(&s);
    return with_where(st, where, err);
}

static ws_status add_prompt(void *arg, json_t *value, long line, ws_err *err) {
    work *w = arg;
    char *where = ws_json_where(w->a->prompts, line);
    if (w->n == w->cap) {
        w->cap = w->cap * 2 + 64;
        w->prompt = ws_xrealloc(w->prompt, (size_t)w->cap * sizeof *w->prompt);
        w->chatted = ws_xrealloc(w->chatted, (size_t)w->cap);
    }
    w->chatted[w->n] = json_object_get(value, "messages") != NULL;
    w->prompt[w->n] = (ws_ids){0};
    ws_status st = one_prompt(w, value, where, &w->prompt[w->n++], err);
    if (!st && !w->prompt[w->n - 1].n) st = ws_fail(err, WS_EFORMAT, "%s: the prompt has no tokens", where);
    free(where);
    return st;
}

static ws_status answer(void *arg, int index, const ws_gen_result *r, ws_err *err) {
    work *w = arg;
    ws_str text = {0}, line = {0};
    int thinks = w->chatted[index] && w->form >= WS_THINK_FREE;
    if (thinks ? ws_think_decode(w->s->tokenizer, r->ids, r->n, &text, err)
               : ws_tokenizer_decode(w->s->tokenizer, r->ids, r->n, 1, &text, err)) {
        ws_str_free(&text);
        return err->code;
    }
    ws_str_adds(&text, "");
    json_t *o = json_object(), *ids = json_array(), *said = json_stringn(text.p, text.n);
    for (int i = 0; i < r->n; i++) json_array_append_new(ids, json_integer(r->ids[i]));
    if (!said) BUG("the tokenizer gave text that is not UTF-8");
    json_object_set_new(o, "index", json_integer(index));
    json_object_set_new(o, "ids", ids);
    json_object_set_new(o, "text", said);
    json_object_set_new(o, "finish_reason", json_string(r->finish == WS_FINISH_STOP ? "stop" : "length"));
    if (thinks) {
        ws_think_parts part;
        ws_think_split(text.p, text.n, w->form, &part);
        json_object_set_new(o, "reasoning", json_stringn(part.reasoning, part.n_reasoning));
        json_object_set_new(o, "answer", json_stringn(part.answer, part.n_answer));
        json_object_set_new(o, "closed", json_boolean(part.closed));
    }
    ws_json_dump(o, &line, 1);
    ws_str_addc(&line, '\n');
    w->line[index] = ws_str_take(&line);
    for (; w->next < w->n && w->line[w->next]; w->next++) {
        fputs(w->line[w->next], stdout);
        free(w->line[w->next]);
        w->line[w->next] = NULL;
    }
    json_decref(o);
    ws_str_free(&text);
    return ferror(stdout) ? ws_fail(err, WS_EIO, "writing the answers failed (disk full or closed pipe?)") : WS_OK;
}

static ws_status speak(work *w, const ws_steering *steer, ws_err *err) {
    const args *a = w->a;
    ws_gen_request *req = ws_xcalloc((size_t)w->n + 1, sizeof *req);
    w->line = ws_xcalloc((size_t)w->n + 1, sizeof *w->line);
    for (int i = 0; i < w->n; i++)
        req[i] = (ws_gen_request){.prompt = w->prompt[i].id,
                                  .n_prompt = w->prompt[i].n,
                                  .max_new = (int)a->max_new,
                                  .min_new = (int)a->min_new,
                                  .stream_row = (uint64_t)i,
                                  .alpha = steer->alpha};
    ws_gen_options o = {.sampling = {.top_p = 1}, /* greedy */
                        .seed = w->common->seed,
                        .stream = "generate",
                        .max_rows = (int)a->max_rows,
                        .n_patches = steer->n,
                        .patch = steer->patch,
                        .vocab_limit = ws_tokenizer_size(w->s->tokenizer),
                        .progress = "generate"};
    ws_sampling_take(&a->sampling, &o.sampling);
    o.stops = ws_tokenizer_stops(w->s->tokenizer, &o.n_stops);
    ws_status st = ws_generate(w->s->model, req, w->n, &o, answer, NULL, w, err);
    for (int i = 0; i < w->n; i++) free(w->line[i]);
    free(w->line);
    free(req);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char doc[] =
        "Continues many prompts at once, steered or not.\n\n"
        "Examples:\n"
        "  ws generate --model M --prompts p.jsonl\n"
        "  ws generate --model M --prompts p.jsonl --steer out/enthusiasm/lora/dw.safetensors:2.5 --max-new-tokens "
        "100\n"
        "  ws generate --model M --prompts p.jsonl --temperature 0.7 --top-k 20 --top-p 0.8 --seed 3 --out "
        "answers.jsonl\v"
        "Prints JSON lines in the order of the prompts: index, ids (without the stop id), text, finish_reason (stop or "
        "length); for a model that reasons first also reasoning, answer and closed. A prompt of messages is rendered "
        "with the model's chat template and the generation prompt; a text is continued as it stands. An answer does "
        "not depend on the other prompts in the file, but for one thing: on a CPU with AMX --compute auto answers up "
        "to four prompts in fp32 and more in bf16.";
    args a = {.max_new = 64, .sampling = {.thinking = -1}};
    ws_common common;
    ws_session s = {0};
    ws_steering steer = {0};
    ws_common_init(&common);
    ws_interrupt_says(WS_STARTS_OVER);
    if (ws_cmd_parse(argc, argv, options, parse, "", doc, &a, &common, err)) return err->code;
    if (!a.prompts) return ws_fail(err, WS_EUSAGE, "--prompts is missing: give a .jsonl file with a prompt a line");
    work w = {.a = &a, .common = &common, .s = &s};
    ws_sink sink;
    ws_status st = ws_session_open_text(&s, &common, err);
    if (!st) st = ws_jsonl_each(a.prompts, add_prompt, &w, err);
    if (!st && w.n == 0) st = ws_fail(err, WS_EFORMAT, "%s: no prompts", a.prompts);
    if (!st && a.sampling.thinking >= 0 && !s.chat)
        st = ws_fail(err, WS_EUSAGE, "--thinking is for prompts of messages, and %s has none", a.prompts);
    if (!st) {
        ws_compute_for(w.n);
        st = ws_session_weights(&s, err);
    }
    for (int i = 0; i < common.n_steer && !st; i++)
        st = ws_steering_add(&steer, s.model, common.steer[i], common.force, err);
    if (!st && !(st = ws_sink_open(&sink, common.out, err))) {
        st = speak(&w, &steer, err);
        st = ws_sink_close(&sink, st, err);
    }
    for (int i = 0; i < w.n; i++) ws_ids_free(&w.prompt[i]);
    free(w.prompt), free(w.chatted);
    ws_steering_free(&steer);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_generate = {106, "generate", "prompts -> what the model says, steered or not, as JSON lines", run};
