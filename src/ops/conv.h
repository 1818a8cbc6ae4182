/* src/ops/conv.h - causal depthwise convolution and silu before the gated delta rule (models.md 5.2.2, 8.11).
 *     u[t, c] = sum_j w[j, c] m[t - (K-1) + j, c]     c[t] = silu(u[t])     m before position 0 is zero
 * A sequence keeps its last inputs m (before the convolution) in a ring: the input at position p lies in slot
 * p % slots.  K - 1 slots are enough to go on; with K - 1 + d slots the last d tokens can be taken back as well.
 * What lies in the slots of positions < 0 is never read, so a ring needs no clearing.
 * A token's bits depend on its own and the K - 1 inputs before it alone: any split into calls gives the same. */
#ifndef WS_OPS_CONV_H
#define WS_OPS_CONV_H
#include <stddef.h>
#include <stdint.h>

typedef struct ws_conv_shape {
    int64_t channels;
    int taps;       /* K, at most WS_CONV_TAPS */
    int slots;      /* of a sequence's ring, >= K - 1 */
    const float *w; /* [K, channels]: w[K - 1] multiplies the current token; see ws_conv_weights */
} ws_conv_shape;
enum { WS_CONV_TAPS = 16 };

static inline size_t ws_conv_ring_floats(const ws_conv_shape *s) { return (size_t)s->slots * (size_t)s->channels; }
/* w [K, channels] from a checkpoint's [channels, K] (or [channels, 1, K]). */
void ws_conv_weights(float *w, const float *file, int64_t channels, int taps);

/* One sequence of the batch: n tokens at positions pos .. pos+n-1. */
typedef struct ws_conv_row {
    int64_t n, pos;
    const float *m; /* [n, channels] */
    float *c;       /* [n, channels], written; not m */
    float *ring;    /* [slots, channels] read and brought up to date; NULL: pos is 0 and nothing is kept */
} ws_conv_row;
void ws_conv_forward(const ws_conv_shape *s, const ws_conv_row *row, int n_rows);

/* One whole sequence of a training batch.  u is computed again from m; the frozen w gets no gradient. */
typedef struct ws_conv_grad {
    int64_t n;
    const float *m;  /* [n, channels] */
    const float *gc; /* [n, channels] */
    float *gm;       /* [n, channels], written, not added to; may be gc */
} ws_conv_grad;
void ws_conv_backward(const ws_conv_shape *s, const ws_conv_grad *row, int n_rows);
#endif
