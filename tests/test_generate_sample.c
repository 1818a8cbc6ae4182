/* Sampling keeps what transformers' logits processors keep, with their probabilities, and draws from exactly that. */
#include "generate/sample.h"
#include "base/rng.h"
#include "io/json.h"
#include "kernel/kernel.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Weights come from exp in double or from the 2-ulp fp32 one (whole vocabulary): 2.4e-7 relative each; the
 * normaliser adds as much again. */
static const double TOLERANCE = 1e-6;

static float *row(const json_t *rows, const char *kind, int *n) {
    const json_t *a = json_object_get(rows, kind);
    *n = (int)json_array_size(a);
    float *x = malloc(sizeof *x * (size_t)*n);
    for (int i = 0; i < *n; i++) {
        const json_t *v = json_array_get(a, (size_t)i);
        x[i] = json_is_null(v) ? -INFINITY : (float)json_number_value(v);
    }
    return x;
}

static int by_id(const void *a, const void *b) {
    const int32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void kept_as_transformers(void **state) {
    (void)state;
    json_t *doc = NULL;
    ws_err err = {0};
    assert_int_equal(ws_json_load(&doc, "tests/fixtures/sampling.json", &err), WS_OK);
    const json_t *cases = json_object_get(doc, "cases"), *c;
    size_t k;
    int seen = 0;
    json_array_foreach(cases, k, c) {
        int n;
        float *x = row(json_object_get(doc, "logits"), json_string_value(json_object_get(c, "logits")), &n);
        ws_sampling s = {
            json_number_value(json_object_get(c, "temperature")), (int)json_integer_value(json_object_get(c, "top_k")),
            json_number_value(json_object_get(c, "top_p")), json_number_value(json_object_get(c, "min_p"))};
        ws_kept got;
        assert_int_equal(ws_sample_kept(x, n, &s, &got, &err), WS_OK);
        const json_t *ids = json_object_get(c, "ids"), *p = json_object_get(c, "p");
        if (got.n != (int)json_array_size(ids))
            fail_msg("case %zu: %d tokens kept, transformers keeps %zu", k, got.n, json_array_size(ids));
        for (int i = 0; i < got.n; i++) {
            int32_t id = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
            float least = INFINITY; /* which of several equal logits at the cut stay is open in transformers */
            for (int j = 0; j < got.n; j++) least = fminf(least, x[got.id[j]]);
            int there = bsearch(&id, got.id, (size_t)got.n, sizeof id, by_id) != NULL;
            if (!there && x[id] != least) fail_msg("case %zu: token %d is not kept", k, (int)id);
            double want = json_number_value(json_array_get(p, (size_t)i)), have = NAN;
            for (int j = 0; j < got.n; j++)
                if (x[got.id[j]] == x[id]) have = got.p[j];
            if (!(fabs(have - want) <= TOLERANCE * want))
                fail_msg("case %zu token %d: %g, not %g", k, (int)id, have, want);
        }
        ws_kept_free(&got);
        free(x);
        seen++;
    }
    assert_true(seen >= 70);
    json_decref(doc);
}

/* 20000 draws with counter uniforms; chi-square against the kept distribution with 6 degrees of freedom: 0.999 quantile
 * 22.5 (the draws are a fixed stream, so the outcome is fixed too). */
static void draws_follow_the_distribution(void **state) {
    (void)state;
    const float x[] = {1.0f, 0.5f, -INFINITY, 2.0f, 0.0f, 1.5f, -0.5f, 0.25f};
    ws_sampling s = {0.9, 0, 1, 0};
    ws_kept k;
    ws_err err = {0};
    assert_int_equal(ws_sample_kept(x, 8, &s, &k, &err), WS_OK);
    assert_int_equal(k.n, 7);
    int count[8] = {0};
    for (int i = 0; i < 20000; i++) {
        int32_t id;
        assert_int_equal(ws_sample(x, 8, &s, ws_counter_uniform(3, "test", 0, (uint64_t)i), &id, &err), WS_OK);
        count[id]++;
    }
    assert_int_equal(count[2], 0);
    double chi = 0;
    for (int i = 0; i < k.n; i++) chi += pow(count[k.id[i]] - 20000 * k.p[i], 2) / (20000 * k.p[i]);
    assert_true(chi < 22.5);
    ws_kept_free(&k);
}

static void u_runs_through_ids_in_order(void **state) {
    (void)state;
    const float x[] = {0, 0, 0, 0};
    ws_sampling s = {1, 0, 1, 0};
    ws_err err = {0};
    const double u[] = {0, 0.24, 0.26, 0.51, 0.76, 0.9999999999999999};
    const int want[] = {0, 0, 1, 2, 3, 3};
    for (int i = 0; i < 6; i++) {
        int32_t id;
        assert_int_equal(ws_sample(x, 4, &s, u[i], &id, &err), WS_OK);
        assert_int_equal(id, want[i]);
    }
}

static void greedy_takes_the_lowest_of_equals(void **state) {
    (void)state;
    const float x[] = {-1, 3, 2, 3, 3};
    ws_sampling s = {0, 0, 1, 0};
    int32_t id;
    ws_err err = {0};
    assert_int_equal(ws_sample(x, 5, &s, 0.99, &id, &err), WS_OK);
    assert_int_equal(id, 1);
}

static void a_tiny_temperature_is_greedy(void **state) {
    (void)state;
    const float x[] = {-1, 3, 2, 2.999f, 0};
    const ws_sampling s[] = {{1e-300, 0, 1, 0}, {1e-300, 0, 0.9, 0}, {1e-300, 3, 0.9, 0.1}};
    for (int i = 0; i < 3; i++) {
        int32_t id;
        ws_err err = {0};
        assert_int_equal(ws_sample(x, 5, &s[i], 0.999, &id, &err), WS_OK);
        assert_int_equal(id, 1);
    }
}

static void bad_numbers_are_errors(void **state) {
    (void)state;
    ws_sampling s = {1, 0, 1, 0};
    int32_t id;
    float x[3] = {0, NAN, 1};
    ws_err err = {0};
    assert_int_equal(ws_sample(x, 3, &s, 0, &id, &err), WS_ENONFINITE);
    assert_non_null(strstr(err.msg, "token 1 is NaN"));
    x[1] = INFINITY;
    assert_int_equal(ws_sample(x, 3, &s, 0, &id, &err), WS_ENONFINITE);
    assert_non_null(strstr(err.msg, "token 1 is +inf"));
    x[0] = x[1] = x[2] = -INFINITY;
    assert_int_equal(ws_sample(x, 3, &s, 0, &id, &err), WS_ENONFINITE);
    const ws_sampling bad[] = {{-1, 0, 1, 0},  {1, -1, 1, 0}, {1, 0, 0, 0},
                               {1, 0, 1.5, 0}, {1, 0, 1, 2},  {NAN, 0, 1, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(ws_sampling_check(&bad[i], &err), WS_EUSAGE);
    assert_int_equal(ws_sampling_check(&s, &err), WS_OK);
}

/* The histogram path must agree with the sorted one on a vocabulary of real size: top_k = vocab - 1 sorts everything. */
static void histogram_equals_full_sort(void **state) {
    (void)state;
    enum { N = 20000 };
    float *x = malloc(N * sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = (float)(8 * ws_counter_uniform(1, "logits", (uint64_t)i, 0)) + (i % 1000 == 0 ? 6.0f : 0);
    x[N - 1] = -100;
    for (int t = 1; t <= 4; t++)
        for (double p = 0.1; p < 1; p += 0.29) {
            ws_sampling a = {0.4 * t, 0, p, 0}, b = {0.4 * t, N - 1, p, 0};
            ws_kept ka, kb;
            ws_err err = {0};
            assert_int_equal(ws_sample_kept(x, N, &a, &ka, &err), WS_OK);
            assert_int_equal(ws_sample_kept(x, N, &b, &kb, &err), WS_OK);
            /* sums of 20000 fp32 weights: the cut may move by a token where the mass before it is equal to 1e-6 */
            assert_true(abs(ka.n - kb.n) <= 1 + ka.n / 10000);
            for (int i = 0; i < ka.n && i < kb.n && ka.n == kb.n; i++) assert_int_equal(ka.id[i], kb.id[i]);
            ws_kept_free(&ka);
            ws_kept_free(&kb);
        }
    free(x);
}

static int downwards(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* top_k keeps what a full sort would, ties with the k-th included, wherever in the vocabulary they stand. */
static void top_k_equals_full_sort(void **state) {
    (void)state;
    enum { N = 5003 };
    float x[N], sorted[N];
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < N; i++) { /* turn 0: all apart; 1: many equal; 2: rising, so that every block enters */
            double u = ws_counter_uniform(2, "logits", (uint64_t)i, (uint64_t)turn);
            x[i] = turn == 2 ? (float)i / 100 : turn == 1 ? (float)(int)(40 * u) : (float)(8 * u);
        }
        memcpy(sorted, x, sizeof x);
        qsort(sorted, N, sizeof *sorted, downwards);
        for (int k = 1; k < 700; k = 3 * k + 1) {
            int want = 0;
            ws_kept kept;
            ws_err err = {0};
            for (int i = 0; i < N; i++) want += x[i] >= sorted[k - 1];
            assert_int_equal(ws_sample_kept(x, N, &(ws_sampling){5, k, 1, 0}, &kept, &err), WS_OK);
            assert_int_equal(kept.n, want);
            for (int i = 0; i < kept.n; i++) assert_true(x[kept.id[i]] >= sorted[k - 1]);
            ws_kept_free(&kept);
        }
    }
}

static int setup(void **state) {
    (void)state;
    return ws_kernels_init(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_as_transformers),         cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(u_runs_through_ids_in_order),  cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(a_tiny_temperature_is_greedy), cmocka_unit_test(bad_numbers_are_errors),
        cmocka_unit_test(histogram_equals_full_sort),   cmocka_unit_test(top_k_equals_full_sort),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
