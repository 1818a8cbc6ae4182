/* src/data/behavior.c - loads and checks a behaviour file; everything in it is known by name, anything else refused. */
#include "data/behavior.h"
#include "base/hash.h"
#include "data/wordlist.h"
#include "io/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------- small helpers over JSON ---------- */

static ws_status known_keys(const json_t *o, const char *const *keys, const char *where, const char *what,
                            ws_err *err) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        int known = 0;
        for (int i = 0; keys[i]; i++) known |= !strcmp(key, keys[i]);
        if (known) continue;
        ws_str list = {0};
        for (int i = 0; keys[i]; i++) ws_str_addf(&list, "%s%s", i ? ", " : "", keys[i]);
        ws_fail(err, WS_EFORMAT, "%s: unknown key '%s' in %s; known are %s", where, key, what, list.p);
        ws_str_free(&list);
        return err->code;
    }
    return WS_OK;
}

static int blank(const char *s) { return !s[strspn(s, " \t\r\n")]; }

/* A required string that says something. */
static ws_status text(const json_t *o, const char *key, const char **out, const char *where, ws_err *err) {
    if (ws_json_str(o, key, out, where, err)) return err->code;
    return blank(*out) ? ws_fail(err, WS_EFORMAT, "%s: '%s' is empty", where, key) : WS_OK;
}

static ws_status optional(const json_t *o, const char *key, const char *dflt, const char **out, const char *where,
                          ws_err *err) {
    const json_t *v = json_object_get(o, key);
    *out = dflt;
    return !v || json_is_null(v) ? WS_OK : text(o, key, out, where, err);
}

/* ---------- templates ---------- */

/* Replaces every {name} in `tmpl` by the string of that name in `values`; `where` and `what` go into errors.  Each
 * value must be used and each slot filled: a misspelt name would otherwise pass in silence. */
static ws_status fill(const char *tmpl, const json_t *values, const char *where, const char *what, char **out,
                      ws_err *err) {
    ws_str s = {0};
    json_t *used = json_object(), *v;
    const char *key;
    ws_status st = WS_OK;
    for (const char *p = tmpl; *p && !st;) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        if (!end) {
            ws_str_addc(&s, *p++);
            continue;
        }
        char *name = ws_xstrndup(p + 1, (size_t)(end - p - 1));
        const char *value = json_string_value(json_object_get(values, name));
        if (value) {
            ws_str_adds(&s, value);
            json_object_set_new(used, name, json_true());
        } else {
            st = ws_fail(err, WS_EFORMAT, "%s: %s has no text for the slot {%s}", where, what, name);
        }
        free(name);
        p = end + 1;
    }
    json_object_foreach((json_t *)values, key, v) if (!st && !json_object_get(used, key)) st =
        ws_fail(err, WS_EFORMAT, "%s: %s has '%s', but the template has no slot {%s}", where, what, key, key);
    json_decref(used);
    if (st)
        ws_str_free(&s);
    else
        *out = ws_str_take(&s);
    return st;
}

static ws_status fill_one(const char *tmpl, const char *slot, const char *value, const char *where, const char *what,
                          char **out, ws_err *err) {
    json_t *o = json_pack("{s:s}", slot, value);
    if (!o) return ws_fail(err, WS_EFORMAT, "%s: %s is not valid UTF-8", where, what);
    ws_status st = fill(tmpl, o, where, what, out, err);
    json_decref(o);
    return st;
}

/* ---------- parts of the file ---------- */

static ws_status one_persona(ws_behavior *b, const char *tmpl, const char *pos, const char *neg, const char *where,
                             ws_err *err) {
    int i = b->n_personas;
    if (blank(pos) || blank(neg)) return ws_fail(err, WS_EFORMAT, "%s: empty persona", where);
    if (!strcmp(pos, neg)) return ws_fail(err, WS_EFORMAT, "%s: 'pos' and 'neg' are the same persona", where);
    b->persona_pos[i] = ws_xstrdup(pos);
    b->persona_neg[i] = ws_xstrdup(neg);
    b->n_personas++;
    if (fill_one(tmpl, "persona", pos, where, "the system template", &b->system_pos[i], err)) return err->code;
    return fill_one(tmpl, "persona", neg, where, "the system template", &b->system_neg[i], err);
}

/* [{"pos","neg"}, ...] or {"pos": [...], "neg": [...]} of equal length. */
static ws_status personas(ws_behavior *b, const json_t *root, const char *where, ws_err *err) {
    static const char *const keys[] = {"pos", "neg", NULL};
    const json_t *list = json_object_get(root, "personas");
    const char *tmpl;
    if (optional(root, "system_template", "{persona}", &tmpl, where, err)) return err->code;
    if (!strstr(tmpl, "{persona}"))
        return ws_fail(err, WS_EFORMAT,
                       "%s: 'system_template' has no slot {persona}; leave it out when the personas are whole prompts",
                       where);
    const json_t *p = json_object_get(list, "pos"), *q = json_object_get(list, "neg");
    int two_lists = json_is_object(list);
    if (two_lists && known_keys(list, keys, where, "'personas'", err)) return err->code;
    if (two_lists && (!json_is_array(p) || !json_is_array(q)))
        return ws_fail(err, WS_EFORMAT, "%s: 'personas' needs the lists 'pos' and 'neg'", where);
    if (two_lists && json_array_size(p) != json_array_size(q))
        return ws_fail(err, WS_EFORMAT,
                       "%s: 'personas' has %zu pos and %zu neg; they are paired by index, so give equally many", where,
                       json_array_size(p), json_array_size(q));
    size_t n = json_array_size(two_lists ? p : list);
    if (n == 0) return ws_fail(err, WS_EFORMAT, "%s: 'personas' must list at least one pair {\"pos\", \"neg\"}", where);
    b->persona_pos = ws_xcalloc(n, sizeof(char *));
    b->persona_neg = ws_xcalloc(n, sizeof(char *));
    b->system_pos = ws_xcalloc(n, sizeof(char *));
    b->system_neg = ws_xcalloc(n, sizeof(char *));
    for (size_t i = 0; i < n; i++) {
        char *at = ws_sprintf("%s: personas[%zu]", where, i);
        const json_t *o = json_array_get(list, i);
        const char *pos = NULL, *neg = NULL;
        ws_status st = WS_OK;
        if (two_lists) {
            pos = json_string_value(json_array_get(p, i)), neg = json_string_value(json_array_get(q, i));
            if (!pos || !neg) st = ws_fail(err, WS_EFORMAT, "%s must be a string on both sides", at);
        } else if (!json_is_object(o)) {
            st = ws_fail(err, WS_EFORMAT, "%s must be an object {\"pos\", \"neg\"}", at);
        } else {
            st = known_keys(o, keys, where, "a persona", err);
            if (!st) st = ws_json_str(o, "pos", &pos, at, err);
            if (!st) st = ws_json_str(o, "neg", &neg, at, err);
        }
        if (!st) st = one_persona(b, tmpl, pos, neg, at, err);
        free(at);
        if (st) return st;
    }
    return WS_OK;
}

static ws_status topics(const json_t *root, const char *key, const char *tmpl, int required, char ***out, int *count,
                        const char *where, ws_err *err) {
    const json_t *list = json_object_get(root, key);
    if (!list && !required) return WS_OK;
    if (!json_is_array(list))
        return ws_fail(err, WS_EFORMAT, "%s: '%s' must be a list of strings or objects", where, key);
    size_t n = json_array_size(list);
    if (n == 0 && required) return ws_fail(err, WS_EFORMAT, "%s: '%s' is empty", where, key);
    *out = ws_xcalloc(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        char *what = ws_sprintf("%s[%zu]", key, i);
        ws_status st;
        if (json_is_string(v) && blank(json_string_value(v)))
            st = ws_fail(err, WS_EFORMAT, "%s: %s is empty", where, what);
        else if (json_is_string(v))
            st = fill_one(tmpl, "topic", json_string_value(v), where, what, &(*out)[i], err);
        else if (json_is_object(v))
            st = fill(tmpl, v, where, what, &(*out)[i], err);
        else
            st = ws_fail(err, WS_EFORMAT, "%s: %s must be a string or an object", where, what);
        free(what);
        if (st) return st;
        *count = (int)i + 1;
    }
    return WS_OK;
}

/* A topic twice would count twice; a topic in both lists would not be held out. */
static ws_status no_topic_twice(const ws_behavior *b, const char *where, ws_err *err) {
    int n = b->n_topics + b->n_heldout;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) {
            const char *x = i < b->n_topics ? b->topic[i] : b->heldout[i - b->n_topics];
            const char *y = k < b->n_topics ? b->topic[k] : b->heldout[k - b->n_topics];
            if (strcmp(x, y)) continue;
            int both = i >= b->n_topics && k < b->n_topics;
            return ws_fail(err, WS_EFORMAT, "%s: the topic \"%s\" stands %s", where, x,
                           both ? "in 'topics' and in 'heldout_topics': it would be trained on" : "there twice");
        }
    return WS_OK;
}

static ws_status targets(ws_behavior *b, const json_t *root, const char *where, ws_err *err) {
    const json_t *o = json_object_get(root, "targets");
    const char *key;
    json_t *v;
    if (!o) return WS_OK;
    if (!json_is_object(o))
        return ws_fail(err, WS_EFORMAT, "%s: 'targets' must be an object like {\"Authority\": -1}", where);
    b->target = ws_xcalloc(json_object_size(o) + 1, sizeof(char *));
    b->target_sign = ws_xcalloc(json_object_size(o) + 1, sizeof(int));
    json_object_foreach((json_t *)o, key, v) {
        double s = json_number_value(v);
        if (!json_is_number(v) || (s != 1 && s != -1))
            return ws_fail(err, WS_EFORMAT, "%s: target '%s' must be 1 or -1", where, key);
        b->target[b->n_targets] = ws_xstrdup(key);
        b->target_sign[b->n_targets++] = s > 0 ? 1 : -1;
    }
    return WS_OK;
}

static ws_status one_counter(ws_counter *c, const json_t *o, const char *where, ws_err *err) {
    static const char *const keys[] = {"name", "weight", "words", "regex", NULL};
    const char *name, *pattern;
    if (!json_is_object(o)) return ws_fail(err, WS_EFORMAT, "%s must be an object", where);
    if (known_keys(o, keys, where, "a counter", err) || text(o, "name", &name, where, err) ||
        ws_json_num_or(o, "weight", 1, &c->weight, where, err) || optional(o, "regex", NULL, &pattern, where, err))
        return err->code;
    if (!isfinite(c->weight) || c->weight == 0) return ws_fail(err, WS_EFORMAT, "%s: 'weight' must not be 0", where);
    c->name = ws_xstrdup(name);
    const json_t *words = json_object_get(o, "words");
    if (!words == !pattern) return ws_fail(err, WS_EFORMAT, "%s: give either 'words' or 'regex'", where);
    char *made = NULL;
    if (words && ws_wordlist_pattern(words, where, &made, err)) return err->code;
    ws_status st = ws_regex_new(&c->re, made ? made : pattern, "i", err);
    if (st) ws_fail_prefix(err, "%s", where);
    free(made);
    return st;
}

static ws_status counters(ws_behavior *b, const json_t *root, const char *where, ws_err *err) {
    const json_t *list = json_object_get(root, "counters");
    if (!list) return WS_OK;
    if (!json_is_array(list)) return ws_fail(err, WS_EFORMAT, "%s: 'counters' must be a list", where);
    b->counter = ws_xcalloc(json_array_size(list) + 1, sizeof *b->counter);
    for (size_t i = 0; i < json_array_size(list); i++) {
        char *at = ws_sprintf("%s: counters[%zu]", where, i);
        b->n_counters++;
        ws_status st = one_counter(&b->counter[i], json_array_get(list, i), at, err);
        free(at);
        if (st) return st;
    }
    return WS_OK;
}

static ws_status engineered(ws_behavior *b, const json_t *root, const char *where, ws_err *err) {
    static const char *const keys[] = {"pos", "neg", NULL};
    const json_t *o = json_object_get(root, "engineered");
    const char *pos, *neg;
    if (!o) return WS_OK;
    if (!json_is_object(o))
        return ws_fail(err, WS_EFORMAT, "%s: 'engineered' must be an object {\"pos\", \"neg\"}", where);
    if (known_keys(o, keys, where, "'engineered'", err) || text(o, "pos", &pos, where, err) ||
        text(o, "neg", &neg, where, err))
        return err->code;
    b->engineered_pos = ws_xstrdup(pos);
    b->engineered_neg = ws_xstrdup(neg);
    return WS_OK;
}

/* ---------- the whole file ---------- */

/* JSON has no comments; here a key that begins with // is one, wherever it stands. */
static void drop_comments(json_t *v) {
    const char *key;
    json_t *o;
    void *next;
    size_t i;
    if (json_is_array(v)) json_array_foreach(v, i, o) drop_comments(o);
    if (!json_is_object(v)) return;
    json_object_foreach_safe(v, next, key, o) {
        if (key[0] == '/' && key[1] == '/')
            json_object_del(v, key);
        else
            drop_comments(o);
    }
}

static int good_name(const char *name) {
    return *name && *name != '.' &&
           !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")];
}

ws_status ws_behavior_check_name(const char *name, ws_err *err) {
    if (good_name(name)) return WS_OK;
    return ws_fail(err, WS_EUSAGE, "\"%s\" cannot name a behaviour; use letters, digits, '.', '_' and '-'", name);
}

static ws_status parse(ws_behavior *b, const json_t *root, const char *where, ws_err *err) {
    static const char *const keys[] = {
        "format", "version",        "name",    "title",    "axis",       "system_template", "personas",
        "topics", "topic_template", "targets", "counters", "engineered", "heldout_topics",  NULL};
    const char *format, *name, *title, *axis, *tmpl;
    int64_t version;
    if (!json_is_object(root)) return ws_fail(err, WS_EFORMAT, "%s: a behaviour is one JSON object", where);
    if (ws_json_str(root, "format", &format, where, err) || ws_json_int(root, "version", &version, where, err))
        return err->code;
    if (strcmp(format, "ws-behavior"))
        return ws_fail(err, WS_EFORMAT, "%s: 'format' is \"%s\", not \"ws-behavior\"", where, format);
    if (version != 1)
        return ws_fail(err, WS_EFORMAT, "%s: version %lld of the format; this program reads version 1", where,
                       (long long)version);
    if (known_keys(root, keys, where, "a behaviour", err) || text(root, "name", &name, where, err) ||
        optional(root, "title", name, &title, where, err) || optional(root, "axis", name, &axis, where, err) ||
        optional(root, "topic_template", "{topic}", &tmpl, where, err))
        return err->code;
    if (!good_name(name))
        return ws_fail(err, WS_EFORMAT,
                       "%s: 'name' is \"%s\"; it names folders, so use letters, digits, '.', '_' and '-'", where, name);
    b->name = ws_xstrdup(name), b->title = ws_xstrdup(title), b->axis = ws_xstrdup(axis);
    if (personas(b, root, where, err) || topics(root, "topics", tmpl, 1, &b->topic, &b->n_topics, where, err) ||
        topics(root, "heldout_topics", tmpl, 0, &b->heldout, &b->n_heldout, where, err) ||
        no_topic_twice(b, where, err) || targets(b, root, where, err) || counters(b, root, where, err) ||
        engineered(b, root, where, err))
        return err->code;
    return WS_OK;
}

static char *find(const char *name_or_path, ws_err *err) {
    size_t n = strlen(name_or_path);
    if (strchr(name_or_path, '/') || (n > 5 && !strcmp(name_or_path + n - 5, ".json"))) return ws_xstrdup(name_or_path);
    char *relative = ws_sprintf("behaviors/%s.json", name_or_path), *path = ws_data_path(relative, err);
    free(relative);
    if (!path) ws_fail_prefix(err, "no behaviour '%s'", name_or_path);
    return path;
}

ws_status ws_behavior_load(ws_behavior **out, const char *name_or_path, ws_err *err) {
    ws_err own = {0};
    if (!err) err = &own;
    *out = NULL;
    char *path = find(name_or_path, err);
    if (!path) return err->code;
    json_t *root = NULL;
    ws_behavior *b = ws_xcalloc(1, sizeof *b);
    b->path = path;
    ws_status st = ws_json_load(&root, path, err);
    if (!st) st = ws_hash_file(path, b->hash, err);
    if (!st) drop_comments(root);
    if (!st) st = parse(b, root, path, err);
    json_decref(root);
    if (st) {
        ws_behavior_free(b);
        return st;
    }
    *out = b;
    return WS_OK;
}

static void free_strings(char **s, int n) {
    for (int i = 0; s && i < n; i++) free(s[i]);
    free(s);
}

void ws_behavior_free(ws_behavior *b) {
    if (!b) return;
    free_strings(b->system_pos, b->n_personas);
    free_strings(b->system_neg, b->n_personas);
    free_strings(b->persona_pos, b->n_personas);
    free_strings(b->persona_neg, b->n_personas);
    free_strings(b->topic, b->n_topics);
    free_strings(b->heldout, b->n_heldout);
    free_strings(b->target, b->n_targets);
    for (int i = 0; i < b->n_counters; i++) {
        free(b->counter[i].name);
        ws_regex_free(b->counter[i].re);
    }
    free(b->counter);
    free(b->target_sign);
    free(b->engineered_pos);
    free(b->engineered_neg);
    free(b->name);
    free(b->title);
    free(b->axis);
    free(b->path);
    free(b);
}

ws_status ws_behavior_score(const ws_behavior *b, const char *text_, size_t n, double *score, ws_err *err) {
    *score = 0;
    for (int i = 0; i < b->n_counters; i++) {
        long count = ws_regex_count(b->counter[i].re, text_, n, err);
        if (count < 0) return ws_fail_prefix(err, "%s: counter '%s'", b->path, b->counter[i].name);
        *score += b->counter[i].weight * (double)count;
    }
    return WS_OK;
}
