/* libFuzzer target: the GGUF reader, its metadata, and the config and names made of it. */
#include "io/gguf_config.h"
#include "io/names.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    ws_gguf *g;
    ws_err err;
    json_t *config;
    if (ws_gguf_parse(&g, data, n, "fuzz", &err)) return 0;
    for (size_t i = 0; i < ws_gguf_count(g); i++) {
        const ws_tensor *t = ws_gguf_at(g, i);
        free(ws_name_from_gguf(t->name));
        if (ws_dtypes[t->type].is_weight && ws_tensor_numel(t) < 1 << 20) free(ws_tensor_f32(t));
    }
    json_decref(ws_gguf_meta_json(g));
    if (!ws_gguf_config(g, "fuzz", &config, &err)) json_decref(config);
    ws_gguf_close(g);
    return 0;
}
