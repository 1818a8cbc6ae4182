#include "io/gguf_write.h"
#include <stdlib.h>
#include <string.h>

enum { VERSION = 3, ALIGNMENT = 32, LONGEST_NAME = 63, TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_STRING = 8 };

/* Type numbers of ggml: the `gguf` package. */
static int type_number(ws_dtype t) {
    switch (t) {
    case WS_F32: return 0;
    case WS_F16: return 1;
    case WS_BF16: return 30;
    default: return -1;
    }
}

static void put(ws_str *s, uint64_t v, int bytes) {
    uint8_t le[8];
    for (int i = 0; i < bytes; i++) le[i] = (uint8_t)(v >> (8 * i));
    ws_str_add(s, le, (size_t)bytes);
}

static void put_text(ws_str *s, const char *text) {
    put(s, strlen(text), 8);
    ws_str_adds(s, text);
}

static void put_pair(ws_str *s, const ws_gguf_pair *p) {
    float f = (float)p->number;
    uint32_t bits;
    put_text(s, p->key);
    switch (p->kind) {
    case WS_GGUF_TEXT:
        put(s, TYPE_STRING, 4);
        put_text(s, p->text);
        break;
    case WS_GGUF_F32:
        memcpy(&bits, &f, 4);
        put(s, TYPE_F32, 4), put(s, bits, 4);
        break;
    case WS_GGUF_U32: put(s, TYPE_U32, 4), put(s, (uint32_t)p->number, 4); break;
    case WS_GGUF_I32: put(s, TYPE_I32, 4), put(s, (uint32_t)(int32_t)p->number, 4); break;
    }
}

static size_t padded(size_t n) { return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static size_t bytes_of(const ws_tensor *t) { return ws_dtype_bytes(t->type, ws_tensor_numel(t)); }

ws_status ws_gguf_write(const char *path, const ws_gguf_pair *pair, size_t n_pairs, const ws_tensor *t, size_t n,
                        ws_err *err) {
    static const uint8_t zeros[ALIGNMENT];
    ws_str head = {0};
    ws_out o;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (strlen(t[i].name) > LONGEST_NAME)
            return ws_fail(err, WS_EUNSUPPORTED,
                           "%s: the tensor name %s has %zu bytes, llama.cpp reads names of up to %d", path, t[i].name,
                           strlen(t[i].name), LONGEST_NAME);
        if (type_number(t[i].type) < 0 || t[i].dims < 1 || t[i].dims > 4)
            BUG("%s: %s of %d dimensions is not written into a GGUF", t[i].name, ws_dtypes[t[i].type].name, t[i].dims);
    }
    ws_str_adds(&head, "GGUF");
    put(&head, VERSION, 4), put(&head, n, 8), put(&head, n_pairs, 8);
    for (size_t i = 0; i < n_pairs; i++) put_pair(&head, &pair[i]);
    for (size_t i = 0; i < n; i++) {
        put_text(&head, t[i].name);
        put(&head, (uint64_t)t[i].dims, 4);
        for (int d = t[i].dims - 1; d >= 0; d--) put(&head, (uint64_t)t[i].dim[d], 8);
        put(&head, (uint64_t)type_number(t[i].type), 4);
        put(&head, at, 8);
        at += padded(bytes_of(&t[i]));
    }
    if (!ws_out_open(&o, path, err)) {
        fwrite(head.p, 1, head.n, o.f); /* commit reports every failed write */
        fwrite(zeros, 1, padded(head.n) - head.n, o.f);
        for (size_t i = 0; i < n && !ferror(o.f); i++) {
            size_t bytes = bytes_of(&t[i]);
            if (bytes) fwrite(t[i].data, 1, bytes, o.f);
            fwrite(zeros, 1, padded(bytes) - bytes, o.f);
        }
        ws_status st = ws_out_commit(&o, err);
        ws_str_free(&head);
        return st;
    }
    ws_str_free(&head);
    return err ? err->code : WS_EIO;
}
