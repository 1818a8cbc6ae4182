#include "eval/raw.h"
#include "base/log.h"
#include "io/csv.h"
#include "kernel/compute.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

ws_hash *ws_raw_key(const ws_eval *e, const char *format) {
    int version = 1;
    ws_hash *h = ws_hash_new();
    ws_hash_adds(h, format), ws_hash_add(h, &version, sizeof version);
    ws_hash_adds(h, ws_checkpoint_hash(ws_model_checkpoint(e->model))), ws_hash_adds(h, ws_arithmetic());
    for (int s = 0; s < e->n_settings; s++) {
        const ws_setting *x = &e->setting[s];
        ws_hash_adds(h, x->name), ws_hash_adds(h, x->method < 0 ? "" : e->method[x->method]->hash);
        ws_hash_add(h, &x->alpha, sizeof x->alpha);
    }
    return h;
}

static json_t *header(const ws_eval *e, const char *format, const char *key) {
    json_t *settings = json_array();
    for (int s = 0; s < e->n_settings; s++)
        json_array_append_new(settings,
                              json_pack("{s:s, s:f}", "method", e->setting[s].name, "alpha", e->setting[s].alpha));
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:o}", "format", format, "version", 1, "key", key, "kernels",
                     ws_arithmetic(), "model", ws_checkpoint_name(ws_model_checkpoint(e->model)), "settings", settings);
}

typedef struct reader {
    const char *path, *format, *key;
    int n, most;
    ws_status (*line)(void *arg, int i, const json_t *v, ws_err *err);
    void *arg;
} reader;

static ws_status read_line(void *arg, json_t *v, long line, ws_err *err) {
    reader *r = arg;
    if (r->n < 0) {
        const char *format = json_string_value(json_object_get(v, "format")),
                   *key = json_string_value(json_object_get(v, "key"));
        if (!format || !key || strcmp(format, r->format))
            return ws_fail(err, WS_EFORMAT, "%s does not begin with a \"%s\" header; move it away or use --fresh",
                           r->path, r->format);
        const char *kernels = json_string_value(json_object_get(v, "kernels"));
        if (strcmp(key, r->key) && kernels && strcmp(kernels, ws_arithmetic()))
            return ws_fail(
                err, WS_ESTATE,
                "%s was begun with the %s kernels, these are %s: the rest would not be the same bits; choose "
                "them with WS_KERNELS and --compute, give another --out, or --fresh to start over",
                r->path, kernels, ws_arithmetic());
        if (strcmp(key, r->key))
            return ws_fail(err, WS_ESTATE,
                           "%s holds results of another model (\"%s\"), steering file, strength, text or option than "
                           "now asked for; give another --out, or --fresh to replace them",
                           r->path, json_string_value(json_object_get(v, "model")));
    } else if (r->n >= r->most || r->line(r->arg, r->n, v, err)) {
        if (r->n >= r->most) ws_fail(err, WS_EFORMAT, "there are more results than were asked for; use --fresh");
        return ws_fail_prefix(err, "%s:%ld", r->path, line);
    }
    r->n++;
    return WS_OK;
}

/* ---- answers of the base alone ---- */

typedef struct base_reader {
    ws_raw *raw;
    const char *format;
    int header, other_kernels;
} base_reader;

static ws_status base_line(void *arg, json_t *v, long line, ws_err *err) {
    base_reader *b = arg;
    ws_raw *r = b->raw;
    if (!b->header) {
        const char *format = json_string_value(json_object_get(v, "format")),
                   *kernels = json_string_value(json_object_get(v, "kernels"));
        b->header = 1;
        if (!format || strcmp(format, b->format) || !kernels)
            return ws_fail(err, WS_ESTATE, "line %ld: no header of \"%s\"", line, b->format);
        b->other_kernels = strcmp(kernels, ws_arithmetic()) != 0;
        return WS_OK;
    }
    if (b->other_kernels) return WS_OK;
    r->base = ws_xrealloc(r->base, (size_t)(r->n_base + 1) * sizeof *r->base);
    r->base[r->n_base++] = json_incref(v);
    return WS_OK;
}

static ws_status read_base(ws_raw *r, const ws_eval *e, const char *name, const char *format, ws_err *err) {
    char *about = ws_path_join(e->o->base, "eval.json"), *path = ws_path_join(e->o->base, name);
    json_t *j = NULL;
    base_reader b = {r, format, 0, 0};
    ws_status st = ws_json_load(&j, about, err);
    const char *hash = json_string_value(json_object_get(j, "model_hash"));
    if (!st && (!hash || strcmp(hash, ws_checkpoint_hash(ws_model_checkpoint(e->model))) ||
                json_integer_value(json_object_get(j, "seed")) != (json_int_t)e->o->seed ||
                json_array_size(json_object_get(j, "settings")) != 1))
        st = ws_fail(err, WS_ESTATE, "%s is no evaluation of this base model alone with this seed", about);
    if (!st && (st = ws_jsonl_each(path, base_line, &b, err))) ws_fail_prefix(err, "%s", path);
    if (!st && b.other_kernels) /* steered and unsteered answers of one table have the same rounding */
        ws_note("%s is of other kernels than these (%s): the base is asked again for this row", path, ws_arithmetic());
    json_decref(j);
    free(about), free(path);
    return st;
}

static void drop_base(ws_raw *r) {
    for (int i = 0; i < r->n_base; i++) json_decref(r->base[i]);
    free(r->base);
    r->base = NULL, r->n_base = 0;
}

int ws_raw_has_base(const ws_raw *r, int i, int settings) { return i % settings == 0 && i / settings < r->n_base; }

ws_status ws_raw_take_base(ws_raw *r, int i, int settings, ws_err *err) {
    json_t *v = r->base[i / settings];
    ws_status st = r->line(r->arg, i, v, err);
    return st ? ws_fail_prefix(err, "the base's answer %d", i / settings) : ws_raw_add(r, json_incref(v), err);
}

ws_status ws_raw_open(ws_raw *r, const ws_eval *e, const char *name, const char *format, const char *key, int most,
                      ws_status (*line)(void *arg, int i, const json_t *v, ws_err *err), void *arg, ws_err *err) {
    char *path = ws_path_join(e->o->out, name);
    reader in = {path, format, key, -1, most, line, arg};
    ws_status st = WS_OK;
    *r = (ws_raw){.line = line, .arg = arg};
    if (e->o->fresh && ws_file_exists(path) && remove(path)) st = ws_fail(err, WS_EIO, "%s cannot be removed", path);
    if (!st) st = ws_lines_open(&r->file, path, err);
    if (st) {
        free(path);
        return st;
    }
    st = ws_jsonl_each(path, read_line, &in, err);
    if (!st && in.n < 0) {
        st = ws_raw_add(r, header(e, format, key), err);
        in.n = 0;
    }
    r->n = in.n;
    if (!st && e->o->base) st = read_base(r, e, name, format, err);
    if (st) ws_lines_close(&r->file, NULL), drop_base(r);
    free(path);
    return st;
}

ws_status ws_raw_add(ws_raw *r, json_t *v, ws_err *err) {
    if (!v) BUG("a result cannot be written as JSON");
    ws_str s = {0};
    ws_json_dump(v, &s, 1);
    ws_status st = ws_lines_add(&r->file, s.p, s.n, err);
    ws_str_free(&s);
    json_decref(v);
    return st;
}

void ws_raw_text(ws_str *out, const ws_str *said) {
    ws_str_adds(out, "");
    for (size_t i = 0; i < said->n; i++)
        if (said->p[i])
            ws_str_addc(out, said->p[i]);
        else
            ws_str_adds(out, "\xef\xbf\xbd");
}

ws_status ws_raw_close(ws_raw *r, ws_err *err) {
    drop_base(r);
    return ws_lines_close(&r->file, err);
}

static void comma(ws_str *s) {
    if (s->n && s->p[s->n - 1] != '\n') ws_str_addc(s, ',');
}
void ws_col(ws_str *s, const char *text) { comma(s), ws_csv_field(s, text); }
void ws_num(ws_str *s, double v) { comma(s), ws_csv_num(s, v); }
void ws_col_setting(ws_str *s, const ws_setting *x) {
    ws_col(s, x->name), ws_num(s, x->alpha), ws_col(s, ws_arm_name(x->arm));
}

ws_status ws_eval_write(const ws_eval *e, const char *name, const ws_str *text, ws_err *err) {
    if (!e->o->out) return WS_OK; /* only what is printed is wanted */
    char *path = ws_path_join(e->o->out, name);
    ws_status st = ws_file_write(path, text->p, text->n, err);
    free(path);
    return st;
}
