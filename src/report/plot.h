/* src/report/plot.h - one description of a picture, drawn by cairo as PNG or SVG.
 * The same description gives the same bytes: no dates, no random ids.  Colours are the Okabe-Ito palette, and every
 * series has its own marker too, so that nothing hangs on colour alone.  Points that are not finite are left out. */
#ifndef WS_REPORT_PLOT_H
#define WS_REPORT_PLOT_H
#include "base/err.h"
#include "base/str.h"

typedef struct ws_series {
    const char *name; /* in the legend; NULL: not there */
    int n;
    const double *x, *y; /* [n]; forest: x is the value, y the category's number (fractions shift it within its row) */
    const double *lo, *hi; /* [n] interval of y (forest: of x); NULL: none */
    int line;              /* join the points */
    int no_marker;         /* draw no points */
    int band;              /* draw the interval as a band, not as bars */
    int dashed;
    int colour; /* 0..7 of the palette */
} ws_series;
typedef struct ws_rule { /* a reference line across the plot */
    double at;
    int vertical;
    const char *label; /* NULL: none */
} ws_rule;
typedef struct ws_plot {
    const char *title;           /* what is shown */
    const char *subtitle;        /* model, n, what the intervals are; NULL: none */
    const char *xlabel, *ylabel; /* with units */
    int xlog, ylog;
    int n_series;
    const ws_series *series;
    int n_rules;
    const ws_rule *rule;
    int n_categories; /* > 0: forest plot, one category per row from top to bottom */
    const char *const *category;
} ws_plot;
int ws_plot_drawable(const ws_plot *p); /* some point is finite (and positive on a log axis) */
/* Append the picture's bytes.  WS_EFORMAT when no finite point is left to draw. */
ws_status ws_plot_png(const ws_plot *p, ws_str *out, ws_err *err);
ws_status ws_plot_svg(const ws_plot *p, ws_str *out, ws_err *err);
#endif
