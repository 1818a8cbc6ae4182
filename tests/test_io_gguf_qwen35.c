/* K types, Qwen3.5 and files in parts against the `gguf` package's reading of them (tools/reference/make_gguf.py). */
#include "io_help.h"
#include "io/names.h"
#include "kernel/weight.h"
#include <math.h>

static ws_err err;

static void k_types_are_read_as_the_gguf_package_reads_them(void **state) {
    (void)state;
    ws_gguf *g;
    ws_safetensors *want;
    OK(ws_gguf_open(&g, FIXTURES "kquants.gguf", &err));
    OK(ws_safetensors_open(&want, FIXTURES "kquants.safetensors", &err));
    assert_int_equal(ws_gguf_count(g), 6);
    for (size_t i = 0; i < ws_safetensors_count(want); i++) {
        const ws_tensor *w = ws_safetensors_at(want, i), *t = ws_gguf_find(g, w->name);
        assert_non_null(t);
        assert_memory_equal(ws_dtypes[t->type].name, w->name, 4);
        assert_same_values(t, w);
    }
    ws_safetensors_close(want);
    ws_gguf_close(g);
}

/* Any stretch of a row, also from inside one block into another. */
static void parts_of_rows_are_the_row(void **state) {
    (void)state;
    static const int64_t cuts[][2] = {{0, 512}, {0, 1}, {255, 2}, {32, 64}, {200, 312}, {256, 256}, {511, 1}, {7, 0}};
    ws_gguf *g;
    OK(ws_gguf_open(&g, FIXTURES "kquants.gguf", &err));
    for (size_t i = 0; i < ws_gguf_count(g); i++) {
        const ws_tensor *t = ws_gguf_at(g, i);
        float whole[512], part[512];
        ws_dtype_to_f32(whole, t->data, t->type, 512);
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            ws_dtype_part_f32(part, t->data, t->type, cuts[c][0], cuts[c][1]);
            assert_memory_equal(part, whole + cuts[c][0], (size_t)cuts[c][1] * sizeof *part);
        }
    }
    ws_gguf_close(g);
}

/* The rows of a tensor, and of the matrix that the products read, are those of the whole. */
static void rows_agree(const ws_tensor *t) {
    const int64_t n = ws_tensor_numel(t), rows = t->dim[0], cols = n / rows;
    float *whole = ws_tensor_f32(t), *row = ws_xmalloc((size_t)cols * sizeof *row);
    ws_weight w;
    int matrix = t->dims == 2;
    if (matrix) OK(ws_weight_from_tensor(&w, t, &err));
    for (int64_t r = 0; r < rows; r++) {
        ws_tensor_row_f32(t, r, row);
        assert_memory_equal(row, whole + r * cols, (size_t)cols * sizeof *row);
        if (!matrix) continue;
        ws_weight_rows_f32(&w, r, 1, row);
        assert_memory_equal(row, whole + r * cols, (size_t)cols * sizeof *row);
    }
    free(whole), free(row);
}

static void qwen35_comes_out_in_hugging_face_terms(const char *path, size_t ignored) {
    ws_checkpoint *c;
    ws_safetensors *want;
    OK(ws_checkpoint_open(&c, path, &err));
    OK(ws_safetensors_open(&want, FIXTURES "qwen35.safetensors", &err));
    assert_int_equal(ws_checkpoint_count(c), ws_safetensors_count(want));
    assert_int_equal(ws_checkpoint_ignored(c), ignored);
    for (size_t i = 0; i < ws_safetensors_count(want); i++) {
        const ws_tensor *w = ws_safetensors_at(want, i), *t = ws_checkpoint_find(c, w->name);
        if (!t) fail_msg("%s is missing", w->name);
        rows_agree(t);
        if (!strstr(w->name, "A_log")) {
            assert_same_values(t, w);
            continue;
        }
        /* The file has exp(A_log), rounded: a relative error of 2^-24 there is an absolute one here, then a rounding. */
        float *a = ws_tensor_f32(t), *b = ws_tensor_f32(w);
        for (int64_t k = 0; k < ws_tensor_numel(w); k++)
            if (!(fabsf(a[k] - b[k]) <= 0x1p-23f * (1 + fabsf(b[k]))))
                fail_msg("A_log %lld: %.9g, expected %.9g", (long long)k, (double)a[k], (double)b[k]);
        free(a), free(b);
    }
    ws_safetensors_close(want);
    ws_checkpoint_close(c);
}

/* The block that predicts a further token: 11 tensors as any full-attention block, and 4 of its own. */
enum { IGNORED = 11 + 4 };

static void heads_norms_and_decay_are_put_back(void **state) {
    (void)state;
    qwen35_comes_out_in_hugging_face_terms(FIXTURES "qwen35.gguf", IGNORED);
}

static void metadata_becomes_the_config_of_the_text_model(void **state) {
    (void)state;
    static const char *const want[][2] = {
        {"model_type", "\"qwen3_5_text\""}, {"architectures", "[\"Qwen3_5ForCausalLM\"]"},
        {"num_hidden_layers", "2"},         {"head_dim", "16"},
        {"partial_rotary_factor", "0.25"},  {"rope_theta", "10000000.0"},
        {"rope_scaling", "null"},           {"layer_types", "[\"linear_attention\", \"full_attention\"]"},
        {"linear_num_key_heads", "2"},      {"linear_num_value_heads", "8"},
        {"linear_key_head_dim", "16"},      {"linear_value_head_dim", "32"},
        {"linear_conv_kernel_dim", "4"},    {"tie_word_embeddings", "true"},
        {"attention_bias", "false"}};
    ws_checkpoint *c;
    OK(ws_checkpoint_open(&c, FIXTURES "qwen35.gguf", &err));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        ws_str s = {0};
        ws_json_dump(json_object_get(ws_checkpoint_config(c), want[i][0]), &s, 1);
        if (strcmp(s.p, want[i][1])) fail_msg("%s: %s, expected %s", want[i][0], s.p, want[i][1]);
        ws_str_free(&s);
    }
    ws_checkpoint_close(c);
}

static void names_go_both_ways(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"},
        {"blk.0.post_attention_norm.weight", "model.layers.0.post_attention_layernorm.weight"},
        {"blk.0.attn_qkv.weight", "model.layers.0.linear_attn.in_proj_qkv.weight"},
        {"blk.0.attn_gate.weight", "model.layers.0.linear_attn.in_proj_z.weight"},
        {"blk.0.ssm_alpha.weight", "model.layers.0.linear_attn.in_proj_a.weight"},
        {"blk.0.ssm_beta.weight", "model.layers.0.linear_attn.in_proj_b.weight"},
        {"blk.0.ssm_out.weight", "model.layers.0.linear_attn.out_proj.weight"},
        {"blk.0.ssm_a", "model.layers.0.linear_attn.A_log"},
        {"blk.0.ssm_dt.bias", "model.layers.0.linear_attn.dt_bias"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *hf = ws_name_from_gguf("qwen35", pairs[i][0]), *gguf = ws_name_to_gguf("qwen35", pairs[i][1]);
        assert_string_equal(hf, pairs[i][1]);
        assert_string_equal(gguf, pairs[i][0]);
        free(hf), free(gguf);
    }
    static const char *const none[] = {"blk.0.ffn_norm.weight", "blk.0.ssm_a.weight", "blk.0.ssm_d",
                                       "blk.0.ssm_dt.weights"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_null(ws_name_from_gguf("qwen35", none[i]));
}

/* ---- files in parts ---- */

static void first_parts_are_known_by_their_names(void **state) {
    (void)state;
    size_t stem = 99;
    assert_int_equal(ws_name_parts("dir/m-00001-of-00012.gguf", &stem), 12);
    assert_int_equal(stem, 5);
    char *last = ws_name_part("dir/m-00001-of-00012.gguf", 12);
    assert_string_equal(last, "dir/m-00012-of-00012.gguf");
    free(last);
    static const char *const none[] = {"m-00002-of-00012.gguf", "m-00001-of-00000.gguf", "m-0001-of-00012.gguf",
                                       "m-00001-of-0001x.gguf", "-00001-of-00012.gguf",  "m.gguf",
                                       "m-00001-of-00012.ggul", "m 00001-of-00012.gguf", ""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_int_equal(ws_name_parts(none[i], &stem), 0);
}

#define PARTS FIXTURES "parts/"

static void parts_are_one_model(void **state) {
    (void)state;
    ws_checkpoint *whole, *split;
    qwen35_comes_out_in_hugging_face_terms(PARTS "tiny-00001-of-00003.gguf", IGNORED);
    qwen35_comes_out_in_hugging_face_terms(FIXTURES "parts", IGNORED); /* the folder stands for its only model */
    OK(ws_checkpoint_open(&whole, FIXTURES "qwen35.gguf", &err));
    OK(ws_checkpoint_open(&split, PARTS "tiny-00001-of-00003.gguf", &err));
    assert_string_equal(ws_checkpoint_hash(whole), ws_checkpoint_hash(split));
    assert_string_equal(ws_checkpoint_name(split), "tiny");
    ws_checkpoint_close(whole);
    ws_checkpoint_close(split);
}

static void copy(const char *from, const char *to) {
    ws_str s = {0};
    OK(ws_file_read(from, &s, &err));
    OK(ws_file_write(to, s.p, s.n, &err));
    ws_str_free(&s);
}

static void parts_that_do_not_belong_together_are_refused(void **state) {
    (void)state;
    ws_checkpoint *c;
    REFUSED(ws_checkpoint_open(&c, PARTS "tiny-00002-of-00003.gguf", &err), WS_EUSAGE,
            "is part 2 of 3; name the first");
    const char *first = in_scratch("m-00001-of-00003.gguf"), *second = in_scratch("m-00002-of-00003.gguf"),
               *third = in_scratch("m-00003-of-00003.gguf"), *other = in_scratch("renamed.gguf");
    copy(PARTS "tiny-00001-of-00003.gguf", first);
    copy(PARTS "tiny-00001-of-00003.gguf", other);
    REFUSED(ws_checkpoint_open(&c, other, &err), WS_EFORMAT, "its name must end in -00001-of-00003.gguf");
    REFUSED(ws_checkpoint_open(&c, first, &err), WS_EIO, "part 2 of 3");
    copy(PARTS "tiny-00003-of-00003.gguf", second);
    REFUSED(ws_checkpoint_open(&c, first, &err), WS_EFORMAT, "says that it is part 3 of 3; its name says 2 of 3");
    copy(PARTS "tiny-00002-of-00003.gguf", second);
    copy(PARTS "tiny-00003-of-00003.gguf", third);
    OK(ws_checkpoint_open(&c, first, &err));
    ws_checkpoint_close(c);
}

/* ---- what cannot be computed ---- */

/* `n` bytes that follow the text `behind` become `to`. */
static ws_status open_changed(const char *behind, size_t skip, const void *to, size_t n) {
    ws_str s = {0};
    ws_checkpoint *c = NULL;
    const char *path = in_scratch("changed.gguf");
    OK(ws_file_read(FIXTURES "qwen35.gguf", &s, &err));
    char *p = memmem(s.p, s.n, behind, strlen(behind));
    assert_non_null(p);
    memcpy(p + strlen(behind) + skip, to, n);
    OK(ws_file_write(path, s.p, s.n, &err));
    ws_status rc = ws_checkpoint_open(&c, path, &err);
    ws_checkpoint_close(c);
    ws_str_free(&s);
    return rc;
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    const uint32_t nine = 9, three = 3, q8 = 8;
    OK(open_changed("qwen35.ssm.group_count", 4, &(uint32_t){2}, 4)); /* type, then the value that it has */
    REFUSED(open_changed("qwen35.ssm.group_count", 4, &three, 4), WS_EFORMAT, "cannot be shared out");
    REFUSED(open_changed("qwen35.ssm.state_size", 4, &nine, 4), WS_ESHAPE, "in_proj_qkv.weight: has 320 rows");
    REFUSED(open_changed("qwen35.ssm.time_step_rank", 4, &nine, 4), WS_EFORMAT, "no multiple of the number of value");
    REFUSED(open_changed("qwen35.nextn_predict_layers", 4, &three, 4), WS_EFORMAT, "leaves no layer");
    REFUSED(open_changed("qwen35.rope.dimension_count", 4, &nine, 4), WS_EFORMAT, "is no even part of a head");
    REFUSED(open_changed("blk.0.ssm_d", 0, "x", 1), WS_EUNSUPPORTED, "no tensor of the qwen35");
    /* u32 dims, u64 dim, u32 type, u64 offset follow the name; offset 0 is an embedding, which has other signs */
    REFUSED(open_changed("blk.0.ssm_a\x01", 3 + 8 + 4, "\0\0\0\0\0\0\0\0", 8), WS_EFORMAT, "overlap");
    REFUSED(open_changed("blk.0.ssm_a\x01", 3 + 8, &q8, 4), WS_EFORMAT, "whole blocks of 32");
}

/* A number in A_log's place that is no -exp(...). */
static void a_rate_that_grows_is_refused(void **state) {
    (void)state;
    ws_str s = {0};
    ws_gguf *g;
    ws_checkpoint *c;
    const float bad[] = {0, 1, NAN, -INFINITY};
    const char *path = in_scratch("grows.gguf");
    OK(ws_file_read(FIXTURES "qwen35.gguf", &s, &err));
    OK(ws_gguf_parse(&g, s.p, s.n, "f", &err));
    size_t at = (size_t)((const char *)ws_gguf_find(g, "blk.0.ssm_a")->data - s.p);
    ws_gguf_close(g);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(s.p + at + 8, &bad[i], 4);
        OK(ws_file_write(path, s.p, s.n, &err));
        REFUSED(ws_checkpoint_open(&c, path, &err), WS_EFORMAT, "A_log: number 2 is");
    }
    ws_str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(k_types_are_read_as_the_gguf_package_reads_them),
        cmocka_unit_test(parts_of_rows_are_the_row),
        cmocka_unit_test(heads_norms_and_decay_are_put_back),
        cmocka_unit_test(metadata_becomes_the_config_of_the_text_model),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(first_parts_are_known_by_their_names),
        cmocka_unit_test(parts_are_one_model),
        cmocka_unit_test(parts_that_do_not_belong_together_are_refused),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_rate_that_grows_is_refused),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
