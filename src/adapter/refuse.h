/* src/adapter/refuse.h - keys of adapter_config.json that a room does not take: refused by name, or warned about. */
#ifndef WS_ADAPTER_REFUSE_H
#define WS_ADAPTER_REFUSE_H
#include "base/err.h"
#include <jansson.h>
typedef struct ws_refused_key {
    const char *key, *why; /* "modules_to_save", "replaces whole modules of the base model" */
} ws_refused_key;
/* Refuses the first key of `list` (NULL: none; ended by a NULL key) that is set - null, false, "", [], {} and a missing key all mean
 * "not used" -, modules_to_save, and a `bias` other than "none"; warns about fan_in_fan_out and about a dropout above 0
 * under the key `dropout` (NULL: none). */
ws_status ws_refuse_keys(const json_t *config, const ws_refused_key *list, const char *dropout, const char *where,
                         ws_err *err);
#endif
