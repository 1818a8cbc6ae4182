/* The statistic of a probe: quantiles over all (prompt, position) pooled, and the interval of p95 over prompts. */
#include "base/stats.h"
#include "calibrate/kl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

ws_kl_stats ws_kl_summary(const ws_kl_result *r) {
    ws_kl_stats s = {0};
    double *x = ws_xmalloc((size_t)r->n_prompts * (size_t)r->n_tokens * sizeof *x + 1), sum = 0;
    for (int p = 0; p < r->n_prompts; p++)
        for (int t = 0; t < r->n[p]; t++) sum += x[s.n++] = r->kl[(int64_t)p * r->n_tokens + t];
    ws_sort(x, s.n);
    s.p95 = ws_quantile(x, s.n, 0.95), s.p50 = ws_quantile(x, s.n, 0.5), s.p99 = ws_quantile(x, s.n, 0.99);
    s.mean = s.n ? sum / (double)s.n : NAN, s.max = s.n ? x[s.n - 1] : NAN;
    free(x);
    return s;
}

typedef struct value {
    double v;
    int prompt;
} value;
static int by_value(const void *a, const void *b) {
    double x = ((const value *)a)->v, y = ((const value *)b)->v;
    return (x > y) - (x < y);
}

/* Element k (from 0) of the sorted pool in which prompt p stands weight[p] times. */
static double at_rank(const value *x, int64_t n, const int *weight, int64_t k) {
    for (int64_t i = 0; i < n; i++)
        if ((k -= weight[x[i].prompt]) < 0) return x[i].v;
    return x[n - 1].v;
}

void ws_kl_p95_interval(const ws_kl_result *r, int draws, uint64_t seed, double *lo, double *hi) {
    int64_t n = 0;
    value *x = ws_xmalloc((size_t)r->n_prompts * (size_t)r->n_tokens * sizeof *x + 1);
    for (int p = 0; p < r->n_prompts; p++)
        for (int t = 0; t < r->n[p]; t++) x[n++] = (value){r->kl[(int64_t)p * r->n_tokens + t], p};
    qsort(x, (size_t)n, sizeof *x, by_value); /* sorted once; a draw only changes how often each prompt counts */
    int *weight = ws_xmalloc((size_t)r->n_prompts * sizeof *weight + 1);
    double *p95 = ws_xmalloc((size_t)draws * sizeof *p95 + 1);
    for (int d = 0; d < draws; d++) {
        int64_t total = 0;
        memset(weight, 0, (size_t)r->n_prompts * sizeof *weight);
        for (int i = 0; i < r->n_prompts; i++) {
            int64_t p = ws_boot_index(seed, "calibrate.bootstrap", d, i, r->n_prompts);
            weight[p]++, total += r->n[p];
        }
        double at = 0.95 * (double)(total - 1), t = at - floor(at);
        if (total < 1) {
            p95[d] = NAN;
            continue;
        }
        double a = at_rank(x, n, weight, (int64_t)floor(at)),
               b = at_rank(x, n, weight, (int64_t)floor(at) + 1 < total ? (int64_t)floor(at) + 1 : total - 1);
        p95[d] = t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
    }
    ws_interval i = ws_interval_of(p95, draws);
    *lo = i.lo, *hi = i.hi;
    free(x), free(weight), free(p95);
}
