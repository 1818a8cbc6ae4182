#include "run/speed.h"
#include "base/progress.h"
#include <math.h>
#include <stdlib.h>

enum { ROWS = 16 };

static double linear_flops(const ws_model *m) {
    double n = 0;
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        if (s->kind == WS_SITE_LINEAR) n += 2.0 * (double)s->d_in * (double)s->d_out;
    }
    return n;
}

/* Seconds of one forward of `rows` rows of `n` tokens each, with one row of logits each; the fastest of four runs counts:
 * the first one allocates, and others may want the cores for a moment. */
static ws_status timed(ws_model *m, int rows, int n, double *seconds, ws_err *err) {
    const ws_dims *d = ws_model_dims(m);
    int32_t *ids = ws_xcalloc((size_t)n, sizeof *ids);
    float *hidden = ws_try_alloc((size_t)rows * (size_t)d->hidden, sizeof *hidden);
    float *logits = ws_try_alloc((size_t)rows * (size_t)d->vocab, sizeof *logits);
    ws_row row[ROWS];
    ws_state *state = NULL;
    ws_status st = WS_OK;
    for (int i = 0; i < n; i++) ids[i] = (int32_t)((i * 7919 + 11) % (d->vocab < 1000 ? d->vocab : 1000));
    if (!hidden || !logits) st = ws_fail(err, WS_ENOMEM, "out of memory while measuring the speed");
    if (!st) st = ws_state_new(&state, m, err);
    for (int run = 0; run < 4 && !st; run++) {
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

ws_status ws_speed_measure(ws_speed *s, ws_model *m, ws_err *err) {
    const ws_dims *d = ws_model_dims(m);
    double t;
    s->flops_token = linear_flops(m);
    s->flops_head = 2.0 * (double)d->hidden * (double)d->vocab;
    /* about 3e10 FLOP, a fifth of a second on two AVX2 cores; at least 16 tokens */
    double want = 3e10 / s->flops_token;
    int n = want < 16 ? 16 : want > 128 ? 128 : (int)want;
    if (timed(m, 1, n, &t, err)) return err->code;
    s->prefill = (n * s->flops_token + s->flops_head) / fmax(t, 1e-6);
    int rows = (int)(3e10 / (s->flops_token + s->flops_head));
    rows = rows < 4 ? 4 : rows > ROWS ? ROWS : rows;
    if (timed(m, rows, 1, &t, err)) return err->code;
    s->decode = rows * (s->flops_token + s->flops_head) / fmax(t, 1e-6);
    return WS_OK;
}

double ws_speed_prefill(const ws_speed *s, double tokens, double logits) {
    return (tokens * s->flops_token + logits * s->flops_head) / s->prefill;
}
double ws_speed_decode(const ws_speed *s, double tokens) {
    return tokens * (s->flops_token + s->flops_head) / s->decode;
}
