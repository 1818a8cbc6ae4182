/* Models that reason first: what their templates put before a response, and which part of a response is the answer.
 * Expected forms and texts: models.md 10.2; the split is the one that the published templates make. */
#include "data_help.h"
#include "io/json.h"
#include "text/think.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)

static ws_chat *chat_of(const char *file, const char *before) {
    ws_err err = {0};
    ws_str s = {0};
    ws_chat *c;
    ws_str_adds(&s, before);
    OK(ws_file_read(file, &s, &err));
    OK(ws_chat_from_text(&c, s.p, file, "", "<|im_end|>", &err));
    ws_str_free(&s);
    return c;
}
static ws_chat *text_chat(const char *text) {
    ws_err err = {0};
    ws_chat *c;
    OK(ws_chat_from_text(&c, text, "text", "", "<|im_end|>", &err));
    return c;
}

enum { NO = -1 }; /* refused */
static void forms(ws_chat *c, int dflt, int off, int on) {
    const int want[3] = {dflt, off, on};
    for (int thinking = -1; thinking <= 1; thinking++) {
        ws_think_form f;
        ws_err err = {0};
        ws_status st = ws_think_form_of(&f, c, thinking, &err);
        if (want[thinking + 1] == NO) {
            assert_int_equal(st, WS_EUSAGE);
            says(&err, thinking ? "--thinking on" : "--thinking off");
        } else {
            OK(st);
            assert_int_equal(f, want[thinking + 1]);
        }
    }
    ws_chat_free(c);
}

static void prompts_end_as_the_templates_say(void **state) {
    (void)state;
#define T        "tests/fixtures/text/"
#define OPEN_TAG "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: <think>\n"
    forms(chat_of(T "reason_macro.jinja", ""), WS_THINK_OPEN, WS_THINK_CLOSED, WS_THINK_OPEN);
    forms(chat_of(T "reason_macro.jinja", "{%- set think_default = false -%}"), WS_THINK_CLOSED, WS_THINK_CLOSED,
          WS_THINK_OPEN);
    forms(chat_of(T "reason.jinja", ""), WS_THINK_FREE, WS_THINK_CLOSED, WS_THINK_FREE);
    forms(chat_of(T "chatml.jinja", ""), WS_THINK_NONE, WS_THINK_NONE, NO);
    forms(text_chat(OPEN_TAG), WS_THINK_OPEN, NO, WS_THINK_OPEN); /* no switch: always open */
    forms(text_chat("{% for m in messages %}{{ m.content.split('</think>')[-1] }}\n{% endfor %}"), WS_THINK_FREE,
          WS_THINK_FREE, NO); /* knows the tag, has no switch */
}

static void who_is_expected_to_reason(void **state) {
    (void)state;
    ws_chat *free_form = chat_of(T "reason.jinja", ""), *no_switch = text_chat("{{ messages }} </think>");
    assert_true(ws_think_expected(WS_THINK_OPEN, no_switch, -1));
    assert_true(ws_think_expected(WS_THINK_FREE, free_form, -1) && ws_think_expected(WS_THINK_FREE, free_form, 1));
    assert_false(ws_think_expected(WS_THINK_FREE, free_form, 0) || ws_think_expected(WS_THINK_FREE, no_switch, -1));
    assert_false(ws_think_expected(WS_THINK_CLOSED, free_form, -1) || ws_think_expected(WS_THINK_NONE, no_switch, -1));
    ws_chat_free(free_form);
    ws_chat_free(no_switch);
}

static void responses_are_taken_apart(void **state) {
    (void)state;
    static const struct {
        ws_think_form f;
        const char *text, *reasoning, *answer;
        int closed;
    } rows[] = {
        {WS_THINK_OPEN, "R\n</think>\n\nYo", "R", "Yo", 1},
        {WS_THINK_OPEN, "\n\nR\n\nS\n</think>Yo\n", "R\n\nS", "Yo\n", 1},
        {WS_THINK_OPEN, "</think>\n\nYo", "", "Yo", 1},
        {WS_THINK_OPEN, "R</think>", "R", "", 1},
        {WS_THINK_OPEN, "R and on", "R and on", "", 0},
        {WS_THINK_OPEN, "<think>\nR\n</think>\n\nYo", "R", "Yo", 1}, /* it opened the block again */
        {WS_THINK_OPEN, "a</think>b</think>c", "a", "c", 1},
        {WS_THINK_FREE, "<think>\nR\n</think>\n\nYo", "R", "Yo", 1},
        {WS_THINK_FREE, "<think>\nR", "R", "", 0},
        {WS_THINK_FREE, "Yo", "", "Yo", 1},
        {WS_THINK_CLOSED, "Yo", "", "Yo", 1},
        {WS_THINK_CLOSED, "x</think>y", "x", "y", 1},
        {WS_THINK_NONE, "x</think>y", "", "x</think>y", 1},
        {WS_THINK_OPEN, "", "", "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ws_think_parts p;
        ws_think_split(rows[i].text, strlen(rows[i].text), rows[i].f, &p);
        if (p.n_reasoning != strlen(rows[i].reasoning) || memcmp(p.reasoning, rows[i].reasoning, p.n_reasoning) ||
            p.n_answer != strlen(rows[i].answer) || memcmp(p.answer, rows[i].answer, p.n_answer) ||
            p.closed != rows[i].closed)
            fail_msg("'%s' (form %d): reasoning '%.*s', answer '%.*s', closed %d", rows[i].text, rows[i].f,
                     (int)p.n_reasoning, p.reasoning, (int)p.n_answer, p.answer, p.closed);
    }
}

/* Some vocabularies call </think> special: it must not be lost with the others. */
static void think_tags_are_never_dropped(void **state) {
    (void)state;
    ws_err err = {0};
    json_error_t e;
    json_t *j = json_load_file(T "tokenizer_qwen35.json", JSON_ALLOW_NUL, &e);
    size_t i;
    json_t *o;
    assert_non_null(j);
    json_array_foreach(json_object_get(j, "added_tokens"), i, o) json_object_set_new(o, "special", json_true());
    ws_tokenizer *t;
    ws_ids ids = {0};
    ws_str s = {0};
    static const char text[] = "a<think>b</think>c<|im_end|><tool_call>";
    OK(ws_tokenizer_from_json(&t, j, NULL, "x", &err));
    OK(ws_tokenizer_encode(t, text, sizeof text - 1, 0, &ids, &err));
    OK(ws_think_decode(t, ids.id, ids.n, &s, &err));
    assert_string_equal(s.p, "a<think>b</think>c");
    ws_str_free(&s);
    ws_ids_free(&ids);
    ws_tokenizer_free(t);
    json_decref(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_end_as_the_templates_say),
        cmocka_unit_test(who_is_expected_to_reason),
        cmocka_unit_test(responses_are_taken_apart),
        cmocka_unit_test(think_tags_are_never_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
