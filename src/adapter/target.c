/* src/adapter/target.c - which modules an adapter's configuration names, by PEFT's rules (adapters.md 1.2). */
#include "adapter/room.h"
#include "base/log.h"
#include "io/json.h"
#include <stdlib.h>
#include <string.h>

static int list_hits(char *const *entry, int n, const char *name, int *exact) {
    size_t len = strlen(name);
    int suffix = 0;
    *exact = 0;
    for (int i = 0; i < n; i++) {
        size_t k = strlen(entry[i]);
        if (!strcmp(name, entry[i]))
            *exact = 1;
        else if (k < len && name[len - k - 1] == '.' && !strcmp(name + len - k, entry[i]))
            suffix = 1;
    }
    return *exact || suffix;
}

/* Python's re.fullmatch through a search for ^(?:pattern)$ without multi-line mode; \z because $ admits a newline. */
static ws_status full_regex(ws_regex **out, const char *pattern, const char *key, const char *where, ws_err *err) {
    char *p = ws_sprintf("^(?:%s)\\z", pattern);
    ws_status st = ws_regex_new(out, p, "", err);
    free(p);
    return st ? ws_fail_prefix(err, "%s: %s", where, key) : WS_OK;
}

static int regex_hits(const ws_regex *r, const char *name, ws_err *err) {
    size_t b, e;
    return ws_regex_next(r, name, strlen(name), 0, &b, &e, err);
}

/* A string or a list of strings; null and a missing key leave both empty. */
static ws_status names(const json_t *v, const char *key, char ***list, int *n, ws_regex **regex, const char *where,
                       ws_err *err) {
    if (!v || json_is_null(v)) return WS_OK;
    if (json_is_string(v)) return full_regex(regex, json_string_value(v), key, where, err);
    if (!json_is_array(v)) return ws_fail(err, WS_EFORMAT, "%s: %s is neither a list nor a string", where, key);
    size_t count = json_array_size(v);
    if (count > 100000) return ws_fail(err, WS_EFORMAT, "%s: %s has %zu entries", where, key, count);
    *list = ws_xcalloc(count, sizeof **list);
    for (size_t i = 0; i < count; i++) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s) return ws_fail(err, WS_EFORMAT, "%s: %s[%zu] is no string", where, key, i);
        (*list)[(*n)++] = ws_xstrdup(s);
    }
    return WS_OK;
}

static ws_status layers(ws_target *t, const json_t *v, const char *where, ws_err *err) {
    if (!v || json_is_null(v)) return WS_OK;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!n) return WS_OK; /* an empty list means no filter */
    t->layer = ws_xcalloc(n, sizeof *t->layer);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > 100000)
            return ws_fail(err, WS_EFORMAT, "%s: layers_to_transform must be an integer or a list of integers", where);
        t->layer[t->n_layers++] = (int)json_integer_value(x);
    }
    return WS_OK;
}

static ws_status layer_patterns(ws_target *t, const json_t *v, const char *where, ws_err *err) {
    if (!v || json_is_null(v) || (json_is_array(v) && !json_array_size(v))) return WS_OK;
    if (json_is_string(v) && !*json_string_value(v)) return WS_OK;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    t->pattern = ws_xcalloc(n, sizeof *t->pattern);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (!s) return ws_fail(err, WS_EFORMAT, "%s: layers_pattern must be a string or a list of strings", where);
        char *p = ws_sprintf("^(?:|.*?\\.)%s\\.(?=\\d+\\.)", s); /* the match ends where the layer number begins */
        ws_status st = ws_regex_new(&t->pattern[t->n_patterns++], p, "", err);
        free(p);
        if (st) return ws_fail_prefix(err, "%s: layers_pattern", where);
    }
    return WS_OK;
}

ws_status ws_target_read(ws_target *t, const json_t *c, int honours_layers, const char *where, ws_err *err) {
    memset(t, 0, sizeof *t);
    const json_t *v = json_object_get(c, "target_modules");
    if (!v || json_is_null(v))
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "%s: target_modules is missing; PEFT's defaults by model type are not known here, name the modules", where);
    if (json_is_string(v) && !strcmp(json_string_value(v), "all-linear"))
        t->all_linear = 1;
    else if (names(v, "target_modules", &t->name, &t->n, &t->regex, where, err))
        return err->code;
    if (names(json_object_get(c, "exclude_modules"), "exclude_modules", &t->exclude, &t->n_exclude, &t->exclude_regex,
              where, err))
        return err->code;
    if (!honours_layers) return WS_OK;
    if (layers(t, json_object_get(c, "layers_to_transform"), where, err)) return err->code;
    if (t->layer && (t->regex || t->all_linear)) {
        if (honours_layers == WS_LAYERS)
            return ws_fail(err, WS_EFORMAT,
                           "%s: layers_to_transform does not go with a target_modules string; put the layers into the "
                           "pattern",
                           where);
        ws_warn("%s: layers_to_transform does nothing beside a target_modules string, in PEFT too: every module that "
                "the string matches is adapted",
                where);
        free(t->layer);
        t->layer = NULL, t->n_layers = 0;
    }
    return layer_patterns(t, json_object_get(c, "layers_pattern"), where, err);
}

/* The layer number that PEFT reads from a module name; -1: none, -2: error. */
static int layer_of(const ws_target *t, const char *name, ws_err *err) {
    size_t len = strlen(name), b, e;
    for (int i = 0; i < t->n_patterns; i++) {
        int r = ws_regex_next(t->pattern[i], name, len, 0, &b, &e, err);
        if (r < 0) return -2;
        if (r) return (int)strtol(name + e, NULL, 10);
    }
    if (t->n_patterns) return -1;
    /* ^.*?\.[^.]*\.(\d+)\. : the first segment of digits that has two segments before it and one behind */
    const char *p = strchr(name, '.');
    while (p && (p = strchr(p + 1, '.'))) {
        char *end;
        if (p[1] < '0' || p[1] > '9') continue;
        long n = strtol(p + 1, &end, 10);
        if (*end == '.') return n > 100000 ? -1 : (int)n;
    }
    return -1;
}

int ws_target_match(const ws_target *t, const char *name, ws_err *err) {
    int exact, r;
    if (list_hits(t->exclude, t->n_exclude, name, &exact)) return 0;
    if (t->exclude_regex && (r = regex_hits(t->exclude_regex, name, err)) != 0) return r < 0 ? -1 : 0;
    if (t->all_linear) return 1;
    if (t->regex) return regex_hits(t->regex, name, err);
    if (!list_hits(t->name, t->n, name, &exact)) return 0;
    if (exact || !t->layer) return 1; /* an exact name is taken without looking at the layers */
    int layer = layer_of(t, name, err);
    if (layer == -2) return -1;
    for (int i = 0; i < t->n_layers; i++)
        if (t->layer[i] == layer) return 1;
    return 0;
}

void ws_target_release(ws_target *t) {
    for (int i = 0; i < t->n; i++) free(t->name[i]);
    for (int i = 0; i < t->n_exclude; i++) free(t->exclude[i]);
    for (int i = 0; i < t->n_patterns; i++) ws_regex_free(t->pattern[i]);
    ws_regex_free(t->regex), ws_regex_free(t->exclude_regex);
    free(t->name), free(t->exclude), free(t->pattern), free(t->layer);
    memset(t, 0, sizeof *t);
}

ws_status ws_target_pattern(const json_t *patterns, const char *name, double dflt, double *out, const char *where,
                            ws_err *err) {
    *out = dflt;
    if (!patterns || json_is_null(patterns)) return WS_OK;
    if (!json_is_object(patterns))
        return ws_fail(err, WS_EFORMAT, "%s: rank_pattern and alpha_pattern are objects", where);
    for (void *it = json_object_iter((json_t *)patterns); it; it = json_object_iter_next((json_t *)patterns, it)) {
        const char *key = json_object_iter_key(it);
        const json_t *v = json_object_iter_value(it);
        if (!json_is_number(v)) return ws_fail(err, WS_EFORMAT, "%s: pattern '%s' has no number", where, key);
        ws_regex *re = NULL;
        char *p = ws_sprintf("^(?:.*\\.)?(?:%s)$", key);
        ws_status st = ws_regex_new(&re, p, "", err);
        free(p);
        if (st) return ws_fail_prefix(err, "%s", where);
        int hit = regex_hits(re, name, err);
        ws_regex_free(re);
        if (hit < 0) return err->code;
        if (hit) {
            *out = json_number_value(v);
            return WS_OK;
        }
    }
    return WS_OK;
}
