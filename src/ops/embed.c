#include "ops/embed.h"
#include "base/err.h"
#include "base/parallel.h"
#include "kernel/kernel.h"

typedef struct gather {
    float *x;
    const int32_t *ids;
    const ws_weight *w;
} gather;

static void rows(void *arg, int64_t begin, int64_t end) {
    const gather *a = arg;
    for (int64_t t = begin; t < end; t++) {
        WS_ASSERT(a->ids[t] >= 0 && a->ids[t] < a->w->rows);
        ws_k.widen(a->x + t * a->w->cols, ws_weight_row(a->w, a->ids[t]), a->w->type, a->w->cols);
    }
}

void ws_embed_forward(float *x, const int32_t *ids, int64_t n, const ws_weight *w) {
    ws_parallel_for(n, 64, rows, &(gather){x, ids, w});
}
