/* tests/test_adapter_rotation.c - the rotations of OFT and BOFT: what defines them (adapters.md 2.5, 2.6), their gradients by
 * central differences, block sizes, what is refused.  That they are PEFT's is shown by the tests on PEFT's own numbers.
 * Tolerances: identities in double on blocks of up to 32 are rounding alone, 1e-12; central differences with step 1e-5 are
 * good to 1e-9 of a gradient of size 1.  The slope of the fp32 loss along the gradient, over steps of 0.005: rotations bend
 * it by some 1e-4 there, rounding adds 3e-4; 1e-3 leaves room and still sees any wrong factor. */
#include "adapter/room.h"
#include "adapter/rotation.h"
#include "peft_help.h"

static uint32_t seed = 1;
static double noise(void) { return seed = seed * 1664525u + 1013904223u, (seed >> 8) / 8388608.0 - 1; }

/* A skew [b, b] of size about `size`. */
static void some_skew(double *q, int b, double size) {
    for (int i = 0; i < b; i++)
        for (int j = i; j < b; j++) q[i * b + j] = i == j ? 0 : size * noise(), q[j * b + i] = -q[i * b + j];
}
static double largest(const double *a, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs(a[i]));
    return most;
}
enum { MAX = 32, ALL = MAX * MAX };
static void rotation(double *e, const double *q, int terms, int b) {
    double *scratch = malloc((size_t)ws_rotation_scratch(terms, b) * sizeof *scratch);
    ws_rotation(e, q, terms, b, scratch);
    free(scratch);
}
static const int blocks[] = {2, 3, 4, 8, 16, 32};

static void exact_form_solves_its_equation(void **state) {
    (void)state;
    double q[ALL], e[ALL], left[ALL], gap[ALL];
    for (int k = 0; k < 6; k++)
        for (int strong = 0; strong < 2; strong++) {
            const int b = blocks[k], n = b * b;
            some_skew(q, b, strong ? 3 : 0.1);
            rotation(e, q, WS_CAYLEY, b);
            for (int i = 0; i < n; i++) left[i] = e[i] + (i % (b + 1) == 0); /* R */
            ws_square_nt(gap, left, left, b);
            for (int i = 0; i < n; i++) gap[i] -= i % (b + 1) == 0;
            assert_true(largest(gap, n) < 1e-12); /* R R' = I */
            ws_square_nn(gap, e, q, b);
            for (int i = 0; i < n; i++) gap[i] += e[i] + 2 * q[i];
            assert_true(largest(gap, n) < 1e-12 * (1 + largest(q, n))); /* R (I + Q) = I - Q */
        }
}

/* Term by term, as PEFT's loop is told in adapters.md. */
static void series_has_pefts_terms(void **state) {
    (void)state;
    for (int k = 0; k < 6; k++)
        for (int terms = 2; terms <= 9; terms++) {
            const int b = blocks[k], n = b * b, last = terms == 2 ? 1 : terms == 3 ? 3 : terms - 1;
            double q[ALL], e[ALL], want[ALL] = {0}, power[ALL], t[ALL];
            some_skew(q, b, 0.4);
            rotation(e, q, terms, b);
            memcpy(power, q, sizeof power);
            for (int p = 1; p <= last; p++) {
                for (int i = 0; i < n; i++) want[i] += (p < last || terms == 2 ? 2 : 1) * power[i];
                ws_square_nn(t, power, q, b), memcpy(power, t, sizeof power);
            }
            for (int i = 0; i < n; i++) want[i] -= e[i];
            assert_true(largest(want, n) < 1e-12 * (1 + largest(e, n)));
            if (terms != 5) continue;
            double r[ALL], rr[ALL], q2[ALL], q4[ALL]; /* R R' = (I - Q^4)^2 */
            for (int i = 0; i < n; i++) r[i] = e[i] + (i % (b + 1) == 0);
            ws_square_nt(rr, r, r, b), ws_square_nn(q2, q, q, b), ws_square_nn(q4, q2, q2, b);
            for (int i = 0; i < n; i++) q4[i] = (i % (b + 1) == 0) - q4[i];
            ws_square_nn(t, q4, q4, b);
            for (int i = 0; i < n; i++) rr[i] -= t[i];
            assert_true(largest(rr, n) < 1e-12 * (1 + largest(t, n)));
        }
}

static void small_turns_keep_their_digits_and_go_opposite_ways(void **state) {
    (void)state;
    double q[64], e[64], x[64], two[64];
    some_skew(q, 8, 1e-9);
    ws_square_nn(two, q, q, 8);
    rotation(e, q, 5, 8), rotation(x, q, WS_CAYLEY, 8);
    for (int i = 0; i < 64; i++) {
        assert_true(fabs(e[i] - 2 * (q[i] + two[i])) < 1e-23);
        assert_true(fabs(x[i] - 2 * (two[i] - q[i])) < 1e-23);
    }
}

static void gradients_are_central_differences(void **state) {
    (void)state;
    static const int kinds[] = {WS_CAYLEY, 2, 3, 4, 5, 7};
    double worst = 0;
    for (int k = 0; k < 4; k++)
        for (int kind = 0; kind < 6; kind++) {
            const int b = blocks[k], n = b * b, terms = kinds[kind];
            double q[ALL], gr[ALL], gq[ALL], e[2][ALL];
            double *scratch = malloc((size_t)ws_rotation_scratch(terms, b) * sizeof *scratch);
            some_skew(q, b, 0.5);
            for (int i = 0; i < n; i++) gr[i] = noise();
            ws_rotation_grad(gq, gr, q, terms, b, scratch);
            for (int i = 0; i < b; i++)
                for (int j = i + 1; j < b; j++) { /* q_ij and q_ji move together */
                    double keep = q[i * b + j], slope = 0;
                    for (int up = 0; up < 2; up++) {
                        q[i * b + j] = keep + (up ? 1e-5 : -1e-5), q[j * b + i] = -q[i * b + j];
                        ws_rotation(e[up], q, terms, b, scratch);
                    }
                    q[i * b + j] = keep, q[j * b + i] = -keep;
                    for (int m = 0; m < n; m++) slope += gr[m] * (e[1][m] - e[0][m]) / 2e-5;
                    worst = fmax(worst, fabs(slope - (gq[i * b + j] - gq[j * b + i])) / (1 + fabs(slope)));
                }
            free(scratch);
        }
    printf("  largest error %.1e\n", worst);
    assert_true(worst < 1e-8);
}

/* ---------- on a model ---------- */

/* A room's adapter on the fixture with some keys of its configuration set (JSON), its values moved from where they start. */
static ws_adapter *adapter(const fixture *f, const ws_adapter_ops *ops, const char *keys, double size) {
    ws_err err = {0};
    ws_adapter *a;
    json_t *c = json_loads(ops->config, 0, NULL), *set = json_loads(keys, 0, NULL);
    assert_non_null(set);
    json_object_set_new(c, "target_modules", json_pack("[s,s,s]", "q_proj", "v_proj", "down_proj"));
    json_object_update(c, set);
    json_decref(set);
    OK(ws_adapter_build(&a, f->m, ops, c, NULL, "test", &err));
    ws_adapter_init(a, 0);
    for (int64_t i = 0; i < ws_adapter_size(a); i++) ws_adapter_values(a)[i] += (float)(size * noise());
    ws_adapter_refresh(a);
    return a;
}

extern const ws_adapter_ops ws_adapter_oft, ws_adapter_boft, ws_adapter_ia3;
static const struct {
    const ws_adapter_ops *ops;
    const char *keys;
} kinds[] = {
    {&ws_adapter_oft, "{\"oft_block_size\": 8}"},
    {&ws_adapter_oft, "{\"oft_block_size\": 4, \"num_cayley_neumann_terms\": 2}"},
    {&ws_adapter_oft, "{\"oft_block_size\": 4, \"num_cayley_neumann_terms\": 8}"},
    {&ws_adapter_oft, "{\"oft_block_size\": 8, \"use_cayley_neumann\": false}"},
    {&ws_adapter_oft, "{\"oft_block_size\": 8, \"block_share\": true}"},
    {&ws_adapter_oft, "{\"oft_block_size\": 0, \"r\": 2, \"block_share\": true, \"use_cayley_neumann\": false}"},
    {&ws_adapter_oft, "{\"oft_block_size\": 16, \"coft\": true, \"eps\": 1000}"},
    {&ws_adapter_oft, "{\"oft_block_size\": 7}"},
    {&ws_adapter_boft, "{\"boft_block_size\": 8}"},
    {&ws_adapter_boft, "{\"boft_block_size\": 0, \"boft_block_num\": 8}"},
    {&ws_adapter_boft, "{\"boft_block_size\": 8, \"boft_n_butterfly_factor\": 2}"},
    {&ws_adapter_boft, "{\"boft_block_size\": 4, \"boft_n_butterfly_factor\": 3}"},
    {&ws_adapter_ia3, "{\"feedforward_modules\": [\"down_proj\"]}"},
    {&ws_adapter_ia3, "{\"feedforward_modules\": []}"},
    {&ws_adapter_ia3, "{\"feedforward_modules\": \".*(v|down)_proj\"}"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Loss and gradient of the first `n` rows. */
static double gradients(const fixture *f, ws_adapter *a, int n, int together) {
    ws_err err = {0};
    int32_t ids[6][64];
    ws_train_row row[6];
    for (int r = 0; r < n; r++) {
        int first, len = row_of(f, r, ids[r], &first);
        row[r] = (ws_train_row){ids[r], len, first, 0.05f};
    }
    ws_patch *patch = ws_adapter_patch(a);
    ws_train_out out;
    double loss = 0;
    ws_adapter_zero_grad(a);
    for (int r = 0; r < n; r += together ? n : 1) {
        OK(ws_train_pass(f->m, row + r, together ? n : 1, &patch, 1, 0, &out, NULL, &err));
        loss += out.loss;
    }
    ws_adapter_finish_grad(a);
    return loss;
}

static void gradients_are_the_slope_of_the_loss(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *a = adapter(f, kinds[k].ops, kinds[k].keys, 0.1);
        int64_t n = ws_adapter_size(a);
        float *v = ws_adapter_values(a), *g = malloc((size_t)n * sizeof *g), *at = malloc((size_t)n * sizeof *at);
        gradients(f, a, 4, 0);
        memcpy(g, ws_adapter_grads(a), (size_t)n * sizeof *g), memcpy(at, v, (size_t)n * sizeof *at);
        gradients(f, a, 4, 1); /* the same bits however the rows come */
        assert_memory_equal(g, ws_adapter_grads(a), (size_t)n * sizeof *g);
        double norm = 0, loss[2];
        for (int64_t i = 0; i < n; i++) norm += (double)g[i] * g[i];
        norm = sqrt(norm);
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < n; i++) v[i] = (float)(at[i] + (s ? 1 : -1) * 0.005 / norm * g[i]);
            ws_adapter_refresh(a);
            loss[s] = gradients(f, a, 4, 1);
        }
        double slope = (loss[1] - loss[0]) / 0.01;
        if (!(fabs(slope - norm) < 1e-3 * norm)) fail_msg("%s: slope %g, norm %g", kinds[k].keys, slope, norm);
        free(g), free(at);
        ws_adapter_free(a);
    }
}

static void a_fresh_adapter_is_the_base(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *a = adapter(f, kinds[k].ops, kinds[k].keys, 0);
        int n;
        float *base = logits_of(f, f->m, 0, NULL, 0, &n), *with = logits_of(f, f->m, 0, ws_adapter_patch(a), 1, &n);
        assert_memory_equal(base, with, (size_t)n * 40 * sizeof *base);
        free(base), free(with);
        ws_adapter_free(a);
    }
}

/* T of BOFT with permutation matrices and d_in x d_in products, as PEFT makes it, from blocks rotated one at a time. */
static void butterfly_factors_are_pefts_products(void **state) {
    fixture *f = *state;
    for (int m = 1; m <= 3; m++) {
        char keys[96];
        snprintf(keys, sizeof keys, "{\"boft_block_size\": 4, \"boft_n_butterfly_factor\": %d}", m);
        ws_adapter *a = adapter(f, &ws_adapter_boft, keys, 0.3);
        const ws_adapted *s = &a->site[0];
        const int d = (int)s->at->d_in, b = 4, wide = b << (m - 1);
        double *total = calloc((size_t)(d * d), sizeof *total), *t = malloc((size_t)(d * d) * sizeof *t),
               *r = malloc((size_t)(d * d) * sizeof *r), *p = malloc((size_t)(d * d) * sizeof *p), q[16], e[16];
        for (int i = 0; i < d; i++) total[i * d + i] = 1;
        for (int i = 0; i < m; i++) {
            memset(r, 0, (size_t)(d * d) * sizeof *r), memset(p, 0, (size_t)(d * d) * sizeof *p);
            for (int k = 0; k < d / b; k++) {
                ws_skew_from_full(q, s->p[0].value + (i * (d / b) + k) * b * b, b);
                rotation(e, q, WS_CAYLEY, b);
                for (int x = 0; x < b * b; x++) r[(k * b + x / b) * d + k * b + x % b] = e[x] + (x % (b + 1) == 0);
            }
            const int run = b << i, half = b / 2;
            for (int j0 = 0, at = 0; j0 < d; j0 += run)
                for (int odd = 0; odd < 2; odd++)
                    for (int g = odd; g < run / half; g += 2)
                        for (int x = 0; x < half; x++, at++) p[at * d + (m > 1 ? j0 + g * half + x : at)] = 1;
            ws_square_nt(t, r, p, d), ws_square_nn(r, p, t, d); /* P R P' */
            ws_square_nn(t, r, total, d), memcpy(total, t, (size_t)(d * d) * sizeof *t);
        }
        for (int i = 0; i < d; i++)
            for (int j = 0; j < d; j++) {
                float got = i / wide == j / wide ? s->derived[(i / wide * wide + i % wide) * wide + j % wide] : 0;
                assert_true(fabs(got - total[i * d + j]) < 1e-7);
            }
        free(total), free(t), free(r), free(p);
        ws_adapter_free(a);
    }
}

static void coft_keeps_parameters_within_eps(void **state) {
    fixture *f = *state;
    ws_adapter *a = adapter(f, &ws_adapter_oft, "{\"oft_block_size\": 8, \"coft\": true, \"eps\": 0.02}", 0.1);
    const ws_adapted *s = &a->site[0];
    const double most = 0.02 / sqrt((double)s->p[0].rows);
    for (int64_t k = 0; k < s->p[0].rows; k++) {
        double sum = 0;
        for (int64_t i = 0; i < s->p[0].cols; i++) sum += 2 * pow(s->p[0].value[k * s->p[0].cols + i], 2);
        assert_true(fabs(sqrt(sum) - most) < 1e-6 * most); /* all were outside */
    }
    float *v = malloc((size_t)ws_adapter_size(a) * sizeof *v); /* what is inside stays */
    for (int64_t i = 0; i < ws_adapter_size(a); i++) v[i] = ws_adapter_values(a)[i] *= 0.5f;
    ws_adapter_refresh(a);
    assert_memory_equal(v, ws_adapter_values(a), (size_t)ws_adapter_size(a) * sizeof *v);
    free(v);
    ws_adapter_free(a);
}

/* ---------- files and options ---------- */

/* Against PEFT 0.21.2's adjust_oft_parameters on 48 inputs. */
static void block_sizes_follow_peft(void **state) {
    (void)state;
    static const struct {
        int size, count, d, want;
    } c[] = {{8, 0, 48, 8},   {7, 0, 48, 6},   {9, 0, 48, 8},   {10, 0, 48, 8},  {11, 0, 48, 12},
             {14, 0, 48, 12}, {20, 0, 48, 16}, {48, 0, 48, 48}, {49, 0, 48, 48}, {36, 0, 48, 24},
             {37, 0, 48, 48}, {0, 4, 48, 12},  {0, 5, 48, 12},  {0, 7, 48, 8},   {0, 24, 48, 2}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        ws_err err = {0};
        int b;
        json_t *j = json_pack("{s:i, s:i}", "oft_block_size", c[i].size, "r", c[i].count);
        OK(ws_rotation_block(&b, j, "oft_block_size", "r", c[i].d, 1, "m", "test", &err));
        if (b != c[i].want) fail_msg("case %zu: %d, want %d", i, b, c[i].want);
        json_decref(j);
    }
}

/* Saves an adapter of kind k, changes keys of its configuration, and loads it again. */
static ws_status reload(const fixture *f, int k, const char *keys, const char *drop, ws_adapter **out, ws_err *err) {
    char dir[128], path[192];
    ws_err e = {0};
    json_t *c, *set = json_loads(keys, 0, NULL);
    ws_adapter *a = adapter(f, kinds[k].ops, kinds[k].keys, 0.1);
    snprintf(dir, sizeof dir, "%s/case", f->tmp);
    if (ws_adapter_save(a, dir, &e)) fail_msg("%s", e.msg);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    if (ws_json_load(&c, path, &e)) fail_msg("%s", e.msg);
    json_object_update(c, set);
    if (drop) json_object_del(c, drop);
    if (ws_json_save(c, path, &e)) fail_msg("%s", e.msg);
    json_decref(c), json_decref(set);
    *out = NULL;
    ws_status st = ws_adapter_load(out, f->m, dir, err);
    if (!st) { /* what was saved */
        assert_int_equal(ws_adapter_size(a), ws_adapter_size(*out));
        assert_memory_equal(ws_adapter_values(a), ws_adapter_values(*out), (size_t)ws_adapter_size(a) * sizeof(float));
    }
    ws_adapter_free(a);
    return st;
}

static void directories_come_back_exactly(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    for (int k = 0; k < KINDS; k++) {
        ws_adapter *a;
        OK(reload(f, k, "{}", NULL, &a, &err));
        ws_adapter_free(a);
    }
}

static void what_peft_refuses_or_means_otherwise_is_refused(void **state) {
    fixture *f = *state;
    static const struct {
        int kind;
        const char *keys, *drop;
        ws_status st;
        const char *says;
    } bad[] = {
        {0, "{}", "oft_block_size", WS_EUNSUPPORTED, "oft_block_size is missing"},
        {0, "{\"r\": 4}", NULL, WS_EFORMAT, "exactly one of them"},
        {0, "{\"oft_block_size\": 0}", NULL, WS_EFORMAT, "exactly one of them"},
        {0, "{\"oft_block_size\": -8}", NULL, WS_EFORMAT, "exactly one of them"},
        {0, "{\"oft_block_size\": 1}", NULL, WS_EUNSUPPORTED, "blocks of one input"},
        {0, "{\"oft_block_size\": \"8\"}", NULL, WS_EFORMAT, "oft_block_size"},
        {0, "{\"oft_block_size\": 16}", NULL, WS_ESHAPE, "oft_R.weight has shape"},
        {0, "{\"num_cayley_neumann_terms\": 1}", NULL, WS_EUNSUPPORTED, "num_cayley_neumann_terms"},
        {0, "{\"coft\": true, \"eps\": 0}", NULL, WS_EFORMAT, "eps"},
        {0, "{\"bias\": \"oft_only\"}", NULL, WS_EUNSUPPORTED, "bias"},
        {0, "{\"modules_to_save\": [\"lm_head\"]}", NULL, WS_EUNSUPPORTED, "modules_to_save"},
        {8, "{\"boft_block_size\": 7}", NULL, WS_EFORMAT, "does not divide"},
        {8, "{\"boft_block_num\": 4}", NULL, WS_EFORMAT, "exactly one of them"},
        {8, "{\"boft_n_butterfly_factor\": 0}", NULL, WS_EFORMAT, "boft_n_butterfly_factor 0 does not fit"},
        {10, "{\"boft_n_butterfly_factor\": 1}", NULL, WS_ESHAPE, "boft_R has shape"},
        {10, "{\"boft_n_butterfly_factor\": 3}", NULL, WS_EFORMAT, "boft_n_butterfly_factor 3 does not fit"},
        {10, "{\"boft_n_butterfly_factor\": 31}", NULL, WS_EFORMAT, "boft_n_butterfly_factor 31 does not fit"},
        {12, "{\"feedforward_modules\": [\"up_proj\"]}", NULL, WS_EFORMAT, "up_proj is not in target_modules"},
        {12, "{\"feedforward_modules\": [3]}", NULL, WS_EFORMAT, "feedforward_modules[0]"},
        {12, "{\"feedforward_modules\": null}", NULL, WS_EUNSUPPORTED, "feedforward_modules"},
        {12, "{\"feedforward_modules\": \"(\"}", NULL, WS_EFORMAT, "feedforward_modules"},
        {12, "{\"feedforward_modules\": []}", NULL, WS_ESHAPE, "ia3_l has shape"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ws_err err = {0};
        ws_adapter *a;
        REFUSED(bad[i].st, bad[i].says, reload(f, bad[i].kind, bad[i].keys, bad[i].drop, &a, &err));
        assert_null(a);
    }
}

static void what_changes_nothing_is_read(void **state) {
    fixture *f = *state;
    static const struct {
        int kind;
        const char *keys, *drop;
    } fine[] = {{0, "{\"peft_version\": \"0.17.1\"}", NULL},
                {0, "{\"module_dropout\": 0.5}", NULL},
                {0, "{\"eps\": 0}", NULL},
                {0, "{\"fan_in_fan_out\": true}", NULL},
                {0, "{}", "peft_version"},
                {0, "{}", "num_cayley_neumann_terms"},
                {8, "{\"boft_dropout\": 0.1}", NULL},
                {8, "{\"boft_n_butterfly_factor\": 2}", NULL},
                {12, "{\"layers_to_transform\": [0]}", NULL},
                {12, "{\"init_ia3_weights\": false}", NULL}};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        ws_err err = {0};
        ws_adapter *a;
        OK(reload(f, fine[i].kind, fine[i].keys, fine[i].drop, &a, &err));
        if (fine[i].kind == 8) /* one factor in the tensors is one factor, whatever PEFT was asked for */
            assert_int_equal(json_integer_value(json_object_get(a->config, "boft_n_butterfly_factor")), 1);
        if (fine[i].kind == 12) assert_int_equal(ws_adapter_n_sites(a), 3 * ws_model_dims(f->m)->layers);
        ws_adapter_free(a);
    }
}

static void tensors_of_the_old_oft_are_named(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    char dir[128];
    ws_peft_dir d;
    ws_adapter *a;
    OK(reload(f, 0, "{}", NULL, &a, &err));
    ws_adapter_free(a);
    snprintf(dir, sizeof dir, "%s/case", f->tmp);
    OK(ws_peft_open(&d, dir, &err));
    size_t n = ws_safetensors_count(d.tensors);
    ws_tensor *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        const ws_tensor *from = ws_safetensors_at(d.tensors, i);
        t[i] = *from, t[i].data = ws_tensor_f32(from);
        t[i].name = ws_sprintf("%.*s.oft_r.default", (int)(strstr(from->name, ".oft_R") - from->name), from->name);
    }
    OK(ws_peft_write(dir, d.config, t, n, &err));
    ws_peft_close(&d);
    REFUSED(WS_EUNSUPPORTED, "oft_r", ws_adapter_load(&a, f->m, dir, &err));
    for (size_t i = 0; i < n; i++) free(t[i].name), free((void *)(uintptr_t)t[i].data);
    free(t);
}

static void options_make_pefts_configuration(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_adapter *a;
    ws_adapter_config c = {.kind = "oft", .rank = 32, .layer_begin = 1, .layer_end = 3};
    OK(ws_adapter_new(&a, f->m, &c, &err));
    assert_int_equal(json_integer_value(json_object_get(a->config, "oft_block_size")), 8);
    assert_int_equal(json_integer_value(json_object_get(a->config, "r")), 0); /* no rank goes there */
    assert_int_equal(ws_adapter_n_sites(a), 14);
    ws_adapter_free(a);
    c.kind = "boft", c.block = 4;
    OK(ws_adapter_new(&a, f->m, &c, &err));
    assert_int_equal(json_integer_value(json_object_get(a->config, "boft_block_size")), 4);
    ws_adapter_free(a);
    c.block = 5;
    REFUSED(WS_EFORMAT, "boft_block_size 5 does not divide", ws_adapter_new(&a, f->m, &c, &err));
    c.kind = "ia3";
    REFUSED(WS_EUSAGE, "ia3 adapts its modules in all layers", ws_adapter_new(&a, f->m, &c, &err));
    assert_true(!(ws_adapter_reads("ia3") & WS_READS_LAYERS) && (ws_adapter_reads("oft") & WS_READS_LAYERS));
    c.layer_begin = c.layer_end = -1;
    OK(ws_adapter_new(&a, f->m, &c, &err));
    assert_int_equal(ws_adapter_n_sites(a), 3 * ws_model_dims(f->m)->layers);
    json_t *want = json_loads("[\"down_proj\"]", 0, NULL);
    assert_true(json_equal(json_object_get(a->config, "feedforward_modules"), want));
    json_decref(want);
    ws_adapter_free(a);
    c.targets = "k_proj,o_proj";
    OK(ws_adapter_new(&a, f->m, &c, &err));
    assert_int_equal(json_array_size(json_object_get(a->config, "feedforward_modules")), 0);
    ws_adapter_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(exact_form_solves_its_equation),
                                       cmocka_unit_test(series_has_pefts_terms),
                                       cmocka_unit_test(small_turns_keep_their_digits_and_go_opposite_ways),
                                       cmocka_unit_test(gradients_are_central_differences),
                                       cmocka_unit_test(gradients_are_the_slope_of_the_loss),
                                       cmocka_unit_test(a_fresh_adapter_is_the_base),
                                       cmocka_unit_test(butterfly_factors_are_pefts_products),
                                       cmocka_unit_test(coft_keeps_parameters_within_eps),
                                       cmocka_unit_test(block_sizes_follow_peft),
                                       cmocka_unit_test(directories_come_back_exactly),
                                       cmocka_unit_test(what_peft_refuses_or_means_otherwise_is_refused),
                                       cmocka_unit_test(what_changes_nothing_is_read),
                                       cmocka_unit_test(tensors_of_the_old_oft_are_named),
                                       cmocka_unit_test(options_make_pefts_configuration)};
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
