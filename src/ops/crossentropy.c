#include "ops/crossentropy.h"
#include "base/err.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include <math.h>

/* Logits of one chunk of tokens are kept whole (they are needed twice: for the sum, then for the gradient), so the
 * chunk of tokens is what bounds the memory.  Both cuts depend on the shapes alone.  A value of the forward pass does
 * not depend on the cut of the tokens; in the backward product each vocabulary chunk is summed apart, which also bounds
 * the length of one fp32 chain. */
enum { VOCAB_CHUNK = 8192, MAX_TOKENS = 512, MIN_TOKENS = 32 };
static const int64_t logit_budget = (int64_t)64 << 20;

static int64_t tokens_at_once(const ws_weight *head) {
    int64_t t = logit_budget / (head->rows * (int64_t)sizeof(float));
    return t < MIN_TOKENS ? MIN_TOKENS : t > MAX_TOKENS ? MAX_TOKENS : t;
}

int64_t ws_crossentropy_scratch(const ws_weight *head) {
    return tokens_at_once(head) * head->rows * (int64_t)sizeof(float) + 4096;
}

typedef struct softmax {
    float *logits;
    int64_t vocab;
    const int32_t *target;
    const float *weight;
    double *nll;
    int backward;
} softmax;

/* nll of each token; with backward the logits become weight (softmax - onehot). */
static void one_token(void *arg, int64_t begin, int64_t end) {
    const softmax *a = arg;
    for (int64_t t = begin; t < end; t++) {
        float *l = a->logits + t * a->vocab;
        float max = ws_k.max(l, a->vocab), at = l[a->target[t]];
        double sum = 0;
        for (int64_t v = 0; v < a->vocab; v += VOCAB_CHUNK) {
            int64_t k = a->vocab - v < VOCAB_CHUNK ? a->vocab - v : VOCAB_CHUNK;
            sum += ws_k.exp_sum(a->backward ? l + v : NULL, l + v, max, k);
        }
        a->nll[t] = (double)max - (double)at + log(sum);
        if (!a->backward) continue;
        ws_k.scale(l, (float)((double)a->weight[t] / sum), a->vocab);
        l[a->target[t]] -= a->weight[t];
    }
}

int64_t ws_crossentropy(const float *h, int64_t n, const ws_weight *head, const int32_t *target, const float *weight,
                        double *nll, float *gh, ws_arena *scratch) {
    int64_t step = tokens_at_once(head), d = head->cols, vocab = head->rows, bad = -1;
    ws_arena_mark mark = ws_arena_save(scratch);
    ws_profile_enter("cross entropy");
    float *logits = ws_arena_floats(scratch, (n < step ? n : step) * vocab);
    for (int64_t t = 0; t < n && bad < 0; t += step) {
        int64_t k = n - t < step ? n - t : step;
        ws_base_nt(logits, vocab, h + t * d, d, k, head, 0);
        softmax a = {logits, vocab, target + t, weight ? weight + t : NULL, nll + t, gh != NULL};
        ws_parallel_for(k, 1, one_token, &a);
        for (int64_t i = k - 1; i >= 0; i--)
            if (!isfinite(nll[t + i])) bad = t + i;
        if (!gh || bad >= 0) continue;
        for (int64_t v = 0; v < vocab; v += VOCAB_CHUNK) {
            int64_t rows = vocab - v < VOCAB_CHUNK ? vocab - v : VOCAB_CHUNK;
            ws_weight part = *head;
            part.data = (const char *)head->data + (size_t)v * head->row_bytes;
            part.rows = rows;
            ws_base_nn(gh + t * d, d, logits + v, vocab, k, &part, v > 0);
        }
    }
    ws_profile_leave(0, 0); /* its products tell their own */
    ws_arena_rewind(scratch, mark);
    return bad;
}
