/* tests/test_text_tokenizer.c - ids and text equal those of the `tokenizers` library (fixtures of tools/reference/make_text.py:
 * 300 lines for each pre-tokenizer, on small vocabularies trained there, and on the real SmolLM2 vocabulary when
 * $WS_TEST_MODEL is set); what a tokenizer.json can say and we cannot do is refused by name. */
#include "io/json.h"
#include "text/tokenizer.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define DIR "tests/fixtures/text/"
static const char *const families[] = {"smollm", "llama3", "qwen2", "qwen35"};
enum { N_FAMILIES = 4 };

static json_t *load(const char *name) { /* the lines contain NUL characters, which ws_json_load refuses */
    char path[200];
    json_error_t e;
    snprintf(path, sizeof path, DIR "%s", name);
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}

static json_t *family_json(const char *name) {
    char file[80];
    snprintf(file, sizeof file, "tokenizer_%s.json", name);
    return load(file);
}
static ws_tokenizer *family(const char *name) {
    json_t *j = family_json(name);
    ws_tokenizer *t;
    ws_err err = {0};
    if (ws_tokenizer_from_json(&t, j, NULL, name, &err)) fail_msg("%s", err.msg);
    json_decref(j);
    return t;
}

static int same_ids(const ws_ids *got, const json_t *want) {
    if ((size_t)got->n != json_array_size(want)) return 0;
    for (int i = 0; i < got->n; i++)
        if (got->id[i] != json_integer_value(json_array_get(want, (size_t)i))) return 0;
    return 1;
}
static int same_text(const ws_str *got, const json_t *want) {
    return got->n == json_string_length(want) && !memcmp(got->n ? got->p : "", json_string_value(want), got->n);
}

/* Every line of a fixture: ids, ids with special tokens, decoded text both ways, and decoded id by id. */
static void compare(const ws_tokenizer *t, const char *file) {
    json_t *doc = load(file), *lines = json_object_get(doc, "lines");
    ws_err err = {0};
    assert_true(json_array_size(lines) >= 300);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        json_t *o = json_array_get(lines, i), *text = json_object_get(o, "text"), *ids = json_object_get(o, "ids");
        json_t *special = json_object_get(o, "special"), *decoded = json_object_get(o, "decoded"),
               *skipped = json_object_get(o, "skipped");
        ws_ids a = {0}, b = {0};
        ws_str s = {0}, stream = {0};
        ws_detok d = {0};
        if (ws_tokenizer_encode(t, json_string_value(text), json_string_length(text), 0, &a, &err))
            fail_msg("%s", err.msg);
        if (!same_ids(&a, ids)) fail_msg("%s, line %zu: other ids for '%s'", file, i, json_string_value(text));
        assert_int_equal(
            ws_tokenizer_encode(t, json_string_value(text), json_string_length(text), WS_TOK_ADD_SPECIAL, &b, &err),
            WS_OK);
        assert_true(same_ids(&b, special ? special : ids));
        assert_int_equal(ws_tokenizer_decode(t, a.id, a.n, 0, &s, &err), WS_OK);
        if (!same_text(&s, decoded ? decoded : text)) fail_msg("%s, line %zu: other text '%s'", file, i, s.p);
        for (int k = 0; k < a.n; k++) assert_int_equal(ws_detok_push(&d, t, a.id[k], 0, &stream, &err), WS_OK);
        ws_detok_flush(&d, &stream);
        assert_int_equal(stream.n, s.n);
        assert_true(!s.n || !memcmp(stream.p, s.p, s.n));
        ws_str_clear(&s);
        assert_int_equal(ws_tokenizer_decode(t, a.id, a.n, 1, &s, &err), WS_OK);
        assert_true(same_text(&s, skipped ? skipped : decoded ? decoded : text));
        ws_ids_free(&a);
        ws_ids_free(&b);
        ws_str_free(&s);
        ws_str_free(&stream);
    }
    json_decref(doc);
}

static void small_vocabularies_equal_the_library(void **state) {
    (void)state;
    for (int f = 0; f < N_FAMILIES; f++) {
        char file[80];
        ws_tokenizer *t = family(families[f]);
        snprintf(file, sizeof file, "ids_%s.json", families[f]);
        compare(t, file);
        ws_tokenizer_free(t);
    }
}

static void expect_ids(const ws_tokenizer *t, const char *text, int flags, const char *want) {
    ws_ids a = {0};
    ws_str s = {0};
    ws_err err = {0};
    assert_int_equal(ws_tokenizer_encode(t, text, strlen(text), flags, &a, &err), WS_OK);
    ws_str_adds(&s, "");
    for (int i = 0; i < a.n; i++) ws_str_addf(&s, i ? " %d" : "%d", (int)a.id[i]);
    assert_string_equal(s.p, want);
    ws_str_free(&s);
    ws_ids_free(&a);
}

static void the_real_smollm2_equals_the_library(void **state) {
    (void)state;
    const char *path = getenv("WS_TEST_MODEL");
    ws_checkpoint *c = NULL;
    ws_tokenizer *t = NULL;
    ws_err err = {0};
    int n;
    if (!path) {
        printf("skip: WS_TEST_MODEL is not set, so the real vocabulary is not compared\n");
        skip();
    }
    if (ws_checkpoint_open(&c, path, &err) || ws_tokenizer_open(&t, c, &err)) fail_msg("%s", err.msg);
    compare(t, "ids_smollm2.json");
    expect_ids(t, "a  1 12", 0, "81 256 33 216 33 34"); /* models.md 9.2: the digit split that transformers forgets */
    expect_ids(t, "abc123  45", 0, "25276 33 34 35 256 36 37"); /* 9.6 */
    expect_ids(t, "<|im_start|>", 0, "1");
    expect_ids(t, "Hi", WS_TOK_ADD_SPECIAL, "26843"); /* add_bos is false */
    assert_int_equal(ws_tokenizer_size(t), 49152);
    assert_int_equal(ws_tokenizer_base_size(t), 49152);
    assert_int_equal(ws_tokenizer_eos(t), 2);
    assert_int_equal(ws_tokenizer_bos(t), 1);
    assert_int_equal(ws_tokenizer_pad(t), 2);
    assert_string_equal(ws_tokenizer_bos_text(t), "<|im_start|>");
    assert_string_equal(ws_tokenizer_eos_text(t), "<|im_end|>");
    const int32_t *stops = ws_tokenizer_stops(t, &n);
    assert_true(n == 1 && stops[0] == 2 && ws_tokenizer_is_stop(t, 2) && !ws_tokenizer_is_stop(t, 0));
    assert_true(ws_tokenizer_is_special(t, 0) && !ws_tokenizer_is_special(t, 81));
    ws_tokenizer_free(t);
    ws_checkpoint_close(c);
}

static void added_tokens_come_from_both_files(void **state) {
    (void)state;
    json_t *j = family_json("qwen2");
    int32_t next = 0;
    const json_t *list = json_object_get(j, "added_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        int32_t id = (int32_t)json_integer_value(json_object_get(json_array_get(list, i), "id"));
        if (id >= next) next = id + 1;
    }
    char key[16];
    snprintf(key, sizeof key, "%d", next);
    json_t *config = json_pack("{s:{s:{s:s, s:b, s:b}}, s:{s:s}, s:s, s:n}", "added_tokens_decoder", key, "content",
                               "<|audio|>", "special", 1, "normalized", 0, "eos_token", "content", "<|im_end|>",
                               "pad_token", "<|endoftext|>", "bos_token");
    ws_tokenizer *t;
    ws_err err = {0};
    ws_ids a = {0};
    ws_str s = {0};
    if (ws_tokenizer_from_json(&t, j, config, "x", &err)) fail_msg("%s", err.msg);
    assert_int_equal(ws_tokenizer_size(t), next + 1);
    assert_int_equal(ws_tokenizer_id(t, "<|audio|>"), next);
    assert_int_equal(ws_tokenizer_encode(t, "<|audio|><think>", 16, 0, &a, &err), WS_OK);
    assert_true(a.n == 2 && a.id[0] == next && a.id[1] == ws_tokenizer_id(t, "<think>"));
    assert_int_equal(ws_tokenizer_decode(t, a.id, a.n, 1, &s, &err), WS_OK);
    assert_string_equal(s.p, "<think>"); /* special ones are skipped, <think> is none */
    assert_int_equal(ws_tokenizer_bos(t), -1);
    assert_string_equal(ws_tokenizer_bos_text(t), "");
    assert_string_equal(ws_tokenizer_eos_text(t), "<|im_end|>");
    assert_int_equal(ws_tokenizer_pad(t), ws_tokenizer_id(t, "<|endoftext|>"));
    /* untrusted text: nothing is parsed, and it still reads back */
    a.n = 0;
    ws_str_clear(&s);
    assert_int_equal(ws_tokenizer_encode(t, "<|im_end|>", 10, WS_TOK_PLAIN, &a, &err), WS_OK);
    assert_true(a.n > 1);
    assert_int_equal(ws_tokenizer_decode(t, a.id, a.n, 0, &s, &err), WS_OK);
    assert_string_equal(s.p, "<|im_end|>");
    int32_t beyond = next + 1;
    assert_int_equal(ws_tokenizer_decode(t, &beyond, 1, 0, &s, &err), WS_EFORMAT);
    assert_int_equal(ws_tokenizer_encode(t, "a\xFFz", 3, 0, &a, &err), WS_EFORMAT);
    assert_non_null(strstr(err.msg, "0xff"));
    ws_tokenizer_free(t);
    /* the same id with another content */
    snprintf(key, sizeof key, "%d", next - 1);
    json_object_clear(config);
    json_object_set_new(config, "added_tokens_decoder", json_pack("{s:{s:s}}", key, "content", "<|other|>"));
    assert_int_equal(ws_tokenizer_from_json(&t, j, config, "x", &err), WS_EFORMAT);
    ws_ids_free(&a);
    ws_str_free(&s);
    json_decref(config);
    json_decref(j);
}

/* Qwen3.5's ids on the texts of models.md 9.6, with the part of its vocabulary that they need: \p{M} in the split, NFC, digits
 * one by one, two line breaks as one token, and added tokens that stand in tokenizer_config.json alone. */
static void qwen35_ids_are_the_published_ones(void **state) {
    (void)state;
    json_t *doc = load("ids_qwen35_real.json"), *j = load("tokenizer_qwen35_real.json"),
           *lines = json_object_get(doc, "lines");
    ws_tokenizer *t;
    ws_err err = {0};
    if (ws_tokenizer_from_json(&t, j, json_object_get(doc, "config"), "qwen35", &err)) fail_msg("%s", err.msg);
    assert_true(json_array_size(lines) >= 14);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *o = json_array_get(lines, i), *text = json_object_get(o, "text");
        ws_ids a = {0};
        if (ws_tokenizer_encode(t, json_string_value(text), json_string_length(text), 0, &a, &err))
            fail_msg("%s", err.msg);
        if (!same_ids(&a, json_object_get(o, "ids"))) fail_msg("other ids for '%s'", json_string_value(text));
        ws_ids_free(&a);
    }
    assert_int_equal(ws_tokenizer_size(t), 248077);
    assert_int_equal(ws_tokenizer_id(t, "</think>"), 248069);
    assert_true(!ws_tokenizer_is_special(t, 248068) && ws_tokenizer_is_special(t, 248076));
    assert_int_equal(ws_tokenizer_eos(t), 248046);
    assert_int_equal(ws_tokenizer_pad(t), 248044);
    assert_int_equal(ws_tokenizer_bos(t), -1);
    ws_tokenizer_free(t);
    json_decref(j);
    json_decref(doc);
}

/* Both ways of loading a tokenizer.json: the same tokenizer, or an error both times. */
static int both_ways(const char *text, size_t n) {
    ws_tokenizer *a = NULL, *b = NULL;
    ws_err ea = {0}, eb = {0};
    json_t *j = NULL;
    char ha[65], hb[65];
    ws_status sa = ws_tokenizer_from_text(&a, text, n, NULL, "file", &ea), sb = ws_json_parse(&j, text, n, "file", &eb);
    if (!sb) sb = ws_tokenizer_from_json(&b, j, NULL, "file", &eb);
    if (sa != sb) fail_msg("%d (%s), not %d (%s)", sa, ea.msg, sb, eb.msg);
    if (sa) assert_string_equal(ea.msg, eb.msg);
    if (!sa) {
        ws_tokenizer_hash(a, ha), ws_tokenizer_hash(b, hb);
        assert_string_equal(ha, hb);
        assert_int_equal(ws_tokenizer_base_size(a), ws_tokenizer_base_size(b));
    }
    ws_tokenizer_free(a);
    ws_tokenizer_free(b);
    json_decref(j);
    return !sa;
}

static void text_and_json_give_the_same_tokenizer(void **state) {
    (void)state;
    static const char *const files[] = {DIR "tokenizer_smollm.json",          DIR "tokenizer_llama3.json",
                                        DIR "tokenizer_qwen2.json", /* merges as "a b" */
                                        DIR "tokenizer_qwen35.json",          DIR "tokenizer_qwen35_real.json",
                                        "tests/fixtures/think/tokenizer.json"}; /* indented */
    ws_err err = {0};
    uint32_t rnd = 99;
    int good = 0;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        ws_str s = {0};
        assert_int_equal(ws_file_read(files[f], &s, &err), WS_OK);
        assert_true(both_ways(s.p, s.n));
        assert_int_equal(both_ways(s.p, s.n / 2), 0);
        for (int i = 0; i < 60; i++) { /* damaged somewhere, most of it in the two lists */
            char *copy = ws_xmalloc(s.n);
            memcpy(copy, s.p, s.n);
            for (int k = 0; k <= i % 3; k++) {
                rnd = rnd * 1664525 + 1013904223;
                copy[(rnd >> 8) % s.n] = "0123456789abcXYZ\"{}[]:,\\ \x80u\n-."[(rnd >> 4) % 30];
            }
            good += both_ways(copy, s.n);
            free(copy);
        }
        ws_str_free(&s);
    }
    print_message("%d damaged files still load\n", good);
    assert_true(good > 0);
    static const char head[] = "{\"decoder\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"vocab\":";
    static const struct {
        const char *vocab, *merges;
        int ok;
    } odd[] = {{"{\"a\":0,\"\\u0062\":1,\"ab\":2}", "[[\"a\",\"\\u0062\"]]", 1},
               {"{ \"a\" : 0 , \"b\":1,\n\"ab\":2 }", "[ \"a b\" ]", 1},
               {"{\"a\":0}", "[]", 1},
               {"{\"a\":0}", "[ ]", 1},
               {"{\"\\ud83d\\ude00\":0}", "[]", 1},
               {"{}", "[]", 0},
               {"{\"a\":0,}", "[]", 0},
               {"{\"a\":00}", "[]", 0},
               {"{\"a\":-1}", "[]", 0},
               {"{\"a\":1.0}", "[]", 0},
               {"{\"a\":99999999999}", "[]", 0},
               {"{\"a\":0,\"a\":1}", "[]", 0},
               {"{\"\\u0000\":0}", "[]", 0},
               {"{\"\\ud83d\":0}", "[]", 0},
               {"{\"a\":0,\"b\":1,\"ab\":2}", "[[\"a\",\"b\"],]", 0},
               {"{\"a\":0,\"b\":1,\"ab\":2}", "[[\"a\",\"b\",\"c\"]]", 0},
               {"{\"a\":0,\"b\":1,\"ab\":2}", "[\"ab\"]", 0},
               {"{\"a\":0,\"b\":1,\"ab\":2}", "[\"a b\"]],\"merges\":[[]", 0},
               {"{\"a\":0},\"vocab\":{\"b\":0}", "[]", 0},
               {"[]", "[]", 0},
               {"{\"a\":0}", "{}", 0}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        for (int swap = 0; swap < 2; swap++) {
            ws_str s = {0};
            ws_str_adds(&s, head);
            s.n -= swap ? strlen("\"vocab\":") : 0;
            if (swap)
                ws_str_addf(&s, "\"merges\":%s,\"vocab\":%s}}", odd[i].merges, odd[i].vocab);
            else
                ws_str_addf(&s, "%s,\"merges\":%s}}", odd[i].vocab, odd[i].merges);
            if (both_ways(s.p, s.n) != odd[i].ok) fail_msg("%s is %d", s.p, !odd[i].ok);
            ws_str_free(&s);
        }
}

/* Every file may name stop ids, and none of them names all (models.md 9.4). */
static void stop_ids_are_the_union_of_all_files(void **state) {
    (void)state;
    ws_checkpoint *c = NULL;
    ws_tokenizer *t = NULL;
    ws_err err = {0};
    int n;
    if (ws_checkpoint_open(&c, "tests/fixtures/think", &err) || ws_tokenizer_open(&t, c, &err)) fail_msg("%s", err.msg);
    ws_tokenizer_stops(t, &n);
    int32_t end = ws_tokenizer_id(t, "<|im_end|>"), text = ws_tokenizer_id(t, "<|endoftext|>");
    assert_true(n == 2 && end >= 0 && text >= 0 && end != text);
    assert_true(ws_tokenizer_is_stop(t, end) && ws_tokenizer_is_stop(t, text));
    assert_int_equal(ws_tokenizer_eos(t), end); /* after which calibration ends, and after no other */
    assert_int_equal(ws_tokenizer_id(t, "<tts_pad>"), ws_tokenizer_size(t) - 1);
    ws_tokenizer_free(t);
    ws_checkpoint_close(c);
}

/* The same tokenizer out of GGUF metadata: the same ids, texts and stops as from the directory. */
static void a_gguf_gives_what_its_directory_gives(void **state) {
    (void)state;
    static const char *const path[2] = {"tests/fixtures/think", "tests/fixtures/think/tokenizer.gguf"};
    ws_checkpoint *c[2] = {NULL};
    ws_tokenizer *t[2] = {NULL};
    ws_err err = {0};
    json_t *doc = load("ids_qwen35.json");
    size_t i;
    json_t *o;
    for (int k = 0; k < 2; k++)
        if (ws_checkpoint_open(&c[k], path[k], &err) || ws_tokenizer_open(&t[k], c[k], &err)) fail_msg("%s", err.msg);
    json_array_foreach(json_object_get(doc, "lines"), i, o) {
        const json_t *text = json_object_get(o, "text");
        ws_ids a[2] = {{0}};
        ws_str s[2] = {{0}};
        for (int k = 0; k < 2; k++) {
            if (ws_tokenizer_encode(t[k], json_string_value(text), json_string_length(text), 0, &a[k], &err) ||
                ws_tokenizer_decode(t[k], a[k].id, a[k].n, 1, &s[k], &err))
                fail_msg("%s", err.msg);
        }
        assert_int_equal(a[0].n, a[1].n);
        assert_memory_equal(a[0].id, a[1].id, (size_t)a[0].n * sizeof *a[0].id);
        assert_int_equal(s[0].n, s[1].n);
        if (s[0].n) assert_memory_equal(s[0].p, s[1].p, s[0].n);
        for (int k = 0; k < 2; k++) ws_ids_free(&a[k]), ws_str_free(&s[k]);
    }
    assert_true(i >= 300);
    assert_int_equal(ws_tokenizer_size(t[0]), ws_tokenizer_size(t[1]));
    assert_int_equal(ws_tokenizer_eos(t[0]), ws_tokenizer_eos(t[1]));
    assert_int_equal(ws_tokenizer_pad(t[0]), ws_tokenizer_pad(t[1]));
    for (int32_t id = 0; id < ws_tokenizer_size(t[0]); id++) {
        assert_int_equal(ws_tokenizer_is_stop(t[0], id), ws_tokenizer_is_stop(t[1], id));
        assert_int_equal(ws_tokenizer_is_special(t[0], id), ws_tokenizer_is_special(t[1], id));
    }
    for (int k = 0; k < 2; k++) ws_tokenizer_free(t[k]), ws_checkpoint_close(c[k]);
    json_decref(doc);
}

/* Changes one thing in a good tokenizer.json; it must be refused with this word in the message. */
static void refused(const char *path, const char *json, const char *word) {
    json_t *j = family_json("llama3"), *at = j, *v = json_loads(json, JSON_DECODE_ANY, NULL);
    char copy[100], *last = copy;
    ws_tokenizer *t = NULL;
    ws_err err = {0};
    snprintf(copy, sizeof copy, "%s", path);
    for (char *dot; (dot = strchr(last, '.')); last = dot + 1) {
        *dot = 0;
        at = json_object_get(at, last);
    }
    assert_non_null(v);
    json_object_set_new(at, last, v);
    if (!ws_tokenizer_from_json(&t, j, NULL, "file.json", &err)) fail_msg("%s = %s was accepted", path, json);
    if (!strstr(err.msg, word) || strncmp(err.msg, "file.json: ", 11))
        fail_msg("%s = %s: '%s' does not say %s", path, json, err.msg, word);
    json_decref(j);
}

static void what_is_not_supported_is_refused_by_name(void **state) {
    (void)state;
    refused("normalizer", "{\"type\":\"Lowercase\"}", "Lowercase");
    refused("normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\"}]}",
            "Replace");
    refused("pre_tokenizer", "{\"type\":\"Metaspace\"}", "Metaspace");
    refused("pre_tokenizer", "null", "pre_tokenizer");
    refused("pre_tokenizer",
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}", "Digits");
    refused("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"MergedWithNext\"}",
            "MergedWithNext");
    refused("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Isolated\"}",
            "ByteLevel");
    refused("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\"}", "(a");
    refused("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a{1,2}+\"},\"behavior\":\"Isolated\"}",
            "possessive");
    refused("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a[b]]\"},\"behavior\":\"Isolated\"}",
            "class inside");
    refused("pre_tokenizer", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"^a\"},\"behavior\":\"Isolated\"}", "anchor");
    refused("decoder", "{\"type\":\"WordPiece\"}", "WordPiece");
    refused("post_processor", "{\"type\":\"BertProcessing\"}", "BertProcessing");
    refused("model.type", "\"Unigram\"", "Unigram");
    refused("model.byte_fallback", "true", "byte_fallback");
    refused("model.unk_token", "\"<nothing>\"", "unk_token");
    refused("model.end_of_word_suffix", "\"</w>\"", "suffix");
    refused("model.merges", "[[\"a\"]]", "merge 0");
    refused("model.merges", "[\"qqqq zzzz\"]", "left part");
    refused("model.vocab", "{\"a\":0,\"b\":0}", "twice");
    refused("model.vocab", "{\"a\":-1}", "-1");
    refused("model.vocab", "{\"a\":99999999999}", "99999999999");
    refused("model.vocab", "{\"a\":\"x\"}", "whole number");
    refused("added_tokens", "[{\"id\":0,\"content\":\"<x>\"}]", "already belongs");
    refused("added_tokens", "[{\"content\":\"<x>\"}]", "no id");
    refused("added_tokens", "[{\"id\":5000,\"content\":\"<x>\",\"single_word\":true}]", "single_word");
}

static void *encode_all(void *arg) {
    const ws_tokenizer *t = arg;
    json_t *doc = load("ids_qwen35.json"), *lines = json_object_get(doc, "lines");
    intptr_t bad = 0;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        json_t *o = json_array_get(lines, i), *text = json_object_get(o, "text");
        ws_ids a = {0};
        bad += ws_tokenizer_encode(t, json_string_value(text), json_string_length(text), 0, &a, NULL) != WS_OK ||
               !same_ids(&a, json_object_get(o, "ids"));
        ws_ids_free(&a);
    }
    json_decref(doc);
    return (void *)bad;
}
static void threads_share_a_tokenizer(void **state) {
    (void)state;
    ws_tokenizer *t = family("qwen35");
    pthread_t th[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&th[i], NULL, encode_all, t), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(th[i], &bad);
        assert_null(bad);
    }
    ws_tokenizer_free(t);
}

/* Any damage to a tokenizer.json gives a tokenizer that works or an error, never a crash (run under ASan as well). */
static void damaged_files_do_no_harm(void **state) {
    (void)state;
    ws_str s = {0};
    ws_err err = {0};
    uint32_t rnd = 7;
    static const char text[] = "Hello <|im_end|> 123 \xC3\xA9\xE4\xBD\xA0 x";
    assert_int_equal(ws_file_read(DIR "tokenizer_llama3.json", &s, &err), WS_OK);
    for (int i = 0; i < 150; i++) {
        char *copy = ws_xmalloc(s.n);
        json_t *j = NULL;
        ws_tokenizer *t = NULL;
        memcpy(copy, s.p, s.n);
        for (int k = 0; k <= i % 4; k++) {
            rnd = rnd * 1664525 + 1013904223;
            copy[i & 1 ? (rnd >> 8) % s.n : (rnd >> 8) % 4000] = "0123456789abcXYZ\"{}[]:,\\ \x80"[(rnd >> 4) % 27];
        }
        if (!ws_json_parse(&j, copy, s.n, "damaged", &err) && !ws_tokenizer_from_json(&t, j, NULL, "damaged", &err)) {
            ws_ids a = {0};
            ws_str out = {0};
            if (!ws_tokenizer_encode(t, text, sizeof text - 1, WS_TOK_ADD_SPECIAL, &a, &err))
                ws_tokenizer_decode(t, a.id, a.n, 0, &out, &err);
            ws_ids_free(&a);
            ws_str_free(&out);
            ws_tokenizer_free(t);
        }
        json_decref(j);
        free(copy);
    }
    ws_str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(small_vocabularies_equal_the_library),
                                       cmocka_unit_test(the_real_smollm2_equals_the_library),
                                       cmocka_unit_test(added_tokens_come_from_both_files),
                                       cmocka_unit_test(qwen35_ids_are_the_published_ones),
                                       cmocka_unit_test(text_and_json_give_the_same_tokenizer),
                                       cmocka_unit_test(stop_ids_are_the_union_of_all_files),
                                       cmocka_unit_test(a_gguf_gives_what_its_directory_gives),
                                       cmocka_unit_test(what_is_not_supported_is_refused_by_name),
                                       cmocka_unit_test(threads_share_a_tokenizer),
                                       cmocka_unit_test(damaged_files_do_no_harm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
