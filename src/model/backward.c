/* src/model/backward.c - the blocks backward, each in the reverse order of block.c (models.md 8.16).
 * gx walks down the residual stream: on entry the gradient of a block's output, on return of its input.  Weights are
 * frozen: a linear passes gx = gy W on and hands gy and its input to the patches.  What a piece needs for itself is taken
 * from scratch and given back at its end. */
#include "kernel/kernel.h"
#include "model/parts.h"
#include "ops/decay.h"
#include "ops/gate.h"
#include "ops/gated_norm.h"
#include "ops/mlp.h"
#include "ops/norm.h"
#include <string.h>

/* One linear backward; `stop`: nothing below wants a gradient. */
static void linear(ws_model *m, const ws_pass *p, int l, int site, const ws_block_buf *b, const float *x, float *gy,
                   float *gx, int accumulate) {
    ws_site_backward(m, &p->hung, site, x, gy, gx, accumulate, b->saved[site - m->first_site[l]]);
}

/* The residual gradient goes round the linear as well, so a patch that rescales gy in place gets a copy. */
static float *own_gy(const ws_model *m, const ws_pass *p, int site, float *gx) {
    for (int i = 0; i < p->hung.n_patches; i++) {
        const ws_patch *q = p->hung.patch[i];
        if (!q->ops->linear_gy || !q->ops->hangs_at(q, site)) continue;
        float *gy = ws_arena_floats(m->scratch, p->n * m->arch.hidden);
        memcpy(gy, gx, (size_t)(p->n * m->arch.hidden) * sizeof *gx);
        return gy;
    }
    return gx;
}

/* norm(x) again, when a patch at one of the sites [first, last] reads it. */
static void renorm(ws_model *m, const ws_pass *p, int first, int last, const ws_block_buf *b, const float *x,
                   const float *w) {
    int64_t d = m->arch.hidden;
    for (int site = first; site <= last; site++)
        if (ws_site_patched(&p->hung, site)) {
            ws_norm_forward(b->xn, d, x, d, w, m->arch.eps, p->n, d, NULL);
            return;
        }
}

/* Returns 0 when nothing below wants a gradient. */
static int mlp_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *mid, float *gx,
                        int stop) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n, d = a->hidden;
    int gate = ws_mlp_site(m, l, WS_GATE), up = ws_mlp_site(m, l, WS_UP), down = ws_mlp_site(m, l, WS_DOWN);
    float *gf = stop == WS_AT_DOWN ? NULL : ws_arena_floats(m->scratch, n * a->ffn);
    if (ws_site_patched(&p->hung, down)) ws_swiglu_forward(b->f, b->g, b->u, n, a->ffn);
    linear(m, p, l, down, b, b->f, own_gy(m, p, down, gx), gf, 0);
    if (!gf) return 0;
    float *gg = ws_arena_floats(m->scratch, n * a->ffn), *gu = ws_arena_floats(m->scratch, n * a->ffn);
    ws_swiglu_backward(gg, gu, gf, b->g, b->u, n, a->ffn);
    renorm(m, p, gate, up, b, mid, a->block[l].norm2);
    float *gxn = stop == WS_AT_GATE_UP ? NULL : ws_arena_floats(m->scratch, n * d);
    linear(m, p, l, gate, b, b->xn, gg, gxn, 0);
    linear(m, p, l, up, b, b->xn, gu, gxn, 1);
    if (!gxn) return 0;
    ws_norm_backward(gx, d, gxn, d, mid, d, a->block[l].norm2, b->r2, n, d);
    return 1;
}

/* gk and gv are those of the pass's own tokens; what belongs to tokens before a span goes to the share. */
static void attend_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *go, float *gq,
                            float *gk, float *gv) {
    const ws_attn_shape s = ws_attn_shape_of(&m->arch);
    ws_arena *a = m->scratch;
    ws_attn_grad *row = ws_arena_get(a, (size_t)p->n_rows * sizeof *row);
    ws_attn_row *in = ws_arena_get(a, (size_t)p->n_rows * sizeof *in);
    for (int r = 0; r < p->n_rows; r++)
        in[r] = (ws_attn_row){.k = b->k + p->first[r] * s.ldk, .v = b->v + p->first[r] * s.ldk};
    ws_pass_behind(m, p, l, in);
    for (int r = 0; r < p->n_rows; r++) {
        const ws_span *span = &p->span[r];
        int64_t q = p->first[r] * s.ldq, k = p->first[r] * s.ldk, all = (span->pos + span->n) * s.ldk;
        row[r] = (ws_attn_grad){.n = span->n,
                                .pos = span->pos,
                                .q = b->q + q,
                                .k = in[r].k,
                                .v = in[r].v,
                                .o = b->att + q,
                                .lse = b->lse + p->first[r] * s.heads,
                                .go = go + q,
                                .gq = gq + q,
                                .gk = span->pos ? ws_arena_floats(a, all) : gk + k,
                                .gv = span->pos ? ws_arena_floats(a, all) : gv + k};
    }
    ws_attention_backward(&s, row, p->n_rows);
    for (int r = 0; r < p->n_rows; r++) {
        const ws_span *span = &p->span[r];
        int64_t k = p->first[r] * s.ldk, before = span->pos * s.ldk;
        if (!span->pos) continue;
        memcpy(gk + k, row[r].gk + before, (size_t)(span->n * s.ldk) * sizeof *gk);
        memcpy(gv + k, row[r].gv + before, (size_t)(span->n * s.ldk) * sizeof *gv);
        if (!p->share->backward) continue;
        ws_share_add(p->share, span, p->share->gk[l], row[r].gk, s.ldk);
        ws_share_add(p->share, span, p->share->gv[l], row[r].gv, s.ldk);
    }
}

/* Back through RoPE and the norm of each head. */
static void keys_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, float *gk) {
    const ws_arch *a = &m->arch;
    const ws_attention_block *t = &a->block[l].attn;
    int64_t ld = (int64_t)a->kv_heads * a->head_dim;
    ws_rope_backward(&a->rope, gk, ld, p->n, a->kv_heads, a->head_dim, p->pos);
    if (t->k_norm)
        ws_head_norm_backward(gk, ld, gk, ld, b->k_raw, ld, t->k_norm, b->rk, p->n, a->kv_heads, a->head_dim);
}

/* What rows have asked of the keys and values of their shared beginning, its own attention included. */
static void collect(const ws_pass *p, int l, int64_t width, float *gk, float *gv) {
    if (p->rows) return;
    ws_k.add(gk, p->share->gk[l], p->n * width);
    ws_k.add(gv, p->share->gv[l], p->n * width);
}

/* A layer of which nothing but keys and values was used; writes gx. */
static void keys_only_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *x, float *gx,
                               int stop) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n, d = a->hidden;
    int k = ws_mixer_site(m, l, WS_K), v = ws_mixer_site(m, l, WS_V);
    float *gk = p->share->gk[l], *gv = p->share->gv[l], *gxn = stop >= 0 ? NULL : ws_arena_floats(m->scratch, n * d);
    keys_backward(m, p, l, b, gk);
    renorm(m, p, k, v, b, x, a->block[l].norm1);
    linear(m, p, l, k, b, b->xn, gk, gxn, 0);
    linear(m, p, l, v, b, b->xn, gv, gxn, 1);
    if (!gxn) return;
    memset(gx, 0, (size_t)(n * d) * sizeof *gx);
    ws_norm_backward(gx, d, gxn, d, x, d, a->block[l].norm1, b->r1, n, d);
}

static void attention_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *x, float *gx,
                               int stop) {
    const ws_arch *a = &m->arch;
    const ws_attention_block *t = &a->block[l].attn;
    ws_arena *arena = m->scratch;
    int64_t n = p->n, d = a->hidden, ldq = (int64_t)a->heads * a->head_dim, ldk = (int64_t)a->kv_heads * a->head_dim;
    int q = ws_mixer_site(m, l, WS_Q), k = ws_mixer_site(m, l, WS_K), v = ws_mixer_site(m, l, WS_V),
        o = ws_mixer_site(m, l, WS_O);
    float *go = stop == WS_AT_OUTPUT ? NULL : ws_arena_floats(arena, n * ldq), *gc = NULL;
    if (a->output_gate && ws_site_patched(&p->hung, o)) ws_gate_forward(b->y, b->att, b->gate, n, ldq);
    linear(m, p, l, o, b, a->output_gate ? b->y : b->att, own_gy(m, p, o, gx), go, 0);
    if (!go) return;
    if (a->output_gate) {
        gc = ws_arena_floats(arena, n * ldq);
        ws_gate_backward(go, gc, go, b->att, b->gate, n, ldq);
    }
    float *gq = ws_arena_floats(arena, n * ldq), *gk = ws_arena_floats(arena, n * ldk),
          *gv = ws_arena_floats(arena, n * ldk);
    ws_arena_mark inner = ws_arena_save(arena);
    attend_backward(m, p, l, b, go, gq, gk, gv);
    ws_arena_rewind(arena, inner);
    collect(p, l, ldk, gk, gv);
    ws_rope_backward(&a->rope, gq, ldq, n, a->heads, a->head_dim, p->pos);
    if (t->q_norm) ws_head_norm_backward(gq, ldq, gq, ldq, b->q_raw, ldq, t->q_norm, b->rq, n, a->heads, a->head_dim);
    keys_backward(m, p, l, b, gk);
    if (a->output_gate) { /* b->qc is free until the next layer */
        ws_gate_join(b->qc, gq, gc, n, a->heads, a->head_dim);
        gq = b->qc;
    }
    renorm(m, p, q, v, b, x, a->block[l].norm1);
    float *gxn = stop >= 0 ? NULL : ws_arena_floats(arena, n * d);
    linear(m, p, l, q, b, b->xn, gq, gxn, 0);
    linear(m, p, l, k, b, b->xn, gk, gxn, 1);
    linear(m, p, l, v, b, b->xn, gv, gxn, 1);
    if (gxn) ws_norm_backward(gx, d, gxn, d, x, d, a->block[l].norm1, b->r1, n, d);
}

/* The rule and the convolution backward, row by row: gc = gradient of in_proj_qkv's output. */
static void recur_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *go, float *gc,
                           float *gg, float *gbeta) {
    const ws_delta_shape *s = &m->arch.delta;
    const ws_conv_shape conv = ws_conv_shape_of(&m->arch, l);
    const ws_delta_block *t = &m->arch.block[l].delta;
    int64_t channels = conv.channels, heads = s->value_heads;
    ws_arena *arena = m->scratch;
    ws_conv_row *cr = ws_arena_get(arena, (size_t)p->n_rows * sizeof *cr);
    ws_delta_grad *dr = ws_arena_get(arena, (size_t)p->n_rows * sizeof *dr);
    ws_conv_grad *cg = ws_arena_get(arena, (size_t)p->n_rows * sizeof *cg);
    for (int r = 0; r < p->n_rows; r++) {
        int64_t n = p->span[r].n, at = p->first[r];
        const float *in = b->m + at * channels;
        float *c = b->c + at * channels, *g = gc + at * channels;
        cr[r] = (ws_conv_row){.n = n, .m = in, .c = c};
        dr[r] = (ws_delta_grad){.n = n,
                                .c = c,
                                .g = b->log_decay + at * heads,
                                .beta = b->beta + at * heads,
                                .go = go + at * heads * s->dv,
                                .gc = g,
                                .gg = gg + at * heads,
                                .gbeta = gbeta + at * heads};
        cg[r] = (ws_conv_grad){.n = n, .m = in, .gc = g, .gm = g};
    }
    ws_conv_forward(&conv, cr, p->n_rows); /* c and the gates were not kept */
    ws_decay_forward(b->log_decay, b->beta, b->a, b->b, t->neg_a, t->dt_bias, p->n, s->value_heads);
    ws_delta_backward(s, dr, p->n_rows);
    ws_conv_backward(&conv, cg, p->n_rows);
    ws_decay_backward(gg, gbeta, gg, gbeta, b->a, b->beta, t->neg_a, t->dt_bias, p->n, s->value_heads);
}

static void delta_backward(ws_model *m, const ws_pass *p, int l, const ws_block_buf *b, const float *x, float *gx,
                           int stop) {
    const ws_arch *a = &m->arch;
    const ws_delta_shape *s = &a->delta;
    const ws_delta_block *t = &a->block[l].delta;
    ws_arena *arena = m->scratch;
    int64_t n = p->n, d = a->hidden, values = (int64_t)s->value_heads * s->dv;
    int out = ws_mixer_site(m, l, WS_OUT), qkv = ws_mixer_site(m, l, WS_QKV), z = ws_mixer_site(m, l, WS_Z);
    float *go = stop == WS_AT_OUTPUT ? NULL : ws_arena_floats(arena, n * values);
    if (ws_site_patched(&p->hung, out))
        ws_gated_norm_forward(b->y, b->o, b->z, t->norm, a->eps, n, s->value_heads, s->dv, NULL);
    linear(m, p, l, out, b, b->y, own_gy(m, p, out, gx), go, 0);
    if (!go) return;
    float *gz = ws_arena_floats(arena, n * values), *gc = ws_arena_floats(arena, n * ws_delta_channels(s)),
          *ga = ws_arena_floats(arena, n * s->value_heads), *gb = ws_arena_floats(arena, n * s->value_heads);
    ws_gated_norm_backward(go, gz, go, b->o, b->z, t->norm, b->ro, n, s->value_heads, s->dv);
    recur_backward(m, p, l, b, go, gc, ga, gb);
    renorm(m, p, qkv, ws_mixer_site(m, l, WS_A), b, x, a->block[l].norm1);
    float *gxn = stop >= 0 ? NULL : ws_arena_floats(arena, n * d);
    linear(m, p, l, qkv, b, b->xn, gc, gxn, 0);
    linear(m, p, l, z, b, b->xn, gz, gxn, 1);
    linear(m, p, l, ws_mixer_site(m, l, WS_B), b, b->xn, gb, gxn, 1);
    linear(m, p, l, ws_mixer_site(m, l, WS_A), b, b->xn, ga, gxn, 1);
    if (gxn) ws_norm_backward(gx, d, gxn, d, x, d, a->block[l].norm1, b->r1, n, d);
}

int64_t ws_backward_floats(const ws_model *m, int lowest, int n_patches) {
    const ws_arch *a = &m->arch;
    int64_t own = n_patches ? a->hidden : 0, most = 3LL * a->ffn + a->hidden + own, here;
    for (int l = lowest; l < a->layers; l++) {
        if (ws_is_delta(m, l))
            here = 2LL * a->delta.value_heads * a->delta.dv + ws_delta_channels(&a->delta) + 2LL * a->delta.value_heads;
        else
            here = (2LL + a->output_gate) * a->heads * a->head_dim + 2LL * a->kv_heads * a->head_dim;
        here += a->hidden + own;
        most = here > most ? here : most;
    }
    return most;
}

ws_status ws_pass_backward(ws_model *m, const ws_pass *p, float *gx, ws_err *err) {
    const ws_arch *a = &m->arch;
    float *redone = p->recompute ? ws_arena_floats(m->scratch, p->n * a->hidden) : NULL;
    for (int l = a->layers - 1; l >= p->lowest; l--) {
        const ws_block_buf *b = &p->buf[l];
        int stop = l > p->lowest ? -1 : p->stop;
        if (redone) { /* the same calls on the same input: the same bits as the first time */
            ws_status st = ws_pass_layer(m, p, l, b, p->x[l], p->mid[l], redone, err);
            if (st) return st;
        }
        ws_arena_mark mark = ws_arena_save(m->scratch);
        if (ws_keys_only(p, l, a->layers)) {
            keys_only_backward(m, p, l, b, p->x[l], gx, stop);
            ws_arena_rewind(m->scratch, mark);
            continue;
        }
        int more = mlp_backward(m, p, l, b, p->mid[l], gx, stop);
        ws_arena_rewind(m->scratch, mark);
        if (!more) break;
        if (ws_is_delta(m, l))
            delta_backward(m, p, l, b, p->x[l], gx, stop);
        else
            attention_backward(m, p, l, b, p->x[l], gx, stop);
        ws_arena_rewind(m->scratch, mark);
    }
    return WS_OK;
}
