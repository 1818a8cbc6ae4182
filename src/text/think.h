/* src/text/think.h - models that reason before they answer: what a template puts in front of a response, and which part
 * of a response is reasoning.   models.md 10.2 and trap 24
 *     prompt form        prompt ends with                        response
 *     OPEN               <think>\n                               reasoning </think> answer      (Qwen3.5 of 4B and more)
 *     FREE               nothing                                 <think> reasoning </think> answer, or an answer  (Qwen3)
 *     CLOSED             <think>\n\n</think>\n\n                 answer          (thinking off; Qwen3.5 up to 2B)
 *     NONE               the template knows no think block       answer */
#ifndef WS_TEXT_THINK_H
#define WS_TEXT_THINK_H
#include "text/chat.h"

#define WS_THINK_BEGIN "<think>"
#define WS_THINK_END   "</think>"

typedef enum ws_think_form { WS_THINK_NONE, WS_THINK_CLOSED, WS_THINK_FREE, WS_THINK_OPEN } ws_think_form;

/* The form of prompts rendered with `thinking` (-1: the template's default, 0, 1), found by rendering one.  WS_EUSAGE,
 * naming --thinking, when the template cannot do what was asked: 1 without a think block, 0 where a block is always
 * opened.  0 on a model without think block is what it does anyway. */
ws_status ws_think_form_of(ws_think_form *out, const ws_chat *c, int thinking, ws_err *err);
/* Responses to such prompts are expected to reason: OPEN, or FREE under a template that knows enable_thinking and was
 * not told to switch it off. */
int ws_think_expected(ws_think_form f, const ws_chat *c, int thinking);
/* What the form means for a response, in a sentence; "" for NONE. */
const char *ws_think_say(ws_think_form f);

/* A response taken apart as the templates of Qwen3 and Qwen3.5 do it: reasoning before the first </think> (behind a
 * <think> in it), answer after the last one, newlines around both left out.  Pointers into the text. */
typedef struct ws_think_parts {
    const char *reasoning, *answer;
    size_t n_reasoning, n_answer;
    int closed; /* 0: a think block stands open at the end, all is reasoning and there is no answer */
} ws_think_parts;
void ws_think_split(const char *text, size_t n, ws_think_form f, ws_think_parts *out);

/* Decodes without special tokens, but <think> and </think> stay even where a vocabulary calls them special. */
ws_status ws_think_decode(const ws_tokenizer *t, const int32_t *ids, int n, ws_str *out, ws_err *err);
#endif
