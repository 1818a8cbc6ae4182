#include "calibrate/probes.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ws_status keep(void *arg, json_t *v, long line, ws_err *err) {
    ws_probes *p = arg;
    const json_t *kl = json_object_get(v, "kl");
    int ok = json_is_string(json_object_get(v, "key")) && json_is_number(json_object_get(v, "alpha")) &&
             json_array_size(kl) > 0;
    for (size_t i = 0; ok && i < json_array_size(kl); i++) ok = json_array_size(json_array_get(kl, i)) > 0;
    if (!ok) return ws_fail(err, WS_EFORMAT, "%s:%ld: not a probe record; start anew with --fresh", p->file.path, line);
    json_array_append(p->seen, v);
    return WS_OK;
}

ws_status ws_probes_open(ws_probes *p, const char *path, ws_err *err) {
    memset(p, 0, sizeof *p);
    if (ws_lines_open(&p->file, path, err)) return err->code;
    p->seen = json_array();
    ws_status st = ws_jsonl_each(path, keep, p, err);
    if (st) {
        ws_probes_close(p, NULL);
        return st;
    }
    return WS_OK;
}

ws_status ws_probes_close(ws_probes *p, ws_err *err) {
    if (!p->seen) return WS_OK;
    json_decref(p->seen);
    p->seen = NULL;
    return ws_lines_close(&p->file, err);
}

int ws_probes_find(const ws_probes *p, const char *key, double alpha, ws_kl_result *out, double *seconds, int *batch) {
    size_t i;
    const json_t *v;
    json_array_foreach(p->seen, i, v) {
        if (strcmp(json_string_value(json_object_get(v, "key")), key) ||
            json_number_value(json_object_get(v, "alpha")) != alpha)
            continue;
        const json_t *kl = json_object_get(v, "kl");
        ws_kl_result r = {.n_prompts = (int)json_array_size(kl)};
        for (int q = 0; q < r.n_prompts; q++) {
            int n = (int)json_array_size(json_array_get(kl, (size_t)q));
            if (n > r.n_tokens) r.n_tokens = n;
        }
        r.n = ws_xcalloc((size_t)r.n_prompts, sizeof *r.n);
        r.kl = ws_xcalloc((size_t)r.n_prompts * (size_t)r.n_tokens, sizeof *r.kl);
        for (int q = 0; q < r.n_prompts; q++) {
            const json_t *row = json_array_get(kl, (size_t)q);
            r.n[q] = (int)json_array_size(row);
            for (int t = 0; t < r.n[q]; t++)
                r.kl[(int64_t)q * r.n_tokens + t] = json_number_value(json_array_get(row, (size_t)t));
        }
        *out = r;
        *seconds = json_number_value(json_object_get(v, "seconds"));
        *batch = (int)json_integer_value(json_object_get(v, "batch"));
        return 1;
    }
    return 0;
}

ws_status ws_probes_add(ws_probes *p, const char *key, const char *method, const char *set, double alpha,
                        const ws_kl_result *r, double seconds, int batch, ws_err *err) {
    json_t *kl = json_array();
    for (int q = 0; q < r->n_prompts; q++) {
        json_t *row = json_array();
        for (int t = 0; t < r->n[q]; t++) json_array_append_new(row, json_real(r->kl[(int64_t)q * r->n_tokens + t]));
        json_array_append_new(kl, row);
    }
    json_t *v = json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:o}", "key", key, "method", method, "set", set, "alpha",
                          alpha, "seconds", seconds, "batch", batch, "kl", kl);
    if (!v) BUG("a probe record cannot be written as JSON");
    ws_str line = {0};
    ws_json_dump(v, &line, 1);
    ws_status st = ws_lines_add(&p->file, line.p, line.n, err);
    json_array_append_new(p->seen, v);
    ws_str_free(&line);
    return st;
}
