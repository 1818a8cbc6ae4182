/* src/cmd/run.c - `ws run`: the whole chain, from persona to table. */
#include "cmd/rows.h"
#include <stdlib.h>

WS_ROOM(run)

static const char doc[] =
    "The whole chain in one command: two personas answer the same prompts, two adapters learn the answers, their "
    "difference dW is calibrated to a KL budget and evaluated, and a report says what moved and what it cost.\n\n"
    "Examples:\n"
    "  ws run --model SmolLM2-135M-Instruct.Q4_1.gguf --behavior enthusiasm\n"
    "  ws run --model Qwen/Qwen3.5-4B --plan --cores 64\n"
    "  ws run --model M --behavior my/behavior.json --target-kl 0.5 --out mine\n"
    "  ws run --model M --behavior enthusiasm --pairs mine.jsonl       your own pairs instead of generated ones\n"
    "  ws run --model M --behavior authority --methods all --out table     every row at one KL budget\n\n"
    "The same command again skips what is up to date and goes on where a stopped run, even a killed one, left off.\v"
    "Results: OUT/BEHAVIOR/report/ (report.html, report.md, tables, plots), OUT/BEHAVIOR/ADAPTER/dw.safetensors for "
    "--steer, OUT/BEHAVIOR/manifest.json. OUT is `out` unless given. The samples and tables go to standard output.";

/* Without --methods: one row, the adapter. */
static ws_status rows(void *input, const ws_train_args *train, uint64_t seed, ws_rows *out, ws_err *err) {
    const ws_rows_args *a = input;
    if (a->methods) return ws_rows_args_make(a, "", train, seed, out, err);
    if (a->controls || a->seeds || a->pairs || a->layers[1])
        return ws_fail(
            err, WS_EUSAGE,
            "--controls, --seeds, --vector-pairs and --vector-layers belong to --methods (or to `ws sweep`)");
    return ws_train_args_check(train, err);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const not_train[] = {"pairs", "side", "init", "fresh", NULL}, *const not_rows[] = {"adapters",
                                                                                                          NULL};
    struct argp_option *picked = ws_options_pick(ws_rows_argp.options, not_rows, NULL);
    struct argp own = ws_rows_argp;
    ws_rows_args a = {0};
    own.options = picked;
    const ws_chain_verb v = {.doc = doc,
                             .own = &own,
                             .input = &a,
                             .not_train = not_train,
                             .rows = rows,
                             .pairs = &a.pairs,
                             .layers = a.layers};
    ws_status st = ws_chain(argc, argv, &v, err);
    free(picked);
    return st;
}

const ws_cmd ws_cmd_run = {90, "run", "everything above, in order: from persona to table", run};
