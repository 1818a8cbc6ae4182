#include "run/verdict.h"
#include "calibrate/calibrate.h"
#include "run/tables.h"
#include <math.h>
#include <string.h>

/* Row of the dose sheet with this share of the side's strength; the base row stands for 0. */
static int dose_row(const ws_sheet *s, double dose) {
    for (int i = 0; i < s->csv.rows; i++)
        if (ws_sheet_num(s, i, "dose") == dose) return i;
    return -1;
}

ws_verdict ws_verdict_of(const ws_method_results *m) {
    static const double dose[] = {-1, -0.5, 0, 0.5, 1};
    ws_verdict v = {0};
    int plus = ws_sheet_arm(&m->margin, NULL, "plus"), minus = ws_sheet_arm(&m->margin, NULL, "minus");
    v.has_margin = plus >= 0 && minus >= 0;
    if (v.has_margin) {
        v.margin_pos = ws_sheet_num(&m->margin, plus, "delta_lo") > 0;
        v.margin_neg = ws_sheet_num(&m->margin, minus, "delta_hi") < 0;
    }
    int lo = dose_row(&m->dose, -1), hi = dose_row(&m->dose, 1);
    v.has_dose = lo >= 0 && hi >= 0 && dose_row(&m->dose, 0) >= 0;
    if (v.has_dose) {
        double last = -INFINITY;
        v.monotone = ws_sheet_num(&m->dose, hi, "score_lo") > ws_sheet_num(&m->dose, lo, "score_hi");
        for (int i = 0; i < 5; i++) {
            int r = dose_row(&m->dose, dose[i]);
            if (r < 0) continue;
            double s = ws_sheet_num(&m->dose, r, "score");
            if (!(s >= last)) v.monotone = 0; /* NaN is no step upwards */
            last = s;
        }
    }
    v.works = v.margin_pos && v.margin_neg && v.monotone;
    return v;
}

static double at(const ws_sheet *s, int row, const char *col) {
    return row < 0 ? (double)NAN : ws_sheet_num(s, row, col);
}

void ws_verdict_line(const ws_method_results *m, ws_str *out) {
    ws_verdict v = ws_verdict_of(m);
    const ws_sheet *g = &m->margin, *d = &m->dose;
    int plus = ws_sheet_arm(g, NULL, "plus"), minus = ws_sheet_arm(g, NULL, "minus");
    int lo = dose_row(d, -1), mid = dose_row(d, 0), hi = dose_row(d, 1);
    ws_str_adds(out, v.works ? "steering works: " : "no effect shown: ");
    if (v.has_margin)
        ws_str_addf(out, "margin %s (%+.3f [%+.3f, %+.3f] at %+.3g, %+.3f [%+.3f, %+.3f] at %+.3g)",
                    v.margin_pos && v.margin_neg ? "separated on both sides"
                    : v.margin_pos               ? "separated at +alpha only"
                    : v.margin_neg               ? "separated at -alpha only"
                                                 : "not separated on either side",
                    at(g, minus, "delta"), at(g, minus, "delta_lo"), at(g, minus, "delta_hi"), at(g, minus, "alpha"),
                    at(g, plus, "delta"), at(g, plus, "delta_lo"), at(g, plus, "delta_hi"), at(g, plus, "alpha"));
    else
        ws_str_adds(out, "the margin at both calibrated strengths was not measured");
    if (v.has_dose)
        ws_str_addf(out, ", dose %s (score %+.2f at %+.3g, %+.2f at 0, %+.2f at %+.3g)",
                    v.monotone ? "monotone" : "not monotone or its ends not apart", at(d, lo, "score"),
                    at(d, lo, "alpha"), at(d, mid, "score"), at(d, hi, "score"), at(d, hi, "alpha"));
    else
        ws_str_adds(out, ", the dose response was not measured");
}

void ws_verdict_honest(const ws_results *r, const ws_method_results *m, ws_str *out) {
    ws_verdict v = ws_verdict_of(m);
    const ws_sheet *d = &m->dose;
    int lo = dose_row(d, -1), mid = dose_row(d, 0), hi = dose_row(d, 1);
    const char *sentence;
    ws_str_addf(out, "On %s the dial for %s %s: ", ws_results_model(r), ws_results_behavior(r),
                v.works ? "works in both directions"
                : v.has_dose && at(d, hi, "score_lo") > at(d, lo, "score_hi")
                    ? "moves the answers, but not by every test"
                    : "is not shown to work");
    if (v.has_dose) {
        ws_str_addf(
            out,
            "the score of free answers goes from %+.2f at alpha %+.3g over %+.2f unsteered to %+.2f at alpha %+.3g",
            at(d, lo, "score"), at(d, lo, "alpha"), at(d, mid, "score"), at(d, hi, "score"), at(d, hi, "alpha"));
        if (!v.monotone) ws_str_adds(out, " (not monotone, or the ends' intervals touch)");
    } else
        ws_str_adds(out, "no free answers were scored");
    if (v.has_margin)
        ws_str_addf(out, ", and on held-out prompts the answers of the %s",
                    v.margin_pos && v.margin_neg   ? "intended persona become more likely on both sides"
                    : v.margin_pos || v.margin_neg ? "intended persona become more likely on one side only"
                                                   : "intended persona do not become more likely");
    if (v.has_dose && isfinite(at(d, mid, "distinct3")) && isfinite(at(d, mid, "base_ppl")))
        ws_str_addf(
            out,
            ". What it costs at the two ends: distinct-3 %.2f and %.2f (unsteered %.2f), perplexity under the base "
            "model %.1f and %.1f (unsteered %.1f)",
            at(d, lo, "distinct3"), at(d, hi, "distinct3"), at(d, mid, "distinct3"), at(d, lo, "base_ppl"),
            at(d, hi, "base_ppl"), at(d, mid, "base_ppl"));
    int signal = ws_vignette_signal(m, &sentence);
    if (signal == 0)
        ws_str_addf(out,
                    ". It shows nothing about moral judgement: the vignette readout carries no signal on this model, "
                    "because %s",
                    sentence);
    else if (signal > 0)
        ws_str_addf(out, ". The vignette readout carries signal here, so its tables may be read: %s", sentence);
    static const char *const status[] = {"status_pos", "status_neg"};
    for (int i = 0; i < r->summary.csv.rows; i++)
        for (int k = 0; k < 2 && !strcmp(ws_sheet_text(&r->summary, i, "method"), m->name); k++) {
            const char *s = ws_sheet_text(&r->summary, i, status[k]);
            if (!ws_calibration_stands(s))
                ws_str_addf(out, ". The strength at alpha %s 0 does not stand for the KL budget: its search ended %s",
                            k ? "<" : ">", s);
        }
    if (out->n && out->p[out->n - 1] != '.') ws_str_addc(out, '.');
}
