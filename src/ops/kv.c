#include "ops/kv.h"
#include <string.h>

void ws_kv_store(const ws_kv_shape *s, float *const *page, int layer, int64_t pos, int64_t n, const float *k,
                 const float *v, int64_t ld) {
    const int64_t d = s->head_dim;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = (pos + i) % WS_KV_PAGE;
        float *kp = page[(pos + i) / WS_KV_PAGE] + (size_t)layer * ws_kv_layer_floats(s);
        float *vp = kp + s->kv_heads * d * WS_KV_PAGE;
        for (int64_t h = 0; h < s->kv_heads; h++) {
            const float *kh = k + i * ld + h * d;
            float *to = kp + h * d * WS_KV_PAGE + at;
            for (int64_t j = 0; j < d; j++) to[j * WS_KV_PAGE] = kh[j];
            memcpy(vp + (h * WS_KV_PAGE + at) * d, v + i * ld + h * d, (size_t)d * sizeof *v);
        }
    }
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
