/* src/run/lengths.h - how many tokens the prompts of a run have, from a few of each kind: what a plan counts with. */
#ifndef WS_RUN_LENGTHS_H
#define WS_RUN_LENGTHS_H
#include "run/pipeline.h"

typedef struct ws_lengths {
    double prompt;   /* a topic with the chat template around it */
    double system;   /* what a persona adds to it */
    double vignette; /* scenario, question and prefill */
    double question; /* a calibration prompt, its turn opened */
    int vignettes;   /* how many there are; 0: that readout is not asked for */
} ws_lengths;
/* `prompts`: the file of calibration prompts. */
ws_status ws_lengths_of(ws_lengths *l, const ws_run_input *in, const ws_run_options *o, const char *prompts,
                        ws_err *err);
#endif
