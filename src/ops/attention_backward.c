/* src/ops/attention_backward.c - models.md 8.8 with P recomputed from the saved log sum exp, one key block at a time:
 *     P = exp(scale Q K^T - lse),  D_i = go_i . o_i,  dS = scale P (go V^T - D)
 *     gv = P^T go,  gk = dS^T Q,  gq = dS K
 * A task is (sequence, kv head): it walks the key blocks forwards and, inside a block, the query rows forwards, so
 * every sum has one order. */
#include "base/err.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "ops/attention.h"
#include <string.h>

typedef struct job {
    const ws_attn_shape *s;
    const ws_attn_grad *row;
} job;

/* The rows of one kv head's query heads, packed [tokens * group, d]. */
static void gather(float *to, const float *from, int64_t ld, int64_t n, int64_t group, int64_t d, int64_t h0) {
    for (int64_t t = 0; t < n; t++)
        memcpy(to + t * group * d, from + t * ld + h0 * d, (size_t)(group * d) * sizeof *to);
}

static void task(const ws_attn_shape *s, const ws_attn_grad *row, int64_t g) {
    enum { AT_ONCE = 64 }; /* query rows of one pass over a key block */
    const int64_t d = s->head_dim, group = s->heads / s->kv_heads, rows = row->n * group, P = WS_KV_PAGE,
                  h0 = g * group, keys = row->pos + row->n;
    float *q = ws_gemm_scratch((size_t)(3 * rows * d + 2 * rows + 2 * AT_ONCE * P + 4 * d * P));
    float *go = q + rows * d, *gq = go + rows * d, *lse = gq + rows * d, *delta = lse + rows, *p = delta + rows;
    float *ds = p + AT_ONCE * P, *kt = ds + AT_ONCE * P, *vt = kt + d * P, *gk = vt + d * P, *gv = gk + d * P;
    gather(q, row->q, s->ldq, row->n, group, d, h0);
    gather(go, row->go, s->ldo, row->n, group, d, h0);
    memset(gq, 0, (size_t)(rows * d) * sizeof *gq);
    for (int64_t r = 0; r < rows; r++) {
        int64_t t = r / group, h = h0 + r % group;
        lse[r] = row->lse[t * s->heads + h];
        delta[r] = ws_k.dot(go + r * d, row->o + t * s->ldo + h * d, d);
    }
    for (int64_t b = 0; b < keys; b += P) {
        const int64_t n = keys - b < P ? keys - b : P, before = b > row->pos ? (b - row->pos) * group : 0;
        const float *k = row->k + b * s->ldk + g * d, *v = row->v + b * s->ldk + g * d;
        ws_attn_transpose(kt, k, s->ldk, n, d);
        ws_attn_transpose(vt, v, s->ldk, n, d);
        memset(gk, 0, (size_t)(2 * d * P) * sizeof *gk);           /* gk and gv lie side by side */
        for (int64_t r0 = before, m; r0 < rows; r0 += m) {         /* tokens before b do not see this block */
            m = AT_ONCE - ((row->pos - b) * group + r0) % AT_ONCE; /* cut at places that do not depend on pos */
            if (m > rows - r0) m = rows - r0;
            ws_k.tile(p, P, q + r0 * d, d, 1, m, kt, P, d, P, 0);
            ws_k.tile(ds, P, go + r0 * d, d, 1, m, vt, P, d, P, 0);
            for (int64_t r = 0; r < m; r++) {
                int64_t seen = row->pos + (r0 + r) / group + 1 - b;
                if (seen > n) seen = n;
                float *pr = p + r * P, *dr = ds + r * P, shift = lse[r0 + r], dot = delta[r0 + r];
                ws_k.scale(pr, s->scale, P);
                ws_k.exp_sum(pr, pr, shift, P);
                for (int64_t j = 0; j < P; j++) {
                    if (j >= seen)
                        pr[j] = 0, dr[j] = 0;
                    else
                        dr[j] = s->scale * pr[j] * (dr[j] - dot);
                }
            }
            ws_k.tile(gv, d, p, 1, P, n, go + r0 * d, d, m, d, 1);
            ws_k.tile(gk, d, ds, 1, P, n, q + r0 * d, d, m, d, 1);
            ws_k.tile(gq + r0 * d, d, ds, P, 1, m, k, s->ldk, n, d, 1);
        }
        for (int64_t j = 0; j < n; j++) {
            memcpy(row->gk + (b + j) * s->ldk + g * d, gk + j * d, (size_t)d * sizeof *gk);
            memcpy(row->gv + (b + j) * s->ldk + g * d, gv + j * d, (size_t)d * sizeof *gv);
        }
    }
    for (int64_t t = 0; t < row->n; t++)
        memcpy(row->gq + t * s->ldq + h0 * d, gq + t * group * d, (size_t)(group * d) * sizeof *gq);
}

static void tasks(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) task(j->s, j->row + i / j->s->kv_heads, i % j->s->kv_heads);
}

void ws_attention_backward(const ws_attn_shape *s, const ws_attn_grad *row, int n_rows) {
    WS_ASSERT(s->heads % s->kv_heads == 0);
    job j = {s, row};
    double seen = 0;
    for (int r = 0; r < n_rows; r++) seen += (double)row[r].n * ((double)row[r].pos + 0.5 * (double)(row[r].n + 1));
    ws_profile_enter("attention backward");
    ws_parallel_for((int64_t)n_rows * s->kv_heads, 1, tasks, &j);
    ws_profile_leave(10 * seen * s->heads * s->head_dim, 0); /* scores again, then four products */
}
