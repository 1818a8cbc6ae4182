/* tests/test_ops_blockdiag.c - products with block-diagonal matrices against plain loops in double, in every kernel set: both
 * directions and the gradient, for every way that a block size and a number of tokens can fall on the kernels' tiles.
 * Tolerance: chains of at most 160 fused steps round at most 160 * 2^-24 = 1e-5 of their size in one direction, about the
 * root of that in fact: 1e-6 of the largest value.  Bits: the same for one thread and three; also for tokens together and
 * in groups, except in the reference, which sums in double and rounds at the end of each group. */
#include "base/parallel.h"
#include "kernel_sets.h"
#include "ops/blockdiag.h"

static void near(const char *what, int bs, int64_t n, const float *got, const double *want, int64_t all) {
    double most = 0;
    for (int64_t i = 0; i < all; i++) most = fmax(most, fabs(want[i]));
    for (int64_t i = 0; i < all; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-6 * most))
            fail_msg("%s %s, blocks of %d, %lld tokens: [%lld] is %.9g, want %.9g", ws_k.name, what, bs, (long long)n,
                     (long long)i, (double)got[i], want[i]);
}

static const int sizes[] = {1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 48, 64, 65, 80};
static const int64_t counts[] = {0, 1, 2, 3, 5, 63, 64, 65, 160};
enum { SIZES = sizeof sizes / sizeof *sizes, COUNTS = sizeof counts / sizeof *counts };

static void products_are_plain_loops(void) {
    for (int s = 0; s < SIZES; s++)
        for (int k = 0; k < COUNTS; k++) {
            const int bs = sizes[s], blocks = bs > 1 ? 3 : 300;
            const int64_t n = counts[k], d = (int64_t)bs * blocks, all = n * d, nb = d * bs;
            float *x = floats(all, -1, 1), *gy = floats(all, -1, 1), *b = floats(nb, -1, 1), *gb = floats(nb, -1, 1),
                  *y = floats(all, 0, 0), *yt = floats(all, 0, 0);
            double *wy = calloc((size_t)all + 1, sizeof *wy), *wt = calloc((size_t)all + 1, sizeof *wt),
                   *wb = calloc((size_t)nb, sizeof *wb);
            for (int64_t i = 0; i < nb; i++) wb[i] = gb[i];
            for (int64_t t = 0; t < n; t++)
                for (int64_t j = 0; j < d; j++)
                    for (int64_t i = j / bs * bs; i < j / bs * bs + bs; i++) {
                        const int64_t at = j / bs * bs * bs + i % bs * bs + j % bs; /* block j / bs, row i, column j */
                        wy[t * d + j] += (double)x[t * d + i] * b[at];
                        wt[t * d + i] += (double)x[t * d + j] * b[at];
                        wb[at] += (double)x[t * d + i] * gy[t * d + j];
                    }
            ws_blockdiag_forward(y, x, n, d, b, bs);
            ws_blockdiag_forward_t(yt, x, n, d, b, bs);
            ws_blockdiag_backward(gb, x, gy, n, d, bs);
            near("forward", bs, n, y, wy, all), near("transposed", bs, n, yt, wt, all);
            near("gradient", bs, n, gb, wb, nb);
            if (bs == 1) { /* in place */
                ws_blockdiag_forward(x, x, n, d, b, 1);
                assert_memory_equal(x, y, (size_t)all * sizeof *x);
            }
            free(x), free(gy), free(b), free(gb), free(y), free(yt), free(wy), free(wt), free(wb);
        }
}

static void every_set_multiplies(void **state) {
    (void)state;
    EACH_SET(k) products_are_plain_loops();
}

static void bits(int blocks, int64_t group) {
    enum { N = 160 };
    for (int s = 0; s < SIZES; s++) {
        const int bs = sizes[s];
        const int64_t d = (int64_t)bs * (bs > 1 ? blocks : 600), all = N * d, nb = d * bs;
        float *x = floats(all, -1, 1), *gy = floats(all, -1, 1), *b = floats(nb, -1, 1), *out[2][3],
              *start = floats(nb, -1, 1);
        for (int way = 0; way < 2; way++) {
            float **o = out[way];
            o[0] = floats(all, 0, 0), o[1] = floats(all, 0, 0), o[2] = floats(nb, 0, 0);
            memcpy(o[2], start, (size_t)nb * sizeof *start);
            ws_threads_set(way ? 3 : 1);
            for (int64_t t = 0, n = way ? group : N; t < N; t += n) {
                n = N - t < n ? N - t : n;
                ws_blockdiag_forward(o[0] + t * d, x + t * d, n, d, b, bs);
                ws_blockdiag_forward_t(o[1] + t * d, x + t * d, n, d, b, bs);
                ws_blockdiag_backward(o[2], x + t * d, gy + t * d, n, d, bs);
            }
        }
        ws_threads_set(0);
        assert_memory_equal(out[0][0], out[1][0], (size_t)all * sizeof(float));
        assert_memory_equal(out[0][1], out[1][1], (size_t)all * sizeof(float));
        assert_memory_equal(out[0][2], out[1][2], (size_t)nb * sizeof(float));
        for (int i = 0; i < 6; i++) free(out[i / 3][i % 3]);
        free(x), free(gy), free(b), free(start);
    }
}

static void bits_do_not_depend_on_threads_or_grouping(void **state) {
    (void)state;
    EACH_SET(k) bits(slow(k) ? 18 : 40, strcmp(k->name, "ref") ? 7 : 160); /* more than the 16 blocks of a chunk */
}

static void nan_stays_in_its_block(void **state) {
    (void)state;
    float x[2 * 24] = {0}, y[2 * 24], b[24 * 8];
    for (int i = 0; i < 24 * 8; i++) b[i] = 0.5f;
    x[24 + 11] = NAN;
    ws_blockdiag_forward(y, x, 2, 24, b, 8);
    for (int i = 0; i < 48; i++) assert_int_equal(isnan(y[i]) != 0, i >= 32 && i < 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_set_multiplies),
                                       cmocka_unit_test(bits_do_not_depend_on_threads_or_grouping),
                                       cmocka_unit_test(nan_stays_in_its_block)};
    ws_err err = {0};
    if (ws_kernels_init(&err)) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
