/* Pairs: all accepted forms, errors with file and line, the checks that must fail, and the report before training. */
#include "data/quality.h"
#include "data_help.h"
#include <math.h>

static ws_pairs *load(const char *text) {
    ws_pairs *p = NULL;
    ws_err err = {0};
    if (ws_pairs_load(&p, file_with("p.jsonl", text), &err)) fail_msg("%s", err.msg);
    return p;
}

static void all_forms_are_read(void **state) {
    (void)state;
    ws_pairs *p =
        load("\xef\xbb\xbf{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\"}\r\n"
             "\n"
             "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"mine\":7}\n"
             "{\"prompt\":\"q\",\"response_pos\":\"a\",\"response_neg\":\"b\",\"sys_prompt_pos\":\"P\",\"sys_prompt_"
             "neg\":\"N\","
             "\"topic_idx\":1,\"persona_idx\":2,\"sample_idx\":3,\"behavior\":\"x\",\"finish_reason_pos\":\"length\","
             "\"finish_reason_neg\":\"stop\",\"n_tokens_pos\":10,\"n_tokens_neg\":11}");
    assert_int_equal(p->n, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(p->row[i].prompt, "q");
        assert_string_equal(p->row[i].pos, "a");
        assert_string_equal(p->row[i].neg, "b");
    }
    assert_int_equal(p->row[0].topic, -1);
    assert_int_equal(p->row[0].tokens_pos, -1);
    assert_null(p->row[0].sys_pos);
    const ws_pair *r = &p->row[2];
    assert_string_equal(r->sys_neg, "N");
    assert_int_equal(r->topic * 100 + r->persona * 10 + r->sample, 123);
    assert_int_equal(r->cut_pos, 1);
    assert_int_equal(r->cut_neg, 0);
    assert_int_equal(r->tokens_neg, 11);
    json_t *o = ws_pair_json(r); /* written and read again: the same */
    ws_pair q;
    ws_err err = {0};
    assert_int_equal(ws_pair_parse(&q, o, "x", &err), WS_OK);
    assert_string_equal(q.pos, r->pos);
    assert_string_equal(q.behavior, "x");
    assert_int_equal(q.cut_pos, 1);
    assert_int_equal(q.sample, 3);
    ws_pair_release(&q);
    json_decref(o);
    char hash[65];
    memcpy(hash, p->hash, 65);
    ws_pairs_free(p);
    p = load("[{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\"},{\"prompt\":\"r\",\"pos\":\"a\",\"neg\":\"b\"}]");
    assert_int_equal(p->n, 2);
    assert_string_not_equal(p->hash, hash);
    ws_pairs_free(p);
}

/* Responses with a think block: the parts follow from the response, `closed` says what the text cannot. */
static void think_blocks_are_taken_apart(void **state) {
    (void)state;
    ws_pairs *p = load("{\"prompt\":\"q\",\"response_pos\":\"R\\n</think>\\n\\nYo\",\"response_neg\":\"on and "
                       "on\",\"closed_neg\":false,\"answer_pos\":\"Yo\"}\n"
                       "{\"prompt\":\"q\",\"pos\":\"Yo\",\"neg\":\"No\",\"closed_pos\":true}\n");
    const ws_pair *r = &p->row[0];
    assert_string_equal(r->reasoning[0], "R");
    assert_string_equal(ws_pair_answer(r, 0), "Yo");
    assert_string_equal(r->reasoning[1], "on and on");
    assert_string_equal(ws_pair_answer(r, 1), "");
    assert_true(r->closed[0] == 1 && r->closed[1] == 0);
    json_t *o = ws_pair_json(r); /* written and read again: the same */
    ws_pair q;
    ws_err err = {0};
    assert_true(json_is_false(json_object_get(o, "closed_neg")) && json_is_true(json_object_get(o, "closed_pos")));
    assert_string_equal(json_string_value(json_object_get(o, "reasoning_pos")), "R");
    assert_int_equal(ws_pair_parse(&q, o, "x", &err), WS_OK);
    assert_string_equal(ws_pair_answer(&q, 0), "Yo");
    assert_int_equal(q.closed[1], 0);
    ws_pair_release(&q);
    json_decref(o);
    r = &p->row[1];
    assert_true(r->closed[0] == 1 && !*r->reasoning[0] && !r->answer[1] && r->closed[1] == -1);
    assert_string_equal(ws_pair_answer(r, 1), "No");
    ws_pairs_free(p);
}

static void refused(const char *text, const char *what) {
    ws_pairs *p = NULL;
    ws_err err = {0};
    assert_int_not_equal(ws_pairs_load(&p, file_with("bad.jsonl", text), &err), WS_OK);
    assert_null(p);
    says(&err, what);
}

static void mistakes_name_file_and_line(void **state) {
    (void)state;
#define GOOD "{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\"}\n"
    refused("", "no rows");
    refused("\n\n", "no rows");
    refused(GOOD "{\"prompt\":\"q\",\"pos\":\"a\"", "bad.jsonl:2");
    refused(GOOD "\n7\n", "bad.jsonl:3: a row must be a JSON object");
    refused(GOOD "{\"prompt\":\"q\",\"pos\":\"a\"}\n", "bad.jsonl:2: no negative answer");
    refused("{\"pos\":\"a\",\"neg\":\"b\"}\n", "prompt");
    refused("{\"prompt\":\"\",\"pos\":\"a\",\"neg\":\"b\"}\n", "'prompt' is empty");
    refused("{\"prompt\":\"q\",\"pos\":\"\",\"neg\":\"b\"}\n", "'pos' is empty");
    refused("{\"prompt\":\"q\",\"pos\":3,\"neg\":\"b\"}\n", "pos");
    refused("{\"prompt\":\"q\",\"pos\":\"a\",\"chosen\":\"a\",\"neg\":\"b\"}\n", "which one counts");
    refused("{\"prompt\":\"q\",\"pos\":\"a\",\"rejected\":\"b\"}\n", "'pos' goes with 'neg'");
    refused("{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\",\"topic_idx\":-4}\n", "topic_idx");
    refused("{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\",\"finish_reason_pos\":\"tired\"}\n", "tired");
    refused("{\"prompt\":\"q\",\"pos\":\"a</think>b\",\"neg\":\"b\",\"closed_pos\":false}\n", "'closed_pos' is false");
    refused("{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"<think>b\",\"closed_neg\":true}\n", "'closed_neg' is true");
    refused("{\"prompt\":\"q\",\"pos\":\"a</think>b\",\"neg\":\"b\",\"answer_pos\":\"c\"}\n",
            "'answer_pos' is not that part");
    refused("{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\",\"closed_pos\":\"yes\"}\n", "closed_pos");
    refused("["
            "{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\"}, {\"prompt\":\"q\",\"pos\":\"a\"}]",
            "bad.jsonl, entry 2: no negative");
    ws_pairs *p = NULL;
    ws_err err = {0};
    assert_int_equal(ws_pairs_load(&p, in_folder("none.jsonl"), &err), WS_EIO);
}

static void fails(const char *text, const char *what) {
    ws_pairs *p = load(text);
    ws_err err = {0};
    assert_int_equal(ws_pairs_check(p, &err), WS_EFORMAT);
    says(&err, what);
    ws_pairs_free(p);
}

static void useless_pairs_fail_with_the_example(void **state) {
    (void)state;
    ws_pairs none = {.path = (char *)"none.jsonl"};
    ws_err err = {0};
    assert_int_equal(ws_pairs_check(&none, &err), WS_EFORMAT);
    says(&err, "no rows");
    fails(GOOD "{\"prompt\":\"why\",\"pos\":\" \\n\",\"neg\":\"b\"}\n",
          "an empty positive answer; row 2, prompt \"why\"");
    fails("{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"a\"}\n{\"prompt\":\"q\",\"pos\":\"b\",\"neg\":\"b\"}\n",
          "the same in every pair");
    fails("{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"b\"}\n{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"c\"}\n",
          "all positive answers are the same");
    fails("{\"prompt\":\"q\",\"pos\":\"a\",\"neg\":\"c\"}\n{\"prompt\":\"q\",\"pos\":\"b\",\"neg\":\"c\"}\n",
          "answer \"c\"");
    ws_pairs *p = load(GOOD);
    assert_int_equal(ws_pairs_check(p, &err), WS_OK);
    ws_pairs_free(p);
    p = load(GOOD GOOD "{\"prompt\":\"q\",\"pos\":\"c\",\"neg\":\"d\"}\n");
    assert_int_equal(ws_pairs_check(p, &err), WS_OK);
    ws_pairs_free(p);
}

/* ---------- report ---------- */

static void report_counts_by_hand(void **state) {
    (void)state;
    ws_pairs *p = load("{\"prompt\":\"Tell me of rain\",\"response_pos\":\"radiant rain is "
                       "fun\",\"response_neg\":\"dull\",\"sys_prompt_pos\":\"You are a radiant rain person\","
                       "\"sys_prompt_neg\":\"You are a gloomy "
                       "person\",\"topic_idx\":0,\"persona_idx\":0,\"finish_reason_pos\":\"length\",\"n_tokens_pos\":"
                       "10,\"n_tokens_neg\":4}\n"
                       "{\"prompt\":\"snow\",\"response_pos\":\"a gloomy "
                       "day\",\"response_neg\":\"dull\",\"sys_prompt_pos\":\"You are a radiant rain person\","
                       "\"sys_prompt_neg\":\"You are a gloomy "
                       "person\",\"topic_idx\":1,\"persona_idx\":0,\"n_tokens_pos\":20,\"n_tokens_neg\":6}\n");
    ws_pairs_quality q;
    ws_err err = {0};
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK);
    assert_int_equal(q.topics, 2);
    assert_int_equal(q.personas, 1);
    assert_int_equal(q.identical, 0);
    assert_close(q.side[0].cut, 0.5, 1e-12);
    assert_close(q.side[1].cut, 0, 1e-12);
    assert_close(q.side[0].tokens, 15, 1e-12);
    assert_close(q.side[1].words, 1, 1e-12);
    assert_int_equal(q.side[0].distinct, 2);
    assert_int_equal(q.side[1].distinct, 1);
    assert_close(q.side[0].leak, 0.5, 1e-12);       /* "radiant"; "rain" stands in the prompt, "person" on both sides */
    assert_close(q.side[0].leak_other, 0.5, 1e-12); /* "gloomy" */
    assert_close(q.side[1].leak, 0, 1e-12);
    assert_int_equal(q.n_leaked, 1);
    assert_string_equal(q.leaked[0], "radiant");
    assert_true(isnan(q.side[0].score));
    ws_str s = {0};
    ws_pairs_quality_print(&q, &s);
    assert_non_null(strstr(s.p, "POS answers are"));
    ws_str_free(&s);
    json_t *o = ws_pairs_quality_json(&q);
    assert_true(json_is_null(json_object_get(json_object_get(o, "pos"), "score")));
    assert_close(json_real_value(json_object_get(json_object_get(o, "pos"), "mean_tokens")), 15, 1e-12);
    json_decref(o);
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
}

/* Counters, words, personas and the classifier look at answers; what was never answered is counted, not judged. */
static void the_report_is_on_answers(void **state) {
    (void)state;
    ws_pairs *p = load(
        "{\"prompt\":\"t1\",\"pos\":\"sad sad sad</think>glad day\",\"neg\":\"glad</think>sad\",\"sys_prompt_pos\":"
        "\"Be radiant\",\"sys_prompt_neg\":\"Be gloomy\"}\n"
        "{\"prompt\":\"t2\",\"pos\":\"radiant thoughts</think>glad\",\"neg\":\"gloomy glad\",\"closed_neg\":false,"
        "\"sys_prompt_pos\":\"Be radiant\",\"sys_prompt_neg\":\"Be gloomy\"}\n"
        "{\"prompt\":\"t3\",\"pos\":\"x</think>glad again\",\"neg\":\"y</think>so sad\",\"sys_prompt_pos\":\"Be "
        "radiant\",\"sys_prompt_neg\":\"Be gloomy\"}\n");
    ws_pairs_quality q;
    ws_err err = {0};
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK);
    assert_int_equal(q.side[0].answers, 3);
    assert_int_equal(q.side[1].answers, 2);
    assert_close(q.side[0].closed, 1, 1e-12);
    assert_close(q.side[1].closed, 2.0 / 3, 1e-12);
    assert_close(q.side[0].words, 5.0 / 3, 1e-12);
    assert_close(q.side[1].words, 1.5, 1e-12);
    assert_close(q.side[0].thought, 2, 1e-12); /* sad sad sad; radiant thoughts; x */
    assert_close(q.side[0].leak, 0, 1e-12);    /* the persona's word stands in a thought */
    assert_close(q.side[1].leak, 0, 1e-12);
    assert_close(q.accuracy, 1, 1e-12); /* of the five answers; the thoughts would say the opposite */
    ws_str s = {0};
    ws_pairs_quality_print(&q, &s);
    assert_non_null(strstr(s.p, "the answers alone"));
    assert_non_null(strstr(s.p, "think blocks were cut before they were closed"));
    ws_str_free(&s);
    json_t *o = ws_pairs_quality_json(&q);
    assert_close(json_real_value(json_object_get(json_object_get(o, "neg"), "closed_share")), 2.0 / 3, 1e-12);
    json_decref(o);
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
    p = load("{\"prompt\":\"t1\",\"pos\":\"a\",\"neg\":\"b</think>c d\",\"closed_pos\":false}\n"
             "{\"prompt\":\"t2\",\"pos\":\"b\",\"neg\":\"c</think>d\",\"closed_pos\":false}\n");
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK); /* one side without any answer */
    assert_true(isnan(q.accuracy) && isnan(q.side[0].words));
    ws_pairs_quality_print(&q, &s);
    assert_non_null(strstr(s.p, "no answer on one side"));
    assert_null(strstr(s.p, "longer"));
    ws_str_free(&s);
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
}

/* Words that go with the side carry over to unseen topics: 100 %.  Words that go with the topic do not: the classifier
 * cannot profit from having seen the other side of the same topic, because whole topics are left out. */
static void classifier_leaves_topics_out(void **state) {
    (void)state;
    ws_str s = {0}, t = {0};
    for (int topic = 0; topic < 10; topic++)
        for (int k = 0; k < 4; k++) {
            ws_str_addf(&s, "{\"prompt\":\"t%d\",\"pos\":\"thing%c glad %c\",\"neg\":\"thing%c sad %c\"}\n", topic,
                        'a' + topic, 'a' + k, 'a' + topic, 'a' + k);
            /* within a topic "zig<topic>" marks POS and "zag<topic>" NEG: useless on other topics */
            ws_str_addf(&t, "{\"prompt\":\"t%d\",\"pos\":\"zig%c %c\",\"neg\":\"zag%c %c\"}\n", topic, 'a' + topic,
                        'a' + k, 'a' + topic, 'a' + k);
        }
    ws_pairs *p = load(s.p);
    ws_pairs_quality q;
    ws_err err = {0};
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK);
    assert_int_equal(q.folds, 5);
    assert_close(q.accuracy, 1, 1e-12);
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
    p = load(t.p);
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK);
    assert_close(q.accuracy, 0.5, 1e-12);
    assert_true(isnan(q.side[0].leak));
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
    ws_str_free(&s);
    ws_str_free(&t);
    p = load(GOOD "{\"prompt\":\"q\",\"pos\":\"c\",\"neg\":\"d\"}\n");
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK);
    assert_true(isnan(q.accuracy)); /* one topic alone */
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
}

/* Naive Bayes on a case small enough for paper.  Two topics, two folds.  Trained on topic 1 (POS "x x y", NEG "y z"):
 * three words; P(x|POS) = 3/6, P(y|POS) = 2/6, P(z|POS) = 1/6; P(x|NEG) = 1/5, P(y|NEG) = 2/5, P(z|NEG) = 2/5.
 * Topic 0: POS "y" -> 2/6 < 2/5, wrong.  NEG "x z z" -> 1/2 1/36 = 0.0139 < 1/5 4/25 = 0.032, right.
 * Trained on topic 0 (POS "y", NEG "x z z"): P(y|POS) = 2/4, P(x|POS) = P(z|POS) = 1/4; P(y|NEG) = 1/6, P(x|NEG) = 2/6,
 * P(z|NEG) = 3/6.  Topic 1: POS "x x y" -> 1/32 = 0.031 > 1/54, right.  NEG "y z" -> 1/8 > 1/12, wrong.  Two of four. */
static void classifier_by_hand(void **state) {
    (void)state;
    ws_pairs *p = load(
        "{\"prompt\":\"0\",\"pos\":\"y\",\"neg\":\"x z z\"}\n{\"prompt\":\"1\",\"pos\":\"x x y\",\"neg\":\"y z\"}\n");
    ws_pairs_quality q;
    ws_err err = {0};
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK);
    assert_int_equal(q.folds, 2);
    assert_close(q.accuracy, 0.5, 1e-12);
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
    p = load(
        "{\"prompt\":\"0\",\"pos\":\"x\",\"neg\":\"x z z\"}\n{\"prompt\":\"1\",\"pos\":\"x x y\",\"neg\":\"y z\"}\n");
    assert_int_equal(ws_pairs_quality_of(&q, p, NULL, &err), WS_OK);
    /* topic 0: POS "x" 1/2 > 1/5 right, NEG right; trained on POS "x", NEG "x z z" (types x z; y unseen):
     * P(x|POS) = 2/3, P(z|POS) = 1/3, P(x|NEG) = 2/5, P(z|NEG) = 3/5: POS "x x y" right, NEG "y z" right */
    assert_close(q.accuracy, 1, 1e-12);
    ws_pairs_quality_free(&q);
    ws_pairs_free(p);
}

/* The coin is a function of (seed, row): about half change places, whole sides do, and twice is back. */
static void sides_change_places_by_a_coin(void **state) {
    (void)state;
    ws_str text = {0};
    for (int i = 0; i < 400; i++)
        ws_str_addf(
            &text,
            "{\"prompt\":\"q%d\",\"pos\":\"a%d\",\"neg\":\"b%d\",\"sys_prompt_pos\":\"P\",\"sys_prompt_neg\":\"N\","
            "\"finish_reason_pos\":\"length\",\"finish_reason_neg\":\"stop\",\"n_tokens_pos\":10,\"n_tokens_neg\":11}"
            "\n",
            i, i, i);
    ws_pairs *p = load(text.p), *other = load(text.p);
    char want[16];
    int turned = 0, same = 0;
    ws_pairs_mix(p, 5), ws_pairs_mix(other, 6);
    for (int i = 0; i < 400; i++) {
        const ws_pair *r = &p->row[i];
        int t = r->pos[0] == 'b';
        snprintf(want, sizeof want, "%c%d", t ? 'b' : 'a', i);
        assert_string_equal(r->pos, want);
        snprintf(want, sizeof want, "%c%d", t ? 'a' : 'b', i);
        assert_string_equal(r->neg, want);
        assert_string_equal(r->sys_pos, t ? "N" : "P");
        assert_true(r->tokens_pos == (t ? 11 : 10) && r->tokens_neg == (t ? 10 : 11));
        assert_true(r->cut_pos == !t && r->cut_neg == t);
        turned += t, same += t == (other->row[i].pos[0] == 'b');
    }
    assert_true(turned > 150 && turned < 250); /* five standard deviations */
    assert_true(same > 150 && same < 250);     /* another seed is another coin */
    ws_pairs_mix(p, 5);
    for (int i = 0; i < 400; i++) assert_int_equal(p->row[i].pos[0], 'a');
    ws_pairs_free(p), ws_pairs_free(other);
    ws_str_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms_are_read),
        cmocka_unit_test(think_blocks_are_taken_apart),
        cmocka_unit_test(mistakes_name_file_and_line),
        cmocka_unit_test(useless_pairs_fail_with_the_example),
        cmocka_unit_test(report_counts_by_hand),
        cmocka_unit_test(the_report_is_on_answers),
        cmocka_unit_test(classifier_leaves_topics_out),
        cmocka_unit_test(classifier_by_hand),
        cmocka_unit_test(sides_change_places_by_a_coin),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
