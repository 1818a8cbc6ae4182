/* src/text/tok_json.c - a tokenizer from tokenizer.json and tokenizer_config.json (models.md 9.1). */
#include "text/tok.h"
#include <stdlib.h>
#include <string.h>

static int truth(const json_t *o, const char *key) { return json_is_true(json_object_get(o, key)); }
static int absent(const json_t *v) { return !v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)); }
static const char *type_of(const json_t *o) {
    const char *t = json_string_value(json_object_get(o, "type"));
    return t ? t : "(no type)";
}

static ws_status merge(ws_tokenizer *t, size_t i, const json_t *m, ws_err *err) {
    if (json_is_string(m)) {
        const char *p = json_string_value(m);
        size_t n = json_string_length(m);
        const char *cut = n > 2 ? memchr(p + 1, ' ', n - 1) : NULL;
        if (!cut) return ws_fail(err, WS_EFORMAT, "merge %zu, '%.60s', is not two tokens with a space between", i, p);
        return ws_bpe_merge(t->bpe, i, p, (size_t)(cut - p), cut + 1, n - (size_t)(cut - p) - 1, err);
    }
    const json_t *l = json_array_get(m, 0), *r = json_array_get(m, 1);
    if (json_array_size(m) != 2 || !json_is_string(l) || !json_is_string(r))
        return ws_fail(err, WS_EFORMAT, "merge %zu is neither \"a b\" nor [\"a\", \"b\"]", i);
    return ws_bpe_merge(t->bpe, i, json_string_value(l), json_string_length(l), json_string_value(r),
                        json_string_length(r), err);
}

/* The long lists, from the text of the file. */
typedef struct loading {
    ws_tokenizer *t;
    ws_err *err;
} loading;
static int add_token(void *arg, const char *token, size_t n, int64_t id) {
    loading *l = arg;
    return ws_bpe_add(l->t->bpe, id, token, n, l->err) != WS_OK;
}
static int add_merge(void *arg, size_t index, const char *left, size_t nl, const char *right, size_t nr) {
    loading *l = arg;
    return ws_bpe_merge(l->t->bpe, index, left, nl, right, nr, l->err) != WS_OK;
}

static ws_status scan(ws_tokenizer *t, const ws_tok_lists *lists, ws_err *err) {
    loading l = {t, err};
    err->code = WS_OK;
    if (!ws_tok_scan_vocab(lists, add_token, &l))
        return err->code ? err->code : ws_fail(err, WS_EFORMAT, "model.vocab is not {\"token\": id, ...}");
    t->base_size = ws_bpe_count(t->bpe);
    if (ws_bpe_seal(t->bpe, lists->n_merges, err)) return err->code;
    if (!ws_tok_scan_merges(lists, add_merge, &l))
        return err->code ? err->code : ws_fail(err, WS_EFORMAT, "model.merges is no list of pairs");
    return WS_OK;
}

static ws_status vocabulary(ws_tokenizer *t, const json_t *vocab, const json_t *merges, ws_err *err) {
    const char *key;
    json_t *id;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, id) {
        if (!json_is_integer(id)) return ws_fail(err, WS_EFORMAT, "the id of token '%.60s' is not a whole number", key);
        if (ws_bpe_add(t->bpe, json_integer_value(id), key, strlen(key), err)) return err->code;
    }
    t->base_size = ws_bpe_count(t->bpe);
    if (ws_bpe_seal(t->bpe, json_array_size(merges), err)) return err->code;
    for (size_t i = 0; i < json_array_size(merges); i++)
        if (merge(t, i, json_array_get(merges, i), err)) return err->code;
    return WS_OK;
}

static ws_status model(ws_tokenizer *t, const json_t *m, const ws_tok_lists *lists, ws_err *err) {
    const json_t *vocab = json_object_get(m, "vocab"), *merges = json_object_get(m, "merges"),
                 *unk = json_object_get(m, "unk_token");
    if (json_object_get(m, "type") && strcmp(type_of(m), "BPE"))
        return ws_fail(err, WS_EUNSUPPORTED, "a tokenizer model of type %.40s is not supported, only BPE is",
                       type_of(m));
    if (!json_is_object(vocab) || (!json_object_size(vocab) && !lists) || !json_is_array(merges))
        return ws_fail(err, WS_EFORMAT, "model.vocab or model.merges is missing");
    if (truth(m, "byte_fallback"))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "byte_fallback is not supported: that is a SentencePiece-style vocabulary, and only byte-level "
                       "BPE is read");
    if (!absent(json_object_get(m, "continuing_subword_prefix")) || !absent(json_object_get(m, "end_of_word_suffix")))
        return ws_fail(err, WS_EUNSUPPORTED, "continuing_subword_prefix and end_of_word_suffix are not supported");
    if (json_number_value(json_object_get(m, "dropout")) > 0)
        return ws_fail(err, WS_EUNSUPPORTED, "BPE dropout is not supported: the same text would give different ids");
    if (lists ? scan(t, lists, err) : vocabulary(t, vocab, merges, err)) return err->code;
    int32_t unk_id = -1;
    if (!absent(unk)) {
        unk_id = json_is_string(unk) ? ws_bpe_find_text(t->bpe, json_string_value(unk), json_string_length(unk)) : -1;
        if (unk_id < 0) return ws_fail(err, WS_EFORMAT, "unk_token is not in the vocabulary");
    }
    ws_bpe_options(t->bpe, truth(m, "ignore_merges"), unk_id, truth(m, "fuse_unk"));
    return WS_OK;
}

/* One entry of added_tokens or added_tokens_decoder. */
static ws_status added(ws_tokenizer *t, int64_t id, const json_t *o, ws_err *err) {
    const json_t *content = json_object_get(o, "content");
    if (!json_is_string(content)) return ws_fail(err, WS_EFORMAT, "added token %lld has no content", (long long)id);
    const char *p = json_string_value(content);
    size_t n = json_string_length(content);
    if (truth(o, "single_word"))
        return ws_fail(err, WS_EUNSUPPORTED, "added token '%.60s' is single_word, which is not supported", p);
    int special = truth(o, "special"),
        normalized = json_object_get(o, "normalized") ? truth(o, "normalized") : !special;
    if (!normalized) return ws_tok_add(t, id, p, n, special, 0, truth(o, "lstrip"), truth(o, "rstrip"), err);
    char *norm = NULL;
    size_t m = 0;
    if (ws_pretok_normalize(&t->pretok, p, n, &norm, &m, err)) return err->code;
    ws_status st =
        norm && (m != n || memcmp(norm, p, n))
            ? ws_fail(err, WS_EUNSUPPORTED,
                      "added token '%.60s' is to be matched in normalised text, but is not in that form itself", p)
            : ws_tok_add(t, id, p, n, special, 1, truth(o, "lstrip"), truth(o, "rstrip"), err);
    free(norm);
    return st;
}

/* TemplateProcessing for a single text: tokens, the text (Sequence A), tokens. */
static ws_status template(ws_tokenizer *t, const json_t *o, ws_err *err) {
    const json_t *single = json_object_get(o, "single"), *named = json_object_get(o, "special_tokens");
    int seen = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i), *special = json_object_get(item, "SpecialToken");
        if (json_object_get(item, "Sequence")) {
            if (seen++) return ws_fail(err, WS_EUNSUPPORTED, "the post_processor repeats the text");
            continue;
        }
        const char *name = json_string_value(json_object_get(special, "id"));
        const json_t *ids = name ? json_object_get(json_object_get(named, name), "ids") : NULL;
        if (!json_array_size(ids))
            return ws_fail(err, WS_EFORMAT, "post_processor TemplateProcessing: item %zu has no ids", i);
        for (size_t k = 0; k < json_array_size(ids); k++) {
            const json_t *id = json_array_get(ids, k);
            if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
                return ws_fail(err, WS_EFORMAT, "post_processor TemplateProcessing: item %zu has a wrong id", i);
            ws_ids_add(seen ? &t->after : &t->before, (int32_t)json_integer_value(id));
        }
    }
    return seen ? WS_OK : ws_fail(err, WS_EFORMAT, "post_processor TemplateProcessing has no place for the text");
}

static ws_status post_processor(ws_tokenizer *t, const json_t *o, int depth, ws_err *err) {
    if (!o || json_is_null(o)) return WS_OK;
    const char *type = type_of(o);
    if (!strcmp(type, "ByteLevel")) return WS_OK; /* moves offsets only */
    if (!strcmp(type, "TemplateProcessing")) return template(t, o, err);
    if (!strcmp(type, "Sequence") && depth < 4) {
        const json_t *list = json_object_get(o, "processors");
        for (size_t i = 0; i < json_array_size(list); i++)
            if (post_processor(t, json_array_get(list, i), depth + 1, err)) return err->code;
        return WS_OK;
    }
    return ws_fail(err, WS_EUNSUPPORTED, "post_processor %.40s is not supported; TemplateProcessing and ByteLevel are",
                   type);
}

static int is_byte_level(const json_t *decoder) {
    if (!strcmp(type_of(decoder), "ByteLevel")) return 1;
    const json_t *list = json_object_get(decoder, "decoders");
    return !strcmp(type_of(decoder), "Sequence") && json_array_size(list) == 1 &&
           is_byte_level(json_array_get(list, 0));
}

/* tokenizer_config.json: further added tokens (its flags win, as in transformers), and the names of bos, eos, pad. */
static ws_status config_tokens(ws_tokenizer *t, const json_t *config, ws_err *err) {
    const json_t *decoder = json_object_get(config, "added_tokens_decoder");
    const char *key;
    json_t *o;
    json_object_foreach((json_t *)(uintptr_t)decoder, key, o) {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (!*key || *end)
            return ws_fail(err, WS_EFORMAT,
                           "tokenizer_config.json: added_tokens_decoder has the key '%.40s', which is no id", key);
        if (added(t, id, o, err)) return ws_fail_prefix(err, "tokenizer_config.json");
    }
    return WS_OK;
}

static int32_t named(const ws_tokenizer *t, const json_t *config, const char *key, char **text) {
    const json_t *v = json_object_get(config, key);
    const char *s = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    if (!s || !*s) return -1;
    if (text) *text = ws_xstrdup(s);
    return ws_tokenizer_id(t, s);
}

ws_status ws_tok_load_json(ws_tokenizer *t, const json_t *j, const json_t *config, const ws_tok_lists *lists,
                           ws_err *err) {
    if (!json_is_object(j)) return ws_fail(err, WS_EFORMAT, "this is not a tokenizer.json: no JSON object");
    const json_t *list = json_object_get(j, "added_tokens"), *decoder = json_object_get(j, "decoder");
    if (ws_pretok_from_json(&t->pretok, json_object_get(j, "normalizer"), json_object_get(j, "pre_tokenizer"), err))
        return err->code;
    if (decoder && !json_is_null(decoder) && !is_byte_level(decoder))
        return ws_fail(err, WS_EUNSUPPORTED, "decoder %.40s is not supported, only ByteLevel is", type_of(decoder));
    if (model(t, json_object_get(j, "model"), lists, err)) return err->code;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i), *id = json_object_get(o, "id");
        if (!json_is_integer(id)) return ws_fail(err, WS_EFORMAT, "added_tokens: entry %zu has no id", i);
        if (added(t, json_integer_value(id), o, err)) return err->code;
    }
    if (config_tokens(t, config, err) || post_processor(t, json_object_get(j, "post_processor"), 0, err))
        return err->code;
    t->bos = named(t, config, "bos_token", &t->bos_text);
    t->eos = named(t, config, "eos_token", &t->eos_text);
    t->pad = named(t, config, "pad_token", NULL);
    return WS_OK;
}
