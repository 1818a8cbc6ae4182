/* Behaviour files: everything that is written is used or refused by name; counters count whole words. */
#include "data/behavior.h"
#include "data_help.h"

#define HEAD     "{\"format\":\"ws-behavior\",\"version\":1,\"name\":\"x\","
#define PERSONAS "\"personas\":[{\"pos\":\"p\",\"neg\":\"n\"}],"
#define TOPICS   "\"topics\":[\"a\",\"b\"]"

static void refused(const char *text, const char *what) {
    ws_behavior *b = NULL;
    ws_err err = {0};
    assert_int_not_equal(ws_behavior_load(&b, file_with("bad.json", text), &err), WS_OK);
    assert_null(b);
    says(&err, "bad.json");
    says(&err, what);
}

static void mistakes_are_named(void **state) {
    (void)state;
    refused("[]", "one JSON object");
    refused("{}", "format");
    refused("{\"format\":\"ws-pairs\",\"version\":1}", "ws-pairs");
    refused("{\"format\":\"ws-behavior\",\"version\":2,\"name\":\"x\"}", "version 2");
    refused(HEAD PERSONAS TOPICS ",\"topcs\":[]}", "unknown key 'topcs'");
    refused("{\"format\":\"ws-behavior\",\"version\":1,\"name\":\"a/b\"," PERSONAS TOPICS "}", "a/b");
    refused(HEAD TOPICS "}", "personas");
    refused(HEAD "\"personas\":[]," TOPICS "}", "at least one");
    refused(HEAD "\"personas\":[{\"pos\":\"p\"}]," TOPICS "}", "neg");
    refused(HEAD "\"personas\":[{\"pos\":\"p\",\"neg\":\"p\"}]," TOPICS "}", "same persona");
    refused(HEAD "\"personas\":[{\"pos\":\"p\",\"neg\":\" \"}]," TOPICS "}", "empty persona");
    refused(HEAD "\"personas\":[{\"pos\":\"p\",\"neg\":\"n\",\"neu\":\"m\"}]," TOPICS "}", "unknown key 'neu'");
    refused(HEAD "\"personas\":{\"pos\":[\"p\",\"q\"],\"neg\":[\"n\"]}," TOPICS "}", "2 pos and 1 neg");
    refused(HEAD "\"system_template\":\"You are.\"," PERSONAS TOPICS "}", "{persona}");
    refused(HEAD "\"system_template\":\"You are {persona} in {place}.\"," PERSONAS TOPICS "}", "{place}");
    refused(HEAD PERSONAS "\"topics\":[]}", "'topics' is empty");
    refused(HEAD PERSONAS "\"topics\":[3]}", "topics[0]");
    refused(HEAD PERSONAS "\"topics\":[\"a\",\"a\"]}", "twice");
    refused(HEAD PERSONAS TOPICS ",\"heldout_topics\":[\"b\"]}", "trained on");
    refused(HEAD PERSONAS "\"topic_template\":\"{claim}?\",\"topics\":[\"a\"]}", "{claim}");
    refused(HEAD PERSONAS "\"topic_template\":\"{claim}?\",\"topics\":[{\"claim\":\"a\",\"question\":\"b\"}]}",
            "question");
    refused(HEAD PERSONAS TOPICS ",\"targets\":{\"Authority\":2}}", "Authority");
    refused(HEAD PERSONAS TOPICS ",\"counters\":[{\"name\":\"c\"}]}", "counters[0]");
    refused(HEAD PERSONAS TOPICS ",\"counters\":[{\"name\":\"c\",\"words\":[\"a\"],\"regex\":\"b\"}]}", "either");
    refused(HEAD PERSONAS TOPICS ",\"counters\":[{\"name\":\"c\",\"words\":[]}]}", "words");
    refused(HEAD PERSONAS TOPICS ",\"counters\":[{\"name\":\"c\",\"regex\":\"(\"}]}", "counters[0]");
    refused(HEAD PERSONAS TOPICS ",\"counters\":[{\"name\":\"c\",\"weight\":0,\"words\":[\"a\"]}]}", "weight");
    refused(HEAD PERSONAS TOPICS ",\"engineered\":{\"pos\":\"a\"}}", "neg");
    ws_behavior *b = NULL;
    ws_err err = {0};
    assert_int_not_equal(ws_behavior_load(&b, "no_such_behavior", &err), WS_OK);
    says(&err, "no behaviour 'no_such_behavior'");
}

static void parts_are_put_together(void **state) {
    (void)state;
    ws_behavior *b = NULL;
    ws_err err = {0};
    const char *path =
        file_with("good.json", HEAD "\"title\":\"T\",\"axis\":\"n - p\",\"system_template\":\"You are {persona}.\","
                                    "\"personas\":{\"pos\":[\"glad\",\"up\"],\"neg\":[\"sad\",\"down\"]},"
                                    "\"topic_template\":\"I think {claim}. {question}\","
                                    "\"topics\":[{\"claim\":\"so\",\"question\":\"Right?\"}],"
                                    "\"heldout_topics\":[{\"claim\":\"no\",\"question\":\"Why?\"}],"
                                    "\"targets\":{\"Authority\":-1,\"Care\":1},"
                                    "\"engineered\":{\"pos\":\"P\",\"neg\":\"N\"}}");
    if (ws_behavior_load(&b, path, &err)) fail_msg("%s", err.msg);
    assert_int_equal(b->n_personas, 2);
    assert_string_equal(b->system_pos[0], "You are glad.");
    assert_string_equal(b->system_neg[1], "You are down.");
    assert_string_equal(b->persona_neg[1], "down");
    assert_string_equal(b->topic[0], "I think so. Right?");
    assert_string_equal(b->heldout[0], "I think no. Why?");
    assert_int_equal(b->n_targets, 2);
    assert_string_equal(b->target[0], "Authority");
    assert_int_equal(b->target_sign[0], -1);
    assert_int_equal(b->target_sign[1], 1);
    assert_string_equal(b->engineered_neg, "N");
    assert_int_equal(strlen(b->hash), 64);
    ws_behavior_free(b);
}

static double score(const ws_behavior *b, const char *text) {
    double s;
    ws_err err = {0};
    if (ws_behavior_score(b, text, strlen(text), &s, &err)) fail_msg("%s", err.msg);
    return s;
}

static void counters_count_whole_words(void **state) {
    (void)state;
    ws_behavior *b = NULL;
    ws_err err = {0};
    const char *path =
        file_with("count.json", HEAD PERSONAS TOPICS ",\"counters\":[{\"name\":\"up\",\"weight\":1,\"words\":[\"joy\","
                                                     "\"can't wait\",\"d\xc3\xa9j\xc3\xa0\",\"!!\",\"a.b\"]},"
                                                     "{\"name\":\"down\",\"weight\":-0.5,\"regex\":\"gr(ie|ea)f\"}]}");
    if (ws_behavior_load(&b, path, &err)) fail_msg("%s", err.msg);
    assert_close(score(b, ""), 0, 0);
    assert_close(score(b, "Joy, JOY; joy's joyful enjoy"), 3, 0);
    assert_close(score(b, "I can't  wait, can\xe2\x80\x99t wait. I can't waiter"), 2, 0);
    assert_close(score(b, "D\xc3\x89J\xc3\x80 vu"), 1, 0);
    assert_close(score(b, "yes!!!! axb a.b"), 3, 0);
    assert_close(score(b, "Grief, griefs, greaf, joy"), -0.5, 0);
    ws_behavior_free(b);
}

static void shipped_behaviors_load(void **state) {
    (void)state;
    const char *const names[] = {"authority", "enthusiasm", "sycophancy"};
    for (int i = 0; i < 3; i++) {
        ws_behavior *b = NULL;
        ws_err err = {0};
        if (ws_behavior_load(&b, names[i], &err)) fail_msg("%s", err.msg);
        assert_string_equal(b->name, names[i]);
        assert_true(b->n_personas >= 8);
        assert_true(b->n_topics + b->n_heldout >= 40);
        assert_true(b->n_heldout >= 8);
        assert_true(b->n_counters >= 1);
        ws_behavior_free(b);
    }
}

static void keys_with_slashes_are_comments(void **state) {
    (void)state;
    ws_behavior *b = NULL;
    ws_err err = {0};
    const char *text =
        "{\"//\":1,\"format\":\"ws-behavior\",\"version\":1,\"// "
        "name\":[\"x\"],\"name\":\"c\",\"personas\":[{\"pos\":\"a\","
        "\"neg\":\"b\",\"// why\":\"because\"}],\"topic_template\":\"{x}?\",\"topics\":[{\"x\":\"q\",\"//\":\"odd\"}],"
        "\"targets\":{\"//\":\"none\",\"Care\":1},\"counters\":[{\"//\":\"y\",\"name\":\"n\",\"words\":[\"w\"]}]}";
    if (ws_behavior_load(&b, file_with("c.json", text), &err)) fail_msg("%s", err.msg);
    assert_int_equal(b->n_targets, 1);
    assert_string_equal(b->target[0], "Care");
    assert_string_equal(b->topic[0], "q?");
    ws_behavior_free(b);
    refused("{\"/ name\":1,\"format\":\"ws-behavior\",\"version\":1}", "unknown key '/ name'");
    assert_int_equal(ws_behavior_check_name("good-name_1.x", &err), WS_OK);
    static const char *const bad[] = {"", ".x", "a b", "a/b", "../x", "\xc3\xa9"};
    for (int i = 0; i < 6; i++) assert_int_equal(ws_behavior_check_name(bad[i], &err), WS_EUSAGE);
}

static void data_folder_is_searched_in_order(void **state) {
    (void)state;
    ws_err err = {0};
    char *p = ws_data_path("behaviors/enthusiasm.json", &err);
    assert_non_null(p);
    assert_string_equal(p, "data/behaviors/enthusiasm.json");
    free(p);
    file_with("behaviors/enthusiasm.json", "{}");
    setenv("WS_DATA_DIR", folder, 1);
    p = ws_data_path("behaviors/enthusiasm.json", &err);
    assert_non_null(p);
    assert_true(!strncmp(p, folder, strlen(folder)));
    free(p);
    p = ws_data_path("behaviors/authority.json", &err); /* not there: the next place */
    assert_non_null(p);
    free(p);
    assert_null(ws_data_path("no/such/file", &err));
    says(&err, folder);
    unsetenv("WS_DATA_DIR");
    char *here = getcwd(NULL, 0);
    assert_int_equal(chdir("/"), 0); /* from anywhere: relative to the program */
    p = ws_data_path("behaviors/authority.json", &err);
    assert_int_equal(chdir(here), 0);
    assert_non_null(p);
    free(p);
    free(here);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(parts_are_put_together),
        cmocka_unit_test(counters_count_whole_words),
        cmocka_unit_test(shipped_behaviors_load),
        cmocka_unit_test(keys_with_slashes_are_comments),
        cmocka_unit_test(data_folder_is_searched_in_order),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
