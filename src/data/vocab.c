#include "data/vocab.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint64_t fnv(const char *s) {
    uint64_t h = 14695981039346656037u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

static int probe(const ws_vocab *v, const char *word) {
    int mask = 2 * v->cap - 1, i = (int)(fnv(word) & (uint64_t)mask);
    while (v->slot[i] >= 0 && strcmp(v->word[v->slot[i]], word)) i = (i + 1) & mask;
    return i;
}

static void grow(ws_vocab *v) {
    v->cap = v->cap ? 2 * v->cap : 16;
    v->word = ws_xrealloc(v->word, (size_t)v->cap * sizeof *v->word);
    v->slot = ws_xrealloc(v->slot, (size_t)v->cap * 2 * sizeof *v->slot);
    for (int i = 0; i < 2 * v->cap; i++) v->slot[i] = -1;
    for (int i = 0; i < v->n; i++) v->slot[probe(v, v->word[i])] = i;
}

int ws_vocab_add(ws_vocab *v, const char *word) {
    int k = ws_vocab_find(v, word);
    if (k >= 0) return k;
    if (v->n == v->cap) grow(v);
    v->word[v->n] = ws_xstrdup(word);
    v->slot[probe(v, word)] = v->n;
    return v->n++;
}

int ws_vocab_find(const ws_vocab *v, const char *word) { return v->n ? v->slot[probe(v, word)] : -1; }

void ws_vocab_free(ws_vocab *v) {
    for (int i = 0; i < v->n; i++) free(v->word[i]);
    free(v->word);
    free(v->slot);
    memset(v, 0, sizeof *v);
}
