/* src/cmd/bench_delta.c - `ws bench delta`: the gated delta rule at the shape of Qwen3.5-4B (16 key and 32 value heads of 128)
 * for every chunk length, beside what the five projections of the same layer take at the measured FMA peak. */
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "cmd/bench.h"
#include "kernel/kernel.h"
#include "kernel/peak.h"
#include "ops/delta.h"
#include <stdio.h>
#include <stdlib.h>

enum { KEY_HEADS = 16, VALUE_HEADS = 32, HEAD = 128, HIDDEN = 2560 };
/* Numbers of W in the projections of one linear layer: qkv, z, a, b, out. */
static const double projections = HIDDEN * (8192.0 + 4096 + 32 + 32 + 4096);

typedef struct work {
    ws_delta_shape s;
    int64_t tokens, rows;
    ws_delta_row *row; /* [rows] of decode */
    float *c, *g, *beta, *o, *go, *gc, *gg, *gbeta;
} work;

static void prefill(work *w) {
    const ws_delta_row row = {.n = w->tokens, .c = w->c, .g = w->g, .beta = w->beta, .o = w->o};
    ws_delta_forward(&w->s, &row, 1);
}
static void backward(work *w) {
    const ws_delta_grad row = {w->tokens, w->c, w->g, w->beta, w->go, w->gc, w->gg, w->gbeta};
    ws_delta_backward(&w->s, &row, 1);
}
static void decode(work *w) { /* a whole chunk, so that each state is written once */
    for (int i = 0; i < w->s.chunk; i++) {
        for (int64_t r = 0; r < w->rows; r++) w->row[r].pos = 2 * w->s.chunk + i;
        ws_delta_forward(&w->s, w->row, (int)w->rows);
    }
}
static double best_of(void (*fn)(work *), work *w, double seconds) {
    double best = 1e9;
    for (double end = ws_now() + seconds; ws_now() < end;) {
        double start = ws_now();
        fn(w);
        double t = ws_now() - start;
        if (t < best) best = t;
    }
    return best;
}

static float *numbers(int64_t n, double lo, double hi) {
    float *p = ws_xcalloc((size_t)n, sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = (float)(lo + (hi - lo) * (double)((uint32_t)i * 2654435761u >> 8) * 0x1p-24);
    return p;
}
static work make(int chunk, int64_t tokens, int64_t rows) {
    work w = {.s = {KEY_HEADS, VALUE_HEADS, HEAD, HEAD, chunk}, .tokens = tokens, .rows = rows};
    const int64_t n = tokens > rows ? tokens : rows, ld = ws_delta_channels(&w.s), v = VALUE_HEADS;
    w.c = numbers(n * ld, -1, 1), w.g = numbers(n * v, -1, 0), w.beta = numbers(n * v, 0, 1);
    w.o = numbers(n * v * HEAD, 0, 0), w.go = numbers(n * v * HEAD, -1, 1), w.gc = numbers(n * ld, 0, 0);
    w.gg = numbers(n * v, 0, 0), w.gbeta = numbers(n * v, 0, 0);
    w.row = ws_xcalloc((size_t)rows, sizeof *w.row);
    for (int64_t r = 0; r < rows; r++) {
        float *state = numbers((int64_t)ws_delta_s_floats(&w.s), -1, 1);
        w.row[r] = (ws_delta_row){.n = 1,
                                  .c = w.c + r * ld,
                                  .g = w.g + r * v,
                                  .beta = w.beta + r * v,
                                  .o = w.o + r * v * HEAD,
                                  .from = state,
                                  .to = state,
                                  .open = numbers((int64_t)ws_delta_open_floats(&w.s), 0, 0)};
    }
    return w;
}
static void drop(work *w) {
    for (int64_t r = 0; r < w->rows; r++) free(w->row[r].to), free(w->row[r].open);
    free(w->row), free(w->c), free(w->g), free(w->beta), free(w->o), free(w->go), free(w->gc), free(w->gg),
        free(w->gbeta);
}

ws_status ws_bench_delta(const ws_bench_opts *o, const ws_common *c, ws_err *err) {
    const int64_t tokens = o->tokens ? o->tokens : 512, rows = o->rows ? o->rows : 16;
    if (tokens > 16384 || rows > 256)
        return ws_fail(err, WS_EUSAGE, "delta: at most 16384 tokens (--tokens) and 256 rows (--rows)");
    /* Two FLOP a weight, forward and backward: frozen weights get no gradient. */
    const double products = 2 * projections / (ws_peak_fma(0) * 1e9);
    if (!c->json) {
        printf("kernel set %s, %d threads; ns for a token and value head, and the time of all heads as a share of what "
               "the\n"
               "projections of the layer take at the FMA peak\n",
               ws_k.name, ws_threads());
        printf("%6s %18s %18s %18s\n", "chunk", "prefill", "backward", "decode");
    }
    for (int chunk = 4; chunk <= WS_DELTA_CHUNK_MAX; chunk *= 2) {
        if (ws_interrupt_check(err)) return err->code;
        work w = make(chunk, tokens, rows);
        double ns[3] = {best_of(prefill, &w, o->seconds) / (double)tokens,
                        best_of(backward, &w, o->seconds) / (double)tokens,
                        best_of(decode, &w, o->seconds) / (double)(rows * chunk)},
               share[3];
        for (int i = 0; i < 3; i++) share[i] = ns[i] / products, ns[i] *= 1e9 / VALUE_HEADS;
        if (c->json)
            printf("{\"chunk\": %d, \"prefill_ns\": %.1f, \"backward_ns\": %.1f, \"decode_ns\": %.1f, \"shares\": "
                   "[%.4f, %.4f, "
                   "%.4f]}\n",
                   chunk, ns[0], ns[1], ns[2], share[0], share[1], share[2]);
        else
            printf("%6d %10.0f %6.1f%% %10.0f %6.1f%% %10.0f %6.1f%%\n", chunk, ns[0], 100 * share[0], ns[1],
                   100 * share[1], ns[2], 100 * share[2]);
        fflush(stdout);
        drop(&w);
    }
    return WS_OK;
}
