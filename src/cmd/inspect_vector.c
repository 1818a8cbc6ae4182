#include "cmd/inspect_vector.h"
#include "io/json.h"
#include "steer/steer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything before the key of a tensor: "layer12", "sub::layers.12.mlp.down_proj"; NULL for "shared.<key>". */
static char *site_of(const char *name) {
    const char *end = !strncmp(name, "sub::", 5) ? strstr(name + 5, "::") : strrchr(name, '.');
    if (!end || !strncmp(name, "shared.", 7)) return NULL;
    return ws_xstrndup(name, (size_t)(end - name));
}

static json_t *sites_of(const ws_safetensors *s) {
    json_t *list = json_array(), *seen = json_object();
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        char *site = site_of(ws_safetensors_at(s, i)->name);
        if (site && !json_object_get(seen, site)) {
            json_object_set_new(seen, site, json_true());
            json_array_append_new(list, json_string(site));
        }
        free(site);
    }
    json_decref(seen);
    return list;
}

static void states(json_t *report, const ws_safetensors *s) {
    int64_t rows[2] = {0};
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        const ws_tensor *t = ws_safetensors_at(s, i);
        size_t n = strlen(t->name);
        if (t->dims != 2) continue;
        rows[n > 7 && !strcmp(t->name + n - 7, "neutral")] = t->dim[0];
    }
    json_object_set_new(report, "states",
                        json_pack("{s:I, s:I, s:o}", "pairs", (json_int_t)rows[0], "neutral", (json_int_t)rows[1],
                                  "sites", sites_of(s)));
}

int ws_inspect_vector(json_t *report, const ws_safetensors *s) {
    const json_t *meta = ws_safetensors_meta(s);
    const char *format = json_string_value(json_object_get(meta, "format")),
               *text = json_string_value(json_object_get(meta, "cfg")),
               *norm = json_string_value(json_object_get(meta, "state_norm"));
    int ours = format && !strcmp(format, "ws-vector");
    if (format && !strcmp(format, "ws-states")) {
        json_object_set_new(report, "kind", json_string("states"));
        states(report, s);
        return 1;
    }
    if (!ours && (!text || (format && !strncmp(format, "ws-", 3)))) return 0;
    json_t *cfg = NULL;
    ws_err none;
    if (text) (void)ws_json_parse(&cfg, text, strlen(text), "cfg", &none);
    const char *method = json_string_value(json_object_get(cfg, "method"));
    if (!ours && !method) {
        json_decref(cfg);
        return 0;
    }
    const ws_steer_ops *ops = method ? ws_steer_named(method) : NULL;
    json_object_set_new(report, "kind", json_string("vector"));
    json_t *v = json_pack("{s:s?, s:s?, s:s?, s:o, s:s}", "method", method, "title", ops ? ops->title : NULL, "unit",
                          ops ? ops->unit : NULL, "sites", sites_of(s), "made_by", ours ? "ws" : "steering-lite");
    json_object_set_new(v, "layers",
                        json_incref(json_object_get(cfg, "layers") ? json_object_get(cfg, "layers") : json_null()));
    json_object_set_new(v, "state_norm", norm ? json_real(strtod(norm, NULL)) : json_null());
    json_object_set_new(v, "identity_at_zero", ops ? json_boolean(ops->identity_at_zero) : json_null());
    json_object_set_new(v, "cfg", cfg ? cfg : json_null());
    json_object_set_new(report, "vector", v);
    return 1;
}

static const char *str(const json_t *o, const char *key, const char *none) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : none;
}

int ws_inspect_vector_print(const json_t *report) {
    const json_t *v = json_object_get(report, "vector"), *s = json_object_get(report, "states");
    if (!v && !s) return 0;
    const json_t *sites = json_object_get(v ? v : s, "sites"), *norm = json_object_get(v, "state_norm");
    if (v) {
        printf("%-12s %s\n", "method", str(v, "method", "unknown to this build"));
        printf("%-12s %s\n", "map", str(v, "title", "-"));
        printf("%-12s %s\n", "strength", str(v, "unit", "-"));
        if (json_is_number(norm)) printf("%-12s %.6g, the median of the states\n", "length", json_number_value(norm));
        if (json_is_false(json_object_get(v, "identity_at_zero")))
            printf("%-12s not the base: the map is no identity there\n", "towards 0");
        printf("%-12s %s\n", "made by", str(v, "made_by", "-"));
    } else
        printf("%-12s %lld%s\n", "pairs", (long long)json_integer_value(json_object_get(s, "pairs")),
               json_integer_value(json_object_get(s, "neutral")) ? ", and a neutral corpus" : "");
    size_t n = json_array_size(sites);
    printf("%-12s %zu:", "sites", n);
    for (size_t i = 0; i < n && (i < 4 || n <= 6); i++) printf(" %s", json_string_value(json_array_get(sites, i)));
    if (n > 6) printf(" ... %s", json_string_value(json_array_get(sites, n - 1)));
    printf("\n");
    return 1;
}
