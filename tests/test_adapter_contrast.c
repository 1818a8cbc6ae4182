/* tests/test_adapter_contrast.c - dW of every adapter against weights that PEFT merged densely, subtracted and steered in double,
 * on a tiny llama and a tiny Qwen3.5.  The two sides differ in rank, block size, parametrisation, targets and layers, so many
 * modules have one side alone.
 * Tolerances (adapters.md 5, test 16): logits at six strengths 1e-6 of the largest, times 1 + |alpha|, as the strength
 * multiplies the fp32 errors of dW x.  On the hybrid 5e-6 (see test_adapter_rooms.c), or ten times what torch in fp32 is off
 * with the same dense weights: at some strengths a norm of nearly nothing magnifies single roundings.  Norms 1e-6. */
#include "adapter_help.h"
#include "delta/delta.h"

static const struct {
    const char *name, *model;
} parts[] = {{"llama", PEFT_DIR "model"}, {"qwen35", "tests/fixtures/models/qwen35_1x"}};
enum { PARTS = 2 };

typedef struct pair {
    const fixture *f;
    const char *part, *kind;
    ws_adapter *side[2];
    const json_t *info;
} pair;

static void each(void (*fn)(pair *p, double *worst)) {
    for (int k = 0; k < PARTS; k++) {
        fixture f;
        part_open(&f, parts[k].name, parts[k].model);
        printf("  %s:", parts[k].name);
        for (int i = 0; i < ALL_KINDS; i++) {
            double worst = 0;
            pair p = {.f = &f, .part = parts[k].name, .kind = all_kinds[i]};
            p.side[0] = load_from(f.m, ADAPTERS "%s/%s_pos", p.part, p.kind);
            p.side[1] = load_from(f.m, ADAPTERS "%s/%s_neg", p.part, p.kind);
            p.info = json_object_get(json_object_get(f.info, "kinds"), p.kind);
            fn(&p, &worst);
            printf(" %s %.1e", p.kind, worst);
            ws_adapter_free(p.side[0]), ws_adapter_free(p.side[1]);
        }
        printf("\n");
        fixture_close(&f);
    }
}
static ws_delta *contrast(const pair *p, ws_delta_info *info) {
    ws_err err = {0};
    ws_delta *d;
    OK(ws_delta_contrast(&d, p->f->m, p->side[0], p->side[1], WS_CONTRAST_DW, info, &err));
    return d;
}
static double number_of(const json_t *j, const char *key) { return json_number_value(json_object_get(j, key)); }

/* Logits of the fixture's positions of row r, side by side. */
static void steered_logits(pair *p, double *worst) {
    ws_delta_info info;
    ws_delta *d = contrast(p, &info);
    const json_t *alphas = json_object_get(p->f->info, "alphas"), *steered = json_object_get(p->f->info, "steered");
    int64_t vocab = ws_model_dims(p->f->m)->vocab;
    const char *row;
    json_t *positions;
    for (size_t i = 0; i < json_array_size(alphas); i++)
        json_object_foreach((json_t *)(uintptr_t)steered, row, positions) {
            double alpha = json_number_value(json_array_get(alphas, i));
            const ws_tensor *t = want_tensor(p->f, "%s.steered.%g.%s", p->kind, alpha, row);
            int n;
            float *got = logits_of(p->f, p->f->m, atoi(row), ws_delta_patch(d), (float)alpha, &n),
                  *base = logits_of(p->f, p->f->m, atoi(row), NULL, 0, &n);
            assert_int_equal(ws_tensor_numel(t), (int64_t)json_array_size(positions) * vocab);
            if (alpha == 0) assert_memory_equal(got, base, (size_t)(n * vocab) * sizeof *got);
            double size = 0, e = 0, moved = 0;
            for (size_t k = 0; k < json_array_size(positions); k++) {
                int64_t at = json_integer_value(json_array_get(positions, k)) * vocab;
                keep_worst(&e, worst_error(got + at, (const float *)t->data + (int64_t)k * vocab, vocab, &size));
                keep_worst(&moved, worst_error(got + at, base + at, vocab, NULL));
            }
            double single = json_number_value(json_array_get(json_object_get(p->info, "fp32_steered"), i)),
                   limit = strcmp(p->part, "llama") ? fmax(5e-6, 10 * single) : 1e-6 * (1 + fabs(alpha));
            keep_worst(worst, e / size);
            if (!(e / size < limit))
                fail_msg("%s of %s at %g: a logit is off by %.3g of the largest", p->kind, p->part, alpha, e / size);
            assert_true(alpha == 0 || moved > 0.01 * size);
            free(got), free(base);
        }
    ws_delta_free(d);
}
static void steered_logits_equal_dense_merges(void **state) {
    (void)state;
    each(steered_logits);
}

static void norms(pair *p, double *worst) {
    ws_delta_info i;
    ws_delta *d = contrast(p, &i);
    const json_t *n = json_object_get(p->info, "norms"), *sites = json_object_get(p->info, "dw");
    const double want[4] = {number_of(n, "pos"), number_of(n, "neg"), number_of(n, "dw"), number_of(n, "w")},
                 got[4] = {i.norm_pos, i.norm_neg, i.norm, i.norm_w}, pn = number_of(n, "pos_neg");
    for (int k = 0; k < 4; k++) keep_worst(worst, fabs(got[k] - want[k]) / want[k]);
    keep_worst(worst, fabs(i.cos_pos_neg_flipped + pn / (want[0] * want[1])));
    assert_int_equal(ws_delta_n_sites(d), (int)json_object_size(sites));
    for (int k = 0; k < ws_delta_n_sites(d); k++) {
        const char *name = ws_model_site(p->f->m, ws_delta_site(d, k))->name;
        const json_t *of = json_object_get(sites, name);
        if (!of) fail_msg("%s: PEFT leaves %s as it was", p->kind, name);
        double norm = json_number_value(json_array_get(of, 0)), e = fabs(ws_delta_site_norm(d, k) - norm) / norm;
        if (!(e < 1e-6)) fail_msg("%s: the norm at %s is off by %.3g", p->kind, name, e);
        keep_worst(worst, e);
    }
    if (!(*worst < 1e-6)) fail_msg("%s of %s: a norm is off by %.3g", p->kind, p->part, *worst);
    assert_true(i.sites_one_sided > 0);
    ws_delta_free(d);
}
static void norms_equal_dense_ones(void **state) {
    (void)state;
    each(norms);
}

/* Rows of one batch with strengths of their own are those rows alone; a file gives the contrast back. */
static void bits(pair *p, double *worst) {
    (void)worst;
    ws_err err = {0};
    ws_delta_info info;
    ws_delta *d = contrast(p, &info), *e;
    char path[128];
    snprintf(path, sizeof path, "%s/%s.safetensors", p->f->tmp, p->kind);
    OK(ws_delta_save(d, path, &err));
    OK(ws_delta_load(&e, p->f->m, path, 0, &err));
    ws_patch *patch[2] = {ws_delta_patch(d), ws_delta_patch(e)};
    int32_t ids[2][64];
    const float alpha[4] = {-1.5f, 0, 2, 0.25f}, *strength = alpha;
    int n[2] = {row_of(p->f, 0, ids[0], NULL), row_of(p->f, 1, ids[1], NULL)}, hidden = ws_model_dims(p->f->m)->hidden,
        total = 2 * (n[0] + n[1]);
    size_t bytes = (size_t)(total * hidden) * sizeof(float);
    float *together = malloc(bytes), *alone = malloc(bytes), *at = alone;
    ws_row row[4];
    for (int i = 0; i < 4; i++) row[i] = (ws_row){-1, ids[i % 2], n[i % 2], n[i % 2]};
    ws_batch b = {4, row, 1, &patch[0], &strength};
    OK(ws_forward(p->f->m, NULL, &b, together, &err));
    for (int i = 0; i < 4; i++) {
        const float *one = &alpha[i];
        ws_batch single = {1, &row[i], 1, &patch[1], &one};
        OK(ws_forward(p->f->m, NULL, &single, at, &err));
        at += row[i].n * hidden;
    }
    if (memcmp(together, alone, bytes)) fail_msg("%s of %s: rows depend on each other", p->kind, p->part);
    free(together), free(alone);
    ws_delta_free(d), ws_delta_free(e);
}
static void rows_have_their_own_strength(void **state) {
    (void)state;
    each(bits);
}

/* The contrast of a side with itself is nothing; sides swapped are the opposite. */
static void opposites(pair *p, double *worst) {
    ws_err err = {0};
    ws_delta_info info;
    ws_delta *d = contrast(p, &info), *back, *none;
    OK(ws_delta_contrast(&back, p->f->m, p->side[1], p->side[0], WS_CONTRAST_DW, &info, &err));
    OK(ws_delta_contrast(&none, p->f->m, p->side[0], p->side[0], WS_CONTRAST_DW, &info, &err));
    double dd = ws_delta_dot(d, d), db = ws_delta_dot(d, back);
    keep_worst(worst, fabs(db + dd) / dd);
    keep_worst(worst, ws_delta_norm(none) / ws_delta_norm(d));
    if (!(*worst < 1e-6)) fail_msg("%s of %s: off by %.3g", p->kind, p->part, *worst);
    ws_delta_free(d), ws_delta_free(back), ws_delta_free(none);
}
static void contrasts_have_a_direction(void **state) {
    (void)state;
    each(opposites);
}

#define T(name) cmocka_unit_test(name)
int main(void) {
    const struct CMUnitTest tests[] = {T(steered_logits_equal_dense_merges), T(norms_equal_dense_ones),
                                       T(rows_have_their_own_strength), T(contrasts_have_a_direction)};
    return cmocka_run_group_tests_name("adapter/contrast", tests, NULL, NULL);
}
