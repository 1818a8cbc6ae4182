/* src/model/share.c - beginnings that rows of one optimiser step have in common run once.
 *     rows -> tree of their prompts: a template's header, a topic's question, ...
 *     nodes forward -> rows in parts, forward and back, adding to the gradients of the nodes' keys and values -> nodes back
 * Below its supervised tokens a row gives the others nothing but keys and values, so a beginning that k rows share is k
 * times the same forward pass, and its gradient is that of the sum of what the k rows ask of its keys and values.  What a
 * row computes keeps its bits; the gradient's sums are taken in another order, the same for any cut into parts.
 * Only attention lets go on from any position; models with a recurrent mixer share nothing. */
#include "base/parallel.h"
#include "kernel/kernel.h"
#include "model/parts.h"
#include "ops/embed.h"
#include <stdlib.h>
#include <string.h>

enum { WORTH = 4 }; /* tokens that a node must save: it is one more sequence for the attention */

/* ---------- the tree ---------- */

/* Tokens of a row that others may run for it: those whose output predicts something of its own stay. */
static int open_to_others(const ws_train_row *r) {
    int n = r->first - 1 < r->n - 2 ? r->first - 1 : r->n - 2;
    return n > 0 ? n : 0;
}

static int by_beginning(const void *a, const void *b) {
    const ws_train_row *x = *(const ws_train_row *const *)a, *y = *(const ws_train_row *const *)b;
    int nx = open_to_others(x), ny = open_to_others(y), n = nx < ny ? nx : ny;
    for (int i = 0; i < n; i++)
        if (x->ids[i] != y->ids[i]) return x->ids[i] < y->ids[i] ? -1 : 1;
    if (nx != ny) return nx < ny ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Rows sorted[lo..hi) agree in their first `same` tokens, of which those before `pos` are in nodes, the last one `from`. */
static void branch(ws_share *s, const ws_train_row *const *sorted, int lo, int hi, int same, int pos, int from) {
    if (hi - lo > 1) { /* sorted: the first and the last agree in what all agree in */
        const ws_train_row *x = sorted[lo], *y = sorted[hi - 1];
        int most = open_to_others(x) < open_to_others(y) ? open_to_others(x) : open_to_others(y);
        while (same < most && x->ids[same] == y->ids[same]) same++;
        if ((int64_t)(same - pos) * (hi - lo - 1) >= WORTH) {
            s->node[s->n_nodes] = (ws_span){.ids = x->ids + pos, .n = same - pos, .pos = pos, .from = from};
            from = s->n_nodes++, pos = same;
        }
    }
    while (lo < hi && (hi - lo == 1 || open_to_others(sorted[lo]) <= same)) {
        const ws_train_row *r = sorted[lo++];
        int end = r->n > 1 ? r->n - 1 : 1; /* the last token predicts nothing */
        s->own[r - s->row] = (ws_span){.ids = r->ids + pos, .n = end - pos, .pos = pos, .from = from};
    }
    for (int next; lo < hi; lo = next) {
        for (next = lo + 1; next < hi && sorted[next]->ids[same] == sorted[lo]->ids[same];) next++;
        branch(s, sorted, lo, next, same, pos, from);
    }
}

ws_share *ws_share_new(const ws_model *m, const ws_train_row *row, int n_rows) {
    ws_share *s = ws_xcalloc(1, sizeof *s);
    const ws_train_row **sorted = ws_xcalloc((size_t)n_rows, sizeof *sorted);
    s->model = m, s->row = row, s->n_rows = n_rows;
    s->own = ws_xcalloc((size_t)n_rows, sizeof *s->own);
    s->node = ws_xcalloc((size_t)n_rows, sizeof *s->node); /* every node parts at least two rows or nodes */
    for (int r = 0; r < n_rows; r++) sorted[r] = row + r;
    if (n_rows) qsort(sorted, (size_t)n_rows, sizeof *sorted, by_beginning);
    if (m->arch.n_delta)
        for (int r = 0; r < n_rows; r++) branch(s, sorted, r, r + 1, 0, 0, -1);
    else
        branch(s, sorted, 0, n_rows, 0, 0, -1);
    for (int i = 0; i < s->n_nodes; i++) s->n += s->node[i].n;
    free(sorted);
    return s;
}

void ws_share_free(ws_share *s) {
    if (!s) return;
    free(s->own), free(s->node), free(s);
}

int64_t ws_share_tokens(const ws_share *s) { return s->n; }
int64_t ws_share_own(const ws_share *s, int row) { return s->own[row].n; }
ws_span ws_share_span(const ws_share *s, const ws_train_row *row) { return s->own[row - s->row]; }

int ws_share_part(const ws_share *s, int row, int n_rows, int64_t part, int64_t *tokens) {
    int r = 1;
    for (*tokens = s->own[row].n; r < n_rows && (!part || *tokens + s->own[row + r].n <= part); r++)
        *tokens += s->own[row + r].n;
    return r;
}

/* ---------- keys and values before a span ---------- */

const float *ws_share_behind(const ws_share *s, const ws_span *span, const float *of, const float *own, int64_t width,
                             float *to) {
    if (!span->pos) return own;
    for (int i = span->from; i >= 0; i = s->node[i].from)
        memcpy(to + s->node[i].pos * width, of + s->pass.first[i] * width, (size_t)(s->node[i].n * width) * sizeof *to);
    memcpy(to + span->pos * width, own, (size_t)(span->n * width) * sizeof *to);
    return to;
}

void ws_share_add(const ws_share *s, const ws_span *span, float *of, const float *g, int64_t width) {
    for (int i = span->from; i >= 0; i = s->node[i].from)
        ws_k.add(of + s->pass.first[i] * width, g + s->node[i].pos * width, s->node[i].n * width);
}

/* ---------- the pass ---------- */

static float **per_layer(ws_share *s, ws_arena *a, int from, int zero) {
    const ws_arch *arch = &s->model->arch;
    int64_t n = s->n * arch->kv_heads * arch->head_dim;
    float **of = ws_arena_get(a, (size_t)arch->layers * sizeof *of);
    for (int l = 0; l < arch->layers; l++) {
        of[l] = l < from ? NULL : ws_arena_floats(a, n);
        if (zero && of[l]) memset(of[l], 0, (size_t)n * sizeof **of);
    }
    return of;
}

int64_t ws_share_held(const ws_model *m, int64_t tokens, int lowest) {
    const ws_arch *a = &m->arch;
    return tokens * a->kv_heads * a->head_dim * 2 * (2 * a->layers - lowest) * (int64_t)sizeof(float);
}

ws_status ws_share_open(ws_model *m, ws_share *s, ws_patch *const *patch, int n_patches, int trainable, ws_err *err) {
    ws_pass *p = &s->pass;
    ws_status st = ws_pass_check(m, s->row, s->n_rows, patch, n_patches, trainable, err);
    if (st) return st;
    if (m->share || m->embed_grad) BUG("rows of another step are open, or gradients of embeddings are asked for");
    s->scratch = ws_arena_save(m->scratch), s->tape = ws_arena_save(m->tape);
    m->share = s;
    *p = (ws_pass){.n_rows = s->n_nodes, .span = s->node, .share = s};
    if (!s->n) return WS_OK;
    ws_pass_pack(m, p, patch, n_patches);
    ws_pass_end(m, p, patch, trainable);
    p->recompute = m->recompute || (m->part && p->n > m->part);
    ws_tape_make(m, p);
    int layers = m->arch.layers;
    /* In the last layer the rows take keys and values: where only what comes after these is trained, nothing goes back. */
    s->backward = p->lowest < layers && !(p->lowest == layers - 1 && p->stop > WS_AT_INPUT);
    s->k = per_layer(s, m->tape, 0, 0), s->v = per_layer(s, m->tape, 0, 0);
    s->gk = per_layer(s, m->tape, s->backward ? p->lowest : layers, 1);
    s->gv = per_layer(s, m->tape, s->backward ? p->lowest : layers, 1);
    for (int l = 0; l < layers; l++) p->buf[l].k = s->k[l], p->buf[l].v = s->v[l];
    ws_embed_forward(p->x[0], p->ids, p->n, &m->arch.embed);
    for (int l = 0; l < layers && !st; l++)
        st = ws_pass_layer(m, p, l, &p->buf[l], p->x[l], p->mid[l], p->x[l + 1], err);
    if (st) ws_share_drop(m, s);
    return st;
}

ws_status ws_share_close(ws_model *m, ws_share *s, ws_err *err) {
    ws_status st = WS_OK;
    WS_ASSERT(m->share == s);
    if (s->n && s->backward)
        st = ws_pass_backward(m, &s->pass, ws_arena_floats(m->scratch, s->n * m->arch.hidden), err);
    ws_share_drop(m, s);
    return st;
}

void ws_share_drop(ws_model *m, ws_share *s) {
    if (m->share != s) return;
    m->share = NULL;
    ws_arena_rewind(m->scratch, s->scratch);
    ws_arena_rewind(m->tape, s->tape);
}
