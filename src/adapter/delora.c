/* src/adapter/delora.c - DeLoRA: rank-one terms of bounded length, each divided by the lengths of its two vectors.
 * Bini, Girrbach and Akata 2025, arXiv:2503.18225; arithmetic of PEFT (adapters.md 2.4), checked against PEFT 0.21.2.
 *     a_j = max(||A_j||, 1e-4)   b_j = max(||B_:j||, 1e-4)   sig_j = lambda / (r a_j b_j)   w_k = ||W_:k||
 *     H = (X .* w) A^T           K = H .* sig                Y = X W^T + b + K B^T          delta = B diag(sig) A diag(w)
 *     dK = G B                   dsig_j = sum_t dK_tj H_tj   dH = dK .* sig
 *     dB = G^T K - B_:j (dsig_j sig_j / b_j^2)               dA = dH^T (X .* w) - A_j (dsig_j sig_j / a_j^2)
 *     dlambda = sum_j dsig_j / (r a_j b_j)                   dX = G W + (dH A) .* w
 * A norm below 1e-4 is held there and has no gradient.  w belongs to the adapter: it is stored in its file and never
 * trained.  A starts as kaiming uniform noise and B as zeros, so a fresh adapter is the base model; but sig is then near
 * 1e4, and the first step makes B's columns longer than 1e-4, which jumps most of the way to the bound. */
#include "adapter/refuse.h"
#include "adapter/room.h"
#include "base/parallel.h"
#include "io/json.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(delora)

static const char config[] =
    "{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"bias\":\"none\",\"delora_lambda\":15,"
    "\"exclude_modules\":null,\"inference_mode\":true,\"init_weights\":true,\"lambda_pattern\":{},"
    "\"layers_pattern\":null,\"layers_to_transform\":null,\"module_dropout\":0.0,\"modules_to_save\":null,"
    "\"peft_type\":\"DELORA\",\"peft_version\":\"0.21.2\",\"r\":8,\"rank_pattern\":{},\"revision\":null,"
    "\"target_modules\":null,\"task_type\":\"CAUSAL_LM\"}";

enum { A, B, LAMBDA, W };
static const double shortest = 1e-4;

static ws_status check(const json_t *c, const char *where, ws_err *err) {
    return ws_refuse_keys(c, NULL, "module_dropout", where, err);
}

/* alpha: the lambda that training starts from. */
static ws_status site(ws_adapted *s, const json_t *c, const char *key, const char *where, ws_err *err) {
    double rank = 8, lambda = 15;
    if (ws_json_num_or(c, "r", 8, &rank, where, err) || ws_json_num_or(c, "delora_lambda", 15, &lambda, where, err) ||
        ws_target_pattern(json_object_get(c, "rank_pattern"), key, rank, &rank, where, err) ||
        ws_target_pattern(json_object_get(c, "lambda_pattern"), key, lambda, &lambda, where, err))
        return err->code;
    if (!(rank >= 1 && rank <= 1 << 20) || rank != floor(rank))
        return ws_fail(err, WS_EFORMAT, "%s: the rank of %s is %g, it must be a whole number from 1", where, key, rank);
    if (!isfinite((float)lambda))
        return ws_fail(err, WS_EFORMAT, "%s: delora_lambda of %s is %g, which is not finite", where, key, lambda);
    s->rank = (int)rank, s->alpha = lambda, s->scale = 1;
    return WS_OK;
}

static int tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]) {
    spec[A] = (ws_tensor_spec){"delora_A", 2, {s->rank, s->at->d_in}, 1};
    spec[B] = (ws_tensor_spec){"delora_B", 2, {s->at->d_out, s->rank}, 1};
    spec[LAMBDA] = (ws_tensor_spec){"delora_lambda", 1, {1}, 1};
    spec[W] = (ws_tensor_spec){"delora_w_norm", 1, {s->at->d_in}, 0};
    return 4;
}

/* ---------- initial values ---------- */

/* Columns of W are summed in runs of rows, which are then added up in order. */
enum { RUN = 256 };
typedef struct column_sums {
    const ws_weight *w;
    double *part; /* [runs, cols] */
} column_sums;
static void add_squares(void *arg, int64_t begin, int64_t end) {
    const column_sums *p = arg;
    double *sum = p->part + begin / RUN * p->w->cols;
    float *row = ws_xmalloc((size_t)p->w->cols * sizeof *row);
    for (int64_t i = begin; i < end; i++) {
        ws_weight_rows_f32(p->w, i, 1, row);
        for (int64_t k = 0; k < p->w->cols; k++) sum[k] += (double)row[k] * (double)row[k];
    }
    free(row);
}
static void init(ws_adapted *s, ws_mt *rng) {
    const ws_weight *w = s->at->w;
    int64_t runs = (w->rows + RUN - 1) / RUN, d = w->cols;
    ws_mt_kaiming(rng, s->p[A].value, s->rank * d, d);
    memset(s->p[B].value, 0, (size_t)(s->at->d_out * s->rank) * sizeof(float));
    s->p[LAMBDA].value[0] = (float)s->alpha;
    column_sums p = {w, ws_xcalloc((size_t)(runs * d), sizeof(double))};
    ws_parallel_for(w->rows, RUN, add_squares, &p);
    for (int64_t k = 0; k < d; k++) {
        for (int64_t i = 1; i < runs; i++) p.part[k] += p.part[i * d + k];
        s->p[W].value[k] = (float)sqrt(p.part[k]);
    }
    free(p.part);
}

/* ---------- what parameters alone decide ---------- */

/* derived: a b sig [r] in double each, A .* w [r, d_in], B' [r, d_out], (B diag(sig))' [r, d_out] */
typedef struct derived {
    double *a, *b, *sig;
    float *aw, *bt, *bst;
} derived;
static derived parts(const ws_adapted *s) {
    int64_t r = s->rank;
    double *d = (double *)(void *)s->derived;
    float *f = s->derived + 6 * r;
    return (derived){d, d + r, d + 2 * r, f, f + r * s->at->d_in, f + r * (s->at->d_in + s->at->d_out)};
}
static int64_t derived_floats(const ws_adapted *s) { return s->rank * (6 + s->at->d_in + 2 * s->at->d_out); }

static double held(double norm) { return norm >= shortest ? norm : shortest; }

static void refresh(ws_adapted *s) {
    int64_t r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    const float *a = s->p[A].value, *b = s->p[B].value, *w = s->p[W].value;
    const derived q = parts(s);
    for (int64_t j = 0; j < r; j++) q.b[j] = 0;
    for (int64_t i = 0; i < d_out; i++)
        for (int64_t j = 0; j < r; j++) q.b[j] += (double)b[i * r + j] * (double)b[i * r + j];
    for (int64_t j = 0; j < r; j++) {
        q.a[j] = sqrt(ws_k.sum_sq(a + j * d_in, d_in)), q.b[j] = sqrt(q.b[j]);
        q.sig[j] = (double)s->p[LAMBDA].value[0] / (double)r / (held(q.a[j]) * held(q.b[j]));
        ws_k.mul(q.aw + j * d_in, a + j * d_in, w, d_in);
        const float sig = (float)q.sig[j];
        for (int64_t i = 0; i < d_out; i++) {
            q.bt[j * d_out + i] = b[i * r + j];
            q.bst[j * d_out + i] = sig * b[i * r + j];
        }
    }
}

/* ---------- passes ---------- */

/* saved: H [n, r] */
static int64_t saved_floats(const ws_adapted *s, int64_t n) { return n * s->rank; }

static void forward(const ws_adapted *s, const ws_patch_call *c) {
    int64_t r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    const derived q = parts(s);
    float *h = c->saved ? c->saved : ws_arena_floats(c->scratch, c->n * r), *k = ws_arena_floats(c->scratch, c->n * r);
    ws_weight aw = ws_weight_f32(q.aw, r, d_in, d_in), bst = ws_weight_f32(q.bst, r, d_out, d_out);
    ws_gemm_nt(h, r, c->x, d_in, c->n, &aw, 0);
    for (int64_t t = 0; t < c->n; t++) ws_k.scaled(k + t * r, c->alpha[t], h + t * r, r);
    ws_gemm_nn(c->y, d_out, k, r, 1, c->n, &bst, 1);
}

/* sums: dsig [r].  A's gradient holds dH^T X until finish_grad() multiplies it by w. */
static int64_t sum_floats(const ws_adapted *s) { return s->rank; }

static void backward(const ws_adapted *s, const ws_patch_grad *g) {
    int64_t r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    const derived q = parts(s);
    float *k = ws_arena_floats(g->scratch, g->n * r), *dk = ws_arena_floats(g->scratch, g->n * r);
    ws_weight aw = ws_weight_f32(q.aw, r, d_in, d_in), bt = ws_weight_f32(q.bt, r, d_out, d_out);
    ws_weight x = ws_weight_f32(g->x, g->n, d_in, d_in), kw = ws_weight_f32(k, g->n, r, r);
    ws_gemm_nt(dk, r, g->gy, d_out, g->n, &bt, 0);
    for (int64_t t = 0; t < g->n; t++)
        for (int64_t j = 0; j < r; j++) {
            const float sig = (float)q.sig[j], h = g->saved[t * r + j];
            k[t * r + j] = h * sig;
            s->sums[j] += dk[t * r + j] * h;
            dk[t * r + j] *= sig; /* dH */
        }
    ws_gemm_nn(s->p[B].grad, r, g->gy, 1, d_out, d_out, &kw, 1);
    ws_gemm_nn(s->p[A].grad, d_in, dk, 1, r, r, &x, 1);
    if (g->gx) ws_gemm_nn(g->gx, d_in, dk, r, 1, g->n, &aw, 1);
}

static void finish_grad(ws_adapted *s) {
    int64_t r = s->rank, d_in = s->at->d_in, d_out = s->at->d_out;
    const derived q = parts(s);
    const float *a = s->p[A].value, *b = s->p[B].value, *w = s->p[W].value;
    float *ga = s->p[A].grad, *gb = s->p[B].grad;
    double lambda = 0;
    for (int64_t j = 0; j < r; j++) {
        const double dsig = (double)s->sums[j], both = held(q.a[j]) * held(q.b[j]);
        const double ca = q.a[j] >= shortest ? dsig * q.sig[j] / (q.a[j] * q.a[j]) : 0,
                     cb = q.b[j] >= shortest ? dsig * q.sig[j] / (q.b[j] * q.b[j]) : 0;
        lambda += dsig / ((double)r * both);
        for (int64_t k = 0; k < d_in; k++)
            ga[j * d_in + k] = (float)((double)ga[j * d_in + k] * (double)w[k] - ca * (double)a[j * d_in + k]);
        for (int64_t i = 0; i < d_out; i++) gb[i * r + j] = (float)((double)gb[i * r + j] - cb * (double)b[i * r + j]);
    }
    s->p[LAMBDA].grad[0] += (float)lambda;
}

/* B diag(sig), A diag(w) */
static ws_status edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    int64_t r = s->rank, d_out = s->at->d_out;
    const derived q = parts(s);
    if (ws_edit_alloc(out, d_out, s->at->d_in, r, err)) return err->code;
    for (int64_t i = 0; i < d_out; i++)
        for (int64_t j = 0; j < r; j++) out->u[i * r + j] = (float)(q.sig[j] * (double)s->p[B].value[i * r + j]);
    memcpy(out->v, q.aw, (size_t)(r * s->at->d_in) * sizeof *out->v);
    return WS_OK;
}

const ws_adapter_ops ws_adapter_delora = {
    .name = "delora",
    .peft_type = "DELORA",
    .targets = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
    .honours_layers = WS_LAYERS,
    .config = config,
    .rank_key = "r",
    .lambda_key = "delora_lambda",
    .check = check,
    .site = site,
    .tensors = tensors,
    .derived_floats = derived_floats,
    .sum_floats = sum_floats,
    .init = init,
    .refresh = refresh,
    .finish_grad = finish_grad,
    .saved_floats = saved_floats,
    .forward = forward,
    .backward = backward,
    .edit = edit,
    .merge_rounds = 1,
};
