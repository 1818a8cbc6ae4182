/* src/io/gguf_write.h - GGUF v3 files of plain tensors, written whole or not at all.  Layout: see gguf.c. */
#ifndef WS_IO_GGUF_WRITE_H
#define WS_IO_GGUF_WRITE_H
#include "io/safetensors.h"

typedef enum ws_gguf_kind { WS_GGUF_TEXT, WS_GGUF_F32, WS_GGUF_U32, WS_GGUF_I32 } ws_gguf_kind;
typedef struct ws_gguf_pair {
    const char *key;
    ws_gguf_kind kind;
    const char *text; /* WS_GGUF_TEXT */
    double number;    /* WS_GGUF_F32, WS_GGUF_U32, WS_GGUF_I32 */
} ws_gguf_pair;
/* Pairs and tensors in the order given; data lie at multiples of 32, the format's own alignment.  Tensors are F32, F16 or
 * BF16 in their stored order, dims outermost first (reversed in the file), with names that ggml can hold (under 64
 * bytes). */
ws_status ws_gguf_write(const char *path, const ws_gguf_pair *pair, size_t n_pairs, const ws_tensor *t, size_t n,
                        ws_err *err);
#endif
