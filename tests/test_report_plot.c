/* Axes put ticks where a person would; names of points lie on no other name; a picture is the same bytes each time,
 * contains what it was given, and refuses to be empty. */
#include "report/axis.h"
#include "report/labels.h"
#include "report/plot.h"
#include "golden.h"
#include <cairo.h>
#include <math.h>

static void ticks(double lo, double hi, int log, int want, const char *expect) {
    ws_axis a;
    char got[512] = "";
    ws_axis_fit(&a, lo, hi, log, want, 0);
    for (int i = 0; i < a.n; i++) {
        if (i) strcat(got, " ");
        strcat(got, a.label[i]);
        double at = ws_axis_at(&a, a.tick[i]);
        assert_true(at >= -1e-9 && at <= 1 + 1e-9);
    }
    assert_string_equal(got, expect);
    assert_true(ws_axis_at(&a, lo) >= -1e-9 && ws_axis_at(&a, hi) <= 1 + 1e-9);
    assert_true(fabs(ws_axis_at(&a, a.lo)) < 1e-12 && fabs(ws_axis_at(&a, a.hi) - 1) < 1e-12);
}

static void test_ticks(void **state) {
    (void)state;
    ticks(-1.85, 3.7, 0, 6, "-2 -1 0 1 2 3 4");
    ticks(0, 1, 0, 6, "0.0 0.2 0.4 0.6 0.8 1.0");
    ticks(0.013, 0.047, 0, 6, "0.01 0.02 0.03 0.04 0.05");
    ticks(5, 5, 0, 4, "2 4 6 8"); /* one value: a range around it */
    ticks(0, 0, 0, 4, "-1.0 -0.5 0.0 0.5 1.0");
    ticks(-3e7, 4e7, 0, 4, "-4e+07 -2e+07 0 2e+07 4e+07");
    ticks(0.08, 2.2, 1, 6, "0.1 0.2 0.5 1 2");
    ticks(1.6, 3.6, 1, 6, "2 3");
    ticks(1e-4, 1e4, 1, 6, "0.0001 0.001 0.01 0.1 1 10 100 1000 10000");
}

static const double x[] = {-2, -1, 0, 1, 2}, y[] = {-1, -0.4, 0.1, NAN, 2}, lo[] = {-2, -1, 0, 0, 1},
                    hi[] = {0, 0, 1, 1, 3};

static ws_plot line_plot(const ws_series *s, const ws_rule *r) {
    return (ws_plot){.title = "A title",
                     .subtitle = "model, n = 5",
                     .xlabel = "alpha",
                     .ylabel = "score",
                     .n_series = 1,
                     .series = s,
                     .n_rules = 1,
                     .rule = r};
}

static void test_same_bytes(void **state) {
    (void)state;
    ws_series s = {.name = "series", .n = 5, .x = x, .y = y, .lo = lo, .hi = hi, .line = 1};
    ws_rule r = {0, 1, "zero"};
    ws_plot p = line_plot(&s, &r);
    ws_str a = {0}, b = {0}, c = {0}, d = {0};
    ws_err err;
    assert_int_equal(ws_plot_svg(&p, &a, &err), WS_OK);
    assert_int_equal(ws_plot_png(&p, &c, &err), WS_OK);
    assert_int_equal(ws_plot_svg(&p, &b, &err), WS_OK);
    assert_int_equal(ws_plot_png(&p, &d, &err), WS_OK);
    assert_string_equal(a.p, b.p);
    assert_int_equal(c.n, d.n);
    assert_memory_equal(c.p, d.p, c.n);
    assert_memory_equal(c.p, "\x89PNG\r\n\x1a\n", 8);
    assert_non_null(strstr(a.p, "<svg"));
    assert_non_null(strstr(a.p, "</svg>"));
    ws_str_free(&a), ws_str_free(&b), ws_str_free(&c), ws_str_free(&d);
}

typedef struct reader {
    const ws_str *s;
    size_t at;
} reader;
static cairo_status_t feed(void *arg, unsigned char *to, unsigned n) {
    reader *r = arg;
    if (r->at + n > r->s->n) return CAIRO_STATUS_READ_ERROR;
    memcpy(to, r->s->p + r->at, n);
    r->at += n;
    return CAIRO_STATUS_SUCCESS;
}

/* Pixels within 4 of a colour whose place, in parts of the picture, lies in the box. */
static int count(const ws_str *png, const int rgb[3], double x0, double y0, double x1, double y1) {
    reader r = {png, 0};
    cairo_surface_t *s = cairo_image_surface_create_from_png_stream(feed, &r);
    assert_int_equal(cairo_surface_status(s), CAIRO_STATUS_SUCCESS);
    int w = cairo_image_surface_get_width(s), h = cairo_image_surface_get_height(s),
        step = cairo_image_surface_get_stride(s);
    const unsigned char *p = cairo_image_surface_get_data(s);
    int n = 0;
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++) {
            uint32_t v;
            memcpy(&v, p + j * step + 4 * i, 4);
            int red = (int)(v >> 16 & 255), green = (int)(v >> 8 & 255), blue = (int)(v & 255);
            if (abs(red - rgb[0]) > 4 || abs(green - rgb[1]) > 4 || abs(blue - rgb[2]) > 4) continue;
            n += i >= x0 * w && i < x1 * w && j >= y0 * h && j < y1 * h;
        }
    cairo_surface_destroy(s);
    return n;
}
static const int blue[] = {0, 114, 178}, shade[] = {224, 224, 224}; /* the palette's first; a band */

/* In the lower-left and the upper-right quarter of the picture. */
static void count_blue(const ws_str *png, int quarter[2]) {
    quarter[0] = count(png, blue, 0, 0.5, 0.5, 1), quarter[1] = count(png, blue, 0.5, 0, 1, 0.5);
}

static void draw(const ws_plot *p, ws_str *png) {
    ws_err err;
    ws_str_clear(png);
    assert_int_equal(ws_plot_png(p, png, &err), WS_OK);
}

static void test_points_lie_where_they_should(void **state) {
    (void)state;
    double low_x[] = {-2, 2}, low_y[] = {-1, 1};
    ws_series s = {.n = 2, .x = low_x, .y = low_y};
    ws_rule r = {0, 0, NULL};
    ws_plot p = line_plot(&s, &r);
    ws_str png = {0};
    ws_err err;
    int quarter[2];
    assert_int_equal(ws_plot_png(&p, &png, &err), WS_OK);
    count_blue(&png, quarter);
    assert_true(quarter[0] > 50 && quarter[1] > 50); /* a disc of radius 8.8 pixels each */
    s.n = 1;                                         /* the right point is gone, and so is its disc */
    double two[] = {-2, 2}, hidden[] = {-1, NAN};
    s.n = 2, s.x = two, s.y = hidden;
    ws_str_clear(&png);
    assert_int_equal(ws_plot_png(&p, &png, &err), WS_OK);
    count_blue(&png, quarter);
    assert_true(quarter[1] == 0);
    ws_str_free(&png);
}

static void test_forest(void **state) {
    (void)state;
    const char *cat[] = {"Care", "Authority <&>"};
    double v[] = {0.2, -0.4}, row[] = {0, 1}, l[] = {0.1, -0.9}, h[] = {0.3, 0.1};
    ws_series s = {.name = "+alpha", .n = 2, .x = v, .y = row, .lo = l, .hi = h, .colour = 1};
    ws_plot p = {.title = "By foundation",
                 .xlabel = "dlogit (nats)",
                 .n_series = 1,
                 .series = &s,
                 .n_categories = 2,
                 .category = cat};
    ws_str svg = {0};
    ws_err err;
    assert_int_equal(ws_plot_svg(&p, &svg, &err), WS_OK);
    ws_str_free(&svg);
}

/* Points of one panel, and the band behind some of its rows, stand in its part of the picture alone. */
static void test_panels_and_bands(void **state) {
    (void)state;
    const char *cat[] = {"a", "b", "c", "d"}, *panel[] = {"left", "right"};
    double v[] = {0.2, -0.4, 0.1, 0.3}, row[] = {0, 1, 2, 3};
    for (int at = 0; at < 2; at++) {
        ws_series s[2] = {{.n = 4, .x = v, .y = row, .colour = 0, .panel = at},
                          {.n = 4, .x = v, .y = row, .colour = 1, .panel = !at}};
        ws_band b = {-0.1, 0.2, 2, 3, at};
        ws_plot p = {.title = "Panels",
                     .xlabel = "x",
                     .n_series = 2,
                     .series = s,
                     .n_categories = 4,
                     .category = cat,
                     .n_panels = 2,
                     .panel = panel,
                     .n_bands = 1,
                     .band = &b};
        ws_str png = {0};
        draw(&p, &png);
        double from = at ? 0.53 : 0, to = at ? 1 : 0.53;
        assert_true(count(&png, blue, from, 0, to, 1) > 4 * 50);
        assert_int_equal(count(&png, blue, 0, 0, 1, 1), count(&png, blue, from, 0, to, 1));
        int all = count(&png, shade, 0, 0, 1, 1), whole = count(&png, shade, from, 0, to, 1);
        assert_true(whole > 5000);
        assert_true(all - whole < whole / 20); /* the edges of letters are as grey */
        int upper = count(&png, shade, from, 0, to, 0.5);
        assert_true(upper * 20 < whole); /* rows 2 and 3 are the lower ones */
        b.lo = NAN;
        draw(&p, &png);
        assert_true(count(&png, shade, 0, 0, 1, 1) * 20 < whole);
        b = (ws_band){-9, 9, 2, 3, at}; /* the axis reaches to its ends */
        draw(&p, &png);
        assert_true(count(&png, shade, from, 0, to, 1) > 2 * whole);
        ws_str_free(&png);
    }
}

/* Nothing hangs on colour alone: every marker is another shape, filled and hollow. */
static void test_markers_differ(void **state) {
    (void)state;
    ws_str png[2 * WS_MARKERS] = {{0}};
    for (int i = 0; i < 2 * WS_MARKERS; i++) {
        ws_series s = {.n = 1, .x = x, .y = y, .marker = i / 2 + 1, .hollow = i % 2};
        ws_plot p = {.title = "t", .xlabel = "x", .n_series = 1, .series = &s};
        draw(&p, &png[i]);
        for (int k = 0; k < i; k++) assert_true(png[k].n != png[i].n || memcmp(png[k].p, png[i].p, png[i].n));
    }
    for (int i = 0; i < 2 * WS_MARKERS; i++) ws_str_free(&png[i]);
}

static void test_intervals_of_both_axes(void **state) {
    (void)state;
    double at[] = {0, 0.1}, l[] = {-1, NAN}, h[] = {1, NAN};
    ws_series s = {.n = 2, .x = at, .y = at};
    ws_plot p = {.title = "t", .xlabel = "x", .n_series = 1, .series = &s};
    ws_str png = {0};
    draw(&p, &png);
    int bare = count(&png, blue, 0, 0, 1, 1);
    s.xlo = l, s.xhi = h;
    draw(&p, &png);
    int level = count(&png, blue, 0, 0, 1, 1);
    s.lo = l, s.hi = h;
    draw(&p, &png);
    assert_true(level > bare + 1000 && count(&png, blue, 0, 0, 1, 1) > level + 500);
    ws_str_free(&png);
}

static double covered(ws_box a, ws_box b) {
    double w = fmin(a.x1, b.x1) - fmax(a.x0, b.x0), h = fmin(a.y1, b.y1) - fmax(a.y0, b.y0);
    return w > 0 && h > 0 ? w * h : 0;
}

/* Names of 30 points, crowded into a corner, on a line, and all in one place: inside, and none on another. */
static void test_names_lie_on_no_other_name(void **state) {
    (void)state;
    enum { N = 30 };
    ws_box area = {100, 50, 736, 530}, point[N + 4], at[N], again[N];
    double width[N];
    for (int kind = 0; kind < 4; kind++) {
        uint32_t u = 1;
        for (int i = 0; i < N + 4; i++) {
            double r[2];
            for (int k = 0; k < 2; k++) u = u * 1664525u + 1013904223u, r[k] = u / 4294967296.0;
            double px = kind == 0   ? 110 + 120 * r[0]
                        : kind == 1 ? 100 + 21 * i % 636
                        : kind == 2 ? 400
                                    : 100 + 636 * r[0],
                   py = kind == 0   ? 525 - 90 * r[1]
                        : kind == 1 ? 300
                        : kind == 2 ? 290
                                    : 50 + 480 * r[1];
            point[i] = (ws_box){px - 6, py - 6, px + 6, py + 6};
            if (i < N) width[i] = 20 + 110 * r[1];
        }
        ws_labels_place(N, N + 4, point, width, 15, area, at);
        ws_labels_place(N, N + 4, point, width, 15, area, again);
        assert_memory_equal(at, again, sizeof at);
        for (int i = 0; i < N; i++) {
            assert_true(fabs(at[i].x1 - at[i].x0 - width[i]) < 1e-9 && fabs(at[i].y1 - at[i].y0 - 15) < 1e-9);
            assert_true(at[i].x0 >= area.x0 && at[i].x1 <= area.x1 && at[i].y0 >= area.y0 && at[i].y1 <= area.y1);
            for (int k = 0; k < i; k++)
                if (covered(at[i], at[k]) > 0) fail_msg("kind %d: names %d and %d", kind, i, k);
        }
    }
    width[0] = 40; /* alone: beside its point, without a gap */
    point[0] = (ws_box){300, 300, 312, 312};
    ws_labels_place(1, 1, point, width, 15, area, at);
    assert_true(fabs(at[0].x0 - 312) < 2 && fabs((at[0].y0 + at[0].y1) / 2 - 306) < 1);
    point[0] = (ws_box){720, 300, 732, 312}; /* at the right edge: on the other side */
    ws_labels_place(1, 1, point, width, 15, area, at);
    assert_true(fabs(at[0].x1 - 720) < 2);
}

static void test_names_are_drawn(void **state) {
    (void)state;
    const char *const name[] = {"lora", NULL, "mean_diff", "pca", "oft"};
    ws_series s = {.n = 5, .x = x, .y = y};
    ws_plot p = {.title = "t", .xlabel = "x", .n_series = 1, .series = &s};
    ws_str without = {0}, with = {0};
    ws_err err;
    assert_int_equal(ws_plot_svg(&p, &without, &err), WS_OK);
    s.label = name;
    assert_int_equal(ws_plot_svg(&p, &with, &err), WS_OK);
    int n[2] = {0};
    for (int k = 0; k < 2; k++) /* cairo writes every letter as a use of its glyph */
        for (const char *c = k ? with.p : without.p; (c = strstr(c, "<use ")); c++) n[k]++;
    assert_int_equal(n[1] - n[0], 4 + 9 + 3); /* without the point that has no place */
    ws_str_free(&without), ws_str_free(&with);
}

static void test_nothing_to_draw(void **state) {
    (void)state;
    double nothing[] = {NAN, NAN, NAN, NAN, NAN};
    ws_series s = {.name = "series", .n = 5, .x = x, .y = nothing, .line = 1};
    ws_rule r = {0, 1, NULL};
    ws_plot p = line_plot(&s, &r);
    ws_str out = {0};
    ws_err err;
    assert_int_equal(ws_plot_svg(&p, &out, &err), WS_EFORMAT);
    assert_non_null(strstr(err.msg, "no finite point"));
    p.xlog = 1; /* a log axis shows positive values only */
    s.y = hi;
    s.n = 2;
    assert_int_equal(ws_plot_png(&p, &out, &err), WS_EFORMAT);
    assert_int_equal(out.n, 0);
    ws_str_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_points_lie_where_they_should),
        cmocka_unit_test(test_forest),
        cmocka_unit_test(test_panels_and_bands),
        cmocka_unit_test(test_markers_differ),
        cmocka_unit_test(test_intervals_of_both_axes),
        cmocka_unit_test(test_names_lie_on_no_other_name),
        cmocka_unit_test(test_names_are_drawn),
        cmocka_unit_test(test_nothing_to_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
