/* src/cmd/inspect_vector.h - what `ws inspect` tells of files of hidden-state methods: vectors (ws-vector, and steering-lite's) and
 * states (ws-states). */
#ifndef WS_CMD_INSPECT_VECTOR_H
#define WS_CMD_INSPECT_VECTOR_H
#include "io/safetensors.h"

/* Adds "kind" ("vector", "states"), "vector" {"method", "title", "unit", "layers", "sites", "state_norm", "identity_at_zero",
 * "made_by", "cfg"} or "states" {"pairs", "neutral", "sites"}; 0: the file is something else. */
int ws_inspect_vector(json_t *report, const ws_safetensors *s);
/* The same as text; 0: the report is of something else. */
int ws_inspect_vector_print(const json_t *report);
#endif
