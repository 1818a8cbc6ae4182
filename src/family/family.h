/* src/family/family.h - a family reads config.json, names its tensors and fills a description of its blocks; it
 * computes nothing.
 *     checkpoint -> [family] -> model -> ...
 * A room folder: every src/family/<name>.c with WS_ROOM(<name>) exports `const ws_family ws_family_<name>`; this file,
 * bind.c and config.c are the corridor and what families share. */
#ifndef WS_FAMILY_FAMILY_H
#define WS_FAMILY_FAMILY_H
#include "io/checkpoint.h"
#include "kernel/weight.h"
#include "ops/delta.h"
#include "ops/rope.h"

#define WS_ROOM(name) /* the Makefile looks for this word */

/* A linear of the model, as a site knows it. */
typedef struct ws_linear {
    char *name;  /* "model.layers.3.self_attn.q_proj" */
    ws_weight w; /* [d_out, d_in] */
    float *bias; /* [d_out] or NULL */
} ws_linear;

typedef enum ws_mixer { WS_MIXER_ATTENTION, WS_MIXER_DELTA } ws_mixer;

/* Causal softmax attention with grouped kv heads (models.md 4.3); o_proj(attention(rope(norm(q)), rope(norm(k)), v)).
 * With ws_arch.output_gate, q_proj has a gate beside the query of every head, [head: query | gate], and what goes into
 * o_proj is attention times sigmoid(gate) (models.md 5.1). */
typedef struct ws_attention_block {
    ws_linear q, k, v, o;
    float *q_norm, *k_norm; /* [head_dim] or NULL: per-head RMSNorm before RoPE */
} ws_attention_block;

/* Gated DeltaNet (models.md 5.2): q | k | v = silu(conv(in_proj_qkv x)), the gated delta rule on them, gated norm with
 * z = in_proj_z x, out_proj. */
typedef struct ws_delta_block {
    ws_linear out, qkv, z, b, a; /* in the order of named_modules */
    float *conv;                 /* [taps, channels] as ops/conv.h wants it */
    float *neg_a, *dt_bias;      /* [value_heads]: -exp(A_log), and what is added to a */
    float *norm;                 /* [dv], plain */
} ws_delta_block;

typedef struct ws_mlp_block {
    ws_linear gate, up, down; /* down(silu(gate x) * up x) */
} ws_mlp_block;

/* x += mixer(norm1 x); x += mlp(norm2 x).  Norm weights are what multiplies: a zero-centred family stores 1 + w here. */
typedef struct ws_block {
    float *norm1, *norm2; /* [hidden] */
    ws_mixer mixer;
    int nth;                 /* which of the layers of its mixer: its place in pages, or among recurrent states */
    ws_attention_block attn; /* WS_MIXER_ATTENTION */
    ws_delta_block delta;    /* WS_MIXER_DELTA */
    ws_mlp_block mlp;
} ws_block;

/* A whole decoder, bound to the tensors of a checkpoint.  Data only; matrices point into the mapping. */
typedef struct ws_arch {
    const char *family;
    int layers, hidden, ffn, heads, kv_heads, head_dim, max_pos;
    int64_t vocab; /* rows of the embedding and of the head */
    float eps;     /* of every RMSNorm */
    ws_rope rope;
    int n_attention, n_delta; /* layers of each mixer */
    int output_gate;          /* of attention: q_proj has 2 head_dim rows a head */
    ws_delta_shape delta;     /* of every WS_MIXER_DELTA */
    int conv_taps;
    ws_block *block; /* [layers] */
    ws_weight embed, head;
    int tied;
    float *norm;    /* [hidden], the final norm */
    int64_t params; /* numbers in the text model, tied matrices once */
} ws_arch;

/* What a family may say about its own config, beside what all share (models.md 2.1). */
typedef struct ws_config_rules {
    int head_dim;  /* when the key is missing: 0 = hidden_size / num_attention_heads */
    int kv_heads;  /* when the key is missing: 0 = num_attention_heads */
    double rotary; /* partial_rotary_factor when the key is missing; 0: the family does not read the key */
} ws_config_rules;

/* Which bias vectors and norms the tensors of a block have, and what is added to norms that are stored without it. */
typedef struct ws_block_parts {
    int qkv_bias, o_bias, mlp_bias, qk_norm;
    float norm_add;
} ws_block_parts;

typedef struct ws_binder ws_binder;
typedef struct ws_family {
    const char *name;
    const char *const *model_types; /* NULL at the end */
    ws_status (*bind)(ws_arch *a, ws_binder *b, ws_err *err);
} ws_family;

/* Finds the family by model_type, binds and shape-checks every tensor.  Missing names, wrong shapes and names that
 * nobody knows are one error each, with the list. */
ws_status ws_arch_open(ws_arch *a, const ws_checkpoint *c, ws_err *err);
void ws_arch_release(ws_arch *a);
const char *const *ws_family_names(int *n);

/* ---------- for families: config.c ---------- */
/* Sizes, eps and RoPE into `a`; refuses what no family here computes (quantised checkpoints, other activations, ...). */
ws_status ws_config_read(ws_arch *a, const ws_binder *b, const ws_config_rules *rules, ws_err *err);
ws_status ws_config_flag(const ws_binder *b, const char *key, int dflt, int *out, ws_err *err);
/* A whole number in 1..hi; dflt 0: the key must be there. */
ws_status ws_config_size(const ws_binder *b, const char *key, int64_t dflt, int64_t hi, int64_t *out, ws_err *err);
/* WS_EUNSUPPORTED when the config turns a sliding window on. */
ws_status ws_config_no_window(const ws_binder *b, ws_err *err);

/* ---------- for families: bind.c ---------- */
struct ws_binder {
    const ws_checkpoint *c;
    const json_t *config, *top; /* the decoder's config and the whole file's */
    const char *where;          /* for errors */
    const ws_tensor **used;
    size_t n_used;
    int64_t params;
    ws_str missing, wrong; /* lists that grow while binding */
    int n_missing, n_wrong;
};
/* `name` + ".weight" as [rows, cols] and, with `bias`, name + ".bias" [rows].  Failures are collected. */
void ws_bind_linear(ws_binder *b, ws_linear *l, const char *name, int64_t rows, int64_t cols, int bias);
/* A vector of n numbers, widened, each plus `add`.  NULL and collected when it is not there. */
float *ws_bind_vector(ws_binder *b, const char *name, int64_t n, float add);
/* embed_tokens, lm_head by the rules for tied matrices (models.md 1) and the final norm. */
ws_status ws_bind_ends(ws_arch *a, ws_binder *b, float norm_add, ws_err *err);
/* [channels, 1, taps] or [channels, taps] of a depthwise convolution -> [taps, channels] widened; NULL and collected. */
float *ws_bind_conv(ws_binder *b, const char *name, int64_t channels, int taps);
/* The blocks of a plain decoder: attention and SwiGLU in every layer. */
void ws_bind_blocks(ws_arch *a, ws_binder *b, const ws_block_parts *parts);
/* Their pieces, for families whose layers differ: the two norms and the MLP of layer i, and its attention. */
void ws_bind_mlp(ws_arch *a, ws_binder *b, int i, const ws_block_parts *parts);
void ws_bind_attention(ws_arch *a, ws_binder *b, int i, const ws_block_parts *parts);
#endif
