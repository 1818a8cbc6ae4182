/* src/steer/prompt.h - the prompt rows of a table: their names, and the file that each is opened from. */
#ifndef WS_STEER_PROMPT_H
#define WS_STEER_PROMPT_H
#include "data/behavior.h"
#include "steer/steer.h"
#define WS_PROMPT_PLAIN      "prompt_only"       /* one-sided; a protocol may put it into the user's turn */
#define WS_PROMPT_ENGINEERED "engineered_prompt" /* two-sided; not every behaviour has it */
const char *const *ws_prompt_names(void);        /* both, NULL */
/* WS_EUSAGE: the behaviour has no such text. */
ws_status ws_prompt_write(const char *path, const char *name, const ws_behavior *b, ws_err *err);
#endif
