#include "ops/conv.h"
#include "base/err.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"
#include <string.h>

/* A task is (sequence, block of channels): it walks all tokens, so it alone touches its part of the ring. */
enum { BLOCK = 128 };
static const float nothing[BLOCK]; /* inputs before position 0, gradients after the end */

void ws_conv_weights(float *w, const float *file, int64_t channels, int taps) {
    for (int j = 0; j < taps; j++)
        for (int64_t c = 0; c < channels; c++) w[j * channels + c] = file[c * taps + j];
}

typedef struct job {
    const ws_conv_shape *s;
    const ws_conv_row *row;
    const ws_conv_grad *grad;
    int64_t blocks;
} job;

/* Channels from c0 of the input at position p of a row that begins at pos. */
static const float *input(const ws_conv_shape *s, const float *m, const float *ring, int64_t pos, int64_t p,
                          int64_t c0) {
    if (p >= pos) return m + (p - pos) * s->channels + c0;
    return p < 0 ? nothing : ring + p % s->slots * s->channels + c0;
}

static void forward(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const ws_conv_shape *s = j->s;
    const int64_t ld = s->channels;
    for (int64_t i = begin; i < end; i++) {
        const ws_conv_row *r = j->row + i / j->blocks;
        const int64_t c0 = i % j->blocks * BLOCK, n = ld - c0 < BLOCK ? ld - c0 : BLOCK;
        for (int64_t t = 0; t < r->n; t++) {
            const float *x[WS_CONV_TAPS];
            float *c = r->c + t * ld + c0;
            for (int k = 0; k < s->taps; k++)
                x[k] = input(s, r->m, r->ring, r->pos, r->pos + t - (s->taps - 1) + k, c0);
            ws_k.taps(c, x, s->w + c0, ld, s->taps, n);
            ws_k.silu(c, c, n);
        }
        for (int64_t t = r->n > s->slots ? r->n - s->slots : 0; r->ring && t < r->n; t++)
            memcpy(r->ring + (r->pos + t) % s->slots * ld + c0, r->m + t * ld + c0, (size_t)n * sizeof *r->ring);
    }
}

/* Gradients of u are needed for the last K tokens that were passed, walking backwards: they live in a small ring. */
static void backward(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const ws_conv_shape *s = j->s;
    const int64_t ld = s->channels;
    const int K = s->taps;
    float gu[WS_CONV_TAPS][BLOCK], u[BLOCK];
    for (int64_t i = begin; i < end; i++) {
        const ws_conv_grad *r = j->grad + i / j->blocks;
        const int64_t c0 = i % j->blocks * BLOCK, n = ld - c0 < BLOCK ? ld - c0 : BLOCK;
        for (int64_t t = r->n - 1; t >= 0; t--) {
            const float *x[WS_CONV_TAPS];
            for (int k = 0; k < K; k++) x[k] = input(s, r->m, NULL, 0, t - (K - 1) + k, c0);
            ws_k.taps(u, x, s->w + c0, ld, K, n);
            ws_k.silu_backward(gu[t % K], r->gc + t * ld + c0, u, n);
            for (int k = 0; k < K; k++) x[k] = t + K - 1 - k < r->n ? gu[(t + K - 1 - k) % K] : nothing;
            ws_k.taps(r->gm + t * ld + c0, x, s->w + c0, ld, K, n);
        }
    }
}

static void check(const ws_conv_shape *s) { WS_ASSERT(s->taps >= 1 && s->taps <= WS_CONV_TAPS); }

static void run(const job *j, int n_rows, int64_t tokens, void (*fn)(void *, int64_t, int64_t)) {
    if (tokens * j->s->channels < 4096)
        fn((void *)j, 0, n_rows * j->blocks);
    else
        ws_parallel_for(n_rows * j->blocks, 8, fn, (void *)j);
}

void ws_conv_forward(const ws_conv_shape *s, const ws_conv_row *row, int n_rows) {
    job j = {.s = s, .row = row, .blocks = (s->channels + BLOCK - 1) / BLOCK};
    int64_t tokens = 0;
    check(s);
    for (int r = 0; r < n_rows; r++) {
        WS_ASSERT(row[r].ring ? s->slots >= s->taps - 1 && s->slots > 0 : row[r].pos == 0);
        tokens += row[r].n;
    }
    ws_profile_enter("convolution");
    run(&j, n_rows, tokens, forward);
    ws_profile_leave(0, 0);
}

void ws_conv_backward(const ws_conv_shape *s, const ws_conv_grad *row, int n_rows) {
    job j = {.s = s, .grad = row, .blocks = (s->channels + BLOCK - 1) / BLOCK};
    int64_t tokens = 0;
    check(s);
    for (int r = 0; r < n_rows; r++) tokens += row[r].n;
    ws_profile_enter("convolution backward");
    run(&j, n_rows, tokens, backward);
    ws_profile_leave(0, 0);
}
