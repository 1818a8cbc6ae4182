/* src/generate/generate.c - the continuous batch.
 *
 *   requests --admit--> slots --every step: one packed forward--> logits --sample--> ids --done--> callback, slot free
 *
 * A step's batch holds, packed one after another: one new token of every row that is speaking; a chunk of every prompt
 * (or shared beginning, prefix.h) that is still being read, up to PREFILL tokens in all.  Rows differ in length, so
 * nothing is padded.  Nothing here changes what a row computes: the model's sums do not depend on the batch, and a
 * token's random number is a function of (seed, stream, row, step). */
#include "generate/generate.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "base/progress.h"
#include "base/rng.h"
#include "generate/prefix.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFILL = 1024 }; /* prompt tokens in one forward: bounds the scratch of a step */

typedef struct slot {
    int req; /* -1: free */
    int seq; /* -1: waits for its shared beginning */
    int fed; /* prompt tokens given to the model, or promised to it by this step's batch */
    int speaking;
    int32_t *ids; /* [n] new tokens, room for the request's max_new */
    int n;
    int out; /* row of this step's logits, -1: none */
} slot;

typedef struct beginning { /* the running state of a ws_prefix */
    int seq, fed, users;
} beginning;

typedef struct job {
    ws_model *m;
    const ws_gen_request *req;
    int n_req;
    const ws_gen_options *o;
    int64_t vocab, limit; /* columns of the logits; ids that may be sampled */
    ws_state *state;
    ws_prefixes prefix;
    beginning *begin;
    int rows; /* slots */
    slot *slot;
    /* this step's batch */
    int n_row, n_out, cap_row, budget;
    ws_row *row;
    float **alpha; /* [n_patches][cap_row] */
    float *hidden, *logits;
    int32_t *chosen;
    ws_err *errs; /* [rows] */
    /* counts for the progress bar */
    int admitted, done;
    int64_t tokens, done_tokens;
} job;

/* ---------- checks ---------- */

static ws_status check(const job *j, ws_err *err) {
    if (ws_sampling_check(&j->o->sampling, err)) return err->code;
    int max_pos = ws_model_dims(j->m)->max_pos;
    for (int i = 0; i < j->n_req; i++) {
        const ws_gen_request *r = &j->req[i];
        if (r->sampling && ws_sampling_check(r->sampling, err)) return ws_fail_prefix(err, "prompt %d", i);
        if (r->n_prompt < 1) return ws_fail(err, WS_EUSAGE, "prompt %d is empty: there is nothing to continue", i);
        if (r->max_new < 0 || r->min_new < 0 || r->min_new > r->max_new)
            return ws_fail(err, WS_EUSAGE, "prompt %d: at least %d and at most %d new tokens is no range", i,
                           r->min_new, r->max_new);
        if (max_pos > 0 && (int64_t)r->n_prompt + r->max_new > max_pos)
            return ws_fail(err, WS_EUSAGE,
                           "prompt %d has %d tokens; with %d new ones that is more than the %d positions of this model",
                           i, r->n_prompt, r->max_new, max_pos);
        for (int t = 0; t < r->n_prompt; t++)
            if (r->prompt[t] < 0 || r->prompt[t] >= j->vocab)
                return ws_fail(err, WS_EUSAGE, "prompt %d: token id %d is outside the model's %lld", i,
                               (int)r->prompt[t], (long long)j->vocab);
        for (int p = 0; p < j->o->n_patches; p++)
            if (!isfinite(r->alpha[p]))
                return ws_fail(err, WS_EUSAGE, "prompt %d: strength %g", i, (double)r->alpha[p]);
    }
    for (int i = 0; i < j->o->n_stops; i++)
        if (j->o->stops[i] < 0) return ws_fail(err, WS_EUSAGE, "stop id %d is negative", (int)j->o->stops[i]);
    return WS_OK;
}

static int is_stop(const ws_gen_options *o, int32_t id) {
    for (int i = 0; i < o->n_stops; i++)
        if (o->stops[i] == id) return 1;
    return 0;
}

/* ---------- building a step's batch ---------- */

static void add_row(job *j, int req, int seq, const int32_t *ids, int n, int n_out) {
    if (j->n_row == j->cap_row) {
        j->cap_row = j->cap_row * 2 + 16;
        j->row = ws_xrealloc(j->row, (size_t)j->cap_row * sizeof *j->row);
        for (int p = 0; p < j->o->n_patches; p++)
            j->alpha[p] = ws_xrealloc(j->alpha[p], (size_t)j->cap_row * sizeof *j->alpha[p]);
    }
    for (int p = 0; p < j->o->n_patches; p++) j->alpha[p][j->n_row] = j->req[req].alpha[p];
    j->row[j->n_row++] = (ws_row){seq, ids, n, n_out};
    j->n_out += n_out;
}

static void release(job *j, int node) {
    beginning *b = &j->begin[node];
    if (--b->users > 0 || b->seq < 0) return;
    ws_seq_free(j->state, b->seq);
    b->seq = -1;
}

static int from(job *j, int node) { /* a sequence that holds the beginning `node`, or an empty one */
    if (node < 0) return ws_seq_new(j->state);
    int seq = ws_seq_fork(j->state, j->begin[node].seq, j->prefix.node[node].len);
    release(j, node);
    return seq;
}

/* Feeds what is missing of the chain of beginnings above `node`; 1 when all of it was there before this step. */
static int read_beginning(job *j, int node) {
    if (node < 0) return 1;
    const ws_prefix *p = &j->prefix.node[node];
    beginning *b = &j->begin[node];
    if (b->fed == p->len) return b->seq >= 0;
    if (b->seq < 0) {
        if (!read_beginning(j, p->parent)) return 0;
        b->fed = p->parent < 0 ? 0 : j->prefix.node[p->parent].len;
        b->seq = from(j, p->parent);
    }
    for (int i = 0; i < j->n_row; i++)
        if (j->row[i].seq == b->seq) return 0; /* another request has asked for it in this step */
    int n = p->len - b->fed < j->budget ? p->len - b->fed : j->budget;
    if (n > 0) {
        add_row(j, p->request, b->seq, j->req[p->request].prompt + b->fed, n, 0);
        j->budget -= n;
    }
    return 0;
}

static void read_prompt(job *j, slot *s) {
    const ws_gen_request *r = &j->req[s->req];
    int node = j->prefix.of[s->req];
    if (s->seq < 0) {
        if (!read_beginning(j, node)) return;
        s->fed = node < 0 ? 0 : j->prefix.node[node].len;
        s->seq = from(j, node);
    }
    int n = r->n_prompt - s->fed < j->budget ? r->n_prompt - s->fed : j->budget;
    if (n <= 0) return;
    int last = s->fed + n == r->n_prompt;
    if (last) s->out = j->n_out;
    add_row(j, s->req, s->seq, r->prompt + s->fed, n, last);
    s->fed += n;
    s->speaking = last;
    j->budget -= n;
}

static void build(job *j) {
    j->n_row = j->n_out = 0;
    j->budget = PREFILL;
    for (int i = 0; i < j->rows; i++) {
        slot *s = &j->slot[i];
        s->out = -1;
        if (s->req < 0 || !s->speaking) continue;
        s->out = j->n_out;
        add_row(j, s->req, s->seq, &s->ids[s->n - 1], 1, 1);
    }
    for (int i = 0; i < j->rows; i++)
        if (j->slot[i].req >= 0 && !j->slot[i].speaking) read_prompt(j, &j->slot[i]);
}

/* What the batch fed to beginnings is theirs only after the forward: nobody forks half a beginning. */
static void settle(job *j) {
    for (int k = 0; k < j->prefix.n; k++)
        if (j->begin[k].seq >= 0) j->begin[k].fed = ws_seq_len(j->state, j->begin[k].seq);
}

/* ---------- after the forward ---------- */

static void sample_rows(void *arg, int64_t begin, int64_t end) {
    job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        slot *s = &j->slot[i];
        if (s->req < 0 || s->out < 0) continue;
        const ws_gen_request *r = &j->req[s->req];
        float *x = j->logits + (int64_t)s->out * j->vocab;
        if (s->n < r->min_new)
            for (int k = 0; k < j->o->n_stops; k++)
                if (j->o->stops[k] < j->limit) x[j->o->stops[k]] = -INFINITY;
        const ws_sampling *how = r->sampling ? r->sampling : &j->o->sampling;
        uint64_t seed = r->seed ? r->seed : j->o->seed;
        double u = ws_counter_uniform(seed, j->o->stream ? j->o->stream : "", r->stream_row, (uint64_t)s->n);
        if (ws_sample(x, j->limit, how, u, &j->chosen[i], &j->errs[i]))
            ws_fail_prefix(&j->errs[i], "prompt %d, new token %d", s->req, s->n);
    }
}

static ws_status finish(job *j, slot *s, ws_finish why, ws_gen_done_fn on_done, void *arg, ws_err *err) {
    ws_gen_result r = {s->ids, s->n, why, j->state, s->seq};
    ws_status st = on_done ? on_done(arg, s->req, &r, err) : WS_OK;
    j->done++;
    j->done_tokens += s->n;
    if (s->seq >= 0) ws_seq_free(j->state, s->seq);
    s->req = s->seq = -1;
    return st;
}

static ws_status take(job *j, slot *s, int32_t id, ws_gen_done_fn on_done, ws_gen_token_fn on_token, void *arg,
                      ws_err *err) {
    if (is_stop(j->o, id)) return finish(j, s, WS_FINISH_STOP, on_done, arg, err);
    s->ids[s->n++] = id;
    j->tokens++;
    if (on_token && on_token(arg, s->req, id, err)) return err->code;
    return s->n < j->req[s->req].max_new ? WS_OK : finish(j, s, WS_FINISH_LENGTH, on_done, arg, err);
}

/* ---------- the loop ---------- */

static ws_status admit(job *j, ws_gen_done_fn on_done, void *arg, ws_err *err) {
    for (int i = 0; i < j->rows && j->admitted < j->n_req; i++) {
        slot *s = &j->slot[i];
        if (s->req >= 0) continue;
        *s = (slot){j->admitted++, -1, 0, 0, s->ids, 0, -1};
        s->ids = ws_xrealloc(s->ids, (size_t)j->req[s->req].max_new * sizeof *s->ids + 1);
        if (j->req[s->req].max_new == 0) { /* nothing was asked for */
            if (j->prefix.of[s->req] >= 0) release(j, j->prefix.of[s->req]);
            if (finish(j, s, WS_FINISH_LENGTH, on_done, arg, err)) return err->code;
            i--;
        }
    }
    return WS_OK;
}

/* Tokens that the whole job will take: rows still to come are expected to be as long as those that are done. */
static int64_t expected_tokens(const job *j) {
    int64_t most = 0;
    if (j->done < 8) {
        for (int i = 0; i < j->n_req; i++) most += j->req[i].max_new;
        return most;
    }
    int64_t all = (int64_t)((double)j->done_tokens / j->done * j->n_req);
    return all > j->tokens ? all : j->tokens;
}

static ws_status step(job *j, ws_gen_done_fn on_done, ws_gen_token_fn on_token, void *arg, ws_err *err) {
    build(j);
    WS_ASSERT(j->n_row > 0);
    ws_batch b = {j->n_row, j->row, j->o->n_patches, j->o->patch, (const float *const *)j->alpha};
    if (ws_forward(j->m, j->state, &b, j->hidden, err)) return err->code;
    settle(j);
    if (!j->n_out) return WS_OK;
    ws_head(j->m, j->hidden, j->n_out, j->logits);
    for (int i = 0; i < j->rows; i++) j->errs[i].code = WS_OK;
    ws_profile_enter("sampling");
    ws_parallel_for(j->rows, 1, sample_rows, j);
    ws_profile_leave(0, 0);
    for (int i = 0; i < j->rows; i++) {
        slot *s = &j->slot[i];
        if (s->req < 0 || s->out < 0) continue;
        if (j->errs[i].code) {
            *err = j->errs[i];
            return err->code;
        }
        if (take(j, s, j->chosen[i], on_done, on_token, arg, err)) return err->code;
    }
    return WS_OK;
}

int64_t ws_gen_prefix_bytes(const ws_model *m) { return ((int64_t)256 << 20) + 8 * ws_model_seq_bytes(m); }

static ws_status prepare(job *j, ws_err *err) {
    const ws_dims *d = ws_model_dims(j->m);
    if (ws_state_new(&j->state, j->m, err)) return err->code;
    j->rows = j->o->max_rows > 0 ? j->o->max_rows : WS_GEN_ROWS;
    if (j->rows > j->n_req) j->rows = j->n_req;
    ws_prefixes_find(&j->prefix, j->m, j->req, j->n_req, j->o->n_patches,
                     j->o->separate_prompts ? 0 : ws_gen_prefix_bytes(j->m));
    j->begin = ws_xcalloc((size_t)j->prefix.n + 1, sizeof *j->begin);
    for (int k = 0; k < j->prefix.n; k++) j->begin[k] = (beginning){-1, 0, j->prefix.node[k].users};
    j->slot = ws_xcalloc((size_t)j->rows, sizeof *j->slot);
    for (int i = 0; i < j->rows; i++) j->slot[i].req = j->slot[i].seq = -1;
    j->alpha = ws_xcalloc((size_t)j->o->n_patches + 1, sizeof *j->alpha);
    j->chosen = ws_xcalloc((size_t)j->rows, sizeof *j->chosen);
    j->errs = ws_xcalloc((size_t)j->rows, sizeof *j->errs);
    j->hidden = ws_try_alloc((size_t)j->rows, (size_t)d->hidden * sizeof(float));
    j->logits = ws_try_alloc((size_t)j->rows, (size_t)j->vocab * sizeof(float));
    if (!j->hidden || !j->logits)
        return ws_fail(err, WS_ENOMEM, "out of memory for the logits of %d rows in flight; use fewer", j->rows);
    return WS_OK;
}

static void cleanup(job *j) {
    for (int i = 0; j->slot && i < j->rows; i++) free(j->slot[i].ids);
    for (int p = 0; j->alpha && p < j->o->n_patches; p++) free(j->alpha[p]);
    ws_state_free(j->state);
    ws_prefixes_free(&j->prefix);
    free(j->begin);
    free(j->slot);
    free(j->row);
    free(j->alpha);
    free(j->hidden);
    free(j->logits);
    free(j->chosen);
    free(j->errs);
}

ws_status ws_generate(ws_model *m, const ws_gen_request *req, int n, const ws_gen_options *o, ws_gen_done_fn on_done,
                      ws_gen_token_fn on_token, void *arg, ws_err *err) {
    ws_err none = {0};
    if (!err) err = &none;
    job j = {.m = m, .req = req, .n_req = n, .o = o, .vocab = ws_model_dims(m)->vocab};
    j.limit = o->vocab_limit > 0 && o->vocab_limit < j.vocab ? o->vocab_limit : j.vocab;
    if (n == 0) return WS_OK;
    ws_progress bar;
    ws_status st = check(&j, err);
    if (!st) st = prepare(&j, err);
    if (!st && o->progress) ws_progress_start(&bar, o->progress, "tokens", expected_tokens(&j));
    int shown = !st && o->progress;
    while (!st && j.done < n) {
        st = ws_interrupt_check(err);
        if (!st) st = admit(&j, on_done, arg, err);
        if (!st && j.done < n) st = step(&j, on_done, on_token, arg, err);
        if (shown) {
            char extra[64];
            snprintf(extra, sizeof extra, "%d/%d answers", j.done, n);
            bar.total = expected_tokens(&j);
            ws_progress_update(&bar, j.tokens, extra);
        }
    }
    if (shown) ws_progress_end(&bar);
    cleanup(&j);
    return st;
}
