/* src/calibrate/kl_speak.c - steered rows speak greedily, most of them along an expected answer.
 *     row:  prompt | a b c d e f        read in one forward, a token's choice checked at every place
 *     heard:         a b c x            x differs from d: a b c x stands, d e f is forgotten, the row goes on from x
 * Every product has the same bits for any number of rows, so an answer and the states along it do not depend on what was
 * expected; only the number of forwards does. */
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "calibrate/kl_impl.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A check that fails has computed what comes behind for nothing, so a few tokens are checked at a time; all of them where going
 * back means to begin again. */
static int ahead(const ws_kl *k) { return ws_model_dims(k->m)->n_delta ? k->n_tokens : WS_KL_AHEAD; }

/* What row x has not read: the rest of its prompt and of its answer so far, then what it is expected to say. */
static int unread(const ws_kl_job *j, const ws_kl_speaker *x, int32_t *to, int *n_out) {
    const ws_kl *k = j->k;
    const ws_kl_prompt *q = &k->prompt[x->prompt];
    int n = 0, end = x->n + ahead(k);
    for (int i = ws_seq_len(k->state, x->seq); i < q->n_steered + x->n; i++)
        to[n++] = i < q->n_steered ? q->steered[i] : x->ids[i - q->n_steered];
    if (end > x->n_draft) end = x->n_draft;
    if (end > k->n_tokens - 1) end = k->n_tokens - 1;
    *n_out = 1;
    for (int t = x->n; x->draft && t < end && x->draft[t] != k->eos; t++, ++*n_out) to[n++] = x->draft[t];
    return n;
}

/* Chunks of logits rows that ws_parallel_for walks. */
typedef struct choice {
    const float *logits;
    int64_t vocab;
    int32_t *tok; /* -1: a logit is not finite */
} choice;
static void choose(void *arg, int64_t begin, int64_t end) {
    const choice *c = arg;
    for (int64_t i = begin; i < end; i++) {
        const float *x = c->logits + i * c->vocab, max = ws_k.max(x, c->vocab);
        int32_t v = 0;
        while (v < c->vocab && x[v] != max) v++;
        c->tok[i] = isfinite(max) ? v : -1;
    }
}

/* A final state that a forward returned. */
typedef struct place {
    ws_kl_speaker *row;
    const float *state;
    int last; /* of the row's in this forward */
} place;

/* Token `tok` at the row's next position, chosen from logits row `at`; `due` gets the position where its KL can be had now. */
static void say(ws_kl_job *j, const place *p, int32_t tok, int at, ws_kl_pair *due, int *n_due) {
    const ws_kl *k = j->k;
    ws_kl_speaker *x = p->row;
    const int t = x->n++;
    const float *base = x->measured == t ? ws_kl_base_state(k, x->prompt, x->ids, t) : NULL;
    if (base)
        due[(*n_due)++] = (ws_kl_pair){.row = x, .t = t, .steered = at, .state = base}, x->measured++;
    else
        memcpy(x->hidden + t * k->d, p->state, (size_t)k->d * sizeof(float));
    x->ids[t] = tok;
    x->over = tok == k->eos || x->n == k->n_tokens;
    j->done += x->over ? k->n_tokens - t : 1;
    if (x->draft && (t >= x->n_draft || x->draft[t] != tok)) x->draft = NULL;
    x->stop = x->over || p->last || !x->draft;
}

/* What is said at up to WS_KL_HEAD states; those behind a token that turned out otherwise are passed over. */
static ws_status hear_some(ws_kl_job *j, const place *of, int n, ws_err *err) {
    ws_kl *k = j->k;
    int32_t tok[WS_KL_HEAD];
    ws_kl_pair due[WS_KL_HEAD];
    int n_due = 0;
    for (int i = 0; i < n; i++) memcpy(k->states + i * k->d, of[i].state, (size_t)k->d * sizeof(float));
    ws_head(k->m, k->states, n, k->logits);
    ws_profile_enter("choice and KL");
    ws_parallel_for(n, 1, choose, &(choice){k->logits, k->vocab, tok});
    ws_profile_leave(0, 0);
    for (int i = 0; i < n; i++) {
        if (of[i].row->stop) continue;
        if (tok[i] < 0) return ws_kl_not_finite(j, of[i].row, of[i].row->n, err);
        say(j, &of[i], tok[i], i, due, &n_due);
    }
    ws_progress_update(&j->bar, j->done, NULL);
    return ws_kl_measure(j, due, n_due, n, err);
}

/* What the rows say at their states, n_out[i] of row i one after another.  Place by place, so that little is computed behind a
 * token that turned out otherwise, and rows of one prompt come to a state of the base together. */
static ws_status hear(ws_kl_job *j, ws_kl_speaker *const *row, const int *n_out, int n, const float *hidden,
                      ws_err *err) {
    const float **first = ws_xmalloc((size_t)n * sizeof *first);
    ws_status st = WS_OK;
    int most = 0;
    for (int i = 0; i < n; hidden += n_out[i++] * j->k->d) {
        first[i] = hidden;
        if (n_out[i] > most) most = n_out[i];
    }
    for (int i = 0, o = 0; o < most && !st;) {
        place of[WS_KL_HEAD];
        int m = 0;
        while (o < most && m < WS_KL_HEAD) {
            if (o < n_out[i] && !row[i]->stop) of[m++] = (place){row[i], first[i] + o * j->k->d, o + 1 == n_out[i]};
            if (++i == n) i = 0, o++;
        }
        if (m) st = hear_some(j, of, m, err);
    }
    free(first);
    return st;
}

/* Forgets what the row has read beyond its answer.  A sequence that goes forwards only is begun again. */
static void settle(ws_kl_job *j, ws_kl_speaker *x) {
    ws_kl *k = j->k;
    const int said = k->prompt[x->prompt].n_steered + x->n - 1; /* the last token has not been read */
    if (x->over) {
        ws_seq_free(k->state, x->seq);
        x->seq = -1;
    } else if (ws_seq_holds(k->state, x->seq, said)) {
        ws_seq_truncate(k->state, x->seq, said);
    } else {
        ws_seq_free(k->state, x->seq);
        x->seq = ws_seq_fork(k->state, j->arm_header[x->arm], k->common_steered);
    }
}

/* One forward of each of the rows, as many of them at once as fit. */
static ws_status pass(ws_kl_job *j, ws_kl_speaker *const *row, int n, ws_err *err) {
    const ws_kl *k = j->k;
    int *tokens = ws_xmalloc(3 * (size_t)n * sizeof *tokens), *n_out = tokens + n, *arm = n_out + n;
    ws_row *r = ws_xmalloc((size_t)n * sizeof *r);
    size_t most = 0;
    for (int i = 0; i < n; i++)
        most += (size_t)(k->prompt[row[i]->prompt].n_steered - ws_seq_len(k->state, row[i]->seq) + k->n_tokens);
    int32_t *ids = ws_xmalloc(most * sizeof *ids), *next = ids;
    for (int i = 0; i < n; i++) {
        row[i]->stop = 0;
        tokens[i] = unread(j, row[i], next, &n_out[i]);
        r[i] = (ws_row){row[i]->seq, next, tokens[i], n_out[i]}, arm[i] = row[i]->arm;
        next += tokens[i];
    }
    ws_status st = WS_OK;
    for (int i = 0, e; i < n && !st; i = e) {
        e = ws_kl_group(tokens, i, n);
        st = ws_kl_forward(j, r + i, arm + i, e - i, j->hidden, err);
        if (!st) st = hear(j, row + i, n_out + i, e - i, j->hidden, err);
        for (int c = i; c < e && !st; c++) settle(j, row[c]);
    }
    free(tokens), free(r), free(ids);
    return st;
}

ws_status ws_kl_speak(ws_kl_job *j, ws_err *err) {
    ws_kl *k = j->k;
    int n = j->n_rows;
    ws_kl_speaker **row = ws_xmalloc((size_t)n * sizeof *row); /* those that still speak */
    ws_status st = WS_OK;
    for (int i = 0; i < n; i++) {
        row[i] = &j->rows[i];
        row[i]->seq = ws_seq_fork(k->state, j->arm_header[row[i]->arm], k->common_steered);
    }
    while (n && !st) {
        int left = 0;
        st = pass(j, row, n, err);
        for (int i = 0; i < n && !st; i++)
            if (!row[i]->over) row[left++] = row[i];
        if (!st) n = left;
    }
    for (int i = 0; i < n; i++) /* after an error */
        if (row[i]->seq >= 0) ws_seq_free(k->state, row[i]->seq), row[i]->seq = -1;
    free(row);
    return st;
}
