#include "io/names.h"
#include "base/err.h"
#include "base/str.h"
#include <stdlib.h>
#include <string.h>

static int starts(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }
static int ends(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}

ws_name_kind ws_name_canonical(const char *name, char **out) {
    static const char *const ignored[] = {"model.visual.",
                                          "visual.",
                                          "vision_tower.",
                                          "model.vision_tower.",
                                          "multi_modal_projector.",
                                          "model.multi_modal_projector.",
                                          "mtp.",
                                          "model.mtp."};
    static const char *const buffers[] = {".rotary_emb.inv_freq", ".masked_bias", ".attn.bias"};
    static const struct {
        const char *seen, *canonical;
    } prefixes[] = {{"model.language_model.lm_head.", "lm_head."},
                    {"model.language_model.", "model."},
                    {"language_model.model.", "model."},
                    {"language_model.lm_head.", "lm_head."},
                    {"lm_head.", "lm_head."},
                    {"model.", "model."},
                    {"embed_tokens.", "model.embed_tokens."},
                    {"layers.", "model.layers."},
                    {"norm.weight", "model.norm.weight"}};
    *out = NULL;
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (starts(name, ignored[i])) return WS_NAME_IGNORED;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (ends(name, buffers[i])) return WS_NAME_IGNORED;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (starts(name, prefixes[i].seen)) {
            *out = ws_sprintf("%s%s", prefixes[i].canonical, name + strlen(prefixes[i].seen));
            return WS_NAME_DECODER;
        }
    return WS_NAME_UNKNOWN;
}

/* Names of a GGUF (the `gguf` package's tensor table) beside Hugging Face's; .weight and .bias follow. */
static const struct {
    const char *gguf, *hf;
} whole[] = {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}},
  block[] = {{"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
             {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
             {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
             {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
             {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
             {"ffn_down", "mlp.down_proj"}};

/* 1 when `s` begins with `part` and ".weight" or ".bias" is all that follows. */
static int is_part(const char *s, const char *part, const char **suffix) {
    *suffix = s + strlen(part);
    return starts(s, part) && (!strcmp(*suffix, ".weight") || !strcmp(*suffix, ".bias"));
}

/* Length of a plain layer number ("0", "12", no leading zero) followed by a dot; 0: none. */
static size_t layer_digits(const char *s) {
    size_t n = strspn(s, "0123456789");
    return n && n <= 6 && s[n] == '.' && (n == 1 || *s != '0') ? n : 0;
}

char *ws_name_from_gguf(const char *name) {
    const char *suffix;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (is_part(name, whole[i].gguf, &suffix)) return ws_sprintf("%s%s", whole[i].hf, suffix);
    if (!starts(name, "blk.")) return NULL;
    const char *layer = name + 4;
    size_t n = layer_digits(layer);
    if (!n) return NULL;
    for (size_t i = 0; i < sizeof block / sizeof *block; i++)
        if (is_part(layer + n + 1, block[i].gguf, &suffix))
            return ws_sprintf("model.layers.%.*s.%s%s", (int)n, layer, block[i].hf, suffix);
    return NULL;
}

char *ws_name_to_gguf(const char *canonical) {
    const char *suffix;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (is_part(canonical, whole[i].hf, &suffix)) return ws_sprintf("%s%s", whole[i].gguf, suffix);
    if (!starts(canonical, "model.layers.")) return NULL;
    const char *layer = canonical + strlen("model.layers.");
    size_t n = layer_digits(layer);
    if (!n) return NULL;
    for (size_t i = 0; i < sizeof block / sizeof *block; i++)
        if (is_part(layer + n + 1, block[i].hf, &suffix))
            return ws_sprintf("blk.%.*s.%s%s", (int)n, layer, block[i].gguf, suffix);
    return NULL;
}
