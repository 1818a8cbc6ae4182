#include "eval/outside.h"
#include "base/log.h"
#include "eval/raw.h"
#include "eval/vigtables.h"
#include "io/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- steering-lite's files ---- */

char *ws_sl_method(const char *path) {
    const char *slash = strrchr(path, '/');
    char *name = ws_xstrdup(slash ? slash + 1 : path), *dot = strrchr(name, '.');
    if (dot && !strcmp(dot, ".json")) *dot = 0;
    return name;
}

ws_status ws_sl_load(json_t **out, const char *path, ws_err *err) {
    static const char *const word[] = {"-Infinity", "Infinity", "NaN"};
    ws_str text = {0}, clean = {0};
    int quoted = 0;
    *out = NULL;
    ws_status st = ws_file_read(path, &text, err);
    for (size_t i = 0; i < text.n && !st;) {
        size_t skip = 0;
        for (int k = 0; k < 3 && !quoted && !skip; k++)
            if (text.n - i >= strlen(word[k]) && !memcmp(text.p + i, word[k], strlen(word[k]))) skip = strlen(word[k]);
        if (skip) {
            ws_str_adds(&clean, "null"), i += skip;
            continue;
        }
        if (quoted && text.p[i] == '\\' && i + 1 < text.n)
            ws_str_addc(&clean, text.p[i++]);
        else if (text.p[i] == '"')
            quoted = !quoted;
        ws_str_addc(&clean, text.p[i++]);
    }
    if (!st) st = ws_json_parse(out, clean.p ? clean.p : "", clean.n, path, err);
    ws_str_free(&text), ws_str_free(&clean);
    return st;
}

/* Keys "vid|cond|frame"; a vignette's id may hold the bar itself. */
static int cell_of(const ws_answer_file *f, const char *key) {
    char *copy = ws_xstrdup(key), *frame = strrchr(copy, '|'), *cond = NULL;
    int cell = -1;
    if (frame) *frame++ = 0, cond = strrchr(copy, '|');
    if (cond) {
        *cond++ = 0;
        int v = ws_answer_file_id(f, copy), c = ws_answer_cond(cond), k = ws_answer_frame(frame, NULL);
        if (v >= 0 && c >= 0 && k >= 0) cell = (v * 2 + c) * 2 + k;
    }
    free(copy);
    return cell;
}

static ws_status raw_of(ws_answer_file *f, const json_t *v, const char *method, double alpha, const char *path,
                        ws_err *err) {
    const json_t *p = json_object_get(v, "raw_p_true"), *mass = json_object_get(v, "raw_pmass");
    const char *key;
    json_t *x;
    if (json_object_get(v, "raw_logratios"))
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "%s: its sweep scored another probe (raw_logratios), from which neither wrongness nor SI follows", path);
    if (!json_is_object(p)) return ws_fail(err, WS_EFORMAT, "%s: raw_p_true is needed for wrongness and SI", path);
    json_object_foreach((json_t *)p, key, x) {
        const json_t *m = json_object_get(mass, key);
        int cell = cell_of(f, key);
        if (cell < 0)
            return ws_fail(err, WS_EFORMAT, "%s: \"%s\" is no cell of these vignettes (id|cond|frame)", path, key);
        double a = json_is_number(x) ? json_number_value(x) : NAN, b = json_is_number(m) ? json_number_value(m) : NAN;
        if (!(isnan(a) || (a >= 0 && a <= 1)) || !(isnan(b) || (b >= 0 && b <= 1 + 1e-6)))
            return ws_fail(err, WS_EFORMAT, "%s: \"%s\" is no probability", path, key);
        ws_answer_file_put(f, method, alpha, cell, a, b);
    }
    return WS_OK;
}

double ws_sl_strength(const json_t *arm, const json_t *whole) {
    static const char *const key[] = {"calibrated_C", "coeff_calibrated", "coeff_raw"};
    const json_t *c = json_object_get(arm, "coeff");
    for (size_t i = 0; i < sizeof key / sizeof *key && !json_is_number(c); i++) c = json_object_get(whole, key[i]);
    double v = json_is_number(c) ? fabs(json_number_value(c)) : NAN;
    return v > 0 ? v : NAN;
}

/* 1 where there is none. */
static double strength(const json_t *arm, const json_t *whole, int minus) {
    double v = ws_sl_strength(arm, whole);
    if (isnan(v)) v = 1;
    return minus ? -v : v;
}

ws_status ws_answer_file_sl(ws_answer_file *f, const char *path, ws_err *err) {
    const char *slash = strrchr(path, '/');
    char *bare = ws_sprintf("%.*sbare.json", slash ? (int)(slash + 1 - path) : 0, path), *method = ws_sl_method(path);
    json_t *v = NULL, *base = NULL;
    ws_status st = ws_sl_load(&v, path, err);
    if (!st && !f->s[0].n) { /* one base for all files of a folder */
        st = ws_sl_load(&base, bare, err);
        if (!st) st = raw_of(f, base, "base", 0, bare, err);
    }
    const json_t *pos = json_object_get(v, "pos"), *neg = json_object_get(v, "neg");
    if (!st) st = raw_of(f, json_is_object(pos) ? pos : v, method, strength(pos, v, 0), path, err);
    if (!st && json_is_object(neg)) st = raw_of(f, neg, method, strength(neg, v, 1), path, err);
    json_decref(v), json_decref(base);
    free(bare), free(method);
    return st;
}

/* ---- tables ---- */

typedef struct settings {
    int n, n_methods;
    ws_setting *setting;
    ws_method *own, **method; /* names alone */
    int *from;                /* [n] places in the file */
} settings;

static void settings_of(settings *s, const ws_answer_file *f, const char *only) {
    s->setting = ws_xcalloc((size_t)f->n, sizeof *s->setting), s->from = ws_xcalloc((size_t)f->n, sizeof *s->from);
    s->own = ws_xcalloc((size_t)f->n, sizeof *s->own), s->method = ws_xcalloc((size_t)f->n, sizeof *s->method);
    s->setting[s->n++] = (ws_setting){-1, "base", 0, WS_ARM_BASE, NULL};
    for (int i = 1; i < f->n; i++) {
        const ws_answered *a = &f->s[i];
        int m = 0;
        if (only && strcmp(only, a->method) != 0) continue;
        while (m < s->n_methods && strcmp(s->own[m].name, a->method) != 0) m++;
        if (m == s->n_methods) s->own[m].name = a->method, s->n_methods++;
        s->from[s->n] = i;
        s->setting[s->n++] = (ws_setting){m, a->method, a->alpha, WS_ARM_OTHER, NULL};
    }
    for (int m = 0; m < s->n_methods; m++) {
        s->method[m] = &s->own[m];
        for (int side = 0; side < 2; side++) {
            int best = -1;
            for (int i = 1; i < s->n; i++)
                if (s->setting[i].method == m && (s->setting[i].alpha < 0) == side &&
                    (best < 0 || fabs(s->setting[i].alpha) > fabs(s->setting[best].alpha)))
                    best = i;
            if (best >= 0) s->setting[best].arm = side ? WS_ARM_MINUS : WS_ARM_PLUS;
        }
    }
}

static json_t *describe(const settings *s, const ws_outside *w, const ws_eval_options *o) {
    json_t *methods = json_array(), *list = json_array();
    for (int m = 0; m < s->n_methods; m++) {
        json_t *plus = json_null(), *minus = json_null();
        for (int i = 1; i < s->n; i++) {
            if (s->setting[i].method != m) continue;
            if (s->setting[i].arm == WS_ARM_PLUS) plus = json_real(s->setting[i].alpha);
            if (s->setting[i].arm == WS_ARM_MINUS) minus = json_real(s->setting[i].alpha);
        }
        json_array_append_new(methods, json_pack("{s:s, s:s, s:o, s:o}", "name", s->own[m].name, "kind", "outside",
                                                 "alpha_plus", plus, "alpha_minus", minus));
    }
    for (int i = 0; i < s->n; i++)
        json_array_append_new(list, json_pack("{s:s, s:f, s:s}", "method", s->setting[i].name, "alpha",
                                              s->setting[i].alpha, "arm", ws_arm_name(s->setting[i].arm)));
    json_t *j = json_pack("{s:s, s:i, s:s, s:s, s:I, s:i, s:s?, s:s, s:o, s:o}", "format", "ws-eval", "version", 1,
                          "model", w->model ? w->model : "unknown", "program", "outside", "seed", (json_int_t)o->seed,
                          "bootstrap", o->bootstrap, "behavior", w->behavior ? w->behavior->name : NULL, "protocol",
                          o->protocol ? o->protocol->name : "ours", "methods", methods, "settings", list);
    WS_ASSERT(j);
    return j;
}

static json_t *real_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

/* The answers as our own raw file has them, p_true and pmass in place of the logs. */
static ws_status write_raw(const ws_eval *e, const settings *s, const ws_answer_file *f, const ws_vigset *set,
                           ws_err *err) {
    ws_str t = {0};
    json_t *v = json_pack("{s:s, s:i, s:s}", "format", "ws-vignettes-raw", "version", 1, "made_by", "ws readout");
    ws_json_dump(v, &t, 1), ws_str_addc(&t, '\n'), json_decref(v);
    for (int i = 0; i < 4 * set->n; i++)
        for (int k = 0; k < s->n; k++) {
            const ws_answered *a = &f->s[s->from[k]];
            if (isnan(a->p[i]) && isnan(a->mass[i])) continue;
            v = json_pack("{s:s, s:s, s:s, s:s, s:f, s:o, s:o}", "id", set->v[i / 4].id, "cond", ws_conds[i / 2 % 2],
                          "frame", set->frame[i % 2].name, "method", s->setting[k].name, "alpha", s->setting[k].alpha,
                          "p_true", real_or_null(a->p[i]), "pmass", real_or_null(a->mass[i]));
            ws_json_dump(v, &t, 1), ws_str_addc(&t, '\n'), json_decref(v);
        }
    ws_status st = ws_eval_write(e, "vignettes_raw.jsonl", &t, err);
    ws_str_free(&t);
    return st;
}

static ws_status check(const ws_answer_file *f, const settings *s, const ws_outside *w, const ws_eval_options *o,
                       ws_err *err) {
    if (!f->s[0].n)
        return ws_fail(err, WS_EFORMAT,
                       "the answers have no base (alpha 0, or arm base), against which everything is measured");
    if (s->n < 2)
        return ws_fail(err, WS_EFORMAT, "the answers are of the base alone: give those of a steered model too");
    for (int i = 0; i < w->set->n && o->loading_weighted; i++)
        if (!w->set->v[i].loading)
            return ws_fail(
                err, WS_EUSAGE,
                "SI weighted by loadings (--loading-weighted, --protocol sl): vignette \"%s\" of %s has no loadings",
                w->set->v[i].id, w->set->path[0]);
    return WS_OK;
}

ws_status ws_outside_tables(const ws_answer_file *f, const ws_outside *w, const ws_eval_options *o, ws_str *report,
                            json_t **json, ws_err *err) {
    settings s = {0};
    ws_str text = {0};
    settings_of(&s, f, w->method);
    ws_eval e = {.behavior = w->behavior,
                 .method = s.method,
                 .n_methods = s.n_methods,
                 .o = o,
                 .n_settings = s.n,
                 .setting = s.setting,
                 .report = &text};
    ws_status st = check(f, &s, w, o, err);
    if (!st && o->out) st = ws_mkdirs(o->out, err);
    if (!st) {
        e.json = describe(&s, w, o);
        ws_vigwork t = {.e = &e, .set = *w->set};
        t.answers = ws_xcalloc((size_t)s.n, sizeof *t.answers);
        for (int i = 0; i < s.n; i++) {
            const ws_answered *a = &f->s[s.from[i]];
            ws_answers_from_p(&t.answers[i], w->set->n, a->p, a->mass, o->floor);
            if (a->n < 4 * w->set->n && report)
                ws_note("%s at %+g: %d of %d answers are there", s.setting[i].name, s.setting[i].alpha, a->n,
                        4 * w->set->n);
        }
        st = ws_vigwork_tables(&t, err);
        for (int i = 0; i < s.n; i++) ws_answers_free(&t.answers[i]);
        free(t.answers);
    }
    if (!st && o->out) st = write_raw(&e, &s, f, w->set, err);
    if (!st && o->out) {
        char *path = ws_path_join(o->out, "eval.json");
        st = ws_json_save(e.json, path, err);
        free(path);
    }
    if (!st && report) ws_str_add(report, text.p ? text.p : "", text.n);
    if (!st && json) *json = json_incref(e.json);
    json_decref(e.json);
    ws_str_free(&text);
    free(s.setting), free(s.from), free(s.own), free(s.method);
    return st;
}
