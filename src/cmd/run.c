/* src/cmd/run.c - `ws run`: the whole chain, from persona to table. */
#include "cmd/stages.h"
#include "base/log.h"
#include "base/progress.h"
#include "run/pipeline.h"
#include "run/report.h"
#include "run/verdict.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

WS_ROOM(run)

enum {
    K_MODE = 1,
    K_TARGET,
    K_KL_PROMPTS,
    K_KL_N,
    K_KL_TOKENS,
    K_KL_AUDIT,
    K_BRACKET,
    K_READOUT,
    K_VIGNETTES,
    K_FLOOR,
    K_SI_K,
    K_LOADING,
    K_BOOTSTRAP,
    K_DOSE_TOPICS,
    K_DOSE_SAMPLES,
    K_DOSE_TOKENS,
    K_PLAN,
    K_FRESH,
    K_NO_WAIT
};

static const struct argp_option options[] = {
    {"plan", K_PLAN, 0, 0, "print stages, sizes, time and memory, and stop", 0},
    {"fresh", K_FRESH, 0, 0, "start over: delete what another model or other options left in the same place", 0},
    {"no-wait", K_NO_WAIT, 0, 0, "fail instead of waiting while another run works in the same place", 0},
    {"mode", K_MODE, "M", 0, "dw: POS - NEG; bisector: both sides normalised first (dw)", 0},
    {0, 0, 0, 0, "Calibration:", 3},
    {"target-kl", K_TARGET, "X", 0, "95th percentile of the KL per token that alpha is chosen for, in nats (1)", 3},
    {"kl-pool", K_KL_PROMPTS, "FILE", 0, "calibration prompts, JSONL with category and text (the program's own)", 3},
    {"kl-prompts", K_KL_N, "N", 0, "prompts of the search (50)", 3},
    {"kl-tokens", K_KL_TOKENS, "N", 0, "greedy tokens of each (50)", 3},
    {"kl-audit", K_KL_AUDIT, "N", 0, "other prompts on which the result is checked (100)", 3},
    {"bracket", K_BRACKET, "LO:HI", 0, "where the search looks for alpha (the method's own, 0.05:16)", 3},
    {0, 0, 0, 0, "Evaluation:", 4},
    {"readout", K_READOUT, "LIST", 0, "what is measured (vignettes,margin,dose)", 4},
    {"vignettes", K_VIGNETTES, "DIR", 0, "other_violate.jsonl and self_violate.jsonl, or tinymfv's files", 4},
    {"floor", K_FLOOR, "P", 0, "answer mass below which a vignette's answer does not count (0.5)", 4},
    {"k", K_SI_K, "K", 0, "price of a broken cell in SI (2)", 4},
    {"loading-weighted", K_LOADING, 0, 0, "weight SI by the vignettes' loadings", 4},
    {"bootstrap", K_BOOTSTRAP, "N", 0, "draws of every interval (1000)", 4},
    {"dose-topics", K_DOSE_TOPICS, "N", 0, "held-out topics of the dose readout (0: all)", 4},
    {"dose-samples", K_DOSE_SAMPLES, "N", 0, "answers to each topic at each strength", 4},
    {"dose-tokens", K_DOSE_TOKENS, "N", 0, "longest of these answers, in tokens", 4},
    {0}};

static const char doc[] =
    "The whole chain in one command: two personas answer the same prompts, two adapters learn the answers, their "
    "difference dW is calibrated to a KL budget and evaluated, and a report says what moved and what it cost.\n\n"
    "Examples:\n"
    "  ws run --model SmolLM2-135M-Instruct.Q4_1.gguf --behavior enthusiasm\n"
    "  ws run --model Qwen/Qwen3-0.6B --thinking off --plan\n"
    "  ws run --model M --behavior my/behavior.json --target-kl 0.5 --out mine\n\n"
    "The same command again skips what is up to date and goes on where a stopped run, even a killed one, left off.\v"
    "Results: OUT/BEHAVIOR/report/ (report.html, report.md, tables, plots), OUT/BEHAVIOR/ADAPTER/dw.safetensors for "
    "--steer, OUT/BEHAVIOR/manifest.json. OUT is `out` unless given. The samples and tables go to standard output.";

typedef struct args {
    ws_calibrate_options calibrate;
    ws_eval_options eval;
    ws_contrast_mode mode;
    int plan, fresh, no_wait;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_calibrate_options *c = &a->calibrate;
    ws_eval_options *e = &a->eval;
    ws_err err = {0};
    long long n = 0;
    ws_status st = WS_OK;
    switch (key) {
    case K_PLAN: a->plan = 1; break;
    case K_FRESH: a->fresh = 1; break;
    case K_NO_WAIT: a->no_wait = 1; break;
    case K_MODE:
        if (strcmp(arg, "dw") && strcmp(arg, "bisector")) argp_error(state, "--mode %s: dw or bisector", arg);
        a->mode = strcmp(arg, "dw") ? WS_CONTRAST_BISECTOR : WS_CONTRAST_DW;
        break;
    case K_TARGET: st = ws_opt_num("--target-kl", arg, 1e-4, 100, &c->target, &err); break;
    case K_KL_PROMPTS: c->prompts = arg; break;
    case K_KL_N: st = ws_opt_int("--kl-prompts", arg, 1, 1000000, &n, &err), c->n = (int)n; break;
    case K_KL_TOKENS: st = ws_opt_int("--kl-tokens", arg, 1, 100000, &n, &err), c->tokens = (int)n; break;
    case K_KL_AUDIT: st = ws_opt_int("--kl-audit", arg, 0, 1000000, &n, &err), c->audit = (int)n; break;
    case K_BRACKET: st = ws_opt_range("--bracket", arg, &c->lo, &c->hi, &err); break;
    case K_READOUT: e->readouts = arg; break;
    case K_VIGNETTES: e->vignettes = arg; break;
    case K_FLOOR: st = ws_opt_num("--floor", arg, 0, 1, &e->floor, &err); break;
    case K_SI_K: st = ws_opt_num("--k", arg, 0, 1e6, &e->k, &err); break;
    case K_LOADING: e->loading_weighted = 1; break;
    case K_BOOTSTRAP:
        st = ws_opt_int("--bootstrap", arg, 1, 10000000, &n, &err), e->bootstrap = c->bootstrap = (int)n;
        break;
    case K_DOSE_TOPICS: st = ws_opt_int("--dose-topics", arg, 0, 1000000, &n, &err), e->dose_topics = (int)n; break;
    case K_DOSE_SAMPLES: st = ws_opt_int("--dose-samples", arg, 1, 1000000, &n, &err), e->dose_samples = (int)n; break;
    case K_DOSE_TOKENS: st = ws_opt_int("--dose-tokens", arg, 1, 1000000, &n, &err), e->dose_tokens = (int)n; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not an option", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (st) argp_error(state, "%s", err.msg);
    return 0;
}

static int terminal_width(void) {
    struct winsize w;
    int n = isatty(1) && !ioctl(1, TIOCGWINSZ, &w) ? w.ws_col : 100;
    return n < 60 ? 60 : n > 160 ? 160 : n;
}

/* Samples and tables to stdout; where everything is, and the last word, to stderr. */
static ws_status show(const ws_pipeline *p, const ws_stages_result *ran, int json, ws_err *err) {
    ws_results *r = NULL;
    ws_str s = {0};
    char time[32];
    ws_status st = ws_results_load(&r, ws_pipeline_dir(p), err);
    if (st) return st;
    const ws_method_results *m = &r->m[0];
    if (json) {
        ws_verdict v = ws_verdict_of(m);
        ws_str line = {0};
        ws_verdict_line(m, &line);
        json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:f, s:b, s:s}", "run", ws_pipeline_dir(p), "report",
                              ws_pipeline_report(p), "stages_run", ran->ran, "stages_skipped", ran->skipped, "seconds",
                              ran->seconds, "works", v.works, "verdict", line.p);
        ws_json_dump(j, &s, 1);
        ws_str_addc(&s, '\n');
        json_decref(j);
        ws_str_free(&line);
    } else
        ws_report_print(r, terminal_width(), isatty(1) && !getenv("NO_COLOR"), &s);
    fwrite(s.p, 1, s.n, stdout);
    fflush(stdout);
    ws_note("%d stages run, %d up to date, in %s", ran->ran, ran->skipped, ws_format_seconds(time, ran->seconds));
    ws_note("report: %s/report.html (plots beside it); steering file: %s/%s/dw.safetensors", ws_pipeline_report(p),
            ws_pipeline_dir(p), m->name);
    ws_str_clear(&s);
    ws_verdict_honest(r, m, &s);
    ws_note("%s", s.p);
    ws_str_clear(&s);
    ws_verdict_line(m, &s);
    ws_note("%s", s.p);
    ws_str_free(&s);
    ws_results_free(r);
    return WS_OK;
}

static ws_status chain(const args *a, const ws_data_args *d, const ws_train_args *t, const ws_common *c, ws_err *err) {
    ws_session s = {0};
    ws_behavior *b = NULL;
    ws_pipeline *p = NULL;
    ws_stages_result ran;
    ws_str text = {0};
    ws_run_options o = {.out = c->out ? c->out : "out",
                        .train = t->o,
                        .max_len = t->max_len,
                        .keep_end = t->keep_end,
                        .mode = a->mode,
                        .calibrate = a->calibrate,
                        .eval = a->eval,
                        .seed = c->seed,
                        .fresh = a->fresh,
                        .wait = !a->no_wait};
    ws_status st = ws_behavior_load(&b, d->behavior, err);
    if (!st) st = ws_session_open(&s, c, err);
    if (!st) st = ws_session_chat(&s, c, err);
    if (st) goto out;
    ws_contrast_defaults(&o.data, s.chat, d->thinking);
    ws_data_args_take(d, &o.data);
    o.eval.sampling = o.data.sampling;
    ws_run_input in = {s.model, s.tokenizer, s.chat, b};
    if ((st = ws_pipeline_new(&p, &in, &o, err))) goto out;
    if (a->plan) {
        if ((st = ws_pipeline_plan(p, &text, err))) goto out;
        fwrite(text.p, 1, text.n, stdout);
        goto out;
    }
    if ((st = ws_pipeline_run(p, &ran, err))) goto out;
    st = show(p, &ran, c->json, err);
out:
    ws_str_free(&text);
    ws_pipeline_free(p);
    ws_session_close(&s);
    ws_behavior_free(b);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const not_data[] = {"fresh", NULL};
    static const char *const not_train[] = {"pairs", "side", "init", "fresh", NULL};
    args a = {.calibrate = ws_calibrate_defaults(), .eval = ws_eval_defaults()};
    ws_data_args d;
    ws_train_args t;
    ws_common c;
    ws_common_init(&c);
    ws_data_args_init(&d);
    ws_train_args_init(&t);
    struct argp data = ws_data_argp, train = ws_train_argp;
    struct argp_option *data_options = ws_options_pick(ws_data_argp.options, not_data, NULL);
    struct argp_option *train_options = ws_options_pick(ws_train_argp.options, not_train, NULL);
    data.options = data_options, train.options = train_options;
    const struct argp_child child[] = {{&data, 0, "Data:", 1}, {&train, 0, "Training:", 2}, {0}};
    void *const input[] = {&d, &t};
    ws_status st = ws_cmd_parse_with(argc, argv, options, parse, "", doc, &a, child, input, &c, err);
    if (!st && c.n_steer) st = ws_fail(err, WS_EUSAGE, "--steer: a run makes its own dW from the base model");
    if (!st) st = chain(&a, &d, &t, &c, err);
    free(data_options);
    free(train_options);
    free(c.steer);
    return st;
}

const ws_cmd ws_cmd_run = {90, "run", "everything above, in order: from persona to table", run};
