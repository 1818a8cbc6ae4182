/* src/steer/suffixes.h - the prompts of extraction: beginnings of answers at which the two personas part (data/suffixes.jsonl,
 * docs/formats.md), rendered with the model's own template behind a POS and a NEG persona. */
#ifndef WS_STEER_SUFFIXES_H
#define WS_STEER_SUFFIXES_H
#include "data/behavior.h"
#include "text/chat.h"

typedef struct ws_suffix {
    char *user, *suffix;
} ws_suffix;
typedef struct ws_suffixes {
    int n;
    ws_suffix *row;
    char *path, hash[65];
} ws_suffixes;
/* JSON lines or an array of {"user_msg", "suffix"}; think tags and outer white space are taken off the suffix. */
ws_status ws_suffixes_load(ws_suffixes *s, const char *path, ws_err *err);
void ws_suffixes_free(ws_suffixes *s);

typedef struct ws_extract_pair {
    int row;        /* of the pool */
    int persona[2]; /* POS, NEG: drawn independently */
    int inside;     /* the suffix stands in an open think block */
    int cut[2];     /* longer than max_len tokens, cut on the right */
    ws_ids ids[2];  /* POS, NEG */
} ws_extract_pair;
typedef struct ws_extract_pairs {
    int n, folded; /* folded: the template has no system role, the persona stands in front of the question */
    ws_extract_pair *pair;
    ws_ids *neutral; /* [n_neutral]: no persona, a text of the neutral corpus as the question, the pair's suffix */
    int n_neutral;
    char *shown; /* the first POS prompt, as text */
} ws_extract_pairs;
/* n = min(n, pool) rows without replacement.  neutral (may be NULL): a JSONL file of {"text"}. */
ws_status ws_extract_pairs_make(ws_extract_pairs *p, const ws_suffixes *pool, const ws_behavior *b, const ws_chat *c,
                                const ws_tokenizer *t, int n, int max_len, uint64_t seed, const char *neutral,
                                ws_err *err);
void ws_extract_pairs_free(ws_extract_pairs *p);
#endif
