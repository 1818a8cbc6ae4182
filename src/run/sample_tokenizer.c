/* src/run/sample_tokenizer.c - tokenizer.json, tokenizer_config.json and chat_template.jinja, generated. */
#include "run/sample_tokenizer.h"
#include "base/str.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Special tokens in the order of their ids (models.md 9.4); a leading ~ marks special = false. */
static const char *const qwen[] = {
    "<|endoftext|>",      "<|im_start|>",     "<|im_end|>",       "<|object_ref_start|>",
    "<|object_ref_end|>", "<|box_start|>",    "<|box_end|>",      "<|quad_start|>",
    "<|quad_end|>",       "<|vision_start|>", "<|vision_end|>",   "<|vision_pad|>",
    "<|image_pad|>",      "<|video_pad|>",    "~<tool_call>",     "~</tool_call>",
    "~<|fim_prefix|>",    "~<|fim_middle|>",  "~<|fim_suffix|>",  "~<|fim_pad|>",
    "~<|repo_name|>",     "~<|file_sep|>",    "~<tool_response>", "~</tool_response>",
    "~<think>",           "~</think>",        "<|audio_start|>",  "<|audio_end|>",
    "<tts_pad>",          "<tts_text_bos>",   "<tts_text_eod>",   "<tts_text_bos_single>",
    "<|audio_pad|>"};
static const char *const smollm[] = {
    "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",       "<repo_name>",      "<reponame>",     "<file_sep>",
    "<filename>",     "<gh_stars>",     "<issue_start>",    "<issue_comment>",  "<issue_closed>", "<jupyter_start>",
    "<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<jupyter_script>", "<empty_output>"};
enum { N_QWEN35 = sizeof qwen / sizeof *qwen, N_QWEN3 = 26, N_SMOLLM = sizeof smollm / sizeof *smollm };

/* Each is built up letter by letter, and then joined to a space before it. */
static const char *const words[] = {"true", "false", "True", "False", "the",   "and",   "you", "that", "is",
                                    "of",   "to",    "a",    "not",   "wrong", "right", "in",  "it",   "I"};
enum { N_WORDS = sizeof words / sizeof *words };

typedef struct layout {
    const char *const *special;
    int n_special;
    int64_t first_special, first_byte;
} layout;

static layout layout_of(const ws_likeness *l) {
    if (l->family == WS_LIKE_LLAMA) return (layout){smollm, N_SMOLLM, 0, N_SMOLLM};
    return (layout){qwen, l->family == WS_LIKE_QWEN35 ? N_QWEN35 : N_QWEN3, l->base, 0};
}

static const char *plain(const char *name, int *special) {
    *special = *name != '~';
    return name + (*name == '~');
}

/* The printable code point that stands for byte b (models.md 9.1), in UTF-8. */
static void byte_text(int b, char out[4]) {
    int point = b;
    if (b <= 0x20)
        point = 0x100 + b;
    else if (b >= 0x7f && b <= 0xa0)
        point = 0x121 + b - 0x7f;
    else if (b == 0xad)
        point = 0x143;
    if (point < 0x80) {
        out[0] = (char)point, out[1] = 0;
    } else {
        out[0] = (char)(0xc0 | point >> 6), out[1] = (char)(0x80 | (point & 0x3f)), out[2] = 0;
    }
}
static const char space[] = "\xc4\xa0"; /* byte 0x20 */

typedef struct table {
    json_t *vocab, *merges;
    int64_t next;
} table;

static void join(table *t, const char *a, const char *b) {
    char text[32];
    snprintf(text, sizeof text, "%s%s", a, b);
    if (json_object_get(t->vocab, text)) return; /* two words that begin alike */
    json_object_set_new(t->vocab, text, json_integer(t->next++));
    json_array_append_new(t->merges, json_pack("[s,s]", a, b));
}

static void merge_words(table *t) {
    for (int w = 0; w < N_WORDS; w++) {
        char begin[16] = {words[w][0], 0};
        for (const char *c = words[w] + 1; *c; c++) {
            const char letter[2] = {*c, 0};
            join(t, begin, letter);
            strcat(begin, letter);
        }
        join(t, space, words[w]);
    }
}

json_t *ws_sample_tokenizer(const ws_likeness *l) {
    const layout k = layout_of(l);
    table t = {json_object(), json_array(), k.first_byte};
    json_t *added = json_array();
    for (int b = 0; b < 256; b++) {
        char text[4];
        byte_text(b, text);
        json_object_set_new(t.vocab, text, json_integer(t.next++));
    }
    merge_words(&t);
    WS_ASSERT(t.next <= l->base);
    while (t.next < l->base) {
        char text[32];
        snprintf(text, sizeof text, "%sunused%lld", space, (long long)t.next);
        json_object_set_new(t.vocab, text, json_integer(t.next++));
    }
    for (int i = 0; i < k.n_special; i++) {
        int special;
        const char *text = plain(k.special[i], &special);
        json_object_set_new(t.vocab, text, json_integer(k.first_special + i)); /* readers then keep the id */
        json_array_append_new(added, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id",
                                               (json_int_t)k.first_special + i, "content", text, "single_word", 0,
                                               "lstrip", 0, "rstrip", 0, "normalized", 0, "special", special));
    }
    const char *marks = l->family == WS_LIKE_QWEN35 ? "\\p{M}" : "";
    char *regex =
        ws_sprintf("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}%s]+|\\p{N}| ?[^\\s\\p{L}%s\\p{N}]+"
                   "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
                   marks, marks);
    json_t *split =
        l->family == WS_LIKE_LLAMA
            ? json_pack("{s:s, s:[{s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type", "Sequence", "pretokenizers", "type",
                        "Digits", "individual_digits", 1, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                        "use_regex", 1)
            : json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type", "Sequence",
                        "pretokenizers", "type", "Split", "pattern", "Regex", regex, "behavior", "Isolated", "invert",
                        0, "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex", 0);
    json_t *j = json_pack(
        "{s:s, s:n, s:n, s:o, s:o, s:o, s:n, s:{s:s, s:b, s:b, s:b}, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, "
        "s:o}}",
        "version", "1.0", "truncation", "padding", "added_tokens", added, "normalizer",
        l->family == WS_LIKE_LLAMA ? json_null() : json_pack("{s:s}", "type", "NFC"), "pre_tokenizer", split,
        "post_processor", "decoder", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex", 0,
        "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
        0, "byte_fallback", 0, "ignore_merges", 0, "vocab", t.vocab, "merges", t.merges);
    WS_ASSERT(j);
    free(regex);
    return j;
}

json_t *ws_sample_tokenizer_config(const ws_likeness *l) {
    const int llama = l->family == WS_LIKE_LLAMA;
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:b, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "eos_token",
                          "<|im_end|>", "pad_token", llama ? "<|im_end|>" : "<|endoftext|>", "model_max_length",
                          (json_int_t)l->max_pos, "add_bos_token", 0, "clean_up_tokenization_spaces", 0);
    WS_ASSERT(j);
    json_object_set_new(j, "bos_token", llama ? json_string("<|im_start|>") : json_null());
    return j;
}

/* What models.md 10.2 says of the family's turns, in our own words.  @...@ marks the parts that differ. */
static const char thinking_template[] =
    "{%- if not messages %}{{- raise_exception('There are no messages.') }}{%- endif %}\n"
    "{%- set at = namespace(query=-1) %}\n"
    "{%- for m in messages %}\n"
    "    {%- if m.role == 'user' %}{%- set at.query = loop.index0 %}{%- endif %}\n"
    "{%- endfor %}\n"
    "@NEEDS_USER@"
    "{%- for m in messages %}\n"
    "    {%- set text = m.content@TRIM@ %}\n"
    "    {%- if m.role == 'assistant' %}\n"
    "        {%- set reasoning = '' %}\n"
    "        {%- if m.reasoning_content is string %}\n"
    "            {%- set reasoning = m.reasoning_content@TRIM@ %}\n"
    "        {%- elif '</think>' in text %}\n"
    "            {%- set reasoning = text.split('</think>')[0].split('<think>')[-1].strip('\\n')@TRIM@ %}\n"
    "            {%- set text = text.split('</think>')[-1].lstrip('\\n') %}\n"
    "        {%- endif %}\n"
    "        {{- '<|im_start|>assistant\\n' }}\n"
    "        {%- if loop.index0 > at.query %}{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}{%- endif %}\n"
    "        {{- text + '<|im_end|>\\n' }}\n"
    "    {%- elif m.role == 'user' or m.role == 'system' %}\n"
    "@SYSTEM_FIRST@"
    "        {{- '<|im_start|>' + m.role + '\\n' + text + '<|im_end|>\\n' }}\n"
    "    {%- else %}{{- raise_exception('A message has a role that is not known here.') }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "@OPEN@"
    "{%- endif %}\n";
static const char plain_template[] = "{%- for m in messages %}\n"
                                     "    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}\n"
                                     "{%- endfor %}\n"
                                     "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}\n";
#define CLOSED "{{- '<think>\\n\\n</think>\\n\\n' }}"

char *ws_sample_template(const ws_likeness *l) {
    if (l->family == WS_LIKE_LLAMA) return ws_xstrdup(plain_template);
    const int new = l->family == WS_LIKE_QWEN35;
    const struct {
        const char *mark, *text;
    } part[] = {
        {"@NEEDS_USER@",
         new ? "{%- if at.query < 0 %}{{- raise_exception('There is no user message.') }}{%- endif %}\n" : ""},
        {"@TRIM@", new ? " | trim" : ""},
        {"@SYSTEM_FIRST@", new ? "        {%- if m.role == 'system' and not loop.first %}"
                                 "{{- raise_exception('A system message comes first or not at all.') }}{%- endif %}\n"
                               : ""},
        {"@OPEN@", !new ? "    {%- if enable_thinking is defined and not enable_thinking %}" CLOSED "{%- endif %}\n"
                   : l->thinks ? "    {%- if enable_thinking is defined and not enable_thinking %}" CLOSED
                                 "{%- else %}{{- '<think>\\n' }}{%- endif %}\n"
                               : "    {%- if enable_thinking is defined and enable_thinking %}{{- '<think>\\n' }}"
                                 "{%- else %}" CLOSED "{%- endif %}\n"}};
    ws_str out = {0};
    for (const char *p = thinking_template; *p;) {
        size_t i, n = sizeof part / sizeof *part;
        for (i = 0; i < n && strncmp(p, part[i].mark, strlen(part[i].mark)); i++) {}
        if (i < n)
            ws_str_adds(&out, part[i].text), p += strlen(part[i].mark);
        else
            ws_str_addc(&out, *p++);
    }
    return ws_str_take(&out);
}

float ws_sample_row_scale(const ws_likeness *l, int64_t id) {
    static int n_words; /* tokens that the merges make */
    const layout k = layout_of(l);
    if (!n_words) {
        table t = {json_object(), json_array(), 0};
        merge_words(&t);
        n_words = (int)t.next;
        json_decref(t.vocab), json_decref(t.merges);
    }
    if (id >= k.first_special && id < k.first_special + k.n_special) {
        const char *text = k.special[id - k.first_special];
        return !strcmp(text, "<|im_end|>") || !strcmp(text, "~</think>") ? 1 : 0.1f;
    }
    int64_t b = id - k.first_byte;
    if (b < 256) return (b >= 0x20 && b < 0x7f) || b == '\n' ? 1 : 0.1f;
    return b < 256 + n_words ? 1 : 0;
}
