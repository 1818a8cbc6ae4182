/* Training examples against transformers on the tiny chat model (tools/reference/make_examples.py): which tokens a row
 * has, where it is cut, and from where on it counts in the loss. */
#include "train/examples.h"
#include "data_help.h"
#include "io/json.h"

#define T "tests/fixtures/tinychat"

typedef struct world {
    ws_checkpoint *c;
    ws_tokenizer *tok;
    ws_chat *chat;
    ws_pairs *pairs;
    json_t *want;
} world;
static world w;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)

static int open_all(void **state) {
    ws_err err = {0};
    if (make_folder(state)) return -1;
    OK(ws_checkpoint_open(&w.c, T, &err));
    OK(ws_tokenizer_open(&w.tok, w.c, &err));
    OK(ws_chat_open(&w.chat, w.c, w.tok, NULL, &err));
    OK(ws_json_load(&w.want, "tests/fixtures/examples.json", &err));
    OK(ws_json_save(json_object_get(w.want, "pairs"), in_folder("pairs.json"), &err));
    OK(ws_pairs_load(&w.pairs, in_folder("pairs.json"), &err));
    return 0;
}
static int close_all(void **state) {
    ws_pairs_free(w.pairs);
    json_decref(w.want);
    ws_chat_free(w.chat);
    ws_tokenizer_free(w.tok);
    ws_checkpoint_close(w.c);
    return remove_folder(state);
}

static int64_t number(const json_t *o, const char *key) { return json_integer_value(json_object_get(o, key)); }

static void rows_are_those_of_the_reference_trainer(void **state) {
    (void)state;
    size_t i, k, t;
    const json_t *c, *row, *id;
    int empty = 0, cut = 0, truncated = 0;
    json_array_foreach(json_object_get(w.want, "cases"), i, c) {
        ws_err err = {0};
        ws_examples *e;
        ws_side side = strcmp(json_string_value(json_object_get(c, "side")), "pos") ? WS_NEG : WS_POS;
        OK(ws_examples_build(&e, w.pairs, side, w.tok, w.chat, (int)number(c, "max_len"),
                             json_is_true(json_object_get(c, "keep_end")), &err));
        int64_t tokens = 0, supervised = 0;
        json_array_foreach(json_object_get(c, "rows"), k, row) {
            const json_t *ids = json_object_get(row, "ids");
            assert_true((int)k < e->n);
            assert_int_equal(e->row[k].n, json_array_size(ids));
            assert_int_equal(e->row[k].first, number(row, "first"));
            json_array_foreach(ids, t, id) assert_int_equal(e->row[k].ids[t], json_integer_value(id));
            tokens += e->row[k].n, supervised += e->row[k].n - e->row[k].first;
        }
        assert_int_equal(e->n, k);
        assert_int_equal(e->tokens, tokens);
        assert_int_equal(e->supervised, supervised);
        empty += e->n_empty, cut += e->n_cut, truncated += e->n_truncated;
        ws_examples_free(e);
    }
    assert_int_equal(i, 8);
    assert_true(empty > 0 && cut > 0 && truncated > 0); /* the fixture reaches all three */
}

/* Responses with reasoning, on templates that open the think block, that write an empty one, that leave it to the model,
 * and that know none (tools/reference/make_think.py). */
#define THINK "tests/fixtures/think"
static ws_chat *named_chat(const char *name) {
    static const char *const file[][2] = {{"on", THINK "/chat_template.jinja"},
                                          {"off", THINK "/off.jinja"},
                                          {"free", "tests/fixtures/text/reason.jinja"},
                                          {"plain", "tests/fixtures/text/chatml.jinja"}};
    int i = 0;
    while (strcmp(file[i][0], name)) assert_true(++i < 4);
    ws_err err = {0};
    ws_str s = {0};
    ws_chat *c;
    OK(ws_file_read(file[i][1], &s, &err));
    OK(ws_chat_from_text(&c, s.p, name, "", "<|im_end|>", &err));
    ws_str_free(&s);
    return c;
}

static void reasoning_is_rendered_as_by_the_reference_trainer(void **state) {
    (void)state;
    ws_err err = {0};
    ws_checkpoint *c;
    ws_tokenizer *tok;
    ws_pairs *pairs;
    json_t *want;
    size_t i, k, t;
    const json_t *kase, *row, *id;
    int unspoken = 0;
    OK(ws_checkpoint_open(&c, THINK, &err));
    OK(ws_tokenizer_open(&tok, c, &err));
    OK(ws_pairs_load(&pairs, THINK "/pairs.jsonl", &err));
    OK(ws_json_load(&want, THINK "/expected.json", &err));
    json_array_foreach(json_object_get(want, "cases"), i, kase) {
        const char *name = json_string_value(json_object_get(kase, "template"));
        int neg = strcmp(json_string_value(json_object_get(kase, "side")), "pos") != 0;
        ws_chat *chat = named_chat(name);
        ws_examples *e;
        OK(ws_examples_build(&e, pairs, neg ? WS_NEG : WS_POS, tok, chat, (int)number(kase, "max_len"),
                             json_is_true(json_object_get(kase, "keep_end")), &err));
        json_array_foreach(json_object_get(kase, "rows"), k, row) {
            const json_t *ids = json_object_get(row, "ids");
            if (e->row[k].n != (int)json_array_size(ids) || e->row[k].first != number(row, "first"))
                fail_msg("%s, case %zu, row %zu: %d tokens from %d on, not %zu from %d on", name, i, k, e->row[k].n,
                         e->row[k].first, json_array_size(ids), (int)number(row, "first"));
            json_array_foreach(ids, t, id) assert_int_equal(e->row[k].ids[t], json_integer_value(id));
        }
        assert_int_equal(e->n, k);
        assert_int_equal(e->n_think, 4); /* the last pair has no think block */
        assert_int_equal(e->n_unclosed, neg ? 2 : 0);
        assert_int_equal(e->n_dropped, 0);
        if (e->max_len == 512) assert_int_equal(e->n_unspoken, 0);
        unspoken += e->n_unspoken;
        ws_examples_free(e);
        ws_chat_free(chat);
    }
    assert_int_equal(i, 24);
    assert_true(unspoken > 0);
    json_decref(want);
    /* a template that shows answers alone */
    ws_chat *mute;
    ws_examples *e;
    OK(ws_chat_from_text(&mute,
                         "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1] }}\n{% endfor %}",
                         "mute", "", "", &err));
    OK(ws_examples_build(&e, pairs, WS_POS, tok, mute, 512, 0, &err));
    assert_int_equal(e->n_think, 4);
    assert_int_equal(e->n_dropped, 3); /* one has nothing to drop */
    ws_examples_free(e);
    ws_chat_free(mute);
    ws_pairs_free(pairs);
    ws_tokenizer_free(tok);
    ws_checkpoint_close(c);
}

/* A template that prints the day must not make other examples tomorrow. */
static void the_day_is_fixed(void **state) {
    (void)state;
    static const char text[] = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
                               "{{ m.content }}<|im_end|>\n{% endfor %}"
                               "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    ws_err err = {0};
    ws_chat *dated;
    ws_examples *e;
    ws_str s = {0};
    OK(ws_chat_from_text(&dated, text, "dated", "", "<|im_end|>", &err));
    OK(ws_examples_build(&e, w.pairs, WS_POS, w.tok, dated, 512, 0, &err));
    OK(ws_tokenizer_decode(w.tok, e->row[0].ids, 11, 0, &s, &err));
    assert_int_equal(s.n, 11);
    assert_memory_equal(s.p, "26 Jul 2024", 11); /* byte-level: a token a character */
    ws_str_free(&s);
    ws_examples_free(e);
    ws_chat_free(dated);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_the_reference_trainer),
        cmocka_unit_test(reasoning_is_rendered_as_by_the_reference_trainer),
        cmocka_unit_test(the_day_is_fixed),
    };
    return cmocka_run_group_tests_name("train/examples", tests, open_all, close_all);
}
