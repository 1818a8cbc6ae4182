/* src/adapter/rotation.h - rotations made of small skew blocks, in double: what OFT and BOFT share (adapters.md 2.5, 2.6).
 *     series  R = I + 2 Q + 2 Q^2 + ... + 2 Q^(p-1) + Q^p    approaches (I + Q)(I - Q)^-1, p = terms - 1
 *     exact   R = (I - Q)(I + Q)^-1                          turns the other way
 * Only E = R - I is ever made, without cancellation, so that small rotations and differences of two keep their digits.
 * Matrices are [b, b], row-major. */
#ifndef WS_ADAPTER_ROTATION_H
#define WS_ADAPTER_ROTATION_H
#include "model/patch.h"
#include <jansson.h>

enum { WS_CAYLEY = -1 }; /* in place of a number of terms: the exact one */

/* Q from the strict upper triangle, row by row [b (b - 1) / 2]; and gv += what gQ says about it. */
void ws_skew_from_upper(double *q, const float *v, int b);
void ws_skew_from_upper_grad(float *gv, const double *gq, int b);
/* Q = (D - D') / 2 of a full block; gd += . */
void ws_skew_from_full(double *q, const float *d, int b);
void ws_skew_from_full_grad(float *gd, const double *gq, int b);

/* Scratch of the two functions below, in doubles. */
int64_t ws_rotation_scratch(int terms, int b);
/* E = R(Q) - I. */
void ws_rotation(double *e, const double *q, int terms, int b, double *scratch);
/* gQ = what gR says about Q; only its skew part means anything. */
void ws_rotation_grad(double *gq, const double *gr, const double *q, int terms, int b, double *scratch);

/* c = a b, a' b, a b' */
void ws_square_nn(double *c, const double *a, const double *b, int n);
void ws_square_tn(double *c, const double *a, const double *b, int n);
void ws_square_nt(double *c, const double *a, const double *b, int n);
/* r = fp32(I + E): the block that turns x; et = fp32(E'): the block of the edit, which multiplies columns. */
void ws_rotation_store(float *r, const double *e, int b);
void ws_rotation_store_edit(float *et, const double *e, int b);

/* The block size that a configuration means for d_in inputs: `size_key` as it stands, or d_in over the number of blocks at
 * `count_key`; exactly one of the two may be above zero.  `fitted`: what does not divide d_in gives way to the nearest
 * divisor with a warning, otherwise it is an error.  `key`: the module, for messages. */
ws_status ws_rotation_block(int *block, const json_t *config, const char *size_key, const char *count_key, int64_t d_in,
                            int fitted, const char *key, const char *where, ws_err *err);

/* x' = x R by blocks of b, R [d_in / b, b, b]; and its gradients: dR += x' dX', then gx = dX' becomes dX' R'. */
void ws_rotate_input(const ws_patch_call *c, float *x, const float *r, int b);
void ws_rotate_grad(const ws_patch_grad *g, const float *r, float *dr, int b);
#endif
