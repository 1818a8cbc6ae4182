/* src/export/dora.c - dW at its strength as a PEFT DoRA adapter, exactly (adapters.md 3.3):
 *     W + dW = diag(1 + s) W + U V = diag(g) (W + B A)       g = 1 + s, A = V, B = U ./ g, lora_alpha = r
 *     lora_magnitude_vector = g .* rownorm(W + B A)
 * Not linear in the strength, so one file holds one strength.  g_i = 0 has no such form. */
#include "base/parallel.h"
#include "export/export.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(dora)

static ws_status check(ws_export *x, ws_err *err) {
    for (int i = 0; i < ws_delta_n_sites(x->d); i++) {
        const ws_edit *e = ws_delta_edit(x->d, i);
        const char *name = ws_model_site(x->m, ws_delta_site(x->d, i))->name;
        const float *s = e->n_terms ? e->term[0].s : NULL;
        if (e->dense.data)
            return ws_fail(err, WS_EUNSUPPORTED, "dW of %s is dense, and a DoRA adapter is not: --to merged is exact",
                           name);
        if (e->n_terms > 1 || (e->n_terms && (!s || e->term[0].e)))
            return ws_fail(
                err, WS_EUNSUPPORTED,
                "dW of %s turns or scales the inputs of W, which a DoRA adapter cannot: --to merged is exact", name);
        if (e->db)
            return ws_fail(err, WS_EUNSUPPORTED,
                           "dW changes the bias of %s, which a DoRA adapter does not: --to merged is exact", name);
        for (int64_t o = 0; s && o < e->d_out; o++)
            if (1 + s[o] == 0)
                return ws_fail(err, WS_EUNSUPPORTED,
                               "at this strength row %lld of %s has the magnitude 0, which a DoRA adapter cannot hold; "
                               "change the strength a little, or use --to merged",
                               (long long)o, name);
    }
    return WS_OK;
}

typedef struct site_out {
    const ws_weight *w;
    ws_edit low; /* B and A */
    const float *s;
    float *magnitude; /* [d_out] */
} site_out;

enum { ROWS = 16 };

static void magnitudes(void *arg, int64_t begin, int64_t end) {
    site_out *o = arg;
    const int64_t d = o->low.d_in;
    float *w = ws_xmalloc(2 * (size_t)(ROWS * d) * sizeof *w), *ba = w + ROWS * d;
    ws_weight_rows_f32(o->w, begin, end - begin, w);
    ws_edit_rows(&o->low, o->w, begin, end, ba);
    for (int64_t r = begin; r < end; r++) {
        float *row = w + (r - begin) * d;
        ws_k.add(row, ba + (r - begin) * d, d);
        double g = 1 + (o->s ? (double)o->s[r] : 0);
        o->magnitude[r] = (float)(g * sqrt(ws_k.sum_sq(row, d)));
    }
    free(w);
}

static ws_status of_site(ws_export *x, int i, site_out *o, ws_err *err) {
    const ws_edit *e = ws_delta_edit(x->d, i);
    const int64_t k = e->k ? e->k : 1; /* no factors: one that is zero */
    *o = (site_out){.w = ws_model_site(x->m, ws_delta_site(x->d, i))->w, .s = e->n_terms ? e->term[0].s : NULL};
    if (ws_edit_alloc(&o->low, e->d_out, e->d_in, k, err)) return err->code;
    if (!(o->magnitude = ws_try_alloc((size_t)e->d_out, sizeof *o->magnitude)))
        return ws_fail(err, WS_ENOMEM, "out of memory for a magnitude vector");
    if (e->k) memcpy(o->low.v, e->v, (size_t)(k * e->d_in) * sizeof(float));
    for (int64_t r = 0; e->k && r < e->d_out; r++)
        for (int64_t j = 0; j < k; j++)
            o->low.u[r * k + j] = (float)((double)e->u[r * k + j] / (1 + (o->s ? (double)o->s[r] : 0)));
    ws_parallel_for(e->d_out, ROWS, magnitudes, o);
    return WS_OK;
}

static ws_status write(ws_export *x, const char *dir, ws_err *err) {
    const int n = ws_delta_n_sites(x->d);
    site_out *o = ws_xcalloc((size_t)n, sizeof *o);
    int *site = ws_xcalloc((size_t)n, sizeof *site);
    ws_tensor *t = ws_xcalloc(3 * (size_t)n, sizeof *t);
    json_t *rank = json_object(), *config = NULL;
    ws_status st = WS_OK;
    for (int i = 0; i < n && !st; i++) {
        const ws_site *at = ws_model_site(x->m, site[i] = ws_delta_site(x->d, i));
        if ((st = of_site(x, i, &o[i], err))) break;
        const int64_t k = o[i].low.k;
        t[3 * i] = (ws_tensor){
            .name = ws_sprintf("%s.lora_A.weight", at->name), .dims = 2, .dim = {k, at->d_in}, .data = o[i].low.v};
        t[3 * i + 1] = (ws_tensor){
            .name = ws_sprintf("%s.lora_B.weight", at->name), .dims = 2, .dim = {at->d_out, k}, .data = o[i].low.u};
        t[3 * i + 2] = (ws_tensor){.name = ws_sprintf("%s.lora_magnitude_vector", at->name),
                                   .dims = 1,
                                   .dim = {at->d_out},
                                   .data = o[i].magnitude};
        if (k != o[0].low.k) json_object_set_new(rank, at->name, json_integer(k));
    }
    if (!st && !(config = ws_export_config("dora", x->m, site, n)))
        st = ws_fail(err, WS_EUNSUPPORTED, "this build has no DoRA adapter, which would read the file back");
    if (!st) {
        json_object_set_new(config, "r", json_integer(o[0].low.k));
        json_object_set_new(config, "lora_alpha", json_integer(o[0].low.k));
        json_object_set(config, "rank_pattern", rank), json_object_set(config, "alpha_pattern", rank);
        st = ws_export_write_peft(x, dir, config, t, 3 * (size_t)n, err);
    }
    json_decref(config), json_decref(rank);
    for (int i = 0; i < 3 * n; i++) free(t[i].name);
    for (int i = 0; i < n; i++) ws_edit_release(&o[i].low), free(o[i].magnitude);
    free(t), free(site), free(o);
    return st;
}

const ws_export_ops ws_export_dora = {
    .name = "dora",
    .title = "a PEFT DoRA directory, exact at this strength; for dora (and what peft takes)",
    .dir = 1,
    .check = check,
    .write = write,
    .reopen = ws_export_hang_back,
};
