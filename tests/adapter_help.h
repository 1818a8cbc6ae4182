/* tests/adapter_help.h - the fixtures of tests/fixtures/adapters (tools/reference/make_adapters.py): all seven adapters as PEFT
 * computes them, on one linear, on a tiny llama and on a tiny Qwen3.5.  A kind that the build lacks fails every test. */
#ifndef TESTS_ADAPTER_HELP_H
#define TESTS_ADAPTER_HELP_H
#include "peft_help.h"

#define ADAPTERS "tests/fixtures/adapters/"
static const char *const all_kinds[] = {"lora", "dora", "pissa", "delora", "oft", "boft", "ia3"};
enum { ALL_KINDS = sizeof all_kinds / sizeof *all_kinds };

static inline void part_open(fixture *f, const char *part, const char *model) {
    char path[128];
    snprintf(path, sizeof path, ADAPTERS "%s/oracle", part);
    fixture_open_at(f, model, path);
}

/* A linear model whose biases are left out, or whose matrices are rounded to BF16, written to DIR of the fixture's folder. */
typedef struct base_copy {
    ws_checkpoint *c;
    ws_model *m;
} base_copy;
static inline base_copy copy_base(const fixture *f, const char *name, int without_bias, int bf16) {
    ws_err err = {0};
    base_copy b;
    size_t count = ws_checkpoint_count(f->c), n = 0;
    ws_tensor *t = calloc(count, sizeof *t);
    char dir[128], path[192], cmd[512];
    for (size_t i = 0; i < count; i++) {
        const ws_tensor *x = ws_checkpoint_at(f->c, i);
        if (without_bias && strstr(x->name, ".bias")) continue;
        int64_t numbers = ws_tensor_numel(x);
        float *v = ws_tensor_f32(x);
        t[n] = *x, t[n].data = v, t[n].type = WS_F32, t[n].bytes = (size_t)numbers * sizeof *v;
        if (bf16) {
            uint16_t *h = malloc((size_t)numbers * sizeof *h);
            for (int64_t k = 0; k < numbers; k++) h[k] = ws_f32_bf16(v[k]);
            t[n].data = h, t[n].type = WS_BF16, t[n].bytes /= 2;
            free(v);
        }
        n++;
    }
    snprintf(dir, sizeof dir, "%s/%s", f->tmp, name);
    OK(ws_mkdirs(dir, &err));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(ws_safetensors_write(path, t, n, NULL, &err));
    snprintf(cmd, sizeof cmd,
             "sed 's/\"attention_bias\": true/\"attention_bias\": %s/' %s/config.json > %s/config.json",
             without_bias ? "false" : "true", f->model_dir, dir);
    assert_int_equal(system(cmd), 0);
    OK(ws_checkpoint_open(&b.c, dir, &err));
    OK(ws_model_open(&b.m, b.c, &err));
    for (size_t i = 0; i < n; i++) free((void *)(uintptr_t)t[i].data);
    free(t);
    return b;
}
static inline void copy_close(base_copy *b) {
    ws_model_free(b->m);
    ws_checkpoint_close(b->c);
}

static inline ws_adapter *load_from(ws_model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline ws_adapter *load_from(ws_model *m, const char *fmt, ...) {
    ws_err err = {0};
    ws_adapter *a;
    char dir[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(dir, sizeof dir, fmt, ap);
    va_end(ap);
    if (ws_adapter_load(&a, m, dir, &err)) fail_msg("%s: %s", dir, err.msg);
    return a;
}

/* |got - want| / largest |want|; where all of want is 0, got must be too. */
static inline double relative_error(const float *got, const float *want, int64_t n) {
    double size = 0, worst = worst_error(got, want, n, &size);
    return worst == 0 ? 0 : size > 0 ? worst / size : INFINITY;
}
static inline void keep_worst(double *worst, double e) { *worst = e > *worst || isnan(e) ? e : *worst; }

/* The tensors of two adapters, bit for bit. */
static inline void same_values(const ws_adapter *a, const ws_adapter *b, const char *what) {
    assert_int_equal(ws_adapter_n_params(a), ws_adapter_n_params(b));
    for (int i = 0; i < ws_adapter_n_params(a); i++) {
        const ws_param *p = ws_adapter_param(a, i), *q = ws_adapter_param(b, i);
        if (p->rows != q->rows || p->cols != q->cols ||
            memcmp(p->value, q->value, (size_t)(p->rows * p->cols) * sizeof(float)))
            fail_msg("%s: %s of site %d differs", what, p->suffix, p->site);
    }
}
#endif
