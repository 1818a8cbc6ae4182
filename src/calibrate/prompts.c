#include "calibrate/prompts.h"
#include "base/rng.h"
#include "io/json.h"
#include "steer/suffixes.h"
#include <stdlib.h>
#include <string.h>

/* [system (NULL: none), user] as the template leaves it to the assistant, or with its turn open. */
static ws_status render(const ws_chat *c, const char *system, const char *user, int thinking, ws_str *out,
                        ws_err *err) {
    const ws_render r = {.thinking = -1, .generation_prompt = 1, .date = WS_CHAT_FIXED_DATE};
    return thinking == WS_CALIBRATE_AS_IS ? ws_chat_render_plain(c, system, user, NULL, &r, out, err)
                                          : ws_render_open(c, system, user, thinking, out, err);
}

/* The bytes that the template puts behind a question: a <think> before them is a word of the user's. */
static ws_status behind_question(const ws_chat *c, const char *system, int thinking, const ws_str *text, size_t *from,
                                 ws_err *err) {
    static const char probe[] = "WSQUESTIONSTANDSHERE";
    ws_str with_probe = {0};
    const char *tail = NULL;
    ws_status st = render(c, system, probe, thinking, &with_probe, err);
    if (!st)
        for (const char *p = with_probe.p; (p = strstr(p, probe));) tail = p += sizeof probe - 1;
    size_t n = tail ? strlen(tail) : 0;
    *from = tail && text->n >= n && !memcmp(text->p + text->n - n, tail, n) ? text->n - n : 0;
    ws_str_free(&with_probe);
    return st;
}

ws_status ws_calibration_ids(const ws_chat *c, const ws_tokenizer *t, const char *system, const char *user,
                             int thinking, ws_ids *out, int *inside, ws_err *err) {
    const int as_is = thinking == WS_CALIBRATE_AS_IS;
    ws_str text = {0};
    ws_status st = render(c, system, user, thinking, &text, err);
    const char *last = NULL;
    size_t from = 0;
    if (!st && thinking != 0) st = behind_question(c, system, thinking, &text, &from, err);
    if (!st && thinking != 0)
        for (const char *p = text.p + from; (p = strstr(p, WS_THINK_BEGIN));) last = p += strlen(WS_THINK_BEGIN);
    if (last && as_is && strstr(last, WS_THINK_END)) last = NULL;
    if (last && !as_is) {
        text.n = (size_t)(last - text.p);
        ws_str_addc(&text, '\n');
    }
    if (inside) *inside = last != NULL;
    if (!st) st = ws_tokenizer_encode(t, text.p, text.n, 0, out, err);
    ws_str_free(&text);
    return st;
}

typedef struct reader {
    ws_pool *p;
    int cap;
} reader;

static ws_status take(void *arg, json_t *v, long line, ws_err *err) {
    reader *r = arg;
    ws_pool *p = r->p;
    char *where = ws_json_where(p->path, line);
    const char *category, *text;
    ws_status st = json_is_object(v) ? WS_OK
                                     : ws_fail(err, WS_EFORMAT,
                                               "%s: a prompt is an object {\"category\": ..., \"text\": ...}", where);
    if (!st) st = ws_json_str(v, "category", &category, where, err);
    if (!st) st = ws_json_str(v, "text", &text, where, err);
    if (!st && (!*category || !*text))
        st = ws_fail(err, WS_EFORMAT, "%s: \"category\" and \"text\" must not be empty", where);
    free(where);
    if (st) return st;
    if (p->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        p->prompt = ws_xrealloc(p->prompt, (size_t)r->cap * sizeof *p->prompt);
    }
    p->prompt[p->n++] = (ws_pool_prompt){ws_xstrdup(category), ws_xstrdup(text), line};
    return WS_OK;
}

ws_status ws_pool_load(ws_pool *p, const char *path, ws_err *err) {
    *p = (ws_pool){.path = ws_xstrdup(path)};
    reader r = {p, 0};
    ws_status st = ws_jsonl_each(path, take, &r, err);
    if (!st && !p->n) st = ws_fail(err, WS_EFORMAT, "%s: no prompts in it", path);
    if (st) ws_pool_free(p);
    return st;
}

ws_status ws_pool_load_messages(ws_pool *p, const char *path, uint64_t seed, ws_err *err) {
    ws_suffixes s;
    *p = (ws_pool){.path = ws_xstrdup(path), .ordered = 1};
    if (ws_suffixes_load(&s, path, err)) {
        ws_pool_free(p);
        return err->code;
    }
    int64_t *order = ws_xmalloc((size_t)s.n * sizeof *order);
    json_t *seen = json_object();
    p->prompt = ws_xmalloc((size_t)s.n * sizeof *p->prompt);
    ws_python_shuffle(order, s.n, seed);
    for (int i = 0; i < s.n; i++) {
        const char *text = s.row[order[i]].user;
        if (json_object_get(seen, text)) continue;
        json_object_set_new(seen, text, json_true());
        p->prompt[p->n++] = (ws_pool_prompt){ws_xstrdup("suffix pool"), ws_xstrdup(text), (long)order[i] + 1};
    }
    json_decref(seen);
    free(order);
    ws_suffixes_free(&s);
    return WS_OK;
}

ws_status ws_pool_open(ws_pool *p, const char *path, int messages, uint64_t seed, ws_err *err) {
    return messages ? ws_pool_load_messages(p, path, seed, err) : ws_pool_load(p, path, err);
}

const char *ws_pool_own(int messages) { return messages ? "suffixes.jsonl" : "prompts.jsonl"; }

void ws_pool_free(ws_pool *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) free(p->prompt[i].category), free(p->prompt[i].text);
    free(p->prompt), free(p->path);
    *p = (ws_pool){0};
}

ws_status ws_pool_choose(const ws_pool *p, int n, uint64_t seed, int *pick, int *rest, ws_err *err) {
    static const char *const order[] = {"code", "dialogue", "encyclopedia", "reasoning", "ethics",
                                        "fact", "stories",  "general",      "email",     "tech"};
    enum { N_ORDER = sizeof order / sizeof *order };
    if (p->n < n) return ws_fail(err, WS_EUSAGE, "%s has %d prompts; --n %d needs at least as many", p->path, p->n, n);
    for (int i = 0; i < p->n && p->ordered; i++) *(i < n ? &pick[i] : &rest[i - n]) = i;
    if (p->ordered) return WS_OK;
    const char **name = ws_xmalloc((size_t)(N_ORDER + p->n) * sizeof *name);
    int n_names = 0, *of = ws_xmalloc((size_t)p->n * sizeof *of);
    for (; n_names < N_ORDER; n_names++) name[n_names] = order[n_names];
    for (int i = 0; i < p->n; i++) {
        for (of[i] = 0; of[i] < n_names && strcmp(name[of[i]], p->prompt[i].category);) of[i]++;
        if (of[i] == n_names) name[n_names++] = p->prompt[i].category;
    }
    /* each category's prompts in shuffled order, one category after the other */
    int *queue = ws_xmalloc((size_t)p->n * sizeof *queue), *begin = ws_xmalloc((size_t)(n_names + 1) * sizeof *begin);
    int64_t *perm = ws_xmalloc((size_t)p->n * sizeof *perm);
    int at = 0;
    for (int c = 0; c < n_names; c++) {
        int first = begin[c] = at;
        for (int i = 0; i < p->n; i++)
            if (of[i] == c) queue[at++] = i;
        char *stream = ws_sprintf("calibrate.prompts.%s", name[c]);
        ws_counter_permutation(perm, at - first, seed, stream);
        free(stream);
        int *copy = ws_xmalloc((size_t)(at - first + 1) * sizeof *copy);
        memcpy(copy, queue + first, (size_t)(at - first) * sizeof *copy);
        for (int i = first; i < at; i++) queue[i] = copy[perm[i - first]];
        free(copy);
    }
    begin[n_names] = at;
    char *used = ws_xcalloc((size_t)p->n, 1);
    for (int round = 0, k = 0; k < n; round++)
        for (int c = 0; c < n_names && k < n; c++)
            if (begin[c] + round < begin[c + 1]) used[pick[k++] = queue[begin[c] + round]] = 1;
    int n_rest = 0;
    for (int i = 0; i < p->n; i++)
        if (!used[i]) queue[n_rest++] = i;
    ws_counter_permutation(perm, n_rest, seed, "calibrate.audit");
    for (int i = 0; i < n_rest; i++) rest[i] = queue[perm[i]];
    free(name), free(of), free(queue), free(begin), free(perm), free(used);
    return WS_OK;
}
