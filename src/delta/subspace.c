/* src/delta/subspace.c - the subspace report.
 * The smaller Gram matrix of W gives one side's singular vectors E (rows) and s^2; the other side's are W E' / s.  So, with
 * C = W' dW (tall W) or dW W' (wide W), both [r, r]:
 *     tall: U' dW V = diag(1/s) E C E'        wide: U' dW V = E C E' diag(1/s)
 * dW is made row by row, in whatever form it comes, and never kept.  Sites run side by side, as many as memory allows; the
 * bits do not depend on how many. */
#include "delta/subspace.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "delta/impl.h"
#include "family/family.h"
#include "linalg/linalg.h"
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256, TILE = 256 };
static const double none = 1e-7;                       /* of the largest singular value */
static const double budget = 2.0 * 1024 * 1024 * 1024; /* bytes that sites side by side may take */

typedef struct head {
    int64_t d, k, r;
    double *weak; /* [k, d] */
} head;

/* ---------- C ---------- */

typedef struct cross_job {
    const ws_edit *e;
    const ws_weight *w;
    double *c, *wd, *dd; /* wd, dd [n, d_in]: rows of W and dW as double */
    int64_t r0, n;
} cross_job;

static void wide_rows(double *out, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (double)x[i];
}

static void rows_of(const ws_edit *e, const ws_weight *w, int64_t r0, int64_t n, double *dd, double *wd) {
    float *x = ws_xmalloc((size_t)(n * e->d_in) * sizeof *x);
    if (dd) ws_edit_rows(e, w, r0, r0 + n, x), wide_rows(dd, x, n * e->d_in);
    if (wd) ws_weight_rows_f32(w, r0, n, x), wide_rows(wd, x, n * e->d_in);
    free(x);
}

static void fill_rows(void *arg, int64_t begin, int64_t end) {
    const cross_job *j = arg;
    const int64_t d = j->e->d_in;
    rows_of(j->e, j->w, j->r0 + begin, end - begin, j->dd + begin * d, j->wd + begin * d);
}

/* C [tile of columns of W, columns of dW] += W' dW over the rows at hand */
static void cross_columns(void *arg, int64_t begin, int64_t end) {
    const cross_job *j = arg;
    const int d = (int)j->e->d_in;
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)(end - begin), d, (int)j->n, 1, j->wd + begin, d, j->dd,
                d, 1, j->c + begin * d, d);
}

/* C [tile of rows of dW, rows of W] = dW W' */
static void cross_rows(void *arg, int64_t begin, int64_t end) {
    const cross_job *j = arg;
    const int64_t m = j->e->d_out, d = j->e->d_in;
    double *mine = ws_xmalloc((size_t)((end - begin) * d) * sizeof *mine),
           *other = ws_xmalloc((size_t)(TILE * d) * sizeof *other);
    rows_of(j->e, j->w, begin, end - begin, mine, NULL);
    for (int64_t k = 0; k < m; k += TILE) {
        const int64_t n = m - k < TILE ? m - k : TILE;
        rows_of(j->e, j->w, k, n, NULL, other);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(end - begin), (int)n, (int)d, 1, mine, (int)d, other,
                    (int)d, 0, j->c + begin * m + k, (int)m);
    }
    free(mine), free(other);
}

/* What is summed over the rows of dW: ||dW||^2, and weak dW [k, d_in] of the head. */
static void row_sums(const ws_edit *e, const ws_weight *w, const head *h, double *square, double *head_square,
                     double *square_w) {
    double *dd = ws_xmalloc((size_t)(CHUNK * e->d_in) * sizeof *dd),
           *wd = ws_xmalloc((size_t)(CHUNK * e->d_in) * sizeof *wd),
           *hd = h ? ws_xcalloc((size_t)(h->k * e->d_in), sizeof *hd) : NULL;
    *square = *head_square = *square_w = 0;
    for (int64_t r0 = 0; r0 < e->d_out; r0 += CHUNK) {
        const int64_t n = e->d_out - r0 < CHUNK ? e->d_out - r0 : CHUNK;
        rows_of(e, w, r0, n, dd, wd);
        for (int64_t i = 0; i < n * e->d_in; i++) *square += dd[i] * dd[i], *square_w += wd[i] * wd[i];
        if (h)
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)h->k, (int)e->d_in, (int)n, 1, h->weak + r0,
                        (int)h->d, dd, (int)e->d_in, 1, hd, (int)e->d_in);
    }
    for (int64_t i = 0; h && i < h->k * e->d_in; i++) *head_square += hd[i] * hd[i];
    free(dd), free(wd), free(hd);
}

/* ---------- one site ---------- */

typedef struct product_job {
    const double *a, *b;
    double *out;
    int64_t n;
    int turned; /* b is taken transposed */
} product_job;

static void product_rows(void *arg, int64_t begin, int64_t end) {
    const product_job *p = arg;
    const int n = (int)p->n;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, p->turned ? CblasTrans : CblasNoTrans, (int)(end - begin), n, n, 1,
                p->a + begin * n, n, p->b, n, 0, p->out + begin * n, n);
}

static int64_t size_of(double part, int64_t r) {
    const int64_t k = (int64_t)rint(part * (double)r); /* halves to even, as Python rounds */
    return k < 1 ? 1 : k > r ? r : k;
}

static ws_status one_site(ws_subspace_site *s, const ws_edit *e, const ws_site *at, const head *h,
                          const ws_subspace_options *o, ws_err *err) {
    const int tall = at->d_out >= at->d_in;
    const int64_t r = tall ? at->d_in : at->d_out;
    double *g = ws_try_alloc((size_t)(r * r), sizeof *g), *v = ws_try_alloc((size_t)(r * r), sizeof *v),
           *c = ws_try_alloc((size_t)(r * r), sizeof *c), *values = ws_try_alloc((size_t)r, sizeof *values), square,
           head_square, square_w, all = 0, top = 0;
    cross_job j = {.e = e, .w = at->w, .c = c};
    ws_status st = WS_OK;
    if (!g || !v || !c || !values)
        st = ws_fail(err, WS_ENOMEM, "out of memory for the singular vectors of %s, [%lld, %lld]", at->name,
                     (long long)at->d_out, (long long)at->d_in);
    if (!st) st = tall ? ws_gram_cols(at->w, g, err) : ws_gram_rows(at->w, g, err);
    if (!st && (st = ws_eigen(g, r, r, values, v, err))) ws_fail_prefix(err, "%s", at->name);
    if (!st && tall) {
        j.wd = ws_xmalloc((size_t)(2 * CHUNK * at->d_in) * sizeof *j.wd), j.dd = j.wd + CHUNK * at->d_in;
        for (j.r0 = 0; j.r0 < at->d_out; j.r0 += CHUNK) {
            j.n = at->d_out - j.r0 < CHUNK ? at->d_out - j.r0 : CHUNK;
            ws_parallel_for(j.n, 32, fill_rows, &j);
            ws_parallel_for(at->d_in, TILE, cross_columns, &j);
        }
        free(j.wd);
    } else if (!st)
        ws_parallel_for(at->d_out, TILE, cross_rows, &j);
    if (!st) {
        *s = (ws_subspace_site){.r = r, .k = size_of(o->top, r)};
        ws_parallel_for(r, TILE, product_rows, &(product_job){v, c, g, r, 0});
        ws_parallel_for(r, TILE, product_rows, &(product_job){g, v, c, r, 1});
        for (int64_t i = 0; i < r; i++)
            for (int64_t k = 0; k < r; k++) {
                const double value = values[tall ? i : k];
                if (!(value > none * none * values[0])) continue;
                const double x = c[i * r + k] * c[i * r + k] / value;
                all += x;
                if (i < s->k && k < s->k) top += x;
            }
        row_sums(e, at->w, h, &square, &head_square, &square_w);
        s->norm = sqrt(square), s->norm_w = sqrt(square_w);
        s->share = top / all, s->null = (double)(s->k * s->k) / (double)(r * r); /* 0 / 0 is NaN */
        if (h) {
            s->head_r = h->r, s->head_k = h->k;
            s->head_share = head_square / square, s->head_null = (double)h->k / (double)h->r;
        }
        if (!isfinite(square)) st = ws_fail(err, WS_ENONFINITE, "the norm of dW of %s is not finite", at->name);
    }
    free(g), free(v), free(c), free(values);
    return st;
}

/* ---------- the head ---------- */

static ws_status open_head(head *h, const ws_model *m, double part, ws_err *err) {
    const ws_weight *w = &ws_model_arch(m)->head;
    *h = (head){.d = w->cols, .r = w->rows < w->cols ? w->rows : w->cols};
    h->k = size_of(part, h->r);
    double *g = ws_try_alloc((size_t)(h->d * h->d), sizeof *g), *v = ws_try_alloc((size_t)(h->r * h->d), sizeof *v),
           *values = ws_try_alloc((size_t)h->r, sizeof *values);
    ws_status st =
        g && v && values ? WS_OK : ws_fail(err, WS_ENOMEM, "out of memory for the singular vectors of the LM head");
    if (!st) st = ws_gram_cols(w, g, err);
    if (!st) st = ws_eigen(g, h->d, h->r, values, v, err);
    if (!st) {
        h->weak = ws_xmalloc((size_t)(h->k * h->d) * sizeof *h->weak);
        memcpy(h->weak, v + (h->r - h->k) * h->d, (size_t)(h->k * h->d) * sizeof *h->weak);
    }
    free(g), free(v), free(values);
    return st;
}

static int writes_residual(const char *name) {
    static const char *const ends[] = {".o_proj", ".down_proj", ".out_proj"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(name), k = strlen(ends[i]);
        if (n > k && !strcmp(name + n - k, ends[i])) return 1;
    }
    return 0;
}

/* ---------- all sites ---------- */

typedef struct batch {
    const ws_delta *d;
    const head *h;
    const ws_subspace_options *o;
    ws_subspace_site *out;
    int first;
    ws_status *st;
    ws_err *err;
} batch;

static void run_sites(void *arg, int64_t begin, int64_t end) {
    const batch *b = arg;
    for (int64_t i = begin; i < end; i++) {
        const int k = b->first + (int)i;
        const ws_site *at = ws_model_site(b->d->model, b->d->site[k]);
        b->st[i] = one_site(&b->out[k], &b->d->edit[k], at, writes_residual(at->name) ? b->h : NULL, b->o, &b->err[i]);
        b->out[k].site = b->d->site[k];
    }
}

/* Operations: Gram matrix, eigenvectors (slower than products, so counted threefold), C, and the two products. */
static double cost(double m, double n) {
    const double r = m < n ? m : n;
    return m * n * r + 27 * r * r * r + 2 * m * n * r + 4 * r * r * r;
}
static double cost_of(const ws_delta *d, int i) { return cost((double)d->edit[i].d_out, (double)d->edit[i].d_in); }
static double cost_of_head(const ws_model *m) {
    const ws_weight *w = &ws_model_arch(m)->head;
    const double c = (double)w->cols;
    return (double)w->rows * c * c + 27 * c * c * c;
}
static int needs_head(const ws_delta *d) {
    for (int i = 0; i < d->n; i++)
        if (writes_residual(ws_model_site(d->model, d->site[i])->name)) return 1;
    return 0;
}

double ws_subspace_estimate(const ws_delta *d) {
    enum { N = 320 };
    double *a = ws_xcalloc(2 * N * N, sizeof *a), *v = ws_xmalloc(N * N * sizeof *v), values[N], total = 0, began, took;
    ws_err none_of_it;
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++) a[i * N + j] = sin(i * 1.7 + j * j);
    began = ws_now();
    ws_status st = ws_eigen(a, N, N, values, v, &none_of_it);
    took = ws_now() - began;
    for (int i = 0; i < d->n; i++) total += cost_of(d, i);
    if (needs_head(d)) total += cost_of_head(d->model);
    free(a), free(v);
    return st ? 0 : total / (27.0 * N * N * N) * took / ws_threads();
}

ws_status ws_subspace(ws_subspace_site **out, const ws_delta *d, const ws_subspace_options *o, ws_err *err) {
    head h = {0};
    double total = 0, done = 0, largest = 0;
    ws_progress bar;
    ws_status st = WS_OK;
    for (int i = 0; i < d->n; i++) {
        const double r = (double)(d->edit[i].d_out < d->edit[i].d_in ? d->edit[i].d_out : d->edit[i].d_in);
        total += cost_of(d, i);
        if (r > largest) largest = r;
    }
    const int head_too = needs_head(d);
    if (head_too) total += cost_of_head(d->model);
    *out = ws_xcalloc((size_t)d->n, sizeof **out);
    ws_progress_start(&bar, "subspace", "Gflop", (int64_t)(total * 1e-9) + 1);
    if (head_too) {
        st = open_head(&h, d->model, o->weak, err);
        done = cost_of_head(d->model);
        ws_progress_update(&bar, (int64_t)(done * 1e-9), "LM head");
    }
    int n = (int)(budget / (4 * 8 * largest * largest + 1));
    n = n > 2 * ws_threads() ? 2 * ws_threads() : n < 1 ? 1 : n;
    batch b = {d, &h, o, *out, 0, ws_xcalloc((size_t)n, sizeof *b.st), ws_xcalloc((size_t)n, sizeof *b.err)};
    for (; b.first < d->n && !st; b.first += n) {
        const int here = d->n - b.first < n ? d->n - b.first : n;
        if ((st = ws_interrupt_check(err))) break;
        if (here > 1)
            ws_parallel_for(here, 1, run_sites, &b);
        else
            run_sites(&b, 0, 1);
        for (int i = 0; i < here && !st; i++)
            if ((st = b.st[i]) && err) *err = b.err[i];
        for (int i = 0; i < here; i++) done += cost_of(d, b.first + i);
        ws_progress_update(&bar, (int64_t)(done * 1e-9), ws_model_site(d->model, d->site[b.first + here - 1])->name);
    }
    ws_progress_end(&bar);
    free(b.st), free(b.err), free(h.weak);
    if (st) free(*out), *out = NULL;
    return st;
}
