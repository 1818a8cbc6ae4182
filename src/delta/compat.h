/* src/delta/compat.h - what the program of Fierro & Roger makes of the same two adapters, in BF16 (adapters.md 3.6):
 *     Wp, Wn  each adapter merged by PEFT's rules into W, rounded to BF16
 *     dW_ref = (Wp - W) - (Wn - W), every difference rounded        W + alpha dW_ref, rounded, is what it runs
 * Every number of dW_ref is a whole multiple of a step of W, so most of a small dW is lost.  A base of another type is rounded
 * to BF16 first, as that program loads it. */
#ifndef WS_DELTA_COMPAT_H
#define WS_DELTA_COMPAT_H
#include "adapter/adapter.h"

/* out [r1 - r0, d_in]: rows of the weight at model site `site` with the adapter merged; W itself where it has none there. */
ws_status ws_compat_merged(const ws_model *m, const ws_adapter *a, int site, int64_t r0, int64_t r1, float *out,
                           ws_err *err);
/* dW_ref [d_out, d_in] at a model site. */
ws_status ws_compat_dw(const ws_model *m, const ws_adapter *pos, const ws_adapter *neg, int site, float *out,
                       ws_err *err);

typedef struct ws_compat_part {
    char *kind; /* "mlp.down_proj"; NULL: all */
    int sites;
    double w, dw;   /* Frobenius norms of W and of the exact dW */
    double lost;    /* ||dW_ref - dW|| / ||dW||; NaN where dW is 0 */
    double applied; /* the same of what W + dW_ref holds beyond W */
} ws_compat_part;
/* The kinds of modules in order of appearance, then all together: n parts, heap memory.  only [model sites]: 0 leaves a site
 * out; NULL: none. */
ws_status ws_compat_loss(ws_compat_part **out, int *n, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                         const char *only, ws_err *err);
void ws_compat_free(ws_compat_part *p, int n);
#endif
