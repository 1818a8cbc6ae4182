/* src/text/added.c - a byte trie over the contents; see added.h. */
#include "text/added.h"
#include "base/err.h"
#include "text/utf8.h"
#include <stdlib.h>
#include <string.h>

struct ws_trie_node {
    int32_t child, sibling; /* -1 none; node 0 is the root */
    int32_t token;          /* index into t, -1: no token ends here */
    unsigned char byte;
};

static int by_id(const void *x, const void *y) {
    const ws_added_token *a = x, *b = y;
    return (a->id > b->id) - (a->id < b->id);
}

void ws_added_put(ws_added *a, int32_t id, const char *content, size_t n, int special, int normalized, int lstrip,
                  int rstrip) {
    ws_added_token *t = NULL;
    int rising = !a->count || id > a->t[a->count - 1].id; /* the usual order: nothing to search */
    for (int i = 0; i < a->count && !t; i++) {
        if (rising && a->sorted) break;
        if (a->t[i].id == id) t = &a->t[i];
    }
    if (!t) {
        a->sorted = rising && (a->sorted || !a->count);
        a->t = ws_xrealloc(a->t, (size_t)(a->count + 1) * sizeof *a->t);
        t = &a->t[a->count++];
        t->id = id;
    } else
        free(t->content);
    t->content = ws_xmalloc(n + 1);
    memcpy(t->content, content, n);
    t->content[n] = 0;
    t->n = n, t->special = special, t->normalized = normalized, t->lstrip = lstrip, t->rstrip = rstrip;
}

static int32_t node_new(ws_added *a, int k, unsigned char byte) {
    if (a->n_nodes[k] == a->cap[k]) {
        a->cap[k] = a->cap[k] * 2 + 64;
        a->node[k] = ws_xrealloc(a->node[k], (size_t)a->cap[k] * sizeof *a->node[k]);
    }
    a->node[k][a->n_nodes[k]] = (ws_trie_node){-1, -1, -1, byte};
    return a->n_nodes[k]++;
}

static int32_t child(const ws_trie_node *node, int32_t at, unsigned char byte) {
    int32_t c = node[at].child;
    while (c >= 0 && node[c].byte != byte) c = node[c].sibling;
    return c;
}

void ws_added_seal(ws_added *a) {
    if (a->count) qsort(a->t, (size_t)a->count, sizeof *a->t, by_id);
    for (int k = 0; k < 2; k++) {
        a->n_nodes[k] = 0;
        node_new(a, k, 0);
    }
    for (int i = 0; i < a->count; i++) {
        int k = a->t[i].normalized != 0;
        int32_t at = 0;
        for (size_t j = 0; j < a->t[i].n; j++) {
            unsigned char byte = (unsigned char)a->t[i].content[j];
            int32_t c = child(a->node[k], at, byte);
            if (c < 0) {
                c = node_new(a, k, byte);
                a->node[k][c].sibling = a->node[k][at].child;
                a->node[k][at].child = c;
            }
            at = c;
        }
        if (at && a->node[k][at].token < 0) a->node[k][at].token = i;
    }
}

void ws_added_free(ws_added *a) {
    for (int i = 0; i < a->count; i++) free(a->t[i].content);
    free(a->t);
    free(a->node[0]);
    free(a->node[1]);
    memset(a, 0, sizeof *a);
}

const ws_added_token *ws_added_by_id(const ws_added *a, int32_t id) {
    int lo = 0, hi = a->count;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (a->t[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < a->count && a->t[lo].id == id ? &a->t[lo] : NULL;
}

const ws_added_token *ws_added_by_content(const ws_added *a, const char *content, size_t n) {
    for (int i = 0; i < a->count; i++)
        if (a->t[i].n == n && !memcmp(a->t[i].content, content, n)) return &a->t[i];
    return NULL;
}

const ws_added_token *ws_added_next(const ws_added *a, int normalized, const char *text, size_t n, size_t from,
                                    size_t *begin, size_t *end) {
    const ws_trie_node *node = a->node[normalized];
    if (!node || a->n_nodes[normalized] < 2) return NULL;
    for (size_t i = from; i < n; i++) {
        int32_t at = 0, best = -1;
        size_t stop = i;
        for (size_t j = i; j < n && (at = child(node, at, (unsigned char)text[j])) >= 0; j++)
            if (node[at].token >= 0) best = node[at].token, stop = j + 1;
        if (best < 0) continue;
        const ws_added_token *t = &a->t[best];
        *begin = i, *end = stop;
        if (t->lstrip)
            while (*begin > from) { /* one character back */
                size_t b = *begin - 1;
                uint32_t cp;
                while (b > from && ((unsigned char)text[b] & 0xC0) == 0x80) b--;
                if (!ws_utf8_next(text + b, *begin - b, &cp) || !ws_is_space(cp)) break;
                *begin = b;
            }
        if (t->rstrip) {
            uint32_t cp;
            int k;
            while ((k = ws_utf8_next(text + *end, n - *end, &cp)) && ws_is_space(cp)) *end += (size_t)k;
        }
        return t;
    }
    return NULL;
}
