/* src/export/export.h - dW for other programs: forms that they load, written beside their place, read back, compared with
 * the model steered here, and only then put in place.
 *     ... -> dW -> alpha -> [files of other programs]
 * This file is the corridor; every room exports `const ws_export_ops ws_export_<name>` and carries the line WS_ROOM(<name>). */
#ifndef WS_EXPORT_EXPORT_H
#define WS_EXPORT_EXPORT_H
#include "export/compare.h"
#include "export/loss.h"
#include "steer/vector.h"
#define WS_ROOM(name) /* the Makefile looks for this word */

typedef struct ws_export_ops ws_export_ops;
/* One export: what goes in, and what the form has to say of it. */
typedef struct ws_export {
    ws_model *m;
    const ws_delta *d; /* all edits together, their strengths multiplied in: what the file must do at strength 1 */
    ws_vector *v;      /* of forms that take a hidden-state method: its vector, and the strength */
    double strength;
    int rank; /* 0: as many factors as the edits have */
    int has_dtype;
    ws_dtype dtype; /* F32, BF16, F16 */
    json_t *report; /* told of the export: sources, form ... (ws_export.json, docs/formats.md) */
    ws_loss loss;   /* what the form leaves out of dW */
    int lossy;      /* it leaves something out on purpose: the wider limit holds */
} ws_export;

/* A written export, opened by our own readers. */
typedef struct ws_export_back {
    ws_checkpoint *c;
    ws_model *m; /* NULL: the steering hangs in the model itself */
    ws_steering steering;
} ws_export_back;

struct ws_export_ops {
    const char *name;  /* "gguf-lora" */
    const char *title; /* a line for the help */
    int dir;           /* it is a folder */
    int takes_rank, takes_dtype;
    int of_vector; /* it takes a vector instead of dW */
    /* Refuses, before anything is written, what the form cannot hold. */
    ws_status (*check)(ws_export *x, ws_err *err);
    ws_status (*write)(ws_export *x, const char *where,
                       ws_err *err); /* where: a folder that is there, or a file's name */
    ws_status (*reopen)(ws_export *x, const char *where, ws_export_back *back, ws_err *err);
    /* In place of logits: what the file holds against dW (dense). */
    ws_status (*verify)(ws_export *x, const char *where, ws_err *err);
};
const ws_export_ops *const *ws_export_forms(int *n);
const ws_export_ops *ws_export_find(const char *name); /* NULL: none */
/* The limit on KL of a form, nats: what is exact but for rounding, and what is not. */
#define WS_EXPORT_KL_EXACT 1e-4
#define WS_EXPORT_KL_LOSSY 0.05

/* Writes, reads back, compares on the prompts, puts in place.  max_kl < 0: the form's own limit.  A limit that is broken is
 * WS_ESTATE and leaves nothing. */
ws_status ws_export_run(const ws_export_ops *form, ws_export *x, const char *out, const ws_ids *prompt, int n_prompts,
                        double max_kl, ws_agreement *agreement, ws_err *err);

/* ---------- what rooms share ---------- */
/* The type that a number is rounded to, stored at `out`, and the value that it has then. */
void ws_export_store(void *out, ws_dtype t, const float *x, int64_t n);
ws_status ws_export_hang_back(ws_export *x, const char *where, ws_export_back *back, ws_err *err);
/* A complete adapter_config.json of the adapter room `kind` ("lora") with target_modules; NULL: no such room in this build. */
json_t *ws_export_config(const char *kind, const ws_model *m, const int *site, int n);
/* adapter_config.json, adapter_model.safetensors and ws_base.json.  Tensor names are "<module>.<suffix>", without
 * "base_model.model.". */
ws_status ws_export_write_peft(const ws_export *x, const char *dir, const json_t *config, ws_tensor *t, size_t n,
                               ws_err *err);
#endif
