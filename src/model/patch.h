/* src/model/patch.h - what hangs at a site.
 * Adapters in training, contrasts (dW), hidden-state methods: all are patches with this one interface.  A patch never sees
 * rows whose alpha is 0: the model gathers the tokens of the other rows, so alpha = 0 is the base bit for bit. */
#ifndef WS_MODEL_PATCH_H
#define WS_MODEL_PATCH_H
#include "base/arena.h"
#include "kernel/compute.h"

typedef enum ws_site_kind { WS_SITE_LINEAR, WS_SITE_BLOCK } ws_site_kind;
typedef struct ws_site {
    const char *name; /* Hugging Face module name: "model.layers.12.mlp.up_proj", "model.layers.12" */
    ws_site_kind kind;
    int layer;
    int64_t d_in, d_out; /* block: both the hidden size */
    const ws_weight *w;  /* linear: [d_out, d_in]; block: NULL */
    const float *bias;   /* [d_out] or NULL */
} ws_site;

typedef struct ws_patch ws_patch;

/* One call at one linear site, for the tokens of the rows that the patch is on for.  The order at a site:
 *     x -> input() of the patches that have one -> W, and W on the rows that inputs() wrote -> product() -> + b -> linear() */
typedef struct ws_patch_call {
    int site;
    const ws_site *at;
    int64_t n;      /* tokens */
    const float *x; /* [n, d_in], contiguous: the linear's own input, whatever input() made of it */
    float *y;       /* [n, d_out]: in product() W x, in linear() W x + b and what earlier patches did; NULL before */
    const float *alpha; /* [n] strength of each token's row */
    const float
        *base; /* linear(): [n, d_out] W x of the own x, without bias and patches, where wants_base() asks, else NULL */
    const float *wx;   /* linear(): [n_inputs * n, d_out] W times the rows of inputs(), else NULL */
    ws_arena *scratch; /* rewound after the call */
    float *saved;      /* training: saved_floats() floats that come back in backward, else NULL */
} ws_patch_call;

typedef struct ws_patch_grad {
    int site;
    const ws_site *at;
    int64_t n;
    const float *x; /* [n, d_in]: the linear's own input, whatever input() made of it */
    float *gy;      /* [n, d_out] */
    float *gx;      /* [n, d_in]: gy W on entry, the patch adds its part, or turns it where it has input(); NULL when
                       nothing below needs it and needs_gx() does not ask */
    const float *saved;
    ws_arena *scratch;
    const float *beside; /* linear_grad(): H of beside_gx(), whose part is in gx already; NULL: that was not asked */
} ws_patch_grad;

/* What is NULL is not done. */
typedef struct ws_patch_ops {
    const char *name;
    int (*hangs_at)(const ws_patch *p, int site);
    void (*linear)(ws_patch *p, const ws_patch_call *c);
    /* y += H V, H [n, k] with alpha in it, V [k, d_out]: all that linear() does, bit for bit, told before there is a y, so
     * that the product takes it along where it can; c's scratch lives until then.  The rows of y are the caller's to say. */
    void (*beside)(ws_patch *p, const ws_patch_call *c, ws_beside *out);
    int (*thin)(const ws_patch *p, int site); /* 0: here linear() does more; NULL: it never does */
    /* Rows of the patch's own that W multiplies in the same pass over its weights, n_inputs of them a token: input j of
     * token t goes to xe[j * n + t], [n_inputs * n, d_in]. */
    int (*n_inputs)(const ws_patch *p, int site);
    void (*inputs)(ws_patch *p, const ws_patch_call *c, float *xe);
    int (*wants_base)(const ws_patch *p, int site);
    /* x := transformed hidden state [n, hidden] after block `site`; alpha [n].  NULL: no block sites. */
    void (*block)(ws_patch *p, int site, int64_t n, float *h, const float *alpha, ws_arena *scratch);
    /* x [n, d_in] in place, before W.  Several patches add to it; one that replaces it (an adapter in training) hangs alone
     * at a site and at alpha 1. */
    void (*input)(ws_patch *p, const ws_patch_call *c, float *x);
    int (*turns)(const ws_patch *p, int site); /* 0: input() does nothing at this site; NULL: it does everywhere */
    void (*product)(ws_patch *p,
                    const ws_patch_call *c); /* y = W x in place, before the bias; hangs alone, at alpha 1 */
    /* training (NULL: not trainable); alpha is 1 */
    int64_t (*saved_floats)(const ws_patch *p, int site, int64_t n);
    /* BEFORE gx = gy W: parameter gradients that need the raw gy, then gy may be changed in place (row scales). */
    void (*linear_gy)(ws_patch *p, const ws_patch_grad *g);
    /* AFTER gx = gy W: accumulate parameter gradients, gx +=, or gx turned in place where the patch has input(). */
    void (*linear_grad)(ws_patch *p, const ws_patch_grad *g);
    /* BEFORE gx = gy W: likewise all rows of gx += H V, all that linear_grad() adds to it. */
    void (*beside_gx)(ws_patch *p, const ws_patch_grad *g, ws_beside *out);
    int (*needs_gx)(const ws_patch *p, int site); /* gy W is made for this patch even where nothing below needs it */
} ws_patch_ops;

struct ws_patch {
    const ws_patch_ops *ops; /* first member of every patch */
};
#endif
