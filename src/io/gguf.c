/* src/io/gguf.c - reading GGUF v2 and v3.
 *     "GGUF" u32 version | u64 tensors | u64 pairs | pairs: key, u32 type, value | tensors: name, u32 dims, u64 dim[],
 *     u32 type, u64 offset | padding to `general.alignment` | data, offsets count from here
 * A string is u64 length + bytes; an array is u32 type, u64 count, values.  All little endian.  Layout and type
 * numbers: the `gguf` package.  Every count is checked against the bytes that are left before anything is allocated for
 * it. */
#include "io/gguf.h"
#include "io/json.h"
#include "io/names.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64, T_COUNT };
static const uint8_t sizes[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

typedef struct value {
    char *key;
    uint32_t type, elem; /* elem: element type of an array */
    int64_t i;           /* integers and bool */
    double f;            /* any number */
    int fits;            /* i holds the value (a u64 above 2^63 does not fit) */
    char *s;             /* string */
    size_t n;            /* bytes of the string, elements of the array */
    void *items;         /* array: int64_t[n], double[n] or const char*[n] */
    size_t *lens;        /* array of strings */
    char *text;          /* what the strings of an array point into */
} value;

struct ws_gguf {
    ws_map *map; /* of each file; none when the bytes are the caller's */
    size_t n_maps;
    uint32_t version;
    value *v; /* sorted by key */
    size_t n_v;
    ws_tensor *t;
    size_t n_t;
    const ws_tensor **by_name;
};

/* A cursor that fails once and stays failed; `what` is what was being read. */
typedef struct cursor {
    const uint8_t *p;
    size_t at, n;
    const char *path;
    ws_err *err;
    ws_status rc;
} cursor;

static int have(cursor *c, uint64_t n, const char *what) {
    if (c->rc) return 0;
    if (n <= c->n - c->at) return 1;
    c->rc = ws_fail(c->err, WS_EFORMAT, "%s: byte %zu: %s needs %llu bytes, %zu are left (truncated or damaged GGUF)",
                    c->path, c->at, what, (unsigned long long)n, c->n - c->at);
    return 0;
}

static uint64_t number(cursor *c, int bytes, const char *what) {
    uint64_t v = 0;
    if (!have(c, (uint64_t)bytes, what)) return 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)c->p[c->at + (size_t)i] << (8 * i);
    c->at += (size_t)bytes;
    return v;
}

/* A string in fresh memory; names and keys may not hold a NUL, values may. */
static char *string(cursor *c, size_t *len, int is_name, const char *what) {
    size_t start = c->at;
    uint64_t n = number(c, 8, what);
    if (!have(c, n, what)) return NULL;
    const char *p = (const char *)c->p + c->at;
    if (is_name && (n == 0 || n > 65535 || memchr(p, 0, (size_t)n))) {
        c->rc = ws_fail(c->err, WS_EFORMAT, "%s: byte %zu: %s is empty, longer than 65535 bytes, or holds a NUL",
                        c->path, start, what);
        return NULL;
    }
    c->at += (size_t)n;
    *len = (size_t)n;
    char *copy = ws_xmalloc((size_t)n + 1); /* strndup would stop at a NUL */
    memcpy(copy, p, (size_t)n);
    copy[n] = 0;
    return copy;
}

/* One number of type t, as stored in `raw`. */
static void scalar(value *v, uint32_t t, uint64_t raw) {
    v->fits = 1;
    switch (t) {
    case T_I8: v->i = (int8_t)raw; break;
    case T_I16: v->i = (int16_t)raw; break;
    case T_I32: v->i = (int32_t)raw; break;
    case T_I64: v->i = (int64_t)raw; break;
    case T_U64: v->fits = raw <= INT64_MAX, v->i = v->fits ? (int64_t)raw : 0, v->f = (double)raw; return;
    case T_F32: {
        uint32_t u = (uint32_t)raw;
        float f;
        memcpy(&f, &u, 4);
        v->f = (double)f, v->fits = 0;
        return;
    }
    case T_F64: memcpy(&v->f, &raw, 8), v->fits = 0; return;
    default: v->i = (int64_t)raw;
    }
    v->f = (double)v->i;
}

static int is_float(uint32_t t) { return t == T_F32 || t == T_F64; }

static void read_strings(cursor *c, value *v) {
    /* First walk: every length is checked, the bytes are counted.  Second walk: one block for all of them. */
    cursor look = *c;
    size_t total = 0;
    for (size_t i = 0; i < v->n && !look.rc; i++) {
        uint64_t len = number(&look, 8, "a string of an array");
        if (have(&look, len, "a string of an array")) look.at += (size_t)len, total += (size_t)len;
    }
    if (look.rc) {
        c->rc = look.rc;
        return;
    }
    const char **items = ws_xmalloc((v->n + 1) * sizeof *items);
    char *to = v->text = ws_xmalloc(total + v->n + 1);
    v->items = items;
    v->lens = ws_xmalloc((v->n + 1) * sizeof *v->lens);
    for (size_t i = 0; i < v->n; i++) {
        size_t len = (size_t)number(c, 8, "a string of an array");
        memcpy(to, c->p + c->at, len);
        to[len] = 0;
        items[i] = to, v->lens[i] = len;
        to += len + 1, c->at += len;
    }
}

static void read_array(cursor *c, value *v) {
    v->elem = (uint32_t)number(c, 4, "an array's type");
    uint64_t n = number(c, 8, "an array's length");
    if (c->rc) return;
    if (v->elem >= T_COUNT || v->elem == T_ARRAY) {
        c->rc =
            ws_fail(c->err, v->elem == T_ARRAY ? WS_EUNSUPPORTED : WS_EFORMAT, "%s: byte %zu: %s is an array of %s",
                    c->path, c->at - 12, v->key, v->elem == T_ARRAY ? "arrays, which is not read" : "an unknown type");
        return;
    }
    size_t least = v->elem == T_STRING ? 8 : sizes[v->elem], bytes;
    if (__builtin_mul_overflow(n, least, &bytes)) bytes = SIZE_MAX;
    if (!have(c, bytes, v->key)) return;
    v->n = (size_t)n;
    if (v->elem == T_STRING) {
        read_strings(c, v);
        return;
    }
    v->items = ws_xmalloc((v->n + 1) * 8);
    for (size_t i = 0; i < v->n; i++) {
        value x = {0};
        scalar(&x, v->elem, number(c, sizes[v->elem], v->key));
        if (is_float(v->elem))
            ((double *)v->items)[i] = x.f;
        else if (x.fits)
            ((int64_t *)v->items)[i] = x.i;
        else {
            c->rc = ws_fail(c->err, WS_EUNSUPPORTED, "%s: %s: element %zu is above 2^63", c->path, v->key, i);
            return;
        }
    }
}

static void read_pair(cursor *c, value *v) {
    size_t len, start = c->at;
    v->key = string(c, &len, 1, "a metadata key");
    v->type = (uint32_t)number(c, 4, "a metadata type");
    if (c->rc) return;
    if (v->type >= T_COUNT)
        c->rc =
            ws_fail(c->err, WS_EFORMAT, "%s: byte %zu: %s has the unknown type %u", c->path, start, v->key, v->type);
    else if (v->type == T_STRING)
        v->s = string(c, &v->n, 0, v->key);
    else if (v->type == T_ARRAY)
        read_array(c, v);
    else
        scalar(v, v->type, number(c, sizes[v->type], v->key));
}

/* Names for types that we do not read, so that the refusal speaks the user's language. */
static int find_type(uint32_t t, ws_dtype *out, const char **name) {
    static const struct {
        uint32_t id;
        int type; /* -1: known by name only */
        const char *name;
    } known[] = {{0, WS_F32, "F32"},    {1, WS_F16, "F16"},    {2, WS_Q4_0, "Q4_0"},  {3, WS_Q4_1, "Q4_1"},
                 {6, WS_Q5_0, "Q5_0"},  {7, WS_Q5_1, "Q5_1"},  {8, WS_Q8_0, "Q8_0"},  {24, WS_I8, "I8"},
                 {25, WS_I16, "I16"},   {26, WS_I32, "I32"},   {27, WS_I64, "I64"},   {28, WS_F64, "F64"},
                 {30, WS_BF16, "BF16"}, {9, -1, "Q8_1"},       {10, -1, "Q2_K"},      {11, -1, "Q3_K"},
                 {12, WS_Q4_K, "Q4_K"}, {13, WS_Q5_K, "Q5_K"}, {14, WS_Q6_K, "Q6_K"}, {15, -1, "Q8_K"},
                 {16, -1, "IQ2_XXS"},   {17, -1, "IQ2_XS"},    {18, -1, "IQ3_XXS"},   {19, -1, "IQ1_S"},
                 {20, -1, "IQ4_NL"},    {21, -1, "IQ3_S"},     {22, -1, "IQ2_S"},     {23, -1, "IQ4_XS"},
                 {29, -1, "IQ1_M"},     {34, -1, "TQ1_0"},     {35, -1, "TQ2_0"},     {39, -1, "MXFP4"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].id == t) {
            *name = known[i].name;
            *out = (ws_dtype)known[i].type;
            return known[i].type >= 0;
        }
    *name = NULL;
    return 0;
}

/* The offset is left in `data` as a number until the data section's start is known. */
static void read_tensor(cursor *c, ws_tensor *t) {
    size_t len, start = c->at;
    t->name = string(c, &len, 1, "a tensor's name");
    uint32_t dims = (uint32_t)number(c, 4, "a tensor's dimensions");
    if (c->rc) return;
    if (dims > 4) {
        c->rc = ws_fail(c->err, WS_EFORMAT, "%s: byte %zu: %s has %u dimensions, GGUF allows 4", c->path, start,
                        t->name, dims);
        return;
    }
    t->dims = (int)dims;
    uint64_t numel = 1, d;
    int64_t inner = 1;
    for (uint32_t i = 0; i < dims; i++) { /* the file gives the innermost dimension first */
        d = number(c, 8, "a tensor's dimensions");
        if (!c->rc && (d > INT64_MAX || __builtin_mul_overflow(numel, d, &numel) || numel > INT64_MAX / 8))
            c->rc = ws_fail(c->err, WS_EFORMAT, "%s: byte %zu: %s: the size overflows", c->path, start, t->name);
        if (c->rc) return;
        t->dim[dims - 1 - i] = (int64_t)d;
        if (!i) inner = (int64_t)d;
    }
    const char *name;
    uint32_t type = (uint32_t)number(c, 4, "a tensor's type");
    uint64_t offset = number(c, 8, "a tensor's offset");
    if (c->rc) return;
    if (!find_type(type, &t->type, &name)) {
        if (name)
            c->rc = ws_fail(c->err, WS_EUNSUPPORTED,
                            "%s: %s: stored as %s, which is not read (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
                            "Q4_K, Q5_K, Q6_K are)",
                            c->path, t->name, name);
        else
            c->rc = ws_fail(c->err, WS_EFORMAT, "%s: byte %zu: %s has the unknown type number %u", c->path, start,
                            t->name, type);
        return;
    }
    if (inner % ws_dtypes[t->type].block) {
        c->rc = ws_fail(c->err, WS_EFORMAT, "%s: byte %zu: %s: rows of %lld are not whole blocks of %d, as %s needs",
                        c->path, start, t->name, (long long)inner, ws_dtypes[t->type].block, name);
        return;
    }
    t->bytes = ws_dtype_bytes(t->type, (int64_t)numel);
    t->data = (const void *)(uintptr_t)offset;
}

static int by_key(const void *a, const void *b) { return strcmp(((const value *)a)->key, ((const value *)b)->key); }
static int by_tensor_name(const void *a, const void *b) {
    return strcmp((*(const ws_tensor *const *)a)->name, (*(const ws_tensor *const *)b)->name);
}
static int by_place(const void *a, const void *b) {
    const ws_tensor *x = *(const ws_tensor *const *)a, *y = *(const ws_tensor *const *)b;
    const char *p = x->data, *q = y->data;
    if (p != q) return p < q ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Offsets become pointers; every tensor must be aligned, inside the data, and alone there. */
static ws_status place(ws_gguf *g, cursor *c) {
    int64_t alignment = 32;
    if (ws_gguf_has(g, "general.alignment") && (!ws_gguf_int(g, "general.alignment", &alignment) || alignment < 1 ||
                                                alignment > 1 << 20 || (alignment & (alignment - 1))))
        return ws_fail(c->err, WS_EFORMAT, "%s: general.alignment is no power of two up to 2^20", c->path);
    size_t a = (size_t)alignment, start = (c->at + a - 1) / a * a, left = start < c->n ? c->n - start : 0;
    for (size_t i = 0; i < g->n_t; i++) {
        ws_tensor *t = &g->t[i];
        uint64_t offset = (uintptr_t)t->data;
        if (offset % a)
            return ws_fail(c->err, WS_EFORMAT, "%s: %s: offset %llu is not aligned to %zu", c->path, t->name,
                           (unsigned long long)offset, a);
        if (offset > left || t->bytes > left - offset)
            return ws_fail(c->err, WS_EFORMAT,
                           "%s: %s: lies at %llu with %zu bytes, the data has %zu from byte %zu (truncated file?)",
                           c->path, t->name, (unsigned long long)offset, t->bytes, left, start);
        t->data = t->bytes ? c->p + start + offset : c->p;
    }
    g->by_name = ws_xmalloc((g->n_t + 1) * sizeof *g->by_name);
    for (size_t i = 0; i < g->n_t; i++) g->by_name[i] = &g->t[i];
    if (g->n_t) qsort(g->by_name, g->n_t, sizeof *g->by_name, by_place);
    for (size_t i = 1; i < g->n_t; i++) {
        const ws_tensor *x = g->by_name[i - 1], *y = g->by_name[i];
        if (x->bytes && (const char *)x->data + x->bytes > (const char *)y->data)
            return ws_fail(c->err, WS_EFORMAT, "%s: %s and %s overlap at byte %zu", c->path, x->name, y->name,
                           (size_t)((const uint8_t *)y->data - c->p));
    }
    return WS_OK;
}

static ws_status index_names(ws_gguf *g, const char *path, ws_err *err) {
    for (size_t i = 0; i < g->n_t; i++) g->by_name[i] = &g->t[i];
    if (g->n_t) qsort(g->by_name, g->n_t, sizeof *g->by_name, by_tensor_name);
    for (size_t i = 1; i < g->n_t; i++)
        if (!strcmp(g->by_name[i]->name, g->by_name[i - 1]->name))
            return ws_fail(err, WS_EFORMAT, "%s: the tensor %s stands twice", path, g->by_name[i]->name);
    return WS_OK;
}

static ws_status parse(ws_gguf *g, cursor *c) {
    if (c->n < 4 || memcmp(c->p, "GGUF", 4))
        return ws_fail(c->err, WS_EFORMAT, "%s: byte 0: no GGUF file (its first bytes are not \"GGUF\")", c->path);
    c->at = 4;
    g->version = (uint32_t)number(c, 4, "the version");
    if (c->rc) return c->rc;
    if (g->version != 2 && g->version != 3)
        return ws_fail(c->err, WS_EUNSUPPORTED, "%s: byte 4: GGUF version %u%s; versions 2 and 3 are read", c->path,
                       g->version, g->version && !(g->version & 0xffff) ? " (a big-endian file)" : "");
    uint64_t n_t = number(c, 8, "the tensor count"), n_v = number(c, 8, "the metadata count");
    if (c->rc) return c->rc;
    /* the shortest pair has 8 + 1 + 4 + 1 bytes, the shortest tensor entry 8 + 1 + 4 + 4 + 8 */
    size_t left = c->n - c->at;
    if (n_v > left / 14 || n_t > left / 25)
        return ws_fail(c->err, WS_EFORMAT, "%s: byte 8: %llu tensors and %llu metadata pairs cannot stand in %zu bytes",
                       c->path, (unsigned long long)n_t, (unsigned long long)n_v, c->n);
    for (size_t cap = 0; g->n_v < n_v; g->n_v++) { /* grown as entries prove to be there */
        if (g->n_v == cap) g->v = ws_xrealloc(g->v, (cap = cap * 2 + 16) * sizeof *g->v);
        memset(&g->v[g->n_v], 0, sizeof *g->v);
        read_pair(c, &g->v[g->n_v]);
        if (c->rc) {
            g->n_v++; /* close frees what it holds */
            return c->rc;
        }
    }
    if (g->n_v) qsort(g->v, g->n_v, sizeof *g->v, by_key);
    for (size_t i = 1; i < g->n_v; i++)
        if (!strcmp(g->v[i].key, g->v[i - 1].key))
            return ws_fail(c->err, WS_EFORMAT, "%s: the metadata key %s stands twice", c->path, g->v[i].key);

    for (size_t cap = 0; g->n_t < n_t; g->n_t++) {
        if (g->n_t == cap) g->t = ws_xrealloc(g->t, (cap = cap * 2 + 16) * sizeof *g->t);
        memset(&g->t[g->n_t], 0, sizeof *g->t);
        read_tensor(c, &g->t[g->n_t]);
        if (c->rc) {
            g->n_t++;
            return c->rc;
        }
    }
    ws_status rc = place(g, c);
    return rc ? rc : index_names(g, c->path, c->err);
}

ws_status ws_gguf_parse(ws_gguf **out, const void *bytes, size_t n, const char *name_for_errors, ws_err *err) {
    ws_gguf *g = ws_xcalloc(1, sizeof *g);
    cursor c = {bytes, 0, n, name_for_errors, err, WS_OK};
    ws_status rc = parse(g, &c);
    if (rc) ws_gguf_close(g);
    *out = rc ? NULL : g;
    return rc;
}

static ws_status open_one(ws_gguf **out, const char *path, ws_err *err) {
    ws_map m;
    *out = NULL;
    ws_status rc = ws_map_open(&m, path, err);
    if (rc) return rc;
    rc = ws_gguf_parse(out, m.p, m.n, path, err);
    if (rc) {
        ws_map_close(&m);
        return rc;
    }
    (*out)->map = ws_xmalloc(sizeof m);
    (*out)->map[0] = m;
    (*out)->n_maps = 1;
    return WS_OK;
}

/* ---- files in parts ---- */

/* The tensors and the mapping of `part` go over to g. */
static void absorb(ws_gguf *g, ws_gguf *part) {
    g->t = ws_xrealloc(g->t, (g->n_t + part->n_t + 1) * sizeof *g->t);
    if (part->n_t) memcpy(g->t + g->n_t, part->t, part->n_t * sizeof *g->t);
    g->n_t += part->n_t;
    g->map = ws_xrealloc(g->map, (g->n_maps + 1) * sizeof *g->map);
    g->map[g->n_maps++] = part->map[0];
    part->n_t = part->n_maps = 0;
}

static ws_status open_part(ws_gguf *g, const char *path, int64_t no, int64_t count, ws_err *err) {
    ws_gguf *part = NULL;
    int64_t is_no = -1, is_count = -1;
    ws_status rc = open_one(&part, path, err);
    if (rc) return ws_fail_prefix(err, "part %lld of %lld", (long long)no, (long long)count);
    if (!ws_gguf_int(part, "split.no", &is_no) || !ws_gguf_int(part, "split.count", &is_count) || is_no != no - 1 ||
        is_count != count)
        rc = ws_fail(err, WS_EFORMAT, "%s: says that it is part %lld of %lld; its name says %lld of %lld", path,
                     (long long)is_no + 1, (long long)is_count, (long long)no, (long long)count);
    else
        absorb(g, part);
    ws_gguf_close(part);
    return rc;
}

static ws_status open_parts(ws_gguf *g, const char *path, int64_t count, ws_err *err) {
    int64_t no = 0, tensors = -1;
    if (!ws_gguf_int(g, "split.no", &no) || no)
        return ws_fail(err, WS_EUSAGE, "%s: is part %lld of %lld; name the first part", path, (long long)no + 1,
                       (long long)count);
    if (ws_name_parts(path, NULL) != (size_t)count)
        return ws_fail(
            err, WS_EFORMAT,
            "%s: is the first of %lld parts, so its name must end in -00001-of-%05lld.gguf for the others to "
            "be found",
            path, (long long)count, (long long)count);
    for (int64_t i = 2; i <= count; i++) {
        char *name = ws_name_part(path, (size_t)i);
        ws_status rc = open_part(g, name, i, count, err);
        free(name);
        if (rc) return rc;
    }
    if (ws_gguf_int(g, "split.tensors.count", &tensors) && tensors != (int64_t)g->n_t)
        return ws_fail(err, WS_EFORMAT, "%s: the parts hold %zu tensors together, %lld are announced", path, g->n_t,
                       (long long)tensors);
    free(g->by_name);
    g->by_name = ws_xmalloc((g->n_t + 1) * sizeof *g->by_name);
    return index_names(g, path, err);
}

int ws_is_gguf(const char *path) {
    char magic[4];
    FILE *f = fopen(path, "rbe");
    int yes = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, "GGUF", 4);
    if (f) fclose(f);
    return yes;
}

ws_status ws_gguf_open(ws_gguf **out, const char *path, ws_err *err) {
    ws_gguf *g;
    int64_t count = 1;
    *out = NULL;
    ws_status rc = open_one(&g, path, err);
    if (!rc && ws_gguf_int(g, "split.count", &count) && count > 1) rc = open_parts(g, path, count, err);
    if (rc)
        ws_gguf_close(g);
    else
        *out = g;
    return rc;
}

void ws_gguf_close(ws_gguf *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_v; i++) {
        free(g->v[i].key), free(g->v[i].s), free(g->v[i].items), free(g->v[i].lens), free(g->v[i].text);
    }
    for (size_t i = 0; i < g->n_t; i++) free(g->t[i].name);
    for (size_t i = 0; i < g->n_maps; i++) ws_map_close(&g->map[i]);
    free(g->v), free(g->t), free(g->by_name), free(g->map);
    free(g);
}

/* ---- looking things up ---- */

size_t ws_gguf_count(const ws_gguf *g) { return g->n_t; }
const ws_tensor *ws_gguf_at(const ws_gguf *g, size_t i) { return &g->t[i]; }

const ws_tensor *ws_gguf_find(const ws_gguf *g, const char *name) {
    const ws_tensor key = {.name = (char *)(uintptr_t)name}, *k = &key;
    const ws_tensor *const *f = g->n_t ? bsearch(&k, g->by_name, g->n_t, sizeof *g->by_name, by_tensor_name) : NULL;
    return f ? *f : NULL;
}

static const value *find(const ws_gguf *g, const char *key) {
    value k = {.key = (char *)(uintptr_t)key};
    return g->n_v ? bsearch(&k, g->v, g->n_v, sizeof *g->v, by_key) : NULL;
}

int ws_gguf_has(const ws_gguf *g, const char *key) { return find(g, key) != NULL; }

const char *ws_gguf_str(const ws_gguf *g, const char *key, size_t *len) {
    const value *v = find(g, key);
    if (!v || v->type != T_STRING) return NULL;
    if (len) *len = v->n;
    return v->s;
}

int ws_gguf_int(const ws_gguf *g, const char *key, int64_t *out) {
    const value *v = find(g, key);
    if (!v || v->type == T_STRING || v->type == T_ARRAY || !v->fits) return 0;
    *out = v->i;
    return 1;
}

int ws_gguf_num(const ws_gguf *g, const char *key, double *out) {
    const value *v = find(g, key);
    if (!v || v->type == T_STRING || v->type == T_ARRAY) return 0;
    *out = v->f;
    return 1;
}

size_t ws_gguf_strings(const ws_gguf *g, const char *key, const char *const **out, const size_t **lens) {
    const value *v = find(g, key);
    if (!v || v->type != T_ARRAY || v->elem != T_STRING) return 0;
    if (out) *out = v->items;
    if (lens) *lens = v->lens;
    return v->n;
}

size_t ws_gguf_ints(const ws_gguf *g, const char *key, const int64_t **out) {
    const value *v = find(g, key);
    if (!v || v->type != T_ARRAY || v->elem == T_STRING || is_float(v->elem)) return 0;
    *out = v->items;
    return v->n;
}

size_t ws_gguf_nums(const ws_gguf *g, const char *key, const double **out) {
    const value *v = find(g, key);
    if (!v || v->type != T_ARRAY || !is_float(v->elem)) return 0;
    *out = v->items;
    return v->n;
}

static json_t *json_number(double f, int64_t i, int integral) {
    if (integral) return json_integer(i);
    return isfinite(f) ? json_real(f) : json_null();
}

/* Text that is no UTF-8 has no place in JSON: it is counted instead. */
static json_t *json_text(const char *s, size_t n) {
    json_t *j = json_stringn(s, n);
    return j ? j : json_sprintf("(%zu bytes that are no UTF-8)", n);
}

json_t *ws_gguf_meta_json(const ws_gguf *g) {
    enum { SHOWN = 8 };
    json_t *o = json_object();
    for (size_t k = 0; k < g->n_v; k++) {
        const value *v = &g->v[k];
        json_t *j;
        if (v->type == T_STRING)
            j = json_text(v->s, v->n);
        else if (v->type == T_BOOL)
            j = json_boolean(v->i != 0);
        else if (v->type == T_ARRAY) {
            j = json_array();
            for (size_t i = 0; i < v->n && i < SHOWN; i++) {
                json_t *e;
                if (v->elem == T_STRING)
                    e = json_text(((const char *const *)v->items)[i], v->lens[i]);
                else if (is_float(v->elem))
                    e = json_number(((const double *)v->items)[i], 0, 0);
                else
                    e = json_integer(((const int64_t *)v->items)[i]);
                json_array_append_new(j, e);
            }
            if (v->n > SHOWN) json_array_append_new(j, json_sprintf("... %zu in all", v->n));
        } else
            j = json_number(v->f, v->i, v->fits);
        json_object_set_new(o, v->key, j); /* a key that is no UTF-8 is left out (and j released) */
    }
    return o;
}
