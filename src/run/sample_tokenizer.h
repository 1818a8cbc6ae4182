/* src/run/sample_tokenizer.h - a small byte-level BPE and a chat template for models of random weights.
 * 256 bytes, the merges of a few English words, and the family's special tokens at their published ids; every other id
 * below them is a token that no text becomes.  Complete: any text is encoded and comes back; `tokenizers` reads it. */
#ifndef WS_RUN_SAMPLE_TOKENIZER_H
#define WS_RUN_SAMPLE_TOKENIZER_H
#include "run/likeness.h"

json_t *ws_sample_tokenizer(const ws_likeness *l);        /* tokenizer.json */
json_t *ws_sample_tokenizer_config(const ws_likeness *l); /* tokenizer_config.json */
char *ws_sample_template(const ws_likeness *l);           /* chat_template.jinja; the caller frees */
/* Share of the usual size that the embedding's row `id` has: 1 for what a sampler may well choose (printable bytes,
 * words, the ends of an answer and of its reasoning), little for other bytes and special tokens, 0 where the tokenizer
 * has no use for the id.  With top-k sampling a random model then writes printable text. */
float ws_sample_row_scale(const ws_likeness *l, int64_t id);
#endif
