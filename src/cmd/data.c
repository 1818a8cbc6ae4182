/* src/cmd/data.c - ws data: both personas answer the same prompts. */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "cmd/stages.h"
#include "data/quality.h"
#include "io/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(data)

enum { K_BEHAVIOR = 1, K_TOPICS, K_PERSONAS, K_SAMPLES, K_HELDOUT, K_MAX_NEW, K_MIN_NEW, K_MAX_ROWS, K_FRESH };

_Static_assert((int)K_FRESH < (int)WS_DATA_KEYS, "ws_data_args has room for every key");
static const struct argp_option options[] = {
    {"behavior", K_BEHAVIOR, "B", 0, "a behaviour file, or the name of one that comes with the program (authority)", 0},
    {"topics", K_TOPICS, "N", 0, "topics of the grid (20)", 0},
    {"personas", K_PERSONAS, "N", 0, "persona pairs of the grid (5)", 0},
    {"samples", K_SAMPLES, "N", 0, "answers of each persona to each topic (10)", 0},
    {"heldout", K_HELDOUT, "N", 0, "pairs on topics that are never trained on (36)", 0},
    {"max-new-tokens", K_MAX_NEW, "N", 0, "longest answer (96; thinking models 1280)", 0},
    {"min-new-tokens", K_MIN_NEW, "N", 0, "an answer may not end before (1)", 0},
    WS_SAMPLING_OPTIONS(0, "0.7; thinking models 0.6", "20", "0.8; thinking models 0.95"),
    {"max-rows", K_MAX_ROWS, "N", 0, "answers written at the same time (64); changes speed and memory, not the result",
     0},
    {"fresh", K_FRESH, 0, 0, "delete what another configuration left in the folder", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    ws_data_args *a = state->input;
    ws_err err = {0};
    ws_status st = WS_OK;
    switch (key) {
    case K_BEHAVIOR: a->behavior = arg; break;
    case K_TOPICS: st = ws_opt_int("--topics", arg, 1, 1000000, &a->n[key], &err); break;
    case K_PERSONAS: st = ws_opt_int("--personas", arg, 1, 1000000, &a->n[key], &err); break;
    case K_SAMPLES: st = ws_opt_int("--samples", arg, 1, 1000000, &a->n[key], &err); break;
    case K_HELDOUT: st = ws_opt_int("--heldout", arg, 0, 1000000, &a->n[key], &err); break;
    case K_MAX_NEW: st = ws_opt_int("--max-new-tokens", arg, 1, 1000000, &a->n[key], &err); break;
    case K_MIN_NEW: st = ws_opt_int("--min-new-tokens", arg, 0, 1000000, &a->n[key], &err); break;
    case K_MAX_ROWS: st = ws_opt_int("--max-rows", arg, 1, 4096, &a->n[key], &err); break;
    case K_FRESH: a->fresh = 1; break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", arg); break;
    default: return ws_sampling_parse(&a->sampling, key, arg, state);
    }
    if (st) argp_error(state, "%s", err.msg);
    if (key > 0 && key <= K_FRESH) a->given[key] = 1;
    return 0;
}

void ws_data_args_take(const ws_data_args *a, ws_contrast_options *o) {
    const struct {
        int key, *n;
    } ints[] = {{K_TOPICS, &o->topics},    {K_PERSONAS, &o->personas}, {K_SAMPLES, &o->samples},
                {K_HELDOUT, &o->heldout},  {K_MAX_NEW, &o->max_new},   {K_MIN_NEW, &o->min_new},
                {K_MAX_ROWS, &o->max_rows}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (a->given[ints[i].key]) *ints[i].n = (int)a->n[ints[i].key];
    ws_sampling_take(&a->sampling, &o->sampling);
    o->fresh = a->fresh;
}

ws_status ws_data_args_own(const ws_data_args *a, int *heldout, ws_err *err) {
    static const struct {
        int key;
        const char *name;
    } generation[] = {{K_TOPICS, "topics"},
                      {K_PERSONAS, "personas"},
                      {K_SAMPLES, "samples"},
                      {K_MAX_NEW, "max-new-tokens"},
                      {K_MIN_NEW, "min-new-tokens"}};
    for (size_t i = 0; i < sizeof generation / sizeof *generation; i++)
        if (a->given[generation[i].key])
            return ws_fail(err, WS_EUSAGE, "--%s is about answers to generate, and --pairs brings them; leave one out",
                           generation[i].name);
    if (!a->given[K_BEHAVIOR])
        return ws_fail(err, WS_EUSAGE,
                       "--pairs: also name the behaviour that the pairs show (--behavior); its topics, counters and "
                       "target foundations are what is evaluated (ws behavior init NAME writes one)");
    *heldout = a->given[K_HELDOUT] ? (int)a->n[K_HELDOUT] : -1;
    return WS_OK;
}

const struct argp ws_data_argp = {options, parse, 0, 0, 0, 0, 0};

void ws_data_args_init(ws_data_args *a) {
    memset(a, 0, sizeof *a);
    a->behavior = "authority";
    ws_sampling_args_init(&a->sampling);
}

static void say_speed(const ws_contrast_result *r) {
    char time[32];
    if (r->new_rows) /* a row counts both sides */
        ws_note("%d pairs, %lld new tokens in %s: %.0f tokens/s on %d threads", r->new_rows, (long long)r->new_tokens,
                ws_format_seconds(time, r->seconds), (double)r->new_tokens / (r->seconds > 0 ? r->seconds : 1),
                ws_threads());
}

/* Checks the files and reports on the pairs, which are what will be trained on. */
static ws_status report(const char *dir, int heldout, const ws_behavior *b, int json, ws_err *err) {
    char *path = ws_path_join(dir, "pairs.jsonl"), *held = ws_path_join(dir, "heldout.jsonl"),
         *out = ws_path_join(dir, "report.json");
    ws_pairs *p = NULL, *h = NULL;
    ws_pairs_quality q = {0};
    json_t *o = NULL;
    ws_str s = {0};
    ws_status st = ws_pairs_load(&p, path, err);
    if (!st) st = ws_pairs_check(p, err);
    if (!st && heldout) st = ws_pairs_load(&h, held, err);
    if (!st && heldout) st = ws_pairs_check(h, err);
    if (!st) st = ws_pairs_quality_of(&q, p, b, err);
    if (!st) {
        o = ws_pairs_quality_json(&q);
        st = ws_json_save(o, out, err);
    }
    if (!st && json) {
        ws_json_dump(o, &s, 0);
        ws_str_addc(&s, '\n');
    } else if (!st) {
        ws_str_addf(&s, "%s: ", path);
        ws_pairs_quality_print(&q, &s);
        if (heldout) ws_str_addf(&s, "%s: %d pairs on topics that are never trained on\n", held, h->n);
    }
    if (!st) fwrite(s.p, 1, s.n, stdout);
    ws_str_free(&s);
    json_decref(o);
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
    ws_pairs_free(h);
    free(path);
    free(held);
    free(out);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char doc[] =
        "Both personas of every pair answer the same prompts; the answers are what the adapters learn from.\n\n"
        "Examples:\n"
        "  ws data --model SmolLM2-135M-Instruct.Q4_1.gguf --behavior enthusiasm --samples 2\n"
        "  ws data --model Qwen/Qwen3-0.6B --behavior authority --thinking off --max-new-tokens 256\n"
        "  ws data --model M --behavior my/behavior.json --topics 10 --personas 3 --out mine\v"
        "Writes pairs.jsonl, heldout.jsonl, data.json (what they depend on) and report.json into --out, by default "
        "out/data/MODEL/BEHAVIOR/. A run that was stopped, even killed, goes on with the same command and gives the "
        "same "
        "bytes.";
    ws_data_args a;
    ws_common common;
    ws_session s = {0};
    ws_behavior *b = NULL;
    ws_contrast_options o;
    ws_contrast_result r = {0};
    char *dir = NULL;
    static const char *const without[] = {"steer", "force", NULL};
    ws_common_init(&common);
    ws_interrupt_says(WS_RESUMES);
    common.without = without;
    ws_data_args_init(&a);
    if (ws_cmd_parse(argc, argv, options, parse, "", doc, &a, &common, err)) return err->code;
    ws_status st = ws_behavior_load(&b, a.behavior, err);
    if (!st) st = ws_session_open(&s, &common, err);
    if (!st) st = ws_session_chat(&s, &common, err);
    if (!st) {
        dir = common.out ? ws_xstrdup(common.out)
                         : ws_sprintf("out/data/%s/%s", ws_checkpoint_name(s.checkpoint), b->name);
        st = ws_contrast_defaults(&o, s.chat, a.sampling.thinking, err);
    }
    if (!st) {
        ws_data_args_take(&a, &o);
        o.seed = common.seed;
        o.dir = dir;
        st = ws_contrast_run(s.model, s.tokenizer, s.chat, b, &o, &r, err);
    }
    if (!st) say_speed(&r);
    if (!st) st = report(dir, r.heldout, b, common.json, err);
    free(dir);
    ws_session_close(&s);
    ws_behavior_free(b);
    return st;
}

const ws_cmd ws_cmd_data = {10, "data", "model + behaviour -> pairs.jsonl: both personas answer the same prompts", run};
