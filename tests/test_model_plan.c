/* What the plan says before and what a pass takes: the plan may be above (it takes every position for supervised and every
 * patch's scratch for as large as what it keeps), by no more than a quarter, and never below. */
#include "adapter/adapter.h"
#include "model/parts.h"
#include "tiny.h"

enum { KEPT, IN_PARTS, RECOMPUTED, WAYS };
static const char *const how_names[] = {"kept", "in parts", "recomputed"};

static ws_model *opened(const char *path, ws_checkpoint **c) {
    ws_err err = {0};
    ws_model *m;
    OK(ws_kernels_init(&err));
    OK(ws_checkpoint_open(c, path, &err));
    OK(ws_model_open(&m, *c, &err));
    return m;
}

/* One pass of a fresh model, whose arenas therefore tell this pass's peak. */
static void compare(const char *path, const char *targets, int begin, int end, int how, int longest) {
    enum { ROWS = 3 };
    ws_err err = {0};
    ws_checkpoint *c;
    ws_model *m = opened(path, &c);
    const ws_adapter_config cfg = {
        .kind = "lora", .rank = 8, .alpha = 16, .layer_begin = begin, .layer_end = end, .targets = targets};
    ws_adapter *a;
    OK(ws_adapter_new(&a, m, &cfg, &err));
    ws_adapter_init(a, 1);
    int32_t ids[512];
    ws_train_row rows[ROWS];
    int64_t tokens = 0;
    for (int i = 0; i < 512; i++) ids[i] = i * 7 % 60;
    for (int r = 0; r < ROWS; r++) {
        rows[r] = (ws_train_row){ids + r, longest >> r, 1, 0.01f};
        tokens += rows[r].n;
    }
    ws_patch *patch = ws_adapter_patch(a);
    ws_train_out out;
    ws_train_plan plan = ws_train_plan_for(m, tokens, longest, &patch, 1, 0, INT64_MAX);
    if (how) { /* room for just less than all of it, or for nothing */
        int64_t budget = how == IN_PARTS ? plan.activations + plan.scratch - 1 : 1;
        plan = ws_train_plan_for(m, tokens, longest, &patch, 1, 0, budget);
    }
    if (plan.recompute != (how == RECOMPUTED)) { /* nothing would be saved */
        assert_int_equal(how, RECOMPUTED);
    } else {
        int64_t part, largest = 0;
        for (int r = 0; r < ROWS;) {
            r += ws_train_part(rows + r, ROWS - r, plan.part, &part);
            largest = part > largest ? part : largest;
        }
        ws_model_set_part(m, plan.part);
        if (how == IN_PARTS) plan = ws_train_plan_for(m, largest, largest, &patch, 1, 0, INT64_MAX);
        OK(ws_train_pass(m, rows, ROWS, &patch, 1, 0, &out, NULL, &err));
        double kept = (double)ws_arena_peak(m->tape), work = (double)ws_arena_peak(m->scratch),
               own = (double)ws_arena_peak(m->patch_scratch);
        double said = (double)(plan.activations + plan.scratch), took = kept + work + own;
        printf("  layers %d:%d %s %s: planned %.0f + %.0f, took %.0f + %.0f + %.0f KiB (%.2f)\n", begin, end,
               targets ? targets : "default", how_names[how], (double)plan.activations / 1024,
               (double)plan.scratch / 1024, kept / 1024, work / 1024, own / 1024, said / took);
        assert_true(said >= took * 0.99);
        assert_true(said <= took * 1.25);
    }
    ws_adapter_free(a);
    ws_model_free(m);
    ws_checkpoint_close(c);
}

static void test_tiny(void **state) {
    (void)state;
    for (int i = 0; i < TINY_MODELS; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/fixtures/models/%s", tiny_names[i]);
        ws_checkpoint *c;
        ws_model *m = opened(path, &c);
        int layers = ws_model_dims(m)->layers;
        ws_model_free(m);
        ws_checkpoint_close(c);
        printf("%s\n", tiny_names[i]);
        for (int how = 0; how < WAYS; how++) {
            compare(path, NULL, 0, layers, how, 300);
            compare(path, "down_proj", layers - 1, layers, how, 300);
            if (layers > 2) compare(path, "all-linear", 1, layers - 1, how, 300);
        }
    }
}

static void test_smollm2(void **state) {
    (void)state;
    const char *path = getenv("WS_TEST_MODEL");
    if (!path) {
        printf("skip: WS_TEST_MODEL is not set\n");
        skip();
    }
    for (int how = 0; how < WAYS; how++) compare(path, NULL, -1, -1, how, 256);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny), cmocka_unit_test(test_smollm2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
