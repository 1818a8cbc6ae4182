/* src/export/factors.c - adapters.md 3.3 and 3.4.
 * U V alone: the factors as they are, or QR of both and an SVD of the core R_u R_v' [k, k].  With terms: the truncated SVD of
 * the operator x -> dW x, so dW is never dense.  The share that is lost is measured, not estimated: ||dW - B A|| by rows of
 * dW where it has terms, by the factors where it has none. */
#include "export/factors.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "linalg/linalg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXTRA = 16, ROUNDS = 2 }; /* directions beside the wanted ones; power iterations */

ws_status ws_export_check_factors(ws_export *x, ws_err *err) {
    for (int i = 0; i < ws_delta_n_sites(x->d); i++) {
        const ws_edit *e = ws_delta_edit(x->d, i);
        const char *name = ws_model_site(x->m, ws_delta_site(x->d, i))->name;
        if (e->db)
            return ws_fail(err, WS_EUNSUPPORTED,
                           "dW changes the bias of %s, which a LoRA has no place for; use --to merged%s", name,
                           ws_export_find("ia3") ? " or --to ia3" : "");
        if (!ws_edit_is_product(e) && !x->rank)
            return ws_fail(err, WS_EUNSUPPORTED,
                           "dW of %s is no product of two thin matrices (it %s): --rank K approximates it, --to merged "
                           "is exact",
                           name, e->n_terms ? "scales or turns W itself" : "is dense");
    }
    return WS_OK;
}

static ws_status new_factor(ws_factor *f, int64_t rank, const ws_edit *e, ws_err *err) {
    f->rank = rank;
    f->a = ws_try_alloc((size_t)(rank * e->d_in), sizeof *f->a);
    f->b = ws_try_alloc((size_t)(rank * e->d_out), sizeof *f->b);
    return f->a && f->b ? WS_OK : ws_fail(err, WS_ENOMEM, "out of memory for factors of rank %lld", (long long)rank);
}

/* b = u diag(s), a = vt: u [d_out, k], vt [k, d_in]. */
static void store(ws_factor *f, const ws_edit *e, const double *u, int64_t ldu, const double *s, const double *vt) {
    for (int64_t o = 0; o < e->d_out; o++)
        for (int64_t j = 0; j < f->rank; j++) f->b[o * f->rank + j] = (float)(u[o * ldu + j] * s[j]);
    for (int64_t i = 0; i < f->rank * e->d_in; i++) f->a[i] = (float)vt[i];
}

/* Q [m, k] and R [k, k] of x [m, k] or, `turned`, of x' with x [k, m]. */
static ws_status qr_of(const float *x, int64_t m, int64_t k, int turned, double *q, double *r, ws_err *err) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < k; j++) q[i * k + j] = (double)(turned ? x[j * m + i] : x[i * k + j]);
    return ws_qr(q, m, k, r, err);
}

/* out [m, n] = a [m, k] b [k, n]; `bt`: b is [n, k] and taken transposed. */
static void product(double *out, const double *a, const double *b, int64_t m, int64_t k, int64_t n, int bt) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) sum += a[i * k + l] * (bt ? b[j * k + l] : b[l * n + j]);
            out[i * n + j] = sum;
        }
}

/* U V = Qu (Ru Rv') Qv' = (Qu W) S (Qv Z)'. */
static ws_status reduce(const ws_edit *e, ws_factor *f, ws_err *err) {
    const int64_t k = e->k, r = f->rank, m = e->d_out, n = e->d_in;
    double *qu = ws_try_alloc((size_t)(m * k), sizeof *qu), *qv = ws_try_alloc((size_t)(n * k), sizeof *qv);
    double *ru = ws_try_alloc((size_t)(k * k), sizeof *ru), *rv = ws_try_alloc((size_t)(k * k), sizeof *rv);
    double *core = ws_try_alloc((size_t)(k * k), sizeof *core), *w = ws_try_alloc((size_t)(k * k), sizeof *w);
    double *zt = ws_try_alloc((size_t)(k * k), sizeof *zt), *s = ws_try_alloc((size_t)k, sizeof *s);
    double *u = ws_try_alloc((size_t)(m * k), sizeof *u), *vt = ws_try_alloc((size_t)(r * n), sizeof *vt);
    ws_status st = WS_OK;
    if (!qu || !qv || !ru || !rv || !core || !w || !zt || !s || !u || !vt)
        st = ws_fail(err, WS_ENOMEM, "out of memory for factors of rank %lld", (long long)k);
    if (!st && !(st = qr_of(e->u, m, k, 0, qu, ru, err)) && !(st = qr_of(e->v, n, k, 1, qv, rv, err))) {
        product(core, ru, rv, k, k, k, 1);
        if (!(st = ws_svd(core, k, k, w, s, zt, err))) {
            product(u, qu, w, m, k, k, 0);
            product(vt, zt, qv, r, k, n, 1);
            store(f, e, u, k, s, vt);
        }
    }
    free(qu), free(qv), free(ru), free(rv), free(core), free(w), free(zt), free(s), free(u), free(vt);
    return st;
}

typedef struct edit_of {
    const ws_edit *e;
    const ws_weight *w;
} edit_of;
static void apply(void *arg, const float *x, int64_t n, float *y) {
    const edit_of *o = arg;
    ws_edit_apply(o->e, o->w, x, n, y);
}
static void apply_t(void *arg, const float *y, int64_t n, float *x) {
    const edit_of *o = arg;
    ws_edit_apply_t(o->e, o->w, y, n, x);
}

static ws_status approximate(const ws_edit *e, const ws_weight *w, ws_factor *f, ws_err *err) {
    const int64_t r = f->rank;
    edit_of arg = {e, w};
    const ws_operator a = {e->d_out, e->d_in, apply, apply_t, &arg};
    double *u = ws_try_alloc((size_t)(e->d_out * r), sizeof *u), *s = ws_try_alloc((size_t)r, sizeof *s),
           *vt = ws_try_alloc((size_t)(r * e->d_in), sizeof *vt);
    ws_status st =
        u && s && vt ? WS_OK : ws_fail(err, WS_ENOMEM, "out of memory for factors of rank %lld", (long long)r);
    if (!st && !(st = ws_operator_svd(&a, r, EXTRA, ROUNDS, 0, u, s, vt, err))) store(f, e, u, r, s, vt);
    free(u), free(s), free(vt);
    return st;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static ws_status of_site(ws_export *x, int i, ws_factor *f, ws_err *err) {
    const ws_edit *e = ws_delta_edit(x->d, i);
    const ws_site *at = ws_model_site(x->m, ws_delta_site(x->d, i));
    const int64_t widest = least(e->d_out, e->d_in);
    const double full = ws_edit_dot(e, e, at->w);
    ws_status st;
    f->site = ws_delta_site(x->d, i);
    if (!isfinite(full)) return ws_fail(err, WS_ENONFINITE, "the norm of dW of %s is not finite", at->name);
    if (ws_edit_is_product(e) && (!x->rank || e->k <= x->rank)) {
        if ((st = new_factor(f, e->k, e, err))) return st;
        if (e->k) memcpy(f->a, e->v, (size_t)(e->k * e->d_in) * sizeof *f->a);
        if (e->k) memcpy(f->b, e->u, (size_t)(e->k * e->d_out) * sizeof *f->b);
        ws_loss_add(&x->loss, at->name, f->rank, full, 0);
        return WS_OK;
    }
    if ((st = new_factor(f, least(x->rank, widest), e, err))) return st;
    st = ws_edit_is_product(e) && e->k <= widest ? reduce(e, f, err) : approximate(e, at->w, f, err);
    if (st) return ws_fail_prefix(err, "%s", at->name);
    const ws_edit kept = {.d_out = e->d_out, .d_in = e->d_in, .k = f->rank, .u = f->b, .v = f->a};
    ws_edit rest;
    if ((st = ws_edit_combine(&rest, e, 1, &kept, -1, err))) return st;
    double lost = ws_edit_dot(&rest, &rest, at->w);
    ws_edit_release(&rest);
    ws_loss_add(&x->loss, at->name, f->rank, full, lost);
    x->lossy = 1;
    return WS_OK;
}

static int64_t commonest(const ws_factors *f) {
    int64_t best = 0;
    int most = 0;
    for (int i = 0; i < f->n; i++) {
        int n = 0;
        for (int j = 0; j < f->n; j++) n += f->f[j].rank == f->f[i].rank;
        if (n > most || (n == most && f->f[i].rank > best)) most = n, best = f->f[i].rank;
    }
    return best;
}

ws_status ws_export_factors(ws_export *x, ws_factors *out, ws_err *err) {
    const int n = ws_delta_n_sites(x->d);
    ws_progress bar;
    ws_status st = WS_OK;
    *out = (ws_factors){.f = ws_xcalloc((size_t)n, sizeof *out->f)};
    ws_progress_start(&bar, "factors", "modules", n);
    for (int i = 0; i < n && !st; i++) {
        const ws_edit *e = ws_delta_edit(x->d, i);
        if (!e->k && ws_edit_is_product(e)) continue; /* nothing there */
        st = of_site(x, i, &out->f[out->n], err);
        out->n++;
        ws_progress_update(&bar, i + 1, NULL);
        if (!st) st = ws_interrupt_check(err);
    }
    ws_progress_end(&bar);
    if (!st && !out->n) st = ws_fail(err, WS_EFORMAT, "dW holds no factor at any module");
    if (st)
        ws_factors_free(out);
    else
        out->rank = commonest(out);
    return st;
}

void ws_factors_free(ws_factors *f) {
    for (int i = 0; i < f->n; i++) free(f->f[i].a), free(f->f[i].b);
    free(f->f);
    *f = (ws_factors){0};
}
