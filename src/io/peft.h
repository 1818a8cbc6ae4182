/* src/io/peft.h - a PEFT adapter directory as files: adapter_config.json + adapter_model.safetensors (adapters.md 1.6).
 * What the tensors mean belongs to src/adapter. */
#ifndef WS_IO_PEFT_H
#define WS_IO_PEFT_H
#include "io/safetensors.h"
typedef struct ws_peft_dir {
    json_t *config;
    ws_safetensors *tensors;
    char *path;
} ws_peft_dir;
/* Also follows a single sub-directory that holds an adapter ("default"). */
ws_status ws_peft_open(ws_peft_dir *d, const char *dir, ws_err *err);
void ws_peft_close(ws_peft_dir *d);
/* Sorted keys (objects inside keep their order), indent 2, no trailing newline; both files atomically, tensors first. */
ws_status ws_peft_write(const char *dir, const json_t *config, const ws_tensor *t, size_t n, ws_err *err);
#endif
