#include "kernel/gemm.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A buffer that a thread keeps and grows: the panels of the kernels; rows in the order of a matrix whose columns are stored in another one. */
typedef struct kept {
    float *buffer;
    size_t size;
} kept;
static float *keep(kept *k, size_t floats) {
    if (floats > k->size) {
        free(k->buffer);
        /* Panels are walked end to end again and again: huge pages, where the system has them, spare the TLB. */
        const size_t huge = 2u << 20, bytes = (floats * sizeof *k->buffer + huge - 1) / huge * huge;
        k->buffer = aligned_alloc(huge, bytes);
        if (!k->buffer) BUG("out of memory: %zu bytes for packing a matrix", bytes);
        madvise(k->buffer, bytes, MADV_HUGEPAGE);
        k->size = bytes / sizeof *k->buffer;
    }
    return k->buffer;
}
static _Thread_local kept panels, reordered;
float *ws_gemm_scratch(size_t floats) { return keep(&panels, floats); }

typedef struct job {
    float *y;
    int64_t ldy;
    const float *a;
    int64_t rs, cs, M;
    const ws_weight *w;
    int64_t mb, nb, n_blocks; /* rows and columns of a chunk; chunks along N */
    int64_t N;
    int accumulate, nn;
    ws_gemm_then *then; /* NULL: nothing */
    void *then_arg;
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
        if (j->then) j->then(j->then_arg, m0, m1 - m0, n0, n1);
    }
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* How chunks are cut changes no bits.  Columns first, in multiples of `nu` near `nc`; then rows, in multiples of `mu`,
 * until there are `each` chunks a thread, but not into fewer than `mc` rows unless a thread would have nothing to do, nor
 * into more than `longest`; and no thread has one chunk more than another, where the shape lets it. */
static void run(job *j, int64_t K, int64_t nc, int64_t nu, int64_t mc, int64_t mu, int64_t each, int64_t longest) {
    if (j->M <= 0 || j->N <= 0) return;
    const int64_t threads = ws_threads();
    int64_t n_blocks = ceil_div(j->N, nc);
    if (j->M <= 64 && n_blocks < threads)
        n_blocks = threads < j->N / nu ? threads : ceil_div(j->N, nu); /* thin products */
    int64_t m_blocks = ceil_div(each * threads, n_blocks), most = j->M / mc;
    if (n_blocks * most < threads) most = ceil_div(threads, n_blocks);
    if (most > j->M / mu) most = j->M / mu > 0 ? j->M / mu : 1;
    m_blocks = m_blocks < most ? m_blocks : most;
    if (m_blocks < ceil_div(j->M, longest)) m_blocks = ceil_div(j->M, longest);
    if (n_blocks * m_blocks % threads && m_blocks < most && n_blocks * (m_blocks + 1) % threads == 0) m_blocks++;
    if (n_blocks * m_blocks % threads && n_blocks > 1) n_blocks = ceil_div(n_blocks, threads) * threads;
    j->nb = ceil_div(ceil_div(j->N, n_blocks), nu) * nu;
    j->n_blocks = ceil_div(j->N, j->nb);
    j->mb = ceil_div(ceil_div(j->M, m_blocks), mu) * mu;
    int64_t chunks = ceil_div(j->M, j->mb) * j->n_blocks;
    if ((double)j->M * (double)j->N * (double)K < 3e4)
        chunk(j, 0, chunks); /* a few microseconds: not worth waking anyone */
    else
        ws_parallel_for(chunks, 1, chunk, j);
}

/* Columns of a chunk: every chunk reads all of its rows of x, so wide ones read x fewer times; narrow ones where wide ones
 * would be too few for all threads. */
static int64_t wide_or(int64_t wide, int64_t narrow, int64_t M, int64_t N, int64_t mc, int64_t each) {
    return ceil_div(N, wide) * (M > mc ? M / mc : 1) >= each * ws_threads() ? wide : narrow;
}

/* Wide chunks of x W': as many columns as leave half of a core's second-level cache beside their panels, of 640 inputs in
 * fp32 (lanes_nt.h): where that cache has 512 KiB, 192 columns are 5 to 10 % slower than 96.  A system that does not tell
 * is taken for one of 1 MiB. */
static int64_t wide_columns(void) {
    enum { UNIT = 48, MOST = 192 };
    static int64_t known;
    if (!known) {
        const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
        const int64_t fit = (l2 > 0 ? l2 : 1L << 20) / 2 / (640 * (long)sizeof(float)) / UNIT * UNIT;
        known = fit < UNIT ? UNIT : fit > MOST ? MOST : fit;
    }
    return known;
}

/* ---- matrices whose columns stand in another order (ws_order): the rows that meet them are put into it ---- */
enum { SLAB = 512 }; /* rows at a time, so that the copy stays small beside the product */

typedef struct move {
    ws_order order;
    float *stored, *y;
    const float *x;
    int64_t ld, n;
} move;

static void store_rows(void *arg, int64_t begin, int64_t end) {
    const move *m = arg;
    for (int64_t r = begin; r < end; r++) ws_order_store(m->order, m->x + r * m->ld, m->stored + r * m->n, m->n);
}
static void load_rows(void *arg, int64_t begin, int64_t end) {
    const move *m = arg;
    for (int64_t r = begin; r < end; r++) ws_order_load(m->order, m->stored + r * m->n, m->y + r * m->ld, m->n);
}

static void nt_reordered(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w,
                         int accumulate) {
    ws_weight plain = *w;
    float *stored = keep(&reordered, (size_t)(M < SLAB ? M : SLAB) * (size_t)w->cols);
    plain.col_order.a = 0;
    for (int64_t m = 0; m < M; m += SLAB) {
        const int64_t n = M - m < SLAB ? M - m : SLAB;
        move in = {.order = w->col_order, .stored = stored, .x = x + m * ldx, .ld = ldx, .n = w->cols};
        ws_parallel_for(n, 32, store_rows, &in);
        ws_gemm_nt(y + m * ldy, ldy, stored, w->cols, n, &plain, accumulate);
    }
}

static void nn_reordered(float *y, int64_t ldy, const float *a, int64_t rs, int64_t cs, int64_t M, const ws_weight *w,
                         int accumulate) {
    ws_weight plain = *w;
    float *stored = keep(&reordered, (size_t)(M < SLAB ? M : SLAB) * (size_t)w->cols);
    plain.col_order.a = 0;
    for (int64_t m = 0; m < M; m += SLAB) {
        const int64_t n = M - m < SLAB ? M - m : SLAB;
        move out = {
            .order = w->col_order, .stored = stored, .x = y + m * ldy, .y = y + m * ldy, .ld = ldy, .n = w->cols};
        if (accumulate) ws_parallel_for(n, 32, store_rows, &out);
        ws_gemm_nn(stored, w->cols, a + m * rs, rs, cs, n, &plain, accumulate);
        ws_parallel_for(n, 32, load_rows, &out);
    }
}

/* Bytes that a product reads and writes at least: the matrix as it is stored, and its two sides in fp32. */
static double traffic(int64_t M, const ws_weight *w) {
    return (double)w->rows * (double)w->row_bytes + 4.0 * (double)M * (double)(w->rows + w->cols);
}

void ws_gemm_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int accumulate) {
    ws_gemm_nt_then(y, ldy, x, ldx, M, w, accumulate, NULL, NULL);
}

void ws_gemm_nt_then(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int accumulate,
                     ws_gemm_then *then, void *arg) {
    if (w->col_order.a) {
        nt_reordered(y, ldy, x, ldx, M, w, accumulate);
        if (then) then(arg, 0, M, 0, w->rows);
        return;
    }
    job j = {.y = y,
             .ldy = ldy,
             .a = x,
             .rs = ldx,
             .cs = 1,
             .M = M,
             .w = w,
             .N = w->rows,
             .accumulate = accumulate,
             .then = then,
             .then_arg = arg};
    ws_profile_enter(M <= 4 ? "x W', 1-4 rows" : M < 64 ? "x W', 5-63 rows" : "x W'");
    /* Where K is long a chunk of y is added to many times: it should stay in the second-level cache beside the panels. */
    /* Of few rows reading W is all the work, and the longer a chunk is, the longer are the streams that it is read in; types
     * that take more instructions to widen gain from still longer ones (4 to 5 % of a step with 8 lanes). */
    const int64_t wide = wide_columns(), narrow = wide < 96 ? wide : 96, few = w->type < WS_Q8_0 ? 288 : 768;
    const int64_t nc = M <= 4 ? few : M <= 64 ? 96 : wide_or(wide, narrow, M, j.N, 96, 3);
    run(&j, w->cols, nc, M <= 8 ? 8 : 4, 96, 6, 3, w->cols > 2048 ? 256 : M);
    ws_profile_leave(2.0 * (double)M * (double)w->rows * (double)w->cols, traffic(M, w));
}

void ws_gemm_nn(float *y, int64_t ldy, const float *a, int64_t rs, int64_t cs, int64_t M, const ws_weight *w,
                int accumulate) {
    if (w->col_order.a) {
        nn_reordered(y, ldy, a, rs, cs, M, w, accumulate);
        return;
    }
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
    ws_profile_enter(M < 64 ? "A W, up to 63 rows" : "A W");
    run(&j, w->rows, wide_or(576, 288, M, j.N, 256, 2), 32, 384, 24, 2, M);
    ws_profile_leave(2.0 * (double)M * (double)w->rows * (double)w->cols, traffic(M, w));
}
