/* src/run/plots_impl.h - what the makers of pictures share: memory that lives with a picture, and points in order. */
#ifndef WS_RUN_PLOTS_IMPL_H
#define WS_RUN_PLOTS_IMPL_H
#include "run/plots.h"

enum { WS_BLUE, WS_VERMILION, WS_GREEN, WS_PURPLE, WS_ORANGE, WS_SKY, WS_GREY, WS_BLACK };

/* All that these give lives as long as the picture. */
ws_picture *ws_pic_add(ws_pictures *all, const char *name, const char *alt);
void *ws_pic_get(ws_picture *p, int n, size_t size);       /* zeroed */
double *ws_pic_numbers(ws_picture *p, int n);              /* not set */
ws_series *ws_pic_series(ws_picture *p, int most);         /* zeroed, and made the picture's own */
void ws_pic_rules(ws_picture *p, int n, const ws_rule *r); /* copied */
char *ws_pic_text(ws_picture *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Points in ascending x, so that a joining line reads as a curve; lo, hi may be NULL. */
void ws_pic_sort(int n, double *x, double *y, double *lo, double *hi);
/* plots_rows.c: the pictures of a run with rows, before those of its first row. */
void ws_pic_rows(ws_pictures *all, const ws_results *r);
#endif
