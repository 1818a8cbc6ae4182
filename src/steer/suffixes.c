#include "steer/suffixes.h"
#include "base/hash.h"
#include "base/rng.h"
#include "io/json.h"
#include "text/think.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- the pool ---- */

static char *without_tags(const char *text) {
    static const char *const tag[] = {WS_THINK_BEGIN, WS_THINK_END};
    ws_str s = {0};
    while (*text) {
        size_t skip = 0;
        for (int i = 0; i < 2; i++)
            if (!strncmp(text, tag[i], strlen(tag[i]))) skip = strlen(tag[i]);
        if (skip)
            text += skip;
        else
            ws_str_addc(&s, *text++);
    }
    ws_str_adds(&s, "");
    while (s.n && isspace((unsigned char)s.p[s.n - 1])) s.p[--s.n] = 0;
    size_t lead = 0;
    while (isspace((unsigned char)s.p[lead])) lead++;
    memmove(s.p, s.p + lead, s.n - lead + 1);
    return ws_str_take(&s);
}

typedef struct reader {
    ws_suffixes *s;
    int cap;
} reader;

static ws_status take(void *arg, json_t *v, long line, ws_err *err) {
    reader *r = arg;
    ws_suffixes *s = r->s;
    char *where = ws_json_where(s->path, line);
    const char *user, *suffix;
    ws_status st = json_is_object(v) ? WS_OK
                                     : ws_fail(err, WS_EFORMAT,
                                               "%s: an entry is an object {\"user_msg\": ..., \"suffix\": ...}", where);
    if (!st) st = ws_json_str(v, "user_msg", &user, where, err);
    if (!st) st = ws_json_str(v, "suffix", &suffix, where, err);
    char *text = st ? NULL : without_tags(suffix);
    if (!st && (!*text || !user[strspn(user, " \t\r\n")]))
        st = ws_fail(err, WS_EFORMAT, "%s: \"user_msg\" and \"suffix\" must not be empty", where);
    free(where);
    if (st) {
        free(text);
        return st;
    }
    if (s->n == r->cap) s->row = ws_xrealloc(s->row, (size_t)(r->cap = 2 * r->cap + 64) * sizeof *s->row);
    s->row[s->n++] = (ws_suffix){ws_xstrdup(user), text};
    return WS_OK;
}

ws_status ws_suffixes_load(ws_suffixes *s, const char *path, ws_err *err) {
    *s = (ws_suffixes){.path = ws_xstrdup(path)};
    reader r = {s, 0};
    ws_status st = ws_hash_file(path, s->hash, err);
    if (!st) st = ws_jsonl_each(path, take, &r, err);
    if (!st && !s->n) st = ws_fail(err, WS_EFORMAT, "%s: no suffixes in it", path);
    if (st) ws_suffixes_free(s);
    return st;
}

void ws_suffixes_free(ws_suffixes *s) {
    for (int i = 0; i < s->n; i++) free(s->row[i].user), free(s->row[i].suffix);
    free(s->row), free(s->path);
    *s = (ws_suffixes){0};
}

/* ---- prompts ---- */

typedef struct render {
    const ws_chat *c;
    const ws_tokenizer *t;
    int max_len, tag;
} render;

/* Takes an empty think block off the end that the template put in front of an answer. */
static void open_block(ws_str *s) {
    const char *last = NULL;
    for (const char *p = s->p; (p = strstr(p, WS_THINK_BEGIN)); p++) last = p;
    if (last) {
        const char *p = last + strlen(WS_THINK_BEGIN);
        while (isspace((unsigned char)*p)) p++;
        int closed = !strncmp(p, WS_THINK_END, strlen(WS_THINK_END));
        if (closed) p += strlen(WS_THINK_END);
        while (isspace((unsigned char)*p)) p++;
        if (!*p) s->n = (size_t)(last - s->p), s->p[s->n] = 0;
    }
    ws_str_adds(s, WS_THINK_BEGIN "\n");
}

static ws_status encode(const render *r, const char *persona, const char *user, const char *suffix, int inside,
                        ws_ids *ids, int *cut, char **shown, ws_err *err) {
    ws_str text = {0};
    ws_status st = ws_render_open(r->c, persona, user, -1, &text, err);
    if (!st) {
        if (inside) open_block(&text);
        ws_str_adds(&text, suffix);
        st = ws_tokenizer_encode(r->t, text.p, text.n, 0, ids, err);
    }
    if (!st && !ids->n) st = ws_fail(err, WS_EFORMAT, "the prompt has no tokens");
    *cut = !st && ids->n > r->max_len;
    if (*cut) ids->n = r->max_len;
    if (shown && !st)
        *shown = ws_str_take(&text);
    else
        ws_str_free(&text);
    return st;
}

typedef struct texts {
    json_t *list;
    const char *path;
} texts;
static ws_status one_text(void *arg, json_t *v, long line, ws_err *err) {
    texts *t = arg;
    const json_t *text = json_object_get(v, "text");
    if (json_is_string(text) && json_string_length(text)) {
        json_array_append(t->list, (json_t *)(uintptr_t)text);
        return WS_OK;
    }
    char *where = ws_json_where(t->path, line);
    ws_fail(err, WS_EFORMAT, "%s: a neutral text is an object {\"text\": \"...\"}, and not empty", where);
    free(where);
    return err->code;
}

static ws_status neutral_rows(ws_extract_pairs *p, const render *r, const ws_suffixes *pool, const char *path,
                              ws_err *err) {
    json_t *list = json_array();
    ws_status st = ws_jsonl_each(path, one_text, &(texts){list, path}, err);
    size_t n = json_array_size(list);
    if (!st && !n) st = ws_fail(err, WS_EFORMAT, "%s: no texts in it", path);
    p->neutral = ws_xcalloc((size_t)p->n, sizeof *p->neutral);
    for (int i = 0; i < p->n && !st; i++) {
        int cut;
        st = encode(r, NULL, json_string_value(json_array_get(list, (size_t)i % n)), pool->row[p->pair[i].row].suffix,
                    p->pair[i].inside, &p->neutral[i], &cut, NULL, err);
        p->n_neutral = i + 1;
    }
    json_decref(list);
    return st;
}

ws_status ws_extract_pairs_make(ws_extract_pairs *p, const ws_suffixes *pool, const ws_behavior *b, const ws_chat *c,
                                const ws_tokenizer *t, int n, int max_len, uint64_t seed, const char *neutral,
                                ws_err *err) {
    render r = {.c = c, .t = t, .max_len = max_len};
    r.tag = ws_chat_has(c, WS_THINK_BEGIN) || ws_chat_has(c, WS_THINK_END);
    *p = (ws_extract_pairs){.n = n < pool->n ? n : pool->n, .folded = ws_chat_folds(c)};
    p->pair = ws_xcalloc((size_t)p->n, sizeof *p->pair);
    int64_t *order = ws_xmalloc((size_t)pool->n * sizeof *order);
    ws_counter_permutation(order, pool->n, seed, "extract.suffixes");
    ws_status st = WS_OK;
    for (int i = 0; i < p->n && !st; i++) {
        static const char *const stream[] = {"extract.pos", "extract.neg"};
        ws_extract_pair *x = &p->pair[i];
        const ws_suffix *s = &pool->row[order[i]];
        x->row = (int)order[i], x->inside = r.tag && order[i] % 2 == 0;
        for (int side = 0; side < 2 && !st; side++) {
            char *const *persona = side ? b->system_neg : b->system_pos;
            x->persona[side] = (int)(ws_counter_u64(seed, stream[side], (uint64_t)i, 0) % (uint64_t)b->n_personas);
            st = encode(&r, persona[x->persona[side]], s->user, s->suffix, x->inside, &x->ids[side], &x->cut[side],
                        i || side ? NULL : &p->shown, err);
        }
    }
    free(order);
    if (!st && neutral) st = neutral_rows(p, &r, pool, neutral, err);
    if (st) ws_extract_pairs_free(p);
    return st;
}

void ws_extract_pairs_free(ws_extract_pairs *p) {
    for (int i = 0; i < p->n && p->pair; i++) ws_ids_free(&p->pair[i].ids[0]), ws_ids_free(&p->pair[i].ids[1]);
    for (int i = 0; i < p->n_neutral; i++) ws_ids_free(&p->neutral[i]);
    free(p->pair), free(p->neutral), free(p->shown);
    *p = (ws_extract_pairs){0};
}
