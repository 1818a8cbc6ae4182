/* src/delta/contrast.c - dW = theta_pos - theta_neg from two adapters (pipeline.md 4; Fierro & Roger 2025).
 * The factors stand side by side, so nothing is rounded: dW = [Up, -Un] [Vp ; Vn].  The base weights cancel. */
#include "base/log.h"
#include "delta/impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ws_status edits_of(ws_delta **out, const ws_model *m, const ws_adapter *a, ws_err *err) {
    *out = ws_delta_alloc(m);
    for (int site = 0; site < ws_model_n_sites(m); site++)
        for (int i = 0; i < ws_adapter_n_sites(a); i++) {
            ws_edit e;
            if (ws_adapter_site(a, i) != site) continue;
            if (ws_adapter_edit(a, i, &e, err) || ws_delta_add(*out, site, &e, err)) {
                ws_delta_free(*out);
                *out = NULL;
                return err->code;
            }
        }
    return WS_OK;
}

ws_status ws_delta_from_adapter(ws_delta **out, const ws_model *m, const ws_adapter *a, ws_err *err) {
    if (edits_of(out, m, a, err)) return err->code;
    ws_delta_set_source(*out, "mode", "delta");
    ws_delta_set_source(*out, "name", ws_adapter_kind(a));
    return WS_OK;
}

/* cp U_p V_p + cn U_n V_n as one edit; either may be NULL. */
static ws_status join(ws_edit *out, const ws_edit *p, float cp, const ws_edit *n, float cn, ws_err *err) {
    const ws_edit *any = p ? p : n;
    int64_t kp = p ? p->k : 0, kn = n ? n->k : 0, k = kp + kn;
    *out = (ws_edit){.d_out = any->d_out, .d_in = any->d_in, .k = k};
    out->u = ws_try_alloc((size_t)(k * any->d_out), sizeof(float));
    out->v = ws_try_alloc((size_t)(k * any->d_in), sizeof(float));
    if (!out->u || !out->v) {
        ws_edit_release(out);
        return ws_fail(err, WS_ENOMEM, "out of memory for dW");
    }
    for (int64_t o = 0; o < any->d_out; o++) {
        for (int64_t j = 0; j < kp; j++) out->u[o * k + j] = cp * p->u[o * kp + j];
        for (int64_t j = 0; j < kn; j++) out->u[o * k + kp + j] = cn * n->u[o * kn + j];
    }
    if (p) memcpy(out->v, p->v, (size_t)(kp * any->d_in) * sizeof(float));
    if (n) memcpy(out->v + kp * any->d_in, n->v, (size_t)(kn * any->d_in) * sizeof(float));
    return WS_OK;
}

static double root(double x) { return x > 0 || isnan(x) ? sqrt(x) : 0; }

ws_status ws_delta_contrast(ws_delta **out, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                            ws_contrast_mode mode, ws_delta_info *info, ws_err *err) {
    ws_delta *p = NULL, *n = NULL, *d = NULL;
    float cp = 1, cn = -1;
    int common = 0;
    *out = NULL;
    memset(info, 0, sizeof *info);
    if (edits_of(&p, m, pos, err) || edits_of(&n, m, neg, err)) goto cleanup;
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
        cp = (float)(minus / len / info->norm_pos), cn = (float)(-minus / len / info->norm_neg);
    }
    d = ws_delta_alloc(m);
    for (int site = 0; site < ws_model_n_sites(m); site++) {
        int i = p->at_site[site], j = n->at_site[site];
        ws_edit e;
        if (i < 0 && j < 0) continue;
        if (join(&e, i < 0 ? NULL : &p->edit[i], cp, j < 0 ? NULL : &n->edit[j], cn, err) ||
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
