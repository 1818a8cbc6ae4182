/* src/cmd/sweep.c - `ws sweep`: every adapter on the same data, at the same KL budget, beside controls. */
#include "cmd/chain.h"
#include <string.h>

WS_ROOM(sweep)

enum { K_ADAPTERS = 0x900, K_CONTROLS, K_SEEDS };

static const struct argp_option options[] = {
    {"adapters", K_ADAPTERS, "LIST", 0, "kinds of adapters, a row each (default: all that there are)", 0},
    {"controls", K_CONTROLS, "LIST", 0,
     "rows that must be beaten: random (a dW of random numbers, as long as lora's at every module), shuffled (trained "
     "like lora on answers whose sides were mixed by a coin); or none (default: both)",
     0},
    {"seeds", K_SEEDS, "N", 0, "train every adapter N times, with other initial values and another order (1)", 0},
    {0}};

static const char doc[] =
    "Every adapter on the same data: both sides are trained, contrasted, calibrated to the same KL budget and "
    "evaluated, "
    "and the tables compare them, a row each, beside controls. What all rows share (data, the base model's answers, "
    "its "
    "reading of the calibration prompts) is made once.\n\n"
    "Examples:\n"
    "  ws sweep --model M.gguf --behavior enthusiasm --plan\n"
    "  ws sweep --model M.gguf --behavior enthusiasm --adapters lora,dora,ia3 --seeds 3\n"
    "  ws sweep --model M --behavior authority --controls none --out sweep\n\n"
    "The same command again skips what is up to date and goes on where a stopped sweep, even a killed one, left off; "
    "further adapters and seeds may be asked for later. A row that fails is told, and the others go on (exit status 1)."
    "\v"
    "Results: OUT/BEHAVIOR/report/ (report.html, report.md, tables, plots), OUT/BEHAVIOR/ROW/dw.safetensors for "
    "--steer, "
    "OUT/BEHAVIOR/manifest.json. OUT is `out` unless given. The tables go to standard output.";

typedef struct args {
    const char *adapters, *controls;
    int seeds;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_err err = {0};
    long long n = 0;
    switch (key) {
    case K_ADAPTERS: a->adapters = arg; break;
    case K_CONTROLS: a->controls = arg; break;
    case K_SEEDS:
        if (ws_opt_int("--seeds", arg, 1, 100, &n, &err)) argp_error(state, "%s", err.msg);
        a->seeds = (int)n;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* An option must mean something to one of the adapters at least. */
static ws_status check(const ws_rows *r, unsigned given, ws_err *err) {
    unsigned known = 0;
    for (int i = 0; i < r->n; i++) known |= ws_adapter_reads(r->row[i].adapter.kind);
    return given & ~known ? ws_adapter_check_options(r->row[0].adapter.kind, given & ~known, err) : WS_OK;
}

static ws_status rows(void *input, const ws_train_args *train, uint64_t seed, ws_rows *out, ws_err *err) {
    const args *a = input;
    ws_status st = ws_rows_make(out, a->adapters, a->controls, a->seeds, seed, &train->o.adapter, err);
    if (!st) st = check(out, train->given, err);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const not_train[] = {"pairs", "side", "init", "fresh", "adapter", NULL};
    static const struct argp own = {options, parse, 0, 0, 0, 0, 0};
    args a = {.seeds = 1};
    const ws_chain_verb v = {.doc = doc, .own = &own, .input = &a, .not_train = not_train, .rows = rows};
    return ws_chain(argc, argv, &v, err);
}

const ws_cmd ws_cmd_sweep = {80, "sweep", "data, then train, diff, calibrate and eval for every adapter, and controls",
                             run};
