/* src/delta/random.c - a control: at every site that a contrast touches an edit of random factors, exactly as long.
 * Numbers are a function of (seed, site, place), so they depend on nothing else.  A random direction moves a model too; an
 * effect counts only where it is larger than that. */
#include "base/rng.h"
#include "delta/impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANK = 64 }; /* where the contrast has no factors of its own to count */

ws_status ws_delta_random(ws_delta **out, const ws_delta *like, uint64_t seed, ws_err *err) {
    const ws_model *m = like->model;
    ws_delta *d = ws_delta_alloc(m);
    *out = NULL;
    for (int i = 0; i < like->n; i++) {
        const ws_site *at = ws_model_site(m, like->site[i]);
        double want = ws_delta_site_norm(like, i);
        int64_t k = !ws_edit_is_product(&like->edit[i]) || !like->edit[i].k ? RANK : like->edit[i].k,
                most = at->d_in < at->d_out ? at->d_in : at->d_out;
        if (k > most) k = most;
        ws_edit e;
        if (ws_edit_alloc(&e, at->d_out, at->d_in, k, err)) goto fail;
        ws_counter_bell(e.u, at->d_out * k, ws_counter_u64(seed, "delta.random", (uint64_t)like->site[i], 0), 0);
        ws_counter_bell(e.v, at->d_in * k, ws_counter_u64(seed, "delta.random", (uint64_t)like->site[i], 1), 0);
        double have = sqrt(ws_edit_dot(&e, &e, at->w)), scale = have > 0 ? want / have : 0;
        for (int64_t x = 0; x < at->d_out * k; x++) e.u[x] = (float)(scale * (double)e.u[x]);
        if (ws_delta_add(d, like->site[i], &e, err)) goto fail;
    }
    ws_delta_set_source(d, "mode", "random");
    ws_delta_set_source(d, "name", "random");
    *out = d;
    return WS_OK;
fail:
    ws_delta_free(d);
    return err->code;
}
