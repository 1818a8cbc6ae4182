#include "eval/think.h"
#include "base/stats.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char open_tag[] = WS_THINK_BEGIN, close_tag[] = WS_THINK_END;

ws_status ws_think_check(const ws_chat *c, ws_err *err) {
    if (ws_chat_has(c, open_tag)) return WS_OK;
    return ws_fail(err, WS_EUSAGE,
                   "--max-think: the chat template of this model knows no %s tag, so there is no thought to guide; "
                   "leave the option out",
                   open_tag);
}

int32_t ws_think_stop(const ws_tokenizer *t, int *is_tag) {
    int32_t id = ws_tokenizer_id(t, close_tag);
    *is_tag = id >= 0;
    return id >= 0 ? id : ws_tokenizer_eos(t);
}

ws_status ws_think_prompt(const ws_chat *c, const char *system, const char *user, ws_str *out, ws_err *err) {
    ws_render r = {.thinking = 1, .date = WS_CHAT_FIXED_DATE};
    ws_str before = {0}, text = {0};
    ws_status st = ws_chat_render_plain(c, system, user, NULL, &r, &before, err);
    r.generation_prompt = 1;
    if (!st) st = ws_chat_render_plain(c, system, user, NULL, &r, &text, err);
    if (!st && (text.n < before.n || memcmp(text.p, before.p, before.n)))
        st = ws_fail(err, WS_EUNSUPPORTED,
                     "the chat template changes the messages when it opens the assistant's turn, so there is no place "
                     "for a thought");
    if (!st) { /* only what the generation prompt adds is looked at: a message may speak of the tag */
        size_t n = sizeof open_tag - 1, end = 0;
        for (size_t i = before.n; i + n <= text.n; i++)
            if (!memcmp(text.p + i, open_tag, n)) end = i + n;
        ws_str_add(out, text.p, end ? end : text.n);
        if (!end) ws_str_adds(out, open_tag);
        ws_str_addc(out, '\n');
    }
    ws_str_free(&before), ws_str_free(&text);
    return st;
}

void ws_thought_free(ws_thought *t) {
    ws_str_free(&t->text), ws_str_free(&t->rest);
    *t = (ws_thought){0};
}

double ws_think_loop(const int32_t *ids, int n) {
    double distinct = ws_distinct(ids, n, WS_LOOP_GRAM);
    return isnan(distinct) ? 0 : 1 - distinct;
}

ws_status ws_think_end(const ws_tokenizer *t, const char *prompt, const int32_t *ids, int n, int by_tag,
                       const char *closing, const char *prefill, ws_thought *out, ws_str *scored, ws_err *err) {
    const size_t tag = sizeof close_tag - 1, fill = strlen(prefill);
    ws_str said = {0};
    ws_thought_free(out);
    ws_str_clear(scored);
    out->tokens = n, out->loop = ws_think_loop(ids, n);
    if (ws_tokenizer_decode(t, ids, n, 1, &said, err)) {
        ws_str_free(&said);
        return err->code;
    }
    if (by_tag) ws_str_adds(&said, close_tag);
    const char *p = said.n ? said.p : "", *end = p + said.n, *at = memmem(p, said.n, close_tag, tag), *own = NULL;
    out->closed = at != NULL;
    ws_str_add(&out->text, p, (size_t)((at ? at : end) - p));
    if (at) ws_str_add(&out->rest, at + tag, (size_t)(end - at) - tag);
    if (at) own = memmem(at + tag, (size_t)(end - at) - tag, prefill, fill);
    out->prefilled = own != NULL;
    ws_str_adds(scored, prompt);
    ws_str_add(scored, p, own ? (size_t)(own - p) + fill : said.n);
    if (!at) ws_str_adds(scored, closing), ws_str_adds(scored, close_tag);
    if (!own) ws_str_adds(scored, prefill);
    ws_str_free(&said);
    return WS_OK;
}
