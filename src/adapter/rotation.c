/* src/adapter/rotation.c - rotations made of small skew blocks: Q, R - I and their gradients in double, blocks of x in fp32.
 * With Q skew, I + Q has a positive definite symmetric part, so it is inverted without pivoting. */
#include "adapter/rotation.h"
#include "base/log.h"
#include "io/json.h"
#include "ops/blockdiag.h"
#include <string.h>

/* ---------- the skew matrix ---------- */

void ws_skew_from_upper(double *q, const float *v, int b) {
    for (int64_t i = 0; i < b; i++) {
        q[i * b + i] = 0;
        for (int64_t j = i + 1; j < b; j++) q[i * b + j] = (double)*v++, q[j * b + i] = -q[i * b + j];
    }
}
void ws_skew_from_upper_grad(float *gv, const double *gq, int b) {
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = i + 1; j < b; j++) *gv++ += (float)(gq[i * b + j] - gq[j * b + i]);
}

void ws_skew_from_full(double *q, const float *d, int b) {
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < b; j++) q[i * b + j] = 0.5 * ((double)d[i * b + j] - (double)d[j * b + i]);
}
void ws_skew_from_full_grad(float *gd, const double *gq, int b) {
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < b; j++) gd[i * b + j] += (float)(0.5 * (gq[i * b + j] - gq[j * b + i]));
}

/* ---------- square matrices ---------- */

static void square(double *c, const double *a, int64_t ai, int64_t ak, const double *b, int n) {
    memset(c, 0, (size_t)n * (size_t)n * sizeof *c);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) {
            const double x = a[i * ai + k * ak];
            for (int64_t j = 0; j < n; j++) c[i * n + j] += x * b[k * n + j];
        }
}
void ws_square_nn(double *c, const double *a, const double *b, int n) { square(c, a, n, 1, b, n); }
void ws_square_tn(double *c, const double *a, const double *b, int n) { square(c, a, 1, n, b, n); }
void ws_square_nt(double *c, const double *a, const double *b, int n) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = 0;
            for (int64_t k = 0; k < n; k++) s += a[i * n + k] * b[j * n + k];
            c[i * n + j] = s;
        }
}
static void add_square(double *c, double x, const double *a, int n) {
    for (int64_t i = 0; i < (int64_t)n * n; i++) c[i] += x * a[i];
}

/* ---------- R(Q) - I ---------- */

/* PEFT's series by its number of terms: up to 1 nothing but I; 3 and 4 are the same. */
static int highest_power(int terms) { return terms < 3 ? (terms == 2) : terms == 3 ? 3 : terms - 1; }
static double coefficient(int power, int terms) { return power < highest_power(terms) || terms == 2 ? 2 : 1; }

/* (I + Q)^-1 by Gauss-Jordan; work [b, b]. */
static void inverse(double *m, const double *q, int b, double *work) {
    memcpy(work, q, (size_t)b * (size_t)b * sizeof *work);
    memset(m, 0, (size_t)b * (size_t)b * sizeof *m);
    for (int64_t i = 0; i < b; i++) work[i * b + i] += 1, m[i * b + i] = 1;
    for (int64_t p = 0; p < b; p++) {
        const double f = 1 / work[p * b + p];
        for (int64_t j = 0; j < b; j++) work[p * b + j] *= f, m[p * b + j] *= f;
        for (int64_t i = 0; i < b; i++) {
            const double x = work[i * b + p];
            if (i == p) continue;
            for (int64_t j = 0; j < b; j++) work[i * b + j] -= x * work[p * b + j], m[i * b + j] -= x * m[p * b + j];
        }
    }
}

int64_t ws_rotation_scratch(int terms, int b) {
    const int powers = terms == WS_CAYLEY ? 0 : highest_power(terms);
    return (int64_t)b * b * (2 + (powers > 2 ? powers : 2));
}

/* powers [p][b, b], p = 1 ... */
static void all_powers(double *powers, const double *q, int highest, int b) {
    const int64_t n = (int64_t)b * b;
    if (highest) memcpy(powers, q, (size_t)n * sizeof *q);
    for (int p = 1; p < highest; p++) ws_square_nn(powers + p * n, powers + (p - 1) * n, q, b);
}

void ws_rotation(double *e, const double *q, int terms, int b, double *scratch) {
    const int64_t n = (int64_t)b * b;
    if (terms == WS_CAYLEY) { /* (I - Q) M - (I + Q) M = -2 Q M,  M = (I + Q)^-1 */
        inverse(scratch, q, b, scratch + n);
        ws_square_nn(e, q, scratch, b);
        for (int64_t i = 0; i < n; i++) e[i] *= -2;
        return;
    }
    const int highest = highest_power(terms);
    all_powers(scratch, q, highest, b);
    memset(e, 0, (size_t)n * sizeof *e);
    for (int p = highest; p > 0; p--) add_square(e, coefficient(p, terms), scratch + (p - 1) * n, b); /* small first */
}

void ws_rotation_grad(double *gq, const double *gr, const double *q, int terms, int b, double *scratch) {
    const int64_t n = (int64_t)b * b;
    if (terms == WS_CAYLEY) { /* dR = -2 M dQ M */
        double *m = scratch, *t = scratch + n;
        inverse(m, q, b, t);
        ws_square_nt(t, gr, m, b);
        ws_square_tn(gq, m, t, b);
        for (int64_t i = 0; i < n; i++) gq[i] *= -2;
        return;
    }
    /* Back through Q^p = Q^(p-1) Q from the highest power on; g is the gradient of the power at hand. */
    const int highest = highest_power(terms);
    double *powers = scratch, *g = scratch + highest * n, *t = g + n;
    memset(gq, 0, (size_t)n * sizeof *gq);
    if (!highest) return;
    all_powers(powers, q, highest - 1, b);
    memset(g, 0, (size_t)n * sizeof *g);
    for (int p = highest; p > 0; p--) {
        add_square(g, coefficient(p, terms), gr, b);
        if (p == 1) break;
        ws_square_tn(t, powers + (p - 2) * n, g, b);
        add_square(gq, 1, t, b);
        ws_square_nt(t, g, q, b);
        memcpy(g, t, (size_t)n * sizeof *g);
    }
    add_square(gq, 1, g, b);
}

void ws_rotation_store(float *r, const double *e, int b) {
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < b; j++) r[i * b + j] = (float)((i == j ? 1 : 0) + e[i * b + j]);
}
void ws_rotation_store_edit(float *et, const double *e, int b) {
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < b; j++) et[i * b + j] = (float)e[j * b + i];
}

/* ---------- block sizes ---------- */

/* PEFT's rule: the largest divisor below or the smallest above, whichever is nearer, the lower one in a tie. */
static int64_t nearest_divisor(int64_t d, int64_t n) {
    int64_t low = n, high = n;
    if (n >= d) return d;
    while (d % high) high++;
    while (d % low) low--;
    return n - low <= high - n ? low : high;
}

ws_status ws_rotation_block(int *block, const json_t *c, const char *size_key, const char *count_key, int64_t d_in,
                            int fitted, const char *key, const char *where, ws_err *err) {
    int64_t size, count;
    if (ws_json_int_or(c, size_key, 0, &size, where, err) || ws_json_int_or(c, count_key, 0, &count, where, err))
        return err->code;
    if (size < 0 || count < 0 || !size == !count)
        return ws_fail(err, WS_EFORMAT, "%s: %s is %lld and %s is %lld: exactly one of them must be above 0", where,
                       size_key, (long long)size, count_key, (long long)count);
    int64_t n = size ? size : count;
    if (n > d_in || d_in % n) {
        if (!fitted)
            return ws_fail(err, WS_EFORMAT, "%s: %s %lld does not divide the %lld inputs of %s", where,
                           size ? size_key : count_key, (long long)n, (long long)d_in, key);
        int64_t near = nearest_divisor(d_in, n);
        ws_warn("%s: %s %lld does not divide the %lld inputs of %s; %lld is taken there, as PEFT does", where,
                size ? size_key : count_key, (long long)n, (long long)d_in, key, (long long)near);
        n = near;
    }
    if (!size) n = d_in / n;
    if (n < 2)
        return ws_fail(err, WS_EUNSUPPORTED, "%s: blocks of one input of %s cannot turn; choose another %s", where, key,
                       size ? size_key : count_key);
    *block = (int)n;
    return WS_OK;
}

/* ---------- tokens ---------- */

void ws_rotate_input(const ws_patch_call *c, float *x, const float *r, int b) {
    ws_blockdiag_forward(x, c->x, c->n, c->at->d_in, r, b);
}

void ws_rotate_grad(const ws_patch_grad *g, const float *r, float *dr, int b) {
    const int64_t d = g->at->d_in;
    float *turned = ws_arena_floats(g->scratch, g->n * d);
    ws_blockdiag_backward(dr, g->x, g->gx, g->n, d, b);
    ws_blockdiag_forward_t(turned, g->gx, g->n, d, r, b);
    memcpy(g->gx, turned, (size_t)(g->n * d) * sizeof *turned);
}
