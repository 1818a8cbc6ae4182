#include "run/tables.h"
#include "base/err.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void keep(ws_tables *all, ws_table *t) {
    if (!ws_table_rows(t)) {
        ws_table_free(t);
        return;
    }
    all->t = ws_xrealloc(all->t, (size_t)(all->n + 1) * sizeof *all->t);
    all->t[all->n++] = t;
}

void ws_tables_free(ws_tables *t) {
    for (int i = 0; i < t->n; i++) ws_table_free(t->t[i]);
    free(t->t);
    *t = (ws_tables){0};
}

int ws_vignette_signal(const ws_method_results *m, const char **sentence) {
    const json_t *v = json_object_get(m->eval, "vignettes");
    const char *s = json_string_value(json_object_get(v, "signal_sentence"));
    *sentence = s ? s : "";
    if (!json_is_object(v)) return -1;
    return json_is_true(json_object_get(v, "signal"));
}

/* The runs that are shown, and what their tables have in common. */
typedef struct show {
    ws_results *const *run;
    int n;
    char *no_best;       /* why nothing may be marked in any table, or NULL */
    char *no_best_moral; /* the same for tables of the vignette readout */
} show;

static void begin(const show *s, ws_table *t, const char *first_key, const char *first_title) {
    if (s->n > 1) ws_table_column(t, "run", "run", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, first_key, first_title, WS_CELL_TEXT, NULL, WS_BEST_NONE);
}
static void row(const show *s, ws_table *t, const ws_results *r, const char *first) {
    ws_table_row(t);
    if (s->n > 1) ws_table_text(t, r->name);
    ws_table_text(t, first);
}
static void number_column(ws_table *t, const char *key, const char *title, const char *format) {
    ws_table_column(t, key, title, WS_CELL_NUM, format, WS_BEST_NONE);
}
static void interval_column(ws_table *t, const char *key, const char *title, const char *format) {
    ws_table_column(t, key, title, WS_CELL_CI, format, WS_BEST_NONE);
}

static void ci(ws_table *t, const ws_sheet *s, int r, const char *v, const char *lo, const char *hi) {
    ws_table_ci(t, ws_sheet_num(s, r, v), ws_sheet_num(s, r, lo), ws_sheet_num(s, r, hi));
}
static void num(ws_table *t, const ws_sheet *s, int r, const char *v) { ws_table_num(t, ws_sheet_num(s, r, v)); }

/* "lora at +4.10" */
static char *setting(const ws_sheet *s, int r) {
    double a = ws_sheet_num(s, r, "alpha");
    if (a == 0) return ws_xstrdup("base");
    return ws_sprintf("%s at %+.3g", ws_sheet_text(s, r, "method"), a);
}

#define EACH_METHOD(s, r, m)                                                                                           \
    for (int i_ = 0; i_ < (s)->n; i_++)                                                                                \
        for (int k_ = 0; k_ < (s)->run[i_]->n; k_++)                                                                   \
            for (ws_results *r = (s)->run[i_]; r; r = NULL)                                                            \
                for (ws_method_results *m = &r->m[k_]; m; m = NULL)

/* Row numbers by ascending alpha: from the NEG end over the base to the POS end; the caller frees. */
static int *by_alpha(const ws_sheet *s) {
    int *order = ws_xcalloc((size_t)s->csv.rows + 1, sizeof *order);
    for (int i = 0; i < s->csv.rows; i++) {
        int j = i;
        for (; j > 0 && ws_sheet_num(s, order[j - 1], "alpha") > ws_sheet_num(s, i, "alpha"); j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    return order;
}

/* ---------- dose, margin ---------- */
static void dose(const show *s, ws_tables *all) {
    ws_table *t = ws_table_new("dose", "Dose: free answers to held-out prompts, no system prompt");
    begin(s, t, "setting", "setting");
    interval_column(t, "score", "score [95%]", "%+.2f");
    number_column(t, "tokens", "tokens", "%.0f");
    number_column(t, "distinct3", "distinct-3", "%.2f");
    number_column(t, "base_ppl", "base ppl", "%.1f");
    number_column(t, "cut", "cut", "%.2f");
    number_column(t, "n", "n", "%.0f");
    number_column(t, "n_topics", "topics", "%.0f");
    EACH_METHOD(s, r, m) {
        int *order = by_alpha(&m->dose);
        for (int k = 0; k < m->dose.csv.rows; k++) {
            int i = order[k];
            char *name = setting(&m->dose, i);
            row(s, t, r, name);
            free(name);
            ci(t, &m->dose, i, "score", "score_lo", "score_hi");
            num(t, &m->dose, i, "tokens"), num(t, &m->dose, i, "distinct3"), num(t, &m->dose, i, "base_ppl");
            num(t, &m->dose, i, "cut"), num(t, &m->dose, i, "n"), num(t, &m->dose, i, "n_topics");
        }
        free(order);
    }
    ws_table_note(t,
                  "score: weighted count of the behaviour's words per answer; intervals by bootstrap over topics. "
                  "base ppl: perplexity of the answers under the unsteered model. cut: share of answers that reached "
                  "the length limit.");
    keep(all, t);
}

static void margin(const show *s, ws_tables *all) {
    ws_table *t = ws_table_new("margin", "Margin: log p(POS answer) - log p(NEG answer) per token, held-out rows");
    begin(s, t, "setting", "setting");
    interval_column(t, "margin", "margin [95%]", "%+.3f");
    interval_column(t, "delta", "change against base [95%]", "%+.3f");
    number_column(t, "n_rows", "rows", "%.0f");
    number_column(t, "n_topics", "topics", "%.0f");
    EACH_METHOD(s, r, m) {
        int *order = by_alpha(&m->margin);
        for (int k = 0; k < m->margin.csv.rows; k++) {
            int i = order[k];
            char *name = setting(&m->margin, i);
            row(s, t, r, name);
            free(name);
            ci(t, &m->margin, i, "margin", "lo", "hi");
            if (ws_sheet_num(&m->margin, i, "alpha") == 0)
                ws_table_none(t, "");
            else
                ci(t, &m->margin, i, "delta", "delta_lo", "delta_hi");
            num(t, &m->margin, i, "n_rows"), num(t, &m->margin, i, "n_topics");
        }
        free(order);
    }
    ws_table_note(t, "nats per token, no system prompt; intervals by bootstrap over topics, the change is paired.");
    keep(all, t);
}

/* ---------- vignettes ---------- */
static void moral(const show *s, ws_table *t) {
    if (s->no_best_moral) ws_table_no_best(t, s->no_best_moral);
}

static const json_t *vignettes_of(const ws_method_results *m) { return json_object_get(m->eval, "vignettes"); }

/* 0: the behaviour names no target foundation (an eval.json without the key comes from a behaviour that does). */
static int target_is_meant(const ws_method_results *m) {
    return !json_is_false(json_object_get(vignettes_of(m), "target_meant"));
}

static int all_aim_at_authority(const show *s) {
    EACH_METHOD(s, r, m) {
        const json_t *v = vignettes_of(m);
        const char *target = json_string_value(json_object_get(v, "target"));
        if (!v) continue;
        if (!target_is_meant(m) || !target || strcmp(target, "Authority") ||
            json_integer_value(json_object_get(v, "target_sign")) != -1)
            return 0;
    }
    return 1;
}

static void effect(const show *s, ws_tables *all) {
    ws_table *t = ws_table_new("effect", "Specific effect: target foundation minus the mean of the others");
    begin(s, t, "setting", "setting");
    ws_table_column(t, "target", "target", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    interval_column(t, "d_target", "d target [95%]", "%+.2f");
    interval_column(t, "d_others", "d others [95%]", "%+.2f");
    interval_column(t, "specific", "specific [95%]", "%+.2f");
    number_column(t, "n", "n", "%.0f");
    int unmeant = 0;
    EACH_METHOD(s, r, m)
    for (int i = 0; i < m->effect.csv.rows; i++) {
        const char *aim = !target_is_meant(m) ? "no aim" : ws_sheet_num(&m->effect, i, "sign") < 0 ? "down" : "up";
        unmeant |= !target_is_meant(m);
        char *name = setting(&m->effect, i),
             *target = ws_sprintf("%s (%s)", ws_sheet_text(&m->effect, i, "target"), aim);
        row(s, t, r, name), ws_table_text(t, target);
        free(name), free(target);
        ci(t, &m->effect, i, "d_target", "d_target_lo", "d_target_hi");
        ci(t, &m->effect, i, "d_others", "d_others_lo", "d_others_hi");
        ci(t, &m->effect, i, "specific", "specific_lo", "specific_hi");
        num(t, &m->effect, i, "n");
    }
    ws_table_note(t, "change of logit(is wrong) in nats; paired bootstrap over vignettes. In brackets: where +alpha is "
                     "meant to move the target.");
    if (unmeant)
        ws_table_note(t, "no aim: the behaviour names no target foundation; this one stands there for comparison with "
                         "other runs.");
    moral(s, t);
    keep(all, t);
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
static void counts_of(ws_str *out, const ws_sheet *s, const char *foundation) {
    double least = INFINITY, most = -INFINITY, total = 0;
    for (int r = 0; r < s->csv.rows; r++) {
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
static void dlogit(const show *s, ws_tables *all, int few) {
    static const char *const two[] = {"Authority", "Care"};
    const char *name[32];
    int n = 0;
    for (int i = 0; few && i < 2; i++) name[n++] = two[i];
    EACH_METHOD(s, r, m)
    for (int i = 0; !few && i < m->dlogit.csv.rows; i++) { /* in order of appearance */
        const char *f = ws_sheet_text(&m->dlogit, i, "foundation");
        int k = 0;
        while (k < n && strcmp(name[k], f)) k++;
        if (k == n && n < 32) name[n++] = f;
    }
    ws_table *t = few ? ws_table_new("dlogit", "dlogit: change of logit(is wrong) against the base model, mean ± std")
                      : ws_table_new("dlogit_foundations", "dlogit for every foundation, mean ± std");
    begin(s, t, "setting", "setting");
    for (int i = 0; i < n; i++) {
        char key[80], title[80];
        snprintf(key, sizeof key, "d_%s", name[i]);
        snprintf(title, sizeof title, "%s%s", few ? "d" : "", name[i]);
        /* what is best depends on what was meant: Authority down and Care unmoved, as in the published table */
        ws_best best = !few || !all_aim_at_authority(s) ? WS_BEST_NONE : i == 0 ? WS_BEST_MIN : WS_BEST_NEAR_ZERO;
        ws_table_column(t, key, title, WS_CELL_SD, "%+.2f", best);
        if (few) snprintf(key, sizeof key, "n_%s", name[i]), number_column(t, key, "n", "%.0f");
    }
    EACH_METHOD(s, r, m)
    for (int i = 0; i < m->dlogit.csv.rows; i++) {
        const ws_sheet *d = &m->dlogit;
        if (foundation_row(d, i, ws_sheet_text(d, 0, "foundation")) != i) continue; /* once per setting */
        char *first = setting(d, i);
        row(s, t, r, first);
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
                num(t, d, at, "n");
        }
        if (strcmp(ws_sheet_text(d, i, "arm"), "plus")) ws_table_unranked(t); /* the arms have opposite intents */
    }
    EACH_METHOD(s, r, m) {
        ws_str ns = {0};
        for (int k = 0; !few && k < n; k++) counts_of(&ns, &m->dlogit, name[k]);
        if (ns.n)
            ws_table_note(t, "n (vignettes x conditions)%s%s, from the fewest to the most over the settings: %s.",
                          s->n > 1 ? " in " : "", s->n > 1 ? r->name : "", ns.p);
        ws_str_free(&ns);
    }
    if (few)
        ws_table_note(t,
                      "nats; n: vignettes x conditions that are valid at both strengths. Rows at -alpha do not compete "
                      "for the marks.");
    moral(s, t);
    keep(all, t);
}

static void si(const show *s, ws_tables *all) {
    ws_table *t = ws_table_new("si", "Surgical informedness of the target foundation");
    begin(s, t, "method", "method");
    ws_table_column(t, "foundation", "foundation", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "si", "SI [95%]", WS_CELL_CI, "%+.1f", WS_BEST_MAX);
    ws_table_column(t, "si_fwd", "SI fwd", WS_CELL_NUM, "%+.2f", WS_BEST_MAX);
    ws_table_column(t, "si_rev", "SI rev", WS_CELL_NUM, "%+.2f", WS_BEST_MAX);
    ws_table_column(t, "separation", "separation [95%]", WS_CELL_CI, "%+.2f", WS_BEST_MAX);
    ws_table_column(t, "pmass_scale", "pmass² x 100", WS_CELL_NUM, "%.1f", WS_BEST_MAX);
    number_column(t, "n_cho", "n_cho", "%.0f");
    number_column(t, "n_rej", "n_rej", "%.0f");
    ws_str how = {0}, last = {0}; /* "k = 2; cells weighted by foundation", once where it is the same in all rows */
    EACH_METHOD(s, r, m)
    for (int i = 0; i < m->si.csv.rows; i++) {
        const char *target = json_string_value(json_object_get(vignettes_of(m), "target"));
        if (!target || strcmp(ws_sheet_text(&m->si, i, "foundation"), target)) continue;
        row(s, t, r, ws_sheet_text(&m->si, i, "method"));
        char *what = ws_sprintf("%s%s", target, target_is_meant(m) ? "" : " (no aim)");
        ws_table_text(t, what);
        free(what);
        if (ws_sheet_num(&m->si, i, "defined") > 0) {
            ci(t, &m->si, i, "si", "si_lo", "si_hi");
            num(t, &m->si, i, "si_fwd"), num(t, &m->si, i, "si_rev");
        } else
            ws_table_none(t, "undefined: n < 10"), ws_table_none(t, "-"), ws_table_none(t, "-");
        ci(t, &m->si, i, "separation", "sep_lo", "sep_hi");
        num(t, &m->si, i, "pmass_scale"), num(t, &m->si, i, "n_cho"), num(t, &m->si, i, "n_rej");
        char *now = ws_sprintf("k = %g; cells weighted by %s", ws_sheet_num(&m->si, i, "k"),
                               ws_sheet_text(&m->si, i, "weighting"));
        if (!last.n || strcmp(last.p, now)) {
            if (last.n) ws_str_addf(&how, "; from %s on: ", s->n > 1 ? r->name : ws_sheet_text(&m->si, i, "method"));
            ws_str_adds(&how, now);
            ws_str_clear(&last), ws_str_adds(&last, now);
        }
        free(now);
    }
    ws_table_note(t,
                  "%s; sign: + is towards the POS persona, fixed before the evaluation. "
                  "n_cho, n_rej: cells where the base model already agrees, or disagrees, with the intent; SI is "
                  "undefined where either is below 10.",
                  how.n ? how.p : "");
    ws_str_free(&how), ws_str_free(&last);
    moral(s, t);
    keep(all, t);
}

static void bare(const show *s, ws_tables *all) {
    ws_table *t = ws_table_new("bare", "Bare model: how wrong it calls the vignettes");
    begin(s, t, "foundation", "foundation");
    ws_table_column(t, "logit", "logit(is wrong) ± std", WS_CELL_SD, "%+.2f", WS_BEST_NONE);
    number_column(t, "w", "p(wrong)", "%.2f");
    number_column(t, "n", "n", "%.0f");
    number_column(t, "n_total", "of", "%.0f");
    for (int i = 0; i < s->n; i++) /* the base is the same in every evaluation of a run */
        for (int k = 0; k < s->run[i]->n; k++) {
            const ws_sheet *f = &s->run[i]->m[k].foundations;
            int any = 0;
            for (int j = 0; j < f->csv.rows; j++) {
                if (strcmp(ws_sheet_text(f, j, "arm"), "base")) continue;
                any = 1;
                row(s, t, s->run[i], ws_sheet_text(f, j, "foundation"));
                ws_table_sd(t, ws_sheet_num(f, j, "logit"), ws_sheet_num(f, j, "logit_std"));
                num(t, f, j, "w"), num(t, f, j, "n"), num(t, f, j, "n_total");
            }
            if (any) break;
        }
    moral(s, t);
    keep(all, t);
}

/* ---------- calibration ---------- */
static void calibration(const show *s, ws_tables *all) {
    static const char *const side[] = {"pos", "neg"};
    ws_table *t = ws_table_new("calibration", "Calibration: the strength at which the KL budget is reached");
    begin(s, t, "method", "method");
    number_column(t, "alpha", "alpha", "%+.3f");
    interval_column(t, "p95", "p95 KL [95%]", "%.3f");
    number_column(t, "target", "target", "%.2f");
    number_column(t, "iterations", "probes", "%.0f");
    number_column(t, "audit_ratio", "audit ratio", "%.2f");
    number_column(t, "rel_norm", "|alpha dW|/|W|", "%.4f");
    ws_table_column(t, "status", "status", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    for (int i = 0; i < s->n; i++) {
        const ws_sheet *q = &s->run[i]->summary;
        for (int j = 0; j < q->csv.rows; j++)
            for (int k = 0; k < 2; k++) {
                char c[7][32];
                static const char *const part[] = {"alpha_",      "p95_at_",      "p95_lo_",  "p95_hi_",
                                                   "iterations_", "audit_ratio_", "rel_norm_"};
                for (int p = 0; p < 7; p++) snprintf(c[p], sizeof c[p], "%s%s", part[p], side[k]);
                double alpha = ws_sheet_num(q, j, c[0]);
                if (isnan(alpha)) continue; /* a one-sided method */
                row(s, t, s->run[i], ws_sheet_text(q, j, "method"));
                ws_table_num(t, k ? -alpha : alpha);
                ci(t, q, j, c[1], c[2], c[3]);
                num(t, q, j, "target_p95"), num(t, q, j, c[4]), num(t, q, j, c[5]), num(t, q, j, c[6]);
                char status[32];
                snprintf(status, sizeof status, "status_%s", side[k]);
                ws_table_text(t, ws_sheet_text(q, j, status));
            }
        for (int j = 0; j < q->csv.rows; j++) {
            ws_table_note(t, "%s%s%s: %s prompts x %s tokens; audit ratio: p95 on %s other prompts / p95 here.",
                          s->n > 1 ? s->run[i]->name : "", s->n > 1 ? ", " : "", ws_sheet_text(q, j, "method"),
                          ws_sheet_text(q, j, "n_prompts"), ws_sheet_text(q, j, "n_tokens"),
                          ws_sheet_text(q, j, "n_audit"));
            if (*ws_sheet_text(q, j, "note")) ws_table_note(t, "%s", ws_sheet_text(q, j, "note"));
        }
    }
    keep(all, t);
}

/* ---------- data ---------- */
static double field(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

/* What else than the behaviour tells the two sides' answers apart (conventions.md 4.8, row 13). */
static void data(const show *s, ws_tables *all) {
    ws_table *t = ws_table_new("data", "Training answers of both sides");
    begin(s, t, "side", "side");
    number_column(t, "answers", "answers", "%.0f");
    number_column(t, "distinct", "distinct", "%.0f");
    number_column(t, "tokens", "tokens", "%.1f");
    number_column(t, "words", "words", "%.1f");
    number_column(t, "cut", "cut", "%.2f");
    number_column(t, "leak", "own persona's words", "%.2f");
    number_column(t, "leak_other", "the other's", "%.2f");
    ws_table_column(t, "score", "score ± se", WS_CELL_SD, "%+.2f", WS_BEST_NONE);
    for (int i = 0; i < s->n; i++) {
        const json_t *d = s->run[i]->data;
        for (int k = 0; d && k < 2; k++) {
            const json_t *q = json_object_get(d, k ? "neg" : "pos");
            row(s, t, s->run[i], k ? "NEG" : "POS");
            ws_table_num(t, field(d, "rows")), ws_table_num(t, field(q, "distinct"));
            ws_table_num(t, field(q, "mean_tokens")), ws_table_num(t, field(q, "mean_words"));
            ws_table_num(t, field(q, "cut_share")), ws_table_num(t, field(q, "persona_leak"));
            ws_table_num(t, field(q, "persona_leak_other"));
            ws_table_sd(t, field(q, "score"), field(q, "score_se"));
        }
        const json_t *b = json_object_get(d, "bag_of_words");
        if (b)
            ws_table_note(
                t,
                "%s%sWords alone tell POS from NEG on topics left out in %.0f %% of the answers (naive Bayes; 50 %% is "
                "chance).",
                s->n > 1 ? s->run[i]->name : "", s->n > 1 ? ": " : "", 100 * field(b, "accuracy"));
    }
    ws_table_note(
        t, "cut: share that reached the length limit. own persona's words: share of answers with a word that stands in "
           "their own persona alone; the other's: with one of the other side's.");
    keep(all, t);
}

/* Why strengths do not stand for the same budget: a search that ended elsewhere; NULL when all are ok. */
static char *off_budget(const show *s) {
    static const char *const column[] = {"status_pos", "status_neg"};
    for (int i = 0; i < s->n; i++) {
        const ws_sheet *q = &s->run[i]->summary;
        for (int j = 0; j < q->csv.rows; j++)
            for (int k = 0; k < 2; k++) {
                const char *status = ws_sheet_text(q, j, column[k]);
                if (strcmp(status, "ok") && strcmp(status, "reference") && strcmp(status, "none"))
                    return ws_sprintf("%s%s%s at alpha %s 0 was not calibrated to the KL budget (%s).",
                                      s->n > 1 ? s->run[i]->name : "", s->n > 1 ? ", " : "",
                                      ws_sheet_text(q, j, "method"), k ? "<" : ">", status);
            }
    }
    return NULL;
}

/* Why figures of the vignettes are not comparable: another set, question, price or weighting; NULL when they are. */
static char *other_questions(const show *s) {
    static const char *const key[][2] = {{"vignettes_hash", "vignettes"},
                                         {"frames_hash", "questions"},
                                         {"k", "price k of a broken cell"},
                                         {"loading_weighted", "weighting"},
                                         {"floor", "probability floor"}};
    const json_t *first = NULL;
    EACH_METHOD(s, r, m) {
        const json_t *v = vignettes_of(m);
        if (!first) first = v;
        for (size_t i = 0; v && i < sizeof key / sizeof *key; i++) {
            const json_t *a = json_object_get(first, key[i][0]), *b = json_object_get(v, key[i][0]);
            int same = json_is_number(a) && json_is_number(b) ? json_number_value(a) == json_number_value(b)
                                                              : json_equal((json_t *)a, (json_t *)b);
            if (a && b && !same) return ws_sprintf("the evaluations differ in the %s.", key[i][1]);
        }
    }
    return NULL;
}

ws_tables ws_tables_build(ws_results *const *run, int n_runs) {
    ws_tables all = {0};
    show s = {run, n_runs, NULL, NULL};
    const char *sentence;
    for (int i = 1; i < n_runs && !s.no_best; i++) {
        if (strcmp(ws_results_model_hash(run[i]), ws_results_model_hash(run[0])))
            s.no_best = ws_xstrdup("the runs are of different base models.");
        else if (run[i]->summary.csv.rows && run[0]->summary.csv.rows &&
                 ws_sheet_num(&run[i]->summary, 0, "target_p95") != ws_sheet_num(&run[0]->summary, 0, "target_p95"))
            s.no_best = ws_xstrdup("the runs have different KL budgets.");
    }
    EACH_METHOD(&s, r, m)
    if (!s.no_best && !s.no_best_moral && ws_vignette_signal(m, &sentence) == 0)
        s.no_best_moral = ws_sprintf("the vignette readout carries no signal on this model, because %s.", sentence);
    if (!s.no_best) s.no_best = off_budget(&s);
    if (s.no_best && !s.no_best_moral) s.no_best_moral = ws_xstrdup(s.no_best);
    if (!s.no_best_moral) s.no_best_moral = other_questions(&s);
    dose(&s, &all);
    margin(&s, &all);
    effect(&s, &all);
    dlogit(&s, &all, 1);
    dlogit(&s, &all, 0);
    si(&s, &all);
    bare(&s, &all);
    calibration(&s, &all);
    data(&s, &all);
    free(s.no_best);
    free(s.no_best_moral);
    return all;
}
