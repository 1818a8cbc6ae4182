/* src/model/model.c - opening a model: a family binds the tensors, the linears become sites. */
#include "model/parts.h"
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b, void *arg) {
    const ws_site *site = arg;
    return strcmp(site[*(const int *)a].name, site[*(const int *)b].name);
}

/* The linears of layer l in the order of its sites. */
static int linears_of(const ws_block *b, const ws_linear *all[WS_LINEARS]) {
    const ws_attention_block *t = &b->attn;
    const ws_delta_block *d = &b->delta;
    const ws_linear *const attention[WS_ATTENTION_LINEARS] = {&t->q, &t->k, &t->v, &t->o},
                           *const delta[WS_DELTA_LINEARS] = {&d->out, &d->qkv, &d->z, &d->b, &d->a},
                           *const mlp[WS_MLP_LINEARS] = {&b->mlp.gate, &b->mlp.up, &b->mlp.down};
    int is_delta = b->mixer == WS_MIXER_DELTA, n = is_delta ? WS_DELTA_LINEARS : WS_ATTENTION_LINEARS;
    for (int j = 0; j < n; j++) all[j] = is_delta ? delta[j] : attention[j];
    for (int j = 0; j < WS_MLP_LINEARS; j++) all[n + j] = mlp[j];
    return n + WS_MLP_LINEARS;
}

static void add_sites(ws_model *m) {
    const ws_arch *a = &m->arch;
    int n = 0;
    m->n_linears =
        a->n_attention * (WS_ATTENTION_LINEARS + WS_MLP_LINEARS) + a->n_delta * (WS_DELTA_LINEARS + WS_MLP_LINEARS);
    m->n_sites = m->n_linears + a->layers;
    m->site = ws_xcalloc((size_t)m->n_sites, sizeof *m->site);
    m->first_site = ws_xcalloc((size_t)a->layers + 1, sizeof *m->first_site);
    m->by_name = ws_xcalloc((size_t)m->n_sites, sizeof *m->by_name);
    for (int l = 0; l < a->layers; l++) {
        const ws_linear *all[WS_LINEARS];
        int k = linears_of(&a->block[l], all);
        m->first_site[l] = n;
        for (int j = 0; j < k; j++) {
            const ws_weight *w = &all[j]->w;
            m->site[n++] = (ws_site){all[j]->name, WS_SITE_LINEAR, l, w->cols, w->rows, w, all[j]->bias};
        }
    }
    m->first_site[a->layers] = n;
    WS_ASSERT(n == m->n_linears);
    for (int l = 0; l < a->layers; l++) {
        /* "model.layers.12": what stands before the first dot after the layer's number in any of its linears' names */
        const char *name = a->block[l].mlp.gate.name, *end = strstr(name, "layers.");
        WS_ASSERT(end);
        end = strchr(end + strlen("layers."), '.');
        WS_ASSERT(end);
        m->site[n++] =
            (ws_site){ws_xstrndup(name, (size_t)(end - name)), WS_SITE_BLOCK, l, a->hidden, a->hidden, NULL, NULL};
    }
    for (int i = 0; i < n; i++) m->by_name[i] = i;
    qsort_r(m->by_name, (size_t)n, sizeof *m->by_name, by_name, m->site);
}

ws_stage_of ws_site_stage(const ws_model *m, int site) {
    int layer = m->site[site].layer, place = site - m->first_site[layer], mlp = site - ws_mlp_site(m, layer, 0);
    if (mlp >= 0) return mlp == WS_DOWN ? WS_AT_DOWN : WS_AT_GATE_UP;
    return place == (ws_is_delta(m, layer) ? (int)WS_OUT : (int)WS_O) ? WS_AT_OUTPUT : WS_AT_INPUT;
}

static void new_arenas(ws_model *m) {
    m->scratch = ws_arena_new();
    m->patch_scratch = ws_arena_new();
    m->tape = ws_arena_new();
}
static void free_arenas(ws_model *m) {
    ws_arena_free(m->scratch);
    ws_arena_free(m->patch_scratch);
    ws_arena_free(m->tape);
}

ws_status ws_model_open(ws_model **out, const ws_checkpoint *c, ws_err *err) {
    ws_model *m = ws_xcalloc(1, sizeof *m);
    *out = NULL;
    m->checkpoint = c;
    if (ws_arch_open(&m->arch, c, err)) {
        free(m);
        return err->code;
    }
    const ws_arch *a = &m->arch;
    m->dims = (ws_dims){a->layers,   a->hidden, a->ffn,     a->heads,       a->kv_heads,
                        a->head_dim, a->vocab,  a->max_pos, a->n_attention, a->n_delta};
    add_sites(m);
    new_arenas(m);
    *out = m;
    return WS_OK;
}

void ws_model_free(ws_model *m) {
    if (!m) return;
    ws_state_free(m->own);
    for (int i = m->n_linears; i < m->n_sites; i++) free((void *)(uintptr_t)m->site[i].name);
    free(m->site);
    free(m->first_site);
    free(m->by_name);
    ws_arch_release(&m->arch);
    free_arenas(m);
    free(m);
}

void ws_model_rest(ws_model *m) {
    ws_state_free(m->own);
    m->own = NULL;
    free_arenas(m);
    new_arenas(m);
    malloc_trim(0); /* what was freed in pieces goes back to the system as well */
}

const ws_dims *ws_model_dims(const ws_model *m) { return &m->dims; }
const ws_arch *ws_model_arch(const ws_model *m) { return &m->arch; }
const char *ws_model_family(const ws_model *m) { return m->arch.family; }
const ws_checkpoint *ws_model_checkpoint(const ws_model *m) { return m->checkpoint; }
int64_t ws_model_params(const ws_model *m) { return m->arch.params; }
int ws_model_n_sites(const ws_model *m) { return m->n_sites; }
const ws_site *ws_model_site(const ws_model *m, int site) {
    WS_ASSERT(site >= 0 && site < m->n_sites);
    return &m->site[site];
}

int ws_model_find_site(const ws_model *m, const char *name) {
    int lo = 0, hi = m->n_sites;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, c = strcmp(m->site[m->by_name[mid]].name, name);
        if (!c) return m->by_name[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

void ws_model_tap(ws_model *m, ws_tap_fn fn, void *arg) { m->tap = fn, m->tap_arg = arg; }
void ws_model_set_recompute(ws_model *m, int on) { m->recompute = on; }
void ws_model_set_part(ws_model *m, int64_t tokens) { m->part = tokens; }
