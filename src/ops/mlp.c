#include "ops/mlp.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"

enum { CHUNK = 8192 }; /* numbers in one piece of work; elementwise, so the cut changes no value */

typedef struct swiglu {
    float *f, *gg, *gu;
    const float *gf, *g, *u;
} swiglu;

static void forward(void *arg, int64_t begin, int64_t end) {
    const swiglu *a = arg;
    ws_k.silu_mul(a->f + begin, a->g + begin, a->u + begin, end - begin);
}
void ws_swiglu_forward(float *f, const float *g, const float *u, int64_t n, int64_t d) {
    swiglu a = {.f = f, .g = g, .u = u};
    ws_profile_enter("swiglu");
    ws_parallel_for(n * d, CHUNK, forward, &a);
    ws_profile_leave(0, 0);
}

static void backward(void *arg, int64_t begin, int64_t end) {
    const swiglu *a = arg;
    ws_k.silu_mul_backward(a->gg + begin, a->gu + begin, a->gf + begin, a->g + begin, a->u + begin, end - begin);
}
void ws_swiglu_backward(float *gg, float *gu, const float *gf, const float *g, const float *u, int64_t n, int64_t d) {
    swiglu a = {.gg = gg, .gu = gu, .gf = gf, .g = g, .u = u};
    ws_profile_enter("swiglu backward");
    ws_parallel_for(n * d, CHUNK, backward, &a);
    ws_profile_leave(0, 0);
}
