/* src/run/questions.h - what the rows of a run say when they are set against one another on the same items: the tables of
 * pairs, and the three questions of the published README answered by rule (docs/formats.md, section Pairs).
 *     1. does dW move what is meant, in the right direction?
 *     2. does it move it more than hidden-state steering and prompting?
 *     3. with less uncertainty? */
#ifndef WS_RUN_QUESTIONS_H
#define WS_RUN_QUESTIONS_H
#include "run/paired.h"
#include "run/tables.h"

typedef struct ws_versus { /* one row against another */
    int row, other;        /* into ws_results.row */
    ws_paired m[WS_MEASURES];
} ws_versus;
typedef struct ws_questions {
    const ws_results *run;
    ws_headline headline;
    int reference; /* the row lora, else the first adapter that was evaluated, else the first row; -1: none */
    int prompt;    /* the prompt row with the largest effect at +; -1: none */
    int n;         /* every other row against the reference, then every row but the prompts against that prompt */
    ws_versus *v;
    char *why; /* why there are none, though there are rows: a file that cannot be read; NULL */
} ws_questions;
/* Reads the raw answers of all rows.  A run of one row has no pairs. */
ws_questions ws_questions_of(const ws_results *r);
void ws_questions_free(ws_questions *q);
/* The tables `pairs` (vignettes) and `pairs_answers` (held-out rows and free answers). */
void ws_questions_tables(const ws_questions *q, ws_tables *all);
/* Answers in words, a line each; nothing without a reference. */
void ws_questions_answer(const ws_questions *q, ws_str *out);
#endif
