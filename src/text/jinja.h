/* src/text/jinja.h - an interpreter for the part of Jinja2 that chat templates use (models.md 10.1, 10.5), with the
 * environment of Hugging Face: trim_blocks, lstrip_blocks, loop controls, {% generation %}, sandboxed (nothing can be
 * changed in place), no autoescape.
 *     template text -> tokens (lex) -> tree (parse) -> text (exec, eval, builtins)
 * What it does not know is an error with the template's line, never silently something else. */
#ifndef WS_TEXT_JINJA_H
#define WS_TEXT_JINJA_H
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

typedef struct ws_jinja ws_jinja;
/* `name` stands in errors: "chat template NAME, line 3: ...". */
ws_status ws_jinja_new(ws_jinja **out, const char *text, size_t n, const char *name, ws_err *err);
void ws_jinja_free(ws_jinja *j);
/* Appends the text.  `vars`: object of variables.  `date`: "2026-11-22" for strftime_now, NULL: the clock. Thread-safe. */
ws_status ws_jinja_render(const ws_jinja *j, const json_t *vars, const char *date, ws_str *out, ws_err *err);
#endif
