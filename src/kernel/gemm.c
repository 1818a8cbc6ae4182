#include "kernel/gemm.h"
#include "base/parallel.h"
#include "kernel/kernel.h"
#include <stdlib.h>
#include <sys/mman.h>

float *ws_gemm_scratch(size_t floats) {
    static _Thread_local float *buffer;
    static _Thread_local size_t size;
    if (floats > size) {
        free(buffer);
        /* Panels are walked end to end again and again: huge pages, where the system has them, spare the TLB. */
        const size_t huge = 2u << 20, bytes = (floats * sizeof *buffer + huge - 1) / huge * huge;
        buffer = aligned_alloc(huge, bytes);
        if (!buffer) BUG("out of memory: %zu bytes for packing a matrix", bytes);
        madvise(buffer, bytes, MADV_HUGEPAGE);
        size = bytes / sizeof *buffer;
    }
    return buffer;
}

typedef struct job {
    float *y;
    int64_t ldy;
    const float *a;
    int64_t rs, cs, M;
    const ws_weight *w;
    int64_t mb, nb, n_blocks; /* rows and columns of a chunk; chunks along N */
    int64_t N;
    int accumulate, nn;
} job;

static void chunk(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t c = begin; c < end; c++) {
        int64_t m0 = c / j->n_blocks * j->mb, n0 = c % j->n_blocks * j->nb;
        int64_t m1 = m0 + j->mb < j->M ? m0 + j->mb : j->M, n1 = n0 + j->nb < j->N ? n0 + j->nb : j->N;
        float *y = j->y + m0 * j->ldy;
        const float *a = j->a + m0 * j->rs;
        if (j->nn)
            ws_k.gemm_nn(y, j->ldy, a, j->rs, j->cs, m1 - m0, j->w, n0, n1, j->accumulate);
        else
            ws_k.gemm_nt(y, j->ldy, a, j->rs, m1 - m0, j->w, n0, n1, j->accumulate);
    }
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Chunks are cut by the shape alone.  Columns first, in multiples of `nu` near `nc`; then rows, in multiples of `mu`
 * and never fewer than `mc`, until there are enough chunks to keep many threads even. */
static void run(job *j, int64_t K, int64_t nc, int64_t nu, int64_t mc, int64_t mu) {
    if (j->M <= 0 || j->N <= 0) return;
    int64_t nb = ceil_div(ceil_div(j->N, ceil_div(j->N, nc)), nu) * nu;
    j->n_blocks = ceil_div(j->N, nb);
    j->nb = nb;
    int64_t m_blocks = ceil_div(48, j->n_blocks);
    if (m_blocks > j->M / mc) m_blocks = j->M / mc > 0 ? j->M / mc : 1;
    j->mb = ceil_div(ceil_div(j->M, m_blocks), mu) * mu;
    int64_t chunks = ceil_div(j->M, j->mb) * j->n_blocks;
    if ((double)j->M * (double)j->N * (double)K < 3e4)
        chunk(j, 0, chunks); /* a few microseconds: not worth waking anyone */
    else
        ws_parallel_for(chunks, 1, chunk, j);
}

void ws_gemm_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int accumulate) {
    job j = {.y = y, .ldy = ldy, .a = x, .rs = ldx, .cs = 1, .M = M, .w = w, .N = w->rows, .accumulate = accumulate};
    run(&j, w->cols, 96, 12, 128, 8);
}

void ws_gemm_nn(float *y, int64_t ldy, const float *a, int64_t rs, int64_t cs, int64_t M, const ws_weight *w,
                int accumulate) {
    job j = {.y = y,
             .ldy = ldy,
             .a = a,
             .rs = rs,
             .cs = cs,
             .M = M,
             .w = w,
             .N = w->cols,
             .accumulate = accumulate,
             .nn = 1};
    run(&j, w->rows, 512, 32, 96, 24);
}
