/* tests/test_adapter_target.c - the modules that a configuration adapts, case by case as PEFT decided them. */
#include "adapter/room.h"
#include "peft_help.h"

static void modules_are_the_ones_peft_adapts(void **state) {
    fixture *f = *state;
    const json_t *cases = json_object_get(f->info, "targeting");
    size_t i, checked = 0;
    json_t *c;
    json_array_foreach(cases, i, c) {
        const json_t *config = json_object_get(c, "config"), *want = json_object_get(c, "modules");
        ws_target t;
        ws_err err = {0};
        size_t hits = 0;
        OK(ws_target_read(&t, config, 1, "case", &err));
        for (int s = 0; s < ws_model_n_sites(f->m); s++) {
            const ws_site *at = ws_model_site(f->m, s);
            int expected = 0;
            for (size_t k = 0; k < json_array_size(want); k++)
                expected |= !strcmp(json_string_value(json_array_get(want, k)), at->name);
            if (at->kind != WS_SITE_LINEAR) continue;
            int hit = ws_target_match(&t, at->name, &err);
            if (hit != expected) {
                char *text = json_dumps(config, 0);
                fail_msg("%s: %s is %s, PEFT says %s", text, at->name, hit ? "adapted" : "left",
                         expected ? "adapted" : "left");
            }
            hits += (size_t)hit, checked++;
        }
        assert_int_equal(hits, json_array_size(want));
        ws_target_release(&t);
    }
    assert_true(checked > 300);
}

static void match_names(const char *config, const char *name, int want) {
    ws_target t;
    ws_err err = {0};
    json_t *c = json_loads(config, 0, NULL);
    OK(ws_target_read(&t, c, 1, "case", &err));
    assert_int_equal(ws_target_match(&t, name, &err), want);
    ws_target_release(&t);
    json_decref(c);
}

/* Names of other classes, by hand from adapters.md 1.2 and 1.3. */
static void names_of_other_models(void **state) {
    (void)state;
    const char *seven = "{\"target_modules\":[\"q_proj\",\"k_proj\",\"v_proj\",\"o_proj\",\"gate_proj\",\"up_proj\","
                        "\"down_proj\"],\"layers_to_transform\":[11]}";
    match_names(seven, "model.layers.11.linear_attn.out_proj", 0); /* does not end in ".o_proj" */
    match_names(seven, "model.layers.11.linear_attn.in_proj_qkv", 0);
    match_names(seven, "model.layers.11.self_attn.q_proj", 1);
    match_names(seven, "model.layers.111.self_attn.q_proj", 0);
    match_names(seven, "model.language_model.layers.11.mlp.up_proj", 1);
    match_names(seven, "q_proj", 1); /* an exact name is taken without looking at the layers */
    match_names(seven, "lm_head", 0);
}

static void refuse(const char *config, const char *part) {
    ws_target t;
    ws_err err = {0};
    json_t *c = json_loads(config, 0, NULL);
    REFUSED(WS_EFORMAT, part, ws_target_read(&t, c, 1, "case", &err));
    ws_target_release(&t);
    json_decref(c);
}

static void bad_targets_are_named(void **state) {
    (void)state;
    refuse("{\"target_modules\":[1]}", "target_modules[0]");
    refuse("{\"target_modules\":{\"a\":1}}", "target_modules");
    refuse("{\"target_modules\":[\"q_proj\"],\"layers_to_transform\":[\"a\"]}", "layers_to_transform");
    refuse("{\"target_modules\":\".*q_proj\",\"layers_to_transform\":[1]}", "layers_to_transform");
}

static void first_matching_pattern_wins(void **state) {
    (void)state;
    ws_err err = {0};
    double v;
    json_t *p = json_loads("{\"layers\\\\.2\\\\..*_proj\":5,\"q_proj\":2}", 0, NULL);
    OK(ws_target_pattern(p, "model.layers.2.self_attn.q_proj", 8, &v, "case", &err));
    assert_true(v == 5);
    OK(ws_target_pattern(p, "model.layers.1.self_attn.q_proj", 8, &v, "case", &err));
    assert_true(v == 2);
    OK(ws_target_pattern(p, "model.layers.1.self_attn.aq_proj", 8, &v, "case", &err));
    assert_true(v == 8);
    json_decref(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(modules_are_the_ones_peft_adapts, fixture_setup, fixture_teardown),
        cmocka_unit_test(names_of_other_models),
        cmocka_unit_test(bad_targets_are_named),
        cmocka_unit_test(first_matching_pattern_wins),
    };
    return cmocka_run_group_tests_name("adapter/target", tests, NULL, NULL);
}
