/* src/cmd/calibrate.c - ws calibrate: the strength at which a method moves the model by a given KL. */
#include "base/interrupt.h"
#include "base/progress.h"
#include "cmd/stages.h"
#include "io/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(calibrate)

enum {
    K_TARGET = 1,
    K_PROMPTS,
    K_N,
    K_TOKENS,
    K_AUDIT,
    K_BRACKET,
    K_THINKING,
    K_BOOTSTRAP,
    K_MEMORY,
    K_FRESH,
    K_PROTOCOL
};

static const struct argp_option options[] = {
    {"target", K_TARGET, "NATS", 0, "95th percentile of the per-token KL to reach (1)", 0},
    {"prompts", K_PROMPTS, "F.jsonl", 0,
     "pool of prompts, {\"category\", \"text\"} a line, or by the protocol sl a suffix pool (the program's own)", 0},
    {"n", K_N, "N", 0, "prompts, round-robin over the categories (50)", 0},
    {"tokens", K_TOKENS, "N", 0, "greedy tokens a prompt (50)", 0},
    {"audit", K_AUDIT, "N", 0, "other prompts on which the result is checked (100)", 0},
    {"bracket", K_BRACKET, "LO:HI", 0, "strengths to search between (the method's own: 0.05:16 for dW)", 0},
    {"thinking", K_THINKING, "on|off", 0,
     "off: measure answers behind an empty think block (on: inside an open block, where the template writes one)", 0},
    {"bootstrap", K_BOOTSTRAP, "N", 0, "draws for the interval of p95 (1000)", 0},
    {"cache-mib", K_MEMORY, "N", 0,
     "memory for what sequences remember (1024, more for Qwen3.5); changes speed, not the result", 0},
    {"fresh", K_FRESH, 0, 0, "forget the probes of an earlier run in --out", 0},
    {"protocol", K_PROTOCOL, "P", 0,
     "ours, ws (weight-steering's) or sl (steering-lite's): fixes prompts, tokens, bracket, steps and sides", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    ws_calibrate_options *o = state->input;
    ws_err err = {0};
    ws_status st = WS_OK;
    long long n = 0;
    const char *name = ws_opt_name(state, parse, key); /* ws run has other names for some */
    switch (key) {
    case K_TARGET: st = ws_opt_num(name, arg, 1e-6, 1e3, &o->target, &err); break;
    case K_PROMPTS: o->prompts = arg; break;
    case K_N: st = ws_opt_int(name, arg, 1, 1000000, &n, &err), o->n = (int)n, o->given |= 1; break;
    case K_TOKENS: st = ws_opt_int(name, arg, 1, 100000, &n, &err), o->tokens = (int)n, o->given |= 2; break;
    case K_AUDIT: st = ws_opt_int(name, arg, 0, 1000000, &n, &err), o->audit = (int)n; break;
    case K_BRACKET:
        st = ws_opt_range(name, arg, &o->lo, &o->hi, &err), o->given |= 4;
        if (!st && !(o->lo > 0 && o->lo < o->hi)) argp_error(state, "%s %s: needs 0 < LO < HI", name, arg);
        break;
    case K_THINKING: st = ws_opt_on_off(name, arg, &o->thinking, &err); break;
    case K_BOOTSTRAP: st = ws_opt_int(name, arg, 1, 1000000, &n, &err), o->bootstrap = (int)n; break;
    case K_MEMORY: st = ws_opt_int(name, arg, 1, 1 << 24, &n, &err), o->budget = n << 20; break;
    case K_FRESH: o->fresh = 1; break;
    case K_PROTOCOL: {
        const ws_protocol *p;
        st = ws_opt_protocol(arg, &p, &err), o->protocol = st ? NULL : p->name;
        break;
    }
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (st) argp_error(state, "%s", err.msg);
    return 0;
}

ws_status ws_protocol_fix_calibration(const ws_protocol *p, ws_calibrate_options *o, ws_err *err) {
    const char *name = (o->given & 1) && o->n != p->kl_prompts       ? "number of calibration prompts"
                       : (o->given & 2) && o->tokens != p->kl_tokens ? "number of tokens"
                       : (o->given & 4) && p->hi > 0 && (o->lo != p->lo || o->hi != p->hi) ? "bracket"
                                                                                           : NULL;
    if (name)
        return ws_fail(err, WS_EUSAGE,
                       "--protocol %s fixes calibration (%d prompts x %d tokens%s): leave the %s out, or the protocol",
                       p->name, p->kl_prompts, p->kl_tokens, p->hi > 0 ? ", its bracket" : "", name);
    o->n = p->kl_prompts, o->tokens = p->kl_tokens, o->steps = p->kl_steps;
    if (p->hi > 0) o->lo = p->lo, o->hi = p->hi;
    o->first_fits = p->first_fits, o->mirrored = p->mirrored, o->messages = p->messages;
    return WS_OK;
}

const struct argp ws_calibrate_argp = {options, parse, 0, 0, 0, 0, 0};

/* A number in `width` columns, or a dash where there is none. */
static const char *cell(char text[32], const char *format, int width, double v) {
    if (isfinite(v))
        snprintf(text, 32, format, width, v);
    else
        snprintf(text, 32, "%*s", width, "-");
    return text;
}

static json_t *real(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static const char *scored(const ws_calibration *c) { return c->inside ? "reasoning" : "answer"; }

static void print_json(const ws_calibration *c, const ws_calibrate_options *o) {
    json_t *rows = json_array();
    for (int i = 0; i < c->n; i++) {
        const ws_calibration_row *r = &c->row[i];
        json_t *v = json_pack("{s:s, s:s, s:s, s:f, s:s, s:s}", "method", r->method, "kind", r->kind, "unit", r->unit,
                              "target_p95", o->target, "note", r->note, "scored", scored(c));
        for (int k = 0; k < r->n_sides; k++) {
            const ws_calibration_side *x = &r->side[k];
            json_object_set_new(v, k ? "neg" : "pos",
                                json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o}", "status", x->status,
                                          "alpha", real(x->alpha), "p95", real(x->at.p95), "p95_lo", real(x->p95_lo),
                                          "p95_hi", real(x->p95_hi), "mean", real(x->at.mean), "iterations",
                                          x->searched ? x->root.n : 0, "audit_p95", real(x->audit.p95), "audit_ratio",
                                          real(x->audit.p95 / x->at.p95), "rel_norm", real(x->rel_norm)));
        }
        json_array_append_new(rows, v);
    }
    ws_print_json(rows, 0);
}

static void print_table(const ws_calibration *c, const ws_calibrate_options *o) {
    printf("p95 of the per-token KL to the base, target %g nats; %d prompts x %d tokens of the %s\n", o->target, o->n,
           o->tokens, scored(c));
    int dw = 1; /* of other methods the last figure is the strength against the median length of the states */
    for (int i = 0; i < c->n; i++) dw &= !strcmp(c->row[i].kind, "dw");
    printf("%-20s %9s %8s %-18s %7s %6s %10s %6s %12s  %s\n", "method", "alpha", "p95", "[95% interval]", "mean",
           "probes", "audit p95", "ratio", dw ? "|a dW|/|W|" : "relative", "status");
    for (int i = 0; i < c->n; i++)
        for (int k = 0; k < c->row[i].n_sides; k++) {
            const ws_calibration_side *x = &c->row[i].side[k];
            char interval[40], audit[32], ratio[32], norm[32];
            snprintf(interval, sizeof interval, "[%.3f, %.3f]", x->p95_lo, x->p95_hi);
            printf("%-20s %+9.4f %8.4f %-18s %7.4f %6d %s %s %s  %s\n", c->row[i].method, k ? -x->alpha : x->alpha,
                   x->at.p95, interval, x->at.mean, x->searched ? x->root.n : 0, cell(audit, "%*.4f", 10, x->audit.p95),
                   cell(ratio, "%*.3f", 6, x->audit.p95 / x->at.p95), cell(norm, "%*.5f", 12, x->rel_norm), x->status);
        }
    for (int i = 0; i < c->n; i++)
        if (c->row[i].note && *c->row[i].note) printf("%s: %s\n", c->row[i].method, c->row[i].note);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char doc[] =
        "Finds the strength at which a method moves the model by a given KL, on both sides.\n\n"
        "Examples:\n"
        "  ws calibrate --model M --steer out/enthusiasm/lora/dw.safetensors --out out/enthusiasm/kl_calibration\n"
        "  ws calibrate --model M --steer dw.safetensors --target 0.5 --n 32 --tokens 64 --out cal\n"
        "  ws calibrate --model M --steer vectors/mean_diff.safetensors --steer vectors/spherical.safetensors --out "
        "cal\n"
        "  ws calibrate --model M --steer a.safetensors --steer b.safetensors --bracket 0.01:100 --out cal\v"
        "The steered model continues each prompt greedily; the base model reads the same tokens in the same batch; the "
        "statistic is the 95th percentile over "
        "all positions of sum_v p_steered (log p_steered - log p_base). alpha_pos (towards POS) and alpha_neg are "
        "positive magnitudes. Writes summary.csv, audit.csv, "
        "root_history.csv, prompt_refs.csv, prompts.csv, timing.csv (docs/formats.md); the same command again goes on "
        "where it was stopped. "
        "Status: ok; below_range, above_range: the strength lies outside the bracket; not_converged; mirrored: by the "
        "protocol sl, taken at the strength that was found for alpha > 0.";
    ws_calibrate_options o = ws_calibrate_defaults();
    ws_common common;
    ws_session s = {0};
    ws_calibration c = {0};
    ws_common_init(&common);
    ws_interrupt_says(WS_RESUMES);
    if (ws_cmd_parse(argc, argv, options, parse, "", doc, &o, &common, err)) return err->code;
    if (!common.n_steer)
        return ws_fail(err, WS_EUSAGE, "--steer is missing: give the file of a method, as ws diff writes it");
    if (!common.out) return ws_fail(err, WS_EUSAGE, "--out is missing: give a folder for the results");
    if (o.protocol && ws_protocol_fix_calibration(ws_protocol_find(o.protocol), &o, err)) return err->code;
    o.out = common.out, o.seed = common.seed;
    ws_method **m = ws_xcalloc((size_t)common.n_steer, sizeof *m);
    ws_status st = ws_session_open(&s, &common, err);
    if (!st) st = ws_session_chat(&s, &common, err);
    for (int i = 0; i < common.n_steer && !st; i++)
        st = ws_method_load(&m[i], s.model, common.steer[i], common.force, err);
    if (!st) st = ws_session_fold(&s, o.protocol ? ws_protocol_find(o.protocol) : NULL, m, common.n_steer, err);
    if (!st) st = ws_calibrate(s.model, s.tokenizer, s.chat, m, common.n_steer, &o, &c, err);
    if (!st && common.json) print_json(&c, &o);
    if (!st && !common.json) print_table(&c, &o);
    ws_calibration_free(&c);
    for (int i = 0; i < common.n_steer; i++) ws_method_free(m[i]);
    free(m);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_calibrate = {50, "calibrate", "method + KL budget -> the strength on both sides, with audit", run};
