/* src/delta/monitor.h - how far anything else moves the weights along a dW: cosines by layer and in all, beside those of
 * random changes (conventions.md 5.6, row 11).  O(k k' (d_out + d_in)) a linear where both are products of thin matrices. */
#ifndef WS_DELTA_MONITOR_H
#define WS_DELTA_MONITOR_H
#include "delta/side.h"

/* What is measured: edits, or theta_pos (- theta_neg; NULL: the base) read row by row. */
typedef struct ws_measured {
    const ws_delta *edits;
    const ws_side *pos, *neg;
} ws_measured;

/* By layer, and in all at the end: every array is [layers + 1]. */
typedef struct ws_monitor {
    int layers;
    double *dot, *square, *square_dw; /* <thing, dW>, ||thing||^2, ||dW||^2 */
    /* Of the cosine that a random change of the same form and length at every linear has: 2.5% and 97.5% quantiles and
     * standard deviation of the draws, and its standard deviation by formula (not for edits with terms).  NaN: none. */
    double *lo, *hi, *sd, *formula;
    int touched, common; /* linears that the thing touches, and dW too */
} ws_monitor;
double ws_monitor_cos(const ws_monitor *m, int layer); /* layer `layers`: in all; NaN: one of them is 0 there */
/* draws 0: no quantiles.  A function of the seed alone. */
ws_status ws_monitor_new(ws_monitor *out, const ws_delta *dw, const ws_measured *thing, int draws, uint64_t seed,
                         ws_err *err);
void ws_monitor_free(ws_monitor *m);
/* <a, b> over all linears. */
ws_status ws_measured_dot(double *out, const ws_model *m, const ws_measured *a, const ws_measured *b, ws_err *err);
#endif
