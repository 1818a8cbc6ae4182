#include "text/think.h"
#include <stdlib.h>
#include <string.h>

/* A word that no template treats specially: what stands behind it is the template's own. */
static const char probe[] = "WSQUESTIONSTANDSHERE";

static const char *last_of(const char *text, const char *word) {
    const char *last = NULL;
    for (const char *p = text; (p = strstr(p, word)); p++) last = p;
    return last;
}

static ws_status form(ws_think_form *out, const ws_chat *c, int thinking, ws_err *err) {
    const ws_render r = {.generation_prompt = 1, .thinking = thinking, .date = WS_CHAT_FIXED_DATE};
    ws_str text = {0};
    *out = WS_THINK_NONE;
    if (!ws_chat_has(c, WS_THINK_BEGIN) && !ws_chat_has(c, WS_THINK_END)) return WS_OK;
    ws_status st = ws_chat_render_plain(c, NULL, probe, NULL, &r, &text, err);
    if (!st) {
        const char *tail = last_of(text.p, probe);
        if (!tail) tail = text.p;
        const char *begin = last_of(tail, WS_THINK_BEGIN), *end = last_of(tail, WS_THINK_END);
        *out = !begin && !end ? WS_THINK_FREE : begin && (!end || end < begin) ? WS_THINK_OPEN : WS_THINK_CLOSED;
    }
    ws_str_free(&text);
    return st;
}

ws_status ws_think_form_of(ws_think_form *out, const ws_chat *c, int thinking, ws_err *err) {
    int has_switch = ws_chat_has(c, "enable_thinking");
    if (form(out, c, thinking, err)) return err ? err->code : WS_EFORMAT;
    if (thinking > 0 && *out == WS_THINK_NONE)
        return ws_fail(err, WS_EUSAGE, "--thinking on: this model's chat template has no think block (no <think>)");
    if (thinking > 0 && !has_switch && *out != WS_THINK_OPEN)
        return ws_fail(err, WS_EUSAGE,
                       "--thinking on: this model's chat template has no enable_thinking and opens no think block");
    if (thinking == 0 && *out == WS_THINK_OPEN)
        return ws_fail(err, WS_EUSAGE,
                       "--thinking off: this model's chat template opens a think block in every prompt");
    return WS_OK;
}

int ws_think_expected(ws_think_form f, const ws_chat *c, int thinking) {
    return f == WS_THINK_OPEN || (f == WS_THINK_FREE && thinking != 0 && ws_chat_has(c, "enable_thinking"));
}

const char *ws_think_say(ws_think_form f) {
    switch (f) {
    case WS_THINK_CLOSED: return "prompts end behind an empty think block: a response is an answer";
    case WS_THINK_FREE: return "the model may open a think block by itself: a response may begin with reasoning";
    case WS_THINK_OPEN: return "prompts open a think block: a response is reasoning, </think> and an answer";
    case WS_THINK_NONE: break;
    }
    return "";
}

static void strip(const char **p, size_t *n, int right) {
    while (*n && **p == '\n') ++*p, --*n;
    while (right && *n && (*p)[*n - 1] == '\n') --*n;
}

static const char *find(const char *text, size_t n, const char *word, int last) {
    const char *at = NULL;
    for (const char *p = text; (p = memmem(p, n - (size_t)(p - text), word, strlen(word))); p++) {
        at = p;
        if (!last) break;
    }
    return at;
}

void ws_think_split(const char *text, size_t n, ws_think_form f, ws_think_parts *out) {
    const char *first = find(text, n, WS_THINK_END, 0), *last = find(text, n, WS_THINK_END, 1),
               *begin = find(text, first ? (size_t)(first - text) : n, WS_THINK_BEGIN, 1);
    *out = (ws_think_parts){text, text, 0, n, 1};
    if (f == WS_THINK_NONE || (!first && !begin && f != WS_THINK_OPEN)) return;
    out->reasoning = begin ? begin + strlen(WS_THINK_BEGIN) : text;
    out->n_reasoning = (size_t)((first ? first : text + n) - out->reasoning);
    strip(&out->reasoning, &out->n_reasoning, 1);
    out->closed = first != NULL;
    out->answer = first ? last + strlen(WS_THINK_END) : text + n;
    out->n_answer = (size_t)(text + n - out->answer);
    strip(&out->answer, &out->n_answer, 0);
}

ws_status ws_think_decode(const ws_tokenizer *t, const int32_t *ids, int n, ws_str *out, ws_err *err) {
    int32_t keep[2] = {ws_tokenizer_id(t, WS_THINK_BEGIN), ws_tokenizer_id(t, WS_THINK_END)};
    ws_ids kept = {0};
    for (int i = 0; i < n; i++)
        if (!ws_tokenizer_is_special(t, ids[i]) || ids[i] == keep[0] || ids[i] == keep[1]) ws_ids_add(&kept, ids[i]);
    ws_status st = ws_tokenizer_decode(t, kept.id, kept.n, 0, out, err);
    ws_ids_free(&kept);
    return st;
}
