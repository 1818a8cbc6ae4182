/* src/ops/delta_rule.h - the arithmetic of delta.h for one key head and the value heads that read it, forward.
 * Written in `real`, so that a test can compile it in double: the program includes it with float and the kernels of this
 * machine, the test defines WS_DELTA_REAL and the words below for plain loops in double. */
#ifndef WS_OPS_DELTA_RULE_H
#define WS_OPS_DELTA_RULE_H
#include "base/err.h"
#include "ops/delta.h"
#include <string.h>

#ifndef WS_DELTA_REAL
#include "kernel/kernel.h"
#include "ops/l2norm.h"
typedef float real;
#define TILE(...)            ws_k.tile(__VA_ARGS__)
#define EXP(...)             ws_k.exp(__VA_ARGS__)
#define AXPY(...)            ws_k.axpy(__VA_ARGS__)
#define SCALE(...)           ws_k.scale(__VA_ARGS__)
#define SCALED(...)          ws_k.scaled(__VA_ARGS__)
#define DOT(...)             ws_k.dot(__VA_ARGS__)
#define TRANSPOSE(...)       ws_k.transpose(__VA_ARGS__)
#define L2NORM(...)          ws_l2norm_forward(__VA_ARGS__)
#define L2NORM_BACKWARD(...) ws_l2norm_backward(__VA_ARGS__)
#define RSQRT(x)             ((real)(1 / sqrt((double)(x))))
#include <math.h>
#endif

/* Panels of S hold PANEL columns: a tile then walks memory end to end.  The triangles are solved in blocks of BLOCK rows
 * at absolute offsets in the chunk: the columns left of a block in one product, those inside it row by row, so the sums
 * of a row are cut in the same places however its chunk came in. */
enum { PANEL = 32, BLOCK = 4 };

/* A factor below e^-60 counts as 0.  Beside it stands, undecayed, what the token itself adds, of which it is less than 1e-26;
 * but heads that forget fast would fill the products with numbers below the normal range, each of which costs an Intel CPU
 * over a hundred cycles (a prefill of the 4B shape: 7.2 s instead of 4.6). */
enum { FORGOTTEN = -60 };

typedef struct rule_row { /* ws_delta_row */
    int64_t n, pos;
    const real *c, *g, *beta;
    real *o;
    const real *from;
    real *to, *open;
} rule_row;

/* Value heads h r .. h r + r - 1 read key head h. */
static inline int rule_readers(const ws_delta_shape *s) { return s->value_heads / s->key_heads; }
/* Open rows: [kt: Hk, dk, C][d: Hv, C, dv][g: Hv, C]; the keys transposed, as products want them. */
static inline int64_t rule_open_d(const ws_delta_shape *s) { return (int64_t)s->key_heads * s->dk * ws_delta_chunk(s); }
static inline int64_t rule_open_g(const ws_delta_shape *s) {
    return rule_open_d(s) + (int64_t)s->value_heads * s->dv * ws_delta_chunk(s);
}

/* out [M, N] (+)= a B,  B [K, N] in panels */
static inline void times_panels(real *out, int64_t ldo, const real *a, int64_t rs, int64_t cs, int64_t M, const real *b,
                                int64_t K, int64_t N, int add) {
    for (int64_t n = 0; n < N; n += PANEL) {
        const int64_t w = N - n < PANEL ? N - n : PANEL;
        TILE(out + n, ldo, a, rs, cs, M, b + n * K, w, K, w, add);
    }
}
/* B [M, N] in panels (+)= a x,  x [K, N] */
static inline void into_panels(real *b, const real *a, int64_t rs, int64_t cs, int64_t M, const real *x, int64_t ldx,
                               int64_t K, int64_t N, int add) {
    for (int64_t n = 0; n < N; n += PANEL) {
        const int64_t w = N - n < PANEL ? N - n : PANEL;
        TILE(b + n * M, w, a, rs, cs, M, x + n, ldx, K, w, add);
    }
}

/* For rows i0 <= i < i1: x [i1 - i0, C + 1] = e_i, then G_i0 .. G_ii.  The exponents are summed from i backwards, so they
 * are exact where it counts (near), and a row depends on g up to its own alone. */
static inline void rule_decay(real *x, const real *g, int64_t C, int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; i++, x += C + 1) {
        real t = 0;
        x[1 + i] = 0;
        for (int64_t j = i - 1; j >= 0; j--) x[1 + j] = t += g[j + 1];
        x[0] = t + g[0];
        for (int64_t j = 0; j < i + 2; j++) x[j] = x[j] < FORGOTTEN ? -(real)INFINITY : x[j];
        EXP(x, x, i + 2);
    }
}

/* d_i -= sum_{j<i} A_ij d_j for rows i0 .. i1-1, those before them being finished; na [i1 - i0, C] = -A. */
static inline void rule_solve(real *d, int64_t dv, const real *na, int64_t C, int64_t i0, int64_t i1) {
    for (int64_t b = i0 - i0 % BLOCK; b < i1; b += BLOCK) {
        const int64_t lo = b > i0 ? b : i0, hi = b + BLOCK < i1 ? b + BLOCK : i1;
        if (b) TILE(d + lo * dv, dv, na + (lo - i0) * C, C, 1, hi - lo, d, dv, b, dv, 1);
        for (int64_t i = lo > b ? lo : b + 1; i < hi; i++)
            TILE(d + i * dv, dv, na + (i - i0) * C + b, C, 1, 1, d + b * dv, dv, i - b, dv, 1);
    }
}
/* o_i += sum_{j<=i} P_ij d_j for the same rows; o and p begin at row i0. */
static inline void rule_read(real *o, int64_t ldo, const real *p, int64_t C, const real *d, int64_t dv, int64_t i0,
                             int64_t i1) {
    for (int64_t b = i0 - i0 % BLOCK; b < i1; b += BLOCK) {
        const int64_t lo = b > i0 ? b : i0, hi = b + BLOCK < i1 ? b + BLOCK : i1;
        if (b) TILE(o + (lo - i0) * ldo, ldo, p + (lo - i0) * C, C, 1, hi - lo, d, dv, b, dv, 1);
        for (int64_t i = lo; i < hi; i++)
            TILE(o + (i - i0) * ldo, ldo, p + (i - i0) * C + b, C, 1, 1, d + b * dv, dv, i - b + 1, dv, 1);
    }
}
/* S1 = e_C S0 + K^T diag(rho) D;  last = [e_C, rho ...];  s0 NULL: zero;  tmp [C, dv];  s1 may be s0. */
static inline void rule_write(real *s1, const real *s0, const real *k, int64_t rs, int64_t cs, const real *d,
                              const real *last, real *tmp, int64_t C, int64_t dk, int64_t dv) {
    for (int64_t j = 0; j < C; j++) SCALED(tmp + j * dv, last[1 + j], d + j * dv, dv);
    if (s0) SCALED(s1, last[0], s0, dk * dv);
    into_panels(s1, k, rs, cs, dk, tmp, dv, C, dv, s0 != NULL);
}

/* What the value heads of a chunk share, and room for one of them. */
typedef struct rule_chunk {
    int64_t C, dk, dv, i0, i1; /* rows i0 .. i1-1 are new */
    real *kq;                  /* [2 m, dk] the new keys, then the new queries;  m = i1 - i0 */
    real *kt;                  /* [dk, C] keys of rows 0 .. i1-1 */
    real *kk;                  /* [2 m, C] k_i . k_j, then q_i . k_j, for j < i1 */
    real *decay;               /* [m, C + 1] */
    real *na, *p;              /* [m, C] */
    real *sk;                  /* [2 m, dv] kq S0 */
    real *tmp;                 /* [C, dv] */
} rule_chunk;

static inline void rule_keys(const rule_chunk *c, const real *q, const real *k, int64_t ld) {
    const int64_t m = c->i1 - c->i0;
    for (int64_t i = 0; i < m; i++) {
        real *ki = c->kq + i * c->dk;
        L2NORM(ki, k + i * ld, 1, c->dk);
        L2NORM(ki + m * c->dk, q + i * ld, RSQRT(c->dk), c->dk);
    }
    TRANSPOSE(c->kt + c->i0, c->C, c->kq, c->dk, m, c->dk);
    TILE(c->kk, c->C, c->kq, c->dk, 1, 2 * m, c->kt, c->C, c->dk, c->i1, 0);
}

/* Rows i0 .. i1-1 of one value head: d and o from s0 (NULL: zero), v, beta (ldb from token to token) and g [C]. */
static inline void rule_head(const rule_chunk *c, const real *s0, const real *g, const real *v, int64_t ldv,
                             const real *beta, int64_t ldb, real *d, real *o, int64_t ldo) {
    const int64_t C = c->C, dv = c->dv, i0 = c->i0, m = c->i1 - i0;
    rule_decay(c->decay, g, C, i0, c->i1);
    if (s0) times_panels(c->sk, dv, c->kq, c->dk, 1, 2 * m, s0, c->dk, dv, 0);
    for (int64_t i = 0; i < m; i++) {
        const real *x = c->decay + i * (C + 1), *kk = c->kk + i * C, *qk = kk + m * C, b = beta[i * ldb];
        real *na = c->na + i * C, *p = c->p + i * C, *di = d + (i0 + i) * dv, *oi = o + i * ldo;
        for (int64_t j = 0; j < i0 + i; j++) na[j] = -(b * kk[j] * x[1 + j]);
        for (int64_t j = 0; j <= i0 + i; j++) p[j] = qk[j] * x[1 + j];
        SCALED(di, b, v + i * ldv, dv);
        if (s0) {
            AXPY(di, -(b * x[0]), c->sk + i * dv, dv);
            SCALED(oi, x[0], c->sk + (m + i) * dv, dv);
        } else {
            memset(oi, 0, (size_t)dv * sizeof *oi);
        }
    }
    rule_solve(d, dv, c->na, C, i0, c->i1);
    rule_read(o, ldo, c->p, C, d, dv, i0, c->i1);
}

/* Numbers of room that rule_forward needs. */
static inline int64_t rule_forward_room(const ws_delta_shape *s) {
    const int64_t C = ws_delta_chunk(s), dk = s->dk, dv = s->dv, r = rule_readers(s);
    return 2 * C * dk + 2 * C * C + C * (C + 1) + 2 * C * C + 3 * C * dv + dk * C + r * (C * dv + C + dk * dv);
}

static inline void rule_forward(const ws_delta_shape *s, int h, const rule_row *row, real *room) {
    const int64_t C = ws_delta_chunk(s), dk = s->dk, dv = s->dv, Hv = s->value_heads, ld = ws_delta_channels(s);
    const int64_t size = dk * dv, readers = rule_readers(s);
    rule_chunk c = {.C = C, .dk = dk, .dv = dv};
    c.kq = room, c.kk = c.kq + 2 * C * dk, c.decay = c.kk + 2 * C * C, c.na = c.decay + C * (C + 1);
    c.p = c.na + C * C, c.sk = c.p + C * C, c.tmp = c.sk + 2 * C * dv, c.kt = c.tmp + C * dv;
    real *own_d = c.kt + dk * C, *own_g = own_d + readers * C * dv, *own_s = own_g + readers * C;
    if (row->open) c.kt = row->open + h * dk * C;
    int moved = 0; /* S lies in its new place */
    for (int64_t t = 0; t < row->n; t += c.i1 - c.i0) {
        const int64_t at = row->pos + t;
        c.i0 = at % C, c.i1 = c.i0 + (row->n - t) < C ? c.i0 + (row->n - t) : C;
        const real *x = row->c + t * ld;
        rule_keys(&c, x + h * dk, x + (s->key_heads + h) * dk, ld);
        const int full = c.i1 == C && (row->to || t + c.i1 - c.i0 < row->n);
        for (int64_t r = 0; r < readers; r++) {
            const int64_t j = h * readers + r;
            real *d = row->open ? row->open + rule_open_d(s) + j * C * dv : own_d + r * C * dv;
            real *g = row->open ? row->open + rule_open_g(s) + j * C : own_g + r * C;
            real *to = row->to ? row->to + j * size : own_s + r * size;
            const real *s0 = at < C ? NULL : moved ? to : row->from + j * size;
            for (int64_t i = c.i0; i < c.i1; i++) g[i] = row->g[(t + i - c.i0) * Hv + j];
            rule_head(&c, s0, g, x + 2 * s->key_heads * dk + j * dv, ld, row->beta + t * Hv + j, Hv, d,
                      row->o + (t * Hv + j) * dv, Hv * dv);
            if (full) rule_write(to, s0, c.kt, C, 1, d, c.decay + (C - 1 - c.i0) * (C + 1), c.tmp, C, dk, dv);
        }
        if (full) moved = 1;
    }
}
#endif
