#include "report/plot.h"
#include "report/axis.h"
#include "report/labels.h"
#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { W = 760, MARGIN_R = 24, SIZE = 14, GAP = 22, MOST_PANELS = 4, MANY_ROWS = 12 };
#define FONT "DejaVu Sans"

static const double palette[8][3] = {{0.000, 0.447, 0.698}, {0.835, 0.369, 0.000}, {0.000, 0.620, 0.451},
                                     {0.800, 0.475, 0.655}, {0.902, 0.624, 0.000}, {0.337, 0.706, 0.914},
                                     {0.350, 0.350, 0.350}, {0.000, 0.000, 0.000}};

typedef struct canvas {
    cairo_t *c;
    const ws_plot *p;
    ws_axis x, y;
    double left, top, right, bottom, height; /* of the plotting area (of the panel in hand); whole height */
    double start;                            /* left end of the first panel */
    double legend_y;
    int panel;
} canvas;

static int panels(const ws_plot *p) { return p->n_panels > 1 ? p->n_panels : 1; }
static void enter(canvas *k, int panel) {
    int n = panels(k->p);
    double w = (W - MARGIN_R - k->start - GAP * (n - 1)) / n;
    k->panel = panel, k->left = k->start + panel * (w + GAP), k->right = k->left + w;
}

static void colour(cairo_t *c, int i, double alpha) {
    const double *k = palette[((i % 8) + 8) % 8];
    cairo_set_source_rgba(c, k[0], k[1], k[2], alpha);
}
static void grey(cairo_t *c, double g) { cairo_set_source_rgb(c, g, g, g); }

static void font(cairo_t *c, double size, int bold) {
    cairo_select_font_face(c, FONT, CAIRO_FONT_SLANT_NORMAL, bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c, size);
}
static double width_of(cairo_t *c, const char *s) {
    cairo_text_extents_t e;
    cairo_text_extents(c, s, &e);
    return e.x_advance;
}
/* align 0: x is the left end, 0.5: the middle, 1: the right end; y is the base line. */
static void text(cairo_t *c, double x, double y, const char *s, double align) {
    cairo_move_to(c, x - align * width_of(c, s), y);
    cairo_show_text(c, s);
}

/* Draws (or, with measure, only counts) text broken at spaces to `room` pixels; returns the lines. */
static int paragraph(cairo_t *c, double x, double y, const char *s, double room, double leading, int measure) {
    char line[512] = "";
    int lines = 0;
    while (*s) {
        size_t word = strcspn(s, " "), have = strlen(line);
        if (have + word + 2 >= sizeof line) word = sizeof line - have - 3; /* a monster is cut, not overrun */
        char next[sizeof line + 8];
        memcpy(next, line, have);
        if (have) next[have++] = ' ';
        memcpy(next + have, s, word), next[have + word] = 0;
        if (*line && width_of(c, next) > room) {
            if (!measure) text(c, x, y + lines * leading, line, 0);
            lines++, *line = 0;
            continue;
        }
        memcpy(line, next, have + word + 1);
        s += word;
        if (word == 0 && *s != ' ') break;
        while (*s == ' ') s++;
    }
    if (*line) {
        if (!measure) text(c, x, y + lines * leading, line, 0);
        lines++;
    }
    return lines;
}

static double px(const canvas *k, double v) { return k->left + ws_axis_at(&k->x, v) * (k->right - k->left); }
static double py(const canvas *k, double v) { return k->bottom - ws_axis_at(&k->y, v) * (k->bottom - k->top); }
static double row_y(const canvas *k, double row) {
    return k->top + (row + 0.5) * (k->bottom - k->top) / k->p->n_categories;
}

static int shown(double v, int log) { return isfinite(v) && (!log || v > 0); }

static void grow(double *lo, double *hi, double v, int log) {
    if (!shown(v, log)) return;
    *lo = fmin(*lo, v), *hi = fmax(*hi, v);
}

/* Range of everything that will be drawn along one axis; 0 when there is nothing. */
static int range(const ws_plot *p, int vertical, double *lo, double *hi) {
    int log = vertical ? p->ylog : p->xlog, forest = p->n_categories > 0, any = 0;
    *lo = INFINITY, *hi = -INFINITY;
    for (int s = 0; s < p->n_series; s++) {
        const ws_series *q = &p->series[s];
        for (int i = 0; i < q->n; i++) {
            if (!shown(q->x[i], p->xlog) || !shown(q->y[i], p->ylog)) continue;
            any = 1;
            grow(lo, hi, vertical ? q->y[i] : q->x[i], log);
            if (q->lo && vertical != forest) grow(lo, hi, q->lo[i], log), grow(lo, hi, q->hi[i], log);
            if (q->xlo && !vertical && !forest) grow(lo, hi, q->xlo[i], log), grow(lo, hi, q->xhi[i], log);
        }
    }
    for (int i = 0; any && i < p->n_rules; i++)
        if (p->rule[i].vertical != vertical) grow(lo, hi, p->rule[i].at, log);
    for (int i = 0; any && !vertical && i < p->n_bands; i++)
        grow(lo, hi, p->band[i].lo, log), grow(lo, hi, p->band[i].hi, log);
    return any;
}

int ws_plot_drawable(const ws_plot *p) {
    double lo, hi;
    return range(p, 0, &lo, &hi);
}

/* The legend is a row of entries under the subtitle, broken where the width ends; returns its height. */
static double legend(canvas *k, int measure) {
    cairo_t *c = k->c;
    double x = k->left, y = k->legend_y, h = 0;
    font(c, SIZE - 1, 0);
    for (int s = 0; s < k->p->n_series; s++) {
        const ws_series *q = &k->p->series[s];
        if (!q->name) continue;
        double w = 34 + width_of(c, q->name) + 22;
        if (h == 0)
            h = 24;
        else if (x + w > W - MARGIN_R)
            x = k->left, y += 21, h += 21;
        if (!measure) {
            colour(c, q->colour, 1);
            cairo_set_line_width(c, 2.2);
            if (q->line) {
                double dash[] = {6, 4};
                cairo_set_dash(c, dash, q->dashed ? 2 : 0, 0);
                cairo_move_to(c, x, y - 5), cairo_line_to(c, x + 28, y - 5), cairo_stroke(c);
                cairo_set_dash(c, dash, 0, 0);
            }
            grey(c, 0.15);
            text(c, x + 34, y, q->name, 0);
        }
        x += w;
    }
    return h;
}

static int kind_of(const ws_series *q) { return q->marker ? q->marker - 1 : q->colour % 4; }

static void outline(cairo_t *c, int kind, double x, double y, double r) {
    switch (kind % WS_MARKERS) {
    case 0: cairo_arc(c, x, y, r, 0, 2 * M_PI); break;
    case 1: cairo_rectangle(c, x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8); break;
    case 2:
        cairo_move_to(c, x, y - r * 1.25), cairo_line_to(c, x + r * 1.15, y + r * 0.85);
        cairo_line_to(c, x - r * 1.15, y + r * 0.85), cairo_close_path(c);
        break;
    case 3:
        cairo_move_to(c, x, y - r * 1.3), cairo_line_to(c, x + r * 1.3, y);
        cairo_line_to(c, x, y + r * 1.3), cairo_line_to(c, x - r * 1.3, y), cairo_close_path(c);
        break;
    case 4:
        cairo_move_to(c, x, y + r * 1.25), cairo_line_to(c, x + r * 1.15, y - r * 0.85);
        cairo_line_to(c, x - r * 1.15, y - r * 0.85), cairo_close_path(c);
        break;
    case 5: /* a cross of two bars, upright; then one that stands on its corners */
    case 6:
        for (int i = 0; i < 12; i++) {
            static const double at[12][2] = {{-1, -3}, {1, -3}, {1, -1}, {3, -1}, {3, 1},   {1, 1},
                                             {1, 3},   {-1, 3}, {-1, 1}, {-3, 1}, {-3, -1}, {-1, -1}};
            double u = at[i][0] * r * 0.42, v = at[i][1] * r * 0.42, h = kind % WS_MARKERS == 6 ? M_SQRT1_2 : 0;
            double s = h > 0 ? h * (u - v) : u, t = h > 0 ? h * (u + v) : v;
            if (i == 0)
                cairo_move_to(c, x + s, y + t);
            else
                cairo_line_to(c, x + s, y + t);
        }
        cairo_close_path(c);
        break;
    default:
        for (int i = 0; i < 10; i++) { /* a star */
            double w = -M_PI / 2 + i * M_PI / 5, f = (i % 2 ? 0.62 : 1.45) * r;
            if (i == 0)
                cairo_move_to(c, x + f * cos(w), y + f * sin(w));
            else
                cairo_line_to(c, x + f * cos(w), y + f * sin(w));
        }
        cairo_close_path(c);
    }
}

static void marker(cairo_t *c, const ws_series *q, double x, double y) {
    cairo_new_path(c);
    outline(c, kind_of(q), x, y, 4.4);
    if (!q->hollow) {
        cairo_fill(c);
        return;
    }
    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_fill_preserve(c);
    colour(c, q->colour, 1);
    cairo_set_line_width(c, 1.8);
    cairo_stroke(c);
}

static void legend_markers(canvas *k) {
    double x = k->left, y = k->legend_y;
    font(k->c, SIZE - 1, 0);
    for (int s = 0, first = 1; s < k->p->n_series; s++) {
        const ws_series *q = &k->p->series[s];
        if (!q->name) continue;
        double w = 34 + width_of(k->c, q->name) + 22;
        if (!first && x + w > W - MARGIN_R) x = k->left, y += 21;
        first = 0;
        colour(k->c, q->colour, 1);
        if (!q->no_marker) marker(k->c, q, x + 14, y - 5);
        x += w;
    }
}

static void axes(canvas *k) {
    cairo_t *c = k->c;
    const ws_plot *p = k->p;
    int forest = p->n_categories > 0;
    cairo_set_line_width(c, 1);
    font(c, SIZE - 1, 0);
    for (int i = 0; i < k->x.n; i++) {
        double x = floor(px(k, k->x.tick[i])) + 0.5;
        if (x < k->left - 1 || x > k->right + 1) continue;
        grey(c, 0.90);
        cairo_move_to(c, x, k->top), cairo_line_to(c, x, k->bottom), cairo_stroke(c);
        grey(c, 0.2);
        text(c, x, k->bottom + 20, k->x.label[i], 0.5);
    }
    for (int i = 0; !forest && i < k->y.n; i++) {
        double y = floor(py(k, k->y.tick[i])) + 0.5;
        grey(c, 0.90);
        cairo_move_to(c, k->left, y), cairo_line_to(c, k->right, y), cairo_stroke(c);
        grey(c, 0.2);
        text(c, k->left - 8, y + 5, k->y.label[i], 1);
    }
    for (int i = 0; i < p->n_categories; i++) {
        double y = floor(row_y(k, i - 0.5)) + 0.5;
        grey(c, 0.2);
        if (!k->panel) text(c, k->left - 10, row_y(k, i) + 5, p->category[i], 1);
        if (!p->line_above || !p->line_above[i]) continue;
        grey(c, 0.72);
        cairo_move_to(c, k->panel ? k->left : 18, y), cairo_line_to(c, k->right, y), cairo_stroke(c);
    }
    if (p->panel && p->panel[k->panel]) {
        grey(c, 0.1);
        font(c, SIZE - 1, 1);
        text(c, (k->left + k->right) / 2, k->top - 9, p->panel[k->panel], 0.5);
    }
    grey(c, 0.45);
    cairo_move_to(c, k->left, k->bottom + 0.5), cairo_line_to(c, k->right, k->bottom + 0.5), cairo_stroke(c);
    if (!forest) cairo_move_to(c, k->left - 0.5, k->top), cairo_line_to(c, k->left - 0.5, k->bottom), cairo_stroke(c);
    grey(c, 0.1);
    font(c, SIZE, 0);
    if (!k->panel) { /* a long one moves to the left rather than out of the picture */
        double room = W - MARGIN_R / 2.0 - width_of(c, p->xlabel) / 2;
        text(c, fmin((k->start + W - MARGIN_R) / 2, room), k->bottom + 45, p->xlabel, 0.5);
    }
    if (p->ylabel && !forest) {
        cairo_save(c);
        cairo_translate(c, 22, (k->top + k->bottom) / 2);
        cairo_rotate(c, -M_PI / 2);
        text(c, 0, 0, p->ylabel, 0.5);
        cairo_restore(c);
    }
}

static void rules(canvas *k) {
    cairo_t *c = k->c;
    double dash[] = {3, 4};
    font(c, SIZE - 2, 0);
    for (int i = 0; i < k->p->n_rules; i++) {
        const ws_rule *r = &k->p->rule[i];
        if (!shown(r->at, r->vertical ? k->p->xlog : k->p->ylog)) continue;
        grey(c, 0.45);
        cairo_set_line_width(c, 1.2);
        cairo_set_dash(c, dash, 2, 0);
        if (r->vertical)
            cairo_move_to(c, px(k, r->at), k->top), cairo_line_to(c, px(k, r->at), k->bottom);
        else
            cairo_move_to(c, k->left, py(k, r->at)), cairo_line_to(c, k->right, py(k, r->at));
        cairo_stroke(c);
        cairo_set_dash(c, dash, 0, 0);
        grey(c, 0.35);
        if (r->label && r->vertical)
            text(c, px(k, r->at) + 5, k->top + 13, r->label, 0);
        else if (r->label)
            text(c, k->left + 6, py(k, r->at) - 5, r->label, 0);
    }
}

/* A bar along x (at y) or, `upright`, along y (at x), with its ends. */
static void bar(canvas *k, int upright, double at, double lo, double hi, double end) {
    cairo_t *c = k->c;
    if (upright) {
        cairo_move_to(c, at, lo), cairo_line_to(c, at, hi);
        cairo_move_to(c, at - end, lo), cairo_line_to(c, at + end, lo);
        cairo_move_to(c, at - end, hi), cairo_line_to(c, at + end, hi);
    } else {
        cairo_move_to(c, lo, at), cairo_line_to(c, hi, at);
        cairo_move_to(c, lo, at - end), cairo_line_to(c, lo, at + end);
        cairo_move_to(c, hi, at - end), cairo_line_to(c, hi, at + end);
    }
}

static void interval(canvas *k, const ws_series *q, int i) {
    int forest = k->p->n_categories > 0, xlog = k->p->xlog, log = forest ? xlog : k->p->ylog;
    double end = q->faint ? 2.5 : 4;
    cairo_set_line_width(k->c, q->faint ? 1.1 : 1.8);
    if (q->faint) colour(k->c, q->colour, 0.5);
    if (q->lo && shown(q->lo[i], log) && shown(q->hi[i], log)) {
        if (forest)
            bar(k, 0, row_y(k, q->y[i]), px(k, q->lo[i]), px(k, q->hi[i]), end);
        else
            bar(k, 1, px(k, q->x[i]), py(k, q->lo[i]), py(k, q->hi[i]), end);
    }
    if (q->xlo && !forest && shown(q->xlo[i], xlog) && shown(q->xhi[i], xlog))
        bar(k, 0, py(k, q->y[i]), px(k, q->xlo[i]), px(k, q->xhi[i]), end);
    cairo_stroke(k->c);
    if (q->faint) colour(k->c, q->colour, 1);
}

static void band(canvas *k, const ws_series *q) {
    cairo_t *c = k->c;
    cairo_new_path(c);
    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j < q->n; j++) {
            int i = pass ? q->n - 1 - j : j;
            double v = pass ? q->lo[i] : q->hi[i];
            if (shown(q->x[i], k->p->xlog) && shown(q->lo[i], k->p->ylog) && shown(q->hi[i], k->p->ylog))
                cairo_line_to(c, px(k, q->x[i]), py(k, v));
        }
    cairo_close_path(c);
    colour(c, q->colour, 0.18);
    cairo_fill(c);
}

static void series(canvas *k, const ws_series *q) {
    cairo_t *c = k->c;
    int forest = k->p->n_categories > 0, pen = 0;
    double dash[] = {6, 4};
    if (q->band && q->lo) band(k, q);
    colour(c, q->colour, 1);
    cairo_set_line_width(c, 2.2);
    cairo_set_line_join(c, CAIRO_LINE_JOIN_ROUND);
    cairo_set_dash(c, dash, q->dashed ? 2 : 0, 0);
    for (int i = 0; q->line && i < q->n; i++) {
        if (!shown(q->x[i], k->p->xlog) || !shown(q->y[i], k->p->ylog)) {
            pen = 0;
            continue;
        }
        double x = px(k, q->x[i]), y = forest ? row_y(k, q->y[i]) : py(k, q->y[i]);
        if (pen)
            cairo_line_to(c, x, y);
        else
            cairo_move_to(c, x, y);
        pen = 1;
    }
    if (q->line) cairo_stroke(c);
    cairo_set_dash(c, dash, 0, 0);
    for (int i = 0; i < q->n; i++) {
        if (!shown(q->x[i], k->p->xlog) || !shown(q->y[i], k->p->ylog)) continue;
        if ((q->lo && !q->band) || q->xlo) interval(k, q, i);
        if (!q->no_marker) marker(c, q, px(k, q->x[i]), forest ? row_y(k, q->y[i]) : py(k, q->y[i]));
    }
}

static void bands(canvas *k) {
    for (int i = 0; i < k->p->n_bands; i++) {
        const ws_band *b = &k->p->band[i];
        if (b->panel != k->panel || !shown(b->lo, k->p->xlog) || !shown(b->hi, k->p->xlog)) continue;
        double x = px(k, b->lo), y = row_y(k, b->first - 0.5);
        grey(k->c, 0.88);
        cairo_rectangle(k->c, x, y, px(k, b->hi) - x, row_y(k, b->last + 0.5) - y);
        cairo_fill(k->c);
    }
}

enum { NEAR = 9 }; /* pixels from a point; a name further away is joined to it by a line */

static void name_points(canvas *k, int n, const ws_box *point, const ws_box *at, const char *const *name) {
    cairo_t *c = k->c;
    for (int i = 0; i < n; i++) {
        double x = (point[i].x0 + point[i].x1) / 2, y = (point[i].y0 + point[i].y1) / 2;
        double u = fmax(at[i].x0, fmin(x, at[i].x1)), v = fmax(at[i].y0, fmin(y, at[i].y1));
        if (hypot(u - x, v - y) <= NEAR) continue;
        grey(c, 0.55);
        cairo_set_line_width(c, 0.9);
        cairo_move_to(c, x, y), cairo_line_to(c, u, v), cairo_stroke(c);
    }
    for (int i = 0; i < n; i++) { /* bars and lines below a name are paled, not hidden */
        cairo_set_source_rgba(c, 1, 1, 1, 0.75);
        cairo_rectangle(c, at[i].x0, at[i].y0, at[i].x1 - at[i].x0, at[i].y1 - at[i].y0), cairo_fill(c);
        grey(c, 0.1);
        text(c, at[i].x0, at[i].y1 - 3, name[i], 0);
    }
}

static void labels(canvas *k) {
    const ws_plot *p = k->p;
    int most = 0, n = 0, all = 0;
    for (int s = 0; s < p->n_series; s++) most += p->series[s].n;
    ws_box *point = ws_xcalloc((size_t)most * 2 + 1, sizeof *point), *at = point + most;
    const char **name = ws_xcalloc((size_t)most + 1, sizeof *name);
    double *width = ws_xcalloc((size_t)most + 1, sizeof *width);
    font(k->c, SIZE - 2, 0);
    for (int named = 1; named >= 0; named--) /* points without a name are only in the way */
        for (int s = 0; s < p->n_series; s++) {
            const ws_series *q = &p->series[s];
            for (int i = 0; i < q->n && q->panel == k->panel && !q->no_marker; i++) {
                if ((q->label && q->label[i]) != named) continue;
                if (!shown(q->x[i], p->xlog) || !shown(q->y[i], p->ylog)) continue;
                double x = px(k, q->x[i]), y = p->n_categories ? row_y(k, q->y[i]) : py(k, q->y[i]);
                point[all++] = (ws_box){x - 6, y - 6, x + 6, y + 6};
                if (named) name[n] = q->label[i], width[n] = width_of(k->c, q->label[i]), n++;
            }
        }
    if (n) {
        ws_labels_place(n, all, point, width, SIZE + 1, (ws_box){k->left, k->top, k->right, k->bottom}, at);
        name_points(k, n, point, at, name);
    }
    free(point), free(name), free(width);
}

/* Margins from the widths of what stands in them; the height of a forest from its rows. */
static ws_status layout(canvas *k, ws_err *err) {
    const ws_plot *p = k->p;
    double xlo, xhi, ylo, yhi, widest = 0, head;
    if (!range(p, 0, &xlo, &xhi) || !range(p, 1, &ylo, &yhi))
        return ws_fail(err, WS_EFORMAT, "plot \"%s\": no finite point to draw", p->title);
    if (panels(p) > MOST_PANELS) BUG("a plot of %d panels", panels(p));
    int ticks = panels(p) == 1 ? 8 : panels(p) == 2 ? 6 : 4;
    if (p->xwhole && xhi - xlo < ticks) ticks = xhi - xlo < 1 ? 1 : (int)(xhi - xlo);
    ws_axis_fit(&k->x, xlo, xhi, p->xlog, ticks, 1);
    font(k->c, SIZE - 1, 0);
    if (p->n_categories) {
        for (int i = 0; i < p->n_categories; i++) widest = fmax(widest, width_of(k->c, p->category[i]));
        k->left = widest + 30;
    } else {
        ws_axis_fit(&k->y, ylo, yhi, p->ylog, 8, 0);
        for (int i = 0; i < k->y.n; i++) widest = fmax(widest, width_of(k->c, k->y.label[i]));
        k->left = widest + (p->ylabel ? 50 : 26);
    }
    k->start = k->left, k->right = W - MARGIN_R;
    font(k->c, SIZE + 3, 1);
    head = 14 + 22 * paragraph(k->c, 0, 0, p->title, W - 36, 22, 1);
    font(k->c, SIZE - 1, 0);
    if (p->subtitle) head += 4 + 18 * paragraph(k->c, 0, 0, p->subtitle, W - 36, 18, 1);
    k->legend_y = head + 22;
    head += legend(k, 1);
    k->top = head + 18 + (p->panel ? 20 : 0);
    k->bottom = k->top + (p->n_categories ? (p->n_categories > MANY_ROWS ? 25.0 : 34.0) * p->n_categories
                          : p->height > 0 ? p->height
                                          : 320);
    k->height = k->bottom + 62;
    return WS_OK;
}

static void draw(canvas *k) {
    cairo_t *c = k->c;
    const ws_plot *p = k->p;
    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_paint(c);
    grey(c, 0.05);
    font(c, SIZE + 3, 1);
    int lines = paragraph(c, 18, 30, p->title, W - 36, 22, 0);
    font(c, SIZE - 1, 0);
    grey(c, 0.35);
    if (p->subtitle) paragraph(c, 18, 14 + 22 * lines + 18, p->subtitle, W - 36, 18, 0);
    legend(k, 0);
    legend_markers(k);
    for (int i = 0; i < panels(p); i++) {
        enter(k, i);
        bands(k);
        axes(k);
        rules(k);
        for (int s = 0; s < p->n_series; s++)
            if (p->series[s].panel == i) series(k, &p->series[s]);
        labels(k);
    }
}

static cairo_status_t into(void *arg, const unsigned char *bytes, unsigned n) {
    ws_str_add(arg, bytes, n);
    return CAIRO_STATUS_SUCCESS;
}

/* Text is measured without hinting, so that both outputs and all scales have the same layout. */
static void quality(cairo_t *c) {
    cairo_font_options_t *o = cairo_font_options_create();
    cairo_font_options_set_hint_style(o, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(o, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_antialias(o, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(c, o);
    cairo_font_options_destroy(o);
}

static ws_status measure(canvas *k, ws_err *err) {
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_A8, 8, 8);
    k->c = cairo_create(s);
    quality(k->c);
    ws_status st = layout(k, err);
    cairo_destroy(k->c);
    cairo_surface_destroy(s);
    return st;
}

static ws_status finish(canvas *k, cairo_surface_t *s, ws_str *png, ws_err *err) {
    k->c = cairo_create(s);
    quality(k->c);
    if (png) cairo_scale(k->c, 2, 2);
    draw(k);
    cairo_status_t bad = cairo_status(k->c);
    cairo_destroy(k->c);
    if (!bad && png) bad = cairo_surface_write_to_png_stream(s, into, png);
    cairo_surface_finish(s);
    if (!bad) bad = cairo_surface_status(s);
    cairo_surface_destroy(s);
    if (bad) return ws_fail(err, WS_EIO, "plot \"%s\": cairo: %s", k->p->title, cairo_status_to_string(bad));
    return WS_OK;
}

ws_status ws_plot_png(const ws_plot *p, ws_str *out, ws_err *err) {
    canvas k = {.p = p};
    if (measure(&k, err)) return err->code;
    return finish(&k, cairo_image_surface_create(CAIRO_FORMAT_RGB24, 2 * W, 2 * (int)ceil(k.height)), out, err);
}

/* cairo numbers its surfaces through the whole process ("surface128"); here they are counted within the picture, so
 * that the same description gives the same bytes. */
static void stable_ids(ws_str *out, const char *s, size_t n) {
    static const char word[] = "surface";
    char seen[16][24];
    int known = 0;
    for (size_t i = 0; i < n;) {
        size_t k = sizeof word - 1, d = 0;
        if (i + k < n && !memcmp(s + i, word, k)) d = strspn(s + i + k, "0123456789");
        if (!d || d >= sizeof seen[0]) {
            ws_str_addc(out, s[i++]);
            continue;
        }
        char id[24];
        memcpy(id, s + i + k, d), id[d] = 0;
        int j = 0;
        while (j < known && strcmp(seen[j], id)) j++;
        if (j == known) {
            if (known == 16) BUG("a plot with more than 16 surfaces");
            strcpy(seen[known++], id);
        }
        ws_str_addf(out, "%s%d", word, j);
        i += k + d;
    }
}

ws_status ws_plot_svg(const ws_plot *p, ws_str *out, ws_err *err) {
    canvas k = {.p = p};
    ws_str raw = {0};
    if (measure(&k, err)) return err->code;
    ws_status st = finish(&k, cairo_svg_surface_create_for_stream(into, &raw, W, ceil(k.height)), NULL, err);
    if (!st) stable_ids(out, raw.p, raw.n);
    ws_str_free(&raw);
    return st;
}

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define WS_UNDER_ASAN
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined WS_UNDER_ASAN
/* fontconfig, below cairo, keeps its patterns until the process ends; they are not ours to free */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig"; }
const char *__lsan_default_options(void) { return "print_suppressions=0"; }
#endif
