/* src/text/tokenizer.c - text to ids and back; the stop set.  How a tokenizer is loaded: tok_json.c, tok_gguf.c. */
#include "text/tokenizer.h"
#include "io/json.h"
#include "text/tok.h"
#include "text/utf8.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = INT_MAX / 64 }; /* 32 MiB: far above any context, and no size below can overflow an int */

/* ---------- opening ---------- */

static ws_tokenizer *blank(void) {
    ws_tokenizer *t = ws_xcalloc(1, sizeof *t);
    t->bpe = ws_bpe_new();
    t->bos = t->eos = t->pad = -1;
    return t;
}

void ws_tokenizer_free(ws_tokenizer *t) {
    if (!t) return;
    ws_bpe_free(t->bpe);
    ws_pretok_free(&t->pretok);
    ws_added_free(&t->added);
    ws_ids_free(&t->before);
    ws_ids_free(&t->after);
    ws_ids_free(&t->stops);
    free(t->bos_text);
    free(t->eos_text);
    free(t);
}

ws_status ws_tok_add(ws_tokenizer *t, int64_t id, const char *content, size_t n, int special, int normalized,
                     int lstrip, int rstrip, ws_err *err) {
    if (!n) return WS_OK; /* nothing to match; the tokenizers library ignores it too */
    if (id < 0 || id >= 1 << 24)
        return ws_fail(err, WS_EFORMAT, "added token '%.60s' has id %lld, outside 0..%d", content, (long long)id,
                       (1 << 24) - 1);
    const ws_added_token *same = ws_added_by_id(&t->added, (int32_t)id);
    size_t m = 0;
    const char *there = same ? same->content : NULL;
    if (!same && ws_bpe_bytes(t->bpe, (int32_t)id, &m) && ws_bpe_find_text(t->bpe, content, n) != id)
        there = "another token";
    if (there && (!same || same->n != n || memcmp(there, content, n)))
        return ws_fail(err, WS_EFORMAT, "added token %lld is '%.60s', but that id already belongs to '%.60s'",
                       (long long)id, content, there);
    ws_added_put(&t->added, (int32_t)id, content, n, special, normalized, lstrip, rstrip);
    return WS_OK;
}

static void add_stop(ws_tokenizer *t, int64_t id) {
    if (id < 0 || id > INT32_MAX) return;
    for (int i = 0; i < t->stops.n; i++)
        if (t->stops.id[i] == id) return;
    ws_ids_add(&t->stops, (int32_t)id);
}
static void add_stops(ws_tokenizer *t, const json_t *config) {
    const json_t *eos = json_object_get(config, "eos_token_id");
    if (json_is_integer(eos)) add_stop(t, json_integer_value(eos));
    for (size_t i = 0; i < json_array_size(eos); i++)
        if (json_is_integer(json_array_get(eos, i))) add_stop(t, json_integer_value(json_array_get(eos, i)));
}
static int32_t id_of(const json_t *config, const char *key) {
    const json_t *v = json_object_get(config, key);
    json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
    return id < 0 || id > INT32_MAX ? -1 : (int32_t)id;
}

static char *text_of(const ws_tokenizer *t, int32_t id) {
    const ws_added_token *a = ws_added_by_id(&t->added, id);
    size_t n;
    const char *p = a ? a->content : ws_bpe_bytes(t->bpe, id, &n);
    return a ? ws_xstrdup(p) : p ? ws_xstrndup(p, n) : ws_xstrdup("");
}

/* What is known when everything is loaded. */
static void finish(ws_tokenizer *t) {
    ws_added_seal(&t->added);
    t->size = ws_bpe_size(t->bpe);
    if (t->added.count && t->added.t[t->added.count - 1].id >= t->size) t->size = t->added.t[t->added.count - 1].id + 1;
    add_stop(t, t->eos);
    if (!t->bos_text) t->bos_text = text_of(t, t->bos);
    if (!t->eos_text) t->eos_text = text_of(t, t->eos);
}

ws_status ws_tokenizer_from_json(ws_tokenizer **out, const json_t *tokenizer, const json_t *config, const char *where,
                                 ws_err *err) {
    ws_err local;
    if (!err) err = &local;
    ws_tokenizer *t = blank();
    if (ws_tok_load_json(t, tokenizer, config, NULL, err)) {
        ws_tokenizer_free(t);
        return ws_fail_prefix(err, "%s", where);
    }
    finish(t);
    *out = t;
    return WS_OK;
}

/* With the long lists read from the text; NULL when something in the file is not as expected. */
static ws_tokenizer *scanned(const char *text, size_t n, const json_t *config) {
    ws_tok_lists lists;
    ws_str rest = {0};
    ws_tokenizer *t = NULL;
    json_t *j = NULL;
    ws_err err;
    if (ws_tok_scan(text, n, &lists, &rest) && !ws_json_parse(&j, rest.p, rest.n, "", &err)) {
        t = blank();
        if (ws_tok_load_json(t, j, config, &lists, &err)) {
            ws_tokenizer_free(t);
            t = NULL;
        }
    }
    json_decref(j);
    ws_str_free(&rest);
    if (t) finish(t);
    return t;
}

ws_status ws_tokenizer_from_text(ws_tokenizer **out, const char *text, size_t n, const json_t *config,
                                 const char *where, ws_err *err) {
    json_t *j = NULL;
    if ((*out = scanned(text, n, config))) return WS_OK;
    ws_status st = ws_json_parse(&j, text, n, where, err);
    if (!st) st = ws_tokenizer_from_json(out, j, config, where, err);
    json_decref(j);
    return st;
}

static ws_status open_directory(ws_tokenizer **out, const ws_checkpoint *c, ws_err *err) {
    char *path = ws_checkpoint_file(c, "tokenizer.json");
    ws_str text = {0};
    if (!path)
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: there is no tokenizer.json (other tokenizer files are not read; transformers writes one "
                       "with save_pretrained)",
                       ws_checkpoint_path(c));
    if (!ws_file_read(path, &text, err))
        ws_tokenizer_from_text(out, text.p, text.n, ws_checkpoint_tokenizer_config(c), path, err);
    ws_str_free(&text);
    free(path);
    return err->code;
}

ws_status ws_tokenizer_open(ws_tokenizer **out, const ws_checkpoint *c, ws_err *err) {
    ws_err local;
    if (!err) err = &local;
    err->code = WS_OK;
    *out = NULL;
    const ws_gguf *g = ws_checkpoint_gguf(c);
    if (!g && open_directory(out, c, err)) return err->code;
    if (g) {
        ws_tokenizer *t = blank();
        if (ws_tok_load_gguf(t, g, err)) {
            ws_tokenizer_free(t);
            return ws_fail_prefix(err, "%s", ws_checkpoint_path(c));
        }
        finish(t);
        *out = t;
    }
    ws_tokenizer *t = *out;
    const json_t *config = ws_checkpoint_config(c), *top = ws_checkpoint_config_top(c);
    if (!g && !ws_checkpoint_tokenizer_config(c)) { /* only config.json can name the special tokens then */
        if (t->bos < 0) t->bos = id_of(config, "bos_token_id");
        if (t->eos < 0) t->eos = id_of(config, "eos_token_id");
        if (t->pad < 0) t->pad = id_of(config, "pad_token_id");
        free(t->bos_text), free(t->eos_text);
        t->bos_text = text_of(t, t->bos), t->eos_text = text_of(t, t->eos);
    }
    add_stops(t, ws_checkpoint_generation_config(c));
    add_stops(t, config);
    add_stops(t, top);
    return WS_OK;
}

/* ---------- text to ids ---------- */

typedef struct encoder {
    const ws_tokenizer *t;
    ws_bpe_work work;
    ws_ids *out;
} encoder;

static void piece(void *arg, const char *p, size_t n) {
    encoder *e = arg;
    ws_bpe_encode(e->t->bpe, p, n, &e->work, e->out);
}

/* Cuts the added tokens of one stage out; what lies between them goes to the next stage, and at last to the pieces. */
static ws_status span(encoder *e, int stage, int plain, const char *text, size_t n, ws_err *err) {
    if (!n) return WS_OK;
    if (stage == 1) {
        char *norm;
        size_t m;
        ws_status st = ws_pretok_normalize(&e->t->pretok, text, n, &norm, &m, err);
        if (!st && norm)
            st = span(e, 2, plain, norm, m, err);
        else if (!st)
            st = span(e, 2, plain, text, n, err);
        free(norm);
        return st;
    }
    size_t from = 0, b, end;
    const ws_added_token *a;
    while (!plain && (a = ws_added_next(&e->t->added, stage == 2, text, n, from, &b, &end))) {
        ws_status st = stage == 0 ? span(e, 1, plain, text + from, b - from, err)
                                  : ws_pretok_run(&e->t->pretok, text + from, b - from, piece, e, err);
        if (st) return st;
        ws_ids_add(e->out, a->id);
        from = end;
    }
    return stage == 0 ? span(e, 1, plain, text + from, n - from, err)
                      : ws_pretok_run(&e->t->pretok, text + from, n - from, piece, e, err);
}

ws_status ws_tokenizer_encode(const ws_tokenizer *t, const char *text, size_t n, int flags, ws_ids *out, ws_err *err) {
    size_t bad;
    if (n > MAX_TEXT)
        return ws_fail(err, WS_EUNSUPPORTED, "a text of %zu bytes is too long to tokenize at once (limit %d)", n,
                       MAX_TEXT);
    if (!ws_utf8_valid(text, n, &bad))
        return ws_fail(err, WS_EFORMAT, "the text is not UTF-8: byte %zu is 0x%02x", bad, (unsigned char)text[bad]);
    encoder e = {t, {0}, out};
    if (flags & WS_TOK_ADD_SPECIAL) ws_ids_addn(out, t->before.id, t->before.n);
    ws_status st = span(&e, 0, (flags & WS_TOK_PLAIN) != 0, text, n, err);
    if (!st && (flags & WS_TOK_ADD_SPECIAL)) ws_ids_addn(out, t->after.id, t->after.n);
    ws_bpe_work_free(&e.work);
    return st;
}

/* ---------- ids to text ---------- */

/* The bytes that an id stands for; n = 0 for a special token that is skipped. */
static ws_status bytes_of(const ws_tokenizer *t, int32_t id, int skip_special, const char **p, size_t *n, ws_err *err) {
    const ws_added_token *a = ws_added_by_id(&t->added, id);
    if (a) {
        *p = a->content;
        *n = skip_special && a->special ? 0 : a->n;
        return WS_OK;
    }
    *p = ws_bpe_bytes(t->bpe, id, n);
    return *p ? WS_OK
              : ws_fail(err, WS_EFORMAT, "token id %d is not in the vocabulary (ids 0..%d)", (int)id, t->size - 1);
}

ws_status ws_tokenizer_decode(const ws_tokenizer *t, const int32_t *ids, int n, int skip_special, ws_str *out,
                              ws_err *err) {
    ws_str raw = {0};
    ws_status st = WS_OK;
    for (int i = 0; i < n && !st; i++) {
        const char *p;
        size_t k;
        if (!(st = bytes_of(t, ids[i], skip_special, &p, &k, err))) ws_str_add(&raw, p, k);
    }
    if (!st) ws_utf8_add_lossy(out, raw.p, raw.n, 0);
    ws_str_free(&raw);
    return st;
}

ws_status ws_detok_push(ws_detok *d, const ws_tokenizer *t, int32_t id, int skip_special, ws_str *out, ws_err *err) {
    const char *p;
    size_t n;
    if (bytes_of(t, id, skip_special, &p, &n, err)) return err ? err->code : WS_EFORMAT;
    ws_str raw = {0};
    ws_str_add(&raw, d->held, (size_t)d->n_held);
    ws_str_add(&raw, p, n);
    d->n_held = ws_utf8_add_lossy(out, raw.p, raw.n, 1);
    memcpy(d->held, raw.p + raw.n - d->n_held, (size_t)d->n_held);
    ws_str_free(&raw);
    return WS_OK;
}

void ws_detok_flush(ws_detok *d, ws_str *out) {
    ws_utf8_add_lossy(out, d->held, (size_t)d->n_held, 0);
    d->n_held = 0;
}

/* ---------- facts ---------- */

int ws_tokenizer_size(const ws_tokenizer *t) { return t->size; }
int ws_tokenizer_base_size(const ws_tokenizer *t) { return t->base_size; }
int32_t ws_tokenizer_id(const ws_tokenizer *t, const char *content) {
    const ws_added_token *a = ws_added_by_content(&t->added, content, strlen(content));
    if (a) return a->id;
    return ws_bpe_find(t->bpe, content, strlen(content)); /* the text itself, not as the vocabulary writes it */
}
int ws_tokenizer_is_special(const ws_tokenizer *t, int32_t id) {
    const ws_added_token *a = ws_added_by_id(&t->added, id);
    return a && a->special;
}
int32_t ws_tokenizer_eos(const ws_tokenizer *t) { return t->eos; }
int32_t ws_tokenizer_bos(const ws_tokenizer *t) { return t->bos; }
int32_t ws_tokenizer_pad(const ws_tokenizer *t) { return t->pad; }
const char *ws_tokenizer_bos_text(const ws_tokenizer *t) { return t->bos_text; }
const char *ws_tokenizer_eos_text(const ws_tokenizer *t) { return t->eos_text; }
const int32_t *ws_tokenizer_stops(const ws_tokenizer *t, int *n) {
    *n = t->stops.n;
    return t->stops.id;
}
int ws_tokenizer_is_stop(const ws_tokenizer *t, int32_t id) {
    for (int i = 0; i < t->stops.n; i++)
        if (t->stops.id[i] == id) return 1;
    return 0;
}

/* A text on which pre-tokenizers differ: digits, contractions, case, white space, other scripts, marks to compose. */
static const char probe[] =
    "It's I'LL we'Ve 1234567 3.14 abc123  x   y\t\tz \n\n  end\r\n<b>&amp;</b> snake_case CamelCase $%^ "
    "na\xc3\xafve e\xcc\x81t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87\xe3\x80\x82 \xe0\xa4\xb9\xe0\xa4\xbf "
    "\xf0\x9f\x99\x82\xe2\x80\x94\xc2\xa0\xd9\xa1\xd9\xa2";

static void hash_ids(ws_hash *h, const ws_ids *ids) {
    int64_t n = ids->n;
    ws_hash_add(h, &n, sizeof n);
    ws_hash_add(h, ids->id, (size_t)ids->n * sizeof *ids->id);
}

void ws_tokenizer_hash(const ws_tokenizer *t, char hex[65]) {
    ws_hash *h = ws_hash_new();
    ws_err err;
    ws_ids ids = {0};
    ws_hash_adds(h, "ws tokenizer 1");
    ws_bpe_hash(t->bpe, h);
    for (int i = 0; i < t->added.count; i++) {
        const ws_added_token *a = &t->added.t[i];
        const int32_t flags[] = {a->id, a->special, a->normalized, a->lstrip, a->rstrip};
        ws_hash_add(h, flags, sizeof flags);
        ws_hash_adds(h, a->content);
    }
    const int32_t special[] = {t->base_size, t->bos, t->eos, t->pad};
    ws_hash_add(h, special, sizeof special);
    hash_ids(h, &t->before), hash_ids(h, &t->after), hash_ids(h, &t->stops);
    /* pre-tokenizer and normalisation are known by what they do; a vocabulary without all bytes may refuse the text */
    if (!ws_tokenizer_encode(t, probe, sizeof probe - 1, 0, &ids, &err)) hash_ids(h, &ids);
    ws_ids_free(&ids);
    ws_hash_done(h, hex);
}
