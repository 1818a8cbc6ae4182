#include "ops/l2norm.h"
#include "kernel/kernel.h"
#include <math.h>
#include <string.h>

float ws_l2norm_forward(float *y, const float *x, float scale, int64_t d) {
    float r = (float)(1 / sqrt(ws_k.sum_sq(x, d) + 1e-6));
    if (y != x) memcpy(y, x, (size_t)d * sizeof *y);
    ws_k.scale(y, r * scale, d);
    return r;
}

/* With n = x r = y / scale: gx = r (scale gy - n (n . scale gy)) = r scale gy - (r / scale) (y . gy) y. */
void ws_l2norm_backward(float *gx, const float *gy, const float *y, float r, float scale, int64_t d) {
    float c = ws_k.dot(y, gy, d) * r / scale;
    if (gx != gy) memcpy(gx, gy, (size_t)d * sizeof *gx);
    ws_k.scale(gx, r * scale, d);
    ws_k.axpy(gx, -c, y, d);
}
