/* src/text/tok_scan.h - the two long lists of a tokenizer.json, vocabulary and merges, read straight from its text.
 * A quarter of a million tokens and as many merges are nearly all of the file; as JSON values they would take most of the
 * time in which a model opens.  What these readers do not expect they refuse (0), and the whole file is then parsed as JSON,
 * which says what is wrong: they have to be right about good files only. */
#ifndef WS_TEXT_TOK_SCAN_H
#define WS_TEXT_TOK_SCAN_H
#include "base/str.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ws_tok_lists {
    const char *vocab, *vocab_end;   /* {...} */
    const char *merges, *merges_end; /* [...] */
    size_t n_merges;
} ws_tok_lists;
/* Finds model.vocab and model.merges in the text, and writes the text with {} and [] in their place to `rest`. */
int ws_tok_scan(const char *text, size_t n, ws_tok_lists *lists, ws_str *rest);
/* Calls fn for every token; 0 when it or the text says no. */
typedef int (*ws_tok_vocab_fn)(void *arg, const char *token, size_t n, int64_t id);
int ws_tok_scan_vocab(const ws_tok_lists *lists, ws_tok_vocab_fn fn, void *arg);
/* Calls fn for every merge, written as "a b" or as ["a", "b"]. */
typedef int (*ws_tok_merge_fn)(void *arg, size_t index, const char *l, size_t nl, const char *r, size_t nr);
int ws_tok_scan_merges(const ws_tok_lists *lists, ws_tok_merge_fn fn, void *arg);
#endif
