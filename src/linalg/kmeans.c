#include "linalg/kmeans.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 20 };

static double dot(const double *a, const double *b, int64_t d) {
    double s[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= d; i += 4)
        for (int j = 0; j < 4; j++) s[j] += a[i + j] * b[i + j];
    for (; i < d; i++) s[i & 3] += a[i] * b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}
static double length(const double *a, int64_t d) { return sqrt(dot(a, a, d)) + 1e-8; }

/* Rows to the centroid of largest cosine; a row's own length is the same for all of them. */
static void assign(const double *x, int64_t n, int64_t d, int k, const double *c, int *of) {
    double *inverse = ws_xmalloc((size_t)k * sizeof *inverse);
    for (int j = 0; j < k; j++) inverse[j] = 1 / length(c + j * d, d);
    for (int64_t i = 0; i < n; i++) {
        double best = -INFINITY;
        of[i] = 0;
        for (int j = 0; j < k; j++) {
            double cosine = dot(x + i * d, c + j * d, d) * inverse[j];
            if (cosine > best) best = cosine, of[i] = j;
        }
    }
    free(inverse);
}

ws_status ws_kmeans(const double *x, int64_t n, int64_t d, int k, uint64_t seed, ws_kmeans_form form, double *c,
                    int *of, int *rounds, ws_err *err) {
    if (n < k) return ws_fail(err, WS_EUSAGE, "%d clusters need at least as many pairs, not %lld", k, (long long)n);
    int64_t *perm = ws_xmalloc((size_t)n * sizeof *perm), *count = ws_xmalloc((size_t)k * sizeof *count);
    double *next = ws_xmalloc((size_t)(k * d) * sizeof *next);
    ws_status st = WS_OK;
    ws_mt r;
    ws_mt_seed(&r, (uint32_t)seed);
    ws_mt_randperm(&r, perm, n);
    for (int j = 0; j < k; j++) memcpy(c + j * d, x + perm[j] * d, (size_t)d * sizeof *c);
    int round = 0, still = 0;
    while (round < ROUNDS && !still && !st) {
        round++;
        assign(x, n, d, k, c, of);
        memset(next, 0, (size_t)(k * d) * sizeof *next), memset(count, 0, (size_t)k * sizeof *count);
        for (int64_t i = 0; i < n; i++) {
            double *to = next + of[i] * d;
            count[of[i]]++;
            for (int64_t t = 0; t < d; t++) to[t] += x[i * d + t];
        }
        still = 1;
        for (int j = 0; j < k && !st; j++) {
            double *to = next + j * d;
            if (!count[j] && form == WS_KMEANS_TAKE_NEW)
                st = ws_fail(err, WS_EFORMAT,
                             "cluster %d of %d has no states left after round %d; ask for fewer clusters (--clusters), "
                             "or another --vector-seed",
                             j, k, round);
            if (!count[j] && form == WS_KMEANS_KEEP_OLD) {
                ws_mt_randperm(&r, perm, n);
                memcpy(to, x + perm[0] * d, (size_t)d * sizeof *to);
            }
            for (int64_t t = 0; t < d; t++) {
                if (count[j]) to[t] /= (double)count[j];
                still &= fabs(to[t] - c[j * d + t]) <= 1e-6 + 1e-5 * fabs(c[j * d + t]);
            }
        }
        if (!still || form == WS_KMEANS_TAKE_NEW) memcpy(c, next, (size_t)(k * d) * sizeof *c);
    }
    if (rounds) *rounds = round;
    free(perm), free(count), free(next);
    return st;
}
