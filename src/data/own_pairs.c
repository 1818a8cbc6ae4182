#include "data/own_pairs.h"
#include "base/rng.h"
#include "data/vocab.h"
#include <stdlib.h>
#include <string.h>

static int blank(const char *s) { return !s[strspn(s, " \t\r\n")]; }

static ws_status bad(const ws_pairs *p, int row, const char *what, ws_err *err) {
    char *where = ws_json_where(p->path, p->row[row].line);
    ws_fail(err, WS_EFORMAT, "%s: %s", where, what);
    free(where);
    return WS_EFORMAT;
}

static ws_status check(const ws_pairs *p, ws_err *err) {
    int same = 0, first = 0;
    for (int i = 0; i < p->n; i++) {
        const ws_pair *r = &p->row[i];
        if (blank(r->prompt)) return bad(p, i, "the prompt is white space alone", err);
        if (blank(r->pos)) return bad(p, i, "the positive answer is white space alone", err);
        if (blank(r->neg)) return bad(p, i, "the negative answer is white space alone", err);
        if (strcmp(r->pos, r->neg)) continue;
        if (!same++) first = i;
    }
    if (same) {
        char *where = ws_json_where(p->path, p->row[first].line);
        ws_fail(
            err, WS_EFORMAT,
            "%s: both answers are the same, here and in %d of %d rows in all; such a row teaches nothing: take them "
            "out or correct them",
            where, same, p->n);
        free(where);
        return WS_EFORMAT;
    }
    if (p->n < WS_OWN_LEAST)
        return ws_fail(err, WS_EFORMAT, "%s has %d pair%s; at least %d are needed, and some hundreds are better",
                       p->path, p->n, p->n == 1 ? "" : "s", WS_OWN_LEAST);
    return ws_pairs_check(p, err);
}

/* Number of each row's prompt, from 0 in order of appearance. */
static int number_prompts(const ws_pairs *p, int *prompt) {
    ws_vocab v = {0};
    for (int i = 0; i < p->n; i++) prompt[i] = ws_vocab_add(&v, p->row[i].prompt);
    int n = v.n;
    ws_vocab_free(&v);
    return n;
}

/* aside[k] 1: prompt k is set aside. */
static void draw(const ws_pairs *p, const int *prompt, int n_prompts, int held, uint64_t seed, char *aside) {
    int64_t *order = ws_xmalloc((size_t)n_prompts * sizeof *order + 1);
    int *rows = ws_xcalloc((size_t)n_prompts + 1, sizeof *rows);
    for (int i = 0; i < p->n; i++) rows[prompt[i]]++;
    ws_counter_permutation(order, n_prompts, seed, "pairs.heldout");
    for (int k = 0, got = 0; k + 1 < n_prompts && got < held; k++) aside[order[k]] = 1, got += rows[order[k]];
    free(rows);
    free(order);
}

ws_status ws_own_pairs_load(ws_pairs **learn, ws_pairs **aside, const char *path, int held, uint64_t seed,
                            ws_err *err) {
    ws_pairs *p, *h = NULL;
    *learn = *aside = NULL;
    if (ws_pairs_load(&p, path, err)) return err->code;
    int *prompt = ws_xmalloc((size_t)p->n * sizeof *prompt), n = 0, numbered = 1, kept = 0;
    ws_status st = check(p, err);
    if (!st && (n = number_prompts(p, prompt)) < 2)
        st = ws_fail(err, WS_EFORMAT, "%s: all pairs answer the same prompt; at least two are needed", path);
    if (st) {
        free(prompt);
        ws_pairs_free(p);
        return st;
    }
    for (int i = 0; i < p->n; i++) numbered &= p->row[i].topic >= 0;
    for (int i = 0; i < p->n && !numbered; i++) p->row[i].topic = prompt[i];
    if (held < 0) held = p->n / 10 > WS_OWN_HELD ? WS_OWN_HELD : (p->n + 9) / 10;
    if (held) {
        char *chosen = ws_xcalloc((size_t)n, 1);
        draw(p, prompt, n, held, seed, chosen);
        h = ws_xcalloc(1, sizeof *h);
        h->path = ws_xstrdup(path), h->row = ws_xcalloc((size_t)p->n, sizeof *h->row);
        memcpy(h->hash, p->hash, sizeof h->hash);
        for (int i = 0; i < p->n; i++)
            if (chosen[prompt[i]])
                h->row[h->n++] = p->row[i];
            else
                p->row[kept++] = p->row[i];
        p->n = kept;
        free(chosen);
    }
    free(prompt);
    *learn = p, *aside = h;
    return WS_OK;
}
