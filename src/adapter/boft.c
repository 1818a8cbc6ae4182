/* src/adapter/boft.c - BOFT: rotations by blocks, in butterfly factors that mix wider and wider, and a scale per output.
 * Liu et al. 2023, arXiv:2311.06243; arithmetic of PEFT (adapters.md 2.6), checked against PEFT 0.21.2.
 *     x' = x T (by wide blocks)  [n, d_in]   P = x' W^T   Y = z .* P + b     i.e. W_eff = diag(z) W T^T
 *     dz = colsum(G .* P)   G1 = G .* z   dX' = G1 W   dT = sum_t x_t^T dX'_t   dX = dX' T^T
 * T = F_(m-1) ... F_1 F_0,  F_i = P_i blockdiag(R_i) P_i^T,  R = (I - S)(I + S)^-1,  S = (D - D^T) / 2.
 * P_i permutes inside runs of block 2^i, so T is block-diagonal with blocks of block 2^(m-1): all work on tokens sees only
 * those, and the factors are told apart once a step.  With m = 1, which is all that PEFT does without its CUDA extension,
 * T is R itself. */
#include "adapter/refuse.h"
#include "adapter/room.h"
#include "adapter/rotation.h"
#include "base/log.h"
#include "io/json.h"
#include "ops/blockdiag.h"
#include <stdlib.h>
#include <string.h>

WS_ROOM(boft)

/* The key set that PEFT 0.21.2 writes for BOFT. */
static const char config[] =
    "{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"bias\":\"none\",\"boft_block_num\":0,"
    "\"boft_block_size\":4,\"boft_dropout\":0.0,\"boft_n_butterfly_factor\":1,\"exclude_modules\":null,"
    "\"fan_in_fan_out\":false,\"inference_mode\":true,\"init_weights\":true,\"layers_pattern\":null,"
    "\"layers_to_transform\":null,\"modules_to_save\":null,\"peft_type\":\"BOFT\",\"peft_version\":\"0.21.2\","
    "\"revision\":null,\"target_modules\":null,\"task_type\":\"CAUSAL_LM\"}";

enum { D, Z };

static ws_status check(const json_t *c, const char *where, ws_err *err) {
    return ws_refuse_keys(c, NULL, "boft_dropout", where, err);
}

/* Where PEFT cannot build its CUDA extension it makes one factor of whatever was asked for, and saves what was asked for. */
static ws_status adopt(json_t *c, const ws_safetensors *tensors, const char *where, ws_err *err) {
    int64_t factors;
    if (ws_json_int_or(c, "boft_n_butterfly_factor", 1, &factors, where, err)) return err->code;
    for (size_t i = 0; factors > 1 && i < ws_safetensors_count(tensors); i++) {
        const ws_tensor *t = ws_safetensors_at(tensors, i);
        size_t n = strlen(t->name);
        if (n < 7 || strcmp(t->name + n - 7, ".boft_R") || t->dims != 4 || t->dim[0] != 1) continue;
        ws_warn("%s: boft_n_butterfly_factor is %lld, but the tensors hold one factor, as PEFT trains without its CUDA "
                "extension; it is read as 1",
                where, (long long)factors);
        json_object_set_new(c, "boft_n_butterfly_factor", json_integer(factors = 1));
    }
    return WS_OK;
}

static ws_status site(ws_adapted *s, const json_t *c, const char *key, const char *where, ws_err *err) {
    int64_t factors;
    if (ws_rotation_block(&s->block, c, "boft_block_size", "boft_block_num", s->at->d_in, 0, key, where, err) ||
        ws_json_int_or(c, "boft_n_butterfly_factor", 1, &factors, where, err))
        return err->code;
    if (factors < 1 || factors > 30 || (s->at->d_in / s->block) % ((int64_t)1 << (factors - 1)) ||
        (factors > 1 && s->block % 2))
        return ws_fail(
            err, WS_EFORMAT,
            "%s: boft_n_butterfly_factor %lld does not fit the %lld blocks of %d of %s: the blocks must be of "
            "even size and their number a multiple of 2^(factors - 1)",
            where, (long long)factors, (long long)(s->at->d_in / s->block), s->block, key);
    s->factors = (int)factors, s->terms = WS_CAYLEY;
    return WS_OK;
}

/* Blocks of D and of T. */
static int wide(const ws_adapted *s) { return s->block << (s->factors - 1); }
static int64_t square(int b) { return (int64_t)b * b; }

static int tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]) {
    spec[D] = (ws_tensor_spec){"boft_R", 4, {s->factors, s->at->d_in / s->block, s->block, s->block}, 1};
    spec[Z] = (ws_tensor_spec){"boft_s", 2, {s->at->d_out, 1}, 1};
    return 2;
}

/* derived: T, sums: dT, both [d_in / wide, wide, wide]. */
static int64_t all_blocks(const ws_adapted *s) { return s->at->d_in * wide(s); }

static void init(ws_adapted *s, ws_mt *r) {
    (void)r; /* draws nothing */
    memset(s->p[D].value, 0, (size_t)(s->p[D].rows * s->p[D].cols) * sizeof(float));
    for (int64_t i = 0; i < s->at->d_out; i++) s->p[Z].value[i] = 1;
}

/* ---------- one wide block ---------- */

/* Where row j of factor i comes from: runs of block 2^i are cut into groups of block / 2, the even groups first. */
static int64_t from(const ws_adapted *s, int i, int64_t j) {
    if (s->factors == 1) return j;
    const int64_t run = (int64_t)s->block << i, half = s->block / 2, in = j % run;
    WS_ASSERT(half > 0); /* site() wants blocks of even size here */
    const int64_t groups = run / half, g = in / half;
    return j - in + (g < groups / 2 ? 2 * g : 2 * (g - groups / 2) + 1) * half + in % half;
}

/* Block b of factor i among those of wide block k, in D. */
static int64_t at(const ws_adapted *s, int i, int64_t k, int64_t b) {
    return (i * (s->at->d_in / s->block) + (k << (s->factors - 1)) + b) * square(s->block);
}

typedef struct work {
    double *q, *e, *scratch; /* a block of D: S, R - I or its gradient */
    double *factor, *before; /* [factors][wide, wide]: F_i - I and F_(i-1) ... F_0 - I */
    double *g, *t;           /* [wide, wide] */
} work;

static work work_new(const ws_adapted *s) {
    const int64_t n = square(s->block), w = square(wide(s));
    work a;
    a.q =
        ws_xmalloc((size_t)(2 * n + ws_rotation_scratch(WS_CAYLEY, s->block) + (2 * s->factors + 3) * w) * sizeof *a.q);
    a.e = a.q + n, a.scratch = a.e + n, a.factor = a.scratch + ws_rotation_scratch(WS_CAYLEY, s->block);
    a.before = a.factor + s->factors * w, a.g = a.before + (s->factors + 1) * w, a.t = a.g + w;
    return a;
}

/* All factors of wide block k and their products; T - I is before[factors]. */
static void turn(const ws_adapted *s, int64_t k, const work *a) {
    const int b = s->block, w = wide(s);
    memset(a->before, 0, (size_t)square(w) * sizeof(double));
    for (int i = 0; i < s->factors; i++) {
        double *f = a->factor + i * square(w), *before = a->before + i * square(w), *next = before + square(w);
        double *straight = next; /* blockdiag(R_i) - I, not yet permuted */
        memset(straight, 0, (size_t)square(w) * sizeof *straight);
        for (int64_t j = 0; j < w / b; j++) {
            ws_skew_from_full(a->q, s->p[D].value + at(s, i, k, j), b);
            ws_rotation(a->e, a->q, WS_CAYLEY, b, a->scratch);
            for (int64_t r = 0; r < b; r++)
                memcpy(straight + (j * b + r) * w + j * b, a->e + r * b, (size_t)b * sizeof *straight);
        }
        for (int64_t r = 0; r < w; r++)
            for (int64_t c = 0; c < w; c++) f[r * w + c] = straight[from(s, i, r) * w + from(s, i, c)];
        if (i == 0)
            memcpy(next, f, (size_t)square(w) * sizeof *next);
        else { /* (I + f)(I + before) - I */
            ws_square_nn(next, f, before, w);
            for (int64_t x = 0; x < square(w); x++) next[x] += f[x] + before[x];
        }
    }
}

static void each_block(const ws_adapted *s, float *out, void (*store)(float *, const double *, int)) {
    const int w = wide(s);
    work a = work_new(s);
    for (int64_t k = 0; k < s->at->d_in / w; k++) {
        turn(s, k, &a);
        store(out + k * square(w), a.before + s->factors * square(w), w);
    }
    free(a.q);
}

static void refresh(ws_adapted *s) { each_block(s, s->derived, ws_rotation_store); }

/* dT -> dF_i = dT_i B^T with B what stands before F_i, and on to dB = F_i^T dT_i; dF_i -> dR by blocks -> dD. */
static void finish_grad(ws_adapted *s) {
    const int b = s->block, w = wide(s);
    work a = work_new(s);
    for (int64_t k = 0; k < s->at->d_in / w; k++) {
        if (s->factors > 1) turn(s, k, &a);
        for (int64_t x = 0; x < square(w); x++) a.g[x] = (double)s->sums[k * square(w) + x];
        for (int i = s->factors - 1; i >= 0; i--) {
            double *gf = a.g;
            if (i > 0) {
                gf = a.t;
                ws_square_nt(gf, a.g, a.before + i * square(w), w);
                for (int64_t x = 0; x < square(w); x++) gf[x] += a.g[x];
            }
            double *gr = a.before + (i + 1) * square(w); /* not needed any more: straightened out into this */
            for (int64_t r = 0; r < w; r++)
                for (int64_t c = 0; c < w; c++) gr[from(s, i, r) * w + from(s, i, c)] = gf[r * w + c];
            for (int64_t j = 0; j < w / b; j++) {
                for (int64_t r = 0; r < b; r++)
                    memcpy(a.e + r * b, gr + (j * b + r) * w + j * b, (size_t)b * sizeof *gr);
                double *gq = a.t; /* dF_i has been read */
                ws_skew_from_full(a.q, s->p[D].value + at(s, i, k, j), b);
                ws_rotation_grad(gq, a.e, a.q, WS_CAYLEY, b, a.scratch);
                ws_skew_from_full_grad(s->p[D].grad + at(s, i, k, j), gq, b);
            }
            if (i == 0) break;
            ws_square_tn(a.t, a.factor + i * square(w), a.g, w);
            for (int64_t x = 0; x < square(w); x++) a.g[x] += a.t[x];
        }
    }
    free(a.q);
}

/* ---------- tokens ---------- */

static void input(const ws_adapted *s, const ws_patch_call *c, float *x) { ws_rotate_input(c, x, s->derived, wide(s)); }

/* saved: P [n, d_out], which dz needs. */
static int64_t saved_floats(const ws_adapted *s, int64_t n) { return n * s->at->d_out; }

static void product(const ws_adapted *s, const ws_patch_call *c) {
    if (c->saved) memcpy(c->saved, c->y, (size_t)(c->n * s->at->d_out) * sizeof *c->y);
    ws_blockdiag_forward(c->y, c->y, c->n, s->at->d_out, s->p[Z].value, 1);
}

static void backward_gy(const ws_adapted *s, const ws_patch_grad *g) {
    ws_blockdiag_backward(s->p[Z].grad, g->saved, g->gy, g->n, s->at->d_out, 1);
    ws_blockdiag_forward(g->gy, g->gy, g->n, s->at->d_out, s->p[Z].value, 1);
}
static void backward(const ws_adapted *s, const ws_patch_grad *g) { ws_rotate_grad(g, s->derived, s->sums, wide(s)); }
static int needs_gx(const ws_adapted *s) { return s != NULL; }

/* diag(z) W T^T - W = diag(z) W (T - I)^T + diag(z - 1) W */
static ws_status edit(const ws_adapted *s, ws_edit *out, ws_err *err) {
    const int64_t d = s->at->d_out;
    float *e = ws_try_alloc((size_t)all_blocks(s), sizeof *e), *z = ws_try_alloc((size_t)d, sizeof *z),
          *z1 = ws_try_alloc((size_t)d, sizeof *z1);
    if (!e || !z || !z1 || ws_edit_alloc(out, d, s->at->d_in, 0, err)) {
        free(e), free(z), free(z1);
        return ws_fail(err, WS_ENOMEM, "out of memory for the edit of %s", s->at->name);
    }
    each_block(s, e, ws_rotation_store_edit);
    memcpy(z, s->p[Z].value, (size_t)d * sizeof *z);
    for (int64_t i = 0; i < d; i++) z1[i] = z[i] - 1;
    ws_edit_add_term(out, z, e, wide(s));
    ws_edit_add_term(out, z1, NULL, 0);
    return WS_OK;
}

const ws_adapter_ops ws_adapter_boft = {
    .name = "boft",
    .peft_type = "BOFT",
    .targets = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
    .honours_layers = WS_LAYERS_OF_LIST,
    .config = config,
    .block_key = "boft_block_size",
    .check = check,
    .adopt = adopt,
    .site = site,
    .tensors = tensors,
    .derived_floats = all_blocks,
    .sum_floats = all_blocks,
    .init = init,
    .refresh = refresh,
    .finish_grad = finish_grad,
    .saved_floats = saved_floats,
    .input = input,
    .product = product,
    .backward_gy = backward_gy,
    .backward = backward,
    .needs_gx = needs_gx,
    .edit = edit,
};
