/* tests/test_delta_subspace.c - the subspace report against numpy's singular vectors (tests/fixtures/geometry): shares to
 * 1e-6 of them; ours come through Gram matrices in double of fp32 weights whose condition is below 1e3, so 1e-9 is what is
 * lost, and the fp32 factors or numbers of dW decide. */
#include "base/parallel.h"
#include "delta/impl.h"
#include "delta/subspace.h"
#include "delta/whole.h"
#include "geometry_help.h"
#include "linalg/linalg.h"

static const ws_subspace_options usual = {.top = 0.1, .weak = 0.01};

static void compare(const fixture *f, const ws_delta *d, const json_t *want) {
    ws_err err = {0};
    ws_subspace_site *s;
    int heads = 0;
    OK(ws_subspace(&s, d, &usual, &err));
    assert_int_equal(ws_delta_n_sites(d), json_object_size(want));
    for (int i = 0; i < ws_delta_n_sites(d); i++) {
        const ws_site *at = ws_model_site(f->m, s[i].site);
        char *name = ws_sprintf("%s.weight", at->name);
        const json_t *o = json_object_get(want, name);
        const struct {
            const char *key;
            double got;
        } value[] = {
            {"share", s[i].share}, {"null", s[i].null}, {"head_share", s[i].head_share}, {"head_null", s[i].head_null}};
        for (int k = 0; k < (s[i].head_r ? 4 : 2); k++) {
            double w = number_at(o, value[k].key);
            if (!(fabs(value[k].got - w) <= 1e-6 * w))
                fail_msg("%s: %s is %.12g, numpy has %.12g", name, value[k].key, value[k].got, w);
        }
        assert_true(!s[i].head_r == !json_object_get(o, "head_share"));
        heads += s[i].head_r > 0;
        assert_true(fabs(s[i].norm - ws_delta_site_norm(d, i)) < 1e-6 * s[i].norm && s[i].norm_w > 0);
        free(name);
    }
    assert_true(heads > 5);
    free(s);
}

static void shares_of_factors_are_numpys(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a[2];
    ws_delta *d;
    ws_delta_info info;
    json_t *oracle = geometry_oracle();
    OK(ws_adapter_load(&a[0], f->m, PEFT_DIR "pos", &err));
    OK(ws_adapter_load(&a[1], f->m, PEFT_DIR "neg", &err));
    OK(ws_delta_contrast(&d, f->m, a[0], a[1], WS_CONTRAST_DW, &info, &err));
    compare(f, d, json_object_get(json_object_get(oracle, "lora"), "subspace"));
    ws_delta_free(d);
    ws_adapter_free(a[0]), ws_adapter_free(a[1]);
    json_decref(oracle);
}

static void shares_of_a_dense_difference_are_numpys(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_side s[2];
    ws_whole_report r;
    ws_whole_options o = {.dtype = WS_F32};
    ws_delta *d;
    json_t *oracle = geometry_oracle();
    char *out = ws_sprintf("%s/dw.safetensors", f->tmp);
    for (int c = 0; c < 2; c++) {
        ws_checkpoint *k;
        char *dir = ws_sprintf("%s/side%d", f->tmp, c);
        write_side(PEFT_DIR "model", dir, c, ALL_PARAMETERS, WS_F32, 0);
        OK(ws_checkpoint_open(&k, dir, &err));
        OK(ws_side_from_checkpoint(&s[c], f->m, k, &err));
        free(dir);
    }
    OK(ws_whole_save(&s[0], &s[1], &o, NULL, out, &r, &err));
    ws_whole_report_free(&r);
    ws_side_close(&s[0]), ws_side_close(&s[1]);
    OK(ws_delta_load(&d, f->m, out, 0, &err));
    compare(f, d, json_object_get(oracle, "dense"));
    ws_delta_free(d);
    json_decref(oracle);
    free(out);
}

/* A dW along the largest singular triplet is wholly in the block of the largest ones. */
static void a_dw_along_the_largest_triplet_is_in_the_block(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta *d = ws_delta_alloc(f->m);
    const int sites[] = {0, 5, 6};
    for (int i = 0; i < 3; i++) {
        const ws_site *at = ws_model_site(f->m, sites[i]);
        double u[64], s[1], vt[64];
        ws_edit e;
        OK(ws_weight_svd(at->w, 1, u, s, vt, &err));
        OK(ws_edit_alloc(&e, at->d_out, at->d_in, 1, &err));
        for (int64_t o = 0; o < at->d_out; o++) e.u[o] = (float)u[o];
        for (int64_t c = 0; c < at->d_in; c++) e.v[c] = (float)vt[c];
        OK(ws_delta_add(d, sites[i], &e, &err));
    }
    ws_subspace_site *s;
    OK(ws_subspace(&s, d, &usual, &err));
    for (int i = 0; i < 3; i++) {
        assert_true(fabs(s[i].share - 1) < 1e-6);
        assert_true(s[i].null == (double)(s[i].k * s[i].k) / (double)(s[i].r * s[i].r) && s[i].k == 3 && s[i].r == 32);
    }
    free(s);
    ws_delta_free(d);
}

/* Random factors: the mean over many modules comes near the null, so that the null is the right one. */
static void a_random_dw_is_at_the_null(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a;
    ws_delta *like, *d;
    double sum = 0, head = 0;
    int n = 0, heads = 0;
    OK(ws_adapter_load(&a, f->m, "tests/fixtures/foreign/all_linear", &err));
    OK(ws_delta_from_adapter(&like, f->m, a, &err));
    for (uint64_t seed = 0; seed < 20; seed++) {
        ws_subspace_site *s;
        OK(ws_delta_random(&d, like, seed, &err));
        OK(ws_subspace(&s, d, &usual, &err));
        for (int i = 0; i < ws_delta_n_sites(d); i++) {
            sum += s[i].share / s[i].null, n++;
            if (s[i].head_r) head += s[i].head_share / s[i].head_null, heads++;
        }
        free(s);
        ws_delta_free(d);
    }
    printf("  mean share / null: block %.3f of %d modules, head %.3f of %d\n", sum / n, n, head / heads, heads);
    assert_true(fabs(sum / n - 1) < 0.2 && fabs(head / heads - 1) < 0.4); /* four standard errors and more */
    ws_delta_free(like);
    ws_adapter_free(a);
}

static void threads_do_not_change_the_bits(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a;
    ws_delta *d;
    ws_subspace_site *s[3];
    static const int threads[] = {1, 2, 5};
    OK(ws_adapter_load(&a, f->m, "tests/fixtures/foreign/ia3", &err));
    OK(ws_delta_from_adapter(&d, f->m, a, &err));
    for (int i = 0; i < 3; i++) {
        ws_threads_set(threads[i]);
        OK(ws_subspace(&s[i], d, &usual, &err));
    }
    ws_threads_set(0);
    for (int i = 1; i < 3; i++) assert_memory_equal(s[0], s[i], (size_t)ws_delta_n_sites(d) * sizeof *s[0]);
    for (int i = 0; i < 3; i++) free(s[i]);
    ws_delta_free(d);
    ws_adapter_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shares_of_factors_are_numpys, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(shares_of_a_dense_difference_are_numpys, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_dw_along_the_largest_triplet_is_in_the_block, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_random_dw_is_at_the_null, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(threads_do_not_change_the_bits, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("delta/subspace", tests, NULL, NULL);
}
