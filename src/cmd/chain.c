/* src/cmd/chain.c - the whole chain behind one command line. */
#include "cmd/chain.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "run/headline.h"
#include "run/pipeline.h"
#include "run/report.h"
#include "run/verdict.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { K_MODE = 1, K_BOOTSTRAP, K_PLAN, K_CORES, K_FRESH, K_NO_WAIT, K_PAIRS };

static const struct argp_option options[] = {
    {"pairs", K_PAIRS, "FILE", 0,
     "your own pairs instead of generated ones: JSON lines or CSV with prompt, and pos and neg or chosen and rejected; "
     "--heldout of them are never trained on (a tenth, at most 36)",
     0},
    {"plan", K_PLAN, 0, 0, "print stages, sizes, time and memory, and stop", 0},
    {"cores", K_CORES, "N", 0, "with --plan: also the time on N cores like the ones here", 0},
    {"fresh", K_FRESH, 0, 0, "start over: delete what another model or other options left in the same place", 0},
    {"no-wait", K_NO_WAIT, 0, 0, "fail instead of waiting while another run works in the same place", 0},
    {"mode", K_MODE, "M", 0, "of dW: dw is POS - NEG; bisector normalises both sides first (dw)", 0},
    {"bootstrap", K_BOOTSTRAP, "N", 0, "draws of every interval (1000)", 0},
    {0}};

typedef struct args {
    ws_contrast_mode mode;
    int bootstrap; /* 0: not given */
    int plan, cores, fresh, no_wait;
    const char *pairs;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_err err = {0};
    long long n = 0;
    switch (key) {
    case K_PLAN: a->plan = 1; break;
    case K_CORES:
        if (ws_opt_int("--cores", arg, 1, 65536, &n, &err)) argp_error(state, "%s", err.msg);
        a->cores = (int)n;
        break;
    case K_PAIRS: a->pairs = arg; break;
    case K_FRESH: a->fresh = 1; break;
    case K_NO_WAIT: a->no_wait = 1; break;
    case K_MODE:
        if (strcmp(arg, "dw") && strcmp(arg, "bisector")) argp_error(state, "--mode %s: dw or bisector", arg);
        a->mode = strcmp(arg, "dw") ? WS_CONTRAST_BISECTOR : WS_CONTRAST_DW;
        break;
    case K_BOOTSTRAP:
        if (ws_opt_int("--bootstrap", arg, 1, 1000000, &n, &err)) argp_error(state, "%s", err.msg);
        a->bootstrap = (int)n;
        break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not an option", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
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
        int works = ws_verdict_of(m).works;
        ws_str line = {0};
        if (r->n_rows)
            works = ws_headline_sweep(r, &line) > 0;
        else
            ws_verdict_line(m, &line);
        json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:f, s:b, s:s}", "run", ws_pipeline_dir(p), "report",
                              ws_pipeline_report(p), "stages_run", ran->ran, "stages_skipped", ran->skipped, "seconds",
                              ran->seconds, "works", works, "verdict", line.p);
        if (r->n_rows) json_object_set_new(j, "rows_failed", json_integer(ran->n_failures));
        ws_json_dump(j, &s, 1);
        ws_str_addc(&s, '\n');
        json_decref(j);
        ws_str_free(&line);
    } else
        ws_report_print(r, terminal_width(), isatty(1) && !getenv("NO_COLOR"), &s);
    fwrite(s.p, 1, s.n, stdout);
    fflush(stdout);
    ws_note("%d stages run, %d up to date, in %s", ran->ran, ran->skipped, ws_format_seconds(time, ran->seconds));
    ws_note("report: %s/report.html (plots beside it); steering file%s: %s/%s/dw.safetensors", ws_pipeline_report(p),
            r->n_rows ? "s" : "", ws_pipeline_dir(p), r->n_rows ? "ROW" : m->name);
    ws_str_clear(&s);
    if (r->n_rows)
        ws_headline_sweep(r, &s);
    else {
        ws_verdict_honest(r, m, &s);
        ws_note("%s", s.p);
        ws_str_clear(&s);
        ws_verdict_line(m, &s);
    }
    ws_note("%s", s.p);
    ws_str_free(&s);
    ws_results_free(r);
    return WS_OK;
}

typedef struct stage_args { /* of the single verbs */
    ws_data_args data;
    ws_train_args train;
    ws_calibrate_options calibrate;
    ws_eval_args eval;
} stage_args;

static ws_status chain(const ws_chain_verb *v, const args *a, const stage_args *of, const ws_common *c, ws_err *err) {
    const ws_data_args *d = &of->data;
    ws_session s = {0};
    ws_behavior *b = NULL;
    ws_pipeline *p = NULL;
    ws_stages_result ran;
    ws_str text = {0};
    ws_rows rows = {0};
    ws_run_options o = {.out = c->out ? c->out : "out",
                        .train = of->train.o,
                        .max_len = of->train.max_len,
                        .keep_end = of->train.keep_end,
                        .mode = a->mode,
                        .calibrate = of->calibrate,
                        .eval = of->eval.o,
                        .seed = c->seed,
                        .fresh = a->fresh,
                        .wait = !a->no_wait,
                        .pairs = a->pairs,
                        .look = a->plan};
    if (a->cores && !a->plan) return ws_fail(err, WS_EUSAGE, "--cores belongs to --plan");
    if (a->bootstrap) o.calibrate.bootstrap = o.eval.bootstrap = a->bootstrap;
    ws_eval_args eval = of->eval;
    ws_status st = WS_OK;
    if (!st) st = v->rows ? v->rows(v->input, &of->train, c->seed, &rows, err) : ws_train_args_check(&of->train, err);
    if (rows.n) o.rows = &rows;
    if (rows.n && !of->eval.given_readouts) eval.o.readouts = o.eval.readouts = "vignettes,margin,dose,canaries";
    if (!st) st = ws_eval_args_check(&eval, err);
    if (!st && a->pairs) st = ws_data_args_own(d, &o.pairs_held, err);
    for (int i = 0; !st && a->pairs && i < 4; i++)
        if (d->sampling.given[i] && !ws_eval_asked(&eval.o, "dose"))
            st = ws_fail(err, WS_EUSAGE, "--%s: nothing is sampled, as --pairs brings the answers and no dose is asked",
                         ws_sampling_given(&d->sampling));
    if (!st) st = ws_eval_args_protocol(&eval, err);
    if (!st && eval.o.protocol) {
        st = ws_protocol_fix_calibration(eval.o.protocol, &o.calibrate, err);
        o.eval = eval.o;
        if (a->bootstrap) o.eval.bootstrap = a->bootstrap;
    }
    o.extract = ws_extract_defaults();
    if (v->pairs && *v->pairs) o.extract.n = *v->pairs;
    if (v->layers && v->layers[1]) o.extract.first = v->layers[0], o.extract.last = v->layers[1];
    if (!st) st = ws_behavior_load(&b, d->behavior, err);
    if (!st) st = ws_session_open(&s, c, err);
    if (!st) st = ws_session_chat(&s, c, err);
    if (!st) st = ws_contrast_defaults(&o.data, s.chat, d->sampling.thinking, err);
    if (!st) st = ws_eval_args_take(&eval, s.chat, d->sampling.thinking, &o.eval, err);
    if (st) goto out;
    o.calibrate.thinking = d->sampling.thinking;
    ws_data_args_take(d, &o.data);
    o.eval.sampling = o.data.sampling, o.eval.max_rows = o.data.max_rows;
    ws_run_input in = {s.model, s.tokenizer, s.chat, b};
    if ((st = ws_pipeline_new(&p, &in, &o, err))) goto out;
    if (a->plan) {
        if ((st = ws_pipeline_plan(p, a->cores, c->json, &text, err))) goto out;
        fwrite(text.p, 1, text.n, stdout);
        goto out;
    }
    if ((st = ws_pipeline_run(p, &ran, err))) goto out;
    st = show(p, &ran, c->json, err);
    if (!st && ran.n_failures)
        st = ws_fail(err, WS_ESTATE, "%d row%s failed, first stage %s: %s", ran.n_failures,
                     ran.n_failures > 1 ? "s" : "", ran.gave_up, ran.why.msg);
out:
    ws_str_free(&text);
    ws_pipeline_free(p);
    ws_session_close(&s);
    ws_behavior_free(b);
    ws_rows_free(&rows);
    return st;
}

/* What the verbs' own options are called here, and what has no place in a run. */
static const char *const not_data[] = {"fresh", NULL};
static const char *const not_calibrate[] = {"protocol", "fresh", "bootstrap", "cache-mib", "thinking", NULL};
static const char *const not_eval[] = {"alpha",    "calibration", "behavior",        "fresh", "bootstrap",
                                       "pairs",    "temperature", "top-k",           "top-p", "min-p",
                                       "max-rows", "thinking",    "Readout margin:", NULL};
static const char *const calibrate_names[] = {"target=target-kl", "prompts=kl-pool", "n=kl-prompts",
                                              "tokens=kl-tokens", "audit=kl-audit",  NULL};

ws_status ws_chain(int argc, char **argv, const ws_chain_verb *v, ws_err *err) {
    args a = {0};
    stage_args of = {.calibrate = ws_calibrate_defaults()};
    ws_common c;
    static const char *const without[] = {"steer", "force", NULL}; /* a run makes its own dW from the base model */
    ws_common_init(&c);
    ws_interrupt_says(WS_RESUMES);
    c.without = without;
    ws_data_args_init(&of.data);
    ws_eval_args_init(&of.eval);
    ws_train_args_init(&of.train);
    struct argp part[4] = {ws_data_argp, ws_train_argp, ws_calibrate_argp, ws_eval_argp};
    struct argp_option *picked[4] = {ws_options_pick(ws_data_argp.options, not_data, NULL),
                                     ws_options_pick(ws_train_argp.options, v->not_train, NULL),
                                     ws_options_pick(ws_calibrate_argp.options, not_calibrate, calibrate_names),
                                     ws_options_pick(ws_eval_argp.options, not_eval, NULL)};
    for (int i = 0; i < 4; i++) part[i].options = picked[i];
    const struct argp_child child[] = {{&part[0], 0, "Data:", 1},
                                       {&part[1], 0, "Training:", 2},
                                       {&part[2], 0, "Calibration:", 3},
                                       {&part[3], 0, "Evaluation:", 4},
                                       {v->own, 0, "", 0},
                                       {0}};
    void *const input[] = {&of.data, &of.train, &of.calibrate, &of.eval, v->input};
    ws_status st = ws_cmd_parse_with(argc, argv, options, parse, "", v->doc, &a, child, input, &c, err);
    if (!st) {
        of.calibrate.budget = of.eval.o.budget; /* --cache-mib of both */
        st = chain(v, &a, &of, &c, err);
    }
    for (int i = 0; i < 4; i++) free(picked[i]);
    free(of.eval.alpha), free(of.eval.part);
    return st;
}
