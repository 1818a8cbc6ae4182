/* src/cmd/subspace.c - `ws subspace`: where a dW lives in the weights that it changes. */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "cmd/cmd.h"
#include "cmd/figures.h"
#include "delta/side.h"
#include "delta/subspace.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(subspace)

enum { K_TOP = 0x500, K_WEAK, MOST_KINDS = 32 };

static const struct argp_option options[] = {
    {"top", K_TOP, "X", 0, "share of the singular values that the block takes, the largest (default 0.1)", 0},
    {"weak", K_WEAK, "X", 0, "share of the LM head's right singular vectors that are looked at, the weakest (0.01)", 0},
    {0}};

static const char doc[] =
    "Where dW lives: in W's main directions, or where W does little.\n\n"
    "  ws subspace --model M dw.safetensors                          tables on the terminal\n"
    "  ws subspace --model M lora/pos --out subspace                 an adapter; CSV, JSON, plots\n"
    "  ws subspace --model M dw.safetensors --top 0.05 --json\n\n"
    "For each touched matrix W = U S V': the share of ||U' dW V||^2 in the block of the largest 10% singular values "
    "on "
    "both sides, against (k/r)^2, which a random dW has; ratios above 1 mean that dW strengthens or turns what W does "
    "most.  For o_proj and down_proj (and out_proj) also the share of dW's output in the weakest 1% of the right "
    "singular vectors of the LM head, which the logits hardly see.  DW is a dW file, an adapter directory or a LoRA "
    "GGUF; --force as everywhere.\v";

typedef struct args {
    const char *path;
    ws_subspace_options o;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_err err = {0};
    switch (key) {
    case K_TOP:
        if (ws_opt_num("--top", arg, 0, 1, &a->o.top, &err)) argp_error(state, "%s", err.msg);
        break;
    case K_WEAK:
        if (ws_opt_num("--weak", arg, 0, 1, &a->o.weak, &err)) argp_error(state, "%s", err.msg);
        break;
    case ARGP_KEY_ARG:
        if (a->path) argp_error(state, "'%s': one dW at a time", arg);
        a->path = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* What the tables are made of. */
typedef struct report {
    const ws_model *m;
    const ws_subspace_site *s;
    int n;
} report;

static const ws_site *at(const report *r, int i) { return ws_model_site(r->m, r->s[i].site); }

/* Mean and standard deviation (n - 1) of the ratios that are numbers. */
typedef struct moments {
    int n;
    double sum, squares;
} moments;
static void add(moments *m, double x) {
    if (isnan(x)) return;
    m->n++, m->sum += x, m->squares += x * x;
}
static double mean(const moments *m) { return m->n ? m->sum / m->n : NAN; }
static double deviation(const moments *m) {
    const double v = m->squares - (m->n ? m->sum * m->sum / m->n : 0);
    return m->n ? sqrt((v > 0 ? v : 0) / (m->n > 1 ? m->n - 1 : 1)) : NAN;
}

static ws_table *modules(const report *r) {
    ws_table *t = ws_table_new("subspace", "Where dW lives, by module");
    ws_table_column(t, "module", "module", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "kind", "kind", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    static const char *const num[][2] = {{"layer", "layer"},
                                         {"d_out", "d_out"},
                                         {"d_in", "d_in"},
                                         {"norm_dw", "||dW||"},
                                         {"norm_w", "||W||"},
                                         {"r", "r"},
                                         {"k", "k"},
                                         {"share", "share in block"},
                                         {"null", "null"},
                                         {"ratio", "share / null"},
                                         {"head_r", "head r"},
                                         {"head_k", "head k"},
                                         {"head_share", "in weak head"},
                                         {"head_null", "null of it"},
                                         {"head_ratio", "head share / null"}};
    for (size_t i = 0; i < sizeof num / sizeof *num; i++)
        ws_table_column(t, num[i][0], num[i][1], WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    for (int i = 0; i < r->n; i++) {
        const ws_subspace_site *s = &r->s[i];
        const double row[] = {at(r, i)->layer,
                              (double)at(r, i)->d_out,
                              (double)at(r, i)->d_in,
                              s->norm,
                              s->norm_w,
                              (double)s->r,
                              (double)s->k,
                              s->share,
                              s->null,
                              s->share / s->null,
                              (double)s->head_r,
                              (double)s->head_k,
                              s->head_share,
                              s->head_null,
                              s->head_share / s->head_null};
        ws_table_row(t);
        ws_table_text(t, at(r, i)->name);
        ws_table_text(t, ws_delta_kind(at(r, i)->name));
        for (int k = 0; k < 15; k++)
            if (k >= 10 && !s->head_r)
                ws_table_none(t, "");
            else
                ws_table_num(t, row[k]);
    }
    return t;
}

/* The kinds in the order in which they come first. */
static int kinds_of(const report *r, const char *kind[MOST_KINDS]) {
    int n = 0;
    for (int i = 0; i < r->n; i++) {
        const char *k = ws_delta_kind(at(r, i)->name);
        int j = 0;
        while (j < n && strcmp(kind[j], k)) j++;
        if (j == n && n < MOST_KINDS) kind[n++] = k;
    }
    return n;
}

static ws_table *kinds(const report *r, const ws_subspace_options *o) {
    const char *kind[MOST_KINDS];
    char caption[160];
    const int n = kinds_of(r, kind);
    snprintf(caption, sizeof caption,
             "Share of dW in the top %g%% x %g%% of W's singular directions against a random dW's, by kind of module",
             100 * o->top, 100 * o->top);
    ws_table *t = ws_table_new("subspace_kinds", caption);
    ws_table_column(t, "kind", "kind", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "modules", "modules", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "norm_dw", "||dW||", WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    ws_table_column(t, "share", "share", WS_CELL_NUM, "%.4f", WS_BEST_NONE);
    ws_table_column(t, "null", "null", WS_CELL_NUM, "%.4f", WS_BEST_NONE);
    ws_table_column(t, "ratio", "share / null", WS_CELL_SD, "%.3f", WS_BEST_NONE);
    ws_table_column(t, "head_ratio", "weak head / null", WS_CELL_SD, "%.3f", WS_BEST_NONE);
    for (int j = 0; j <= n; j++) { /* the last row: all of them */
        moments share = {0}, null = {0}, ratio = {0}, head = {0};
        double square = 0;
        int count = 0;
        for (int i = 0; i < r->n; i++) {
            const ws_subspace_site *s = &r->s[i];
            if (j < n && strcmp(ws_delta_kind(at(r, i)->name), kind[j])) continue;
            add(&share, s->share), add(&null, s->null), add(&ratio, s->share / s->null);
            if (s->head_r) add(&head, s->head_share / s->head_null);
            square += s->norm * s->norm, count++;
        }
        ws_table_row(t);
        ws_table_text(t, j < n ? kind[j] : "all");
        ws_table_num(t, count);
        ws_table_num(t, sqrt(square));
        ws_table_num(t, mean(&share));
        ws_table_num(t, mean(&null));
        ws_table_sd(t, mean(&ratio), deviation(&ratio));
        if (head.n)
            ws_table_sd(t, mean(&head), deviation(&head));
        else
            ws_table_none(t, "");
    }
    ws_table_note(t, "± is the standard deviation over modules; a random dW has the ratio 1");
    ws_table_note(t, "weak head: share of dW's output in the weakest %g%% of the LM head's right singular vectors",
                  100 * o->weak);
    return t;
}

static ws_table *layers(const report *r) {
    ws_table *t = ws_table_new("subspace_layers", "Length of dW by layer");
    ws_table_column(t, "layer", "layer", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "modules", "modules", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_column(t, "norm_dw", "||dW||", WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    ws_table_column(t, "norm_ratio", "||dW|| / ||W||", WS_CELL_NUM, "%.4g", WS_BEST_NONE);
    ws_table_column(t, "energy", "share of ||dW||^2", WS_CELL_NUM, "%.4f", WS_BEST_NONE);
    double all = 0;
    for (int i = 0; i < r->n; i++) all += r->s[i].norm * r->s[i].norm;
    for (int l = 0; l < ws_model_dims(r->m)->layers; l++) {
        double d = 0, w = 0;
        int n = 0;
        for (int i = 0; i < r->n; i++)
            if (at(r, i)->layer == l) d += r->s[i].norm * r->s[i].norm, w += r->s[i].norm_w * r->s[i].norm_w, n++;
        if (!n) continue;
        ws_table_row(t);
        ws_table_num(t, l);
        ws_table_num(t, n);
        ws_table_num(t, sqrt(d));
        ws_table_num(t, sqrt(d / w));
        ws_table_num(t, d / all);
    }
    return t;
}

/* A series a kind over the layers: the block's ratio, the head's, or ||dW||. */
enum { BLOCK, HEAD, NORM };
static ws_status plot(const report *r, int what, const char *dir, const char *model, ws_err *err) {
    static const struct {
        const char *name, *title, *y;
    } of[] = {{"subspace", "Share of dW in W's largest singular directions, against a random dW", "share / null"},
              {"subspace_head", "Share of dW's output in the LM head's weakest directions, against a random dW",
               "share / null"},
              {"subspace_norms", "Length of dW", "||dW|| (Frobenius)"}};
    const char *kind[MOST_KINDS];
    const int n = kinds_of(r, kind);
    ws_series *series = ws_xcalloc((size_t)n, sizeof *series);
    double *xy = ws_xcalloc(2 * (size_t)(r->n * n) + 1, sizeof *xy), *free_xy = xy;
    int used = 0;
    for (int j = 0; j < n; j++) {
        double *x = free_xy, *y = x + r->n;
        int k = 0;
        for (int i = 0; i < r->n; i++) {
            const ws_subspace_site *s = &r->s[i];
            const double v = what == BLOCK  ? s->share / s->null
                             : what == NORM ? s->norm
                             : s->head_r    ? s->head_share / s->head_null
                                            : NAN;
            if (!strcmp(ws_delta_kind(at(r, i)->name), kind[j]) && isfinite(v) && v > 0)
                x[k] = at(r, i)->layer, y[k++] = v;
        }
        free_xy += 2 * r->n;
        if (k)
            series[used] = (ws_series){.name = kind[j], .n = k, .x = x, .y = y, .line = 1, .colour = used % 8}, used++;
    }
    const ws_rule rule = {1, 0, "random"};
    const ws_plot p = {.title = of[what].title,
                       .subtitle = model,
                       .xlabel = "layer",
                       .ylabel = of[what].y,
                       .ylog = what != NORM,
                       .n_series = used,
                       .series = series,
                       .n_rules = what != NORM,
                       .rule = &rule};
    ws_status st = used ? ws_figures_plot(dir, of[what].name, &p, err) : WS_OK;
    free(series), free(xy);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    args a = {.o = {.top = 0.1, .weak = 0.01}};
    ws_common c;
    ws_session s = {0};
    ws_delta *d = NULL;
    ws_subspace_site *site = NULL;
    char about[32];
    static const char *const without[] = {"steer", "template", "seed", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_interrupt_says(WS_STARTS_OVER);
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "DW", doc, &a, &c, err);
    if (st) return st;
    if (!a.path) return ws_fail(err, WS_EUSAGE, "DW is missing: a dW file, an adapter directory or a LoRA GGUF");
    if ((st = ws_session_open_weights(&s, &c, err))) return st;
    st = ws_delta_open(&d, s.model, a.path, c.force, err);
    if (!st && c.out) st = ws_mkdirs(c.out, err); /* asked for before long work */
    if (!st) {
        ws_note("singular vectors of %d matrices: about %s here", ws_delta_n_sites(d),
                ws_format_seconds(about, ws_subspace_estimate(d)));
        st = ws_subspace(&site, d, &a.o, err);
    }
    if (!st) {
        const report r = {s.model, site, ws_delta_n_sites(d)};
        ws_table *t[] = {kinds(&r, &a.o), layers(&r), modules(&r)};
        ws_figures_print(t, c.json ? 3 : 2, c.json);
        if (c.out) st = ws_figures_tables(c.out, t, 3, err);
        for (int i = BLOCK; i <= NORM && c.out && !st; i++)
            st = plot(&r, i, c.out, ws_checkpoint_name(s.checkpoint), err);
        if (c.out && !st) ws_note("tables and plots in %s", c.out);
        for (int i = 0; i < 3; i++) ws_table_free(t[i]);
    }
    free(site);
    ws_delta_free(d);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_subspace = {220, "subspace", "where dW lives in the weights -> tables and plots", run};
