/* tests/test_delta_contrast.c - dW in factors against dense weights that PEFT merged (adapters.md 5, tests 16): logits at six
 * strengths 1e-6 of their size, norms in double 1e-6; files, bases and modes. */
#include "delta/delta.h"
#include "peft_help.h"

static void load_sides(const fixture *f, ws_adapter *side[2]) {
    ws_err err = {0};
    OK(ws_adapter_load(&side[0], f->m, PEFT_DIR "pos", &err));
    OK(ws_adapter_load(&side[1], f->m, PEFT_DIR "neg", &err));
}

static ws_delta *contrast(const fixture *f, ws_contrast_mode mode, ws_delta_info *info) {
    ws_err err = {0};
    ws_adapter *side[2];
    ws_delta *d;
    load_sides(f, side);
    OK(ws_delta_contrast(&d, f->m, side[0], side[1], mode, info, &err));
    ws_adapter_free(side[0]), ws_adapter_free(side[1]); /* the contrast keeps nothing of them */
    return d;
}

static double norm_of(const fixture *f, const char *key) {
    return json_number_value(json_object_get(json_object_get(f->info, "norms"), key));
}

static void steered_logits_equal_dense_merges(void **state) {
    fixture *f = *state;
    ws_delta_info info;
    ws_delta *d = contrast(f, WS_CONTRAST_DW, &info);
    const json_t *alphas = json_object_get(f->info, "alphas");
    double worst = 0;
    for (size_t i = 0; i < json_array_size(alphas); i++)
        for (int r = 0; r < 2; r++) {
            double alpha = json_number_value(json_array_get(alphas, i)), size = 0;
            const ws_tensor *t = want_tensor(f, "steered.%g.%d", alpha, r);
            int n;
            float *got = logits_of(f, f->m, r, ws_delta_patch(d), (float)alpha, &n),
                  *base = logits_of(f, f->m, r, NULL, 0, &n);
            double e = worst_error(got, t->data, (int64_t)n * 40, &size) / size,
                   moved = worst_error(got, base, (int64_t)n * 40, NULL) / size;
            worst = e > worst ? e : worst;
            if (alpha == 0)
                assert_true(moved == 0); /* bit for bit the base */
            else
                assert_true(moved > 0.01);
            free(got), free(base);
        }
    printf("  largest logit error / largest logit %.2e\n", worst);
    assert_true(worst < 1e-6);
    ws_delta_free(d);
}

/* Rows of one batch bring their own strengths and equal the rows alone, bit for bit. */
static void strengths_differ_by_row(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta_info info;
    ws_delta *d = contrast(f, WS_CONTRAST_DW, &info);
    ws_patch *patch = ws_delta_patch(d);
    int32_t ids[2][64];
    const float alpha[4] = {-1.5f, 0, 2, 0.25f}, *strength = alpha;
    int n[2] = {row_of(f, 0, ids[0], NULL), row_of(f, 1, ids[1], NULL)}, hidden = ws_model_dims(f->m)->hidden,
        total = 2 * (n[0] + n[1]);
    ws_row row[4];
    float *together = malloc((size_t)(total * hidden) * sizeof *together),
          *alone = malloc((size_t)(total * hidden) * sizeof *alone), *at = alone;
    for (int i = 0; i < 4; i++) row[i] = (ws_row){-1, ids[i % 2], n[i % 2], n[i % 2]};
    ws_batch b = {4, row, 1, &patch, &strength};
    OK(ws_forward(f->m, NULL, &b, together, &err));
    for (int i = 0; i < 4; i++) {
        const float *one = &alpha[i];
        ws_batch single = {1, &row[i], 1, &patch, &one};
        OK(ws_forward(f->m, NULL, &single, at, &err));
        at += row[i].n * hidden;
    }
    assert_memory_equal(together, alone, (size_t)(total * hidden) * sizeof *alone);
    free(together), free(alone);
    ws_delta_free(d);
}

static void diagnostics_equal_dense_ones(void **state) {
    fixture *f = *state;
    ws_delta_info i;
    ws_delta *d = contrast(f, WS_CONTRAST_DW, &i);
    double p = norm_of(f, "pos"), n = norm_of(f, "neg"), w = norm_of(f, "dw"), pn = norm_of(f, "pos_neg"),
           plus = sqrt(p * p + n * n + 2 * pn);
    /* merged weights are fp32, so the dense deltas carry rounding of about 1e-7 |W| / |delta| */
    assert_true(fabs(i.norm_pos - p) < 1e-6 * p && fabs(i.norm_neg - n) < 1e-6 * n && fabs(i.norm - w) < 1e-6 * w);
    assert_true(fabs(i.norm_w - norm_of(f, "w")) < 1e-6 * i.norm_w);
    assert_true(fabs(i.cos_pos_neg_flipped + pn / (p * n)) < 1e-6);
    assert_true(fabs(i.asymmetry - p / n) < 1e-6 * p / n);
    assert_true(fabs(i.drift_ratio - plus / w) < 1e-5);
    assert_true(fabs(i.cos_drift - fabs(p * p - n * n) / (plus * w)) < 1e-5);
    assert_true(fabs(ws_delta_norm(d) - w) < 1e-6 * w);
    double sum = 0;
    for (int k = 0; k < ws_delta_n_sites(d); k++) sum += ws_delta_site_norm(d, k) * ws_delta_site_norm(d, k);
    assert_true(fabs(sqrt(sum) - w) < 1e-6 * w);
    assert_int_equal(i.sites, ws_delta_n_sites(d));
    assert_true(i.sites_one_sided > 0);
    ws_delta_free(d);
}

/* W' dW of one element, from the factors. */
static double element(const ws_edit *e, int64_t o, int64_t i) {
    double s = 0;
    for (int64_t k = 0; k < e->k; k++) s += (double)e->u[o * e->k + k] * e->v[k * e->d_in + i];
    return s;
}

/* bisector = |dW| (p/|p| - n/|n|) / |p/|p| - n/|n||, element by element. */
static void bisector_is_its_formula(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta_info info;
    ws_adapter *side[2];
    ws_delta *b = contrast(f, WS_CONTRAST_BISECTOR, &info), *p, *n;
    load_sides(f, side);
    OK(ws_delta_from_adapter(&p, f->m, side[0], &err));
    OK(ws_delta_from_adapter(&n, f->m, side[1], &err));
    double np = ws_delta_norm(p), nn = ws_delta_norm(n), len = sqrt(2 - 2 * ws_delta_dot(p, n) / (np * nn));
    assert_true(fabs(ws_delta_norm(b) - info.norm) < 1e-6 * info.norm);
    int common = 0;
    for (int i = 0; i < ws_delta_n_sites(b); i++) {
        const ws_edit *ep = NULL, *en = NULL, *e = ws_delta_edit(b, i);
        for (int k = 0; k < ws_delta_n_sites(p); k++)
            if (ws_delta_site(p, k) == ws_delta_site(b, i)) ep = ws_delta_edit(p, k);
        for (int k = 0; k < ws_delta_n_sites(n); k++)
            if (ws_delta_site(n, k) == ws_delta_site(b, i)) en = ws_delta_edit(n, k);
        common += ep && en;
        for (int64_t o = 0; o < e->d_out; o += 5)
            for (int64_t j = 0; j < e->d_in; j += 3) {
                double want = info.norm / len * ((ep ? element(ep, o, j) / np : 0) - (en ? element(en, o, j) / nn : 0));
                assert_true(fabs(element(e, o, j) - want) < 1e-6);
            }
    }
    assert_true(common > 0);
    ws_delta_free(b), ws_delta_free(p), ws_delta_free(n);
    ws_adapter_free(side[0]), ws_adapter_free(side[1]);
}

static void files_come_back_exactly(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta_info info;
    ws_delta *d = contrast(f, WS_CONTRAST_DW, &info), *e;
    char path[96], again[96], cmd[256];
    snprintf(path, sizeof path, "%s/dw.safetensors", f->tmp),
        snprintf(again, sizeof again, "%s/again.safetensors", f->tmp);
    ws_delta_set_source(d, "pos", "here");
    OK(ws_delta_save(d, path, &err));
    OK(ws_delta_load(&e, f->m, path, 0, &err));
    assert_string_equal(ws_delta_source(e, "pos"), "here");
    assert_string_equal(ws_delta_source(e, "mode"), "dw");
    OK(ws_delta_save(e, again, &err));
    snprintf(cmd, sizeof cmd, "cmp %s %s", path, again);
    assert_int_equal(system(cmd), 0);
    ws_delta_free(d), ws_delta_free(e);
}

/* Writes a dW file with one thing changed and expects a refusal that names it. */
static void refused(const fixture *f, ws_status status, const char *part, const char *meta_key, const char *meta_value,
                    const char *drop, float bad) {
    ws_err err = {0};
    ws_delta_info info;
    ws_delta *d = contrast(f, WS_CONTRAST_DW, &info);
    char path[96];
    snprintf(path, sizeof path, "%s/bad.safetensors", f->tmp);
    OK(ws_delta_save(d, path, &err));
    ws_delta_free(d);
    ws_safetensors *s;
    OK(ws_safetensors_open(&s, path, &err));
    size_t n = 0, count = ws_safetensors_count(s);
    ws_tensor *t = calloc(count, sizeof *t);
    json_t *meta = json_deep_copy(ws_safetensors_meta(s));
    if (meta_key) json_object_set_new(meta, meta_key, json_string(meta_value));
    float *copy = NULL;
    for (size_t i = 0; i < count; i++) {
        const ws_tensor *x = ws_safetensors_at(s, i);
        if (drop && !strcmp(x->name, drop)) continue;
        t[n] = *x;
        if (!n && bad != 0) {
            copy = malloc(x->bytes);
            memcpy(copy, x->data, x->bytes);
            copy[1] = bad, t[n].data = copy;
        }
        n++;
    }
    char other[96];
    snprintf(other, sizeof other, "%s/worse.safetensors", f->tmp);
    OK(ws_safetensors_write(other, t, n, meta, &err));
    REFUSED(status, part, ws_delta_load(&d, f->m, other, 0, &err));
    assert_null(d);
    free(t), free(copy);
    json_decref(meta);
    ws_safetensors_close(s);
}

static void wrong_files_are_refused(void **state) {
    fixture *f = *state;
    refused(f, WS_EFORMAT, "ws-dw", "format", "pt", NULL, 0);
    refused(f, WS_EUNSUPPORTED, "version 2", "version", "2", NULL, 0);
    refused(f, WS_ESTATE, "--force", "base_hash", "00", NULL, 0);
    refused(f, WS_EFORMAT, "without its partner", NULL, NULL, "model.layers.1.self_attn.q_proj.V", 0);
    refused(f, WS_ENONFINITE, "NaN", NULL, NULL, NULL, NAN);
}

static void another_base_is_taken_by_force(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta_info info;
    ws_delta *d = contrast(f, WS_CONTRAST_DW, &info);
    char path[96], cmd[256];
    snprintf(path, sizeof path, "%s/dw.safetensors", f->tmp);
    OK(ws_delta_save(d, path, &err));
    ws_delta_free(d);
    snprintf(cmd, sizeof cmd, "sed -i 's/\\(base_hash\": *\"\\)..../\\1zzzz/' %s", path);
    assert_int_equal(system(cmd), 0);
    REFUSED(WS_ESTATE, "--force", ws_delta_load(&d, f->m, path, 0, &err));
    OK(ws_delta_load(&d, f->m, path, 1, &err));
    ws_delta_free(d);
}

static void adapters_without_a_common_module_are_an_error(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a, *b;
    ws_delta *d;
    ws_delta_info info;
    ws_adapter_config low = {.kind = "lora", .rank = 2, .alpha = 2, .layer_begin = 0, .layer_end = 1, .targets = NULL},
                      high = {.kind = "lora", .rank = 2, .alpha = 2, .layer_begin = 1, .layer_end = 2, .targets = NULL};
    OK(ws_adapter_new(&a, f->m, &low, &err));
    OK(ws_adapter_new(&b, f->m, &high, &err));
    ws_adapter_init(a, 0), ws_adapter_init(b, 0);
    REFUSED(WS_EFORMAT, "no module in common", ws_delta_contrast(&d, f->m, a, b, WS_CONTRAST_DW, &info, &err));
    ws_adapter_free(b);
    OK(ws_adapter_new(&b, f->m, &low, &err));
    ws_adapter_init(b, 0); /* B = 0 on both sides: a zero dW only warns, a bisector of nothing has no direction */
    OK(ws_delta_contrast(&d, f->m, a, b, WS_CONTRAST_DW, &info, &err));
    assert_true(info.norm == 0);
    ws_delta_free(d);
    REFUSED(WS_EFORMAT, "bisector", ws_delta_contrast(&d, f->m, a, b, WS_CONTRAST_BISECTOR, &info, &err));
    ws_adapter_free(a), ws_adapter_free(b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(steered_logits_equal_dense_merges), T(strengths_differ_by_row),
        T(diagnostics_equal_dense_ones),      T(bisector_is_its_formula),
        T(files_come_back_exactly),           T(wrong_files_are_refused),
        T(another_base_is_taken_by_force),    T(adapters_without_a_common_module_are_an_error)};
    return cmocka_run_group_tests_name("delta/contrast", tests, NULL, NULL);
}
