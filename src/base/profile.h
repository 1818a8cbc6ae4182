/* src/base/profile.h - where the time goes: `--profile`.
 * Kernels and ops bracket their work with enter and leave; time inside a nested bracket counts for the inner one alone, so
 * the rows of a stage add up to its time.  Off, a bracket costs one test.  Only the thread that started it is measured, and
 * only outside of parallel loops: what workers do belongs to the bracket that sent them. */
#ifndef WS_BASE_PROFILE_H
#define WS_BASE_PROFILE_H
#include "base/str.h"
#include <stdint.h>

void ws_profile_start(const char *stage); /* from now on, on this thread */
int ws_profile_on(void);
/* What follows belongs to `stage` (copied); a name that was there before goes on. */
void ws_profile_stage(const char *stage);
/* `kernel` is a literal.  Every enter has its leave, also on errors. */
void ws_profile_enter(const char *kernel);
/* flops: multiplications and additions done; bytes: read from and written to memory at least once.  0: not told. */
void ws_profile_leave(double flops, double bytes);

/* A table per stage: kernel, calls, time, share, GFLOP/s and its share of `gflops`, GB/s and its share of `gbs`, the peaks
 * of the machine (kernel/peak.h).  Kernels with bf16 in their name are held against `bf16` where that is not 0. */
void ws_profile_table(ws_str *out, double gflops, double bf16, double gbs);
#endif
