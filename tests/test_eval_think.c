/* Guided thinking (mode B) on a whole tiny Qwen3 against transformers (tools/reference/make_modeb.py): prompts, the ids of
 * every thought, what closes it, and the answer's probability after the whole text was encoded again; base and steered; with
 * </think> as a token and spelled out.  Batches, threads and resumed files change no byte. */
#include "eval/eval.h"
#include "eval/think.h"
#include "eval/words.h"
#include "base/parallel.h"
#include "io/file.h"
#include "tiny.h"
#include <unistd.h>

#define T "tests/fixtures/thinkchat"
enum { BUDGET = 24, CELLS = 16 };
/* A Qwen3 under two tokenizers, and a Qwen3.5, whose running state cannot go back: an answer whose text was encoded
 * otherwise than the thought was spoken is read from its beginning there.
 * The tolerance of log-probabilities is what whole models must agree to in fp32 (models.md P6). */
static const struct subject {
    const char *dir, *kind;
    int tokenizer;
    double tolerance;
} subjects[] = {{T, "tags", 0, 1e-4}, {T, "spelled", 1, 1e-4}, {T "35", "tags", 0, 1e-3}};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

typedef struct world {
    ws_checkpoint *c;
    ws_tokenizer *tok[2]; /* with the tags as tokens; without */
    ws_model *m;
    ws_chat *chat;
    ws_method *method;
    json_t *want;
} world;

static void world_open_at(world *w, const char *dir) {
    ws_err err = {0};
    json_t *t, *config;
    memset(w, 0, sizeof *w);
    OK(ws_kernels_init(&err));
    OK(ws_checkpoint_open(&w->c, dir, &err));
    OK(ws_tokenizer_open(&w->tok[0], w->c, &err));
    OK(ws_json_load(&t, T "/spelled/tokenizer.json", &err));
    OK(ws_json_load(&config, T "/spelled/tokenizer_config.json", &err));
    OK(ws_tokenizer_from_json(&w->tok[1], t, config, "spelled", &err));
    json_decref(t), json_decref(config);
    OK(ws_model_open(&w->m, w->c, &err));
    OK(ws_chat_open(&w->chat, w->c, w->tok[0], NULL, &err));
    char *adapter = ws_path_join(dir, "adapter"), *want = ws_path_join(dir, "expected.json");
    OK(ws_method_load(&w->method, w->m, adapter, 1, &err));
    OK(ws_json_load(&w->want, want, &err));
    free(adapter), free(want);
    assert_int_equal(json_integer_value(json_object_get(w->want, "max_think")), BUDGET);
}
static void world_open(world *w) { world_open_at(w, T); }
static void world_close(world *w) {
    json_decref(w->want);
    ws_method_free(w->method);
    ws_chat_free(w->chat);
    ws_model_free(w->m);
    ws_tokenizer_free(w->tok[0]), ws_tokenizer_free(w->tok[1]);
    ws_checkpoint_close(w->c);
}

static const double alphas[2] = {1, -1};
static ws_eval_options options(const char *out) {
    ws_eval_options o = ws_eval_defaults();
    o.out = out, o.readouts = "vignettes", o.vignettes = T "/vignettes", o.max_think = BUDGET;
    o.alpha = alphas, o.n_alpha = 2, o.floor = 0, o.bootstrap = 30;
    return o;
}
static void run(world *w, int k, const ws_eval_options *o, ws_str *report) {
    ws_err err = {0};
    ws_str_clear(report);
    OK(ws_eval_run(w->m, w->tok[k], w->chat, NULL, &w->method, 1, o, report, NULL, &err));
}

static char *fresh_dir(void) {
    char *p = strdup("/tmp/ws-think-XXXXXX");
    assert_non_null(mkdtemp(p));
    return p;
}
static const char *const files[] = {"vignettes_raw.jsonl", "thinking.csv",  "eval.json",  "readout.csv",
                                    "foundations.csv",     "vignettes.csv", "dlogit.csv", "si.csv",
                                    "effect.csv",          ".lock"};
enum { N_FILES = sizeof files / sizeof *files, COMPARED = N_FILES - 1 };
static void remove_dir(char *dir) {
    for (int i = 0; i < N_FILES; i++) {
        char *p = ws_path_join(dir, files[i]);
        unlink(p);
        free(p);
    }
    rmdir(dir);
    free(dir);
}
static void read_whole(ws_str *s, const char *dir, const char *name) {
    ws_err err = {0};
    char *p = ws_path_join(dir, name);
    ws_str_clear(s);
    OK(ws_file_read(p, s, &err));
    free(p);
}
static void same_files(const char *a, const char *b) {
    ws_str x = {0}, y = {0};
    for (int i = 0; i < COMPARED; i++) {
        read_whole(&x, a, files[i]), read_whole(&y, b, files[i]);
        if (x.n != y.n || memcmp(x.p, y.p, x.n)) fail_msg("%s differs", files[i]);
    }
    ws_str_free(&x), ws_str_free(&y);
}

/* ---- against transformers ---- */

typedef struct compare {
    const json_t *settings;
    const char *kind;
    double tolerance;
    int lines, closed, own, forced, retokenised;
} compare;

static double number(const json_t *v, const char *key) {
    const json_t *x = json_object_get(v, key);
    if (!json_is_number(x)) fail_msg("no number \"%s\"", key);
    return json_number_value(x);
}

static ws_status line(void *arg, json_t *v, long at, ws_err *err) {
    (void)err;
    compare *c = arg;
    if (at == 1) return WS_OK;
    static const char *const id[] = {"care-1", "auth-1", "care-2", "auth-2"};
    int vig = 0;
    while (strcmp(id[vig], json_string_value(json_object_get(v, "id")))) assert_true(++vig < 4);
    int cell = 4 * vig + 2 * !strcmp(json_string_value(json_object_get(v, "cond")), "self_violate") +
               !strcmp(json_string_value(json_object_get(v, "frame")), "accept");
    const json_t *s, *want = NULL;
    size_t i;
    json_array_foreach(c->settings, i, s) if (number(s, "alpha") == number(v, "alpha")) want =
        json_array_get(json_object_get(s, c->kind), (size_t)cell);
    if (!want) fail_msg("no such setting");
    static const char *const exact[] = {"ids", "tokens", "closed", "own_prefill", "thought"};
    for (size_t k = 0; k < sizeof exact / sizeof *exact; k++) {
        char *got = json_dumps(json_object_get(v, exact[k]), JSON_ENCODE_ANY),
             *expected = json_dumps(json_object_get(want, exact[k]), JSON_ENCODE_ANY);
        if (strcmp(got, expected))
            fail_msg("%s, alpha %g, cell %d: %s is %s, not %s", c->kind, number(v, "alpha"), cell, exact[k], got,
                     expected);
        free(got), free(expected);
    }
    const char *rest = json_string_value(json_object_get(v, "rest"));
    assert_string_equal(rest ? rest : "", json_string_value(json_object_get(want, "rest")));
    assert_true(fabs(number(v, "loop") - number(want, "loop")) < 1e-12);
    double p[2], q[2]; /* what the table shows: p_true and pmass */
    for (int k = 0; k < 2; k++) {
        const json_t *x = k ? want : v;
        double lt = number(x, "logp_true"), lf = number(x, "logp_false");
        p[k] = 1 / (1 + exp(lf - lt)), q[k] = exp(lt) + exp(lf);
        if (k) continue;
        if (!(fabs(lt - number(want, "logp_true")) <= c->tolerance &&
              fabs(lf - number(want, "logp_false")) <= c->tolerance))
            fail_msg("%s, alpha %g, cell %d: log p %.9g, %.9g, not %.9g, %.9g", c->kind, number(v, "alpha"), cell, lt,
                     lf, number(want, "logp_true"), number(want, "logp_false"));
    }
    assert_true(fabs(p[0] - p[1]) <= 1e-4 && fabs(q[0] - q[1]) <= 1e-4);
    const json_t *other = json_object_get(want, "token_wise");
    if (json_is_array(other)) /* the answer after the thought's own tokens is another one: it must not be ours */
        c->retokenised += fabs(number(v, "logp_true") - json_number_value(json_array_get(other, 0))) > 1e-2;
    c->closed += json_is_true(json_object_get(v, "closed")), c->own += json_is_true(json_object_get(v, "own_prefill"));
    c->forced += json_is_false(json_object_get(v, "closed"));
    c->lines++;
    return WS_OK;
}

static void thoughts_and_answers_are_those_of_transformers(void **state) {
    (void)state;
    for (int k = 0; k < SUBJECTS; k++) {
        const struct subject *x = &subjects[k];
        world w;
        ws_err err = {0};
        world_open_at(&w, x->dir);
        char *dir = fresh_dir(), *p = ws_path_join(dir, "vignettes_raw.jsonl");
        ws_eval_options o = options(dir);
        ws_str report = {0};
        compare c = {.settings = json_object_get(w.want, "settings"), .kind = x->kind, .tolerance = x->tolerance};
        run(&w, x->tokenizer, &o, &report);
        OK(ws_jsonl_each(p, line, &c, &err));
        assert_int_equal(c.lines, CELLS * 3);
        assert_true(c.closed > 0 && c.forced > 0); /* every way to end occurs */
        assert_true(x->tokenizer ? c.own > 0 && c.own < c.closed : c.own == 0 && c.retokenised > 0);
        assert_non_null(strstr(report.p, "guided thinking of at most 24 tokens (mode B): prompt, thought and prefill "
                                         "are steered, the token after the prefill is scored"));
        assert_non_null(strstr(report.p, "Thoughts of at most 24 tokens"));
        ws_str_free(&report);
        free(p);
        remove_dir(dir);
        world_close(&w);
    }
}

/* ---- one open think line, whatever the template does by itself ---- */
static void prompts_open_one_thought(void **state) {
    (void)state;
    static const char common[] = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + "
                                 "'<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- "
                                 "'<|im_start|>assistant\\n' }}";
    static const char *const tail[] = {
        "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- "
        "endif %}"
        "{%- endif %}", /* Qwen3: nothing, the model writes the tag */
        "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- else "
        "%}{{- '<think>\\n' }}{%- endif %}{%- endif %}", /* Qwen3.5-4B */
        "{%- if enable_thinking is defined and enable_thinking is true %}{{- '<think>\\n' }}{%- else "
        "%}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}", /* Qwen3.5-0.8B */
        "{{- '<think>' }}{%- endif %}",                                   /* the tag alone */
        "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"};              /* always a closed block */
    world w;
    ws_err err = {0};
    ws_str text = {0};
    world_open(&w);
    for (size_t i = 0; i < sizeof tail / sizeof *tail; i++) {
        ws_chat *c;
        char *source = ws_sprintf("%s%s", common, tail[i]);
        OK(ws_chat_from_text(&c, source, "test", "", "", &err));
        OK(ws_think_check(c, &err));
        ws_str_clear(&text);
        OK(ws_think_prompt(c, NULL, "He kicks a dog.\n\nIs it wrong?", &text, &err));
        assert_string_equal(
            text.p, json_string_value(json_array_get(json_object_get(json_object_get(w.want, "prompts"), "tags"), 0)));
        ws_str_clear(&text); /* a message that speaks of the tag is no open thought, and a system prompt stands first */
        OK(ws_think_prompt(c, "Be <think> brief.", "What is <think>?", &text, &err));
        assert_string_equal(text.p, "<|im_start|>system\nBe <think> brief.<|im_end|>\n<|im_start|>user\nWhat is "
                                    "<think>?<|im_end|>\n<|im_start|>assistant\n<think>\n");
        ws_chat_free(c);
        free(source);
    }
    ws_chat *c;
    OK(ws_chat_from_text(&c, "{{ messages[0].content }}", "test", "", "", &err));
    assert_int_equal(ws_think_check(c, &err), WS_EUSAGE);
    assert_non_null(strstr(err.msg, "knows no <think> tag"));
    ws_chat_free(c);
    ws_str_free(&text);
    world_close(&w);
}

/* ---- what a thought ends in ---- */
static void ends(const world *w, int k, const char *said, int by_tag, const char *scored, const char *thought,
                 const char *rest, int closed, int own) {
    ws_err err = {0};
    ws_ids ids = {0};
    ws_thought t = {0};
    ws_str text = {0};
    OK(ws_tokenizer_encode(w->tok[k], said, strlen(said), 0, &ids, &err));
    OK(ws_think_end(w->tok[k], "P:", ids.id, ids.n, by_tag, "\nNow:", "{\"a\": ", &t, &text, &err));
    assert_string_equal(text.p, scored);
    assert_string_equal(t.text.p, thought);
    assert_string_equal(t.rest.p ? t.rest.p : "", rest);
    assert_int_equal(t.closed, closed);
    assert_int_equal(t.prefilled, own);
    assert_int_equal(t.tokens, ids.n);
    ws_thought_free(&t), ws_str_free(&text), ws_ids_free(&ids);
}
static void every_way_to_end_a_thought(void **state) {
    (void)state;
    world w;
    world_open(&w);
    ends(&w, 0, "Hm.", 1, "P:Hm.</think>{\"a\": ", "Hm.", "", 1, 0);
    ends(&w, 0, "Hm.", 0, "P:Hm.\nNow:</think>{\"a\": ", "Hm.", "", 0, 0);
    ends(&w, 0, "", 1, "P:</think>{\"a\": ", "", "", 1, 0);
    ends(&w, 0, "", 0, "P:\nNow:</think>{\"a\": ", "", "", 0, 0);
    ends(&w, 0, "a<|im_end|>b", 1, "P:ab</think>{\"a\": ", "ab", "", 1, 0); /* special tokens are no text */
    for (int k = 0; k < 2; k++) { /* in pieces, or behind an id that was spelled */
        ends(&w, k, "x</think>{\"a\": true}", 0, "P:x</think>{\"a\": ", "x", "{\"a\": true}", 1, 1);
        ends(&w, k, "x</think>\nSo {\"a\": 1", 0, "P:x</think>\nSo {\"a\": ", "x", "\nSo {\"a\": 1", 1, 1);
        ends(&w, k, "x</think> No.", 0, "P:x</think> No.{\"a\": ", "x", " No.", 1, 0);
        ends(&w, k, "{\"a\": true", 0, "P:{\"a\": true\nNow:</think>{\"a\": ", "{\"a\": true", "", 0,
             0); /* not closed */
        ends(&w, k, "{\"a\": </think>", 0, "P:{\"a\": </think>{\"a\": ", "{\"a\": ", "", 1, 0);
    }
    int is_tag;
    assert_int_equal(ws_think_stop(w.tok[0], &is_tag), ws_tokenizer_id(w.tok[0], "</think>"));
    assert_true(is_tag);
    assert_int_equal(ws_think_stop(w.tok[1], &is_tag), ws_tokenizer_eos(w.tok[1]));
    assert_false(is_tag);
    world_close(&w);
}

/* ---- which tokens are answers ---- */
static void same_ids(const ws_ids *got, const json_t *want) {
    assert_int_equal(got->n, (int)json_array_size(want));
    for (int i = 0; i < got->n; i++) assert_int_equal(got->id[i], json_integer_value(json_array_get(want, (size_t)i)));
}
static void words_after_a_thought_end_in_their_last_token(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    for (int k = 0; k < 2; k++) {
        ws_words v = {0};
        OK(ws_words_after_thought(&v, w.tok[k], &err));
        same_ids(&v.yes, json_object_get(json_object_get(w.want, "yes"), subjects[k].kind));
        same_ids(&v.no, json_object_get(json_object_get(w.want, "no"), subjects[k].kind));
        ws_words_free(&v);
    }
    world_close(&w);
    ws_words v = {0}; /* a vocabulary in which True and False are spelled in letters: both end in "e" */
    ws_checkpoint *c;
    ws_tokenizer *t;
    OK(ws_checkpoint_open(&c, "tests/fixtures/tinychat", &err));
    OK(ws_tokenizer_open(&t, c, &err));
    assert_int_equal(ws_words_after_thought(&v, t, &err), WS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "ends in the same token"));
    ws_words_free(&v);
    ws_tokenizer_free(t);
    ws_checkpoint_close(c);
}

static int by_id(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }
/* On SmolLM2 the rules of both modes give the same five ids each (pipeline.md 6). */
static void both_rules_agree_on_smollm2(void **state) {
    (void)state;
    const char *path = getenv("WS_TEST_MODEL");
    if (!path || !*path) {
        printf("skip: WS_TEST_MODEL is not set\n");
        skip();
    }
    ws_err err = {0};
    ws_checkpoint *c;
    ws_tokenizer *t;
    ws_words a = {0}, b = {0};
    OK(ws_checkpoint_open(&c, path, &err));
    OK(ws_tokenizer_open(&t, c, &err));
    OK(ws_words_direct(&a, t, ws_tokenizer_size(t), &err));
    OK(ws_words_after_thought(&b, t, &err));
    ws_ids *pair[2][2] = {{&a.yes, &b.yes}, {&a.no, &b.no}};
    for (int k = 0; k < 2; k++) {
        assert_true(pair[k][0]->n == 5 && pair[k][1]->n == 5);
        for (int i = 0; i < 2; i++) qsort(pair[k][i]->id, 5, sizeof(int32_t), by_id);
        assert_memory_equal(pair[k][0]->id, pair[k][1]->id, 5 * sizeof(int32_t));
    }
    ws_words_free(&a), ws_words_free(&b);
    ws_tokenizer_free(t);
    ws_checkpoint_close(c);
}

static void the_loop_score_counts_repeated_runs(void **state) {
    (void)state;
    int32_t x[64];
    for (int i = 0; i < 64; i++) x[i] = i;
    assert_true(ws_think_loop(x, 64) == 0 && ws_think_loop(x, 3) == 0 && ws_think_loop(x, 0) == 0);
    for (int i = 0; i < 64; i++) x[i] = 7;
    assert_true(ws_think_loop(x, 64) == 1 - 1.0 / 61);
    for (int i = 0; i < 64; i++) x[i] = i % 5;
    assert_true(ws_think_loop(x, 64) == 1 - 5.0 / 61);
    static const int32_t once[] = {1, 2, 3, 4, 9, 1, 2, 3, 4}; /* six runs, one of them twice */
    assert_true(fabs(ws_think_loop(once, 9) - 1.0 / 6) < 1e-15);
}

/* ---- the same bytes however it is computed ---- */
static void batches_threads_and_shared_beginnings_change_nothing(void **state) {
    (void)state;
    for (int k = 0; k < SUBJECTS; k += 2) {
        world w;
        world_open_at(&w, subjects[k].dir);
        char *dir = fresh_dir();
        ws_eval_options o = options(dir);
        ws_str report = {0}, again = {0};
        ws_threads_set(2);
        run(&w, 0, &o, &report);
        static const struct {
            int rows, threads;
            int64_t budget;
        } way[] = {{1, 2, 0}, {0, 1, 0}, {5, 2, 1}};
        for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
            char *other = fresh_dir();
            ws_eval_options p = options(other);
            p.max_rows = way[i].rows, p.budget = way[i].budget;
            ws_threads_set(way[i].threads);
            run(&w, 0, &p, &again);
            same_files(dir, other);
            assert_string_equal(report.p, again.p);
            remove_dir(other);
        }
        ws_threads_set(0);
        ws_str_free(&report), ws_str_free(&again);
        remove_dir(dir);
        world_close(&w);
    }
}

static void a_file_cut_anywhere_is_completed_to_the_same_bytes(void **state) {
    (void)state;
    for (int k = 1; k < SUBJECTS; k++) {
        world w;
        world_open_at(&w, subjects[k].dir);
        char *dir = fresh_dir(), *raw = ws_path_join(dir, "vignettes_raw.jsonl"), *kept = fresh_dir();
        ws_eval_options o = options(dir), p = options(kept);
        ws_str report = {0}, again = {0}, whole = {0};
        run(&w, subjects[k].tokenizer, &p, &report);
        read_whole(&whole, kept, "vignettes_raw.jsonl");
        for (size_t cut = 0; cut <= whole.n; cut += whole.n / 7) {
            ws_err err = {0};
            OK(ws_file_write(raw, whole.p, cut, &err)); /* the middle of a line, as a killed process leaves it */
            run(&w, subjects[k].tokenizer, &o, &again);
            same_files(dir, kept);
            assert_string_equal(report.p, again.p);
        }
        ws_str_free(&report), ws_str_free(&again), ws_str_free(&whole);
        free(raw);
        remove_dir(dir), remove_dir(kept);
        world_close(&w);
    }
}

static void modes_are_kept_apart_and_the_impossible_is_refused(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    char *dir = fresh_dir();
    ws_eval_options o = options(dir);
    ws_str report = {0};
    run(&w, 0, &o, &report);
    o.max_think = 0;
    assert_int_equal(ws_eval_run(w.m, w.tok[0], w.chat, NULL, &w.method, 1, &o, NULL, NULL, &err), WS_ESTATE);
    o.max_think = BUDGET - 1;
    assert_int_equal(ws_eval_run(w.m, w.tok[0], w.chat, NULL, &w.method, 1, &o, NULL, NULL, &err), WS_ESTATE);
    o.max_think = 0, o.fresh = 1; /* what the thoughts left goes with them */
    run(&w, 0, &o, &report);
    assert_non_null(strstr(report.p, "no thinking (mode A)"));
    char *csv = ws_path_join(dir, "thinking.csv");
    assert_false(ws_file_exists(csv));
    free(csv);
    o.max_think = 2040;
    assert_int_equal(ws_eval_run(w.m, w.tok[0], w.chat, NULL, &w.method, 1, &o, NULL, NULL, &err), WS_EUSAGE);
    assert_non_null(strstr(err.msg, "positions"));
    o.max_think = 8, o.vignettes = "tests/fixtures/tinychat/vignettes";
    assert_int_equal(ws_eval_run(w.m, w.tok[0], w.chat, NULL, &w.method, 1, &o, NULL, NULL, &err), WS_EUSAGE);
    assert_non_null(strstr(err.msg, "has no \"closing\""));
    ws_str_free(&report);
    remove_dir(dir);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_open_one_thought),
        cmocka_unit_test(every_way_to_end_a_thought),
        cmocka_unit_test(words_after_a_thought_end_in_their_last_token),
        cmocka_unit_test(both_rules_agree_on_smollm2),
        cmocka_unit_test(the_loop_score_counts_repeated_runs),
        cmocka_unit_test(thoughts_and_answers_are_those_of_transformers),
        cmocka_unit_test(batches_threads_and_shared_beginnings_change_nothing),
        cmocka_unit_test(a_file_cut_anywhere_is_completed_to_the_same_bytes),
        cmocka_unit_test(modes_are_kept_apart_and_the_impossible_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
