/* libFuzzer target: a tokenizer.json that loads must encode and decode any text without harm; the input is both. */
#include "io/json.h"
#include "text/tokenizer.h"

static void use(const ws_tokenizer *t, const char *text, size_t n) {
    ws_ids ids = {0};
    ws_str out = {0}, stream = {0};
    ws_detok d = {0};
    ws_err err;
    if (!ws_tokenizer_encode(t, text, n, WS_TOK_ADD_SPECIAL, &ids, &err)) {
        ws_tokenizer_decode(t, ids.id, ids.n, 1, &out, &err);
        for (int i = 0; i < ids.n; i++)
            if (ws_detok_push(&d, t, ids.id[i], 0, &stream, &err)) break;
        ws_detok_flush(&d, &stream);
    }
    ws_ids_free(&ids);
    ws_str_free(&out);
    ws_str_free(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char text[] = "Hello <|im_end|> WE'LL 123  \xC3\xA9\xE4\xBD\xA0\n\n\tx = 1";
    json_t *j;
    ws_tokenizer *t;
    ws_err err;
    if (!ws_tokenizer_from_text(&t, (const char *)data, n, NULL, "fuzz", &err)) ws_tokenizer_free(t);
    if (ws_json_parse(&j, (const char *)data, n, "fuzz", &err)) return 0;
    if (!ws_tokenizer_from_json(&t, j, j, "fuzz", &err)) { /* the same object as its tokenizer_config.json too */
        use(t, text, sizeof text - 1);
        use(t, (const char *)data, n);
        ws_tokenizer_free(t);
    }
    json_decref(j);
    return 0;
}
