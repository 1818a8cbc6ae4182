#include "run/measure.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/rng.h"
#include "family/family.h"
#include "generate/generate.h"
#include "kernel/peak.h"
#include "train/optimiser.h"
#include "train/plan.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t status_bytes(const char *line, const char *key) {
    long long kib = 0;
    size_t n = strlen(key);
    return !strncmp(line, key, n) && sscanf(line + n, ": %lld", &kib) == 1 ? (int64_t)kib * 1024 : 0;
}

ws_resident ws_resident_now(void) {
    ws_resident r = {0};
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        r.most += status_bytes(line, "VmHWM");
        r.file += status_bytes(line, "RssFile");
        r.own += status_bytes(line, "RssAnon");
    }
    if (f) fclose(f);
    return r;
}

double ws_flops_token(const ws_model *m, int from_layer) {
    double n = 0;
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        if (s->kind == WS_SITE_LINEAR && s->layer >= from_layer) n += 2.0 * (double)s->d_in * (double)s->d_out;
    }
    return n;
}

double ws_flops_head(const ws_model *m) {
    const ws_dims *d = ws_model_dims(m);
    return 2.0 * (double)d->hidden * (double)d->vocab;
}

double ws_bytes_step(const ws_model *m) {
    const ws_weight *head = &ws_model_arch(m)->head;
    double n = (double)head->rows * (double)head->row_bytes;
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        if (s->kind == WS_SITE_LINEAR) n += (double)s->w->rows * (double)s->w->row_bytes;
    }
    return n;
}

static double config_number(const ws_model *m, const char *key) {
    return json_number_value(json_object_get(ws_checkpoint_config(ws_model_checkpoint(m)), key));
}

/* Attention: two products over the positions up to its own for each query head.  Delta rule, recurrent form: decay,
 * prediction, update and reading of a state, 3.5 multiply-adds for each of its dk x dv numbers (models.md 5.3). */
double ws_flops_mix(const ws_model *m, int from_layer, int64_t n) {
    const ws_dims *d = ws_model_dims(m);
    double attention = 0, delta = 0;
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        const char *end = strrchr(s->name, '.');
        if (s->kind != WS_SITE_LINEAR || s->layer < from_layer || !end) continue;
        attention += !strcmp(end, ".k_proj"), delta += !strcmp(end, ".in_proj_qkv");
    }
    double flops = 4.0 * d->heads * d->head_dim * attention * (double)n * (double)(n + 1) / 2;
    if (delta > 0)
        flops += 7.0 * config_number(m, "linear_num_value_heads") * config_number(m, "linear_key_head_dim") *
                 config_number(m, "linear_value_head_dim") * delta * (double)n;
    return flops;
}

/* Ids of no meaning that differ from row to row, so that no two rows begin alike. */
static int32_t *some_ids(const ws_model *m, int64_t n, int row) {
    int64_t vocab = ws_model_dims(m)->vocab, most = vocab < 250 ? vocab : 250;
    int32_t *ids = ws_xcalloc((size_t)n, sizeof *ids);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)((i * 7919 + row * 31 + (int64_t)row * row) % most);
    return ids;
}

static double fma_peak(double before) {
    double now = ws_peak_multiply(0) * 1e9;
    return now > before ? now : before;
}

static double read_peak(double before) {
    double now = ws_peak_read(0) * 1e9;
    return now > before ? now : before;
}

static void round_done(ws_measured *out, double seconds) {
    if (!out->rounds) out->first = out->seconds = seconds;
    if (seconds < out->seconds) out->seconds = seconds;
    out->rounds++;
}

ws_status ws_measure_train(ws_measured *out, ws_model *m, const ws_adapter_config *cfg, int rows, int tokens,
                           int rounds, int64_t memory, ws_err *err) {
    ws_adapter *a = NULL;
    ws_adamw opt = {0};
    ws_train_row *row = ws_xcalloc((size_t)rows, sizeof *row);
    int first = tokens / 4 > 1 ? tokens / 4 : 1;
    ws_status st = ws_adapter_new(&a, m, cfg, err);
    *out = (ws_measured){.peak = fma_peak(0)};
    if (!st) st = ws_adamw_new(&opt, ws_adapter_size(a), 0.01, 1, err);
    for (int r = 0; r < rows; r++)
        row[r] = (ws_train_row){some_ids(m, tokens, r), tokens, first, 1.0f / (float)(rows * (tokens - first))};
    if (!st) {
        int low = ws_adapter_lowest_layer(a);
        double all = (double)rows * tokens;
        int64_t one;
        ws_train_plan plan =
            ws_train_plan_for(m, (int64_t)rows * tokens, tokens, (ws_patch *const[]){ws_adapter_patch(a)}, 1, 0,
                              memory ? memory : ws_train_budget(m));
        ws_model_set_part(m, plan.part);
        out->rows = ws_train_part(row, rows, plan.part, &one), out->recompute = plan.recompute;
        out->tokens = (int64_t)rows * tokens;
        out->flops = all * (ws_flops_token(m, 0) + ws_flops_token(m, low) + 6.0 * (double)ws_adapter_size(a)) +
                     rows * (ws_flops_mix(m, 0, tokens) + 2 * ws_flops_mix(m, low, tokens)) +
                     2.0 * rows * (tokens - first) * ws_flops_head(m);
        ws_adapter_init(a, 0);
    }
    for (int k = 0; k < rounds && !st; k++) {
        ws_train_out loss;
        double norm, t = ws_now();
        ws_patch *patch = ws_adapter_patch(a);
        if ((st = ws_interrupt_check(err))) break;
        ws_adapter_zero_grad(a);
        st = ws_train_pass(m, row, rows, &patch, 1, 0, &loss, NULL, err);
        if (st) break;
        ws_adapter_finish_grad(a);
        st = ws_adamw_step(&opt, a, m, k, 1e-4, &norm, err);
        round_done(out, ws_now() - t);
    }
    out->peak = fma_peak(out->peak);
    for (int r = 0; r < rows; r++) free((void *)(uintptr_t)row[r].ids);
    free(row);
    ws_adamw_release(&opt);
    ws_adapter_free(a);
    return st;
}

ws_status ws_measure_prefill(ws_measured *out, ws_model *m, int rows, int tokens, int rounds, ws_err *err) {
    const ws_dims *d = ws_model_dims(m);
    ws_row *row = ws_xcalloc((size_t)rows, sizeof *row);
    float *hidden = ws_try_alloc((size_t)rows * (size_t)d->hidden, sizeof *hidden);
    float *logits = ws_try_alloc((size_t)rows * (size_t)d->vocab, sizeof *logits);
    ws_state *state = NULL;
    ws_status st = WS_OK;
    *out = (ws_measured){.tokens = (int64_t)rows * tokens, .rows = rows, .peak = fma_peak(0)};
    out->flops = rows * (tokens * ws_flops_token(m, 0) + ws_flops_mix(m, 0, tokens) + ws_flops_head(m));
    if (!hidden || !logits) st = ws_fail(err, WS_ENOMEM, "out of memory for %d rows of logits", rows);
    if (!st) st = ws_state_new(&state, m, err);
    for (int r = 0; r < rows; r++) row[r].ids = some_ids(m, tokens, r);
    for (int k = 0; k < rounds && !st; k++) {
        if ((st = ws_interrupt_check(err))) break;
        for (int r = 0; r < rows; r++) row[r].seq = ws_seq_new(state), row[r].n = tokens, row[r].n_out = 1;
        ws_batch b = {rows, row, 0, NULL, NULL};
        double t = ws_now();
        st = ws_forward(m, state, &b, hidden, err);
        if (!st) ws_head(m, hidden, rows, logits);
        if (!st) round_done(out, ws_now() - t);
        for (int r = 0; r < rows; r++) ws_seq_free(state, row[r].seq);
    }
    out->peak = fma_peak(out->peak);
    for (int r = 0; r < rows; r++) free((void *)(uintptr_t)row[r].ids);
    ws_state_free(state);
    free(row);
    free(hidden);
    free(logits);
    return st;
}

typedef struct decode_clock {
    int rows, started;
    char *seen;                    /* [rows] */
    int64_t early, wanted, tokens; /* before every row spoke; to be counted since; counted */
    double begun, last;            /* moment when the last row began; moment of the last token that counts */
} decode_clock;

static ws_status token(void *arg, int index, int32_t id, ws_err *err) {
    decode_clock *c = arg;
    (void)id;
    if (c->started < c->rows) {
        c->early++;
        if (!c->seen[index]) c->seen[index] = 1, c->started++;
        c->begun = ws_now();
        return WS_OK;
    }
    c->last = ws_now();
    return ++c->tokens < c->wanted ? WS_OK : ws_fail(err, WS_EINTERRUPTED, "enough");
}

ws_status ws_measure_decode(ws_measured *out, ws_measured *prompts, ws_model *m, int rows, int context, int tokens,
                            int rounds, ws_patch *patch, ws_err *err) {
    ws_gen_request *req = ws_xcalloc((size_t)rows, sizeof *req);
    float *alpha = ws_xcalloc((size_t)rows, sizeof *alpha);
    char *seen = ws_xcalloc((size_t)rows, 1);
    ws_gen_options o = {.sampling = {.temperature = 0.7, .top_k = 20, .top_p = 0.8},
                        .stream = "bench",
                        .max_rows = rows,
                        .n_patches = patch ? 1 : 0,
                        .patch = &patch,
                        .progress = "decode"};
    /* The first rows speak while the last ones are still being read, at worst one token a row and 256 prompt tokens: they
     * must not be through before the others begin. */
    const int early = (int)((int64_t)rows * context / 256) + rows;
    const double flops = ws_flops_token(m, 0), bytes = ws_bytes_step(m);
    const double word = flops + ws_flops_head(m) + ws_flops_mix(m, 0, context + tokens / 2) -
                        ws_flops_mix(m, 0, context + tokens / 2 - 1); /* one token at about that position */
    ws_status st = WS_OK;
    *prompts = (ws_measured){.tokens = (int64_t)rows * context, .rows = rows, .peak = fma_peak(0)};
    *out = (ws_measured){.tokens = (int64_t)rows * tokens, .rows = rows, .bytes = bytes, .read = read_peak(0)};
    for (int r = 0; r < rows; r++) {
        alpha[r] = 0.05f * (float)ws_counter_uniform(1, "bench.alpha", (uint64_t)r, 0) + 0.01f;
        req[r] = (ws_gen_request){.prompt = some_ids(m, context, r),
                                  .n_prompt = context,
                                  .max_new = early + tokens,
                                  .min_new = early + tokens,
                                  .alpha = &alpha[r],
                                  .stream_row = (uint64_t)r};
    }
    for (int k = 0; k < rounds && !st; k++) {
        decode_clock c = {.rows = rows, .seen = memset(seen, 0, (size_t)rows), .wanted = out->tokens};
        double t = ws_now();
        st = ws_generate(m, req, rows, &o, NULL, token, &c, err);
        if (st && c.tokens == c.wanted) st = err->code = WS_OK;
        if (st) break;
        if (!k || c.begun - t < prompts->seconds)
            prompts->flops = rows * (context * flops + ws_flops_mix(m, 0, context)) + (double)c.early * word;
        round_done(prompts, c.begun - t);
        round_done(out, c.last - c.begun);
    }
    out->flops = (double)out->tokens * word;
    out->peak = prompts->peak = fma_peak(prompts->peak);
    out->read = read_peak(out->read);
    for (int r = 0; r < rows; r++) free((void *)(uintptr_t)req[r].prompt);
    free(req);
    free(alpha);
    free(seen);
    return st;
}
