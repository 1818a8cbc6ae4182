/* src/model/head.c - from final hidden states to logits and log-probabilities. */
#include "base/parallel.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "model/parts.h"
#include <math.h>

enum { VOCAB_CHUNK = 8192, TOKEN_CHUNK = 256 };

void ws_head(ws_model *m, const float *hidden, int64_t n, float *logits) {
    const ws_weight *w = &m->arch.head;
    if (n) ws_base_nt(logits, w->rows, hidden, w->cols, n, w, 0);
}

/* Running log-sum-exp of each token over the chunks of the vocabulary, in double; the chunks lie at fixed places, so
 * the bits depend on the token alone. */
typedef struct sums {
    const float *logits; /* [n, width]: vocabulary begin .. begin + width - 1 */
    int64_t width, begin;
    const int32_t *target;
    float *max, *at; /* [n] */
    double *sum;     /* [n] of exp(logit - max) */
} sums;

static void add_chunk(void *arg, int64_t begin, int64_t end) {
    const sums *s = arg;
    for (int64_t t = begin; t < end; t++) {
        const float *l = s->logits + t * s->width;
        float max = ws_k.max(l, s->width);
        if (!(max <= s->max[t])) { /* larger, or NaN, which then stays */
            s->sum[t] *= exp((double)s->max[t] - (double)max);
            s->max[t] = max;
        }
        s->sum[t] += ws_k.exp_sum(NULL, l, s->max[t], s->width);
        int64_t at = s->target[t] - s->begin;
        if (at >= 0 && at < s->width) s->at[t] = l[at];
    }
}

ws_status ws_logprob(ws_model *m, const float *hidden, int64_t n, const int32_t *target, float *logp, ws_err *err) {
    const ws_weight *w = &m->arch.head;
    ws_arena_mark mark = ws_arena_save(m->scratch);
    float *logits = ws_arena_floats(m->scratch, TOKEN_CHUNK * VOCAB_CHUNK);
    float *max = ws_arena_floats(m->scratch, TOKEN_CHUNK), *at = ws_arena_floats(m->scratch, TOKEN_CHUNK);
    double *sum = ws_arena_get(m->scratch, TOKEN_CHUNK * sizeof *sum);
    ws_status st = WS_OK;
    for (int64_t t = 0; t < n && !st; t += TOKEN_CHUNK) {
        int64_t k = n - t < TOKEN_CHUNK ? n - t : TOKEN_CHUNK;
        for (int64_t i = 0; i < k && !st; i++) {
            max[i] = -INFINITY, at[i] = 0, sum[i] = 0;
            if (target[t + i] < 0 || target[t + i] >= w->rows)
                st = ws_fail(err, WS_EUSAGE, "token id %d is outside the model's vocabulary 0..%lld", target[t + i],
                             (long long)w->rows - 1);
        }
        for (int64_t v = 0; v < w->rows && !st; v += VOCAB_CHUNK) {
            ws_weight part = *w;
            part.rows = w->rows - v < VOCAB_CHUNK ? w->rows - v : VOCAB_CHUNK;
            part.data = (const char *)w->data + (size_t)v * w->row_bytes;
            ws_base_nt(logits, part.rows, hidden + t * w->cols, w->cols, k, &part, 0);
            ws_parallel_for(k, 4, add_chunk, &(sums){logits, part.rows, v, target + t, max, at, sum});
        }
        for (int64_t i = 0; i < k && !st; i++) {
            double lp = (double)at[i] - (double)max[i] - log(sum[i]);
            if (!isfinite(lp))
                st = ws_fail(err, WS_ENONFINITE, "the log-probability of token %lld is not finite", (long long)(t + i));
            logp[t + i] = (float)lp;
        }
    }
    ws_arena_rewind(m->scratch, mark);
    return st;
}
