/* src/report/labels.h - where the names of points stand: beside them, on no other name and on no point. */
#ifndef WS_REPORT_LABELS_H
#define WS_REPORT_LABELS_H
typedef struct ws_box {
    double x0, y0, x1, y1; /* x0 <= x1, y0 <= y1 (y grows downwards) */
} ws_box;
/* The first n of `all` points have names, width[i] by height; out[i] is the place of the i-th, inside `area`.  Each stands as
 * near to its point as the others leave room; where no place is free, the one that covers least.  The same input gives
 * the same places. */
void ws_labels_place(int n, int all, const ws_box *point, const double *width, double height, ws_box area, ws_box *out);
#endif
