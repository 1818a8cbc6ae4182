#include "report/labels.h"
#include <math.h>

enum { DIRECTIONS = 24, RINGS = 14, PASSES = 4 };

static double overlap(const ws_box *a, const ws_box *b) {
    double w = fmin(a->x1, b->x1) - fmax(a->x0, b->x0), h = fmin(a->y1, b->y1) - fmax(a->y0, b->y0);
    return w > 0 && h > 0 ? w * h : 0;
}

static double outside(const ws_box *b, const ws_box *area) {
    return fmax(0, area->x0 - b->x0) + fmax(0, b->x1 - area->x1) + fmax(0, area->y0 - b->y0) +
           fmax(0, b->y1 - area->y1);
}

/* Two names side by side need a space between them. */
static ws_box wider(const ws_box *b) { return (ws_box){b->x0 - 5, b->y0, b->x1 + 5, b->y1}; }

/* A box of w by h whose border is `away` from the point's in the direction. */
static ws_box candidate(const ws_box *p, double w, double h, int direction, double away) {
    double angle = 2 * M_PI * direction / DIRECTIONS, c = cos(angle), s = sin(angle);
    double half_x = (p->x1 - p->x0) / 2 + w / 2, half_y = (p->y1 - p->y0) / 2 + h / 2;
    double tx = fabs(c) > 1e-9 ? half_x / fabs(c) : INFINITY, ty = fabs(s) > 1e-9 ? half_y / fabs(s) : INFINITY;
    double t = fmin(tx, ty) + away; /* where the centre must lie for the two boxes to touch, and further out */
    double x = (p->x0 + p->x1) / 2 + t * c, y = (p->y0 + p->y1) / 2 + t * s;
    return (ws_box){x - w / 2, y - h / 2, x + w / 2, y + h / 2};
}

void ws_labels_place(int n, int all, const ws_box *point, const double *width, double height, ws_box area,
                     ws_box *out) {
    for (int pass = 0; pass < PASSES; pass++)
        for (int i = 0; i < n; i++) {
            double best = INFINITY;
            ws_box at = {0};
            for (int ring = 0; ring < RINGS; ring++)
                for (int d = 0; d < DIRECTIONS; d++) {
                    double away = 0.5 + 1.5 * ring * (ring + 1);
                    ws_box b = candidate(&point[i], width[i], height, d, away);
                    double cost =
                        1e5 * outside(&b, &area) + away + (d % (DIRECTIONS / 2) ? 1.5 : 0); /* level is best */
                    ws_box spaced = wider(&b);
                    for (int k = 0; k < (pass ? n : i); k++)
                        if (k != i) cost += 1e3 * overlap(&spaced, &out[k]);
                    for (int k = 0; k < all; k++) cost += 50 * overlap(&b, &point[k]);
                    if (cost < best) best = cost, at = b;
                }
            out[i] = at;
        }
}
