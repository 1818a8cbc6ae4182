#include "generate/prefix.h"
#include <stdlib.h>
#include <string.h>

enum { MIN_SAVED = 16 }; /* tokens that a node must save in all; below that the extra rows cost more */

typedef struct order {
    const ws_gen_request *req;
    int i, n_patches;
} order;

static int cmp_alpha(const ws_gen_request *a, const ws_gen_request *b, int n) {
    for (int p = 0; p < n; p++)
        if (a->alpha[p] != b->alpha[p]) return a->alpha[p] < b->alpha[p] ? -1 : 1;
    return 0;
}
static int shareable(const ws_gen_request *r) { return r->n_prompt - 1; }

static int by_text(const void *x, const void *y) {
    const order *a = x, *b = y;
    int c = cmp_alpha(a->req, b->req, a->n_patches), na = shareable(a->req), nb = shareable(b->req);
    for (int i = 0; !c && i < na && i < nb; i++)
        c = (a->req->prompt[i] > b->req->prompt[i]) - (a->req->prompt[i] < b->req->prompt[i]);
    if (!c) c = (na > nb) - (na < nb);
    return c ? c : (a->i > b->i) - (a->i < b->i);
}

static int common(const order *a, const order *b) {
    int n = shareable(a->req) < shareable(b->req) ? shareable(a->req) : shareable(b->req), k = 0;
    if (cmp_alpha(a->req, b->req, a->n_patches)) return 0;
    while (k < n && a->req->prompt[k] == b->req->prompt[k]) k++;
    return k;
}

/* An inner point of the trie: requests [left, right] of the sorted order begin with the same `len` tokens. */
typedef struct point {
    int len, left, right;
} point;
static int by_gain(const void *x, const void *y) {
    const point *a = x, *b = y;
    int na = a->right - a->left,
        nb = b->right - b->left; /* an outer point always holds more requests than an inner one */
    if (na != nb) return na < nb ? 1 : -1;
    return (a->left > b->left) - (a->left < b->left);
}

/* All points, by the usual stack over common lengths of neighbours. */
static int find_points(point *out, const order *o, int n) {
    point *stack = ws_xmalloc((size_t)(n + 1) * sizeof *stack);
    int top = 0, m = 0;
    stack[0] = (point){0, 0, 0};
    for (int i = 1; i <= n; i++) {
        int l = i < n ? common(&o[i - 1], &o[i]) : 0, left = i - 1;
        while (stack[top].len > l) {
            stack[top].right = i - 1;
            left = stack[top].left;
            out[m++] = stack[top--];
        }
        if (stack[top].len < l) stack[++top] = (point){l, left, 0};
    }
    free(stack);
    return m;
}

void ws_prefixes_find(ws_prefixes *p, const ws_model *model, const ws_gen_request *req, int n_req, int n_patches,
                      int64_t budget) {
    const int64_t per_token = ws_model_token_bytes(model), per_node = ws_model_seq_bytes(model);
    order *o = ws_xmalloc((size_t)n_req * sizeof *o + 1);
    point *pt = ws_xmalloc((size_t)n_req * sizeof *pt + 1);
    int *deepest = ws_xmalloc((size_t)n_req * sizeof *deepest + 1); /* by place in the sorted order */
    for (int i = 0; i < n_req; i++) o[i] = (order){&req[i], i, n_patches}, deepest[i] = -1;
    qsort(o, (size_t)n_req, sizeof *o, by_text);
    int m = n_req ? find_points(pt, o, n_req) : 0;
    qsort(pt, (size_t)m, sizeof *pt, by_gain);
    *p = (ws_prefixes){0, ws_xcalloc((size_t)m + 1, sizeof *p->node), ws_xmalloc((size_t)n_req * sizeof *p->of + 1)};
    for (int k = 0; k < m; k++) {
        int parent = deepest[pt[k].left], more = pt[k].len - (parent < 0 ? 0 : p->node[parent].len);
        int64_t bytes = more * per_token + per_node;
        if ((int64_t)more * (pt[k].right - pt[k].left) < MIN_SAVED || bytes > budget) continue;
        budget -= bytes;
        if (parent >= 0) p->node[parent].users++;
        p->node[p->n] = (ws_prefix){parent, pt[k].len, o[pt[k].left].i, 0};
        for (int i = pt[k].left; i <= pt[k].right; i++) deepest[i] = p->n;
        p->n++;
    }
    for (int i = 0; i < n_req; i++) {
        p->of[o[i].i] = deepest[i];
        if (deepest[i] >= 0) p->node[deepest[i]].users++;
    }
    free(o);
    free(pt);
    free(deepest);
}

void ws_prefixes_free(ws_prefixes *p) {
    free(p->node);
    free(p->of);
    memset(p, 0, sizeof *p);
}
