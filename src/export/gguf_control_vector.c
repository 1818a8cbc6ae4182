/* src/export/gguf_control_vector.c - a hidden-state method that adds one direction a layer, as a control vector for llama.cpp:
 * `--control-vector FILE` runs it at the strength that was exported, `--control-vector-scaled FILE:X` at X times that. */
#include "export/export.h"
#include "steer/control_vector.h"
WS_ROOM(gguf_control_vector)

static ws_status check(ws_export *x, ws_err *err) { return ws_control_vector_check(x->v, err); }
static ws_status write(ws_export *x, const char *path, ws_err *err) {
    return ws_control_vector_save(x->v, x->strength, path, err);
}

const ws_export_ops ws_export_gguf_control_vector = {
    .name = "gguf-control-vector",
    .title = "a control vector for llama.cpp, of a method that adds one direction a layer",
    .of_vector = 1,
    .check = check,
    .write = write,
    .reopen = ws_export_hang_back,
};
