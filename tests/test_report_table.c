/* Tables: ranking rules, the printed forms against golden files, full numbers in CSV and JSON. */
#include "report/table.h"
#include "golden.h"
#include "base/err.h"
#include <math.h>
#include <stdlib.h>

/* Invented figures; the rules to show: two rows share a best, NaN and unranked rows never win, spread has its own mark. */
static ws_table *sample(void) {
    ws_table *t = ws_table_new("dlogit", "dlogit of \"is wrong\", +alpha (n = 40 vignettes)");
    ws_table_column(t, "method", "method", WS_CELL_TEXT, NULL, WS_BEST_NONE);
    ws_table_column(t, "auth", "dAuth ± std", WS_CELL_SD, "%+.2f", WS_BEST_MIN);
    ws_table_column(t, "care", "dCare ± std", WS_CELL_SD, "%+.2f", WS_BEST_NEAR_ZERO);
    ws_table_column(t, "si", "SI [95%]", WS_CELL_CI, "%.1f", WS_BEST_MAX);
    ws_table_column(t, "n", "n", WS_CELL_NUM, "%.0f", WS_BEST_NONE);
    ws_table_row(t), ws_table_text(t, "lora"), ws_table_sd(t, -0.512, 0.211), ws_table_sd(t, -0.004, 0.4);
    ws_table_ci(t, 12.25, 3, 20), ws_table_num(t, 40);
    ws_table_row(t), ws_table_text(t, "dora | <b>"), ws_table_sd(t, -1.25, 0.5), ws_table_sd(t, 0.31, 0.2);
    ws_table_none(t, "n_rej = 3"), ws_table_num(t, 40);
    ws_table_row(t), ws_table_text(t, "pissa"), ws_table_sd(t, NAN, NAN), ws_table_sd(t, 0.004, 0.7);
    ws_table_ci(t, 12.25, -1, 30), ws_table_num(t, 0);
    ws_table_row(t), ws_table_text(t, "prompt"), ws_table_sd(t, -9, 0.01), ws_table_sd(t, 0, 0.1);
    ws_table_ci(t, 99, 98, 100), ws_table_num(t, 40), ws_table_unranked(t);
    ws_table_note(t, "k = 2; floor of pmass %.1f", 0.5);
    return t;
}

static void test_printed_forms(void **state) {
    (void)state;
    ws_table *t = sample();
    ws_str s = {0};
    ws_table_print(t, &s, 0);
    ws_str_adds(&s, "\n=====\n");
    ws_table_markdown(t, &s);
    ws_str_adds(&s, "\n=====\n");
    ws_table_html(t, &s);
    golden("table.exp", s.p);
    ws_str_free(&s);
    ws_table_free(t);
}

static void test_bold_keeps_columns_aligned(void **state) {
    (void)state;
    ws_table *t = sample();
    ws_str a = {0}, b = {0}, plain = {0};
    ws_table_print(t, &a, 1);
    for (size_t i = 0; i < a.n; i++) { /* take the escape codes out: the lines must be those of a table without marks */
        if (a.p[i] == '\033')
            i += strcspn(a.p + i, "m");
        else
            ws_str_addc(&plain, a.p[i]);
    }
    ws_table_no_best(t, "x");
    ws_table_print(t, &b, 0);
    assert_memory_equal(plain.p, b.p, plain.n);
    ws_str_free(&a), ws_str_free(&b), ws_str_free(&plain);
    ws_table_free(t);
}

static void test_nothing_is_best_where_said(void **state) {
    (void)state;
    ws_table *t = sample();
    ws_str s = {0};
    ws_table_no_best(t, "the readout carries no signal on this model.");
    ws_table_markdown(t, &s);
    assert_non_null(strstr(s.p, "Nothing is marked as best: the readout carries no signal"));
    assert_null(strstr(s.p, "**-") ? strstr(s.p, "**-") : strstr(s.p, "± **"));
    ws_str_free(&s);
    ws_table_free(t);
}

static void test_one_row_has_no_rival(void **state) {
    (void)state;
    ws_table *t = ws_table_new("one", "one");
    ws_str s = {0};
    ws_table_column(t, "a", "a", WS_CELL_NUM, "%.1f", WS_BEST_MAX);
    ws_table_row(t), ws_table_num(t, 3);
    ws_table_print(t, &s, 0);
    assert_null(strchr(s.p, '*'));
    ws_str_free(&s);
    ws_table_free(t);
}

static void test_csv_has_full_numbers(void **state) {
    (void)state;
    ws_table *t = sample();
    ws_str s = {0};
    ws_table_csv(t, &s);
    assert_string_equal(s.p, "method,auth,auth_std,care,care_std,si,si_lo,si_hi,n\n"
                             "lora,-0.512,0.211,-0.004,0.4,12.25,3,20,40\n"
                             "dora | <b>,-1.25,0.5,0.31,0.2,,,,40\n"
                             "pissa,nan,nan,0.004,0.7,12.25,-1,30,0\n"
                             "prompt,-9,0.01,0,0.1,99,98,100,40\n");
    ws_str_free(&s);
    json_t *j = ws_table_json(t), *row;
    row = json_array_get(json_object_get(j, "rows"), 2);
    assert_true(json_is_null(json_object_get(row, "auth")));
    assert_true(json_real_value(json_object_get(row, "si_lo")) == -1.0);
    assert_int_equal(json_array_size(json_object_get(j, "notes")), 1);
    json_decref(j);
    ws_table_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printed_forms),
        cmocka_unit_test(test_bold_keeps_columns_aligned),
        cmocka_unit_test(test_nothing_is_best_where_said),
        cmocka_unit_test(test_one_row_has_no_rival),
        cmocka_unit_test(test_csv_has_full_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
