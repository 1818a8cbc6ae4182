/* src/delta/monitor.c - cosines with a dW, and their null band.
 * A random change R has at every linear the form of the thing, every array of it replaced by random numbers of its size, and
 * its length there.  U V of random factors points nowhere: E <R, dW>^2 = ||R||^2 ||dW||^2 / (d_out d_in), whatever their
 * number; a dense one is drawn by that alone, as a normal number.  Edits with terms keep to W's own directions, so their band
 * is wider, and has to be drawn. */
#include "delta/monitor.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/rng.h"
#include "delta/impl.h"
#include "delta/projection.h"
#include "kernel/gemm.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 };

static int touches(const ws_measured *a, int site) {
    if (a->edits) return a->edits->at_site[site] >= 0;
    return ws_side_touches(a->pos, site) || (a->neg && ws_side_touches(a->neg, site));
}
static const ws_edit *edit_of(const ws_measured *a, int site) { return &a->edits->edit[a->edits->at_site[site]]; }

/* ---------- products of one linear ---------- */

typedef struct products {
    double ab, aa, bb;
} products;

typedef struct rows_job {
    const ws_model *m;
    const ws_measured *a, *b;
    int site;
    products *part;
} rows_job;

static void rows_of(const ws_measured *a, const ws_site *at, int site, int64_t r0, int64_t r1, double *out) {
    const int64_t n = (r1 - r0) * at->d_in;
    memset(out, 0, (size_t)n * sizeof *out);
    if (!touches(a, site)) return;
    if (a->edits) {
        float *x = ws_xmalloc((size_t)n * sizeof *x);
        ws_edit_rows(edit_of(a, site), at->w, r0, r1, x);
        for (int64_t i = 0; i < n; i++) out[i] = (double)x[i];
        free(x);
        return;
    }
    ws_side_rows(a->pos, site, r0, r1, 1, out);
    if (a->neg) ws_side_rows(a->neg, site, r0, r1, -1, out);
}

static void multiply_rows(void *arg, int64_t begin, int64_t end) {
    const rows_job *j = arg;
    const ws_site *at = ws_model_site(j->m, j->site);
    const int64_t n = (end - begin) * at->d_in;
    double *x = ws_xmalloc((size_t)(2 * n) * sizeof *x), *y = x + n;
    products p = {0};
    rows_of(j->a, at, j->site, begin, end, x), rows_of(j->b, at, j->site, begin, end, y);
    for (int64_t i = 0; i < n; i++) p.ab += x[i] * y[i], p.aa += x[i] * x[i], p.bb += y[i] * y[i];
    j->part[begin / ROWS] = p;
    free(x);
}

static void forget(const ws_measured *a, int site) {
    if (a->pos) ws_side_forget(a->pos, site);
    if (a->neg) ws_side_forget(a->neg, site);
}

static products by_rows(const ws_model *m, const ws_measured *a, const ws_measured *b, int site) {
    const ws_site *at = ws_model_site(m, site);
    const int64_t chunks = (at->d_out + ROWS - 1) / ROWS;
    rows_job j = {m, a, b, site, ws_xcalloc((size_t)chunks, sizeof *j.part)};
    products p = {0};
    ws_parallel_for(at->d_out, ROWS, multiply_rows, &j);
    for (int64_t i = 0; i < chunks; i++) p.ab += j.part[i].ab, p.aa += j.part[i].aa, p.bb += j.part[i].bb;
    free(j.part);
    forget(a, site), forget(b, site);
    return p;
}

typedef struct edits_job {
    const ws_model *m;
    const ws_measured *a, *b;
    products *out; /* [model sites] */
} edits_job;

static void multiply_edits(void *arg, int64_t begin, int64_t end) {
    const edits_job *j = arg;
    for (int s = (int)begin; s < end; s++) {
        const ws_weight *w = ws_model_site(j->m, s)->w;
        const ws_edit *a = touches(j->a, s) ? edit_of(j->a, s) : NULL, *b = touches(j->b, s) ? edit_of(j->b, s) : NULL;
        if (a) j->out[s].aa = ws_edit_dot(a, a, w);
        if (b) j->out[s].bb = ws_edit_dot(b, b, w);
        if (a && b) j->out[s].ab = ws_edit_dot(a, b, w);
    }
}

/* [model sites]; the caller frees. */
static ws_status multiply(products **out, const ws_model *m, const ws_measured *a, const ws_measured *b, ws_err *err) {
    const int n = ws_model_n_sites(m);
    ws_status st = WS_OK;
    ws_progress bar;
    *out = ws_xcalloc((size_t)n, sizeof **out);
    if (a->edits && b->edits) {
        ws_parallel_for(n, 1, multiply_edits, &(edits_job){m, a, b, *out});
    } else {
        ws_progress_start(&bar, "weights", "modules", n);
        for (int i = 0; i < n && !st; i++) {
            if (ws_model_site(m, i)->kind == WS_SITE_LINEAR && (touches(a, i) || touches(b, i)))
                (*out)[i] = by_rows(m, a, b, i);
            st = ws_interrupt_check(err);
            ws_progress_update(&bar, i + 1, NULL);
        }
        ws_progress_end(&bar);
    }
    for (int i = 0; i < n && !st; i++)
        if (!isfinite((*out)[i].aa + (*out)[i].bb + (*out)[i].ab))
            st = ws_fail(err, WS_ENONFINITE, "the change of %s is not finite", ws_model_site(m, i)->name);
    return st;
}

ws_status ws_measured_dot(double *out, const ws_model *m, const ws_measured *a, const ws_measured *b, ws_err *err) {
    products *p;
    ws_status st = multiply(&p, m, a, b, err);
    *out = 0;
    for (int i = 0; i < ws_model_n_sites(m); i++) *out += p[i].ab;
    free(p);
    return st;
}

/* ---------- random changes ---------- */

static double rms(const float *x, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return n ? sqrt(s / (double)n) : 0;
}

static float *random_numbers(int64_t n, double size, uint64_t key) {
    float *x = ws_xmalloc((size_t)n * sizeof *x);
    ws_counter_bell(x, n, key, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(size * (double)x[i]);
    return x;
}

/* Blocks E = S + A, symmetric and skew: random ones with the sizes of both, because a rotation's are nearly skew. */
static float *random_blocks(const float *e, int64_t d, int b, uint64_t key) {
    const int64_t n = d * b, blocks = d / b;
    float *x = random_numbers(n, 1, key);
    double have[2] = {0}, want[2] = {0}; /* squares of the symmetric and the skew part */
    for (int64_t k = 0; k < blocks; k++)
        for (int i = 0; i < b; i++)
            for (int j = 0; j < b; j++) {
                const int64_t p = k * b * b + i * b + j, q = k * b * b + j * b + i;
                const double s = (double)e[p] + (double)e[q], a = (double)e[p] - (double)e[q],
                             rs = (double)x[p] + (double)x[q], ra = (double)x[p] - (double)x[q];
                want[0] += s * s, want[1] += a * a, have[0] += rs * rs, have[1] += ra * ra;
            }
    const double cs = have[0] > 0 ? sqrt(want[0] / have[0]) : 0, ca = have[1] > 0 ? sqrt(want[1] / have[1]) : 0;
    for (int64_t k = 0; k < blocks; k++)
        for (int i = 0; i < b; i++)
            for (int j = 0; j <= i; j++) {
                const int64_t p = k * b * b + i * b + j, q = k * b * b + j * b + i;
                const double s = cs * ((double)x[p] + (double)x[q]) / 2, a = ca * ((double)x[p] - (double)x[q]) / 2;
                x[p] = (float)(s + a), x[q] = (float)(s - a);
            }
    return x;
}

/* An edit without dense part of the same form, not yet of the same length. */
static ws_status random_like(ws_edit *out, const ws_edit *e, uint64_t key, ws_err *err) {
    if (ws_edit_alloc(out, e->d_out, e->d_in, e->k, err)) return err->code;
    if (e->k) {
        ws_counter_bell(out->u, e->d_out * e->k, ws_counter_u64(key, "monitor.u", 0, 0), 0);
        ws_counter_bell(out->v, e->d_in * e->k, ws_counter_u64(key, "monitor.v", 0, 0), 0);
        const double size = e->n_terms ? rms(e->u, e->d_out * e->k) * rms(e->v, e->d_in * e->k) : 1;
        for (int64_t i = 0; i < e->d_out * e->k && e->n_terms; i++) out->u[i] = (float)(size * (double)out->u[i]);
    }
    for (int j = 0; j < e->n_terms; j++) {
        const ws_edit_term *t = &e->term[j];
        const uint64_t ks = ws_counter_u64(key, "monitor.s", (uint64_t)j, 0),
                       ke = ws_counter_u64(key, "monitor.e", (uint64_t)j, 0);
        float *s = t->s ? random_numbers(e->d_out, rms(t->s, e->d_out), ks) : NULL,
              *E = !t->e             ? NULL
                   : t->e_block == 1 ? random_numbers(e->d_in, rms(t->e, e->d_in), ke)
                                     : random_blocks(t->e, e->d_in, t->e_block, ke);
        ws_edit_add_term(out, s, E, t->e_block);
    }
    return WS_OK;
}

/* <R, dW> / (||R|| ||dW||) of factors by small products alone. */
static double factor_cos(const ws_edit *r, const ws_edit *d, double square_dw) {
    const int64_t k = r->k, kd = d->k;
    float *gu = ws_xmalloc((size_t)(2 * k * (kd + k)) * sizeof *gu), *gv = gu + k * kd, *uu = gv + k * kd,
          *vv = uu + k * k;
    const ws_weight du = ws_weight_f32(d->u, d->d_out, kd, kd), dv = ws_weight_f32(d->v, kd, d->d_in, d->d_in),
                    ru = ws_weight_f32(r->u, r->d_out, k, k), rv = ws_weight_f32(r->v, k, r->d_in, r->d_in);
    double dot = 0, square = 0;
    ws_gemm_nn(gu, kd, r->u, 1, k, k, &du, 0), ws_gemm_nt(gv, kd, r->v, r->d_in, k, &dv, 0);
    ws_gemm_nn(uu, k, r->u, 1, k, k, &ru, 0), ws_gemm_nt(vv, k, r->v, r->d_in, k, &rv, 0);
    for (int64_t i = 0; i < k * kd; i++) dot += (double)gu[i] * (double)gv[i];
    for (int64_t i = 0; i < k * k; i++) square += (double)uu[i] * (double)vv[i];
    free(gu);
    return dot / sqrt(square * square_dw);
}

typedef struct draw_job {
    const ws_model *m;
    const ws_measured *dw, *thing;
    const products *p;
    const int *site; /* [n] linears that both touch */
    int n, first;
    uint64_t seed;
    double *dot;            /* [draws here][n] */
    ws_projection *project; /* [n] */
    ws_status *st;
    ws_err *err; /* of the first that failed on its chunk */
} draw_job;

static void draw(void *arg, int64_t begin, int64_t end) {
    const draw_job *j = arg;
    for (int64_t x = begin; x < end; x++) {
        const int i = (int)(x % j->n), site = j->site[i];
        const uint64_t key =
            ws_counter_u64(j->seed, "monitor", (uint64_t)site, (uint64_t)j->first + (uint64_t)(x / j->n));
        const ws_site *at = ws_model_site(j->m, site);
        const products *p = &j->p[site];
        const ws_edit *d = edit_of(j->dw, site), *e = j->thing->edits ? edit_of(j->thing, site) : NULL;
        const double length = sqrt(p->aa * p->bb);
        ws_edit r;
        j->dot[x] = 0;
        if (!(length > 0)) continue;
        if (!e || e->dense.data) {
            float z[4];
            ws_counter_bell(z, 4, key, 0);
            j->dot[x] = length * ((double)z[0] + (double)z[1] + (double)z[2] + (double)z[3]) / 2 /
                        sqrt((double)(at->d_out * at->d_in));
            continue;
        }
        if ((j->st[x] = random_like(&r, e, key, &j->err[x]))) continue;
        if (!r.n_terms && ws_edit_is_product(d))
            j->dot[x] = length * factor_cos(&r, d, p->bb);
        else if (j->project[i].dot)
            j->dot[x] = sqrt(p->aa) * ws_projection_along(&j->project[i], &r);
        else {
            const double square = ws_edit_dot(&r, &r, at->w);
            j->dot[x] = square > 0 ? ws_edit_dot(&r, d, at->w) * sqrt(p->aa / square) : 0;
        }
        ws_edit_release(&r);
    }
}

static void project(void *arg, int64_t begin, int64_t end) {
    const draw_job *j = arg;
    for (int64_t i = begin; i < end; i++)
        ws_projection_make(&j->project[i], edit_of(j->thing, j->site[i]), edit_of(j->dw, j->site[i]),
                           ws_model_site(j->m, j->site[i])->w);
}

/* Scales and rotations alone need one pass over W for all draws, where there is room for what it leaves. */
static void project_all(const draw_job *j) {
    const int64_t most = (int64_t)1 << 30;
    int64_t bytes = 0;
    for (int i = 0; i < j->n && j->thing->edits; i++) bytes += ws_projection_bytes(edit_of(j->thing, j->site[i]));
    if (bytes && bytes <= most) ws_parallel_for(j->n, 1, project, (void *)(uintptr_t)j);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between sorted values, as numpy's. */
static double quantile(const double *x, int n, double q) {
    const double at = q * (n - 1);
    const int i = (int)at;
    return i + 1 < n ? x[i] + (at - i) * (x[i + 1] - x[i]) : x[n - 1];
}

static void band(ws_monitor *m, int layer, double *cosine, int draws) {
    double sum = 0, squares = 0;
    for (int i = 0; i < draws; i++) sum += cosine[i], squares += cosine[i] * cosine[i];
    const double v = squares - sum * sum / draws;
    qsort(cosine, (size_t)draws, sizeof *cosine, ascending);
    m->lo[layer] = quantile(cosine, draws, 0.025), m->hi[layer] = quantile(cosine, draws, 0.975);
    m->sd[layer] = sqrt((v > 0 ? v : 0) / (draws > 1 ? draws - 1 : 1));
}

static ws_status null_band(ws_monitor *m, const ws_measured *dw, const ws_measured *thing, const products *p, int draws,
                           uint64_t seed, ws_err *err) {
    enum { AT_ONCE = 16 };
    const ws_model *model = dw->edits->model;
    int *site = ws_xcalloc((size_t)ws_model_n_sites(model), sizeof *site), n = 0;
    for (int i = 0; i < ws_model_n_sites(model); i++)
        if (touches(thing, i) && touches(dw, i)) site[n++] = i;
    double *dot = ws_xcalloc((size_t)(AT_ONCE * n) + 1, sizeof *dot),
           *cosine = ws_xcalloc((size_t)((m->layers + 1) * draws) + 1, sizeof *cosine);
    draw_job j = {.m = model, .dw = dw, .thing = thing, .p = p, .site = site, .n = n, .seed = seed, .dot = dot};
    j.st = ws_xcalloc((size_t)(AT_ONCE * n) + 1, sizeof *j.st),
    j.err = ws_xcalloc((size_t)(AT_ONCE * n) + 1, sizeof *j.err);
    j.project = ws_xcalloc((size_t)n + 1, sizeof *j.project);
    project_all(&j);
    ws_progress bar;
    ws_status st = WS_OK;
    ws_progress_start(&bar, "random changes", "draws", draws);
    for (; j.first < draws && n && !st; j.first += AT_ONCE) {
        const int here = draws - j.first < AT_ONCE ? draws - j.first : AT_ONCE;
        if ((st = ws_interrupt_check(err))) break;
        ws_parallel_for((int64_t)here * n, 1, draw, &j);
        for (int64_t x = 0; x < (int64_t)here * n && !st; x++)
            if ((st = j.st[x]) && err) *err = j.err[x];
        for (int k = 0; k < here; k++)
            for (int i = 0; i < n; i++) {
                const int layer = ws_model_site(model, site[i])->layer;
                cosine[layer * draws + j.first + k] += dot[k * n + i];
                cosine[m->layers * draws + j.first + k] += dot[k * n + i];
            }
        ws_progress_update(&bar, j.first + here, NULL);
    }
    ws_progress_end(&bar);
    for (int l = 0; l <= m->layers && n && !st; l++) {
        const double length = sqrt(m->square[l] * m->square_dw[l]);
        for (int i = 0; i < draws; i++) cosine[l * draws + i] /= length;
        if (length > 0) band(m, l, cosine + l * draws, draws);
    }
    for (int i = 0; i < n; i++) ws_projection_free(&j.project[i]);
    free(site), free(dot), free(cosine), free(j.st), free(j.err), free(j.project);
    return st;
}

/* ---------- the whole ---------- */

double ws_monitor_cos(const ws_monitor *m, int layer) {
    const double length = sqrt(m->square[layer] * m->square_dw[layer]);
    return length > 0 ? m->dot[layer] / length : NAN;
}

ws_status ws_monitor_new(ws_monitor *out, const ws_delta *dw, const ws_measured *thing, int draws, uint64_t seed,
                         ws_err *err) {
    const ws_model *model = dw->model;
    const int layers = ws_model_dims(model)->layers, n = ws_model_n_sites(model);
    const ws_measured with = {.edits = dw};
    products *p;
    double *all = ws_xcalloc(7 * (size_t)(layers + 1), sizeof *all),
           **array[] = {&out->dot, &out->square, &out->square_dw, &out->lo, &out->hi, &out->sd, &out->formula};
    *out = (ws_monitor){.layers = layers};
    for (int i = 0; i < 7; i++) *array[i] = all + i * (layers + 1);
    for (int i = 0; i <= layers; i++) out->lo[i] = out->hi[i] = out->sd[i] = NAN;
    ws_status st = multiply(&p, model, thing, &with, err);
    int terms = 0;
    for (int i = 0; i < n && !st; i++) {
        const ws_site *at = ws_model_site(model, i);
        const int to[] = {at->layer, layers};
        const int here = at->kind == WS_SITE_LINEAR && touches(thing, i),
                  too = at->kind == WS_SITE_LINEAR && touches(&with, i);
        out->touched += here, out->common += here && too;
        terms |= here && too && thing->edits && edit_of(thing, i)->n_terms;
        for (int k = 0; k < 2; k++) {
            out->dot[to[k]] += p[i].ab, out->square[to[k]] += p[i].aa, out->square_dw[to[k]] += p[i].bb;
            if (here && too) out->formula[to[k]] += p[i].aa * p[i].bb / (double)(at->d_out * at->d_in);
        }
    }
    for (int l = 0; l <= layers; l++) {
        const double length = sqrt(out->square[l] * out->square_dw[l]);
        out->formula[l] = terms || !(length > 0) ? NAN : sqrt(out->formula[l]) / length;
    }
    if (!st && draws) st = null_band(out, &with, thing, p, draws, seed, err);
    free(p);
    if (st) ws_monitor_free(out);
    return st;
}

void ws_monitor_free(ws_monitor *m) {
    free(m->dot); /* one piece of memory */
    memset(m, 0, sizeof *m);
}
