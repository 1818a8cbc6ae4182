/* src/adapter/edit.h - an edit of one linear in closed form (design.md, Words):
 *     dW = sum_j diag(s_j) W E_j + U V + D,  db    y = W x + b + alpha (sum_j s_j .* W (E_j x) + U (V x) + D x + db)
 * s_j [d_out] or NULL (ones); E_j identity, diagonal or block-diagonal; U [d_out, k], V [k, d_in]; D [d_out, d_in] or none.
 * Terms are added by the adapters that need them; LoRA, PiSSA, DeLoRA are U V alone.  D alone is the difference of two whole
 * checkpoints that is kept as it is; no adapter makes one. */
#ifndef WS_ADAPTER_EDIT_H
#define WS_ADAPTER_EDIT_H
#include "base/err.h"
#include "kernel/weight.h"
typedef struct ws_edit_term {
    float *s; /* [d_out] or NULL */
    float *
        e; /* E: NULL identity; e_block 1: [d_in] diagonal; e_block b > 1: [d_in/b, b, b] blocks, E_k times column x_k */
    int e_block;
} ws_edit_term;
typedef struct ws_edit {
    int64_t d_out, d_in, k; /* k may be 0 */
    float *u;               /* [d_out, k] */
    float *v;               /* [k, d_in] */
    int n_terms;
    ws_edit_term *term;
    float *db;          /* [d_out] or NULL */
    ws_weight dense;    /* D: F32, BF16 or F16; data NULL: none */
    void *dense_memory; /* D's own memory; NULL: it lies in a file that outlives the edit */
} ws_edit;
void ws_edit_release(ws_edit *e);
/* U V alone: a product of two matrices (and a bias), which needs no W. */
static inline int ws_edit_is_product(const ws_edit *e) { return !e->n_terms && !e->dense.data; }
/* U and V of rank k, zeroed; nothing else yet. */
ws_status ws_edit_alloc(ws_edit *e, int64_t d_out, int64_t d_in, int64_t k, ws_err *err);
/* One more term; s and e are taken over (heap memory), also on failure. */
void ws_edit_add_term(ws_edit *e, float *s, float *E, int e_block);

/* cp p + cn n; either may be NULL, both have one shape.  Factors stand side by side; terms without E are added up, so are
 * terms without s whose E have the same form, and the D of both (F32). */
ws_status ws_edit_combine(ws_edit *out, const ws_edit *p, double cp, const ws_edit *n, double cn, ws_err *err);
/* out [r1 - r0, d_in]: rows of dW in fp32, made from rows of W; terms need w, the rest does not. */
void ws_edit_rows(const ws_edit *e, const ws_weight *w, int64_t r0, int64_t r1, float *out);
/* tr(dWa' dWb) in double.  O((d_out + d_in) k^2) where both are U V alone; else by rows of dW, with terms a pass over W. */
double ws_edit_dot(const ws_edit *a, const ws_edit *b, const ws_weight *w);
/* y [n, d_out] = x dW', x [n, d_in]; and its transpose gx [n, d_in] = gy dW, gy [n, d_out].  Parallel inside. */
void ws_edit_apply(const ws_edit *e, const ws_weight *w, const float *x, int64_t n, float *y);
void ws_edit_apply_t(const ws_edit *e, const ws_weight *w, const float *gy, int64_t n, float *gx);
#endif
