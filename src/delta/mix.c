/* src/delta/mix.c - several contrasts, each at its strength, as one: sum over i of alpha_i dW_i.  Factors stand side by
 * side and terms add up, as in a contrast; only the strengths are multiplied in. */
#include "delta/impl.h"

/* The edits of one site, added up one after the other. */
static ws_status mix_site(ws_edit *out, int site, int n, ws_delta *const *d, const double *alpha, ws_err *err) {
    int begun = 0;
    for (int i = 0; i < n; i++) {
        int at = d[i]->at_site[site];
        ws_edit sum;
        if (at < 0) continue;
        if (begun ? ws_edit_combine(&sum, out, 1, &d[i]->edit[at], alpha[i], err)
                  : ws_edit_combine(&sum, &d[i]->edit[at], alpha[i], NULL, 0, err)) {
            if (begun) ws_edit_release(out);
            return err->code;
        }
        if (begun) ws_edit_release(out);
        *out = sum, begun = 1;
    }
    return WS_OK;
}

ws_status ws_delta_mix(ws_delta **out, const ws_model *m, int n, ws_delta *const *d, const double *alpha, ws_err *err) {
    ws_delta *mix = ws_delta_alloc(m);
    *out = NULL;
    for (int site = 0; site < ws_model_n_sites(m); site++) {
        ws_edit e = {0};
        int here = 0;
        for (int i = 0; i < n; i++) here |= d[i]->at_site[site] >= 0;
        if (!here) continue;
        if (mix_site(&e, site, n, d, alpha, err) || ws_delta_add(mix, site, &e, err)) {
            ws_delta_free(mix);
            return err->code;
        }
    }
    *out = mix;
    return WS_OK;
}
