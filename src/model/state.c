/* src/model/state.c - what many sequences remember, shared until one of them writes.
 *   attention: keys and values in pages
 *     seq 0: [page 3][page 7]        fork(0, 40):   seq 1: [page 3][page 7]      refs 3: 2, 7: 2
 *     seq 1 stores position 40:      seq 1: [page 3][page 9 = first 8 positions of 7]
 *   delta layers: S, which changes when a chunk is full, and the tail (the chunk's open rows and the convolution's ring),
 *     which every token writes; each in one block for all layers
 *     seq 0: S 1, tail 4             fork(0, len):  seq 1: S 1, tail 4           refs 1: 2, 4: 2
 *     seq 1 goes on:                 seq 1: S 1, tail 5 = copy of 4; at the chunk's end S 2, tail 5
 *   the trunk, where one is kept: behind the keys and values of a page the tokens' ids and what enters block `trunk`
 * A sequence stands for tokens AND for the steering that its keys were computed with; only the caller knows both, so
 * nothing here looks for prefixes by itself. */
#include "model/parts.h"
#include <stdlib.h>
#include <string.h>

/* Blocks of one size, counted; they are reused, not given back.  What is in a block that nobody has written is of no account. */
typedef struct pool {
    size_t floats;
    float **mem; /* [n] */
    int *refs, n, cap;
    int *idle, n_idle;
    void **slab; /* what the blocks lie in */
    int n_slabs;
    float *next; /* in the last one, of `left` blocks */
    size_t left;
} pool;
enum { SLAB = 8 << 20 }; /* bytes, or one block */

typedef struct seq {
    int live, len;
    int n_pages, cap;
    float **page; /* what attention reads */
    int *id;      /* the same pages as numbers in the pool */
    int s, next;  /* S; where the S goes that the reserved tokens make, when `s` is not ours alone; -1: none */
    int tail;
} seq;

struct ws_state {
    ws_kv_shape shape;
    ws_delta_shape delta;
    int n_delta;
    size_t s_floats, open_floats, ring_floats; /* of a layer, in whole cache lines */
    int trunk;                                 /* ws_state_trunk; 0: none */
    int low_kv, low_delta;                     /* layers of either kind below it */
    int64_t hidden;                            /* a token of it */
    seq *seq;
    int n_seq, n_free_seq, *free_seq;
    pool pages, states, tails;
};

/* A page: [keys and values of all layers | 32 x hidden before block `trunk` | 32 ids]. */
static float *trunk_of(const ws_state *s, float *page) { return page + ws_kv_page_floats(&s->shape); }
static int32_t *ids_of(const ws_state *s, float *page) {
    return (int32_t *)(void *)(trunk_of(s, page) + WS_KV_PAGE * s->hidden);
}

static size_t lines(size_t floats) { return (floats + 15) & ~(size_t)15; }

/* Without layers a shape may be all zeros. */
static void measure(ws_state *s, const ws_arch *a) {
    s->shape = ws_kv_shape_of(a);
    s->pages.floats = ws_kv_page_floats(&s->shape);
    if (!(s->n_delta = a->n_delta)) return;
    ws_conv_shape conv = ws_conv_shape_of(a, 0);
    s->delta = a->delta;
    s->s_floats = lines(ws_delta_s_floats(&s->delta));
    s->open_floats = lines(ws_delta_open_floats(&s->delta));
    s->ring_floats = lines(ws_conv_ring_floats(&conv));
    s->states.floats = (size_t)s->n_delta * s->s_floats;
    s->tails.floats = (size_t)s->n_delta * (s->open_floats + s->ring_floats);
}

ws_status ws_state_new(ws_state **out, const ws_model *m, ws_err *err) {
    (void)err;
    ws_state *s = ws_xcalloc(1, sizeof *s);
    measure(s, &m->arch);
    *out = s;
    return WS_OK;
}

int64_t ws_model_token_bytes(const ws_model *m) {
    ws_kv_shape k = ws_kv_shape_of(&m->arch);
    return (int64_t)(ws_kv_page_floats(&k) / WS_KV_PAGE * sizeof(float));
}

int64_t ws_model_seq_bytes(const ws_model *m) {
    ws_state s = {0};
    measure(&s, &m->arch);
    return (int64_t)((s.states.floats + s.tails.floats) * sizeof(float));
}

static void release_pool(pool *p) {
    for (int i = 0; i < p->n_slabs; i++) free(p->slab[i]);
    free(p->slab);
    free(p->mem);
    free(p->refs);
    free(p->idle);
}

void ws_state_free(ws_state *s) {
    if (!s) return;
    for (int i = 0; i < s->n_seq; i++) {
        free(s->seq[i].page);
        free(s->seq[i].id);
    }
    free(s->seq);
    free(s->free_seq);
    release_pool(&s->pages), release_pool(&s->states), release_pool(&s->tails);
    free(s);
}

int ws_seq_live(const ws_state *s, int id) { return id >= 0 && id < s->n_seq && s->seq[id].live; }

static seq *at(const ws_state *s, int id) {
    if (!ws_seq_live(s, id)) BUG("sequence %d does not exist", id);
    return &s->seq[id];
}

int ws_seq_new(ws_state *s) {
    int id;
    if (s->n_free_seq) {
        id = s->free_seq[--s->n_free_seq];
    } else {
        id = s->n_seq++;
        s->seq = ws_xrealloc(s->seq, (size_t)s->n_seq * sizeof *s->seq);
        s->free_seq = ws_xrealloc(s->free_seq, (size_t)s->n_seq * sizeof *s->free_seq);
        s->seq[id] = (seq){0};
    }
    s->seq[id].live = 1;
    s->seq[id].len = s->seq[id].n_pages = 0;
    s->seq[id].s = s->seq[id].next = s->seq[id].tail = -1;
    return id;
}

static void release(pool *p, int block) {
    if (block >= 0 && --p->refs[block] == 0) p->idle[p->n_idle++] = block;
}

/* Memory of a block that there was not before; NULL: it is gone. */
static float *more(pool *p) {
    const size_t size = lines(p->floats), bytes = size * sizeof(float);
    if (!p->left) {
        const size_t n = bytes < SLAB ? SLAB / bytes : 1;
        void *slab = ws_try_huge(n * bytes);
        if (!slab) return NULL;
        p->slab = ws_xrealloc(p->slab, (size_t)(p->n_slabs + 1) * sizeof *p->slab);
        p->slab[p->n_slabs++] = p->next = slab;
        p->left = n;
    }
    float *mem = p->next;
    p->next += size, p->left--;
    return mem;
}

/* A block of its own, or -1 when the memory is gone. */
static int take(pool *p) {
    if (p->n_idle) {
        int block = p->idle[--p->n_idle];
        p->refs[block] = 1;
        return block;
    }
    float *mem = more(p);
    if (!mem) return -1;
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 64;
        p->mem = ws_xrealloc(p->mem, (size_t)p->cap * sizeof *p->mem);
        p->refs = ws_xrealloc(p->refs, (size_t)p->cap * sizeof *p->refs);
        p->idle = ws_xrealloc(p->idle, (size_t)p->cap * sizeof *p->idle);
    }
    p->mem[p->n] = mem;
    p->refs[p->n] = 1;
    return p->n++;
}

static int pages_for(const ws_state *s, int64_t len) { return s->shape.layers || s->trunk ? (int)ws_kv_pages(len) : 0; }

static void room_for(seq *q, int pages) {
    if (pages <= q->cap) return;
    q->cap = 2 * q->cap > pages ? 2 * q->cap : pages;
    q->page = ws_xrealloc(q->page, (size_t)q->cap * sizeof *q->page);
    q->id = ws_xrealloc(q->id, (size_t)q->cap * sizeof *q->id);
}

int ws_seq_holds(const ws_state *s, int id, int len) {
    const seq *q = at(s, id);
    return len >= 0 && len <= q->len && (!s->n_delta || !len || len == q->len);
}

static void check_holds(const ws_state *s, int id, int len) {
    if (!ws_seq_holds(s, id, len))
        BUG("sequence %d of %d tokens cannot give its first %d%s", id, at(s, id)->len, len,
            s->n_delta ? ": the state of the delta layers goes forwards only" : "");
}

static void forget(ws_state *s, seq *q, int len) {
    int keep = pages_for(s, len);
    while (q->n_pages > keep) release(&s->pages, q->id[--q->n_pages]);
    release(&s->states, q->next);
    q->next = -1;
    if (!len) {
        release(&s->states, q->s), release(&s->tails, q->tail);
        q->s = q->tail = -1;
    }
    q->len = len;
}

void ws_seq_truncate(ws_state *s, int id, int len) {
    check_holds(s, id, len);
    forget(s, at(s, id), len);
}

void ws_seq_roll_back(ws_state *s, int id, int len) { forget(s, at(s, id), s->n_delta ? 0 : len); }

void ws_seq_free(ws_state *s, int id) {
    forget(s, at(s, id), 0);
    s->seq[id].live = 0;
    s->free_seq[s->n_free_seq++] = id;
}

int ws_seq_fork(ws_state *s, int id, int len) {
    check_holds(s, id, len);
    int copy = ws_seq_new(s), pages = pages_for(s, len);
    seq *q = at(s, copy), *from = at(s, id); /* after ws_seq_new, which may move them */
    room_for(q, pages);
    for (int i = 0; i < pages; i++) {
        q->page[i] = from->page[i], q->id[i] = from->id[i];
        s->pages.refs[from->id[i]]++;
    }
    q->n_pages = pages, q->len = len;
    if (!len || !s->n_delta) return copy;
    q->s = from->s, q->tail = from->tail;
    s->tails.refs[q->tail]++;
    if (q->s >= 0) s->states.refs[q->s]++; /* a short sequence has no S yet */
    return copy;
}

static float *open_of(const ws_state *s, int tail, int nth) {
    return s->tails.mem[tail] + (size_t)nth * (s->open_floats + s->ring_floats);
}

/* A tail of the sequence's own, and a place for S when n tokens complete a chunk and the old one is not ours alone. */
static int reserve_recurrent(ws_state *s, seq *q, int n) {
    if (q->tail < 0 || s->tails.refs[q->tail] > 1) {
        int tail = take(&s->tails);
        if (tail < 0) return -1;
        for (int l = 0; q->tail >= 0 && l < s->n_delta; l++) {
            const float *from = open_of(s, q->tail, l);
            float *to = open_of(s, tail, l);
            ws_delta_open_copy(&s->delta, to, from, q->len);
            memcpy(to + s->open_floats, from + s->open_floats, s->ring_floats * sizeof *to);
        }
        release(&s->tails, q->tail);
        q->tail = tail;
    }
    if (!ws_delta_advances(&s->delta, q->len, n) || (q->s >= 0 && s->states.refs[q->s] == 1)) return 0;
    if (q->next < 0) q->next = take(&s->states);
    return q->next < 0 ? -1 : 0;
}

static void copy_page(const ws_state *s, float *to, float *from, int kept) {
    ws_kv_copy(&s->shape, to, from, kept);
    if (!s->trunk) return;
    memcpy(trunk_of(s, to), trunk_of(s, from), (size_t)(kept * s->hidden) * sizeof *to);
    memcpy(ids_of(s, to), ids_of(s, from), (size_t)kept * sizeof(int32_t));
}

ws_status ws_seq_reserve(ws_state *s, int id, int n, ws_err *err) {
    seq *q = at(s, id);
    WS_ASSERT(n >= 0 && q->len <= INT32_MAX - n);
    int pages = pages_for(s, q->len + n), kept = q->len % WS_KV_PAGE;
    room_for(q, pages);
    /* The last page is written again when it is part-filled: if someone else reads it too, go on in a copy. */
    if (n && kept && q->n_pages && s->pages.refs[q->id[q->n_pages - 1]] > 1) {
        int page = take(&s->pages), shared = q->id[q->n_pages - 1];
        if (page < 0) goto out_of_memory;
        copy_page(s, s->pages.mem[page], s->pages.mem[shared], kept);
        q->id[q->n_pages - 1] = page, q->page[q->n_pages - 1] = s->pages.mem[page];
        release(&s->pages, shared);
    }
    while (q->n_pages < pages) {
        int page = take(&s->pages);
        if (page < 0) goto out_of_memory;
        q->id[q->n_pages] = page, q->page[q->n_pages++] = s->pages.mem[page];
    }
    if (n && s->n_delta && reserve_recurrent(s, q, n)) goto out_of_memory;
    return WS_OK;
out_of_memory:
    return ws_fail(err, WS_ENOMEM,
                   "no memory to keep %d more tokens (%zu MiB are in use for what sequences remember); run fewer or "
                   "shorter sequences at once",
                   n, ws_state_bytes(s) >> 20);
}

void ws_seq_grow(ws_state *s, int id, int n) {
    seq *q = at(s, id);
    if (q->next >= 0) {
        WS_ASSERT(ws_delta_advances(&s->delta, q->len, n));
        release(&s->states, q->s);
        q->s = q->next, q->next = -1;
    }
    q->len += n;
}

ws_recurrent ws_seq_recurrent(const ws_state *s, int id, int nth) {
    const seq *q = at(s, id);
    size_t where = (size_t)nth * s->s_floats;
    ws_recurrent r = {.open = open_of(s, q->tail, nth)};
    r.ring = r.open + s->open_floats;
    if (q->s >= 0) r.from = s->states.mem[q->s] + where;
    if (q->next >= 0)
        r.to = s->states.mem[q->next] + where;
    else if (q->s >= 0 && s->states.refs[q->s] == 1)
        r.to = s->states.mem[q->s] + where;
    return r;
}

/* ---------- the trunk ---------- */

void ws_state_trunk(ws_state *s, const ws_model *m, int layer) {
    const ws_arch *a = &m->arch;
    if (s->pages.n) BUG("the trunk of a state is set before its first token");
    WS_ASSERT(layer >= 0 && layer <= a->layers);
    s->trunk =
        layer < a->layers ? layer : a->layers - 1; /* the last block stays with each row: there tokens are left out */
    s->hidden = a->hidden;
    s->low_kv = s->low_delta = 0;
    for (int l = 0; l < s->trunk; l++) (*(ws_is_delta(m, l) ? &s->low_delta : &s->low_kv))++;
    s->pages.floats = ws_kv_page_floats(&s->shape) + (s->trunk ? lines((size_t)(WS_KV_PAGE * (s->hidden + 1))) : 0);
}

int ws_state_trunk_layer(const ws_state *s) { return s->trunk; }

int64_t ws_model_trunk_bytes(const ws_model *m) { return ((int64_t)m->arch.hidden + 1) * (int64_t)sizeof(float); }

void ws_seq_keep(ws_state *s, int id, int64_t pos, int64_t n, const int32_t *ids, const float *x) {
    float *const *page = at(s, id)->page;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = (pos + i) % WS_KV_PAGE;
        float *p = page[(pos + i) / WS_KV_PAGE];
        memcpy(trunk_of(s, p) + k * s->hidden, x + i * s->hidden, (size_t)s->hidden * sizeof *x);
        ids_of(s, p)[k] = ids[i];
    }
}

/* The running state of the delta layers in the trunk, where both sequences are `len` tokens long. */
static void follow_recurrent(ws_state *s, int id, int like, int64_t len) {
    const seq *from = at(s, like);
    int now = from->next >= 0 ? from->next : from->s;
    for (int l = 0; l < s->low_delta; l++) {
        const float *open = open_of(s, from->tail, l);
        ws_recurrent r = ws_seq_recurrent(s, id, l);
        ws_delta_open_copy(&s->delta, r.open, open, len);
        memcpy(r.ring, open + s->open_floats, s->ring_floats * sizeof *open);
        /* without a place of its own S is still the one of the history that both have */
        if (r.to && now >= 0) memcpy(r.to, s->states.mem[now] + (size_t)l * s->s_floats, s->s_floats * sizeof *open);
    }
}

void ws_seq_follow(ws_state *s, int id, int like, int64_t pos, int64_t n, const int32_t *ids, int last, float *x) {
    float *const *page = at(s, id)->page, *const *from = at(s, like)->page;
    for (int64_t i = 0, k; i < pos + n; i += k) {
        int64_t p = i / WS_KV_PAGE, begin = i % WS_KV_PAGE;
        k = WS_KV_PAGE - begin;
        if (i < pos && i + k > pos) k = pos - i;
        if (i + k > pos + n) k = pos + n - i;
        const int32_t *mine = i < pos ? ids_of(s, page[p]) + begin : ids + (i - pos), *its = ids_of(s, from[p]) + begin;
        if (page[p] != from[p] && memcmp(mine, its, (size_t)k * sizeof *mine))
            BUG("sequence %d is said to read what sequence %d has read, but their tokens differ", id, like);
        if (i < pos) continue;
        ws_kv_take(&s->shape, page[p], from[p], s->low_kv, (int)begin, (int)(begin + k));
        const float *t = trunk_of(s, from[p]) + begin * s->hidden;
        memcpy(x + (i - pos) * s->hidden, t, (size_t)(k * s->hidden) * sizeof *x);
        memcpy(trunk_of(s, page[p]) + begin * s->hidden, t, (size_t)(k * s->hidden) * sizeof *x);
        memcpy(ids_of(s, page[p]) + begin, its, (size_t)k * sizeof *its);
    }
    if (last && s->low_delta) follow_recurrent(s, id, like, pos + n);
}

float *const *ws_seq_pages(const ws_state *s, int id) { return at(s, id)->page; }
int ws_seq_len(const ws_state *s, int id) { return at(s, id)->len; }

static size_t bytes_of(const pool *p) { return (size_t)p->n * p->floats * sizeof(float); }
size_t ws_state_bytes(const ws_state *s) { return bytes_of(&s->pages) + bytes_of(&s->states) + bytes_of(&s->tails); }
