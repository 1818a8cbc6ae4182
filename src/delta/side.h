/* src/delta/side.h - one side of a contrast, theta, as theta - base, row by row: an adapter, a LoRA GGUF or a dW file by its
 * edits, or a whole checkpoint by its weights.  Nothing larger than the rows that are asked for is made. */
#ifndef WS_DELTA_SIDE_H
#define WS_DELTA_SIDE_H
#include "delta/delta.h"

/* What `path` is: an adapter directory, a LoRA GGUF or a dW file, or else something that ws_checkpoint_open must judge. */
int ws_is_edits(const char *path);
/* An adapter directory (theta - base), a LoRA GGUF or a dW file.  Another base is refused unless `force`. */
ws_status ws_delta_open(ws_delta **out, const ws_model *m, const char *path, int force, ws_err *err);

typedef struct ws_side {
    const ws_model *base;
    char *path, hash[65]; /* SHA-256 of the adapter's files; of a checkpoint its identity */
    ws_delta *edits;      /* NULL: a checkpoint */
    ws_checkpoint *c;
    ws_model *m;
} ws_side;
ws_status ws_side_from_edits(ws_side *s, const ws_model *base, const char *path, int force, ws_err *err);
/* `c` is taken over, also on failure.  Refused by name: another architecture, sizes, a missing tensor, another shape.
 * Warned about: another RoPE or epsilon, which dW does not carry, and weights stored otherwise than the base's. */
ws_status ws_side_from_checkpoint(ws_side *s, const ws_model *base, ws_checkpoint *c, ws_err *err);
void ws_side_close(ws_side *s);

/* 1: theta may differ from the base at this linear. */
int ws_side_touches(const ws_side *s, int site);
/* out [r1 - r0, d_in] += scale * rows of (theta - base), in double. */
void ws_side_rows(const ws_side *s, int site, int64_t r0, int64_t r1, double scale, double *out);
/* out [d_out] += scale * (theta's bias - base's); 0: the side does not change it. */
int ws_side_bias(const ws_side *s, int site, double scale, double *out);
/* The values of a parameter that is no linear's, for comparison: theta's own tensor; NULL: it is the base's. */
const ws_tensor *ws_side_tensor(const ws_side *s, const char *name);
/* Mapped pages of the site's weights are given back. */
void ws_side_forget(const ws_side *s, int site);
#endif
