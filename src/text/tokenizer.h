/* src/text/tokenizer.h - byte-level BPE from tokenizer.json (+ tokenizer_config.json) or from GGUF metadata.
 *     checkpoint -> model -> [tokens] -> batches       models.md 9 */
#ifndef WS_TEXT_TOKENIZER_H
#define WS_TEXT_TOKENIZER_H
#include "base/str.h"
#include "io/checkpoint.h"

typedef struct ws_tokenizer ws_tokenizer;
ws_status ws_tokenizer_open(ws_tokenizer **out, const ws_checkpoint *c, ws_err *err);
/* From the JSON alone (tests, fuzzing); tokenizer_config may be NULL. */
ws_status ws_tokenizer_from_json(ws_tokenizer **out, const json_t *tokenizer, const json_t *tokenizer_config,
                                 const char *where, ws_err *err);
/* The same from the text of a tokenizer.json: much faster for large vocabularies. */
ws_status ws_tokenizer_from_text(ws_tokenizer **out, const char *text, size_t n, const json_t *tokenizer_config,
                                 const char *where, ws_err *err);
void ws_tokenizer_free(ws_tokenizer *t);

enum {
    WS_TOK_ADD_SPECIAL = 1, /* what the post-processor adds (BOS) */
    WS_TOK_PLAIN = 2,       /* added tokens inside the text are NOT parsed: untrusted text */
};
/* Append the ids of text[0..n) to `out`.  Invalid UTF-8 is WS_EFORMAT.  Thread-safe. */
ws_status ws_tokenizer_encode(const ws_tokenizer *t, const char *text, size_t n, int flags, ws_ids *out, ws_err *err);
/* Append the text; invalid UTF-8 becomes U+FFFD as in Hugging Face; unknown ids are WS_EFORMAT. */
ws_status ws_tokenizer_decode(const ws_tokenizer *t, const int32_t *ids, int n, int skip_special, ws_str *out,
                              ws_err *err);

/* Streaming: push ids one by one; only complete UTF-8 characters are appended to `out`; flush gives the rest (U+FFFD). */
typedef struct ws_detok {
    char held[8];
    int n_held;
} ws_detok;
ws_status ws_detok_push(ws_detok *d, const ws_tokenizer *t, int32_t id, int skip_special, ws_str *out, ws_err *err);
void ws_detok_flush(ws_detok *d, ws_str *out);

int ws_tokenizer_size(const ws_tokenizer *t);      /* highest id + 1 */
int ws_tokenizer_base_size(const ws_tokenizer *t); /* model vocabulary without added tokens ("vocab_size") */
int32_t ws_tokenizer_id(const ws_tokenizer *t, const char *content); /* added or vocabulary token; -1: none */
int ws_tokenizer_is_special(const ws_tokenizer *t, int32_t id);
int32_t ws_tokenizer_eos(const ws_tokenizer *t); /* -1: none */
int32_t ws_tokenizer_bos(const ws_tokenizer *t);
int32_t ws_tokenizer_pad(const ws_tokenizer *t);
const char *ws_tokenizer_bos_text(const ws_tokenizer *t); /* "" when none; for templates */
const char *ws_tokenizer_eos_text(const ws_tokenizer *t);
/* Stop set = generation_config.eos U config.eos U tokenizer eos (models.md 9.4). */
const int32_t *ws_tokenizer_stops(const ws_tokenizer *t, int *n);
int ws_tokenizer_is_stop(const ws_tokenizer *t, int32_t id);
/* SHA-256 over all that decides how text becomes ids and where an answer stops. */
void ws_tokenizer_hash(const ws_tokenizer *t, char hex[65]);
#endif
