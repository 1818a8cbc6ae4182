/* src/steer/prompt.h - the prompt rows of a table: their names, and the file that each is opened from. */
#ifndef WS_STEER_PROMPT_H
#define WS_STEER_PROMPT_H
#include "data/behavior.h"
#include "steer/steer.h"
const char *const *ws_prompt_names(void); /* "prompt_only", "engineered_prompt", NULL */
/* WS_EUSAGE: the behaviour has no such text. */
ws_status ws_prompt_write(const char *path, const char *name, const ws_behavior *b, ws_err *err);
#endif
