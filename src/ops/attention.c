/* src/ops/attention.c - forward.  A task is (row, kv head, block of query tokens); its rows are the block's tokens
 * times the query heads that share the kv head, so every key and value is loaded once for all of them. */
#include "ops/attention.h"
#include "base/err.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <string.h>

typedef struct job {
    const ws_attn_shape *s;
    const ws_kv_shape *kv;
    const ws_attn_row *row;
    int layer;
    int64_t block, total; /* query tokens of a task; tasks */
} job;

void ws_attn_transpose(float *kt, const float *k, int64_t ld, int64_t n, int64_t d) {
    ws_k.transpose(kt, WS_KV_PAGE, k, ld, n, d);
    for (int64_t i = 0; i < d && n < WS_KV_PAGE; i++)
        memset(kt + i * WS_KV_PAGE + n, 0, (size_t)(WS_KV_PAGE - n) * sizeof *kt);
}

/* Keys and values of a page on their way to the cache.  With few query rows reading them is what limits, and the hardware
 * does not know which page comes next. */
static void fetch_page(const job *j, const float *page, int64_t g) {
    const int64_t floats = j->s->head_dim * WS_KV_PAGE, line = 64 / sizeof(float);
    const float *keys = page + (size_t)j->layer * ws_kv_layer_floats(j->kv) + g * floats;
    const float *values = keys + j->s->kv_heads * floats;
    for (int64_t i = 0; i < floats; i += line) {
        __builtin_prefetch(keys + i, 0, 2);
        __builtin_prefetch(values + i, 0, 2);
    }
}

static void task(const job *j, const ws_attn_row *row, int64_t g, int64_t t0, int64_t t1) {
    const ws_attn_shape *s = j->s;
    const int64_t d = s->head_dim, group = s->heads / s->kv_heads, rows = (t1 - t0) * group, P = WS_KV_PAGE;
    float *q = ws_gemm_scratch((size_t)(rows * (2 * d + P + 4) + d * P)), *o = q + rows * d, *p = o + rows * d;
    float *kt = p + rows * P, *m = kt + d * P, *l = m + rows, *shrink = l + rows;
    int32_t *valid = (int32_t *)(shrink + rows);
    if (row->page && row->k && row->n <= j->block) /* the task has all new tokens */
        ws_kv_store_head(j->kv, row->page, j->layer, g, row->pos, row->n, row->k, row->v, s->ldk);
    for (int64_t t = t0; t < t1; t++) /* the heads of a group lie side by side */
        ws_k.scaled(q + (t - t0) * group * d, s->scale, row->q + t * s->ldq + g * group * d, group * d);
    for (int64_t r = 0; r < rows; r++) m[r] = -INFINITY, l[r] = 0, valid[r] = WS_KV_PAGE;
    const int64_t last = row->pos + t1; /* positions that this task sees: 0 .. last-1 */
    for (int64_t b = 0; b < last; b += P) {
        const int64_t n = last - b < P ? last - b : P, wide = n > P / 2 ? P : P / 2; /* a vector of keys at a time */
        int64_t ldv, first = 0;
        const float *keys, *values;
        if (row->page) {
            const float *layer = row->page[b / P] + (size_t)j->layer * ws_kv_layer_floats(j->kv);
            keys = layer + g * d * P;
            values = layer + (s->kv_heads + g) * d * P;
            ldv = d;
        } else {
            ws_attn_transpose(kt, row->k + b * s->ldk + g * d, s->ldk, n, d);
            keys = kt;
            values = row->v + b * s->ldk + g * d;
            ldv = s->ldk;
        }
        if (b + P > row->pos + t0 + 1) {                                /* not all tokens see all of this block */
            if (b > row->pos + t0) first = (b - row->pos - t0) * group; /* earlier tokens lie before it */
            for (int64_t t = t0 + first / group, r = first; t < t1; t++) {
                const int64_t seen = row->pos + t + 1 - b;
                for (int64_t h = 0; h < group; h++) valid[r++] = (int32_t)(seen < P ? seen : P);
            }
        }
        const int64_t live = rows - first;
        if (row->page && b + P < last) fetch_page(j, row->page[b / P + 1], g);
        ws_k.tile(p + first * P, P, q + first * d, d, 1, live, keys, P, d, wide, 0);
        ws_k.softmax32(p + first * P, live, valid + first, m + first, l + first, shrink + first);
        for (int64_t r = first; r < rows && b; r++)
            if (!(shrink[r] == 1)) ws_k.scale(o + r * d, shrink[r], d);
        ws_k.tile(o + first * d, d, p + first * P, P, 1, live, values, ldv, n, d, b > 0);
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t t = t0 + r / group, h = g * group + r % group;
        ws_k.scaled(row->o + t * s->ldo + h * d, 1 / l[r], o + r * d, d);
        if (row->lse) row->lse[t * s->heads + h] = m[r] + logf(l[r]);
    }
}

static void tasks(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        int64_t at = j->total - 1 - i; /* the last tokens of a row see most: first */
        const ws_attn_row *row = j->row;
        for (;; row++) { /* tasks of a row: blocks x kv heads */
            int64_t here = (row->n + j->block - 1) / j->block * j->s->kv_heads;
            if (at < here) break;
            at -= here;
        }
        int64_t t0 = at / j->s->kv_heads * j->block;
        task(j, row, at % j->s->kv_heads, t0, t0 + j->block < row->n ? t0 + j->block : row->n);
    }
}

void ws_attention(const ws_attn_shape *s, const ws_kv_shape *kv, int layer, const ws_attn_row *row, int n_rows) {
    WS_ASSERT(s->heads % s->kv_heads == 0);
    job j = {s, kv, row, layer, 48 / (s->heads / s->kv_heads), 0};
    if (j.block < 1) j.block = 1;
    double work = 0, seen = 0; /* pairs of a token and one before it */
    for (int r = 0; r < n_rows; r++) {
        WS_ASSERT(row[r].page || row[r].k);
        j.total += (row[r].n + j.block - 1) / j.block * s->kv_heads;
        work += (double)row[r].n * (double)(row[r].pos + row[r].n) * s->heads * s->head_dim;
        seen += (double)row[r].n * ((double)row[r].pos + 0.5 * (double)(row[r].n + 1));
    }
    ws_profile_enter("attention");
    for (int r = 0; r < n_rows; r++)
        if (row[r].page && row[r].k && row[r].n > j.block)
            ws_kv_store(kv, row[r].page, layer, row[r].pos, row[r].n, row[r].k, row[r].v, s->ldk);
    if (work < 3e4)
        tasks(&j, 0, j.total);
    else
        ws_parallel_for(j.total, 1, tasks, &j);
    ws_profile_leave(4 * seen * s->heads * s->head_dim, 0);
}
