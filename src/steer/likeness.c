#include "steer/likeness.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 32 }; /* of the states, that are looked at */

struct ws_likeness {
    const ws_state_set *s;
    int methods, n;
    int64_t rows;  /* of a field */
    float **field; /* [methods, sites] y' - y [rows, d]; NULL: does not hang there */
};

ws_likeness *ws_likeness_new(const ws_state_set *s, int methods) {
    ws_likeness *l = ws_xcalloc(1, sizeof *l);
    *l = (ws_likeness){.s = s, .methods = methods, .rows = 2 * (s->n < PAIRS ? s->n : PAIRS)};
    l->field = ws_xcalloc((size_t)methods * (size_t)s->n_sites + 1, sizeof *l->field);
    return l;
}

void ws_likeness_add(ws_likeness *l, const ws_vector *v) {
    WS_ASSERT(l->n < l->methods);
    const ws_steer_ops *ops = v->ops;
    double norm = ops->of_norm ? ws_vector_norm(v) : 1;
    float *c = ws_xmalloc((size_t)l->rows * sizeof *c);
    for (int64_t t = 0; t < l->rows; t++) c[t] = (float)(ops->hidden->nominal * (norm > 0 ? norm : 1));
    for (int i = 0; i < l->s->n_sites; i++) {
        const ws_states *h = &l->s->at[i];
        size_t half = (size_t)(l->rows / 2 * h->d);
        if (!ws_vector_hangs_at(v, h->site)) continue;
        float *y = ws_xmalloc(2 * half * sizeof *y);
        memcpy(y, h->pos, half * sizeof *y), memcpy(y + half, h->neg, half * sizeof *y);
        ws_vector_apply(v, h->site, l->rows, y, c);
        for (size_t k = 0; k < half; k++) y[k] -= h->pos[k], y[half + k] -= h->neg[k];
        l->field[l->n * l->s->n_sites + i] = y;
    }
    free(c);
    l->n++;
}

void ws_likeness_done(const ws_likeness *l, double *cosine, double *most) {
    for (int a = 0; a < l->n; a++)
        for (int b = 0; b <= a; b++) {
            double sum = 0, size = 0;
            int n = 0;
            for (int i = 0; i < l->s->n_sites; i++) {
                const float *x = l->field[a * l->s->n_sites + i], *y = l->field[b * l->s->n_sites + i];
                int64_t d = l->rows * l->s->at[i].d;
                if (!x || !y) continue;
                double c = ws_dot(x, y, d) / (ws_length(x, d) * ws_length(y, d));
                if (!isfinite(c)) continue; /* one of them moves nothing here */
                sum += c, size += fabs(c), n++;
            }
            cosine[a * l->methods + b] = cosine[b * l->methods + a] = n ? sum / n : NAN;
            most[a * l->methods + b] = most[b * l->methods + a] = n ? size / n : NAN;
        }
}

int ws_likeness_moves(const ws_likeness *l, int method) {
    for (int i = 0; i < l->s->n_sites; i++) {
        const float *x = l->field[method * l->s->n_sites + i];
        if (x && ws_length(x, l->rows * l->s->at[i].d) > 0) return 1;
    }
    return 0;
}

void ws_likeness_free(ws_likeness *l) {
    if (!l) return;
    for (int i = 0; i < l->methods * l->s->n_sites; i++) free(l->field[i]);
    free(l->field);
    free(l);
}
