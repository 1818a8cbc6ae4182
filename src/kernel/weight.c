#include "kernel/weight.h"
#include "kernel/kernel.h"
#include <stdlib.h>

ws_status ws_weight_from_tensor(ws_weight *w, const ws_tensor *t, ws_err *err) {
    if (t->dims < 1 || t->dims > 2)
        return ws_fail(err, WS_ESHAPE, "%s: has %d dimensions, a matrix has 2", t->name, t->dims);
    if (!ws_dtypes[t->type].is_weight)
        return ws_fail(err, WS_EUNSUPPORTED, "%s: stored as %s, which the kernels cannot multiply", t->name,
                       ws_dtypes[t->type].name);
    if (t->stored) return ws_fail(err, WS_EUNSUPPORTED, "%s: its values are stored changed, as no matrix is", t->name);
    int64_t rows = t->dims == 2 ? t->dim[0] : 1, cols = t->dim[t->dims - 1];
    *w = (ws_weight){t->data, t->type, rows, cols, ws_dtype_bytes(t->type, cols), t->row_order, t->col_order};
    return WS_OK;
}

/* The numbers that move as one from place i on. */
static int64_t run(ws_order o, int64_t i, int64_t n) { return !o.a ? n : i < o.from ? o.from : o.unit; }

void ws_order_store(ws_order o, const float *x, float *stored, int64_t n) {
    for (int64_t i = 0, k; i < n; i += k) {
        k = run(o, i, n);
        memcpy(stored + ws_order_at(o, i), x + i, (size_t)k * sizeof *x);
    }
}

void ws_order_load(ws_order o, const float *stored, float *x, int64_t n) {
    for (int64_t i = 0, k; i < n; i += k) {
        k = run(o, i, n);
        memcpy(x + i, stored + ws_order_at(o, i), (size_t)k * sizeof *x);
    }
}

void ws_weight_rows_f32(const ws_weight *w, int64_t r0, int64_t n, float *out) {
    float *stored = w->col_order.a ? ws_xmalloc((size_t)w->cols * sizeof *stored) : NULL;
    for (int64_t r = 0; r < n; r++, out += w->cols) {
        ws_k.widen(stored ? stored : out, ws_weight_row(w, r0 + r), w->type, w->cols);
        if (stored) ws_order_load(w->col_order, stored, out, w->cols);
    }
    free(stored);
}
