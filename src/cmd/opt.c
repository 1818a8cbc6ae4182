/* src/cmd/opt.c - the options that all verbs share, and strict numbers. */
#include "base/log.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "cmd/stages.h"
#include "io/hub.h"
#include "kernel/compute.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K_TEMPLATE = 0x400, K_FORCE, K_THREADS, K_SEED, K_OUT, K_JSON, K_COMPUTE, K_STEER, K_OFFLINE, K_PROFILE };

static const struct argp_option options[] = {
    {"model", 'm', "M", 0, "a Hugging Face directory, a .gguf file, or a hub id (org/name), which is pulled if need be",
     0},
    {"template", K_TEMPLATE, "FILE", 0, "chat template to use instead of the model's own", 0},
    {"steer", K_STEER, "FILE[:ALPHA]", 0,
     "hang a dW, an adapter directory, a LoRA GGUF or a vector, at strength ALPHA (1); repeatable", 0},
    {"force", K_FORCE, 0, 0, "accept a steering file that was made on another base model", 0},
    {"compute", K_COMPUTE, "TYPE", 0,
     "products with the model's weights, and with a dW's factors: f32; bf16, both sides rounded to it; or auto "
     "(default), bf16 where the CPU does that faster (with AMX from five texts at once)",
     0},
    {"offline", K_OFFLINE, 0, 0, "never use the network: a hub id must be in the cache (as HF_HUB_OFFLINE=1)", 0},
    {"threads", K_THREADS, "N", 0, "threads (default: the cores that this process may use)", 0},
    {"seed", K_SEED, "N", 0, "seed of every random choice (default 0)", 0},
    {"out", K_OUT, "PATH", 0, "where results go", 0},
    {"json", K_JSON, 0, 0, "machine-readable output", 0},
    {"profile", K_PROFILE, 0, 0,
     "at the end, where the time went: by stage and kernel, as shares of this machine's peaks", 0},
    {"quiet", 'q', 0, 0, "no notes, no progress", 0},
    {"verbose", 'v', 0, 0, "more notes", 0},
    {0}};

enum { MAX_STEER = 64 };
static const char *steer[MAX_STEER];

void ws_common_init(ws_common *c) {
    memset(c, 0, sizeof *c);
    c->offline = ws_hub_offline();
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    ws_common *c = state->input;
    ws_err err = {0};
    long long n;
    switch (key) {
    case 'm': c->model = arg; break;
    case K_TEMPLATE: c->template_file = arg; break;
    case K_STEER:
        if (c->n_steer == MAX_STEER) argp_error(state, "--steer: at most %d times", MAX_STEER);
        c->steer = steer; /* one command line in a process */
        steer[c->n_steer++] = arg;
        break;
    case K_FORCE: c->force = 1; break;
    case K_COMPUTE:
        if (ws_compute_choose(arg, &err)) argp_error(state, "%s", err.msg);
        break;
    case K_THREADS:
        if (ws_opt_int("--threads", arg, 1, 4096, &n, &err)) argp_error(state, "%s", err.msg);
        ws_threads_set((int)n);
        c->threads = (int)n;
        break;
    case K_SEED:
        if (ws_opt_int("--seed", arg, 0, 4294967295LL, &n, &err)) argp_error(state, "%s", err.msg);
        c->seed = (uint64_t)n;
        break;
    case K_OUT:
        if (!*arg) argp_error(state, "--out: the name of the file to write is empty");
        c->out = arg;
        break;
    case K_JSON: c->json = 1; break;
    case K_OFFLINE: c->offline = 1; break;
    case K_PROFILE: c->profile = 1; break;
    case 'q': ws_log_level(0); break;
    case 'v': ws_log_level(2); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

enum { MOST_CHILDREN = 8 };
typedef struct inputs {
    void *verb;
    ws_common *common;
    argp_parser_t parser;
    void *const *child;
    int n_children; /* before the common ones */
} inputs;

static error_t parse_verb(int key, char *arg, struct argp_state *state) {
    inputs *in = state->input;
    if (key == ARGP_KEY_INIT) {
        for (int i = 0; i < in->n_children; i++) state->child_inputs[i] = in->child[i];
        state->child_inputs[in->n_children] = in->common;
        return 0;
    }
    void *whole = state->input;
    state->input = in->verb;
    error_t e = in->parser ? in->parser(key, arg, state) : ARGP_ERR_UNKNOWN;
    state->input = whole;
    return e;
}

/* argp prints `doc` up to \v before the options: that is where the examples stand. */
ws_status ws_cmd_parse_with(int argc, char **argv, const struct argp_option *opts, argp_parser_t parser,
                            const char *args_doc, const char *doc, void *input, const struct argp_child *child,
                            void *const *child_input, ws_common *common, ws_err *err) {
    struct argp_child children[MOST_CHILDREN + 2] = {{0}};
    inputs in = {input, common, parser, child_input, 0};
    for (; child && child[in.n_children].argp; in.n_children++) {
        WS_ASSERT(in.n_children < MOST_CHILDREN);
        children[in.n_children] = child[in.n_children];
    }
    struct argp_option *taken = ws_options_pick(options, common->without, NULL);
    const struct argp shared = {taken, parse, 0, 0, 0, 0, 0};
    children[in.n_children] = (struct argp_child){&shared, 0, "Common options:", 9};
    const struct argp argp = {opts, parse_verb, args_doc, doc, children, 0, 0};
    argp_err_exit_status = 2;
    setenv("ARGP_HELP_FMT", "rmargin=110", 0); /* examples stay on one line */
    ws_status st = ws_options_known(&argp, argc, argv, err);
    if (!st && argp_parse(&argp, argc, argv, 0, NULL, &in)) st = ws_fail(err, WS_EUSAGE, "see `%s --help`", argv[0]);
    if (!st && common->profile) ws_profile_start(strchr(argv[0], ' ') ? strchr(argv[0], ' ') + 1 : argv[0]);
    free(taken);
    return st;
}

static const char *name_in(const struct argp *a, argp_parser_t parser, int key) {
    for (const struct argp_option *o = a->parser == parser ? a->options : NULL; o && (o->name || o->key || o->doc); o++)
        if (o->name && o->key == key) return o->name;
    for (const struct argp_child *c = a->children; c && c->argp; c++) {
        const char *found = name_in(c->argp, parser, key);
        if (found) return found;
    }
    return NULL;
}

const char *ws_opt_name(const struct argp_state *state, argp_parser_t parser, int key) {
    static char text[64]; /* one option is parsed at a time */
    const char *name = name_in(state->root_argp, parser, key);
    snprintf(text, sizeof text, "--%s", name ? name : "?");
    return text;
}

ws_status ws_opt_ids(const char *option, const char *text, ws_ids *out, ws_err *err) {
    for (const char *p = text;;) {
        while (isspace((unsigned char)*p) || *p == ',') p++;
        if (!*p) return WS_OK;
        char *end;
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v > INT32_MAX || (*end && *end != ',' && !isspace((unsigned char)*end)))
            return ws_fail(err, WS_EUSAGE, "%s: '%.40s' does not begin with a token id", option, p);
        ws_ids_add(out, (int32_t)v);
        p = end;
    }
}

ws_status ws_cmd_parse(int argc, char **argv, const struct argp_option *opts, argp_parser_t parser,
                       const char *args_doc, const char *doc, void *input, ws_common *common, ws_err *err) {
    return ws_cmd_parse_with(argc, argv, opts, parser, args_doc, doc, input, NULL, NULL, common, err);
}

ws_status ws_opt_int(const char *option, const char *text, long long lo, long long hi, long long *out, ws_err *err) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno) return ws_fail(err, WS_EUSAGE, "%s: '%s' is not a whole number", option, text);
    if (v < lo || v > hi) return ws_fail(err, WS_EUSAGE, "%s: %lld is outside %lld..%lld", option, v, lo, hi);
    *out = v;
    return WS_OK;
}

static ws_status number(const char *option, const char *text, char stop, const char **rest, double *out, ws_err *err) {
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || (*end && *end != stop) || !isfinite(v))
        return ws_fail(err, WS_EUSAGE, "%s: '%s' is not a number", option, text);
    *rest = *end ? end + 1 : end;
    *out = v;
    return WS_OK;
}

ws_status ws_opt_num(const char *option, const char *text, double lo, double hi, double *out, ws_err *err) {
    const char *rest;
    double v;
    if (number(option, text, 0, &rest, &v, err)) return err->code;
    if (v < lo || v > hi) return ws_fail(err, WS_EUSAGE, "%s: %g is outside %g..%g", option, v, lo, hi);
    *out = v;
    return WS_OK;
}

ws_status ws_opt_nums(const char *option, const char *text, double **out, int *n, ws_err *err) {
    double *v = NULL;
    int k = 0;
    do {
        v = ws_xrealloc(v, (size_t)(k + 1) * sizeof *v);
        if (number(option, text, ',', &text, &v[k], err)) {
            free(v);
            return err->code;
        }
        k++;
    } while (*text);
    *out = v, *n = k;
    return WS_OK;
}

ws_status ws_opt_on_off(const char *option, const char *text, int *out, ws_err *err) {
    if (strcmp(text, "on") && strcmp(text, "off"))
        return ws_fail(err, WS_EUSAGE, "%s: '%s' is neither on nor off", option, text);
    *out = !strcmp(text, "on");
    return WS_OK;
}

ws_status ws_opt_range(const char *option, const char *text, double *a, double *b, ws_err *err) {
    const char *rest;
    if (!strchr(text, ':')) return ws_fail(err, WS_EUSAGE, "%s: '%s' is not of the form A:B", option, text);
    if (number(option, text, ':', &rest, a, err) || number(option, rest, 0, &rest, b, err)) return err->code;
    if (*a > *b) return ws_fail(err, WS_EUSAGE, "%s: %g is above %g", option, *a, *b);
    return WS_OK;
}
