/* src/family/qwen2.c - Qwen2 and Qwen2.5 (models.md 2.4, 3.4, 6): q, k, v always have a bias that the config does not
 * announce. */
#include "family/family.h"
WS_ROOM(qwen2)

static ws_status bind_qwen2(ws_arch *a, ws_binder *b, ws_err *err) {
    const ws_config_rules rules = {.head_dim = 0, .kv_heads = 32};
    if (ws_config_read(a, b, &rules, err) || ws_config_no_window(b, err) || ws_bind_ends(a, b, 0, err))
        return err->code;
    ws_bind_blocks(a, b, &(ws_block_parts){.qkv_bias = 1});
    return WS_OK;
}

static const char *const types[] = {"qwen2", NULL};
const ws_family ws_family_qwen2 = {"qwen2", types, bind_qwen2};
