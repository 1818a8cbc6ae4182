/* src/steer/dw.c - contrastive weight steering: W + alpha dW (Fierro & Roger 2025, arXiv:2511.05408).
 * Opens what `ws diff` writes, and adapters as dW = theta - base: PEFT directories and llama.cpp's LoRA GGUFs. */
#include "delta/side.h"
#include "steer/steer.h"
#include <stdlib.h>

WS_ROOM(dw)

static ws_status load(ws_method *m, const ws_model *model, const char *path, int force, ws_err *err) {
    ws_delta *d = NULL;
    if (ws_delta_open(&d, model, path, force, err)) return err->code;
    const char *name = ws_delta_source(d, "name");
    if (name && *name) m->name = ws_xstrdup(name);
    m->impl = d;
    m->patch = ws_delta_patch(d);
    return WS_OK;
}

static void release(ws_method *m) { ws_delta_free(m->impl); }

static double relative_norm(const ws_method *m) { return ws_delta_norm(m->impl) / ws_delta_weight_norm(m->impl); }

ws_delta *ws_method_delta(const ws_method *m) { return m->ops->load == load ? m->impl : NULL; }

const ws_steer_ops ws_steer_dw = {
    .name = "dw",
    .title = "weights moved along dW = theta_pos - theta_neg",
    .format = "ws-dw",
    .unit = "times dW",
    .bracket_lo = 0.05,
    .bracket_hi = 16,
    .far = 4,
    .far_note = "is far beyond 1: dW is extrapolated past what the two adapters were trained to do",
    .identity_at_zero = 1,
    .two_sided = 1,
    .load = load,
    .free = release,
    .relative_norm = relative_norm,
};
