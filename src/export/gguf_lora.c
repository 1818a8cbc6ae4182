/* src/export/gguf_lora.c - dW as a LoRA adapter for llama.cpp (conventions.md 3.5): A [r, in] and B [out, r] in the order of
 * columns and rows that GGUFs of this architecture have; adapter.lora.alpha = r, so `--lora FILE` runs it at strength 1. */
#include "delta/gguf_lora.h"
#include "base/log.h"
#include "export/factors.h"
#include "io/gguf_write.h"
#include "kernel/weight.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
WS_ROOM(gguf_lora)

/* A half in stored order and type, scaled: x [rows, cols]. */
static ws_status half(ws_tensor *t, char *name, const float *x, int64_t rows, int64_t cols, ws_order row_order,
                      ws_order col_order, float scale, ws_dtype type, ws_err *err) {
    const size_t row_bytes = ws_dtype_bytes(type, cols);
    char *data = ws_try_alloc((size_t)rows, row_bytes);
    float *line = ws_xmalloc(2 * (size_t)cols * sizeof *line), *there = line + cols;
    *t = (ws_tensor){.name = name, .type = type, .dims = 2, .dim = {rows, cols}, .data = data};
    t->bytes = (size_t)rows * row_bytes;
    ws_status st = data ? WS_OK : ws_fail(err, WS_ENOMEM, "out of memory for %s", name);
    for (int64_t r = 0; r < rows && !st; r++) {
        for (int64_t c = 0; c < cols; c++) line[c] = scale * x[r * cols + c];
        ws_order_store(col_order, line, there, cols);
        char *to = data + (size_t)ws_order_at(row_order, r) * row_bytes;
        ws_export_store(to, type, there, cols);
        ws_dtype_to_f32(line, to, type, cols);
        for (int64_t c = 0; c < cols && !st; c++)
            if (!isfinite(line[c]))
                st =
                    ws_fail(err, WS_ENONFINITE, "%s does not fit into %s; use --dtype f32", name, ws_dtypes[type].name);
    }
    free(line);
    return st;
}

static ws_status pair(ws_export *x, const ws_factors *all, const ws_factor *f, ws_tensor *t, ws_err *err) {
    const ws_site *at = ws_model_site(x->m, f->site);
    const ws_dtype type = x->has_dtype ? x->dtype : WS_F32;
    ws_order rows, cols, none = {0};
    char *name;
    ws_status st = ws_gguf_site(x->m, f->site, &name, &rows, &cols, err);
    if (st) return st;
    /* one alpha serves all modules: those of another rank have it in B */
    const float scale = (float)((double)f->rank / (double)all->rank);
    st = half(&t[0], ws_sprintf("%s.lora_a", name), f->a, f->rank, at->d_in, none, cols, 1, type, err);
    if (!st) st = half(&t[1], ws_sprintf("%s.lora_b", name), f->b, at->d_out, f->rank, rows, none, scale, type, err);
    free(name);
    return st;
}

static ws_status write(ws_export *x, const char *path, ws_err *err) {
    ws_factors f;
    ws_status st = ws_export_factors(x, &f, err);
    if (st) return st;
    ws_tensor *t = ws_xcalloc(2 * (size_t)f.n, sizeof *t);
    for (int i = 0; i < f.n && !st; i++) st = pair(x, &f, &f.f[i], &t[2 * i], err);
    if (x->has_dtype && x->dtype != WS_F32) x->lossy = 1;
    json_object_set_new(x->report, "loss", ws_loss_json(&x->loss));
    ws_str told = {0};
    ws_json_dump(x->report, &told, 1);
    const char *base = ws_checkpoint_name(ws_model_checkpoint(x->m)),
               *hash = ws_checkpoint_hash(ws_model_checkpoint(x->m));
    const ws_gguf_pair meta[] = {
        {"general.type", WS_GGUF_TEXT, "adapter", 0}, {"general.architecture", WS_GGUF_TEXT, ws_gguf_arch(x->m), 0},
        {"adapter.type", WS_GGUF_TEXT, "lora", 0},    {"adapter.lora.alpha", WS_GGUF_F32, NULL, (double)f.rank},
        {"ws.base_name", WS_GGUF_TEXT, base, 0},      {"ws.base_hash", WS_GGUF_TEXT, hash, 0},
        {"ws.export", WS_GGUF_TEXT, told.p, 0},
    };
    if (!st) st = ws_gguf_write(path, meta, sizeof meta / sizeof *meta, t, 2 * (size_t)f.n, err);
    for (int i = 0; i < 2 * f.n; i++) free(t[i].name), free((void *)(uintptr_t)t[i].data);
    free(t);
    ws_str_free(&told);
    ws_factors_free(&f);
    return st;
}

const ws_export_ops ws_export_gguf_lora = {
    .name = "gguf-lora",
    .title = "a LoRA adapter for llama.cpp, for a GGUF of this model",
    .takes_rank = 1,
    .takes_dtype = 1,
    .check = ws_export_check_factors,
    .write = write,
    .reopen = ws_export_hang_back,
};
