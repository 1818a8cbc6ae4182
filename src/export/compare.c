#include "export/compare.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "calibrate/kl.h"
#include <math.h>
#include <stdlib.h>

enum { AT_ONCE = 16 }; /* positions whose logits are held at once */

static float *hidden_of(const ws_voice *v, const ws_ids *ids, ws_err *err) {
    float *h = ws_try_alloc((size_t)ids->n, (size_t)ws_model_dims(v->m)->hidden * sizeof *h);
    const float **alpha = ws_xcalloc((size_t)v->n + 1, sizeof *alpha);
    const ws_row row = {-1, ids->id, ids->n, ids->n};
    const ws_batch b = {1, &row, v->n, v->patch, alpha};
    for (int i = 0; i < v->n; i++) alpha[i] = &v->alpha[i];
    ws_status st = h ? WS_OK : ws_fail(err, WS_ENOMEM, "no memory for %d positions", ids->n);
    if (!st) st = ws_forward(v->m, NULL, &b, h, err);
    free(alpha);
    if (!st) return h;
    free(h);
    return NULL;
}

typedef struct rows {
    const float *a, *b, *base; /* [., vocab] logits */
    float *scratch;            /* [AT_ONCE, vocab] */
    int64_t vocab;
    double dlogp[AT_ONCE], kl[AT_ONCE], moved[AT_ONCE];
} rows;

static double log_sum(const float *x, int64_t n) {
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) top = (double)x[i] > top ? (double)x[i] : top;
    for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - top);
    return top + log(sum);
}

static void judge(void *arg, int64_t begin, int64_t end) {
    rows *r = arg;
    for (int64_t p = begin; p < end; p++) {
        const float *a = r->a + p * r->vocab, *b = r->b + p * r->vocab, *base = r->base + p * r->vocab;
        double za = log_sum(a, r->vocab), zb = log_sum(b, r->vocab), worst = 0;
        for (int64_t i = 0; i < r->vocab; i++) {
            double d = fabs(((double)a[i] - za) - ((double)b[i] - zb));
            if (d > worst || isnan(d)) worst = d;
        }
        r->dlogp[p] = worst;
        r->kl[p] = ws_kl_row(b, a, r->vocab, r->scratch + p * r->vocab, NULL);
        r->moved[p] = ws_kl_row(a, base, r->vocab, r->scratch + p * r->vocab, NULL);
    }
}

static ws_status one_prompt(const ws_voice *const voice[3], const ws_ids *ids, float *logits, ws_agreement *out,
                            ws_err *err) {
    const int64_t vocab = ws_model_dims(voice[0]->m)->vocab, d = ws_model_dims(voice[0]->m)->hidden;
    float *h[3] = {NULL, NULL, NULL};
    ws_status st = WS_OK;
    for (int k = 0; k < 3 && !st; k++)
        if (!(h[k] = hidden_of(voice[k], ids, err))) st = err->code;
    for (int at = 0; at < ids->n && !st; at += AT_ONCE) {
        int n = ids->n - at < AT_ONCE ? ids->n - at : AT_ONCE;
        for (int k = 0; k < 3; k++) ws_head(voice[k]->m, h[k] + at * d, n, logits + k * AT_ONCE * vocab);
        rows r = {logits,
                  logits + AT_ONCE * vocab,
                  logits + 2 * AT_ONCE * vocab,
                  logits + 3 * AT_ONCE * vocab,
                  vocab,
                  {0},
                  {0},
                  {0}};
        ws_parallel_for(n, 1, judge, &r);
        for (int p = 0; p < n; p++) {
            out->positions++;
            if (r.dlogp[p] > out->max_dlogp || isnan(r.dlogp[p])) out->max_dlogp = r.dlogp[p];
            if (r.kl[p] > out->max_kl || isnan(r.kl[p])) out->max_kl = r.kl[p];
            out->mean_kl += r.kl[p], out->mean_kl_unedited += r.moved[p];
        }
    }
    for (int k = 0; k < 3; k++) free(h[k]);
    return st;
}

ws_status ws_compare(const ws_voice *a, const ws_voice *b, ws_model *base, const ws_ids *prompt, int n,
                     ws_agreement *out, ws_err *err) {
    const ws_voice plain = {.m = base}, *const voice[3] = {a, b, &plain};
    const int64_t vocab = ws_model_dims(a->m)->vocab;
    ws_progress bar;
    ws_status st = WS_OK;
    *out = (ws_agreement){0};
    if (ws_model_dims(b->m)->vocab != vocab || ws_model_dims(b->m)->hidden != ws_model_dims(a->m)->hidden)
        return ws_fail(err, WS_ESHAPE, "what was written has a vocabulary of %lld, the model one of %lld",
                       (long long)ws_model_dims(b->m)->vocab, (long long)vocab);
    float *logits = ws_try_alloc((size_t)(4 * AT_ONCE), (size_t)vocab * sizeof *logits);
    if (!logits) return ws_fail(err, WS_ENOMEM, "no memory for the logits of %d positions", AT_ONCE);
    ws_progress_start(&bar, "compare", "prompts", n);
    for (int i = 0; i < n && !st; i++) {
        st = one_prompt(voice, &prompt[i], logits, out, err);
        if (!st) st = ws_interrupt_check(err);
        ws_progress_update(&bar, i + 1, NULL);
    }
    ws_progress_end(&bar);
    free(logits);
    if (!st && out->positions) out->mean_kl /= (double)out->positions, out->mean_kl_unedited /= (double)out->positions;
    if (!st && !(isfinite(out->mean_kl) && isfinite(out->max_dlogp)))
        st = ws_fail(err, WS_ENONFINITE,
                     "the log-probabilities of what was written, or of the steered model, are not "
                     "finite; choose a smaller strength");
    return st;
}
