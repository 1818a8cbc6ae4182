/* tests/test_adapter_lora.c - LoRA against PEFT: initial bits, logits, gradients, files both ways, and what is refused.
 * Tolerances (adapters.md 5): logits 1e-6 of their size, gradients 1e-5 of each tensor's largest, files exact. */
#include "peft_help.h"

static ws_adapter *own_adapter(const fixture *f, const ws_model *m) {
    ws_adapter *a;
    ws_err err = {0};
    ws_adapter_config cfg = {.kind = "lora", .rank = 4, .alpha = 8, .layer_begin = 1, .layer_end = 3, .targets = NULL};
    (void)f;
    OK(ws_adapter_new(&a, m, &cfg, &err));
    return a;
}

static void check_initial(const fixture *f, ws_adapter *a, const char *prefix) {
    ws_adapter_init(a, (uint64_t)json_integer_value(json_object_get(f->info, "init_seed")));
    assert_int_equal(ws_adapter_n_params(a), 28);
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i);
        char *name = param_name(f, p);
        if (strstr(name, "lora_A")) {
            const ws_tensor *t = want_tensor(f, "%s.%s", prefix, name);
            assert_int_equal(t->bytes, (size_t)(p->rows * p->cols) * 4);
            assert_memory_equal(p->value, t->data, t->bytes);
        } else {
            for (int64_t k = 0; k < p->rows * p->cols; k++) assert_true(p->value[k] == 0);
        }
        free(name);
    }
}

static void initial_tensors_are_torchs_bits(void **state) {
    fixture *f = *state;
    ws_adapter *a = own_adapter(f, f->m);
    check_initial(f, a, "init");
    ws_adapter_free(a);
}

/* The same base with its matrices in BF16. */
static void initial_tensors_on_a_bf16_base(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    size_t n = ws_checkpoint_count(f->c);
    ws_tensor *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        t[i] = *ws_checkpoint_at(f->c, i);
        int64_t count = ws_tensor_numel(&t[i]);
        float *v = ws_tensor_f32(&t[i]);
        uint16_t *h = malloc((size_t)count * sizeof *h);
        for (int64_t k = 0; k < count; k++) h[k] = ws_f32_bf16(v[k]);
        t[i].data = h, t[i].type = WS_BF16, t[i].bytes = (size_t)count * 2;
        free(v);
    }
    char path[128], cmd[256];
    snprintf(path, sizeof path, "%s/model.safetensors", f->tmp);
    OK(ws_safetensors_write(path, t, n, NULL, &err));
    snprintf(cmd, sizeof cmd, "cp " PEFT_DIR "model/config.json %s/", f->tmp);
    assert_int_equal(system(cmd), 0);
    ws_checkpoint *c;
    ws_model *m;
    OK(ws_checkpoint_open(&c, f->tmp, &err));
    OK(ws_model_open(&m, c, &err));
    ws_adapter *a = own_adapter(f, m);
    check_initial(f, a, "init_bf16");
    ws_adapter_free(a);
    ws_model_free(m);
    ws_checkpoint_close(c);
    for (size_t i = 0; i < n; i++) free((void *)t[i].data);
    free(t);
}

static void a_fresh_adapter_is_the_base(void **state) {
    fixture *f = *state;
    ws_adapter *a = own_adapter(f, f->m);
    ws_adapter_init(a, 3);
    for (int r = 0; r < 3; r++) {
        int n;
        float *base = logits_of(f, f->m, r, NULL, 0, &n), *with = logits_of(f, f->m, r, ws_adapter_patch(a), 1, &n);
        assert_true(worst_error(with, base, (int64_t)n * 40, NULL) == 0);
        free(base), free(with);
    }
    ws_adapter_free(a);
}

static ws_adapter *load(const fixture *f, const char *dir) {
    ws_adapter *a;
    ws_err err = {0};
    OK(ws_adapter_load(&a, f->m, dir, &err));
    return a;
}

static void logits_equal_pefts(void **state) {
    fixture *f = *state;
    ws_adapter *a = load(f, PEFT_DIR "pos");
    double worst = 0;
    for (int r = 0; r < 3; r++) {
        int n;
        const ws_tensor *t = want_tensor(f, "logits.%d", r);
        float *got = logits_of(f, f->m, r, ws_adapter_patch(a), 1, &n), *base = logits_of(f, f->m, r, NULL, 0, &n);
        double size = 0, e = worst_error(got, t->data, (int64_t)n * 40, &size) / size;
        worst = e > worst ? e : worst;
        assert_true(worst_error(base, t->data, (int64_t)n * 40, NULL) > 0.05 * size); /* the adapter does something */
        free(got), free(base);
    }
    printf("  largest logit error / largest logit %.2e\n", worst);
    assert_true(worst < 1e-6);
    ws_adapter_free(a);
}

/* Two micro-batches, weights 1 / N_items, ragged rows; `order` reverses the rows inside a micro-batch. */
static double gradients(const fixture *f, ws_adapter *a, int recompute) {
    ws_err err = {0};
    int32_t ids[6][64];
    ws_train_row row[6];
    int items = 0;
    for (int r = 0; r < 6; r++) {
        int first, n = row_of(f, r, ids[r], &first);
        row[r] = (ws_train_row){ids[r], n, first, 0};
        items += n - first;
    }
    for (int r = 0; r < 6; r++) row[r].weight = (float)(1.0 / items);
    ws_patch *patch = ws_adapter_patch(a);
    ws_train_out one, two;
    ws_model_set_recompute(f->m, recompute);
    ws_adapter_zero_grad(a);
    OK(ws_train_pass(f->m, row, 4, &patch, 1, 0, &one, NULL, &err));
    OK(ws_train_pass(f->m, row + 4, 2, &patch, 1, 0, &two, NULL, &err));
    ws_adapter_finish_grad(a);
    return one.loss + two.loss;
}

static void gradients_of_two_micro_batches_equal_pefts(void **state) {
    fixture *f = *state;
    ws_adapter *a = load(f, PEFT_DIR "pos");
    float *kept = malloc((size_t)ws_adapter_size(a) * sizeof *kept);
    for (int recompute = 0; recompute < 2; recompute++) {
        double loss = gradients(f, a, recompute), want = json_real_value(json_object_get(f->info, "grad_loss")),
               worst = 0;
        assert_true(fabs(loss - want) < 1e-6 * want);
        for (int i = 0; i < ws_adapter_n_params(a); i++) {
            const ws_param *p = ws_adapter_param(a, i);
            char *name = param_name(f, p);
            double size = 0, e = worst_error(p->grad, want_tensor(f, "grad.%s", name)->data, p->rows * p->cols, &size);
            free(name);
            assert_true(size > 0);
            worst = e / size > worst ? e / size : worst;
        }
        printf("  loss error %.1e, largest gradient error / largest of its tensor %.2e\n", fabs(loss - want) / want,
               worst);
        assert_true(worst < 1e-5);
        if (recompute) assert_memory_equal(kept, ws_adapter_grads(a), (size_t)ws_adapter_size(a) * sizeof *kept);
        memcpy(kept, ws_adapter_grads(a), (size_t)ws_adapter_size(a) * sizeof *kept);
    }
    ws_model_set_recompute(f->m, 0);
    free(kept);
    ws_adapter_free(a);
}

/* Central differences of the fp32 loss along the gradient itself: with h |g| = 2e-2 the quadratic error is about 1e-4 of
 * the slope and rounding about 3e-7 / 2e-2 = 1.5e-5; 1e-3 leaves room and still sees any wrong factor. */
static void gradients_are_the_slope_of_the_loss(void **state) {
    fixture *f = *state;
    ws_adapter *a = load(f, PEFT_DIR "pos");
    int64_t n = ws_adapter_size(a);
    float *v = ws_adapter_values(a), *g = malloc((size_t)n * sizeof *g), *at = malloc((size_t)n * sizeof *at);
    gradients(f, a, 0);
    memcpy(g, ws_adapter_grads(a), (size_t)n * sizeof *g), memcpy(at, v, (size_t)n * sizeof *at);
    double norm = 0, loss[2];
    for (int64_t i = 0; i < n; i++) norm += (double)g[i] * g[i];
    norm = sqrt(norm);
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < n; i++) v[i] = (float)(at[i] + (s ? 1 : -1) * 0.02 / norm * g[i]);
        ws_adapter_refresh(a);
        loss[s] = gradients(f, a, 0);
    }
    double slope = (loss[1] - loss[0]) / 0.04;
    printf("  slope %.6f, gradient norm %.6f\n", slope, norm);
    assert_true(fabs(slope - norm) < 1e-3 * norm);
    free(g), free(at);
    ws_adapter_free(a);
}

static void same_tensors(const char *a_dir, const char *b_dir, int exact_type) {
    ws_err err = {0};
    ws_peft_dir a, b;
    OK(ws_peft_open(&a, a_dir, &err));
    OK(ws_peft_open(&b, b_dir, &err));
    assert_int_equal(ws_safetensors_count(a.tensors), ws_safetensors_count(b.tensors));
    for (size_t i = 0; i < ws_safetensors_count(a.tensors); i++) {
        const ws_tensor *t = ws_safetensors_at(a.tensors, i), *u = ws_safetensors_find(b.tensors, t->name);
        assert_non_null(u);
        float *x = ws_tensor_f32(t), *y = ws_tensor_f32(u);
        assert_int_equal(ws_tensor_numel(t), ws_tensor_numel(u));
        assert_memory_equal(x, y, (size_t)ws_tensor_numel(t) * sizeof *x);
        if (exact_type) assert_int_equal(t->type, u->type);
        free(x), free(y);
    }
    ws_peft_close(&a), ws_peft_close(&b);
}

static void directories_come_back_exactly(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    static const char *const dir[] = {PEFT_DIR "pos", PEFT_DIR "neg", PEFT_DIR "neg_bf16"};
    for (int i = 0; i < 3; i++) {
        ws_adapter *a = load(f, dir[i]);
        char out[128];
        snprintf(out, sizeof out, "%s/again%d", f->tmp, i);
        OK(ws_adapter_save(a, out, &err));
        same_tensors(dir[i], out, i < 2);
        ws_peft_dir x, y;
        OK(ws_peft_open(&x, dir[i], &err));
        OK(ws_peft_open(&y, out, &err));
        assert_true(json_equal(x.config, y.config)); /* every key that PEFT wrote, with its value */
        ws_peft_close(&x), ws_peft_close(&y);
        OK(ws_adapter_check_base(f->m, out, 0, &err));
        ws_adapter_free(a);
    }
}

/* Keys, sorting, indentation and the missing last newline of adapter_config.json: the file that PEFT wrote differs from
 * ours in the values of five keys alone. */
static void our_configuration_has_pefts_form(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a = own_adapter(f, f->m);
    char out[128], path[160];
    ws_adapter_init(a, 0);
    snprintf(out, sizeof out, "%s/own", f->tmp);
    OK(ws_adapter_save(a, out, &err));
    snprintf(path, sizeof path, "%s/adapter_config.json", out);
    json_t *ours, *theirs;
    OK(ws_json_load(&ours, path, &err));
    OK(ws_json_load(&theirs, PEFT_DIR "pos/adapter_config.json", &err));
    assert_int_equal(json_object_size(ours), json_object_size(theirs));
    for (void *it = json_object_iter(theirs); it; it = json_object_iter_next(theirs, it)) {
        const char *key = json_object_iter_key(it);
        assert_non_null(json_object_get(ours, key));
        if (!strcmp(key, "base_model_name_or_path") || !strcmp(key, "lora_alpha") ||
            !strcmp(key, "layers_to_transform") || !strcmp(key, "target_modules"))
            continue;
        if (!json_equal(json_object_get(ours, key), json_object_iter_value(it))) fail_msg("%s differs", key);
    }
    ws_str text = {0};
    OK(ws_file_read(path, &text, &err));
    const char *begins = "{\n  \"alora_invocation_tokens\": null,\n";
    assert_int_equal(strncmp(text.p, begins, strlen(begins)), 0);
    assert_int_equal(text.p[text.n - 1], '}');
    ws_str_free(&text);
    json_decref(ours), json_decref(theirs);
    ws_adapter_free(a);
}

/* ---------- what is refused ---------- */

/* A copy of pos with one key of its configuration replaced. */
static void with_key(const fixture *f, char dir[128], const char *key, const char *value) {
    ws_err err = {0};
    char cmd[400], path[192];
    json_t *c, *v = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    snprintf(dir, 128, "%s/case", f->tmp);
    snprintf(cmd, sizeof cmd, "rm -rf %s; cp -r " PEFT_DIR "pos %s", dir, dir);
    assert_int_equal(system(cmd), 0);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    OK(ws_json_load(&c, path, &err));
    json_object_set_new(c, key, v);
    OK(ws_json_save(c, path, &err));
    json_decref(c);
}

static void features_that_change_the_meaning_are_refused(void **state) {
    fixture *f = *state;
    static const char *const bad[][2] = {{"modules_to_save", "[\"lm_head\"]"},
                                         {"lora_bias", "true"},
                                         {"bias", "\"all\""},
                                         {"layer_replication", "[[0,2]]"},
                                         {"target_parameters", "[\"x\"]"},
                                         {"trainable_token_indices", "[1]"},
                                         {"alora_invocation_tokens", "[1]"},
                                         {"use_qalora", "true"},
                                         {"init_lora_weights", "\"pissa_niter_4\""},
                                         {"init_lora_weights", "\"olora\""},
                                         {"kasa_config", "{\"a\":1}"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ws_err err = {0};
        ws_adapter *a = NULL;
        char dir[128];
        with_key(f, dir, bad[i][0], bad[i][1]);
        REFUSED(WS_EUNSUPPORTED, bad[i][0], ws_adapter_load(&a, f->m, dir, &err));
        assert_null(a);
    }
}

/* One peft_type, three rooms. */
static void dora_and_pissa_have_rooms_of_their_own(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a = NULL;
    char dir[128], path[192];
    with_key(f, dir, "init_lora_weights", "\"pissa\"");
    a = load(f, dir);
    assert_string_equal(ws_adapter_kind(a), "pissa");
    ws_adapter_free(a);
    with_key(f, dir, "use_dora", "true"); /* whose magnitudes this file lacks */
    REFUSED(WS_EFORMAT, "lora_magnitude_vector is missing", ws_adapter_load(&a, f->m, dir, &err));
    json_t *c;
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    OK(ws_json_load(&c, path, &err));
    json_object_set_new(c, "init_lora_weights", json_string("pissa"));
    OK(ws_json_save(c, path, &err));
    json_decref(c);
    REFUSED(WS_EUNSUPPORTED, "use_dora together with", ws_adapter_load(&a, f->m, dir, &err));
    with_key(f, dir, "init_lora_weights", "\"pissa\"");
    OK(ws_json_load(&c, path, &err));
    json_object_set_new(c, "lora_alpha", json_integer(-6));
    OK(ws_json_save(c, path, &err));
    json_decref(c);
    REFUSED(WS_EUSAGE, "above 0", ws_adapter_load(&a, f->m, dir, &err));
}

static void harmless_keys_are_not(void **state) {
    fixture *f = *state;
    static const char *const fine[][2] = {{"some_future_key", "[1,2]"},
                                          {"inference_mode", "false"},
                                          {"init_lora_weights", "\"gaussian\""},
                                          {"peft_version", "\"0.5.0\""},
                                          {"modules_to_save", "[]"},
                                          {"lora_dropout", "0.1"},
                                          {"runtime_config", "{\"ephemeral_gpu_offload\":false}"}};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        char dir[128];
        with_key(f, dir, fine[i][0], fine[i][1]);
        ws_adapter_free(load(f, dir));
    }
}

static void scale_follows_alpha_rank_and_rslora(void **state) {
    fixture *f = *state;
    static const struct {
        const char *key, *value;
        double scale;
    } c[] = {
        {"lora_alpha", "-2.5", -2.5 / 4}, {"use_rslora", "true", 6 / 2.0}, {"alpha_pattern", "{\".*\": 1}", 1 / 4.0}};
    for (size_t i = 0; i < 3; i++) {
        ws_err err = {0};
        char dir[128];
        ws_edit e;
        with_key(f, dir, c[i].key, c[i].value);
        ws_adapter *a = load(f, dir);
        OK(ws_adapter_edit(a, 0, &e, &err));
        const float *b = ws_adapter_param(a, 1)->value;
        for (int64_t k = 0; k < e.d_out * e.k; k++) assert_true(e.u[k] == (float)c[i].scale * b[k]);
        ws_edit_release(&e);
        ws_adapter_free(a);
    }
}

/* Rewrites the tensor file of a copy of pos: `change` may rename, retype or drop tensor 0. */
enum change { DROP, RENAME, SHORT_ROWS, NOT_A_NUMBER, LANGUAGE_MODEL };
static void with_tensor(const fixture *f, char dir[128], enum change how) {
    ws_err err = {0};
    ws_peft_dir d;
    char path[192];
    with_key(f, dir, "revision", "null");
    OK(ws_peft_open(&d, PEFT_DIR "pos", &err));
    size_t n = ws_safetensors_count(d.tensors);
    ws_tensor *t = calloc(n, sizeof *t);
    float *copy = NULL;
    for (size_t i = 0; i < n; i++) {
        t[i] = *ws_safetensors_at(d.tensors, i);
        t[i].name = how == LANGUAGE_MODEL ? ws_sprintf("base_model.model.model.language_model.%s", t[i].name + 23)
                                          : strdup(t[i].name);
    }
    if (how == RENAME)
        free(t[0].name), t[0].name = strdup("base_model.model.model.layers.1.mlp.gate_proj.lora_E.weight");
    if (how == SHORT_ROWS) t[0].dim[0]--, t[0].bytes -= (size_t)t[0].dim[1] * 4;
    if (how == NOT_A_NUMBER) {
        copy = malloc(t[0].bytes);
        memcpy(copy, t[0].data, t[0].bytes);
        copy[3] = NAN;
        t[0].data = copy;
    }
    if (how == DROP) free(t[0].name);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    OK(ws_safetensors_write(path, t + (how == DROP), n - (how == DROP), NULL, &err));
    for (size_t i = how == DROP; i < n; i++) free(t[i].name);
    free(t), free(copy);
    ws_peft_close(&d);
}

static void wrong_tensors_are_named(void **state) {
    fixture *f = *state;
    const char *first = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight";
    ws_adapter *a = NULL;
    ws_err err = {0};
    char dir[128];
    with_tensor(f, dir, DROP);
    REFUSED(WS_EFORMAT, first, ws_adapter_load(&a, f->m, dir, &err));
    with_tensor(f, dir, SHORT_ROWS);
    REFUSED(WS_ESHAPE, first, ws_adapter_load(&a, f->m, dir, &err));
    with_tensor(f, dir, NOT_A_NUMBER);
    REFUSED(WS_ENONFINITE, first, ws_adapter_load(&a, f->m, dir, &err));
    with_key(f, dir, "layers_to_transform", "[1]"); /* layer 3's tensors are surplus now */
    REFUSED(WS_EFORMAT, "layers.3", ws_adapter_load(&a, f->m, dir, &err));
    with_key(f, dir, "r", "5");
    REFUSED(WS_ESHAPE, "lora_A.weight", ws_adapter_load(&a, f->m, dir, &err));
    with_key(f, dir, "r", "0");
    REFUSED(WS_EFORMAT, "rank", ws_adapter_load(&a, f->m, dir, &err));
    with_key(f, dir, "peft_type", "\"VERA\"");
    REFUSED(WS_EUNSUPPORTED, "VERA", ws_adapter_load(&a, f->m, dir, &err));
    with_tensor(f, dir, RENAME);
    REFUSED(WS_EFORMAT, first, ws_adapter_load(&a, f->m, dir, &err));
}

/* A multimodal class names the same modules model.language_model.layers.N...: mapped, and the same numbers. */
static void language_model_names_are_mapped(void **state) {
    fixture *f = *state;
    char dir[128];
    with_tensor(f, dir, LANGUAGE_MODEL);
    ws_adapter *a = load(f, PEFT_DIR "pos"), *b = load(f, dir);
    assert_int_equal(ws_adapter_size(a), ws_adapter_size(b));
    assert_memory_equal(ws_adapter_values(a), ws_adapter_values(b), (size_t)ws_adapter_size(a) * sizeof(float));
    ws_adapter_free(a), ws_adapter_free(b);
}

static void another_base_is_refused_unless_forced(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    char out[128], path[160];
    ws_adapter *a = load(f, PEFT_DIR "pos");
    json_t *j;
    snprintf(out, sizeof out, "%s/base", f->tmp);
    OK(ws_adapter_save(a, out, &err));
    snprintf(path, sizeof path, "%s/ws_base.json", out);
    OK(ws_json_load(&j, path, &err));
    json_object_set_new(j, "base_hash", json_string("0123"));
    OK(ws_json_save(j, path, &err));
    json_decref(j);
    REFUSED(WS_ESTATE, "--force", ws_adapter_check_base(f->m, out, 0, &err));
    OK(ws_adapter_check_base(f->m, out, 1, &err));
    OK(ws_adapter_check_base(f->m, PEFT_DIR "pos", 0, &err)); /* PEFT does not say which base it was */
    ws_adapter_free(a);
}

static void options_are_checked(void **state) {
    fixture *f = *state;
    ws_adapter *a;
    ws_err err = {0};
    ws_adapter_config c = {.kind = "lora", .rank = 4, .alpha = 8, .layer_begin = -1, .layer_end = -1, .targets = NULL};
    OK(ws_adapter_new(&a, f->m, &c, &err));
    assert_int_equal(ws_adapter_n_sites(a), 14); /* round(1.2) .. round(3.2) - 1 = layers 1, 2 */
    assert_int_equal(ws_adapter_lowest_layer(a), 1);
    ws_adapter_free(a);
    c.targets = "q_proj,v_prj";
    REFUSED(WS_EUSAGE, "v_prj", ws_adapter_new(&a, f->m, &c, &err));
    c.targets = NULL, c.layer_begin = 2, c.layer_end = 5;
    REFUSED(WS_EUSAGE, "0:4", ws_adapter_new(&a, f->m, &c, &err));
    c.layer_end = 4, c.rank = 0;
    REFUSED(WS_EUSAGE, "rank", ws_adapter_new(&a, f->m, &c, &err));
    c.rank = 4, c.kind = "lorra";
    REFUSED(WS_EUSAGE, "lora", ws_adapter_new(&a, f->m, &c, &err));
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(initial_tensors_are_torchs_bits),
                                       T(initial_tensors_on_a_bf16_base),
                                       T(a_fresh_adapter_is_the_base),
                                       T(logits_equal_pefts),
                                       T(gradients_of_two_micro_batches_equal_pefts),
                                       T(gradients_are_the_slope_of_the_loss),
                                       T(directories_come_back_exactly),
                                       T(our_configuration_has_pefts_form),
                                       T(features_that_change_the_meaning_are_refused),
                                       T(dora_and_pissa_have_rooms_of_their_own),
                                       T(harmless_keys_are_not),
                                       T(scale_follows_alpha_rank_and_rslora),
                                       T(wrong_tensors_are_named),
                                       T(language_model_names_are_mapped),
                                       T(another_base_is_refused_unless_forced),
                                       T(options_are_checked)};
    return cmocka_run_group_tests_name("adapter/lora", tests, NULL, NULL);
}
