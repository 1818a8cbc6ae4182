/* tests/delta_plain.h - the gated delta rule step by step in double (models.md 5.2.4-5.2.7), and the golden numbers of
 * models.md 14.1: one head, dk 3, dv 2, six tokens. */
#ifndef TESTS_DELTA_PLAIN_H
#define TESTS_DELTA_PLAIN_H
#include "ops/delta.h"
#include <math.h>
#include <stdlib.h>

/* S [Hv, dk, dv] on entry and on return; c, g, beta, o as in ws_delta_row. */
static inline void delta_plain(const ws_delta_shape *s, int64_t n, const double *c, const double *g, const double *beta,
                               double *S, double *o) {
    const int64_t dk = s->dk, dv = s->dv, Hk = s->key_heads, Hv = s->value_heads, ld = ws_delta_channels(s);
    double *q = malloc((size_t)(2 * dk + dv) * sizeof *q), *k = q + dk, *d = k + dk;
    for (int64_t t = 0; t < n; t++)
        for (int64_t j = 0; j < Hv; j++) {
            const int64_t h = j / (Hv / Hk);
            const double *x = c + t * ld + h * dk, *y = x + Hk * dk, *v = c + t * ld + 2 * Hk * dk + j * dv;
            double *St = S + j * dk * dv, sq = 1e-6, sk = 1e-6;
            for (int64_t i = 0; i < dk; i++) sq += x[i] * x[i], sk += y[i] * y[i];
            for (int64_t i = 0; i < dk; i++) q[i] = x[i] / sqrt(sq) / sqrt((double)dk), k[i] = y[i] / sqrt(sk);
            for (int64_t i = 0; i < dk * dv; i++) St[i] *= exp(g[t * Hv + j]);
            for (int64_t b = 0; b < dv; b++) {
                double p = 0;
                for (int64_t a = 0; a < dk; a++) p += St[a * dv + b] * k[a];
                d[b] = beta[t * Hv + j] * (v[b] - p);
            }
            for (int64_t b = 0; b < dv; b++) {
                double r = 0;
                for (int64_t a = 0; a < dk; a++) r += q[a] * (St[a * dv + b] += k[a] * d[b]);
                o[(t * Hv + j) * dv + b] = r;
            }
        }
    free(q);
}

enum { GOLD_T = 6, GOLD_K = 3, GOLD_V = 2, GOLD_C = 2 * GOLD_K + GOLD_V };
static const ws_delta_shape gold_shape = {.key_heads = 1, .value_heads = 1, .dk = GOLD_K, .dv = GOLD_V};
static const double gold_a_log = 0.2, gold_dt_bias = -0.3;
static inline void gold_wave(double *x, int n, double phase) {
    for (int i = 0; i < n; i++) x[i] = sin(0.7 * i + phase);
}
/* c [T, q | k | v] as the operation takes it, a, b [T], go [T, dv]. */
static inline void gold_inputs(double *c, double *a, double *b, double *go) {
    double q[GOLD_T * GOLD_K], k[GOLD_T * GOLD_K], v[GOLD_T * GOLD_V];
    gold_wave(q, GOLD_T * GOLD_K, 0.1), gold_wave(k, GOLD_T * GOLD_K, 0.5), gold_wave(v, GOLD_T * GOLD_V, 0.9);
    gold_wave(a, GOLD_T, 1.3), gold_wave(b, GOLD_T, 1.7), gold_wave(go, GOLD_T * GOLD_V, 2.1);
    for (int t = 0; t < GOLD_T; t++)
        for (int i = 0; i < GOLD_C; i++)
            c[t * GOLD_C + i] = i < GOLD_K       ? q[t * GOLD_K + i]
                                : i < 2 * GOLD_K ? k[t * GOLD_K + i - GOLD_K]
                                                 : v[t * GOLD_V + i - 2 * GOLD_K];
}
static const double gold_o[] = {0.31466211,  0.40152832,  0.26654286, 0.08990645, -0.14741506, -0.28767315,
                                -0.18452824, -0.04230182, 0.06330673, 0.16340202, 0.20740146,  0.12015274};
static const double gold_s[] = {-0.18931388, -0.03677485, -0.24857502, -0.15986868, -0.19092744, -0.20777377};
static const double gold_loss = 0.75414874;
static const double gold_gq[] = {0.09058364,  0.03624884,  -0.03513435, -0.00505649, -0.01445291, -0.01705191,
                                 -0.08401052, 0.01704550,  0.11008475,  0.04925673,  0.01925352,  -0.01980492,
                                 -0.04799783, -0.12638817, -0.14533618, -0.00895535, 0.00194870,  0.01193625};
static const double gold_gk[] = {-0.10186780, -0.01998642, 0.07129488,  0.03183233,  0.03078923,  0.01526548,
                                 0.04094328,  -0.03184471, -0.08965564, -0.10781855, -0.02025801, 0.07683019,
                                 0.06100798,  0.05739188,  0.02678348,  0.00125475,  -0.00103116, -0.00283211};
static const double gold_gv[] = {0.35331492, 0.11676728, -0.10035831, -0.28968120, -0.33839762, -0.29096514,
                                 0.01338475, 0.18304451, 0.13115159,  0.10257065,  0.05159980,  -0.05926150};
static const double gold_ga[] = {0, 0.01000706, -0.02825102, -0.07714585, -0.03210421, -0.00370581};
static const double gold_gb[] = {0.10646876, -0.05091718, 0.19703688, -0.09085217, 0.04994000, 0.00034593};
static const double gold_ga_log = -0.16117738, gold_gdt_bias = -0.13119983;
#endif
