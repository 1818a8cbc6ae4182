/* src/model/parts.h - what the files of this folder share: the model itself, the patches of one pass, one block's
 * buffers. */
#ifndef WS_MODEL_PARTS_H
#define WS_MODEL_PARTS_H
#include "family/family.h"
#include "model/model.h"
#include "ops/attention.h"
#include "ops/conv.h"

/* A layer's linears in the order of named_modules, which is the order of its sites: first those of its mixer, then those
 * of its MLP.  ws_mixer_site and ws_mlp_site turn a place into a site. */
enum { WS_Q, WS_K, WS_V, WS_O, WS_ATTENTION_LINEARS };       /* WS_MIXER_ATTENTION */
enum { WS_OUT, WS_QKV, WS_Z, WS_B, WS_A, WS_DELTA_LINEARS }; /* WS_MIXER_DELTA */
enum { WS_GATE, WS_UP, WS_DOWN, WS_MLP_LINEARS };
enum { WS_LINEARS = WS_DELTA_LINEARS + WS_MLP_LINEARS }; /* at most, of a layer */
/* The same in the order of the data: backward stops at the first stage of its lowest layer that has a trained site. */
typedef enum ws_stage_of { WS_AT_INPUT, WS_AT_OUTPUT, WS_AT_GATE_UP, WS_AT_DOWN } ws_stage_of;

struct ws_model {
    const ws_checkpoint *checkpoint;
    ws_arch arch;
    ws_dims dims;
    ws_site *site; /* [n_sites] linears in layer order, then one block site per layer */
    int n_sites, n_linears;
    int *first_site; /* [layers + 1] number of the layer's first linear; [layers]: n_linears */
    int *by_name;    /* [n_sites] site numbers sorted by name */
    ws_arena *scratch, *patch_scratch, *tape;
    ws_state *own; /* keys of rows that bring no sequence; made on first use */
    ws_tap_fn tap;
    void *tap_arg;
    int64_t part;      /* see ws_model_set_part */
    int recompute;     /* of every part */
    float *embed_grad; /* see ws_model_probe */
    ws_share *share;   /* what the rows of this optimiser step have in common, while it is open */
};

/* ---------- patches of one pass: patches.c ---------- */
/* The tokens of one pass and, for every patch, those it is on for. */
typedef struct ws_on {
    int64_t n;      /* tokens that the patch runs on */
    int64_t *token; /* [n] ascending; NULL when they are consecutive */
    int64_t first;  /* of consecutive tokens */
    float *alpha;   /* [n] */
} ws_on;
typedef struct ws_hung {
    int64_t n; /* tokens */
    int n_patches;
    ws_patch *const *patch;
    ws_on *on; /* [n_patches] */
} ws_hung;
/* alpha_of(patch, token) by rows: row [n] is the batch row of each token; alpha NULL: 1 everywhere.  From `a`. */
void ws_hung_set(ws_hung *h, int64_t n, const int *row, int n_patches, ws_patch *const *patch,
                 const float *const *alpha, ws_arena *a);
/* y [n, d_out] = W x + b, then the patches that hang there.  saved (training): one pointer per patch, or NULL. */
void ws_site_forward(ws_model *m, const ws_hung *h, int site, const float *x, float *y, float *const *saved);
/* Block patches of `layer` on x [n, hidden], in place. */
void ws_block_patches(ws_model *m, const ws_hung *h, int layer, float *x);
/* Training: gy [n, d_out] (changed by patches), gx [n, d_in] (+)= or NULL when nothing below needs it. */
void ws_site_backward(ws_model *m, const ws_hung *h, int site, const float *x, float *gy, float *gx, int accumulate,
                      float *const *saved);
int ws_site_patched(const ws_hung *h, int site); /* some patch hangs there */

static inline int ws_mixer_site(const ws_model *m, int layer, int which) { return m->first_site[layer] + which; }
static inline int ws_mlp_site(const ws_model *m, int layer, int which) {
    return m->first_site[layer + 1] - WS_MLP_LINEARS + which;
}
ws_stage_of ws_site_stage(const ws_model *m, int site); /* of a linear */
static inline int ws_is_delta(const ws_model *m, int layer) { return m->arch.block[layer].mixer == WS_MIXER_DELTA; }

/* ---------- one block: block.c ---------- */
/* Buffers of one block for n tokens.  Inference has one set for all layers; a tape has one for every layer that it
 * keeps. */
typedef struct ws_block_buf {
    float *xn;      /* [n, hidden] norm1(x), then norm2(mid) */
    float *r1, *r2; /* [n] scales of the two norms; NULL: not kept */
    /* attention */
    float *q, *k, *v; /* [n, heads * head_dim] and [n, kv_heads * head_dim]; q and k after norm and RoPE */
    float *q_raw, *k_raw, *rq, *rk; /* before the per-head norm, and its scales [n, heads]; q_raw NULL: not kept */
    float *qc, *gate;               /* output gate: q_proj's output [n, 2 heads * head_dim], its gate part (half) */
    float *att;                     /* [n, heads * head_dim] output of attention */
    float *lse;                     /* [n, heads]; NULL: not kept */
    /* delta rule: C channels, Hv value heads of dv */
    float *m, *c;                    /* [n, C] in_proj_qkv's output; after convolution and silu */
    float *z;                        /* [n, Hv * dv] */
    float *a, *b, *log_decay, *beta; /* [n, Hv] in_proj_a's and in_proj_b's output, and the gates from them */
    float *o;                        /* [n, Hv * dv] output of the rule */
    float *ro;                       /* [n, Hv] scales of the gated norm; NULL: not kept */
    float *y;                        /* what goes into o_proj or out_proj; may be att, or o */
    float *g, *u, *f;                /* [n, ffn]; f = silu(g) u, may be g */
    float **saved[WS_LINEARS];       /* training: [n_patches] what each patch kept, by place among the layer's sites */
} ws_block_buf;
/* xn = norm1(x); returns the first token that is not finite, or -1. */
int64_t ws_block_norm1(ws_model *m, int layer, const ws_block_buf *b, const float *x, int64_t n);
/* q from xn (any subset of the tokens: n is h->n); pos [n]. */
void ws_block_q(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn, const int32_t *pos);
void ws_block_kv(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn, const int32_t *pos);
/* mid = x + o_proj(att, gated). */
void ws_block_o(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *x, float *mid);
/* m, a, b and the gates of the delta rule from xn, for all tokens of the batch. */
void ws_block_delta_in(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn);
/* z from xn, mid = x + out_proj(gated norm(o, z)), for any subset of the tokens.  Returns the first token of o that is not
 * finite, or -1. */
int64_t ws_block_delta_out(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn,
                           const float *x, float *mid);
/* out = mid + mlp(norm2(mid)); returns the first token of mid that is not finite, or -1. */
int64_t ws_block_mlp(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *mid, float *out);
void ws_add_rows(float *y, const float *x, int64_t n, int64_t d); /* y += x, in parallel */
ws_attn_shape ws_attn_shape_of(const ws_arch *a);
ws_kv_shape ws_kv_shape_of(const ws_arch *a); /* pages hold the attention layers alone */
/* conv [of layer]: the convolution; a sequence's ring holds what goes on needs, no more. */
ws_conv_shape ws_conv_shape_of(const ws_arch *a, int layer);

/* ---------- training: train.c, tape.c, backward.c, share.c ---------- */
/* Tokens that run together: what a row does not share with others, or a beginning that several rows share. */
typedef struct ws_span {
    const int32_t *ids; /* [n] */
    int n, pos;         /* at positions pos .. pos + n - 1 */
    int from;           /* node of the shared beginnings that it goes on from; -1: position 0 */
} ws_span;
/* One part of a training batch, packed, on its way forward and back. */
typedef struct ws_pass {
    int64_t n; /* tokens of all spans */
    int n_rows;
    int before;               /* rows of the batch that came in earlier parts */
    const ws_train_row *rows; /* NULL: the shared beginnings, which have no loss of their own */
    ws_span *span;            /* [n_rows] */
    ws_share *share;          /* where their beginnings are; NULL: no span has one */
    int64_t *first;           /* [n_rows] a span's first token */
    int32_t *ids, *pos;       /* [n] */
    int *row;                 /* [n] */
    ws_hung hung;
    int recompute;     /* blocks are made again on the way back */
    int lowest;        /* layers below run without a tape; arch.layers: nothing is kept */
    int stop;          /* in layer `lowest`: the first ws_stage_of that is trained; -1: down to the embedding */
    float **x;         /* [layers + 1] input of each kept layer; [layers]: the last output */
    float **mid;       /* [layers] */
    ws_block_buf *buf; /* [layers] kept buffers; with recompute all the same ones */
    ws_block_buf work; /* buffers shared by all layers */
} ws_pass;
/* Where backward ends, lowest and stop: the first stage, in the order of the data, that the trainable patch hangs at. */
void ws_pass_end(const ws_model *m, ws_pass *p, ws_patch *const *patch, int trainable);
/* Buffers of every kept layer from m->tape, shared ones from m->scratch. */
void ws_tape_make(ws_model *m, ws_pass *p);
/* Rows of an attention whose k and v hold what is the span's own: from now on [pos + n], from m->scratch. */
void ws_pass_behind(ws_model *m, const ws_pass *p, int layer, ws_attn_row *row);
/* One layer forward from x to out with the given buffers; WS_ENONFINITE names row and layer. */
ws_status ws_pass_layer(ws_model *m, const ws_pass *p, int layer, const ws_block_buf *b, const float *x, float *mid,
                        float *out, ws_err *err);
/* Rows and patches that a pass can run. */
ws_status ws_pass_check(const ws_model *m, const ws_train_row *row, int n_rows, ws_patch *const *patch, int n_patches,
                        int trainable, ws_err *err);
/* Packs the spans: n, first, ids, pos, row and the patches, from m->scratch. */
void ws_pass_pack(ws_model *m, ws_pass *p, ws_patch *const *patch, int n_patches);
/* gx [n, hidden]: gradient of the last layer's output on entry, of the lowest kept layer's input on return (when stop <
 * 0). */
ws_status ws_pass_backward(ws_model *m, const ws_pass *p, float *gx, ws_err *err);
/* Scratch that it takes for the greediest of the layers from `lowest` on: floats a token. */
int64_t ws_backward_floats(const ws_model *m, int lowest, int n_patches);

/* Beginnings that the rows of a step share, as a tree: a node's tokens come behind those of its parent.  The nodes' own pass
 * keeps the keys and values of all layers, and the gradients of these that the rows behind them add up. */
struct ws_share {
    const ws_model *model;
    const ws_train_row *row;
    int n_rows, n_nodes;
    ws_span *own;               /* [n_rows] what is left of a row */
    ws_span *node;              /* [n_nodes] parents come first */
    int64_t n;                  /* tokens of all nodes */
    ws_pass pass;               /* while open */
    float **k, **v, **gk, **gv; /* [layers] -> [n, kv_heads * head_dim]; gk and gv from pass.lowest on */
    int backward;               /* gradients go through the nodes */
    ws_arena_mark scratch, tape;
};
/* Bytes of k, v, gk and gv. */
int64_t ws_share_held(const ws_model *m, int64_t tokens, int lowest);
ws_span ws_share_span(const ws_share *s, const ws_train_row *row);
/* The last layer of the shared beginnings gives keys and values, nothing else. */
static inline int ws_keys_only(const ws_pass *p, int layer, int layers) { return !p->rows && layer == layers - 1; }
/* Keys or values of a span behind those before it, [pos + n, width] in `to`, or `own` [n, width] itself when nothing is
 * before it.  of: the share's k or v of this layer. */
const float *ws_share_behind(const ws_share *s, const ws_span *span, const float *of, const float *own, int64_t width,
                             float *to);
/* Adds g [pos, width], what a span has for the positions before it, to `of` [n, width]. */
void ws_share_add(const ws_share *s, const ws_span *span, float *of, const float *g, int64_t width);
/* For tests: the next training passes run backward to the embedding and leave its output's gradient [tokens, hidden]
 * here; NULL turns it off. */
void ws_model_probe(ws_model *m, float *embed_grad);

/* ---------- one sequence's memory: state.c ---------- */
/* Memory for n more tokens of `seq` that no other sequence reads; the length stays. */
ws_status ws_seq_reserve(ws_state *s, int seq, int n, ws_err *err);
void ws_seq_grow(ws_state *s, int seq, int n); /* n stored tokens count now */
float *const *ws_seq_pages(const ws_state *s, int seq);
/* The recurrent memory of the nth delta layer, after ws_seq_reserve and before ws_seq_grow. */
typedef struct ws_recurrent {
    const float *from; /* S; NULL while there is none */
    float *to;         /* where S goes when a chunk is completed; NULL: none will be */
    float *open, *ring;
} ws_recurrent;
ws_recurrent ws_seq_recurrent(const ws_state *s, int seq, int nth);
int ws_seq_live(const ws_state *s, int seq);
/* The trunk of n tokens at `pos`: ids and x [n, hidden], what enters block ws_state_trunk_layer. */
int ws_state_trunk_layer(const ws_state *s);
void ws_seq_keep(ws_state *s, int seq, int64_t pos, int64_t n, const int32_t *ids, const float *x);
/* `seq` takes from `like` what its blocks below the trunk's layer would have stored for these tokens, and x [n, hidden].
 * last: the sequences are equally long then, so that it takes the running state as well.  BUG where tokens differ. */
void ws_seq_follow(ws_state *s, int seq, int like, int64_t pos, int64_t n, const int32_t *ids, int last, float *x);
/* Takes n more tokens back that a failed batch left: to `len` where that can be had, else to nothing. */
void ws_seq_roll_back(ws_state *s, int seq, int len);
#endif
