/* src/adapter/edit.c - arithmetic of one edit: memory, linear combinations, rows of dW, products with it. */
#include "adapter/edit.h"
#include "base/parallel.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "ops/blockdiag.h"
#include <stdlib.h>
#include <string.h>

void ws_edit_release(ws_edit *e) {
    if (!e) return;
    for (int j = 0; j < e->n_terms; j++) free(e->term[j].s), free(e->term[j].e);
    free(e->term), free(e->u), free(e->v), free(e->db), free(e->dense_memory);
    memset(e, 0, sizeof *e);
}

ws_status ws_edit_alloc(ws_edit *e, int64_t d_out, int64_t d_in, int64_t k, ws_err *err) {
    *e = (ws_edit){.d_out = d_out, .d_in = d_in, .k = k};
    e->u = ws_try_alloc((size_t)(d_out * k), sizeof(float));
    e->v = ws_try_alloc((size_t)(k * d_in), sizeof(float));
    if (e->u && e->v) return WS_OK;
    ws_edit_release(e);
    return ws_fail(err, WS_ENOMEM, "out of memory for an edit of [%lld, %lld] with %lld factors", (long long)d_out,
                   (long long)d_in, (long long)k);
}

void ws_edit_add_term(ws_edit *e, float *s, float *E, int e_block) {
    WS_ASSERT(s || E);
    e->term = ws_xrealloc(e->term, (size_t)(e->n_terms + 1) * sizeof *e->term);
    e->term[e->n_terms++] = (ws_edit_term){s, E, E ? e_block : 0};
}

/* ---------- linear combinations ---------- */

static int64_t e_floats(const ws_edit *e, const ws_edit_term *t) { return e->d_in * t->e_block; }

static float *scaled(const float *x, int64_t n, double c) {
    float *y = ws_xmalloc((size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++) y[i] = (float)(c * (double)x[i]);
    return y;
}

/* The first of out's first n terms that t can be added to element by element. */
static ws_edit_term *mate(ws_edit *out, int n, const ws_edit_term *t) {
    for (int j = 0; j < n; j++) {
        ws_edit_term *o = &out->term[j];
        if (t->s && !t->e && o->s && !o->e) return o;
        if (!t->s && t->e && !o->s && o->e && o->e_block == t->e_block) return o;
    }
    return NULL;
}

/* out += c e.  `first`: what out was begun with, c_first times; a sum of the two is made from the originals and rounded
 * once. */
static void add_terms(ws_edit *out, const ws_edit *e, double c, const ws_edit *first, double c_first) {
    for (int j = 0; j < e->n_terms; j++) {
        const ws_edit_term *t = &e->term[j];
        ws_edit_term *o = first ? mate(out, first->n_terms, t) : NULL;
        if (!o) {
            float *s = t->s ? scaled(t->s, e->d_out, c) : NULL,
                  *E = t->e ? scaled(t->e, e_floats(e, t), t->s ? 1 : c) : NULL;
            ws_edit_add_term(out, s, E, t->e_block);
            continue;
        }
        const ws_edit_term *mine = &first->term[o - out->term]; /* terms of `first` were copied one to one */
        float *to = t->s ? o->s : o->e;
        const float *a = t->s ? mine->s : mine->e, *b = t->s ? t->s : t->e;
        for (int64_t i = 0; i < (t->s ? e->d_out : e_floats(e, t)); i++)
            to[i] = (float)(c_first * (double)a[i] + c * (double)b[i]);
    }
}

typedef struct dense_sum {
    const ws_weight *p, *n; /* NULL: none */
    double cp, cn;
    float *out;
    int64_t cols;
} dense_sum;

static void add_dense(void *arg, int64_t begin, int64_t end) {
    const dense_sum *a = arg;
    float *row = ws_xmalloc((size_t)a->cols * sizeof *row);
    for (int64_t r = begin; r < end; r++) {
        float *to = a->out + r * a->cols;
        if (a->p) ws_weight_rows_f32(a->p, r, 1, to); /* to is zero where there is none */
        if (a->n) ws_weight_rows_f32(a->n, r, 1, row);
        for (int64_t i = 0; i < a->cols; i++)
            to[i] = (float)((a->p ? a->cp * (double)to[i] : 0) + (a->n ? a->cn * (double)row[i] : 0));
    }
    free(row);
}

static ws_status combine_dense(ws_edit *out, const ws_edit *p, double cp, const ws_edit *n, double cn, ws_err *err) {
    dense_sum a = {
        p && p->dense.data ? &p->dense : NULL, n && n->dense.data ? &n->dense : NULL, cp, cn, NULL, out->d_in};
    if (!a.p && !a.n) return WS_OK;
    if (!(a.out = ws_try_alloc((size_t)(out->d_out * out->d_in), sizeof(float))))
        return ws_fail(err, WS_ENOMEM, "out of memory for a dense edit of [%lld, %lld]", (long long)out->d_out,
                       (long long)out->d_in);
    ws_parallel_for(out->d_out, 64, add_dense, &a);
    out->dense = ws_weight_f32(a.out, out->d_out, out->d_in, out->d_in);
    out->dense_memory = a.out;
    return WS_OK;
}

ws_status ws_edit_combine(ws_edit *out, const ws_edit *p, double cp, const ws_edit *n, double cn, ws_err *err) {
    const ws_edit *any = p ? p : n;
    int64_t kp = p ? p->k : 0, kn = n ? n->k : 0, k = kp + kn;
    if (ws_edit_alloc(out, any->d_out, any->d_in, k, err)) return err->code;
    for (int64_t o = 0; o < any->d_out; o++) {
        for (int64_t j = 0; j < kp; j++) out->u[o * k + j] = (float)(cp * (double)p->u[o * kp + j]);
        for (int64_t j = 0; j < kn; j++) out->u[o * k + kp + j] = (float)(cn * (double)n->u[o * kn + j]);
    }
    if (kp) memcpy(out->v, p->v, (size_t)(kp * any->d_in) * sizeof(float));
    if (kn) memcpy(out->v + kp * any->d_in, n->v, (size_t)(kn * any->d_in) * sizeof(float));
    if (p) add_terms(out, p, cp, NULL, 0);
    if (n) add_terms(out, n, cn, p, cp);
    if (combine_dense(out, p, cp, n, cn, err)) {
        ws_edit_release(out);
        return err->code;
    }
    const float *bp = p ? p->db : NULL, *bn = n ? n->db : NULL;
    if (!bp && !bn) return WS_OK;
    out->db = ws_xmalloc((size_t)any->d_out * sizeof *out->db);
    for (int64_t i = 0; i < any->d_out; i++)
        out->db[i] = (float)((bp ? cp * (double)bp[i] : 0) + (bn ? cn * (double)bn[i] : 0));
    return WS_OK;
}

/* ---------- rows of dW ---------- */

void ws_edit_rows(const ws_edit *e, const ws_weight *w, int64_t r0, int64_t r1, float *out) {
    int64_t n = r1 - r0, d = e->d_in;
    if (e->k) {
        ws_weight v = ws_weight_f32(e->v, e->k, d, d);
        ws_gemm_nn(out, d, e->u + r0 * e->k, e->k, 1, n, &v, 0);
    } else
        memset(out, 0, (size_t)(n * d) * sizeof *out);
    if (ws_edit_is_product(e)) return;
    float *rows = ws_xmalloc((size_t)(n * d) * sizeof *rows), *turned = ws_xmalloc((size_t)(n * d) * sizeof *turned);
    if (e->dense.data) {
        ws_weight_rows_f32(&e->dense, r0, n, rows);
        ws_k.add(out, rows, n * d);
    }
    if (e->n_terms) ws_weight_rows_f32(w, r0, n, rows);
    for (int j = 0; j < e->n_terms; j++) {
        const ws_edit_term *t = &e->term[j];
        if (t->e) ws_blockdiag_forward(turned, rows, n, d, t->e, t->e_block);
        for (int64_t r = 0; r < n; r++)
            ws_k.axpy(out + r * d, t->s ? t->s[r0 + r] : 1, (t->e ? turned : rows) + r * d, d);
    }
    free(rows), free(turned);
}

/* g[i, j] = sum over t of a[t, i] b[t, j] in double; the factors are [n, ka] and [n, kb] with the given strides. */
static void gram(double *g, const float *a, int64_t ka, int64_t at, int64_t ai, const float *b, int64_t kb, int64_t bt,
                 int64_t bi, int64_t n) {
    double *row = ws_xmalloc((size_t)kb * sizeof *row);
    const int half = a == b && ka == kb && at == bt && ai == bi; /* symmetric */
    memset(g, 0, (size_t)(ka * kb) * sizeof *g);
    for (int64_t t = 0; t < n; t++) {
        for (int64_t j = 0; j < kb; j++) row[j] = (double)b[t * bt + j * bi];
        for (int64_t i = 0; i < ka; i++) {
            const double x = (double)a[t * at + i * ai];
            double *gi = g + i * kb;
            for (int64_t j = half ? i : 0; j < kb; j++) gi[j] += x * row[j];
        }
    }
    for (int64_t i = 0; half && i < ka; i++)
        for (int64_t j = 0; j < i; j++) g[i * kb + j] = g[j * kb + i];
    free(row);
}

/* tr((Ua Va)' (Ub Vb)) = sum_ij (Ua' Ub)_ij (Va Vb')_ij: no product as large as dW is ever built. */
static double factor_dot(const ws_edit *a, const ws_edit *b) {
    double *gu = ws_xmalloc((size_t)(a->k * b->k) * sizeof *gu), *gv = ws_xmalloc((size_t)(a->k * b->k) * sizeof *gv),
           sum = 0;
    gram(gu, a->u, a->k, a->k, 1, b->u, b->k, b->k, 1, a->d_out);
    gram(gv, a->v, a->k, 1, a->d_in, b->v, b->k, 1, b->d_in, a->d_in);
    for (int64_t i = 0; i < a->k * b->k; i++) sum += gu[i] * gv[i];
    free(gu), free(gv);
    return sum;
}

enum { DOT_ROWS = 64 };

typedef struct row_dot {
    const ws_edit *a, *b;
    const ws_weight *w;
    double *part;
} row_dot;

static void dot_rows(void *arg, int64_t begin, int64_t end) {
    const row_dot *p = arg;
    int64_t n = (end - begin) * p->a->d_in;
    float *x = ws_xmalloc((size_t)n * sizeof *x), *y = x;
    double sum = 0;
    ws_edit_rows(p->a, p->w, begin, end, x);
    if (p->b != p->a) {
        y = ws_xmalloc((size_t)n * sizeof *y);
        ws_edit_rows(p->b, p->w, begin, end, y);
    }
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    p->part[begin / DOT_ROWS] = sum;
    if (y != x) free(y);
    free(x);
}

double ws_edit_dot(const ws_edit *a, const ws_edit *b, const ws_weight *w) {
    if (ws_edit_is_product(a) && ws_edit_is_product(b)) return factor_dot(a, b);
    int64_t chunks = (a->d_out + DOT_ROWS - 1) / DOT_ROWS;
    row_dot p = {a, b, w, ws_xcalloc((size_t)chunks, sizeof(double))};
    double sum = 0;
    ws_parallel_for(a->d_out, DOT_ROWS, dot_rows, &p);
    for (int64_t i = 0; i < chunks; i++) sum += p.part[i];
    free(p.part);
    return sum;
}

/* ---------- products ---------- */

void ws_edit_apply(const ws_edit *e, const ws_weight *w, const float *x, int64_t n, float *y) {
    int64_t di = e->d_in, d = e->d_out;
    memset(y, 0, (size_t)(n * d) * sizeof *y);
    float *turned = ws_xmalloc((size_t)(n * di) * sizeof *turned), *wx = ws_xmalloc((size_t)(n * d) * sizeof *wx);
    for (int j = 0; j < e->n_terms; j++) {
        const ws_edit_term *t = &e->term[j];
        if (t->e) ws_blockdiag_forward_t(turned, x, n, di, t->e, t->e_block);
        ws_gemm_nt(wx, d, t->e ? turned : x, di, n, w, 0);
        for (int64_t r = 0; r < n; r++) {
            if (t->s) ws_k.mul(wx + r * d, wx + r * d, t->s, d);
            ws_k.add(y + r * d, wx + r * d, d);
        }
    }
    if (e->k) {
        float *h = ws_xmalloc((size_t)(n * e->k) * sizeof *h);
        ws_weight v = ws_weight_f32(e->v, e->k, di, di), u = ws_weight_f32(e->u, d, e->k, e->k);
        ws_gemm_nt(h, e->k, x, di, n, &v, 0);
        ws_gemm_nt(y, d, h, e->k, n, &u, 1);
        free(h);
    }
    if (e->dense.data) ws_gemm_nt(y, d, x, di, n, &e->dense, 1);
    free(turned), free(wx);
}

void ws_edit_apply_t(const ws_edit *e, const ws_weight *w, const float *gy, int64_t n, float *gx) {
    int64_t di = e->d_in, d = e->d_out;
    memset(gx, 0, (size_t)(n * di) * sizeof *gx);
    float *g = ws_xmalloc((size_t)(n * d) * sizeof *g), *gw = ws_xmalloc((size_t)(n * di) * sizeof *gw),
          *turned = ws_xmalloc((size_t)(n * di) * sizeof *turned);
    for (int j = 0; j < e->n_terms; j++) {
        const ws_edit_term *t = &e->term[j];
        for (int64_t r = 0; t->s && r < n; r++) ws_k.mul(g + r * d, gy + r * d, t->s, d);
        ws_gemm_nn(gw, di, t->s ? g : gy, d, 1, n, w, 0);
        if (t->e) ws_blockdiag_forward(turned, gw, n, di, t->e, t->e_block);
        for (int64_t r = 0; r < n; r++) ws_k.add(gx + r * di, (t->e ? turned : gw) + r * di, di);
    }
    if (e->k) {
        float *h = ws_xmalloc((size_t)(n * e->k) * sizeof *h);
        ws_weight v = ws_weight_f32(e->v, e->k, di, di), u = ws_weight_f32(e->u, d, e->k, e->k);
        ws_gemm_nn(h, e->k, gy, d, 1, n, &u, 0);
        ws_gemm_nn(gx, di, h, e->k, 1, n, &v, 1);
        free(h);
    }
    if (e->dense.data) ws_gemm_nn(gx, di, gy, d, 1, n, &e->dense, 1);
    free(g), free(gw), free(turned);
}
