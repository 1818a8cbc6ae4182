/* src/text/chat.h - a model's own chat template, rendered by our Jinja interpreter (models.md 10). */
#ifndef WS_TEXT_CHAT_H
#define WS_TEXT_CHAT_H
#include "text/tokenizer.h"

typedef struct ws_chat ws_chat;
/* The template of the checkpoint (chat_template.jinja, tokenizer_config.json, GGUF metadata), or of `template_file` when
 * that is not NULL.  A model without one: WS_EUNSUPPORTED, "give --template FILE".  bos/eos texts come from `t`. */
ws_status ws_chat_open(ws_chat **out, const ws_checkpoint *c, const ws_tokenizer *t, const char *template_file,
                       ws_err *err);
ws_status ws_chat_from_text(ws_chat **out, const char *template_text, const char *name, const char *bos,
                            const char *eos, ws_err *err);
void ws_chat_free(ws_chat *c);
const char *ws_chat_template(const ws_chat *c); /* the template's text */
/* 1: the template has no system role (it refuses system messages or leaves them out): ws_chat_render_plain and ws_render_open
 * put a system text in front of the user's, an empty line between them. */
int ws_chat_folds(const ws_chat *c);
int ws_chat_has(const ws_chat *c, const char *word); /* the template mentions it, e.g. "enable_thinking" */

enum { WS_CONTINUE = 1, WS_CONTINUE_END = 2 };
typedef struct ws_render {
    int generation_prompt;
    int thinking;       /* -1: not passed, the template's default; 0 / 1: enable_thinking */
    int continue_final; /* cut after the last message's content; excludes generation_prompt.  WS_CONTINUE_END: also where
                          * the template rewrites the content (reasoning), as long as its end stays */
    const char *date;   /* strftime_now's fixed date "2026-11-22"; NULL: today */
    const json_t *tools; /* NULL: none */
    const json_t *extra; /* further template variables, NULL: none */
} ws_render;
/* The day that every stage of a run passes for templates that print today's (Llama 3): a run that goes on after
 * midnight must see the same prompts.  It is the one that Llama 3.1's template falls back to. */
#define WS_CHAT_FIXED_DATE "2024-07-26"
/* Append the rendered text.  `messages`: array of {"role","content",...}.  Errors carry the template's line. */
ws_status ws_chat_render(const ws_chat *c, const json_t *messages, const ws_render *r, ws_str *out, ws_err *err);
/* 1: a system text goes in front of the user's, whatever the template can; 0: as the template has it. */
void ws_chat_fold(ws_chat *c, int always);
/* Convenience: up to three plain messages; NULL content is left out.  Order system, user, assistant. */
ws_status ws_chat_render_plain(const ws_chat *c, const char *system, const char *user, const char *assistant,
                               const ws_render *r, ws_str *out, ws_err *err);
/* Appends the text of [system (NULL: none), user] with the assistant's turn begun and still empty, whatever the
 * template puts before an answer (an empty think block, say) included.  `thinking` as in ws_render. */
ws_status ws_render_open(const ws_chat *c, const char *system, const char *user, int thinking, ws_str *out,
                         ws_err *err);
#endif
