#include "cmd/inspect_edits.h"
#include "delta/side.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }
static double norm_of(const json_t *site) {
    const json_t *n = json_object_get(site, "norm");
    return json_is_number(n) ? json_number_value(n) : NAN;
}

/* The layer in "model.layers.12.mlp.up_proj"; -1: none. */
static int layer_of(const char *site) {
    const char *p = strstr(site, "layers.");
    return p && p[7] >= '0' && p[7] <= '9' ? (int)strtol(p + 7, NULL, 10) : -1;
}

/* "norm" and "layers" from the sites, where every site's norm is known. */
static void add_layers(json_t *report) {
    const json_t *sites = json_object_get(report, "sites");
    json_t *layers = json_array(), *s;
    double total = 0;
    size_t i;
    int last = -1;
    json_array_foreach(sites, i, s) {
        const int l = layer_of(json_string_value(json_object_get(s, "site")));
        total += norm_of(s) * norm_of(s);
        if (l > last) last = l;
    }
    for (int l = 0; l <= last && l < 100000; l++) {
        double square = 0;
        int n = 0;
        json_array_foreach(sites, i, s) if (layer_of(json_string_value(json_object_get(s, "site"))) == l) square +=
            norm_of(s) * norm_of(s),
            n++;
        if (n)
            json_array_append_new(layers,
                                  json_pack("{s:i, s:i, s:o}", "layer", l, "modules", n, "norm", number(sqrt(square))));
    }
    if (isnan(total)) {
        json_decref(layers);
        return;
    }
    json_object_set_new(report, "norm", number(sqrt(total)));
    json_object_set_new(report, "layers", layers);
}

/* ||U V||_F = sqrt(tr((U'U)(V V'))): k x k products in double, nothing of the size of W.  NaN when out of memory. */
static double product_norm(const ws_tensor *tu, const ws_tensor *tv) {
    int64_t k = tv->dim[0], out = tu->dim[0], in = tv->dim[1];
    float *u = ws_tensor_f32(tu), *v = ws_tensor_f32(tv);
    double sum = 0;
    for (int64_t i = 0; u && v && i < k; i++)
        for (int64_t j = 0; j <= i; j++) {
            double a = 0, b = 0;
            for (int64_t r = 0; r < out; r++) a += (double)u[r * k + i] * (double)u[r * k + j];
            for (int64_t c = 0; c < in; c++) b += (double)v[i * in + c] * (double)v[j * in + c];
            sum += (i == j ? 1 : 2) * a * b;
        }
    if (!u || !v) sum = NAN;
    free(u), free(v);
    return sqrt(sum > 0 || isnan(sum) ? sum : 0);
}

static double dense_norm(const ws_tensor *t) {
    const int64_t rows = t->dim[0], cols = t->dim[1];
    float *row = ws_xmalloc((size_t)cols * sizeof *row);
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) {
        ws_tensor_row_f32(t, r, row);
        for (int64_t i = 0; i < cols; i++) sum += (double)row[i] * (double)row[i];
    }
    free(row);
    return sqrt(sum);
}

/* The entry of a module, made where it is new. */
static json_t *entry(json_t *sites, const char *site, size_t n) {
    json_t *o;
    size_t i;
    json_array_foreach(sites, i, o) if (strlen(json_string_value(json_object_get(o, "site"))) == n &&
                                        !strncmp(json_string_value(json_object_get(o, "site")), site, n)) return o;
    o = json_pack("{s:s%, s:s}", "site", site, n, "form", "");
    json_array_append_new(sites, o);
    return o;
}

static void add_form(json_t *o, const char *part) {
    const char *was = json_string_value(json_object_get(o, "form"));
    char *form = ws_sprintf("%s%s%s", was, *was ? " + " : "", part);
    json_object_set_new(o, "form", json_string(form));
    free(form);
}

static void set_shape(json_t *o, int64_t rows, int64_t cols) {
    json_object_set_new(o, "shape", json_pack("[I,I]", (json_int_t)rows, (json_int_t)cols));
}

static int is_matrix(const ws_tensor *t) { return t && t->dims == 2 && ws_dtypes[t->type].is_weight; }

void ws_inspect_dw(json_t *report, const ws_safetensors *s) {
    json_t *sites = json_array();
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        const ws_tensor *t = ws_safetensors_at(s, i);
        const char *dot = strrchr(t->name, '.'), *part = dot ? dot + 1 : "";
        if (!dot) continue;
        json_t *o = entry(sites, t->name, (size_t)(dot - t->name));
        const int first = !*json_string_value(json_object_get(o, "form"));
        char text[64] = "";
        if (!strcmp(part, "U")) {
            char *vn = ws_sprintf("%.*s.V", (int)(dot - t->name), t->name);
            const ws_tensor *v = ws_safetensors_find(s, vn);
            free(vn);
            if (!is_matrix(t) || !is_matrix(v) || t->dim[1] != v->dim[0]) continue;
            json_object_set_new(o, "rank", json_integer(t->dim[1]));
            set_shape(o, t->dim[0], v->dim[1]);
            json_object_set_new(o, "norm", first ? number(product_norm(t, v)) : json_null());
            snprintf(text, sizeof text, "U V");
        } else if (!strcmp(part, "D") && is_matrix(t)) {
            set_shape(o, t->dim[0], t->dim[1]);
            json_object_set_new(o, "norm", first ? number(dense_norm(t)) : json_null());
            snprintf(text, sizeof text, "dense %s", ws_dtypes[t->type].name);
        } else if (!strcmp(part, "db"))
            snprintf(text, sizeof text, "bias");
        else if (*part == 's' || *part == 'E') { /* of W itself: how long that is only the base knows */
            json_object_set_new(o, "norm", json_null());
            if (*part == 's')
                snprintf(text, sizeof text, "rows");
            else if (t->dims == 3)
                snprintf(text, sizeof text, "blocks of %lld", (long long)t->dim[1]);
            else
                snprintf(text, sizeof text, "columns");
        } else
            continue;
        if (strcmp(part, "V")) add_form(o, text);
        if (!first && strcmp(part, "db") && strcmp(part, "V")) json_object_set_new(o, "norm", json_null());
    }
    json_object_set_new(report, "sites", sites);
    add_layers(report);
}

/* Rank, blocks or scales by the tensor that tells; NULL: another tensor of the same module. */
static char *adapter_form(json_t *o, const char *suffix, const ws_tensor *t) {
    const int64_t rows = t->dims > 0 ? t->dim[0] : 0, cols = t->dims > 1 ? t->dim[1] : 0;
    if (!strcmp(suffix, "lora_A.weight") || !strcmp(suffix, "delora_A")) {
        json_object_set_new(o, "rank", json_integer(rows));
        return ws_sprintf("rank %lld", (long long)rows);
    }
    if (!strcmp(suffix, "lora_magnitude_vector")) return ws_sprintf("magnitude");
    if (!strcmp(suffix, "oft_R.weight")) /* b (b - 1) / 2 numbers a block */
        return ws_sprintf("%lld blocks of %.0f", (long long)rows, (1 + sqrt(1 + 8 * (double)cols)) / 2);
    if (!strcmp(suffix, "boft_R"))
        return ws_sprintf("%lld x %lld blocks of %lld", (long long)rows, (long long)cols,
                          (long long)(t->dims > 2 ? t->dim[2] : 0));
    if (!strcmp(suffix, "ia3_l"))
        return ws_sprintf(rows == 1 ? "%lld inputs" : "%lld outputs", (long long)(rows == 1 ? cols : rows));
    return NULL;
}

void ws_inspect_adapter(json_t *report, const ws_safetensors *s) {
    static const char prefix[] = "base_model.model.";
    static const char *const starts[] = {".lora_", ".delora_", ".oft_", ".boft_", ".ia3_"};
    json_t *sites = json_array();
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        const ws_tensor *t = ws_safetensors_at(s, i);
        const char *site = t->name, *end = NULL;
        if (!strncmp(site, prefix, sizeof prefix - 1)) site += sizeof prefix - 1;
        for (size_t k = 0; k < sizeof starts / sizeof *starts && !end; k++) end = strstr(site, starts[k]);
        if (!end) continue;
        json_t *o = entry(sites, site, (size_t)(end - site));
        char *form = adapter_form(o, end + 1, t);
        if (form) add_form(o, form);
        free(form);
        int64_t out = 0, in = 0;
        if (!strcmp(end + 1, "lora_A.weight") || !strcmp(end + 1, "delora_A")) in = t->dims == 2 ? t->dim[1] : 0;
        if (!strcmp(end + 1, "lora_B.weight") || !strcmp(end + 1, "delora_B")) out = t->dims == 2 ? t->dim[0] : 0;
        const json_t *was = json_object_get(o, "shape");
        if (in || out)
            set_shape(o, out ? out : json_integer_value(json_array_get(was, 0)),
                      in ? in : json_integer_value(json_array_get(was, 1)));
    }
    if (json_array_size(sites))
        json_object_set_new(report, "sites", sites);
    else
        json_decref(sites);
}

ws_status ws_inspect_on_base(json_t *report, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_delta *d;
    json_t *sites = json_array(), *known = json_object_get(report, "sites");
    if (ws_delta_open(&d, m, path, force, err)) {
        json_decref(sites);
        return err->code;
    }
    for (int i = 0; i < ws_delta_n_sites(d); i++) {
        const ws_edit *e = ws_delta_edit(d, i);
        const char *name = ws_model_site(m, ws_delta_site(d, i))->name;
        json_t *o = json_pack("{s:s, s:s}", "site", name, "form", ""), *k;
        size_t j;
        json_array_foreach(known, j, k) /* the form as the file has it */
            if (!strcmp(json_string_value(json_object_get(k, "site")), name))
                json_object_set(o, "form", json_object_get(k, "form"));
        json_object_set_new(o, "rank", json_integer(e->k));
        set_shape(o, e->d_out, e->d_in);
        json_object_set_new(o, "norm", number(ws_delta_site_norm(d, i)));
        json_array_append_new(sites, o);
    }
    json_object_set_new(report, "sites", sites);
    add_layers(report);
    json_object_set_new(report, "norm_ratio", number(ws_delta_norm(d) / ws_delta_weight_norm(d)));
    ws_delta_free(d);
    return WS_OK;
}

/* ---------- text ---------- */

static void print_norm(const json_t *n) {
    if (json_is_number(n))
        printf("%.6g\n", json_number_value(n));
    else
        puts(n ? "needs the base" : "");
}

void ws_inspect_print_sites(const json_t *report) {
    const json_t *norm = json_object_get(report, "norm"), *ratio = json_object_get(report, "norm_ratio"),
                 *layers = json_object_get(report, "layers");
    const int dw = norm || layers;
    json_t *s;
    size_t i;
    if (json_is_number(norm)) printf("%-12s %.9g\n", "||dW||", json_number_value(norm));
    if (json_is_number(ratio)) printf("%-12s %.6g of the touched matrices'\n", "", json_number_value(ratio));
    printf("\n%-44s %-24s %-16s %s\n", "site", "form", "shape", "||dW||");
    json_array_foreach(json_object_get(report, "sites"), i, s) {
        const json_t *shape = json_object_get(s, "shape");
        char text[48] = "", form[64];
        if (shape && json_integer_value(json_array_get(shape, 0)) && json_integer_value(json_array_get(shape, 1)))
            snprintf(text, sizeof text, "[%lld, %lld]", (long long)json_integer_value(json_array_get(shape, 0)),
                     (long long)json_integer_value(json_array_get(shape, 1)));
        const char *f = json_string_value(json_object_get(s, "form"));
        const json_t *rank = json_object_get(s, "rank");
        if (!strncmp(f, "U V", 3) && rank)
            snprintf(form, sizeof form, "U V, %lld%s", (long long)json_integer_value(rank), f + 3);
        else
            snprintf(form, sizeof form, "%s", f);
        printf("%-44s %-24s %-16s ", json_string_value(json_object_get(s, "site")), form, text);
        print_norm(json_object_get(s, "norm"));
    }
    if (json_array_size(layers)) printf("\n%-8s %8s  %s\n", "layer", "modules", "||dW||");
    json_array_foreach(layers, i, s) {
        printf("%-8lld %8lld  ", (long long)json_integer_value(json_object_get(s, "layer")),
               (long long)json_integer_value(json_object_get(s, "modules")));
        print_norm(json_object_get(s, "norm"));
    }
    if (!dw) puts("\nHow far it moves the weights depends on the base: --model BASE tells, by module and layer.");
}
