/* src/adapter/refuse.c - what no room, or only some rooms, can take from adapter_config.json. */
#include "adapter/refuse.h"
#include "base/log.h"
#include <string.h>

static int is_set(const json_t *v) {
    if (!v || json_is_null(v) || json_is_false(v)) return 0;
    if (json_is_string(v)) return *json_string_value(v) != 0;
    if (json_is_array(v)) return json_array_size(v) > 0;
    if (json_is_object(v)) return json_object_size(v) > 0;
    return 1;
}

ws_status ws_refuse_keys(const json_t *c, const ws_refused_key *list, const char *dropout, const char *where,
                         ws_err *err) {
    static const ws_refused_key every[] = {{"modules_to_save", "replaces whole modules of the base model"}, {0}};
    const ws_refused_key *const lists[] = {every, list};
    for (int i = 0; i < 2; i++)
        for (const ws_refused_key *k = lists[i]; k && k->key; k++)
            if (is_set(json_object_get(c, k->key)))
                return ws_fail(err, WS_EUNSUPPORTED, "%s: %s %s: not supported", where, k->key, k->why);
    const json_t *v = json_object_get(c, "bias");
    if (v && !json_is_null(v) && (!json_is_string(v) || strcmp(json_string_value(v), "none")))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: bias is not \"none\": trained biases of the base model are not supported", where);
    if (json_is_true(json_object_get(c, "fan_in_fan_out")))
        ws_warn("%s: fan_in_fan_out is ignored: every adapted module here is a plain linear layer, as in PEFT", where);
    if (dropout && (v = json_object_get(c, dropout)) && json_is_number(v) && json_number_value(v) > 0)
        ws_warn("%s: %s %g is not applied if this adapter is trained further", where, dropout, json_number_value(v));
    return WS_OK;
}
