/* src/run/results_rows.c - the rows of a sweep: what the manifest says of each, and the order they stand in. */
#include "io/file.h"
#include "run/results.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *text_at(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? ws_xstrdup(s) : NULL;
}
static double number_at(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

/* What the stages of a row took: "lora: train pos" and so on. */
static void stages_of(const json_t *manifest, const json_t *names, ws_row_results *row) {
    const json_t *all = json_object_get(manifest, "stages"), *name;
    size_t i;
    json_array_foreach(names, i, name) {
        const char *key = json_string_value(name), *what = key ? strstr(key, ": ") : NULL;
        const json_t *rec = key ? json_object_get(all, key) : NULL, *error = json_object_get(rec, "error");
        if (!rec || !what) continue;
        if (json_is_string(error) && !row->error) {
            const char *failed = json_string_value(json_object_get(rec, "failed"));
            row->failed = ws_xstrdup(failed ? failed : key), row->error = ws_xstrdup(json_string_value(error));
        }
        double s = number_at(rec, "seconds"), peak = number_at(rec, "peak_kib") * 1024;
        double *to = !strncmp(what, ": train", 7)   ? &row->train
                     : !strcmp(what, ": calibrate") ? &row->calibrate
                     : !strcmp(what, ": eval")      ? &row->eval
                                                    : NULL;
        if (to && isfinite(s)) *to = isfinite(*to) ? *to + s : s;
        if (to == &row->train && peak > 0 && !(row->peak > peak)) row->peak = peak;
    }
}

/* Shares of ||dW||^2; what stands outside the layers (-1) counts in the whole. */
static ws_status layers_of(const json_t *list, const char *path, ws_row_results *row, ws_err *err) {
    size_t n = json_array_size(list), i;
    double whole = 0;
    const json_t *v;
    row->layer = ws_xcalloc(n + 1, sizeof *row->layer), row->layer_share = ws_xcalloc(n + 1, sizeof *row->layer_share);
    json_array_foreach(list, i, v) {
        json_int_t layer = json_integer_value(json_object_get(v, "layer"));
        double norm = number_at(v, "norm");
        if (!json_is_integer(json_object_get(v, "layer")) || !isfinite(norm) || layer < -1 || layer > INT32_MAX)
            return ws_fail(err, WS_EFORMAT, "%s: layers[%zu] is no {layer, norm}", path, i);
        whole += norm * norm;
        if (layer < 0) continue;
        row->layer[row->n_layers] = (int)layer, row->layer_share[row->n_layers++] = norm * norm;
    }
    for (int k = 0; k < row->n_layers; k++) row->layer_share[k] /= whole;
    return WS_OK;
}

static ws_status geometry_of(const ws_results *r, ws_row_results *row, ws_err *err) {
    char *path = ws_sprintf("%s/%s/diff.json", r->dir, row->name);
    json_t *j = NULL;
    ws_status st = WS_OK;
    if (ws_file_exists(path) && !(st = ws_json_load(&j, path, err))) {
        row->length = number_at(j, "norm") / number_at(j, "norm_w");
        row->parameters = number_at(j, "parameters");
        st = layers_of(json_object_get(j, "layers"), path, row, err);
    }
    json_decref(j);
    free(path);
    return st;
}

/* Methods in the order of the rows, what is no row behind them. */
static void put_in_order(ws_results *r) {
    ws_method_results *m = ws_xcalloc((size_t)r->n + 1, sizeof *m);
    char *taken = ws_xcalloc((size_t)r->n + 1, 1);
    int n = 0;
    for (int i = 0; i < r->n_rows; i++)
        for (int k = 0; k < r->n; k++) {
            if (taken[k] || strcmp(r->m[k].name, r->row[i].name)) continue;
            taken[k] = 1, r->row[i].method = n, m[n++] = r->m[k];
        }
    for (int k = 0; k < r->n; k++)
        if (!taken[k]) m[n++] = r->m[k];
    free(r->m), free(taken);
    r->m = m;
}

ws_status ws_results_rows(ws_results *r, ws_err *err) {
    const json_t *list = json_object_get(r->manifest, "rows"), *v;
    size_t i;
    if (!json_is_array(list) || !json_array_size(list)) return WS_OK;
    r->row = ws_xcalloc(json_array_size(list), sizeof *r->row);
    json_array_foreach(list, i, v) {
        ws_row_results *row = &r->row[r->n_rows];
        const char *name = json_string_value(json_object_get(v, "name"));
        if (!name || strchr(name, '/') || *name == '.')
            return ws_fail(err, WS_EFORMAT, "%s/manifest.json: rows[%zu] has no name of a folder", r->dir, i);
        r->n_rows++;
        *row = (ws_row_results){.name = ws_xstrdup(name),
                                .kind = text_at(v, "kind"),
                                .adapter = text_at(v, "adapter"),
                                .seed = json_integer_value(json_object_get(v, "seed")),
                                .train = NAN,
                                .calibrate = NAN,
                                .eval = NAN,
                                .peak = NAN,
                                .parameters = NAN,
                                .length = NAN,
                                .method = -1};
        if (!row->kind) row->kind = ws_xstrdup("adapter");
        if (!row->adapter && !strcmp(row->kind, "adapter")) row->adapter = ws_xstrdup(name);
        stages_of(r->manifest, json_object_get(v, "stages"), row);
        if (geometry_of(r, row, err)) return err->code;
    }
    put_in_order(r);
    return WS_OK;
}

void ws_results_rows_free(ws_results *r) {
    for (int i = 0; i < r->n_rows; i++) {
        ws_row_results *row = &r->row[i];
        free(row->name), free(row->kind), free(row->adapter), free(row->failed), free(row->error);
        free(row->layer), free(row->layer_share);
    }
    free(r->row);
    r->row = NULL, r->n_rows = 0;
}
