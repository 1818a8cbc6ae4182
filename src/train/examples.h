/* src/train/examples.h - pairs as token sequences with the answer marked (adapters.md 4.2).
 *     pairs.jsonl -> chat template -> [ids | first] -> micro-batches
 * The system prompt is left out, so that the behaviour becomes unconditional. */
#ifndef WS_TRAIN_EXAMPLES_H
#define WS_TRAIN_EXAMPLES_H
#include "data/pairs.h"
#include "text/chat.h"

typedef enum ws_side { WS_POS, WS_NEG } ws_side;

typedef struct ws_example {
    int32_t *ids; /* [n] */
    int n;
    int first; /* ids[first..n) are supervised; first == n: none is */
} ws_example;

typedef struct ws_examples {
    int n;
    ws_example *row; /* in the order of the pairs */
    ws_side side;
    int max_len, keep_end;
    int64_t tokens, supervised;
    int longest;
    int n_cut;       /* answers cut by length: no end-of-turn token in the loss */
    int n_truncated; /* rows longer than max_len */
    int n_empty;     /* rows without a supervised token */
    int n_think;     /* responses with a think block */
    int n_unclosed;  /* of these, never closed: the template writes what was reasoning as the answer */
    int n_unspoken;  /* of these, with a close or an answer behind max_len: the loss sees reasoning alone */
    int n_dropped;   /* of these, rendered without their reasoning: the template leaves it out */
    char *pairs_path, pairs_hash[65];
    char hash[65]; /* of all ids and marks: tokenizer, template and options included */
} ws_examples;

/* prompt = template([user]) with generation prompt, full = template([user, assistant]), both tokenised separately and cut to
 * max_len; the first min(len(prompt), len(full)) tokens carry no loss.  An answer that was cut by length ends with its own
 * last token unless keep_end: the model must not learn to stop mid-sentence.  A response with a think block is rendered as
 * it stands, with its </think>: the template takes it apart. */
ws_status ws_examples_build(ws_examples **out, const ws_pairs *pairs, ws_side side, const ws_tokenizer *tok,
                            const ws_chat *chat, int max_len, int keep_end, ws_err *err);
/* From ids alone (tests, other sources); the ids are copied. */
ws_examples *ws_examples_from_ids(const ws_example *row, int n, ws_side side, const char *name);
void ws_examples_free(ws_examples *e);
#endif
