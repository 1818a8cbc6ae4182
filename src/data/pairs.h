/* src/data/pairs.h - pairs.jsonl: two answers to one prompt (pipeline.md 2; docs/formats.md). */
#ifndef WS_DATA_PAIRS_H
#define WS_DATA_PAIRS_H
#include "io/json.h"
#include "text/think.h"
typedef struct ws_pair {
    char *prompt, *pos, *neg;
    char *sys_pos, *sys_neg;    /* NULL: not given */
    int topic, persona, sample; /* -1: not given */
    int cut_pos, cut_neg;       /* finish_reason was "length" */
    int tokens_pos, tokens_neg; /* -1: not given */
    /* Of responses with a think block, POS and NEG: its parts and whether it was closed; NULL and -1: no block. */
    char *reasoning[2], *answer[2];
    int closed[2];
    char *behavior; /* NULL: not given */
    long line;      /* of its file, as ws_json_where takes it; 0: from no file */
} ws_pair;
typedef struct ws_pairs {
    int n;
    ws_pair *row;
    char *path, hash[65];
} ws_pairs;
/* JSON lines or an array; rows as `ws data` writes them, or a user's own {"prompt","pos","neg"} /
 * {"prompt","chosen","rejected"} / {"prompt","response_pos","response_neg"}, each of these a text or a list of chat
 * messages; or, where the name ends in .csv, a CSV file with such columns.  Texts must not be empty; a file without rows is
 * an error.  Keys that are none of ours are left alone. */
ws_status ws_pairs_load(ws_pairs **out, const char *path, ws_err *err);
void ws_pairs_free(ws_pairs *p);
/* One row, as ws_pairs_load reads it; `where` goes into errors.  Free with ws_pair_release. */
ws_status ws_pair_parse(ws_pair *p, const json_t *row, const char *where, ws_err *err);
void ws_pair_release(ws_pair *p);
/* A row whose texts are lists of messages as one of plain texts (data/pairs_chat.c), with answers under the same keys: a new
 * object, or NULL where all of it is plain already.  One user message, perhaps a system message, and an answer each. */
ws_status ws_pair_from_chat(json_t **out, const json_t *row, const char *pos, const char *neg, const char *where,
                            ws_err *err);
/* What was said behind the reasoning (all of the response where there is none, "" where the block was never closed). */
const char *ws_pair_answer(const ws_pair *p, int side);
/* Fills reasoning, answer and closed of both sides from the responses. */
void ws_pair_think(ws_pair *p, ws_think_form f);
/* As `ws data` writes it: a new JSON object with the keys in their order. */
json_t *ws_pair_json(const ws_pair *p);

/* A control: every pair's sides change places, or not, by a coin that is a function of (seed, row). */
void ws_pairs_mix(ws_pairs *p, uint64_t seed);
/* What must not be trained on, each with the example that shows it: no rows; an answer of white space; every pair
 * identical; all answers of one side identical (WS_EFORMAT). */
ws_status ws_pairs_check(const ws_pairs *p, ws_err *err);
/* The text shortened to about `max` bytes on one line, quoted, for messages; caller frees. */
char *ws_excerpt(const char *text, int max);
#endif
