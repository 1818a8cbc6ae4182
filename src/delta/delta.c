/* src/delta/delta.c - a contrast as a list of edits, hung in the model as a side product with a strength per row.
 *     y[t] += alpha[t] * U (V x[t])       H = X V^T [n, k], rows scaled by alpha, Y += H U^T
 * The side product is always fp32 and never rounded together with W x (design.md, Words: edit). */
#include "base/parallel.h"
#include "delta/impl.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int index_at(const ws_patch *p, int site) { return ((const ws_delta *)(const void *)p)->at_site[site]; }
static int hangs_at(const ws_patch *p, int site) { return index_at(p, site) >= 0; }

static void linear(ws_patch *p, const ws_patch_call *c) {
    const ws_delta *d = (const ws_delta *)(const void *)p;
    int i = index_at(p, c->site);
    const ws_edit *e = &d->edit[i];
    if (!e->k) return;
    float *h = ws_arena_floats(c->scratch, c->n * e->k);
    ws_weight v = ws_weight_f32(e->v, e->k, e->d_in, e->d_in), ut = ws_weight_f32(d->ut[i], e->k, e->d_out, e->d_out);
    ws_gemm_nt(h, e->k, c->x, e->d_in, c->n, &v, 0);
    for (int64_t t = 0; t < c->n; t++) ws_k.scale(h + t * e->k, c->alpha[t], e->k);
    ws_gemm_nn(c->y, e->d_out, h, e->k, 1, c->n, &ut, 1);
}

static const ws_patch_ops patch_ops = {.name = "dw", .hangs_at = hangs_at, .linear = linear};

ws_delta *ws_delta_alloc(const ws_model *m) {
    ws_delta *d = ws_xcalloc(1, sizeof *d);
    int n = ws_model_n_sites(m);
    d->patch.ops = &patch_ops;
    d->model = m, d->weight_norm = -1;
    d->meta = json_object();
    d->at_site = ws_xmalloc((size_t)n * sizeof *d->at_site);
    for (int i = 0; i < n; i++) d->at_site[i] = -1;
    return d;
}

ws_status ws_delta_add(ws_delta *d, int site, ws_edit *e, ws_err *err) {
    const ws_site *at = ws_model_site(d->model, site);
    float *ut = NULL;
    ws_status st = WS_OK;
    WS_ASSERT(d->at_site[site] < 0 && at->kind == WS_SITE_LINEAR && e->d_in == at->d_in && e->d_out == at->d_out);
    if (e->n_terms || e->db)
        st = ws_fail(err, WS_EUNSUPPORTED,
                     "%s: an edit with terms beside U V cannot be hung in the model by this build", at->name);
    else if (!(ut = ws_try_alloc((size_t)(e->d_out * e->k), sizeof(float))))
        st = ws_fail(err, WS_ENOMEM, "out of memory for the edit of %s", at->name);
    if (st) {
        ws_edit_release(e);
        return st;
    }
    for (int64_t o = 0; o < e->d_out; o++)
        for (int64_t j = 0; j < e->k; j++) ut[j * e->d_out + o] = e->u[o * e->k + j];
    size_t n = (size_t)d->n + 1;
    d->site = ws_xrealloc(d->site, n * sizeof *d->site);
    d->edit = ws_xrealloc(d->edit, n * sizeof *d->edit);
    d->ut = ws_xrealloc(d->ut, n * sizeof *d->ut);
    d->site[d->n] = site, d->edit[d->n] = *e, d->ut[d->n] = ut;
    d->at_site[site] = d->n++;
    memset(e, 0, sizeof *e);
    return WS_OK;
}

void ws_delta_free(ws_delta *d) {
    if (!d) return;
    for (int i = 0; i < d->n; i++) ws_edit_release(&d->edit[i]), free(d->ut[i]);
    free(d->site), free(d->edit), free(d->ut), free(d->at_site);
    json_decref(d->meta);
    free(d);
}

ws_patch *ws_delta_patch(ws_delta *d) { return &d->patch; }
int ws_delta_n_sites(const ws_delta *d) { return d->n; }
int ws_delta_site(const ws_delta *d, int i) { return d->site[i]; }
const ws_edit *ws_delta_edit(const ws_delta *d, int i) { return &d->edit[i]; }
void ws_delta_set_source(ws_delta *d, const char *key, const char *value) {
    json_object_set_new(d->meta, key, json_string(value));
}
const char *ws_delta_source(const ws_delta *d, const char *key) {
    return json_string_value(json_object_get(d->meta, key));
}

/* ---------- norms and products ---------- */

/* g[i, j] = sum over t of a[t, i] b[t, j] in double; the factors are [n, ka] and [n, kb] with the given strides. */
static void gram(double *g, const float *a, int64_t ka, int64_t at, int64_t ai, const float *b, int64_t kb, int64_t bt,
                 int64_t bi, int64_t n) {
    double *row = ws_xmalloc((size_t)kb * sizeof *row);
    memset(g, 0, (size_t)(ka * kb) * sizeof *g);
    for (int64_t t = 0; t < n; t++) {
        for (int64_t j = 0; j < kb; j++) row[j] = (double)b[t * bt + j * bi];
        for (int64_t i = 0; i < ka; i++) {
            const double x = (double)a[t * at + i * ai];
            double *gi = g + i * kb;
            for (int64_t j = 0; j < kb; j++) gi[j] += x * row[j];
        }
    }
    free(row);
}

/* tr((Ua Va)' (Ub Vb)) = sum_ij (Ua' Ub)_ij (Va Vb')_ij: no product as large as dW is ever built. */
static double edit_dot(const ws_edit *a, const ws_edit *b) {
    double *gu = ws_xmalloc((size_t)(a->k * b->k) * sizeof *gu), *gv = ws_xmalloc((size_t)(a->k * b->k) * sizeof *gv),
           sum = 0;
    gram(gu, a->u, a->k, a->k, 1, b->u, b->k, b->k, 1, a->d_out);
    gram(gv, a->v, a->k, 1, a->d_in, b->v, b->k, 1, b->d_in, a->d_in);
    for (int64_t i = 0; i < a->k * b->k; i++) sum += gu[i] * gv[i];
    free(gu), free(gv);
    return sum;
}

typedef struct dots {
    const ws_delta *a, *b;
    double *part;
} dots;

static void dot_sites(void *arg, int64_t begin, int64_t end) {
    const dots *p = arg;
    for (int64_t i = begin; i < end; i++) {
        int j = p->b->at_site[p->a->site[i]];
        p->part[i] = j < 0 ? 0 : edit_dot(&p->a->edit[i], &p->b->edit[j]);
    }
}

double ws_delta_dot(const ws_delta *a, const ws_delta *b) {
    WS_ASSERT(a->model == b->model);
    dots p = {a, b, ws_xcalloc((size_t)a->n, sizeof(double))};
    double sum = 0;
    ws_parallel_for(a->n, 1, dot_sites, &p);
    for (int i = 0; i < a->n; i++) sum += p.part[i];
    free(p.part);
    return sum;
}

double ws_delta_site_norm(const ws_delta *d, int i) {
    double q = edit_dot(&d->edit[i], &d->edit[i]);
    return q > 0 || isnan(q) ? sqrt(q) : 0; /* rounding may leave a tiny negative square */
}

double ws_delta_norm(const ws_delta *d) {
    double q = ws_delta_dot(d, d);
    return q > 0 || isnan(q) ? sqrt(q) : 0;
}

enum { NORM_ROWS = 64 };

typedef struct rows {
    const ws_weight *w;
    double *part;
} rows;

static void sum_rows(void *arg, int64_t begin, int64_t end) {
    const rows *p = arg;
    float *buf = ws_xmalloc((size_t)p->w->cols * sizeof *buf);
    double sum = 0;
    for (int64_t r = begin; r < end; r++) {
        ws_k.widen(buf, ws_weight_row(p->w, r), p->w->type, p->w->cols);
        sum += ws_k.sum_sq(buf, p->w->cols);
    }
    p->part[begin / NORM_ROWS] = sum;
    free(buf);
}

double ws_delta_weight_norm(const ws_delta *d) {
    if (d->weight_norm >= 0) return d->weight_norm;
    double sum = 0;
    for (int i = 0; i < d->n; i++) {
        const ws_weight *w = ws_model_site(d->model, d->site[i])->w;
        int64_t chunks = (w->rows + NORM_ROWS - 1) / NORM_ROWS;
        rows p = {w, ws_xcalloc((size_t)chunks, sizeof(double))};
        ws_parallel_for(w->rows, NORM_ROWS, sum_rows, &p);
        for (int64_t c = 0; c < chunks; c++) sum += p.part[c];
        free(p.part);
    }
    ((ws_delta *)d)->weight_norm = sqrt(sum);
    return d->weight_norm;
}
