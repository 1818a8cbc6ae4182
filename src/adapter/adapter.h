/* src/adapter/adapter.h - adapters as PEFT computes, saves and loads them (adapters.md).
 * This file is the corridor; every other .c file here is a room that exports `const ws_adapter_ops ws_adapter_<name>`
 * and carries the line WS_ROOM(<name>). */
#ifndef WS_ADAPTER_ADAPTER_H
#define WS_ADAPTER_ADAPTER_H
#include "adapter/edit.h"
#include "base/rng.h"
#include "base/str.h"
#include "io/peft.h"
#include "model/model.h"
#define WS_ROOM(name) /* the Makefile looks for this word */

typedef struct ws_adapter ws_adapter;
typedef struct ws_adapter_ops ws_adapter_ops;

/* One trainable (or stored) tensor of one site, a view into the adapter's flat arrays. */
typedef struct ws_param {
    int site;           /* model site number */
    const char *suffix; /* "lora_A.weight" */
    int dims;
    int64_t dim[4];      /* shape in the file */
    int64_t rows, cols;  /* dim[0] x the product of the others */
    float *value, *grad; /* grad NULL: stored but not trained */
} ws_param;

typedef struct ws_adapter_config {
    const char *kind;           /* room name: "lora" */
    int rank;                   /* 32 */
    double alpha;               /* LoRA's alpha, 64: scale = alpha / rank */
    int layer_begin, layer_end; /* half open; -1,-1: the default slice [rint(0.3 L), rint(0.8 L)) */
    const char *targets;        /* comma-separated suffixes or "all-linear"; NULL: the adapter's default list */
    int block;                  /* block size of OFT and BOFT; 0: WS_ADAPTER_BLOCK */
    double lambda;              /* DeLoRA's bound; 0: WS_ADAPTER_LAMBDA */
} ws_adapter_config;
enum { WS_ADAPTER_BLOCK = 8, WS_ADAPTER_LAMBDA = 15 };

/* Which of these numbers a kind reads, as bits; none for a kind that there is not. */
enum { WS_READS_RANK = 1, WS_READS_ALPHA = 2, WS_READS_BLOCK = 4, WS_READS_LAMBDA = 8, WS_READS_LAYERS = 16 };
unsigned ws_adapter_reads(const char *kind);
/* WS_EUSAGE: there is no such kind, or an option of `given` (bits) means nothing to it. */
ws_status ws_adapter_check_options(const char *kind, unsigned given, ws_err *err);
/* "lora of rank 32", "delora of rank 32 and lambda 15", "oft in blocks of 8", "ia3". */
void ws_adapter_config_text(const ws_adapter_config *c, ws_str *out);

ws_status ws_adapter_new(ws_adapter **out, const ws_model *m, const ws_adapter_config *cfg, ws_err *err);
/* The same to be counted and described alone: its sites, tensors and sizes, nothing of what the base weights decide (the
 * singular vectors of PiSSA take minutes on a large model), so it has no values and makes none. */
ws_status ws_adapter_outline(ws_adapter **out, const ws_model *m, const ws_adapter_config *cfg, ws_err *err);
void ws_adapter_free(ws_adapter *a);
/* torch's stream (adapters.md 1.5); values are rounded to the type of a 16-bit base (1.4). */
void ws_adapter_init(ws_adapter *a, uint64_t seed);
/* A PEFT directory.  Tensors that match no module, modules without tensor, wrong shapes: errors that name the key. */
ws_status ws_adapter_load(ws_adapter **out, const ws_model *m, const char *dir, ws_err *err);
/* Where the directory says which base it was trained on (ws_base.json, written by ws_adapter_save), another base is
 * refused (WS_ESTATE), or only warned about with `force`. */
ws_status ws_adapter_check_base(const ws_model *m, const char *dir, int force, ws_err *err);
ws_status ws_adapter_write_base(const ws_model *m, const char *dir, ws_err *err);
ws_status ws_adapter_save(const ws_adapter *a, const char *dir, ws_err *err);

ws_patch *ws_adapter_patch(ws_adapter *a); /* trainable; valid as long as the adapter */
const char *ws_adapter_kind(const ws_adapter *a);
int ws_adapter_n_params(const ws_adapter *a);
const ws_param *ws_adapter_param(const ws_adapter *a, int i); /* sites in order, tensors of a site in PEFT's order */
/* All trained values as one array, and the gradients in the same layout; params are views into them. */
int64_t ws_adapter_size(const ws_adapter *a);
float *ws_adapter_values(ws_adapter *a);
float *ws_adapter_grads(ws_adapter *a);
void ws_adapter_zero_grad(ws_adapter *a);
/* To be called once after the values changed (optimiser step): recomputes what depends on parameters alone. */
void ws_adapter_refresh(ws_adapter *a);
/* After the last micro-batch of a step: pushes accumulated intermediate gradients back to the raw parameters. */
void ws_adapter_finish_grad(ws_adapter *a);
int ws_adapter_n_sites(const ws_adapter *a);
int ws_adapter_site(const ws_adapter *a, int i); /* model site number */
const char *ws_adapter_site_name(const ws_adapter *a, int i);
int ws_adapter_lowest_layer(const ws_adapter *a);
/* The adapted modules for people, a line a kind: "mlp.up_proj in 16 layers: 10-25". */
void ws_adapter_describe(const ws_adapter *a, ws_str *out);
/* theta - base at adapter site i, in closed form. */
ws_status ws_adapter_edit(const ws_adapter *a, int i, ws_edit *out, ws_err *err);
/* The same up to a part that is equal for `a` and `b` (two sides of one contrast), where both are of a kind that knows one
 * and both adapt the module with one rank. */
ws_status ws_adapter_contrast_edit(const ws_adapter *a, const ws_adapter *b, int i, ws_edit *out, ws_err *err);
int ws_adapter_merge_rounds(const ws_adapter *a); /* PEFT rounds theta - base to the base's type before it adds it */
int ws_adapter_residual(const ws_adapter *a);     /* PEFT's base is changed: theta = rest + what contrast_edit gives */
const char *const *ws_adapter_kinds(int *n);      /* names of all rooms */
/* SHA-256 of an adapter directory's configuration and tensors as they stand in the files. */
ws_status ws_adapter_dir_hash(const char *dir, char hex[65], ws_err *err);
#endif
