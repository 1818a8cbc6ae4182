/* tests/test_steer_properties.c - what each hidden-state method must do whatever the states are: laws that its definition
 * implies, on random states, and bits that depend on a token alone.
 * Maps round their result to fp32 once, so lengths and coordinates are kept to 1e-5 of the length of the state. */
#include "steer/frame.h"
#include "steer/likeness.h"
#include "steer_help.h"

static float *copied(const float *x, int64_t n) {
    return memcpy(malloc((size_t)n * sizeof *x), x, (size_t)n * sizeof *x);
}
static void map(const ws_vector *v, int i, float *y, float c) { ws_vector_apply(v, v->site[i].site, 1, y, &c); }

static void turning_keeps_the_length(void **state) {
    fixture *f = *state;
    static const char *const name[] = {"spherical", "angular_steering"};
    static const float c[] = {-1, -0.3f, 1e-4f, 0.2f, 0.9f, 1, 3};
    ws_state_set s;
    random_states(f, &s, 12, 1);
    for (int m = 0; m < 2; m++) {
        ws_vector *v = vector_of_method(f, name[m], &s, NULL);
        int i = 0, moved = 0;
        for (int64_t t = 0; t < s.n; t++)
            for (int k = 0; k < 7; k++) {
                const float *h = s.at[s.n_sites - 2].pos + t * v->site[i].d;
                float *y = copied(h, v->site[i].d);
                map(v, i, y, c[k]);
                double was = ws_length(h, v->site[i].d), is = ws_length(y, v->site[i].d);
                if (!(fabs(is - was) < 1e-5 * was)) fail_msg("%s at %g: length %.7g -> %.7g", name[m], c[k], was, is);
                moved += memcmp(y, h, (size_t)v->site[i].d * sizeof *y) != 0;
                free(y);
            }
        assert_int_equal(moved, 7 * s.n);
        ws_vector_free(v);
    }
    ws_states_free(&s);
}

/* At C = 1 y points along v, and angular steering's plane part stands at the angle C. */
static void turning_arrives(void **state) {
    fixture *f = *state;
    ws_state_set s;
    random_states(f, &s, 12, 2);
    ws_vector *v = vector_of_method(f, "spherical", &s, NULL), *w = vector_of_method(f, "angular_steering", &s, NULL);
    int64_t d = v->site[0].d;
    float *y = copied(s.at[s.n_sites - 2].neg, d);
    map(v, 0, y, 1);
    assert_true(ws_dot(y, v->site[0].t[0], d) > (1 - 1e-6) * ws_length(y, d));
    free(y);
    y = copied(s.at[s.n_sites - 2].neg, d);
    map(w, 0, y, 0.7f);
    double p = ws_dot(y, w->site[0].t[0], d), q = ws_dot(y, w->site[0].t[1], d);
    assert_true(fabs(atan2(q, p) - (double)0.7f) < 1e-5);
    free(y);
    ws_vector_free(v), ws_vector_free(w);
    ws_states_free(&s);
}

/* A state that is zero, or lies along v or against it, has no way round: it stays, and is no NaN. */
static void spherical_stays_where_there_is_no_circle(void **state) {
    fixture *f = *state;
    ws_state_set s;
    random_states(f, &s, 12, 3);
    ws_vector *v = vector_of_method(f, "spherical", &s, NULL);
    int64_t d = v->site[0].d;
    for (int sign = -1; sign <= 1; sign++) {
        float y[64];
        for (int64_t i = 0; i < d; i++) y[i] = (float)sign * 8 * v->site[0].t[0][i];
        float *was = copied(y, d);
        map(v, 0, y, 0.4f);
        for (int64_t i = 0; i < d; i++) assert_true(fabsf(y[i] - was[i]) < 1e-5f);
        free(was);
    }
    ws_vector_free(v);
    ws_states_free(&s);
}

static void ablation_sets_the_coordinate(void **state) {
    fixture *f = *state;
    static const float c[] = {1e-20f, 2, -0.5f}; /* the first is the ablation */
    ws_state_set s;
    random_states(f, &s, 12, 4);
    ws_vector *v = vector_of_method(f, "directional_ablation", &s, NULL),
              *w = vector_of_method(f, "sspace_ablate", &s, NULL);
    for (int k = 0; k < 3; k++) {
        int64_t d = v->site[0].d;
        float *y = copied(s.at[s.n_sites - 2].pos, d);
        assert_true(fabs(ws_dot(y, v->site[0].t[0], d)) > 0.01);
        map(v, 0, y, c[k]);
        assert_true(fabs(ws_dot(y, v->site[0].t[0], d) - (double)c[k]) < 1e-5 * ws_length(y, d));
        free(y);
        const ws_framed *made = w->site[0].made;
        y = copied(s.at[0].pos, w->site[0].d);
        map(w, 0, y, c[k]);
        assert_true(fabs(ws_dot(y, made->probe, w->site[0].d) - (double)c[k]) <
                    1e-5 * ws_length(y, w->site[0].d) * ws_length(made->probe, w->site[0].d));
        free(y);
    }
    ws_vector_free(v), ws_vector_free(w);
    ws_states_free(&s);
}

static void linear_act_interpolates(void **state) {
    fixture *f = *state;
    ws_state_set s;
    random_states(f, &s, 12, 5);
    ws_vector *v = vector_of_method(f, "linear_act", &s, NULL);
    int64_t d = v->site[0].d;
    const ws_states *h = &s.at[s.n_sites - 2];
    float *y = copied(h->neg, d), *half = copied(y, d), *whole = copied(y, d);
    map(v, 0, half, 0.5f), map(v, 0, whole, 1);
    for (int64_t i = 0; i < d; i++) assert_true(fabsf(half[i] - 0.5f * (y[i] + whole[i])) < 1e-5f * (1 + fabsf(y[i])));
    free(y), free(half), free(whole);
    /* whole, it carries NEG's mean to POS's */
    double got[64] = {0}, want[64];
    ws_mean_rows(want, h->pos, s.n, d);
    for (int64_t t = 0; t < s.n; t++) {
        y = copied(h->neg + t * d, d);
        map(v, 0, y, 1);
        for (int64_t i = 0; i < d; i++) got[i] += (double)y[i] / (double)s.n;
        free(y);
    }
    for (int64_t i = 0; i < d; i++) assert_true(fabs(got[i] - want[i]) < 1e-5 * (1 + fabs(want[i])));
    ws_vector_free(v);
    ws_states_free(&s);
}

static void constant_coordinates_are_moved_as_they_are(void **state) {
    fixture *f = *state;
    ws_state_set s;
    random_states(f, &s, 12, 6);
    const ws_states *h = &s.at[s.n_sites - 2];
    for (int64_t t = 0; t < s.n; t++) ((float *)(uintptr_t)h->neg)[t * h->d + 3] = 2.5f;
    ws_vector *v = vector_of_method(f, "linear_act", &s, NULL);
    float *y = copied(h->neg, h->d);
    double mean[64];
    y[3] = 4;
    map(v, 0, y, 1);
    ws_mean_rows(mean, h->pos, s.n, h->d);
    for (int64_t i = 0; i < h->d; i++) assert_true(isfinite(y[i]));
    assert_true(fabs((double)y[3] - (4 + mean[3] - 2.5)) < 1e-5);
    free(y);
    ws_vector_free(v);
    ws_states_free(&s);
}

/* POS and NEG swapped: what points somewhere points the other way. */
static void swapping_the_sides_turns_the_direction(void **state) {
    fixture *f = *state;
    static const char *const name[] = {"mean_diff",     "mean_centred",  "pca",         "repeng",
                                       "topk_clusters", "cosine_gated",  "spherical",   "angular_steering",
                                       "sspace",        "sspace_ablate", "super_sspace"};
    ws_state_set s, t;
    random_states(f, &s, 12, 7), random_states(f, &t, 12, 7);
    for (int i = 0; i < t.n_sites; i++) {
        const float *pos = t.at[i].pos;
        t.at[i].pos = t.at[i].neg, t.at[i].neg = pos;
    }
    for (size_t m = 0; m < sizeof name / sizeof *name; m++) {
        ws_vector *v = vector_of_method(f, name[m], &s, NULL), *w = vector_of_method(f, name[m], &t, NULL);
        for (int i = 0; i < v->n; i++) {
            int frame = strstr(name[m], "sspace") != NULL;
            const float *a = frame ? ((ws_framed *)v->site[i].made)->towards : v->site[i].t[0],
                        *b = frame ? ((ws_framed *)w->site[i].made)->towards : w->site[i].t[0];
            double size = ws_length(a, v->site[i].d);
            for (int64_t k = 0; k < (frame ? 1 : v->site[i].k) * v->site[i].d; k++)
                if (!(fabs((double)a[k] + (double)b[k]) < 1e-5 * size))
                    fail_msg("%s at site %d, number %d: %g and %g", name[m], i, (int)k, (double)a[k], (double)b[k]);
        }
        ws_vector_free(v), ws_vector_free(w);
    }
    ws_states_free(&s), ws_states_free(&t);
}

/* Two clusters of NEG, the same two of POS a step further: each token takes that step, and half of it at C = 0.5. */
static void chars_moves_clusters_onto_their_partners(void **state) {
    fixture *f = *state;
    ws_state_set s;
    random_states(f, &s, 16, 8);
    const ws_states *h = &s.at[s.n_sites - 2];
    for (int64_t t = 0; t < s.n; t++)
        for (int64_t i = 0; i < h->d; i++) {
            float x = (i == 0 ? (t & 1 ? 20.f : -20.f) : 0) + (i == 2 ? 3 : 0) + 0.01f * h->neg[t * h->d + i];
            ((float *)(uintptr_t)h->neg)[t * h->d + i] = x;
            ((float *)(uintptr_t)h->pos)[t * h->d + i] = x + (i == 1 ? 5 : 0);
        }
    ws_vector_cfg cfg = ws_vector_defaults();
    cfg.clusters = 2;
    ws_vector *v = vector_of_method(f, "chars", &s, &cfg);
    for (int k = 0; k < 2; k++) {
        float *y = copied(h->neg + k * h->d, h->d);
        map(v, 0, y, 0.5f);
        for (int64_t i = 0; i < h->d; i++)
            assert_true(fabsf(y[i] - h->neg[k * h->d + i] - (i == 1 ? 2.5f : 0)) < 0.05f);
        free(y);
    }
    ws_vector_free(v);
    /* the clamped coupling has no mass at such a cost */
    cfg.chars_clamp = 1;
    v = vector_of_method(f, "chars", &s, &cfg);
    for (int k = 0; k < 4; k++) assert_true(v->site[0].t[2][k] == 0);
    float *y = copied(h->neg, h->d);
    map(v, 0, y, 1);
    assert_memory_equal(y, h->neg, (size_t)h->d * sizeof *y);
    free(y);
    ws_vector_free(v);
    ws_states_free(&s);
}

static void rank_keeps_the_largest_modes_in_order(void **state) {
    fixture *f = *state;
    ws_state_set s;
    random_states(f, &s, 12, 9);
    ws_vector_cfg cfg = ws_vector_defaults();
    ws_vector *all = vector_of_method(f, "sspace", &s, &cfg);
    cfg.rank = 5;
    ws_vector *few = vector_of_method(f, "sspace", &s, &cfg);
    for (int i = 0; i < few->n; i++) {
        const ws_vector_site *a = &all->site[i], *b = &few->site[i];
        int at = -1;
        double least = INFINITY, length = 0;
        assert_int_equal(b->k, 5);
        for (int j = 0; j < 5; j++) {
            int k = at + 1;
            while (k < a->k && a->t[WS_FRAME_SQRT_S][k] != b->t[WS_FRAME_SQRT_S][j]) k++;
            assert_true(k < a->k); /* ascending: found behind the one before */
            at = k, least = fmin(least, fabs((double)a->t[WS_FRAME_DS][k]));
            length += (double)b->t[WS_FRAME_DS][j] * (double)b->t[WS_FRAME_DS][j];
        }
        assert_true(fabs(length - 1) < 1e-6);
        int larger = 0;
        for (int k = 0; k < a->k; k++) larger += fabs((double)a->t[WS_FRAME_DS][k]) > least;
        assert_int_equal(larger, 4);
    }
    ws_vector_free(all), ws_vector_free(few);
    ws_states_free(&s);
}

/* A method that says so is the identity towards strength 0, and one that does not is not. */
static void the_word_about_strength_zero_is_true(void **state) {
    fixture *f = *state;
    const ws_steer_ops *list[32];
    int n = n_hidden(list, 32);
    ws_state_set s;
    random_states(f, &s, 12, 10);
    assert_int_equal(n, 16);
    for (int m = 0; m < n; m++) {
        ws_vector *v = vector_of_method(f, list[m]->name, &s, NULL);
        double moved = 0, size = 0;
        for (int i = 0; i < s.n_sites; i++) {
            if (!ws_vector_hangs_at(v, s.at[i].site)) continue;
            float *y = copied(s.at[i].pos, s.at[i].d), c = 1e-7f * strength_of(v);
            ws_vector_apply(v, s.at[i].site, 1, y, &c);
            for (int64_t k = 0; k < s.at[i].d; k++)
                moved = fmax(moved, fabs((double)y[k] - (double)s.at[i].pos[k])), size = fmax(size, fabs((double)y[k]));
            free(y);
        }
        if ((moved < 1e-5 * size) != list[m]->identity_at_zero)
            fail_msg("%s says identity_at_zero %d, and moves %.2g of %.2g", list[m]->name, list[m]->identity_at_zero,
                     moved, size);
        ws_vector_free(v);
    }
    ws_states_free(&s);
}

/* ---- bits ---- */

typedef struct texts {
    int32_t ids[4][40];
    int n[4];
} texts;
static void some_texts(const fixture *f, texts *t) {
    static const int n[] = {40, 3, 17, 26};
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < (t->n[r] = n[r]); i++)
            t->ids[r][i] =
                (int32_t)(ws_counter_u64(1, "texts", (uint64_t)r, (uint64_t)i) % (uint64_t)ws_model_dims(f->m)->vocab);
}
/* Hidden states of rows [first, last) at alpha[] [tokens, hidden]; the caller frees. */
static float *forward(const fixture *f, const texts *t, int first, int last, ws_patch *patch, const float *alpha) {
    ws_err err = {0};
    ws_row row[4];
    int64_t d = ws_model_dims(f->m)->hidden, total = 0;
    for (int r = first; r < last; r++) row[r - first] = (ws_row){-1, t->ids[r], t->n[r], t->n[r]}, total += t->n[r];
    float *h = malloc((size_t)(total * d) * sizeof *h);
    const ws_batch b = {last - first, row, patch ? 1 : 0, &patch, &alpha};
    OK(ws_forward(f->m, NULL, &b, h, &err));
    return h;
}
/* The same token by token, as decoding does. */
static float *decode(const fixture *f, const texts *t, int r, ws_patch *patch, float alpha) {
    ws_err err = {0};
    ws_state *s;
    int64_t d = ws_model_dims(f->m)->hidden;
    float *h = malloc((size_t)(t->n[r] * d) * sizeof *h);
    const float *strength = &alpha;
    OK(ws_state_new(&s, f->m, &err));
    int seq = ws_seq_new(s);
    for (int i = 0; i < t->n[r]; i++) {
        ws_row row = {seq, &t->ids[r][i], 1, 1};
        const ws_batch b = {1, &row, 1, &patch, &strength};
        OK(ws_forward(f->m, s, &b, h + i * d, &err));
    }
    ws_state_free(s);
    return h;
}

static void a_token_decides_its_own_bits(void **state) {
    fixture *f = *state;
    const ws_steer_ops *list[32];
    int n = n_hidden(list, 32);
    int64_t d = ws_model_dims(f->m)->hidden;
    ws_state_set s;
    texts t;
    random_states(f, &s, 12, 11);
    some_texts(f, &t);
    float *base = forward(f, &t, 0, 4, NULL, NULL);
    for (int m = 0; m < n; m++) {
        ws_vector *v = vector_of_method(f, list[m]->name, &s, NULL);
        float c = strength_of(v), alpha[4] = {c, 0, -c, 0.5f * c};
        ws_threads_set(1);
        float *one = forward(f, &t, 0, 4, ws_vector_patch(v), alpha);
        ws_threads_set(3);
        float *three = forward(f, &t, 0, 4, ws_vector_patch(v), alpha);
        int64_t at = 0, total = 0;
        for (int r = 0; r < 4; r++) total += t.n[r];
        if (memcmp(one, three, (size_t)(total * d) * sizeof *one)) fail_msg("%s: threads change bits", list[m]->name);
        for (int r = 0; r < 4; r++) {
            size_t size = (size_t)(t.n[r] * d) * sizeof *one;
            float *alone = forward(f, &t, r, r + 1, ws_vector_patch(v), &alpha[r]),
                  *steps = decode(f, &t, r, ws_vector_patch(v), alpha[r]);
            if (memcmp(alone, one + at * d, size)) fail_msg("%s: row %d alone has other bits", list[m]->name, r);
            if (memcmp(steps, one + at * d, size)) fail_msg("%s: row %d decoded has other bits", list[m]->name, r);
            int same = !memcmp(base + at * d, one + at * d, size);
            if (same != (alpha[r] == 0))
                fail_msg("%s: row %d at %g is%s the base", list[m]->name, r, alpha[r], same ? "" : " not");
            free(alone), free(steps);
            at += t.n[r];
        }
        free(one), free(three);
        ws_vector_free(v);
    }
    ws_threads_set(0);
    free(base);
    ws_states_free(&s);
}

/* Prompts that begin alike are read together; each pair by itself gives the same states, on layers of attention and of the delta
 * rule, and at chunks that a long prompt spans. */
static void shared_beginnings_change_no_bit(void **state) {
    (void)state;
    static const char *const model[] = {"tests/fixtures/tiny-chat", "tests/fixtures/models/qwen35"};
    enum { N = 6, LONG = 600 };
    for (int k = 0; k < 2; k++) {
        ws_err err = {0};
        ws_checkpoint *c;
        ws_model *m;
        ws_state_set all, one;
        ws_ids ids[3][N] = {{{0}}};
        OK(ws_checkpoint_open(&c, model[k], &err));
        OK(ws_model_open(&m, c, &err));
        int sites[64], n = 0;
        for (int i = 0; i < ws_model_n_sites(m); i++) {
            const ws_site *at = ws_model_site(m, i);
            if (at->kind == WS_SITE_BLOCK || strstr(at->name, "down_proj") || strstr(at->name, "o_proj"))
                sites[n++] = i;
        }
        for (int side = 0; side < 3; side++)
            for (int i = 0; i < N; i++) {
                int persona = side < 2 ? i % 2 : 7, length = side == 0 && i == 0 ? LONG : 40 + 3 * i;
                for (int t = 0; t < length; t++)
                    ws_ids_add(&ids[side][i],
                               (int32_t)(ws_counter_u64(5, t < 30 ? "persona" : "rest",
                                                        (uint64_t)(t < 30 ? 10 * side + persona : 50 * side + i),
                                                        (uint64_t)t) %
                                         64));
            }
        OK(ws_states_collect(&all, m, sites, n, ids[0], ids[1], N, ids[2], N, &err));
        for (int i = 0; i < N; i++) {
            OK(ws_states_collect(&one, m, sites, n, &ids[0][i], &ids[1][i], 1, &ids[2][i], 1, &err));
            for (int j = 0; j < n; j++) {
                int64_t d = all.at[j].d;
                size_t size = (size_t)d * sizeof(float);
                if (memcmp(one.at[j].pos, all.at[j].pos + i * d, size) ||
                    memcmp(one.at[j].neg, all.at[j].neg + i * d, size) ||
                    memcmp(one.at[j].neutral, all.at[j].neutral + i * d, size))
                    fail_msg("%s: pair %d at %s has other states alone", model[k], i, ws_model_site(m, sites[j])->name);
            }
            ws_states_free(&one);
        }
        ws_states_free(&all);
        for (int side = 0; side < 3; side++)
            for (int i = 0; i < N; i++) ws_ids_free(&ids[side][i]);
        ws_model_free(m), ws_checkpoint_close(c);
    }
}

/* ---- two rows, one result ---- */

static int told(const json_t *list, const char *a, const char *b, int declared) {
    const json_t *t;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, t) {
        const char *x = json_string_value(json_object_get(t, "a")), *y = json_string_value(json_object_get(t, "b"));
        if ((!strcmp(x, a) && !strcmp(y, b)) || (!strcmp(x, b) && !strcmp(y, a)))
            return json_is_true(json_object_get(t, "declared")) == declared;
    }
    return 0;
}

static void no_two_rows_are_silently_the_same(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_state_set s;
    ws_extract_result r;
    random_states(f, &s, 12, 12);
    char *states = ws_path_join(f->tmp, "h.safetensors"), *out = ws_path_join(f->tmp, "v");
    OK(ws_states_save(&s, f->m, states, &err));
    ws_extract_options o = ws_extract_defaults();
    o.states = states, o.out = out, o.first = 1, o.last = 3;
    OK(ws_extract_run(f->m, NULL, NULL, NULL, &o, &r, &err));
    assert_int_equal(r.n, 16);
    assert_int_equal(json_array_size(r.told), 2);
    assert_true(told(r.told, "mean_diff", "mean_centred", 1) && told(r.told, "pca", "repeng", 1));
    ws_extract_result_free(&r);
    /* One cluster of the differences is their mean: the same as mean_diff, which nobody declared. */
    o.cfg.clusters = 1, o.methods = "topk_clusters,mean_diff";
    OK(ws_extract_run(f->m, NULL, NULL, NULL, &o, &r, &err));
    assert_int_equal(json_array_size(r.told), 1);
    assert_true(told(r.told, "mean_diff", "topk_clusters", 0));
    ws_extract_result_free(&r);
    free(states), free(out);
    ws_states_free(&s);
}

static void a_neutral_corpus_makes_mean_centred_another_vector(void **state) {
    fixture *f = *state;
    ws_state_set s, other;
    random_states(f, &s, 12, 13), random_states(f, &other, 12, 14);
    s.n_neutral = 12;
    for (int i = 0; i < s.n_sites; i++) s.at[i].neutral = copied(other.at[i].pos, 12 * s.at[i].d);
    ws_vector_cfg cfg = ws_vector_defaults();
    ws_vector *v = vector_of_method(f, "mean_centred", &s, &cfg);
    cfg.neutral = 1;
    ws_vector *w = vector_of_method(f, "mean_centred", &s, &cfg), *mean = vector_of_method(f, "mean_diff", &s, &cfg);
    assert_true(ws_cosine(v->site[0].t[0], mean->site[0].t[0], v->site[0].d) > 0.9999);
    assert_true(ws_cosine(w->site[0].t[0], mean->site[0].t[0], v->site[0].d) < 0.99);
    ws_vector_free(v), ws_vector_free(w), ws_vector_free(mean);
    ws_states_free(&s), ws_states_free(&other);
}

/* States without a difference, or with NaN, give a sentence and no vector. */
static void nothing_to_find_is_said(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_state_set s;
    ws_extraction x;
    ws_vector *v;
    ws_vector_cfg cfg = ws_vector_defaults();
    random_states(f, &s, 12, 15);
    const ws_states *h = &s.at[s.n_sites - 2];
    memcpy((float *)(uintptr_t)h->pos, h->neg, (size_t)(s.n * h->d) * sizeof(float));
    ws_extraction_open(&x, f->m, &s);
    REFUSED(WS_EFORMAT, "leave the same mean state",
            ws_extract_vector(&v, &x, ws_steer_named("mean_diff"), &cfg, &err));
    REFUSED(WS_EFORMAT, "no principal direction", ws_extract_vector(&v, &x, ws_steer_named("pca"), &cfg, &err));
    REFUSED(WS_EFORMAT, "leave the same mean state",
            ws_extract_vector(&v, &x, ws_steer_named("angular_steering"), &cfg, &err));
    cfg.clusters = 13;
    REFUSED(WS_EUSAGE, "13 clusters need at least as many pairs",
            ws_extract_vector(&v, &x, ws_steer_named("chars"), &cfg, &err));
    ((float *)(uintptr_t)h->pos)[5] = NAN;
    static const char *const name[] = {"mean_diff", "pca", "linear_act", "angular_steering"};
    for (int i = 0; i < 4; i++)
        REFUSED(WS_ENONFINITE, "NaN or inf", ws_extract_vector(&v, &x, ws_steer_named(name[i]), &cfg, &err));
    ws_extraction_close(&x);
    ws_states_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {T(turning_keeps_the_length),
                                       T(turning_arrives),
                                       T(spherical_stays_where_there_is_no_circle),
                                       T(ablation_sets_the_coordinate),
                                       T(linear_act_interpolates),
                                       T(constant_coordinates_are_moved_as_they_are),
                                       T(swapping_the_sides_turns_the_direction),
                                       T(chars_moves_clusters_onto_their_partners),
                                       T(rank_keeps_the_largest_modes_in_order),
                                       T(the_word_about_strength_zero_is_true),
                                       T(a_token_decides_its_own_bits),
                                       T(shared_beginnings_change_no_bit),
                                       T(no_two_rows_are_silently_the_same),
                                       T(a_neutral_corpus_makes_mean_centred_another_vector),
                                       T(nothing_to_find_is_said)};
    return cmocka_run_group_tests_name("steer/properties", tests, NULL, NULL);
}
