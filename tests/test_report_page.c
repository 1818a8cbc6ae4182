/* Texts side by side keep their columns; the HTML page escapes what it is given and keeps the pictures' ids apart. */
#include "report/columns.h"
#include "report/html.h"
#include "report/plot.h"
#include "golden.h"

static void test_columns(void **state) {
    (void)state;
    const char *head[] = {"alpha -3.4", "alpha 0", "alpha +4.1"};
    const char *text[] = {"It was a grey day, and nobody came.\n\nNothing more.",
                          "naïve café – 日本語のテキスト fits too",
                          "Averyveryverylongwordthatdoesnotfitintoonecolumn! Wow!\tTabs and \001 controls."};
    ws_str s = {0};
    ws_columns_print(&s, head, text, 3, 72);
    ws_str_addc(&s, '\n');
    ws_columns_print(&s, NULL, text, 2, 40);
    ws_str_addc(&s, '\n');
    ws_wrap(&s, "A prompt that is longer than the line has to be wrapped and indented.", 40, 4);
    golden("columns.exp", s.p);
    ws_str_free(&s);
}

static void test_no_line_is_too_wide(void **state) {
    (void)state;
    const char *text[] = {"aaa bbb ccc ddd eee fff ggg hhh", "日本語日本語日本語日本語", ""};
    ws_str s = {0};
    for (int total = 10; total < 60; total++) {
        ws_str_clear(&s);
        ws_columns_print(&s, NULL, text, 3, total);
        int room = total < 28 ? 28 : total; /* columns are never narrower than 8 */
        for (char *l = s.p; *l; l += strcspn(l, "\n") + 1) assert_true(ws_text_width(l, strcspn(l, "\n")) <= room);
    }
    ws_str_free(&s);
}

static void test_page(void **state) {
    (void)state;
    const char *head[] = {"-1", "0 <b>"}, *text[] = {"a & b", "<script>alert(1)</script>"};
    const char svg[] = "<?xml version=\"1.0\"?>\n<svg width=\"1\"><g id=\"glyph0-1\"/><use xlink:href=\"#glyph0-1\"/>"
                       "<rect fill=\"url(#pat)\"/></svg>\n";
    ws_str s = {0};
    ws_html_open(&s, "Report \"one\"");
    ws_html_heading(&s, 2, "Plots");
    ws_html_paragraph(&s, "1 < 2");
    ws_html_note(&s, "no signal");
    ws_html_svg(&s, svg, strlen(svg), 1, "a plot");
    ws_html_svg(&s, svg, strlen(svg), 2, "a plot");
    ws_html_columns(&s, head, text, 2);
    ws_html_close(&s);
    golden("page.exp", s.p);
    assert_null(strstr(s.p, "<script"));
    assert_null(strstr(s.p, "<?xml"));
    assert_null(strstr(s.p, "http"));
    ws_str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_columns), cmocka_unit_test(test_no_line_is_too_wide),
                                       cmocka_unit_test(test_page)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
