/* src/report/plot.h - one description of a picture, drawn by cairo as PNG or SVG.
 * The same description gives the same bytes: no dates, no random ids.  Colours are the Okabe-Ito palette, and every
 * series has its own marker too, so that nothing hangs on colour alone.  Points that are not finite are left out.
 * A forest may have several panels side by side, which share their rows and the scale of their axes. */
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
    int marker; /* 1..WS_MARKERS; 0: the one that goes with the colour */
    int hollow; /* markers are outlines */
    int faint;  /* intervals are thin and pale, where there are many */
    int panel;
    const double *xlo, *xhi;  /* [n] interval of x where there are no categories; NULL: none */
    const char *const *label; /* [n] names beside the points, placed so that none lies on another; NULL: none */
} ws_series;
enum { WS_MARKERS = 8 };
typedef struct ws_rule { /* a reference line across the plot */
    double at;
    int vertical;
    const char *label; /* NULL: none */
} ws_rule;
typedef struct ws_band { /* forest: the rows first..last are shaded from lo to hi */
    double lo, hi;
    int first, last, panel;
} ws_band;
typedef struct ws_plot {
    const char *title;           /* what is shown */
    const char *subtitle;        /* model, n, what the intervals are; NULL: none */
    const char *xlabel, *ylabel; /* with units */
    int xlog, ylog;
    int xwhole; /* x counts: its ticks are whole numbers */
    int n_series;
    const ws_series *series;
    int n_rules;
    const ws_rule *rule;
    int n_categories; /* > 0: forest plot, one category per row from top to bottom */
    const char *const *category;
    const char *line_above;   /* [n_categories] 1: a line parts the row from the one above it; NULL: none */
    int n_panels;             /* of a forest; 0 is 1 */
    const char *const *panel; /* [n_panels] their titles; NULL: none */
    int n_bands;
    const ws_band *band;
    double height; /* of the plotting area where there are no categories, in pixels of 760 across; 0: 320 */
} ws_plot;
int ws_plot_drawable(const ws_plot *p); /* some point is finite (and positive on a log axis) */
/* Append the picture's bytes.  WS_EFORMAT when no finite point is left to draw. */
ws_status ws_plot_png(const ws_plot *p, ws_str *out, ws_err *err);
ws_status ws_plot_svg(const ws_plot *p, ws_str *out, ws_err *err);
#endif
