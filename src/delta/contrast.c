/* src/delta/contrast.c - dW = theta_pos - theta_neg from two adapters (pipeline.md 4; Fierro & Roger 2025).
 * The factors stand side by side, so nothing is rounded: dW = [Up, -Un] [Vp ; Vn]; terms with W add up where they have
 * one form.  The base weights cancel. */
#include "base/log.h"
#include "delta/impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* theta - base of every site; with `other`, up to what is equal on both sides. */
static ws_status edits_of(ws_delta **out, const ws_model *m, const ws_adapter *a, const ws_adapter *other,
                          ws_err *err) {
    *out = ws_delta_alloc(m);
    for (int site = 0; site < ws_model_n_sites(m); site++)
        for (int i = 0; i < ws_adapter_n_sites(a); i++) {
            ws_edit e;
            if (ws_adapter_site(a, i) != site) continue;
            if ((other ? ws_adapter_contrast_edit(a, other, i, &e, err) : ws_adapter_edit(a, i, &e, err)) ||
                ws_delta_add(*out, site, &e, err)) {
                ws_delta_free(*out);
                *out = NULL;
                return err->code;
            }
        }
    return WS_OK;
}

ws_status ws_delta_from_adapter(ws_delta **out, const ws_model *m, const ws_adapter *a, ws_err *err) {
    if (edits_of(out, m, a, NULL, err)) return err->code;
    ws_delta_set_source(*out, "mode", "delta");
    ws_delta_set_source(*out, "name", ws_adapter_kind(a));
    return WS_OK;
}

static double root(double x) { return x > 0 || isnan(x) ? sqrt(x) : 0; }

ws_status ws_delta_contrast(ws_delta **out, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                            ws_contrast_mode mode, ws_delta_info *info, ws_err *err) {
    ws_delta *p = NULL, *n = NULL, *d = NULL;
    double cp = 1, cn = -1;
    int common = 0;
    *out = NULL;
    memset(info, 0, sizeof *info);
    if (edits_of(&p, m, pos, NULL, err) || edits_of(&n, m, neg, NULL, err)) goto cleanup;
    for (int i = 0; i < p->n; i++) common += n->at_site[p->site[i]] >= 0;
    if (!common) {
        ws_fail(err, WS_EFORMAT, "the two adapters touch no module in common (%s ..., %s ...)",
                ws_model_site(m, p->site[0])->name, ws_model_site(m, n->site[0])->name);
        goto cleanup;
    }
    double pp = ws_delta_dot(p, p), nn = ws_delta_dot(n, n), pn = ws_delta_dot(p, n);
    double minus = root(pp + nn - 2 * pn), plus = root(pp + nn + 2 * pn);
    info->norm_pos = root(pp), info->norm_neg = root(nn), info->norm = minus;
    info->cos_pos_neg_flipped = -pn / (info->norm_pos * info->norm_neg);
    info->asymmetry = info->norm_pos / info->norm_neg;
    info->drift_ratio = plus / minus;
    info->cos_drift = fabs(pp - nn) / (plus * minus);
    info->sites = p->n + n->n - common, info->sites_one_sided = p->n + n->n - 2 * common;
    if (!isfinite(minus)) {
        ws_fail(err, WS_ENONFINITE, "the norm of dW is not finite");
        goto cleanup;
    }
    if (minus == 0) ws_warn("||dW|| is 0: the two adapters are the same, steering with it does nothing");
    if (mode == WS_CONTRAST_BISECTOR) {
        double len = root(2 + 2 * info->cos_pos_neg_flipped); /* ||p/|p| - n/|n||| */
        if (!(pp > 0) || !(nn > 0) || !(len > 0)) {
            ws_fail(err, WS_EFORMAT, "mode bisector needs two non-zero, different deltas (norms %g and %g)",
                    info->norm_pos, info->norm_neg);
            goto cleanup;
        }
        cp = minus / len / info->norm_pos, cn = -minus / len / info->norm_neg;
    }
    /* dW mode alone: bisector weighs the sides differently, and then what they share does not cancel. */
    if (mode == WS_CONTRAST_DW) {
        ws_delta_free(p), ws_delta_free(n);
        p = n = NULL;
        if (edits_of(&p, m, pos, neg, err) || edits_of(&n, m, neg, pos, err)) goto cleanup;
    }
    d = ws_delta_alloc(m);
    for (int site = 0; site < ws_model_n_sites(m); site++) {
        int i = p->at_site[site], j = n->at_site[site];
        ws_edit e;
        if (i < 0 && j < 0) continue;
        if (ws_edit_combine(&e, i < 0 ? NULL : &p->edit[i], cp, j < 0 ? NULL : &n->edit[j], cn, err) ||
            ws_delta_add(d, site, &e, err))
            goto cleanup;
    }
    info->norm_w = ws_delta_weight_norm(d);
    ws_delta_set_source(d, "mode", mode == WS_CONTRAST_BISECTOR ? "bisector" : "dw");
    ws_delta_set_source(d, "name", ws_adapter_kind(pos));
    *out = d, d = NULL;
cleanup:
    ws_delta_free(p), ws_delta_free(n), ws_delta_free(d);
    return *out ? WS_OK : err->code;
}
