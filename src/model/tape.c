/* src/model/tape.c - what a training pass keeps for its way back.
 *     layer kept:      x, mid, r1, r2, g, u  and  q, k, v, att, lse (raw q and k, gate)  or  m, z, a, b, o and its scales
 *                      (what is cheap is made again: norm outputs, silu(g) u, the convolution, gates, gated values)
 *     with recompute:  x alone; the rest is made again, one layer at a time, in one shared set of buffers
 * The same walk lays the buffers out and, without memory behind it, adds their sizes up for the plan. */
#include "model/parts.h"
#include "ops/crossentropy.h"
#include <stdlib.h>
#include <string.h>

/* Where buffers come from: an arena, or nowhere when only their bytes are asked for. */
typedef struct taker {
    ws_arena *arena;
    int64_t bytes;
} taker;

static void *take(taker *t, int64_t n, size_t size) {
    int64_t bytes = (n * (int64_t)size + 63) & ~(int64_t)63;
    t->bytes += bytes;
    return t->arena ? ws_arena_get(t->arena, (size_t)bytes) : NULL;
}
static float *floats(taker *t, int64_t n) { return take(t, n, sizeof(float)); }

/* The kept buffers of one layer. */
static void keep_block(const ws_model *m, const ws_pass *p, ws_block_buf *b, int layer, taker *t) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n, q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    float **saved[WS_LINEARS];
    memcpy(saved, b->saved, sizeof saved);
    *b = p->work;
    memcpy(b->saved, saved, sizeof saved);
    b->r1 = floats(t, n);
    b->r2 = floats(t, n);
    b->g = floats(t, n * a->ffn);
    b->u = floats(t, n * a->ffn);
    if (ws_is_delta(m, layer)) {
        int64_t heads = a->delta.value_heads;
        b->m = floats(t, n * ws_delta_channels(&a->delta));
        b->z = floats(t, n * heads * a->delta.dv);
        b->a = floats(t, n * heads);
        b->b = floats(t, n * heads);
        b->o = floats(t, n * heads * a->delta.dv);
        b->ro = floats(t, n * heads);
        return;
    }
    b->q = floats(t, n * q);
    b->k = floats(t, n * kv);
    b->v = floats(t, n * kv);
    b->att = floats(t, n * q);
    b->lse = floats(t, n * a->heads);
    if (a->output_gate) b->gate = floats(t, n * q);
    if (a->block[layer].attn.q_norm) {
        b->q_raw = floats(t, n * q);
        b->rq = floats(t, n * a->heads);
    }
    if (a->block[layer].attn.k_norm) {
        b->k_raw = floats(t, n * kv);
        b->rk = floats(t, n * a->kv_heads);
    }
}

/* One pointer per patch for every linear of a layer, where what it keeps will be. */
static void name_patches(const ws_model *m, const ws_pass *p, ws_block_buf *b, int layer, taker *t) {
    for (int place = 0; place < m->first_site[layer + 1] - m->first_site[layer]; place++)
        b->saved[place] = take(t, p->hung.n_patches, sizeof(float *));
}

/* What patches keep at the linears of a layer. */
static void keep_patches(const ws_model *m, const ws_pass *p, ws_block_buf *b, int layer, taker *t) {
    for (int site = m->first_site[layer]; site < m->first_site[layer + 1]; site++)
        for (int i = 0; i < p->hung.n_patches; i++) {
            const ws_patch *q = p->hung.patch[i];
            int64_t k = q->ops->saved_floats && q->ops->hangs_at(q, site) ? q->ops->saved_floats(q, site, p->n) : 0;
            float *mem = k ? floats(t, k) : NULL;
            if (t->arena) b->saved[site - m->first_site[layer]][i] = mem;
        }
}

/* What all layers share: outputs that are made again, and the buffers of layers that keep nothing. */
static void share_work(const ws_model *m, const ws_pass *p, ws_block_buf *w, taker *t) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n, q = a->n_attention ? (int64_t)a->heads * a->head_dim : 0, kv = (int64_t)a->kv_heads * a->head_dim,
            heads = a->n_delta ? a->delta.value_heads : 0, values = heads * a->delta.dv,
            channels = a->n_delta ? ws_delta_channels(&a->delta) : 0;
    int64_t y = a->output_gate && q > values ? q : values;
    memset(w, 0, sizeof *w);
    w->xn = floats(t, n * a->hidden);
    w->f = floats(t, n * a->ffn);
    w->y = floats(t, n * y);
    w->c = floats(t, n * channels);
    w->log_decay = floats(t, n * heads);
    w->beta = floats(t, n * heads);
    if (a->output_gate) w->qc = floats(t, n * 2 * q);
    if (!p->lowest) return;
    w->g = w->f;
    w->u = floats(t, n * a->ffn);
    if (q) {
        w->q = floats(t, n * q);
        w->k = floats(t, n * kv);
        w->v = floats(t, n * kv);
        w->att = floats(t, n * q);
        if (a->output_gate) w->gate = floats(t, n * q);
    }
    if (heads) {
        w->m = floats(t, n * channels);
        w->z = floats(t, n * values);
        w->o = floats(t, n * values);
        w->a = w->log_decay, w->b = w->beta;
    }
}

/* With recompute one layer's buffers serve all: as large as the largest needs. */
static void keep_once(const ws_model *m, ws_pass *p, taker *tape) {
    int64_t most = 0;
    ws_block_buf none;
    for (int l = p->lowest; l < m->arch.layers; l++) {
        taker count = {0};
        memset(&none, 0, sizeof none);
        keep_block(m, p, &none, l, &count);
        keep_patches(m, p, &none, l, &count);
        most = count.bytes > most ? count.bytes : most;
    }
    ws_arena_mark start = {0}; /* the place that has room for the largest has room for each of them */
    if (tape->arena) {
        ws_arena_get(tape->arena, (size_t)most);
        start = ws_arena_save(tape->arena);
        start.used -= (size_t)most;
    }
    for (int l = p->lowest; l < m->arch.layers; l++) {
        taker again = {tape->arena, 0};
        if (tape->arena) ws_arena_rewind(tape->arena, start);
        keep_block(m, p, &p->buf[l], l, &again);
        keep_patches(m, p, &p->buf[l], l, &again);
    }
    if (tape->arena) {
        ws_arena_rewind(tape->arena, start);
        ws_arena_get(tape->arena, (size_t)most);
    }
    tape->bytes += most;
}

static void lay_out(const ws_model *m, ws_pass *p, taker *tape, taker *scratch) {
    const ws_arch *a = &m->arch;
    int64_t n = p->n;
    share_work(m, p, &p->work, scratch);
    float *shared[3] = {floats(scratch, n * a->hidden), floats(scratch, n * a->hidden), floats(scratch, n * a->hidden)};
    for (int l = 0; l <= a->layers; l++) /* below the lowest kept layer two buffers take turns */
        p->x[l] = l < p->lowest ? shared[l & 1] : floats(tape, n * a->hidden);
    if (p->lowest >= a->layers) p->x[a->layers] = shared[a->layers & 1];
    for (int l = 0; l < a->layers; l++) p->mid[l] = shared[2], p->buf[l] = p->work;
    for (int l = p->lowest; l < a->layers; l++) name_patches(m, p, &p->buf[l], l, tape);
    if (p->recompute) {
        if (p->lowest < a->layers) keep_once(m, p, tape);
        return;
    }
    for (int l = p->lowest; l < a->layers; l++) {
        keep_block(m, p, &p->buf[l], l, tape);
        p->mid[l] = floats(tape, n * a->hidden);
        keep_patches(m, p, &p->buf[l], l, tape);
    }
}

void ws_tape_make(ws_model *m, ws_pass *p) {
    const ws_arch *a = &m->arch;
    p->x = ws_arena_get(m->tape, ((size_t)a->layers + 1) * sizeof *p->x);
    p->mid = ws_arena_get(m->tape, (size_t)a->layers * sizeof *p->mid);
    p->buf = ws_arena_get(m->tape, (size_t)a->layers * sizeof *p->buf);
    lay_out(m, p, &(taker){m->tape, 0}, &(taker){m->scratch, 0});
}

/* ---------- the plan ---------- */

/* Scratch of the patches themselves at one site: the gradient that is made apart where they do not tell what they add, about
 * what was kept there, and beside it the turned x or the base's y of those that change or want them. */
static int64_t patch_bytes(const ws_model *m, const ws_pass *p) {
    int64_t most = 0;
    for (int site = 0; site < m->n_linears; site++) {
        int64_t here = 0;
        for (int i = 0; i < p->hung.n_patches; i++) {
            const ws_patch *q = p->hung.patch[i];
            if (!q->ops->hangs_at(q, site)) continue;
            const ws_site *at = &m->site[site];
            if (!q->ops->beside_gx) here += p->n * at->d_in;
            if (q->ops->saved_floats) here += q->ops->saved_floats(q, site, p->n);
            if (q->ops->input || q->ops->product || q->ops->wants_base) here += p->n * (at->d_in + at->d_out);
        }
        most = here > most ? here : most;
    }
    return most * (int64_t)sizeof(float);
}

/* What loss() in train.c takes when every position is supervised. */
static int64_t loss_bytes(const ws_model *m, int64_t n) {
    return n * (4 * m->arch.hidden + 8) * (int64_t)sizeof(float) + ws_crossentropy_scratch(&m->arch.head);
}

/* What a part of so many tokens holds. */
static ws_train_plan held(const ws_model *m, ws_pass *p, int64_t tokens, int recompute) {
    const ws_arch *a = &m->arch;
    int n_patches = p->hung.n_patches;
    int64_t loss = loss_bytes(m, tokens), row = tokens * (int64_t)sizeof(float);
    taker tape = {0}, scratch = {0};
    p->n = p->hung.n = tokens, p->recompute = recompute;
    lay_out(m, p, &tape, &scratch);
    int64_t back = p->lowest < a->layers ? ws_backward_floats(m, p->lowest, n_patches) * row : 0;
    if (recompute) back += row * a->hidden;
    scratch.bytes += row * (3 + 3 * n_patches) + (p->lowest < a->layers ? row * a->hidden : 0);
    scratch.bytes += (back > loss ? back : loss) + patch_bytes(m, p);
    return (ws_train_plan){.recompute = recompute, .activations = tape.bytes, .scratch = scratch.bytes};
}
static int64_t bytes(ws_train_plan plan) { return plan.activations + plan.scratch; }

/* Whole; else parts of as many tokens as the budget can keep; rows that are longer are recomputed where that helps. */
static ws_train_plan cut(const ws_model *m, ws_pass *p, int64_t tokens, int64_t longest, int64_t budget) {
    ws_train_plan whole = held(m, p, tokens, 0);
    if (bytes(whole) <= budget) return whole;
    int64_t part = 1, above = tokens; /* memory grows with the tokens */
    while (part + 1 < above) {
        int64_t mid = part + (above - part) / 2;
        if (bytes(held(m, p, mid, 0)) <= budget)
            part = mid;
        else
            above = mid;
    }
    ws_train_plan plan = held(m, p, part, 0);
    if (part < longest) {
        ws_train_plan kept = held(m, p, longest, 0), again = held(m, p, longest, 1);
        int saves = bytes(again) < bytes(kept);
        if (!saves) plan = kept, part = longest;
        if (saves && bytes(again) > bytes(plan)) plan = again;
        plan.recompute = saves;
    }
    plan.part = part < tokens ? part : 0; /* one row, and nothing that would save memory */
    return plan;
}

/* What an open share holds while passes run above it, in activations, and in scratch what its way back takes. */
static ws_train_plan held_shared(const ws_model *m, ws_pass *p, int64_t tokens, int recompute) {
    if (!tokens) return (ws_train_plan){0};
    const ws_arch *a = &m->arch;
    taker tape = {0}, scratch = {0};
    int64_t row = tokens * (int64_t)sizeof(float);
    p->n = p->hung.n = tokens, p->recompute = recompute;
    lay_out(m, p, &tape, &scratch);
    int64_t back = 0;
    if (p->lowest < a->layers) back = ws_backward_floats(m, p->lowest, p->hung.n_patches) * row + row * a->hidden;
    if (recompute) back += row * a->hidden;
    scratch.bytes += row * (3 + 3 * p->hung.n_patches);
    return (ws_train_plan){.recompute = recompute,
                           .activations = tape.bytes + scratch.bytes + ws_share_held(m, tokens, p->lowest),
                           .scratch = back + patch_bytes(m, p)};
}

ws_train_plan ws_train_plan_sharing(const ws_model *m, int64_t tokens, int64_t longest, int64_t shared,
                                    ws_patch *const *patch, int n_patches, int trainable, int64_t budget) {
    size_t layers = (size_t)m->arch.layers;
    ws_pass p = {.hung = {.n_patches = n_patches, .patch = patch}};
    p.x = ws_xcalloc(layers + 1, sizeof *p.x);
    p.mid = ws_xcalloc(layers, sizeof *p.mid);
    p.buf = ws_xcalloc(layers, sizeof *p.buf);
    ws_pass_end(m, &p, patch, trainable);
    ws_train_plan below = held_shared(m, &p, shared, 0), plan = cut(m, &p, tokens, longest, budget - below.activations);
    if (plan.part && shared > plan.part) { /* it is recomputed as well, and must be so with the room that this gives */
        below = held_shared(m, &p, shared, 1);
        plan = cut(m, &p, tokens, longest, budget - below.activations);
        if (!plan.part || plan.part >= shared) {
            plan = held(m, &p, shared - 1 < tokens ? shared - 1 : tokens, 0);
            plan.part = shared - 1;
        }
    }
    plan.activations += below.activations;
    if (below.scratch > plan.scratch) plan.scratch = below.scratch;
    free(p.x), free(p.mid), free(p.buf);
    return plan;
}

ws_train_plan ws_train_plan_for(const ws_model *m, int64_t tokens, int64_t longest, ws_patch *const *patch,
                                int n_patches, int trainable, int64_t budget) {
    return ws_train_plan_sharing(m, tokens, longest, 0, patch, n_patches, trainable, budget);
}
