/* A user's own pairs: conversations and tables are read as plain rows are, what cannot be learnt from is refused by file and
 * line, and what is set aside for the evaluation shares no prompt with what is trained on. */
#include "data/own_pairs.h"
#include "data_help.h"

static void refused(const char *name, const char *text, const char *where, const char *what) {
    ws_pairs *p = NULL;
    ws_err err = {0};
    assert_int_equal(ws_pairs_load(&p, file_with(name, text), &err), WS_EFORMAT);
    assert_null(p);
    says(&err, where), says(&err, what);
}

#define U(q) "{\"role\":\"user\",\"content\":\"" q "\"}"
#define A(a) "{\"role\":\"assistant\",\"content\":\"" a "\"}"
#define S(s) "{\"role\":\"system\",\"content\":\"" s "\"}"

static void conversations_are_read_as_plain_rows(void **state) {
    (void)state;
    static const char text[] =
        "{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\"}\n"
        "{\"prompt\":[" U("q") "],\"chosen\":[" A("a") "],\"rejected\":[" A(
            "b") "]}\n"
                 "{\"prompt\":\"q\",\"chosen\":[" U("q") "," A("a") "],\"rejected\":[" U("q") "," A(
                     "b") "],\"score_chosen\":4.5}\n"
                          "{\"chosen\":[" U("q") "," A("a") "],\"rejected\":[" U("q") "," A(
                              "b") "]}\n"
                                   "{\"prompt\":[" S("s") "," U("q") "],\"pos\":\"a\",\"neg\":["
                                                                     "" A("b") "]}\n";
    ws_pairs *p = NULL;
    ws_err err = {0};
    if (ws_pairs_load(&p, file_with("c.jsonl", text), &err)) fail_msg("%s", err.msg);
    assert_int_equal(p->n, 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(p->row[i].prompt, "q");
        assert_string_equal(p->row[i].pos, "a");
        assert_string_equal(p->row[i].neg, "b");
        assert_int_equal(p->row[i].line, i + 1);
    }
    assert_null(p->row[3].sys_pos);
    assert_string_equal(p->row[4].sys_pos, "s");
    assert_string_equal(p->row[4].sys_neg, "s");
    ws_pairs_free(p);
}

static void other_conversations_are_refused(void **state) {
    (void)state;
    refused("a.jsonl", "\n{\"messages\":[" U("q") "," A("a") "]}", "a.jsonl:2", "'messages' is one answer");
    refused("a.jsonl", "{\"prompt\":\"q\",\"completion\":\"a\"}", "a.jsonl:1", "'completion' is one answer");
    refused("a.jsonl", "{\"text\":\"a\"}", "a.jsonl:1", "'text' is one answer");
    refused("a.jsonl", "{\"prompt\":[" U("q") "," A("x") "," U("r") "],\"pos\":\"a\",\"neg\":\"b\"}", "a.jsonl:1",
            "one user message");
    refused("a.jsonl", "{\"prompt\":[],\"pos\":\"a\",\"neg\":\"b\"}", "a.jsonl:1", "one user message");
    refused("a.jsonl", "{\"chosen\":[" U("q") "," A("a") "],\"rejected\":[" U("r") "," A("b") "]}", "a.jsonl:1",
            "different prompts");
    refused("a.jsonl", "{\"prompt\":\"p\",\"chosen\":[" U("q") "," A("a") "],\"rejected\":\"b\"}", "a.jsonl:1",
            "another prompt");
    refused("a.jsonl", "{\"prompt\":\"q\",\"chosen\":[" U("q") "],\"rejected\":\"b\"}", "a.jsonl:1",
            "must end with the assistant's");
    refused("a.jsonl", "{\"chosen\":[" A("a") "],\"rejected\":[" A("b") "]}", "a.jsonl:1", "no 'prompt'");
    refused("a.jsonl", "{\"prompt\":[{\"role\":\"user\",\"content\":[]}],\"pos\":\"a\",\"neg\":\"b\"}", "a.jsonl:1",
            "message 1 of 'prompt'");
    refused("a.jsonl", "{\"prompt\":[7],\"pos\":\"a\",\"neg\":\"b\"}", "a.jsonl:1", "message 1 of 'prompt'");
    refused("a.jsonl", "{\"prompt\":[" U("q") "],\"pos\":7,\"neg\":\"b\"}", "a.jsonl:1", "'pos' must be text");
    refused("a.jsonl", "{\"prompt\":[" S("s") "," U("q") "],\"pos\":\"a\",\"neg\":\"b\",\"sys_prompt_pos\":\"t\"}",
            "a.jsonl:1", "which one counts");
}

static void tables_are_read_as_plain_rows(void **state) {
    (void)state;
    ws_pairs *p = NULL;
    ws_err err = {0};
    if (ws_pairs_load(&p,
                      file_with("t.CSV", "\xef\xbb\xbfnote,chosen,prompt,rejected,topic_idx\r\n"
                                         ",a,q,\"b, \"\"c\"\"\nd\",3\r\n"
                                         "x,e,r,f,\r\n"),
                      &err))
        fail_msg("%s", err.msg);
    assert_int_equal(p->n, 2);
    assert_string_equal(p->row[0].neg, "b, \"c\"\nd");
    assert_int_equal(p->row[0].topic, 3);
    assert_int_equal(p->row[0].line, 2);
    assert_string_equal(p->row[1].pos, "e");
    assert_int_equal(p->row[1].topic, -1);
    assert_int_equal(p->row[1].line, 4); /* the record before it has two lines */
    ws_pairs_free(p);
    refused("t.csv", "", "t.csv:1", "header");
    refused("t.csv", "prompt,pos,neg\n", "t.csv", "no rows");
    refused("t.csv", "prompt,pos,neg\nq,a,b\nq,a,\n", "t.csv:3", "no negative answer");
    refused("t.csv", "prompt,pos\nq,a\n", "t.csv:2", "no negative answer");
    refused("t.csv", "prompt,pos,neg\nq,a\n", "t.csv:2", "has 2 fields");
    refused("t.csv", "prompt,pos,neg\nq,\"a,b\n", "t.csv:2", "never closed");
    refused("t.csv", "prompt,pos,neg\nq,a,\xff\n", "t.csv:2", "not UTF-8");
    refused("t.csv", "prompt,pos,neg,topic_idx\nq,a,b,many\n", "t.csv:2", "not a whole number");
    refused("t.csv", "prompt,pos,neg,closed_pos\nq,a,b,1\n", "t.csv:2", "not true or false");
    assert_int_equal(ws_pairs_load(&p, folder, &err), WS_EFORMAT);
    says(&err, "is a folder");
}

/* n rows, two to a prompt; row `odd` gets the answers `pos` and `neg`. */
static const char *rows(int n, int odd, const char *pos, const char *neg) {
    ws_str s = {0};
    for (int i = 0; i < n; i++) {
        char *a = ws_sprintf("yes %d", i), *b = ws_sprintf("no %d", i);
        ws_str_addf(&s, "{\"prompt\":\"q%d\",\"pos\":\"%s\",\"neg\":\"%s\"}\n", i / 2, i == odd ? pos : a,
                    i == odd ? neg : b);
        free(a), free(b);
    }
    const char *path = file_with("own.jsonl", s.p);
    ws_str_free(&s);
    return path;
}

static void what_teaches_nothing_is_refused(void **state) {
    (void)state;
    ws_pairs *l, *h;
    ws_err err = {0};
    assert_int_equal(ws_own_pairs_load(&l, &h, rows(7, -1, "", ""), -1, 0, &err), WS_EFORMAT);
    says(&err, "own.jsonl has 7 pairs; at least 8");
    assert_int_equal(ws_own_pairs_load(&l, &h, rows(10, 4, "same", "same"), -1, 0, &err), WS_EFORMAT);
    says(&err, "own.jsonl:5: both answers are the same, here and in 1 of 10");
    assert_int_equal(ws_own_pairs_load(&l, &h, rows(10, 6, " \\n ", "x"), -1, 0, &err), WS_EFORMAT);
    says(&err, "own.jsonl:7: the positive answer");
    assert_int_equal(ws_own_pairs_load(&l, &h, rows(10, 9, "x", "\\t"), -1, 0, &err), WS_EFORMAT);
    says(&err, "own.jsonl:10: the negative answer");
    assert_int_equal(ws_own_pairs_load(&l, &h, rows(10, 9, "x", ""), -1, 0, &err), WS_EFORMAT);
    says(&err, "own.jsonl:10: 'neg' is empty");
    ws_str s = {0};
    for (int i = 0; i < 8; i++) ws_str_addf(&s, "{\"prompt\":\"q\",\"pos\":\"a%d\",\"neg\":\"b%d\"}\n", i, i);
    assert_int_equal(ws_own_pairs_load(&l, &h, file_with("one.jsonl", s.p), -1, 0, &err), WS_EFORMAT);
    says(&err, "the same prompt");
    ws_str_free(&s);
    assert_null(l);
    assert_null(h);
}

static void what_is_set_aside_shares_no_prompt(void **state) {
    (void)state;
    static const struct {
        int n, held, want; /* rows come two to a prompt, so odd wishes are rounded up */
    } c[] = {{40, -1, 4}, {50, -1, 6}, {41, 7, 8}, {40, 0, 0}, {10, 1000, 8}, {1000, -1, 36}};
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        ws_pairs *l, *h, *l2, *h2;
        ws_err err = {0};
        const char *path = rows(c[k].n, -1, "", "");
        if (ws_own_pairs_load(&l, &h, path, c[k].held, 5, &err)) fail_msg("%s", err.msg);
        int held = h ? h->n : 0;
        if (c[k].n % 2 == 0) assert_int_equal(held, c[k].want);
        assert_true(held >= (c[k].held < 0 ? 1 : c[k].held < 10 ? c[k].held : 8));
        assert_int_equal(l->n + held, c[k].n);
        assert_true((h != NULL) == (c[k].held != 0));
        for (int i = 0; i < held; i++)
            for (int j = 0; j < l->n; j++) assert_string_not_equal(h->row[i].prompt, l->row[j].prompt);
        for (int j = 1; j < l->n; j++) assert_true(l->row[j].line > l->row[j - 1].line);
        assert_int_equal(l->row[0].topic, (l->row[0].line - 1) / 2);
        assert_int_equal(ws_own_pairs_load(&l2, &h2, path, c[k].held, 6, &err), WS_OK);
        if (c[k].n == 1000) { /* another seed sets others aside */
            int same = 0;
            for (int i = 0; i < held; i++) same += h2->row[i].line == h->row[i].line;
            assert_true(same < held);
        }
        ws_pairs_free(l), ws_pairs_free(h), ws_pairs_free(l2), ws_pairs_free(h2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_are_read_as_plain_rows), cmocka_unit_test(other_conversations_are_refused),
        cmocka_unit_test(tables_are_read_as_plain_rows),        cmocka_unit_test(what_teaches_nothing_is_refused),
        cmocka_unit_test(what_is_set_aside_shares_no_prompt),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
