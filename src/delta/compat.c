/* src/delta/compat.c - the BF16 merge and subtraction of the reference program, rows at a time, and what it loses of dW.
 * PEFT's rules (adapters.md 2): theta is computed in fp32 and rounded once, but DeLoRA's change is rounded before it is added,
 * and PiSSA's residual before the adapter is added to it. */
#include "delta/compat.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float rounded(float x) { return ws_bf16_f32(ws_f32_bf16(x)); }

/* An adapter at one site: theta - W, and theta - W_res where the adapter runs beside a changed weight. */
typedef struct side {
    ws_edit dw, beside;
    int here, has_beside, rounds;
} side;

static void side_release(side *s) {
    if (s->here) ws_edit_release(&s->dw);
    if (s->has_beside) ws_edit_release(&s->beside);
    *s = (side){0};
}

static ws_status side_at(side *s, const ws_adapter *a, int site, ws_err *err) {
    *s = (side){0};
    for (int i = 0; i < ws_adapter_n_sites(a); i++) {
        if (ws_adapter_site(a, i) != site) continue;
        if (ws_adapter_edit(a, i, &s->dw, err)) return err->code;
        s->here = 1, s->rounds = ws_adapter_merge_rounds(a);
        if (!ws_adapter_residual(a)) break;
        if (ws_adapter_contrast_edit(a, a, i, &s->beside, err)) {
            side_release(s);
            return err->code;
        }
        s->has_beside = 1;
    }
    return WS_OK;
}

/* w [rows, d_in] in BF16 numbers -> out, merged; scratch holds two times as many. */
static void merge(const side *s, const ws_weight *of, int64_t r0, int64_t r1, const float *w, float *out,
                  float *scratch) {
    const int64_t n = (r1 - r0) * of->cols;
    float *dw = scratch, *beside = scratch + n;
    memcpy(out, w, (size_t)n * sizeof *out);
    if (!s->here) return;
    ws_edit_rows(&s->dw, of, r0, r1, dw);
    if (s->has_beside) {
        ws_edit_rows(&s->beside, of, r0, r1, beside);
        for (int64_t i = 0; i < n; i++) {
            const float residual = rounded((float)((double)w[i] - ((double)beside[i] - (double)dw[i])));
            out[i] = rounded(residual + beside[i]);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) out[i] = rounded(w[i] + (s->rounds ? rounded(dw[i]) : dw[i]));
}

static void weight_rows(const ws_weight *w, int64_t r0, int64_t n, float *out) {
    ws_weight_rows_f32(w, r0, n, out);
    for (int64_t i = 0; w->type != WS_BF16 && i < n * w->cols; i++) out[i] = rounded(out[i]);
}

ws_status ws_compat_merged(const ws_model *m, const ws_adapter *a, int site, int64_t r0, int64_t r1, float *out,
                           ws_err *err) {
    const ws_weight *w = ws_model_site(m, site)->w;
    const size_t n = (size_t)((r1 - r0) * w->cols);
    side s;
    if (side_at(&s, a, site, err)) return err->code;
    float *rows = ws_xmalloc(3 * n * sizeof *rows);
    weight_rows(w, r0, r1 - r0, rows);
    merge(&s, w, r0, r1, rows, out, rows + n);
    free(rows);
    side_release(&s);
    return WS_OK;
}

/* ---------- one site ---------- */

enum { ROWS = 16 };
typedef struct sums {
    double w, dw, lost, applied; /* squares */
} sums;
typedef struct work {
    const ws_weight *w;
    side side[2];
    float *out; /* [d_out, d_in] or NULL */
    sums *part; /* [chunks] or NULL */
} work;

static void subtract(void *arg, int64_t begin, int64_t end) {
    const work *k = arg;
    const int64_t n = (end - begin) * k->w->cols;
    float *w = ws_xmalloc((size_t)(5 * n) * sizeof *w), *p = w + n, *q = p + n, *scratch = q + n;
    sums s = {0};
    weight_rows(k->w, begin, end - begin, w);
    merge(&k->side[0], k->w, begin, end, w, p, scratch);
    merge(&k->side[1], k->w, begin, end, w, q, scratch);
    for (int64_t i = 0; i < n; i++) p[i] = rounded(rounded(p[i] - w[i]) - rounded(q[i] - w[i]));
    if (k->out) memcpy(k->out + begin * k->w->cols, p, (size_t)n * sizeof *p);
    if (k->part) {
        float *dp = scratch, *dn = scratch + n;
        memset(scratch, 0, (size_t)(2 * n) * sizeof *scratch);
        if (k->side[0].here) ws_edit_rows(&k->side[0].dw, k->w, begin, end, dp);
        if (k->side[1].here) ws_edit_rows(&k->side[1].dw, k->w, begin, end, dn);
        for (int64_t i = 0; i < n; i++) {
            const double exact = (double)dp[i] - (double)dn[i], off = (double)p[i] - exact;
            const double held = (double)rounded(w[i] + p[i]) - (double)w[i] - exact;
            s.w += (double)w[i] * (double)w[i], s.dw += exact * exact;
            s.lost += off * off, s.applied += held * held;
        }
        k->part[begin / ROWS] = s;
    }
    free(w);
}

static ws_status at_site(const ws_model *m, const ws_adapter *pos, const ws_adapter *neg, int site, float *out,
                         sums *sum, ws_err *err) {
    work k = {.w = ws_model_site(m, site)->w, .out = out};
    if (side_at(&k.side[0], pos, site, err)) return err->code;
    if (side_at(&k.side[1], neg, site, err)) {
        side_release(&k.side[0]);
        return err->code;
    }
    const int64_t chunks = (k.w->rows + ROWS - 1) / ROWS;
    if (sum) k.part = ws_xcalloc((size_t)chunks, sizeof *k.part);
    ws_parallel_for(k.w->rows, ROWS, subtract, &k);
    for (int64_t i = 0; sum && i < chunks; i++) {
        sum->w += k.part[i].w, sum->dw += k.part[i].dw;
        sum->lost += k.part[i].lost, sum->applied += k.part[i].applied;
    }
    free(k.part);
    side_release(&k.side[0]), side_release(&k.side[1]);
    return WS_OK;
}

ws_status ws_compat_dw(const ws_model *m, const ws_adapter *pos, const ws_adapter *neg, int site, float *out,
                       ws_err *err) {
    return at_site(m, pos, neg, site, out, NULL, err);
}

/* ---------- all sites ---------- */

/* "mlp.down_proj" of "model.layers.3.mlp.down_proj". */
static const char *kind_of(const char *name) {
    const char *kind = strstr(name, "layers.");
    kind = kind ? strchr(kind + strlen("layers."), '.') : NULL;
    return kind ? kind + 1 : name;
}

static int touched(const ws_adapter *pos, const ws_adapter *neg, int site, const char *only) {
    const ws_adapter *const a[2] = {pos, neg};
    for (int s = 0; s < 2 && (!only || only[site]); s++)
        for (int i = 0; i < ws_adapter_n_sites(a[s]); i++)
            if (ws_adapter_site(a[s], i) == site) return 1;
    return 0;
}

static ws_compat_part finished(char *kind, int sites, const sums *s) {
    ws_compat_part p = {kind, sites, sqrt(s->w), sqrt(s->dw), NAN, NAN};
    if (s->dw > 0) p.lost = sqrt(s->lost / s->dw), p.applied = sqrt(s->applied / s->dw);
    return p;
}

ws_status ws_compat_loss(ws_compat_part **out, int *n, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                         const char *only, ws_err *err) {
    int sites = 0, done = 0, kinds = 0, *count = NULL;
    const char **kind = NULL;
    sums *sum = NULL, all = {0};
    ws_progress bar;
    ws_status st = WS_OK;
    *out = NULL, *n = 0;
    for (int s = 0; s < ws_model_n_sites(m); s++) sites += touched(pos, neg, s, only);
    ws_progress_start(&bar, "compat", "modules", sites);
    for (int s = 0; s < ws_model_n_sites(m) && !st; s++) {
        if (!touched(pos, neg, s, only)) continue;
        const char *name = kind_of(ws_model_site(m, s)->name);
        sums one = {0};
        int k = 0;
        if ((st = ws_interrupt_check(err)) || (st = at_site(m, pos, neg, s, NULL, &one, err))) break;
        while (k < kinds && strcmp(kind[k], name)) k++;
        if (k == kinds) {
            kind = ws_xrealloc(kind, (size_t)(kinds + 1) * sizeof *kind);
            count = ws_xrealloc(count, (size_t)(kinds + 1) * sizeof *count);
            sum = ws_xrealloc(sum, (size_t)(kinds + 1) * sizeof *sum);
            kind[k] = name, count[k] = 0, sum[k] = (sums){0}, kinds++;
        }
        count[k]++;
        sums *const to[2] = {&sum[k], &all};
        for (int j = 0; j < 2; j++)
            to[j]->w += one.w, to[j]->dw += one.dw, to[j]->lost += one.lost, to[j]->applied += one.applied;
        ws_progress_update(&bar, ++done, NULL);
    }
    ws_progress_end(&bar);
    if (!st) {
        *out = ws_xmalloc((size_t)(kinds + 1) * sizeof **out);
        for (int k = 0; k < kinds; k++) (*out)[(*n)++] = finished(ws_xstrdup(kind[k]), count[k], &sum[k]);
        (*out)[(*n)++] = finished(NULL, sites, &all);
    }
    free(kind), free(count), free(sum);
    return st;
}

void ws_compat_free(ws_compat_part *p, int n) {
    for (int i = 0; i < n; i++) free(p[i].kind);
    free(p);
}
