#include "delta/projection.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The only part of an edit that is one term with rows alone or columns alone; NULL: it is another form. */
static const ws_edit_term *only_term(const ws_edit *e) {
    if (e->n_terms != 1 || e->k || e->dense.data) return NULL;
    return !e->term[0].s == !e->term[0].e ? NULL : &e->term[0];
}

int64_t ws_projection_bytes(const ws_edit *form) {
    const ws_edit_term *t = only_term(form);
    return t ? 2 * 8 * (t->s ? form->d_out : form->d_in * t->e_block) : 0;
}

void ws_projection_make(ws_projection *p, const ws_edit *form, const ws_edit *dw, const ws_weight *w) {
    enum { ROWS = 16 };
    const ws_edit_term *t = only_term(form);
    const int64_t d = form->d_in, m = form->d_out;
    *p = (ws_projection){0};
    if (!t) return;
    p->block = t->s ? 0 : t->e_block, p->n = t->s ? m : d * t->e_block;
    p->dot = ws_xcalloc((size_t)(2 * p->n), sizeof *p->dot), p->square = p->dot + p->n;
    float *x = ws_xmalloc((size_t)(2 * ROWS * d) * sizeof *x), *y = x + ROWS * d;
    for (int64_t r0 = 0; r0 < m; r0 += ROWS) {
        const int64_t n = m - r0 < ROWS ? m - r0 : ROWS, b = p->block;
        ws_weight_rows_f32(w, r0, n, x), ws_edit_rows(dw, w, r0, r0 + n, y);
        for (int64_t r = 0; r < n; r++) {
            const float *a = x + r * d, *c = y + r * d;
            for (int64_t i = 0; i < d && !b; i++)
                p->dot[r0 + r] += (double)a[i] * (double)c[i], p->square[r0 + r] += (double)a[i] * (double)a[i];
            for (int64_t i = 0; i < d && b; i++) /* row i of its block */
                for (int64_t j = 0, k = i / b * b; j < b; j++) {
                    p->dot[i * b + j] += (double)a[i] * (double)c[k + j];
                    p->square[i * b + j] += (double)a[i] * (double)a[k + j];
                }
        }
    }
    free(x);
}

double ws_projection_along(const ws_projection *p, const ws_edit *r) {
    const ws_edit_term *t = &r->term[0];
    const int64_t b = p->block;
    double dot = 0, square = 0;
    for (int64_t i = 0; i < p->n; i++) dot += (double)(b ? t->e : t->s)[i] * p->dot[i];
    for (int64_t i = 0; i < p->n && !b; i++) square += (double)t->s[i] * (double)t->s[i] * p->square[i];
    for (int64_t k = 0; b && k < p->n; k += b * b) /* sum_j E_ij (sum_l B_il E_lj) */
        for (int64_t i = 0; i < b; i++)
            for (int64_t l = 0; l < b; l++)
                for (int64_t j = 0; j < b; j++)
                    square += p->square[k + i * b + l] * (double)t->e[k + i * b + j] * (double)t->e[k + l * b + j];
    return square > 0 ? dot / sqrt(square) : 0;
}

void ws_projection_free(ws_projection *p) {
    free(p->dot); /* one piece of memory */
    *p = (ws_projection){0};
}
