/* src/cmd/render.c - messages -> the text that the model reads. */
#include "cmd/cmd.h"
#include "io/json.h"
#include "text/chat.h"
#include <stdio.h>
#include <string.h>
WS_ROOM(render)

typedef struct opts {
    const char *messages;
    ws_render r;
} opts;
enum { K_MESSAGES = 1, K_GENERATION, K_THINKING, K_CONTINUE, K_DATE };
static const struct argp_option options[] = {
    {"messages", K_MESSAGES, "F.json", 0,
     "an array of {\"role\", \"content\"}, or an object with the keys messages and tools", 1},
    {"generation-prompt", K_GENERATION, 0, 0, "end with the beginning of the assistant's turn", 1},
    {"thinking", K_THINKING, "on|off", 0, "pass enable_thinking to the template (default: not passed)", 1},
    {"continue-final", K_CONTINUE, 0, 0, "stop behind the last message's content, so that the model goes on with it",
     1},
    {"date", K_DATE, "YYYY-MM-DD", 0, "the date for templates that print today's", 1},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    ws_err err = {0};
    unsigned date[3];
    char behind;
    switch (key) {
    case K_MESSAGES: o->messages = arg; break;
    case K_GENERATION: o->r.generation_prompt = 1; break;
    case K_THINKING:
        if (ws_opt_on_off("--thinking", arg, &o->r.thinking, &err)) argp_error(state, "%s", err.msg);
        break;
    case K_CONTINUE: o->r.continue_final = 1; break;
    case K_DATE:
        if (sscanf(arg, "%4u-%2u-%2u%c", &date[0], &date[1], &date[2], &behind) != 3 || strlen(arg) != 10 ||
            date[1] < 1 || date[1] > 12 || date[2] < 1 || date[2] > 31)
            argp_error(state, "--date %s: give it as 2026-11-22", arg);
        o->r.date = arg;
        break;
    case ARGP_KEY_ARG: argp_error(state, "'%s': give the file with --messages", arg); break;
    case ARGP_KEY_END:
        if (!o->messages) argp_error(state, "--messages is missing");
        if (o->r.generation_prompt && o->r.continue_final)
            argp_error(state, "--generation-prompt and --continue-final exclude each other");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    opts o = {.r = {.thinking = -1}};
    ws_common c;
    ws_session s = {0};
    json_t *doc = NULL;
    ws_str text = {0};
    ws_sink sink;
    static const char *const without[] = {"steer", "force", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st =
        ws_cmd_parse(argc, argv, options, parse, "--model M --messages F.json",
                     "Print messages as the model's chat template writes them, byte for byte (with --json: {\"text\": "
                     "\"...\"}).\n\n"
                     "  ws render --model M.gguf --messages chat.json --generation-prompt\n"
                     "  ws render --model Qwen/Qwen3-0.6B --messages chat.json --generation-prompt --thinking off\n"
                     "  ws render --model M.gguf --messages chat.json --continue-final --template my.jinja\n\n"
                     "chat.json: [{\"role\": \"user\", \"content\": \"Hi\"}]",
                     &o, &c, err);
    if (st || (st = ws_json_load(&doc, o.messages, err)) || (st = ws_session_open_text(&s, &c, err)) ||
        (st = ws_session_chat(&s, &c, err)))
        goto out;
    const json_t *messages = json_is_object(doc) ? json_object_get(doc, "messages") : doc;
    if (json_is_object(doc)) {
        const json_t *tools = json_object_get(doc, "tools");
        o.r.tools = tools && !json_is_null(tools) ? tools : NULL;
    }
    st = ws_chat_render(s.chat, messages, &o.r, &text, err);
    if (st)
        ws_fail_prefix(err, "%s", o.messages);
    else if (!(st = ws_sink_open(&sink, c.out, err))) {
        ws_print_text(&text, c.json);
        st = ws_sink_close(&sink, st, err);
    }
out:
    ws_session_close(&s);
    json_decref(doc);
    ws_str_free(&text);
    return st;
}

const ws_cmd ws_cmd_render = {103, "render", "messages -> the text that the model reads", run};
