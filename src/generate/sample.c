/* src/generate/sample.c - greedy choice, and temperature -> top_k -> top_p -> min_p -> inverse of the distribution at u.
 * The filters are those of transformers' logits processors (models.md 9.5):
 *   top_k   keeps every logit >= the k-th largest (ties with it stay)
 *   top_p   keeps, from the largest down, tokens while the mass BEFORE them is below p; among equal logits the lower id
 *           counts as larger (in transformers that order is what an unstable sort leaves)
 *   min_p   keeps p_i >= min_p * p_max
 * The vocabulary is never sorted: top_k comes from a heap of k values, which most blocks of logits cannot enter, top_p without top_k from a histogram of
 * log-probabilities, of which only the bin that holds the cut is sorted. */
#include "generate/sample.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct cand {
    float logit;
    int32_t id;
    double p; /* exp((logit - max) / T), not normalised */
} cand;

ws_sampling ws_sampling_default(int thinks) {
    return thinks ? (ws_sampling){0.6, 20, 0.95, 0} : (ws_sampling){0.7, 20, 0.8, 0};
}

ws_status ws_sampling_check(const ws_sampling *s, ws_err *err) {
    if (!(s->temperature >= 0) || !isfinite(s->temperature))
        return ws_fail(err, WS_EUSAGE, "temperature %g: must be 0 (greedy) or a positive number", s->temperature);
    if (s->top_k < 0) return ws_fail(err, WS_EUSAGE, "top_k %d: must be 0 (off) or positive", s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return ws_fail(err, WS_EUSAGE, "top_p %g: must be above 0 and at most 1 (off)", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return ws_fail(err, WS_EUSAGE, "min_p %g: must be between 0 (off) and 1", s->min_p);
    return WS_OK;
}

static ws_status check_logits(const float *x, int64_t n, float *max, ws_err *err) {
    *max = ws_k.max(x, n); /* NaN if any value is */
    if (isfinite(*max)) return WS_OK;
    if (*max < 0) return ws_fail(err, WS_ENONFINITE, "all %lld logits are -inf: no token can be sampled", (long long)n);
    int64_t i = 0;
    while (i < n && !isnan(x[i]) && x[i] != INFINITY) i++;
    return ws_fail(err, WS_ENONFINITE, "logit of token %lld is %s", (long long)i,
                   i < n && isnan(x[i]) ? "NaN" : "+inf");
}

static double weight(float logit, float max, double temperature) {
    return exp(((double)logit - (double)max) / temperature);
}

enum { BLOCK = 256 };
/* The largest of each BLOCK of x; the caller frees. */
static float *tops_of(const float *x, int64_t n) {
    float *top = ws_xmalloc((size_t)((n + BLOCK - 1) / BLOCK) * sizeof *top);
    for (int64_t i = 0; i < n; i += BLOCK) top[i / BLOCK] = ws_k.max(x + i, n - i < BLOCK ? n - i : BLOCK);
    return top;
}

/* The k-th largest of x, by a min-heap of k values. */
static float kth_largest(const float *x, int64_t n, int k, const float *top) {
    float *h = ws_xmalloc((size_t)k * sizeof *h);
    int m = 0;
    for (int64_t i = 0; i < n; i++) {
        float v = x[i];
        int j;
        if (i % BLOCK == 0 && m == k && !(top[i / BLOCK] > h[0])) {
            i += BLOCK - 1;
            continue;
        }
        if (m < k) { /* sift up */
            for (j = m++; j && h[(j - 1) / 2] > v; j = (j - 1) / 2) h[j] = h[(j - 1) / 2];
        } else {
            if (!(v > h[0])) continue;
            for (j = 0;;) { /* sift down */
                int c = 2 * j + 1;
                if (c >= k) break;
                if (c + 1 < k && h[c + 1] < h[c]) c++;
                if (!(h[c] < v)) break;
                h[j] = h[c];
                j = c;
            }
        }
        h[j] = v;
    }
    float kth = h[0];
    free(h);
    return kth;
}

static int larger_first(const void *a, const void *b) {
    const cand *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}
static int by_id(const void *a, const void *b) {
    const cand *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Keeps the largest candidates while the mass before them is below `wanted`; at least one.  Sorts c. */
static int cut_mass(cand *c, int n, double before, double wanted) {
    qsort(c, (size_t)n, sizeof *c, larger_first);
    int m = 0;
    for (; m < n && (before < wanted || m == 0); m++) before += c[m].p;
    return m;
}

/* All tokens at or above a logit. */
static cand *collect(const float *x, int64_t n, const float *top, float least, float max, double temperature,
                     int *count) {
    int m = 0, cap = 64;
    cand *c = ws_xmalloc((size_t)cap * sizeof *c);
    for (int64_t i = 0; i < n; i++) {
        if (i % BLOCK == 0 && !(top[i / BLOCK] >= least)) {
            i += BLOCK - 1;
            continue;
        }
        if (!(x[i] >= least)) continue;
        if (m == cap) c = ws_xrealloc(c, (size_t)(cap *= 2) * sizeof *c);
        c[m++] = (cand){x[i], (int32_t)i, weight(x[i], max, temperature)};
    }
    *count = m;
    return c;
}

/* weights of the whole vocabulary at once, y[i] = exp((x[i] - max) / T) in fp32 (2 ulp); the caller frees */
static float *weights_all(const float *x, int64_t n, float max, double temperature) {
    float *y = ws_xmalloc((size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        double d = ((double)x[i] - (double)max) / temperature;
        y[i] = d > -1e4 ? (float)d : -1e4f; /* exp is 0 long before; keeps a tiny temperature inside float */
    }
    ws_k.exp(y, y, n);
    return y;
}

static cand *all_tokens(const float *x, int64_t n, float max, const ws_sampling *s, int *count) {
    float *y = weights_all(x, n, max, s->temperature);
    int m = 0;
    for (int64_t i = 0; i < n; i++) m += y[i] > 0 && (double)y[i] >= s->min_p;
    cand *c = ws_xmalloc((size_t)m * sizeof *c);
    m = 0;
    for (int64_t i = 0; i < n; i++)
        if (y[i] > 0 && (double)y[i] >= s->min_p) c[m++] = (cand){x[i], (int32_t)i, y[i]};
    free(y);
    *count = m;
    return c;
}

/* top_p over the whole vocabulary: mass by bins of max - logit, BINS to T nats; bins above the one that holds the cut
 * are kept whole, and only that bin is sorted.  The last bin takes everything from -N_BINS / BINS * T nats down. */
enum { BINS = 16, N_BINS = 512 };
static int bin_of(float logit, float max, double per_bin) {
    double d = ((double)max - (double)logit) * per_bin;
    return d < N_BINS - 1 ? (int)d : N_BINS - 1;
}
static cand *top_p_all(const float *x, int64_t n, float max, const ws_sampling *s, int *count) {
    double mass[N_BINS] = {0}, z = 0, before = 0, per_bin = fmin(BINS / s->temperature, 1e300);
    int members[N_BINS] = {0};
    float *y = weights_all(x, n, max, s->temperature);
    for (int64_t i = 0; i < n; i++) {
        int b = bin_of(x[i], max, per_bin);
        mass[b] += y[i];
        members[b]++;
    }
    for (int b = 0; b < N_BINS; b++) z += mass[b];
    int cut = 0, whole = 0;
    while (cut < N_BINS - 1 && before + mass[cut] < s->top_p * z) {
        before += mass[cut];
        whole += members[cut++];
    }
    cand *c = ws_xmalloc((size_t)(whole + members[cut] + 1) * sizeof *c);
    int a = 0, b = whole;
    for (int64_t i = 0; i < n; i++) {
        int bin = bin_of(x[i], max, per_bin);
        if (bin <= cut) c[bin < cut ? a++ : b++] = (cand){x[i], (int32_t)i, y[i]};
    }
    free(y);
    *count = whole + cut_mass(c + whole, members[cut], before, s->top_p * z);
    return c;
}

/* The kept candidates in ascending order of id; *sum is their mass. */
static cand *filtered(const float *x, int64_t n, const ws_sampling *s, float max, int *count, double *sum) {
    cand *c;
    int m;
    if (s->top_k > 0 && s->top_k < n) {
        float *top = tops_of(x, n);
        c = collect(x, n, top, kth_largest(x, n, s->top_k, top), max, s->temperature, &m);
        free(top);
        if (s->top_p < 1) {
            double z = 0;
            for (int i = 0; i < m; i++) z += c[i].p;
            m = cut_mass(c, m, 0, s->top_p * z);
        }
    } else if (s->top_p < 1) {
        c = top_p_all(x, n, max, s, &m);
    } else {
        c = all_tokens(x, n, max, s, &m);
    }
    int kept = 0; /* min_p, and masked tokens (weight 0) */
    *sum = 0;
    for (int i = 0; i < m; i++)
        if (c[i].p > 0 && c[i].p >= s->min_p) c[kept++] = c[i]; /* the largest weight is 1 */
    if (s->top_p < 1) qsort(c, (size_t)kept, sizeof *c, by_id);
    for (int i = 0; i < kept; i++) *sum += c[i].p;
    *count = kept;
    return c;
}

static int32_t greedy(const float *x, int64_t n, float max) {
    int64_t i = 0;
    while (i < n - 1 && x[i] != max) i++;
    return (int32_t)i;
}

ws_status ws_sample(const float *logits, int64_t vocab, const ws_sampling *s, double u, int32_t *id, ws_err *err) {
    float max;
    WS_ASSERT(vocab > 0 && vocab <= INT32_MAX && u >= 0 && u < 1);
    if (check_logits(logits, vocab, &max, err)) return err->code;
    if (s->temperature == 0) {
        *id = greedy(logits, vocab, max);
        return WS_OK;
    }
    int n;
    double sum;
    cand *c = filtered(logits, vocab, s, max, &n, &sum);
    double target = u * sum, run = 0;
    int i = 0;
    for (; i < n - 1; i++) {
        run += c[i].p;
        if (run > target) break;
    }
    *id = c[i].id;
    free(c);
    return WS_OK;
}

ws_status ws_sample_kept(const float *logits, int64_t vocab, const ws_sampling *s, ws_kept *out, ws_err *err) {
    float max;
    memset(out, 0, sizeof *out);
    WS_ASSERT(vocab > 0 && vocab <= INT32_MAX);
    if (check_logits(logits, vocab, &max, err)) return err->code;
    int n;
    double sum;
    cand *c;
    if (s->temperature == 0) {
        c = ws_xmalloc(sizeof *c);
        *c = (cand){max, greedy(logits, vocab, max), 1};
        n = 1, sum = 1;
    } else {
        c = filtered(logits, vocab, s, max, &n, &sum);
    }
    out->n = n;
    out->id = ws_xmalloc((size_t)n * sizeof *out->id);
    out->p = ws_xmalloc((size_t)n * sizeof *out->p);
    for (int i = 0; i < n; i++) out->id[i] = c[i].id, out->p[i] = c[i].p / sum;
    free(c);
    return WS_OK;
}

void ws_kept_free(ws_kept *k) {
    free(k->id);
    free(k->p);
    memset(k, 0, sizeof *k);
}
