/* Hugging Face directories and the Hugging Face cache. */
#include "io_help.h"
#include "base/hash.h"
#include "io/hub.h"
#include "io/names.h"

static ws_err err;

static ws_checkpoint *open_it(const char *where) {
    ws_checkpoint *c;
    OK(ws_checkpoint_open(&c, where, &err));
    return c;
}

/* The same tensors, whatever the layout of the files. */
static void assert_same_model(const char *where, size_t ignored) {
    ws_checkpoint *a = open_it(FIXTURES "single"), *b = open_it(where);
    assert_int_equal(ws_checkpoint_count(a), ws_checkpoint_count(b));
    assert_int_equal(ws_checkpoint_ignored(b), ignored);
    for (size_t i = 0; i < ws_checkpoint_count(a); i++) {
        const ws_tensor *w = ws_checkpoint_at(a, i), *t = ws_checkpoint_find(b, w->name);
        if (!t) fail_msg("%s: %s is missing", where, w->name);
        assert_same_values(t, w);
    }
    assert_true(json_equal(json_object_get(ws_checkpoint_config(a), "eos_token_id"),
                           json_object_get(ws_checkpoint_config(b), "eos_token_id")));
    assert_string_equal(ws_checkpoint_hash(a), ws_checkpoint_hash(b));
    ws_checkpoint_close(a);
    ws_checkpoint_close(b);
}

static void every_layout_is_the_same_model_with_the_same_hash(void **state) {
    (void)state;
    assert_same_model(FIXTURES "single/", 0);
    assert_same_model(FIXTURES "sharded", 0);
    assert_same_model(FIXTURES "bare", 0);
    assert_same_model(FIXTURES "wrapped", 3); /* vision (five dimensions), mtp, a rotary buffer */
}

static void another_model_has_another_hash(void **state) {
    (void)state;
    ws_checkpoint *a = open_it(FIXTURES "single"), *b = open_it(FIXTURES "half");
    char first[65];
    strcpy(first, ws_checkpoint_hash(a));
    assert_int_equal(strlen(first), 64);
    assert_string_not_equal(first, ws_checkpoint_hash(b));
    assert_int_equal(ws_checkpoint_main_type(a), WS_F32);
    ws_checkpoint_close(a);
    ws_checkpoint_close(b);
    /* one bit of one weight */
    ws_str s = {0};
    OK(ws_file_read(FIXTURES "single/model.safetensors", &s, &err));
    s.p[s.n - 1] ^= 1;
    OK(ws_file_write(in_scratch("bit/model.safetensors"), s.p, s.n, &err));
    ws_str_clear(&s);
    OK(ws_file_read(FIXTURES "single/config.json", &s, &err));
    OK(ws_file_write(in_scratch("bit/config.json"), s.p, s.n, &err));
    a = open_it(in_scratch("bit"));
    assert_string_not_equal(first, ws_checkpoint_hash(a));
    ws_checkpoint_close(a);
    ws_str_free(&s);
}

static void the_files_beside_the_weights_are_given(void **state) {
    (void)state;
    ws_checkpoint *c = open_it(FIXTURES "single"), *w = open_it(FIXTURES "wrapped");
    assert_string_equal(ws_checkpoint_name(c), "single");
    assert_int_equal(json_integer_value(json_object_get(ws_checkpoint_generation_config(c), "eos_token_id")), 3);
    assert_null(ws_checkpoint_tokenizer_config(c));
    assert_null(ws_checkpoint_gguf(c));
    char *f = ws_checkpoint_file(c, "config.json");
    assert_string_equal(f, FIXTURES "single/config.json");
    free(f);
    assert_null(ws_checkpoint_file(c, "tokenizer.json"));
    assert_string_equal(json_string_value(json_object_get(ws_checkpoint_config(w), "model_type")), "llama");
    assert_string_equal(json_string_value(json_object_get(ws_checkpoint_config_top(w), "model_type")), "wrapper");
    ws_checkpoint_close(c);
    ws_checkpoint_close(w);
}

static void prefixes_become_canonical(void **state) {
    (void)state;
    static const struct {
        const char *name, *canonical; /* NULL: ignored, "?": unknown */
    } t[] = {{"model.language_model.layers.0.a", "model.layers.0.a"},
             {"language_model.model.norm.weight", "model.norm.weight"},
             {"model.layers.3.b", "model.layers.3.b"},
             {"layers.3.b", "model.layers.3.b"},
             {"embed_tokens.weight", "model.embed_tokens.weight"},
             {"norm.weight", "model.norm.weight"},
             {"lm_head.weight", "lm_head.weight"},
             {"language_model.lm_head.weight", "lm_head.weight"},
             {"model.visual.blocks.0.attn.qkv.weight", NULL},
             {"visual.x", NULL},
             {"vision_tower.x", NULL},
             {"multi_modal_projector.x", NULL},
             {"mtp.layers.0.self_attn.q_proj.weight", NULL},
             {"model.mtp.fc.weight", NULL},
             {"model.layers.0.self_attn.rotary_emb.inv_freq", NULL},
             {"model.layers.0.attn.masked_bias", NULL},
             {"model.layers.0.attn.bias", NULL},
             {"model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_proj.bias"},
             {"transformer.wte.weight", "?"},
             {"norm.bias", "?"},
             {"", "?"}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char *out;
        ws_name_kind k = ws_name_canonical(t[i].name, &out);
        if (!t[i].canonical)
            assert_int_equal(k, WS_NAME_IGNORED);
        else if (*t[i].canonical == '?')
            assert_int_equal(k, WS_NAME_UNKNOWN);
        else
            assert_string_equal(out, t[i].canonical);
        free(out);
    }
}

static void put(const char *name, const char *text) { OK(ws_file_write(in_scratch(name), text, strlen(text), &err)); }

static void put_weights(const char *name, const char *const *tensors, size_t n) {
    float one[1] = {1};
    ws_tensor t[4];
    for (size_t i = 0; i < n; i++)
        t[i] = (ws_tensor){.name = (char *)(uintptr_t)tensors[i], .type = WS_F32, .dims = 1, .dim = {1}, .data = one};
    OK(ws_safetensors_write(in_scratch(name), t, n, NULL, &err));
}

static void broken_directories_are_refused(void **state) {
    (void)state;
    ws_checkpoint *c;
    static const char *const two[] = {"model.norm.weight", "language_model.model.norm.weight"},
                             *const norm[] = {"model.norm.weight"}, *const odd[] = {"wte.weight"};
    REFUSED(ws_checkpoint_open(&c, in_scratch("none"), &err), WS_EIO, "none: no such file");
    OK(ws_mkdirs(in_scratch("d"), &err));
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EIO, "no config.json and no .gguf");
    put("d/adapter_config.json", "{}");
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EUSAGE, "is an adapter, not a model");
    put("d/config.json", "{\"model_type\": 7}");
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EFORMAT, "\"model_type\" must be a string");
    put("d/config.json", "[]");
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EFORMAT, "is no JSON object");
    put("d/config.json", "{\"model_type\": \"llama\"}");
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EFORMAT, "has no *.safetensors");
    put("d/pytorch_model.bin", "x");
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EFORMAT, "pytorch_model.bin is not read");
    put_weights("d/model.safetensors", two, 2);
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EFORMAT, "model.norm.weight stands twice");
    put_weights("d/model.safetensors", odd, 1);
    REFUSED(ws_checkpoint_open(&c, in_scratch("d"), &err), WS_EFORMAT, "holds no tensor of a language model's decoder");
    REFUSED(ws_checkpoint_open(&c, in_scratch("d/model.safetensors"), &err), WS_EUSAGE, "--model takes its directory");
    put_weights("d/model.safetensors", norm, 1);
    OK(ws_checkpoint_open(&c, in_scratch("d"), &err));
    ws_checkpoint_close(c);
    static const struct {
        const char *index, *message;
    } bad[] = {
        {"{\"weight_map\": []}", "\"weight_map\" is missing or no object"},
        {"{\"weight_map\": {\"model.norm.weight\": \"../x.safetensors\"}}", "is no file name of this directory"},
        {"{\"weight_map\": {\"model.norm.weight\": 3}}", "is no file name"},
        {"{\"weight_map\": {\"model.norm.weight\": \"b.safetensors\"}}", "lists b.safetensors, which is missing"},
        {"{\"weight_map\": {\"model.norm.weight\": \"model.safetensors\", \"lm_head.weight\": \"model.safetensors\"}}",
         "lm_head.weight is not in model.safetensors"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("d/model.safetensors.index.json", bad[i].index);
        ws_status rc = ws_checkpoint_open(&c, in_scratch("d"), &err);
        if (rc == WS_OK || !strstr(err.msg, bad[i].message)) fail_msg("'%s' should hold '%s'", err.msg, bad[i].message);
    }
    put("d/model.safetensors.index.json", "{\"weight_map\": {\"model.norm.weight\": \"model.safetensors\"}}");
    OK(ws_checkpoint_open(&c, in_scratch("d"), &err));
    ws_checkpoint_close(c);
}

static void copy(const char *from, const char *to) {
    ws_str s = {0};
    OK(ws_file_read(from, &s, &err));
    OK(ws_file_write(in_scratch(to), s.p, s.n, &err));
    ws_str_free(&s);
}

static void a_directory_with_one_gguf_stands_for_it(void **state) {
    (void)state;
    copy(FIXTURES "qwen3.gguf", "g/qwen3-q5.gguf");
    ws_checkpoint *c = open_it(in_scratch("g"));
    assert_string_equal(ws_checkpoint_name(c), "qwen3-q5");
    assert_non_null(ws_checkpoint_gguf(c));
    ws_checkpoint_close(c);
    copy(FIXTURES "llama.gguf", "g/other.gguf");
    REFUSED(ws_checkpoint_open(&c, in_scratch("g"), &err), WS_EUSAGE,
            "holds 2 GGUF files; name one of them (other.gguf, qwen3-q5.gguf)");
}

static void ids_are_found_in_the_cache(void **state) {
    (void)state;
    ws_checkpoint *c;
    setenv("HF_HUB_CACHE", in_scratch("hub"), 1);
    REFUSED(ws_checkpoint_open(&c, "org/my.model-1", &err), WS_EIO, "`ws pull org/my.model-1` fetches it");
    REFUSED(ws_checkpoint_open(&c, "org/my.model-1@v2", &err), WS_EIO, "`ws pull org/my.model-1@v2` fetches it");
    put("hub/models--org--my.model-1/refs/main", "abc123\n");
    put("hub/models--org--my.model-1/refs/v2", "abc124");
    REFUSED(ws_checkpoint_open(&c, "org/my.model-1", &err), WS_EIO, "nor whole in the Hugging Face cache");
    const char *snap = "hub/models--org--my.model-1/snapshots/abc123";
    OK(ws_mkdirs(in_scratch("hub/models--org--my.model-1/snapshots/abc123"), &err));
    char *cfg = ws_sprintf("%s/config.json", snap), *blob = ws_sprintf("%s/model.safetensors", snap);
    copy(FIXTURES "single/config.json", cfg);
    REFUSED(ws_checkpoint_open(&c, "org/my.model-1", &err), WS_EFORMAT, "`ws pull org/my.model-1` completes the model");
    copy(FIXTURES "single/model.safetensors", "hub/models--org--my.model-1/blobs/f00");
    assert_int_equal(symlink("../../blobs/f00", in_scratch(blob)), 0);
    c = open_it("org/my.model-1");
    assert_string_equal(ws_checkpoint_name(c), "my.model-1");
    ws_checkpoint_close(c);
    c = open_it("org/my.model-1@abc123"); /* a full commit */
    ws_checkpoint_close(c);
    c = open_it(in_scratch(snap)); /* the path itself keeps the repository's name */
    assert_string_equal(ws_checkpoint_name(c), "my.model-1");
    ws_checkpoint_close(c);
    REFUSED(ws_checkpoint_open(&c, "org/my.model-1@v2", &err), WS_EIO, "ws pull");
    free(cfg), free(blob);
    unsetenv("HF_HUB_CACHE");
}

static void a_snapshot_is_whole_with_its_weights_and_tokenizer(void **state) {
    (void)state;
    setenv("HF_HUB_CACHE", in_scratch("part"), 1);
#define SNAP "part/models--o--n/snapshots/c0/"
    put("part/models--o--n/refs/main", "c0");
    assert_false(ws_hub_whole("o/n"));
    copy(FIXTURES "sharded/config.json", SNAP "config.json");
    copy(FIXTURES "sharded/model.safetensors.index.json", SNAP "model.safetensors.index.json");
    put(SNAP "tokenizer.json", "{}");
    assert_false(ws_hub_whole("o/n"));
    json_t *index, *file;
    const char *tensor;
    char last[256] = "";
    OK(ws_json_load(&index, FIXTURES "sharded/model.safetensors.index.json", &err));
    json_object_foreach(json_object_get(index, "weight_map"), tensor, file) {
        assert_false(ws_hub_whole("o/n")); /* one shard is missing still, for the last tensor names a new one */
        snprintf(last, sizeof last, SNAP "%s", json_string_value(file));
        if (tensor) put(last, "x");
        if (ws_hub_whole("o/n")) break;
    }
    json_decref(index);
    assert_true(ws_hub_whole("o/n"));
    assert_true(ws_hub_whole("o/n@c0"));
    assert_false(ws_hub_whole("o/n@c1"));
    unlink(in_scratch(last));
    assert_int_equal(symlink("../../blobs/none", in_scratch(last)), 0); /* a link to nothing */
    assert_false(ws_hub_whole("o/n"));
    put("part/models--o--n/blobs/none", "x");
    assert_true(ws_hub_whole("o/n"));
    unlink(in_scratch(SNAP "tokenizer.json"));
    assert_false(ws_hub_whole("o/n"));
    put("part/models--o--n/.no_exist/c0/tokenizer.json", "");
    assert_true(ws_hub_whole("o/n"));
    /* GGUF files */
    put("part/models--o--g/refs/main", "c0");
    put("part/models--o--g/snapshots/c0/a.gguf", "x");
    assert_true(ws_hub_whole("o/g"));
    assert_true(ws_hub_whole("o/g:a.gguf"));
    assert_false(ws_hub_whole("o/g:b.gguf"));
    unsetenv("HF_HUB_CACHE");
}

static void the_cache_is_where_the_environment_says(void **state) {
    (void)state;
    static const char *const vars[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};
    static const char *const want[] = {"/p0", "/p1", "/p2/hub", "/p3/huggingface/hub", "/p4/.cache/huggingface/hub"};
    char *home = ws_xstrdup(getenv("HOME") ? getenv("HOME") : "");
    for (int first = 0; first < 5; first++) {
        for (int i = 0; i < 5; i++) {
            char v[16];
            snprintf(v, sizeof v, "/p%d", i);
            if (i < first)
                unsetenv(vars[i]);
            else
                setenv(vars[i], v, 1);
        }
        char *got = ws_hub_cache();
        assert_string_equal(got, want[first]);
        free(got);
    }
    setenv("HOME", home, 1);
    free(home);
}

static void only_plain_ids_are_looked_up(void **state) {
    (void)state;
    static const char *const ids[] = {
        "gpt2", "org/name", "org/name@main", "org/na-me_1.0@refs/pr/1", "org/name:a.gguf", "org/name@v1:b/a b.gguf"};
    static const char *const none[] = {"",
                                       "/abs",
                                       "./rel",
                                       "../up",
                                       "a/b/c",
                                       "org/",
                                       "/name",
                                       "org/name@",
                                       "org/name@../x",
                                       "org/name@/x",
                                       "a b",
                                       "org/..",
                                       "-x/y",
                                       "org/a--b",
                                       "org/a..b",
                                       "org/name:",
                                       "org/name:x",
                                       "org/name:../x.gguf",
                                       "org/name:/x.gguf",
                                       "org/name:a//x.gguf",
                                       "org/name@:x.gguf"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) assert_true(ws_hub_is_id(ids[i]));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (ws_hub_is_id(none[i])) fail_msg("'%s' is taken for an id", none[i]);
}

static void sha256_is_that_of_the_standard(void **state) {
    (void)state;
    char hex[65], again[65];
    ws_hash_bytes("abc", 3, hex); /* FIPS 180-4, example B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    put("abc", "abc");
    OK(ws_hash_file(in_scratch("abc"), again, &err));
    assert_string_equal(hex, again);
    REFUSED(ws_hash_file(in_scratch("nothing"), again, &err), WS_EIO, "nothing: No such file");
    ws_hash *a = ws_hash_new(), *b = ws_hash_new();
    ws_hash_adds(a, "ab"), ws_hash_adds(a, "c");
    ws_hash_adds(b, "a"), ws_hash_adds(b, "bc");
    ws_hash_done(a, hex), ws_hash_done(b, again);
    assert_string_not_equal(hex, again);
}

static void git_hashes_are_those_of_git(void **state) {
    (void)state;
    static const struct {
        const char *text, *hash; /* `git hash-object` */
    } t[] = {{"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}, {"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"}};
    for (size_t i = 0; i < 2; i++) {
        char hex[65];
        ws_hash *h = ws_hash_new_git(strlen(t[i].text));
        ws_hash_add(h, t[i].text, strlen(t[i].text));
        ws_hash_done(h, hex);
        assert_string_equal(hex, t[i].hash);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_is_the_same_model_with_the_same_hash),
        cmocka_unit_test(another_model_has_another_hash),
        cmocka_unit_test(the_files_beside_the_weights_are_given),
        cmocka_unit_test(prefixes_become_canonical),
        cmocka_unit_test(broken_directories_are_refused),
        cmocka_unit_test(a_directory_with_one_gguf_stands_for_it),
        cmocka_unit_test(ids_are_found_in_the_cache),
        cmocka_unit_test(the_cache_is_where_the_environment_says),
        cmocka_unit_test(only_plain_ids_are_looked_up),
        cmocka_unit_test(sha256_is_that_of_the_standard),
        cmocka_unit_test(git_hashes_are_those_of_git),
        cmocka_unit_test(a_snapshot_is_whole_with_its_weights_and_tokenizer),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
