/* Axes put ticks where a person would; a picture is the same bytes each time, contains what it was given, and refuses
 * to be empty. */
#include "report/axis.h"
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
    return (ws_plot){"A title", "model, n = 5", "alpha", "score", 0, 0, 1, s, 1, r, 0, NULL};
}

static void test_same_bytes(void **state) {
    (void)state;
    ws_series s = {"series", 5, x, y, lo, hi, 1, 0, 0, 0, 0};
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

/* Pixels close to the palette's blue, in the lower-left and the upper-right quarter of the picture. */
static void count_blue(const ws_str *png, int quarter[2]) {
    reader r = {png, 0};
    cairo_surface_t *s = cairo_image_surface_create_from_png_stream(feed, &r);
    assert_int_equal(cairo_surface_status(s), CAIRO_STATUS_SUCCESS);
    int w = cairo_image_surface_get_width(s), h = cairo_image_surface_get_height(s),
        step = cairo_image_surface_get_stride(s);
    const unsigned char *p = cairo_image_surface_get_data(s);
    quarter[0] = quarter[1] = 0;
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++) {
            uint32_t v;
            memcpy(&v, p + j * step + 4 * i, 4);
            int red = (int)(v >> 16 & 255), green = (int)(v >> 8 & 255), blue = (int)(v & 255);
            if (abs(red - 0) > 8 || abs(green - 114) > 8 || abs(blue - 178) > 8) continue;
            if (i < w / 2 && j > h / 2) quarter[0]++;
            if (i > w / 2 && j < h / 2) quarter[1]++;
        }
    cairo_surface_destroy(s);
}

static void test_points_lie_where_they_should(void **state) {
    (void)state;
    double low_x[] = {-2, 2}, low_y[] = {-1, 1};
    ws_series s = {NULL, 2, low_x, low_y, NULL, NULL, 0, 0, 0, 0, 0};
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
    ws_series s = {"+alpha", 2, v, row, l, h, 0, 0, 0, 0, 1};
    ws_plot p = {"By foundation", NULL, "dlogit (nats)", NULL, 0, 0, 1, &s, 0, NULL, 2, cat};
    ws_str svg = {0};
    ws_err err;
    assert_int_equal(ws_plot_svg(&p, &svg, &err), WS_OK);
    ws_str_free(&svg);
}

static void test_nothing_to_draw(void **state) {
    (void)state;
    double nothing[] = {NAN, NAN, NAN, NAN, NAN};
    ws_series s = {"series", 5, x, nothing, NULL, NULL, 1, 0, 0, 0, 0};
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
        cmocka_unit_test(test_nothing_to_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
