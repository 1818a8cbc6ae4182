/* src/text/pretok.c - see pretok.h. */
#include "text/pretok.h"
#include "text/onig.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The split of ByteLevel(use_regex), which GPT-2 published (models.md 9.2). */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* Qwen2 to Qwen3, Qwen3.5 and Llama-3 differ in their letters and in how many digits stand together. */
#define TIKTOKEN(letters, digits)                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[" letters "]+|" digits " ?[^\\s" letters "\\p{N}]+[\\r\\n]*"  \
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static ws_status add(ws_pretok *p, const char *onig, ws_pretok_kind kind, ws_err *err) {
    if (p->n_steps == WS_PRETOK_STEPS)
        return ws_fail(err, WS_EUNSUPPORTED, "the pre-tokenizer has more than %d steps", WS_PRETOK_STEPS);
    ws_regex *re = NULL;
    if (onig) {
        ws_str s = {0};
        ws_status st = ws_onig_to_pcre2(onig, &s, err);
        if (!st) st = ws_regex_new(&re, s.p, "", err);
        ws_str_free(&s);
        if (st) return st;
    }
    p->step[p->n_steps].re = re;
    p->step[p->n_steps++].kind = kind;
    return WS_OK;
}

/* ---------- tokenizer.json ---------- */

static const char *type_of(const json_t *o) {
    const char *t = json_string_value(json_object_get(o, "type"));
    return t ? t : "(no type)";
}
static int flag(const json_t *o, const char *key, int dflt) {
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : dflt;
}

static ws_status split(ws_pretok *p, const json_t *o, ws_err *err) {
    const json_t *pattern = json_object_get(o, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex")),
               *text = json_string_value(json_object_get(pattern, "String"));
    const char *behavior = json_string_value(json_object_get(o, "behavior"));
    int invert = flag(o, "invert", 0);
    if (!behavior || (!regex && !text))
        return ws_fail(err, WS_EFORMAT, "pre_tokenizer Split needs a pattern (Regex or String) and a behavior");
    ws_pretok_kind kind;
    if (!strcmp(behavior, "Isolated"))
        kind = WS_PRETOK_ISOLATED;
    else if (!strcmp(behavior, "Removed"))
        kind = invert ? WS_PRETOK_MATCHES : WS_PRETOK_REMOVED;
    else
        return ws_fail(err, WS_EUNSUPPORTED,
                       "pre_tokenizer Split with behavior '%.40s' is not supported; Isolated and Removed are",
                       behavior);
    ws_str s = {0};
    if (regex)
        ws_str_adds(&s, regex);
    else
        ws_onig_quote(text, &s);
    ws_status st = add(p, s.p, kind, err);
    ws_str_free(&s);
    return st;
}

static ws_status component(ws_pretok *p, const json_t *o, int depth, int *byte_level, ws_err *err) {
    const char *type = type_of(o);
    if (*byte_level) return ws_fail(err, WS_EUNSUPPORTED, "pre_tokenizer %.40s after ByteLevel is not supported", type);
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(o, "pretokenizers");
        if (!json_is_array(list) || depth > 4)
            return ws_fail(err, WS_EFORMAT, "pre_tokenizer Sequence without a list, or nested too deeply");
        for (size_t i = 0; i < json_array_size(list); i++)
            if (component(p, json_array_get(list, i), depth + 1, byte_level, err)) return err->code;
        return WS_OK;
    }
    if (!strcmp(type, "Split")) return split(p, o, err);
    if (!strcmp(type, "Digits"))
        return add(p, flag(o, "individual_digits", 0) ? "\\p{N}" : "\\p{N}+", WS_PRETOK_ISOLATED, err);
    if (!strcmp(type, "ByteLevel")) {
        *byte_level = 1;
        if (flag(o, "add_prefix_space", 1) && add(p, NULL, WS_PRETOK_PREFIX_SPACE, err)) return err->code;
        return flag(o, "use_regex", 1) ? add(p, GPT2, WS_PRETOK_ISOLATED, err) : WS_OK;
    }
    return ws_fail(err, WS_EUNSUPPORTED,
                   "pre_tokenizer %.40s is not supported; Sequence, Split, Digits and ByteLevel are", type);
}

static ws_status normalizer_from_json(ws_pretok *p, const json_t *o, int depth, ws_err *err) {
    if (!o || json_is_null(o)) return WS_OK;
    const char *type = type_of(o);
    if (!strcmp(type, "NFC")) return p->nfc = 1, WS_OK;
    if (!strcmp(type, "Sequence") && depth < 4) {
        const json_t *list = json_object_get(o, "normalizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            if (normalizer_from_json(p, json_array_get(list, i), depth + 1, err)) return err->code;
        return WS_OK;
    }
    return ws_fail(err, WS_EUNSUPPORTED, "normalizer %.40s is not supported; NFC and none are", type);
}

ws_status ws_pretok_from_json(ws_pretok *p, const json_t *normalizer, const json_t *pre, ws_err *err) {
    int byte_level = 0;
    ws_err local; /* the helpers pass err->code on */
    if (!err) err = &local;
    memset(p, 0, sizeof *p);
    ws_status st = normalizer_from_json(p, normalizer, 0, err);
    if (!st && (!pre || json_is_null(pre)))
        st = ws_fail(err, WS_EUNSUPPORTED,
                     "there is no pre_tokenizer; only byte-level BPE is supported, which ends in ByteLevel");
    if (!st) st = component(p, pre, 0, &byte_level, err);
    if (!st && !byte_level)
        st = ws_fail(err, WS_EUNSUPPORTED, "the pre_tokenizer %.40s has no ByteLevel; only byte-level BPE is supported",
                     type_of(pre));
    if (st) ws_pretok_free(p);
    return st;
}

/* ---------- GGUF ---------- */

ws_status ws_pretok_from_name(ws_pretok *p, const char *name, int *ignore_merges, int *add_bos, ws_err *err) {
    enum { SMOLLM, GPT_2, LLAMA3, QWEN2, QWEN35 };
    static const struct {
        const char *name;
        int kind;
    } known[] = {{"smollm", SMOLLM},    {"gpt-2", GPT_2},   {"gpt2", GPT_2},
                 {"llama-bpe", LLAMA3}, {"llama3", LLAMA3}, {"llama-v3", LLAMA3},
                 {"qwen2", QWEN2},      {"qwen35", QWEN35}, {"deepseek-r1-qwen", QWEN2}};
    int kind = -1;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) kind = known[i].kind;
    memset(p, 0, sizeof *p);
    *ignore_merges = *add_bos = kind == LLAMA3;
    p->nfc = kind == QWEN2 || kind == QWEN35;
    ws_status st;
    switch (kind) {
    case SMOLLM:
        st = add(p, "\\p{N}", WS_PRETOK_ISOLATED, err);
        if (!st) st = add(p, GPT2, WS_PRETOK_ISOLATED, err);
        break;
    case GPT_2: st = add(p, GPT2, WS_PRETOK_ISOLATED, err); break;
    case LLAMA3: st = add(p, TIKTOKEN("\\p{L}", "\\p{N}{1,3}|"), WS_PRETOK_ISOLATED, err); break;
    case QWEN2: st = add(p, TIKTOKEN("\\p{L}", "\\p{N}|"), WS_PRETOK_ISOLATED, err); break;
    case QWEN35: st = add(p, TIKTOKEN("\\p{L}\\p{M}", "\\p{N}|"), WS_PRETOK_ISOLATED, err); break;
    default:
        return ws_fail(err, WS_EUNSUPPORTED,
                       "tokenizer.ggml.pre '%.60s' is not known (known: smollm, gpt-2, llama-bpe, qwen2, qwen35); use "
                       "the model's Hugging Face directory",
                       name);
    }
    if (st) ws_pretok_free(p);
    return st;
}

void ws_pretok_free(ws_pretok *p) {
    for (int i = 0; i < p->n_steps; i++) ws_regex_free(p->step[i].re);
    memset(p, 0, sizeof *p);
}

/* ---------- running ---------- */

static ws_status run(const ws_pretok *p, int k, const char *text, size_t n, ws_piece_fn fn, void *arg, ws_err *err) {
    if (!n) return WS_OK;
    if (k == p->n_steps) return fn(arg, text, n), WS_OK;
    ws_pretok_kind kind = p->step[k].kind;
    ws_status st = WS_OK;
    if (kind == WS_PRETOK_PREFIX_SPACE) {
        if (*text == ' ') return run(p, k + 1, text, n, fn, arg, err);
        char *copy = ws_xmalloc(n + 1);
        *copy = ' ';
        memcpy(copy + 1, text, n);
        st = run(p, k + 1, copy, n + 1, fn, arg, err);
        free(copy);
        return st;
    }
    size_t done = 0, at = 0, b, e;
    int rc = 0;
    while (!st && at < n && (rc = ws_regex_next(p->step[k].re, text, n, at, &b, &e, err)) > 0) {
        if (e == b) { /* an empty match separates nothing that we need: go on behind the next character */
            for (at = e + 1; at < n && ((unsigned char)text[at] & 0xC0) == 0x80;) at++;
            continue;
        }
        if (kind != WS_PRETOK_MATCHES && b > done) st = run(p, k + 1, text + done, b - done, fn, arg, err);
        if (!st && kind != WS_PRETOK_REMOVED) st = run(p, k + 1, text + b, e - b, fn, arg, err);
        done = at = e;
    }
    if (rc < 0) return WS_EFORMAT;
    if (!st && kind != WS_PRETOK_MATCHES && done < n) st = run(p, k + 1, text + done, n - done, fn, arg, err);
    return st;
}

ws_status ws_pretok_normalize(const ws_pretok *p, const char *text, size_t n, char **out, size_t *n_out, ws_err *err) {
    *out = NULL, *n_out = 0;
    if (!p->nfc) return WS_OK;
    size_t i = 0; /* text below U+0300 is in NFC already: the first combining mark is U+0300 = CC 80 */
    while (i < n && (unsigned char)text[i] < 0xCC) i++;
    if (i == n) return WS_OK;
    utf8proc_uint8_t *dst = NULL;
    utf8proc_ssize_t m =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &dst, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (m < 0) return ws_fail(err, WS_EFORMAT, "Unicode normalisation failed: %s", utf8proc_errmsg(m));
    *out = (char *)dst;
    *n_out = (size_t)m;
    return WS_OK;
}

ws_status ws_pretok_run(const ws_pretok *p, const char *text, size_t n, ws_piece_fn fn, void *arg, ws_err *err) {
    return run(p, 0, text, n, fn, arg, err);
}
