/* tests/test_linalg_kmeans.c - k-means by cosine: its start, its ties, its empty clusters, on points whose answer is plain.  (What
 * it gives on states is compared with torch's permutations in test_steer_parity.) */
#include "base/rng.h"
#include "linalg/kmeans.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)

/* Two bundles of directions of different lengths: lengths do not matter, means of the raw rows do. */
static void bundles_are_found(void **state) {
    (void)state;
    const double x[] = {1, 0.1, 10, 0.5, 2, -0.1, 0.1, 1, 0.2, 5, -0.1, 2};
    ws_err err = {0};
    for (uint64_t seed = 0; seed < 10; seed++)
        for (int form = 0; form < 2; form++) {
            double c[4];
            int of[6], rounds;
            OK(ws_kmeans(x, 6, 2, 2, seed, (ws_kmeans_form)form, c, of, &rounds, &err));
            int first = of[0];
            for (int i = 0; i < 6; i++) assert_int_equal(of[i] == first, i < 3);
            assert_true(fabs(c[2 * first] - 13. / 3) < 1e-12 && fabs(c[2 * first + 1] - 0.5 / 3) < 1e-12);
            assert_true(rounds >= 2 && rounds <= 4);
        }
}

/* Rows that are as near to one centroid as to another go to the first of the two: all rows alike end in cluster 0. */
static void ties_go_to_the_first(void **state) {
    (void)state;
    double x[10], c[6];
    int of[5];
    ws_err err = {0};
    for (int i = 0; i < 5; i++) x[2 * i] = 3, x[2 * i + 1] = 4;
    OK(ws_kmeans(x, 5, 2, 3, 0, WS_KMEANS_KEEP_OLD, c, of, NULL, &err));
    for (int i = 0; i < 5; i++) assert_int_equal(of[i], 0);
    for (int i = 0; i < 6; i++) assert_true(c[i] == (i & 1 ? 4 : 3)); /* the empty ones hold a row each */
    assert_int_equal(ws_kmeans(x, 5, 2, 3, 0, WS_KMEANS_TAKE_NEW, c, of, NULL, &err), WS_EFORMAT);
    assert_non_null(strstr(err.msg, "cluster 1 of 3 has no states left"));
}

/* It begins with the first rows of torch.randperm, and as many clusters as rows are the rows in that order. */
static void it_begins_with_torchs_permutation(void **state) {
    (void)state;
    enum { N = 7 };
    double x[N * N] = {0}, c[N * N];
    int of[N], rounds;
    int64_t perm[N];
    ws_err err = {0};
    for (int i = 0; i < N; i++) x[i * N + i] = i + 1;
    for (uint64_t seed = 0; seed < 5; seed++) {
        OK(ws_kmeans(x, N, N, N, seed, WS_KMEANS_TAKE_NEW, c, of, &rounds, &err));
        ws_torch_randperm(perm, N, seed);
        assert_int_equal(rounds, 1);
        for (int j = 0; j < N; j++) {
            assert_int_equal(of[perm[j]], j);
            assert_memory_equal(c + j * N, x + perm[j] * N, N * sizeof *x);
        }
    }
    assert_int_equal(ws_kmeans(x, N, N, N + 1, 0, WS_KMEANS_TAKE_NEW, c, of, NULL, &err), WS_EUSAGE);
}

/* A generator that goes on gives what torch.Generator().manual_seed(s) gives when randperm is asked twice (torch 2). */
static void permutations_go_on(void **state) {
    (void)state;
    int64_t a[9], b[9], c[9];
    ws_mt r;
    ws_mt_seed(&r, 5);
    ws_mt_randperm(&r, a, 9), ws_mt_randperm(&r, b, 9);
    ws_torch_randperm(c, 9, 5);
    assert_memory_equal(a, c, sizeof a);
    static const int64_t second[9] = {6, 5, 2, 3, 1, 4, 0, 7, 8};
    assert_memory_equal(b, second, sizeof b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bundles_are_found), cmocka_unit_test(ties_go_to_the_first),
                                       cmocka_unit_test(it_begins_with_torchs_permutation),
                                       cmocka_unit_test(permutations_go_on)};
    return cmocka_run_group_tests_name("linalg/kmeans", tests, NULL, NULL);
}
