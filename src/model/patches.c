/* src/model/patches.c - one door per linear: the base product over all tokens of the batch, then the patches on the
 * tokens of the rows that ask for them.  Tokens of rows at alpha 0 are never handed out, so they keep the base's bits. */
#include "base/parallel.h"
#include "model/parts.h"
#include "ops/linear.h"
#include <string.h>

void ws_hung_set(ws_hung *h, int64_t n, const int *row, int n_patches, ws_patch *const *patch,
                 const float *const *alpha, ws_arena *a) {
    h->n = n, h->n_patches = n_patches, h->patch = patch;
    h->on = ws_arena_get(a, (size_t)n_patches * sizeof *h->on);
    for (int p = 0; p < n_patches; p++) {
        ws_on *on = &h->on[p];
        *on = (ws_on){0};
        on->alpha = ws_arena_floats(a, n);
        on->token = ws_arena_get(a, (size_t)n * sizeof *on->token);
        for (int64_t t = 0; t < n; t++) {
            float s = alpha ? alpha[p][row[t]] : 1;
            if (s == 0) continue;
            on->alpha[on->n] = s;
            on->token[on->n++] = t;
        }
        if (on->n) on->first = on->token[0];
        if (on->n && on->token[on->n - 1] - on->first + 1 == on->n) on->token = NULL;
    }
}

int ws_site_patched(const ws_hung *h, int site) {
    for (int p = 0; p < h->n_patches; p++)
        if (h->on[p].n && h->patch[p]->ops->hangs_at(h->patch[p], site)) return 1;
    return 0;
}

typedef struct move {
    float *packed, *spread;
    const int64_t *token;
    int64_t d;
} move;
static void pack(void *arg, int64_t begin, int64_t end) {
    const move *a = arg;
    for (int64_t i = begin; i < end; i++)
        memcpy(a->packed + i * a->d, a->spread + a->token[i] * a->d, (size_t)a->d * sizeof(float));
}
static void spread(void *arg, int64_t begin, int64_t end) {
    const move *a = arg;
    for (int64_t i = begin; i < end; i++)
        memcpy(a->spread + a->token[i] * a->d, a->packed + i * a->d, (size_t)a->d * sizeof(float));
}
static float *gather(const float *x, const ws_on *on, int64_t d, ws_arena *a) {
    float *to = ws_arena_floats(a, on->n * d);
    ws_parallel_for(on->n, 64, pack, &(move){to, (float *)(uintptr_t)x, on->token, d});
    return to;
}

void ws_site_forward(ws_model *m, const ws_hung *h, int site, const float *x, float *y, float *const *saved) {
    const ws_site *at = &m->site[site];
    ws_linear_forward(y, x, h->n, at->w, at->bias);
    for (int p = 0; p < h->n_patches; p++) {
        const ws_on *on = &h->on[p];
        ws_patch *patch = h->patch[p];
        if (!on->n || !patch->ops->linear || !patch->ops->hangs_at(patch, site)) continue;
        ws_arena_mark mark = ws_arena_save(m->patch_scratch);
        ws_patch_call c = {site, at, on->n, NULL, NULL, on->alpha, m->patch_scratch, saved ? saved[p] : NULL};
        if (on->token) {
            float *gy = gather(y, on, at->d_out, m->patch_scratch);
            c.x = gather(x, on, at->d_in, m->patch_scratch), c.y = gy;
            patch->ops->linear(patch, &c);
            ws_parallel_for(on->n, 64, spread, &(move){gy, y, on->token, at->d_out});
        } else {
            c.x = x + on->first * at->d_in, c.y = y + on->first * at->d_out;
            patch->ops->linear(patch, &c);
        }
        ws_arena_rewind(m->patch_scratch, mark);
    }
}

void ws_block_patches(ws_model *m, const ws_hung *h, int layer, float *x) {
    int site = m->n_linears + layer;
    int64_t d = m->arch.hidden;
    for (int p = 0; p < h->n_patches; p++) {
        const ws_on *on = &h->on[p];
        ws_patch *patch = h->patch[p];
        if (!on->n || !patch->ops->block || !patch->ops->hangs_at(patch, site)) continue;
        ws_arena_mark mark = ws_arena_save(m->patch_scratch);
        if (on->token) {
            float *part = gather(x, on, d, m->patch_scratch);
            patch->ops->block(patch, site, on->n, part, on->alpha, m->patch_scratch);
            ws_parallel_for(on->n, 64, spread, &(move){part, x, on->token, d});
        } else {
            patch->ops->block(patch, site, on->n, x + on->first * d, on->alpha, m->patch_scratch);
        }
        ws_arena_rewind(m->patch_scratch, mark);
    }
}

/* In training every patch is on for every token, so there is nothing to gather. */
void ws_site_backward(ws_model *m, const ws_hung *h, int site, const float *x, float *gy, float *gx, int accumulate,
                      float *const *saved) {
    const ws_site *at = &m->site[site];
    ws_arena_mark mark = ws_arena_save(m->patch_scratch);
    /* A patch is promised gy W of its own site alone, so where gx has other parts already this one is made apart. */
    float *total = gx && accumulate && ws_site_patched(h, site) ? gx : NULL;
    if (total) gx = ws_arena_floats(m->patch_scratch, h->n * at->d_in), accumulate = 0;
    for (int p = h->n_patches - 1; p >= 0; p--) {
        ws_patch *patch = h->patch[p];
        if (!patch->ops->hangs_at(patch, site) || !patch->ops->linear_gy) continue;
        ws_patch_grad g = {site, at, h->n, x, gy, NULL, saved ? saved[p] : NULL, m->patch_scratch};
        ws_arena_mark inner = ws_arena_save(m->patch_scratch);
        patch->ops->linear_gy(patch, &g);
        ws_arena_rewind(m->patch_scratch, inner);
    }
    if (gx) ws_linear_backward(gx, gy, h->n, at->w, accumulate);
    for (int p = h->n_patches - 1; p >= 0; p--) {
        ws_patch *patch = h->patch[p];
        if (!patch->ops->hangs_at(patch, site) || !patch->ops->linear_grad) continue;
        ws_patch_grad g = {site, at, h->n, x, gy, gx, saved ? saved[p] : NULL, m->patch_scratch};
        ws_arena_mark inner = ws_arena_save(m->patch_scratch);
        patch->ops->linear_grad(patch, &g);
        ws_arena_rewind(m->patch_scratch, inner);
    }
    if (total) ws_add_rows(total, gx, h->n, at->d_in);
    ws_arena_rewind(m->patch_scratch, mark);
}
