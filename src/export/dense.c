/* src/export/dense.c - dW itself, dense, for Python: "<module>.weight" [d_out, d_in] (and "<module>.bias") in one
 * safetensors file, made row block by row block.  As large as the touched weights. */
#include "base/interrupt.h"
#include "base/progress.h"
#include "export/rows.h"
#include "io/place.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(dense)

typedef struct work {
    ws_export *x;
    ws_dtype type;
    const ws_edit **edit; /* of each tensor */
    const ws_site **at;
    const ws_tensor *t;
    ws_rows_sum *sum;
    ws_progress bar;
    int64_t done;
} work;

static ws_status fill(void *arg, const ws_tensor *t, size_t from, void *out, size_t n, ws_err *err) {
    work *w = arg;
    const size_t i = (size_t)(t - w->t), size = (size_t)ws_dtypes[t->type].bytes;
    if (t->dims == 1)
        ws_export_store(out, t->type, w->edit[i]->db + from / size, (int64_t)(n / size));
    else if (ws_export_piece(w->at[i], w->edit[i], 0, t->type, (int64_t)(from / size), (int64_t)(n / size), out,
                             &w->sum[i], err))
        return err->code;
    ws_progress_update(&w->bar, w->done += (int64_t)(n >> 10), NULL);
    return ws_interrupt_check(err);
}

static ws_status write(ws_export *x, const char *path, ws_err *err) {
    const int n = ws_delta_n_sites(x->d);
    work w = {.x = x, .type = x->has_dtype ? x->dtype : WS_F32};
    w.edit = ws_xcalloc(2 * (size_t)n, sizeof *w.edit), w.at = ws_xcalloc(2 * (size_t)n, sizeof *w.at);
    w.sum = ws_xcalloc(2 * (size_t)n, sizeof *w.sum);
    ws_tensor *t = ws_xcalloc(2 * (size_t)n, sizeof *t);
    size_t k = 0;
    int64_t bytes = 0;
    for (int i = 0; i < n; i++) {
        const ws_edit *e = ws_delta_edit(x->d, i);
        const ws_site *at = ws_model_site(x->m, ws_delta_site(x->d, i));
        for (int bias = 0; bias <= (e->db != NULL); bias++, k++) {
            t[k] = (ws_tensor){.name = ws_sprintf("%s.%s", at->name, bias ? "bias" : "weight"),
                               .type = w.type,
                               .dims = bias ? 1 : 2,
                               .dim = {e->d_out, bias ? 0 : e->d_in}};
            bytes += (int64_t)ws_dtype_bytes(w.type, ws_tensor_numel(&t[k]));
            w.edit[k] = e, w.at[k] = at;
        }
    }
    w.t = t;
    json_t *meta = json_pack("{s:s, s:s, s:s, s:s}", "format", "pt", "ws", "dense dW: W + this is the steered model",
                             "base_name", ws_checkpoint_name(ws_model_checkpoint(x->m)), "base_hash",
                             ws_checkpoint_hash(ws_model_checkpoint(x->m)));
    char *told = json_dumps(x->report, JSON_COMPACT);
    json_object_set_new(meta, "ws_export", json_string(told));
    free(told);
    x->lossy = w.type != WS_F32;
    ws_status st = ws_disk_room(path, bytes, err);
    ws_progress_start(&w.bar, "dense dW", "KiB", bytes >> 10);
    if (!st) st = ws_safetensors_stream(path, t, k, meta, fill, &w, err);
    ws_progress_end(&w.bar);
    for (size_t i = 0; i < k && !st; i++)
        if (t[i].dims == 2) ws_loss_add(&x->loss, w.at[i]->name, 0, w.sum[i].full, w.sum[i].lost);
    json_decref(meta);
    for (size_t i = 0; i < k; i++) free(t[i].name);
    free(t), free(w.edit), free(w.at), free(w.sum);
    return st;
}

/* Rows of the file against rows that come another way: e_r dW, a product with the transposed operator. */
static ws_status rows_agree(const ws_export *x, int i, const ws_tensor *t, ws_err *err) {
    enum { TRIED = 4 };
    const ws_edit *e = ws_delta_edit(x->d, i);
    const ws_site *at = ws_model_site(x->m, ws_delta_site(x->d, i));
    const double slack = t->type == WS_F32 ? 1e-5 : t->type == WS_F16 ? 1.0 / 1024 : 1.0 / 128;
    float *one = ws_xcalloc((size_t)e->d_out, sizeof *one), *want = ws_xmalloc(2 * (size_t)e->d_in * sizeof *want),
          *is = want + e->d_in;
    ws_status st = WS_OK;
    for (int k = 0; k < TRIED && !st; k++) {
        int64_t r = (e->d_out - 1) * k / (TRIED - 1);
        double miss = 0, size = 0;
        one[r] = 1;
        ws_edit_apply_t(e, at->w, one, 1, want);
        one[r] = 0;
        ws_tensor_row_f32(t, r, is);
        for (int64_t c = 0; c < e->d_in; c++) {
            double m = (double)is[c] - (double)want[c];
            miss += m * m, size += (double)want[c] * (double)want[c];
        }
        if (!(sqrt(miss) <= slack * sqrt(size) + 1e-30))
            st = ws_fail(err, WS_ESTATE, "row %lld of %s in the file differs from dW by %.3g of its length",
                         (long long)r, t->name, sqrt(miss / size));
    }
    free(one), free(want);
    return st;
}

static ws_status verify(ws_export *x, const char *path, ws_err *err) {
    ws_safetensors *s = NULL;
    ws_status st = ws_safetensors_open(&s, path, err);
    for (int i = 0; i < ws_delta_n_sites(x->d) && !st; i++) {
        const ws_edit *e = ws_delta_edit(x->d, i);
        const char *site = ws_model_site(x->m, ws_delta_site(x->d, i))->name;
        char *name = ws_sprintf("%s.weight", site);
        const ws_tensor *t = ws_safetensors_find(s, name);
        if (!t || t->dims != 2 || t->dim[0] != e->d_out || t->dim[1] != e->d_in)
            st = ws_fail(err, WS_ESTATE, "%s is not in the file as it should be", name);
        else
            st = rows_agree(x, i, t, err);
        free(name);
        if (!st) st = ws_interrupt_check(err);
    }
    ws_safetensors_close(s);
    return st;
}

const ws_export_ops ws_export_dense = {
    .name = "dense",
    .title = "dW itself, one safetensors file, for Python",
    .takes_dtype = 1,
    .write = write,
    .verify = verify,
};
