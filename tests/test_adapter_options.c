/* tests/test_adapter_options.c - which options an adapter reads: others are refused, and make no other training run.
 * All comparisons are exact. */
#include "peft_help.h"
#include "train/run.h"

static void an_option_that_means_nothing_is_refused(void **state) {
    (void)state;
    ws_err err = {0};
    OK(ws_adapter_check_options("lora", WS_READS_RANK | WS_READS_ALPHA | WS_READS_LAYERS, &err));
    OK(ws_adapter_check_options("pissa", WS_READS_RANK | WS_READS_ALPHA, &err));
    OK(ws_adapter_check_options("delora", WS_READS_RANK | WS_READS_LAMBDA | WS_READS_LAYERS, &err));
    OK(ws_adapter_check_options("oft", WS_READS_BLOCK, &err));
    OK(ws_adapter_check_options("ia3", 0, &err));
    REFUSED(WS_EUSAGE, "--block-size means nothing to lora; it is for boft, oft",
            ws_adapter_check_options("lora", WS_READS_RANK | WS_READS_BLOCK, &err));
    REFUSED(WS_EUSAGE, "--delora-lambda means nothing to dora; it is for delora",
            ws_adapter_check_options("dora", WS_READS_LAMBDA, &err));
    REFUSED(WS_EUSAGE, "--lora-alpha means nothing to delora; it is for dora, lora, pissa",
            ws_adapter_check_options("delora", WS_READS_ALPHA, &err));
    REFUSED(WS_EUSAGE, "--rank means nothing to ia3", ws_adapter_check_options("ia3", WS_READS_RANK, &err));
    REFUSED(WS_EUSAGE, "--layers means nothing to ia3", ws_adapter_check_options("ia3", WS_READS_LAYERS, &err));
    REFUSED(WS_EUSAGE, "no adapter is called 'lore'; there are: boft,", ws_adapter_check_options("lore", 0, &err));
}

/* The keys of train.json that belong to the adapter, as text. */
static char *shape_keys(const fixture *f, const char *kind, double other) {
    static const char *const key[] = {"adapter",       "rank",   "lora_alpha", "block_size",
                                      "delora_lambda", "layers", "targets"};
    ws_train_options o;
    ws_examples e = {.side = WS_POS, .pairs_path = "p", .max_len = 8};
    ws_train_defaults(&o);
    o.adapter.kind = kind;
    if (!strcmp(kind, "lora")) o.adapter.lambda = other, o.adapter.block = (int)other; /* which it does not read */
    json_t *all = ws_train_config(f->m, &e, &o, NULL), *some = json_object();
    ws_str text = {0};
    for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it))
        for (size_t i = 0; i < sizeof key / sizeof *key; i++)
            if (!strcmp(json_object_iter_key(it), key[i])) json_object_set(some, key[i], json_object_iter_value(it));
    ws_json_dump(some, &text, 1);
    json_decref(all), json_decref(some);
    return ws_str_take(&text);
}

/* lora's stand as they always did, so runs from before there were other adapters are up to date. */
static void a_run_is_told_by_what_its_adapter_reads(void **state) {
    const fixture *f = *state;
    static const char *const want[][2] = {
        {"lora", "{\"adapter\": \"lora\", \"rank\": 32, \"lora_alpha\": 64.0, \"layers\": \"1:3\", \"targets\": null}"},
        {"dora", "{\"adapter\": \"dora\", \"rank\": 32, \"lora_alpha\": 64.0, \"layers\": \"1:3\", \"targets\": null}"},
        {"delora",
         "{\"adapter\": \"delora\", \"rank\": 32, \"delora_lambda\": 15.0, \"layers\": \"1:3\", \"targets\": null}"},
        {"boft", "{\"adapter\": \"boft\", \"block_size\": 8, \"layers\": \"1:3\", \"targets\": null}"},
        {"ia3", "{\"adapter\": \"ia3\", \"targets\": null}"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        for (int other = 0; other < 20; other += 16) {
            char *got = shape_keys(f, want[i][0], other);
            assert_string_equal(got, want[i][1]);
            free(got);
        }
}

static void an_adapter_tells_its_size_in_words(void **state) {
    (void)state;
    static const char *const want[][2] = {{"lora", "lora of rank 32"},
                                          {"delora", "delora of rank 32 and lambda 15"},
                                          {"oft", "oft in blocks of 8"},
                                          {"ia3", "ia3"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        ws_train_options o;
        ws_str s = {0};
        ws_train_defaults(&o);
        o.adapter.kind = want[i][0];
        ws_adapter_config_text(&o.adapter, &s);
        assert_string_equal(s.p, want[i][1]);
        ws_str_free(&s);
    }
}

/* Sites and sizes without what the base weights decide. */
static void an_outline_counts_the_same(void **state) {
    const fixture *f = *state;
    static const char *const kind[] = {"lora", "dora", "pissa", "delora", "oft", "boft", "ia3"};
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++) {
        ws_err err = {0};
        ws_adapter *a, *b;
        ws_adapter_config cfg = {.kind = kind[i], .rank = 4, .alpha = 8, .layer_begin = -1, .layer_end = -1};
        OK(ws_adapter_outline(&a, f->m, &cfg, &err));
        OK(ws_adapter_new(&b, f->m, &cfg, &err));
        assert_int_equal(ws_adapter_size(a), ws_adapter_size(b));
        assert_int_equal(ws_adapter_n_sites(a), ws_adapter_n_sites(b));
        ws_adapter_free(a), ws_adapter_free(b);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {T(an_option_that_means_nothing_is_refused),
                                       T(a_run_is_told_by_what_its_adapter_reads),
                                       T(an_adapter_tells_its_size_in_words), T(an_outline_counts_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
