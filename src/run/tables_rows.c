/* src/run/tables_rows.c - the tables of a sweep: what each row moved at the same KL budget and whether it beats the
 * controls, what it cost, and how much the seed matters. */
#include "base/progress.h"
#include "run/headline.h"
#include "run/rows.h"
#include "run/tables_impl.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The row of a method in a sheet with one row a method; -1: none. */
static int row_of(const ws_sheet *s, const char *method) {
    for (int i = 0; i < s->csv.rows; i++)
        if (!strcmp(ws_sheet_text(s, i, "method"), method)) return i;
    return -1;
}
static double at(const ws_sheet *s, int row, const char *col) {
    return row < 0 ? (double)NAN : ws_sheet_num(s, row, col);
}

/* A dash where there is no value: a row that failed, or one without training. */
static void number(ws_table *t, double v) {
    if (isnan(v))
        ws_table_none(t, "-");
    else
        ws_table_num(t, v);
}

/* Returns whether both strengths stand for the KL budget. */
static int strengths(ws_table *t, const ws_results *r, const ws_row_results *row) {
    static const char *const key[] = {"alpha_pos", "p95_at_pos", "audit_ratio_pos",
                                      "alpha_neg", "p95_at_neg", "audit_ratio_neg"};
    int i = row_of(&r->summary, row->name);
    for (int k = 0; k < 6; k++) number(t, at(&r->summary, i, key[k]));
    char status[80];
    const char *side[2] = {ws_row_status(r, row, 0), ws_row_status(r, row, 1)};
    if (row->error || i < 0)
        snprintf(status, sizeof status, "%s", row->error ? "failed" : "-");
    else if (!strcmp(side[0], side[1]))
        snprintf(status, sizeof status, "%s", side[0]);
    else
        snprintf(status, sizeof status, "+ %s, - %s", side[0], side[1]);
    ws_table_text(t, status);
    return !ws_row_off_budget(r, row);
}

static void effect(ws_table *t, ws_headline h, const ws_results *r, const ws_row_results *row) {
    for (int minus = 0; minus < 2; minus++) {
        ws_effect e = row->method < 0 ? (ws_effect){NAN, NAN, NAN} : ws_headline_effect(h, &r->m[row->method], minus);
        if (isnan(e.v))
            ws_table_none(t, "-");
        else
            ws_table_ci(t, e.v, e.lo, e.hi);
    }
}

/* One line for all rows that the same failure ended. */
static void failures(ws_table *t, const ws_results *r) {
    for (int i = 0; i < r->n_rows; i++) {
        const ws_row_results *row = &r->row[i];
        ws_str names = {0};
        int first = 1;
        for (int k = 0; k < r->n_rows && row->error; k++) {
            const ws_row_results *o = &r->row[k];
            if (!o->error || strcmp(o->failed, row->failed) || strcmp(o->error, row->error)) continue;
            first &= k >= i;
            ws_str_addf(&names, "%s%s", names.n ? ", " : "", o->name);
        }
        if (row->error && first) ws_table_note(t, "Failed at %s: %s. %s", row->failed, names.p, row->error);
        ws_str_free(&names);
    }
}

static void rows(const ws_show *s, ws_tables *all) {
    static const char *const kinds[] = {"random", "shuffled"};
    ws_table *t = ws_table_new("rows", "Rows at one KL budget: what each moves, in the direction that was meant");
    ws_headline h = WS_HEADLINE_NONE;
    for (int i = 0; i < s->n && !h; i++)
        if (s->run[i]->n_rows) h = ws_headline_of(s->run[i]);
    ws_tab_begin(s, t, "row", "row");
    static const ws_column c[] = {{NUMBER("alpha_pos", "alpha +", "%.2f")},
                                  {NUMBER("p95_pos", "p95 +", "%.2f")},
                                  {NUMBER("audit_pos", "audit +", "%.2f")},
                                  {NUMBER("alpha_neg", "alpha -", "%.2f")},
                                  {NUMBER("p95_neg", "p95 -", "%.2f")},
                                  {NUMBER("audit_neg", "audit -", "%.2f")},
                                  {WORDS("status", "status")}};
    ws_tab_columns(t, COLUMNS(c));
    char title[2][64];
    for (int k = 0; k < 2; k++) {
        snprintf(title[k], sizeof title[k], "%s at %c [95%%]", ws_headline_title(h), k ? '-' : '+');
        ws_table_column(t, k ? "effect_neg" : "effect_pos", title[k], WS_CELL_CI, "%+.3f", WS_BEST_MAX);
    }
    for (int k = 0; k < 2; k++) {
        char key[32], name[32];
        snprintf(key, sizeof key, "beats_%s", kinds[k]), snprintf(name, sizeof name, "beats %s", kinds[k]);
        ws_table_column(t, key, name, WS_CELL_TEXT, NULL, WS_BEST_NONE);
    }
    ws_table_column(t, "broken", "broken", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_str weak = {0};
    double target = NAN;
    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < s->run[i]->n_rows; k++) {
            const ws_results *r = s->run[i];
            const ws_row_results *row = &r->row[k];
            int rival = !strcmp(row->kind, "adapter") || !strcmp(row->kind, "vector"), beaten = 0;
            ws_tab_row(s, t, r, row->name);
            int kept = strengths(t, r, row);
            if (r->summary.csv.rows) target = ws_sheet_num(&r->summary, 0, "target_p95");
            effect(t, h, r, row);
            for (int q = 0; q < 2; q++) {
                ws_beats b = rival ? ws_row_beats(h, r, row, kinds[q]) : WS_BEATS_UNKNOWN;
                ws_table_text(t, ws_beats_name(b));
                beaten |= b != WS_BEATS_BOTH && b != WS_BEATS_UNKNOWN;
            }
            ws_table_text(t, ws_row_broken(r, row));
            /* a broken model wins nothing, nor does one at another strength of the budget */
            if (!rival || !kept || *ws_row_broken(r, row) == 'a') ws_table_unranked(t);
            beaten |= rival && !kept && row->method >= 0;
            if (beaten) ws_str_addf(&weak, "%s%s", weak.n ? ", " : "", row->name);
        }
    for (int i = 0; i < s->n; i++) failures(t, s->run[i]);
    ws_table_note(
        t,
        "Every row is calibrated to the same p95 of the KL per token on the same prompts (%g nat); one that ended "
        "more than a tenth away from it is not compared. audit: p95 on other prompts / p95 here. Effects are "
        "oriented: positive is what was meant, at + and at -.",
        target);
    ws_tab_mirrored(s, t);
    ws_table_note(
        t, "random: a dW of random numbers, at every module as long as the reference row's. shuffled: trained like "
           "it on answers whose sides were mixed by a coin. A row beats a control on a side when its whole interval "
           "lies above the control's.");
    if (weak.n) ws_table_note(t, "Not shown to be more than a control on both sides: %s.", weak.p);
    ws_str_free(&weak);
    ws_tab_keep(all, t);
}

static void costs(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{NUMBER("parameters", "trained numbers", "%.0f"), .best = WS_BEST_MIN},
                                  {NUMBER("length", "|dW| / |W|", "%.4f")},
                                  {NUMBER("train_seconds", "training, s", "%.1f"), .best = WS_BEST_MIN},
                                  {NUMBER("against_lora", "x lora's", "%.2f")},
                                  {NUMBER("peak_mib", "peak, MiB", "%.0f"), .best = WS_BEST_MIN},
                                  {NUMBER("calibrate_seconds", "calibration, s", "%.1f")},
                                  {NUMBER("eval_seconds", "evaluation, s", "%.1f")}};
    ws_table *t = ws_table_new("costs", "What each row cost");
    ws_tab_begin(s, t, "row", "row"), ws_tab_columns(t, COLUMNS(c));
    for (int i = 0; i < s->n; i++) {
        const ws_results *r = s->run[i];
        double lora = NAN;
        for (int k = 0; k < r->n_rows; k++)
            if (!strcmp(r->row[k].name, WS_ROW_REFERENCE)) lora = r->row[k].train;
        for (int k = 0; k < r->n_rows; k++) {
            const ws_row_results *row = &r->row[k];
            ws_tab_row(s, t, r, row->name);
            if (strcmp(row->kind, "adapter")) ws_table_unranked(t);
            number(t, row->parameters), number(t, row->length), number(t, row->train);
            number(t, row->train / lora), number(t, row->peak / (1 << 20));
            number(t, row->calibrate), number(t, row->eval);
        }
    }
    ws_table_note(t, "trained numbers: of one side; training: both sides, with the held-out rows' loss; peak: resident "
                     "memory while training. Times are of this machine in this run, whatever else it did.");
    ws_tab_keep(all, t);
}

/* Adapters that were trained with several seeds: the spread between them beside the interval within one. */
static void seeds(const ws_show *s, ws_tables *all) {
    ws_table *t = ws_table_new("seeds", "How much the seed matters: several trainings on the same pairs");
    ws_tab_begin(s, t, "row", "adapter");
    static const ws_column c[] = {{WORDS("side", "side")},
                                  {NUMBER("n", "seeds", "%.0f")},
                                  {SPREAD("effect", "mean ± sd", "%+.3f")},
                                  {NUMBER("least", "least", "%+.3f")},
                                  {NUMBER("most", "most", "%+.3f")},
                                  {NUMBER("within", "half interval within one", "%.3f")}};
    ws_tab_columns(t, COLUMNS(c));
    for (int i = 0; i < s->n; i++) {
        const ws_results *r = s->run[i];
        ws_headline h = ws_headline_of(r);
        for (int k = 0; k < r->n_rows; k++) {
            const ws_row_results *first = &r->row[k];
            if (strcmp(first->kind, "adapter") || strcmp(first->name, first->adapter)) continue;
            for (int minus = 0; minus < 2; minus++) {
                double sum = 0, square = 0, least = INFINITY, most = -INFINITY, within = 0;
                int n = 0;
                for (int j = 0; j < r->n_rows; j++) {
                    const ws_row_results *row = &r->row[j];
                    if (strcmp(row->kind, "adapter") || strcmp(row->adapter, first->adapter) || row->method < 0)
                        continue;
                    ws_effect e = ws_headline_effect(h, &r->m[row->method], minus);
                    if (!isfinite(e.v)) continue;
                    n++, sum += e.v, square += e.v * e.v, within += (e.hi - e.lo) / 2;
                    least = fmin(least, e.v), most = fmax(most, e.v);
                }
                if (n < 2) continue;
                double mean = sum / n, var = (square - n * mean * mean) / (n - 1);
                ws_tab_row(s, t, r, first->adapter), ws_table_text(t, minus ? "-" : "+"), ws_table_num(t, n);
                ws_table_sd(t, mean, sqrt(var > 0 ? var : 0)), ws_table_num(t, least), ws_table_num(t, most);
                ws_table_num(t, within / n);
            }
        }
        if (ws_table_rows(t))
            ws_table_note(t,
                          "Effect: %s, oriented. Every seed has initial values and an order of its own, and its own "
                          "calibrated strength; the pairs are the same.",
                          ws_headline_title(h));
    }
    ws_tab_keep(all, t);
}

void ws_tab_rows(const ws_show *s, ws_tables *all) {
    rows(s, all);
    ws_tab_readouts(s, all);
    seeds(s, all);
    costs(s, all);
}
