#include "cmd/rows.h"
#include <math.h>

enum { K_ADAPTERS = 0x900, K_METHODS, K_CONTROLS, K_SEEDS, K_PAIRS, K_LAYERS };

static const struct argp_option options[] = {
    {"adapters", K_ADAPTERS, "LIST", 0, "kinds of adapters, a row each (default: all that there are)", 0},
    {"methods", K_METHODS, "LIST", 0,
     "further rows: hidden-state methods (as `ws extract` names them), prompt_only, engineered_prompt, adapters; or "
     "all",
     0},
    {"controls", K_CONTROLS, "LIST", 0,
     "rows that must be beaten: random (a dW of random numbers, as long as lora's at every module), shuffled (trained "
     "like lora on answers whose sides were mixed by a coin); or none (default: both where an adapter is trained)",
     0},
    {"seeds", K_SEEDS, "N", 0, "train every adapter N times, with other initial values and another order (1)", 0},
    {"vector-pairs", K_PAIRS, "N", 0, "persona pairs that hidden-state methods are extracted from (256)", 0},
    {"vector-layers", K_LAYERS, "A:B", 0, "layers A to B-1 that they are extracted from and hang at (as `ws extract`)",
     0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    ws_rows_args *a = state->input;
    ws_err err = {0};
    long long n = 0;
    switch (key) {
    case K_ADAPTERS: a->adapters = arg; break;
    case K_METHODS: a->methods = arg; break;
    case K_CONTROLS: a->controls = arg; break;
    case K_SEEDS:
        if (ws_opt_int("--seeds", arg, 1, 100, &n, &err)) argp_error(state, "%s", err.msg);
        a->seeds = (int)n;
        break;
    case K_PAIRS:
        if (ws_opt_int("--vector-pairs", arg, 2, 1000000, &n, &err)) argp_error(state, "%s", err.msg);
        a->pairs = (int)n;
        break;
    case K_LAYERS: {
        double x, y;
        if (ws_opt_range("--vector-layers", arg, &x, &y, &err)) argp_error(state, "%s", err.msg);
        if (x != floor(x) || y != floor(y) || x < 0 || y <= x || y > 1e6)
            argp_error(state, "--vector-layers %s: two layer numbers A:B", arg);
        a->layers[0] = (int)x, a->layers[1] = (int)y;
        break;
    }
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp ws_rows_argp = {options, parse, 0, 0, 0, 0, 0};

/* An option must mean something to one of the adapters at least. */
static ws_status check(const ws_rows *r, unsigned given, ws_err *err) {
    unsigned known = 0;
    int first = -1;
    for (int i = 0; i < r->n; i++) {
        if (!ws_row_trains(r->row[i].kind)) continue;
        if (first < 0) first = i;
        known |= ws_adapter_reads(r->row[i].adapter.kind);
    }
    if (!(given & ~known)) return WS_OK;
    if (first < 0) return ws_fail(err, WS_EUSAGE, "options of adapters mean nothing here: none is trained");
    return ws_adapter_check_options(r->row[first].adapter.kind, given & ~known, err);
}

ws_status ws_rows_args_make(const ws_rows_args *a, const char *adapters, const ws_train_args *train, uint64_t seed,
                            ws_rows *out, ws_err *err) {
    const ws_rows_options o = {.adapters = a->adapters ? a->adapters : adapters,
                               .methods = a->methods,
                               .controls = a->controls,
                               .n_seeds = a->seeds ? a->seeds : 1,
                               .seed = seed,
                               .base = &train->o.adapter};
    int vectors = 0;
    ws_status st = ws_rows_make(out, &o, err);
    for (int i = 0; i < out->n && !st; i++) vectors |= ws_row_is_vector(out->row[i].kind);
    if (!st && (a->pairs || a->layers[1]) && !vectors)
        st = ws_fail(err, WS_EUSAGE,
                     "--vector-pairs and --vector-layers belong to hidden-state methods, and --methods "
                     "names none");
    return st ? st : check(out, train->given, err);
}
