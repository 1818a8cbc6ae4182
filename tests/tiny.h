/* tests/tiny.h - the tiny models of tests/fixtures/models and what transformers computed from them
 * (tools/reference/make_models.py says how). */
#ifndef TESTS_TINY_H
#define TESTS_TINY_H
#include "io/json.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { TINY_MAX_ROWS = 8 };
typedef struct tiny {
    ws_checkpoint *c;
    ws_model *m;
    ws_safetensors *want;
    json_t *info;
    int n_rows, step;
    int n[TINY_MAX_ROWS], first[TINY_MAX_ROWS];
    const int32_t *ids[TINY_MAX_ROWS];
    float weight[TINY_MAX_ROWS];
} tiny;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)

static const char *const tiny_names[] = {"llama",        "llama_bias", "qwen2",     "qwen3",
                                         "qwen3_untied", "qwen35",     "qwen35_1x", "qwen35_3x"};
enum { TINY_MODELS = sizeof tiny_names / sizeof *tiny_names };
/* The same models as llama.cpp's converter writes them (tools/reference/make_qwen35_gguf.py). */
static const char *const tiny_ggufs[] = {"qwen35.gguf", "qwen35_1x.gguf", "qwen35_3x.gguf"};
enum { TINY_GGUFS = sizeof tiny_ggufs / sizeof *tiny_ggufs };

static inline const ws_tensor *tiny_want(const tiny *t, const char *name) {
    const ws_tensor *x = ws_safetensors_find(t->want, name);
    if (!x) fail_msg("the fixture has no tensor %s", name);
    return x;
}
static inline const float *tiny_floats(const tiny *t, const char *prefix, const char *rest) {
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, rest);
    return tiny_want(t, name)->data;
}

/* A fixture, or the GGUF of one ("qwen35.gguf"), which must give what the directory gives. */
static inline void tiny_open(tiny *t, const char *name) {
    ws_err err = {0};
    char path[256];
    const int stem = (int)strcspn(name, ".");
    memset(t, 0, sizeof *t);
    OK(ws_kernels_init(&err));
    snprintf(path, sizeof path, "tests/fixtures/models/%s", name);
    OK(ws_checkpoint_open(&t->c, path, &err));
    OK(ws_model_open(&t->m, t->c, &err));
    snprintf(path, sizeof path, "tests/fixtures/models/%.*s/expected.st", stem, name);
    OK(ws_safetensors_open(&t->want, path, &err));
    snprintf(path, sizeof path, "tests/fixtures/models/%.*s/expected.json", stem, name);
    OK(ws_json_load(&t->info, path, &err));
    t->step = (int)json_integer_value(json_object_get(t->info, "step"));
    const json_t *first = json_object_get(t->info, "first"), *weight = json_object_get(t->info, "weight");
    t->n_rows = (int)json_array_size(first);
    for (int r = 0; r < t->n_rows; r++) {
        snprintf(path, sizeof path, "ids.%d", r);
        const ws_tensor *x = tiny_want(t, path);
        t->ids[r] = x->data, t->n[r] = (int)x->dim[0];
        t->first[r] = (int)json_integer_value(json_array_get(first, (size_t)r));
        t->weight[r] = (float)json_real_value(json_array_get(weight, (size_t)r));
    }
}
static inline void tiny_close(tiny *t) {
    ws_model_free(t->m);
    ws_checkpoint_close(t->c);
    ws_safetensors_close(t->want);
    json_decref(t->info);
}
static inline int tiny_tokens(const tiny *t) {
    int n = 0;
    for (int r = 0; r < t->n_rows; r++) n += t->n[r];
    return n;
}

/* Final hidden states of one forward over `rows`; the caller frees. */
static inline float *tiny_forward(ws_model *m, ws_state *s, const ws_row *rows, int n_rows, int n_patches,
                                  ws_patch *const *patch, const float *const *alpha) {
    ws_err err = {0};
    int64_t out = 0;
    for (int r = 0; r < n_rows; r++) out += rows[r].n_out;
    float *h = malloc((size_t)(out + 1) * (size_t)ws_model_dims(m)->hidden * sizeof *h);
    ws_batch b = {n_rows, rows, n_patches, patch, alpha};
    OK(ws_forward(m, s, &b, h, &err));
    return h;
}

/* ---------- a LoRA-like patch for tests: y += alpha (x A') B' at the sites that have factors; trainable ---------- */
typedef struct probe {
    ws_patch patch; /* first */
    ws_model *m;
    int rank;
    const float **a, **b; /* [n_sites] A [rank, d_in], B [d_out, rank]; NULL: does not hang there */
    double **ga, **gb;    /* gradients, in double */
} probe;
static inline int probe_hangs(const ws_patch *p, int site) { return ((const probe *)p)->a[site] != NULL; }
static inline void probe_linear(ws_patch *q, const ws_patch_call *c) {
    probe *p = (probe *)q;
    const float *a = p->a[c->site], *b = p->b[c->site];
    for (int64_t t = 0; t < c->n; t++)
        for (int r = 0; r < p->rank; r++) {
            double s = 0;
            for (int64_t i = 0; i < c->at->d_in; i++) s += (double)a[r * c->at->d_in + i] * c->x[t * c->at->d_in + i];
            for (int64_t o = 0; o < c->at->d_out; o++)
                c->y[t * c->at->d_out + o] += (float)(c->alpha[t] * s * b[o * p->rank + r]);
        }
}
static inline void probe_grad(ws_patch *q, const ws_patch_grad *g) {
    probe *p = (probe *)q;
    const float *a = p->a[g->site], *b = p->b[g->site];
    for (int64_t t = 0; t < g->n; t++)
        for (int r = 0; r < p->rank; r++) {
            const float *x = g->x + t * g->at->d_in, *gy = g->gy + t * g->at->d_out;
            double s = 0, gs = 0;
            for (int64_t i = 0; i < g->at->d_in; i++) s += (double)a[r * g->at->d_in + i] * x[i];
            for (int64_t o = 0; o < g->at->d_out; o++) gs += (double)gy[o] * b[o * p->rank + r];
            for (int64_t o = 0; o < g->at->d_out; o++) p->gb[g->site][o * p->rank + r] += s * gy[o];
            for (int64_t i = 0; i < g->at->d_in; i++) {
                p->ga[g->site][r * g->at->d_in + i] += gs * x[i];
                if (g->gx) g->gx[t * g->at->d_in + i] += (float)(gs * a[r * g->at->d_in + i]);
            }
        }
}
static const ws_patch_ops probe_ops = {
    .name = "probe", .hangs_at = probe_hangs, .linear = probe_linear, .linear_grad = probe_grad};

static inline void probe_open(probe *p, ws_model *m, int rank) {
    size_t n = (size_t)ws_model_n_sites(m);
    *p = (probe){{&probe_ops},
                 m,
                 rank,
                 calloc(n, sizeof *p->a),
                 calloc(n, sizeof *p->b),
                 calloc(n, sizeof *p->ga),
                 calloc(n, sizeof *p->gb)};
}
/* Borrows a and b. */
static inline void probe_add(probe *p, int site, const float *a, const float *b) {
    const ws_site *at = ws_model_site(p->m, site);
    p->a[site] = a, p->b[site] = b;
    free(p->ga[site]), free(p->gb[site]);
    p->ga[site] = calloc((size_t)(p->rank * at->d_in), sizeof(double));
    p->gb[site] = calloc((size_t)(p->rank * at->d_out), sizeof(double));
}
static inline void probe_close(probe *p) {
    for (int i = 0; i < ws_model_n_sites(p->m); i++) free(p->ga[i]), free(p->gb[i]);
    free(p->a), free(p->b), free(p->ga), free(p->gb);
}
/* The fixture's probes at every linear of every layer >= lowest. */
static inline void probe_from_fixture(probe *p, const tiny *t, int lowest) {
    probe_open(p, t->m, 2);
    for (int i = 0; i < ws_model_n_sites(t->m); i++) {
        const ws_site *s = ws_model_site(t->m, i);
        if (s->kind == WS_SITE_LINEAR && s->layer >= lowest)
            probe_add(p, i, tiny_floats(t, "A.", s->name), tiny_floats(t, "B.", s->name));
    }
}

/* |got - want| over the norm of want. */
static inline double relative(const double *got, const float *want, int64_t n) {
    double d = 0, w = 0;
    for (int64_t i = 0; i < n; i++) d += (got[i] - want[i]) * (got[i] - want[i]), w += (double)want[i] * want[i];
    return sqrt(d / w);
}
static inline double relative_f(const float *got, const float *want, int64_t n) {
    double d = 0, w = 0;
    for (int64_t i = 0; i < n; i++)
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]), w += (double)want[i] * want[i];
    return sqrt(d / w);
}
#endif
