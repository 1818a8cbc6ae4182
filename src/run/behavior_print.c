/* src/run/behavior_print.c - what ws behavior check says, as text and as JSON. */
#include "report/table.h"
#include "run/behavior_check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void cell(ws_table *t, const char *format, double v) {
    char s[64];
    snprintf(s, sizeof s, format, v);
    ws_table_text(t, s);
}
static void interval(ws_table *t, const char *format, double v, ws_interval i) {
    char a[32], lo[32], hi[32];
    snprintf(a, sizeof a, format, v), snprintf(lo, sizeof lo, format, i.lo), snprintf(hi, sizeof hi, format, i.hi);
    char *s = ws_sprintf("%s [%s, %s]", a, lo, hi);
    ws_table_text(t, s);
    free(s);
}
static void row(ws_table *t, const char *what) {
    ws_table_row(t);
    ws_table_text(t, what);
}
static void counts(ws_table *t, const char *what, int pos, int neg) {
    row(t, what);
    cell(t, "%.0f", pos), cell(t, "%.0f", neg), cell(t, "%.0f", pos + neg);
}

static void samples(const ws_check *c, ws_str *out) {
    for (int i = 0; i < c->n && i < 2; i++) {
        const ws_pair *p = &c->pairs->row[i];
        char *q = ws_excerpt(p->prompt, 160), *a = ws_excerpt(ws_pair_answer(p, 0), 240),
             *b = ws_excerpt(ws_pair_answer(p, 1), 240);
        ws_str_addf(out, "%s\n  POS  %s\n  NEG  %s\n", q, a, b);
        free(q), free(a), free(b);
    }
    ws_str_addc(out, '\n');
}

void ws_check_print(const ws_check *c, const char *model, const ws_behavior *b, const ws_contrast_options *o,
                    ws_str *out) {
    const ws_check_side *p = &c->side[0], *q = &c->side[1];
    char *caption = ws_sprintf("%s on %s: %d pairs of answers of at most %d tokens", b->name, model, c->n, o->max_new);
    ws_table *t = ws_table_new("check", caption);
    samples(c, out);
    ws_table_column(t, "measure", "", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "pos", "POS", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "neg", "NEG", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "both", "both [95% interval]", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    row(t, "likelier under their own persona than under the other, %");
    cell(t, "%.1f", 100.0 * p->told / c->n), cell(t, "%.1f", 100.0 * q->told / c->n);
    interval(t, "%.1f", 100 * c->told, (ws_interval){100 * c->told_ci.lo, 100 * c->told_ci.hi});
    row(t, "  by how much, nats per token");
    cell(t, "%+.3f", p->own - p->other), cell(t, "%+.3f", q->own - q->other);
    interval(t, "%+.3f", c->gap, c->gap_ci);
    row(t, "likelier with their persona than without one, nats per token");
    interval(t, "%+.3f", p->gain, p->gain_ci), interval(t, "%+.3f", q->gain, q->gain_ci);
    cell(t, "%+.3f", (p->gain + q->gain) / 2);
    row(t, "log-probability without a persona, nats per token; POS - NEG");
    cell(t, "%.3f", p->none), cell(t, "%.3f", q->none), interval(t, "%+.3f", c->lean, c->lean_ci);
    row(t, "length, tokens; POS / NEG");
    cell(t, "%.1f", p->tokens), cell(t, "%.1f", q->tokens), interval(t, "%.2f", c->ratio, c->ratio_ci);
    counts(t, "cut at the limit", p->cut, q->cut);
    counts(t, "open like a refusal", p->refused, q->refused);
    counts(t, "repeat three words of their persona in a row", p->leaked, q->leaked);
    counts(t, "  of the other side's (chance)", p->leaked_other, q->leaked_other);
    ws_table_print(t, out, 0);
    ws_table_free(t);
    free(caption);
    ws_str_addf(out, "\n%s\n", c->direction);
    if (!c->n_warnings)
        ws_str_adds(out, "Verdict: ok, nothing speaks against training on this.\n");
    else
        ws_str_addf(out, "Verdict: %d warning%s\n", c->n_warnings, c->n_warnings > 1 ? "s" : "");
    for (int i = 0; i < c->n_warnings; i++)
        ws_str_addf(out, "  %d. %s.\n     What to do: %s.\n", i + 1, c->warning[i].what, c->warning[i].advice);
}

static json_t *num(double v) { return isfinite(v) ? json_real(v) : json_null(); }
static json_t *with_interval(double v, ws_interval i) {
    return json_pack("{s:o, s:o, s:o}", "value", num(v), "lo", num(i.lo), "hi", num(i.hi));
}
static json_t *side(const ws_check_side *s) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:i, s:i}", "lp_own", num(s->own), "lp_other",
                     num(s->other), "lp_none", num(s->none), "gain", with_interval(s->gain, s->gain_ci), "mean_tokens",
                     num(s->tokens), "told_apart", s->told, "cut", s->cut, "refusals", s->refused, "leaks", s->leaked,
                     "leaks_other", s->leaked_other);
}

json_t *ws_check_json(const ws_check *c, const char *model, const char *model_hash, const ws_behavior *b,
                      const ws_contrast_options *o) {
    json_t *warnings = json_array(), *rows = json_array();
    for (int i = 0; i < c->n_warnings; i++)
        json_array_append_new(warnings,
                              json_pack("{s:s, s:s}", "what", c->warning[i].what, "todo", c->warning[i].advice));
    for (int i = 0; i < c->n; i++) {
        const ws_check_cell *x = &c->cell[i];
        json_t *r = ws_pair_json(&c->pairs->row[i]);
        for (int k = 0; k < 2; k++)
            json_object_set_new(r, k ? "lp_neg" : "lp_pos",
                                json_pack("{s:f, s:f, s:f}", "own", x->lp[k][WS_UNDER_OWN], "other",
                                          x->lp[k][WS_UNDER_OTHER], "none", x->lp[k][WS_UNDER_NONE]));
        json_object_set_new(r, "refused", json_pack("[b, b]", x->refused[0], x->refused[1]));
        json_object_set_new(r, "leaked", json_pack("[b, b]", x->leaked[0], x->leaked[1]));
        json_array_append_new(rows, r);
    }
    json_t *j = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:I}", "format", "ws-behavior-check", "version", 1,
                          "model", model, "model_hash", model_hash, "behavior", b->name, "behavior_hash", b->hash,
                          "pairs", c->n, "max_new_tokens", o->max_new, "seed", (json_int_t)o->seed);
    json_object_set_new(j, "identical", json_integer(c->same));
    json_object_set_new(j, "told_apart", with_interval(c->told, c->told_ci));
    json_object_set_new(j, "gap", with_interval(c->gap, c->gap_ci));
    json_object_set_new(j, "length_ratio", with_interval(c->ratio, c->ratio_ci));
    json_object_set_new(j, "lean", with_interval(c->lean, c->lean_ci));
    json_object_set_new(j, "pos", side(&c->side[0]));
    json_object_set_new(j, "neg", side(&c->side[1]));
    json_object_set_new(j, "direction", json_string(c->direction));
    json_object_set_new(j, "verdict", json_string(c->n_warnings ? "warnings" : "ok"));
    json_object_set_new(j, "warnings", warnings);
    json_object_set_new(j, "rows", rows);
    return j;
}
