/* src/cmd/monitor.c - `ws monitor`: how far adapters, checkpoints and other dW move the weights along a dW. */
#include "base/interrupt.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/figures.h"
#include "cmd/things.h"
#include "delta/monitor.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(monitor)

enum { K_DW = 0x500, K_DRAWS, K_MATRIX };
enum { MOST_LINES = 40 }; /* of the table by layer on the terminal */

static const struct argp_option options[] = {
    {"dw", K_DW, "DW", 0, "the direction: a dW file, an adapter directory or a LoRA GGUF", 0},
    {"draws", K_DRAWS, "N", 0, "random changes that make the null band (default 100; 0: none)", 0},
    {"matrix", K_MATRIX, 0, 0, "cosines between all of them too", 0},
    {0}};

static const char doc[] =
    "Cosine of anything that moved the weights with a dW, by layer and in all.\n\n"
    "  ws monitor --model M --dw dw.safetensors other-adapter/\n"
    "  ws monitor --model M --dw dw.safetensors training-run/ --out monitor     a row a checkpoint, CSV, plots\n"
    "  ws monitor --model M --dw dw.safetensors org/fine-tune                   theta - base of a whole checkpoint\n"
    "  ws monitor --model M --dw dw.safetensors tuned-pos/,tuned-neg/           a pair: POS,NEG\n"
    "  ws monitor --model M --dw a/dw.safetensors b/dw.safetensors c/dw.safetensors --matrix\n\n"
    "A cosine near 1 is the persona of POS, near -1 that of NEG.  The band is what random changes of the same form "
    "and "
    "length at every module have, 2.5% to 97.5%: outside of it the likeness is no accident.\v"
    "THING is an adapter directory, a dW file, a LoRA GGUF, a checkpoint of the base's architecture, a pair of them "
    "POS,NEG, or a folder of several.  Whole checkpoints are read once, in little memory.";

typedef struct args {
    const char *dw;
    int draws, matrix;
    const char **arg;
    int n_args;
    ws_things things;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_err err = {0};
    long long n;
    switch (key) {
    case K_DW: a->dw = arg; break;
    case K_DRAWS:
        if (ws_opt_int("--draws", arg, 0, 100000, &n, &err)) argp_error(state, "%s", err.msg);
        if (n == 1) argp_error(state, "--draws 1: one draw makes no band");
        a->draws = (int)n;
        break;
    case K_MATRIX: a->matrix = 1; break;
    case ARGP_KEY_ARG:
        a->arg = ws_xrealloc(a->arg, (size_t)(a->n_args + 1) * sizeof *a->arg);
        a->arg[a->n_args++] = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* An opened thing. */
typedef struct opened {
    ws_side side[2];
    ws_delta *between; /* of a pair of edits */
    ws_measured as;
} opened;

static void close_thing(opened *o) {
    ws_delta_free(o->between);
    for (int i = 0; i < 2; i++) ws_side_close(&o->side[i]);
    memset(o, 0, sizeof *o);
}

static ws_status open_thing(opened *o, const ws_thing *t, const ws_model *m, const ws_common *c, ws_err *err) {
    ws_status st = WS_OK;
    memset(o, 0, sizeof *o);
    for (int i = 0; i <= t->pair && !st; i++) {
        ws_checkpoint *ck = NULL;
        if (ws_is_edits(t->path[i]))
            st = ws_side_from_edits(&o->side[i], m, t->path[i], c->force, err);
        else if (!(st = ws_cmd_checkpoint(&ck, t->path[i], c, err)))
            st = ws_side_from_checkpoint(&o->side[i], m, ck, err);
    }
    if (!st && t->pair && o->side[0].edits && o->side[1].edits) {
        ws_delta *both[] = {o->side[0].edits, o->side[1].edits};
        const double sign[] = {1, -1};
        st = ws_delta_mix(&o->between, m, 2, both, sign, err);
        o->as.edits = o->between;
    } else if (!st && !t->pair && o->side[0].edits)
        o->as.edits = o->side[0].edits;
    else if (!st)
        o->as.pos = &o->side[0], o->as.neg = t->pair ? &o->side[1] : NULL;
    if (st) close_thing(o);
    return st;
}

/* ---------- tables ---------- */

static void number_or(ws_table *t, double v, const char *otherwise) {
    if (isnan(v))
        ws_table_none(t, otherwise);
    else
        ws_table_num(t, v);
}

static ws_table *summary(const args *a, const ws_monitor *m, double norm_dw) {
    ws_table *t = ws_table_new("monitor", "Cosine with dW, in all");
    ws_table_column(t, "thing", "", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "step", "step", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "modules", "modules", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "common", "in dW too", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "norm", "length", WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    ws_table_column(t, "cosine", "cosine", WS_CELL_NUM, "%+.5f", WS_BEST_NONE);
    ws_table_column(t, "null_lo", "random 2.5%", WS_CELL_NUM, "%+.5f", WS_BEST_NONE);
    ws_table_column(t, "null_hi", "97.5%", WS_CELL_NUM, "%+.5f", WS_BEST_NONE);
    ws_table_column(t, "null_sd", "sd", WS_CELL_NUM, "%.5f", WS_BEST_NONE);
    ws_table_column(t, "null_sd_formula", "sd by formula", WS_CELL_NUM, "%.5f", WS_BEST_NONE);
    ws_table_column(t, "verdict", "", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    for (int i = 0; i < a->things.n; i++) {
        const ws_monitor *x = &m[i];
        const int l = x->layers;
        const double c = ws_monitor_cos(x, l);
        ws_table_row(t);
        ws_table_text(t, a->things.t[i].name);
        number_or(t, a->things.t[i].step, "");
        ws_table_num(t, x->touched);
        ws_table_num(t, x->common);
        ws_table_num(t, sqrt(x->square[l]));
        ws_table_num(t, c);
        number_or(t, x->lo[l], ""), number_or(t, x->hi[l], ""), number_or(t, x->sd[l], "");
        number_or(t, x->formula[l], "");
        ws_table_text(t, !x->common        ? "no module in common"
                         : isnan(c)        ? "does not move"
                         : isnan(x->lo[l]) ? ""
                         : c > x->hi[l]    ? "along dW"
                         : c < x->lo[l]    ? "against dW"
                                           : "as random");
    }
    ws_table_note(t, "||dW|| is %.6g; lengths are Frobenius norms over all modules", norm_dw);
    return t;
}

static ws_table *by_layer(const args *a, const ws_monitor *m) {
    ws_table *t = ws_table_new("monitor_layers", "Cosine with dW by layer");
    ws_table_column(t, "thing", "", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "step", "step", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "layer", "layer", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "cosine", "cosine", WS_CELL_NUM, "%+.4f", WS_BEST_NONE);
    ws_table_column(t, "dot", "product", WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    ws_table_column(t, "norm", "length", WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    ws_table_column(t, "norm_dw", "||dW||", WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    ws_table_column(t, "null_lo", "random 2.5%", WS_CELL_NUM, "%+.4f", WS_BEST_NONE);
    ws_table_column(t, "null_hi", "97.5%", WS_CELL_NUM, "%+.4f", WS_BEST_NONE);
    ws_table_column(t, "null_sd", "sd", WS_CELL_NUM, "%.4f", WS_BEST_NONE);
    ws_table_column(t, "null_sd_formula", "sd by formula", WS_CELL_NUM, "%.4f", WS_BEST_NONE);
    for (int i = 0; i < a->things.n; i++)
        for (int l = 0; l < m[i].layers; l++) {
            const ws_monitor *x = &m[i];
            if (!(x->square[l] > 0) && !(x->square_dw[l] > 0)) continue;
            ws_table_row(t);
            ws_table_text(t, a->things.t[i].name);
            number_or(t, a->things.t[i].step, "");
            ws_table_num(t, l);
            number_or(t, ws_monitor_cos(x, l), "-");
            ws_table_num(t, x->dot[l]);
            ws_table_num(t, sqrt(x->square[l]));
            ws_table_num(t, sqrt(x->square_dw[l]));
            number_or(t, x->lo[l], ""), number_or(t, x->hi[l], ""), number_or(t, x->sd[l], "");
            number_or(t, x->formula[l], "");
        }
    return t;
}

/* Cosines between all: dW first. */
static ws_status matrix(ws_table **out, const args *a, const ws_model *model, opened *o, const ws_monitor *m,
                        ws_err *err) {
    const int n = a->things.n + 1;
    double *dot = ws_xcalloc((size_t)(n * n), sizeof *dot);
    char key[32];
    ws_status st = WS_OK;
    for (int i = 0; i < n; i++)
        for (int j = i; j < n && !st; j++) {
            if (!i)
                dot[j] = j ? m[j - 1].dot[m[j - 1].layers] : m[0].square_dw[m[0].layers];
            else if (i == j)
                dot[i * n + i] = m[i - 1].square[m[i - 1].layers];
            else
                st = ws_measured_dot(&dot[i * n + j], model, &o[i - 1].as, &o[j - 1].as, err);
            dot[j * n + i] = dot[i * n + j];
        }
    ws_table *t = *out = ws_table_new("monitor_matrix", "Cosines between all of them");
    ws_table_column(t, "thing", "", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, i ? "%d" : "dw", i);
        ws_table_column(t, key, i ? key : "dW", WS_CELL_NUM, "%+.4f", WS_BEST_NONE);
    }
    for (int i = 0; i < n && !st; i++) {
        char *label = i ? ws_sprintf("%d  %s", i, a->things.t[i - 1].name) : ws_sprintf("dW  %s", a->dw);
        ws_table_row(t);
        ws_table_text(t, label);
        for (int j = 0; j < n; j++) {
            const double length = sqrt(dot[i * n + i] * dot[j * n + j]);
            number_or(t, length > 0 ? dot[i * n + j] / length : NAN, "-");
        }
        free(label);
    }
    free(dot);
    return st;
}

/* ---------- plots ---------- */

enum { MOST = 7 }; /* series beside the band */

static ws_status plot_layers(const args *a, const ws_monitor *m, const char *dir, const char *model, ws_err *err) {
    const int n = a->things.n, shown = n < MOST ? n : MOST, layers = m[0].layers;
    ws_series series[MOST + 1];
    double *x = ws_xcalloc((size_t)(layers * (MOST + 4)) + 1, sizeof *x), *lo = x + layers, *hi = lo + layers,
           *zero = hi + layers, *y = zero + layers;
    for (int l = 0; l < layers; l++) x[l] = l, lo[l] = hi[l] = NAN;
    for (int i = 0; i < n; i++) /* the widest of all bands */
        for (int l = 0; l < layers; l++) {
            if (!(lo[l] <= m[i].lo[l])) lo[l] = isnan(m[i].lo[l]) ? lo[l] : m[i].lo[l];
            if (!(hi[l] >= m[i].hi[l])) hi[l] = isnan(m[i].hi[l]) ? hi[l] : m[i].hi[l];
        }
    series[0] = (ws_series){
        .name = NULL, .n = layers, .x = x, .y = zero, .lo = lo, .hi = hi, .band = 1, .no_marker = 1, .colour = 6};
    for (int i = 0; i < shown; i++, y += layers) {
        const int k = shown > 1 ? (int)((int64_t)i * (n - 1) / (shown - 1)) : 0; /* spread over all, the last one too */
        for (int l = 0; l < layers; l++) y[l] = ws_monitor_cos(&m[k], l);
        series[i + 1] =
            (ws_series){.name = a->things.t[k].name, .n = layers, .x = x, .y = y, .line = 1, .colour = i < 6 ? i : 7};
    }
    const int band = a->draws > 0;
    const ws_rule rule = {0, 0, NULL};
    const ws_plot p = {.title = "Cosine with dW by layer",
                       .subtitle = model,
                       .xlabel = "layer",
                       .ylabel = band ? "cosine; band: random changes, 2.5% to 97.5%" : "cosine",
                       .n_series = shown + band,
                       .series = series + !band,
                       .n_rules = 1,
                       .rule = &rule};
    ws_status st = ws_figures_plot(dir, "monitor_layers", &p, err);
    free(x);
    return st;
}

static ws_status plot_steps(const args *a, const ws_monitor *m, const char *dir, const char *model, ws_err *err) {
    const int n = a->things.n, layers = m[0].layers;
    double *x = ws_xcalloc(5 * (size_t)n, sizeof *x), *y = x + n, *lo = y + n, *hi = lo + n, *zero = hi + n;
    int steps = 1;
    for (int i = 0; i < n; i++) steps &= !isnan(a->things.t[i].step);
    for (int i = 0; i < n; i++) {
        x[i] = steps ? a->things.t[i].step : i + 1;
        y[i] = ws_monitor_cos(&m[i], layers), lo[i] = m[i].lo[layers], hi[i] = m[i].hi[layers];
    }
    const ws_series series[] = {
        {.name = NULL, .n = n, .x = x, .y = zero, .lo = lo, .hi = hi, .band = 1, .no_marker = 1, .colour = 6},
        {.name = NULL, .n = n, .x = x, .y = y, .line = 1, .colour = 0}};
    const int band = a->draws > 0;
    const ws_plot p = {.title = "Cosine with dW along the run",
                       .subtitle = model,
                       .xlabel = steps ? "step" : "in the order given",
                       .ylabel = band ? "cosine; band: random changes, 2.5% to 97.5%" : "cosine",
                       .n_series = 1 + band,
                       .series = series + !band};
    ws_status st = ws_figures_plot(dir, "monitor", &p, err);
    free(x);
    return st;
}

/* ---------- the verb ---------- */

static ws_status run(int argc, char **argv, ws_err *err) {
    args a = {.draws = 100};
    ws_common c;
    ws_session s = {0};
    ws_delta *dw = NULL;
    ws_monitor *m = NULL;
    opened *o = NULL;
    ws_table *t[3] = {NULL, NULL, NULL};
    static const char *const without[] = {"steer", "template", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_interrupt_says(WS_STARTS_OVER);
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "THING...", doc, &a, &c, err);
    if (!st && !a.dw) st = ws_fail(err, WS_EUSAGE, "--dw is missing: the dW that things are compared with");
    if (!st && !a.n_args) st = ws_fail(err, WS_EUSAGE, "nothing to compare: give adapters, checkpoints or dW files");
    for (int i = 0; i < a.n_args && !st; i++) st = ws_things_add(&a.things, a.arg[i], err);
    if (!st) st = ws_session_open_weights(&s, &c, err);
    if (!st) st = ws_delta_open(&dw, s.model, a.dw, c.force, err);
    if (!st && c.out) st = ws_mkdirs(c.out, err);
    m = ws_xcalloc((size_t)a.things.n + 1, sizeof *m), o = ws_xcalloc((size_t)a.things.n + 1, sizeof *o);
    for (int i = 0; i < a.things.n && !st; i++) {
        if (!(st = open_thing(&o[i], &a.things.t[i], s.model, &c, err)))
            st = ws_monitor_new(&m[i], dw, &o[i].as, a.draws, c.seed, err);
        if (!a.matrix) close_thing(&o[i]);
    }
    int tables = 2;
    if (!st) t[0] = summary(&a, m, sqrt(m[0].square_dw[m[0].layers])), t[1] = by_layer(&a, m);
    if (!st && a.matrix) st = matrix(&t[2], &a, s.model, o, m, err), tables = 3;
    if (!st) {
        const char *model = ws_checkpoint_name(s.checkpoint);
        ws_table *brief[] = {t[0], t[2]};
        if (c.json || ws_table_rows(t[1]) <= MOST_LINES)
            ws_figures_print(t, tables, c.json);
        else {
            ws_figures_print(brief, tables - 1, 0);
            if (!c.out) ws_note("cosines by layer: --out DIR or --json");
        }
        if (c.out) st = ws_figures_tables(c.out, t, tables, err);
        if (c.out && !st) st = plot_layers(&a, m, c.out, model, err);
        if (c.out && !st && a.things.n > 1) st = plot_steps(&a, m, c.out, model, err);
        if (c.out && !st) ws_note("tables and plots in %s", c.out);
    }
    for (int i = 0; i < 3; i++) ws_table_free(t[i]);
    for (int i = 0; i < a.things.n; i++) ws_monitor_free(&m[i]), close_thing(&o[i]);
    free(m), free(o);
    ws_things_free(&a.things);
    free(a.arg);
    ws_delta_free(dw);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_monitor = {230, "monitor", "adapters, checkpoints, dW -> their cosines with a dW, by layer", run};
