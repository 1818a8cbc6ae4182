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
    size_t row_bytes;              /* from one stored row to the next */
    ws_order row_order, col_order; /* of a GGUF, see ws_tensor: the products take x and give y in Hugging Face order */
} ws_weight;

/* Row r as it is stored: its columns stand in the order of `col_order`. */
static inline const void *ws_weight_row(const ws_weight *w, int64_t r) {
    return (const char *)w->data + (size_t)ws_order_at(w->row_order, r) * w->row_bytes;
}
/* A view of fp32 numbers with `ld` floats from row to row. */
static inline ws_weight ws_weight_f32(const float *p, int64_t rows, int64_t cols, int64_t ld) {
    return (ws_weight){.data = p, .type = WS_F32, .rows = rows, .cols = cols, .row_bytes = (size_t)ld * 4};
}
/* From a tensor of 2 dims (or 1: one row); WS_EUNSUPPORTED names a type that no kernel reads. */
ws_status ws_weight_from_tensor(ws_weight *w, const ws_tensor *t, ws_err *err);
/* out[n, cols] = rows r0 .. r0+n-1 widened to fp32, rows and columns in Hugging Face order. */
void ws_weight_rows_f32(const ws_weight *w, int64_t r0, int64_t n, float *out);
/* n numbers from Hugging Face order into the order that they are stored in, and back. */
void ws_order_store(ws_order o, const float *x, float *stored, int64_t n);
void ws_order_load(ws_order o, const float *stored, float *x, int64_t n);
#endif
