/* Attention against a plain implementation in double, its gradients against central differences of that implementation,
 * and the contract of bits: prefill in any split = decode = training form, in any batch, with any number of threads. */
#include "kernel_sets.h"
#include "base/parallel.h"
#include "ops/attention.h"

typedef struct dims {
    int heads, kv, d, n;
} dims;
static const dims cases[] = {{4, 2, 16, 70},  {3, 1, 20, 33}, {9, 3, 64, 100}, {2, 2, 7, 65},
                             {4, 1, 256, 34}, {50, 1, 8, 9},  {1, 1, 1, 3}};
enum { N_CASES = sizeof cases / sizeof *cases };

/* o [n, heads, d]; lse may be NULL. */
static void plain(dims c, double scale, const double *q, const double *k, const double *v, double *o, double *lse) {
    double *p = malloc((size_t)c.n * sizeof *p);
    for (int i = 0; i < c.n; i++)
        for (int h = 0; h < c.heads; h++) {
            int g = h / (c.heads / c.kv);
            double top = -INFINITY, sum = 0;
            for (int j = 0; j <= i; j++) {
                p[j] = 0;
                for (int x = 0; x < c.d; x++) p[j] += q[(i * c.heads + h) * c.d + x] * k[(j * c.kv + g) * c.d + x];
                p[j] *= scale;
                top = fmax(top, p[j]);
            }
            for (int j = 0; j <= i; j++) sum += p[j] = exp(p[j] - top);
            for (int x = 0; x < c.d; x++) {
                double s = 0;
                for (int j = 0; j <= i; j++) s += p[j] / sum * v[(j * c.kv + g) * c.d + x];
                o[(i * c.heads + h) * c.d + x] = s;
            }
            if (lse) lse[i * c.heads + h] = top + log(sum);
        }
    free(p);
}

static double *doubles(const float *x, int64_t n) {
    double *y = malloc((size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}

typedef struct setup {
    dims c;
    ws_attn_shape s;
    float *q, *k, *v, *o, *lse;
} setup;
static setup make(dims c, int pad) {
    setup t = {.c = c};
    t.s = (ws_attn_shape){.heads = c.heads,
                          .kv_heads = c.kv,
                          .head_dim = c.d,
                          .scale = 1 / sqrtf((float)c.d),
                          .ldq = c.heads * c.d + pad,
                          .ldo = c.heads * c.d,
                          .ldk = c.kv * c.d + pad};
    t.q = floats(c.n * t.s.ldq, -2, 2), t.k = floats(c.n * t.s.ldk, -2, 2), t.v = floats(c.n * t.s.ldk, -2, 2);
    t.o = floats(c.n * t.s.ldo, 9, 9), t.lse = floats(c.n * c.heads, 9, 9);
    return t;
}
static void drop(setup *t) { free(t->q), free(t->k), free(t->v), free(t->o), free(t->lse); }

/* |o| <= 2 and |s| stays below ~10: scores err by about d u |q||k| scale < 1e-5 for these sizes, and so does log p. */
static void forward_equals_the_plain_formula(void **state) {
    (void)state;
    EACH_SET(k)
    for (int i = 0; i < N_CASES; i++) {
        setup t = make(cases[i], 0);
        ws_attn_row row = {.n = t.c.n, .q = t.q, .o = t.o, .k = t.k, .v = t.v, .lse = t.lse};
        ws_attention(&t.s, NULL, 0, &row, 1);
        int64_t no = t.c.n * t.s.ldo, nk = t.c.n * t.s.ldk;
        double *q = doubles(t.q, no), *kk = doubles(t.k, nk), *v = doubles(t.v, nk), *o = doubles(t.o, no);
        double *lse = doubles(t.lse, t.c.n * t.c.heads);
        plain(t.c, t.s.scale, q, kk, v, o, lse);
        for (int64_t j = 0; j < no; j++) assert_true(fabs(t.o[j] - o[j]) <= 1e-5);
        for (int64_t j = 0; j < t.c.n * t.c.heads; j++) assert_true(fabs(t.lse[j] - lse[j]) <= 1e-5);
        free(q), free(kk), free(v), free(o), free(lse);
        drop(&t);
    }
}

/* Gradients of sum(go o), by central differences in double of the plain formula. */
static void backward_equals_finite_differences(void **state) {
    (void)state;
    static const dims small[] = {{4, 2, 6, 35}, {3, 1, 9, 70}, {1, 1, 16, 33}};
    EACH_SET(k)
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        setup t = make(small[i], 0);
        int64_t nq = t.c.n * t.s.ldo, nk = t.c.n * t.s.ldk;
        float *go = floats(nq, -1, 1), *gq = floats(nq, 9, 9), *gk = floats(nk, 9, 9), *gv = floats(nk, 9, 9);
        ws_attn_row row = {.n = t.c.n, .q = t.q, .o = t.o, .k = t.k, .v = t.v, .lse = t.lse};
        ws_attention(&t.s, NULL, 0, &row, 1);
        ws_attn_grad back = {
            .n = t.c.n, .q = t.q, .k = t.k, .v = t.v, .o = t.o, .lse = t.lse, .go = go, .gq = gq, .gk = gk, .gv = gv};
        ws_attention_backward(&t.s, &back, 1);
        double *in[3] = {doubles(t.q, nq), doubles(t.k, nk), doubles(t.v, nk)}, *o = doubles(t.o, nq);
        const float *got[3] = {gq, gk, gv};
        const int64_t len[3] = {nq, nk, nk};
        const double h = 1e-5;
        for (int a = 0; a < 3; a++)
            for (int64_t j = 0; j < len[a]; j += 1 + len[a] / 40) {
                double keep = in[a][j], up = 0, down = 0;
                in[a][j] = keep + h;
                plain(t.c, t.s.scale, in[0], in[1], in[2], o, NULL);
                for (int64_t x = 0; x < nq; x++) up += go[x] * o[x];
                in[a][j] = keep - h;
                plain(t.c, t.s.scale, in[0], in[1], in[2], o, NULL);
                for (int64_t x = 0; x < nq; x++) down += go[x] * o[x];
                in[a][j] = keep;
                double want = (up - down) / (2 * h);
                /* differences err by h^2 and 1e-16 / h, fp32 by the sums' length: all below 1e-5 of the terms' size */
                if (!(fabs(got[a][j] - want) <= 2e-5 * (1 + fabs(want))))
                    fail_msg("%s case %zu: gradient of %c[%d] = %.8g, want %.8g", k->name, i, "qkv"[a], (int)j,
                             (double)got[a][j], want);
            }
        free(go), free(gq), free(gk), free(gv), free(in[0]), free(in[1]), free(in[2]), free(o);
        drop(&t);
    }
}

typedef struct pages {
    float *page[8];
    int n;
} pages;
static pages pages_new(const ws_kv_shape *kv, int n) {
    pages p = {.n = (int)ws_kv_pages(n)};
    for (int i = 0; i < p.n; i++)
        p.page[i] = floats((int64_t)ws_kv_page_floats(kv), NAN, NAN); /* unwritten: anything */
    return p;
}
static void pages_free(pages *p) {
    for (int i = 0; i < p->n; i++) free(p->page[i]);
}

static void prefill_in_any_split_equals_training_bit_for_bit(void **state) {
    (void)state;
    static const int split[] = {1, 3, 17, 32, 40, 1000};
    EACH_SET(k)
    for (int i = 0; i < N_CASES; i++) {
        setup t = make(cases[i], 5);
        ws_kv_shape kv = {3, t.c.kv, t.c.d};
        int64_t no = t.c.n * t.s.ldo;
        ws_attn_row row = {.n = t.c.n, .q = t.q, .o = t.o, .k = t.k, .v = t.v};
        ws_threads_set(2);
        ws_attention(&t.s, NULL, 0, &row, 1);
        ws_threads_set(1);
        float *o = floats(no, 9, 9);
        for (size_t b = 0; b < 2 * sizeof split / sizeof *split; b++) { /* stored before, then on the way */
            const int on_the_way = b % 2;
            pages p = pages_new(&kv, t.c.n);
            for (int pos = 0; pos < t.c.n; pos += split[b / 2]) {
                int n = t.c.n - pos < split[b / 2] ? t.c.n - pos : split[b / 2];
                const float *new_k = t.k + pos * t.s.ldk, *new_v = t.v + pos * t.s.ldk;
                ws_attn_row part = {
                    .n = n, .pos = pos, .q = t.q + pos * t.s.ldq, .o = o + pos * t.s.ldo, .page = p.page};
                if (on_the_way)
                    part.k = new_k, part.v = new_v;
                else
                    ws_kv_store(&kv, p.page, 1, pos, n, new_k, new_v, t.s.ldk);
                ws_attention(&t.s, &kv, 1, &part, 1);
            }
            if (memcmp(o, t.o, (size_t)no * sizeof *o))
                fail_msg("%s case %d: pieces of %d differ", k->name, i, split[b / 2]);
            pages_free(&p);
        }
        ws_threads_set(0);
        free(o);
        drop(&t);
    }
}

/* Decode of many rows, whose kv heads a task may take together: rows of different lengths, among them one of many tokens and
 * one of none. */
static void rows_of_few_tokens_equal_training_in_any_number(void **state) {
    (void)state;
    enum { MOST = 20 };
    EACH_SET(k)
    for (int i = 0; i < N_CASES; i++)
        for (int n_rows = 1; n_rows <= MOST; n_rows += n_rows < 7 ? 6 : 13) {
            setup t = make(cases[i], 3);
            ws_kv_shape kv = {3, t.c.kv, t.c.d};
            int64_t no = t.c.n * t.s.ldo;
            ws_attn_row all = {.n = t.c.n, .q = t.q, .o = t.o, .k = t.k, .v = t.v}, row[MOST];
            ws_attention(&t.s, NULL, 0, &all, 1);
            pages p[MOST];
            float *o[MOST];
            for (int r = 0; r < n_rows; r++) {
                int n = r == 5 ? 0 : r == 6 ? 40 : 1 + r % 5, pos = t.c.n - n - (7 * r) % 64;
                if (n > t.c.n) n = t.c.n;
                if (pos < 0) pos = 0;
                p[r] = pages_new(&kv, t.c.n), o[r] = floats(no, 9, 9);
                ws_kv_store(&kv, p[r].page, 1, 0, pos, t.k, t.v, t.s.ldk);
                row[r] = (ws_attn_row){.n = n,
                                       .pos = pos,
                                       .q = t.q + pos * t.s.ldq,
                                       .o = o[r] + pos * t.s.ldo,
                                       .page = p[r].page,
                                       .k = t.k + pos * t.s.ldk,
                                       .v = t.v + pos * t.s.ldk};
            }
            ws_threads_set(2);
            ws_attention(&t.s, &kv, 1, row, n_rows);
            ws_threads_set(0);
            for (int r = 0; r < n_rows; r++) {
                const int64_t at = row[r].pos * t.s.ldo, size = row[r].n * t.s.ldo;
                if (memcmp(o[r] + at, t.o + at, (size_t)size * sizeof(float)))
                    fail_msg("%s case %d: row %d of %d differs", k->name, i, r, n_rows);
                for (int64_t x = 0; x < no; x++)
                    if (x < at || x >= at + size) assert_true(o[r][x] == 9);
                pages_free(&p[r]), free(o[r]);
            }
            drop(&t);
        }
}

static void batches_equal_single_rows_and_forks_share_a_prefix(void **state) {
    (void)state;
    EACH_SET(k) {
        dims c = {4, 2, 16, 75};
        setup a = make(c, 0), b = make(c, 0);
        ws_kv_shape kv = {2, c.kv, c.d};
        /* b shares the first 45 positions of a: page 0 as it is, page 1 copied up to position 45 */
        memcpy(b.k, a.k, (size_t)(45 * a.s.ldk) * sizeof(float));
        memcpy(b.v, a.v, (size_t)(45 * a.s.ldk) * sizeof(float));
        pages pa = pages_new(&kv, c.n), pb = pages_new(&kv, c.n);
        for (int layer = 0; layer < 2; layer++) ws_kv_store(&kv, pa.page, layer, 0, c.n, a.k, a.v, a.s.ldk);
        float *own = pb.page[0];
        pb.page[0] = pa.page[0];
        ws_kv_copy(&kv, pb.page[1], pa.page[1], 45 - 32);
        ws_kv_store(&kv, pb.page, 1, 45, c.n - 45, b.k + 45 * b.s.ldk, b.v + 45 * b.s.ldk, b.s.ldk);
        ws_attn_row single[2] = {{.n = c.n, .q = a.q, .o = a.o, .k = a.k, .v = a.v, .lse = a.lse},
                                 {.n = c.n, .q = b.q, .o = b.o, .k = b.k, .v = b.v, .lse = b.lse}};
        ws_attention(&a.s, NULL, 0, &single[0], 1);
        ws_attention(&a.s, NULL, 0, &single[1], 1);
        float *oa = floats(c.n * a.s.ldo, 9, 9), *ob = floats(c.n * a.s.ldo, 9, 9), *oc = floats(c.n * a.s.ldo, 9, 9);
        int64_t at = 45 * a.s.ldo;
        ws_attn_row batch[4] = {{.n = c.n, .q = a.q, .o = oa, .page = pa.page},
                                {.n = 0, .q = a.q, .o = oa, .page = pa.page, .pos = 4},
                                {.n = c.n - 45, .pos = 45, .q = b.q + at, .o = ob + at, .page = pb.page},
                                {.n = c.n, .q = b.q, .o = oc, .k = b.k, .v = b.v}};
        ws_attention(&a.s, &kv, 1, batch, 4);
        size_t bytes = (size_t)(c.n * a.s.ldo) * sizeof(float);
        assert_memory_equal(oa, a.o, bytes);
        assert_memory_equal(ob + at, b.o + at, bytes - (size_t)at * sizeof(float));
        assert_memory_equal(oc, b.o, bytes);

        /* backward: both sequences at once by two threads, and alone by one */
        float *go = floats(c.n * a.s.ldo, -1, 1), *g[2][3];
        for (int x = 0; x < 6; x++) g[x / 3][x % 3] = floats(c.n * a.s.ldo, 9, 9);
        ws_attn_grad back[2] = {{.n = c.n, .q = a.q, .k = a.k, .v = a.v, .o = a.o, .lse = a.lse, .go = go},
                                {.n = c.n, .q = b.q, .k = b.k, .v = b.v, .o = b.o, .lse = b.lse, .go = go}};
        back[0].gq = g[0][0], back[0].gk = g[0][1], back[0].gv = g[0][2];
        back[1].gq = oa, back[1].gk = ob, back[1].gv = oc;
        ws_threads_set(2);
        ws_attention_backward(&a.s, back, 2);
        ws_threads_set(1);
        back[1].gq = g[1][0], back[1].gk = g[1][1], back[1].gv = g[1][2];
        ws_attention_backward(&a.s, back + 1, 1);
        ws_threads_set(0);
        assert_memory_equal(g[1][0], oa, bytes);
        assert_memory_equal(g[1][1], ob, (size_t)(c.n * a.s.ldk) * sizeof(float));
        assert_memory_equal(g[1][2], oc, (size_t)(c.n * a.s.ldk) * sizeof(float));
        for (int x = 0; x < 6; x++) free(g[x / 3][x % 3]);
        pb.page[0] = own;
        pages_free(&pa), pages_free(&pb);
        free(oa), free(ob), free(oc), free(go);
        drop(&a), drop(&b);
    }
}

/* A sequence backward in two pieces: the queries of the second piece and the keys that only they see have the bits of the
 * whole, the keys of the first piece get the sum of both.  |gk|, |gv| < 100 and 75 terms: 1e-4 is far above rounding. */
static void backward_goes_on_behind_a_beginning(void **state) {
    (void)state;
    static const int cut[] = {1, 31, 32, 33, 64, 74};
    EACH_SET(k)
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        dims c = {6, 2, 16, 75};
        setup t = make(c, 0);
        const int64_t no = c.n * t.s.ldo, nk = c.n * t.s.ldk, at = cut[i];
        float *go = floats(no, -1, 1), *g[3][3];
        for (int x = 0; x < 9; x++) g[x / 3][x % 3] = floats(x % 3 ? nk : no, 9, 9);
        ws_attn_row row = {.n = c.n, .q = t.q, .o = t.o, .k = t.k, .v = t.v, .lse = t.lse};
        ws_attention(&t.s, NULL, 0, &row, 1);
        ws_attn_grad whole = {.n = c.n, .q = t.q, .k = t.k, .v = t.v, .o = t.o, .lse = t.lse, .go = go}, piece[2];
        whole.gq = g[0][0], whole.gk = g[0][1], whole.gv = g[0][2];
        piece[0] = piece[1] = whole;
        piece[0].n = at, piece[0].gq = g[1][0], piece[0].gk = g[1][1], piece[0].gv = g[1][2];
        piece[1].n = c.n - at, piece[1].pos = at, piece[1].q += at * t.s.ldq, piece[1].o += at * t.s.ldo;
        piece[1].lse += at * c.heads, piece[1].go += at * t.s.ldo;
        piece[1].gq = g[2][0] + at * t.s.ldq, piece[1].gk = g[2][1], piece[1].gv = g[2][2];
        ws_attention_backward(&t.s, &whole, 1);
        ws_attention_backward(&t.s, piece, 2);
        assert_memory_equal(g[2][0] + at * t.s.ldq, g[0][0] + at * t.s.ldq, (size_t)(no - at * t.s.ldq) * sizeof *go);
        for (int x = 1; x < 3; x++) {
            for (int64_t j = 0; j < at * t.s.ldk; j++) assert_true(fabs(g[1][x][j] + g[2][x][j] - g[0][x][j]) <= 1e-4);
            assert_memory_equal(g[2][x] + at * t.s.ldk, g[0][x] + at * t.s.ldk,
                                (size_t)(nk - at * t.s.ldk) * sizeof *go);
        }
        for (int x = 0; x < 9; x++) free(g[x / 3][x % 3]);
        free(go);
        drop(&t);
    }
}

static void nan_in_a_key_reaches_those_who_see_it(void **state) {
    (void)state;
    EACH_SET(k) {
        setup t = make((dims){2, 1, 8, 50}, 0);
        t.k[40 * 8 + 3] = NAN;
        ws_attn_row row = {.n = 50, .q = t.q, .o = t.o, .k = t.k, .v = t.v};
        ws_attention(&t.s, NULL, 0, &row, 1);
        for (int i = 0; i < 50 * 16; i++) assert_int_equal(isnan(t.o[i]), i >= 40 * 16);
        drop(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_plain_formula),
        cmocka_unit_test(backward_equals_finite_differences),
        cmocka_unit_test(backward_goes_on_behind_a_beginning),
        cmocka_unit_test(prefill_in_any_split_equals_training_bit_for_bit),
        cmocka_unit_test(rows_of_few_tokens_equal_training_in_any_number),
        cmocka_unit_test(batches_equal_single_rows_and_forks_share_a_prefix),
        cmocka_unit_test(nan_in_a_key_reaches_those_who_see_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
