/* src/linalg/sign.h - singular vectors have no sign of their own; ours have one. */
#ifndef WS_LINALG_SIGN_H
#define WS_LINALG_SIGN_H
#include <math.h>
#include <stdint.h>
/* u [m, r], vt [r, n]: the largest number of every row of vt becomes positive. */
static inline void ws_fix_signs(double *u, int64_t m, double *vt, int64_t n, int64_t r) {
    for (int64_t j = 0; j < r; j++) {
        double *v = vt + j * n, largest = 0;
        for (int64_t i = 0; i < n; i++)
            if (fabs(v[i]) > fabs(largest)) largest = v[i];
        if (largest >= 0) continue;
        for (int64_t i = 0; i < n; i++) v[i] = -v[i];
        for (int64_t i = 0; i < m; i++) u[i * r + j] = -u[i * r + j];
    }
}
#endif
