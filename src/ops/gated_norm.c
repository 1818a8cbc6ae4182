#include "ops/gated_norm.h"
#include "base/err.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"
#include "ops/mlp.h"
#include "ops/norm.h"
#include <string.h>

enum { MAX_HEAD = 1024 };

int64_t ws_gated_norm_forward(float *y, const float *x, const float *z, const float *w, float eps, int64_t n, int heads,
                              int64_t d, float *r) {
    int64_t bad = ws_head_norm_forward(y, heads * d, x, heads * d, w, eps, n, heads, d, r);
    ws_swiglu_forward(y, z, y, n, heads * d);
    return bad;
}

typedef struct job {
    float *gx, *gz;
    const float *gy, *x, *z, *w, *r;
    int64_t d;
} job;

static void backward(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t d = j->d;
    float normed[MAX_HEAD], gn[MAX_HEAD], gx[MAX_HEAD];
    for (int64_t i = begin; i < end; i++) { /* heads of tokens */
        const float *x = j->x + i * d;
        ws_k.mul(normed, x, j->w, d);
        ws_k.scale(normed, j->r[i], d);
        ws_k.silu_mul_backward(j->gz + i * d, gn, j->gy + i * d, j->z + i * d, normed, d);
        memset(gx, 0, (size_t)d * sizeof *gx);
        ws_k.rmsnorm_backward(gx, gn, x, j->w, j->r[i], d);
        memcpy(j->gx + i * d, gx, (size_t)d * sizeof *gx);
    }
}

void ws_gated_norm_backward(float *gx, float *gz, const float *gy, const float *x, const float *z, const float *w,
                            const float *r, int64_t n, int heads, int64_t d) {
    WS_ASSERT(d <= MAX_HEAD);
    job j = {gx, gz, gy, x, z, w, r, d};
    ws_profile_enter("norm backward");
    ws_parallel_for(n * heads, 64, backward, &j);
    ws_profile_leave(0, 0);
}
