/* src/text/chat.c - finds a model's chat template and renders messages with it, as transformers' apply_chat_template
 * does. */
#include "text/chat.h"
#include "io/json.h"
#include "text/jinja.h"
#include "text/utf8.h"
#include <stdlib.h>
#include <string.h>

struct ws_chat {
    ws_jinja *jinja, *with_tools; /* with_tools: a template named tool_use, NULL: none */
    char *text, *bos, *eos;
    int folds;
};

static int has_system(const ws_chat *c);

/* ---------- finding the template ---------- */

ws_status ws_chat_from_text(ws_chat **out, const char *text, const char *name, const char *bos, const char *eos,
                            ws_err *err) {
    ws_jinja *j;
    ws_status st = ws_jinja_new(&j, text, strlen(text), name, err);
    if (st) return st;
    ws_chat *c = ws_xcalloc(1, sizeof *c);
    c->jinja = j;
    c->text = ws_xstrdup(text);
    c->bos = ws_xstrdup(bos ? bos : "");
    c->eos = ws_xstrdup(eos ? eos : "");
    c->folds = !has_system(c);
    *out = c;
    return WS_OK;
}

void ws_chat_free(ws_chat *c) {
    if (!c) return;
    ws_jinja_free(c->jinja);
    ws_jinja_free(c->with_tools);
    free(c->text);
    free(c->bos);
    free(c->eos);
    free(c);
}

static ws_status from_file(ws_chat **out, const char *path, const ws_tokenizer *t, ws_err *err) {
    ws_str s = {0};
    ws_status st = ws_file_read(path, &s, err);
    if (!st && s.n && memchr(s.p, 0, s.n))
        st = ws_fail(err, WS_EFORMAT, "%s: a chat template contains no NUL bytes", path);
    if (!st) st = ws_chat_from_text(out, s.p ? s.p : "", path, ws_tokenizer_bos_text(t), ws_tokenizer_eos_text(t), err);
    ws_str_free(&s);
    return st;
}

/* tokenizer_config.json's list of {"name", "template"}. */
static const char *named(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        const char *n = json_string_value(json_object_get(o, "name"));
        if (n && !strcmp(n, name)) return json_string_value(json_object_get(o, "template"));
    }
    return NULL;
}

ws_status ws_chat_open(ws_chat **out, const ws_checkpoint *c, const ws_tokenizer *t, const char *template_file,
                       ws_err *err) {
    const char *bos = ws_tokenizer_bos_text(t), *eos = ws_tokenizer_eos_text(t), *text = NULL, *tools = NULL;
    if (template_file) return from_file(out, template_file, t, err);
    if (ws_checkpoint_gguf(c))
        text = ws_gguf_str(ws_checkpoint_gguf(c), "tokenizer.chat_template", NULL);
    else {
        char *path = ws_checkpoint_file(c, "chat_template.jinja");
        if (path) {
            ws_status st = from_file(out, path, t, err);
            free(path);
            return st;
        }
        const json_t *v = json_object_get(ws_checkpoint_tokenizer_config(c), "chat_template");
        text = json_is_string(v) ? json_string_value(v) : named(v, "default");
        tools = named(v, "tool_use");
    }
    if (!text)
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "%s has no chat template, so messages cannot be written down as it expects; give --template FILE",
            ws_checkpoint_path(c));
    ws_status st = ws_chat_from_text(out, text, ws_checkpoint_name(c), bos, eos, err);
    if (!st && tools && (st = ws_jinja_new(&(*out)->with_tools, tools, strlen(tools), "tool_use", err))) {
        ws_chat_free(*out);
        *out = NULL;
    }
    return st;
}

const char *ws_chat_template(const ws_chat *c) { return c->text; }
int ws_chat_has(const ws_chat *c, const char *word) { return strstr(c->text, word) != NULL; }

/* ---------- rendering ---------- */

#define MARKER                                                                                                         \
    "CONTINUE_FINAL_MESSAGE_TAG " /* as in transformers; its trailing space shows whether the template trims */

/* A copy of the messages as templates see them: reasoning under its standard name (and as `thinking`). */
static ws_status prepare(const json_t *messages, json_t **out, ws_err *err) {
    if (!json_is_array(messages))
        return ws_fail(err, WS_EFORMAT, "the messages are not an array of {\"role\", \"content\"}");
    *out = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
        json_t *reasoning = NULL, *copy = json_object();
        if (!json_is_object(m)) {
            json_decref(copy);
            json_decref(*out);
            *out = NULL;
            return ws_fail(err, WS_EFORMAT, "message %zu is not an object {\"role\", \"content\"}", i);
        }
        for (int k = 0; k < 3 && !reasoning; k++) {
            json_t *v = json_object_get(m, names[k]);
            if (v && !json_is_null(v)) reasoning = v;
        }
        if (reasoning) json_object_set(copy, "thinking", reasoning);
        json_object_update(copy, (json_t *)(uintptr_t)m);
        if (reasoning) json_object_set(copy, "reasoning_content", reasoning);
        json_array_append_new(*out, copy);
    }
    return WS_OK;
}

static json_t *marked(const json_t *text) {
    ws_str s = {0};
    ws_str_add(&s, json_string_value(text), json_string_length(text));
    ws_str_adds(&s, MARKER);
    json_t *j = json_stringn(s.p, s.n);
    ws_str_free(&s);
    return j;
}

/* Puts the marker behind the last message's content, or behind its last text block; *final = that text. */
static ws_status mark(json_t *messages, const char **final, ws_err *err) {
    size_t n = json_array_size(messages);
    if (!n) return ws_fail(err, WS_EUSAGE, "there is no final message to continue");
    json_t *last = json_array_get(messages, n - 1), *content = json_object_get(last, "content");
    if (json_is_string(content)) {
        *final = json_string_value(content);
        json_t *fresh = marked(content);
        json_incref(content); /* *final must outlive the change; the source messages hold it too */
        json_object_set_new(last, "content", fresh);
        json_decref(content);
        return WS_OK;
    }
    for (size_t i = json_array_size(content); i-- > 0;) {
        const json_t *block = json_array_get(content, i), *text = json_object_get(block, "text");
        if (!json_is_string(text)) continue;
        *final = json_string_value(text);
        json_t *blocks = json_copy(content),
               *changed = json_copy((json_t *)(uintptr_t)block); /* shallow: the source stays as it is */
        json_object_set_new(changed, "text", marked(text));
        json_array_set_new(blocks, i, changed);
        json_object_set_new(last, "content", blocks);
        return WS_OK;
    }
    return ws_fail(err, WS_EUSAGE, "the final message has no text to continue");
}

static void strip(const char **p, size_t *n, int left) {
    uint32_t cp;
    int k;
    while (left && (k = ws_utf8_next(*p, *n, &cp)) && ws_is_py_space(cp)) *p += k, *n -= (size_t)k;
    while (*n) {
        size_t i = *n - 1;
        while (i && ((unsigned char)(*p)[i] & 0xC0) == 0x80) i--;
        if (!ws_utf8_next(*p + i, *n - i, &cp) || !ws_is_py_space(cp)) break;
        *n = i;
    }
}

/* Cuts at the last marker; if the template trimmed the marker's space, it trimmed the content's too. */
static ws_status cut(ws_str *s, size_t from, const char *final, int end_only, ws_err *err) {
    const size_t m = strlen(MARKER);
    size_t n = strlen(final), at = s->n;
    const char *p = final;
    int found = 0;
    strip(&p, &n, 1);
    while (!found && at > from) {
        at--;
        found = s->n - at >= m - 1 && !memcmp(s->p + at, MARKER, m - 1);
    }
    if (!found || (!end_only && n && !memmem(s->p + from, s->n - from, p, n)))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "the final message cannot be continued: the chat template removes or changes its content");
    int kept = s->n - at >= m && s->p[at + m - 1] == ' ';
    p = s->p + from, n = at - from;
    if (!kept) strip(&p, &n, 0);
    s->n = from + n;
    s->p[s->n] = 0;
    return WS_OK;
}

ws_status ws_chat_render(const ws_chat *c, const json_t *messages, const ws_render *r, ws_str *out, ws_err *err) {
    static const ws_render none = {.thinking = -1};
    json_t *list = NULL, *vars = NULL;
    const char *final = NULL;
    size_t from = out->n;
    if (!r) r = &none;
    if (r->continue_final && r->generation_prompt)
        return ws_fail(err, WS_EUSAGE, "a generation prompt and continuing the final message exclude each other");
    if (r->continue_final && !strstr(c->text, "content"))
        return ws_fail(err, WS_EUNSUPPORTED, "the chat template does not read the content of messages");
    ws_status st = prepare(messages, &list, err);
    if (!st && r->continue_final) st = mark(list, &final, err);
    if (st) goto out;
    vars = json_object();
    if (*c->bos) json_object_set_new(vars, "bos_token", json_string(c->bos));
    if (*c->eos) json_object_set_new(vars, "eos_token", json_string(c->eos));
    if (r->extra) json_object_update(vars, (json_t *)(uintptr_t)r->extra);
    if (r->thinking >= 0) json_object_set_new(vars, "enable_thinking", json_boolean(r->thinking));
    json_object_set(vars, "messages", list);
    if (r->tools)
        json_object_set(vars, "tools", (json_t *)(uintptr_t)r->tools);
    else
        json_object_set_new(vars, "tools", json_null());
    if (!json_object_get(vars, "documents")) json_object_set_new(vars, "documents", json_null());
    json_object_set_new(vars, "add_generation_prompt", json_boolean(r->generation_prompt));
    st = ws_jinja_render(r->tools && c->with_tools ? c->with_tools : c->jinja, vars, r->date, out, err);
    if (!st && r->continue_final) st = cut(out, from, final, r->continue_final == WS_CONTINUE_END, err);
out:
    if (st && out->p) out->p[out->n = from] = 0; /* nothing half written */
    json_decref(vars);
    json_decref(list);
    return st;
}

ws_status ws_chat_render_plain(const ws_chat *c, const char *system, const char *user, const char *assistant,
                               const ws_render *r, ws_str *out, ws_err *err) {
    char *folded = system && user && c->folds ? ws_sprintf("%s\n\n%s", system, user) : NULL;
    const char *role[] = {"system", "user", "assistant"}, *text[] = {system, user, assistant};
    json_t *messages = json_array();
    ws_status st = WS_OK;
    if (folded) text[0] = NULL, text[1] = folded;
    for (int i = 0; i < 3 && !st; i++) {
        if (!text[i]) continue;
        json_t *m = json_pack("{s:s, s:s}", "role", role[i], "content", text[i]);
        if (!m)
            st = ws_fail(err, WS_EFORMAT, "the %s message is not UTF-8", role[i]);
        else
            json_array_append_new(messages, m);
    }
    if (!st) st = ws_chat_render(c, messages, r, out, err);
    json_decref(messages);
    free(folded);
    return st;
}

int ws_chat_folds(const ws_chat *c) { return c->folds; }

static int has_system(const ws_chat *c) {
    static const char probe[] = "WSSYSTEMSTANDSHERE";
    const ws_render r = {.thinking = -1, .generation_prompt = 1, .date = WS_CHAT_FIXED_DATE};
    ws_str text = {0};
    ws_err err = {0};
    int has = !ws_chat_render_plain(c, probe, "Hello", NULL, &r, &text, &err) && text.n && strstr(text.p, probe);
    ws_str_free(&text);
    return has;
}

/* A word that no template treats specially: it stands where the answer begins and is cut off again. */
static const char marker[] = "WSANSWERBEGINSHERE";

void ws_chat_fold(ws_chat *c, int always) { c->folds = always || !has_system(c); }

ws_status ws_render_open(const ws_chat *c, const char *system, const char *user, int thinking, ws_str *out,
                         ws_err *err) {
    const ws_render r = {.thinking = thinking, .continue_final = 1, .date = WS_CHAT_FIXED_DATE};
    ws_str text = {0};
    ws_status st = ws_chat_render_plain(c, system, user, marker, &r, &text, err);
    size_t m = sizeof marker - 1;
    if (!st && (text.n < m || memcmp(text.p + text.n - m, marker, m)))
        st = ws_fail(err, WS_EUNSUPPORTED,
                     "the chat template does not render an assistant message that can be continued");
    if (!st) ws_str_add(out, text.p, text.n - m);
    ws_str_free(&text);
    return st;
}
