/* Opening models: RoPE frequencies as transformers has them for both key styles, the rules for tied heads, and what is refused:
 * missing tensors, wrong shapes, unknown names, configs that nobody here computes.  Each error is read for what it must name. */
#include "family/family.h"
#include "io/file.h"
#include "model/parts.h"
#include "tiny.h"
#include <unistd.h>

static char dir[64];
static void path_of(char *out, size_t n, const char *name) { snprintf(out, n, "%s/%s", dir, name); }
static void write_config(const json_t *config) {
    ws_err err = {0};
    char path[128];
    path_of(path, sizeof path, "config.json");
    OK(ws_json_save(config, path, &err));
}
static void write_tensors(const ws_tensor *t, size_t n) {
    ws_err err = {0};
    char path[128];
    path_of(path, sizeof path, "model.safetensors");
    OK(ws_safetensors_write(path, t, n, NULL, &err));
}
static int set_up(void **state) {
    (void)state;
    strcpy(dir, "/tmp/ws-family-XXXXXX");
    return mkdtemp(dir) == NULL;
}
static int tear_down(void **state) {
    (void)state;
    char path[128];
    path_of(path, sizeof path, "config.json"), unlink(path);
    path_of(path, sizeof path, "model.safetensors"), unlink(path);
    return rmdir(dir);
}

/* A fixture's config and tensors, to be spoiled. */
typedef struct parts {
    json_t *config;
    ws_safetensors *file;
    ws_tensor t[96];
    size_t n;
} parts;
static void load(parts *p, const char *name) {
    ws_err err = {0};
    char path[128];
    snprintf(path, sizeof path, "tests/fixtures/models/%s/config.json", name);
    OK(ws_json_load(&p->config, path, &err));
    snprintf(path, sizeof path, "tests/fixtures/models/%s/model.safetensors", name);
    OK(ws_safetensors_open(&p->file, path, &err));
    p->n = ws_safetensors_count(p->file);
    for (size_t i = 0; i < p->n; i++) p->t[i] = *ws_safetensors_at(p->file, i);
}
static void unload(parts *p) {
    json_decref(p->config);
    ws_safetensors_close(p->file);
}
static ws_tensor *tensor(parts *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->t[i].name, name)) return &p->t[i];
    fail_msg("no tensor %s", name);
    return NULL;
}
static ws_status open_parts(const parts *p, ws_arch *a, ws_checkpoint **c, ws_err *err) {
    write_config(p->config);
    write_tensors(p->t, p->n);
    memset(a, 0, sizeof *a);
    ws_err e = {0};
    if (ws_checkpoint_open(c, dir, &e)) fail_msg("%s", e.msg);
    return ws_arch_open(a, *c, err);
}
static void refused(const parts *p, ws_status code, const char *word, const char *word2) {
    ws_err err = {0};
    ws_arch a;
    ws_checkpoint *c;
    ws_status st = open_parts(p, &a, &c, &err);
    if (st != code) fail_msg("status %d instead of %d: %s", st, code, err.msg);
    if (!strstr(err.msg, word) || !strstr(err.msg, word2))
        fail_msg("'%s' and '%s' are not in: %s", word, word2, err.msg);
    ws_checkpoint_close(c);
}
static void accepted(const parts *p, int tied) {
    ws_err err = {0};
    ws_arch a;
    ws_checkpoint *c;
    OK(open_parts(p, &a, &c, &err));
    assert_int_equal(a.tied, tied);
    assert_int_equal(a.head.data == a.embed.data, tied);
    ws_arch_release(&a);
    ws_checkpoint_close(c);
}

static void test_tensors(void **state) {
    (void)state;
    parts p;
    load(&p, "qwen3");
    accepted(&p, 1);
    char *name = tensor(&p, "model.layers.1.self_attn.q_norm.weight")->name;
    tensor(&p, name)->name = (char[]){"model.layers.1.self_attn.extra.weight"};
    refused(&p, WS_EFORMAT, "missing", "model.layers.1.self_attn.q_norm.weight");
    unload(&p);
    load(&p, "qwen3");
    p.t[p.n++] = (ws_tensor){.name = (char[]){"model.layers.0.self_attn.q_proj.bias"},
                             .type = WS_F32,
                             .dims = 1,
                             .dim = {2},
                             .data = (float[2]){0},
                             .bytes = 8};
    refused(&p, WS_EFORMAT, "does not have", "model.layers.0.self_attn.q_proj.bias");
    p.n--;
    ws_tensor *t = tensor(&p, "model.layers.1.mlp.down_proj.weight");
    int64_t rows = t->dim[0];
    t->dim[0] = t->dim[1], t->dim[1] = rows;
    char want[64];
    snprintf(want, sizeof want, "[%lld, %lld]", (long long)rows, (long long)t->dim[0]);
    refused(&p, WS_ESHAPE, "model.layers.1.mlp.down_proj.weight", want);
    unload(&p);
    load(&p, "qwen2"); /* the biases that its config does not announce are needed */
    size_t kept = 0;
    for (size_t i = 0; i < p.n; i++)
        if (!strstr(p.t[i].name, ".bias")) p.t[kept++] = p.t[i];
    p.n = kept;
    refused(&p, WS_EFORMAT, "6 tensors are missing", "model.layers.0.self_attn.q_proj.bias");
    unload(&p);
}

static void test_tied_heads(void **state) {
    (void)state;
    parts p;
    load(&p, "llama");
    const ws_tensor embed = *tensor(&p, "model.embed_tokens.weight");
    p.t[p.n] = embed, p.t[p.n++].name = (char[]){"lm_head.weight"};
    accepted(&p, 1); /* stored twice, equal: still one matrix */
    uint16_t *other = malloc(embed.bytes);
    memcpy(other, embed.data, embed.bytes);
    other[5] ^= 1;
    p.t[p.n - 1].data = other;
    accepted(&p, 0); /* stored and different: transformers does not tie either */
    p.t[p.n - 1].data = embed.data;
    *tensor(&p, "model.embed_tokens.weight") = p.t[--p.n];
    accepted(&p, 1); /* only lm_head.weight: it is the embedding too */
    json_object_set_new(p.config, "tie_word_embeddings", json_false());
    refused(&p, WS_EFORMAT, "missing", "model.embed_tokens.weight");
    tensor(&p, "lm_head.weight")->name = (char[]){"model.embed_tokens.weight"};
    refused(&p, WS_EFORMAT, "missing", "lm_head.weight");
    json_object_del(p.config, "tie_word_embeddings"); /* a missing key means untied */
    refused(&p, WS_EFORMAT, "missing", "lm_head.weight");
    free(other);
    unload(&p);
}

static void refuse_with(const char *model, const char *key, const char *value, ws_status code, const char *word,
                        const char *word2) {
    parts p;
    load(&p, model);
    json_object_set_new(p.config, key, json_loads(value, JSON_DECODE_ANY, NULL));
    refused(&p, code, word, word2);
    unload(&p);
}
static void test_configs_refused(void **state) {
    (void)state;
    refuse_with("llama", "model_type", "\"mixtral\"", WS_EUNSUPPORTED, "mixtral", "qwen3");
    refuse_with("llama", "hidden_act", "\"gelu\"", WS_EUNSUPPORTED, "hidden_act", "gelu");
    refuse_with("llama", "quantization_config", "{\"bits\": 4}", WS_EUNSUPPORTED, "quantization_config", "GGUF");
    refuse_with("llama", "rope_parameters", "{\"rope_type\": \"dynamic\", \"factor\": 2.0}", WS_EUNSUPPORTED, "dynamic",
                "RoPE");
    refuse_with("llama", "rope_parameters", "{\"rope_type\": \"longrope\"}", WS_EUNSUPPORTED, "longrope", "RoPE");
    refuse_with("llama", "rope_parameters", "{\"rope_type\": \"linear\"}", WS_EFORMAT, "factor", "RoPE");
    refuse_with("llama", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": -1}", WS_EFORMAT, "factor", "-1");
    refuse_with("llama", "rope_parameters", "{\"rope_type\": \"factors\", \"factors\": [1, 2]}", WS_EFORMAT, "factors",
                "8 numbers");
    refuse_with("llama", "num_hidden_layers", "0", WS_EFORMAT, "num_hidden_layers", "0");
    refuse_with("llama", "num_hidden_layers", "100000", WS_EFORMAT, "num_hidden_layers", "100000");
    refuse_with("llama", "num_key_value_heads", "3", WS_EFORMAT, "4 query heads", "3");
    refuse_with("llama", "hidden_size", "\"big\"", WS_EFORMAT, "hidden_size", "whole number");
    refuse_with("llama", "head_dim", "17", WS_EFORMAT, "17", "even");
    refuse_with("llama", "rms_norm_eps", "0", WS_EFORMAT, "rms_norm_eps", "0");
    refuse_with("llama", "tie_word_embeddings", "\"yes\"", WS_EFORMAT, "tie_word_embeddings", "true");
    parts p;
    load(&p, "qwen2");
    json_object_set_new(p.config, "use_sliding_window", json_true());
    json_object_set_new(p.config, "sliding_window", json_integer(128));
    refused(&p, WS_EUNSUPPORTED, "sliding", "window");
    json_object_set_new(p.config, "use_sliding_window", json_false()); /* a window that is turned off is ignored */
    accepted(&p, 1);
    unload(&p);
}

static void add_zeros(parts *p, const char *name, int64_t rows, int64_t cols, const float *zero) {
    p->t[p->n++] = (ws_tensor){.name = (char *)(uintptr_t)name,
                               .type = WS_F32,
                               .dims = cols ? 2 : 1,
                               .dim = {rows, cols},
                               .data = zero,
                               .bytes = (size_t)(cols ? rows * cols : rows) * sizeof *zero};
}

/* A minimal model of one layer with the sizes of the config, in zeros, to read the frequencies through the front door. */
static void test_rope_frequencies(void **state) {
    (void)state;
    ws_err err = {0};
    json_t *want, *one;
    size_t i;
    OK(ws_json_load(&want, "tests/fixtures/rope.json", &err));
    json_array_foreach(json_object_get(want, "cases"), i, one) {
        parts p = {.config = json_incref(json_object_get(one, "config"))};
        json_object_set_new(p.config, "tie_word_embeddings", json_true());
        int64_t d = json_integer_value(json_object_get(p.config, "head_dim"));
        if (!d) d = 64;
        float *zero = calloc(256 * 256, sizeof *zero);
#define ADD(nm, r, c) add_zeros(&p, nm, r, c, zero)
        ADD("model.embed_tokens.weight", 64, 256), ADD("model.norm.weight", 256, 0);
        ADD("model.layers.0.input_layernorm.weight", 256, 0),
            ADD("model.layers.0.post_attention_layernorm.weight", 256, 0);
        ADD("model.layers.0.self_attn.q_proj.weight", 4 * d, 256),
            ADD("model.layers.0.self_attn.k_proj.weight", 2 * d, 256);
        ADD("model.layers.0.self_attn.v_proj.weight", 2 * d, 256),
            ADD("model.layers.0.self_attn.o_proj.weight", 256, 4 * d);
        ADD("model.layers.0.mlp.gate_proj.weight", 64, 256), ADD("model.layers.0.mlp.up_proj.weight", 64, 256);
        ADD("model.layers.0.mlp.down_proj.weight", 256, 64);
        ws_arch a;
        ws_checkpoint *c;
        OK(open_parts(&p, &a, &c, &err));
        const json_t *inv = json_object_get(one, "inv_freq");
        assert_int_equal(a.rope.dim, 2 * (int)json_array_size(inv));
        for (size_t j = 0; j < json_array_size(inv); j++) {
            double v = json_real_value(json_array_get(inv, j));
            /* fp32 and the same order of operations: at most an ulp or two of pow */
            if (!(fabs(a.rope.inv_freq[j] - v) <= 2.5e-7 * v))
                fail_msg("case %zu, frequency %zu: %.9g, transformers %.9g", i, j, a.rope.inv_freq[j], v);
        }
        assert_true(fabs(a.rope.attention_factor - json_real_value(json_object_get(one, "attention_factor"))) < 1e-6);
        ws_arch_release(&a);
        ws_checkpoint_close(c);
        json_decref(p.config);
        free(zero);
    }
    json_decref(want);
}

/* "factors": one divisor per frequency, as GGUF files carry them. */
static void test_rope_factors(void **state) {
    (void)state;
    ws_err err = {0};
    ws_arch plain, divided;
    ws_checkpoint *c;
    parts p;
    load(&p, "llama");
    json_object_set_new(p.config, "rope_parameters", json_loads("{\"rope_theta\": 500000.0}", 0, NULL));
    OK(open_parts(&p, &plain, &c, &err));
    ws_checkpoint_close(c);
    json_object_set_new(p.config, "rope_scaling",
                        json_loads("{\"rope_type\": \"factors\", \"factors\": [1, 1, 1.5, 2, 4, 8, 8, 8]}", 0, NULL));
    json_object_set_new(p.config, "rope_theta", json_real(500000));
    OK(open_parts(&p, &divided, &c, &err));
    ws_checkpoint_close(c);
    const float f[] = {1, 1, 1.5f, 2, 4, 8, 8, 8};
    for (int j = 0; j < 8; j++)
        assert_true(fabsf(divided.rope.inv_freq[j] * f[j] - plain.rope.inv_freq[j]) <= 1e-6f * plain.rope.inv_freq[j]);
    ws_arch_release(&plain), ws_arch_release(&divided);
    unload(&p);
}

static void test_sites(void **state) {
    (void)state;
    tiny t;
    tiny_open(&t, "qwen3");
    assert_int_equal(ws_model_n_sites(t.m), 2 * 7 + 2);
    static const char *const order[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    char name[96];
    for (int i = 0; i < 14; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s", i / 7, order[i % 7]);
        const ws_site *s = ws_model_site(t.m, i);
        assert_string_equal(s->name, name);
        assert_int_equal(s->layer, i / 7);
        assert_int_equal(s->kind, WS_SITE_LINEAR);
        assert_int_equal(s->w->rows, s->d_out);
        assert_int_equal(ws_model_find_site(t.m, name), i);
    }
    assert_int_equal(ws_model_find_site(t.m, "model.layers.1"), 15);
    assert_int_equal(ws_model_site(t.m, 15)->kind, WS_SITE_BLOCK);
    assert_int_equal(ws_model_find_site(t.m, "model.layers.2"), -1);
    assert_int_equal(ws_model_find_site(t.m, "lm_head"), -1);
    tiny_close(&t);
}

/* Qwen3.5: which layers are which, by list and by interval, and the order of a delta layer's sites: that of named_modules
 * (out_proj before the projections that feed it), as adapters.md 1.5 needs it for torch's stream. */
static void test_qwen35_layers(void **state) {
    (void)state;
    static const char *const kinds[][2] = {{"qwen35", "DDDA"}, {"qwen35_1x", "DAD"}, {"qwen35_3x", "DADAD"}};
    static const char *const order[] = {
        "linear_attn.out_proj",  "linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.in_proj_b",
        "linear_attn.in_proj_a", "mlp.gate_proj",           "mlp.up_proj",           "mlp.down_proj"};
    for (int i = 0; i < 3; i++) {
        tiny t;
        tiny_open(&t, kinds[i][0]);
        const ws_dims *d = ws_model_dims(t.m);
        assert_int_equal(d->layers, strlen(kinds[i][1]));
        int site = 0;
        for (int l = 0; l < d->layers; l++) {
            int is_delta = kinds[i][1][l] == 'D';
            assert_int_equal(ws_is_delta(t.m, l), is_delta);
            for (int j = 0; is_delta && j < 8; j++) {
                char name[96];
                snprintf(name, sizeof name, "model.layers.%d.%s", l, order[j]);
                assert_string_equal(ws_model_site(t.m, site + j)->name, name);
            }
            site += is_delta ? 8 : 7;
        }
        assert_int_equal(ws_model_n_sites(t.m), site + d->layers);
        assert_int_equal(d->n_attention + d->n_delta, d->layers);
        tiny_close(&t);
    }
    tiny t;
    tiny_open(&t, "qwen35");
    assert_int_equal(t.m->arch.rope.dim, 4);                                  /* a quarter of 16 */
    assert_int_equal(ws_model_site(t.m, 3 * 8)->d_out, 2 * 2 * 16);           /* query and gate of two heads */
    assert_int_equal(ws_checkpoint_ignored(t.c), 4);                          /* vision and MTP */
    assert_int_equal(ws_model_token_bytes(t.m), 2 * 16 * (int)sizeof(float)); /* one layer of full attention */
    tiny_close(&t);
}

static void test_qwen35_refused(void **state) {
    (void)state;
    static const char m[] = "qwen35_1x";
    refuse_with(m, "layer_types", "[\"full_attention\", \"linear_attention\", \"linear_attention\"]", WS_EFORMAT,
                "layer 0 is full_attention", "model.layers.0.linear_attn.in_proj_qkv.weight");
    refuse_with(m, "layer_types", "[\"linear_attention\", \"full_attention\"]", WS_EFORMAT, "layer_types", "3 names");
    refuse_with(m, "layer_types", "[\"linear_attention\", \"full_attention\", \"mamba\"]", WS_EUNSUPPORTED,
                "layer_types[2]", "mamba");
    refuse_with(m, "layer_types", "null", WS_EFORMAT, "layer 1 is linear_attention", "self_attn.q_proj");
    refuse_with(m, "linear_num_value_heads", "4", WS_EFORMAT, "4 value heads", "3 key heads");
    refuse_with(m, "linear_value_head_dim", "16", WS_ESHAPE, "in_proj_qkv", "[96, 32]");
    refuse_with(m, "linear_conv_kernel_dim", "4", WS_ESHAPE, "conv1d", "[84, 1, 4]");
    refuse_with(m, "linear_conv_kernel_dim", "1", WS_EUNSUPPORTED, "linear_conv_kernel_dim", "1");
    refuse_with(m, "linear_conv_kernel_dim", "17", WS_EFORMAT, "linear_conv_kernel_dim", "17");
    refuse_with(m, "attn_output_gate", "false", WS_EUNSUPPORTED, "attn_output_gate", "false");
    refuse_with(m, "hidden_act", "\"relu\"", WS_EUNSUPPORTED, "hidden_act", "relu");
    refuse_with(m, "rope_parameters", "{\"rope_type\": \"default\", \"partial_rotary_factor\": 0.1}", WS_EFORMAT,
                "partial_rotary_factor", "0.1");
    refuse_with(m, "model_type", "\"qwen3_5_moe\"", WS_EUNSUPPORTED, "qwen3_5_moe", "qwen35");
    refuse_with("qwen35_3x", "full_attention_interval", "3", WS_EFORMAT, "layer 1 is linear_attention", "self_attn");
    parts p;
    load(&p, "qwen35_3x");
    json_object_del(p.config, "linear_conv_kernel_dim"); /* the class's default is what the file has */
    accepted(&p, 1);
    json_object_del(p.config, "partial_rotary_factor");
    accepted(&p, 1);
    /* types may be mixed in any way */
    ws_tensor *a_log = tensor(&p, "model.layers.0.linear_attn.A_log");
    a_log->type = WS_F32, a_log->data = (float[6]){0}, a_log->bytes = 24;
    accepted(&p, 1);
    tensor(&p, "model.layers.2.linear_attn.dt_bias")->name = (char[]){"model.layers.2.linear_attn.bias"};
    refused(&p, WS_EFORMAT, "missing", "model.layers.2.linear_attn.dt_bias");
    unload(&p);
}

/* A wrapper whose text_config has no model_type: "qwen3_5" tells it, as transformers' Qwen3_5Config does; any other name that
 * does not is refused with what to add. */
static void test_wrapper_without_inner_type(void **state) {
    (void)state;
    parts p;
    load(&p, "qwen35_3x");
    json_t *text = json_deep_copy(p.config), *top = json_object();
    json_object_del(text, "model_type");
    json_object_set_new(top, "text_config", text);
    json_decref(p.config);
    p.config = top;
    json_object_set_new(top, "model_type", json_string("qwen3_5"));
    accepted(&p, 1);
    json_object_set_new(text, "model_type", json_null());
    accepted(&p, 1);
    json_object_set_new(top, "model_type", json_string("llava"));
    refused(&p, WS_EFORMAT, "text_config in config.json has no model_type", "'llava'");
    json_object_set_new(text, "model_type", json_string("qwen3_5_text"));
    accepted(&p, 1);
    unload(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tensors),
                                       cmocka_unit_test(test_tied_heads),
                                       cmocka_unit_test(test_configs_refused),
                                       cmocka_unit_test(test_rope_frequencies),
                                       cmocka_unit_test(test_rope_factors),
                                       cmocka_unit_test(test_sites),
                                       cmocka_unit_test(test_qwen35_layers),
                                       cmocka_unit_test(test_qwen35_refused),
                                       cmocka_unit_test(test_wrapper_without_inner_type)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
