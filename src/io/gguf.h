/* src/io/gguf.h - GGUF v2 and v3, mapped and validated (magic, counts, string and array lengths, alignment, offsets). */
#ifndef WS_IO_GGUF_H
#define WS_IO_GGUF_H
#include "io/safetensors.h"

typedef struct ws_gguf ws_gguf;
int ws_is_gguf(const char *path); /* a file that begins as one does */
/* One file, or the first of NAME-00001-of-0000N.gguf: the others are opened with it, and the tensors of all are here. */
ws_status ws_gguf_open(ws_gguf **out, const char *path, ws_err *err);
/* The same on bytes that the caller keeps until close. */
ws_status ws_gguf_parse(ws_gguf **out, const void *bytes, size_t n, const char *name_for_errors, ws_err *err);
void ws_gguf_close(ws_gguf *g);
size_t ws_gguf_count(const ws_gguf *g);
/* Tensor i with the file's own name ("blk.0.attn_q.weight"); dims are reversed into [rows, cols]. */
const ws_tensor *ws_gguf_at(const ws_gguf *g, size_t i);
const ws_tensor *ws_gguf_find(const ws_gguf *g, const char *name);
/* Metadata.  A missing key returns 0 / NULL; a key of another type is an error reported by the caller. */
int ws_gguf_has(const ws_gguf *g, const char *key);
/* NUL-terminated copy held by g; NULL: missing or no string. */
const char *ws_gguf_str(const ws_gguf *g, const char *key, size_t *len);
int ws_gguf_int(const ws_gguf *g, const char *key, int64_t *out); /* any integer or bool type; 1 found */
int ws_gguf_num(const ws_gguf *g, const char *key, double *out);  /* any number; 1 found */
/* Arrays: number of elements (0: missing or no array of that kind). */
size_t ws_gguf_strings(const ws_gguf *g, const char *key, const char *const **out, const size_t **lens);
size_t ws_gguf_ints(const ws_gguf *g, const char *key, const int64_t **out);
size_t ws_gguf_nums(const ws_gguf *g, const char *key, const double **out);
json_t *ws_gguf_meta_json(const ws_gguf *g); /* all metadata for `inspect`, long arrays shortened; caller decrefs */
#endif
