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

int ws_patches_lowest(const ws_model *m, ws_patch *const *patch, int n_patches) {
    int lowest = m->arch.layers;
    for (int p = 0; p < n_patches; p++)
        for (int i = 0; i < m->n_sites; i++)
            if (m->site[i].layer < lowest && patch[p]->ops->hangs_at(patch[p], i)) lowest = m->site[i].layer;
    return lowest;
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

/* A patch on its way through one site: its tokens, packed where they are not consecutive. */
typedef struct visit {
    ws_patch *patch; /* NULL: not here */
    const ws_on *on;
    ws_patch_call call;
    int64_t extra; /* rows of its own that W multiplies: n_inputs * on->n */
    int turns, wants_base;
    int64_t base; /* rows beside those, where W x of the own x is wanted and x is turned */
} visit;

static float *packed(const ws_on *on, const float *x, int64_t d, ws_arena *a) {
    return on->token ? gather(x, on, d, a) : (float *)(uintptr_t)x + on->first * d;
}

/* Which patches are on here; returns their number. */
static int visits(ws_model *m, const ws_hung *h, int site, const float *x, float *const *saved, visit *v) {
    const ws_site *at = &m->site[site];
    int here = 0;
    for (int p = 0; p < h->n_patches; p++) {
        const ws_on *on = &h->on[p];
        ws_patch *patch = h->patch[p];
        const ws_patch_ops *o = patch->ops;
        v[p] = (visit){0};
        if (!on->n || !(o->linear || o->input || o->product) || !o->hangs_at(patch, site)) continue;
        v[p] = (visit){.patch = patch,
                       .on = on,
                       .extra = o->n_inputs ? o->n_inputs(patch, site) * on->n : 0,
                       .turns = o->input && (!o->turns || o->turns(patch, site)),
                       .wants_base = o->wants_base && o->wants_base(patch, site)};
        v[p].call = (ws_patch_call){.site = site,
                                    .at = at,
                                    .n = on->n,
                                    .x = packed(on, x, at->d_in, m->patch_scratch),
                                    .alpha = on->alpha,
                                    .scratch = m->patch_scratch,
                                    .saved = saved ? saved[p] : NULL};
        here++;
    }
    return here;
}

/* fn on the rows of `of` [., d] that belong to the patch, in place. */
static void in_place(const visit *v, float *of, int64_t d, ws_arena *a, void (*fn)(const visit *v, float *rows)) {
    ws_arena_mark mark = ws_arena_save(a);
    float *rows = packed(v->on, of, d, a);
    fn(v, rows);
    if (v->on->token) ws_parallel_for(v->on->n, 64, spread, &(move){rows, of, v->on->token, d});
    ws_arena_rewind(a, mark);
}
static void call_input(const visit *v, float *rows) { v->patch->ops->input(v->patch, &v->call, rows); }
static void call_product(const visit *v, float *rows) {
    ws_patch_call c = v->call;
    c.y = rows;
    v->patch->ops->product(v->patch, &c);
}
static void call_linear(const visit *v, float *rows) {
    ws_patch_call c = v->call;
    c.y = rows;
    v->patch->ops->linear(v->patch, &c);
}

/* What the patches here add to y, where all of them can tell it as thin products over tokens side by side; else they wait
 * for linear(), each in its turn. */
static int thin(const ws_hung *h, const ws_site *at, const visit *v, ws_beside *b) {
    int n = 0;
    for (int p = 0; p < h->n_patches; p++) {
        ws_patch *patch = v[p].patch;
        if (!patch) continue;
        if (!patch->ops->beside || at->bias || v[p].on->token) return 0;
        if (patch->ops->thin && !patch->ops->thin(patch, v[p].call.site)) return 0;
    }
    for (int p = 0; p < h->n_patches; p++) {
        if (!v[p].patch) continue;
        v[p].patch->ops->beside(v[p].patch, &v[p].call, &b[n]);
        b[n].first = v[p].on->first, b[n].n = v[p].on->n;
        n++;
    }
    return n;
}

/* y = W x, and W on the rows that patches bring themselves or want unturned, in the same pass over its weights. */
static void multiply(const ws_site *at, int64_t n, const float *x, float *y, visit *v, int n_patches, int64_t extra,
                     const ws_beside *b, int n_beside, ws_arena *a) {
    if (!extra) {
        ws_linear_forward_beside(y, x, n, at->w, b, n_beside);
        return;
    }
    float *all = ws_arena_floats(a, (n + extra) * at->d_in), *wx = ws_arena_floats(a, (n + extra) * at->d_out);
    memcpy(all, x, (size_t)(n * at->d_in) * sizeof *all);
    int64_t row = n;
    for (int p = 0; p < n_patches; p++) {
        if (v[p].extra) {
            v[p].patch->ops->inputs(v[p].patch, &v[p].call, all + row * at->d_in);
            v[p].call.wx = wx + row * at->d_out;
            row += v[p].extra;
        }
        if (v[p].base) {
            memcpy(all + row * at->d_in, v[p].call.x, (size_t)(v[p].base * at->d_in) * sizeof *all);
            v[p].call.base = wx + row * at->d_out;
            row += v[p].base;
        }
    }
    ws_linear_forward(wx, all, n + extra, at->w, NULL);
    memcpy(y, wx, (size_t)(n * at->d_out) * sizeof *y);
}

void ws_site_forward(ws_model *m, const ws_hung *h, int site, const float *x, float *y, float *const *saved) {
    const ws_site *at = &m->site[site];
    ws_arena *a = m->patch_scratch;
    ws_arena_mark mark = ws_arena_save(a);
    visit *v = ws_arena_get(a, (size_t)h->n_patches * sizeof *v);
    int here = visits(m, h, site, x, saved, v);
    int64_t extra = 0;
    int base = 0, turned = 0;
    for (int p = 0; here && p < h->n_patches; p++)
        if (v[p].patch) extra += v[p].extra, base |= v[p].wants_base, turned |= v[p].turns;
    for (int p = 0; turned && p < h->n_patches; p++)
        if (v[p].patch && v[p].wants_base) extra += v[p].base = v[p].on->n;
    if (turned) {
        float *own = ws_arena_floats(a, h->n * at->d_in);
        memcpy(own, x, (size_t)(h->n * at->d_in) * sizeof *own);
        for (int p = 0; p < h->n_patches; p++)
            if (v[p].patch && v[p].turns) in_place(&v[p], own, at->d_in, a, call_input);
        x = own;
    }
    ws_beside *b = ws_arena_get(a, (size_t)h->n_patches * sizeof *b);
    int n_beside = here && !extra && !turned && !base ? thin(h, at, v, b) : 0;
    multiply(at, h->n, x, y, v, here ? h->n_patches : 0, extra, b, n_beside, a);
    if (n_beside) here = 0; /* they are done */
    for (int p = 0; base && p < h->n_patches; p++) {
        if (!v[p].patch || !v[p].wants_base || v[p].base) continue;
        v[p].call.base = ws_arena_floats(a, v[p].on->n * at->d_out);
        float *rows = packed(v[p].on, y, at->d_out, a);
        memcpy((float *)(uintptr_t)v[p].call.base, rows, (size_t)(v[p].on->n * at->d_out) * sizeof *rows);
    }
    for (int p = 0; here && p < h->n_patches; p++)
        if (v[p].patch && v[p].patch->ops->product) in_place(&v[p], y, at->d_out, a, call_product);
    if (at->bias) ws_linear_add_bias(y, h->n, at->d_out, at->bias);
    for (int p = 0; here && p < h->n_patches; p++)
        if (v[p].patch && v[p].patch->ops->linear) in_place(&v[p], y, at->d_out, a, call_linear);
    ws_arena_rewind(a, mark);
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
    int wanted = gx != NULL;
    for (int p = 0; p < h->n_patches; p++) {
        ws_patch *patch = h->patch[p];
        wanted |= patch->ops->needs_gx && patch->ops->hangs_at(patch, site) && patch->ops->needs_gx(patch, site);
    }
    /* A patch is promised gy W of its own site alone, unless it tells what it adds: where gx has other parts already this one
     * is made apart. */
    int own = 0, n_beside = 0;
    for (int p = 0; p < h->n_patches; p++)
        own |= !h->patch[p]->ops->beside_gx && h->patch[p]->ops->hangs_at(h->patch[p], site);
    float *total = gx && accumulate && own ? gx : NULL;
    ws_beside *b = ws_arena_get(m->patch_scratch, (size_t)h->n_patches * sizeof *b);
    const float **of = ws_arena_get(m->patch_scratch, (size_t)h->n_patches * sizeof *of);
    if (total || (wanted && !gx)) gx = ws_arena_floats(m->patch_scratch, h->n * at->d_in), accumulate = 0;
    for (int p = h->n_patches - 1; p >= 0; p--) {
        ws_patch *patch = h->patch[p];
        if (!patch->ops->hangs_at(patch, site) || !patch->ops->linear_gy) continue;
        ws_patch_grad g = {site, at, h->n, x, gy, NULL, saved ? saved[p] : NULL, m->patch_scratch, NULL};
        ws_arena_mark inner = ws_arena_save(m->patch_scratch);
        patch->ops->linear_gy(patch, &g);
        ws_arena_rewind(m->patch_scratch, inner);
    }
    for (int p = h->n_patches - 1; p >= 0; p--) {
        ws_patch *patch = h->patch[p];
        of[p] = NULL;
        if (!gx || !patch->ops->beside_gx || !patch->ops->hangs_at(patch, site)) continue;
        patch->ops->beside_gx(
            patch, &(ws_patch_grad){site, at, h->n, x, gy, NULL, saved ? saved[p] : NULL, m->patch_scratch, NULL},
            &b[n_beside]);
        b[n_beside].first = 0, b[n_beside].n = h->n;
        of[p] = b[n_beside++].h;
    }
    if (gx) ws_linear_backward_beside(gx, gy, h->n, at->w, accumulate, b, n_beside);
    for (int p = h->n_patches - 1; p >= 0; p--) {
        ws_patch *patch = h->patch[p];
        if (!patch->ops->hangs_at(patch, site) || !patch->ops->linear_grad) continue;
        ws_patch_grad g = {site, at, h->n, x, gy, gx, saved ? saved[p] : NULL, m->patch_scratch, of[p]};
        ws_arena_mark inner = ws_arena_save(m->patch_scratch);
        patch->ops->linear_grad(patch, &g);
        ws_arena_rewind(m->patch_scratch, inner);
    }
    if (total) ws_add_rows(total, gx, h->n, at->d_in);
    ws_arena_rewind(m->patch_scratch, mark);
}
