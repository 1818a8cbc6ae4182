/* src/steer/prompt.c - steering by words: a system prompt (where the template has no system role, a text in front of the
 * user's) instead of a change of the model.  Strength 1 only; a row without a NEG text has the + side alone.
 *     prompt_only         the first POS persona
 *     engineered_prompt   the behaviour's longer written prompts, one for each side
 * A file is JSON: {"format": "ws-prompt", "version": 1, "name": "prompt_only", "pos": "...", "neg": null} */
#include "io/json.h"
#include "steer/prompt.h"
#include <stdlib.h>
#include <string.h>

WS_ROOM(prompt)

typedef struct texts {
    char *side[2];
} texts;

static ws_status load(ws_method *m, const ws_model *model, const char *path, int force, ws_err *err) {
    (void)model, (void)force;
    json_t *j = NULL;
    texts *t = ws_xcalloc(1, sizeof *t);
    m->impl = t;
    if (ws_json_load(&j, path, err)) return err->code;
    const char *name = json_string_value(json_object_get(j, "name"));
    ws_status st = WS_OK;
    if (json_integer_value(json_object_get(j, "version")) != 1)
        st = ws_fail(err, WS_EUNSUPPORTED, "%s: not a prompt file of version 1", path);
    static const char *const key[2] = {"pos", "neg"};
    for (int i = 0; i < 2 && !st; i++) {
        const json_t *v = json_object_get(j, key[i]);
        if (i && (!v || json_is_null(v))) break;
        if (!json_is_string(v) || !json_string_length(v) || strlen(json_string_value(v)) != json_string_length(v))
            st = ws_fail(err, WS_EFORMAT, "%s: \"%s\" is no text", path, key[i]);
        else
            t->side[i] = ws_xstrdup(json_string_value(v));
    }
    if (!st && name && *name) m->name = ws_xstrdup(name);
    m->system_prompt[0] = t->side[0], m->system_prompt[1] = t->side[1];
    json_decref(j);
    return st;
}

static void release(ws_method *m) {
    texts *t = m->impl;
    if (t) free(t->side[0]), free(t->side[1]);
    free(t);
}

static const char *const names[] = {WS_PROMPT_PLAIN, WS_PROMPT_ENGINEERED, NULL};
const char *const *ws_prompt_names(void) { return names; }

ws_status ws_prompt_write(const char *path, const char *name, const ws_behavior *b, ws_err *err) {
    int engineered = !strcmp(name, names[1]);
    const char *pos = engineered ? b->engineered_pos : b->system_pos[0], *neg = engineered ? b->engineered_neg : NULL;
    if (!pos) return ws_fail(err, WS_EUSAGE, "%s has no \"engineered\" prompts, which the row %s needs", b->path, name);
    json_t *j = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s?}", "format", "ws-prompt", "version", 1, "name", name,
                          "behavior", b->name, "pos", pos, "neg", neg);
    if (!j) return ws_fail(err, WS_EFORMAT, "%s: the prompt of %s is not UTF-8", b->path, name);
    ws_status st = ws_json_save(j, path, err);
    json_decref(j);
    return st;
}

const ws_steer_ops ws_steer_prompt = {
    .name = "prompt",
    .title = "a system prompt instead of a change of the model",
    .format = "ws-prompt",
    .unit = "none: the prompt is there or not",
    .bracket_lo = 1,
    .bracket_hi = 1,
    .identity_at_zero = 1,
    .two_sided = 0,
    .load = load,
    .free = release,
};
