#include "eval/words.h"
#include "text/utf8.h"
#include <string.h>
#include <strings.h>

void ws_words_free(ws_words *w) { ws_ids_free(&w->yes), ws_ids_free(&w->no); }

/* Python's str.strip() */
static void strip(const char **b, const char **e) {
    uint32_t cp;
    int n;
    while ((n = ws_utf8_next(*b, (size_t)(*e - *b), &cp)) && ws_is_py_space(cp)) *b += n;
    for (int again = 1; again;) {
        again = 0;
        for (int k = 1; k <= 3 && *e - *b >= k && !again; k++)
            if (ws_utf8_next(*e - k, (size_t)k, &cp) == k && ws_is_py_space(cp)) *e -= k, again = 1;
    }
}

/* 1: an answer "true", 0: "false", -1: neither; the rule of pipeline.md 6, mode A. */
static int reading(const char *text, size_t n) {
    const char *b = text, *e = text + n;
    strip(&b, &e);
    while (b < e && strchr("\"*#", *b) && *b) b++;
    while (b < e && e[-1] == '"') e--;
    strip(&b, &e);
    size_t k = (size_t)(e - b);
    if ((k == 4 && !strncasecmp(b, "true", 4)) || (k == 1 && *b == '1')) return 1;
    if ((k == 5 && !strncasecmp(b, "false", 5)) || (k == 1 && *b == '0')) return 0;
    return -1;
}

ws_status ws_words_direct(ws_words *w, const ws_tokenizer *t, int64_t vocab, ws_err *err) {
    int n = ws_tokenizer_base_size(t);
    ws_str text = {0};
    for (int32_t id = 0; id < n && id < vocab; id++) {
        ws_err skip = {0};
        ws_str_clear(&text);
        if (ws_tokenizer_decode(t, &id, 1, 0, &text, &skip)) continue; /* an id that stands for no token */
        int r = text.n ? reading(text.p, text.n) : -1;
        if (r >= 0) ws_ids_add(r ? &w->yes : &w->no, id);
    }
    ws_str_free(&text);
    if (w->yes.n && w->no.n) return WS_OK;
    return ws_fail(err, WS_EUNSUPPORTED,
                   "this tokenizer has no single token that reads as \"%s\", so the vignettes cannot be scored",
                   w->yes.n ? "false" : "true");
}

static int has(const ws_ids *v, int32_t id) {
    for (int i = 0; i < v->n; i++)
        if (v->id[i] == id) return 1;
    return 0;
}

ws_status ws_words_after_thought(ws_words *w, const ws_tokenizer *t, ws_err *err) {
    static const char *const spelling[2][7] = {{"true", " true", "\ntrue", "True", " True", "\nTrue", "1"},
                                               {"false", " false", "\nfalse", "False", " False", "\nFalse", "0"}};
    ws_ids one = {0};
    ws_status st = WS_OK;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 7 && !st; i++) {
            ws_ids *to = k ? &w->no : &w->yes;
            one.n = 0;
            st = ws_tokenizer_encode(t, spelling[k][i], strlen(spelling[k][i]), 0, &one, err);
            if (st || !one.n) continue;
            int32_t last = one.id[one.n - 1];
            if (!has(to, last)) ws_ids_add(to, last);
            if (k && has(&w->yes, last))
                st = ws_fail(err, WS_EUNSUPPORTED,
                             "in this tokenizer \"%s\" ends in the same token as an answer \"true\", so answers after "
                             "a thought cannot be told apart; evaluate without --max-think",
                             spelling[k][i]);
        }
    ws_ids_free(&one);
    if (!st && (!w->yes.n || !w->no.n))
        st = ws_fail(err, WS_EUNSUPPORTED, "this tokenizer has no token for \"%s\", so the vignettes cannot be scored",
                     w->yes.n ? "false" : "true");
    return st;
}
