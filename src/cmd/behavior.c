/* src/cmd/behavior.c - ws behavior: a user's own behaviour, from a template to a file worth an hour of training. */
#include "base/log.h"
#include "cmd/cmd.h"
#include "data/behavior.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(behavior)

static const char doc[] =
    "A behaviour of your own: two personas, topics that both answer, words that tell them apart, in one JSON file.\n\n"
    "Examples:\n"
    "  ws behavior init politeness                 write politeness.json here: an example with every field explained\n"
    "  ws data --model M --behavior politeness.json --samples 1\n"
    "  ws run --model M --behavior politeness.json\v"
    "The file's format is in docs/formats.md, section Behaviours.";

typedef struct opts {
    const char *action, *name;
} opts;

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (!o->action)
            o->action = arg;
        else if (!o->name)
            o->name = arg;
        else
            argp_error(state, "'%s': one behaviour at a time", arg);
        return 0;
    case ARGP_KEY_END:
        if (!o->action || strcmp(o->action, "init")) argp_error(state, "say what to do: init NAME");
        if (!o->name) argp_error(state, "%s: the behaviour's name is missing", o->action);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* NAME.json here: the template with its name filled in, read back before it is left there. */
static ws_status init(const char *name, ws_err *err) {
    static const char slot[] = "@NAME@";
    if (ws_behavior_check_name(name, err)) return err->code;
    char *from = ws_data_path("behavior_template.json", err), *to = ws_sprintf("./%s.json", name);
    ws_str text = {0}, out = {0};
    ws_behavior *b = NULL;
    ws_status st = from ? ws_file_read(from, &text, err) : err->code;
    if (!st && ws_file_exists(to))
        st = ws_fail(err, WS_ESTATE, "%s is there already; take another name, or remove it first", to + 2);
    if (!st) {
        const char *at = strstr(text.p, slot);
        if (!at)
            st = ws_fail(err, WS_EFORMAT, "%s has no %s where the name goes", from, slot);
        else {
            ws_str_add(&out, text.p, (size_t)(at - text.p));
            ws_str_adds(&out, name);
            ws_str_adds(&out, at + strlen(slot));
            st = ws_file_write(to, out.p, out.n, err);
        }
    }
    if (!st) st = ws_behavior_load(&b, to, err);
    if (!st) {
        printf("%s\n", to + 2);
        ws_note("%s.json is an example with %d persona pairs and %d topics, every field explained; edit it, then name "
                "it with --behavior %s.json",
                name, b->n_personas, b->n_topics, name);
    }
    ws_behavior_free(b);
    ws_str_free(&text), ws_str_free(&out);
    free(from), free(to);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const without[] = {"model", "template", "steer",   "force",   "threads", "seed",
                                          "out",   "json",     "offline", "profile", NULL};
    opts o = {0};
    ws_common c;
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, NULL, parse, "init NAME", doc, &o, &c, err);
    return st ? st : init(o.name, err);
}

const ws_cmd ws_cmd_behavior = {5, "behavior", "a behaviour of your own: write a template of one", run};
