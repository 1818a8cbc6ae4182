/* src/text/tok.h - the inside of a tokenizer, for the files that load one and the file that runs it. */
#ifndef WS_TEXT_TOK_H
#define WS_TEXT_TOK_H
#include "text/added.h"
#include "text/bpe.h"
#include "text/pretok.h"
#include "text/tok_scan.h"
#include "text/tokenizer.h"

struct ws_tokenizer {
    ws_bpe *bpe;
    ws_pretok pretok;
    ws_added added;
    int size, base_size;
    ws_ids before, after; /* what the post-processor puts around a text */
    int32_t bos, eos, pad;
    char *bos_text, *eos_text;
    ws_ids stops;
};

/* Loaders fill a zeroed tokenizer (bos = eos = pad = -1); after an error the caller frees it.  `err` is never NULL. */
/* `lists`: vocabulary and merges, which are empty in `tokenizer` then; NULL: they stand there. */
ws_status ws_tok_load_json(ws_tokenizer *t, const json_t *tokenizer, const json_t *config, const ws_tok_lists *lists,
                           ws_err *err);
ws_status ws_tok_load_gguf(ws_tokenizer *t, const ws_gguf *g, ws_err *err);
/* Marks a token of the vocabulary, or a new one, as added. */
ws_status ws_tok_add(ws_tokenizer *t, int64_t id, const char *content, size_t n, int special, int normalized,
                     int lstrip, int rstrip, ws_err *err);
#endif
