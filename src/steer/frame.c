#include "steer/frame.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "kernel/gemm.h"
#include "linalg/linalg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void ws_frame_free(ws_frame *f) {
    if (!f) return;
    free(f->u), free(f->sqrt_s), free(f->tied);
    free(f);
}

static ws_frame *frame_new(int64_t d, int64_t r) {
    ws_frame *f = ws_xcalloc(1, sizeof *f);
    f->d = d, f->r = r;
    f->u = ws_xmalloc((size_t)(d * r) * sizeof *f->u), f->sqrt_s = ws_xmalloc((size_t)r * sizeof *f->sqrt_s);
    f->tied = ws_xcalloc((size_t)r, 1);
    return f;
}

/* out [n, r] = (y - b) U of rows y [n, d] */
static void project(double *out, const ws_frame *f, const float *y, const float *b, int64_t n) {
    memset(out, 0, (size_t)(n * f->r) * sizeof *out);
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < f->d; i++) {
            double x = (double)y[t * f->d + i] - (b ? (double)b[i] : 0);
            const float *u = f->u + i * f->r;
            for (int64_t j = 0; j < f->r; j++) out[t * f->r + j] += x * (double)u[j];
        }
}

/* A column turns when fewer than half of the pairs have (y+ - b).u > (y- - b).u. */
static ws_status frame_of(ws_frame **out, const ws_extraction *x, int i, ws_err *err) {
    const ws_states *st = &x->at[i];
    const ws_site *at = ws_model_site(x->m, st->site);
    int64_t r = at->d_out < at->d_in ? at->d_out : at->d_in;
    ws_frame *f = frame_new(at->d_out, r);
    double *u = ws_try_alloc((size_t)(at->d_out * r), sizeof *u), *sv = ws_xmalloc((size_t)r * sizeof *sv),
           *vt = ws_try_alloc((size_t)(r * at->d_in), sizeof *vt);
    ws_status s = u && vt ? ws_weight_svd(at->w, r, u, sv, vt, err)
                          : ws_fail(err, WS_ENOMEM, "out of memory for the singular vectors of %s", at->name);
    for (int64_t j = 0; j < at->d_out * r && !s; j++) f->u[j] = (float)u[j];
    for (int64_t j = 0; j < r && !s; j++) {
        f->sqrt_s[j] = (float)sqrt(sv[j]);
        if (!(f->sqrt_s[j] > 0))
            s = ws_fail(err, WS_EUNSUPPORTED,
                        "%s has %lld singular values that are zero, so S-space is not defined there; leave it out with "
                        "--linears",
                        at->name, (long long)(r - j));
    }
    free(u), free(sv), free(vt);
    if (s) {
        ws_frame_free(f);
        return ws_fail_prefix(err, "S-space");
    }
    double *p = ws_xmalloc((size_t)(x->n * r) * sizeof *p), *q = ws_xmalloc((size_t)(x->n * r) * sizeof *q);
    project(p, f, st->pos, at->bias, x->n), project(q, f, st->neg, at->bias, x->n);
    for (int64_t j = 0; j < r; j++) {
        int64_t yes = 0;
        for (int64_t t = 0; t < x->n; t++) yes += p[t * r + j] > q[t * r + j];
        f->tied[j] = 2 * yes == x->n;
        if (2 * yes < x->n)
            for (int64_t k = 0; k < f->d; k++) f->u[k * r + j] = -f->u[k * r + j];
    }
    free(p), free(q);
    *out = f;
    return WS_OK;
}

typedef struct work {
    ws_extraction *x;
    const int *which;
    ws_err *err; /* one for each */
} work;
static void frames(void *arg, int64_t begin, int64_t end) {
    const work *w = arg;
    for (int64_t i = begin; i < end; i++) frame_of(&w->x->frame[w->which[i]], w->x, w->which[i], &w->err[i]);
}

ws_status ws_frame_linears(ws_extraction *x, ws_err *err) {
    int n = 0, *which = ws_xmalloc((size_t)x->n_sites * sizeof *which + 1);
    for (int i = 0; i < x->n_sites; i++)
        if (ws_model_site(x->m, x->at[i].site)->kind == WS_SITE_LINEAR && !x->frame[i]) which[n++] = i;
    ws_err *each = ws_xcalloc((size_t)n + 1, sizeof *each);
    ws_status st = WS_OK;
    ws_progress bar;
    ws_progress_start(&bar, "extract: singular vectors", "linears", n);
    for (int at = 0, group = ws_threads(); at < n && !st; at += group) {
        int k = n - at < group ? n - at : group;
        work w = {x, which + at, each + at};
        st = ws_interrupt_check(err);
        if (!st) ws_parallel_for(k, 1, frames, &w);
        for (int i = at; i < at + k && !st; i++)
            if (each[i].code) *err = each[i], st = err->code;
        ws_progress_update(&bar, at + k, NULL);
    }
    ws_progress_end(&bar);
    free(which), free(each);
    return st;
}

/* Sum over the linears of the chosen layers of W W' where they write into the residual, W' W where they read from it. */
ws_status ws_frame_residual(ws_extraction *x, ws_err *err) {
    int64_t d = ws_model_dims(x->m)->hidden, n_linears = 0;
    if (x->super) return WS_OK;
    double *sum = ws_try_alloc((size_t)(d * d), sizeof *sum), *g = ws_try_alloc((size_t)(d * d), sizeof *g),
           *rows = ws_try_alloc((size_t)(d * d), sizeof *rows);
    ws_status st = sum && g && rows ? WS_OK
                                    : ws_fail(err, WS_ENOMEM, "out of memory for the residual's S-space [%lld, %lld]",
                                              (long long)d, (long long)d);
    int total = 0, done = 0;
    char *chosen = ws_xcalloc((size_t)ws_model_dims(x->m)->layers, 1);
    for (int i = 0; i < x->n_sites; i++) chosen[ws_model_site(x->m, x->at[i].site)->layer] = 1;
    for (int s = 0; s < ws_model_n_sites(x->m); s++) {
        const ws_site *at = ws_model_site(x->m, s);
        total += at->kind == WS_SITE_LINEAR && chosen[at->layer];
    }
    ws_progress bar;
    ws_progress_start(&bar, "extract: S-space of the residual", "linears", total);
    for (int s = 0; s < ws_model_n_sites(x->m) && !st; s++) {
        const ws_site *at = ws_model_site(x->m, s);
        if (at->kind != WS_SITE_LINEAR || !chosen[at->layer]) continue;
        ws_progress_update(&bar, ++done, NULL);
        if ((at->d_out == d) == (at->d_in == d)) continue; /* square ones are left out */
        st = ws_interrupt_check(err);
        if (!st) st = at->d_out == d ? ws_gram_rows(at->w, g, err) : ws_gram_cols(at->w, g, err);
        for (int64_t i = 0; i < d && !st; i++)
            for (int64_t j = 0; j <= i; j++) sum[i * d + j] += g[i * d + j];
        n_linears++;
    }
    ws_progress_end(&bar);
    free(chosen);
    if (!st && !n_linears)
        st = ws_fail(err, WS_EUNSUPPORTED,
                     "super_sspace: every linear of these layers is square, none is left to look at");
    ws_frame *f = frame_new(d, d);
    double *values = ws_xmalloc((size_t)d * sizeof *values);
    if (!st) st = ws_eigen(sum, d, d, values, rows, err);
    for (int64_t j = 0; j < d && !st; j++) {
        double s = sqrt(sqrt(values[j] > 0 ? values[j] : 0)), largest = 0;
        f->sqrt_s[j] = (float)(s > 1e-8 ? s : 1e-8);
        for (int64_t i = 0; i < d; i++)
            if (fabs(rows[j * d + i]) > fabs(largest)) largest = rows[j * d + i];
        for (int64_t i = 0; i < d; i++) f->u[i * d + j] = (float)(largest < 0 ? -rows[j * d + i] : rows[j * d + i]);
    }
    free(sum), free(g), free(rows), free(values);
    if (st)
        ws_frame_free(f);
    else
        x->super = f;
    return st;
}

static int64_t *largest_modes(const double *ds, int64_t n, int64_t r) {
    int64_t *keep = ws_xmalloc((size_t)r * sizeof *keep), k = 0;
    char *taken = ws_xcalloc((size_t)n, 1);
    for (int64_t i = 0; i < r; i++) {
        int64_t best = -1;
        for (int64_t j = 0; j < n; j++)
            if (!taken[j] && (best < 0 || fabs(ds[j]) > fabs(ds[best]))) best = j;
        taken[best] = 1;
    }
    for (int64_t j = 0; j < n; j++)
        if (taken[j]) keep[k++] = j;
    free(taken);
    return keep;
}

ws_status ws_frame_extract(const ws_extraction *x, int i, const ws_frame *f, const ws_vector *v, int flip,
                           ws_vector_site *s, ws_err *err) {
    const ws_states *st = &x->at[i];
    const float *b = ws_model_site(x->m, st->site)->bias;
    int64_t n = x->n, r = v->cfg.rank > 0 && v->cfg.rank < f->r ? v->cfg.rank : f->r;
    double *xs[2], *ds = ws_xcalloc((size_t)f->r, sizeof *ds), *lengths = ws_xmalloc((size_t)(2 * n) * sizeof *lengths);
    for (int side = 0; side < 2; side++) {
        xs[side] = ws_xmalloc((size_t)(n * f->r) * sizeof **xs);
        project(xs[side], f, side ? st->neg : st->pos, b, n);
        for (int64_t t = 0; t < n; t++)
            for (int64_t j = 0; j < f->r; j++) {
                xs[side][t * f->r + j] /= (double)f->sqrt_s[j];
                ds[j] += (side ? -1 : 1) * xs[side][t * f->r + j] / (double)n;
            }
    }
    int64_t *keep = largest_modes(ds, f->r, r);
    for (int side = 0; side < 2; side++) {
        for (int64_t t = 0; t < n; t++) {
            double sq = 0;
            for (int64_t j = 0; j < r; j++) sq += xs[side][t * f->r + keep[j]] * xs[side][t * f->r + keep[j]];
            lengths[side * n + t] = sqrt(sq);
        }
        free(xs[side]);
    }
    s->k = r, s->norm = ws_median(lengths, 2 * n);
    double *kept = ws_xmalloc((size_t)r * sizeof *kept);
    float *u = v->shared[WS_FRAME_U], *root = v->shared[WS_FRAME_SQRT_S];
    int own = !u;
    if (own) u = ws_xmalloc((size_t)(f->d * r) * sizeof *u), root = ws_xmalloc((size_t)r * sizeof *root);
    for (int64_t j = 0; j < r; j++) {
        int64_t k = keep[j];
        int turn = flip && f->tied[k] && ds[k] < 0;
        kept[j] = turn ? -ds[k] : ds[k];
        if (!own) continue;
        root[j] = f->sqrt_s[k];
        for (int64_t t = 0; t < f->d; t++) u[t * r + j] = turn ? -f->u[t * f->r + k] : f->u[t * f->r + k];
    }
    s->t[WS_FRAME_U] = u, s->t[WS_FRAME_SQRT_S] = root;
    s->t[WS_FRAME_DS] = ws_xmalloc((size_t)r * sizeof(float));
    ws_status status = ws_unit(s->t[WS_FRAME_DS], kept, r, x, i, err);
    if (b) {
        s->t[WS_FRAME_B] = ws_xmalloc((size_t)f->d * sizeof(float));
        memcpy(s->t[WS_FRAME_B], b, (size_t)f->d * sizeof(float));
    }
    free(ds), free(lengths), free(keep), free(kept);
    return status;
}

/* ---- the map ---- */

ws_status ws_frame_make(ws_vector *v, ws_vector_site *s, ws_err *err) {
    const float *u = s->t[WS_FRAME_U], *root = s->t[WS_FRAME_SQRT_S], *ds = s->t[WS_FRAME_DS];
    int64_t d = s->d, r = s->k;
    for (int64_t j = 0; j < r; j++)
        if (!(root[j] > 0))
            return ws_fail(err, WS_EFORMAT, "sqrtS at %s holds %g; square roots of singular values are above zero",
                           ws_model_site(v->m, s->site)->name, (double)root[j]);
    ws_framed *f = ws_xcalloc(1, sizeof *f);
    s->made = f;
    f->towards = ws_xmalloc((size_t)d * sizeof *f->towards), f->probe = ws_xmalloc((size_t)d * sizeof *f->probe);
    const ws_vector_site *first = &v->site[0];
    f->borrowed = s != first && u == first->t[WS_FRAME_U] && root == first->t[WS_FRAME_SQRT_S];
    f->whiten = f->borrowed ? ((ws_framed *)first->made)->whiten : ws_try_alloc((size_t)(r * d), sizeof(float));
    if (!f->whiten)
        return ws_fail(err, WS_ENOMEM, "out of memory for the S-space of %s", ws_model_site(v->m, s->site)->name);
    for (int64_t i = 0; i < d; i++) {
        double to = 0, from = 0;
        for (int64_t j = 0; j < r; j++) {
            double x = (double)u[i * r + j];
            to += x * (double)ds[j] * (double)root[j], from += x * (double)ds[j] / (double)root[j];
            if (!f->borrowed) f->whiten[j * d + i] = (float)(x / (double)root[j]);
        }
        f->towards[i] = (float)to, f->probe[i] = (float)from;
    }
    return WS_OK;
}

void ws_frame_unmake(ws_vector_site *s) {
    ws_framed *f = s->made;
    if (!f) return;
    free(f->towards), free(f->probe);
    if (!f->borrowed) free(f->whiten);
    free(f);
    s->made = NULL;
}

void ws_frame_centre(float *out, const ws_vector_site *s, int64_t n, const float *y) {
    const float *b = s->t[WS_FRAME_B];
    memcpy(out, y, (size_t)(n * s->d) * sizeof *out);
    for (int64_t t = 0; b && t < n; t++)
        for (int64_t i = 0; i < s->d; i++) out[t * s->d + i] -= b[i];
}

void ws_frame_steer(const ws_vector *v, const ws_vector_site *s, int64_t n, float *y, const float *c, ws_arena *a) {
    (void)v;
    const ws_framed *f = s->made;
    float *x = ws_arena_floats(a, n * s->d), *xs = ws_arena_floats(a, n * s->k);
    const ws_weight whiten = ws_weight_f32(f->whiten, s->k, s->d, s->d);
    ws_frame_centre(x, s, n, y);
    ws_gemm_nt(xs, s->k, x, s->d, n, &whiten, 0);
    for (int64_t t = 0; t < n; t++)
        ws_add_scaled(y + t * s->d, (double)c[t] * fabs(ws_cosine(xs + t * s->k, s->t[WS_FRAME_DS], s->k)), f->towards,
                      s->d);
}
