/* tests/peft_help.h - the fixture of tests/fixtures/peft (tools/reference/make_peft.py): a tiny fp32 llama, adapters that
 * PEFT saved, and what PEFT and the Trainer computed from them. */
#ifndef TESTS_PEFT_HELP_H
#define TESTS_PEFT_HELP_H
#include "adapter/adapter.h"
#include "io/json.h"
#include "kernel/kernel.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define PEFT_DIR "tests/fixtures/peft/"
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)
#define REFUSED(status, part, call)                                                                                    \
    do {                                                                                                               \
        err.msg[0] = 0;                                                                                                \
        assert_int_equal(call, status);                                                                                \
        if (!strstr(err.msg, part)) fail_msg("message lacks '%s': %s", part, err.msg);                                 \
    } while (0)

typedef struct fixture {
    ws_checkpoint *c;
    ws_model *m;
    ws_safetensors *want;
    json_t *info;
    const char *model_dir;
    char tmp[64]; /* an empty folder, removed at the end */
} fixture;

/* `oracle`: path of the .safetensors and .json with the expected numbers, without the ending. */
static inline void fixture_open_at(fixture *f, const char *model, const char *oracle) {
    ws_err err = {0};
    memset(f, 0, sizeof *f);
    OK(ws_kernels_init(&err));
    f->model_dir = model;
    OK(ws_checkpoint_open(&f->c, model, &err));
    OK(ws_model_open(&f->m, f->c, &err));
    char path[256];
    snprintf(path, sizeof path, "%s.safetensors", oracle);
    if (ws_file_exists(path)) OK(ws_safetensors_open(&f->want, path, &err));
    snprintf(path, sizeof path, "%s.json", oracle);
    OK(ws_json_load(&f->info, path, &err));
    strcpy(f->tmp, "/tmp/ws_test_XXXXXX");
    assert_non_null(mkdtemp(f->tmp));
}
static inline void fixture_open(fixture *f) { fixture_open_at(f, PEFT_DIR "model", PEFT_DIR "oracle"); }
static inline void fixture_close(fixture *f) {
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", f->tmp);
    assert_int_equal(system(cmd), 0);
    ws_model_free(f->m);
    ws_checkpoint_close(f->c);
    if (f->want) ws_safetensors_close(f->want);
    json_decref(f->info);
}
static inline int fixture_setup(void **state) {
    *state = malloc(sizeof(fixture));
    fixture_open(*state);
    return 0;
}
static inline int fixture_teardown(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

static inline const ws_tensor *want_tensor(const fixture *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline const ws_tensor *want_tensor(const fixture *f, const char *fmt, ...) {
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const ws_tensor *t = ws_safetensors_find(f->want, name);
    if (!t) fail_msg("the fixture has no tensor %s", name);
    return t;
}
/* PEFT's key of a parameter. */
static inline char *param_name(const fixture *f, const ws_param *p) {
    return ws_sprintf("base_model.model.%s.%s", ws_model_site(f->m, p->site)->name, p->suffix);
}
/* Largest |a - b|, and into *size the largest |b|; NaN counts as infinite. */
static inline double worst_error(const float *a, const float *b, int64_t n, double *size) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)a[i] - (double)b[i]);
        if (isnan(e)) e = INFINITY;
        if (e > worst) worst = e;
        if (size && fabs((double)b[i]) > *size) *size = fabs((double)b[i]);
    }
    return worst;
}
static inline int row_of(const fixture *f, int r, int32_t ids[64], int *first) {
    const json_t *row = json_array_get(json_object_get(f->info, "rows"), (size_t)r), *x = json_object_get(row, "ids");
    for (size_t i = 0; i < json_array_size(x); i++) ids[i] = (int32_t)json_integer_value(json_array_get(x, i));
    if (first) *first = (int)json_integer_value(json_object_get(row, "first"));
    return (int)json_array_size(x);
}
/* Logits [n, vocab] of row r with one patch at strength alpha (patch NULL: the base); the caller frees. */
static inline float *logits_of(const fixture *f, ws_model *m, int r, ws_patch *patch, float alpha, int *n_out) {
    ws_err err = {0};
    int32_t ids[64];
    int n = row_of(f, r, ids, NULL);
    const ws_dims *d = ws_model_dims(m);
    float *h = malloc((size_t)n * (size_t)d->hidden * sizeof *h),
          *logits = malloc((size_t)n * (size_t)d->vocab * sizeof *logits);
    ws_row row = {-1, ids, n, n};
    const float *strength = &alpha;
    ws_batch b = {1, &row, patch ? 1 : 0, &patch, &strength};
    OK(ws_forward(m, NULL, &b, h, &err));
    ws_head(m, h, n, logits);
    free(h);
    *n_out = n;
    return logits;
}
#endif
