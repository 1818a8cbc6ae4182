/* src/io/safetensors.c - [u64 little-endian N][N bytes of JSON header][data]; offsets count from the end of the header. */
#include "io/safetensors.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ws_safetensors {
    ws_map map; /* empty when the bytes are the caller's */
    json_t *header;
    ws_tensor *t; /* by offset */
    size_t n;
    const ws_tensor **by_name;
};

/* The reference library refuses longer headers too. */
enum { MAX_HEADER = 100 * 1000 * 1000 };

int64_t ws_tensor_numel(const ws_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->dims; i++) n *= t->dim[i];
    return n;
}

void ws_tensor_shape(const ws_tensor *t, char out[96]) {
    int n = snprintf(out, 96, "[");
    for (int i = 0; i < t->dims && n < 90; i++)
        n += snprintf(out + n, (size_t)(96 - n), "%s%lld", i ? ", " : "", (long long)t->dim[i]);
    if (n < 95) snprintf(out + n, (size_t)(96 - n), "]");
}

static void undo(float *v, int64_t n, ws_stored how) {
    if (how == WS_STORED_PLUS_ONE)
        for (int64_t i = 0; i < n; i++) v[i] -= 1; /* exact for what fl(v + 1) gave; adding 1 again gives it back */
    if (how == WS_STORED_NEG_EXP)
        for (int64_t i = 0; i < n; i++) v[i] = (float)log(-(double)v[i]);
}

static void read_row(const ws_tensor *t, int64_t r, int64_t cols, float *out) {
    const char *row = (const char *)t->data + (size_t)ws_order_at(t->row_order, r) * ws_dtype_bytes(t->type, cols);
    if (!t->col_order.a)
        ws_dtype_to_f32(out, row, t->type, cols);
    else
        for (int64_t c = 0, n; c < cols; c += n) { /* heads of columns, which may be parts of blocks */
            n = c < t->col_order.from ? t->col_order.from : t->col_order.unit;
            ws_dtype_part_f32(out + c, row, t->type, ws_order_at(t->col_order, c), n);
        }
    undo(out, cols, t->stored);
}

void ws_tensor_row_f32(const ws_tensor *t, int64_t r, float *out) {
    read_row(t, r, t->dims > 0 && t->dim[0] ? ws_tensor_numel(t) / t->dim[0] : 1, out);
}

float *ws_tensor_f32(const ws_tensor *t) {
    int64_t n = ws_tensor_numel(t);
    float *out = ws_try_alloc((size_t)(n ? n : 1), sizeof *out);
    if (!out || !n) return out;
    if (t->dims < 1 || (!t->row_order.a && !t->col_order.a)) {
        ws_dtype_to_f32(out, t->data, t->type, n);
        undo(out, n, t->stored);
        return out;
    }
    /* A vector has rows of one number (and is plain F32, so a row is addressable). */
    const int64_t rows = t->dim[0], cols = n / rows;
    for (int64_t r = 0; r < rows; r++) read_row(t, r, cols, out + r * cols);
    return out;
}

/* ---- reading ---- */

static int find_type(const char *name, ws_dtype *out) {
    for (int i = 0; i < WS_DTYPE_COUNT; i++)
        if (ws_dtypes[i].block == 1 && !strcmp(ws_dtypes[i].name, name)) {
            *out = (ws_dtype)i;
            return 1;
        }
    return 0;
}

static int by_offset(const void *a, const void *b) {
    const ws_tensor *x = a, *y = b;
    const char *p = x->data, *q = y->data;
    if (p != q) return p < q ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1; /* an empty tensor before the one that starts there */
    return strcmp(x->name, y->name);
}

static int by_tensor_name(const void *a, const void *b) {
    return strcmp((*(const ws_tensor *const *)a)->name, (*(const ws_tensor *const *)b)->name);
}

static ws_status read_entry(ws_tensor *t, const char *name, const json_t *e, const uint8_t *data, size_t n_data,
                            const char *path, ws_err *err) {
    const char *type = json_string_value(json_object_get(e, "dtype"));
    const json_t *shape = json_object_get(e, "shape"), *range = json_object_get(e, "data_offsets");
    if (!type || !json_is_array(shape) || !json_is_array(range) || json_array_size(range) != 2)
        return ws_fail(err, WS_EFORMAT, "%s: %s: the header must give dtype, shape and two data_offsets", path, name);
    if (!find_type(type, &t->type))
        return ws_fail(err, WS_EUNSUPPORTED,
                       "%s: %s: stored as %s, which is not read (F32, F16, BF16 and plain integers are)", path, name,
                       type);
    size_t dims = json_array_size(shape);
    if (dims > WS_MAX_DIMS)
        return ws_fail(err, WS_EUNSUPPORTED, "%s: %s: has %zu dimensions, %d at most are read", path, name, dims,
                       WS_MAX_DIMS);
    size_t numel = 1, want;
    t->dims = (int)dims;
    for (size_t i = 0; i < dims; i++) {
        const json_t *v = json_array_get(shape, i);
        int64_t d = json_is_integer(v) ? json_integer_value(v) : -1;
        if (d < 0 || __builtin_mul_overflow(numel, (size_t)d, &numel) || numel > INT64_MAX)
            return ws_fail(err, WS_EFORMAT,
                           "%s: %s: dimension %zu is negative, no whole number, or makes the size overflow", path, name,
                           i);
        t->dim[i] = d;
    }
    if (__builtin_mul_overflow(numel, (size_t)ws_dtypes[t->type].bytes, &want))
        return ws_fail(err, WS_EFORMAT, "%s: %s: the size overflows", path, name);
    const json_t *jb = json_array_get(range, 0), *je = json_array_get(range, 1);
    int64_t b = json_is_integer(jb) ? json_integer_value(jb) : -1,
            f = json_is_integer(je) ? json_integer_value(je) : -1;
    if (b < 0 || f < b) return ws_fail(err, WS_EFORMAT, "%s: %s: data_offsets are no range", path, name);
    if ((uint64_t)f > n_data)
        return ws_fail(err, WS_EFORMAT, "%s: %s: ends at byte %lld of the data, which has only %zu (truncated file?)",
                       path, name, (long long)f, n_data);
    if ((size_t)(f - b) != want)
        return ws_fail(err, WS_EFORMAT, "%s: %s: data_offsets [%lld, %lld] hold %lld bytes, shape and type need %zu",
                       path, name, (long long)b, (long long)f, (long long)(f - b), want);
    t->name = ws_xstrdup(name);
    t->data = data + b;
    t->bytes = want;
    return WS_OK;
}

static ws_status read_meta(const json_t *meta, const char *path, ws_err *err) {
    const char *key;
    json_t *v;
    if (!json_is_object(meta)) return ws_fail(err, WS_EFORMAT, "%s: __metadata__ is no object", path);
    json_object_foreach((json_t *)(uintptr_t)meta, key, v) if (!json_is_string(v)) return ws_fail(
        err, WS_EFORMAT, "%s: __metadata__ \"%s\" is no string", path, key);
    return WS_OK;
}

ws_status ws_safetensors_parse(ws_safetensors **out, const void *bytes, size_t size, const char *path, ws_err *err) {
    const uint8_t *p = bytes;
    uint64_t n = 0;
    *out = NULL;
    if (size < 8) return ws_fail(err, WS_EFORMAT, "%s: %zu bytes are too few for a safetensors file", path, size);
    for (int i = 0; i < 8; i++) n |= (uint64_t)p[i] << (8 * i);
    if (n > MAX_HEADER || n > size - 8)
        return ws_fail(err, WS_EFORMAT,
                       "%s: byte 0: a header of %llu bytes %s (no safetensors file, or a truncated one)", path,
                       (unsigned long long)n, n > size - 8 ? "is longer than the file" : "is absurd");
    ws_safetensors *s = ws_xcalloc(1, sizeof *s);
    ws_status rc = ws_json_parse(&s->header, (const char *)p + 8, (size_t)n, path, err);
    if (rc) {
        if (err) ws_fail_prefix(err, "safetensors header");
        goto fail;
    }
    if (!json_is_object(s->header)) {
        rc = ws_fail(err, WS_EFORMAT, "%s: byte 8: the header is no JSON object", path);
        goto fail;
    }
    const uint8_t *data = p + 8 + n;
    size_t n_data = size - 8 - (size_t)n;
    s->t = ws_xcalloc(json_object_size(s->header) + 1, sizeof *s->t);
    const char *name;
    json_t *e;
    json_object_foreach(s->header, name, e) {
        if (!strcmp(name, "__metadata__"))
            rc = read_meta(e, path, err);
        else if (!(rc = read_entry(&s->t[s->n], name, e, data, n_data, path, err)))
            s->n++;
        if (rc) goto fail;
    }
    qsort(s->t, s->n, sizeof *s->t, by_offset);
    const uint8_t *at = data;
    for (size_t i = 0; i < s->n; i++) {
        const uint8_t *b = s->t[i].data;
        if (b != at) {
            rc = b < at ? ws_fail(err, WS_EFORMAT, "%s: %s and %s overlap at byte %zu", path, s->t[i - 1].name,
                                  s->t[i].name, (size_t)(b - p))
                        : ws_fail(err, WS_EFORMAT, "%s: %zu bytes before %s, at byte %zu, belong to no tensor", path,
                                  (size_t)(b - at), s->t[i].name, (size_t)(at - p));
            goto fail;
        }
        at = b + s->t[i].bytes;
    }
    if (at != p + size) {
        rc = ws_fail(err, WS_EFORMAT, "%s: %zu bytes after the last tensor, at byte %zu, belong to no tensor", path,
                     (size_t)(p + size - at), (size_t)(at - p));
        goto fail;
    }
    s->by_name = ws_xmalloc((s->n + 1) * sizeof *s->by_name);
    for (size_t i = 0; i < s->n; i++) s->by_name[i] = &s->t[i];
    qsort(s->by_name, s->n, sizeof *s->by_name, by_tensor_name);
    *out = s;
    return WS_OK;
fail:
    ws_safetensors_close(s);
    return rc;
}

ws_status ws_safetensors_open(ws_safetensors **out, const char *path, ws_err *err) {
    ws_map m;
    *out = NULL;
    ws_status rc = ws_map_open(&m, path, err);
    if (rc) return rc;
    rc = ws_safetensors_parse(out, m.p, m.n, path, err);
    if (rc)
        ws_map_close(&m);
    else
        (*out)->map = m;
    return rc;
}

void ws_safetensors_close(ws_safetensors *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n; i++) free(s->t[i].name);
    free(s->t);
    free(s->by_name);
    json_decref(s->header);
    ws_map_close(&s->map);
    free(s);
}

size_t ws_safetensors_count(const ws_safetensors *s) { return s->n; }
const ws_tensor *ws_safetensors_at(const ws_safetensors *s, size_t i) { return &s->t[i]; }
const json_t *ws_safetensors_meta(const ws_safetensors *s) { return json_object_get(s->header, "__metadata__"); }

const ws_tensor *ws_safetensors_find(const ws_safetensors *s, const char *name) {
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const ws_tensor *t = s->by_name[mid];
        int c = strcmp(name, t->name);
        if (!c) return t;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* ---- writing ---- */

enum { PIECE = 8 << 20 }; /* bytes asked for at once; a multiple of every element's size */

/* All of one tensor into the file. */
static ws_status put_tensor(ws_out *o, const ws_tensor *t, ws_tensor_fill_fn fill, void *arg, uint8_t *piece,
                            ws_err *err) {
    size_t bytes = ws_dtype_bytes(t->type, ws_tensor_numel(t));
    if (!fill) {
        if (bytes) fwrite(t->data, 1, bytes, o->f); /* commit reports every failed write */
        return WS_OK;
    }
    for (size_t at = 0; at < bytes && !ferror(o->f); at += PIECE) {
        size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        ws_status rc = fill(arg, t, at, piece, n, err);
        if (rc) return rc;
        fwrite(piece, 1, n, o->f);
    }
    return WS_OK;
}

static ws_status write_file(const char *path, const ws_tensor *t, size_t n, const json_t *meta, ws_tensor_fill_fn fill,
                            void *arg, ws_err *err) {
    const ws_tensor **sorted = ws_xmalloc((n + 1) * sizeof *sorted);
    json_t *header = json_object(), *m = meta ? json_deep_copy(meta) : json_pack("{s:s}", "format", "pt");
    uint8_t *piece = fill ? ws_xmalloc(PIECE) : NULL;
    ws_str text = {0};
    ws_out o = {0};
    ws_status rc = WS_OK;
    for (size_t i = 0; i < n; i++) sorted[i] = &t[i];
    qsort(sorted, n, sizeof *sorted, by_tensor_name);
    json_object_set_new(header, "__metadata__", m);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const ws_tensor *s = sorted[i];
        if (ws_dtypes[s->type].block != 1) BUG("%s: safetensors holds no %s", s->name, ws_dtypes[s->type].name);
        if (s->row_order.a || s->col_order.a || s->stored)
            BUG("%s: a GGUF's order and values are to be undone before writing", s->name);
        if (i && !strcmp(s->name, sorted[i - 1]->name)) BUG("two tensors named %s", s->name);
        size_t bytes = ws_dtype_bytes(s->type, ws_tensor_numel(s));
        json_t *shape = json_array();
        for (int d = 0; d < s->dims; d++) json_array_append_new(shape, json_integer(s->dim[d]));
        json_t *e = json_pack("{s:s, s:o, s:[I,I]}", "dtype", ws_dtypes[s->type].name, "shape", shape, "data_offsets",
                              (json_int_t)at, (json_int_t)(at + bytes));
        if (!e || json_object_set_new(header, s->name, e)) BUG("tensor name is not UTF-8");
        at += bytes;
    }
    ws_json_dump(header, &text, 1);
    while (text.n % 8) ws_str_addc(&text, ' ');
    if ((rc = ws_out_open(&o, path, err))) goto done;
    uint8_t le[8];
    for (int i = 0; i < 8; i++) le[i] = (uint8_t)((uint64_t)text.n >> (8 * i));
    fwrite(le, 1, 8, o.f);
    fwrite(text.p, 1, text.n, o.f);
    for (size_t i = 0; i < n && !rc && !ferror(o.f); i++) rc = put_tensor(&o, sorted[i], fill, arg, piece, err);
    if (rc)
        ws_out_abandon(&o);
    else
        rc = ws_out_commit(&o, err);
done:
    free(piece);
    free(sorted);
    json_decref(header);
    ws_str_free(&text);
    return rc;
}

ws_status ws_safetensors_write(const char *path, const ws_tensor *t, size_t n, const json_t *meta, ws_err *err) {
    return write_file(path, t, n, meta, NULL, NULL, err);
}

ws_status ws_safetensors_stream(const char *path, const ws_tensor *t, size_t n, const json_t *meta,
                                ws_tensor_fill_fn fill, void *arg, ws_err *err) {
    WS_ASSERT(fill);
    return write_file(path, t, n, meta, fill, arg, err);
}
