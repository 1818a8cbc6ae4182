#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/str.h"
#include "calibrate/kl_impl.h"
#include "kernel/kernel.h"
#include "ops/kv.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEARD = 32 }; /* answers of so many strengths are remembered */

double ws_kl_row(const float *s, const float *b, int64_t vocab, float *e, int32_t *argmax) {
    float ms = ws_k.max(s, vocab), mb = ws_k.max(b, vocab);
    if (!isfinite(ms) || !isfinite(mb)) return NAN;
    if (argmax) {
        int32_t i = 0;
        while (s[i] != ms) i++;
        *argmax = i;
    }
    double zb = ws_k.exp_sum(NULL, b, mb, vocab), zs = ws_k.exp_sum(e, s, ms, vocab);
    /* sum p (logp_s - logp_b) with the constant taken out first: what is summed is small where the two agree */
    double c = (ms + log(zs)) - (mb + log(zb)), lane[8] = {0};
    int64_t v = 0;
    for (; v + 8 <= vocab; v += 8)
        for (int j = 0; j < 8; j++) lane[j] += (double)e[v + j] * ((double)s[v + j] - (double)b[v + j] - c);
    for (; v < vocab; v++) lane[v & 7] += (double)e[v] * ((double)s[v] - (double)b[v] - c);
    double kl = (((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]))) / zs;
    return isfinite(kl) ? kl : NAN;
}

void ws_kl_result_free(ws_kl_result *r) {
    if (!r) return;
    free(r->n), free(r->kl), free(r->ids);
    *r = (ws_kl_result){0};
}

/* What a sequence of so many tokens takes: keys and values come in whole pages. */
static int64_t seq_bytes(const ws_model *m, int64_t tokens) {
    return (tokens + WS_KV_PAGE - 1) / WS_KV_PAGE * WS_KV_PAGE * ws_model_token_bytes(m) + ws_model_seq_bytes(m);
}

int64_t ws_kl_budget(const ws_model *m) { return ((int64_t)1 << 30) + 16 * ws_model_seq_bytes(m); }

/* Tokens that all n prompts begin with; each keeps at least one of its own. */
static int common_prefix(const ws_kl_prompt *p, int n, int steered) {
    const int32_t *a = steered ? p[0].steered : p[0].base;
    int len = (steered ? p[0].n_steered : p[0].n_base) - 1;
    for (int i = 1; i < n; i++) {
        const int32_t *b = steered ? p[i].steered : p[i].base;
        int m = (steered ? p[i].n_steered : p[i].n_base) - 1;
        if (m < len) len = m;
        for (int j = 0; j < len; j++)
            if (a[j] != b[j]) len = j;
    }
    return len;
}

ws_status ws_kl_new(ws_kl **out, ws_model *m, const ws_kl_prompt *prompt, int n, int n_tokens, int32_t eos,
                    int64_t budget, ws_err *err) {
    const ws_dims *dim = ws_model_dims(m);
    if (n < 1 || n_tokens < 1)
        return ws_fail(err, WS_EUSAGE, "calibration needs at least one prompt and one token, not %d and %d", n,
                       n_tokens);
    int64_t total = 0;
    for (int i = 0; i < n; i++) {
        int longest = prompt[i].n_base > prompt[i].n_steered ? prompt[i].n_base : prompt[i].n_steered;
        if (prompt[i].n_base < 1 || prompt[i].n_steered < 1)
            return ws_fail(err, WS_EUSAGE, "calibration prompt %d is empty", i);
        if (longest + n_tokens > dim->max_pos)
            return ws_fail(err, WS_EUSAGE,
                           "calibration prompt %d: %d tokens and %d generated ones exceed the model's %d positions", i,
                           longest, n_tokens, dim->max_pos);
        total += seq_bytes(m, prompt[i].n_base);
    }
    ws_kl *k = ws_xcalloc(1, sizeof *k);
    *k = (ws_kl){.m = m,
                 .prompt = prompt,
                 .n = n,
                 .n_tokens = n_tokens,
                 .eos = eos,
                 .d = dim->hidden,
                 .vocab = dim->vocab,
                 .base_header = -1};
    k->budget = budget > 0 ? budget : ws_kl_budget(m);
    k->keep = total <= k->budget / 2;
    if (k->keep) k->budget -= total;
    const int64_t tracks = 2 * (seq_bytes(m, n_tokens + WS_KV_PAGE) - ws_model_seq_bytes(m)) * n; /* of two strengths */
    k->keep_tracks = k->keep && tracks <= k->budget / 4;
    if (k->keep_tracks) k->budget -= tracks;
    k->common_base = common_prefix(prompt, n, 0), k->common_steered = common_prefix(prompt, n, 1);
    k->base_seq = ws_xmalloc((size_t)n * sizeof *k->base_seq);
    for (int i = 0; i < n; i++) k->base_seq[i] = -1;
    k->tracks = ws_xcalloc((size_t)n, sizeof *k->tracks);
    k->heard = ws_xcalloc(HEARD, sizeof *k->heard);
    k->base_hidden = ws_try_alloc((size_t)n * (size_t)k->d, sizeof(float));
    k->states = ws_try_alloc(2 * WS_KL_HEAD * (size_t)k->d, sizeof(float));
    k->logits = ws_try_alloc((size_t)(2 * WS_KL_HEAD + ws_threads()) * (size_t)k->vocab, sizeof(float));
    if (!k->base_hidden || !k->states || !k->logits) {
        ws_kl_free(k);
        return ws_fail(err, WS_ENOMEM, "out of memory for %d rows of logits of %lld tokens", 2 * WS_KL_HEAD,
                       (long long)dim->vocab);
    }
    if (ws_state_new(&k->state, m, err)) {
        ws_kl_free(k);
        return err->code;
    }
    *out = k;
    return WS_OK;
}

static void forget(ws_kl_heard *h) { free(h->n), free(h->ids); }

void ws_kl_free(ws_kl *k) {
    if (!k) return;
    if (k->state) ws_kl_drop_tracks(k, 0, k->n, 1);
    for (int i = 0; i < k->n_heard; i++) forget(&k->heard[i]);
    if (k->tracks)
        for (int p = 0; p < k->n; p++) free(k->tracks[p].track);
    ws_state_free(k->state);
    free(k->base_seq), free(k->base_hidden), free(k->states), free(k->logits), free(k->tracks), free(k->heard);
    free(k);
}

int ws_kl_group(const int *tokens, int i, int n) {
    int64_t sum = tokens[i];
    int e = i + 1;
    while (e < n && e - i < WS_KL_ROWS && sum + tokens[e] <= WS_KL_TOKENS) sum += tokens[e++];
    return e;
}

ws_status ws_kl_forward(ws_kl_job *j, const ws_row *r, const int *arm, int n, float *hidden, ws_err *err) {
    ws_kl *k = j->k;
    float *alpha = ws_xcalloc((size_t)n * (size_t)(j->n_patches + 1), sizeof *alpha);
    const float **per_patch = ws_xmalloc((size_t)(j->n_patches + 1) * sizeof *per_patch);
    for (int p = 0; p < j->n_patches; p++) per_patch[p] = alpha + (int64_t)p * n;
    for (int i = 0; i < n; i++)
        if (arm[i] >= 0 && j->arm_patch[arm[i]] >= 0)
            alpha[(int64_t)j->arm_patch[arm[i]] * n + i] = (float)j->arm[arm[i]].alpha;
    const ws_batch b = {.n_rows = n, .row = r, .n_patches = j->n_patches, .patch = j->patch, .alpha = per_patch};
    ws_status st = ws_interrupt_check(err);
    if (!st) st = ws_forward(k->m, k->state, &b, hidden, err), k->forwards++;
    free(alpha), free(per_patch);
    if (st == WS_ENONFINITE) {
        ws_str list = {0};
        for (int a = 0; a < j->n_arms; a++) ws_str_addf(&list, "%s%+g", a ? ", " : "", j->arm[a].alpha);
        ws_fail_prefix(err, "the model overflows at alpha %s (lower the upper end of --bracket)", list.p);
        ws_str_free(&list);
    }
    return st;
}

/* Base prefills of prompts [p0, p1) that are missing. */
static ws_status prefill(ws_kl_job *j, int p0, int p1, ws_err *err) {
    ws_kl *k = j->k;
    const int cap = p1 - p0;
    int n = 0, *tokens = ws_xmalloc(3 * (size_t)cap * sizeof *tokens), *arm = tokens + cap, *who = arm + cap;
    ws_row *r = ws_xmalloc((size_t)cap * sizeof *r);
    for (int p = p0; p < p1; p++) {
        const ws_kl_prompt *q = &k->prompt[p];
        if (k->base_seq[p] >= 0) continue;
        k->base_seq[p] = ws_seq_fork(k->state, k->base_header, k->common_base);
        r[n] = (ws_row){k->base_seq[p], q->base + k->common_base, q->n_base - k->common_base, 1};
        tokens[n] = r[n].n, arm[n] = -1, who[n++] = p;
    }
    ws_status st = WS_OK;
    int done = 0;
    for (int e; done < n; done = e) {
        e = ws_kl_group(tokens, done, n);
        if ((st = ws_kl_forward(j, r + done, arm + done, e - done, j->hidden, err))) break;
        for (int i = done; i < e; i++)
            memcpy(k->base_hidden + who[i] * k->d, j->hidden + (i - done) * k->d, (size_t)k->d * sizeof(float));
    }
    for (int i = done; i < n; i++) ws_seq_free(k->state, k->base_seq[who[i]]), k->base_seq[who[i]] = -1;
    free(tokens), free(r);
    return st;
}

/* Sequences of the common beginnings: the base's once and for all, each arm's for this run. */
static ws_status headers(ws_kl_job *j, ws_err *err) {
    ws_kl *k = j->k;
    int n = 0, *arm = ws_xmalloc((size_t)(j->n_arms + 1) * sizeof *arm);
    ws_row *r = ws_xmalloc((size_t)(j->n_arms + 1) * sizeof *r);
    int fresh = k->base_header < 0;
    if (fresh) {
        k->base_header = ws_seq_new(k->state);
        if (k->common_base) r[n] = (ws_row){k->base_header, k->prompt[0].base, k->common_base, 0}, arm[n++] = -1;
    }
    for (int a = 0; a < j->n_arms; a++) {
        j->arm_header[a] = ws_seq_new(k->state);
        if (k->common_steered)
            r[n] = (ws_row){j->arm_header[a], k->prompt[0].steered, k->common_steered, 0}, arm[n++] = a;
    }
    ws_status st = n ? ws_kl_forward(j, r, arm, n, j->hidden, err) : WS_OK;
    if (st && fresh) ws_seq_free(k->state, k->base_header), k->base_header = -1;
    free(arm), free(r);
    return st;
}

/* ---------- what is expected ---------- */

/* The earlier answers that those of this arm are expected to be like: the same patch at the nearest strength of that sign,
 * else those that were nearest to the base. */
static const ws_kl_heard *expected(const ws_kl *k, const ws_kl_arm *arm) {
    const ws_kl_heard *best = NULL;
    double least = INFINITY;
    for (int i = 0; i < k->n_heard; i++) {
        const ws_kl_heard *h = &k->heard[i];
        const int same = h->patch == arm->patch && h->alpha * arm->alpha > 0;
        const double far = same ? fabs(log(h->alpha / arm->alpha)) : 1e9 + h->mean;
        if (far <= least) least = far, best = h; /* of equals the last */
    }
    return best;
}

static void remember(ws_kl *k, const ws_kl_arm *arm, const ws_kl_result *r) {
    if (k->n_heard == HEARD) {
        forget(k->heard);
        memmove(k->heard, k->heard + 1, (size_t)--k->n_heard * sizeof *k->heard);
    }
    const size_t n = (size_t)r->n_prompts, cells = n * (size_t)r->n_tokens;
    ws_kl_heard *h = &k->heard[k->n_heard++];
    *h = (ws_kl_heard){arm->patch, arm->alpha, ws_kl_summary(r).mean, ws_xmalloc(n * sizeof *h->n),
                       ws_xmalloc(cells * sizeof *h->ids)};
    memcpy(h->n, r->n, n * sizeof *h->n);
    memcpy(h->ids, r->ids, cells * sizeof *h->ids);
}

/* ---------- a run ---------- */

/* The rows of prompts [p0, p1) speak, each expected to answer as at the strength heard[arm] (NULL: nothing is). */
static ws_status speak(ws_kl_job *j, int p0, int p1, const ws_kl_heard *const *heard, ws_err *err) {
    ws_kl *k = j->k;
    j->n_rows = 0;
    for (int p = p0; p < p1; p++)
        for (int a = 0; a < j->n_arms; a++) {
            const int64_t cell = (int64_t)p * k->n_tokens;
            ws_kl_speaker *x = &j->rows[j->n_rows];
            *x = (ws_kl_speaker){.arm = a,
                                 .prompt = p,
                                 .seq = -1,
                                 .ids = j->out[a].ids + cell,
                                 .kl = j->out[a].kl + cell,
                                 .hidden = j->waiting + (int64_t)j->n_rows++ * k->n_tokens * k->d};
            if (heard[a]) x->draft = heard[a]->ids + cell, x->n_draft = heard[a]->n[p];
        }
    return ws_kl_speak(j, err);
}

static ws_status run_chunk(ws_kl_job *j, int p0, int p1, ws_err *err) {
    ws_kl *k = j->k;
    const ws_kl_heard **heard = ws_xcalloc((size_t)j->n_arms, sizeof *heard);
    const int64_t done = j->done;
    for (int a = 0; a < j->n_arms; a++) heard[a] = expected(k, &j->arm[a]);
    ws_status st = prefill(j, p0, p1, err);
    if (!st) st = speak(j, p0, p1, heard, err);
    if (st == WS_ENONFINITE && k->n_heard) { /* it may have come from what was expected and is not said */
        *err = (ws_err){0};
        j->done = done;
        memset(heard, 0, (size_t)j->n_arms * sizeof *heard);
        st = prefill(j, p0, p1, err);
        if (!st) st = speak(j, p0, p1, heard, err);
    }
    if (!st) st = ws_kl_follow(j, err);
    for (int i = 0; i < j->n_rows && !st; i++) j->out[j->rows[i].arm].n[j->rows[i].prompt] = j->rows[i].n;
    ws_kl_drop_tracks(k, p0, p1, !k->keep_tracks);
    for (int p = p0; p < p1 && !k->keep; p++)
        if (k->base_seq[p] >= 0) ws_seq_free(k->state, k->base_seq[p]), k->base_seq[p] = -1;
    free(heard);
    return st;
}

ws_status ws_kl_run(ws_kl *k, const ws_kl_arm *arm, int n_arms, const char *title, ws_kl_result *out, ws_err *err) {
    if (n_arms < 1 || n_arms > WS_KL_HEAD) BUG("%d strengths in one run, at most %d", n_arms, WS_KL_HEAD);
    ws_kl_job j = {.k = k, .arm = arm, .n_arms = n_arms, .out = out};
    int longest = 0;
    for (int i = 0; i < k->n; i++) {
        if (k->prompt[i].n_base > longest) longest = k->prompt[i].n_base;
        if (k->prompt[i].n_steered > longest) longest = k->prompt[i].n_steered;
    }
    /* a row and the base along its answer, and the states of both */
    int64_t per_row = 2 * (seq_bytes(k->m, longest + k->n_tokens) + k->n_tokens * k->d * (int64_t)sizeof(float));
    int64_t rows = k->budget / per_row < WS_KL_ROWS ? k->budget / per_row : WS_KL_ROWS;
    int chunk = (int)(rows / n_arms);
    chunk = chunk < 1 ? 1 : chunk > k->n ? k->n : chunk;
    const int chunks = (k->n + chunk - 1) / chunk;
    chunk = (k->n + chunks - 1) / chunks; /* of equal size */

    const int64_t most = (longest > k->n_tokens ? longest : k->n_tokens) + WS_KL_TOKENS;
    size_t cap = (size_t)chunk * (size_t)n_arms;
    k->runs++;
    j.rows = ws_xmalloc(cap * sizeof *j.rows);
    j.waiting = ws_xmalloc(cap * (size_t)k->n_tokens * (size_t)k->d * sizeof *j.waiting);
    j.hidden = ws_xmalloc((size_t)(most * k->d) * sizeof *j.hidden);
    j.patch = ws_xmalloc((size_t)n_arms * sizeof *j.patch);
    j.arm_patch = ws_xmalloc((size_t)n_arms * sizeof *j.arm_patch);
    j.arm_header = ws_xmalloc((size_t)n_arms * sizeof *j.arm_header);
    for (int a = 0; a < n_arms; a++) {
        j.arm_header[a] = j.arm_patch[a] = -1;
        for (int p = 0; p < j.n_patches; p++)
            if (j.patch[p] == arm[a].patch) j.arm_patch[a] = p;
        if (arm[a].patch && j.arm_patch[a] < 0) j.patch[j.arm_patch[a] = j.n_patches++] = arm[a].patch;
        size_t cells = (size_t)k->n * (size_t)k->n_tokens;
        out[a] = (ws_kl_result){.n_prompts = k->n,
                                .n_tokens = k->n_tokens,
                                .n = ws_xcalloc((size_t)k->n, sizeof(int)),
                                .kl = ws_xcalloc(cells, sizeof(double)),
                                .ids = ws_xcalloc(cells, sizeof(int32_t))};
    }
    ws_progress_start(&j.bar, title ? title : "", "tokens", (int64_t)k->n * n_arms * k->n_tokens);
    if (!title) j.bar.live = 0;
    ws_status st = headers(&j, err);
    for (int p = 0; p < k->n && !st; p += chunk) st = run_chunk(&j, p, p + chunk < k->n ? p + chunk : k->n, err);
    ws_progress_end(&j.bar);
    for (int a = 0; a < n_arms; a++) {
        if (j.arm_header[a] >= 0) ws_seq_free(k->state, j.arm_header[a]);
        if (st)
            ws_kl_result_free(&out[a]);
        else
            remember(k, &arm[a], &out[a]);
    }
    free(j.rows), free(j.waiting), free(j.hidden);
    free(j.patch), free(j.arm_patch), free(j.arm_header);
    return st;
}
