/* src/ops/mlp.h - the gated part of the SwiGLU MLP (models.md 4.4, 8.10): f = silu(g) u, all [n, d].
 * The three linears around it are the model's, because patches hang there. */
#ifndef WS_OPS_MLP_H
#define WS_OPS_MLP_H
#include <stdint.h>
void ws_swiglu_forward(float *f, const float *g, const float *u, int64_t n, int64_t d); /* f may be g or u */
/* gg = gf u silu'(g), gu = gf silu(g). */
void ws_swiglu_backward(float *gg, float *gu, const float *gf, const float *g, const float *u, int64_t n, int64_t d);
#endif
