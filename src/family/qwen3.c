/* src/family/qwen3.c - Qwen3 dense (models.md 2.3, 3.3, 6): RMSNorm on every head of q and k before RoPE, and a
 * head_dim that need not be hidden / heads. */
#include "family/family.h"
WS_ROOM(qwen3)

static ws_status bind_qwen3(ws_arch *a, ws_binder *b, ws_err *err) {
    const ws_config_rules rules = {.head_dim = 128, .kv_heads = 32};
    int bias = 0;
    if (ws_config_read(a, b, &rules, err) || ws_config_no_window(b, err) ||
        ws_config_flag(b, "attention_bias", 0, &bias, err) || ws_bind_ends(a, b, 0, err))
        return err->code;
    ws_bind_blocks(a, b, &(ws_block_parts){.qkv_bias = bias, .o_bias = bias, .qk_norm = 1});
    return WS_OK;
}

static const char *const types[] = {"qwen3", NULL};
const ws_family ws_family_qwen3 = {"qwen3", types, bind_qwen3};
