/* src/export/rows.h - a piece of W + dW, or of dW alone, as it goes into a file: rows made in little memory. */
#ifndef WS_EXPORT_ROWS_H
#define WS_EXPORT_ROWS_H
#include "export/export.h"

typedef struct ws_rows_sum {
    double full, lost; /* ||dW||^2 and what rounding takes of it, over the elements of the piece */
} ws_rows_sum;
/* Elements [first, first + n) of [d_out, d_in]: W + dW (add) or dW, rounded once to `type`, into out.  NaN or infinity,
 * also where a type is too narrow: WS_ENONFINITE.  Parallel inside; the bits do not depend on how it is cut. */
ws_status ws_export_piece(const ws_site *at, const ws_edit *e, int add, ws_dtype type, int64_t first, int64_t n,
                          void *out, ws_rows_sum *sum, ws_err *err);
#endif
