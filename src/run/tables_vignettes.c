/* src/run/tables_vignettes.c - the tables of the vignette readout: one set for each mode, never two modes in one table. */
#include "calibrate/calibrate.h"
#include "run/tables_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ws_vignette_signal(const ws_method_results *m, const char **sentence) {
    const json_t *v = json_object_get(m->eval, "vignettes");
    const char *s = json_string_value(json_object_get(v, "signal_sentence"));
    *sentence = s ? s : "";
    if (!json_is_object(v)) return -1;
    return json_is_true(json_object_get(v, "signal"));
}

static const json_t *vignettes_of(const ws_method_results *m) { return json_object_get(m->eval, "vignettes"); }

/* The budget of its thoughts; 0: answers without thinking.  -1: no vignettes were asked. */
static int budget_of(const ws_method_results *m) {
    const json_t *v = vignettes_of(m);
    return v ? (int)json_integer_value(json_object_get(v, "max_think")) : -1;
}
#define EACH_VIGNETTES(s, r, m)                                                                                        \
    EACH_METHOD(s, r, m)                                                                                               \
    if (budget_of(m) == (s)->think)

/* "si", or "si_think64" where the runs hold other modes too. */
static ws_table *moral(const ws_show *s, const char *name, const char *caption) {
    char *full = s->modes > 1 && s->think ? ws_sprintf("%s_think%d", name, s->think) : ws_xstrdup(name);
    ws_table *t = ws_table_new(full, caption);
    free(full);
    return t;
}

static void keep_moral(const ws_show *s, ws_tables *all, ws_table *t) {
    int outside = 0, here = 0;
    EACH_VIGNETTES(s, r, m) {
        const char *mode = json_string_value(json_object_get(vignettes_of(m), "mode"));
        *(mode && !strcmp(mode, "outside") ? &outside : &here) = 1;
    }
    if (outside) ws_table_note(t, "%s answers were computed elsewhere.", here ? "Some" : "The");
    if (here && s->think)
        ws_table_note(t, "Mode B: answers after a thought of at most %d tokens, which is steered too.", s->think);
    else if (here)
        ws_table_note(t, "Mode A: answers without thinking.");
    if (s->no_best_moral) ws_table_no_best(t, s->no_best_moral);
    ws_tab_keep(all, t);
}

/* 0: the behaviour names no target foundation (an eval.json without the key comes from a behaviour that does). */
static int target_is_meant(const ws_method_results *m) {
    return !json_is_false(json_object_get(vignettes_of(m), "target_meant"));
}

static int all_aim_at_authority(const ws_show *s) {
    EACH_VIGNETTES(s, r, m) {
        const json_t *v = vignettes_of(m);
        const char *target = json_string_value(json_object_get(v, "target"));
        if (!target_is_meant(m) || !target || strcmp(target, "Authority") ||
            json_integer_value(json_object_get(v, "target_sign")) != -1)
            return 0;
    }
    return 1;
}

static void effect(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{INTERVAL("d_target", "d target [95%]", "%+.2f")},
                                  {INTERVAL("d_others", "d others [95%]", "%+.2f")},
                                  {INTERVAL("specific", "specific [95%]", "%+.2f")},
                                  {NUMBER("n", "n", "%.0f")}};
    ws_table *t = moral(s, "effect", "Specific effect: target foundation minus the mean of the others");
    ws_tab_begin(s, t, "setting", "setting");
    ws_table_column(t, "target", "target", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_tab_columns(t, COLUMNS(c));
    int unmeant = 0;
    EACH_VIGNETTES(s, r, m)
    for (int i = 0; i < m->effect.csv.rows; i++) {
        const char *aim = !target_is_meant(m) ? "no aim" : ws_sheet_num(&m->effect, i, "sign") < 0 ? "down" : "up";
        unmeant |= !target_is_meant(m);
        char *name = ws_tab_setting(&m->effect, i),
             *target = ws_sprintf("%s (%s)", ws_sheet_text(&m->effect, i, "target"), aim);
        ws_tab_row(s, t, r, name), ws_table_text(t, target);
        free(name), free(target);
        ws_tab_cells(t, COLUMNS(c), &m->effect, i);
    }
    ws_table_note(t, "change of logit(is wrong) in nats; paired bootstrap over vignettes. In brackets: where +alpha is "
                     "meant to move the target.");
    if (unmeant)
        ws_table_note(t, "no aim: the behaviour names no target foundation; this one stands there for comparison with "
                         "other runs.");
    keep_moral(s, all, t);
}

static void thinking(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {
        {INTERVAL("closed", "closed [95%]", "%.2f")},   {NUMBER("forced", "forced", "%.0f")},
        {NUMBER("own_prefill", "own prefill", "%.0f")}, {INTERVAL("tokens", "tokens [95%]", "%.1f")},
        {INTERVAL("loop", "loop [95%]", "%.2f")},       {NUMBER("n", "n", "%.0f")}};
    ws_table *t = moral(s, "thinking", "Thinking: what became of the thoughts before the answers");
    ws_tab_begin(s, t, "setting", "setting"), ws_tab_columns(t, COLUMNS(c));
    EACH_VIGNETTES(s, r, m) ws_tab_settings(s, t, r, &m->thinking, COLUMNS(c));
    ws_table_note(t,
                  "closed: share of thoughts that the model ended itself; forced: those that the budget ended; own "
                  "prefill: those after which it began its answer as asked. loop: share of the runs of 4 tokens that "
                  "stood before in the same thought. Intervals by bootstrap over vignettes.");
    keep_moral(s, all, t);
}

static int foundation_row(const ws_sheet *s, int like, const char *foundation) {
    for (int r = 0; r < s->csv.rows; r++)
        if (!strcmp(ws_sheet_text(s, r, "foundation"), foundation) &&
            !strcmp(ws_sheet_text(s, r, "method"), ws_sheet_text(s, like, "method")) &&
            ws_sheet_num(s, r, "alpha") == ws_sheet_num(s, like, "alpha"))
            return r;
    return -1;
}

/* "Care 39..40 of 40": values that are no number at some setting are missing there, so n differs between settings. */
static void counts_of(ws_str *out, const ws_show *show, const ws_results *of, const char *foundation) {
    double least = INFINITY, most = -INFINITY, total = 0;
    EACH_VIGNETTES(show, run, m)
    for (int r = 0; r < m->dlogit.csv.rows && run == of; r++) {
        const ws_sheet *s = &m->dlogit;
        if (strcmp(ws_sheet_text(s, r, "foundation"), foundation)) continue;
        double n = ws_sheet_num(s, r, "n");
        least = fmin(least, n), most = fmax(most, n), total = fmax(total, ws_sheet_num(s, r, "n_total"));
    }
    if (most < least) return;
    ws_str_addf(out, "%s%s %.0f", out->n ? ", " : "", foundation, least);
    if (most > least) ws_str_addf(out, "..%.0f", most);
    if (least < total) ws_str_addf(out, " of %.0f", total);
}

/* A row per steered setting, a column per foundation; `few` picks the two of the published table. */
static void dlogit(const ws_show *s, ws_tables *all, int few) {
    static const char *const two[] = {"Authority", "Care"};
    const char *name[32];
    int n = 0;
    for (int i = 0; few && i < 2; i++) name[n++] = two[i];
    EACH_VIGNETTES(s, r, m)
    for (int i = 0; !few && i < m->dlogit.csv.rows; i++) { /* in order of appearance */
        const char *f = ws_sheet_text(&m->dlogit, i, "foundation");
        int k = 0;
        while (k < n && strcmp(name[k], f)) k++;
        if (k == n && n < 32) name[n++] = f;
    }
    ws_table *t = few ? moral(s, "dlogit", "dlogit: change of logit(is wrong) against the base model, mean ± std")
                      : moral(s, "dlogit_foundations", "dlogit for every foundation, mean ± std");
    ws_tab_begin(s, t, "setting", "setting");
    for (int i = 0; i < n; i++) {
        char key[80], title[80];
        snprintf(key, sizeof key, "d_%s", name[i]);
        snprintf(title, sizeof title, "%s%s", few ? "d" : "", name[i]);
        /* what is best depends on what was meant: Authority down and Care unmoved, as in the published table */
        ws_best best = !few || !all_aim_at_authority(s) ? WS_BEST_NONE : i == 0 ? WS_BEST_MIN : WS_BEST_NEAR_ZERO;
        ws_table_column(t, key, title, WS_CELL_SD, "%+.2f", best);
        if (few) {
            snprintf(key, sizeof key, "n_%s", name[i]);
            ws_table_column(t, key, "n", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
        }
    }
    EACH_VIGNETTES(s, r, m)
    for (int i = 0; i < m->dlogit.csv.rows; i++) {
        const ws_sheet *d = &m->dlogit;
        if (foundation_row(d, i, ws_sheet_text(d, 0, "foundation")) != i) continue; /* once per setting */
        char *first = ws_tab_setting(d, i);
        ws_tab_row(s, t, r, first);
        free(first);
        for (int k = 0; k < n; k++) {
            int at = foundation_row(d, i, name[k]);
            if (at < 0)
                ws_table_none(t, "-");
            else
                ws_table_sd(t, ws_sheet_num(d, at, "mean"), ws_sheet_num(d, at, "std"));
            if (few && at < 0)
                ws_table_none(t, "-");
            else if (few)
                ws_tab_num(t, d, at, "n");
        }
        if (strcmp(ws_sheet_text(d, i, "arm"), "plus")) ws_table_unranked(t); /* the arms have opposite intents */
    }
    for (int i = 0; i < s->n && !few; i++) {
        ws_str ns = {0};
        for (int k = 0; k < n; k++) counts_of(&ns, s, s->run[i], name[k]);
        if (ns.n)
            ws_table_note(t, "n (vignettes x conditions)%s%s, from the fewest to the most over the settings: %s.",
                          s->n > 1 ? " in " : "", s->n > 1 ? s->run[i]->name : "", ns.p);
        ws_str_free(&ns);
    }
    if (few)
        ws_table_note(t,
                      "nats; n: vignettes x conditions that are valid at both strengths. Rows at -alpha do not compete "
                      "for the marks.");
    keep_moral(s, all, t);
}

static void si(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {
        {INTERVAL("si", "SI [95%]", "%+.1f"), .best = WS_BEST_MAX},
        {NUMBER("si_raw", "without pmass", "%+.2f"), .best = WS_BEST_MAX},
        {NUMBER("si_fwd", "SI fwd", "%+.2f"), .best = WS_BEST_MAX},
        {NUMBER("si_rev", "SI rev", "%+.2f"), .best = WS_BEST_MAX},
        {INTERVAL("separation", "separation [95%]", "%+.2f"), .lo = "sep_lo", .hi = "sep_hi", .best = WS_BEST_MAX},
        {NUMBER("pmass_scale", "pmass² x 100", "%.1f"), .best = WS_BEST_MAX},
        {NUMBER("n_cho", "n_cho", "%.0f")},
        {NUMBER("n_rej", "n_rej", "%.0f")}};
    enum { OF_SI = 4 }; /* the first columns, which may be undefined */
    ws_table *t = moral(s, "si", "Surgical informedness of the target foundation");
    ws_tab_begin(s, t, "method", "method");
    ws_table_column(t, "foundation", "foundation", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_tab_columns(t, COLUMNS(c));
    ws_str how = {0}, last = {0}; /* "k = 2; cells weighted by foundation", once where it is the same in all rows */
    EACH_VIGNETTES(s, r, m)
    for (int i = 0; i < m->si.csv.rows; i++) {
        const char *target = json_string_value(json_object_get(vignettes_of(m), "target"));
        if (!target || strcmp(ws_sheet_text(&m->si, i, "foundation"), target)) continue;
        ws_tab_row(s, t, r, ws_sheet_text(&m->si, i, "method"));
        char *what = ws_sprintf("%s%s", target, target_is_meant(m) ? "" : " (no aim)");
        ws_table_text(t, what);
        free(what);
        if (ws_sheet_num(&m->si, i, "defined") > 0)
            ws_tab_cells(t, c, OF_SI, &m->si, i);
        else
            ws_table_none(t, "undefined: n < 10"), ws_table_none(t, "-"), ws_table_none(t, "-"), ws_table_none(t, "-");
        ws_tab_cells(t, c + OF_SI, (int)(sizeof c / sizeof *c) - OF_SI, &m->si, i);
        char *now = ws_sprintf("k = %g; cells weighted by %s", ws_sheet_num(&m->si, i, "k"),
                               ws_sheet_text(&m->si, i, "weighting"));
        if (!last.n || strcmp(last.p, now)) {
            if (last.n) ws_str_addf(&how, "; from %s on: ", s->n > 1 ? r->name : ws_sheet_text(&m->si, i, "method"));
            ws_str_adds(&how, now);
            ws_str_clear(&last), ws_str_adds(&last, now);
        }
        free(now);
    }
    int after = 0;
    EACH_VIGNETTES(s, r, m) {
        const char *sign = json_string_value(json_object_get(vignettes_of(m), "sign"));
        after |= sign && strcmp(sign, "persona");
    }
    ws_table_note(t,
                  "%s; sign: %s. "
                  "n_cho, n_rej: cells where the base model already agrees, or disagrees, with the intent; SI is "
                  "undefined where either is below 10.",
                  how.n ? how.p : "",
                  after
                      ? "+ is the side on which the target moves further as it was meant to, chosen on this very effect"
                      : "+ is towards the POS persona, fixed before the evaluation");
    ws_str_free(&how), ws_str_free(&last);
    keep_moral(s, all, t);
}

static void bare(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{SPREAD("logit", "logit(is wrong) ± std", "%+.2f")},
                                  {NUMBER("w", "p(wrong)", "%.2f")},
                                  {NUMBER("n", "n", "%.0f")},
                                  {NUMBER("n_total", "of", "%.0f")}};
    ws_table *t = moral(s, "bare", "Bare model: how wrong it calls the vignettes");
    const ws_results *done = NULL; /* the base is the same in every evaluation of a run */
    ws_tab_begin(s, t, "foundation", "foundation"), ws_tab_columns(t, COLUMNS(c));
    EACH_VIGNETTES(s, r, m)
    for (int i = 0, first = r != done; first && i < m->foundations.csv.rows; i++) {
        if (strcmp(ws_sheet_text(&m->foundations, i, "arm"), "base")) continue;
        ws_tab_row(s, t, r, ws_sheet_text(&m->foundations, i, "foundation"));
        ws_tab_cells(t, COLUMNS(c), &m->foundations, i);
        done = r;
    }
    keep_moral(s, all, t);
}

/* Why strengths do not stand for the same budget: a search that ended elsewhere; NULL when all are ok. */
static char *off_budget(const ws_show *s) {
    static const char *const side[] = {"status_pos", "status_neg"};
    for (int i = 0; i < s->n; i++) {
        const ws_sheet *q = &s->run[i]->summary;
        for (int j = 0; j < q->csv.rows; j++)
            for (int k = 0; k < 2; k++) {
                const char *status = ws_sheet_text(q, j, side[k]);
                if (!ws_calibration_stands(status))
                    return ws_sprintf("%s%s%s at alpha %s 0 was not calibrated to the KL budget (%s).",
                                      s->n > 1 ? s->run[i]->name : "", s->n > 1 ? ", " : "",
                                      ws_sheet_text(q, j, "method"), k ? "<" : ">", status);
            }
    }
    return NULL;
}

/* Why figures of the vignettes are not comparable: another set, question, price or weighting; NULL when they are. */
static char *other_questions(const ws_show *s) {
    static const char *const key[][2] = {{"vignettes_hash", "vignettes"},
                                         {"frames_hash", "questions"},
                                         {"k", "price k of a broken cell"},
                                         {"loading_weighted", "weighting"},
                                         {"floor", "probability floor"}};
    const json_t *first = NULL;
    EACH_VIGNETTES(s, r, m) {
        const json_t *v = vignettes_of(m);
        if (!first) first = v;
        for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
            const json_t *a = json_object_get(first, key[i][0]), *b = json_object_get(v, key[i][0]);
            int same = json_is_number(a) && json_is_number(b) ? json_number_value(a) == json_number_value(b)
                                                              : json_equal((json_t *)a, (json_t *)b);
            if (a && b && !same) return ws_sprintf("the evaluations differ in the %s.", key[i][1]);
        }
    }
    return NULL;
}

/* Budgets of thought that occur, ascending; the caller frees. */
static int *budgets(const ws_show *s, int *n) {
    int *list = NULL;
    *n = 0;
    EACH_METHOD(s, r, m) {
        int b = budget_of(m), at = 0;
        while (at < *n && list[at] < b) at++;
        if (b < 0 || (at < *n && list[at] == b)) continue;
        list = ws_xrealloc(list, (size_t)(*n + 1) * sizeof *list);
        memmove(list + at + 1, list + at, (size_t)((*n)++ - at) * sizeof *list);
        list[at] = b;
    }
    return list;
}

/* Why nothing may be marked in the tables of this mode; NULL: marks stand. */
static char *no_best_moral(const ws_show *s) {
    const char *sentence;
    if (s->no_best) return ws_xstrdup(s->no_best);
    EACH_VIGNETTES(s, r, m)
    if (ws_vignette_signal(m, &sentence) == 0)
        return ws_sprintf("the vignette readout carries no signal on this model, because %s.", sentence);
    char *why = off_budget(s);
    return why ? why : other_questions(s);
}

void ws_tab_vignettes(ws_show *s, ws_tables *all) {
    int *budget = budgets(s, &s->modes);
    for (int i = 0; i < s->modes; i++) {
        s->think = budget[i];
        s->no_best_moral = no_best_moral(s);
        effect(s, all);
        dlogit(s, all, 1);
        dlogit(s, all, 0);
        si(s, all);
        bare(s, all);
        thinking(s, all);
        free(s->no_best_moral);
    }
    free(budget);
}
