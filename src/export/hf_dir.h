/* src/export/hf_dir.h - the small files of a Hugging Face directory: what is copied and what is said anew. */
#ifndef WS_EXPORT_HF_DIR_H
#define WS_EXPORT_HF_DIR_H
#include "export/export.h"

/* Every plain file at the top of `from` that holds no weights (configuration, tokenizer, templates, licence; not README.md, which
 * speaks of another model), byte for byte.  config.json says `dtype` where its own type is narrower: nothing is rounded
 * again on loading. */
ws_status ws_hf_copy_files(const char *from, const char *to, ws_dtype dtype, ws_err *err);
/* config.json for a model that came from a GGUF.  What its metadata say that Hugging Face cannot be told is refused. */
ws_status ws_hf_config_of_gguf(const ws_checkpoint *c, const char *to, ws_dtype dtype, ws_err *err);
#endif
