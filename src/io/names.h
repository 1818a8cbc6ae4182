/* src/io/names.h - tensor names of files -> canonical Hugging Face names (models.md 1), and what a GGUF calls them. */
#ifndef WS_IO_NAMES_H
#define WS_IO_NAMES_H
#include <stddef.h>

typedef enum ws_name_kind {
    WS_NAME_DECODER, /* part of the decoder; canonical name in *out */
    WS_NAME_IGNORED, /* vision, multi-token prediction, buffers: known, and no part of the decoder */
    WS_NAME_UNKNOWN
} ws_name_kind;

/* "model.language_model.layers.0.x" -> "model.layers.0.x".  *out is NULL unless WS_NAME_DECODER; the caller frees it. */
ws_name_kind ws_name_canonical(const char *name, char **out);

/* Names in the GGUF of an architecture (llama, qwen2, qwen3, qwen35): "blk.3.attn_q.weight" ->
 * "model.layers.3.self_attn.q_proj.weight"; NULL: the architecture has no such name.  The caller frees it. */
char *ws_name_from_gguf(const char *arch, const char *name);
/* The way back, for error messages and exports; NULL: it has none. */
char *ws_name_to_gguf(const char *arch, const char *canonical);

/* A GGUF in parts, NAME-00001-of-00003.gguf: how many there are when `file` is the first, and the length of NAME (stem may
 * be NULL).  0: it is no first part. */
size_t ws_name_parts(const char *file, size_t *stem);
/* Part i, from 1, of what `first` begins.  The caller frees it. */
char *ws_name_part(const char *first, size_t i);
#endif
