/* tests/test_train_rooms.c - 30 optimiser steps of every adapter against transformers' Trainer with PEFT (LoRA's stand in
 * test_train_trainer.c): the same rows, a short last batch and a short last group in each of ten epochs.
 * Tolerances (adapters.md 5, test 7): loss and evaluation 1e-5, gradient norm 1e-5 of its size, learning rate to the last
 * digit, final tensors 5e-6 absolute.  DeLoRA starts from perturbed values (its fresh start is chaotic, adapters.md 4.7),
 * PiSSA from PEFT's own, as singular vectors have no sign. */
#include "adapter_help.h"
#include "io/csv.h"
#include "train/train.h"

static ws_examples *rows_of_trainer(void) {
    json_t *info;
    ws_err err = {0};
    ws_example row[32];
    OK(ws_json_load(&info, PEFT_DIR "oracle.json", &err));
    const json_t *rows = json_object_get(json_object_get(info, "train"), "rows");
    int n = (int)json_array_size(rows);
    assert_true(n > 0 && n <= 32);
    for (int i = 0; i < n; i++) {
        const json_t *r = json_array_get(rows, (size_t)i), *x = json_object_get(r, "ids");
        row[i].n = (int)json_array_size(x), row[i].first = (int)json_integer_value(json_object_get(r, "first"));
        row[i].ids = malloc((size_t)row[i].n * sizeof(int32_t));
        for (int k = 0; k < row[i].n; k++) row[i].ids[k] = (int32_t)json_integer_value(json_array_get(x, (size_t)k));
    }
    ws_examples *e = ws_examples_from_ids(row, n, WS_POS, "trainer rows");
    for (int i = 0; i < n; i++) free(row[i].ids);
    json_decref(info);
    return e;
}

/* The configuration of the fixture, from options; two kinds bring their directory. */
static ws_train_options options_of(const fixture *f, const char *kind, const char *out) {
    ws_train_options o;
    ws_train_defaults(&o);
    const int all = !strcmp(kind, "ia3");
    o.adapter = (ws_adapter_config){kind, 2, 4, all ? -1 : 1, all ? -1 : 3, NULL, 8, 15};
    if (!strcmp(kind, "delora")) o.init = ADAPTERS "trainer/delora_start";
    if (!strcmp(kind, "pissa")) o.init = ADAPTERS "trainer/pissa_start";
    o.batch = 2, o.accum = 4, o.epochs = 10, o.lr = 2e-3, o.out = out;
    o.seed = (uint64_t)json_integer_value(json_object_get(f->info, "train_seed"));
    return o;
}

/* Largest |final tensor - Trainer's|; every trained tensor has to have one. */
static double final_error(const fixture *f, const char *kind, const char *dir) {
    ws_adapter *a = load_from(f->m, "%s", dir);
    double worst = 0;
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i);
        if (!p->grad) continue;
        char *name = param_name(f, p);
        const ws_tensor *t = want_tensor(f, "final.%s.%s", kind, name);
        assert_int_equal(ws_tensor_numel(t), p->rows * p->cols);
        keep_worst(&worst, worst_error(p->value, t->data, p->rows * p->cols, NULL));
        free(name);
    }
    ws_adapter_free(a);
    return worst;
}

typedef struct errors {
    double loss, norm, lr, eval, tensors;
} errors;

static int follows(const errors *e) {
    return e->loss < 1e-5 && e->eval < 1e-5 && e->norm < 1e-5 && e->lr < 1e-15 && e->tensors < 5e-6;
}

static errors compare(const fixture *f, const char *kind, const char *out) {
    ws_err err = {0};
    ws_csv c;
    errors e = {0};
    char path[128];
    const json_t *want = json_object_get(json_object_get(f->info, "kinds"), kind),
                 *loss = json_object_get(want, "loss"), *norm = json_object_get(want, "grad_norm"),
                 *lr = json_object_get(want, "lr"), *eval = json_object_get(want, "eval_loss"),
                 *eval_step = json_object_get(want, "eval_step");
    snprintf(path, sizeof path, "%s/log.csv", out);
    OK(ws_csv_load(&c, path, &err));
    assert_int_equal(c.rows, 30);
    int col[4] = {ws_csv_col(&c, "loss"), ws_csv_col(&c, "grad_norm"), ws_csv_col(&c, "lr"),
                  ws_csv_col(&c, "eval_loss")};
    size_t found = 0;
    for (int r = 0; r < c.rows; r++) {
        const char *cell[4];
        for (int k = 0; k < 4; k++) cell[k] = c.cell[r * c.cols + col[k]];
        double l = json_number_value(json_array_get(loss, (size_t)r)),
               n = json_number_value(json_array_get(norm, (size_t)r)),
               rate = json_number_value(json_array_get(lr, (size_t)r));
        keep_worst(&e.loss, fabs(atof(cell[0]) - l));
        keep_worst(&e.norm, fabs(atof(cell[1]) - n) / n);
        keep_worst(&e.lr, rate != 0 ? fabs(atof(cell[2]) - rate) / rate : fabs(atof(cell[2])));
        if (!*cell[3]) continue;
        assert_int_equal(r + 1, json_integer_value(json_array_get(eval_step, found)));
        keep_worst(&e.eval, fabs(atof(cell[3]) - json_number_value(json_array_get(eval, found++))));
    }
    assert_int_equal(found, json_array_size(eval));
    ws_csv_free(&c);
    e.tensors = final_error(f, kind, out);
    return e;
}

static int setup(void **state) {
    fixture *f = *state = malloc(sizeof(fixture));
    part_open(f, "trainer", PEFT_DIR "model");
    return 0;
}

static void thirty_steps_follow_the_trainer(void **state) {
    fixture *f = *state;
    ws_examples *data = rows_of_trainer();
    for (int k = 0; k < ALL_KINDS; k++) {
        const char *kind = all_kinds[k];
        ws_err err = {0};
        ws_train_result r;
        char out[96];
        if (!strcmp(kind, "lora")) continue; /* test_train_trainer.c */
        snprintf(out, sizeof out, "%s/%s", f->tmp, kind);
        ws_train_options o = options_of(f, kind, out);
        OK(ws_train(f->m, data, &o, &r, &err));
        assert_int_equal(r.steps, 30);
        errors e = compare(f, kind, out);
        printf("  %-6s loss %.1e, grad norm (relative) %.1e, lr %.1e, eval loss %.1e, final tensors %.1e\n", kind,
               e.loss, e.norm, e.lr, e.eval, e.tensors);
        if (!follows(&e)) fail_msg("%s does not follow the Trainer", kind);
    }
    ws_examples_free(data);
}

/* The rate of the first step is 0: tensors come out as they went in, to the last bit; the second step moves them. */
static void the_first_step_changes_nothing(void **state) {
    fixture *f = *state;
    ws_examples *data = rows_of_trainer();
    for (int k = 0; k < ALL_KINDS; k++)
        for (int steps = 1; steps <= 2; steps++) {
            ws_err err = {0};
            ws_train_result r;
            ws_adapter *fresh;
            char out[96];
            snprintf(out, sizeof out, "%s/%s%d", f->tmp, all_kinds[k], steps);
            ws_train_options o = options_of(f, all_kinds[k], out);
            o.max_steps = steps, o.init = NULL;
            OK(ws_adapter_new(&fresh, f->m, &o.adapter, &err));
            ws_adapter_init(fresh, o.seed);
            OK(ws_train(f->m, data, &o, &r, &err));
            ws_adapter *after = load_from(f->m, "%s", out);
            int same = !memcmp(ws_adapter_values(fresh), ws_adapter_values(after),
                               (size_t)ws_adapter_size(fresh) * sizeof(float));
            if (same != (steps == 1)) fail_msg("%s after %d steps", all_kinds[k], steps);
            ws_adapter_free(after), ws_adapter_free(fresh);
        }
    ws_examples_free(data);
}

/* A trainer without weight decay, or with another schedule, is seen by the same comparison. */
static void other_trainers_are_told_apart(void **state) {
    fixture *f = *state;
    ws_examples *data = rows_of_trainer();
    static const char *const kinds[] = {"dora", "delora", "oft", "boft", "ia3"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int how = 0; how < 2; how++) {
            ws_err err = {0};
            ws_train_result r;
            char out[96];
            snprintf(out, sizeof out, "%s/%s%d", f->tmp, kinds[k], how);
            ws_train_options o = options_of(f, kinds[k], out);
            if (how)
                o.warmup = 4;
            else
                o.weight_decay = 0;
            OK(ws_train(f->m, data, &o, &r, &err));
            errors e = compare(f, kinds[k], out);
            printf("  %-6s %s: loss %.1e, final tensors %.1e\n", kinds[k], how ? "a step less of warmup" : "no decay",
                   e.loss, e.tensors);
            assert_false(follows(&e));
        }
    ws_examples_free(data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(thirty_steps_follow_the_trainer), T(the_first_step_changes_nothing),
                                       T(other_trainers_are_told_apart)};
    return cmocka_run_group_tests_name("train/rooms", tests, NULL, NULL);
}
