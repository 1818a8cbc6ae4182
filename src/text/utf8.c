/* src/text/utf8.c - see utf8.h. */
#include "text/utf8.h"

/* How many bytes of p[0..n) are a well-formed prefix of the character that p[0] starts; *need = its whole length, 0
 * when p[0] starts none.  The second byte's range rules out overlong forms, surrogates and values above U+10FFFF. */
static int prefix(const unsigned char *p, size_t n, int *need) {
    unsigned c = p[0], lo = 0x80, hi = 0xBF;
    if (c < 0x80) return *need = 1;
    if (c >= 0xC2 && c <= 0xDF)
        *need = 2;
    else if (c >= 0xE0 && c <= 0xEF)
        *need = 3, lo = c == 0xE0 ? 0xA0 : 0x80, hi = c == 0xED ? 0x9F : 0xBF;
    else if (c >= 0xF0 && c <= 0xF4)
        *need = 4, lo = c == 0xF0 ? 0x90 : 0x80, hi = c == 0xF4 ? 0x8F : 0xBF;
    else
        return *need = 0, 1;
    int k = 1;
    while (k < *need && (size_t)k < n && p[k] >= lo && p[k] <= hi) k++, lo = 0x80, hi = 0xBF;
    return k;
}

int ws_utf8_next(const char *text, size_t n, uint32_t *cp) {
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *p = (const unsigned char *)text;
    int need;
    if (!n || prefix(p, n, &need) != need) return 0;
    if (cp) {
        uint32_t v = p[0] & mask[need];
        for (int i = 1; i < need; i++) v = v << 6 | (p[i] & 0x3F);
        *cp = v;
    }
    return need;
}

int ws_utf8_valid(const char *p, size_t n, size_t *bad) {
    for (size_t i = 0; i < n;) {
        if ((unsigned char)p[i] < 0x80) {
            i++;
            continue;
        }
        int k = ws_utf8_next(p + i, n - i, NULL);
        if (!k) {
            if (bad) *bad = i;
            return 0;
        }
        i += (size_t)k;
    }
    return 1;
}

int ws_utf8_put(char out[4], uint32_t cp) {
    if (cp < 0x80) return out[0] = (char)cp, 1;
    if (cp < 0x800) return out[0] = (char)(0xC0 | cp >> 6), out[1] = (char)(0x80 | (cp & 0x3F)), 2;
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12), out[1] = (char)(0x80 | (cp >> 6 & 0x3F)), out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18), out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F)), out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

void ws_utf8_add(ws_str *s, uint32_t cp) {
    char b[4];
    ws_str_add(s, b, (size_t)ws_utf8_put(b, cp));
}

size_t ws_utf8_count(const char *p, size_t n) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) k += ((unsigned char)p[i] & 0xC0) != 0x80;
    return k;
}

int ws_utf8_add_lossy(ws_str *s, const char *text, size_t n, int hold) {
    const unsigned char *p = (const unsigned char *)text;
    size_t good = 0, i = 0; /* text[good..i) is valid and not yet copied */
    while (i < n) {
        int need, k = prefix(p + i, n - i, &need);
        if (k == need) {
            i += (size_t)k;
            continue;
        }
        ws_str_add(s, text + good, i - good);
        if (hold && need && i + (size_t)k == n) return k;
        ws_str_adds(s, "\xEF\xBF\xBD");
        i += (size_t)k;
        good = i;
    }
    ws_str_add(s, text + good, n - good);
    return 0;
}

int ws_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}
int ws_is_py_space(uint32_t c) { return ws_is_space(c) || (c >= 0x1C && c <= 0x1F); }
