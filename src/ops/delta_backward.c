/* src/ops/delta_backward.c - gradients of the gated delta rule: tasks.  A task keeps the state of every chunk for one
 * value head at a time: n / chunk * dk * dv numbers. */
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/gemm.h"
#include "ops/delta.h"
#include "ops/delta_rule_backward.h"

typedef struct job {
    const ws_delta_shape *s;
    const ws_delta_grad *row;
} job;

static void tasks(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int Hk = j->s->key_heads;
    for (int64_t i = begin; i < end; i++) {
        const ws_delta_grad *r = j->row + i / Hk;
        const rule_grad row = {r->n, r->c, r->g, r->beta, r->go, r->gc, r->gg, r->gbeta};
        rule_backward(j->s, (int)(i % Hk), &row, ws_gemm_scratch((size_t)rule_backward_room(j->s, r->n)));
    }
}

void ws_delta_backward(const ws_delta_shape *s, const ws_delta_grad *row, int n_rows) {
    WS_ASSERT(s->value_heads % s->key_heads == 0);
    WS_ASSERT(ws_delta_chunk(s) <= WS_DELTA_CHUNK_MAX);
    job j = {s, row};
    ws_profile_enter("delta rule backward");
    ws_parallel_for((int64_t)n_rows * s->key_heads, 1, tasks, &j);
    ws_profile_leave(0, 0);
}
