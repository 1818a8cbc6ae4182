/* tests/test_delta_terms.c - edits with terms, sum_j diag(s_j) W E_j + U V + D and db, against plain loops in double and against
 * a model whose weights were changed instead.  Rows, products and dots: 1e-6 of their largest value, which is what fp32
 * storage of the parts allows; logits 1e-6 of theirs with the reference kernels, which sum in double (adapters.md 5, test 16).
 * With the others as in test_delta_rooms.c: a random relative change of every weight moves logits up to 10 times as far,
 * relative to the largest, and hidden states 6 times; K <= 48 terms in lanes give 6.5 in place of 8.5, so 0.42 u
 * sqrt(2 (6.5 + 4) + 5 + 1) = 2.2 u, for logits 2 x 10 x 2.2 u = 2.6e-6, for hidden states 1.6e-6. */
#include "delta/impl.h"
#include "kernel/kernel.h"
#include "kernel/sets.h"
#include "peft_help.h"

static uint32_t seed;
static float noise(void) { /* about N(0, 1): the sum of four uniforms */
    double s = 0;
    for (int i = 0; i < 4; i++) seed = seed * 1664525u + 1013904223u, s += (seed >> 8) / 16777216.0 - 0.5;
    return (float)(s * 1.7320508);
}
static float *noises(int64_t n, double scale) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * noise());
    return x;
}

/* A dense part, F32 or BF16. */
static void add_dense(ws_edit *e, ws_dtype type) {
    int64_t n = e->d_out * e->d_in;
    float *x = noises(n, 0.05);
    e->dense = (ws_weight){
        .data = x, .type = type, .rows = e->d_out, .cols = e->d_in, .row_bytes = ws_dtype_bytes(type, e->d_in)};
    e->dense_memory = x;
    for (int64_t i = 0; type == WS_BF16 && i < n; i++) ((uint16_t *)(void *)x)[i] = ws_f32_bf16(x[i]);
}

/* Every form that a term can have: s and blocks, s alone, a diagonal, blocks alone; with or without U V, db and D. */
enum { DENSE = 64, DENSE16 = 128, FORMS = 192 };
static ws_edit some_edit(const ws_site *at, int form) {
    ws_edit e;
    ws_err err = {0};
    int64_t k = form & 1 ? 3 : 0;
    OK(ws_edit_alloc(&e, at->d_out, at->d_in, k, &err));
    for (int64_t i = 0; i < at->d_out * k; i++) e.u[i] = 0.1f * noise();
    for (int64_t i = 0; i < at->d_in * k; i++) e.v[i] = 0.1f * noise();
    if (form & 2) ws_edit_add_term(&e, noises(at->d_out, 0.2), noises(at->d_in * 8, 0.05), 8);
    if (form & 4) ws_edit_add_term(&e, noises(at->d_out, 0.1), NULL, 0);
    if (form & 8) ws_edit_add_term(&e, NULL, noises(at->d_in, 0.1), 1);
    if (form & 16) ws_edit_add_term(&e, NULL, noises(at->d_in * 4, 0.05), 4);
    if (form & 32) e.db = noises(at->d_out, 0.1);
    if (form & (DENSE | DENSE16)) add_dense(&e, form & DENSE ? WS_F32 : WS_BF16);
    return e;
}

/* dW [d_out, d_in] by the formula, element by element. */
static double *dense(const ws_edit *e, const ws_weight *w) {
    double *d = calloc((size_t)(e->d_out * e->d_in), sizeof *d);
    float *row = malloc((size_t)e->d_in * sizeof *row), *own = calloc((size_t)e->d_in, sizeof *own);
    for (int64_t o = 0; o < e->d_out; o++) {
        ws_weight_rows_f32(w, o, 1, row);
        if (e->dense.data) ws_weight_rows_f32(&e->dense, o, 1, own);
        for (int64_t i = 0; i < e->d_in; i++) {
            double sum = own[i];
            for (int64_t k = 0; k < e->k; k++) sum += (double)e->u[o * e->k + k] * e->v[k * e->d_in + i];
            for (int j = 0; j < e->n_terms; j++) {
                const ws_edit_term *t = &e->term[j];
                double s = t->s ? t->s[o] : 1, we = row[i];
                int64_t b = t->e_block, k0 = b ? i / b * b : 0;
                if (t->e && b == 1) we = (double)row[i] * t->e[i];
                if (t->e && b > 1) {
                    we = 0;
                    for (int64_t r = 0; r < b; r++) we += (double)row[k0 + r] * t->e[k0 * b + r * b + i - k0];
                }
                sum += s * we;
            }
            d[o * e->d_in + i] = sum;
        }
    }
    free(row), free(own);
    return d;
}

static double apart(const float *got, const double *want, int64_t n) {
    double worst = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs(got[i] - want[i]);
        if (!(e <= worst)) worst = e;
        if (fabs(want[i]) > size) size = fabs(want[i]);
    }
    return worst / size;
}

static void rows_products_and_dots_are_the_formula(void **state) {
    fixture *f = *state;
    double worst = 0;
    enum { N = 5 };
    for (int form = 1; form < FORMS; form += form < 64 ? 1 : 3) {
        if (form == 32) continue; /* a bias alone has no dW */
        const ws_site *at = ws_model_site(f->m, form % 7);
        seed = (uint32_t)form;
        ws_edit e = some_edit(at, form), other = some_edit(at, (form ^ 63) & 63 ? form ^ 63 : 63);
        double *d = dense(&e, at->w), *d2 = dense(&other, at->w), dot = 0, size = 0, err;
        int64_t all = at->d_out * at->d_in;
        float *rows = malloc((size_t)all * sizeof *rows), *x = noises(N * at->d_in, 1), *gy = noises(N * at->d_out, 1),
              *y = malloc((size_t)(N * at->d_out) * sizeof *y), *gx = malloc((size_t)(N * at->d_in) * sizeof *gx);
        double *wy = calloc((size_t)(N * at->d_out), sizeof *wy), *wx = calloc((size_t)(N * at->d_in), sizeof *wx);
        ws_edit_rows(&e, at->w, 0, 9, rows), ws_edit_rows(&e, at->w, 9, at->d_out, rows + 9 * at->d_in);
        worst = fmax(worst, apart(rows, d, all));
        for (int n = 0; n < N; n++)
            for (int64_t o = 0; o < at->d_out; o++)
                for (int64_t i = 0; i < at->d_in; i++) {
                    wy[n * at->d_out + o] += d[o * at->d_in + i] * x[n * at->d_in + i];
                    wx[n * at->d_in + i] += d[o * at->d_in + i] * gy[n * at->d_out + o];
                }
        ws_edit_apply(&e, at->w, x, N, y), ws_edit_apply_t(&e, at->w, gy, N, gx);
        worst = fmax(worst, fmax(apart(y, wy, N * at->d_out), apart(gx, wx, N * at->d_in)));
        for (int64_t i = 0; i < all; i++) dot += d[i] * d2[i], size += d[i] * d[i];
        err = fabs(ws_edit_dot(&e, &other, at->w) - dot) / size;
        worst = fmax(worst, fmax(err, fabs(ws_edit_dot(&e, &e, at->w) - size) / size));
        free(d), free(d2), free(rows), free(x), free(gy), free(y), free(gx), free(wy), free(wx);
        ws_edit_release(&e), ws_edit_release(&other);
    }
    printf("  largest error / largest value %.2e\n", worst);
    assert_true(worst < 1e-6);
}

static void combinations_are_linear_and_merge_like_terms(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    double worst = 0;
    for (int form = 1; form < FORMS; form += form < 64 ? 1 : 3) {
        if (form == 32) continue;
        const ws_site *at = ws_model_site(f->m, form % 7);
        seed = (uint32_t)(100 + form);
        ws_edit p = some_edit(at, form), n = some_edit(at, form), c;
        OK(ws_edit_combine(&c, &p, 0.7, &n, -1.3, &err));
        int blocks = form & 2 ? 2 : 0; /* s and E together do not merge; the others do */
        assert_int_equal(c.n_terms, blocks + !!(form & 4) + !!(form & 8) + !!(form & 16));
        double *dp = dense(&p, at->w), *dn = dense(&n, at->w);
        int64_t all = at->d_out * at->d_in;
        float *rows = malloc((size_t)all * sizeof *rows);
        ws_edit_rows(&c, at->w, 0, at->d_out, rows);
        for (int64_t i = 0; i < all; i++) dp[i] = 0.7 * dp[i] - 1.3 * dn[i];
        worst = fmax(worst, apart(rows, dp, all));
        for (int64_t i = 0; c.db && i < at->d_out; i++)
            assert_true(fabs(c.db[i] - (0.7 * (double)p.db[i] - 1.3 * (double)n.db[i])) < 1e-7);
        assert_true(!c.db == !(form & 32));
        ws_edit one;
        OK(ws_edit_combine(&one, NULL, 5, &n, 1, &err)); /* one side alone, as it is */
        assert_int_equal(one.n_terms, n.n_terms);
        for (int j = 0; j < n.n_terms; j++)
            if (n.term[j].s) assert_memory_equal(one.term[j].s, n.term[j].s, (size_t)at->d_out * sizeof(float));
        ws_edit_release(&p), ws_edit_release(&n), ws_edit_release(&c), ws_edit_release(&one);
        free(dp), free(dn), free(rows);
    }
    printf("  largest error / largest value %.2e\n", worst);
    assert_true(worst < 1e-6);
}

/* Every linear has an edit, of all forms in turn.  The fixture's linears have no bias, so db stays away where the changed
 * model could not hold it. */
static ws_delta *everywhere(const fixture *f, uint32_t from) {
    ws_delta *d = ws_delta_alloc(f->m);
    ws_err err = {0};
    seed = from;
    for (int s = 0; s < ws_model_n_sites(f->m); s++) {
        if (ws_model_site(f->m, s)->kind != WS_SITE_LINEAR) continue;
        ws_edit e = some_edit(ws_model_site(f->m, s), (1 + (int)(s + from) % 31) | (s % 5 == 2   ? DENSE
                                                                                    : s % 5 == 4 ? DENSE16
                                                                                                 : 0));
        OK(ws_delta_add(d, s, &e, &err));
    }
    return d;
}

/* The same model with W + a dW (+ a2 dW2) written into its weights. */
static ws_model *changed(const fixture *f, const ws_delta *d, double a, const ws_delta *d2, double a2,
                         ws_checkpoint **c) {
    ws_err err = {0};
    size_t n = ws_checkpoint_count(f->c);
    ws_tensor *t = calloc(n, sizeof *t);
    char path[128], cmd[256];
    for (size_t i = 0; i < n; i++) {
        t[i] = *ws_checkpoint_at(f->c, i);
        float *v = ws_tensor_f32(&t[i]);
        char *site = strdup(t[i].name), *end = strstr(site, ".weight");
        if (end) *end = 0;
        int s = ws_model_find_site(f->m, site);
        free(site);
        for (int part = 0; part < 2 && s >= 0; part++) {
            const ws_delta *of = part ? d2 : d;
            if (!of) continue;
            double *dw = dense(ws_delta_edit(of, of->at_site[s]), ws_model_site(f->m, s)->w);
            for (int64_t k = 0; k < ws_tensor_numel(&t[i]); k++) v[k] = (float)(v[k] + (part ? a2 : a) * dw[k]);
            free(dw);
        }
        t[i].data = v;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", f->tmp);
    OK(ws_safetensors_write(path, t, n, NULL, &err));
    snprintf(cmd, sizeof cmd, "cp " PEFT_DIR "model/config.json %s/", f->tmp);
    assert_int_equal(system(cmd), 0);
    ws_model *m;
    OK(ws_checkpoint_open(c, f->tmp, &err));
    OK(ws_model_open(&m, *c, &err));
    for (size_t i = 0; i < n; i++) free((void *)t[i].data);
    free(t);
    return m;
}

static void hung_edits(const fixture *f, double tolerance) {
    static const float alphas[] = {-2, -1, 0, 0.5, 1, 3};
    ws_delta *d = everywhere(f, 1);
    double worst = 0;
    for (int i = 0; i < 6; i++) {
        ws_checkpoint *c;
        ws_model *m = changed(f, d, alphas[i], NULL, 0, &c);
        int n;
        float *got = logits_of(f, f->m, 0, ws_delta_patch(d), alphas[i], &n), *want = logits_of(f, m, 0, NULL, 0, &n),
              *base = logits_of(f, f->m, 0, NULL, 0, &n);
        double size = 0, e = worst_error(got, want, (int64_t)n * 40, &size) / size;
        worst = fmax(worst, e);
        if (alphas[i] == 0)
            assert_memory_equal(got, base, (size_t)n * 40 * sizeof *got);
        else
            assert_true(worst_error(got, base, (int64_t)n * 40, NULL) > 0.01 * size);
        free(got), free(want), free(base);
        ws_model_free(m);
        ws_checkpoint_close(c);
    }
    printf("  largest logit error / largest logit %.2e\n", worst);
    assert_true(worst < tolerance);
    ws_delta_free(d);
}
static void a_hung_edit_is_a_changed_weight(void **state) {
    const ws_kernels best = ws_k;
    hung_edits(*state, 2.6e-6);
    ws_k = ws_kernels_ref;
    hung_edits(*state, 1e-6);
    ws_k = best;
}

/* Two contrasts at other strengths in every row: each row equals itself alone bit for bit, and the changed model. */
static void contrasts_add_up_row_by_row(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta *d[2] = {everywhere(f, 1), everywhere(f, 7)};
    ws_patch *patch[2] = {ws_delta_patch(d[0]), ws_delta_patch(d[1])};
    enum { R = 5 };
    const float a[R] = {0.5f, 0, 0, -1, 0.25f}, b[R] = {0, 0, 1, 0.5f, -0.5f}, *both[2] = {a, b};
    int32_t ids[R][64];
    ws_row row[R];
    int total = 0, hidden = ws_model_dims(f->m)->hidden;
    for (int i = 0; i < R; i++) {
        int n = row_of(f, i % 3, ids[i], NULL);
        row[i] = (ws_row){-1, ids[i], n, n};
        total += n;
    }
    float *together = malloc((size_t)(total * hidden) * sizeof *together),
          *alone = malloc((size_t)(total * hidden) * sizeof *alone), *at = alone;
    ws_batch all = {R, row, 2, patch, both};
    OK(ws_forward(f->m, NULL, &all, together, &err));
    for (int i = 0; i < R; i++) {
        const float *one[2] = {&a[i], &b[i]};
        ws_batch single = {1, &row[i], 2, patch, one};
        OK(ws_forward(f->m, NULL, &single, at, &err));
        ws_checkpoint *c;
        ws_model *m = changed(f, d[0], a[i], d[1], b[i], &c);
        float *want = malloc((size_t)(row[i].n * hidden) * sizeof *want);
        ws_batch plain = {1, &row[i], 0, NULL, NULL};
        OK(ws_forward(m, NULL, &plain, want, &err));
        double size = 0, e = worst_error(at, want, (int64_t)row[i].n * hidden, &size);
        assert_true(e < 1.6e-6 * size);
        free(want);
        ws_model_free(m), ws_checkpoint_close(c);
        at += row[i].n * hidden;
    }
    assert_memory_equal(together, alone, (size_t)(total * hidden) * sizeof *alone);
    free(together), free(alone);
    ws_delta_free(d[0]), ws_delta_free(d[1]);
}

static void same_edits(const ws_delta *a, const ws_delta *b) {
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        const ws_edit *x = &a->edit[i], *y = &b->edit[i];
        assert_int_equal(a->site[i], b->site[i]);
        assert_true(x->k == y->k && x->n_terms == y->n_terms && !x->db == !y->db);
        if (x->k) assert_memory_equal(x->u, y->u, (size_t)(x->d_out * x->k) * sizeof(float));
        if (x->k) assert_memory_equal(x->v, y->v, (size_t)(x->d_in * x->k) * sizeof(float));
        if (x->db) assert_memory_equal(x->db, y->db, (size_t)x->d_out * sizeof(float));
        assert_true(!x->dense.data == !y->dense.data && x->dense.type == y->dense.type);
        if (x->dense.data) assert_memory_equal(x->dense.data, y->dense.data, (size_t)x->d_out * x->dense.row_bytes);
        for (int j = 0; j < x->n_terms; j++) {
            const ws_edit_term *t = &x->term[j], *u = &y->term[j];
            assert_true(!t->s == !u->s && !t->e == !u->e && t->e_block == u->e_block);
            if (t->s) assert_memory_equal(t->s, u->s, (size_t)x->d_out * sizeof(float));
            if (t->e) assert_memory_equal(t->e, u->e, (size_t)(x->d_in * t->e_block) * sizeof(float));
        }
    }
}

/* The control is as long as its model at every site (1e-6: its norm is taken before the factors are rounded), keeps its rank, is
 * a function of its seed, and points elsewhere.  A module here has 16 * 32 numbers or more, so two random directions have
 * a cosine of about 0.04 at a site and far less over 28 of them; 0.1 is never reached by luck. */
static void a_random_contrast_is_as_long_and_elsewhere(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_delta *like = ws_delta_alloc(f->m), *r[3];
    for (int s = 0; s < 28; s++) {
        ws_edit e = some_edit(ws_model_site(f->m, s), s % 3 ? 1 : (2 * s & 28) + 2);
        OK(ws_delta_add(like, s, &e, &err));
    }
    for (int i = 0; i < 3; i++) OK(ws_delta_random(&r[i], like, i < 2 ? 7 : 8, &err));
    same_edits(r[0], r[1]);
    assert_int_equal(r[0]->n, like->n);
    for (int i = 0; i < like->n; i++) {
        double want = ws_delta_site_norm(like, i), have = ws_delta_site_norm(r[0], i);
        assert_true(want > 0 && fabs(have - want) < 1e-6 * want);
        if (!like->edit[i].n_terms) assert_int_equal(r[0]->edit[i].k, like->edit[i].k);
        assert_true(r[0]->edit[i].k > 0 && !r[0]->edit[i].n_terms);
    }
    double size = ws_delta_norm(like) * ws_delta_norm(like);
    assert_true(fabs(ws_delta_dot(r[0], like)) < 0.1 * size);
    assert_true(fabs(ws_delta_dot(r[0], r[2])) < 0.1 * size);
    for (int i = 0; i < 3; i++) ws_delta_free(r[i]);
    ws_delta_free(like);
}

static void files_keep_every_part(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/dw.safetensors", f->tmp);
    ws_delta *d = ws_delta_alloc(f->m), *back;
    for (int s = 0; s < 28; s++) {
        ws_edit e = some_edit(ws_model_site(f->m, s), (s < 27 ? 2 * s + 1 : 32) | (s % 3 == 1   ? DENSE
                                                                                   : s % 9 == 2 ? DENSE16
                                                                                                : 0));
        OK(ws_delta_add(d, s, &e, &err));
    }
    OK(ws_delta_save(d, path, &err));
    OK(ws_delta_load(&back, f->m, path, 0, &err));
    same_edits(d, back);
    ws_delta_free(back);
    d->edit[3].term[0].s ? (d->edit[3].term[0].s[2] = NAN) : (d->edit[3].term[0].e[2] = NAN);
    REFUSED(WS_ENONFINITE, "dW is not saved", ws_delta_save(d, path, &err));
    OK(ws_delta_load(&back, f->m, path, 0, &err)); /* and what was there still is */
    ((float *)d->edit[1].dense_memory)[5] = INFINITY;
    d->edit[3].term[0].s ? (d->edit[3].term[0].s[2] = 0) : (d->edit[3].term[0].e[2] = 0);
    REFUSED(WS_ENONFINITE, "model.layers.0.self_attn.k_proj.D holds NaN", ws_delta_save(d, path, &err));
    ws_delta_free(back), ws_delta_free(d);
}

/* Files whose tensors do not fit together. */
static void damaged_terms_are_refused(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    char path[128];
    static float zero[4096];
    snprintf(path, sizeof path, "%s/dw.safetensors", f->tmp);
    static const struct {
        const char *name;
        int dims;
        int64_t dim[3];
        ws_status st;
        const char *says;
    } bad[] = {
        {"model.layers.0.mlp.down_proj.s0", 1, {31}, WS_ESHAPE, "must be F32 [32]"},
        {"model.layers.0.mlp.down_proj.s1", 1, {32}, WS_EFORMAT, "term 0 of model.layers.0.mlp.down_proj is missing"},
        {"model.layers.0.mlp.down_proj.s64", 1, {32}, WS_EUNSUPPORTED, "is no part"},
        {"model.layers.0.mlp.down_proj.s00", 1, {32}, WS_EUNSUPPORTED, "is no part"},
        {"model.layers.0.mlp.down_proj.s99999999999", 1, {32}, WS_EUNSUPPORTED, "is no part"},
        {"model.layers.0.mlp.down_proj.E", 1, {48}, WS_EUNSUPPORTED, "is no part"},
        {"model.layers.0.mlp.down_proj.E0", 1, {47}, WS_ESHAPE, "must be F32 [48]"},
        {"model.layers.0.mlp.down_proj.E0", 3, {9, 5, 5}, WS_ESHAPE, "do not divide"},
        {"model.layers.0.mlp.down_proj.E0", 3, {6, 8, 4}, WS_ESHAPE, "must be F32 [6, 8, 8]"},
        {"model.layers.0.mlp.down_proj.E0", 3, {48, 1, 1}, WS_ESHAPE, "do not divide"},
        {"model.layers.0.mlp.down_proj.E0", 3, {0, 0, 0}, WS_ESHAPE, "do not divide"},
        {"model.layers.0.mlp.down_proj.db", 1, {48}, WS_ESHAPE, "must be F32 [32]"},
        {"model.layers.0.mlp.down_proj.D", 2, {48, 32}, WS_ESHAPE, "must be F32, BF16 or F16 [32, 48]"},
        {"model.layers.0.mlp.down_proj.D", 1, {1536}, WS_ESHAPE, "must be F32, BF16 or F16 [32, 48]"},
        {"model.layers.0.mlp.down_proj.D0", 2, {32, 48}, WS_EUNSUPPORTED, "is no part"},
        {"model.layers.0.mlp.down_proj.U", 2, {32, 2}, WS_EFORMAT, "without its partner"},
        {"model.layers.0.s0", 1, {32}, WS_EUNSUPPORTED, "is no part"},
        {"s0", 1, {32}, WS_EUNSUPPORTED, "is no part"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ws_tensor t = {.name = (char *)(uintptr_t)bad[i].name, .type = WS_F32, .dims = bad[i].dims, .data = zero};
        memcpy(t.dim, bad[i].dim, sizeof bad[i].dim);
        t.bytes = (size_t)ws_tensor_numel(&t) * sizeof(float);
        json_t *meta =
            json_pack("{s:s, s:s, s:s}", "format", "ws-dw", "version", "1", "base_hash", ws_checkpoint_hash(f->c));
        ws_delta *d;
        OK(ws_safetensors_write(path, &t, 1, meta, &err));
        json_decref(meta);
        REFUSED(bad[i].st, bad[i].says, ws_delta_load(&d, f->m, path, 0, &err));
        assert_null(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_products_and_dots_are_the_formula),
                                       cmocka_unit_test(combinations_are_linear_and_merge_like_terms),
                                       cmocka_unit_test(a_hung_edit_is_a_changed_weight),
                                       cmocka_unit_test(contrasts_add_up_row_by_row),
                                       cmocka_unit_test(a_random_contrast_is_as_long_and_elsewhere),
                                       cmocka_unit_test(files_keep_every_part),
                                       cmocka_unit_test(damaged_terms_are_refused)};
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
