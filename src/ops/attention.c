/* src/ops/attention.c - forward.  A task is (row, kv head, block of query tokens); its rows are the block's tokens
 * times the query heads that share the kv head, so every key and value is loaded once for all of them.
 * Where many rows have a few new tokens each, as in decode, reading the past is all the work: a task then has all kv heads
 * of a row, which lie side by side in a page.  While a page is read the next one is on its way, a line for each line: told
 * of a whole page at once, cores gained nothing, as if they forgot what is more than they can wait for. */
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
    int layer, many;      /* many: there are rows enough for all threads */
    int64_t block, total; /* query tokens of a task; tasks */
} job;

/* Tasks of each block of a row: a kv head each, or one for all. */
static int64_t tasks_a_block(const job *j, const ws_attn_row *row) {
    enum { FEW = 4 };
    return j->many && row->page && row->n <= FEW ? 1 : j->s->kv_heads;
}

void ws_attn_transpose(float *kt, const float *k, int64_t ld, int64_t n, int64_t d) {
    ws_k.transpose(kt, WS_KV_PAGE, k, ld, n, d);
    for (int64_t i = 0; i < d && n < WS_KV_PAGE; i++)
        memset(kt + i * WS_KV_PAGE + n, 0, (size_t)(WS_KV_PAGE - n) * sizeof *kt);
}

/* What a kv head has until its last block: rows are tokens times query heads. */
typedef struct head {
    float *q, *o; /* [rows, head_dim]: scaled queries, sums so far */
    float *m, *l; /* [rows]: of the online softmax */
} head;
static head head_at(float *scratch, int64_t i, int64_t rows, int64_t d) {
    float *q = scratch + i * rows * (2 * d + 2), *o = q + rows * d, *m = o + rows * d;
    return (head){q, o, m, m + rows};
}

/* kv heads g0 .. g1-1 of tokens t0 .. t1-1; `next`: the row that this thread sees to then, or NULL. */
static void task(const job *j, const ws_attn_row *row, int64_t g0, int64_t g1, int64_t t0, int64_t t1,
                 const ws_attn_row *next) {
    const ws_attn_shape *s = j->s;
    const int64_t d = s->head_dim, group = s->heads / s->kv_heads, rows = (t1 - t0) * group, P = WS_KV_PAGE;
    float *scratch = ws_gemm_scratch((size_t)((g1 - g0) * rows * (2 * d + 2) + rows * (P + 2) + d * P));
    float *p = scratch + (g1 - g0) * rows * (2 * d + 2), *kt = p + rows * P, *shrink = kt + d * P;
    int32_t *valid = (int32_t *)(shrink + rows);
    for (int64_t g = g0; g < g1; g++) {
        const head h = head_at(scratch, g - g0, rows, d);
        if (row->page && row->k && row->n <= j->block) /* the task has all new tokens */
            ws_kv_store_head(j->kv, row->page, j->layer, g, row->pos, row->n, row->k, row->v, s->ldk);
        for (int64_t t = t0; t < t1; t++) /* the query heads of a group lie side by side */
            ws_k.scaled(h.q + (t - t0) * group * d, s->scale, row->q + t * s->ldq + g * group * d, group * d);
        for (int64_t r = 0; r < rows; r++) h.m[r] = -INFINITY, h.l[r] = 0;
    }
    for (int64_t r = 0; r < rows; r++) valid[r] = WS_KV_PAGE;
    const size_t at_layer = j->kv ? (size_t)j->layer * ws_kv_layer_floats(j->kv) : 0; /* in a page */
    const int64_t to_values = s->kv_heads * d * P, head_bytes = d * (int64_t)sizeof(float);
    const int64_t last = row->pos + t1; /* positions that this task sees: 0 .. last-1 */
    for (int64_t b = 0; b < last; b += P) {
        const int64_t n = last - b < P ? last - b : P, wide = n > P / 2 ? P : P / 2; /* a vector of keys at a time */
        const float *soon = NULL;
        int64_t first = 0, left = last - b - P;
        if (b + P > row->pos + t0 + 1) {                                /* not all tokens see all of this block */
            if (b > row->pos + t0) first = (b - row->pos - t0) * group; /* earlier tokens lie before it */
            for (int64_t t = t0 + first / group, r = first; t < t1; t++) {
                const int64_t seen = row->pos + t + 1 - b;
                for (int64_t i = 0; i < group; i++) valid[r++] = (int32_t)(seen < P ? seen : P);
            }
        }
        if (row->page && left > 0)
            soon = row->page[b / P + 1];
        else if (next)
            soon = next->page[0], left = next->pos + next->n;
        const int64_t live = rows - first;
        for (int64_t g = g0; g < g1; g++) {
            const head h = head_at(scratch, g - g0, rows, d);
            const size_t at_head = at_layer + (size_t)(g * d * P);
            const float *keys = kt, *values;
            int64_t ldv = d;
            if (row->page) {
                keys = row->page[b / P] + at_head;
                values = keys + to_values;
            } else {
                ws_attn_transpose(kt, row->k + b * s->ldk + g * d, s->ldk, n, d);
                values = row->v + b * s->ldk + g * d;
                ldv = s->ldk;
            }
            /* the same head's keys in the page that comes next; below its values */
            ws_k.tile_fetch(p + first * P, P, h.q + first * d, d, 1, live, keys, P, d, wide, 0,
                            soon ? soon + at_head : NULL, soon ? P * head_bytes : 0);
            ws_k.softmax32(p + first * P, live, valid + first, h.m + first, h.l + first, shrink + first);
            for (int64_t r = first; r < rows && b; r++)
                if (!(shrink[r] == 1)) ws_k.scale(h.o + r * d, shrink[r], d);
            ws_k.tile_fetch(h.o + first * d, d, p + first * P, P, 1, live, values, ldv, n, d, b > 0,
                            soon ? soon + at_head + to_values : NULL, soon ? (left < P ? left : P) * head_bytes : 0);
        }
    }
    for (int64_t g = g0; g < g1; g++)
        for (int64_t r = 0; r < rows; r++) {
            const head h = head_at(scratch, g - g0, rows, d);
            const int64_t t = t0 + r / group, a = g * group + r % group;
            ws_k.scaled(row->o + t * s->ldo + a * d, 1 / h.l[r], h.o + r * d, d);
            if (row->lse) row->lse[t * s->heads + a] = h.m[r] + logf(h.l[r]);
        }
}

static void tasks(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        int64_t at = j->total - 1 - i; /* the last tokens of a row see most: first */
        const ws_attn_row *row = j->row;
        for (;; row++) { /* tasks of a row: blocks x kv heads */
            int64_t here = (row->n + j->block - 1) / j->block * tasks_a_block(j, row);
            if (at < here) break;
            at -= here;
        }
        const int64_t a_block = tasks_a_block(j, row), t0 = at / a_block * j->block, g = at % a_block;
        const int64_t heads = j->s->kv_heads / a_block;
        const ws_attn_row *next = a_block < j->s->kv_heads && i + 1 < end && row > j->row ? row - 1 : NULL;
        if (next && (!next->page || !next->n)) next = NULL;
        task(j, row, g * heads, (g + 1) * heads, t0, t0 + j->block < row->n ? t0 + j->block : row->n, next);
    }
}

void ws_attention(const ws_attn_shape *s, const ws_kv_shape *kv, int layer, const ws_attn_row *row, int n_rows) {
    WS_ASSERT(s->heads % s->kv_heads == 0);
    job j = {s, kv, row, layer, n_rows >= 4 * ws_threads(), 48 / (s->heads / s->kv_heads), 0};
    if (j.block < 1) j.block = 1;
    double work = 0, seen = 0; /* pairs of a token and one before it */
    for (int r = 0; r < n_rows; r++) {
        WS_ASSERT(row[r].page || row[r].k);
        j.total += (row[r].n + j.block - 1) / j.block * tasks_a_block(&j, &row[r]);
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
        /* Rows of one task each go several at a time, so that a thread knows which comes next. */
        ws_parallel_for(j.total, j.total == n_rows ? 1 + n_rows / (8 * ws_threads()) : 1, tasks, &j);
    ws_profile_leave(4 * seen * s->heads * s->head_dim, 0);
}
