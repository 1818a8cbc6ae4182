/* src/delta/impl.h - inside of a contrast, for the files of this folder. */
#ifndef WS_DELTA_IMPL_H
#define WS_DELTA_IMPL_H
#include "delta/delta.h"
#include <jansson.h>

/* Factors as the products take them: fp32 where that is the compute type, else rounded to bf16. */
typedef struct ws_delta_factors {
    ws_weight v, u, ut; /* [k, d_in], [d_out, k], [k, d_out]; v.data NULL: not made yet */
    uint16_t *memory;
} ws_delta_factors;
struct ws_delta {
    ws_patch patch; /* first: a contrast is a patch */
    const ws_model *model;
    int n;
    int *site;                 /* [n] model site numbers, ascending */
    ws_edit *edit;             /* [n] */
    float **ut;                /* [n] U transposed [k, d_out], for the product with V x */
    ws_delta_factors *factors; /* [n] */
    int *at_site;              /* [model sites] -> index, -1: untouched */
    json_t *meta;              /* string -> string */
    double weight_norm;        /* < 0: not computed yet */
    ws_safetensors *file;      /* where dense edits lie; NULL: there is none */
};
ws_delta *ws_delta_alloc(const ws_model *m);
/* Takes the edit over (also on failure); sites must come in ascending order. */
ws_status ws_delta_add(ws_delta *d, int site, ws_edit *e, ws_err *err);
/* Metadata of a dW file: `sources`, and what it is and on which base. */
json_t *ws_delta_head(const json_t *sources, const ws_checkpoint *base);
#endif
