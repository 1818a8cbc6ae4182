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
        cmocka_unit_test(the_day_is_fixed),
    };
    return cmocka_run_group_tests_name("train/examples", tests, open_all, close_all);
}
