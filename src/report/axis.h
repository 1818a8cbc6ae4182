/* src/report/axis.h - one axis of a plot: a range, nice ticks with labels, and where a value lies on it. */
#ifndef WS_REPORT_AXIS_H
#define WS_REPORT_AXIS_H
enum { WS_AXIS_TICKS = 24 };
typedef struct ws_axis {
    double lo, hi; /* in data units; lo < hi; both > 0 on a log axis */
    int log;
    int n; /* ticks */
    double tick[WS_AXIS_TICKS];
    char label[WS_AXIS_TICKS][24];
} ws_axis;
/* Fits the axis around the data range [lo, hi] with about `want` ticks at 1, 2, 5 x 10^k (log: decades, with 2 and 5
 * where few decades show).  A range of no width is widened.  `tight`: the ends stay at the data with a margin of 4%,
 * else they are moved out to ticks. */
void ws_axis_fit(ws_axis *a, double lo, double hi, int log, int want, int tight);
double ws_axis_at(const ws_axis *a, double v); /* 0 at lo, 1 at hi; linear in log v on a log axis */
#endif
