#include "base/stats.h"
#include "base/err.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
void ws_sort(double *x, int64_t n) {
    if (n > 1) qsort(x, (size_t)n, sizeof *x, ascending);
}

double ws_quantile(const double *s, int64_t n, double q) {
    if (n < 1) return NAN;
    double at = q * (double)(n - 1), below = floor(at), t = at - below;
    int64_t i = (int64_t)below, j = i + 1 < n ? i + 1 : n - 1;
    double d = s[j] - s[i];
    /* numpy's lerp: from the nearer end, so that it is exact at both */
    return t < 0.5 ? s[i] + d * t : s[j] - d * (1 - t);
}

int64_t ws_count(const double *x, int64_t n) {
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) k += !isnan(x[i]);
    return k;
}

double ws_mean(const double *x, int64_t n) {
    double sum = 0;
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i])) sum += x[i], k++;
    return k ? sum / (double)k : NAN;
}

double ws_std(const double *x, int64_t n, int ddof) {
    double m = ws_mean(x, n), sum = 0;
    int64_t k = ws_count(x, n), div = k - ddof > 1 ? k - ddof : 1;
    if (!k) return NAN;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i])) sum += (x[i] - m) * (x[i] - m);
    return sqrt(sum / (double)div);
}

/* Runs are compared where they lie: `at` holds their first places. */
static int by_run(const void *a, const void *b, void *arg) {
    const int32_t *x = *(const int32_t *const *)a, *y = *(const int32_t *const *)b;
    for (int i = 0, k = *(const int *)arg; i < k; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}
double ws_distinct(const int32_t *x, int64_t n, int k) {
    int64_t all = n - k + 1, different = 1;
    if (all < 1) return NAN;
    const int32_t **at = ws_xmalloc((size_t)all * sizeof *at);
    for (int64_t i = 0; i < all; i++) at[i] = x + i;
    qsort_r(at, (size_t)all, sizeof *at, by_run, &k);
    for (int64_t i = 1; i < all; i++) different += by_run(&at[i], &at[i - 1], &k) != 0;
    free(at);
    return (double)different / (double)all;
}

double ws_pearson(const double *x, const double *y, int64_t n, int64_t *n_used) {
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i]) && !isnan(y[i])) mx += x[i], my += y[i], k++;
    if (n_used) *n_used = k;
    if (k < 2) return NAN;
    mx /= (double)k, my /= (double)k;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]) || isnan(y[i])) continue;
        double dx = x[i] - mx, dy = y[i] - my;
        xx += dx * dx, yy += dy * dy, xy += dx * dy;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

ws_interval ws_interval_of(const double *draws, int64_t n) {
    ws_interval out = {NAN, NAN};
    double *s = ws_xmalloc((size_t)(n + 1) * sizeof *s);
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(draws[i])) s[k++] = draws[i];
    if (2 * k > n) {
        ws_sort(s, k);
        out = (ws_interval){ws_quantile(s, k, 0.025), ws_quantile(s, k, 0.975)};
    }
    free(s);
    return out;
}

int64_t ws_boot_index(uint64_t seed, const char *stream, int64_t draw, int64_t i, int64_t n) {
    double u = ws_counter_uniform(seed, stream, (uint64_t)draw, (uint64_t)i);
    int64_t k = (int64_t)(u * (double)n);
    return k < n ? k : n - 1;
}

ws_interval ws_wilson(int64_t k, int64_t n) {
    const double z = 1.959963984540054, z2 = z * z, N = (double)n, p = (double)k / N;
    if (n < 1) return (ws_interval){NAN, NAN};
    const double middle = (p + z2 / (2 * N)) / (1 + z2 / N);
    const double half = z / (1 + z2 / N) * sqrt(p * (1 - p) / N + z2 / (4 * N * N));
    return (ws_interval){k == 0 ? 0 : middle - half, k == n ? 1 : middle + half};
}
