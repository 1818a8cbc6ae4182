/* src/train/plan.c - tokens, memory and time of a training run. */
#include "train/plan.h"
#include "base/progress.h"
#include "kernel/compute.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t number_in(const char *path) {
    long long v = -1;
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    if (fscanf(f, "%lld", &v) != 1) v = -1; /* "max": no limit */
    fclose(f);
    return v;
}

int64_t ws_memory_free(void) {
    int64_t free_bytes = (int64_t)4 << 30;
    char line[256];
    FILE *f = fopen("/proc/meminfo", "r");
    if (f) {
        while (fgets(line, sizeof line, f)) {
            long long kib;
            if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1) free_bytes = (int64_t)kib * 1024;
        }
        fclose(f);
    }
    int64_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
    if (limit > 0 && used >= 0 && limit - used < free_bytes) free_bytes = limit > used ? limit - used : 0;
    return free_bytes;
}

int64_t ws_weights_bytes(const ws_model *m) {
    const ws_checkpoint *c = ws_model_checkpoint(m);
    int64_t n = 0;
    for (size_t i = 0; i < ws_checkpoint_count(c); i++) n += (int64_t)ws_checkpoint_at(c, i)->bytes;
    return n;
}

int64_t ws_train_budget(const ws_model *m) {
    int64_t left = ws_memory_free() - ws_weights_bytes(m);
    return left > 0 ? left / 2 : 1; /* nothing to spare: recompute */
}

static int64_t tokens_of(const ws_examples *d, const int64_t *row, int64_t n, int64_t *supervised) {
    int64_t t = 0;
    for (int64_t i = 0; i < n; i++) {
        const ws_example *x = &d->row[row[i]];
        if (x->first == x->n) continue; /* a row without labels is not run */
        t += x->n;
        if (supervised) *supervised += x->n - x->first;
    }
    return t;
}

int64_t ws_train_pack(int64_t micro_batch) {
    enum { ENOUGH = 768 };
    return micro_batch > ENOUGH ? micro_batch : ENOUGH;
}

int ws_train_rows(ws_train_row *out, const ws_examples *d, const int64_t *row, int64_t n, float weight) {
    int k = 0;
    for (int64_t i = 0; i < n; i++) {
        const ws_example *x = &d->row[row[i]];
        if (x->first < x->n) out[k++] = (ws_train_row){x->ids, x->n, x->first, weight};
    }
    return k;
}

/* One step's rows and what they share. */
typedef struct step {
    ws_train_row *row;
    int n;
    ws_share *share;
} step;
static step step_of(const ws_model *m, const ws_examples *d, ws_schedule *s, int64_t k) {
    const int64_t *row;
    int64_t n = ws_schedule_rows(s, k, &row);
    step t = {.row = ws_xcalloc((size_t)n, sizeof *t.row)};
    t.n = ws_train_rows(t.row, d, row, n, 1);
    t.share = ws_share_new(m, t.row, t.n);
    return t;
}
static void step_done(step *t) { ws_share_free(t->share), free(t->row); }

/* The passes of one step, and what of them does not hang on memory. */
static void passes_of(ws_train_cost *c, const step *t, int64_t *longest) {
    int64_t shared = ws_share_tokens(t->share), tokens;
    c->run += shared, c->rows += t->n;
    if (shared > c->shared) c->shared = shared;
    for (int r = 0; r < t->n; r++) {
        int64_t own = ws_share_own(t->share, r);
        c->run += own;
        if (own > *longest) *longest = own;
    }
    for (int r = 0; r < t->n;) {
        r += ws_share_part(t->share, r, t->n - r, c->pack, &tokens);
        if (tokens > c->largest) c->largest = tokens;
    }
}

/* The parts of one step's passes; returns the tokens that are computed again. */
static int64_t parts_of(ws_train_cost *c, const step *t) {
    int64_t again = 0, tokens, part = c->memory.part;
    for (int r = 0, end; r < t->n; r = end) {
        end = r + ws_share_part(t->share, r, t->n - r, c->pack, &tokens);
        for (int i = r; i < end; c->parts++) {
            i += ws_share_part(t->share, i, end - i, part, &tokens);
            if (part && tokens > part) again += tokens;
            if (tokens > c->part_tokens) c->part_tokens = tokens;
        }
    }
    if (part && ws_share_tokens(t->share) > part) again += ws_share_tokens(t->share);
    return again;
}

/* Multiply-adds per second of the largest linear at the micro-batch's size. */
static double gemm_rate(const ws_model *m, int64_t tokens) {
    const ws_weight *w = NULL;
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *s = ws_model_site(m, i);
        if (s->kind == WS_SITE_LINEAR && (!w || s->w->rows * s->w->cols > w->rows * w->cols)) w = s->w;
    }
    int64_t n = tokens < 32 ? 32 : tokens > 256 ? 256 : tokens;
    float *x = ws_try_alloc((size_t)(n * w->cols), sizeof(float)),
          *y = ws_try_alloc((size_t)(n * w->rows), sizeof(float));
    double best = 0;
    for (int i = 0; i < 3 && x && y; i++) {
        double t = ws_now();
        ws_base_nt(y, w->rows, x, w->cols, n, w, 0);
        t = ws_now() - t;
        double rate = t > 0 ? (double)n * (double)w->rows * (double)w->cols / t : 0;
        if (i && rate > best) best = rate; /* the first one warms up */
    }
    free(x), free(y);
    return best;
}

ws_train_cost ws_train_cost_of(const ws_model *m, ws_adapter *a, const ws_examples *data, ws_schedule *s, int64_t from,
                               int64_t eval_every, int64_t budget) {
    ws_train_cost c = {0};
    const ws_dims *d = ws_model_dims(m);
    int lowest = ws_adapter_lowest_layer(a);
    double below = 0, above = 0, head = (double)d->hidden * (double)d->vocab;
    int64_t again = 0, longest = 1, micro_batch = 1;
    ws_patch *const patch[] = {ws_adapter_patch(a)};
    for (int64_t k = from; k < s->total; k++) {
        const int64_t *row;
        int64_t n = ws_schedule_rows(s, k, &row);
        c.tokens += tokens_of(data, row, n, &c.supervised);
        for (int64_t i = 0; i < n; i += s->batch) {
            int64_t t = tokens_of(data, row + i, n - i < s->batch ? n - i : s->batch, NULL);
            if (t > micro_batch) micro_batch = t;
        }
    }
    c.pack = ws_train_pack(micro_batch), c.largest = 1;
    for (int64_t k = from; k < s->total; k++) {
        step t = step_of(m, data, s, k);
        passes_of(&c, &t, &longest);
        step_done(&t);
    }
    c.eval_tokens = tokens_of(data, s->test, s->n_test, NULL);
    c.memory =
        ws_train_plan_sharing(m, c.largest, longest, c.shared, patch, 1, 0, budget ? budget : ws_train_budget(m));
    for (int64_t k = from; k < s->total; k++) {
        step t = step_of(m, data, s, k);
        again += parts_of(&c, &t);
        step_done(&t);
    }
    if (c.memory.part && !c.memory.recompute) { /* of whole rows, so the largest part may be smaller than its room */
        int64_t part = c.memory.part, most = c.part_tokens > c.shared ? c.part_tokens : c.shared;
        if (part >= c.shared) {
            c.memory = ws_train_plan_sharing(m, most, most, c.shared, patch, 1, 0, INT64_MAX);
            c.memory.part = part;
        }
    }
    c.state = 7 * ws_adapter_size(a) * (int64_t)sizeof(float);
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *at = ws_model_site(m, i);
        if (at->kind == WS_SITE_LINEAR) *(at->layer < lowest ? &below : &above) += (double)at->d_in * (double)at->d_out;
    }
    double rate = gemm_rate(m, c.part_tokens);
    if (rate > 0) {
        int64_t evals = 0; /* whole intervals between here and the end, and one more after a last short one */
        if (eval_every > 0 && s->n_test)
            evals = s->total / eval_every - from / eval_every + (s->total % eval_every != 0);
        double per_token = below + above * 2 + 4.0 * (double)ws_adapter_size(a);
        double work = per_token * (double)c.run + above * (double)again + 2 * head * (double)c.supervised +
                      (double)evals * (double)c.eval_tokens * (below + above + head);
        c.seconds = 1.25 * work / rate; /* attention, norms, softmax and the optimiser: about a quarter on top */
    }
    return c;
}
