/* src/ops/delta.h - the gated delta rule (models.md 5.2.3-5.2.7, 5.3, 8.13, 8.15).  For a value head, with keys and
 * queries of its key head after the L2 norm (q also times dk^-0.5), and decay g, write strength beta of the token:
 *     S' = exp(g_t) S_{t-1}     d_t = beta_t (v_t - S'^T k_t)     S_t = S' + k_t d_t^T     o_t = S_t^T q_t
 *
 * ONE form serves prefill in any split, decode and training, so they agree bit for bit: chunks at absolute multiples of
 * `chunk` positions, and inside a chunk every row from the rows before it and from S0, the state where the chunk begins:
 *     d_i = beta_i (v_i - e_i S0^T k_i) - sum_{j<i} beta_i (k_i . k_j) G_ij d_j       e_i = exp(g_0 + ... + g_i)
 *     o_i = e_i S0^T q_i + sum_{j<=i} (q_i . k_j) G_ij d_j                            G_ij = exp(g_{j+1} + ... + g_i)
 * S is written once, when a chunk is full: S1 = e_C S0 + sum_j G_Cj k_j d_j^T.  A sequence in the middle of a chunk is
 * S0 plus the chunk's open rows (k, d, g); decode reads S0 once and writes one row.
 *
 * Forks may share S: it changes only where ws_delta_advances says so, and then goes to another place if the caller wants
 * (`to` != `from`).  Open rows are written by every call, so a fork copies them (ws_delta_open_copy).  Taking back tokens of
 * the open chunk is exact and costs nothing: go on with a smaller pos.  S0 of chunk 0 is zero by definition and never read:
 * a new sequence needs no clearing. */
#ifndef WS_OPS_DELTA_H
#define WS_OPS_DELTA_H
#include <stddef.h>
#include <stdint.h>

enum {
    WS_DELTA_CHUNK = 16, /* divides WS_KV_PAGE, so a shared prefix of whole pages has no open rows */
    WS_DELTA_CHUNK_MAX = 64
};

typedef struct ws_delta_shape {
    int key_heads, value_heads; /* Hk, Hv = r Hk; value head j reads key head j / r */
    int dk, dv;                 /* numbers in a head */
    int chunk;                  /* positions in a chunk; 0: WS_DELTA_CHUNK, as in every model; at most _MAX */
} ws_delta_shape;

/* Channels of the convolution: [q: Hk, dk | k: Hk, dk | v: Hv, dv]. */
static inline int64_t ws_delta_channels(const ws_delta_shape *s) {
    return 2 * (int64_t)s->key_heads * s->dk + (int64_t)s->value_heads * s->dv;
}
static inline int ws_delta_chunk(const ws_delta_shape *s) { return s->chunk ? s->chunk : WS_DELTA_CHUNK; }

/* ---------- state of one sequence in one layer: two pieces of plain memory ---------- */
size_t ws_delta_s_floats(const ws_delta_shape *s);    /* S of all value heads */
size_t ws_delta_open_floats(const ws_delta_shape *s); /* the open rows of all heads */
/* Whether n tokens at positions pos .. complete a chunk, so that S changes. */
static inline int ws_delta_advances(const ws_delta_shape *s, int64_t pos, int64_t n) {
    return pos / ws_delta_chunk(s) != (pos + n) / ws_delta_chunk(s);
}
/* The open rows of a sequence of length pos (there are pos % chunk). */
void ws_delta_open_copy(const ws_delta_shape *s, float *to, const float *from, int64_t pos);
/* S is stored in panels of 32 columns; these two speak of plain [Hv, dk, dv], as transformers has it. */
void ws_delta_s_get(const ws_delta_shape *s, const float *state, float *plain);
void ws_delta_s_set(const ws_delta_shape *s, float *state, const float *plain);
/* plain [Hv, dk, dv] = the state after the open rows of a sequence of length pos: for looking and for tests. */
void ws_delta_s_now(const ws_delta_shape *s, const float *state, const float *open, int64_t pos, float *plain);

/* One sequence of the batch: n tokens at positions pos .. pos+n-1. */
typedef struct ws_delta_row {
    int64_t n, pos;
    const float *c;        /* [n, channels] after convolution and silu: q | k | v */
    const float *g, *beta; /* [n, Hv] (ops/decay.h) */
    float *o;              /* [n, Hv, dv], written */
    const float *from;     /* S at the last multiple of chunk <= pos; not read while pos < chunk */
    float *to;   /* S at the last multiple of chunk <= pos+n: written where ws_delta_advances(pos, n), else `from`
                              stays the state.  May be `from`.  NULL (training): not kept */
    float *open; /* open rows, read and brought up to date; NULL: pos is a multiple of chunk, not kept */
} ws_delta_row;
/* Threads run over (row, key head) when called outside a parallel region. */
void ws_delta_forward(const ws_delta_shape *s, const ws_delta_row *row, int n_rows);

/* One whole sequence of a training batch, from position 0.  States and d are computed again from c, g and beta: the
 * tape keeps nothing of theirs. */
typedef struct ws_delta_grad {
    int64_t n;
    const float *c, *g, *beta;
    const float *go;   /* [n, Hv, dv] */
    float *gc;         /* [n, channels], written: gradient of c; may not be c */
    float *gg, *gbeta; /* [n, Hv], written */
} ws_delta_grad;
void ws_delta_backward(const ws_delta_shape *s, const ws_delta_grad *row, int n_rows);
#endif
