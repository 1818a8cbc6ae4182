#include "run/tables_impl.h"
#include "eval/protocol.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ws_tables_free(ws_tables *t) {
    for (int i = 0; i < t->n; i++) ws_table_free(t->t[i]);
    free(t->t);
    *t = (ws_tables){0};
}

/* ---------- dose, margin ---------- */
/* Of texts whose think block was closed; NaN where none has one, or an earlier version wrote the file. */
static double closed_share(const ws_sheet *s, int row) {
    return ws_csv_col(&s->csv, "closed") < 0 ? (double)NAN : ws_sheet_num(s, row, "closed");
}

static void dose(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{INTERVAL("score", "score [95%]", "%+.2f")},
                                  {NUMBER("tokens", "tokens", "%.0f")},
                                  {NUMBER("distinct3", "distinct-3", "%.2f")},
                                  {NUMBER("base_ppl", "base ppl", "%.1f")},
                                  {NUMBER("cut", "cut", "%.2f")},
                                  {NUMBER("n", "n", "%.0f")},
                                  {NUMBER("n_topics", "topics", "%.0f")},
                                  {NUMBER("closed", "closed", "%.2f"), .optional = 1}};
    ws_table *t = ws_table_new("dose", "Dose: free answers to held-out prompts, no system prompt");
    int thinks = 0; /* some texts have a think block */
    EACH_METHOD(s, r, m)
    for (int k = 0; k < m->dose.csv.rows; k++) thinks |= isfinite(closed_share(&m->dose, k));
    int n = (int)(sizeof c / sizeof *c) - !thinks;
    ws_tab_begin(s, t, "setting", "setting"), ws_tab_columns(t, c, n);
    EACH_METHOD(s, r, m) ws_tab_settings(s, t, r, &m->dose, c, n);
    ws_table_note(t,
                  "score: weighted count of the behaviour's words per answer; intervals by bootstrap over topics. "
                  "base ppl: perplexity of the answers under the unsteered model. cut: share of answers that reached "
                  "the length limit.");
    if (thinks)
        ws_table_note(t, "The model reasons first: score counts the answer behind the reasoning, all else the whole "
                         "response; closed: share of responses that left their think block (the others have no answer "
                         "and no score).");
    ws_tab_keep(all, t);
}

static void margin(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{INTERVAL("margin", "margin [95%]", "%+.3f"), .lo = "lo", .hi = "hi"},
                                  {INTERVAL("delta", "change against base [95%]", "%+.3f"), .steered = 1},
                                  {NUMBER("n_rows", "rows", "%.0f")},
                                  {NUMBER("n_topics", "topics", "%.0f")}};
    ws_table *t = ws_table_new("margin", "Margin: log p(POS answer) - log p(NEG answer) per token, held-out rows");
    ws_tab_begin(s, t, "setting", "setting"), ws_tab_columns(t, COLUMNS(c));
    EACH_METHOD(s, r, m) ws_tab_settings(s, t, r, &m->margin, COLUMNS(c));
    ws_table_note(t, "nats per token, no system prompt; intervals by bootstrap over topics, the change is paired.");
    ws_tab_keep(all, t);
}

/* ---------- calibration ---------- */
static void calibration(const ws_show *s, ws_tables *all) {
    static const char *const side[] = {"pos", "neg"};
    static const ws_column c[] = {{NUMBER("alpha", "alpha", "%+.3f")},
                                  {INTERVAL("p95", "p95 KL [95%]", "%.3f")},
                                  {NUMBER("target", "target", "%.2f")},
                                  {NUMBER("iterations", "probes", "%.0f")},
                                  {NUMBER("audit_ratio", "audit ratio", "%.2f")},
                                  {NUMBER("rel_norm", "|alpha dW|/|W|", "%.4f")},
                                  {WORDS("status", "status")}};
    ws_table *t = ws_table_new("calibration", "Calibration: the strength at which the KL budget is reached");
    ws_tab_begin(s, t, "method", "method"), ws_tab_columns(t, COLUMNS(c));
    for (int i = 0; i < s->n; i++) {
        const ws_sheet *q = &s->run[i]->summary;
        for (int j = 0; j < q->csv.rows; j++)
            for (int k = 0; k < 2; k++) {
                char of[7][32];
                static const char *const part[] = {"alpha_",      "p95_at_",      "p95_lo_",  "p95_hi_",
                                                   "iterations_", "audit_ratio_", "rel_norm_"};
                for (int p = 0; p < 7; p++) snprintf(of[p], sizeof of[p], "%s%s", part[p], side[k]);
                double alpha = ws_sheet_num(q, j, of[0]);
                if (isnan(alpha)) continue; /* a one-sided method */
                ws_tab_row(s, t, s->run[i], ws_sheet_text(q, j, "method"));
                ws_table_num(t, k ? -alpha : alpha);
                ws_tab_ci(t, q, j, of[1], of[2], of[3]);
                ws_tab_num(t, q, j, "target_p95"), ws_tab_num(t, q, j, of[4]), ws_tab_num(t, q, j, of[5]),
                    ws_tab_num(t, q, j, of[6]);
                char status[32];
                snprintf(status, sizeof status, "status_%s", side[k]);
                ws_table_text(t, ws_sheet_text(q, j, status));
            }
        for (int j = 0; j < q->csv.rows; j++) {
            const char *who = s->run[i]->n_rows ? "every row" : ws_sheet_text(q, j, "method"),
                       *note = ws_sheet_text(q, j, "note");
            ws_table_note(t, "%s%s%s: %s prompts x %s tokens; audit ratio: p95 on %s other prompts / p95 here.",
                          s->n > 1 ? s->run[i]->name : "", s->n > 1 ? ", " : "", who, ws_sheet_text(q, j, "n_prompts"),
                          ws_sheet_text(q, j, "n_tokens"), ws_sheet_text(q, j, "n_audit"));
            if (*note && s->run[i]->n_rows)
                ws_table_note(t, "%s: %s", ws_sheet_text(q, j, "method"), note);
            else if (*note)
                ws_table_note(t, "%s", note);
        }
    }
    ws_tab_mirrored(s, t);
    ws_tab_keep(all, t);
}

/* ---------- data ---------- */
static double field(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

/* What else than the behaviour tells the two sides' answers apart (conventions.md 4.8, row 13). */
static void data(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{NUMBER("answers", "answers", "%.0f")},
                                  {NUMBER("distinct", "distinct", "%.0f")},
                                  {NUMBER("tokens", "tokens", "%.1f")},
                                  {NUMBER("words", "words", "%.1f")},
                                  {NUMBER("cut", "cut", "%.2f")},
                                  {NUMBER("leak", "own persona's words", "%.2f")},
                                  {NUMBER("leak_other", "the other's", "%.2f")},
                                  {SPREAD("score", "score ± se", "%+.2f")}};
    ws_table *t = ws_table_new("data", "Training answers of both sides");
    ws_tab_begin(s, t, "side", "side"), ws_tab_columns(t, COLUMNS(c));
    for (int i = 0; i < s->n; i++) {
        const json_t *d = s->run[i]->data;
        for (int k = 0; d && k < 2; k++) {
            const json_t *q = json_object_get(d, k ? "neg" : "pos");
            ws_tab_row(s, t, s->run[i], k ? "NEG" : "POS");
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
    ws_tab_keep(all, t);
}

/* ---------- canaries ---------- */
static void canaries(const ws_show *s, ws_tables *all) {
    static const ws_column c[] = {{INTERVAL("distinct3", "distinct-3 [95%]", "%.2f")},
                                  {INTERVAL("loop", "loop score [95%]", "%.2f")},
                                  {INTERVAL("json", "valid JSON [95%]", "%.2f")},
                                  {INTERVAL("mass", "true or false [95%]", "%.2f")},
                                  {NUMBER("n", "n", "%.0f")},
                                  {WORDS("why", "broken")}};
    ws_table *t = ws_table_new("canaries", "Canaries: is the model still whole at these strengths?");
    ws_tab_begin(s, t, "setting", "setting"), ws_tab_columns(t, COLUMNS(c));
    EACH_METHOD(s, r, m) ws_tab_settings(s, t, r, &m->canaries, COLUMNS(c));
    ws_table_note(
        t, "On calibration prompts, greedy. distinct-3 and loop score (share of runs of 4 tokens that stood before) of "
           "a plain answer; valid JSON: answers that parse where an object was asked for; true or false: "
           "probability of both together where one was asked for. Intervals by bootstrap over prompts.");
    ws_table_note(t,
                  "Broken: distinct-3 under half of the base's; loop score more than 0.1, or valid JSON more than 0.2 "
                  "worse than the base's with the paired interval off 0; true or false under 0.75 of the base's.");
    ws_tab_keep(all, t);
}

/* ---------- whose figures these are ---------- */
static double or_else(const json_t *o, const char *key, double otherwise) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : json_is_true(v) ? 1 : json_is_false(v) ? 0 : otherwise;
}
/* How the answers of this run came about is not known: they were computed elsewhere. */
static int is_outside(const ws_results *r) {
    const json_t *v = r->n ? json_object_get(r->m[0].eval, "vignettes") : NULL;
    const char *mode = json_string_value(json_object_get(v, "mode"));
    return mode && !strcmp(mode, "outside");
}

static void label(const ws_results *r, ws_str *s) {
    const json_t *v = NULL;
    for (int i = 0; i < r->n && !v; i++) v = json_object_get(r->m[i].eval, "vignettes");
    ws_str_adds(s, "protocol ");
    const ws_protocol *p = ws_protocol_find(ws_results_protocol(r));
    if (p && json_is_object(v))
        ws_protocol_label(p->name, is_outside(r) ? p->max_think : (int)or_else(v, "max_think", p->max_think),
                          or_else(v, "floor", p->floor), or_else(v, "k", p->k),
                          (int)or_else(v, "loading_weighted", p->loading_weighted), s);
    else
        ws_str_adds(s, ws_results_protocol(r));
    const char *weights = ws_results_weights(r);
    ws_str_addf(s, ", base model %s, ", ws_results_model(r));
    if (!strcmp(weights, "?"))
        ws_str_adds(s, "type of weights not recorded");
    else
        ws_str_addf(s, "%s weights", weights);
}

void ws_tables_whose(ws_results *const *run, int n, ws_table *t) {
    ws_str all = {0}, one = {0}, first = {0};
    int same = 1;
    label(run[0], &first);
    for (int i = 1; i < n; i++) {
        ws_str_clear(&one), label(run[i], &one);
        same &= !strcmp(one.p, first.p);
    }
    for (int i = 0; i < n && !same; i++) {
        ws_str_clear(&one), label(run[i], &one);
        ws_str_addf(&all, "%s%s: %s", i ? "; " : "", run[i]->name, one.p);
    }
    char *text = same ? first.p : all.p;
    if (*text == 'p' && same) *text = 'P';
    ws_table_note(t, "%s.", text);
    for (int i = 0; i < n; i++)
        for (const char *l = run[i]->notes.p; l && *l; l += strcspn(l, "\n"), l += *l == '\n')
            ws_table_note(t, "%.*s", (int)strcspn(l, "\n"), l);
    for (int i = 0; i < n; i++) {
        const ws_protocol *p = ws_protocol_find(ws_results_protocol(run[i]));
        if (p && *p->not_followed && !is_outside(run[i]) && strcmp(ws_table_name(t), "data"))
            ws_table_note(t, "%s", p->not_followed);
    }
    ws_str_free(&all), ws_str_free(&one), ws_str_free(&first);
}

ws_tables ws_tables_build(ws_results *const *run, int n_runs) {
    ws_tables all = {0};
    ws_show s = {.run = run, .n = n_runs};
    for (int i = 1; i < n_runs && !s.no_best; i++) {
        if (strcmp(ws_results_model_hash(run[i]), ws_results_model_hash(run[0])))
            s.no_best = ws_xstrdup("the runs are of different base models.");
        else if (strcmp(ws_results_protocol(run[i]), ws_results_protocol(run[0])))
            s.no_best = ws_xstrdup("the runs follow different protocols.");
    }
    s.budget = ws_results_budget(run[0], NULL);
    for (int i = 0; i < n_runs && !s.no_best; i++)
        for (int k = 0; k < run[i]->summary.csv.rows && !s.no_best; k++)
            if (isnan(s.budget) || isnan(ws_sheet_num(&run[i]->summary, k, "target_p95")))
                s.no_best = ws_xstrdup("the KL budget of some rows is not known.");
            else if (ws_sheet_num(&run[i]->summary, k, "target_p95") != s.budget)
                s.no_best = ws_sprintf("the %s have different KL budgets.", i ? "runs" : "rows");
    ws_tab_rows(&s, &all);
    dose(&s, &all);
    margin(&s, &all);
    canaries(&s, &all);
    ws_tab_vignettes(&s, &all);
    calibration(&s, &all);
    data(&s, &all);
    for (int i = 0; i < all.n; i++) ws_tables_whose(run, n_runs, all.t[i]);
    free(s.no_best);
    return all;
}
