/* A few numbers a token: in double, where exp and log1p are those of the C library. */
#include "ops/decay.h"
#include <math.h>

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

void ws_decay_rate(float *neg_a, const float *a_log, int heads) {
    for (int h = 0; h < heads; h++) neg_a[h] = (float)-exp((double)a_log[h]);
}

void ws_decay_forward(float *g, float *beta, const float *a, const float *b, const float *neg_a, const float *dt_bias,
                      int64_t n, int heads) {
    for (int64_t t = 0; t < n; t++)
        for (int64_t h = 0, i = t * heads; h < heads; h++, i++) {
            g[i] = (float)(neg_a[h] * softplus((double)a[i] + dt_bias[h]));
            beta[i] = (float)sigmoid((double)b[i]);
        }
}

void ws_decay_backward(float *ga, float *gb, const float *gg, const float *gbeta, const float *a, const float *beta,
                       const float *neg_a, const float *dt_bias, int64_t n, int heads) {
    for (int64_t t = 0; t < n; t++)
        for (int64_t h = 0, i = t * heads; h < heads; h++, i++) {
            ga[i] = (float)((double)gg[i] * neg_a[h] * sigmoid((double)a[i] + dt_bias[h]));
            gb[i] = gbeta[i] * beta[i] * (1 - beta[i]);
        }
}
