#include "steer/extract.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/regex.h"
#include "io/json.h"
#include "steer/frame.h"
#include "steer/likeness.h"
#include "steer/steer.h"
#include "steer/suffixes.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double alike = 0.9999;

ws_extract_options ws_extract_defaults(void) {
    return (ws_extract_options){.methods = "all",
                                .linears = WS_EXTRACT_LINEARS,
                                .first = -1,
                                .last = -1,
                                .n = 256,
                                .max_len = 384,
                                .seed = 42,
                                .cfg = ws_vector_defaults()};
}

/* ---- one method ---- */

void ws_extraction_open(ws_extraction *x, const ws_model *m, const ws_state_set *s) {
    *x = (ws_extraction){.m = m, .n = s->n, .n_neutral = s->n_neutral, .n_sites = s->n_sites, .at = s->at};
    x->frame = ws_xcalloc((size_t)s->n_sites + 1, sizeof *x->frame);
}
void ws_extraction_close(ws_extraction *x) {
    for (int i = 0; i < x->n_sites; i++) ws_frame_free(x->frame[i]);
    ws_frame_free(x->super);
    free(x->frame);
    *x = (ws_extraction){0};
}

static double median_length(const ws_extraction *x, int i) {
    const ws_states *h = &x->at[i];
    double *l = ws_xmalloc((size_t)(2 * x->n) * sizeof *l);
    for (int64_t t = 0; t < x->n; t++)
        l[t] = ws_length(h->pos + t * h->d, h->d), l[x->n + t] = ws_length(h->neg + t * h->d, h->d);
    double median = ws_median(l, 2 * x->n);
    free(l);
    return median;
}

typedef struct work {
    ws_extraction *x;
    ws_vector *v;
    const int *of; /* [v->n] place in x */
    ws_err *err;   /* [v->n] */
} work;
static void sites(void *arg, int64_t begin, int64_t end) {
    const work *w = arg;
    for (int64_t i = begin; i < end; i++) {
        ws_vector_site *s = &w->v->site[i];
        s->norm = median_length(w->x, w->of[i]);
        (void)w->v->ops->hidden->extract(w->x, w->of[i], w->v, s, &w->err[i]);
    }
}

ws_status ws_extract_vector(ws_vector **out, ws_extraction *x, const ws_steer_ops *method, const ws_vector_cfg *cfg,
                            ws_err *err) {
    *out = NULL;
    if (x->n < 2) return ws_fail(err, WS_EUSAGE, "directions need at least two pairs, not %lld", (long long)x->n);
    ws_vector *v = ws_vector_new(x->m, method, cfg);
    int *of = ws_xmalloc((size_t)x->n_sites * sizeof *of + 1);
    for (int i = 0; i < x->n_sites; i++)
        if (ws_model_site(x->m, x->at[i].site)->kind == method->hidden->site)
            of[v->n] = i, ws_vector_site_add(v, x->at[i].site);
    ws_err *each = ws_xcalloc((size_t)v->n + 1, sizeof *each);
    ws_status st = WS_OK;
    if (!v->n)
        st = ws_fail(err, WS_EUSAGE, "%s hangs at %s, and none is among the states", method->name,
                     method->hidden->site == WS_SITE_BLOCK ? "blocks" : "linears");
    if (!st && method->hidden->prepare) st = method->hidden->prepare(x, v, err);
    if (!st) ws_parallel_for(v->n, 1, sites, &(work){x, v, of, each});
    for (int i = 0; i < v->n && !st; i++)
        if (each[i].code) *err = each[i], st = err->code;
    if (!st) st = ws_vector_ready(v, err);
    if (!st && method->hidden->report) method->hidden->report(v);
    free(of), free(each);
    if (st)
        ws_vector_free(v);
    else
        *out = v;
    return st;
}

ws_status ws_extract_methods(const char *list, const ws_steer_ops ***out, int *n, ws_err *err) {
    const ws_steer_ops *const *room = ws_steer_rooms();
    int rooms = 0;
    while (room[rooms]) rooms++;
    const ws_steer_ops **m = ws_xcalloc((size_t)rooms + 1, sizeof *m);
    char *copy = ws_xstrdup(list), *save = NULL;
    ws_status st = WS_OK;
    *n = 0;
    for (char *w = strtok_r(copy, ",", &save); w && !st; w = strtok_r(NULL, ",", &save)) {
        int all = !strcmp(w, "all"), known = all;
        for (int i = 0; i < rooms; i++) {
            if (!room[i]->hidden || !room[i]->hidden->extract || (!all && strcmp(room[i]->name, w))) continue;
            int there = 0;
            for (int k = 0; k < *n; k++) there |= m[k] == room[i];
            if (!there) m[(*n)++] = room[i];
            known = 1;
        }
        if (known) continue;
        ws_str names = {0};
        for (int i = 0; i < rooms; i++)
            if (room[i]->hidden && room[i]->hidden->extract)
                ws_str_addf(&names, "%s%s", names.n ? ", " : "", room[i]->name);
        st = ws_fail(err, WS_EUSAGE, "--methods %s: there is no such method; there are %s", w, names.p);
        ws_str_free(&names);
    }
    if (!st && !*n) st = ws_fail(err, WS_EUSAGE, "--methods names none; `all` takes every one");
    free(copy);
    if (st)
        free(m);
    else
        *out = m;
    return st;
}

/* ---- where ---- */

ws_status ws_extract_layers(const ws_model *m, const ws_extract_options *o, int *first, int *last, ws_err *err) {
    int L = ws_model_dims(m)->layers;
    *first = o->first, *last = o->last;
    if (o->first < 0) {
        *first = (int)(0.2 * L) > 2 ? (int)(0.2 * L) : 2, *last = (int)(0.8 * L) < L - 2 ? (int)(0.8 * L) : L - 2;
        if (*first >= *last)
            return ws_fail(
                err, WS_EUSAGE,
                "a model of %d layers has none between the first and the last fifth to extract from; name some: A:B "
                "(A up to, not with, B) behind --layers, in a run behind --vector-layers",
                L);
    }
    if (*first < 0 || *last > L || *first >= *last)
        return ws_fail(err, WS_EUSAGE,
                       "layers %d:%d to extract from: the model has layers 0:%d, and A must be less than B", *first,
                       *last, L);
    return WS_OK;
}

/* The part of a linear's name behind its layer's: "mlp.down_proj". */
static const char *path_of(const ws_site *at) {
    const char *p = strstr(at->name, "layers.");
    p = p ? strchr(p + 7, '.') : NULL;
    return p ? p + 1 : at->name;
}

/* Blocks and matching linears of the layers, as far as one of the methods hangs there, in the order of the model. */
static ws_status choose_sites(const ws_model *m, const ws_extract_options *o, int first, int last,
                              const ws_steer_ops *const *method, int n_methods, int **out, int *n, ws_err *err) {
    ws_regex *re = NULL;
    int wants[2] = {0}, linears = 0;
    for (int i = 0; i < n_methods; i++) wants[method[i]->hidden->site] = 1;
    char *whole = ws_sprintf("\\A(?:%s)\\z", o->linears);
    ws_status st = ws_regex_new(&re, whole, "", err);
    if (st) ws_fail_prefix(err, "--linears %s", o->linears), st = err->code = WS_EUSAGE;
    free(whole);
    *n = 0, *out = ws_xmalloc((size_t)ws_model_n_sites(m) * sizeof **out);
    for (int i = 0; i < ws_model_n_sites(m) && !st; i++) {
        const ws_site *at = ws_model_site(m, i);
        size_t begin, end;
        int hit = at->kind == WS_SITE_BLOCK;
        if (at->layer < first || at->layer >= last || !wants[at->kind]) continue;
        if (!hit) hit = ws_regex_next(re, path_of(at), strlen(path_of(at)), 0, &begin, &end, err);
        if (hit < 0) st = err->code;
        linears += hit > 0 && at->kind == WS_SITE_LINEAR;
        if (hit > 0) (*out)[(*n)++] = i;
    }
    if (!st && wants[WS_SITE_LINEAR] && !linears)
        st = ws_fail(err, WS_EUSAGE,
                     "--linears %s: no linear of layers %d:%d is called so as a whole; names are like mlp.down_proj",
                     o->linears, first, last);
    ws_regex_free(re);
    if (st) free(*out), *out = NULL;
    return st;
}

/* ---- states ---- */

static json_t *describe_pairs(const ws_extract_pairs *p) {
    json_t *list = json_array();
    for (int i = 0; i < p->n; i++) {
        const ws_extract_pair *x = &p->pair[i];
        json_array_append_new(list, json_pack("{s:i, s:[i,i], s:b, s:[i,i]}", "row", x->row, "personas", x->persona[0],
                                              x->persona[1], "inside", x->inside, "tokens", x->ids[0].n, x->ids[1].n));
    }
    return list;
}

static ws_status make_states(ws_state_set *s, ws_model *m, const ws_tokenizer *t, const ws_chat *c,
                             const ws_behavior *b, const ws_extract_options *o, const int *site, int n_sites,
                             json_t *about, ws_err *err) {
    ws_suffixes pool = {0};
    ws_extract_pairs p = {0};
    char *own = o->suffixes ? ws_xstrdup(o->suffixes) : ws_data_path("suffixes.jsonl", err);
    ws_status st = own ? ws_suffixes_load(&pool, own, err) : err->code;
    if (!st) st = ws_extract_pairs_make(&p, &pool, b, c, t, o->n, o->max_len, o->seed, o->neutral, err);
    if (!st) {
        int inside = 0, cut = 0;
        for (int i = 0; i < p.n; i++) inside += p.pair[i].inside, cut += p.pair[i].cut[0] + p.pair[i].cut[1];
        if (p.n < o->n) ws_note("extract: %d pairs asked for, %s has %d suffixes", o->n, own, p.n);
        if (p.folded) ws_note("extract: the chat template has no system role; personas stand in front of the question");
        if (cut) ws_note("extract: %d prompts were cut to %d tokens", cut, o->max_len);
        ws_note("extract: %d pairs of prompts%s%.0d%s, states of their last tokens at %d sites", p.n,
                inside ? ", " : "", inside, inside ? " of them inside an open think block" : "", n_sites);
        ws_detail("extract: the first POS prompt:\n%s", p.shown);
        json_object_set_new(about, "behavior", json_string(b->name));
        json_object_set_new(about, "behavior_hash", json_string(b->hash));
        json_object_set_new(about, "suffixes", json_string(pool.path));
        json_object_set_new(about, "suffixes_hash", json_string(pool.hash));
        json_object_set_new(about, "seed", json_integer((json_int_t)o->seed));
        json_object_set_new(about, "max_len", json_integer(o->max_len));
        json_object_set_new(about, "persona_in", json_string(p.folded ? "question" : "system"));
        json_object_set_new(about, "pairs", describe_pairs(&p));
        ws_ids *side[2];
        for (int k = 0; k < 2; k++) {
            side[k] = ws_xmalloc((size_t)p.n * sizeof **side);
            for (int i = 0; i < p.n; i++) side[k][i] = p.pair[i].ids[k];
        }
        st = ws_states_collect(s, m, site, n_sites, side[0], side[1], p.n, p.neutral, p.n_neutral, err);
        free(side[0]), free(side[1]);
        if (!st) {
            json_object_set_new(s->meta, "behavior", json_string(b->name));
            json_object_set_new(s->meta, "behavior_hash", json_string(b->hash));
            json_object_set_new(s->meta, "suffixes_hash", json_string(pool.hash));
            json_object_set_new(s->meta, "seed", json_sprintf("%llu", (unsigned long long)o->seed));
        }
    }
    free(own);
    ws_suffixes_free(&pool);
    ws_extract_pairs_free(&p);
    return st;
}

static int find_site(const ws_state_set *s, int site) {
    int k = 0;
    while (k < s->n_sites && s->at[k].site != site) k++;
    return k;
}
/* Of a file's states those of the chosen sites stay, each of which must be there. */
static ws_status keep_sites(ws_state_set *s, const ws_model *m, const int *site, int n, const char *path, ws_err *err) {
    for (int i = 0; i < n; i++) /* all of them before any states move */
        if (find_site(s, site[i]) == s->n_sites)
            return ws_fail(err, WS_EUSAGE, "%s has no states of %s; choose other --layers, --linears or --methods",
                           path, ws_model_site(m, site[i])->name);
    ws_states *at = ws_xcalloc((size_t)n + 1, sizeof *at);
    for (int i = 0; i < n; i++) {
        ws_states *from = &s->at[find_site(s, site[i])];
        at[i] = *from, from->pos = from->neg = from->neutral = NULL;
    }
    for (int k = 0; k < s->n_sites; k++)
        free((void *)(uintptr_t)s->at[k].pos), free((void *)(uintptr_t)s->at[k].neg),
            free((void *)(uintptr_t)s->at[k].neutral);
    free(s->at);
    s->at = at, s->n_sites = n;
    return WS_OK;
}

/* ---- everything ---- */

static void tell_alike(const ws_extract_options *o, ws_extract_result *r, const double *most, const ws_likeness *l) {
    for (int a = 0; a < r->n; a++) {
        if (!ws_likeness_moves(l, a)) ws_warn("%s moves no state at all: it is the identity here", r->method[a]->name);
        for (int b = 0; b < a; b++) {
            double c = most[a * r->n + b];
            if (!(c > alike)) continue;
            const char *why = NULL, *other = NULL;
            for (int k = 0; k < 2 && !other; k++) {
                const ws_steer_ops *x = r->method[k ? b : a], *y = r->method[k ? a : b];
                other = x->hidden->same_as ? x->hidden->same_as(&o->cfg, &why) : NULL;
                if (other && strcmp(other, y->name)) other = NULL;
            }
            json_array_append_new(r->told, json_pack("{s:s, s:s, s:f, s:b, s:s?}", "a", r->method[b]->name, "b",
                                                     r->method[a]->name, "cosine", r->cosine[a * r->n + b], "declared",
                                                     other != NULL, "why", other ? why : NULL));
            if (other)
                ws_note("%s and %s are one result%s: %s", r->method[b]->name, r->method[a]->name,
                        r->cosine[a * r->n + b] > alike ? "" : " up to signs", why);
            else
                ws_warn("%s and %s do the same to these states (mean |cosine| %.5f): two rows, one result",
                        r->method[b]->name, r->method[a]->name, c);
        }
    }
}

static ws_status vectors(const ws_model *m, const ws_state_set *s, const ws_extract_options *o, ws_extract_result *r,
                         json_t *list, ws_err *err) {
    ws_extraction x;
    ws_extraction_open(&x, m, s);
    ws_likeness *l = ws_likeness_new(s, r->n);
    ws_status st = WS_OK;
    ws_progress bar;
    for (int i = 0; i < r->n && !st; i++) /* has bars of its own */
        if (r->method[i]->hidden->prepare) st = r->method[i]->hidden->prepare(&x, NULL, err);
    ws_progress_start(&bar, "extract: vectors", "methods", r->n);
    for (int i = 0; i < r->n && !st; i++) {
        ws_vector *v = NULL;
        st = ws_interrupt_check(err);
        if (!st) st = ws_extract_vector(&v, &x, r->method[i], &o->cfg, err);
        if (st) break;
        ws_vector_set_meta(v, "name", r->method[i]->name);
        const char *key;
        json_t *value;
        static const char *const kept[] = {"behavior", "behavior_hash", "suffixes_hash", NULL};
        for (int k = 0; kept[k]; k++)
            if ((value = json_object_get(s->meta, key = kept[k]))) ws_vector_set_meta(v, key, json_string_value(value));
        char *file = ws_sprintf("%s.safetensors", r->method[i]->name), pairs[24];
        snprintf(pairs, sizeof pairs, "%lld", (long long)s->n);
        ws_vector_set_meta(v, "pairs", pairs);
        r->path[i] = ws_path_join(o->out, file), r->norm[i] = ws_vector_norm(v);
        free(file);
        st = ws_vector_save(v, r->path[i], err);
        if (!st) ws_likeness_add(l, v);
        const ws_steer_ops *p = r->method[i];
        double norm = p->of_norm ? r->norm[i] : 1;
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:s, s:f, s:[f,f], s:b}", "method", p->name, "file",
                                              r->path[i], "sites", ws_vector_n_sites(v), "unit", p->unit, "state_norm",
                                              r->norm[i], "bracket", p->bracket_lo * norm, p->bracket_hi * norm,
                                              "identity_at_zero", p->identity_at_zero));
        ws_vector_free(v);
        ws_progress_update(&bar, i + 1, r->method[i]->name);
    }
    ws_progress_end(&bar);
    if (!st) {
        double *most = ws_xmalloc((size_t)(r->n * r->n) * sizeof *most);
        ws_likeness_done(l, r->cosine, most);
        tell_alike(o, r, most, l);
        free(most);
    }
    ws_likeness_free(l);
    ws_extraction_close(&x);
    return st;
}

static json_t *matrix(const ws_extract_result *r) {
    json_t *rows = json_array();
    for (int a = 0; a < r->n; a++) {
        json_t *row = json_array();
        for (int b = 0; b < r->n; b++) {
            double c = r->cosine[a * r->n + b];
            json_array_append_new(row, isfinite(c) ? json_real(c) : json_null());
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static ws_status check(const ws_extract_options *o, const ws_behavior *b, ws_err *err) {
    if (!o->out) return ws_fail(err, WS_EUSAGE, "--out is missing: give a folder for the vectors");
    if (!b && !o->states) return ws_fail(err, WS_EUSAGE, "--behavior is missing: its personas make the states");
    if (o->n < 2 || o->max_len < 1) return ws_fail(err, WS_EUSAGE, "--n must be at least 2, --max-len at least 1");
    if (o->cfg.clusters < 1 || o->cfg.clusters > 64) return ws_fail(err, WS_EUSAGE, "--clusters must be 1 to 64");
    return WS_OK;
}

ws_status ws_extract_run(ws_model *m, const ws_tokenizer *t, const ws_chat *c, const ws_behavior *behavior,
                         const ws_extract_options *options, ws_extract_result *r, ws_err *err) {
    ws_extract_options own = *options, *o = &own;
    ws_state_set s = {0};
    int *site = NULL, n_sites = 0, lock = -1;
    double start = ws_now();
    *r = (ws_extract_result){.told = json_array()};
    json_t *about = json_object(), *list = json_array();
    ws_status st = check(o, behavior, err);
    if (!st) st = ws_extract_layers(m, o, &r->first, &r->last, err);
    if (!st) st = ws_extract_methods(o->methods, &r->method, &r->n, err);
    if (!st) st = choose_sites(m, o, r->first, r->last, r->method, r->n, &site, &n_sites, err);
    if (!st && o->keep_states) st = ws_out_try(o->keep_states, err);
    if (!st) st = ws_mkdirs(o->out, err);
    if (!st) st = ws_lock(&lock, o->out, 1, err);
    if (!st) ws_dir_sweep(o->out);
    if (!st && o->states) {
        st = ws_states_load(&s, m, o->states, o->force, err);
        if (!st) st = keep_sites(&s, m, site, n_sites, o->states, err);
        if (!st) json_object_set_new(about, "states", json_string(o->states));
    } else if (!st)
        st = make_states(&s, m, t, c, behavior, o, site, n_sites, about, err);
    own.cfg.neutral = s.n_neutral > 0;
    r->seconds_states = ws_now() - start, r->pairs = s.n, r->sites = n_sites;
    if (!st && o->keep_states) st = ws_states_save(&s, m, o->keep_states, err);
    r->path = ws_xcalloc((size_t)r->n + 1, sizeof *r->path), r->norm = ws_xcalloc((size_t)r->n + 1, sizeof *r->norm);
    r->cosine = ws_xcalloc((size_t)(r->n * r->n) + 1, sizeof *r->cosine);
    if (!st) st = vectors(m, &s, o, r, list, err);
    r->seconds = ws_now() - start;
    if (!st) {
        const ws_checkpoint *k = ws_model_checkpoint(m);
        json_t *report =
            json_pack("{s:s, s:i, s:s, s:s, s:[i,i], s:s, s:I, s:I, s:O, s:O, s:o, s:O}", "format", "ws-extract",
                      "version", 1, "model", ws_checkpoint_name(k), "model_hash", ws_checkpoint_hash(k), "layers",
                      r->first, r->last, "linears", o->linears, "n", (json_int_t)s.n, "n_neutral",
                      (json_int_t)s.n_neutral, "states", about, "methods", list, "cosine", matrix(r), "alike", r->told);
        char *path = ws_path_join(o->out, "extract.json");
        st = ws_json_save(report, path, err);
        free(path);
        json_decref(report);
    }
    if (lock >= 0) ws_unlock(lock);
    ws_states_free(&s);
    json_decref(about), json_decref(list);
    free(site);
    if (st) ws_extract_result_free(r);
    return st;
}

void ws_extract_result_free(ws_extract_result *r) {
    for (int i = 0; i < r->n && r->path; i++) free(r->path[i]);
    free(r->path), free(r->norm), free(r->cosine), free(r->method);
    json_decref(r->told);
    *r = (ws_extract_result){0};
}
