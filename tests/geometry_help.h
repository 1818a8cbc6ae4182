/* tests/geometry_help.h - whole checkpoints beside the tiny llama of tests/fixtures/peft/model, made by the formula of
 * tools/reference/make_geometry.py, and what numpy found about them (tests/fixtures/geometry). */
#ifndef TESTS_GEOMETRY_HELP_H
#define TESTS_GEOMETRY_HELP_H
#include "peft_help.h"

static inline int tensor_order(const void *a, const void *b) {
    return strcmp(((const ws_tensor *)a)->name, ((const ws_tensor *)b)->name);
}

/* Which parameters of `from` are changed. */
enum { ALL_PARAMETERS, LINEARS, NOTHING };
/* A directory `dir` with the config of `from` and side c's weights in `type`, in two files when `shards`. */
static inline void write_side(const char *from, const char *dir, int c, int which, ws_dtype type, int shards) {
    ws_err err = {0};
    ws_checkpoint *base;
    char *path = ws_sprintf("%s/config.json", from), *to = ws_sprintf("%s/config.json", dir);
    json_t *config, *map = json_object();
    OK(ws_checkpoint_open(&base, from, &err));
    OK(ws_mkdirs(dir, &err));
    OK(ws_json_load(&config, path, &err));
    OK(ws_json_save(config, to, &err));
    size_t n = ws_checkpoint_count(base);
    ws_tensor *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) t[i] = *ws_checkpoint_at(base, i);
    qsort(t, n, sizeof *t, tensor_order);
    for (size_t k = 0; k < n; k++) {
        const int64_t count = ws_tensor_numel(&t[k]);
        const int linear = strstr(t[k].name, "_proj.weight") != NULL;
        const double scale = (c ? 0.03 : 0.02) * (linear ? 1 : 0.25);
        float *v = ws_tensor_f32(&t[k]);
        for (int64_t i = 0; i < count && (which == ALL_PARAMETERS || (which == LINEARS && linear)); i++)
            v[i] =
                (float)((double)v[i] + scale * sin((double)((7 * i * i + 13 * i + 31 * (int64_t)k + 1000 * c) % 9973)));
        for (int64_t i = 0; type == WS_BF16 && i < count; i++) ((uint16_t *)(void *)v)[i] = ws_f32_bf16(v[i]);
        t[k].data = v, t[k].type = type, t[k].bytes = ws_dtype_bytes(type, count);
        t[k].row_order = t[k].col_order = (ws_order){0}, t[k].stored = WS_STORED_PLAIN;
    }
    for (int s = 0; s < (shards ? 2 : 1); s++) {
        char *file = shards ? ws_sprintf("model-0000%d-of-00002.safetensors", s + 1) : ws_sprintf("model.safetensors");
        char *at = ws_sprintf("%s/%s", dir, file);
        size_t first = s ? n / 2 : 0, end = shards && !s ? n / 2 : n;
        OK(ws_safetensors_write(at, t + first, end - first, NULL, &err));
        for (size_t k = first; k < end; k++) json_object_set_new(map, t[k].name, json_string(file));
        free(file), free(at);
    }
    if (shards) {
        char *index = ws_sprintf("%s/model.safetensors.index.json", dir);
        json_t *j = json_pack("{s:{}, s:O}", "metadata", "weight_map", map);
        OK(ws_json_save(j, index, &err));
        json_decref(j);
        free(index);
    }
    for (size_t k = 0; k < n; k++) free((void *)(uintptr_t)t[k].data);
    free(t), free(path), free(to);
    json_decref(config), json_decref(map);
    ws_checkpoint_close(base);
}

static inline json_t *geometry_oracle(void) {
    ws_err err = {0};
    json_t *j;
    OK(ws_json_load(&j, "tests/fixtures/geometry/oracle.json", &err));
    return j;
}
static inline double number_at(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("the oracle has no number %s", key);
    return json_number_value(v);
}
#endif
