/* src/run/random_model.c - shards, index and the small files of a random model.
 * Matrices have standard deviation 1 / sqrt(hidden), 0.0198 at 2560: with a norm before every product and before the head,
 * activations stay near 1 at any depth and logits have a standard deviation of about 1. */
#include "run/random_model.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/rng.h"
#include "io/json.h"
#include "run/sample_tokenizer.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

typedef struct writer {
    const ws_likeness *like;
    ws_like_tensors all;
    float *row; /* [vocab] sizes of the embedding's rows */
    uint64_t seed;
    int64_t done;
    ws_progress bar;
} writer;

typedef struct piece {
    const writer *w;
    const ws_tensor *t;
    ws_fill fill;
    uint64_t key;
    int64_t first; /* element of the tensor that out[0] is */
    uint8_t *out;
} piece;

enum { CHUNK = 1 << 14, BELL = 512 };

static void shape_values(const piece *p, float *v, int64_t first, int64_t n) {
    const float fan = (float)(1 / sqrt(p->w->like->hidden));
    for (int64_t i = 0; i < n; i++) {
        switch (p->fill) {
        case WS_FILL_FAN: v[i] *= fan; break;
        case WS_FILL_EMBED: v[i] *= fan * p->w->row[(first + i) / p->w->like->hidden]; break;
        case WS_FILL_ZEROS: v[i] *= 0.1f; break;
        case WS_FILL_ONES: v[i] = 1 + 0.1f * v[i]; break;
        case WS_FILL_CONV: v[i] *= 0.28867513f; break;
        case WS_FILL_ONE: v[i] = 1; break;
        case WS_FILL_NONE: v[i] = 0; break;
        case WS_FILL_ALOG: {
            uint64_t z = ws_counter_u64(p->key, "A_log", (uint64_t)(first + i), 0);
            v[i] = (float)log(0.01 + (16 - 0.01) * (double)(z >> 11) * 0x1p-53);
            break;
        }
        }
    }
}

static void fill_chunk(void *arg, int64_t begin, int64_t end) {
    const piece *p = arg;
    float v[BELL];
    for (int64_t i = begin; i < end; i += BELL) {
        int64_t n = end - i < BELL ? end - i : BELL;
        ws_counter_bell(v, n, p->key, (uint64_t)(p->first + i));
        shape_values(p, v, p->first + i, n);
        if (p->t->type == WS_F32) {
            memcpy(p->out + i * 4, v, (size_t)n * 4);
        } else {
            uint16_t h[BELL];
            for (int64_t k = 0; k < n; k++) h[k] = ws_f32_bf16(v[k]);
            memcpy(p->out + i * 2, h, (size_t)n * 2);
        }
    }
}

static ws_status fill(void *arg, const ws_tensor *t, size_t from, void *out, size_t n, ws_err *err) {
    writer *w = arg;
    const size_t size = t->type == WS_F32 ? 4 : 2;
    piece p = {w, t, w->all.fill[t - w->all.t], ws_counter_u64(w->seed, t->name, 0, 0), (int64_t)(from / size), out};
    if (ws_interrupt_check(err)) return err->code;
    ws_parallel_for((int64_t)(n / size), CHUNK, fill_chunk, &p);
    w->done += (int64_t)n;
    ws_progress_update(&w->bar, w->done >> 20, NULL);
    return WS_OK;
}

/* First tensor of the next file: a file takes tensors as long as they fit. */
static size_t shard_end(const ws_like_tensors *a, size_t begin, int64_t most) {
    int64_t bytes = 0;
    size_t i = begin;
    for (; i < a->n; i++) {
        if (most && i > begin && bytes + (int64_t)a->t[i].bytes > most) break;
        bytes += (int64_t)a->t[i].bytes;
    }
    return i;
}

void ws_random_model_measure(const ws_likeness *l, const ws_random_model_options *o, ws_random_model_size *s) {
    ws_like_tensors a = ws_likeness_tensors(l, o->f32, o->text_only);
    memset(s, 0, sizeof *s);
    s->tensors = (int)a.n;
    for (size_t i = 0; i < a.n; i++) {
        int64_t numbers = ws_tensor_numel(&a.t[i]);
        s->params += numbers, s->bytes += (int64_t)a.t[i].bytes;
        if (strncmp(a.t[i].name, "mtp.", 4) && strncmp(a.t[i].name, "model.visual.", 13)) s->text_params += numbers;
    }
    for (size_t i = 0; i < a.n; i = shard_end(&a, i, l->shard)) s->files++;
    ws_like_tensors_free(&a);
}

static ws_status check_place(const char *dir, int64_t bytes, ws_err *err) {
    struct statvfs v;
    char *config = ws_path_join(dir, "config.json"), need[32], room[32];
    int there = ws_file_exists(config);
    free(config);
    if (there) return ws_fail(err, WS_ESTATE, "%s holds a model already; name another directory, or delete it", dir);
    if (ws_mkdirs(dir, err)) return err->code;
    if (statvfs(dir, &v)) return ws_fail(err, WS_EIO, "%s: %s", dir, strerror(errno));
    const double have = (double)v.f_bavail * (double)v.f_frsize, want = (double)bytes + (64 << 20);
    if (have < want)
        return ws_fail(err, WS_EIO, "%s: %s are needed and %s are free; choose a directory on another disk", dir,
                       ws_format_bytes(need, want), ws_format_bytes(room, have));
    return WS_OK;
}

static ws_status save(const char *dir, const char *name, json_t *j, int compact, ws_err *err) {
    char *path = ws_path_join(dir, name);
    ws_status st = WS_OK;
    if (compact) {
        ws_str s = {0};
        ws_json_dump(j, &s, 1);
        st = ws_file_write(path, s.p, s.n, err);
        ws_str_free(&s);
    } else if (j)
        st = ws_json_save(j, path, err);
    json_decref(j);
    free(path);
    return st;
}

static ws_status small_files(const ws_likeness *l, const char *dir, const ws_random_model_options *o, ws_err *err) {
    if (save(dir, "tokenizer.json", ws_sample_tokenizer(l), 1, err) ||
        save(dir, "tokenizer_config.json", ws_sample_tokenizer_config(l), 0, err) ||
        save(dir, "generation_config.json", ws_likeness_generation(l), 0, err))
        return err->code;
    char *path = ws_path_join(dir, "chat_template.jinja"), *text = ws_sample_template(l);
    ws_status st = ws_file_write(path, text, strlen(text), err);
    free(path), free(text);
    return st ? st : save(dir, "config.json", ws_likeness_config(l, o->f32), 0, err);
}

static ws_status write_weights(writer *w, const char *dir, const ws_random_model_size *size, ws_err *err) {
    json_t *map = json_object();
    ws_status st = WS_OK;
    int file = 0;
    for (size_t i = 0, end; i < w->all.n && !st; i = end) {
        end = shard_end(&w->all, i, w->like->shard);
        char name[80] = "model.safetensors";
        if (w->like->shard)
            snprintf(name, sizeof name, "model.safetensors-%05d-of-%05d.safetensors", ++file, size->files);
        char *path = ws_path_join(dir, name);
        for (size_t k = i; k < end; k++) json_object_set_new(map, w->all.t[k].name, json_string(name));
        st = ws_safetensors_stream(path, &w->all.t[i], end - i, NULL, fill, w, err);
        free(path);
    }
    if (!st && w->like->shard)
        st = save(dir, "model.safetensors.index.json",
                  json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)size->bytes, "weight_map", map), 0,
                  err);
    json_decref(map);
    return st;
}

ws_status ws_random_model_write(const ws_likeness *l, const char *dir, const ws_random_model_options *o, ws_err *err) {
    ws_random_model_size size;
    char bytes[32];
    int lock = -1;
    ws_random_model_measure(l, o, &size);
    ws_note("%s: %d tensors, %.2f million numbers, %s in %d file%s", l->name, size.tensors, (double)size.params * 1e-6,
            ws_format_bytes(bytes, (double)size.bytes), size.files, size.files > 1 ? "s" : "");
    if (check_place(dir, size.bytes, err) || ws_lock(&lock, dir, 0, err)) return err->code;
    ws_dir_sweep(dir); /* of a command that was killed here */
    writer w = {.like = l, .all = ws_likeness_tensors(l, o->f32, o->text_only), .seed = o->seed};
    w.row = ws_xcalloc((size_t)l->vocab, sizeof *w.row);
    for (int64_t i = 0; i < l->vocab; i++) w.row[i] = ws_sample_row_scale(l, i);
    ws_progress_start(&w.bar, "random weights", "MiB", size.bytes >> 20);
    ws_status st = write_weights(&w, dir, &size, err);
    ws_progress_end(&w.bar);
    if (!st) st = small_files(l, dir, o, err);
    ws_like_tensors_free(&w.all);
    free(w.row);
    ws_unlock(lock);
    return st;
}
