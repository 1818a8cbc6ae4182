/* src/export/merged.c - a Hugging Face checkpoint with W + dW in place of W (adapters.md 3.5).
 * dW is made in fp32, row block by row block, and the sum is rounded once.  Shards, names, index and metadata are the input's;
 * every tensor that dW does not touch is copied byte for byte, vision and multi-token prediction too; so are the small files.
 * A GGUF's quantised weights cannot take dW (their steps are coarser): it is refused unless --dtype widens everything. */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "export/hf_dir.h"
#include "export/rows.h"
#include "io/json.h"
#include "io/names.h"
#include "io/place.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(merged)

typedef struct one {
    const ws_tensor *from; /* as the checkpoint has it */
    int edit;              /* index into the delta; -1: untouched */
    int bias;              /* it is the bias of that module */
} one;

typedef struct work {
    ws_export *x;
    int n_shards;
    ws_tensor *t;     /* of the shard at hand */
    one *of;          /* [tensors of the shard] */
    ws_rows_sum *sum; /* [sites] */
    ws_progress bar;
    int64_t done;
    char *seen; /* [sites] 1: its weight was written, 2: its bias */
} work;

static ws_dtype type_of(const ws_export *x, const ws_tensor *t) {
    if (x->has_dtype) return x->dtype;
    return t->type;
}

static ws_status check(ws_export *x, ws_err *err) {
    const ws_checkpoint *c = ws_model_checkpoint(x->m);
    if (ws_checkpoint_gguf(c) && !x->has_dtype)
        return ws_fail(
            err, WS_EUNSUPPORTED,
            "%s is a GGUF: dW is smaller than the steps of quantised weights, so merging it in would lose it. "
            "--to gguf-lora keeps it beside them; --dtype bf16 or f32 widens every weight into a Hugging "
            "Face checkpoint",
            ws_checkpoint_path(c));
    for (int i = 0; i < ws_delta_n_sites(x->d); i++) {
        const ws_site *at = ws_model_site(x->m, ws_delta_site(x->d, i));
        if (ws_delta_edit(x->d, i)->db && !at->bias)
            return ws_fail(err, WS_EUNSUPPORTED, "dW changes the bias of %s, and this model has none there", at->name);
        if (at->w->type != WS_F32 && !x->has_dtype) x->lossy = 1;
    }
    if (x->has_dtype && x->dtype != WS_F32) x->lossy = 1;
    return WS_OK;
}

/* Which edit a tensor of the file belongs to. */
static one look_up(const ws_export *x, const ws_tensor *t, const char *canonical) {
    static const char *const suffix[] = {".weight", ".bias"};
    one o = {t, -1, 0};
    for (int bias = 0; canonical && bias < 2; bias++) {
        size_t n = strlen(canonical), k = strlen(suffix[bias]);
        if (n <= k || strcmp(canonical + n - k, suffix[bias])) continue;
        for (int i = 0; i < ws_delta_n_sites(x->d); i++) {
            const char *site = ws_model_site(x->m, ws_delta_site(x->d, i))->name;
            if (strlen(site) != n - k || strncmp(site, canonical, n - k)) continue;
            if (!bias || ws_delta_edit(x->d, i)->db) o.edit = i, o.bias = bias;
        }
    }
    return o;
}

/* Numbers [first, first + n) of a tensor that a GGUF stores otherwise, or in another type. */
static void widened(const ws_tensor *from, ws_dtype type, int64_t first, int64_t n, char *out) {
    const int64_t cols = from->dims > 0 && from->dim[0] ? ws_tensor_numel(from) / from->dim[0] : 1;
    float *row = ws_xmalloc((size_t)cols * sizeof *row);
    for (int64_t at = first; at < first + n;) {
        int64_t c = at % cols, k = cols - c < first + n - at ? cols - c : first + n - at;
        ws_tensor_row_f32(from, at / cols, row);
        ws_export_store(out + (size_t)(at - first) * (size_t)ws_dtypes[type].bytes, type, row + c, k);
        at += k;
    }
    free(row);
}

static ws_status biased(const work *w, const one *o, const ws_tensor *t, int64_t first, int64_t n, void *out,
                        ws_err *err) {
    const ws_edit *e = ws_delta_edit(w->x->d, o->edit);
    float *b = ws_tensor_f32(o->from);
    ws_status st = b ? WS_OK : ws_fail(err, WS_ENOMEM, "out of memory for %s", t->name);
    for (int64_t i = 0; b && i < e->d_out; i++) {
        b[i] += e->db[i];
        if (!isfinite(b[i])) st = ws_fail(err, WS_ENONFINITE, "%s would hold NaN or infinity", t->name);
    }
    if (!st) ws_export_store(out, t->type, b + first, n);
    free(b);
    return st;
}

static ws_status fill(void *arg, const ws_tensor *t, size_t from, void *out, size_t n, ws_err *err) {
    work *w = arg;
    const one *o = &w->of[t - w->t];
    const size_t size = (size_t)ws_dtypes[t->type].bytes;
    const int64_t first = (int64_t)(from / size), count = (int64_t)(n / size);
    ws_status st = WS_OK;
    if (o->edit >= 0 && o->bias) {
        st = biased(w, o, t, first, count, out, err);
        w->seen[o->edit] |= 2;
    } else if (o->edit >= 0) {
        const ws_site *at = ws_model_site(w->x->m, ws_delta_site(w->x->d, o->edit));
        st = ws_export_piece(at, ws_delta_edit(w->x->d, o->edit), 1, t->type, first, count, out, &w->sum[o->edit], err);
        w->seen[o->edit] |= 1;
    } else if (o->from->type == t->type && !o->from->row_order.a && !o->from->col_order.a && !o->from->stored)
        memcpy(out, (const char *)o->from->data + from, n);
    else
        widened(o->from, t->type, first, count, out);
    ws_progress_update(&w->bar, w->done += (int64_t)(n >> 10), NULL);
    return st ? st : ws_interrupt_check(err);
}

static void place(work *w, size_t i, const ws_tensor *from, char *name, const char *canonical, ws_dtype type) {
    w->of[i] = look_up(w->x, from, canonical);
    w->t[i] = *from;
    w->t[i].name = name, w->t[i].type = type;
    w->t[i].row_order = w->t[i].col_order = (ws_order){0};
    w->t[i].stored = WS_STORED_PLAIN;
    w->t[i].bytes = ws_dtype_bytes(type, ws_tensor_numel(from));
}

static void make_room(work *w, size_t n) {
    w->t = ws_xcalloc(n + 1, sizeof *w->t), w->of = ws_xcalloc(n + 1, sizeof *w->of);
}

static void free_shard(work *w, size_t n) {
    for (size_t i = 0; i < n; i++) free(w->t[i].name);
    free(w->t), free(w->of);
    w->t = NULL, w->of = NULL;
}

/* ---------- a Hugging Face directory, shard by shard ---------- */

static size_t plan_shard(work *w, const ws_safetensors *s) {
    const size_t n = ws_safetensors_count(s);
    make_room(w, n);
    for (size_t i = 0; i < n; i++) {
        const ws_tensor *t = ws_safetensors_at(s, i);
        char *canonical;
        ws_name_canonical(t->name, &canonical);
        place(w, i, t, ws_xstrdup(t->name), canonical, t->type);
        if (w->of[i].edit >= 0) {
            w->t[i].type = type_of(w->x, t);
            w->t[i].bytes = ws_dtype_bytes(w->t[i].type, ws_tensor_numel(t));
        }
        free(canonical);
    }
    return n;
}

/* Bytes of tensors, all shards. */
static int64_t total(work *w, const ws_checkpoint *c) {
    int64_t bytes = 0;
    for (int k = 0; k < w->n_shards; k++) {
        size_t n = plan_shard(w, ws_checkpoint_shard(c, (size_t)k, NULL));
        for (size_t i = 0; i < n; i++) bytes += (int64_t)w->t[i].bytes;
        free_shard(w, n);
    }
    return bytes;
}

static ws_status write_index(const ws_checkpoint *c, const char *dir, int64_t bytes, ws_err *err) {
    static const char name[] = "model.safetensors.index.json";
    char *from = ws_checkpoint_file(c, name), *to = ws_path_join(dir, name);
    json_t *index = NULL;
    ws_status st = from ? ws_json_load(&index, from, err) : WS_OK;
    if (!st && index) {
        json_t *meta = json_object_get(index, "metadata");
        if (json_object_get(meta, "total_size")) json_object_set_new(meta, "total_size", json_integer(bytes));
        st = ws_json_save(index, to, err);
    }
    json_decref(index);
    free(from), free(to);
    return st;
}

/* The widest type that a touched weight was given. */
static ws_dtype widest(const ws_export *x) {
    if (x->has_dtype) return x->dtype;
    return ws_model_site(x->m, ws_delta_site(x->d, 0))->w->type;
}

static ws_status write_directory(work *w, const ws_checkpoint *c, const char *dir, ws_err *err) {
    w->n_shards = (int)ws_checkpoint_shards(c);
    int64_t bytes = total(w, c);
    ws_status st = ws_disk_room(dir, bytes, err);
    ws_progress_start(&w->bar, "merge", "KiB", bytes >> 10);
    for (int k = 0; k < w->n_shards && !st; k++) {
        const char *file;
        const ws_safetensors *s = ws_checkpoint_shard(c, (size_t)k, &file);
        size_t n = plan_shard(w, s);
        char *path = ws_path_join(dir, file);
        st = ws_safetensors_stream(path, w->t, n, ws_safetensors_meta(s), fill, w, err);
        free(path);
        free_shard(w, n);
    }
    ws_progress_end(&w->bar);
    if (!st) st = write_index(c, dir, bytes, err);
    return st ? st : ws_hf_copy_files(ws_checkpoint_path(c), dir, widest(w->x), err);
}

/* ---------- a GGUF, widened ---------- */

/* Matrices of the decoder take the wanted type; vectors and other small tensors stay as exact as the GGUF has them. */
static ws_dtype widened_type(const ws_export *x, const ws_tensor *t) {
    if (t->dims == 2) return x->dtype;
    return t->type == WS_BF16 || t->type == WS_F16 ? t->type : WS_F32;
}

static ws_status write_gguf(work *w, const ws_checkpoint *c, const char *dir, ws_err *err) {
    const size_t n = ws_checkpoint_count(c);
    int64_t bytes = 0;
    make_room(w, n);
    for (size_t i = 0; i < n; i++) {
        const ws_tensor *t = ws_checkpoint_at(c, i);
        place(w, i, t, ws_xstrdup(t->name), t->name, widened_type(w->x, t));
        bytes += (int64_t)w->t[i].bytes;
    }
    char *path = ws_path_join(dir, "model.safetensors");
    ws_status st = ws_disk_room(dir, bytes, err);
    ws_progress_start(&w->bar, "merge", "KiB", bytes >> 10);
    if (!st) st = ws_hf_config_of_gguf(c, dir, w->x->dtype, err);
    if (!st) st = ws_safetensors_stream(path, w->t, n, NULL, fill, w, err);
    ws_progress_end(&w->bar);
    free(path);
    free_shard(w, n);
    if (!st)
        ws_note("a GGUF holds its tokenizer in another form: copy tokenizer.json and tokenizer_config.json of the "
                "original model beside the weights");
    return st;
}

static ws_status write(ws_export *x, const char *dir, ws_err *err) {
    const ws_checkpoint *c = ws_model_checkpoint(x->m);
    const int n = ws_delta_n_sites(x->d);
    work w = {.x = x, .sum = ws_xcalloc((size_t)n, sizeof *w.sum), .seen = ws_xcalloc((size_t)n, 1)};
    ws_status st = ws_checkpoint_gguf(c) ? write_gguf(&w, c, dir, err) : write_directory(&w, c, dir, err);
    for (int i = 0; i < n && !st; i++) {
        const ws_site *at = ws_model_site(x->m, ws_delta_site(x->d, i));
        if (w.seen[i] != (ws_delta_edit(x->d, i)->db ? 3 : 1)) BUG("%s was not written", at->name);
        ws_loss_add(&x->loss, at->name, 0, w.sum[i].full, w.sum[i].lost);
    }
    free(w.sum), free(w.seen);
    return st;
}

static ws_status reopen(ws_export *x, const char *dir, ws_export_back *back, ws_err *err) {
    (void)x;
    if (ws_checkpoint_open(&back->c, dir, err) || ws_model_open(&back->m, back->c, err)) return err->code;
    return WS_OK;
}

const ws_export_ops ws_export_merged = {
    .name = "merged",
    .title = "a Hugging Face checkpoint with dW in its weights",
    .dir = 1,
    .takes_dtype = 1,
    .check = check,
    .write = write,
    .reopen = reopen,
};
