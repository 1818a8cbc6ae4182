/* src/model/block.c - the pieces of a decoder block, in the order of the data.  Inference and training call the same
 * ones: norm1 -> q, k, v -> (attention) -> o_proj, + x -> norm2 -> gate, up -> silu(g) u -> down_proj, + mid */
#include "base/parallel.h"
#include "kernel/kernel.h"
#include "model/parts.h"
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
ws_kv_shape ws_kv_shape_of(const ws_arch *a) { return (ws_kv_shape){a->layers, a->kv_heads, a->head_dim}; }

int64_t ws_block_norm1(ws_model *m, int layer, const ws_block_buf *b, const float *x, int64_t n) {
    int64_t d = m->arch.hidden;
    return ws_norm_forward(b->xn, d, x, d, m->arch.block[layer].norm1, m->arch.eps, n, d, b->r1);
}

static float **saved(const ws_block_buf *b, int which) { return b->saved[which]; }

void ws_block_q(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn, const int32_t *pos) {
    const ws_arch *a = &m->arch;
    const ws_attention_block *t = &a->block[layer].attn;
    int64_t ld = (int64_t)a->heads * a->head_dim;
    float *raw = t->q_norm && b->q_raw ? b->q_raw : b->q;
    ws_site_forward(m, h, ws_layer_site(m, layer, WS_Q), xn, raw, saved(b, WS_Q));
    if (t->q_norm) ws_head_norm_forward(b->q, ld, raw, ld, t->q_norm, a->eps, h->n, a->heads, a->head_dim, b->rq);
    ws_rope_forward(&a->rope, b->q, ld, h->n, a->heads, a->head_dim, pos);
}

void ws_block_kv(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *xn, const int32_t *pos) {
    const ws_arch *a = &m->arch;
    const ws_attention_block *t = &a->block[layer].attn;
    int64_t ld = (int64_t)a->kv_heads * a->head_dim;
    float *raw = t->k_norm && b->k_raw ? b->k_raw : b->k;
    ws_site_forward(m, h, ws_layer_site(m, layer, WS_K), xn, raw, saved(b, WS_K));
    ws_site_forward(m, h, ws_layer_site(m, layer, WS_V), xn, b->v, saved(b, WS_V));
    if (t->k_norm) ws_head_norm_forward(b->k, ld, raw, ld, t->k_norm, a->eps, h->n, a->kv_heads, a->head_dim, b->rk);
    ws_rope_forward(&a->rope, b->k, ld, h->n, a->kv_heads, a->head_dim, pos);
}

void ws_block_o(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *x, float *mid) {
    ws_site_forward(m, h, ws_layer_site(m, layer, WS_O), b->att, mid, saved(b, WS_O));
    ws_add_rows(mid, x, h->n, m->arch.hidden);
}

int64_t ws_block_mlp(ws_model *m, int layer, const ws_hung *h, const ws_block_buf *b, const float *mid, float *out) {
    const ws_arch *a = &m->arch;
    int64_t d = a->hidden;
    int64_t bad = ws_norm_forward(b->xn, d, mid, d, a->block[layer].norm2, a->eps, h->n, d, b->r2);
    if (bad >= 0) return bad;
    ws_site_forward(m, h, ws_layer_site(m, layer, WS_GATE), b->xn, b->g, saved(b, WS_GATE));
    ws_site_forward(m, h, ws_layer_site(m, layer, WS_UP), b->xn, b->u, saved(b, WS_UP));
    ws_swiglu_forward(b->f, b->g, b->u, h->n, a->ffn);
    ws_site_forward(m, h, ws_layer_site(m, layer, WS_DOWN), b->f, out, saved(b, WS_DOWN));
    ws_add_rows(out, mid, h->n, d);
    return -1;
}
