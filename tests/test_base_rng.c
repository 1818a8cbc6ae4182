/* tests/test_base_rng.c - torch's and numpy's streams value by value (fixture written by torch and numpy themselves),
 * and the properties that the counter stream promises.  All comparisons are exact: a stream is right or it is not. */
#include "base/rng.h"
#include "fixtures/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void torch_kaiming_is_bit_exact(void **state) {
    (void)state;
    ws_mt r;
    float a[21], b[320];
    ws_mt_seed(&r, 0);
    ws_mt_kaiming(&r, a, 21, 7);
    assert_memory_equal(a, rng_kaiming_s0_3x7, sizeof a);
    ws_mt_seed(&r, 42);
    ws_mt_kaiming(&r, b, 320, 64);
    assert_memory_equal(b, rng_kaiming_s42_5x64, sizeof b);
}

static void skipping_words_equals_drawing_them(void **state) {
    (void)state;
    ws_mt a, b;
    ws_mt_seed(&a, 123), ws_mt_seed(&b, 123);
    ws_mt_skip(&a, 990);
    for (int i = 0; i < 990; i++) ws_mt_u32(&b);
    for (int i = 0; i < 10; i++) {
        uint32_t w = ws_mt_u32(&a);
        assert_int_equal(w, ws_mt_u32(&b));
        assert_int_equal(w & 0xffffff, rng_mt_s123_word990[i]);
    }
}

static uint32_t poly(const int64_t *p, int n) {
    uint32_t h = 0;
    for (int i = 0; i < n; i++) h = h * 31 + (uint32_t)p[i];
    return h;
}

static void torch_randperm_is_exact(void **state) {
    (void)state;
    int64_t p[4097];
    const struct {
        int n;
        uint64_t seed;
        const int64_t *want;
    } t[] = {{1, 0, rng_torch_perm_n1_s0},
             {2, 3, rng_torch_perm_n2_s3},
             {17, 0, rng_torch_perm_n17_s0},
             {150, 42, rng_torch_perm_n150_s42},
             {150, 43, rng_torch_perm_n150_s43}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        ws_torch_randperm(p, t[i].n, t[i].seed);
        assert_memory_equal(p, t[i].want, (size_t)t[i].n * sizeof *p);
    }
    ws_torch_randperm(p, 4097, 7);
    assert_int_equal(poly(p, 4097), rng_torch_perm_n4097_s7_hash);
}

static void numpy_permutation_is_exact(void **state) {
    (void)state;
    int64_t p[4097];
    const struct {
        int n;
        uint64_t seed;
        const int64_t *want;
    } t[] = {{1, 0, rng_numpy_perm_n1_s0},
             {2, 3, rng_numpy_perm_n2_s3},
             {17, 0, rng_numpy_perm_n17_s0},
             {200, 42, rng_numpy_perm_n200_s42},
             {33, 5000000000u, rng_numpy_perm_n33_s5000000000}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        ws_numpy_permutation(p, t[i].n, t[i].seed);
        assert_memory_equal(p, t[i].want, (size_t)t[i].n * sizeof *p);
    }
    ws_numpy_permutation(p, 4097, 7);
    assert_int_equal(poly(p, 4097), rng_numpy_perm_n4097_s7_hash);
}

static void python_shuffle_is_exact(void **state) {
    (void)state;
#define SHUFFLED(n, s)                                                                                                 \
    do {                                                                                                               \
        int64_t p[n];                                                                                                  \
        ws_python_shuffle(p, n, s##u);                                                                                 \
        assert_memory_equal(p, rng_python_n##n##_s##s, sizeof p);                                                      \
    } while (0)
    SHUFFLED(1, 0);
    SHUFFLED(2, 1);
    SHUFFLED(17, 0);
    SHUFFLED(264, 0);
    SHUFFLED(264, 42);
    SHUFFLED(1024, 5);
    SHUFFLED(33, 5000000000);
#undef SHUFFLED
}

static void counter_depends_on_every_argument(void **state) {
    (void)state;
    uint64_t a = ws_counter_u64(1, "data.pos", 2, 3);
    assert_true(a == ws_counter_u64(1, "data.pos", 2, 3));
    assert_true(a != ws_counter_u64(2, "data.pos", 2, 3));
    assert_true(a != ws_counter_u64(1, "data.neg", 2, 3));
    assert_true(a != ws_counter_u64(1, "data.pos", 3, 3));
    assert_true(a != ws_counter_u64(1, "data.pos", 2, 4));
    assert_true(a != ws_counter_u64(1, "data.pos", 3, 2));
}

/* 40,000 draws: the mean of a uniform is within 4.5 standard errors (1/sqrt(12 n) each), a bucket of 16 within 5. */
static void counter_is_uniform_along_rows_and_steps(void **state) {
    (void)state;
    double sum = 0;
    int bucket[16] = {0}, bits[64] = {0};
    enum { ROWS = 200, STEPS = 200, N = ROWS * STEPS };
    for (int r = 0; r < ROWS; r++)
        for (int s = 0; s < STEPS; s++) {
            double u = ws_counter_uniform(0, "x", (uint64_t)r, (uint64_t)s);
            uint64_t w = ws_counter_u64(0, "x", (uint64_t)r, (uint64_t)s);
            assert_true(u >= 0 && u < 1);
            sum += u, bucket[(int)(u * 16)]++;
            for (int b = 0; b < 64; b++) bits[b] += (int)(w >> b & 1);
        }
    assert_true(fabs(sum / N - 0.5) < 4.5 / sqrt(12.0 * N));
    for (int i = 0; i < 16; i++) assert_true(fabs(bucket[i] - N / 16.0) < 5 * sqrt(N / 16.0));
    for (int b = 0; b < 64; b++) assert_true(fabs(bits[b] - N / 2.0) < 5 * sqrt(N / 4.0));
}

static void counter_permutation_is_a_permutation(void **state) {
    (void)state;
    int64_t p[1000], q[1000];
    char seen[1000] = {0};
    ws_counter_permutation(p, 1000, 5, "split");
    ws_counter_permutation(q, 1000, 6, "split");
    int fixed = 0, same = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(p[i] >= 0 && p[i] < 1000 && !seen[p[i]]);
        seen[p[i]] = 1, fixed += p[i] == i, same += p[i] == q[i];
    }
    assert_true(fixed < 10 && same < 10); /* both are 1 on average */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_kaiming_is_bit_exact),
        cmocka_unit_test(skipping_words_equals_drawing_them),
        cmocka_unit_test(torch_randperm_is_exact),
        cmocka_unit_test(numpy_permutation_is_exact),
        cmocka_unit_test(python_shuffle_is_exact),
        cmocka_unit_test(counter_depends_on_every_argument),
        cmocka_unit_test(counter_is_uniform_along_rows_and_steps),
        cmocka_unit_test(counter_permutation_is_a_permutation),
    };
    return cmocka_run_group_tests_name("base/rng", tests, NULL, NULL);
}
