/* LoRA GGUFs: what llama.cpp's own converter made of PEFT adapters (tools/reference/make_gguf_lora.py) is read as PEFT's
 * directory is, and damaged or hostile files are refused with a sentence; our GGUF writer writes the gguf package's bytes.
 * Tolerance: none.  The converter only moves rows and columns, and alpha / r is 1.5 in both, so the edits have the same bits. */
#include "io_help.h"
#include "delta/gguf_lora.h"
#include "io/gguf_write.h"
#include "kernel/kernel.h"
#include <math.h>

static const struct {
    const char *base, *dir, *gguf;
} cases[] = {{"tests/fixtures/peft/model", "tests/fixtures/peft/pos", "llama"},
             {"tests/fixtures/models/qwen3", "tests/fixtures/gguf_lora/qwen3", "qwen3"},
             {"tests/fixtures/models/qwen35", "tests/fixtures/gguf_lora/qwen35", "qwen35"},
             {"tests/fixtures/models/qwen35.gguf", "tests/fixtures/gguf_lora/qwen35", "qwen35"},
             {"tests/fixtures/models/qwen35_3x", "tests/fixtures/gguf_lora/qwen35_3x", "qwen35_3x"}};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct base {
    ws_checkpoint *c;
    ws_model *m;
} base;
static void base_open(base *b, const char *path) {
    ws_err err = {0};
    OK(ws_checkpoint_open(&b->c, path, &err));
    OK(ws_model_open(&b->m, b->c, &err));
}
static void base_close(base *b) {
    ws_model_free(b->m);
    ws_checkpoint_close(b->c);
}
static const char *gguf_of(int i) {
    static char path[128];
    snprintf(path, sizeof path, "tests/fixtures/gguf_lora/%s.gguf", cases[i].gguf);
    return path;
}

static void what_llama_cpp_converted_is_what_peft_saved(void **unused) {
    (void)unused;
    for (int i = 0; i < CASES; i++) {
        ws_err err = {0};
        base b;
        ws_adapter *a;
        ws_delta *want, *got;
        base_open(&b, cases[i].base);
        OK(ws_adapter_load(&a, b.m, cases[i].dir, &err));
        OK(ws_delta_from_adapter(&want, b.m, a, &err));
        OK(ws_delta_load_gguf(&got, b.m, gguf_of(i), &err));
        assert_int_equal(ws_delta_n_sites(got), ws_delta_n_sites(want));
        for (int s = 0; s < ws_delta_n_sites(got); s++) {
            const ws_edit *x = ws_delta_edit(got, s), *y = ws_delta_edit(want, s);
            const char *name = ws_model_site(b.m, ws_delta_site(want, s))->name;
            assert_int_equal(ws_delta_site(got, s), ws_delta_site(want, s));
            assert_int_equal(x->k, y->k);
            if (memcmp(x->v, y->v, (size_t)(x->k * x->d_in) * sizeof(float))) fail_msg("%s: V", name);
            if (memcmp(x->u, y->u, (size_t)(x->k * x->d_out) * sizeof(float))) fail_msg("%s: U", name);
        }
        printf("%s: %d modules\n", cases[i].base, ws_delta_n_sites(got));
        ws_delta_free(want), ws_delta_free(got);
        ws_adapter_free(a);
        base_close(&b);
    }
}

/* A GGUF base says by itself how its rows and columns stand; the table that directories use must say the same. */
static void the_table_of_orders_is_what_gguf_models_have(void **unused) {
    (void)unused;
    static const char *const models[] = {"tests/fixtures/models/qwen35.gguf",
                                         "tests/fixtures/models/qwen35_1x.gguf",
                                         "tests/fixtures/models/qwen35_3x.gguf",
                                         FIXTURES "llama.gguf",
                                         FIXTURES "qwen2.gguf",
                                         FIXTURES "qwen3.gguf"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        ws_err err = {0};
        base b;
        if (ws_checkpoint_open(&b.c, models[i], &err)) fail_msg("%s", err.msg);
        if (ws_model_open(&b.m, b.c, &err)) fail_msg("%s", err.msg);
        for (int s = 0; s < ws_model_n_sites(b.m); s++) {
            const ws_site *at = ws_model_site(b.m, s);
            ws_order rows, cols;
            char *name;
            if (at->kind != WS_SITE_LINEAR) continue;
            OK(ws_gguf_site(b.m, s, &name, &rows, &cols, &err));
            assert_non_null(ws_gguf_find(ws_checkpoint_gguf(b.c), name));
            assert_memory_equal(&rows, &at->w->row_order, sizeof rows);
            assert_memory_equal(&cols, &at->w->col_order, sizeof cols);
            free(name);
        }
        base_close(&b);
    }
}

static void the_writer_writes_the_gguf_packages_bytes(void **unused) {
    (void)unused;
    ws_err err = {0};
    ws_str want = {0}, got = {0};
    float f[15];
    uint16_t h[7], bf[8] = {0x3F80, 0, 0x4000, 0xC000, 0x7F7F, 1, 0x8000, 0x3F00};
    for (int i = 0; i < 15; i++) f[i] = (float)i / 4 - 1;
    for (int i = 0; i < 7; i++) h[i] = ws_f32_f16((float)i / 2);
    const ws_gguf_pair meta[] = {{"general.architecture", WS_GGUF_TEXT, "llama", 0},
                                 {"general.type", WS_GGUF_TEXT, "adapter", 0},
                                 {"adapter.lora.alpha", WS_GGUF_F32, NULL, 1.5},
                                 {"some.number", WS_GGUF_U32, NULL, 4e9}};
    const ws_tensor t[] = {{.name = "three.by.five", .type = WS_F32, .dims = 2, .dim = {3, 5}, .data = f},
                           {.name = "seven", .type = WS_F16, .dims = 1, .dim = {7}, .data = h},
                           {.name = "two.by.four", .type = WS_BF16, .dims = 2, .dim = {2, 4}, .data = bf}};
    const char *path = in_scratch("w.gguf");
    OK(ws_gguf_write(path, meta, 4, t, 3, &err));
    OK(ws_file_read("tests/fixtures/gguf_lora/writer.gguf", &want, &err));
    OK(ws_file_read(path, &got, &err));
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    ws_str_free(&want), ws_str_free(&got);
    char name[80];
    memset(name, 'x', 64), name[64] = 0;
    const ws_tensor long_name = {.name = name, .type = WS_F32, .dims = 1, .dim = {1}, .data = f};
    REFUSED(ws_gguf_write(path, meta, 4, &long_name, 1, &err), WS_EUNSUPPORTED, "63");
}

/* ---------- hostile files ---------- */

static float numbers[2048];

typedef struct lora {
    const char *type, *arch, *kind;
    double alpha;
    const char *name_a, *name_b;
    int64_t a[2], b[2];
} lora;
static const lora good = {"adapter", "llama", "lora", 8, "blk.1.attn_q.weight.lora_a", "blk.1.attn_q.weight.lora_b",
                          {4, 32},   {32, 4}};

static ws_status load(const base *b, const lora *l, ws_err *err) {
    const ws_gguf_pair meta[] = {{"general.type", WS_GGUF_TEXT, l->type, 0},
                                 {"general.architecture", WS_GGUF_TEXT, l->arch, 0},
                                 {"adapter.type", WS_GGUF_TEXT, l->kind, 0},
                                 {"adapter.lora.alpha", WS_GGUF_F32, NULL, l->alpha}};
    const ws_tensor t[] = {
        {.name = (char *)(uintptr_t)l->name_a, .type = WS_F32, .dims = 2, .dim = {l->a[0], l->a[1]}, .data = numbers},
        {.name = (char *)(uintptr_t)l->name_b, .type = WS_F32, .dims = 2, .dim = {l->b[0], l->b[1]}, .data = numbers}};
    const char *path = in_scratch("l.gguf");
    ws_delta *d = NULL;
    if (ws_gguf_write(path, meta, 4, t, l->name_b ? 2 : 1, err)) return err->code;
    ws_status st = ws_delta_load_gguf(&d, b->m, path, err);
    assert_int_equal(st == WS_OK, d != NULL);
    ws_delta_free(d);
    return st;
}
#define WITH(field, ...) (l = good, l.field = __VA_ARGS__, &l)

static void files_that_do_not_fit_are_refused(void **unused) {
    (void)unused;
    ws_err err = {0};
    base b;
    lora l;
    base_open(&b, "tests/fixtures/peft/model");
    for (int i = 0; i < 2048; i++) numbers[i] = (float)i / 1000;
    l = good;
    OK(load(&b, &l, &err));
    OK(load(&b, WITH(alpha, 0), &err)); /* scale 1, as in llama.cpp */
    REFUSED(load(&b, WITH(type, "model"), &err), WS_EFORMAT, "general.type is \"model\"");
    REFUSED(load(&b, WITH(arch, "qwen3"), &err), WS_ESHAPE, "this model's is llama");
    REFUSED(load(&b, WITH(kind, "control_vector"), &err), WS_EFORMAT, "adapter.type");
    REFUSED(load(&b, WITH(alpha, NAN), &err), WS_EFORMAT, "adapter.lora.alpha is no finite number");
    REFUSED(load(&b, WITH(name_b, NULL), &err), WS_EFORMAT, "without its partner");
    REFUSED(load(&b, WITH(name_b, "blk.1.attn_q.weight.scale"), &err), WS_EFORMAT, "ends in neither");
    REFUSED(load(&b, WITH(name_a, "blk.9.attn_q.weight.lora_a"), &err), WS_EUNSUPPORTED, "no linear layer");
    REFUSED(load(&b, WITH(name_a, "token_embd.weight.lora_a"), &err), WS_EUNSUPPORTED, "no linear layer");
    REFUSED(load(&b, WITH(name_a, "output.weight.lora_a"), &err), WS_EUNSUPPORTED, "no linear layer");
    REFUSED(load(&b, WITH(name_a, "nonsense.lora_a"), &err), WS_EUNSUPPORTED, "no linear layer");
    REFUSED(load(&b, WITH(a[1], 16), &err), WS_ESHAPE, "[4, 32] is needed");
    REFUSED(load(&b, WITH(a[0], 0), &err), WS_ESHAPE, "at least one row");
    REFUSED(load(&b, WITH(b[0], 16), &err), WS_ESHAPE, "[32, 4] is needed");
    REFUSED(load(&b, WITH(b[1], 2), &err), WS_ESHAPE, "[32, 4] is needed");
    numbers[40] = INFINITY;
    l = good;
    REFUSED(load(&b, &l, &err), WS_ENONFINITE, "element 40");
    numbers[40] = 3e38f;
    REFUSED(load(&b, WITH(alpha, 3e38), &err), WS_ENONFINITE, "no finite number");
    base_close(&b);
}

static uint64_t state = 88172645463325252ull; /* xorshift64: the same damage every time */
static uint32_t draw(uint32_t n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 33) % n;
}

/* Prefixes and changed bytes in buffers of their exact size: ASan sees a read outside. */
static void damaged_files_are_refused_or_read(void **unused) {
    (void)unused;
    for (int i = 0; i < CASES; i += 2) {
        ws_err err = {0};
        base b;
        ws_str s = {0};
        int read = 0, refused = 0;
        base_open(&b, cases[i].base);
        OK(ws_file_read(gguf_of(i), &s, &err));
        for (int round = 0; round < 3000; round++) {
            size_t n = round % 10 ? s.n : draw((uint32_t)s.n) + 1;
            char *copy = malloc(n);
            ws_gguf *g;
            ws_delta *d;
            memcpy(copy, s.p, n);
            for (int k = (int)draw(3); k >= 0; k--) copy[draw(n < 3000 ? (uint32_t)n : 3000)] = (char)draw(256);
            if (ws_gguf_parse(&g, copy, n, "f", &err))
                refused++;
            else {
                if (ws_delta_from_gguf(&d, b.m, g, "f", &err))
                    refused++, assert_true(err.msg[0] != 0);
                else
                    read++, ws_delta_free(d);
                ws_gguf_close(g);
            }
            free(copy);
        }
        printf("%s: %d read, %d refused\n", cases[i].gguf, read, refused);
        assert_true(read > 0 && refused > 1000);
        ws_str_free(&s);
        base_close(&b);
    }
}

static int setup(void **s) {
    ws_err err;
    return ws_kernels_init(&err) ? -1 : scratch_make(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_llama_cpp_converted_is_what_peft_saved),
        cmocka_unit_test(the_table_of_orders_is_what_gguf_models_have),
        cmocka_unit_test(the_writer_writes_the_gguf_packages_bytes),
        cmocka_unit_test(files_that_do_not_fit_are_refused),
        cmocka_unit_test(damaged_files_are_refused_or_read),
    };
    return cmocka_run_group_tests(tests, setup, scratch_drop);
}
