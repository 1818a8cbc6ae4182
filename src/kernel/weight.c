#include "kernel/weight.h"

ws_status ws_weight_from_tensor(ws_weight *w, const ws_tensor *t, ws_err *err) {
    if (t->dims < 1 || t->dims > 2)
        return ws_fail(err, WS_ESHAPE, "%s: has %d dimensions, a matrix has 2", t->name, t->dims);
    if (!ws_dtypes[t->type].is_weight)
        return ws_fail(err, WS_EUNSUPPORTED, "%s: stored as %s, which the kernels cannot multiply", t->name,
                       ws_dtypes[t->type].name);
    int64_t rows = t->dims == 2 ? t->dim[0] : 1, cols = t->dim[t->dims - 1];
    *w = (ws_weight){t->data, t->type, rows, cols, ws_dtype_bytes(t->type, cols), t->rope_rows};
    return WS_OK;
}

void ws_weight_rows_f32(const ws_weight *w, int64_t r0, int64_t n, float *out) {
    for (int64_t r = 0; r < n; r++) ws_dtype_to_f32(out + r * w->cols, ws_weight_row(w, r0 + r), w->type, w->cols);
}
