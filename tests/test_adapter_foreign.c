/* tests/test_adapter_foreign.c - adapters as other people's PEFT writes them: read right, or refused with file and key.
 * Read right: the modules are PEFT's, and the logits of base + adapter are those of PEFT in double to 1e-6 of the largest
 * one (ours is fp32), hung as an adapter; as its edit to 2e-6, because W x and W E x are rounded before they are added; PiSSA
 * to 1e-5, because PEFT's singular vectors are fp32.  What is refused is made from those directories by changing one key or
 * one tensor. */
#include "delta/delta.h"
#include "peft_help.h"

#define FOREIGN "tests/fixtures/foreign/"

typedef struct foreign {
    fixture f;
    json_t *cases;
    ws_safetensors *logits;
} foreign;

static int setup(void **state) {
    ws_err err = {0};
    foreign *x = malloc(sizeof *x);
    fixture_open(&x->f);
    OK(ws_json_load(&x->cases, FOREIGN "cases.json", &err));
    OK(ws_safetensors_open(&x->logits, FOREIGN "logits.safetensors", &err));
    *state = x;
    return 0;
}
static int teardown(void **state) {
    foreign *x = *state;
    json_decref(x->cases);
    ws_safetensors_close(x->logits);
    fixture_close(&x->f);
    free(x);
    return 0;
}

static float *logits_with(const foreign *x, ws_patch *patch, int64_t *n) {
    ws_err err = {0};
    const json_t *list = json_object_get(x->cases, "ids");
    int32_t ids[64];
    const float one = 1, *alpha = &one;
    const ws_dims *d = ws_model_dims(x->f.m);
    for (size_t i = 0; i < json_array_size(list); i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    ws_row row = {-1, ids, (int)json_array_size(list), (int)json_array_size(list)};
    ws_batch b = {1, &row, 1, &patch, &alpha};
    *n = row.n * d->vocab;
    float *h = malloc((size_t)(row.n * d->hidden) * sizeof *h), *logits = malloc((size_t)*n * sizeof *logits);
    OK(ws_forward(x->f.m, NULL, &b, h, &err));
    ws_head(x->f.m, h, row.n, logits);
    free(h);
    return logits;
}

static void check_logits(const foreign *x, const char *name, ws_patch *patch, const char *how, double limit) {
    const ws_tensor *want = ws_safetensors_find(x->logits, name);
    int64_t n;
    float *got = logits_with(x, patch, &n);
    double size = 0;
    if (!strcmp(name, "pissa")) limit = 1e-5;
    assert_non_null(want);
    double e = worst_error(got, want->data, n, &size) / size;
    if (!(e <= limit)) fail_msg("%s as %s: logits are off by %.2e of the largest", name, how, e);
    free(got);
}

static void every_directory_is_read_as_peft_reads_it(void **state) {
    foreign *x = *state;
    const char *name;
    json_t *c;
    int n = 0;
    json_object_foreach(json_object_get(x->cases, "cases"), name, c) {
        ws_err err = {0};
        ws_adapter *a;
        ws_delta *d;
        const json_t *want = json_object_get(c, "modules");
        char *dir = ws_sprintf(FOREIGN "%s", name);
        if (ws_adapter_load(&a, x->f.m, dir, &err)) fail_msg("%s", err.msg);
        assert_int_equal(ws_adapter_n_sites(a), json_array_size(want));
        for (int i = 0; i < ws_adapter_n_sites(a); i++) {
            size_t k = 0;
            while (k < json_array_size(want) &&
                   strcmp(json_string_value(json_array_get(want, k)), ws_adapter_site_name(a, i)))
                k++;
            if (k == json_array_size(want)) fail_msg("%s: %s is adapted", name, ws_adapter_site_name(a, i));
        }
        check_logits(x, name, ws_adapter_patch(a), "an adapter", 1e-6);
        OK(ws_delta_from_adapter(&d, x->f.m, a, &err));
        check_logits(x, name, ws_delta_patch(d), "its edit", 2e-6);
        ws_delta_free(d);
        ws_adapter_free(a);
        free(dir);
        n++;
    }
    assert_int_equal(n, 15);
}

/* ---------- one change ---------- */

/* A copy of the directory `from` in which keys of adapter_config.json have other values ("" removes a key). */
static char *changed(const foreign *x, const char *from, const char *keys) {
    ws_err err = {0};
    char *dir = ws_sprintf("%s/case", x->f.tmp), *cmd = ws_sprintf("rm -rf %s; cp -r " FOREIGN "%s %s", dir, from, dir),
         *path = ws_sprintf("%s/adapter_config.json", dir);
    json_t *c, *with = json_loads(keys, 0, NULL), *v;
    const char *key;
    assert_non_null(with);
    assert_int_equal(system(cmd), 0);
    OK(ws_json_load(&c, path, &err));
    json_object_foreach(with, key, v) {
        if (json_is_string(v) && !*json_string_value(v))
            json_object_del(c, key);
        else
            json_object_set(c, key, v);
    }
    OK(ws_json_save(c, path, &err));
    json_decref(c), json_decref(with);
    free(cmd), free(path);
    return dir;
}

static void refused(const foreign *x, char *dir, ws_status status, const char *part, const char *file) {
    ws_adapter *a;
    ws_err err = {0};
    REFUSED(status, part, ws_adapter_load(&a, x->f.m, dir, &err));
    if (!strstr(err.msg, file)) fail_msg("message lacks '%s': %s", file, err.msg);
    assert_null(a);
    free(dir);
}

static void configurations_that_change_the_meaning_are_refused_by_key(void **state) {
    foreign *x = *state;
    static const struct {
        const char *from, *keys;
        ws_status status;
        const char *part;
    } bad[] = {
        {"negative", "{\"modules_to_save\":[\"lm_head\"]}", WS_EUNSUPPORTED, "modules_to_save"},
        {"negative", "{\"bias\":\"lora_only\"}", WS_EUNSUPPORTED, "bias"},
        {"negative", "{\"target_parameters\":[\"mlp.experts\"]}", WS_EUNSUPPORTED, "target_parameters"},
        {"negative", "{\"trainable_token_indices\":[1]}", WS_EUNSUPPORTED, "trainable_token_indices"},
        {"negative", "{\"alora_invocation_tokens\":[5]}", WS_EUNSUPPORTED, "alora_invocation_tokens"},
        {"negative", "{\"layer_replication\":[[0,2]]}", WS_EUNSUPPORTED, "layer_replication"},
        {"negative", "{\"lora_bias\":true}", WS_EUNSUPPORTED, "lora_bias"},
        {"negative", "{\"init_lora_weights\":\"olora\"}", WS_EUNSUPPORTED, "init_lora_weights"},
        {"negative", "{\"peft_type\":\"PREFIX_TUNING\"}", WS_EUNSUPPORTED, "PREFIX_TUNING"},
        {"negative", "{\"peft_type\":\"\"}", WS_EFORMAT, "peft_type"},
        {"negative", "{\"peft_type\":7}", WS_EFORMAT, "peft_type"},
        {"negative", "{\"r\":0}", WS_EFORMAT, "rank"},
        {"negative", "{\"r\":1.5}", WS_EFORMAT, "rank"},
        {"negative", "{\"r\":\"two\"}", WS_EFORMAT, "\"r\""},
        {"negative", "{\"lora_alpha\":[3]}", WS_EFORMAT, "\"lora_alpha\""},
        {"negative", "{\"use_rslora\":\"yes\"}", WS_EFORMAT, "\"use_rslora\""},
        {"negative", "{\"rank_pattern\":[3]}", WS_EFORMAT, "rank_pattern"},
        {"negative", "{\"alpha_pattern\":{\"q_proj\":\"x\"}}", WS_EFORMAT, "q_proj"},
        {"negative", "{\"rank_pattern\":{\"(q_proj\":3}}", WS_EFORMAT, "(q_proj"},
        {"negative", "{\"target_modules\":7}", WS_EFORMAT, "target_modules"},
        {"negative", "{\"target_modules\":\"q_proj(\"}", WS_EFORMAT, "target_modules"},
        {"negative", "{\"target_modules\":[\"query_key_value\"]}", WS_EUSAGE, "target_modules"},
        {"negative", "{\"target_modules\":\".*q_proj\"}", WS_EFORMAT, "layers_to_transform"},
        {"negative", "{\"layers_to_transform\":\"all\"}", WS_EFORMAT, "layers_to_transform"},
        {"negative", "{\"layers_to_transform\":[1.5]}", WS_EFORMAT, "layers_to_transform"},
        {"negative", "{\"exclude_modules\":{}}", WS_EFORMAT, "exclude_modules"},
        {"delora", "{\"rank_pattern\":{\"o_proj\":0}}", WS_EFORMAT, "rank"},
        {"delora", "{\"bias\":\"all\"}", WS_EUNSUPPORTED, "bias"},
        {"oft_shared", "{\"oft_block_size\":\"\"}", WS_EUNSUPPORTED, "oft_block_size"},
        {"oft_shared", "{\"oft_block_size\":0}", WS_EFORMAT, "oft_block_size"},
        {"oft_shared", "{\"num_cayley_neumann_terms\":1,\"use_cayley_neumann\":true}", WS_EUNSUPPORTED,
         "num_cayley_neumann_terms"},
        {"boft", "{\"boft_block_size\":8}", WS_EFORMAT, "boft_block_size"},
        {"boft", "{\"boft_block_num\":7}", WS_EFORMAT, "boft_block_num"},
        {"ia3", "{\"feedforward_modules\":null}", WS_EUNSUPPORTED, "feedforward_modules"},
        {"ia3", "{\"feedforward_modules\":[\"gate_proj\"],\"target_modules\":[\"k_proj\"]}", WS_EFORMAT, "gate_proj"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(x, changed(x, bad[i].from, bad[i].keys), bad[i].status, bad[i].part, "case/adapter_config.json");
}

/* A size that only the configuration names must not be allocated, let alone the memory of the machine: the tensors are
 * looked at first. */
static void absurd_sizes_are_refused_before_they_are_allocated(void **state) {
    foreign *x = *state;
    refused(x, changed(x, "negative", "{\"r\":1048576}"), WS_ESHAPE, "lora_A.weight has shape [2, 32]", "case: ");
    refused(x, changed(x, "negative", "{\"r\":99999999}"), WS_EFORMAT, "rank", "adapter_config.json");
    refused(x, changed(x, "negative", "{\"rank_pattern\":{\"layers.3.mlp.down_proj\":1000000}}"), WS_ESHAPE,
            "layers.3.mlp.down_proj.lora_A.weight", "case: ");
    refused(x, changed(x, "delora", "{\"rank_pattern\":{},\"r\":1048576}"), WS_ESHAPE, "delora_A", "case: ");
    refused(x, changed(x, "pissa", "{\"r\":1048576}"), WS_EUSAGE, "only 32 singular vectors", "adapter_config.json");
}

/* Keys that change nothing are read over: an unknown one, sizes as 2.0, an empty filter, patterns without a match. */
static void harmless_configurations_are_read(void **state) {
    foreign *x = *state;
    static const char *const fine[] = {
        "{\"some_future_key\":{\"a\":1}}",
        "{\"r\":2.0,\"lora_alpha\":-3.0}",
        "{\"rank_pattern\":{\"nothing\":7},\"alpha_pattern\":null}",
        "{\"layers_pattern\":[],\"exclude_modules\":[]}",
        "{\"modules_to_save\":[],\"trainable_token_indices\":null,\"bias\":null}",
        "{\"base_model_name_or_path\":\"org/other\",\"revision\":\"main\",\"inference_mode\":false}",
        "{\"task_type\":null,\"auto_mapping\":{\"base_model_class\":\"LlamaForCausalLM\"}}",
        "{\"loftq_config\":{},\"eva_config\":null,\"corda_config\":\"\",\"peft_version\":\"\"}",
        "{\"init_lora_weights\":\"eva\",\"lora_dropout\":0.3}",
        /* left out by other programs: the tensors tell which modules */
        "{\"target_modules\":null,\"layers_to_transform\":\"\"}",
        "{\"target_modules\":\"\"}",
    };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        ws_err err = {0};
        ws_adapter *a;
        char *dir = changed(x, "negative", fine[i]);
        if (ws_adapter_load(&a, x->f.m, dir, &err)) fail_msg("%s: %s", fine[i], err.msg);
        check_logits(x, "negative", ws_adapter_patch(a), fine[i], 1e-6);
        ws_adapter_free(a);
        free(dir);
    }
}

/* The same with the kinds whose names differ: modules are found by the room's own tensors. */
static void missing_targets_come_from_the_tensors(void **state) {
    foreign *x = *state;
    static const char *const from[] = {"all_linear", "delora", "oft_regex", "boft", "multimodal", "outer"};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        ws_err err = {0};
        ws_adapter *a;
        char *dir = changed(x, from[i], "{\"target_modules\":null}");
        if (ws_adapter_load(&a, x->f.m, dir, &err)) fail_msg("%s: %s", from[i], err.msg);
        check_logits(x, from[i], ws_adapter_patch(a), "tensors tell", 1e-6);
        ws_adapter_free(a);
        free(dir);
    }
}

enum change { DROP, MORE, WIDE, FLAT, INTEGER, NOT_A_NUMBER, INFINITE, NONE };
/* The directory with one tensor changed: `key` is left out, has another shape or type or a bad number; MORE: stands there
 * beside the others. */
static char *with_tensor(const foreign *x, const char *from, enum change how, const char *key) {
    ws_err err = {0};
    ws_peft_dir d;
    char *dir = changed(x, from, "{}"), *path = ws_sprintf("%s/adapter_model.safetensors", dir);
    OK(ws_peft_open(&d, dir, &err));
    size_t n = ws_safetensors_count(d.tensors), kept = 0;
    ws_tensor *t = calloc(n + 1, sizeof *t);
    float *copy = calloc(4096, sizeof *copy);
    int hit = how == MORE;
    for (size_t i = 0; i < n; i++) {
        t[kept] = *ws_safetensors_at(d.tensors, i);
        int this = how != MORE && !strcmp(t[kept].name, key);
        hit |= this;
        if ((this && how == DROP) || how == NONE) continue;
        if (this && how == WIDE) t[kept].dim[1]--, t[kept].bytes -= (size_t)t[kept].dim[0] * 4;
        if (this && how == FLAT) t[kept].dims = 1, t[kept].dim[0] *= t[kept].dim[1];
        if (this && how == INTEGER) t[kept].type = WS_I32;
        if (this && (how == NOT_A_NUMBER || how == INFINITE)) {
            memcpy(copy, t[kept].data, t[kept].bytes);
            copy[3] = how == INFINITE ? INFINITY : NAN;
            t[kept].data = copy;
        }
        kept++;
    }
    if (how == MORE) {
        t[kept++] =
            (ws_tensor){.name = strdup(key), .type = WS_F32, .dims = 2, .dim = {2, 32}, .data = copy, .bytes = 256};
        free(t[kept - 1].name);
        t[kept - 1].name = (char *)(uintptr_t)key;
    }
    char *tmp = ws_sprintf("%s/new.safetensors", dir); /* the old file is mapped */
    OK(ws_safetensors_write(tmp, t, kept, NULL, &err));
    assert_true(hit || how == NONE);
    ws_peft_close(&d);
    assert_int_equal(rename(tmp, path), 0);
    free(t), free(copy), free(path), free(tmp);
    return dir;
}

#define Q1 "base_model.model.model.layers.1.self_attn.q_proj."
static void tensors_that_do_not_fit_are_refused_by_name(void **state) {
    foreign *x = *state;
    static const struct {
        const char *from;
        enum change how;
        const char *key;
        ws_status status;
        const char *part;
    } bad[] = {
        {"negative", DROP, Q1 "lora_B.weight", WS_EFORMAT, Q1 "lora_B.weight is missing"},
        {"negative", WIDE, Q1 "lora_A.weight", WS_ESHAPE, Q1 "lora_A.weight has shape [2, 31]"},
        {"negative", FLAT, Q1 "lora_A.weight", WS_ESHAPE, Q1 "lora_A.weight has shape [64]"},
        {"negative", INTEGER, Q1 "lora_A.weight", WS_ESHAPE, Q1 "lora_A.weight is stored as I32"},
        {"negative", NOT_A_NUMBER, Q1 "lora_B.weight", WS_ENONFINITE, Q1 "lora_B.weight holds NaN"},
        {"negative", INFINITE, Q1 "lora_A.weight", WS_ENONFINITE, Q1 "lora_A.weight holds NaN or infinity (element 3)"},
        {"negative", MORE, Q1 "lora_C.weight", WS_EFORMAT, "lora_C.weight belongs to no module"},
        {"negative", MORE, "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight", WS_EFORMAT,
         "layers.2.self_attn.q_proj.lora_A.weight belongs to no module"},
        {"negative", MORE, "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight", WS_EFORMAT, "layers.9"},
        {"negative", MORE, "base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight", WS_EFORMAT, "visual"},
        {"negative", MORE, "base_model.model.lm_head.weight", WS_EFORMAT, "base_model.model.lm_head.weight changes"},
        {"negative", MORE, "base_model.model.lm_head.lora_A.weight", WS_EFORMAT, "lm_head.lora_A.weight changes"},
        {"negative", MORE, "base_model.model.model.embed_tokens.weight", WS_EFORMAT, "embed_tokens.weight changes"},
        {"negative", MORE, "base_model.model.model.embed_tokens.lora_embedding_A", WS_EFORMAT, "embedding"},
        {"negative", MORE, "base_model.model.lm_head.modules_to_save.weight", WS_EFORMAT, "modules_to_save"},
        {"negative", NONE, "", WS_EFORMAT, Q1 "lora_A.weight is missing"},
        {"pissa", DROP, Q1 "lora_A.weight", WS_EFORMAT, Q1 "lora_A.weight is missing"},
        {"delora", DROP, "base_model.model.model.layers.0.self_attn.o_proj.delora_w_norm", WS_EFORMAT, "delora_w_norm"},
        {"oft_shared", WIDE, Q1 "oft_R.weight", WS_ESHAPE, "oft_R.weight has shape [1, 27]"},
        {"oft_shared", MORE, Q1 "oft_r.default", WS_EUNSUPPORTED, "oft_r"},
        {"boft", DROP, "base_model.model.model.layers.0.self_attn.v_proj.boft_s", WS_EFORMAT, "boft_s is missing"},
        {"ia3", DROP, "base_model.model.model.layers.0.mlp.down_proj.ia3_l", WS_EFORMAT, "down_proj.ia3_l is missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(x, with_tensor(x, bad[i].from, bad[i].how, bad[i].key), bad[i].status, bad[i].part, "case");
    /* an adapter that was made for a model without our names says which they are */
    refused(x, changed(x, "ia3", "{\"feedforward_modules\":\".*k_proj\"}"), WS_ESHAPE, "ia3_l has shape", "case: ");
}

/* ---------- files ---------- */

static char *broken(const foreign *x, const char *from, const char *shell) {
    char *dir = changed(x, from, "{}"), *cmd = ws_sprintf("cd %s; %s", dir, shell);
    assert_int_equal(system(cmd), 0);
    free(cmd);
    return dir;
}

static void damaged_directories_are_refused_by_file(void **state) {
    foreign *x = *state;
    static const struct {
        const char *shell;
        ws_status status;
        const char *part, *file;
    } bad[] = {
        {"rm adapter_model.safetensors", WS_EIO, "adapter_model.safetensors", "case"},
        {"mv adapter_model.safetensors adapter_model.bin", WS_EUNSUPPORTED, "save it as safetensors",
         "case/adapter_model.bin"},
        {"rm adapter_config.json", WS_EIO, "adapter_config.json", "case"},
        {"echo '[]' > adapter_config.json", WS_EFORMAT, "", "case/adapter_config.json"},
        {"echo '{' > adapter_config.json", WS_EFORMAT, "not JSON", "case/adapter_config.json"},
        {"sed -i 's/\"r\": 2,/\"r\": 2, \"r\": 3,/' adapter_config.json", WS_EFORMAT, "duplicate",
         "case/adapter_config.json"},
        {"mkdir a b; cp adapter_* a; mv adapter_* b", WS_EUSAGE, "2 adapters", "case"},
        {"head -c 900 adapter_model.safetensors > x; mv x adapter_model.safetensors", WS_EFORMAT, "",
         "case/adapter_model.safetensors"},
        {": > adapter_model.safetensors", WS_EFORMAT, "", "case/adapter_model.safetensors"},
        /* the header names one tensor twice */
        {"sed -i 's/layers.3.self_attn.q_proj.lora_A/layers.1.self_attn.q_proj.lora_A/' adapter_model.safetensors",
         WS_EFORMAT, "layers.1.self_attn.q_proj.lora_A", "case/adapter_model.safetensors"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(x, broken(x, "negative", bad[i].shell), bad[i].status, bad[i].part, bad[i].file);
}

static void one_adapter_in_a_folder_below_is_found(void **state) {
    foreign *x = *state;
    ws_err err = {0};
    ws_adapter *a;
    char *dir = broken(x, "negative", "mkdir persona logs; mv adapter_* persona; touch logs/x");
    OK(ws_adapter_load(&a, x->f.m, dir, &err));
    check_logits(x, "negative", ws_adapter_patch(a), "an adapter in a folder below", 1e-6);
    ws_adapter_free(a);
    free(dir);
}

/* The tensors of a 16-bit file are widened, saved again as F32 and read back: the same numbers. */
static void saved_again_they_are_the_same(void **state) {
    foreign *x = *state;
    static const char *const from[] = {"patterns", "exact", "oft_shared", "delora", "ia3"};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        ws_err err = {0};
        ws_adapter *a, *b;
        char *dir = ws_sprintf(FOREIGN "%s", from[i]), *out = ws_sprintf("%s/again", x->f.tmp);
        OK(ws_adapter_load(&a, x->f.m, dir, &err));
        OK(ws_adapter_save(a, out, &err));
        OK(ws_adapter_load(&b, x->f.m, out, &err));
        assert_int_equal(ws_adapter_size(a), ws_adapter_size(b));
        assert_memory_equal(ws_adapter_values(a), ws_adapter_values(b), (size_t)ws_adapter_size(a) * sizeof(float));
        ws_adapter_free(a), ws_adapter_free(b);
        free(dir), free(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_directory_is_read_as_peft_reads_it),
        cmocka_unit_test(configurations_that_change_the_meaning_are_refused_by_key),
        cmocka_unit_test(absurd_sizes_are_refused_before_they_are_allocated),
        cmocka_unit_test(harmless_configurations_are_read),
        cmocka_unit_test(missing_targets_come_from_the_tensors),
        cmocka_unit_test(tensors_that_do_not_fit_are_refused_by_name),
        cmocka_unit_test(damaged_directories_are_refused_by_file),
        cmocka_unit_test(one_adapter_in_a_folder_below_is_found),
        cmocka_unit_test(saved_again_they_are_the_same),
    };
    return cmocka_run_group_tests_name("adapter/foreign", tests, setup, teardown);
}
