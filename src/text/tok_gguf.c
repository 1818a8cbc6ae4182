/* src/text/tok_gguf.c - a tokenizer from GGUF metadata (keys tokenizer.ggml.*; the `gguf` package's constants). */
#include "text/tok.h"
#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 }; /* tokenizer.ggml.token_type */
#define KEY(k) "tokenizer.ggml." k
static const char END_OF_TEXT[] = "<|endoftext|>";

static ws_status special_id(const ws_gguf *g, const char *key, size_t n, int32_t *out, ws_err *err) {
    int64_t id;
    if (!ws_gguf_int(g, key, &id)) return WS_OK;
    if (id < 0 || (uint64_t)id >= n)
        return ws_fail(err, WS_EFORMAT, "%s is %lld, outside the vocabulary of %zu tokens", key, (long long)id, n);
    *out = (int32_t)id;
    return WS_OK;
}

static ws_status merges(ws_tokenizer *t, const char *const *m, const size_t *len, size_t n, ws_err *err) {
    for (size_t i = 0; i < n; i++) {
        const char *cut = len[i] > 2 ? memchr(m[i] + 1, ' ', len[i] - 1) : NULL;
        if (!cut)
            return ws_fail(err, WS_EFORMAT, KEY("merges") " %zu, '%.60s', is not two tokens with a space between", i,
                           m[i]);
        size_t l = (size_t)(cut - m[i]);
        if (ws_bpe_merge(t->bpe, i, m[i], l, cut + 1, len[i] - l - 1, err)) return err->code;
    }
    return WS_OK;
}

ws_status ws_tok_load_gguf(ws_tokenizer *t, const ws_gguf *g, ws_err *err) {
    const char *model = ws_gguf_str(g, KEY("model"), NULL), *pre = ws_gguf_str(g, KEY("pre"), NULL);
    if (!model) return ws_fail(err, WS_EUNSUPPORTED, "the file has no tokenizer (no key tokenizer.ggml.model)");
    if (strcmp(model, "gpt2"))
        return ws_fail(err, WS_EUNSUPPORTED, "tokenizer model '%.40s' is not supported, only gpt2 (byte-level BPE) is",
                       model);
    if (!pre)
        return ws_fail(err, WS_EUNSUPPORTED,
                       "the file does not say how text is split (no key tokenizer.ggml.pre); a newer conversion does");
    const char *const *tok, *const *m;
    const size_t *len, *m_len;
    const int64_t *type;
    size_t n = ws_gguf_strings(g, KEY("tokens"), &tok, &len), n_merges = ws_gguf_strings(g, KEY("merges"), &m, &m_len);
    size_t n_types = ws_gguf_ints(g, KEY("token_type"), &type);
    if (!n || !n_merges) return ws_fail(err, WS_EFORMAT, "tokenizer.ggml.tokens or tokenizer.ggml.merges is missing");
    if (n_types && n_types != n) return ws_fail(err, WS_EFORMAT, "%zu tokens, but %zu token types", n, n_types);

    int ignore_merges, add_bos;
    if (ws_pretok_from_name(&t->pretok, pre, &ignore_merges, &add_bos, err)) return err->code;
    while (n_types && n && type[n - 1] == UNUSED) n--; /* rows that only fill the matrix up */
    for (size_t i = 0; i < n; i++) {
        int64_t k = n_types ? type[i] : NORMAL;
        if (k == UNUSED || k == BYTE) continue;
        if (ws_bpe_add(t->bpe, (int64_t)i, tok[i], len[i], err)) return err->code;
        if (k == NORMAL) t->base_size = (int)i + 1;
    }
    if (ws_bpe_seal(t->bpe, n_merges, err) || merges(t, m, m_len, n_merges, err)) return err->code;
    ws_bpe_options(t->bpe, ignore_merges, -1, 0); /* bytes without a token vanish, as with unk_token null */
    for (size_t i = 0; i < n && n_types; i++)
        if ((type[i] == CONTROL || type[i] == USER_DEFINED) &&
            ws_tok_add(t, (int64_t)i, tok[i], len[i], type[i] == CONTROL, 0, 0, 0, err))
            return err->code;

    int32_t eot = -1, eom = -1;
    int64_t yes;
    if (special_id(g, KEY("bos_token_id"), n, &t->bos, err) || special_id(g, KEY("eos_token_id"), n, &t->eos, err) ||
        special_id(g, KEY("padding_token_id"), n, &t->pad, err) || special_id(g, KEY("eot_token_id"), n, &eot, err) ||
        special_id(g, KEY("eom_token_id"), n, &eom, err))
        return err->code;
    if (ws_gguf_int(g, KEY("add_bos_token"), &yes)) add_bos = yes != 0;
    if (add_bos && t->bos >= 0) ws_ids_add(&t->before, t->bos);
    if (ws_gguf_int(g, KEY("add_eos_token"), &yes) && yes && t->eos >= 0) ws_ids_add(&t->after, t->eos);
    if (t->eos >= 0) ws_ids_add(&t->stops, t->eos);
    if (eot >= 0 && eot != t->eos) ws_ids_add(&t->stops, eot);
    if (eom >= 0 && eom != t->eos && eom != eot) ws_ids_add(&t->stops, eom);
    /* A GGUF has no generation_config.json, where Qwen's models list the end of a text beside the end of a turn (Qwen3.5: in
     * config.json), nor an eot id: the union of models.md 9.4 needs it. */
    int32_t end = strncmp(pre, "qwen", 4) ? -1 : ws_bpe_find_text(t->bpe, END_OF_TEXT, sizeof END_OF_TEXT - 1);
    if (end >= 0 && end != t->eos && end != eot && end != eom) ws_ids_add(&t->stops, end);
    return WS_OK;
}
