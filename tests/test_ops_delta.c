/* The gated delta rule in fp32 on every kernel set: against the recurrence in double, against central differences of it and the
 * golden numbers, and the contract of bits: prefill in any split = decode = training form, in any batch, with any number of
 * threads; forks and tokens taken back included. */
#include "kernel_sets.h"
#include "base/parallel.h"
#include "delta_plain.h"
#include "ops/decay.h"

static const ws_delta_shape shapes[] = {{.key_heads = 2, .value_heads = 4, .dk = 16, .dv = 16},
                                        {.key_heads = 1, .value_heads = 3, .dk = 12, .dv = 40},
                                        {.key_heads = 3, .value_heads = 3, .dk = 35, .dv = 7},
                                        {.key_heads = 2, .value_heads = 4, .dk = 8, .dv = 24}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct data {
    ws_delta_shape s;
    int64_t n, ld, Hv, no, size; /* size: of a state */
    float *c, *g, *beta, *o;
} data;
static data make(ws_delta_shape s, int64_t n) {
    data d = {.s = s, .n = n, .ld = ws_delta_channels(&s), .Hv = s.value_heads};
    d.no = n * d.Hv * s.dv, d.size = (int64_t)ws_delta_s_floats(&s);
    d.c = floats(n * d.ld, -1.5f, 1.5f), d.g = floats(n * d.Hv, -1.5f, 0), d.beta = floats(n * d.Hv, 0, 1);
    for (int64_t i = 0; i < n * d.Hv; i++)
        if (uniform(0, 1) < 0.1f) d.g[i] *= 30; /* now and then nearly everything is forgotten */
    d.o = floats(d.no, 9, 9);
    return d;
}
static void drop(data *d) { free(d->c), free(d->g), free(d->beta), free(d->o); }
static double *doubles(const float *x, int64_t n) {
    double *y = malloc((size_t)(n ? n : 1) * sizeof *y);
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}
static void close_to(const char *what, const float *got, const double *want, int64_t n, double tolerance) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance))
            fail_msg("%s %s[%d] = %.9g, double says %.9g", ws_k.name, what, (int)i, (double)got[i], want[i]);
}

/* P5 of models.md 13, whose bound is 1e-4; |o| <= 5 and every sum has some 100 terms, so 1e-5 holds. */
static void forward_equals_the_recurrence(void **state) {
    (void)state;
    static const int lengths[] = {1, 2, 3, 63, 64, 65, 127, 128, 130}, chunk[] = {1, 4, 16, 32, 64};
    for (int i = 0; i < SHAPES; i++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (int with_state = 0; with_state < 2; with_state++) {
                if (i && l % 3) continue; /* every length for one shape, some for the others */
                data d = make(shapes[i], lengths[l]);
                float *first = floats(d.size, -1, 1), *now = floats(d.size, 0, 0), *st = floats(d.size, 0, 0);
                double *c = doubles(d.c, d.n * d.ld), *g = doubles(d.g, d.n * d.Hv),
                       *beta = doubles(d.beta, d.n * d.Hv);
                double *S = doubles(first, d.size), *o = doubles(d.o, d.no);
                for (int64_t x = 0; !with_state && x < d.size; x++) S[x] = 0;
                delta_plain(&d.s, d.n, c, g, beta, S, o);
                EACH_SET(k)
                for (size_t j = 0; j < sizeof chunk / sizeof *chunk; j++) {
                    if (slow(k) && d.n > 65 && j % 2) continue;
                    d.s.chunk = chunk[j];
                    float *open = floats((int64_t)ws_delta_open_floats(&d.s), NAN, NAN);
                    const int64_t pos = with_state ? 64 : 0; /* a multiple of every chunk */
                    for (int64_t x = 0; x < d.size; x++) st[x] = NAN;
                    if (with_state) ws_delta_s_set(&d.s, st, first);
                    ws_delta_row row = {d.n, pos, d.c, d.g, d.beta, d.o, st, st, open};
                    ws_delta_forward(&d.s, &row, 1);
                    close_to("o", d.o, o, d.no, 1e-5);
                    ws_delta_s_now(&d.s, st, open, pos + d.n, now);
                    close_to("S", now, S, d.size, 1e-5);
                    free(open);
                }
                free(first), free(now), free(st), free(c), free(g), free(beta), free(S), free(o);
                drop(&d);
            }
}

/* The sequence in pieces of the given lengths (the last one is repeated); ends in state and open. */
static void in_pieces(const data *d, const int *piece, float *o, float *st, float *open) {
    int64_t at = 0;
    for (int i = 0; at<d->n; i += piece[i + 1]> 0) {
        int64_t m = d->n - at < piece[i] ? d->n - at : piece[i];
        ws_delta_row row = {
            m, at, d->c + at * d->ld, d->g + at * d->Hv, d->beta + at * d->Hv, o + at * d->Hv * d->s.dv, st, st, open};
        ws_delta_forward(&d->s, &row, 1);
        at += m;
    }
}
static void same(const char *what, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a))
            fail_msg("%s: %s[%d] is %.9g and %.9g", ws_k.name, what, (int)i, (double)a[i], (double)b[i]);
}

static void any_split_gives_the_same_bits(void **state) {
    (void)state;
    static const int splits[][6] = {{1}, {2}, {3}, {5, 1}, {15, 2, 1}, {16}, {17}, {4, 12, 1}, {33, 7}, {32, 32, 1, 1}};
    EACH_SET(k)
    for (int i = 0; i < SHAPES; i++) {
        data d = make(shapes[i], 71);
        const int64_t n_open = (int64_t)ws_delta_open_floats(&d.s);
        float *o = floats(d.no, 0, 0), *st = floats(d.size, NAN, NAN), *open = floats(n_open, 0, 0);
        float *st2 = floats(d.size, 0, 0), *open2 = floats(n_open, 0, 0);
        ws_delta_row train = {.n = d.n, .c = d.c, .g = d.g, .beta = d.beta, .o = d.o}; /* nothing is kept */
        ws_threads_set(1);
        ws_delta_forward(&d.s, &train, 1);
        ws_threads_set(2);
        in_pieces(&d, (const int[]){1000, 0}, o, st, open);
        same("o", d.o, o, d.no);
        for (size_t p = 0; p < sizeof splits / sizeof *splits; p++) {
            for (int64_t x = 0; x < d.size; x++) st2[x] = NAN; /* nothing needs clearing */
            memset(o, 0, (size_t)d.no * sizeof *o);
            memset(open2, 0, (size_t)n_open * sizeof *open2);
            in_pieces(&d, splits[p], o, st2, open2);
            same("o", d.o, o, d.no);
            same("S", st, st2, d.size);
            /* rows of earlier chunks may lie behind the open ones; the open rows are equal */
            float *a = floats(n_open, 0, 0), *b = floats(n_open, 0, 0);
            memset(a, 0, (size_t)n_open * sizeof *a), memset(b, 0, (size_t)n_open * sizeof *b);
            ws_delta_open_copy(&d.s, a, open, d.n), ws_delta_open_copy(&d.s, b, open2, d.n);
            same("open", a, b, n_open);
            free(a), free(b);
        }
        ws_threads_set(0);
        free(o), free(st), free(open), free(st2), free(open2);
        drop(&d);
    }
}

static void batches_equal_single_rows(void **state) {
    (void)state;
    enum { ROWS = 5 };
    static const int lengths[ROWS] = {33, 1, 16, 50, 7};
    EACH_SET(k)
    for (int i = 0; i < SHAPES; i++) {
        data d[ROWS];
        ws_delta_row row[ROWS];
        float *o[ROWS];
        for (int r = 0; r < ROWS; r++) {
            d[r] = make(shapes[i], lengths[r]);
            o[r] = floats(d[r].no, 0, 0);
            row[r] = (ws_delta_row){.n = d[r].n, .c = d[r].c, .g = d[r].g, .beta = d[r].beta, .o = o[r]};
        }
        ws_threads_set(2);
        ws_delta_forward(&d[0].s, row, ROWS);
        ws_threads_set(1);
        for (int r = 0; r < ROWS; r++) {
            row[r].o = d[r].o;
            ws_delta_forward(&d[r].s, &row[r], 1);
            same("o", d[r].o, o[r], d[r].no);
            free(o[r]);
            drop(&d[r]);
        }
        ws_threads_set(0);
    }
}

/* Two continuations of a prefix that ends inside a chunk share its S; one of them takes tokens back. */
static void forks_share_a_prefix_and_tokens_can_be_taken_back(void **state) {
    (void)state;
    EACH_SET(k) {
        data d = make(shapes[0], 45), other = make(shapes[0], 45);
        const int64_t n_open = (int64_t)ws_delta_open_floats(&d.s), v = d.Hv * d.s.dv, P = 21;
        memcpy(other.c, d.c, (size_t)(P * d.ld) * sizeof *d.c);
        memcpy(other.g, d.g, (size_t)(P * d.Hv) * sizeof *d.g);
        memcpy(other.beta, d.beta, (size_t)(P * d.Hv) * sizeof *d.beta);
        ws_delta_row whole = {.n = d.n, .c = d.c, .g = d.g, .beta = d.beta, .o = d.o};
        ws_delta_forward(&d.s, &whole, 1);
        whole = (ws_delta_row){.n = d.n, .c = other.c, .g = other.g, .beta = other.beta, .o = other.o};
        ws_delta_forward(&d.s, &whole, 1);

        float *S = floats(d.size, NAN, NAN), *S1 = floats(d.size, NAN, NAN), *S2 = floats(d.size, NAN, NAN);
        float *open1 = floats(n_open, NAN, NAN), *open2 = floats(n_open, NAN, NAN), *o = floats(d.no, 0, 0);
        /* prefix plus four tokens of the first continuation: the chunk 16 .. 31 stays open */
        ws_delta_row row = {P + 4, 0, d.c, d.g, d.beta, o, S, S, open1};
        assert_true(ws_delta_advances(&d.s, 0, P + 4) && !ws_delta_advances(&d.s, P, 4));
        ws_delta_forward(&d.s, &row, 1);
        ws_delta_open_copy(&d.s, open2, open1, P);
        float *before = floats(d.size, 0, 0);
        memcpy(before, S, (size_t)d.size * sizeof *S);
        /* the first goes on from P + 4, the second from P; both read S and write their own */
        ws_delta_row both[2] = {
            {d.n - P - 4, P + 4, d.c + (P + 4) * d.ld, d.g + (P + 4) * d.Hv, d.beta + (P + 4) * d.Hv, o + (P + 4) * v,
             S, S1, open1},
            {d.n - P, P, other.c + P * d.ld, other.g + P * d.Hv, other.beta + P * d.Hv, NULL, S, S2, open2}};
        float *o2 = floats(d.no, 0, 0);
        both[1].o = o2 + P * v;
        ws_delta_forward(&d.s, both, 2);
        same("first", o, d.o, d.no);
        same("second", o2 + P * v, other.o + P * v, (d.n - P) * v);
        same("shared S", S, before, d.size);
        /* the first takes everything since P back and follows the other */
        ws_delta_forward(&d.s, &row, 1);
        both[1].open = open1, both[1].to = S;
        memset(o2, 0, (size_t)d.no * sizeof *o2);
        ws_delta_forward(&d.s, &both[1], 1);
        same("after taking back", o2 + P * v, other.o + P * v, (d.n - P) * v);
        free(S), free(S1), free(S2), free(open1), free(open2), free(o), free(o2), free(before);
        drop(&d), drop(&other);
    }
}

static void nan_reaches_later_tokens_only(void **state) {
    (void)state;
    EACH_SET(k) {
        data d = make(shapes[0], 40);
        float *o = floats(d.no, 0, 0);
        const int64_t v = d.Hv * d.s.dv, t = 18; /* value head 1 of token 18 */
        ws_delta_row row = {.n = d.n, .c = d.c, .g = d.g, .beta = d.beta, .o = d.o};
        ws_delta_forward(&d.s, &row, 1);
        d.c[t * d.ld + 2 * d.s.key_heads * d.s.dk + d.s.dv] = NAN;
        row.o = o;
        ws_delta_forward(&d.s, &row, 1);
        same("before", d.o, o, t * v);
        for (int64_t i = t * v; i < d.no; i++) assert_int_equal(isnan(o[i]), i % v == d.s.dv);
        free(o);
        drop(&d);
    }
}

/* Gradients of a whole batch against central differences of the recurrence in double; fp32 sums of some hundred terms, so
 * 2e-5 of the largest entry.  Threads and batch change no bit. */
static void gradients_equal_central_differences(void **state) {
    (void)state;
    enum { ROWS = 2 };
    static const int lengths[ROWS] = {18, 5};
    for (int i = 0; i < SHAPES; i++) {
        data d[ROWS];
        ws_delta_grad row[ROWS];
        float *go[ROWS], *got[ROWS][3];
        double *want[ROWS][3], most[ROWS][3];
        for (int r = 0; r < ROWS; r++) {
            d[r] = make(shapes[i], lengths[r]);
            const data *e = &d[r];
            const int64_t counts[3] = {e->n * e->ld, e->n * e->Hv, e->n * e->Hv};
            double *x[3] = {doubles(e->c, counts[0]), doubles(e->g, counts[1]), doubles(e->beta, counts[2])};
            double *S = malloc((size_t)e->size * sizeof *S), *o = doubles(e->o, e->no);
            go[r] = floats(e->no, -1, 1);
            for (int j = 0; j < 3; j++) {
                got[r][j] = floats(counts[j], NAN, NAN), want[r][j] = malloc((size_t)counts[j] * sizeof(double));
                most[r][j] = 0;
                for (int64_t p = 0; p < counts[j]; p++) {
                    double side[2], keep = x[j][p];
                    for (int up = 0; up < 2; up++) {
                        memset(S, 0, (size_t)e->size * sizeof *S);
                        x[j][p] = keep + (up ? 1e-5 : -1e-5), side[up] = 0;
                        delta_plain(&e->s, e->n, x[0], x[1], x[2], S, o);
                        for (int64_t q = 0; q < e->no; q++) side[up] += o[q] * go[r][q];
                    }
                    x[j][p] = keep, want[r][j][p] = (side[1] - side[0]) / 2e-5;
                    most[r][j] = fmax(most[r][j], fabs(want[r][j][p]));
                }
            }
            for (int j = 0; j < 3; j++) free(x[j]);
            free(S), free(o);
            row[r] = (ws_delta_grad){e->n, e->c, e->g, e->beta, go[r], got[r][0], got[r][1], got[r][2]};
        }
        EACH_SET(k) {
            ws_threads_set(2);
            ws_delta_backward(&d[0].s, row, ROWS);
            ws_threads_set(1);
            for (int r = 0; r < ROWS; r++) {
                const int64_t counts[3] = {d[r].n * d[r].ld, d[r].n * d[r].Hv, d[r].n * d[r].Hv};
                float *again[3];
                for (int j = 0; j < 3; j++) again[j] = floats(counts[j], NAN, NAN);
                ws_delta_grad alone = row[r];
                alone.gc = again[0], alone.gg = again[1], alone.gbeta = again[2];
                ws_delta_backward(&d[r].s, &alone, 1);
                for (int j = 0; j < 3; j++) {
                    close_to(j ? j == 1 ? "gg" : "gbeta" : "gc", got[r][j], want[r][j], counts[j], 2e-5 * most[r][j]);
                    same("gradient", got[r][j], again[j], counts[j]);
                    free(again[j]);
                }
            }
            ws_threads_set(0);
        }
        for (int r = 0; r < ROWS; r++) {
            for (int j = 0; j < 3; j++) free(got[r][j]), free(want[r][j]);
            free(go[r]);
            drop(&d[r]);
        }
    }
}

/* models.md 14.1; fp32 of numbers below 1 through a few dozen operations: 5e-7 */
static void golden_numbers(void **state) {
    (void)state;
    double c[GOLD_T * GOLD_C], a[GOLD_T], b[GOLD_T], go[GOLD_T * GOLD_V];
    float cf[GOLD_T * GOLD_C], af[GOLD_T], bf[GOLD_T], gof[GOLD_T * GOLD_V], a_log = (float)gold_a_log;
    float dt_bias = (float)gold_dt_bias, rate;
    gold_inputs(c, a, b, go);
    for (int i = 0; i < GOLD_T * GOLD_C; i++) cf[i] = (float)c[i];
    for (int i = 0; i < GOLD_T * GOLD_V; i++) gof[i] = (float)go[i];
    for (int i = 0; i < GOLD_T; i++) af[i] = (float)a[i], bf[i] = (float)b[i];
    EACH_SET(k) {
        float g[GOLD_T], beta[GOLD_T], o[GOLD_T * GOLD_V], S[GOLD_K * GOLD_V], st[GOLD_K * GOLD_V], open[1000];
        float gc[GOLD_T * GOLD_C], gg[GOLD_T], gbeta[GOLD_T], ga[GOLD_T], gb[GOLD_T], ga_log = 0, gdt_bias = 0;
        assert_true(ws_delta_open_floats(&gold_shape) <= 1000);
        ws_decay_rate(&rate, &a_log, 1);
        ws_decay_forward(g, beta, af, bf, &rate, &dt_bias, GOLD_T, 1);
        ws_delta_row row = {GOLD_T, 0, cf, g, beta, o, st, st, open};
        ws_delta_forward(&gold_shape, &row, 1);
        close_to("O", o, gold_o, GOLD_T * GOLD_V, 5e-7);
        ws_delta_s_now(&gold_shape, st, open, GOLD_T, S);
        close_to("S_T", S, gold_s, GOLD_K * GOLD_V, 5e-7);
        ws_delta_grad grad = {GOLD_T, cf, g, beta, gof, gc, gg, gbeta};
        ws_delta_backward(&gold_shape, &grad, 1);
        for (int t = 0; t < GOLD_T; t++) {
            close_to("dq", gc + t * GOLD_C, gold_gq + t * GOLD_K, GOLD_K, 5e-7);
            close_to("dk", gc + t * GOLD_C + GOLD_K, gold_gk + t * GOLD_K, GOLD_K, 5e-7);
            close_to("dv", gc + t * GOLD_C + 2 * GOLD_K, gold_gv + t * GOLD_V, GOLD_V, 5e-7);
            ga_log += gg[t] * g[t];
        }
        ws_decay_backward(ga, gb, gg, gbeta, af, beta, &rate, &dt_bias, GOLD_T, 1);
        for (int t = 0; t < GOLD_T; t++) gdt_bias += ga[t];
        close_to("da", ga, gold_ga, GOLD_T, 5e-7);
        close_to("db", gb, gold_gb, GOLD_T, 5e-7);
        close_to("dA_log", &ga_log, &gold_ga_log, 1, 5e-7);
        close_to("ddt_bias", &gdt_bias, &gold_gdt_bias, 1, 5e-7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_numbers),
        cmocka_unit_test(forward_equals_the_recurrence),
        cmocka_unit_test(any_split_gives_the_same_bits),
        cmocka_unit_test(batches_equal_single_rows),
        cmocka_unit_test(forks_share_a_prefix_and_tokens_can_be_taken_back),
        cmocka_unit_test(nan_reaches_later_tokens_only),
        cmocka_unit_test(gradients_equal_central_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
