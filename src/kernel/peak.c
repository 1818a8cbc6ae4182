#include "kernel/peak.h"
#include "base/err.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include <stdlib.h>

enum { ROUNDS = 40000, RUNS = 60, PASSES = 4, PIECE = 1 << 20 };
static const double enough = 2; /* seconds of runs, where more threads are asked for than there are cores */

typedef struct job {
    int64_t (*spin)(int64_t rounds, float *sink);
    const float *p;
    float sink[256];
} job;

static void spin(void *arg, int64_t begin, int64_t end) {
    job *j = arg;
    for (int64_t i = begin; i < end; i++) j->spin(ROUNDS, &j->sink[i % 256]);
}

static double peak(int threads, int64_t (*fn)(int64_t rounds, float *sink)) {
    job j = {.spin = fn};
    int before = ws_threads();
    double best = 0;
    if (threads <= 0) threads = before;
    ws_threads_set(threads);
    const double began = ws_now();
    for (int r = 0; r < RUNS && (r < 2 || ws_now() - began < enough); r++) {
        double t = ws_now();
        ws_parallel_for(threads, 1, spin, &j);
        t = ws_now() - t;
        double rate = (double)threads * (double)fn(0, &j.sink[0]) * ROUNDS / t * 1e-9;
        if (rate > best) best = rate;
    }
    ws_threads_set(before);
    return best;
}

double ws_peak_fma(int threads) { return peak(threads, ws_k.fma_spin); }
double ws_peak_bf16(int threads) { return ws_k.bf16 ? peak(threads, ws_k.bf16->spin) : 0; }
double ws_peak_multiply(int threads) {
    return ws_compute_type() == WS_COMPUTE_BF16 && ws_k.bf16 ? ws_peak_bf16(threads) : ws_peak_fma(threads);
}

/* Of one stream a core reads about half of what it can, since few lines of it are on their way at a time: so each piece is
 * read as STREAMS streams side by side, and each is asked for what comes next. */
enum { STREAMS = 8, AT_ONCE = 128 };
static void sweep(void *arg, int64_t begin, int64_t end) {
    job *j = arg;
    const int64_t each = PIECE / STREAMS;
    for (int64_t i = begin; i < end; i++) {
        float sum = 0; /* sinks of several threads share a line of the cache */
        for (int64_t k = 0; k < each; k += AT_ONCE)
            for (int64_t s = 0; s < STREAMS; s++) {
                const float *p = j->p + i * PIECE + s * each + k;
                for (int64_t l = 0; l < AT_ONCE; l += 16) __builtin_prefetch(p + AT_ONCE + l);
                sum += ws_k.dot(p, p, AT_ONCE);
            }
        j->sink[i % 256] += sum;
    }
}

double ws_peak_read(int threads) {
    const int64_t pieces = 64; /* 256 MiB */
    job *j = ws_xcalloc(1, sizeof *j);
    float *p = ws_try_huge((size_t)pieces * PIECE * sizeof *p);
    int before = ws_threads();
    double best = 0;
    if (p) {
        for (int64_t i = 0; i < pieces * PIECE; i += 16)
            p[i] = 1; /* pages of zeros would all be one page in the cache */
        j->p = p;
        ws_threads_set(threads > 0 ? threads : before);
        for (int r = 0; r < PASSES; r++) {
            double t = ws_now();
            ws_parallel_for(pieces, 1, sweep, j);
            t = ws_now() - t;
            double rate = (double)pieces * PIECE * sizeof *p / t * 1e-9;
            if (rate > best) best = rate;
        }
        ws_threads_set(before);
    }
    free(p);
    free(j);
    return best;
}

ws_peaks ws_peaks_measure(int threads) {
    if (threads <= 0) threads = ws_threads();
    return (ws_peaks){
        threads,         ws_peak_fma(1),       ws_peak_fma(threads), ws_peak_bf16(1), ws_peak_bf16(threads),
        ws_peak_read(1), ws_peak_read(threads)};
}
