/* src/adapter/lowrank.h - what the rooms of PEFT's LoRA family share: LoRA, DoRA, PiSSA (one peft_type, two thin factors). */
#ifndef WS_ADAPTER_LOWRANK_H
#define WS_ADAPTER_LOWRANK_H
#include "adapter/room.h"

enum { WS_LOWRANK_A, WS_LOWRANK_B, WS_LOWRANK_MORE }; /* order of a site's tensors; a room's own come after */

#define WS_LOWRANK_TARGETS "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
/* The key set that PEFT 0.21.2 writes; `init` and `dora` are JSON. */
#define WS_LOWRANK_CONFIG(init, dora)                                                                                  \
    "{\"alora_invocation_tokens\":null,\"alpha_pattern\":{},\"arrow_config\":null,\"auto_mapping\":null,"              \
    "\"base_model_name_or_path\":null,\"bias\":\"none\",\"corda_config\":null,\"ensure_weight_tying\":false,"          \
    "\"eva_config\":null,\"exclude_modules\":null,\"fan_in_fan_out\":false,\"inference_mode\":true,"                   \
    "\"init_lora_weights\":" init ",\"kasa_config\":null,\"layer_replication\":null,\"layers_pattern\":null,"          \
    "\"layers_to_transform\":null,\"loftq_config\":{},\"lora_alpha\":8,\"lora_bias\":false,\"lora_dropout\":0.0,"      \
    "\"lora_ga_config\":null,\"megatron_config\":null,\"megatron_core\":\"megatron.core\",\"modules_to_save\":null,"   \
    "\"monteclora_config\":null,\"peft_type\":\"LORA\",\"peft_version\":\"0.21.2\",\"qalora_group_size\":16,"          \
    "\"r\":8,\"rank_pattern\":{},\"revision\":null,\"target_modules\":null,\"target_parameters\":null,"                \
    "\"task_type\":\"CAUSAL_LM\",\"trainable_token_indices\":null,\"use_bdlora\":null,\"use_dora\":" dora ","          \
    "\"use_qalora\":false,\"use_rslora\":false,\"velora_config\":null}"

int ws_lowrank_is_dora(const json_t *config);  /* use_dora */
int ws_lowrank_is_pissa(const json_t *config); /* init_lora_weights "pissa..." */

/* Refuses, by key, what changes the meaning; init_lora_weights is refused where it changes the base weights, "pissa..."
 * left to the caller. */
ws_status ws_lowrank_check(const json_t *config, const char *where, ws_err *err);
/* Rank, lora_alpha and scale from r, lora_alpha, their patterns and use_rslora. */
ws_status ws_lowrank_site(ws_adapted *s, const json_t *config, const char *key, const char *where, ws_err *err);
/* lora_A [r, d_in] and lora_B [d_out, r]; returns 2. */
int ws_lowrank_tensors(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]);
/* torch's stream: A kaiming uniform, B zeros. */
void ws_lowrank_init(ws_adapted *s, ws_mt *r);
/* bt [r, d_out] = B'. */
void ws_lowrank_turn(float *bt, const float *b, int64_t d_out, int64_t r);

/* A product of k >= r thin rows and columns, of which the first r are the trained A and B. */
typedef struct ws_lowrank {
    int64_t k;
    const float *a, *bt; /* [k, d_in], [k, d_out] */
} ws_lowrank;
/* y += alpha s H B', H = x A'.  c->saved, if any: s H [n, k]. */
void ws_lowrank_forward(const ws_adapted *s, ws_lowrank f, const ws_patch_call *c);
/* The same as H V (model/patch.h). */
void ws_lowrank_beside(const ws_adapted *s, ws_lowrank f, const ws_patch_call *c, ws_beside *out);
void ws_lowrank_beside_gx(const ws_adapted *s, ws_lowrank f, const ws_patch_grad *g, ws_beside *out);
/* Gradients of A and B from gy and the saved s H; gx += s (gy B) A, over all k. */
void ws_lowrank_backward(const ws_adapted *s, ws_lowrank f, const ws_patch_grad *g);
/* s B A as an edit: U = s B, V = A. */
ws_status ws_lowrank_edit(const ws_adapted *s, ws_edit *out, ws_err *err);
#endif
