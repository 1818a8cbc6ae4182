/* src/model/block.c - the pieces of a decoder block, in the order of the data.  Inference and training call the same ones:
 *     norm1 -> q, k, v -> (attention) -> gate -> o_proj, + x
 *           or qkv, a, b -> (convolution, delta rule) -> z, gated norm -> out_proj, + x
 *     -> norm2 -> gate, up -> silu(g) u -> down_proj, + mid */
#include "base/parallel.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "model/parts.h"
#include "ops/decay.h"
#include "ops/gate.h"
#include "ops/gated_norm.h"
#include "ops/mlp.h"
#include "ops/norm.h"
#include <math.h>

typedef struct add {
    float *y;
    const float *x;
} add;
static void add_piece(void *arg, int64_t begin, int64_t end) {
    const add *a = arg;
    ws_k.add(a->y + begin, a->x + begin, end - begin);
}
void ws_add_rows(float *y, const float *x, int64_t n, int64_t d) {
    ws_parallel_for(n * d, 1 << 15, add_piece, &(add){y, x});
}

ws_attn_shape ws_attn_shape_of(const ws_arch *a) {
    int64_t q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    return (ws_attn_shape){a->heads, a->kv_heads, a->head_dim, (float)(1 / sqrt((double)a->head_dim)), q, q, kv};
}
ws_kv_shape ws_kv_shape_of(const ws_arch *a) { return (ws_kv_shape){a->n_attention, a->kv_heads, a->head_dim}; }
ws_conv_shape ws_conv_shape_of(const ws_arch *a, int layer) {
    return (ws_conv_shape){.channels = ws_delta_channels(&a->delta),
                           .taps = a->conv_taps,
                           .slots = a->conv_taps - 1,
                           .w = a->block[layer].delta.conv};
}

int64_t ws_block_norm1(ws_model *m, int layer, const ws_block_buf *b, const float *x, int64_t n) {
    int64_t d = m->arch.hidden;
    return ws_norm_forward(b->xn, d, x, d, m->arch.block[layer].norm1, m->arch.eps, n, d, b->r1);
}

/* y = the linear at `site`, with what its patches keep at its place among the layer's sites. */
static void linear(ws_model *m, int layer, int site, const ws_hung *h, const ws_block_buf *b, const float *x,
                   float *y) {
    ws_site_forward(m, h, site, x, y, b->saved[site - m->first_site[layer]]);
}

void ws_block_q(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn, const int32_t *pos) {
    const ws_arch *a = &m->arch;
    const ws_attention_block *t = &a->block[layer].attn;
    int64_t ld = (int64_t)a->heads * a->head_dim;
    float *raw = t->q_norm && b->q_raw ? b->q_raw : b->q;
    linear(m, layer, ws_mixer_site(m, layer, WS_Q), h, b, xn, a->output_gate ? b->qc : raw);
    if (a->output_gate) ws_gate_split(raw, b->gate, b->qc, h->n, a->heads, a->head_dim);
    if (t->q_norm) ws_head_norm_forward(b->q, ld, raw, ld, t->q_norm, a->eps, h->n, a->heads, a->head_dim, b->rq);
    ws_rope_forward(&a->rope, b->q, ld, h->n, a->heads, a->head_dim, pos);
}

void ws_block_kv(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn, const int32_t *pos) {
    const ws_arch *a = &m->arch;
    const ws_attention_block *t = &a->block[layer].attn;
    int64_t ld = (int64_t)a->kv_heads * a->head_dim;
    float *raw = t->k_norm && b->k_raw ? b->k_raw : b->k;
    linear(m, layer, ws_mixer_site(m, layer, WS_K), h, b, xn, raw);
    linear(m, layer, ws_mixer_site(m, layer, WS_V), h, b, xn, b->v);
    if (t->k_norm) ws_head_norm_forward(b->k, ld, raw, ld, t->k_norm, a->eps, h->n, a->kv_heads, a->head_dim, b->rk);
    ws_rope_forward(&a->rope, b->k, ld, h->n, a->kv_heads, a->head_dim, pos);
}

void ws_block_o(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *x, float *mid) {
    const ws_arch *a = &m->arch;
    if (a->output_gate) ws_gate_forward(b->y, b->att, b->gate, h->n, (int64_t)a->heads * a->head_dim);
    linear(m, layer, ws_mixer_site(m, layer, WS_O), h, b, a->output_gate ? b->y : b->att, mid);
    ws_add_rows(mid, x, h->n, a->hidden);
}

void ws_block_delta_in(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn) {
    const ws_delta_block *t = &m->arch.block[layer].delta;
    ws_base_share(xn);
    linear(m, layer, ws_mixer_site(m, layer, WS_QKV), h, b, xn, b->m);
    linear(m, layer, ws_mixer_site(m, layer, WS_B), h, b, xn, b->b);
    linear(m, layer, ws_mixer_site(m, layer, WS_A), h, b, xn, b->a);
    ws_base_share(NULL);
    ws_decay_forward(b->log_decay, b->beta, b->a, b->b, t->neg_a, t->dt_bias, h->n, m->arch.delta.value_heads);
}

int64_t ws_block_delta_out(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn,
                           const float *x, float *mid) {
    const ws_arch *a = &m->arch;
    const ws_delta_shape *s = &a->delta;
    linear(m, layer, ws_mixer_site(m, layer, WS_Z), h, b, xn, b->z);
    int64_t bad =
        ws_gated_norm_forward(b->y, b->o, b->z, a->block[layer].delta.norm, a->eps, h->n, s->value_heads, s->dv, b->ro);
    if (bad >= 0) return bad;
    linear(m, layer, ws_mixer_site(m, layer, WS_OUT), h, b, b->y, mid);
    ws_add_rows(mid, x, h->n, a->hidden);
    return -1;
}

int64_t ws_block_mlp(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *mid, float *out) {
    const ws_arch *a = &m->arch;
    int64_t d = a->hidden;
    int64_t bad = ws_norm_forward(b->xn, d, mid, d, a->block[layer].norm2, a->eps, h->n, d, b->r2);
    if (bad >= 0) return bad;
    ws_base_share(b->xn);
    linear(m, layer, ws_mlp_site(m, layer, WS_GATE), h, b, b->xn, b->g);
    linear(m, layer, ws_mlp_site(m, layer, WS_UP), h, b, b->xn, b->u);
    ws_base_share(NULL);
    ws_swiglu_forward(b->f, b->g, b->u, h->n, a->ffn);
    linear(m, layer, ws_mlp_site(m, layer, WS_DOWN), h, b, b->f, out);
    ws_add_rows(out, mid, h->n, d);
    return -1;
}
