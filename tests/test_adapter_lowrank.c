/* tests/test_adapter_lowrank.c - the laws that DoRA, PiSSA and DeLoRA are made of; that they are PEFT's is shown by the
 * tests on PEFT's own numbers.
 * Tolerances: a row length, a bound or a spectrum made in fp32 from 48 numbers, 1e-6; logits of the adapter and of its
 * closed form, 1e-6 of the largest; fresh adapters exactly the base, PiSSA's to 1e-6 (it takes out and puts back); the slope
 * of the fp32 loss along the gradient over steps of 0.002, 1e-3 (curvature and rounding). */
#include "adapter/room.h"
#include "base/parallel.h"
#include "delta/delta.h"
#include "linalg/linalg.h"
#include "peft_help.h"

static const char *const kinds[] = {"dora", "pissa", "delora"};
enum { KINDS = 3 };

static ws_adapter *fresh(const ws_model *m, const char *kind, int rank) {
    ws_adapter *a;
    ws_err err = {0};
    ws_adapter_config cfg = {.kind = kind, .rank = rank, .alpha = 2 * rank, .layer_begin = 1, .layer_end = 3};
    OK(ws_adapter_new(&a, m, &cfg, &err));
    ws_adapter_init(a, 5);
    return a;
}

/* Every trained value moved by up to `size`. */
static void move(ws_adapter *a, double size) {
    uint32_t seed = 9;
    for (int64_t i = 0; i < ws_adapter_size(a); i++) {
        seed = seed * 1664525u + 1013904223u;
        ws_adapter_values(a)[i] += (float)(size * ((seed >> 8) / 8388608.0 - 1));
    }
    ws_adapter_refresh(a);
}

/* W + dW of site i, [d_out, d_in]. */
static float *theta(const ws_adapter *a, const ws_model *m, int i) {
    ws_err err = {0};
    ws_edit e;
    const ws_site *at = ws_model_site(m, ws_adapter_site(a, i));
    int64_t n = at->d_out * at->d_in;
    float *t = malloc((size_t)n * sizeof *t), *w = malloc((size_t)n * sizeof *w);
    OK(ws_adapter_edit(a, i, &e, &err));
    ws_edit_rows(&e, at->w, 0, at->d_out, t);
    ws_weight_rows_f32(at->w, 0, at->d_out, w);
    for (int64_t k = 0; k < n; k++) t[k] += w[k];
    ws_edit_release(&e);
    free(w);
    return t;
}

static void a_fresh_adapter_is_the_base(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *a = fresh(f->m, kinds[k], 4);
        for (int r = 0; r < 3; r++) {
            int n;
            double size = 0;
            float *base = logits_of(f, f->m, r, NULL, 0, &n), *with = logits_of(f, f->m, r, ws_adapter_patch(a), 1, &n);
            double worst = worst_error(with, base, (int64_t)n * 40, &size);
            assert_true(!strcmp(kinds[k], "pissa") ? worst < 1e-6 * size : worst == 0);
            free(base), free(with);
        }
        ws_adapter_free(a);
    }
}

static void an_adapter_and_its_closed_form_are_one(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        ws_err err = {0};
        ws_delta *d;
        ws_adapter *a = fresh(f->m, kinds[k], 4);
        move(a, 0.05);
        OK(ws_delta_from_adapter(&d, f->m, a, &err));
        for (int r = 0; r < 3; r++) {
            int n;
            double size = 0;
            float *one = logits_of(f, f->m, r, ws_adapter_patch(a), 1, &n),
                  *two = logits_of(f, f->m, r, ws_delta_patch(d), 1, &n), *base = logits_of(f, f->m, r, NULL, 0, &n);
            assert_true(worst_error(two, one, (int64_t)n * 40, &size) < 1e-6 * size);
            assert_true(worst_error(base, one, (int64_t)n * 40, NULL) > 0.01 * size);
            free(one), free(two), free(base);
        }
        ws_delta_free(d);
        ws_adapter_free(a);
    }
}

/* The loss of all rows, in `parts` passes; gradients of the adapter. */
static double loss_of(const fixture *f, ws_adapter *a, int parts) {
    ws_err err = {0};
    int32_t ids[6][64];
    ws_train_row row[6];
    double loss = 0;
    for (int r = 0; r < 6; r++) {
        int first, n = row_of(f, r, ids[r], &first);
        row[r] = (ws_train_row){ids[r], n, first, 1.0f / 64};
    }
    ws_patch *patch = ws_adapter_patch(a);
    ws_adapter_zero_grad(a);
    for (int r = 0; r < 6; r += 6 / parts) {
        ws_train_out one;
        OK(ws_train_pass(f->m, row + r, 6 / parts, &patch, 1, 0, &one, NULL, &err));
        loss += one.loss;
    }
    ws_adapter_finish_grad(a);
    return loss;
}

/* DoRA's A and B have no such slope, for its row lengths count as constants; its magnitudes have. */
static void gradients_are_the_slope_of_the_loss(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *a = fresh(f->m, kinds[k], 4);
        move(a, !strcmp(kinds[k], "delora") ? 1 : 0.05); /* short vectors turn fast: the loss would bend */
        int64_t n = ws_adapter_size(a);
        float *start = malloc((size_t)n * sizeof *start), *g = calloc((size_t)n, sizeof *g);
        double at[2], norm = 0;
        loss_of(f, a, 1);
        memcpy(start, ws_adapter_values(a), (size_t)n * sizeof *start);
        for (int i = 0; i < ws_adapter_n_params(a); i++) {
            const ws_param *p = ws_adapter_param(a, i);
            if (!p->grad || (!strcmp(kinds[k], "dora") && !strstr(p->suffix, "magnitude"))) continue;
            memcpy(g + (p->grad - ws_adapter_grads(a)), p->grad, (size_t)(p->rows * p->cols) * sizeof *g);
        }
        for (int64_t i = 0; i < n; i++) norm += (double)g[i] * (double)g[i];
        norm = sqrt(norm);
        assert_true(norm > 0.01);
        const double step = 0.002;
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < n; i++)
                ws_adapter_values(a)[i] = start[i] + (float)((s ? step : -step) * (double)g[i] / norm);
            ws_adapter_refresh(a);
            at[s] = loss_of(f, a, 1);
        }
        double slope = (at[1] - at[0]) / (2 * step);
        printf("  %s: slope %.6f, gradient norm %.6f\n", kinds[k], slope, norm);
        assert_true(fabs(slope - norm) < 1e-3 * norm);
        free(start), free(g);
        ws_adapter_free(a);
    }
}

static void gradients_do_not_depend_on_grouping_or_threads(void **state) {
    fixture *f = *state;
    if (!strcmp(ws_k.name, "ref"))
        skip(); /* it sums a pass in double and rounds once, so passes show in the last bit */
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *a = fresh(f->m, kinds[k], 4);
        move(a, 0.05);
        size_t bytes = (size_t)ws_adapter_size(a) * sizeof(float);
        float *kept = malloc(bytes);
        loss_of(f, a, 1);
        memcpy(kept, ws_adapter_grads(a), bytes);
        for (int parts = 2; parts <= 6; parts += 4) {
            ws_threads_set(parts == 2 ? 1 : 5);
            loss_of(f, a, parts);
            assert_memory_equal(kept, ws_adapter_grads(a), bytes);
        }
        ws_threads_set(0);
        free(kept);
        ws_adapter_free(a);
    }
}

/* ---------- what each is named for ---------- */

static void doras_rows_are_as_long_as_its_magnitudes(void **state) {
    fixture *f = *state;
    ws_adapter *a = fresh(f->m, "dora", 4);
    for (int moved = 0; moved < 2; moved++) {
        if (moved) move(a, 0.2);
        for (int i = 0; i < ws_adapter_n_sites(a); i++) {
            const ws_param *p = ws_adapter_param(a, 3 * i + 2);
            assert_string_equal(p->suffix, "lora_magnitude_vector");
            int64_t d = ws_model_site(f->m, p->site)->d_in;
            float *t = theta(a, f->m, i);
            for (int64_t r = 0; r < p->rows; r++) {
                double length = 0, m = fabs((double)p->value[r]);
                for (int64_t k = 0; k < d; k++) length += (double)t[r * d + k] * (double)t[r * d + k];
                assert_true(fabs(sqrt(length) - m) < 1e-6 * m + 1e-7);
            }
            free(t);
        }
    }
    ws_adapter_free(a);
}

/* With B = 0 what is left of the weight is W_res: its largest singular value is the weight's fifth. */
static void pissa_takes_out_the_largest_singular_values(void **state) {
    fixture *f = *state;
    ws_adapter *a = fresh(f->m, "pissa", 4);
    for (int i = 0; i < ws_adapter_n_params(a); i += 2)
        memset(ws_adapter_param(a, i + 1)->value, 0, (size_t)(ws_adapter_param(a, i + 1)->rows * 4) * sizeof(float));
    ws_adapter_refresh(a);
    for (int i = 0; i < ws_adapter_n_sites(a); i++) {
        ws_err err = {0};
        const ws_site *at = ws_model_site(f->m, ws_adapter_site(a, i));
        int64_t n = at->d_out * at->d_in, k = at->d_in < at->d_out ? at->d_in : at->d_out;
        float *t = theta(a, f->m, i);
        double *left = malloc((size_t)n * sizeof *left), *whole = malloc((size_t)n * sizeof *whole),
               *u = malloc((size_t)n * sizeof *u), *v = malloc((size_t)n * sizeof *v), s[64], w[64];
        float *rows = malloc((size_t)n * sizeof *rows);
        ws_weight_rows_f32(at->w, 0, at->d_out, rows);
        for (int64_t j = 0; j < n; j++) left[j] = (double)t[j], whole[j] = (double)rows[j];
        OK(ws_svd(left, at->d_out, at->d_in, u, s, v, &err));
        OK(ws_svd(whole, at->d_out, at->d_in, u, w, v, &err));
        for (int64_t j = 0; j + 4 < k; j++) assert_true(fabs(s[j] - w[j + 4]) < 1e-6 * w[0]);
        free(t), free(left), free(whole), free(u), free(v), free(rows);
    }
    ws_adapter_free(a);
}

/* One rank-one term: || dW diag(1 / w) || = lambda, whatever A and B are; below 1e-4 it is held and shrinks with them. */
static void deloras_terms_are_as_long_as_lambda(void **state) {
    fixture *f = *state;
    ws_adapter *a = fresh(f->m, "delora", 1);
    move(a, 0.3);
    for (int held = 0; held < 2; held++) {
        for (int i = 0; i < ws_adapter_n_sites(a); i++) {
            const ws_param *p = ws_adapter_param(a, 4 * i);
            const ws_site *at = ws_model_site(f->m, p->site);
            double size = 0, lambda = (double)p[2].value[0], b = 0;
            if (held)
                for (int64_t j = 0; j < at->d_out; j++) p[1].value[j] *= 1e-6f;
            for (int64_t j = 0; j < at->d_out; j++) b += (double)p[1].value[j] * (double)p[1].value[j];
            ws_adapter_refresh(a);
            ws_err err = {0};
            ws_edit e;
            OK(ws_adapter_edit(a, i, &e, &err));
            for (int64_t r = 0; r < at->d_out; r++)
                for (int64_t k = 0; k < at->d_in; k++) {
                    double x = (double)e.u[r] * (double)e.v[k] / (double)p[3].value[k];
                    size += x * x;
                }
            double want = held ? lambda * sqrt(b) / 1e-4 : lambda;
            assert_true(lambda > 14 && fabs(sqrt(size) - want) < 1e-6 * want);
            ws_edit_release(&e);
        }
    }
    ws_adapter_free(a);
}

/* B = 0: nothing but B has a gradient. */
static void deloras_first_gradient_is_bs_alone(void **state) {
    fixture *f = *state;
    ws_adapter *a = fresh(f->m, "delora", 4);
    loss_of(f, a, 1);
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i);
        double most = 0;
        for (int64_t k = 0; p->grad && k < p->rows * p->cols; k++) most = fmax(most, fabs((double)p->grad[k]));
        assert_true(strcmp(p->suffix, "delora_B") ? most == 0 : most > 0);
    }
    ws_adapter_free(a);
}

/* ---------- bases ---------- */

/* The base with its matrices in BF16, and the row `zero` (-1: none) of layer 2's up_proj all zeros. */
static void with_base(fixture *f, int zero, void (*then)(const ws_model *m)) {
    ws_err err = {0};
    size_t n = ws_checkpoint_count(f->c);
    ws_tensor *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        t[i] = *ws_checkpoint_at(f->c, i);
        int64_t count = ws_tensor_numel(&t[i]);
        float *v = ws_tensor_f32(&t[i]);
        uint16_t *h = malloc((size_t)count * sizeof *h);
        if (zero >= 0 && strstr(t[i].name, "layers.2.mlp.up_proj"))
            memset(v + zero * t[i].dim[1], 0, (size_t)t[i].dim[1] * sizeof *v);
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
    then(m);
    ws_model_free(m);
    ws_checkpoint_close(c);
    for (size_t i = 0; i < n; i++) free((void *)(uintptr_t)t[i].data);
    free(t);
}

static void rounded(const ws_model *m) {
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *a = fresh(m, kinds[k], 4);
        for (int i = 0; i < ws_adapter_n_params(a); i++) {
            const ws_param *p = ws_adapter_param(a, i);
            const ws_site *at = ws_model_site(m, p->site);
            int rows = strstr(p->suffix, "magnitude") != NULL, columns = strstr(p->suffix, "w_norm") != NULL;
            float *w = malloc((size_t)(at->d_out * at->d_in) * sizeof *w);
            ws_weight_rows_f32(at->w, 0, at->d_out, w);
            for (int64_t j = 0; j < p->rows * p->cols; j++)
                assert_true(p->value[j] == ws_bf16_f32(ws_f32_bf16(p->value[j])));
            for (int64_t j = 0; (rows || columns) && j < p->rows; j++) {
                double sum = 0;
                for (int64_t l = 0; l < (rows ? at->d_in : at->d_out); l++) {
                    double x = (double)w[rows ? j * at->d_in + l : l * at->d_in + j];
                    sum += x * x;
                }
                assert_true(p->value[j] == ws_bf16_f32(ws_f32_bf16((float)sqrt(sum))));
            }
            free(w);
        }
        ws_adapter_free(a);
    }
}
static void a_bf16_base_rounds_the_first_values(void **state) { with_base(*state, -1, rounded); }

static void refused(const ws_model *m) {
    ws_adapter *a;
    ws_err err = {0};
    ws_adapter_config cfg = {.kind = "dora", .rank = 4, .alpha = 8, .layer_begin = 1, .layer_end = 3};
    REFUSED(WS_EUNSUPPORTED, "model.layers.2.mlp.up_proj: row 7 of the weight is zero",
            ws_adapter_new(&a, m, &cfg, &err));
    cfg.kind = "pissa";
    OK(ws_adapter_new(&a, m, &cfg, &err)); /* which has no trouble with it */
    ws_adapter_free(a);
}
static void dora_refuses_a_row_without_direction(void **state) { with_base(*state, 7, refused); }

static void pissa_refuses_more_vectors_than_there_are(void **state) {
    fixture *f = *state;
    ws_adapter *a;
    ws_err err = {0};
    ws_adapter_config cfg = {.kind = "pissa", .rank = 17, .alpha = 8, .layer_begin = 1, .layer_end = 3};
    REFUSED(WS_EUSAGE, "has only 16 singular vectors", ws_adapter_new(&a, f->m, &cfg, &err));
    cfg.rank = 4, cfg.alpha = -8;
    REFUSED(WS_EUSAGE, "must be above 0", ws_adapter_new(&a, f->m, &cfg, &err));
}

static void directories_come_back_exactly(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        ws_err err = {0};
        ws_adapter *a = fresh(f->m, kinds[k], 4), *b;
        char dir[128];
        snprintf(dir, sizeof dir, "%s/%s", f->tmp, kinds[k]);
        move(a, 0.05);
        OK(ws_adapter_save(a, dir, &err));
        OK(ws_adapter_load(&b, f->m, dir, &err));
        assert_string_equal(ws_adapter_kind(b), kinds[k]);
        for (int i = 0; i < ws_adapter_n_params(a); i++) {
            const ws_param *p = ws_adapter_param(a, i), *q = ws_adapter_param(b, i);
            assert_memory_equal(p->value, q->value, (size_t)(p->rows * p->cols) * sizeof(float));
        }
        for (int i = 0; i < ws_adapter_n_sites(a); i++) {
            const ws_site *at = ws_model_site(f->m, ws_adapter_site(a, i));
            float *t = theta(a, f->m, i), *u = theta(b, f->m, i);
            assert_memory_equal(t, u, (size_t)(at->d_out * at->d_in) * sizeof *t);
            free(t), free(u);
        }
        ws_adapter_free(a), ws_adapter_free(b);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_fresh_adapter_is_the_base),
        T(an_adapter_and_its_closed_form_are_one),
        T(gradients_are_the_slope_of_the_loss),
        T(gradients_do_not_depend_on_grouping_or_threads),
        T(doras_rows_are_as_long_as_its_magnitudes),
        T(pissa_takes_out_the_largest_singular_values),
        T(deloras_terms_are_as_long_as_lambda),
        T(deloras_first_gradient_is_bs_alone),
        T(a_bf16_base_rounds_the_first_values),
        T(dora_refuses_a_row_without_direction),
        T(pissa_refuses_more_vectors_than_there_are),
        T(directories_come_back_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
