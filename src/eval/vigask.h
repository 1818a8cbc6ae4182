/* src/eval/vigask.h - the answers to all vignettes under all settings, without thinking (mode A of pipeline.md 6) or after
 * a guided thought (mode B, o->max_think > 0).  Raw answers are on disk as they come; what an earlier session left is
 * read back. */
#ifndef WS_EVAL_VIGASK_H
#define WS_EVAL_VIGASK_H
#include "eval/eval.h"
#include "eval/vigset.h"

typedef struct ws_thought_stats { /* what a table needs to know of one thought */
    int tokens, closed, prefilled;
    double loop;
} ws_thought_stats;
/* Prompt i of setting s stands at [s * n + i]; prompt i is (vignette i/4, condition i/2%2, frame i%2). */
typedef struct ws_vigask {
    int n; /* prompts: 4 a vignette */
    double *logp_true, *logp_false;
    ws_thought_stats *stats; /* NULL: mode A */
} ws_vigask;
/* Checks what the mode needs of tokenizer, template and questions, before anything runs. */
ws_status ws_vigask_check(const ws_eval *e, const ws_vigset *set, ws_err *err);
ws_status ws_vigask_run(ws_vigask *a, ws_eval *e, const ws_vigset *set, ws_err *err);
void ws_vigask_free(ws_vigask *a);
/* One line: how the answer comes about, what is steered and what is scored; the caller frees. */
char *ws_vigask_mode(const ws_eval_options *o);
#endif
