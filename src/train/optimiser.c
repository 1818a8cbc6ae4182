/* src/train/optimiser.c - AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101) in torch's order of operations:
 *     g *= min(1, clip / (norm + 1e-6))
 *     p *= fl(1 - lr wd);  m = b1 m + fl(1-b1) g;  v = b2 v + fl(1-b2) g g
 *     p -= fl(lr / (1 - b1^t)) m / (sqrt(v) / fl(sqrt(1 - b2^t)) + eps)        t = k + 1
 * Scalars are double, converted once; every trained tensor decays. */
#include "train/optimiser.h"
#include "base/parallel.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

ws_status ws_adamw_new(ws_adamw *o, int64_t size, double weight_decay, double clip, ws_err *err) {
    *o = (ws_adamw){size, ws_try_alloc((size_t)size, sizeof(float)), ws_try_alloc((size_t)size, sizeof(float)),
                    weight_decay, clip};
    if (o->m && o->v) return WS_OK;
    ws_adamw_release(o);
    return ws_fail(err, WS_ENOMEM, "out of memory for the optimiser's state of %lld numbers", (long long)size);
}

void ws_adamw_release(ws_adamw *o) {
    free(o->m), free(o->v);
    memset(o, 0, sizeof *o);
}

typedef struct norms {
    const ws_adapter *a;
    double *sq;
} norms;

static void tensor_norms(void *arg, int64_t begin, int64_t end) {
    const norms *p = arg;
    for (int64_t i = begin; i < end; i++) {
        const ws_param *q = ws_adapter_param(p->a, (int)i);
        p->sq[i] = q->grad ? ws_k.sum_sq(q->grad, q->rows * q->cols) : 0;
    }
}

typedef struct update {
    float *p, *m, *v;
    const float *g;
    float gscale, decay, step_size, bias2_sqrt;
} update;

static void update_range(void *arg, int64_t begin, int64_t end) {
    const update *u = arg;
    ws_k.adamw(u->p + begin, u->m + begin, u->v + begin, u->g + begin, end - begin, u->gscale, u->decay, u->step_size,
               u->bias2_sqrt, 1e-8f);
}

ws_status ws_adamw_step(ws_adamw *o, ws_adapter *a, const ws_model *m, int64_t k, double lr, double *norm,
                        ws_err *err) {
    int n = ws_adapter_n_params(a), bad = -1;
    norms q = {a, ws_xcalloc((size_t)n, sizeof(double))};
    double sum = 0, t = (double)(k + 1);
    WS_ASSERT(o->size == ws_adapter_size(a));
    ws_parallel_for(n, 1, tensor_norms, &q);
    for (int i = 0; i < n; i++) {
        if (!isfinite(q.sq[i]) && bad < 0) bad = i;
        sum += q.sq[i];
    }
    free(q.sq);
    if (bad >= 0) {
        const ws_param *p = ws_adapter_param(a, bad);
        return ws_fail(err, WS_ENONFINITE, "the gradient of %s.%s is not finite", ws_model_site(m, p->site)->name,
                       p->suffix);
    }
    *norm = sqrt(sum);
    double coef = o->clip > 0 ? o->clip / (*norm + 1e-6) : 1; /* clip 0: no clipping */
    update u = {ws_adapter_values(a),
                o->m,
                o->v,
                ws_adapter_grads(a),
                (float)(coef < 1 ? coef : 1),
                (float)(1 - lr * o->weight_decay),
                (float)(lr / (1 - pow(0.9, t))),
                (float)sqrt(1 - pow(0.999, t))};
    ws_parallel_for(o->size, 1 << 14, update_range, &u);
    ws_adapter_refresh(a);
    return WS_OK;
}
