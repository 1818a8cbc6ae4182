/* src/model/state.c - keys and values of many sequences in pages that sequences share until one of them writes.
 *     seq 0: [page 3][page 7]        fork(0, 40):   seq 1: [page 3][page 7]      refs 3: 2, 7: 2
 *     seq 1 stores position 40:      seq 1: [page 3][page 9 = first 8 positions of 7]
 * A sequence stands for tokens AND for the steering that its keys were computed with; only the caller knows both, so
 * nothing here looks for prefixes by itself. */
#include "model/parts.h"
#include <stdlib.h>
#include <string.h>

typedef struct seq {
    int live, len;
    int n_pages, cap;
    float **page; /* what attention reads */
    int *id;      /* the same pages as numbers in the pool */
} seq;

struct ws_state {
    ws_kv_shape shape;
    seq *seq;
    int n_seq, n_free_seq, *free_seq;
    float **mem; /* [n_mem] every page that was ever needed; they are reused, not given back */
    int *refs, n_mem, cap_mem;
    int *free_page, n_free_page;
};

ws_status ws_state_new(ws_state **out, const ws_model *m, ws_err *err) {
    (void)err;
    ws_state *s = ws_xcalloc(1, sizeof *s);
    s->shape = ws_kv_shape_of(&m->arch);
    *out = s;
    return WS_OK;
}

void ws_state_free(ws_state *s) {
    if (!s) return;
    for (int i = 0; i < s->n_seq; i++) {
        free(s->seq[i].page);
        free(s->seq[i].id);
    }
    for (int i = 0; i < s->n_mem; i++) free(s->mem[i]);
    free(s->seq);
    free(s->free_seq);
    free(s->mem);
    free(s->refs);
    free(s->free_page);
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
    return id;
}

static void release(ws_state *s, int page) {
    if (--s->refs[page] == 0) s->free_page[s->n_free_page++] = page;
}

/* A page of its own, or -1 when the memory is gone. */
static int take(ws_state *s) {
    if (s->n_free_page) {
        int page = s->free_page[--s->n_free_page];
        s->refs[page] = 1;
        return page;
    }
    float *p = ws_try_alloc(ws_kv_page_floats(&s->shape), sizeof *p);
    if (!p) return -1;
    if (s->n_mem == s->cap_mem) {
        s->cap_mem = s->cap_mem ? 2 * s->cap_mem : 64;
        s->mem = ws_xrealloc(s->mem, (size_t)s->cap_mem * sizeof *s->mem);
        s->refs = ws_xrealloc(s->refs, (size_t)s->cap_mem * sizeof *s->refs);
        s->free_page = ws_xrealloc(s->free_page, (size_t)s->cap_mem * sizeof *s->free_page);
    }
    s->mem[s->n_mem] = p;
    s->refs[s->n_mem] = 1;
    return s->n_mem++;
}

static void room_for(seq *q, int pages) {
    if (pages <= q->cap) return;
    q->cap = 2 * q->cap > pages ? 2 * q->cap : pages;
    q->page = ws_xrealloc(q->page, (size_t)q->cap * sizeof *q->page);
    q->id = ws_xrealloc(q->id, (size_t)q->cap * sizeof *q->id);
}

void ws_seq_truncate(ws_state *s, int id, int len) {
    seq *q = at(s, id);
    WS_ASSERT(len >= 0 && len <= q->len);
    int keep = (int)ws_kv_pages(len);
    while (q->n_pages > keep) release(s, q->id[--q->n_pages]);
    q->len = len;
}

void ws_seq_free(ws_state *s, int id) {
    ws_seq_truncate(s, id, 0);
    s->seq[id].live = 0;
    s->free_seq[s->n_free_seq++] = id;
}

int ws_seq_fork(ws_state *s, int id, int len) {
    WS_ASSERT(len >= 0 && len <= at(s, id)->len);
    int copy = ws_seq_new(s), pages = (int)ws_kv_pages(len);
    seq *q = at(s, copy), *from = at(s, id); /* after ws_seq_new, which may move them */
    room_for(q, pages);
    for (int i = 0; i < pages; i++) {
        q->page[i] = from->page[i], q->id[i] = from->id[i];
        s->refs[from->id[i]]++;
    }
    q->n_pages = pages, q->len = len;
    return copy;
}

ws_status ws_seq_reserve(ws_state *s, int id, int n, ws_err *err) {
    seq *q = at(s, id);
    WS_ASSERT(n >= 0 && q->len <= INT32_MAX - n);
    int pages = (int)ws_kv_pages(q->len + n), kept = q->len % WS_KV_PAGE;
    room_for(q, pages);
    /* The last page is written again when it is part-filled: if someone else reads it too, go on in a copy. */
    if (n && kept && s->refs[q->id[q->n_pages - 1]] > 1) {
        int page = take(s), shared = q->id[q->n_pages - 1];
        if (page < 0) goto out_of_memory;
        ws_kv_copy(&s->shape, s->mem[page], s->mem[shared], kept);
        q->id[q->n_pages - 1] = page, q->page[q->n_pages - 1] = s->mem[page];
        release(s, shared);
    }
    while (q->n_pages < pages) {
        int page = take(s);
        if (page < 0) goto out_of_memory;
        q->id[q->n_pages] = page, q->page[q->n_pages++] = s->mem[page];
    }
    return WS_OK;
out_of_memory:
    return ws_fail(err, WS_ENOMEM,
                   "no memory for the keys and values of %d more tokens (%zu MiB are in use); run fewer or shorter "
                   "sequences at once",
                   n, ws_state_bytes(s) >> 20);
}

void ws_seq_grow(ws_state *s, int id, int n) { at(s, id)->len += n; }
float *const *ws_seq_pages(const ws_state *s, int id) { return at(s, id)->page; }
int ws_seq_len(const ws_state *s, int id) { return at(s, id)->len; }

size_t ws_state_bytes(const ws_state *s) { return (size_t)s->n_mem * ws_kv_page_floats(&s->shape) * sizeof(float); }
