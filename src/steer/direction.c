/* src/steer/direction.c - sums, means and directions that several rooms share. */
#include "linalg/linalg.h"
#include "steer/room.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double eight(const double s[8]) { return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); }

double ws_dot(const float *a, const float *b, int64_t n) {
    double s[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) s[j] += (double)a[i + j] * (double)b[i + j];
    for (; i < n; i++) s[i & 7] += (double)a[i] * (double)b[i];
    return eight(s);
}
double ws_length(const float *a, int64_t n) { return sqrt(ws_dot(a, a, n)); }

double ws_cosine(const float *a, const float *b, int64_t n) {
    return ws_dot(a, b, n) / ((ws_length(a, n) + WS_UNIT_EPS) * (ws_length(b, n) + WS_UNIT_EPS));
}

void ws_add_scaled(float *y, double c, const float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = (float)((double)y[i] + c * (double)v[i]);
}

void ws_mean_rows(double *out, const float *x, int64_t n, int64_t d) {
    for (int64_t i = 0; i < d; i++) out[i] = 0;
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < d; i++) out[i] += (double)x[r * d + i];
    for (int64_t i = 0; i < d; i++) out[i] /= (double)n;
}

const char *ws_extract_where(const ws_extraction *e, int i) { return ws_model_site(e->m, e->at[i].site)->name; }

ws_status ws_unit(float *out, const double *x, int64_t d, const ws_extraction *e, int i, ws_err *err) {
    double sq = 0;
    for (int64_t j = 0; j < d; j++) sq += x[j] * x[j];
    if (!isfinite(sq))
        return ws_fail(err, WS_ENONFINITE, "%s: a state is NaN or infinite; no direction can be drawn from it",
                       ws_extract_where(e, i));
    if (sq == 0)
        return ws_fail(err, WS_EFORMAT,
                       "%s: POS and NEG leave the same mean state, so there is no direction; do the personas reach the "
                       "prompt (ws render)?",
                       ws_extract_where(e, i));
    double scale = 1 / (sqrt(sq) + WS_UNIT_EPS);
    for (int64_t j = 0; j < d; j++) out[j] = (float)(x[j] * scale);
    return WS_OK;
}

void ws_mean_diff(double *out, const ws_extraction *e, int i) {
    const ws_states *s = &e->at[i];
    double *neg = ws_xmalloc((size_t)s->d * sizeof *neg);
    ws_mean_rows(out, s->pos, e->n, s->d);
    ws_mean_rows(neg, s->neg, e->n, s->d);
    for (int64_t j = 0; j < s->d; j++) out[j] -= neg[j];
    free(neg);
}

double *ws_differences(const ws_extraction *e, int i) {
    const ws_states *s = &e->at[i];
    double *x = ws_xmalloc((size_t)(e->n * s->d) * sizeof *x);
    for (int64_t j = 0; j < e->n * s->d; j++) x[j] = (double)s->pos[j] - (double)s->neg[j];
    return x;
}

ws_status ws_first_direction(double *v, double *x, int64_t n, int64_t d, ws_err *err) {
    int64_t k = n < d ? n : d;
    double *mean = ws_xcalloc((size_t)d, sizeof *mean), *u = ws_try_alloc((size_t)(n * k), sizeof *u),
           *s = ws_xmalloc((size_t)k * sizeof *s), *vt = ws_try_alloc((size_t)(k * d), sizeof *vt);
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < d; j++) mean[j] += x[r * d + j];
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < d; j++) x[r * d + j] -= mean[j] / (double)n;
    ws_status st = u && vt ? ws_svd(x, n, d, u, s, vt, err)
                           : ws_fail(err, WS_ENOMEM, "out of memory for the directions of %lld pairs", (long long)n);
    if (!st && s[0] == 0)
        st = ws_fail(err, WS_EFORMAT, "all differences of the pairs are the same, so they have no principal direction");
    if (!st) memcpy(v, vt, (size_t)d * sizeof *v);
    free(mean), free(u), free(s), free(vt);
    return st;
}

ws_status ws_extract_mean_diff(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err) {
    (void)v;
    double *x = ws_xmalloc((size_t)s->d * sizeof *x);
    ws_mean_diff(x, e, i);
    s->t[0] = ws_xmalloc((size_t)s->d * sizeof(float));
    ws_status st = ws_unit(s->t[0], x, s->d, e, i, err);
    free(x);
    return st;
}

void ws_token_add(const ws_vector *v, const ws_vector_site *s, float *y, double c) {
    (void)v;
    ws_add_scaled(y, c, s->t[0], s->d);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
double ws_median(double *x, int64_t n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n ? (x[(n - 1) / 2] + x[n / 2]) / 2 : 0;
}
