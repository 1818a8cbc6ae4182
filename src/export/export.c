/* src/export/export.c - the corridor: which forms there are, and the way of every export:
 *     check -> write beside -> read back -> compare -> put in place */
#include "export/export.h"
#include "base/log.h"
#include "export/factors.h"
#include "io/json.h"
#include "io/place.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define X(name) extern const ws_export_ops ws_export_##name;
#include "export.list"
#undef X
static const ws_export_ops *const rooms[] = {
#define X(name) &ws_export_##name,
#include "export.list"
#undef X
    NULL};

const ws_export_ops *const *ws_export_forms(int *n) {
    *n = (int)(sizeof rooms / sizeof *rooms) - 1;
    return rooms;
}

const ws_export_ops *ws_export_find(const char *name) {
    for (int i = 0; rooms[i]; i++)
        if (!strcmp(rooms[i]->name, name)) return rooms[i];
    return NULL;
}

void ws_export_store(void *out, ws_dtype t, const float *x, int64_t n) {
    uint16_t *half = out;
    switch (t) {
    case WS_F32: memcpy(out, x, (size_t)n * sizeof *x); break;
    case WS_BF16:
        for (int64_t i = 0; i < n; i++) half[i] = ws_f32_bf16(x[i]);
        break;
    case WS_F16:
        for (int64_t i = 0; i < n; i++) half[i] = ws_f32_f16(x[i]);
        break;
    default: BUG("%s is not written", ws_dtypes[t].name);
    }
}

ws_status ws_export_hang_back(ws_export *x, const char *where, ws_export_back *back, ws_err *err) {
    return ws_steering_hang(&back->steering, x->m, where, 1, 0, err);
}

/* ---------- the way of an export ---------- */

static void close_back(ws_export_back *b) {
    ws_steering_free(&b->steering);
    ws_model_free(b->m);
    ws_checkpoint_close(b->c);
}

static ws_status judge(ws_export *x, const ws_agreement *a, double limit, ws_err *err) {
    json_object_set_new(x->report, "check",
                        json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "positions", (json_int_t)a->positions, "max_dlogp",
                                  a->max_dlogp, "mean_kl", a->mean_kl, "max_kl", a->max_kl, "mean_kl_of_steering",
                                  a->mean_kl_unedited, "max_kl_allowed", limit));
    if (a->max_kl <= limit) return WS_OK;
    return ws_fail(err, WS_ESTATE,
                   "what was written does not say what the steered model says: KL up to %.3g nats (mean %.3g) where "
                   "%.3g is allowed, max |delta log p| %.3g; nothing is left%s",
                   a->max_kl, a->mean_kl, limit, a->max_dlogp,
                   x->lossy ? ": choose a larger --rank, --to merged or --dtype f32, or allow more with --max-kl" : "");
}

static ws_status by_logits(const ws_export_ops *form, ws_export *x, const char *where, const ws_ids *prompt, int n,
                           double limit, ws_agreement *agreement, ws_err *err) {
    const float one = x->v ? (float)x->strength : 1;
    ws_patch *patch = x->v ? ws_vector_patch(x->v) : ws_delta_patch((ws_delta *)(uintptr_t)x->d);
    ws_export_back back = {0};
    const ws_voice steered = {x->m, 1, &patch, &one};
    ws_status st = form->reopen(x, where, &back, err);
    if (st)
        ws_fail_prefix(err, "what was written cannot be read back");
    else {
        const ws_voice written = {back.m ? back.m : x->m, back.steering.n, back.steering.patch, back.steering.alpha};
        st = ws_compare(&steered, &written, x->m, prompt, n, agreement, err);
    }
    close_back(&back);
    return st ? st : judge(x, agreement, limit, err);
}

static const char report_name[] = "ws_export.json";

ws_status ws_export_run(const ws_export_ops *form, ws_export *x, const char *out, const ws_ids *prompt, int n_prompts,
                        double max_kl, ws_agreement *agreement, ws_err *err) {
    ws_place place;
    *agreement = (ws_agreement){0};
    ws_status st = form->check ? form->check(x, err) : WS_OK;
    if (st || (st = ws_place_open(&place, out, form->dir, report_name, err))) return st;
    json_object_set_new(x->report, "form", json_string(form->name));
    st = form->write(x, place.work, err);
    double limit = max_kl >= 0 ? max_kl : x->lossy ? WS_EXPORT_KL_LOSSY : WS_EXPORT_KL_EXACT;
    if (!st && form->verify) st = form->verify(x, place.work, err);
    if (!st && form->reopen) st = by_logits(form, x, place.work, prompt, n_prompts, limit, agreement, err);
    if (!st && form->dir) {
        char *path = ws_path_join(place.work, report_name);
        if (x->loss.n) json_object_set_new(x->report, "loss", ws_loss_json(&x->loss));
        st = ws_json_save(x->report, path, err);
        free(path);
    }
    if (st)
        ws_place_abandon(&place);
    else
        st = ws_place_commit(&place, err);
    return st;
}
