/* src/export/compare.h - do two models say the same?  Log-probabilities of every token at every position of some prompts. */
#ifndef WS_EXPORT_COMPARE_H
#define WS_EXPORT_COMPARE_H
#include "steer/steer.h"

/* A model and what hangs in it, each patch at its strength. */
typedef struct ws_voice {
    ws_model *m;
    int n;
    ws_patch *const *patch; /* [n] */
    const float *alpha;     /* [n] */
} ws_voice;

typedef struct ws_agreement {
    int64_t positions;
    double max_dlogp;        /* over positions and vocabulary */
    double mean_kl, max_kl;  /* KL(b || a), nats */
    double mean_kl_unedited; /* KL(a || base): what the steering itself does, for scale */
} ws_agreement;
/* a: how it should be, b: what is to be judged; base: the model without anything.  The vocabularies must have one size. */
ws_status ws_compare(const ws_voice *a, const ws_voice *b, ws_model *base, const ws_ids *prompt, int n,
                     ws_agreement *out, ws_err *err);
#endif
