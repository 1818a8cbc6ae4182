#include "run/headline.h"
#include "run/tables.h"
#include <math.h>
#include <string.h>

static const double NEAR_BUDGET = 0.1; /* a search that stopped just outside its tolerance of 0.05 still compares */

static int aims(const ws_method_results *m) {
    const char *sentence;
    const json_t *meant = json_object_get(json_object_get(m->eval, "vignettes"), "target_meant");
    return m->effect.csv.rows && !json_is_false(meant) && ws_vignette_signal(m, &sentence) == 1;
}

/* The same for all rows, so the first that was evaluated decides. */
ws_headline ws_headline_of(const ws_results *r) {
    if (!r->n) return WS_HEADLINE_NONE;
    const ws_method_results *m = &r->m[0];
    if (aims(m)) return WS_HEADLINE_SPECIFIC;
    if (m->margin.csv.rows) return WS_HEADLINE_MARGIN;
    return m->dose.csv.rows ? WS_HEADLINE_DOSE : WS_HEADLINE_NONE;
}

const char *ws_headline_title(ws_headline h) {
    static const char *const title[] = {"effect", "specific effect", "margin", "score of free answers"};
    return title[h];
}

static int dose_row(const ws_sheet *s, double dose) {
    for (int i = 0; i < s->csv.rows; i++)
        if (ws_sheet_num(s, i, "dose") == dose) return i;
    return -1;
}

static ws_effect turned(const ws_sheet *s, int row, const char *v, const char *lo, const char *hi, double sign) {
    ws_effect e = {NAN, NAN, NAN};
    if (row < 0) return e;
    e = (ws_effect){sign * ws_sheet_num(s, row, v), ws_sheet_num(s, row, sign > 0 ? lo : hi),
                    ws_sheet_num(s, row, sign > 0 ? hi : lo)};
    e.lo *= sign, e.hi *= sign;
    return e;
}

const ws_sheet *ws_headline_sheet(ws_headline h, const ws_method_results *m) {
    return h == WS_HEADLINE_SPECIFIC ? &m->effect : h == WS_HEADLINE_MARGIN ? &m->margin : NULL;
}

ws_effect ws_headline_at(ws_headline h, const ws_method_results *m, int row, int minus) {
    double sign = minus ? -1 : 1;
    if (h != WS_HEADLINE_SPECIFIC) return turned(&m->margin, row, "delta", "delta_lo", "delta_hi", sign);
    if (row >= 0 && ws_sheet_num(&m->effect, row, "sign") < 0) sign = -sign;
    return turned(&m->effect, row, "specific", "specific_lo", "specific_hi", sign);
}

ws_effect ws_headline_effect(ws_headline h, const ws_method_results *m, int minus) {
    const double sign = minus ? -1 : 1;
    switch (h) {
    case WS_HEADLINE_SPECIFIC:
    case WS_HEADLINE_MARGIN:
        return ws_headline_at(h, m, ws_sheet_arm(ws_headline_sheet(h, m), NULL, minus ? "minus" : "plus"), minus);
    case WS_HEADLINE_DOSE: { /* the base's texts are the same for all rows: a constant, not another source of noise */
        int base = dose_row(&m->dose, 0);
        ws_effect e = turned(&m->dose, dose_row(&m->dose, sign), "score", "score_lo", "score_hi", sign);
        double zero = base < 0 ? (double)NAN : sign * ws_sheet_num(&m->dose, base, "score");
        return (ws_effect){e.v - zero, e.lo - zero, e.hi - zero};
    }
    case WS_HEADLINE_NONE: break;
    }
    return (ws_effect){NAN, NAN, NAN};
}

ws_beats ws_headline_beats(ws_headline h, const ws_method_results *m, const ws_method_results *control) {
    int above[2];
    for (int minus = 0; minus < 2; minus++) {
        ws_effect a = ws_headline_effect(h, m, minus), b = ws_headline_effect(h, control, minus);
        if (!isfinite(a.lo) || !isfinite(b.hi)) return WS_BEATS_UNKNOWN;
        above[minus] = a.lo > b.hi;
    }
    return above[0] && above[1] ? WS_BEATS_BOTH : above[0] ? WS_BEATS_PLUS : above[1] ? WS_BEATS_MINUS : WS_BEATS_NO;
}

const char *ws_beats_name(ws_beats b) {
    static const char *const name[] = {"no", "at + only", "at - only", "yes", "-"};
    return name[b];
}

const ws_row_results *ws_results_control(const ws_results *r, const char *kind) {
    for (int i = 0; i < r->n_rows; i++)
        if (!strcmp(r->row[i].kind, kind) && r->row[i].method >= 0) return &r->row[i];
    return NULL;
}

const ws_row_results *ws_results_control_of(const ws_results *r, const ws_row_results *row, const char *kind) {
    if (!strcmp(row->kind, "adapter")) return ws_results_control(r, kind);
    if (strcmp(row->kind, "vector") || strcmp(kind, "random")) return NULL;
    const ws_row_results *own = ws_results_control(r, "random_vector");
    return own ? own : ws_results_control(r, "random");
}

/* The row of a method in the summary; -1: it was not calibrated. */
static int summary_row(const ws_results *r, const ws_row_results *row) {
    for (int i = 0; i < r->summary.csv.rows; i++)
        if (!strcmp(ws_sheet_text(&r->summary, i, "method"), row->name)) return i;
    return -1;
}

const char *ws_row_status(const ws_results *r, const ws_row_results *row, int minus) {
    int i = summary_row(r, row);
    return i < 0 ? "" : ws_sheet_text(&r->summary, i, minus ? "status_neg" : "status_pos");
}

int ws_row_off_budget(const ws_results *r, const ws_row_results *row) {
    int i = summary_row(r, row);
    for (int minus = 0; minus < 2 && i >= 0; minus++) {
        const char *s = ws_row_status(r, row, minus);
        if (!strcmp(s, "ok") || !strcmp(s, "reference") || !strcmp(s, "none")) continue;
        double p95 = ws_sheet_num(&r->summary, i, minus ? "p95_at_neg" : "p95_at_pos"),
               target = ws_sheet_num(&r->summary, i, "target_p95");
        if (!(fabs(p95 / target - 1) <= NEAR_BUDGET)) return 1;
    }
    return 0;
}

ws_beats ws_row_beats(ws_headline h, const ws_results *r, const ws_row_results *row, const char *kind) {
    const ws_row_results *c = ws_results_control_of(r, row, kind);
    if (!c || row->method < 0 || ws_row_off_budget(r, row) || ws_row_off_budget(r, c)) return WS_BEATS_UNKNOWN;
    return ws_headline_beats(h, &r->m[row->method], &r->m[c->method]);
}

const char *ws_row_broken(const ws_results *r, const ws_row_results *row) {
    if (row->method < 0 || !r->m[row->method].canaries.csv.rows) return "-";
    const ws_sheet *s = &r->m[row->method].canaries;
    int at[2] = {0};
    for (int i = 0; i < s->csv.rows; i++)
        for (int k = 0; k < 2; k++)
            at[k] |= !strcmp(ws_sheet_text(s, i, "arm"), k ? "minus" : "plus") && ws_sheet_num(s, i, "broken") > 0;
    return at[0] && at[1] ? "at both" : at[0] ? "at +" : at[1] ? "at -" : "no";
}

static void list(ws_str *s, const char *name) { ws_str_addf(s, "%s%s", s->n ? ", " : "", name); }

int ws_headline_sweep(const ws_results *r, ws_str *out) {
    const ws_row_results *control[2] = {ws_results_control(r, "random"), ws_results_control(r, "shuffled")};
    ws_headline h = ws_headline_of(r);
    ws_str more = {0}, not_more = {0}, failed = {0};
    int adapters = 0, n_more = 0;
    for (int i = 0; i < r->n_rows; i++) {
        const ws_row_results *row = &r->row[i];
        if (row->error) list(&failed, row->name);
        if ((strcmp(row->kind, "adapter") && strcmp(row->kind, "vector")) || row->method < 0) continue;
        ws_beats worst = WS_BEATS_BOTH;
        int known = 0;
        for (int k = 0; k < 2; k++) {
            const char *kind = k ? "shuffled" : "random";
            if (!ws_results_control_of(r, row, kind)) continue;
            ws_beats b = ws_row_beats(h, r, row, kind);
            known |= b != WS_BEATS_UNKNOWN;
            if (b != WS_BEATS_BOTH) worst = b;
        }
        adapters++;
        n_more += known && worst == WS_BEATS_BOTH;
        list(known && worst == WS_BEATS_BOTH ? &more : &not_more, row->name);
    }
    if (control[0] || control[1])
        ws_str_addf(out, "%d row%s compared by the %s at one KL budget; more than %s on both sides: %s; not shown: %s",
                    adapters, adapters == 1 ? "" : "s", ws_headline_title(h),
                    control[0] && control[1] ? "a random dW and one of shuffled answers"
                    : control[0]             ? "a random dW"
                                             : "a dW of shuffled answers",
                    more.n ? more.p : "none", not_more.n ? not_more.p : "none");
    else
        ws_str_addf(
            out,
            "%d row%s compared by the %s at one KL budget; without controls nothing says what a random change does",
            adapters, adapters == 1 ? "" : "s", ws_headline_title(h));
    if (failed.n) ws_str_addf(out, "; failed: %s", failed.p);
    ws_str_free(&more), ws_str_free(&not_more), ws_str_free(&failed);
    return n_more;
}
