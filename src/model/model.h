/* src/model/model.h - frozen weights, the sites where patches hang, and forward over packed rows.
 *     checkpoint -> [model] -> tokens -> ...
 * Weights are read-only and alpha is an argument: every row (sequence) of a batch brings its own strength for every patch,
 * so base and steered rows run in one batch and share one pass over the weights. */
#ifndef WS_MODEL_MODEL_H
#define WS_MODEL_MODEL_H
#include "base/arena.h"
#include "io/checkpoint.h"
#include "kernel/weight.h"
#include "model/patch.h"

typedef struct ws_model ws_model;
/* Dispatches on model_type to a family; binds and shape-checks every tensor.  The checkpoint must outlive the model. */
ws_status ws_model_open(ws_model **out, const ws_checkpoint *c, ws_err *err);
void ws_model_free(ws_model *m);

typedef struct ws_dims {
    int layers, hidden, ffn, heads, kv_heads, head_dim;
    int64_t vocab; /* rows of the LM head; may exceed the tokenizer's size */
    int max_pos;
    int n_attention, n_delta; /* layers with full attention, layers with the gated delta rule */
} ws_dims;
const ws_dims *ws_model_dims(const ws_model *m);
const char *ws_model_family(const ws_model *m);         /* "llama" */
const struct ws_arch *ws_model_arch(const ws_model *m); /* the whole description, family/family.h */
const ws_checkpoint *ws_model_checkpoint(const ws_model *m);
int64_t ws_model_params(const ws_model *m); /* of the text model, tied matrices once */

/* Sites are numbered: first every adaptable linear in layer order (within a layer the order of named_modules: q,k,v,o or
 * out_proj, in_proj_qkv, z, b, a; then gate,up,down), then one block site per layer ("model.layers.12"). */
int ws_model_n_sites(const ws_model *m);
const ws_site *ws_model_site(const ws_model *m, int site);
int ws_model_find_site(const ws_model *m, const char *name); /* "model.layers.12.mlp.up_proj"; -1: none */

/* ---------- state: what many sequences remember ---------- */
/* Attention layers keep keys and values of every token, in pages that sequences share until one of them writes.  Layers of
 * the delta rule keep one state per sequence, which goes forwards only: what it was at an earlier length is gone. */
typedef struct ws_state ws_state;
ws_status ws_state_new(ws_state **out, const ws_model *m, ws_err *err);
void ws_state_free(ws_state *s);
int ws_seq_new(ws_state *s); /* an empty sequence; ids are reused after ws_seq_free */
void ws_seq_free(ws_state *s, int seq);
/* 1 when the first `len` positions can be had by themselves: always without delta layers; with them for len = 0 and for
 * the whole length, so who shares a beginning forks when the sequence is exactly that long. */
int ws_seq_holds(const ws_state *s, int seq, int len);
/* A new sequence that shares the first `len` positions, copy on write.  BUG where ws_seq_holds is 0. */
int ws_seq_fork(ws_state *s, int seq, int len);
void ws_seq_truncate(ws_state *s, int seq, int len); /* forget positions >= len; BUG where ws_seq_holds is 0 */
int ws_seq_len(const ws_state *s, int seq);
size_t ws_state_bytes(const ws_state *s);
/* The trunk: the blocks below `layer`.  Sequences with the same tokens agree there, bit for bit, whatever hangs above: base,
 * +alpha, -alpha, other methods.  A state with a trunk keeps with every token what enters block `layer` as well, and a row
 * may then leave the trunk to another sequence (ws_forward_like).  Before the first token; 0: none. */
void ws_state_trunk(ws_state *s, const ws_model *m, int layer);
int64_t ws_model_trunk_bytes(const ws_model *m); /* of a token */
/* The lowest layer at which one of them hangs; without patches the number of layers. */
int ws_patches_lowest(const ws_model *m, ws_patch *const *patch, int n_patches);
/* What one more token, and one more sequence beside its tokens, takes in a state: bytes. */
int64_t ws_model_token_bytes(const ws_model *m);
int64_t ws_model_seq_bytes(const ws_model *m);

/* ---------- forward ---------- */
typedef struct ws_row {
    int seq;            /* sequence in the state, extended by n tokens; -1: a prefix-less row whose keys are not kept */
    const int32_t *ids; /* [n] new tokens */
    int n;
    int n_out; /* final hidden states are returned for the last n_out of these tokens (0..n) */
} ws_row;

typedef struct ws_batch {
    int n_rows;
    const ws_row *row;
    int n_patches;
    ws_patch *const *patch; /* [n_patches] */
    const float *const
        *alpha; /* [n_patches] -> [n_rows]; 0 = the patch does not run on that row: bit for bit the base */
} ws_batch;

/* hidden [sum of n_out, hidden]: after the final norm, rows in order.  A non-finite value is WS_ENONFINITE naming row and
 * layer.  After a failure the sequences are as they were before, or, in models with delta layers, empty.  A sequence may
 * stand in one row only.  Scratch is kept inside the model between calls: one forward at a time. */
ws_status ws_forward(ws_model *m, ws_state *s, const ws_batch *b, float *hidden, ws_err *err);
/* The same with rows that leave their trunk to another sequence.  like [n_rows]: a sequence of this state that has read what
 * the row reads, history and new tokens, or reads it in an earlier row of the batch, with the same patches below the trunk's
 * layer (usually none); -1: none.  The row takes from there what its blocks below would compute: the same bits for less
 * work.  Tokens are compared (BUG), and a row with a patch below the trunk computes it itself.  In models with delta layers
 * the two sequences must be equally long in the end, in the others the one that is taken from may be longer. */
ws_status ws_forward_like(ws_model *m, ws_state *s, const ws_batch *b, const int *like, float *hidden, ws_err *err);
/* Scratch that a forward keeps inside the model, beside what patches take. */
int64_t ws_model_scratch_bytes(const ws_model *m);
/* Gives back what forwards and training passes keep in the model for the next one: for a change of work, when what comes
 * now needs other sizes.  The bits of later calls do not change. */
void ws_model_rest(ws_model *m);
/* logits [n, vocab] = hidden [n, d] times the LM head. */
void ws_head(ws_model *m, const float *hidden, int64_t n, float *logits);
/* A tap sees the residual after each block: x [n_tok, hidden], rows packed in batch order.  NULL: off. */
typedef void (*ws_tap_fn)(void *arg, int layer, const float *x, int64_t n_tok);
void ws_model_tap(ws_model *m, ws_tap_fn fn, void *arg);

/* ---------- training ---------- */
typedef struct ws_train_row {
    const int32_t *ids; /* [n] */
    int n;
    int first;    /* ids[first..n) are supervised: positions first-1 .. n-2 predict them; first >= 1 */
    float weight; /* loss weight of each of its tokens; usually 1 / N_items of the optimiser step */
} ws_train_row;
typedef struct ws_train_out {
    double loss; /* sum over tokens of weight * cross entropy */
    double nll;  /* unweighted sum, nats */
    int64_t n;   /* supervised tokens */
} ws_train_out;
/* Forward and, when `trainable` >= 0 (index into patch), backward: the patch accumulates its gradients.  Every patch runs
 * at alpha 1 on every row.  Head and cross entropy only at supervised positions, in chunks of the vocabulary; backward
 * stops below the lowest site of the trainable patch.  nll_row (may be NULL) [n_rows]: per-row sums.
 * The rows run packed, or in parts of whole rows one after another (ws_model_set_part): the same bits, because a token's
 * values do not depend on the rows beside it, and sums over tokens, losses and gradients alike, are chains that go on from
 * one part to the next. */
ws_status ws_train_pass(ws_model *m, const ws_train_row *row, int n_rows, ws_patch *const *patch, int n_patches,
                        int trainable, ws_train_out *out, double *nll_row, ws_err *err);
/* Parts hold as many of the rows in order as stay within `tokens`, one at least; blocks of a row that is longer are
 * recomputed on the way back.  0: everything is packed into one part and kept. */
void ws_model_set_part(ws_model *m, int64_t tokens);
void ws_model_set_recompute(ws_model *m, int on); /* recompute the blocks of every part */
/* Rows of the first part of row[0..n_rows), and its tokens, where nothing is shared. */
int ws_train_part(const ws_train_row *row, int n_rows, int64_t part, int64_t *tokens);
/* Rows of one optimiser step that begin alike (a template's header, one question answered several times) run their common
 * beginnings once.  While a share is open, passes over its rows, any of them in one go and each of them once, run what is
 * left of a row:
 *     s = ws_share_new(m, row, n);  ws_share_open(m, s, ...);  ws_train_pass(m, row + i, k, ...) ...;  ws_share_close(m, s)
 * The losses have the bits that they have without; gradients are complete after ws_share_close, summed in an order that the
 * rows of the step alone decide, not the passes or parts that they run in.  Models with delta layers share nothing. */
typedef struct ws_share ws_share;
ws_share *ws_share_new(const ws_model *m, const ws_train_row *row, int n_rows); /* `row` must stay */
void ws_share_free(ws_share *s);
int64_t ws_share_tokens(const ws_share *s);       /* that several rows begin with: they run once */
int64_t ws_share_own(const ws_share *s, int row); /* that a row still runs itself */
/* ws_train_part for passes while it is open: rows of the first part of row .. row + n_rows - 1. */
int ws_share_part(const ws_share *s, int row, int n_rows, int64_t part, int64_t *tokens);
ws_status ws_share_open(ws_model *m, ws_share *s, ws_patch *const *patch, int n_patches, int trainable, ws_err *err);
ws_status ws_share_close(ws_model *m, ws_share *s, ws_err *err); /* not after an error: drop */
void ws_share_drop(ws_model *m, ws_share *s);                    /* closed or not */
/* How passes over up to `tokens` packed tokens, in rows of up to `longest`, run within a budget, and the memory that the
 * largest part holds, what the patches keep included. */
typedef struct ws_train_plan {
    int64_t part;        /* for ws_model_set_part; 0: whole */
    int recompute;       /* 1: of rows that are longer than a part */
    int64_t activations; /* bytes */
    int64_t scratch;     /* bytes */
} ws_train_plan;
ws_train_plan ws_train_plan_for(const ws_model *m, int64_t tokens, int64_t longest, ws_patch *const *patch,
                                int n_patches, int trainable, int64_t budget_bytes);
/* The same while a share with up to `shared` tokens is open; both are of what rows run themselves. */
ws_train_plan ws_train_plan_sharing(const ws_model *m, int64_t tokens, int64_t longest, int64_t shared,
                                    ws_patch *const *patch, int n_patches, int trainable, int64_t budget_bytes);

/* ---------- log-probabilities ---------- */
/* logp [n] of target[i] given hidden[i]: chunked over the vocabulary, nothing of size n x vocab is kept. */
ws_status ws_logprob(ws_model *m, const float *hidden, int64_t n, const int32_t *target, float *logp, ws_err *err);
#endif
