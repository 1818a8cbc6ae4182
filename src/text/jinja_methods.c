/* src/text/jinja_methods.c - methods of strings, dicts and lists; global functions. */
#include "text/jinja_impl.h"
#include "text/utf8.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

/* ---------- strings ---------- */

static int in_set(const wj_value *chars, uint32_t cp, const char *p, size_t n) {
    return chars ? memmem(chars->u.s.p, chars->u.s.n, p, n) != NULL : ws_is_py_space(cp);
}

wj_value wj_strip(wj_ctx *c, const wj_value *s, const wj_value *chars, int left, int right) {
    if (chars->type == WJ_MISSING || chars->type == WJ_NONE)
        chars = NULL;
    else if (chars->type != WJ_STR)
        wj_fail(c, "strip needs a string of characters, not a %s", wj_type_name(chars));
    size_t a = 0, b = s->u.s.n;
    uint32_t cp = 0;
    int k;
    const char *p = s->u.s.p;
    while (left && a < b && (k = ws_utf8_next(p + a, b - a, &cp)) && in_set(chars, cp, p + a, (size_t)k))
        a += (size_t)k;
    while (right && b > a) {
        size_t i = b - 1;
        while (i > a && ((unsigned char)p[i] & 0xC0) == 0x80) i--;
        k = ws_utf8_next(p + i, b - i, &cp);
        if (!k || !in_set(chars, cp, p + i, (size_t)k)) break;
        b = i;
    }
    return wj_str(p + a, b - a);
}

wj_value wj_replace(wj_ctx *c, const wj_value *s, const wj_value *from, const wj_value *to, int64_t count) {
    if (from->type != WJ_STR || to->type != WJ_STR) wj_fail(c, "replace needs two strings");
    wj_buf b = {0};
    const char *p = s->u.s.p, *end = p + s->u.s.n, *hit;
    while (count != 0) {
        if (from->u.s.n)
            hit = wj_find(p, (size_t)(end - p), from->u.s.p, from->u.s.n);
        else
            hit = p;
        if (!hit) break;
        wj_put(c, &b, p, (size_t)(hit - p));
        wj_put(c, &b, to->u.s.p, to->u.s.n);
        p = hit + from->u.s.n;
        if (count > 0) count--;
        wj_step(c, 1);
        if (!from->u.s.n) { /* Python puts the new text between all characters */
            int k = ws_utf8_next(p, (size_t)(end - p), NULL);
            if (!k) break;
            wj_put(c, &b, p, (size_t)k);
            p += k;
        }
    }
    wj_put(c, &b, p, (size_t)(end - p));
    return wj_buf_str(&b);
}

static int is_letter(uint32_t cp) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
static int cased(uint32_t cp) {
    return utf8proc_toupper((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp ||
           utf8proc_tolower((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp;
}

/* Characters whose other case is several characters (Unicode SpecialCasing), or depends on the neighbours (final
 * sigma). */
static int special_case(uint32_t cp, int upper) {
    if (!upper) return cp == 0x130 || cp == 0x3A3;
    return cp == 0x149 || cp == 0x1F0 || cp == 0x390 || cp == 0x3B0 || cp == 0x587 || (cp >= 0x1E96 && cp <= 0x1E9A) ||
           (cp >= 0x1F50 && cp <= 0x1F56 && !(cp & 1)) ||
           (cp >= 0x1F80 && cp <= 0x1FFC && cp != 0x1FB0 && cp != 0x1FB1 && cp != 0x1FB8 && cp != 0x1FB9) ||
           (cp >= 0xFB00 && cp <= 0xFB17);
}

wj_value wj_case(wj_ctx *c, const wj_value *s, char how) {
    wj_buf b = {0};
    int inside = 0; /* a word, for titles */
    wj_step(c, s->u.s.n / 16);
    for (size_t i = 0; i < s->u.s.n;) {
        uint32_t cp = 0;
        int k = ws_utf8_next(s->u.s.p + i, s->u.s.n - i, &cp);
        if (!k) BUG("text that is not UTF-8 inside a template");
        int upper = how == 'u' || (how == 'c' && i == 0) || ((how == 't' || how == 'T') && !inside);
        if (cp >= 0x80 && special_case(cp, upper))
            wj_fail(c, "changing the case of U+%04X is not supported", (unsigned)cp);
        if (how == 't') inside = cp < 0x80 ? is_letter(cp) : cased(cp);
        /* The filter title begins words only after white space and -([{< */
        else if (how == 'T')
            inside = !(ws_is_py_space(cp) || (cp < 0x80 && cp && strchr("-([{<", (int)cp)));
        char out[4];
        if (upper && cp == 0xDF)
            wj_puts(c, &b, how == 'u' ? "SS" : "Ss");
        else {
            utf8proc_int32_t x = (utf8proc_int32_t)cp;
            x = upper ? (how == 'u' ? utf8proc_toupper(x) : utf8proc_totitle(x)) : utf8proc_tolower(x);
            wj_put(c, &b, out, (size_t)ws_utf8_put(out, (uint32_t)x));
        }
        i += (size_t)k;
    }
    return wj_buf_str(&b);
}

static const wj_value *string_arg(wj_ctx *c, const char *what, const wj_value *v) {
    if (v->type != WJ_STR) wj_fail(c, "%s needs a string, not a %s", what, wj_type_name(v));
    return v;
}

static wj_value split(wj_ctx *c, const wj_value *s, const wj_args *args, int from_right) {
    wj_value a[2], out = wj_list_new(c, WJ_LIST, 0), none = {.type = WJ_MISSING};
    wj_bind(c, "split", args, 0, "sep maxsplit", a);
    int64_t max = a[1].type == WJ_INT ? a[1].u.i : -1;
    if (a[1].type != WJ_MISSING && a[1].type != WJ_INT) wj_fail(c, "split: maxsplit must be a whole number");
    if (from_right && max >= 0) wj_fail(c, "rsplit with maxsplit is not supported");
    if (a[0].type == WJ_MISSING || a[0].type == WJ_NONE) { /* by runs of white space, none at the ends */
        wj_value rest = wj_strip(c, s, &none, 1, 0);
        while (rest.u.s.n) {
            size_t i = 0;
            uint32_t cp;
            int k;
            if (max == 0) {
                wj_list_add(c, out.u.list, rest);
                break;
            }
            while (i < rest.u.s.n && (k = ws_utf8_next(rest.u.s.p + i, rest.u.s.n - i, &cp)) && !ws_is_py_space(cp))
                i += (size_t)k;
            wj_list_add(c, out.u.list, wj_str(rest.u.s.p, i));
            rest = wj_str(rest.u.s.p + i, rest.u.s.n - i);
            rest = wj_strip(c, &rest, &none, 1, 0);
            max--;
        }
        return out;
    }
    const wj_value *sep = string_arg(c, "split", &a[0]);
    if (!sep->u.s.n) wj_fail(c, "split with an empty separator");
    const char *p = s->u.s.p, *end = p + s->u.s.n, *hit;
    while (max-- != 0 && (hit = wj_find(p, (size_t)(end - p), sep->u.s.p, sep->u.s.n))) {
        wj_list_add(c, out.u.list, wj_str(p, (size_t)(hit - p)));
        p = hit + sep->u.s.n;
    }
    wj_list_add(c, out.u.list, wj_str(p, (size_t)(end - p)));
    return out;
}

static int affix(wj_ctx *c, const char *what, const wj_value *s, const wj_value *x, int at_end) {
    if (x->type == WJ_TUPLE) {
        for (size_t i = 0; i < x->u.list->n; i++)
            if (affix(c, what, s, string_arg(c, what, &x->u.list->v[i]), at_end)) return 1;
        return 0;
    }
    string_arg(c, what, x);
    return x->u.s.n <= s->u.s.n && !memcmp(at_end ? s->u.s.p + s->u.s.n - x->u.s.n : s->u.s.p, x->u.s.p, x->u.s.n);
}

static wj_value find(wj_ctx *c, const char *what, const wj_value *s, const wj_value *x, int last, int must) {
    string_arg(c, what, x);
    const char *p = s->u.s.p, *end = p + s->u.s.n, *hit = wj_find(p, s->u.s.n, x->u.s.p, x->u.s.n), *best = hit;
    while (last && hit && hit < end) {
        wj_step(c, 1);
        hit = wj_find(hit + 1, (size_t)(end - hit - 1), x->u.s.p, x->u.s.n);
        if (hit) best = hit;
    }
    if (!best && must) wj_fail(c, "index: the text was not found");
    return wj_int(best ? (int64_t)ws_utf8_count(p, (size_t)(best - p)) : -1);
}

static int all(const wj_value *s, char what) { /* isdigit, isalpha, isalnum, isspace */
    for (size_t i = 0; i < s->u.s.n;) {
        uint32_t cp = 0;
        int k = ws_utf8_next(s->u.s.p + i, s->u.s.n - i, &cp);
        if (!k) return 0;
        int digit = utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_ND;
        int ok = what == 'd'   ? digit
                 : what == 'a' ? is_letter(cp)
                 : what == 's' ? ws_is_py_space(cp)
                               : digit || is_letter(cp);
        if (!ok) return 0;
        i += (size_t)k;
    }
    return s->u.s.n != 0;
}

static wj_value splitlines(wj_ctx *c, const wj_value *s) {
    wj_value out = wj_list_new(c, WJ_LIST, 0);
    for (size_t at = 0; at < s->u.s.n;) {
        size_t i = at, k = 0;
        while (i < s->u.s.n && !k) {
            uint32_t cp = 0;
            size_t m = (size_t)ws_utf8_next(s->u.s.p + i, s->u.s.n - i, &cp);
            int line =
                (cp >= 10 && cp <= 13) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
            if (!line)
                i += m ? m : 1;
            else
                k = cp == 13 && i + 1 < s->u.s.n && s->u.s.p[i + 1] == '\n' ? 2 : m;
        }
        wj_list_add(c, out.u.list, wj_str(s->u.s.p + at, i - at));
        at = i + k;
    }
    return out;
}

static wj_value str_method(wj_ctx *c, const wj_value *s, const char *name, const wj_args *args) {
    wj_value a[3];
    const char *l = name + (*name == 'l' || *name == 'r');
    if (!strcmp(name, "strip") || !strcmp(l, "strip")) {
        wj_bind(c, name, args, 0, "chars", a);
        return wj_strip(c, s, &a[0], *name != 'r', *name != 'l');
    }
    if (!strcmp(name, "split") || !strcmp(name, "rsplit")) return split(c, s, args, *name == 'r');
    if (!strcmp(name, "startswith") || !strcmp(name, "endswith")) {
        wj_bind(c, name, args, 1, "prefix", a);
        return wj_bool(affix(c, name, s, &a[0], *name == 'e'));
    }
    if (!strcmp(name, "removeprefix") || !strcmp(name, "removesuffix")) {
        wj_bind(c, name, args, 1, "affix", a);
        int end = !strcmp(name, "removesuffix");
        string_arg(c, name, &a[0]);
        if (!affix(c, name, s, &a[0], end)) return *s;
        return wj_str(s->u.s.p + (end ? 0 : a[0].u.s.n), s->u.s.n - a[0].u.s.n);
    }
    if (!strcmp(name, "replace")) {
        wj_bind(c, name, args, 2, "old new count", a);
        return wj_replace(c, s, &a[0], &a[1], a[2].type == WJ_INT ? a[2].u.i : -1);
    }
    if (!strcmp(name, "find") || !strcmp(name, "rfind") || !strcmp(name, "index") || !strcmp(name, "rindex")) {
        wj_bind(c, name, args, 1, "sub", a);
        return find(c, name, s, &a[0], *name == 'r', strstr(name, "index") != NULL);
    }
    if (!strcmp(name, "count")) {
        wj_bind(c, name, args, 1, "sub", a);
        string_arg(c, name, &a[0]);
        if (!a[0].u.s.n) return wj_int(wj_length(c, s) + 1);
        int64_t n = 0;
        for (const char *p = s->u.s.p, *end = p + s->u.s.n; (p = wj_find(p, (size_t)(end - p), a[0].u.s.p, a[0].u.s.n));
             p += a[0].u.s.n)
            n++;
        return wj_int(n);
    }
    if (!strcmp(name, "join")) {
        wj_bind(c, name, args, 1, "iterable", a);
        const wj_list *items = wj_items(c, &a[0], "join");
        wj_buf b = {0};
        for (size_t i = 0; i < items->n; i++) {
            if (i) wj_put(c, &b, s->u.s.p, s->u.s.n);
            string_arg(c, name, &items->v[i]);
            wj_put(c, &b, items->v[i].u.s.p, items->v[i].u.s.n);
        }
        return wj_buf_str(&b);
    }
    wj_bind(c, name, args, 0, "", a);
    if (!strcmp(name, "upper")) return wj_case(c, s, 'u');
    if (!strcmp(name, "lower")) return wj_case(c, s, 'l');
    if (!strcmp(name, "capitalize")) return wj_case(c, s, 'c');
    if (!strcmp(name, "title")) return wj_case(c, s, 't');
    if (!strcmp(name, "isdigit")) return wj_bool(all(s, 'd'));
    if (!strcmp(name, "isalpha")) return wj_bool(all(s, 'a'));
    if (!strcmp(name, "isspace")) return wj_bool(all(s, 's'));
    if (!strcmp(name, "isalnum")) return wj_bool(all(s, 'n'));
    if (!strcmp(name, "splitlines")) return splitlines(c, s);
    BUG("string method %s", name);
}

/* ---------- dicts, lists, loops ---------- */

static wj_value dict_method(wj_ctx *c, const wj_value *d, const char *name, const wj_args *args) {
    wj_value a[2], out;
    if (!strcmp(name, "get")) {
        wj_bind(c, name, args, 1, "key default", a);
        const wj_value *x = wj_dict_get(c, d->u.dict, a[0]);
        return x ? *x : a[1].type == WJ_MISSING ? wj_none() : a[1];
    }
    if (!strcmp(name, "items")) return wj_filter(c, "items", d, args);
    wj_bind(c, name, args, 0, "", a);
    if (!strcmp(name, "copy")) {
        out = wj_dict_new(c, WJ_DICT);
        for (size_t i = 0; i < d->u.dict->n; i++) wj_dict_set(c, out.u.dict, d->u.dict->key[i], d->u.dict->v[i]);
        return out;
    }
    out = wj_list_new(c, WJ_ITER, d->u.dict->n);
    for (size_t i = 0; i < d->u.dict->n; i++)
        wj_list_add(c, out.u.list, *name == 'k' ? d->u.dict->key[i] : d->u.dict->v[i]);
    return out;
}

static wj_value list_method(wj_ctx *c, const wj_value *l, const char *name, const wj_args *args) {
    wj_value a[1];
    int64_t n = 0;
    wj_bind(c, name, args, 1, "value", a);
    for (size_t i = 0; i < l->u.list->n; i++) {
        if (!wj_equal(c, &l->u.list->v[i], &a[0])) continue;
        if (*name == 'i') return wj_int((int64_t)i);
        n++;
    }
    if (*name == 'i') wj_fail(c, "index: the value is not in the list");
    return wj_int(n);
}

static int one_of(const char *name, const char *words) { /* space-separated */
    size_t n = strlen(name);
    for (const char *p = words; (p = strstr(p, name)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return 1;
    return 0;
}

int wj_has_method(const wj_value *v, const char *name) {
    switch (v->type) {
    case WJ_STR:
        return one_of(name, "strip lstrip rstrip split rsplit startswith endswith removeprefix removesuffix replace "
                            "find rfind index rindex count join "
                            "upper lower capitalize title isdigit isalpha isspace isalnum splitlines");
    case WJ_DICT: return one_of(name, "get items keys values copy");
    case WJ_LIST:
    case WJ_TUPLE: return one_of(name, "index count");
    case WJ_CYCLER: return one_of(name, "next reset");
    default: return 0;
    }
}

wj_value wj_call_method(wj_ctx *c, const wj_method *m, const wj_args *args) {
    wj_step(c, 1 + (m->self.type == WJ_STR ? m->self.u.s.n / 64 : 0));
    switch (m->self.type) {
    case WJ_STR: return str_method(c, &m->self, m->name, args);
    case WJ_DICT: return dict_method(c, &m->self, m->name, args);
    case WJ_LIST:
    case WJ_TUPLE: return list_method(c, &m->self, m->name, args);
    case WJ_CYCLER: {
        wj_cycler *y = m->self.u.cycler;
        wj_bind(c, m->name, args, 0, "", NULL);
        size_t at = y->at;
        y->at = *m->name == 'r' ? 0 : (y->at + 1) % y->items->n;
        return *m->name == 'r' ? wj_none() : y->items->v[at];
    }
    case WJ_LOOP:
        if (!strcmp(m->name, "cycle")) {
            if (!args->n) wj_fail(c, "loop.cycle without values");
            return args->v[m->self.u.loop->index0 % (size_t)args->n];
        } else { /* changed(*values) */
            wj_value now = wj_list_new(c, WJ_TUPLE, 0), *old = &m->self.u.loop->changed;
            for (int i = 0; i < args->n; i++) wj_list_add(c, now.u.list, args->v[i]);
            int same = old->type == WJ_TUPLE && wj_equal(c, old, &now);
            *old = now;
            return wj_bool(!same);
        }
    default: BUG("a method of a %s", wj_type_name(&m->self));
    }
}

/* ---------- globals ---------- */

enum { G_RANGE, G_NAMESPACE, G_DICT, G_RAISE, G_STRFTIME, G_CYCLER, G_JOINER, N_GLOBALS };
static const char *const global_names[N_GLOBALS] = {"range",        "namespace", "dict",  "raise_exception",
                                                    "strftime_now", "cycler",    "joiner"};

const wj_value *wj_global(const char *name) {
    static const wj_value v[N_GLOBALS] = {{.type = WJ_FUNC, .u.func = 0}, {.type = WJ_FUNC, .u.func = 1},
                                          {.type = WJ_FUNC, .u.func = 2}, {.type = WJ_FUNC, .u.func = 3},
                                          {.type = WJ_FUNC, .u.func = 4}, {.type = WJ_FUNC, .u.func = 5},
                                          {.type = WJ_FUNC, .u.func = 6}};
    for (int i = 0; i < N_GLOBALS; i++)
        if (!strcmp(name, global_names[i])) return &v[i];
    return NULL;
}

static wj_value range(wj_ctx *c, const wj_args *args) {
    int64_t v[3] = {0, 0, 1};
    if (args->n < 1 || args->n > 3 || args->n_kw) wj_fail(c, "range takes one to three whole numbers");
    for (int i = 0; i < args->n; i++) {
        const wj_value *a = &args->v[i];
        if (a->type != WJ_INT && a->type != WJ_BOOL) wj_fail(c, "range needs whole numbers, not a %s", wj_type_name(a));
        v[args->n == 1 ? 1 : i] = a->type == WJ_BOOL ? a->u.b : a->u.i;
    }
    if (!v[2]) wj_fail(c, "range with step 0");
    wj_value out = wj_list_new(c, WJ_LIST, 0);
    for (int64_t i = v[0]; v[2] > 0 ? i < v[1] : i > v[1];) {
        if (out.u.list->n >= WJ_MAX_RANGE) wj_fail(c, "a range of more than %d values", WJ_MAX_RANGE);
        wj_list_add(c, out.u.list, wj_int(i));
        if (__builtin_add_overflow(i, v[2], &i)) break;
    }
    return out;
}

static wj_value strftime_now(wj_ctx *c, const wj_value *format) {
    struct tm t = {0};
    string_arg(c, "strftime_now", format);
    if (c->date) {
        if (sscanf(c->date, "%4d-%2d-%2d", &t.tm_year, &t.tm_mon, &t.tm_mday) != 3 || t.tm_mon < 1 || t.tm_mon > 12 ||
            t.tm_mday < 1 || t.tm_mday > 31)
            wj_fail(c, "the date '%.40s' is not of the form 2026-11-22", c->date);
        t.tm_year -= 1900, t.tm_mon--, t.tm_isdst = -1;
        mktime(&t); /* fills the day of the week and of the year */
    } else {
        time_t now = time(NULL);
        localtime_r(&now, &t);
    }
    const char *f = wj_cstr(c, format);
    size_t n = strlen(f) * 32 + 64;
    if (n > 1 << 16) wj_fail(c, "strftime_now: the format is too long");
    char *s = wj_alloc(c, n);
    return wj_str(s, strftime(s, n, f, &t));
}

wj_value wj_call_func(wj_ctx *c, int func, const wj_args *args) {
    wj_value out, a[1];
    switch (func) {
    case G_RANGE: return range(c, args);
    case G_NAMESPACE:
    case G_DICT:
        out = wj_dict_new(c, func == G_DICT ? WJ_DICT : WJ_NAMESPACE);
        if (args->n > 1 || (args->n == 1 && args->v[0].type != WJ_DICT))
            wj_fail(c, "%s takes a dict and name=value", global_names[func]);
        if (args->n)
            for (size_t i = 0; i < args->v[0].u.dict->n; i++)
                wj_dict_set(c, out.u.dict, args->v[0].u.dict->key[i], args->v[0].u.dict->v[i]);
        for (int i = 0; i < args->n_kw; i++) wj_dict_set(c, out.u.dict, wj_strz(args->kw_name[i]), args->kw[i]);
        return out;
    case G_RAISE:
        wj_bind(c, "raise_exception", args, 1, "message", a);
        a[0] = wj_to_str(c, &a[0]);
        wj_fail(c, "the template refuses: %.*s", a[0].u.s.n > 400 ? 400 : (int)a[0].u.s.n, a[0].u.s.p);
    case G_STRFTIME: wj_bind(c, "strftime_now", args, 1, "format", a); return strftime_now(c, &a[0]);
    default: break;
    }
    wj_cycler *y = wj_alloc(c, sizeof *y);
    y->at = 0;
    y->items = wj_list_new(c, WJ_LIST, 0).u.list;
    if (func == G_JOINER) {
        wj_bind(c, "joiner", args, 0, "sep", a);
        wj_list_add(c, y->items, a[0].type == WJ_MISSING ? wj_strz(", ") : a[0]);
        return (wj_value){.type = WJ_JOINER, .u.cycler = y};
    }
    if (!args->n) wj_fail(c, "cycler needs values");
    for (int i = 0; i < args->n; i++) wj_list_add(c, y->items, args->v[i]);
    return (wj_value){.type = WJ_CYCLER, .u.cycler = y};
}
