/* src/text/bpe.h - byte-pair encoding of one piece of text.
 *     text -> spans -> pieces -> [ids]        models.md 9.1 (4), (5)
 * Tokens are kept as the raw bytes they stand for: the 256 printable code points that vocabularies are written in are
 * mapped back while loading, so encoding never sees them. */
#ifndef WS_TEXT_BPE_H
#define WS_TEXT_BPE_H
#include "base/err.h"
#include "base/hash.h"
#include "base/str.h"
#include <stdint.h>

typedef struct ws_bpe ws_bpe;
ws_bpe *ws_bpe_new(void);
void ws_bpe_free(ws_bpe *b);
/* `text` as the vocabulary writes it.  One whose characters are not all byte letters (some added tokens) keeps its
 * literal text and is never the result of encoding.  Ids below 2^24, each once. */
ws_status ws_bpe_add(ws_bpe *b, int64_t id, const char *text, size_t n, ws_err *err);
ws_status ws_bpe_seal(ws_bpe *b, size_t merges, ws_err *err); /* after the last token; `merges` will follow */
/* Merge `index` (= its rank) of two tokens as the vocabulary writes them. */
ws_status ws_bpe_merge(ws_bpe *b, size_t index, const char *l, size_t nl, const char *r, size_t nr, ws_err *err);
void ws_bpe_options(ws_bpe *b, int ignore_merges, int32_t unk, int fuse_unk); /* unk -1: unknown bytes are dropped */

void ws_bpe_hash(const ws_bpe *b, ws_hash *h);                         /* tokens, merges, options */
int ws_bpe_size(const ws_bpe *b);                                      /* highest id + 1 */
int ws_bpe_count(const ws_bpe *b);                                     /* tokens */
const char *ws_bpe_bytes(const ws_bpe *b, int32_t id, size_t *n);      /* NULL: no such id */
int32_t ws_bpe_find(const ws_bpe *b, const char *bytes, size_t n);     /* raw bytes; -1 */
int32_t ws_bpe_find_text(const ws_bpe *b, const char *text, size_t n); /* as the vocabulary writes it; -1 */

/* Scratch memory of one encoding; zeroed at first, freed at the end. */
typedef struct ws_bpe_work {
    void *mem;
    size_t bytes;
} ws_bpe_work;
void ws_bpe_encode(const ws_bpe *b, const char *bytes, size_t n, ws_bpe_work *w, ws_ids *out); /* thread-safe */
void ws_bpe_work_free(ws_bpe_work *w);
#endif
