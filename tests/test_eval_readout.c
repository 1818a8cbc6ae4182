/* The readouts agree with a restatement over lists of dictionaries (tools/reference/make_eval.py), on random answers
 * with holes, with every vignette once and as a bootstrap draw counts them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "eval/readout.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_V = 64, F = 4 };
static double value(const json_t *v) {
    if (!v) fail_msg("a key is missing in the fixture");
    return json_is_null(v) ? NAN : json_number_value(v);
}
static double get(const json_t *o, const char *key) { return value(json_object_get(o, key)); }
/* Sums of fewer than 200 doubles of size about 1 on both sides, in another order: 1e-12 relative leaves a factor of
 * 100. */
static void same_at(int line, double a, double b) {
    if (!(isnan(a) && isnan(b)) && !(fabs(a - b) <= 1e-12 * (1 + fabs(b))))
        fail_msg("line %d: %.17g is not %.17g", line, a, b);
}
#define SAME(a, b) same_at(__LINE__, a, b)

static void same_dlogit(ws_dlogit d, const json_t *o) {
    SAME(d.mean, get(o, "mean")), SAME(d.std, get(o, "std")), SAME(d.n, get(o, "n")),
        SAME(d.n_total, get(o, "n_total"));
}

static void agrees_with_the_restatement(void **state) {
    (void)state;
    json_error_t e;
    json_t *file = json_load_file("tests/fixtures/eval_readout.json", 0, &e);
    assert_non_null(file);
    size_t i, k;
    const json_t *c, *view;
    int undefined = 0, defined = 0, other_cells = 0, smaller = 0;
    json_array_foreach(json_object_get(file, "cases"), i, c) {
        int n = (int)get(c, "n"), foundation[MAX_V], times[MAX_V];
        double human[MAX_V], loading[MAX_V * F], floor = get(c, "floor");
        assert_true(n <= MAX_V);
        for (int v = 0; v < n; v++) {
            foundation[v] = (int)value(json_array_get(json_object_get(c, "foundation"), (size_t)v));
            times[v] = (int)value(json_array_get(json_object_get(c, "times"), (size_t)v));
            human[v] = value(json_array_get(json_object_get(c, "human"), (size_t)v));
            for (int f = 0; f < F; f++)
                loading[v * F + f] =
                    value(json_array_get(json_array_get(json_object_get(c, "loading"), (size_t)v), (size_t)f));
        }
        ws_answers a[3] = {{0}};
        const json_t *sets = json_object_get(c, "answers");
        for (size_t s = 0; s < 3; s++) {
            const json_t *x = json_array_get(sets, s);
            if (json_is_null(x)) continue;
            double p[MAX_V * 4], m[MAX_V * 4];
            for (int q = 0; q < 4 * n; q++) {
                const json_t *one =
                    json_array_get(json_array_get(json_array_get(x, (size_t)q / 4), (size_t)q / 2 % 2), (size_t)q % 2);
                p[q] = value(json_array_get(one, 0)), m[q] = value(json_array_get(one, 1));
            }
            ws_answers_from_p(&a[s], n, p, m, floor);
        }
        ws_grid g = {n, F, foundation, human, NULL}, gl = {n, F, foundation, human, loading};
        const ws_answers *minus = a[2].p ? &a[2] : NULL;
        json_array_foreach(json_object_get(c, "views"), k, view) {
            const int *t = strcmp(json_string_value(json_object_get(view, "which")), "draw") ? NULL : times;
            same_dlogit(ws_readout_dlogit(&g, &a[0], &a[1], -1, t), json_object_get(view, "all"));
            const json_t *h = json_object_get(view, "headline");
            ws_vig_headline r = ws_readout_headline(&g, &a[0], t);
            SAME(r.s_other, get(h, "s_other")), SAME(r.gap, get(h, "gap")), SAME(r.s_other_vig, get(h, "s_other_vig"));
            SAME(r.gap_vig, get(h, "gap_vig")), SAME(r.agreement, get(h, "agreement")),
                SAME(r.human_r, get(h, "human_r"));
            SAME(r.n_human, get(h, "n_human")), SAME(r.pmass, get(h, "pmass")), SAME(r.n_cells, get(h, "n_cells")),
                SAME(r.n_valid, get(h, "n_valid"));
            const ws_si_rule least = {.k = 2, .frame_min = 1}, all = {.k = 2};
            const json_t *mass = json_object_get(view, "smaller_frame");
            ws_si low = ws_readout_si(&g, &a[0], &a[1], minus, 0, 1, &least, t),
                  whole = ws_readout_si(&g, &a[0], &a[1], minus, 0, 1, &all, t);
            SAME(low.pmass_plus, value(json_array_get(mass, 0))), SAME(low.pmass_minus, value(json_array_get(mass, 1)));
            assert_int_equal(low.pmass_nan, whole.pmass_nan);
            smaller += low.pmass_plus < whole.pmass_plus;
            const int target[2] = {2, 0}, sign[2] = {-1, 1};
            ws_vig_effect x = ws_readout_effect(&g, &a[0], &a[1], target, sign, 2, t);
            const json_t *want = json_object_get(view, "effect");
            SAME(x.target, get(want, "target")), SAME(x.others, get(want, "others")),
                SAME(x.specific, get(want, "specific")), SAME(x.axis, get(want, "axis")),
                SAME(x.abs_others, get(want, "abs_others"));
            for (int f = 0; f < F; f++) {
                const json_t *one = json_array_get(json_object_get(view, "foundation"), (size_t)f);
                same_dlogit(ws_readout_dlogit(&g, &a[0], &a[1], f, t), json_object_get(one, "dlogit"));
                const json_t *fl = json_object_get(one, "flips");
                if (fl) {
                    ws_flips y = ws_readout_flips(&g, &a[0], &a[1], f);
                    SAME(y.to_wrong, get(fl, "to_wrong")), SAME(y.to_right, get(fl, "to_right")),
                        SAME(y.n, get(fl, "n"));
                }
                /* by steering-lite's rules */
                ws_dlogit d = ws_readout_dlogit(&gl, &a[0], &a[1], f, t);
                same_dlogit(d, json_object_get(one, "weighted")),
                    SAME(d.weight, get(json_object_get(one, "weighted"), "weight"));
                for (int q = 0; q < 2; q++) {
                    const json_t *o = json_array_get(json_object_get(one, "si_sl"), (size_t)q);
                    const ws_si_rule own = {.k = get(c, "k"), .own_cells = 1};
                    ws_si s = ws_readout_si(&gl, &a[0], &a[1], minus, f, q ? -1 : 1, &own, t);
                    SAME(s.n_cho, get(o, "n_cho")), SAME(s.n_rej, get(o, "n_rej")),
                        SAME(s.n_cho_minus, get(o, "n_cho_minus")), SAME(s.n_rej_minus, get(o, "n_rej_minus"));
                    SAME(s.fwd, get(o, "fwd")), SAME(s.rev, get(o, "rev")), SAME(s.raw, get(o, "raw")),
                        SAME(s.separation, get(o, "separation"));
                    other_cells += minus && s.n_cho_minus != s.n_cho;
                }
                const ws_si_rule rule = {.k = get(c, "k")};
                for (int q = 0; q < 4; q++) {
                    const json_t *o = json_array_get(json_object_get(one, "si"), (size_t)q);
                    ws_si s = ws_readout_si(q % 2 ? &gl : &g, &a[0], &a[1], minus, f, q < 2 ? 1 : -1, &rule, t);
                    SAME(s.n_cho, get(o, "n_cho")), SAME(s.n_rej, get(o, "n_rej")), SAME(s.fix, get(o, "fix")),
                        SAME(s.broke, get(o, "broke"));
                    SAME(s.flip_rev, get(o, "flip_rev")), SAME(s.counter, get(o, "counter")),
                        SAME(s.fwd, get(o, "fwd")), SAME(s.rev, get(o, "rev"));
                    SAME(s.raw, get(o, "raw")), SAME(s.pmass_plus, get(o, "pmass_plus")),
                        SAME(s.pmass_minus, get(o, "pmass_minus"));
                    SAME(s.pmass_scale, get(o, "scale")), SAME(s.si, get(o, "si")),
                        SAME(s.separation, get(o, "separation"));
                    if (isnan(s.si))
                        undefined++;
                    else
                        defined++;
                }
            }
        }
        for (int s = 0; s < 3; s++) ws_answers_free(&a[s]);
    }
    assert_true(undefined > 0 && defined > 100);  /* the fixture reaches both */
    assert_true(other_cells > 10 && smaller > 5); /* and the rules of the protocols make a difference */
    json_decref(file);
}

/* + is named after the fact where the other side moves further as meant; a tie stays, and so does what cannot be told. */
static void the_side_that_moved_further_is_told(void **state) {
    (void)state;
    double zero[4] = {0, 0, 0, 0}, down[4] = {-1, -1, -1, -1}, up[4] = {2, 2, 2, 2}, none[4] = {NAN, NAN, NAN, NAN};
    const int foundation[2] = {0, 0};
    const ws_grid g = {2, 1, foundation, NULL, NULL};
    const ws_answers b = {.logit = zero}, d = {.logit = down}, u = {.logit = up}, n = {.logit = none};
    assert_true(ws_readout_turned(&g, &b, &u, &d, 0, -1) && !ws_readout_turned(&g, &b, &d, &u, 0, -1));
    assert_true(ws_readout_turned(&g, &b, &d, &u, 0, 1) && !ws_readout_turned(&g, &b, &u, &d, 0, 1));
    assert_true(!ws_readout_turned(&g, &b, &u, &u, 0, -1));
    assert_true(ws_readout_turned(&g, &b, &n, &u, 0, -1) && !ws_readout_turned(&g, &b, &u, &n, 0, -1) &&
                !ws_readout_turned(&g, &b, &n, &n, 0, -1));
}

static void log_probabilities_become_answers(void **state) {
    (void)state;
    const double lt[4] = {log(0.6), log(0.1), -INFINITY, NAN}, lf[4] = {log(0.2), log(0.8), -INFINITY, log(0.5)};
    ws_answers a;
    ws_answers_fill(&a, 1, lt, lf, 0.5);
    assert_true(fabs(a.p[0] - 0.75) < 1e-12 && fabs(a.mass[0] - 0.8) < 1e-12);
    assert_true(fabs(a.w[0] - (0.75 + (1 - 1.0 / 9)) / 2) < 1e-12);
    assert_true(isnan(a.p[2]) && isnan(a.p[3]) && isnan(a.w[1]) && isnan(a.logit[1]));
    ws_answers_free(&a);
    assert_true(fabs(ws_logit_clipped(0) + 4.59511985013459) < 1e-12 &&
                fabs(ws_logit_clipped(1) - 4.59511985013459) < 1e-12);
    assert_true(isnan(ws_wrongness(0.5, 0.49, 0.5, 1, 0.5)) && !isnan(ws_wrongness(0.5, 0.5, 0.5, NAN, 0.5)));
}

static void a_draw_stays_within_foundations_and_is_repeatable(void **state) {
    (void)state;
    int foundation[30], a[30], b[30], seen[30] = {0};
    for (int v = 0; v < 30; v++) foundation[v] = v % 7 < 3 ? 0 : v % 2 + 1;
    ws_grid g = {30, 3, foundation, NULL, NULL};
    for (int d = 0; d < 200; d++) {
        ws_readout_draw(&g, 5, d, a), ws_readout_draw(&g, 5, d, b);
        assert_memory_equal(a, b, sizeof a);
        int want[3] = {0}, got[3] = {0};
        for (int v = 0; v < 30; v++) want[foundation[v]]++, got[foundation[v]] += a[v], seen[v] += a[v];
        assert_memory_equal(want, got, sizeof want);
    }
    for (int v = 0; v < 30; v++) assert_in_range(seen[v], 140, 260); /* 200 expected, standard deviation about 14 */
}

static void the_signal_rule_says_why(void **state) {
    (void)state;
    char why[256];
    ws_vig_headline good =
                        {.pmass = 0.9, .agreement = 0.6, .human_r = 0.4, .n_cells = 100, .n_valid = 90, .n_human = 50},
                    h;
    assert_true(ws_readout_signal(&good, 0.4, 0.2, why));
    h = good, h.pmass = 0.3;
    assert_false(ws_readout_signal(&h, 0.4, 0.2, why));
    assert_non_null(strstr(why, "30%"));
    h = good, h.n_valid = 40;
    assert_false(ws_readout_signal(&h, 0.4, 0.2, why));
    assert_non_null(strstr(why, "40 of 100"));
    h = good, h.agreement = -0.7;
    assert_false(ws_readout_signal(&h, -0.8, 0.2, why));
    assert_non_null(strstr(why, "do not agree"));
    h = good, h.agreement = NAN;
    assert_false(ws_readout_signal(&h, NAN, 0.2, why));
    assert_false(ws_readout_signal(&good, -0.1, 0.2, why));
    assert_false(ws_readout_signal(&good, 0.4, -0.1, why));
    h = good, h.n_human = 0;
    assert_true(ws_readout_signal(&h, 0.4, NAN, why));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_restatement),
        cmocka_unit_test(the_side_that_moved_further_is_told),
        cmocka_unit_test(log_probabilities_become_answers),
        cmocka_unit_test(a_draw_stays_within_foundations_and_is_repeatable),
        cmocka_unit_test(the_signal_rule_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
