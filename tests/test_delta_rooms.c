/* tests/test_delta_rooms.c - contrasts of OFT, BOFT and IA3 in use, on a model with biases: against weights changed by the
 * definitions of adapters.md 2.5-2.7 in double, at the strengths of its test 16; beside each other in one batch.
 * Tolerance: 1e-6 of the largest logit, as there, with the reference kernels, which sum in double; 4e-6 with the others.
 * A random relative change of every weight moves logits 7 to 14.5 times as far, relative to the largest, over these edits and
 * strengths (on average; a draw up to twice that).  A product of K <= 80 terms in L = 8 or 16 lanes, each rounded to 0.42 u
 * rms, errs like changes of its weights by 0.42 u sqrt(K / 2L + 1/2 + log2 L) <= 0.42 u sqrt(8.5), what lies between two
 * products by 2, the edit's own products by sqrt(5), merged weights by 1; two passes are compared: 0.42 u
 * sqrt(2 (8.5 + 4) + 5 + 1) = 2.3 u, so 2 x 14.5 x 2.3 u = 4e-6.  Bits are bits. */
#include "adapter/room.h"
#include "adapter/rotation.h"
#include "delta/delta.h"
#include "kernel/sets.h"
#include "peft_help.h"

extern const ws_adapter_ops ws_adapter_oft, ws_adapter_boft, ws_adapter_ia3;
static const struct {
    const ws_adapter_ops *ops;
    const char *keys;
} kinds[] = {{&ws_adapter_oft, "{\"oft_block_size\": 8}"},
             {&ws_adapter_oft, "{\"oft_block_size\": 16, \"use_cayley_neumann\": false, \"block_share\": true}"},
             {&ws_adapter_boft, "{\"boft_block_size\": 8}"},
             {&ws_adapter_ia3, "{\"feedforward_modules\": [\"down_proj\"]}"}};
enum { OFT, OFT_SHARED, BOFT, IA3, KINDS };
static const char model_dir[] = "tests/fixtures/models/llama_bias";

static uint32_t seed = 1;
static double noise(void) { return seed = seed * 1664525u + 1013904223u, (seed >> 8) / 8388608.0 - 1; }

/* The model in fp32, with its weights and biases by site replaced where theta has them; in a folder of its own. */
typedef struct dense {
    double **w, **b; /* [sites] theta - base, or NULL */
} dense;
static ws_model *copy_of(const fixture *f, const ws_checkpoint *from, const ws_model *m, const dense *add, double alpha,
                         const dense *add2, double alpha2, ws_checkpoint **c) {
    ws_err err = {0};
    char path[160], cmd[400];
    size_t n = ws_checkpoint_count(from);
    ws_tensor *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        t[i] = *ws_checkpoint_at(from, i);
        float *v = ws_tensor_f32(&t[i]);
        int64_t all = ws_tensor_numel(&t[i]);
        char *site = strdup(t[i].name), *dot = strrchr(site, '.');
        const int bias = dot && !strcmp(dot, ".bias");
        if (dot) *dot = 0;
        int s = m ? ws_model_find_site(m, site) : -1;
        for (int k = 0; k < 2 && s >= 0; k++) {
            const dense *d = k ? add2 : add;
            const double *x = d ? (bias ? d->b[s] : d->w[s]) : NULL, a = k ? alpha2 : alpha;
            for (int64_t j = 0; x && j < all; j++) v[j] = (float)(v[j] + a * x[j]);
        }
        free(site);
        t[i].data = v, t[i].type = WS_F32, t[i].bytes = (size_t)all * sizeof *v;
    }
    snprintf(path, sizeof path, "%s/%s", f->tmp, m ? "changed" : "base");
    OK(ws_mkdirs(path, &err));
    snprintf(cmd, sizeof cmd, "cp %s/config.json %s/", model_dir, path);
    assert_int_equal(system(cmd), 0);
    strcat(path, "/model.safetensors");
    OK(ws_safetensors_write(path, t, n, NULL, &err));
    *strrchr(path, '/') = 0;
    ws_model *out;
    OK(ws_checkpoint_open(c, path, &err));
    OK(ws_model_open(&out, *c, &err));
    for (size_t i = 0; i < n; i++) free((void *)(uintptr_t)t[i].data);
    free(t);
    return out;
}

typedef struct base {
    fixture *f;
    ws_checkpoint *c;
    ws_model *m;
    int32_t ids[6][24];
} base;

static int set_up(void **state) {
    ws_err err = {0};
    ws_checkpoint *c;
    base *b = *state = calloc(1, sizeof *b);
    b->f = malloc(sizeof *b->f);
    fixture_open(b->f);
    OK(ws_checkpoint_open(&c, model_dir, &err));
    b->m = copy_of(b->f, c, NULL, NULL, 0, NULL, 0, &b->c);
    ws_checkpoint_close(c);
    for (int r = 0; r < 6; r++)
        for (int i = 0; i < 24; i++) b->ids[r][i] = (int32_t)((noise() + 1) * 60);
    return 0;
}
static int tear_down(void **state) {
    base *b = *state;
    ws_model_free(b->m), ws_checkpoint_close(b->c);
    fixture_close(b->f);
    free(b->f), free(b);
    return 0;
}

static ws_adapter *adapter(const base *b, int kind) {
    ws_err err = {0};
    ws_adapter *a;
    json_t *c = json_loads(kinds[kind].ops->config, 0, NULL), *set = json_loads(kinds[kind].keys, 0, NULL);
    json_object_set_new(c, "target_modules", json_pack("[s,s,s,s]", "q_proj", "k_proj", "up_proj", "down_proj"));
    json_object_update(c, set);
    json_decref(set);
    OK(ws_adapter_build(&a, b->m, kinds[kind].ops, c, NULL, "test", &err));
    ws_adapter_init(a, 0);
    for (int64_t i = 0; i < ws_adapter_size(a); i++) ws_adapter_values(a)[i] += (float)(0.02 * noise());
    ws_adapter_refresh(a);
    return a;
}

/* d += sign (theta - base) of one site, from the trained values. */
static void add_theta(const base *m, const ws_adapter *a, const ws_adapted *s, double sign, dense *d) {
    const ws_site *at = s->at;
    const int64_t in = at->d_in, out = at->d_out;
    if (!d->w[s->site]) d->w[s->site] = calloc((size_t)(in * out), sizeof(double));
    if (!d->b[s->site]) d->b[s->site] = calloc((size_t)out, sizeof(double));
    double *w = d->w[s->site], *db = d->b[s->site];
    float *row = malloc((size_t)in * sizeof *row);
    const float *p = s->p[0].value, *z = a->ops == &ws_adapter_boft ? s->p[1].value : NULL;
    const int bs = s->block, packed = bs * (bs - 1) / 2;
    (void)m;
    for (int64_t o = 0; o < out; o++) {
        ws_weight_rows_f32(at->w, o, 1, row);
        if (a->ops == &ws_adapter_ia3) {
            for (int64_t i = 0; i < in; i++) w[o * in + i] += sign * row[i] * ((s->on_input ? p[i] : p[o]) - 1.0);
            if (!s->on_input) db[o] += sign * at->bias[o] * (p[o] - 1.0);
        } else
            for (int64_t i = 0; i < in; i++) w[o * in + i] -= sign * row[i];
    }
    double q[256], e[256], scratch[4 * 256 * 4];
    for (int64_t k = 0; a->ops != &ws_adapter_ia3 && k < in / bs; k++) {
        if (z)
            ws_skew_from_full(q, p + k * bs * bs, bs);
        else
            ws_skew_from_upper(q, p + (s->shared ? 0 : k * packed), bs);
        assert_true(ws_rotation_scratch(s->terms, bs) <= (int64_t)(sizeof scratch / sizeof *scratch));
        ws_rotation(e, q, s->terms, bs, scratch);
        for (int64_t o = 0; o < out; o++) { /* W R' */
            ws_weight_rows_f32(at->w, o, 1, row);
            for (int i = 0; i < bs; i++) {
                double sum = 0;
                for (int j = 0; j < bs; j++) sum += row[k * bs + j] * (e[i * bs + j] + (i == j));
                w[o * in + k * bs + i] += sign * (z ? z[o] : 1.0) * sum;
            }
        }
    }
    free(row);
}

static dense contrast(const base *b, const ws_adapter *pos, const ws_adapter *neg) {
    size_t n = (size_t)ws_model_n_sites(b->m);
    dense d = {calloc(n, sizeof *d.w), calloc(n, sizeof *d.b)};
    for (int i = 0; i < pos->n_sites; i++) add_theta(b, pos, &pos->site[i], 1, &d);
    for (int i = 0; neg && i < neg->n_sites; i++) add_theta(b, neg, &neg->site[i], -1, &d);
    return d;
}
static void free_dense(const base *b, dense *d) {
    for (int i = 0; i < ws_model_n_sites(b->m); i++) free(d->w[i]), free(d->b[i]);
    free(d->w), free(d->b);
}

/* Logits of the last 20 tokens of `n` rows, each with its strengths of the patches. */
enum { LAST = 20 };
static float *logits(const base *b, ws_model *m, int first, int n, ws_patch *const *patch, int n_patches,
                     const float *const *alpha) {
    ws_err err = {0};
    ws_row row[6];
    const ws_dims *d = ws_model_dims(m);
    float *h = malloc((size_t)(n * LAST * d->hidden) * sizeof *h),
          *y = malloc((size_t)(n * LAST * d->vocab) * sizeof *y);
    for (int r = 0; r < n; r++) row[r] = (ws_row){-1, b->ids[first + r], 24, LAST};
    ws_batch batch = {n, row, n_patches, patch, alpha};
    OK(ws_forward(m, NULL, &batch, h, &err));
    ws_head(m, h, n * LAST, y);
    free(h);
    return y;
}
static double gap(const base *b, const float *x, const float *y, int rows) {
    double size = 0, e = worst_error(x, y, (int64_t)rows * LAST * ws_model_dims(b->m)->vocab, &size);
    return e / size;
}

static ws_delta *dw(const base *b, const ws_adapter *pos, const ws_adapter *neg) {
    ws_err err = {0};
    ws_delta *d;
    ws_delta_info info;
    OK(ws_delta_contrast(&d, b->m, pos, neg, WS_CONTRAST_DW, &info, &err));
    return d;
}

static void differences_of_weights(const base *b, double tolerance) {
    static const float alphas[] = {-2, -1, 0, 0.5, 1, 3};
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *pos = adapter(b, k), *neg = adapter(b, k);
        ws_delta *d = dw(b, pos, neg);
        ws_patch *patch = ws_delta_patch(d);
        dense theta = contrast(b, pos, neg);
        double worst = 0, least = 1;
        float *plain = logits(b, b->m, 0, 1, NULL, 0, NULL);
        for (int i = 0; i < 6; i++) {
            ws_checkpoint *c;
            const float *alpha = &alphas[i];
            ws_model *m = copy_of(b->f, b->c, b->m, &theta, alphas[i], NULL, 0, &c);
            float *got = logits(b, b->m, 0, 1, &patch, 1, &alpha), *want = logits(b, m, 0, 1, NULL, 0, NULL);
            worst = fmax(worst, gap(b, got, want, 1));
            if (alphas[i] == 0)
                assert_memory_equal(got, plain, LAST * (size_t)ws_model_dims(b->m)->vocab * sizeof *got);
            else
                least = fmin(least, gap(b, got, plain, 1));
            free(got), free(want);
            ws_model_free(m), ws_checkpoint_close(c);
        }
        printf("  %s %s: largest error %.1e, smallest effect %.3f\n", kinds[k].ops->name, kinds[k].keys, worst, least);
        assert_true(worst < tolerance && least > 0.005);
        free(plain);
        free_dense(b, &theta), ws_delta_free(d);
        ws_adapter_free(pos), ws_adapter_free(neg);
    }
}

/* What is trained is what its edit says. */
static void edits_of_trained(const base *b, double tolerance) {
    for (int k = 0; k < KINDS; k++) {
        ws_err err = {0};
        ws_adapter *a = adapter(b, k);
        ws_delta *d;
        OK(ws_delta_from_adapter(&d, b->m, a, &err));
        ws_patch *trained = ws_adapter_patch(a), *edit = ws_delta_patch(d);
        const float one = 1, *alpha = &one;
        float *x = logits(b, b->m, 0, 1, &trained, 1, &alpha), *y = logits(b, b->m, 0, 1, &edit, 1, &alpha);
        double e = gap(b, y, x, 1);
        if (!(e < tolerance)) fail_msg("%s: %.1e", kinds[k].keys, e);
        free(x), free(y);
        ws_delta_free(d), ws_adapter_free(a);
    }
}

static const double in_lanes = 4e-6;
static void with_both_kernels(const base *b, void (*test)(const base *b, double tolerance)) {
    const ws_kernels best = ws_k;
    test(b, in_lanes);
    ws_k = ws_kernels_ref;
    test(b, 1e-6);
    ws_k = best;
}
static void a_contrast_is_the_difference_of_weights(void **state) { with_both_kernels(*state, differences_of_weights); }
static void the_edit_is_what_training_computes(void **state) { with_both_kernels(*state, edits_of_trained); }

/* Every pair of contrasts in one batch, row by row at other strengths, also both at once. */
static void contrasts_mix_row_by_row(void **state) {
    const base *b = *state;
    const float a0[6] = {1, 0, 0, -0.5f, 2, 0.5f}, a1[6] = {0, 0, 1, 1, 0, -1}, *both[2] = {a0, a1};
    const size_t one_row = LAST * (size_t)ws_model_dims(b->m)->vocab;
    for (int k = 0; k < KINDS; k++)
        for (int l = k + 1; l < KINDS; l++) {
            ws_adapter *a[4] = {adapter(b, k), adapter(b, k), adapter(b, l), adapter(b, l)};
            ws_delta *d[2] = {dw(b, a[0], a[1]), dw(b, a[2], a[3])};
            ws_patch *patch[2] = {ws_delta_patch(d[0]), ws_delta_patch(d[1])};
            float *all = logits(b, b->m, 0, 6, patch, 2, both);
            for (int r = 0; r < 6; r++) {
                const float *mine[2] = {&a0[r], &a1[r]};
                float *single = logits(b, b->m, r, 1, patch, 2, mine), *plain = logits(b, b->m, r, 1, NULL, 0, NULL);
                assert_memory_equal(single, all + (size_t)r * one_row, one_row * sizeof *all);
                if (r == 1) assert_memory_equal(single, plain, one_row * sizeof *all);
                if (r == 0) { /* the other one's presence does not show */
                    float *alone = logits(b, b->m, r, 1, patch, 1, mine);
                    assert_memory_equal(single, alone, one_row * sizeof *all);
                    free(alone);
                }
                free(single), free(plain);
            }
            dense t0 = contrast(b, a[0], a[1]), t1 = contrast(b, a[2], a[3]);
            ws_checkpoint *c;
            ws_model *m = copy_of(b->f, b->c, b->m, &t0, a0[5], &t1, a1[5], &c);
            float *want = logits(b, m, 5, 1, NULL, 0, NULL);
            double e = gap(b, all + 5 * one_row, want, 1);
            if (!(e < in_lanes)) fail_msg("%s with %s: %.1e", kinds[k].keys, kinds[l].keys, e);
            free(want), free(all);
            ws_model_free(m), ws_checkpoint_close(c);
            free_dense(b, &t0), free_dense(b, &t1);
            ws_delta_free(d[0]), ws_delta_free(d[1]);
            for (int i = 0; i < 4; i++) ws_adapter_free(a[i]);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_contrast_is_the_difference_of_weights),
                                       cmocka_unit_test(the_edit_is_what_training_computes),
                                       cmocka_unit_test(contrasts_mix_row_by_row)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
