#include "ops/kv.h"
#include "base/parallel.h"
#include "kernel/kernel.h"
#include <string.h>

void ws_kv_store_head(const ws_kv_shape *s, float *const *page, int layer, int64_t head, int64_t pos, int64_t n,
                      const float *k, const float *v, int64_t ld) {
    const int64_t d = s->head_dim, P = WS_KV_PAGE;
    k += head * d, v += head * d;
    for (int64_t i = 0, m; i < n; i += m) {
        const int64_t at = (pos + i) % P;
        float *keys = page[(pos + i) / P] + (size_t)layer * ws_kv_layer_floats(s) + head * d * P;
        float *values = keys + s->kv_heads * d * P;
        m = n - i < P - at ? n - i : P - at;
        ws_k.transpose(keys + at, P, k + i * ld, ld, m, d);
        for (int64_t j = 0; j < m; j++) memcpy(values + (at + j) * d, v + (i + j) * ld, (size_t)d * sizeof *v);
    }
}

typedef struct store {
    const ws_kv_shape *s;
    float *const *page;
    int layer;
    int64_t pos, n, ld;
    const float *k, *v;
} store;
/* A piece is the part of a page that one head has. */
static void store_pieces(void *arg, int64_t begin, int64_t end) {
    const store *a = arg;
    for (int64_t i = begin; i < end; i++) {
        const int64_t page = a->pos / WS_KV_PAGE + i / a->s->kv_heads;
        const int64_t from = page * WS_KV_PAGE > a->pos ? page * WS_KV_PAGE : a->pos, past = from - a->pos;
        const int64_t to = (page + 1) * WS_KV_PAGE < a->pos + a->n ? (page + 1) * WS_KV_PAGE : a->pos + a->n;
        ws_kv_store_head(a->s, a->page, a->layer, i % a->s->kv_heads, from, to - from, a->k + past * a->ld,
                         a->v + past * a->ld, a->ld);
    }
}

void ws_kv_store(const ws_kv_shape *s, float *const *page, int layer, int64_t pos, int64_t n, const float *k,
                 const float *v, int64_t ld) {
    store a = {s, page, layer, pos, n, ld, k, v};
    if (n <= 0) return;
    const int64_t pieces = (ws_kv_pages(pos + n) - pos / WS_KV_PAGE) * s->kv_heads;
    if (n * s->kv_heads * s->head_dim < 4096)
        store_pieces(&a, 0, pieces);
    else
        ws_parallel_for(pieces, 1, store_pieces, &a);
}

void ws_kv_take(const ws_kv_shape *s, float *to, const float *from, int layers, int begin, int end) {
    const int64_t d = s->head_dim, heads = (int64_t)layers * s->kv_heads, n = end - begin;
    const size_t layer = ws_kv_layer_floats(s), half = layer / 2;
    if (n == WS_KV_PAGE) {
        memcpy(to, from, (size_t)layers * layer * sizeof *to);
        return;
    }
    for (int64_t h = 0; h < heads; h++) {
        size_t at = (size_t)(h / s->kv_heads) * layer + (size_t)(h % s->kv_heads * d) * WS_KV_PAGE, v = at + half;
        for (int64_t j = 0; j < d; j++)
            for (int64_t i = begin; i < end; i++)
                to[at + (size_t)(j * WS_KV_PAGE + i)] = from[at + (size_t)(j * WS_KV_PAGE + i)];
        memcpy(to + v + begin * d, from + v + begin * d, (size_t)(n * d) * sizeof *to);
    }
}
