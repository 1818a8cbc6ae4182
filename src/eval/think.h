/* src/eval/think.h - guided thinking, mode B of pipeline.md 6: a model thinks for at most `max` tokens, then answers.
 *     prompt ... <think>\n | thought </think> | prefill | ?      closed: the prefill is appended
 *     prompt ... <think>\n | thought , closing </think> | prefill | ?      the budget cut the thought off
 * Nothing here knows a model: texts in, texts out. */
#ifndef WS_EVAL_THINK_H
#define WS_EVAL_THINK_H
#include "text/think.h"

enum { WS_LOOP_GRAM = 4 }; /* tokens of the runs that the loop score counts */

/* WS_EUSAGE: this template knows no think tag. */
ws_status ws_think_check(const ws_chat *c, ws_err *err);

/* Appends [system (NULL: none), user] with the generation prompt and exactly one open think line, whatever the template
 * does by itself: nothing (Qwen3), an open line (Qwen3.5-4B), or a closed block (Qwen3.5-0.8B). */
ws_status ws_think_prompt(const ws_chat *c, const char *system, const char *user, ws_str *out, ws_err *err);

/* The id that ends a thought: </think>, or the tokenizer's EOS where </think> is no token; -1: only the budget does.
 * *is_tag: it is the tag. */
int32_t ws_think_stop(const ws_tokenizer *t, int *is_tag);

typedef struct ws_thought {
    ws_str text;   /* up to the first </think>, special tokens left out */
    ws_str rest;   /* what was written behind a tag that is spelled in several tokens */
    int tokens;    /* generated, without the one that ended the run */
    int closed;    /* </think> was written; 0: it was appended, after the closing sentence */
    int prefilled; /* the model wrote the prefill by itself, behind its </think> */
    double loop;   /* ws_think_loop of the tokens */
} ws_thought;
void ws_thought_free(ws_thought *t);

/* What a thought of ids[0..n) ends in.  `by_tag`: the run ended at the </think> token, which is not among the ids.
 * `out` is filled anew; *scored gets the text whose next token is the answer. */
ws_status ws_think_end(const ws_tokenizer *t, const char *prompt, const int32_t *ids, int n, int by_tag,
                       const char *closing, const char *prefill, ws_thought *out, ws_str *scored, ws_err *err);

/* Share of the runs of 4 tokens that stood before in the same thought: 1 - distinct / all, over the n - 3 runs; 0 for
 * fewer than 4 tokens.  Plain English stays below 0.1; a sentence said again and again approaches 1. */
double ws_think_loop(const int32_t *ids, int n);
#endif
