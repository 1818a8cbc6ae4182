/* src/cmd/tokenize.c - text -> ids. */
#include "base/interrupt.h"
#include "cmd/cmd.h"
#include "io/json.h"
#include "text/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(tokenize)

typedef struct opts {
    const char *text, *file;
    int flags, json;
} opts;
enum { K_TEXT = 1, K_FILE, K_SPECIAL, K_PLAIN };
static const struct argp_option options[] = {
    {"text", K_TEXT, "S", 0, "the text", 1},
    {"file", K_FILE, "F", 0, "a text per line, or a .json array of strings (the way to give texts with line breaks)",
     1},
    {"add-special", K_SPECIAL, 0, 0, "add what the tokenizer puts around a text, such as BOS", 1},
    {"plain", K_PLAIN, 0, 0, "untrusted text: control strings like <|im_end|> stay text", 1},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    switch (key) {
    case K_TEXT: o->text = arg; break;
    case K_FILE: o->file = arg; break;
    case K_SPECIAL: o->flags |= WS_TOK_ADD_SPECIAL; break;
    case K_PLAIN: o->flags |= WS_TOK_PLAIN; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s': give the text with --text", arg); break;
    case ARGP_KEY_END:
        if (!o->text == !o->file) argp_error(state, "give --text or --file, one of them");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* One line per text. */
static ws_status print(const ws_tokenizer *t, const opts *o, const char *text, size_t n, ws_err *err) {
    ws_ids ids = {0};
    ws_status st = ws_tokenizer_encode(t, text, n, o->flags, &ids, err);
    if (!st && o->json) {
        json_t *list = json_array();
        for (int i = 0; i < ids.n; i++) json_array_append_new(list, json_integer(ids.id[i]));
        ws_print_json(list, 1);
    } else if (!st) {
        for (int i = 0; i < ids.n; i++) printf(i ? " %d" : "%d", (int)ids.id[i]);
        putchar('\n');
    }
    ws_ids_free(&ids);
    return st;
}

static ws_status print_array(const ws_tokenizer *t, const opts *o, ws_err *err) {
    json_t *list;
    ws_status st = ws_json_load(&list, o->file, err);
    if (st) return st;
    if (!json_is_array(list)) st = ws_fail(err, WS_EFORMAT, "%s: expected an array of strings", o->file);
    for (size_t i = 0; i < json_array_size(list) && !st; i++) {
        const json_t *s = json_array_get(list, i);
        if (!json_is_string(s))
            st = ws_fail(err, WS_EFORMAT, "%s: entry %zu is no string", o->file, i);
        else if (print(t, o, json_string_value(s), json_string_length(s), err))
            st = ws_fail_prefix(err, "%s: entry %zu", o->file, i);
        else
            st = ws_interrupt_check(err);
    }
    json_decref(list);
    return st;
}

/* Lines end with LF or CR LF; a byte order mark at the beginning of the file is no part of its first text. */
static ws_status print_lines(const ws_tokenizer *t, const opts *o, ws_err *err) {
    ws_str s = {0};
    ws_status st = ws_file_read(o->file, &s, err);
    long line = 0;
    size_t at = s.n >= 3 && !memcmp(s.p, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < s.n && !st) {
        const char *nl = memchr(s.p + at, '\n', s.n - at);
        size_t n = nl ? (size_t)(nl - s.p) - at : s.n - at, text = n;
        if (nl && n && s.p[at + n - 1] == '\r') text--;
        line++;
        if (print(t, o, s.p + at, text, err))
            st = ws_fail_prefix(err, "%s:%ld", o->file, line);
        else
            st = ws_interrupt_check(err);
        at += n + (nl != NULL);
    }
    ws_str_free(&s);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    opts o = {0};
    ws_common c;
    ws_session s;
    ws_sink sink;
    static const char *const without[] = {"steer", "force", "template", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(
        argc, argv, options, parse, "--model M (--text S | --file F)",
        "Print the token ids of a text, a line per text.\n\n"
        "  ws tokenize --model M.gguf --text 'Hello, world!'\n"
        "  ws tokenize --model M.gguf --file texts.json --add-special\n\n"
        "Special tokens inside the text are recognised, as everywhere, unless --plain is given. With --json "
        "each line is a JSON array.",
        &o, &c, err);
    if (st || (st = ws_session_open_text(&s, &c, err))) return st;
    size_t n = o.file ? strlen(o.file) : 0;
    o.json = c.json;
    if (!(st = ws_sink_open(&sink, c.out, err))) {
        if (o.text)
            st = print(s.tokenizer, &o, o.text, strlen(o.text), err);
        else if (n > 5 && !strcmp(o.file + n - 5, ".json"))
            st = print_array(s.tokenizer, &o, err);
        else
            st = print_lines(s.tokenizer, &o, err);
        st = ws_sink_close(&sink, st, err);
    }
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_tokenize = {101, "tokenize", "text -> ids", run};
