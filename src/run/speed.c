#include "run/speed.h"
#include "base/log.h"
#include "base/progress.h"
#include "kernel/peak.h"
#include <math.h>
#include <stdlib.h>

enum { FEW = 2, MANY = 16 };

static double linear_flops(const ws_model *m) {
    double n = 0;
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        if (s->kind == WS_SITE_LINEAR) n += 2.0 * (double)s->d_in * (double)s->d_out;
    }
    return n;
}

/* Seconds of one forward of `rows` rows of `n` tokens each, with one row of logits each; the fastest of some runs counts:
 * the first one allocates, and others may want the cores for a moment. */
static ws_status timed(ws_model *m, int rows, int n, int runs, double *seconds, ws_err *err) {
    const ws_dims *d = ws_model_dims(m);
    int32_t *ids = ws_xcalloc((size_t)n, sizeof *ids);
    float *hidden = ws_try_alloc((size_t)rows * (size_t)d->hidden, sizeof *hidden);
    float *logits = ws_try_alloc((size_t)rows * (size_t)d->vocab, sizeof *logits);
    ws_row row[MANY];
    ws_state *state = NULL;
    ws_status st = WS_OK;
    for (int i = 0; i < n; i++) ids[i] = (int32_t)((i * 7919 + 11) % (d->vocab < 1000 ? d->vocab : 1000));
    if (!hidden || !logits) st = ws_fail(err, WS_ENOMEM, "out of memory while measuring the speed");
    if (!st) st = ws_state_new(&state, m, err);
    for (int run = 0; run < runs && !st; run++) {
        for (int r = 0; r < rows; r++) row[r] = (ws_row){ws_seq_new(state), ids, n, 1};
        ws_batch b = {rows, row, 0, NULL, NULL};
        double t = ws_now();
        st = ws_forward(m, state, &b, hidden, err);
        if (!st) ws_head(m, hidden, rows, logits);
        t = ws_now() - t;
        *seconds = run && *seconds < t ? *seconds : t;
        for (int r = 0; r < rows; r++) ws_seq_free(state, row[r].seq);
    }
    ws_state_free(state);
    free(ids);
    free(hidden);
    free(logits);
    return st;
}

ws_speed ws_speed_none(const ws_model *m) {
    const ws_dims *d = ws_model_dims(m);
    return (ws_speed){linear_flops(m), 2.0 * (double)d->hidden * (double)d->vocab, (double)INFINITY, 0, 0, 0};
}

ws_status ws_speed_measure(ws_speed *s, ws_model *m, ws_err *err) {
    double t, few, many;
    *s = ws_speed_none(m);
    /* 3e11 FLOP are a few seconds on two AVX2 cores; at least 16 tokens, and no more than 128 */
    double want = 3e11 / s->flops_token, word = s->flops_token + s->flops_head;
    int n = want < 16 ? 16 : want > 128 ? 128 : (int)want, runs = word > 1e9 ? 2 : 4;
    if (word > 2e9) ws_note("measuring how fast this machine runs the model ...");
    s->peak = ws_peak_multiply(0) * 1e9;
    if (timed(m, 1, n, runs, &t, err) || timed(m, FEW, 1, runs, &few, err) || timed(m, MANY, 1, runs, &many, err))
        return err->code;
    s->prefill = (n * s->flops_token + s->flops_head) / fmax(t, 1e-6);
    s->row = fmax((many - few) / (MANY - FEW), few * 1e-3); /* noise must not make rows free */
    s->step = fmax(few - FEW * s->row, 0);
    return WS_OK;
}

ws_speed ws_speed_scaled(const ws_speed *s, double compute, double memory) {
    ws_speed v = *s;
    v.prefill *= compute, v.row /= compute, v.step /= memory, v.peak *= compute;
    return v;
}

double ws_speed_prefill(const ws_speed *s, double tokens, double logits) {
    return (tokens * s->flops_token + logits * s->flops_head) / s->prefill;
}

double ws_speed_decode(const ws_speed *s, double tokens, double rows) {
    return tokens * (s->step / fmax(rows, 1) + s->row);
}

/* An adapter of F numbers costs 2 F FLOPs forward and 4 F backward; the head is read once each way. */
double ws_speed_train(const ws_speed *s, double tokens, double supervised, double above, int recompute, double floats) {
    double blocks = s->flops_token * (1 + above * (recompute ? 2 : 1)) + 6 * floats;
    return (tokens * blocks + 2 * supervised * s->flops_head) / s->prefill;
}
