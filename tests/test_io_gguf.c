/* GGUF files against the `gguf` package's own reading of them (tools/reference/make_io.py), bit for bit. */
#include "io_help.h"
#include "base/hash.h"
#include "io/names.h"

static void every_type_is_read_as_the_gguf_package_reads_it(void **state) {
    (void)state;
    ws_err err;
    ws_gguf *g;
    ws_safetensors *want;
    OK(ws_gguf_open(&g, FIXTURES "types.gguf", &err));
    OK(ws_safetensors_open(&want, FIXTURES "types.safetensors", &err));
    assert_int_equal(ws_gguf_count(g), 8);
    for (size_t i = 0; i < ws_safetensors_count(want); i++) {
        const ws_tensor *w = ws_safetensors_at(want, i), *t = ws_gguf_find(g, w->name);
        assert_non_null(t);
        assert_string_equal(ws_dtypes[t->type].name, w->name);
        assert_same_values(t, w);
    }
    assert_null(ws_gguf_find(g, "none"));
    ws_safetensors_close(want);
    ws_gguf_close(g);
}

static void every_kind_of_metadata_is_read(void **state) {
    (void)state;
    ws_err err;
    ws_gguf *g;
    OK(ws_gguf_open(&g, FIXTURES "types.gguf", &err));
    static const struct {
        const char *key;
        int64_t v;
    } ints[] = {{"a.u8", 200},
                {"a.i8", -100},
                {"a.u16", 60000},
                {"a.i16", -30000},
                {"a.u32", 4000000000},
                {"a.i32", -2000000000},
                {"a.i64", -4611686018427387904},
                {"a.bool", 1}};
    int64_t v;
    double f;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        assert_int_equal(ws_gguf_int(g, ints[i].key, &v), 1);
        assert_int_equal(v, ints[i].v);
        assert_int_equal(ws_gguf_num(g, ints[i].key, &f), 1);
        assert_true(f == (double)ints[i].v);
    }
    assert_int_equal(ws_gguf_int(g, "a.u64", &v), 0); /* 2^63 + 5 does not fit */
    assert_int_equal(ws_gguf_num(g, "a.u64", &f), 1);
    assert_true(f == 0x1p63);
    assert_int_equal(ws_gguf_num(g, "a.f32", &f), 1);
    assert_true(f == (double)0.1f);
    assert_int_equal(ws_gguf_num(g, "a.f64", &f), 1);
    assert_true(f == 0.1);
    assert_int_equal(ws_gguf_int(g, "a.f64", &v), 0);
    size_t n;
    assert_string_equal(ws_gguf_str(g, "a.str", &n), "grün ✓");
    assert_int_equal(n, strlen("grün ✓"));
    assert_null(ws_gguf_str(g, "a.u8", &n));
    assert_null(ws_gguf_str(g, "none", &n));
    assert_int_equal(ws_gguf_int(g, "none", &v), 0);
    assert_int_equal(ws_gguf_has(g, "none"), 0);
    const int64_t *i64;
    const double *f64;
    const char *const *s;
    const size_t *lens;
    assert_int_equal(ws_gguf_ints(g, "a.ints", &i64), 3);
    assert_true(i64[0] == 3 && i64[1] == -1 && i64[2] == 7);
    assert_int_equal(ws_gguf_ints(g, "a.bools", &i64), 3);
    assert_true(i64[0] == 1 && i64[1] == 0 && i64[2] == 1);
    assert_int_equal(ws_gguf_nums(g, "a.nums", &f64), 2);
    assert_true(f64[0] == 0.5 && f64[1] == -2.25);
    assert_int_equal(ws_gguf_ints(g, "a.nums", &i64), 0);
    assert_int_equal(ws_gguf_strings(g, "a.strs", &s, &lens), 4);
    assert_string_equal(s[0], "x");
    assert_string_equal(s[1], "");
    assert_string_equal(s[2], "héllo");
    assert_string_equal(s[3], "Ġthe");
    assert_int_equal(lens[3], strlen("Ġthe"));
    json_t *meta = ws_gguf_meta_json(g);
    assert_string_equal(json_string_value(json_object_get(meta, "a.str")), "grün ✓");
    assert_int_equal(json_array_size(json_object_get(meta, "a.strs")), 4);
    json_decref(meta);
    ws_gguf_close(g);
}

/* Names, order of q and k rows, values: the checkpoint against what the writer kept in Hugging Face terms. */
static void check_model(const char *arch) {
    ws_err err;
    ws_checkpoint *c;
    ws_safetensors *want;
    char *gguf = ws_sprintf(FIXTURES "%s.gguf", arch), *file = ws_sprintf(FIXTURES "%s.safetensors", arch);
    OK(ws_checkpoint_open(&c, gguf, &err));
    OK(ws_safetensors_open(&want, file, &err));
    assert_int_equal(ws_checkpoint_count(c), ws_safetensors_count(want));
    assert_int_equal(ws_checkpoint_ignored(c), 0);
    for (size_t i = 0; i < ws_safetensors_count(want); i++) {
        const ws_tensor *w = ws_safetensors_at(want, i), *t = ws_checkpoint_find(c, w->name);
        if (!t) fail_msg("%s: %s is missing", arch, w->name);
        assert_same_values(t, w);
    }
    assert_string_equal(ws_checkpoint_name(c), arch);
    ws_safetensors_close(want);
    ws_checkpoint_close(c);
    free(gguf), free(file);
}

static void llama_rows_come_out_in_hugging_face_order(void **state) {
    (void)state;
    check_model("llama");
}
static void qwen2_and_qwen3_rows_stay_as_they_are(void **state) {
    (void)state;
    check_model("qwen2");
    check_model("qwen3");
}

static json_t *config_of(const char *path, ws_checkpoint **c) {
    ws_err err;
    OK(ws_checkpoint_open(c, path, &err));
    return (json_t *)(uintptr_t)ws_checkpoint_config(*c);
}

static void metadata_becomes_the_hugging_face_config(void **state) {
    (void)state;
    static const struct {
        const char *file, *key, *json; /* values as the writer set them */
    } want[] = {{"llama", "model_type", "\"llama\""},
                {"llama", "hidden_size", "32"},
                {"llama", "num_hidden_layers", "2"},
                {"llama", "intermediate_size", "64"},
                {"llama", "num_attention_heads", "4"},
                {"llama", "num_key_value_heads", "2"},
                {"llama", "head_dim", "8"},
                {"llama", "vocab_size", "24"},
                {"llama", "max_position_embeddings", "512"},
                {"llama", "rms_norm_eps", "1e-05"},
                {"llama", "rope_theta", "50000.0"},
                {"llama", "tie_word_embeddings", "true"},
                {"llama", "attention_bias", "true"},
                {"llama", "mlp_bias", "false"},
                {"llama", "bos_token_id", "1"},
                {"llama", "eos_token_id", "2"},
                {"llama", "rope_scaling", "{\"rope_type\": \"factors\", \"factors\": [1.0, 1.0, 3.5, 8.0]}"},
                {"qwen2", "rope_scaling",
                 "{\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 128, \"beta_fast\": "
                 "32.0, \"beta_slow\": 1.0}"},
                {"qwen2", "head_dim", "8"},
                {"qwen3", "head_dim", "16"},
                {"qwen3", "rope_scaling", "null"},
                {"qwen3", "tie_word_embeddings", "false"},
                {"qwen3", "attention_bias", "false"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char *path = ws_sprintf(FIXTURES "%s.gguf", want[i].file);
        ws_checkpoint *c;
        ws_str s = {0};
        json_t *v = json_object_get(config_of(path, &c), want[i].key);
        assert_non_null(v);
        ws_json_dump(v, &s, 1);
        if (strcmp(s.p, want[i].json)) fail_msg("%s %s: %s, expected %s", want[i].file, want[i].key, s.p, want[i].json);
        ws_str_free(&s);
        ws_checkpoint_close(c);
        free(path);
    }
}

static void names_go_both_ways(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"token_embd.weight", "model.embed_tokens.weight"},
        {"output.weight", "lm_head.weight"},
        {"output_norm.weight", "model.norm.weight"},
        {"blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias"},
        {"blk.12.attn_q_norm.weight", "model.layers.12.self_attn.q_norm.weight"},
        {"blk.12.ffn_norm.weight", "model.layers.12.post_attention_layernorm.weight"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *hf = ws_name_from_gguf("llama", pairs[i][0]), *gguf = ws_name_to_gguf("llama", pairs[i][1]);
        assert_string_equal(hf, pairs[i][1]);
        assert_string_equal(gguf, pairs[i][0]);
        free(hf), free(gguf);
    }
    static const char *const none[] = {"blk.attn_q.weight",
                                       "blk.01.attn_q.weight",
                                       "blk.0.attn_q",
                                       "blk.0.attn_q.scale",
                                       "blk.0.ffn_gate_inp.weight",
                                       "blk.99999999999.attn_q.weight",
                                       "outputs.weight",
                                       "",
                                       "blk.0.ssm_a",
                                       "blk.0.post_attention_norm.weight"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_null(ws_name_from_gguf("llama", none[i]));
}

/* ---- damaged files: a copy of a good one with a few bytes changed ---- */

static ws_str good;
static ws_err err;

static ws_status parse_changed(size_t at, const void *bytes, size_t n, size_t keep) {
    char *copy = ws_xmalloc(good.n ? good.n : 1);
    memcpy(copy, good.p, good.n);
    if (n) memcpy(copy + at, bytes, n);
    ws_gguf *g;
    ws_status rc = ws_gguf_parse(&g, copy, keep ? keep : good.n, "file.gguf", &err);
    ws_gguf_close(g);
    free(copy);
    return rc;
}

/* Offset just behind the first occurrence of `text`. */
static size_t behind(const char *text) {
    char *p = memmem(good.p, good.n, text, strlen(text));
    assert_non_null(p);
    return (size_t)(p - good.p) + strlen(text);
}

static void damaged_files_are_refused_by_name_and_offset(void **state) {
    (void)state;
    const uint64_t huge = UINT64_MAX, large = 1ull << 40;
    const uint32_t one = 1, seven = 0x03000000, q2k = 10, q4k = 12, odd = 99, five = 5;
    ws_str_clear(&good);
    OK(ws_file_read(FIXTURES "types.gguf", &good, &err));
    OK(parse_changed(0, NULL, 0, 0));
    const uint32_t two = 2;
    OK(parse_changed(4, &two, 4, 0)); /* version 2 has the same layout */
    char *copy = ws_xmalloc(good.n);  /* a string value may hold a NUL: all its bytes are kept */
    memcpy(copy, good.p, good.n);
    copy[behind("a.str") + 12] = 0;
    ws_gguf *g;
    size_t len;
    OK(ws_gguf_parse(&g, copy, good.n, "f", &err));
    assert_memory_equal(ws_gguf_str(g, "a.str", &len), "\0rün ✓", strlen("grün ✓"));
    assert_int_equal(len, strlen("grün ✓"));
    json_decref(ws_gguf_meta_json(g));
    ws_gguf_close(g);
    free(copy);
    REFUSED(parse_changed(0, "GGML", 4, 0), WS_EFORMAT, "file.gguf: byte 0: no GGUF");
    REFUSED(parse_changed(4, &one, 4, 0), WS_EUNSUPPORTED, "GGUF version 1");
    REFUSED(parse_changed(4, &seven, 4, 0), WS_EUNSUPPORTED, "big-endian");
    REFUSED(parse_changed(0, NULL, 0, 3), WS_EFORMAT, "no GGUF");
    REFUSED(parse_changed(0, NULL, 0, 10), WS_EFORMAT, "byte 8: the tensor count needs 8 bytes, 2 are left");
    REFUSED(parse_changed(8, &huge, 8, 0), WS_EFORMAT, "cannot stand in");
    REFUSED(parse_changed(16, &large, 8, 0), WS_EFORMAT, "cannot stand in");
    REFUSED(parse_changed(24, &huge, 8, 0), WS_EFORMAT, "a metadata key needs"); /* the first key's length */
    REFUSED(parse_changed(behind("a.u8"), &odd, 4, 0), WS_EFORMAT, "a.u8 has the unknown type 99");
    REFUSED(parse_changed(behind("a.str"), "\x09\0\0\0\x09\0\0\0", 8, 0), WS_EUNSUPPORTED,
            "a.str is an array of arrays");
    REFUSED(parse_changed(behind("a.ints") + 8, &large, 8, 0), WS_EFORMAT, "a.ints needs");
    REFUSED(parse_changed(behind("a.strs") + 8, &huge, 8, 0), WS_EFORMAT, "a.strs needs");
    REFUSED(parse_changed(behind("a.strs") + 16, &huge, 8, 0), WS_EFORMAT, "a string of an array needs");
    REFUSED(parse_changed(behind("a.i") - 1, "u", 1, 0), WS_EFORMAT, "the metadata key a.u8 stands twice");
    size_t t = behind("Q8_0"); /* u32 dims, u64 96, u64 3, u32 type, u64 offset */
    REFUSED(parse_changed(t, &five, 4, 0), WS_EFORMAT, "Q8_0 has 5 dimensions");
    REFUSED(parse_changed(t + 4, &large, 8, 0), WS_EFORMAT, "Q8_0: lies at");
    REFUSED(parse_changed(t + 4, &huge, 8, 0), WS_EFORMAT, "Q8_0: the size overflows");
    REFUSED(parse_changed(t + 4, "\x5f", 1, 0), WS_EFORMAT, "rows of 95 are not whole blocks of 32");
    REFUSED(parse_changed(t + 20, &q2k, 4, 0), WS_EUNSUPPORTED, "Q8_0: stored as Q2_K, which is not read (F32");
    REFUSED(parse_changed(t + 20, &q4k, 4, 0), WS_EFORMAT, "rows of 96 are not whole blocks of 256, as Q4_K needs");
    REFUSED(parse_changed(t + 20, &odd, 4, 0), WS_EFORMAT, "unknown type number 99");
    REFUSED(parse_changed(t + 24, &one, 1, 0), WS_EFORMAT, "offset");
    REFUSED(parse_changed(t + 24, "\0\0\0\0\0\0\0\0", 8, 0), WS_EFORMAT, "overlap at byte");
    const uint64_t wrap = UINT64_MAX - 31;
    REFUSED(parse_changed(t + 24, &wrap, 8, 0), WS_EFORMAT, "Q8_0: lies at");
    REFUSED(parse_changed(t - 4, "Q4_0", 4, 0), WS_EFORMAT, "the tensor Q4_0 stands twice");
    REFUSED(parse_changed(0, NULL, 0, good.n - 40), WS_EFORMAT, "truncated file?");
    ws_str_free(&good);
}

/* Bytes `from` become `to` (of the same length) in a copy of a fixture, which is then opened as a checkpoint. */
static ws_status open_changed(const char *file, const char *from, const char *to, size_t n) {
    ws_str s = {0};
    ws_checkpoint *c = NULL;
    const char *path = in_scratch("changed.gguf");
    OK(ws_file_read(file, &s, &err));
    char *p = memmem(s.p, s.n, from, n);
    assert_non_null(p);
    memcpy(p, to, n);
    OK(ws_file_write(path, s.p, s.n, &err));
    ws_status rc = ws_checkpoint_open(&c, path, &err);
    ws_checkpoint_close(c);
    ws_str_free(&s);
    return rc;
}

static void foreign_models_are_refused_with_their_name(void **state) {
    (void)state;
    ws_checkpoint *c;
    REFUSED(ws_checkpoint_open(&c, FIXTURES "types.gguf", &err), WS_EUNSUPPORTED,
            "the architecture \"test\" is not supported");
    REFUSED(open_changed(FIXTURES "llama.gguf", "blk.1.ffn_up.weight", "blk.1.ffn_xy.weight", 19), WS_EUNSUPPORTED,
            "blk.1.ffn_xy.weight: no tensor of the llama");
    REFUSED(open_changed(FIXTURES "llama.gguf", "llama.embedding_length", "llama.embedding_lengtz", 22), WS_EFORMAT,
            "llama.embedding_length: this metadata key is missing");
    REFUSED(open_changed(FIXTURES "llama.gguf", "llama.context_length\x04\0\0\0\0\2",
                         "llama.context_length\x04\0\0\0\0\0", 26),
            WS_EFORMAT, "llama.context_length: is outside");
    REFUSED(open_changed(FIXTURES "qwen2.gguf", "yarn", "tarn", 4), WS_EUNSUPPORTED, "rotary scaling other than");
    REFUSED(open_changed(FIXTURES "llama.gguf", "llama.attention.value_length\x04\0\0\0\x08",
                         "llama.attention.value_length\x04\0\0\0\x04", 33),
            WS_EUNSUPPORTED, "differs from the key length");
    REFUSED(open_changed(FIXTURES "llama.gguf", "blk.0.ffn_gate.weight", "blk.1.ffn_gate.weight", 21), WS_EFORMAT,
            "stands twice");
}

static void the_real_models_tensors_match_the_gguf_package(void **state) {
    (void)state;
    const char *path = getenv("WS_TEST_MODEL"), *name;
    if (!path) {
        puts("skip: WS_TEST_MODEL is unset");
        skip();
    }
    json_t *want, *e;
    ws_checkpoint *c;
    OK(ws_json_load(&want, FIXTURES "smollm2.json", &err));
    OK(ws_checkpoint_open(&c, path, &err));
    json_object_foreach(json_object_get(want, "tensors"), name, e) {
        const ws_tensor *t = ws_checkpoint_find(c, name);
        assert_non_null(t);
        assert_string_equal(ws_dtypes[t->type].name, json_string_value(json_object_get(e, "type")));
        float *f = ws_tensor_f32(t);
        char hex[65];
        ws_hash_bytes(f, (size_t)ws_tensor_numel(t) * 4, hex);
        assert_string_equal(hex, json_string_value(json_object_get(e, "sha256")));
        free(f);
    }
    ws_checkpoint_close(c);
    json_decref(want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read_as_the_gguf_package_reads_it),
        cmocka_unit_test(every_kind_of_metadata_is_read),
        cmocka_unit_test(llama_rows_come_out_in_hugging_face_order),
        cmocka_unit_test(qwen2_and_qwen3_rows_stay_as_they_are),
        cmocka_unit_test(metadata_becomes_the_hugging_face_config),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(damaged_files_are_refused_by_name_and_offset),
        cmocka_unit_test(foreign_models_are_refused_with_their_name),
        cmocka_unit_test(the_real_models_tensors_match_the_gguf_package),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
