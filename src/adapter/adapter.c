/* src/adapter/adapter.c - the corridor: finds the sites, gives every room's tensors their memory, hangs them as a
 * patch. */
#include "adapter/room.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define X(name) extern const ws_adapter_ops ws_adapter_##name;
#include "adapter.list"
#undef X
const ws_adapter_ops *const ws_adapter_rooms[] = {
#define X(name) &ws_adapter_##name,
#include "adapter.list"
#undef X
    NULL};

const char *const *ws_adapter_kinds(int *n) {
    static const char *kinds[sizeof ws_adapter_rooms / sizeof *ws_adapter_rooms];
    for (*n = 0; ws_adapter_rooms[*n]; ++*n) kinds[*n] = ws_adapter_rooms[*n]->name;
    return kinds;
}

static const ws_adapter_ops *find(const char *kind, ws_err *err) {
    ws_str s = {0};
    for (int i = 0; ws_adapter_rooms[i]; i++) {
        if (!strcmp(ws_adapter_rooms[i]->name, kind)) {
            ws_str_free(&s);
            return ws_adapter_rooms[i];
        }
        ws_str_addf(&s, "%s%s", i ? ", " : "", ws_adapter_rooms[i]->name);
    }
    ws_fail(err, WS_EUSAGE, "no adapter is called '%s'; there are: %s", kind, s.p);
    ws_str_free(&s);
    return NULL;
}

/* ---------- options ---------- */

static unsigned reads(const ws_adapter_ops *o) {
    return (o->rank_key ? WS_READS_RANK : 0u) | (o->alpha_key ? WS_READS_ALPHA : 0u) |
           (o->block_key ? WS_READS_BLOCK : 0u) | (o->lambda_key ? WS_READS_LAMBDA : 0u) |
           (o->honours_layers ? WS_READS_LAYERS : 0u);
}

unsigned ws_adapter_reads(const char *kind) {
    const ws_adapter_ops *o = find(kind, NULL);
    return o ? reads(o) : 0;
}

ws_status ws_adapter_check_options(const char *kind, unsigned given, ws_err *err) {
    static const struct {
        unsigned bit;
        const char *option;
    } known[] = {{WS_READS_RANK, "--rank"},
                 {WS_READS_ALPHA, "--lora-alpha"},
                 {WS_READS_BLOCK, "--block-size"},
                 {WS_READS_LAMBDA, "--delora-lambda"},
                 {WS_READS_LAYERS, "--layers"}};
    const ws_adapter_ops *o = find(kind, err);
    if (!o) return err->code;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        if (!(given & known[k].bit & ~reads(o))) continue;
        ws_str s = {0};
        for (int i = 0; ws_adapter_rooms[i]; i++)
            if (reads(ws_adapter_rooms[i]) & known[k].bit)
                ws_str_addf(&s, "%s%s", s.n ? ", " : "", ws_adapter_rooms[i]->name);
        ws_fail(err, WS_EUSAGE, "%s means nothing to %s; it is for %s", known[k].option, kind,
                s.n ? s.p : "no adapter of this build");
        ws_str_free(&s);
        return err->code;
    }
    return WS_OK;
}

void ws_adapter_config_text(const ws_adapter_config *c, ws_str *out) {
    unsigned r = ws_adapter_reads(c->kind);
    ws_str_adds(out, c->kind);
    if (r & WS_READS_RANK) ws_str_addf(out, " of rank %d", c->rank);
    if (r & WS_READS_LAMBDA) ws_str_addf(out, " and lambda %g", c->lambda != 0 ? c->lambda : WS_ADAPTER_LAMBDA);
    if (r & WS_READS_BLOCK) ws_str_addf(out, " in blocks of %d", c->block ? c->block : WS_ADAPTER_BLOCK);
}

/* ---------- the patch ---------- */

static const ws_adapted *site_at(const ws_patch *p, int site) {
    const ws_adapter *a = (const ws_adapter *)(const void *)p; /* the patch is the adapter's first member */
    int i = a->at_site[site];
    return i < 0 ? NULL : &a->site[i];
}
static const ws_adapter_ops *ops_of(const ws_patch *p) { return ((const ws_adapter *)(const void *)p)->ops; }

static int hangs_at(const ws_patch *p, int site) { return site_at(p, site) != NULL; }
/* A room that changes the linear itself computes theta and knows no strength; steering hangs its edit instead. */
static void at_strength_one(const ws_patch_call *c) {
    for (int64_t t = 0; t < c->n; t++) WS_ASSERT(c->alpha[t] == 1);
}
static void input(ws_patch *p, const ws_patch_call *c, float *x) {
    at_strength_one(c);
    ops_of(p)->input(site_at(p, c->site), c, x);
}
static void product(ws_patch *p, const ws_patch_call *c) {
    at_strength_one(c);
    ops_of(p)->product(site_at(p, c->site), c);
}
static void linear(ws_patch *p, const ws_patch_call *c) { ops_of(p)->forward(site_at(p, c->site), c); }
static void beside(ws_patch *p, const ws_patch_call *c, ws_beside *out) {
    ops_of(p)->beside(site_at(p, c->site), c, out);
}
static void beside_gx(ws_patch *p, const ws_patch_grad *g, ws_beside *out) {
    ops_of(p)->beside_gx(site_at(p, g->site), g, out);
}
static int needs_gx(const ws_patch *p, int site) { return ops_of(p)->needs_gx(site_at(p, site)); }
static int64_t saved_floats(const ws_patch *p, int site, int64_t n) {
    const ws_adapted *s = site_at(p, site);
    return s && ops_of(p)->saved_floats ? ops_of(p)->saved_floats(s, n) : 0;
}
static void linear_gy(ws_patch *p, const ws_patch_grad *g) { ops_of(p)->backward_gy(site_at(p, g->site), g); }
static void linear_grad(ws_patch *p, const ws_patch_grad *g) { ops_of(p)->backward(site_at(p, g->site), g); }

/* ---------- building ---------- */

static ws_status match_sites(ws_adapter *a, const char *where, ws_err *err) {
    ws_target t;
    int n = ws_model_n_sites(a->model);
    a->at_site = ws_xmalloc((size_t)n * sizeof *a->at_site);
    if (ws_target_read(&t, a->config, a->ops->honours_layers, where, err)) goto cleanup;
    for (int i = 0; i < n; i++) {
        const ws_site *at = ws_model_site(a->model, i);
        a->at_site[i] = -1;
        if (at->kind != WS_SITE_LINEAR) continue;
        char *name = a->name_of ? a->name_of(at->name) : ws_xstrdup(at->name);
        int hit = ws_target_match(&t, name, err);
        if (hit == 1) {
            a->site = ws_xrealloc(a->site, (size_t)(a->n_sites + 1) * sizeof *a->site);
            a->site[a->n_sites] = (ws_adapted){.site = i, .at = at};
            if (a->ops->site(&a->site[a->n_sites], a->config, name, where, err))
                hit = -1;
            else
                a->at_site[i] = a->n_sites++;
        }
        free(name);
        if (hit < 0) goto cleanup;
    }
    ws_target_release(&t);
    return a->n_sites ? WS_OK : ws_fail(err, WS_EUSAGE, "%s: target_modules names no module of this model", where);
cleanup:
    ws_target_release(&t);
    return err->code;
}

/* Every site's own part begins on a cache line. */
static int64_t whole_lines(int64_t floats) { return (floats + 15) & ~(int64_t)15; }

static ws_status give_memory(ws_adapter *a, ws_err *err) {
    ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS];
    for (int i = 0; i < a->n_sites; i++) {
        ws_adapted *s = &a->site[i];
        s->n_p = a->ops->tensors(s, spec);
        a->n_params += s->n_p;
        if (a->ops->derived_floats) a->n_derived += whole_lines(a->ops->derived_floats(s));
        if (a->ops->sum_floats) a->n_sums += whole_lines(a->ops->sum_floats(s));
        for (int j = 0; j < s->n_p; j++) {
            int64_t n = 1;
            for (int d = 0; d < spec[j].dims; d++) n *= spec[j].dim[d];
            *(spec[j].trained ? &a->size : &a->n_fixed) += n;
        }
    }
    a->param = ws_xcalloc((size_t)a->n_params, sizeof *a->param);
    a->values = ws_try_alloc((size_t)a->size, sizeof(float));
    a->grads = ws_try_alloc((size_t)a->size, sizeof(float));
    a->fixed = ws_try_alloc((size_t)a->n_fixed, sizeof(float));
    a->derived = ws_try_alloc((size_t)a->n_derived, sizeof(float));
    a->sums = ws_try_alloc((size_t)a->n_sums, sizeof(float));
    if (!a->values || !a->grads || !a->fixed || !a->derived || !a->sums)
        return ws_fail(err, WS_ENOMEM, "out of memory: an adapter of %lld numbers and its gradients",
                       (long long)a->size);
    float *value = a->values, *grad = a->grads, *fixed = a->fixed, *derived = a->derived, *sums = a->sums;
    ws_param *p = a->param;
    for (int i = 0; i < a->n_sites; i++) {
        ws_adapted *s = &a->site[i];
        a->ops->tensors(s, spec);
        s->p = p, s->derived = derived, s->sums = sums;
        if (a->ops->derived_floats) derived += whole_lines(a->ops->derived_floats(s));
        if (a->ops->sum_floats) sums += whole_lines(a->ops->sum_floats(s));
        for (int j = 0; j < s->n_p; j++, p++) {
            *p = (ws_param){
                .site = s->site, .suffix = spec[j].suffix, .dims = spec[j].dims, .rows = spec[j].dim[0], .cols = 1};
            for (int d = 0; d < p->dims; d++) p->dim[d] = spec[j].dim[d];
            for (int d = 1; d < p->dims; d++) p->cols *= p->dim[d];
            int64_t n = p->rows * p->cols;
            if (spec[j].trained)
                p->value = value, p->grad = grad, value += n, grad += n;
            else
                p->value = fixed, fixed += n;
        }
    }
    return WS_OK;
}

/* What the base alone decides, a few sites at a time so that a bar can tell how far it is. */
typedef struct preparing {
    ws_adapter *a;
    int first;
    ws_status *st;
    ws_err *err;
} preparing;
static void prepare_sites(void *arg, int64_t begin, int64_t end) {
    const preparing *p = arg;
    for (int64_t i = begin; i < end; i++) p->st[i] = p->a->ops->prepare(&p->a->site[p->first + i], &p->err[i]);
}
static ws_status prepare(ws_adapter *a, ws_err *err) {
    if (!a->ops->prepare) return WS_OK;
    int n = 2 * ws_threads();
    preparing p = {a, 0, ws_xcalloc((size_t)n, sizeof *p.st), ws_xcalloc((size_t)n, sizeof *p.err)};
    char title[48];
    ws_progress bar;
    ws_status st = WS_OK;
    snprintf(title, sizeof title, "%s: base weights", a->ops->name);
    ws_progress_start(&bar, title, "modules", a->n_sites);
    for (; p.first < a->n_sites && !st; p.first += n) {
        int here = a->n_sites - p.first < n ? a->n_sites - p.first : n;
        if ((st = ws_interrupt_check(err))) break;
        ws_parallel_for(here, 1, prepare_sites, &p);
        for (int i = 0; i < here && !st; i++)
            if ((st = p.st[i])) *err = p.err[i];
        ws_progress_update(&bar, p.first + here, NULL);
    }
    ws_progress_end(&bar);
    free(p.st), free(p.err);
    return st;
}

static ws_status build(ws_adapter **out, const ws_model *m, const ws_adapter_ops *ops, json_t *config,
                       char *(*name_of)(const char *site_name), int outline, ws_adapter_check_fn check, const void *arg,
                       const char *where, ws_err *err) {
    ws_adapter *a = ws_xcalloc(1, sizeof *a);
    *out = NULL;
    a->patch_ops = (ws_patch_ops){.name = ops->name,
                                  .hangs_at = hangs_at,
                                  .linear = ops->forward ? linear : NULL,
                                  .beside = ops->beside ? beside : NULL,
                                  .beside_gx = ops->beside_gx ? beside_gx : NULL,
                                  .input = ops->input ? input : NULL,
                                  .product = ops->product ? product : NULL,
                                  .saved_floats = saved_floats,
                                  .linear_gy = ops->backward_gy ? linear_gy : NULL,
                                  .linear_grad = linear_grad,
                                  .needs_gx = ops->needs_gx ? needs_gx : NULL};
    a->patch.ops = &a->patch_ops;
    a->ops = ops, a->model = m, a->config = config, a->name_of = name_of;
    if (match_sites(a, where, err) || (check && check(a, arg, err)) || give_memory(a, err) ||
        (!outline && prepare(a, err))) {
        ws_adapter_free(a);
        return err->code;
    }
    *out = a;
    return WS_OK;
}

ws_status ws_adapter_build(ws_adapter **out, const ws_model *m, const ws_adapter_ops *ops, json_t *config,
                           char *(*name_of)(const char *site_name), const char *where, ws_err *err) {
    return build(out, m, ops, config, name_of, 0, NULL, NULL, where, err);
}

ws_status ws_adapter_build_checked(ws_adapter **out, const ws_model *m, const ws_adapter_ops *ops, json_t *config,
                                   char *(*name_of)(const char *site_name), ws_adapter_check_fn check, const void *arg,
                                   const char *where, ws_err *err) {
    return build(out, m, ops, config, name_of, 0, check, arg, where, err);
}

static const char *last_part(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* The last parts of all linears' names, each once: what PEFT makes of "all-linear". */
static json_t *all_targets(const ws_model *m) {
    json_t *list = json_array();
    for (int i = 0; i < ws_model_n_sites(m); i++) {
        const ws_site *at = ws_model_site(m, i);
        size_t k = 0;
        if (at->kind != WS_SITE_LINEAR) continue;
        while (k < json_array_size(list) && strcmp(json_string_value(json_array_get(list, k)), last_part(at->name)))
            k++;
        if (k == json_array_size(list)) json_array_append_new(list, json_string(last_part(at->name)));
    }
    return list;
}

/* A comma-separated list, or "all-linear"; every entry must name at least one module, so that a slip of the finger is
 * seen.  Only an adapter's own default list may name what this model does not have (`dflt`): a hybrid without a layer of
 * full attention has no q_proj. */
static ws_status read_targets(json_t *list, const ws_model *m, const char *text, int dflt, ws_err *err) {
    const char *p = text;
    json_t *all = all_targets(m);
    if (!strcmp(text, "all-linear")) {
        json_array_extend(list, all);
        json_decref(all);
        return WS_OK;
    }
    while (1) {
        size_t n = strcspn(p, ",");
        char *name = ws_xstrndup(p, n);
        int found = 0;
        for (int i = 0; i < ws_model_n_sites(m) && !found; i++) {
            const ws_site *at = ws_model_site(m, i);
            size_t len = strlen(at->name);
            if (at->kind != WS_SITE_LINEAR || n > len || strcmp(at->name + len - n, name)) continue;
            found = n > 0 && (n == len || at->name[len - n - 1] == '.');
        }
        if (found || dflt) {
            json_array_append_new(list, json_string(name));
        } else {
            ws_str s = {0};
            for (size_t i = 0; i < json_array_size(all); i++)
                ws_str_addf(&s, "%s%s", i ? ", " : "", json_string_value(json_array_get(all, i)));
            ws_fail(err, WS_EUSAGE, "target '%s' names no linear layer of this model; it has %s (or all-linear)", name,
                    s.p);
            ws_str_free(&s);
        }
        free(name);
        if (!found && !dflt) break;
        if (!p[n]) {
            json_decref(all);
            return WS_OK;
        }
        p += n + 1;
    }
    json_decref(all);
    return err->code;
}

/* Whole numbers without a point, as Python writes them. */
static json_t *number(double v) {
    int whole = v == floor(v) && fabs(v) < 1e15;
    return whole ? json_integer((json_int_t)v) : json_real(v);
}

static ws_status from_options(ws_adapter **out, const ws_model *m, const ws_adapter_config *cfg, int outline,
                              ws_err *err) {
    const ws_adapter_ops *ops = find(cfg->kind, err);
    int layers = ws_model_dims(m)->layers, a = cfg->layer_begin, b = cfg->layer_end;
    *out = NULL;
    if (!ops) return err->code;
    if (!ops->honours_layers && (a != -1 || b != -1))
        return ws_fail(err, WS_EUSAGE, "layers %d:%d: %s adapts its modules in all layers, in PEFT too; leave them out",
                       a, b, ops->name);
    if (a == -1 && b == -1)
        a = (int)rint(0.3 * layers), b = (int)rint(0.8 * layers); /* halves to even, as Python rounds */
    if (a < 0 || b > layers || a >= b)
        return ws_fail(err, WS_EUSAGE, "layers %d:%d: this model has layers 0:%d (half open)", a, b, layers);
    if (ops->rank_key && (cfg->rank < 1 || cfg->rank > 1 << 20))
        return ws_fail(err, WS_EUSAGE, "rank %d: must be from 1", cfg->rank);

    json_t *c = json_loads(ops->config, 0, NULL), *targets = json_array();
    WS_ASSERT(c);
    if (read_targets(targets, m, cfg->targets ? cfg->targets : ops->targets, !cfg->targets, err)) {
        json_decref(c), json_decref(targets);
        return err->code;
    }
    json_object_set_new(c, "target_modules", targets);
    if (ops->rank_key) json_object_set_new(c, ops->rank_key, json_integer(cfg->rank));
    if (ops->alpha_key) json_object_set_new(c, ops->alpha_key, number(cfg->alpha));
    if (ops->block_key)
        json_object_set_new(c, ops->block_key, json_integer(cfg->block ? cfg->block : WS_ADAPTER_BLOCK));
    if (ops->lambda_key)
        json_object_set_new(c, ops->lambda_key, number(cfg->lambda != 0 ? cfg->lambda : WS_ADAPTER_LAMBDA));
    if (ops->honours_layers) {
        json_t *list = json_array();
        for (int i = a; i < b; i++) json_array_append_new(list, json_integer(i));
        json_object_set_new(c, "layers_to_transform", list);
    }
    if (ops->configure) ops->configure(c);
    return build(out, m, ops, c, NULL, outline, NULL, NULL, "adapter options", err);
}
ws_status ws_adapter_new(ws_adapter **out, const ws_model *m, const ws_adapter_config *cfg, ws_err *err) {
    return from_options(out, m, cfg, 0, err);
}
ws_status ws_adapter_outline(ws_adapter **out, const ws_model *m, const ws_adapter_config *cfg, ws_err *err) {
    return from_options(out, m, cfg, 1, err);
}

void ws_adapter_free(ws_adapter *a) {
    if (!a) return;
    json_decref(a->config);
    free(a->site), free(a->at_site), free(a->param);
    free(a->values), free(a->grads), free(a->fixed), free(a->derived), free(a->sums);
    free(a);
}

/* adapters.md 1.4: a 16-bit base rounds every initial value to its type; afterwards all is fp32.  Quantised bases count
 * as fp32, as transformers de-quantises them. */
static void round_to(ws_dtype t, float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (t == WS_BF16) v[i] = ws_bf16_f32(ws_f32_bf16(v[i]));
        if (t == WS_F16) v[i] = ws_f16_f32(ws_f32_f16(v[i]));
    }
}

static void round_site(ws_adapted *s) {
    for (int j = 0; j < s->n_p; j++) round_to(s->at->w->type, s->p[j].value, s->p[j].rows * s->p[j].cols);
}

void ws_adapter_init(ws_adapter *a, uint64_t seed) {
    ws_mt r;
    ws_mt_seed(&r, (uint32_t)seed);
    for (int i = 0; i < a->n_sites; i++) {
        ws_adapted *s = &a->site[i];
        a->ops->init(s, &r);
        round_site(s);
        if (a->ops->init_after) a->ops->init_after(s), round_site(s);
    }
    ws_adapter_refresh(a);
}

/* ---------- use ---------- */

static void refresh_sites(void *arg, int64_t begin, int64_t end) {
    const ws_adapter *a = arg;
    for (int64_t i = begin; i < end; i++) a->ops->refresh(&a->site[i]);
}
static void finish_sites(void *arg, int64_t begin, int64_t end) {
    const ws_adapter *a = arg;
    for (int64_t i = begin; i < end; i++) a->ops->finish_grad(&a->site[i]);
}
void ws_adapter_refresh(ws_adapter *a) {
    if (a->ops->refresh) ws_parallel_for(a->n_sites, 1, refresh_sites, a);
}
void ws_adapter_finish_grad(ws_adapter *a) {
    if (a->ops->finish_grad) ws_parallel_for(a->n_sites, 1, finish_sites, a);
}
void ws_adapter_zero_grad(ws_adapter *a) {
    memset(a->grads, 0, (size_t)a->size * sizeof(float));
    memset(a->sums, 0, (size_t)a->n_sums * sizeof(float));
}
ws_patch *ws_adapter_patch(ws_adapter *a) { return &a->patch; }
const char *ws_adapter_kind(const ws_adapter *a) { return a->ops->name; }
int ws_adapter_n_params(const ws_adapter *a) { return a->n_params; }
const ws_param *ws_adapter_param(const ws_adapter *a, int i) { return &a->param[i]; }
int64_t ws_adapter_size(const ws_adapter *a) { return a->size; }
float *ws_adapter_values(ws_adapter *a) { return a->values; }
float *ws_adapter_grads(ws_adapter *a) { return a->grads; }
int ws_adapter_n_sites(const ws_adapter *a) { return a->n_sites; }
int ws_adapter_site(const ws_adapter *a, int i) { return a->site[i].site; }
const char *ws_adapter_site_name(const ws_adapter *a, int i) { return a->site[i].at->name; }
int ws_adapter_lowest_layer(const ws_adapter *a) {
    int lowest = a->site[0].at->layer;
    for (int i = 1; i < a->n_sites; i++) lowest = a->site[i].at->layer < lowest ? a->site[i].at->layer : lowest;
    return lowest;
}
/* One line a kind of module, with its layers: "mlp.up_proj in 16 layers: 10-25". */
void ws_adapter_describe(const ws_adapter *a, ws_str *out) {
    for (int i = 0; i < a->n_sites; i++) {
        const char *name = a->site[i].at->name, *kind = strstr(name, "layers.");
        kind = kind ? strchr(kind + strlen("layers."), '.') : NULL;
        kind = kind ? kind + 1 : name;
        size_t n = strlen(kind);
        int first = i, count = 0, from = -1, last = -1;
        ws_str layers = {0};
        for (int j = 0; j <= a->n_sites; j++) {
            const ws_site *at = j < a->n_sites ? a->site[j].at : NULL;
            size_t len = at ? strlen(at->name) : 0;
            if (at && (len <= n || strcmp(at->name + len - n, kind) || at->name[len - n - 1] != '.')) continue;
            if (at && j < first) first = j;
            if (at && last >= 0 && at->layer == last + 1) {
                last++, count++;
                continue;
            }
            if (last >= 0) ws_str_addf(&layers, last > from ? "%s%d-%d" : "%s%d", layers.n ? ", " : "", from, last);
            if (at) from = last = at->layer, count++;
        }
        if (first == i)
            ws_str_addf(out, "%s%s in %d layer%s: %s", out->n ? "\n" : "", kind, count, count > 1 ? "s" : "", layers.p);
        ws_str_free(&layers);
    }
}
ws_status ws_adapter_edit(const ws_adapter *a, int i, ws_edit *out, ws_err *err) {
    return a->ops->edit(&a->site[i], out, err);
}
ws_status ws_adapter_contrast_edit(const ws_adapter *a, const ws_adapter *b, int i, ws_edit *out, ws_err *err) {
    const int j = b->at_site[a->site[i].site];
    const int common = a->ops == b->ops && a->ops->contrast_edit && j >= 0 && a->site[i].rank == b->site[j].rank;
    return (common ? a->ops->contrast_edit : a->ops->edit)(&a->site[i], out, err);
}
int ws_adapter_merge_rounds(const ws_adapter *a) { return a->ops->merge_rounds; }
int ws_adapter_residual(const ws_adapter *a) { return a->ops->contrast_edit != NULL; }
