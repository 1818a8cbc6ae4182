/* src/io/gguf_config.h - the config.json that a GGUF's metadata amounts to. */
#ifndef WS_IO_GGUF_CONFIG_H
#define WS_IO_GGUF_CONFIG_H
#include "io/gguf.h"
/* Architectures llama, qwen2, qwen3 and qwen35, in Hugging Face's keys; anything else, and anything in the metadata that
 * would change the arithmetic in a way nobody here computes, is refused by name. */
ws_status ws_gguf_config(const ws_gguf *g, const char *path, json_t **out, ws_err *err);

/* gguf_model.c: tensor i in Hugging Face's terms, by the config that ws_gguf_config made: canonical name (the caller frees
 * it), shape, and what differs in the stored data (ws_tensor).  name NULL: no part of the decoder (multi-token
 * prediction, rotary tables).  A name that the architecture does not have is refused. */
ws_status ws_gguf_tensor(const ws_gguf *g, size_t i, const json_t *config, const char *path, ws_tensor *out,
                         ws_err *err);
/* What a GGUF of this architecture stores in place of Hugging Face's tensor `t` (canonical name, type, shape, data): sets
 * row_order, col_order and stored.  Of the config head_dim and linear_{num_key_heads,num_value_heads,key_head_dim,
 * value_head_dim} are read. */
ws_status ws_gguf_stored(const char *arch, const json_t *config, const char *path, ws_tensor *t, ws_err *err);
#endif
