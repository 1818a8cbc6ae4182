/* tests/test_text_chat.c - chat templates give the bytes that transformers gives (fixtures of tools/reference/make_text.py),
 * and refuse what it refuses. */
#include "io/json.h"
#include "text/chat.h"
#include "text/jinja.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define DIR "tests/fixtures/text/"

static json_t *load_in(const char *dir, const char *name) { /* with NUL characters, which ws_json_load refuses */
    char path[400];
    json_error_t e;
    snprintf(path, sizeof path, "%s%s", dir, name);
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}
static json_t *load(const char *name) { return load_in(DIR, name); }

/* 1 when the outcome is the expected one; says so otherwise. */
static int same(const char *what, const json_t *expect, ws_status st, const ws_str *got, const ws_err *err) {
    const json_t *want = json_object_get(expect, "text");
    if (!want && st) return 1;
    if (want && !st && got->n == json_string_length(want) &&
        !memcmp(got->n ? got->p : "", json_string_value(want), got->n))
        return 1;
    print_message("%s\n  expected %s %s\n  got      %s %s\n", what, want ? "text" : "error",
                  want ? json_string_value(want) : json_string_value(json_object_get(expect, "error")),
                  st ? "error" : "text", st ? err->msg : got->p);
    return 0;
}

static int flag(const json_t *o, const char *key) { return json_is_true(json_object_get(o, key)); }

enum { MOST_TEMPLATES = 128 };
typedef struct counts {
    size_t lists, texts, published;
} counts;

static counts compare(const char *dir, const char *file) {
    json_t *doc = load_in(dir, file), *cases = json_object_get(doc, "cases"), *lists = json_object_get(doc, "lists");
    const char *names[MOST_TEMPLATES + 1] = {0};
    ws_chat *chats[MOST_TEMPLATES] = {0};
    size_t bad = 0, texts = 0, published = 0;
    ws_err err = {0};
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *k = json_array_get(cases, i), *thinking = json_object_get(k, "thinking");
        const char *name = json_string_value(json_object_get(k, "template"));
        int t = 0;
        while (names[t] && strcmp(names[t], name)) t++;
        assert_true(t < MOST_TEMPLATES);
        if (!names[t]) {
            char path[400];
            ws_str s = {0};
            names[t] = name;
            snprintf(path, sizeof path, "%s%s.jinja", dir, name);
            assert_int_equal(ws_file_read(path, &s, &err), WS_OK);
            if (ws_chat_from_text(&chats[t], s.p, name, "<s>", "</s>", &err)) fail_msg("%s", err.msg);
            ws_str_free(&s);
        }
        ws_render r = {.generation_prompt = flag(k, "gen"), .continue_final = flag(k, "cont"), .thinking = -1};
        if (thinking) r.thinking = json_is_true(thinking);
        r.date = json_string_value(json_object_get(json_object_get(doc, "about"), "date"));
        r.tools = flag(k, "tools") ? json_object_get(doc, "tools") : NULL;
        r.extra = json_object_get(k, "extra");
        ws_str out = {0};
        json_t *messages = json_array_get(lists, (size_t)json_integer_value(json_object_get(k, "list"))),
               *before = json_deep_copy(messages);
        ws_status st = ws_chat_render(chats[t], messages, &r, &out, &err);
        bad += !same(name, json_object_get(k, "expect"), st, &out, &err);
        assert_true(json_equal(messages, before)); /* the caller's messages stay as they are */
        texts += !st, published += flag(k, "published");
        json_decref(before);
        ws_str_free(&out);
    }
    assert_int_equal(bad, 0);
    counts n = {json_array_size(lists), texts, published};
    for (int t = 0; t < MOST_TEMPLATES; t++) ws_chat_free(chats[t]);
    json_decref(doc);
    return n;
}

static void conversations_equal_transformers(void **state) {
    (void)state;
    counts n = compare(DIR, "chat_cases.json");
    assert_true(n.lists >= 40 && n.texts >= 400 && n.published >= 24);
}

/* The templates as they are published, which are not ours to keep here: make_text.py originals DIR writes what
 * transformers makes of them. */
static void published_templates_equal_transformers(void **state) {
    (void)state;
    const char *dir = getenv("WS_TEST_TEMPLATES");
    if (!dir) {
        printf("skip: WS_TEST_TEMPLATES is not set, so the published templates are not compared\n");
        skip();
    }
    char folder[300];
    snprintf(folder, sizeof folder, "%s/", dir);
    counts n = compare(folder, "cases.json");
    printf("%zu texts of %zu message lists are equal\n", n.texts, n.lists);
    assert_true(n.texts > 100);
}

/* models.md 10.2, the strings as they stand there, on the published templates by the names that TRL gives them. */
static void published_rows_are_exact(void **state) {
    (void)state;
    const char *dir = getenv("WS_TEST_TEMPLATES");
    if (!dir) {
        printf("skip: WS_TEST_TEMPLATES is not set, so the rows of the published templates are not compared\n");
        skip();
    }
#define HI    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
#define EMPTY "<think>\n\n</think>\n\n"
    static const struct {
        const char *file, *system, *user, *answer;
        int gen, thinking;
        const char *want;
    } rows[] = {
        {"qwen3", NULL, "Hi", NULL, 1, -1, HI},
        {"qwen3", NULL, "Hi", NULL, 1, 1, HI},
        {"qwen3", NULL, "Hi", NULL, 1, 0, HI EMPTY},
        {"qwen3", "SYS", "Hi", "Yo", 0, -1, "<|im_start|>system\nSYS<|im_end|>\n" HI EMPTY "Yo<|im_end|>\n"},
        {"qwen3", NULL, "Hi", "<think>\nR\n</think>\n\nYo", 0, -1, HI "<think>\nR\n</think>\n\nYo<|im_end|>\n"},
        {"qwen3", NULL, "  Hi  \n", " Yo \n", 0, -1,
         "<|im_start|>user\n  Hi  \n<|im_end|>\n<|im_start|>assistant\n" EMPTY " Yo \n<|im_end|>\n"},
        {"qwen3_5_think", NULL, "Hi", NULL, 1, -1, HI "<think>\n"},
        {"qwen3_5_think", NULL, "Hi", NULL, 1, 1, HI "<think>\n"},
        {"qwen3_5_think", NULL, "Hi", NULL, 1, 0, HI EMPTY},
        {"qwen3_5_think", NULL, "Hi", "Yo", 0, -1, HI EMPTY "Yo<|im_end|>\n"},
        {"qwen3_5_think", NULL, "  Hi  \n", " Yo \n", 0, -1, HI EMPTY "Yo<|im_end|>\n"},
        {"qwen3_5_think", NULL, "Hi", "R\n</think>\n\nYo", 0, -1, HI "<think>\nR\n</think>\n\nYo<|im_end|>\n"},
        {"qwen3_5_nothink", NULL, "Hi", NULL, 1, -1, HI EMPTY},
        {"qwen3_5_nothink", NULL, "Hi", NULL, 1, 0, HI EMPTY},
        {"qwen3_5_nothink", NULL, "Hi", NULL, 1, 1, HI "<think>\n"},
        {"qwen3_5_nothink", NULL, "Hi", "Yo", 0, -1, HI EMPTY "Yo<|im_end|>\n"},
        {"qwen3_5_nothink", "SYS", "Hi", NULL, 1, -1, "<|im_start|>system\nSYS<|im_end|>\n" HI EMPTY},
        {"qwen2_5", NULL, "Hi", NULL, 1, -1,
         "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n" HI},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[400];
        ws_str s = {0}, out = {0};
        ws_err err = {0};
        ws_chat *c = NULL;
        snprintf(path, sizeof path, "%s/%s.jinja", dir, rows[i].file);
        if (ws_file_read(path, &s, &err) || ws_chat_from_text(&c, s.p, rows[i].file, "", "<|im_end|>", &err))
            fail_msg("%s", err.msg);
        const ws_render r = {.generation_prompt = rows[i].gen, .thinking = rows[i].thinking};
        if (ws_chat_render_plain(c, rows[i].system, rows[i].user, rows[i].answer, &r, &out, &err))
            fail_msg("%s", err.msg);
        assert_string_equal(out.p, rows[i].want);
        ws_str_free(&s), ws_str_free(&out);
        ws_chat_free(c);
    }
}

/* A system text goes where it is told, and back. */
static void system_text_can_be_folded(void **state) {
    (void)state;
    static const char text[] = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    static const char *const want[] = {"[system]SYS[user]Hi", "[user]SYS\n\nHi", "[system]SYS[user]Hi"};
    ws_chat *c = NULL;
    ws_err err = {0};
    const ws_render r = {.thinking = -1};
    if (ws_chat_from_text(&c, text, "plain", "", "", &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < 3; i++) {
        ws_str out = {0};
        if (i) ws_chat_fold(c, i == 1);
        if (ws_chat_render_plain(c, "SYS", "Hi", NULL, &r, &out, &err)) fail_msg("%s", err.msg);
        assert_string_equal(out.p, want[i]);
        ws_str_free(&out);
    }
    ws_chat_free(c);
}

static void constructs_equal_jinja2(void **state) {
    (void)state;
    json_t *doc = load("jinja_cases.json"), *cases = json_object_get(doc, "cases"),
           *vars = json_object_get(doc, "vars");
    size_t bad = 0;
    json_object_set_new(vars, "bos_token", json_string("<s>"));
    json_object_set_new(vars, "eos_token", json_string("</s>"));
    json_object_set_new(vars, "tools", json_null());
    json_object_set_new(vars, "add_generation_prompt", json_false());
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *t = json_object_get(json_array_get(cases, i), "template");
        ws_jinja *j = NULL;
        ws_str out = {0};
        ws_err err = {0};
        ws_status st = ws_jinja_new(&j, json_string_value(t), json_string_length(t), "", &err);
        if (!st) st = ws_jinja_render(j, vars, "2024-07-26", &out, &err);
        if (st) assert_non_null(strstr(err.msg, "line "));
        bad += !same(json_string_value(t), json_object_get(json_array_get(cases, i), "expect"), st, &out, &err);
        ws_jinja_free(j);
        ws_str_free(&out);
    }
    assert_int_equal(bad, 0);
    assert_true(json_array_size(cases) >= 200);
    json_decref(doc);
}

/* Renders a template without variables; the error's text, or NULL and the text in `out`. */
static const char *outcome(const char *text, ws_str *out) {
    static ws_err err;
    ws_jinja *j = NULL;
    json_t *vars = json_pack("{s:[{s:s, s:s}]}", "messages", "role", "user", "content", "Hi");
    ws_status st = ws_jinja_new(&j, text, strlen(text), "x", &err);
    ws_str_clear(out);
    if (!st) st = ws_jinja_render(j, vars, NULL, out, &err);
    ws_jinja_free(j);
    json_decref(vars);
    return st ? err.msg : NULL;
}

static void errors_name_the_line_and_the_construct(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"a\nb\n{% include 'x' %}", "line 3", "'include'"},
        {"\n{{ 1|wordwrap }}", "line 2", "'wordwrap'"},
        {"\n\n\n{{ x is spam }}", "line 4", "'spam'"},
        {"{% for m in messages %}\n{{ m.foo.bar }}\n{% endfor %}", "line 2", "'foo' is undefined"},
        {"\n{% if true %}\nx", "line 2", "endif"},
        {"{{ '%d' % 3 }}", "line 1", "formatting"},
        {"\n{{ raise_exception('no system role') }}", "line 2", "no system role"},
        {"{% set x = [] %}\n{{ x.append(1) }}", "line 2", "append"},
        {"{% for x in y recursive %}{% endfor %}", "line 1", "recursive"},
        {"{{ f(*args) }}", "line 1", "* and **"},
        {"x\n{{ 9223372036854775807 + 1 }}", "line 2", "64 bits"}};
    ws_str out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *msg = outcome(cases[i][0], &out);
        if (!msg) fail_msg("'%s' rendered '%s'", cases[i][0], out.p);
        if (!strstr(msg, cases[i][1]) || !strstr(msg, cases[i][2])) fail_msg("'%s' says '%s'", cases[i][0], msg);
        assert_int_equal(out.n, 0);
    }
    ws_str_free(&out);
}

static void hostile_templates_end_with_an_error(void **state) {
    (void)state;
    static const char *const cases[] = {
        "{{ 'a' * 10000000000 }}",
        ("{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(99999) %}{% set ns.s = ns.s + ns.s %}{% "
         "endfor %}"),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ range(100001)|list }}",
        "{{ [0] * 1000000000 }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
        "{{ 2 ** 1000 }}",
        "{{ 'x'|indent(99999999) }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}"};
    ws_str out = {0}, deep = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!outcome(cases[i], &out)) fail_msg("'%s' rendered %zu bytes", cases[i], out.n);
    static const char *const nest[] = {"(", "[", "{% if 1 %}", "not ", "-", "{'a':"};
    for (size_t k = 0; k < sizeof nest / sizeof *nest; k++) {
        ws_str_clear(&deep);
        if (k != 2) ws_str_adds(&deep, "{{ ");
        for (int i = 0; i < 100000; i++) ws_str_adds(&deep, nest[k]);
        assert_non_null(outcome(deep.p, &out));
    }
    ws_str_clear(&deep);
    ws_str_adds(&deep, "{{ 1");
    for (int i = 0; i < 50000; i++) ws_str_adds(&deep, "+1");
    ws_str_adds(&deep, "}}");
    assert_non_null(outcome(deep.p, &out));
    ws_str_free(&deep);
    ws_str_free(&out);
}

static void continuing_needs_something_to_continue(void **state) {
    (void)state;
    ws_chat *c = NULL;
    ws_err err = {0};
    ws_str out = {0};
    ws_str_adds(&out, "before");
    ws_render r = {.thinking = -1, .continue_final = 1, .generation_prompt = 1};
    assert_int_equal(
        ws_chat_from_text(&c,
                          "{% for m in messages %}{{ m.role }}:{{ m.content if m.role != 'x' else '' }};{% endfor %}",
                          "t", "", "", &err),
        WS_OK);
    assert_int_equal(ws_chat_render_plain(c, NULL, "Hi", NULL, &r, &out, &err), WS_EUSAGE);
    r.generation_prompt = 0;
    assert_int_equal(ws_chat_render_plain(c, NULL, "Hi", "Yo", &r, &out, &err), WS_OK);
    assert_string_equal(out.p, "beforeuser:Hi;assistant:Yo");
    json_t *m = json_pack("[{s:s, s:s}]", "role", "x", "content", "gone");
    assert_int_equal(ws_chat_render(c, m, &r, &out, &err), WS_EUNSUPPORTED);
    assert_string_equal(out.p, "beforeuser:Hi;assistant:Yo"); /* nothing half written */
    json_decref(m);
    m = json_pack("[]");
    assert_int_equal(ws_chat_render(c, m, &r, &out, &err), WS_EUSAGE);
    json_decref(m);
    ws_chat_free(c);
    ws_str_free(&out);
}

/* Any damage to a template gives text or an error, never a crash (run under ASan as well). */
static void damaged_templates_do_no_harm(void **state) {
    (void)state;
    static const char *const files[] = {"chatml_tools", "reason", "reason_macro", "headers", "turns"};
    static const char alphabet[] = "{}%#-+'\"()[]|.,:~ \nab1_\\if for in end";
    uint32_t rnd = 12345;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        char path[200];
        ws_str s = {0}, out = {0};
        ws_err err = {0};
        snprintf(path, sizeof path, DIR "%s.jinja", files[f]);
        assert_int_equal(ws_file_read(path, &s, &err), WS_OK);
        for (int i = 0; i < 400; i++) {
            char *copy = ws_xstrdup(s.p);
            for (int k = 0; k <= i % 3; k++) {
                rnd = rnd * 1664525 + 1013904223;
                size_t at = (rnd >> 8) % s.n;
                if (i % 5 == 4)
                    copy[at] = 0;
                else
                    copy[at] = alphabet[(rnd >> 3) % (sizeof alphabet - 1)];
            }
            const char *msg = outcome(copy, &out);
            assert_true(msg ? strstr(msg, "line ") != NULL : 1);
            free(copy);
        }
        ws_str_free(&s);
        ws_str_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(conversations_equal_transformers),
                                       cmocka_unit_test(published_templates_equal_transformers),
                                       cmocka_unit_test(published_rows_are_exact),
                                       cmocka_unit_test(system_text_can_be_folded),
                                       cmocka_unit_test(constructs_equal_jinja2),
                                       cmocka_unit_test(errors_name_the_line_and_the_construct),
                                       cmocka_unit_test(hostile_templates_end_with_an_error),
                                       cmocka_unit_test(continuing_needs_something_to_continue),
                                       cmocka_unit_test(damaged_templates_do_no_harm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
