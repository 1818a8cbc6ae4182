#include "data/screen.h"
#include "data/behavior.h"
#include "data/vocab.h"
#include <stdlib.h>
#include <string.h>

ws_status ws_refusals_load(ws_refusals *r, const char *path, ws_err *err) {
    json_t *root = NULL;
    const char *format = NULL;
    char *own = path ? NULL : ws_data_path("refusals.json", err);
    *r = (ws_refusals){0};
    if (!path && !(path = own)) return err->code;
    ws_status st = ws_json_load(&root, path, err);
    const json_t *list = json_object_get(root, "openings");
    if (!st) st = ws_json_str(root, "format", &format, path, err);
    if (!st && strcmp(format, "ws-refusals"))
        st = ws_fail(err, WS_EFORMAT, "%s: 'format' is \"%s\", not \"ws-refusals\"", path, format);
    if (!st && (!json_is_array(list) || !json_array_size(list)))
        st = ws_fail(err, WS_EFORMAT, "%s: 'openings' must list the beginnings of refusals", path);
    if (!st) r->opening = ws_xcalloc(json_array_size(list), sizeof *r->opening);
    for (size_t i = 0; !st && i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        ws_str w = {0};
        size_t at = 0;
        if (!s || !ws_word_next(s, &at, &w)) /* no words: every answer would begin with it */
            st = ws_fail(err, WS_EFORMAT, "%s: openings[%zu] is not a text with words in it", path, i);
        else
            r->opening[r->n++] = ws_xstrdup(s);
        ws_str_free(&w);
    }
    json_decref(root);
    free(own);
    if (st) ws_refusals_free(r);
    return st;
}

void ws_refusals_free(ws_refusals *r) {
    for (int i = 0; i < r->n; i++) free(r->opening[i]);
    free(r->opening);
    *r = (ws_refusals){0};
}

/* The text with curly apostrophes made straight; caller frees. */
static char *straight(const char *text) {
    ws_str s = {0};
    ws_str_adds(&s, "");
    for (; *text; text++)
        if (!strncmp(text, "\xe2\x80\x99", 3) || !strncmp(text, "\xe2\x80\x98", 3))
            ws_str_addc(&s, '\''), text += 2;
        else
            ws_str_addc(&s, *text);
    return ws_str_take(&s);
}

static int begins(const char *text, const char *opening) {
    ws_str a = {0}, b = {0};
    size_t at = 0, there = 0;
    int same = 1;
    while (same && ws_word_next(opening, &there, &b)) same = ws_word_next(text, &at, &a) && !strcmp(a.p, b.p);
    ws_str_free(&a), ws_str_free(&b);
    return same;
}

int ws_refusals_find(const ws_refusals *r, const char *text) {
    char *t = straight(text);
    int found = -1;
    for (int i = 0; i < r->n && found < 0; i++) {
        char *o = straight(r->opening[i]);
        if (begins(t, o)) found = i;
        free(o);
    }
    free(t);
    return found;
}

/* Adds every run of n words of the text. */
static void runs(ws_vocab *v, const char *text, int n) {
    char *t = straight(text);
    ws_str w = {0}, run = {0};
    for (size_t start = 0, at = 0; ws_word_next(t, &at, &w); start = at) {
        size_t from = start, next = start;
        int k = 0;
        ws_str_clear(&run);
        for (; k < n && ws_word_next(t, &from, &w); k++) {
            ws_str_addf(&run, "%s%s", k ? " " : "", w.p);
            if (!k) next = from;
        }
        if (k < n) break;
        ws_vocab_add(v, run.p);
        at = next;
    }
    ws_str_free(&w), ws_str_free(&run);
    free(t);
}

int ws_shared_runs(const char *text, const char *source, const char *but_not, int n, char **first) {
    ws_vocab said = {0}, persona = {0}, asked = {0};
    int shared = 0;
    if (first) *first = NULL;
    runs(&said, text, n), runs(&persona, source, n), runs(&asked, but_not, n);
    for (int i = 0; i < persona.n; i++) {
        if (ws_vocab_find(&asked, persona.word[i]) >= 0 || ws_vocab_find(&said, persona.word[i]) < 0) continue;
        if (!shared++ && first) *first = ws_xstrdup(persona.word[i]);
    }
    ws_vocab_free(&said), ws_vocab_free(&persona), ws_vocab_free(&asked);
    return shared;
}
