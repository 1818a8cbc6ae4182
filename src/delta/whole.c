/* src/delta/whole.c - dW of whole checkpoints.
 *     pass 1   P = theta_pos - base, N = theta_neg - base: ||P||^2, ||N||^2, <P, N>, ||P - N||^2 of every linear
 *     pass 2   D = cp P + cn N of one matrix at a time: its K largest singular triplets, and ||D - U V||^2; or its rounding
 *     pass 3   where it stays dense: D again, row by row, straight into the file
 * Differences are made in double from the numbers that the files hold, so that nothing of a small change is lost. */
#include "delta/whole.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "delta/impl.h"
#include "delta/left_out.h"
#include "io/json.h"
#include "io/place.h"
#include "kernel/gemm.h"
#include "linalg/linalg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 };

typedef struct squares {
    double pp, nn, pn, dd, ww; /* of one linear; dd: ||P - N||^2 */
    int bias;                  /* its bias differs */
} squares;

typedef struct work {
    const ws_model *m;
    const ws_side *pos, *neg;
    const ws_whole_options *o;
    double cp, cn;
    squares *sq; /* [model sites] */
} work;

static double root(double x) { return x > 0 || isnan(x) ? sqrt(x) : 0; }

/* ---------- pass 1 ---------- */

typedef struct measure_job {
    const work *w;
    int site;
    squares *part; /* [chunks] */
} measure_job;

static void measure_rows(void *arg, int64_t begin, int64_t end) {
    const measure_job *j = arg;
    const ws_site *at = ws_model_site(j->w->m, j->site);
    const int64_t n = (end - begin) * at->d_in;
    double *p = ws_xcalloc((size_t)(2 * n), sizeof *p), *q = p + n;
    float *w = ws_xmalloc((size_t)n * sizeof *w);
    squares s = {0};
    ws_side_rows(j->w->pos, j->site, begin, end, 1, p);
    if (j->w->neg) ws_side_rows(j->w->neg, j->site, begin, end, 1, q);
    ws_weight_rows_f32(at->w, begin, end - begin, w);
    for (int64_t i = 0; i < n; i++) {
        s.pp += p[i] * p[i], s.nn += q[i] * q[i], s.pn += p[i] * q[i];
        s.dd += (p[i] - q[i]) * (p[i] - q[i]), s.ww += (double)w[i] * (double)w[i];
    }
    j->part[begin / ROWS] = s;
    free(p), free(w);
}

static ws_status measure(work *w, int site, ws_err *err) {
    const ws_site *at = ws_model_site(w->m, site);
    const int64_t chunks = (at->d_out + ROWS - 1) / ROWS;
    squares *s = &w->sq[site];
    measure_job j = {w, site, ws_xcalloc((size_t)chunks, sizeof *j.part)};
    ws_parallel_for(at->d_out, ROWS, measure_rows, &j);
    for (int64_t i = 0; i < chunks; i++) {
        const squares *x = &j.part[i];
        s->pp += x->pp, s->nn += x->nn, s->pn += x->pn, s->dd += x->dd, s->ww += x->ww;
    }
    free(j.part);
    double *db = ws_xcalloc((size_t)at->d_out, sizeof *db), sum = 0;
    ws_side_bias(w->pos, site, 1, db);
    if (w->neg) ws_side_bias(w->neg, site, -1, db);
    for (int64_t i = 0; i < at->d_out; i++) sum += db[i] * db[i];
    s->bias = sum != 0;
    free(db);
    if (!isfinite(s->pp + s->nn + s->pn + sum))
        return ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity",
                       isfinite(s->pp) || !w->neg ? (isfinite(s->nn) ? w->pos->path : w->neg->path) : w->pos->path,
                       at->name);
    return WS_OK;
}

static int is_kept(const work *w, int site) {
    const squares *s = &w->sq[site];
    return (w->o->mode == WS_CONTRAST_BISECTOR ? s->pp + s->nn > 0 : s->dd > 0) || s->bias;
}

static void forget(const work *w, int site) {
    const ws_weight *b = ws_model_site(w->m, site)->w;
    ws_map_forget(b->data, (size_t)b->rows * b->row_bytes);
    ws_side_forget(w->pos, site);
    if (w->neg) ws_side_forget(w->neg, site);
}

static ws_status measure_all(work *w, ws_delta_info *info, ws_err *err) {
    const int n = ws_model_n_sites(w->m);
    double pp = 0, nn = 0, pn = 0, dd = 0, ww = 0;
    int64_t total = 0, done = 0;
    ws_progress bar;
    ws_status st = WS_OK;
    for (int i = 0; i < n; i++) total += ws_model_site(w->m, i)->d_out * ws_model_site(w->m, i)->d_in;
    ws_progress_start(&bar, "dW: reading", "Mnumbers", total / 1000000 + 1);
    for (int i = 0; i < n && !st; i++) {
        const ws_site *at = ws_model_site(w->m, i);
        if (at->kind != WS_SITE_LINEAR || (w->o->only && !w->o->only[i])) continue;
        const int p = ws_side_touches(w->pos, i), q = w->neg && ws_side_touches(w->neg, i);
        if (!p && !q) continue;
        if ((st = measure(w, i, err)) || (st = ws_interrupt_check(err))) break;
        const squares *s = &w->sq[i];
        pp += s->pp, nn += s->nn, pn += s->pn, dd += s->dd;
        if (is_kept(w, i)) ww += s->ww, info->sites++, info->sites_one_sided += (s->pp > 0) != (s->nn > 0);
        forget(w, i);
        ws_progress_update(&bar, (done += at->d_out * at->d_in) / 1000000, NULL);
    }
    ws_progress_end(&bar);
    if (st) return st;
    const double minus = root(dd), plus = root(pp + nn + 2 * pn);
    info->norm_pos = root(pp), info->norm_neg = root(nn), info->norm = minus, info->norm_w = root(ww);
    info->cos_pos_neg_flipped = -pn / (info->norm_pos * info->norm_neg);
    info->asymmetry = info->norm_pos / info->norm_neg;
    info->drift_ratio = plus / minus;
    info->cos_drift = fabs(pp - nn) / (plus * minus);
    if (!info->sites)
        return ws_fail(err, WS_EFORMAT, "%s and %s have the same weights in every linear layer that is looked at",
                       w->pos->path, w->neg ? w->neg->path : ws_checkpoint_path(ws_model_checkpoint(w->m)));
    w->cp = 1, w->cn = -1;
    if (w->o->mode == WS_CONTRAST_BISECTOR) {
        double len = root(2 + 2 * info->cos_pos_neg_flipped);
        if (!(pp > 0) || !(nn > 0) || !(len > 0))
            return ws_fail(err, WS_EFORMAT, "mode bisector needs two non-zero, different deltas (norms %g and %g)",
                           info->norm_pos, info->norm_neg);
        w->cp = minus / len / info->norm_pos, w->cn = -minus / len / info->norm_neg;
    }
    return WS_OK;
}

/* ---------- rows of D ---------- */

/* Rows r0 .. r1-1 of D in double, [r1 - r0, d_in]. */
static void rows_of(const work *w, int site, int64_t r0, int64_t r1, double *out) {
    memset(out, 0, (size_t)((r1 - r0) * ws_model_site(w->m, site)->d_in) * sizeof *out);
    ws_side_rows(w->pos, site, r0, r1, w->cp, out);
    if (w->neg) ws_side_rows(w->neg, site, r0, r1, w->cn, out);
}

static float *bias_of(const work *w, int site, double *square) {
    const int64_t n = ws_model_site(w->m, site)->d_out;
    double *db = ws_xcalloc((size_t)n, sizeof *db);
    float *out = ws_xmalloc((size_t)n * sizeof *out);
    ws_side_bias(w->pos, site, w->cp, db);
    if (w->neg) ws_side_bias(w->neg, site, w->cn, db);
    *square = 0;
    for (int64_t i = 0; i < n; i++) out[i] = (float)db[i], *square += db[i] * db[i];
    free(db);
    return out;
}

static float stored(double x, ws_dtype t) {
    float f = (float)x;
    return t == WS_BF16 ? ws_bf16_f32(ws_f32_bf16(f)) : t == WS_F16 ? ws_f16_f32(ws_f32_f16(f)) : f;
}

/* ---------- pass 2 ---------- */

typedef struct matrix_job {
    const work *w;
    int site;
    float *d;            /* [d_out, d_in] D, where it is factored */
    const ws_edit *e;    /* U V */
    double *full, *lost; /* [chunks] */
} matrix_job;

static void fill_rows(void *arg, int64_t begin, int64_t end) {
    const matrix_job *j = arg;
    const int64_t d = ws_model_site(j->w->m, j->site)->d_in, n = (end - begin) * d;
    double *x = ws_xmalloc((size_t)n * sizeof *x), full = 0, lost = 0;
    rows_of(j->w, j->site, begin, end, x);
    for (int64_t i = 0; i < n; i++) {
        full += x[i] * x[i];
        if (j->d)
            j->d[begin * d + i] = (float)x[i];
        else {
            double miss = x[i] - (double)stored(x[i], j->w->o->dtype);
            lost += miss * miss;
        }
    }
    j->full[begin / ROWS] = full, j->lost[begin / ROWS] = lost;
    free(x);
}

static void miss_rows(void *arg, int64_t begin, int64_t end) {
    const matrix_job *j = arg;
    const int64_t d = j->e->d_in, n = (end - begin) * d;
    float *uv = ws_xmalloc((size_t)n * sizeof *uv);
    double sum = 0;
    ws_edit_rows(j->e, NULL, begin, end, uv);
    for (int64_t i = 0; i < n; i++) {
        double miss = (double)j->d[begin * d + i] - (double)uv[i];
        sum += miss * miss;
    }
    j->lost[begin / ROWS] = sum;
    free(uv);
}

/* e = the largest `rank` triplets of D [d_out, d_in]: U diag(s), V. */
static ws_status factor(const work *w, const ws_site *at, const float *d, ws_edit *e, ws_err *err) {
    const int64_t most = at->d_out < at->d_in ? at->d_out : at->d_in, r = w->o->rank < most ? w->o->rank : most;
    const ws_weight view = ws_weight_f32(d, at->d_out, at->d_in, at->d_in);
    double *u = ws_try_alloc((size_t)(at->d_out * r), sizeof *u), *s = ws_try_alloc((size_t)r, sizeof *s),
           *vt = ws_try_alloc((size_t)(r * at->d_in), sizeof *vt);
    ws_status st = u && s && vt ? WS_OK : ws_fail(err, WS_ENOMEM, "out of memory for the factors of %s", at->name);
    int64_t k = 0;
    if (!st && !(st = ws_weight_svd(&view, r, u, s, vt, err))) {
        while (k < r && s[k] > 1e-9 * s[0]) k++; /* a merged adapter of a lower rank needs no more */
        st = ws_edit_alloc(e, at->d_out, at->d_in, k, err);
    }
    for (int64_t o = 0; !st && o < at->d_out; o++)
        for (int64_t j = 0; j < k; j++) e->u[o * k + j] = (float)(u[o * r + j] * s[j]);
    for (int64_t i = 0; !st && i < k * at->d_in; i++) e->v[i] = (float)vt[i];
    free(u), free(s), free(vt);
    return st;
}

/* One linear: e is made where dW keeps factors; *full and *lost in squares. */
static ws_status keep_site(const work *w, int site, ws_edit *e, double *full, double *lost, ws_err *err) {
    const ws_site *at = ws_model_site(w->m, site);
    const int64_t chunks = (at->d_out + ROWS - 1) / ROWS;
    matrix_job j = {.w = w, .site = site, .full = ws_xcalloc((size_t)(2 * chunks), sizeof(double)), .e = e};
    ws_status st = WS_OK;
    j.lost = j.full + chunks;
    *e = (ws_edit){.d_out = at->d_out, .d_in = at->d_in};
    *full = *lost = 0;
    if (w->o->rank && !(j.d = ws_try_alloc((size_t)(at->d_out * at->d_in), sizeof *j.d)))
        st = ws_fail(err, WS_ENOMEM, "out of memory for the change of %s, [%lld, %lld]", at->name, (long long)at->d_out,
                     (long long)at->d_in);
    if (!st) ws_parallel_for(at->d_out, ROWS, fill_rows, &j);
    for (int64_t i = 0; i < chunks; i++) *full += j.full[i];
    if (!st && w->o->rank && *full > 0) {
        st = factor(w, at, j.d, e, err);
        if (!st) ws_parallel_for(at->d_out, ROWS, miss_rows, &j);
    }
    for (int64_t i = 0; i < chunks; i++) *lost += j.lost[i];
    free(j.d), free(j.full);
    return st;
}

static ws_whole_part *part_of(ws_whole_part **list, int *n, const char *kind) {
    int i = 0;
    while (i < *n && strcmp((*list)[i].kind, kind)) i++;
    if (i == *n) {
        *list = ws_xrealloc(*list, (size_t)(*n + 1) * sizeof **list);
        (*list)[(*n)++] = (ws_whole_part){.kind = ws_xstrdup(kind)};
    }
    return &(*list)[i];
}

static double cost(const ws_site *at) { /* of the triplets, in 1e9 operations */
    const double a = (double)(at->d_out < at->d_in ? at->d_out : at->d_in),
                 b = (double)(at->d_out < at->d_in ? at->d_in : at->d_out);
    return a * a * (b + 9 * a) * 1e-9;
}

static ws_status keep_all(const work *w, ws_delta *d, ws_whole_report *r, ws_err *err) {
    double total = 0, done = 0;
    ws_progress bar;
    ws_status st = WS_OK;
    for (int i = 0; i < ws_model_n_sites(w->m); i++)
        if (is_kept(w, i)) total += cost(ws_model_site(w->m, i));
    ws_progress_start(&bar, w->o->rank ? "dW: singular vectors" : "dW: rounding", "Gflop", (int64_t)total + 1);
    for (int i = 0; i < ws_model_n_sites(w->m) && !st; i++) {
        const ws_site *at = ws_model_site(w->m, i);
        double full, lost, square;
        ws_edit e;
        if (!is_kept(w, i)) continue;
        if ((st = keep_site(w, i, &e, &full, &lost, err))) break;
        ws_whole_part *p = part_of(&r->kind, &r->n_kinds, ws_delta_kind(at->name));
        p->n++, p->ranks += e.k, p->full += full, p->lost += lost;
        r->bytes += (int64_t)ws_dtype_bytes(w->o->rank ? WS_F32 : w->o->dtype,
                                            w->o->rank ? e.k * (e.d_out + e.d_in) : e.d_out * e.d_in);
        if (w->sq[i].bias) {
            e.db = bias_of(w, i, &square);
            p = part_of(&r->kind, &r->n_kinds, "biases");
            p->n++, p->full += square;
        }
        st = ws_delta_add(d, i, &e, err);
        forget(w, i);
        if (!st) st = ws_interrupt_check(err);
        ws_progress_update(&bar, (int64_t)(done += cost(at)), at->name);
    }
    ws_progress_end(&bar);
    return st;
}

/* ---------- pass 3 ---------- */

typedef struct stream {
    const work *w;
    const ws_delta *d; /* its sites and biases */
    const ws_tensor *t;
    const int *at; /* of each tensor: index into d */
    ws_progress bar;
    int64_t done;
} stream;

typedef struct piece {
    const stream *s;
    int site;
    ws_dtype type;
    int64_t first, n; /* numbers of the matrix */
    char *out;
} piece;

static void store_rows(void *arg, int64_t begin, int64_t end) {
    const piece *p = arg;
    const int64_t d = ws_model_site(p->s->w->m, p->site)->d_in, r0 = p->first / d;
    double *x = ws_xmalloc((size_t)d * sizeof *x);
    for (int64_t r = begin; r < end; r++) {
        rows_of(p->s->w, p->site, r0 + r, r0 + r + 1, x);
        for (int64_t c = 0; c < d; c++) {
            const int64_t i = (r0 + r) * d + c - p->first;
            if (i < 0 || i >= p->n) continue;
            const float f = (float)x[c];
            uint16_t half = p->type == WS_BF16 ? ws_f32_bf16(f) : ws_f32_f16(f);
            if (p->type == WS_F32)
                memcpy(p->out + 4 * i, &f, 4);
            else
                memcpy(p->out + 2 * i, &half, 2);
        }
    }
    free(x);
}

static ws_status fill(void *arg, const ws_tensor *t, size_t from, void *out, size_t n, ws_err *err) {
    stream *s = arg;
    const int i = s->at[t - s->t], site = ws_delta_site(s->d, i);
    const size_t size = ws_dtype_bytes(t->type, 1);
    if (t->dims == 1)
        memcpy(out, (const char *)ws_delta_edit(s->d, i)->db + from, n);
    else {
        piece p = {s, site, t->type, (int64_t)(from / size), (int64_t)(n / size), out};
        const int64_t d = t->dim[1], rows = (p.first + p.n + d - 1) / d - p.first / d;
        ws_parallel_for(rows, 4, store_rows, &p);
        if (from + n == t->bytes) forget(s->w, site);
    }
    ws_progress_update(&s->bar, (s->done += (int64_t)n) >> 20, NULL);
    return ws_interrupt_check(err);
}

static ws_status save_dense(const work *w, const ws_delta *d, int64_t bytes, const char *path, ws_err *err) {
    const int n = ws_delta_n_sites(d);
    ws_tensor *t = ws_xcalloc(2 * (size_t)n, sizeof *t);
    int *at = ws_xcalloc(2 * (size_t)n, sizeof *at);
    size_t k = 0;
    for (int i = 0; i < n; i++) {
        const ws_edit *e = ws_delta_edit(d, i);
        const char *name = ws_model_site(w->m, ws_delta_site(d, i))->name;
        if (w->sq[ws_delta_site(d, i)].dd > 0 || w->o->mode == WS_CONTRAST_BISECTOR) {
            at[k] = i;
            t[k++] = (ws_tensor){
                .name = ws_sprintf("%s.D", name), .type = w->o->dtype, .dims = 2, .dim = {e->d_out, e->d_in}};
        }
        if (e->db) {
            at[k] = i;
            t[k++] = (ws_tensor){.name = ws_sprintf("%s.db", name), .type = WS_F32, .dims = 1, .dim = {e->d_out}};
        }
    }
    for (size_t i = 0; i < k; i++) t[i].bytes = ws_dtype_bytes(t[i].type, ws_tensor_numel(&t[i]));
    stream s = {.w = w, .d = d, .t = t, .at = at};
    json_t *meta = ws_delta_head(d->meta, ws_model_checkpoint(w->m));
    ws_status st = ws_disk_room(path, bytes, err);
    ws_progress_start(&s.bar, "dW: writing", "MiB", bytes >> 20);
    if (!st) st = ws_safetensors_stream(path, t, k, meta, fill, &s, err);
    ws_progress_end(&s.bar);
    json_decref(meta);
    for (size_t i = 0; i < k; i++) free(t[i].name);
    free(t), free(at);
    return st;
}

/* ---------- the whole ---------- */

static void tell(ws_delta *d, const ws_whole_report *r, const ws_whole_options *o, const json_t *sources) {
    json_t *j = ws_whole_json(r, o);
    const char *key;
    json_t *v;
    char text[32];
    ws_str s = {0};
    json_object_foreach((json_t *)(uintptr_t)sources, key, v) json_object_set(d->meta, key, v);
    if (o->rank) {
        snprintf(text, sizeof text, "%lld", (long long)o->rank);
        ws_delta_set_source(d, "rank", text);
    } else
        ws_delta_set_source(d, "dense", ws_dtypes[o->dtype].name);
    ws_num_text(text, ws_whole_lost(r));
    ws_delta_set_source(d, "energy_lost", text);
    ws_num_text(text, ws_whole_left_out(r));
    ws_delta_set_source(d, "energy_left_out", text);
    ws_json_dump(j, &s, 1);
    ws_delta_set_source(d, "whole", s.p);
    ws_str_free(&s);
    json_decref(j);
}

ws_status ws_whole_save(const ws_side *pos, const ws_side *neg, const ws_whole_options *o, const json_t *sources,
                        const char *path, ws_whole_report *r, ws_err *err) {
    work w = {.m = pos->base, .pos = pos, .neg = neg, .o = o};
    ws_delta *d = ws_delta_alloc(pos->base);
    memset(r, 0, sizeof *r);
    w.sq = ws_xcalloc((size_t)ws_model_n_sites(w.m), sizeof *w.sq);
    ws_status st = measure_all(&w, &r->info, err);
    if (!st) st = ws_left_out(r, pos, neg, w.cp, w.cn, err);
    if (!st) st = keep_all(&w, d, r, err);
    if (!st) {
        ws_delta_set_source(d, "mode", !neg ? "delta" : o->mode == WS_CONTRAST_BISECTOR ? "bisector" : "dw");
        tell(d, r, o, sources);
        st = o->rank ? ws_delta_save(d, path, err) : save_dense(&w, d, r->bytes, path, err);
    }
    ws_delta_free(d);
    free(w.sq);
    return st;
}

/* ---------- the report ---------- */

static double sum(const ws_whole_part *p, int n, int lost) {
    double s = 0;
    for (int i = 0; i < n; i++) s += lost ? p[i].lost : p[i].full;
    return s;
}
static double share(double part, double whole) { return part > 0 ? part / whole : 0; }

double ws_whole_lost(const ws_whole_report *r) {
    return share(sum(r->kind, r->n_kinds, 1), sum(r->kind, r->n_kinds, 0));
}
double ws_whole_left_out(const ws_whole_report *r) {
    const double left = sum(r->left, r->n_left, 0);
    return share(left, left + sum(r->kind, r->n_kinds, 0));
}

json_t *ws_whole_json(const ws_whole_report *r, const ws_whole_options *o) {
    json_t *j = json_object(), *kinds = json_array(), *left = json_array();
    const double all = sum(r->kind, r->n_kinds, 0) + sum(r->left, r->n_left, 0);
    json_object_set_new(j, "rank", o->rank ? json_integer(o->rank) : json_null());
    json_object_set_new(j, "dtype", json_string(ws_dtypes[o->rank ? WS_F32 : o->dtype].name));
    json_object_set_new(j, "energy_lost", json_real(ws_whole_lost(r)));
    json_object_set_new(j, "energy_left_out", json_real(ws_whole_left_out(r)));
    for (int i = 0; i < r->n_kinds; i++) {
        const ws_whole_part *p = &r->kind[i];
        json_t *x = json_pack("{s:s, s:i, s:f, s:f}", "modules", p->kind, "number", p->n, "norm_dw", sqrt(p->full),
                              "energy_lost", share(p->lost, p->full));
        if (o->rank && p->ranks) json_object_set_new(x, "mean_rank", json_real((double)p->ranks / p->n));
        json_array_append_new(kinds, x);
    }
    for (int i = 0; i < r->n_left; i++) {
        const ws_whole_part *p = &r->left[i];
        json_array_append_new(left, json_pack("{s:s, s:i, s:f, s:f}", "parameters", p->kind, "number", p->n, "norm",
                                              sqrt(p->full), "energy", share(p->full, all)));
    }
    json_object_set_new(j, "kinds", kinds);
    json_object_set_new(j, "left_out", left);
    return j;
}

void ws_whole_report_free(ws_whole_report *r) {
    for (int i = 0; i < r->n_kinds; i++) free(r->kind[i].kind);
    for (int i = 0; i < r->n_left; i++) free(r->left[i].kind);
    free(r->kind), free(r->left);
    memset(r, 0, sizeof *r);
}
