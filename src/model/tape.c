/* src/model/tape.c - what a training pass keeps for its way back.
 *     layer kept:      x, r1, q, k, v, att, lse, mid, r2, g, u   (norm outputs and silu(g) u are cheap: made again)
 *     with recompute:  x alone; the rest is made again, one layer at a time, in one shared set of buffers */
#include "model/parts.h"
#include "ops/crossentropy.h"
#include <string.h>

static int64_t patch_floats(const ws_pass *p, int site, int patch) {
    const ws_patch *q = p->hung.patch[patch];
    if (!q->ops->saved_floats || !q->ops->hangs_at(q, site)) return 0;
    return q->ops->saved_floats(q, site, p->n);
}

static void keep_block(ws_model *m, const ws_pass *p, ws_block_buf *b, int layer, ws_arena *arena) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n, q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    *b = p->work;
    b->r1 = ws_arena_floats(arena, n);
    b->r2 = ws_arena_floats(arena, n);
    b->q = ws_arena_floats(arena, n * q);
    b->k = ws_arena_floats(arena, n * kv);
    b->v = ws_arena_floats(arena, n * kv);
    b->att = ws_arena_floats(arena, n * q);
    b->lse = ws_arena_floats(arena, n * a->heads);
    b->g = ws_arena_floats(arena, n * a->ffn);
    b->u = ws_arena_floats(arena, n * a->ffn);
    if (a->block[layer].attn.q_norm) {
        b->q_raw = ws_arena_floats(arena, n * q);
        b->rq = ws_arena_floats(arena, n * a->heads);
    }
    if (a->block[layer].attn.k_norm) {
        b->k_raw = ws_arena_floats(arena, n * kv);
        b->rk = ws_arena_floats(arena, n * a->kv_heads);
    }
}

/* Room for what patches keep at the seven linears of a layer. */
static void keep_patches(const ws_pass *p, ws_block_buf *b, int first_site, ws_arena *arena) {
    for (int j = 0; j < WS_LINEARS; j++) {
        b->saved[j] = ws_arena_get(arena, (size_t)p->hung.n_patches * sizeof(float *));
        for (int i = 0; i < p->hung.n_patches; i++) {
            int64_t k = patch_floats(p, first_site + j, i);
            b->saved[j][i] = k ? ws_arena_floats(arena, k) : NULL;
        }
    }
}

void ws_tape_make(ws_model *m, ws_pass *p) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n, q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    p->x = ws_arena_get(m->tape, ((size_t)a->layers + 1) * sizeof *p->x);
    p->mid = ws_arena_get(m->tape, (size_t)a->layers * sizeof *p->mid);
    p->buf = ws_arena_get(m->tape, (size_t)a->layers * sizeof *p->buf);
    ws_block_buf *w = &p->work;
    memset(w, 0, sizeof *w);
    w->xn = ws_arena_floats(m->scratch, n * a->hidden);
    w->f = ws_arena_floats(m->scratch, n * a->ffn);
    if (p->lowest > 0) { /* layers without a tape */
        w->q = ws_arena_floats(m->scratch, n * q);
        w->k = ws_arena_floats(m->scratch, n * kv);
        w->v = ws_arena_floats(m->scratch, n * kv);
        w->att = ws_arena_floats(m->scratch, n * q);
        w->g = w->f;
        w->u = ws_arena_floats(m->scratch, n * a->ffn);
    }
    float *shared[3] = {ws_arena_floats(m->scratch, n * a->hidden), ws_arena_floats(m->scratch, n * a->hidden),
                        ws_arena_floats(m->scratch, n * a->hidden)};
    for (int l = 0; l <= a->layers; l++) /* below the lowest kept layer two buffers take turns */
        p->x[l] = l < p->lowest ? shared[l & 1] : ws_arena_floats(m->tape, n * a->hidden);
    if (p->lowest >= a->layers) p->x[a->layers] = shared[a->layers & 1];
    ws_block_buf once = *w;
    if (m->recompute && p->lowest < a->layers) keep_block(m, p, &once, p->lowest, m->tape);
    for (int l = 0; l < a->layers; l++) {
        p->mid[l] = shared[2];
        p->buf[l] = *w;
        if (l < p->lowest) continue;
        if (m->recompute) {
            p->buf[l] = once;
        } else {
            keep_block(m, p, &p->buf[l], l, m->tape);
            p->mid[l] = ws_arena_floats(m->tape, n * a->hidden);
        }
        keep_patches(p, &p->buf[l], m->first_site[l], m->tape);
    }
}

ws_train_plan ws_train_plan_for(const ws_model *m, int64_t tokens, int lowest_layer, int64_t budget_bytes) {
    const ws_arch *a = &m->arch;
    int64_t q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim, d = a->hidden, f = a->ffn;
    int64_t block = d + 2 + 2 * q + 2 * kv + a->heads + 2 * f; /* mid and everything that keep_block takes */
    if (a->block[0].attn.q_norm) block += q + a->heads;
    if (a->block[0].attn.k_norm) block += kv + a->kv_heads;
    int64_t kept = a->layers - (lowest_layer < 0 ? 0 : lowest_layer), F = (int64_t)sizeof(float);
    int64_t forward = 4 * d + 2 * q + 2 * kv + 2 * f, backward = 3 * d + 3 * q + 2 * kv + 3 * f;
    ws_train_plan plan = {.scratch = tokens * (forward + backward + 3 * d) * F + ws_crossentropy_scratch(&a->head)};
    int64_t all = tokens * (kept * (block + d) + d) * F, least = tokens * ((kept + 1) * d + block) * F;
    plan.recompute = all + plan.scratch > budget_bytes && least < all;
    plan.activations = plan.recompute ? least : all;
    return plan;
}
