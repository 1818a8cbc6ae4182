/* src/io/gguf_config.h - the config.json that a GGUF's metadata amounts to. */
#ifndef WS_IO_GGUF_CONFIG_H
#define WS_IO_GGUF_CONFIG_H
#include "io/gguf.h"
/* Architectures llama, qwen2 and qwen3, in Hugging Face's keys; anything else, and anything in the metadata that would
 * change the arithmetic in a way nobody here computes, is refused by name. */
ws_status ws_gguf_config(const ws_gguf *g, const char *path, json_t **out, ws_err *err);
#endif
