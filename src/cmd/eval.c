/* src/cmd/eval.c - ws eval: what steering changed, by several readouts. */
#include "base/interrupt.h"
#include "cmd/stages.h"
#include "io/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(eval)

enum {
    K_ALPHA = 1,
    K_ALPHAS,
    K_CALIBRATION,
    K_READOUT,
    K_VIGNETTES,
    K_BEHAVIOR,
    K_PAIRS,
    K_FLOOR,
    K_K,
    K_LOADING,
    K_BOOTSTRAP,
    K_TOPICS,
    K_SAMPLES,
    K_TOKENS,
    K_MIN_TOKENS,
    K_MEMORY,
    K_FRESH,
    K_MAX_THINK,
    K_MAX_ROWS,
    K_CANARIES,
    K_PROTOCOL,
    N_KEYS
};

static const struct argp_option options[] = {
    {"alpha", K_ALPHA, "A,B,...", 0, "strengths, as --alpha=-7,0,13; 0 is the base and always there", 0},
    {"calibration", K_CALIBRATION, "DIR", 0, "without --alpha: the strengths that ws calibrate wrote to DIR", 0},
    {"alphas", K_ALPHAS, "A,B,...", 0,
     "beside every calibrated strength also these parts of it, as 0.25,0.5,0.75 (vignettes, margin, canaries)", 0},
    {"readout", K_READOUT, "LIST", 0, "of vignettes, margin, dose, canaries (the first three)", 0},
    {"behavior", K_BEHAVIOR, "NAME", 0,
     "behaviour (name or file): targets of the vignettes, topics and counters of dose", 0},
    {"protocol", K_PROTOCOL, "P", 0,
     "ours, ws (weight-steering's) or sl (steering-lite's): fixes thought, floor, k, weighting, sign rule and, in a "
     "run, "
     "calibration (without it: ours, and the options)",
     0},
    {"fresh", K_FRESH, 0, 0, "forget the results of an earlier run in --out", 0},
    {"bootstrap", K_BOOTSTRAP, "N", 0, "draws for the intervals (1000)", 0},
    {"cache-mib", K_MEMORY, "N", 0,
     "memory for what shared beginnings leave (512, more for Qwen3.5); changes speed, not the result", 0},
    {"max-rows", K_MAX_ROWS, "N", 0, "texts or thoughts that are spoken at once (64); changes speed, not the result",
     0},
    {0, 0, 0, 0, "Readout vignettes:", 2},
    {"vignettes", K_VIGNETTES, "DIR", 0,
     "folder with other_violate.jsonl and self_violate.jsonl, or tinymfv's names (the program's own)", 2},
    {"floor", K_FLOOR, "P", 0, "answers with less probability on true and false are left out (0.5)", 2},
    {"k", K_K, "K", 0, "price of a broken judgement in SI (2)", 2},
    {"loading-weighted", K_LOADING, 0, 0, "weigh SI by foundation loadings instead of the label", 2},
    {"max-think", K_MAX_THINK, "N", 0,
     "let the model think for at most N tokens before it answers; 0: the answer at once (0)", 2},
    {0, 0, 0, 0, "Readout margin:", 3},
    {"pairs", K_PAIRS, "F.jsonl", 0, "held-out pairs (heldout.jsonl of ws data)", 3},
    {0, 0, 0, 0, "Readout dose:", 4},
    {"dose-topics", K_TOPICS, "N", 0, "held-out topics (all)", 4},
    {"dose-samples", K_SAMPLES, "N", 0, "texts a topic and strength (4)", 4},
    {"dose-tokens", K_TOKENS, "N", 0, "longest text (60; thinking models 1280)", 4},
    {"dose-min-tokens", K_MIN_TOKENS, "N", 0, "shortest text (0)", 4},
    {0, 0, 0, 0, "Readout canaries:", 5},
    {"canary-prompts", K_CANARIES, "N", 0, "calibration prompts that are looked at (20)", 5},
    WS_SAMPLING_OPTIONS(4, "0.7; thinking models 0.6", "20", "0.8; thinking models 0.95"),
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    ws_eval_args *a = state->input;
    ws_eval_options *o = &a->o;
    ws_err err = {0};
    ws_status st = WS_OK;
    long long n = 0;
    switch (key) {
    case K_ALPHA:
        free(a->alpha), a->alpha = NULL;
        st = ws_opt_nums("--alpha", arg, &a->alpha, &o->n_alpha, &err), o->alpha = a->alpha;
        break;
    case K_ALPHAS:
        free(a->part), a->part = NULL;
        st = ws_opt_nums("--alphas", arg, &a->part, &o->n_parts, &err), o->part = a->part;
        for (int i = 0; i < o->n_parts && !st; i++)
            if (!(o->part[i] > 0 && o->part[i] <= 1))
                st = ws_fail(&err, WS_EUSAGE,
                             "--alphas: %g is no part of a calibrated strength; give numbers above 0 and up to 1",
                             o->part[i]);
        break;
    case K_CALIBRATION: o->calibration = arg; break;
    case K_READOUT: o->readouts = arg, a->given_readouts = 1; break;
    case K_VIGNETTES: o->vignettes = arg; break;
    case K_BEHAVIOR: a->behavior = arg; break;
    case K_PAIRS: o->pairs = arg; break;
    case K_FLOOR: st = ws_opt_num("--floor", arg, 0, 1, &o->floor, &err); break;
    case K_K: st = ws_opt_num("--k", arg, 0, 1000, &o->k, &err); break;
    case K_LOADING: o->loading_weighted = 1; break;
    case K_BOOTSTRAP: st = ws_opt_int("--bootstrap", arg, 1, 1000000, &n, &err), o->bootstrap = (int)n; break;
    case K_TOPICS: st = ws_opt_int("--dose-topics", arg, 1, 1000000, &n, &err), o->dose_topics = (int)n; break;
    case K_SAMPLES: st = ws_opt_int("--dose-samples", arg, 1, 1000000, &n, &err), o->dose_samples = (int)n; break;
    case K_TOKENS: st = ws_opt_int("--dose-tokens", arg, 1, 1000000, &n, &err), a->dose_tokens = (int)n; break;
    case K_MIN_TOKENS:
        st = ws_opt_int("--dose-min-tokens", arg, 0, 1000000, &n, &err), o->dose_min_tokens = (int)n;
        break;
    case K_MEMORY: st = ws_opt_int("--cache-mib", arg, 1, 1 << 24, &n, &err), o->budget = n << 20; break;
    case K_FRESH: o->fresh = 1; break;
    case K_MAX_THINK: st = ws_opt_int("--max-think", arg, 0, 1000000, &n, &err), o->max_think = (int)n; break;
    case K_CANARIES: st = ws_opt_int("--canary-prompts", arg, 1, 100000, &n, &err), o->canary_prompts = (int)n; break;
    case K_PROTOCOL: st = ws_opt_protocol(arg, &o->protocol, &err); break;
    case K_MAX_ROWS: st = ws_opt_int("--max-rows", arg, 1, 4096, &n, &err), o->max_rows = (int)n; break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", arg); break;
    default: return ws_sampling_parse(&a->sampling, key, arg, state);
    }
    if (st) argp_error(state, "%s", err.msg);
    if (key > 0 && key < N_KEYS) a->given |= (uint64_t)1 << key;
    return 0;
}

ws_status ws_opt_protocol(const char *arg, const ws_protocol **out, ws_err *err) {
    *out = ws_protocol_find(arg);
    return *out ? WS_OK
                : ws_fail(err, WS_EUSAGE, "--protocol %s: there is no such protocol; there are %s", arg,
                          ws_protocol_names());
}

ws_status ws_protocol_fix(const ws_protocol *p, ws_eval_options *o, int given_floor, int given_k, int given_loading,
                          int given_think, ws_err *err) {
    const struct {
        int given;
        double is, should;
        const char *name;
    } c[] = {{given_floor, o->floor, p->floor, "floor"},
             {given_k, o->k, p->k, "k"},
             {given_loading, o->loading_weighted, p->loading_weighted, "loading-weighted"},
             {given_think && !(o->max_think >= p->max_think && o->max_think <= p->max_think_most), o->max_think,
              p->max_think, "max-think"}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        if (c[i].given && c[i].is != c[i].should)
            return ws_fail(err, WS_EUSAGE, "--protocol %s fixes --%s (%g): leave the option out, or the protocol",
                           p->name, c[i].name, c[i].should);
    o->floor = p->floor, o->k = p->k, o->loading_weighted = p->loading_weighted;
    if (!given_think) o->max_think = p->max_think;
    return WS_OK;
}

ws_status ws_eval_args_protocol(ws_eval_args *a, ws_err *err) {
    if (!a->o.protocol) return WS_OK;
    if (!ws_eval_asked(&a->o, "vignettes"))
        return ws_fail(err, WS_EUSAGE, "--protocol is for the readout vignettes, and --readout %s does not ask for it",
                       a->o.readouts);
    return ws_protocol_fix(a->o.protocol, &a->o, a->given >> K_FLOOR & 1, a->given >> K_K & 1,
                           a->given >> K_LOADING & 1, a->given >> K_MAX_THINK & 1, err);
}

ws_status ws_eval_args_check(const ws_eval_args *a, ws_err *err) {
    static const char vignettes[] = "vignettes", margin[] = "margin", dose[] = "dose", canaries[] = "canaries";
    static const struct {
        int key;
        const char *readout;
    } of[] = {{K_VIGNETTES, vignettes}, {K_FLOOR, vignettes}, {K_K, vignettes},      {K_LOADING, vignettes},
              {K_MAX_THINK, vignettes}, {K_PAIRS, margin},    {K_TOPICS, dose},      {K_SAMPLES, dose},
              {K_TOKENS, dose},         {K_MIN_TOKENS, dose}, {K_CANARIES, canaries}};
    const ws_eval_ops *asked[WS_EVAL_MOST];
    int n;
    if (ws_eval_choose(a->o.readouts, asked, &n, err)) return err->code;
    for (size_t i = 0; i <= sizeof of / sizeof *of; i++) {
        int last = i == sizeof of / sizeof *of; /* sampling */
        const char *name = last ? ws_sampling_given(&a->sampling) : NULL, *readout = last ? dose : of[i].readout;
        if (!(last ? name != NULL : a->given >> of[i].key & 1) || ws_eval_asked(&a->o, readout)) continue;
        for (const struct argp_option *o = options; !name; o++)
            if (o->key == of[i].key) name = o->name;
        return ws_fail(err, WS_EUSAGE,
                       "--%s is for the readout %s, and --readout %s does not ask for it: leave the option out, or add "
                       "the readout",
                       name, readout, a->o.readouts);
    }
    if (a->o.n_parts && !ws_eval_asked(&a->o, vignettes) && !ws_eval_asked(&a->o, margin) &&
        !ws_eval_asked(&a->o, canaries))
        return ws_fail(err, WS_EUSAGE, "--alphas is for the readouts vignettes, margin and canaries; dose has halves");
    if ((a->given >> K_MAX_ROWS & 1) && !a->o.max_think && !ws_eval_asked(&a->o, dose) &&
        !ws_eval_asked(&a->o, canaries))
        return ws_fail(err, WS_EUSAGE,
                       "--max-rows is for texts that are spoken: the readouts dose and canaries, or --max-think");
    return WS_OK;
}

const struct argp ws_eval_argp = {options, parse, 0, 0, 0, 0, 0};

void ws_eval_args_init(ws_eval_args *a) {
    *a = (ws_eval_args){.o = ws_eval_defaults()};
    ws_sampling_args_init(&a->sampling);
}

ws_status ws_eval_args_take(const ws_eval_args *a, const ws_chat *c, int thinking, ws_eval_options *o, ws_err *err) {
    if (ws_eval_thinking(o, c, thinking, err)) return err->code;
    if (a->dose_tokens) o->dose_tokens = a->dose_tokens;
    ws_sampling_take(&a->sampling, &o->sampling);
    return WS_OK;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char doc[] = "Measures what steering changed, base and all strengths in shared batches.\n\n"
                              "Examples:\n"
                              "  ws eval --model M --steer dw.safetensors --calibration out/enthusiasm/kl_calibration "
                              "--behavior enthusiasm --pairs heldout.jsonl --out out/enthusiasm/lora\n"
                              "  ws eval --model M --steer dw.safetensors --alpha=-7,0,13 --readout vignettes "
                              "--vignettes tinymfv/data/vignettes_airisk --out ev\n"
                              "  ws eval --model Qwen/Qwen3.5-4B --steer dw.safetensors --alpha=-3,3 --readout "
                              "vignettes --max-think 128 --out ev\n"
                              "  ws eval --model M --steer dw.safetensors --alpha=-3,3 --readout dose --behavior "
                              "enthusiasm --dose-samples 8 --out ev\v"
                              "vignettes: moral scenarios, each in two persons and two questions: change of the logit "
                              "of wrongness per foundation, Surgical Informedness, and the effect on the "
                              "behaviour's target minus the mean of the others; with --max-think after a thought that "
                              "is steered too, greedy until </think> or the budget, with the share that closed, its "
                              "length, and how much of it repeats itself (share of 4-token runs that stood before). "
                              "margin: log p per token of held-out "
                              "POS answers minus NEG answers. dose: free answers on held-out topics at "
                              "-alpha, -alpha/2, 0, alpha/2, alpha, with the behaviour's counters (on the answer alone "
                              "where the model reasons first). Every figure has a "
                              "95% bootstrap interval. Files: docs/formats.md. Started again, it goes on "
                              "where it was stopped, to the same bytes.";
    ws_eval_args a;
    ws_common common;
    ws_session s = {0};
    ws_behavior *behavior = NULL;
    ws_str report = {0};
    json_t *json = NULL;
    ws_common_init(&common);
    ws_interrupt_says(WS_RESUMES);
    ws_eval_args_init(&a);
    if (ws_cmd_parse(argc, argv, options, parse, "", doc, &a, &common, err)) return err->code;
    ws_status st = WS_OK;
    if (ws_eval_args_check(&a, err) || ws_eval_args_protocol(&a, err))
        st = err->code;
    else if (!common.out)
        st = ws_fail(err, WS_EUSAGE, "--out is missing: give a folder for the results");
    else if (a.alpha && a.o.calibration)
        st = ws_fail(err, WS_EUSAGE, "--alpha and --calibration both give the strengths; leave one of them out");
    else if (a.part && !a.o.calibration)
        st = ws_fail(err, WS_EUSAGE, "--alphas are parts of calibrated strengths: give --calibration");
    else if ((a.alpha || a.o.calibration) && !common.n_steer)
        st = ws_fail(err, WS_EUSAGE, "%s needs --steer: without a method only the base is measured",
                     a.alpha ? "--alpha" : "--calibration");
    if (st) {
        free(a.alpha), free(a.part);
        return st;
    }
    a.o.out = common.out, a.o.seed = common.seed;
    ws_method **m = ws_xcalloc((size_t)common.n_steer + 1, sizeof *m);
    if (a.behavior) st = ws_behavior_load(&behavior, a.behavior, err);
    if (!st) st = ws_session_open(&s, &common, err);
    if (!st) st = ws_session_chat(&s, &common, err);
    if (!st) st = ws_eval_args_take(&a, s.chat, a.sampling.thinking, &a.o, err);
    for (int i = 0; i < common.n_steer && !st; i++)
        st = ws_method_load(&m[i], s.model, common.steer[i], common.force, err);
    if (!st) st = ws_session_fold(&s, a.o.protocol, m, common.n_steer, err);
    if (!st) st = ws_eval_run(s.model, s.tokenizer, s.chat, behavior, m, common.n_steer, &a.o, &report, &json, err);
    if (!st && common.json)
        ws_print_json(json_incref(json), 0);
    else if (!st)
        fwrite(report.p, 1, report.n, stdout);
    json_decref(json);
    ws_str_free(&report);
    ws_behavior_free(behavior);
    for (int i = 0; i < common.n_steer; i++) ws_method_free(m[i]);
    free(m), free(a.alpha), free(a.part);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_eval = {60, "eval", "model + methods + readouts -> what moved, with intervals", run};
