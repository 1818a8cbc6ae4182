/* src/calibrate/root.h - the root finder of pipeline.md 5 as a state machine that never computes a statistic itself:
 *     ws_root_start, then while (ws_root_wants(r, &c)) ws_root_give(r, stat(c))
 * so that both signs' finders advance together, one batch a round, and a resumed run replays recorded values.
 * It solves stat(c) = target for c = |alpha| > 0: a start at sqrt(lo hi), doubling or halving until the target is
 * straddled, then log-log interpolation with the Illinois rule.  weight-steering also takes the very first probe where it
 * fits, steering-lite's sweep makes 8 steps: two fields say so. */
#ifndef WS_CALIBRATE_ROOT_H
#define WS_CALIBRATE_ROOT_H
#include "base/err.h"

typedef enum ws_root_status {
    WS_ROOT_RUNNING,
    WS_ROOT_OK,           /* |stat - target| < 0.05 at the result */
    WS_ROOT_BELOW_RANGE,  /* even the weakest probe is over the target: the strength lies below the bracket */
    WS_ROOT_ABOVE_RANGE,  /* even the strongest probe is under it */
    WS_ROOT_NOT_CONVERGED /* straddled, but out of steps: the closest of all probes */
} ws_root_status;
typedef enum ws_root_phase {
    WS_ROOT_START,
    WS_ROOT_DOUBLE,
    WS_ROOT_HALVE,
    WS_ROOT_INTERPOLATE,
    WS_ROOT_MIDPOINT
} ws_root_phase;

typedef struct ws_root_probe {
    double c, v;
    ws_root_phase phase;
} ws_root_probe;

enum { WS_ROOT_MAX_PROBES = 96, WS_ROOT_MAX_STEPS = 12 };
typedef struct ws_root {
    double target, lo, hi;
    ws_root_status status;
    ws_root_phase phase; /* of the probe that is wanted */
    double want;
    double c_lo, v_lo, c_hi, v_hi;
    int kept_lo, kept_hi; /* steps for which this end has stayed */
    int steps,
        max_steps;  /* interpolation steps made, and how many may be: WS_ROOT_MAX_STEPS unless set after the start */
    int first_fits; /* set after the start: the very first probe is the result where it is within the tolerance */
    int n, best;    /* probes made; index of the result */
    ws_root_probe probe[WS_ROOT_MAX_PROBES];
} ws_root;

/* 0 < lo < hi, hi / lo at most 1e18, target > 0: else WS_EUSAGE. */
ws_status ws_root_start(ws_root *r, double target, double lo, double hi, ws_err *err);
int ws_root_wants(const ws_root *r, double *c); /* 1: give the statistic at c next; 0: done */
/* NaN or infinity is WS_ENONFINITE, with the strength named; the finder stays as it was. */
ws_status ws_root_give(ws_root *r, double v, ws_err *err);
const char *ws_root_status_name(ws_root_status s); /* "ok", "below_range", ... */
const char *ws_root_phase_name(ws_root_phase p);   /* "start", "double", ... */
#endif
