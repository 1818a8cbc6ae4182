/* tests/test_train_trainer.c - 30 optimiser steps against transformers' Trainer with PEFT (fp32, adamw_torch): loss, gradient
 * norm, learning rate, evaluation, final tensors; and what a run does when it is killed, interrupted, repeated or mixed up.
 * Tolerances (adapters.md 5): loss 1e-5, tensors 5e-6 absolute.  The last test shows that a trainer without weight decay, or
 * with one step more in its schedule, is outside them. */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/parallel.h"
#include "io/csv.h"
#include "peft_help.h"
#include "train/train.h"
#include <signal.h>
#include <sys/wait.h>

static ws_examples *rows_of_trainer(const fixture *f) {
    const json_t *rows = json_object_get(json_object_get(f->info, "train"), "rows");
    ws_example row[32];
    int n = (int)json_array_size(rows);
    for (int i = 0; i < n; i++) {
        const json_t *r = json_array_get(rows, (size_t)i), *x = json_object_get(r, "ids");
        row[i].n = (int)json_array_size(x), row[i].first = (int)json_integer_value(json_object_get(r, "first"));
        row[i].ids = malloc((size_t)row[i].n * sizeof(int32_t));
        for (int k = 0; k < row[i].n; k++) row[i].ids[k] = (int32_t)json_integer_value(json_array_get(x, (size_t)k));
    }
    ws_examples *e = ws_examples_from_ids(row, n, WS_POS, "trainer rows");
    for (int i = 0; i < n; i++) free(row[i].ids);
    return e;
}

static ws_train_options trainer_options(const char *out) {
    ws_train_options o;
    ws_train_defaults(&o);
    o.adapter =
        (ws_adapter_config){.kind = "lora", .rank = 4, .alpha = 8, .layer_begin = 1, .layer_end = 3, .targets = NULL};
    o.batch = 2, o.accum = 4, o.epochs = 10, o.lr = 2e-3, o.seed = 42, o.out = out;
    return o;
}

/* Largest |final tensor - Trainer's|. */
static double final_error(const fixture *f, const char *dir) {
    ws_err err = {0};
    ws_adapter *a;
    double worst = 0;
    OK(ws_adapter_load(&a, f->m, dir, &err));
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i);
        char *name = param_name(f, p);
        double e = worst_error(p->value, want_tensor(f, "final.%s", name)->data, p->rows * p->cols, NULL);
        worst = e > worst ? e : worst;
        free(name);
    }
    ws_adapter_free(a);
    return worst;
}

static double column_error(const ws_csv *c, const char *name, const json_t *want, int relative) {
    int col = ws_csv_col(c, name);
    double worst = 0;
    assert_true(col >= 0);
    for (int r = 0; r < c->rows; r++) {
        double w = json_number_value(json_array_get(want, (size_t)r)), e = fabs(atof(c->cell[r * c->cols + col]) - w);
        if (relative && w != 0) e /= fabs(w);
        worst = e > worst || isnan(e) ? e : worst;
    }
    return worst;
}

static void thirty_steps_follow_the_trainer(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_csv c;
    char out[96], path[128];
    const json_t *t = json_object_get(f->info, "train"), *eval = json_object_get(t, "eval_loss"),
                 *eval_step = json_object_get(t, "eval_step");
    snprintf(out, sizeof out, "%s/run", f->tmp);
    ws_train_options o = trainer_options(out);
    ws_examples *data = rows_of_trainer(f);
    OK(ws_train(f->m, data, &o, &r, &err));
    assert_int_equal(r.steps, 30);
    snprintf(path, sizeof path, "%s/log.csv", out);
    OK(ws_csv_load(&c, path, &err));
    assert_int_equal(c.rows, 30);
    double loss = column_error(&c, "loss", json_object_get(t, "loss"), 0),
           norm = column_error(&c, "grad_norm", json_object_get(t, "grad_norm"), 1);
    double lr = column_error(&c, "lr", json_object_get(t, "log_lr"), 1), tensors = final_error(f, out), worst_eval = 0;
    int col = ws_csv_col(&c, "eval_loss"), found = 0;
    for (int k = 0; k < c.rows; k++) {
        const char *cell = c.cell[k * c.cols + col];
        if (!*cell) continue;
        assert_int_equal(k + 1, json_integer_value(json_array_get(eval_step, (size_t)found)));
        double e = fabs(atof(cell) - json_number_value(json_array_get(eval, (size_t)found++)));
        worst_eval = e > worst_eval ? e : worst_eval;
    }
    assert_int_equal(found, json_array_size(eval));
    printf("  loss %.1e, grad norm (relative) %.1e, lr %.1e, eval loss %.1e, final tensors %.1e\n", loss, norm, lr,
           worst_eval, tensors);
    assert_true(loss < 1e-5);
    assert_true(norm < 1e-5);
    assert_true(lr < 1e-15);
    assert_true(worst_eval < 1e-5);
    assert_true(tensors < 5e-6);
    ws_csv_free(&c);
    ws_examples_free(data);
}

/* eval_loss on the untrained base against the arithmetic of adapters.md 4.6 in this file's own words: 3 rows in batches of
 * 2; weights are numbers of sequences.  nll of single rows comes from passes of one row each. */
static void evaluation_weighs_batches_by_sequences(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_examples *data = rows_of_trainer(f);
    const int64_t rows[3] = {3, 4, 6};
    double nll[3], loss, n[3];
    for (int i = 0; i < 3; i++) {
        const ws_example *x = &data->row[rows[i]];
        ws_train_row row = {x->ids, x->n, x->first, 1};
        ws_train_out out;
        OK(ws_train_pass(f->m, &row, 1, NULL, 0, -1, &out, NULL, &err));
        nll[i] = out.nll, n[i] = x->n - x->first;
    }
    OK(ws_train_evaluate(f->m, data, rows, 3, 2, NULL, 0, &loss, &err));
    double want = ((nll[0] + nll[1]) / (n[0] + n[1]) * 2 + nll[2] / n[2]) / 3;
    assert_true(fabs(loss - want) < 1e-7);
    const int64_t empty[1] = {5}; /* no label at all: left out, no number to give */
    OK(ws_train_evaluate(f->m, data, empty, 1, 2, NULL, 0, &loss, &err));
    assert_true(isnan(loss));
    ws_examples_free(data);
}

static void the_first_step_changes_nothing(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    ws_adapter *fresh, *after;
    char out[96];
    ws_adapter_config cfg = {.kind = "lora", .rank = 4, .alpha = 8, .layer_begin = 1, .layer_end = 3, .targets = NULL};
    OK(ws_adapter_new(&fresh, f->m, &cfg, &err));
    ws_adapter_init(fresh, 42);
    for (int steps = 1; steps <= 2; steps++) {
        snprintf(out, sizeof out, "%s/steps%d", f->tmp, steps);
        ws_train_options o = trainer_options(out);
        o.max_steps = steps;
        OK(ws_train(f->m, data, &o, &r, &err));
        OK(ws_adapter_load(&after, f->m, out, &err));
        int same =
            !memcmp(ws_adapter_values(fresh), ws_adapter_values(after), (size_t)ws_adapter_size(fresh) * sizeof(float));
        assert_int_equal(same, steps == 1);
        ws_adapter_free(after);
    }
    ws_adapter_free(fresh);
    ws_examples_free(data);
}

static void same_bytes(const char *dir_a, const char *dir_b, const char *file) {
    ws_err err = {0};
    ws_str a = {0}, b = {0};
    char *pa = ws_path_join(dir_a, file), *pb = ws_path_join(dir_b, file);
    OK(ws_file_read(pa, &a, &err));
    OK(ws_file_read(pb, &b, &err));
    if (a.n != b.n || memcmp(a.p, b.p, a.n)) fail_msg("%s and %s differ", pa, pb);
    ws_str_free(&a), ws_str_free(&b);
    free(pa), free(pb);
}

/* Bytes that keep the longest row, and not two of them. */
static int64_t memory_of_a_row(const fixture *f, const ws_examples *data) {
    ws_err err = {0};
    ws_adapter *a;
    int longest = 0;
    for (int i = 0; i < data->n; i++) longest = data->row[i].n > longest ? data->row[i].n : longest;
    const ws_train_options o = trainer_options("");
    OK(ws_adapter_new(&a, f->m, &o.adapter, &err));
    ws_patch *patch = ws_adapter_patch(a);
    const ws_train_plan one = ws_train_plan_for(f->m, longest, longest, &patch, 1, 0, INT64_MAX);
    const int64_t bytes = one.activations + one.scratch;
    const ws_train_plan two = ws_train_plan_for(f->m, 2 * longest, longest, &patch, 1, 0, bytes);
    assert_true(two.part == longest && !two.recompute);
    ws_adapter_free(a);
    return bytes;
}

static void threads_and_memory_change_no_bit(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    char a[96], b[96];
    snprintf(a, sizeof a, "%s/a", f->tmp), snprintf(b, sizeof b, "%s/b", f->tmp);
    ws_train_options o = trainer_options(a);
    o.max_steps = 6;
    ws_threads_set(1);
    OK(ws_train(f->m, data, &o, &r, &err));
    ws_threads_set(ws_cores() > 1 ? 0 : 2);
    const int64_t memory[] = {1, memory_of_a_row(f, data)}; /* blocks are recomputed; rows run one by one */
    for (int i = 0; i < 2; i++) {
        o.out = b, o.memory = memory[i], o.fresh = 1;
        OK(ws_train(f->m, data, &o, &r, &err));
        same_bytes(a, b, "adapter_model.safetensors");
        same_bytes(a, b, "log.csv");
    }
    ws_threads_set(0);
    ws_examples_free(data);
}

/* Trains in a child process, which is killed (`sig`) as soon as its log shows `rows` steps; the same call then finishes. */
static void killed_and_resumed(fixture *f, int sig, int rows, int save_every) {
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    char whole[96], cut[96], log[128];
    snprintf(whole, sizeof whole, "%s/whole", f->tmp), snprintf(cut, sizeof cut, "%s/cut", f->tmp);
    snprintf(log, sizeof log, "%s/log.csv", cut);
    ws_train_options o = trainer_options(whole);
    OK(ws_train(f->m, data, &o, &r, &err));

    o.out = cut, o.save_every = save_every, o.epochs = 10;
    pid_t child = fork();
    if (!child) {
        ws_interrupt_install();
        ws_threads_set(1); /* OpenMP's threads did not survive the fork */
        ws_log_level(0);
        _exit(ws_train(f->m, data, &o, &r, &err));
    }
    for (int tries = 0; tries < 2000000; tries++) {
        ws_str s = {0};
        ws_err unused;
        int lines = 0, rc;
        if (ws_file_exists(log) && !ws_file_read(log, &s, &unused))
            for (size_t i = 0; i < s.n; i++) lines += s.p[i] == '\n';
        ws_str_free(&s);
        if (lines > rows) {
            kill(child, sig);
            break;
        }
        if (waitpid(child, &rc, WNOHANG) == child) fail_msg("the child ended by itself");
    }
    int rc;
    waitpid(child, &rc, 0);
    if (sig == SIGKILL)
        assert_true(WIFSIGNALED(rc));
    else
        assert_int_equal(WIFEXITED(rc) ? WEXITSTATUS(rc) : -1, WS_EINTERRUPTED);
    char *model = ws_path_join(cut, "adapter_model.safetensors");
    assert_false(ws_file_exists(model)); /* nothing half finished looks finished */
    free(model);

    OK(ws_train(f->m, data, &o, &r, &err));
    printf("  resumed after step %lld of 30\n", (long long)r.resumed);
    assert_true(r.resumed >= (sig == SIGKILL ? rows / save_every * save_every - save_every : rows) && r.resumed < 30 &&
                r.resumed > 0);
    same_bytes(whole, cut, "adapter_model.safetensors");
    same_bytes(whole, cut, "adapter_config.json");
    same_bytes(whole, cut, "log.csv");
    ws_examples_free(data);
}

static void sigkill_costs_no_bit(void **state) { killed_and_resumed(*state, SIGKILL, 8, 3); }
static void sigint_saves_and_resumes(void **state) { killed_and_resumed(*state, SIGINT, 8, 1000); }

static void a_finished_run_is_recognised(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    char out[96], path[128];
    snprintf(out, sizeof out, "%s/run", f->tmp);
    ws_train_options o = trainer_options(out);
    o.max_steps = 3;
    OK(ws_train(f->m, data, &o, &r, &err));
    double loss = r.loss;
    assert_false(r.up_to_date);
    OK(ws_train(f->m, data, &o, &r, &err));
    assert_true(r.up_to_date && r.steps == 3 && r.loss == loss);
    o.save_every = 1, o.memory = 12345; /* how it is run is no part of the configuration */
    OK(ws_train(f->m, data, &o, &r, &err));
    assert_true(r.up_to_date);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", out);
    assert_int_equal(truncate(path, 1000), 0); /* a damaged result is made again */
    OK(ws_train(f->m, data, &o, &r, &err));
    assert_false(r.up_to_date);
    ws_examples_free(data);
}

static void another_run_in_the_same_place_is_refused(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    char out[96];
    snprintf(out, sizeof out, "%s/run", f->tmp);
    ws_train_options o = trainer_options(out);
    o.max_steps = 3;
    OK(ws_train(f->m, data, &o, &r, &err));
    o.lr = 1e-3, o.seed = 1;
    REFUSED(WS_ESTATE, "lr 0.002 there, 0.001 here", ws_train(f->m, data, &o, &r, &err));
    assert_non_null(strstr(err.msg, "seed 42 there, 1 here"));
    o = trainer_options(out), o.max_steps = 3;
    data->row[0].ids[0]++;
    ws_examples *other = ws_examples_from_ids(data->row, data->n, WS_POS, "other rows");
    REFUSED(WS_ESTATE, "trainer rows there, other rows here", ws_train(f->m, other, &o, &r, &err));
    o.fresh = 1;
    OK(ws_train(f->m, other, &o, &r, &err));
    assert_false(r.up_to_date);
    o = trainer_options(PEFT_DIR "pos"); /* somebody else's adapter is not written over */
    REFUSED(WS_ESTATE, "--fresh", ws_train(f->m, other, &o, &r, &err));
    char *lock = ws_path_join(PEFT_DIR "pos", ".lock");
    unlink(lock);
    free(lock);
    ws_examples_free(other);
    ws_examples_free(data);
}

static void training_goes_on_from_an_adapter(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    ws_adapter *a, *b;
    char out[96];
    snprintf(out, sizeof out, "%s/run", f->tmp);
    ws_train_options o = trainer_options(out);
    o.init = PEFT_DIR "neg", o.max_steps = 1; /* rate 0: the tensors come out as they went in, ranks and all */
    OK(ws_train(f->m, data, &o, &r, &err));
    OK(ws_adapter_load(&a, f->m, out, &err));
    OK(ws_adapter_load(&b, f->m, PEFT_DIR "neg", &err));
    assert_int_equal(ws_adapter_size(a), ws_adapter_size(b));
    assert_memory_equal(ws_adapter_values(a), ws_adapter_values(b), (size_t)ws_adapter_size(a) * sizeof(float));
    ws_adapter_free(a), ws_adapter_free(b);
    ws_examples_free(data);
}

static void a_loss_that_is_not_finite_stops_the_run(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    char out[96], ck[128], model[128];
    snprintf(out, sizeof out, "%s/run", f->tmp);
    snprintf(ck, sizeof ck, "%s/checkpoint.safetensors", out),
        snprintf(model, sizeof model, "%s/adapter_model.safetensors", out);
    ws_train_options o = trainer_options(out);
    o.lr = 1e30, o.warmup = 0, o.clip = 0, o.save_every = 1;
    REFUSED(WS_ENONFINITE, "training step", ws_train(f->m, data, &o, &r, &err));
    printf("  %s\n", err.msg);
    assert_true(ws_file_exists(ck));
    assert_false(ws_file_exists(model));
    ws_examples_free(data);
}

static void a_step_without_labels_is_an_error(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    int32_t ids[4] = {3, 4, 5, 6};
    ws_example row = {ids, 4, 4};
    ws_examples *data = ws_examples_from_ids(&row, 1, WS_NEG, "rows");
    char out[96];
    snprintf(out, sizeof out, "%s/run", f->tmp);
    ws_train_options o = trainer_options(out);
    o.holdout = 0;
    REFUSED(WS_EFORMAT, "--max-len", ws_train(f->m, data, &o, &r, &err));
    ws_examples_free(data);
}

/* Negative controls: the two mistakes that are easiest to make must be outside the tolerance of the first test. */
static void the_comparison_sees_small_mistakes(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_train_result r;
    ws_examples *data = rows_of_trainer(f);
    char a[96], b[96];
    snprintf(a, sizeof a, "%s/a", f->tmp), snprintf(b, sizeof b, "%s/b", f->tmp);
    ws_train_options o = trainer_options(a);
    o.weight_decay = 0;
    OK(ws_train(f->m, data, &o, &r, &err));
    double no_decay = final_error(f, a);
    o = trainer_options(b);
    o.warmup = 6; /* the schedule moved by one step */
    OK(ws_train(f->m, data, &o, &r, &err));
    double shifted = final_error(f, b);
    printf("  without decay %.1e, schedule off by one %.1e\n", no_decay, shifted);
    assert_true(no_decay > 5e-6 && shifted > 5e-6);
    ws_examples_free(data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(thirty_steps_follow_the_trainer),
                                       T(evaluation_weighs_batches_by_sequences),
                                       T(the_first_step_changes_nothing),
                                       T(threads_and_memory_change_no_bit),
                                       T(sigkill_costs_no_bit),
                                       T(sigint_saves_and_resumes),
                                       T(a_finished_run_is_recognised),
                                       T(another_run_in_the_same_place_is_refused),
                                       T(training_goes_on_from_an_adapter),
                                       T(a_loss_that_is_not_finite_stops_the_run),
                                       T(a_step_without_labels_is_an_error),
                                       T(the_comparison_sees_small_mistakes)};
    ws_log_level(0);
    return cmocka_run_group_tests_name("train/trainer", tests, NULL, NULL);
}
