/* src/generate/prefix.h - which beginnings many prompts share, so that each is computed once.
 * Prompts with the same strengths form a trie; its branching points are candidates, and the ones that save most per kept
 * token are chosen while they fit a budget of kept tokens.
 *
 *     system POS 1 --+-- topic 4 --+-- (sample 0)       node = a beginning, parent = the longest chosen one before it
 *                    |             +-- (sample 1)       a request starts from the deepest node above it
 *                    +-- topic 9 ...
 * A node never holds a prompt's last token: that one has to be fed anyway, to give the first logits. */
#ifndef WS_GENERATE_PREFIX_H
#define WS_GENERATE_PREFIX_H
#include "generate/generate.h"

typedef struct ws_prefix {
    int parent;  /* index of a node, -1: none */
    int len;     /* tokens */
    int request; /* a request that begins with it: its ids are prompt[0..len) */
    int users;   /* requests and nodes that start from here */
} ws_prefix;
typedef struct ws_prefixes {
    int n;
    ws_prefix *node; /* parents before children */
    int *of;         /* [n_req] node that request i starts from; -1: none */
} ws_prefixes;
/* `budget`: bytes that all nodes together may hold in a state of `m`. */
void ws_prefixes_find(ws_prefixes *p, const ws_model *m, const ws_gen_request *req, int n_req, int n_patches,
                      int64_t budget);
void ws_prefixes_free(ws_prefixes *p);
#endif
