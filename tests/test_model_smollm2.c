/* SmolLM2-135M-Instruct from its Q4_1 GGUF against transformers in fp32 on the de-quantised weights: the log-probabilities of the
 * five most likely tokens of every position within 2e-3 (thirty layers of fp32 in another order of summation: transformers in
 * fp32 and in double differ by about 4e-5 here, so this catches any real difference). */
#include "tiny.h"

static void test_log_probabilities(void **state) {
    (void)state;
    const char *path = getenv("WS_TEST_MODEL");
    if (!path) {
        printf("skip: WS_TEST_MODEL is not set to SmolLM2-135M-Instruct.Q4_1.gguf\n");
        skip();
    }
    ws_err err = {0};
    ws_checkpoint *c;
    ws_model *m;
    json_t *want, *row;
    size_t r;
    double worst = 0;
    OK(ws_kernels_init(&err));
    OK(ws_checkpoint_open(&c, path, &err));
    OK(ws_model_open(&m, c, &err));
    assert_int_equal(ws_model_params(m), 134515008);
    assert_string_equal(ws_model_family(m), "llama");
    OK(ws_json_load(&want, "tests/fixtures/smollm2_logprobs.json", &err));
    json_array_foreach(json_object_get(want, "rows"), r, row) {
        const json_t *list = json_object_get(row, "ids"), *top = json_object_get(row, "top");
        int n = (int)json_array_size(list);
        int32_t ids[512], target[512];
        for (int i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
        float *h = tiny_forward(m, NULL, &(ws_row){-1, ids, n, n}, 1, 0, NULL, NULL), lp[512];
        for (size_t k = 0; k < 5; k++) {
            for (int i = 0; i < n; i++)
                target[i] =
                    (int32_t)json_integer_value(json_array_get(json_array_get(json_array_get(top, (size_t)i), k), 0));
            OK(ws_logprob(m, h, n, target, lp, &err));
            for (int i = 0; i < n; i++) {
                double e = fabs((double)lp[i] -
                                json_real_value(json_array_get(json_array_get(json_array_get(top, (size_t)i), k), 1)));
                worst = e > worst || isnan(e) ? e : worst;
            }
        }
        free(h);
    }
    printf("  largest error of a log-probability %.2e\n", worst);
    assert_true(worst < 2e-3);
    json_decref(want);
    ws_model_free(m);
    ws_checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_log_probabilities)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
