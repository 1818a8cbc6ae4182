#include "data/wordlist.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int longer_first(const void *a, const void *b) {
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    size_t n = strlen(x), m = strlen(y);
    return n != m ? (n < m ? 1 : -1) : strcmp(x, y);
}

static int wordy(unsigned char c) { return isalnum(c) || c == '_' || c >= 0x80; }

ws_status ws_wordlist_pattern(const json_t *words, const char *where, char **out, ws_err *err) {
    size_t n = json_array_size(words);
    if (!json_is_array(words) || n == 0) return ws_fail(err, WS_EFORMAT, "%s: 'words' must be a list of words", where);
    const char **w = ws_xmalloc(n * sizeof *w);
    for (size_t i = 0; i < n; i++) {
        w[i] = json_string_value(json_array_get(words, i));
        if (w[i] && w[i][strspn(w[i], " \t")] && w[i][0] != ' ' && w[i][strlen(w[i]) - 1] != ' ') continue;
        free(w);
        return ws_fail(err, WS_EFORMAT, "%s: words[%zu] must be a word or phrase without blanks around it", where, i);
    }
    qsort(w, n, sizeof *w, longer_first);
    ws_str s = {0};
    ws_str_adds(&s, "(?:");
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = (const unsigned char *)w[i];
        if (i) ws_str_addc(&s, '|');
        if (wordy(*p)) ws_str_adds(&s, "\\b"); /* a boundary only where a letter could go on: "!!" has none */
        for (; *p; p++) {
            if (*p == ' ')
                ws_str_adds(&s, "\\s+");
            else if (wordy(*p))
                ws_str_addc(&s, (char)*p);
            else if (*p == '\'')
                ws_str_adds(&s, "['\\x{2019}]"); /* straight or curly */
            else
                ws_str_addf(&s, "\\x{%02x}", *p);
        }
        if (wordy(p[-1])) ws_str_adds(&s, "\\b");
    }
    ws_str_addc(&s, ')');
    free(w);
    *out = ws_str_take(&s);
    return WS_OK;
}

int ws_word_next(const char *text, size_t *at, ws_str *word) {
    const unsigned char *p = (const unsigned char *)text + *at;
    while (*p && !isalpha(*p) && *p < 0x80) p++;
    ws_str_clear(word);
    for (; isalpha(*p) || *p >= 0x80 || (*p == '\'' && (isalpha(p[1]) || p[1] >= 0x80)); p++)
        ws_str_addc(word, (char)tolower(*p));
    *at = (size_t)((const char *)p - text);
    return word->n > 0;
}
