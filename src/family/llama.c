/* src/family/llama.c - Llama 3.x and SmolLM2 (models.md 2.5, 3.5, 6): no qk-norm, biases only where the config says so. */
#include "family/family.h"
WS_ROOM(llama)

static ws_status bind_llama(ws_arch *a, ws_binder *b, ws_err *err) {
    const ws_config_rules rules = {.head_dim = 0, .kv_heads = 0};
    int attention = 0, mlp = 0;
    if (ws_config_read(a, b, &rules, err) || ws_config_flag(b, "attention_bias", 0, &attention, err) ||
        ws_config_flag(b, "mlp_bias", 0, &mlp, err) || ws_bind_ends(a, b, 0, err))
        return err->code;
    ws_bind_blocks(a, b, &(ws_block_parts){.qkv_bias = attention, .o_bias = attention, .mlp_bias = mlp});
    return WS_OK;
}

static const char *const types[] = {"llama", NULL};
const ws_family ws_family_llama = {"llama", types, bind_llama};
