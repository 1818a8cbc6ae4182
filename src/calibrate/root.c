#include "calibrate/root.h"
#include <math.h>
#include <string.h>

static const double tolerance = 0.05; /* nats, tested on interpolation steps, and with first_fits on the first probe */

const char *ws_root_status_name(ws_root_status s) {
    static const char *const name[] = {"running", "ok", "below_range", "above_range", "not_converged"};
    return name[s];
}
const char *ws_root_phase_name(ws_root_phase p) {
    static const char *const name[] = {"start", "double", "halve", "interpolate", "midpoint"};
    return name[p];
}

ws_status ws_root_start(ws_root *r, double target, double lo, double hi, ws_err *err) {
    memset(r, 0, sizeof *r);
    if (!isfinite(target) || target <= 0)
        return ws_fail(err, WS_EUSAGE, "the target KL must be above 0, not %g", target);
    if (!isfinite(lo) || !isfinite(hi) || lo <= 0 || hi <= lo || hi / lo > 1e18)
        return ws_fail(err, WS_EUSAGE,
                       "the bracket %g:%g must satisfy 0 < lower < upper (and upper/lower at most 1e18)", lo, hi);
    r->target = target, r->lo = lo, r->hi = hi, r->max_steps = WS_ROOT_MAX_STEPS;
    r->want = sqrt(lo) * sqrt(hi);
    r->phase = WS_ROOT_START;
    return WS_OK;
}

int ws_root_wants(const ws_root *r, double *c) {
    if (r->status != WS_ROOT_RUNNING) return 0;
    if (c) *c = r->want;
    return 1;
}

static void finish(ws_root *r, ws_root_status s, int best) { r->status = s, r->best = best; }

/* The next strength inside (c_lo, c_hi).  An end that has stayed for two steps or more has log 2 taken off its log
 * value in this interpolation only (Illinois): its stored value stays, and nothing accumulates. */
static void interpolate(ws_root *r) {
    if (r->steps >= r->max_steps) {
        int best = 0;
        for (int i = 1; i < r->n; i++)
            if (fabs(r->probe[i].v - r->target) < fabs(r->probe[best].v - r->target)) best = i;
        finish(r, WS_ROOT_NOT_CONVERGED, best);
        return;
    }
    r->steps++;
    double c = NAN;
    if (r->v_lo > 0 && r->v_hi > 0) {
        double y_lo = log(r->v_lo) - (r->kept_lo >= 2 ? log(2) : 0),
               y_hi = log(r->v_hi) - (r->kept_hi >= 2 ? log(2) : 0);
        double x_lo = log(r->c_lo), x_hi = log(r->c_hi);
        if (fabs(y_hi - y_lo) >= 1e-6) c = exp(x_lo + (log(r->target) - y_lo) / (y_hi - y_lo) * (x_hi - x_lo));
    }
    r->phase = WS_ROOT_INTERPOLATE;
    if (!(c > r->c_lo && c < r->c_hi)) c = sqrt(r->c_lo * r->c_hi), r->phase = WS_ROOT_MIDPOINT;
    r->want = c;
}

ws_status ws_root_give(ws_root *r, double v, ws_err *err) {
    WS_ASSERT(r->status == WS_ROOT_RUNNING && r->n < WS_ROOT_MAX_PROBES);
    double c = r->want, T = r->target;
    if (!isfinite(v))
        return ws_fail(err, WS_ENONFINITE, "the KL statistic at strength %g is %g, not a finite number", c, v);
    r->probe[r->n++] = (ws_root_probe){c, v, r->phase};
    switch (r->phase) {
    case WS_ROOT_START:
        if (r->first_fits && fabs(v - T) < tolerance) {
            finish(r, WS_ROOT_OK, 0);
            return WS_OK;
        }
        if (v < T)
            r->c_lo = c, r->v_lo = v, r->phase = WS_ROOT_DOUBLE;
        else
            r->c_hi = c, r->v_hi = v, r->phase = WS_ROOT_HALVE;
        break;
    case WS_ROOT_DOUBLE:
        if (v >= T) {
            r->c_hi = c, r->v_hi = v;
            interpolate(r);
            return WS_OK;
        }
        r->c_lo = c, r->v_lo = v;
        break;
    case WS_ROOT_HALVE:
        if (v <= T) {
            r->c_lo = c, r->v_lo = v;
            interpolate(r);
            return WS_OK;
        }
        r->c_hi = c, r->v_hi = v;
        break;
    case WS_ROOT_INTERPOLATE:
    case WS_ROOT_MIDPOINT:
        if (fabs(v - T) < tolerance) {
            finish(r, WS_ROOT_OK, r->n - 1);
            return WS_OK;
        }
        if (v < T)
            r->c_lo = c, r->v_lo = v, r->kept_lo = 0, r->kept_hi++;
        else
            r->c_hi = c, r->v_hi = v, r->kept_hi = 0, r->kept_lo++;
        interpolate(r);
        return WS_OK;
    }
    /* not straddled yet: the last probe may lie outside the bracket, the one after it is not made */
    if (r->phase == WS_ROOT_DOUBLE) {
        if (c >= r->hi) finish(r, WS_ROOT_ABOVE_RANGE, r->n - 1);
        r->want = 2 * c;
    } else {
        if (c <= r->lo) finish(r, WS_ROOT_BELOW_RANGE, r->n - 1);
        r->want = c / 2;
    }
    return WS_OK;
}
