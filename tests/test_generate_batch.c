/* Generation: greedy ids are those of transformers, and a row's ids depend neither on the rows beside it, nor on the number
 * of threads, nor on whether beginnings are shared. */
#include "base/parallel.h"
#include "base/rng.h"
#include "generate/generate.h"
#include "tiny.h"

typedef struct got {
    ws_ids ids;
    int finish, calls;
} got;
typedef struct run {
    ws_gen_request *req;
    float *alpha;
    got *got;
    int n, tokens, fail_at;
} run;

static ws_status done(void *arg, int i, const ws_gen_result *r, ws_err *err) {
    run *x = arg;
    if (x->fail_at && i == x->fail_at) return ws_fail(err, WS_EIO, "stop here");
    ws_ids_addn(&x->got[i].ids, r->ids, r->n);
    x->got[i].finish = r->finish;
    x->got[i].calls++;
    return WS_OK;
}
static ws_status token(void *arg, int i, int32_t id, ws_err *err) {
    (void)i, (void)id, (void)err;
    ((run *)arg)->tokens++;
    return WS_OK;
}
static void clear(run *x) {
    for (int i = 0; i < x->n; i++) ws_ids_free(&x->got[i].ids);
    memset(x->got, 0, (size_t)x->n * sizeof *x->got);
    x->tokens = 0;
}

/* ---------- transformers ---------- */

static void greedy_as_transformers(ws_model *m, const json_t *f) {
    int32_t stops[16];
    int n_stops = 0;
    const json_t *v, *c;
    size_t i, k;
    json_array_foreach(json_object_get(f, "stops"), i, v) stops[n_stops++] = (int32_t)json_integer_value(v);
    json_array_foreach(json_object_get(f, "cases"), k, c) {
        ws_ids prompt = {0};
        ws_err err = {0};
        got g = {0};
        json_array_foreach(json_object_get(c, "prompt"), i, v) ws_ids_add(&prompt, (int32_t)json_integer_value(v));
        ws_gen_request r = {.prompt = prompt.id,
                            .n_prompt = prompt.n,
                            .max_new = (int)json_integer_value(json_object_get(f, "max_new")),
                            .min_new = (int)json_integer_value(json_object_get(c, "min_new"))};
        ws_gen_options o = {.sampling = {0, 0, 1, 0},
                            .stops = stops,
                            .n_stops = n_stops,
                            .vocab_limit = (int)json_integer_value(json_object_get(c, "limit"))};
        run x = {&r, NULL, &g, 1, 0, 0};
        OK(ws_generate(m, &r, 1, &o, done, NULL, &x, &err));
        const json_t *want = json_object_get(c, "ids");
        json_array_foreach(want, i, v) {
            if ((int)i >= g.ids.n || g.ids.id[i] != json_integer_value(v))
                fail_msg("case %zu: new token %zu is %d, transformers says %lld", k, i,
                         (int)i < g.ids.n ? g.ids.id[i] : -1, (long long)json_integer_value(v));
        }
        assert_int_equal(g.ids.n, json_array_size(want));
        const char *why = json_string_value(json_object_get(c, "finish"));
        assert_int_equal(g.finish, strcmp(why, "stop") ? WS_FINISH_LENGTH : WS_FINISH_STOP);
        ws_ids_free(&prompt);
        ws_ids_free(&g.ids);
    }
}

static void tiny_models_continue_as_transformers(void **state) {
    (void)state;
    json_t *f = NULL;
    ws_err err = {0};
    OK(ws_json_load(&f, "tests/fixtures/generation.json", &err));
    for (int i = 0; i < TINY_MODELS; i++) {
        tiny t;
        tiny_open(&t, tiny_names[i]);
        assert_true(json_array_size(json_object_get(json_object_get(f, tiny_names[i]), "cases")) >= 8);
        greedy_as_transformers(t.m, json_object_get(f, tiny_names[i]));
        tiny_close(&t);
    }
    json_decref(f);
}

static void real_model_continues_as_transformers(void **state) {
    (void)state;
    const char *path = getenv("WS_TEST_MODEL");
    if (!path) {
        printf("skip: real greedy ids need WS_TEST_MODEL (SmolLM2-135M-Instruct.Q4_1.gguf)\n");
        skip();
    }
    json_t *f = NULL;
    ws_err err = {0};
    ws_checkpoint *c = NULL;
    ws_model *m = NULL;
    OK(ws_json_load(&f, "tests/fixtures/generation.json", &err));
    OK(ws_checkpoint_open(&c, path, &err));
    OK(ws_model_open(&m, c, &err));
    greedy_as_transformers(m, json_object_get(f, "smollm2"));
    ws_model_free(m);
    ws_checkpoint_close(c);
    json_decref(f);
}

/* ---------- one row, many rows ---------- */

enum { N = 40 };
/* Prompts of all lengths, many with common beginnings, some the same, at three strengths of one patch. */
static void make_requests(run *x, int32_t *pool, int vocab) {
    x->n = N;
    for (int i = 0; i < 300; i++) pool[i] = (int32_t)(ws_counter_u64(5, "pool", (uint64_t)i, 0) % (uint64_t)vocab);
    for (int i = 0; i < N; i++) {
        int len = 1 + (int)(ws_counter_u64(5, "len", (uint64_t)i, 0) % 90);
        int from = i % 4 == 3 ? i : 100 * (i % 3);
        if (i % 5 == 4) len = 60, from = 0; /* the same prompt */
        x->alpha[i] = (float)(i % 3) - 1;
        x->req[i] = (ws_gen_request){.prompt = pool + from,
                                     .n_prompt = len,
                                     .max_new = i == 7 ? 0 : 1 + i,
                                     .min_new = i % 6 == 0 ? i / 2 : 0,
                                     .stream_row = (uint64_t)i,
                                     .alpha = &x->alpha[i]};
    }
}

static void rows_do_not_depend_on_the_batch(void **state) {
    (void)state;
    for (int k = 0; k < TINY_MODELS; k++) {
        tiny t;
        tiny_open(&t, tiny_names[k]);
        int32_t pool[400];
        ws_gen_request req[N];
        float alpha[N];
        got alone[N] = {0}, together[N] = {0};
        run x = {req, alpha, alone, N, 0, 0};
        make_requests(&x, pool, (int)ws_model_dims(t.m)->vocab);
        probe p;
        probe_from_fixture(&p, &t, 0);
        ws_patch *patch[1] = {&p.patch};
        const int32_t stops[] = {2, 9};
        ws_err err = {0};
        ws_gen_options o = {.sampling = {1.0, 0, 0.9, 0.02},
                            .seed = 4,
                            .stream = "test",
                            .n_patches = 1,
                            .patch = patch,
                            .stops = stops,
                            .n_stops = 2};
        ws_threads_set(1);
        for (int i = 0; i < N; i++) { /* every request by itself */
            run one = {&req[i], NULL, &alone[i], 1, 0, 0};
            OK(ws_generate(t.m, &req[i], 1, &o, done, token, &one, &err));
            assert_int_equal(one.tokens, alone[i].ids.n);
        }
        const struct {
            int rows, threads, separate;
        } how[] = {{1, 1, 0}, {3, 2, 0}, {N, 1, 1}, {N, 2, 0}, {17, 2, 1}, {0, 3, 0}};
        for (size_t h = 0; h < sizeof how / sizeof *how; h++) {
            run y = {req, alpha, together, N, 0, 0};
            ws_threads_set(how[h].threads);
            o.max_rows = how[h].rows, o.separate_prompts = how[h].separate;
            OK(ws_generate(t.m, req, N, &o, done, token, &y, &err));
            for (int i = 0; i < N; i++) {
                assert_int_equal(together[i].calls, 1);
                assert_int_equal(together[i].finish, alone[i].finish);
                if (together[i].ids.n != alone[i].ids.n ||
                    (alone[i].ids.n &&
                     memcmp(together[i].ids.id, alone[i].ids.id, sizeof(int32_t) * (size_t)alone[i].ids.n)))
                    fail_msg("%s, setting %zu: row %d is not the one that it is alone", tiny_names[k], h, i);
            }
            clear(&y);
        }
        ws_threads_set(0);
        clear(&x);
        probe_close(&p);
        tiny_close(&t);
    }
}

static void a_prompt_longer_than_a_step_is_read_in_parts(void **state) {
    (void)state;
    tiny t;
    tiny_open(&t, "llama"); /* 512 positions: many rows make a step overflow */
    enum { ROWS = 12, LEN = 400 };
    int32_t pool[ROWS + LEN];
    ws_gen_request req[ROWS];
    got one[ROWS] = {0}, all[ROWS] = {0};
    for (int i = 0; i < ROWS + LEN; i++) pool[i] = (int32_t)(ws_counter_u64(6, "pool", (uint64_t)i, 0) % 128);
    for (int i = 0; i < ROWS; i++)
        req[i] = (ws_gen_request){.prompt = pool + i, .n_prompt = LEN - i, .max_new = 8, .stream_row = (uint64_t)i};
    ws_gen_options o = {.sampling = {0.8, 20, 0.9, 0}, .seed = 1, .stream = "long"};
    ws_err err = {0};
    run x = {req, NULL, all, ROWS, 0, 0};
    OK(ws_generate(t.m, req, ROWS, &o, done, token, &x, &err));
    assert_int_equal(x.tokens, 8 * ROWS);
    for (int i = 0; i < ROWS; i++) {
        run y = {&req[i], NULL, &one[i], 1, 0, 0};
        OK(ws_generate(t.m, &req[i], 1, &o, done, NULL, &y, &err));
        assert_memory_equal(one[i].ids.id, all[i].ids.id, 8 * sizeof(int32_t));
        ws_ids_free(&one[i].ids);
    }
    clear(&x);
    tiny_close(&t);
}

/* ---------- refusals ---------- */

static void refuses(ws_model *m, ws_gen_request r, ws_sampling s, const char *says) {
    ws_gen_options o = {.sampling = s};
    ws_err err = {0};
    assert_int_equal(ws_generate(m, &r, 1, &o, NULL, NULL, NULL, &err), WS_EUSAGE);
    if (!strstr(err.msg, says)) fail_msg("'%s' does not say '%s'", err.msg, says);
}

static void bad_requests_are_named(void **state) {
    (void)state;
    tiny t;
    tiny_open(&t, "llama");
    const int32_t ids[] = {5, 6}, bad[] = {5, 128};
    ws_sampling g = {0, 0, 1, 0};
    refuses(t.m, (ws_gen_request){.prompt = ids, .n_prompt = 0, .max_new = 1}, g, "prompt 0 is empty");
    refuses(t.m, (ws_gen_request){.prompt = ids, .n_prompt = 2, .max_new = 3, .min_new = 4}, g, "no range");
    refuses(t.m, (ws_gen_request){.prompt = ids, .n_prompt = 2, .max_new = 511}, g, "512 positions");
    refuses(t.m, (ws_gen_request){.prompt = bad, .n_prompt = 2, .max_new = 3}, g, "token id 128");
    refuses(t.m, (ws_gen_request){.prompt = ids, .n_prompt = 2, .max_new = 3}, (ws_sampling){1, 0, 0, 0}, "top_p");
    tiny_close(&t);
}

static void an_error_of_the_caller_stops_everything(void **state) {
    (void)state;
    tiny t;
    tiny_open(&t, "qwen2");
    const int32_t ids[] = {5, 6, 7};
    ws_gen_request req[6];
    got g[6] = {0};
    for (int i = 0; i < 6; i++)
        req[i] = (ws_gen_request){.prompt = ids, .n_prompt = 3, .max_new = 4, .stream_row = (uint64_t)i};
    ws_gen_options o = {.sampling = {1, 0, 1, 0}, .max_rows = 2};
    ws_err err = {0};
    run x = {req, NULL, g, 6, 0, 3};
    assert_int_equal(ws_generate(t.m, req, 6, &o, done, NULL, &x, &err), WS_EIO);
    assert_string_equal(err.msg, "stop here");
    assert_int_equal(g[0].calls + g[1].calls, 2);
    assert_int_equal(g[5].calls, 0);
    clear(&x);
    tiny_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_models_continue_as_transformers),
        cmocka_unit_test(real_model_continues_as_transformers),
        cmocka_unit_test(rows_do_not_depend_on_the_batch),
        cmocka_unit_test(a_prompt_longer_than_a_step_is_read_in_parts),
        cmocka_unit_test(bad_requests_are_named),
        cmocka_unit_test(an_error_of_the_caller_stops_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
