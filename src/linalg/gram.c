/* src/linalg/gram.c - Gram matrices of stored weights in double, and their largest singular triplets.
 * The Gram matrix is cut into tiles and each tile is summed by one task in one order, so the bits do not depend on threads.
 * Squaring W costs half of the digits, which double has: the triplets' own product is right to about 1e-12 of the largest
 * singular value, where a method that iterates on W stops at its tolerance on the flat spectra of trained weights. */
#include "base/parallel.h"
#include "linalg/blas.h"
#include "linalg/linalg.h"
#include "linalg/sign.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 256, CHUNK = 512 };

/* Rows r0 .. r0+n-1 as double. */
static void widen(const ws_weight *w, int64_t r0, int64_t n, double *out) {
    float *row = ws_xmalloc((size_t)w->cols * sizeof *row);
    for (int64_t i = 0; i < n; i++, out += w->cols) {
        ws_weight_rows_f32(w, r0 + i, 1, row);
        for (int64_t j = 0; j < w->cols; j++) out[j] = (double)row[j];
    }
    free(row);
}

typedef struct work {
    const ws_weight *w;
    double *g, *rows; /* rows: [n, cols] of W from r0 on */
    const double *x;
    int64_t n, r0, k;
} work;

static void widen_rows(void *arg, int64_t begin, int64_t end) {
    const work *p = arg;
    widen(p->w, p->r0 + begin, end - begin, p->rows + begin * p->w->cols);
}

/* g [columns of the tile, columns up to its end] += rows' rows */
static void add_columns(void *arg, int64_t begin, int64_t end) {
    const work *p = arg;
    int64_t d = p->w->cols;
    ws_dgemm(1, 0, end - begin, end, p->n, p->rows + begin, d, p->rows, d, 1, p->g + begin * d, d);
}

ws_status ws_gram_cols(const ws_weight *w, double *g, ws_err *err) {
    work p = {.w = w, .g = g, .rows = ws_try_alloc((size_t)(CHUNK * w->cols), sizeof(double))};
    if (!p.rows) return ws_fail(err, WS_ENOMEM, "out of memory for %d rows of %lld numbers", CHUNK, (long long)w->cols);
    memset(g, 0, (size_t)(w->cols * w->cols) * sizeof *g);
    for (p.r0 = 0; p.r0 < w->rows; p.r0 += CHUNK) {
        p.n = w->rows - p.r0 < CHUNK ? w->rows - p.r0 : CHUNK;
        ws_parallel_for(p.n, 32, widen_rows, &p);
        ws_parallel_for(w->cols, TILE, add_columns, &p);
    }
    free(p.rows);
    return WS_OK;
}

/* One tile of rows against every tile up to it. */
static void row_tiles(void *arg, int64_t begin, int64_t end) {
    const work *p = arg;
    int64_t d = p->w->cols, ld = p->w->rows;
    double *mine = ws_xmalloc((size_t)((end - begin) * d) * sizeof *mine),
           *other = ws_xmalloc((size_t)(TILE * d) * sizeof *other);
    widen(p->w, begin, end - begin, mine);
    for (int64_t j = 0; j < end; j += TILE) {
        int64_t n = j == begin ? end - begin : TILE;
        const double *b = mine;
        if (j != begin) widen(p->w, j, n, other), b = other;
        ws_dgemm(0, 1, end - begin, n, d, mine, d, b, d, 0, p->g + begin * ld + j, ld);
    }
    free(mine), free(other);
}

ws_status ws_gram_rows(const ws_weight *w, double *g, ws_err *err) {
    (void)err;
    ws_parallel_for(w->rows, TILE, row_tiles, &(work){.w = w, .g = g});
    return WS_OK;
}

/* g [rows, k] = W x', x [k, cols] */
static void times_rows(void *arg, int64_t begin, int64_t end) {
    const work *p = arg;
    int64_t d = p->w->cols;
    double *rows = ws_xmalloc((size_t)((end - begin) * d) * sizeof *rows);
    widen(p->w, begin, end - begin, rows);
    ws_dgemm(0, 1, end - begin, p->k, d, rows, d, p->x, d, 0, p->g + begin * p->k, p->k);
    free(rows);
}

/* g [k, cols] = x W, x [k, rows]: one chain over the rows */
static void rows_times(const ws_weight *w, const double *x, int64_t k, double *g) {
    double *rows = ws_xmalloc((size_t)(CHUNK * w->cols) * sizeof *rows);
    for (int64_t r0 = 0; r0 < w->rows; r0 += CHUNK) {
        work p = {.w = w, .rows = rows, .r0 = r0, .n = w->rows - r0 < CHUNK ? w->rows - r0 : CHUNK};
        ws_parallel_for(p.n, 32, widen_rows, &p);
        ws_dgemm(0, 0, k, w->cols, p.n, x + r0, w->rows, rows, w->cols, r0 > 0, g, w->cols);
    }
    free(rows);
}

/* Top right vectors e [r, cols]: y = W e' [rows, r] = u diag(s) z, vt = z e.  On the side of the rows alike. */
ws_status ws_weight_svd(const ws_weight *w, int64_t r, double *u, double *s, double *vt, ws_err *err) {
    int64_t m = w->rows, n = w->cols, d = m < n ? m : n;
    WS_ASSERT(r > 0 && r <= d);
    double *g = ws_try_alloc((size_t)(d * d), sizeof *g), *e = ws_try_alloc((size_t)(r * d), sizeof *e),
           *y = ws_try_alloc((size_t)(r * (m > n ? m : n)), sizeof *y), *z = ws_try_alloc((size_t)(r * r), sizeof *z);
    ws_status st = WS_OK;
    if (!g || !e || !y || !z)
        st = ws_fail(err, WS_ENOMEM, "out of memory for the singular vectors of a matrix [%lld, %lld]", (long long)m,
                     (long long)n);
    if (!st) st = m < n ? ws_gram_rows(w, g, err) : ws_gram_cols(w, g, err);
    if (!st) st = ws_eigen(g, d, r, s, e, err);
    if (!st && m < n) {
        rows_times(w, e, r, y); /* [r, cols] */
        st = ws_svd(y, r, n, z, s, vt, err);
        if (!st) ws_dgemm(1, 0, m, r, r, e, m, z, r, 0, u, r);
    } else if (!st) {
        ws_parallel_for(m, TILE, times_rows, &(work){.w = w, .g = y, .x = e, .k = r}); /* [rows, r] */
        st = ws_svd(y, m, r, u, s, z, err);
        if (!st) ws_dgemm(0, 0, r, n, r, z, r, e, n, 0, vt, n);
    }
    if (!st) ws_fix_signs(u, m, vt, n, r);
    free(g), free(e), free(y), free(z);
    return st;
}
