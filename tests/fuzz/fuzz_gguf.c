/* libFuzzer target: the GGUF reader, its metadata, and the config, names, orders and values made of it. */
#include "io/gguf_config.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What is done with a tensor: whole, and a row by itself. */
static void use(const ws_tensor *t) {
    const int64_t numbers = ws_tensor_numel(t);
    if (!ws_dtypes[t->type].is_weight || numbers >= 1 << 20) return;
    free(ws_tensor_f32(t));
    float *row = malloc((size_t)(numbers + 1) * sizeof *row);
    if (row && numbers) ws_tensor_row_f32(t, t->dims ? t->dim[0] - 1 : 0, row);
    free(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    ws_gguf *g;
    ws_err err;
    json_t *config;
    ws_tensor t;
    if (ws_gguf_parse(&g, data, n, "fuzz", &err)) return 0;
    for (size_t i = 0; i < ws_gguf_count(g); i++) use(ws_gguf_at(g, i));
    json_decref(ws_gguf_meta_json(g));
    if (!ws_gguf_config(g, "fuzz", &config, &err)) {
        for (size_t i = 0; i < ws_gguf_count(g); i++) {
            if (ws_gguf_tensor(g, i, config, "fuzz", &t, &err) || !t.name) continue;
            use(&t);
            free(t.name);
        }
        json_decref(config);
    }
    ws_gguf_close(g);
    return 0;
}
