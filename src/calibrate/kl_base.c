/* src/calibrate/kl_base.c - the base model along the answers, and KL.
 * What the base computes after some tokens does not depend on who said them, so it is kept as tracks, one for every different
 * answer, and read on only from where no track has been.  It chooses nothing: it may come after the answers are complete, all
 * of it in a few large forwards. */
#include "base/parallel.h"
#include "base/profile.h"
#include "calibrate/kl_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const float *ws_kl_base_state(const ws_kl *k, int p, const int32_t *ids, int t) {
    if (!t) return k->base_hidden + p * k->d;
    const ws_kl_tracks *all = &k->tracks[p];
    for (int i = 0; i < all->n; i++)
        if (all->track[i].n >= t && !memcmp(all->track[i].ids, ids, (size_t)t * sizeof *ids))
            return all->track[i].hidden + t * k->d;
    return NULL;
}

static void drop(ws_kl *k, ws_kl_track *t) {
    if (t->seq >= 0) ws_seq_free(k->state, t->seq);
    free(t->ids), free(t->hidden);
}

void ws_kl_drop_tracks(ws_kl *k, int p0, int p1, int all) {
    for (int p = p0; p < p1; p++) {
        ws_kl_tracks *s = &k->tracks[p];
        int kept = 0;
        for (int i = 0; i < s->n; i++)
            if (all || s->track[i].used != k->runs)
                drop(k, &s->track[i]);
            else
                s->track[kept++] = s->track[i];
        s->n = kept;
    }
}

/* ---------- KL ---------- */

typedef struct chunk { /* of pairs, that ws_parallel_for walks */
    const ws_kl *k;
    const ws_kl_pair *pair;
    int first; /* row of the first base state's logits */
} chunk;
static void measure(void *arg, int64_t begin, int64_t end) {
    const chunk *c = arg;
    const ws_kl *k = c->k;
    float *scratch = k->logits + (2 * WS_KL_HEAD + ws_thread_id()) * k->vocab;
    for (int64_t i = begin; i < end; i++) {
        const ws_kl_pair *p = &c->pair[i];
        p->row->kl[p->t] = ws_kl_row(k->logits + p->steered * k->vocab, k->logits + (c->first + p->base) * k->vocab,
                                     k->vocab, scratch, NULL);
    }
}

ws_status ws_kl_not_finite(const ws_kl_job *j, const ws_kl_speaker *x, int t, ws_err *err) {
    return ws_fail(err, WS_ENONFINITE,
                   "the KL at alpha %+g is not a finite number (prompt %d, generated position %d): the model's logits "
                   "overflow at this strength; lower the upper end of --bracket",
                   j->arm[x->arm].alpha, x->prompt, t);
}

/* Numbers the different base states of the pairs, and puts them into k->states from row `used` on. */
static int base_states(const ws_kl *k, ws_kl_pair *p, int n, int used) {
    const float *of[WS_KL_HEAD];
    int m = 0;
    for (int i = 0; i < n; i++) {
        int b = 0;
        while (b < m && of[b] != p[i].state) b++;
        if (b == m) {
            memcpy(k->states + (used + m) * k->d, p[i].state, (size_t)k->d * sizeof(float));
            of[m++] = p[i].state;
        }
        p[i].base = b;
    }
    return m;
}

static ws_status measure_all(ws_kl_job *j, const ws_kl_pair *p, int n, int first, ws_err *err) {
    ws_profile_enter("choice and KL");
    ws_parallel_for(n, 1, measure, &(chunk){j->k, p, first});
    ws_profile_leave(0, 0);
    for (int i = 0; i < n; i++)
        if (isnan(p[i].row->kl[p[i].t])) return ws_kl_not_finite(j, p[i].row, p[i].t, err);
    return WS_OK;
}

ws_status ws_kl_measure(ws_kl_job *j, ws_kl_pair *p, int n, int used, ws_err *err) {
    const ws_kl *k = j->k;
    const int m = base_states(k, p, n, used);
    ws_head(k->m, k->states + used * k->d, m, k->logits + used * k->vocab);
    return measure_all(j, p, n, used, err);
}

/* Pairs of states that both have waited. */
static ws_status measure_waiting(ws_kl_job *j, ws_kl_pair *p, int n, ws_err *err) {
    const ws_kl *k = j->k;
    for (int i = 0; i < n; i++) {
        p[i].steered = i;
        memcpy(k->states + i * k->d, p[i].row->hidden + p[i].t * k->d, (size_t)k->d * sizeof(float));
    }
    ws_head(k->m, k->states, n + base_states(k, p, n, n), k->logits);
    return measure_all(j, p, n, n, err);
}

/* Prompt by prompt and position by position, so that rows that have said the same stand side by side. */
static ws_status what_is_left(ws_kl_job *j, ws_err *err) {
    const ws_kl *k = j->k;
    ws_kl_pair p[WS_KL_HEAD];
    int n = 0;
    for (int i = 0; i < j->n_rows; i += j->n_arms)
        for (int t = 0; t < k->n_tokens; t++)
            for (int a = 0; a < j->n_arms; a++) {
                ws_kl_speaker *x = &j->rows[i + a];
                if (t < x->measured || t >= x->n) continue;
                p[n++] = (ws_kl_pair){.row = x, .t = t, .state = ws_kl_base_state(k, x->prompt, x->ids, t)};
                if (n < WS_KL_HEAD) continue;
                if (measure_waiting(j, p, n, err)) return err->code;
                n = 0;
            }
    return n ? measure_waiting(j, p, n, err) : WS_OK;
}

/* ---------- the base reads ---------- */

/* The track that has gone furthest along ids[0..m), and how far. */
static ws_kl_track *longest(ws_kl_tracks *all, const int32_t *ids, int m, int *along) {
    ws_kl_track *best = NULL;
    *along = 0;
    for (int i = 0; i < all->n; i++) {
        ws_kl_track *t = &all->track[i];
        int n = 0;
        while (n < m && n < t->n && t->ids[n] == ids[n]) n++;
        if (n > *along) best = t, *along = n;
    }
    return best;
}

/* A new track for row x, where it needs one: r gets what the base reads for it, *states the place for what comes of it. */
static int begin(ws_kl_job *j, const ws_kl_speaker *x, ws_row *r, float **states) {
    ws_kl *k = j->k;
    ws_kl_tracks *all = &k->tracks[x->prompt];
    int m = x->n - 1, along, from; /* what follows the last token is nobody's */
    ws_kl_track *old = longest(all, x->ids, m, &along);
    if (along == m) {
        if (old) old->used = k->runs;
        return 0;
    }
    const int n_base = k->prompt[x->prompt].n_base;
    ws_kl_track t = {-1, m, ws_xmalloc((size_t)m * sizeof *t.ids), NULL, k->runs};
    t.hidden = ws_xmalloc((size_t)(m + 1) * (size_t)k->d * sizeof *t.hidden);
    memcpy(t.ids, x->ids, (size_t)m * sizeof *t.ids);
    if (along) memcpy(t.hidden + k->d, old->hidden + k->d, (size_t)(along * k->d) * sizeof *t.hidden);
    from = along && old->seq >= 0 && ws_seq_holds(k->state, old->seq, n_base + along) ? along : 0;
    t.seq = ws_seq_fork(k->state, from ? old->seq : k->base_seq[x->prompt], n_base + from);
    *r = (ws_row){t.seq, x->ids + from, m - from, m - along};
    *states = t.hidden + (along + 1) * k->d;
    all->track = ws_xrealloc(all->track, (size_t)(all->n + 1) * sizeof *all->track);
    all->track[all->n++] = t;
    return 1;
}

/* A track is of no use when its forward failed. */
static void undo(ws_kl *k, const ws_kl_speaker *x) {
    ws_kl_tracks *all = &k->tracks[x->prompt];
    drop(k, &all->track[--all->n]);
}

/* The base reads the answers of one arm. */
static ws_status read_arm(ws_kl_job *j, int a, ws_err *err) {
    ws_kl *k = j->k;
    const int most = j->n_rows / j->n_arms;
    int n = 0, *tokens = ws_xmalloc(2 * (size_t)most * sizeof *tokens), *arm = tokens + most;
    ws_row *r = ws_xmalloc((size_t)most * sizeof *r);
    float **states = ws_xmalloc((size_t)most * sizeof *states);
    const ws_kl_speaker **of = ws_xmalloc((size_t)most * sizeof *of);
    for (int i = a; i < j->n_rows; i += j->n_arms) {
        of[n] = &j->rows[i], arm[n] = -1;
        if (begin(j, of[n], &r[n], &states[n])) tokens[n] = r[n].n, n++;
    }
    ws_status st = WS_OK;
    int done = 0;
    for (int e; done < n; done = e) {
        e = ws_kl_group(tokens, done, n);
        if ((st = ws_kl_forward(j, r + done, arm + done, e - done, j->hidden, err))) break;
        const float *h = j->hidden;
        for (int c = done; c < e; h += r[c++].n_out * k->d)
            memcpy(states[c], h, (size_t)(r[c].n_out * k->d) * sizeof *h);
    }
    for (int c = done; c < n; c++) undo(k, of[c]);
    for (int c = 0; c < done; c++) { /* a sequence that goes forwards only is no use from inside */
        ws_kl_tracks *all = &k->tracks[of[c]->prompt];
        ws_kl_track *t = &all->track[all->n - 1];
        if (ws_seq_holds(k->state, t->seq, ws_seq_len(k->state, t->seq) - 1)) continue;
        ws_seq_free(k->state, t->seq);
        t->seq = -1;
    }
    free(tokens), free(r), free(states), free(of);
    return st;
}

ws_status ws_kl_follow(ws_kl_job *j, ws_err *err) {
    for (int a = 0; a < j->n_arms; a++)
        if (read_arm(j, a, err)) return err->code;
    return what_is_left(j, err);
}
