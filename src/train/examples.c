/* src/train/examples.c - chat template, tokenizer, loss mask.
 * Prompt and conversation are tokenised apart and the mask goes by count, as the reference trainer does it.  With a think
 * block that is not the same as masking by characters (models.md trap 35): the prompt ends in <think> and "\n", an empty
 * block begins with <think> and "\n\n", so the count ends behind "\n\n" either way. */
#include "train/examples.h"
#include "base/hash.h"
#include "base/log.h"
#include <stdlib.h>
#include <string.h>

static ws_status encode(ws_ids *out, const ws_tokenizer *tok, const ws_chat *chat, const char *user,
                        const char *assistant, int generation_prompt, int continue_final, ws_str *text, ws_err *err) {
    ws_render r = {.generation_prompt = generation_prompt,
                   .thinking = -1,
                   .continue_final = continue_final,
                   .date = WS_CHAT_FIXED_DATE};
    ws_str_clear(text);
    ws_str_adds(text, "");
    ws_status st = ws_chat_render_plain(chat, NULL, user, assistant, &r, text, err);
    out->n = 0;
    if (!st) st = ws_tokenizer_encode(tok, text->p, text->n, 0, out, err);
    return st;
}

/* What a reader of the loss should know about a response with a think block: was it closed, does its answer lie within
 * max_len, did the template keep the reasoning.  `full` is the rendered conversation, n_full its tokens. */
static ws_status look(ws_examples *e, const ws_pair *p, ws_side side, const ws_tokenizer *tok, const ws_str *full,
                      int n_full, ws_err *err) {
    int s = side == WS_NEG;
    if (!p->answer[s]) return WS_OK;
    e->n_think++;
    if (!p->closed[s]) {
        e->n_unclosed++;
        return WS_OK;
    }
    const char *r = p->reasoning[s];
    size_t n = strlen(r);
    while (n && strchr(" \t\r\n", *r)) r++, n--; /* templates trim it */
    while (n && strchr(" \t\r\n", r[n - 1])) n--;
    e->n_dropped += n && !memmem(full->p, full->n, r, n);
    if (n_full <= e->max_len) return WS_OK;
    const char *end = NULL; /* behind the last </think> of the conversation */
    for (const char *at = full->p; (at = strstr(at, WS_THINK_END)); at += strlen(WS_THINK_END))
        end = at + strlen(WS_THINK_END);
    if (!end) return WS_OK;
    ws_ids head = {0};
    ws_status st = ws_tokenizer_encode(tok, full->p, (size_t)(end - full->p), 0, &head, err);
    e->n_unspoken += head.n >= e->max_len;
    ws_ids_free(&head);
    return st;
}

static void finish(ws_examples *e) {
    ws_hash *h = ws_hash_new();
    for (int i = 0; i < e->n; i++) {
        const ws_example *x = &e->row[i];
        e->tokens += x->n;
        e->supervised += x->n - x->first;
        e->n_empty += x->first == x->n;
        if (x->n > e->longest) e->longest = x->n;
        int32_t head[2] = {x->n, x->first};
        ws_hash_add(h, head, sizeof head);
        ws_hash_add(h, x->ids, (size_t)x->n * sizeof *x->ids);
    }
    ws_hash_done(h, e->hash);
}

ws_status ws_examples_build(ws_examples **out, const ws_pairs *pairs, ws_side side, const ws_tokenizer *tok,
                            const ws_chat *chat, int max_len, int keep_end, ws_err *err) {
    ws_examples *e = ws_xcalloc(1, sizeof *e);
    ws_ids prompt = {0}, full = {0};
    ws_str text = {0};
    WS_ASSERT(max_len > 0);
    e->side = side, e->max_len = max_len, e->keep_end = keep_end;
    e->pairs_path = ws_xstrdup(pairs->path ? pairs->path : "");
    memcpy(e->pairs_hash, pairs->hash, sizeof e->pairs_hash);
    e->row = ws_xcalloc((size_t)pairs->n, sizeof *e->row);
    *out = NULL;
    for (int i = 0; i < pairs->n; i++) {
        const ws_pair *p = &pairs->row[i];
        const char *answer = side == WS_POS ? p->pos : p->neg;
        int cut = (side == WS_POS ? p->cut_pos : p->cut_neg) && !keep_end;
        if (encode(&prompt, tok, chat, p->prompt, NULL, 1, 0, &text, err) ||
            encode(&full, tok, chat, p->prompt, answer, 0, cut ? WS_CONTINUE_END : 0, &text, err) ||
            look(e, p, side, tok, &text, full.n, err)) {
            ws_fail_prefix(err, "%s, row %d", e->pairs_path, i + 1);
            goto cleanup;
        }
        if (!full.n) {
            ws_fail(err, WS_EFORMAT, "%s, row %d: the chat template renders to no token", e->pairs_path, i + 1);
            goto cleanup;
        }
        e->n_cut += cut;
        e->n_truncated += full.n > max_len;
        int n = full.n < max_len ? full.n : max_len, first = prompt.n < n ? prompt.n : n;
        if (first < 1) first = 1; /* nothing predicts the first token */
        e->row[e->n++] = (ws_example){ws_xmalloc((size_t)n * sizeof(int32_t)), n, first};
        memcpy(e->row[i].ids, full.id, (size_t)n * sizeof(int32_t));
    }
    finish(e);
    *out = e, e = NULL;
cleanup:
    ws_ids_free(&prompt), ws_ids_free(&full);
    ws_str_free(&text);
    ws_examples_free(e);
    return *out ? WS_OK : err->code;
}

ws_examples *ws_examples_from_ids(const ws_example *row, int n, ws_side side, const char *name) {
    ws_examples *e = ws_xcalloc(1, sizeof *e);
    e->side = side, e->n = n;
    e->pairs_path = ws_xstrdup(name);
    e->row = ws_xcalloc((size_t)n, sizeof *e->row);
    for (int i = 0; i < n; i++) {
        WS_ASSERT(row[i].n > 0 && row[i].first >= 1 && row[i].first <= row[i].n);
        e->row[i] = row[i];
        e->row[i].ids = ws_xmalloc((size_t)row[i].n * sizeof(int32_t));
        memcpy(e->row[i].ids, row[i].ids, (size_t)row[i].n * sizeof(int32_t));
    }
    finish(e);
    memcpy(e->pairs_hash, e->hash, sizeof e->hash);
    e->max_len = e->longest;
    return e;
}

void ws_examples_free(ws_examples *e) {
    if (!e) return;
    for (int i = 0; i < e->n; i++) free(e->row[i].ids);
    free(e->row), free(e->pairs_path);
    free(e);
}
