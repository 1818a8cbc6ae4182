/* src/delta/projection.h - products of one dW with many edits of one form, W scaled or turned and nothing beside it, without a
 * pass over W for each: what they need of W and dW is summed up once.
 *     R = diag(s) W:  <R, dW> = sum_o s_o <W_o, dW_o>          ||R||^2 = sum_o s_o^2 ||W_o||^2
 *     R = W E:        <R, dW> = sum_k <E_k, (W' dW)_kk>         ||R||^2 = sum_k tr(E_k' (W' W)_kk E_k) */
#ifndef WS_DELTA_PROJECTION_H
#define WS_DELTA_PROJECTION_H
#include "adapter/edit.h"

typedef struct ws_projection {
    int block;            /* 0: rows; else of E */
    int64_t n;            /* numbers in each */
    double *dot, *square; /* NULL: the form is another one */
} ws_projection;
/* Bytes that a projection for edits like `form` takes; 0: they have another form. */
int64_t ws_projection_bytes(const ws_edit *form);
void ws_projection_make(ws_projection *p, const ws_edit *form, const ws_edit *dw, const ws_weight *w);
/* <r, dW> / ||r||; 0 where r is 0. */
double ws_projection_along(const ws_projection *p, const ws_edit *r);
void ws_projection_free(ws_projection *p);
#endif
