/* src/generate/contrast.h - contrastive data: both personas of a pair answer the same prompt (pipeline.md 2).
 *     behaviour x model -> [pairs.jsonl, heldout.jsonl] -> train
 * The grid topics x personas x samples is shuffled with the seed; rows are appended in that order, a finished row
 * waiting for those before it, so that the file is the same whether the run was interrupted or not.  A row's words
 * depend on the seed and the row's number alone. */
#ifndef WS_GENERATE_CONTRAST_H
#define WS_GENERATE_CONTRAST_H
#include "data/behavior.h"
#include "data/pairs.h"
#include "generate/generate.h"
#include "text/think.h"

typedef struct ws_contrast_options {
    int topics, personas, samples; /* size of the grid; more than the behaviour has is cut to what it has, and said */
    int rows;    /* 0: the whole grid; else so many rows, on every topic once before any twice, personas
                                      in turn */
    int heldout; /* rows on the behaviour's held-out topics; 0: none */
    int max_new, min_new;
    ws_sampling sampling;
    int thinking; /* -1: the template's default; 0, 1: enable_thinking */
    uint64_t seed;
    int max_rows;    /* rows in flight; 0: default */
    int fresh;       /* 1: what another configuration left in `dir` is deleted; 0: it is an error */
    const char *dir; /* pairs.jsonl, heldout.jsonl and data.json lie here */
} ws_contrast_options;
/* Defaults of pipeline.md 2 (20 x 5 x 10) with 36 held-out rows, for prompts that are rendered with `thinking`: where
 * responses are expected to reason (text/think.h) at most WS_CONTRAST_THINK tokens and the sampling of thinking models,
 * else at most WS_CONTRAST_ANSWER tokens and that of the others.  WS_EUSAGE: the model cannot do `thinking`. */
enum { WS_CONTRAST_ANSWER = 96, WS_CONTRAST_THINK = 1280 };
ws_status ws_contrast_defaults(ws_contrast_options *o, const ws_chat *c, int thinking, ws_err *err);

typedef struct ws_contrast_result {
    int rows, heldout;  /* in the files now */
    int new_rows;       /* of these, made by this call */
    int64_t new_tokens; /* sampled by this call, both sides */
    ws_think_form form; /* of the prompts */
    double seconds;
} ws_contrast_result;
/* Makes the rows that are missing in `dir`.  WS_ESTATE when another configuration's rows are there (both are named), or
 * another process works in `dir`; WS_EFORMAT when an answer is empty, with the prompt that shows it. */
ws_status ws_contrast_run(ws_model *m, const ws_tokenizer *t, const ws_chat *c, const ws_behavior *b,
                          const ws_contrast_options *o, ws_contrast_result *result, ws_err *err);

/* One row of the grid, before it is generated. */
typedef struct ws_cell {
    int topic, persona, sample;
    int heldout; /* topic counts in the behaviour's held-out list */
} ws_cell;
/* The shuffled grid (n = topics * personas * samples), or its `rows`, and, after it, `heldout` rows spread evenly over the held-out
 * topics, every topic once before any twice, its personas in turn.  The caller frees. */
ws_cell *ws_contrast_cells(const ws_behavior *b, const ws_contrast_options *o, int *n);
/* WS_EUSAGE for sizes and sampling that make no sense; ws_contrast_run asks too. */
ws_status ws_contrast_check(const ws_contrast_options *o, ws_err *err);
/* `o` with sizes cut to what the behaviour has. */
ws_contrast_options ws_contrast_clamp(const ws_behavior *b, const ws_contrast_options *o, int say);
/* What the rows depend on, for data.json and for messages; caller decrefs. */
json_t *ws_contrast_settings(const ws_model *m, const ws_chat *c, const ws_behavior *b, const ws_contrast_options *o);
/* "" when equal, else "seed: 0 there, 1 here; ..."; caller frees. */
char *ws_settings_difference(const json_t *there, const json_t *here);
#endif
