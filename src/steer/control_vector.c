/* src/steer/control_vector.c - control vectors of llama.cpp and repeng: a GGUF with a direction a layer, added to the layer's
 * output (conventions.md 3.5).
 *     general.architecture "controlvector"; tensors direction.N, F32 [hidden], N >= 1: the output of layer N, from 0 */
#include "steer/control_vector.h"
#include "base/log.h"
#include "io/gguf.h"
#include "io/gguf_write.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(control_vector)

static const ws_hidden_ops hidden = {
    .site = WS_SITE_BLOCK, .key = {{"v", "d", 0}}, .token = ws_token_add, .adds_up = 1, .nominal = 0.1};

const ws_steer_ops ws_steer_control_vector = {.name = "control_vector",
                                              .title = "y + C v, a control vector of llama.cpp or repeng",
                                              WS_STEER_ADDITIVE,
                                              .hidden = &hidden};

int ws_is_control_vector(const char *path) {
    ws_gguf *g;
    ws_err none;
    if (!ws_is_gguf(path) || ws_gguf_open(&g, path, &none)) return 0;
    const char *arch = ws_gguf_str(g, "general.architecture", NULL);
    int is = arch && !strcmp(arch, "controlvector");
    ws_gguf_close(g);
    return is;
}

/* Layer of "direction.N"; -1: no such name. */
static int layer_of(const char *name) {
    static const char prefix[] = "direction.";
    char *end;
    if (strncmp(name, prefix, sizeof prefix - 1)) return -1;
    const char *digits = name + sizeof prefix - 1;
    if (*digits < '0' || *digits > '9') return -1;
    long l = strtol(digits, &end, 10);
    return *end || l > 1000000 ? -1 : (int)l;
}

static ws_status check_tensor(const ws_model *m, const ws_tensor *t, const char *path, ws_err *err) {
    const ws_dims *d = ws_model_dims(m);
    int l = layer_of(t->name);
    char shape[96];
    ws_tensor_shape(t, shape);
    if (l < 0)
        return ws_fail(err, WS_EUNSUPPORTED, "%s: tensor %.64s is no direction.N of a control vector", path, t->name);
    if (l < 1 || l >= d->layers)
        return ws_fail(err, WS_EUNSUPPORTED, "%s: %s: this model has layers 1 to %d for directions", path, t->name,
                       d->layers - 1);
    if (t->type != WS_F32 || t->dims != 1 || t->dim[0] != d->hidden)
        return ws_fail(err, WS_ESHAPE, "%s: %s is %s %s, it must be F32 [%d] on this base", path, t->name,
                       ws_dtypes[t->type].name, shape, d->hidden);
    return WS_OK;
}

static ws_status check_hint(const ws_model *m, const ws_gguf *g, const char *path, int force, ws_err *err) {
    const char *hash = ws_gguf_str(g, "ws.base_hash", NULL), *name = ws_gguf_str(g, "ws.base_name", NULL),
               *hint = ws_gguf_str(g, "controlvector.model_hint", NULL);
    const ws_checkpoint *c = ws_model_checkpoint(m);
    if (hint && strcmp(hint, ws_model_family(m)) && !force)
        return ws_fail(
            err, WS_ESTATE,
            "%s is a control vector for the architecture %.64s, this model's is %s; --force takes it all the "
            "same",
            path, hint, ws_model_family(m));
    if (hash && strcmp(hash, ws_checkpoint_hash(c))) {
        if (!force)
            return ws_fail(err, WS_ESTATE,
                           "%s was made on %.64s (hash %.12s), this base is %s (hash %.12s); --force takes it all the "
                           "same",
                           path, name ? name : "another base", hash, ws_checkpoint_name(c), ws_checkpoint_hash(c));
        ws_warn("%s was made on another base (%.64s)", path, name ? name : hash);
    }
    return WS_OK;
}

ws_status ws_control_vector_load(ws_vector **out, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_gguf *g = NULL;
    const ws_dims *d = ws_model_dims(m);
    ws_vector_cfg cfg = ws_vector_defaults();
    ws_vector *v = ws_vector_new(m, &ws_steer_control_vector, &cfg);
    *out = NULL;
    ws_status st = ws_gguf_open(&g, path, err);
    if (!st) st = check_hint(m, g, path, force, err);
    for (size_t i = 0; !st && i < ws_gguf_count(g); i++) st = check_tensor(m, ws_gguf_at(g, i), path, err);
    double norm = 0;
    if (!st && (!ws_gguf_num(g, "ws.state_norm", &norm) || !isfinite(norm) || norm < 0)) norm = 0;
    for (int l = 1; l < d->layers && !st; l++) {
        char name[32];
        snprintf(name, sizeof name, "direction.%d", l);
        const ws_tensor *t = ws_gguf_find(g, name);
        if (!t) continue;
        ws_vector_site *s = ws_vector_site_add(v, ws_model_n_sites(m) - d->layers + l);
        s->norm = norm;
        if (!(s->t[0] = ws_tensor_f32(t))) st = ws_fail(err, WS_ENOMEM, "%s: out of memory for %s", path, t->name);
        for (int k = 0; k < d->hidden && !st; k++)
            if (!isfinite(s->t[0][k]))
                st = ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %d)", path, t->name, k);
    }
    if (!st && !v->n) st = ws_fail(err, WS_EFORMAT, "%s: holds no direction", path);
    ws_gguf_close(g);
    if (st)
        ws_vector_free(v);
    else
        *out = v;
    return st;
}

ws_status ws_control_vector_check(const ws_vector *v, ws_err *err) {
    if (v->ops->hidden->site != WS_SITE_BLOCK || !v->ops->hidden->adds_up)
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "a control vector is one direction a layer that llama.cpp adds to the residual; %s does something "
            "else (%s), so it cannot be one",
            v->ops->name, v->ops->title);
    if (!ws_model_site(v->m, v->site[0].site)->layer)
        return ws_fail(err, WS_EUNSUPPORTED,
                       "the vector hangs behind layer 0, where llama.cpp adds no direction; extract from layer 1 on "
                       "(--layers)");
    return WS_OK;
}

ws_status ws_control_vector_save(const ws_vector *v, double strength, const char *path, ws_err *err) {
    if (ws_control_vector_check(v, err)) return err->code;
    const ws_dims *d = ws_model_dims(v->m);
    const ws_checkpoint *c = ws_model_checkpoint(v->m);
    ws_tensor *t = ws_xcalloc((size_t)v->n, sizeof *t);
    ws_status st = WS_OK;
    for (int i = 0; i < v->n; i++) {
        float *x = ws_xmalloc((size_t)d->hidden * sizeof *x);
        for (int k = 0; k < d->hidden; k++) {
            x[k] = (float)(strength * (double)v->site[i].t[0][k]);
            if (!isfinite(x[k]) && !st)
                st = ws_fail(err, WS_ENONFINITE, "the direction at strength %g does not fit into fp32", strength);
        }
        t[i] = (ws_tensor){.name = ws_sprintf("direction.%d", ws_model_site(v->m, v->site[i].site)->layer),
                           .type = WS_F32,
                           .dims = 1,
                           .dim = {d->hidden},
                           .data = x,
                           .bytes = (size_t)d->hidden * sizeof *x};
    }
    /* Loaded again at strength 1, it is a strength of the vector: its length in these units. */
    double norm = strength != 0 ? ws_vector_norm(v) / fabs(strength) : 0;
    const ws_gguf_pair meta[] = {{"general.architecture", WS_GGUF_TEXT, "controlvector", 0},
                                 {"controlvector.model_hint", WS_GGUF_TEXT, ws_model_family(v->m), 0},
                                 {"controlvector.layer_count", WS_GGUF_I32, NULL, (double)v->n},
                                 {"ws.method", WS_GGUF_TEXT, v->ops->name, 0},
                                 {"ws.strength", WS_GGUF_F32, NULL, strength},
                                 {"ws.state_norm", WS_GGUF_F32, NULL, norm},
                                 {"ws.base_name", WS_GGUF_TEXT, ws_checkpoint_name(c), 0},
                                 {"ws.base_hash", WS_GGUF_TEXT, ws_checkpoint_hash(c), 0}};
    if (!st) st = ws_gguf_write(path, meta, sizeof meta / sizeof *meta, t, (size_t)v->n, err);
    for (int i = 0; i < v->n; i++) free(t[i].name), free((void *)(uintptr_t)t[i].data);
    free(t);
    return st;
}
