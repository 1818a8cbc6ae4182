/* src/base/stats.h - small statistics in double.  Quantiles are numpy's (linear interpolation); NaN is a missing value
 * where a function says so, and never silently a number. */
#ifndef WS_BASE_STATS_H
#define WS_BASE_STATS_H
#include <stdint.h>

void ws_sort(double *x, int64_t n);                            /* ascending; no NaN inside */
double ws_quantile(const double *sorted, int64_t n, double q); /* numpy.quantile(method="linear"); NaN for n = 0 */
double ws_mean(const double *x, int64_t n);                    /* NaN left out; NaN when nothing is left */
/* sqrt(sum (x - mean)^2 / max(1, n - ddof)) over what is not NaN; NaN for n = 0 */
double ws_std(const double *x, int64_t n, int ddof);
int64_t ws_count(const double *x, int64_t n); /* how many are not NaN */
/* Distinct runs of k neighbours as a share of all n - k + 1 runs; NaN for n < k. */
double ws_distinct(const int32_t *x, int64_t n, int k);
/* Pearson correlation over pairs in which neither is NaN; NaN for fewer than 2 pairs or a constant side. */
double ws_pearson(const double *x, const double *y, int64_t n, int64_t *n_used);

typedef struct ws_interval {
    double lo, hi;
} ws_interval;
/* 2.5% and 97.5% quantiles of bootstrap draws; NaN draws are left out, and when more than half are NaN so is the
 * interval. */
ws_interval ws_interval_of(const double *draws, int64_t n);
/* Wilson's 95% interval of a share, k of n; NaN for n = 0. */
ws_interval ws_wilson(int64_t k, int64_t n);
/* Element i of bootstrap draw `draw`: an index below n, a pure function of its arguments (counter stream). */
int64_t ws_boot_index(uint64_t seed, const char *stream, int64_t draw, int64_t i, int64_t n);
#endif
