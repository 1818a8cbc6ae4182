#include "steer/states.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "generate/prefix.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PASS_TOKENS = 4096 };

void ws_states_free(ws_state_set *s) {
    for (int i = 0; i < s->n_sites; i++) {
        free((void *)(uintptr_t)s->at[i].pos), free((void *)(uintptr_t)s->at[i].neg);
        free((void *)(uintptr_t)s->at[i].neutral);
    }
    free(s->at);
    json_decref(s->meta);
    *s = (ws_state_set){0};
}

/* ---- collecting ---- */

/* A patch that changes nothing and keeps the last token of every row.  A row's strength is its number in the pass plus 1, so
 * the tokens say whose they are; a row that goes on in the next chunk is written again. */
typedef struct recorder {
    ws_patch patch; /* first */
    const int *at;  /* [sites of the model] index, -1: none */
    float **rows;   /* [n_sites] -> [rows of the pass, d] */
    const ws_model *m;
} recorder;

static int hangs_at(const ws_patch *p, int site) { return ((const recorder *)(const void *)p)->at[site] >= 0; }
static void keep(const recorder *r, int site, int64_t n, const float *y, const float *alpha) {
    int64_t d = ws_model_site(r->m, site)->d_out;
    for (int64_t t = 0; t < n; t++)
        if (t + 1 == n || alpha[t + 1] != alpha[t])
            memcpy(r->rows[r->at[site]] + ((int64_t)alpha[t] - 1) * d, y + t * d, (size_t)d * sizeof *y);
}
static void linear(ws_patch *p, const ws_patch_call *c) {
    keep((const recorder *)(const void *)p, c->site, c->n, c->y, c->alpha);
}
static void block(ws_patch *p, int site, int64_t n, float *h, const float *alpha, ws_arena *scratch) {
    (void)scratch;
    keep((const recorder *)(const void *)p, site, n, h, alpha);
}
static const ws_patch_ops ops = {.name = "recorder", .hangs_at = hangs_at, .linear = linear, .block = block};

/* Where row `row` of all goes: positive, negative and neutral prompts follow one another in pairs. */
static float *destination(const ws_state_set *s, int i, int64_t row) {
    const ws_states *h = &s->at[i];
    if (row >= 2 * s->n) return (float *)(uintptr_t)h->neutral + (row - 2 * s->n) * h->d;
    return (float *)(uintptr_t)(row & 1 ? h->neg : h->pos) + row / 2 * h->d;
}

/* Everything of one collection. */
typedef struct pass {
    ws_state_set *s;
    ws_model *m;
    ws_state *state;
    recorder r;
    int64_t total;
    const ws_ids **ids; /* [total] prompts: POS and NEG of each pair, then the neutral ones */
    ws_prefixes pre;    /* their common beginnings: personas above all */
    int *seq;           /* [pre.n] */
    ws_row *row;        /* of the batch that is being put together */
    float *alpha, *hidden;
    int64_t n, tokens;
    ws_progress bar;
} pass;

/* The rows that were put together, at their numbers plus 1, or without a recorder for beginnings, which nobody keeps. */
static ws_status forward(pass *p, int record, ws_err *err) {
    ws_patch *patch = &p->r.patch;
    const float *const strength = p->alpha;
    int64_t d = ws_model_dims(p->m)->hidden;
    p->hidden = ws_xrealloc(p->hidden, (size_t)((p->n + 1) * d) * sizeof *p->hidden);
    for (int i = 0; i < p->s->n_sites && record; i++)
        p->r.rows[i] = ws_xrealloc(p->r.rows[i], (size_t)(p->n * p->s->at[i].d) * sizeof **p->r.rows);
    const ws_batch b = {.n_rows = (int)p->n, .row = p->row, .n_patches = record, .patch = &patch, .alpha = &strength};
    ws_status st = ws_interrupt_check(err);
    if (!st) st = ws_forward(p->m, p->state, &b, p->hidden, err);
    p->n = p->tokens = 0;
    return st;
}

/* One more row: tokens [from, to) of `ids` behind the sequence `start` (-1: nothing).  Returns its sequence. */
static int add_row(pass *p, const ws_ids *ids, int start, int from, int to, int n_out) {
    int seq = start < 0 ? ws_seq_new(p->state) : ws_seq_fork(p->state, start, from);
    p->row = ws_xrealloc(p->row, (size_t)(p->n + 1) * sizeof *p->row);
    p->alpha = ws_xrealloc(p->alpha, (size_t)(p->n + 1) * sizeof *p->alpha);
    p->row[p->n] = (ws_row){seq, ids->id + from, to - from, n_out}, p->alpha[p->n] = (float)(p->n + 1);
    p->n++, p->tokens += to - from;
    return seq;
}

/* The common beginnings, parents before children. */
static ws_status beginnings(pass *p, ws_err *err) {
    int *depth = ws_xmalloc((size_t)p->pre.n * sizeof *depth + 1), deepest = -1;
    ws_status st = WS_OK;
    for (int k = 0; k < p->pre.n; k++) {
        depth[k] = p->pre.node[k].parent < 0 ? 0 : depth[p->pre.node[k].parent] + 1;
        deepest = depth[k] > deepest ? depth[k] : deepest;
    }
    for (int level = 0; level <= deepest && !st; level++)
        for (int k = 0; k < p->pre.n && !st; k++) {
            const ws_prefix *x = &p->pre.node[k];
            int parent = x->parent;
            if (depth[k] == level)
                p->seq[k] = add_row(p, p->ids[x->request], parent < 0 ? -1 : p->seq[parent],
                                    parent < 0 ? 0 : p->pre.node[parent].len, x->len, 0);
            int last = k == p->pre.n - 1;
            if (p->n && (last || p->tokens >= PASS_TOKENS)) st = forward(p, 0, err);
        }
    free(depth);
    return st;
}

static ws_status prompts(pass *p, ws_err *err) {
    int *seq = ws_xmalloc((size_t)p->total * sizeof *seq + 1);
    ws_status st = WS_OK;
    for (int64_t first = 0, end; first < p->total && !st; first = end) {
        for (end = first; end < p->total; end++) {
            int k = p->pre.of[end], from = k < 0 ? 0 : p->pre.node[k].len;
            if (p->n && p->tokens + p->ids[end]->n - from > PASS_TOKENS) break;
            seq[end] = add_row(p, p->ids[end], k < 0 ? -1 : p->seq[k], from, p->ids[end]->n, 1);
        }
        st = forward(p, 1, err);
        for (int64_t k = first; k < end; k++) ws_seq_free(p->state, seq[k]);
        for (int i = 0; i < p->s->n_sites && !st; i++)
            for (int64_t k = first; k < end; k++)
                memcpy(destination(p->s, i, k), p->r.rows[i] + (k - first) * p->s->at[i].d,
                       (size_t)p->s->at[i].d * sizeof **p->r.rows);
        ws_progress_update(&p->bar, end, NULL);
    }
    free(seq);
    return st;
}

static ws_status passes(ws_state_set *s, ws_model *m, const int *at, const ws_ids *pos, const ws_ids *neg,
                        const ws_ids *neutral, ws_err *err) {
    pass p = {.s = s, .m = m, .r = {{&ops}, at, ws_xcalloc((size_t)s->n_sites + 1, sizeof(float *)), m}};
    p.total = 2 * s->n + s->n_neutral;
    ws_gen_request *req = ws_xcalloc((size_t)p.total + 1, sizeof *req);
    p.ids = ws_xmalloc((size_t)p.total * sizeof *p.ids + 1);
    for (int64_t i = 0; i < p.total; i++) {
        p.ids[i] = i >= 2 * s->n ? &neutral[i - 2 * s->n] : i & 1 ? &neg[i / 2] : &pos[i / 2];
        req[i] = (ws_gen_request){.prompt = p.ids[i]->id, .n_prompt = p.ids[i]->n};
    }
    ws_status st = ws_state_new(&p.state, m, err);
    if (!st) {
        ws_prefixes_find(&p.pre, m, req, (int)p.total, 0, ((int64_t)512 << 20) + 8 * ws_model_seq_bytes(m));
        p.seq = ws_xmalloc((size_t)p.pre.n * sizeof *p.seq + 1);
        ws_progress_start(&p.bar, "extract: states", "prompts", p.total);
        st = beginnings(&p, err);
        if (!st) st = prompts(&p, err);
        ws_progress_end(&p.bar);
        ws_prefixes_free(&p.pre);
    }
    ws_state_free(p.state);
    for (int i = 0; i < s->n_sites; i++) free(p.r.rows[i]);
    free(p.r.rows), free(p.ids), free(p.seq), free(p.row), free(p.alpha), free(p.hidden), free(req);
    return st;
}

ws_status ws_states_collect(ws_state_set *s, ws_model *m, const int *site, int n_sites, const ws_ids *pos,
                            const ws_ids *neg, int64_t n, const ws_ids *neutral, int64_t n_neutral, ws_err *err) {
    *s = (ws_state_set){.n = n, .n_neutral = n_neutral, .n_sites = n_sites, .meta = json_object()};
    int *at = ws_xmalloc((size_t)ws_model_n_sites(m) * sizeof *at);
    ws_status st = WS_OK;
    for (int i = 0; i < ws_model_n_sites(m); i++) at[i] = -1;
    s->at = ws_xcalloc((size_t)n_sites + 1, sizeof *s->at);
    for (int i = 0; i < n_sites && !st; i++) {
        ws_states *h = &s->at[i];
        h->site = site[i], h->d = ws_model_site(m, site[i])->d_out, at[site[i]] = i;
        h->pos = ws_try_alloc((size_t)(n * h->d), sizeof(float)),
        h->neg = ws_try_alloc((size_t)(n * h->d), sizeof(float));
        if (n_neutral) h->neutral = ws_try_alloc((size_t)(n_neutral * h->d), sizeof(float));
        if (!h->pos || !h->neg || (n_neutral && !h->neutral))
            st = ws_fail(err, WS_ENOMEM,
                         "out of memory for the states of %lld pairs at %d sites; take fewer pairs (--n) or layers "
                         "(--layers)",
                         (long long)n, n_sites);
    }
    if (!st) st = passes(s, m, at, pos, neg, neutral, err);
    free(at);
    if (st) ws_states_free(s);
    return st;
}

/* ---- names in files ---- */

char *ws_state_tensor(const ws_model *m, int site, const char *key) {
    const ws_site *at = ws_model_site(m, site);
    if (at->kind == WS_SITE_BLOCK) return ws_sprintf("layer%d.%s", at->layer, key);
    return ws_sprintf("sub::%s::%s", strstr(at->name, "layers."), key);
}

int ws_state_place(const ws_model *m, const char *name, const char **key) {
    char *end;
    if (!strncmp(name, "shared.", 7)) {
        *key = name + 7;
        return -1;
    }
    int layers = ws_model_dims(m)->layers, n = ws_model_n_sites(m);
    const char *digits = !strncmp(name, "layer", 5) ? name + 5 : !strncmp(name, "sub::layers.", 12) ? name + 12 : "";
    if (*digits < '0' || *digits > '9') return -2;
    long l = strtol(digits, &end, 10);
    if (l < 0 || l >= layers || *end != '.') return -2;
    if (digits == name + 5) {
        *key = end + 1;
        return n - layers + (int)l;
    }
    const char *stop = strstr(end, "::");
    if (!stop) return -2;
    *key = stop + 2;
    char *path = ws_sprintf("%s.%.*s", ws_model_site(m, n - layers + (int)l)->name, (int)(stop - end - 1), end + 1);
    int site = ws_model_find_site(m, path);
    free(path);
    return site < 0 ? -2 : site;
}

ws_status ws_state_base(const ws_model *m, const json_t *meta, const char *path, int force, ws_err *err) {
    const char *hash = json_string_value(json_object_get(meta, "base_hash")),
               *name = json_string_value(json_object_get(meta, "base_name"));
    const ws_checkpoint *c = ws_model_checkpoint(m);
    if (!hash) return ws_fail(err, WS_EFORMAT, "%s: metadata base_hash is missing", path);
    if (!strcmp(hash, ws_checkpoint_hash(c))) return WS_OK;
    if (!force)
        return ws_fail(err, WS_ESTATE,
                       "%s was made on %s (hash %.12s), this base is %s (hash %.12s); --force takes it all the same",
                       path, name ? name : "another base", hash, ws_checkpoint_name(c), ws_checkpoint_hash(c));
    ws_warn("%s was made on another base (%s)", path, name ? name : hash);
    return WS_OK;
}

/* ---- files ---- */

static const char *const side_key[] = {"pos", "neg", "neutral"};

ws_status ws_states_save(const ws_state_set *s, const ws_model *m, const char *path, ws_err *err) {
    ws_tensor *t = ws_xcalloc((size_t)s->n_sites * 3 + 1, sizeof *t);
    size_t n = 0;
    for (int i = 0; i < s->n_sites; i++)
        for (int k = 0; k < 3; k++) {
            const ws_states *h = &s->at[i];
            const float *x = k == 0 ? h->pos : k == 1 ? h->neg : h->neutral;
            int64_t rows = k < 2 ? s->n : s->n_neutral;
            if (!x) continue;
            t[n++] = (ws_tensor){.name = ws_state_tensor(m, h->site, side_key[k]),
                                 .type = WS_F32,
                                 .dims = 2,
                                 .dim = {rows, h->d},
                                 .data = x,
                                 .bytes = (size_t)(rows * h->d) * sizeof *x};
        }
    const ws_checkpoint *c = ws_model_checkpoint(m);
    json_t *meta = json_deep_copy(s->meta);
    json_object_set_new(meta, "format", json_string("ws-states"));
    json_object_set_new(meta, "version", json_string("1"));
    json_object_set_new(meta, "base_hash", json_string(ws_checkpoint_hash(c)));
    json_object_set_new(meta, "base_name", json_string(ws_checkpoint_name(c)));
    ws_status st = ws_safetensors_write(path, t, n, meta, err);
    json_decref(meta);
    for (size_t i = 0; i < n; i++) free(t[i].name);
    free(t);
    return st;
}

static ws_status take(ws_state_set *s, const ws_tensor *t, ws_states *h, int side, const char *path, ws_err *err) {
    int64_t *rows = side < 2 ? &s->n : &s->n_neutral;
    if (t->type != WS_F32 || t->dims != 2 || t->dim[1] != h->d || t->dim[0] < 1 || (*rows && *rows != t->dim[0])) {
        char shape[96];
        ws_tensor_shape(t, shape);
        return ws_fail(err, WS_ESHAPE,
                       "%s: %s is %s %s; it must be F32 with %lld columns and as many rows as the others", path,
                       t->name, ws_dtypes[t->type].name, shape, (long long)h->d);
    }
    *rows = t->dim[0];
    float *x = ws_tensor_f32(t);
    if (!x) return ws_fail(err, WS_ENOMEM, "%s: out of memory for %s", path, t->name);
    const float **to = side == 0 ? &h->pos : side == 1 ? &h->neg : &h->neutral;
    free((void *)(uintptr_t)*to), *to = x;
    for (int64_t i = 0; i < t->dim[0] * h->d; i++)
        if (!isfinite(x[i]))
            return ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %lld)", path, t->name,
                           (long long)i);
    return WS_OK;
}

ws_status ws_states_load(ws_state_set *s, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_safetensors *f = NULL;
    int sites = ws_model_n_sites(m), *at = ws_xmalloc((size_t)sites * sizeof *at);
    *s = (ws_state_set){.meta = json_object()};
    for (int i = 0; i < sites; i++) at[i] = -1;
    ws_status st = ws_safetensors_open(&f, path, err);
    const json_t *meta = st ? NULL : ws_safetensors_meta(f);
    const char *format = json_string_value(json_object_get(meta, "format"));
    if (!st && (!format || strcmp(format, "ws-states")))
        st = ws_fail(err, WS_EFORMAT, "%s: not a file of states (metadata format is %s, not ws-states)", path,
                     format ? format : "missing");
    if (!st) st = ws_state_base(m, meta, path, force, err);
    size_t count = st ? 0 : ws_safetensors_count(f);
    /* places first, in the order of the model */
    for (int round = 0; round < 2 && !st; round++) {
        for (size_t i = 0; i < count && !st; i++) {
            const ws_tensor *t = ws_safetensors_at(f, i);
            const char *key = NULL;
            int site = ws_state_place(m, t->name, &key), side = 0;
            while (side < 3 && (!key || strcmp(key, side_key[side]))) side++;
            if (site < 0 || side == 3)
                st = ws_fail(err, WS_EUNSUPPORTED, "%s: tensor %s is no state of this model", path, t->name);
            else if (!round)
                at[site] = 0;
            else
                st = take(s, t, &s->at[at[site]], side, path, err);
        }
        for (int i = 0; i < sites && !round; i++) {
            if (at[i] < 0) continue;
            s->at = ws_xrealloc(s->at, (size_t)(s->n_sites + 1) * sizeof *s->at);
            s->at[s->n_sites] = (ws_states){.site = i, .d = ws_model_site(m, i)->d_out};
            at[i] = s->n_sites++;
        }
    }
    for (int i = 0; i < s->n_sites && !st; i++)
        if (!s->at[i].pos || !s->at[i].neg || (s->n_neutral && !s->at[i].neutral))
            st = ws_fail(err, WS_EFORMAT, "%s: %s has not both sides", path, ws_model_site(m, s->at[i].site)->name);
    if (!st && !s->n_sites) st = ws_fail(err, WS_EFORMAT, "%s: holds no states", path);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)(st ? NULL : meta), key, value) json_object_set(s->meta, key, value);
    free(at);
    ws_safetensors_close(f);
    if (st) ws_states_free(s);
    return st;
}
