/* src/delta/delta.c - a contrast as a list of edits, hung in the model as a side product with a strength per row.
 *     y[t] += sum_j s_j .* W (alpha[t] E_j x[t]) + alpha[t] (U (V x[t]) + db) + D (alpha[t] x[t])
 *     H = X V^T [n, k], Y += alpha H U^T
 * Terms without s_j turn the input, x + alpha E_j x, and cost no product (OFT, IA3 on the input side).  The rows alpha E_j x
 * of terms with both share the pass over W with the base product; terms without E_j scale that product itself.
 * The part on the output side is never rounded together with W x.  Products with U and V are in the compute type, like those
 * with W; everything else is fp32. */
#include "base/parallel.h"
#include "delta/impl.h"
#include "kernel/compute.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "ops/blockdiag.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int index_at(const ws_patch *p, int site) { return ((const ws_delta *)(const void *)p)->at_site[site]; }
static int hangs_at(const ws_patch *p, int site) { return index_at(p, site) >= 0; }

static const ws_edit *edit_at(const ws_patch *p, int site) {
    return &((const ws_delta *)(const void *)p)->edit[index_at(p, site)];
}

/* What a term does: it turns the input, has an input of its own, or reads the base product. */
static int on_input(const ws_edit_term *t) { return t->e && !t->s; }
static int with_input(const ws_edit_term *t) { return t->e && t->s; }
static int on_base(const ws_edit_term *t) { return !t->e; }

static int terms(const ws_patch *p, int site, int (*does)(const ws_edit_term *t)) {
    const ws_edit *e = edit_at(p, site);
    int n = 0;
    for (int j = 0; j < e->n_terms; j++) n += does(&e->term[j]);
    return n;
}
static int turns(const ws_patch *p, int site) { return terms(p, site, on_input); }
static int n_inputs(const ws_patch *p, int site) { return terms(p, site, with_input); }
static int wants_base(const ws_patch *p, int site) { return terms(p, site, on_base); }

typedef struct rows_job {
    float *y;
    const float *x, *alpha;
    int64_t d;
} rows_job;

static void add_rows(void *arg, int64_t begin, int64_t end) {
    const rows_job *a = arg;
    for (int64_t t = begin; t < end; t++) ws_k.axpy(a->y + t * a->d, a->alpha[t], a->x + t * a->d, a->d);
}
static void scale_chunk(void *arg, int64_t begin, int64_t end) {
    const rows_job *a = arg;
    for (int64_t t = begin; t < end; t++) ws_k.scale(a->y + t * a->d, a->alpha[t], a->d);
}
static void scale_rows(float *x, int64_t n, int64_t d, const float *alpha) {
    ws_parallel_for(n, 16, scale_chunk, &(rows_job){x, NULL, alpha, d});
}

static void input(ws_patch *p, const ws_patch_call *c, float *x) {
    const ws_edit *e = edit_at(p, c->site);
    float *ex = ws_arena_floats(c->scratch, c->n * e->d_in);
    for (int j = 0; j < e->n_terms; j++) {
        if (!on_input(&e->term[j])) continue;
        ws_blockdiag_forward_t(ex, c->x, c->n, e->d_in, e->term[j].e, e->term[j].e_block);
        ws_parallel_for(c->n, 16, add_rows, &(rows_job){x, ex, c->alpha, e->d_in});
    }
}

static void inputs(ws_patch *p, const ws_patch_call *c, float *xe) {
    const ws_edit *e = edit_at(p, c->site);
    for (int j = 0; j < e->n_terms; j++) {
        if (!with_input(&e->term[j])) continue;
        ws_blockdiag_forward_t(xe, c->x, c->n, e->d_in, e->term[j].e, e->term[j].e_block);
        scale_rows(xe, c->n, e->d_in, c->alpha);
        xe += c->n * e->d_in;
    }
}

typedef struct term_rows {
    float *y;
    const float *x, *s, *alpha; /* alpha NULL: x holds it already */
    int64_t d;
} term_rows;

static void add_term(void *arg, int64_t begin, int64_t end) {
    const term_rows *a = arg;
    float *sx = ws_gemm_scratch((size_t)a->d);
    for (int64_t t = begin; t < end; t++) {
        ws_k.mul(sx, a->s, a->x + t * a->d, a->d);
        ws_k.axpy(a->y + t * a->d, a->alpha ? a->alpha[t] : 1, sx, a->d);
    }
}

static ws_weight narrowed(uint16_t **to, const float *from, int64_t rows, int64_t cols) {
    const ws_weight w = {.data = *to, .type = WS_BF16, .rows = rows, .cols = cols, .row_bytes = (size_t)cols * 2};
    for (int64_t i = 0; i < rows * cols; i++) (*to)[i] = ws_bf16_round(from[i]);
    *to += rows * cols;
    return w;
}

/* Made when they are first used, for the compute type of that moment. */
static const ws_delta_factors *factors(const ws_delta *d, int i) {
    ws_delta_factors *f = &d->factors[i];
    const ws_edit *e = &d->edit[i];
    const int f32 = ws_compute_type() == WS_COMPUTE_F32;
    if (f->v.data && f32 == (f->v.type == WS_F32)) return f;
    free(f->memory), f->memory = NULL;
    if (f32) {
        f->v = ws_weight_f32(e->v, e->k, e->d_in, e->d_in);
        f->u = ws_weight_f32(e->u, e->d_out, e->k, e->k);
        f->ut = ws_weight_f32(d->ut[i], e->k, e->d_out, e->d_out);
    } else {
        uint16_t *to = f->memory = ws_xmalloc((size_t)(e->k * (e->d_in + 2 * e->d_out)) * sizeof *to);
        f->v = narrowed(&to, e->v, e->k, e->d_in);
        f->u = narrowed(&to, e->u, e->d_out, e->k);
        f->ut = narrowed(&to, d->ut[i], e->k, e->d_out);
    }
    return f;
}

/* alpha X V^T [n, k], from c's scratch. */
static float *inner(const ws_delta_factors *f, const ws_patch_call *c) {
    const int64_t k = f->v.rows;
    float *h = ws_arena_floats(c->scratch, c->n * k);
    ws_base_nt(h, k, c->x, f->v.cols, c->n, &f->v, 0);
    scale_rows(h, c->n, k, c->alpha);
    return h;
}

static void linear(ws_patch *p, const ws_patch_call *c) {
    const ws_delta *d = (const ws_delta *)(const void *)p;
    int i = index_at(p, c->site);
    const ws_edit *e = &d->edit[i];
    const float *wx = c->wx;
    for (int j = 0; j < e->n_terms; j++) {
        const ws_edit_term *t = &e->term[j];
        if (on_input(t)) continue;
        term_rows a = {c->y, t->e ? wx : c->base, t->s, t->e ? NULL : c->alpha, e->d_out};
        ws_parallel_for(c->n, 16, add_term, &a);
        if (t->e) wx += c->n * e->d_out;
    }
    for (int64_t t = 0; e->db && t < c->n; t++) ws_k.axpy(c->y + t * e->d_out, c->alpha[t], e->db, e->d_out);
    if (e->dense.data) {
        float *x = ws_arena_floats(c->scratch, c->n * e->d_in);
        memcpy(x, c->x, (size_t)(c->n * e->d_in) * sizeof *x);
        scale_rows(x, c->n, e->d_in, c->alpha);
        ws_gemm_nt(c->y, e->d_out, x, e->d_in, c->n, &e->dense, 1);
    }
    if (!e->k) return;
    const ws_delta_factors *f = factors(d, i);
    ws_base_nn(c->y, e->d_out, inner(f, c), e->k, c->n, &f->ut, 1);
}

/* Where a dW is factors and nothing else. */
static int thin(const ws_patch *p, int site) {
    const ws_edit *e = edit_at(p, site);
    return e->k && !e->n_terms && !e->db && !e->dense.data;
}
static void beside(ws_patch *p, const ws_patch_call *c, ws_beside *out) {
    const ws_delta *d = (const ws_delta *)(const void *)p;
    const int i = index_at(p, c->site);
    const ws_delta_factors *f = factors(d, i);
    if (ws_compute_type() == WS_COMPUTE_F32)
        *out = (ws_beside){.h = inner(f, c), .v = d->ut[i], .k = f->v.rows};
    else
        *out = (ws_beside){.a = &f->v, .u = &f->u, .ut = &f->ut, .alpha = c->alpha};
}

static const ws_patch_ops patch_ops = {.name = "dw",
                                       .hangs_at = hangs_at,
                                       .linear = linear,
                                       .beside = beside,
                                       .thin = thin,
                                       .n_inputs = n_inputs,
                                       .inputs = inputs,
                                       .input = input,
                                       .turns = turns,
                                       .wants_base = wants_base};

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
    if (!(ut = ws_try_alloc((size_t)(e->d_out * e->k), sizeof(float))))
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
    d->factors = ws_xrealloc(d->factors, n * sizeof *d->factors);
    d->factors[d->n] = (ws_delta_factors){.memory = NULL};
    d->site[d->n] = site, d->edit[d->n] = *e, d->ut[d->n] = ut;
    d->at_site[site] = d->n++;
    memset(e, 0, sizeof *e);
    return WS_OK;
}

void ws_delta_free(ws_delta *d) {
    if (!d) return;
    for (int i = 0; i < d->n; i++) ws_edit_release(&d->edit[i]), free(d->ut[i]), free(d->factors[i].memory);
    free(d->site), free(d->edit), free(d->ut), free(d->factors), free(d->at_site);
    ws_safetensors_close(d->file);
    json_decref(d->meta);
    free(d);
}

ws_patch *ws_delta_patch(ws_delta *d) { return &d->patch; }
const char *ws_delta_kind(const char *site) {
    const char *p = strstr(site, "layers.");
    if (!p) return site;
    p += strlen("layers.");
    p += strspn(p, "0123456789");
    return *p == '.' && p[1] ? p + 1 : site;
}
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

typedef struct dots {
    const ws_delta *a, *b;
    double *part;
} dots;

static double site_dot(const ws_delta *a, int i, const ws_delta *b) {
    int j = b->at_site[a->site[i]];
    return j < 0 ? 0 : ws_edit_dot(&a->edit[i], &b->edit[j], ws_model_site(a->model, a->site[i])->w);
}

static void dot_sites(void *arg, int64_t begin, int64_t end) {
    const dots *p = arg;
    for (int64_t i = begin; i < end; i++) p->part[i] = site_dot(p->a, (int)i, p->b);
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

double ws_delta_site_dot(const ws_delta *a, int i, const ws_delta *b) { return site_dot(a, i, b); }

double ws_delta_site_norm(const ws_delta *d, int i) {
    double q = site_dot(d, i, d);
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
