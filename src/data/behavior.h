/* src/data/behavior.h - a behaviour is a file: personas, topics, counters, targets (pipeline.md 1; docs/formats.md). */
#ifndef WS_DATA_BEHAVIOR_H
#define WS_DATA_BEHAVIOR_H
#include "base/regex.h"
#include "io/json.h"
/* data/behaviors/NAME.json:
 * { "format": "ws-behavior", "version": 1, "name": "enthusiasm", "title": "...", "axis": "gloomy - exuberant",
 *   "system_template": "You are {persona}.",            left out: the personas are whole system prompts
 *   "personas": [ {"pos": "...", "neg": "..."}, ... ],   paired by index, at least one; or {"pos": [...], "neg": [...]}
 *   "topic_template": "{topic}",                         or "I think {claim}. {question}" with topics as objects
 *   "topics": ["...", ...], "heldout_topics": ["...", ...],
 *   "targets": {"Authority": -1},                        foundations with intended sign; may be empty
 *   "counters": [ {"name": "positive words", "weight": 1, "words": ["joy", ...]},
 *                 {"name": "sighs", "weight": -1, "regex": "..."} ],
 *   "engineered": {"pos": "...", "neg": "..."} }         longer written prompts
 * Words match whole words without case.  A key that begins with // is a comment, at any depth. */
typedef struct ws_counter {
    char *name;
    double weight;
    ws_regex *re;
} ws_counter;
typedef struct ws_behavior {
    char *name, *title, *axis, *path;
    int n_personas, n_topics, n_heldout, n_counters, n_targets;
    char **system_pos, **system_neg; /* [n_personas] complete system prompts */
    char **persona_pos, **persona_neg;
    char **topic, **heldout; /* complete user messages */
    ws_counter *counter;
    char **target; /* foundation names */
    int *target_sign;
    char *engineered_pos, *engineered_neg; /* NULL: none */
    char hash[65];
} ws_behavior;
/* `name_or_path`: a path to a .json file, or a name found in the data folder (WS_DATA_DIR, ./data, the installed one). */
ws_status ws_behavior_load(ws_behavior **out, const char *name_or_path, ws_err *err);
void ws_behavior_free(ws_behavior *b);
/* WS_EUSAGE: not a name for a behaviour, which names folders and files. */
ws_status ws_behavior_check_name(const char *name, ws_err *err);
/* Sum over counters of weight * matches. */
ws_status ws_behavior_score(const ws_behavior *b, const char *text, size_t n, double *score, ws_err *err);
/* Path of a file below the data folder ("prompts.jsonl"); caller frees; NULL + err when there is none. */
char *ws_data_path(const char *relative, ws_err *err);
#endif
