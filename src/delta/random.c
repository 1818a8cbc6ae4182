/* src/delta/random.c - a control: at every site that a contrast touches an edit of random factors, exactly as long.
 * Numbers are a function of (seed, site, place), so they depend on nothing else.  A random direction moves a model too; an
 * effect counts only where it is larger than that. */
#include "base/rng.h"
#include "delta/impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANK = 64 }; /* where the contrast has no factors of its own to count */

/* Random factors of rank `k`, or the most that the matrix can have, of norm `want` at a model site. */
static ws_status add(ws_delta *d, int site, int64_t k, double want, uint64_t seed, ws_err *err) {
    const ws_site *at = ws_model_site(d->model, site);
    const int64_t most = at->d_in < at->d_out ? at->d_in : at->d_out;
    if (k > most) k = most;
    ws_edit e;
    if (ws_edit_alloc(&e, at->d_out, at->d_in, k, err)) return err->code;
    ws_counter_bell(e.u, at->d_out * k, ws_counter_u64(seed, "delta.random", (uint64_t)site, 0), 0);
    ws_counter_bell(e.v, at->d_in * k, ws_counter_u64(seed, "delta.random", (uint64_t)site, 1), 0);
    double have = sqrt(ws_edit_dot(&e, &e, at->w)), scale = have > 0 ? want / have : 0;
    for (int64_t x = 0; x < at->d_out * k; x++) e.u[x] = (float)(scale * (double)e.u[x]);
    return ws_delta_add(d, site, &e, err);
}

static ws_status finished(ws_delta **out, ws_delta *d, ws_status st) {
    *out = NULL;
    if (st) {
        ws_delta_free(d);
        return st;
    }
    ws_delta_set_source(d, "mode", "random");
    ws_delta_set_source(d, "name", "random");
    *out = d;
    return WS_OK;
}

ws_status ws_delta_random(ws_delta **out, const ws_delta *like, uint64_t seed, ws_err *err) {
    ws_delta *d = ws_delta_alloc(like->model);
    ws_status st = WS_OK;
    for (int i = 0; i < like->n && !st; i++) {
        const int64_t k = !ws_edit_is_product(&like->edit[i]) || !like->edit[i].k ? RANK : like->edit[i].k;
        st = add(d, like->site[i], k, ws_delta_site_norm(like, i), seed, err);
    }
    return finished(out, d, st);
}

ws_status ws_delta_random_everywhere(ws_delta **out, const ws_model *m, int64_t rank, uint64_t seed, ws_err *err) {
    ws_delta *d = ws_delta_alloc(m);
    ws_status st = WS_OK;
    for (int i = 0; i < ws_model_n_sites(m) && !st; i++)
        if (ws_model_site(m, i)->kind == WS_SITE_LINEAR) st = add(d, i, rank, 1, seed, err);
    return finished(out, d, st);
}
