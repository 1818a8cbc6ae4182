/* src/steer/vector.c - vectors of hidden-state methods: their memory, and the patch that hands tokens to the room's map. */
#include "base/parallel.h"
#include "steer/room.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 4 }; /* of a chunk */

ws_vector_cfg ws_vector_defaults(void) { return (ws_vector_cfg){.clusters = 4}; }

/* ---- the patch ---- */

static const ws_vector *vector_of(const ws_patch *p) { return (const ws_vector *)(const void *)p; }

typedef struct tokens {
    const ws_vector *v;
    const ws_vector_site *s;
    float *y;
    const float *c;
} tokens;
static void each_token(void *arg, int64_t begin, int64_t end) {
    const tokens *t = arg;
    for (int64_t i = begin; i < end; i++) t->v->ops->hidden->token(t->v, t->s, t->y + i * t->s->d, (double)t->c[i]);
}

static void map(const ws_vector *v, int site, int64_t n, float *y, const float *c, ws_arena *a) {
    const ws_vector_site *s = &v->site[v->at[site]];
    if (v->ops->hidden->token)
        ws_parallel_for(n, TOKENS, each_token, &(tokens){v, s, y, c});
    else
        v->ops->hidden->apply(v, s, n, y, c, a);
}

static int hangs_at(const ws_patch *p, int site) { return vector_of(p)->at[site] >= 0; }
static void linear(ws_patch *p, const ws_patch_call *c) {
    map(vector_of(p), c->site, c->n, c->y, c->alpha, c->scratch);
}
static void block(ws_patch *p, int site, int64_t n, float *h, const float *alpha, ws_arena *scratch) {
    map(vector_of(p), site, n, h, alpha, scratch);
}
static const ws_patch_ops at_blocks = {.name = "vector", .hangs_at = hangs_at, .block = block};
static const ws_patch_ops at_linears = {.name = "vector", .hangs_at = hangs_at, .linear = linear};

void ws_vector_apply(const ws_vector *v, int site, int64_t n, float *y, const float *c) {
    ws_arena *a = ws_arena_new();
    map(v, site, n, y, c, a);
    ws_arena_free(a);
}

/* ---- memory ---- */

ws_vector *ws_vector_new(const ws_model *m, const ws_steer_ops *ops, const ws_vector_cfg *cfg) {
    ws_vector *v = ws_xcalloc(1, sizeof *v);
    int sites = ws_model_n_sites(m);
    v->patch.ops = ops->hidden->site == WS_SITE_BLOCK ? &at_blocks : &at_linears;
    v->ops = ops, v->m = m, v->cfg = *cfg;
    v->at = ws_xmalloc((size_t)sites * sizeof *v->at);
    for (int i = 0; i < sites; i++) v->at[i] = -1;
    v->meta = json_object();
    return v;
}

ws_vector_site *ws_vector_site_add(ws_vector *v, int site) {
    WS_ASSERT(v->at[site] < 0 && (!v->n || v->site[v->n - 1].site < site));
    v->site = ws_xrealloc(v->site, (size_t)(v->n + 1) * sizeof *v->site);
    v->site[v->n] = (ws_vector_site){.site = site, .d = ws_model_site(v->m, site)->d_out, .k = 1};
    v->at[site] = v->n;
    return &v->site[v->n++];
}

ws_status ws_vector_ready(ws_vector *v, ws_err *err) {
    for (int i = 0; i < v->n && v->ops->hidden->make; i++)
        if (!v->site[i].made && v->ops->hidden->make(v, &v->site[i], err)) return err->code;
    return WS_OK;
}

void ws_vector_free(ws_vector *v) {
    if (!v) return;
    for (int i = 0; i < v->n; i++) {
        ws_vector_site *s = &v->site[i];
        if (v->ops->hidden->unmake) v->ops->hidden->unmake(s);
        for (int k = 0; k < WS_MAX_KEYS; k++)
            if (s->t[k] != v->shared[k]) free(s->t[k]);
    }
    for (int k = 0; k < WS_MAX_KEYS; k++) free(v->shared[k]);
    json_decref(v->meta);
    free(v->site), free(v->at);
    free(v);
}

int64_t ws_key_size(const ws_key *key, const ws_vector_site *s) {
    int64_t n = 1;
    for (const char *p = key->shape; *p; p++) n *= *p == 'd' ? s->d : s->k;
    return n;
}

ws_patch *ws_vector_patch(ws_vector *v) { return &v->patch; }
const ws_steer_ops *ws_vector_method(const ws_vector *v) { return v->ops; }
int ws_vector_n_sites(const ws_vector *v) { return v->n; }
int ws_vector_hangs_at(const ws_vector *v, int site) { return v->at[site] >= 0; }

double ws_vector_norm(const ws_vector *v) {
    double *x = ws_xmalloc((size_t)v->n * sizeof *x + 1);
    int n = 0;
    for (int i = 0; i < v->n; i++)
        if (v->site[i].norm > 0) x[n++] = v->site[i].norm;
    double median = ws_median(x, n);
    free(x);
    return median;
}

void ws_vector_set_meta(ws_vector *v, const char *key, const char *value) {
    json_object_set_new(v->meta, key, json_string(value));
}
const char *ws_vector_meta(const ws_vector *v, const char *key) {
    return json_string_value(json_object_get(v->meta, key));
}

/* ---- sums ---- */

static ws_status can_add(const ws_vector *const *v, int n, ws_err *err) {
    const ws_steer_ops *ops = v[0]->ops;
    if (!ops->hidden->adds_up)
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "vectors of %s cannot be added or scaled: the sum of two of its states is no state whose effect is "
            "the sum of theirs; hang them beside each other instead (--steer A --steer B)",
            ops->name);
    for (int i = 1; i < n; i++) {
        if (v[i]->ops != ops)
            return ws_fail(
                err, WS_EUNSUPPORTED,
                "a vector of %s and one of %s cannot be added: hang them beside each other instead (--steer A "
                "--steer B)",
                ops->name, v[i]->ops->name);
        int same = v[i]->n == v[0]->n && v[i]->m == v[0]->m;
        for (int k = 0; same && k < v[0]->n; k++) same = v[i]->site[k].site == v[0]->site[k].site;
        if (!same)
            return ws_fail(err, WS_EUNSUPPORTED, "the vectors of %s lie at different layers, so they cannot be added",
                           ops->name);
    }
    return WS_OK;
}

ws_status ws_vector_add(ws_vector **out, const ws_vector *const *v, const double *weight, int n, ws_err *err) {
    *out = NULL;
    if (can_add(v, n, err)) return err->code;
    ws_vector *sum = ws_vector_new(v[0]->m, v[0]->ops, &v[0]->cfg);
    for (int k = 0; k < v[0]->n; k++) {
        ws_vector_site *s = ws_vector_site_add(sum, v[0]->site[k].site);
        s->norm = v[0]->site[k].norm;
        for (int j = 0; v[0]->ops->hidden->key[j].name; j++) {
            int64_t size = ws_key_size(&v[0]->ops->hidden->key[j], s);
            s->t[j] = ws_xmalloc((size_t)size * sizeof(float));
            for (int64_t t = 0; t < size; t++) {
                double x = 0;
                for (int i = 0; i < n; i++) x += weight[i] * (double)v[i]->site[k].t[j][t];
                s->t[j][t] = (float)x;
            }
        }
    }
    if (ws_vector_ready(sum, err)) {
        ws_vector_free(sum);
        return err->code;
    }
    *out = sum;
    return WS_OK;
}
