/* src/export/factors.h - dW of every site as B A: exactly, where the edit is U V alone, else its best approximation of a given
 * rank. */
#ifndef WS_EXPORT_FACTORS_H
#define WS_EXPORT_FACTORS_H
#include "export/export.h"

typedef struct ws_factor {
    int site; /* model site number */
    int64_t rank;
    float *a, *b; /* [rank, d_in], [d_out, rank] */
} ws_factor;
typedef struct ws_factors {
    int n;
    ws_factor *f;
    int64_t rank; /* the commonest of them */
} ws_factors;
/* Refuses edits that no product of two matrices can be, and those with terms when x->rank is 0. */
ws_status ws_export_check_factors(ws_export *x, ws_err *err);
/* Fills x->loss, and x->lossy when something was cut off. */
ws_status ws_export_factors(ws_export *x, ws_factors *out, ws_err *err);
void ws_factors_free(ws_factors *f);
#endif
