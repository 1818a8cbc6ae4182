/* src/delta/subspace.h - where a dW lives in the weights that it changes (pipeline.md 4).
 *     W = U S V', r = min(d_out, d_in):  share of ||U' dW V||^2 in the block of the k largest singular values, k = max(1,
 *     round(0.1 r)), against k^2 / r^2, which a random dW has; and for linears that write into the residual (o_proj,
 *     down_proj, out_proj) the share of ||dW||^2 whose output lies in the weakest right singular vectors of the LM head,
 *     k = max(1, round(0.01 r)) of r = min(vocabulary, hidden), against k / r. */
#ifndef WS_DELTA_SUBSPACE_H
#define WS_DELTA_SUBSPACE_H
#include "delta/delta.h"

typedef struct ws_subspace_site {
    int site;               /* of the model */
    double norm, norm_w;    /* ||dW||, ||W|| */
    int64_t r, k;           /* singular values, and those of the block */
    double share, null;     /* NaN: dW is 0 */
    int64_t head_r, head_k; /* 0: it does not write into the residual */
    double head_share, head_null;
} ws_subspace_site;

typedef struct ws_subspace_options {
    double top, weak; /* 0.1, 0.01; 0 .. 1 */
} ws_subspace_options;
/* [n] in the order of the dW's sites; the caller frees.  Through eigenvectors of Gram matrices in double: singular values
 * below 1e-7 of the largest count as none. */
ws_status ws_subspace(ws_subspace_site **out, const ws_delta *d, const ws_subspace_options *o, ws_err *err);
/* Seconds that it will take about, from a short trial of this machine. */
double ws_subspace_estimate(const ws_delta *d);
#endif
