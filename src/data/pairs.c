#include "data/pairs.h"
#include "base/rng.h"
#include "base/hash.h"
#include "io/csv.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *ws_excerpt(const char *text, int max) {
    ws_str s = {0};
    size_t n = strlen(text), end = n < (size_t)max ? n : (size_t)max;
    while (end < n && end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) end--; /* not inside a character */
    ws_str_addc(&s, '"');
    for (size_t i = 0; i < end; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            ws_str_adds(&s, "\\n");
        else if (c == '\t')
            ws_str_adds(&s, "\\t");
        else if (c < 0x20 || c == 0x7f)
            ws_str_addf(&s, "\\x%02x", c);
        else
            ws_str_addc(&s, (char)c);
    }
    ws_str_adds(&s, end < n ? "...\"" : "\"");
    return ws_str_take(&s);
}

/* ---------- one row ---------- */

/* The first key of `keys` that the row has; NULL when none, or an error when two. */
static ws_status one_of(const json_t *row, const char *const *keys, const char **key, const char *where, ws_err *err) {
    *key = NULL;
    for (int i = 0; keys[i]; i++) {
        if (!json_object_get(row, keys[i])) continue;
        if (*key)
            return ws_fail(err, WS_EFORMAT, "%s: has both '%s' and '%s'; which one counts?", where, *key, keys[i]);
        *key = keys[i];
    }
    return WS_OK;
}

static ws_status text(const json_t *row, const char *key, char **out, const char *where, ws_err *err) {
    const char *s;
    if (ws_json_str(row, key, &s, where, err)) return err->code;
    if (!*s) return ws_fail(err, WS_EFORMAT, "%s: '%s' is empty", where, key);
    *out = ws_xstrdup(s);
    return WS_OK;
}

static ws_status maybe_text(const json_t *row, const char *key, char **out, const char *where, ws_err *err) {
    const json_t *v = json_object_get(row, key);
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v))) return WS_OK;
    return text(row, key, out, where, err);
}

static ws_status maybe_int(const json_t *row, const char *key, int *out, const char *where, ws_err *err) {
    int64_t v;
    if (ws_json_int_or(row, key, -1, &v, where, err)) return err->code;
    if (v < -1 || v > INT32_MAX)
        return ws_fail(err, WS_EFORMAT, "%s: '%s' is %lld; it must not be negative", where, key, (long long)v);
    *out = (int)v;
    return WS_OK;
}

static ws_status finish(const json_t *row, const char *key, int *cut, const char *where, ws_err *err) {
    char *why = NULL;
    if (maybe_text(row, key, &why, where, err)) return err->code;
    *cut = why && !strcmp(why, "length");
    ws_status st = WS_OK;
    if (why && !*cut && strcmp(why, "stop"))
        st = ws_fail(err, WS_EFORMAT, "%s: '%s' is \"%s\", not \"stop\" or \"length\"", where, key, why);
    free(why);
    return st;
}

const char *ws_pair_answer(const ws_pair *p, int side) {
    return p->answer[side] ? p->answer[side] : side ? p->neg : p->pos;
}

static void think(ws_pair *p, int side, ws_think_form f) {
    const char *text = side ? p->neg : p->pos;
    ws_think_parts t;
    ws_think_split(text, strlen(text), f, &t);
    free(p->reasoning[side]), free(p->answer[side]);
    p->reasoning[side] = ws_xstrndup(t.reasoning, t.n_reasoning);
    p->answer[side] = ws_xstrndup(t.answer, t.n_answer);
    p->closed[side] = t.closed;
}
void ws_pair_think(ws_pair *p, ws_think_form f) {
    for (int s = 0; s < 2; s++) think(p, s, f);
}

/* The parts follow from the response and from `closed`; where the row tells them too, they must agree with it. */
static ws_status maybe_think(ws_pair *p, const json_t *row, int side, const char *where, ws_err *err) {
    static const char *const keys[2][3] = {{"closed_pos", "reasoning_pos", "answer_pos"},
                                           {"closed_neg", "reasoning_neg", "answer_neg"}};
    int closed;
    p->closed[side] = -1;
    if (ws_json_bool_or(row, keys[side][0], -1, &closed, where, err)) return err->code;
    if (closed < 0 && !strstr(side ? p->neg : p->pos, WS_THINK_END)) return WS_OK;
    think(p, side, closed == 0 ? WS_THINK_OPEN : WS_THINK_FREE);
    if (closed >= 0 && closed != p->closed[side])
        return ws_fail(err, WS_EFORMAT, "%s: '%s' is %s, but the response %s", where, keys[side][0],
                       closed ? "true" : "false", closed ? "never leaves its <think>" : "has a </think>");
    for (int k = 1; k < 3; k++) {
        const json_t *v = json_object_get(row, keys[side][k]);
        const char *told = json_string_value(v), *is = k == 1 ? p->reasoning[side] : p->answer[side];
        if (v && !json_is_null(v) && (!told || strcmp(told, is)))
            return ws_fail(err, WS_EFORMAT, "%s: '%s' is not that part of the response; leave it out, or correct it",
                           where, keys[side][k]);
    }
    return WS_OK;
}

ws_status ws_pair_parse(ws_pair *p, const json_t *row, const char *where, ws_err *err) {
    static const char *const pos_keys[] = {"response_pos", "pos", "chosen", NULL};
    static const char *const neg_keys[] = {"response_neg", "neg", "rejected", NULL};
    static const char *const single[] = {"messages", "completion", "text", NULL};
    const char *pos, *neg, *only = NULL;
    json_t *plain = NULL;
    memset(p, 0, sizeof *p);
    if (!json_is_object(row)) return ws_fail(err, WS_EFORMAT, "%s: a row must be a JSON object", where);
    ws_status st = one_of(row, pos_keys, &pos, where, err);
    if (!st) st = one_of(row, neg_keys, &neg, where, err);
    for (int i = 0; single[i] && !only; i++)
        if (json_object_get(row, single[i])) only = single[i];
    if (!st && !pos && !neg && only)
        st = ws_fail(err, WS_EFORMAT,
                     "%s: '%s' is one answer; a pair needs two to the same prompt: {\"prompt\", \"pos\", \"neg\"} or "
                     "{\"prompt\", \"chosen\", \"rejected\"}",
                     where, only);
    if (!st && (!pos || !neg))
        st = ws_fail(
            err, WS_EFORMAT,
            "%s: no %s answer; a row is {\"prompt\", \"pos\", \"neg\"}, {\"prompt\", \"chosen\", \"rejected\"} or "
            "{\"prompt\", \"response_pos\", \"response_neg\"}",
            where, pos ? "negative" : "positive");
    int form = 0; /* the two answers must be named in the same way */
    if (!st) {
        while (pos_keys[form] != pos) form++;
        if (neg_keys[form] != neg)
            st = ws_fail(err, WS_EFORMAT, "%s: '%s' goes with '%s', not with '%s'", where, pos, neg_keys[form], neg);
    }
    if (!st) st = ws_pair_from_chat(&plain, row, pos, neg, where, err);
    if (plain) row = plain;
    if (!st) st = text(row, "prompt", &p->prompt, where, err);
    if (!st) st = text(row, pos, &p->pos, where, err);
    if (!st) st = text(row, neg, &p->neg, where, err);
    if (!st) st = maybe_text(row, "sys_prompt_pos", &p->sys_pos, where, err);
    if (!st) st = maybe_text(row, "sys_prompt_neg", &p->sys_neg, where, err);
    if (!st) st = maybe_text(row, "behavior", &p->behavior, where, err);
    if (!st) st = maybe_int(row, "topic_idx", &p->topic, where, err);
    if (!st) st = maybe_int(row, "persona_idx", &p->persona, where, err);
    if (!st) st = maybe_int(row, "sample_idx", &p->sample, where, err);
    if (!st) st = maybe_int(row, "n_tokens_pos", &p->tokens_pos, where, err);
    if (!st) st = maybe_int(row, "n_tokens_neg", &p->tokens_neg, where, err);
    if (!st) st = finish(row, "finish_reason_pos", &p->cut_pos, where, err);
    if (!st) st = finish(row, "finish_reason_neg", &p->cut_neg, where, err);
    for (int s = 0; s < 2 && !st; s++) st = maybe_think(p, row, s, where, err);
    json_decref(plain);
    if (st) ws_pair_release(p);
    return st;
}

void ws_pair_release(ws_pair *p) {
    free(p->prompt);
    free(p->pos);
    free(p->neg);
    free(p->sys_pos);
    free(p->sys_neg);
    free(p->behavior);
    for (int s = 0; s < 2; s++) free(p->reasoning[s]), free(p->answer[s]);
    memset(p, 0, sizeof *p);
}

static void put(json_t *o, const char *key, const char *s) {
    if (!s) return;
    json_t *v = json_string(s);
    if (!v) BUG("text that is not UTF-8 in '%s'", key);
    json_object_set_new(o, key, v);
}
static void put_int(json_t *o, const char *key, int v) {
    if (v >= 0) json_object_set_new(o, key, json_integer(v));
}

json_t *ws_pair_json(const ws_pair *p) {
    json_t *o = json_object();
    put(o, "prompt", p->prompt);
    put(o, "response_pos", p->pos);
    put(o, "response_neg", p->neg);
    put(o, "sys_prompt_pos", p->sys_pos);
    put(o, "sys_prompt_neg", p->sys_neg);
    put_int(o, "topic_idx", p->topic);
    put_int(o, "persona_idx", p->persona);
    put_int(o, "sample_idx", p->sample);
    put(o, "behavior", p->behavior);
    put(o, "finish_reason_pos", p->cut_pos ? "length" : "stop");
    put(o, "finish_reason_neg", p->cut_neg ? "length" : "stop");
    put_int(o, "n_tokens_pos", p->tokens_pos);
    put_int(o, "n_tokens_neg", p->tokens_neg);
    for (int s = 0; s < 2; s++) {
        if (!p->answer[s]) continue;
        put(o, s ? "reasoning_neg" : "reasoning_pos", p->reasoning[s]);
        put(o, s ? "answer_neg" : "answer_pos", p->answer[s]);
        json_object_set_new(o, s ? "closed_neg" : "closed_pos", json_boolean(p->closed[s]));
    }
    return o;
}

/* ---------- the file ---------- */

typedef struct loading {
    ws_pairs *p;
    int cap;
} loading;

static ws_status add(void *arg, json_t *value, long line, ws_err *err) {
    loading *l = arg;
    ws_pairs *p = l->p;
    char *where = ws_json_where(p->path, line);
    if (p->n == l->cap) {
        l->cap = l->cap * 2 + 64;
        p->row = ws_xrealloc(p->row, (size_t)l->cap * sizeof *p->row);
    }
    ws_status st = ws_pair_parse(&p->row[p->n], value, where, err);
    if (!st) p->row[p->n++].line = line;
    free(where);
    return st;
}

/* Cells are texts; those of our own keys that are numbers or truth values become what JSON would have. */
static ws_status numbers(json_t *row, const char *path, long line, ws_err *err) {
    static const char *const key[] = {"topic_idx",    "persona_idx", "sample_idx", "n_tokens_pos",
                                      "n_tokens_neg", "closed_pos",  "closed_neg"};
    for (int i = 0; i < 7; i++) {
        const char *cell = json_string_value(json_object_get(row, key[i]));
        char *end = NULL;
        if (!cell) continue;
        if (i >= 5 && (!strcasecmp(cell, "true") || !strcasecmp(cell, "false"))) {
            json_object_set_new(row, key[i], json_boolean(*cell == 't' || *cell == 'T'));
            continue;
        }
        long v = strtol(cell, &end, 10);
        if (i >= 5 || *end || end == cell)
            return ws_fail(err, WS_EFORMAT, "%s:%ld: '%s' is not %s", path, line, key[i],
                           i >= 5 ? "true or false" : "a whole number");
        json_object_set_new(row, key[i], json_integer(v));
    }
    return WS_OK;
}

/* A row of a table is the object of its cells that are not empty. */
static ws_status add_csv(loading *l, ws_err *err) {
    ws_csv csv;
    ws_status st = ws_csv_load(&csv, l->p->path, err);
    for (int r = 0; !st && r < csv.rows; r++) {
        json_t *row = json_object();
        for (int c = 0; !st && c < csv.cols; c++) {
            const char *cell = csv.cell[r * csv.cols + c];
            json_t *v = *cell && csv.head[c][0] ? json_string(cell) : NULL;
            if (*cell && csv.head[c][0] && !v)
                st = ws_fail(err, WS_EFORMAT, "%s:%ld: column %d is not UTF-8 text", l->p->path, csv.line[r], c + 1);
            if (v && json_object_set_new(row, csv.head[c], v))
                st = ws_fail(err, WS_EFORMAT, "%s:1: the name of column %d is not UTF-8 text", l->p->path, c + 1);
        }
        if (!st) st = numbers(row, l->p->path, csv.line[r], err);
        if (!st) st = add(l, row, csv.line[r], err);
        json_decref(row);
    }
    ws_csv_free(&csv);
    return st;
}

static int is_csv(const char *path) {
    size_t n = strlen(path);
    return n > 4 && !strcasecmp(path + n - 4, ".csv");
}

ws_status ws_pairs_load(ws_pairs **out, const char *path, ws_err *err) {
    ws_pairs *p = ws_xcalloc(1, sizeof *p);
    loading l = {p, 0};
    *out = NULL;
    p->path = ws_xstrdup(path);
    ws_status st = ws_is_dir(path) ? ws_fail(err, WS_EFORMAT, "%s is a folder; name a file of pairs in it", path)
                   : is_csv(path)  ? add_csv(&l, err)
                                   : ws_jsonl_each(path, add, &l, err);
    if (!st && p->n == 0) st = ws_fail(err, WS_EFORMAT, "%s: no rows", path);
    if (!st) st = ws_hash_file(path, p->hash, err);
    if (st)
        ws_pairs_free(p);
    else
        *out = p;
    return st;
}

void ws_pairs_free(ws_pairs *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) ws_pair_release(&p->row[i]);
    free(p->row);
    free(p->path);
    free(p);
}

/* ---------- the failing checks ---------- */

static ws_status complain(const ws_pairs *p, int row, const char *what, const char *answer, ws_err *err) {
    char *q = ws_excerpt(p->row[row].prompt, 120), *a = ws_excerpt(answer, 200);
    ws_status st = ws_fail(err, WS_EFORMAT, "%s: %s; row %d, prompt %s, answer %s", p->path, what, row + 1, q, a);
    free(q);
    free(a);
    return st;
}

void ws_pairs_mix(ws_pairs *p, uint64_t seed) {
#define SWAP(type, a, b)                                                                                               \
    do {                                                                                                               \
        type t_ = a;                                                                                                   \
        a = b, b = t_;                                                                                                 \
    } while (0)
    for (int i = 0; i < p->n; i++) {
        ws_pair *r = &p->row[i];
        if (!(ws_counter_u64(seed, "pairs.mix", (uint64_t)i, 0) >> 63)) continue;
        SWAP(char *, r->pos, r->neg);
        SWAP(char *, r->sys_pos, r->sys_neg);
        SWAP(int, r->cut_pos, r->cut_neg);
        SWAP(int, r->tokens_pos, r->tokens_neg);
        SWAP(char *, r->reasoning[0], r->reasoning[1]);
        SWAP(char *, r->answer[0], r->answer[1]);
        SWAP(int, r->closed[0], r->closed[1]);
    }
#undef SWAP
}

ws_status ws_pairs_check(const ws_pairs *p, ws_err *err) {
    if (p->n == 0) return ws_fail(err, WS_EFORMAT, "%s: no rows", p->path);
    int same = 0, pos_same = 0, neg_same = 0;
    for (int i = 0; i < p->n; i++) {
        const ws_pair *r = &p->row[i];
        if (!r->pos[strspn(r->pos, " \t\r\n")]) return complain(p, i, "an empty positive answer", r->pos, err);
        if (!r->neg[strspn(r->neg, " \t\r\n")]) return complain(p, i, "an empty negative answer", r->neg, err);
        same += !strcmp(r->pos, r->neg);
        pos_same += !strcmp(r->pos, p->row[0].pos);
        neg_same += !strcmp(r->neg, p->row[0].neg);
    }
    if (same == p->n)
        return complain(p, 0, "both answers are the same in every pair: there is nothing to learn", p->row[0].pos, err);
    if (p->n < 2) return WS_OK; /* one row cannot show that a side always says the same */
    if (pos_same == p->n) return complain(p, 0, "all positive answers are the same", p->row[0].pos, err);
    if (neg_same == p->n) return complain(p, 0, "all negative answers are the same", p->row[0].neg, err);
    return WS_OK;
}
