/* tests/test_train_schedule.c - split, order, groups and learning rate against datasets, accelerate and the real Trainer. */
#include "peft_help.h"
#include "train/schedule.h"

static void check_list(const json_t *want, const int64_t *got, int64_t n) {
    assert_int_equal(json_array_size(want), n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(json_integer_value(json_array_get(want, (size_t)i)), got[i]);
}

static void splits_and_orders_are_the_librarys(void **state) {
    fixture *f = *state;
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(f->info, "orders"), i, o) {
        ws_err err = {0};
        ws_schedule s;
        int64_t n = json_integer_value(json_object_get(o, "n"));
        OK(ws_schedule_new(&s, n, 0.1, 1, 4, 4, 2, 0, 1e-4, 5, (uint64_t)json_integer_value(json_object_get(o, "seed")),
                           &err));
        check_list(json_object_get(o, "test"), s.test, s.n_test);
        const json_t *epochs = json_object_get(o, "epochs");
        for (int64_t e = 0; e < 2; e++) {
            int64_t *all = malloc((size_t)s.n_train * sizeof *all), at = 0;
            for (int64_t k = e * s.per_epoch; k < (e + 1) * s.per_epoch; k++) {
                const int64_t *rows, n_rows = ws_schedule_rows(&s, k, &rows);
                assert_true(n_rows > 0 && n_rows <= 16);
                memcpy(all + at, rows, (size_t)n_rows * sizeof *all);
                at += n_rows;
            }
            assert_int_equal(at, s.n_train);
            check_list(json_array_get(epochs, (size_t)e), all, at);
            free(all);
        }
        assert_int_equal(s.total, 2 * s.per_epoch);
        ws_schedule_release(&s);
    }
}

/* The micro-batches that the Trainer's collator saw, in its order (training; evaluation at steps 10, 20 and 30). */
static void micro_batches_are_the_trainers(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_schedule s;
    const json_t *t = json_object_get(f->info, "train"), *seen = json_object_get(t, "batches"),
                 *eval = json_object_get(t, "eval_batches"), *lr = json_object_get(t, "log_lr");
    OK(ws_schedule_new(&s, (int64_t)json_array_size(json_object_get(t, "rows")), 0.1, 1, 2, 4, 10, 0, 2e-3, 5, 42,
                       &err));
    assert_int_equal(s.total, 30);
    size_t at = 0, e = 0;
    for (int64_t k = 0; k < s.total; k++) {
        const int64_t *rows, n = ws_schedule_rows(&s, k, &rows);
        for (int64_t i = 0; i < n; i += 2) check_list(json_array_get(seen, at++), rows + i, n - i < 2 ? n - i : 2);
        double want = json_number_value(json_array_get(lr, (size_t)k));
        assert_true(fabs(ws_schedule_lr(&s, k) - want) <= 1e-15 * want);
        if ((k + 1) % 10 == 0)
            for (int64_t i = 0; i < s.n_test; i += 2)
                check_list(json_array_get(eval, e++), s.test + i, s.n_test - i < 2 ? s.n_test - i : 2);
    }
    assert_int_equal(at, json_array_size(seen));
    assert_int_equal(e, json_array_size(eval));
    ws_schedule_release(&s);
}

/* adapters.md 4.5, by hand. */
static void steps_and_rates(void **state) {
    (void)state;
    ws_err err = {0};
    ws_schedule s;
    const int64_t *rows;
    OK(ws_schedule_new(&s, 40, 0, 0, 4, 4, 1, 0, 2e-4, 5, 0, &err)); /* 10 batches: 4 + 4 + 2 */
    assert_int_equal(s.per_epoch, 3);
    assert_int_equal(s.total, 3);
    assert_int_equal(ws_schedule_rows(&s, 2, &rows), 8);
    for (int i = 0; i < 8; i++) assert_int_equal(rows[i], 32 + i); /* file order, nothing held out */
    assert_true(ws_schedule_lr(&s, 0) == 0 && ws_schedule_lr(&s, 1) == 2e-4 * 0.2);
    ws_schedule_release(&s);
    OK(ws_schedule_new(&s, 40, 0, 1, 4, 4, 2.5, 0, 1, 5, 0, &err));
    assert_int_equal(s.total, 8); /* ceil(2.5 * 3) */
    ws_schedule_release(&s);
    OK(ws_schedule_new(&s, 3, 0, 1, 4, 4, 1, 7, 1, 2, 0, &err)); /* one short batch an epoch; max_steps wins */
    assert_int_equal(s.total, 7);
    assert_true(ws_schedule_lr(&s, 2) == 1 && fabs(ws_schedule_lr(&s, 6) - 0.2) < 1e-15);
    ws_schedule_release(&s);
    REFUSED(WS_EUSAGE, "--holdout", ws_schedule_new(&s, 1, 0.5, 1, 4, 4, 1, 0, 1, 5, 0, &err));
    ws_schedule_release(&s);
    REFUSED(WS_EUSAGE, "--epochs", ws_schedule_new(&s, 10, 0, 1, 4, 4, 0, 0, 1, 5, 0, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(splits_and_orders_are_the_librarys, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(micro_batches_are_the_trainers, fixture_setup, fixture_teardown),
        cmocka_unit_test(steps_and_rates),
    };
    return cmocka_run_group_tests_name("train/schedule", tests, NULL, NULL);
}
