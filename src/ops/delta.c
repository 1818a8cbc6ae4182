/* src/ops/delta.c - the gated delta rule forward: tasks, and the layout of the state. */
#include "ops/delta.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/gemm.h"
#include "ops/delta_rule.h"

size_t ws_delta_s_floats(const ws_delta_shape *s) { return (size_t)s->value_heads * (size_t)s->dk * (size_t)s->dv; }
size_t ws_delta_open_floats(const ws_delta_shape *s) {
    return (size_t)rule_open_g(s) + (size_t)s->value_heads * (size_t)ws_delta_chunk(s);
}

void ws_delta_open_copy(const ws_delta_shape *s, float *to, const float *from, int64_t pos) {
    const int64_t C = ws_delta_chunk(s), rows = pos % C, d = rule_open_d(s), g = rule_open_g(s);
    for (int64_t x = 0; x < (int64_t)s->key_heads * s->dk; x++)
        memcpy(to + x * C, from + x * C, (size_t)rows * sizeof *to);
    for (int64_t j = 0; j < s->value_heads; j++) {
        memcpy(to + d + j * C * s->dv, from + d + j * C * s->dv, (size_t)(rows * s->dv) * sizeof *to);
        memcpy(to + g + j * C, from + g + j * C, (size_t)rows * sizeof *to);
    }
}

/* Row x of a head's panels lies in pieces of PANEL numbers. */
static void panels(float *plain, float *state, const ws_delta_shape *s, int out) {
    const int64_t dk = s->dk, dv = s->dv;
    for (int64_t j = 0; j < s->value_heads; j++, plain += dk * dv, state += dk * dv)
        for (int64_t n = 0; n < dv; n += PANEL) {
            const int64_t w = dv - n < PANEL ? dv - n : PANEL;
            for (int64_t x = 0; x < dk; x++) {
                float *a = plain + x * dv + n, *b = state + n * dk + x * w;
                memcpy(out ? a : b, out ? b : a, (size_t)w * sizeof *a);
            }
        }
}
void ws_delta_s_get(const ws_delta_shape *s, const float *state, float *plain) { panels(plain, (float *)state, s, 1); }
void ws_delta_s_set(const ws_delta_shape *s, float *state, const float *plain) { panels((float *)plain, state, s, 0); }

void ws_delta_s_now(const ws_delta_shape *s, const float *state, const float *open, int64_t pos, float *plain) {
    const int64_t C = ws_delta_chunk(s), dk = s->dk, dv = s->dv, rows = pos % C;
    if (pos < C)
        memset(plain, 0, ws_delta_s_floats(s) * sizeof *plain);
    else
        ws_delta_s_get(s, state, plain);
    for (int j = 0; j < s->value_heads; j++) {
        const float *kt = open + j / rule_readers(s) * dk * C, *d = open + rule_open_d(s) + j * C * dv;
        const float *g = open + rule_open_g(s) + j * C;
        float *S = plain + j * dk * dv;
        for (int64_t i = 0; i < rows; i++) {
            ws_k.scale(S, expf(g[i]), dk * dv);
            for (int64_t x = 0; x < dk; x++) ws_k.axpy(S + x * dv, kt[x * C + i], d + i * dv, dv);
        }
    }
}

typedef struct job {
    const ws_delta_shape *s;
    const ws_delta_row *row;
} job;

static void tasks(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int Hk = j->s->key_heads;
    for (int64_t i = begin; i < end; i++) {
        const ws_delta_row *r = j->row + i / Hk;
        const rule_row row = {r->n, r->pos, r->c, r->g, r->beta, r->o, r->from, r->to, r->open};
        const int h = (int)(i % Hk);
        rule_forward(j->s, h, &row, ws_gemm_scratch((size_t)rule_forward_room(j->s)));
    }
}

void ws_delta_forward(const ws_delta_shape *s, const ws_delta_row *row, int n_rows) {
    const int C = ws_delta_chunk(s);
    double work = 0;
    WS_ASSERT(s->value_heads % s->key_heads == 0);
    for (int r = 0; r < n_rows; r++) {
        WS_ASSERT(row[r].open || row[r].pos % C == 0);
        WS_ASSERT(row[r].from || row[r].pos < C);
        work += (double)row[r].n * s->value_heads * s->dk * s->dv;
    }
    job j = {s, row};
    ws_profile_enter("delta rule");
    if (work < 3e4)
        tasks(&j, 0, (int64_t)n_rows * s->key_heads);
    else
        ws_parallel_for((int64_t)n_rows * s->key_heads, 1, tasks, &j);
    ws_profile_leave(0, 0);
}
