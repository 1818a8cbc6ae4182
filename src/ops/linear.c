#include "ops/linear.h"
#include "base/parallel.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"

typedef struct add_bias {
    float *y;
    const float *bias;
    int64_t d;
} add_bias;

static void bias_rows(void *arg, int64_t begin, int64_t end) {
    const add_bias *a = arg;
    for (int64_t t = begin; t < end; t++) ws_k.add(a->y + t * a->d, a->bias, a->d);
}

void ws_linear_forward(float *y, const float *x, int64_t n, const ws_weight *w, const float *bias) {
    if (!n) return;
    ws_base_nt(y, w->rows, x, w->cols, n, w, 0);
    if (bias) ws_linear_add_bias(y, n, w->rows, bias);
}

void ws_linear_add_bias(float *y, int64_t n, int64_t d, const float *bias) {
    ws_parallel_for(n, 64, bias_rows, &(add_bias){y, bias, d});
}

void ws_linear_backward(float *gx, const float *gy, int64_t n, const ws_weight *w, int accumulate) {
    if (n) ws_base_nn(gx, w->cols, gy, w->rows, n, w, accumulate);
}

void ws_linear_forward_beside(float *y, const float *x, int64_t n, const ws_weight *w, const ws_beside *b,
                              int n_beside) {
    if (n) ws_base_nt_beside(y, w->rows, x, w->cols, n, w, 0, b, n_beside);
}

void ws_linear_backward_beside(float *gx, const float *gy, int64_t n, const ws_weight *w, int accumulate,
                               const ws_beside *b, int n_beside) {
    if (n) ws_base_nn_beside(gx, w->cols, gy, w->rows, n, w, accumulate, b, n_beside);
}
