/* src/generate/sample.h - one token from one row of logits.  Order as in HF generate: temperature, top_k, top_p, min_p. */
#ifndef WS_GENERATE_SAMPLE_H
#define WS_GENERATE_SAMPLE_H
#include "base/err.h"
#include <stdint.h>
typedef struct ws_sampling {
    double temperature; /* 0: greedy (lowest id among equals) */
    int top_k;          /* 0: off */
    double top_p;       /* 1: off */
    double min_p;       /* 0: off */
} ws_sampling;
/* `u` uniform in [0, 1).  Non-finite logits (NaN or +inf; -inf is a mask) are WS_ENONFINITE. */
ws_status ws_sample(const float *logits, int64_t vocab, const ws_sampling *s, double u, int32_t *id, ws_err *err);
#endif
