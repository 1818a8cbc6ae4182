/* Addresses: to whom a token may go, and what of them may be shown.  (Requests: tests/t_pull.sh.) */
#include "io_help.h"
#include "io/http.h"

static ws_err err;

static void a_token_stays_with_scheme_host_and_port(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        int same;
    } t[] = {{"https://hub.test/x", "https://hub.test/y?z=1", 1},
             {"https://hub.test", "https://HUB.test:443/y", 1},
             {"http://hub.test:80/", "http://hub.test", 1},
             {"https://hub.test/", "http://hub.test/", 0},
             {"https://hub.test/", "https://hub.test:8443/", 0},
             {"https://hub.test/", "https://cdn.hub.test/", 0},
             {"https://hub.test/", "https://hub.test.evil/", 0},
             {"https://hub.test/", "https://hub.test@evil/", 0},
             {"https://hub.test/", "https://evil/https://hub.test/", 0},
             {"http://127.0.0.1/", "http://localhost/", 0},
             {"nothing", "", 0}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        if (ws_http_same_origin(t[i].a, t[i].b) != t[i].same) fail_msg("%s and %s", t[i].a, t[i].b);
    assert_true(ws_http_is_loopback("http://localhost:80/x"));
    assert_true(ws_http_is_loopback("http://127.0.0.1"));
    assert_false(ws_http_is_loopback("http://localhost.evil/"));
}

static void secrets_in_addresses_are_not_shown(void **state) {
    (void)state;
    static const struct {
        const char *url, *shown;
    } t[] = {{"https://cdn.test/a/b.bin?Signature=secret&Key=1#x", "https://cdn.test/a/b.bin"},
             {"https://user:secret@hub.test/a", "https://hub.test/a"},
             {"https://hub.test:8443", "https://hub.test:8443/"}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char *s = ws_http_shown(t[i].url);
        assert_string_equal(s, t[i].shown);
        free(s);
    }
}

static void names_are_escaped_as_paths(void **state) {
    (void)state;
    char *a = ws_http_escape("sub/a b%?#.gguf", 1), *b = ws_http_escape("refs/pr/1", 0),
         *c = ws_http_escape("\xc3\xa9", 1);
    assert_string_equal(a, "sub/a%20b%25%3F%23.gguf");
    assert_string_equal(b, "refs%2Fpr%2F1");
    assert_string_equal(c, "%C3%A9");
    free(a), free(b), free(c);
}

static void only_http_is_spoken(void **state) {
    (void)state;
    ws_http *h;
    ws_http_answer a = {0};
    OK(ws_http_open(&h, &err));
    const ws_http_request r = {.url = "file:///etc/hostname", .patience = 1};
    REFUSED(ws_http_do(h, &r, &a, &err), WS_EIO, "file:");
    ws_http_answer_free(&a);
    ws_http_close(h);
    ws_http_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_stays_with_scheme_host_and_port),
        cmocka_unit_test(secrets_in_addresses_are_not_shown),
        cmocka_unit_test(names_are_escaped_as_paths),
        cmocka_unit_test(only_http_is_spoken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
