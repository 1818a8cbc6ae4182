/* src/delta/left_out.h - parameters of a checkpoint that are no linear's: norms, embeddings, head, convolutions.  A dW has
 * no place for them; how much they changed is told. */
#ifndef WS_DELTA_LEFT_OUT_H
#define WS_DELTA_LEFT_OUT_H
#include "delta/whole.h"
/* Fills r->left with ||cp (theta_pos - base) + cn (theta_neg - base)||^2 by kind, where it is not 0. */
ws_status ws_left_out(ws_whole_report *r, const ws_side *pos, const ws_side *neg, double cp, double cn, ws_err *err);
#endif
