/* tests/test_steer_parity.c - the hidden-state methods against an independent implementation of their formulas in double
 * (tools/reference/make_steer.py), on a tiny llama, one with biases, and a tiny Qwen3.5.
 * Tolerances, chosen before comparing, as shares of the largest number that is compared: what is drawn from given states, and
 * what the maps make of given states, 1e-5: their inputs are the same fp32 numbers and U is rounded to fp32 (6e-8), which
 * 1 / sqrt S and sums over 64 numbers magnify.  States of our own pass and steered logits 1e-5 on llama, where the forward pass is
 * good to 1e-6, and 1e-4 on Qwen3.5, whose own fp32 is no sharper (expected.json of the model). */
#include "base/log.h"
#include "steer/extract.h"
#include "steer/steer.h"
#include "tiny.h"

typedef struct ref {
    tiny t;
    ws_safetensors *want;
    json_t *info;
    ws_state_set states; /* those of the fixture */
    double near_states;
} ref;

static void ref_open(ref *r, const char *name) {
    char path[256];
    ws_err err = {0};
    tiny_open(&r->t, name);
    snprintf(path, sizeof path, "tests/fixtures/steer/%s/expected.st", name);
    OK(ws_safetensors_open(&r->want, path, &err));
    snprintf(path, sizeof path, "tests/fixtures/steer/%s/expected.json", name);
    OK(ws_json_load(&r->info, path, &err));
    snprintf(path, sizeof path, "tests/fixtures/steer/%s/states.safetensors", name);
    OK(ws_states_load(&r->states, r->t.m, path, 1, &err)); /* the script does not know our hash of the base */
    r->near_states = strncmp(name, "qwen35", 6) ? 1e-5 : 1e-4;
}
static void ref_close(ref *r) {
    ws_safetensors_close(r->want);
    ws_states_free(&r->states);
    json_decref(r->info);
    tiny_close(&r->t);
}

/* Largest |got - want| as a share of the largest |want|; NaN counts as infinite. */
static double off(const float *got, const float *want, int64_t n) {
    double worst = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - (double)want[i]);
        if (isnan(e)) return INFINITY;
        worst = e > worst ? e : worst, size = fabs((double)want[i]) > size ? fabs((double)want[i]) : size;
    }
    return worst / size;
}
static void close_to(const char *what, const float *got, const ws_tensor *want, double near) {
    float *w = ws_tensor_f32(want);
    double e = off(got, w, ws_tensor_numel(want));
    free(w);
    if (getenv("WS_SHOW")) printf("%-60s %.1e\n", what, e);
    if (!(e <= near)) fail_msg("%s is off by %.2e of the largest, allowed are %.0e", what, e, near);
}

static ws_vector_cfg cfg_of(const json_t *v) {
    const json_t *c = json_object_get(v, "cfg");
    ws_vector_cfg cfg = ws_vector_defaults();
    if (json_object_get(c, "clusters")) cfg.clusters = (int)json_integer_value(json_object_get(c, "clusters"));
    cfg.rank = (int)json_integer_value(json_object_get(c, "rank"));
    cfg.tau = json_number_value(json_object_get(c, "tau"));
    cfg.sigma = json_number_value(json_object_get(c, "sigma"));
    cfg.seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    cfg.neutral = json_object_get(c, "neutral") != NULL;
    cfg.chars_clamp = json_object_get(c, "clamp") != NULL;
    cfg.pca_vote = json_object_get(c, "pca_vote") != NULL;
    return cfg;
}

/* The variant's vector from `states`, or from a tenth of them. */
static ws_vector *vector_from(ref *r, const json_t *variant, ws_state_set *states) {
    ws_err err = {0};
    ws_extraction x;
    ws_vector *v;
    ws_vector_cfg cfg = cfg_of(variant);
    int small = json_object_get(json_object_get(variant, "cfg"), "small") != NULL;
    const ws_steer_ops *ops = ws_steer_named(json_string_value(json_object_get(variant, "method")));
    assert_non_null(ops);
    for (int i = 0; small && i < states->n_sites; i++)
        for (int64_t k = 0; k < states->n * states->at[i].d; k++)
            ((float *)(uintptr_t)states->at[i].pos)[k] *= 0.1f, ((float *)(uintptr_t)states->at[i].neg)[k] *= 0.1f;
    ws_extraction_open(&x, r->t.m, states);
    OK(ws_extract_vector(&v, &x, ops, &cfg, &err));
    ws_extraction_close(&x);
    return v;
}

static float *copied(const float *x, int64_t n) {
    return memcpy(malloc((size_t)n * sizeof *x), x, (size_t)n * sizeof *x);
}

/* The fixture's states; the caller frees. */
static void load_states(const ref *r, ws_state_set *s) {
    *s = (ws_state_set){.n = r->states.n, .n_neutral = r->states.n_neutral, .n_sites = r->states.n_sites};
    s->at = calloc((size_t)s->n_sites, sizeof *s->at);
    for (int i = 0; i < s->n_sites; i++) {
        const ws_states *h = &r->states.at[i];
        s->at[i] = (ws_states){h->site, h->d, copied(h->pos, s->n * h->d), copied(h->neg, s->n * h->d),
                               copied(h->neutral, s->n_neutral * h->d)};
    }
}

static void check_vector(ref *r, const char *variant, const json_t *strengths, const ws_vector *v) {
    char what[256];
    int hits = 0;
    for (int i = 0; i < v->n; i++) {
        const ws_vector_site *s = &v->site[i];
        char *y_name = ws_state_tensor(r->t.m, s->site, ""), *site = ws_xstrdup(y_name);
        size_t end = strlen(site);
        site[end - (ws_model_site(r->t.m, s->site)->kind == WS_SITE_BLOCK ? 1 : 2)] = 0;
        for (int k = 0; v->ops->hidden->key[k].name; k++) {
            snprintf(what, sizeof what, "%s/%s/%s", variant, site, v->ops->hidden->key[k].name);
            const ws_tensor *want = ws_safetensors_find(r->want, what);
            if (!want) continue;
            hits++;
            if (strcmp(v->ops->hidden->key[k].name, "dS_hat") || !strcmp(v->ops->name, "sspace_damp_amp")) {
                close_to(what, s->t[k], want, 1e-5);
                continue;
            }
            /* The sign of a mode is free where the pairs leave it open, and changes nothing in these maps. */
            float *got = malloc((size_t)s->k * sizeof *got), *size = ws_tensor_f32(want);
            for (int64_t j = 0; j < s->k; j++) got[j] = fabsf(s->t[k][j]), size[j] = fabsf(size[j]);
            if (!(off(got, size, s->k) <= 1e-5)) fail_msg("%s is off by %.2e", what, off(got, size, s->k));
            free(got), free(size);
        }
        snprintf(what, sizeof what, "y.%s", site);
        float *y = ws_tensor_f32(ws_safetensors_find(r->want, what)), c[3], out[3 * 64];
        for (size_t j = 0; j < json_array_size(strengths); j++) {
            for (int t = 0; t < 3; t++) c[t] = (float)json_number_value(json_array_get(strengths, j));
            memcpy(out, y, (size_t)(3 * s->d) * sizeof *out);
            ws_vector_apply(v, s->site, 3, out, c);
            snprintf(what, sizeof what, "%s/%s/to.%zu", variant, site, j);
            close_to(what, out, ws_safetensors_find(r->want, what), 1e-5);
        }
        free(y), free(y_name), free(site);
    }
    assert_true(hits >= v->n);
}

static void vectors_and_maps(const char *name) {
    ref r;
    ref_open(&r, name);
    const json_t *list = json_object_get(r.info, "variants"), *variant;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, variant) {
        ws_state_set s;
        load_states(&r, &s);
        ws_vector *v = vector_from(&r, variant, &s);
        check_vector(&r, json_string_value(json_object_get(variant, "name")), json_object_get(variant, "strengths"), v);
        ws_vector_free(v);
        ws_states_free(&s);
    }
    ref_close(&r);
}

static ws_ids *prompts(ref *r, const char *what, int n) {
    ws_ids *ids = calloc((size_t)n, sizeof *ids);
    char name[64];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s.%d", what, i);
        const ws_tensor *t = ws_safetensors_find(r->want, name);
        ws_ids_addn(&ids[i], t->data, (int)t->dim[0]);
    }
    return ids;
}

/* Prompts -> states -> vectors -> logits, all by us. */
static void whole_chain(const char *name) {
    ref r;
    ws_err err = {0};
    ws_state_set want;
    ref_open(&r, name);
    load_states(&r, &want);
    int n = (int)want.n, sites[64], P = (int)json_array_size(json_object_get(r.info, "positions"));
    for (int i = 0; i < want.n_sites; i++) sites[i] = want.at[i].site;
    ws_ids *ids[3] = {prompts(&r, "pos", n), prompts(&r, "neg", n), prompts(&r, "neutral", n)};
    const json_t *list = json_object_get(r.info, "variants"), *variant;
    const ws_tensor *test_row = ws_safetensors_find(r.want, "row");
    int64_t V = ws_model_dims(r.t.m)->vocab;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, variant) {
        ws_state_set s;
        char what[128];
        const char *called = json_string_value(json_object_get(variant, "name"));
        const json_t *strengths = json_object_get(variant, "strengths");
        OK(ws_states_collect(&s, r.t.m, sites, want.n_sites, ids[0], ids[1], n, ids[2], n, &err));
        for (int k = 0; k < s.n_sites && !i; k++)
            for (int side = 0; side < 3; side++) {
                const float *a = side == 0 ? s.at[k].pos : side == 1 ? s.at[k].neg : s.at[k].neutral;
                const float *b = side == 0 ? want.at[k].pos : side == 1 ? want.at[k].neg : want.at[k].neutral;
                double e = off(a, b, n * s.at[k].d);
                if (!(e <= r.near_states))
                    fail_msg("states of %s, side %d, are off by %.2e", ws_model_site(r.t.m, sites[k])->name, side, e);
            }
        ws_vector *v = vector_from(&r, variant, &s);
        ws_patch *patch = ws_vector_patch(v);
        for (size_t j = 0; j < json_array_size(strengths); j++) {
            float alpha = (float)json_number_value(json_array_get(strengths, j));
            const float *strength = &alpha;
            ws_row row = {-1, test_row->data, (int)test_row->dim[0], (int)test_row->dim[0]};
            float *h = tiny_forward(r.t.m, NULL, &row, 1, 1, &patch, &strength), *got = malloc((size_t)(P * V) * 4);
            for (int p = 0; p < P; p++) {
                int64_t at = json_integer_value(json_array_get(json_object_get(r.info, "positions"), (size_t)p));
                ws_head(r.t.m, h + at * ws_model_dims(r.t.m)->hidden, 1, got + p * V);
            }
            snprintf(what, sizeof what, "%s/logits.%zu", called, j);
            close_to(what, got, ws_safetensors_find(r.want, what), r.near_states);
            free(h), free(got);
        }
        ws_vector_free(v);
        ws_states_free(&s);
    }
    for (int k = 0; k < 3; k++) {
        for (int q = 0; q < n; q++) ws_ids_free(&ids[k][q]);
        free(ids[k]);
    }
    ws_states_free(&want);
    ref_close(&r);
}

static void vectors_and_maps_of_llama(void **state) { (void)state, vectors_and_maps("llama"); }
static void vectors_and_maps_with_biases(void **state) { (void)state, vectors_and_maps("llama_bias"); }
static void vectors_and_maps_of_qwen35(void **state) { (void)state, vectors_and_maps("qwen35_1x"); }
static void steered_logits_of_llama(void **state) { (void)state, whole_chain("llama"); }
static void steered_logits_with_biases(void **state) { (void)state, whole_chain("llama_bias"); }
static void steered_logits_of_qwen35(void **state) { (void)state, whole_chain("qwen35_1x"); }

int main(void) {
    ws_log_level(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_and_maps_of_llama),  cmocka_unit_test(vectors_and_maps_with_biases),
        cmocka_unit_test(vectors_and_maps_of_qwen35), cmocka_unit_test(steered_logits_of_llama),
        cmocka_unit_test(steered_logits_with_biases), cmocka_unit_test(steered_logits_of_qwen35)};
    return cmocka_run_group_tests_name("steer/parity", tests, NULL, NULL);
}
