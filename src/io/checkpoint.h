/* src/io/checkpoint.h - a model on disk, whatever its container, spoken of in Hugging Face terms.
 *     [checkpoint] -> model -> tokens -> ...
 * A directory (config.json, single or sharded safetensors), a .gguf file, or an id in the Hugging Face cache.  Opening
 * maps files; it does not read weights. */
#ifndef WS_IO_CHECKPOINT_H
#define WS_IO_CHECKPOINT_H
#include "io/gguf.h"

typedef struct ws_checkpoint ws_checkpoint;
/* `where`: directory, .gguf file, or "org/name[@revision][:file.gguf]" looked up in the Hugging Face cache (io/hub.h).
 * Not found in the cache: the error says which command downloads it. */
ws_status ws_checkpoint_open(ws_checkpoint **out, const char *where, ws_err *err);
void ws_checkpoint_close(ws_checkpoint *c);

const char *ws_checkpoint_path(const ws_checkpoint *c); /* resolved directory or file */
/* Short name for folders: last path part without .gguf, [A-Za-z0-9._-]. */
const char *ws_checkpoint_name(const ws_checkpoint *c);
/* The decoder's config.json object: nested text_config already chosen; from GGUF metadata: the same keys synthesised
 * (model_type, hidden_size, num_hidden_layers, ..., rope_theta, rope_scaling, tie_word_embeddings, vocab_size). */
const json_t *ws_checkpoint_config(const ws_checkpoint *c);
/* The whole file (wrapper level); same as above for GGUF. */
const json_t *ws_checkpoint_config_top(const ws_checkpoint *c);
const json_t *ws_checkpoint_generation_config(const ws_checkpoint *c); /* NULL: none */
const json_t *ws_checkpoint_tokenizer_config(const ws_checkpoint *c);  /* tokenizer_config.json, NULL: none */
const ws_gguf *ws_checkpoint_gguf(const ws_checkpoint *c);             /* NULL for directories */
/* Path of a file in the directory if it exists, else NULL; caller frees. */
char *ws_checkpoint_file(const ws_checkpoint *c, const char *name);

size_t ws_checkpoint_count(const ws_checkpoint *c);
const ws_tensor *ws_checkpoint_at(const ws_checkpoint *c, size_t i);
/* "model.layers.0.mlp.up_proj.weight"; NULL: there is none. */
const ws_tensor *ws_checkpoint_find(const ws_checkpoint *c, const char *canonical_name);
/* The safetensors files of a directory as they are, with every tensor under its own name; 0 for a GGUF. */
size_t ws_checkpoint_shards(const ws_checkpoint *c);
const ws_safetensors *ws_checkpoint_shard(const ws_checkpoint *c, size_t i, const char **file); /* file: may be NULL */
size_t ws_checkpoint_ignored(const ws_checkpoint *c); /* vision, mtp, buffers: counted, kept out */
/* Identity of the weights: SHA-256 over config and, per tensor, name, type, shape and 16 sampled pages; so it is the same
 * for the same content wherever it lies, and costs milliseconds. */
const char *ws_checkpoint_hash(const ws_checkpoint *c);
ws_dtype ws_checkpoint_main_type(const ws_checkpoint *c); /* the type most weights have */
#endif
