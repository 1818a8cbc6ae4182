/* src/cmd/behavior.c - ws behavior: a user's own behaviour, from a template to a file worth an hour of training. */
#include "base/log.h"
#include "cmd/sampling.h"
#include "run/behavior_check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(behavior)

static const char doc[] =
    "A behaviour of your own: two personas, topics that both answer, words that tell them apart, in one JSON file.\n\n"
    "Examples:\n"
    "  ws behavior init politeness                        write politeness.json here, every field explained\n"
    "  ws behavior check politeness.json --model M        a few answers of both personas, and what they are worth\n"
    "  ws behavior check authority --model M --rows 24 --out check.json\n"
    "  ws run --model M --behavior politeness.json        then the whole chain\v"
    "check generates --rows pairs as `ws data` would and tells whether the sides can be told apart, whether one is "
    "longer, "
    "refuses, or repeats its persona's words, and which way the dial is likely to point; each warning says what to do. "
    "--out writes the same, and the answers, as JSON; --json prints that. The exit status is 0 with warnings too. The "
    "formats are in docs/formats.md, section Behaviours.";

enum { K_ROWS = 1, K_MAX_NEW, ROWS = 8 };

static const struct argp_option options[] = {
    {0, 0, 0, 0, "check:", 1},
    {"rows", K_ROWS, "N", 0, "pairs, on different topics where there are as many (8)", 1},
    {"max-new-tokens", K_MAX_NEW, "N", 0, "longest answer (as `ws data`: 96; thinking models 1280)", 1},
    WS_SAMPLING_OPTIONS(1, "0.7; thinking models 0.6", "20", "0.8; thinking models 0.95"),
    {0}};

typedef struct opts {
    const char *action, *name;
    int rows, max_new; /* 0: not given */
    ws_sampling_args sampling;
} opts;

static error_t positional(opts *o, int key, char *arg, struct argp_state *state) {
    if (key == ARGP_KEY_ARG) {
        if (!o->action)
            o->action = arg;
        else if (!o->name)
            o->name = arg;
        else
            argp_error(state, "'%s': one behaviour at a time", arg);
        return 0;
    }
    if (key != ARGP_KEY_END) return ARGP_ERR_UNKNOWN;
    if (!o->action || (strcmp(o->action, "init") && strcmp(o->action, "check")))
        argp_error(state, "say what to do: init NAME, or check NAME|FILE");
    if (!o->name) argp_error(state, "%s: the behaviour's name is missing", o->action);
    return 0;
}

static error_t parse_init(int key, char *arg, struct argp_state *state) {
    return positional(state->input, key, arg, state);
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    ws_err err = {0};
    ws_status st = WS_OK;
    long long n = 0;
    switch (key) {
    case K_ROWS: st = ws_opt_int("--rows", arg, 2, 10000, &n, &err), o->rows = (int)n; break;
    case K_MAX_NEW: st = ws_opt_int("--max-new-tokens", arg, 1, 1000000, &n, &err), o->max_new = (int)n; break;
    case ARGP_KEY_ARG:
    case ARGP_KEY_END: return positional(o, key, arg, state);
    default: return ws_sampling_parse(&o->sampling, key, arg, state);
    }
    if (st) argp_error(state, "%s", err.msg);
    return 0;
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
        ws_note("%s.json is an example with %d persona pairs and %d topics, every field explained; edit it, look with "
                "ws behavior check %s.json, and name it with --behavior %s.json",
                name, b->n_personas, b->n_topics, name, name);
    }
    ws_behavior_free(b);
    ws_str_free(&text), ws_str_free(&out);
    free(from), free(to);
    return st;
}

static ws_status check(const opts *a, const ws_common *c, ws_err *err) {
    ws_session s = {0};
    ws_behavior *b = NULL;
    ws_check k = {0};
    ws_contrast_options o;
    json_t *j = NULL;
    ws_str text = {0};
    ws_status st = ws_behavior_load(&b, a->name, err);
    if (!st && c->out) st = ws_out_try(c->out, err);
    if (!st) st = ws_session_open(&s, c, err);
    if (!st) st = ws_session_chat(&s, c, err);
    if (!st) st = ws_contrast_defaults(&o, s.chat, a->sampling.thinking, err);
    if (st) goto out;
    ws_sampling_take(&a->sampling, &o.sampling);
    if (a->max_new) o.max_new = a->max_new;
    o.rows = a->rows ? a->rows : ROWS;
    o.topics = b->n_topics, o.personas = b->n_personas, o.samples = 1, o.heldout = 0, o.seed = c->seed;
    if ((st = ws_check_behavior(&k, s.model, s.tokenizer, s.chat, b, &o, err))) goto out;
    j = ws_check_json(&k, ws_checkpoint_name(s.checkpoint), ws_checkpoint_hash(s.checkpoint), b, &o);
    if (c->out && (st = ws_json_save(j, c->out, err))) goto out;
    if (c->json) {
        ws_print_json(j, 0), j = NULL;
        goto out;
    }
    ws_check_print(&k, ws_checkpoint_name(s.checkpoint), b, &o, &text);
    fwrite(text.p, 1, text.n, stdout);
out:
    ws_str_free(&text);
    json_decref(j);
    ws_check_free(&k);
    ws_session_close(&s);
    ws_behavior_free(b);
    return st;
}

/* `init` takes none of the options that `check` has. */
static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const no_model[] = {"model", "template", "steer",   "force",   "threads", "seed",
                                           "out",   "json",     "offline", "profile", NULL},
                             *const without[] = {"steer", "force", NULL};
    opts o = {0};
    ws_common c;
    int is_init = 0;
    for (int i = 1; i < argc && !is_init; i++) is_init = !strcmp(argv[i], "init");
    ws_common_init(&c);
    ws_sampling_args_init(&o.sampling);
    c.without = is_init ? no_model : without;
    ws_status st = ws_cmd_parse(argc, argv, is_init ? NULL : options, is_init ? parse_init : parse,
                                "init NAME\ncheck NAME|FILE", doc, &o, &c, err);
    if (st) return st;
    return strcmp(o.action, "init") ? check(&o, &c, err) : init(o.name, err);
}

const ws_cmd ws_cmd_behavior = {5, "behavior",
                                "a behaviour of your own: a template of one, and a look at what it gives", run};
