/* src/cmd/check_prompts.h - the prompts on which an export is compared: fixed ones, or a text per line of a file. */
#ifndef WS_CMD_CHECK_PROMPTS_H
#define WS_CMD_CHECK_PROMPTS_H
#include "cmd/cmd.h"
#include "model/model.h"
enum { WS_CHECK_LONGEST = 256 }; /* tokens of a prompt that are compared */
/* file NULL: the fixed ones; for a model without a tokenizer fixed ids.  The caller frees with ws_check_prompts_free. */
ws_status ws_check_prompts(ws_ids **out, int *n, const ws_model *m, const char *file, ws_err *err);
void ws_check_prompts_free(ws_ids *prompt, int n);
#endif
