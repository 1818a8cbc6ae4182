/* tests/test_base_profile.c - the profile's rows add up: nested time counts once, loops' workers do not count, stages go on
 * under their name. */
#include "base/parallel.h"
#include "base/profile.h"
#include "base/progress.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void busy(double seconds) {
    for (double t = ws_now(); ws_now() - t < seconds;) {}
}

static void in_loop(void *arg, int64_t begin, int64_t end) {
    (void)arg, (void)begin, (void)end;
    ws_profile_enter("never");
    ws_profile_leave(1e9, 0);
}

/* calls, seconds of the row `kernel` under the heading `stage`. */
static void row(const char *table, const char *stage, const char *kernel, long long *calls, double *seconds) {
    char head[64], name[64];
    snprintf(head, sizeof head, "\n%s ", stage), snprintf(name, sizeof name, "\n%s ", kernel);
    const char *s = strstr(table, head), *next = s ? strstr(s, "\n\n") : NULL, *p = s ? strstr(s, name) : NULL;
    *calls = -1;
    if (!p || (next && p > next)) return;
    assert_int_equal(sscanf(p + 1 + strlen(kernel), "%lld %lf", calls, seconds), 2);
}

static void rows_add_up(void **state) {
    (void)state;
    ws_str t = {0};
    long long calls;
    double outer, inner, rest, whole;
    ws_profile_enter("before"); /* off: nothing is kept */
    ws_profile_leave(0, 0);
    assert_false(ws_profile_on());
    ws_profile_table(&t, 1, 0, 1);
    assert_int_equal(t.n, 0);
    ws_profile_start("first");
    assert_true(ws_profile_on());
    for (int i = 0; i < 2; i++) {
        ws_profile_enter("outer");
        busy(0.02);
        ws_profile_enter("inner");
        busy(0.03);
        ws_profile_leave(3e6, 0);
        ws_profile_leave(0, 0);
    }
    ws_parallel_for(8, 1, in_loop, NULL);
    busy(0.01);
    ws_profile_stage("second");
    busy(0.05);
    ws_profile_enter("outer");
    ws_profile_leave(0, 0);
    ws_profile_stage("first");
    busy(0.01);
    ws_profile_table(&t, 10, 0, 0);
    row(t.p, "first", "outer", &calls, &outer);
    assert_int_equal(calls, 2);
    row(t.p, "first", "inner", &calls, &inner);
    assert_int_equal(calls, 2);
    /* bounds hold from below whatever else the machine does; sums hold up to the printed digits */
    assert_true(outer >= 0.0395 && inner >= 0.0595);
    row(t.p, "first", "everything else", &calls, &rest);
    row(t.p, "first", "the whole stage", &calls, &whole);
    assert_true(calls == 4 && rest >= 0.0195 && whole < outer + inner + rest + 0.003);
    row(t.p, "first", "never", &calls, &whole);
    assert_int_equal(calls, -1);
    row(t.p, "second", "outer", &calls, &whole);
    assert_int_equal(calls, 1);
    assert_null(strstr(t.p, "before"));
    ws_str_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_add_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
