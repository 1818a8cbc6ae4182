/* src/cmd/detokenize.c - ids -> text. */
#include "cmd/cmd.h"
#include "text/tokenizer.h"
#include <stdio.h>
WS_ROOM(detokenize)

typedef struct opts {
    const char *ids;
    int skip_special;
} opts;
enum { K_IDS = 1, K_SKIP };
static const struct argp_option options[] = {
    {"ids", K_IDS, "\"1 2 3\"", 0, "token ids, separated by spaces or commas", 1},
    {"skip-special", K_SKIP, 0, 0, "leave special tokens out", 1},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    switch (key) {
    case K_IDS: o->ids = arg; break;
    case K_SKIP: o->skip_special = 1; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s': give the ids with --ids \"1 2 3\"", arg); break;
    case ARGP_KEY_END:
        if (!o->ids) argp_error(state, "--ids is missing");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    opts o = {0};
    ws_common c;
    ws_session s;
    ws_ids ids = {0};
    ws_str text = {0};
    ws_sink sink;
    static const char *const without[] = {"steer", "force", "template", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st =
        ws_cmd_parse(argc, argv, options, parse, "--model M --ids \"1 2 3\"",
                     "Print the text of token ids; nothing is added to it, not even a line break.\n\n"
                     "  ws detokenize --model M.gguf --ids '19556 28 905 17'\n"
                     "  ws detokenize --model M.gguf --ids '1 4093 198 2' --skip-special\n\n"
                     "Bytes that form no UTF-8 character are shown as U+FFFD. With --json: {\"text\": \"...\"}.",
                     &o, &c, err);
    if (st || (st = ws_opt_ids("--ids", o.ids, &ids, err)) || (st = ws_session_open_text(&s, &c, err))) goto out;
    st = ws_tokenizer_decode(s.tokenizer, ids.id, ids.n, o.skip_special, &text, err);
    if (!st && !(st = ws_sink_open(&sink, c.out, err))) {
        ws_print_text(&text, c.json);
        st = ws_sink_close(&sink, st, err);
    }
    ws_session_close(&s);
out:
    ws_ids_free(&ids);
    ws_str_free(&text);
    return st;
}

const ws_cmd ws_cmd_detokenize = {102, "detokenize", "ids -> text", run};
