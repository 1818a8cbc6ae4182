/* src/data/pairs_chat.c - pairs written as conversations, as preference data sets have them:
 *     {"prompt": [system?, user], "chosen": [assistant], "rejected": [assistant]}
 *     {"prompt": "...", "chosen": [user, assistant], "rejected": [user, assistant]}    the prompt told twice
 *     {"chosen": [system?, user, assistant], "rejected": [system?, user, assistant]}   the prompt inside both
 * Training takes one user message (pipeline.md 3), so longer conversations are refused rather than cut. */
#include "data/pairs.h"
#include <string.h>

/* Messages are compared by role and content alone. */
static int same(const json_t *a, const json_t *b) {
    return json_equal(json_object_get(a, "role"), json_object_get(b, "role")) &&
           json_equal(json_object_get(a, "content"), json_object_get(b, "content"));
}

static const char *role(const json_t *message) {
    const char *r = json_string_value(json_object_get(message, "role"));
    return r ? r : "";
}
static const char *content(const json_t *message) { return json_string_value(json_object_get(message, "content")); }

static ws_status check(const json_t *list, const char *key, const char *where, ws_err *err) {
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        if (!*role(m) || !content(m))
            return ws_fail(err, WS_EFORMAT, "%s: message %zu of '%s' is not {\"role\": text, \"content\": text}", where,
                           i + 1, key);
    }
    return WS_OK;
}

/* What was asked: [system?, user]. */
static ws_status asked(const json_t *list, const char *key, const char **system, const char **user, const char *where,
                       ws_err *err) {
    size_t n = json_array_size(list), first = n && !strcmp(role(json_array_get(list, 0)), "system");
    *system = first ? content(json_array_get(list, 0)) : NULL;
    if (n != first + 1 || strcmp(role(json_array_get(list, first)), "user"))
        return ws_fail(
            err, WS_EFORMAT,
            "%s: before the answer, '%s' must have one user message, perhaps behind a system message; longer "
            "conversations cannot be learnt from",
            where, key);
    *user = content(json_array_get(list, first));
    return WS_OK;
}

/* An answer's text, and the messages in front of it (owned by the caller; NULL where there are none). */
static ws_status answer(const json_t *v, const char *key, const char **text, json_t **before, const char *where,
                        ws_err *err) {
    if (!json_is_array(v)) {
        *text = json_string_value(v);
        return *text ? WS_OK : ws_fail(err, WS_EFORMAT, "%s: '%s' must be text or a list of messages", where, key);
    }
    size_t n = json_array_size(v);
    if (check(v, key, where, err)) return err->code;
    if (!n || strcmp(role(json_array_get(v, n - 1)), "assistant"))
        return ws_fail(err, WS_EFORMAT, "%s: '%s' must end with the assistant's message", where, key);
    *text = content(json_array_get(v, n - 1));
    if (n == 1) return WS_OK;
    *before = json_array();
    for (size_t i = 0; i + 1 < n; i++) json_array_append(*before, json_array_get(v, i));
    return WS_OK;
}

static int same_list(const json_t *a, const json_t *b) {
    if (json_array_size(a) != json_array_size(b)) return 0;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!same(json_array_get(a, i), json_array_get(b, i))) return 0;
    return 1;
}

static ws_status plain(json_t *o, const json_t *row, const char *const key[2], json_t *before[2], const char *where,
                       ws_err *err) {
    const json_t *prompt = json_object_get(row, "prompt");
    const char *text[2], *system = NULL, *user = NULL, *s, *u;
    for (int i = 0; i < 2; i++)
        if (answer(json_object_get(row, key[i]), key[i], &text[i], &before[i], where, err)) return err->code;
    if (json_is_array(prompt)) {
        if (check(prompt, "prompt", where, err) || asked(prompt, "prompt", &system, &user, where, err))
            return err->code;
    } else if (prompt && !(user = json_string_value(prompt)))
        return ws_fail(err, WS_EFORMAT, "%s: 'prompt' must be text or a list of messages", where);
    if (!prompt && (!before[0] || !before[1]))
        return ws_fail(err, WS_EFORMAT, "%s: no 'prompt', and not both answers begin with one", where);
    if (before[0] && before[1] && !same_list(before[0], before[1]))
        return ws_fail(err, WS_EFORMAT, "%s: '%s' and '%s' answer different prompts", where, key[0], key[1]);
    for (int i = 0; i < 2; i++) {
        if (!before[i]) continue;
        if (asked(before[i], key[i], &s, &u, where, err)) return err->code;
        if (user && (strcmp(user, u) || (system && s && strcmp(system, s))))
            return ws_fail(err, WS_EFORMAT, "%s: '%s' answers another prompt than 'prompt' says", where, key[i]);
        user = u, system = s ? s : system;
    }
    json_object_set_new(o, "prompt", json_string(user));
    for (int i = 0; i < 2; i++) json_object_set_new(o, key[i], json_string(text[i]));
    if (system && (json_object_get(row, "sys_prompt_pos") || json_object_get(row, "sys_prompt_neg")))
        return ws_fail(err, WS_EFORMAT, "%s: has a system message and 'sys_prompt_...'; which one counts?", where);
    if (system) {
        json_object_set_new(o, "sys_prompt_pos", json_string(system));
        json_object_set_new(o, "sys_prompt_neg", json_string(system));
    }
    return WS_OK;
}

ws_status ws_pair_from_chat(json_t **out, const json_t *row, const char *pos, const char *neg, const char *where,
                            ws_err *err) {
    const char *const key[2] = {pos, neg};
    json_t *before[2] = {NULL, NULL};
    *out = NULL;
    if (!json_is_array(json_object_get(row, "prompt")) && !json_is_array(json_object_get(row, pos)) &&
        !json_is_array(json_object_get(row, neg)))
        return WS_OK;
    json_t *o = json_copy((json_t *)row);
    ws_status st = plain(o, row, key, before, where, err);
    json_decref(before[0]), json_decref(before[1]);
    if (st)
        json_decref(o);
    else
        *out = o;
    return st;
}
