/* src/eval/vigwork.c - from answers to tables: what the vignettes and the behaviour say about them. */
#include "base/hash.h"
#include "base/log.h"
#include "eval/vigtables.h"
#include <stdlib.h>
#include <string.h>

static ws_status hash_set(const ws_vigset *s, char hex[65], ws_err *err) {
    ws_hash *h = ws_hash_new();
    ws_status st = WS_OK;
    for (int c = 0; c < 2 && !st; c++) {
        char one[65] = "";
        st = ws_hash_file(s->path[c], one, err);
        ws_hash_adds(h, one);
    }
    ws_hash_done(h, hex);
    return st;
}

ws_status ws_vigwork_tables(ws_vigwork *w, ws_err *err) {
    const ws_eval *e = w->e;
    int n = w->set.n, F = w->set.n_foundations;
    int *foundation = ws_xmalloc((size_t)n * sizeof *foundation);
    double *human = ws_xmalloc((size_t)n * sizeof *human),
           *loading = e->o->loading_weighted ? ws_xmalloc((size_t)(n * F) * sizeof *loading) : NULL;
    for (int i = 0; i < n; i++) {
        foundation[i] = w->set.v[i].foundation, human[i] = w->set.v[i].wrong;
        if (loading) memcpy(loading + (size_t)i * (size_t)F, w->set.v[i].loading, (size_t)F * sizeof *loading);
    }
    const ws_protocol *p = e->o->protocol;
    w->grid = w->grid_si = w->grid_d = (ws_grid){n, F, foundation, human, NULL};
    w->grid_si.loading = loading;
    if (p && p->dlogit_weighted) w->grid_d.loading = loading;
    w->rule = ws_protocol_si(p, e->o->k);
    int own = e->behavior ? e->behavior->n_targets : 0, care = 0;
    w->meant = own || !e->behavior;
    w->n_targets = own ? own : 1;
    if (p && p->care_axis && w->n_targets == 1)
        care = !own || (!strcmp(e->behavior->target[0], "Authority") && e->behavior->target_sign[0] < 0);
    w->n_targets += care;
    w->target = ws_xmalloc((size_t)w->n_targets * sizeof *w->target),
    w->sign = ws_xmalloc((size_t)w->n_targets * sizeof *w->sign);
    for (int k = 0; k < w->n_targets; k++) {
        const char *name = k >= own && k ? "Care" : own ? e->behavior->target[k] : "Authority";
        if (!k) w->target_name = name;
        w->sign[k] = k >= own && k ? 1 : own ? e->behavior->target_sign[k] : -1, w->target[k] = -1;
        for (int f = 0; f < F; f++)
            if (!strcmp(w->set.foundation[f], name)) w->target[k] = f;
        if (w->target[k] < 0)
            ws_warn("no vignette of %s has the foundation \"%s\" that is meant to move", w->set.path[0], name);
    }
    ws_status st = hash_set(&w->set, w->set_hash, err);
    if (!st) st = ws_hash_file(w->set.path[2], w->frames_hash, err);
    if (!st) st = ws_vigtables(w, err);
    free(foundation), free(human), free(loading), free(w->target), free(w->sign);
    return st;
}
