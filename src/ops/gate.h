/* src/ops/gate.h - the sigmoid output gate of full attention in Qwen3.5 (models.md 5.1, 8.9): y = o sigmoid(c).
 * q_proj gives query and gate of each head side by side, [head: query hd | gate hd]. */
#ifndef WS_OPS_GATE_H
#define WS_OPS_GATE_H
#include <stdint.h>
/* q, c [n, heads, hd] from qc [n, heads, 2 hd], and back. */
void ws_gate_split(float *q, float *c, const float *qc, int64_t n, int heads, int hd);
void ws_gate_join(float *qc, const float *q, const float *c, int64_t n, int heads, int hd);
/* y, o, c [n, d]; y may be o. */
void ws_gate_forward(float *y, const float *o, const float *c, int64_t n, int64_t d);
/* go = gy sigmoid(c), gc = gy o sigmoid'(c), with o from before the gate; go may be gy. */
void ws_gate_backward(float *go, float *gc, const float *gy, const float *o, const float *c, int64_t n, int64_t d);
#endif
