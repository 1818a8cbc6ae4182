#include "io/names.h"
#include "base/err.h"
#include "base/str.h"
#include <stdio.h>
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

/* Names of a GGUF (the `gguf` package's tensor table) beside Hugging Face's.  .weight and .bias follow, unless the entry
 * is `exact`. */
typedef struct entry {
    const char *gguf, *hf;
    int exact;
} entry;

static const entry whole[] = {
    {"token_embd", "model.embed_tokens", 0}, {"output_norm", "model.norm", 0}, {"output", "lm_head", 0}, {0}};
static const entry block[] = {{"attn_norm", "input_layernorm", 0},
                              {"attn_q", "self_attn.q_proj", 0},
                              {"attn_k", "self_attn.k_proj", 0},
                              {"attn_v", "self_attn.v_proj", 0},
                              {"attn_output", "self_attn.o_proj", 0},
                              {"attn_q_norm", "self_attn.q_norm", 0},
                              {"attn_k_norm", "self_attn.k_norm", 0},
                              {"ffn_gate", "mlp.gate_proj", 0},
                              {"ffn_up", "mlp.up_proj", 0},
                              {"ffn_down", "mlp.down_proj", 0},
                              {0}};
static const entry plain[] = {{"ffn_norm", "post_attention_layernorm", 0}, {0}};
static const entry qwen35[] = {{"post_attention_norm", "post_attention_layernorm", 0},
                               {"attn_qkv", "linear_attn.in_proj_qkv", 0},
                               {"attn_gate", "linear_attn.in_proj_z", 0},
                               {"ssm_alpha", "linear_attn.in_proj_a", 0},
                               {"ssm_beta", "linear_attn.in_proj_b", 0},
                               {"ssm_conv1d", "linear_attn.conv1d", 0},
                               {"ssm_norm", "linear_attn.norm", 0},
                               {"ssm_out", "linear_attn.out_proj", 0},
                               {"ssm_a", "linear_attn.A_log", 1},
                               {"ssm_dt.bias", "linear_attn.dt_bias", 1},
                               {0}};

/* What `s` is called on the other side, suffix included; NULL: not in this table. */
static char *translate(const entry *table, const char *s, int to_hf) {
    for (const entry *e = table; e->gguf; e++) {
        const char *from = to_hf ? e->gguf : e->hf;
        if (!starts(s, from)) continue;
        const char *suffix = s + strlen(from);
        if (e->exact ? !*suffix : !strcmp(suffix, ".weight") || !strcmp(suffix, ".bias"))
            return ws_sprintf("%s%s", to_hf ? e->hf : e->gguf, suffix);
    }
    return NULL;
}

/* Length of a plain layer number ("0", "12", no leading zero) followed by a dot; 0: none. */
static size_t layer_digits(const char *s) {
    size_t n = strspn(s, "0123456789");
    return n && n <= 6 && s[n] == '.' && (n == 1 || *s != '0') ? n : 0;
}

static char *rename_tensor(const char *arch, const char *name, int to_hf) {
    static const char *const layers[] = {"blk.", "model.layers."};
    char *found = translate(whole, name, to_hf);
    if (found || !starts(name, layers[!to_hf])) return found;
    const char *layer = name + strlen(layers[!to_hf]);
    size_t n = layer_digits(layer);
    if (!n) return NULL;
    char *part = translate(block, layer + n + 1, to_hf);
    if (!part) part = translate(strcmp(arch, "qwen35") ? plain : qwen35, layer + n + 1, to_hf);
    if (part) found = ws_sprintf("%s%.*s.%s", layers[to_hf], (int)n, layer, part);
    free(part);
    return found;
}

char *ws_name_from_gguf(const char *arch, const char *name) { return rename_tensor(arch, name, 1); }
char *ws_name_to_gguf(const char *arch, const char *canonical) { return rename_tensor(arch, canonical, 0); }

/* What llama.cpp's converter and gguf-split append to the name. */
#define PART "-%05zu-of-%05zu.gguf"
enum { PART_LENGTH = 20 };

size_t ws_name_parts(const char *file, size_t *stem) {
    const size_t n = strlen(file);
    char want[64];
    if (n <= PART_LENGTH) return 0;
    const char *tail = file + n - PART_LENGTH, *digits = tail + strlen("-00001-of-");
    const size_t parts = strspn(digits, "0123456789") == 5 ? (size_t)strtoul(digits, NULL, 10) : 0;
    snprintf(want, sizeof want, PART, (size_t)1, parts);
    if (!parts || strcmp(tail, want)) return 0;
    if (stem) *stem = n - PART_LENGTH;
    return parts;
}

char *ws_name_part(const char *first, size_t i) {
    size_t stem = 0, parts = ws_name_parts(first, &stem);
    return ws_sprintf("%.*s" PART, (int)stem, first, i, parts);
}
