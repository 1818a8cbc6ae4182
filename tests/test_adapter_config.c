/* tests/test_adapter_config.c - configurations as they stand in files: what PEFT makes of them (modules, tensors, shapes, scales)
 * on a tiny llama, and the settings of the reference program (adapters.md 1.7) on a decoder with Qwen3.5's 32 layers, whose
 * module names come from transformers.  Everything is exact. */
#include "adapter/room.h"
#include "adapter_help.h"
#include "run/likeness.h"

static const ws_adapter_ops *room(const char *kind) {
    for (int i = 0; ws_adapter_rooms[i]; i++)
        if (!strcmp(ws_adapter_rooms[i]->name, kind)) return ws_adapter_rooms[i];
    fail_msg("this build has no adapter %s", kind);
    return NULL;
}

/* ---------- the tiny llama ---------- */

/* A directory with this configuration and zeros of the shapes that PEFT would save. */
static void write_zeros(const char *dir, const json_t *config, const json_t *tensors) {
    ws_err err = {0};
    size_t n = 0;
    ws_tensor *t = calloc(json_object_size(tensors), sizeof *t);
    const char *name;
    json_t *shape;
    static float zeros[4096];
    json_object_foreach((json_t *)(uintptr_t)tensors, name, shape) {
        t[n] = (ws_tensor){.name = strdup(name), .type = WS_F32, .data = zeros, .bytes = 4};
        for (size_t d = 0; d < json_array_size(shape); d++)
            t[n].dim[t[n].dims++] = json_integer_value(json_array_get(shape, d));
        for (int d = 0; d < t[n].dims; d++) t[n].bytes *= (size_t)t[n].dim[d];
        assert_true(t[n++].bytes <= sizeof zeros);
    }
    OK(ws_mkdirs(dir, &err));
    OK(ws_peft_write(dir, config, t, n, &err));
    for (size_t i = 0; i < n; i++) free(t[i].name);
    free(t);
}

static void files_mean_what_peft_makes_of_them(void **state) {
    fixture *f = *state;
    const json_t *cases = json_object_get(f->info, "llama"), *c;
    int of_kind[ALL_KINDS] = {0};
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)cases, i, c) {
        const char *kind = json_string_value(json_object_get(c, "kind"));
        const json_t *config = json_object_get(c, "config"), *tensors = json_object_get(c, "tensors"),
                     *scales = json_object_get(c, "scale");
        char dir[128], *text = json_dumps(config, JSON_SORT_KEYS);
        ws_err err = {0};
        ws_adapter *a = NULL;
        snprintf(dir, sizeof dir, "%s/case%zu", f->tmp, i);
        write_zeros(dir, config, tensors);
        if (ws_adapter_load(&a, f->m, dir, &err)) fail_msg("%s: %s", text, err.msg);
        assert_string_equal(ws_adapter_kind(a), kind);
        assert_int_equal(ws_adapter_n_params(a), (int)json_object_size(tensors));
        for (int k = 0; k < ws_adapter_n_sites(a); k++) {
            const json_t *want = json_object_get(scales, ws_adapter_site_name(a, k));
            if (json_object_size(scales)) assert_non_null(want);
            if (want && a->site[k].scale != (float)json_number_value(want))
                fail_msg("%s: the scale of %s is %.9g", text, ws_adapter_site_name(a, k), a->site[k].scale);
        }
        snprintf(dir, sizeof dir, "%s/again%zu", f->tmp, i);
        OK(ws_adapter_save(a, dir, &err));
        ws_adapter *again = load_from(f->m, "%s", dir); /* saving does not change what patterns say */
        same_values(a, again, text);
        for (int k = 0; k < ws_adapter_n_sites(a); k++) assert_true(a->site[k].scale == again->site[k].scale);
        ws_adapter_free(again);
        for (int k = 0; k < ALL_KINDS; k++) of_kind[k] += !strcmp(all_kinds[k], kind);
        free(text);
        ws_adapter_free(a);
    }
    for (int k = 0; k < ALL_KINDS; k++) assert_true(of_kind[k] >= 2);
}

/* Lambda where a pattern sets it, before any value is read: PEFT's initial one. */
static void patterns_of_lambda(void **state) {
    fixture *f = *state;
    const ws_adapter_ops *o = room("delora");
    ws_err err = {0};
    ws_adapter *a;
    json_t *c = json_loads(o->config, 0, NULL);
    json_object_set_new(c, "target_modules", json_pack("[s]", "q_proj"));
    json_object_set_new(c, "lambda_pattern", json_pack("{s:f, s:i}", "layers.2.*", 7.5, "q_proj", 3));
    OK(ws_adapter_build(&a, f->m, o, c, NULL, "case", &err));
    ws_adapter_init(a, 0);
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i);
        if (strcmp(p->suffix, "delora_lambda")) continue;
        assert_true(p->value[0] == (ws_model_site(f->m, p->site)->layer == 2 ? 7.5f : 3));
    }
    ws_adapter_free(a);
}

/* ---------- 32 layers of Qwen3.5 ---------- */

static base_copy narrow_qwen35(const fixture *f) {
    ws_err err = {0};
    base_copy b;
    ws_likeness l = *ws_likeness_find("qwen3.5-4b");
    l.hidden = 48, l.ffn = 40, l.heads = 4, l.kv_heads = 2, l.head_dim = 24, l.linear_k = 2, l.linear_v = 4;
    l.linear_dim = 10, l.vocab = 64;
    ws_like_tensors t = ws_likeness_tensors(&l, 1, 1);
    uint32_t seed = 1;
    char dir[128], path[192];
    for (size_t i = 0; i < t.n; i++) {
        float *v = malloc(t.t[i].bytes);
        for (size_t k = 0; k < t.t[i].bytes / sizeof *v; k++)
            seed = seed * 1664525u + 1013904223u, v[k] = (float)(seed >> 8) / 8388608.0f - 1;
        t.t[i].data = v;
    }
    snprintf(dir, sizeof dir, "%s/qwen35", f->tmp);
    OK(ws_mkdirs(dir, &err));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(ws_safetensors_write(path, t.t, t.n, NULL, &err));
    for (size_t i = 0; i < t.n; i++) free((void *)(uintptr_t)t.t[i].data), t.t[i].data = NULL;
    ws_like_tensors_free(&t);
    json_t *config = ws_likeness_config(&l, 1);
    snprintf(path, sizeof path, "%s/config.json", dir);
    OK(ws_json_save(config, path, &err));
    json_decref(config);
    OK(ws_checkpoint_open(&b.c, dir, &err));
    OK(ws_model_open(&b.m, b.c, &err));
    assert_int_equal(ws_model_dims(b.m)->layers, 32);
    return b;
}

static int listed(const json_t *list, const char *name) {
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) if (!strcmp(json_string_value(v), name)) return 1;
    return 0;
}

static void modules_of_qwen35_are_pefts(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    const json_t *info = json_object_get(f->info, "qwen35"), *linears = json_object_get(info, "linears"),
                 *cases = json_object_get(info, "cases"), *c;
    base_copy b = narrow_qwen35(f);
    size_t i;
    int named = 0;
    for (int s = 0; s < ws_model_n_sites(b.m); s++) {
        const ws_site *at = ws_model_site(b.m, s);
        if (at->kind != WS_SITE_LINEAR) continue;
        if (!listed(linears, at->name)) fail_msg("transformers has no linear %s", at->name);
        named++;
    }
    assert_int_equal(named, (int)json_array_size(linears) - 1); /* lm_head is no site */
    assert_int_equal(json_array_size(cases), ALL_KINDS);
    json_array_foreach((json_t *)(uintptr_t)cases, i, c) {
        const char *kind = json_string_value(json_object_get(c, "kind"));
        const json_t *config = json_object_get(c, "config"), *want = json_object_get(c, "modules");
        const ws_adapter_ops *o = room(kind);
        ws_adapter *a;
        json_t *complete = json_loads(o->config, 0, NULL), *key;
        const char *name;
        json_object_foreach((json_t *)(uintptr_t)config, name, key) { /* PEFT's key set is ours */
            if (!json_object_get(complete, name)) fail_msg("%s: key %s is not known", kind, name);
        }
        assert_int_equal(json_object_size(complete), json_object_size(config));
        json_decref(complete);
        OK(ws_adapter_build(&a, b.m, o, json_deep_copy(config), NULL, kind, &err));
        for (int k = 0; k < ws_adapter_n_sites(a); k++)
            if (!listed(want, ws_adapter_site_name(a, k)))
                fail_msg("%s: %s is adapted, not so in PEFT", kind, ws_adapter_site_name(a, k));
        assert_int_equal(ws_adapter_n_sites(a), (int)json_array_size(want));

        /* what is saved with it is read as the same again, by the room that it belongs to */
        char dir[128];
        snprintf(dir, sizeof dir, "%s/%s", f->tmp, kind);
        ws_adapter_init(a, 3);
        OK(ws_adapter_save(a, dir, &err));
        ws_peft_dir saved;
        OK(ws_peft_open(&saved, dir, &err));
        if (!json_equal(saved.config, (json_t *)(uintptr_t)config))
            fail_msg("%s: the saved configuration differs", kind);
        ws_peft_close(&saved);
        ws_adapter *again = load_from(b.m, "%s", dir);
        assert_string_equal(ws_adapter_kind(again), kind);
        same_values(a, again, kind);

        /* the program's own defaults are these settings, but for the names of base and version */
        ws_adapter *own;
        ws_adapter_config defaults = {kind, 32, 64, -1, -1, NULL, 8, 15};
        OK(ws_adapter_new(&own, b.m, &defaults, &err));
        json_object_foreach((json_t *)(uintptr_t)config, name, key) {
            if (!strcmp(name, "base_model_name_or_path") || !strcmp(name, "peft_version")) continue;
            const json_t *ours = json_object_get(own->config, name);
            int same = json_equal((json_t *)(uintptr_t)ours, key);
            if (!strcmp(name, "target_modules")) { /* a set */
                size_t k;
                json_t *v;
                same = json_array_size(ours) == json_array_size(key);
                json_array_foreach(key, k, v) same &= listed(ours, json_string_value(v));
            }
            if (!same) {
                char *x = json_dumps(ours, JSON_ENCODE_ANY), *y = json_dumps(key, JSON_ENCODE_ANY);
                fail_msg("%s: %s is %s, the reference program has %s", kind, name, x, y);
            }
        }
        printf("  %-6s %d modules\n", kind, ws_adapter_n_sites(own));
        assert_int_equal(ws_adapter_n_sites(own), ws_adapter_n_sites(a));
        ws_adapter_free(own), ws_adapter_free(again), ws_adapter_free(a);
    }
    copy_close(&b);
}

static int setup(void **state) {
    fixture *f = *state = malloc(sizeof(fixture));
    part_open(f, "configs", PEFT_DIR "model");
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(files_mean_what_peft_makes_of_them), T(patterns_of_lambda),
                                       T(modules_of_qwen35_are_pefts)};
    return cmocka_run_group_tests_name("adapter/config", tests, NULL, NULL);
}
