/* src/run/results_sl.c - a folder of steering-lite's JSON, read as if it were a run of ours. */
#include "base/stats.h"
#include "calibrate/calibrate.h"
#include "eval/outside.h"
#include "eval/readout.h"
#include "io/file.h"
#include "run/results.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int ws_results_is_sl(const char *dir) {
    char *bare = ws_path_join(dir, "bare.json"), *manifest = ws_path_join(dir, "manifest.json");
    int is = ws_file_exists(bare) && !ws_file_exists(manifest);
    free(bare), free(manifest);
    return is;
}

typedef struct folder {
    ws_results *r;
    json_t *bare;
    const ws_vigset *set; /* NULL: none were given */
    char **id;
    ws_grid plain, grid; /* of the set: by foundation, and by loadings where all vignettes have them */
    ws_str summary;
} folder;

/* The raw answers of one method: base, +C, -C; not there: p is NULL. */
typedef struct raw {
    ws_answers a[3];
    double alpha[3];
} raw;

static double num(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static void cell(ws_str *s, const char *text) {
    if (s->n && s->p[s->n - 1] != '\n') ws_str_addc(s, ',');
    ws_csv_field(s, text);
}
static void number(ws_str *s, double v) {
    if (s->n && s->p[s->n - 1] != '\n') ws_str_addc(s, ',');
    ws_csv_num(s, v);
}

static ws_status sheet(ws_sheet *s, const char *dir, const char *name, const ws_str *text, ws_err *err) {
    s->path = ws_path_join(dir, name);
    return ws_csv_parse(&s->csv, text->p, text->n, s->path, err);
}

static void dlogit_row(ws_str *s, const char *method, const char *arm, double alpha, const char *f, double mean,
                       double std, double n, double total) {
    cell(s, method), number(s, alpha), cell(s, arm), cell(s, f), number(s, mean), number(s, std);
    number(s, NAN), number(s, NAN), number(s, n), number(s, isnan(total) ? n : total), number(s, NAN), number(s, NAN),
        ws_str_addc(s, '\n');
}

/* {f: {mean, std, n, n_total}} of one arm, a row each. */
static void dlogit_told(ws_str *s, const json_t *arm, const char *method, const char *name, double alpha) {
    const char *f;
    json_t *x;
    json_object_foreach((json_t *)json_object_get(arm, "dlogit_per_foundation"), f, x)
        dlogit_row(s, method, name, alpha, f, num(x, "mean"), num(x, "std"), num(x, "n"), num(x, "n_total"));
}

/* The same from the raw answers, as its table has it: by loadings. */
static void dlogit_raw(ws_str *s, const folder *w, const raw *x, int arm, const char *method) {
    for (int f = 0; f < w->set->n_foundations; f++) {
        ws_dlogit d = ws_readout_dlogit(&w->grid, &x->a[0], &x->a[arm], f, NULL);
        dlogit_row(s, method, arm == 1 ? "plus" : "minus", x->alpha[arm], w->set->foundation[f], d.mean, d.std, d.n,
                   d.n_total);
    }
}

static ws_status bare_sheet(const folder *w, ws_method_results *m, ws_err *err) {
    ws_str s = {0};
    const char *f;
    json_t *x;
    ws_str_adds(&s, "method,alpha,arm,foundation,w,logit,logit_std,n,n_total\n");
    json_object_foreach((json_t *)json_object_get(w->bare, "absolute_logit_per_foundation"), f, x) {
        double mean = num(x, "mean"), n = num(x, "n"), total = num(x, "n_total");
        cell(&s, "base"), number(&s, 0), cell(&s, "base"), cell(&s, f), number(&s, 1 / (1 + exp(-mean)));
        number(&s, mean), number(&s, num(x, "std")), number(&s, n), number(&s, isnan(total) ? n : total),
            ws_str_addc(&s, '\n');
    }
    ws_status st = sheet(&m->foundations, m->dir, "bare.json", &s, err);
    ws_str_free(&s);
    return st;
}

/* The set as the readouts know it. */
static void grids(folder *w) {
    const ws_vigset *set = w->set;
    const int n = set->n, F = set->n_foundations;
    int *foundation = ws_xmalloc((size_t)n * sizeof *foundation + 1), loaded = 1;
    double *human = ws_xmalloc((size_t)n * sizeof *human + 1),
           *loading = ws_xcalloc((size_t)n * (size_t)F + 1, sizeof *loading);
    for (int v = 0; v < n; v++) {
        foundation[v] = set->v[v].foundation, human[v] = NAN;
        loaded &= set->v[v].loading != NULL;
        if (set->v[v].loading) memcpy(loading + (size_t)v * (size_t)F, set->v[v].loading, (size_t)F * sizeof *loading);
    }
    w->plain = w->grid = (ws_grid){n, F, foundation, human, NULL};
    if (loaded)
        w->grid.loading = loading;
    else
        free(loading);
}

enum { DRAWS = 1000 };

static ws_status raw_load(const folder *w, const char *path, raw *x, ws_err *err) {
    ws_answer_file f;
    *x = (raw){.alpha = {0, NAN, NAN}};
    ws_answer_file_begin(&f, w->id, w->set->n);
    ws_status st = ws_answer_file_sl(&f, path, err);
    for (int k = 0; k < 3 && k < f.n && !st; k++) {
        ws_answers_from_p(&x->a[k], w->set->n, f.s[k].p, f.s[k].mass, ws_protocol_find("sl")->floor);
        x->alpha[k] = f.s[k].alpha;
    }
    ws_answer_file_free(&f);
    return st;
}
static void raw_free(raw *x) {
    for (int k = 0; k < 3; k++) ws_answers_free(&x->a[k]);
}

/* SI of Authority by the sl protocol, from the raw answers: k = 1, loadings where the vignettes have them, + after the fact. */
static ws_status si_sheet(const folder *w, ws_method_results *m, const raw *x, ws_err *err) {
    const ws_protocol *p = ws_protocol_find("sl");
    const ws_si_rule rule = ws_protocol_si(p, p->k);
    const ws_vigset *set = w->set;
    int target = -1;
    for (int k = 0; k < set->n_foundations; k++)
        if (!strcmp(set->foundation[k], "Authority")) target = k;
    if (target < 0) return WS_OK;
    const ws_grid *g = &w->grid;
    int two = x->a[2].p != NULL, plus = two && ws_readout_turned(g, &x->a[0], &x->a[1], &x->a[2], target, -1) ? 2 : 1,
        minus = 3 - plus;
    const ws_answers *other = two ? &x->a[minus] : NULL;
    int *times = ws_xmalloc((size_t)set->n * sizeof *times);
    double *draw = ws_xmalloc(2 * DRAWS * sizeof *draw);
    ws_si si = ws_readout_si(g, &x->a[0], &x->a[plus], other, target, -1, &rule, NULL);
    for (int d = 0; d < DRAWS; d++) {
        ws_readout_draw(&w->plain, 0, d, times);
        ws_si y = ws_readout_si(g, &x->a[0], &x->a[plus], other, target, -1, &rule, times);
        draw[d] = y.si, draw[DRAWS + d] = y.separation;
    }
    ws_interval v = ws_interval_of(draw, DRAWS), sep = ws_interval_of(draw + DRAWS, DRAWS);
    ws_str s = {0};
    ws_str_adds(
        &s, "method,foundation,intent,k,weighting,alpha_plus,alpha_minus,n_cho,n_rej,n_cho_minus,n_rej_minus,si_fwd,"
            "si_rev,si_raw,pmass_scale,si,si_lo,si_hi,separation,sep_lo,sep_hi,defined\n");
    cell(&s, m->name), cell(&s, "Authority"), number(&s, -1), number(&s, p->k);
    cell(&s, g->loading ? "loading" : "foundation (the vignettes have no loadings)");
    const double values[] = {x->alpha[plus],
                             x->alpha[minus],
                             si.n_cho,
                             si.n_rej,
                             si.n_cho_minus,
                             si.n_rej_minus,
                             si.fwd,
                             si.rev,
                             si.raw,
                             si.pmass_scale,
                             si.si,
                             v.lo,
                             v.hi,
                             si.separation,
                             sep.lo,
                             sep.hi,
                             ws_si_defined(&si, two)};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) number(&s, values[i]);
    ws_str_addc(&s, '\n');
    ws_status st = sheet(&m->si, m->dir, "si", &s, err);
    ws_str_free(&s);
    free(times), free(draw);
    if (!st && isnan(si.pmass_scale))
        ws_str_addf(&w->r->notes, "%s: SI without the pmass factor alone: its file has no raw_pmass.\n", m->name);
    return st;
}

static json_t *about(const folder *w, const char *method, double plus, double minus) {
    const char *model = json_string_value(json_object_get(w->bare, "model"));
    if (!model) model = json_string_value(json_object_get(json_object_get(w->bare, "meta"), "model"));
    json_t *j = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:[{s:s, s:o, s:o}], s:{s:b, s:s, s:s, s:i, s:b, s:s, s:f, s:f, s:b, s:i, "
        "s:s}}",
        "format", "steering-lite", "version", 1, "model", model ? model : "unknown", "model_hash", "steering-lite",
        "protocol", "sl", "methods", "name", method, "alpha_plus", isnan(plus) ? json_null() : json_real(plus),
        "alpha_minus", isnan(minus) ? json_null() : json_real(minus), "vignettes", "signal", 1, "signal_sentence",
        "steering-lite's files do not tell", "target", "Authority", "target_sign", -1, "target_meant", 1, "mode",
        "outside", "k", ws_protocol_find("sl")->k, "floor", ws_protocol_find("sl")->floor, "loading_weighted", 1,
        "max_think", ws_protocol_find("sl")->max_think, "sign", "chosen after the evaluation");
    WS_ASSERT(j);
    return j;
}

/* One <method>.json; 0 rows are added where it is none. */
static ws_status take(folder *w, const char *path, ws_err *err) {
    json_t *v = NULL;
    ws_results *r = w->r;
    if (ws_sl_load(&v, path, err)) return err->code;
    const json_t *pos = json_object_get(v, "pos"), *neg = json_object_get(v, "neg");
    const json_t *plus = json_is_object(pos) ? pos : v;
    if (!json_is_object(json_object_get(plus, "dlogit_per_foundation"))) { /* another of its files */
        json_decref(v);
        return WS_OK;
    }
    r->m = ws_xrealloc(r->m, (size_t)(r->n + 1) * sizeof *r->m);
    ws_method_results *m = &r->m[r->n++];
    *m = (ws_method_results){.name = ws_sl_method(path), .dir = ws_xstrdup(r->dir)};
    double c = ws_sl_strength(plus, v), back = json_is_object(neg) ? ws_sl_strength(neg, v) : (double)NAN;
    if (isnan(c)) c = 1; /* prompts: their texts are not in a strength */
    if (isnan(back) && json_is_object(neg)) back = 1;
    m->eval = about(w, m->name, c, -back);
    ws_str s = {0};
    ws_str_adds(&s, "method,alpha,arm,foundation,mean,std,lo,hi,n,n_total,net,n_flips\n");
    int probe = json_object_get(plus, "raw_logratios") || json_object_get(v, "raw_logratios");
    int has_raw = !probe && json_is_object(json_object_get(plus, "raw_p_true")) &&
                  json_is_object(json_object_get(w->bare, "raw_p_true"));
    raw x = {.alpha = {0}};
    ws_status st = has_raw && w->set ? raw_load(w, path, &x, err) : WS_OK;
    for (int arm = 1; arm < 3 && !st; arm++)
        if (x.a[arm].p)
            dlogit_raw(&s, w, &x, arm, m->name);
        else if (arm == 1 || !isnan(back))
            dlogit_told(&s, arm == 1 ? plus : neg, m->name, arm == 1 ? "plus" : "minus", arm == 1 ? c : -back);
    if (!st) st = sheet(&m->dlogit, m->dir, m->name, &s, err);
    ws_str_free(&s);
    if (!st) st = bare_sheet(w, m, err);
    if (!st && x.a[1].p) st = si_sheet(w, m, &x, err);
    raw_free(&x);
    if (!st && probe)
        ws_str_addf(&r->notes,
                    "%s: refused for SI: its sweep scored another probe (raw_logratios); its dlogit is of that probe "
                    "too, not of the logit of wrongness.\n",
                    m->name);
    else if (!st && !has_raw)
        ws_str_addf(&r->notes, "%s: no SI: its file or bare.json has no raw_p_true.\n", m->name);
    double p95 = num(v, "kl_p95_at_calib");
    ws_str *q = &w->summary;
    const char *unit = "C";
    cell(q, m->name), cell(q, unit), number(q, num(v, "target_kl")), number(q, c), number(q, back);
    cell(q, "reference"), cell(q, isnan(back) ? "none" : WS_CALIBRATE_MIRRORED), number(q, p95), number(q, NAN);
    for (int i = 0; i < 13; i++) number(q, NAN);
    cell(q, ""), ws_str_addc(q, '\n');
    json_decref(v);
    return st;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static ws_status methods(folder *w, ws_err *err) {
    DIR *d = opendir(w->r->dir);
    char **list = NULL;
    int n = 0;
    if (!d) return ws_fail(err, WS_EIO, "%s: %s", w->r->dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        size_t k = strlen(e->d_name);
        if (k < 6 || strcmp(e->d_name + k - 5, ".json") != 0 || !strcmp(e->d_name, "bare.json") || *e->d_name == '.')
            continue;
        list = ws_xrealloc(list, (size_t)(n + 1) * sizeof *list);
        list[n++] = ws_path_join(w->r->dir, e->d_name);
    }
    closedir(d);
    if (n) qsort(list, (size_t)n, sizeof *list, by_name);
    ws_status st = WS_OK;
    for (int i = 0; i < n; i++) {
        if (!st) st = take(w, list[i], err);
        free(list[i]);
    }
    free(list);
    return st;
}

ws_status ws_results_load_sl(ws_results **out, const char *dir, const char *vignettes, ws_err *err) {
    ws_results *r = ws_xcalloc(1, sizeof *r);
    ws_vigset set = {0};
    folder w = {.r = r};
    *out = NULL;
    r->dir = ws_xstrdup(dir);
    for (size_t k = strlen(r->dir); k > 1 && r->dir[k - 1] == '/'; k--) r->dir[k - 1] = 0;
    const char *slash = strrchr(r->dir, '/');
    r->name = ws_xstrdup(slash ? slash + 1 : r->dir);
    char *path = ws_path_join(r->dir, "bare.json");
    ws_status st = ws_sl_load(&w.bare, path, err);
    if (!st && vignettes) st = ws_vigset_load(&set, vignettes, err);
    if (!st && vignettes) {
        w.set = &set, w.id = ws_xcalloc((size_t)set.n + 1, sizeof *w.id);
        for (int i = 0; i < set.n; i++) w.id[i] = set.v[i].id;
        grids(&w);
    }
    ws_str_adds(&w.summary,
                "method,unit,target_p95,alpha_pos,alpha_neg,status_pos,status_neg,p95_at_pos,p95_at_neg,p95_lo_pos,"
                "p95_hi_pos,p95_lo_neg,p95_hi_neg,iterations_pos,iterations_neg,audit_ratio_pos,"
                "audit_ratio_neg,rel_norm_pos,rel_norm_neg,n_prompts,n_tokens,n_audit,note\n");
    ws_str_addf(&r->notes,
                "%s is steering-lite's: its KL is the last probe's, not always the result's, and only +C was "
                "calibrated.\n",
                r->name);
    if (!vignettes)
        ws_str_addf(&r->notes,
                    "%s: its dlogit is by foundation; by loadings, as its own table has it, and SI need the vignettes "
                    "that were asked: --vignettes.\n",
                    r->name);
    if (!st) st = methods(&w, err);
    if (!st && !r->n) st = ws_fail(err, WS_EFORMAT, "%s: beside bare.json no file has dlogit_per_foundation", r->dir);
    if (!st) st = sheet(&r->summary, r->dir, "calibration", &w.summary, err);
    ws_str_free(&w.summary);
    json_decref(w.bare);
    free((void *)(uintptr_t)w.plain.foundation), free((void *)(uintptr_t)w.plain.human),
        free((void *)(uintptr_t)w.grid.loading);
    free(w.id), free(path);
    ws_vigset_free(&set);
    if (st)
        ws_results_free(r);
    else
        *out = r;
    return st;
}
