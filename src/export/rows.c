#include "export/rows.h"
#include "base/parallel.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>

enum { CHUNK = 64 };

typedef struct piece {
    const ws_site *at;
    const ws_edit *e;
    int add;
    ws_dtype type;
    int64_t r0, first, n;
    char *out;
    ws_rows_sum *part; /* [chunks] */
    char *bad;         /* [chunks] */
} piece;

static void chunk(void *arg, int64_t begin, int64_t end) {
    const piece *p = arg;
    const int64_t d = p->e->d_in, c = begin / CHUNK, rows = end - begin;
    const size_t size = (size_t)ws_dtypes[p->type].bytes;
    float *dw = ws_xmalloc(3 * (size_t)(rows * d) * sizeof *dw), *w = dw + rows * d, *kept = w + rows * d;
    char *stored = ws_xmalloc((size_t)(rows * d) * size);
    ws_rows_sum sum = {0};
    ws_edit_rows(p->e, p->at->w, p->r0 + begin, p->r0 + end, dw);
    if (p->add) ws_weight_rows_f32(p->at->w, p->r0 + begin, rows, w);
    for (int64_t i = 0; i < rows * d; i++) kept[i] = p->add ? w[i] + dw[i] : dw[i];
    ws_export_store(stored, p->type, kept, rows * d);
    ws_dtype_to_f32(kept, stored, p->type, rows * d);
    const int64_t at = (p->r0 + begin) * d; /* the chunk's first element */
    int64_t from = p->first > at ? p->first : at,
            to = p->first + p->n < at + rows * d ? p->first + p->n : at + rows * d;
    for (int64_t i = from - at; i < to - at; i++) {
        double x = (double)dw[i], miss = (p->add ? (double)kept[i] - (double)w[i] : (double)kept[i]) - x;
        sum.full += x * x, sum.lost += miss * miss;
        if (!isfinite(kept[i])) p->bad[c] = 1;
    }
    if (to > from)
        memcpy(p->out + (size_t)(from - p->first) * size, stored + (size_t)(from - at) * size,
               (size_t)(to - from) * size);
    p->part[c] = sum;
    free(dw), free(stored);
}

ws_status ws_export_piece(const ws_site *at, const ws_edit *e, int add, ws_dtype type, int64_t first, int64_t n,
                          void *out, ws_rows_sum *sum, ws_err *err) {
    const int64_t r0 = first / e->d_in, r1 = (first + n + e->d_in - 1) / e->d_in,
                  chunks = (r1 - r0 + CHUNK - 1) / CHUNK;
    piece p = {
        at, e, add, type, r0, first, n, out, ws_xcalloc((size_t)chunks, sizeof *p.part), ws_xcalloc((size_t)chunks, 1)};
    ws_status st = WS_OK;
    ws_parallel_for(r1 - r0, CHUNK, chunk, &p);
    for (int64_t c = 0; c < chunks; c++) {
        sum->full += p.part[c].full, sum->lost += p.part[c].lost;
        if (p.bad[c] && !st)
            st = ws_fail(err, WS_ENONFINITE, "%s: rows %lld..%lld would hold NaN or infinity in %s", at->name,
                         (long long)(r0 + c * CHUNK), (long long)(r0 + (c + 1) * CHUNK - 1), ws_dtypes[type].name);
    }
    free(p.part), free(p.bad);
    return st;
}
