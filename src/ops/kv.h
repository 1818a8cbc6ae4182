/* src/ops/kv.h - where keys and values of past tokens lie.
 * A sequence owns a table of pages; page p holds positions 32 p .. 32 p + 31 of ALL layers:
 *     page: layer 0 [ K: kv_head, head_dim, 32 | V: kv_head, 32, head_dim ]  layer 1 [ ... ] ...
 * Keys are transposed inside a page, so that both scores (over 32 keys) and P V (over head_dim) run along memory.
 * A page that two sequences share is read-only for both; who extends a sequence copies a shared, part-filled page first
 * (full pages are never written again).  Positions that were not stored yet may hold anything: attention masks them. */
#ifndef WS_OPS_KV_H
#define WS_OPS_KV_H
#include <stddef.h>
#include <stdint.h>

enum { WS_KV_PAGE = 32 }; /* positions in a page: also the key block of attention, at absolute multiples */

typedef struct ws_kv_shape {
    int layers, kv_heads, head_dim;
} ws_kv_shape;

static inline size_t ws_kv_layer_floats(const ws_kv_shape *s) {
    return (size_t)2 * (size_t)s->kv_heads * (size_t)s->head_dim * WS_KV_PAGE;
}
static inline size_t ws_kv_page_floats(const ws_kv_shape *s) { return (size_t)s->layers * ws_kv_layer_floats(s); }
/* Pages that `len` positions need. */
static inline int64_t ws_kv_pages(int64_t len) { return (len + WS_KV_PAGE - 1) / WS_KV_PAGE; }

/* Store k and v of n tokens at positions pos .. pos+n-1 of one layer: k, v [n, kv_heads * head_dim], `ld` floats from token
 * to token; k after RoPE.  page[] is the sequence's table, indexed by position / 32. */
void ws_kv_store(const ws_kv_shape *s, float *const *page, int layer, int64_t pos, int64_t n, const float *k,
                 const float *v, int64_t ld);
/* The same for one of the heads. */
void ws_kv_store_head(const ws_kv_shape *s, float *const *page, int layer, int64_t head, int64_t pos, int64_t n,
                      const float *k, const float *v, int64_t ld);
/* Copy positions begin .. end-1 (0..32) of a page in its first `layers` layers. */
void ws_kv_take(const ws_kv_shape *s, float *to, const float *from, int layers, int begin, int end);
/* Copy the first `len` (0..32) positions of a page, all layers: copy on write. */
static inline void ws_kv_copy(const ws_kv_shape *s, float *to, const float *from, int len) {
    ws_kv_take(s, to, from, s->layers, 0, len);
}
#endif
