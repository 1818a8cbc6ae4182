/* src/data/own_pairs.h - pairs that a user brings: what is asked of them, and which are set aside for the evaluation.
 *     FILE -> [pairs to learn from | pairs that are never trained on]
 * `ws data` makes the same two sets from a behaviour. */
#ifndef WS_DATA_OWN_PAIRS_H
#define WS_DATA_OWN_PAIRS_H
#include "data/pairs.h"

enum { WS_OWN_LEAST = 8, WS_OWN_HELD = 36 };
/* Reads FILE (ws_pairs_load) and splits it.  `held` rows at least are set aside, by whole prompts drawn with the seed, and at
 * least one prompt stays; -1: a tenth of the rows, at most WS_OWN_HELD; 0: none (*aside is NULL).  Rows keep their order.
 * Rows without `topic_idx` get the number of their prompt in order of appearance, so that rows of a prompt stay together.
 * WS_EFORMAT, with file and line: what ws_pairs_load and ws_pairs_check refuse; a prompt or an answer of white space; rows
 * with the same answer on both sides; fewer than WS_OWN_LEAST rows, or a single prompt. */
ws_status ws_own_pairs_load(ws_pairs **learn, ws_pairs **aside, const char *path, int held, uint64_t seed, ws_err *err);
#endif
