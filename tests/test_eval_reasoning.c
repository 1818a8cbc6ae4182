/* Readouts where responses begin with reasoning: the margin against transformers on a tiny model whose template opens a think
 * block (tools/reference/make_think.py); the dose counts the answer alone. */
#include "data_help.h"
#include "eval/eval.h"
#include "io/json.h"
#include "kernel/kernel.h"
#include "ws.h"

#define T "tests/fixtures/think"
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)

typedef struct world {
    ws_checkpoint *c;
    ws_tokenizer *tok;
    ws_model *m;
    ws_chat *chat;
    ws_method *method;
    ws_behavior *b;
} world;
static world w;

/* A counter of vowels: any text has some, and they are counted here by hand. */
static const char BEHAVIOR[] =
    "{\"format\":\"ws-behavior\",\"version\":1,\"name\":\"vowels\",\"system_template\":\"You are {persona}.\","
    "\"personas\":[{\"pos\":\"glad\",\"neg\":\"sad\"}],\"topics\":[\"Rain?\"],\"heldout_topics\":[\"Sea?\",\"Sky?\"],"
    "\"counters\":[{\"name\":\"vowels\",\"weight\":2,\"regex\":\"[aeiou]\"}]}";

static int open_all(void **state) {
    ws_err err = {0};
    if (make_folder(state)) return -1;
    OK(ws_kernels_init(&err));
    OK(ws_checkpoint_open(&w.c, T, &err));
    OK(ws_tokenizer_open(&w.tok, w.c, &err));
    OK(ws_model_open(&w.m, w.c, &err));
    OK(ws_chat_open(&w.chat, w.c, w.tok, NULL, &err));
    OK(ws_method_load(&w.method, w.m, T "/adapter", 1, &err));
    OK(ws_behavior_load(&w.b, file_with("vowels.json", BEHAVIOR), &err));
    return 0;
}
static int close_all(void **state) {
    ws_behavior_free(w.b);
    ws_method_free(w.method);
    ws_chat_free(w.chat);
    ws_model_free(w.m);
    ws_tokenizer_free(w.tok);
    ws_checkpoint_close(w.c);
    return remove_folder(state);
}

static const double alphas[2] = {1, -1};
static ws_eval_options options(const char *out, const char *readouts) {
    ws_eval_options o = ws_eval_defaults();
    o.out = in_folder(out), o.readouts = readouts, o.alpha = alphas, o.n_alpha = 2, o.bootstrap = 50;
    return o;
}

typedef struct margins {
    const json_t *settings;
    int lines;
} margins;

static double at(const json_t *a, int i, int k) {
    return json_number_value(json_array_get(json_array_get(a, (size_t)i), (size_t)k));
}

static ws_status margin_line(void *arg, json_t *v, long n, ws_err *err) {
    (void)err;
    margins *c = arg;
    if (n == 1) return WS_OK;
    int row = (int)json_integer_value(json_object_get(v, "row"));
    double alpha = json_number_value(json_object_get(v, "alpha"));
    size_t i;
    const json_t *s, *want = NULL;
    json_array_foreach(c->settings, i, s) if (json_number_value(json_object_get(s, "alpha")) == alpha) want =
        json_object_get(s, "margin");
    for (int k = 0; k < 2; k++) {
        double got = json_number_value(json_object_get(v, k ? "logp_neg" : "logp_pos")),
               tokens = at(want, 2 * row + k, 1);
        assert_int_equal(json_integer_value(json_object_get(v, k ? "n_neg" : "n_pos")), (int)tokens);
        /* fp32 on both sides: 1e-4 a token, as for the logits of whole models */
        assert_close(got, at(want, 2 * row + k, 0), 1e-4 * tokens);
    }
    c->lines++;
    return WS_OK;
}

static void whole_responses_are_scored_behind_their_prompt(void **state) {
    (void)state;
    ws_err err = {0};
    json_t *want;
    ws_str report = {0};
    ws_eval_options o = options("margin", "margin");
    o.pairs = T "/pairs.jsonl";
    OK(ws_json_load(&want, T "/expected.json", &err));
    OK(ws_eval_run(w.m, w.tok, w.chat, NULL, &w.method, 1, &o, &report, NULL, &err));
    assert_non_null(strstr(report.p, "4 of the rows have a think block"));
    margins c = {json_object_get(want, "settings"), 0};
    OK(ws_jsonl_each(in_folder("margin/margin_raw.jsonl"), margin_line, &c, &err));
    assert_int_equal(c.lines, 5 * 3);
    ws_str_free(&report);
    json_decref(want);
}

typedef struct texts {
    int n, closed, thinking;
    double score;
} texts;

static ws_status dose_line(void *arg, json_t *v, long n, ws_err *err) {
    (void)err;
    texts *t = arg;
    if (n == 1) return WS_OK;
    const char *text = json_string_value(json_object_get(v, "text")), *answer = text, *end = NULL;
    int open = t->thinking;
    for (const char *p = text; t->thinking && (p = strstr(p, "</think>")); p++) end = p;
    if (end) {
        for (answer = end + 8; *answer == '\n'; answer++) continue;
        open = 0;
    }
    const json_t *score = json_object_get(v, "score");
    if (t->thinking) {
        assert_int_equal(json_is_true(json_object_get(v, "closed")), !open);
        assert_string_equal(json_string_value(json_object_get(v, "answer")), open ? "" : answer);
        assert_non_null(json_object_get(v, "reasoning"));
    } else
        assert_null(json_object_get(v, "closed"));
    double vowels = 0;
    for (const char *p = answer; *p; p++) vowels += strchr("aeiouAEIOU", *p) != NULL; /* counters know no case */
    if (open)
        assert_true(json_is_null(score));
    else
        assert_close(json_number_value(score), 2 * vowels, 1e-12);
    t->n++, t->closed += !open;
    t->score += open ? 0 : 2 * vowels;
    return WS_OK;
}

static void doses(const char *out, int thinking, int first_time) {
    ws_err err = {0};
    ws_str report = {0};
    json_t *json = NULL;
    ws_eval_options o = options(out, "dose");
    OK(ws_eval_thinking(&o, w.chat, thinking, &err));
    assert_true(o.dose_tokens == (thinking ? WS_DOSE_THINK : WS_DOSE_ANSWER));
    assert_true(o.sampling.temperature == (thinking ? 0.6 : 0.7) && o.sampling.top_p == (thinking ? 0.95 : 0.8));
    o.sampling = (ws_sampling){.temperature = 1, .top_p = 1}, o.dose_tokens = 40, o.dose_samples = 8;
    char *csv = ws_path_join(o.out, "samples.jsonl");
    if (!first_time) { /* cut in the middle: it goes on to the same tables */
        ws_str s = {0};
        OK(ws_file_read(csv, &s, &err));
        assert_int_equal(truncate(csv, (off_t)(s.n / 2)), 0);
        ws_str_free(&s);
    }
    OK(ws_eval_run(w.m, w.tok, w.chat, w.b, &w.method, 1, &o, &report, &json, &err));
    texts t = {.thinking = thinking != 0};
    OK(ws_jsonl_each(csv, dose_line, &t, &err));
    assert_int_equal(t.n, 2 * 8 * 5);
    if (t.thinking) assert_true(t.closed > 20 && t.closed < t.n); /* both happen */
    assert_int_equal(strstr(report.p, "the score is of answers alone") != NULL, t.thinking);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "dose"), "scored")),
                        t.thinking ? "answer behind the reasoning" : "answer");
    free(csv);
    json_decref(json);
    ws_str_free(&report);
}

static void the_dose_counts_answers(void **state) {
    (void)state;
    ws_err err = {0};
    ws_str a = {0}, b = {0};
    doses("on", -1, 1);
    OK(ws_file_read(in_folder("on/dose.csv"), &a, &err));
    assert_non_null(strstr(a.p, ",n_scored,closed\n"));
    doses("on", 1, 0); /* asked for or by the template's default: the same prompts, so the same texts */
    OK(ws_file_read(in_folder("on/dose.csv"), &b, &err));
    assert_string_equal(a.p, b.p);
    doses("off", 0, 1);
    ws_str_free(&a), ws_str_free(&b);
}

/* The embedding programs' switch. */
static void the_api_switches_thinking(void **state) {
    (void)state;
    static const char *const end[3] = {"assistant\n<think>\n\n</think>\n\n", "assistant\n<think>\n",
                                       "assistant\n<think>\n"};
    ws_error e;
    char *text;
    for (int thinking = -1; thinking <= 1; thinking++) {
        const ws_engine_options o = {.thinking = thinking};
        ws_engine *engine = ws_engine_open(T, &o, &e);
        if (!engine || ws_engine_render(engine, NULL, "Why?", &text, &e)) fail_msg("%s", e.message);
        size_t n = strlen(end[thinking + 1]);
        assert_true(strlen(text) > n);
        assert_string_equal(text + strlen(text) - n, end[thinking + 1]);
        free(text);
        ws_engine_close(engine);
    }
    const ws_engine_options on = {.thinking = 1};
    ws_engine *engine = ws_engine_open("tests/fixtures/tiny-chat", &on, &e);
    assert_non_null(engine);
    assert_int_equal(ws_engine_render(engine, NULL, "Why?", &text, &e), -(int)WS_EUSAGE);
    assert_non_null(strstr(e.message, "no think block"));
    ws_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_responses_are_scored_behind_their_prompt),
        cmocka_unit_test(the_dose_counts_answers),
        cmocka_unit_test(the_api_switches_thinking),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
