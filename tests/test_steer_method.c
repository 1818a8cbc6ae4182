/* tests/test_steer_method.c - `--steer FILE[:ALPHA]` and the kinds of files it opens. */
#include "peft_help.h"
#include "steer/steer.h"

static char *write_dw(const fixture *f, const char *name) {
    ws_err err = {0};
    ws_adapter *a, *b;
    ws_delta *d;
    ws_delta_info info;
    OK(ws_adapter_load(&a, f->m, PEFT_DIR "pos", &err));
    OK(ws_adapter_load(&b, f->m, PEFT_DIR "neg", &err));
    OK(ws_delta_contrast(&d, f->m, a, b, WS_CONTRAST_DW, &info, &err));
    char *path = ws_path_join(f->tmp, name);
    OK(ws_delta_save(d, path, &err));
    ws_delta_free(d);
    ws_adapter_free(a), ws_adapter_free(b);
    return path;
}

static void specs_are_parsed(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_steering s = {0};
    char *plain = write_dw(f, "dw.safetensors"), *odd = write_dw(f, "dw:2"), spec[200];
    const struct {
        const char *path, *tail;
        double alpha;
    } ok[] = {{plain, "", 1}, {plain, ":-2.5", -2.5},       {plain, ":0", 0}, {plain, ":1e-3", 1e-3}, {odd, "", 1},
              {odd, ":3", 3}, {PEFT_DIR "pos", ":0.5", 0.5}};
    for (int i = 0; i < 7; i++) {
        snprintf(spec, sizeof spec, "%s%s", ok[i].path, ok[i].tail);
        OK(ws_steering_add(&s, f->m, spec, 0, &err));
        assert_int_equal(s.n, i + 1);
        assert_true(s.alpha[i] == (float)ok[i].alpha);
        assert_ptr_equal(s.patch[i], s.method[i]->patch);
        assert_string_equal(s.method[i]->name, "lora");
        assert_int_equal(strlen(s.method[i]->hash), 64);
    }
    static const char *const bad[] = {":", ":x", ":1x", ":nan", ":inf", ":1:2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(spec, sizeof spec, "%s%s", plain, bad[i]);
        assert_int_not_equal(ws_steering_add(&s, f->m, spec, 0, &err), WS_OK);
        assert_non_null(strstr(err.msg, spec));
    }
    REFUSED(WS_EIO, "nowhere", ws_steering_add(&s, f->m, "nowhere:1", 0, &err));
    assert_int_equal(s.n, 7);
    ws_steering_free(&s);
    free(plain), free(odd);
}

static void other_files_are_no_methods(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_method *m;
    REFUSED(WS_EFORMAT, "given by its directory",
            ws_method_load(&m, f->m, PEFT_DIR "pos/adapter_model.safetensors", 0, &err));
    assert_int_not_equal(ws_method_load(&m, f->m, PEFT_DIR "oracle.json", 0, &err), WS_OK);
    assert_int_not_equal(ws_method_load(&m, f->m, PEFT_DIR "model", 0, &err), WS_OK); /* a model, not an adapter */
}

/* An adapter directory as a method is the adapter itself. */
static void a_directory_steers_like_its_adapter(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_method *m;
    ws_adapter *a;
    int n;
    OK(ws_method_load(&m, f->m, PEFT_DIR "pos", 0, &err));
    OK(ws_adapter_load(&a, f->m, PEFT_DIR "pos", &err));
    float *x = logits_of(f, f->m, 0, m->patch, 1, &n), *y = logits_of(f, f->m, 0, ws_adapter_patch(a), 1, &n);
    double size = 0, e = worst_error(x, y, (int64_t)n * 40, &size);
    assert_true(e < 1e-6 * size);
    assert_true(m->ops->identity_at_zero && m->ops->bracket_lo == 0.05 && m->ops->bracket_hi == 16);
    free(x), free(y);
    ws_adapter_free(a);
    ws_method_free(m);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(specs_are_parsed), T(other_files_are_no_methods),
                                       T(a_directory_steers_like_its_adapter)};
    return cmocka_run_group_tests_name("steer/method", tests, NULL, NULL);
}
