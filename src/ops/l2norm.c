#include "ops/l2norm.h"
#include "kernel/kernel.h"
#include <math.h>

float ws_l2norm_forward(float *y, const float *x, float scale, int64_t d) {
    float r = (float)(1 / sqrt(ws_k.sum_sq(x, d) + 1e-6));
    ws_k.scaled(y, r * scale, x, d);
    return r;
}

/* With n = x r = y / scale: gx = r (scale gy - n (n . scale gy)) = r scale gy - (r / scale) (y . gy) y. */
void ws_l2norm_backward(float *gx, const float *gy, const float *y, float r, float scale, int64_t d) {
    float c = ws_k.dot(y, gy, d) * r / scale;
    ws_k.scaled(gx, r * scale, gy, d);
    ws_k.axpy(gx, -c, y, d);
}
