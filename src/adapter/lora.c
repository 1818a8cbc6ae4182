/* src/adapter/lora.c - LoRA: a product of two thin matrices beside each adapted linear.
 * Hu et al. 2021, arXiv:2106.09685; arithmetic of PEFT (adapters.md 2.1), checked against PEFT 0.21.2.
 *     Y = X W^T + b + s (X A^T) B^T        delta = s B A
 * A starts as kaiming uniform noise and B as zeros, so a fresh adapter is the base model. */
#include "adapter/lowrank.h"

WS_ROOM(lora)

enum { A = WS_LOWRANK_A, B };

static int claims(const json_t *c) { return !ws_lowrank_is_dora(c) && !ws_lowrank_is_pissa(c); }

/* B is kept transposed, [r, d_out]. */
static int64_t derived_floats(const ws_adapted *s) { return s->at->d_out * s->rank; }
static void refresh(ws_adapted *s) { ws_lowrank_turn(s->derived, s->p[B].value, s->at->d_out, s->rank); }

static ws_lowrank factors(const ws_adapted *s) { return (ws_lowrank){s->rank, s->p[A].value, s->derived}; }
static int64_t saved_floats(const ws_adapted *s, int64_t n) { return n * s->rank; }
static void forward(const ws_adapted *s, const ws_patch_call *c) { ws_lowrank_forward(s, factors(s), c); }
static void backward(const ws_adapted *s, const ws_patch_grad *g) { ws_lowrank_backward(s, factors(s), g); }
static void beside(const ws_adapted *s, const ws_patch_call *c, ws_beside *out) {
    ws_lowrank_beside(s, factors(s), c, out);
}
static void beside_gx(const ws_adapted *s, const ws_patch_grad *g, ws_beside *out) {
    ws_lowrank_beside_gx(s, factors(s), g, out);
}

const ws_adapter_ops ws_adapter_lora = {
    .name = "lora",
    .peft_type = "LORA",
    .targets = WS_LOWRANK_TARGETS,
    .honours_layers = WS_LAYERS,
    .config = WS_LOWRANK_CONFIG("true", "false"),
    .rank_key = "r",
    .alpha_key = "lora_alpha",
    .claims = claims,
    .check = ws_lowrank_check,
    .site = ws_lowrank_site,
    .tensors = ws_lowrank_tensors,
    .derived_floats = derived_floats,
    .init = ws_lowrank_init,
    .refresh = refresh,
    .saved_floats = saved_floats,
    .forward = forward,
    .beside = beside,
    .beside_gx = beside_gx,
    .backward = backward,
    .edit = ws_lowrank_edit,
};
