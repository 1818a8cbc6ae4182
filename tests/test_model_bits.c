/* Reproducible bits: prefill = any split = token by token, batch = alone, 1 thread = 2 threads, alpha 0 = base, several
 * patches with strengths of their own per row = each row alone.  Everything here is compared with memcmp. */
#include "base/parallel.h"
#include "tiny.h"

typedef struct tokens {
    int32_t id[1400];
    int n;
} tokens;
static tokens text(const ws_model *m, int n, uint64_t seed) {
    tokens t = {.n = n};
    for (int i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        t.id[i] = (int32_t)((seed >> 33) % (uint64_t)ws_model_dims(m)->vocab);
    }
    return t;
}
static ws_state *new_state(const ws_model *m) {
    ws_err err = {0};
    ws_state *s;
    OK(ws_state_new(&s, m, &err));
    return s;
}
static void same(const float *a, const float *b, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a))
            fail_msg("%s: number %lld differs: %.9g and %.9g", what, (long long)i, a[i], b[i]);
}
static float *alone(ws_model *m, const tokens *t, int n_out) {
    return tiny_forward(m, NULL, &(ws_row){-1, t->id, t->n, n_out}, 1, 0, NULL, NULL);
}

/* P7: pieces[] (ending in 0) add up to the text. */
static void split(ws_model *m, const tokens *t, const float *whole, const int *pieces) {
    int64_t d = ws_model_dims(m)->hidden;
    ws_state *s = new_state(m);
    int seq = ws_seq_new(s), at = 0;
    for (; *pieces; at += *pieces++) {
        float *h = tiny_forward(m, s, &(ws_row){seq, t->id + at, *pieces, *pieces}, 1, 0, NULL, NULL);
        same(h, whole + at * d, *pieces * d, "a split prefill");
        free(h);
    }
    assert_int_equal(at, t->n);
    assert_int_equal(ws_seq_len(s, seq), t->n);
    ws_state_free(s);
}
static void test_prefill_in_pieces(void **state) {
    (void)state;
    for (int i = 0; i < TINY_MODELS; i++) {
        tiny f;
        tiny_open(&f, tiny_names[i]);
        tokens t = text(f.m, 131, 7);
        float *whole = alone(f.m, &t, t.n), *few = alone(f.m, &t, 3);
        int64_t d = ws_model_dims(f.m)->hidden;
        same(few, whole + (t.n - 3) * d, 3 * d, "only the last positions");
        int ones[132];
        for (int k = 0; k < 131; k++) ones[k] = 1;
        ones[131] = 0;
        split(f.m, &t, whole, ones);
        split(f.m, &t, whole, (int[]){131, 0});
        split(f.m, &t, whole, (int[]){100, 31, 0});
        split(f.m, &t, whole, (int[]){128, 1, 1, 1, 0});
        split(f.m, &t, whole, (int[]){31, 1, 33, 66, 0});
        free(whole), free(few);
        tiny_close(&f);
    }
}

/* P7 across the chunks of a prefill (512 tokens at once), with and without a sequence. */
static void in_chunks(const char *name) {
    tiny f;
    tiny_open(&f, name);
    int64_t d = ws_model_dims(f.m)->hidden;
    tokens t = text(f.m, 1300, 3), u = text(f.m, 700, 4), v = text(f.m, 40, 5);
    float *whole = alone(f.m, &t, t.n), *u_alone = alone(f.m, &u, 2), *v_alone = alone(f.m, &v, 40);
    split(f.m, &t, whole, (int[]){500, 800, 0});
    split(f.m, &t, whole, (int[]){1, 1299, 0});
    split(f.m, &t, whole, (int[]){256, 256, 256, 256, 256, 20, 0});
    ws_state *s = new_state(f.m);
    int a = ws_seq_new(s), b = ws_seq_new(s);
    /* long rows with and without keys, short ones between them */
    const ws_row rows[] = {{-1, v.id, v.n, 40}, {a, t.id, t.n, t.n}, {-1, u.id, u.n, 2},
                           {-1, v.id, v.n, 0},  {b, v.id, v.n, 40},  {-1, u.id, u.n, 2}};
    float *h = tiny_forward(f.m, s, rows, 6, 0, NULL, NULL), *at = h;
    same(at, v_alone, 40 * d, "row 0");
    same(at += 40 * d, whole, 1300 * d, "row 1");
    same(at += 1300 * d, u_alone, 2 * d, "row 2");
    same(at += 2 * d, v_alone, 40 * d, "row 4");
    same(at += 40 * d, u_alone, 2 * d, "row 5");
    free(h), free(whole), free(u_alone), free(v_alone);
    ws_state_free(s);
    tiny_close(&f);
}
static void test_prefill_in_chunks(void **state) {
    (void)state;
    in_chunks("qwen3");
    in_chunks("qwen35");
    in_chunks("qwen35_1x"); /* its last layer is a delta layer: all its tokens pass through the rule, few go on */
}

/* P8, on 1 and on 2 threads. */
static void test_batch_and_threads(void **state) {
    (void)state;
    for (int i = 0; i < TINY_MODELS; i++) {
        tiny f;
        tiny_open(&f, tiny_names[i]);
        int64_t d = ws_model_dims(f.m)->hidden;
        tokens t[6] = {text(f.m, 1, 1),   text(f.m, 77, 2), text(f.m, 31, 3),
                       text(f.m, 128, 4), text(f.m, 2, 5),  text(f.m, 200, 6)};
        ws_row rows[6];
        for (int r = 0; r < 6; r++) rows[r] = (ws_row){-1, t[r].id, t[r].n, t[r].n};
        ws_threads_set(1);
        float *one = tiny_forward(f.m, NULL, rows, 6, 0, NULL, NULL), *at = one;
        for (int r = 0; r < 6; r++) {
            float *h = alone(f.m, &t[r], t[r].n);
            same(at, h, t[r].n * d, "a row of a batch and the row alone");
            at += t[r].n * d;
            free(h);
        }
        ws_threads_set(2);
        float *two = tiny_forward(f.m, NULL, rows, 6, 0, NULL, NULL);
        same(two, one, at - one, "two threads and one");
        ws_threads_set(0);
        free(one), free(two);
        tiny_close(&f);
    }
}

static void test_fork_truncate_write(void **state) {
    (void)state;
    tiny f;
    tiny_open(&f, "llama");
    int64_t d = ws_model_dims(f.m)->hidden;
    tokens t = text(f.m, 90, 11), u = text(f.m, 90, 12), want;
    ws_state *s = new_state(f.m);
    int a = ws_seq_new(s);
    free(tiny_forward(f.m, s, &(ws_row){a, t.id, 70, 0}, 1, 0, NULL, NULL));
    size_t pages = ws_state_bytes(s);
    /* b shares 45 positions of a (one page whole, one in part), c nothing more than the first */
    int b = ws_seq_fork(s, a, 45), c = ws_seq_fork(s, a, 32);
    assert_int_equal(ws_state_bytes(s), pages); /* nothing was copied yet */
    assert_int_equal(ws_seq_len(s, b), 45);
    /* all three go on at once: a with t, b and c with u */
    const ws_row rows[] = {{a, t.id + 70, 20, 20}, {b, u.id + 45, 30, 30}, {c, u.id + 32, 10, 10}};
    float *h = tiny_forward(f.m, s, rows, 3, 0, NULL, NULL), *whole = alone(f.m, &t, 20);
    same(h, whole, 20 * d, "the sequence that was forked from");
    free(whole);
    want = t, want.n = 75;
    memcpy(want.id + 45, u.id + 45, 30 * sizeof *want.id);
    whole = alone(f.m, &want, 30);
    same(h + 20 * d, whole, 30 * d, "a fork inside a page");
    free(whole);
    want = t, want.n = 42;
    memcpy(want.id + 32, u.id + 32, 10 * sizeof *want.id);
    whole = alone(f.m, &want, 10);
    same(h + 50 * d, whole, 10 * d, "a fork at the end of a page");
    free(whole), free(h);
    /* back to 40 and on with u: a page of b alone is written again in place */
    ws_seq_truncate(s, b, 40);
    assert_int_equal(ws_seq_len(s, b), 40);
    h = tiny_forward(f.m, s, &(ws_row){b, u.id + 40, 8, 8}, 1, 0, NULL, NULL);
    want = t, want.n = 48;
    memcpy(want.id + 40, u.id + 40, 8 * sizeof *want.id);
    whole = alone(f.m, &want, 8);
    same(h, whole, 8 * d, "a truncated sequence");
    free(whole), free(h);
    ws_seq_free(s, a);
    pages = ws_state_bytes(s);
    int e = ws_seq_new(s); /* takes a's number and a's pages again */
    assert_int_equal(e, a);
    h = tiny_forward(f.m, s, &(ws_row){e, t.id, 60, 60}, 1, 0, NULL, NULL);
    want = t, want.n = 60;
    whole = alone(f.m, &want, 60);
    same(h, whole, 60 * d, "reused pages");
    assert_int_equal(ws_state_bytes(s), pages);
    free(whole), free(h);
    ws_state_free(s);
    tiny_close(&f);
}

/* Delta layers: a fork shares the whole sequence and both go on; what was at an earlier length is gone, and said to be. */
static void test_fork_of_a_recurrent_sequence(void **state) {
    (void)state;
    tiny f;
    tiny_open(&f, "qwen35");
    int64_t d = ws_model_dims(f.m)->hidden;
    tokens t = text(f.m, 120, 11), u = text(f.m, 120, 12);
    ws_state *s = new_state(f.m);
    assert_true(ws_model_seq_bytes(f.m) > 0);
    static const int at[] = {5, 16, 40, 63, 64}; /* without S, at a chunk's end, inside a chunk */
    for (int i = 0; i < 5; i++) {
        int len = at[i], a = ws_seq_new(s);
        free(tiny_forward(f.m, s, &(ws_row){a, t.id, len, 0}, 1, 0, NULL, NULL));
        size_t bytes = ws_state_bytes(s);
        int b = ws_seq_fork(s, a, len), c = ws_seq_fork(s, b, len), e = ws_seq_fork(s, a, 0);
        assert_int_equal(ws_state_bytes(s), bytes); /* nothing was copied yet */
        assert_int_equal(ws_seq_len(s, c), len);
        assert_int_equal(ws_seq_len(s, e), 0);
        assert_true(ws_seq_holds(s, a, len) && ws_seq_holds(s, a, 0));
        assert_false(ws_seq_holds(s, a, len - 1) || ws_seq_holds(s, a, len + 1));
        /* a goes on with t in two calls, b with u at the same time, c with u after a is gone */
        tokens other = t;
        memcpy(other.id + len, u.id + len, (size_t)(120 - len) * sizeof *t.id);
        float *t_whole = alone(f.m, &t, 120 - len), *u_whole = alone(f.m, &other, 120 - len);
        const ws_row rows[] = {{a, t.id + len, 20, 20}, {b, u.id + len, 120 - len, 120 - len}};
        float *h = tiny_forward(f.m, s, rows, 2, 0, NULL, NULL);
        same(h, t_whole, 20 * d, "the sequence that was forked from");
        same(h + 20 * d, u_whole, (120 - len) * d, "a fork");
        free(h);
        h = tiny_forward(f.m, s, &(ws_row){a, t.id + len + 20, 30, 30}, 1, 0, NULL, NULL);
        same(h, t_whole + 20 * d, 30 * d, "the sequence that was forked from, later");
        free(h);
        ws_seq_free(s, a);
        for (int k = len; k < 120; k++) {
            h = tiny_forward(f.m, s, &(ws_row){c, u.id + k, 1, 1}, 1, 0, NULL, NULL);
            same(h, u_whole + (k - len) * d, d, "a fork of a fork, token by token");
            free(h);
        }
        ws_seq_truncate(s, b, 0);
        float *again = alone(f.m, &t, 120);
        h = tiny_forward(f.m, s, &(ws_row){b, t.id, 120, 120}, 1, 0, NULL, NULL);
        same(h, again, 120 * d, "a sequence that was emptied");
        free(h), free(again), free(t_whole), free(u_whole);
        ws_seq_free(s, b), ws_seq_free(s, c), ws_seq_free(s, e);
    }
    ws_state_free(s);
    tiny_close(&f);
}

/* Two patches, five rows with strengths of their own; a row's result is what it is alone, strength 0 is the base. */
static void test_strength_of_each_row(void **state) {
    (void)state;
    for (int i = 0; i < TINY_MODELS; i++) {
        tiny f;
        tiny_open(&f, tiny_names[i]);
        int64_t d = ws_model_dims(f.m)->hidden;
        probe p, q;
        probe_from_fixture(&p, &f, 0);
        probe_from_fixture(&q, &f, 0);
        for (int k = 0; k < ws_model_n_sites(f.m); k++)
            if (k % 3) q.a[k] = NULL; /* the second hangs at fewer sites */
        ws_patch *patches[] = {&p.patch, &q.patch};
        const float pa[] = {0, 1, 0, -2.5f, 0.5f}, qa[] = {0, 0, 3, 1, 0.25f};
        tokens t[5] = {text(f.m, 50, 1), text(f.m, 50, 1), text(f.m, 33, 2), text(f.m, 50, 1), text(f.m, 64, 3)};
        ws_state *s = new_state(f.m);
        ws_row rows[5];
        for (int r = 0; r < 5; r++) rows[r] = (ws_row){ws_seq_new(s), t[r].id, t[r].n - 1, r ? t[r].n - 1 : 0};
        free(tiny_forward(f.m, s, rows, 5, 2, patches, (const float *const[]){pa, qa}));
        for (int r = 0; r < 5; r++) rows[r].ids = t[r].id + t[r].n - 1, rows[r].n = rows[r].n_out = 1;
        float *h = tiny_forward(f.m, s, rows, 5, 2, patches, (const float *const[]){pa, qa});
        for (int r = 0; r < 5; r++) {
            ws_row row = {-1, t[r].id, t[r].n, 1};
            float *one = tiny_forward(f.m, NULL, &row, 1, 2, patches, (const float *const[]){pa + r, qa + r});
            same(h + r * d, one, d, "a row with its strengths and the row alone");
            free(one);
        }
        float *base = alone(f.m, &t[0], 1);
        same(h, base, d, "strength 0 and the base");
        assert_memory_not_equal(h + d, base, (size_t)d * sizeof *base); /* the patches do something */
        assert_memory_not_equal(h + 3 * d, h + d, (size_t)d * sizeof *base);
        free(base), free(h);
        ws_state_free(s);
        probe_close(&p), probe_close(&q);
        tiny_close(&f);
    }
}

/* A row like another takes the blocks below the trunk from there: the same bits as alone, whether the other stands in an
 * earlier row of the batch, in an earlier chunk of it or in an earlier forward; and it does take them: a patch below the
 * trunk that only the other row has shows in it. */
static int forward_like(tiny *f, ws_state *s, const ws_row *rows, int n, ws_patch *const *patch, const float *pa,
                        const float *qa, const int *like, float *h) {
    ws_err err = {0};
    const float *alpha[] = {pa, qa};
    return ws_forward_like(f->m, s, &(ws_batch){n, rows, 2, patch, alpha}, like, h, &err);
}
static void like_alone(tiny *f, const tokens *t, int n, int n_out, ws_patch *const *patch, float pa, float qa,
                       const float *got, const char *what) {
    float *one =
        tiny_forward(f->m, NULL, &(ws_row){-1, t->id, n, n_out}, 1, 2, patch, (const float *const[]){&pa, &qa});
    same(got, one, n_out * ws_model_dims(f->m)->hidden, what);
    free(one);
}
static void shared_trunk(const char *name, int trunk) {
    tiny f;
    tiny_open(&f, name);
    int64_t d = ws_model_dims(f.m)->hidden;
    const int delta = ws_model_dims(f.m)->n_delta;
    probe p, q;
    probe_from_fixture(&p, &f, trunk);
    probe_from_fixture(&q, &f, 0);
    for (int k = 0; k < ws_model_n_sites(f.m); k++)
        if (ws_model_site(f.m, k)->layer >= trunk) q.a[k] = NULL;
    ws_patch *patch[] = {&p.patch, &q.patch};
    assert_int_equal(ws_patches_lowest(f.m, patch, 1), trunk);
    assert_int_equal(ws_patches_lowest(f.m, patch, 2), 0);
    assert_int_equal(ws_patches_lowest(f.m, NULL, 0), ws_model_dims(f.m)->layers);
    const float none[5] = {0}, pa[5] = {0, 1, -2.5f, 0, 0.5f};
    float *h = malloc((size_t)(5 * 700 * d) * sizeof *h);
    for (int threads = 1; threads <= 2; threads++) {
        ws_threads_set(threads);
        ws_state *s = new_state(f.m);
        ws_state_trunk(s, f.m, trunk);
        /* 45 tokens: base, +, - like +, another text, + like base; then a token each, twice, inside and across a page */
        tokens t = text(f.m, 650, 21), u = text(f.m, 60, 22);
        int seq[5];
        for (int r = 0; r < 5; r++) seq[r] = ws_seq_new(s);
        const int like[] = {-1, seq[0], seq[1], -1, seq[0]};
        ws_row rows[5];
        int at = 0;
        static const int step[] = {45, 1, 1, 17, 0};
        for (const int *n = step; *n; at += *n++) {
            for (int r = 0; r < 5; r++) rows[r] = (ws_row){seq[r], (r == 3 ? &u : &t)->id + at, *n, 1};
            assert_int_equal(forward_like(&f, s, rows, 5, patch, pa, none, like, h), WS_OK);
            for (int r = 0; r < 5; r++)
                like_alone(&f, r == 3 ? &u : &t, at + *n, 1, patch, pa[r], 0, h + r * d, "a row like another");
        }
        /* forks of rows that never computed a trunk, one like the other; the base goes on by itself and is longer then */
        int a = ws_seq_fork(s, seq[1], at), b = ws_seq_fork(s, seq[2], at);
        rows[0] = (ws_row){a, t.id + at, 70, 3}, rows[1] = (ws_row){b, t.id + at, 70, 3};
        assert_int_equal(forward_like(&f, s, rows, 2, patch, pa + 1, none, (const int[]){-1, a}, h), WS_OK);
        like_alone(&f, &t, at + 70, 3, patch, pa[1], 0, h, "a fork of a row like another");
        like_alone(&f, &t, at + 70, 3, patch, pa[2], 0, h + 3 * d, "a fork like a fork");
        rows[0] = (ws_row){seq[0], t.id + at, 90, 0};
        assert_int_equal(forward_like(&f, s, rows, 1, patch, none, none, NULL, h), WS_OK);
        if (!delta) { /* a longer one */
            const int more = 33;
            rows[0] = (ws_row){seq[1], t.id + at, more, more}, rows[1] = (ws_row){seq[4], t.id + at, 3, 3};
            assert_int_equal(
                forward_like(&f, s, rows, 2, patch, (const float[]){1, 0.5f}, none, (const int[]){seq[0], seq[0]}, h),
                WS_OK);
            like_alone(&f, &t, at + more, more, patch, 1, 0, h, "a row like a longer sequence");
            like_alone(&f, &t, at + 3, 3, patch, 0.5f, 0, h + more * d, "a short row like a longer sequence");
        }
        if (delta) { /* one that is equally long */
            rows[0] = (ws_row){seq[1], t.id + at, 90, 5};
            assert_int_equal(forward_like(&f, s, rows, 1, patch, pa + 1, none, (const int[]){seq[0]}, h), WS_OK);
            like_alone(&f, &t, at + 90, 5, patch, pa[1], 0, h, "a row like an earlier one");
            rows[0] = (ws_row){seq[1], t.id + at + 90, 9, 9};
            assert_int_equal(forward_like(&f, s, rows, 1, patch, pa + 1, none, NULL, h), WS_OK);
            like_alone(&f, &t, at + 99, 9, patch, pa[1], 0, h, "and by itself from there");
        }
        /* 650 tokens each: the other's are in an earlier chunk, and the last is in a chunk with its own end */
        for (int r = 0; r < 3; r++) rows[r] = (ws_row){seq[r] = ws_seq_new(s), t.id, 650, r + 1};
        assert_int_equal(forward_like(&f, s, rows, 3, patch, pa, none, (const int[]){-1, seq[0], seq[0]}, h), WS_OK);
        for (int r = 0, o = 0; r < 3; o += ++r)
            like_alone(&f, &t, 650, r + 1, patch, pa[r], 0, h + o * d, "a row like one of an earlier chunk");
        for (int r = 0; r < 3; r++) rows[r] = (ws_row){seq[r], u.id, 1, 1}, t.id[650] = u.id[0];
        assert_int_equal(forward_like(&f, s, rows, 3, patch, pa, none, NULL, h), WS_OK);
        for (int r = 0; r < 3; r++)
            like_alone(&f, &t, 651, 1, patch, pa[r], 0, h + r * d, "by itself after chunks of another");
        /* what a row takes is the other's; a row with a patch below computes its own */
        for (int r = 0; r < 3; r++) rows[r] = (ws_row){seq[r] = ws_seq_new(s), u.id, 40, 1};
        const float qa[] = {0.5f, 0, -1};
        assert_int_equal(forward_like(&f, s, rows, 3, patch, pa, qa, (const int[]){-1, seq[0], seq[0]}, h), WS_OK);
        like_alone(&f, &u, 40, 1, patch, pa[0], 0.5f, h, "a row with a patch in its trunk");
        like_alone(&f, &u, 40, 1, patch, pa[1], 0.5f, h + d, "a row with the trunk of another");
        like_alone(&f, &u, 40, 1, patch, pa[2], -1, h + 2 * d, "a row with a patch below the trunk's end");
        ws_state_free(s);
    }
    ws_threads_set(0);
    free(h);
    probe_close(&p), probe_close(&q);
    tiny_close(&f);
}
static void test_shared_trunk(void **state) {
    (void)state;
    shared_trunk("llama", 1);
    shared_trunk("qwen3", 1);
    for (int trunk = 1; trunk <= 3; trunk++) shared_trunk("qwen35", trunk);
    shared_trunk("qwen35_1x", 2);
    shared_trunk("qwen35_3x", 2);
}

/* A tap sees every token of every layer, changes nothing, and a block patch acts on the rows that ask for it. */
typedef struct seen {
    int layers;
    int64_t tokens;
} seen;
static void count(void *arg, int layer, const float *x, int64_t n) {
    seen *s = arg;
    assert_int_equal(layer, s->layers);
    assert_true(isfinite(x[0]));
    s->layers++, s->tokens += n;
}
static int at_block(const ws_patch *p, int site) {
    (void)p;
    return site == 2 * 7 + 1; /* after layer 1 of a model of two layers */
}
static void shift(ws_patch *p, int site, int64_t n, float *h, const float *alpha, ws_arena *scratch) {
    (void)p, (void)site, (void)scratch;
    for (int64_t t = 0; t < n; t++) h[t * 64] += alpha[t];
}
static void test_tap_and_block_patch(void **state) {
    (void)state;
    static const ws_patch_ops ops = {.name = "shift", .hangs_at = at_block, .block = shift};
    tiny f;
    tiny_open(&f, "qwen2");
    int64_t d = ws_model_dims(f.m)->hidden;
    assert_int_equal(d, 64);
    tokens t = text(f.m, 20, 1);
    float *base = alone(f.m, &t, 1);
    seen s = {0};
    ws_model_tap(f.m, count, &s);
    float *tapped = alone(f.m, &t, 1);
    ws_model_tap(f.m, NULL, NULL);
    same(tapped, base, d, "with a tap and without");
    assert_int_equal(s.layers, 2);
    assert_int_equal(s.tokens, 40);
    ws_patch patch = {&ops}, *patches[] = {&patch};
    const ws_row rows[] = {{-1, t.id, t.n, 1}, {-1, t.id, t.n, 1}};
    float *h = tiny_forward(f.m, NULL, rows, 2, 1, patches, (const float *const[]){(const float[]){0, 2}});
    same(h, base, d, "a row beside a steered one");
    assert_memory_not_equal(h + d, base, (size_t)d * sizeof *h);
    ws_err err = {0};
    ws_train_out out;
    const ws_train_row row = {t.id, t.n, 1, 1};
    assert_int_equal(ws_train_pass(f.m, &row, 1, patches, 1, -1, &out, NULL, &err), WS_EUNSUPPORTED);
    free(h), free(base), free(tapped);
    tiny_close(&f);
}

/* NaN is told with its row and layer, and the sequences stay as they were. */
static void poison(ws_patch *p, const ws_patch_call *c) {
    (void)p;
    if (c->at->layer == 1) c->y[0] = NAN;
}
static int everywhere(const ws_patch *p, int site) {
    (void)p;
    return site < 14;
}
static void test_not_finite(void **state) {
    (void)state;
    static const ws_patch_ops ops = {.name = "poison", .hangs_at = everywhere, .linear = poison};
    tiny f;
    tiny_open(&f, "llama");
    ws_state *s = new_state(f.m);
    tokens t = text(f.m, 30, 1);
    int a = ws_seq_new(s), b = ws_seq_new(s);
    free(tiny_forward(f.m, s, &(ws_row){a, t.id, 10, 0}, 1, 0, NULL, NULL));
    ws_patch patch = {&ops}, *patches[] = {&patch};
    const ws_row rows[] = {{a, t.id + 10, 5, 1}, {b, t.id, 7, 7}};
    float h[8 * 64];
    ws_err err = {0};
    ws_batch batch = {2, rows, 1, patches, (const float *const[]){(const float[]){0, 1}}};
    assert_int_equal(ws_forward(f.m, s, &batch, h, &err), WS_ENONFINITE);
    assert_non_null(strstr(err.msg, "layer 1"));
    assert_non_null(strstr(err.msg, "row 1"));
    assert_int_equal(ws_seq_len(s, a), 10);
    assert_int_equal(ws_seq_len(s, b), 0);
    ws_train_out out;
    const ws_train_row row = {t.id, t.n, 1, 1};
    assert_int_equal(ws_train_pass(f.m, &row, 1, patches, 1, -1, &out, NULL, &err), WS_ENONFINITE);
    /* an id outside the vocabulary is the caller's mistake */
    const int32_t wild[] = {3, 100000};
    batch = (ws_batch){1, &(ws_row){a, wild, 2, 1}, 0, NULL, NULL};
    assert_int_equal(ws_forward(f.m, s, &batch, h, &err), WS_EUSAGE);
    assert_non_null(strstr(err.msg, "100000"));
    ws_state_free(s);
    tiny_close(&f);
}

/* With delta layers the sequences of a failed batch are empty, and as good as new. */
static void test_not_finite_recurrent(void **state) {
    (void)state;
    static const ws_patch_ops ops = {.name = "poison", .hangs_at = everywhere, .linear = poison};
    tiny f;
    tiny_open(&f, "qwen35");
    int64_t d = ws_model_dims(f.m)->hidden;
    ws_state *s = new_state(f.m);
    tokens t = text(f.m, 60, 1);
    int a = ws_seq_new(s), b = ws_seq_new(s);
    free(tiny_forward(f.m, s, &(ws_row){a, t.id, 40, 0}, 1, 0, NULL, NULL));
    int kept = ws_seq_fork(s, a, 40);
    ws_patch patch = {&ops}, *patches[] = {&patch};
    const ws_row rows[] = {{a, t.id + 40, 20, 1}, {b, t.id, 7, 7}};
    float h[8 * 64];
    ws_err err = {0};
    ws_batch batch = {2, rows, 1, patches, (const float *const[]){(const float[]){0, 1}}};
    assert_int_equal(ws_forward(f.m, s, &batch, h, &err), WS_ENONFINITE);
    assert_non_null(strstr(err.msg, "layer 1"));
    assert_non_null(strstr(err.msg, "row 1"));
    assert_int_equal(ws_seq_len(s, a), 0);
    assert_int_equal(ws_seq_len(s, b), 0);
    float *whole = alone(f.m, &t, 60), *on = tiny_forward(f.m, s, &(ws_row){kept, t.id + 40, 20, 20}, 1, 0, NULL, NULL),
          *anew = tiny_forward(f.m, s, &(ws_row){a, t.id, 60, 60}, 1, 0, NULL, NULL);
    same(on, whole + 40 * d, 20 * d, "a fork of the sequence that failed");
    same(anew, whole, 60 * d, "a sequence after its failure");
    ws_train_out out;
    const ws_train_row row = {t.id, t.n, 1, 1};
    assert_int_equal(ws_train_pass(f.m, &row, 1, patches, 1, -1, &out, NULL, &err), WS_ENONFINITE);
    free(whole), free(on), free(anew);
    ws_state_free(s);
    tiny_close(&f);
}

/* Training passes: packed rows = each alone (losses), threads, recompute: the same bits. */
static void training_bits(const char *name) {
    tiny f;
    tiny_open(&f, name);
    ws_err err = {0};
    ws_train_row rows[TINY_MAX_ROWS];
    double nll[TINY_MAX_ROWS], first[TINY_MAX_ROWS];
    double *grads = NULL;
    for (int mode = 0; mode < 4; mode++) {
        probe p;
        ws_train_out out;
        probe_from_fixture(&p, &f, 0);
        ws_patch *patches[] = {&p.patch};
        for (int r = 0; r < f.n_rows; r++) rows[r] = (ws_train_row){f.ids[r], f.n[r], f.first[r], f.weight[r]};
        ws_threads_set(1 + mode % 2);
        ws_model_set_recompute(f.m, mode / 2);
        OK(ws_train_pass(f.m, rows, f.n_rows, patches, 1, 0, &out, nll, &err));
        int64_t n = 2 * ws_model_site(f.m, 0)->d_in; /* of the lowest site that stands in the list */
        if (!mode) {
            grads = malloc((size_t)n * sizeof *grads);
            memcpy(grads, p.ga[0], (size_t)n * sizeof *grads);
            memcpy(first, nll, sizeof first);
            for (int r = 0; r < f.n_rows; r++) {
                double one;
                OK(ws_train_pass(f.m, rows + r, 1, patches, 1, -1, &out, &one, &err));
                assert_true(one == nll[r]);
            }
        }
        assert_memory_equal(grads, p.ga[0], (size_t)n * sizeof *grads);
        assert_memory_equal(first, nll, (size_t)f.n_rows * sizeof *nll);
        probe_close(&p);
    }
    ws_threads_set(0);
    free(grads);
    tiny_close(&f);
}
static void test_training_bits(void **state) {
    (void)state;
    training_bits("qwen3");
    training_bits("qwen35");
    training_bits("qwen35_3x");
}

/* Log-probabilities from hidden states: as the logits say, and the same bits one by one. */
static void test_logprob(void **state) {
    (void)state;
    tiny f;
    tiny_open(&f, "llama");
    ws_err err = {0};
    int64_t d = ws_model_dims(f.m)->hidden, vocab = ws_model_dims(f.m)->vocab;
    tokens t = text(f.m, 300, 1), target = text(f.m, 300, 2);
    float *h = alone(f.m, &t, t.n), lp[300], one, *logits = malloc((size_t)vocab * sizeof *logits);
    OK(ws_logprob(f.m, h, t.n, target.id, lp, &err));
    for (int i = 0; i < t.n; i++) {
        double sum = 0;
        OK(ws_logprob(f.m, h + i * d, 1, target.id + i, &one, &err));
        assert_memory_equal(&one, lp + i, sizeof one);
        ws_head(f.m, h + i * d, 1, logits);
        for (int64_t v = 0; v < vocab; v++) sum += exp(logits[v]);
        assert_true(fabs(lp[i] - (logits[target.id[i]] - log(sum))) < 2e-6);
    }
    free(h), free(logits);
    tiny_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prefill_in_pieces),
                                       cmocka_unit_test(test_prefill_in_chunks),
                                       cmocka_unit_test(test_batch_and_threads),
                                       cmocka_unit_test(test_fork_truncate_write),
                                       cmocka_unit_test(test_fork_of_a_recurrent_sequence),
                                       cmocka_unit_test(test_strength_of_each_row),
                                       cmocka_unit_test(test_shared_trunk),
                                       cmocka_unit_test(test_tap_and_block_patch),
                                       cmocka_unit_test(test_not_finite),
                                       cmocka_unit_test(test_not_finite_recurrent),
                                       cmocka_unit_test(test_training_bits),
                                       cmocka_unit_test(test_logprob)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
