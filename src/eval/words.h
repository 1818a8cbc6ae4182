/* src/eval/words.h - the tokens that read as the answers "true" and "false" (pipeline.md 6). */
#ifndef WS_EVAL_WORDS_H
#define WS_EVAL_WORDS_H
#include "text/tokenizer.h"

typedef struct ws_words {
    ws_ids yes, no; /* disjoint, both non-empty */
} ws_words;
/* Without thinking (mode A): every id below `vocab` and below the size of the vocabulary without added tokens whose
 * text reads as true or 1, false or 0. */
ws_status ws_words_direct(ws_words *w, const ws_tokenizer *t, int64_t vocab, ws_err *err);
/* After a thought (mode B): the last token of each of seven spellings. */
ws_status ws_words_after_thought(ws_words *w, const ws_tokenizer *t, ws_err *err);
void ws_words_free(ws_words *w);
#endif
