/* src/model/forward.c - inference over packed rows.
 * The tokens of all rows stand one after another without padding and run through every layer in chunks of at most CHUNK
 * tokens, so scratch memory is bounded; a long row goes on in the next chunk, its earlier keys lying in pages.  Nothing
 * in a token's result depends on where a chunk ends or on what else is in it. In the last layer all tokens still leave
 * their keys and values, but only the wanted positions go on. */
#include "model/parts.h"
#include "ops/embed.h"
#include "ops/norm.h"
#include <string.h>

enum { CHUNK = 512 };

/* The part of a row that is in the chunk. */
typedef struct segment {
    int row, seq; /* seq -1: keys stay in the chunk's own k and v */
    ws_state *state;
    int64_t first, n;   /* its tokens in the chunk */
    int64_t sub, n_sub; /* its wanted tokens among the chunk's wanted ones: the last n_sub of the n */
    int64_t pos;        /* position of its first token */
} segment;

typedef struct chunk {
    int64_t n, n_sub;
    int n_seg;
    segment *seg; /* [n_seg] */
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
    b->q = ws_arena_floats(arena, n * q);
    b->k = ws_arena_floats(arena, n * kv);
    b->v = ws_arena_floats(arena, n * kv);
    b->att = ws_arena_floats(arena, n * q);
    b->g = ws_arena_floats(arena, n * a->ffn);
    b->u = ws_arena_floats(arena, n * a->ffn);
    b->f = b->g;
}

/* The wanted tokens of x [n, d], packed. */
static void take_wanted(const chunk *c, const float *x, float *out, int64_t d) {
    for (int i = 0; i < c->n_seg; i++) {
        const segment *s = &c->seg[i];
        memcpy(out + s->sub * d, x + (s->first + s->n - s->n_sub) * d, (size_t)(s->n_sub * d) * sizeof *x);
    }
}

/* Attention of `wanted` tokens (all of them, or just the wanted ones) over everything before them. */
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
        if (s->seq >= 0)
            r->page = ws_seq_pages(s->state, s->seq);
        else
            r->k = b->k + s->first * shape.ldk, r->v = b->v + s->first * shape.ldk;
    }
    ws_attention(&shape, &kv, layer, row, n);
    ws_arena_rewind(arena, mark);
}

static void store(const ws_model *m, int layer, const chunk *c, const ws_block_buf *b) {
    const ws_kv_shape kv = ws_kv_shape_of(&m->arch);
    int64_t ld = (int64_t)kv.kv_heads * kv.head_dim;
    for (int i = 0; i < c->n_seg; i++) {
        const segment *s = &c->seg[i];
        if (s->seq < 0) continue;
        ws_kv_store(&kv, ws_seq_pages(s->state, s->seq), layer, s->pos, s->n, b->k + s->first * ld,
                    b->v + s->first * ld, ld);
    }
}

/* hidden [c->n_sub, hidden] */
static ws_status run(ws_model *m, const ws_batch *batch, const chunk *c, float *hidden, ws_err *err) {
    const ws_arch *a = &m->arch;
    ws_arena *arena = m->scratch;
    int64_t d = a->hidden, bad;
    int prune = c->n_sub < c->n && !m->tap;
    ws_block_buf b;
    ws_hung all, wanted;
    ws_hung_set(&all, c->n, c->row, batch->n_patches, batch->patch, batch->alpha, arena);
    if (prune) ws_hung_set(&wanted, c->n_sub, c->sub_row, batch->n_patches, batch->patch, batch->alpha, arena);
    buffers(&b, a, c->n, arena);
    float *x = ws_arena_floats(arena, c->n * d), *mid = ws_arena_floats(arena, c->n * d);
    ws_embed_forward(x, c->ids, c->n, &a->embed);
    const ws_hung *h = &all;
    const int32_t *pos = c->pos;
    const int *row = c->row;
    for (int l = 0; l < a->layers; l++) {
        if ((bad = ws_block_norm1(m, l, &b, x, h->n)) >= 0) return non_finite(row, pos, bad, l, a->layers, err);
        ws_block_kv(m, l, h, &b, b.xn, pos);
        store(m, l, c, &b);
        if (prune && l == a->layers - 1) {
            if (!c->n_sub) return WS_OK;
            float *xn = ws_arena_floats(arena, c->n_sub * d);
            take_wanted(c, x, mid, d);
            take_wanted(c, b.xn, xn, d);
            float *swap = x;
            x = mid, mid = swap, b.xn = xn;
            h = &wanted, pos = c->sub_pos, row = c->sub_row;
        }
        ws_block_q(m, l, h, &b, b.xn, pos);
        attend(m, l, c, &b, h != &all, arena);
        ws_block_o(m, l, h, &b, x, mid);
        if ((bad = ws_block_mlp(m, l, h, &b, mid, x)) >= 0) return non_finite(row, pos, bad, l, a->layers, err);
        ws_block_patches(m, h, l, x);
        if (m->tap) m->tap(m->tap_arg, l, x, h->n);
    }
    if (h == &all && c->n_sub < c->n) {
        take_wanted(c, x, mid, d);
        x = mid, pos = c->sub_pos, row = c->sub_row;
    }
    if ((bad = ws_norm_forward(hidden, d, x, d, a->norm, a->eps, c->n_sub, d, NULL)) >= 0)
        return non_finite(row, pos, bad, a->layers, a->layers, err);
    return WS_OK;
}

static ws_status check(const ws_model *m, const ws_state *s, const ws_batch *b, ws_err *err) {
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
    ws_arena_rewind(m->scratch, mark);
    return WS_OK;
}

/* Where the next chunk begins. */
typedef struct cursor {
    int row, token;
    int temp; /* a sequence of m->own for a row that keeps no keys but spans chunks; -1: none */
} cursor;

static ws_status build(ws_model *m, ws_state *s, const ws_batch *b, cursor *at, chunk *c, ws_err *err) {
    ws_arena *arena = m->scratch;
    c->n = c->n_sub = c->n_seg = 0;
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
        *g = (segment){.row = at->row, .seq = row->seq, .state = s, .first = c->n, .n = n, .sub = c->n_sub};
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
    ws_arena_mark mark = ws_arena_save(m->scratch);
    cursor at = {.temp = -1};
    if (check(m, s, b, err)) {
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
        if ((st = build(m, s, b, &at, &c, err))) break;
        if (c.n && (st = run(m, b, &c, hidden, err))) break;
        hidden += c.n_sub * m->arch.hidden;
        for (int i = 0; i < c.n_seg; i++)
            if (c.seg[i].seq >= 0) ws_seq_grow(c.seg[i].state, c.seg[i].seq, (int)c.seg[i].n);
        if (at.temp >= 0 && at.row > row) { /* that row is done */
            ws_seq_free(m->own, at.temp);
            at.temp = -1;
        }
    }
    if (at.temp >= 0) ws_seq_free(m->own, at.temp);
    for (int r = 0; st && r < b->n_rows; r++) /* a failed batch leaves its sequences as they were */
        if (b->row[r].seq >= 0) ws_seq_truncate(s, b->row[r].seq, before[r]);
    ws_arena_rewind(m->scratch, mark);
    return st;
}
