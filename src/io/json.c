#include "io/json.h"
#include "io/file.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 128 };

static size_t bom(const char *t, size_t n) { return n >= 3 && !memcmp(t, "\xef\xbb\xbf", 3) ? 3 : 0; }

/* Jansson recurses, so the nesting is bounded before it sees the text.  Returns the offset where the text is too deep,
 * or n. */
static size_t too_deep(const char *t, size_t n) {
    int depth = 0, quoted = 0;
    for (size_t i = 0; i < n; i++) {
        char c = t[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = 0;
        } else if (c == '"')
            quoted = 1;
        else if (c == '[' || c == '{') {
            if (++depth > MAX_DEPTH) return i;
        } else if (c == ']' || c == '}')
            depth--;
    }
    return n;
}

/* Whole numbers beyond 64 bits as reals, which jansson can hold: Python writes them (a tokenizer without a limit says
 * "model_max_length": 1000000000000000019884624838656).  Text that holds none comes back as it is. */
static void widen_integers(const char *text, size_t n, ws_str *out) {
    int in_string = 0;
    for (size_t i = 0, k; i < n; i += k) {
        const char *p = text + i;
        k = 1;
        if (in_string && *p == '\\' && i + 1 < n)
            k = 2;
        else if (*p == '"')
            in_string = !in_string;
        else if (!in_string && (*p == '-' || (*p >= '0' && *p <= '9'))) {
            while (i + k < n && memchr("0123456789.eE+-", p[k], 15)) k++;
            int whole = !memchr(p, '.', k) && !memchr(p, 'e', k) && !memchr(p, 'E', k);
            char *copy = ws_xstrndup(p, k);
            errno = 0;
            (void)strtoll(copy, NULL, 10);
            ws_str_add(out, p, k);
            if (whole && errno == ERANGE) ws_str_adds(out, ".0");
            free(copy);
            continue;
        }
        ws_str_add(out, p, k);
    }
}

/* The string that ends right before `position`: the key that stands twice.  NULL: there is none. */
static char *key_before(const char *text, size_t n, int position) {
    size_t end = (size_t)position, from;
    if (position < 2 || end > n || text[end - 1] != '"') return NULL;
    for (from = end - 1; from > 0 && text[from - 1] != '"'; from--) {}
    return from ? ws_xstrndup(text + from, end - 1 - from) : NULL;
}

/* `line` > 0: the text is line `line` of the file, else lines are counted within the text. */
static ws_status parse(json_t **out, const char *text, size_t n, const char *name, long line, ws_err *err) {
    *out = NULL;
    size_t skip = bom(text, n), deep;
    text += skip, n -= skip;
    if ((deep = too_deep(text, n)) < n)
        return ws_fail(err, WS_EFORMAT, "%s: byte %zu: JSON nested deeper than %d", name, deep + skip, MAX_DEPTH);
    json_error_t e;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!*out && json_error_code(&e) == json_error_numeric_overflow) {
        ws_str wide = {0};
        json_error_t again;
        widen_integers(text, n, &wide);
        *out = json_loadb(wide.p, wide.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &again);
        ws_str_free(&wide);
    }
    if (*out) return WS_OK;
    char *key = json_error_code(&e) == json_error_duplicate_key ? key_before(text, n, e.position) : NULL;
    ws_fail(err, WS_EFORMAT, "%s:%ld: column %d: not JSON: %s%s%.200s", name, line > 0 ? line : (long)e.line, e.column,
            e.text, key ? " " : "", key ? key : "");
    free(key);
    return WS_EFORMAT;
}

ws_status ws_json_parse(json_t **out, const char *text, size_t n, const char *name_for_errors, ws_err *err) {
    return parse(out, text, n, name_for_errors, 0, err);
}

ws_status ws_json_load(json_t **out, const char *path, ws_err *err) {
    ws_str s = {0};
    *out = NULL;
    ws_status rc = ws_file_read(path, &s, err);
    if (!rc) rc = parse(out, s.p, s.n, path, 0, err);
    ws_str_free(&s);
    return rc;
}

static int blank(const char *t, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n", t[i]) || !t[i]) return 0;
    return 1;
}

char *ws_json_where(const char *path, long line) {
    return line < 0 ? ws_sprintf("%s, entry %ld", path, -line) : ws_sprintf("%s:%ld", path, line);
}

ws_status ws_jsonl_each(const char *path, ws_status (*fn)(void *arg, json_t *value, long line, ws_err *err), void *arg,
                        ws_err *err) {
    ws_str s = {0};
    json_t *v = NULL;
    ws_status rc = ws_file_read(path, &s, err);
    if (rc) goto done;
    const char *t = s.p + bom(s.p, s.n), *end = s.p + s.n;

    const char *first = t;
    while (first < end && strchr(" \t\r\n", *first) && *first) first++;
    if (first < end && *first == '[') {
        /* One array, unless the first line is a whole value and more follows: then it is lines of arrays. */
        const char *nl = memchr(first, '\n', (size_t)(end - first));
        int lines = nl && !blank(nl, (size_t)(end - nl)) && !parse(&v, first, (size_t)(nl - first), path, 1, NULL);
        json_decref(v), v = NULL;
        if (!lines) {
            rc = parse(&v, t, (size_t)(end - t), path, 0, err);
            for (size_t i = 0; !rc && i < json_array_size(v); i++)
                rc = fn(arg, json_array_get(v, i), -(long)i - 1, err);
            goto done;
        }
    }
    for (long line = 1; !rc && t < end; line++) {
        const char *nl = memchr(t, '\n', (size_t)(end - t));
        size_t n = nl ? (size_t)(nl - t) : (size_t)(end - t);
        if (!blank(t, n)) {
            rc = parse(&v, t, n, path, line, err);
            if (!rc) rc = fn(arg, v, line, err);
            json_decref(v), v = NULL;
        }
        t += n + (nl != NULL);
    }
done:
    json_decref(v);
    ws_str_free(&s);
    return rc;
}

/* ---- writing ---- */

static void put_string(ws_str *out, const char *s, size_t n) {
    static const char short_form[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    ws_str_addc(out, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        const char *f = NULL;
        for (size_t k = 0; k + 1 < sizeof short_form; k += 2)
            if ((unsigned char)short_form[k] == c) f = short_form + k;
        if (f)
            ws_str_addc(out, '\\'), ws_str_addc(out, f[1]);
        else if (c < 0x20 || c == 0x7f)
            ws_str_addf(out, "\\u%04x", c);
        else
            ws_str_addc(out, (char)c);
    }
    ws_str_addc(out, '"');
}

void ws_num_text(char out[32], double v) {
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, v);
        if (strtod(out, NULL) == v) break;
    }
    for (char *c = out; *c; c++)
        if (*c == ',') *c = '.'; /* whatever locale an embedding program has set */
}

static int by_key(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

typedef struct style {
    int indent; /* spaces a level; 0: one line */
    int sorted;
} style;

static void newline(ws_str *out, style st, int level) {
    if (!st.indent) return;
    ws_str_addc(out, '\n');
    for (int i = 0; i < level * st.indent; i++) ws_str_addc(out, ' ');
}

static void put(const json_t *v, ws_str *out, style st, int level) {
    switch (json_typeof(v)) {
    case JSON_NULL: ws_str_adds(out, "null"); return;
    case JSON_TRUE: ws_str_adds(out, "true"); return;
    case JSON_FALSE: ws_str_adds(out, "false"); return;
    case JSON_INTEGER: ws_str_addf(out, "%lld", (long long)json_integer_value(v)); return;
    case JSON_STRING: put_string(out, json_string_value(v), json_string_length(v)); return;
    case JSON_REAL: {
        char num[32];
        ws_num_text(num, json_real_value(v));
        ws_str_adds(out, num);
        if (!strpbrk(num, ".en")) ws_str_adds(out, ".0"); /* stays a real when read back */
        return;
    }
    case JSON_ARRAY: {
        size_t n = json_array_size(v);
        ws_str_addc(out, '[');
        for (size_t i = 0; i < n; i++) {
            if (i) ws_str_adds(out, st.indent ? "," : ", ");
            newline(out, st, level + 1);
            put(json_array_get(v, i), out, st, level + 1);
        }
        if (n) newline(out, st, level);
        ws_str_addc(out, ']');
        return;
    }
    case JSON_OBJECT: {
        size_t n = json_object_size(v), i = 0;
        const char **keys = ws_xmalloc((n + 1) * sizeof *keys), *key;
        json_t *child;
        json_object_foreach((json_t *)(uintptr_t)v, key, child) keys[i++] = key;
        if (st.sorted) qsort(keys, n, sizeof *keys, by_key);
        ws_str_addc(out, '{');
        for (i = 0; i < n; i++) {
            if (i) ws_str_adds(out, st.indent ? "," : ", ");
            newline(out, st, level + 1);
            put_string(out, keys[i], strlen(keys[i]));
            ws_str_adds(out, ": ");
            put(json_object_get(v, keys[i]), out, st, level + 1);
        }
        if (n) newline(out, st, level);
        ws_str_addc(out, '}');
        free(keys);
        return;
    }
    }
}

void ws_json_dump(const json_t *v, ws_str *out, int compact) { put(v, out, (style){compact ? 0 : 2, 0}, 0); }
void ws_json_dump_sorted(const json_t *v, ws_str *out, int compact) { put(v, out, (style){compact ? 0 : 2, 1}, 0); }

ws_status ws_json_save(const json_t *v, const char *path, ws_err *err) {
    ws_str s = {0};
    ws_json_dump(v, &s, 0);
    ws_str_addc(&s, '\n');
    ws_status rc = ws_file_write(path, s.p, s.n, err);
    ws_str_free(&s);
    return rc;
}

/* ---- typed getters ---- */

static const char *kind(const json_t *v) {
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a number",  "true",     "false",    "null"};
    return v ? names[json_typeof(v)] : "missing";
}

static json_t *get(const json_t *o, const char *key) {
    json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

static ws_status wrong(const json_t *o, const char *key, const char *want, const char *where, ws_err *err) {
    if (!json_is_object(o))
        return ws_fail(err, WS_EFORMAT, "%s: an object with the key \"%s\" is needed, found %s", where, key, kind(o));
    const json_t *v = json_object_get(o, key);
    if (!v) return ws_fail(err, WS_EFORMAT, "%s: the key \"%s\" (%s) is missing", where, key, want);
    return ws_fail(err, WS_EFORMAT, "%s: \"%s\" must be %s, found %s", where, key, want, kind(v));
}

/* An integer, also written as 1.0 or 1e6, that a double holds exactly. */
static int integer(const json_t *v, int64_t *out) {
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return 1;
    }
    double d = json_is_real(v) ? json_real_value(v) : 0.5;
    if (d != floor(d) || fabs(d) > 0x1p53) return 0;
    *out = (int64_t)d;
    return 1;
}

ws_status ws_json_str(const json_t *o, const char *key, const char **out, const char *where, ws_err *err) {
    json_t *v = json_object_get(o, key);
    if (!json_is_string(v)) return wrong(o, key, "a string", where, err);
    *out = json_string_value(v);
    return WS_OK;
}

ws_status ws_json_int(const json_t *o, const char *key, int64_t *out, const char *where, ws_err *err) {
    return integer(json_object_get(o, key), out) ? WS_OK : wrong(o, key, "a whole number", where, err);
}

ws_status ws_json_num(const json_t *o, const char *key, double *out, const char *where, ws_err *err) {
    json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) return wrong(o, key, "a number", where, err);
    *out = json_number_value(v);
    return WS_OK;
}

ws_status ws_json_int_or(const json_t *o, const char *key, int64_t dflt, int64_t *out, const char *where, ws_err *err) {
    *out = dflt;
    return get(o, key) ? ws_json_int(o, key, out, where, err) : WS_OK;
}

ws_status ws_json_num_or(const json_t *o, const char *key, double dflt, double *out, const char *where, ws_err *err) {
    *out = dflt;
    return get(o, key) ? ws_json_num(o, key, out, where, err) : WS_OK;
}

ws_status ws_json_bool_or(const json_t *o, const char *key, int dflt, int *out, const char *where, ws_err *err) {
    json_t *v = get(o, key);
    *out = dflt;
    if (!v) return WS_OK;
    if (!json_is_boolean(v)) return wrong(o, key, "true or false", where, err);
    *out = json_is_true(v);
    return WS_OK;
}
