/* libFuzzer target: the safetensors reader, and the canonical names of what it finds. */
#include "io/names.h"
#include "io/safetensors.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    ws_safetensors *s;
    ws_err err;
    if (ws_safetensors_parse(&s, data, n, "fuzz", &err)) return 0;
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        const ws_tensor *t = ws_safetensors_at(s, i);
        char *canonical;
        ws_name_canonical(t->name, &canonical);
        free(canonical);
        if (ws_dtypes[t->type].is_weight && ws_tensor_numel(t) < 1 << 20) free(ws_tensor_f32(t));
    }
    ws_safetensors_close(s);
    return 0;
}
