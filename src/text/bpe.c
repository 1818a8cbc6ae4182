/* src/text/bpe.c - vocabulary and merge tables (open addressing), merging by scan for short pieces and by heap for long
 * ones.  Every token remembers whether its own bytes merge to it alone; that answer is the cache for the common words. */
#include "text/bpe.h"
#include "text/utf8.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ID = 1 << 24, SHORT = 40 };
enum { ABSENT = 0, BYTES, LITERAL };

typedef struct token {
    uint32_t at, n;
    uint8_t kind;
} token;
typedef struct pair {
    uint64_t key; /* left << 32 | right; EMPTY: free slot */
    uint32_t rank;
    int32_t id;
} pair;
#define EMPTY UINT64_MAX

struct ws_bpe {
    ws_str blob;
    token *tok;
    int size, cap, count;
    int32_t *slot; /* hash of raw bytes -> id, -1 free */
    size_t slot_mask;
    pair *pairs;
    size_t pair_mask;
    int32_t byte_id[256];
    _Atomic unsigned char *whole; /* per id: 0 not tried, 1 its bytes merge to it alone, 2 they do not */
    int ignore_merges, fuse_unk;
    int32_t unk;
};

/* Bytes that stand for themselves; the other 68 are written as U+0100, U+0101, ... in increasing order. */
static int plain(unsigned c) { return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE; }
static int byte_of(uint32_t cp) {
    if (cp < 0x100) return plain(cp) ? (int)cp : -1;
    if (cp < 0x121) return (int)(cp - 0x100);        /* 00..20 */
    if (cp < 0x143) return (int)(cp - 0x121 + 0x7F); /* 7F..A0 */
    return cp == 0x143 ? 0xAD : -1;
}

static int to_bytes(const char *text, size_t n, ws_str *out) {
    size_t start = out->n;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int k = ws_utf8_next(text + i, n - i, &cp), b = k ? byte_of(cp) : -1;
        if (b < 0) {
            out->n = start;
            return 0;
        }
        ws_str_addc(out, (char)b);
        i += (size_t)k;
    }
    return 1;
}

static uint64_t hash_bytes(const char *p, size_t n) {
    uint64_t h = 0x9E3779B97F4A7C15u ^ n;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        h = (h ^ v) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v = v << 8 | (unsigned char)p[i];
    h = (h ^ v) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 29;
}
static size_t hash_pair(uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;
    return (size_t)(key ^ key >> 31);
}

ws_bpe *ws_bpe_new(void) {
    ws_bpe *b = ws_xcalloc(1, sizeof *b);
    b->unk = -1;
    return b;
}

void ws_bpe_free(ws_bpe *b) {
    if (!b) return;
    ws_str_free(&b->blob);
    free(b->tok);
    free(b->slot);
    free(b->pairs);
    free((void *)b->whole);
    free(b);
}

ws_status ws_bpe_add(ws_bpe *b, int64_t id, const char *text, size_t n, ws_err *err) {
    if (id < 0 || id >= MAX_ID)
        return ws_fail(err, WS_EFORMAT, "token '%.60s' has id %lld, outside 0..%d", text, (long long)id, MAX_ID - 1);
    if (!n) return ws_fail(err, WS_EFORMAT, "token %lld is empty", (long long)id);
    if (b->blob.n + n > UINT32_MAX / 2) return ws_fail(err, WS_EFORMAT, "the vocabulary holds more than 2 GiB of text");
    if (id >= b->cap) {
        int cap = (int)id + 1 > b->cap * 2 ? (int)id + 1 : b->cap * 2;
        b->tok = ws_xrealloc(b->tok, (size_t)cap * sizeof *b->tok);
        memset(b->tok + b->cap, 0, (size_t)(cap - b->cap) * sizeof *b->tok);
        b->cap = cap;
    }
    token *t = &b->tok[id];
    if (t->kind)
        return ws_fail(err, WS_EFORMAT, "token id %lld stands twice in the vocabulary, the second time as '%.60s'",
                       (long long)id, text);
    t->at = (uint32_t)b->blob.n;
    t->kind = to_bytes(text, n, &b->blob) ? BYTES : LITERAL;
    if (t->kind == LITERAL) ws_str_add(&b->blob, text, n);
    t->n = (uint32_t)(b->blob.n - t->at);
    if (id >= b->size) b->size = (int)id + 1;
    b->count++;
    return WS_OK;
}

static size_t table_size(size_t n) {
    size_t size = 16;
    while (size < n * 2) size *= 2;
    return size;
}

int32_t ws_bpe_find(const ws_bpe *b, const char *bytes, size_t n) {
    if (!b->slot) return -1;
    for (size_t h = (size_t)hash_bytes(bytes, n);; h++) {
        int32_t id = b->slot[h & b->slot_mask];
        if (id < 0) return -1;
        if (b->tok[id].n == n && !memcmp(b->blob.p + b->tok[id].at, bytes, n)) return id;
    }
}

int32_t ws_bpe_find_text(const ws_bpe *b, const char *text, size_t n) {
    ws_str s = {0};
    int32_t id = -1;
    if (to_bytes(text, n, &s))
        id = ws_bpe_find(b, s.p ? s.p : "", s.n);
    else
        for (int i = 0; i < b->size && id < 0; i++)
            if (b->tok[i].kind == LITERAL && b->tok[i].n == n && !memcmp(b->blob.p + b->tok[i].at, text, n)) id = i;
    ws_str_free(&s);
    return id;
}

ws_status ws_bpe_seal(ws_bpe *b, size_t merges, ws_err *err) {
    size_t size = table_size((size_t)b->count);
    b->slot = ws_xmalloc(size * sizeof *b->slot);
    for (size_t i = 0; i < size; i++) b->slot[i] = -1;
    b->slot_mask = size - 1;
    for (int id = 0; id < b->size; id++) {
        const token *t = &b->tok[id];
        if (t->kind != BYTES) continue;
        size_t h = (size_t)hash_bytes(b->blob.p + t->at, t->n);
        for (; b->slot[h & b->slot_mask] >= 0; h++) {
            const token *o = &b->tok[b->slot[h & b->slot_mask]];
            if (o->n == t->n && !memcmp(b->blob.p + o->at, b->blob.p + t->at, t->n))
                return ws_fail(err, WS_EFORMAT, "token '%.*s' stands twice in the vocabulary, as %d and %d",
                               t->n > 60 ? 60 : (int)t->n, b->blob.p + t->at, b->slot[h & b->slot_mask], id);
        }
        b->slot[h & b->slot_mask] = id;
    }
    size = table_size(merges);
    b->pairs = ws_try_alloc(size, sizeof *b->pairs);
    if (!b->pairs) return ws_fail(err, WS_ENOMEM, "not enough memory for %zu merges", merges);
    for (size_t i = 0; i < size; i++) b->pairs[i].key = EMPTY;
    b->pair_mask = size - 1;
    for (int c = 0; c < 256; c++) {
        char ch = (char)c;
        b->byte_id[c] = ws_bpe_find(b, &ch, 1);
    }
    b->whole = ws_xcalloc((size_t)b->size, 1);
    return WS_OK;
}

static const pair *find_pair(const ws_bpe *b, int32_t l, int32_t r) {
    uint64_t key = (uint64_t)(uint32_t)l << 32 | (uint32_t)r;
    for (size_t h = hash_pair(key);; h++) {
        const pair *p = &b->pairs[h & b->pair_mask];
        if (p->key == key) return p;
        if (p->key == EMPTY) return NULL;
    }
}

ws_status ws_bpe_merge(ws_bpe *b, size_t index, const char *l, size_t nl, const char *r, size_t nr, ws_err *err) {
    ws_str s = {0};
    ws_status st = WS_OK;
    int ok = to_bytes(l, nl, &s);
    size_t cut = s.n;
    ok = ok && to_bytes(r, nr, &s);
    int32_t a = ok ? ws_bpe_find(b, s.p ? s.p : "", cut) : -1;
    int32_t c = ok ? ws_bpe_find(b, s.p ? s.p + cut : "", s.n - cut) : -1;
    int32_t id = ok ? ws_bpe_find(b, s.p ? s.p : "", s.n) : -1;
    if (a < 0 || c < 0 || id < 0) {
        st = ws_fail(err, WS_EFORMAT, "merge %zu, '%.*s' + '%.*s': %s is not in the vocabulary", index,
                     nl > 60 ? 60 : (int)nl, l, nr > 60 ? 60 : (int)nr, r,
                     a < 0   ? "its left part"
                     : c < 0 ? "its right part"
                             : "its result");
    } else {
        uint64_t key = (uint64_t)(uint32_t)a << 32 | (uint32_t)c;
        size_t h = hash_pair(key);
        while (b->pairs[h & b->pair_mask].key != EMPTY && b->pairs[h & b->pair_mask].key != key) h++;
        /* A repeated pair keeps its last rank, as a Python or Rust dictionary built from the list would. */
        b->pairs[h & b->pair_mask] = (pair){key, (uint32_t)index, id};
    }
    ws_str_free(&s);
    return st;
}

void ws_bpe_options(ws_bpe *b, int ignore_merges, int32_t unk, int fuse_unk) {
    b->ignore_merges = ignore_merges, b->unk = unk, b->fuse_unk = fuse_unk;
}

int ws_bpe_size(const ws_bpe *b) { return b->size; }
int ws_bpe_count(const ws_bpe *b) { return b->count; }
const char *ws_bpe_bytes(const ws_bpe *b, int32_t id, size_t *n) {
    if (id < 0 || id >= b->size || !b->tok[id].kind) return NULL;
    *n = b->tok[id].n;
    return b->blob.p + b->tok[id].at;
}

void ws_bpe_hash(const ws_bpe *b, ws_hash *h) {
    for (int32_t id = 0; id < b->size; id++) {
        size_t n = 0;
        const char *bytes = ws_bpe_bytes(b, id, &n);
        const uint64_t head[2] = {n, b->tok[id].kind};
        ws_hash_add(h, head, sizeof head);
        if (bytes) ws_hash_add(h, bytes, n);
    }
    for (size_t i = 0; b->pairs && i <= b->pair_mask; i++) {
        const uint64_t p[3] = {b->pairs[i].key, b->pairs[i].rank, (uint64_t)(int64_t)b->pairs[i].id};
        if (p[0] != EMPTY) ws_hash_add(h, p, sizeof p);
    }
    const int64_t options[3] = {b->ignore_merges, b->fuse_unk, b->unk};
    ws_hash_add(h, options, sizeof options);
}

/* ---------- merging ---------- */

static int merge_short(const ws_bpe *b, int32_t *sym, int n) {
    const pair *p[SHORT];
    for (int i = 0; i + 1 < n; i++) p[i] = find_pair(b, sym[i], sym[i + 1]);
    while (n > 1) {
        int best = -1;
        for (int i = 0; i + 1 < n; i++)
            if (p[i] && (best < 0 || p[i]->rank < p[best]->rank)) best = i;
        if (best < 0) break;
        sym[best] = p[best]->id;
        n--;
        memmove(sym + best + 1, sym + best + 2, (size_t)(n - best - 1) * sizeof *sym);
        memmove(p + best, p + best + 1, (size_t)(n - best - 1) * sizeof *p);
        if (best + 1 < n) p[best] = find_pair(b, sym[best], sym[best + 1]);
        if (best > 0) p[best - 1] = find_pair(b, sym[best - 1], sym[best]);
    }
    return n;
}

/* Heap of candidate merges, lowest rank first, then leftmost.  An entry is stale when its two symbols are no longer
 * neighbours; that is noticed when it comes up. */
typedef struct cand {
    uint32_t rank;
    int32_t pos, l, r;
} cand;
static int before(const cand *x, const cand *y) { return x->rank != y->rank ? x->rank < y->rank : x->pos < y->pos; }
static void push(cand *h, size_t *n, cand c) {
    size_t i = (*n)++;
    for (; i && before(&c, &h[(i - 1) / 2]); i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = c;
}
static cand pop(cand *h, size_t *n) {
    cand top = h[0], last = h[--*n];
    size_t i = 0, c;
    for (; (c = 2 * i + 1) < *n; i = c) {
        if (c + 1 < *n && before(&h[c + 1], &h[c])) c++;
        if (!before(&h[c], &last)) break;
        h[i] = h[c];
    }
    h[i] = last;
    return top;
}

static int merge_long(const ws_bpe *b, int32_t *sym, int n, int32_t *prev, int32_t *next, cand *heap) {
    size_t nh = 0;
    for (int i = 0; i < n; i++) prev[i] = i - 1, next[i] = i + 1 < n ? i + 1 : -1;
    for (int i = 0; i + 1 < n; i++) {
        const pair *p = find_pair(b, sym[i], sym[i + 1]);
        if (p) push(heap, &nh, (cand){p->rank, i, sym[i], sym[i + 1]});
    }
    while (nh) {
        cand c = pop(heap, &nh);
        int32_t i = c.pos, j = next[i];
        if (sym[i] != c.l || j < 0 || sym[j] != c.r) continue;
        sym[i] = find_pair(b, c.l, c.r)->id;
        sym[j] = -1; /* gone */
        next[i] = next[j];
        if (next[j] >= 0) prev[next[j]] = i;
        const pair *p;
        if (next[i] >= 0 && (p = find_pair(b, sym[i], sym[next[i]])))
            push(heap, &nh, (cand){p->rank, i, sym[i], sym[next[i]]});
        if (prev[i] >= 0 && (p = find_pair(b, sym[prev[i]], sym[i])))
            push(heap, &nh, (cand){p->rank, prev[i], sym[prev[i]], sym[i]});
    }
    int m = 0;
    for (int i = 0; i >= 0; i = next[i]) sym[m++] = sym[i];
    return m;
}

/* One symbol per byte.  Bytes without a token become `unk`, or vanish when there is none, and their neighbours touch. */
static int symbols(const ws_bpe *b, const char *p, size_t n, int32_t *sym) {
    int m = 0, last_unk = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = b->byte_id[(unsigned char)p[i]];
        if (id >= 0)
            sym[m++] = id;
        else if (b->unk >= 0 && !(last_unk && b->fuse_unk))
            sym[m++] = b->unk;
        last_unk = id < 0;
    }
    return m;
}

void ws_bpe_encode(const ws_bpe *b, const char *bytes, size_t n, ws_bpe_work *w, ws_ids *out) {
    if (!n) return;
    if (n > INT32_MAX / 16)
        BUG("a piece of %zu bytes", n); /* encode() refuses texts a quarter as long; NFC triples at most */
    int32_t id = ws_bpe_find(b, bytes, n);
    if (id >= 0 && (b->ignore_merges || atomic_load_explicit(&b->whole[id], memory_order_relaxed) == 1)) {
        ws_ids_add(out, id);
        return;
    }
    int32_t few[SHORT], *sym = few;
    int m;
    if (n <= SHORT)
        m = merge_short(b, few, symbols(b, bytes, n, few));
    else {
        size_t need = n * (3 * sizeof(int32_t) + 3 * sizeof(cand)); /* n - 1 entries at first, two more a merge */
        if (need > w->bytes) {
            free(w->mem);
            w->mem = ws_xmalloc(need);
            w->bytes = need;
        }
        cand *heap = w->mem;
        sym = (int32_t *)(heap + 3 * n);
        m = symbols(b, bytes, n, sym);
        if (m > 1) m = merge_long(b, sym, m, sym + n, sym + 2 * n, heap);
    }
    if (id >= 0)
        atomic_store_explicit(&b->whole[id], (unsigned char)(m == 1 && sym[0] == id ? 1 : 2), memory_order_relaxed);
    ws_ids_addn(out, sym, m);
}

void ws_bpe_work_free(ws_bpe_work *w) {
    free(w->mem);
    *w = (ws_bpe_work){0};
}
