/* tests/test_delta_monitor.c - cosines with a dW: exact where the answer is plain (itself, its negative, an orthogonal one),
 * numpy's (tests/fixtures/geometry) to 1e-6 absolutely; the null band against its formula, within four standard errors of
 * the draws. */
#include "base/parallel.h"
#include "delta/impl.h"
#include "delta/monitor.h"
#include "delta/projection.h"
#include "geometry_help.h"

static ws_delta *contrast_of_fixture(const fixture *f) {
    ws_err err = {0};
    ws_adapter *a[2];
    ws_delta *d;
    ws_delta_info info;
    OK(ws_adapter_load(&a[0], f->m, PEFT_DIR "pos", &err));
    OK(ws_adapter_load(&a[1], f->m, PEFT_DIR "neg", &err));
    OK(ws_delta_contrast(&d, f->m, a[0], a[1], WS_CONTRAST_DW, &info, &err));
    ws_adapter_free(a[0]), ws_adapter_free(a[1]);
    return d;
}

static ws_monitor measure(const ws_delta *dw, ws_measured thing, int draws, uint64_t seed) {
    ws_err err = {0};
    ws_monitor m;
    OK(ws_monitor_new(&m, dw, &thing, draws, seed, &err));
    return m;
}

static void a_dw_with_itself_is_one(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta *d = contrast_of_fixture(f), *minus, *twice;
    const double sign[] = {-1, 2};
    OK(ws_delta_mix(&minus, f->m, 1, &d, &sign[0], &err));
    OK(ws_delta_mix(&twice, f->m, 1, &d, &sign[1], &err));
    ws_monitor m[] = {measure(d, (ws_measured){.edits = d}, 0, 0), measure(d, (ws_measured){.edits = minus}, 0, 0),
                      measure(d, (ws_measured){.edits = twice}, 0, 0)};
    for (int l = 0; l <= 4; l++) {
        assert_true(fabs(ws_monitor_cos(&m[0], l) - 1) < 1e-15);
        assert_true(fabs(ws_monitor_cos(&m[1], l) + 1) < 1e-15);
        assert_true(fabs(ws_monitor_cos(&m[2], l) - 1) < 1e-15);
        assert_true(isnan(m[0].lo[l]) && isnan(m[0].sd[l])); /* no draws were asked for */
    }
    assert_true(m[0].touched == 19 && m[0].common == 19);
    for (int i = 0; i < 3; i++) ws_monitor_free(&m[i]);
    ws_delta_free(d), ws_delta_free(minus), ws_delta_free(twice);
}

/* One pair of unit vectors at one linear. */
static ws_delta *unit_factors(const fixture *f, int site, int row, int col) {
    ws_err err = {0};
    const ws_site *at = ws_model_site(f->m, site);
    ws_delta *d = ws_delta_alloc(f->m);
    ws_edit e;
    OK(ws_edit_alloc(&e, at->d_out, at->d_in, 1, &err));
    e.u[row] = 3, e.v[col] = 0.5f;
    OK(ws_delta_add(d, site, &e, &err));
    return d;
}

static void orthogonal_factors_are_zero(void **state) {
    fixture *f = *state;
    ws_delta *a = unit_factors(f, 8, 1, 2), *rows = unit_factors(f, 8, 3, 2), *cols = unit_factors(f, 8, 1, 5),
             *elsewhere = unit_factors(f, 9, 1, 2), *same = unit_factors(f, 8, 1, 2);
    const ws_delta *other[] = {rows, cols, elsewhere, same};
    for (int i = 0; i < 4; i++) {
        ws_monitor m = measure(a, (ws_measured){.edits = other[i]}, 0, 0);
        assert_true(ws_monitor_cos(&m, 4) == (i == 3 ? 1 : 0));
        assert_true(isnan(ws_monitor_cos(&m, 0)) && m.common == (i != 2));
        assert_true(i == 2 ? isnan(ws_monitor_cos(&m, 0)) : ws_monitor_cos(&m, 1) == (i == 3));
        ws_monitor_free(&m);
    }
    ws_delta_free(a), ws_delta_free(rows), ws_delta_free(cols), ws_delta_free(elsewhere), ws_delta_free(same);
}

static void compare(const ws_monitor *m, const json_t *want, const char *what) {
    const json_t *layers = json_object_get(want, "layers");
    for (int l = 0; l <= 4; l++) {
        const json_t *v = l < 4 ? json_array_get(layers, (size_t)l) : json_object_get(want, "all");
        double got = ws_monitor_cos(m, l);
        if (json_is_null(v)) {
            assert_true(isnan(got));
            continue;
        }
        if (!(fabs(got - json_number_value(v)) < 1e-6))
            fail_msg("%s, layer %d: %.9f, numpy has %.9f", what, l, got, json_number_value(v));
    }
    assert_true(fabs(sqrt(m->square[4]) - number_at(want, "norm")) < 1e-6 * sqrt(m->square[4]));
}

static void cosines_are_numpys(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    json_t *oracle = geometry_oracle();
    const json_t *want = json_object_get(json_object_get(oracle, "lora"), "monitor");
    ws_delta *dw = contrast_of_fixture(f);
    ws_side side[2], whole;
    ws_checkpoint *c;
    char *dir = ws_sprintf("%s/side", f->tmp);
    write_side(PEFT_DIR "model", dir, 0, ALL_PARAMETERS, WS_F32, 1);
    OK(ws_side_from_edits(&side[0], f->m, PEFT_DIR "pos", 0, &err));
    OK(ws_side_from_edits(&side[1], f->m, PEFT_DIR "neg", 0, &err));
    OK(ws_checkpoint_open(&c, dir, &err));
    OK(ws_side_from_checkpoint(&whole, f->m, c, &err));
    const struct {
        const char *what;
        ws_measured thing;
    } of[] = {{"pos", {.edits = side[0].edits}},
              {"neg", {.edits = side[1].edits}},
              {"pos", {.pos = &side[0]}}, /* row by row */
              {"checkpoint", {.pos = &whole}}};
    for (int i = 0; i < 4; i++) {
        ws_monitor m = measure(dw, of[i].thing, 0, 0);
        compare(&m, json_object_get(want, of[i].what), of[i].what);
        ws_monitor_free(&m);
    }
    /* a pair is the difference of its sides */
    ws_monitor m = measure(dw, (ws_measured){.pos = &side[0], .neg = &side[1]}, 0, 0);
    assert_true(fabs(ws_monitor_cos(&m, 4) - 1) < 1e-6);
    ws_monitor_free(&m);
    const ws_measured p = {.edits = side[0].edits}, n = {.edits = side[1].edits}, w = {.pos = &whole};
    double pn, wp;
    OK(ws_measured_dot(&pn, f->m, &p, &n, &err));
    OK(ws_measured_dot(&wp, f->m, &w, &p, &err));
    assert_true(fabs(pn - ws_delta_dot(side[0].edits, side[1].edits)) < 1e-9 && wp != 0);
    ws_side_close(&side[0]), ws_side_close(&side[1]), ws_side_close(&whole);
    ws_delta_free(dw);
    json_decref(oracle);
    free(dir);
}

/* Random factors and random dense changes: mean 0, the formula's deviation, and the quantiles of a normal one. */
static void the_null_band_is_its_formula(void **state) {
    fixture *f = *state;
    enum { DRAWS = 2000 };
    ws_err err = {0};
    ws_delta *dw = contrast_of_fixture(f);
    ws_side whole;
    ws_checkpoint *c;
    char *dir = ws_sprintf("%s/side", f->tmp);
    write_side(PEFT_DIR "model", dir, 1, LINEARS, WS_F32, 0);
    OK(ws_checkpoint_open(&c, dir, &err));
    OK(ws_side_from_checkpoint(&whole, f->m, c, &err));
    const ws_measured thing[] = {{.edits = dw}, {.pos = &whole}};
    for (int i = 0; i < 2; i++) {
        ws_monitor m = measure(dw, thing[i], DRAWS, 3);
        for (int l = 0; l <= 4; l++) {
            double sd = m.sd[l] / m.formula[l], lo = m.lo[l] / m.formula[l], hi = m.hi[l] / m.formula[l];
            printf("  %s, layer %d: sd %.3f, band %.2f .. %.2f of the formula's deviation\n", i ? "dense" : "factors",
                   l, sd, lo, hi);
            assert_true(fabs(sd - 1) < 4 / sqrt(2.0 * DRAWS) * 1.5); /* factors of rank 3 have heavier tails */
            assert_true(fabs(lo + 1.96) < 0.3 && fabs(hi - 1.96) < 0.3);
        }
        ws_monitor_free(&m);
    }
    ws_side_close(&whole);
    ws_delta_free(dw);
    free(dir);
}

/* Scales and rotations of W lie closer together than any matrices would: their band is drawn in their own form. */
static void forms_with_terms_have_bands_of_their_own(void **state) {
    fixture *f = *state;
    static const char *const from[] = {"ia3", "oft_count", "boft", "dora"};
    ws_err err = {0};
    for (int i = 0; i < 4; i++) {
        ws_delta *d;
        char *dir = ws_sprintf("tests/fixtures/foreign/%s", from[i]);
        OK(ws_delta_open(&d, f->m, dir, 0, &err));
        ws_monitor m = measure(d, (ws_measured){.edits = d}, 200, 1);
        double numbers = 0; /* what an isotropic change would have */
        for (int s = 0; s < d->n; s++) numbers += (double)(d->edit[s].d_out * d->edit[s].d_in);
        printf("  %-10s sd %.4f, isotropic %.4f\n", from[i], m.sd[4], 1 / sqrt(numbers));
        assert_true(isnan(m.formula[4]) && m.sd[4] > 0 && m.sd[4] < 0.5 && m.lo[4] < 0 && m.hi[4] > 0);
        if (i < 3) assert_true(m.sd[4] > 1.5 / sqrt(numbers));
        assert_true(fabs(ws_monitor_cos(&m, 4) - 1) < 1e-12);
        ws_monitor_free(&m);
        ws_delta_free(d);
        free(dir);
    }
}

/* What many edits of one form share, summed up once, gives what each gives by itself: scales, a diagonal, blocks. */
static void projections_are_the_products(void **state) {
    fixture *f = *state;
    static const char *const from[] = {"ia3", "oft_count", "oft_regex", "oft_shared"};
    ws_err err = {0};
    ws_delta *dw = contrast_of_fixture(f), *boft;
    int checked = 0;
    OK(ws_delta_open(&boft, f->m, "tests/fixtures/foreign/boft", 0, &err));
    assert_true(ws_projection_bytes(&boft->edit[0]) == 0 && ws_projection_bytes(&dw->edit[0]) == 0);
    for (int i = 0; i < 4; i++) {
        ws_delta *d;
        char *dir = ws_sprintf("tests/fixtures/foreign/%s", from[i]);
        OK(ws_delta_open(&d, f->m, dir, 0, &err));
        for (int k = 0; k < d->n; k++) {
            const ws_weight *w = ws_model_site(f->m, d->site[k])->w;
            const int at = dw->at_site[d->site[k]];
            if (at < 0) continue;
            ws_projection p;
            ws_projection_make(&p, &d->edit[k], &dw->edit[at], w);
            const double want =
                ws_edit_dot(&d->edit[k], &dw->edit[at], w) / sqrt(ws_edit_dot(&d->edit[k], &d->edit[k], w));
            assert_true(ws_projection_bytes(&d->edit[k]) == 16 * p.n);
            assert_true(fabs(ws_projection_along(&p, &d->edit[k]) - want) < 1e-6 * ws_delta_site_norm(dw, at));
            ws_projection_free(&p);
            checked++;
        }
        ws_delta_free(d);
        free(dir);
    }
    assert_true(checked > 10);
    ws_delta_free(dw), ws_delta_free(boft);
}

static void bands_depend_on_the_seed_alone(void **state) {
    fixture *f = *state;
    ws_delta *d = contrast_of_fixture(f);
    ws_monitor m[4];
    for (int i = 0; i < 4; i++) {
        ws_threads_set(1 + i);
        m[i] = measure(d, (ws_measured){.edits = d}, 37, i == 3 ? 8 : 7);
    }
    ws_threads_set(0);
    for (int i = 1; i < 3; i++) assert_memory_equal(m[0].lo, m[i].lo, 3 * 5 * sizeof(double)); /* lo, hi, sd */
    assert_true(m[3].lo[4] != m[0].lo[4]);
    for (int i = 0; i < 4; i++) ws_monitor_free(&m[i]);
    ws_delta_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dw_with_itself_is_one, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(orthogonal_factors_are_zero, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(cosines_are_numpys, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_null_band_is_its_formula, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(forms_with_terms_have_bands_of_their_own, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(projections_are_the_products, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(bands_depend_on_the_seed_alone, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("delta/monitor", tests, NULL, NULL);
}
