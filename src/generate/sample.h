/* src/generate/sample.h - one token from one row of logits.
 * Order as in HF generate: temperature, top_k, top_p, min_p. */
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
/* What answers are sampled with where nobody says otherwise (pipeline.md 2): temperature 0.6, top_p 0.95, top_k 20 for
 * models that reason first, else 0.7, 0.8, 20. */
ws_sampling ws_sampling_default(int thinks);
/* temperature >= 0, top_k >= 0, 0 < top_p <= 1, 0 <= min_p <= 1; else WS_EUSAGE names the setting. */
ws_status ws_sampling_check(const ws_sampling *s, ws_err *err);
/* `u` uniform in [0, 1).  Non-finite logits (NaN or +inf; -inf is a mask) are WS_ENONFINITE. */
ws_status ws_sample(const float *logits, int64_t vocab, const ws_sampling *s, double u, int32_t *id, ws_err *err);

/* The distribution that ws_sample draws from: the ids that the filters keep, ascending, and their probabilities. */
typedef struct ws_kept {
    int n;
    int32_t *id; /* [n] */
    double *p;   /* [n], sums to 1 */
} ws_kept;
ws_status ws_sample_kept(const float *logits, int64_t vocab, const ws_sampling *s, ws_kept *out, ws_err *err);
void ws_kept_free(ws_kept *k);
#endif
