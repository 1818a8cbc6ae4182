#include "base/arena.h"
#include "base/err.h"
#include <stdlib.h>

typedef struct block {
    char *p;
    size_t size;
    size_t before; /* in use in the blocks before, while this one is being filled */
} block;
enum { HUGE = 2 << 20 };
struct ws_arena {
    block *blocks;
    size_t n, cur, used; /* blocks[cur] is being filled up to `used` */
    size_t peak;
    int guarded;
};

ws_arena *ws_arena_new(void) { return ws_xcalloc(1, sizeof(ws_arena)); }

void ws_arena_free(ws_arena *a) {
    if (!a) return;
    for (size_t i = 0; i < a->n; i++) free(a->blocks[i].p);
    free(a->blocks);
    free(a);
}

void *ws_arena_get(ws_arena *a, size_t bytes) {
    if (bytes > (size_t)1 << 46) BUG("arena request of %zu bytes", bytes);
    bytes = (bytes + 63) & ~(size_t)63;
    for (;;) {
        if (a->cur < a->n && a->blocks[a->cur].size - a->used >= bytes) {
            void *p = a->blocks[a->cur].p + a->used;
            a->used += bytes;
            if (a->blocks[a->cur].before + a->used > a->peak) a->peak = a->blocks[a->cur].before + a->used;
            return p;
        }
        if (a->cur + 1 < a->n) {
            a->blocks[a->cur + 1].before = a->blocks[a->cur].before + a->used;
            a->cur++, a->used = 0;
            continue;
        }
        if (a->guarded) BUG("allocation of %zu bytes inside a guarded loop", bytes);
        size_t size = a->n ? a->blocks[a->n - 1].size * 2 : (size_t)1 << 20;
        if (size > (size_t)1 << 28) size = (size_t)1 << 28;
        if (size < bytes) size = bytes;
        a->blocks = ws_xrealloc(a->blocks, (a->n + 1) * sizeof *a->blocks);
        /* Activations are walked row by row at steps of several pages: large pages spare the TLB. */
        char *p = size >= HUGE ? ws_try_huge(size) : aligned_alloc(64, size);
        if (!p) {
            void *unused = ws_xmalloc((size_t)-1 / 4); /* prints the out-of-memory sentence and aborts */
            free(unused);
        }
        a->blocks[a->n] = (block){p, size, a->n ? a->blocks[a->cur].before + a->used : 0};
        a->cur = a->n++, a->used = 0;
    }
}

float *ws_arena_floats(ws_arena *a, int64_t n) {
    WS_ASSERT(n >= 0);
    return ws_arena_get(a, (size_t)n * sizeof(float));
}
ws_arena_mark ws_arena_save(const ws_arena *a) { return (ws_arena_mark){a->cur, a->used}; }
void ws_arena_rewind(ws_arena *a, ws_arena_mark m) { a->cur = m.block, a->used = m.used; }
void ws_arena_guard(ws_arena *a, int on) { a->guarded = on; }
size_t ws_arena_bytes(const ws_arena *a) {
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) n += a->blocks[i].size;
    return n;
}
size_t ws_arena_peak(const ws_arena *a) { return a->peak; }
