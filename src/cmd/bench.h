/* src/cmd/bench.h - what the subjects of `ws bench` share: bench.c parses and measures the machine and matrix products,
 * bench_delta.c measures the gated delta rule, bench_model.c a model (and writes one of random weights). */
#ifndef WS_CMD_BENCH_H
#define WS_CMD_BENCH_H
#include "cmd/cmd.h"

typedef struct ws_bench_opts {
    const char *subject, *dir;
    const char *shapes, *types; /* gemm */
    int nn;
    double seconds;
    long long rows, tokens, context, rounds, rank; /* of a model; 0: the subject's default */
    int64_t memory;   /* of training's activations; 0: half of what is free beside the model */
    const char *like; /* make-checkpoint */
    int f32, text_only;
    unsigned given; /* bits 1 << key of the options on the command line */
} ws_bench_opts;

ws_status ws_bench_delta(const ws_bench_opts *o, const ws_common *c, ws_err *err);
ws_status ws_bench_open(const ws_bench_opts *o, const ws_common *c, ws_err *err);
ws_status ws_bench_train(const ws_bench_opts *o, const ws_common *c, ws_err *err);
ws_status ws_bench_prefill(const ws_bench_opts *o, const ws_common *c, ws_err *err);
ws_status ws_bench_decode(const ws_bench_opts *o, const ws_common *c, ws_err *err);
ws_status ws_bench_make_checkpoint(const ws_bench_opts *o, const ws_common *c, ws_err *err);
#endif
