/* The root finder visits the strengths of an independent restatement (tools/reference/make_eval.py), on synthetic
 * curves of every kind; the statistics agree with numpy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/stats.h"
#include "calibrate/root.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *fixture(const char *path) {
    json_error_t e;
    json_t *v = json_load_file(path, 0, &e);
    if (!v) fail_msg("%s: %s (run from the root of the repository)", path, e.text);
    return v;
}
static double at(const json_t *a, size_t i) {
    const json_t *v = json_array_get(a, i);
    return json_is_null(v) ? NAN : json_number_value(v);
}
static double get(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    assert_non_null(v);
    return json_is_null(v) ? NAN : json_number_value(v);
}
/* Both sides compute in double by the same formulas; only the last bits of log and exp may differ, and a step of the
 * search multiplies that by at most the slope of the curve: 1e-9 relative is far above it and far below any other step. */
#define SAME(a, b, tol)                                                                                                \
    do {                                                                                                               \
        double a_ = (a), b_ = (b);                                                                                     \
        if (!(isnan(a_) && isnan(b_)) && !(fabs(a_ - b_) <= (tol) * (1 + fabs(b_))))                                   \
            fail_msg("%s:%d: %.17g is not %.17g", __FILE__, __LINE__, a_, b_);                                         \
    } while (0)

static void visits_the_strengths_of_the_restatement(void **state) {
    (void)state;
    json_t *f = fixture("tests/fixtures/eval_root.json");
    const json_t *cases = json_object_get(f, "cases"), *c;
    size_t i;
    int kinds[5] = {0}, at_once = 0;
    json_array_foreach(cases, i, c) {
        ws_root r;
        ws_err err = {0};
        double want;
        const json_t *cs = json_object_get(c, "c"), *vs = json_object_get(c, "v");
        assert_int_equal(ws_root_start(&r, get(c, "target"), get(c, "lo"), get(c, "hi"), &err), WS_OK);
        r.max_steps = (int)get(c, "steps"), r.first_fits = json_is_true(json_object_get(c, "first"));
        at_once += r.first_fits && json_array_size(cs) == 1;
        for (size_t k = 0; k < json_array_size(cs); k++) {
            assert_true(ws_root_wants(&r, &want));
            SAME(want, at(cs, k), 1e-9);
            assert_int_equal(ws_root_give(&r, at(vs, k), &err), WS_OK);
        }
        assert_false(ws_root_wants(&r, &want));
        assert_string_equal(ws_root_status_name(r.status), json_string_value(json_object_get(c, "status")));
        SAME(r.probe[r.best].c, get(c, "result"), 1e-9);
        kinds[r.status]++;
    }
    for (int k = WS_ROOT_OK; k <= WS_ROOT_NOT_CONVERGED; k++)
        assert_true(kinds[k] > 0); /* the curves reach every status */
    assert_true(at_once > 0);
    json_decref(f);
}

static void a_number_that_is_none_is_refused_with_its_strength(void **state) {
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        ws_root r;
        ws_err err = {0};
        assert_int_equal(ws_root_start(&r, 1, 0.25, 16, &err), WS_OK); /* starts at 2 */
        assert_int_equal(ws_root_give(&r, bad[i], &err), WS_ENONFINITE);
        assert_non_null(strstr(err.msg, "strength 2"));
        assert_int_equal(r.n, 0);
    }
    ws_root r;
    ws_err err = {0};
    assert_int_equal(ws_root_start(&r, 0, 0.05, 16, &err), WS_EUSAGE);
    assert_int_equal(ws_root_start(&r, NAN, 0.05, 16, &err), WS_EUSAGE);
    assert_int_equal(ws_root_start(&r, 1, 0, 16, &err), WS_EUSAGE);
    assert_int_equal(ws_root_start(&r, 1, 3, 3, &err), WS_EUSAGE);
    assert_int_equal(ws_root_start(&r, 1, 1e-300, 1e300, &err), WS_EUSAGE);
}

static void the_widest_bracket_fits(void **state) {
    (void)state;
    for (int up = 0; up < 2; up++) {
        ws_root r;
        ws_err err = {0};
        double c;
        assert_int_equal(ws_root_start(&r, 1, 1e-9, 1e9, &err), WS_OK);
        while (ws_root_wants(&r, &c)) assert_int_equal(ws_root_give(&r, up ? 0.5 : 2, &err), WS_OK);
        assert_int_equal(r.status, up ? WS_ROOT_ABOVE_RANGE : WS_ROOT_BELOW_RANGE);
        assert_int_equal(r.best, r.n - 1);
    }
}

static void statistics_agree_with_numpy(void **state) {
    (void)state;
    json_t *f = fixture("tests/fixtures/eval_stats.json");
    const json_t *rows = json_object_get(f, "stats"), *s, *q;
    size_t i, k;
    json_array_foreach(rows, i, s) {
        const json_t *xs = json_object_get(s, "x"), *ys = json_object_get(s, "y"), *full = json_object_get(s, "full");
        int64_t n = (int64_t)json_array_size(xs), used;
        double x[256], y[256], z[256];
        for (int64_t j = 0; j < n; j++)
            x[j] = at(xs, (size_t)j), y[j] = at(ys, (size_t)j), z[j] = at(full, (size_t)(n - 1 - j));
        ws_sort(z, n);
        json_array_foreach(json_object_get(s, "q"), k, q) SAME(ws_quantile(z, n, at(q, 0)), at(q, 1), 1e-15);
        SAME(ws_mean(x, n), get(s, "mean"), 1e-14);
        SAME(ws_std(x, n, 0), get(s, "std0"), 1e-13);
        SAME(ws_std(x, n, 1), get(s, "std1"), 1e-13);
        SAME(ws_pearson(x, y, n, &used), get(s, "pearson"), 1e-12);
        assert_int_equal(used, (int64_t)get(s, "n"));
    }
    json_array_foreach(json_object_get(f, "intervals"), i, s) {
        double x[1000];
        for (size_t j = 0; j < 1000; j++) x[j] = at(json_object_get(s, "x"), j);
        ws_interval v = ws_interval_of(x, 1000);
        SAME(v.lo, get(s, "lo"), 1e-14);
        SAME(v.hi, get(s, "hi"), 1e-14);
    }
    double holes[10] = {1, 2, 3, NAN, NAN, NAN, NAN, NAN, NAN, 4};
    assert_true(isnan(ws_interval_of(holes, 10).lo));
    assert_true(isnan(ws_quantile(holes, 0, 0.5)));
    assert_true(isnan(ws_mean(holes + 3, 5)));
    assert_true(isnan(ws_std(holes + 3, 5, 1)));
    assert_true(isnan(ws_pearson(holes, holes, 1, NULL)));
    json_decref(f);
}

static void bootstrap_indices_are_a_pure_function_and_cover_all(void **state) {
    (void)state;
    int seen[7] = {0};
    for (int d = 0; d < 100; d++)
        for (int i = 0; i < 7; i++) {
            int64_t k = ws_boot_index(3, "test", d, i, 7);
            assert_true(k >= 0 && k < 7);
            assert_int_equal(k, ws_boot_index(3, "test", d, i, 7));
            seen[k]++;
        }
    for (int k = 0; k < 7; k++) assert_in_range(seen[k], 60, 140); /* 100 expected, standard deviation 9 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(visits_the_strengths_of_the_restatement),
        cmocka_unit_test(a_number_that_is_none_is_refused_with_its_strength),
        cmocka_unit_test(the_widest_bracket_fits),
        cmocka_unit_test(statistics_agree_with_numpy),
        cmocka_unit_test(bootstrap_indices_are_a_pure_function_and_cover_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
