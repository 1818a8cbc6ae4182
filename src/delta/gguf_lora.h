/* src/delta/gguf_lora.h - LoRA adapters as llama.cpp takes them: GGUF files of pairs <tensor>.lora_a [r, in] and
 * <tensor>.lora_b [out, r], in the names and the order of rows and columns that a GGUF of the model has. */
#ifndef WS_DELTA_GGUF_LORA_H
#define WS_DELTA_GGUF_LORA_H
#include "delta/delta.h"

/* "llama", "qwen35", ...: general.architecture of the model's GGUFs. */
const char *ws_gguf_arch(const ws_model *m);
/* A linear site's weight in such a GGUF: its name ("blk.3.attn_q.weight"; the caller frees it) and the order of its rows and
 * columns.  One table serves models, adapters that are read and adapters that are written. */
ws_status ws_gguf_site(const ws_model *m, int site, char **name, ws_order *rows, ws_order *cols, ws_err *err);
/* alpha / r B A, at strength 1 what `llama-cli --lora FILE` runs. */
ws_status ws_delta_load_gguf(ws_delta **out, const ws_model *m, const char *path, ws_err *err);
ws_status ws_delta_from_gguf(ws_delta **out, const ws_model *m, const ws_gguf *g, const char *path, ws_err *err);
#endif
