#include "report/plot.h"
#include "report/axis.h"
#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <string.h>

enum { W = 760, MARGIN_R = 24, SIZE = 14 };
#define FONT "DejaVu Sans"

static const double palette[8][3] = {{0.000, 0.447, 0.698}, {0.835, 0.369, 0.000}, {0.000, 0.620, 0.451},
                                     {0.800, 0.475, 0.655}, {0.902, 0.624, 0.000}, {0.337, 0.706, 0.914},
                                     {0.350, 0.350, 0.350}, {0.000, 0.000, 0.000}};

typedef struct canvas {
    cairo_t *c;
    const ws_plot *p;
    ws_axis x, y;
    double left, top, right, bottom, height; /* of the plotting area; whole height */
    double legend_y;
} canvas;

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
        }
    }
    for (int i = 0; any && i < p->n_rules; i++)
        if (p->rule[i].vertical != vertical) grow(lo, hi, p->rule[i].at, log);
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

static void marker(cairo_t *c, int kind, double x, double y, double r) {
    switch (kind % 4) {
    case 0: cairo_arc(c, x, y, r, 0, 2 * M_PI); break;
    case 1: cairo_rectangle(c, x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8); break;
    case 2:
        cairo_move_to(c, x, y - r * 1.25), cairo_line_to(c, x + r * 1.15, y + r * 0.85);
        cairo_line_to(c, x - r * 1.15, y + r * 0.85), cairo_close_path(c);
        break;
    default:
        cairo_move_to(c, x, y - r * 1.3), cairo_line_to(c, x + r * 1.3, y);
        cairo_line_to(c, x, y + r * 1.3), cairo_line_to(c, x - r * 1.3, y), cairo_close_path(c);
    }
    cairo_fill(c);
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
        if (!q->no_marker) marker(k->c, q->colour, x + 14, y - 5, 4.4);
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
        grey(c, 0.2);
        text(c, k->left - 10, row_y(k, i) + 5, p->category[i], 1);
    }
    grey(c, 0.45);
    cairo_move_to(c, k->left, k->bottom + 0.5), cairo_line_to(c, k->right, k->bottom + 0.5), cairo_stroke(c);
    if (!forest) cairo_move_to(c, k->left - 0.5, k->top), cairo_line_to(c, k->left - 0.5, k->bottom), cairo_stroke(c);
    grey(c, 0.1);
    font(c, SIZE, 0);
    text(c, (k->left + k->right) / 2, k->bottom + 45, p->xlabel, 0.5);
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

static void interval(canvas *k, const ws_series *q, int i) {
    cairo_t *c = k->c;
    int forest = k->p->n_categories > 0;
    if (!shown(q->lo[i], forest ? k->p->xlog : k->p->ylog) || !shown(q->hi[i], forest ? k->p->xlog : k->p->ylog))
        return;
    cairo_set_line_width(c, 1.8);
    if (forest) {
        double y = row_y(k, q->y[i]), a = px(k, q->lo[i]), b = px(k, q->hi[i]);
        cairo_move_to(c, a, y), cairo_line_to(c, b, y);
        cairo_move_to(c, a, y - 4), cairo_line_to(c, a, y + 4);
        cairo_move_to(c, b, y - 4), cairo_line_to(c, b, y + 4);
    } else {
        double x = px(k, q->x[i]), a = py(k, q->lo[i]), b = py(k, q->hi[i]);
        cairo_move_to(c, x, a), cairo_line_to(c, x, b);
        cairo_move_to(c, x - 4, a), cairo_line_to(c, x + 4, a);
        cairo_move_to(c, x - 4, b), cairo_line_to(c, x + 4, b);
    }
    cairo_stroke(c);
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
        if (q->lo && !q->band) interval(k, q, i);
        if (!q->no_marker) marker(c, q->colour, px(k, q->x[i]), forest ? row_y(k, q->y[i]) : py(k, q->y[i]), 4.4);
    }
}

/* Margins from the widths of what stands in them; the height of a forest from its rows. */
static ws_status layout(canvas *k, ws_err *err) {
    const ws_plot *p = k->p;
    double xlo, xhi, ylo, yhi, widest = 0, head;
    if (!range(p, 0, &xlo, &xhi) || !range(p, 1, &ylo, &yhi))
        return ws_fail(err, WS_EFORMAT, "plot \"%s\": no finite point to draw", p->title);
    ws_axis_fit(&k->x, xlo, xhi, p->xlog, 8, 1);
    font(k->c, SIZE - 1, 0);
    if (p->n_categories) {
        for (int i = 0; i < p->n_categories; i++) widest = fmax(widest, width_of(k->c, p->category[i]));
        k->left = widest + 30;
    } else {
        ws_axis_fit(&k->y, ylo, yhi, p->ylog, 8, 0);
        for (int i = 0; i < k->y.n; i++) widest = fmax(widest, width_of(k->c, k->y.label[i]));
        k->left = widest + (p->ylabel ? 50 : 26);
    }
    k->right = W - MARGIN_R;
    font(k->c, SIZE + 3, 1);
    head = 14 + 22 * paragraph(k->c, 0, 0, p->title, W - 36, 22, 1);
    font(k->c, SIZE - 1, 0);
    if (p->subtitle) head += 4 + 18 * paragraph(k->c, 0, 0, p->subtitle, W - 36, 18, 1);
    k->legend_y = head + 22;
    head += legend(k, 1);
    k->top = head + 18;
    k->bottom = k->top + (p->n_categories ? 34.0 * p->n_categories : 320);
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
    axes(k);
    rules(k);
    for (int s = 0; s < p->n_series; s++) series(k, &p->series[s]);
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
