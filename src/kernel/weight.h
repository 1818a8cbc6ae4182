/* src/kernel/weight.h - a read-only matrix W [rows, cols], row-major, in any stored type.
 * Rows need no alignment.  Widening happens while it is packed or in registers; there is no fp32 copy. */
#ifndef WS_KERNEL_WEIGHT_H
#define WS_KERNEL_WEIGHT_H
#include "base/dtype.h"
#include "io/safetensors.h"
typedef struct ws_weight {
    const void *data;
    ws_dtype type;
    int64_t rows, cols;
    size_t row_bytes; /* from one stored row to the next */
    int rope_rows;    /* see ws_tensor: > 0 means stored rows are permuted inside heads of this size */
} ws_weight;

static inline const void *ws_weight_row(const ws_weight *w, int64_t r) {
    if (w->rope_rows) {
        int64_t d = w->rope_rows, t = r % d, half = t / (d / 2), j = t % (d / 2);
        r += 2 * j + half - t;
    }
    return (const char *)w->data + (size_t)r * w->row_bytes;
}
/* A view of fp32 numbers with `ld` floats from row to row. */
static inline ws_weight ws_weight_f32(const float *p, int64_t rows, int64_t cols, int64_t ld) {
    return (ws_weight){p, WS_F32, rows, cols, (size_t)ld * 4, 0};
}
/* From a tensor of 2 dims (or 1: one row); WS_EUNSUPPORTED names a type that no kernel reads. */
ws_status ws_weight_from_tensor(ws_weight *w, const ws_tensor *t, ws_err *err);
/* out[n, cols] = rows r0 .. r0+n-1 widened to fp32. */
void ws_weight_rows_f32(const ws_weight *w, int64_t r0, int64_t n, float *out);
#endif
