#include "ops/gate.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"
#include <string.h>

enum { CHUNK = 8192 }; /* numbers in one piece of work; elementwise, so the cut changes no value */

typedef struct job {
    float *y, *go, *gc;
    const float *gy, *o, *c;
} job;

static void forward(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    ws_k.sigmoid_mul(j->y + begin, j->c + begin, j->o + begin, end - begin);
}
void ws_gate_forward(float *y, const float *o, const float *c, int64_t n, int64_t d) {
    job j = {.y = y, .o = o, .c = c};
    ws_profile_enter("gate");
    ws_parallel_for(n * d, CHUNK, forward, &j);
    ws_profile_leave(0, 0);
}

static void backward(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    ws_k.sigmoid_mul_backward(j->gc + begin, j->go + begin, j->gy + begin, j->c + begin, j->o + begin, end - begin);
}
void ws_gate_backward(float *go, float *gc, const float *gy, const float *o, const float *c, int64_t n, int64_t d) {
    job j = {.go = go, .gc = gc, .gy = gy, .o = o, .c = c};
    ws_profile_enter("gate backward");
    ws_parallel_for(n * d, CHUNK, backward, &j);
    ws_profile_leave(0, 0);
}

typedef struct halves {
    float *q, *c, *qc;
    int64_t hd;
    int join;
} halves;
static void move(void *arg, int64_t begin, int64_t end) {
    const halves *a = arg;
    const size_t bytes = (size_t)a->hd * sizeof *a->q;
    for (int64_t i = begin; i < end; i++) { /* heads of tokens */
        float *q = a->q + i * a->hd, *c = a->c + i * a->hd, *both = a->qc + 2 * i * a->hd;
        memcpy(a->join ? both : q, a->join ? q : both, bytes);
        memcpy(a->join ? both + a->hd : c, a->join ? c : both + a->hd, bytes);
    }
}
static void run(float *q, float *c, float *qc, int64_t n, int heads, int hd, int join) {
    halves a = {q, c, qc, hd, join};
    ws_profile_enter("gate");
    ws_parallel_for(n * heads, 1 + CHUNK / hd, move, &a);
    ws_profile_leave(0, 0);
}
void ws_gate_split(float *q, float *c, const float *qc, int64_t n, int heads, int hd) {
    run(q, c, (float *)qc, n, heads, hd, 0);
}
void ws_gate_join(float *qc, const float *q, const float *c, int64_t n, int heads, int hd) {
    run((float *)q, (float *)c, qc, n, heads, hd, 1);
}
