/* src/ops/delta_rule_backward.h - gradients of delta_rule.h for one key head and the value heads that read it
 * (models.md 8.15 without its U and W).  In the words of delta.h, and with the gradients of O and of S1 (R) given:
 *     gD = P^T gO + diag(rho) K R       Y = (I + A)^-T gD       d from the rows of (I + A) D = X gets gX = Y, so
 *     gV = diag(beta) Y                 gA = -lower(Y D^T)      gP = lower(gO D^T)
 *     gK S0 part and gQ S0 part:  [-beta e Y ; e gO] S0^T       gS0 = e_C R + [K ; Q]^T [-beta e Y ; e gO]
 * The first sweep makes D and the state where each chunk begins again, the second goes through the chunks backwards. */
#ifndef WS_OPS_DELTA_RULE_BACKWARD_H
#define WS_OPS_DELTA_RULE_BACKWARD_H
#include "ops/delta_rule.h"

typedef struct rule_grad { /* ws_delta_grad */
    int64_t n;
    const real *c, *g, *beta, *go;
    real *gc, *gg, *gbeta;
} rule_grad;

/* Room for one key head of one sequence. */
typedef struct rule_tape {
    int64_t C, dk, dv, chunks;
    /* of the whole sequence, chunk after chunk */
    real *kq, *gkq;   /* [chunks][2 m, dk] keys then queries, and their gradients */
    real *r;          /* [chunks][2 m] scales of their norms */
    real *kk;         /* [chunks][2 m, C] */
    real *decay;      /* [chunks][m, C + 1] */
    real *s;          /* [chunks][dk, dv] S0 in panels; chunk 0's is zero and not there */
    real *d, *before; /* [n, dv] d and v - e S0^T k, which is d before A and beta */
    /* of one chunk */
    real *kt, *na, *p, *tmp, *dt, *dots, *mix;
    real *R, *Rt, *st; /* [dk, dv], [dv, dk], [dv, dk] in panels */
    real *y, *b;       /* [2 m, dv]: Y then gO; -beta e Y then e gO */
    real *x;           /* [2 m, dk] */
    real *g;           /* [C] */
} rule_tape;

static inline real *rule_piece(real **room, int64_t n) {
    real *p = *room;
    *room = p ? p + n : (real *)0;
    return p;
}
/* Cuts `room` into the pieces of a tape; with room NULL it only counts.  Returns the numbers needed. */
static inline int64_t rule_tape_cut(rule_tape *t, const ws_delta_shape *s, int64_t n, real *room) {
    const int64_t C = ws_delta_chunk(s), dk = s->dk, dv = s->dv, N = (n + C - 1) / C;
    int64_t total = 0;
    *t = (rule_tape){.C = C, .dk = dk, .dv = dv, .chunks = N};
#define CUT(field, count) t->field = rule_piece(&room, count), total += (count)
    CUT(kq, N * 2 * C * dk), CUT(gkq, N * 2 * C * dk), CUT(r, N * 2 * C), CUT(kk, N * 2 * C * C);
    CUT(decay, N * C * (C + 1)), CUT(s, N * dk * dv), CUT(d, N * C * dv), CUT(before, N * C * dv);
    CUT(kt, dk * C), CUT(na, C * C), CUT(p, C * C), CUT(tmp, C * dv), CUT(dt, dv * C), CUT(dots, 2 * C * C);
    CUT(mix, 2 * C * C), CUT(R, dk * dv), CUT(Rt, dk * dv), CUT(st, dk * dv), CUT(y, 2 * C * dv);
    CUT(b, 2 * C * dv), CUT(x, 2 * C * dk), CUT(g, C);
#undef CUT
    return total;
}

/* t [N, K] = s [K, N] transposed, both in panels. */
static inline void rule_transpose(real *t, const real *s, int64_t K, int64_t N) {
    for (int64_t n = 0; n < N; n += PANEL)
        for (int64_t k = 0; k < K; k += PANEL) {
            const int64_t w = N - n < PANEL ? N - n : PANEL, u = K - k < PANEL ? K - k : PANEL;
            TRANSPOSE(t + k * N + n * u, u, s + n * K + k * w, w, u, w);
        }
}

/* What all value heads share. */
static inline void rule_tape_keys(const rule_tape *t, const ws_delta_shape *s, int h, const rule_grad *row) {
    const int64_t C = t->C, dk = t->dk, ld = ws_delta_channels(s);
    for (int64_t c = 0; c < t->chunks; c++) {
        const int64_t m = row->n - c * C < C ? row->n - c * C : C;
        real *kq = t->kq + c * 2 * C * dk, *r = t->r + c * 2 * C;
        for (int64_t i = 0; i < m; i++) {
            const real *x = row->c + (c * C + i) * ld;
            r[i] = L2NORM(kq + i * dk, x + (s->key_heads + h) * dk, 1, dk);
            r[m + i] = L2NORM(kq + (m + i) * dk, x + h * dk, RSQRT(dk), dk);
        }
        TRANSPOSE(t->kt, C, kq, dk, m, dk);
        TILE(t->kk + c * 2 * C * C, C, kq, dk, 1, 2 * m, t->kt, C, dk, m, 0);
    }
    memset(t->gkq, 0, (size_t)(t->chunks * 2 * C * dk) * sizeof *t->gkq);
}

/* -A and P of a chunk, zero where they are zero. */
static inline void rule_triangles(const rule_tape *t, int64_t c, int64_t m, const real *beta, int64_t ldb) {
    const int64_t C = t->C;
    const real *kk = t->kk + c * 2 * C * C, *qk = kk + m * C, *x = t->decay + c * C * (C + 1);
    for (int64_t i = 0; i < m; i++, kk += C, qk += C, x += C + 1) {
        real *na = t->na + i * C, *p = t->p + i * C, b = beta[i * ldb];
        for (int64_t j = 0; j < m; j++) {
            na[j] = j < i ? -(b * kk[j] * x[1 + j]) : 0;
            p[j] = j <= i ? qk[j] * x[1 + j] : 0;
        }
    }
}

/* d and the states of value head j, forward. */
static inline void rule_again(const rule_tape *t, const ws_delta_shape *s, int j, const rule_grad *row) {
    const int64_t C = t->C, dk = t->dk, dv = t->dv, Hv = s->value_heads, ld = ws_delta_channels(s), size = dk * dv;
    for (int64_t c = 0; c < t->chunks; c++) {
        const int64_t t0 = c * C, m = row->n - t0 < C ? row->n - t0 : C;
        const real *kq = t->kq + c * 2 * C * dk, *beta = row->beta + t0 * Hv + j;
        const real *v = row->c + t0 * ld + 2 * s->key_heads * dk + j * dv, *s0 = c ? t->s + c * size : NULL;
        real *x = t->decay + c * C * (C + 1), *d = t->d + t0 * dv, *before = t->before + t0 * dv;
        for (int64_t i = 0; i < m; i++) t->g[i] = row->g[(t0 + i) * Hv + j];
        rule_decay(x, t->g, C, 0, m);
        rule_triangles(t, c, m, beta, Hv);
        if (s0) times_panels(t->tmp, dv, kq, dk, 1, m, s0, dk, dv, 0);
        for (int64_t i = 0; i < m; i++) {
            memcpy(before + i * dv, v + i * ld, (size_t)dv * sizeof *v);
            if (s0) AXPY(before + i * dv, -x[i * (C + 1)], t->tmp + i * dv, dv);
            SCALED(d + i * dv, beta[i * Hv], before + i * dv, dv);
        }
        rule_solve(d, dv, t->na, C, 0, m);
        if (c + 1 < t->chunks)
            rule_write(t->s + (c + 1) * size, s0, kq, 1, dk, d, x + (C - 1) * (C + 1), t->tmp, C, dk, dv);
    }
}

/* y_j += sum_{i>j} na_ij y_i from the last row up: y := (I + A)^-T y. */
static inline void rule_solve_back(real *y, int64_t dv, const real *na, int64_t C, int64_t m) {
    for (int64_t lo = (m - 1) / BLOCK * BLOCK; lo >= 0; lo -= BLOCK) {
        const int64_t hi = lo + BLOCK < m ? lo + BLOCK : m;
        if (hi < m) TILE(y + lo * dv, dv, na + hi * C + lo, 1, C, hi - lo, y + hi * dv, dv, m - hi, dv, 1);
        for (int64_t j = hi - 2; j >= lo; j--)
            TILE(y + j * dv, dv, na + (j + 1) * C + j, 1, C, 1, y + (j + 1) * dv, dv, hi - 1 - j, dv, 1);
    }
}

/* Through the two triangles: gradients of k_i . k_j and q_i . k_j into t->mix, of the exponents and of beta.
 * dots = Y D^T, then gO D^T. */
static inline void rule_triangles_back(const rule_tape *t, int64_t c, int64_t m, const real *beta, int64_t ldb,
                                       double *gb, real *gbeta) {
    const int64_t C = t->C;
    const real *kk = t->kk + c * 2 * C * C, *G = t->decay + c * C * (C + 1) + 1;
    real *mk = t->mix, *mq = mk + m * C;
    for (int64_t i = 0; i < m * C; i++) mk[i] = mq[i] = 0;
    for (int64_t i = 0; i < m; i++) {
        const real *yd = t->dots + i * C, *od = t->dots + (m + i) * C;
        double sum = 0;
        for (int64_t j = 0; j < i; j++) {
            const real decayed = -yd[j] * G[i * (C + 1) + j]; /* gA G */
            const double move = (double)yd[j] * t->na[i * C + j] + (double)od[j] * t->p[i * C + j];
            sum += (double)decayed * kk[i * C + j];
            mk[i * C + j] = mk[j * C + i] = decayed * beta[i * ldb]; /* k_i . k_j reaches both keys */
            mq[i * C + j] = od[j] * G[i * (C + 1) + j];
            gb[i] += move, gb[j] -= move;
        }
        mq[i * C + i] = od[i];
        gbeta[i * ldb] = (real)sum;
    }
}

/* Chunk c of value head j; R holds the gradient of its S1 where a chunk follows, and of its S0 on return. */
static inline void rule_chunk_back(const rule_tape *t, const ws_delta_shape *s, int j, const rule_grad *row, int64_t c,
                                   double *gb) {
    const int64_t C = t->C, dk = t->dk, dv = t->dv, Hv = s->value_heads, ld = ws_delta_channels(s), size = dk * dv;
    const int64_t t0 = c * C, m = row->n - t0 < C ? row->n - t0 : C;
    const int follows = c + 1 < t->chunks;
    const real *kq = t->kq + c * 2 * C * dk, *beta = row->beta + t0 * Hv + j, *s0 = c ? t->s + c * size : NULL;
    const real *x = t->decay + c * C * (C + 1), *d = t->d + t0 * dv, *last = x + (C - 1) * (C + 1);
    real *gkq = t->gkq + c * 2 * C * dk, *y = t->y, *go = y + m * dv, *gbeta = row->gbeta + t0 * Hv + j;
    real *gv = row->gc + t0 * ld + 2 * s->key_heads * dk + j * dv;
    for (int64_t i = 0; i < m; i++) {
        memcpy(go + i * dv, row->go + ((t0 + i) * Hv + j) * dv, (size_t)dv * sizeof *go);
        gb[i] = 0;
    }
    TRANSPOSE(t->dt, C, d, dv, m, dv);
    rule_triangles(t, c, m, beta, Hv);
    TILE(y, dv, t->p, 1, C, m, go, dv, m, dv, 0);
    if (follows) {
        times_panels(t->tmp, dv, kq, dk, 1, m, t->R, dk, dv, 0);
        for (int64_t i = 0; i < m; i++) AXPY(y + i * dv, last[1 + i], t->tmp + i * dv, dv);
    }
    rule_solve_back(y, dv, t->na, C, m);
    TILE(t->dots, C, y, dv, 1, 2 * m, t->dt, C, dv, m, 0);
    rule_triangles_back(t, c, m, beta, Hv, gb, gbeta);
    TILE(gkq, dk, t->mix, C, 1, 2 * m, kq, dk, m, dk, 1);
    TILE(gkq, dk, t->mix + m * C, 1, C, m, kq + m * dk, dk, m, dk, 1);
    for (int64_t i = 0; i < m; i++) {
        const real e = x[i * (C + 1)], b = beta[i * Hv];
        SCALED(t->b + i * dv, -(b * e), y + i * dv, dv);
        SCALED(t->b + (m + i) * dv, e, go + i * dv, dv);
        gbeta[i * Hv] += DOT(y + i * dv, t->before + (t0 + i) * dv, dv);
        SCALED(gv + i * ld, b, y + i * dv, dv);
    }
    if (s0) {
        rule_transpose(t->st, s0, dk, dv);
        times_panels(t->x, dk, t->b, dv, 1, 2 * m, t->st, dv, dk, 0);
        AXPY(gkq, 1, t->x, 2 * m * dk);
        for (int64_t i = 0; i < m; i++)
            gb[i] += (double)DOT(kq + i * dk, t->x + i * dk, dk) + DOT(kq + (m + i) * dk, t->x + (m + i) * dk, dk);
    }
    if (follows) {
        rule_transpose(t->Rt, t->R, dk, dv);
        times_panels(t->x, dk, d, dv, 1, m, t->Rt, dv, dk, 0);
        for (int64_t i = 0; i < m; i++) {
            const double kept = (double)last[1 + i] * DOT(kq + i * dk, t->x + i * dk, dk);
            AXPY(gkq + i * dk, last[1 + i], t->x + i * dk, dk);
            gb[i] -= kept, gb[m - 1] += kept;
        }
        if (s0) gb[m - 1] += (double)last[0] * DOT(t->R, s0, size);
        SCALE(t->R, last[0], size);
    }
    if (s0) into_panels(t->R, kq, 1, dk, dk, t->b, dv, 2 * m, dv, follows);
    double sum = 0;
    for (int64_t i = m - 1; i >= 0; i--) row->gg[(t0 + i) * Hv + j] = (real)(sum += gb[i]);
}

static inline int64_t rule_backward_room(const ws_delta_shape *s, int64_t n) {
    rule_tape t;
    return rule_tape_cut(&t, s, n, (real *)0);
}

static inline void rule_backward(const ws_delta_shape *s, int h, const rule_grad *row, real *room) {
    rule_tape t;
    double gb[WS_DELTA_CHUNK_MAX];
    rule_tape_cut(&t, s, row->n, room);
    rule_tape_keys(&t, s, h, row);
    for (int j = h * rule_readers(s); j < (h + 1) * rule_readers(s); j++) {
        rule_again(&t, s, j, row);
        for (int64_t c = t.chunks - 1; c >= 0; c--) rule_chunk_back(&t, s, j, row, c, gb);
    }
    const int64_t C = t.C, dk = t.dk, ld = ws_delta_channels(s);
    for (int64_t c = 0; c < t.chunks; c++) {
        const int64_t m = row->n - c * C < C ? row->n - c * C : C;
        const real *kq = t.kq + c * 2 * C * dk, *gkq = t.gkq + c * 2 * C * dk, *r = t.r + c * 2 * C;
        for (int64_t i = 0; i < m; i++) {
            real *gx = row->gc + (c * C + i) * ld;
            L2NORM_BACKWARD(gx + (s->key_heads + h) * dk, gkq + i * dk, kq + i * dk, r[i], 1, dk);
            L2NORM_BACKWARD(gx + h * dk, gkq + (m + i) * dk, kq + (m + i) * dk, r[m + i], RSQRT(dk), dk);
        }
    }
}
#endif
