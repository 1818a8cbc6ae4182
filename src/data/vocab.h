/* src/data/vocab.h - strings numbered 0, 1, 2, ... in the order in which they were first added. */
#ifndef WS_DATA_VOCAB_H
#define WS_DATA_VOCAB_H
#include "data/wordlist.h"
typedef struct ws_vocab { /* a zeroed one is empty */
    int n, cap;
    char **word; /* [n] */
    int *slot;   /* [2 cap] open addressing, -1: free */
} ws_vocab;
int ws_vocab_add(ws_vocab *v, const char *word);        /* its number */
int ws_vocab_find(const ws_vocab *v, const char *word); /* -1: not there */
void ws_vocab_free(ws_vocab *v);
#endif
