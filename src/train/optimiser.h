/* src/train/optimiser.h - gradient clipping and AdamW over an adapter's flat arrays (adapters.md 4.4). */
#ifndef WS_TRAIN_OPTIMISER_H
#define WS_TRAIN_OPTIMISER_H
#include "adapter/adapter.h"

typedef struct ws_adamw {
    int64_t size;
    float *m, *v; /* [size] first and second moments */
    double weight_decay, clip;
} ws_adamw;

ws_status ws_adamw_new(ws_adamw *o, int64_t size, double weight_decay, double clip, ws_err *err);
void ws_adamw_release(ws_adamw *o);
/* Step k = 0, 1, ... with learning rate lr; *norm is the global gradient norm before clipping.  A gradient that is not finite
 * is WS_ENONFINITE naming the tensor, and nothing is changed. */
ws_status ws_adamw_step(ws_adamw *o, ws_adapter *a, const ws_model *m, int64_t k, double lr, double *norm, ws_err *err);
#endif
