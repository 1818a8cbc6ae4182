/* src/model/backward.c - the blocks backward, each in the reverse order of block.c (models.md 8.16).
 * gx walks down the residual stream: on entry the gradient of a block's output, on return of its input.  Weights are
 * frozen: a linear passes gx = gy W on and hands gy and its input to the patches. */
#include "model/parts.h"
#include "ops/mlp.h"
#include "ops/norm.h"
#include <string.h>

typedef struct grads {
    float *gy;           /* [n, hidden] copy of gx for patches that change it */
    float *gxn;          /* [n, hidden] */
    float *gf, *gg, *gu; /* [n, ffn] */
    float *gatt, *gq;    /* [n, heads * head_dim] */
    float *gk, *gv;      /* [n, kv_heads * head_dim] */
} grads;

/* The residual gradient goes round the linear as well, so a patch that rescales gy in place gets a copy. */
static float *own_gy(const ws_model *m, const ws_pass *p, int site, const grads *g, float *gx) {
    for (int i = 0; i < p->hung.n_patches; i++) {
        const ws_patch *q = p->hung.patch[i];
        if (!q->ops->linear_gy || !q->ops->hangs_at(q, site)) continue;
        memcpy(g->gy, gx, (size_t)(p->n * m->arch.hidden) * sizeof *gx);
        return g->gy;
    }
    return gx;
}

/* Returns 0 when nothing below wants a gradient. */
static int mlp_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *mid, const grads *g,
                        float *gx, int stop) {
    const ws_arch *a = &m->arch;
    const ws_hung *h = &p->hung;
    int64_t n = p->n, d = a->hidden;
    int gate = ws_layer_site(m, l, WS_GATE), up = ws_layer_site(m, l, WS_UP), down = ws_layer_site(m, l, WS_DOWN);
    if (ws_site_patched(h, down)) ws_swiglu_forward(b->f, b->g, b->u, n, a->ffn);
    ws_site_backward(m, h, down, b->f, own_gy(m, p, down, g, gx), stop == WS_DOWN ? NULL : g->gf, 0, b->saved[WS_DOWN]);
    if (stop == WS_DOWN) return 0;
    ws_swiglu_backward(g->gg, g->gu, g->gf, b->g, b->u, n, a->ffn);
    if (ws_site_patched(h, gate) || ws_site_patched(h, up))
        ws_norm_forward(b->xn, d, mid, d, a->block[l].norm2, a->eps, n, d, NULL);
    int last = stop == WS_GATE || stop == WS_UP;
    ws_site_backward(m, h, gate, b->xn, g->gg, last ? NULL : g->gxn, 0, b->saved[WS_GATE]);
    ws_site_backward(m, h, up, b->xn, g->gu, last ? NULL : g->gxn, 1, b->saved[WS_UP]);
    if (last) return 0;
    ws_norm_backward(gx, d, g->gxn, d, mid, d, a->block[l].norm2, b->r2, n, d);
    return 1;
}

static void attend_backward(ws_model *m, const ws_pass *p, const ws_block_buf *b, const grads *g) {
    const ws_attn_shape s = ws_attn_shape_of(&m->arch);
    ws_arena_mark mark = ws_arena_save(m->scratch);
    ws_attn_grad *row = ws_arena_get(m->scratch, (size_t)p->n_rows * sizeof *row);
    for (int r = 0; r < p->n_rows; r++) {
        int64_t q = p->first[r] * s.ldq, k = p->first[r] * s.ldk;
        row[r] = (ws_attn_grad){.n = p->rows[r].n,
                                .q = b->q + q,
                                .k = b->k + k,
                                .v = b->v + k,
                                .o = b->att + q,
                                .lse = b->lse + p->first[r] * s.heads,
                                .go = g->gatt + q,
                                .gq = g->gq + q,
                                .gk = g->gk + k,
                                .gv = g->gv + k};
    }
    ws_attention_backward(&s, row, p->n_rows);
    ws_arena_rewind(m->scratch, mark);
}

static void attention_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *x,
                               const grads *g, float *gx, int stop) {
    const ws_arch *a = &m->arch;
    const ws_attention_block *t = &a->block[l].attn;
    const ws_hung *h = &p->hung;
    int64_t n = p->n, d = a->hidden, ldq = (int64_t)a->heads * a->head_dim, ldk = (int64_t)a->kv_heads * a->head_dim;
    int q = ws_layer_site(m, l, WS_Q), k = ws_layer_site(m, l, WS_K), v = ws_layer_site(m, l, WS_V),
        o = ws_layer_site(m, l, WS_O);
    ws_site_backward(m, h, o, b->att, own_gy(m, p, o, g, gx), stop == WS_O ? NULL : g->gatt, 0, b->saved[WS_O]);
    if (stop == WS_O) return;
    attend_backward(m, p, b, g);
    ws_rope_backward(&a->rope, g->gq, ldq, n, a->heads, a->head_dim, p->pos);
    ws_rope_backward(&a->rope, g->gk, ldk, n, a->kv_heads, a->head_dim, p->pos);
    if (t->q_norm)
        ws_head_norm_backward(g->gq, ldq, g->gq, ldq, b->q_raw, ldq, t->q_norm, b->rq, n, a->heads, a->head_dim);
    if (t->k_norm)
        ws_head_norm_backward(g->gk, ldk, g->gk, ldk, b->k_raw, ldk, t->k_norm, b->rk, n, a->kv_heads, a->head_dim);
    if (ws_site_patched(h, q) || ws_site_patched(h, k) || ws_site_patched(h, v))
        ws_norm_forward(b->xn, d, x, d, a->block[l].norm1, a->eps, n, d, NULL);
    float *gxn = stop >= 0 ? NULL : g->gxn;
    ws_site_backward(m, h, q, b->xn, g->gq, gxn, 0, b->saved[WS_Q]);
    ws_site_backward(m, h, k, b->xn, g->gk, gxn, 1, b->saved[WS_K]);
    ws_site_backward(m, h, v, b->xn, g->gv, gxn, 1, b->saved[WS_V]);
    if (gxn) ws_norm_backward(gx, d, gxn, d, x, d, a->block[l].norm1, b->r1, n, d);
}

ws_status ws_pass_backward(ws_model *m, const ws_pass *p, float *gx, ws_err *err) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n, q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    ws_arena *s = m->scratch;
    grads g = {ws_arena_floats(s, n * a->hidden), ws_arena_floats(s, n * a->hidden), ws_arena_floats(s, n * a->ffn),
               ws_arena_floats(s, n * a->ffn),    ws_arena_floats(s, n * a->ffn),    ws_arena_floats(s, n * q),
               ws_arena_floats(s, n * q),         ws_arena_floats(s, n * kv),        ws_arena_floats(s, n * kv)};
    float *redone = m->recompute ? ws_arena_floats(s, n * a->hidden) : NULL;
    for (int l = a->layers - 1; l >= p->lowest; l--) {
        const ws_block_buf *b = &p->buf[l];
        int stop = l > p->lowest ? -1 : p->stop;
        if (redone) { /* the same calls on the same input: the same bits as the first time */
            ws_status st = ws_pass_layer(m, p, l, b, p->x[l], p->mid[l], redone, err);
            if (st) return st;
        }
        if (!mlp_backward(m, p, l, b, p->mid[l], &g, gx, stop)) break;
        attention_backward(m, p, l, b, p->x[l], &g, gx, stop);
    }
    return WS_OK;
}
