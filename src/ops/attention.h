/* src/ops/attention.h - causal softmax attention with grouped key/value heads, forward and backward (models.md 4.3, 8.8).
 *     s_ij = scale q_i . k_j for j <= i (absolute positions),  p = softmax(s),  o_i = sum_j p_ij v_j
 * Query head a reads key/value head a / (heads / kv_heads).
 *
 * Online softmax over key blocks at absolute multiples of WS_KV_PAGE, so the bits of o_i depend on q_i and on the keys and
 * values at positions 0 .. i alone: prefill in any split = decode = training, in any batch, with any number of threads.
 * Every head_dim works; threads run over (row, kv head or all of them, block of queries) when called outside a
 * parallel region. */
#ifndef WS_OPS_ATTENTION_H
#define WS_OPS_ATTENTION_H
#include "ops/kv.h"

typedef struct ws_attn_shape {
    int heads, kv_heads, head_dim;
    float scale;      /* head_dim^-0.5 */
    int64_t ldq, ldo; /* floats from token to token in q (and gq) and in o (and go); >= heads * head_dim */
    int64_t ldk;      /* the same for k and v (and gk, gv); >= kv_heads * head_dim */
} ws_attn_shape;

/* One sequence of the batch: n query tokens at positions pos .. pos+n-1. */
typedef struct ws_attn_row {
    int64_t n, pos;
    const float *q;     /* [n, heads, head_dim], after RoPE */
    float *o;           /* [n, heads, head_dim], written */
    float *const *page; /* the sequence's page table; NULL: the row has no past outside k and v */
    /* Without pages: [pos + n, kv_heads, head_dim], k after RoPE.  With pages: [n, kv_heads, head_dim], the tokens' own,
     * which are stored in the pages on the way; NULL: they are there already (ws_kv_store). */
    const float *k, *v;
    float *lse; /* [n, heads] log sum exp of each row of scores, for backward; NULL: not wanted */
} ws_attn_row;

/* `kv` and `layer` say where the layer lies inside pages; kv may be NULL when no row has pages. */
void ws_attention(const ws_attn_shape *s, const ws_kv_shape *kv, int layer, const ws_attn_row *row, int n_rows);

/* One sequence of a training batch (plain k and v), after the forward above with lse: n query tokens behind pos others. */
typedef struct ws_attn_grad {
    int64_t n, pos;
    const float *q, *o, *lse; /* of the n */
    const float *k, *v;       /* [pos + n, kv_heads, head_dim] */
    const float *go;          /* [n, heads, head_dim] */
    float *gq, *gk, *gv;      /* [n], [pos + n] twice: written, not added to; gk and gv are summed over the query heads
                                 that share a kv head */
} ws_attn_grad;
void ws_attention_backward(const ws_attn_shape *s, const ws_attn_grad *row, int n_rows);

/* For the two files of attention: kt [d, 32] = n rows of k [n, d] transposed; columns from n on are 0. */
void ws_attn_transpose(float *kt, const float *k, int64_t ld, int64_t n, int64_t d);
#endif
