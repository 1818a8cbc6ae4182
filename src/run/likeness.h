/* src/run/likeness.h - what published models look like: sizes, tensor names and shapes (models.md 2.2, 2.3, 2.5, 3).
 * No weights are known here; ws_random_model writes a directory of that shape filled with random numbers. */
#ifndef WS_RUN_LIKENESS_H
#define WS_RUN_LIKENESS_H
#include "io/safetensors.h"
#include <jansson.h>

typedef enum ws_like_family { WS_LIKE_QWEN35, WS_LIKE_QWEN3, WS_LIKE_LLAMA } ws_like_family;

typedef struct ws_likeness {
    const char *name; /* "qwen3.5-4b" */
    ws_like_family family;
    int hidden, layers, ffn, heads, kv_heads, head_dim;
    int linear_k, linear_v, linear_dim, conv; /* Qwen3.5: heads of the linear layers, their size, taps */
    int64_t vocab;                            /* rows of the embedding */
    int64_t base;                             /* ids below are byte-level BPE, then come the special tokens */
    int tied, max_pos, thinks;                /* thinks: the template opens a reasoning block unless told otherwise */
    double theta, eps;
    struct {
        int depth, hidden, ffn, patch, positions; /* Qwen3.5's vision tower; depth 0: none */
    } vision;
    int64_t shard; /* bytes of tensors in a file at most; 0: one file without an index */
} ws_likeness;

/* NULL: there is none of that name. */
const ws_likeness *ws_likeness_find(const char *name);
const char *ws_likeness_names(void); /* "qwen3.5-4b, qwen3.5-2b, ..." */

/* How a tensor is filled.  `fan`: standard deviation 1 / sqrt(hidden). */
typedef enum ws_fill {
    WS_FILL_FAN,   /* matrices */
    WS_FILL_EMBED, /* the same; rows that the tokenizer does not speak with are 0 */
    WS_FILL_ZEROS, /* weights of a norm that multiplies by 1 + w: around 0 */
    WS_FILL_ONES,  /* weights of a norm that multiplies by w: around 1 */
    WS_FILL_ONE,   /* exactly 1: dt_bias */
    WS_FILL_ALOG,  /* log U(0.01, 16) */
    WS_FILL_CONV,  /* variance 1 / 12, torch's for four taps */
    WS_FILL_NONE   /* 0: biases */
} ws_fill;

/* All tensors in the order of the model, with the names of the published files, types, shapes and bytes, but no data.
 * `f32`: none in BF16; `text_only`: no vision tower, no MTP block. */
typedef struct ws_like_tensors {
    ws_tensor *t;  /* [n] */
    ws_fill *fill; /* [n] */
    size_t n;
} ws_like_tensors;
ws_like_tensors ws_likeness_tensors(const ws_likeness *l, int f32, int text_only);
void ws_like_tensors_free(ws_like_tensors *t);
json_t *ws_likeness_config(const ws_likeness *l, int f32); /* config.json */
json_t *ws_likeness_generation(const ws_likeness *l);      /* generation_config.json; NULL: published without one */
#endif
