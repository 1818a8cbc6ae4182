/* tests/test_adapter_linear.c - every adapter on one linear, 48 -> 40: PEFT's output, gradients and merge in double for 29
 * configurations, and the laws of CONTRIBUTING.md.
 * Tolerances (adapters.md 5), relative to the largest number of what is compared: output 1e-6, gradients 1e-5, dW 1e-6.
 * PiSSA's numbers come from PEFT on a residual by torch's SVD in double; PEFT's own residual, by one in fp32, is compared
 * beside, at 1e-5.  Products with dW: 2e-6 of the output, two sums of 48 terms in fp32.  Slopes: central differences of the
 * fp32 output along the gradient, over a length of 0.01, are good to about 1e-7 |y| |g| / 0.01 and the square of the step:
 * 2e-3 leaves room and sees any wrong factor. */
#include "adapter/room.h"
#include "adapter_help.h"
#include "base/parallel.h"
#include "model/parts.h"

#define SITE "model.layers.0.self_attn.q_proj"
enum { N = 5, D_IN = 48, D_OUT = 40 };

typedef struct one_case {
    const char *name, *kind;
    ws_adapter *a;
} one_case;

static int site_of(const ws_model *m) {
    int site = ws_model_find_site(m, SITE);
    assert_true(site >= 0 && ws_model_site(m, site)->d_in == D_IN && ws_model_site(m, site)->d_out == D_OUT);
    return site;
}

/* The directory that PEFT saved for case i, put together again and read as any other. */
static one_case open_case(const fixture *f, ws_model *m, size_t i) {
    ws_err err = {0};
    const json_t *c = json_array_get(json_object_get(f->info, "cases"), i);
    one_case x = {json_string_value(json_object_get(c, "name")), json_string_value(json_object_get(c, "kind")), NULL};
    ws_tensor t[4];
    size_t n = 0;
    char prefix[96], dir[128];
    snprintf(prefix, sizeof prefix, "param.%s.", x.name);
    for (size_t k = 0; k < ws_safetensors_count(f->want); k++) {
        const ws_tensor *p = ws_safetensors_at(f->want, k);
        if (strncmp(p->name, prefix, strlen(prefix))) continue;
        assert_true(n < 4);
        t[n] = *p;
        t[n++].name = ws_sprintf("base_model.model." SITE ".%s", p->name + strlen(prefix));
    }
    assert_true(n > 0);
    snprintf(dir, sizeof dir, "%s/%s", f->tmp, x.name);
    OK(ws_mkdirs(dir, &err));
    OK(ws_peft_write(dir, json_object_get(c, "config"), t, n, &err));
    for (size_t k = 0; k < n; k++) free(t[k].name);
    x.a = load_from(m, "%s", dir);
    if (strcmp(ws_adapter_kind(x.a), x.kind)) fail_msg("%s: read as %s", x.name, ws_adapter_kind(x.a));
    assert_int_equal(ws_adapter_n_sites(x.a), 1);
    return x;
}
static size_t n_cases(const fixture *f) { return json_array_size(json_object_get(f->info, "cases")); }

static const float *numbers(const fixture *f, const char *what, const char *name, int64_t n) {
    const ws_tensor *t = want_tensor(f, "%s.%s", what, name);
    assert_int_equal(ws_tensor_numel(t), n);
    return t->data;
}

/* One linear forward and, with `up`, backward: y [n, d_out], dx [n, d_in]; the adapter's gradients go on from where they
 * are. */
static void pass(ws_model *m, ws_patch *patch, const float *x, const float *up, int n, float *y, float *dx) {
    ws_arena *arena = ws_arena_new();
    ws_hung h;
    int row[N] = {0}, site = site_of(m);
    ws_hung_set(&h, n, row, patch != NULL, &patch, NULL, arena);
    float *saved = patch ? ws_arena_floats(arena, patch->ops->saved_floats(patch, site, n) + 1) : NULL;
    ws_site_forward(m, &h, site, x, y, &saved);
    if (up) {
        float gy[N * D_OUT];
        memcpy(gy, up, (size_t)(n * D_OUT) * sizeof *gy);
        ws_site_backward(m, &h, site, x, gy, dx, 0, &saved);
    }
    ws_arena_free(arena);
}

typedef struct result {
    float y[N * D_OUT], dx[N * D_IN];
} result;
static void whole_pass(const fixture *f, ws_model *m, ws_adapter *a, result *r) {
    ws_adapter_zero_grad(a);
    pass(m, ws_adapter_patch(a), want_tensor(f, "x")->data, want_tensor(f, "g")->data, N, r->y, r->dx);
    ws_adapter_finish_grad(a);
}

/* The largest error of each kind, printed and limited. */
typedef struct worst_of {
    double e[ALL_KINDS];
} worst_of;
static void note(worst_of *w, const one_case *c, const char *what, double e, double limit) {
    for (int k = 0; k < ALL_KINDS; k++)
        if (!strcmp(all_kinds[k], c->kind)) keep_worst(&w->e[k], e);
    if (!(e < limit)) fail_msg("%s: %s is off by %.3g of its largest number (limit %.0e)", c->name, what, e, limit);
}
static void print_worst(const worst_of *w, const char *what) {
    printf("  %s:", what);
    for (int k = 0; k < ALL_KINDS; k++)
        if (w->e[k] > 0) printf(" %s %.1e", all_kinds[k], w->e[k]);
    printf("\n");
}

static void every_kind_has_its_cases(void **state) {
    fixture *f = *state;
    int found[ALL_KINDS] = {0}, n;
    const char *const *kinds = ws_adapter_kinds(&n);
    for (size_t i = 0; i < n_cases(f); i++) {
        one_case c = open_case(f, f->m, i);
        for (int k = 0; k < ALL_KINDS; k++) found[k] += !strcmp(all_kinds[k], c.kind);
        ws_adapter_free(c.a);
    }
    for (int k = 0; k < ALL_KINDS; k++) {
        int built = 0;
        for (int j = 0; j < n; j++) built |= !strcmp(kinds[j], all_kinds[k]);
        assert_true(built && found[k] >= 2);
    }
}

static void outputs_are_pefts(void **state) {
    fixture *f = *state;
    worst_of w = {0};
    base_copy plain = copy_base(f, "plain", 1, 0);
    assert_null(ws_model_site(plain.m, site_of(plain.m))->bias);
    assert_non_null(ws_model_site(f->m, site_of(f->m))->bias);
    for (size_t i = 0; i < n_cases(f); i++)
        for (int bias = 0; bias < 2; bias++) {
            result r;
            one_case c = open_case(f, bias ? f->m : plain.m, i);
            whole_pass(f, bias ? f->m : plain.m, c.a, &r);
            const float *want = numbers(f, bias ? "y" : "y_plain", c.name, N * D_OUT);
            note(&w, &c, bias ? "y" : "y without bias", relative_error(r.y, want, N * D_OUT), 1e-6);
            ws_adapter_free(c.a);
        }
    print_worst(&w, "output");
    copy_close(&plain);
}

static void gradients_are_pefts(void **state) {
    fixture *f = *state;
    worst_of w = {0};
    for (size_t i = 0; i < n_cases(f); i++) {
        result r;
        one_case c = open_case(f, f->m, i);
        whole_pass(f, f->m, c.a, &r);
        note(&w, &c, "dx", relative_error(r.dx, numbers(f, "dx", c.name, N * D_IN), N * D_IN), 1e-5);
        for (int k = 0; k < ws_adapter_n_params(c.a); k++) {
            const ws_param *p = ws_adapter_param(c.a, k);
            char name[96];
            if (!p->grad) continue;
            snprintf(name, sizeof name, "%s.%s", c.name, p->suffix);
            note(&w, &c, p->suffix,
                 relative_error(p->grad, numbers(f, "grad", name, p->rows * p->cols), p->rows * p->cols), 1e-5);
        }
        ws_adapter_free(c.a);
    }
    print_worst(&w, "gradients");
}

/* sum of y .* g in double. */
static double objective(const fixture *f, ws_adapter *a) {
    float y[N * D_OUT];
    const float *g = want_tensor(f, "g")->data;
    double sum = 0;
    pass(f->m, ws_adapter_patch(a), want_tensor(f, "x")->data, NULL, N, y, NULL);
    for (int i = 0; i < N * D_OUT; i++) sum += (double)y[i] * g[i];
    return sum;
}

/* DoRA holds its norms still in backward (below), and a norm at DeLoRA's clamp has a corner: PEFT's
 * numbers alone stand for that. */
static void gradients_are_slopes(void **state) {
    fixture *f = *state;
    worst_of w = {0};
    for (size_t i = 0; i < n_cases(f); i++) {
        one_case c = open_case(f, f->m, i);
        result r;
        int64_t n = ws_adapter_size(c.a);
        float *v = ws_adapter_values(c.a), *g = malloc((size_t)n * sizeof *g), *at = malloc((size_t)n * sizeof *at);
        double norm = 0, value[2];
        whole_pass(f, f->m, c.a, &r);
        memcpy(g, ws_adapter_grads(c.a), (size_t)n * sizeof *g), memcpy(at, v, (size_t)n * sizeof *at);
        for (int64_t k = 0; k < n; k++) norm += (double)g[k] * g[k];
        norm = sqrt(norm);
        for (int s = 0; s < 2; s++) {
            for (int64_t k = 0; k < n; k++) v[k] = (float)(at[k] + (s ? 1 : -1) * 0.005 / norm * g[k]);
            ws_adapter_refresh(c.a);
            value[s] = objective(f, c.a);
        }
        double slope = (value[1] - value[0]) / 0.01;
        if (strcmp(c.kind, "dora") && !strstr(c.name, "clamp") && !strstr(c.name, "coft"))
            note(&w, &c, "slope", fabs(slope - norm) / norm, 2e-3);
        free(g), free(at);
        ws_adapter_free(c.a);
    }
    print_worst(&w, "slopes");
}

/* sum of g .* (c .* (W x + s B (A x)) + b) in double, c = m / n; with n NULL only n is made, || W + s B A || by rows. */
static double dora_objective(const fixture *f, const ws_adapted *s, const double *n, double *make_n) {
    const float *x = want_tensor(f, "x")->data, *g = want_tensor(f, "g")->data;
    const float *a = s->p[0].value, *b = s->p[1].value, *m = s->p[2].value;
    float w[D_OUT * D_IN];
    double sum = 0;
    ws_weight_rows_f32(s->at->w, 0, D_OUT, w);
    for (int o = 0; o < D_OUT; o++) {
        double row[D_IN], square = 0;
        for (int k = 0; k < D_IN; k++) {
            double ba = 0;
            for (int j = 0; j < s->rank; j++) ba += (double)b[o * s->rank + j] * a[j * D_IN + k];
            row[k] = w[o * D_IN + k] + (double)s->scale * ba, square += row[k] * row[k];
        }
        if (make_n) make_n[o] = sqrt(square);
        for (int t = 0; t < N && n; t++) {
            double p = 0;
            for (int k = 0; k < D_IN; k++) p += row[k] * x[t * D_IN + k];
            sum += g[t * D_OUT + o] * (m[o] / n[o] * p + (double)s->at->bias[o]);
        }
    }
    return sum;
}

/* The objective is a polynomial of degree 3 along a line, so central differences in double are good to the square of the
 * step; values are fp32, steps of 1e-3 of them have 4 digits. */
static void doras_gradients_are_slopes_with_its_norms_held(void **state) {
    fixture *f = *state;
    worst_of worst = {0};
    int found = 0;
    for (size_t i = 0; i < n_cases(f); i++) {
        one_case c = open_case(f, f->m, i);
        if (!strcmp(c.kind, "dora")) {
            const ws_adapted *s = &c.a->site[0];
            result r;
            double n[D_OUT], norm = 0, value[2];
            int64_t size = ws_adapter_size(c.a);
            float *v = ws_adapter_values(c.a), *g = ws_adapter_grads(c.a), *at = malloc((size_t)size * sizeof *at);
            whole_pass(f, f->m, c.a, &r);
            dora_objective(f, s, NULL, n);
            memcpy(at, v, (size_t)size * sizeof *at);
            for (int64_t k = 0; k < size; k++) norm += (double)g[k] * g[k];
            norm = sqrt(norm);
            for (int up = 0; up < 2; up++) {
                for (int64_t k = 0; k < size; k++) v[k] = (float)(at[k] + (up ? 1 : -1) * 0.01 / norm * g[k]);
                value[up] = dora_objective(f, s, n, NULL);
            }
            note(&worst, &c, "slope", fabs((value[1] - value[0]) / 0.02 - norm) / norm, 1e-4);
            free(at);
            found++;
        }
        ws_adapter_free(c.a);
    }
    assert_int_equal(found, 3);
    print_worst(&worst, "slopes with n held");
}

/* ---------- dW ---------- */

static void edits_are_pefts_merges(void **state) {
    fixture *f = *state;
    worst_of w = {0};
    for (size_t i = 0; i < n_cases(f); i++) {
        ws_err err = {0};
        one_case c = open_case(f, f->m, i);
        const ws_site *at = ws_model_site(f->m, site_of(f->m));
        const float *want = numbers(f, "dw", c.name, D_OUT / 2 * D_IN);
        float rows[D_OUT * D_IN], even[D_OUT / 2 * D_IN];
        ws_edit e;
        OK(ws_adapter_edit(c.a, 0, &e, &err));
        ws_edit_rows(&e, at->w, 0, D_OUT, rows);
        for (int o = 0; o < D_OUT; o += 2) memcpy(even + o / 2 * D_IN, rows + o * D_IN, D_IN * sizeof *rows);
        note(&w, &c, "dW", relative_error(even, want, D_OUT / 2 * D_IN), 1e-6);
        /* a piece of the rows is those rows */
        float part[7 * D_IN];
        ws_edit_rows(&e, at->w, 11, 18, part);
        assert_memory_equal(part, rows + 11 * D_IN, sizeof part);
        if (!strcmp(c.kind, "ia3")) {
            const float *db = numbers(f, "db", c.name, D_OUT);
            float none[D_OUT] = {0};
            note(&w, &c, "db", relative_error(e.db ? e.db : none, db, D_OUT), 1e-6);
        } else {
            assert_null(e.db);
        }
        ws_edit_release(&e);
        ws_adapter_free(c.a);
    }
    print_worst(&w, "dW");
}

/* What PiSSA took out of the weight, against PEFT's own residual: an SVD in fp32, good to some 1e-6 (adapters.md: 1e-5). */
static void residuals_are_pefts(void **state) {
    fixture *f = *state;
    worst_of w = {0};
    int found = 0;
    for (size_t i = 0; i < n_cases(f); i++) {
        ws_err err = {0};
        one_case c = open_case(f, f->m, i);
        const ws_site *at = ws_model_site(f->m, site_of(f->m));
        float whole[D_OUT * D_IN], shared[D_OUT * D_IN], weight[D_OUT * D_IN], residual[D_OUT / 2 * D_IN];
        if (!strcmp(c.kind, "pissa")) {
            ws_edit e, part;
            OK(ws_adapter_edit(c.a, 0, &e, &err));
            OK(ws_adapter_contrast_edit(c.a, c.a, 0, &part, &err));
            ws_edit_rows(&e, at->w, 0, D_OUT, whole), ws_edit_rows(&part, at->w, 0, D_OUT, shared);
            ws_weight_rows_f32(at->w, 0, D_OUT, weight);
            for (int k = 0; k < D_OUT / 2 * D_IN; k++) {
                int j = k / D_IN * 2 * D_IN + k % D_IN;
                residual[k] = weight[j] + (whole[j] - shared[j]);
            }
            const float *want = numbers(f, "wres", c.name, D_OUT / 2 * D_IN);
            note(&w, &c, "W_res", relative_error(residual, want, D_OUT / 2 * D_IN), 1e-5);
            ws_edit_release(&e), ws_edit_release(&part);
            found++;
        }
        ws_adapter_free(c.a);
    }
    assert_int_equal(found, 2);
    print_worst(&w, "residual");
}

static void forward_less_the_base_is_dw(void **state) {
    fixture *f = *state;
    worst_of w = {0};
    const float *x = want_tensor(f, "x")->data, *g = want_tensor(f, "g")->data;
    const ws_site *at = ws_model_site(f->m, site_of(f->m));
    float base[N * D_OUT];
    pass(f->m, NULL, x, NULL, N, base, NULL);
    for (size_t i = 0; i < n_cases(f); i++) {
        ws_err err = {0};
        one_case c = open_case(f, f->m, i);
        result r;
        ws_edit e;
        float rows[D_OUT * D_IN], y[N * D_OUT], moved[N * D_OUT], gx[N * D_IN], wy[N * D_OUT], wgx[N * D_IN];
        double size = 0, square = 0;
        OK(ws_adapter_edit(c.a, 0, &e, &err));
        whole_pass(f, f->m, c.a, &r);
        ws_edit_rows(&e, at->w, 0, D_OUT, rows);
        ws_edit_apply(&e, at->w, x, N, y);
        ws_edit_apply_t(&e, at->w, g, N, gx);
        for (int t = 0; t < N; t++) {
            for (int o = 0; o < D_OUT; o++) {
                double s = 0;
                for (int k = 0; k < D_IN; k++) s += (double)rows[o * D_IN + k] * x[t * D_IN + k];
                wy[t * D_OUT + o] = (float)s;
                moved[t * D_OUT + o] = base[t * D_OUT + o] + y[t * D_OUT + o] + (e.db ? e.db[o] : 0);
            }
            for (int k = 0; k < D_IN; k++) {
                double s = 0;
                for (int o = 0; o < D_OUT; o++) s += (double)rows[o * D_IN + k] * g[t * D_OUT + o];
                wgx[t * D_IN + k] = (float)s;
            }
        }
        worst_error(r.y, r.y, N * D_OUT, &size);
        note(&w, &c, "W x + dW x", worst_error(moved, r.y, N * D_OUT, NULL) / size, 2e-6);
        note(&w, &c, "dW x", relative_error(y, wy, N * D_OUT), 2e-6);
        note(&w, &c, "g dW", relative_error(gx, wgx, N * D_IN), 2e-6);
        for (int k = 0; k < D_OUT * D_IN; k++) square += (double)rows[k] * rows[k];
        double dot = ws_edit_dot(&e, &e, at->w);
        if (square > 0) note(&w, &c, "<dW, dW>", fabs(dot - square) / square, 2e-6);
        ws_edit_release(&e);
        ws_adapter_free(c.a);
    }
    print_worst(&w, "products with dW");
}

/* ---------- bits ---------- */

static void tokens_may_come_one_by_one(void **state) {
    fixture *f = *state;
    const float *x = want_tensor(f, "x")->data, *g = want_tensor(f, "g")->data;
    for (size_t i = 0; i < n_cases(f); i++) {
        one_case c = open_case(f, f->m, i);
        result r, s;
        size_t bytes = (size_t)ws_adapter_size(c.a) * sizeof(float);
        float *grads = malloc(bytes);
        ws_threads_set(1);
        whole_pass(f, f->m, c.a, &r);
        memcpy(grads, ws_adapter_grads(c.a), bytes);
        ws_threads_set(3);
        for (int cut = 1; cut < N; cut++) {
            ws_adapter_zero_grad(c.a);
            for (int t = 0, n; t < N; t += n) {
                n = cut == 1 ? 1 : t ? N - t : cut;
                pass(f->m, ws_adapter_patch(c.a), x + t * D_IN, g + t * D_OUT, n, s.y + t * D_OUT, s.dx + t * D_IN);
            }
            ws_adapter_finish_grad(c.a);
            if (memcmp(r.y, s.y, sizeof r.y)) fail_msg("%s: y depends on the other tokens", c.name);
            if (memcmp(r.dx, s.dx, sizeof r.dx)) fail_msg("%s: dx depends on the other tokens", c.name);
            if (memcmp(grads, ws_adapter_grads(c.a), bytes)) fail_msg("%s: gradients depend on the grouping", c.name);
        }
        ws_threads_set(0);
        free(grads);
        ws_adapter_free(c.a);
    }
}

static void saved_adapters_come_back(void **state) {
    fixture *f = *state;
    for (size_t i = 0; i < n_cases(f); i++) {
        ws_err err = {0};
        one_case c = open_case(f, f->m, i);
        char again[128];
        result r, s;
        snprintf(again, sizeof again, "%s/%s_again", f->tmp, c.name);
        OK(ws_adapter_save(c.a, again, &err));
        ws_adapter *b = load_from(f->m, "%s", again);
        assert_string_equal(ws_adapter_kind(b), c.kind);
        same_values(c.a, b, c.name);
        whole_pass(f, f->m, c.a, &r), whole_pass(f, f->m, b, &s);
        assert_memory_equal(r.y, s.y, sizeof r.y);
        ws_adapter_free(b), ws_adapter_free(c.a);
    }
}

static int setup(void **state) {
    fixture *f = *state = malloc(sizeof(fixture));
    part_open(f, "linear", ADAPTERS "linear/model");
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {T(every_kind_has_its_cases),
                                       T(outputs_are_pefts),
                                       T(gradients_are_pefts),
                                       T(gradients_are_slopes),
                                       T(doras_gradients_are_slopes_with_its_norms_held),
                                       T(edits_are_pefts_merges),
                                       T(residuals_are_pefts),
                                       T(forward_less_the_base_is_dw),
                                       T(tokens_may_come_one_by_one),
                                       T(saved_adapters_come_back)};
    return cmocka_run_group_tests_name("adapter/linear", tests, NULL, NULL);
}
