/* src/data/pairs.h - pairs.jsonl: two answers to one prompt (pipeline.md 2). */
#ifndef WS_DATA_PAIRS_H
#define WS_DATA_PAIRS_H
#include "io/json.h"
typedef struct ws_pair {
    char *prompt, *pos, *neg;
    char *sys_pos, *sys_neg;                 /* NULL: not given */
    int topic, persona, sample;              /* -1: not given */
    int cut_pos, cut_neg;                    /* finish_reason was "length" */
    int tokens_pos, tokens_neg;              /* -1: not given */
    char *behavior;                          /* NULL: not given */
} ws_pair;
typedef struct ws_pairs {
    int n;
    ws_pair *row;
    char *path, hash[65];
} ws_pairs;
/* JSON lines or an array; rows as `ws data` writes them, or a user's own {"prompt","pos","neg"} /
 * {"prompt","chosen","rejected"} / {"prompt","response_pos","response_neg"}. */
ws_status ws_pairs_load(ws_pairs **out, const char *path, ws_err *err);
void ws_pairs_free(ws_pairs *p);
#endif
