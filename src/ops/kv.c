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

typedef struct take {
    const ws_kv_shape *s;
    float *to;
    const float *from;
    int begin, end;
} take;
static void take_layers(void *arg, int64_t first, int64_t last) {
    const take *a = arg;
    const int64_t d = a->s->head_dim, rows = a->s->kv_heads * d, P = WS_KV_PAGE, n = a->end - a->begin;
    const size_t layer = ws_kv_layer_floats(a->s);
    for (int64_t l = first; l < last; l++) {
        float *to = a->to + (size_t)l * layer;
        const float *from = a->from + (size_t)l * layer;
        /* of keys whole lines of the cache where nothing lies before: what is behind them was not stored yet */
        if (!a->begin && a->end > P / 2)
            memcpy(to, from, (size_t)(rows * P) * sizeof *to);
        else if (!a->begin)
            for (int64_t j = 0; j < rows; j++) memcpy(to + j * P, from + j * P, P / 2 * sizeof *to);
        else
            for (int64_t j = 0; j < rows; j++)
                memcpy(to + j * P + a->begin, from + j * P + a->begin, (size_t)n * sizeof *to);
        to += rows * P, from += rows * P;
        for (int64_t h = 0; h < a->s->kv_heads; h++) {
            const int64_t at = h * d * P + a->begin * d;
            memcpy(to + at, from + at, (size_t)(n * d) * sizeof *to);
        }
    }
}

void ws_kv_take(const ws_kv_shape *s, float *to, const float *from, int layers, int begin, int end) {
    take a = {s, to, from, begin, end};
    ws_parallel_for(layers, 2, take_layers, &a);
}
