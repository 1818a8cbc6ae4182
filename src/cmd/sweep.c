/* src/cmd/sweep.c - `ws sweep`: every adapter on the same data, at the same KL budget, beside controls. */
#include "cmd/rows.h"

WS_ROOM(sweep)

static const char doc[] =
    "Every adapter on the same data: both sides are trained, contrasted, calibrated to the same KL budget and "
    "evaluated, "
    "and the tables compare them, a row each, beside controls. What all rows share (data, the base model's answers, "
    "its "
    "reading of the calibration prompts) is made once.\n\n"
    "Examples:\n"
    "  ws sweep --model M.gguf --behavior enthusiasm --plan\n"
    "  ws sweep --model M.gguf --behavior enthusiasm --adapters lora,dora,ia3 --seeds 3\n"
    "  ws sweep --model M --behavior authority --adapters lora --methods mean_diff,sspace,prompt_only\n\n"
    "The same command again skips what is up to date and goes on where a stopped sweep, even a killed one, left off; "
    "further adapters and seeds may be asked for later. A row that fails is told, and the others go on (exit status 1)."
    "\v"
    "Results: OUT/BEHAVIOR/report/ (report.html, report.md, tables, plots), OUT/BEHAVIOR/ROW/dw.safetensors for "
    "--steer, "
    "OUT/BEHAVIOR/manifest.json. OUT is `out` unless given. The tables go to standard output.";

static ws_status rows(void *input, const ws_train_args *train, uint64_t seed, ws_rows *out, ws_err *err) {
    return ws_rows_args_make(input, NULL, train, seed, out, err);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const not_train[] = {"pairs", "side", "init", "fresh", "adapter", NULL};
    ws_rows_args a = {0};
    const ws_chain_verb v = {.doc = doc,
                             .own = &ws_rows_argp,
                             .input = &a,
                             .not_train = not_train,
                             .rows = rows,
                             .pairs = &a.pairs,
                             .layers = a.layers};
    return ws_chain(argc, argv, &v, err);
}

const ws_cmd ws_cmd_sweep = {80, "sweep", "data, then train, diff, calibrate and eval for every adapter, and controls",
                             run};
