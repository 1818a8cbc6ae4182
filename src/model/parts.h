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

/* ---------- training: train.c, tape.c, backward.c ---------- */
/* One part of a training batch, packed, on its way forward and back. */
typedef struct ws_pass {
    int64_t n; /* tokens of all rows */
    int n_rows;
    int before; /* rows of the batch that came in earlier parts */
    const ws_train_row *rows;
    int64_t *first;     /* [n_rows] a row's first token */
    int32_t *ids, *pos; /* [n] */
    int *row;           /* [n] */
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
/* One layer forward from x to out with the given buffers; WS_ENONFINITE names row and layer. */
ws_status ws_pass_layer(ws_model *m, const ws_pass *p, int layer, const ws_block_buf *b, const float *x, float *mid,
                        float *out, ws_err *err);
/* gx [n, hidden]: gradient of the last layer's output on entry, of the lowest kept layer's input on return (when stop <
 * 0). */
ws_status ws_pass_backward(ws_model *m, const ws_pass *p, float *gx, ws_err *err);
/* Scratch that it takes for the greediest of the layers from `lowest` on: floats a token. */
int64_t ws_backward_floats(const ws_model *m, int lowest, int n_patches);
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
