/* src/model/train.c - one training pass, in one part or several: packed rows forward, loss at the supervised positions,
 * backward to the patches. */
#include "base/parallel.h"
#include "model/parts.h"
#include "ops/crossentropy.h"
#include "ops/embed.h"
#include "ops/norm.h"
#include <math.h>
#include <string.h>

void ws_model_probe(ws_model *m, float *embed_grad) { m->embed_grad = embed_grad; }

/* Keys and values of every span behind those that it goes on from. */
typedef struct behind {
    const ws_pass *p;
    const float *of[2]; /* the share's k and v of this layer */
    int64_t width;
    ws_attn_row *row;
    float **to; /* [n_rows] room for both; NULL: nothing is before it */
} behind;
static void go_on(void *arg, int64_t begin, int64_t end) {
    const behind *a = arg;
    for (int64_t r = begin; r < end; r++) {
        const ws_span *s = &a->p->span[r];
        if (!a->to[r]) continue;
        a->row[r].k = ws_share_behind(a->p->share, s, a->of[0], a->row[r].k, a->width, a->to[r]);
        a->row[r].v =
            ws_share_behind(a->p->share, s, a->of[1], a->row[r].v, a->width, a->to[r] + (s->pos + s->n) * a->width);
    }
}

void ws_pass_behind(ws_model *m, const ws_pass *p, int layer, ws_attn_row *row) {
    const ws_attn_shape s = ws_attn_shape_of(&m->arch);
    behind b = {.p = p, .width = s.ldk, .row = row};
    int some = 0;
    b.to = ws_arena_get(m->scratch, (size_t)p->n_rows * sizeof *b.to);
    for (int r = 0; r < p->n_rows; r++) {
        const ws_span *span = &p->span[r];
        b.to[r] = span->pos ? ws_arena_floats(m->scratch, 2 * (span->pos + span->n) * s.ldk) : NULL;
        some |= span->pos;
    }
    if (!some) return;
    b.of[0] = p->share->k[layer], b.of[1] = p->share->v[layer];
    ws_parallel_for(p->n_rows, 1, go_on, &b);
}

static void attend(ws_model *m, const ws_pass *p, int layer, const ws_block_buf *b) {
    const ws_attn_shape s = ws_attn_shape_of(&m->arch);
    ws_arena_mark mark = ws_arena_save(m->scratch);
    ws_attn_row *row = ws_arena_get(m->scratch, (size_t)p->n_rows * sizeof *row);
    for (int r = 0; r < p->n_rows; r++) {
        int64_t t = p->first[r];
        row[r] = (ws_attn_row){.n = p->span[r].n,
                               .pos = p->span[r].pos,
                               .q = b->q + t * s.ldq,
                               .o = b->att + t * s.ldo,
                               .k = b->k + t * s.ldk,
                               .v = b->v + t * s.ldk,
                               .lse = b->lse ? b->lse + t * s.heads : NULL};
    }
    ws_pass_behind(m, p, layer, row);
    ws_attention(&s, NULL, 0, row, p->n_rows);
    ws_arena_rewind(m->scratch, mark);
}

/* Convolution and delta rule of whole rows, from zero. */
static void recur(const ws_model *m, const ws_pass *p, int layer, const ws_block_buf *b) {
    const ws_delta_shape *s = &m->arch.delta;
    const ws_conv_shape conv = ws_conv_shape_of(&m->arch, layer);
    int64_t channels = conv.channels, heads = s->value_heads;
    ws_arena_mark mark = ws_arena_save(m->scratch);
    ws_conv_row *cr = ws_arena_get(m->scratch, (size_t)p->n_rows * sizeof *cr);
    ws_delta_row *dr = ws_arena_get(m->scratch, (size_t)p->n_rows * sizeof *dr);
    for (int r = 0; r < p->n_rows; r++) {
        int64_t n = p->span[r].n, t = p->first[r];
        cr[r] = (ws_conv_row){.n = n, .m = b->m + t * channels, .c = b->c + t * channels};
        dr[r] = (ws_delta_row){.n = n,
                               .c = b->c + t * channels,
                               .g = b->log_decay + t * heads,
                               .beta = b->beta + t * heads,
                               .o = b->o + t * heads * s->dv};
    }
    ws_conv_forward(&conv, cr, p->n_rows);
    ws_delta_forward(s, dr, p->n_rows);
    ws_arena_rewind(m->scratch, mark);
}

static ws_status non_finite(const ws_pass *p, int64_t token, const char *where, int layer, ws_err *err) {
    if (!p->rows)
        return ws_fail(err, WS_ENONFINITE,
                       "a value that is not finite %s %d at position %d of a beginning that rows share", where, layer,
                       p->pos[token]);
    return ws_fail(err, WS_ENONFINITE, "a value that is not finite %s %d in row %d at position %d", where, layer,
                   p->before + p->row[token], p->pos[token]);
}

ws_status ws_pass_layer(ws_model *m, const ws_pass *p, int layer, const ws_block_buf *b, const float *x, float *mid,
                        float *out, ws_err *err) {
    int64_t bad = ws_block_norm1(m, layer, b, x, p->n);
    if (bad >= 0) return non_finite(p, bad, "reached layer", layer, err);
    if (ws_keys_only(p, layer, m->arch.layers)) {
        ws_base_share(b->xn);
        ws_block_kv(m, layer, &p->hung, b, b->xn, p->pos);
        ws_base_share(NULL);
        return WS_OK;
    }
    if (ws_is_delta(m, layer)) {
        ws_block_delta_in(m, layer, &p->hung, b, b->xn);
        recur(m, p, layer, b);
        bad = ws_block_delta_out(m, layer, &p->hung, b, b->xn, x, mid);
        if (bad >= 0) return non_finite(p, bad, "left the delta rule of layer", layer, err);
    } else {
        ws_base_share(b->xn);
        ws_block_q(m, layer, &p->hung, b, b->xn, p->pos);
        ws_block_kv(m, layer, &p->hung, b, b->xn, p->pos);
        ws_base_share(NULL);
        attend(m, p, layer, b);
        ws_block_o(m, layer, &p->hung, b, x, mid);
    }
    bad = ws_block_mlp(m, layer, &p->hung, b, mid, out);
    return bad >= 0 ? non_finite(p, bad, "reached the MLP of layer", layer, err) : WS_OK;
}

ws_status ws_pass_check(const ws_model *m, const ws_train_row *row, int n_rows, ws_patch *const *patch, int n_patches,
                        int trainable, ws_err *err) {
    if (trainable >= n_patches || n_rows < 1) BUG("patch %d of %d, %d rows", trainable, n_patches, n_rows);
    for (int r = 0; r < n_rows; r++) {
        WS_ASSERT(row[r].n >= 1 && row[r].first >= 1 && row[r].first <= row[r].n);
        if (!isfinite(row[r].weight)) return ws_fail(err, WS_ENONFINITE, "row %d: its loss weight is not finite", r);
        for (int i = 0; i < row[r].n; i++)
            if (row[r].ids[i] < 0 || row[r].ids[i] >= m->arch.vocab)
                return ws_fail(err, WS_EUSAGE, "row %d: token id %d at %d is outside the model's vocabulary 0..%lld", r,
                               row[r].ids[i], i, (long long)m->arch.vocab - 1);
    }
    for (int p = 0; p < n_patches; p++) {
        const ws_patch_ops *o = patch[p]->ops;
        for (int site = m->n_linears; o->block && site < m->n_sites; site++)
            if (o->hangs_at(patch[p], site))
                return ws_fail(err, WS_EUNSUPPORTED,
                               "%s changes hidden states after a block; training passes only run patches of linears",
                               o->name);
        if (n_patches > 1 && (o->input || o->product || o->linear_gy))
            return ws_fail(err, WS_EUNSUPPORTED, "%s changes the linear itself: no other patch can hang beside it",
                           o->name);
        if (trainable >= 0 && !o->linear_grad)
            return ws_fail(err, WS_EUNSUPPORTED, "%s has no backward pass, so gradients cannot go through it", o->name);
    }
    return WS_OK;
}

void ws_pass_end(const ws_model *m, ws_pass *p, ws_patch *const *patch, int trainable) {
    p->lowest = m->arch.layers, p->stop = -1;
    if (m->embed_grad) {
        p->lowest = 0;
        return;
    }
    for (int site = m->n_linears - 1; trainable >= 0 && site >= 0; site--) {
        if (!patch[trainable]->ops->hangs_at(patch[trainable], site)) continue;
        int layer = m->site[site].layer, stage = ws_site_stage(m, site);
        if (layer < p->lowest || (layer == p->lowest && stage < p->stop)) p->lowest = layer, p->stop = stage;
    }
}

void ws_pass_pack(ws_model *m, ws_pass *p, ws_patch *const *patch, int n_patches) {
    int longest = 0;
    p->n = 0;
    for (int r = 0; r < p->n_rows; r++) p->n += p->span[r].n;
    p->first = ws_arena_get(m->scratch, (size_t)p->n_rows * sizeof *p->first);
    p->ids = ws_arena_get(m->scratch, (size_t)p->n * sizeof *p->ids);
    p->pos = ws_arena_get(m->scratch, (size_t)p->n * sizeof *p->pos);
    p->row = ws_arena_get(m->scratch, (size_t)p->n * sizeof *p->row);
    int64_t t = 0;
    for (int r = 0; r < p->n_rows; r++) {
        const ws_span *s = &p->span[r];
        p->first[r] = t;
        for (int i = 0; i < s->n; i++, t++) p->ids[t] = s->ids[i], p->pos[t] = s->pos + i, p->row[t] = r;
        if (s->pos + s->n > longest) longest = s->pos + s->n;
    }
    ws_rope_reserve(&m->arch.rope, longest);
    ws_hung_set(&p->hung, p->n, p->row, n_patches, patch, NULL, m->scratch);
}

/* The last token of a row predicts nothing, so it does not run; of a row of one token there is no other. */
static void span_rows(ws_model *m, ws_pass *p) {
    p->span = ws_arena_get(m->scratch, (size_t)p->n_rows * sizeof *p->span);
    for (int r = 0; r < p->n_rows; r++) {
        const ws_train_row *row = &p->rows[r];
        if (p->share)
            p->span[r] = ws_share_span(p->share, row);
        else
            p->span[r] = (ws_span){.ids = row->ids, .n = row->n > 1 ? row->n - 1 : 1, .from = -1};
    }
}

/* gx [n, hidden] as the gradient of the embeddings of whole rows. */
static void probe(const ws_model *m, const ws_pass *p, const float *gx, float *to) {
    int64_t d = m->arch.hidden;
    for (int r = 0; r < p->n_rows; to += p->rows[r++].n * d) {
        memset(to, 0, (size_t)(p->rows[r].n * d) * sizeof *to);
        memcpy(to, gx + p->first[r] * d, (size_t)(p->span[r].n * d) * sizeof *to);
    }
}

/* Head and loss at the supervised positions; gx (may be NULL) receives the gradient of the last layer's output. */
static ws_status loss(ws_model *m, const ws_pass *p, const float *x, float *gx, ws_train_out *out, double *nll_row,
                      ws_err *err) {
    int64_t d = m->arch.hidden, n = 0;
    ws_arena *a = m->scratch;
    for (int r = 0; r < p->n_rows; r++) n += p->rows[r].n - p->rows[r].first;
    int64_t *at = ws_arena_get(a, (size_t)n * sizeof *at); /* packed token of each supervised position */
    int32_t *target = ws_arena_get(a, (size_t)n * sizeof *target);
    float *weight = ws_arena_floats(a, n), *r1 = ws_arena_floats(a, n);
    float *xs = ws_arena_floats(a, n * d), *h = ws_arena_floats(a, n * d), *gh = gx ? ws_arena_floats(a, n * d) : NULL;
    double *nll = ws_arena_get(a, (size_t)n * sizeof *nll);
    int64_t k = 0;
    for (int r = 0; r < p->n_rows; r++)
        for (int i = p->rows[r].first; i < p->rows[r].n; i++, k++) {
            at[k] = p->first[r] + i - 1 - p->span[r].pos, target[k] = p->rows[r].ids[i], weight[k] = p->rows[r].weight;
            memcpy(xs + k * d, x + at[k] * d, (size_t)d * sizeof *xs);
        }
    int64_t bad = ws_norm_forward(h, d, xs, d, m->arch.norm, m->arch.eps, n, d, r1);
    if (bad >= 0) return non_finite(p, at[bad], "left the last layer,", m->arch.layers - 1, err);
    bad = ws_crossentropy(h, n, &m->arch.head, target, weight, nll, gh, a);
    if (bad >= 0) return non_finite(p, at[bad], "is the loss after layer", m->arch.layers - 1, err);
    for (int r = 0; nll_row && r < p->n_rows; r++) nll_row[p->before + r] = 0;
    out->n += n;
    for (k = 0; k < n; k++) {
        out->loss += (double)weight[k] * nll[k];
        out->nll += nll[k];
        if (nll_row) nll_row[p->before + p->row[at[k]]] += nll[k];
    }
    if (!gx) return WS_OK;
    float *gxs = ws_arena_floats(a, n * d);
    memset(gxs, 0, (size_t)(n * d) * sizeof *gxs);
    ws_norm_backward(gxs, d, gh, d, xs, d, m->arch.norm, r1, n, d);
    memset(gx, 0, (size_t)(p->n * d) * sizeof *gx);
    for (k = 0; k < n; k++) memcpy(gx + at[k] * d, gxs + k * d, (size_t)d * sizeof *gx);
    return WS_OK;
}

/* `at`: tokens of the parts before. */
static ws_status run_part(ws_model *m, ws_pass *p, int64_t at, ws_patch *const *patch, int n_patches, int trainable,
                          ws_train_out *out, double *nll_row, ws_err *err) {
    ws_arena_mark scratch = ws_arena_save(m->scratch), tape = ws_arena_save(m->tape);
    ws_status st = WS_OK;
    span_rows(m, p);
    ws_pass_pack(m, p, patch, n_patches);
    ws_pass_end(m, p, patch, trainable);
    p->recompute = m->recompute || (m->part && p->n > m->part);
    ws_tape_make(m, p);
    int layers = m->arch.layers, backward = p->lowest < layers;
    int64_t d = m->arch.hidden;
    ws_embed_forward(p->x[0], p->ids, p->n, &m->arch.embed);
    for (int l = 0; l < layers && !st; l++)
        st = ws_pass_layer(m, p, l, &p->buf[l], p->x[l], p->mid[l], p->x[l + 1], err);
    if (st) goto out;
    float *gx = backward ? ws_arena_floats(m->scratch, p->n * d) : NULL;
    ws_arena_mark inner = ws_arena_save(m->scratch);
    st = loss(m, p, p->x[layers], gx, out, nll_row, err);
    ws_arena_rewind(m->scratch, inner);
    if (st || !backward) goto out;
    st = ws_pass_backward(m, p, gx, err);
    if (!st && m->embed_grad) probe(m, p, gx, m->embed_grad + at * d);
out:
    ws_arena_rewind(m->scratch, scratch);
    ws_arena_rewind(m->tape, tape);
    return st;
}

int ws_train_part(const ws_train_row *row, int n_rows, int64_t part, int64_t *tokens) {
    int r = 1;
    for (*tokens = row[0].n; r < n_rows && (!part || *tokens + row[r].n <= part); r++) *tokens += row[r].n;
    return r;
}

ws_status ws_train_pass(ws_model *m, const ws_train_row *row, int n_rows, ws_patch *const *patch, int n_patches,
                        int trainable, ws_train_out *out, double *nll_row, ws_err *err) {
    *out = (ws_train_out){0};
    ws_status st = ws_pass_check(m, row, n_rows, patch, n_patches, trainable, err);
    int64_t at = 0, tokens;
    ws_share *s = m->share;
    if (s && (row < s->row || row + n_rows > s->row + s->n_rows)) BUG("these rows are not those that are open");
    for (int r = 0, n; r < n_rows && !st; r += n, at += tokens) {
        n = s ? ws_share_part(s, (int)(row - s->row) + r, n_rows - r, m->part, &tokens)
              : ws_train_part(row + r, n_rows - r, m->part, &tokens);
        ws_pass p = {.n_rows = n, .before = r, .rows = row + r, .share = s};
        st = run_part(m, &p, at, patch, n_patches, trainable, out, nll_row, err);
    }
    return st;
}
