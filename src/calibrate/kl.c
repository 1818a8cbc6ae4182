#include "calibrate/kl.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/str.h"
#include "kernel/kernel.h"
#include "ops/kv.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PREFILL_TOKENS = 4096, /* packed tokens of one prefill call */
    HEAD_ROWS = 64,        /* rows of logits held at once */
    MAX_ROWS = 384
}; /* rows of one decode step */

struct ws_kl {
    ws_model *m;
    ws_state *state;
    const ws_kl_prompt *prompt;
    int n, n_tokens;
    int32_t eos;
    int64_t budget; /* of rows in flight */
    int64_t d, vocab;
    int common_base, common_steered; /* tokens that all prompts begin with */
    int base_header;                 /* sequence of the common beginning at alpha 0; -1: not yet */
    int *base_seq;                   /* [n] base prefill of each prompt; -1: not yet */
    float *base_hidden;              /* [n, d] its last hidden state */
    int keep;                        /* base prefills fit in the budget and are kept between runs */
    float *logits;                   /* [HEAD_ROWS, vocab], then a scratch row per thread */
};

/* A steered row, and the base sequence that follows its tokens; rows of one prompt share it until their tokens differ. */
typedef struct row {
    int arm, prompt, seq;
    int32_t tok;
} row;
typedef struct node {
    int prompt, seq;
    int32_t tok;
    int first, count; /* rows [first, first + count) */
} node;

/* Everything of one ws_kl_run. */
typedef struct job {
    ws_kl *k;
    const ws_kl_arm *arm;
    int n_arms, n_patches;
    ws_patch **patch;
    int *arm_patch;  /* [n_arms] index into patch, -1 none */
    int *arm_header; /* [n_arms] */
    ws_kl_result *out;
    row *rows, *spare_rows;
    node *nodes, *spare_nodes;
    int n_rows, n_nodes;
    float *hidden;
    ws_progress bar;
    int64_t done;
} job;

double ws_kl_row(const float *s, const float *b, int64_t vocab, float *e, int32_t *argmax) {
    float ms = ws_k.max(s, vocab), mb = ws_k.max(b, vocab);
    if (!isfinite(ms) || !isfinite(mb)) return NAN;
    if (argmax) {
        int32_t i = 0;
        while (s[i] != ms) i++;
        *argmax = i;
    }
    double zb = ws_k.exp_sum(e, b, mb, vocab), zs = ws_k.exp_sum(e, s, ms, vocab);
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
    k->common_base = common_prefix(prompt, n, 0), k->common_steered = common_prefix(prompt, n, 1);
    k->base_seq = ws_xmalloc((size_t)n * sizeof *k->base_seq);
    for (int i = 0; i < n; i++) k->base_seq[i] = -1;
    k->base_hidden = ws_try_alloc((size_t)n * (size_t)k->d, sizeof(float));
    k->logits = ws_try_alloc((size_t)(HEAD_ROWS + ws_threads()) * (size_t)k->vocab, sizeof(float));
    if (!k->base_hidden || !k->logits) {
        ws_kl_free(k);
        return ws_fail(err, WS_ENOMEM, "out of memory for %d rows of logits of %lld tokens", HEAD_ROWS,
                       (long long)dim->vocab);
    }
    if (ws_state_new(&k->state, m, err)) {
        ws_kl_free(k);
        return err->code;
    }
    *out = k;
    return WS_OK;
}

void ws_kl_free(ws_kl *k) {
    if (!k) return;
    ws_state_free(k->state);
    free(k->base_seq), free(k->base_hidden), free(k->logits);
    free(k);
}

/* One or more forwards over rows whose arm is given (-1: base); every row returns its last hidden state. */
static ws_status forward(job *j, const ws_row *r, const int *arm, int n, float *hidden, ws_err *err) {
    ws_kl *k = j->k;
    float *alpha = ws_xcalloc((size_t)n * (size_t)(j->n_patches + 1), sizeof *alpha);
    const float **per_patch = ws_xmalloc((size_t)(j->n_patches + 1) * sizeof *per_patch);
    for (int i = 0; i < n; i++)
        if (arm[i] >= 0 && j->arm_patch[arm[i]] >= 0)
            alpha[(int64_t)j->arm_patch[arm[i]] * n + i] = (float)j->arm[arm[i]].alpha;
    ws_status st = WS_OK;
    for (int i = 0; i < n && !st;) {
        int64_t tokens = 0;
        int e = i;
        while (e < n && (e == i || (e - i < MAX_ROWS && tokens + r[e].n <= PREFILL_TOKENS))) tokens += r[e++].n;
        for (int p = 0; p < j->n_patches; p++) per_patch[p] = alpha + (int64_t)p * n + i;
        const ws_batch b = {
            .n_rows = e - i, .row = r + i, .n_patches = j->n_patches, .patch = j->patch, .alpha = per_patch};
        st = ws_interrupt_check(err);
        if (!st) st = ws_forward(k->m, k->state, &b, hidden + (int64_t)i * k->d, err);
        i = e;
    }
    free(alpha), free(per_patch);
    if (st == WS_ENONFINITE) {
        ws_str list = {0};
        for (int a = 0; a < j->n_arms; a++) ws_str_addf(&list, "%s%+g", a ? ", " : "", j->arm[a].alpha);
        ws_fail_prefix(err, "the model overflows at alpha %s (lower the upper end of --bracket)", list.p);
        ws_str_free(&list);
    }
    return st;
}

/* Base prefills of prompts [p0, p1) that are missing, and the steered prefills of all arms, in shared batches. `hidden`
 * [(p1-p0) * n_arms, d] gets the steered rows' states, prompt by prompt. */
static ws_status prefill(job *j, int p0, int p1, int *seq, float *hidden, ws_err *err) {
    ws_kl *k = j->k;
    int cap = (p1 - p0) * (j->n_arms + 1), n = 0, *arm = ws_xmalloc((size_t)cap * sizeof *arm),
        *who = ws_xmalloc((size_t)cap * sizeof *who);
    ws_row *r = ws_xmalloc((size_t)cap * sizeof *r);
    float *h = ws_xmalloc((size_t)cap * (size_t)k->d * sizeof *h);
    for (int p = p0; p < p1; p++) {
        const ws_kl_prompt *q = &k->prompt[p];
        if (k->base_seq[p] < 0) {
            k->base_seq[p] = ws_seq_fork(k->state, k->base_header, k->common_base);
            r[n] = (ws_row){k->base_seq[p], q->base + k->common_base, q->n_base - k->common_base, 1};
            arm[n] = -1, who[n++] = p;
        }
        for (int a = 0; a < j->n_arms; a++) {
            int s = seq[(p - p0) * j->n_arms + a] = ws_seq_fork(k->state, j->arm_header[a], k->common_steered);
            r[n] = (ws_row){s, q->steered + k->common_steered, q->n_steered - k->common_steered, 1};
            arm[n] = a, who[n++] = p;
        }
    }
    ws_status st = forward(j, r, arm, n, h, err);
    for (int i = 0; i < n; i++) {
        float *to =
            arm[i] < 0 ? k->base_hidden + who[i] * k->d : hidden + ((int64_t)(who[i] - p0) * j->n_arms + arm[i]) * k->d;
        if (!st) memcpy(to, h + i * k->d, (size_t)k->d * sizeof *to);
        if (st && arm[i] < 0) ws_seq_free(k->state, k->base_seq[who[i]]), k->base_seq[who[i]] = -1;
    }
    free(arm), free(who), free(r), free(h);
    return st;
}

/* Sequences of the common beginnings: the base's once and for all, each arm's for this run. */
static ws_status headers(job *j, ws_err *err) {
    ws_kl *k = j->k;
    int n = 0, *arm = ws_xmalloc((size_t)(j->n_arms + 1) * sizeof *arm);
    ws_row *r = ws_xmalloc((size_t)(j->n_arms + 1) * sizeof *r);
    if (k->base_header < 0) {
        k->base_header = ws_seq_new(k->state);
        if (k->common_base) r[n] = (ws_row){k->base_header, k->prompt[0].base, k->common_base, 0}, arm[n++] = -1;
    }
    for (int a = 0; a < j->n_arms; a++) {
        j->arm_header[a] = ws_seq_new(k->state);
        if (k->common_steered)
            r[n] = (ws_row){j->arm_header[a], k->prompt[0].steered, k->common_steered, 0}, arm[n++] = a;
    }
    ws_status st = n ? forward(j, r, arm, n, j->hidden, err) : WS_OK;
    if (st) ws_seq_free(k->state, k->base_header), k->base_header = -1;
    free(arm), free(r);
    return st;
}

typedef struct measure { /* a chunk of logits rows that ws_parallel_for walks */
    job *j;
    const row **steered;
    const int *ls, *lb; /* logits row of the steered and of the base state */
    double *kl;
    int32_t *tok;
} measure;
static void measure_rows(void *arg, int64_t begin, int64_t end) {
    measure *w = arg;
    ws_kl *k = w->j->k;
    float *scratch = k->logits + (HEAD_ROWS + ws_thread_id()) * k->vocab;
    for (int64_t i = begin; i < end; i++)
        w->kl[i] =
            ws_kl_row(k->logits + w->ls[i] * k->vocab, k->logits + w->lb[i] * k->vocab, k->vocab, scratch, &w->tok[i]);
}

/* hidden: node by node, the base state and then its rows' states.  Records KL and greedy token of step t. */
static ws_status score(job *j, const float *hidden, int t, ws_err *err) {
    ws_kl *k = j->k;
    int ls[HEAD_ROWS], lb[HEAD_ROWS], of[HEAD_ROWS];
    double kl[HEAD_ROWS];
    int32_t tok[HEAD_ROWS];
    int64_t at = 0; /* first hidden row that is not scored */
    for (int i = 0, r = 0; i < j->n_nodes;) {
        int used = 0, n = 0;
        for (; i < j->n_nodes && used + 1 + j->nodes[i].count <= HEAD_ROWS; i++) {
            int base = used++;
            for (int c = 0; c < j->nodes[i].count; c++) of[n] = r++, ls[n] = used++, lb[n++] = base;
        }
        WS_ASSERT(n > 0);
        ws_head(k->m, hidden + at * k->d, used, k->logits);
        at += used;
        measure w = {.j = j, .ls = ls, .lb = lb, .kl = kl, .tok = tok};
        ws_parallel_for(n, 1, measure_rows, &w);
        for (int c = 0; c < n; c++) {
            row *x = &j->rows[of[c]];
            ws_kl_result *o = &j->out[x->arm];
            if (isnan(kl[c]))
                return ws_fail(err, WS_ENONFINITE,
                               "the KL at alpha %+g is not a finite number (prompt %d, generated position %d): the "
                               "model's logits overflow at this strength; lower the upper end of --bracket",
                               j->arm[x->arm].alpha, x->prompt, t);
            int64_t cell = (int64_t)x->prompt * k->n_tokens + t;
            o->kl[cell] = kl[c], o->ids[cell] = x->tok = tok[c];
            o->n[x->prompt] = t + 1;
        }
    }
    return WS_OK;
}

/* Drops rows that have ended and splits nodes whose rows chose different tokens. */
static void regroup(job *j, int t) {
    ws_kl *k = j->k;
    int n_rows = 0, n_nodes = 0;
    for (int i = 0; i < j->n_nodes; i++) {
        const node *b = &j->nodes[i];
        int first_node = n_nodes, taken[64] = {0};
        int len = ws_seq_len(k->state, b->seq);
        for (int c = 0; c < b->count; c++) {
            row *x = &j->rows[b->first + c];
            j->done++;
            if (x->tok == k->eos || t + 1 == k->n_tokens) {
                j->done += k->n_tokens - 1 - t;
                ws_seq_free(k->state, x->seq);
                taken[c] = 1;
            }
        }
        for (int c = 0; c < b->count; c++) {
            if (taken[c]) continue;
            int32_t tok = j->rows[b->first + c].tok;
            node *to = &j->spare_nodes[n_nodes];
            *to =
                (node){b->prompt, n_nodes == first_node ? b->seq : ws_seq_fork(k->state, b->seq, len), tok, n_rows, 0};
            n_nodes++;
            for (int e = c; e < b->count; e++)
                if (!taken[e] && j->rows[b->first + e].tok == tok)
                    j->spare_rows[n_rows++] = j->rows[b->first + e], to->count++, taken[e] = 1;
        }
        if (n_nodes == first_node) ws_seq_free(k->state, b->seq);
    }
    row *r = j->rows;
    node *n = j->nodes;
    j->rows = j->spare_rows, j->spare_rows = r, j->n_rows = n_rows;
    j->nodes = j->spare_nodes, j->spare_nodes = n, j->n_nodes = n_nodes;
}

/* The rows' and nodes' next tokens in one batch: for each node its base row, then its steered rows. */
static ws_status step(job *j, ws_err *err) {
    int n = 0, total = j->n_rows + j->n_nodes, *arm = ws_xmalloc((size_t)total * sizeof *arm);
    ws_row *r = ws_xmalloc((size_t)total * sizeof *r);
    for (int i = 0; i < j->n_nodes; i++) {
        const node *b = &j->nodes[i];
        r[n] = (ws_row){b->seq, &b->tok, 1, 1}, arm[n++] = -1;
        for (int c = 0; c < b->count; c++) {
            const row *x = &j->rows[b->first + c];
            r[n] = (ws_row){x->seq, &x->tok, 1, 1}, arm[n++] = x->arm;
        }
    }
    ws_status st = forward(j, r, arm, n, j->hidden, err);
    free(arm), free(r);
    return st;
}

static ws_status run_chunk(job *j, int p0, int p1, ws_err *err) {
    ws_kl *k = j->k;
    int n = (p1 - p0) * j->n_arms, *seq = ws_xmalloc((size_t)n * sizeof *seq);
    float *h = ws_xmalloc((size_t)n * (size_t)k->d * sizeof *h);
    ws_status st = prefill(j, p0, p1, seq, h, err);
    j->n_rows = j->n_nodes = 0;
    for (int p = p0; p < p1; p++) {
        int base = st ? -1 : ws_seq_fork(k->state, k->base_seq[p], k->prompt[p].n_base);
        j->nodes[j->n_nodes++] = (node){p, base, 0, j->n_rows, j->n_arms};
        memcpy(j->hidden + (int64_t)(j->n_rows + p - p0) * k->d, k->base_hidden + p * k->d, (size_t)k->d * sizeof *h);
        memcpy(j->hidden + (int64_t)(j->n_rows + p - p0 + 1) * k->d, h + (int64_t)j->n_rows * k->d,
               (size_t)(j->n_arms * k->d) * sizeof *h);
        for (int a = 0; a < j->n_arms; a++, j->n_rows++) j->rows[j->n_rows] = (row){a, p, seq[j->n_rows], 0};
    }
    for (int t = 0; !st && j->n_rows; t++) {
        st = score(j, j->hidden, t, err);
        if (!st) regroup(j, t);
        if (!st && j->n_rows && (st = step(j, err)) == WS_ENONFINITE)
            ws_fail_prefix(err, "generated position %d", t + 1);
        if (!st) ws_progress_update(&j->bar, j->done, NULL);
    }
    for (int i = 0; i < j->n_rows; i++) ws_seq_free(k->state, j->rows[i].seq);
    for (int i = 0; i < j->n_nodes; i++)
        if (j->nodes[i].seq >= 0) ws_seq_free(k->state, j->nodes[i].seq);
    for (int p = p0; p < p1 && !k->keep; p++)
        if (k->base_seq[p] >= 0) ws_seq_free(k->state, k->base_seq[p]), k->base_seq[p] = -1;
    free(seq), free(h);
    return st;
}

ws_status ws_kl_run(ws_kl *k, const ws_kl_arm *arm, int n_arms, const char *title, ws_kl_result *out, ws_err *err) {
    if (n_arms < 1 || n_arms > HEAD_ROWS - 1) BUG("%d strengths in one run, at most %d", n_arms, HEAD_ROWS - 1);
    job j = {.k = k, .arm = arm, .n_arms = n_arms, .out = out};
    int longest = 0;
    for (int i = 0; i < k->n; i++) {
        if (k->prompt[i].n_base > longest) longest = k->prompt[i].n_base;
        if (k->prompt[i].n_steered > longest) longest = k->prompt[i].n_steered;
    }
    int64_t per_row = seq_bytes(k->m, longest + k->n_tokens);
    int64_t rows = k->budget / per_row < MAX_ROWS ? k->budget / per_row : MAX_ROWS;
    int chunk = (int)(rows / (2 * n_arms));
    chunk = chunk < 1 ? 1 : chunk > k->n ? k->n : chunk;

    size_t cap = (size_t)chunk * (size_t)n_arms;
    j.rows = ws_xmalloc(cap * sizeof *j.rows), j.spare_rows = ws_xmalloc(cap * sizeof *j.rows);
    j.nodes = ws_xmalloc(cap * sizeof *j.nodes), j.spare_nodes = ws_xmalloc(cap * sizeof *j.nodes);
    j.hidden = ws_xmalloc(2 * cap * (size_t)k->d * sizeof *j.hidden);
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
        if (st) ws_kl_result_free(&out[a]);
    }
    free(j.rows), free(j.spare_rows), free(j.nodes), free(j.spare_nodes), free(j.hidden);
    free(j.patch), free(j.arm_patch), free(j.arm_header);
    return st;
}
