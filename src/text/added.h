/* src/text/added.h - added tokens: literal strings that are found in the text before anything else happens to it.
 *     [text -> spans] -> pieces -> ids        models.md 9.1 (1): leftmost, longest */
#ifndef WS_TEXT_ADDED_H
#define WS_TEXT_ADDED_H
#include <stddef.h>
#include <stdint.h>

typedef struct ws_added_token {
    int32_t id;
    char *content;
    size_t n;
    int special, normalized, lstrip, rstrip;
} ws_added_token;

typedef struct ws_trie_node ws_trie_node;
typedef struct ws_added {
    ws_added_token *t; /* by id */
    int count;
    int sorted;            /* ids came in rising order so far */
    ws_trie_node *node[2]; /* [0] normalized = false: matched on the raw text; [1] true: on the normalised text */
    int n_nodes[2], cap[2];
} ws_added;

/* Adds a token, or replaces the flags of the one with this id. */
void ws_added_put(ws_added *a, int32_t id, const char *content, size_t n, int special, int normalized, int lstrip,
                  int rstrip);
void ws_added_seal(ws_added *a);
void ws_added_free(ws_added *a);
const ws_added_token *ws_added_by_id(const ws_added *a, int32_t id);
const ws_added_token *ws_added_by_content(const ws_added *a, const char *content, size_t n);
/* The next match in text[from, n) among the tokens of one stage: the token and [*begin, *end), which with lstrip/rstrip
 * takes white space along; NULL: none. */
const ws_added_token *ws_added_next(const ws_added *a, int normalized, const char *text, size_t n, size_t from,
                                    size_t *begin, size_t *end);
#endif
