/* Random models in published shapes: the totals are those of the published checkpoints (models.md 2.3, 2.5, 3.1 and 11, byte
 * and parameter counts that other people printed), the bytes are the same for the same seed, the tokenizer is complete. */
#include "base/log.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "io_help.h"
#include "run/random_model.h"
#include "run/sample_tokenizer.h"
#include "text/chat.h"
#include <math.h>
#include <sys/stat.h>

static void totals_are_the_published_ones(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t params, text, bytes; /* 0: not published */
        int tensors, files;
    } want[] = {{"qwen3.5-4b", 4659865088, 4205751296, 9319737856, 738, 2},
                {"qwen3.5-2b", 2274069824, 1881825088, 0, 0, 1},
                {"qwen3.5-0.8b", 873438784, 752393024, 0, 0, 1},
                {"qwen3-0.6b", 596049920, 596049920, 0, 0, 1},
                {"smollm2-135m", 134515008, 134515008, 0, 0, 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        ws_random_model_size s;
        const ws_likeness *l = ws_likeness_find(want[i].name);
        assert_non_null(l);
        ws_random_model_measure(l, &(ws_random_model_options){0}, &s);
        assert_int_equal(s.params, want[i].params);
        assert_int_equal(s.text_params, want[i].text);
        assert_int_equal(s.files, want[i].files);
        if (want[i].bytes) assert_int_equal(s.bytes, want[i].bytes);
        if (want[i].tensors) assert_int_equal(s.tensors, want[i].tensors);
        ws_random_model_measure(l, &(ws_random_model_options){.text_only = 1}, &s);
        assert_int_equal(s.params, want[i].text);
        if (want[i].tensors) assert_int_equal(s.tensors, 426);
    }
    assert_null(ws_likeness_find("qwen3.5"));
}

static void the_bell_has_mean_0_and_variance_1(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    float *v = malloc(N * sizeof *v), part[100];
    double sum = 0, square = 0, fourth = 0;
    ws_counter_bell(v, N, 77, 0);
    for (int i = 0; i < N; i++) sum += v[i], square += v[i] * (double)v[i], fourth += pow(v[i], 4);
    /* five standard errors; the fourth moment of four uniforms added up is 3 - 6/5/4 = 2.7 */
    assert_true(fabs(sum / N) < 5.0 / 1024);
    assert_true(fabs(square / N - 1) < 5 * 1.4 / 1024);
    assert_true(fabs(fourth / N - 2.7) < 0.05);
    ws_counter_bell(part, 100, 77, 4000);
    assert_memory_equal(part, v + 4000, sizeof part);
    ws_counter_bell(part, 100, 78, 4000);
    assert_memory_not_equal(part, v + 4000, sizeof part);
    free(v);
}

static ws_status byte_pattern(void *arg, const ws_tensor *t, size_t from, void *out, size_t n, ws_err *err) {
    (void)arg, (void)err;
    for (size_t i = 0; i < n; i++) ((uint8_t *)out)[i] = (uint8_t)((from + i) * 31 + (size_t)t->name[0]);
    return WS_OK;
}
static ws_status no_more(void *arg, const ws_tensor *t, size_t from, void *out, size_t n, ws_err *err) {
    byte_pattern(arg, t, from, out, n, err);
    return *t->name == 'b' && from ? ws_fail(err, WS_EINTERRUPTED, "stopped") : WS_OK;
}

/* A tensor of 20 MiB is asked for in several pieces. */
static void streaming_writes_what_writing_writes(void **state) {
    (void)state;
    ws_err err = {0};
    ws_str one = {0}, two = {0};
    ws_tensor t[2] = {{.name = (char *)(uintptr_t) "b", .type = WS_BF16, .dims = 2, .dim = {5 << 10, 2 << 10}},
                      {.name = (char *)(uintptr_t) "a", .type = WS_F32, .dims = 1, .dim = {3}}};
    OK(ws_safetensors_stream(in_scratch("s"), t, 2, NULL, byte_pattern, NULL, &err));
    for (int i = 0; i < 2; i++) {
        t[i].bytes = ws_dtype_bytes(t[i].type, ws_tensor_numel(&t[i]));
        void *p = malloc(t[i].bytes);
        byte_pattern(NULL, &t[i], 0, p, t[i].bytes, &err);
        t[i].data = p;
    }
    OK(ws_safetensors_write(in_scratch("w"), t, 2, NULL, &err));
    OK(ws_file_read(in_scratch("s"), &one, &err));
    OK(ws_file_read(in_scratch("w"), &two, &err));
    assert_int_equal(one.n, two.n);
    assert_memory_equal(one.p, two.p, one.n);
    REFUSED(ws_safetensors_stream(in_scratch("x"), t, 2, NULL, no_more, NULL, &err), WS_EINTERRUPTED, "stopped");
    assert_false(ws_file_exists(in_scratch("x")));
    for (int i = 0; i < 2; i++) free((void *)(uintptr_t)t[i].data);
    ws_str_free(&one), ws_str_free(&two);
}

static void the_seed_decides_the_bytes(void **state) {
    (void)state;
    ws_err err = {0};
    const ws_likeness *l = ws_likeness_find("tiny");
    char hash[4][65];
    for (int i = 0; i < 4;
         i++) { /* the second one with other threads, the third with another seed, the fourth in F32 */
        ws_checkpoint *c;
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        ws_threads_set(i == 1 ? 3 : 1);
        OK(ws_random_model_write(l, in_scratch(name), &(ws_random_model_options){.seed = i == 2, .f32 = i == 3}, &err));
        OK(ws_checkpoint_open(&c, in_scratch(name), &err));
        strcpy(hash[i], ws_checkpoint_hash(c));
        assert_int_equal(ws_checkpoint_count(c), 3 * 14 + 11 + 2);   /* three linear layers, a full one, the ends */
        assert_int_equal(ws_checkpoint_ignored(c), 2 * 12 + 9 + 15); /* vision and MTP */
        assert_int_equal(ws_checkpoint_main_type(c), i == 3 ? WS_F32 : WS_BF16);
        assert_int_equal(ws_checkpoint_find(c, "model.layers.0.linear_attn.A_log")->type, WS_F32);
        ws_checkpoint_close(c);
    }
    ws_threads_set(0);
    assert_string_equal(hash[0], hash[1]);
    assert_string_not_equal(hash[0], hash[2]);
    assert_string_not_equal(hash[0], hash[3]);
    REFUSED(ws_random_model_write(l, in_scratch("m0"), &(ws_random_model_options){0}, &err), WS_ESTATE,
            "holds a model already");
}

static void weights_have_their_sizes(void **state) {
    (void)state;
    ws_err err = {0};
    ws_checkpoint *c;
    OK(ws_checkpoint_open(&c, in_scratch("m0"), &err));
    const ws_tensor *t = ws_checkpoint_find(c, "model.layers.0.mlp.up_proj.weight");
    float *w = ws_tensor_f32(t);
    double square = 0;
    for (int64_t i = 0; i < ws_tensor_numel(t); i++) square += w[i] * (double)w[i];
    assert_true(fabs(square / (double)ws_tensor_numel(t) * 64 - 1) < 0.1); /* 1 / hidden, 8192 numbers */
    free(w);
    float *e = ws_tensor_f32(ws_checkpoint_find(c, "model.embed_tokens.weight"));
    for (int i = 0; i < 64; i++) assert_true(e[511 * 64 + i] == 0 && e['a' * 64 + i] != 0); /* 511: no token at all */
    free(e);
    float *a = ws_tensor_f32(ws_checkpoint_find(c, "model.layers.0.linear_attn.A_log"));
    for (int i = 0; i < 4; i++) assert_true(a[i] > log(0.0099) && a[i] < log(16.001));
    free(a);
    ws_checkpoint_close(c);
}

static void any_text_comes_back(void **state) {
    (void)state;
    static const char *const text[] = {"It is true, and you know that.\n\n\tfalse 12",
                                       "na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x99\x82\r\n   x", "\x01\x7f"};
    static const struct {
        const char *like, *token;
        int id;
    } special[] = {{"tiny", "<|endoftext|>", 448},
                   {"tiny", "<think>", 472},
                   {"tiny", "<|audio_pad|>", 480},
                   {"qwen3.5-4b", "<|im_end|>", 248046},
                   {"qwen3.5-4b", "<|vision_start|>", 248053},
                   {"qwen3.5-4b", "</think>", 248069},
                   {"qwen3.5-4b", "<|audio_pad|>", 248076},
                   {"qwen3-0.6b", "<|im_end|>", 151645},
                   {"qwen3-0.6b", "</think>", 151668},
                   {"smollm2-135m", "<|im_end|>", 2}};
    ws_tokenizer *t = NULL;
    const char *open = "";
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        ws_err err = {0};
        if (strcmp(open, special[i].like)) {
            open = special[i].like;
            const ws_likeness *l = ws_likeness_find(open);
            json_t *j = ws_sample_tokenizer(l), *config = ws_sample_tokenizer_config(l);
            ws_tokenizer_free(t);
            OK(ws_tokenizer_from_json(&t, j, config, "sample", &err));
            json_decref(j), json_decref(config);
        }
        assert_int_equal(ws_tokenizer_id(t, special[i].token), special[i].id);
        for (size_t k = 0; k < sizeof text / sizeof *text; k++) {
            ws_ids ids = {0};
            ws_str back = {0};
            OK(ws_tokenizer_encode(t, text[k], strlen(text[k]), 0, &ids, &err));
            OK(ws_tokenizer_decode(t, ids.id, ids.n, 0, &back, &err));
            assert_string_equal(back.p, text[k]);
            assert_true(ids.n < (int)strlen(text[k]) + 1);
            ws_ids_free(&ids), ws_str_free(&back);
        }
    }
    ws_tokenizer_free(t);
}

/* models.md 10.2, the rows that this template is meant to give. */
static void turns_are_rendered_as_the_family_does(void **state) {
    (void)state;
    static const struct {
        const char *like, *system, *user, *answer;
        int thinking;
        const char *want;
    } row[] = {
        {"qwen3.5-4b", NULL, "Hi", NULL, -1, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"},
        {"qwen3.5-4b", NULL, "Hi", NULL, 0,
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"},
        {"qwen3.5-2b", NULL, "Hi", NULL, -1,
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"},
        {"qwen3.5-0.8b", NULL, "Hi", NULL, 1, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"},
        {"qwen3.5-4b", NULL, "  Hi  \n", " Yo \n", -1,
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nYo<|im_end|>\n"},
        {"qwen3.5-4b", "SYS", "Hi", "R\n</think>\n\nYo", -1,
         "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nR\n</"
         "think>\n\n"
         "Yo<|im_end|>\n"},
        {"qwen3-0.6b", NULL, "Hi", NULL, -1, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
        {"qwen3-0.6b", NULL, "Hi", NULL, 0,
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"},
        {"qwen3-0.6b", "SYS", "Hi", "Yo", -1,
         "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</"
         "think>\n\n"
         "Yo<|im_end|>\n"},
        {"smollm2-135m", NULL, "Hi", NULL, -1, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        ws_err err = {0};
        ws_chat *c;
        ws_str out = {0};
        char *text = ws_sample_template(ws_likeness_find(row[i].like));
        OK(ws_chat_from_text(&c, text, "sample", "", "<|im_end|>", &err));
        const ws_render r = {.generation_prompt = !row[i].answer, .thinking = row[i].thinking};
        OK(ws_chat_render_plain(c, row[i].system, row[i].user, row[i].answer, &r, &out, &err));
        assert_string_equal(out.p, row[i].want);
        ws_str_free(&out);
        ws_chat_free(c);
        free(text);
    }
}

static void a_full_disk_is_seen_before_anything_is_written(void **state) {
    (void)state;
    ws_err err = {0};
    ws_likeness huge = *ws_likeness_find("tiny");
    huge.vocab = (int64_t)1 << 45; /* petabytes */
    REFUSED(ws_random_model_write(&huge, in_scratch("huge"), &(ws_random_model_options){0}, &err), WS_EIO, "are free");
    assert_false(ws_file_exists(in_scratch("huge/config.json")));
}

int main(void) {
    ws_log_level(0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(totals_are_the_published_ones),
                                       cmocka_unit_test(the_bell_has_mean_0_and_variance_1),
                                       cmocka_unit_test(streaming_writes_what_writing_writes),
                                       cmocka_unit_test(the_seed_decides_the_bytes),
                                       cmocka_unit_test(weights_have_their_sizes),
                                       cmocka_unit_test(any_text_comes_back),
                                       cmocka_unit_test(turns_are_rendered_as_the_family_does),
                                       cmocka_unit_test(a_full_disk_is_seen_before_anything_is_written)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
