/* src/kernel/lanes_tile.h - products of bf16 pairs in tiles; order of summation in compute.h.
 * nt: rows of W are the tile's rows, so W is never transposed, and for few rows of x stored BF16 is multiplied as it lies; x
 * comes in panels (tile_panel) and sums come out [column, row] and are transposed.  nn: rows of A are the tile's rows, pairs of
 * rows of W are interleaved into [pair][16 columns][2], and sums are read and written where they stand. */
#ifndef WS_KERNEL_LANES_TILE_H
#define WS_KERNEL_LANES_TILE_H
#include "kernel/gemm.h"
#include "kernel/lanes_round.h"

enum {
    SIDE = 16,          /* rows and columns of a tile of sums */
    TILE = SIDE * STEP, /* numbers of a tile of bf16 */
    PAIR = 2 * SIDE,    /* rows, or columns, of two tiles beside each other */
    TNT_FEW = 2 * SIDE, /* rows of x whose sums stay in registers over all of K */
    TNT_BLOCK = WS_TILE_NT_BLOCK,
    TNN_BLOCK = WS_TILE_NN_BLOCK
};

WS_INLINE int64_t steps_of(int64_t k) { return (k + STEP - 1) / STEP; }
/* ---- x [16 rows, K] in fp32 to [step][pair][row][2]; rows that are not there are NULL and become 0 ---- */
static void tile_panel(uint16_t *to, const float *const row[SIDE], int64_t K) {
    for (int64_t k = 0; k < K; k += STEP, to += TILE) {
        vf pairs[SIDE];
        WS_UNROLL for (int i = 0; i < SIDE; i++) {
            if (!row[i]) {
                pairs[i] = v_zero();
                continue;
            }
            const float *p = row[i] + k;
            float rest[STEP];
            if (K - k < STEP) {
                memset(rest, 0, sizeof rest);
                memcpy(rest, p, (size_t)(K - k) * sizeof *p);
                p = rest;
            }
            vb_store(&pairs[i], vb_round(v_load(p), v_load(p + LANES)));
        }
        v_transpose(pairs);
        WS_UNROLL for (int i = 0; i < SIDE; i++) v_store((float *)(void *)(to + i * STEP), pairs[i]);
    }
}

/* ---- y = x W^T ---- */
/* Sums of 16 columns n (rows of c) and 16 rows m, of which cols x rows are there, to y. */
static void tnt_put(const float *c, float *y, int64_t ldy, int64_t rows, int64_t cols, int add) {
    if (rows <= 2) {
        for (int64_t m = 0; m < rows; m++) {
            const vf sum = v_column(c + m);
            float *to = y + m * ldy;
            v_store_n(to, add ? v_add(v_load_n(to, cols), sum) : sum, cols);
        }
        return;
    }
    vf a[SIDE];
    WS_UNROLL for (int i = 0; i < SIDE; i++) a[i] = v_load(c + i * SIDE);
    v_transpose(a);
    for (int64_t m = 0; m < rows; m++) {
        float *to = y + m * ldy;
        v_store_n(to, add ? v_add(v_load_n(to, cols), a[m]) : a[m], cols);
    }
}
/* Four tiles of sums, at c one after the other, on their way to y [rows, cols]. */
typedef struct tnt_sums {
    const float *c;
    float *y;
    int64_t ldy, rows, cols;
    int add;
} tnt_sums;
/* Tile i: rows of W from 16 (i / 2), rows of x from 16 (i % 2). */
WS_INLINE void tnt_put_tile(const tnt_sums *s, int64_t i) {
    const int64_t n = i / 2 * SIDE, m = i % 2 * SIDE;
    if (n < s->cols && m < s->rows)
        tnt_put(s->c + i * SIDE * SIDE, s->y + m * s->ldy + n, s->ldy, s->rows - m < SIDE ? s->rows - m : SIDE,
                s->cols - n < SIDE ? s->cols - n : SIDE, s->add);
}
static void tnt_put_all(const tnt_sums *s) {
    for (int64_t i = 0; i < 4; i++) tnt_put_tile(s, i);
}

WS_INLINE void t_store_sums(float *c) {
    t_store(0, c, 64);
    t_store(1, c + SIDE * SIDE, 64);
    t_store(2, c + 2 * SIDE * SIDE, 64);
    t_store(3, c + 3 * SIDE * SIDE, 64);
}
WS_INLINE void t_load_sums(const float *c) {
    t_load(0, c, 64);
    t_load(1, c + SIDE * SIDE, 64);
    t_load(2, c + 2 * SIDE * SIDE, 64);
    t_load(3, c + 3 * SIDE * SIDE, 64);
}
WS_INLINE void t_zero_sums(void) {
    t_zero(0);
    t_zero(1);
    t_zero(2);
    t_zero(3);
}

/* 32 rows of W from row n; in place of those from n1 on the last one, whose sums nobody reads. */
WS_INLINE void tnt_rows(const ws_weight *w, int64_t n, int64_t n1, const char *row[PAIR]) {
    for (int64_t i = 0; i < PAIR; i++) row[i] = ws_weight_row(w, n + i < n1 ? n + i : n1 - 1);
}

/* Numbers k .. k + 31 of `count` rows of W, walked from k0 on, to rows of a tile. */
WS_INLINE void tnt_widen(ws_dtype t, const char *const *row, int64_t count, int64_t k, int64_t k0, int64_t K,
                         w_super *s, uint16_t *to) {
    for (int64_t i = 0; i < count && w_is_super(t); i++) w_enter(t, row[i], k, k0, &s[i]);
    if (t < WS_Q8_0 && K - k < STEP)
        for (int64_t i = 0; i < count; i++) vb_store(to + i * STEP, b_tail(t, w_at(t, row[i], k), K - k));
    else
        for (int64_t i = 0; i < count; i++) vb_store(to + i * STEP, b_32(t, row[i], k, &s[i]));
}

/* ---- sums that go on over U H (ws_along) ---- */
/* The first of them from e on that has rows among the 32 from m. */
WS_INLINE int64_t tnt_more(const ws_along *along, int64_t e, int64_t m) {
    for (; e < along->n; e++)
        if (along->row + m < along->more[e].to && along->row + m + PAIR > along->more[e].from) return e;
    return e;
}
/* H of the rows from m, two panels; as many numbers on stands the second. */
WS_INLINE const uint16_t *tnt_more_h(const ws_more *e, int64_t row) {
    return e->h + (row - e->from) * steps_of(e->u->cols) * STEP;
}
/* 32 rows of U from row n, all steps of them, as a panel. */
WS_INLINE void tnt_more_u(const ws_weight *u, int64_t n, int64_t n1, uint16_t *to) {
    const char *row[PAIR];
    w_super none[PAIR];
    tnt_rows(u, n, n1, row);
    for (int64_t k = 0; k < u->cols; k += STEP) tnt_widen(WS_BF16, row, PAIR, k, 0, u->cols, none, to + k * PAIR);
}

WS_INLINE void tnt_few_more(int both, const ws_more *e, int64_t row, int64_t n, int64_t n1, uint16_t *wide) {
    const int64_t K = e->u->cols, steps = steps_of(K), size = (int64_t)e->u->row_bytes;
    const int as_it_lies = n1 - n >= PAIR && K % STEP == 0;
    const uint16_t *h = tnt_more_h(e, row);
    const char *rows[PAIR];
    w_super none[PAIR];
    tnt_rows(e->u, n, n1, rows);
    for (int64_t s = 0; s < steps; s++) {
        const char *from = as_it_lies ? rows[0] + 64 * s : (const char *)wide;
        const int64_t apart = as_it_lies ? size : 64;
        for (int64_t i = 0; i < PAIR && n + PAIR < n1; i++) __builtin_prefetch(rows[i] + PAIR * size + 64 * s);
        if (!as_it_lies) tnt_widen(WS_BF16, rows, PAIR, s * STEP, 0, K, none, wide);
        t_load(4, from, apart);
        t_load(5, from + SIDE * apart, apart);
        t_load(6, h + s * TILE, 64);
        t_dot(0, 4, 6);
        t_dot(2, 5, 6);
        if (both) {
            t_load(7, h + (steps + s) * TILE, 64);
            t_dot(1, 4, 7);
            t_dot(3, 5, 7);
        }
    }
}

/* Up to 32 rows of x.  A step is widened while the tiles multiply the one before; what the next 32 rows of W hold is fetched
 * line by line meanwhile, as it follows in memory. */
WS_INLINE void tnt_few_as(ws_dtype t, int both, float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M,
                          const ws_weight *w, int64_t n0, int64_t n1, int accumulate, const ws_along *along) {
    const int64_t K = w->cols, steps = steps_of(K), line = 64;
    const int64_t ahead = (PAIR * (int64_t)w->row_bytes + steps * line - 1) / (steps * line); /* lines a step */
    _Alignas(64) uint16_t wide[2][PAIR * STEP];
    _Alignas(64) float sums[4 * SIDE * SIDE];
    w_super super[PAIR];
    const char *row[PAIR];
    for (int64_t n = n0; n < n1; n += PAIR) {
        const int64_t cols = n1 - n < PAIR ? n1 - n : PAIR;
        const int as_it_lies = t == WS_BF16 && cols == PAIR && K % STEP == 0 && !w->row_order.a;
        tnt_rows(w, n, n1, row);
        const char *next = row[0] + (n + PAIR < n1 ? PAIR * (int64_t)w->row_bytes : 0);
        t_zero(0);
        t_zero(2);
        if (both) {
            t_zero(1);
            t_zero(3);
        }
        if (!as_it_lies) tnt_widen(t, row, PAIR, 0, 0, K, super, wide[0]);
        for (int64_t s = 0; s < steps; s++) {
            const char *from = as_it_lies ? row[0] + 64 * s : (const char *)wide[s % 2];
            const int64_t apart = as_it_lies ? (int64_t)w->row_bytes : 64;
            for (int64_t i = 0; i < ahead; i++, next += line) __builtin_prefetch(next);
            t_load(6, x + s * TILE, 64);
            t_load(4, from, apart);
            t_dot(0, 4, 6);
            t_load(5, from + SIDE * apart, apart);
            t_dot(2, 5, 6);
            if (both) {
                t_load(7, x + s * TILE + SIDE * ldx, 64);
                t_dot(1, 4, 7);
                t_dot(3, 5, 7);
            }
            if (!as_it_lies && s + 1 < steps) tnt_widen(t, row, PAIR, (s + 1) * STEP, 0, K, super, wide[(s + 1) % 2]);
        }
        for (int64_t e = tnt_more(along, 0, 0); e < along->n; e = tnt_more(along, e + 1, 0))
            tnt_few_more(both, &along->more[e], along->row, n, n1, wide[0]);
        t_store(0, sums, 64);
        t_store(2, sums + 2 * SIDE * SIDE, 64);
        if (both) {
            t_store(1, sums + SIDE * SIDE, 64);
            t_store(3, sums + 3 * SIDE * SIDE, 64);
        }
        tnt_put_all(&(tnt_sums){sums, y + n, ldy, M, cols, accumulate});
    }
}
static void tnt_few(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate, const ws_along *along) {
    switch ((int)w->type * 2 + (M > SIDE)) {
#define X(T)                                                                                                           \
    case T * 2: tnt_few_as(T, 0, y, ldy, x, ldx, M, w, n0, n1, accumulate, along); return;                             \
    case T * 2 + 1: tnt_few_as(T, 1, y, ldy, x, ldx, M, w, n0, n1, accumulate, along); return;
        WS_EACH_TYPE(X)
#undef X
    default: return; /* kernel/weight.c refuses other types */
    }
}

/* Where the tiles of 32 x 32 sums begin: rows of W in a panel [step][32 rows][32], rows of x in two of theirs. */
typedef struct tnt_place {
    const uint16_t *w, *x0, *x1;
} tnt_place;
WS_INLINE tnt_place tnt_more_place(const ws_along *along, int64_t e, int64_t m, const uint16_t *u) {
    const uint16_t *h = tnt_more_h(&along->more[e], along->row + m);
    for (int64_t i = 0; i < e; i++) u += steps_of(along->more[i].u->cols) * PAIR * STEP;
    return (tnt_place){u, h, h + steps_of(along->more[e].u->cols) * TILE};
}
/* Rows of W that are being widened for the next panel. */
typedef struct tnt_feed {
    const char *row[PAIR];
    int64_t count, k0, k1; /* rows; columns */
    uint16_t *to;          /* their place in the first step of a panel */
    int64_t next_row;      /* bytes to the row that is fed after it */
} tnt_feed;

/* Tiles 0 .. 3 += W [32, 32 steps] x^T of `here`, the first tiles of which are loaded already; those of `next` are when it
 * returns.  Tiles are loaded again as soon as they have been used, and the order of the four products alternates, so that
 * each load has the time of at least one product.  Meanwhile the vector units widen `feed` and put the sums of the block
 * before (`done`) away, and lines of y where this one's are to go (`coming`) are fetched. */
WS_INLINE void tnt_block(ws_dtype t, tnt_place here, tnt_place next, int64_t steps, const tnt_feed *feed,
                         w_super *super, const tnt_sums *done, const tnt_sums *coming) {
    enum { PUT_FROM = 2 }; /* not before the sums have reached the cache */
    int64_t put = done->c ? 0 : 4;
    for (int64_t s = 0; s < steps; s++) {
        const int64_t k = feed->k0 + s * STEP;
        if (k < feed->k1 && feed->count > 0) {
            const char *from = w_at(t, feed->row[0], k) + feed->next_row;
            for (int64_t i = 0; i < feed->count; i++, from += feed->next_row / feed->count) {
                __builtin_prefetch(from);
                if (t == WS_F32) __builtin_prefetch(from + 64);
            }
            tnt_widen(t, feed->row, feed->count, k, feed->k0, feed->k1, super, feed->to + s * PAIR * STEP);
        }
        if (s >= PUT_FROM && put < 4) tnt_put_tile(done, put++);
        for (int64_t r = 2 * s; coming->c && r < 2 * s + 2 && r < coming->rows; r++) {
            const float *line = coming->y + r * coming->ldy;
            __builtin_prefetch(line, 1);
            __builtin_prefetch(line + LANES, 1);
        }
        if (s + 1 < steps)
            here.w += PAIR * STEP, here.x0 += TILE, here.x1 += TILE;
        else
            here = next;
        if (s % 2 == 0) {
            t_dot(0, 4, 6);
            t_dot(1, 4, 7);
            t_load(4, here.w, 64);
            t_dot(3, 5, 7);
            t_load(7, here.x1, 64);
            t_dot(2, 5, 6);
            t_load(5, here.w + TILE, 64);
            t_load(6, here.x0, 64);
        } else {
            t_dot(1, 4, 7);
            t_dot(0, 4, 6);
            t_load(4, here.w, 64);
            t_dot(2, 5, 6);
            t_load(6, here.x0, 64);
            t_dot(3, 5, 7);
            t_load(5, here.w + TILE, 64);
            t_load(7, here.x1, 64);
        }
    }
    while (put < 4) tnt_put_tile(done, put++);
}

/* The sums of 32 x 32 go on over U H from e on, the first tiles being loaded; those of `next` are when it returns.  u: the
 * panels of all of them, one after the other. */
static void tnt_go_on(const ws_along *along, int64_t e, int64_t m, const uint16_t *u, tnt_place next) {
    const tnt_feed no_feed = {0};
    const tnt_sums no_sums = {0};
    for (int64_t after; e < along->n; e = after) {
        const int64_t steps = steps_of(along->more[e].u->cols);
        const tnt_place here = tnt_more_place(along, e, m, u);
        after = tnt_more(along, e + 1, m);
        tnt_block(WS_BF16, here, after < along->n ? tnt_more_place(along, after, m, u) : next, steps, &no_feed, NULL,
                  &no_sums, &no_sums);
    }
}

/* More rows of x: group by group of 32 rows of W, two panels in turn, the next of which is widened while this one is
 * multiplied. */
WS_INLINE void tnt_many_as(ws_dtype t, float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M,
                           const ws_weight *w, int64_t n0, int64_t n1, int accumulate, const ws_along *along) {
    const int64_t K = w->cols, groups = (n1 - n0 + PAIR - 1) / PAIR, pairs = (M + PAIR - 1) / PAIR;
    const int64_t blocks = (K + TNT_BLOCK - 1) / TNT_BLOCK, block = steps_of((K + blocks - 1) / blocks) * STEP;
    const int64_t size = block * PAIR + 2 * TILE, sums_of = 4 * SIDE * SIDE; /* numbers of a panel, of 32 x 32 sums */
    const int64_t kept = blocks > 1 ? pairs * groups : 1, each = (PAIR + pairs - 1) / pairs;
    const int64_t all = ((K + block - 1) / block) * groups; /* panels, group after group, then the next columns */
    uint16_t *panel[2];
    int64_t room = 0; /* of the panels of U */
    for (int64_t e = 0; e < along->n; e++) room += steps_of(along->more[e].u->cols) * PAIR * STEP;
    panel[0] = (uint16_t *)(void *)ws_gemm_scratch((size_t)(size + room / 2 + sums_of * kept));
    panel[1] = panel[0] + size;
    uint16_t *more_u = panel[1] + size;
    float *sums = (float *)(void *)(more_u + room);
    const char *row[PAIR];
    w_super super[PAIR];
    tnt_sums done = {0};
    tnt_feed feed = {.next_row = each * (int64_t)w->row_bytes};

    tnt_rows(w, n0, n1, row);
    for (int64_t k = 0; k < block && k < K; k += STEP)
        tnt_widen(t, row, PAIR, k, 0, K < block ? K : block, super, panel[0] + k * PAIR);
    t_load(4, panel[0], 64);
    t_load(5, panel[0] + TILE, 64);
    t_load(6, x, 64);
    t_load(7, x + SIDE * ldx, 64);
    for (int64_t i = 0; i < all; i++) {
        const int64_t g = i % groups, n = n0 + g * PAIR, k = i / groups * block, kn = K - k < block ? K - k : block;
        const int more = i + 1 < all, last = k + kn >= K;
        uint16_t *mine = panel[i % 2], *other = panel[(i + 1) % 2];
        if (more) {
            tnt_rows(w, n0 + (i + 1) % groups * PAIR, n1, row);
            feed.k0 = (i + 1) / groups * block, feed.k1 = K - feed.k0 < block ? K : feed.k0 + block;
        }
        for (int64_t e = 0, at = 0; last && e < along->n; at += steps_of(along->more[e++].u->cols) * PAIR * STEP)
            tnt_more_u(along->more[e].u, n, n1, more_u + at);
        for (int64_t p = 0; p < pairs; p++) {
            const int64_t m = p * PAIR, first = p * each, e = last ? tnt_more(along, 0, m) : 0;
            const int goes_on = last && e < along->n;
            const uint16_t *x0 = x + m * ldx + k * SIDE, *x1 = p + 1 < pairs ? x0 + PAIR * ldx
                                                               : more        ? x + feed.k0 * SIDE
                                                                             : x0;
            const tnt_place here = {mine, x0, x0 + SIDE * ldx};
            const tnt_place next = {p + 1 < pairs || !more ? mine : other, x1, x1 + SIDE * ldx};
            float *c = sums + (blocks > 1 ? p * groups + g : 0) * sums_of;
            feed.count = !more || first >= PAIR ? 0 : PAIR - first < each ? PAIR - first : each;
            feed.to = other + first * STEP;
            for (int64_t j = 0; j < feed.count; j++) feed.row[j] = row[first + j];
            if (k)
                t_load_sums(c);
            else
                t_zero_sums();
            const tnt_sums coming = {k + kn < K ? NULL : c,         y + m * ldy + n, ldy, M - m < PAIR ? M - m : PAIR,
                                     n1 - n < PAIR ? n1 - n : PAIR, accumulate};
            tnt_block(t, here, goes_on ? tnt_more_place(along, e, m, more_u) : next, steps_of(kn), &feed, super, &done,
                      &coming);
            if (goes_on) tnt_go_on(along, e, m, more_u, next);
            t_store_sums(c);
            done = coming;
        }
    }
    if (done.c) tnt_put_all(&done);
}
static void tnt_many(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                     int64_t n1, int accumulate, const ws_along *along) {
    switch (w->type) {
#define X(T)                                                                                                           \
    case T: tnt_many_as(T, y, ldy, x, ldx, M, w, n0, n1, accumulate, along); return;
        WS_EACH_TYPE(X)
#undef X
    default: return; /* kernel/weight.c refuses other types */
    }
}

/* x: panels of 16 rows, an even number of them. */
static void tile_nt(float *y, int64_t ldy, const uint16_t *x, int64_t ldx, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate, const ws_along *along) {
    if (w->cols == 0) {
        for (int64_t m = 0; m < M && !accumulate; m++) memset(y + m * ldy + n0, 0, (size_t)(n1 - n0) * sizeof *y);
        return;
    }
    t_begin();
    (M <= TNT_FEW ? tnt_few : tnt_many)(y, ldy, x, ldx, M, w, n0, n1, accumulate, along);
    t_end();
}

/* ---- y = A W ---- */
/* Sums in y [rows, cols] to and from 16 rows of 64 bytes. */
WS_INLINE void tnn_get(float *c, const float *y, int64_t ldy, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < SIDE; i++) v_store(c + i * SIDE, i < rows ? v_load_n(y + i * ldy, cols) : v_zero());
}
WS_INLINE void tnn_put(const float *c, float *y, int64_t ldy, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) v_store_n(y + i * ldy, v_load(c + i * SIDE), cols);
}

/* y [rows, cols], up to 32 x 32, (+)= `steps` steps of a W; sums: four tiles of room, for edges. */
static void tnn_square(float *y, int64_t ldy, int64_t rows, int64_t cols, const uint16_t *a, int64_t lda,
                       const uint16_t *b, int64_t steps, int load, float *sums) {
    const int whole = rows == PAIR && cols == PAIR;
    const int64_t apart = whole ? 4 * ldy : 64;
    float *c[4];
    for (int i = 0; i < 4; i++) {
        const int64_t m = i / 2 * SIDE, n = i % 2 * SIDE;
        c[i] = whole ? y + m * ldy + n : sums + i * SIDE * SIDE;
        if (load && !whole)
            tnn_get(c[i], y + m * ldy + n, ldy, rows - m < SIDE ? rows - m : SIDE,
                    cols - n < SIDE ? (cols - n > 0 ? cols - n : 0) : SIDE);
    }
    if (load) {
        t_load(0, c[0], apart);
        t_load(1, c[1], apart);
        t_load(2, c[2], apart);
        t_load(3, c[3], apart);
    } else {
        t_zero_sums();
    }
    const uint16_t *lower = a + SIDE * lda;
    for (int64_t s = 0; s < steps; s++, a += STEP, lower += STEP, b += 2 * TILE) {
        t_load(4, a, 2 * lda);
        t_load(6, b, 128);
        t_dot(0, 4, 6);
        t_load(7, b + STEP, 128);
        t_dot(1, 4, 7);
        t_load(5, lower, 2 * lda);
        t_dot(2, 5, 6);
        t_dot(3, 5, 7);
    }
    t_store(0, c[0], apart);
    t_store(1, c[1], apart);
    t_store(2, c[2], apart);
    t_store(3, c[3], apart);
    for (int i = 0; i < 4 && !whole; i++) {
        const int64_t m = i / 2 * SIDE, n = i % 2 * SIDE;
        if (n < cols)
            tnn_put(c[i], y + m * ldy + n, ldy, rows - m < SIDE ? rows - m : SIDE, cols - n < SIDE ? cols - n : SIDE);
    }
}

/* a: rows up to a multiple of 32 may be read. */
static void tile_nn(float *y, int64_t ldy, const uint16_t *a, int64_t lda, int64_t M, const ws_weight *w, int64_t n0,
                    int64_t n1, int accumulate) {
    const int64_t K = w->rows, N = n1 - n0, groups = (N + PAIR - 1) / PAIR;
    const int64_t blocks = (K + TNN_BLOCK - 1) / TNN_BLOCK,
                  block = blocks ? steps_of((K + blocks - 1) / blocks) * STEP : 0;
    const int64_t size =
        block * PAIR + STEP; /* 32 columns: [pair of rows][32][2]; not all in the same sets of the cache */
    uint16_t *panel = (uint16_t *)(void *)ws_gemm_scratch((size_t)(size * groups / 2 + 4 * SIDE * SIDE));
    float *sums = (float *)(void *)(panel + size * groups);
    if (K == 0)
        for (int64_t m = 0; m < M && !accumulate; m++) memset(y + m * ldy + n0, 0, (size_t)N * sizeof *y);
    t_begin();
    for (int64_t k0 = 0; k0 < K; k0 += block) {
        const int64_t kn = K - k0 < block ? K - k0 : block, steps = steps_of(kn);
        for (int64_t k = 0; k < steps * STEP; k += 2) {
            uint16_t *to = panel + k * PAIR;
            if (k < kn)
                b_spread_pair(w->type, ws_weight_row(w, k0 + k), k + 1 < kn ? ws_weight_row(w, k0 + k + 1) : NULL, n0,
                              N, to, size);
            else
                for (int64_t g = 0; g < groups; g++) memset(to + g * size, 0, 2 * PAIR * sizeof *to);
        }
        for (int64_t g = 0; g < groups; g++)
            for (int64_t m = 0; m < M; m += PAIR)
                tnn_square(y + m * ldy + n0 + g * PAIR, ldy, M - m < PAIR ? M - m : PAIR,
                           N - g * PAIR < PAIR ? N - g * PAIR : PAIR, a + m * lda + k0, lda, panel + g * size, steps,
                           k0 > 0 || accumulate, sums);
    }
    t_end();
}

static int64_t tile_spin(int64_t rounds, float *sink) {
    static const uint16_t none[TILE];
    float c[SIDE * SIDE];
    t_begin();
    t_zero_sums();
    t_load(4, none, 64);
    t_load(5, none, 64);
    t_load(6, none, 64);
    t_load(7, none, 64);
    for (int64_t r = 0; r < rounds; r++) {
        t_dot(0, 4, 6);
        t_dot(1, 4, 7);
        t_dot(2, 5, 6);
        t_dot(3, 5, 7);
    }
    t_store(0, c, 64);
    t_end();
    *sink += c[0];
    return 4 * 2 * SIDE * SIDE * STEP;
}

#define WS_TILE_TABLE(CAN, FAST)                                                                                       \
    {                                                                                                                  \
        .usable = CAN, .fast = FAST, .tiles = 1, .round = bf16_round, .panel = tile_panel, .nt = tile_nt,              \
        .nn = tile_nn, .spin = tile_spin                                                                               \
    }
#endif
