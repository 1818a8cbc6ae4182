/* src/model/forward.c - inference over packed rows.
 * The tokens of all rows stand one after another without padding and run through every layer in chunks of at most CHUNK
 * tokens, so scratch memory is bounded; a long row goes on in the next chunk, its earlier keys lying in pages.  Nothing
 * in a token's result depends on where a chunk ends or on what else is in it.  In the last layer all tokens still leave
 * their keys and values, or run through the delta rule, but only the wanted positions go on. */
#include "base/parallel.h"
#include "kernel/compute.h"
#include "model/parts.h"
#include "ops/embed.h"
#include "ops/norm.h"
#include <string.h>

enum { CHUNK = 512 };

/* The part of a row that is in the chunk. */
typedef struct segment {
    int row, seq; /* seq -1: keys stay in the chunk's own k and v */
    int like;     /* the sequence that computes its trunk; -1: it does so itself */
    int last;     /* of the row */
    ws_state *state;
    int64_t first, n;   /* its tokens in the chunk */
    int64_t sub, n_sub; /* its wanted tokens among the chunk's wanted ones: the last n_sub of the n */
    int64_t pos;        /* position of its first token */
} segment;

typedef struct chunk {
    int64_t n, n_sub;
    int n_seg, n_like; /* segments; those of them whose trunk another sequence computes */
    segment *seg;      /* [n_seg] */
    int32_t *ids, *pos, *sub_pos;
    int *row, *sub_row; /* batch row of each token */
} chunk;

static ws_status non_finite(const int *row, const int32_t *pos, int64_t token, int layer, int layers, ws_err *err) {
    if (layer < layers)
        return ws_fail(err, WS_ENONFINITE, "a value that is not finite reached layer %d in row %d at position %d",
                       layer, row[token], pos[token]);
    return ws_fail(err, WS_ENONFINITE, "a value that is not finite left the last layer (%d) in row %d at position %d",
                   layers - 1, row[token], pos[token]);
}

static void buffers(ws_block_buf *b, const ws_arch *a, int64_t n, ws_arena *arena) {
    int64_t q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim;
    memset(b, 0, sizeof *b);
    b->xn = ws_arena_floats(arena, n * a->hidden);
    if (a->n_attention) {
        b->q = ws_arena_floats(arena, n * q);
        b->k = ws_arena_floats(arena, n * kv);
        b->v = ws_arena_floats(arena, n * kv);
        b->y = b->att = ws_arena_floats(arena, n * q);
        if (a->output_gate) b->qc = ws_arena_floats(arena, n * 2 * q), b->gate = ws_arena_floats(arena, n * q);
    }
    if (a->n_delta) {
        int64_t value_heads = a->delta.value_heads, channels = ws_delta_channels(&a->delta);
        b->m = ws_arena_floats(arena, n * channels);
        b->c = ws_arena_floats(arena, n * channels);
        b->z = ws_arena_floats(arena, n * value_heads * a->delta.dv);
        b->o = ws_arena_floats(arena, n * value_heads * a->delta.dv);
        b->a = b->log_decay = ws_arena_floats(arena, n * value_heads);
        b->b = b->beta = ws_arena_floats(arena, n * value_heads);
    }
    b->g = ws_arena_floats(arena, n * a->ffn);
    b->u = ws_arena_floats(arena, n * a->ffn);
    b->f = b->g;
}

int64_t ws_model_scratch_bytes(const ws_model *m) {
    const ws_arch *a = &m->arch;
    int64_t q = (int64_t)a->heads * a->head_dim, kv = (int64_t)a->kv_heads * a->head_dim,
            values = (int64_t)a->delta.value_heads * a->delta.dv, n = 4LL * a->hidden + 2LL * a->ffn;
    if (a->n_attention) n += (2 + 3 * a->output_gate) * q + 2 * kv;
    if (a->n_delta) n += 2 * ws_delta_channels(&a->delta) + 3 * values + 2LL * a->delta.value_heads;
    return CHUNK * n * (int64_t)sizeof(float);
}

/* The wanted tokens of x [n, d], packed. */
static void take_wanted(const chunk *c, const float *x, float *out, int64_t d) {
    for (int i = 0; i < c->n_seg; i++) {
        const segment *s = &c->seg[i];
        memcpy(out + s->sub * d, x + (s->first + s->n - s->n_sub) * d, (size_t)(s->n_sub * d) * sizeof *x);
    }
}

/* Attention over everything before: of all tokens, whose keys and values are stored on the way, or of the wanted ones, all
 * having been stored. */
static void attend(const ws_model *m, int layer, const chunk *c, const ws_block_buf *b, int pruned, ws_arena *arena) {
    const ws_attn_shape shape = ws_attn_shape_of(&m->arch);
    const ws_kv_shape kv = ws_kv_shape_of(&m->arch);
    ws_arena_mark mark = ws_arena_save(arena);
    ws_attn_row *row = ws_arena_get(arena, (size_t)c->n_seg * sizeof *row);
    int n = 0;
    for (int i = 0; i < c->n_seg; i++) {
        const segment *s = &c->seg[i];
        int64_t at = pruned ? s->sub : s->first, k = pruned ? s->n_sub : s->n;
        if (!k) continue;
        ws_attn_row *r = &row[n++];
        *r = (ws_attn_row){.n = k, .pos = s->pos + s->n - k, .q = b->q + at * shape.ldq, .o = b->att + at * shape.ldo};
        if (s->seq >= 0) r->page = ws_seq_pages(s->state, s->seq);
        if (s->seq < 0 || !pruned) r->k = b->k + s->first * shape.ldk, r->v = b->v + s->first * shape.ldk;
    }
    ws_attention(&shape, &kv, m->arch.block[layer].nth, row, n);
    ws_arena_rewind(arena, mark);
}

static void store(const ws_model *m, int layer, const chunk *c, const ws_block_buf *b) {
    const ws_kv_shape kv = ws_kv_shape_of(&m->arch);
    int64_t ld = (int64_t)kv.kv_heads * kv.head_dim;
    for (int i = 0; i < c->n_seg; i++) {
        const segment *s = &c->seg[i];
        if (s->seq < 0) continue;
        ws_kv_store(&kv, ws_seq_pages(s->state, s->seq), m->arch.block[layer].nth, s->pos, s->n, b->k + s->first * ld,
                    b->v + s->first * ld, ld);
    }
}

/* Convolution and delta rule of all tokens: b->m -> b->c -> b->o. */
static void recur(const ws_model *m, int layer, const chunk *c, const ws_block_buf *b, ws_arena *arena) {
    const ws_delta_shape *s = &m->arch.delta;
    const ws_conv_shape conv = ws_conv_shape_of(&m->arch, layer);
    int64_t channels = conv.channels, heads = s->value_heads;
    ws_arena_mark mark = ws_arena_save(arena);
    ws_conv_row *cr = ws_arena_get(arena, (size_t)c->n_seg * sizeof *cr);
    ws_delta_row *dr = ws_arena_get(arena, (size_t)c->n_seg * sizeof *dr);
    for (int i = 0; i < c->n_seg; i++) {
        const segment *g = &c->seg[i];
        ws_recurrent r = {0};
        if (g->seq >= 0) r = ws_seq_recurrent(g->state, g->seq, m->arch.block[layer].nth);
        cr[i] = (ws_conv_row){g->n, g->pos, b->m + g->first * channels, b->c + g->first * channels, r.ring};
        dr[i] = (ws_delta_row){.n = g->n,
                               .pos = g->pos,
                               .c = b->c + g->first * channels,
                               .g = b->log_decay + g->first * heads,
                               .beta = b->beta + g->first * heads,
                               .o = b->o + g->first * heads * s->dv,
                               .from = r.from,
                               .to = r.to,
                               .open = r.open};
    }
    ws_conv_forward(&conv, cr, c->n_seg);
    ws_delta_forward(s, dr, c->n_seg);
    ws_arena_rewind(arena, mark);
}

/* A chunk on its way through the layers. */
typedef struct flow {
    const chunk *c;
    ws_block_buf b;
    ws_hung all, wanted;
    const ws_hung *h; /* all, or wanted once the others have left */
    const int32_t *pos;
    const int *row;
    float *x, *mid;
} flow;

/* From here on only the wanted tokens. */
static void prune(ws_model *m, flow *f) {
    int64_t d = m->arch.hidden;
    float *xn = ws_arena_floats(m->scratch, f->c->n_sub * d), *swap = f->x;
    take_wanted(f->c, f->x, f->mid, d);
    take_wanted(f->c, f->b.xn, xn, d);
    f->x = f->mid, f->mid = swap, f->b.xn = xn;
    f->h = &f->wanted, f->pos = f->c->sub_pos, f->row = f->c->sub_row;
}

/* mid = x + mixer(norm1 x); returns the first token that is not finite, or -1.  `last`: prune on the way. */
static int64_t attention_layer(ws_model *m, int l, flow *f, int last) {
    ws_base_share(f->b.xn);
    ws_block_kv(m, l, f->h, &f->b, f->b.xn, f->pos);
    if (last) store(m, l, f->c, &f->b), prune(m, f);
    if (f->h->n) ws_block_q(m, l, f->h, &f->b, f->b.xn, f->pos);
    ws_base_share(NULL);
    if (!f->h->n) return -1;
    attend(m, l, f->c, &f->b, f->h != &f->all, m->scratch);
    ws_block_o(m, l, f->h, &f->b, f->x, f->mid);
    return -1;
}
static int64_t delta_layer(ws_model *m, int l, flow *f, int last) {
    ws_block_buf *b = &f->b;
    ws_block_delta_in(m, l, f->h, b, b->xn);
    recur(m, l, f->c, b, m->scratch);
    if (last) {
        int64_t value_dim = (int64_t)m->arch.delta.value_heads * m->arch.delta.dv;
        float *o = ws_arena_floats(m->scratch, f->c->n_sub * value_dim);
        take_wanted(f->c, b->o, o, value_dim);
        b->o = o;
        prune(m, f);
    }
    if (!f->h->n) return -1;
    ws_block_buf with = *b;
    with.y = b->o;
    return ws_block_delta_out(m, l, f->h, &with, b->xn, f->x, f->mid);
}

/* From here on the tokens of c. */
static void flow_on(const ws_batch *b, flow *f, const chunk *c, ws_arena *arena) {
    f->c = c, f->h = &f->all, f->pos = c->pos, f->row = c->row;
    ws_hung_set(&f->all, c->n, c->row, b->n_patches, b->patch, b->alpha, arena);
}

/* Layers begin .. end-1; `pruned`: in the last of the model only the wanted tokens go on. */
static ws_status layers(ws_model *m, flow *f, int begin, int end, int pruned, ws_err *err) {
    const int n = m->arch.layers;
    int64_t bad;
    for (int l = begin; l < end; l++) {
        int last = pruned && l == n - 1;
        if ((bad = ws_block_norm1(m, l, &f->b, f->x, f->h->n)) >= 0) return non_finite(f->row, f->pos, bad, l, n, err);
        bad = ws_is_delta(m, l) ? delta_layer(m, l, f, last) : attention_layer(m, l, f, last);
        if (bad >= 0) return non_finite(f->row, f->pos, bad, l, n, err);
        if (!f->h->n) return WS_OK;
        if ((bad = ws_block_mlp(m, l, f->h, &f->b, f->mid, f->x)) >= 0)
            return non_finite(f->row, f->pos, bad, l, n, err);
        ws_block_patches(m, f->h, l, f->x);
        if (m->tap) m->tap(m->tap_arg, l, f->x, f->h->n);
    }
    return WS_OK;
}

/* The segments of c whose trunk is their own, packed. */
static void own_trunks(const chunk *c, chunk *own, ws_arena *arena) {
    *own = (chunk){0};
    own->ids = ws_arena_get(arena, (size_t)c->n * sizeof *own->ids);
    own->pos = ws_arena_get(arena, (size_t)c->n * sizeof *own->pos);
    own->row = ws_arena_get(arena, (size_t)c->n * sizeof *own->row);
    own->seg = ws_arena_get(arena, (size_t)c->n_seg * sizeof *own->seg);
    for (int i = 0; i < c->n_seg; i++) {
        const segment *s = &c->seg[i];
        if (s->like >= 0) continue;
        memcpy(own->ids + own->n, c->ids + s->first, (size_t)s->n * sizeof *own->ids);
        memcpy(own->pos + own->n, c->pos + s->first, (size_t)s->n * sizeof *own->pos);
        memcpy(own->row + own->n, c->row + s->first, (size_t)s->n * sizeof *own->row);
        own->seg[own->n_seg] = *s;
        own->seg[own->n_seg++].first = own->n;
        own->n += s->n;
    }
}

/* At the end of the trunk: own ones are kept, the others come from the sequences that have them. */
typedef struct meeting {
    const chunk *c, *own;
    const float *from; /* [own->n, d] */
    float *to;         /* [c->n, d]; NULL: no others */
    int64_t d;
} meeting;
static void keep_own(void *arg, int64_t begin, int64_t end) {
    const meeting *a = arg;
    for (int64_t i = begin; i < end; i++) {
        const segment *s = &a->own->seg[i];
        if (s->seq >= 0 && ws_state_trunk_layer(s->state))
            ws_seq_keep(s->state, s->seq, s->pos, s->n, a->own->ids + s->first, a->from + s->first * a->d);
    }
}
static void take_others(void *arg, int64_t begin, int64_t end) {
    const meeting *a = arg;
    for (int64_t i = begin; i < end; i++) {
        const segment *s = &a->c->seg[i];
        if (s->like < 0) continue;
        ws_seq_follow(s->state, s->seq, s->like, s->pos, s->n, a->c->ids + s->first, s->last, a->to + s->first * a->d);
    }
}
static void meet(const meeting *a) {
    ws_parallel_for(a->own->n_seg, 1, keep_own, (void *)(uintptr_t)a);
    if (!a->to) return;
    ws_parallel_for(a->c->n_seg, 1, take_others, (void *)(uintptr_t)a);
    int64_t at = 0;
    for (int i = 0; i < a->c->n_seg; i++) {
        const segment *s = &a->c->seg[i];
        if (s->like >= 0) continue;
        memcpy(a->to + s->first * a->d, a->from + at * a->d, (size_t)(s->n * a->d) * sizeof(float));
        at += s->n;
    }
}

/* hidden [c->n_sub, hidden] */
static ws_status run(ws_model *m, const ws_state *s, const ws_batch *batch, const chunk *c, float *hidden,
                     ws_err *err) {
    const ws_arch *a = &m->arch;
    ws_arena *arena = m->scratch;
    const int pruned = c->n_sub < c->n && !m->tap, trunk = s ? ws_state_trunk_layer(s) : 0;
    int64_t d = a->hidden, bad;
    chunk own;
    flow f = {0};
    if (c->n_like) own_trunks(c, &own, arena);
    flow_on(batch, &f, c->n_like ? &own : c, arena);
    if (pruned) ws_hung_set(&f.wanted, c->n_sub, c->sub_row, batch->n_patches, batch->patch, batch->alpha, arena);
    buffers(&f.b, a, c->n, arena);
    f.x = ws_arena_floats(arena, c->n * d), f.mid = ws_arena_floats(arena, c->n * d);
    ws_embed_forward(f.x, f.c->ids, f.c->n, &a->embed);
    if (trunk) {
        if (f.c->n && layers(m, &f, 0, trunk, 0, err)) return err->code;
        meet(&(meeting){c, f.c, f.x, c->n_like ? f.mid : NULL, d});
        if (c->n_like) {
            float *own_x = f.x;
            f.x = f.mid, f.mid = own_x;
            flow_on(batch, &f, c, arena);
        }
    }
    if (layers(m, &f, trunk, a->layers, pruned, err)) return err->code;
    if (!f.h->n) return WS_OK;
    if (f.h == &f.all && c->n_sub < c->n) {
        take_wanted(c, f.x, f.mid, d);
        f.x = f.mid, f.pos = c->sub_pos, f.row = c->sub_row;
    }
    if ((bad = ws_norm_forward(hidden, d, f.x, d, a->norm, a->eps, c->n_sub, d, NULL)) >= 0)
        return non_finite(f.row, f.pos, bad, a->layers, a->layers, err);
    return WS_OK;
}

/* like [n_rows]: for every row the sequence whose trunk it takes, or -1.  after [sequences]: how long they will be once the
 * rows before this one are through, -1 for those that stand in none; by [sequences]: what each of those follows itself. */
static void find_like(const ws_model *m, const ws_state *s, const ws_batch *b, const int *asked, int *like,
                      int n_seqs) {
    int *after = ws_arena_get(m->scratch, (size_t)n_seqs * sizeof *after),
        *by = ws_arena_get(m->scratch, (size_t)n_seqs * sizeof *by),
        *lowest = ws_arena_get(m->scratch, (size_t)b->n_patches * sizeof *lowest + 1);
    const int trunk = s ? ws_state_trunk_layer(s) : 0;
    for (int i = 0; i < n_seqs; i++) after[i] = by[i] = -1;
    for (int p = 0; p < b->n_patches; p++) lowest[p] = ws_patches_lowest(m, &b->patch[p], 1);
    for (int r = 0; r < b->n_rows; r++) {
        const ws_row *row = &b->row[r];
        int of = asked && trunk && !m->tap && row->n ? asked[r] : -1, ends = 0;
        if (row->seq >= 0) ends = ws_seq_len(s, row->seq) + row->n;
        for (int p = 0; p < b->n_patches; p++)
            if (b->alpha[p][r] != 0 && lowest[p] < trunk) of = -1;
        if (of >= 0) {
            if (row->seq < 0 || of == row->seq || !ws_seq_live(s, of))
                BUG("row %d of sequence %d cannot be like sequence %d", r, row->seq, of);
            int its = of < n_seqs && after[of] >= 0 ? after[of] : ws_seq_len(s, of);
            if (m->dims.n_delta ? its != ends : its < ends)
                BUG("row %d will have read %d tokens, sequence %d, which it is like, %d", r, ends, of, its);
            if (of < n_seqs && by[of] >= 0) of = by[of];
        }
        like[r] = of;
        if (row->seq >= 0) after[row->seq] = ends, by[row->seq] = of;
    }
}

static ws_status check(const ws_model *m, const ws_state *s, const ws_batch *b, const int *asked, int *like,
                       ws_err *err) {
    ws_arena_mark mark = ws_arena_save(m->scratch);
    int most = -1;
    for (int r = 0; r < b->n_rows; r++) most = b->row[r].seq > most ? b->row[r].seq : most;
    char *seen = ws_arena_get(m->scratch, (size_t)most + 1);
    memset(seen, 0, (size_t)most + 1);
    for (int r = 0; r < b->n_rows; r++) {
        const ws_row *row = &b->row[r];
        WS_ASSERT(row->n >= 0 && row->n_out >= 0 && row->n_out <= row->n);
        if (row->seq >= 0) {
            if (!s || !ws_seq_live(s, row->seq)) BUG("row %d: sequence %d does not exist", r, row->seq);
            if (seen[row->seq]++) BUG("sequence %d stands in two rows of one batch", row->seq);
        }
        for (int i = 0; i < row->n; i++)
            if (row->ids[i] < 0 || row->ids[i] >= m->arch.vocab)
                return ws_fail(err, WS_EUSAGE, "row %d: token id %d at %d is outside the model's vocabulary 0..%lld", r,
                               row->ids[i], i, (long long)m->arch.vocab - 1);
    }
    find_like(m, s, b, asked, like, most + 1);
    ws_arena_rewind(m->scratch, mark);
    return WS_OK;
}

/* Where the next chunk begins. */
typedef struct cursor {
    int row, token;
    int temp; /* a sequence of m->own for a row that keeps no keys but spans chunks; -1: none */
} cursor;

static ws_status build(ws_model *m, ws_state *s, const ws_batch *b, const int *like, cursor *at, chunk *c,
                       ws_err *err) {
    ws_arena *arena = m->scratch;
    c->n = c->n_sub = c->n_seg = c->n_like = 0;
    c->ids = ws_arena_get(arena, CHUNK * sizeof *c->ids);
    c->pos = ws_arena_get(arena, CHUNK * sizeof *c->pos);
    c->sub_pos = ws_arena_get(arena, CHUNK * sizeof *c->sub_pos);
    c->row = ws_arena_get(arena, CHUNK * sizeof *c->row);
    c->sub_row = ws_arena_get(arena, CHUNK * sizeof *c->sub_row);
    c->seg = ws_arena_get(arena, CHUNK * sizeof *c->seg);
    for (; at->row < b->n_rows && c->n < CHUNK; at->row++, at->token = 0) {
        const ws_row *row = &b->row[at->row];
        int n = row->n - at->token;
        if (!n) continue;
        if (n > CHUNK - c->n) {
            /* A row without a sequence begins a chunk, so that it stays whole where it can and borrows one sequence
             * where it cannot. */
            if (row->seq < 0 && !at->token && c->n) break;
            n = (int)(CHUNK - c->n);
        }
        segment *g = &c->seg[c->n_seg++];
        int from = at->token, wanted_from = row->n - row->n_out > from ? row->n - row->n_out : from;
        *g = (segment){.row = at->row,
                       .seq = row->seq,
                       .like = like[at->row],
                       .last = from + n == row->n,
                       .state = s,
                       .first = c->n,
                       .n = n,
                       .sub = c->n_sub};
        c->n_like += g->like >= 0;
        g->n_sub = from + n > wanted_from ? from + n - wanted_from : 0;
        if (row->seq < 0 && n < row->n) { /* spans chunks */
            if (!m->own && ws_state_new(&m->own, m, err)) return err->code;
            if (at->temp < 0) at->temp = ws_seq_new(m->own);
            g->state = m->own, g->seq = at->temp;
        }
        if (g->seq >= 0) {
            g->pos = ws_seq_len(g->state, g->seq);
            if (g->pos > INT32_MAX - n)
                return ws_fail(err, WS_EUSAGE, "row %d: more than %d tokens", at->row, INT32_MAX);
            if (ws_seq_reserve(g->state, g->seq, n, err)) return err->code;
        }
        for (int i = 0; i < n; i++) {
            c->ids[c->n + i] = row->ids[from + i];
            c->pos[c->n + i] = (int32_t)(g->pos + i);
            c->row[c->n + i] = at->row;
            if (i < n - g->n_sub) continue;
            c->sub_pos[c->n_sub] = (int32_t)(g->pos + i);
            c->sub_row[c->n_sub++] = at->row;
        }
        ws_rope_reserve(&m->arch.rope, (int)(g->pos + n));
        c->n += n;
        at->token += n;
        if (at->token < row->n) break;
    }
    return WS_OK;
}

ws_status ws_forward(ws_model *m, ws_state *s, const ws_batch *b, float *hidden, ws_err *err) {
    return ws_forward_like(m, s, b, NULL, hidden, err);
}

ws_status ws_forward_like(ws_model *m, ws_state *s, const ws_batch *b, const int *asked, float *hidden, ws_err *err) {
    ws_arena_mark mark = ws_arena_save(m->scratch);
    cursor at = {.temp = -1};
    int *like = ws_arena_get(m->scratch, (size_t)b->n_rows * sizeof *like + 1);
    if (check(m, s, b, asked, like, err)) {
        ws_arena_rewind(m->scratch, mark);
        return err->code;
    }
    int *before = ws_arena_get(m->scratch, (size_t)b->n_rows * sizeof *before);
    for (int r = 0; r < b->n_rows; r++) before[r] = b->row[r].seq >= 0 ? ws_seq_len(s, b->row[r].seq) : 0;
    ws_arena_mark inner = ws_arena_save(m->scratch);
    ws_status st = WS_OK;
    while (!st && at.row < b->n_rows) {
        chunk c;
        int row = at.row;
        ws_arena_rewind(m->scratch, inner);
        if ((st = build(m, s, b, like, &at, &c, err))) break;
        if (c.n && (st = run(m, s, b, &c, hidden, err))) break;
        hidden += c.n_sub * m->arch.hidden;
        for (int i = 0; i < c.n_seg; i++)
            if (c.seg[i].seq >= 0) ws_seq_grow(c.seg[i].state, c.seg[i].seq, (int)c.seg[i].n);
        if (at.temp >= 0 && at.row > row) { /* that row is done */
            ws_seq_free(m->own, at.temp);
            at.temp = -1;
        }
    }
    if (at.temp >= 0) ws_seq_free(m->own, at.temp);
    for (int r = 0; st && r < b->n_rows; r++)
        if (b->row[r].seq >= 0) ws_seq_roll_back(s, b->row[r].seq, before[r]);
    ws_arena_rewind(m->scratch, mark);
    return st;
}
