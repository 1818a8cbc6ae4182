#include "ops/blockdiag.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"

typedef struct job {
    float *y;
    const float *x, *b;
    int64_t n, d;
    int bs, transposed;
} job;

enum { TOKENS = 64, LARGEST = 64 }; /* tokens a chunk; largest block that is turned on the stack */

static void rows(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    int64_t bs = j->bs, d = j->d;
    for (int64_t t = begin; bs == 1 && t < end; t++) ws_k.mul(j->y + t * d, j->x + t * d, j->b, d);
    if (bs == 1) return;
    float turned[LARGEST * LARGEST];
    int fits = bs <= LARGEST;
    for (int64_t k = 0; k < d / bs; k++) {
        const float *b = j->b + k * bs * bs;
        if (!j->transposed)
            ws_k.tile(j->y + begin * d + k * bs, d, j->x + begin * d + k * bs, d, 1, end - begin, b, bs, bs, bs, 0);
        else if (fits) {
            ws_k.transpose(turned, bs, b, bs, bs, bs);
            ws_k.tile(j->y + begin * d + k * bs, d, j->x + begin * d + k * bs, d, 1, end - begin, turned, bs, bs, bs,
                      0);
        } else { /* y' = B x', one token at a time: the same chains */
            for (int64_t t = begin; t < end; t++)
                ws_k.tile(j->y + t * d + k * bs, 1, b, bs, 1, bs, j->x + t * d + k * bs, 1, bs, 1, 0);
        }
    }
}

void ws_blockdiag_forward(float *y, const float *x, int64_t n, int64_t d, const float *b, int bs) {
    ws_profile_enter("block rotation");
    ws_parallel_for(n, TOKENS, rows, &(job){y, x, b, n, d, bs, 0});
    ws_profile_leave(2.0 * (double)n * (double)d * bs, 0);
}
void ws_blockdiag_forward_t(float *y, const float *x, int64_t n, int64_t d, const float *b, int bs) {
    ws_profile_enter("block rotation");
    ws_parallel_for(n, TOKENS, rows, &(job){y, x, b, n, d, bs, 1});
    ws_profile_leave(2.0 * (double)n * (double)d * bs, 0);
}

static void blocks(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    int64_t bs = j->bs;
    for (int64_t t = 0; bs == 1 && t < j->n; t++) /* a run of the diagonal, token by token */
        for (int64_t i = begin; i < end; i++) j->y[i] += j->x[t * j->d + i] * j->b[t * j->d + i];
    if (bs == 1) return;
    for (int64_t k = begin; k < end; k++)
        ws_k.tile(j->y + k * bs * bs, bs, j->x + k * bs, 1, j->d, bs, j->b + k * bs, j->d, j->n, bs, 1);
}

void ws_blockdiag_backward(float *gb, const float *x, const float *gy, int64_t n, int64_t d, int bs) {
    ws_profile_enter("block rotation");
    ws_parallel_for(d / bs, bs == 1 ? 256 : 16, blocks, &(job){gb, x, gy, n, d, bs, 0});
    ws_profile_leave(2.0 * (double)n * (double)d * bs, 0);
}
