/* tests/test_adapter_qwen35.c - LoRA on a hybrid model against PEFT (tools/reference/make_qwen35_peft.py): which modules the
 * usual names and "all-linear" mean, the initial bits in PEFT's order, an adapter that PEFT saved, its loss and gradients.
 * Tolerances: bits are bits; the loss 1e-5 of its size; gradients 1e-4 of their norm, a tensor at a time. */
#include "adapter/adapter.h"
#include "tiny.h"

#define DIR "tests/fixtures/peft/qwen35/"

typedef struct fixture {
    tiny t;
    ws_safetensors *want;
    json_t *info;
} fixture;

static int set_up(void **state) {
    ws_err err = {0};
    fixture *f = *state = malloc(sizeof *f);
    tiny_open(&f->t, "qwen35_1x");
    OK(ws_safetensors_open(&f->want, DIR "expected.st", &err));
    OK(ws_json_load(&f->info, DIR "expected.json", &err));
    return 0;
}
static int tear_down(void **state) {
    fixture *f = *state;
    tiny_close(&f->t);
    ws_safetensors_close(f->want);
    json_decref(f->info);
    free(f);
    return 0;
}

static ws_adapter *own(const fixture *f, const char *targets, int begin, int end) {
    ws_err err = {0};
    ws_adapter *a;
    const ws_adapter_config cfg = {
        .kind = "lora", .rank = 2, .alpha = 4, .layer_begin = begin, .layer_end = end, .targets = targets};
    OK(ws_adapter_new(&a, f->t.m, &cfg, &err));
    return a;
}

static const float *want(const fixture *f, const char *kind, const ws_model *m, const ws_param *p) {
    char name[256];
    snprintf(name, sizeof name, "%s.base_model.model.%s.%s", kind, ws_model_site(m, p->site)->name, p->suffix);
    const ws_tensor *t = ws_safetensors_find(f->want, name);
    if (!t) fail_msg("the fixture has no tensor %s", name);
    assert_int_equal(t->bytes, (size_t)(p->rows * p->cols) * sizeof(float));
    return t->data;
}

static void names_are_pefts(void **state) {
    const fixture *f = *state;
    for (int all = 0; all < 2; all++) {
        const json_t *list = json_object_get(f->info, all ? "all" : "seven");
        ws_adapter *a = all ? own(f, "all-linear", 0, 3) : own(f, NULL, 1, 3);
        assert_int_equal(ws_adapter_n_sites(a), json_array_size(list));
        for (int i = 0; i < ws_adapter_n_sites(a); i++)
            assert_string_equal(ws_adapter_site_name(a, i), json_string_value(json_array_get(list, (size_t)i)));
        ws_adapter_free(a);
    }
    ws_str s = {0};
    ws_adapter *a = own(f, "q_proj,down_proj,out_proj", 0, 3);
    ws_adapter_describe(a, &s);
    assert_string_equal(s.p, "linear_attn.out_proj in 2 layers: 0, 2\nmlp.down_proj in 3 layers: 0-2\n"
                             "self_attn.q_proj in 1 layer: 1");
    ws_str_free(&s);
    ws_adapter_free(a);
    ws_err err = {0};
    const ws_adapter_config cfg = {
        .kind = "lora", .rank = 2, .alpha = 4, .layer_begin = 0, .layer_end = 3, .targets = "conv1d"};
    assert_int_equal(ws_adapter_new(&a, f->t.m, &cfg, &err), WS_EUSAGE);
    assert_non_null(strstr(err.msg, "in_proj_qkv")); /* what there is instead */
}

static void initial_tensors_are_torchs_bits(void **state) {
    const fixture *f = *state;
    ws_adapter *a = own(f, "all-linear", 0, 3);
    ws_adapter_init(a, (uint64_t)json_integer_value(json_object_get(f->info, "init_seed")));
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i);
        if (strcmp(p->suffix, "lora_A.weight")) continue;
        assert_memory_equal(p->value, want(f, "init", f->t.m, p), (size_t)(p->rows * p->cols) * sizeof(float));
    }
    ws_adapter_free(a);
}

static void loss_and_gradients_are_pefts(void **state) {
    const fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a;
    OK(ws_adapter_load(&a, f->t.m, DIR "adapter", &err));
    const json_t *row = json_object_get(f->info, "row"), *list = json_object_get(row, "ids");
    int32_t ids[64];
    int n = (int)json_array_size(list);
    for (int i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    const ws_train_row r = {ids, n, (int)json_integer_value(json_object_get(row, "first")), 1};
    double nll = json_real_value(json_object_get(row, "nll"));
    for (int recompute = 0; recompute < 2; recompute++) {
        ws_train_out out;
        ws_patch *patch = ws_adapter_patch(a);
        ws_adapter_zero_grad(a);
        ws_model_set_recompute(f->t.m, recompute);
        OK(ws_train_pass(f->t.m, &r, 1, &patch, 1, 0, &out, NULL, &err));
        ws_adapter_finish_grad(a);
        assert_true(fabs(out.nll - nll) < 1e-5 * nll);
        double worst = 0;
        for (int i = 0; i < ws_adapter_n_params(a); i++) {
            const ws_param *p = ws_adapter_param(a, i);
            double e = relative_f(p->grad, want(f, "grad", f->t.m, p), p->rows * p->cols);
            worst = e > worst || isnan(e) ? e : worst;
        }
        printf("  largest relative gradient error %.2e\n", worst);
        assert_true(worst < 1e-4);
    }
    ws_model_set_recompute(f->t.m, 0);
    ws_adapter_free(a);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(names_are_pefts), T(initial_tensors_are_torchs_bits),
                                       T(loss_and_gradients_are_pefts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
