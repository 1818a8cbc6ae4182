/* src/run/random_model.h - a model directory of a published shape with random weights: for speed, memory and smoke tests
 * where the real one is not at hand.  The same seed gives the same bytes. */
#ifndef WS_RUN_RANDOM_MODEL_H
#define WS_RUN_RANDOM_MODEL_H
#include "run/likeness.h"

typedef struct ws_random_model_options {
    uint64_t seed;
    int f32;       /* every tensor in F32; else BF16, but for the few that are published in F32 */
    int text_only; /* leave the vision tower and the MTP block out */
} ws_random_model_options;

typedef struct ws_random_model_size {
    int64_t params, text_params; /* with and without vision and MTP */
    int64_t bytes;               /* of tensors */
    int tensors, files;
} ws_random_model_size;

void ws_random_model_measure(const ws_likeness *l, const ws_random_model_options *o, ws_random_model_size *s);
/* Streams the tensors to disk, a few MiB in memory; config.json is written last, so a directory that has one is whole.
 * WS_ESTATE: `dir` holds a model already.  WS_EIO before anything is written when the disk has too little room. */
ws_status ws_random_model_write(const ws_likeness *l, const char *dir, const ws_random_model_options *o, ws_err *err);
#endif
