#include "ops/norm.h"
#include "base/err.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"
#include <math.h>
#include <string.h>

enum { MAX_HEAD = 1024 };

typedef struct norm {
    float *y;
    const float *gy, *x, *w, *r;
    float *r_out;
    int64_t ldy, ldgy, ldx, d;
    int heads;
    float eps;
    int64_t bad; /* lowest row that is not finite; INT64_MAX: none */
} norm;

static void note_bad(norm *a, int64_t row) {
    int64_t seen = __atomic_load_n(&a->bad, __ATOMIC_RELAXED);
    while (row < seen && !__atomic_compare_exchange_n(&a->bad, &seen, row, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

static void forward(void *arg, int64_t begin, int64_t end) {
    norm *a = arg;
    for (int64_t t = begin; t < end; t++)
        for (int h = 0; h < a->heads; h++) {
            float r;
            ws_k.rmsnorm(a->y + t * a->ldy + h * a->d, a->x + t * a->ldx + h * a->d, a->w, a->eps, a->d, &r);
            /* x with a NaN gives r = NaN, x with an infinity (or a sum of squares beyond double) gives r = 0. */
            if (!(r > 0)) note_bad(a, t);
            if (a->r_out) a->r_out[t * a->heads + h] = r;
        }
}

int64_t ws_head_norm_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, float eps, int64_t n,
                             int heads, int64_t d, float *r) {
    norm a = {.y = y,
              .x = x,
              .w = w,
              .r_out = r,
              .ldy = ldy,
              .ldx = ldx,
              .d = d,
              .heads = heads,
              .eps = eps,
              .bad = INT64_MAX};
    ws_profile_enter("norm");
    ws_parallel_for(n, 16, forward, &a);
    ws_profile_leave(0, 0);
    return a.bad == INT64_MAX ? -1 : a.bad;
}

int64_t ws_norm_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, float eps, int64_t n,
                        int64_t d, float *r) {
    return ws_head_norm_forward(y, ldy, x, ldx, w, eps, n, 1, d, r);
}

static void backward(void *arg, int64_t begin, int64_t end) {
    const norm *a = arg;
    for (int64_t t = begin; t < end; t++)
        ws_k.rmsnorm_backward(a->y + t * a->ldy, a->gy + t * a->ldgy, a->x + t * a->ldx, a->w, a->r[t], a->d);
}

void ws_norm_backward(float *gx, int64_t ldg, const float *gy, int64_t ldy, const float *x, int64_t ldx, const float *w,
                      const float *r, int64_t n, int64_t d) {
    norm a = {.y = gx, .gy = gy, .x = x, .w = w, .r = r, .ldy = ldg, .ldgy = ldy, .ldx = ldx, .d = d};
    ws_profile_enter("norm backward");
    ws_parallel_for(n, 16, backward, &a);
    ws_profile_leave(0, 0);
}

static void head_backward(void *arg, int64_t begin, int64_t end) {
    const norm *a = arg;
    float g[MAX_HEAD];
    for (int64_t t = begin; t < end; t++)
        for (int h = 0; h < a->heads; h++) {
            memset(g, 0, (size_t)a->d * sizeof *g);
            ws_k.rmsnorm_backward(g, a->gy + t * a->ldgy + h * a->d, a->x + t * a->ldx + h * a->d, a->w,
                                  a->r[t * a->heads + h], a->d);
            memcpy(a->y + t * a->ldy + h * a->d, g, (size_t)a->d * sizeof *g);
        }
}

void ws_head_norm_backward(float *gx, int64_t ldg, const float *gy, int64_t ldy, const float *x, int64_t ldx,
                           const float *w, const float *r, int64_t n, int heads, int64_t d) {
    WS_ASSERT(d <= MAX_HEAD);
    norm a = {.y = gx, .gy = gy, .x = x, .w = w, .r = r, .ldy = ldg, .ldgy = ldy, .ldx = ldx, .d = d, .heads = heads};
    ws_profile_enter("norm backward");
    ws_parallel_for(n, 16, head_backward, &a);
    ws_profile_leave(0, 0);
}
