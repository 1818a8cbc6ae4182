/* src/kernel/base_product.c - products with a model's own weights: fp32 as gemm.c has them, or the loops around bf16. */
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/compute.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include <stdlib.h>

/* ---------- numbers rounded to bf16 ---------- */

typedef uint32_t four __attribute__((vector_size(16)));
typedef uint16_t halves __attribute__((vector_size(8)));

/* The bits of ws_bf16_round in the upper half, 0 below. */
static inline four rounded(four u) {
    const four up = u + 0x7fff + (u >> 16 & 1), nan = (four)((u & 0x7fffffff) > 0x7f800000);
    const four small = (four)((u & 0x7f800000) == 0);
    return ((nan & (u | 0x400000)) | (~nan & ~small & up) | (small & (u & 0x80000000))) & 0xffff0000;
}

static void round_f32(float *x, int64_t n) {
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        four u;
        memcpy(&u, x + i, sizeof u);
        u = rounded(u);
        memcpy(x + i, &u, sizeof u);
    }
    for (; i < n; i++) x[i] = ws_bf16_f32(ws_bf16_round(x[i]));
}

static void narrow(uint16_t *to, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        four u;
        memcpy(&u, x + i, sizeof u);
        const halves h = __builtin_convertvector(rounded(u) >> 16, halves);
        memcpy(to + i, &h, sizeof h);
    }
    for (; i < n; i++) to[i] = ws_bf16_round(x[i]);
}

/* ---------- buffers that a thread keeps ---------- */

typedef struct kept {
    void *p;
    size_t bytes;
} kept;
static void *keep(kept *k, size_t bytes) {
    if (bytes > k->bytes) {
        const size_t unit = bytes < (size_t)1 << 20 ? 4096 : (size_t)2 << 20; /* in large pages where it is large */
        bytes = (bytes + unit - 1) / unit * unit;
        free(k->p);
        k->p = unit == 4096 ? aligned_alloc(unit, bytes) : ws_try_huge(bytes);
        if (!k->p) BUG("out of memory: %zu bytes for a matrix in bf16", bytes);
        k->bytes = bytes;
    }
    return k->p;
}
static _Thread_local kept left, weights, line, turned, low, low_panels, alongs;

/* ---------- the products ---------- */

enum { SLAB = 1024, COPY_ROWS = 64, COPY_COLS = 256 }; /* rows of x at a time; weights that are copied at a time */

typedef struct product {
    float *y;
    int64_t ldy;
    const float *x; /* as given */
    int64_t ldx;
    void *rounded; /* [M, ld]: bf16 where the set multiplies pairs (maybe panels), else fp32 */
    int panels;    /* of 16 rows (kernel.h) */
    int64_t ld, M, K;
    ws_order order; /* of x's columns */
    const ws_weight *w;
    int64_t mb, nb, n_blocks, N;
    int nn, accumulate;
    const ws_beside *beside; /* n_beside of them, from the first row of all */
    int n_beside, in_sums;   /* in_sums: they go into the sums of tiles */
    ws_along along;
    int64_t row; /* the first row of this piece */
} product;

/* Panels begin .. end - 1 of 16 rows; rows that are not there are zeros. */
static void round_panels(void *arg, int64_t begin, int64_t end) {
    const product *p = arg;
    for (int64_t i = begin; i < end; i++) {
        const float *row[16];
        float *moved = p->order.a ? keep(&line, (size_t)(16 * p->K) * sizeof *moved) : NULL;
        for (int64_t r = 0; r < 16; r++) {
            const int64_t m = 16 * i + r;
            row[r] = m < p->M ? p->x + m * p->ldx : NULL;
            if (!moved || !row[r]) continue;
            ws_order_store(p->order, row[r], moved + r * p->K, p->K);
            row[r] = moved + r * p->K;
        }
        ws_k.bf16->panel((uint16_t *)p->rounded + 16 * i * p->ld, row, p->K);
    }
}

static void round_rows(void *arg, int64_t begin, int64_t end) {
    const product *p = arg;
    for (int64_t m = begin; m < end; m++) {
        const float *x = p->x + m * p->ldx;
        if (p->order.a) {
            float *moved = keep(&line, (size_t)p->K * sizeof *moved);
            ws_order_store(p->order, x, moved, p->K);
            x = moved;
        }
        if (ws_k.bf16) {
            uint16_t *to = (uint16_t *)p->rounded + m * p->ld;
            ws_k.bf16->round(to, x, p->K);
            memset(to + p->K, 0, (size_t)(p->ld - p->K) * sizeof *to);
        } else {
            float *to = (float *)p->rounded + m * p->ld;
            memcpy(to, x, (size_t)p->K * sizeof *to);
            round_f32(to, p->K);
        }
    }
}

/* Rows r0 .. r0 + rows - 1 and columns c0 .. c0 + cols - 1 of W in bf16; c0 begins a block. */
static ws_weight copied(const ws_weight *w, int64_t r0, int64_t rows, int64_t c0, int64_t cols) {
    uint16_t *to = keep(&weights, (size_t)(rows * cols) * sizeof *to);
    float *wide = keep(&line, (size_t)cols * sizeof *wide);
    for (int64_t r = 0; r < rows; r++) {
        const char *row = ws_weight_row(w, r0 + r);
        ws_k.widen(wide, row + ws_dtype_bytes(w->type, c0), w->type, cols);
        narrow(to + r * cols, wide, cols);
    }
    return (ws_weight){.data = to, .type = WS_BF16, .rows = rows, .cols = cols, .row_bytes = (size_t)cols * 2};
}

/* What lies beside rows of y from `row` on, and before `end`. */
static int64_t beside_from(const ws_beside *b, int64_t row) { return b->first > row ? b->first : row; }
static int64_t beside_to(const ws_beside *b, int64_t end) { return b->first + b->n < end ? b->first + b->n : end; }

/* Rows m0 .. m0 + m - 1 and columns n0 .. n1 - 1 of what goes beside in fp32, while y is in the cache. */
static void thin(const product *p, int64_t m0, int64_t m, int64_t n0, int64_t n1) {
    enum { PACK = 48 };
    for (int i = 0; i < p->n_beside; i++) {
        const ws_beside *b = &p->beside[i];
        if (b->a) continue;
        const int64_t from = beside_from(b, p->row + m0), to = beside_to(b, p->row + m0 + m);
        if (from >= to) continue;
        float *y = p->y + (from - p->row) * p->ldy + n0;
        const float *h = b->h + (from - b->first) * b->k;
        const ws_weight v = ws_weight_f32(b->v + n0, b->k, n1 - n0, p->N);
        if (to - from < PACK)
            ws_k.tile(y, p->ldy, h, b->k, 1, to - from, v.data, p->N, b->k, v.cols, 1);
        else /* V as it lies falls into few sets of the cache */
            ws_k.gemm_nn(y, p->ldy, h, b->k, 1, to - from, &v, 0, v.cols, 1);
    }
}

static void thin_then(void *arg, int64_t m0, int64_t m, int64_t n0, int64_t n1) { thin(arg, m0, m, n0, n1); }

static void chunk(void *arg, int64_t begin, int64_t end) {
    const product *p = arg;
    for (int64_t c = begin; c < end; c++) {
        const int64_t m0 = c / p->n_blocks * p->mb, n0 = c % p->n_blocks * p->nb;
        const int64_t m = p->M - m0 < p->mb ? p->M - m0 : p->mb, n1 = n0 + p->nb < p->N ? n0 + p->nb : p->N;
        float *y = p->y + m0 * p->ldy;
        if (ws_k.bf16) {
            const uint16_t *x = (const uint16_t *)p->rounded + m0 * p->ld;
            const ws_along along = {p->along.more, p->along.n, m0};
            if (p->nn)
                ws_k.bf16->nn(y, p->ldy, x, p->ld, m, p->w, n0, n1, p->accumulate);
            else
                ws_k.bf16->nt(y, p->ldy, x, p->ld, m, p->w, n0, n1, p->accumulate, &along);
            thin(p, m0, m, n0, n1);
            continue;
        }
        const float *x = (float *)p->rounded + m0 * p->ld;
        const ws_weight part = p->nn ? copied(p->w, 0, p->K, n0, n1 - n0) : copied(p->w, n0, n1 - n0, 0, p->w->cols);
        if (p->nn)
            ws_k.gemm_nn(y + n0, p->ldy, x, p->ld, 1, m, &part, 0, n1 - n0, p->accumulate);
        else
            ws_k.gemm_nt(y + n0, p->ldy, x, p->ld, m, &part, 0, n1 - n0, p->accumulate);
        thin(p, m0, m, n0, n1);
    }
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static void all_chunks(product *p) {
    const int64_t chunks = ceil_div(p->M, p->mb) * p->n_blocks;
    if ((double)p->M * (double)p->N * (double)p->K < 3e4)
        chunk(p, 0, chunks);
    else
        ws_parallel_for(chunks, 1, chunk, p);
}

/* Columns near `nc` in multiples of `nu`, then rows until there are enough chunks to keep many threads even; what is copied
 * is copied once, so its rows stay together. */
static void cut(product *p, int64_t nc, int64_t nu, int64_t mc, int64_t mu) {
    int64_t m_blocks = 1;
    p->nb = ceil_div(ceil_div(p->N, ceil_div(p->N, nc)), nu) * nu;
    p->n_blocks = ceil_div(p->N, p->nb);
    if (ws_k.bf16) m_blocks = ceil_div(48, p->n_blocks);
    if (m_blocks > p->M / mc) m_blocks = p->M / mc > 0 ? p->M / mc : 1;
    p->mb = ceil_div(ceil_div(p->M, m_blocks), mu) * mu;
}

/* For tiles.  W is widened anew for every block of rows, which takes as long as 64 to 128 rows take to multiply: so there are
 * as few blocks as leave a block's x in the second-level cache and every thread a few chunks.  The bits are the same however
 * it is cut. */
static void cut_tiles(product *p, int64_t k_block, int64_t most) {
    enum { X_BYTES = 1 << 20, UNIT = 32, LEAST = 2 * UNIT, A_THREAD = 3, MANY_ROWS = 128 };
    const int64_t wanted = (int64_t)A_THREAD * ws_threads(), deep = p->K < k_block ? p->K : k_block;
    const int64_t fit = X_BYTES / (2 * deep + 1) / UNIT * UNIT + UNIT;
    p->nb = ceil_div(ceil_div(p->N, wanted), UNIT) * UNIT;
    p->nb = p->nb < LEAST ? LEAST : p->nb > most ? most : p->nb;
    p->n_blocks = ceil_div(p->N, p->nb);
    int64_t m_blocks = ceil_div(wanted, p->n_blocks);
    if (m_blocks > p->M / MANY_ROWS) m_blocks = p->M / MANY_ROWS > 0 ? p->M / MANY_ROWS : 1;
    if (m_blocks < ceil_div(p->M, fit)) m_blocks = ceil_div(p->M, fit);
    p->mb = ceil_div(ceil_div(p->M, m_blocks), UNIT) * UNIT;
}

/* The x that does not change for a while, and of which shape its rounded numbers are in `left` (M = 0: they are not). */
static _Thread_local struct {
    const float *x;
    int64_t ldx, M, K;
    ws_order order;
} shared;

void ws_base_share(const float *x) {
    shared.x = x;
    shared.M = 0;
}

/* Whether `left` has p's rounded x already; otherwise it is about to. */
static int rounded_before(const product *p) {
    const int mine = !p->nn && shared.x && p->x == shared.x;
    if (mine && shared.M == p->M && shared.K == p->K && shared.ldx == p->ldx &&
        !memcmp(&shared.order, &p->order, sizeof p->order))
        return 1;
    shared.M = mine ? p->M : 0, shared.K = p->K, shared.ldx = p->ldx, shared.order = p->order;
    return 0;
}

/* Where the product did not take them along. */
static void thin_after(float *y, int64_t ldy, int64_t M, int64_t N, const ws_beside *beside, int n, int64_t row) {
    for (int i = 0; i < n; i++) {
        const ws_beside *b = &beside[i];
        const ws_weight v = ws_weight_f32(b->v, b->k, N, N);
        const int64_t from = beside_from(b, row), to = beside_to(b, row + M);
        if (from < to)
            ws_gemm_nn(y + (from - row) * ldy, ldy, b->h + (from - b->first) * b->k, b->k, 1, to - from, &v, 1);
    }
}

/* ---- low-rank products in the compute type ---- */

static void scale_rows(float *h, int64_t n, int64_t k, const float *alpha) {
    for (int64_t i = 0; i < n; i++) ws_k.scale(h + i * k, alpha[i], k);
}

/* What goes beside, one after the other, where y has its sums already. */
static void beside_after(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, int64_t N,
                         const ws_beside *beside, int n) {
    for (int i = 0; i < n; i++) {
        const ws_beside *b = &beside[i];
        if (!b->a) {
            thin_after(y, ldy, M, N, b, 1, 0);
            continue;
        }
        const int64_t k = b->a->rows;
        float *h = keep(&low, (size_t)(b->n * k) * sizeof *h);
        ws_base_nt(h, k, x + b->first * ldx, ldx, b->n, b->a, 0);
        scale_rows(h, b->n, k, b->alpha);
        ws_base_nn(y + b->first * ldy, ldy, h, k, b->n, b->ut, 1);
    }
}

typedef struct low_rows {
    const product *p;
    const ws_beside *b;
    int64_t from, to, each; /* rows of the slab and of a piece, multiples of 32 */
    uint16_t *h;            /* panels of these rows */
} low_rows;

/* alpha (x A') of pieces begin .. end - 1, each of some rows and 32 of the k, to panels; rows without it are zeros, which
 * change no sum. */
static void low_piece(void *arg, int64_t begin, int64_t end) {
    const low_rows *l = arg;
    const product *p = l->p;
    const int64_t k = l->b->a->rows, steps = ceil_div(k, 32);
    for (int64_t c = begin; c < end; c++) {
        const int64_t m0 = l->from + c / steps * l->each, m1 = m0 + l->each < l->to ? m0 + l->each : l->to;
        const int64_t M = (m1 < p->M ? m1 : p->M) - m0, n0 = c % steps * 32, n = k - n0 < 32 ? k - n0 : 32;
        float *sum = keep(&low, (size_t)(M * k) * sizeof *sum);
        ws_k.bf16->nt(sum, k, (uint16_t *)p->rounded + m0 * p->ld, p->ld, M, l->b->a, n0, n0 + n, 0, &(ws_along){0});
        for (int64_t m = m0; m < m1; m += 16) {
            const float *row[16];
            for (int64_t j = 0; j < 16; j++) {
                const int64_t at = p->row + m + j - l->b->first;
                float *h = sum + (m - m0 + j) * k + n0;
                const int has = at >= 0 && at < l->b->n && m + j < p->M;
                if (has) ws_k.scale(h, l->b->alpha[at], n);
                row[j] = has ? h : NULL;
            }
            ws_k.bf16->panel(l->h + ((m - l->from) * steps + n0 / 2) * 32, row, n);
        }
    }
}

/* What goes into the sums of this slab, whose x is rounded. */
static void low_slab(product *p) {
    ws_more *more = keep(&alongs, (size_t)p->n_beside * sizeof *more);
    int64_t room = 0;
    for (int i = 0; i < p->n_beside; i++) room += (p->M + 64) * ceil_div(p->beside[i].a->rows, 32) * 32;
    uint16_t *h = keep(&low_panels, (size_t)room * sizeof *h);
    p->along = (ws_along){more, 0, 0};
    for (int i = 0; i < p->n_beside; i++) {
        const ws_beside *b = &p->beside[i];
        const int64_t first = beside_from(b, p->row) - p->row, last = beside_to(b, p->row + p->M) - p->row;
        if (first >= last) continue;
        low_rows l = {p, b, first / 32 * 32, ceil_div(last, 32) * 32, 0, h};
        const int64_t steps = ceil_div(b->a->rows, 32);
        l.each = ceil_div(ceil_div(l.to - l.from, ceil_div(ws_threads(), steps)), 32) * 32;
        ws_parallel_for(ceil_div(l.to - l.from, l.each) * steps, 1, low_piece, &l);
        more[p->along.n++] = (ws_more){h, b->u, l.from, l.to};
        h += (l.to - l.from) * steps * 32;
    }
}

static void slab(product *p) {
    if (p->M <= 0 || p->N <= 0) return;
    const int tiles = ws_k.bf16 && ws_k.bf16->tiles;
    const int64_t rows = tiles ? ceil_div(p->M, 32) * 32 : p->M;
    p->ld = ws_k.bf16 ? ceil_div(p->K, 32) * 32 : p->K;
    p->panels = tiles && !p->nn;
    if (tiles && p->nn) p->ld = (p->ld / 32 | 1) * 32; /* a tile's rows lie in different sets of the cache */
    p->rounded = keep(&left, (size_t)(rows * p->ld) * (ws_k.bf16 ? sizeof(uint16_t) : sizeof(float)));
    if (rounded_before(p))
        ;
    else if (p->panels) /* of up to 16 rows alone the second panel is not read */
        ws_parallel_for(p->M <= 16 ? 1 : rows / 16, 1, round_panels, p);
    else
        ws_parallel_for(p->M, 16, round_rows, p);
    if (p->in_sums) low_slab(p);
    if (!ws_k.bf16 && p->w->type == WS_BF16) { /* nothing to copy */
        ws_weight plain = *p->w;
        plain.col_order.a = 0;
        if (p->nn)
            ws_gemm_nn(p->y, p->ldy, p->rounded, p->ld, 1, p->M, &plain, p->accumulate);
        else
            ws_gemm_nt(p->y, p->ldy, p->rounded, p->ld, p->M, &plain, p->accumulate);
        thin_after(p->y, p->ldy, p->M, p->N, p->beside, p->n_beside, p->row);
        return;
    }
    if (tiles && p->nn)
        cut_tiles(p, WS_TILE_NN_BLOCK, 256);
    else if (tiles && p->M > 32)
        cut_tiles(p, WS_TILE_NT_BLOCK, 512);
    else if (tiles)
        /* a few rows are bound by reading W: long chunks, inside which the next rows of W are fetched ahead */
        cut(p, 288, 32, 128, 32);
    else if (p->nn)
        cut(p, ws_k.bf16 ? 512 : COPY_COLS, ws_k.bf16 ? 32 : COPY_COLS, 96, 12);
    else
        cut(p, ws_k.bf16 ? 96 : COPY_ROWS, ws_k.bf16 ? 8 : 4, 128, 12);
    all_chunks(p);
}

/* Rows of y in the order of the stored columns, out and back. */
typedef struct turn {
    ws_order order;
    float *y, *stored;
    int64_t ldy, n;
} turn;
static void store_rows(void *arg, int64_t begin, int64_t end) {
    const turn *t = arg;
    for (int64_t r = begin; r < end; r++) ws_order_store(t->order, t->y + r * t->ldy, t->stored + r * t->n, t->n);
}
static void load_rows(void *arg, int64_t begin, int64_t end) {
    const turn *t = arg;
    for (int64_t r = begin; r < end; r++) ws_order_load(t->order, t->stored + r * t->n, t->y + r * t->ldy, t->n);
}

static void all_slabs(product p, int64_t M) {
    const ws_order none = {0};
    for (int64_t m = 0; m < M; m += SLAB, p.x += SLAB * p.ldx, p.y += SLAB * p.ldy) {
        p.M = M - m < SLAB ? M - m : SLAB;
        p.order = p.nn ? none : p.w->col_order, p.row = m;
        if (!p.nn || !p.w->col_order.a) {
            slab(&p);
            continue;
        }
        turn t = {p.w->col_order, p.y, keep(&turned, (size_t)(p.M * p.N) * sizeof(float)), p.ldy, p.N};
        product q = p;
        q.y = t.stored, q.ldy = p.N, q.n_beside = 0; /* V has y's own columns */
        if (p.accumulate) ws_parallel_for(p.M, 32, store_rows, &t);
        slab(&q);
        ws_parallel_for(p.M, 32, load_rows, &t);
        thin_after(p.y, p.ldy, p.M, p.N, p.beside, p.n_beside, m);
    }
}

/* Bytes that a product reads and writes at least, as in gemm.c. */
static double traffic(int64_t M, const ws_weight *w) {
    return (double)w->rows * (double)w->row_bytes + 4.0 * (double)M * (double)(w->rows + w->cols);
}

/* The arithmetic of the thin ones is told with that of the large one. */
static double flops(int64_t M, const ws_weight *w, int64_t N, const ws_beside *beside, int n) {
    double nk = 0;
    for (int i = 0; i < n; i++) {
        const ws_beside *b = &beside[i];
        nk += (double)b->n * (b->a ? (double)b->a->rows * (double)(N + w->cols) : (double)b->k * (double)N);
    }
    return 2.0 * (double)M * (double)w->rows * (double)w->cols + 2.0 * nk;
}

void ws_base_nt_beside(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w,
                       int accumulate, const ws_beside *beside, int n) {
    int low_rank = 0;
    for (int i = 0; i < n; i++) low_rank += beside[i].a != NULL;
    /* Sums go on where they begin at 0 and x stands in one order for both. */
    const int in_sums = low_rank == n && n && ws_compute_type() == WS_COMPUTE_BF16 && ws_k.bf16 && ws_k.bf16->tiles &&
                        !accumulate && !w->col_order.a && w->cols;
    if (low_rank && !in_sums) {
        ws_base_nt_beside(y, ldy, x, ldx, M, w, accumulate, NULL, 0);
        beside_after(y, ldy, x, ldx, M, w->rows, beside, n);
        return;
    }
    if (ws_compute_type() == WS_COMPUTE_F32) {
        product p = {.y = y, .ldy = ldy, .N = w->rows, .beside = beside, .n_beside = n};
        const int along = n && M > 2; /* of one or two rows V is better read in long pieces */
        ws_gemm_nt_then(y, ldy, x, ldx, M, w, accumulate, along ? thin_then : NULL, &p);
        if (!along) thin_after(y, ldy, M, w->rows, beside, n, 0);
        return;
    }
    ws_profile_enter(M <= 4 ? "x W' bf16, 1-4 rows" : M < 64 ? "x W' bf16, 5-63 rows" : "x W' bf16");
    all_slabs((product){.y = y,
                        .ldy = ldy,
                        .x = x,
                        .ldx = ldx,
                        .K = w->cols,
                        .N = w->rows,
                        .w = w,
                        .accumulate = accumulate,
                        .beside = beside,
                        .n_beside = n,
                        .in_sums = in_sums},
              M);
    ws_profile_leave(flops(M, w, w->rows, beside, n), traffic(M, w));
}

void ws_base_nn_beside(float *y, int64_t ldy, const float *a, int64_t lda, int64_t M, const ws_weight *w,
                       int accumulate, const ws_beside *beside, int n) {
    if (ws_compute_type() == WS_COMPUTE_F32) {
        ws_gemm_nn(y, ldy, a, lda, 1, M, w, accumulate);
        thin_after(y, ldy, M, w->cols, beside, n, 0);
        return;
    }
    ws_profile_enter(M < 64 ? "A W bf16, up to 63 rows" : "A W bf16");
    all_slabs((product){.y = y,
                        .ldy = ldy,
                        .x = a,
                        .ldx = lda,
                        .K = w->rows,
                        .N = w->cols,
                        .w = w,
                        .nn = 1,
                        .accumulate = accumulate,
                        .beside = beside,
                        .n_beside = n},
              M);
    ws_profile_leave(flops(M, w, w->cols, beside, n), traffic(M, w));
}

void ws_base_nt(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t M, const ws_weight *w, int accumulate) {
    ws_base_nt_beside(y, ldy, x, ldx, M, w, accumulate, NULL, 0);
}

void ws_base_nn(float *y, int64_t ldy, const float *a, int64_t lda, int64_t M, const ws_weight *w, int accumulate) {
    ws_base_nn_beside(y, ldy, a, lda, M, w, accumulate, NULL, 0);
}
