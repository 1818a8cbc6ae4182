/* src/adapter/dora.c - DoRA: LoRA, with the length of every row of the weight as a parameter of its own.
 * Liu et al. 2024, arXiv:2402.09353; arithmetic of PEFT (adapters.md 2.2), checked against PEFT 0.21.2.
 *     n_i = || W_i + s (B A)_i ||   c = m / n        a constant in backward, as the paper proposes
 *     P = X W^T + s (X A^T) B^T     Y = c .* P + b   the bias is not scaled
 *     dm = colsum(G .* P) / n       G' = G .* c      then LoRA's gradients from G'
 * n comes without a dense B A:  n_i^2 = ||W_i||^2 + 2 s B_i . (W A^T)_i + s^2 B_i (A A^T) B_i^T, the first of which never
 * changes.  m starts as n, so a fresh adapter is the base model; a 16-bit base rounds m, as PEFT does, and then it is not. */
#include "adapter/lowrank.h"
#include "base/parallel.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(dora)

enum { A = WS_LOWRANK_A, B, M };

static ws_status check(const json_t *c, const char *where, ws_err *err) {
    if (ws_lowrank_is_pissa(c))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: use_dora together with init_lora_weights \"%s\": DoRA on changed base weights is not "
                       "supported",
                       where, json_string_value(json_object_get(c, "init_lora_weights")));
    return ws_lowrank_check(c, where, err);
}

static int tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]) {
    ws_lowrank_tensors(s, spec);
    spec[M] = (ws_tensor_spec){"lora_magnitude_vector", 1, {s->at->d_out}, 1};
    return 3;
}

/* ---------- row norms ---------- */

/* derived: ||W_i||^2 in double, B' [r, d_out], n [d_out], c [d_out] */
typedef struct derived {
    double *w2;
    float *bt, *n, *c;
} derived;
static derived parts(const ws_adapted *s) {
    int64_t d = s->at->d_out;
    float *p = s->derived + 2 * d;
    return (derived){(double *)(void *)s->derived, p, p + s->rank * d, p + (s->rank + 1) * d};
}
static int64_t derived_floats(const ws_adapted *s) { return (s->rank + 4) * s->at->d_out; }

static ws_status prepare(ws_adapted *s, ws_err *err) {
    const ws_weight *w = s->at->w;
    double *w2 = parts(s).w2;
    float *row = ws_xmalloc((size_t)w->cols * sizeof *row);
    ws_status st = WS_OK;
    for (int64_t i = 0; i < w->rows && !st; i++) {
        ws_weight_rows_f32(w, i, 1, row);
        w2[i] = ws_k.sum_sq(row, w->cols);
        if (!isfinite(w2[i]))
            st = ws_fail(err, WS_ENONFINITE, "%s: row %lld of the weight holds NaN or infinity", s->at->name,
                         (long long)i);
        else if (!(w2[i] > 0))
            st = ws_fail(err, WS_EUNSUPPORTED,
                         "%s: row %lld of the weight is zero: it has no direction, which DoRA divides by", s->at->name,
                         (long long)i);
    }
    free(row);
    return st;
}

static void refresh(ws_adapted *s) {
    int64_t r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    const derived q = parts(s);
    const float *a = s->p[A].value, *b = s->p[B].value, *m = s->p[M].value;
    const double scale = (double)s->scale;
    float *wa = ws_xmalloc((size_t)(r * d_out) * sizeof *wa), *aa = ws_xmalloc((size_t)(r * r) * sizeof *aa);
    ws_weight rows = ws_weight_f32(a, r, d_in, d_in);
    ws_gemm_nt(wa, d_out, a, d_in, r, s->at->w, 0); /* [r, d_out] */
    ws_gemm_nt(aa, r, a, d_in, r, &rows, 0);
    ws_lowrank_turn(q.bt, b, d_out, r);
    for (int64_t i = 0; i < d_out; i++) {
        double cross = 0, own = 0;
        for (int64_t j = 0; j < r; j++) {
            double t = 0;
            for (int64_t k = 0; k < r; k++) t += (double)aa[j * r + k] * (double)b[i * r + k];
            cross += (double)b[i * r + j] * (double)wa[j * d_out + i];
            own += (double)b[i * r + j] * t;
        }
        double n2 = q.w2[i] + 2 * scale * cross + scale * scale * own;
        q.n[i] = (float)sqrt(n2 > 0 ? n2 : 0);
        q.c[i] = m[i] / q.n[i];
    }
    free(wa), free(aa);
}

/* After A and B were rounded for the base's type. */
static void init_after(ws_adapted *s) {
    refresh(s);
    memcpy(s->p[M].value, parts(s).n, (size_t)s->at->d_out * sizeof(float));
}

/* ---------- passes ---------- */

static ws_lowrank factors(const ws_adapted *s) { return (ws_lowrank){s->rank, s->p[A].value, parts(s).bt}; }

/* saved: s H [n, r], P [n, d_out] */
static int64_t saved_floats(const ws_adapted *s, int64_t n) { return n * (s->rank + s->at->d_out); }

typedef struct rows_work {
    const ws_adapted *s;
    float *y, *keep;
} rows_work;
static void scale_rows(void *arg, int64_t begin, int64_t end) {
    const rows_work *w = arg;
    int64_t d = w->s->at->d_out;
    for (int64_t t = begin; t < end; t++) {
        if (w->keep) memcpy(w->keep + t * d, w->y + t * d, (size_t)d * sizeof(float));
        ws_k.mul(w->y + t * d, w->y + t * d, parts(w->s).c, d);
    }
}
static void product(const ws_adapted *s, const ws_patch_call *c) {
    ws_lowrank_forward(s, factors(s), c);
    ws_parallel_for(c->n, 32, scale_rows, &(rows_work){s, c->y, c->saved ? c->saved + c->n * s->rank : NULL});
}

/* sums: colsum(G .* P), token by token */
static int64_t sum_floats(const ws_adapted *s) { return s->at->d_out; }
static void gradient_columns(void *arg, int64_t begin, int64_t end) {
    const ws_patch_grad *g = ((const ws_patch_grad *const *)arg)[0];
    const ws_adapted *s = ((const ws_adapted *const *)arg)[1];
    const float *p = g->saved + g->n * s->rank, *c = parts(s).c;
    float *sum = s->sums;
    int64_t d = s->at->d_out;
    for (int64_t t = 0; t < g->n; t++)
        for (int64_t i = begin; i < end; i++) {
            float *gy = g->gy + t * d + i;
            sum[i] += *gy * p[t * d + i];
            *gy *= c[i];
        }
}
static void backward_gy(const ws_adapted *s, const ws_patch_grad *g) {
    const void *arg[] = {g, s};
    ws_parallel_for(s->at->d_out, 256, gradient_columns, arg);
}
static void backward(const ws_adapted *s, const ws_patch_grad *g) { ws_lowrank_backward(s, factors(s), g); }

static void finish_grad(ws_adapted *s) {
    const float *n = parts(s).n;
    for (int64_t i = 0; i < s->at->d_out; i++) s->p[M].grad[i] += s->sums[i] / n[i];
}

/* diag(c) (W + s B A) - W = diag((m - n) / n) W + diag(c) s B A */
static ws_status edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    const derived q = parts(s);
    const float *m = s->p[M].value;
    int64_t r = s->rank, d = s->at->d_out;
    if (ws_edit_alloc(out, d, s->at->d_in, r, err)) return err->code;
    float *change = ws_xmalloc((size_t)d * sizeof *change);
    for (int64_t i = 0; i < d; i++) {
        const double n = (double)q.n[i], c = (double)m[i] / n;
        change[i] = (float)(((double)m[i] - n) / n);
        for (int64_t j = 0; j < r; j++)
            out->u[i * r + j] = (float)(c * (double)s->scale * (double)s->p[B].value[i * r + j]);
    }
    memcpy(out->v, s->p[A].value, (size_t)(r * s->at->d_in) * sizeof *out->v);
    ws_edit_add_term(out, change, NULL, 0);
    return WS_OK;
}

const ws_adapter_ops ws_adapter_dora = {
    .name = "dora",
    .peft_type = "LORA",
    .targets = WS_LOWRANK_TARGETS,
    .honours_layers = WS_LAYERS,
    .config = WS_LOWRANK_CONFIG("true", "true"),
    .rank_key = "r",
    .alpha_key = "lora_alpha",
    .claims = ws_lowrank_is_dora,
    .check = check,
    .site = ws_lowrank_site,
    .tensors = tensors,
    .derived_floats = derived_floats,
    .sum_floats = sum_floats,
    .prepare = prepare,
    .init = ws_lowrank_init,
    .init_after = init_after,
    .refresh = refresh,
    .finish_grad = finish_grad,
    .saved_floats = saved_floats,
    .product = product,
    .backward_gy = backward_gy,
    .backward = backward,
    .edit = edit,
};
