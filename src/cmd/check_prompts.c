#include "cmd/check_prompts.h"
#include "base/log.h"
#include "base/rng.h"
#include "text/tokenizer.h"
#include <stdlib.h>
#include <string.h>

/* Prose, a question, dialogue, code, a list, other scripts: what moves many different weights. */
static const char *const fixed[] = {
    "The evening began quietly. Nobody in the village expected that the letter would change anything.",
    "What do you think about lying to a friend in order to protect their feelings? I think that",
    "User: My garden flooded and I lost everything I planted.\nAssistant: I am sorry to hear that.",
    "def mean(xs):\n    \"\"\"The arithmetic mean.\"\"\"\n    return sum(xs) / len(xs)\n",
    "1. Boil the water.\n2. Add a spoon of salt.\n3. Wait until it is 90 degrees.\n4.",
    ("Die Stra\303\237e war leer, und es regnete. "
     "\344\273\212\345\244\251\345\244\251\346\260\224\345\276\210\345\245\275"
     "\343\200\202"),
};
enum { N_FIXED = sizeof fixed / sizeof *fixed, ID_ROWS = 4, ID_LENGTH = 24 };

static ws_status add(ws_ids **out, int *n, const ws_tokenizer *t, const char *text, size_t len, ws_err *err) {
    *out = ws_xrealloc(*out, (size_t)(*n + 1) * sizeof **out);
    (*out)[*n] = (ws_ids){0};
    ws_ids *ids = &(*out)[(*n)++];
    ws_status st = ws_tokenizer_encode(t, text, len, WS_TOK_ADD_SPECIAL, ids, err);
    if (!st && ids->n > WS_CHECK_LONGEST) ids->n = WS_CHECK_LONGEST;
    if (!st && !ids->n) --*n, ws_ids_free(ids);
    return st;
}

static ws_status from_lines(ws_ids **out, int *n, const ws_tokenizer *t, const char *path, ws_err *err) {
    ws_str s = {0};
    ws_status st = ws_file_read(path, &s, err);
    size_t at = s.n >= 3 && !memcmp(s.p, "\xef\xbb\xbf", 3) ? 3 : 0;
    for (long line = 1; at < s.n && !st; line++) {
        const char *nl = memchr(s.p + at, '\n', s.n - at);
        size_t len = nl ? (size_t)(nl - s.p) - at : s.n - at, text = len;
        if (text && s.p[at + text - 1] == '\r') text--;
        if (text && add(out, n, t, s.p + at, text, err)) st = ws_fail_prefix(err, "%s:%ld", path, line);
        at += len + (nl != NULL);
    }
    if (!st && !*n) st = ws_fail(err, WS_EFORMAT, "%s: holds no text", path);
    ws_str_free(&s);
    return st;
}

/* The tokens of a model whose text nobody knows. */
static void plain_ids(ws_ids **out, int *n, int64_t vocab) {
    *out = ws_xcalloc(ID_ROWS, sizeof **out);
    for (*n = 0; *n < ID_ROWS; ++*n)
        for (int i = 0; i < ID_LENGTH; i++)
            ws_ids_add(&(*out)[*n],
                       (int32_t)(ws_counter_u64(0, "export.check", (uint64_t)*n, (uint64_t)i) % (uint64_t)vocab));
}

ws_status ws_check_prompts(ws_ids **out, int *n, const ws_model *m, const char *file, ws_err *err) {
    ws_tokenizer *t = NULL;
    ws_err why;
    *out = NULL, *n = 0;
    ws_status st = ws_tokenizer_open(&t, ws_model_checkpoint(m), file ? err : &why);
    if (st && file) return st;
    if (st) {
        ws_detail("compared on fixed token ids: %s", why.msg);
        plain_ids(out, n, ws_model_dims(m)->vocab);
        return WS_OK;
    }
    if (file)
        st = from_lines(out, n, t, file, err);
    else
        for (int i = 0; i < N_FIXED && !st; i++) st = add(out, n, t, fixed[i], strlen(fixed[i]), err);
    for (int i = 0; i < *n && !st; i++)
        for (int k = 0; k < (*out)[i].n && !st; k++)
            if ((*out)[i].id[k] >= ws_model_dims(m)->vocab)
                st = ws_fail(err, WS_EFORMAT, "the tokenizer makes the id %d, the model's vocabulary has %lld",
                             (int)(*out)[i].id[k], (long long)ws_model_dims(m)->vocab);
    ws_tokenizer_free(t);
    if (st) ws_check_prompts_free(*out, *n), *out = NULL, *n = 0;
    return st;
}

void ws_check_prompts_free(ws_ids *prompt, int n) {
    for (int i = 0; i < n; i++) ws_ids_free(&prompt[i]);
    free(prompt);
}
