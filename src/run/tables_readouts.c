/* src/run/tables_readouts.c - the readouts of a sweep side by side: one line a row, both calibrated strengths beside each
 * other.  The tables of each readout have the same figures with everything in between. */
#include "run/tables_impl.h"
#include <math.h>
#include <string.h>

#define EACH_ROW(s, r, row)                                                                                            \
    for (int i_ = 0; i_ < (s)->n; i_++)                                                                                \
        for (int k_ = 0; k_ < (s)->run[i_]->n_rows; k_++)                                                              \
            for (const ws_results *r = (s)->run[i_]; r; r = NULL)                                                      \
                for (const ws_row_results *row = &r->row[k_]; row; row = NULL)

/* The interval, or a dash where a row has no such value: one-sided, or never evaluated. */
static void interval(ws_table *t, const ws_sheet *s, int i, const char *v, const char *lo, const char *hi) {
    if (i < 0 || isnan(ws_sheet_num(s, i, v)))
        ws_table_none(t, "-");
    else
        ws_tab_ci(t, s, i, v, lo, hi);
}
static void number(ws_table *t, const ws_sheet *s, int i, const char *v) {
    if (i < 0)
        ws_table_none(t, "-");
    else
        ws_tab_num(t, s, i, v);
}

static int dose_row(const ws_sheet *s, double dose) {
    for (int i = 0; i < s->csv.rows; i++)
        if (ws_sheet_num(s, i, "dose") == dose) return i;
    return -1;
}

static void answers(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{INTERVAL("margin_pos", "margin change at + [95%]", "%+.3f")},
                                  {INTERVAL("margin_neg", "at - [95%]", "%+.3f")},
                                  {INTERVAL("score_pos", "score at + [95%]", "%+.2f")},
                                  {INTERVAL("score_neg", "at - [95%]", "%+.2f")},
                                  {NUMBER("distinct3_pos", "distinct-3 +", "%.2f")},
                                  {NUMBER("distinct3_neg", "-", "%.2f")},
                                  {NUMBER("base_ppl_pos", "base ppl +", "%.1f")},
                                  {NUMBER("base_ppl_neg", "-", "%.1f")}};
    ws_table *t = ws_table_new("row_answers", "Margin and free answers of every row at its two strengths");
    int any = 0;
    ws_tab_begin(s, t, "row", "row"), ws_tab_columns(t, COLUMNS(c));
    EACH_ROW(s, r, row) {
        if (row->method < 0) continue;
        const ws_method_results *m = &r->m[row->method];
        int plus = ws_sheet_arm(&m->margin, NULL, "plus"), minus = ws_sheet_arm(&m->margin, NULL, "minus");
        int hi = dose_row(&m->dose, 1), lo = dose_row(&m->dose, -1);
        if (plus < 0 && minus < 0 && hi < 0 && lo < 0) continue;
        ws_tab_row(s, t, r, row->name);
        interval(t, &m->margin, plus, "delta", "delta_lo", "delta_hi");
        interval(t, &m->margin, minus, "delta", "delta_lo", "delta_hi");
        interval(t, &m->dose, hi, "score", "score_lo", "score_hi");
        interval(t, &m->dose, lo, "score", "score_lo", "score_hi");
        number(t, &m->dose, hi, "distinct3"), number(t, &m->dose, lo, "distinct3");
        number(t, &m->dose, hi, "base_ppl"), number(t, &m->dose, lo, "base_ppl");
        int base = dose_row(&m->dose, 0);
        if (!any++ && base >= 0)
            ws_table_note(t, "Unsteered: score %+.2f [%+.2f, %+.2f], distinct-3 %.2f, base ppl %.1f.",
                          ws_sheet_num(&m->dose, base, "score"), ws_sheet_num(&m->dose, base, "score_lo"),
                          ws_sheet_num(&m->dose, base, "score_hi"), ws_sheet_num(&m->dose, base, "distinct3"),
                          ws_sheet_num(&m->dose, base, "base_ppl"));
    }
    ws_table_note(t, "As measured, not oriented: what was meant is up at + and down at -.");
    ws_tab_keep(all, t);
}

static int si_row(const ws_sheet *s, const char *foundation) {
    for (int i = 0; foundation && i < s->csv.rows; i++)
        if (!strcmp(ws_sheet_text(s, i, "foundation"), foundation)) return i;
    return -1;
}

static void moral(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{INTERVAL("target_pos", "d target at + [95%]", "%+.2f")},
                                  {INTERVAL("target_neg", "at - [95%]", "%+.2f")},
                                  {INTERVAL("others_pos", "d others at + [95%]", "%+.2f")},
                                  {INTERVAL("others_neg", "at - [95%]", "%+.2f")},
                                  {INTERVAL("si", "SI [95%]", "%+.1f")}};
    ws_table *t = ws_table_new("row_moral", "Moral vignettes of every row at its two strengths");
    const char *sentence, *told = NULL;
    ws_tab_begin(s, t, "row", "row");
    ws_table_column(t, "target", "target", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_tab_columns(t, COLUMNS(c));
    EACH_ROW(s, r, row) {
        if (row->method < 0) continue;
        const ws_method_results *m = &r->m[row->method];
        int plus = ws_sheet_arm(&m->effect, NULL, "plus"), minus = ws_sheet_arm(&m->effect, NULL, "minus");
        if (plus < 0 && minus < 0) continue;
        const char *target = ws_sheet_text(&m->effect, plus < 0 ? minus : plus, "target");
        ws_tab_row(s, t, r, row->name);
        ws_table_text(t, target);
        interval(t, &m->effect, plus, "d_target", "d_target_lo", "d_target_hi");
        interval(t, &m->effect, minus, "d_target", "d_target_lo", "d_target_hi");
        interval(t, &m->effect, plus, "d_others", "d_others_lo", "d_others_hi");
        interval(t, &m->effect, minus, "d_others", "d_others_lo", "d_others_hi");
        int i = si_row(&m->si, target);
        if (i >= 0 && !(ws_sheet_num(&m->si, i, "defined") > 0))
            ws_table_none(t, "undefined: n < 10");
        else
            interval(t, &m->si, i, "si", "si_lo", "si_hi");
        if (ws_vignette_signal(m, &sentence) == 0) told = sentence;
    }
    ws_table_note(t, "Change of logit(is wrong) against the base model, nats; others: mean of the other foundations. "
                     "SI: surgical informedness of the target.");
    if (told) ws_table_note(t, "The vignette readout carries no signal on this model, because %s.", told);
    ws_tab_keep(all, t);
}

void ws_tab_readouts(const ws_show *s, ws_tables *all) {
    answers(s, all);
    moral(s, all);
}
