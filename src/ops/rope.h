/* src/ops/rope.h - rotary position embedding, half-split pairing (models.md 4.2, 8.7).
 *     y_j = x_j cos - x_{j+R/2} sin     y_{j+R/2} = x_{j+R/2} cos + x_j sin     j < R/2; dims >= R pass through
 * with cos and sin of position * inv_freq_j, both times attention_factor. */
#ifndef WS_OPS_ROPE_H
#define WS_OPS_ROPE_H
#include "base/err.h"
#include <stdint.h>

typedef enum ws_rope_kind {
    WS_ROPE_DEFAULT,
    WS_ROPE_LINEAR,
    WS_ROPE_LLAMA3,
    WS_ROPE_YARN,
    WS_ROPE_FACTORS /* one divisor per frequency, as GGUF files carry them */
} ws_rope_kind;

typedef struct ws_rope_params {
    ws_rope_kind kind;
    int dim; /* R, even */
    double theta, factor;
    double original_max;           /* llama3, yarn: original_max_position_embeddings */
    double low_freq, high_freq;    /* llama3 */
    double beta_fast, beta_slow;   /* yarn */
    double mscale, mscale_all_dim; /* yarn; 0: not given */
    double attention_factor;       /* yarn; 0: not given */
    int no_truncate;               /* yarn: keep the correction range unrounded */
    const double *factors;         /* factors: [R/2] */
} ws_rope_params;

typedef struct ws_rope {
    int dim;                /* R */
    float *inv_freq;        /* [R/2] */
    float attention_factor; /* 1 except yarn */
    int n_pos;              /* positions that the tables hold */
    float *cos, *sin;       /* [n_pos, R/2] */
} ws_rope;

/* WS_EFORMAT when the parameters make no frequencies (factor <= 0, theta <= 0, ...). */
ws_status ws_rope_init(ws_rope *r, const ws_rope_params *p, ws_err *err);
void ws_rope_release(ws_rope *r);
/* Tables for positions 0 .. n_pos-1; grows by doubling. */
void ws_rope_reserve(ws_rope *r, int n_pos);
/* In place on x [n, ld]: `heads` heads of head_dim numbers, token i at position pos[i] (reserved before). */
void ws_rope_forward(const ws_rope *r, float *x, int64_t ld, int64_t n, int heads, int head_dim, const int32_t *pos);
/* gx := gradient of the input, in place: the rotation is orthogonal, so it is the rotation by the opposite angle. */
void ws_rope_backward(const ws_rope *r, float *gx, int64_t ld, int64_t n, int heads, int head_dim, const int32_t *pos);
#endif
