/* src/export/peft_dir.c - what the rooms that write PEFT directories share. */
#include "adapter/room.h"
#include "base/log.h"
#include "export/export.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *ws_export_config(const char *kind, const ws_model *m, const int *site, int n) {
    json_t *config = NULL, *targets = json_array();
    for (int i = 0; ws_adapter_rooms[i] && !config; i++)
        if (!strcmp(ws_adapter_rooms[i]->name, kind)) config = json_loads(ws_adapter_rooms[i]->config, 0, NULL);
    for (int i = 0; i < n; i++) json_array_append_new(targets, json_string(ws_model_site(m, site[i])->name));
    if (config) {
        json_object_set(config, "target_modules", targets); /* exact names: PEFT takes them whatever the layers */
        json_object_set_new(config, "inference_mode", json_true());
    }
    json_decref(targets);
    return config;
}

ws_status ws_export_write_peft(const ws_export *x, const char *dir, const json_t *config, ws_tensor *t, size_t n,
                               ws_err *err) {
    ws_status st = WS_OK;
    for (size_t i = 0; i < n && !st; i++) {
        const float *v = t[i].data;
        int64_t numel = ws_tensor_numel(&t[i]);
        t[i].type = WS_F32, t[i].bytes = (size_t)numel * sizeof *v;
        for (int64_t k = 0; k < numel && !st; k++)
            if (!isfinite(v[k]))
                st = ws_fail(err, WS_ENONFINITE, "%s would hold NaN or infinity; nothing is written", t[i].name);
        char *key = ws_sprintf("base_model.model.%s", t[i].name);
        free(t[i].name);
        t[i].name = key;
    }
    if (!st) st = ws_adapter_write_base(x->m, dir, err);
    if (!st) st = ws_peft_write(dir, config, t, n, err);
    return st;
}
