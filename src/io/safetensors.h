/* src/io/safetensors.h - read by mmap, write atomically.  Format: models.md 1, adapters.md 1.6. */
#ifndef WS_IO_SAFETENSORS_H
#define WS_IO_SAFETENSORS_H
#include "base/dtype.h"
#include "io/file.h"
#include "io/order.h"
#include <jansson.h>

/* Vision towers hold convolutions of five dimensions; nothing we compute with has more than three. */
enum { WS_MAX_DIMS = 6 };

/* What a GGUF stores in place of a Hugging Face value v: v itself, v + 1 (zero-centred norms), -exp(v) (A_log). */
typedef enum ws_stored { WS_STORED_PLAIN, WS_STORED_PLUS_ONE, WS_STORED_NEG_EXP } ws_stored;

/* A tensor as every reader presents it; shape outermost first ([rows, cols]). */
typedef struct ws_tensor {
    char *name; /* Hugging Face name, canonical prefix (models.md 1) when it comes from a checkpoint */
    ws_dtype type;
    int dims;
    int64_t dim[WS_MAX_DIMS];
    const void *data; /* in the mapping; little endian; alignment is NOT guaranteed */
    size_t bytes;
    /* GGUF only: how the data differ from what Hugging Face has; every reader of values undoes it. */
    ws_order row_order, col_order; /* order of the outermost dimension; of the innermost one of a matrix */
    ws_stored stored;
} ws_tensor;
int64_t ws_tensor_numel(const ws_tensor *t);
/* Widen to fp32: Hugging Face's values in Hugging Face's order; the caller frees.  NULL only when out of memory. */
float *ws_tensor_f32(const ws_tensor *t);
/* The same for row r (of the outermost dimension) alone: out[numel / rows]. */
void ws_tensor_row_f32(const ws_tensor *t, int64_t r, float *out);
/* "[1536, 576]" */
void ws_tensor_shape(const ws_tensor *t, char out[96]);

typedef struct ws_safetensors ws_safetensors;
/* Everything is validated before use: header size, nesting, types, ranges inside the file, sizes, overlaps. */
ws_status ws_safetensors_open(ws_safetensors **out, const char *path, ws_err *err);
/* The same on bytes that the caller keeps until close. */
ws_status ws_safetensors_parse(ws_safetensors **out, const void *bytes, size_t n, const char *name_for_errors,
                               ws_err *err);
void ws_safetensors_close(ws_safetensors *s);
size_t ws_safetensors_count(const ws_safetensors *s);
const ws_tensor *ws_safetensors_at(const ws_safetensors *s, size_t i);           /* in file order of offsets */
const ws_tensor *ws_safetensors_find(const ws_safetensors *s, const char *name); /* NULL: none */
const json_t *ws_safetensors_meta(const ws_safetensors *s);                      /* __metadata__ object, or NULL */

/* Writer: names sorted, header padded to 8 with spaces, offsets in that order; `meta` string -> string, may be NULL
 * (then {"format":"pt"}).  Data pointers are read while writing.  Streams, so any size. */
ws_status ws_safetensors_write(const char *path, const ws_tensor *t, size_t n, const json_t *meta, ws_err *err);
/* The same for tensors that are in no memory: `fill` is asked for bytes [from, from + n) of each tensor in the order of the
 * file, a few MiB at a time; the data pointers of `t` are not looked at.  An error of `fill` ends it, and no file is left. */
typedef ws_status (*ws_tensor_fill_fn)(void *arg, const ws_tensor *t, size_t from, void *out, size_t n, ws_err *err);
ws_status ws_safetensors_stream(const char *path, const ws_tensor *t, size_t n, const json_t *meta,
                                ws_tensor_fill_fn fill, void *arg, ws_err *err);
#endif
