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
                          const char *only, ws_err *err) {
    *out = ws_delta_alloc(m);
    for (int site = 0; site < ws_model_n_sites(m); site++)
        for (int i = 0; i < ws_adapter_n_sites(a); i++) {
            ws_edit e;
            if (ws_adapter_site(a, i) != site || (only && !only[site])) continue;
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
    if (edits_of(out, m, a, NULL, NULL, err)) return err->code;
    ws_delta_set_source(*out, "mode", "delta");
    ws_delta_set_source(*out, "name", ws_adapter_kind(a));
    return WS_OK;
}

static double root(double x) { return x > 0 || isnan(x) ? sqrt(x) : 0; }

/* The diagnostics, and what each side is multiplied with. */
static ws_status diagnose(const ws_delta *p, const ws_delta *n, ws_contrast_mode mode, ws_delta_info *info, double *cp,
                          double *cn, ws_err *err) {
    int common = 0;
    memset(info, 0, sizeof *info);
    *cp = 1, *cn = -1;
    for (int i = 0; i < p->n; i++) common += n->at_site[p->site[i]] >= 0;
    if (!p->n || !n->n)
        return ws_fail(err, WS_EFORMAT, "%s side has no module of those asked for", p->n ? "NEG" : "POS");
    if (!common)
        return ws_fail(err, WS_EFORMAT, "the two adapters touch no module in common (%s ..., %s ...)",
                       ws_model_site(p->model, p->site[0])->name, ws_model_site(p->model, n->site[0])->name);
    double pp = ws_delta_dot(p, p), nn = ws_delta_dot(n, n), pn = ws_delta_dot(p, n);
    double minus = root(pp + nn - 2 * pn), plus = root(pp + nn + 2 * pn);
    info->norm_pos = root(pp), info->norm_neg = root(nn), info->norm = minus;
    info->cos_pos_neg_flipped = -pn / (info->norm_pos * info->norm_neg);
    info->asymmetry = info->norm_pos / info->norm_neg;
    info->drift_ratio = plus / minus;
    info->cos_drift = fabs(pp - nn) / (plus * minus);
    info->sites = p->n + n->n - common, info->sites_one_sided = p->n + n->n - 2 * common;
    if (!isfinite(minus)) return ws_fail(err, WS_ENONFINITE, "the norm of dW is not finite");
    if (minus == 0) ws_warn("||dW|| is 0: the two adapters are the same, steering with it does nothing");
    if (mode == WS_CONTRAST_BISECTOR) {
        double len = root(2 + 2 * info->cos_pos_neg_flipped); /* ||p/|p| - n/|n||| */
        if (!(pp > 0) || !(nn > 0) || !(len > 0))
            return ws_fail(err, WS_EFORMAT, "mode bisector needs two non-zero, different deltas (norms %g and %g)",
                           info->norm_pos, info->norm_neg);
        *cp = minus / len / info->norm_pos, *cn = -minus / len / info->norm_neg;
    }
    return WS_OK;
}

static ws_status join(ws_delta **out, const ws_delta *p, double cp, const ws_delta *n, double cn, ws_contrast_mode mode,
                      ws_delta_info *info, ws_err *err) {
    ws_delta *d = ws_delta_alloc(p->model);
    for (int site = 0; site < ws_model_n_sites(p->model); site++) {
        int i = p->at_site[site], j = n->at_site[site];
        ws_edit e;
        if (i < 0 && j < 0) continue;
        if (ws_edit_combine(&e, i < 0 ? NULL : &p->edit[i], cp, j < 0 ? NULL : &n->edit[j], cn, err) ||
            ws_delta_add(d, site, &e, err)) {
            ws_delta_free(d);
            return err->code;
        }
    }
    info->norm_w = ws_delta_weight_norm(d);
    ws_delta_set_source(d, "mode", mode == WS_CONTRAST_BISECTOR ? "bisector" : "dw");
    *out = d;
    return WS_OK;
}

ws_status ws_delta_subtract(ws_delta **out, const ws_delta *pos, const ws_delta *neg, ws_contrast_mode mode,
                            ws_delta_info *info, ws_err *err) {
    double cp, cn;
    *out = NULL;
    return diagnose(pos, neg, mode, info, &cp, &cn, err) || join(out, pos, cp, neg, cn, mode, info, err) ? err->code
                                                                                                         : WS_OK;
}

ws_status ws_delta_contrast_of(ws_delta **out, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                               ws_contrast_mode mode, const char *only, ws_delta_info *info, ws_err *err) {
    ws_delta *p = NULL, *n = NULL;
    double cp, cn;
    *out = NULL;
    if (edits_of(&p, m, pos, NULL, only, err) || edits_of(&n, m, neg, NULL, only, err) ||
        diagnose(p, n, mode, info, &cp, &cn, err))
        goto cleanup;
    /* dW mode alone: bisector weighs the sides differently, and then what they share does not cancel. */
    if (mode == WS_CONTRAST_DW) {
        ws_delta_free(p), ws_delta_free(n);
        p = n = NULL;
        if (edits_of(&p, m, pos, neg, only, err) || edits_of(&n, m, neg, pos, only, err)) goto cleanup;
    }
    if (!join(out, p, cp, n, cn, mode, info, err)) ws_delta_set_source(*out, "name", ws_adapter_kind(pos));
cleanup:
    ws_delta_free(p), ws_delta_free(n);
    return *out ? WS_OK : err->code;
}

ws_status ws_delta_contrast(ws_delta **out, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                            ws_contrast_mode mode, ws_delta_info *info, ws_err *err) {
    return ws_delta_contrast_of(out, m, pos, neg, mode, NULL, info, err);
}

/* ---------- a part of the model ---------- */

ws_status ws_delta_keep(ws_delta *d, const char *only, ws_err *err) {
    int k = 0;
    for (int i = 0; i < d->n; i++) {
        d->at_site[d->site[i]] = -1;
        if (!only[d->site[i]]) {
            ws_edit_release(&d->edit[i]), free(d->ut[i]);
            continue;
        }
        d->at_site[d->site[i]] = k;
        d->site[k] = d->site[i], d->edit[k] = d->edit[i], d->ut[k++] = d->ut[i];
    }
    d->n = k, d->weight_norm = -1;
    return k ? WS_OK : ws_fail(err, WS_EUSAGE, "dW touches none of the modules that are asked for");
}

/* The last parts of a name that an entry stands for: "q_proj", "self_attn.q_proj" or the whole name. */
static int named(const char *site, const char *entry, size_t n) {
    size_t len = strlen(site);
    return n > 0 && n <= len && !strncmp(site + len - n, entry, n) && (n == len || site[len - n - 1] == '.');
}

ws_status ws_sites_pick(char **out, const ws_model *m, int first, int last, const char *modules, ws_err *err) {
    const int n = ws_model_n_sites(m), layers = ws_model_dims(m)->layers;
    *out = NULL;
    if (first < 0 || last > layers || first >= last)
        return ws_fail(err, WS_EUSAGE, "layers %d:%d: this model has layers 0:%d (half open)", first, last, layers);
    char *only = ws_xcalloc((size_t)n, 1);
    for (int i = 0; i < n; i++) {
        const ws_site *at = ws_model_site(m, i);
        only[i] = at->kind == WS_SITE_LINEAR && at->layer >= first && at->layer < last && !modules;
    }
    for (const char *p = modules; p; p = p[strcspn(p, ",")] ? p + strcspn(p, ",") + 1 : NULL) {
        const size_t len = strcspn(p, ",");
        int found = 0;
        for (int i = 0; i < n; i++) {
            const ws_site *at = ws_model_site(m, i);
            if (at->kind != WS_SITE_LINEAR || !named(at->name, p, len)) continue;
            found = 1;
            only[i] |= at->layer >= first && at->layer < last;
        }
        if (!found) {
            free(only);
            return ws_fail(err, WS_EUSAGE, "module '%.*s' names no linear layer of this model", (int)len, p);
        }
    }
    *out = only;
    return WS_OK;
}
