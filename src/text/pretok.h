/* src/text/pretok.h - cutting a span of text into the pieces that BPE works on.
 *     text -> spans -> [pieces] -> ids        models.md 9.1 (2), (3), 9.2 */
#ifndef WS_TEXT_PRETOK_H
#define WS_TEXT_PRETOK_H
#include "base/err.h"
#include "base/regex.h"
#include <jansson.h>

enum { WS_PRETOK_STEPS = 8 };
typedef enum ws_pretok_kind {
    WS_PRETOK_ISOLATED,    /* matches are pieces, and so is the text between them */
    WS_PRETOK_REMOVED,     /* only the text between matches is kept */
    WS_PRETOK_MATCHES,     /* only the matches are kept (Removed with invert) */
    WS_PRETOK_PREFIX_SPACE /* a space is put before a piece that has none; no regex */
} ws_pretok_kind;
typedef struct ws_pretok {
    int nfc; /* spans are normalised to NFC first */
    int n_steps;
    struct {
        ws_regex *re;
        ws_pretok_kind kind;
    } step
        [WS_PRETOK_STEPS]; /* in order, each on the pieces of the one before; look-ahead never sees outside its piece */
} ws_pretok;

/* The normalizer and pre_tokenizer objects of tokenizer.json; must end in ByteLevel. */
ws_status ws_pretok_from_json(ws_pretok *p, const json_t *normalizer, const json_t *pre_tokenizer, ws_err *err);
/* By GGUF's tokenizer.ggml.pre.  An unknown name is refused.  *ignore_merges, *add_bos: what the name implies. */
ws_status ws_pretok_from_name(ws_pretok *p, const char *name, int *ignore_merges, int *add_bos, ws_err *err);
void ws_pretok_free(ws_pretok *p);

/* *out = the span in the tokenizer's normal form, which the caller frees; NULL: it is in that form already. */
ws_status ws_pretok_normalize(const ws_pretok *p, const char *text, size_t n, char **out, size_t *n_out, ws_err *err);

typedef void (*ws_piece_fn)(void *arg, const char *piece, size_t n);
/* Calls fn for each non-empty piece of text[0..n), valid UTF-8. */
ws_status ws_pretok_run(const ws_pretok *p, const char *text, size_t n, ws_piece_fn fn, void *arg, ws_err *err);
#endif
