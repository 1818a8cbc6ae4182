/* src/cmd/extract.c - ws extract: persona pairs -> vectors of the hidden-state methods. */
#include "steer/extract.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "cmd/cmd.h"
#include "model/model.h"
#include "steer/steer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(extract)

enum {
    K_METHODS = 1,
    K_BEHAVIOR,
    K_SUFFIXES,
    K_N,
    K_MAX_LEN,
    K_LAYERS,
    K_LINEARS,
    K_STATES,
    K_KEEP,
    K_NEUTRAL,
    K_CLUSTERS,
    K_RANK,
    K_TAU,
    K_SIGMA,
    K_CHARS,
    K_PCA,
    K_SEED
};

static const struct argp_option options[] = {
    {"methods", K_METHODS, "LIST", 0, "methods with commas between them, or all (all)", 0},
    {"behavior", K_BEHAVIOR, "NAME", 0, "behaviour (name or file) whose personas speak", 0},
    {"layers", K_LAYERS, "A:B", 0,
     "layers A up to, not with, B (of L layers max(2, int(0.2 L)) : min(L-2, int(0.8 L)))", 0},
    {"linears", K_LINEARS, "REGEX", 0,
     "linears of S-space: their whole path in a layer (mlp\\.down_proj|self_attn\\.o_proj)", 0},
    {0, 0, 0, 0, "States:", 2},
    {"suffixes", K_SUFFIXES, "F.jsonl", 0,
     "beginnings of answers, {\"user_msg\", \"suffix\"} a line (the program's own)", 2},
    {"n", K_N, "N", 0, "pairs, drawn with --seed without putting back (256, or all)", 2},
    {"max-len", K_MAX_LEN, "N", 0, "longest prompt in tokens, cut on the right (384)", 2},
    {"keep-states", K_KEEP, "FILE", 0, "leave H+ and H- in FILE", 2},
    {"states", K_STATES, "FILE", 0, "take H+ and H- from FILE instead of the model", 2},
    {0, 0, 0, 0, "Choices of single methods:", 3},
    {"neutral", K_NEUTRAL, "F.jsonl", 0, "mean_centred: centre by the states of these texts, {\"text\"} a line", 3},
    {"clusters", K_CLUSTERS, "K", 0, "topk_clusters, chars: clusters (4)", 3},
    {"rank", K_RANK, "R", 0, "S-space: modes that are kept; 0: all (0)", 3},
    {"vector-seed", K_SEED, "N", 0, "topk_clusters, chars, random_direction: where k-means starts, which direction (0)",
     3},
    {"tau", K_TAU, "T", 0, "cosine_gated: cosine below which nothing is added (0)", 3},
    {"sigma", K_SIGMA, "S", 0, "chars: width of the clusters; 0: by the distances (0)", 3},
    {"chars", K_CHARS, "log|clamp", 0,
     "chars: coupling in the log domain, or the reference's clamp, which loses its mass on real states (log)", 3},
    {"pca-sign", K_PCA, "mean|vote", 0,
     "pca: towards POS by mean D, or the reference's vote of the centred projections (mean)", 3},
    {0}};

typedef struct args {
    ws_extract_options o;
    const char *behavior;
    int made; /* an option was given that only making states uses */
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_extract_options *o = &a->o;
    ws_err err = {0};
    ws_status st = WS_OK;
    long long n = 0;
    double x, y;
    switch (key) {
    case K_METHODS: o->methods = arg; break;
    case K_BEHAVIOR: a->behavior = arg; break;
    case K_SUFFIXES: o->suffixes = arg, a->made = 1; break;
    case K_N: st = ws_opt_int("--n", arg, 2, 1000000, &n, &err), o->n = (int)n, a->made = 1; break;
    case K_MAX_LEN: st = ws_opt_int("--max-len", arg, 1, 1000000, &n, &err), o->max_len = (int)n, a->made = 1; break;
    case K_LAYERS:
        if ((st = ws_opt_range("--layers", arg, &x, &y, &err))) break;
        if (x != floor(x) || y != floor(y) || x < 0 || y > 1e6 || x >= y)
            argp_error(state, "--layers %s: two whole numbers, A less than B", arg);
        o->first = (int)x, o->last = (int)y;
        break;
    case K_LINEARS: o->linears = arg; break;
    case K_STATES: o->states = arg; break;
    case K_KEEP: o->keep_states = arg; break;
    case K_NEUTRAL: o->neutral = arg, a->made = 1; break;
    case K_CLUSTERS: st = ws_opt_int("--clusters", arg, 1, 64, &n, &err), o->cfg.clusters = (int)n; break;
    case K_RANK: st = ws_opt_int("--rank", arg, 0, 1000000, &n, &err), o->cfg.rank = (int)n; break;
    case K_SEED: st = ws_opt_int("--vector-seed", arg, 0, 4294967294LL, &n, &err), o->cfg.seed = (uint64_t)n; break;
    case K_TAU: st = ws_opt_num("--tau", arg, 0, 1, &o->cfg.tau, &err); break;
    case K_SIGMA: st = ws_opt_num("--sigma", arg, 0, 1e9, &o->cfg.sigma, &err); break;
    case K_CHARS:
        if (strcmp(arg, "log") && strcmp(arg, "clamp")) argp_error(state, "--chars %s: log or clamp", arg);
        o->cfg.chars_clamp = !strcmp(arg, "clamp");
        break;
    case K_PCA:
        if (strcmp(arg, "mean") && strcmp(arg, "vote")) argp_error(state, "--pca-sign %s: mean or vote", arg);
        o->cfg.pca_vote = !strcmp(arg, "vote");
        break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (st) argp_error(state, "%s", err.msg);
    return 0;
}

static void print(const ws_extract_result *r, const args *a) {
    char seconds[32];
    printf("%lld pairs, layers %d:%d, %d sites, %s\n", (long long)r->pairs, r->first, r->last, r->sites,
           ws_format_seconds(seconds, r->seconds));
    printf("%-2s %-20s %-42s %13s %-25s %s\n", "", "method", "strength counts", "median length", "calibration looks in",
           "towards 0");
    for (int i = 0; i < r->n; i++) {
        const ws_steer_ops *p = r->method[i];
        double norm = p->of_norm ? r->norm[i] : 1;
        char bracket[40];
        snprintf(bracket, sizeof bracket, "%.4g : %.4g", p->bracket_lo * norm, p->bracket_hi * norm);
        printf("%-2d %-20s %-42s %13.4g %-25s %s\n", i + 1, p->name, p->unit, r->norm[i], bracket,
               p->identity_at_zero ? "the base" : "not the base");
    }
    printf("\nmean cosine of what they do to the states, over the sites that both hang at\n%-3s", "");
    for (int i = 0; i < r->n; i++) printf(" %6d", i + 1);
    printf("\n");
    for (int i = 0; i < r->n; i++) {
        printf("%-3d", i + 1);
        for (int k = 0; k <= i; k++) {
            double c = r->cosine[i * r->n + k];
            if (isfinite(c))
                printf(" %+6.3f", c);
            else
                printf(" %6s", "-");
        }
        printf("\n");
    }
    for (size_t i = 0; i < json_array_size(r->told); i++) {
        const json_t *t = json_array_get(r->told, i);
        const char *why = json_string_value(json_object_get(t, "why"));
        printf("%s = %s: %s\n", json_string_value(json_object_get(t, "a")), json_string_value(json_object_get(t, "b")),
               why ? why : "NOT DECLARED: two rows, one result");
    }
    printf("\nwritten to %s\n", a->o.out);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char doc[] =
        "Draws the vectors of every hidden-state method from two personas' states, in one pass over the prompts.\n\n"
        "Examples:\n"
        "  ws extract --model M --behavior authority --out out/authority/vectors\n"
        "  ws extract --model M --behavior authority --methods mean_diff,pca,sspace --layers 10:20 --out v\n"
        "  ws extract --model M --behavior authority --keep-states h.safetensors --out v\n"
        "  ws extract --model M --states h.safetensors --methods sspace --rank 16 --out v16\n"
        "  ws generate --model M --prompts p.jsonl --steer out/authority/vectors/mean_diff.safetensors:8\n"
        "  ws calibrate --model M --steer out/authority/vectors/spherical.safetensors --out cal\v"
        "A pair is a question, the beginning of an answer, and a POS and a NEG persona drawn independently as the "
        "system "
        "prompt; the state is that of the last token, at the output of a layer or of a linear. What a method does to a "
        "token depends on that token alone. One file a method, METHOD.safetensors, and extract.json with the pairs, "
        "the "
        "brackets and the likeness of the methods (docs/formats.md). Without --seed the pairs are drawn with seed "
        "42.\n\n"
        "Methods, at blocks: mean_diff, mean_centred, pca, repeng, random_direction (a control), topk_clusters, "
        "cosine_gated, "
        "directional_ablation, spherical, angular_steering, linear_act, chars, super_sspace; at linears: sspace, "
        "sspace_ablate, sspace_damp_amp.";
    args a = {.o = ws_extract_defaults()};
    ws_common c;
    ws_session s = {0};
    ws_behavior *b = NULL;
    ws_extract_result r = {0};
    static const char *const without[] = {"steer", NULL};
    ws_common_init(&c);
    c.without = without, c.seed = 42;
    ws_interrupt_says(WS_STARTS_OVER);
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "", doc, &a, &c, err);
    if (st) return st;
    if (!c.out) return ws_fail(err, WS_EUSAGE, "--out is missing: give a folder for the vectors");
    if (a.o.states && a.o.keep_states)
        return ws_fail(err, WS_EUSAGE, "--states and --keep-states: the states are in a file already");
    if (a.o.states && (a.made || a.behavior))
        return ws_fail(
            err, WS_EUSAGE,
            "--states takes H+ and H- as they are: --behavior, --suffixes, --n, --max-len and --neutral have no "
            "say in them");
    if (!a.o.states && !a.behavior)
        return ws_fail(err, WS_EUSAGE, "--behavior is missing: a name, or a file, whose personas speak");
    a.o.out = c.out, a.o.seed = c.seed, a.o.force = c.force;
    if (a.behavior) st = ws_behavior_load(&b, a.behavior, err);
    if (!st) st = a.o.states ? ws_session_open_weights(&s, &c, err) : ws_session_open(&s, &c, err);
    if (!st && !a.o.states) st = ws_session_chat(&s, &c, err);
    if (!st) st = ws_extract_run(s.model, s.tokenizer, s.chat, b, &a.o, &r, err);
    if (!st && c.json) {
        char *path = ws_path_join(c.out, "extract.json");
        json_t *report = NULL;
        if (!(st = ws_json_load(&report, path, err))) ws_print_json(report, 0);
        free(path);
    } else if (!st)
        print(&r, &a);
    if (!st) ws_extract_result_free(&r);
    ws_behavior_free(b);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_extract = {40, "extract", "model + personas -> vectors of the hidden-state methods", run};
