/* src/export/ia3.c - dW at its strength as a PEFT IA3 adapter, exactly (adapters.md 3.3): l = 1 + s.
 *     W + dW = diag(1 + s) W, b + db = (1 + s) b      l [d_out, 1]
 *     W + dW = W diag(1 + e)                          l [1, d_in], the module is among feedforward_modules */
#include "export/export.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
WS_ROOM(ia3)

static ws_status refuse(const char *name, const char *why, ws_err *err) {
    return ws_fail(err, WS_EUNSUPPORTED, "dW of %s %s, which an IA3 adapter cannot: --to merged is exact", name, why);
}

static ws_status check(ws_export *x, ws_err *err) {
    for (int i = 0; i < ws_delta_n_sites(x->d); i++) {
        const ws_edit *e = ws_delta_edit(x->d, i);
        const ws_site *at = ws_model_site(x->m, ws_delta_site(x->d, i));
        if (e->k) return refuse(at->name, "has factors beside W", err);
        if (e->dense.data) return refuse(at->name, "is dense", err);
        if (e->n_terms != 1) return refuse(at->name, "is more than one change of W", err);
        const ws_edit_term *t = &e->term[0];
        if (t->s && t->e) return refuse(at->name, "scales inputs and outputs at once", err);
        if (t->e && t->e_block != 1) return refuse(at->name, "turns its inputs", err);
        if (e->db && (t->e || !at->bias)) return refuse(at->name, "changes the bias by itself", err);
        for (int64_t o = 0; t->s && at->bias && o < e->d_out; o++) { /* the bias is scaled along with the rows */
            double want = (double)t->s[o] * (double)at->bias[o], is = e->db ? (double)e->db[o] : 0;
            if (fabs(want - is) > 1e-6 * fabs((double)at->bias[o]))
                return refuse(at->name, "does not change the bias as it changes the rows", err);
        }
    }
    return WS_OK;
}

static ws_status write(ws_export *x, const char *dir, ws_err *err) {
    const int n = ws_delta_n_sites(x->d);
    int *site = ws_xcalloc((size_t)n, sizeof *site);
    ws_tensor *t = ws_xcalloc((size_t)n, sizeof *t);
    json_t *forward = json_array();
    for (int i = 0; i < n; i++) {
        const ws_edit *e = ws_delta_edit(x->d, i);
        const ws_site *at = ws_model_site(x->m, site[i] = ws_delta_site(x->d, i));
        const int ff = e->term[0].e != NULL;
        const float *d = ff ? e->term[0].e : e->term[0].s;
        const int64_t size = ff ? e->d_in : e->d_out;
        float *l = ws_xmalloc((size_t)size * sizeof *l);
        for (int64_t j = 0; j < size; j++) l[j] = 1 + d[j];
        t[i] = (ws_tensor){.name = ws_sprintf("%s.ia3_l", at->name), .dims = 2, .dim = {size, 1}, .data = l};
        if (!ff) continue;
        t[i].dim[0] = 1, t[i].dim[1] = size;
        json_array_append_new(forward, json_string(at->name));
    }
    ws_status st = WS_OK;
    json_t *config = ws_export_config("ia3", x->m, site, n);
    if (!config)
        st = ws_fail(err, WS_EUNSUPPORTED, "this build has no IA3 adapter, which would read the file back");
    else {
        json_object_set(config, "feedforward_modules", forward);
        st = ws_export_write_peft(x, dir, config, t, (size_t)n, err);
    }
    json_decref(config), json_decref(forward);
    for (int i = 0; i < n; i++) free(t[i].name), free((void *)(uintptr_t)t[i].data);
    free(t), free(site);
    return st;
}

const ws_export_ops ws_export_ia3 = {
    .name = "ia3",
    .title = "a PEFT IA3 directory, exact at this strength; for ia3",
    .dir = 1,
    .check = check,
    .write = write,
    .reopen = ws_export_hang_back,
};
