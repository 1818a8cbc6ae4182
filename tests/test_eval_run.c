/* Vignettes and margin on a whole tiny model against transformers (tools/reference/make_tinychat.py): template, prefill, answer ids,
 * merged adapter, log-probabilities.  Batches and resumed files change no byte. */
#include "eval/eval.h"
#include "eval/vigset.h"
#include "io/file.h"
#include "tiny.h"
#include <unistd.h>

#define T "tests/fixtures/tinychat"

typedef struct world {
    ws_checkpoint *c;
    ws_tokenizer *tok;
    ws_model *m;
    ws_chat *chat;
    ws_method *method;
    json_t *want;
} world;

static void world_open(world *w) {
    ws_err err = {0};
    memset(w, 0, sizeof *w);
    OK(ws_kernels_init(&err));
    OK(ws_checkpoint_open(&w->c, T, &err));
    OK(ws_tokenizer_open(&w->tok, w->c, &err));
    OK(ws_model_open(&w->m, w->c, &err));
    OK(ws_chat_open(&w->chat, w->c, w->tok, NULL, &err));
    OK(ws_method_load(&w->method, w->m, T "/adapter", 1, &err));
    OK(ws_json_load(&w->want, T "/expected.json", &err));
}
static void world_close(world *w) {
    json_decref(w->want);
    ws_method_free(w->method);
    ws_chat_free(w->chat);
    ws_model_free(w->m);
    ws_tokenizer_free(w->tok);
    ws_checkpoint_close(w->c);
}

static const double alphas[2] = {1, -1};
static ws_eval_options options(const char *out) {
    ws_eval_options o = ws_eval_defaults();
    o.out = out, o.readouts = "vignettes,margin", o.vignettes = T "/vignettes", o.pairs = T "/pairs.jsonl";
    o.alpha = alphas, o.n_alpha = 2, o.floor = 0, o.bootstrap = 40;
    return o;
}
static char *fresh_dir(const char *name) {
    static char path[2][64];
    static int k;
    char *p = path[k ^= 1];
    snprintf(p, 64, "/tmp/ws-%s-XXXXXX", name);
    assert_non_null(mkdtemp(p));
    return p;
}
static void read_whole(ws_str *s, const char *dir, const char *name) {
    ws_err err = {0};
    char *p = ws_path_join(dir, name);
    ws_str_clear(s);
    OK(ws_file_read(p, s, &err));
    free(p);
}
static void clear_dir(const char *dir) {
    static const char *const all[] = {"vignettes_raw.jsonl", "margin_raw.jsonl", "eval.json",  "readout.csv",
                                      "foundations.csv",     "vignettes.csv",    "dlogit.csv", "si.csv",
                                      "effect.csv",          "margin.csv",       ".lock"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char *p = ws_path_join(dir, all[i]);
        unlink(p);
        free(p);
    }
    rmdir(dir);
}

typedef struct compare {
    const json_t *settings;
    int lines, margin;
} compare;
static const json_t *setting(const compare *c, const json_t *v) {
    double alpha = json_number_value(json_object_get(v, "alpha"));
    size_t i;
    const json_t *s;
    json_array_foreach(c->settings, i, s) if (json_number_value(json_object_get(s, "alpha")) == alpha) return s;
    fail_msg("alpha %g was not asked for", alpha);
    return NULL;
}
static double number(const json_t *a, int i, int k) {
    return json_number_value(json_array_get(json_array_get(a, (size_t)i), (size_t)k));
}

static ws_status line(void *arg, json_t *v, long n, ws_err *err) {
    (void)err;
    compare *c = arg;
    if (n == 1) return WS_OK;
    c->lines++;
    if (c->margin) {
        int row = (int)json_integer_value(json_object_get(v, "row"));
        const json_t *m = json_object_get(setting(c, v), "margin");
        for (int k = 0; k < 2; k++) {
            double got = json_number_value(json_object_get(v, k ? "logp_neg" : "logp_pos")),
                   want = number(m, 2 * row + k, 0), tokens = number(m, 2 * row + k, 1);
            assert_int_equal(json_integer_value(json_object_get(v, k ? "n_neg" : "n_pos")), (int)tokens);
            if (!(fabs(got - want) <= 1e-4 * tokens)) fail_msg("row %d side %d: %.9g is not %.9g", row, k, got, want);
        }
        return WS_OK;
    }
    static const char *const id[] = {"care-1", "auth-1", "care-2", "auth-2"};
    int vig = 0;
    while (strcmp(id[vig], json_string_value(json_object_get(v, "id")))) assert_true(++vig < 4);
    int cell = 4 * vig + 2 * !strcmp(json_string_value(json_object_get(v, "cond")), "self_violate") +
               !strcmp(json_string_value(json_object_get(v, "frame")), "accept");
    for (int k = 0; k < 2; k++) {
        /* fp32 on both sides; 1e-4 is what the logits of whole models must agree to */
        double got = json_number_value(json_object_get(v, k ? "logp_false" : "logp_true")),
               want = number(json_object_get(setting(c, v), "answers"), cell, k);
        if (!(fabs(got - want) <= 1e-4))
            fail_msg("%s, cell %d, answer %d: %.9g is not %.9g", id[vig], cell, k, got, want);
    }
    return WS_OK;
}

static void answers_and_margins_are_those_of_transformers(void **state) {
    (void)state;
    world w;
    ws_err err = {0};
    world_open(&w);
    char *dir = fresh_dir("eval");
    ws_eval_options o = options(dir);
    ws_str report = {0};
    OK(ws_eval_run(w.m, w.tok, w.chat, NULL, &w.method, 1, &o, &report, NULL, &err));
    assert_memory_equal(report.p, "Vignettes: the readout carries", 30);
    for (int margin = 0; margin < 2; margin++) {
        compare c = {json_object_get(w.want, "settings"), 0, margin};
        char *p = ws_path_join(dir, margin ? "margin_raw.jsonl" : "vignettes_raw.jsonl");
        OK(ws_jsonl_each(p, line, &c, &err));
        free(p);
        assert_int_equal(c.lines, margin ? 2 * 3 : 4 * 4 * 3);
    }
    ws_str_free(&report);
    clear_dir(dir);
    world_close(&w);
}

static void a_file_cut_anywhere_is_completed_to_the_same_bytes(void **state) {
    (void)state;
    static const char *const raw[] = {"vignettes_raw.jsonl", "margin_raw.jsonl"};
    world w;
    ws_err err = {0};
    world_open(&w);
    char *dir = fresh_dir("eval");
    ws_eval_options o = options(dir);
    ws_str report = {0}, again = {0}, want[2] = {{0}}, got = {0};
    OK(ws_eval_run(w.m, w.tok, w.chat, NULL, &w.method, 1, &o, &report, NULL, &err));
    for (int k = 0; k < 2; k++) read_whole(&want[k], dir, raw[k]);
    for (int k = 0; k < 2; k++)
        for (size_t cut = 0; cut < want[k].n; cut += want[k].n / 9 + 1) {
            char *p = ws_path_join(dir, raw[k]);
            assert_int_equal(truncate(p, (off_t)cut), 0);
            free(p);
            o.budget = cut % 2 ? 1 : 0; /* with and without shared beginnings */
            ws_str_clear(&again);
            OK(ws_eval_run(w.m, w.tok, w.chat, NULL, &w.method, 1, &o, &again, NULL, &err));
            read_whole(&got, dir, raw[k]);
            assert_int_equal(got.n, want[k].n);
            assert_memory_equal(got.p, want[k].p, got.n);
            assert_string_equal(again.p, report.p);
        }
    ws_str_free(&report), ws_str_free(&again), ws_str_free(&want[0]), ws_str_free(&want[1]), ws_str_free(&got);
    clear_dir(dir);
    world_close(&w);
}

static void vignettes_are_joined_and_their_last_rows_kept(void **state) {
    (void)state;
    ws_vigset s;
    ws_err err = {0};
    OK(ws_vigset_load(&s, T "/vignettes", &err));
    assert_int_equal(s.n, 4);
    assert_int_equal(s.repeated, 1);
    assert_int_equal(s.n_foundations, 2);
    assert_string_equal(s.foundation[0], "Care"); /* display order, not file order */
    assert_string_equal(s.foundation[1], "Authority");
    assert_string_equal(s.frame[0].name, "wrong"); /* polarity 1 first, whatever the file's order */
    assert_string_equal(s.v[0].id, "auth-1");
    assert_string_equal(s.v[0].text[0], "A pupil ignores the teacher.");
    assert_string_equal(s.v[0].text[1], "You ignore the teacher.");
    assert_true(isnan(s.v[0].wrong) && s.v[1].wrong == 4.5);
    assert_true(s.v[0].loading[1] == 1 && fabs(s.v[1].loading[0] - 8.0 / 9) < 1e-15);
    ws_vigset_free(&s);
    OK(ws_vigset_load(&s, NULL, &err)); /* the program's own */
    assert_true(s.n >= 140 && s.n_foundations == 7);
    int n[7] = {0};
    for (int i = 0; i < s.n; i++) n[s.v[i].foundation]++, assert_non_null(s.v[i].loading);
    for (int f = 0; f < 7; f++) assert_true(n[f] >= 20);
    ws_vigset_free(&s);
    assert_int_equal(ws_vigset_load(&s, "tests/fixtures/models", &err), WS_EIO);
    assert_non_null(strstr(err.msg, "other_violate.jsonl"));
}

/* L_f / sum L: the sum is over all foundations that the row rates, also one that no vignette of the set has. */
static void loading_shares_count_foundations_without_vignettes(void **state) {
    (void)state;
    static const char other[] =
        "{\"id\": \"a\", \"foundation\": \"Care\", \"text\": \"A man lies.\", \"calibrated_Care\": 30, "
        "\"calibrated_SocialNorms\": 50, \"calibrated_Authority\": 20, \"calibrated_wrongness\": 900}\n",
                      self[] = "{\"id\": \"a\", \"foundation\": \"Care\", \"text\": \"You lie.\"}\n";
    ws_err err = {0};
    ws_vigset s;
    char *dir = fresh_dir("vig"),
         *p[2] = {ws_path_join(dir, "other_violate.jsonl"), ws_path_join(dir, "self_violate.jsonl")};
    OK(ws_file_write(p[0], other, sizeof other - 1, &err));
    OK(ws_file_write(p[1], self, sizeof self - 1, &err));
    OK(ws_vigset_load(&s, dir, &err));
    assert_int_equal(s.n_foundations, 1);
    assert_true(fabs(s.v[0].loading[0] - 0.3) < 1e-15);
    ws_vigset_free(&s);
    for (int i = 0; i < 2; i++) unlink(p[i]), free(p[i]);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vignettes_are_joined_and_their_last_rows_kept),
        cmocka_unit_test(loading_shares_count_foundations_without_vignettes),
        cmocka_unit_test(answers_and_margins_are_those_of_transformers),
        cmocka_unit_test(a_file_cut_anywhere_is_completed_to_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
