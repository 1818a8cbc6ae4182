#include "eval/batch.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "generate/prefix.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORWARD_TOKENS = 1024, FORWARD_ROWS = 512, HEAD_ROWS = 64 };

typedef struct task { /* one row of a forward */
    ws_row row;
    int setting;
    int64_t out;         /* place of its first hidden state */
    int from;            /* sequence whose end it starts from; -1: none.  It is forked when its forward comes. */
    const int32_t *text; /* [to] all that it has read in the end */
    int to;              /* 0: not known, so like no other */
} task;

static int same_text(const task *a, const task *b) {
    return a->to && a->to == b->to &&
           (a->text == b->text || !memcmp(a->text, b->text, (size_t)a->to * sizeof *a->text));
}
/* The first of t[0 .. k) that reads the same as t[k] in another setting; k: none. */
static int first_alike(const task *t, int k) {
    int j = 0;
    while (j < k && !same_text(&t[j], &t[k])) j++;
    return j;
}

float ws_eval_alpha(const ws_eval *e, int method, double alpha, int p) {
    return method >= 0 && e->method[method]->patch == e->patch[p] ? (float)alpha : 0;
}

int64_t ws_eval_budget(const ws_model *m) { return ((int64_t)512 << 20) + 8 * ws_model_seq_bytes(m); }
static int64_t budget_of(const ws_eval *e) { return e->o->budget > 0 ? e->o->budget : ws_eval_budget(e->model); }

int64_t ws_eval_sequences(const ws_eval *e) {
    int64_t per_seq = ws_model_seq_bytes(e->model);
    return per_seq ? budget_of(e) / per_seq + 1 : FORWARD_ROWS;
}

/* A value that is not finite: which strengths were in that forward. */
static void name_settings(const ws_eval *e, const task *t, int n, ws_err *err) {
    ws_str list = {0};
    char *said = ws_xcalloc((size_t)e->n_settings, 1);
    for (int i = 0; i < n; i++) {
        const ws_setting *s = &e->setting[t[i].setting];
        if (said[t[i].setting]) continue;
        said[t[i].setting] = 1;
        ws_str_addf(&list, "%s%s at alpha %+g", list.n ? ", " : "", s->name, s->alpha);
    }
    ws_fail_prefix(err, "among the texts of %s", list.p);
    free(said);
    ws_str_free(&list);
}

/* One forward over tasks that fit: rows stand setting by setting, so that a patch finds its tokens side by side. */
static ws_status forward(const ws_eval *e, ws_state *state, int share, task *t, int n, float *hidden, ws_err *err) {
    int64_t d = ws_model_dims(e->model)->hidden, outs = 0, *out = ws_xmalloc((size_t)n * sizeof *out);
    int *of = ws_xmalloc(3 * (size_t)n * sizeof *of), *at = of + n, *like = at + n, m = 0, sorted = 1;
    ws_row *row = ws_xmalloc((size_t)n * sizeof *row);
    float *alpha = ws_xmalloc((size_t)n * (size_t)e->n_patches * sizeof *alpha + 1);
    const float **per_patch = ws_xmalloc((size_t)(e->n_patches + 1) * sizeof *per_patch);
    for (int k = 0; k < n; k++) {
        out[k] = outs, outs += t[k].row.n_out;
        if (t[k].from >= 0)
            t[k].row.seq = ws_seq_fork(state, t[k].from, ws_seq_len(state, t[k].from));
        else if (t[k].row.seq < 0 && (share || !t[k].row.n_out))
            t[k].row.seq = ws_seq_new(state);
    }
    for (int s = 0; s < e->n_settings && m < n; s++)
        for (int k = 0; k < n; k++)
            if (t[k].setting == s) sorted &= k == m, at[k] = m, of[m++] = k;
    for (int i = 0; i < n; i++) {
        const task *x = &t[of[i]];
        const ws_setting *s = &e->setting[x->setting];
        row[i] = x->row;
        for (int p = 0; p < e->n_patches; p++) alpha[(int64_t)p * n + i] = ws_eval_alpha(e, s->method, s->alpha, p);
        like[i] = -1;
    }
    for (int k = 0; k < n && share; k++) { /* the first in the batch computes the trunk */
        int alike = first_alike(t, k);
        if (alike == k) continue;
        int a = at[alike], b = at[k];
        while (like[a] >= 0) a = like[a];
        like[a < b ? b : a] = a < b ? a : b;
    }
    for (int i = 0; i < n; i++)
        if (like[i] >= 0) like[i] = row[like[i]].seq;
    for (int p = 0; p < e->n_patches; p++) per_patch[p] = alpha + (int64_t)p * n;
    const ws_batch b = {.n_rows = n, .row = row, .n_patches = e->n_patches, .patch = e->patch, .alpha = per_patch};
    float *h = sorted ? hidden : ws_xmalloc((size_t)(outs * d) * sizeof *h + 1);
    ws_status st = ws_interrupt_check(err);
    if (!st) st = ws_forward_like(e->model, state, &b, like, h, err);
    if (st == WS_ENONFINITE) name_settings(e, t, n, err);
    for (int i = 0, o = 0; i < n && !sorted && !st; o += row[i++].n_out)
        memcpy(hidden + out[of[i]] * d, h + o * d, (size_t)(row[i].n_out * d) * sizeof *h);
    for (int k = 0; k < n; k++)
        if (t[k].row.n_out && t[k].row.seq >= 0) ws_seq_free(state, t[k].row.seq), t[k].row.seq = -1;
    if (!sorted) free(h);
    free(out), free(of), free(row), free(alpha), free(per_patch);
    return st;
}

/* Forwards over consecutive tasks, as many as fit.  share: those that read the same in several settings stand in one where
 * that can be, and share the state's trunk.  Rows without n_out leave what they remember in their sequence, which
 * t[i].row.seq then names; the others' are given back. */
static ws_status run(const ws_eval *e, ws_state *state, int share, task *t, int n, float *hidden, ws_err *err) {
    int64_t d = ws_model_dims(e->model)->hidden, most = ws_eval_sequences(e);
    ws_status st = WS_OK;
    for (int i = 0; i < n && !st;) {
        int64_t tokens = 0;
        int end = i;
        while (end < n &&
               (end == i || (end - i < FORWARD_ROWS && end - i < most && tokens + t[end].row.n <= FORWARD_TOKENS)))
            tokens += t[end++].row.n;
        if (share && end < n) {
            int alike = i + first_alike(t + i, end - i);
            if (alike > i) end = alike;
        }
        st = forward(e, state, share, t + i, end - i, hidden + t[i].out * d, err);
        i = end;
    }
    return st;
}

/* The texts of one call and the tree of their beginnings. */
typedef struct tree {
    const ws_eval *e;
    ws_state *state;
    const ws_eval_row *r;
    int n;
    int share; /* several settings */
    float *hidden;
    ws_prefixes pre;
    int *seq;  /* [pre.n] of the beginnings that stand */
    task *t;   /* [n + pre.n] */
    char *now; /* [pre.n] the beginnings whose texts are due */
} tree;

static task start(const tree *x, int k) {
    const ws_prefix *p = &x->pre.node[k];
    const ws_eval_row *r = &x->r[p->request];
    int from = p->parent < 0 ? 0 : x->pre.node[p->parent].len;
    return (task){{-1, r->ids + from, p->len - from, 0},  r->setting, 0,
                  p->parent < 0 ? -1 : x->seq[p->parent], r->ids,     p->len};
}

static task finish(const tree *x, int i, int64_t out) {
    const ws_eval_row *r = &x->r[i];
    int k = x->pre.of[i], from = k < 0 ? 0 : x->pre.node[k].len;
    return (task){{-1, r->ids + from, r->n - from, r->n_out}, r->setting, out, k < 0 ? -1 : x->seq[k], r->ids, r->n};
}

/* Beginnings that read the same in several settings stand side by side, so that they share a forward. */
typedef struct place {
    const tree *x;
    int node;
} place;
static int by_text(const void *a, const void *b) {
    const place *p = a, *q = b;
    const ws_prefix *m = &p->x->pre.node[p->node], *n = &p->x->pre.node[q->node];
    const int32_t *s = p->x->r[m->request].ids, *t = p->x->r[n->request].ids;
    if (m->len != n->len) return m->len < n->len ? -1 : 1;
    for (int i = 0; s != t && i < m->len; i++)
        if (s[i] != t[i]) return s[i] < t[i] ? -1 : 1;
    return p->x->r[m->request].setting - p->x->r[n->request].setting;
}
static void side_by_side(const tree *x, int *node, int n) {
    place *p = ws_xmalloc((size_t)n * sizeof *p + 1);
    for (int i = 0; i < n; i++) p[i] = (place){x, node[i]};
    qsort(p, (size_t)n, sizeof *p, by_text);
    for (int i = 0; i < n; i++) node[i] = p[i].node;
    free(p);
}

/* All beginnings, level by level, and then all texts: the largest batches.  They stand together, so the budget has bounded
 * how many there are. */
static ws_status all_at_once(tree *x, ws_err *err) {
    int *depth = ws_xmalloc(2 * (size_t)x->pre.n * sizeof *depth + 1), *of = depth + x->pre.n, deepest = -1;
    for (int k = 0; k < x->pre.n; k++) {
        depth[k] = x->pre.node[k].parent < 0 ? 0 : depth[x->pre.node[k].parent] + 1;
        if (depth[k] > deepest) deepest = depth[k];
    }
    ws_status st = WS_OK;
    for (int level = 0; level <= deepest && !st; level++) {
        int m = 0;
        for (int k = 0; k < x->pre.n; k++)
            if (depth[k] == level) of[m++] = k;
        side_by_side(x, of, m);
        for (int i = 0; i < m; i++) x->t[i] = start(x, of[i]);
        st = run(x->e, x->state, x->share, x->t, m, x->hidden, err);
        for (int i = 0; i < m; i++) x->seq[of[i]] = x->t[i].row.seq;
    }
    int64_t out = 0;
    for (int i = 0; i < x->n && !st; i++) x->t[i] = finish(x, i, out), out += x->r[i].n_out;
    if (!st) st = run(x->e, x->state, x->share, x->t, x->n, x->hidden, err);
    for (int k = 0; k < x->pre.n && !st; k++) ws_seq_free(x->state, x->seq[k]);
    free(depth);
    return st;
}

/* The texts that start from a beginning in `now`; with `none` those that start from nothing. */
static ws_status due_texts(tree *x, int none, ws_err *err) {
    int64_t d = ws_model_dims(x->e->model)->hidden, out = 0, at = 0;
    int m = 0;
    for (int i = 0; i < x->n; i++) {
        int k = x->pre.of[i];
        if (k < 0 ? !none : !x->now[k]) continue;
        x->t[m++] = finish(x, i, out);
        out += x->r[i].n_out;
    }
    if (!m) return WS_OK;
    float *h = ws_xmalloc((size_t)(out * d) * sizeof *h);
    ws_status st = run(x->e, x->state, x->share, x->t, m, h, err);
    out = 0;
    for (int i = 0; i < x->n && !st; i++) {
        int k = x->pre.of[i];
        size_t size = (size_t)(x->r[i].n_out * d) * sizeof *h;
        if (k < 0 ? none : x->now[k]) memcpy(x->hidden + out * d, h + at * d, size), at += x->r[i].n_out;
        out += x->r[i].n_out;
    }
    free(h);
    return st;
}

/* Where a sequence is dear by itself, whatever its length: a few beginnings of one level at a time, each with everything
 * that starts from it, and then they are gone.  `room`: bytes for the beginnings of this level and of those below. */
static ws_status a_few_at_a_time(tree *x, int *node, int n, int64_t room, ws_err *err) {
    int64_t per_token = ws_model_token_bytes(x->e->model), per_seq = ws_model_seq_bytes(x->e->model);
    ws_status st = WS_OK;
    side_by_side(x, node, n);
    for (int at = 0, end; at < n && !st; at = end) {
        int64_t used = 0;
        for (end = at; end < n; end++) {
            const ws_prefix *p = &x->pre.node[node[end]];
            int64_t cost = (p->len - (p->parent < 0 ? 0 : x->pre.node[p->parent].len)) * per_token + per_seq;
            if (end > at && used + cost > room / 2) break;
            used += cost;
        }
        for (int k = at; k < end; k++) x->t[k - at] = start(x, node[k]);
        st = run(x->e, x->state, x->share, x->t, end - at, x->hidden, err);
        for (int k = at; k < end; k++) x->seq[node[k]] = x->t[k - at].row.seq, x->now[node[k]] = 1;
        if (!st) st = due_texts(x, 0, err);
        int *child = ws_xmalloc((size_t)x->pre.n * sizeof *child), m = 0;
        for (int k = 0; k < x->pre.n; k++)
            if (x->pre.node[k].parent >= 0 && x->now[x->pre.node[k].parent]) child[m++] = k;
        for (int k = at; k < end; k++) x->now[node[k]] = 0;
        if (m && !st) st = a_few_at_a_time(x, child, m, room - used, err);
        for (int k = at; k < end && !st; k++) ws_seq_free(x->state, x->seq[node[k]]);
        free(child);
    }
    return st;
}

ws_status ws_eval_rows(const ws_eval *e, const ws_eval_row *r, int n, float *hidden, ws_err *err) {
    tree x = {.e = e, .r = r, .n = n, .hidden = hidden};
    const int dear = ws_model_seq_bytes(e->model) > 0;
    if (e->state) x.state = *e->state, *e->state = NULL;
    if (!x.state) {
        if (ws_state_new(&x.state, e->model, err)) return err->code;
        ws_state_trunk(x.state, e->model, e->n_patches ? ws_patches_lowest(e->model, e->patch, e->n_patches) : 0);
    }
    for (int i = 1; i < n; i++) x.share |= r[i].setting != r[0].setting;
    /* the prefix finder speaks of requests whose last prompt token is not shared: all n_out tokens must be left out here */
    ws_gen_request *req = ws_xcalloc((size_t)n + 1, sizeof *req);
    float *key = ws_xmalloc((size_t)n * sizeof *key + 1);
    for (int i = 0; i < n; i++) {
        key[i] = (float)r[i].setting;
        req[i] = (ws_gen_request){.prompt = r[i].ids, .n_prompt = r[i].n - r[i].n_out + 1, .alpha = &key[i]};
    }
    ws_prefixes_find(&x.pre, e->model, req, n, 1, dear ? INT64_MAX : budget_of(e));
    x.seq = ws_xmalloc((size_t)x.pre.n * sizeof *x.seq + 1);
    x.now = ws_xcalloc((size_t)x.pre.n + 1, 1);
    x.t = ws_xmalloc((size_t)(n + x.pre.n) * sizeof *x.t + 1);
    ws_status st;
    if (dear) {
        int *root = ws_xmalloc((size_t)x.pre.n * sizeof *root + 1), m = 0;
        for (int k = 0; k < x.pre.n; k++)
            if (x.pre.node[k].parent < 0) root[m++] = k;
        st = a_few_at_a_time(&x, root, m, budget_of(e), err);
        if (!st) st = due_texts(&x, 1, err);
        free(root);
    } else {
        st = all_at_once(&x, err);
    }
    if (!st && e->state)
        *e->state = x.state;
    else
        ws_state_free(x.state);
    ws_prefixes_free(&x.pre);
    free(req), free(key), free(x.seq), free(x.now), free(x.t);
    return st;
}

ws_status ws_eval_rows_from(const ws_eval *e, ws_state *state, const ws_eval_row *r, const int *seq, int n,
                            float *hidden, ws_err *err) {
    task *t = ws_xmalloc((size_t)n * sizeof *t + 1);
    int64_t out = 0;
    for (int i = 0; i < n; i++) {
        t[i] = (task){{seq[i], r[i].ids, r[i].n, r[i].n_out}, r[i].setting, out, -1, NULL, 0};
        out += r[i].n_out;
    }
    ws_status st = run(e, state, 0, t, n, hidden, err);
    free(t);
    return st;
}

typedef struct answers {
    const float *logits;
    int64_t vocab;
    const int32_t *id[2];
    int n_id[2];
    double *out[2];
} answers;
static void answer_rows(void *arg, int64_t begin, int64_t end) {
    answers *a = arg;
    for (int64_t i = begin; i < end; i++) {
        const float *x = a->logits + i * a->vocab;
        float top = ws_k.max(x, a->vocab);
        double all = log(ws_k.exp_sum(NULL, x, top, a->vocab));
        for (int k = 0; k < 2; k++) {
            double best = -INFINITY, sum = 0;
            for (int j = 0; j < a->n_id[k]; j++)
                if (x[a->id[k][j]] > best) best = x[a->id[k][j]];
            for (int j = 0; j < a->n_id[k]; j++) sum += exp(x[a->id[k][j]] - best);
            a->out[k][i] = best - top + log(sum) - all;
        }
    }
}

void ws_eval_answer(const ws_eval *e, const float *hidden, int64_t n, const int32_t *yes, int n_yes, const int32_t *no,
                    int n_no, double *logp_yes, double *logp_no) {
    const ws_dims *dim = ws_model_dims(e->model);
    float *logits = ws_xmalloc((size_t)HEAD_ROWS * (size_t)dim->vocab * sizeof *logits);
    for (int64_t i = 0; i < n; i += HEAD_ROWS) {
        int64_t m = n - i < HEAD_ROWS ? n - i : HEAD_ROWS;
        ws_head(e->model, hidden + i * dim->hidden, m, logits);
        answers a = {logits, dim->vocab, {yes, no}, {n_yes, n_no}, {logp_yes + i, logp_no + i}};
        ws_parallel_for(m, 1, answer_rows, &a);
    }
    free(logits);
}
